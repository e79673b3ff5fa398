"""Conditions on the state, located: runs are exact across them, the notes say so, and sliding is an error."""

import math

import numpy as np
import pytest
from support import ALL, assert_close, feature, tiny

import sd_cluster as sd

LOCATE = sd.Adaptive(locate=True)
EXACT = "the edge of a condition is 1e-12 of the largest stock, the solver's accuracy between turns"


def run(equations, solver=LOCATE, **options):
    return sd.simulate(tiny(equations, check_units=False, **options), solver=solver)


def test_a_stock_that_grows_slower_beyond_a_limit_is_exact():
    found = run("s = INTEG(IF THEN ELSE(s < 5, 1, 0.2), 0)")
    times = found.times
    assert_close(found["s"], np.where(times < 5, times, 5 + 0.2 * (times - 5)), 1e-11, 1e-11, because=EXACT)
    assert found.notes == ("1 turn(s) of conditions on the state were located",)
    assert found.names[:1] == ("s",)
    assert not [name for name in found.names if name.startswith("#")]
    assert found.values.shape == (len(times), len(found.names))


@pytest.mark.parametrize("method", ["LSODA", "RK45", "DOP853", "Radau", "BDF"])
def test_every_method_stops_where_a_condition_turns(method):
    """A tank fills to 8, then drains to 2 for ever: a relay with memory, made of a stock that says which."""
    equations = """
        level = INTEG(IF THEN ELSE(phase > 0, 2, -level/2), 1)
        phase = INTEG(IF THEN ELSE(level > 8 :AND: phase > 0, -1e3, IF THEN ELSE(level < 2 :AND: phase < 0, 1e3, 0)), 1)
        seen = IF THEN ELSE(level >= 4, level, 0)
    """
    one = run(equations, sd.Adaptive(method=method, locate=True, rtol=1e-9, atol=1e-11))
    fine = run(equations, sd.Euler(step=1e-5))
    assert "turn(s) of conditions" in one.notes[0]
    assert_close(one["level"], fine["level"], 2e-3, because="Euler's steps of 1e-5 overshoot a rate of 1000")


def test_conditions_in_conditions_and_on_time_times_the_state():
    found = run("s = INTEG(IF THEN ELSE(s*Time > 4, IF THEN ELSE(s > 3, 0, 0.5), 1), 0)")
    times = found.times
    expected = np.where(times < 2, times, np.minimum(2 + 0.5 * (times - 2), 3.0))
    assert_close(found["s"], expected, 1e-9, 1e-9, because=EXACT)


def test_known_times_and_located_ones_work_together():
    found = run("s = INTEG(STEP(1, 2.5) + IF THEN ELSE(s > 2, 1, 0), 0)")
    times = found.times
    expected = np.where(times < 2.5, 0.0, np.where(times < 4.5, times - 2.5, 2 + 2 * (times - 4.5)))
    assert_close(found["s"], expected, 1e-9, 1e-9, because=EXACT)


def test_a_start_that_reads_a_condition_is_the_plain_one():
    found = run("""
        a = IF THEN ELSE(s > 1, 10, 20)
        b = INTEG(a, INITIAL(a) + 1)
        s = INTEG(1, 0)
    """)
    assert found["b"][0] == 21.0
    assert_close(found["b"][-1], 21 + 20 + 90, 1e-11, because=EXACT)


def test_a_change_on_the_way_finds_its_switches():
    model = tiny("s = INTEG(IF THEN ELSE(s < limit, 1, 0), 0) \n limit = 3", check_units=False)
    simulation = sd.Simulation(model, solver=LOCATE)
    simulation.run_to(5)
    assert simulation.now("s") == pytest.approx(3, abs=1e-11)
    simulation.change({"limit": 4})
    simulation.run_to(10)
    assert simulation.run()["s"][-1] == pytest.approx(4, abs=1e-11)
    assert simulation.run()["limit"][-1] == 4


def test_sliding_along_a_condition_is_an_error_that_says_so():
    with pytest.raises(sd.SimulationError, match="near Year 5 the run slides along a condition of 's'") as caught:
        run("s = INTEG(IF THEN ELSE(s < 5, 1, -1), 0)")
    assert math.isclose(caught.value.time, 5.0, abs_tol=1e-6)


@pytest.mark.parametrize("name", [name for name in ALL if name not in {"sample_that_reads_itself"}])
def test_features_without_such_conditions_are_left_as_they_are(name):
    model = feature(name)
    if model.whole is not None or any(n.startswith("#switch") for n in model.parameters):
        return
    from sd_cluster.conditions import located

    if located(model).conditions:
        return
    plain, again = (sd.simulate(model, solver=solver) for solver in (sd.Adaptive(), LOCATE))
    assert np.array_equal(plain.values, again.values, equal_nan=True)
