"""Euler's method here equals PySD's own run, wherever PySD is right."""

import pytest
from support import FEATURES, NAMES, SHIPPED, assert_close, assert_runs_agree, pysd_run, tiny

import sd_cluster as sd

CONTROLS = {"FINAL TIME", "INITIAL TIME", "SAVEPER", "TIME STEP"}


def agrees_with_pysd(path):
    run, theirs = sd.simulate(sd.load(path), solver=sd.Euler()), pysd_run(path)
    shared = [name for name in run.names if name in theirs.columns and name not in CONTROLS]
    assert set(run.names) - CONTROLS == set(shared), "PySD knows every variable by the same name"
    assert_close(run.times, theirs.index.to_numpy(float), 0, 1e-9, because="PySD adds its steps up")
    assert_runs_agree(run, theirs[shared].astype(float), 1e-9, because="the same steps, rounded differently")


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_runs_as_in_pysd(name):
    agrees_with_pysd(FEATURES / name / f"{name}.mdl")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_runs_as_in_pysd(name):
    agrees_with_pysd(sd.library.path(name))


def test_a_smooth_with_a_whole_number_as_its_start():
    """PySD 3.14.3 keeps the state of SMOOTHI(2.7, 2, 1) in whole numbers: 1.5 at year 1 for 1 + 1.7 / 2 = 1.85."""
    model = tiny("target = 2.7 ~ widget \n smoothed = SMOOTHI(target, 2, 1) ~ widget", step="1", end="2")
    run = sd.simulate(model, solver=sd.Euler())
    assert_close(run["smoothed"], [1.0, 1.85, 2.275], 1e-15, because="three sums by hand")


def test_logic_binds_and_before_or():
    """PySD 3.14.3 builds `a :AND: b :OR: c` from the right; `and` binds tighter in Vensim."""
    model = tiny("""
        no = 0 ~ dmnl
        yes = 1 ~ dmnl
        last = IF THEN ELSE(no = 1 :AND: no = 1 :OR: yes = 1, 1, 0) ~ dmnl
        first = IF THEN ELSE(yes = 1 :OR: no = 1 :AND: no = 1, 1, 0) ~ dmnl
    """)
    assert sd.simulate(model, solver=sd.Euler()).at(0)["last"] == 1
    assert sd.simulate(model, solver=sd.Euler()).at(0)["first"] == 1


def test_a_power_comes_before_a_sign():
    """PySD's trees are the same for -2^2 and (-2)^2: we had 4 for both, PySD has -4 for both."""
    expressions = {"-2^2": -4, "(-2)^2": 4, "-3^2+1": -8, "8/-2^2": -2, "3*-2^2": -12, "2^-1": 0.5, "2^3^2": 512}
    lines = [f"v{place} = {expression} ~ dmnl" for place, expression in enumerate(expressions)]
    run = sd.simulate(tiny("\n".join(lines)), solver=sd.Euler())
    assert [run[f"v{place}"][0] for place in range(len(lines))] == list(expressions.values())
