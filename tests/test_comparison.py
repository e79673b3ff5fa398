"""Comparison of models: AICc by hand, weights, different figures, and leave-one-out where it is known exactly."""

from types import SimpleNamespace

import numpy as np
import pytest
from forecasting import PRIORS, Found, fitted, objective_of, park_likelihood
from support import assert_close

import calibration as cal
from calibration.comparison import compare, count_unknowns, log_densities
from calibration.noise import LogNormal
from sd_cluster.errors import FitError

YEARS = np.arange(2000.0, 2020.0)
WIDE = {name: cal.LogUniform(1e-3 * prior.median, 1e3 * prior.median) for name, prior in PRIORS.items()}


def wide(likelihood: cal.Likelihood, start: dict[str, float] | None = None) -> Found:
    """A fit under priors that pull nowhere."""
    return fitted(cal.Objective(likelihood, {name: WIDE[name] for name in likelihood.free}))


@pytest.fixture(scope="module")
def fits() -> dict[str, Found]:
    """The right model, one with too much freedom of nothing, and one whose land is wrong and held."""
    model = park_likelihood(YEARS, seed=None).model
    right = park_likelihood(YEARS, noise=0.05, seed=1, model=model)
    small = park_likelihood(YEARS, noise=0.05, seed=1, model=model, free=("land", "initial firms"))
    return {"all three": wide(right), "growth known": wide(small.with_data(right.dataset))}


def test_aicc_is_that_of_its_formula(fits):
    found = compare(fits)
    for one in found.candidates:
        fit = fits[one.name]
        likely = -fit.objective.payoff(fit.place)
        k, n = one.unknowns, len(YEARS)
        assert_close(one.log_likelihood, likely, 1e-10, because="priors add nothing")
        assert_close(one.aicc, -2 * likely + 2 * k + 2 * k * (k + 1) / (n - k - 1), 1e-10, because="Hurvich and Tsai")
        assert_close(one.bic, -2 * likely + k * np.log(n), 1e-10, because="definition")
    best, other = found.candidates
    assert best.difference == 0.0 and other.difference == pytest.approx(other.aicc - best.aicc)
    assert_close(best.weight + other.weight, 1.0, 1e-12, because="weights sum to one")
    assert_close(best.weight / other.weight, other.evidence, 1e-10, because="the ratio of weights is the evidence")
    assert set(found.frame().columns) >= {"model", "aicc", "bic", "weight", "evidence_ratio"}


def test_the_simpler_of_two_right_models_is_preferred_without_ruling_out_the_other(fits):
    found = compare(fits)
    assert found.candidates[0].name == "growth known"
    assert "'all three' (evidence" in found.sentences[0] and "can not be ruled out" in found.sentences[0]
    assert not found.notes


def test_a_wrong_model_has_next_to_no_support(fits):
    model = fits["all three"].objective.likelihoods[0].model
    wrong = park_likelihood(YEARS, noise=0.05, seed=1, model=model, free=("growth rate",))
    scenario = wrong.scenario.with_changes({"land": 2000.0})
    held = cal.Likelihood(
        model, fits["all three"].objective.likelihoods[0].dataset, wrong.measurement, ("growth rate",),
        noise={"firms": 0.05}, scenario=scenario,
    )  # fmt: skip
    found = compare({**fits, "endless land": wide(held)})
    assert found.candidates[-1].name == "endless land" and found.candidates[-1].weight < 1e-3
    assert "next to nothing speaks for 'endless land'" in str(found)


def test_a_solved_factor_counts_as_an_unknown():
    one = park_likelihood(YEARS, noise=LogNormal(), names=("firms", "revenue"), seed=1)
    assert count_unknowns(objective_of(one)) == 3 + 2 + 1


def test_models_that_saw_different_figures_are_not_compared(fits):
    first = fits["all three"].objective.likelihoods[0]
    less = wide(first.between(last=2015.0))
    found = compare({"all": fits["all three"], "early": less})
    assert not found.same and np.isnan([one.weight for one in found.candidates]).all()
    assert "'early' and 'all' saw different figures (such as 'firms' of park in 2016; 4 in all)" in found.sentences[0]
    assert len(found.sentences) == 1


def test_too_few_figures_and_priors_that_pull_are_told():
    model = park_likelihood(YEARS, seed=None).model
    few = [park_likelihood(YEARS[:4], noise=0.05, seed=1, model=model, free=free) for free in (("land",), tuple(WIDE))]
    found = compare({"one": wide(few[0]), "three": wide(few[1])})
    assert np.isinf(found.candidates[-1].aicc) and found.candidates[0].weight == 1.0
    assert "'three' has 3 unknowns for 4 figures: AICc cannot judge it." in found.notes
    one = park_likelihood(YEARS, noise=0.05, seed=1, model=model, free=("land",))
    pulled = fitted(cal.Objective(one, {"land": cal.LogNormal(100.0, 1.2)}))
    found = compare({"free": wide(one), "pulled": pulled})
    assert any("Priors pull the optimum of 'pulled'" in note for note in found.notes)


def test_log_densities_are_those_of_the_likelihood(fits):
    objective = fits["all three"].objective
    places = np.stack([fits["all three"].place, fits["all three"].place + 0.01])[None]
    densities, labels = log_densities(objective, places)
    assert densities.shape == (1, 2, 20) and labels[:2] == ("firms 2000", "firms 2001")
    assert_close(densities[0, 1].sum(), -objective.payoff(places[0, 1]), 1e-10, because="the sum is the log-likelihood")


def draws_of(fit: Found, seed: int) -> cal.Posterior:
    """A stand-in posterior: normal draws around the optimum."""
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(np.linalg.inv(fit.objective.information(fit.place)))
    places = fit.place + rng.standard_normal((4, 150, len(fit.place))) @ root.T
    values = fit.objective.values(places)
    return cal.Posterior(fit.objective.names, places, values, np.zeros((4, 150)))


@pytest.mark.slow
def test_leave_one_out_of_a_normal_posterior_is_the_closed_form():
    """One unknown with a nearly normal posterior: leaving a figure out moves and widens it as in regression."""
    one = park_likelihood(YEARS, noise=0.05, seed=1, free=("initial firms",))
    fit = wide(one)
    other = wide(park_likelihood(YEARS, noise=0.05, seed=1, model=one.model, free=("initial firms", "land")))
    found = compare({"a": fit, "b": other}, "loo", posteriors={"a": draws_of(fit, 1), "b": draws_of(other, 2)})
    value = fit.objective.of_region(fit.place)
    outcome = one.outcome(value)["firms"]
    slope = one.sensitivities(value)["firms"][:, 0] / outcome.predicted
    residual, lever = np.log(outcome.observed / outcome.predicted), slope**2 / np.sum(slope**2)
    left = residual / (1 - lever)
    wider = 0.05**2 / (1 - lever)
    exact = -0.5 * left**2 / wider - 0.5 * np.log(2 * np.pi * wider) - np.log(outcome.observed)
    mine = next(each for each in found.candidates if each.name == "a")
    assert_close(mine.log_likelihood, exact.sum(), 0.0, 0.15, because="600 draws; the model is linear to first order")
    assert_close(sum(each.weight for each in found.candidates), 1.0, 1e-6, because="stacking weights sum to one")
    assert found.candidates[0].difference == 0.0 and "By leave-one-out" in found.sentences[0]
    assert {"elpd", "error", "weight"} <= set(found.frame().columns)


@pytest.mark.parametrize(
    ("names", "criterion", "text"),
    [
        (("all three",), "aicc", "1 model to compare"),
        (None, "bic", "no criterion 'bic'"),
        (None, "loo", "needs a posterior of"),
    ],
)
def test_faults_are_one_clear_message(fits, names, criterion, text):
    some = fits if names is None else {name: fits[name] for name in names}
    with pytest.raises(FitError, match=text):
        compare(some, criterion)


def test_a_posterior_of_another_objective_is_refused(fits):
    strange = SimpleNamespace(names=("x",))
    with pytest.raises(FitError, match="other unknowns than its objective"):
        compare(fits, "loo", posteriors=dict.fromkeys(fits, strange))
