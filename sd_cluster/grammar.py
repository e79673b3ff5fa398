"""The right-hand side of one equation, as text, turned into a tree: Vensim's and XMILE's way of writing.

A tree says what is written, not what it means: names are not looked up and functions are not known. Nothing is
evaluated, nesting is bounded, and whatever cannot be read ends in a `GrammarError` that shows the place.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias

from sd_cluster.text import shorten

Dialect: TypeAlias = Literal["vensim", "xmile"]

DEEPEST = 150
"""Nesting that Python's own recursion stands with room to spare."""

STRETCH, MOST_STRETCHES = 100, 40
"""Terms of a long sum that are added in a row, and how many such rows are added then: 4,000 terms in all."""

MISSING = -(2.0**109)
"""The number that stands for a missing value, Vensim's `:NA:`."""


class GrammarError(Exception):
    """Text that is not an expression; the message shows where reading stopped."""


@dataclass(frozen=True)
class Figure:
    """A number as it is written."""

    value: float


@dataclass(frozen=True)
class Reference:
    """A name with its subscripts; one to be summed over ends in `!`."""

    name: str
    subscripts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operator:
    """An operator with its operands, named as in `expressions.Operation`."""

    operator: str
    operands: tuple["Tree", ...]


@dataclass(frozen=True)
class Application:
    """What is written as a function of arguments: a built-in function, a lookup, or a macro with further outputs."""

    name: str
    subscripts: tuple[str, ...]
    arguments: tuple["Tree", ...]
    outputs: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class Quoted:
    """A text in single quotes: the name of a file, a sheet or a cell."""

    value: str


@dataclass(frozen=True)
class Points:
    """A lookup written out: its points by increasing x, and how it is read between and beyond them.

    `moved` says whether they stood in another order.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    kind: str = "interpolate"
    moved: bool = False


@dataclass(frozen=True)
class Numbers:
    """Rows of numbers: the constants of an array."""

    rows: tuple[tuple[float, ...], ...]


Tree: TypeAlias = Figure | Reference | Operator | Application | Quoted | Points | Numbers

PLACED = "element at a place"
"""How a tree says that expressions give the places of an element: the array, `#0` for the first of them, and these."""

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_LETTER = r"(?:[^\W\d]|[^\x00-\xa0])"
_REST = r"(?:[\w'$]|[^\x00-\xa0])"
_SHARED = r'(?P<quoted>"(?:\\.|[^"\\])*")'
_MODULES = rf'(?P<quoted>\.?(?:{_LETTER}{_REST}*\.)*"(?:\\.|[^"\\])*"(?:\.(?:{_LETTER}{_REST}*|"(?:\\.|[^"\\])*"))*)'
_OPERATORS = r"(?P<operator><>|<=|>=|//|[-+*/^=<>(),;:!\[\]|])"
_TOKENS = {
    "vensim": re.compile(
        rf"\s*(?:{_SHARED}|(?P<text>'[^']*')|(?P<word>(?i::(?:AND|OR|NOT|NA):))|(?P<number>{_NUMBER})"
        rf"|(?P<name>{_LETTER}{_REST}*(?:\s+{_REST}+)*)|{_OPERATORS})"
    ),
    "xmile": re.compile(
        rf"\s*(?:{_MODULES}|(?P<text>'[^']*')|(?P<word>(?i:AND|OR|NOT|MOD|IF|THEN|ELSE)(?![\w$.]))"
        rf"|(?P<number>{_NUMBER})|(?P<name>\.?{_LETTER}(?:{_REST}|\.(?=\w))*)|{_OPERATORS})"
    ),
}

_BINDING = {
    "or": 1, "and": 2, "=": 4, "<>": 4, "<": 4, "<=": 4, ">": 4, ">=": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "mod": 6, "^": 8,
}  # fmt: skip
_NOT, _SIGN, _POWER = 3, 7, 8


@dataclass(frozen=True)
class Token:
    """One piece of text: its kind, the text itself, and where it begins."""

    kind: str
    text: str
    place: int


def tokens(text: str, dialect: Dialect) -> Iterator[Token]:
    """Pieces of a text, in order.

    Raises
    ------
    GrammarError
        Where something stands that no piece begins with.
    """
    pattern, place = _TOKENS[dialect], 0
    while place < len(text):
        match = pattern.match(text, place)
        if match is None:
            if not text[place:].strip():
                return
            raise GrammarError(f"'{shorten(' '.join(text[place:].split()), 40)}' cannot stand here")
        kind = str(match.lastgroup)
        yield Token(kind, match.group(kind), match.start(kind))
        place = match.end()


def parse(text: str, dialect: Dialect = "vensim") -> Tree:
    """The tree of a right-hand side.

    Raises
    ------
    GrammarError
        If the text is not an expression; the message shows where reading stopped.

    Examples
    --------
    >>> parse("a + 2")
    Operator(operator='+', operands=(Reference(name='a', subscripts=()), Figure(value=2.0)))
    """
    return _Parser(text, dialect).whole()


def parse_lookup(text: str) -> Tree:
    """The points of a lookup from what stands in its brackets: pairs, or all x and then all y (Vensim's old form).

    Raises
    ------
    GrammarError
        If the text holds no points, or is an expression that is not a function for reading a file.
    """
    parser = _Parser(text, "vensim")
    if parser.kind in {"name"}:
        return parser.whole()
    found = parser.points(bare=True)
    parser.finish()
    return found


class _Parser:
    """Reads tokens from left to right; each method leaves off after what it has read."""

    def __init__(self, text: str, dialect: Dialect) -> None:
        self.text, self.dialect = text, dialect
        self.tokens = [*tokens(text, dialect), Token("end", "", len(text))]
        self.place = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    @property
    def kind(self) -> str:
        return self.token.kind

    def fail(self, expected: str) -> NoReturn:
        rest = shorten(" ".join(self.text[self.token.place :].split()), 40)
        before = "at its end" if self.kind == "end" else f"before '{rest}'"
        raise GrammarError(f"{before} there should be {expected}")

    def finish(self) -> None:
        if self.kind != "end":
            self.fail("an operator or nothing more")

    def at(self, *texts: str) -> bool:
        """Whether an operator of this text comes next."""
        return self.kind == "operator" and self.token.text in texts

    def take(self, *texts: str) -> str:
        """Go over an operator that must stand here."""
        if not self.at(*texts):
            self.fail(" or ".join(f"'{text}'" for text in texts))
        self.place += 1
        return self.tokens[self.place - 1].text

    def whole(self) -> Tree:
        if self.kind == "end":
            raise GrammarError("nothing stands on its right-hand side")
        tree = self.expression(0)
        if self.at(",", ";") and (first := _signed(tree)) is not None:
            return self.rows(first)
        self.finish()
        return tree

    def rows(self, first: float) -> Numbers:
        """Constants of an array: `1, 2; 3, 4;`."""
        rows, row = [], [first]
        while self.at(",", ";"):
            if self.take(",", ";") == ";":
                rows.append(tuple(row))
                row = []
            if self.kind != "end":
                row.append(self.number())
        self.finish()
        return Numbers((*rows, tuple(row)) if row else tuple(rows))

    def number(self) -> float:
        """A number that must stand here, with its sign."""
        sign = -1.0 if self.at("-") else 1.0
        if self.at("-", "+"):
            self.place += 1
        if self.kind == "word" and self.token.text.casefold() == ":na:":
            self.place += 1
            return MISSING
        if self.kind != "number":
            self.fail("a number")
        self.place += 1
        return sign * _float(self.tokens[self.place - 1].text)

    def operator(self) -> str:
        """The operator that comes next, if one does."""
        if self.kind == "operator":
            return self.token.text
        return self.token.text.strip(":").casefold() if self.kind == "word" else ""

    def expression(self, binding: int) -> Tree:
        """What stands here, with the operators that bind tighter than `binding`."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise GrammarError(f"more than {DEEPEST} operations stand one inside another; split it up")
        tree, length = self.operand(), 0
        before: list[Tree] = []
        while (own := _BINDING.get(self.operator(), 0)) > binding:
            operator = self.operator()
            length += 1
            if length > DEEPEST:
                raise GrammarError(f"more than {DEEPEST} operations stand one inside another; split it up")
            self.place += 1
            # powers go from the right
            second = self.expression(own - 1 if operator == "^" else own)
            if operator in {"+", "-"} and length == STRETCH and len(before) < MOST_STRETCHES:
                before.append(tree)
                tree, length = second if operator == "+" else Operator("neg", (second,)), 0
                continue
            if operator not in {"+", "-"}:
                tree, before = _total(before, tree), []
            tree = _joined(operator, tree, second)
        self.depth -= 1
        return _total(before, tree)

    def operand(self) -> Tree:
        """A number, a name, a call, or something in brackets, with its sign."""
        match self.kind, self.operator():
            case "word", "not":
                self.place += 1
                return Operator("not", (self.expression(_NOT),))
            case "word", "na":
                self.place += 1
                return Figure(MISSING)
            case "word", "if":
                return self.conditional()
            case "word", "mod":
                return self.named()
            case "operator", "-":
                self.place += 1
                inner = self.expression(_SIGN)
                return Figure(-inner.value) if isinstance(inner, Figure) else Operator("neg", (inner,))
            case "operator", "+":
                self.place += 1
                return self.expression(_SIGN)
            case "operator", "(":
                self.place += 1
                tree = self.expression(0)
                self.take(")")
                return tree
            case "number", _:
                return Figure(self.number())
            case "text", _:
                self.place += 1
                return Quoted(self.tokens[self.place - 1].text[1:-1])
            case (("name" | "quoted"), _):
                return self.named()
        self.fail("a number, a name or a bracket")

    def conditional(self) -> Tree:
        """XMILE's `IF a THEN b ELSE c`."""
        parts = []
        for word in ("if", "then", "else"):
            if not (self.kind == "word" and self.operator() == word):
                self.fail(word.upper())
            self.place += 1
            parts.append(self.expression(0))
        return Application("if then else", (), tuple(parts))

    def name(self) -> str:
        if self.kind not in {"name", "quoted"} and self.operator() != "mod":
            self.fail("a name")
        self.place += 1
        text = self.tokens[self.place - 1].text
        if (
            self.dialect == "xmile"
            and not (text.startswith('"') and text.find('"', 1) == len(text) - 1)
            and '"' in text
        ):
            return text if "\\" in text else text.replace('"', "")  # modules with their quotes
        return text

    def named(self) -> Tree:
        name = self.name()
        subscripts, computed = self.places() if self.at("[") else ((), ())
        if computed:
            return Application(PLACED, (), (Reference(name, subscripts), *computed))
        if not subscripts and self.at("!"):  # the number of an element that a sum goes through
            self.take("!")
            return Reference(f"{name}!", ())
        if not self.at("("):
            return Reference(name, subscripts)
        self.take("(")
        folded = " ".join(name.replace("_", " ").split()).casefold()
        if folded == "tabbed array":
            return self.tabbed()
        arguments: list[Tree] = []
        outputs: list[Reference] = []
        while not self.at(")", ":"):
            with_points = folded == "with lookup" and len(arguments) == 1
            arguments.append(self.points(bare=False) if with_points else self.expression(0))
            if not self.at(")", ":"):
                self.take(",")
        if self.at(":"):
            self.take(":")
            while not self.at(")"):
                output = self.name()
                outputs.append(Reference(output, self.subscripts() if self.at("[") else ()))
                if not self.at(")"):
                    self.take(",")
        self.take(")")
        return Application(name, subscripts, tuple(arguments), tuple(outputs))

    def subscripts(self) -> tuple[str, ...]:
        """Names in square brackets; numbers and `*` too, as XMILE has them."""
        return self.places()[0]

    def places(self) -> tuple[tuple[str, ...], tuple[Tree, ...]]:
        """What stands in square brackets, and the places that XMILE lets an expression give: `#0`, `#1` among them."""
        self.take("[")
        found: list[str] = []
        computed: list[Tree] = []
        while not self.at("]"):
            begun, simple = self.place, self.kind in {"number", "name", "quoted"} or self.at("*")
            self.place += simple
            if self.dialect == "xmile" and not (simple and self.at(",", "]", ":", "!")):
                self.place = begun
                found.append(f"#{len(computed)}")
                computed.append(self.expression(0))
            else:
                self.place = begun
                found.append(self.subscript())
            if not self.at("]"):
                self.take(",")
        self.take("]")
        return tuple(found), tuple(computed)

    def subscript(self) -> str:
        """A name, a number or `*`, and what XMILE writes from one to another or as `*` of a range."""
        if self.kind == "number" or self.at("*"):
            self.place += 1
            name = self.tokens[self.place - 1].text
        else:
            name = self.name()
        if self.at(":"):
            self.take(":")
            last = self.tokens[self.place].text if self.kind == "number" else self.name()
            self.place += self.kind == "number"
            name = f"{last}!" if name == "*" else f"{name}:{last}!"
        if self.at("!"):
            self.take("!")
            name += "!"
        return name

    def tabbed(self) -> Numbers:
        """TABBED ARRAY: numbers parted by blanks alone."""
        row = []
        while not self.at(")"):
            row.append(self.number())
            if self.at(",", ";"):
                self.place += 1
        self.take(")")
        return Numbers((tuple(row),))

    def points(self, *, bare: bool) -> Points:
        """Points of a lookup, in brackets of their own unless `bare`; a window in square brackets is passed over."""
        if not bare:
            self.take("(")
        if self.at("["):
            while not self.at("]"):
                if self.kind == "end":
                    self.fail("']'")
                self.place += 1
            self.take("]")
            if self.at(","):
                self.take(",")
        x: list[float] = []
        y: list[float] = []
        if not self.at("("):
            plain = [self.number()]
            while self.at(","):
                self.take(",")
                plain.append(self.number())
            if len(plain) % 2:
                raise GrammarError(f"a lookup of {len(plain)} numbers; give as many x as y")
            half = len(plain) // 2
            x, y = plain[:half], plain[half:]
        while self.at("("):
            self.take("(")
            x.append(self.number())
            self.take(",")
            y.append(self.number())
            self.take(")")
            if self.at(","):
                self.take(",")
        if not bare:
            self.take(")")
        order = sorted(range(len(x)), key=lambda place: x[place])
        moved = order != list(range(len(x)))
        return Points(tuple(x[place] for place in order), tuple(y[place] for place in order), moved=moved)


def _total(before: list[Tree], tree: Tree) -> Tree:
    """The stretches of a long sum put together."""
    for part in reversed(before):
        tree = Operator("+", (part, tree))
    return tree


def _joined(operator: str, first: Tree, second: Tree) -> Tree:
    """An operation; XMILE's `mod` and `//` are functions."""
    if operator == "mod":
        return Application("mod", (), (first, second))
    if operator == "//":
        return Application("safediv", (), (first, second))
    return Operator(operator, (first, second))


def _signed(tree: Tree) -> float | None:
    """Value of a number with a sign before it."""
    return tree.value if isinstance(tree, Figure) else None


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise GrammarError(f"the number {shorten(text, 20)} is too large")
    return value
