"""Priors: densities against those of SciPy, slopes against differences, places that never leave the support."""

import pickle

import numpy as np
import pytest
from scipy import stats
from support import assert_close, feature, tiny

import sd_cluster as sd
from calibration.prior_library import PRIORS
from calibration.priors import (
    KINDS,
    Beta,
    Law,
    LogitNormal,
    LogNormal,
    LogUniform,
    Normal,
    Uniform,
    from_space,
    prior_from,
    prior_of,
    range_prior,
)
from sd_cluster.errors import FitError
from sd_cluster.marginals import LogRange
from sd_cluster.model import CONTROLS

Q95 = stats.norm.ppf(0.95)
PAIRS = [
    (Normal(1.0, 2.0), stats.norm(1.0, 2.0)),
    (LogNormal(0.2, 3.0), stats.lognorm(np.log(3.0) / Q95, scale=0.2)),
    (LogNormal(0.13, 4.0, low=0.01), stats.lognorm(np.log(0.51 / 0.12) / Q95, loc=0.01, scale=0.12)),
    (Uniform(-1.0, 3.0), stats.uniform(-1.0, 4.0)),
    (LogUniform(0.01, 5.0), stats.loguniform(0.01, 5.0)),
    (Beta(2.0, 3.0), stats.beta(2.0, 3.0)),
    (Beta(1.0, 1.0), stats.uniform()),
    (Beta(1.5, 4.0, low=0.2, high=0.9), stats.beta(1.5, 4.0, loc=0.2, scale=0.7)),
    (Law(stats.gamma(3.0, scale=0.1)), stats.gamma(3.0, scale=0.1)),
    (Law(stats.norm(1.0, 2.0)), stats.norm(1.0, 2.0)),
]
PRIORS_OF_ALL_KINDS = [
    *(prior for prior, _ in PAIRS),
    LogitNormal(0.3, 0.8),
    LogitNormal(3.0, 4.5, low=1.0, high=5.0),
]
PLACES = np.linspace(-5.0, 5.0, 41)


def named(prior):
    return repr(prior)


def slope(function, place, width=1e-5):
    return (function(place + width) - function(place - width)) / (2.0 * width)


@pytest.mark.parametrize(("prior", "law"), PAIRS, ids=lambda one: named(one) if hasattr(one, "penalty") else "")
def test_density_and_quantiles_are_those_of_scipy(prior, law):
    shares = np.array([1e-6, 0.01, 0.05, 0.5, 0.95, 0.99, 1.0 - 1e-6])
    assert_close(prior.quantile(shares), law.ppf(shares), rtol=1e-9, atol=1e-12, because="two ways to one number")
    values = law.ppf(np.linspace(0.01, 0.99, 25))
    places = prior.place(values)
    density = prior.log_density(places) - np.log(prior.slope(places))
    assert_close(density, law.logpdf(values), rtol=1e-9, atol=1e-9, because="change of variables, rounding")
    assert_close(prior.share(places), law.cdf(values), rtol=1e-9, because="two ways to one number")


def test_a_logit_normal_has_its_quantiles():
    prior = LogitNormal(0.3, 0.8, low=0.1, high=0.9)
    assert_close(prior.quantile([0.5, 0.95]), [0.3, 0.8], rtol=1e-12, because="closed form")
    logits = np.log(np.array([0.2, 0.7]) / np.array([0.6, 0.1]))
    law = stats.norm(logits[0], (logits[1] - logits[0]) / Q95)
    values = np.linspace(0.15, 0.85, 9)
    exact = law.logpdf(np.log((values - 0.1) / (0.9 - values))) + np.log(0.8 / ((values - 0.1) * (0.9 - values)))
    places = prior.place(values)
    found = prior.log_density(places) - np.log(prior.slope(places))
    assert_close(found, exact, rtol=1e-12, atol=1e-12, because="rounding")


@pytest.mark.parametrize("prior", PRIORS_OF_ALL_KINDS, ids=named)
def test_slopes_are_those_of_differences(prior):
    """Central differences of width h err by h**2 and by rounding / h; both are below 1e-8 of the slope's size here."""
    places = PLACES
    assert_close(slope(prior.value, places), prior.slope(places), rtol=1e-6, because="central differences")
    assert_close(slope(prior.penalty, places), prior.penalty_slope(places), 1e-6, 1e-8, because="central differences")
    assert_close(slope(prior.penalty_slope, places), prior.curvature(places), 1e-6, 1e-8, because="the same")
    assert_close(slope(prior.log_density, places), prior.log_density_slope(places), 1e-6, 1e-8, because="the same")
    assert (prior.curvature(places) >= 0.0).all()


@pytest.mark.parametrize("prior", PRIORS_OF_ALL_KINDS, ids=named)
def test_there_and_back(prior):
    assert_close(prior.place(prior.value(PLACES)), PLACES, rtol=1e-9, atol=1e-9, because="rounding near the ends")
    assert float(prior.place(float(prior.value(0.25)))) == pytest.approx(0.25, abs=1e-12)
    assert prior.value(np.zeros((2, 3))).shape == (2, 3)
    assert float(prior.value(0.0)) == pytest.approx(float(prior.quantile(0.5)), abs=1e-12)
    assert_close(prior.quantile(prior.share(PLACES)), prior.value(PLACES), 1e-6, 1e-9, because="shares near one")
    assert pickle.loads(pickle.dumps(prior)).value(0.5) == prior.value(0.5)


@pytest.mark.parametrize("prior", PRIORS_OF_ALL_KINDS, ids=named)
def test_no_place_leaves_the_support(prior):
    for place in (-700.0, -40.0, 40.0, 700.0):
        value = float(prior.value(place))
        assert prior.low < value < prior.high and np.isfinite(value)
        assert np.isfinite(
            [float(prior.place(value)), float(prior.slope(place)), float(prior.log_density(place))]
        ).all()
        assert np.isfinite([float(prior.penalty(place)), float(prior.penalty_slope(place))]).all()


@pytest.mark.parametrize("prior", PRIORS_OF_ALL_KINDS, ids=named)
def test_draws_have_the_stated_spread_of_places(prior):
    places = prior.place(prior.quantile((np.arange(20_000) + 0.5) / 20_000))
    assert_close(
        places.std(), prior.spread, rtol=2e-3, because="20,000 even quantiles; the outermost lie half a cell in"
    )
    assert abs(np.median(places)) < 1e-3


@pytest.mark.parametrize("prior", PRIORS_OF_ALL_KINDS, ids=named)
def test_the_penalty_is_none_at_the_best_value(prior):
    places = np.linspace(-8.0, 8.0, 3201)
    penalty = prior.penalty(places)
    assert penalty.min() == pytest.approx(0.0, abs=1e-5)
    assert (penalty >= -1e-12).all()


@pytest.mark.parametrize("prior", [Uniform(0.0, 2.0), LogUniform(0.01, 2.0), Beta(1.0, 1.0)], ids=named)
def test_bounds_pull_nowhere(prior):
    np.testing.assert_array_equal(prior.penalty(PLACES), 0.0)
    np.testing.assert_array_equal(prior.penalty_slope(PLACES), 0.0)


def test_the_penalty_is_that_of_the_natural_coordinate():
    values = np.array([0.1, 0.4, 0.7])
    beta, law = Beta(2.0, 4.0), stats.beta(2.0, 4.0)
    exact = law.logpdf(0.25) - law.logpdf(values)
    assert_close(beta.penalty(beta.place(values)), exact, rtol=1e-12, because="mode (a - 1) / (a + b - 2)")
    lognormal = LogNormal(0.2, 3.0)
    assert float(lognormal.penalty(lognormal.place(0.6))) == pytest.approx(0.5 * Q95**2)


@pytest.mark.parametrize("prior", [Uniform(0.0, 1.0), LogUniform(0.01, 1.0), LogitNormal(0.3, 0.6), Beta(2.0, 2.0)])
def test_an_end_is_taken_as_the_nearest_value_inside(prior):
    for end in (prior.low, prior.high):
        assert np.isfinite(float(prior.place(end)))
        assert float(prior.value(prior.place(end))) == pytest.approx(end, abs=1e-15)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Uniform(2.0, 1.0), "Uniform prior goes from 2 to 1; expected low below high"),
        (lambda: Uniform(1.0, 1.0), "goes from 1 to 1; expected low below high"),
        (lambda: Uniform(0.0, np.inf), "has high inf; expected a finite number"),
        (lambda: Uniform(0.0, "1"), "has high '1'; expected a finite number"),
        (lambda: Uniform(-1e308, 1e308), "too wide"),
        (lambda: LogUniform(0.0, 1.0), "LogUniform prior goes from 0 to 1; expected 0 < low < high"),
        (lambda: LogUniform(5.0, 1.0), "expected 0 < low < high"),
        (lambda: Normal(0.0, 0.0), "Normal prior has sd 0; expected a number above zero"),
        (lambda: Normal(np.nan, 1.0), "has mean nan; expected a finite number"),
        (lambda: LogNormal(-1.0, 2.0), "has median -1 and low 0; expected 0 <= low < median"),
        (lambda: LogNormal(0.1, 2.0, low=0.2), "expected 0 <= low < median"),
        (lambda: LogNormal(1.0, 0.5), "has ratio 0.5; expected its 95 % quantile over its median, above one"),
        (lambda: LogNormal(1e300, 1e300), "whose product is too large"),
        (lambda: LogitNormal(0.6, 0.5), "expected them to rise in this order"),
        (lambda: LogitNormal(0.6, 1.5), "expected them to rise in this order"),
        (lambda: Beta(0.5, 2.0), "expected at least one, or use LogitNormal"),
        (lambda: Beta(2.0, 2.0, low=1.0, high=0.0), "goes from 1 to 0; expected low below high"),
        (lambda: Law(3.0), "expected a frozen continuous distribution"),
        (lambda: Law(stats.poisson(3.0)), "expected a frozen continuous distribution"),
    ],
)
def test_priors_that_cannot_be(make, told):
    with pytest.raises(FitError) as error:
        make()
    assert told in str(error.value) and "\n" not in str(error.value)


def test_values_outside_are_refused():
    for value in (-0.1, 1.1, np.nan, np.inf, [0.5, 2.0]):
        with pytest.raises(FitError, match="lies outside the prior, which goes from 0 to 1"):
            Uniform(0.0, 1.0).place(value)
    with pytest.raises(FitError, match="-1 lies outside the prior, which goes from 0 to inf"):
        LogNormal(1.0, 2.0).place(-1.0)


# --- the library


def searchable(model):
    return [one for one in model.parameters.values() if one.name not in CONTROLS and not one.hidden]


def test_every_parameter_of_the_core_model_has_a_prior_with_its_source():
    model = feature("collective_learning")
    for parameter in searchable(model):
        prior = prior_of(model, parameter.name)
        place = float(prior.place(parameter.value))
        at_an_end = parameter.value in (parameter.low, parameter.high)
        assert abs(place) < 2.0 * prior.spread or at_an_end, (
            f"{parameter.name}: {parameter.value} is far out in {prior}"
        )
        assert prior.source, parameter.name
        assert (parameter.name in PRIORS) != prior.source.startswith("assumed: the range"), parameter.name


def test_the_library_names_only_what_the_model_has_and_lets_its_range_be():
    model = feature("collective_learning")
    for name, prior in PRIORS.items():
        parameter = model.parameters[name]
        assert prior.low <= parameter.low and parameter.high <= prior.high
        middle = prior.quantile([0.25, 0.75])
        assert middle[0] < parameter.high and middle[1] > parameter.low, name


def test_obsolescence_is_as_the_literature_says():
    """Median 0.18; nine in ten between 0.06 and 0.40, made even about the median on the log scale."""
    prior = PRIORS["obsolescence rate"]
    low, median, high = prior.quantile([0.05, 0.5, 0.95])
    assert median == pytest.approx(0.18)
    assert high / low == pytest.approx(0.40 / 0.06, rel=0.01)


def test_ranges_of_the_file_say_so():
    model = feature("collective_learning")
    lever = prior_of(model, "talent flow")
    assert isinstance(lever, Uniform) and (lever.low, lever.high) == (0.0, 1.0)
    assert lever.source.startswith("assumed: the range in the file of collective_learning; Lever, paper 4.4-1")
    assert isinstance(prior_of(model, "entry potential"), LogUniform)


def test_a_prior_is_not_lent_to_another_unit():
    model = tiny("obsolescence rate = 0.2 ~ 1/Month\nx = INTEG(-obsolescence rate*x, 1) ~ thing", check_units=False)
    with pytest.raises(FitError, match="gives no range for 'obsolescence rate' and the library does not know it"):
        prior_of(model, "obsolescence rate")
    with pytest.raises(FitError, match="'TIME STEP' is a control of the run"):
        prior_of(model, "TIME STEP")
    with pytest.raises(FitError, match="'x' is computed by the model"):
        prior_of(model, "x")
    with pytest.raises(sd.errors.ModelError, match="did you mean 'obsolescence rate'"):
        prior_of(model, "obsolecence rate")


# --- study files and spaces


def test_priors_of_study_files():
    model = feature("collective_learning")
    assert prior_from([0.0, 1.0], model, "talent flow") == Uniform(0.0, 1.0)
    assert prior_from((0.01, 1.0), model, "exit rate") == LogUniform(0.01, 1.0)
    assert prior_from("library", model, "exit rate") is PRIORS["exit rate"]
    made = prior_from({"kind": "lognormal", "median": 0.2, "ratio": 3, "source": "guess"}, model, "exit rate")
    assert made == LogNormal(0.2, 3.0, "guess")
    given = {
        "normal": {"mean": 0.0, "sd": 1.0},
        "lognormal": {"median": 0.2, "ratio": 3.0, "low": 0.1},
        "logitnormal": {"median": 0.2, "q95": 0.3},
        "uniform": {"low": 0.0, "high": 1.0},
        "loguniform": {"low": 0.1, "high": 1.0},
        "beta": {"a": 2, "b": 2},
    }
    assert set(given) == set(KINDS)
    for kind, entry in given.items():
        assert isinstance(prior_from({"kind": kind, **entry}, model, "talent flow"), KINDS[kind])


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ([1.0, 0.0], "'talent flow': Uniform prior goes from 1 to 0; expected low below high"),
        ([0.0, 1.0, 2.0], 'expected "library", two numbers, or a kind'),
        (0.4, "to hold it at one number, set it in the scenario"),
        ("libary", 'the prior is given as "libary"; expected "library"'),
        ({"kind": "lognorm", "median": 1}, "did you mean 'lognormal'?"),
        ({"kind": "lognormal", "median": 1}, "a prior of kind 'lognormal' needs 'ratio'"),
        ({"kind": "lognormal", "median": 1, "ratio": 2, "sd": 3}, "has no 'sd'"),
        ({"kind": "beta", "a": True, "b": 2}, "has a True; expected a finite number"),
        ({"median": 1}, "a prior has no kind; expected one of normal,"),
    ],
)
def test_entries_that_are_no_priors(entry, told):
    with pytest.raises(FitError) as error:
        prior_from(entry, feature("collective_learning"), "talent flow")
    assert told in str(error.value) and str(error.value).startswith("'talent flow': ")


def test_a_space_becomes_priors():
    space = sd.Space({"a": (0.0, 1.0), "b": (0.01, 1.0), "c": LogRange(0.5, 1.0), "d": stats.norm(1.0, 0.1)})
    priors = from_space(space)
    assert [type(one) for one in priors.values()] == [Uniform, LogUniform, LogUniform, Law]
    assert float(priors["d"].value(1.0)) == pytest.approx(1.1)
    with pytest.raises(FitError, match="priors are independent"):
        from_space(sd.Space({"a": (0, 1), "b": (0, 1)}, correlation={("a", "b"): 0.5}))


def test_ranges_are_log_where_they_are_wide():
    assert isinstance(range_prior(0.05, 1.0), LogUniform) and isinstance(range_prior(0.0501, 1.0), Uniform)
