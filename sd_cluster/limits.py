"""Outflows of XMILE's stocks that may not fall below zero: in their order, each takes at most what is left."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sd_cluster.grammar import Application, Figure, Operator, Reference, Tree
from sd_cluster.model import key
from sd_cluster.source import Definition, RangeDefinition
from sd_cluster.text import some

MOST_FLOWS = 60
"""Flows of a stock beyond which its outflows are not limited, as their sums would be nested too deep."""


@dataclass(frozen=True)
class _Bounded:
    """A stock that may not fall below zero, with the folded names of its flows; the first outflow takes first."""

    name: str
    inflows: tuple[str, ...]
    outflows: tuple[str, ...]


def limited(
    definitions: Sequence[Definition], ranges: Sequence[RangeDefinition]
) -> tuple[list[Definition], tuple[str, ...]]:
    """Definitions whose flows out of stocks that may not fall below zero have limits, and notes on those that cannot.

    A limit is what the stock holds over a step, with its inflows and without the outflows before. Inflows that
    themselves depend on such an outflow are left out, as equations would go in a circle.
    """
    model = _Reads(definitions, ranges)
    stocks = [stock for stock in model.stocks() if stock.outflows]
    if not stocks:
        return list(definitions), ()
    bounded = [model.ordered(stock) for stock in stocks if model.may_limit(stock)]
    circles = model.circles(bounded, at_start=False)
    left_out: dict[str, list[str]] = {}
    for place, stock in enumerate(bounded):
        kept = [name for name in stock.inflows if not any(circles[name] == circles[other] for other in stock.outflows)]
        if missing := [name for name in stock.inflows if name not in kept]:
            left_out[stock.name] = missing
        bounded[place] = replace(stock, inflows=tuple(kept))
    circles = model.circles(bounded, at_start=False)
    bounded = [
        stock for stock in bounded if len({circles[name] for name in stock.outflows}) == len(set(stock.outflows))
    ]
    starts = model.circles(bounded, at_start=True)
    limits: dict[str, Tree] = {}
    unlimited_at_start: set[str] = set()
    for stock in bounded:
        left: Tree = Operator("/", (Reference(model.shown(stock.name)), Reference("TIME STEP")))
        for name in stock.inflows:
            left = Operator("+", (left, Reference(model.shown(name))))
        for name in stock.outflows:
            most = Application("max", (), (left, Figure(0.0)))
            limits[name] = Application("min", (), (limits[name], most)) if name in limits else most
            if any(starts[name] == starts[other] for other in (stock.name, *stock.inflows)):
                unlimited_at_start.add(name)
            left = Operator("-", (left, Reference(model.shown(name))))
    found = [
        replace(item, limit=limits[key(item.name)], limited_at_start=key(item.name) not in unlimited_at_start)
        if key(item.name) in limits
        else item
        for item in definitions
    ]
    done = {stock.name for stock in bounded}
    return found, tuple(
        _notes(
            model,
            {stock: names for stock, names in left_out.items() if stock in done},
            [stock for stock in stocks if stock.name not in done],
        )
    )


def _notes(model: "_Reads", left_out: Mapping[str, Sequence[str]], uncut: Sequence[_Bounded]) -> Iterable[str]:
    if left_out:
        listed = [
            f"'{model.shown(stock)}' without {', '.join(repr(model.shown(name)) for name in names)}"
            for stock, names in left_out.items()
        ]
        yield (
            "stocks that may not fall below zero: outflows are cut to what the stock holds and what flows in, but not"
            f" to inflows that depend on these outflows: {some(listed)}"
        )
    named = [
        f"'{model.shown(stock.name)}'"
        for stock in uncut
        if any(model.readers.get(name, set()) - {stock.name} for name in stock.outflows)
    ]
    if named:
        yield (
            f"stocks that may not fall below zero: {some(named)}; such a stock stops at zero, but its outflows are"
            " not cut as in Stella: what they bring elsewhere may be more than it held"
        )


class _Reads:
    """What the variables of a file read of each other."""

    def __init__(self, definitions: Sequence[Definition], ranges: Sequence[RangeDefinition]) -> None:
        self.items: dict[str, list[Definition]] = {}
        self.members = {key(item.name): {key(member) for member in item.members} for item in ranges}
        for item in definitions:
            self.items.setdefault(key(item.name), []).append(item)
        self.run: dict[str, set[str]] = {name: set() for name in self.items}
        self.start: dict[str, set[str]] = {name: set() for name in self.items}
        self.readers: dict[str, set[str]] = {}
        for name, items in self.items.items():
            for item in items:
                read = {other for other in _names_read(item.tree) if other in self.items}
                for other in read:
                    self.readers.setdefault(other, set()).add(name)
                if item.kind == "stock":
                    self.start[name].update(other for other in _names_read(item.initial) if other in self.items)
                else:
                    self.run[name] |= read
                    self.start[name] |= read
        self.numbers = {name: number for number, name in enumerate(self.items)}

    def shown(self, name: str) -> str:
        """The modeller's name of a variable."""
        return self.items[name][0].name

    def stocks(self) -> Iterable[_Bounded]:
        """Stocks that may not fall below zero; with no flows where its elements do not have the same ones."""
        for name, items in self.items.items():
            if not any(item.non_negative for item in items) or any(
                item.fault or item.kind != "stock" for item in items
            ):
                continue
            flows = {_flows(item.tree) for item in items}
            inflows = dict.fromkeys(other for found, _ in flows for other in found)
            outflows = dict.fromkeys(other for _, found in flows for other in found)
            yield _Bounded(name, tuple(inflows), tuple(outflows))

    def may_limit(self, stock: _Bounded) -> bool:
        """Whether the outflows of a stock are equations over what the stock runs over."""
        flows = {_flows(item.tree) for item in self.items[stock.name]}
        if len(flows) > 1 or not all(item.non_negative for item in self.items[stock.name]):
            return False
        if len(stock.inflows) + len(stock.outflows) > MOST_FLOWS:
            return False
        if not all(name in self.items for name in (*stock.inflows, *stock.outflows)):
            return False
        own = self._places(stock.name)
        items = [item for name in stock.outflows for item in self.items[name]]
        plain = all(item.kind == "equation" and isinstance(item.tree, _LIMITED) and not item.fault for item in items)
        return (
            plain
            and all(self._places(name) == own for name in stock.outflows)
            and all(self._places(name) in ([], own) for name in stock.inflows)
        )

    def _places(self, name: str) -> list[set[str]]:
        """Elements that a variable has at each place of its subscripts."""
        columns = zip(*(item.subscripts for item in self.items[name]), strict=False)
        return [set().union(*(self.members.get(key(part), {key(part)}) for part in column)) for column in columns]

    def ordered(self, stock: _Bounded) -> _Bounded:
        """A stock with its outflows in order; one that another depends on comes before that."""
        found: list[str] = []
        for name in stock.outflows:
            place = next((place for place, other in enumerate(found) if name in self._behind(other)), len(found))
            found.insert(place, name)
        return replace(stock, outflows=tuple(found))

    def _behind(self, name: str) -> set[str]:
        """All that a variable depends on within a moment."""
        found: set[str] = set()
        pending = [name]
        while pending:
            new = self.run[pending.pop()] - found
            found |= new
            pending += new
        return found

    def circles(self, bounded: Sequence[_Bounded], *, at_start: bool) -> dict[str, int]:
        """A number for each variable, the same for those that would depend on each other with these limits."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        reads = self.start if at_start else self.run
        pairs = [(name, other) for name, others in reads.items() for other in others]
        for stock in bounded:
            for place, name in enumerate(stock.outflows):
                pairs += [(name, other) for other in (*stock.inflows, *stock.outflows[:place])]
                pairs += [(name, stock.name)] if at_start else []
        size = len(self.items)
        rows = np.array([[self.numbers[one], self.numbers[other]] for one, other in pairs], dtype=np.int64)
        rows = rows.reshape(-1, 2)
        graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows[:, 0], rows[:, 1])), shape=(size, size))
        labels = connected_components(graph.tocsr(), directed=True, connection="strong")[1]
        return {name: int(label) for name, label in zip(self.items, labels, strict=True)}


_LIMITED = (Figure, Reference, Operator, Application)


def _flows(tree: Tree | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Inflows and outflows of a stock by their folded names, in order; an empty name for what is no plain one."""
    inflows: list[str] = []
    outflows: list[str] = []

    def name(part: Tree) -> str:
        return key(part.name) if isinstance(part, Reference) and not part.subscripts else ""

    while isinstance(tree, Operator):
        if tree.operator == "neg":
            outflows.append(name(tree.operands[0]))
            return (), tuple(reversed(outflows))
        (outflows if tree.operator == "-" else inflows).append(name(tree.operands[1]))
        tree = tree.operands[0]
    if isinstance(tree, Reference):
        inflows.append(name(tree))
    return tuple(reversed(inflows)), tuple(reversed(outflows))


def _names_read(tree: Tree | None) -> list[str]:
    """Folded names that a tree reads."""
    match tree:
        case Reference():
            return [key(tree.name)]
        case Operator(operands=parts) | Application(arguments=parts):
            return [name for part in parts for name in _names_read(part)]
        case _:
            return []
