"""Statistics of fit between a simulated and an observed series: pure functions of two arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

WAVES = 1.0
"""Durbin-Watson below which residuals come in waves: about the 5 % bound for ten to twenty figures."""
SCATTER = 1.5
"""Durbin-Watson from which residuals look like scatter, for which 2 is expected."""
ENOUGH = 8
"""Fewer figures than these are not judged: Durbin-Watson is then anything."""


@dataclass(frozen=True)
class Theil:
    """Theil's split of the mean squared error into three shares that sum to one.

    Attributes
    ----------
    bias
        UM: the means differ.
    variation
        US: the spreads differ, as with a wrong trend or amplitude.
    covariation
        UC: point-by-point differences, as from noise or phase; large UC with small UM and US is
        usually harmless.
    """

    bias: float
    variation: float
    covariation: float


def theil(simulated: ArrayLike, observed: ArrayLike) -> Theil:
    """Split the mean squared error into bias, unequal variation and unequal covariation.

    Parameters
    ----------
    simulated, observed : shape (n,), same units
        The two series at common points; population standard deviations are used.

    Returns
    -------
    shares
        Each between 0 and 1, together 1; all NaN where the two series are equal to within rounding,
        since there is then no error to split.

    References
    ----------
    Sterman, J. D. (1984), Appropriate summary statistics for evaluating the historical fit of
    system dynamics models, Dynamica 10(2), 51-66.

    Examples
    --------
    A simulation always 1 too high is all bias:

    >>> theil([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])
    Theil(bias=1.0, variation=0.0, covariation=0.0)
    """
    s, a = _pair(simulated, observed)
    mse = float(np.mean((s - a) ** 2))
    if mse <= (1e-12 * float(np.max(np.abs(a)))) ** 2:
        return Theil(np.nan, np.nan, np.nan)
    bias = min(1.0, float((s.mean() - a.mean()) ** 2) / mse)
    variation = min(1.0 - bias, float((s.std() - a.std()) ** 2) / mse)
    return Theil(bias, variation, 1.0 - bias - variation)


def durbin_watson(residuals: ArrayLike) -> float:
    """Durbin-Watson statistic: about 2 for unrelated residuals, towards 0 for slow waves, 4 for zigzag.

    Parameters
    ----------
    residuals : shape (n,), in order of time
        Neighbours are neighbouring observations: a gap of years between them does not count, so on
        a gappy series the statistic is a hint rather than a test.

    Returns
    -------
    statistic
        Between 0 and 4; NaN for fewer than two residuals or where all are zero.

    References
    ----------
    Durbin, J. and Watson, G. S. (1950), Biometrika 37, 409-428, doi:10.1093/biomet/37.3-4.409.

    Examples
    --------
    >>> durbin_watson([1.0, -1.0, 1.0, -1.0])
    3.0
    """
    e = np.asarray(residuals, dtype=float)
    total = float(np.sum(e**2))
    if e.size < 2 or total == 0.0:
        return float("nan")
    return float(np.sum(np.diff(e) ** 2)) / total


def r_squared(simulated: ArrayLike, observed: ArrayLike) -> float:
    """One minus the squared error over the squared deviations of the observations from their mean.

    It is 1 for a perfect simulation, 0 for one no better than the observed mean, negative for a
    worse one, and NaN where all observations are equal.

    Examples
    --------
    >>> r_squared([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    1.0
    >>> r_squared([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    0.0
    """
    s, a = _pair(simulated, observed)
    total = float(np.sum((a - a.mean()) ** 2))
    if total == 0.0:
        return float("nan")
    return 1.0 - float(np.sum((s - a) ** 2)) / total


def rmspe(simulated: ArrayLike, observed: ArrayLike) -> float:
    """Root mean square of the relative errors, as a fraction of the observed values.

    Examples
    --------
    A simulation 10 % too high in one year and 10 % too low in the other:

    >>> round(rmspe([110.0, 180.0], [100.0, 200.0]), 12)
    0.1
    """
    s, a = _pair(simulated, observed)
    return float(np.sqrt(np.mean(((s - a) / a) ** 2)))


def _pair(simulated: ArrayLike, observed: ArrayLike) -> tuple[Floats, Floats]:
    s = np.asarray(simulated, dtype=float)
    a = np.asarray(observed, dtype=float)
    if s.shape != a.shape or s.ndim != 1 or s.size == 0:
        raise ValueError(f"two series of one common length are needed, got shapes {s.shape} and {a.shape}")
    return s, a
