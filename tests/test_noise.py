"""Noise: densities against those of SciPy, derivatives against differences, factors against a search."""

import numpy as np
import pytest
from scipy import optimize, stats
from support import assert_close

from calibration.noise import (
    NOISES,
    AutoRegressive,
    LogNormal,
    NegativeBinomial,
    NormalNoise,
    Poisson,
    StudentT,
    noise_from,
)
from sd_cluster.errors import DataError, FitError, SimulationError

YEARS = np.array([2000.0, 2002.0, 2003.0, 2007.0, 2009.0, 2010.0])
OBSERVED = np.array([12.0, 15.0, 31.0, 44.0, 90.0, 102.0])
PREDICTED = np.array([10.0, 17.0, 30.0, 50.0, 80.0, 95.0])
ERRORS = np.array([1.0, np.nan, 3.0, 0.5, 0.0, 12.0])
NONE = np.zeros(0)

KINDS = [
    LogNormal(),
    LogNormal(0.1),
    NormalNoise(),
    NormalNoise(4.0),
    NormalNoise(relative=True),
    NormalNoise(0.2, relative=True),
    StudentT(),
    StudentT(0.1, freedom=3.0),
    StudentT(log=False),
    AutoRegressive(),
    AutoRegressive(0.1, 0.7),
    AutoRegressive(correlation=0.4),
    AutoRegressive(scale=5.0, log=False),
    AutoRegressive(log=False),
    Poisson(),
    NegativeBinomial(),
    NegativeBinomial(0.05),
]
COUNTS = (Poisson, NegativeBinomial)


def named(noise):
    return repr(noise)


def values_of(noise):
    """Likely values of the unknowns."""
    size = {"scale": 0.15 if noise.relative else 6.0, "correlation": 0.6, "dispersion": 0.04}
    return np.array([size[name] for name in noise.unknowns])


def errors_of(noise):
    return None if isinstance(noise, COUNTS) else ERRORS


def judged(noise, *, observed=OBSERVED, predicted=PREDICTED, values=None, free=False):
    values = values_of(noise) if values is None else values
    return noise.judge(YEARS, observed, predicted, values, errors_of(noise), free_scale=free)


def gradient(function, at, width=1e-6):
    """Central differences, steps relative to each number."""
    steps = np.diag(width * np.abs(at))
    return np.array([(function(at + h) - function(at - h)) / (2.0 * h.sum()) for h in steps])


def hidden(errors):
    return np.nan_to_num(errors, nan=0.0)


# --- densities


def test_log_normal_is_that_of_scipy():
    scale = np.hypot(0.1, hidden(ERRORS) / OBSERVED)
    exact = stats.lognorm(scale, scale=PREDICTED).logpdf(OBSERVED)
    assert_close(judged(LogNormal(0.1)).pointwise, exact, rtol=1e-12, because="rounding")
    plain = LogNormal().judge(YEARS, OBSERVED, PREDICTED, np.array([0.1]))
    assert plain.payoff == pytest.approx(-stats.lognorm(0.1, scale=PREDICTED).logpdf(OBSERVED).sum(), rel=1e-12)


def test_normal_is_that_of_scipy():
    exact = stats.norm(PREDICTED, np.hypot(4.0, hidden(ERRORS))).logpdf(OBSERVED)
    assert_close(judged(NormalNoise(4.0)).pointwise, exact, rtol=1e-12, because="rounding")
    exact = stats.norm(PREDICTED, np.hypot(0.2 * PREDICTED, hidden(ERRORS))).logpdf(OBSERVED)
    assert_close(judged(NormalNoise(0.2, relative=True)).pointwise, exact, rtol=1e-12, because="rounding")


def test_student_is_that_of_scipy():
    scale = np.hypot(0.1, hidden(ERRORS) / OBSERVED)
    exact = stats.t(3.0, np.log(PREDICTED), scale).logpdf(np.log(OBSERVED)) - np.log(OBSERVED)
    assert_close(judged(StudentT(0.1, freedom=3.0)).pointwise, exact, rtol=1e-12, because="rounding")
    exact = stats.t(4.0, PREDICTED, np.hypot(6.0, hidden(ERRORS))).logpdf(OBSERVED)
    assert_close(judged(StudentT(6.0, log=False)).pointwise, exact, rtol=1e-12, because="rounding")


def test_counts_are_those_of_scipy():
    assert_close(judged(Poisson()).pointwise, stats.poisson(PREDICTED).logpmf(OBSERVED), rtol=1e-11, because="rounding")
    size = 1.0 / 0.05
    exact = stats.nbinom(size, size / (size + PREDICTED)).logpmf(OBSERVED)
    assert_close(judged(NegativeBinomial(0.05)).pointwise, exact, rtol=1e-10, because="gamma functions of size 100")
    none = np.zeros(2)
    assert Poisson().judge(YEARS[:2], none, np.array([0.5, 2.0]), NONE).payoff == pytest.approx(2.5)


def test_hardly_dispersed_counts_are_poisson():
    close, exact = NegativeBinomial(1e-6), Poisson()
    assert_close(judged(close).pointwise, judged(exact).pointwise, rtol=0.0, atol=1e-3, because="100**2 * 1e-6 / 2")
    assert np.isfinite(judged(NegativeBinomial(), values=np.array([1e-12])).payoff)


@pytest.mark.parametrize("log", [True, False])
def test_autoregressive_is_the_multivariate_normal_with_gaps(log):
    noise = AutoRegressive(0.2 if log else 7.0, 0.6, log=log)
    gaps = np.abs(YEARS[:, None] - YEARS)
    wide = hidden(ERRORS) / (OBSERVED if log else 1.0)
    covariance = noise.scale**2 * 0.6**gaps + np.diag(wide**2)
    seen, mean = (np.log(OBSERVED), np.log(PREDICTED)) if log else (OBSERVED, PREDICTED)
    exact = stats.multivariate_normal(mean, covariance).logpdf(seen) - log * np.log(OBSERVED).sum()
    found = judged(noise)
    assert found.payoff == pytest.approx(-exact, rel=1e-12)
    for k in range(1, len(YEARS)):
        whole = stats.multivariate_normal(mean[: k + 1], covariance[: k + 1, : k + 1]).logpdf(seen[: k + 1])
        before = stats.multivariate_normal(mean[:k], covariance[:k, :k]).logpdf(seen[:k])
        given = whole - before - log * np.log(OBSERVED[k])
        assert found.pointwise[k] == pytest.approx(given, rel=1e-9), "density of a figure given those before it"


def test_autoregressive_without_correlation_is_plain():
    found, plain = judged(AutoRegressive(0.1, 0.0)), judged(LogNormal(0.1))
    assert_close(found.pointwise, plain.pointwise, rtol=1e-12, because="rounding")
    assert_close(found.slope, plain.slope, rtol=1e-12, because="rounding")


def test_autoregressive_by_its_innovations():
    """The yearly recursion of a textbook: each residual is 0.6 of the last plus a number of its own."""
    years, noise = np.arange(2000.0, 2006.0), AutoRegressive(0.2, 0.6)
    residuals = np.log(OBSERVED / PREDICTED)
    innovation = 0.2 * np.sqrt(1.0 - 0.6**2)
    exact = stats.norm(0.0, 0.2).logpdf(residuals[0])
    exact += stats.norm(0.6 * residuals[:-1], innovation).logpdf(residuals[1:]).sum()
    exact -= np.log(OBSERVED).sum()
    assert noise.judge(years, OBSERVED, PREDICTED, NONE).payoff == pytest.approx(-exact, rel=1e-12)


# --- derivatives


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("noise", KINDS, ids=named)
def test_derivatives_are_those_of_differences(noise, free):
    if free and not noise.solves_scale:
        return
    values = values_of(noise)
    found = judged(noise, free=free)
    exact = gradient(lambda predicted: judged(noise, predicted=predicted, free=free).payoff, PREDICTED)
    size = np.abs(exact).max()
    assert_close(found.slope, exact, rtol=1e-6, atol=1e-7 * size, because="central differences")
    exact = gradient(lambda moved: judged(noise, values=moved, free=free).payoff, values)
    assert_close(found.value_slopes, exact, rtol=1e-6, atol=1e-6, because="central differences")
    assert found.payoff == pytest.approx(-found.pointwise.sum(), rel=1e-12)


# --- information


@pytest.mark.parametrize(
    "noise",
    [
        LogNormal(), NormalNoise(), NormalNoise(relative=True), StudentT(log=False), StudentT(), AutoRegressive(),
        AutoRegressive(log=False), Poisson(), NegativeBinomial(0.05),
    ],
    ids=named,
)  # fmt: skip
def test_information_is_the_covariance_of_the_slopes(noise):
    """Fisher's identity over 5,000 replicates: an entry's standard error is about a fiftieth of the diagonal."""
    values = values_of(noise)
    rng = np.random.default_rng(5)
    scores = []
    for _ in range(5_000):
        figures = noise.draw(YEARS, PREDICTED, values, rng)
        one = noise.judge(YEARS, figures, PREDICTED, values)
        scores.append(np.concatenate([one.slope, one.value_slopes]))
    found = np.cov(np.array(scores).T)
    one = noise.judge(YEARS, OBSERVED, PREDICTED, values)
    root = np.diag(one.root) if one.root.ndim == 1 else one.root
    exact = np.block([[root.T @ root, one.cross], [one.cross.T, one.value_information]])
    size = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert_close(found / size, exact / size, rtol=0.0, atol=0.1, because="5,000 replicates")


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("kind", [LogNormal, AutoRegressive])
def test_information_is_exact_for_normal_noise(kind, log):
    """For a mean that is linear on the scale of the noise the second derivatives of the payoff are the information."""
    if kind is AutoRegressive:
        noise = AutoRegressive(0.2 if log else 6.0, 0.6, log=log)
    else:
        noise = LogNormal(0.2) if log else NormalNoise(6.0)
    # at the optimum of the factor, with figures that the prediction meets, no residual bends the log scale
    predicted = PREDICTED if log else OBSERVED
    observed = PREDICTED.copy() if log else OBSERVED
    for free in (False, True):
        one = noise.judge(YEARS, observed, predicted, NONE, ERRORS, free_scale=free)

        def slopes(at, free=free):
            return noise.judge(YEARS, observed, at, NONE, ERRORS, free_scale=free).slope

        width = 1e-4
        hessian = np.array([(slopes(predicted + h) - slopes(predicted - h)) / (2 * width) for h in width * np.eye(6)])
        root = np.diag(one.root) if one.root.ndim == 1 else one.root
        information = root.T @ root
        assert_close(hessian, information, rtol=1e-5, atol=1e-6 * information.max(), because="central differences")
        if free:
            assert_close(information @ predicted, 0.0, 0.0, 1e-9, because="a factor takes up all predictions alike")


# --- factors


@pytest.mark.parametrize("noise", [one for one in KINDS if one.solves_scale], ids=named)
def test_the_factor_is_the_best_one(noise):
    found = judged(noise, predicted=PREDICTED / 37.0, free=True)
    best = optimize.minimize_scalar(
        lambda log: judged(noise, predicted=PREDICTED / 37.0 * np.exp(log)).payoff,
        bounds=(0.0, 8.0), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    assert found.factor == pytest.approx(np.exp(best.x), rel=1e-6)
    assert found.payoff == pytest.approx(best.fun, rel=1e-10)
    again = judged(noise, predicted=found.factor * PREDICTED / 37.0)
    assert again.payoff == pytest.approx(found.payoff, rel=1e-12)
    assert again.factor == 1.0


def test_the_factor_in_the_head():
    even = Poisson().judge(YEARS[:2], np.array([6.0, 14.0]), np.array([1.0, 3.0]), NONE, free_scale=True)
    assert even.factor == 5.0
    square = NormalNoise(1.0).judge(YEARS[:2], np.array([2.0, 2.0]), np.array([1.0, 3.0]), NONE, free_scale=True)
    assert square.factor == pytest.approx(8.0 / 10.0)
    ratio = LogNormal(0.1).judge(YEARS[:2], np.array([2.0, 8.0]), np.array([1.0, 1.0]), NONE, free_scale=True)
    assert ratio.factor == pytest.approx(4.0)


@pytest.mark.parametrize("noise", [one for one in KINDS if not one.solves_scale], ids=named)
def test_no_closed_form_is_refused(noise):
    with pytest.raises(FitError, match="noise has no closed form for a free factor; estimate the factor"):
        judged(noise, free=True)


def test_counts_that_are_all_zero_cannot_tell_a_factor():
    with pytest.raises(DataError, match="all zero cannot tell the factor"):
        Poisson().judge(YEARS, np.zeros(6), PREDICTED, NONE, free_scale=True)


# --- draws


@pytest.mark.parametrize("noise", KINDS, ids=named)
def test_draws_have_the_right_moments(noise):
    """Means and spreads of 4,000 draws on the scale of the noise, within five standard errors."""
    rng, count = np.random.default_rng(11), 4_000
    values, errors = values_of(noise), errors_of(noise)
    drawn = np.array([noise.draw(YEARS, PREDICTED, values, rng, errors) for _ in range(count)])
    known = 0.0 if errors is None else hidden(errors)
    if noise.relative and not isinstance(noise, NormalNoise):
        drawn, known = np.log(drawn / PREDICTED), known / PREDICTED
        middle = np.zeros(6)
    else:
        middle = PREDICTED
    scale = noise.scale_at(values) * (PREDICTED if isinstance(noise, NormalNoise) and noise.relative else 1.0)
    if isinstance(noise, Poisson):
        spread = np.sqrt(PREDICTED)
    elif isinstance(noise, NegativeBinomial):
        alpha = noise.dispersion or values[0]
        spread = np.sqrt(PREDICTED + alpha * PREDICTED**2)
    else:
        spread = np.hypot(scale, known)
    if isinstance(noise, StudentT):  # quartiles, since the fourth moment is infinite
        quartile = np.quantile(drawn, 0.75, axis=0) - np.median(drawn, axis=0)
        assert_close(quartile, spread * stats.t(noise.freedom).ppf(0.75), rtol=0.1, because="4,000 draws")
        return
    assert_close(
        (drawn.mean(axis=0) - middle) / spread, np.zeros(6), 0.0, 5.0 / np.sqrt(count), because="a mean's error"
    )
    assert_close(
        drawn.std(axis=0) / spread, np.ones(6), 0.06, because="five standard errors of a spread, 1 / sqrt(2 n)"
    )
    if isinstance(noise, AutoRegressive):
        rho = noise._correlation_of(values)
        clean = np.array([noise.draw(YEARS, PREDICTED, values, rng) for _ in range(count)])
        clean = np.log(clean) if noise.log else clean
        alike = np.corrcoef(clean.T)
        assert_close(alike, rho ** np.abs(YEARS[:, None] - YEARS), 0.0, 0.06, because="4,000 draws")


def test_draws_are_a_function_of_the_generator():
    for noise in KINDS:
        one, other = (
            noise.draw(YEARS, PREDICTED, values_of(noise), np.random.default_rng(3), errors_of(noise)) for _ in range(2)
        )
        np.testing.assert_array_equal(one, other)
        assert not (isinstance(noise, COUNTS) and (one != np.round(one)).any())


def test_draws_after_known_residuals_are_the_conditional_normal():
    noise, rng = AutoRegressive(0.2, 0.8), np.random.default_rng(2)
    past_years, past = np.array([1995.0, 1998.0]), np.array([0.1, 0.3])
    drawn = np.array([noise.draw_after(YEARS, PREDICTED, NONE, rng, past_years, past) for _ in range(10_000)])
    logs = np.log(drawn / PREDICTED)
    gaps = YEARS - 1998.0  # Markov: only the last residual matters
    assert_close(logs.mean(axis=0), 0.3 * 0.8**gaps, 0.0, 0.01, because="five standard errors of a mean")
    assert_close(logs.std(axis=0), 0.2 * np.sqrt(1.0 - 0.8 ** (2 * gaps)), 0.04, because="10,000 draws")
    same = noise.draw_after(YEARS, PREDICTED, NONE, np.random.default_rng(3), NONE, NONE)
    np.testing.assert_array_equal(same, noise.draw(YEARS, PREDICTED, NONE, np.random.default_rng(3)))


# --- priors of the unknowns


def test_unknown_scales_lie_about_those_of_regional_series():
    (prior,) = LogNormal().priors(OBSERVED)
    low, median, high = prior.quantile([0.05, 0.5, 0.95])
    assert 0.03 < low < 0.05 and median == pytest.approx(0.13) and high == pytest.approx(0.52)
    assert prior.low == 0.01 and "UK regions" in prior.source
    (absolute,) = NormalNoise().priors(OBSERVED)
    assert absolute.median == pytest.approx(0.13 * OBSERVED.mean())
    (share,) = NormalNoise(relative=True).priors(OBSERVED)
    assert share == prior
    (around_zero,) = NormalNoise().priors(np.array([-0.02, 0.02]))
    assert around_zero.median == pytest.approx(0.13 * 0.02)


def test_a_perfect_fit_has_a_best_noise():
    """Without a least noise the payoff of a series fitted exactly falls without end."""
    noise = LogNormal()
    (prior,) = noise.priors(OBSERVED)
    places = np.linspace(-30.0, 5.0, 200)
    payoffs = [
        noise.judge(YEARS, OBSERVED, OBSERVED, np.array([float(prior.value(z))])).payoff + float(prior.penalty(z))
        for z in places
    ]
    assert 0 < int(np.argmin(payoffs)) < 199


def test_every_unknown_has_a_prior():
    for noise in KINDS:
        priors = noise.priors(OBSERVED)
        assert len(priors) == len(noise.unknowns) and all(prior.source for prior in priors)
        for prior, value in zip(priors, values_of(noise), strict=True):
            assert abs(float(prior.place(value))) < 2.0


# --- what is refused


@pytest.mark.parametrize(
    ("noise", "values", "errors", "told"),
    [
        (LogNormal(), [1.0, 0.0, 2.0], None, "'x' has the figure 0, but this noise is relative"),
        (StudentT(), [1.0, -3.0], None, "'x' has the figure -3, but this noise is relative"),
        (AutoRegressive(), [1.0, 0.0], None, "needs figures above zero"),
        (LogNormal(), [1.0], None, "'x' has one figure, which cannot tell its own noise; give its noise as a number"),
        (NormalNoise(), [5.0, 5.0, 5.0], None, "'x' is 5 in all 3 years, as a figure carried forward would be"),
        (NegativeBinomial(), [0.0, 0.0, 0.0], None, "use poisson noise or give the dispersion"),
        (LogNormal(0.0), [1.0, 2.0], [0.1, np.nan], "noise of scale 0, but not all its figures have a standard error"),
        (LogNormal(0.0), [1.0, 2.0], None, "noise of scale 0"),
        (Poisson(), [1.0, -1.0], None, "'x' has the figure -1; counts cannot be negative"),
        (Poisson(), [1.0, 2.5], None, "'x' has the figure 2.5, which is no whole number"),
        (NegativeBinomial(), [1.0, 2.0], [np.nan, 1.0], "standard errors, which noise of counts cannot take in"),
    ],
)
def test_figures_that_do_not_fit(noise, values, errors, told):
    with pytest.raises(DataError) as error:
        noise.check("x", np.array(values), None if errors is None else np.array(errors))
    assert told in str(error.value) and "\n" not in str(error.value)


def test_figures_that_do_fit():
    LogNormal(0.1).check("x", np.array([5.0]))
    LogNormal(0.0).check("x", np.array([5.0, 6.0]), np.array([0.1, 0.2]))
    NormalNoise(1.0).check("x", np.array([0.0, 0.0, 0.0]))
    Poisson().check("x", np.array([0.0, 0.0, 0.0]), np.array([np.nan, np.nan, np.nan]))
    Poisson(fractional=True).check("x", np.array([0.5, 369.4]))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: LogNormal(-0.1), "LogNormal noise has scale -0.1; expected a number from zero on"),
        (lambda: LogNormal(np.nan), "has scale nan"),
        (lambda: LogNormal(True), "has scale True"),
        (lambda: NormalNoise(relative="yes"), "NormalNoise noise has relative 'yes'; expected true or false"),
        (lambda: StudentT(freedom=0.0), "has freedom 0.0; expected a number above zero"),
        (lambda: StudentT(log=1), "has log 1; expected true or false"),
        (lambda: AutoRegressive(correlation=1.0), "has correlation 1; expected 0 or more, below 1"),
        (lambda: AutoRegressive(correlation=-0.5), "has correlation -0.5; expected a number from zero on"),
        (lambda: NegativeBinomial(0.0), "has dispersion 0.0; expected a number above zero"),
        (lambda: Poisson(fractional=0), "has fractional 0; expected true or false"),
        (lambda: noise_from("lognorm"), "a noise has the kind 'lognorm' (did you mean 'lognormal'?)"),
        (lambda: noise_from({"scal": 0.1}), "a noise of kind 'lognormal' has no 'scal' (did you mean 'scale'?)"),
        (lambda: noise_from([0.1]), "a noise is given as [0.1]; expected a number, a kind, or keys"),
        (lambda: noise_from(True), "a noise is given as True"),
    ],
)
def test_noise_that_cannot_be(make, told):
    with pytest.raises(FitError) as error:
        make()
    assert told in str(error.value) and "\n" not in str(error.value)


def test_noise_of_study_files():
    assert noise_from(0.05) == LogNormal(0.05)
    assert noise_from("negative binomial") == NegativeBinomial()
    assert noise_from({"scale": 0.1}) == LogNormal(0.1)
    assert noise_from({"kind": "autoregressive", "log": False}) == AutoRegressive(log=False)
    assert {type(one) for one in KINDS} == set(NOISES.values())


def test_residuals_too_alike_are_a_failed_run():
    with pytest.raises(SimulationError, match="so strongly correlated"):
        AutoRegressive(0.1).judge(YEARS, OBSERVED, PREDICTED, np.array([1.0]))


def test_information_about_a_dispersion_is_the_curvature_where_figures_scatter():
    wild = PREDICTED * np.array([0.5, 1.6, 0.6, 1.5, 0.7, 1.4])

    def at(alpha):
        return judged(NegativeBinomial(), predicted=wild, values=np.array([alpha]))

    slope = (at(0.04 + 1e-6).value_slopes[0] - at(0.04 - 1e-6).value_slopes[0]) / 2e-6
    assert slope > 0.0 and at(0.04).value_information[0, 0] == pytest.approx(slope, rel=1e-6)
    tame = NegativeBinomial().judge(YEARS, PREDICTED, PREDICTED, np.array([0.04]))
    assert tame.value_information[0, 0] == 0.0, "figures that scatter less than counts tell nothing of it"
