"""Priors between two ends: uniform, log-uniform and beta."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from calibration.prior_base import FAR, Prior, bell, between, logistic, logit
from calibration.scaling import scaling_of
from calibration.statistics import Floats


class _Bounded(Prior):
    """A prior that is even between two ends of some coordinate; its place is logistic."""

    spread = math.pi / math.sqrt(3.0)

    def quantile(self, share: ArrayLike) -> Floats:
        """Values below which these shares of the probability lie."""
        with np.errstate(divide="ignore"):
            given = np.asarray(share, dtype=float)
            return self.value(np.clip(np.log(given) - np.log1p(-given), -FAR, FAR))

    def share(self, place: ArrayLike) -> Floats:
        """Shares of the probability below places."""
        return logistic(np.asarray(place, dtype=float))

    def penalty(self, place: ArrayLike) -> Floats:
        """Nothing."""
        return np.zeros_like(place, dtype=float)

    def penalty_slope(self, place: ArrayLike) -> Floats:
        """Nothing."""
        return np.zeros_like(place, dtype=float)

    def curvature(self, place: ArrayLike) -> Floats:
        """Nothing."""
        return np.zeros_like(place, dtype=float)

    def log_density(self, place: ArrayLike) -> Floats:
        """That of the standard logistic distribution."""
        size = np.abs(np.asarray(place, dtype=float))
        found: Floats = -size - 2.0 * np.log1p(np.exp(-size))
        return found

    def log_density_slope(self, place: ArrayLike) -> Floats:
        """Towards the middle, never steeper than one."""
        found: Floats = -np.tanh(0.5 * np.asarray(place, dtype=float))
        return found


@dataclass(frozen=True)
class Uniform(_Bounded):
    """Any value between two ends alike.

    Attributes
    ----------
    low, high
        Both finite, in the value's unit.
    source

    Examples
    --------
    >>> float(Uniform(1.0, 3.0).value(0.0))
    2.0
    """

    low: float
    high: float
    source: str = ""

    def __post_init__(self) -> None:
        self._check_numbers("low", "high")
        if not self.low < self.high:
            raise self._refuse(f"goes from {self.low:g} to {self.high:g}; expected low below high")
        if not math.isfinite(self.high - self.low):
            raise self._refuse(f"goes from {self.low:g} to {self.high:g}, which is too wide; use a log-uniform one")

    def value(self, place: ArrayLike) -> Floats:
        """Values between the ends, S-shaped in the place."""
        return self._within(between(np.asarray(place, dtype=float), self.low, self.high))

    def slope(self, place: ArrayLike) -> Floats:
        """Of the S-shape."""
        found: Floats = (self.high - self.low) * bell(np.asarray(place, dtype=float))
        return found

    def _place(self, value: Floats) -> Floats:
        return logit(value, self.low, self.high)


@dataclass(frozen=True)
class LogUniform(_Bounded):
    """Any ratio alike between two positive ends.

    Attributes
    ----------
    low, high
        Both above zero, in the value's unit.
    source

    Examples
    --------
    >>> round(float(LogUniform(0.01, 1.0).value(0.0)), 9)
    0.1
    """

    low: float
    high: float
    source: str = ""

    def __post_init__(self) -> None:
        self._check_numbers("low", "high")
        if not 0.0 < self.low < self.high:
            raise self._refuse(f"goes from {self.low:g} to {self.high:g}; expected 0 < low < high")

    @cached_property
    def _ends(self) -> tuple[Floats, Floats]:
        return np.log(self.low), np.log(self.high)

    def value(self, place: ArrayLike) -> Floats:
        """Values between the ends; their logarithms are S-shaped in the place."""
        return self._within(np.exp(between(np.asarray(place, dtype=float), *self._ends)))

    def slope(self, place: ArrayLike) -> Floats:
        """Of the value."""
        start, end = self._ends
        found: Floats = (end - start) * bell(np.asarray(place, dtype=float)) * self.value(place)
        return found

    def _place(self, value: Floats) -> Floats:
        start, end = self._ends
        inside = np.clip(np.log(value), np.nextafter(start, np.inf), np.nextafter(end, -np.inf))
        return logit(inside, start, end)


@dataclass(frozen=True)
class Beta(Prior):
    """Beta: for shares between two ends, with a best value and thin ends.

    Attributes
    ----------
    a, b
        Exponents plus one; at least one each, since the density has no greatest value otherwise.
    source
    low, high
        Ends of the support; 0 and 1 where not given.

    Examples
    --------
    >>> round(float(Beta(2.0, 2.0).value(0.0)), 9)
    0.5
    """

    a: float
    b: float
    source: str = ""
    _: KW_ONLY
    low: float = 0.0
    high: float = 1.0

    spread: float = field(init=False, repr=False, compare=False)
    _centre: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from scipy.special import betaincinv, polygamma

        self._check_numbers("a", "b", "low", "high")
        if not self.low < self.high:
            raise self._refuse(f"goes from {self.low:g} to {self.high:g}; expected low below high")
        if self.a < 1.0 or self.b < 1.0:
            raise self._refuse(f"has a {self.a:g} and b {self.b:g}; expected at least one, or use LogitNormal")
        middle = float(betaincinv(self.a, self.b, 0.5))
        object.__setattr__(self, "_centre", float(logit(middle, 0.0, 1.0)))
        object.__setattr__(self, "spread", math.sqrt(float(polygamma(1, self.a)) + float(polygamma(1, self.b))))

    def value(self, place: ArrayLike) -> Floats:
        """Values between the ends, S-shaped in the place."""
        return self._within(between(self._logit_at(place), self.low, self.high))

    def slope(self, place: ArrayLike) -> Floats:
        """Of the S-shape."""
        found: Floats = (self.high - self.low) * bell(self._logit_at(place))
        return found

    def _logit_at(self, place: ArrayLike) -> Floats:
        found: Floats = self._centre + np.asarray(place, dtype=float)
        return found

    def _place(self, value: Floats) -> Floats:
        return logit(value, self.low, self.high) - self._centre

    def quantile(self, share: ArrayLike) -> Floats:
        """Values below which these shares of the probability lie."""
        from scipy.special import betaincinv

        found = betaincinv(self.a, self.b, np.asarray(share, dtype=float))
        return self._within(self.low + (self.high - self.low) * found)

    def share(self, place: ArrayLike) -> Floats:
        """Shares of the probability below places."""
        from scipy.special import betainc

        return np.asarray(betainc(self.a, self.b, logistic(self._logit_at(place))))

    def penalty(self, place: ArrayLike) -> Floats:
        """Minus the log density of the value, 0 at the mode."""
        return self._weighed(place, self.a - 1.0, self.b - 1.0)

    def penalty_slope(self, place: ArrayLike) -> Floats:
        """Derivatives of the penalty."""
        return self._weighed_slope(place, self.a - 1.0, self.b - 1.0)

    def curvature(self, place: ArrayLike) -> Floats:
        """Second derivatives of the penalty."""
        found: Floats = (self.a + self.b - 2.0) * bell(self._logit_at(place))
        return found

    def log_density(self, place: ArrayLike) -> Floats:
        """Log density of the logit of a beta variable."""
        least = sum(n * math.log((self.a + self.b) / n) for n in (self.a, self.b))
        constant = math.lgamma(self.a + self.b) - math.lgamma(self.a) - math.lgamma(self.b)
        return constant - least - self._weighed(place, self.a, self.b)

    def log_density_slope(self, place: ArrayLike) -> Floats:
        """Derivatives of `log_density`."""
        return -self._weighed_slope(place, self.a, self.b)

    def _weighed(self, place: ArrayLike, a: float, b: float) -> Floats:
        """Minus a log(share) + b log(1 - share), less its least value."""
        at = self._logit_at(place)
        least = sum(n * math.log((a + b) / n) for n in (a, b) if n > 0.0)
        found: Floats = a * np.logaddexp(0.0, -at) + b * np.logaddexp(0.0, at) - least
        return found

    def _weighed_slope(self, place: ArrayLike, a: float, b: float) -> Floats:
        at = self._logit_at(place)
        found: Floats = b * logistic(at) - a * logistic(-at)
        return found


def range_prior(low: float, high: float, source: str = "") -> Prior:
    """Any value between two ends; any ratio where both are positive and far apart.

    Raises
    ------
    FitError
        If the ends are not two finite numbers, low before high.

    Examples
    --------
    >>> type(range_prior(0.01, 1.0)).__name__, type(range_prior(0.0, 1.0)).__name__
    ('LogUniform', 'Uniform')
    """
    even = Uniform(low, high, source)
    wide = scaling_of(np.array([even.low]), np.array([even.high])).logarithmic[0]
    return LogUniform(low, high, source) if wide else even
