"""Vensim's .mdl files: text taken apart into definitions.

What real files hold beside plain equations is read here: comments in braces within equations, macros anywhere in the
file, groups, data variables without an equation, ranges that map to others element by element, lookups in the old form.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sd_cluster.errors import ReadingError
from sd_cluster.grammar import GrammarError, Tree
from sd_cluster.peg import read, read_lookup
from sd_cluster.source import Definition, MacroDefinition, RangeDefinition, Source
from sd_cluster.text import decoded, shorten

_MACRO = re.compile(r":MACRO:(.*?):END OF MACRO:", re.IGNORECASE | re.DOTALL)
_NAME = r'(?:"(?:\\.|[^"\\])*"|(?:[^\W\d]|[^\x00-\xa0])(?:[\w\'$ \t\n]|[^\x00-\xa0])*)'
_LEFT = re.compile(
    rf"\s*(?P<name>{_NAME})\s*(?P<subscripts>\[[^\]]*\])?\s*(?:(?P<except>:\s*(?i:EXCEPT)\s*:)\s*"
    r"(?P<exceptions>\[[^\]]*\](?:\s*,\s*\[[^\]]*\])*))?\s*"
    r"(?P<keyword>:\s*(?i:INTERPOLATE|RAW|HOLD BACKWARD|LOOK FORWARD)\s*:)?\s*"
    r"(?P<sign><->|(?i::THE CONDITION:|:TEST INPUT:)|:=|==|=|:|\(|$)"
)
_SERIES = re.compile(r"\(\s*(\w*?)(\d+)\s*-\s*(\w*?)(\d+)\s*\)")

MOST_ELEMENTS = 10_000_000
"""Elements of a range beyond which a file is taken to be wrong."""


@dataclass(frozen=True)
class _Piece:
    """What stands between two bars: an equation, units and a note."""

    equation: str
    units: str
    note: str
    line: int


def read_vensim(path: Path) -> Source:
    """Take a .mdl file apart.

    Raises
    ------
    ReadingError
        If the file is not a Vensim model; the text names the line.
    """
    text = decoded(path).split(r"\\\---///")[0]
    if "~" not in text:
        raise ReadingError(f"{path.name} is not a Vensim model: it holds no equation ended by '~ units ~ note |'")
    text = re.sub(r"^\s*\{[^}]*\}", _blanked, text)
    macros = []
    for match in _MACRO.finditer(text):
        before = text.count("\n", 0, match.start())
        macros.append(_macro(path, match.group(1), before))
    if ":MACRO:" in (rest := _MACRO.sub(_blanked, text)).upper():
        line = rest.upper().split(":MACRO:")[0].count("\n") + 1
        raise ReadingError(f"{path.name} line {line}: a macro has no ':END OF MACRO:'")
    definitions, ranges = _items(path, rest, 0)
    if all(item.tree is None and not item.fault for item in definitions):
        raise ReadingError(f"{path.name} is not a model: it holds no equations")
    return Source("vensim", definitions, ranges, tuple(macros))


def _blanked(match: re.Match[str]) -> str:
    """As many lines, with nothing on them."""
    return "\n" * match.group().count("\n")


def _macro(path: Path, text: str, before: int) -> MacroDefinition:
    head = re.match(rf"\s*({_NAME})\s*\(([^)]*)\)", text)
    if head is None:
        raise ReadingError(f"{path.name} line {before + 1}: a macro begins with 'name(inputs)'")
    inputs, _, outputs = head.group(2).partition(":")
    definitions, ranges = _items(path, text[head.end() :], before + text.count("\n", 0, head.end()))
    return MacroDefinition(head.group(1).strip(), _listed(inputs), _listed(outputs), definitions, ranges)


def _listed(text: str) -> tuple[str, ...]:
    """Names parted by commas; quoted ones may hold commas."""
    names = re.findall(r'"(?:\\.|[^"\\])*"!?|[^,]+', text)
    return tuple(" ".join(name.split()) for name in names if name.strip())


def _items(path: Path, text: str, before: int) -> tuple[tuple[Definition, ...], tuple[RangeDefinition, ...]]:
    definitions: list[Definition] = []
    ranges: list[RangeDefinition] = []
    for piece in _pieces(path, text, before):
        equation = piece.equation.strip()
        if not equation or equation.startswith("*") or (equation.startswith(".") and "=" not in equation):
            continue
        item = _item(path, piece)
        if isinstance(item, RangeDefinition):
            ranges.append(item)
        elif item is not None:
            definitions.append(item)
    return tuple(definitions), tuple(ranges)


def _pieces(path: Path, text: str, before: int) -> Iterator[_Piece]:
    """Equations with their units and notes."""
    place = 0
    while place < len(text):
        equation, end = _equation(text, place)
        line = before + text.count("\n", 0, place + len(text[place:end]) - len(text[place:end].lstrip())) + 1
        if end >= len(text):
            if equation.strip():
                said = f"{path.name} line {line}: the equation '{shorten(' '.join(equation.split()), 60)}'"
                raise ReadingError(f"{said} has no end; it should close with '~ units ~ note |'")
            return
        bar = text.find("|", end)
        if bar < 0:
            said = f"{path.name} line {line}: the equation '{shorten(' '.join(equation.split()), 60)}'"
            raise ReadingError(f"{said} is not closed by '|'")
        units, _, note = text[end + 1 : bar].partition("~")
        if text[end] == "|":
            units, note, bar = "", "", end
        yield _Piece(equation, units.strip(), note.split("~")[0].strip(), line)
        place = bar + 1


def _equation(text: str, place: int) -> tuple[str, int]:
    """The text up to the next `~` or `|` outside quotes, without comments in braces, and where that stands."""
    kept = []
    while place < len(text):
        match = re.compile(r'[^"{~|\\]+').match(text, place)
        if match:
            kept.append(match.group())
            place = match.end()
            continue
        letter = text[place]
        if letter in "~|":
            return "".join(kept), place
        if letter == '"':
            quoted = re.compile(r'"(?:\\.|[^"\\~|\n])*(?:[~|](?:\\.|[^"\\\n])*)?"').match(text, place)
            kept.append(quoted.group() if quoted else letter)
            place = quoted.end() if quoted else place + 1
        elif letter == "{":
            end = text.find("}", place)
            place = len(text) if end < 0 else end + 1
            kept.append(" ")
        else:  # a backslash that joins two lines
            match = re.compile(r"\\[ \t]*\n\s*").match(text, place)
            kept.append(" " if match else letter)
            place = match.end() if match else place + 1
    return "".join(kept), place


def _item(path: Path, piece: _Piece) -> Definition | RangeDefinition | None:
    left = _LEFT.match(piece.equation, 0, 2000)
    shown = shorten(" ".join(piece.equation.split()), 60)
    if left is None:
        name, sign, _ = piece.equation.partition("=")
        fault = f"cannot read '{shown}'; an equation is 'name = expression'"
        if not sign or not name.strip():
            raise ReadingError(f"{path.name} line {piece.line}: {fault}")
        return Definition(shorten(" ".join(name.split()), 60), None, line=piece.line, fault=fault)
    name = " ".join(left.group("name").split())
    sign, right = left.group("sign").upper(), piece.equation[left.end() :].strip()
    if sign in {":THE CONDITION:", ":TEST INPUT:"}:
        return None  # reality checks say nothing about a run
    if sign == "<->":
        return RangeDefinition(name, copied=" ".join(right.split()), line=piece.line)
    if sign == ":":
        return _range(path, name, right, piece.line)
    keyword = " ".join((left.group("keyword") or "").strip(": ").casefold().split())
    kind = {"": "data", ":=": "data", "==": "constant", "(": "lookup"}.get(sign, "data" if keyword else "equation")
    tree, fault = _right(sign, right)
    units, low, high = _limits(piece.units)
    return Definition(
        name,
        tree,
        subscripts=_listed((left.group("subscripts") or "")[1:-1]),
        exceptions=tuple(_listed(group) for group in re.findall(r"\[([^\]]*)\]", left.group("exceptions") or "")),
        kind=kind,
        keyword=keyword,
        units=units,
        note=" ".join(piece.note.split()),
        low=low,
        high=high,
        line=piece.line,
        fault=f"cannot read the equation '{shown}': {fault}" if fault else "",
    )


def _right(sign: str, text: str) -> tuple[Tree | None, str]:
    """The tree of a right-hand side, or why there is none."""
    if not sign:
        return None, ""
    try:
        if sign != "(":
            return read(text), ""
        inside, bracket, after = text.rpartition(")")
        if not bracket or after.strip():
            return None, "a lookup ends with ')'"
        return read_lookup(inside), ""
    except GrammarError as error:
        return None, str(error)


def _range(path: Path, name: str, text: str, line: int) -> RangeDefinition:
    external = re.match(r"\s*GET[ _](?:XLS|DIRECT)[ _]SUBSCRIPT\s*\((.*)\)\s*(?:->.*)?$", text, re.I | re.S)
    members, _, mapped = text.partition("->")
    found: list[str] = []
    if external is None:
        place = 0
        for match in _SERIES.finditer(members):
            found += _listed(members[place : match.start()].strip().strip(","))
            found += _series(path, name, match, line)
            place = match.end()
        found += _listed(members[place:].strip().strip(","))
    mappings: list[tuple[str, tuple[str, ...]]] = []
    for group in re.findall(r"\([^)]*\)|[^,()]+", mapped):
        if group.startswith("("):
            target, _, elements = group[1:-1].partition(":")
            mappings.append((" ".join(target.split()), _listed(elements)))
        elif group.strip():
            mappings.append((" ".join(group.split()), ()))
    quoted = tuple(re.findall(r"'([^']*)'", external.group(1))) if external else ()
    return RangeDefinition(name, tuple(found), tuple(mappings), external=quoted, line=line)


def _series(path: Path, name: str, match: re.Match[str], line: int) -> list[str]:
    """Elements of `(A1-A5)`."""
    prefix, first, other, last = match.groups()
    low, high = int(first), int(last)
    if prefix.casefold() != other.casefold() or high < low:
        raise ReadingError(
            f"{path.name} line {line}: range '{name}' holds '{match.group()}'; a series is written as (A1-A5)"
        )
    if high - low >= MOST_ELEMENTS:
        raise ReadingError(f"{path.name} line {line}: range '{name}' has more than {MOST_ELEMENTS} elements")
    return [f"{prefix}{number}" for number in range(low, high + 1)]


def _limits(units: str) -> tuple[str, float | None, float | None]:
    """Units without the limits `[low, high, step]` behind them, and these."""
    match = re.search(r"\[([^\[\]]*)\]\s*$", units)
    if match is None:
        return " ".join(units.split()), None, None
    bounds: list[float | None] = []
    for part in [*match.group(1).split(","), "?", "?"][:2]:
        try:
            bounds.append(float(part))
        except ValueError:
            bounds.append(None)
    return " ".join(units[: match.start()].split()), bounds[0], bounds[1]
