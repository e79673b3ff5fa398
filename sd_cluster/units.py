"""Static units check: both sides of every equation, by pint, with the modeller's own units."""

import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, TypeAlias

from sd_cluster.errors import UnitsError
from sd_cluster.expressions import (
    COMPARISONS,
    LOGIC,
    TIME,
    Call,
    Expression,
    Lookup,
    Name,
    Number,
    Operation,
    text,
    walk,
)
from sd_cluster.model import Auxiliary, Equation, Frozen, Held, Model, Parameter, Stock, Table, Variable, written
from sd_cluster.text import some

Dimension: TypeAlias = "Mapping[str, float] | None"
"""Exponents by base unit; an empty mapping is dimensionless, None is not known."""

_DIMENSIONLESS = {"", "1", "dmnl", "dimensionless", "fraction", "unitless", "none"}
_SAME = {
    "yr": "year",
    "yrs": "year",
    "mth": "month",
    "mo": "month",
    "wk": "week",
    "dollar": "$",
    "people": "person",
}
_UNMEASURED = {
    "allocate_available", "allocate_by_priority", "at_price", "drawn", "exponential_between", "find_market_price",
    "inverted", "market_price", "noise", "normal", "normal_share", "pick", "prod", "quantity_at_price", "ranked",
    "reorder", "vector_elm_map", "vector_select", "sorted_order",
}  # fmt: skip
_LIKE_ARGUMENT = {"abs", "max", "min", "modulo", "quantum", "integer", "xmile_integer", "xmile_modulo"}
_PLAIN_ARGUMENT = {
    "exp", "gamma_ln", "ln", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
}  # fmt: skip


class _ClashError(Exception):
    def __init__(self, what: str) -> None:
        super().__init__(what)


@cache
def _registry() -> Any:
    """An empty pint registry: each unit of a model is a dimension of its own, as in Vensim."""
    import pint

    return pint.UnitRegistry(None, cache_folder=None)


def dimension(units: str) -> Mapping[str, float]:
    """Exponents of a unit as a modeller writes it; singular and plural are one.

    Raises
    ------
    ValueError
        If the text is not a unit.

    Examples
    --------
    >>> dict(dimension("persons/(firm*Year)"))
    {'person': 1.0, 'firm': -1.0, 'year': -1.0}
    """
    words = re.sub(r"[^\W\d][\w$%]*(?:[ _]+[^\W\d][\w$%]*)*|[$%€£¥]", _as_identifier, units.strip())
    if not words or words == "1":
        return {}
    registry = _registry()
    for word in re.findall(r"u_\w+", words):
        if word not in registry:
            registry.define(f"{word} = [{word}]")
    try:
        parsed = (
            registry.parse_units(words)
            if not re.match(r"^\s*1\s*/", words)
            else (registry.parse_expression(words)).units
        )
    except Exception as error:
        raise ValueError(f"'{units}' is not a unit ({error})") from None
    return {_from_identifier(name): float(power) for name, power in parsed._units.items() if power}


def _as_identifier(match: re.Match[str]) -> str:
    word = " ".join(match.group().replace("_", " ").casefold().split())
    if word in _DIMENSIONLESS:
        return "1"
    word = _SAME.get(word, word)
    if len(word) > 2 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    word = _SAME.get(word, word)
    return "u_" + "".join(letter if letter.isalnum() else f"_{ord(letter):x}_" for letter in word)


def _from_identifier(word: str) -> str:
    return re.sub(r"_([0-9a-f]+)_", lambda match: chr(int(match.group(1), 16)), word.removeprefix("u_"))


def show(dimensions: Dimension) -> str:
    """A dimension as a person would write it.

    Examples
    --------
    >>> show({"person": 1.0, "year": -1.0})
    'person/year'
    """
    if dimensions is None:
        return "unknown"

    def power(name: str, exponent: float) -> str:
        return name if exponent == 1 else f"{name}^{exponent:g}"

    above = "*".join(power(name, exponent) for name, exponent in dimensions.items() if exponent > 0)
    below = "*".join(power(name, -exponent) for name, exponent in dimensions.items() if exponent < 0)
    if not below:
        return above or "dimensionless"
    many = "*" in below
    return f"{above or '1'}/{f'({below})' if many else below}"


def check_units(model: Model, first: Collection[str] | None = None) -> tuple[str, ...]:
    """Check that both sides of every equation have the same units.

    Numbers written in an equation are dimensionless when they are added to something; where they stand alone (an
    initial value, a time, a bound, a branch) they take the unit that is needed. Variables without declared units
    are not known: what they touch is not judged.

    Parameters
    ----------
    model
    first
        Names of the equations to look at, where one element of an array speaks for all; all where not given.

    Returns
    -------
    notes
        Sentences about what could not be checked.

    Raises
    ------
    UnitsError
        If equations clash: the first in one line, with both dimensions; all of them as `clashes`.
    """
    declared, notes = _declared(model)
    clashes = []
    for equation in model.equations:
        if first is not None and equation.name not in first:
            continue
        try:
            _check(equation, declared, model)
        except _ClashError as clash:
            clashes.append(f"{model.name}: {clash}")
    if clashes:
        raise UnitsError(clashes)
    return notes


def _declared(model: Model) -> tuple[dict[str, Dimension], tuple[str, ...]]:
    found: dict[str, Dimension] = {}
    missing = []
    for equation in model.equations:
        found[equation.name] = None
        if equation.hidden or equation.units.strip() == "?":
            continue
        if not equation.units.strip():
            missing.append(equation.name)
            continue
        try:
            found[equation.name] = dimension(equation.units)
        except ValueError as error:
            raise UnitsError([f"{model.name}: '{equation.name}' is declared in {error}"]) from None
    found[TIME] = dimension(model.horizon.unit) if model.horizon.unit else None
    if not missing:
        return found, ()
    names = some([f"'{name}'" for name in missing])
    return found, (f"units are not declared, so not checked, for {len(missing)} variable(s): {names}",)


def _check(equation: Equation, declared: Mapping[str, Dimension], model: Model) -> None:
    own = declared[equation.name]
    match equation:
        case Parameter() | Table() | Variable(hidden=True, units="?"):
            return
        case Stock():
            of = _Measure(equation, declared).of
            rate, initial = of(equation.rate), of(equation.initial)
            per_time = None
            if own is not None and declared[TIME] is not None:
                per_time = _times(own, declared[TIME], -1)
            _same(equation, per_time, rate, equation.rate)
            _same(equation, own, initial, equation.initial)
        case Held():
            of = _Measure(equation, declared).of
            for part in (equation.following, equation.initial):
                _same(equation, own, of(part), part)
        case Auxiliary() | Frozen():
            of = _Measure(equation, declared).of
            _same(equation, own, of(equation.expression), equation.expression)
            if isinstance(equation, Auxiliary) and equation.initial is not None:
                _same(equation, own, of(equation.initial), equation.initial)


def _is_number(expression: Expression) -> bool:
    """Whether an expression is made of numbers alone."""
    return not any(isinstance(node, Name | Lookup) for node in walk(expression))


def _same(equation: Equation, own: Dimension, other: Dimension, expression: Expression) -> None:
    if own is None or other is None or own == other or _is_number(expression):
        return
    what = "needs" if isinstance(equation, Stock) else "is declared in"
    raise _ClashError(f"'{equation.name}' {what} {show(own)}, but '{text(expression)}' gives {show(other)}")


def _times(first: Dimension, second: Dimension, sign: float = 1.0) -> Dimension:
    if first is None or second is None:
        return None
    result = dict(first)
    for name, power in second.items():
        result[name] = result.get(name, 0.0) + sign * power
    return {name: power for name, power in result.items() if abs(power) > 1e-9}


class _Measure:
    """Dimensions of the expressions of one equation."""

    def __init__(self, equation: Equation, declared: Mapping[str, Dimension]) -> None:
        self.equation = equation
        self.declared = declared

    def of(self, expression: Expression) -> Dimension:
        match expression:
            case Number():
                return None if expression.value == 0.0 else {}
            case Name():
                return self.declared[expression.name]
            case Lookup():
                self.of(expression.argument)
                if expression.how in {"first time", "last time"}:
                    return self.declared[TIME]
                return None if expression.how in {"invert", "points"} else self.declared[expression.table]
            case Operation():
                return self._operation(expression)
            case Call():
                return self._call(expression)

    def clash(self, what: str) -> _ClashError:
        return _ClashError(f"in '{self.equation.name}' = {written(self.equation)}: {what}")

    def alike(self, *parts: Expression, numbers_fit: bool = True) -> Dimension:
        """The common dimension of parts that are compared or stand for one another; bare numbers fit any."""
        known: tuple[Expression, Dimension] | None = None
        for part in parts:
            measured = self.of(part)
            if measured is None or (numbers_fit and _is_number(part)):
                continue
            if known is not None and known[1] != measured:
                first, second = text(known[0]), text(part)
                raise self.clash(f"'{first}' is in {show(known[1])}, '{second}' in {show(measured)}")
            known = known or (part, measured)
        return known[1] if known else None

    def plain(self, part: Expression, where: str) -> None:
        measured = self.of(part)
        if measured:
            raise self.clash(f"{where} should be dimensionless, '{text(part)}' is in {show(measured)}")

    def _operation(self, operation: Operation) -> Dimension:
        operator, operands = operation.operator, operation.operands
        if operator in COMPARISONS:
            self.alike(*operands)
            return {}
        if operator in LOGIC:
            for operand in operands:
                self.of(operand)
            return {}
        if operator in {"+", "-"}:
            return self.alike(*operands, numbers_fit=False)
        if operator == "neg":
            return self.of(operands[0])
        if operator in {"*", "/"}:
            first, second = self.of(operands[0]), self.of(operands[1])
            if Number(0.0) in operands[:1]:
                return None
            return _times(first, second, 1.0 if operator == "*" else -1.0)
        return self._power(operands[0], operands[1])

    def _power(self, base: Expression, exponent: Expression) -> Dimension:
        self.plain(exponent, "an exponent")
        measured = self.of(base)
        if not measured:
            return measured
        if not isinstance(exponent, Number):
            raise self.clash(f"'{text(base)}' is in {show(measured)}, so its exponent should be a number")
        return {name: power * exponent.value for name, power in measured.items()}

    def _call(self, call: Call) -> Dimension:
        arguments = call.arguments
        match call.function:
            case name if name in _PLAIN_ARGUMENT:
                self.plain(arguments[0], f"the argument of {name}")
                return {}
            case "log":
                self.plain(arguments[0], "the argument of log")
                self.plain(arguments[1], "the base of log")
                return {}
            case "pi":
                return {}
            case "sum" | "vmin" | "vmax" | "mean" | "placed":
                return self.of(arguments[0])
            case "position":
                return {}
            case name if name in _UNMEASURED:
                return None
            case "power":
                return self._power(*arguments)
            case "sqrt":
                return self._power(arguments[0], Number(0.5))
            case "if_then_else":
                self.of(arguments[0])
                return self.alike(*arguments[1:])
            case "xidz" | "xmile_over":
                return self._ratio(arguments[0], arguments[1], arguments[2])
            case "zidz":
                return self._ratio(arguments[0], arguments[1])
            case name if name in _LIKE_ARGUMENT:
                return self.alike(*arguments)
            case _:
                return self._switch(call)

    def _ratio(self, above: Expression, below: Expression, otherwise: Expression | None = None) -> Dimension:
        ratio = _times(self.of(above), self.of(below), -1.0)
        fallback = self.of(otherwise) if otherwise is not None else None
        if ratio is not None and fallback is not None and ratio != fallback and not _is_number(otherwise or above):
            raise self.clash(f"'{text(otherwise or above)}' is in {show(fallback)}, the ratio in {show(ratio)}")
        return ratio if ratio is not None else fallback

    def _switch(self, call: Call) -> Dimension:
        arguments = call.arguments
        size = {"step": 0, "ramp": 0, "xmile_pulse": 1, "xmile_pulse_train": 2}.get(call.function)
        self.alike(Name(TIME), *(part for place, part in enumerate(arguments) if place != size))
        if call.function == "step":
            return self.of(arguments[0])
        if call.function == "ramp":
            return _times(self.of(arguments[0]), self.declared[TIME])
        if call.function in {"xmile_pulse", "xmile_pulse_train"}:
            return _times(self.of(arguments[size or 1]), self.declared[TIME], -1.0)
        return {}
