"""Answers: what many runs of a model, a function, or an ensemble already there say of the outputs asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sd_cluster.draws import Draws
from sd_cluster.errors import ModelError, SimulationError, near
from sd_cluster.kernel import Floats
from sd_cluster.measures import Course, Measure, measures_of
from sd_cluster.model import Model, key
from sd_cluster.room import room_for
from sd_cluster.settings import Of, Settings, Sweeping

if TYPE_CHECKING:
    from sd_cluster.ensemble import Ensemble

__all__ = ["Answers", "Bools", "Function", "Settings", "Subject", "evaluate", "kept_blocks", "read_ensemble"]

Function: TypeAlias = Callable[[Floats], npt.ArrayLike]
"""A plain function that stands for a model: rows of parameters (n_runs, n_parameters) to answers (n_runs,)."""

Bools: TypeAlias = npt.NDArray[np.bool_]

Subject: TypeAlias = "Model | Function | Ensemble"

LARGEST_LOSS = 0.05
"""Share of lost runs, or of lost blocks of runs, above which an analysis is refused."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What the runs say.

    Attributes
    ----------
    values : shape (n_runs, n_times, n_outputs)
        NaN where an output has no place at a time, see `places`.
    times : shape (n_times,)
        The saved times if any output is a course, then NaN if any is a number a run.
    outputs
        Names of the outputs.
    courses
        For each output whether it is a course over time.
    ok : shape (n_runs,), bool
        Whether the run came to its end and every output has an answer.
    reasons
        Why runs were lost, some of them, in words.
    notes
        What a reader should know of the runs.
    folder
        Where tables that would take much of the memory may lie, beside the store of the runs.
    """

    values: Floats
    times: Floats
    outputs: tuple[str, ...]
    courses: tuple[bool, ...]
    ok: Bools
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def lost(self) -> int:
        """Number of runs without an answer."""
        return int((~self.ok).sum())

    @property
    def places(self) -> Bools:
        """Where outputs have answers, shape (n_times, n_outputs): courses at saved times, numbers at the time NaN."""
        places: Bools = np.isfinite(self.times)[:, None] == np.array(self.courses)
        return places


def evaluate(subject: Subject, draws: Draws, of: Of, settings: Mapping[str, Any] | None = None) -> Answers:
    """Run a subject at draws and read the outputs.

    Parameters
    ----------
    subject
        A model; or a function of rows (n_runs, n_parameters) that gives (n_runs,) or (n_runs, n_outputs).
    draws
    of
        Outputs; for a function, their names, or None.
    settings
        As in `sweep`.

    Raises
    ------
    ModelError
        If an output or a parameter is unknown, or a function gives another number of answers than of rows.
    """
    settings = settings or {}
    if isinstance(subject, Model):
        measures = measures_of(() if of is None else of)
        sweeping: dict[str, Any] = {name: value for name, value in settings.items() if name in Sweeping.__annotations__}
        return read_ensemble(_sweep(subject, draws, outputs=_wanted(subject, measures), **sweeping), measures)
    if callable(subject):
        return _call(subject, draws, of)
    raise ModelError(
        f"{type(subject).__name__} is no subject of this analysis; give a model and a space, or a function"
    )


def read_ensemble(ensemble: "Ensemble", measures: Sequence[Measure]) -> Answers:
    """Read measures off runs that are there already, those of a store chunk by chunk.

    Raises
    ------
    ModelError
        If the ensemble has not saved a variable that is asked for.
    """
    saved = np.asarray(ensemble.times, dtype=float)
    courses = tuple(one.over_time for one in measures)
    times = np.concatenate([saved if any(courses) else [], [] if all(courses) else [np.nan]])
    asked = [key(one.variable) if isinstance(one, Course) else "" for one in measures]
    if asked == [key(name) for name in ensemble.names] and isinstance(ensemble.values, np.ndarray):
        values = ensemble.values
    else:
        values = _gathered(ensemble, measures, saved, len(times))
    ok = np.array(ensemble.ok, dtype=bool)
    reasons = [f"draw {one.draw}: {one.text}" for one in ensemble.failures[:3]]
    answered = ok.copy()
    for column, one in enumerate(measures):
        part = values[:, : len(saved), column] if one.over_time else values[:, -1:, column]
        has = np.asarray(np.isfinite(part).all(axis=1))
        if without := int((ok & ~has).sum()):
            told = f"{without} {'run has' if without == 1 else 'runs have'} no '{one.label}'"
            hint = "; say what they count as by otherwise=" if hasattr(one, "otherwise") else ""
            reasons.append(told + hint)
        answered &= has
    labels = tuple(one.label for one in measures)
    notes, folder = tuple(ensemble.notes), _folder(ensemble.values)
    return Answers(values, times, labels, courses, answered, tuple(reasons), notes, folder)


def _gathered(ensemble: "Ensemble", measures: Sequence[Measure], saved: Floats, n_times: int) -> Floats:
    """Answers of all measures, shape (n_runs, n_times, n_outputs), the runs of one side by side in memory."""
    folded = {key(name): column for column, name in enumerate(ensemble.names)}
    reads = [{name: _column(name, folded, ensemble) for name in one.variables or ensemble.names} for one in measures]
    table = room_for((n_times, len(measures), len(ensemble)), _folder(ensemble.values))
    for low, rows in _chunks(ensemble.values):
        for number, (one, variables) in enumerate(zip(measures, reads, strict=True)):
            columns = {name: rows[:, :, column] for name, column in variables.items()}
            units = {name: ensemble.units[column] for name, column in variables.items()}
            answers = np.asarray(one.read(saved, columns, units), dtype=float)
            times = slice(len(saved)) if one.over_time else slice(n_times - 1, n_times)
            table[times, number, low : low + len(rows)] = answers.T
    return table.transpose(2, 0, 1)


def _chunks(values: Any) -> Iterator[tuple[int, Floats]]:
    """Runs chunk by chunk, each with the number of its first: those of an array in memory all at once."""
    size = len(values) if isinstance(values, np.ndarray) else values.chunks[0]
    for low in range(0, values.shape[0], size):
        yield low, np.asarray(values[low : low + size])


def _folder(values: Any) -> Path | None:
    """Where the store of an ensemble lies on this machine, if it does."""
    root = getattr(getattr(values, "store", None), "root", None)
    return None if root is None else Path(root)


def _column(name: str, folded: dict[str, int], ensemble: "Ensemble") -> int:
    if key(name) not in folded:
        raise ModelError(f"the runs have not saved '{name}'{near(name, ensemble.names)}")
    return folded[key(name)]


def _wanted(model: Model, measures: Sequence[Measure]) -> tuple[str, ...]:
    """Variables to save: those that measures read, and all stocks where one does not say what it reads."""
    names = [model.full_name(name) for one in measures for name in one.variables]
    if any(not one.variables for one in measures):
        names += list(model.stocks)
    return tuple(dict.fromkeys(names))


def _call(function: Function, draws: Draws, of: Any) -> Answers:
    values = np.asarray(function(draws.values), dtype=float)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) != len(draws):
        raise ModelError(
            f"the function gave an array of shape {values.shape} for {len(draws)} rows; it should give ({len(draws)},)"
        )
    count = values.shape[1]
    own = getattr(function, "__name__", "output").replace("<lambda>", "output")
    names = (of,) if isinstance(of, str) else tuple(map(str, of or ()))
    if not names:
        names = (own,) if count == 1 else tuple(f"{own} {number}" for number in range(1, count + 1))
    if len(names) != count:
        raise ModelError(f"the function gives {count} outputs, but {len(names)} are named")
    ok = np.isfinite(values).all(axis=1)
    reasons = () if ok.all() else (f"the function gave no finite number at row {int(np.argmin(ok))}",)
    return Answers(values[:, None, :], np.array([np.nan]), names, (False,) * count, ok, reasons)


def kept_blocks(
    answers: Answers, size: int, what: str, *, allow_failures: bool
) -> tuple[Floats, Bools, tuple[str, ...]]:
    """Set answers out in the blocks of a design, and leave out blocks that a lost run makes useless.

    Parameters
    ----------
    answers
    size
        Runs in a block, which lie side by side.
    what
        The blocks in words, in the plural.
    allow_failures
        Whether any number may be lost.

    Returns
    -------
    values : shape (n_kept, size, n_columns)
        A column for each of `answers.places`, times first.
    kept : shape (n_blocks,)
    notes

    Raises
    ------
    SimulationError
        If more than 5 % of the blocks are lost and that is not allowed, or fewer than two are left.
    """
    n_blocks = len(answers.values) // size
    kept: Bools = np.asarray(answers.ok.reshape(n_blocks, size).all(axis=1))
    columns = np.moveaxis(answers.values, 0, -1).reshape(-1, n_blocks, size)
    told = np.flatnonzero(answers.places.ravel())
    if kept.all() and len(told) == len(columns):
        return np.moveaxis(columns, 0, -1), kept, ()
    notes = () if kept.all() else (_loss(answers, kept, size, what, allow_failures=allow_failures),)
    left = room_for((len(told), int(kept.sum()), size), answers.folder)
    for here, column in zip(left, told, strict=True):
        here[...] = columns[column][kept]
    return np.moveaxis(left, 0, -1), kept, notes


def _loss(answers: Answers, kept: Bools, size: int, what: str, *, allow_failures: bool) -> str:
    """Say what was lost, or refuse as `kept_blocks` does."""
    n_blocks = len(kept)
    gone = n_blocks - int(kept.sum())
    plural = "run was" if answers.lost == 1 else "runs were"
    told = f"{answers.lost} of {len(answers.ok)} {plural} lost"
    if size > 1:
        told += f" and with them {gone} of {n_blocks} {what} ({gone / n_blocks:.1%})"
    else:
        told += f" ({gone / n_blocks:.1%})"
    why = f": {'; '.join(answers.reasons)}" if answers.reasons else ""
    if kept.sum() < 2:
        raise SimulationError(f"{told}{why}; nothing is left to analyse")
    if gone > LARGEST_LOSS * n_blocks and not allow_failures:
        raise SimulationError(
            f"{told}{why}. What is left would answer for another space than the one asked about: "
            "narrow the ranges, or pass allow_failures=True and read the result as of the runs that went through"
        )
    return told + why


def _sweep(model: Model, draws: Draws, **settings: Any) -> "Ensemble":
    from sd_cluster.ensemble import sweep

    return sweep(model, draws, **settings)
