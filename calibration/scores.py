"""Scores of forecasts given as draws: errors of their medians, and whether their spread was honest."""

import numpy as np

from calibration.statistics import Floats


def crps(draws: Floats, observed: Floats) -> Floats:
    """Continuous ranked probability score: the absolute error of a forecast that knows how sure it is.

    The mean distance of draws from the figure less half the mean distance of draws from one another; in the unit of the
    figures, lower is better, and the absolute error where all draws are one number.

    Parameters
    ----------
    draws : shape (n_draws, n_years)
    observed : shape (n_years,)

    Returns
    -------
    scores : shape (n_years,)

    References
    ----------
    Gneiting, T. and Raftery, A. E. (2007), Strictly proper scoring rules, prediction, and estimation, Journal of the
    American Statistical Association 102, 359-378, doi:10.1198/016214506000001437.

    Examples
    --------
    >>> crps(np.array([[1.0], [3.0]]), np.array([4.0])).tolist()
    [1.5]
    """
    count = len(draws)
    ranks = (2.0 * np.arange(1, count + 1) - count - 1.0)[:, None]
    apart = 2.0 * np.sum(ranks * np.sort(draws, axis=0), axis=0) / count**2
    return np.asarray(np.mean(np.abs(draws - observed), axis=0) - 0.5 * apart)


def log_scores(densities: Floats) -> Floats:
    """Log predictive densities: logarithm of the mean over draws; higher is better.

    Parameters
    ----------
    densities : shape (n_draws, n_years)
        Log density of each figure under each draw.

    Returns
    -------
    scores : shape (n_years,)
    """
    from scipy.special import logsumexp

    return np.asarray(logsumexp(densities, axis=0) - np.log(len(densities)))


def ranks(draws: Floats, observed: Floats, seed: int) -> Floats:
    """Probability integral transform of figures: where among the draws they stand, from 0 to 1.

    Uniform for an honest forecast. A figure equal to draws, as counts are, gets a random place among them, and the last
    fraction of a rank is random too (Czado, Gneiting and Held 2009, doi:10.1111/j.1541-0420.2009.01191.x).

    Parameters
    ----------
    draws : shape (n_draws, n_years)
    observed : shape (n_years,)
    seed

    Returns
    -------
    places : shape (n_years,)
    """
    below, equal = np.sum(draws < observed, axis=0), np.sum(draws == observed, axis=0)
    random = np.random.default_rng(seed).random(len(observed))
    return np.asarray((below + random * (equal + 1.0)) / (len(draws) + 1.0))


def mape(forecast: Floats, observed: Floats) -> float:
    """Mean absolute error in per cent of the figures; NaN where a figure is zero.

    Examples
    --------
    >>> round(mape(np.array([110.0, 180.0]), np.array([100.0, 200.0])), 9)
    10.0
    """
    if (observed == 0.0).any():
        return float("nan")
    return 100.0 * float(np.mean(np.abs(forecast - observed) / np.abs(observed)))


def rmse(forecast: Floats, observed: Floats) -> float:
    """Root mean squared error, in the unit of the figures."""
    return float(np.sqrt(np.mean((forecast - observed) ** 2)))


def mase(forecast: Floats, observed: Floats, years: Floats, past: Floats) -> float:
    """Mean absolute error over that of the last value in the past, a year ahead: below 1 is better than that.

    Over a gap of g years a change counts as change / sqrt(g), what a random walk has in a year. NaN where the past does
    not change or has one figure.

    Parameters
    ----------
    forecast, observed : shape (n_ahead,)
    years, past : shape (n_past,)
        Figures before the forecast and their years.

    References
    ----------
    Hyndman, R. J. and Koehler, A. B. (2006), Another look at measures of forecast accuracy, International Journal of
    Forecasting 22, 679-688, doi:10.1016/j.ijforecast.2006.03.001.

    Examples
    --------
    >>> mase(np.array([4.0]), np.array([8.0]), np.array([2000.0, 2001.0]), np.array([1.0, 3.0]))
    2.0
    """
    if len(past) < 2:
        return float("nan")
    yearly = float(np.mean(np.abs(np.diff(past)) / np.sqrt(np.diff(years))))
    return float(np.mean(np.abs(forecast - observed))) / yearly if yearly > 0.0 else float("nan")


def coverage(draws: Floats, observed: Floats, level: float) -> tuple[int, int]:
    """How many figures lie in the equal-tailed band of this level, and of how many.

    Parameters
    ----------
    draws : shape (n_draws, n_years)
    observed : shape (n_years,)
    level
        Such as 0.8.
    """
    low, high = np.quantile(draws, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
    return int(np.sum((observed >= low) & (observed <= high))), len(observed)


def inside_shares(places: Floats, levels: Floats) -> Floats:
    """Share of figures inside the central band of each level, from their places among the draws.

    Parameters
    ----------
    places : shape (n_figures,)
        From 0 to 1; see `ranks`.
    levels : shape (n_levels,)

    Returns
    -------
    shares : shape (n_levels,)

    Examples
    --------
    >>> inside_shares(np.array([0.05, 0.3, 0.5, 0.99]), np.array([0.5, 0.95])).tolist()
    [0.5, 0.75]
    """
    far = 2.0 * np.abs(places - 0.5)
    return np.asarray(np.mean(far[None, :] <= levels[:, None], axis=1))
