"""Compiled equations: a model's printed source made callable, as it is or through numba."""

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache as once
from functools import cached_property, partial
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sd_cluster import cache, runtime
from sd_cluster.arrays import Whole, parted
from sd_cluster.errors import SimulationError
from sd_cluster.expressions import references
from sd_cluster.model import Auxiliary, Model, Parameter, Stock, Table, key
from sd_cluster.printing import AHEAD, MARCHES, SIGNATURES, SWIFT_EULER, Printer, pipe_name, pipes
from sd_cluster.structure import Structure
from sd_cluster.whole import MOST_SWITCHES, WholePrinter

Floats: TypeAlias = npt.NDArray[np.float64]
Backend: TypeAlias = Literal["python", "numba"]

MOST_HELD = 50_000_000
"""Numbers that the pipes of one run may hold."""

LOOPS = ("euler", "rk4")
"""Functions that take a run through its fixed steps."""

_PART = re.compile(r"^def ([a-z]+\d+)\(t, tick, y, p(.*)\):$", re.MULTILINE)
_PARTS = {"": SIGNATURES["hold"], ", dy": SIGNATURES["outputs"], ", dt, dy": AHEAD}
"""Functions of some loops each (see `WholePrinter`), and their types by what stands behind their first arguments."""

_IDLE = re.compile(r"^def (\w+)\(.*\):\n    pass$", re.MULTILINE)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A model's equations as functions of time, stocks `y` and the flat vector `p`.

    Attributes
    ----------
    names
        Names of the output columns: every variable the modeller wrote but lookups, in file order.
    stocks
        Names of the stocks in the order of `y`, hidden ones included.
    slots
        Where each parameter, constant, frozen value and table lies in `p`.
    initial
        `initial(t, tick, p, y)` fills stocks and frozen values.
    rates
        `rates(t, tick, y, p, dy)` fills the net flows; returns their sum, finite if each one is.
    outputs
        `outputs(t, tick, y, p, out)` fills one row of output columns.
    hold
        `hold(t, tick, y, p)` gives held values what they have at the next step.
    euler, rk4
        Loops over fixed steps; return -1, or the number of the step that blew up.
    """

    model: Model
    structure: Structure
    backend: Backend
    source: str
    names: Sequence[str]
    stocks: Sequence[str]
    slots: Mapping[str, int]
    half_step: int
    time_step: int
    constants: Callable[..., Any]
    initial: Callable[..., Any]
    rates: Callable[..., Any]
    outputs: Callable[..., Any]
    hold: Callable[..., Any]
    euler: Callable[..., Any]
    rk4: Callable[..., Any]
    switch_times: Callable[..., list[float]]
    trace: Callable[..., Any]
    trace_start: Callable[..., Any]

    def vector(self, values: Mapping[str, float], tables: Mapping[str, Table] | None = None) -> Any:
        """A vector `p` with the given parameter values; other parameters as in the model.

        Parameters
        ----------
        values
            Parameter values by name.
        tables
            Tables that replace those of the model, by name.
        """
        p = self._vector(tables) if tables else list(self._own_vector)
        for name, value in values.items():
            p[self.slots[name]] = float(value)
        self._lay_pipes(p)
        return p if self.backend == "python" else np.array(p)

    def count(self, name: str) -> int:
        """How many numbers a variable of `p` has: one, unless arrays are kept whole."""
        return 1

    @cached_property
    def _own_vector(self) -> list[float]:
        return self._vector({})

    @cached_property
    def units(self) -> tuple[str, ...]:
        """Units of the output columns."""
        if self.model.whole is not None:
            return tuple(self.model.variable(parted(name, self.model.arrays)[0]).units for name in self.names)
        return tuple(self.model.variable(name).units for name in self.names)

    def _vector(self, replaced: Mapping[str, Table]) -> list[float]:
        """The vector of the model's own parameter values."""
        settled = self.structure
        p = [0.0] * (max([self.half_step, *self.slots.values()]) + 1)
        for name in settled.parameters:
            equation = settled.equations[name]
            assert isinstance(equation, Parameter)
            p[self.slots[name]] = equation.value
        for name in settled.tables:
            table = replaced.get(name, settled.equations[name])
            assert isinstance(table, Table)
            p[self.slots[name]] = float(len(p))
            p += [float(len(table.x)), *table.x, *table.y]
        return p

    def _lay_pipes(self, p: list[float]) -> None:
        """Room at the end of `p` for what pipes hold: as many places as the run has steps."""
        settled = self.structure
        found = pipes(settled)
        if not found:
            return
        start, end, step = (
            p[slot]
            for control in ("initial_time", "final_time", "time_step")
            for name, slot in self.slots.items()
            if key(name) == control
        )
        room = math.ceil((end - start) / step) + 2
        if room * len(found) > MOST_HELD:
            raise SimulationError(
                f"{self.model.name}: a run of {room} steps with {len(found)} pipes (DELAY FIXED and its like) would"
                f" hold more than {MOST_HELD} numbers; take a longer step or a shorter horizon"
            )
        for name in found:
            p[self.slots[pipe_name(name)]] = float(len(p))
            p += [float(room), 0.0, 1.0] + [0.0] * room

    def array(self, count: int) -> Any:
        """A vector of zeros of the kind this backend works on."""
        return [0.0] * count if self.backend == "python" else np.zeros(count)

    def matrix(self, rows: int) -> Any:
        """Room for `rows` rows of outputs."""
        columns = len(self.names)
        return [[0.0] * columns for _ in range(rows)] if self.backend == "python" else np.zeros((rows, columns))


@dataclass(frozen=True, eq=False)
class WholeKernel(Kernel):
    """A kernel of a model whose arrays are kept whole: `p` and `y` are arrays whatever the backend."""

    printer: WholePrinter | None = None

    @cached_property
    def _whole_vector(self) -> Floats:
        assert self.printer is not None
        found: Floats = self.printer.vector()
        return found

    def vector(self, values: Mapping[str, float], tables: Mapping[str, Table] | None = None) -> Any:
        """A vector `p` with the given parameter values; a value for an array is that of all its elements."""
        assert self.printer is not None
        p = aligned_zeros(len(self._whole_vector))
        p[:] = self._whole_vector
        for name, value in values.items():
            block = self.printer.blocks[name]
            p[block.start : block.start + block.count] = value
        return self._with_pipes(p)

    def count(self, name: str) -> int:
        """How many elements a variable of `p` has."""
        assert self.printer is not None
        return self.printer.blocks[name].count

    def _with_pipes(self, p: Floats) -> Floats:
        assert self.printer is not None
        blocks = [block for name, block in self.printer.blocks.items() if name.endswith(" #pipe")]
        if not blocks:
            return p
        slots = {key(name): slot for name, slot in self.slots.items()}
        start, end, step = (p[slots[name]] for name in ("initial_time", "final_time", "time_step"))
        room, count = math.ceil((end - start) / step) + 2, sum(block.count for block in blocks)
        if room * count > MOST_HELD:
            raise SimulationError(
                f"{self.model.name}: a run of {room} steps with {count} pipes (DELAY FIXED and its like) would hold"
                f" more than {MOST_HELD} numbers; take a longer step or a shorter horizon"
            )
        places, behind = len(p) + np.arange(count) * (room + 3.0), np.zeros((count, room + 3))
        behind[:, 0], behind[:, 2] = room, 1.0
        for block in blocks:
            p[block.start : block.start + block.count] = places[: block.count]
            places = places[block.count :]
        return np.concatenate([p, behind.ravel()])

    def array(self, count: int) -> Any:
        """A vector of zeros."""
        return np.zeros(count)

    def matrix(self, rows: int) -> Any:
        """Room for `rows` rows of outputs."""
        return np.zeros((rows, len(self.names)))


_TIMES = {
    "f_step_times": runtime.step_times,
    "f_pulse_times": runtime.pulse_times,
    "f_train_times": runtime.train_times,
}


def compile_model(model: Model, backend: Backend = "python") -> Kernel:
    """Compile a model's equations; the kernel is kept while its model lives.

    Parameters
    ----------
    model
    backend
        `python` needs no compiling; `numba` takes seconds once (then it is cached on disk under a hash of the
        equations and of all versions) and runs some hundred times faster.
    """
    kept: dict[str, Kernel] = model.__dict__.setdefault("_kernels", {})
    if backend not in kept:
        kept[backend] = _compile(model, backend) if model.whole is None else _compile_whole(model, backend)
    return kept[backend]


def compile_jacobian(model: Model) -> Callable[[float, float, Sequence[float], Sequence[float]], Floats]:
    """The exact Jacobian of the net flows with respect to the stocks, by the chain rule over the equations.

    Returns
    -------
    jacobian
        `jacobian(t, tick, y, p)` gives an array of shape (n_stocks, n_stocks): row by flow, column by stock. `p` comes
        from a kernel of the same model.
    """
    if "_jacobian" not in model.__dict__:
        printer = Printer(model)
        namespace = runtime.called()
        exec(compile(printer.jacobian_source(), "<jacobian>", "exec"), namespace)
        fill, n = namespace["jacobian"], len(printer.structure.stocks)

        def jacobian(t: float, tick: float, y: Sequence[float], p: Sequence[float]) -> Floats:
            matrix = np.zeros((n, n))
            fill(t, tick, y, p, matrix)
            return matrix

        model.__dict__["_jacobian"] = jacobian
    found: Callable[[float, float, Sequence[float], Sequence[float]], Floats] = model.__dict__["_jacobian"]
    return found


def _compile(model: Model, backend: Backend) -> Kernel:
    printer = Printer(model)
    source = printer.source()
    functions = plain = runtime.called()
    exec(compile(source + MARCHES, "<kernel>", "exec"), plain)
    extra = {**plain, **_TIMES}
    exec(compile(printer.switch_source(), "<kernel>", "exec"), extra)
    if backend == "numba":
        helpers = runtime.called(compiled=True)
        busy, idle = _without_idle(source + MARCHES)
        names = [name for name in SIGNATURES if name not in idle and name not in LOOPS]
        functions = cache.compiled(busy, helpers, {name: SIGNATURES[name] for name in names})
        given = {name: functions[name] for name in names}
        functions |= {name: plain[name] for name in idle}
        functions |= {loop: _when_called(busy, helpers, SIGNATURES, [loop], given) for loop in LOOPS}

    @once
    def tracing() -> dict[str, Any]:
        found: dict[str, Any] = dict(runtime.called())
        exec(compile(printer.trace_source(), "<kernel>", "exec"), found)
        return found

    def traced(name: str, *arguments: Any) -> Iterator[Any]:
        steps: Iterator[Any] = tracing()[name](*arguments)
        return steps

    settled = printer.structure
    return Kernel(
        model=model,
        structure=settled,
        backend=backend,
        source=source,
        names=printer.names,
        stocks=settled.stocks,
        slots=printer.slots,
        half_step=printer.half_step,
        time_step=printer.slots[printer.time_step],
        constants=functions["constants"],
        initial=functions["initial"],
        rates=functions["rates"],
        outputs=functions["outputs"],
        hold=functions["hold"],
        euler=functions["euler"],
        rk4=functions["rk4"],
        switch_times=extra["switch_times"],
        trace=partial(traced, "trace"),
        trace_start=partial(traced, "trace_start"),
    )


def _compile_whole(model: Model, backend: Backend) -> Kernel:
    assert isinstance(model.whole, Whole)
    printer = WholePrinter(model, model.whole)
    source = printer.source()
    words = {"uint64": int, "int64": np.int64, "uint32": np.uint32, "f_fetch": lambda array, place: None}
    plain: dict[str, Any] = {**runtime.called(), **words, **_TIMES}
    exec(compile(source + printer.switch_source(), "<kernel>", "exec"), plain)
    if backend == "numba":
        helpers = {**runtime.called(compiled=True), "uint64": np.uint64, "int64": np.int64, "uint32": np.uint32}
        helpers |= {"f_fetch": cache.fetching()} if "f_fetch" in source else {}
        parts = {name: _PARTS[more] for name, more in _PART.findall(source)}
        signatures = {**parts, "flows": SIGNATURES["outputs"], "ahead": AHEAD, **SIGNATURES}
        busy, idle = _without_idle(source + SWIFT_EULER)
        leaving = {"flows", "rates", "rk4", *idle, *(name for name in parts if name.startswith("flow"))}
        swift = {name: one for name, one in signatures.items() if name not in leaving}
        functions = cache.compiled(busy, helpers, swift, inner=parts, reordered=bool(printer.sparse))
        given = {name: functions[name] for name in ("outputs", "hold", "limit") if name not in idle}
        functions |= {name: plain[name] for name in idle}
        busy, _ = _without_idle(source + MARCHES)
        flows = [*(name for name in parts if name.startswith(("shared", "flow"))), "flows", "rates"]
        functions["rates"] = _when_called(busy, helpers, signatures, flows)
        functions["rk4"] = _when_called(busy, helpers, signatures, [*flows, "rk4"], given)
    else:
        functions = {**runtime.called(), **words}
        exec(compile(source + MARCHES, "<kernel>", "exec"), functions)
        quiet = np.errstate(all="ignore")  # what is not finite is found as in compiled code
        functions |= {name: quiet(functions[name]) for name in SIGNATURES}

    def switch_times(p: Any, first: float, last: float) -> list[float]:
        with np.errstate(divide="raise", invalid="raise"):  # as Python's own numbers do
            found: list[float] = plain["switch_times"](p, first, last)
        return found

    def trace(t: float, tick: float, y: Any, p: Any) -> Iterator[Any]:
        row = np.zeros(len(printer.names))
        functions["outputs"](t, tick, np.array(y), np.array(p), row)
        for place in np.flatnonzero(~np.isfinite(row))[:1]:
            yield printer.names[place]
            yield math.nan

    def trace_start(t: float, tick: float, y: Any, p: Any) -> Iterator[Any]:
        state, inputs = np.zeros(printer.n_stocks), np.array(p)
        functions["constants"](inputs)
        functions["initial"](t, tick, inputs, state)
        yield from trace(t, tick, state, inputs)

    return WholeKernel(
        model=model,
        structure=printer.structure,
        backend=backend,
        source=source,
        names=printer.names,
        stocks=printer.stocks,
        slots=printer.slots,
        half_step=printer.half_step,
        time_step=printer.slots[printer.time_step],
        constants=functions["constants"],
        initial=functions["initial"],
        rates=functions["rates"],
        outputs=functions["outputs"],
        hold=functions["hold"],
        euler=functions["euler"],
        rk4=functions["rk4"],
        switch_times=switch_times,
        trace=trace,
        trace_start=trace_start,
        printer=printer,
    )


def _without_idle(source: str) -> tuple[str, frozenset[str]]:
    """Source without the calls of functions that do nothing, and their names: to compile one takes 40 ms."""
    idle = frozenset(_IDLE.findall(source))
    calls = rf"^ +(?:{'|'.join(idle)})\(.*\)\n"
    return re.sub(calls, "", source, flags=re.MULTILINE) if idle else source, idle


def _when_called(
    source: str,
    helpers: Mapping[str, Any],
    signatures: Mapping[str, str],
    names: Sequence[str],
    given: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """The last of some functions, which calls the others and what is given: compiled when it is first called."""
    lock = threading.Lock()

    @once
    def compiled() -> Callable[..., Any]:
        needed = {name: signatures[name] for name in names}
        functions = cache.compiled(source, helpers, needed, inner=names[:-1], given=given)
        found: Callable[..., Any] = functions[names[-1]]
        return found

    def called(*arguments: Any) -> Any:
        with lock:  # else each of several threads would compile it
            function = compiled()
        return function(*arguments)

    return called


def begin(kernel: Kernel, t: float, tick: float, p: Any, y: Any) -> None:
    """Fill constants, frozen values and the stocks at the start.

    Raises
    ------
    SimulationError
        If one of them has no finite value; the text names it.
    """
    with suppress(ArithmeticError, ValueError):
        kernel.constants(p)
        kernel.initial(t, tick, p, y)
        if finite(p) and finite(y):
            return
    raise blame_start(kernel, t, tick, p)


def carry_over(before: Kernel, old: Any, after: Kernel, new: Any) -> None:
    """Give one vector of inputs the frozen and held values of another, where a run goes on with changed equations."""
    for name in (*before.structure.frozen, *before.structure.held):
        here, there, count = before.slots[name], after.slots[name], before.count(name)
        new[there : there + count] = old[here : here + count]
    for name in pipes(before.structure):
        for element in range(before.count(name)):
            here = int(old[before.slots[pipe_name(name)] + element])
            there, count = int(new[after.slots[pipe_name(name)] + element]), int(old[here]) + 3
            new[there : there + count] = old[here : here + count]


def settle_constants(kernel: Kernel, t: float, p: Any) -> None:
    """Fill what depends on parameters alone.

    Raises
    ------
    SimulationError
        If one of them has no finite value; the text names it.
    """
    with suppress(ArithmeticError, ValueError):
        kernel.constants(p)
        if finite(p):
            return
    raise blame_start(kernel, t, t, p)


def aligned_zeros(length: int) -> Floats:
    """Zeros that begin where a line of the processor's cache begins."""
    raw = np.zeros(length + 8)
    first = (-raw.ctypes.data % 64) // 8
    return raw[first : first + length]


def finite(values: Any) -> bool:
    """Whether all numbers are finite; one sum says so but where it overflows."""
    with np.errstate(all="ignore"):
        total = float(np.add.reduce(values, axis=None))
    return math.isfinite(total) or bool(np.isfinite(values).all())


def points_of_time(kernel: Kernel, p: Any) -> list[float]:
    """Points of the tables that are read at Time itself: trajectories have kinks or jumps there."""
    points: list[float] = []
    for name in kernel.structure.tables_of_time:
        for element in range(min(kernel.count(name), MOST_SWITCHES)):
            at = int(p[kernel.slots[name] + element])
            points += map(float, p[at + 1 : at + 1 + int(p[at])])
    return points


def blame_start(kernel: Kernel, t: float, tick: float, p: Sequence[float]) -> SimulationError:
    """The error for inputs from which a run cannot begin: names the variable."""
    culprit, reason = _culprit(kernel.trace_start(t, tick, [0.0] * len(kernel.stocks), list(map(float, p))))
    if isinstance(kernel.structure.equations.get(culprit), Stock):
        when = f"at {kernel.model.horizon.unit or 'time'} {t:g}"
        return SimulationError(
            f"{kernel.model.name}: {when} the initial value of '{culprit}' {reason}; check the parameters it reads",
            time=t,
            variable=culprit,
            stock=culprit,
        )
    return _told(kernel, t, culprit, reason)


def blame(kernel: Kernel, t: float, tick: float, y: Sequence[float], p: Sequence[float]) -> SimulationError:
    """The error for a state from which a run cannot go on: names the time, the variable and the stock."""
    culprit, reason = _culprit(kernel.trace(t, tick, list(map(float, y)), list(map(float, p))))
    return _told(kernel, t, culprit, reason)


def blame_rows(kernel: Kernel, times: Sequence[float], rows: Floats) -> SimulationError | None:
    """The error for saved rows that hold what is not a number, if they do: numba divides by zero without a word."""
    if finite(rows):
        return None
    bad = ~np.isfinite(rows)
    row = int(np.argmax(bad.any(axis=1)))
    names = [name for name, wrong in zip(kernel.names, bad[row], strict=True) if wrong]
    culprit = next((name for name in kernel.structure.moving if name in names), names[0])
    return _told(kernel, times[row], culprit, "has no finite value")


def _culprit(steps: Iterator[Any]) -> tuple[str, str]:
    """The first variable that cannot be computed, with the reason; nothing if all can."""
    culprit = ""
    try:
        for name in steps:
            culprit = name
            if not math.isfinite(next(steps)):
                return culprit, "has no finite value"
    except ZeroDivisionError:
        return culprit, "divides by zero"
    except (OverflowError, ValueError):
        return culprit, "has no finite value"
    return "", ""


def _told(kernel: Kernel, t: float, culprit: str, reason: str) -> SimulationError:
    at = f"{kernel.model.name}: at {kernel.model.horizon.unit or 'time'} {t:g}"
    if not culprit:
        return SimulationError(f"{at} the step is too long, its stocks leave all bounds; take a shorter one", time=t)
    stock = _stock_behind(kernel, culprit) if culprit in kernel.structure.equations else culprit
    through = "" if stock == culprit else f", on which stock '{stock}' depends" if stock else ""
    text = f"{at} '{culprit}' {reason}{through}; check the parameters it reads"
    return SimulationError(text, time=t, variable=culprit, stock=stock)


def blame_step(
    kernel: Kernel, start: float, dt: float, before: Sequence[float], y: Sequence[float], p: Sequence[float]
) -> SimulationError:
    """The error for a fixed step that failed.

    Parameters
    ----------
    kernel, start, dt
        The run: its first time and its step.
    before
        What the loop kept: stocks at the start of the failed step, then scratch, then the number of the step.
    y
        Stocks where the loop stopped, inside or after the failed step.
    p
        Inputs.
    """
    n = len(kernel.stocks)
    at = start + float(before[-1]) * dt
    for state in (list(before)[:n], list(y)):
        for moment in (at, at + 0.5 * dt, at + dt):
            error = blame(kernel, moment, at, state, p)
            if error.variable:
                return error
    return error


def _stock_behind(kernel: Kernel, culprit: str) -> str:
    """The first stock that depends on a variable, or nothing."""
    equations = kernel.structure.equations
    if isinstance(equations[culprit], Stock):
        return culprit
    reached = {culprit}
    for name in [*kernel.structure.constant, *kernel.structure.moving]:
        equation = equations[name]
        if isinstance(equation, Auxiliary) and reached & set(references(equation.expression)):
            reached.add(name)
    for name in kernel.stocks:
        stock = equations[name]
        if isinstance(stock, Stock) and reached & set(references(stock.rate)):
            return name
    return ""
