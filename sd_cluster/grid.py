"""The common path of many runs through time: parts between saved rows and switches, each cut into equal steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sd_cluster.kernel import Floats
from sd_cluster.model import Horizon
from sd_cluster.solvers import Euler, RungeKutta4

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grid:
    """Parts of the horizon, in order.

    Attributes
    ----------
    starts, steps : shape (n_parts,)
        Where each part begins, and its step.
    counts : shape (n_parts,)
        Steps in each part; the first part has none and only saves the start.
    ticks : shape (n_parts,)
        The moment at which switches are judged, or NaN where each step judges them at its own start.
    saves : shape (n_parts,)
        Row that is saved at the end of the part, or -1.
    times : shape (n_times,)
        Times of the saved rows.
    method
        1 for Euler's steps, 4 for Runge-Kutta's.
    half_step
        What switches look ahead: half a step where each step judges them.
    first_tick
        The moment at which switches are judged for the initial values.
    """

    starts: Floats
    steps: Floats
    counts: Whole
    ticks: Floats
    saves: Whole
    times: Floats
    method: int
    half_step: float
    first_tick: float

    @property
    def total_steps(self) -> int:
        """Steps of one run."""
        return int(self.counts.sum())

    def time_of_part(self, part: int) -> float:
        """When a part ends."""
        return float(self.starts[part] + self.counts[part] * self.steps[part])


def step_grid(horizon: Horizon, times: Sequence[float], solver: Euler | RungeKutta4, rows: Whole) -> Grid:
    """The grid of a fixed-step solver, which judges switches step by step as Vensim does.

    Parameters
    ----------
    horizon
        Its step is the solver's.
    times : increasing, shape (n_times,)
        Times to save.
    solver
    rows : shape (n_times,)
        Numbers of the steps at which these times lie.
    """
    step, before = horizon.step, np.concatenate([[0], rows[:-1]])
    starts = horizon.start + before * step
    return Grid(
        starts=starts,
        steps=np.full(len(rows), step),
        counts=(rows - before).astype(np.int64),
        ticks=np.full(len(rows), np.nan),
        saves=np.arange(len(rows), dtype=np.int64),
        times=np.array(times, dtype=float),
        method=1 if isinstance(solver, Euler) else 4,
        half_step=step / 2.0,
        first_tick=horizon.start,
    )


def smooth_grid(start: float, times: Sequence[float], switches: Sequence[float], longest: float) -> Grid:
    """A grid for continuous time: no step crosses a switching time or a saved row, none is longer than `longest`."""
    end = times[-1]
    stops = sorted({start, *times, *(switch for switch in switches if start < switch < end)})
    stops = [
        stop for number, stop in enumerate(stops) if number == 0 or stop - stops[number - 1] > 1e-9 * (end - start)
    ]
    edges = np.array(stops)
    spans = np.diff(edges, prepend=edges[0])
    counts = np.ceil(spans / longest - 1e-9).astype(np.int64)
    row_of = {time: row for row, time in enumerate(times)}
    limits = [start, *sorted(switch for switch in switches if start < switch < end), end + longest]
    inside = np.searchsorted(limits, edges - 0.5 * np.maximum(spans, 0.0), side="right") - 1
    middles = np.array([0.5 * (limits[k] + limits[k + 1]) for k in np.clip(inside, 0, len(limits) - 2)])
    return Grid(
        starts=edges - spans,
        steps=np.divide(spans, counts, out=np.ones_like(spans), where=counts > 0),
        counts=counts,
        ticks=middles,
        saves=np.array([row_of.get(stop, -1) for stop in stops], dtype=np.int64),
        times=np.array(times, dtype=float),
        method=4,
        half_step=0.0,
        first_tick=float(middles[0]),
    )
