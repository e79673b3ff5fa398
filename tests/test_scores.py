"""Scores of forecasts against closed forms, brute force and the definition."""

import numpy as np
import pytest
from scipy import stats
from support import assert_close

from calibration.scores import coverage, crps, inside_shares, log_scores, mape, mase, ranks, rmse


def test_crps_of_a_normal_forecast_is_the_closed_form():
    observed = np.array([-1.0, 0.3, 2.5])
    draws = np.tile(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None], 3)
    exact = observed * (2 * stats.norm.cdf(observed) - 1) + 2 * stats.norm.pdf(observed) - 1 / np.sqrt(np.pi)
    assert_close(
        crps(draws, observed), exact, 2e-4, because="20,000 quantiles (Gneiting and Raftery 2007, equation 21)"
    )


def test_crps_is_the_double_sum_of_its_definition():
    rng = np.random.default_rng(0)
    draws, observed = rng.gamma(2.0, size=(50, 4)), rng.gamma(2.0, size=4)
    apart = np.abs(draws[:, None] - draws[None]).mean(axis=(0, 1))
    assert_close(crps(draws, observed), np.abs(draws - observed).mean(axis=0) - apart / 2, 1e-12, because="rounding")


def test_a_forecast_without_doubt_scores_its_absolute_error():
    assert_close(crps(np.full((30, 2), 5.0), np.array([7.0, 5.0])), [2.0, 0.0], 1e-15, because="exact")


def test_crps_is_proper():
    rng = np.random.default_rng(1)
    observed = rng.normal(size=4000)
    scores = [crps(spread * rng.normal(size=(400, 4000)), observed).mean() for spread in (0.5, 1.0, 2.0)]
    assert scores[1] < min(scores[0], scores[2])


def test_log_scores_average_densities_rather_than_logarithms():
    assert_close(log_scores(np.log(np.array([[0.1], [0.3]]))), [np.log(0.2)], 1e-14, because="mean of 0.1 and 0.3")
    assert log_scores(np.array([[-np.inf], [0.0]]))[0] == np.log(0.5)


def test_ranks_are_uniform_for_an_honest_forecast_and_for_counts():
    rng = np.random.default_rng(2)
    smooth = ranks(rng.normal(size=(99, 3000)), rng.normal(size=3000), seed=3)
    counts = ranks(rng.poisson(1.3, size=(99, 3000)), rng.poisson(1.3, size=3000), seed=4)
    for found in (smooth, counts):
        assert stats.kstest(found, "uniform").pvalue > 0.01
    assert ranks(np.zeros((9, 1)), np.array([1.0]), seed=0)[0] > 0.9


def test_bands_hold_what_lies_between_their_ends():
    draws = np.tile(np.linspace(0.0, 1.0, 101)[:, None], 3)
    assert coverage(draws, np.array([0.05, 0.5, 0.9]), 0.8) == (2, 3)


def test_inside_shares_agree_with_coverage():
    rng = np.random.default_rng(5)
    draws, observed = rng.normal(size=(2000, 200)), rng.normal(0.0, 1.5, 200)
    share = inside_shares(ranks(draws, observed, 6), np.array([0.8, 0.95]))
    exact = [coverage(draws, observed, level)[0] / 200 for level in (0.8, 0.95)]
    assert_close(share, exact, 0.0, 0.011, because="two figures of 200 may stand within a rank of an end")


def test_plain_errors():
    forecast, observed = np.array([2.0, 4.0]), np.array([4.0, 4.0])
    assert mape(forecast, observed) == 25.0 and rmse(forecast, observed) == pytest.approx(np.sqrt(2.0))
    assert np.isnan(mape(forecast, np.array([0.0, 4.0])))


def test_mase_takes_gaps_as_a_random_walk_does():
    forecast, observed = np.array([4.0]), np.array([10.0])
    assert mase(forecast, observed, np.array([2000.0, 2001.0, 2002.0]), np.array([1.0, 3.0, 1.0])) == 3.0
    assert mase(forecast, observed, np.array([2000.0, 2004.0]), np.array([1.0, 5.0])) == 3.0
    assert np.isnan(mase(forecast, observed, np.array([2000.0, 2001.0]), np.array([1.0, 1.0])))
    assert np.isnan(mase(forecast, observed, np.array([2000.0]), np.array([1.0])))
