"""What the data can and cannot say about the unknowns, near an optimum and linearly.

The question is put to the sensitivity matrix of the weighted residuals, over places in spreads of their priors. It says
nothing of a second optimum far away, nor of curved valleys: for those there are profiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.collinearity import Collinear, inseparable, pair_indices
from calibration.confounding import Confounded, Local, confounded
from calibration.landscape import Landscape, covariance, errors_at, found_at, gram, measure_slopes, measured, width
from calibration.statistics import Bools, Floats
from calibration.words import counted, listed, quoted
from sd_cluster.errors import FitError

if TYPE_CHECKING:
    import pandas as pd

ROUNDING = 1e-7
"""Singular values below this share of the largest are rounding: the information is known to its square."""
END = 0.005
"""An unknown stands at an end of its range where less than this share of its prior lies beyond."""
SILENT = 0.1
"""Narrowing of a prior below which its data are said to be silent."""
MASKED = 3.0
"""An unknown whose error would be this many times smaller, were the others known, is masked by them."""
TOLD = 0.5
"""Narrowing of a prior from which the data are said to identify an unknown."""


@dataclass(frozen=True, eq=False)
class Identification:
    """Local information of the data on each unknown.

    Errors are standard errors in the measure of each unknown: of its logarithm where it is positive by nature (0.08
    means 8 %), else in its own unit.

    Attributes
    ----------
    names
    values : shape (n_unknowns,)
        At the place judged.
    relative : shape (n_unknowns,), boolean
        Whose errors are relative.
    held : shape (n_unknowns,), boolean
        Taken as known, so that the others look better known than they are.
    singular : shape (n_free,), decreasing
        Singular values of the sensitivity matrix of unknowns not held: the data alone know the place along a direction
        to 1/s prior spreads.
    directions : shape (n_free, n_unknowns)
        A unit row for each, in prior spreads.
    prior_errors, errors, data_errors : shape (n_unknowns,)
        Standard errors of the prior, with data and prior, and of the data without it: infinite where these are silent;
        NaN where held.
    narrowed : shape (n_unknowns,)
        Share by which the data narrow the prior: one less posterior over prior standard deviation; NaN where held.
    masked : shape (n_unknowns,), boolean
        Whose error would be less than a third, were all others known.
    correlation : shape (n_unknowns, n_unknowns)
        Of the places under the posterior; NaN where held.
    pairs : shape (n_unknowns, n_unknowns)
        Collinearity index of each pair; NaN where held or without effect.
    collinear
        The smallest sets whose index is above 20: not separable from noise-free shape alone.
    confounded
        Which make up for one another, given the noise and the priors.
    """

    names: tuple[str, ...]
    values: Floats
    relative: Bools
    held: Bools
    singular: Floats
    directions: Floats
    prior_errors: Floats
    errors: Floats
    data_errors: Floats
    narrowed: Floats
    masked: Bools
    correlation: Floats
    pairs: Floats
    collinear: tuple[Collinear, ...]
    confounded: tuple[Confounded, ...]

    def __post_init__(self) -> None:
        for array in vars(self).values():
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    @property
    def rank(self) -> int:
        """Number of independent directions on which the figures depend at all."""
        return int(np.sum(self.singular > 0.0))

    @property
    def told(self) -> int:
        """Number of independent directions that the data know better than the priors do."""
        return int(np.sum(self.singular >= 1.0))

    @property
    def condition(self) -> float:
        """Largest over smallest singular value; infinite for a direction without any effect, NaN where all are held."""
        if not len(self.singular):
            return float("nan")
        return float(self.singular[0] / self.singular[-1]) if self.singular[-1] > 0.0 else float("inf")

    @cached_property
    def verdicts(self) -> dict[str, str]:
        """What the data say of each unknown, in plain words."""
        return {name: self._verdict(k) for k, name in enumerate(self.names)}

    @property
    def identified(self) -> Bools:
        """Which unknowns are known twice as well as beforehand or better, shape (n_unknowns,)."""
        return np.asarray(~self.held & (self.narrowed >= TOLD))

    @property
    def sentences(self) -> tuple[str, ...]:
        """A summary, what is confounded, and what the data are silent on."""
        n_free = len(self.singular)
        if not n_free:
            return ("Every unknown is held: nothing was judged.",)
        held = f" ({counted(int(self.held.sum()), 'unknown')} held)" if self.held.any() else ""
        told = (
            f"Of {counted(n_free, 'independent direction')} of the unknowns{held}, the figures depend on {self.rank} "
            f"and tell {self.told} better than the priors do."
        )
        mixed = {name for one in self.confounded for name in one.names}
        silent = [
            name
            for name, share, held in zip(self.names, self.narrowed, self.held, strict=True)
            if not held and share < SILENT and name not in mixed
        ]
        some = [f"Not told by these data: {listed(quoted(silent))}. The prior is all there is."] if silent else []
        return (told, *(one.sentence for one in self.confounded), *some)

    def _verdict(self, k: int) -> str:
        name = f"'{self.names[k]}'"
        if self.held[k]:
            return f"{name} is held at {self.values[k]:.3g} and was not judged"
        reached = width(float(self.errors[k]), relative=bool(self.relative[k]))
        before = width(float(self.prior_errors[k]), relative=bool(self.relative[k]))
        mixed = next((one for one in self.confounded if self.names[k] in one.names), None)
        others = listed(quoted(other for other in mixed.names if other != self.names[k])) if mixed else ""
        if self.narrowed[k] >= TOLD:
            return f"{name} is identified to {reached}" + (f", given the prior of {others}" if mixed else "")
        if mixed and mixed.known:
            sure = "" if np.isnan(mixed.error) else f", to {width(mixed.error)}"
            return f"{name} is not told by itself: only {mixed.known} is known{sure}"
        if mixed:
            return f"{name} is not told apart from {others}: {reached}, against {before} beforehand"
        why = "; the others make up for it" if self.masked[k] else ""
        if self.narrowed[k] < SILENT:
            return f"{name} is not told by these data: the prior, {before}, is all there is{why}"
        return f"{name} is told only up to {reached}, against {before} beforehand{why}"

    def frame(self) -> pd.DataFrame:
        """One row an unknown: value, errors, narrowing, collinearity with the unknown most like it, verdict."""
        import pandas as pd

        others = np.where(np.isnan(self.pairs) | np.eye(len(self.names), dtype=bool), 0.0, self.pairs)
        nearest = others.argmax(axis=1) if len(self.names) > 1 else np.zeros(len(self.names), dtype=int)
        alike = [self.names[k] if others[row, k] > 0.0 else "" for row, k in enumerate(nearest)]
        columns = {
            "value": self.values,
            "relative": self.relative,
            "prior_error": self.prior_errors,
            "error": self.errors,
            "data_error": self.data_errors,
            "narrowed": self.narrowed,
            "most_like": alike,
            "collinearity": others[np.arange(len(self.names)), nearest],
            "verdict": list(self.verdicts.values()),
        }
        return pd.DataFrame(columns, index=pd.Index(self.names, name="unknown"))

    def __str__(self) -> str:
        return "\n".join([*self.sentences, *(f"  {text}" for text in self.verdicts.values())])


def identify(
    fit_or_objective: Landscape, place: ArrayLike | None = None, held: ArrayLike | None = None
) -> Identification:
    """Judge which unknowns the data tell near a place.

    Parameters
    ----------
    fit_or_objective
        An objective, or a fit, which brings its place.
    place : shape (n_unknowns,)
        The optimum.
    held : shape (n_unknowns,), boolean
        Unknowns to take as known; by default those that stand at an end of their range (`at_end`), whose place says
        nothing of how well they are known.

    Raises
    ------
    FitError
        If place or held do not fit the unknowns, or the place cannot be run.

    References
    ----------
    Cui, T. et al. (2014), doi:10.1088/0266-5611/30/11/114015, for directions told by data against prior;
    Brun, R. et al. (2001), doi:10.1029/2000WR900350, for collinearity.
    """
    objective, where = found_at(fit_or_objective, place)
    names = tuple(objective.names)
    size = len(names)
    still = at_end(objective, where) if held is None else np.array(held, dtype=bool)
    if still.shape != (size,):
        raise FitError(f"held should say yes or no for each of {counted(size, 'unknown')}, got shape {still.shape}")
    information = gram(objective, where)
    slopes, relative = measure_slopes(objective, where), measured(objective, where)[1]
    values = np.array(objective.values(where), dtype=float)
    free = np.flatnonzero(~still)
    block = np.ix_(free, free)
    used, moved = information[block], slopes[block]
    singular, directions = _directions(used)
    posterior = covariance(used)
    spread = np.sqrt(np.diag(posterior))
    telling = np.flatnonzero(np.diag(used) >= 1.0)
    local = Local(tuple(names[k] for k in free), values[free], used, posterior, moved, relative[free])
    return Identification(
        names=names,
        values=values,
        relative=relative,
        held=still,
        singular=singular,
        directions=_put(directions, (len(free), size), (slice(None), free), 0.0),
        prior_errors=np.where(still, np.nan, errors_at(objective, np.zeros(size), np.eye(size))),
        errors=np.where(still, np.nan, errors_at(objective, where, _put(posterior, (size, size), block, 0.0))),
        data_errors=_put(_data_errors(singular, directions, moved), (size,), (free,)),
        narrowed=_put(1.0 - spread, (size,), (free,)),
        masked=_put(spread**2 * (1.0 + np.diag(used)) > MASKED**2, (size,), (free,), False),
        correlation=_put(posterior / np.outer(spread, spread), (size, size), block),
        pairs=_put(pair_indices(used), (size, size), block),
        collinear=inseparable(used, local.names),
        confounded=confounded(local.of(telling.tolist())),
    )


def at_end(landscape: Landscape, place: Floats) -> Bools:
    """Which unknowns stand within `END` of an end of a range, shape (n_unknowns,)."""
    found = np.zeros(len(landscape.names), dtype=bool)
    for k, prior in enumerate(landscape.priors.values()):
        if np.isfinite(prior.low) and np.isfinite(prior.high):
            first, last = (float(prior.place(prior.quantile(share))) for share in (END, 1.0 - END))
            found[k] = not first < place[k] < last
    return found


def _put(array: Any, shape: tuple[int, ...], where: Any, rest: float | bool = np.nan) -> Any:
    """An array of unknowns not held among all of them."""
    whole = np.full(shape, rest)
    whole[where] = array
    return whole


def _directions(information: Floats) -> tuple[Floats, Floats]:
    """Singular values of the sensitivity matrix, largest first, zeros for rounding; a row of directions for each."""
    weights, axes = np.linalg.eigh(information)
    singular = np.sqrt(np.maximum(weights[::-1], 0.0))
    singular[singular <= ROUNDING * singular.max(initial=0.0)] = 0.0
    return singular, axes.T[::-1]


def _data_errors(singular: Floats, directions: Floats, slopes: Floats) -> Floats:
    """Standard errors without the prior; infinite for an unknown with a part in a direction without effect."""
    parts = (slopes @ directions.T) ** 2
    parts[parts <= 1e-12 * parts.sum(axis=1, keepdims=True)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        variances = np.where(parts > 0.0, parts / singular**2, 0.0)
    return np.asarray(np.sqrt(variances.sum(axis=1)))
