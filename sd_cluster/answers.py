"""Answers: what many runs of a model, a function, or an ensemble already there say of the outputs asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from sd_cluster.draws import Draws
from sd_cluster.errors import ModelError, SimulationError, near
from sd_cluster.kernel import Floats
from sd_cluster.measures import Course, Measure, Output, measures_of
from sd_cluster.model import Horizon, Model, key
from sd_cluster.scenario import Scenario
from sd_cluster.solvers import Adaptive, Euler, RungeKutta4

if TYPE_CHECKING:
    from sd_cluster.ensemble import Ensemble

Function: TypeAlias = Callable[[Floats], npt.ArrayLike]
"""A plain function that stands for a model: rows of parameters (n_runs, n_parameters) to answers (n_runs,)."""

Subject: TypeAlias = "Model | Function | Ensemble"

LARGEST_LOSS = 0.05
"""Share of lost runs, or of lost blocks of runs, above which an analysis is refused."""


class Settings(TypedDict, total=False):
    """How the runs are made, as in `sweep`, and how their losses and intervals are judged.

    `horizon`, `scenario`, `save`, `solver`, `rtol`, `threads`, `progress`, `store` and `client` go to `sweep`.
    `level` (0.95) is the share an interval should hold. `tolerance` is the width of interval above which the
    verdict is "not settled". `allow_failures` lets an analysis pass that lost more than 5 % of its runs.
    """

    horizon: Horizon | tuple[float, float] | None
    scenario: Scenario | None
    save: float | Sequence[float] | None
    solver: Euler | RungeKutta4 | Adaptive | None
    rtol: float
    threads: int | None
    progress: bool
    store: Any
    client: Any
    level: float
    tolerance: float
    allow_failures: bool


_OF_ANALYSIS = {"level", "tolerance", "allow_failures"}


@dataclass(frozen=True, eq=False)
class Answers:
    """What the runs say.

    Attributes
    ----------
    values : shape (n_runs, n_times, n_outputs)
        A number a run counts as one time.
    times : shape (n_times,)
        NaN alone where outputs are numbers.
    outputs
        Names of the outputs.
    ok : shape (n_runs,), bool
        Whether the run came to its end and every output has an answer.
    reasons
        Why runs were lost, some of them, in words.
    notes
        What a reader should know of the runs.
    """

    values: Floats
    times: Floats
    outputs: tuple[str, ...]
    ok: npt.NDArray[np.bool_]
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """Number of runs without an answer."""
        return int((~self.ok).sum())


def check_settings(settings: Settings) -> None:
    """Refuse settings that there are not, naming the nearest one.

    Raises
    ------
    TypeError
        As Python does for an unknown keyword.
    """
    for name in settings:
        if name not in Settings.__annotations__:
            raise TypeError(f"no setting '{name}'{near(name, Settings.__annotations__)}")
    level = settings.get("level", 0.95)
    if not 0.0 < level < 1.0:
        raise ModelError(f"level={level:g} should lie between 0 and 1, as 0.95 does")


def evaluate(
    subject: Subject, draws: Draws, of: Output | Sequence[Output] | None, settings: Settings | None = None
) -> Answers:
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
        sweeping: dict[str, Any] = {name: value for name, value in settings.items() if name not in _OF_ANALYSIS}
        return read_ensemble(_sweep(subject, draws, outputs=_wanted(subject, measures), **sweeping), measures)
    if callable(subject):
        return _call(subject, draws, of)
    raise ModelError(
        f"{type(subject).__name__} is no subject of this analysis; give a model and a space, or a function"
    )


def read_ensemble(ensemble: "Ensemble", measures: Sequence[Measure]) -> Answers:
    """Read measures off runs that are there already.

    Raises
    ------
    ModelError
        If the ensemble has not saved a variable that is asked for.
    """
    times = np.asarray(ensemble.times, dtype=float)
    over_time = measures[0].over_time
    ok = np.array(ensemble.ok, dtype=bool)
    reasons = tuple(f"draw {one.draw}: {one.text}" for one in ensemble.failures[:3])
    folded = {key(name): name for name in ensemble.names}
    units = dict(zip(ensemble.names, ensemble.units, strict=True))
    whole = [key(one.variable) if isinstance(one, Course) else "" for one in measures]
    if whole == list(folded):
        values = ensemble.values
    else:
        parts = [_read(one, times, ensemble, folded, units) for one in measures]
        shape = (len(ok), len(times) if over_time else 1)
        table = np.stack([part.reshape(shape).T for part in parts], axis=1)
        values = table.transpose(2, 0, 1)
        answered: npt.NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=1))
        for column, one in enumerate(measures):
            if without := int((ok & ~answered[:, column]).sum()):
                told = f"{without} {'run has' if without == 1 else 'runs have'} no '{one.label}'"
                hint = "; say what they count as by otherwise=" if hasattr(one, "otherwise") else ""
                reasons += (told + hint,)
        ok = ok & answered.all(axis=1)
    return Answers(
        values, times if over_time else np.array([np.nan]), tuple(one.label for one in measures), ok, reasons,
        tuple(ensemble.notes),
    )  # fmt: skip


def _read(
    measure: Measure, times: Floats, ensemble: "Ensemble", folded: Mapping[str, str], units: Mapping[str, str]
) -> Floats:
    columns = {}
    for name in measure.variables or ensemble.names:
        if key(name) not in folded:
            raise ModelError(f"the runs have not saved '{name}'{near(name, ensemble.names)}")
        columns[name] = ensemble[folded[key(name)]]
    told = {name: units[folded[key(name)]] for name in columns}
    return np.asarray(measure.read(times, columns, told), dtype=float)


def _wanted(model: Model, measures: Sequence[Measure]) -> tuple[str, ...]:
    """Variables to save: those that measures read, and all stocks where one does not say what it reads."""
    names = [model.variable(name).name for one in measures for name in one.variables]
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
    return Answers(values[:, None, :], np.array([np.nan]), names, ok, reasons)


def kept_blocks(
    answers: Answers, size: int, what: str, settings: Settings
) -> tuple[Floats, npt.NDArray[np.bool_], tuple[str, ...]]:
    """Set answers out in the blocks of a design, and leave out blocks that a lost run makes useless.

    Parameters
    ----------
    answers
    size
        Runs in a block, which lie side by side.
    what
        The blocks in words, in the plural.
    settings
        Of which `allow_failures` counts.

    Returns
    -------
    values : shape (n_kept, size, n_times * n_outputs)
    kept : shape (n_blocks,)
    notes

    Raises
    ------
    SimulationError
        If more than 5 % of the blocks are lost and that is not allowed, or fewer than two are left.
    """
    n_blocks = len(answers.values) // size
    kept: npt.NDArray[np.bool_] = np.asarray(answers.ok.reshape(n_blocks, size).all(axis=1))
    columns = np.moveaxis(answers.values, 0, -1).reshape(-1, n_blocks, size)
    if kept.all():
        return np.moveaxis(columns, 0, -1), kept, ()
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
    if gone > LARGEST_LOSS * n_blocks and not settings.get("allow_failures", False):
        raise SimulationError(
            f"{told}{why}. What is left would answer for another space than the one asked about: "
            "narrow the ranges, or pass allow_failures=True and read the result as of the runs that went through"
        )
    return np.moveaxis(columns[:, kept], 0, -1), kept, (told + why,)


def _sweep(model: Model, draws: Draws, **settings: Any) -> "Ensemble":
    from sd_cluster.ensemble import sweep

    return sweep(model, draws, **settings)
