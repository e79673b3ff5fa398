"""Studies: one TOML file that says which model is swept, over which space, and what is asked of the runs.

Everything is checked while the file is read, so that a misspelt name costs a second and not a night. The
page `docs/ensembles.md` shows all keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sd_cluster.errors import ScenarioError, near
from sd_cluster.marginals import Entry, LogRange
from sd_cluster.measures import At, Cumulated, Final, FirstAbove, Output, Peak, measures_of
from sd_cluster.model import Model
from sd_cluster.scenario import Scenario, apply
from sd_cluster.solvers import Adaptive, Euler, RungeKutta4, Solver
from sd_cluster.space import METHODS, Space
from sd_cluster.study_table import (
    StudyError,
    StudyTable,
    a_number,
    a_share,
    a_text,
    changes_from,
    checked,
    mapping,
    numbers,
    one_of,
    pair,
    positive,
    read_toml,
    sequence,
    texts,
    truth,
    whole,
)

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


def read_study(path: str | Path) -> Study:
    """Read a study file and check all of it against its model.

    Raises
    ------
    StudyError
        If the file is missing or not TOML, a key is missing, unknown or not what is expected, or a name is not in
        the model.
    """
    path = Path(path)
    data = read_toml(path)
    top = StudyTable(path.name, "", data)
    top.need("model", 'model = "collective_learning"')
    model = _model(top, path)
    title = top.take("title", "a text", a_text, path.stem.replace("_", " "))
    horizon = top.take("horizon", "two years, [start, end], start first", pair, None)
    save = top.take("save", "years between saved rows, above zero, or a list of years", _save, None)
    changes = top.take("scenario", "a table of changes", mapping, dict[str, Any]())
    scenario = Scenario(title, changes_from(StudyTable(path.name, "scenario.", changes)))
    checked(path.name, "scenario", lambda: apply(model, scenario))
    space = _space(top, path, model)
    clash = {model.variable(name).name for name in space.names} & {model.variable(name).name for name in changes}
    if clash:
        raise StudyError(f"{path.name}: '{min(clash)}' stands in both scenario and space; set it or vary it, not both")
    outputs = top.take("outputs", 'names of variables, ["trust"]', texts, tuple(model.stocks))
    outputs = checked(path.name, "outputs", lambda: tuple(model.variable(name).name for name in outputs))
    samples = top.take("samples", "a whole number above zero", lambda value: whole(value, 1), 1024)
    method = top.take("method", f"one of {', '.join(METHODS)}", one_of(METHODS), None)
    seed = top.take("seed", "a whole number from 0 on", lambda value: whole(value, 0), 0)
    solver = _solver(top)
    rtol = top.take("rtol", "a number between 0 and 1, such as 1e-5", a_share, None)
    store = top.take("store", 'the name of a folder that ends in .zarr, "runs.zarr"', _zarr, None)
    asked = top.take("sensitivity", "a table, as in [sensitivity]", mapping, dict[str, Any]())
    analysis, of, settings = _sensitivity(StudyTable(path.name, "sensitivity.", asked), model, outputs)
    top.done()
    return Study(
        path, title, model, scenario, space, outputs, horizon, save, samples, method, seed, solver, rtol, store,
        analysis, of, settings,
    )  # fmt: skip


def _model(top: StudyTable, path: Path) -> Model:
    from sd_cluster.reading import load

    name = top.take("model", "the name of a shipped model, or a model file beside this one", a_text, "")
    beside = path.parent / name
    return checked(path.name, "model", lambda: load(beside if Path(name).suffix else name))


def _space(top: StudyTable, path: Path, model: Model) -> Space:
    """Read `space`, `correlation` and `rows`."""
    entries = top.take("space", "a table of parameters, as in [space]", mapping, dict[str, Any]())
    pairs = top.take(
        "correlation", 'triples, [["trust", "talent flow", 0.5]]', _triples, dict[tuple[str, str], float]()
    )
    rows = top.take("rows", "the name of a .csv file beside this one", a_text, None)
    if not entries and rows is None:
        top.need("space", '[space] and a line "initial trust" = [0.05, 0.6]')
    table = StudyTable(path.name, "space.", entries)
    read = {name: _entry(table, name, model) for name in entries}

    def made() -> Space:
        if rows is None:
            return Space(read, correlation=pairs)
        whole = Space.rows(_csv(path.parent / rows), also=read)
        return Space(read, correlation=pairs, table=whole.table)

    space = checked(path.name, "space", made)
    checked(path.name, "space", lambda: space.check(model))
    return space


def _csv(path: Path) -> Any:
    import pandas as pd

    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ScenarioError(f"'rows': {path.name} cannot be read as a table ({error})") from None


def _entry(table: StudyTable, name: str, model: Model) -> Entry:
    """Read how one parameter is uncertain."""
    value = table.data[name]
    expected = (
        '[low, high], "model" for the range of the model file, { low = ..., high = ..., log = true },'
        ' or { distribution = "norm", loc = ..., scale = ... }'
    )
    if value == "model":
        return checked(table.file, f"space.{name}", lambda: Space.of(model, [name]).ranges[model.variable(name).name])
    if isinstance(value, Sequence) and not isinstance(value, str):
        try:
            return pair(value)
        except (ValueError, TypeError):
            raise table.error(name, "two numbers, [low, high], low first") from None
    if not isinstance(value, Mapping):
        raise table.error(name, expected)
    inner = StudyTable(table.file, f"space.{name}.", value)
    if "distribution" in value:
        return _distribution(inner)
    inner.need("low", "low = 0.1")
    inner.need("high", "high = 10")
    low = inner.take("low", "a number", a_number, 0.0)
    high = inner.take("high", "a number", a_number, 0.0)
    logarithmic = inner.take("log", "true or false", truth, False)
    inner.done()
    if logarithmic:
        return checked(table.file, f"space.{name}", lambda: LogRange(low, high))
    return low, high


def _distribution(table: StudyTable) -> Entry:
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
        if (number := table.take(key, "a number", a_number, None)) is not None:
            given[key] = number
    table.done()
    frozen: Entry = law(**given)
    return frozen


def _solver(top: StudyTable) -> Solver | None:
    name = top.take("solver", f"one of {', '.join(_SOLVERS)}", one_of(_SOLVERS), None)
    step = top.take("step", "the length of a step, above zero", positive, None)
    if step is not None and name not in ("euler", "rk4"):
        raise StudyError(f'{top.file}: \'step\' is for solver = "euler" or "rk4"; leave it out, or name one of them')
    if name is None:
        return None
    return _SOLVERS[name]() if step is None else _SOLVERS[name](step=step)


def _sensitivity(
    table: StudyTable, model: Model, outputs: tuple[str, ...]
) -> tuple[str, tuple[Output, ...], dict[str, Any]]:
    """Read which analysis is asked for, of what, and its settings."""
    analysis = table.take("method", f"one of {', '.join(ANALYSES)}", one_of(ANALYSES), "sobol")
    expected = 'variables, ["trust"], or measures, [{ final = "trust" }, { first_above = "trust", level = 0.5 }]'
    asked = table.take("of", expected, sequence, list(outputs))
    of = tuple(_measure(table, one, expected) for one in asked)

    def named() -> None:
        for measure in measures_of(of):
            for name in measure.variables:
                model.variable(name)

    checked(table.file, "sensitivity.of", named)
    settings = {name: value for name, value in table.data.items() if name not in table.known}
    return analysis or "sobol", of, settings


def _measure(table: StudyTable, asked: Any, expected: str) -> Output:
    if isinstance(asked, str):
        return asked
    kind = next((key for key in _MEASURES if isinstance(asked, Mapping) and key in asked), None)
    if kind is None:
        raise table.error("of", f"{expected}; measures are {', '.join(_MEASURES)}")
    make, number, otherwise = _MEASURES[kind]
    inner = StudyTable(table.file, "sensitivity.of.", asked)
    given: dict[str, Any] = {"variable": inner.take(kind, "the name of a variable", a_text, "")}
    if number:
        inner.need(number, f"{number} = {2020 if number == 'year' else 0.5}")
        given[number] = inner.take(number, "a number", a_number, 0.0)
    if otherwise:
        given["otherwise"] = inner.take("otherwise", "a number", a_number, None)
    inner.done()
    return make(**given)


def _save(value: Any) -> float | tuple[float, ...]:
    return numbers(value) if isinstance(value, list) else positive(value)


def _triples(value: Any) -> dict[tuple[str, str], float]:
    return {(a_text(one), a_text(other)): a_number(rho) for one, other, rho in sequence(value)}


def _zarr(value: Any) -> str:
    if not a_text(value).endswith(".zarr") or Path(value).name != value:
        raise ValueError
    return str(value)
