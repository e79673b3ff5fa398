"""All priors of an objective at once: those of one kind are worked out together, as arrays."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.prior_base import Prior
from calibration.prior_ranges import LogUniform, Uniform
from calibration.prior_scores import LogitNormal, LogNormal, Normal
from calibration.statistics import Floats

Kind = TypeVar("Kind", bound=Prior)

ALIKE: tuple[type[Prior], ...] = (Uniform, LogUniform, Normal, LogNormal, LogitNormal)
"""Kinds whose methods take attributes that are arrays."""


class PriorStack:
    """Priors in a row, as functions of all places.

    Every method takes places of shape (..., n_priors) and returns that shape.

    Parameters
    ----------
    priors
        In the order of the places.
    """

    def __init__(self, priors: Sequence[Prior]) -> None:
        rows: dict[Any, list[int]] = {}
        for number, prior in enumerate(priors):
            rows.setdefault(type(prior) if isinstance(prior, ALIKE) else number, []).append(number)
        self._parts: list[tuple[NDArray[np.intp] | slice, Prior]] = []
        for some in rows.values():
            together = priors[some[0]] if len(some) == 1 else _together([priors[number] for number in some])
            self._parts.append((np.array(some, dtype=np.intp), together))
        if len(self._parts) == 1:
            self._parts = [(slice(None), self._parts[0][1])]

    def value(self, place: ArrayLike) -> Floats:
        """Values, in their own units."""
        return self._each(place, lambda prior, at: prior.value(at))

    def slope(self, place: ArrayLike) -> Floats:
        """Derivatives of the values by the places."""
        return self._each(place, lambda prior, at: prior.slope(at))

    def penalty(self, place: ArrayLike) -> Floats:
        """What a search pays."""
        return self._each(place, lambda prior, at: prior.penalty(at))

    def penalty_slope(self, place: ArrayLike) -> Floats:
        """Derivatives of the penalties."""
        return self._each(place, lambda prior, at: prior.penalty_slope(at))

    def curvature(self, place: ArrayLike) -> Floats:
        """Second derivatives of the penalties."""
        return self._each(place, lambda prior, at: prior.curvature(at))

    def log_density(self, place: ArrayLike) -> Floats:
        """Log densities of the places."""
        return self._each(place, lambda prior, at: prior.log_density(at))

    def log_density_slope(self, place: ArrayLike) -> Floats:
        """Derivatives of the log densities."""
        return self._each(place, lambda prior, at: prior.log_density_slope(at))

    def _each(self, place: ArrayLike, function: Callable[[Prior, Floats], Floats]) -> Floats:
        places = np.asarray(place, dtype=float)
        found = np.empty_like(places)
        for rows, prior in self._parts:
            found[..., rows] = function(prior, places[..., rows])
        return found


def _together(priors: Sequence[Kind]) -> Kind:
    """One prior of a kind whose attributes are those of several, as arrays."""
    kind = type(priors[0])
    one = object.__new__(kind)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name != "source":
            object.__setattr__(one, field.name, np.array([getattr(prior, field.name) for prior in priors]))
    return one
