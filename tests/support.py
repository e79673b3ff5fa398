"""Tools of the tests: closeness with a reason, tiny models, PySD's own run, and a slow, obvious interpreter."""

import math
import shutil
import statistics
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

import sd_cluster as sd
from sd_cluster import vectors
from sd_cluster.expressions import VECTOR_FUNCTIONS, Call, Expression, Lookup, Name, Number, Operation
from sd_cluster.model import Auxiliary, Frozen, Held, Parameter, Stock, Table

FEATURES = Path(__file__).parent / "features"
ALL = tuple(sorted(path.name for path in FEATURES.iterdir() if path.is_dir()))
SHIPPED = tuple(name for name in sd.models() if name != "cluster_network")
"""Shipped models; the arrays of cluster_network are kept whole, which test_cluster_network.py looks at."""
NAMES = (
    "decay", "delays", "initials", "logic", "logistic", "lookups", "macros", "maths", "precedence", "sir", "smooths",
    "switches", "time_conditions", "two_stocks",
)  # fmt: skip
"""Features of the first hour, on which the slower checks are made."""
SMOOTH = ("decay", "logistic", "two_stocks", "sir", "delays", "smooths", "initials", "macros")
"""Features whose net flows are smooth between switching times that are known before a run."""


def assert_close(actual: Any, expected: Any, rtol: float, atol: float = 0.0, *, because: str) -> None:
    """Check that numbers agree; a tolerance comes with its reason."""
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=f"tolerance: {because}")


def assert_runs_agree(actual: Mapping[str, Any], expected: pd.DataFrame, rtol: float, *, because: str) -> None:
    """Check all columns of a table of expected values, each against its own largest value."""
    for name in expected.columns:
        wanted = expected[name].to_numpy(float)
        scale = float(np.abs(wanted).max())
        assert_close(actual[name], wanted, rtol, rtol * scale + 1e-300, because=f"'{name}': {because}")


@cache
def feature(name: str, suffix: str = "") -> sd.Model:
    """The model of a feature folder, or a shipped one; read once, as a model never changes."""
    if name in sd.models():
        return sd.load(name)
    suffixes = [suffix] if suffix else [".mdl", ".xmile"]
    return sd.load(next(path for s in suffixes if (path := FEATURES / name / f"{name}{s}").exists()))


def model_text(equations: str, *, start: str = "0", end: str = "10", step: str = "0.125", save: str = "1") -> str:
    """A .mdl file from lines `name = expression ~ units`, with its four control variables."""
    controls = f"""
        FINAL TIME = {end} ~ Year
        INITIAL TIME = {start} ~ Year
        SAVEPER = {save} ~ Year
        TIME STEP = {step} ~ Year
    """
    lines = [line.strip() for line in (equations + controls).splitlines() if line.strip()]
    parts = [line.rsplit("~", 1) if "~" in line else [line, ""] for line in lines]
    return "{UTF-8}\n" + "\n".join(f"{left.strip()}\n\t~\t{units.strip()}\n\t~\t\n\t|\n" for left, units in parts)


def write_model(folder: Path, equations: str, name: str = "tiny", **controls: str) -> Path:
    """Write a tiny model beside nothing else."""
    path = folder / f"{name}.mdl"
    path.write_text(model_text(equations, **controls), encoding="utf-8")
    return path


def tiny(equations: str, *, check_units: bool = True, name: str = "tiny", **controls: str) -> sd.Model:
    """A model from lines `name = expression ~ units`."""
    with tempfile.TemporaryDirectory() as folder:
        return sd.load(write_model(Path(folder), equations, name, **controls), check_units=check_units)


def pysd_run(path: Path) -> pd.DataFrame:
    """PySD's own run of a model file, copied to a folder of its own first: PySD writes a `.py` beside it."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pysd

        for beside in path.parent.iterdir():
            if beside.is_file() and beside.suffix not in {".mdl", ".xmile"}:
                shutil.copy(beside, folder)
        copy = shutil.copy(path, folder)
        read = pysd.read_vensim if path.suffix == ".mdl" else pysd.read_xmile
        return read(str(copy)).run()


class Interpreter:
    """Runs a model by walking its expressions, one variable and one step at a time, with Euler's method.

    Nothing is sorted or compiled: a variable is computed when it is asked for. It shares no code with the kernels,
    so what both say is said twice.
    """

    def __init__(self, model: sd.Model, values: Mapping[str, float] | None = None, step: float | None = None) -> None:
        self.model = model
        self.equations = {equation.name: equation for equation in model.equations}
        self.values = {name: item.value for name, item in model.parameters.items()} | dict(values or {})
        self.horizon = model.horizon if step is None else replace(model.horizon, step=step)
        if step is not None:
            self.values["TIME STEP"] = step
        self.dt = self.horizon.step
        self.time = self.horizon.start
        self.starting = True
        self.known: dict[str, float] = {}
        self.stocks: dict[str, float] = {}
        self.frozen: dict[str, float] = {}
        for name, equation in self.equations.items():
            if isinstance(equation, Stock | Frozen | Held):
                self.variable(name)
        self.stocks = {name: self.known[name] for name, item in self.equations.items() if isinstance(item, Stock)}
        self.frozen = {name: self.known[name] for name, item in self.equations.items() if isinstance(item, Frozen)}
        self.held = {name: self.known[name] for name, item in self.equations.items() if isinstance(item, Held)}
        self.passed = {name: [] for name in self.held}
        self.ahead = {name: {} for name in self.held}
        self.initial_of = dict(self.held)
        self.delays = {name: self._steps(item) for name, item in self.equations.items() if name in self.held}
        self.starting = False
        self.known = {}

    def _steps(self, held: Held) -> int:
        """Steps that a value spends in a pipe, by the delay of this moment."""
        return 0 if held.delay is None else max(math.floor(self.of(held.delay) / self.dt + 0.5 + 1e-6), 1)

    def run(self) -> pd.DataFrame:
        """Saved rows of all variables the modeller wrote."""
        every = round(self.horizon.save_every / self.dt)
        visible = [n for n, item in self.equations.items() if not item.hidden and not isinstance(item, Table)]
        rows, times = [], []
        last = round((self.horizon.end - self.horizon.start) / self.dt)
        for step in range(last + 1):
            self.time = self.horizon.start + step * self.dt
            self.known = {}
            if step % every == 0 or step == last:
                rows.append({name: self.variable(name) for name in visible})
                times.append(self.time)
            rates = {name: self.of(self.equations[name].rate) for name in self.stocks}
            following = {name: self._following(self.equations[name], step) for name in self.held}
            self.held = following
            for name, rate in rates.items():
                self.stocks[name] = self._limited(name, self.stocks[name] + self.dt * rate)
        return pd.DataFrame(rows, index=pd.Index(times, name="time"))

    def _following(self, held: Held, step: int) -> float:
        """What a held value will be at the next step: everything that went in is remembered."""
        value, name = self.of(held.following), held.name
        if held.mode == "step":
            return value
        if held.mode == "fixed":
            self.passed[name].append(value)
            due = step + 1 - self.delays[name]
            return self.passed[name][due] if due >= 0 else self.initial_of[name]
        coming = self.ahead[name]
        if held.mode == "information":
            due = step + self._steps(held)
            for later in [other for other in coming if other >= due]:
                del coming[later]
            coming[due] = value
            return coming.get(step + 1, self.held[name])
        if held.mode == "material":
            coming.setdefault(step + self._steps(held), []).append(value)
            if step + 1 in coming:
                return sum(coming[step + 1])
            return self.initial_of[name] if step + 1 < self.delays[name] else self.of(held.missing)
        delay = self.of(held.delay)
        for later in range(1, math.ceil(delay / self.dt - 1e-6)):
            coming.setdefault(step + later, []).append(value * self.dt / delay)
        return sum(coming.get(step + 1, []))

    def _limited(self, name: str, value: float) -> float:
        return max(value, 0.0) if self.equations[name].non_negative else value

    def variable(self, name: str) -> float:
        """Value of a variable now."""
        if name == "Time":
            return self.time
        if name not in self.known:
            self.known[name] = self._variable(self.equations[name])
        return self.known[name]

    def _variable(self, equation: Any) -> float:
        match equation:
            case Parameter():
                return self.values[equation.name]
            case Stock():
                return self.of(equation.initial) if self.starting else self.stocks[equation.name]
            case Held():
                return self.of(equation.initial) if self.starting else self.held[equation.name]
            case Frozen():
                return self.of(equation.expression) if self.starting else self.frozen[equation.name]
            case Auxiliary():
                first = self.starting and equation.initial is not None
                return self.of(equation.initial if first else equation.expression)
        raise AssertionError(f"{equation.name} has no value")

    def of(self, expression: Expression) -> float:
        """Value of an expression now."""
        match expression:
            case Number():
                return expression.value
            case Name():
                return self.variable(expression.name)
            case Lookup():
                return self._lookup(expression, self.equations[expression.table])
            case Call(function="if_then_else"):
                condition, yes, no = expression.arguments
                return self.of(yes) if self.of(condition) else self.of(no)
            case Call():
                return float(self._call(expression.function, [self.of(part) for part in expression.arguments]))
            case Operation():
                return float(self._operation(expression.operator, [self.of(part) for part in expression.operands]))

    def _lookup(self, lookup: Lookup, table: Table) -> float:
        at, x, y = self.of(lookup.argument), table.x, table.y
        if lookup.how in {"first time", "last time", "points"}:
            return {"first time": x[0], "last time": x[-1], "points": len(x)}[lookup.how]
        if lookup.how == "exactly" or (lookup.how.endswith("within") and not x[0] <= at <= x[-1]):
            return dict(zip(x, y, strict=True)).get(at, -(2.0**109))
        if lookup.how == "step within":
            return [value for place, value in zip(x, y, strict=True) if place <= at][-1]
        if lookup.how == "ahead within":
            return next(value for place, value in zip(x, y, strict=True) if place >= at)
        if lookup.how == "step" or (table.step and not lookup.how):
            return [y[0], *(value for place, value in zip(x, y, strict=True) if place <= at)][-1]
        if lookup.how == "ahead" or (table.ahead and not lookup.how):
            return [*(value for place, value in zip(x, y, strict=True) if place >= at), y[-1]][0]
        if lookup.how == "beyond" or (table.beyond and not lookup.how):
            k = 0 if at < x[0] else len(x) - 2 if at > x[-1] else max(min(np.searchsorted(x, at) - 1, len(x) - 2), 0)
            return y[k] + (y[k + 1] - y[k]) / (x[k + 1] - x[k]) * (at - x[k])
        if lookup.how == "invert":
            order = 1 if y[-1] >= y[0] else -1
            return float(np.interp(at, y[::order], x[::order]))
        return float(np.interp(at, x, y))

    def _operation(self, operator: str, parts: list[float]) -> float:
        a, b = parts[0], parts[-1]
        results: dict[str, Callable[[], float]] = {
            "+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b, "^": lambda: a**b,
            "neg": lambda: -a, "not": lambda: not a, "and": lambda: bool(a) and bool(b),
            "or": lambda: bool(a) or bool(b), "<": lambda: a < b, "<=": lambda: a <= b, ">": lambda: a > b,
            ">=": lambda: a >= b, "=": lambda: a == b, "<>": lambda: a != b,
        }  # fmt: skip
        return results[operator]()

    def _call(self, function: str, parts: list[float]) -> float:
        if function in VECTOR_FUNCTIONS:
            return self._vector(function, parts[: VECTOR_FUNCTIONS[function]], parts[VECTOR_FUNCTIONS[function] :])
        if function == "noise":
            return vectors.noise(*parts, round((self.time - self.horizon.start) / self.dt))
        switching = {"step", "ramp", "pulse", "pulse_train", "xmile_pulse", "xmile_pulse_train"}
        if function in switching:
            return getattr(self, f"_{function}")(*parts)
        results: dict[str, Callable[..., float]] = {
            "abs": abs, "arccos": math.acos, "at_price": self._at_price,
            "arcsin": math.asin, "arctan": math.atan, "cos": math.cos,
            "cosh": math.cosh, "exp": math.exp, "integer": lambda x: math.floor(x) if x >= 0 else math.ceil(x),
            "ln": math.log, "log": lambda x, base: math.log(x) / math.log(base), "max": max, "min": min,

            "xmile_integer": math.floor, "xmile_modulo": lambda a, b: a - b * math.floor(a / b),
            "xmile_over": lambda a, b, x: a / b if b else x,
            "modulo": lambda a, b: a - b * int(a / b) if b > 0 else 0, "pi": lambda: math.pi,
            "power": lambda a, b: a**b,

            "quantum": lambda a, b: b * int(a / b) if b > 0 else a, "sin": math.sin, "sinh": math.sinh,
            "sqrt": math.sqrt, "tan": math.tan, "tanh": math.tanh,
            "gamma_ln": math.lgamma, "normal": statistics.NormalDist().inv_cdf,
            "normal_share": vectors.normal_share, "exponential_between": vectors.exponential_between,
            "xidz": lambda a, b, x: x if abs(b) < 1e-6 else a / b, "zidz": lambda a, b: 0 if abs(b) < 1e-6 else a / b,
        }  # fmt: skip
        return results[function](*parts)

    def _vector(self, function: str, heads: list[float], items: list[float]) -> float:
        place = int(heads[0])
        if function == "market_price":
            n, m = map(int, heads)
            wanted, offered = self._curves(1, items[: 4 * n], n), self._curves(-1, items[4 * n :], m)
            return brentq(lambda price: wanted(price) - offered(price), -1e3, 1e3, xtol=1e-13)
        if function == "pick":
            return items[place]
        if function in {"ranked", "sorted_order"}:
            order = sorted(range(len(items)), key=lambda k: (items[k], k))
            order = order if heads[1] > 0 else order[::-1]
            return order[place] if function == "sorted_order" else order.index(place) + 1
        if function == "inverted":
            size = math.isqrt(len(items))
            return float(np.linalg.inv(np.array(items).reshape(size, size))[place, int(heads[1])])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pysd.py_backend import allocation

        count = int(heads[1])
        requests, others = np.array(items[:count]), np.array(items[count:])
        if function == "allocate_by_priority":
            return float(allocation._allocate_by_priority_1d(requests, others, heads[2], heads[3])[place])
        return float(allocation._allocate_available_1d(requests, others.reshape(count, 4), heads[2])[place])

    def _curves(self, side: int, items: list[float], count: int) -> Callable[[float], float]:
        """What many curves ask or offer together at a price."""
        curves = [items[count + 3 * k : count + 3 * k + 3] for k in range(count)]
        rows = list(zip(items[:count], *zip(*curves, strict=True), strict=True))
        return lambda price: sum(self._at_price(side, price, *row) for row in rows)

    def _at_price(self, side: float, price: float, quantity: float, kind: float, middle: float, width: float) -> float:
        """Rectangles alone."""
        assert kind == 1.0
        return quantity * float(np.interp(side * (price - middle), [-width / 2, width / 2], [1.0, 0.0]))

    def _past(self, moment: float) -> float:
        """Time since a moment, at the middle of this step: Vensim's rule."""
        return self.time + self.dt / 2 - moment

    def _just(self, moment: float) -> float:
        """Time since a moment, which counts as past where it lies in the middle of this step but for rounding."""
        return self._past(moment) + 1e-6 * self.dt

    def _step(self, height: float, start: float) -> float:
        return height if self._past(start) > 0 else 0

    def _ramp(self, slope: float, start: float, end: float = math.inf) -> float:
        return slope * (min(self.time, end) - start) if self._past(start) > 0 and self.time > start else 0

    def _pulse(self, start: float, width: float) -> float:
        return self._just(start) >= 0 and self._just(start) < max(width, self.dt)

    def _pulse_train(self, start: float, width: float, interval: float, end: float) -> float:
        past = self._just(start)
        if past < 0 or self._past(end) >= 0:
            return 0
        return past - interval * math.floor(past / interval) < max(width, self.dt)

    def _xmile_pulse(self, start: float, magnitude: float) -> float:
        return magnitude / self.dt if 0 <= self._just(start) < self.dt else 0

    def _xmile_pulse_train(self, start: float, interval: float, magnitude: float) -> float:
        past = self._just(start)
        return magnitude / self.dt if past >= 0 and past - interval * math.floor(past / interval) < self.dt else 0


def interpreted(model: sd.Model, values: Mapping[str, float] | None = None, step: float | None = None) -> pd.DataFrame:
    """An Euler run by the interpreter."""
    return Interpreter(model, values, step).run()
