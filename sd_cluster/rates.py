"""Net flows as SciPy's solvers call them."""

import math
from contextlib import suppress
from typing import Any

import numpy as np

from sd_cluster.errors import NoDerivativeError, SimulationError
from sd_cluster.kernel import Floats, Kernel, blame, compile_jacobian

_PATIENCE = 2_000
"""Calls at one moment after which a solver is taken to stand still; LSODA would go on for ever."""

_STANDING = 1e-12
"""Share of the time below which a step forward is none."""


class Rates:
    """Net flows over one stretch without switches.

    Attributes
    ----------
    reached, latest, state
        The latest time at which the flows were finite, the flows and the stocks there.
    failure
        Why they are not finite where they were last asked for; nothing if they are.
    """

    def __init__(self, kernel: Kernel, p: Any, tick: float, last: float, *, strict: bool = True) -> None:
        self.kernel, self.p, self.tick, self.last, self.strict = kernel, p, tick, last, strict
        self.plain = kernel.backend == "python"
        self.reached, self.latest, self.state = -math.inf, np.zeros(len(kernel.stocks)), np.zeros(len(kernel.stocks))
        self.standing = 0
        self.failure: SimulationError | None = None

    def __call__(self, t: float, y: Floats) -> Any:
        """Flows at a time and stocks, shape (n_stocks,); NaN or a `SimulationError` where they are not finite."""
        state: Any = y.tolist() if self.plain else y
        dy = self.kernel.array(len(y))
        t = min(t, self.last)
        try:
            total = self.kernel.rates(t, self.tick, state, self.p, dy)
        except (ArithmeticError, ValueError):
            total = math.nan
        if total - total != 0.0:
            self.failure = blame(self.kernel, t, self.tick, y.tolist(), self.p)
            if self.strict or self.reached == -math.inf:
                raise self.failure
            return np.full(len(y), math.nan)  # a trial that went too far: the solver takes a shorter one
        if t > self.reached:
            self.standing = self.standing + 1 if t - self.reached < _STANDING * max(1.0, abs(t)) else 0
            self.reached, self.latest, self.state, self.failure = t, np.array(dy), np.array(y), None
        else:
            self.standing += 1
        if self.strict and self.standing > _PATIENCE:
            raise ArithmeticError("the solver no longer moves on")
        return dy

    def jacobian(self, t: float, y: Floats) -> Floats:
        """Exact Jacobian, shape (n_stocks, n_stocks), derived when first asked for; differences at a singular point.

        Such a point is the square root of an empty stock: its flow is finite, the slope of it is not.
        """
        with suppress(ArithmeticError, ValueError, NoDerivativeError):
            matrix: Floats = compile_jacobian(self.kernel.model)(min(t, self.last), self.tick, y.tolist(), self.p)
            if np.isfinite(matrix).all():
                return matrix
        steps = 1e-8 * np.maximum(1.0, np.abs(y))
        here = np.array(self(t, y))
        slopes = [(np.array(self(t, y + step)) - here) / step.sum() for step in np.diag(steps)]
        matrix = np.nan_to_num(np.stack(slopes, axis=1), posinf=0.0, neginf=0.0)
        return matrix
