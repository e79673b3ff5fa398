"""Equations of arrays: kept whole as the file has them, and written out element by element."""

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from sd_cluster.errors import ModelError
from sd_cluster.expressions import (
    REDUCTIONS,
    TIME,
    VECTOR_FUNCTIONS,
    Call,
    Expression,
    Lookup,
    Name,
    Number,
    Operation,
    outside_sums,
    walk,
)
from sd_cluster.model import Equation, Parameter, Table, key
from sd_cluster.ranges import Ranges

MOST_ITEMS = 250_000
"""Terms that functions of whole vectors may make in one equation: 500 elements that each read all."""

MOST_WRITTEN = 200_000
"""Equations beyond which arrays are not written out."""

WHOLE_FROM = 5_000
"""Equations from which on arrays are kept whole: compiled as loops, without derivatives."""

WHOLE_PIECE = 100
"""Elements for each equation of the file below which arrays are written out all the same: a loop takes the compiler
about half a second, 400 steps of 100 elements in plain Python 6 ms."""

MOST_WHOLE = 60_000_000
"""Numbers beyond which a model is not taken even whole, without those of sparse tables."""

Shape: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Name and elements of each position of an array variable."""


class WritingOutError(ModelError):
    """Equations of arrays that mean nothing for one of their elements.

    Attributes
    ----------
    faults
        What is wrong, by the name of the whole array.
    """

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__(next(iter(faults.values())))
        self.faults = faults


@dataclass(frozen=True)
class Piece:
    """One equation of a file, whole: names in it are indexed by ranges, elements, and ranges to be summed (`!`).

    Attributes
    ----------
    equation
        Named after the whole variable.
    subscripts
        Ranges and elements of its left-hand side; none for a single number.
    exceptions
        Groups of subscripts that are left out, without the first `outer` of them.
    outer
        How many of the subscripts come from the equation that uses a macro.
    values
        For constants and tables that differ by element: a number, or x and y, for each element in order.
    """

    equation: Equation
    subscripts: tuple[str, ...] = ()
    exceptions: tuple[tuple[str, ...], ...] = ()
    outer: int = 0
    values: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class WrittenOut:
    """Equations for single elements.

    Attributes
    ----------
    equations
        In file order, the last subscript fastest.
    shapes
        Of the array variables, by name.
    first
        Names of the first element of each piece, for what need be looked at only once.
    """

    equations: tuple[Equation, ...]
    shapes: Mapping[str, Shape]
    first: frozenset[str]


@dataclass(frozen=True, eq=False)
class Whole:
    """What a model with large arrays is compiled from.

    Attributes
    ----------
    pieces
        Equations of the file, whole.
    ranges
        Their ranges.
    sparse
        Constant tables over two ranges that are SciPy matrices in compressed rows, by name.
    """

    pieces: tuple[Piece, ...]
    ranges: Ranges
    sparse: Mapping[str, Any]

    def evaluations(self) -> int:
        """How many elements and terms of sums a moment of a run has."""
        return sum(self.ranges.count(piece.subscripts) * self._terms(piece) for piece in self.pieces)

    def _terms(self, piece: Piece) -> int:
        """Of one element of a piece: itself, and what its sums go through."""
        total = 1
        for item in ("expression", "rate", "following"):
            part = getattr(piece.equation, item, None)
            sums = walk(part) if isinstance(part, Expression) else ()
            for call in (node for node in sums if isinstance(node, Call) and node.function in REDUCTIONS):
                total += self.ranges.count(index.removesuffix("!") for index in marked(call.arguments).values())
        return total


def kept_whole(pieces: Sequence[Piece], ranges: Ranges, sparse: Collection[str] = ()) -> WrittenOut:
    """One equation a variable, with the ranges it runs over: what a model with large arrays shows.

    Raises
    ------
    ModelError
        If its variables have too many numbers, without those of sparse tables, or an element has no equation or two;
        the text names it.
    """
    shapes = shapes_of(pieces, ranges)
    found: dict[str, Equation] = {}
    size = 0
    for piece in pieces:
        equation = piece.equation
        size += 0 if equation.name in sparse else ranges.count(piece.subscripts)
        if size > MOST_WHOLE:
            raise ModelError(
                f"'{equation.name}' would bring the model beyond {MOST_WHOLE} numbers; take fewer elements"
            )
        dimensions = tuple(name for name, _ in shapes.get(equation.name, ()))
        if equation.name in found and not piece.subscripts:
            raise ModelError(f"'{equation.name}' is defined twice; keep one of its equations")
        found.setdefault(equation.name, replace(equation, ranges=dimensions))
    by_name: dict[str, list[Piece]] = {}
    for piece in pieces:
        by_name.setdefault(piece.equation.name, []).append(piece)
    for name, own in by_name.items():
        if name not in sparse and name in shapes:
            there = defined(own, ranges, shapes[name])
            if not there.all() and not found[name].hidden:  # what a macro leaves out, nobody reads
                some = element_name(name, _first_missing(there, shapes[name]))
                raise ModelError(f"'{some}' has no equation, while other elements have; give it one")
    return WrittenOut(tuple(found.values()), shapes, frozenset(found))


def defined(pieces: Sequence[Piece], ranges: Ranges, shape: Shape) -> NDArray[np.bool_]:
    """Which elements of an array the pieces of one variable define, of the sizes of its positions.

    Raises
    ------
    ModelError
        If two pieces for as many elements define the same one; the text names it.
    """
    sizes = tuple(len(elements) for _, elements in shape)
    if len(pieces) == 1 and not pieces[0].exceptions and ranges.count(pieces[0].subscripts) == math.prod(sizes):
        return np.ones(sizes, dtype=bool)
    numbers = [{key(element): place for place, element in enumerate(elements)} for _, elements in shape]
    by_count = np.zeros(sizes, dtype=np.int64)
    for piece in sorted(pieces, key=lambda piece: -ranges.count(piece.subscripts)):
        columns = [
            [known[key(element)] for element in ranges.elements(subscript)]
            for subscript, known in zip(piece.subscripts, numbers, strict=True)
        ]
        own = np.zeros(sizes, dtype=bool)
        own[np.ix_(*columns)] = True
        for group in piece.exceptions:
            inner = [
                [known[key(element)] for element in ranges.elements(name)]
                for name, known in zip(group, numbers[piece.outer :], strict=False)
            ]
            own[(slice(None),) * piece.outer + np.ix_(*inner)] = False
        count = int(own.sum())
        if (twice := own & (by_count == count)).any():
            some = element_name(piece.equation.name, _first_missing(~twice, shape))
            raise ModelError(f"'{some}' is defined twice; keep one of its equations")
        by_count[own] = count
    return by_count > 0


def _first_missing(there: NDArray[np.bool_], shape: Shape) -> list[str]:
    places = np.unravel_index(int(np.argmin(there)), there.shape)
    return [elements[int(place)] for place, (_, elements) in zip(places, shape, strict=True)]


def element_name(name: str, elements: Sequence[str]) -> str:
    """What one element of an array is called.

    Examples
    --------
    >>> element_name("firms", ["north", "old"])
    'firms[north,old]'
    """
    return f"{name}[{','.join(elements)}]" if elements else name


def parted(full: str, known: Collection[str]) -> tuple[str, str]:
    """The variable of a full name, and what stands in its brackets; names may hold brackets of their own.

    Examples
    --------
    >>> parted("cost [EUR][north]", {"cost [EUR]"})
    ('cost [EUR]', 'north')
    """
    if full in known or not full.endswith("]"):
        return full, ""
    ends = [place for place, letter in enumerate(full) if letter == "["]
    for place in ends:
        if full[:place] in known:
            return full[:place], full[place + 1 : -1]
    return full, ""


class Names(Sequence[str]):
    """Full names of all elements of some variables, made when asked for: tens of millions of them would fill gigabytes.

    Examples
    --------
    >>> names = Names(("firms", "trust"), {"firms": (("Region", ("north", "south")), ("Age", ("young", "old")))})
    >>> len(names), names[1], names[-1], names.index("firms[south,young]"), "firms" in names
    (5, 'firms[north,old]', 'trust', 2, False)
    """

    def __init__(self, variables: Sequence[str], shapes: Mapping[str, Shape]) -> None:
        self._variables, self._shapes = tuple(variables), shapes
        counts = [math.prod(len(elements) for _, elements in shapes.get(name, ())) for name in self._variables]
        self._starts = [0, *itertools.accumulate(counts)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[str]:
        for name in self._variables:
            for row in itertools.product(*(elements for _, elements in self._shapes.get(name, ()))):
                yield element_name(name, row)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self[one] for one in range(*place.indices(len(self))))
        place = range(len(self))[place]
        number = bisect_right(self._starts, place) - 1
        name, rest = self._variables[number], place - self._starts[number]
        row: list[str] = []
        for _, elements in reversed(self._shapes.get(name, ())):
            rest, own = divmod(rest, len(elements))
            row.insert(0, elements[own])
        return element_name(name, row)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._place(name) is not None

    def index(self, name: str, *_: int) -> int:
        """Place of a name.

        Raises
        ------
        ValueError
            If there is none of that name.
        """
        place = self._place(name)
        if place is None:
            raise ValueError(f"{name!r} is not among the names")
        return place

    def _place(self, full: str) -> int | None:
        name, inside = parted(full, self._variables)
        shape = self._shapes.get(name, ())
        row = inside.split(",") if inside else []
        if name not in self._variables or len(row) != len(shape):
            return None
        place = 0
        for element, (_, elements) in zip(row, shape, strict=True):
            if element not in elements:
                return None
            place = place * len(elements) + elements.index(element)
        return self._starts[self._variables.index(name)] + place


def shapes_of(pieces: Sequence[Piece], ranges: Ranges) -> dict[str, Shape]:
    """Positions of all array variables, by name."""
    subscripts: dict[str, list[tuple[str, ...]]] = {}
    for piece in pieces:
        if piece.subscripts:
            subscripts.setdefault(piece.equation.name, []).append(piece.subscripts)
    return {
        name: tuple(ranges.dimension(column) for column in zip(*rows, strict=True)) for name, rows in subscripts.items()
    }


def told_apart(
    rows: Iterable[tuple[str, ...]], piece: Piece, ranges: Ranges
) -> Iterator[tuple[int, tuple[str, ...], bool]]:
    """Elements of a piece, numbered, and whether its exceptions leave them out."""
    groups = [[set(map(key, ranges.elements(name))) for name in group] for group in piece.exceptions]
    for number, elements in enumerate(rows):
        inner = elements[piece.outer :]
        yield (
            number,
            elements,
            any(all(key(e) in part for e, part in zip(inner, group, strict=False)) for group in groups),
        )


def marked(expressions: Iterable[Expression], bound: Collection[str] = ()) -> dict[str, str]:
    """Indices with a `!` outside inner sums that are not bound yet, by their key: what a sum goes through."""
    nodes = (node for part in expressions for node in outside_sums(part) if isinstance(node, Name | Lookup))
    indices = (index for node in nodes for index in node.indices)
    found: dict[str, str] = {}
    for index in indices:
        if index.endswith("!") and key(index) not in bound:
            found.setdefault(key(index), index)
    return found


def equations_of(piece: Piece, ranges: Ranges, shapes: Mapping[str, Shape]) -> list[Equation]:
    """The equations of one piece, element by element."""
    writer = _Writer(piece, ranges, shapes)
    return [writer.equation(order, elements) for order, elements in writer.places()]


def written_out(pieces: Sequence[Piece], ranges: Ranges) -> WrittenOut:
    """Write arrays out, element by element.

    Raises
    ------
    WritingOutError
        If an element is defined twice, or an equation reads one that is not there; the text names the variable.
    ModelError
        If there are too many elements.
    """
    shapes = shapes_of(pieces, ranges)
    found: dict[str, tuple[Equation, int]] = {}
    first: set[str] = set()
    faults: dict[str, str] = {}
    for piece in pieces:
        name, size = piece.equation.name, 0
        writer = _Writer(piece, ranges, shapes)
        if len(found) + ranges.count(piece.subscripts) > MOST_WRITTEN:
            raise ModelError(f"'{name}' would bring the model beyond {MOST_WRITTEN} equations; take fewer elements")
        places = list(writer.places())
        size = len(places)
        for number, (order, elements) in enumerate(places):
            own = element_name(name, elements)
            if own in found and found[own][1] == size:
                faults.setdefault(name, f"'{own}' is defined twice; keep one of its equations")
                break
            if own in found and found[own][1] < size:
                continue  # an equation for fewer elements counts before one for more
            try:
                found[own] = writer.equation(order, elements), size
            except ModelError as error:
                faults.setdefault(name, f"'{own}': {error}")
                break
            if number == 0:
                first.add(own)
    equations = tuple(equation for equation, _ in found.values())
    if faults := faults or _not_there(equations, found.keys(), shapes):
        raise WritingOutError(faults)
    return WrittenOut(equations, shapes, frozenset(first))


def _not_there(equations: Sequence[Equation], known: Any, shapes: Mapping[str, Shape]) -> dict[str, str]:
    """What is wrong with variables that read an element which no equation defines, by their names."""
    faults: dict[str, str] = {}
    for equation in equations:
        for part in parts_of(equation):
            for node in walk(part):
                read = node.name if isinstance(node, Name) else node.table if isinstance(node, Lookup) else TIME
                if read not in known and read != TIME:
                    variable, _ = parted(equation.name, shapes)
                    faults.setdefault(variable, f"'{equation.name}' reads '{read}', which no equation defines")
    return faults


def parts_of(equation: Equation) -> Iterator[Expression]:
    """All expressions of an equation."""
    for item in ("expression", "rate", "initial", "following", "delay", "missing"):
        if isinstance(part := getattr(equation, item, None), Expression):
            yield part


def _balanced(parts: Sequence[Expression], join: Callable[[Expression, Expression], Expression]) -> Expression:
    """One expression of many, nested no deeper than need be."""
    layer = list(parts)
    while len(layer) > 1:
        layer = [join(*layer[k : k + 2]) if k + 1 < len(layer) else layer[k] for k in range(0, len(layer), 2)]
    return layer[0]


def _value(expression: Expression) -> float | None:
    """Value of an expression of numbers alone."""
    if isinstance(expression, Number):
        return expression.value
    if isinstance(expression, Operation) and expression.operator in {"+", "-", "*", "neg"}:
        values = [_value(part) for part in expression.operands]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            first, last = known[0], known[-1]
            return {"+": first + last, "-": first - last, "*": first * last, "neg": -first}[expression.operator]
    if isinstance(expression, Call) and expression.function == "integer":
        value = _value(expression.arguments[0])
        return None if value is None else float(int(value))
    return None


def _folded(operator: str, first: Expression, second: Expression) -> Expression:
    """An operation, worked out where both parts are numbers."""
    whole = Operation(operator, (first, second))
    value = _value(whole)
    return whole if value is None else Number(value)


def _sum(parts: Sequence[Expression]) -> Expression:
    return _balanced(parts, lambda first, second: Operation("+", (first, second)))


def _chosen(condition: Expression, yes: Expression, no: float) -> Expression:
    return Call("if_then_else", (condition, yes, Number(no)))


class _Writer:
    """Writes one piece out."""

    def __init__(self, piece: Piece, ranges: Ranges, shapes: Mapping[str, Shape]) -> None:
        self.piece, self.ranges, self.shapes = piece, ranges, shapes
        self.order, self.items = 0, 0

    def places(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Elements of the left-hand side with their number, without exceptions."""
        columns = [self.ranges.elements(subscript) for subscript in self.piece.subscripts]
        for order, elements, left_out in told_apart(itertools.product(*columns), self.piece, self.ranges):
            if not left_out:
                yield order, elements

    def equation(self, order: int, elements: tuple[str, ...]) -> Equation:
        """The equation of one element."""
        self.order = order
        bound = {
            key(subscript): element
            for subscript, element in zip(self.piece.subscripts, elements, strict=True)
            if subscript in self.ranges
        }
        whole = self.piece.equation
        changes: dict[str, Any] = {}
        if elements:
            changes = {"name": element_name(whole.name, elements)}
        for item in ("expression", "rate", "initial", "following", "delay", "missing"):
            if isinstance(part := getattr(whole, item, None), Expression):
                changes[item] = self.at(part, bound)
        if self.piece.values is not None:
            value = self.piece.values[order % len(self.piece.values)]  # the same for all that uses a macro
            if isinstance(whole, Parameter):
                changes["value"] = value
            elif isinstance(whole, Table):
                changes["x"], changes["y"] = value
        return replace(whole, **changes) if changes else whole

    def element(self, index: str, bound: Mapping[str, str]) -> str:
        """The element an index stands for."""
        folded = key(index)
        if folded in bound:
            return bound[folded]
        if index.endswith("!"):
            raise ModelError(f"'{index}' stands outside SUM and its like")
        if index not in self.ranges:
            return self.ranges.elements(index)[0]
        for loop, element in bound.items():
            found = self.ranges.translated(element, loop.removesuffix("!"), index)
            if found is not None:
                return found
        if len(self.ranges.elements(index)) == 1:
            return self.ranges.elements(index)[0]
        raise ModelError(f"'{index}' on the right-hand side stands for no one element; map the ranges, or sum over it")

    def elements(self, name: str, indices: Sequence[str], bound: Mapping[str, str]) -> list[str]:
        """The elements of a variable that indices stand for, in its own ranges."""
        found = []
        shape = self.shapes.get(name, ())
        for place, index in enumerate(indices):
            element = self.element(index, bound)
            own = shape[place][0] if place < len(shape) else ""
            if own in self.ranges and self.ranges.place(own, element) is None:
                element = self.ranges.translated(element, index.removesuffix("!"), own) or element
            found.append(element)
        return found

    def at(self, expression: Expression, bound: Mapping[str, str]) -> Expression:
        """An expression for one element."""
        match expression:
            case Name(name=name, indices=indices) if indices:
                return Name(element_name(name, self.elements(name, indices, bound)))
            case Operation():
                return Operation(expression.operator, tuple(self.at(part, bound) for part in expression.operands))
            case Lookup():
                elements = self.elements(expression.table, expression.indices, bound)
                table, argument = element_name(expression.table, elements), self.at(expression.argument, bound)
                return Lookup(table, argument, expression.slope, expression.how)
            case Call():
                return self._call(expression, bound)
            case _:
                return expression

    def _call(self, call: Call, bound: Mapping[str, str]) -> Expression:
        written = self._written(call, bound)
        if isinstance(written, Call) and written.function in VECTOR_FUNCTIONS:
            self.items += len(written.arguments)
            if self.items > MOST_ITEMS:
                raise ModelError(
                    f"{call.function.replace('_', ' ')} reads all elements for each one, which makes more than"
                    f" {MOST_ITEMS} terms here; take fewer elements"
                )
        return written

    def _written(self, call: Call, bound: Mapping[str, str]) -> Expression:
        arguments = call.arguments
        match call.function:
            case "position":
                return Number(self._position(arguments[0], bound))
            case "noise":
                return Call("noise", (*arguments[:2], Number(float(self.order))))
            case name if name in REDUCTIONS:
                return self._reduced(name, arguments, bound)
            case "ranked" | "sorted_order":
                place, items = self._vector(arguments[0], bound)
                return Call(call.function, (Number(place), self.at(arguments[1], bound), *items))
            case "reorder":
                _, items = self._vector(arguments[0], bound)
                return Call("pick", (self.at(arguments[1], bound), *items))
            case "placed":
                return self._placed(arguments, bound)
            case "vector_elm_map":
                return self._mapped(arguments[0], self.at(arguments[1], bound), bound)
            case "find_market_price":
                return self._market(arguments, bound)
            case "quantity_at_price":
                quantity, profile, price, side = arguments
                _, curves = self._curves(quantity, profile, bound, one=True)
                parts = (side, self.at(price, bound), self.at(quantity, bound), *curves)
                return Call("at_price", parts)
            case "inverted":
                return self._inverted(arguments[0], bound)
            case "allocate_available" | "allocate_by_priority":
                return self._allocated(call, bound)
            case _:
                return Call(call.function, tuple(self.at(argument, bound) for argument in arguments))

    def _position(self, argument: Expression, bound: Mapping[str, str]) -> float:
        """Place of an element in the family of its range, counted from 1."""
        assert isinstance(argument, Name)
        (index,) = argument.indices
        element = self.element(index, bound)
        place = self.ranges.place(self.ranges.family(index.removesuffix("!")), element)
        return float((place or 0) + 1)

    def _loops(self, arguments: Sequence[Expression], bound: Mapping[str, str]) -> list[dict[str, str]]:
        """What is bound for each element of the ranges marked by `!`."""
        own = marked(arguments, bound)
        columns = [self.ranges.elements(index.removesuffix("!")) for index in own.values()]
        if math.prod(map(len, columns)) > MOST_WRITTEN:
            raise ModelError(f"a sum runs over more than {MOST_WRITTEN} elements; take fewer")
        return [{**bound, **dict(zip(own, row, strict=True))} for row in itertools.product(*columns)]

    def _reduced(self, name: str, arguments: Sequence[Expression], bound: Mapping[str, str]) -> Expression:
        if name == "vector_select":
            return self._selected(arguments, bound)
        parts = [self.at(arguments[0], row) for row in self._loops(arguments, bound)]
        match name:
            case "sum":
                return _sum(parts)
            case "mean":
                return Operation("/", (_sum(parts), Number(float(len(parts)))))
            case "prod":
                return _balanced(parts, lambda first, second: Operation("*", (first, second)))
            case _:
                return _balanced(parts, lambda first, second: Call(name.removeprefix("v"), (first, second)))

    def _selected(self, arguments: Sequence[Expression], bound: Mapping[str, str]) -> Expression:
        """VECTOR SELECT: an action on the elements whose selection is not zero."""
        *_, action = arguments
        assert isinstance(action, Number)
        kind = int(action.value)
        terms, conditions = [], []
        for row in self._loops(arguments[:2], bound):
            chosen, value = self.at(arguments[0], row), self.at(arguments[1], row)
            if kind <= 5:
                value = Operation("^", (value, chosen)) if kind == 5 else Operation("*", (chosen, value))
            terms.append(value)
            conditions.append(Operation("<>", (chosen, Number(0.0))))
        pairs = list(zip(conditions, terms, strict=True))
        count = _sum([_chosen(condition, Number(1.0), 0.0) for condition in conditions])
        match kind if kind == 5 else kind % 6 if kind < 5 else kind - 6:
            case 0:
                whole = _sum([_chosen(condition, term, 0.0) for condition, term in pairs])
            case 1 | 5:
                parts = [_chosen(condition, term, 1.0) for condition, term in pairs]
                whole = _balanced(parts, lambda first, second: Operation("*", (first, second)))
            case 2:
                parts = [_chosen(condition, term, 1e300) for condition, term in pairs]
                whole = _balanced(parts, lambda first, second: Call("min", (first, second)))
            case 3:
                parts = [_chosen(condition, term, -1e300) for condition, term in pairs]
                whole = _balanced(parts, lambda first, second: Call("max", (first, second)))
            case _:
                whole = Operation("/", (_sum([_chosen(condition, term, 0.0) for condition, term in pairs]), count))
        some = Operation(">", (count, Number(0.0)))
        return Call("if_then_else", (some, whole, self.at(arguments[2], bound)))

    def _last_index(self, expression: Expression) -> str:
        """The range over which an array expression is a vector: the last index of the first name that has one."""
        for node in walk(expression):
            if isinstance(node, Name) and node.indices and node.indices[-1].removesuffix("!") in self.ranges:
                return node.indices[-1]
        raise ModelError("a function of a whole vector needs a range as last subscript")

    def _vector(self, expression: Expression, bound: Mapping[str, str]) -> tuple[float, list[Expression]]:
        """The place of this element in a vector, and the elements of the vector."""
        index = self._last_index(expression)
        elements = self.ranges.elements(index.removesuffix("!"))
        own = self.element(index.removesuffix("!"), bound)
        items = [self.at(expression, {**bound, key(index): element}) for element in elements]
        return float(self.ranges.place(index.removesuffix("!"), own) or 0), items

    def _mapped(self, expression: Expression, offset: Expression, bound: Mapping[str, str]) -> Expression:
        """VECTOR ELM MAP: the element some places behind the one that is named, the last subscript fastest."""
        if not isinstance(expression, Name) or expression.name not in self.shapes:
            raise ModelError("VECTOR ELM MAP takes an element of an array")
        shape = self.shapes[expression.name]
        base = 0
        for index, (_, elements) in zip(expression.indices, shape, strict=True):
            base = base * len(elements) + list(map(key, elements)).index(key(self.element(index, bound)))
        rows = itertools.product(*(elements for _, elements in shape))
        items = [Name(element_name(expression.name, row)) for row in rows]
        return Call("pick", (Operation("+", (Number(float(base)), offset)), *items))

    def _placed(self, arguments: Sequence[Expression], bound: Mapping[str, str]) -> Expression:
        """XMILE's element at places that expressions give, counted from 1; 0 where there is none."""
        named, *given = arguments
        if not isinstance(named, Name) or named.name not in self.shapes:
            raise ModelError("an expression in square brackets gives the place in an array")
        places = [self.at(place, bound) for place in given]
        base: Expression = Number(0.0)
        inside: list[Expression] = []
        shape = self.shapes[named.name]
        for index, (_, elements) in zip(named.indices, shape, strict=True):
            base = _folded("*", base, Number(float(len(elements))))
            if index.startswith("#"):
                place = places[int(index[1:])]
                value = _value(place)
                if value is not None and not 1 <= int(value) <= len(elements):
                    return Number(0.0)
                if value is None:
                    inside += [Operation(">=", (place, Number(1.0)))]
                    inside += [Operation("<", (place, Number(len(elements) + 1.0)))]
                own: Expression = (
                    Number(int(value) - 1.0)
                    if value is not None
                    else Call("integer", (Operation("-", (place, Number(1.0))),))
                )
            else:
                own = Number(float(list(map(key, elements)).index(key(self.element(index, bound)))))
            base = _folded("+", base, own)
        rows = itertools.product(*(elements for _, elements in shape))
        items = [Name(element_name(named.name, row)) for row in rows]
        if isinstance(base, Number):
            return items[int(base.value)]
        within = _balanced(inside, lambda first, second: Operation("and", (first, second)))
        return _chosen(within, Call("pick", (base, *items)), 0.0)

    def _inverted(self, expression: Expression, bound: Mapping[str, str]) -> Expression:
        if not isinstance(expression, Name) or len(expression.indices) < 2:
            raise ModelError("INVERT MATRIX takes an array with two ranges")
        rows, columns = (index.removesuffix("!") for index in expression.indices[-2:])
        first, second = self.ranges.elements(rows), self.ranges.elements(columns)
        if len(first) != len(second):
            raise ModelError(
                f"INVERT MATRIX takes a square matrix, here it has {len(first)} rows, {len(second)} columns"
            )
        before = [self.element(index, bound) for index in expression.indices[:-2]]
        items = [Name(element_name(expression.name, [*before, row, column])) for row in first for column in second]
        loops = [subscript for subscript in self.piece.subscripts if subscript in self.ranges][-2:]
        if len(loops) < 2:
            raise ModelError("INVERT MATRIX gives a matrix; its variable needs two ranges")
        here = [self.ranges.place(loop, bound[key(loop)]) or 0 for loop in loops]
        return Call("inverted", (Number(float(here[0])), Number(float(here[1])), *items))

    def _curves(
        self, quantity: Expression, profile: Expression, bound: Mapping[str, str], *, one: bool = False
    ) -> tuple[list[Expression], list[Expression]]:
        """Quantities over the last range of an array and kind, priority and width of each, or of `one` alone."""
        if not (isinstance(quantity, Name) and isinstance(profile, Name)) or profile.name not in self.shapes:
            raise ModelError("a market takes quantities and the profiles of their priorities as arrays")
        kinds = self.shapes[profile.name][-1][1]
        if len(kinds) < 3 or len(self.shapes.get(quantity.name, ())) + 1 != len(self.shapes[profile.name]):
            raise ModelError("the profile of a priority needs a last range more than its quantity, of 4 numbers")
        *outer, last = self.elements(quantity.name, quantity.indices, bound)
        before = self.elements(profile.name, profile.indices, bound)[:-2]
        members = [last] if one else self.shapes[quantity.name][-1][1]
        quantities: list[Expression] = [Name(element_name(quantity.name, [*outer, member])) for member in members]
        items: list[Expression] = [
            Name(element_name(profile.name, [*before, member, kind])) for member in members for kind in kinds[:3]
        ]
        return quantities, items

    def _market(self, arguments: Sequence[Expression], bound: Mapping[str, str]) -> Expression:
        wanted, wishes = self._curves(arguments[0], arguments[1], bound)
        offered, offers = self._curves(arguments[2], arguments[3], bound)
        counts = Number(float(len(wanted))), Number(float(len(offered)))
        return Call("market_price", (*counts, *wanted, *wishes, *offered, *offers))

    def _allocated(self, call: Call, bound: Mapping[str, str]) -> Expression:
        place, requests = self._vector(call.arguments[0], bound)
        count = Number(float(len(requests)))
        if call.function == "allocate_by_priority":
            _, priorities = self._vector(call.arguments[1], bound)
            width, supply = (self.at(argument, bound) for argument in call.arguments[3:])
            return Call(call.function, (Number(place), count, width, supply, *requests, *priorities))
        profile, index = call.arguments[1], self._last_index(call.arguments[0])
        if not isinstance(profile, Name) or profile.name not in self.shapes:
            raise ModelError("ALLOCATE AVAILABLE takes the priority profiles as an array")
        kinds = self.shapes[profile.name][-1][1]
        if len(kinds) < 4:
            raise ModelError(f"ALLOCATE AVAILABLE takes profiles of 4 numbers, here they have {len(kinds)}")
        items = []
        for element in self.ranges.elements(index.removesuffix("!")):
            inner = {**bound, key(index): element, key(index.removesuffix("!")): element}
            before = [self.element(part, inner) for part in profile.indices[:-1]]
            items += [Name(element_name(profile.name, [*before, kind])) for kind in kinds[:4]]
        supply = self.at(call.arguments[2], bound)
        return Call(call.function, (Number(place), count, supply, *requests, *items))
