"""Tests of the residuals of a series: whether they follow one another, keep to one side, or look unlike the normal.

All take missing years as they are. A lag is a lag in years, and only pairs of figures that far apart count; nothing is
filled in and figures on both sides of a gap are not neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.statistics import ENOUGH, Floats, durbin_watson
from calibration.words import listed
from sd_cluster.errors import FitError

FIRM = 0.01
"""A p-value below which a test speaks; several are made of every series, and one in twenty would cry by chance."""
HINT = 0.05
"""A p-value below which a test hints."""
PAIRS = 4
"""Fewest pairs of figures from which an autocorrelation is computed."""


@dataclass(frozen=True)
class Test:
    """One test: its statistic and p-value, both NaN where `missing` says why it was not made."""

    name: str
    statistic: float
    p: float
    missing: str = ""

    __test__ = False  # a record, not something for pytest to collect

    def __str__(self) -> str:
        return f"{self.name}: {self.missing}" if self.missing else f"{self.name} p {_p(self.p)}"


@dataclass(frozen=True, eq=False)
class ResidualCheck:
    """What the tests say of the residuals of one series.

    Attributes
    ----------
    indicator
        Name of the series.
    years, residuals : shape (n,)
        Standardised residuals should be about standard normal; others work as well, but for their size.
    lags, autocorrelation, pairs : shape (n_lags,)
        Lags in years, only those that enough pairs of figures have, and how many.
    durbin_watson
        Of figures in a row; see `statistics.durbin_watson`.
    portmanteau, regression, runs, normality
        Ljung-Box, Breusch-Godfrey, runs above and below zero, Shapiro-Wilk.
    fitted
        Autoregressive coefficients that the residuals went through.
    """

    indicator: str
    years: Floats
    residuals: Floats
    lags: Floats
    autocorrelation: Floats
    pairs: Floats
    durbin_watson: float
    portmanteau: Test
    regression: Test
    runs: Test
    normality: Test
    fitted: int = 0

    @property
    def tests(self) -> tuple[Test, ...]:
        """All four."""
        return self.portmanteau, self.regression, self.runs, self.normality

    @property
    def judged(self) -> bool:
        """Whether there are figures enough to judge."""
        return len(self.years) >= ENOUGH

    @property
    def dependent(self) -> bool:
        """Whether figures in a row err alike (or in turn), by any of the three tests of that."""
        return self.judged and any(one.p < FIRM for one in (self.portmanteau, self.regression, self.runs))

    @property
    def good(self) -> bool:
        """True unless a test speaks firmly."""
        return not self.dependent and not (self.judged and self.normality.p < FIRM)

    @property
    def text(self) -> str:
        """The verdict, in words."""
        name, count = f"'{self.indicator}'", len(self.years)
        if not self.judged:
            return f"{name}: {count} figures are too few to judge residuals (at least {ENOUGH})."
        serial = [one for one in (self.portmanteau, self.regression, self.runs) if one.p < HINT]
        told = f" ({listed([str(one) for one in serial])})" if serial else ""
        if self.dependent:
            wave = not self.autocorrelation.size or self.autocorrelation[0] > 0.0
            how = "come in waves" if wave else "go to and fro"
            then = "AR(1) noise does not take it all" if self.fitted else "try AR(1) noise"
            first = (
                f"{name}: residuals {how}{told}: something lasting is missing from the model or the gauge, and "
                f"intervals that take figures as independent are too narrow; {then}"
            )
        elif serial:
            first = f"{name}: a hint that residuals in a row are related{told}, no more"
        else:
            first = f"{name}: residuals look like scatter"
        if self.normality.p < FIRM:
            worst = int(np.argmax(np.abs(self.residuals - np.median(self.residuals))))
            second = f"they are not normal ({self.normality}), most unlike in {self.years[worst]:.0f}; try Student's t"
        elif self.normality.p < HINT:
            second = f"perhaps not normal ({self.normality})"
        else:
            second = "nothing speaks against the normal"
        return f"{first}; {second}."


def check_residuals(
    indicator: str,
    years: ArrayLike,
    residuals: ArrayLike,
    *,
    slopes: Floats | None = None,
    fitted: int = 0,
) -> ResidualCheck:
    """Test the residuals of one series.

    Parameters
    ----------
    indicator
        Name of the series.
    years : shape (n,), increasing
        Whole years, or years a whole number of years apart; gaps are allowed.
    residuals : shape (n,)
        Of the scale of the noise: of logarithms for multiplicative noise.
    slopes : shape (n, n_unknowns), optional
        Derivatives of the (standardised) predictions by what was fitted. With them the Breusch-Godfrey test allows for
        the fit having made residuals smaller and less alike; without, only for their mean.
    fitted
        Autoregressive coefficients that the residuals went through, taken off the degrees of freedom of Ljung-Box.

    Raises
    ------
    FitError
        If there is no residual, shapes do not fit, or a residual is not finite.

    Notes
    -----
    Ljung-Box is n (n + 2) sum(r_k**2 / n_k) over lags k, r_k the sum over the n_k pairs that far apart over the sum of
    squares: without gaps n_k = n - k and it is that of Ljung and Box (1978), doi:10.1093/biomet/65.2.297; with gaps its
    terms keep variance one for normal residuals (after Stoffer and Toloi 1992, Statistics & Probability Letters 13,
    391-396). As many lags as a fifth of n, ten at most (Hyndman and Athanasopoulos 2021, section 5.4).
    Breusch-Godfrey (Breusch 1978, doi:10.1111/j.1467-8454.1978.tb00635.x; Godfrey 1978, doi:10.2307/1913829) is the F
    test of the first two lags, a missing neighbour counting zero.
    """
    when, errors = np.array(years, dtype=float), np.array(residuals, dtype=float)
    if when.shape != errors.shape or when.ndim != 1 or not np.isfinite(errors).all():
        raise FitError(f"'{indicator}': expected one finite residual for each of {len(when)} years")
    if not len(when):
        raise FitError(f"'{indicator}' has no residual to test; leave it out")
    if slopes is not None and slopes.shape[0] != len(when):
        raise FitError(f"'{indicator}': slopes of shape {slopes.shape} do not fit {len(when)} residuals")
    for array in (when, errors):
        array.setflags(write=False)
    lags, correlations, counts = autocorrelations(when, errors)
    return ResidualCheck(
        indicator, when, errors, lags, correlations, counts, durbin_watson(errors),
        _portmanteau(correlations, counts, len(errors), fitted), _regression(when, errors, slopes),
        _runs(errors), _normality(errors), fitted,
    )  # fmt: skip


def autocorrelations(years: Floats, residuals: Floats) -> tuple[Floats, Floats, Floats]:
    """Autocorrelations over lags in years that enough pairs of figures have.

    Returns
    -------
    lags, correlations, counts : shape (n_lags,)
        Years, sum over pairs divided by the sum of squares (around the mean), and pairs. Divided so, a lag of few pairs
        counts little, as in a series without gaps.

    Examples
    --------
    Every second year, in turns up and down:

    >>> autocorrelations(2.0 * np.arange(10), np.tile([1.0, -1.0], 5))[:2]
    (array([2., 4.]), array([-0.9,  0.8]))
    """
    around = residuals - residuals.mean()
    total, count = float(np.sum(around**2)), len(residuals)
    apart = np.round(years[None, :] - years[:, None], 6)
    most = min(10, max(1, count // 5))
    lags: list[tuple[float, float, float]] = []
    for lag in np.unique(apart[apart > 0.0]):
        first, second = np.nonzero(apart == lag)
        if len(first) >= PAIRS and total > 0.0 and len(lags) < most:
            lags.append((float(lag), float(np.sum(around[first] * around[second])) / total, float(len(first))))
    found = np.array(lags).reshape(-1, 3)
    return found[:, 0], found[:, 1], found[:, 2]


def _portmanteau(correlations: Floats, counts: Floats, count: int, fitted: int) -> Test:
    from scipy.stats import chi2

    name, freedom = "Ljung-Box", len(correlations) - fitted
    if freedom < 1:
        return Test(name, np.nan, np.nan, "too few figures a lag apart")
    statistic = count * (count + 2.0) * float(np.sum(correlations**2 / counts))
    return Test(name, statistic, float(chi2.sf(statistic, freedom)))


def _regression(years: Floats, residuals: Floats, slopes: Floats | None) -> Test:
    """Breusch-Godfrey: whether lagged residuals explain residuals beyond what the fit could have done to them."""
    import statsmodels.api as sm

    name = "Breusch-Godfrey"
    ground = np.ones((len(years), 1)) if slopes is None else _independent(slopes)
    unit = float(np.min(np.diff(years))) if len(years) > 1 else 1.0
    left = residuals - ground @ np.linalg.lstsq(ground, residuals, rcond=None)[0]
    lagged = np.column_stack([_before(years, left, lag * unit) for lag in (1, 2)])
    lagged = lagged[:, np.count_nonzero(lagged, axis=0) >= PAIRS]
    columns = _independent(np.column_stack([ground, lagged]), keep=ground.shape[1])
    tested = columns.shape[1] - ground.shape[1]
    if tested < 1 or len(years) - columns.shape[1] < 3:
        return Test(name, np.nan, np.nan, "too few figures for what was fitted")
    full = sm.OLS(residuals, columns).fit()
    rows = np.eye(columns.shape[1])[ground.shape[1] :]
    if not full.ssr > 1e-20 * float(np.sum(residuals**2)):
        return Test(name, np.nan, np.nan, "no scatter left to test")
    found = full.f_test(rows)
    return Test(name, float(found.fvalue), float(found.pvalue))


def _before(years: Floats, residuals: Floats, lag: float) -> Floats:
    """The residual so many years before each, zero where there is no figure."""
    place = np.minimum(np.searchsorted(years, years - lag - 1e-6), len(years) - 1)
    there = np.abs(years[place] - (years - lag)) < 1e-5
    return np.where(there, residuals[place], 0.0)


def _independent(columns: Floats, keep: int = 0) -> Floats:
    """Columns of unit length without those that follow from the ones before; the first `keep` stay."""
    chosen: list[Floats] = []
    basis: list[Floats] = []
    for number, column in enumerate(columns.T):
        size = float(np.linalg.norm(column))
        if size == 0.0:
            continue
        rest = column / size
        for one in basis * 2:  # twice, against rounding
            rest = rest - one * float(one @ rest)
        left = float(np.linalg.norm(rest))
        if left > 1e-6 or number < keep:
            chosen.append(column / size)
            basis.append(rest / max(left, 1e-300))
    return np.column_stack(chosen) if chosen else np.empty((len(columns), 0))


def _runs(residuals: Floats) -> Test:
    """Runs above and below zero (Wald and Wolfowitz 1940, doi:10.1214/aoms/1177731909)."""
    from statsmodels.sandbox.stats.runs import runstest_1samp

    above = int(np.sum(residuals > 0.0))
    if min(above, len(residuals) - above) < 2:
        return Test("runs", np.nan, np.nan, "nearly all residuals have one sign")
    statistic, p = runstest_1samp(residuals, cutoff=0.0, correction=True)
    return Test("runs", float(statistic), float(p))


def _normality(residuals: Floats) -> Test:
    """Shapiro and Wilk (1965), doi:10.1093/biomet/52.3-4.591."""
    from scipy.stats import shapiro

    if len(residuals) < 3 or np.ptp(residuals) <= 1e-12 * float(np.max(np.abs(residuals), initial=0.0)):
        return Test("Shapiro-Wilk", np.nan, np.nan, "too few figures, or all equal")
    statistic, p = shapiro(residuals)
    return Test("Shapiro-Wilk", float(statistic), float(p))


def _p(value: float) -> str:
    """A p-value with the digits that matter.

    >>> _p(0.04321), _p(0.00001)
    ('= 0.043', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def summary(checks: Sequence[ResidualCheck]) -> str:
    """What the checks of all series come to, in one sentence."""
    judged = [one for one in checks if one.judged]
    if not judged:
        return f"No series has the {ENOUGH} figures it takes to judge residuals."
    bad = [f"'{one.indicator}'" for one in judged if one.dependent]
    if not bad:
        return f"In none of {len(judged)} series judged do residuals in a row err alike."
    return f"Residuals in a row err alike in {len(bad)} of {len(judged)} series judged: {listed(bad)}."
