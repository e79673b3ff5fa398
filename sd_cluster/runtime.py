"""What the compiled equations call: built-in functions in plain Python, fit for numba, and a small evaluator.

The switching functions get `clock`, the middle of the running step (fixed steps) or of the stretch between two
switching times (continuous solvers): whatever is on in the middle is on throughout. That is Vensim's own rule for
fixed steps ("on if Time + TIME STEP / 2 lies past the start").
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sd_cluster import tables, vectors
from sd_cluster.errors import ModelError, SimulationError
from sd_cluster.expressions import VARYING, VECTOR_FUNCTIONS, Call, Expression, Lookup, Name, Number, Operation

ZERO = 1e-6
"""What XIDZ and ZIDZ take for zero (Vensim reference manual)."""

MOST_SWITCHES = 100_000
"""Pulses of one train at which a continuous solver may have to stop."""

EMPTY = tables.EMPTY
"""What stands in a pipe where nothing comes out: Vensim's missing value."""


def lookup(p: Sequence[float], at: int, x: float) -> float:
    """Read the table stored in `p` from `at` on: count, all x, all y; straight between points, level outside."""
    n = int(p[at])
    first, last = at + 1, at + n
    if not x > p[first]:
        return p[first + n] if x == x else x
    if x >= p[last]:
        return p[last + n]
    low, high = first, last
    while high - low > 1:
        middle = (low + high) // 2
        if p[middle] <= x:
            low = middle
        else:
            high = middle
    return p[low + n] + (p[low + n + 1] - p[low + n]) * (x - p[low]) / (p[low + 1] - p[low])


def swift_lookup(p: Any, at: int, x: Any) -> Any:
    """`lookup` for compiled code: places without sign need no check for counting from the end."""
    n, one = np.uint64(p[at]), np.uint64(1)
    low = np.uint64(at) + one
    high = low + n - one
    if not x > p[low]:
        return p[low + n] if x == x else x
    if x >= p[high]:
        return p[high + n]
    while high - low > np.uint64(8):
        middle = (low + high) >> one
        if p[middle] <= x:
            low = middle
        else:
            high = middle
    while p[low + one] <= x:
        low += one
    return p[low + n] + (p[low + n + one] - p[low + n]) * (x - p[low]) / (p[low + one] - p[low])


def lookup_slope(p: Sequence[float], at: int, x: float) -> float:
    """Slope of a table; at a point, the slope to its right."""
    n = int(p[at])
    first, last = at + 1, at + n
    if x < p[first] or x >= p[last]:
        return 0.0
    low, high = first, last
    while high - low > 1:
        middle = (low + high) // 2
        if p[middle] <= x:
            low = middle
        else:
            high = middle
    return (p[low + n + 1] - p[low + n]) / (p[low + 1] - p[low])


def swift_slope(p: Any, at: int, x: Any) -> Any:
    """`lookup_slope` for compiled code, as `swift_lookup` is."""
    n, one = np.uint64(p[at]), np.uint64(1)
    low = np.uint64(at) + one
    high = low + n - one
    if x < p[low] or x >= p[high]:
        return 0.0
    while high - low > np.uint64(8):
        middle = (low + high) >> one
        if p[middle] <= x:
            low = middle
        else:
            high = middle
    while p[low + one] <= x:
        low += one
    return (p[low + n + one] - p[low + n]) / (p[low + one] - p[low])


def staircase(p: Sequence[float], at: int, x: float) -> float:
    """Read a table that holds each value until the next point."""
    n = int(p[at])
    first, last = at + 1, at + n
    if x < p[first]:
        return p[first + n]
    low, high = first, last + 1
    while high - low > 1:
        middle = (low + high) // 2
        if p[middle] <= x:
            low = middle
        else:
            high = middle
    return p[low + n]


def upper_staircase(p: Sequence[float], at: int, x: float) -> float:
    """Read a table that has the value of the next point between two."""
    n = int(p[at])
    first, last = at + 1, at + n
    if x > p[last]:
        return p[last + n]
    low, high = first - 1, last
    while high - low > 1:
        middle = (low + high) // 2
        if p[middle] < x:
            low = middle
        else:
            high = middle
    return p[high + n]


def beyond(p: Sequence[float], at: int, x: float) -> float:
    """Read a table that goes on straight outside its points."""
    n = int(p[at])
    first, last = at + 1, at + n
    if n < 2:
        return p[first + n]
    low, high = first, last
    while high - low > 1:
        middle = (low + high) // 2
        if p[middle] <= x:
            low = middle
        else:
            high = middle
    return p[low + n] + (p[low + n + 1] - p[low + n]) * (x - p[low]) / (p[low + 1] - p[low])


def beyond_slope(p: Sequence[float], at: int, x: float) -> float:
    """Slope of a table that goes on straight outside its points; at a point, the slope to its right."""
    n = int(p[at])
    first, last = at + 1, at + n
    if n < 2:
        return 0.0
    low, high = first, last
    while high - low > 1:
        middle = (low + high) // 2
        if p[middle] <= x:
            low = middle
        else:
            high = middle
    return (p[low + n + 1] - p[low + n]) / (p[low + 1] - p[low])


def lookup_invert(p: Sequence[float], at: int, y: float) -> float:
    """The first argument at which a table has a value, level outside (Vensim's LOOKUP INVERT)."""
    n = int(p[at])
    first = at + 1
    up = p[first + 2 * n - 1] >= p[first + n]
    if (y <= p[first + n]) == up or y == p[first + n]:
        return p[first]
    for place in range(first, first + n - 1):
        here, there = p[place + n], p[place + n + 1]
        if (here <= y <= there) or (there <= y <= here):
            return p[place + 1] if there == here else p[place] + (p[place + 1] - p[place]) * (y - here) / (there - here)
    return p[first + n - 1]


def pipe_begin(p: Any, at: int, value: float, delay: float, dt: float, empty: float) -> float:
    """Fill a pipe that lies in `p` from `at` on: room, place, length, then what is in it, `empty` behind the filling.

    Delays longer than the run end beyond it, so that the room need not grow.
    """
    room = int(p[at])
    length = max(math.floor(delay / dt + 1e-6 + 0.5), 1) if delay < dt * room else room - 1
    length = min(length, room - 1)
    p[at + 1], p[at + 2] = 0.0, float(length)
    for place in range(room):
        p[at + 3 + place] = value if place < length else empty
    return value


def pipe_fixed(p: Any, at: int, value: float) -> float:
    """Put a value into a pipe and take out the next one (DELAY FIXED)."""
    room, place, length = int(p[at]), int(p[at + 1]), int(p[at + 2])
    p[at + 3 + (place + length) % room] = value
    place = (place + 1) % room
    p[at + 1] = float(place)
    return float(p[at + 3 + place])


def pipe_material(p: Any, at: int, value: float, delay: float, dt: float, missing: float) -> float:
    """Put material into a pipe where it will come out after a delay, and take out what comes next."""
    room, place = int(p[at]), int(p[at + 1])
    length = max(math.floor(delay / dt + 1e-6 + 0.5), 1) if delay < dt * room else room - 1
    p[at + 3 + place] = EMPTY
    if length < room:
        there = at + 3 + (place + length) % room
        p[there] = value if p[there] == EMPTY else p[there] + value
    place = (place + 1) % room
    p[at + 1] = float(place)
    return missing if p[at + 3 + place] == EMPTY else float(p[at + 3 + place])


def pipe_information(p: Any, at: int, value: float, delay: float, dt: float, now: float) -> float:
    """Put news into a pipe where it will come out after a delay, instead of all that would come out later.

    Where nothing comes out, what came out last stays.
    """
    room, place = int(p[at]), int(p[at + 1])
    length = max(math.floor(delay / dt + 1e-6 + 0.5), 1) if delay < dt * room else room
    p[at + 3 + place] = EMPTY
    for ahead in range(min(length, room), room):
        p[at + 3 + (place + ahead) % room] = EMPTY
    if length < room:
        p[at + 3 + (place + length) % room] = value
    place = (place + 1) % room
    p[at + 1] = float(place)
    return now if p[at + 3 + place] == EMPTY else float(p[at + 3 + place])


def pipe_line(p: Any, at: int, value: float, delay: float, dt: float) -> float:
    """Put a flow into a pipe in equal shares, the first of which has come out, and take out what comes next."""
    room, place = int(p[at]), int(p[at + 1])
    length = min(math.ceil(delay / dt - 1e-6), room)
    p[at + 3 + place] = 0.0
    for ahead in range(1, length):
        p[at + 3 + (place + ahead) % room] += value * dt / delay
    place = (place + 1) % room
    p[at + 1] = float(place)
    return float(p[at + 3 + place])


def minimum(a: float, b: float) -> float:
    """Smaller of two numbers."""
    return a if a < b else b


def maximum(a: float, b: float) -> float:
    """Larger of two numbers."""
    return a if a > b else b


def integer(x: float) -> float:
    """Whole part of a number, towards zero (Vensim's INTEGER)."""
    return x - x % 1.0 if x >= 0 else x + -x % 1.0


def modulo(a: float, b: float) -> float:
    """What is left of `a` after whole multiples of `b`, with the sign of `a`; zero where `b` is not positive."""
    if not b > 0:
        return 0.0
    return a % b if a >= 0 else -(-a % b)


def quantum(a: float, b: float) -> float:
    """Largest multiple of `b` not beyond `a`, towards zero; `a` itself where `b` is not positive."""
    if not b > 0:
        return a
    times = a / b
    return b * (times - times % 1.0 if times >= 0 else times + -times % 1.0)


def xidz(a: float, b: float, x: float) -> float:
    """`a / b`, or `x` where `b` is zero."""
    return x if abs(b) < ZERO else a / b


def zidz(a: float, b: float) -> float:
    """`a / b`, or zero where `b` is zero."""
    return 0.0 if abs(b) < ZERO else a / b


def xmile_integer(x: float) -> float:
    """Largest whole number not above a number (XMILE 1.0's INT, section 3.5.1)."""
    return x - x % 1.0


def xmile_modulo(a: float, b: float) -> float:
    """What is left of `a` after whole multiples of `b`, with the sign of `b` (XMILE's MOD)."""
    return a % b


def xmile_over(a: float, b: float, x: float) -> float:
    """`a / b`, or `x` where `b` is exactly zero (XMILE's SAFEDIV)."""
    return x if b == 0.0 else a / b


def step(clock: float, height: float, start: float) -> float:
    """`height` from `start` on."""
    return height if clock > start else 0.0


def ramp(t: float, clock: float, slope: float, start: float, end: float) -> float:
    """A line of `slope` from `start` to `end`, level after."""
    if not clock > start:
        return 0.0
    return slope * (min(max(t, start), end) - start)


def pulse(clock: float, dt: float, start: float, width: float) -> float:
    """One from `start` on for `width`, at least one step long; a start in the middle of a step counts for that step."""
    return 1.0 if -1e-6 * dt <= clock - start < max(width, dt) - 1e-6 * dt else 0.0


def pulse_train(clock: float, dt: float, start: float, width: float, interval: float, end: float) -> float:
    """Pulses every `interval` from `start` on, until `end`."""
    past = clock - start + 1e-6 * dt
    if not (past >= 0.0 and clock < end):
        return 0.0
    if not interval > 0.0:
        return 1.0 if past < max(width, dt) else 0.0
    return 1.0 if past % interval < max(width, dt) else 0.0


def xmile_pulse(clock: float, dt: float, start: float, magnitude: float) -> float:
    """XMILE's PULSE: `magnitude` given within one step."""
    return magnitude / dt if -1e-6 * dt <= clock - start < dt - 1e-6 * dt else 0.0


def xmile_pulse_train(clock: float, dt: float, start: float, interval: float, magnitude: float) -> float:
    """XMILE's PULSE with an interval: `magnitude` given within one step, again and again."""
    past = clock - start + 1e-6 * dt
    if not past >= 0.0:
        return 0.0
    past = past % interval if interval > 0.0 else past
    return magnitude / dt if past < dt else 0.0


HELPERS: dict[str, Callable[..., float]] = {
    function.__name__: function
    for function in (
        lookup, lookup_slope, staircase, minimum, maximum, integer, modulo, quantum, xidz, zidz,
        xmile_integer, xmile_modulo, xmile_over,
        step, ramp, pulse, pulse_train, xmile_pulse, xmile_pulse_train, upper_staircase, beyond, beyond_slope,
        lookup_invert, pipe_begin, pipe_fixed, pipe_information, pipe_material,
        pipe_line, vectors.noise, vectors.normal,
        vectors.normal_share, vectors.exponential_between, vectors.digamma, vectors.pick, vectors.ranked,
        vectors.sorted_order, vectors.inverted, vectors.allocate_available, vectors.allocate_by_priority,
        vectors.drawn, vectors.market_price, vectors.at_price,
        tables.within, tables.step_within, tables.ahead_within, tables.exactly, tables.first_time, tables.last_time,
        tables.points,
    )
}  # fmt: skip

MATHS: dict[str, Callable[..., float]] = {
    "abs": abs,
    "arccos": math.acos,
    "arcsin": math.asin,
    "arctan": math.atan,
    "cos": math.cos,
    "cosh": math.cosh,
    "exp": math.exp,
    "gamma_ln": math.lgamma,
    "ln": math.log,
    "power": math.pow,
    "sin": math.sin,
    "sinh": math.sinh,
    "sqrt": math.sqrt,
    "tan": math.tan,
    "tanh": math.tanh,
}
"""Functions that go by other names in Python."""


_SWIFT: dict[str, Callable[..., Any]] = {
    "lookup": swift_lookup,
    "lookup_slope": swift_slope,
    "noise": vectors.swift_noise,
}
"""What compiled code gets instead."""


def called(*, compiled: bool = False) -> dict[str, Any]:
    """What printed source calls, by the names it uses there; `compiled` for code that numba gets."""
    functions = {**MATHS, **HELPERS, **(_SWIFT if compiled else {})}
    return {"pi": math.pi, "floor": math.floor, **{f"f_{name}": function for name, function in functions.items()}}


def step_times(start: float) -> list[float]:
    """When a step switches."""
    return [start]


def pulse_times(start: float, width: float, dt: float) -> list[float]:
    """When a pulse switches."""
    return [start, start + max(width, dt)]


def train_times(
    start: float, width: float, interval: float, end: float, dt: float, first: float, last: float
) -> list[float]:
    """When a pulse train switches between `first` and `last`."""
    if not interval > 0.0:
        return [start, min(start + max(width, dt), end)]
    if (min(end, last) - max(start, first)) / interval > MOST_SWITCHES:
        raise SimulationError(
            f"a pulse train switches more than {MOST_SWITCHES} times, each {interval:g}, which a continuous solver"
            " follows one by one; take a longer interval, or Euler() or RungeKutta4()"
        )
    times = [end] if end < last else []
    count = max(0, math.ceil((first - start) / interval) - 1)
    while (at := start + count * interval) < min(end, last):
        times += [at, min(at + max(width, dt), end)]
        count += 1
    return times


def evaluate(expression: Expression, value: Callable[[str], float]) -> float:
    """Value of an expression of constants; a switching function or a lookup in it is a `ModelError`."""
    match expression:
        case Number():
            return expression.value
        case Name():
            return value(expression.name)
        case Lookup():
            raise ModelError(f"a constant reads the lookup '{expression.table}'; give it a number")
        case Call(function="pi"):
            return math.pi
        case Call():
            arguments = [evaluate(argument, value) for argument in expression.arguments]
            if expression.function in VECTOR_FUNCTIONS:
                heads = VECTOR_FUNCTIONS[expression.function]
                return HELPERS[expression.function](*arguments[:heads], tuple(arguments[heads:]))
            if expression.function == "if_then_else":
                return arguments[1] if arguments[0] else arguments[2]
            if expression.function == "log":
                return math.log(arguments[0]) / math.log(arguments[1])
            known = {**MATHS, "min": minimum, "max": maximum, **HELPERS}
            if expression.function not in known or expression.function in VARYING:
                raise ModelError(f"a constant reads {expression.function.replace('_', ' ')}; give it a number")
            return known[expression.function](*arguments)
        case Operation():
            operands = [evaluate(operand, value) for operand in expression.operands]
            return _operate(expression.operator, operands)


def _operate(operator: str, operands: list[float]) -> float:
    a, b = operands[0], operands[-1]
    match operator:
        case "neg":
            return -a
        case "not":
            return float(not a)
        case "and":
            return float(bool(a) and bool(b))
        case "or":
            return float(bool(a) or bool(b))
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return a / b
        case "^":
            return math.pow(a, b)
        case "<":
            return float(a < b)
        case "<=":
            return float(a <= b)
        case ">":
            return float(a > b)
        case ">=":
            return float(a >= b)
        case "=":
            return float(a == b)
        case _:
            return float(a != b)
