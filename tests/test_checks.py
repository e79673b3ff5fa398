"""Predictive checks: discrepancies against closed forms, p-values that are uniform for the right model, words."""

import numpy as np
import pytest
from forecasting import VALUES, objective_of, park_likelihood
from scipy import stats
from support import assert_close

from calibration.checks import bumpiness, check_predictions, last_figure, mean_growth, peak_year, persistence
from calibration.noise import AutoRegressive

YEARS = np.arange(2000.0, 2026.0)


def test_statistics_of_exponential_growth():
    years = np.array([2000.0, 2001.0, 2003.0, 2007.0])
    rows = np.vstack([5.0 * np.exp(0.1 * (years - 2000.0)), 7.0 * np.exp(-0.2 * (years - 2000.0))])
    assert_close(mean_growth(years, rows), [0.1, -0.2], 1e-12, because="logarithms of positive figures")
    assert_close(last_figure(years, rows), rows[:, -1], 0.0, because="the figure itself")
    assert peak_year(years, rows).tolist() == [2007.0, 2000.0]
    assert_close(bumpiness(years, rows), [0.0, 0.0], 0.0, 1e-12, because="no departure from constant growth")
    assert_close(persistence(years, np.vstack([[1.0, 1.0, 1.0, 1.0]])), [0.0], 0.0, because="nothing to correlate")


def test_figures_that_may_be_negative_are_taken_as_they_are():
    years = np.array([2000.0, 2002.0, 2004.0])
    rows = np.array([[1.0, 2.0, 3.0], [-1.0, 0.0, 3.0]])
    assert_close(mean_growth(years, rows), [0.5, 1.0], 1e-12, because="one scale for observed and replicated")


def test_spread_and_persistence_of_a_random_walk_and_of_scatter():
    rng = np.random.default_rng(0)
    years = np.cumsum(rng.integers(1, 4, size=3000)).astype(float)
    gaps = np.diff(years, prepend=years[0] - 1.0)
    walk = 1000.0 + np.cumsum(np.sqrt(gaps) * rng.normal(0.0, 0.4, 3000))
    assert_close(
        np.exp(np.log(bumpiness(years, walk[None] - 5000.0))), [0.4], 0.05, because="3,000 changes, whatever the gaps"
    )
    scatter = rng.normal(size=(1, 3000))
    assert abs(persistence(years, scatter)[0]) < 0.06
    assert persistence(years, walk[None] - 5000.0)[0] > 0.95


def test_p_values_of_the_right_model_are_spread_evenly():
    """Figures drawn from the model itself at the place of the draws: each share below is then uniform."""
    model = park_likelihood(YEARS, seed=None).model
    shares = []
    for seed in range(40):
        objective = objective_of(park_likelihood(YEARS, noise=0.05, seed=seed, model=model))
        places = np.tile(objective.place(VALUES), (100, 1))
        found = check_predictions(objective, places, seed=1000 + seed)
        shares.append([one.below for one in found.checks])
        assert len(found.places["park", "firms"]) == len(YEARS)
    for column in np.array(shares).T:
        assert stats.kstest(column, "uniform").pvalue > 0.001


def test_waves_that_the_noise_cannot_make_are_found_and_told():
    twin = park_likelihood(YEARS, noise=AutoRegressive(scale=0.1, correlation=0.95), seed=2)
    plain = park_likelihood(YEARS, noise=0.1, seed=None).with_data(twin.dataset)
    found = check_predictions(objective_of(plain), np.tile(objective_of(plain).place(VALUES), (300, 1)), seed=1)
    bad = {one.statistic for one in found.checks if not one.good}
    assert "year-to-year spread" in bad
    text = str(found)
    assert "moved more smoothly than in" in text and "(year-to-year spread: observed" in text
    assert "unlike the model's replicates" in text
    right = check_predictions(objective_of(twin), np.tile(objective_of(twin).place(VALUES), (300, 1)), seed=1)
    assert all(one.good for one in right.checks if one.statistic == "year-to-year spread")
    assert right.sentences[0].endswith("unknowns: unknowns as given.") or len(right.sentences) > 1


def test_prior_checks_and_own_statistics():
    objective = objective_of(park_likelihood(YEARS, noise=0.05, seed=1))
    found = check_predictions(
        objective, "prior", seed=3, draws=60, statistics={"first figure": lambda years, figures: figures[:, 0]}
    )
    (one,) = found.checks
    assert found.origin == "prior" and one.statistic == "first figure"
    assert one.observed == objective.likelihoods[0].series["firms"].values[0]
    assert 0.0 <= one.p <= 1.0 and found.frame().shape == (1, 9)
    assert "first figure is as the model would have it" in one.text


@pytest.mark.parametrize("count", [1, 2])
def test_series_of_one_or_two_figures_have_places_but_no_statistics(count):
    objective = objective_of(park_likelihood(YEARS[:count], noise=0.05, seed=1))
    found = check_predictions(objective, "prior", seed=3, draws=30)
    assert not found.checks and len(found.places["park", "firms"]) == count
