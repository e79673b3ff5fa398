"""Naive forecasts: against textbook formulas, closed forms and statsmodels; gaps; honest refusals."""

import numpy as np
import pytest
from scipy import stats
from support import assert_close

from calibration.baselines import (
    Naive,
    drift,
    last_value,
    logistic_curve,
    naive_forecasts,
    smoothing,
    typical_region,
)
from sd_cluster.errors import DataError

YEARS = np.arange(2000.0, 2020.0)
AHEAD = np.arange(2020.0, 2026.0)


def walk(seed: int, steps: int = 20, slope: float = 0.0) -> np.ndarray:
    return 100.0 + np.cumsum(np.random.default_rng(seed).normal(slope, 2.0, steps))


def test_last_value_is_the_textbook_forecast():
    values = walk(1)
    found = last_value(YEARS, values, AHEAD)
    sigma = np.sqrt(np.mean(np.diff(values) ** 2))
    assert_close(found.point, np.full(6, values[-1]), 1e-15, because="the last value itself")
    assert_close(found.sd, sigma * np.sqrt(np.arange(1, 7)), 1e-13, because="sigma sqrt(h), section 5.5 of the book")


def test_drift_is_the_textbook_forecast():
    values = walk(2, slope=3.0)
    found = drift(YEARS, values, AHEAD)
    steps, length = np.arange(1, 7), len(values) - 1
    slope = (values[-1] - values[0]) / length
    sigma = np.sqrt(np.sum((np.diff(values) - slope) ** 2) / (length - 1))
    assert_close(found.point, values[-1] + slope * steps, 1e-13, because="the line through first and last")
    assert_close(found.sd, sigma * np.sqrt(steps * (1 + steps / length)), 1e-13, because="section 5.5 of the book")


@pytest.mark.parametrize("method", [last_value, drift])
def test_a_random_walk_with_gaps_is_covered_as_often_as_said(method):
    rng = np.random.default_rng(7)
    inside = np.zeros(2)
    for _ in range(600):
        path = np.cumsum(rng.normal(0.5 if method is drift else 0.0, 1.0, 30))
        kept = np.sort(np.append(rng.choice(19, 11, replace=False), 19))
        found = method(kept.astype(float), path[kept], np.array([20.0, 29.0]))
        low, high = found.interval(0.8)
        inside += (path[[20, 29]] >= low) & (path[[20, 29]] <= high)
    assert_close(inside / 600, [0.8, 0.8], 0.0, 0.05, because="three standard errors of a share of 600")


def test_gaps_leave_the_variance_of_a_year_alone():
    yearly = last_value(np.arange(5.0), np.array([0.0, 1.0, 0.0, 1.0, 0.0]), np.array([5.0]))
    every_fourth = last_value(np.arange(0.0, 20.0, 4.0), 2.0 * np.array([0.0, 1.0, 0.0, 1.0, 0.0]), np.array([17.0]))
    assert_close(every_fourth.sd, yearly.sd, 1e-14, because="changes twice as large over gaps of four years")


def test_logarithms_forecast_growth_and_stay_positive():
    values = 5.0 * 1.1 ** np.arange(10)
    naive = naive_forecasts(np.arange(10.0), values, np.array([10.0, 12.0]), logarithmic=True)
    assert_close(naive[1].point, 5.0 * 1.1 ** np.array([10.0, 12.0]), 1e-12, because="constant growth goes on")
    wild = naive_forecasts(YEARS, np.tile([1.0, 9.0], 10), AHEAD, logarithmic=True)
    assert all((one.interval(0.95)[0] > 0.0).all() for one in wild if not one.refused)


def test_a_logistic_curve_gives_its_ceiling_back():
    truth = 640.0 / (1.0 + np.exp(-0.4 * (YEARS - 2008.0)))
    found = logistic_curve(YEARS, truth, AHEAD)
    assert not found.refused
    assert_close(
        found.point, 640.0 / (1.0 + np.exp(-0.4 * (AHEAD - 2008.0))), 1e-6, because="least squares of exact figures"
    )
    falling = 640.0 / (1.0 + np.exp(0.4 * (YEARS - 2008.0)))
    assert_close(
        logistic_curve(YEARS, falling, AHEAD).point, 640.0 / (1.0 + np.exp(0.4 * (AHEAD - 2008.0))), 1e-4,
        because="least squares of exact figures, far down the tail",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("logarithmic", [False, True])
def test_logistic_bands_cover_new_figures(logarithmic):
    rng = np.random.default_rng(3)
    curve = np.log(300.0) - np.logaddexp(0.0, -0.4 * (np.arange(2000.0, 2026.0) - 2010.0))
    curve = curve if logarithmic else np.exp(curve)
    sd = 0.05 if logarithmic else 8.0
    inside = []
    for _ in range(60):
        figures = curve + rng.normal(0.0, sd, len(curve))
        found = logistic_curve(YEARS, np.maximum(figures[:20], 1.0), AHEAD, logarithmic)
        low, high = found.mean + found.sd * stats.t.ppf([[0.1], [0.9]], found.freedom)
        inside.append(np.mean((figures[20:] >= low) & (figures[20:] <= high)))
    assert_close(np.mean(inside), 0.8, 0.0, 0.08, because="60 curves of 6 related years: an error of about 0.025")


def test_a_logistic_curve_is_refused_where_nothing_bends():
    assert "ceiling" in logistic_curve(YEARS, 100.0 * 1.1 ** np.arange(20), AHEAD).refused
    assert "four figures" in logistic_curve(YEARS[:3], np.array([1.0, 2.0, 3.0]), AHEAD).refused
    assert "above zero" in logistic_curve(YEARS, np.arange(20.0), AHEAD).refused
    refused = logistic_curve(YEARS, np.arange(20.0), AHEAD)
    assert np.isnan(refused.point).all() and np.isnan(refused.interval(0.8)[0]).all()


def test_smoothing_is_statsmodels_own_and_a_walk_keeps_its_last_value():
    from statsmodels.tsa.statespace.exponential_smoothing import ExponentialSmoothing

    values = walk(1)
    found = smoothing(YEARS, values, AHEAD)
    model = ExponentialSmoothing(values, initialization_method="estimated", concentrate_scale=True)
    direct = model.fit(disp=0)
    assert found.how == "without a trend"
    forecast = direct.get_forecast(6)
    assert_close(found.point, forecast.predicted_mean, 1e-4, because="two searches of one likelihood")
    wider = np.sqrt(20.0 / 18.0)  # over the degrees of freedom left by the smoothing and the first level
    assert_close(found.sd, forecast.se_mean * wider, 1e-3, because="two searches of one likelihood")


def test_smoothing_finds_a_trend_and_passes_over_gaps():
    rng = np.random.default_rng(5)
    values = 50.0 + 4.0 * np.arange(20.0) + rng.normal(0.0, 1.0, 20)
    kept = np.array([0, 1, 2, 4, 5, 8, 9, 10, 12, 13, 15, 16, 17, 18, 19])
    found = smoothing(YEARS[kept], values[kept], AHEAD)
    assert found.how == "with a trend, the filter passing over 5 missing years"
    assert_close(found.point, 50.0 + 4.0 * np.arange(20.0, 26.0), 0.03, because="noise of 1 on figures above 120")


def test_smoothing_of_biennial_figures_is_that_of_yearly_ones_for_a_walk():
    values = walk(4)
    yearly = smoothing(YEARS, values, AHEAD)
    sparse = smoothing(2000.0 + 2.0 * np.arange(20), values, np.array([2039.0, 2040.0]))
    assert_close(sparse.point[1], yearly.point[0], 1e-2, because="both end at the last figure")
    assert sparse.sd[1] > sparse.sd[0]


@pytest.mark.parametrize(
    ("values", "why"),
    [(np.array([5.0, 6.0, 7.0]), "four figures"), (np.full(10, 3.0), "equal")],
)
def test_smoothing_says_why_it_is_refused(values, why):
    assert why in smoothing(YEARS[: len(values)], values, AHEAD).refused


def test_one_and_two_figures_have_a_forecast_but_no_spread():
    last, straight, *rest = naive_forecasts([2000], [5.0], [2001])
    assert last.point == [5.0] and np.isinf(last.sd).all()
    assert straight.refused and all(one.refused for one in rest)
    _, straight, *_ = naive_forecasts([2000, 2001], [5.0, 6.0], [2002])
    assert straight.point == [7.0] and np.isinf(straight.interval(0.8)[1]).all()


def test_a_constant_series_is_forecast_as_it_is():
    last, straight, _, smooth = naive_forecasts(YEARS, np.full(20, 4.0), AHEAD)
    assert (last.point == 4.0).all() and (straight.point == 4.0).all() and smooth.refused


def test_densities_and_probabilities_are_those_of_the_bands():
    for logarithmic in (False, True):
        found = Naive("any", AHEAD[:1], np.array([1.0]), np.array([0.5]), 5.0, logarithmic, "")
        grid = np.linspace(1e-4 if logarithmic else -30.0, 60.0, 400_001)
        dense = np.exp([found.log_density(np.array([x]))[0] for x in grid[::4000]])
        where = np.array([found.below(np.array([x]))[0] for x in grid[::4000]])
        assert_close(
            np.gradient(where, grid[::4000])[5:-5].sum(), dense[5:-5].sum(), 0.1, because="a coarse grid of derivatives"
        )
        for share in (0.05, 0.5, 0.9):
            assert_close(found.below(found.quantile(share)), [share], 1e-12, because="inverse of one another")
    assert found.log_density(np.array([-1.0])) == -np.inf and found.below(np.array([0.0])) == 0.0


def test_a_typical_region_is_the_middle_of_the_others():
    others = {"a": (np.array([2000.0, 2001.0]), np.array([2.0, 4.0])), "b": (np.array([2000.0]), np.array([8.0]))}
    found = typical_region(others, np.array([2000.0, 2001.0]))
    assert_close(found.point, [4.0, 4.0], 1e-14, because="geometric mean")
    assert_close(
        found.sd[0], np.log(8.0 / 2.0) / np.sqrt(2.0) * np.sqrt(1.5), 1e-14, because="sd of two, and of their mean"
    )
    assert np.isinf(found.sd[1]), "one region tells nothing of the spread"
    assert typical_region({}, AHEAD).refused


@pytest.mark.parametrize(
    ("years", "values", "ahead", "text"),
    [
        ([2000, 1999], [1, 2], [2001], "do not increase"),
        ([2000, 2001], [1, np.nan], [2002], "not finite"),
        ([2000, 2001], [1, 2], [2001], "lie after 2001"),
        ([], [], [2001], "one figure for each year"),
    ],
)
def test_faults_are_one_clear_message(years, values, ahead, text):
    with pytest.raises(DataError, match=text):
        naive_forecasts(years, values, ahead, name="firms")


def test_logarithms_of_zero_are_refused():
    with pytest.raises(DataError, match="firms has 0 in 2001"):
        naive_forecasts([2000, 2001], [1, 0], [2002], logarithmic=True, name="firms")
