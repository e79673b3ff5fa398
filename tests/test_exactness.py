"""What is exactly known: closed forms, orders of convergence, and switches met to the point."""

import numpy as np
import pytest
from support import SHIPPED, SMOOTH, assert_close, feature, tiny

import sd_cluster as sd

METHODS = ("LSODA", "RK45", "DOP853", "RK23", "Radau", "BDF")


def decay(t):
    return {"stock": 100 * np.exp(-t / 4)}


def logistic(t):
    return {"firms": 400 / (1 + (400 / 10 - 1) * np.exp(-0.5 * t))}


def two_stocks(t):
    upper = 80 * np.exp(-0.4 * t)
    passing = 0.4 * 80 / (0.15 - 0.4) * (np.exp(-0.4 * t) - np.exp(-0.15 * t))
    return {"upper": upper, "lower": 20 * np.exp(-0.15 * t) + passing}


CLOSED = {"decay": decay, "logistic": logistic, "two_stocks": two_stocks}


def worst(name, solver):
    """Largest relative distance from the closed form."""
    run = sd.simulate(feature(name), solver=solver)
    return max(np.max(np.abs(run[stock] / exact - 1)) for stock, exact in CLOSED[name](run.times).items())


@pytest.mark.parametrize("name", CLOSED)
def test_runge_kutta_meets_the_closed_form(name):
    assert worst(name, sd.RungeKutta4()) < 1e-6


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("method", METHODS)
def test_continuous_solvers_meet_the_closed_form(name, method):
    tight = 1e-7 if method in {"RK23", "BDF", "LSODA"} else 1e-8
    assert worst(name, sd.Adaptive(rtol=1e-9, atol=1e-11, method=method)) < tight


@pytest.mark.parametrize("name", CLOSED)
def test_halving_the_step_halves_eulers_error(name):
    for step in (1 / 64, 1 / 128):
        ratio = worst(name, sd.Euler(step)) / worst(name, sd.Euler(step / 2))
        assert_close(ratio, 2.0, 0.05, because="the next order of the error is a step smaller")


@pytest.mark.parametrize("name", CLOSED)
def test_halving_the_step_takes_a_sixteenth_of_runge_kuttas_error(name):
    for step in (1 / 2, 1 / 4):
        ratio = worst(name, sd.RungeKutta4(step)) / worst(name, sd.RungeKutta4(step / 2))
        assert_close(ratio, 16.0, 0.2, because="the next order of the error is a step smaller")


@pytest.mark.parametrize("name", [*SMOOTH, *SHIPPED])
def test_adaptive_agrees_with_runge_kutta_at_a_sixteenth_of_the_step(name):
    model = feature(name)
    run = sd.simulate(model)
    backend = "python" if name in SMOOTH else "numba"
    finer = sd.RungeKutta4(model.horizon.step / 16)
    fine = sd.simulate(model, solver=finer, save=run.times.tolist(), backend=backend)
    for variable in run.names:
        if variable in {"TIME STEP", "SAVEPER"}:
            continue
        scale = max(1e-9, np.abs(fine[variable]).max())
        assert_close(run[variable], fine[variable], 0, 1e-6 * scale, because=f"'{variable}': both meet the true curve")


# Switched inflows: between two switches the inflow is a line, and the first-order stock has a closed form.


def switched(times, pieces, residence, level=0.0):
    """Exact levels of `level' = a + b (t - t0) - level / residence` over pieces (t0, a, b)."""
    found = np.empty(len(times))
    ends = [*(start for start, _, _ in pieces[1:]), np.inf]
    for (start, a, b), end in zip(pieces, ends, strict=True):
        offset = residence * (a - b * residence)

        def at(t, start=start, offset=offset, b=b, level=level):
            return offset + residence * b * (t - start) + (level - offset) * np.exp(-(t - start) / residence)

        inside = (times >= start) & (times < end)
        found[inside] = at(times[inside])
        if np.isfinite(end):
            level = at(end)
    return found


def pieces_of_switches():
    """The inflow of the `switches` feature, read off its equations by hand."""
    pulses = [(5 + n, min(5.25 + n, 8.6)) for n in range(4)]
    moments = sorted({0.0, 2.0, 3.0, 4.0, 4.5, 6.0, 8.6, *np.ravel(pulses).tolist()})
    pieces = []
    for start in moments:
        middle = start + 1e-6
        value = 5.0 * (middle > 2) + 15.0 * (4 < middle < 4.5)
        value += 10.0 * any(on < middle < off for on, off in pulses)
        value += 0.5 * (np.clip(start, 3, 6) - 3)
        pieces.append((start, value, 0.5 if 3 <= start < 6 else 0.0))
    return pieces


@pytest.mark.parametrize("method", METHODS)
def test_steps_ramps_and_pulses_are_met_to_the_point(method):
    run = sd.simulate(feature("switches"), solver=sd.Adaptive(method=method), save=0.0625)
    exact = switched(run.times, pieces_of_switches(), 1.5)
    assert np.abs(run["level"] - exact).max() < 1e-6
    assert run.notes == ()


@pytest.mark.parametrize("interval", ["0.4", "0.1"])
def test_a_train_of_many_pulses_is_met_to_the_point(interval):
    """At 0.1, starts and ends of pulses differ from saved times by rounding alone."""
    model = tiny(
        f"""
        level = INTEG(height*PULSE TRAIN(1, 0.03, {interval}, 9.05)-level/residence, 0) ~ widget
        height = 20 ~ widget/Year
        residence = 2 ~ Year
        """,
        step="0.01",
        save="0.1",
    )
    starts = np.arange(1.0, 9.05, float(interval))
    assert len(starts) >= 19
    pieces = [(0.0, 0.0, 0.0)]
    for start in starts:
        pieces += [(start, 20.0, 0.0), (min(start + 0.03, 9.05), 0.0, 0.0)]
    run = sd.simulate(model)
    exact = switched(run.times, pieces, 2.0)
    assert np.abs(run["level"] - exact).max() < 1e-6 * exact.max()
    fixed = sd.simulate(model, solver=sd.RungeKutta4())
    assert_close(fixed["level"], exact, 1e-6, because="pulses fall on steps, so the order stays four")


def test_switches_that_nearly_coincide_are_one():
    """Two moments a rounding error apart stopped LSODA: 'Illegal input detected (internal error)'."""
    model = tiny(
        """
        level = INTEG(STEP(1, 0.3)+PULSE TRAIN(0, 0.05, 0.1, 9), 0) ~ Year
        """,
        step="0.05",
        save="1",
        check_units=False,
    )
    pulses = 0.05 * 10 * np.minimum(np.arange(11), 9)
    assert_close(sd.simulate(model)["level"], np.maximum(np.arange(11) - 0.3, 0) + pulses, 0, 1e-9, because="lines")


@pytest.mark.parametrize(("start", "end"), [("10", "10"), ("0.6", "0.5"), ("9.999999", "10")])
def test_a_switch_at_or_after_the_end_does_not_begin_early(start, end):
    """A step at the very end, or soon after it, was on throughout the last stretch."""
    model = tiny(f"x = INTEG(STEP(1, {start})+0*STEP(1, 9.9), 0)", end=end, check_units=False)
    assert sd.simulate(model)["x"][-1] == pytest.approx(0, abs=2e-6)


@pytest.mark.parametrize("solver", [sd.Adaptive(), sd.RungeKutta4(), sd.Euler()])
def test_at_a_switch_the_new_value_is_reported(solver):
    model = tiny(
        """
        x = INTEG(step in, 0)
        step in = STEP(1, 3)
        after = IF THEN ELSE(Time >= 3, 1, 0)
        """,
        check_units=False,
    )
    run = sd.simulate(model, solver=solver)
    assert run["step in"].tolist() == [0, 0, 0, *[1] * 8]
    assert run["after"].tolist() == [0, 0, 0, *[1] * 8]


RELAXING = """
    level = INTEG((lever-level)/residence, 0) ~ widget
    lever = 1 ~ widget
    residence = 2 ~ Year
"""


@pytest.mark.parametrize("solver", [sd.Adaptive(), sd.RungeKutta4(1 / 64)])
def test_a_series_that_holds_is_met_to_the_point(solver):
    lever = sd.TimeSeries([0, 2.5, 3, 7], [1, 4, 0, 2], kind="previous")
    run = sd.simulate(tiny(RELAXING), sd.Scenario("policy", {"lever": lever}), solver=solver)
    pieces = [(0, 0.5, 0), (2.5, 2, 0), (3, 0, 0), (7, 1, 0)]
    assert_close(run["level"], switched(run.times, pieces, 2.0), 0, 1e-6, because="the lever switches on steps")
    assert run["lever"].tolist() == [1, 1, 1, 0, 0, 0, 0, 2, 2, 2, 2]


@pytest.mark.parametrize("solver", [sd.Adaptive(), sd.RungeKutta4(1 / 64)])
def test_a_series_of_straight_lines_is_met_to_the_point(solver):
    lever = sd.TimeSeries([1, 3, 4, 8], [2, 6, 6, 0])
    run = sd.simulate(tiny(RELAXING), sd.Scenario("policy", {"lever": lever}), solver=solver)
    pieces = [(0, 1, 0), (1, 1, 1), (3, 3, 0), (4, 3, -0.75), (8, 0, 0)]
    assert_close(run["level"], switched(run.times, pieces, 2.0), 0, 1e-6, because="the lever bends on steps")
    assert_close(run["lever"], np.interp(run.times, [1, 3, 4, 8], [2, 6, 6, 0]), 1e-15, because="a line")


def test_a_series_that_holds_begins_on_its_step_whatever_the_rounding():
    """2000 + 3 * 0.1 lies just below 2000.3: the new value came a step late."""
    model = tiny("x = INTEG(lever, 0) \n lever = 1", start="2000", end="2010", step="0.1", save="0.1")
    for tenths in range(1, 100):
        lever = sd.TimeSeries([2000, 2000 + tenths / 10], [0, 1], kind="previous")
        run = sd.simulate(model, sd.Scenario("s", {"lever": lever}), solver=sd.Euler())
        assert_close(run["x"][-1], 10 - tenths / 10, 0, 1e-9, because="sums of tenths")


def test_stiff_and_smooth_agree_where_flows_differ_a_thousandfold():
    model = tiny("""
        fast = INTEG((slow-fast)*rate, 0) ~ widget
        slow = INTEG(-slow/life, 1) ~ widget
        rate = 5000 ~ 1/Year
        life = 3 ~ Year
    """)
    exact = np.exp(-10 / 3) * 5000 / (5000 - 1 / 3)
    for method in ("LSODA", "Radau", "BDF"):
        run = sd.simulate(model, solver=sd.Adaptive(method=method))
        assert_close(run["fast"][-1], exact, 1e-6, because="the solver's own tolerance, added up")
