"""The posterior near a place, as a quadratic: what identifiability, profiles and data worth have in common.

Coordinates are places in spreads of their priors, so that a length of one is what was not known beforehand: a
direction with singular value s is known from the data alone to 1/s of that, and one with s below 1 is known better
from the prior (the likelihood-informed directions of Cui et al. 2014, doi:10.1088/0266-5611/30/11/114015).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from calibration.statistics import Bools, Floats
from calibration.words import counted
from sd_cluster.errors import FitError, SimulationError, near

if TYPE_CHECKING:
    from calibration.priors import Prior

STEP = 1e-5
"""Half width of the differences of values, in prior spreads; values are smooth, cheap and without noise."""
COARSE = 0.5
"""Relative standard error from which a factor says more than a percentage."""


class Landscape(Protocol):
    """What is asked of an objective: minus a log posterior over places, unbounded coordinates of the unknowns."""

    @property
    def names(self) -> tuple[str, ...]:
        """The unknowns, in order."""

    @property
    def priors(self) -> Mapping[str, Prior]:
        """Their priors, in the same order."""

    def values(self, place: Floats) -> Floats:
        """The unknowns in their own units, shape (..., n_unknowns), at places of that shape."""

    def payoff_and_gradient(self, place: Floats) -> tuple[float, Floats]:
        """Minus the log-likelihood plus the priors' penalties, and its derivatives; SimulationError if a run fails."""

    def information(self, place: Floats, *, data_only: bool = False) -> Floats:
        """Expected information, shape (n_unknowns, n_unknowns)."""


def found_at(fit_or_objective: Any, place: ArrayLike | None) -> tuple[Any, Floats]:
    """The objective and the place of a fit, or of an objective with its place beside it.

    Raises
    ------
    FitError
        If an objective comes without a place, or the place has not one finite number for each unknown.
    """
    objective = getattr(fit_or_objective, "objective", fit_or_objective)
    if place is None:
        place = getattr(fit_or_objective, "place", None)
        if place is None or callable(place):
            raise FitError("an objective needs the place of its optimum beside it, as in place=fit.place")
    where = np.array(place, dtype=float)
    size = len(objective.names)
    if where.shape != (size,) or not np.isfinite(where).all():
        raise FitError(f"the place should be {counted(size, 'finite number')}, one for each unknown")
    return objective, where


def position(landscape: Landscape, name: str) -> int:
    """Where an unknown stands among the names.

    Raises
    ------
    FitError
        If it is none of them; the text names the nearest one.
    """
    if name not in landscape.names:
        raise FitError(f"'{name}' is not among the unknowns{near(name, landscape.names)}")
    return landscape.names.index(name)


def pooled_from(landscape: Landscape, name: str) -> tuple[int, int] | None:
    """Where the mean and the spread stand that a region's unknown is pooled around; None for any other unknown."""
    own = name.rpartition(" [")[0]
    if name.endswith("]") and f"mean of {own}" in landscape.names:
        return position(landscape, f"mean of {own}"), position(landscape, f"spread of {own}")
    return None


def spreads(landscape: Landscape) -> Floats:
    """Standard deviation of each place under its prior, shape (n_unknowns,)."""
    return np.array([float(prior.spread) for prior in landscape.priors.values()])


def penalty_and_slope(landscape: Landscape, place: Floats) -> tuple[float, Floats]:
    """What the priors add to the payoff, and its derivatives by the places, shape (n_unknowns,)."""
    priors = list(enumerate(landscape.priors.values()))
    slopes = [float(np.asarray(prior.penalty_slope(place[k]))) for k, prior in priors]
    return float(sum(float(np.asarray(prior.penalty(place[k]))) for k, prior in priors)), np.array(slopes)


def gram(landscape: Landscape, place: Floats) -> Floats:
    """Information of the data in prior spreads: S'S for the sensitivity matrix S of the weighted residuals.

    Raises
    ------
    FitError
        If the place cannot be run, or the information there is not a finite matrix of the right size.
    """
    size = len(landscape.names)
    try:
        found = np.asarray(landscape.information(place, data_only=True), dtype=float)
    except SimulationError as error:
        raise FitError(f"the place cannot be run ({error}); give the place of a fit") from None
    if found.shape != (size, size) or not np.isfinite(found).all():
        raise FitError(f"the information at the place is not a finite {size} x {size} matrix; give the place of a fit")
    scale = spreads(landscape)
    return np.asarray(0.5 * (found + found.T) * np.outer(scale, scale))


def is_relative(landscape: Landscape, name: str) -> bool:
    """Whether an unknown is positive by its nature, so that its error is told in per cent."""
    pooled = pooled_from(landscape, name)
    prior = landscape.priors[name if pooled is None else landscape.names[pooled[0]]]
    return bool(prior.low >= 0.0)


def measured(landscape: Landscape, places: Floats) -> tuple[Floats, Bools]:
    """The unknowns in the measure in which each is told, and which of them are relative.

    Parameters
    ----------
    landscape
    places : shape (..., n_unknowns)

    Returns
    -------
    measures : shape (..., n_unknowns)
        Logarithms of unknowns that are positive by nature, values of others.
    relative : shape (n_unknowns,)
        Which they are.
    """
    values = np.asarray(landscape.values(places), dtype=float)
    positive = (values > 0.0).all(axis=tuple(range(values.ndim - 1)))
    relative = np.array([is_relative(landscape, name) for name in landscape.names]) & positive
    return np.where(relative, np.log(np.where(relative, values, 1.0)), values), relative


def value_slopes(landscape: Landscape, place: Floats) -> Floats:
    """Derivatives of the values by the places in prior spreads, shape (n_unknowns, n_unknowns)."""
    moves = STEP * np.diag(spreads(landscape))
    above, below = (np.asarray(landscape.values(place + side * moves), dtype=float) for side in (1.0, -1.0))
    return np.asarray((above - below).T / (2.0 * STEP))


def measure_slopes(landscape: Landscape, place: Floats) -> Floats:
    """Derivatives of the measures by the places in prior spreads, shape (n_unknowns, n_unknowns)."""
    values, relative = np.asarray(landscape.values(place), dtype=float), measured(landscape, place)[1]
    return value_slopes(landscape, place) / np.where(relative, values, 1.0)[:, None]


def errors_at(landscape: Landscape, place: Floats, spread: Floats) -> Floats:
    """Standard errors of the unknowns, each in its measure.

    Half the difference between both ends of a standard error, so that the error of a bounded unknown stays within its
    bounds.

    Parameters
    ----------
    landscape
    place : shape (n_unknowns,)
    spread : shape (n_unknowns, n_unknowns)
        Covariance of the places, in prior spreads.
    """
    slopes = measure_slopes(landscape, place)
    moves = slopes @ spread
    linear = np.sqrt(np.maximum(np.einsum("ki,ki->k", moves, slopes), 0.0))
    moves = spreads(landscape) * moves / np.where(linear > 0.0, linear, np.inf)[:, None]
    above, below = (np.diag(measured(landscape, place + side * moves)[0]) for side in (1.0, -1.0))
    return np.asarray(0.5 * np.abs(above - below))


def covariance(information: Floats) -> Floats:
    """Posterior covariance in prior spreads, from the information of the data in them: the prior's own is one.

    Examples
    --------
    Data as informative as the prior halve the variance:

    >>> covariance(np.eye(1))
    array([[0.5]])
    """
    size = len(information)
    return np.asarray(np.linalg.solve(information + np.eye(size), np.eye(size)))


def width(error: float, *, relative: bool = True) -> str:
    """Tell a standard error: in per cent, from `COARSE` on as a factor, or as it is.

    Examples
    --------
    >>> width(0.082), width(0.9), width(0.0517, relative=False)
    ('8.2 %', 'a factor of 2.5', '0.052')
    """
    if not relative:
        return f"{error:.2g}"
    if error < COARSE:
        percent = 100.0 * error
        return f"{percent:.2g} %" if percent < 10.0 else f"{percent:.0f} %"
    return f"a factor of {_short(float(np.exp(min(error, 600.0))))}"


def _short(number: float) -> str:
    return f"{number:.0f}" if 10.0 <= number < 1e5 else f"{number:.2g}"
