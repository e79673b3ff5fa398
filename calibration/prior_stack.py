"""All priors of an objective at once: those of one kind are worked out together, as arrays."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.prior_base import Prior
from calibration.prior_ranges import LogUniform, Uniform
from calibration.prior_scores import LogitNormal, LogNormal, Normal
from calibration.statistics import Floats

Kind = TypeVar("Kind", bound=Prior)

Part: TypeAlias = tuple[NDArray[np.intp] | slice, Prior]
"""Rows of the places, and the prior of them together."""

ALIKE: tuple[type[Prior], ...] = (Uniform, LogUniform, Normal, LogNormal, LogitNormal)
"""Kinds whose methods take attributes that are arrays."""

LEVEL: tuple[type[Prior], ...] = (Uniform, LogUniform)
"""Kinds that a search pays nothing for."""


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
        self._parts: list[Part] = []
        for some in rows.values():
            together = priors[some[0]] if len(some) == 1 else _together([priors[number] for number in some])
            self._parts.append((_rows(some), together))
        self._pulling = [pair for pair in self._parts if not isinstance(pair[1], LEVEL)]

    def value(self, place: ArrayLike) -> Floats:
        """Values, in their own units."""
        return self._each(place, lambda prior, at: prior.value(at))

    def slope(self, place: ArrayLike) -> Floats:
        """Derivatives of the values by the places."""
        return self._each(place, lambda prior, at: prior.slope(at))

    def penalty(self, place: ArrayLike) -> Floats:
        """What a search pays."""
        return self._each(place, lambda prior, at: prior.penalty(at), self._pulling)

    def penalty_slope(self, place: ArrayLike) -> Floats:
        """Derivatives of the penalties."""
        return self._each(place, lambda prior, at: prior.penalty_slope(at), self._pulling)

    def curvature(self, place: ArrayLike) -> Floats:
        """Second derivatives of the penalties."""
        return self._each(place, lambda prior, at: prior.curvature(at), self._pulling)

    def log_density(self, place: ArrayLike) -> Floats:
        """Log densities of the places."""
        return self._each(place, lambda prior, at: prior.log_density(at))

    def log_density_slope(self, place: ArrayLike) -> Floats:
        """Derivatives of the log densities."""
        return self._each(place, lambda prior, at: prior.log_density_slope(at))

    def _each(
        self, place: ArrayLike, function: Callable[[Prior, Floats], Floats], parts: Sequence[Part] | None = None
    ) -> Floats:
        """A function of each prior and its places; zero where some parts are named and a prior is in none of them."""
        places = np.asarray(place, dtype=float)
        found = np.zeros(places.shape)
        for rows, prior in self._parts if parts is None else parts:
            found[..., rows] = function(prior, places[..., rows])
        return found


def _rows(some: Sequence[int]) -> NDArray[np.intp] | slice:
    """Rows as a slice where they lie in a row."""
    in_a_row = list(some) == list(range(some[0], some[0] + len(some)))
    return slice(some[0], some[0] + len(some)) if in_a_row else np.array(some, dtype=np.intp)


def _together(priors: Sequence[Kind]) -> Kind:
    """One prior of a kind whose attributes are those of several, as arrays."""
    kind = type(priors[0])
    one = object.__new__(kind)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name != "source":
            object.__setattr__(one, field.name, np.array([getattr(prior, field.name) for prior in priors]))
    return one
