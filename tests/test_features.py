"""Every feature folder: its .mdl, and its .xmile where there is one, give the expected table."""

import pandas as pd
import pytest
from support import FEATURES, NAMES, assert_runs_agree, feature

import sd_cluster as sd

FILES = [path.name for name in NAMES for path in sorted((FEATURES / name).iterdir()) if path.suffix != ".csv"]


@pytest.mark.parametrize("name", FILES)
def test_a_feature_file_gives_the_expected_table(name):
    folder = FEATURES / name.split(".")[0]
    expected = pd.read_csv(folder / "expected.csv", comment="#", index_col="time")
    model = sd.load(folder / name)
    run = sd.simulate(model, solver=sd.Euler(), save=expected.index.tolist())
    known = [column for column in expected.columns if column in model]
    assert known == list(expected.columns) or name == "maths.xmile", "only XMILE's maths lacks a function"
    assert_runs_agree(run, expected[known], 1e-12, because="Euler's steps, added up in another order")


@pytest.mark.parametrize("name", FILES)
def test_a_feature_file_has_clean_units_and_says_nothing_else(name):
    model = sd.load(FEATURES / name.split(".")[0] / name)
    assert model.notes == ()


@pytest.mark.parametrize("name", NAMES)
def test_an_expected_table_states_its_origin(name):
    first = (FEATURES / name / "expected.csv").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# Origin: ")


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".xmile")])
def test_both_formats_mean_the_same_horizon_and_units(name):
    name = name.removesuffix(".xmile")
    vensim, xmile = feature(name), feature(name, ".xmile")
    theirs, ours = xmile.horizon, vensim.horizon
    assert (theirs.start, theirs.end, theirs.step, theirs.unit) == (ours.start, ours.end, ours.step, ours.unit)
    for variable in xmile.equations:
        if variable.name in vensim and not variable.hidden and variable.name != "SAVEPER":
            assert variable.units.casefold() == vensim.variable(variable.name).units.casefold(), variable.name
