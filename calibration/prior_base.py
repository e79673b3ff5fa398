"""Priors: what is known of a number before the data speak, and the free coordinate in which it is searched.

Every prior maps an unbounded coordinate, the place, to the value by a rising function, so that a search in places
never meets a bound. A place of 0 is the prior's median. Two densities are kept apart. `log_density` is that of the
place, change of variables included: what a sampler needs. `penalty` is what a search for the best value pays: minus
the log density in the prior's natural coordinate, less its least value, where the natural coordinate is the value for
normal, uniform and beta priors, its logarithm for log-normal and log-uniform ones, and its logit for logit-normal
ones. Uniform and log-uniform priors therefore pull nowhere: they are bounds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from calibration.measurement import is_number
from calibration.statistics import Floats
from sd_cluster.errors import FitError

FAR = 690.0
"""Exponents are held within this, so that no value overflows or vanishes."""
ROOT = 0.5 * math.log(2.0 * math.pi)
"""Minus the log density of the standard normal at its mean."""


class Prior(ABC):
    """Knowledge of one number.

    Attributes
    ----------
    low, high
        Ends of what is possible; may be infinite.
    spread
        Standard deviation of the place under the prior.
    source
        Where the knowledge comes from; begins with "assumed" where it is a judgement.
    """

    low: float
    high: float
    spread: float
    source: str

    @abstractmethod
    def value(self, place: ArrayLike) -> Floats:
        """Values at places, same shape; strictly between `low` and `high` for every finite place."""

    @abstractmethod
    def slope(self, place: ArrayLike) -> Floats:
        """Derivatives of the values by the places, same shape."""

    @abstractmethod
    def _place(self, value: Floats) -> Floats:
        """Places of values that lie between the ends."""

    @abstractmethod
    def quantile(self, share: ArrayLike) -> Floats:
        """Values below which these shares (0 to 1) of the probability lie, same shape."""

    @abstractmethod
    def share(self, place: ArrayLike) -> Floats:
        """Shares (0 to 1) of the probability below places, same shape; the inverse of `quantile`."""

    @abstractmethod
    def penalty(self, place: ArrayLike) -> Floats:
        """What a search pays at places: minus the log density in the natural coordinate, 0 where it is greatest."""

    @abstractmethod
    def penalty_slope(self, place: ArrayLike) -> Floats:
        """Derivatives of the penalty by the places."""

    @abstractmethod
    def curvature(self, place: ArrayLike) -> Floats:
        """Second derivatives of the penalty by the places; never negative."""

    @abstractmethod
    def log_density(self, place: ArrayLike) -> Floats:
        """Log of the probability density of the place, change of variables included."""

    @abstractmethod
    def log_density_slope(self, place: ArrayLike) -> Floats:
        """Derivatives of `log_density`."""

    def place(self, value: ArrayLike) -> Floats:
        """Places of values, same shape; an end of the support is taken as the nearest value inside.

        Raises
        ------
        FitError
            If a value lies outside the support, or is not a number.
        """
        given = np.asarray(value, dtype=float)
        inside = (given >= self.low) & (given <= self.high) & np.isfinite(given)
        if not inside.all():
            first = given.ravel()[int(np.argmin(inside.ravel()))]
            raise FitError(f"{first:g} lies outside the prior, which goes from {self.low:g} to {self.high:g}")
        return self._place(self._within(given))

    def _within(self, value: Floats) -> Floats:
        """Values brought to the nearest number strictly between the ends."""
        return np.minimum(np.maximum(value, self._inside[0]), self._inside[1])

    @cached_property
    def _inside(self) -> tuple[Floats, Floats]:
        """The numbers next to the ends."""
        return np.nextafter(self.low, np.inf), np.nextafter(self.high, -np.inf)

    def _refuse(self, what: str) -> FitError:
        return FitError(f"{type(self).__name__} prior {what}")

    def _check_numbers(self, *names: str) -> None:
        for name in names:
            if not is_number(getattr(self, name)):
                raise self._refuse(f"has {name} {getattr(self, name)!r}; expected a finite number")
            object.__setattr__(self, name, float(getattr(self, name)))


def logistic(at: Floats) -> Floats:
    """Logistic function, without overflow."""
    small = np.exp(-np.abs(at))
    found: Floats = np.where(at >= 0.0, 1.0, small) / (1.0 + small)
    return found


def bell(at: Floats) -> Floats:
    """Derivative of the logistic function."""
    small = np.exp(-np.abs(at))
    found: Floats = small / (1.0 + small) ** 2
    return found


def between(at: Floats, low: Floats | float, high: Floats | float) -> Floats:
    """Values at so many logits between two ends, counted from the nearer end."""
    small = np.exp(-np.abs(at))
    away = (high - low) * (small / (1.0 + small))
    found: Floats = np.where(at < 0.0, low + away, high - away)
    return found


def logit(value: Floats | float, low: Floats | float, high: Floats | float) -> Floats:
    """Logits of values strictly between two ends."""
    found: Floats = np.log(value - low) - np.log(high - value)
    return found
