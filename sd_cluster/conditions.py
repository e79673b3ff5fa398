"""Conditions on the state as switches of their own, so that a solver in continuous time can stop where they turn.

Within a stretch each condition is held as it was when the stretch began: net flows stay smooth up to the moment at
which its two sides are equal, and beyond it, which is what a solver needs to find that moment to its own accuracy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sd_cluster.expressions import Call, Expression, Lookup, Name, Operation
from sd_cluster.model import Auxiliary, Equation, Held, Model, Parameter, Stock
from sd_cluster.structure import structure

PASSES = 60
"""Rounds in which conditions that depend on each other should agree."""


@dataclass(frozen=True)
class Condition:
    """A comparison of expressions that vary with the state.

    Attributes
    ----------
    text
        The comparison as its operator and the variable that it belongs to.
    operator
        One of `<`, `<=`, `>`, `>=`.
    switch
        The hidden parameter that says whether it holds: 1 or 0.
    gap
        The variable that is its left side less its right side.
    """

    text: str
    operator: str
    switch: str
    gap: str

    def holds(self, gap: float) -> bool:
        """Whether it holds for a difference of its sides."""
        return {"<": gap < 0.0, "<=": gap <= 0.0, ">": gap > 0.0, ">=": gap >= 0.0}[self.operator]


@dataclass(frozen=True, eq=False)
class Located:
    """A model whose conditions on the state are switches; the gaps are its last variables."""

    model: Model
    conditions: tuple[Condition, ...]


def located(model: Model) -> Located:
    """A model with switches in place of its conditions on the state; kept while the model lives.

    Conditions of Time and parameters alone are left as they are, as their moments are known before a run; so are `=`
    and `<>`, which hold for no stretch of time.
    """
    if "_located" not in model.__dict__:
        model.__dict__["_located"] = _located(model)
    found: Located = model.__dict__["_located"]
    return found


def _located(model: Model) -> Located:
    found: list[Condition] = []
    table: dict[Expression, Expression] = {}
    gaps: list[Equation] = []
    for number, (owner, node) in enumerate(structure(model).conditions):
        if node not in table:
            condition = Condition(f"{owner} #{number}", node.operator, f"#switch {number}", f"#gap {number}")
            table[node] = Name(condition.switch)
            found.append(condition)
    for condition, whole in zip(found, table, strict=True):
        assert isinstance(whole, Operation)
        first, second = (_replaced(part, table) for part in whole.operands)
        gaps.append(Auxiliary(name=condition.gap, expression=Operation("-", (first, second))))
    switches = [Parameter(name=condition.switch, hidden=True, value=0.0) for condition in found]
    equations = tuple(_switched(equation, table) for equation in model.equations)
    return Located(replace(model, equations=(*switches, *equations, *gaps)), tuple(found))


def _switched(equation: Equation, table: Mapping[Expression, Expression]) -> Equation:
    """An equation that reads switches; initial values of their own keep their conditions."""
    parts: dict[str, Any] = {}
    names = {Auxiliary: ("expression",), Stock: ("rate",), Held: ("following", "delay", "missing")}
    for name in names.get(type(equation), ()):
        if (part := getattr(equation, name)) is not None:
            parts[name] = _replaced(part, table)
    return replace(equation, **parts) if parts else equation


def _replaced(expression: Expression, table: Mapping[Expression, Expression]) -> Expression:
    if expression in table:
        return table[expression]
    match expression:
        case Operation():
            return Operation(expression.operator, tuple(_replaced(part, table) for part in expression.operands))
        case Call():
            return Call(expression.function, tuple(_replaced(part, table) for part in expression.arguments))
        case Lookup():
            return replace(expression, argument=_replaced(expression.argument, table))
        case _:
            return expression
