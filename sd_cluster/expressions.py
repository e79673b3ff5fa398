"""The right-hand sides of equations: a small typed form that keeps the modeller's own order.

An expression is a tree of five kinds of node. Nothing is simplified or reordered, so that numbers come out
as the modeller's own tool computes them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

TIME = "Time"
"""Name by which an expression refers to the running time."""


@dataclass(frozen=True)
class Number:
    """A literal number."""

    value: float


@dataclass(frozen=True)
class Name:
    """A reference to a variable, or to `Time`; `indices` are the ranges or elements of an array."""

    name: str
    indices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """An operator with its operands: `+ - * / ^`, comparisons, `and or not`, and `neg` with one operand."""

    operator: str
    operands: tuple["Expression", ...]


@dataclass(frozen=True)
class Call:
    """A built-in function of its arguments."""

    function: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True)
class Lookup:
    """A table read at an argument, as the table says or as `how` says; or its slope there."""

    table: str
    argument: "Expression"
    slope: bool = False
    how: str = ""
    indices: tuple[str, ...] = ()


Expression: TypeAlias = Number | Name | Operation | Call | Lookup

COMPARISONS = frozenset({"<", "<=", ">", ">=", "=", "<>"})
LOGIC = frozenset({"and", "or", "not"})

FUNCTIONS: dict[str, tuple[int, ...]] = {
    "abs": (1,),
    "arccos": (1,),
    "arcsin": (1,),
    "arctan": (1,),
    "at_price": (6,),
    "cos": (1,),
    "cosh": (1,),
    "drawn": (6,),
    "exp": (1,),
    "exponential_between": (5,),
    "gamma_ln": (1,),
    "if_then_else": (3,),
    "integer": (1,),
    "ln": (1,),
    "log": (2,),
    "max": (2,),
    "min": (2,),
    "modulo": (2,),
    "noise": (3,),
    "normal": (1,),
    "normal_share": (5,),
    "pi": (0,),
    "power": (2,),
    "pulse": (2,),
    "pulse_train": (4,),
    "quantum": (2,),
    "ramp": (2, 3),
    "sin": (1,),
    "sinh": (1,),
    "sqrt": (1,),
    "step": (2,),
    "tan": (1,),
    "tanh": (1,),
    "xidz": (3,),
    "xmile_integer": (1,),
    "xmile_modulo": (2,),
    "xmile_over": (3,),
    "xmile_pulse": (2,),
    "xmile_pulse_train": (3,),
    "zidz": (2,),
}
"""Built-in functions and the numbers of arguments they take."""

TIME_FUNCTIONS = frozenset({"pulse", "pulse_train", "ramp", "step", "xmile_pulse", "xmile_pulse_train"})
"""Functions that switch at times given by their arguments."""

NOISE = "noise"
"""A random number between 0 and 1 that lasts for one step: of a seed, the number of its call, and an element."""

VARYING = TIME_FUNCTIONS | {NOISE}
"""Functions that vary with time though no argument does."""

VECTOR_FUNCTIONS: dict[str, int] = {
    "allocate_available": 3,
    "allocate_by_priority": 4,
    "inverted": 2,
    "market_price": 2,
    "pick": 1,
    "ranked": 2,
    "sorted_order": 2,
}
"""Functions of many numbers, and how many of their arguments stand before these."""

REDUCTIONS = frozenset({"sum", "prod", "vmin", "vmax", "mean", "vector_select"})
"""Functions that make one number of all elements of a range; found only before arrays are written out."""


def children(expression: Expression) -> tuple[Expression, ...]:
    """Direct parts of an expression."""
    match expression:
        case Operation():
            return expression.operands
        case Call():
            return expression.arguments
        case Lookup():
            return (expression.argument,)
        case _:
            return ()


def walk(expression: Expression) -> Iterator[Expression]:
    """Every node of an expression, itself first."""
    yield expression
    for child in children(expression):
        yield from walk(child)


def outside_sums(expression: Expression) -> Iterator[Expression]:
    """Every node but those within sums and their like: a range that only these name is theirs to go through."""
    if isinstance(expression, Call) and expression.function in REDUCTIONS:
        return
    yield expression
    for child in children(expression):
        yield from outside_sums(child)


def depth(expression: Expression) -> int:
    """How many nodes stand one inside another, at most."""
    deepest, pending = 0, [(expression, 1)]
    while pending:
        part, level = pending.pop()
        deepest = max(deepest, level)
        pending += [(child, level + 1) for child in children(part)]
    return deepest


def references(expression: Expression) -> tuple[str, ...]:
    """Names of the variables an expression reads, each once, in order of appearance; `Time` among them."""
    found: dict[str, None] = {}
    for node in walk(expression):
        if isinstance(node, Name):
            found[node.name] = None
    return tuple(found)


def replace_names(expression: Expression, replacement: Callable[[Name], Expression]) -> Expression:
    """The same expression with every reference replaced."""
    match expression:
        case Name():
            return replacement(expression)
        case Operation():
            return Operation(
                expression.operator, tuple(replace_names(part, replacement) for part in expression.operands)
            )
        case Call():
            return Call(expression.function, tuple(replace_names(part, replacement) for part in expression.arguments))
        case Lookup():
            return replace(expression, argument=replace_names(expression.argument, replacement))
        case _:
            return expression


_BINDING = {
    "or": 1, "and": 2, "not": 3, "=": 4, "<>": 4, "<": 4, "<=": 4, ">": 4, ">=": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "neg": 7, "^": 8,
}  # fmt: skip


def text(expression: Expression, binding: int = 0) -> str:
    """Write an expression as a person would read it.

    Examples
    --------
    >>> text(Operation("*", (Name("a"), Operation("+", (Name("b"), Number(1.0))))))
    'a * (b + 1)'
    """
    match expression:
        case Number():
            return (
                f"{expression.value:g}"
                if expression.value == float(f"{expression.value:g}")
                else repr(expression.value)
            )
        case Name():
            return expression.name + (f"[{', '.join(expression.indices)}]" if expression.indices else "")
        case Call():
            return f"{expression.function.replace('_', ' ')}({', '.join(map(text, expression.arguments))})"
        case Lookup():
            how = f"lookup {expression.how} " if expression.how else ""
            name = expression.table + (f"[{', '.join(expression.indices)}]" if expression.indices else "")
            return f"{'slope of ' if expression.slope else ''}{how}{name}({text(expression.argument)})"
        case Operation(operator="neg"):
            written = f"-{text(expression.operands[0], 7)}"
        case Operation(operator="not"):
            written = f"not {text(expression.operands[0], 3)}"
        case Operation():
            own = _BINDING[expression.operator]
            first, second = expression.operands
            written = f"{text(first, own)} {expression.operator} {text(second, own + 1)}"
    return f"({written})" if _BINDING[expression.operator] < binding else written
