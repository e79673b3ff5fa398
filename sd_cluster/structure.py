"""What depends on what in a model: orders of computation, kinds of variation, circles, switching times."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter

from sd_cluster.errors import ModelError
from sd_cluster.expressions import (
    COMPARISONS,
    NOISE,
    TIME,
    TIME_FUNCTIONS,
    VARYING,
    Call,
    Expression,
    Lookup,
    Name,
    Operation,
    references,
    walk,
)
from sd_cluster.model import Auxiliary, Equation, Frozen, Held, Model, Parameter, Stock, Table


@dataclass(frozen=True, eq=False)
class Structure:
    """The orders in which a model is computed.

    Attributes
    ----------
    parameters, stocks, frozen, tables, held
        Names, in file order.
    constant
        Auxiliaries that depend on parameters alone, in an order in which they can be computed.
    moving
        Auxiliaries that depend on time or stocks (or on values frozen at the start), in such an order.
    initial
        Auxiliaries, stocks, frozen and held values in the order in which they are computed at the start.
    switches
        Nodes whose switching times depend on parameters alone: these times are known before a run.
    tables_of_time
        Tables that are read at Time itself.
    unlocated
        Sentences that name the switches that cannot be known before a run.
    held
        Names of the values that change from step to step only.
    stepwise
        Variables that are only defined at steps: held values and random numbers.
    conditions
        Comparisons (but `=` and `<>`) that turn with the state, each with the variable it belongs to.
    """

    parameters: tuple[str, ...]
    stocks: tuple[str, ...]
    frozen: tuple[str, ...]
    tables: tuple[str, ...]
    constant: tuple[str, ...]
    moving: tuple[str, ...]
    initial: tuple[str, ...]
    equations: Mapping[str, Equation]
    switches: frozenset[Expression] = frozenset()
    tables_of_time: tuple[str, ...] = ()
    unlocated: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    stepwise: tuple[str, ...] = ()
    conditions: tuple[tuple[str, Operation], ...] = ()


def running(equation: Equation) -> Expression | None:
    """The expression that gives a variable's value during a run, if it has one."""
    return equation.expression if isinstance(equation, Auxiliary) else None


def starting(equation: Equation) -> Expression | None:
    """The expression that gives a variable's value at the start, if it has one."""
    match equation:
        case Auxiliary():
            return equation.expression if equation.initial is None else equation.initial
        case Stock():
            return equation.initial
        case Held():
            return equation.initial
        case Frozen():
            return equation.expression
        case _:
            return None


def followed(equation: Equation) -> tuple[Expression, ...]:
    """The expressions that lead a stock or a held value from one moment to the next."""
    match equation:
        case Stock():
            return (equation.rate,)
        case Held():
            parts = (equation.following, equation.delay, equation.missing)
            return tuple(part for part in parts if part is not None)
        case _:
            return ()


@lru_cache(maxsize=256)
def structure(model: Model) -> Structure:
    """Orders of computation of a model.

    Raises
    ------
    ModelError
        If equations go in a circle; the text shows the circle.
    """
    if model.whole is not None:
        raise ModelError(
            f"{model.name}: its arrays are so large that they are kept whole, which runs, sweeps and sensitivity"
            " analyses take; derivatives and SymPy need fewer elements: load it with sizes={...}"
        )
    equations = {equation.name: equation for equation in model.equations}
    constant, moving = _running_order(model.name, equations)
    initial = _initial_order(model.name, equations, set(constant))
    settled = {name for name, equation in equations.items() if isinstance(equation, Parameter)} | set(constant)
    moving_parts = list(moving_expressions(equations.values()))
    switches, unlocated, conditions = switches_of(moving_parts, settled)
    return Structure(
        parameters=_names(equations, Parameter),
        stocks=_names(equations, Stock),
        frozen=_names(equations, Frozen),
        tables=_names(equations, Table),
        constant=constant,
        moving=moving,
        initial=initial,
        equations=equations,
        switches=switches,
        tables_of_time=tables_of_time(moving_parts),
        unlocated=unlocated,
        held=_names(equations, Held),
        stepwise=_stepwise(equations),
        conditions=conditions,
    )


def check_circles(model: Model) -> None:
    """Raise a `ModelError` that shows the circle if equations depend on each other in one."""
    structure(model)


def _names(equations: Mapping[str, Equation], kind: type) -> tuple[str, ...]:
    return tuple(name for name, equation in equations.items() if isinstance(equation, kind))


def _order(model: str, graph: Mapping[str, Iterable[str]], what: str) -> list[str]:
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(f"'{name}'" for name in reversed(error.args[1]))
        raise ModelError(f"{model}: {what} go in a circle: {circle}; a stock or INITIAL must break it") from None


def _stepwise(equations: Mapping[str, Equation]) -> tuple[str, ...]:
    """Variables the modeller wrote that hold values from step to step, or draw random numbers."""
    found: dict[str, None] = {}
    for name, equation in equations.items():
        parts = [*followed(equation), *([] if (own := running(equation)) is None else [own])]
        noisy = any(isinstance(node, Call) and node.function == NOISE for part in parts for node in walk(part))
        if noisy or isinstance(equation, Held):
            found[name.split(" #")[0]] = None
    return tuple(found)


def _running_order(model: str, equations: Mapping[str, Equation]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    graph: dict[str, list[str]] = {}
    for name, equation in equations.items():
        expression = running(equation)
        if expression is not None:
            reads = references(expression)
            graph[name] = [read for read in reads if read in equations and running(equations[read]) is not None]
    order = [name for name in _order(model, graph, "equations") if name in graph]
    changing: set[str] = {TIME}
    changing |= {name for name, equation in equations.items() if isinstance(equation, Stock | Frozen | Held)}
    constant, moving = [], []
    for name in order:
        equation = equations[name]
        expression = running(equation)
        assert expression is not None and isinstance(equation, Auxiliary)
        switching = any(isinstance(node, Call) and node.function in VARYING for node in walk(expression))
        if switching or equation.initial is not None or changing & set(references(expression)):
            changing.add(name)
            moving.append(name)
        else:
            constant.append(name)
    return tuple(constant), tuple(moving)


def _initial_order(model: str, equations: Mapping[str, Equation], settled: set[str]) -> tuple[str, ...]:
    """Stocks, frozen and held values, and the variables that their values at the start depend on."""
    graph: dict[str, list[str]] = {}
    for name, equation in equations.items():
        expression = starting(equation)
        if expression is None or name in settled:
            continue
        delay = equation.delay if isinstance(equation, Held) else None
        graph[name] = [
            read
            for part in (expression, *(() if delay is None else (delay,)))
            for read in references(part)
            if read in equations and read not in settled and starting(equations[read]) is not None
        ]
    order = [name for name in _order(model, graph, "initial values") if name in graph]
    needed = {name for name in graph if isinstance(equations[name], Stock | Frozen | Held)}
    for name in reversed(order):
        if name in needed:
            needed.update(graph[name])
    return tuple(name for name in order if name in needed)


def moving_expressions(equations: Iterable[Equation]) -> Iterator[tuple[str, Expression]]:
    """Everything that is computed at each moment of a run, by the variable it belongs to."""
    for equation in equations:
        own = running(equation)
        for part in [*followed(equation), *([] if own is None else [own])]:
            yield equation.name, part


def tables_of_time(expressions: Iterable[tuple[str, Expression]]) -> tuple[str, ...]:
    """Tables that are read at Time itself."""
    found: dict[str, None] = {}
    for _, expression in expressions:
        for node in walk(expression):
            if isinstance(node, Lookup) and node.argument == Name(TIME):
                found[node.table] = None
    return tuple(found)


def switches_of(
    expressions: Iterable[tuple[str, Expression]], settled: Collection[str]
) -> tuple[frozenset[Expression], tuple[str, ...], tuple[tuple[str, Operation], ...]]:
    """Nodes that switch at known times, sentences about those that switch at unknown ones, and which turn there."""
    found: list[Expression] = []
    conditions: list[tuple[str, Operation]] = []
    unlocated: list[str] = []

    def known(expression: Expression) -> bool:
        """Whether a value depends on parameters alone."""
        return not any(isinstance(n, Call) and n.function in VARYING for n in walk(expression)) and all(
            name in settled
            for name in references(expression)
            if name  # none: the place of an element
        )

    for name, expression in expressions:
        for node in walk(expression):
            if isinstance(node, Call) and node.function in TIME_FUNCTIONS:
                if all(known(argument) for argument in timing(node)):
                    found.append(node)
                else:
                    unlocated.append(f"'{name}' switches by {node.function.replace('_', ' ')} at a time that varies")
            elif isinstance(node, Operation) and node.operator in COMPARISONS:
                first, second = node.operands
                if (first == Name(TIME) and known(second)) or (second == Name(TIME) and known(first)):
                    found.append(node)
                elif not known(node):
                    unlocated.append(f"'{name}' switches by a condition on the state or on an expression of time")
                    if node.operator not in {"=", "<>"}:
                        conditions.append((name, node))
    return frozenset(found), tuple(dict.fromkeys(unlocated)), tuple(conditions)


def timing(call: Call) -> tuple[Expression, ...]:
    """The arguments of a switching function that say when it switches."""
    if call.function in {"step", "ramp"}:
        return call.arguments[1:]
    if call.function == "xmile_pulse_train":
        return call.arguments[:2]
    if call.function == "xmile_pulse":
        return call.arguments[:1]
    return call.arguments


def constant_value(name: str, equations: Iterable[Equation]) -> float:
    """Value of a variable that depends on parameters alone, such as FINAL TIME.

    Raises
    ------
    ModelError
        If it depends on a stock or on time, or is not a finite number.
    """
    return _settled(name, equations, at_start=False)


def first_value(name: str, equations: Iterable[Equation]) -> float:
    """Value that a variable has at the start, such as that of a FINAL TIME that varies.

    Raises
    ------
    ModelError
        If it reads a lookup or a function of time, or is not a finite number.
    """
    return _settled(name, equations, at_start=True)


def _settled(name: str, equations: Iterable[Equation], *, at_start: bool) -> float:
    from sd_cluster.runtime import evaluate

    by_name = {equation.name: equation for equation in equations}
    start = next((own for own in by_name if own.replace("_", " ").casefold() == "initial time"), "")

    def value(of: str, above: tuple[str, ...]) -> float:
        equation = by_name.get(of)
        if of in above:
            raise ModelError(f"'{of}' depends on itself; give it a number")
        if isinstance(equation, Parameter):
            return equation.value
        if at_start and of == TIME:
            return value(start, (*above, of))
        expression = None if equation is None or not at_start else starting(equation)
        if isinstance(equation, Auxiliary) and not at_start:
            expression = equation.expression
        if expression is None:
            raise ModelError(f"'{name}' depends on '{of}', which varies; it should be a constant")
        return evaluate(expression, lambda read: value(read, (*above, of)))

    try:
        result = value(name, ())
    except (ArithmeticError, ValueError):
        result = math.nan
    if not math.isfinite(result):
        raise ModelError(f"'{name}' has no finite value; give it a number")
    return result
