"""Audit: each planted fault is found, nothing is found in clean series, and known faults of real tables are named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibration.audit import audit, breaks_of, suggest_noise
from calibration.audit_figure import draw_audit
from calibration.dataset import dataset_from, read_datasets
from sd_cluster.errors import DataError

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
shared = pytest.mark.skipif(not DATA.is_dir(), reason="the tables lie in ../shared, which is not here")

YEARS = np.arange(1995, 2020)


def clean(seed=0, noise=0.03, years=YEARS, level=1000.0):
    """A series that grows by 4 % a year, with lognormal noise."""
    rng = np.random.default_rng(seed)
    return level * np.exp(0.04 * (years - years[0]) + rng.normal(0.0, noise, len(years)))


def dataset(values, *, years=YEARS, unit="FTE", region="p", name="staff", **more):
    columns = {"region": region, "year": years, "indicator": name, "value": values, "unit": unit, "source": "a"}
    return dataset_from(pd.DataFrame({**columns, **more}))


def to_mind(values, **more):
    """Kind and years of what is to mind in one series."""
    return [(one.kind, one.years) for one in audit(dataset(values, **more)).to_mind]


def changed(year, factor, *, onwards):
    values = clean()
    values[(year <= YEARS) if onwards else (year == YEARS)] *= factor
    return values


def test_a_clean_series_has_nothing_to_mind():
    found = audit(dataset(clean()))
    assert found.to_mind == ()
    assert found.sentences() == ["ok    nothing to mind"]
    assert [one.kind for one in found.findings] == ["span", "noise"]


def test_clean_series_are_seldom_blamed():
    """1 in 100 is what `threshold` promises for steps; 400 series, trends and random walks, short and long."""
    rng = np.random.default_rng(5)
    blamed = 0
    for number in range(400):
        years = np.arange(2000, 2000 + rng.integers(8, 40))
        logs = rng.normal(0.03, 0.08, len(years))
        logs = np.cumsum(logs) if number % 2 else logs + 0.03 * (years - 2000)
        blamed += bool(to_mind(1000 * np.exp(logs), years=years))
    assert blamed <= 8


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (changed(2008, 1.6, onwards=True), ("jump", (2008,))),
        (changed(2008, 0.5, onwards=True), ("jump", (2008,))),
        (changed(2008, 1.8, onwards=False), ("outlier", (2008,))),
        (changed(2008, 10.0, onwards=False), ("unit", (2008,))),
        (changed(2008, 0.001, onwards=True), ("unit", (2008,))),
        (changed(2008, 100.0, onwards=True), ("unit", (2008,))),
        (changed(2008, 0.0, onwards=False), ("zero", (2008,))),
        (changed(2017, 0.0, onwards=True), ("zero", (2017, 2018, 2019))),
        (np.full(len(YEARS), 70.0), ("constant", tuple(YEARS))),
    ],
)
def test_a_planted_fault_is_found_and_nothing_else(values, expected):
    assert to_mind(values) == [expected]


def test_a_truncated_end_is_found():
    values = clean()
    values[-3:] *= (0.9, 0.7, 0.4)
    ((kind, years),) = to_mind(values)
    assert kind == "truncation"
    assert years[-1] == 2019


def test_figures_carried_forward_are_found():
    values = clean()
    values[10:13] = values[10]
    assert ("repeated", (2005, 2006, 2007)) in to_mind(values)


def test_gaps_are_told_and_wide_ones_minded():
    keep = ~np.isin(YEARS, [2003, 2008, 2009, 2010])
    assert to_mind(clean()[keep], years=YEARS[keep]) == [("gap", (2003, 2008, 2009, 2010))]
    keep = YEARS != 2003
    found = audit(dataset(clean()[keep], years=YEARS[keep]))
    assert [(one.kind, one.good) for one in found.findings if one.kind == "gap"] == [("gap", True)]


def test_every_second_year_is_no_gap():
    years = np.arange(1981, 2020, 2)
    assert to_mind(clean(years=years), years=years) == []


def test_few_figures_are_told():
    assert to_mind(clean()[:4], years=YEARS[:4]) == [("few", (1995, 1996, 1997, 1998))]


def test_zeros_before_a_series_begins_and_among_small_counts_are_no_fault():
    growing = np.concatenate([[0, 0, 0], clean()[3:]])
    assert to_mind(growing) == []
    counts = np.random.default_rng(3).poisson(2.0, len(YEARS)).astype(float)
    assert 0 in counts[5:]
    assert not [kind for kind, _ in to_mind(counts, unit="number") if kind == "zero"]


def test_statuses_are_told():
    status = [""] * (len(YEARS) - 2) + ["provisional", "break, estimated"]
    found = to_mind(clean(), status=status)
    assert found == [("status", (2018,)), ("status", (2019,)), ("status", (2019,))]


def test_the_same_figures_under_two_names_are_told():
    one = dataset(clean()).frame()
    two = dataset_from(pd.concat([one, one.assign(indicator="people")]))
    (found,) = audit(two).to_mind
    assert (found.indicator, found.kind, found.sentence) == ("people", "duplicate", "has the figures of 'staff'")


def test_a_jump_all_regions_make_is_told_as_one():
    regions = []
    for number in range(40):
        values = clean(number, noise=0.1)
        values[YEARS >= 2011] *= 1.3
        regions.append(dataset(values, region=f"r{number}"))
    alone, beside = audit(regions[0]), audit(regions[0], regions)
    assert not [one for one in alone.to_mind if one.kind == "jump"], "one noisy region hides it"
    (found,) = beside.to_mind
    assert (found.kind, found.years) == ("common jump", (2011,))


def test_a_known_break_is_good_and_leaves_the_noise_alone():
    broken = dataset(changed(2008, 1.6, onwards=True))
    found = audit(broken, breaks={"staff": (2008,)})
    assert found.to_mind == ()
    (known,) = [one for one in found.findings if one.kind == "known break"]
    assert known.advice == "fit it with Shift(2008)"
    assert found.noise["staff"].scale == pytest.approx(0.03, abs=0.012)
    assert audit(broken).noise["staff"].scale > 0.08


def test_noise_of_each_kind():
    rng = np.random.default_rng(1)
    few = rng.poisson(8.0, len(YEARS)).astype(float)
    wild = rng.negative_binomial(1.0, 0.05, len(YEARS)).astype(float)
    share = 3.0 + rng.normal(0.0, 0.2, len(YEARS))
    kinds = {
        "lognormal": dataset(clean()),
        "poisson": dataset(few, unit="number"),
        "negative binomial": dataset(wild, unit="number"),
        "normal": dataset(share, unit="percent of GDP"),
    }
    found = {kind: suggest_noise(one["staff"]) for kind, one in kinds.items()}
    assert {kind: one.family for kind, one in found.items()} == {kind: kind for kind in kinds}
    assert found["lognormal"].scale == pytest.approx(0.03, abs=0.012)
    assert found["lognormal"].growth == pytest.approx(0.04, abs=0.002)
    assert found["normal"].scale == pytest.approx(0.2, abs=0.08)
    assert np.isnan(found["poisson"].scale)


def test_frame_summary_and_text():
    found = audit(dataset(changed(2008, 1.6, onwards=True)))
    assert list(found.frame().columns) == ["indicator", "kind", "years", "sentence", "good", "advice"]
    row = found.summary().iloc[0]
    assert (row["figures"], row["first"], row["last"], row["mind"]) == (25, 1995, 2019, 1)
    assert str(found).splitlines()[0] == "p: 1 series (data frame)"
    assert "mind  staff: jumps by" in str(found)


def test_a_series_without_a_figure_is_told():
    table = pd.concat([dataset(clean()).frame(), dataset(clean()).frame().assign(indicator="none", value=np.nan)])
    found = audit(dataset_from(table))
    assert [(one.indicator, one.kind) for one in found.to_mind] == [("none", "few")]
    assert "none" in str(found)
    assert draw_audit(found).axes


def test_the_figure_has_a_chart_for_each_series_and_names_its_marks():
    values = changed(2008, 1.6, onwards=True)
    values[YEARS == 2000] = 0.0
    keep = YEARS != 2003
    figure = draw_audit(audit(dataset(values[keep], years=YEARS[keep], error=0.05 * clean()[keep])))
    figure.draw_without_rendering()
    (axes,) = [axes for axes in figure.axes if axes.axison]
    assert axes.get_title(loc="left") == "Staff"
    assert {text.get_text() for text in figure.legends[0].texts} == {"figure", "no figure", "figure to mind", "jump"}
    with pytest.raises(DataError, match="did you mean 'staff'"):
        draw_audit(audit(dataset(clean())), ["staf"])


BREAKS = """dataset,region,indicator,first_year_after,kind,note
data frame,p,staff,2008,definition,
data frame,*,staff,2001,splice,
data frame,p,staff,2018,truncation,
data frame,q,staff,2005,definition,
other.csv,p,staff,2006,definition,
data frame,p,staff,2031,definition,
data frame,p,*,,volatile,
"""


def test_breaks_of_takes_what_concerns_the_region_and_a_shift_mends(tmp_path):
    path = tmp_path / "breaks.csv"
    path.write_text(BREAKS)
    assert breaks_of(path, dataset(clean())) == {"staff": (2001, 2008)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "breaks.csv has no column dataset, region, indicator, first_year_after, kind"),
        (BREAKS.replace("2008", "20x8"), "breaks.csv: first_year_after '20x8' is not a whole year"),
        ("", "cannot be read as a table of breaks"),
    ],
)
def test_a_bad_table_of_breaks_says_so(tmp_path, text, message):
    path = tmp_path / "breaks.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        breaks_of(path, dataset(clean()))
    assert message in str(caught.value)


@shared
def test_the_high_technology_sector_is_clean():
    sectors = read_datasets(DATA / "us_hightech_sector.csv")
    found = audit(sectors["US-HIGHTECH"], sectors)
    assert len(found.noise) == 14
    assert found.to_mind == ()


@shared
def test_european_tables_show_their_known_faults():
    regions = read_datasets(DATA / "eu_nuts2_innovation.csv")
    bavaria = regions["DE21"]
    found = audit(bavaria, regions)
    (jump,) = [one for one in found.of("scientists_engineers") if not one.good]
    assert (jump.kind, jump.years) == ("common jump", (2011,))
    assert "+26 %" in jump.sentence
    ends = [one for one in found.of("epo_patent_applications") if one.kind == "truncation"]
    assert [one.years for one in ends] == [(2012,)]
    known = breaks_of(DATA / "breaks.csv", bavaria)
    assert known == {"gdp": (2007,), "population": (2008,), "scientists_engineers": (2011,), "hrst_core": (2011,)}
    told = audit(bavaria, regions, breaks=known).of("scientists_engineers")
    assert [one.kind for one in told if one.kind not in ("span", "noise")] == ["known break"]
