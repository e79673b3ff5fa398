"""When a run begins, ends, steps and saves, and what its scenario says of itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sd_cluster.errors import ModelError, ScenarioError
from sd_cluster.model import Horizon, Model, Parameter
from sd_cluster.scenario import Scenario, TimeSeries
from sd_cluster.solvers import Adaptive, Solver
from sd_cluster.text import some

MOST_ROWS = 5_000_000
"""Rows that a run may save."""


def controls(model: Model, horizon: Horizon) -> dict[str, float]:
    """Values of the control variables that are parameters, where they differ from the model's."""
    if horizon == model.horizon:
        return {}
    chosen = (horizon.start, horizon.end, horizon.step, horizon.save_every)
    names = ("INITIAL TIME", "FINAL TIME", "TIME STEP", "SAVEPER")
    found = ((model.variable(name), value) for name, value in zip(names, chosen, strict=True))
    return {variable.name: value for variable, value in found if isinstance(variable, Parameter)}


def refuse_moving(model: Model) -> None:
    """Raise a `ModelError` where the end, the step or the saving time of a model varies with the run."""
    for control in model.moving:
        raise ModelError(
            f"{model.name}: {control} varies with the run, which sd.simulate follows by Euler() alone; sweeps, fits and"
            " derivatives take a number for it"
        )


def chosen_horizon(model: Model, horizon: Horizon | tuple[float, float] | None, solver: Solver) -> Horizon:
    """The horizon of a run: the one given, else the model's, with the solver's step where it states one."""
    if horizon is None:
        chosen = model.horizon
    elif isinstance(horizon, Horizon):
        chosen = horizon
    else:
        try:
            start, end = map(float, horizon)
        except (TypeError, ValueError):
            raise ScenarioError(f"the horizon is {horizon!r}; give two numbers, (start, end)") from None
        chosen = replace(model.horizon, start=start, end=end)
    if not (math.isfinite(chosen.start) and math.isfinite(chosen.end) and chosen.start < chosen.end):
        raise ScenarioError(
            f"the horizon goes from {chosen.start:g} to {chosen.end:g}; its end should lie after its start"
        )
    if not (math.isfinite(chosen.step) and chosen.step > 0):
        raise ScenarioError(f"the horizon's step is {chosen.step:g}; it should be above zero")
    if not isinstance(solver, Adaptive) and solver.step is None and horizon is None:
        count = math.ceil((chosen.end - chosen.start) / chosen.step - 1e-6)  # as Vensim, to the first step at the end
        off = chosen.start + count * chosen.step - chosen.end
        chosen = replace(chosen, end=chosen.end + off) if off > 1e-6 * chosen.step else chosen
    if not isinstance(solver, Adaptive) and solver.step is not None:
        chosen = replace(chosen, step=solver.step, save_every=max(chosen.save_every, solver.step))
    return chosen


def steps_of(times: Sequence[float], horizon: Horizon) -> npt.NDArray[np.int64]:
    """Numbers of the steps at which times lie.

    Raises
    ------
    ScenarioError
        If a time falls between two steps, or there are more steps than can be counted.
    """
    moments = np.array(times, dtype=float)
    rows = np.rint((moments - horizon.start) / horizon.step)
    if not np.abs(rows).max(initial=0.0) < 2.0**53:
        raise ScenarioError(
            f"a step of {horizon.step:g} is too short for a run from {horizon.start:g} to {horizon.end:g};"
            " take a longer one"
        )
    between = np.abs(horizon.start + rows * horizon.step - moments) > 1e-6 * horizon.step
    if between.any():
        raise ScenarioError(
            f"time {moments[between][0]:g} does not fall on a step of {horizon.step:g} from {horizon.start:g};"
            " choose a step that divides it, or Adaptive()"
        )
    return rows.astype(np.int64)


def save_times(horizon: Horizon, save: float | Sequence[float] | None) -> list[float]:
    """Times at which rows are saved, increasing."""
    if save is None or isinstance(save, int | float | np.number):
        every = horizon.save_every if save is None else float(save)
        if not every > 0:
            raise ScenarioError(f"the time between saved rows is {every:g}; it should be above zero")
        if not (horizon.end - horizon.start) / every < MOST_ROWS:
            raise ScenarioError(
                f"the run from {horizon.start:g} to {horizon.end:g} would save more than {MOST_ROWS} rows, one each"
                f" {every:g}; save less often, by SAVEPER or save="
            )
        count = math.floor((horizon.end - horizon.start) / every + 1e-9)
        times = [horizon.start + number * every for number in range(count + 1)]
        return times if abs(times[-1] - horizon.end) < 1e-9 * every else [*times, horizon.end]
    try:
        times = sorted({float(time) for time in save})
    except (TypeError, ValueError):
        raise ScenarioError(f"save={save!r} is neither a time between rows nor a list of times") from None
    for time in times:
        if not horizon.start <= time <= horizon.end:
            raise ScenarioError(f"save time {time:g} lies outside the horizon {horizon.start:g} to {horizon.end:g}")
    return times


def save_steps(horizon: Horizon, save: float | Sequence[float] | None) -> tuple[list[float], npt.NDArray[np.int64]]:
    """Times at which rows are saved and the numbers of the steps they fall on; as `save_times` and `steps_of`."""
    if save is None or isinstance(save, int | float):
        times, rows = _regular_steps(horizon, save)
        return list(times), rows
    times = save_times(horizon, save)
    return times, steps_of(times, horizon)


@lru_cache(maxsize=64)
def _regular_steps(horizon: Horizon, every: float | None) -> tuple[list[float], npt.NDArray[np.int64]]:
    times = save_times(horizon, every)
    return times, steps_of(times, horizon)


def outside(model: Model, scenario: Scenario) -> list[str]:
    """Sentences about values outside the ranges that the model file gives."""
    notes = []
    for target, change in scenario.changes.items():
        variable = model.variable((model.elements(target) or (target,))[0])
        values = change.values if isinstance(change, TimeSeries) else (change,)
        low = -math.inf if variable.low is None else variable.low
        high = math.inf if variable.high is None else variable.high
        for value in values:
            if not low <= value <= high:
                notes.append(f"'{variable.name}' is set to {value:g}, outside its range {low:g} to {high:g}")
                break
    return notes


def cannot(model: Model) -> tuple[str, ...]:
    """A sentence about variables of the file that no run has, if there are any."""
    if not model.unsupported:
        return ()
    names = some([f"'{name}'" for name in model.unsupported])
    return (f"not computed: {names}; model.report() says why",)


def plain_changes(changes: Mapping[str, float | TimeSeries]) -> dict[str, object]:
    """Changes as plain numbers and mappings, fit for JSON."""
    return {name: asdict(change) if isinstance(change, TimeSeries) else change for name, change in changes.items()}
