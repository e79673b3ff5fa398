"""Forecasts: closed forms of bands, factors and remembered residuals; where draws come from; faults."""

from types import SimpleNamespace

import numpy as np
import pytest
from forecasting import VALUES, figures, firms_at, fitted, objective_of, park_likelihood
from scipy import special
from support import assert_close
from twins import GAUGES, RANGES, park, write_twin

import calibration as cal
from calibration.forecasts import forecast_from, laplace_places, places_from, predict
from calibration.likelihood import Likelihood
from calibration.noise import AutoRegressive, LogNormal
from calibration.priors import range_prior
from sd_cluster.errors import FitError

YEARS = np.arange(2000.0, 2016.0)
AHEAD = np.array([2016.0, 2020.0, 2030.0])


def still(likelihood, values, years, **settings):
    """A forecast of many draws that are all one point, so that only noise is left."""
    count = settings.pop("count", 4000)
    rows = np.tile(values, (count, 1))
    return forecast_from(likelihood, rows, rows, years, origin="unknowns as given", seed=1, **settings)


def test_without_doubt_only_the_noise_is_left():
    one = park_likelihood(YEARS, noise=0.1, seed=None)
    found = still(one, VALUES, AHEAD)["firms"]
    assert_close(found.model[0], firms_at(AHEAD), 1e-6, because="Runge-Kutta with steps of an eighth of a year")
    assert_close(np.std(np.log(found.figures), axis=0), np.full(3, 0.1), 0.05, because="4,000 draws: 1.1 % of error")
    low, high = found.interval(0.8)
    assert_close(np.log(high / low), np.full(3, 2 * 1.2816 * 0.1), 0.06, because="quantiles of 4,000 draws")
    assert_close(found.point, firms_at(AHEAD), 0.01, because="medians of 4,000 draws")
    low, high = found.interval(0.8, noise=False)
    assert_close(high, low, 1e-12, because="all draws are one point")


def test_a_run_is_prolonged_beyond_its_horizon():
    one = park_likelihood(YEARS, noise=0.1, seed=None)
    assert one.horizon.end < 2060.0
    assert_close(
        still(one, VALUES, [2060.0], count=30)["firms"].model[0], firms_at(2060.0), 1e-6, because="closed form"
    )


def test_a_solved_factor_is_as_uncertain_as_its_figures_make_it():
    one = park_likelihood(YEARS, noise=0.1, names=("revenue",), seed=4)
    found = still(one, VALUES, AHEAD)["revenue"]
    residuals = np.log(one.series["revenue"].values) - np.log(one.outcome(VALUES)["revenue"].predicted)
    assert abs(residuals.mean()) < 1e-12, "the solved factor leaves no mean"
    spread = np.std(np.log(found.model), axis=0)
    assert_close(spread, np.full(3, 0.1 / np.sqrt(len(YEARS))), 0.05, because="a mean of 16 logarithms, 4,000 draws")
    assert_close(np.corrcoef(np.log(found.model[:, :2]).T)[0, 1], 1.0, 1e-9, because="one factor for all years")
    total = np.hypot(0.1, 0.1 / 4.0)
    assert_close(np.std(np.log(found.figures), axis=0), np.full(3, total), 0.05, because="noise on top")


@pytest.mark.parametrize("log", [True, False])
def test_autoregressive_figures_start_from_the_last_residual(log):
    scale = 0.2 if log else 30.0
    one = park_likelihood(YEARS, noise=AutoRegressive(scale=scale, correlation=0.8, log=log), seed=None)
    values = one.series["firms"].values.copy()
    off = 0.3 if log else 40.0
    values[-1] = values[-1] * np.exp(off) if log else values[-1] + off
    one = one.with_data(cal.dataset.dataset_from(figures("firms", YEARS, values)))
    found = still(one, VALUES, AHEAD)["firms"]
    shown = np.log(found.figures / firms_at(AHEAD)) if log else found.figures - firms_at(AHEAD)
    carried = 0.8 ** (AHEAD - 2015.0)
    assert_close(shown.mean(axis=0), off * carried, 0.0, 0.06 * scale, because="three standard errors of 4,000 draws")
    assert_close(shown.std(axis=0), scale * np.sqrt(1 - carried**2), 0.05, because="4,000 draws")
    past = still(one, VALUES, [2014.0])["firms"].figures[:, 0]
    shown = np.log(past / firms_at(2014.0)) if log else past - firms_at(2014.0)
    assert_close(shown.mean(), 0.0, 0.0, 0.06 * scale, because="figures in the past are replicated afresh")


def test_known_errors_of_figures_to_come_widen_their_bands():
    one = park_likelihood(YEARS, noise=0.1, seed=None)
    found = still(one, VALUES, AHEAD, errors={"firms": np.array([np.nan, 0.1 * firms_at(2020.0), np.nan])})["firms"]
    spread = np.std(np.log(found.figures), axis=0)
    assert_close(spread, [0.1, 0.1 * np.sqrt(2.0), 0.1], 0.05, because="4,000 draws")


def test_factors_from_elsewhere_replace_solved_ones():
    one = park_likelihood(YEARS, noise=0.1, names=("revenue",), seed=4)
    own = one.outcome(VALUES)["revenue"].judged.factor
    plain = still(one, VALUES, AHEAD, count=30, factors={"revenue": np.full(30, own)})["revenue"].model
    double = still(one, VALUES, AHEAD, count=30, factors={"revenue": np.full(30, 2.0 * own)})["revenue"].model
    assert_close(double, 2.0 * plain, 1e-12, because="twice the factor")


def test_years_may_differ_between_series():
    one = park_likelihood(YEARS, noise=0.1, names=("firms", "staff"), seed=None)
    found = still(one, VALUES, {"firms": np.array([2016.0]), "staff": np.array([2017.0, 2018.0])}, count=30)
    assert found["firms"].figures.shape == (30, 1) and found["staff"].years.tolist() == [2017.0, 2018.0]
    frame = found.frame()
    assert len(frame) == 3 and {"median", "low_80", "model_high_95"} <= set(frame.columns)


def test_the_same_seed_gives_the_same_numbers_and_another_others():
    objective = objective_of(park_likelihood(YEARS, noise=LogNormal(), seed=2))
    first, again, other = (predict(objective, "prior", AHEAD, seed=seed, draws=50) for seed in (3, 3, 4))
    assert np.array_equal(first["firms"].figures, again["firms"].figures)
    assert not np.array_equal(first["firms"].figures, other["firms"].figures)


def test_prior_predictive_bands_are_those_of_the_prior():
    objective = objective_of(park_likelihood(YEARS, noise=0.05, free=("initial firms",), seed=None))
    found = predict(objective, "prior", [2000.0], seed=5, draws=1000)
    assert found.origin == "prior"
    low, high = found["firms"].interval(0.9, noise=False)
    assert_close(
        [low[0], high[0]], [10.0, 90.0], 0.03, because="30 firms within a factor of 3, 1,000 draws of a hypercube"
    )


def test_the_laplace_approximation_of_a_normal_posterior_is_that_posterior():
    objective = objective_of(park_likelihood(YEARS, noise=0.02, free=("initial firms",), seed=6))
    best = fitted(objective)
    places, origin = laplace_places(objective, best.place, 1500, seed=1)
    exact = 1.0 / np.sqrt(objective.information(best.place)[0, 0])
    assert "reweighed (Pareto k" in origin and "sample" not in origin
    assert_close(places.std(), exact, 0.06, because="3,000 weighed draws of a posterior that is nearly normal")
    assert_close(places.mean(), best.place[0], 0.0, 0.15 * exact, because="3,000 weighed draws")


@pytest.mark.slow
def test_a_forecast_from_a_fit_at_a_bound_is_that_of_the_posterior(tmp_path):
    """The Laplace approximation stood where the fit ended: far out of a posterior whose optimum lies at a bound."""
    dataset = cal.read_dataset(write_twin(tmp_path / "park.csv", noise=0.05, seed=1))
    ranges = {**RANGES, "land": (200, 560)}
    likelihood = Likelihood(park(), dataset, GAUGES, list(ranges))
    objective = cal.Objective(likelihood, {name: range_prior(*ends) for name, ends in ranges.items()})
    fit = cal.minimise(objective, starts=1, workers=1, progress=False)
    assert [one.name for one in fit.estimates if one.bound] == ["land"], "640 in truth"
    found = predict(objective, fit, [2010, 2025], seed=1, draws=800)
    assert "sample the posterior" not in found.origin
    assert np.abs(found.places[:, 1]).max() < 20.0, "places of a range are told in logits"
    sampled = cal.sample_posterior(
        objective, chains=2, draws=200, tune=200, start=fit.place, seed=1, workers=1, progress=False
    )  # fmt: skip
    exact = predict(objective, sampled, [2010, 2025], seed=1, draws=400)
    for name, one in found.series.items():
        for share in (0.1, 0.5, 0.9):
            assert_close(one.quantile(share), exact[name].quantile(share), 0.03, because="400 draws: 1 % in the tails")


def test_reweighing_mends_a_lopsided_posterior():
    """The logarithm of a gamma variable of shape 3: its mean is not its mode, and its spread not that of the mode."""
    target = SimpleNamespace(
        names=("a",), priors={"a": SimpleNamespace(log_density=lambda place: 0.0)}, penalty=lambda place: 0.0,
        payoff=lambda place: float(np.exp(place[0]) - 3.0 * place[0]), information=lambda place: np.array([[3.0]]),
    )  # fmt: skip
    places, _ = laplace_places(target, np.log([3.0]), 20_000, seed=2)
    mean, sd = special.digamma(3.0), np.sqrt(special.polygamma(1, 3))
    assert_close(places.mean(), mean, 0.0, 0.02, because="40,000 weighed candidates; the mode is 0.18 higher")
    assert_close(places.std(), sd, 0.02, because="40,000 weighed candidates; the approximation says 8 % less")


def test_draws_of_a_posterior_are_thinned_and_checked():
    objective = objective_of(park_likelihood(YEARS, noise=0.05, seed=2))
    rng = np.random.default_rng(0)
    posterior = SimpleNamespace(
        names=objective.names, places=rng.normal(size=(4, 100, 3)), log_density=np.zeros((4, 100))
    )
    some, origin = places_from(objective, posterior, 50, seed=1)
    assert some.shape == (50, 3) and origin == "posterior"
    rows = {tuple(row) for row in posterior.places.reshape(-1, 3)}
    assert all(tuple(row) in rows for row in some) and len({tuple(row) for row in some}) == 50
    every, _ = places_from(objective, posterior, 1000, seed=1)
    assert np.array_equal(every, posterior.places.reshape(-1, 3))
    with pytest.raises(FitError, match="other unknowns than the objective"):
        places_from(objective, SimpleNamespace(names=("x",), places=every, log_density=every), 50, seed=1)


def test_draws_that_cannot_be_run_are_left_out_and_told():
    objective = objective_of(park_likelihood(YEARS, noise=0.05, seed=2))
    places = np.tile(objective.place(VALUES), (40, 1))
    places[5, 0] = 600.0  # a growth rate with which the run blows up
    found = predict(objective, places, AHEAD, seed=1)
    assert found.failed == 1 and len(found.places) == 39
    assert "39 draws of the unknowns as given; left out: 1 draw that could not be run" in found.text
    places[1:, 0] = 600.0
    with pytest.raises(FitError, match="only 1 of 40 draws of the unknowns as given can be run"):
        predict(objective, places, AHEAD, seed=1)


def test_regions_are_taken_by_number_and_by_name():
    model = park_likelihood(YEARS, seed=None).model
    parts = [park_likelihood(YEARS, noise=0.05, seed=k, region=name, model=model) for k, name in enumerate("ab")]
    objective = objective_of(*parts, own=("land",))
    place = np.tile(objective.start, (30, 1))
    assert predict(objective, place, AHEAD, seed=1, region="b").region == "b"
    assert predict(objective, place, AHEAD, seed=1, region=0).region == "a"
    for region in ("c", 2, -1):
        with pytest.raises(FitError, match="region"):
            predict(objective, place, AHEAD, seed=1, region=region)


@pytest.mark.parametrize(
    ("source", "draws", "text"),
    [
        ("posterior", 100, "no draws of 'posterior'"),
        (np.zeros((5, 7)), 100, r"expected a finite \(n_draws, 3\)"),
        (np.full((30, 3), np.nan), 100, "expected a finite"),
        ("prior", 3, "draws=3; expected at least 20"),
    ],
)
def test_faults_are_one_clear_message(source, draws, text):
    objective = objective_of(park_likelihood(YEARS, noise=0.05, seed=2))
    with pytest.raises(FitError, match=text):
        predict(objective, source, AHEAD, seed=1, draws=draws)


def test_unknown_indicators_and_levels_are_told():
    found = still(park_likelihood(YEARS, noise=0.1, seed=None), VALUES, AHEAD, count=30)
    with pytest.raises(FitError, match="did you mean 'firms'"):
        found["firm"]
    with pytest.raises(FitError, match=r"level=95"):
        found["firms"].interval(95)
