"""Loops over one range joined into one pass, so that what a step reads comes from memory once and not ten times."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sd_cluster.loops import Block

ROWS = 64
"""Rows that are gone through by sums over large sparse tables, and then by all else: their results stay near."""

MOST_LINES = 64
"""Lines that a short loop is written out to."""

MANY_ROWS = 10_000
"""Rows of a pass from which it pays to compile short loops written out."""


@dataclass(frozen=True)
class Nest:
    """The loops that set one variable, or single elements of several.

    Attributes
    ----------
    names
        Of the variables that are set.
    lines
        The source.
    reads
        Names of the variables that are read.
    along
        Those of them whose first index is everywhere the number of the outermost loop.
    own
        Whether what is set has the number of the outermost loop as its first index, too.
    """

    names: tuple[str, ...]
    lines: list[str]
    reads: frozenset[str]
    along: frozenset[str] = frozenset()
    own: bool = False


def fused(nests: Iterable[Nest], passing: Mapping[str, Block] | None = None) -> list[str]:
    """Source of loops, each after those whose results it reads; those that may share a pass share one.

    Loops go together if their outermost ones are alike and each reads, of what another sets, the elements with the
    number of that loop alone.

    Parameters
    ----------
    nests
        In an order in which each reads what earlier ones set.
    passing
        Where variables lie that nobody reads after these loops. Those of them that are read in their own pass alone
        are kept for one round of it: a number in a variable, a row of numbers in the block's first row. What follows
        from stocks and constants of its own row by a line is worked out again in each pass that reads it.
    """
    nests = list(nests)
    places = _late(nests, _early(nests))
    for number, nest in reversed(list(enumerate(nests))):
        if passing and nest.names[0] in passing and _is_short(nest, nests):
            again = _again(nest, places[number], nests, places)
            nests[number + 1 : number + 1] = [nest] * len(again)
            places[number + 1 : number + 1] = again
    together: dict[tuple[int, str], list[Nest]] = {}
    touched: dict[str, set[tuple[int, str]]] = {}
    made: dict[str, set[tuple[int, str]]] = {}
    apart: set[str] = set()
    setters: dict[str, set[int]] = {}
    for nest, place in zip(nests, places, strict=True):
        together.setdefault(place, []).append(nest)
        for name in nest.names:
            made.setdefault(name, set()).add(place)
            setters.setdefault(name, set()).add(id(nest))
        for name in nest.reads.union(nest.names):
            touched.setdefault(name, set()).add(place)
        apart |= nest.reads - nest.along
    lines: list[str] = []
    for _, one in sorted(together.items(), key=lambda item: item[0][0]):
        own = dict.fromkeys(nest.names[0] for nest in one if nest.own)
        kept = {name: passing[name] for name in own if passing and name in passing
                and name not in apart and touched[name] == made[name] and len(setters[name]) == 1}  # fmt: skip
        short = [nest for nest in one if nest.names[0] in kept and _is_short(nest, nests)]
        lines += _one_pass(one, kept, short)
    return lines


def _one_pass(nests: Sequence[Nest], kept: Mapping[str, Block], short: Sequence[Nest]) -> list[str]:
    """Source of loops that share a pass.

    Sums over large sparse tables, which wait for the memory, and all else go through some rows in turn.

    Parameters
    ----------
    nests
        In an order in which each reads what earlier ones set.
    kept
        Where variables lie that nobody reads outside the pass.
    short
        Loops whose lines may stand wherever they are read.
    """
    first = _upstream([nest for nest in nests if any("f_fetch" in line for line in nest.lines)], nests)
    second = [nest for nest in nests if nest not in first]
    if not first or not second:
        return _kept_for_a_round([*nests[0].lines[:1], *(line for nest in nests for line in nest.lines[1:])], kept)
    reads = frozenset[str]().union(*(nest.reads for nest in second))
    second = [nest for nest in nests if nest in second or (nest in short and not reads.isdisjoint(nest.names))]
    far = reads.intersection(name for nest in first if nest not in second for name in nest.names)
    head, count = nests[0].lines[0], _rows_of(nests[0].lines[0])
    lines = [f"for b0 in range(0, {count}, {ROWS}):"]
    for part in (first, second):
        own = _kept_for_a_round(
            [head, *(line for nest in part for line in nest.lines[1:])],
            {name: block for name, block in kept.items() if name not in far},
            {name: block for name, block in kept.items() if name in far},
        )
        lines += [f"    for i0 in range(b0, min(b0 + {ROWS}, {count})):", *(f"    {line}" for line in own[1:])]
    return lines


def _upstream(wanted: Sequence[Nest], nests: Sequence[Nest]) -> list[Nest]:
    """Some loops and those that set what they set or read, in order."""
    names: set[str] = set()
    found = list(wanted)
    while len(names) < len(names := names.union(*({*nest.names, *nest.reads} for nest in found))):
        found = [nest for nest in nests if not names.isdisjoint(nest.names)]
    return found


def _is_short(nest: Nest, nests: Sequence[Nest]) -> bool:
    """Whether a variable follows by a line without functions from what is there already for the number of the loop."""
    if not nest.own or nest.reads != nest.along or len(nest.lines) > 3 or "f_" in nest.lines[-1]:
        return False
    return nest.reads.isdisjoint(name for other in nests for name in other.names)


def _again(
    nest: Nest, place: tuple[int, str], nests: Sequence[Nest], places: Sequence[tuple[int, str]]
) -> list[tuple[int, str]]:
    """Further passes in which a variable is read; none if it is read elsewhere than at the number of their loop."""
    name = nest.names[0]
    found = []
    for other, its in zip(nests, places, strict=True):
        if other is not nest and name in other.reads | {*other.names}:
            if name in other.names or name not in other.along or its[1] != place[1]:
                return []
            found.append(its)
    return sorted({*found} - {place})


def _early(nests: Sequence[Nest]) -> list[tuple[int, str]]:
    """The first pass in which each of some loops may be, by number and outermost loop."""
    places: list[tuple[int, str]] = []
    known: dict[str, tuple[int, str]] = {}
    for number, nest in enumerate(nests):
        head = nest.lines[0] if nest.own else f"{number}"
        after = [known[n][0] + (n not in nest.along or known[n][1] != head) for n in nest.reads if n in known]
        after += [known[n][0] + 1 for n in nest.names if n in known]
        places.append((max(after, default=0), head))
        known |= {name: (places[-1][0], "" if name in known else head) for name in nest.names}
    return places


def _late(nests: Sequence[Nest], early: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """The last pass in which each may be: what it reads is mostly read there anyway, and what it sets not kept."""
    places = list(early)
    setters = Counter(name for nest in nests for name in nest.names)
    passes: dict[str, set[int]] = {}
    for level, head in early:
        passes.setdefault(head, set()).add(level)
    heads = {name: head for nest, (_, head) in zip(nests, early, strict=True) for name in nest.names}
    before: dict[str, int] = {}
    for number in reversed(range(len(nests))):
        nest, head = nests[number], early[number][1]
        if nest.own and setters[nest.names[0]] == 1:
            last = before.get(nest.names[0], max(passes[head]))
            places[number] = max(level for level in passes[head] if level <= last), head
        for name in nest.reads:
            there = places[number][0] - (name not in nest.along or heads.get(name) != head)
            before[name] = min(there, before.get(name, there))
    return places


def _kept_for_a_round(
    lines: Sequence[str], kept: Mapping[str, Block], far: Mapping[str, Block] | None = None
) -> list[str]:
    """Lines of a pass in which each round puts the variables that are kept where the last one had them.

    Single numbers are kept in local variables, for which short loops are written out; others in the first row of their
    blocks, and those that are read some rows later in the first rows.
    """
    count = _rows_of(lines[0]) if kept or far else 0
    own = [*lines[:1], *unrolled(lines[1:])] if count >= MANY_ROWS else list(lines)
    for block in kept.values():
        place = _row(block)
        numbers = r" \+ (?P<number>\d+)" if len(block.sizes) > 1 else ""
        number = rf"{place}{numbers}(?(wide)\))\]"
        read = [found[0] for line in own for found in re.finditer(number, line)]
        written = {_narrow(found[1]) for line in own if (found := re.match(rf" *({number}) = ", line))}
        alone = len(read) == sum(len(re.findall(place, line)) for line in own)
        if alone and {*map(_narrow, read)} == written:
            named = rf"v{block.start}_\g<number>" if len(block.sizes) > 1 else f"v{block.start}"
            own = [re.sub(number, named, line) for line in own]
        else:
            own = [re.sub(place, rf"p[\g<wide>{block.start}", line) for line in own]
    for block in (far or {}).values():
        stride = block.strides[0]
        row = f"(i0 - b0) * {stride}" if stride != 1 else "(i0 - b0)"
        own = [re.sub(_row(block), rf"p[\g<wide>{block.start} + {row}", line) for line in own]
    return own


def _narrow(place: str) -> str:
    return place.replace("uint64(", "").replace(")]", "]")


def _rows_of(head: str) -> int:
    """How many rows a pass goes through by its first line."""
    return int(head.removeprefix("for i0 in range(").removesuffix("):"))


def unrolled(lines: Sequence[str]) -> list[str]:
    """Lines in which short loops are written out."""
    found: list[str] = []
    place = 0
    while place < len(lines):
        line, place = lines[place], place + 1
        loop = re.fullmatch(r"( *)for (\w+) in range\((\d+)\):", line)
        if loop is None:
            found.append(line)
            continue
        behind = range(place, len(lines))
        end = next((number for number in behind if not lines[number].startswith(f"{loop[1]} ")), len(lines))
        body, place = unrolled(lines[place:end]), end
        if int(loop[3]) * len(body) > MOST_LINES:
            found += [line, *body]
            continue
        for number in range(int(loop[3])):
            found += [re.sub(rf"\b{loop[2]}\b", str(number), inner)[4:] for inner in body]
    return found


def _row(block: Block) -> str:
    """A pattern of where the row of a variable begins that has the number of the outermost loop."""
    stride = block.strides[0]
    row = "i0" if stride == 1 else f"(i0) * {stride}"
    return rf"\bp\[(?P<wide>uint64\()?{block.start} \+ {re.escape(row)}(?=[ )\]])"
