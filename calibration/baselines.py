"""Naive forecasts of one series from its own past: what a model must beat to be worth its trouble.

Four of them: the last value, the straight line from the first to the last figure (drift), a logistic curve, and
exponential smoothing. Each gives a mean and how sure it is, so that its bands can be held against the model's. Missing
years are a matter of course; nothing is interpolated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.statistics import Floats
from sd_cluster.errors import DataError

SPREAD_OUT = 20.0
"""A ceiling more than this many times the largest figure is no ceiling the figures tell of."""
STARTS = (0.1, 0.5, 0.9)
"""Shares of the latest surprise from which exponential smoothing is searched; one start can end in a poor optimum."""


@dataclass(frozen=True, eq=False)
class Naive:
    """One naive forecast of one series.

    Attributes
    ----------
    method
        "last value", "drift", "logistic curve" or "exponential smoothing".
    years, mean, sd : shape (n_years,)
        Years ahead, the forecast, and the standard deviation of its error. On the scale of the figures, or of their
        natural logarithm if `logarithmic`; NaN where it is refused.
    freedom
        Degrees of freedom of Student's t for the error; infinite, that is normal, for logarithms, since a figure whose
        logarithm has the t distribution has no mean error.
    logarithmic
        Whether mean and sd are those of logarithms.
    how
        How it was made, in a sentence.
    refused
        Why there is no forecast; empty where there is one.
    """

    method: str
    years: Floats
    mean: Floats
    sd: Floats
    freedom: float
    logarithmic: bool
    how: str
    refused: str = ""

    def __post_init__(self) -> None:
        for array in (self.years, self.mean, self.sd):
            array.setflags(write=False)

    @property
    def point(self) -> Floats:
        """The forecast in the unit of the figures: its median, shape (n_years,)."""
        return np.exp(self.mean) if self.logarithmic else self.mean

    def quantile(self, share: ArrayLike) -> Floats:
        """Quantiles in the unit of the figures, shape (n_shares, n_years), or (n_years,) for one share."""
        from scipy.stats import t

        shares = np.asarray(share, dtype=float)
        found = self.mean + self.sd * t.ppf(shares[..., None], self.freedom)
        return np.asarray(np.exp(found) if self.logarithmic else found, dtype=float)

    def interval(self, level: float) -> tuple[Floats, Floats]:
        """Lower and upper end of the prediction interval of this level, such as 0.8, shape (n_years,) each."""
        low, high = self.quantile([0.5 - 0.5 * level, 0.5 + 0.5 * level])
        return low, high

    def log_density(self, observed: Floats) -> Floats:
        """Log density of figures of the same years, per unit of the figures, shape (n_years,)."""
        from scipy.stats import t

        if not self.logarithmic:
            return np.asarray(t.logpdf(observed, self.freedom, self.mean, self.sd))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(observed)
            return np.where(observed > 0.0, t.logpdf(logs, self.freedom, self.mean, self.sd) - logs, -np.inf)

    def below(self, observed: Floats) -> Floats:
        """Probability of a figure below the observed one, shape (n_years,)."""
        from scipy.stats import t

        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.where(observed > 0.0, np.log(observed), -np.inf) if self.logarithmic else observed
        return np.asarray(t.cdf(at, self.freedom, self.mean, self.sd))


def naive_forecasts(
    years: ArrayLike, values: ArrayLike, ahead: ArrayLike, *, logarithmic: bool = False, name: str = "the series"
) -> tuple[Naive, ...]:
    """Forecast a series by all four naive methods.

    Parameters
    ----------
    years : shape (n,), increasing
        Years that have a figure; gaps are allowed.
    values : shape (n,)
        The figures.
    ahead : shape (n_ahead,), increasing, after the last of `years`
        Years to forecast.
    logarithmic
        Forecast the logarithms: drift is then constant growth, errors are relative and bands stay above zero. The
        textbook methods, the default, work on the figures themselves.
    name
        What to call the series in errors.

    Returns
    -------
    forecasts
        Last value, drift, logistic curve, exponential smoothing; a method that cannot be had says why in `refused`.

    Raises
    ------
    DataError
        If there is no figure, years are out of order or not ahead, a figure is not finite, or not above zero where
        `logarithmic`.

    Examples
    --------
    >>> last, drift, *_ = naive_forecasts([2000, 2002, 2003], [10, 12, 16], [2004, 2005])
    >>> last.point.tolist(), drift.point.tolist()
    ([16.0, 16.0], [18.0, 20.0])
    """
    from threadpoolctl import threadpool_limits

    past, figures, later = (np.array(one, dtype=float) for one in (years, values, ahead))
    _check(past, figures, later, logarithmic, name)
    shown = np.log(figures) if logarithmic else figures
    with threadpool_limits(1, user_api="blas"):  # threads cost more than matrices of a few rows are worth
        return tuple(make(past, shown, later, logarithmic) for make in (last_value, drift, logistic_curve, smoothing))


def last_value(years: Floats, values: Floats, ahead: Floats, logarithmic: bool = False) -> Naive:
    """The last figure for ever: the best forecast of a random walk.

    The variance grows by the same amount every year; that amount is the mean of squared changes, each over the length
    of its gap (for yearly figures: Hyndman and Athanasopoulos 2021, Forecasting: principles and practice, section 5.5).

    Parameters
    ----------
    years, values : shape (n,)
        Figures, or their logarithms where `logarithmic`.
    ahead : shape (n_ahead,)
    logarithmic
        Only noted.
    """
    count = len(values) - 1
    mean = np.full_like(ahead, values[-1])
    if count < 1:
        return Naive("last value", ahead, mean, np.full_like(ahead, np.inf), 1.0, logarithmic, "one figure: no spread")
    gaps = np.diff(years)
    yearly = np.sqrt(np.sum(np.diff(values) ** 2 / gaps) / count)
    sd = yearly * np.sqrt(ahead - years[-1])
    return Naive(
        "last value", ahead, mean, sd, _freedom(count, logarithmic), logarithmic, f"the figure of {years[-1]:.0f}"
    )


def drift(years: Floats, values: Floats, ahead: Floats, logarithmic: bool = False) -> Naive:
    """The straight line through the first and the last figure: a random walk with a trend.

    The trend is the average change a year; the variance h years ahead is that of the changes around it, times
    h (1 + h / length of the past), the second term for the trend being estimated (section 5.5 of the same book; changes
    over longer gaps count by the length of the gap).
    """
    length, count = years[-1] - years[0], len(values) - 2
    if count < 0:
        return _refused("drift", ahead, logarithmic, "it needs at least two figures")
    slope = (values[-1] - values[0]) / length
    steps = ahead - years[-1]
    mean = values[-1] + slope * steps
    how = f"the trend from {years[0]:.0f} to {years[-1]:.0f}"
    if count < 1:
        return Naive("drift", ahead, mean, np.full_like(ahead, np.inf), 1.0, logarithmic, how + ", two figures")
    gaps = np.diff(years)
    yearly = np.sqrt(np.sum((np.diff(values) - slope * gaps) ** 2 / gaps) / count)
    sd = yearly * np.sqrt(steps * (1.0 + steps / length))
    return Naive("drift", ahead, mean, sd, _freedom(count, logarithmic), logarithmic, how)


def logistic_curve(years: Floats, values: Floats, ahead: Floats, logarithmic: bool = False) -> Naive:
    """A logistic curve of time, fitted by least squares: growth (or decline) between nothing and a ceiling.

    The error of the forecast adds the scatter of the figures around the curve and the uncertainty of the curve, to
    first order (Bates and Watts 1988, Nonlinear regression analysis and its applications, doi:10.1002/9780470316757).
    It is refused where figures do not tell of a ceiling: where the search does not converge, or the ceiling is not
    found to within its own size.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    method, count = "logistic curve", len(values)
    figures = np.exp(values) if logarithmic else values
    if count < 4:
        return _refused(method, ahead, logarithmic, f"it needs at least four figures, there are {count}")
    if not (figures > 0.0).all():
        return _refused(method, ahead, logarithmic, "it needs figures above zero")
    curve = _log_logistic if logarithmic else _logistic
    top, middle, length = float(figures.max()), float(years.mean()), float(years[-1] - years[0])
    best: tuple[float, Floats, Floats] | None = None
    for start in [(over * top, sign * 4.0 / length, at) for over, sign, at in _logistic_starts(years)]:
        scaled = (np.log(start[0] / top), start[1] * length, (start[2] - middle) / length)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # a singular covariance is looked for below
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                found, covariance = curve_fit(
                    lambda t, *p: curve(t, top, *p), (years - middle) / length, values, p0=scaled,
                    bounds=([-3.0, -60.0, -20.0], [7.0, 60.0, 20.0]), x_scale=(1.0, 4.0, 1.0),
                )  # fmt: skip
            except RuntimeError:  # no convergence from this start
                continue
        error = float(np.sum((curve((years - middle) / length, top, *found) - values) ** 2))
        if best is None or error < best[0]:
            best = error, found, covariance
    if best is None:
        return _refused(method, ahead, logarithmic, "the search did not converge from any start")
    error, found, covariance = best
    ceiling, doubt = top * float(np.exp(found[0])), float(np.sqrt(covariance[0, 0]))
    if not np.isfinite(covariance).all() or ceiling > SPREAD_OUT * top or doubt > 1.0:
        return _refused(method, ahead, logarithmic, "the figures do not bend, so they tell of no ceiling")
    at = (ahead - middle) / length
    slopes = _slopes(lambda p: curve(at, top, *p), found)
    scatter = error / (count - 3)
    sd = np.sqrt(scatter + np.einsum("yi,ij,yj->y", slopes, covariance, slopes))
    how = f"a ceiling of {ceiling:.4g} and half of it in {found[2] * length + middle:.0f}"
    return Naive(
        method, ahead, np.asarray(curve(at, top, *found)), sd, _freedom(count - 3, logarithmic), logarithmic, how
    )


def smoothing(years: Floats, values: Floats, ahead: Floats, logarithmic: bool = False) -> Naive:
    """Exponential smoothing: simple, with a trend (Holt), or with a trend that dies out, whichever has the best AICc.

    The innovations form with additive errors as a state-space model (Hyndman, Koehler, Ord and Snyder 2008,
    doi:10.1007/978-3-540-71918-2) in statsmodels, whose Kalman filter passes over missing years: nothing is filled in.
    Bands follow from the same model (section 8.7 of Hyndman and Athanasopoulos 2021).
    """
    method = "exponential smoothing"
    if len(values) < 4:
        return _refused(method, ahead, logarithmic, f"it needs at least four figures, there are {len(values)}")
    if np.ptp(values) == 0.0:
        return _refused(method, ahead, logarithmic, "all figures are equal")
    if (np.mod(years - years[0], 1.0) > 1e-9).any():
        return _refused(method, ahead, logarithmic, "it needs whole years")
    grid = np.full(round(years[-1] - years[0]) + 1, np.nan)
    middle, width = float(values.mean()), float(values.std())
    grid[np.round(years - years[0]).astype(int)] = (values - middle) / width
    kinds: dict[str, dict[str, bool]] = {
        "without a trend": {}, "with a trend": {"trend": True},
        "with a trend that dies out": {"trend": True, "damped_trend": True},
    }  # fmt: skip
    fits: dict[str, tuple[float, Any, int]] = {}
    for kind, settings in kinds.items():
        unknowns = 3 + 2 * ("trend" in settings) + ("damped_trend" in settings)  # smoothing, first states, variance
        if len(values) > unknowns + 1 and (found := _smooth(grid, settings)) is not None:
            spare = len(values) - unknowns - 1
            fits[kind] = -2.0 * found.llf + 2.0 * unknowns * (1.0 + (unknowns + 1) / spare), found, unknowns
    if not fits:
        return _refused(method, ahead, logarithmic, "the search did not converge")
    kind = min(fits, key=lambda one: fits[one][0])
    _, found, unknowns = fits[kind]
    steps = np.round(ahead - years[-1]).astype(int)
    forecast = found.get_forecast(int(steps.max()))
    mean = middle + width * np.asarray(forecast.predicted_mean)[steps - 1]
    # statsmodels has the maximum-likelihood variance; bands want the one over the degrees of freedom.
    freedom = len(values) - unknowns + 1
    sd = width * np.asarray(forecast.se_mean)[steps - 1] * np.sqrt(len(values) / freedom)
    gaps = int(np.isnan(grid).sum())
    how = kind + (f", the filter passing over {gaps} missing years" if gaps else "")
    return Naive(method, ahead, mean, sd, _freedom(freedom, logarithmic), logarithmic, how)


def typical_region(others: Mapping[str, tuple[Floats, Floats]], years: Floats) -> Naive:
    """The middle of other regions in the same year: the naive forecast of a region nothing is known of.

    The geometric mean, with the spread of their logarithms and of the mean; NaN for a year no other region has.

    Parameters
    ----------
    others : region -> (years, values), shape (n,) each
        Figures above zero of the other regions.
    years : shape (n_years,)
        Years to forecast.
    """
    method = "typical region"
    table = np.full((len(others), len(years)), np.nan)
    for row, (when, values) in zip(table, others.values(), strict=True):
        inside, there = np.isin(years, when), np.searchsorted(when, years)
        row[inside] = np.log(values[there[inside]])
    counts = np.sum(np.isfinite(table), axis=0)
    if not counts.any():
        return _refused(method, years, True, "no other region has a figure in these years")
    known = np.maximum(counts, 1)
    mean = np.where(counts > 0, np.nansum(table, axis=0) / known, np.nan)
    squares = np.nansum((table - mean) ** 2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.where(counts > 1, np.sqrt(squares / (counts - 1) * (1.0 + 1.0 / known)), np.inf)
    return Naive(method, years.copy(), mean, sd, np.inf, True, f"the middle of {len(others)} other regions")


def _smooth(grid: Floats, settings: dict[str, bool]) -> Any | None:
    """The best fit from several starts, or None."""
    from statsmodels.tools.sm_exceptions import ModelWarning
    from statsmodels.tsa.statespace.exponential_smoothing import ExponentialSmoothing

    there = np.flatnonzero(np.isfinite(grid))
    slope, first = np.polyfit(there, grid[there], 1)
    states = [first, slope] if "trend" in settings else [first]
    best: Any | None = None
    for share in STARTS:
        model = ExponentialSmoothing(grid, initialization_method="estimated", concentrate_scale=True, **settings)
        start = np.array([*[share, 0.1 * share, 0.9][: len(states) + ("damped_trend" in settings)], *states])
        with warnings.catch_warnings():
            for kind in (ModelWarning, RuntimeWarning):  # judged below by what came out
                warnings.simplefilter("ignore", kind)
            try:
                found = model.fit(start_params=start, disp=0, cov_type="none")
            except (ValueError, np.linalg.LinAlgError):
                continue
        good = bool(found.mle_retvals["converged"]) and bool(np.isfinite(found.llf))
        if good and (best is None or found.llf > best.llf):
            best = found
    return best


def _logistic(t: Floats, top: float, ceiling: float, rate: float, half: float) -> Floats:
    """A logistic curve; the ceiling as logarithm of its ratio to `top`."""
    from scipy.special import expit

    return np.asarray(top * np.exp(ceiling) * expit(rate * (t - half)))


def _log_logistic(t: Floats, top: float, ceiling: float, rate: float, half: float) -> Floats:
    return np.asarray(np.log(top) + ceiling - np.logaddexp(0.0, -rate * (t - half)))


def _logistic_starts(years: Floats) -> Sequence[tuple[float, float, float]]:
    """Ceilings over the largest figure, signs of growth, and years of half of the ceiling."""
    first, last = float(years[0]), float(years[-1])
    span = last - first
    return [
        (over, sign, at)
        for sign in (1.0, -1.0)
        for over, at in ((1.05, first), (1.2, first + 0.5 * span), (2.0, last), (4.0, last + 0.5 * span))
    ]


def _slopes(function: Callable[[Floats], Floats], at: Floats) -> Floats:
    """Derivatives by central differences, shape (n_values, n_parameters)."""
    columns = []
    for k in range(len(at)):
        move = np.zeros(len(at))
        move[k] = 1e-5 * max(1.0, abs(float(at[k])))
        columns.append((function(at + move) - function(at - move)) / (2.0 * move[k]))
    return np.column_stack(columns)


def _freedom(count: int, logarithmic: bool) -> float:
    return np.inf if logarithmic else float(count)


def _refused(method: str, ahead: Floats, logarithmic: bool, why: str) -> Naive:
    nothing = np.full_like(ahead, np.nan)
    return Naive(method, ahead, nothing, nothing.copy(), np.inf, logarithmic, "", refused=why)


def _check(years: Floats, values: Floats, ahead: Floats, logarithmic: bool, name: str) -> None:
    if years.ndim != 1 or years.shape != values.shape or not len(years):
        raise DataError(f"{name}: {years.shape} years and {values.shape} figures; expected one figure for each year")
    if not (np.isfinite(years).all() and np.isfinite(values).all()):
        raise DataError(f"{name} has a year or figure that is not finite; leave missing years out")
    if (np.diff(years) <= 0.0).any():
        raise DataError(f"the years of {name} do not increase; sort its figures by year")
    if ahead.ndim != 1 or not len(ahead) or not ahead[0] > years[-1] or (np.diff(ahead) <= 0.0).any():
        raise DataError(f"{name}: expected years ahead that increase and lie after {years[-1]:.0f}")
    if logarithmic and not (values > 0.0).all():
        low = years[int(np.argmin(values))]
        raise DataError(f"{name} has {values.min():g} in {low:.0f}, so no logarithm; forecast the figures themselves")
