"""Solvers, as choices: how a run moves through time."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sd_cluster.errors import ScenarioError


@dataclass(frozen=True)
class Euler:
    """Euler's method with a fixed step: replays what Vensim's and PySD's Euler compute.

    Attributes
    ----------
    step
        Length of a step, in the model's unit of time; the model's own TIME STEP where not given.
    """

    step: float | None = None

    def __post_init__(self) -> None:
        _check_step(self.step)


@dataclass(frozen=True)
class RungeKutta4:
    """The classical Runge-Kutta method of fourth order with a fixed step.

    Inputs that switch (STEP, PULSE, conditions on Time) are held within a step, so that the order stays four where
    switching times fall on steps.

    Attributes
    ----------
    step
        Length of a step, in the model's unit of time; the model's own TIME STEP where not given.
    """

    step: float | None = None

    def __post_init__(self) -> None:
        _check_step(self.step)


@dataclass(frozen=True)
class Adaptive:
    """Integration in continuous time by SciPy's `solve_ivp`, piece by piece between switching times.

    Attributes
    ----------
    rtol, atol
        Relative and absolute error allowed in each step.
    method
        `LSODA` switches between stiff and non-stiff formulas by itself (Petzold 1983, doi 10.1137/0904010);
        also `RK45`, `DOP853`, `RK23`, `Radau`, `BDF`. The stiff ones get the exact Jacobian.
    locate
        Whether to find the moments at which conditions on the state turn (`IF THEN ELSE(stock > limit, ...)`) and to
        stop there, as at times that are known before. It takes some more work; without it the solver steps over them
        with shorter steps, which the run's notes say.
    """

    rtol: float = 1e-8
    atol: float = 1e-10
    method: Literal["LSODA", "RK45", "DOP853", "RK23", "Radau", "BDF"] = "LSODA"
    locate: bool = False

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not (math.isfinite(value) and value > 0):
                raise ScenarioError(f"the solver's {name} is {value}; it should be above zero, such as 1e-8")
        methods = ("LSODA", "RK45", "DOP853", "RK23", "Radau", "BDF")
        if self.method not in methods:
            raise ScenarioError(f"no method '{self.method}'; SciPy's solve_ivp offers {', '.join(methods)}")


Solver: TypeAlias = Euler | RungeKutta4 | Adaptive


def _check_step(step: float | None) -> None:
    if step is not None and not (math.isfinite(step) and step > 0):
        raise ScenarioError(f"the solver's step is {step}; it should be above zero")
