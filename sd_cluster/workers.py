"""Runs shared out among threads, or among the workers of a cluster, and put together again.

The numbers depend neither on how many workers there are nor on how the runs are cut into tasks.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sd_cluster.batch import Batch, changes_of, padded
from sd_cluster.errors import SimulationError
from sd_cluster.grid import Grid, Whole
from sd_cluster.kernel import Backend, Floats
from sd_cluster.lanes import WIDTH
from sd_cluster.progress import progress_bar
from sd_cluster.simulation import simulate
from sd_cluster.solvers import Adaptive, Solver
from sd_cluster.store import Store

if TYPE_CHECKING:
    from dask.distributed import Client

CHUNK = 2048
"""Most runs of one task: fine enough for a progress bar, coarse enough to be quick."""

CHUNK_ALONE = 64
"""Runs of one task where each is solved by itself, a hundred times as slow."""

LEAST = 4 * WIDTH
"""Fewest runs of one task."""

TASKS = 8
"""Tasks that each worker should have at least, so that all end at about the same time."""


@dataclass(frozen=True)
class Alone:
    """Each run on its own path, by a solver that chooses its steps, or by any where arrays are kept whole."""

    times: tuple[float, ...]
    solver: Solver
    backend: Backend = "numba"


def task_size(path: Grid | Alone, runs: int, workers: int) -> int:
    """Runs of one task, whole blocks of lanes.

    Examples
    --------
    Two threads get sixteen tasks out of 4,096 runs:

    >>> from sd_cluster.grid import smooth_grid
    >>> task_size(smooth_grid(0.0, [1.0], [], 0.5), 4096, 2)
    256
    """
    if isinstance(path, Alone):
        return min(max(runs // (TASKS * workers), 1), CHUNK_ALONE)
    return min(max(padded(-(-runs // (TASKS * workers))), LEAST), CHUNK)


def threads_of(asked: int | None) -> int:
    """How many threads: one for each processor that this process may use, where not asked for."""
    if asked:
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    batch: Batch, values: Floats, grid: Grid, threads: int | None, progress: bool = False
) -> tuple[Floats, Whole]:
    """All runs on one grid, in threads; shape (n_times, n_outputs, n_runs), and the part in which each failed."""
    runs, workers = len(values), threads_of(threads)
    out = np.empty((len(grid.times), len(batch.outputs), padded(runs)))
    failed = np.empty(runs, dtype=np.int64)
    size = task_size(grid, runs, workers)
    batch.lanes(grid.method)  # compiled once, not by each thread

    def work(low: int) -> int:
        high = min(low + size, runs)
        failed[low:high] = batch.run(values[low:high], grid, out, low)
        for draw in map(int, np.flatnonzero(failed[low:high] >= 0)):
            out[_first_lost(grid, failed[low + draw]) :, :, low + draw] = np.nan
        return high - low

    lows = range(0, runs, size)
    with progress_bar(runs, "runs", progress) as advance:
        if workers == 1 or len(lows) == 1:
            for low in lows:
                advance(work(low))
        else:
            with ThreadPoolExecutor(max_workers=workers) as pool:
                for task in as_completed([pool.submit(work, low) for low in lows]):
                    advance(task.result())
    return out[:, :, :runs], failed


def in_tasks(
    batch: Batch,
    draws: Floats,
    path: Grid | Alone,
    threads: int | None,
    client: "Client | None",
    store: Store | None,
    progress: bool,
) -> tuple[Any, Whole]:
    """All runs, task by task: by the workers of a cluster or by threads, to a store or into memory.

    Returns
    -------
    values : shape (n_runs, n_times, n_outputs)
    failed : shape (n_runs,)
        Part of the grid in which a run failed, or -1.
    """
    runs = len(draws)
    cluster: Any = client
    workers = sum(cluster.nthreads().values()) if client else threads_of(threads)
    size = store.chunk if store else task_size(path, runs, max(workers, 1))
    lows = store.missing() if store else list(range(0, runs, size))
    values: Any = store.values if store else np.empty((runs, len(path.times), len(batch.outputs)))
    failed = store.failed if store else np.empty(runs, dtype=np.int64)
    if client:
        done = _on_cluster(batch, draws, path, lows, size, client)
    else:  # SciPy's solvers do not let other threads run
        alone = isinstance(path, Alone) and isinstance(path.solver, Adaptive)
        done = _in_threads(batch, draws, path, lows, size, 1 if alone else workers)
    with progress_bar(runs, "runs", progress) as advance:
        advance(runs - sum(min(size, runs - low) for low in lows))
        for low, (rows, broken) in done:
            if store:
                store.write(low, rows, broken)
            else:
                values[low : low + len(rows)] = rows
            failed[low : low + len(rows)] = broken
            advance(len(rows))
    return values, failed


def carry_out(batch: Batch, draws: Floats, path: Grid | Alone) -> tuple[Floats, Whole]:
    """One task, wherever it is done: values of shape (n_runs, n_times, n_outputs), and which failed."""
    if isinstance(path, Alone):
        return _one_by_one(batch, draws, path)
    out, failed = batch.rows(draws, path)
    for draw in map(int, np.flatnonzero(failed >= 0)):
        out[_first_lost(path, failed[draw]) :, :, draw] = np.nan
    return np.ascontiguousarray(out.transpose(2, 0, 1)), failed


def _first_lost(grid: Grid, part: int) -> int:
    """The first saved row that a run which failed in a part of the grid does not have."""
    return int(np.searchsorted(grid.times, grid.time_of_part(int(part))))


def _one_by_one(batch: Batch, draws: Floats, path: Alone) -> tuple[Floats, Whole]:
    values = np.full((len(draws), len(path.times), len(batch.outputs)), np.nan)
    failed = np.full(len(draws), -1, dtype=np.int64)
    for draw, row in enumerate(draws):
        try:
            values[draw] = run_alone(batch, row, path)
        except SimulationError:
            failed[draw] = 0
    return values, failed


def run_alone(batch: Batch, row: Floats, path: Alone) -> Floats:
    """One run by itself, shape (n_times, n_outputs).

    Raises
    ------
    SimulationError
        If it has no solution.
    """
    scenario = batch.scenario.with_changes(changes_of(batch.names, row))
    run = simulate(
        batch.model, scenario, horizon=batch.horizon, save=path.times, solver=path.solver, backend=path.backend
    )
    values: Floats = np.column_stack([run[name] for name in batch.outputs])
    return values


_Done = Iterator[tuple[int, tuple[Floats, Whole]]]


def _in_threads(batch: Batch, draws: Floats, path: Grid | Alone, lows: Sequence[int], size: int, workers: int) -> _Done:
    """Tasks by threads of this process, only a few at a time so that memory stays small."""
    if workers == 1:
        for low in lows:
            yield low, carry_out(batch, draws[low : low + size], path)
        return
    if isinstance(path, Grid):
        batch.lanes(path.method)  # compiled once, not by each thread
    elif lows:
        yield lows[0], carry_out(batch, draws[lows[0] : lows[0] + size], path)
        lows = lows[1:]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        pending: dict[Future[tuple[Floats, Whole]], int] = {}
        for low in lows:
            pending[pool.submit(carry_out, batch, draws[low : low + size], path)] = low
            if len(pending) > workers:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), future.result()
        for future in as_completed(list(pending)):
            yield pending[future], future.result()


def _on_cluster(
    batch: Batch, draws: Floats, path: Grid | Alone, lows: Sequence[int], size: int, client: "Client"
) -> _Done:
    """Tasks by the workers of a Dask cluster, which does a lost worker's tasks again elsewhere."""
    from dask import distributed

    completed: Callable[..., Any] = distributed.as_completed
    scatter: Any = client.scatter
    shared = scatter(batch, broadcast=True)
    futures = {
        client.submit(carry_out, shared, draws[low : low + size], path, pure=False, retries=3): low for low in lows
    }
    for future, result in completed(list(futures), with_results=True):
        yield futures.pop(future), result
