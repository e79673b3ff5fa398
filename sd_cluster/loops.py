"""Expressions within loops over ranges: where an element lies, and sums that become loops of their own."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from sd_cluster.arrays import Piece, Shape, Whole, marked, parted
from sd_cluster.errors import ModelError
from sd_cluster.expressions import (
    NOISE,
    REDUCTIONS,
    TIME,
    VECTOR_FUNCTIONS,
    Call,
    Expression,
    Lookup,
    Name,
    Operation,
    walk,
)
from sd_cluster.model import key
from sd_cluster.printing import Printer
from sd_cluster.ranges import Ranges

MOST_SIDE_BY_SIDE = 8
"""Elements of a range up to which sums over a sparse table are taken side by side."""


FETCH_FROM = 50_000
"""Rows of a sparse table from which on what is read of members is copied into rows and asked for ahead.

Smaller ones lie near by themselves.
"""

FETCH_AHEAD = 4
"""How many rows ahead."""


@dataclass(frozen=True)
class Sparse:
    """Where a sparse table lies in `p`: its size and content do not show in source, so that one source fits others.

    Attributes
    ----------
    number
        Of the table, from nought: `columns0` is the place of its columns among the 32-bit words of `p`, `values0` that
        of its values.
    start
        Where in `p` these two places lie, bit by bit; behind them the first entry of each row, and the end.
    rows
        How many rows it has.
    """

    number: int
    start: int
    rows: int

    @property
    def count(self) -> int:
        """How many numbers lie at its start."""
        return self.rows + 3

    def begin(self, row: str) -> str:
        """Source of a row's first entry."""
        return f"bits[uint64({self.start + 2} + {row})]"

    def end(self, row: str) -> str:
        """Source of the entry behind a row's last one."""
        return f"bits[uint64({self.start + 3} + {row})]"

    def column(self, entry: str) -> str:
        """Source of an entry's column."""
        return f"int64(near[uint64(columns{self.number} + {entry})])"

    def value(self, entry: str) -> str:
        """Source of an entry's value."""
        return f"p[uint64(values{self.number} + {entry})]"


LINE = 8
"""Numbers in one line of the processor's cache."""


@dataclass(frozen=True)
class Rows:
    """A copy in which lies side by side what a sum over a sparse table reads of one element: one line of the cache.

    Attributes
    ----------
    start, width
        Where in `p` it begins, and how far apart rows lie: a power of two, so that none goes over two lines.
    offsets
        Where in a row each variable begins.
    """

    start: int
    width: int
    offsets: Mapping[str, int]

    @property
    def label(self) -> str:
        """What it is called among the variables."""
        return f"#rows {self.start}"


@dataclass(frozen=True)
class Block:
    """Where a variable lies: in which vector, from where on, and its sizes and strides."""

    vector: str
    start: int
    sizes: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.sizes)

    @property
    def strides(self) -> tuple[int, ...]:
        """How far apart neighbours lie in each position."""
        return tuple(math.prod(self.sizes[place + 1 :]) for place in range(len(self.sizes)))


def together(blocks: Iterable[Block]) -> list[Block]:
    """Blocks with what lies behind each other made one, as rows of numbers."""
    found: list[Block] = []
    for block in blocks:
        last = found[-1] if found else None
        if last and (last.vector, last.start + last.count) == (block.vector, block.start):
            found[-1] = replace(last, sizes=(last.count + block.count,))
        else:
            found.append(block)
    return found


class LoopPrinter(Printer):
    """Prints expressions whose names are indexed by ranges, within the loops at hand.

    Attributes
    ----------
    blocks
        Where each variable lies.
    loops
        Ranges that are being gone through, each with the name of its number, outermost first.
    before
        Lines that have to stand before the one being printed: sums.
    single
        Whether single elements are being printed, outside all loops.
    tables
        Index tables, by what they hold, with their places in `p`; more may be added while printing.
    rows
        Copies by the variables that lie in them; more may be added, too.
    from_rows
        Those to read from, by the name of the variable and of the loop's number.
    copying
        Whether sums may read from copies: whoever prints them sees to it that the copies are filled.
    copied, direct
        What the lines being printed read from a copy, and what not, by the name of the variable and its first index.
    labels
        Of the copies that they read from.
    """

    whole: Whole
    ranges: Ranges
    shapes: dict[str, Shape]
    blocks: Mapping[str, Block]
    sparse: dict[str, Sparse]
    tables: dict[Sequence[int], int]
    found: dict[tuple[str, str, int], Sequence[int]]
    loops: list[tuple[str, str]]
    before: list[str]
    rows: dict[tuple[str, ...], Rows]
    from_rows: dict[tuple[str, str], Rows]
    copying: bool
    copied: set[tuple[str, str]]
    direct: set[tuple[str, str]]
    labels: set[str]
    sums: int
    single: bool
    length: int

    def _element(self, full: str) -> str:
        """Source of one element by its full name."""
        block, place = self._place_of(full)
        return f"{block.vector}[{block.start + place}]"

    def _place_of(self, full: str) -> tuple[Block, int]:
        """The block of an element, and its place in it."""
        name, inside = parted(full, self.blocks)
        block, place = self.blocks[name], 0
        shape = self.shapes.get(name, ()) if inside else ()
        for element, (_, known), stride in zip(_listed(inside, shape), shape, block.strides, strict=False):
            place += stride * [key(item) for item in known].index(key(element))
        return block, place

    def _places(self, subscript: str, dimension: str, elements: Sequence[str]) -> Sequence[int]:
        """Places of a subscript's elements among those of a position; a `range` where they follow each other."""
        asked = (subscript, dimension, len(elements))
        if asked not in self.found:
            own = self.ranges.elements(subscript)
            places = (
                range(len(own)) if own == elements else [self._known(e, subscript, dimension, elements) for e in own]
            )
            shift = places[0]
            follow = all(place == shift + number for number, place in enumerate(places))
            self.found[asked] = range(shift, shift + len(places)) if follow else tuple(places)
        return self.found[asked]

    def _index(self, places: Sequence[int], loop: str) -> str:
        """Source of the place that belongs to a loop's number: a shift, or read from a table."""
        if isinstance(places, range):
            return f"{loop} + {places.start}" if places.start else loop
        places = tuple(places)
        if places not in self.tables:
            self.tables[places] = self.length
            self.length += len(places)
        return f"int(p[{self.tables[places]} + {loop}])"

    def number(self, expression: Expression) -> str:
        """Source that gives the value of an expression within the loops at hand; sums come before it."""
        match expression:
            case Name() if expression.name == TIME:
                return "t"
            case Name():
                return self.locals.get(expression.name) or self._read(expression.name, expression.indices)
            case Lookup(table=table, indices=indices) if indices:
                written = super().number(replace(expression, indices=()))
                plain = f"p[{self.blocks[parted(table, self.blocks)[0]].start}]"
                return written.replace(plain, self._read(table, indices), 1)
            case Call(function=function) if function in REDUCTIONS and function != "vector_select":
                return self._summed(expression)
            case Call(function="position", arguments=(Name(indices=(index,)),)):
                if index.removesuffix("!") not in self.ranges:
                    return self._lone_place(index)
                family = self.ranges.family(index.removesuffix("!"))
                return f"({self._where(index, family, self.ranges.elements(family))} + 1.0)"
            case Call(function=function) if function == NOISE:
                element = "0.0"
                for subscript, loop in self.loops:
                    element = f"({element} * {len(self.ranges.elements(subscript))} + {loop})"
                seed, stream, _ = expression.arguments
                step = f"floor((clock - p[{self.slots[self.first_time]}]) / {self._dt()})"
                return f"f_noise({self.number(seed)}, {self.number(stream)}, {element}, {step})"
            case Call() if not self.single and takes_vectors(expression):
                raise ModelError(f"{expression.function.replace('_', ' ')} should be the whole of an equation here")
            case _:
                return super().number(expression)

    def _lone_place(self, element: str) -> str:
        return f"{(self.ranges.place(self.ranges.home(element), element) or 0) + 1}.0"

    def _read(self, name: str, indices: Sequence[str]) -> str:
        if name in self.whole.sparse:
            raise ModelError(f"the sparse table '{name}' is read outside a sum over its second range")
        if not indices:
            return self._element(name)
        block, shape = self.blocks[name], self.shapes[name]
        places = [self._where(index, *position) for index, position in zip(indices, shape, strict=True)]
        vector, start, strides = block.vector, block.start, block.strides
        rows = self.from_rows.get((name, places[0]))
        if rows is None:
            self.direct.add((name, key(indices[0])))
        else:
            vector, start, strides = "p", rows.start + rows.offsets[name], (rows.width, *strides[1:])
        terms = [
            f"({place}) * {stride}" if stride != 1 else place for place, stride in zip(places, strides, strict=True)
        ]
        return f"{vector}[uint64({' + '.join([str(start), *terms])})]"

    def _where(self, index: str, dimension: str, elements: Sequence[str]) -> str:
        """Source of the place of an index among the elements of a position."""
        folded = key(index)
        for subscript, loop in self.loops:
            if key(subscript) == folded:
                return self._index(self._places(subscript.removesuffix("!"), dimension, elements), loop)
        if index.endswith("!"):
            raise ModelError(f"'{index}' stands outside SUM and its like")
        if index not in self.ranges:
            return str(self._known(self.ranges.elements(index)[0], index, dimension, elements))
        for subscript, loop in self.loops:
            bare = subscript.removesuffix("!")
            if _same(self.ranges.elements(bare), elements):
                return self._index(range(len(elements)), loop)
            there = [self.ranges.translated(element, bare, index) for element in self.ranges.elements(bare)]
            if all(element is not None for element in there):
                return self._index([self._known(str(e), index, dimension, elements) for e in there], loop)
        raise ModelError(f"'{index}' on the right-hand side stands for no one element; map the ranges, or sum over it")

    def _known(self, element: str, index: str, dimension: str, elements: Sequence[str]) -> int:
        """Place of an element among those of a position, by its own name or through a mapping."""
        if dimension in self.ranges and _same(self.ranges.elements(dimension), elements):
            place = self.ranges.place(dimension, element)
            if place is None:
                other = self.ranges.translated(element, index.removesuffix("!"), dimension)
                place = None if other is None else self.ranges.place(dimension, other)
        else:
            place = next((number for number, name in enumerate(elements) if key(name) == key(element)), None)
        if place is None:
            raise ModelError(f"element '{element}' is not among {', '.join(elements[:3])}, ...")
        return place

    def _summed(self, call: Call) -> str:
        """A sum, product or extreme over ranges: a loop before the line that needs it."""
        inner = call.arguments[0]
        bound = {key(subscript) for subscript, _ in self.loops}
        over = list(marked([inner], bound).values())
        if not over:
            return self.number(inner)
        self.sums += 1
        total, number = f"s{self.sums}", self.sums
        outer, outer_loops = self.before, list(self.loops)
        self.before = []
        sparse = next((n for n in walk(inner) if isinstance(n, Name) and n.name in self.whole.sparse), None)
        if sparse is not None:
            asked, heads, inner = self._sparse_loop(sparse, inner, number, over, inner)
        else:
            asked, heads = [], []
            for place, index in enumerate(over):
                begun, loop = gone_through(f"j{number}_{place}", len(self.ranges.elements(index.removesuffix("!"))))
                heads += begun
                self.loops.append((index, loop))
        text = self.number(inner)
        step = {
            "sum": f"{total} += {text}", "mean": f"{total} += {text}", "prod": f"{total} *= {text}",
            "vmin": f"{total} = min({total}, {text})", "vmax": f"{total} = max({total}, {text})",
        }[call.function]  # fmt: skip
        lines = within(heads, [*self.before, step])
        first = {"prod": "1.0", "vmin": "1e300", "vmax": "-1e300"}.get(call.function, "0.0")
        if sparse is not None and first != "0.0":  # what a row does not hold is nought
            its, row = self.sparse[sparse.name], self._where(sparse.indices[0], *self.shapes[sparse.name][0])
            full = self.whole.sparse[sparse.name].shape[1]
            first = f"({first} if {its.end(row)} - {its.begin(row)} == {full} else 0.0)"
        self.before = [*outer, f"{total} = {first}", *asked, *lines]
        self.loops = outer_loops
        if call.function == "mean":
            return f"({total} / {self.ranges.count(index.removesuffix('!') for index in over)})"
        return total

    def _sparse_loop(
        self, table: Name, inner: Expression, number: int, marked: Sequence[str], read: Expression
    ) -> tuple[list[str], list[str], Expression]:
        """The loop over what one row of a sparse table holds, and the summand with the table's entry in it.

        What comes first stands before the loop: in large tables what will be read some rows ahead is asked for early,
        as it lies anywhere, and in a loop of its own, as the sums are then made of vectors.
        """
        its = self.sparse[table.name]
        row, column = table.indices
        if list(map(key, marked)) != [key(column)] or not is_factor(table, inner):
            raise ModelError(f"the sparse table '{table.name}' should be a factor in a sum over its second range alone")
        place = self._where(row, *self.shapes[table.name][0])
        k, j = f"k{number}", f"j{number}"
        self.loops.append((column, j))
        heads = [f"for {k} in range({its.begin(place)}, {its.end(place)}):"]
        first = []
        if its.rows >= FETCH_FROM:
            self._lay_rows(read, column, j)
            near, far = (f"min({place} + {FETCH_AHEAD + more}, {its.rows})" for more in (0, 1))
            first = [f"for {k} in range({its.begin(near)}, {its.begin(far)}):", f"    {j} = {its.column(k)}"]
            first += [f"    {line}" for line in self._fetched(read, column, j)]
        self.before.append(f"{j} = {its.column(k)}")
        entry = f"\0{its.value(k)}"
        self.locals[entry] = entry[1:]
        return first, heads, _replaced(inner, table, Name(entry))

    def _fetched(self, read: Expression, column: str, ahead: str) -> list[str]:
        """Lines that ask for what an expression reads of one element of a range."""
        lines: dict[str, None] = {}
        for node in walk(read):
            folded = [key(index) for index in node.indices] if isinstance(node, Name) else []
            if key(column) not in folded or not isinstance(node, Name) or node.name not in self.blocks:
                continue
            block = self.blocks[node.name]
            if rows := self.from_rows.get((node.name, ahead)):
                lines[f"f_fetch(p, {rows.start} + {ahead} * {rows.width})"] = None
                continue
            stride = block.strides[folded.index(key(column))]
            lines[f"f_fetch({block.vector}, {block.start} + {ahead} * {stride})"] = None
            if stride > 2:
                lines[f"f_fetch({block.vector}, {block.start + stride - 1} + {ahead} * {stride})"] = None
        return list(lines)

    def _lay_rows(self, read: Expression, column: str, loop: str) -> None:
        """Let what an expression reads of one element come from one row, where it lies apart and fits in one."""
        if not self.copying:
            return
        found: dict[str, Block] = {}
        for node in walk(read):
            if isinstance(node, Name) and node.name in self.blocks and key(column) in map(key, node.indices[:1]):
                if self._where(node.indices[0], *self.shapes[node.name][0]) != loop:
                    return
                found[node.name] = self.blocks[node.name]
        count = sum(block.strides[0] for block in found.values())
        if len(found) < 2 or count > LINE or len({block.sizes[0] for block in found.values()}) > 1:
            return
        names = tuple(sorted(found))
        if names not in self.rows:
            offsets = dict(zip(names, accumulate((found[name].strides[0] for name in names), initial=0), strict=False))
            width = 1 << (count - 1).bit_length()
            self.rows[names] = Rows(-(-self.length // LINE) * LINE, width, offsets)
            self.length = self.rows[names].start + width * found[names[0]].sizes[0]
        self.from_rows |= {(name, loop): self.rows[names] for name in names}
        self.copied |= {(name, key(column)) for name in names}
        self.labels.add(self.rows[names].label)

    def _copied(self, names: Sequence[str]) -> list[str]:
        """Loops that fill a copy."""
        rows, lines = self.rows[tuple(names)], [f"for i0 in range({self.blocks[names[0]].sizes[0]}):"]
        for name in names:
            block = self.blocks[name]
            place, stride = rows.start + rows.offsets[name], block.strides[0]
            heads, loop = gone_through("i1", stride)
            own = "i0" if stride == 1 else f"(i0) * {stride}"
            within = f" + {loop}" if len(block.sizes) > 1 else ""
            line = f"p[{place} + i0 * {rows.width}{within}] = {block.vector}[{block.start} + {own}{within}]"
            lines += [f"    {part}" for part in ([*heads, f"    {line}"] if heads else [line])]
        return lines

    def _summed_side_by_side(self, piece: Piece, expression: Expression, heads: Sequence[str], place: str) -> list[str]:
        """Loops of a variable over a sparse table's rows and one short range more, whose sums are taken side by side.

        Each row is gone through once, and what does not vary over the short range is worked out once. Nothing where
        the equation is not a product with one such sum as a factor.
        """
        short = self.loops[-1][0] if len(self.loops) == 2 and len(heads) == 2 and not piece.exceptions else ""
        count = len(self.ranges.elements(short)) if short else 0
        factors = factors_of(expression)
        sums = [factor for factor in factors if isinstance(factor, Call) and factor.function == "sum"]
        if not 1 < count <= MOST_SIDE_BY_SIDE or len(sums) != 1:
            return []
        inner = factors_of(sums[0].arguments[0])
        table = next((n for n in inner if isinstance(n, Name) and n.name in self.whole.sparse), None)
        if table is None or key(table.indices[0]) != key(piece.subscripts[0]):
            return []
        rows = [key(index) for index in table.indices]
        alike: list[Expression] = []
        varying: list[Expression] = []
        for factor in inner:
            indices = {i for n in walk(factor) if isinstance(n, Name | Lookup) for i in n.indices if i in self.ranges}
            (alike if all(key(index) in rows for index in indices) else varying).append(factor)
        self.sums += 1
        number, outer = self.sums, list(self.loops)
        self.before, self.loops = [], outer[:1]
        asked, inside, weight = self._sparse_loop(table, product(alike), number, [table.indices[1]], product(inner))
        column = self.loops[-1]
        weight_text = self.number(weight)
        lines = [*self.before, f"w{number} = {weight_text}"]
        after = []
        for one in range(count):
            own, total = (short, str(one)), f"s{number}_{one}"
            self.before, self.loops = [], [outer[0], own, column]
            text = " * ".join([f"w{number}", *([self.number(product(varying))] if varying else [])])
            lines += [*self.before, f"{total} += {text}"]
            self.before, self.loops = [], [outer[0], own]
            self.locals[f"\0{total}"] = total
            text = self.number(product([Name(f"\0{total}") if factor is sums[0] else factor for factor in factors]))
            here = re.sub(rf"\b{outer[1][1]}\b", str(one), place)
            after += [*self.before, f"{self.blocks[piece.equation.name].vector}[{here}] = {text}"]
        body = [
            *(f"s{number}_{one} = 0.0" for one in range(count)),
            *asked,
            *inside,
            *(f"    {line}" for line in lines),
            *after,
        ]
        self.before, self.loops = [], outer
        return [heads[0], *(f"    {line}" for line in body)]

    def _name(self, name: str) -> str:
        return self.locals.get(name) or self._element(name)


def gone_through(loop: str, count: int) -> tuple[list[str], str]:
    """The head of a loop over a range, and source of its number; a range of one element takes no loop."""
    return ([f"for {loop} in range({count}):"], loop) if count != 1 else ([], "0")


def within(heads: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Lines within loops."""
    found = list(lines)
    for head in reversed(heads):
        found = [head, *(f"    {line}" for line in found)]
    return found


def _listed(inside: str, shape: Shape) -> list[str]:
    """The elements within a full name's brackets; an element may hold commas of its own."""
    found = inside.split(",")
    if len(found) == len(shape):
        return found
    rest, found = f"{inside},", []
    for _, known in shape:
        fitting = [element for element in known if rest.startswith(f"{element},")]
        found.append(max(fitting, key=len, default=""))
        rest = rest[len(found[-1]) + 1 :]
    return found


def _same(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two ranges have the same elements; one range is mostly compared with itself."""
    return first is second or (len(first) == len(second) and first == second)


def takes_vectors(node: Expression) -> bool:
    """Whether a node is a function of a whole vector, whose equation has to be written out."""
    whole = {"find_market_price", "placed", "quantity_at_price", "reorder", "vector_elm_map", "vector_select"}
    vectors = VECTOR_FUNCTIONS.keys() | whole
    return isinstance(node, Call) and node.function in vectors


def factors_of(expression: Expression) -> list[Expression]:
    """Factors of a product, in order."""
    if isinstance(expression, Operation) and expression.operator == "*":
        return [factor for part in expression.operands for factor in factors_of(part)]
    return [expression]


def product(factors: Sequence[Expression]) -> Expression:
    """The product of one factor or more."""
    whole = factors[0]
    for factor in factors[1:]:
        whole = Operation("*", (whole, factor))
    return whole


def is_factor(table: Name, expression: Expression) -> bool:
    """Whether an expression is zero wherever a table is."""
    match expression:
        case Name():
            return expression == table
        case Operation(operator="*", operands=operands):
            return any(is_factor(table, part) for part in operands)
        case Operation(operator="/", operands=(first, _)):
            return is_factor(table, first)
        case Operation(operator="neg", operands=(first,)):
            return is_factor(table, first)
        case _:
            return False


def _replaced(expression: Expression, old: Name, new: Name) -> Expression:
    match expression:
        case Name():
            return new if expression == old else expression
        case Operation():
            return Operation(expression.operator, tuple(_replaced(part, old, new) for part in expression.operands))
        case Call():
            return Call(expression.function, tuple(_replaced(part, old, new) for part in expression.arguments))
        case Lookup():
            return replace(expression, argument=_replaced(expression.argument, old, new))
        case _:
            return expression
