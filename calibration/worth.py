"""Data worth: which further figures would separate what is confounded, and what the present ones are worth.

Linear Bayesian preposterior analysis: figures add their expected information to that of the data and the priors,
whatever they turn out to be, and the posterior standard deviation of an unknown or a prediction shrinks accordingly
(Tiedeman et al. 2004, doi:10.1029/2004WR003313; White, Fienen and Doherty 2016, doi:10.1016/j.envsoft.2016.08.017).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from calibration.candidates import Further, gains_of, shares_of, usual_candidates
from calibration.landscape import covariance, errors_at, found_at, gram, is_relative, position, spreads, width
from calibration.modes import brought_inside
from calibration.statistics import Bools, Floats
from sd_cluster.errors import FitError

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["further", "without"]
Prediction: TypeAlias = Callable[[Floats], float]
"""A number the model says, as a function of the place."""

STEP = 1e-4
"""Half width of the differences of predictions, in prior spreads: a run is smooth to some ten digits."""
LITTLE = 0.05
"""Narrowing below which further figures are said to be of no use."""


@dataclass(frozen=True)
class Item:
    """What one candidate or one present series is worth.

    Attributes
    ----------
    label
        What it is.
    kind
        "further" figures, or what would be "without" a present series.
    target
        The unknown or prediction it does most for.
    before, after
        Standard error of the target as things are, and with (or without) it: of the logarithm where `relative`.
    relative
        Whether these are relative.
    narrowing
        Share by which the error shrinks; negative where it grows.
    information
        Gain about all unknowns together, in bits: 1 halves the volume of what is likely; negative for a loss.
    """

    label: str
    kind: Kind
    target: str
    before: float
    after: float
    relative: bool
    narrowing: float
    information: float

    def __str__(self) -> str:
        before, after = (_both_sides(error, self.relative) for error in (self.before, self.after))
        if self.kind == "further":
            return f"{self.label} would narrow '{self.target}' from {before} to {after}."
        return f"Without {self.label}, '{self.target}' would be known to {after} instead of {before}."


@dataclass(frozen=True, eq=False)
class Worth:
    """Worth of candidates and of present series, the most useful first.

    Attributes
    ----------
    targets
        Unknowns, or the prediction, that were asked for.
    items
        Each candidate, ranked; then each present series, the most missed first.
    errors : shape (n_items, n_targets)
        Standard error of each target with each candidate, or without each series.
    present : shape (n_targets,)
        Standard errors as things are.
    """

    targets: tuple[str, ...]
    items: tuple[Item, ...]
    errors: Floats
    present: Floats

    @property
    def further(self) -> tuple[Item, ...]:
        """Candidates, ranked."""
        return tuple(item for item in self.items if item.kind == "further")

    @property
    def without(self) -> tuple[Item, ...]:
        """Present series, the most missed first."""
        return tuple(item for item in self.items if item.kind == "without")

    @property
    def sentences(self) -> tuple[str, ...]:
        """The three best candidates, and the series most missed."""
        best = [item for item in self.further if item.narrowing >= LITTLE][:3]
        told = [str(item) for item in best]
        if self.further and not best:
            told.append(f"None of the candidates would narrow anything by {100 * LITTLE:g} % or more.")
        return (*told, *(str(item) for item in self.without[:1] if item.narrowing <= -LITTLE))

    def frame(self) -> pd.DataFrame:
        """One row a candidate or series: kind, bits of information, target, before, after, narrowing, all errors."""
        import pandas as pd

        columns = ("label", "kind", "information", "target", "before", "after", "narrowing")
        table = pd.DataFrame([{name: getattr(item, name) for name in columns} for item in self.items], columns=columns)
        if len(self.targets) > 1:
            table = table.assign(**{f"error of {name}": self.errors[:, k] for k, name in enumerate(self.targets)})
        return table

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def worth(
    fit_or_objective: Any,
    place: ArrayLike | None = None,
    of: str | Sequence[str] | Prediction | None = None,
    candidates: Sequence[Further] | None = None,
    *,
    present: bool = True,
    told: str = "the prediction",
) -> Worth:
    """Rank further figures by how much they would narrow what one wants to know.

    Parameters
    ----------
    fit_or_objective
        A fit, or an `Objective` with its place.
    place : shape (n_unknowns,)
        The optimum. Unknowns at a bound are brought inside their range, where there is something to narrow.
    of
        An unknown, several, or a function of the place that gives a prediction; all free parameters where not given.
        One target is ranked by its own error, several by the information about all unknowns.
    candidates
        What could be had; what one would think of first where not given (`usual_candidates`).
    present
        Whether to tell also what would be without each present series.
    told
        What to call a prediction.

    Raises
    ------
    FitError, ModelError, DataError
        If a target is no unknown, the prediction is not a finite number, or a candidate does not fit the model.
    """
    objective, where = found_at(fit_or_objective, place)
    where = brought_inside(objective, where)
    target = _Target(objective, where, of, told)
    now = gram(objective, where)
    before = target.errors(covariance(now))
    chosen = usual_candidates(objective) if candidates is None else candidates
    rows: list[tuple[str, Kind, Floats]] = [
        (str(one), "further", now + gain) for one, gain in zip(chosen, gains_of(objective, where, chosen), strict=True)
    ]
    if present:
        many = len(objective.likelihoods) > 1
        rows += [
            (f"'{name}'{f' of {region}' if many else ''}", "without", now - share)
            for (region, name), share in shares_of(objective, where).items()
        ]
    found = [_item(label, kind, target, before, now, with_it) for label, kind, with_it in rows]
    single = len(target.names) == 1

    def order(pair: tuple[Item, Floats]) -> tuple[bool, float]:
        item = pair[0]
        sign = 1.0 if item.kind == "without" else -1.0
        return item.kind == "without", sign * (item.narrowing if single else item.information)

    found.sort(key=order)
    errors = np.array([after for _, after in found]).reshape(len(found), len(target.names))
    return Worth(target.names, tuple(item for item, _ in found), errors, before)


class _Target:
    """What one wants to know, and how well it is known under a covariance of the places."""

    def __init__(self, objective: Any, place: Floats, of: str | Sequence[str] | Prediction | None, told: str) -> None:
        self.objective, self.place = objective, place
        self.names: tuple[str, ...]
        self.relative: Bools
        self.slopes: Floats | None = None
        if callable(of):
            self.names = (told,)
            self.slopes, positive = _slopes(objective, place, of)
            self.relative = np.array([positive])
            return
        free = {name for one in objective.likelihoods for name in one.free}
        every = [name for name in objective.names if name in free or name.rpartition(" [")[0] in free]
        chosen = [of] if isinstance(of, str) else every if of is None else list(of)
        self.names = tuple(chosen)
        self.rows = np.array([position(objective, name) for name in chosen], dtype=np.intp)
        self.relative = np.array([is_relative(objective, name) for name in chosen])

    def errors(self, spread: Floats) -> Floats:
        if self.slopes is not None:
            return np.array([np.sqrt(self.slopes @ spread @ self.slopes)])
        return errors_at(self.objective, self.place, spread)[self.rows]


def _item(label: str, kind: Kind, target: _Target, before: Floats, now: Floats, then: Floats) -> tuple[Item, Floats]:
    after = target.errors(covariance(then))
    with np.errstate(divide="ignore", invalid="ignore"):
        narrowing = np.where(before > 0.0, 1.0 - after / before, 0.0)
    most = int(np.argmax(narrowing if kind == "further" else -narrowing))
    bits = float(0.5 * (_log_volume(then) - _log_volume(now)) / np.log(2.0))
    item = Item(
        label, kind, target.names[most], float(before[most]), float(after[most]), bool(target.relative[most]),
        float(narrowing[most]), bits,
    )  # fmt: skip
    return item, after


def _log_volume(information: Floats) -> float:
    return float(np.linalg.slogdet(information + np.eye(len(information)))[1])


def _slopes(objective: Any, place: Floats, prediction: Prediction) -> tuple[Floats, bool]:
    """Derivatives of a prediction, or of its logarithm where it is positive, by the places in prior spreads."""
    here = float(prediction(place))
    moves = STEP * np.diag(spreads(objective))
    sides = np.array([[float(prediction(place + side * move)) for side in (1.0, -1.0)] for move in moves])
    if not (np.isfinite(here) and np.isfinite(sides).all()):
        raise FitError("the prediction is not a finite number at the place; give a function of the place that is")
    slopes = (sides[:, 0] - sides[:, 1]) / (2.0 * STEP)
    return (slopes / here, True) if here > 0.0 else (slopes, False)


def prediction_of(objective: Any, indicator: str, year: float, *, region: str | None = None) -> Prediction:
    """What the model says of an indicator in a year, as a function of the place: a target for `worth`.

    Raises
    ------
    FitError
        If there is no such region or indicator.
    """
    regions = [one.region for one in objective.likelihoods]
    number = 0 if region is None else regions.index(region) if region in regions else -1
    if number < 0 or indicator not in objective.likelihoods[number].series:
        raise FitError(f"the objective has no figures of '{indicator}' for {region or regions[0]}")
    predict = objective.likelihoods[number].predictor([year])
    return lambda where: float(predict(objective.of_region(where, number))[indicator][0])


def _both_sides(error: float, relative: bool) -> str:
    text = width(error, relative=relative)
    return text if text.startswith("a factor") else f"±{text}"
