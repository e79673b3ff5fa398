"""Scenarios: named changes to parameters, initial stocks and inputs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from sd_cluster.errors import ModelError, ScenarioError, near
from sd_cluster.expressions import TIME, Lookup, Name
from sd_cluster.model import CONTROLS, Auxiliary, Equation, Model, Parameter, Stock, Table, key

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TimeSeries:
    """A function of time given by points.

    Attributes
    ----------
    years
        Increasing times.
    values
        Values at those times; before the first and after the last they stay level.
    kind
        `linear`: straight between points. `previous`: each value holds until the next point, so that a policy can
        switch; continuous solvers stop and restart there.

    Raises
    ------
    ScenarioError
        If there are no points, times do not increase, or a number is not finite.

    Examples
    --------
    A lever at 0.2 that is raised to 0.6 in 2010:

    >>> TimeSeries([1980, 2010], [0.2, 0.6], kind="previous").values
    (0.2, 0.6)
    """

    years: tuple[float, ...]
    values: tuple[float, ...]
    kind: Literal["linear", "previous"] = "linear"

    def __init__(
        self, years: Sequence[float], values: Sequence[float], kind: Literal["linear", "previous"] = "linear"
    ) -> None:
        try:
            object.__setattr__(self, "years", tuple(map(float, years)))
            object.__setattr__(self, "values", tuple(map(float, values)))
        except (TypeError, ValueError) as error:
            raise ScenarioError(f"a time series takes numbers ({error})") from None
        object.__setattr__(self, "kind", kind)
        if not self.years or len(self.years) != len(self.values):
            raise ScenarioError(
                f"a time series has {len(self.years)} years and {len(self.values)} values; give one value a year"
            )
        if not all(map(math.isfinite, (*self.years, *self.values))):
            raise ScenarioError("a time series holds a number that is not finite; leave that year out")
        if any(later <= earlier for earlier, later in zip(self.years, self.years[1:], strict=False)):
            raise ScenarioError("the years of a time series should increase, each named once")
        if kind not in ("linear", "previous"):
            raise ScenarioError(f"a time series is 'linear' or 'previous', not '{kind}'")


Change: TypeAlias = "float | TimeSeries | Mapping[float, float] | pd.Series[float]"


@dataclass(frozen=True)
class Scenario:
    """Named changes to a model: nothing else distinguishes two runs.

    Attributes
    ----------
    name
        What the run is called in figures and tables.
    changes
        By variable: a number for a parameter or for a stock's initial value; a `TimeSeries`, a mapping of
        year to value, or a pandas Series over years for a parameter that shall vary.

    Examples
    --------
    >>> closed = Scenario("closed firms", {"talent flow": 0.05})
    >>> closed.with_changes({"trust": 0.3}).changes["trust"]
    0.3
    """

    name: str = "base"
    changes: Mapping[str, float | TimeSeries] = field(default_factory=dict)

    def __init__(self, name: str = "base", changes: "Mapping[str, Change] | None" = None) -> None:
        object.__setattr__(self, "name", name)
        taken = {target: _taken(name, target, change) for target, change in (changes or {}).items()}
        object.__setattr__(self, "changes", MappingProxyType(taken))

    def __reduce__(self) -> tuple[type["Scenario"], tuple[str, dict[str, float | TimeSeries]]]:
        return Scenario, (self.name, dict(self.changes))

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.changes.items())))

    def with_changes(self, changes: "Mapping[str, Change]", name: str | None = None) -> "Scenario":
        """The scenario with further changes, which win over its own; under a new name where one is given."""
        return Scenario(self.name if name is None else name, {**self.changes, **changes})


def _taken(scenario: str, target: str, change: object) -> float | TimeSeries:
    if isinstance(change, TimeSeries):
        return change
    if isinstance(change, str) or type(change).__name__ in {"bool", "bool_"}:
        raise ScenarioError(f"scenario '{scenario}' sets '{target}' to {change!r}; give a number or a time series")
    try:
        if isinstance(change, Mapping):
            points = sorted((float(year), float(value)) for year, value in change.items())
            return TimeSeries([year for year, _ in points], [value for _, value in points])
        if hasattr(change, "index") and hasattr(change, "to_numpy"):
            return TimeSeries(change.index.to_numpy(float), change.to_numpy(float))
    except (TypeError, ValueError, ScenarioError) as error:
        raise ScenarioError(f"scenario '{scenario}' sets '{target}': {error}") from None
    try:
        value = float(change)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ScenarioError(
            f"scenario '{scenario}' sets '{target}' to {change!r}; give a number or a time series"
        ) from None
    if not math.isfinite(value):
        raise ScenarioError(f"scenario '{scenario}' sets '{target}' to {value}; give a finite number")
    return value


@dataclass(frozen=True, eq=False)
class Inputs:
    """A scenario worked into a model.

    Attributes
    ----------
    model
        The model with varying parameters turned into tables of time, and overridden initial stocks into
        parameters; the model itself where there are none.
    values
        Parameter values of `model` that differ from the file.
    tables
        Tables of `model` that hold the time series.
    """

    model: Model
    values: Mapping[str, float]
    tables: Mapping[str, Table]


def apply(model: Model, scenario: Scenario) -> Inputs:
    """Work a scenario into a model.

    Raises
    ------
    ScenarioError
        If it names what the model does not have (with the near match), what the model computes, or makes a control
        variable vary.
    """
    values: dict[str, float] = {}
    series: dict[str, TimeSeries] = {}
    stocks: set[str] = set()
    targets = [
        (equation, change)
        for target, change in scenario.changes.items()
        for equation in _targets(model, scenario.name, target)
    ]
    for equation, change in dict(targets).items():
        if isinstance(equation, Stock):
            if isinstance(change, TimeSeries):
                raise ScenarioError(
                    f"scenario '{scenario.name}' makes stock '{equation.name}' a function of time;"
                    " a stock takes one number, its initial value"
                )
            stocks.add(equation.name)
            values[_start_name(equation.name)] = change
        elif isinstance(change, TimeSeries):
            series[equation.name] = change
        else:
            values[equation.name] = change
    shape = (frozenset((name, item.kind) for name, item in series.items()), frozenset(stocks))
    if not series and not stocks:
        return Inputs(model, values, {})
    if model.whole is not None:
        name = next(iter([*series, *stocks]))
        raise ScenarioError(
            f"scenario '{scenario.name}' sets '{name}'; where arrays are kept whole only parameters can be set,"
            " to numbers"
        )
    variants: dict[object, Model] = model.__dict__.setdefault("_variants", {})
    if shape not in variants:
        variants[shape] = _variant(model, series, stocks)
    tables = {_series_name(name): _table(name, item) for name, item in series.items()}
    return Inputs(variants[shape], values, tables)


def targets_of(model: Model, names: Sequence[str]) -> dict[str, int]:
    """Parameters that some names set, an array's one by one, each with the place of the name that sets it.

    Raises
    ------
    ScenarioError
        If a name is unknown or computed.
    """
    return {
        _start_name(equation.name) if isinstance(equation, Stock) else equation.name: place
        for place, name in enumerate(names)
        for equation in _targets(model, "draws", name)
    }


def _targets(model: Model, scenario: str, target: str) -> list[Parameter | Stock]:
    """What a name of a scenario sets: one variable, or each element of an array."""
    return [_target(model, scenario, element) for element in model.elements(target) or (target,)]


def _target(model: Model, scenario: str, target: str) -> Parameter | Stock:
    try:
        equation = model.variable(target)
    except ModelError:
        settable = [*model.parameters, *model.stocks]
        raise ScenarioError(
            f"scenario '{scenario}' sets '{target}', but {model.name} has no such variable{near(target, settable)}"
        ) from None
    if key(equation.name) in map(key, CONTROLS):
        raise ScenarioError(
            f"scenario '{scenario}' sets '{equation.name}'; give the run a horizon, a solver step or save times instead"
        )
    if not isinstance(equation, Parameter | Stock):
        raise ScenarioError(
            f"scenario '{scenario}' sets '{equation.name}', which the model computes;"
            " set a parameter, initial stock or input"
        )
    return equation


def _start_name(stock: str) -> str:
    return f"{stock} #at the start"


def _series_name(parameter: str) -> str:
    return f"{parameter} #over time"


def _table(name: str, series: TimeSeries) -> Table:
    return Table(name=_series_name(name), hidden=True, x=series.years, y=series.values, step=series.kind == "previous")


def _variant(model: Model, series: Mapping[str, TimeSeries], stocks: set[str]) -> Model:
    equations: list[Equation] = []
    for equation in model.equations:
        if equation.name in stocks and isinstance(equation, Stock):
            start = Parameter(name=_start_name(equation.name), units=equation.units, hidden=True)
            equations += [start, _with_initial(equation, Name(start.name))]
        elif equation.name in series:
            table = _table(equation.name, series[equation.name])
            reading = Lookup(table.name, Name(TIME))
            about = {
                "units": equation.units,
                "note": equation.note,
                "low": equation.low,
                "high": equation.high,
            }
            equations += [table, Auxiliary(name=equation.name, expression=reading, **about)]  # type: ignore[arg-type]
        else:
            equations.append(equation)
    return replace(model, equations=tuple(equations))


def _with_initial(stock: Stock, initial: Name) -> Stock:
    return replace(stock, initial=initial)
