"""Studies: one TOML file that says which model is swept, over which space, and what is asked of the runs.

Everything is checked while the file is read, so that a misspelt name costs a second and not a night. The
page `docs/ensembles.md` shows all keys.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sd_cluster.errors import ScenarioError, SdClusterError, near
from sd_cluster.marginals import Entry, LogRange
from sd_cluster.measures import At, Cumulated, Final, FirstAbove, Output, Peak, measures_of
from sd_cluster.model import Model
from sd_cluster.scenario import Scenario, TimeSeries, apply
from sd_cluster.solvers import Adaptive, Euler, RungeKutta4, Solver
from sd_cluster.space import METHODS, Space

Value = TypeVar("Value")

ANALYSES = ("sobol", "morris", "fast", "rbd_fast", "pawn", "dgsm", "delta", "prcc", "shapley")
"""Names of the sensitivity analyses."""

_SOLVERS: dict[str, Callable[..., Solver]] = {
    "euler": Euler,
    "rk4": RungeKutta4,
    "lsoda": lambda: Adaptive(method="LSODA"),
    "rk45": lambda: Adaptive(method="RK45"),
    "dop853": lambda: Adaptive(method="DOP853"),
    "radau": lambda: Adaptive(method="Radau"),
    "bdf": lambda: Adaptive(method="BDF"),
}

_MEASURES: dict[str, tuple[Callable[..., Output], str, bool]] = {
    "final": (Final, "", False),
    "at": (At, "year", False),
    "peak": (Peak, "", False),
    "first_above": (FirstAbove, "level", True),
    "cumulated": (Cumulated, "", False),
}
"""Key -> (measure, the number it needs, whether it takes `otherwise`)."""


class StudyError(SdClusterError):
    """A study file that cannot be used; the text names file, key, what came and what was expected."""


@dataclass(frozen=True, eq=False)
class Study:
    """What a study file says.

    Attributes
    ----------
    path
        The file.
    title
        Heading of its figures and tables.
    model, scenario, space
        What is run, under which changes, and what varies.
    outputs
        Variables to keep.
    horizon
        Start and end; the model's own where None.
    save
        Time between saved rows, or the times; the model's own where None.
    samples, method, seed
        How the space is sampled; `method` is None where the file leaves it out.
    solver, rtol
        Both None where the file leaves the choice to the library.
    store
        Name of the Zarr folder to which runs stream, within the folder of results; None for one netCDF file.
    analysis
        Name of the sensitivity analysis.
    of
        What the analysis asks of the runs.
    settings
        Its other settings, such as `second_order`.
    """

    path: Path
    title: str
    model: Model
    scenario: Scenario
    space: Space
    outputs: tuple[str, ...]
    horizon: tuple[float, float] | None = None
    save: float | tuple[float, ...] | None = None
    samples: int = 1024
    method: str | None = None
    seed: int = 0
    solver: Solver | None = None
    rtol: float | None = None
    store: str | None = None
    analysis: str = "sobol"
    of: tuple[Output, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


class _Table:
    """One table of the file, taken key by key, so that what nobody takes is an error."""

    def __init__(self, file: str, where: str, data: Mapping[str, Any]) -> None:
        self.file, self.where, self.data = file, where, data
        self.known: list[str] = []

    def error(self, name: str, expected: str) -> StudyError:
        """Say what came and what was expected."""
        return StudyError(f"{self.file}: '{self.where}{name}' is {_shown(self.data[name])}; expected {expected}")

    def take(self, name: str, expected: str, read: Callable[[Any], Value], default: Value) -> Value:
        """Read a key, or give the default; `read` raises ValueError or TypeError for what it cannot use."""
        self.known.append(name)
        if name not in self.data:
            return default
        try:
            return read(self.data[name])
        except (ValueError, TypeError):
            raise self.error(name, expected) from None

    def need(self, name: str, example: str) -> None:
        """Insist on a key."""
        if name not in self.data:
            wrong = [key for key in self.data if near(key, [name])]
            hint = f" ('{wrong[0]}' stands there)" if wrong else ""
            raise StudyError(f"{self.file}: '{self.where}{name}' is missing{hint}; write, for instance, {example}")

    def done(self) -> None:
        """Refuse keys that nobody took."""
        for name in self.data:
            if name not in self.known:
                told = ", ".join(self.known)
                raise StudyError(f"{self.file}: no key '{self.where}{name}'{near(name, self.known)}; there are: {told}")


def read_study(path: str | Path) -> Study:
    """Read a study file and check all of it against its model.

    Raises
    ------
    StudyError
        If the file is missing or not TOML, a key is missing, unknown or not what is expected, or a name is not in
        the model.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise StudyError(f"no study file '{path}'; give the path of a .toml file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path.name} is not TOML: {error}") from None
    top = _Table(path.name, "", data)
    top.need("model", 'model = "collective_learning"')
    model = _model(top, path)
    title = top.take("title", "a text", _text, path.stem.replace("_", " "))
    horizon = top.take("horizon", "two years, [start, end], start first", _pair, None)
    save = top.take("save", "years between saved rows, above zero, or a list of years", _save, None)
    changes = top.take("scenario", "a table of changes", _mapping, dict[str, Any]())
    scenario = Scenario(title, _changes(_Table(path.name, "scenario.", changes)))
    _checked(path.name, "scenario", lambda: apply(model, scenario))
    space = _space(top, path, model)
    clash = {model.variable(name).name for name in space.names} & {model.variable(name).name for name in changes}
    if clash:
        raise StudyError(f"{path.name}: '{min(clash)}' stands in both scenario and space; set it or vary it, not both")
    outputs = top.take("outputs", 'names of variables, ["trust"]', _texts, tuple(model.stocks))
    outputs = _checked(path.name, "outputs", lambda: tuple(model.variable(name).name for name in outputs))
    samples = top.take("samples", "a whole number above zero", lambda value: _whole(value, 1), 1024)
    method = top.take("method", f"one of {', '.join(METHODS)}", _one_of(METHODS), None)
    seed = top.take("seed", "a whole number from 0 on", lambda value: _whole(value, 0), 0)
    solver = _solver(top)
    rtol = top.take("rtol", "a number between 0 and 1, such as 1e-5", _share, None)
    store = top.take("store", 'the name of a folder that ends in .zarr, "runs.zarr"', _zarr, None)
    asked = top.take("sensitivity", "a table, as in [sensitivity]", _mapping, dict[str, Any]())
    analysis, of, settings = _sensitivity(_Table(path.name, "sensitivity.", asked), model, outputs)
    top.done()
    return Study(
        path, title, model, scenario, space, outputs, horizon, save, samples, method, seed, solver, rtol, store,
        analysis, of, settings,
    )  # fmt: skip


def _model(top: _Table, path: Path) -> Model:
    from sd_cluster.reading import load

    name = top.take("model", "the name of a shipped model, or a model file beside this one", _text, "")
    beside = path.parent / name
    return _checked(path.name, "model", lambda: load(beside if Path(name).suffix else name))


def _changes(table: _Table) -> dict[str, float | TimeSeries]:
    """Read the changes of a scenario: numbers, or series of years."""
    expected = "a number, a table of years, { 1990 = 0.2, 2010 = 0.6 }, or { years = [...], values = [...] }"
    return {name: _series(table, name, expected) for name in table.data}


def _series(table: _Table, name: str, expected: str) -> float | TimeSeries:
    value = table.data[name]
    try:
        if not isinstance(value, Mapping):
            return _number(value)
        if "years" in value or "values" in value:
            inner = _Table(table.file, f"{table.where}{name}.", value)
            kind = inner.take("kind", "'linear' or 'previous'", _one_of(("linear", "previous")), "linear")
            years = inner.take("years", "a list of numbers", _numbers, tuple[float, ...]())
            values = inner.take("values", "a list of numbers", _numbers, tuple[float, ...]())
            inner.done()
            return TimeSeries(years, values, "previous" if kind == "previous" else "linear")
        points = sorted((float(year), _number(number)) for year, number in value.items())
        return TimeSeries([year for year, _ in points], [number for _, number in points])
    except (ValueError, TypeError):
        raise table.error(name, expected) from None
    except ScenarioError as error:
        raise StudyError(f"{table.file}: '{table.where}{name}': {error}") from None


def _space(top: _Table, path: Path, model: Model) -> Space:
    """Read `space`, `correlation` and `rows`."""
    entries = top.take("space", "a table of parameters, as in [space]", _mapping, dict[str, Any]())
    pairs = top.take(
        "correlation", 'triples, [["trust", "talent flow", 0.5]]', _triples, dict[tuple[str, str], float]()
    )
    rows = top.take("rows", "the name of a .csv file beside this one", _text, None)
    if not entries and rows is None:
        top.need("space", '[space] and a line "initial trust" = [0.05, 0.6]')
    table = _Table(path.name, "space.", entries)
    read = {name: _entry(table, name, model) for name in entries}

    def made() -> Space:
        if rows is None:
            return Space(read, correlation=pairs)
        whole = Space.rows(_csv(path.parent / rows), also=read)
        return Space(read, correlation=pairs, table=whole.table)

    space = _checked(path.name, "space", made)
    _checked(path.name, "space", lambda: space.check(model))
    return space


def _csv(path: Path) -> Any:
    import pandas as pd

    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ScenarioError(f"'rows': {path.name} cannot be read as a table ({error})") from None


def _entry(table: _Table, name: str, model: Model) -> Entry:
    """Read how one parameter is uncertain."""
    value = table.data[name]
    expected = (
        '[low, high], "model" for the range of the model file, { low = ..., high = ..., log = true },'
        ' or { distribution = "norm", loc = ..., scale = ... }'
    )
    if value == "model":
        return _checked(table.file, f"space.{name}", lambda: Space.of(model, [name]).ranges[model.variable(name).name])
    if isinstance(value, Sequence) and not isinstance(value, str):
        try:
            return _pair(value)
        except (ValueError, TypeError):
            raise table.error(name, "two numbers, [low, high], low first") from None
    if not isinstance(value, Mapping):
        raise table.error(name, expected)
    inner = _Table(table.file, f"space.{name}.", value)
    if "distribution" in value:
        return _distribution(inner)
    inner.need("low", "low = 0.1")
    inner.need("high", "high = 10")
    low = inner.take("low", "a number", _number, 0.0)
    high = inner.take("high", "a number", _number, 0.0)
    logarithmic = inner.take("log", "true or false", _truth, False)
    inner.done()
    if logarithmic:
        return _checked(table.file, f"space.{name}", lambda: LogRange(low, high))
    return low, high


def _distribution(table: _Table) -> Entry:
    """Read a distribution of `scipy.stats` by its name and the names of its parameters."""
    from scipy import stats

    families = [
        name for name in dir(stats) if isinstance(getattr(stats, name), stats.rv_continuous | stats.rv_discrete)
    ]
    name = str(table.data["distribution"])
    if name not in families:
        raise StudyError(
            f"{table.file}: '{table.where}distribution': scipy.stats has no '{name}'{near(name, families)}"
        )
    law: Any = getattr(stats, name)
    shapes = [shape.strip() for shape in (law.shapes or "").split(",") if shape.strip()]
    continuous = isinstance(law, stats.rv_continuous)
    table.known.append("distribution")
    given = {}
    for key in [*shapes, "loc", *["scale"] * continuous]:
        if key in shapes:
            table.need(key, f"{key} = 2")
        if (number := table.take(key, "a number", _number, None)) is not None:
            given[key] = number
    table.done()
    frozen: Entry = law(**given)
    return frozen


def _solver(top: _Table) -> Solver | None:
    name = top.take("solver", f"one of {', '.join(_SOLVERS)}", _one_of(_SOLVERS), None)
    step = top.take("step", "the length of a step, above zero", _positive, None)
    if step is not None and name not in ("euler", "rk4"):
        raise StudyError(f'{top.file}: \'step\' is for solver = "euler" or "rk4"; leave it out, or name one of them')
    if name is None:
        return None
    return _SOLVERS[name]() if step is None else _SOLVERS[name](step=step)


def _sensitivity(
    table: _Table, model: Model, outputs: tuple[str, ...]
) -> tuple[str, tuple[Output, ...], dict[str, Any]]:
    """Read which analysis is asked for, of what, and its settings."""
    analysis = table.take("method", f"one of {', '.join(ANALYSES)}", _one_of(ANALYSES), "sobol")
    expected = 'variables, ["trust"], or measures, [{ final = "trust" }, { first_above = "trust", level = 0.5 }]'
    asked = table.take("of", expected, _sequence, list(outputs))
    of = tuple(_measure(table, one, expected) for one in asked)

    def named() -> None:
        for measure in measures_of(of):
            for name in measure.variables:
                model.variable(name)

    _checked(table.file, "sensitivity.of", named)
    settings = {name: value for name, value in table.data.items() if name not in table.known}
    return analysis or "sobol", of, settings


def _measure(table: _Table, asked: Any, expected: str) -> Output:
    if isinstance(asked, str):
        return asked
    kind = next((key for key in _MEASURES if isinstance(asked, Mapping) and key in asked), None)
    if kind is None:
        raise table.error("of", f"{expected}; measures are {', '.join(_MEASURES)}")
    make, number, otherwise = _MEASURES[kind]
    inner = _Table(table.file, "sensitivity.of.", asked)
    given: dict[str, Any] = {"variable": inner.take(kind, "the name of a variable", _text, "")}
    if number:
        inner.need(number, f"{number} = {2020 if number == 'year' else 0.5}")
        given[number] = inner.take(number, "a number", _number, 0.0)
    if otherwise:
        given["otherwise"] = inner.take("otherwise", "a number", _number, None)
    inner.done()
    return make(**given)


def _checked(file: str, key: str, work: Callable[[], Value]) -> Value:
    """Do what may find fault with the file, and name the file and the key in the fault."""
    try:
        return work()
    except StudyError:
        raise
    except SdClusterError as error:
        raise StudyError(f"{file}: '{key}': {error}") from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return tuple(_text(one) for one in value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return float(value)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(_number(one) for one in _sequence(value))


def _positive(value: Any) -> float:
    if not _number(value) > 0:
        raise ValueError
    return float(value)


def _share(value: Any) -> float:
    if not 0 < _number(value) < 1:
        raise ValueError
    return float(value)


def _whole(value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _sequence(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    return value


def _pair(value: Any) -> tuple[float, float]:
    low, high = _numbers(value)
    if not low < high:
        raise ValueError
    return low, high


def _save(value: Any) -> float | tuple[float, ...]:
    return _numbers(value) if isinstance(value, list) else _positive(value)


def _triples(value: Any) -> dict[tuple[str, str], float]:
    return {(_text(one), _text(other)): _number(rho) for one, other, rho in _sequence(value)}


def _zarr(value: Any) -> str:
    if not _text(value).endswith(".zarr") or Path(value).name != value:
        raise ValueError
    return str(value)


def _one_of(choices: Sequence[str] | Mapping[str, Any]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError
        return str(value)

    return read
