"""How the runs of a sweep go through time: on one grid whose steps are fine enough for all, or each alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sd_cluster.batch import Batch, changes_of, switch_times
from sd_cluster.draws import Draws
from sd_cluster.errors import ScenarioError, SimulationError
from sd_cluster.grid import Grid, smooth_grid, step_grid
from sd_cluster.kernel import Floats
from sd_cluster.lanes import varied_switches
from sd_cluster.moments import save_times, steps_of
from sd_cluster.simulation import simulate
from sd_cluster.solvers import Adaptive, Euler, RungeKutta4, Solver
from sd_cluster.workers import Alone, run_alone, side_by_side

PILOT = 256
"""Runs on which a step is tried."""

MOST_STEPS = 20_000
"""Steps of one run above which the model is taken for stiff."""

TRIED = 20
"""Failed runs of the pilot that are tried alone, to tell a step too long from a run without a solution."""


_WHOLE = "arrays are kept whole: solved run by run"


@dataclass(frozen=True)
class Path:
    """How the runs go through time: on one grid, or each alone."""

    how: Grid | Alone
    times: tuple[float, ...]
    notes: tuple[str, ...]
    error: float | None = None

    def time_of(self, part: int) -> float:
        """When a part of the grid ends; not a number for runs that go alone."""
        return self.how.time_of_part(part) if isinstance(self.how, Grid) else float("nan")


def choose_path(
    batch: Batch, draws: Draws, save: Any, solver: Solver | None, rtol: float, threads: int | None = None
) -> Path:
    """The path through time: as the solver says, or with a step that meets `rtol` on some of the runs."""
    listed = save_times(batch.horizon, 1.0 if save is None and solver is None else save)
    times = tuple(listed)
    stepwise = batch.kernel.structure.stepwise
    said = ""
    if stepwise and solver is None:
        solver = RungeKutta4()
        said = f", as '{stepwise[0]}' is only defined at steps"
    if batch.model.whole is not None:
        if solver is None:
            return _halve_alone(batch, draws, times, rtol)
        return Path(Alone(times, solver), times, (f"{_WHOLE} with {type(solver).__name__}{said}",))
    if isinstance(solver, Euler | RungeKutta4):
        grid = step_grid(batch.horizon, times, solver, steps_of(times, batch.horizon))
        return Path(grid, times, (f"{type(solver).__name__} with a step of {batch.horizon.step:g}{said}",))
    if isinstance(solver, Adaptive):
        return Path(Alone(times, solver), times, ("solved run by run",))
    kernel, varied, _ = batch.settled()
    moving = varied_switches(kernel.model, varied)
    if moving:
        reason = f"switching times differ between runs ({', '.join(moving)}), so they were solved run by run"
        return Path(Alone(times, Adaptive()), times, (reason,))
    return _halve(batch, draws, times, rtol, threads)


def _halve(batch: Batch, draws: Draws, times: tuple[float, ...], rtol: float, threads: int | None) -> Path:
    """Halve the step on some of the runs until halving it once more moves nothing by more than `rtol`."""
    start, switches = batch.horizon.start, switch_times(batch)
    pilot = _pilot(draws.values)
    stops = np.unique([start, *times, *switches])
    step = float(np.diff(stops).max(initial=(times[-1] - start) / 64.0)) if len(stops) > 1 else 1.0
    step = min(step, max((times[-1] - start) / 8.0, 1e-12))
    grid = smooth_grid(start, times, switches, step)
    coarse, _ = side_by_side(batch, pilot, grid, threads)
    pilot_ok = np.ones(len(pilot), dtype=bool)
    while grid.total_steps <= MOST_STEPS:
        finer = smooth_grid(start, times, switches, step / 2.0)
        fine, failed = side_by_side(batch, pilot, finer, threads)
        for draw in np.flatnonzero((failed >= 0) & pilot_ok)[:TRIED]:
            pilot_ok[draw] = _can_be_solved(batch, pilot[draw])
        both = (coarse, fine) if pilot_ok.all() else (coarse[:, :, pilot_ok], fine[:, :, pilot_ok])
        error = _difference(*both)
        if error <= rtol:
            said = f"RungeKutta4 with steps of at most {step:g}: halving them moves nothing by more than {error:.1e}"
            return Path(grid, times, (f"{said} of its largest value, on {len(pilot)} of {len(draws)} runs",), error)
        step, grid, coarse = step / 2.0, finer, fine
    reason = f"steps of {step:g} still leave an error above {rtol:g}, so the runs were solved one by one"
    return Path(Alone(times, Adaptive()), times, (reason,))


def _halve_alone(batch: Batch, draws: Draws, times: tuple[float, ...], rtol: float) -> Path:
    """Halve the model's step on two runs, as above, where arrays are kept whole."""
    pilot, horizon = _pilot(draws.values)[[0, -1]], batch.horizon
    step, coarse = horizon.step, _alone(batch, pilot, times, horizon.step)
    while (horizon.end - horizon.start) / step <= MOST_STEPS and coarse is not None:
        fine = _alone(batch, pilot, times, step / 2.0)
        error = np.inf if fine is None else _difference(coarse, fine)
        if error <= rtol:
            said = (
                f"{_WHOLE} with RungeKutta4 and a step of {step:g}: halving it moves nothing by more than {error:.1e}"
            )
            about = f"{said} of its largest value, on two of {len(draws)} runs"
            return Path(Alone(times, RungeKutta4(step)), times, (about,), error)
        step, coarse = step / 2.0, fine
    return Path(Alone(times, Adaptive()), times, (f"{_WHOLE} with Adaptive, as fixed steps do not do",))


def _alone(batch: Batch, rows: Floats, times: tuple[float, ...], step: float) -> Floats | None:
    """Runs each by itself, shape (n_times, n_outputs, n_runs); nothing where one fails or times lie between steps."""
    try:
        return np.stack([run_alone(batch, row, Alone(times, RungeKutta4(step))) for row in rows], axis=-1)
    except (ScenarioError, SimulationError):
        return None


def _pilot(values: Floats) -> Floats:
    """Rows on which a step is tried: spread over all, the same whatever the order of the rows."""
    size = np.maximum(np.abs(values).max(axis=0), 1e-300)
    place = (values / size * np.sqrt(np.arange(2.0, values.shape[1] + 2.0))).sum(axis=1)
    spread = np.unique(np.linspace(0, len(values) - 1, PILOT).astype(int))
    rows: Floats = values[np.argsort(place, kind="stable")[spread]]
    return rows


def _can_be_solved(batch: Batch, row: Floats) -> bool:
    """Whether a run that blew up side by side has a solution at all."""
    try:
        simulate(batch.model, batch.scenario.with_changes(changes_of(batch.names, row)), horizon=batch.horizon)
    except SimulationError:
        return False
    return True


def _difference(coarse: Floats, fine: Floats) -> float:
    """Largest change between two grids, relative to each variable's largest value in its run."""
    if not coarse.size:
        return 0.0
    size = np.maximum(np.abs(fine).max(axis=0), 1e-300)
    with np.errstate(invalid="ignore", over="ignore"):
        change = np.abs(coarse - fine).max(axis=0) / size
    return float(np.nan_to_num(change, nan=np.inf, posinf=np.inf).max())
