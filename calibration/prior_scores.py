"""Priors whose place is a normal score: normal, log-normal, logit-normal, and any distribution of `scipy.stats`."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.prior_base import FAR, ROOT, Prior, bell, between, logit
from calibration.statistics import Floats
from sd_cluster.marginals import Distribution

Q95 = 1.6448536269514722
"""The standard normal is below this with a probability of 95 %."""


class _Normal(Prior):
    """A prior whose place is standard normal."""

    spread = 1.0

    def quantile(self, share: ArrayLike) -> Floats:
        """Values below which these shares of the probability lie."""
        from scipy.special import ndtri

        return self.value(ndtri(np.asarray(share, dtype=float)))

    def share(self, place: ArrayLike) -> Floats:
        """Shares of the probability below places."""
        from scipy.special import ndtr

        return np.asarray(ndtr(np.asarray(place, dtype=float)))

    def penalty(self, place: ArrayLike) -> Floats:
        """Half the square of the place."""
        found: Floats = 0.5 * np.square(place)
        return found

    def penalty_slope(self, place: ArrayLike) -> Floats:
        """The place."""
        return np.asarray(place, dtype=float)

    def curvature(self, place: ArrayLike) -> Floats:
        """One."""
        return np.ones_like(place, dtype=float)

    def log_density(self, place: ArrayLike) -> Floats:
        """That of the standard normal."""
        return -self.penalty(place) - ROOT

    def log_density_slope(self, place: ArrayLike) -> Floats:
        """Minus the place."""
        return -np.asarray(place, dtype=float)


@dataclass(frozen=True)
class Normal(_Normal):
    """Normal: for what may have either sign.

    Attributes
    ----------
    mean, sd
        Of the value, in its unit.
    source

    Examples
    --------
    >>> float(Normal(2.0, 0.5).value(1.0))
    2.5
    """

    mean: float
    sd: float
    source: str = ""

    low = -math.inf
    high = math.inf

    def __post_init__(self) -> None:
        self._check_numbers("mean", "sd")
        if self.sd <= 0.0:
            raise self._refuse(f"has sd {self.sd:g}; expected a number above zero")

    def value(self, place: ArrayLike) -> Floats:
        """The mean, and so many standard deviations."""
        found: Floats = self.mean + self.sd * np.asarray(place, dtype=float)
        return found

    def slope(self, place: ArrayLike) -> Floats:
        """The standard deviation."""
        return np.full_like(place, self.sd, dtype=float)

    def _place(self, value: Floats) -> Floats:
        found: Floats = (value - self.mean) / self.sd
        return found


@dataclass(frozen=True)
class LogNormal(_Normal):
    """Log-normal: for rates, times and sizes, which are known within a factor.

    Attributes
    ----------
    median
        In the value's unit.
    ratio
        The 95 % quantile over the median; above one. Without `low`, nine values in ten lie within this factor.
    source
    low
        Least possible value; what is log-normal is the excess over it.

    Examples
    --------
    >>> LogNormal(0.2, 3.0).quantile([0.05, 0.5, 0.95]).round(4)
    array([0.0667, 0.2   , 0.6   ])
    """

    median: float
    ratio: float
    source: str = ""
    _: KW_ONLY
    low: float = 0.0

    high = math.inf
    _sigma: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_numbers("median", "ratio", "low")
        if not self.median > self.low >= 0.0:
            raise self._refuse(f"has median {self.median:g} and low {self.low:g}; expected 0 <= low < median")
        if self.ratio <= 1.0:
            raise self._refuse(f"has ratio {self.ratio:g}; expected its 95 % quantile over its median, above one")
        excess = (self.median * self.ratio - self.low) / (self.median - self.low)
        if not math.isfinite(excess):
            raise self._refuse(f"has median {self.median:g} and ratio {self.ratio:g}, whose product is too large")
        object.__setattr__(self, "_sigma", math.log(excess) / Q95)

    def value(self, place: ArrayLike) -> Floats:
        """The least value, and an exponential of the place above it."""
        found: Floats = np.clip(self.low + self._excess(place), np.nextafter(self.low, np.inf), 1e308)
        return found

    def slope(self, place: ArrayLike) -> Floats:
        """The excess over the least value, times the standard deviation of its logarithm."""
        return self._sigma * self._excess(place)

    def _excess(self, place: ArrayLike) -> Floats:
        level = np.log(self.median - self.low)
        found: Floats = np.exp(np.clip(level + self._sigma * np.asarray(place, dtype=float), -FAR, FAR))
        return found

    def _place(self, value: Floats) -> Floats:
        found: Floats = (np.log(value - self.low) - np.log(self.median - self.low)) / self._sigma
        return found


@dataclass(frozen=True)
class LogitNormal(_Normal):
    """Logit-normal: for shares and levels between two ends of which something is known.

    Attributes
    ----------
    median
    q95
        The 95 % quantile, above the median.
    source
    low, high
        Ends of the support; 0 and 1 where not given.

    Examples
    --------
    >>> LogitNormal(0.5, 0.8).quantile([0.05, 0.5, 0.95]).round(4)
    array([0.2, 0.5, 0.8])
    """

    median: float
    q95: float
    source: str = ""
    _: KW_ONLY
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        self._check_numbers("median", "q95", "low", "high")
        if not self.low < self.median < self.q95 < self.high:
            raise self._refuse(
                f"has low {self.low:g}, median {self.median:g}, q95 {self.q95:g} and high {self.high:g}; expected them "
                "to rise in this order"
            )

    @property
    def _centre(self) -> Floats:
        return logit(self.median, self.low, self.high)

    @property
    def _width(self) -> Floats:
        found: Floats = (logit(self.q95, self.low, self.high) - self._centre) / Q95
        return found

    def value(self, place: ArrayLike) -> Floats:
        """Values between the ends, S-shaped in the place."""
        return self._within(between(self._logit_at(place), self.low, self.high))

    def slope(self, place: ArrayLike) -> Floats:
        """Of the S-shape."""
        found: Floats = self._width * (self.high - self.low) * bell(self._logit_at(place))
        return found

    def _logit_at(self, place: ArrayLike) -> Floats:
        found: Floats = self._centre + self._width * np.asarray(place, dtype=float)
        return found

    def _place(self, value: Floats) -> Floats:
        found: Floats = (logit(value, self.low, self.high) - self._centre) / self._width
        return found


@dataclass(frozen=True)
class Law(_Normal):
    """Any continuous distribution of `scipy.stats`, frozen; the place is its normal score.

    Attributes
    ----------
    law
        Such as `scipy.stats.gamma(3.0, scale=0.1)`.
    source
    """

    law: Any
    source: str = ""

    low: float = field(init=False, repr=False)
    high: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not all(hasattr(self.law, name) for name in ("ppf", "isf", "cdf", "sf", "pdf", "support")):
            raise self._refuse(f"is given {self.law!r}; expected a frozen continuous distribution of scipy.stats")
        low, high = self.law.support()
        if not np.isfinite(self.law.ppf(0.5)):
            raise self._refuse("has a distribution without a median; look at its parameters")
        object.__setattr__(self, "low", float(low))
        object.__setattr__(self, "high", float(high))

    def __repr__(self) -> str:
        return f"Law({Distribution(self.law)}, source={self.source!r})"

    def value(self, place: ArrayLike) -> Floats:
        """The quantiles of these normal scores."""
        from scipy.special import ndtr

        score = _near(place)
        found = np.where(score > 0.0, self.law.isf(ndtr(-np.abs(score))), self.law.ppf(ndtr(-np.abs(score))))
        return self._within(np.asarray(found, dtype=float))

    def slope(self, place: ArrayLike) -> Floats:
        """Normal density over the distribution's own."""
        score = _near(place)
        found: Floats = np.exp(-0.5 * score**2 - ROOT - self.law.logpdf(self.value(score)))
        return found

    def _place(self, value: Floats) -> Floats:
        from scipy.special import ndtri

        below, above = self.law.cdf(value), self.law.sf(value)
        return _near(np.where(below < 0.5, ndtri(below), -ndtri(above)))


def _near(place: ArrayLike) -> Floats:
    """Normal scores, held where their probabilities are still numbers."""
    found: Floats = np.clip(np.asarray(place, dtype=float), -37.0, 37.0)
    return found
