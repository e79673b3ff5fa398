"""Straight-line code with the graph of its local slopes, and the elimination that turns these into derivatives.

Each line computes one operation. An edge from what an operation reads to the operation itself bears the local slope.
Taking out one inner vertex after another multiplies slopes along the paths through it, until only edges from seeds to
targets are left: these are the derivatives. Vertices go in the order of Markowitz, those with fewest paths first, which
needs few products (Griewank and Reese 1991; Griewank and Walther 2008, "Evaluating Derivatives", chapter 9, doi
10.1137/1.9780898717761).
"""

import heapq
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Seed: TypeAlias = tuple[str, int]
"""What derivatives are taken by: ("stock", row) or ("parameter", column)."""

Node: TypeAlias = int | Seed

_ATOM = re.compile(r"\w+(\[\d+\])?|\d+\.\d*(e[+-]?\d+)?")

_LOCAL = re.compile(r"\b[cdev]\d+\b")
_SETS = re.compile(r"([cdev]\d+) = ")


@dataclass(frozen=True)
class Slope:
    """Source of a local slope; with a `gate` it counts only where that condition holds.

    What lies behind a closed gate may be infinite or no number at all (the logarithm that a condition guards), so that
    a gate chooses rather than multiplies by zero.
    """

    text: str = "1.0"
    gate: str = ""

    def __str__(self) -> str:
        return f"({self.text} if {self.gate} else 0.0)" if self.gate else self.text

    def times(self, other: "Slope") -> "Slope":
        """The slope of a path through two edges."""
        gates = " and ".join(dict.fromkeys(gate for gate in (self.gate, other.gate) if gate))
        match self.text, other.text:
            case "1.0", text:
                return Slope(text, gates)
            case text, "1.0":
                return Slope(text, gates)
            case "-1.0", text:
                return Slope(f"-{text}", gates)
            case text, "-1.0":
                return Slope(f"-{text}", gates)
            case first, second:
                return Slope(f"{first} * {second}", gates)


@dataclass(eq=False)
class Tape:
    """Lines of code and the graph of their slopes.

    Attributes
    ----------
    lines
        Source, in order.
    into
        Slopes by what is read, for every vertex.
    lasts
        Gives the place where the value of some source is kept, if it does not change during a run.
    """

    lines: list[str] = field(default_factory=list)
    into: dict[Node, dict[Node, Slope]] = field(default_factory=dict)
    lasts: Callable[[str], str | None] | None = None
    _readers: dict[Node, dict[Node, None]] = field(default_factory=dict)
    _count: int = 0

    def local(self, text: str, *, prefix: str = "e") -> str:
        """A name for the value of some source; short source is its own name."""
        if _ATOM.fullmatch(text):
            return text
        if self.lasts is not None and prefix != "c" and (place := self.lasts(text)):
            return place
        self._count += 1
        self.lines.append(f"{prefix}{self._count} = {text}")
        return f"{prefix}{self._count}"

    def vertex(self, edges: Iterable[tuple[Node | None, Slope]]) -> Node | None:
        """A vertex that reads others; nothing where it reads none, the other itself where it only passes it on."""
        known = [(node, slope) for node, slope in edges if node is not None and slope.text != "0.0"]
        if not known:
            return None
        if len(known) == 1 and known[0][1] == Slope():
            return known[0][0]
        self._count += 1
        here = self._count
        self.into[here] = {}
        for node, slope in known:
            self._add(here, node, slope)
        return here

    def target(self, node: Node | None) -> Node:
        """A vertex of its own that passes on another, to stay when all others are taken out."""
        self._count += 1
        self.into[self._count] = {}
        if node is not None:
            self._add(self._count, node, Slope())
        return self._count

    def _add(self, here: Node, node: Node, slope: Slope) -> None:
        before = self.into[here].get(node)
        if before is not None:
            slope = Slope(f"{before} + {slope}")
        elif slope.gate and slope.text != "1.0":
            slope = Slope(str(slope))
        if not slope.gate and not _ATOM.fullmatch(slope.text.removeprefix("-")):
            slope = Slope(self.local(slope.text, prefix="d"))
        self.into[here][node] = slope
        self._readers.setdefault(node, {})[here] = None

    def eliminate(self, targets: Iterable[Node]) -> Mapping[Node, Mapping[Seed, str]]:
        """Take out every vertex but the targets; lines that compute the products are added.

        Returns
        -------
        derivatives
            Source of the derivatives of each target, by seed.
        """
        kept = list(targets)
        stay = set(kept)
        heap = [(self._cost(node), node) for node in self.into if isinstance(node, int) and node not in stay]
        heapq.heapify(heap)
        while heap:
            cost, vertex = heapq.heappop(heap)
            if vertex not in self.into:
                continue
            if cost != self._cost(vertex):
                heapq.heappush(heap, (self._cost(vertex), vertex))
                continue
            for neighbour in self._take_out(vertex):
                if isinstance(neighbour, int) and neighbour not in stay and neighbour in self.into:
                    heapq.heappush(heap, (self._cost(neighbour), neighbour))
        found: dict[Node, dict[Seed, str]] = {}
        for node in kept:
            edges = {seed: slope for seed, slope in self.into[node].items() if isinstance(seed, tuple)}
            found[node] = {seed: self.local(str(edges[seed]), prefix="d") for seed in sorted(edges)}
        return found

    def _cost(self, node: Node) -> int:
        return len(self.into[node]) * len(self._readers.get(node, {}))

    def _take_out(self, node: Node) -> list[Node]:
        reads, readers = self.into.pop(node), self._readers.pop(node, {})
        for source in reads:
            del self._readers[source][node]
        for reader in readers:
            after = self.into[reader].pop(node)
            for source, before in reads.items():
                self._add(reader, source, before.times(after))
        return [*reads, *readers]


def needed(lines: Sequence[str]) -> list[str]:
    """Lines without those that set a local name which no later line reads."""
    kept: list[str] = []
    read: set[str] = set()
    for line in reversed(lines):
        set_here = _SETS.match(line)
        if set_here is None or set_here[1] in read:
            kept.append(line)
            read.update(_LOCAL.findall(line if set_here is None else line[set_here.end() :]))
    return kept[::-1]
