"""Carrying out a batch of runs side by side: what threads, processes and other machines are given to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sd_cluster.arrays import parted
from sd_cluster.errors import ModelError, SimulationError
from sd_cluster.grid import Grid, Whole
from sd_cluster.kernel import Floats, Kernel, compile_model, points_of_time, settle_constants
from sd_cluster.lanes import WIDTH, LaneKernel, compile_lanes
from sd_cluster.model import Equation, Horizon, Model
from sd_cluster.moments import controls
from sd_cluster.scenario import Scenario, apply, targets_of


@dataclass(frozen=True, eq=False)
class Batch:
    """What all runs of a sweep have in common; pickles small, compiles where it is used.

    Attributes
    ----------
    model, scenario, horizon
        As in `simulate`.
    names
        Parameters or stocks that differ between runs.
    outputs
        Variables to save.
    """

    model: Model
    scenario: Scenario
    horizon: Horizon
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[type["Batch"], tuple[Any, ...]]:
        return Batch, (self.model, self.scenario, self.horizon, self.names, self.outputs)

    def variable(self, name: str) -> Equation:
        """The variable of an output, or the array that it is an element of where arrays are kept whole."""
        return self.model.variable(parted(name, self.model.arrays)[0] if self.model.whole is not None else name)

    def settled(self) -> tuple[Kernel, tuple[str, ...], Floats]:
        """The model compiled for single runs, the parameters that vary, and the vector of inputs that all runs share.

        Raises
        ------
        ScenarioError, ModelError
            If a name is unknown or computed, or an output has no value of its own.
        SimulationError
            If what depends on the scenario alone cannot be computed.
        """
        if "settled" not in self._kept:
            inputs = apply(self.model, self.scenario.with_changes(dict.fromkeys(self.names, 0.0)))
            columns = targets_of(self.model, self.names)
            varied = tuple(columns)
            for name in self.outputs:
                if self.variable(name).kind == "lookup":
                    raise ModelError(f"'{name}' is a lookup, which has no value of its own")
            values = {**controls(self.model, self.horizon), **inputs.values}
            for name in varied:  # each run brings its own; until then the model's
                values.pop(name, None)
            kernel = compile_model(inputs.model)
            p = kernel.vector(values, inputs.tables)
            settle_constants(kernel, self.horizon.start, p)
            self._kept["columns"] = list(columns.values())
            self._kept["settled"] = kernel, varied, np.array(p, dtype=float)
        found: tuple[Kernel, tuple[str, ...], Floats] = self._kept["settled"]
        return found

    def lanes(self, method: int = 4) -> LaneKernel:
        """The kernel compiled for many runs by a method: 1 Euler, 4 Runge-Kutta."""
        kernel, varied, _ = self.settled()
        return compile_lanes(kernel.model, varied, self.outputs, method)

    @property
    def kernel(self) -> Kernel:
        """The same model compiled for single runs."""
        return self.settled()[0]

    def run(self, draws: Floats, grid: Grid, out: Floats, column: int = 0) -> Whole:
        """Carry out some runs.

        Parameters
        ----------
        draws : shape (n_runs, n_names)
            Values of the parameters.
        grid
            The path through time.
        out : shape (n_times, n_outputs, at least `column` + n_runs rounded up to whole blocks)
            Filled from `column` on.
        column
            Where to begin in `out`.

        Returns
        -------
        failed : shape (n_runs,)
            Part of the grid by whose end a run had blown up, or -1.
        """
        if self.kernel.structure.held:
            return self._one_by_one(draws, grid, out, column)
        lanes, shared = self.lanes(grid.method), self.settled()[2]
        n = len(lanes.kernel.stocks)
        p = shared.copy()
        p[lanes.kernel.half_step] = grid.half_step
        room = np.zeros(lanes.scratch + 8)
        edge = -room.ctypes.data % 64 // 8  # whole cache lines
        scratch = room[edge : edge + lanes.scratch]
        failed = np.zeros(padded(len(draws)), dtype=np.int64)
        table = np.array(draws[:, self._kept["columns"]], dtype=float, order="C")
        path = (grid.first_tick, grid.starts, grid.steps, grid.counts, grid.ticks, grid.saves)
        lanes.march(table, p, lanes.targets, *path, column, np.zeros(n), p.copy(), scratch, failed, out)
        return failed[: len(draws)]

    def _one_by_one(self, draws: Floats, grid: Grid, out: Floats, column: int) -> Whole:
        """Carry out runs whose values are held from step to step, each with memory of its own."""
        kernel, varied, shared = self.settled()
        fast = compile_model(kernel.model, "numba")
        march = fast.euler if grid.method == 1 else fast.rk4
        targets = [fast.slots[name] for name in varied]
        columns = [fast.names.index(name) for name in self.outputs]
        ends = np.cumsum(grid.counts)
        saved = grid.saves >= 0
        rows, n = ends[saved].astype(np.int64), len(fast.stocks)
        failed = np.full(padded(len(draws)), -1, dtype=np.int64)
        start, step = self.horizon.start, self.horizon.step
        for run, draw in enumerate(draws[:, self._kept["columns"]]):
            p, y, before = shared.copy(), np.zeros(n), np.zeros(2 * n + 1)
            p[targets] = draw
            p[fast.half_step] = grid.half_step
            fast.constants(p)
            fast.initial(start, grid.first_tick, p, y)
            room = fast.matrix(len(rows))
            broken = march(start, step, 0, int(rows[-1]), rows, 0, y, p, np.zeros(n), before, room)
            wrong = ~np.isfinite(room[:, columns]).all(axis=1)
            if broken >= 0 or wrong.any():
                first = int(np.searchsorted(ends, broken)) if broken >= 0 else len(ends) - 1
                failed[run] = min(first, int(np.argmax(wrong)) if wrong.any() else first)
            out[:, :, column + run] = room[:, columns]
        return failed[: len(draws)]

    def rows(self, draws: Floats, grid: Grid) -> tuple[Floats, Whole]:
        """Carry out some runs into an array of their own, shape (n_times, n_outputs, n_runs)."""
        out = np.empty((len(grid.times), len(self.outputs), padded(len(draws))))
        failed = self.run(draws, grid, out)
        return out[:, :, : len(draws)], failed


def padded(runs: int) -> int:
    """A number of runs rounded up to whole blocks."""
    return -(-runs // WIDTH) * WIDTH


def switch_times(batch: Batch) -> list[float]:
    """Times inside the horizon at which inputs switch or their tables bend.

    Raises
    ------
    SimulationError
        If a switching time cannot be computed.
    """
    kernel, _, p = batch.settled()
    start, end = batch.horizon.start, batch.horizon.end
    try:
        times = list(kernel.switch_times(p, start, end))
    except (ArithmeticError, ValueError):
        raise SimulationError(
            f"{batch.model.name}: a switching time cannot be computed; check the parameters"
        ) from None
    times += points_of_time(kernel, p)
    return sorted({time for time in times if start < time < end})


def changes_of(names: Sequence[str], row: Floats) -> Mapping[str, float]:
    """One draw as changes to a scenario."""
    return dict(zip(names, map(float, row), strict=True))
