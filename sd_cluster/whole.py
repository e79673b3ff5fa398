"""Equations of arrays kept whole and printed as loops, so that source and compile time do not grow with the ranges.

Every variable is a block of numbers: stocks in `y`, all others in `p`, the last subscript fastest. An equation over
ranges is one nest of loops with its sums inside. Only where elements of an array depend on other elements of the same
array at the same moment are its equations written out, element by element, and put in order. A constant table over two
ranges may be sparse: a sum over it visits what it holds and nothing else (where its rows begin lies in `p` bit by
bit, its columns lie there as 32-bit words, and indices are taken without sign).
"""

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from sd_cluster.arrays import MOST_WRITTEN, Names, Piece, Shape, Whole, equations_of, parted, shapes_of
from sd_cluster.errors import ModelError
from sd_cluster.expressions import (
    NOISE,
    TIME,
    VARYING,
    Call,
    Expression,
    Lookup,
    Name,
    Number,
    outside_sums,
    walk,
)
from sd_cluster.fusion import Nest, fused
from sd_cluster.loops import Block, LoopPrinter, Rows, Sparse, gone_through, takes_vectors, together, within
from sd_cluster.model import Auxiliary, Equation, Frozen, Held, Model, Parameter, Stock, Table, Variable, key
from sd_cluster.runtime import EMPTY
from sd_cluster.structure import Structure, followed, moving_expressions, running, starting, switches_of, tables_of_time

LARGEST = sys.float_info.max
"""No finite number is larger."""

MOST_NAMED = 1_000_000
"""Elements beyond which names are made when they are asked for."""


MOST_SWITCHES = 1_000
"""Elements that may each switch at a time of their own which a continuous solver stops at."""

MOST_TOGETHER, EACH_PART = 60, 30
"""Equations up to which all loops of a step are one function, and loops of each function where there are more."""

MOST_FOLLOWING = 100
"""Pieces of variables that read each other up to which an order is looked for."""

_Box = tuple[str, Sequence[Sequence[int]]]


class WholePrinter(LoopPrinter):
    """Prints the equations of a model whose arrays are kept whole."""

    def __init__(self, model: Model, whole: Whole) -> None:
        self.model, self.whole, self.ranges = model, whole, whole.ranges
        pieces = list(_of_one_kind(whole.pieces))
        self.shapes: dict[str, Shape] = shapes_of(pieces, whole.ranges)
        self.pieces: dict[str, list[Piece]] = {}
        for piece in pieces:
            self.pieces.setdefault(piece.equation.name, []).append(piece)
        self.kinds: dict[str, Equation] = {name: pieces[0].equation for name, pieces in self.pieces.items()}
        self.time_step = next(name for name in self.kinds if key(name) == "time_step")
        self.first_time = next(name for name in self.kinds if key(name) == "initial_time")
        self.constant, self.moving = self._classified()
        self._lay_out()
        self.locals: dict[str, str] = {}
        self.stock_slots: dict[str, int] = {}
        self.structure = self._structure()
        self.loops: list[tuple[str, str]] = []
        self.before: list[str] = []
        self.found: dict[tuple[str, str, int], Sequence[int]] = {}
        self.rows: dict[tuple[str, ...], Rows] = {}
        self.from_rows: dict[tuple[str, str], Rows] = {}
        self.copying = False
        self.copied: set[tuple[str, str]] = set()
        self.direct: set[tuple[str, str]] = set()
        self.labels: set[str] = set()
        self.sums, self.single = 0, False

    def _reads(self, expressions: Iterable[Expression]) -> set[str]:
        found = set()
        for expression in expressions:
            for node in walk(expression):
                if isinstance(node, Name) and node.name:
                    found.add(node.name)
                elif isinstance(node, Lookup):
                    found.add(node.table)
        return found

    def _classified(self) -> tuple[list[str], list[str]]:
        """Auxiliaries that depend on parameters alone, and the others."""
        changing = {TIME} | {n for n, kind in self.kinds.items() if isinstance(kind, Stock | Frozen | Held)}
        auxiliaries = [name for name, kind in self.kinds.items() if isinstance(kind, Auxiliary)]
        while True:
            before = len(changing)
            for name in auxiliaries:
                own = self._read_by(name, running)
                varies = any(isinstance(n, Call) and n.function in VARYING for part in own for n in walk(part))
                first = any(piece.equation.initial is not None for piece in self.pieces[name]
                            if isinstance(piece.equation, Auxiliary))  # fmt: skip
                if name not in changing and (varies or first or self._reads(own) & changing):
                    changing.add(name)
            if len(changing) == before:
                break
        return [n for n in auxiliaries if n not in changing], [n for n in auxiliaries if n in changing]

    def _lay_out(self) -> None:
        """Give every variable its block; behind them in `p` lie index tables, lookups and sparse tables."""
        blocks: dict[str, Block] = {}
        self.blocks = blocks
        self.n_stocks, place = 0, 0
        kept: list[tuple[str, tuple[int, ...]]] = []
        for name, kind in self.kinds.items():
            sizes = tuple(len(elements) for _, elements in self.shapes.get(name, ()))
            if isinstance(kind, Stock):
                blocks[name] = Block("y", self.n_stocks, sizes)
                self.n_stocks += math.prod(sizes)
            elif name not in self.whole.sparse:
                kept.append((name, sizes))
                if isinstance(kind, Held):
                    kept.append((f"{name} #next", sizes))
                    if kind.delay is not None:
                        kept.append((f"{name} #pipe", sizes))
        for name, sizes in kept:
            blocks[name] = Block("p", place, sizes)
            place += math.prod(sizes)
        self.half_step, self.length = place, place + 1
        self.tables: dict[Sequence[int], int] = {}
        self.sparse: dict[str, Sparse] = {}
        for number, (name, matrix) in enumerate(self.whole.sparse.items()):
            self.sparse[name] = Sparse(number, self.length, matrix.shape[0])
            self.length += self.sparse[name].count
        self.slots = {name: block.start for name, block in self.blocks.items() if block.vector == "p"}
        visible = [n for n, kind in self.kinds.items() if not isinstance(kind, Table) and not kind.hidden]
        self.visible = [name for name in visible if name not in self.whole.sparse]
        self.names: Sequence[str] = self._named(self.visible)

    @property
    def stocks(self) -> Sequence[str]:
        """Names of the elements of all stocks in the order of `y`."""
        return self._named([name for name, kind in self.kinds.items() if isinstance(kind, Stock)])

    def _named(self, variables: Sequence[str]) -> Sequence[str]:
        names = Names(variables, self.shapes)
        return names if len(names) > MOST_NAMED else tuple(names)

    def _structure(self) -> Structure:
        """What the rest of the house asks of a structure."""
        of_kind = {kind: tuple(n for n, item in self.kinds.items() if isinstance(item, kind))
                   for kind in (Parameter, Stock, Frozen, Table, Held)}  # fmt: skip
        noisy = {
            name.split(" #")[0]
            for name in self.moving
            if any(
                isinstance(n, Call) and n.function == NOISE for part in self._read_by(name, running) for n in walk(part)
            )
        }
        parts = list(moving_expressions(piece.equation for pieces in self.pieces.values() for piece in pieces))
        switches, unlocated, _ = switches_of(parts, {*of_kind[Parameter], *self.constant})
        wide = {
            node
            for node in switches
            if self.ranges.count(index.removesuffix("!") for index in self._gone_through(node)) > MOST_SWITCHES
        }
        unlocated += tuple(
            f"'{name}' switches at times of its own for each of more than {MOST_SWITCHES:,} elements"
            for name in dict.fromkeys(name for name, part in parts if not wide.isdisjoint(walk(part)))
        )
        stepwise = (*sorted(noisy), *dict.fromkeys(name.split(" #")[0] for name in of_kind[Held]))
        return Structure(
            parameters=of_kind[Parameter],
            stocks=of_kind[Stock],
            frozen=of_kind[Frozen],
            tables=of_kind[Table],
            constant=tuple(self.constant),
            moving=tuple(self.moving),
            initial=(),
            equations=self.kinds,
            switches=switches - wide,
            tables_of_time=tables_of_time(parts),
            unlocated=unlocated,
            held=of_kind[Held],
            stepwise=stepwise,
        )

    def _gone_through(self, node: Expression) -> list[str]:
        """Ranges over which an expression differs by element."""
        free = [index for part in outside_sums(node) if isinstance(part, Name | Lookup) for index in part.indices]
        inside = [index for part in walk(node) if isinstance(part, Name | Lookup) for index in part.indices]
        indices = [*free, *(index for index in inside if not index.endswith("!"))]
        return list(dict.fromkeys(index for index in indices if index.removesuffix("!") in self.ranges))

    def switch_source(self) -> str:
        """Source of `switch_times` in plain Python, once the other source is there."""
        lines = ["times = []"]
        for node in self.structure.switches:
            heads, self.loops, self.before = [], [], []
            for number, index in enumerate(self._gone_through(node)):
                head, loop = gone_through(f"i{number}", len(self.ranges.elements(index.removesuffix("!"))))
                heads += head
                self.loops.append((index, loop))
            found = self._switch(node)
            lines += within(heads, [*self.before, *found])
        return self._function("switch_times(p, first, last)", [*self._bits(), *lines, "return times"], clock=False)

    def _bits(self) -> list[str]:
        lines = ["bits = p.view(int64)", "near = p.view(uint32)"] if self.sparse else []
        for its in self.sparse.values():
            lines += [f"columns{its.number} = bits[{its.start}]", f"values{its.number} = bits[{its.start + 1}]"]
        return lines

    def vector(self) -> Any:
        """The vector `p` with the model's own parameters and tables; index tables are known once all is printed."""
        p = np.zeros(self.length)
        for name, kind in self.kinds.items():
            if isinstance(kind, Parameter) and name not in self.whole.sparse:
                for piece in sorted(self.pieces[name], key=lambda piece: -self.ranges.count(piece.subscripts)):
                    places = self._flat(piece)
                    equation = piece.equation
                    assert isinstance(equation, Parameter)
                    p[self.blocks[name].start + places] = equation.value if piece.values is None else piece.values
        for numbers, start in self.tables.items():
            p[start : start + len(numbers)] = numbers
        pieces = [p]
        end = self.length
        for name, its in self.sparse.items():
            matrix, columns = self.whole.sparse[name], np.zeros(-(-self.whole.sparse[name].nnz // 2))
            columns.view(np.uint32)[: matrix.nnz] = matrix.indices
            p.view(np.int64)[its.start : its.start + its.count] = [2 * end, end + len(columns), *matrix.indptr]
            pieces += [columns, matrix.data]
            end += len(columns) + matrix.nnz
        for name, kind in self.kinds.items():
            if isinstance(kind, Table):
                for piece in self.pieces[name]:
                    equation = piece.equation
                    assert isinstance(equation, Table)
                    points = piece.values or [(equation.x, equation.y)] * self.ranges.count(piece.subscripts)
                    for place, (x, y) in zip(self._flat(piece), points, strict=True):
                        p[self.blocks[name].start + place] = float(end)
                        pieces.append(np.array([len(x), *x, *y], dtype=float))
                        end += 1 + 2 * len(x)
        return np.concatenate(pieces)

    def _flat(self, piece: Piece) -> Any:
        """Places of a piece's elements within its variable's block, in the order of its subscripts."""
        name = piece.equation.name
        shape, block = self.shapes.get(name, ()), self.blocks[name]
        flat = np.zeros(1, dtype=np.int64)
        for (dimension, elements), subscript, stride in zip(shape, piece.subscripts, block.strides, strict=True):
            own = np.array(self._places(subscript, dimension, elements), dtype=np.int64)
            flat = (flat[:, np.newaxis] + own * stride).ravel()
        return flat

    def source(self) -> str:
        """Source of `constants`, `initial`, `flows`, `ahead`, `rates`, `outputs`, `hold` and `limit`.

        `flows` gives what `rates` does but for the sum. `ahead` gives the stocks a step of Euler's ahead, and a number
        that is nought if they are finite.
        """
        stocks = [name for name, kind in self.kinds.items() if isinstance(kind, Stock)]
        needed = self._upstream_of(
            part for n in stocks for piece in self.pieces[n] for part in followed(piece.equation)
        )
        apart = not self.whole.sparse and sum(map(len, self.pieces.values())) > MOST_TOGETHER
        if apart:  # what held values read is worked out with what flows read
            needed |= self._upstream_of(self._followed_by_held())
        nests = self._ordered(self.moving, running, needed)
        flows, ahead = [], []
        for piece in (piece for name in stocks for piece in self.pieces[name]):
            assert isinstance(piece.equation, Stock)
            self._begin_nest()
            flow, further = self._rate(piece)
            nest = replace(self._nested(piece, flow, [piece.equation.rate]), names=(f"{piece.equation.name} #rate",))
            flows.append(nest)
            ahead.append(replace(nest, lines=further))
        starts = self._starts()
        begun = self._ordered(starts, starting, set(starts))
        settled = self._ordered(self.constant, running, set(self.constant))
        parts: list[str] = []
        if apart:
            shared = self._apart(parts, "shared", nests)
            rest = self._ordered(self.moving, running, set(self.moving) - needed)
            flowing = [*shared, *self._apart(parts, "flow", flows, ", dy")]
            stepping = ["wild = 0.0", *shared, *self._apart(parts, "step", ahead, ", dt, dy")]
            shown = [*shared, *self._apart(parts, "shown", rest)]
            holds = (turns := self._turns()) and [*shared, *turns]
            begins = self._apart(parts, "begun", begun)
        else:
            passing = {name: self.blocks[name] for name in needed}
            flowing = self._fused([*nests, *flows], passing)
            stepping = ["wild = 0.0", *self._fused([*nests, *ahead], passing)]
            shown = self._fused(self._ordered(self.moving, running, set(self.moving)))
            holds, begins = self._holds(), self._fused(begun)
        total = ["total = 0.0", f"for i in range({self.n_stocks}):", "    total += dy[i]", "return total"]
        column = 0
        for block in together([self.blocks[name] for name in self.visible]):
            shown += [f"for i in range({block.count}):", f"    out[{column} + i] = {block.vector}[{block.start} + i]"]
            column += block.count
        bits = self._bits()
        parts += [
            self._function("constants(p)", bits + self._fused(settled), clock=False),
            self._function("initial(t, tick, p, y)", bits + begins),
            self._function("flows(t, tick, y, p, dy)", bits + flowing),
            self._function("ahead(t, tick, y, p, dt, dy)", [*bits, *stepping, "return wild"]),
            self._function("rates(t, tick, y, p, dy)", ["flows(t, tick, y, p, dy)", *total], clock=False),
            self._function("outputs(t, tick, y, p, out)", bits + shown),
            self._function("hold(t, tick, y, p)", holds and bits + holds),
            self._function("limit(y)", self._limits(), clock=False),
        ]
        return "\n\n".join(parts) + "\n"

    def _apart(self, parts: list[str], label: str, nests: Sequence[Nest], more: str = "") -> list[str]:
        """Calls of functions of some loops each, which are added to the parts of the source.

        The compiler's time grows faster than what it is given at once, and what a step, its outputs and held values
        all need is compiled once.
        """
        calls = []
        for number, first in enumerate(range(0, len(nests), EACH_PART)):
            lines, call = self._fused(nests[first : first + EACH_PART]), f"{label}{number}(t, tick, y, p{more})"
            if "dt" in more:
                lines = ["wild = 0.0", *lines, "return wild"]
            parts.append(self._function(call, lines))
            calls.append(f"wild += {call}" if "dt" in more else call)
        return calls

    def _starts(self) -> list[str]:
        """Stocks, frozen and held values, and the variables that their values at the start depend on."""
        settled = set(self.constant)
        kinds = {n: k for n, k in self.kinds.items() if isinstance(k, Auxiliary | Stock | Frozen | Held)}
        begun = {name for name, kind in kinds.items() if not isinstance(kind, Auxiliary)}
        parts = (part for name in begun for part in self._read_by(name, starting))
        needed = begun | self._upstream_of(parts, kinds.keys() - settled, starting)
        return [name for name in kinds if name in needed]

    def _upstream_of(
        self, expressions: Iterable[Expression], among: Collection[str] | None = None, value: Any = running
    ) -> set[str]:
        """Variables that expressions depend on, of those that move or of others."""
        wanted: set[str] = set()
        among = set(self.moving) if among is None else among
        pending = list(self._reads(expressions))
        while pending:
            name = pending.pop()
            if name in among and name not in wanted:
                wanted.add(name)
                pending += self._reads(self._read_by(name, value))
        return wanted

    def _read_by(self, name: str, value: Any) -> list[Expression]:
        """Expressions that give a variable its value."""
        return [part for piece in self.pieces[name] for part in _given_by(piece.equation, value)]

    def _ordered(self, names: Sequence[str], value: Any, wanted: set[str]) -> list[Nest]:
        """Loops that compute some variables, each after what it reads; circles of arrays are written out."""
        members = {name: name for name in names if name in wanted}
        groups: dict[str, list[str]] = {name: [name] for name in members}
        graph = {name: self._reads(self._read_by(name, value)) for name in members}
        while True:
            joined: dict[str, set[str]] = {group: set() for group in groups}
            for name, reads in graph.items():
                joined[members[name]] |= {members[read] for read in reads if read in members}
            loops = {group for group in groups if group in joined[group]}
            for group in groups:
                joined[group].discard(group)
            try:
                order = list(TopologicalSorter(joined).static_order())
                break
            except CycleError as error:
                circle = list(dict.fromkeys(error.args[1]))
                for group in circle[1:]:
                    groups[circle[0]] += groups.pop(group)
                members |= dict.fromkeys(groups[circle[0]], circle[0])
        nests: list[Nest] = []
        for group in order:
            parts = [value(piece.equation) for name in groups[group] for piece in self.pieces[name]]
            vectors = any(takes_vectors(node) for part in parts if part is not None for node in walk(part))
            together = group in loops or len(groups[group]) > 1
            pieces = None if vectors else self._following(groups[group], value) if together else self._sorted(group)
            if pieces is None:
                reads = {read for name in groups[group] for read in graph[name]}
                nests.append(Nest(tuple(groups[group]), self._written_out(groups[group], value), frozenset(reads)))
            else:
                for piece in pieces:
                    self._begin_nest()
                    nests.append(self._nested(piece, self._assigned(piece, value), _given_by(piece.equation, value)))
        return nests

    def _following(self, names: Sequence[str], value: Any) -> list[Piece] | None:
        """Pieces of variables that read each other, each after what it reads.

        Nothing where elements depend on others of their own piece, or pieces on each other.
        """
        pieces = [piece for name in names for piece in self._sorted(name)]
        if len(pieces) > MOST_FOLLOWING:
            return None
        boxes = [(piece.equation.name, self._box(piece.equation.name, piece.subscripts)) for piece in pieces]
        graph: dict[int, list[int]] = {}
        for number, piece in enumerate(pieces):
            nodes = [node for part in _given_by(piece.equation, value) for node in walk(part)]
            own = [(n.name, self._box(n.name, n.indices)) for n in nodes if isinstance(n, Name) and n.name in names]
            graph[number] = [other for other, box in enumerate(boxes) if any(_meet(box, one) for one in own)]
            graph[number] += [other for other in range(number) if _meet(boxes[other], boxes[number])]
        try:
            return [pieces[number] for number in TopologicalSorter(graph).static_order()]
        except CycleError:
            return None

    def _box(self, name: str, indices: Sequence[str]) -> list[Sequence[int]]:
        """Places of the elements that indices stand for, position by position; all of them where that is open."""
        places: list[Sequence[int]] = []
        for index, (dimension, elements) in zip(indices, self.shapes.get(name, ()), strict=True):
            try:
                places.append(self._places(index.removesuffix("!"), dimension, elements))
            except ModelError:
                places.append(range(len(elements)))
        return places

    def _fused(self, nests: Sequence[Nest], passing: Mapping[str, Block] | None = None) -> list[str]:
        """Source of loops, and of those before them that fill the copies they read from."""
        found: list[Nest] = []
        labels = {rows.label: names for names, rows in self.rows.items()}
        for nest in nests:
            for label in sorted(labels.keys() & nest.reads):
                names = frozenset(labels[label])
                found.append(Nest((label,), self._copied(labels.pop(label)), names, names, own=True))
            found.append(nest)
        return fused(found, passing)

    def _begin_nest(self) -> None:
        """From here on the lines of a nest are printed, whose copies are filled before it."""
        self.copying = True
        self.copied, self.direct, self.labels = set(), set(), set()

    def _nested(self, piece: Piece, lines: list[str], read: Sequence[Expression]) -> Nest:
        """The loops of one piece, with what they read, and what of it at the number of the outermost loop alone."""
        self._nest(piece)
        copied, reads, apart = self.copied - self.direct, set(self.labels), set()
        for node in (node for part in read for node in walk(part) if isinstance(node, Name | Lookup)):
            name = node.name if isinstance(node, Name) else node.table
            if not name or (name, *map(key, node.indices[:1])) in copied:
                continue
            reads.add(name)
            if not (node.indices and name in self.blocks and self._outermost(name, node.indices[0])):
                apart.add(name)
        self.copying = False
        name = piece.equation.name
        own = bool(piece.subscripts) and self._outermost(name, piece.subscripts[0])
        return Nest((name,), lines, frozenset(reads), frozenset(reads & self.kinds.keys() - apart), own)

    def _outermost(self, name: str, index: str) -> bool:
        """Whether an index in the first position of a variable stands for the number of the outermost loop."""
        bound = {key(subscript): loop for subscript, loop in self.loops}
        if index.endswith("!") or "i0" not in bound.values():
            return False
        try:
            return self._where(index, *self.shapes[name][0]) == "i0"
        except ModelError:  # it stands for an element that a sum goes through
            return False

    def _sorted(self, name: str) -> list[Piece]:
        """Pieces of a variable, those for fewer elements last: they count before those for more."""
        return sorted(self.pieces[name], key=lambda piece: -self.ranges.count(piece.subscripts))

    def _written_out(self, names: Sequence[str], value: Any) -> list[str]:
        """Single elements in an order in which they can be computed."""
        pieces = [piece for name in names for piece in self.pieces[name]]
        read = self._reads(part for name in names for part in self._read_by(name, value))
        if tables := sorted(read & self.whole.sparse.keys()):
            raise ModelError(
                f"'{names[0]}' reads the sparse table '{tables[0]}' and depends on other elements of its own at the"
                " same moment, or is sorted, picked or allocated; give the sum over the table a variable of its own"
            )
        if sum(self.ranges.count(piece.subscripts) for piece in pieces) > MOST_WRITTEN // 20:
            raise ModelError(
                f"'{names[0]}' has to be written out, as its elements depend on each other or are sorted, picked or"
                " allocated; it has too many for that: load the model with sizes={...}"
            )
        found: dict[str, Equation] = {}
        for piece in sorted(pieces, key=lambda piece: -self.ranges.count(piece.subscripts)):
            found |= {equation.name: equation for equation in equations_of(piece, self.ranges, self.shapes)}
        graph = {name: [r for r in self._reads(_given_by(item, value)) if r in found] for name, item in found.items()}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " -> ".join(f"'{name}'" for name in reversed(error.args[1]))
            what = "equations" if value is running else "initial values"
            raise ModelError(
                f"{self.model.name}: {what} go in a circle: {circle}; a stock or INITIAL must break it"
            ) from None
        lines = []
        self.loops, self.single = [], True
        for name in order:
            self.before = []
            text, held = self.number(value(found[name])), found[name]
            if value is starting and isinstance(held, Held) and held.delay is not None:
                _, place = self._place_of(name)
                text = self._begun(held, text, f"{self.blocks[f'{parted(name, self.blocks)[0]} #pipe'].start + place}")
            lines += [*self.before, f"{self._element(name)} = {text}"]
        self.single = False
        return lines

    def _nest(self, piece: Piece) -> tuple[list[str], str]:
        """Heads of the loops of a piece, and source of the place within the block that it sets."""
        name = piece.equation.name
        block, shape = self.blocks[name], self.shapes.get(name, ())
        heads, terms = [], []
        self.loops = []
        for number, (subscript, (dimension, elements), stride) in enumerate(
            zip(piece.subscripts, shape, block.strides, strict=True)
        ):
            places = self._places(subscript, dimension, elements)
            if len(places) == 1 and subscript not in self.ranges:
                terms.append(str(places[0] * stride))
                continue
            head, loop = gone_through(f"i{number}", len(places))
            heads += head
            self.loops.append((subscript, loop))
            index = self._index(places, loop)
            terms.append(f"({index}) * {stride}" if stride != 1 else index)
        return heads, " + ".join([str(block.start), *terms])

    def _assigned(self, piece: Piece, value: Any, target: str = "", part: Expression | None = None) -> list[str]:
        """The loops of one piece."""
        expression = part if part is not None else value(piece.equation)
        if expression is None:
            return []
        block = self.blocks[target or piece.equation.name]
        heads, place = self._nest(piece)
        if target:
            place = f"{block.start} - {self.blocks[piece.equation.name].start} + {place}"
        self.before = []
        if (
            self.whole.sparse
            and value is running
            and (lines := self._summed_side_by_side(piece, expression, heads, place))
        ):
            return lines
        text = self.number(expression)
        held = piece.equation
        if value is starting and isinstance(held, Held) and held.delay is not None:
            text = self._begun(held, text, f"{self.blocks[f'{held.name} #pipe'].start} - {block.start} + {place}")
        body = [*self.before, f"{block.vector}[{place}] = {text}"]
        return self._guarded(piece, heads, body)

    def _begun(self, held: Held, text: str, place: str) -> str:
        """What a delay's first value is, whose pipe is begun with it; `place` is where the pipe's own place stands."""
        assert held.delay is not None
        empty = {"fixed": text, "line": "0.0"}.get(held.mode, repr(EMPTY))
        return f"f_pipe_begin(p, int(p[{place}]), {text}, {self.number(held.delay)}, {self._dt()}, {empty})"

    def _guarded(self, piece: Piece, heads: Sequence[str], body: Sequence[str]) -> list[str]:
        """Lines within their loops, without what is excepted."""
        tests = []
        for group in piece.exceptions:
            parts = []
            for subscript, left_out in zip(piece.subscripts[piece.outer :], group, strict=False):
                loop = dict(self.loops).get(subscript)
                out = {key(element) for element in self.ranges.elements(left_out)}
                inside = [key(element) in out for element in self.ranges.elements(subscript)]
                if loop is not None and not all(inside):
                    flags = tuple(int(flag) for flag in inside)
                    if sum(flags) == 1:
                        parts.append(f"{loop} == {flags.index(1)}")
                    else:
                        parts.append(f"{self._index((*flags, 2), loop)} == 1")
            tests.append(f"not ({' and '.join(parts)})" if parts else "False")
        lines = list(body)
        if tests:
            lines = [f"if {' and '.join(tests)}:", *(f"    {line}" for line in lines)]
        return within(heads, lines)

    def _rate(self, piece: Piece) -> tuple[list[str], list[str]]:
        """The loops that set a stock's net flow, and those that set the stock a step ahead."""
        stock = piece.equation
        assert isinstance(stock, Stock)
        heads, place = self._nest(piece)
        self.before = []
        text = self.number(stock.rate)
        y, dy = f"y[{place}]", f"dy[{place}]"
        found = []
        finite = [f"wild += 0.0 if abs({dy}) <= {LARGEST} else 1.0"]
        for now, value, told in (("0.0", text, []), (y, f"{y} + dt * {text}", finite)):
            kept = [f"if {y} <= 0.0 and {dy} < {now}:", f"    {dy} = {now}"] if stock.non_negative else []
            found.append(self._guarded(piece, heads, [*self.before, f"{dy} = {value}", *kept, *told]))
        return found[0], found[1]

    def _followed_by_held(self) -> list[Expression]:
        held = self.structure.held
        return [part for n in held for piece in self.pieces[n] for part in followed(piece.equation)]

    def _holds(self) -> list[str]:
        needed = self._upstream_of(self._followed_by_held())
        return [*self._fused(self._ordered(self.moving, running, needed)), *self._turns()]

    def _turns(self) -> list[str]:
        """Lines that give held values what they have at the next step."""
        held = self.structure.held
        lines: list[str] = []
        for name in held:
            for piece in self._sorted(name):
                assert isinstance(piece.equation, Held)
                lines += self._assigned(piece, None, f"{name} #next", piece.equation.following)
        for name in held:
            for piece in self._sorted(name):
                lines += self._turned(piece)
        return lines

    def _turned(self, piece: Piece) -> list[str]:
        """What a held value has at the next step, from what was worked out for it."""
        held = piece.equation
        assert isinstance(held, Held)
        heads, place = self._nest(piece)
        start = self.blocks[held.name].start
        value = f"p[{self.blocks[f'{held.name} #next'].start - start} + {place}]"
        self.before = []
        if held.delay is not None:
            pipe = f"int(p[{self.blocks[f'{held.name} #pipe'].start - start} + {place}])"
            delay = self.number(held.delay)
            missing = self.number(held.missing) if held.missing is not None else "0.0"
            value = {
                "fixed": f"f_pipe_fixed(p, {pipe}, {value})",
                "material": f"f_pipe_material(p, {pipe}, {value}, {delay}, {self._dt()}, {missing})",
                "information": f"f_pipe_information(p, {pipe}, {value}, {delay}, {self._dt()}, p[{place}])",
                "line": f"f_pipe_line(p, {pipe}, {value}, {delay}, {self._dt()})",
            }[held.mode]
        return self._guarded(piece, heads, [*self.before, f"p[{place}] = {value}"])

    def _limits(self) -> list[str]:
        lines = []
        for name, kind in self.kinds.items():
            if isinstance(kind, Stock) and kind.non_negative:
                block = self.blocks[name]
                at = f"y[{block.start} + i]"
                lines += [f"for i in range({block.count}):", f"    if {at} < 0.0:", f"        {at} = 0.0"]
        return lines


def _given_by(equation: Equation, value: Any) -> list[Expression]:
    """Expressions that give an equation's variable its value, with what a delay's first one depends on."""
    parts = (value(equation), getattr(equation, "delay", None))
    return [part for part in parts if part is not None]


def _meet(first: _Box, second: _Box) -> bool:
    """Whether elements of a variable, position by position, are among others."""
    return first[0] == second[0] and all(_share(mine, its) for mine, its in zip(first[1], second[1], strict=True))


def _share(first: Sequence[int], second: Sequence[int]) -> bool:
    if isinstance(first, range) and isinstance(second, range):
        return max(first.start, second.start) < min(first.stop, second.stop)
    return not frozenset(first).isdisjoint(second)


def _of_one_kind(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Pieces in which a variable whose elements are in part constants and in part computed is computed as a whole."""
    kinds: dict[str, set[type[Equation]]] = {}
    for piece in pieces:
        kinds.setdefault(piece.equation.name, set()).add(type(piece.equation))
    for number, piece in enumerate(pieces):
        constant, own = piece.equation, kinds[piece.equation.name]
        if own not in ({Parameter, Auxiliary}, {type(constant)}):
            raise ModelError(f"'{constant.name}' is a {constant.kind} for some elements and another thing for others")
        if not isinstance(constant, Parameter) or len(own) == 1:
            yield piece
            continue
        about = {item.name: getattr(constant, item.name) for item in fields(Variable)}
        value: Expression = Number(constant.value)
        if piece.values is not None:
            name = f"{constant.name} #{number} constants"
            yield replace(piece, equation=Parameter(name=name, hidden=True))
            value = Name(name, piece.subscripts)
        yield replace(piece, equation=Auxiliary(**about, expression=value), values=None)
