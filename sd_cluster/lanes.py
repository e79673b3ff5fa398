"""Many runs side by side: the equations printed as loops over lanes, which the compiler turns into vector code.

A block of `WIDTH` runs shares one flat scratch buffer with constant offsets (structure of arrays), so that loads and
stores are contiguous and cannot overlap. Exponentials, logarithms and powers are written out as range reduction and
polynomial, since a call of the mathematics library would keep a loop scalar. What does not change during a run is
worked out once per run and kept, also the parts of equations that depend on parameters alone; what is the same in all
runs is worked out once for all lanes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sd_cluster import cache, runtime, vectors
from sd_cluster.expressions import (
    COMPARISONS,
    LOGIC,
    TIME,
    VARYING,
    Call,
    Expression,
    Lookup,
    Name,
    Number,
    Operation,
    references,
    walk,
)
from sd_cluster.kernel import Kernel, compile_model
from sd_cluster.model import Model, Stock, Table
from sd_cluster.printing import Printer
from sd_cluster.structure import timing

WIDTH = 32
"""Runs in one block: four vectors of eight doubles."""

LONGEST_TABLE = 24
"""Points up to which a lookup is written out as a sum of kinks."""


def l_exp(x: Any) -> Any:
    """Exponential, level beyond what a double holds.

    Adding a large number rounds to whole powers of two and leaves that power in the last bits; the rest is within
    half of ln 2 and goes through a polynomial (Remez, relative error 2e-16).
    """
    c = -708.0 if x <= -708.0 else x
    c = 709.0 if c >= 709.0 else c
    t = c * 1.4426950408889634 + 6755399441055744.0
    n = t - 6755399441055744.0
    r = c - n * 6.93147180369123816490e-01
    r = r - n * 1.90821492927058770002e-10
    q = r * 2.748843242522173e-07 + 2.763978461400876e-06
    q = q * r + 2.480191781217471e-05
    q = q * r + 0.00019841171345220726
    q = q * r + 0.0013888888498912756
    q = q * r + 0.008333333384696242
    q = q * r + 0.04166666666842739
    q = q * r + 0.16666666666557656
    q = q * r + 0.49999999999997286
    q = q * r + 1.0000000000000064
    q = q * r + 1.0
    return np.int64(np.float64(q).view(np.int64) + (np.float64(t).view(np.int64) << 52)).view(np.float64)


def l_ln(x: Any) -> Any:
    """Natural logarithm; minus infinity at zero, not a number below.

    Range reduction to [sqrt(1/2), sqrt(2)) and the polynomial of the freely distributable mathematics library
    (Sun Microsystems 1993, e_log.c), relative error below 2**-58.
    """
    i = np.float64(x).view(np.int64) - np.int64(0x3FE6A09E667F3BCD)
    e = np.float64(i >> 52)
    m = np.int64((i & np.int64(0xFFFFFFFFFFFFF)) + np.int64(0x3FE6A09E667F3BCD)).view(np.float64)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    q = z * 1.479819860511658591e-01 + 1.531383769920937332e-01
    q = q * z + 1.818357216161805012e-01
    q = q * z + 2.222219843214978396e-01
    q = q * z + 2.857142874366239149e-01
    q = q * z + 3.999999999940941908e-01
    q = q * z + 6.666666666666735130e-01
    v = e * 1.90821492927058770002e-10 + (s * 2.0 + s * z * q) + e * 6.93147180369123816490e-01
    return v if x >= 2.2250738585072014e-308 else (-np.inf if x >= 0.0 else np.nan)


def l_above(x: float) -> float:
    """The part of a number above zero."""
    return 0.0 if x <= 0.0 else x


def l_square(x: float) -> float:
    """Second power."""
    return x * x


def l_cube(x: float) -> float:
    """Third power."""
    return x * x * x


class LanePrinter(Printer):
    """Prints the equations of a model for runs that differ in some parameters.

    Parameters
    ----------
    model
    varied
        Parameters that differ between runs.
    outputs
        Variables to save.
    """

    def __init__(self, model: Model, varied: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__(model)
        self.varied, self.outputs = tuple(varied), tuple(outputs)
        settled = self.structure
        own = set(varied) | set(settled.frozen)
        for name in settled.constant:
            if own & set(references(self._running(name))):
                own.add(name)
        self.lane_constants = own
        self.common = self._common()
        self.kept: dict[Expression, int] = {}
        self.loads: dict[str, str] = {}
        self.inside = False
        n = len(settled.stocks)
        self.state, self.stage, self.total, self.rows = (k * n * WIDTH for k in range(4))
        self.keep = self.rows + len(self.outputs) * WIDTH

    def _common(self) -> set[str]:
        """Moving auxiliaries that depend on time alone: the same in all lanes."""
        settled, found = self.structure, set()
        for name in settled.moving:
            reads = set(references(self._running(name))) - {TIME}
            stays = not reads & (self.lane_constants | set(settled.stocks))
            if stays and all(read in found for read in reads if read in self.locals):
                found.add(name)
        return found

    def lane_source(self, method: int) -> str:
        """Source of `lane_stage` for a method (1 Euler, 4 Runge-Kutta), `lane_outputs` and `prepare`."""
        settled = self.structure
        stocks = [settled.equations[name] for name in settled.stocks]
        rates = [stock.rate for stock in stocks if isinstance(stock, Stock)]
        step = self._euler if method == 1 else self._runge_kutta
        steps = [line for slot in range(len(rates)) for line in step(slot)]
        marching = self._lanes(f"lane_stage(w, p, t, tick, {_WEIGHTS[method]})", rates, steps)
        stores = [f"w[{self.rows + column * WIDTH} + l] = d{column}" for column in range(len(self.outputs))]
        outputs = self._lanes("lane_outputs(w, p, t, tick)", [Name(name) for name in self.outputs], stores)
        return "\n\n".join([marching, outputs, self._prepare()]) + "\n"

    def _euler(self, slot: int) -> list[str]:
        """One stock's part of an Euler step."""
        return [f"w[{self.stage + slot * WIDTH} + l] += here * d{slot}"]

    def _runge_kutta(self, slot: int) -> list[str]:
        """One stock's part of a Runge-Kutta stage: weigh the flow in, set the next stage."""
        state, stage, total = (f"w[{at + slot * WIDTH} + l]" for at in (self.state, self.stage, self.total))
        return [
            f"s = keep * {total} + add * d{slot}",
            f"{total} = s",
            f"{stage} = {state} + here * d{slot} + whole * s",
        ]

    def _lanes(self, head: str, targets: Sequence[Expression], after: Sequence[str]) -> str:
        """One function: what is common once, then a loop over lanes that works out `d0, d1, ...` and uses them."""
        wanted = self._upstream(targets)
        self.loads = {}
        ordered = [name for name in self.structure.moving if name in wanted]
        before = [self._defined(name) for name in ordered if name in self.common]
        self.inside = True
        body = [self._defined(name) for name in ordered if name not in self.common]
        body += [f"d{place} = {self.number(expression)}" for place, expression in enumerate(targets)]
        self.inside = False
        body += after
        loads = [f"{local} = {source}" for local, source in self.loads.items() if source.endswith("+ l]")]
        scalars = [f"{local} = {source}" for local, source in self.loads.items() if not source.endswith("+ l]")]
        loop = [f"for l in range({WIDTH}):", *(f"    {line}" for line in [*loads, *body])] if body else []
        return self._function(head, [*scalars, *before, *loop])

    def _defined(self, name: str) -> str:
        return f"{self.locals[name]} = {self.number(self._running(name))}"

    def _prepare(self) -> str:
        """Source of `prepare(w, l, p, y)`: one lane's stocks and constants, from its own full vector."""
        lines = [f"w[{self.state + slot * WIDTH} + l] = y[{slot}]" for slot in range(len(self.structure.stocks))]
        lines += [f"w[{self.stage + slot * WIDTH} + l] = y[{slot}]" for slot in range(len(self.structure.stocks))]
        for expression, place in self.kept.items():
            lines.append(f"w[{self.keep + place * WIDTH} + l] = {super().number(expression)}")
        for slot in range(len(self.structure.stocks)):
            lines.append(f"w[{self.total + slot * WIDTH} + l] = 0.0")
        return self._function("prepare(w, l, p, y)", lines, clock=False)

    def lane_limits(self) -> str:
        """Source of `lane_limit(w)`: stocks that may not fall below zero."""
        lines = []
        for slot, name in enumerate(self.structure.stocks):
            stock = self.structure.equations[name]
            if isinstance(stock, Stock) and stock.non_negative:
                at = f"w[{self.stage + slot * WIDTH} + l]"
                lines.append(f"    {at} = max({at}, 0.0)")
        return self._function("lane_limit(w)", [f"for l in range({WIDTH}):", *lines] if lines else [], clock=False)

    def number(self, expression: Expression) -> str:
        """Source that gives the value of an expression; inside a loop, from what each lane has kept."""
        if not self.inside:
            return super().number(expression)
        if not isinstance(expression, Number) and self._lane_constant(expression):
            return self._kept(expression)
        if isinstance(expression, Lookup):
            return self._lane_lookup(expression)
        return super().number(expression)

    def _lane_constant(self, expression: Expression) -> bool:
        """Whether a part of an equation depends on parameters alone, one that varies among them."""
        if any(isinstance(node, Call) and node.function in VARYING for node in walk(expression)):
            return False
        read = references(expression)
        settled = self.structure.equations
        return bool(self.lane_constants & set(read)) and all(
            name in self.slots and name not in self.locals and name in settled for name in read
        )

    def _kept(self, expression: Expression) -> str:
        place = self.kept.setdefault(expression, len(self.kept))
        self.loads[f"c{place}"] = f"w[{self.keep + place * WIDTH} + l]"
        return f"c{place}"

    def _name(self, name: str) -> str:
        if not self.inside:
            return super()._name(name)
        if name in self.stock_slots:
            slot = self.stock_slots[name]
            self.loads[f"y{slot}"] = f"w[{self.stage + slot * WIDTH} + l]"
            return f"y{slot}"
        if name in self.locals or name == TIME:
            return super()._name(name)
        self.loads[f"p{self.slots[name]}"] = f"p[{self.slots[name]}]"
        return f"p{self.slots[name]}"

    def _operation(self, operation: Operation) -> str:
        if not self.inside or operation.operator in COMPARISONS | LOGIC | {"neg", "+", "-", "*"}:
            return super()._operation(operation)
        first, second = operation.operands
        if operation.operator == "/":
            if self._lane_constant(second):
                return f"({self.number(first)} * {self._kept(Operation('/', (Number(1.0), second)))})"
            return super()._operation(operation)
        return self._power(first, second)

    def _power(self, base: Expression, exponent: Expression) -> str:
        if isinstance(exponent, Number) and exponent.value in (2.0, 3.0, 0.5, -1.0):
            written = {2.0: "l_square({})", 3.0: "l_cube({})", 0.5: "f_sqrt({})", -1.0: "(1.0 / {})"}[exponent.value]
            return written.format(self.number(base))
        return f"l_exp({self.number(exponent)} * l_ln({self.number(base)}))"

    def _call(self, call: Call) -> str:
        if self.inside and call.function in {"exp", "ln"}:
            return f"l_{call.function}({self.number(call.arguments[0])})"
        if self.inside and call.function == "power":
            return self._power(*call.arguments)
        if self.inside and call.function == "log":
            first, second = call.arguments
            return f"(l_ln({self.number(first)}) / l_ln({self.number(second)}))"
        return super()._call(call)

    def _lane_lookup(self, lookup: Lookup) -> str:
        """A lookup as its first value plus a sum of kinks, for a table of few points."""
        table = self.structure.equations[lookup.table]
        assert isinstance(table, Table)
        plain = not (table.step or table.ahead or table.beyond or lookup.how or lookup.slope)
        if not plain or not 2 <= len(table.x) <= LONGEST_TABLE or len(set(table.x)) < len(table.x):
            return super().number(lookup)
        x, y = table.x, table.y
        slopes = [0.0, *((y[k + 1] - y[k]) / (x[k + 1] - x[k]) for k in range(len(x) - 1)), 0.0]
        argument = self.number(lookup.argument)
        kinks = [f"{slopes[k + 1] - slopes[k]!r} * l_above({argument} - {x[k]!r})" for k in range(len(x))]
        return f"({y[0]!r} + {' + '.join(kinks)})"


_MARCH = """
def march(draws, p, targets, first_tick, starts, steps, counts, ticks, saves, column, y, q, w, failed, out):
    runs = draws.shape[0]
    for block in range((runs + {W} - 1) // {W}):
        low = block * {W}
        for l in range({W}):
            run = min(low + l, runs - 1)
            for j in range(len(p)):
                q[j] = p[j]
            for j in range(len(targets)):
                q[targets[j]] = draws[run, j]
            constants(q)
            initial(starts[0], first_tick, q, y)
            prepare(w, l, q, y)
            failed[low + l] = -1
        for part in range(len(starts)):
            h = steps[part]
            for i in range(counts[part]):
                t = starts[part] + i * h
                tick = ticks[part]
                if not tick < 1e300:
                    tick = t
{step}
            row = saves[part]
            if row >= 0:
                t = starts[part] + counts[part] * h
                tick = ticks[part + 1] if part + 1 < len(ticks) else ticks[part]
                if not tick < 1e300:
                    tick = t
                lane_outputs(w, p, t, tick)
                for k in range({O}):
                    for l in range({W}):
                        out[row, k, column + low + l] = w[{R} + k * {W} + l]
            for l in range({W}):
                total = 0.0
                for k in range({n}):
                    total += w[{Z} + k * {W} + l]
                if not abs(total) < 1e300 and failed[low + l] < 0:
                    failed[low + l] = part

"""
"""Loops over blocks, parts of the horizon and steps. A part ends at a saved row or a switching time; its tick is the
moment at which switches are judged, or not a number where each step judges them at its own start."""

_STEPS = {
    1: """\
                lane_stage(w, p, t, tick, h)
                lane_limit(w)""",
    4: """\
                lane_stage(w, p, t, tick, 0.0, 1.0, 0.5 * h, 0.0)
                lane_stage(w, p, t + 0.5 * h, tick, 1.0, 2.0, 0.5 * h, 0.0)
                lane_stage(w, p, t + 0.5 * h, tick, 1.0, 2.0, h, 0.0)
                lane_stage(w, p, t + h, tick, 1.0, 1.0, 0.0, h / 6.0)
                lane_limit(w)
                for j in range({n} * {W}):
                    w[{Y} + j] = w[{Z} + j]""",
}
"""One step of each method."""

_WEIGHTS = {1: "here", 4: "keep, add, here, whole"}
"""What a stage gets besides the clock."""

_V, _I = "float64[::1]", "int64[::1]"
_SIGNATURES = {
    "constants": f"void({_V})",
    "initial": f"void(float64, float64, {_V}, {_V})",
    "prepare": f"void({_V}, int64, {_V}, {_V})",
    "lane_outputs": f"void({_V}, {_V}, float64, float64)",
    "lane_limit": f"void({_V})",
    "march": f"void(float64[:, ::1], {_V}, {_I}, float64, {_V}, {_V}, {_I}, {_V}, {_I}, int64,"
    f" {_V}, {_V}, {_V}, {_I}, float64[:, :, ::1])",
}


@dataclass(frozen=True, eq=False)
class LaneKernel:
    """A model compiled for runs that differ in some parameters.

    Attributes
    ----------
    kernel
        The same model compiled for single runs; it gives the vector of inputs.
    varied
        Parameters that differ between runs.
    targets
        Where in that vector they lie.
    outputs
        Variables that are saved, in order.
    march
        The compiled loop over blocks and steps.
    scratch
        Length of the buffer that one caller of `march` needs.
    """

    kernel: Kernel
    varied: tuple[str, ...]
    targets: Any
    outputs: tuple[str, ...]
    march: Callable[..., None]
    scratch: int


def compile_lanes(model: Model, varied: Sequence[str], outputs: Sequence[str], method: int = 4) -> LaneKernel:
    """Compile a model for many runs side by side; kept while the model lives, and cached on disk.

    Parameters
    ----------
    model
    varied
        Parameters that differ between runs.
    outputs
        Variables to save; lookups have no value of their own.
    method
        1 for Euler's steps, 4 for Runge-Kutta's.
    """
    kept: dict[Any, LaneKernel] = model.__dict__.setdefault("_lanes", {})
    wanted = (tuple(varied), tuple(outputs), method)
    if wanted not in kept:
        printer = LanePrinter(model, varied, outputs)
        lanes, n = printer.lane_source(method), len(printer.structure.stocks)
        places = {"W": WIDTH, "O": len(outputs), "n": n, "Y": printer.state, "Z": printer.stage, "R": printer.rows}
        march = _MARCH.format(step=_STEPS[method].format(**places), **places)
        source = "\n\n".join([printer.source(), lanes, printer.lane_limits(), march])
        helpers = runtime.called(compiled=True) | {"math": math, "np": np}
        stage = f"void({', '.join([_V, _V, *['float64'] * (3 + _WEIGHTS[method].count(','))])})"
        signatures = {"lane_stage": stage, **_SIGNATURES}
        inlined = {function.__name__: function for function in (l_exp, l_ln, l_above, l_square, l_cube)}
        linked = "" if any(f"f_{name}(" in source for name in vectors.WITH_ARRAYS) else "march"
        functions = cache.compiled(source, helpers, signatures, inlined=inlined, linked=linked)
        kernel = compile_model(model)
        targets = np.array([kernel.slots[name] for name in varied], dtype=np.int64)
        scratch = printer.keep + len(printer.kept) * WIDTH
        kept[wanted] = LaneKernel(kernel, tuple(varied), targets, tuple(outputs), functions["march"], scratch)
    return kept[wanted]


def varied_switches(model: Model, varied: Sequence[str]) -> tuple[str, ...]:
    """Functions whose switching times depend on varied parameters, so that no common step can meet them."""
    printer = LanePrinter(model, varied, ())
    found = []
    for node in printer.structure.switches:
        parts = timing(node) if isinstance(node, Call) else node.operands if isinstance(node, Operation) else ()
        if any(printer.lane_constants & set(references(part)) for part in parts):
            found.append(node.function if isinstance(node, Call) else "a condition on Time")
    return tuple(dict.fromkeys(found))
