"""Where runs jump, and which parameters move the jumps: what derivatives of runs cannot see."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
    Operation,
    references,
    walk,
)
from sd_cluster.model import Auxiliary, Held, Stock, Table
from sd_cluster.structure import Structure, followed, running, starting, timing

_WITH_JUMPS = frozenset(
    {"integer", "modulo", "pick", "quantum", "ranked", "sorted_order", "xmile_integer", "xmile_modulo"}
)


@dataclass(frozen=True)
class Jumps:
    """Jumps whose place depends on chosen parameters.

    Attributes
    ----------
    moved
        (parameter, variable) where the parameter says when the variable switches.
    notes
        Sentences on conditions of the state and on functions with jumps.
    """

    moved: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def refuse(self, model: str) -> None:
        """Raise a `ModelError` if a chosen parameter enters a switching time; the text names it."""
        for parameter, variable in self.moved:
            raise ModelError(
                f"{model}: '{shown(parameter)}' enters the time at which '{variable}' switches, so a run jumps with it"
                " and has no derivative by it; leave it out, or vary it in a sweep"
            )


def shown(parameter: str) -> str:
    """The name of a parameter as the modeller knows it: that of the stock, for a stock's initial value."""
    return parameter.removesuffix(" #at the start")


def jumps(settled: Structure, chosen: Sequence[str], live: Iterable[str]) -> Jumps:
    """Find the jumps that chosen parameters move.

    Parameters
    ----------
    settled
        Orders of computation of the model.
    chosen
        Parameters to differentiate by.
    live
        Stocks and moving auxiliaries that matter.
    """
    reach = _reach(settled, chosen)
    timed = _pure_in_time(settled)
    moved: dict[tuple[str, str], None] = {}
    notes: dict[str, None] = {}
    for name, equation in settled.equations.items():
        if name not in live or not isinstance(equation, Stock | Auxiliary | Held):
            continue
        if isinstance(equation, Held) and equation.delay is not None:
            movers = {parameter for read in references(equation.delay) for parameter in reach.get(read, ())}
            moved |= {(parameter, name.split(" #")[0]): None for parameter in chosen if parameter in movers}
        expression = _moving(equation)
        for node in walk(expression):
            what, places = _jump(node, settled)
            read = {read for place in places for read in references(place)}
            movers = {parameter for read_name in read for parameter in reach.get(read_name, ())}
            if not movers:
                continue
            always = isinstance(node, Call) and node.function in VARYING
            if always or (read & timed.keys() and all(timed.get(read_name, True) for read_name in read)):
                moved |= {(parameter, name): None for parameter in chosen if parameter in movers}
            else:
                notes[f"'{name}' {what}: derivatives leave out what a jump there adds"] = None
    return Jumps(tuple(moved), tuple(notes))


def _moving(equation: Stock | Auxiliary | Held) -> Expression:
    """What a variable reads as a run goes on."""
    if isinstance(equation, Held):
        return equation.following
    return equation.rate if isinstance(equation, Stock) else equation.expression


def _jump(node: Expression, settled: Structure) -> tuple[str, tuple[Expression, ...]]:
    """How a node jumps, and the expressions that say where."""
    if isinstance(node, Call) and node.function in TIME_FUNCTIONS:
        return "switches", timing(node)
    if isinstance(node, Call) and node.function == NOISE:
        return "draws random numbers", node.arguments
    if isinstance(node, Operation) and node.operator in COMPARISONS:
        return "switches by a condition on the state", node.operands
    if isinstance(node, Call) and node.function in _WITH_JUMPS:
        return f"has the jumps of {node.function}", node.arguments
    if isinstance(node, Lookup):
        table = settled.equations[node.table]
        steps = isinstance(table, Table) and (table.step or table.ahead)
        if steps or node.how in {"step", "ahead", "exactly", "step within", "ahead within"}:
            return "reads a table that jumps", (node.argument,)
    return "", ()


def _reach(settled: Structure, chosen: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """Chosen parameters on which each variable depends, at once, in time or through the start."""
    reach = {name: frozenset({name}) for name in chosen}

    def gathered(expression: Expression) -> frozenset[str]:
        return frozenset().union(*(reach.get(name, frozenset()) for name in references(expression)))

    while True:
        before = dict(reach)
        for name, equation in settled.equations.items():
            parts = [starting(equation), running(equation), *followed(equation)]
            found = [gathered(part) for part in parts if part is not None]
            if found:
                reach[name] = reach.get(name, frozenset()).union(*found)
        if reach == before:
            return reach


def _pure_in_time(settled: Structure) -> Mapping[str, bool]:
    """Variables that vary with time: true where they depend on no stock; what does not vary is left out."""
    varies: dict[str, bool] = {TIME: True} | dict.fromkeys(settled.stocks, False)
    for name in settled.moving:
        expression = running(settled.equations[name])
        assert expression is not None
        switching = any(isinstance(node, Call) and node.function in VARYING for node in walk(expression))
        found = [varies[read] for read in references(expression) if read in varies]
        if found or switching:
            varies[name] = all(found)
    return varies
