"""Soft constraints and patterns: found where closed forms have them, with the slopes of central differences."""

import numpy as np
import pytest

from calibration.patterns import Bound, GrowthRate, HalfLife, Peak, TakeOff, pattern_from
from sd_cluster.errors import FitError, SimulationError

TIMES = Peak("x", 2000, 1).times(1980.0, 2020.0, 0.125)


def _logistic(times, middle=2000.0):
    return 100.0 / (1.0 + np.exp(-0.3 * (times - middle)))


def _wave(times):
    return 50.0 * np.exp(-(((times - 1997.3) / 9.0) ** 2)) + 0.1


def _fall(times):
    return 80.0 * np.exp(-0.1 * (times - 1980.0))


def _rise(times):
    return 10.0 * np.exp(0.05 * (times - 1980.0))


def _slopes_by_differences(judge, times, values):
    found = np.zeros_like(values)
    for k in range(values.size):
        step = np.zeros_like(values)
        step[k] = 1e-6
        ahead, behind = (judge.judge(times, (values + sign * step)[:, None])[0] for sign in (1, -1))
        found[k] = (ahead - behind) / 2e-6
    return found


CASES = {
    "bound from above": (Bound("x", at_most=60.03, tolerance=7.0), _logistic),
    "bound on both sides in some years": (Bound("x", 80.01, 30.02, tolerance=7.0, years=(1990, 2012)), _logistic),
    "take-off": (TakeOff("x", 20.01, 1990, 2.0), _logistic),
    "take-off that never comes": (TakeOff("x", 200.0, 1990, 2.0), _logistic),
    "take-off that never comes, of a wave": (TakeOff("x", 70.0, 1990, 2.0), _wave),
    "take-off before the start": (TakeOff("x", 5.0, 1990, 2.0), _rise),
    "peak": (Peak("x", 1995, 2.0), _wave),
    "peak beyond the end": (Peak("x", 1995, 2.0), _rise),
    "peak before the start": (Peak("x", 1995, 2.0), _fall),
    "half-life after a peak": (HalfLife("x", 5.0, 1.0), _wave),
    "half-life from the start": (HalfLife("x", 5.0, 1.0), _fall),
    "half-life that is not reached": (HalfLife("x", 5.0, 1.0), lambda t: 40.0 + _wave(t)),
    "half-life in one step": (HalfLife("x", 5.0, 1.0), lambda t: np.where(t < 2000.0, 1.0 + (t - 1980.0) / 20.0, 0.2)),
    "half-life of a rise": (HalfLife("x", 5.0, 1.0), _rise),
    "half-life between years": (HalfLife("x", 5.0, 1.0, years=(1990, 2000.03)), _fall),
    "half-life between years of a rise": (HalfLife("x", 5.0, 1.0, years=(1990, 2000.03)), _rise),
    "growth": (GrowthRate("x", 1985.05, 1999.5, 0.1, 0.02), _rise),
}


@pytest.mark.parametrize("case", CASES)
def test_slopes_are_those_of_central_differences(case):
    judge, trajectory = CASES[case]
    times = judge.times(1980.0, 2020.0, 0.5)
    values = trajectory(times)
    payoff, slopes = judge.judge(times, values[:, None])
    assert payoff > 0.0 and slopes.shape == (times.size, 1)
    expected = _slopes_by_differences(judge, times, values)
    assert slopes[:, 0] == pytest.approx(expected, rel=2e-5, abs=1e-6 * np.abs(expected).max())
    assert np.any(slopes != 0.0)


def test_a_bound_costs_a_half_for_one_tolerance_during_one_year_whatever_the_step():
    bound = Bound("trust", at_most=0.9, tolerance=0.05, years=(1990, 1994))
    for step in (1.0, 0.25, 0.0625):
        times = bound.times(1980.0, 2020.0, step)
        assert (times[0], times[-1]) == (1990.0, 1994.0)
        assert bound.judge(times, np.full((times.size, 1), 0.95))[0] == pytest.approx(4 * 0.5)
        payoff, slopes = bound.judge(times, np.full((times.size, 1), 0.9))
        assert payoff == 0.0 and not slopes.any()
    assert bound.name == "trust at most 0.9" and bound.variables == ("trust",)
    assert Bound("trust", 0.9, 0.1, tolerance=0.1).name == "trust at least 0.1 and at most 0.9"


def test_take_off_is_found_between_steps():
    found, _ = TakeOff("x", 20.0, 1990, 2.0).find(TIMES, _logistic(TIMES))
    assert found == pytest.approx(2000.0 - np.log(4.0) / 0.3, abs=1e-3), "straight within an eighth of a year"
    line, _ = TakeOff("x", 20.0, 1990, 2.0).find(np.array([1990.0, 1991.0]), np.array([18.0, 22.0]))
    assert line == 1990.5
    payoff, _ = TakeOff("x", 20.0, 1992.5, 2.0).judge(np.array([1990.0, 1991.0]), np.array([[18.0], [22.0]]))
    assert payoff == pytest.approx(0.5)


def test_what_never_takes_off_is_pulled_towards_it_and_what_started_above_is_pushed_below():
    low = TakeOff("x", 120.0, 1990, 2.0)
    payoff, slopes = low.judge(TIMES, _logistic(TIMES)[:, None])
    nearer, _ = low.judge(TIMES, 1.1 * _logistic(TIMES)[:, None])
    touched, _ = low.find(TIMES, 120.0 / _logistic(TIMES)[-1] * _logistic(TIMES))
    almost, _ = low.find(TIMES, 119.999 / _logistic(TIMES)[-1] * _logistic(TIMES))
    assert slopes.min() < 0.0 and slopes.max() == 0.0 and nearer < payoff
    assert touched == pytest.approx(2020.0) and almost == pytest.approx(touched, abs=1e-2)
    early = TakeOff("x", 5.0, 1990, 2.0)
    payoff, slopes = early.judge(TIMES, _rise(TIMES)[:, None])
    assert slopes[0, 0] > 0.0 and payoff > 0.5 * 5.0**2, "farther than a take-off at the start"


def test_peak_of_a_parabola_is_exact_and_of_a_wave_near():
    parabola = 3.0 - (TIMES - 1997.31) ** 2
    assert Peak("x", 1995, 2.0).find(TIMES, parabola)[0] == pytest.approx(1997.31, abs=1e-9)
    assert Peak("x", 1995, 2.0).find(TIMES, _wave(TIMES))[0] == pytest.approx(1997.3, abs=1e-4)


def test_peaks_beyond_the_run_are_farther_the_steeper_the_end_and_meet_those_within():
    peak = Peak("x", 1995, 2.0)
    assert peak.find(TIMES, TIMES)[0] == pytest.approx(2020.0 - 0.0625 + 40.0), "a line: the length of the run beyond"
    assert peak.find(TIMES, -TIMES)[0] == pytest.approx(1980.0 + 0.0625 - 40.0)
    around = [peak.find(TIMES, -((TIMES - 2020.0 + 0.0625 + shift) ** 2))[0] for shift in (1e-9, -1e-9)]
    assert around == pytest.approx([2020.0 - 0.0625] * 2, abs=1e-5)


def test_half_life_of_a_decay_is_log_two_over_its_rate():
    expected = np.log(2.0) / 0.1
    assert HalfLife("x", 5.0, 1.0).find(TIMES, _fall(TIMES))[0] == pytest.approx(expected, abs=1e-3)
    between = HalfLife("x", 5.0, 1.0, years=(1990, 2000))
    times = between.times(1980.0, 2020.0, 0.125)
    assert times.tolist() == [1990.0, 2000.0]
    assert between.find(times, _fall(times))[0] == pytest.approx(expected)
    assert between.judge(times, _fall(times)[:, None])[0] == pytest.approx(
        0.5 * ((0.1 - np.log(2.0) / 5.0) / (np.log(2.0) / 25.0)) ** 2
    )
    exact = HalfLife("x", expected, 1.0, years=(1990, 2000))
    assert exact.judge(times, _fall(times)[:, None])[0] == pytest.approx(0.0, abs=1e-20)


def test_half_life_after_a_peak():
    found, _ = HalfLife("x", 5.0, 1.0).find(TIMES, _wave(TIMES) - 0.1)
    assert found == pytest.approx(9.0 * np.sqrt(np.log(2.0)), abs=2e-3)
    slower, _ = HalfLife("x", 5.0, 1.0).find(TIMES, _wave(TIMES) + 60.0)
    slow, _ = HalfLife("x", 5.0, 1.0).find(TIMES, _wave(TIMES) + 55.0)
    rising, _ = HalfLife("x", 5.0, 1.0).find(TIMES, _rise(TIMES))
    assert found < slow < slower < rising, "the farther from half the peak, the longer"


def test_mean_growth_between_steps_too():
    growth = GrowthRate("x", 1985.0, 1995.0, 0.04, 0.01)
    times = growth.times(1980.0, 2020.0, 0.125)
    assert times.tolist() == [1985.0, 1995.0]
    assert growth.find(times, _rise(times))[0] == pytest.approx(0.05)
    assert growth.judge(times, _rise(times)[:, None])[0] == pytest.approx(0.5)
    between = GrowthRate("x", 1985.05, 1995.05, 0.04, 0.01)
    times = between.times(1980.0, 2020.0, 0.125)
    assert times.tolist() == [1985.0, 1985.125, 1995.0, 1995.125]
    assert between.find(times, _rise(times))[0] == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("step", [0.1, 1 / 3, 1 / 128])
def test_steps_are_those_of_the_run(step):
    times = Peak("x", 2000, 1).times(1980.0, 1990.0, step)
    assert times[0] == 1980.0 and times[-1] == pytest.approx(1990.0, abs=1e-8)
    assert np.diff(times) == pytest.approx(np.full(times.size - 1, step), abs=2e-9)


def test_patterns_of_a_study_file():
    made = [
        pattern_from({"kind": "bound", "variable": "trust", "at_most": 0.9, "tolerance": 0.05, "years": [1990, 2000]}),
        pattern_from({"kind": "take-off", "variable": "firms", "level": 50, "year": 1985, "error": 2}),
        pattern_from({"kind": "peak", "variable": "firms", "year": 2001, "error": 2}),
        pattern_from({"kind": "half-life", "variable": "firms", "value": 8, "error": 2, "years": [1990, 2000]}),
        pattern_from({"kind": "growth-rate", "variable": "firms", "first": 1, "last": 2, "value": 0.1, "error": 0.01}),
    ]
    assert made == [
        Bound("trust", at_most=0.9, tolerance=0.05, years=(1990, 2000)),
        TakeOff("firms", 50, 1985, 2),
        Peak("firms", 2001, 2),
        HalfLife("firms", 8, 2, years=(1990, 2000)),
        GrowthRate("firms", 1, 2, 0.1, 0.01),
    ]
    assert [one.name for one in made] == [
        "trust at most 0.9",
        "take-off of firms past 50",
        "peak of firms",
        "half-life of firms",
        "growth of firms from 1 to 2",
    ]
    assert len({hash(one) for one in made}) == 5


WRONG = {
    "bound without a level": (
        lambda: Bound("trust", tolerance=0.1),
        "the bound of 'trust' has no level; give at_most or at_least",
    ),
    "bounds that cross": (
        lambda: Bound("trust", 0.1, 0.9, tolerance=0.1),
        "Bound of 'trust' has at_most 0.1; expected no less than at_least, 0.9",
    ),
    "level as text": (
        lambda: Bound("trust", "high", tolerance=0.1),
        "Bound of 'trust' has at_most 'high'; expected a number",
    ),
    "no tolerance": (
        lambda: Bound("trust", 0.9, tolerance=0.0),
        "Bound of 'trust' has tolerance 0.0; expected a number above zero",
    ),
    "years turned round": (
        lambda: Bound("trust", 0.9, tolerance=0.1, years=(2000, 1990)),
        "Bound of 'trust' has years (2000, 1990); expected two years, the first below the last",
    ),
    "one year": (
        lambda: HalfLife("x", 5, 1, years=2000),
        "HalfLife of 'x' has years 2000; expected two years, the first below the last",
    ),
    "error of zero": (lambda: Peak("x", 2000, 0), "Peak of 'x' has error 0; expected a number above zero"),
    "half-life of zero": (lambda: HalfLife("x", 0, 1), "HalfLife of 'x' has value 0; expected a number above zero"),
    "year that is none": (lambda: Peak("x", float("nan"), 1), "Peak of 'x' has year nan; expected a number"),
    "level of zero": (
        lambda: TakeOff("x", 0, 2000, 1),
        "TakeOff of 'x' has level 0; expected a number other than zero, since distances are taken relative to it",
    ),
    "growth over no time": (
        lambda: GrowthRate("x", 2000, 2000, 0.1, 0.1),
        "GrowthRate of 'x' has last 2000; expected a year after the first, 2000",
    ),
    "growth outside the run": (
        lambda: GrowthRate("x", 1970, 2000, 0.1, 0.1).times(1980, 2020, 0.5),
        "growth of x from 1970 to 2000: the run goes from 1980 to 2020; extend its horizon or drop it",
    ),
    "bound outside the run": (
        lambda: Bound("x", 1, tolerance=0.1, years=(2030, 2040)).times(1980, 2020, 0.5),
        "x at most 1: the run, 1980 to 2020, has no two steps from 2030 to 2040",
    ),
    "no kind": (
        lambda: pattern_from({"variable": "x"}),
        "a pattern has no kind; expected one of bound, take-off, peak, half-life, growth-rate",
    ),
    "unknown kind": (
        lambda: pattern_from({"kind": "takeoff"}),
        "a pattern has the kind 'takeoff' (did you mean 'take-off'?); expected one of bound, take-off, peak, "
        "half-life, growth-rate",
    ),
    "missing error": (
        lambda: pattern_from({"kind": "peak", "variable": "x", "year": 2000}),
        "a pattern of kind 'peak' needs 'error'; it takes variable, year, error",
    ),
    "unknown key": (
        lambda: pattern_from({"kind": "bound", "variable": "x", "at_mots": 2000}),
        "a pattern of kind 'bound' has no 'at_mots' (did you mean 'at_most'?); it takes variable, at_most, at_least, "
        "tolerance, years",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_wrong_pattern_gives_one_clear_error(case):
    make, expected = WRONG[case]
    with pytest.raises(FitError) as caught:
        make()
    assert str(caught.value) == expected


FAILED = {
    "no number": (Peak("x", 2000, 1), [1.0, np.nan, 2.0], "'x' is nan at 1, so its course cannot be judged"),
    "no move": (Peak("x", 2000, 1), [1.0, 1.0, 1.0], "'x' does not move, so it has no peak"),
    "no half": (
        HalfLife("x", 5, 1),
        [-3.0, -1.0, -2.0],
        "'x' does not move, or peaks below zero, so it has no half-life",
    ),
    "no logarithm": (GrowthRate("x", 0, 2, 0.1, 1), [1.0, 1.0, 0.0], "'x' is 0 in 2, which has no rate of growth"),
}


@pytest.mark.parametrize("case", FAILED)
def test_a_run_that_cannot_be_judged_is_told(case):
    judge, values, expected = FAILED[case]
    with pytest.raises(SimulationError) as caught:
        judge.judge(np.arange(3.0), np.array(values)[:, None])
    assert str(caught.value) == expected
