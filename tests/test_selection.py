"""Choosing regions by what their tables hold, and figures a head."""

import numpy as np
import pandas as pd
import pytest

from calibration.dataset import read_datasets
from calibration.selection import complete, per
from sd_cluster.errors import DataError


@pytest.fixture
def regions():
    rows = [(name, year, "patents", 10.0 * year) for name in "AB" for year in range(2000, 2005)]
    rows += [("A", year, "share", 5.0) for year in (2001, 2002)] + [("B", 2001, "share", 6.0)]
    rows += [("C", year, "patents", 1.0) for year in (2000, 2001, 2003)]
    frame = pd.DataFrame(rows, columns=["region", "year", "indicator", "value"])
    return read_datasets(frame.assign(unit="number", source="twin"))


def test_only_regions_with_every_figure_are_complete(regions):
    assert complete(regions, {"patents": (2000, 2004)}) == ("A", "B")
    assert complete(regions, {"patents": (2000, 2001)}) == ("A", "B", "C")
    assert complete(regions, {"patents": (2000, 2004), "share": (2001, 2002)}) == ("A",)
    assert complete(regions, {"patents": (1999, 2004)}) == ()


def test_figures_a_head_are_figures_over_heads_and_say_so(regions):
    made = per(regions["A"], 2.5, "million heads", ["patents"])
    assert made["patents"].values == pytest.approx(regions["A"]["patents"].values / 2.5)
    assert made["patents"].unit == "number per million heads"
    assert made["share"] is regions["A"]["share"]
    assert not np.shares_memory(made["patents"].values, regions["A"]["patents"].values)


def test_what_cannot_be_chosen_by_is_told(regions):
    with pytest.raises(DataError, match=r"^no region has an indicator 'patent' \(did you mean 'patents'\?\)$"):
        complete(regions, {"patent": (2000, 2004)})
    with pytest.raises(DataError, match=r"^A has 0 million heads; expected a number above zero$"):
        per(regions["A"], 0.0, "million heads", ["patents"])
