"""Residual tests: statsmodels where there are no gaps, the right share of false alarms where there are, and words."""

import warnings

import numpy as np
import pytest
from forecasting import VALUES, park_likelihood
from support import assert_close

from calibration.noise import AutoRegressive, LogNormal, NegativeBinomial, NormalNoise, Poisson, StudentT
from calibration.residuals import autocorrelations, check_residuals, summary
from calibration.standardising import residual_checks, standardised
from sd_cluster.errors import FitError

YEARS = np.arange(1980.0, 2008.0)


def wave(seed: int, correlation: float, size: int = 28) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = [rng.normal()]
    for _ in range(size - 1):
        found.append(correlation * found[-1] + np.sqrt(1 - correlation**2) * rng.normal())
    return np.array(found)


def test_without_gaps_ljung_box_is_that_of_statsmodels():
    from statsmodels.stats.diagnostic import acorr_ljungbox

    residuals = wave(1, 0.4)
    found = check_residuals("firms", YEARS, residuals)
    theirs = acorr_ljungbox(residuals, lags=[5])
    assert_close(found.portmanteau.statistic, theirs["lb_stat"].iloc[0], 1e-12, because="one formula")
    assert_close(found.portmanteau.p, theirs["lb_pvalue"].iloc[0], 1e-12, because="one formula")
    less = check_residuals("firms", YEARS, residuals, fitted=1)
    theirs = acorr_ljungbox(residuals, lags=[5], model_df=1)
    assert_close(less.portmanteau.p, theirs["lb_pvalue"].iloc[0], 1e-12, because="a degree of freedom less")


def test_without_gaps_breusch_godfrey_is_that_of_statsmodels():
    import statsmodels.api as sm
    from statsmodels.stats.diagnostic import acorr_breusch_godfrey

    rng = np.random.default_rng(2)
    exog = np.column_stack([np.ones(28), YEARS - 1990.0, rng.normal(size=28)])
    fit = sm.OLS(wave(3, 0.5), exog).fit()
    found = check_residuals("firms", YEARS, fit.resid, slopes=exog)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it will give a named tuple, which reads the same
        theirs = acorr_breusch_godfrey(fit, nlags=2)
    assert_close(found.regression.statistic, theirs[2], 1e-9, because="one regression, columns scaled otherwise")
    assert_close(found.regression.p, theirs[3], 1e-9, because="one regression")


def test_every_second_year_is_as_good_as_every_year():
    residuals = wave(4, 0.6)
    yearly, sparse = check_residuals("a", YEARS, residuals), check_residuals("a", 2.0 * YEARS, residuals)
    for one, other in zip(yearly.tests, sparse.tests, strict=True):
        assert_close(other.p, one.p, 1e-12, because="the same pairs, twice as far apart")
    assert sparse.lags.tolist() == (2.0 * yearly.lags).tolist()


@pytest.mark.parametrize("count", [12, 20])
def test_with_gaps_false_alarms_are_as_rare_as_said(count):
    rng = np.random.default_rng(5)
    p = []
    for _ in range(500):
        years = np.sort(rng.choice(YEARS, count, replace=False))
        p.append([one.p for one in check_residuals("a", years, rng.normal(size=count)).tests])
    alarms = np.nanmean(np.array(p) < 0.05, axis=0)
    assert (alarms < 0.09).all(), f"5 % and three standard errors of a share of 500; runs are discrete: {alarms}"
    assert (alarms[[0, 1, 3]] > 0.015).all(), f"and the tests are not asleep: {alarms}"


def test_with_gaps_waves_are_still_found():
    rng = np.random.default_rng(6)
    found = 0
    for seed in range(100):
        kept = np.sort(rng.choice(28, 21, replace=False))
        found += check_residuals("a", YEARS[kept], wave(seed, 0.9)[kept]).dependent
    assert found > 70


def test_figures_across_a_gap_are_not_neighbours():
    years = np.concatenate([YEARS[:6], YEARS[:6] + 40.0])
    lags, _, counts = autocorrelations(years, np.arange(12.0))
    assert lags.tolist() == [1.0, 2.0] and counts.tolist() == [10.0, 8.0]


def test_verdicts_in_words():
    rng = np.random.default_rng(12)
    scatter = check_residuals("firms", YEARS, rng.normal(size=28))
    assert scatter.good and "look like scatter; nothing speaks against the normal" in scatter.text
    waves = check_residuals("staff", YEARS, wave(0, 0.95))
    assert waves.dependent and not waves.good and "come in waves (Ljung-Box p < 0.001" in waves.text
    assert "try AR(1) noise" in waves.text
    assert "AR(1) noise does not take it all" in check_residuals("staff", YEARS, wave(0, 0.95), fitted=1).text
    zigzag = check_residuals("sales", YEARS, np.tile([1.0, -1.0], 14) + 0.1 * rng.normal(size=28))
    assert "go to and fro" in zigzag.text
    wild = rng.normal(size=28)
    wild[17] = 12.0
    assert "not normal" in check_residuals("x", YEARS, wild).text and "1997" in check_residuals("x", YEARS, wild).text
    few = check_residuals("x", YEARS[:5], np.arange(5.0))
    assert few.good and not few.judged and "5 figures are too few to judge" in few.text
    assert summary([scatter, waves, few]) == "Residuals in a row err alike in 1 of 2 series judged: 'staff'."
    assert "In none of 1 series" in summary([scatter]) and "No series" in summary([few])


@pytest.mark.parametrize("residuals", [np.zeros(12), np.ones(12), np.r_[np.ones(11), -1.0], np.array([1.0])])
def test_degenerate_residuals_are_not_judged_rather_than_crash(residuals):
    found = check_residuals("x", YEARS[: len(residuals)], residuals)
    assert found.text and all(one.missing or 0.0 <= one.p <= 1.0 for one in found.tests)


def test_faults_are_one_clear_message():
    with pytest.raises(FitError, match="'firms': expected one finite residual for each of 28 years"):
        check_residuals("firms", YEARS, np.full(28, np.nan))
    with pytest.raises(FitError, match="'firms' has no residual"):
        check_residuals("firms", [], [])
    with pytest.raises(FitError, match="do not fit 28 residuals"):
        check_residuals("firms", YEARS, np.arange(28.0), slopes=np.ones((3, 1)))


@pytest.mark.parametrize(
    ("noise", "values"),
    [
        (LogNormal(), [0.2]), (NormalNoise(), [3.0]), (NormalNoise(relative=True), [0.2]), (StudentT(), [0.2]),
        (AutoRegressive(), [0.2, 0.8]), (AutoRegressive(log=False), [4.0, 0.5]), (Poisson(), []),
        (NegativeBinomial(), [0.1]),
    ],
)  # fmt: skip
def test_residuals_of_the_right_noise_are_standard(noise, values):
    rng = np.random.default_rng(9)
    years = np.cumsum(rng.integers(1, 4, size=4000)).astype(float)
    predicted = 40.0 + 20.0 * np.sin(years)
    errors = None if "dispersion" in noise.unknowns or not values else np.full(4000, 2.0)
    blocks = [slice(first, first + 200) for first in range(0, 4000, 200)]
    found = []
    for some in blocks:
        wrong = None if errors is None else errors[some]
        observed = noise.draw(years[some], predicted[some], np.array(values), rng, wrong)
        found.append(standardised(noise, years[some], observed, predicted[some], np.array(values), wrong)[0])
    white = np.array(found)
    assert_close(white.mean(), 0.0, 0.0, 0.06, because="three standard errors of a mean of 4,000")
    assert_close(white.std(), 1.0, 0.12, because="relative and Student noise agree to first order only")
    assert_close(np.mean(white[:, 1:] * white[:, :-1]), 0.0, 0.0, 0.06, because="three standard errors")


def test_a_likelihood_is_tested_series_by_series():
    years = np.arange(2000.0, 2026.0)
    one = park_likelihood(years, noise=0.05, names=("firms", "revenue"), seed=3)
    checks = residual_checks(one, VALUES)
    assert [found.indicator for found in checks] == ["firms", "revenue"]
    assert all(found.good for found in checks)
    assert 0.5 < np.std(checks[0].residuals) < 1.5
    wrong = VALUES * np.array([0.7, 1.0, 1.0])
    assert residual_checks(one, wrong)[0].dependent


def test_breusch_godfrey_knows_that_a_factor_was_solved():
    years = np.arange(2000.0, 2020.0)
    one = park_likelihood(years, noise=LogNormal(), names=("revenue",), seed=5)
    found = residual_checks(one, np.append(VALUES, 0.13))[0]
    outcome = one.outcome(np.append(VALUES, 0.13))["revenue"]
    scaled = standardised(LogNormal(), years, outcome.observed, outcome.predicted, np.array([0.13]), None)
    assert_close(found.residuals, scaled[0], 1e-12, because="the same residuals")
    assert not found.regression.missing
