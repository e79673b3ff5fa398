"""Loops over one range joined into one pass, so that what a step reads comes from memory once and not ten times."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sd_cluster.loops import Block


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
    for nest, place in zip(nests, places, strict=True):
        together.setdefault(place, []).append(nest)
        for name in nest.names:
            made.setdefault(name, set()).add(place)
        for name in nest.reads.union(nest.names):
            touched.setdefault(name, set()).add(place)
        apart |= nest.reads - nest.along
    lines: list[str] = []
    for _, one in sorted(together.items(), key=lambda item: item[0][0]):
        own = [*one[0].lines, *(line for nest in one[1:] for line in nest.lines[1:])]
        for name in dict.fromkeys(nest.names[0] for nest in one if nest.own):
            if passing and name in passing and name not in apart and touched[name] == made[name]:
                own = _kept_for_a_round(own, passing[name])
        lines += own
    return lines


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


def _kept_for_a_round(lines: list[str], block: Block) -> list[str]:
    """Lines of a pass in which each round puts a variable where the last one had it."""
    stride = block.strides[0]
    row = re.escape("i0" if stride == 1 else f"(i0) * {stride}")
    place = rf"\bp\[(uint64\()?{block.start} \+ {row}"
    if len(block.sizes) == 1:
        return [re.sub(rf"{place}(?(1)\))\]", f"v{block.start}", line) for line in lines]
    return [re.sub(rf"{place}(?= )", rf"p[\g<1>{block.start}", line) for line in lines]
