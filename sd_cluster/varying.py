"""Runs whose step, end or saving time is an equation that varies: Euler's method, one step at a time."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sd_cluster.errors import SimulationError
from sd_cluster.kernel import Floats, Kernel, begin, blame, blame_rows, settle_constants
from sd_cluster.model import Horizon, key

MOST_STEPS = 200_000
"""Steps after which a run whose end keeps moving away is given up."""


def march(kernel: Kernel, p: Any, horizon: Horizon, moving: Mapping[str, str]) -> tuple[list[float], Floats]:
    """Take Euler's steps, and ask before each what the control variables are now.

    Parameters
    ----------
    kernel
        Compiled for plain Python.
    p
        Its vector of inputs.
    horizon
        The controls at the start.
    moving
        For each control variable that varies, the variable with its equation.

    Returns
    -------
    times, rows
        Saved times, and values of shape (n_times, n_names).

    Raises
    ------
    SimulationError
        If the step is not above zero, the run cannot go on, or its end is never reached.
    """
    slots = {key(name): slot for name, slot in kernel.slots.items()}
    t, end, step, every = horizon.start, horizon.end, horizon.step, horizon.save_every
    y = kernel.array(len(kernel.stocks))
    p[kernel.half_step] = step / 2.0
    settle_constants(kernel, t, p)
    begin(kernel, t, t, p, y)
    times: list[float] = []
    rows: list[Floats] = []
    for _ in range(MOST_STEPS):
        before = (end, step, every)
        now = _controls(kernel, t, y, p, moving)
        end, step, every = (now.get(name, old) for name, old in zip(("final", "step", "save"), before, strict=True))
        if not (math.isfinite(step) and step > 0.0):
            raise SimulationError(f"{kernel.model.name}: at time {t:g} TIME STEP is {step:g}; it should be above zero")
        for name, value in (("final_time", end), ("time_step", step), ("saveper", every)):
            p[slots[name]] = value
        p[kernel.half_step] = step / 2.0
        settle_constants(kernel, t, p)
        done = t >= end - 1e-6 * step
        past = (t - horizon.start) / every if every > step else 0.0
        if done or abs(past - round(past)) < 1e-6 * max(1.0, past):
            row = kernel.array(len(kernel.names))
            kernel.outputs(t, t, y, p, row)
            if error := blame_rows(kernel, [t], np.array([row])):
                raise error
            times.append(t)
            rows.append(np.array(row))
        if done:
            return times, np.array(rows)
        _step(kernel, t, step, y, p)
        t = t + step
    raise SimulationError(
        f"{kernel.model.name}: FINAL TIME is not reached after {MOST_STEPS} steps; check its equation"
    )


def _controls(kernel: Kernel, t: float, y: Any, p: Any, moving: Mapping[str, str]) -> dict[str, float]:
    """What the varying control variables are at a moment."""
    names = {"FINAL TIME": "final", "TIME STEP": "step", "SAVEPER": "save"}
    wanted = {variable: names[control] for control, variable in moving.items() if control in names}
    found: dict[str, float] = {}
    steps = kernel.trace(t, t, y, p)
    for name in steps:
        value = next(steps)
        if name in wanted:
            found[wanted[name]] = float(value)
    return found


def _step(kernel: Kernel, t: float, step: float, y: Any, p: Any) -> None:
    """One step of Euler's method from a time on."""
    count = len(y)
    none: Any = []
    try:
        failed = kernel.euler(t, step, 0, 1, none, 0, y, p, kernel.array(count), kernel.array(2 * count + 1), none)
    except (ArithmeticError, ValueError):
        failed = 0
    if failed >= 0:
        raise blame(kernel, t, t, y, p)
