"""Many runs of one model: the same equations under many draws of its parameters."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from sd_cluster.batch import Batch, changes_of, padded, switch_times
from sd_cluster.draws import Draws
from sd_cluster.errors import ModelError, SimulationError, near
from sd_cluster.grid import Grid, Whole, smooth_grid, step_grid
from sd_cluster.kernel import Floats
from sd_cluster.lanes import varied_switches
from sd_cluster.model import Horizon, Model, key
from sd_cluster.moments import chosen_horizon, plain_changes, save_times, steps_of
from sd_cluster.progress import progress_bar
from sd_cluster.scenario import Scenario, apply
from sd_cluster.simulation import simulate
from sd_cluster.solvers import Adaptive, Euler, RungeKutta4, Solver
from sd_cluster.store import Store

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from dask.distributed import Client

CHUNK = 2048
"""Runs that one task carries out: fine enough for a progress bar, coarse enough to be quick."""

PILOT = 256
"""Runs on which a step is tried."""

MOST_STEPS = 20_000
"""Steps of one run above which the model is taken for stiff."""

TRIED = 20
"""Failed runs of the pilot that are tried alone, to tell a step too long from a run without a solution."""

TOLD = 200
"""Failed runs that are looked into one by one, for year and stock."""


@dataclass(frozen=True)
class Failure:
    """A run that could not go on: the draw's number, when, in which stock, and the whole sentence."""

    draw: int
    time: float
    stock: str
    text: str


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What a sweep gives.

    Attributes
    ----------
    draws
        Parameters of each run.
    times : shape (n_times,)
        Saved times, in the model's unit of time.
    values : shape (n_runs, n_times, n_variables)
        Values of the saved variables; NaN from where a run failed.
    names, units
        Of the variables.
    failures
        Runs that failed, at most the first few hundred told one by one.
    ok : shape (n_runs,)
        False for every run that failed.
    notes
        Which step was taken and which error it leaves, and what else a reader should know.
    provenance
        All that is needed to repeat the sweep.
    """

    draws: Draws
    times: Floats
    values: Floats
    names: tuple[str, ...]
    units: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    ok: Any = None
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ok is None:
            object.__setattr__(self, "ok", np.ones(len(self.draws), dtype=bool))
        for array in (self.times, self.values, self.ok):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    def _column(self, name: str) -> int:
        folded = [key(known) for known in self.names]
        if key(name) not in folded:
            raise ModelError(f"the ensemble has not saved '{name}'{near(name, self.names)}; ask for it in outputs")
        return folded.index(key(name))

    def __getitem__(self, name: str) -> Floats:
        """All trajectories of a variable, shape (n_runs, n_times); case and underscores do not count."""
        column: Floats = self.values[:, :, self._column(name)]
        return column

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.draws)

    def unit(self, name: str) -> str:
        """Unit of a variable as the file declares it."""
        return self.units[self._column(name)]

    def quantiles(self, name: str, levels: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)) -> Floats:
        """Quantiles of a variable over the runs that did not fail, shape (n_levels, n_times)."""
        bands: Floats = np.quantile(self[name][self.ok], levels, axis=0)
        return bands

    def dataset(self) -> "xr.Dataset":
        """A labelled xarray Dataset over `draw` and `time`; parameters are coordinates of `draw`."""
        import xarray as xr

        data = {
            name: (("draw", "time"), self.values[:, :, column], {"units": unit})
            for column, (name, unit) in enumerate(zip(self.names, self.units, strict=True))
        }
        drawn = {name: ("draw", self.draws[name]) for name in self.draws.names if name not in self.names}
        places = {"draw": np.arange(len(self)), "time": self.times, "ok": ("draw", self.ok)}
        about = {"notes": list(self.notes), "provenance": json.dumps(self.provenance)}
        return xr.Dataset(data, coords={**places, **drawn}, attrs=about)

    def frame(self) -> "pd.DataFrame":
        """A long table: one row a run and time, one column a variable."""
        import pandas as pd

        index = pd.MultiIndex.from_product([range(len(self)), self.times], names=["draw", "time"])
        return pd.DataFrame(self.values.reshape(len(index), -1), index=index, columns=list(self.names))


@dataclass(frozen=True)
class Path:
    """How the runs go through time: on one grid, or each on its own where `grid` is None."""

    grid: Grid | None
    times: tuple[float, ...]
    notes: tuple[str, ...]
    error: float | None = None


def sweep(
    model: Model,
    draws: Draws,
    *,
    outputs: Sequence[str] | None = None,
    save: float | Sequence[float] | None = None,
    horizon: Horizon | tuple[float, float] | None = None,
    scenario: Scenario | None = None,
    solver: Solver | None = None,
    rtol: float = 1e-5,
    threads: int | None = None,
    progress: bool = False,
    store: str | PathLike[str] | None = None,
    client: "Client | None" = None,
) -> Ensemble:
    """Run a model once for each draw.

    Where no solver is given, the runs share Runge-Kutta steps that no switching time falls into; the step is halved on
    some of the runs until halving it moves nothing by more than `rtol` of its largest value. Models that would need
    too short a step, or whose switching times differ between runs, are solved run by run by `Adaptive`. The numbers do
    not depend on the number of threads or the order of the draws.

    Parameters
    ----------
    model
    draws
        Parameters, or stocks for their initial values, one row a run.
    outputs
        Variables to save; the stocks where not given.
    save
        Time between saved rows, or the times themselves; one unit of time where not given.
    horizon, scenario
        As in `simulate`.
    solver
        A fixed-step solver replays Vensim's meaning of the step; `Adaptive` solves run by run.
    rtol
        Error allowed in continuous time, relative to each variable's largest value in a run.
    threads
        One for each processor where not given.
    progress
        Show a bar with runs per second and time left on a terminal.
    store
        Folder of a Zarr group to stream results to, for sweeps larger than memory. An interrupted sweep goes on where
        it stopped when called again, and gives the same numbers.
    client
        A Dask client whose workers carry the runs out, for sweeps larger than the machine.

    Returns
    -------
    ensemble
        With `store`, its `values` is a Zarr array: what is sliced is read.

    Raises
    ------
    ScenarioError, ModelError
        If names, horizon or times do not fit the model.
    """
    batch = prepare(model, draws.names, outputs, horizon, scenario, solver)
    path = choose_path(batch, draws, save, solver, rtol)
    units = tuple(model.variable(name).units for name in batch.outputs)
    about = provenance(batch, draws, path, solver, rtol)
    times = np.array(path.times)
    kept = Store(store, draws, times, batch.outputs, units, about, CHUNK) if store is not None else None
    if path.grid is None:
        values, failures, ok = _one_by_one(batch, draws, path, solver, progress)
        if kept is not None:
            kept.write_all(values)
    else:
        if kept is not None or client is not None:
            values, failed = _in_chunks(batch, draws, path.grid, threads, client, kept, progress)
        else:
            out, failed = _side_by_side(batch, draws, path.grid, threads, progress)
            values = out.transpose(2, 0, 1)
        failures, ok, mended = _look_into(batch, draws, path.grid, failed, values)
        path = Path(path.grid, path.times, (*path.notes, *mended), path.error)
    lost = _lost(failures, ok)
    return Ensemble(draws, times, values, batch.outputs, units, failures, ok, (*path.notes, *lost), about)


def prepare(
    model: Model,
    names: Sequence[str],
    outputs: Sequence[str] | None,
    horizon: Horizon | tuple[float, float] | None,
    scenario: Scenario | None,
    solver: Solver | None,
) -> Batch:
    """Check at the door what a sweep is asked for."""
    chosen = chosen_horizon(model, horizon, solver or Adaptive())
    asked = outputs if outputs is not None else model.stocks
    wanted = tuple(n for name in asked for n in model.elements(name) or (model.variable(name).name,))
    if not wanted:
        raise ModelError(f"the sweep of {model.name} saves nothing; name at least one variable in outputs")
    base = scenario or Scenario()
    apply(model, Scenario("draws", dict.fromkeys(names, 0.0)))
    return Batch(model, base, chosen, tuple(names), wanted)


def choose_path(batch: Batch, draws: Draws, save: Any, solver: Solver | None, rtol: float) -> Path:
    """The path through time: as the solver says, or with a step that meets `rtol` on some of the runs."""
    listed = save_times(batch.horizon, 1.0 if save is None and solver is None else save)
    times = tuple(listed)
    stepwise = batch.kernel.structure.stepwise
    said = ""
    if stepwise and solver is None:
        solver = RungeKutta4()
        said = f", as '{stepwise[0]}' is only defined at steps"
    if isinstance(solver, Euler | RungeKutta4):
        grid = step_grid(batch.horizon, times, solver, steps_of(times, batch.horizon))
        return Path(grid, times, (f"{type(solver).__name__} with a step of {batch.horizon.step:g}{said}",))
    if isinstance(solver, Adaptive):
        return Path(None, times, ("solved run by run",))
    kernel, varied, _ = batch.settled()
    moving = varied_switches(kernel.model, varied)
    if moving:
        reason = f"switching times differ between runs ({', '.join(moving)}), so they were solved run by run"
        return Path(None, times, (reason,))
    return _halve(batch, draws, times, rtol)


def _halve(batch: Batch, draws: Draws, times: tuple[float, ...], rtol: float) -> Path:
    """Halve the step on some of the runs until halving it once more moves nothing by more than `rtol`."""
    start, switches = batch.horizon.start, switch_times(batch)
    pilot = _pilot(draws.values)
    stops = np.unique([start, *times, *switches])
    step = float(np.diff(stops).max(initial=(times[-1] - start) / 64.0)) if len(stops) > 1 else 1.0
    step = min(step, max((times[-1] - start) / 8.0, 1e-12))
    grid = smooth_grid(start, times, switches, step)
    coarse, _ = batch.rows(pilot, grid)
    pilot_ok = np.ones(len(pilot), dtype=bool)
    while grid.total_steps <= MOST_STEPS:
        finer = smooth_grid(start, times, switches, step / 2.0)
        fine, failed = batch.rows(pilot, finer)
        for draw in np.flatnonzero((failed >= 0) & pilot_ok)[:TRIED]:
            pilot_ok[draw] = _can_be_solved(batch, pilot[draw])
        error = _difference(coarse[:, :, pilot_ok], fine[:, :, pilot_ok])
        if error <= rtol:
            said = f"RungeKutta4 with steps of at most {step:g}: halving them moves nothing by more than {error:.1e}"
            return Path(grid, times, (f"{said} of its largest value, on {len(pilot)} of {len(draws)} runs",), error)
        step, grid, coarse = step / 2.0, finer, fine
    reason = f"steps of {step:g} still leave an error above {rtol:g}, so the runs were solved one by one"
    return Path(None, times, (reason,))


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


def _side_by_side(batch: Batch, draws: Draws, grid: Grid, threads: int | None, progress: bool) -> tuple[Floats, Whole]:
    """All runs on one grid, in threads; shape (n_times, n_outputs, n_runs), and the part in which each failed."""
    out = np.empty((len(grid.times), len(batch.outputs), padded(len(draws))))
    failed = np.empty(len(draws), dtype=np.int64)

    def work(low: int) -> int:
        high = min(low + CHUNK, len(draws))
        failed[low:high] = batch.run(draws.values[low:high], grid, out, low)
        return high - low

    with ThreadPoolExecutor(max_workers=threads or os.cpu_count() or 1) as pool:
        tasks = [pool.submit(work, low) for low in range(0, len(draws), CHUNK)]
        with progress_bar(len(draws), "runs", progress) as advance:
            for task in as_completed(tasks):
                advance(task.result())
    return out[:, :, : len(draws)], failed


def _in_chunks(
    batch: Batch,
    draws: Draws,
    grid: Grid,
    threads: int | None,
    client: "Client | None",
    store: Store | None,
    progress: bool,
) -> tuple[Any, Whole]:
    """All runs on one grid, chunk by chunk: on a Dask cluster, or to a store, or both."""
    lows = store.missing() if store else list(range(0, len(draws), CHUNK))
    values: Any = store.values if store else np.empty((len(draws), len(grid.times), len(batch.outputs)))
    failed = store.failed if store else np.empty(len(draws), dtype=np.int64)
    done = _on_cluster(batch, draws, grid, lows, client) if client else _in_threads(batch, draws, grid, lows, threads)
    with progress_bar(len(draws), "runs", progress) as advance:
        advance(len(draws) - min(len(lows) * CHUNK, len(draws)))
        for low, (rows, broken) in done:
            if store:
                store.write(low, rows, broken)
            else:
                values[low : low + len(rows)] = rows
            failed[low : low + len(rows)] = broken
            advance(len(rows))
    return values, failed


def carry_out(batch: Batch, draws: Floats, grid: Grid) -> tuple[Floats, Whole]:
    """One chunk of runs, wherever it is done: values of shape (n_runs, n_times, n_outputs), and which failed."""
    out, failed = batch.rows(draws, grid)
    return np.ascontiguousarray(out.transpose(2, 0, 1)), failed


def _in_threads(
    batch: Batch, draws: Draws, grid: Grid, lows: Sequence[int], threads: int | None
) -> Iterator[tuple[int, tuple[Floats, Whole]]]:
    """Chunks by threads of this process, only a few at a time so that memory stays small."""
    workers = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(max_workers=workers) as pool:
        pending: dict[Future[tuple[Floats, Whole]], int] = {}
        for low in lows:
            pending[pool.submit(carry_out, batch, draws.values[low : low + CHUNK], grid)] = low
            if len(pending) > workers:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), future.result()
        for future in as_completed(list(pending)):
            yield pending[future], future.result()


def _on_cluster(
    batch: Batch, draws: Draws, grid: Grid, lows: Sequence[int], client: "Client"
) -> Iterator[tuple[int, tuple[Floats, Whole]]]:
    """Chunks by the workers of a Dask cluster, which does a lost worker's chunks again elsewhere."""
    from dask import distributed

    completed: Any = distributed.as_completed
    scatter: Any = client.scatter
    shared = scatter(batch, broadcast=True)
    futures = {
        client.submit(carry_out, shared, draws.values[low : low + CHUNK], grid, pure=False, retries=3): low
        for low in lows
    }
    for future, result in completed(list(futures), with_results=True):
        yield futures.pop(future), result


def _look_into(
    batch: Batch, draws: Draws, grid: Grid, failed: Whole, values: Floats
) -> tuple[tuple[Failure, ...], Any, tuple[str, ...]]:
    """Solve the runs that failed side by side once more, alone: some can be done, the others say why not."""
    ok, failures, mended = failed < 0, [], 0
    for draw in map(int, np.flatnonzero(~ok)[:TOLD]):
        scenario = batch.scenario.with_changes(changes_of(batch.names, draws.values[draw]))
        try:
            run = simulate(batch.model, scenario, horizon=batch.horizon, save=grid.times.tolist())
            values[draw] = np.column_stack([run[name] for name in batch.outputs])
            ok[draw], mended = True, mended + 1
        except SimulationError as error:
            failures.append(Failure(draw, *_when(batch, grid, int(failed[draw]), str(error))))
    for draw in map(int, np.flatnonzero(~ok)):
        row = int(np.searchsorted(grid.times, grid.time_of_part(int(failed[draw]))))
        values[draw, row:] = np.nan
    untold = np.flatnonzero(~ok)[len(failures) :]
    failures += [Failure(int(draw), grid.time_of_part(int(failed[draw])), "", "the run blew up") for draw in untold]
    notes = (f"{mended} run(s) failed side by side and were solved one by one",) if mended else ()
    return tuple(failures), ok, notes


def _when(batch: Batch, grid: Grid, part: int, text: str) -> tuple[float, str, str]:
    return grid.time_of_part(part), _stock_in(batch, text), text


def _stock_in(batch: Batch, text: str) -> str:
    """The last of the stocks that an error names, or nothing."""
    return next((name for name in reversed(batch.model.stocks) if f"'{name}'" in text), "")


def _one_by_one(
    batch: Batch, draws: Draws, path: Path, solver: Solver | None, progress: bool
) -> tuple[Floats, tuple[Failure, ...], Any]:
    """Each run by the adaptive solver."""
    values = np.full((len(draws), len(path.times), len(batch.outputs)), np.nan)
    ok, failures = np.ones(len(draws), dtype=bool), []
    chosen = solver if isinstance(solver, Adaptive) else Adaptive()
    with progress_bar(len(draws), "runs", progress) as advance:
        for draw, row in enumerate(draws.values):
            scenario = batch.scenario.with_changes(changes_of(batch.names, row))
            try:
                run = simulate(
                    batch.model, scenario, horizon=batch.horizon, save=path.times, solver=chosen, backend="numba"
                )
                values[draw] = np.column_stack([run[name] for name in batch.outputs])
            except SimulationError as error:
                ok[draw] = False
                failures.append(Failure(draw, float("nan"), _stock_in(batch, str(error)), str(error)))
            advance(1)
    return values, tuple(failures), ok


def _lost(failures: tuple[Failure, ...], ok: Any) -> tuple[str, ...]:
    if not failures:
        return ()
    return (f"{len(failures)} of {len(ok)} runs failed, the first with: {failures[0].text}",)


def provenance(batch: Batch, draws: Draws, path: Path, solver: Solver | None, rtol: float) -> dict[str, object]:
    """All that is needed to repeat a sweep."""
    from sd_cluster.version import __version__

    return {
        "model": batch.model.name,
        "digest": batch.model.digest,
        "scenario": {"name": batch.scenario.name, "changes": plain_changes(batch.scenario.changes)},
        "draws": {"names": list(draws.names), "method": draws.method, "seed": draws.seed, "count": len(draws)},
        "solver": {"name": type(solver).__name__, **asdict(solver)} if solver else {"rtol": rtol},
        "steps": path.grid.total_steps if path.grid else None,
        "error": path.error,
        "horizon": asdict(batch.horizon),
        "versions": {"sd_cluster": __version__, "numpy": np.__version__},
    }
