"""From what a model file says to equations: names looked up, functions known, delays and smooths made of stocks.

Equations of arrays stay whole here, one for each equation of the file; `elements` writes them out.
"""

import itertools
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from sd_cluster.arrays import MOST_WRITTEN, Piece, told_apart
from sd_cluster.errors import ModelError, ReadingError, UnsupportedError, near
from sd_cluster.expressions import FUNCTIONS, TIME, Call, Expression, Lookup, Name, Number, Operation, depth
from sd_cluster.external import Outside
from sd_cluster.grammar import (
    DEEPEST,
    PLACED,
    Application,
    Dialect,
    Figure,
    Numbers,
    Operator,
    Points,
    Quoted,
    Reference,
    Tree,
)
from sd_cluster.model import CONTROLS, Auxiliary, Equation, Frozen, Parameter, Stock, Table, key
from sd_cluster.ranges import Ranges, clean
from sd_cluster.source import Definition, MacroDefinition, Source

_CONTROLS = {key(control): control for control in CONTROLS}

_OF_FILES = {"get_direct_data", "get_direct_constants", "get_direct_lookups"}

_XMILE_NAMES = {"dt": "TIME STEP", "starttime": "INITIAL TIME", "stoptime": "FINAL TIME"}

MOST_BY_MACROS = 50_000
"""Variables that all uses of macros may make together."""

SEED = "NOISE SEED"
"""The parameter that random functions draw by."""


class Lowering:
    """Turns a source into pieces: whole equations with what they are subscripted by.

    Attributes
    ----------
    pieces
        In file order; inner variables of delays and macros stand before the equations that need them.
    faults
        Why a variable cannot be computed, by its name.
    """

    def __init__(self, file: str, source: Source, ranges: Ranges, outside: Outside, functions: "Functions") -> None:
        self.file, self.source, self.ranges, self.outside = file, source, ranges, outside
        self.functions = functions
        self.macros: dict[str, MacroDefinition] = {key(macro.name): macro for macro in source.macros}
        self.pieces: list[Piece] = []
        self.faults: dict[str, str] = {}
        self.notes: list[str] = []
        self.calls = 0
        self.draws = 0
        self.by_macros = 0
        self.main = Section(self, source.definitions)
        self.written = frozenset(self.main.names.values())

    def run(self) -> None:
        """Lower all equations.

        Raises
        ------
        ReadingError
            If a control variable means nothing, a name is defined twice, or the model is too large; the text names
            the variable. Another variable whose equation means nothing is a fault.
        """
        self.main.read()
        if self.draws and key(SEED) not in self.main.names:
            note = "Seed of the random functions; another seed gives other numbers."
            self.pieces.insert(0, Piece(Parameter(name=SEED, units="Dmnl", note=note)))

    def add(self, piece: Piece) -> None:
        """Keep a piece; one that is nested too deep is a `ReadingError`."""
        equation = piece.equation
        for item in ("expression", "rate", "initial", "following"):
            if isinstance(part := getattr(equation, item, None), Expression) and depth(part) > DEEPEST:
                raise ReadingError(
                    f"{self.file}, variable '{equation.name}': more than {DEEPEST} operations stand one inside"
                    " another; split it into several variables"
                )
        self.pieces.append(piece)


class Section:
    """The main model, or one use of a macro, with its own names.

    `prefix` stands before the names of a macro's variables and `over` is what the equation that uses it runs over;
    `given` are the lookups among its arguments, with their indices; `spared` is what that equation leaves out.
    """

    def __init__(
        self,
        lowering: Lowering,
        definitions: Sequence[Definition],
        macro: str = "",
        prefix: str = "",
        bound: Mapping[str, str] | None = None,
        over: tuple[str, ...] = (),
        given: Mapping[str, tuple[str, tuple[str, ...]]] | None = None,
        spared: tuple[int, tuple[tuple[str, ...], ...]] | None = None,
    ) -> None:
        self.lowering, self.definitions, self.macro, self.prefix, self.over = lowering, definitions, macro, prefix, over
        self.names: dict[str, str] = dict(bound or {})
        self.shapes: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {}
        self.trees: dict[str, list[Definition]] = {}
        for item in definitions:
            self.trees.setdefault(key(item.name), []).append(item)
        for folded, items in self.trees.items():
            self.names[folded] = prefix + clean(items[0].name)
        for item in definitions:
            for output in _outputs(item.tree):
                self.names.setdefault(key(output.name), prefix + clean(output.name))
        self.tables = {folded for folded, items in self.trees.items() if _is_table(items[0])}
        self.given: dict[str, tuple[str, tuple[str, ...]]] = dict(given or {})
        self.tables |= self.given.keys()
        self.owner, self.folded = "", ""
        self.graphs: set[str] = set()
        self.known: dict[str, float | None] = {}
        self.subscripts: tuple[str, ...] = ()
        self.exceptions: tuple[tuple[str, ...], ...] = ()
        self.outer, self.spared = spared or (len(over), ())

    def read(self) -> None:
        """Lower all definitions of this section."""
        for folded, items in self.trees.items():
            self.owner, self.folded = self.names[folded], folded
            if not folded:
                raise ReadingError(f"{self.lowering.file} line {items[0].line}: a variable has no name")
            if len({len(item.subscripts) for item in items}) > 1 or (len(items) > 1 and not items[0].subscripts):
                raise ReadingError(f"{self.lowering.file} defines '{self.owner}' twice; keep one of them")
            try:
                columns = zip(*(item.subscripts for item in items), strict=True)
                self.shapes[folded] = tuple(map(self.lowering.ranges.dimension, columns))
            except ModelError as error:
                self._fault(str(error))
        for folded, items in self.trees.items():
            if folded == key(TIME) or (folded not in self.shapes and self.names[folded] in self.lowering.faults):
                continue
            self.owner, self.folded = self.names[folded], folded
            for item in items:
                self._definition(item)

    def fail(self, what: str) -> NoReturn:
        """Stop reading an equation that means nothing: it disables its variable, and what depends on that."""
        raise UnsupportedError(what)

    def refuse(self, what: str) -> NoReturn:
        """Raise a `ReadingError` that names the variable being read: the file cannot be used at all."""
        where = f", variable '{self.owner.split(' #')[0] if self.prefix else self.owner}'" if self.owner else ""
        where += f", macro {self.macro}" if self.macro else ""
        raise ReadingError(f"{self.lowering.file}{where}: {what}")

    def _definition(self, item: Definition) -> None:
        self.subscripts, self.exceptions = item.subscripts, item.exceptions
        before = len(self.lowering.pieces)
        try:
            if item.fault:
                raise UnsupportedError(item.fault)
            about = self._about(item)
            for piece in self._pieces(item, about):
                self.lowering.add(piece)
        except UnsupportedError as reason:
            del self.lowering.pieces[before:]
            self._fault(str(reason))

    def _fault(self, reason: str) -> None:
        """Say why the variable being read cannot be computed; without a control variable nothing can."""
        if not self.macro and key(self.owner) in _CONTROLS:
            self.refuse(reason)
        within = f"macro {self.macro}: " if self.macro else ""
        self.lowering.faults.setdefault(self.owner, within + " ".join(reason.split()))

    def _about(self, item: Definition) -> dict[str, Any]:
        return {
            "name": self.owner,
            "units": item.units,
            "note": item.note,
            "low": item.low,
            "high": item.high,
            "hidden": bool(self.prefix),
        }

    def piece(self, equation: Equation, values: tuple[Any, ...] | None = None) -> Piece:
        """An equation over what the one being read runs over."""
        return Piece(equation, (*self.over, *self.subscripts), self.left_out(), self.outer, values)

    def left_out(self) -> tuple[tuple[str, ...], ...]:
        """What the equation being read leaves out behind the first `outer` subscripts, and what uses a macro does."""
        return (*self.spared, *((*self.over[self.outer :], *group) for group in self.exceptions))

    def _pieces(self, item: Definition, about: dict[str, Any]) -> list[Piece]:
        tree = item.tree
        if item.limit is not None:
            wanted = self.lower(tree)
            # what it is cut to is no equation of the modeller's, so its units are none of his faults
            most = Auxiliary(name=self.hidden_name("most"), hidden=True, units="?", expression=self.lower(item.limit))
            limited = Call("min", (wanted, self.define(most)))
            initial = None if item.limited_at_start else wanted
            return [self.piece(Auxiliary(**about, expression=limited, initial=initial))]
        match tree:
            case None:
                return self._data(item, about, self.lowering.outside.series(self.owner, self.elements(item)))
            case Points():
                return [self.piece(self.table(tree, about))]
            case _ if item.kind == "lookup" and not _reads_table(item):
                self.fail("the lookup has no points")
            case Numbers():
                return [self.piece(Parameter(**about), self._constants(tree, item))]
            case Application() if item.kind != "stock" and (found := self._external(item, tree, about)) is not None:
                return found
            case Figure() if item.kind == "equation":
                return [self.piece(Parameter(**about, value=tree.value))]
            case Application() if key(tree.name) == "integ":
                rate, initial = self.arguments("integ", tree.arguments, (2,))
                return [self.piece(Stock(**about, rate=rate, initial=initial))]
            case Application() if key(tree.name) in {"initial", "init"}:
                (value,) = self.arguments("initial", tree.arguments, (1,))
                return [self.piece(Frozen(**about, expression=value))]
            case Application() if key(tree.name) == "active_initial":
                run, start = self.arguments("active initial", tree.arguments, (2,))
                return [self.piece(Auxiliary(**about, expression=run, initial=start))]
        if item.kind == "stock":
            assert item.initial is not None
            rate, initial = self.lower(tree), self.lower(item.initial)
            return [self.piece(Stock(**about, rate=rate, initial=initial, non_negative=item.non_negative))]
        return [self.piece(Auxiliary(**about, expression=self.lower(tree)))]

    def elements(self, item: Definition) -> list[tuple[str, ...]]:
        """Elements that the left-hand side of a definition stands for, the last subscript fastest."""
        if self.lowering.ranges.count(item.subscripts) > MOST_WRITTEN:
            self.refuse(f"it has more than {MOST_WRITTEN} elements; take fewer")
        found: list[tuple[str, ...]] = [()]
        for subscript in item.subscripts:
            found = [(*before, name) for before in found for name in self.lowering.ranges.elements(subscript)]
        return found

    def _constants(self, numbers: Numbers, item: Definition) -> tuple[float, ...]:
        flat = tuple(value for row in numbers.rows for value in row)
        wanted = len(self.elements(item))
        if len(flat) != wanted:
            self.fail(f"has {len(flat)} numbers for {wanted} elements; give one number for each")
        return flat

    def _external(self, item: Definition, tree: Application, about: dict[str, Any]) -> list[Piece] | None:
        """Equations from a function that reads a file, if that is what stands here."""
        function = key(tree.name).replace("get_xls_", "get_direct_")
        if function not in _OF_FILES:
            return None
        texts = [part.value for part in tree.arguments if isinstance(part, Quoted)]
        if len(texts) != len(tree.arguments):
            self.fail(f"{clean(tree.name)} takes texts in single quotes")
        places = self.elements(item)
        ranges = self.lowering.ranges
        sizes = [len(ranges.elements(subscript)) for subscript in item.subscripts if subscript in ranges]
        outside = self.lowering.outside
        if function == "get_direct_constants":
            values = outside.constants(texts, sizes, self._spared_places(item))
            if not item.subscripts:
                return [self.piece(Parameter(**about, value=values[0]))]
            return [self.piece(Parameter(**about), tuple(values))]
        points = outside.points(texts, len(places))
        if function == "get_direct_data":
            return self._data(item, about, points)
        tables = tuple(outside.table(x, y) for x, y in points)
        return [self.piece(Table(**about, x=tables[0][0], y=tables[0][1]), tables)]

    def _spared_places(self, item: Definition) -> set[int]:
        """Numbers of the elements of a definition that it leaves out."""
        if not item.exceptions:
            return set()
        piece = Piece(Parameter(name=item.name), item.subscripts, item.exceptions)
        told = told_apart(self.elements(item), piece, self.lowering.ranges)
        return {number for number, _, left_out in told if left_out}

    def _data(
        self, item: Definition, about: dict[str, Any], points: Sequence[tuple[Sequence[float], Sequence[float]]]
    ) -> list[Piece]:
        """A variable read from tables over time."""
        tables = tuple(self.lowering.outside.table(x, y) for x, y in points)
        step, ahead = item.keyword == "hold backward", item.keyword == "look forward"
        x, y = tables[0]
        table = Table(name=f"{self.owner} #data", hidden=True, units=item.units, x=x, y=y, step=step, ahead=ahead)
        how = "exactly" if item.keyword == "raw" else ""
        read = Lookup(table.name, Name(TIME), how=how, indices=(*self.over, *self.subscripts))
        return [self.piece(table, tables), self.piece(Auxiliary(**about, expression=read))]

    def table(self, points: Points, about: dict[str, Any]) -> Table:
        """A lookup from its points."""
        if not points.x:
            self.fail("the lookup has no points")
        x, y = points.x, points.y
        note = f"'{self.owner}': the points of its lookup were not in order of x; they are read in that order"
        if points.moved and not self.prefix and note not in self.lowering.notes:
            self.lowering.notes.append(note)
        if not all(map(math.isfinite, (*x, *y))):
            self.fail("the lookup holds a value that is not a number")
        if len(set(zip(x, y, strict=True))) < len(x):
            kept = dict.fromkeys(zip(x, y, strict=True))
            x, y = tuple(place for place, _ in kept), tuple(value for _, value in kept)
        if points.kind == "extrapolate" and (x[:1] == x[1:2] or x[-1:] == x[-2:-1]):
            self.fail("the lookup has two points at its end, so that nothing says how it goes on; leave one out")
        jumps = sorted({place for place, after in itertools.pairwise(x) if place == after})
        if jumps:
            owner = self.owner.split(" #")[0]
            self.lowering.notes.append(
                f"'{owner}': a lookup has two points at {', '.join(f'{place:g}' for place in jumps)}; it jumps there"
            )
        return Table(**about, x=x, y=y, beyond=points.kind == "extrapolate", step=points.kind == "discrete")

    def hidden_name(self, what: str) -> str:
        """A name for an inner variable that belongs to the equation being read."""
        self.lowering.calls += 1
        return f"{self.owner} #{self.lowering.calls} {what}"

    def define(self, equation: Equation) -> Name:
        """Add an inner variable that runs over what the equation being read runs over."""
        self.lowering.add(self.piece(equation))
        return self.inner(equation.name)

    def inner(self, name: str) -> Name:
        """A reference to an inner variable of the equation being read."""
        return Name(name, (*self.over, *self.subscripts))

    def auxiliary(self, what: str, expression: Expression) -> Expression:
        """An inner variable for an expression; short ones stand for themselves."""
        if isinstance(expression, Name | Number):
            return expression
        return self.define(Auxiliary(name=self.hidden_name(what), hidden=True, expression=expression))

    def constant(self, tree: Tree) -> float | None:
        """Value of a tree made of constants of the file, if it is one; each name is worked out once."""
        pending = _names_read(tree)
        begun: set[str] = set()
        while pending:
            name = pending[-1]
            items = self.trees.get(name, ())
            if name in self.known:
                pending.pop()
            elif len(items) != 1 or items[0].tree is None or not items[0].plain:
                self.known[name] = None
            elif name in begun:
                self.known[name] = self._of_constants(items[0].tree)
            else:
                begun.add(name)
                inside = _names_read(items[0].tree)
                pending += [other for other in inside if other not in begun and other not in self.known]
        return self._of_constants(tree)

    def _of_constants(self, tree: Tree) -> float | None:
        """Value of a tree whose names are known."""
        match tree:
            case Figure():
                return tree.value
            case Reference(name=name, subscripts=()):
                return self.known.get(key(name))
            case Operator(operator=("+" | "-" | "*" | "/" | "neg") as operator):
                values = [self._of_constants(part) for part in tree.operands]
                known = [value for value in values if value is not None]
                if len(known) < len(values) or (operator == "/" and known[1] == 0.0):
                    return None
                first, last = known[0], known[-1]
                return {
                    "+": first + last, "-": first - last, "*": first * last, "neg": -first,
                    "/": first / last if last else 0.0,
                }[operator]  # fmt: skip
        return None

    def lower(self, tree: Tree | None) -> Expression:
        """Our form of a tree."""
        match tree:
            case Figure():
                return Number(tree.value)
            case Reference():
                placed = self.placed(tree)
                return self._reference(tree) if placed is tree else self.lower(placed)
            case Operator():
                return Operation(tree.operator, tuple(map(self.lower, tree.operands)))
            case Application():
                return self._application(tree)
            case Quoted():
                self.fail("a text stands where a number is expected")
            case _:
                self.fail("a table of numbers stands where a number is expected")

    def placed(self, tree: Reference, given: int = 0) -> Tree:
        """XMILE's element at the place that a variable gives: it stands in brackets like the name of an element.

        Behind `given` places that other expressions give.
        """
        if self.lowering.source.dialect != "xmile" or key(tree.name) not in self.names:
            return tree
        ranges, subscripts = self.lowering.ranges, list(tree.subscripts)
        computed: list[Tree] = []
        for number, subscript in enumerate(subscripts):
            folded = key(subscript)
            if subscript in ranges or ranges.is_element(subscript) or ranges.is_element(self._unqualified(subscript)):
                continue
            if folded in self.names or folded == key(TIME) or folded in _XMILE_NAMES:
                subscripts[number] = f"#{given + len(computed)}"
                computed.append(Reference(subscript, ()))
        own = Reference(tree.name, tuple(subscripts))
        return Application(PLACED, (), (own, *computed)) if computed else tree

    def _reference(self, tree: Reference) -> Expression:
        folded = key(tree.name)
        if folded == key(TIME) or (self.macro and folded == "time$"):
            return Name(TIME)
        if self.lowering.source.dialect == "xmile" and folded not in self.names and folded in _XMILE_NAMES:
            return Name(_XMILE_NAMES[folded])
        if folded == "pi" and folded not in self.names and self.lowering.source.dialect == "xmile":
            return Call("pi", ())
        if folded == "inf" and folded not in self.names and self.lowering.source.dialect == "xmile":
            return Number(sys.float_info.max)
        if folded not in self.names and self.prefix and folded.rstrip("$") in _CONTROLS:
            return Name(_CONTROLS[folded.rstrip("$")])
        if folded not in self.names and self.prefix and folded.endswith("$"):
            return self.lowering.main.named(tree.name.rstrip("$"), tree.subscripts)
        return self.named(tree.name, tree.subscripts)

    def named(self, name: str, subscripts: tuple[str, ...]) -> Expression:
        """A reference to a variable of this section; a range or an element stands for its place, counted from 1."""
        folded, ranges = key(name), self.lowering.ranges
        if folded not in self.names and not subscripts and (element := self._unqualified(name)) != name:
            return Call("position", (Name("", (clean(element),)),))
        if folded not in self.names and folded == "self" and self.lowering.source.dialect == "xmile" and self.folded:
            return Name(self.names[self.folded], (*self.over, *(subscripts or self.subscripts)))
        if folded not in self.names:
            bare = name.removesuffix("!")
            if not subscripts and (bare in ranges or (bare == name and ranges.is_element(name))):
                return Call("position", (Name("", (clean(bare) + name[len(bare) :],)),))
            shown = clean(name)
            visible = [known for known in self.names.values() if " #" not in known]
            self.fail(f"reads '{shown}', which the model does not define{near(shown, visible)}")
        if folded in self.tables:
            self.fail(f"uses the lookup '{self.names[folded]}' without an argument")
        return Name(self.names[folded], (*self.over, *self.indices(folded, subscripts)))

    def indices(self, folded: str, subscripts: Sequence[str]) -> tuple[str, ...]:
        """What the subscripts of a reference mean; XMILE may leave them out or write numbers and `*`."""
        if folded in self.trees and folded not in self.shapes:
            self.fail(f"it depends on '{self.names[folded]}'")
        shape = self.shapes.get(folded, ())
        if not subscripts and shape:
            here = dict(zip((name for name, _ in self.shapes.get(self.folded, ())), self.subscripts, strict=False))
            return tuple(here.get(name, name) for name, _ in shape)  # within one element's equation, that element
        if len(subscripts) != len(shape) and folded in self.trees:
            self.fail(
                f"'{self.names[folded]}' is read with {len(subscripts)} subscript(s), it has {len(shape)}"
                f"{': ' if shape else ''}{', '.join(name for name, _ in shape)}"
            )
        found = []
        for place, subscript in enumerate(map(self._unqualified, subscripts)):
            dimension, elements = shape[place] if shape else ("", ())
            if subscript == "*":
                found.append(f"{dimension}!")
            elif subscript.startswith("#"):
                found.append(subscript)
            elif ":" in subscript and dimension in self.lowering.ranges:
                first, _, last = subscript.removesuffix("!").partition(":")
                own = self.lowering.ranges.stretch(dimension, self._unqualified(first), self._unqualified(last))
                if own is None:
                    self.fail(
                        f"reads '{self.names[folded]}[{first}:{last}]', but '{dimension}' does not go from "
                        f"'{first}' to '{last}'"
                    )
                found.append(f"{own}!")
            elif subscript.isdecimal() and subscript not in map(key, elements):
                if not 1 <= int(subscript) <= len(elements):
                    self.fail(f"'{self.names[folded]}' has no element {subscript} in '{dimension}'")
                found.append(elements[int(subscript) - 1])
            else:
                bare = " ".join(subscript.removesuffix("!").split())
                if not (bare in self.lowering.ranges or self.lowering.ranges.is_element(bare)):
                    self.fail(
                        f"reads '{self.names[folded]}[{' '.join(subscript.split())}]', but '{bare}' is neither a range"
                        " nor an element"
                    )
                found.append(clean(bare) + ("!" if subscript.endswith("!") else ""))
        return tuple(found)

    def _unqualified(self, subscript: str) -> str:
        """An element that is written with its range, `range.element` as XMILE allows, without it."""
        owner, point, element = subscript.rpartition(".")
        ranges = self.lowering.ranges
        if not point or owner not in ranges or ranges.place(owner, element) is None:
            return subscript
        return element

    def read_table(self, tree: Tree) -> tuple[str, tuple[str, ...]]:
        """Name and indices of a lookup that stands among arguments."""
        folded = key(tree.name) if isinstance(tree, Reference) else ""
        if not isinstance(tree, Reference) or not (folded in self.tables or self._has_graph(folded)):
            self.fail("a lookup should stand as the first argument")
        if folded not in self.tables:
            return self._graph(folded), (*self.over, *self.indices(folded, tree.subscripts))
        return self._named_table(folded, tree.subscripts)

    def _named_table(self, folded: str, subscripts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """Name and indices of a lookup of this section, or of one that a macro was given."""
        if folded in self.given:
            return self.given[folded]
        return self.names[folded], (*self.over, *self.indices(folded, subscripts))

    def _has_graph(self, folded: str) -> bool:
        """Whether a variable of XMILE is a graph of something, which other equations may read at other places."""
        items = self.trees.get(folded, ())
        return bool(items) and all(
            isinstance(item.tree, Application) and key(item.tree.name) == "with_lookup" for item in items
        )

    def _graph(self, folded: str) -> str:
        """Name of a lookup with the points of a variable's own graph."""
        name = f"{self.names[folded]} #graph"
        if name not in self.graphs:
            self.graphs.add(name)
            for item in self.trees[folded]:
                assert isinstance(item.tree, Application)
                points = item.tree.arguments[-1]
                if isinstance(points, Points):
                    table = self.table(points, {"name": name, "hidden": True, "units": item.units})
                    over = (*self.over, *item.subscripts)
                    self.lowering.add(Piece(table, over, item.exceptions, len(self.over)))
        return name

    def _application(self, tree: Application) -> Expression:
        known = self.lowering.functions
        folded = key(tree.name)
        if folded not in self.tables and self.lowering.source.dialect == "xmile" and self._has_graph(folded):
            (argument,) = self.arguments(self.names[folded], tree.arguments, (1,))
            indices = (*self.over, *self.indices(folded, tree.subscripts))
            return Lookup(self._graph(folded), argument, indices=indices)
        if folded in self.tables:
            (argument,) = self.arguments(self.names[folded], tree.arguments, (1,))
            name, indices = self._named_table(folded, tree.subscripts)
            return Lookup(name, argument, indices=indices)
        if folded in self.lowering.macros:
            return self._macro(self.lowering.macros[folded], tree)
        name = known.canonical(folded, self.lowering.source.dialect)
        if name in known.of_trees:
            return known.of_trees[name](self, tree.arguments)
        if name not in FUNCTIONS:
            shown = clean(tree.name)
            if name.replace("get_xls_", "get_direct_") in _OF_FILES:
                raise UnsupportedError(f"{shown} stands inside an expression; give what it reads a variable of its own")
            raise UnsupportedError(
                f"the function '{shown}' is not supported{near(folded, FUNCTIONS)}; {known.supported()}"
            )
        return Call(name, self.arguments(tree.name, tree.arguments, FUNCTIONS[name]))

    def arguments(self, function: str, trees: Iterable[Tree], counts: tuple[int, ...]) -> tuple[Expression, ...]:
        """Arguments, lowered; their number must be one of some counts."""
        return tuple(map(self.lower, self.counted(function, tuple(trees), counts)))

    def counted(self, function: str, trees: tuple[Tree, ...], counts: tuple[int, ...]) -> tuple[Tree, ...]:
        """Arguments whose number must be one of some counts; another one disables the variable."""
        if len(trees) not in counts:
            expected = " or ".join(map(str, counts))
            shown = clean(function).casefold()
            raise UnsupportedError(f"{shown} takes {expected} argument(s), here it has {len(trees)}")
        return trees

    def _macro(self, macro: MacroDefinition, tree: Application) -> Expression:
        """Write a macro out in place: its variables become hidden ones, named after the variable that uses it."""
        shown = key(macro.name).replace("_", " ")
        left_out = len(macro.inputs) - len(tree.arguments)
        if not 0 <= left_out <= len(macro.defaults):
            self.fail(f"macro {shown} takes {len(macro.inputs)} argument(s), here it has {len(tree.arguments)}")
        given = (*tree.arguments, *macro.defaults[len(macro.defaults) - left_out :])
        if self.prefix.count("#") > 20 or self.lowering.calls > 1_000_000:
            self.refuse(f"macro {shown} uses itself without end")
        self.lowering.by_macros += len(macro.inputs) + len(macro.definitions)
        if self.lowering.by_macros > MOST_BY_MACROS:
            self.refuse(f"macros make more than {MOST_BY_MACROS} variables, here by {shown}; use them less often")
        prefix = self.hidden_name(shown) + ": "
        bound: dict[str, str] = {}
        tables: dict[str, tuple[str, tuple[str, ...]]] = {}
        over = (*self.over, *self.subscripts)
        arrays, ranges = any(item.subscripts for item in macro.definitions), self.lowering.ranges
        outer = {subscript: ranges.twin(subscript) for subscript in over if arrays and subscript in ranges}
        for parameter, argument in zip(macro.inputs, given, strict=True):
            name = prefix + clean(parameter)
            bound[key(parameter)] = name
            if isinstance(argument, Reference) and key(argument.name) in self.tables:
                table, indices = self.read_table(argument)
                tables[key(parameter)] = table, tuple(outer.get(index, index) for index in indices)
                continue
            self.define(Auxiliary(name=name, hidden=True, expression=self.lower(argument)))
        within = tuple(outer.get(subscript, subscript) for subscript in over)
        spared = self.outer, self.left_out()
        inner = Section(self.lowering, macro.definitions, shown, prefix, bound, within, tables, spared)
        result = inner.names.get(key(macro.result or macro.name))
        if result is None:
            self.fail(f"macro {shown} does not define a variable of its own name, which is its value")
        faults = dict(self.lowering.faults)
        inner.read()
        for name in self.lowering.faults.keys() - faults.keys():
            raise UnsupportedError(self.lowering.faults.pop(name))
        if len(tree.outputs) > len(macro.outputs):
            self.fail(f"macro {shown} gives {len(macro.outputs)} further output(s), here {len(tree.outputs)} are named")
        for output, inside in zip(tree.outputs, macro.outputs, strict=False):
            if key(inside) not in inner.names:
                self.fail(f"macro {shown} does not define its output '{inside}'")
            target = Auxiliary(
                name=self.names[key(output.name)], units="?", expression=Name(inner.names[key(inside)], over)
            )
            self.lowering.add(self.piece(target))
        return Name(result, over)


@dataclass(frozen=True)
class Functions:
    """Functions that are more than their arguments (see `statefuls`).

    Attributes
    ----------
    of_trees
        By their common name: each takes the section it stands in and its arguments as they are written.
    canonical
        The common name of a function that a dialect calls otherwise.
    supported
        A sentence that names all functions.
    """

    of_trees: Mapping[str, Callable[[Section, tuple[Tree, ...]], Expression]]
    canonical: Callable[[str, Dialect], str]
    supported: Callable[[], str]


def _is_table(item: Definition) -> bool:
    return item.kind == "lookup" or isinstance(item.tree, Points) or _reads_table(item)


def _reads_table(item: Definition) -> bool:
    return isinstance(item.tree, Application) and key(item.tree.name) in {"get_xls_lookups", "get_direct_lookups"}


def _names_read(tree: Tree) -> list[str]:
    """Names without subscripts that the operations of a tree read."""
    match tree:
        case Reference(subscripts=()):
            return [key(tree.name)]
        case Operator():
            return [name for part in tree.operands for name in _names_read(part)]
        case _:
            return []


def _outputs(tree: Tree | None) -> list[Reference]:
    """Further outputs of the macros that a tree uses."""
    match tree:
        case Application():
            return [*tree.outputs, *(output for part in tree.arguments for output in _outputs(part))]
        case Operator():
            return [output for part in tree.operands for output in _outputs(part)]
        case _:
            return []
