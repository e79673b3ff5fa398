"""Every feature folder: its .mdl, and its .xmile where there is one, give the expected table."""

import pandas as pd
import pytest
from support import ALL, FEATURES, NAMES, assert_close, assert_runs_agree, feature, pysd_run

import sd_cluster as sd
from sd_cluster.kernel import begin, compile_model
from sd_cluster.model import CONTROLS

FILES = [path.name for name in ALL for path in sorted((FEATURES / name).iterdir()) if path.suffix in {".mdl", ".xmile"}]
ORIGINS = {name: (FEATURES / name / "expected.csv").read_text(encoding="utf-8").splitlines()[0] for name in ALL}


def test_there_are_a_hundred_features():
    assert len(ALL) >= 100


@pytest.mark.parametrize("name", FILES)
def test_a_feature_file_gives_the_expected_table(name):
    folder = FEATURES / name.split(".")[0]
    expected = pd.read_csv(folder / "expected.csv", comment="#", index_col="time")
    model = sd.load(folder / name)
    run = sd.simulate(model, solver=sd.Euler(), save=expected.index.tolist())
    known = [column for column in expected.columns if column in model]
    assert known == list(expected.columns) or name == "maths.xmile", "only XMILE's maths lacks a function"
    own = {n for n in run.names if n not in CONTROLS and not n.startswith("net flow of ")}
    assert own <= set(known) or name.split(".")[0] in NAMES, "nothing is left unchecked"
    assert_runs_agree(run, expected[known], 1e-12, because="Euler's steps, added up in another order")


@pytest.mark.parametrize("name", FILES)
def test_a_feature_file_has_clean_units_and_says_nothing_else(name):
    model = sd.load(FEATURES / name.split(".")[0] / name)
    reduced = "a delay of order 3 does not fit into 0.25 with steps of 0.125; it has order 2, as in Vensim"
    assert model.notes == ((f"'reduced': {reduced}",) if name.startswith("delay_of_order") else ())


@pytest.mark.parametrize("name", ALL)
def test_an_expected_table_states_its_origin(name):
    assert ORIGINS[name].startswith("# Origin: ")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if "PySD 3.14.3's own" in ORIGINS[name]])
def test_a_table_that_is_said_to_be_pysds_is(name):
    expected = pd.read_csv(FEATURES / name / "expected.csv", comment="#", index_col="time")
    path = next(path for path in sorted((FEATURES / name).iterdir()) if path.suffix in {".mdl", ".xmile"})
    theirs = pysd_run(path)
    theirs.columns = [column.replace(", ", ",") for column in theirs.columns]
    rows = theirs.loc[[theirs.index[abs(theirs.index - time).argmin()] for time in expected.index]]
    for column in expected.columns:
        assert_close(rows[column].to_numpy(float), expected[column], 1e-9, 1e-12, because="versions of NumPy differ")


@pytest.mark.parametrize("name", ALL)
def test_a_stock_changes_by_its_flow_times_the_step(name):
    """Euler's rule, with no table at all: what PySD's truncated SMOOTHI breaks."""
    model = feature(name)
    kernel = compile_model(model)
    settled, dt, start = kernel.structure, model.horizon.step, model.horizon.start
    p, y = kernel.vector({}), kernel.array(len(kernel.stocks))
    p[kernel.half_step] = dt / 2
    begin(kernel, start, start, p, y)
    n = len(y)
    for step in range(24):
        time, before, flow = start + step * dt, list(y), kernel.array(n)
        kernel.rates(time, time, y, p, flow)
        kernel.euler(start, dt, step, step + 1, [], 0, y, p, kernel.array(n), kernel.array(2 * n + 1), [])
        for slot, stock in enumerate(kernel.stocks):
            after = before[slot] + dt * flow[slot]
            assert y[slot] == (max(after, 0.0) if settled.equations[stock].non_negative else after), stock


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".xmile")])
def test_both_formats_mean_the_same_horizon_and_units(name):
    name = name.removesuffix(".xmile")
    if not (FEATURES / name / f"{name}.mdl").exists():
        return
    vensim, xmile = feature(name, ".mdl"), feature(name, ".xmile")
    theirs, ours = xmile.horizon, vensim.horizon
    assert (theirs.start, theirs.end, theirs.step, theirs.unit) == (ours.start, ours.end, ours.step, ours.unit)
    for variable in xmile.equations:
        if variable.name in vensim and not variable.hidden and variable.name != "SAVEPER":
            assert variable.units.casefold() == vensim.variable(variable.name).units.casefold(), variable.name
