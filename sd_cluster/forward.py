"""Runs with exact sensitivities: outputs of a model and their derivatives by parameters, in one march through time.

The state y and S = dy/dp go forward together, dS/dt = (dF/dy) S + dF/dp, by the classical Runge-Kutta method. As every
operation of a step is differentiated, what comes out is the derivative of the computed run itself: it agrees with
differences of runs at the same step as far as these can tell (Hairer, Norsett and Wanner 1993, "Solving Ordinary
Differential Equations I", section I.14, doi 10.1007/978-3-540-78862-1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sd_cluster import cache, ordering, runtime
from sd_cluster.errors import ModelError, SimulationError
from sd_cluster.jumps import jumps
from sd_cluster.kernel import Floats, aligned_zeros, blame_start, blame_step, compile_model, finite
from sd_cluster.lanes import l_exp, l_ln
from sd_cluster.model import Horizon, Model
from sd_cluster.moments import chosen_horizon, controls, refuse_moving, save_times, steps_of
from sd_cluster.scenario import Scenario, apply
from sd_cluster.solvers import RungeKutta4
from sd_cluster.tangent import TangentPrinter, square

_MARCH = """
def march(start, dt, last, rows, y, p, g, w, dy, before, out, jac):
    n = len(y)
    half = 0.5 * dt
    k = 0
    for i in range(last + 1):
        t = start + i * dt
        before[2 * n] = i
        for j in range(n):
            before[j] = y[j]
        if k < len(rows) and rows[k] == i:
            outputs(t, t, y, p, g, w, k, out, jac)
            k += 1
        if i == last:
            return -1
        ahead = 0.0
        for stage in range(1, 5):
            rates(t + ahead, t, y, p, g, w, dy)
            advance(w, dt, stage)
            ahead = half if stage < 3 else dt
            for j in range(n):
                if stage == 4:
                    y[j] = before[j] + dt * (before[n + j] + dy[j]) / 6.0
                else:
                    before[n + j] = dy[j] if stage == 1 else before[n + j] + 2.0 * dy[j]
                    y[j] = before[j] + ahead * dy[j]
        total = 0.0
        for j in range(n):
            total += y[j]
        limit(y, w)
        if not total - total == 0.0:
            return i
    return -1
"""
"""The loop over fixed steps; `before` keeps the state the last step began with and, last, that step's number."""

_HOLDING = (
    _MARCH.replace("        ahead = 0.0\n", "        hold_rows(t, t, y, p, g, w)\n        ahead = 0.0\n")
    .replace("        total = 0.0\n", "        hold(t, t, before, p)\n        total = 0.0\n")
    .replace("        limit(y, w)\n", "        limit(y, w)\n        take_rows(w)\n")
)
"""The same loop where values are held from step to step: they and their rows turn at its end."""

_VECTOR = "float64[::1]"
_SIGNATURES = {
    "start": f"void(float64, float64, {_VECTOR}, {_VECTOR}, {_VECTOR}, {_VECTOR})",
    "rates": f"void(float64, float64, {', '.join([_VECTOR] * 5)})",
    "advance": f"void({_VECTOR}, float64, int64)",
    "outputs": f"void(float64, float64, {', '.join([_VECTOR] * 4)}, int64, float64[:, ::1], float64[:, :, ::1])",
    "limit": f"void({_VECTOR}, {_VECTOR})",
    "march": f"int64(float64, float64, int64, int64[::1], {', '.join([_VECTOR] * 6)},"
    " float64[:, ::1], float64[:, :, ::1])",
}


_HOLDS = {
    "hold_rows": f"void(float64, float64, {', '.join([_VECTOR] * 4)})",
    "hold": f"void(float64, float64, {_VECTOR}, {_VECTOR})",
    "take_rows": f"void({_VECTOR})",
}


@dataclass(frozen=True, eq=False)
class ForwardKernel:
    """Compiled equations and derivatives.

    Attributes
    ----------
    start
        `start(t, tick, p, y, g, w)` fills constants, stocks, and the derivatives of both.
    march
        Loop over fixed steps; returns -1, or the number of the step that blew up.
    lengths
        Of the vectors `g` and `w`.
    notes
        Sentences on jumps that derivatives do not see.
    pipe_slots, width
        Where in `p` the pipes lie whose contents have derivatives, and how many numbers each place in them needs.
    """

    source: str
    start: Callable[..., Any]
    march: Callable[..., Any]
    lengths: tuple[int, int]
    notes: tuple[str, ...]
    pipe_slots: tuple[int, ...] = ()
    width: int = 0


def compile_forward(model: Model, chosen: Sequence[str], outputs: Sequence[str]) -> ForwardKernel:
    """Compile a model's equations with their derivatives; kept while the model lives, and cached on disk.

    Raises
    ------
    ModelError
        If a chosen parameter enters a switching time; the text names it.
    """
    kept: dict[object, ForwardKernel] = model.__dict__.setdefault("_forward", {})
    asked = (tuple(chosen), tuple(outputs))
    if asked not in kept:
        refuse_moving(model)
        printer = TangentPrinter(model, chosen, outputs)
        found = jumps(printer.structure, printer.chosen, printer.live)
        found.refuse(model.name)
        equations = printer.source_of_all() + (_HOLDING if printer.kept else _MARCH)
        helpers = runtime.called(compiled=True) | {"np": np}
        inlined = {"square": square, "l_exp": l_exp, "l_ln": l_ln}
        together = any(name in equations for name in ordering.SIGNATURES)
        source = f"{ordering.TOGETHER}\n\n{equations}" if together else equations
        signatures = (ordering.SIGNATURES if together else {}) | (_HOLDS if printer.kept else {}) | _SIGNATURES
        inner = signatures.keys() - {"start", "march"}
        functions = cache.compiled(source, helpers, signatures, inlined=inlined, inner=inner)
        lengths = printer.gains, printer.length
        kept[asked] = ForwardKernel(
            source, functions["start"], functions["march"], lengths, found.notes, printer.pipe_slots, printer.width
        )
    return kept[asked]


class ForwardRunner:
    """One model run over and over, with exact derivatives of its outputs: what fits by gradients call.

    Compiled once, with numba. Steps are those of `RungeKutta4`; derivatives are those of the computed run. Lookups take
    the slope to the right of a point, conditions and switches are held: where a run crosses a jump, the derivative
    leaves out what the jump adds (`notes` say where that may be).

    Parameters
    ----------
    model
    names
        Parameters or stocks (their initial values) to differentiate by, in the order of the vector.
    outputs
        Variables to return.
    times : increasing, shape (n_times,)
        When to return them; each should fall on a step.
    horizon, scenario
        As in `simulate`.
    step
        Length of a step; the model's own where not given.

    Attributes
    ----------
    notes
        Sentences on jumps that derivatives do not see.

    Raises
    ------
    ModelError
        If a name enters a switching time (`STEP(height, start)` with `start` asked), or stands twice.
    ScenarioError
        If names, scenario, horizon or times do not fit the model.

    Examples
    --------
    >>> runner = ForwardRunner(sd.load("collective_learning"), ["initial trust"], outputs=["trust"], times=[1980])
    >>> values, jacobian = runner([0.3])
    >>> values, jacobian
    (array([[0.3]]), array([[[1.]]]))
    """

    def __init__(
        self,
        model: Model,
        names: Sequence[str],
        *,
        outputs: Sequence[str],
        times: Sequence[float],
        horizon: Horizon | tuple[float, float] | None = None,
        scenario: Scenario | None = None,
        step: float | None = None,
    ) -> None:
        self.model, self.names, self.outputs = model, tuple(names), tuple(outputs)
        self.horizon = chosen_horizon(model, horizon, RungeKutta4(step))
        self.times = tuple(save_times(self.horizon, times))
        self.scenario = scenario or Scenario()
        self._settle()

    def _settle(self) -> None:
        self._rows = steps_of(self.times, self.horizon)
        inputs = apply(self.model, self.scenario.with_changes(dict.fromkeys(self.names, 0.0)))
        targets = list(apply(self.model, Scenario("", dict.fromkeys(self.names, 0.0))).values)
        _check_names(self.model, self.names)
        wanted = [self.model.variable(name).name for name in self.outputs]
        self._plain = compile_model(inputs.model)
        for name in wanted:
            if name not in self._plain.names:
                raise ModelError(f"'{name}' is a lookup, which has no value of its own")
        self._kernel = compile_forward(inputs.model, targets, wanted)
        self.notes = self._kernel.notes
        values = {**controls(self.model, self.horizon), **inputs.values}
        self._p = np.array(self._plain.vector(values, inputs.tables))
        self._p[self._plain.half_step] = self.horizon.step / 2.0
        self._slots = np.array([self._plain.slots[name] for name in targets], dtype=np.intp)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in {"_kernel", "_plain", "_p"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._settle()

    def __call__(self, vector: Sequence[float] | Floats) -> tuple[Floats, Floats]:
        """Run once.

        Parameters
        ----------
        vector : shape (n_names,)

        Returns
        -------
        values : shape (n_times, n_outputs)
        jacobian : shape (n_times, n_outputs, n_names)
            Derivatives, each in the output's unit per unit of the parameter.

        Raises
        ------
        ModelError
            If there are not as many numbers as names.
        SimulationError
            If the run blows up, or a derivative has no finite value; the text names the time and the variable.
        """
        kernel, p = self._kernel, self._p.copy()
        if len(vector) != len(self.names):
            raise ModelError(f"{len(vector)} numbers were given for {len(self.names)} names; give one for each")
        p[self._slots] = vector
        n = len(self._plain.stocks)
        y, dy, before = np.zeros(n), np.empty(n), np.zeros(2 * n + 1)
        piped = sum(int(p[int(p[slot])]) for slot in kernel.pipe_slots) * kernel.width
        g, w = np.zeros(kernel.lengths[0]), aligned_zeros(kernel.lengths[1] + piped)
        out = np.empty((len(self._rows), len(self.outputs)))
        jac = np.empty((len(self._rows), len(self.outputs), len(self.names)))
        start, step = self.horizon.start, self.horizon.step
        kernel.start(start, start, p, y, g, w)
        if not (finite(p) and finite(y)):
            raise blame_start(self._plain, start, start, p.tolist())
        last = int(self._rows[-1]) if len(self._rows) else 0
        failed = kernel.march(start, step, last, self._rows, y, p, g, w, dy, before, out, jac)
        if failed >= 0:
            raise blame_step(self._plain, start, step, before.tolist(), y.tolist(), p.tolist())
        if not (finite(jac) and finite(out)):
            raise self._blame_row(out, jac)
        return out, jac

    def _blame_row(self, out: Floats, jac: Floats) -> SimulationError:
        """The error for saved values or derivatives that are not finite."""
        unit = self.model.horizon.unit or "time"
        for values, what in ((out, ""), (jac, "the derivative of ")):
            bad = np.argwhere(~np.isfinite(values))
            if len(bad):
                row, column, *rest = (int(place) for place in bad[0])
                by = f" by '{self.names[rest[0]]}'" if rest else ""
                advice = (
                    "a root or power of what is empty has no slope; start it above zero, or take differences"
                    if rest
                    else "check the parameters it reads"
                )
                return SimulationError(
                    f"{self.model.name}: at {unit} {self.times[row]:g} {what}'{self.outputs[column]}'{by}"
                    f" has no finite value; {advice}",
                    time=self.times[row],
                    variable=self.outputs[column],
                )
        raise AssertionError("all values are finite")


def _check_names(model: Model, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        its = model.variable(name).name
        if its in seen:
            raise ModelError(f"'{its}' stands twice among the names to differentiate by; name it once")
        seen.add(its)
