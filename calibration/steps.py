"""Steps of a fixed-step solver around the moments that a measurement asks for, and how wide they may be."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import sd_cluster as sd
from calibration.statistics import Floats
from sd_cluster.errors import SimulationError
from sd_cluster.model import Horizon

WIDEST = 0.25
"""Longest step taken unasked, in units of time."""
EXACT = 1e-5
"""Halving the step moves no value by more than this share of the largest: a thousandth of the noise of good figures."""


class Steps:
    """The steps of the solver on either side of each moment asked for, and the straight line between them.

    Parameters
    ----------
    moments : shape (n_moments,), increasing
        Within the horizon.
    horizon
        Of the run; its step is the solver's.

    Attributes
    ----------
    moments
    times : shape (n_steps,)
        Of the steps needed, increasing.

    Examples
    --------
    >>> steps = Steps(np.array([0.0, 0.75]), Horizon(0.0, 2.0, 0.5, 0.5))
    >>> steps.times, steps.between(np.array([0.0, 5.0, 10.0]))
    (array([0. , 0.5, 1. ]), array([0. , 7.5]))
    """

    def __init__(self, moments: Floats, horizon: Horizon) -> None:
        start, end, step = horizon.start, horizon.end, horizon.step
        self.moments = moments
        position = np.maximum((moments - start) / step, 0.0)
        nearest = np.round(position)
        exact = np.abs(position - nearest) < 1e-6
        left = np.where(exact, nearest, np.floor(position)).astype(np.int64)
        right = np.minimum(left + ~exact, int(np.floor((end - start) / step + 1e-6)))
        rows = np.unique(np.concatenate([left, right]))
        self.times: Floats = np.minimum(start + rows * step, end)
        self._left, self._right = np.searchsorted(rows, left), np.searchsorted(rows, right)
        self._share = np.where(exact, 0.0, position - left)
        self._plain = bool(exact.all()) and len(rows) == len(moments)

    def between(self, rows: Floats) -> Floats:
        """Values at the moments from values at the steps, along the first axis."""
        if self._plain:
            return rows
        share = self._share.reshape(-1, *[1] * (rows.ndim - 1))
        found: Floats = (1.0 - share) * rows[self._left] + share * rows[self._right]
        return found


def widest_step(
    model: "sd.Model", scenario: "sd.Scenario", horizon: Horizon, outputs: Sequence[str], moments: Floats
) -> float:
    """Longest step of the classical Runge-Kutta method that is as good as exact in the model as it stands.

    Twice the model's own step, four times and so on are tried, no longer than `WIDEST`, if all moments lie on them; the
    longest is taken whose values halving it does not move. A fit looks at its best point again.

    Parameters
    ----------
    moments : shape (n_moments,), increasing
        Times at which outputs are looked at.

    Returns
    -------
    step
        At least the model's own.
    """
    own = horizon.step
    doublings = int(np.floor(np.log2(max(WIDEST / own, 1.0)) + 1e-9))
    on = [own * 2.0**k for k in range(doublings + 1) if k == 0 or _on_grid(own * 2.0**k, moments, horizon)]
    if len(on) < 2:
        return own
    values = [values_at(model, scenario, replace(horizon, step=step), outputs, moments) for step in on]
    for step, coarse, fine in reversed(list(zip(on[1:], values[1:], values[:-1], strict=True))):
        if coarse is not None and fine is not None and moved(coarse, fine) <= EXACT:
            return step
    return own


def values_at(
    model: "sd.Model", scenario: "sd.Scenario", horizon: Horizon, outputs: Sequence[str], moments: Floats
) -> Floats | None:
    """Outputs at some moments of a run in steps, shape (n_moments, n_outputs); None where the run blows up."""
    steps = Steps(moments, horizon)
    runner = sd.Runner(
        model, (), outputs=tuple(outputs), times=steps.times.tolist(), horizon=horizon, scenario=scenario,
        solver=sd.RungeKutta4(horizon.step),
    )  # fmt: skip
    try:
        return steps.between(runner(np.zeros(0)))
    except SimulationError:
        return None


def moved(coarse: Floats, fine: Floats) -> float:
    """Largest difference over the largest value of each output, both shape (n_moments, n_outputs)."""
    size = np.abs(fine).max(axis=0)
    return float(np.max(np.abs(coarse - fine).max(axis=0) / np.where(size > 0.0, size, 1.0)))


def _on_grid(step: float, moments: Floats, horizon: Horizon) -> bool:
    position = np.append(moments, horizon.end) - horizon.start
    return bool(np.all(np.abs(position / step - np.round(position / step)) < 1e-6))
