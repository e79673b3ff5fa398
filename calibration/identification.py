"""What the data can and cannot say about the parameters, near an optimum.

The question is put to the Jacobian of the weighted residuals over the unit box: a singular value s means
that the data know the place along its direction with a standard error of 1/s ranges. A direction
known no better than a uniform draw from its range, 1/s >= 1/sqrt(12), is one the data do not tell. All
of it is local and linear: it says nothing of a second optimum far away.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.objective import Misfit
from calibration.statistics import Floats
from calibration.words import listed, quoted
from sd_cluster.errors import SimulationError

STEP = 1e-4
"""Half width of the central differences, in ranges: far above rounding, far below the curvature."""
TELLING = float(np.sqrt(12.0))
"""Least singular value of a direction the data tell: one over the standard deviation of a uniform draw."""
ALIKE = 0.1
"""How near two relative changes must be for a product or a ratio to be named."""


@dataclass(frozen=True, eq=False)
class Identification:
    """Local information of the data on each parameter.

    Attributes
    ----------
    errors : shape (n_parameters,)
        Standard errors as fractions of the range; infinite where the data are silent, NaN where held.
    identified : shape (n_parameters,), boolean
        False where the data narrow a parameter no more than its range does.
    told
        Number of independent directions the data tell, of `free` parameters not held at a bound.
    condition
        Largest over smallest singular value; infinite for a direction without any effect.
    sentences
        What is not identified, in words.
    """

    errors: Floats
    identified: NDArray[np.bool_]
    told: int
    free: int
    condition: float
    sentences: tuple[str, ...]


def identify(misfit: Misfit, vector: Floats, noise: dict[str, float], held: NDArray[np.bool_]) -> Identification:
    """Judge which parameters the data tell at `vector`.

    Parameters
    ----------
    misfit, noise
        What was minimised, and the noise scales at its optimum.
    vector : shape (n_parameters,)
        The optimum.
    held : shape (n_parameters,), boolean
        Parameters at a bound: they are taken as known, which makes the others look better known.
    """
    jacobian = sensitivities(misfit, vector, noise)
    n_figures = jacobian.shape[0]
    n_scales = sum(gauge.scale for gauge in misfit.measurement.gauges.values())
    spare = n_figures - n_scales - int(np.sum(~held))
    # Noise scales are maximum-likelihood, hence a little small: the usual correction for parameters used up.
    widening = np.sqrt(n_figures / spare) if spare > 0 else np.inf
    free = np.flatnonzero(~held)
    used = jacobian[:, free]
    singular, directions = _directions(used)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(directions**2 > 1e-12, directions**2, 0.0)
        parts = np.where(weights > 0.0, weights / singular[:, None] ** 2, 0.0)
    errors = np.full(len(vector), np.nan)
    errors[free] = np.sqrt(parts.sum(axis=0)) * widening
    identified = ~(errors * TELLING >= 1.0)
    smallest = float(singular[-1]) if singular.size else 1.0
    return Identification(
        errors=errors,
        identified=identified,
        told=int(np.sum(singular >= TELLING)),
        free=int(free.size),
        condition=float(singular[0]) / smallest if singular.size and smallest > 0.0 else float("inf"),
        sentences=tuple(_sentences(misfit, vector, used, free)),
    )


def sensitivities(misfit: Misfit, vector: Floats, noise: dict[str, float]) -> Floats:
    """Change of each weighted residual for a whole range of each parameter, by central differences.

    Returns
    -------
    jacobian : shape (n_figures, n_parameters)
        One-sided at an end of a range and where a neighbour cannot be simulated; zero where neither can.
    """
    scaling = misfit.scaling
    place = scaling.to_unit(vector)
    here = misfit.residuals(vector, noise)
    columns = []
    for number in range(len(vector)):
        sides = []
        for sign in (-1.0, 1.0):
            moved = place.copy()
            moved[number] = np.clip(place[number] + sign * STEP, 0.0, 1.0)
            try:
                sides.append((moved[number], misfit.residuals(scaling.from_unit(moved), noise)))
            except SimulationError:
                sides.append((place[number], here))
        (low, below), (high, above) = sides
        columns.append((above - below) / (high - low) if high > low else np.zeros_like(here))
    return np.column_stack(columns)


def _directions(jacobian: Floats) -> tuple[Floats, Floats]:
    """All singular values, largest first, zeros for what is beyond the rank; and a row of directions for each."""
    if jacobian.shape[1] == 0:
        return np.zeros(0), np.zeros((0, 0))
    _, found, directions = np.linalg.svd(jacobian, full_matrices=True)
    singular = np.zeros(jacobian.shape[1])
    singular[: found.size] = found
    singular[singular < 1e-6] = 0.0  # below the noise of the differences
    return singular, directions


def _sentences(misfit: Misfit, vector: Floats, jacobian: Floats, free: NDArray[np.intp]) -> list[str]:
    """First the parameters that hardly matter by themselves, then the combinations of the others."""
    sentences = []
    alone = np.linalg.norm(jacobian, axis=0)
    names = np.array(misfit.names, dtype=object)[free]
    silent = alone < TELLING
    if silent.any():
        some = listed(quoted(str(name) for name in names[silent]))
        them = ("it", "its range") if silent.sum() == 1 else ("each of them", "their ranges")
        sentences.append(
            f"Not identified: {some}. Moving {them[0]} over the range changes the fit by less than the noise; "
            f"the data narrow {'it' if silent.sum() == 1 else 'them'} no more than {them[1]} already did."
        )
    rest = np.flatnonzero(~silent)
    singular, directions = _directions(jacobian[:, rest])
    slope = misfit.scaling.slope(vector)[free][rest]
    with np.errstate(divide="ignore"):
        relative = slope / vector[free][rest]
    for value, direction in zip(singular, directions, strict=True):
        if value < TELLING:
            sentences.append(_combination([str(name) for name in names[rest]], direction, relative))
    return sentences


def _combination(names: Sequence[str], direction: Floats, relative: Floats) -> str:
    """A direction the data do not tell, in words; parameters that take little part are left out."""
    order = np.argsort(-np.abs(direction), kind="stable")
    loading = [int(number) for number in order if direction[number] ** 2 >= 0.05]
    if len(loading) == 1:
        return (
            f"Not identified: '{names[loading[0]]}'. The others make up for it: its effect on the fit is that of a "
            "mix of small changes in them."
        )
    some = [names[number] for number in loading]
    signs = np.sign(direction[loading]) * np.sign(direction[loading[0]])
    if len(loading) == 2:
        change = direction[loading] * relative[loading]
        if np.all(np.isfinite(change)) and abs(abs(change[1] / change[0]) - 1.0) < ALIKE:
            known = "product" if change[0] * change[1] < 0 else "ratio"
            return f"Not identified one by one: '{some[0]}' and '{some[1]}'. The data tell only their {known}."
    moves = ", ".join(f"'{name}' {'up' if sign > 0 else 'down'}" for name, sign in zip(some, signs, strict=True))
    return (
        f"Not identified one by one: {listed(quoted(some))}. The data tell only a combination of them: moving {moves} "
        "together hardly changes the fit."
    )
