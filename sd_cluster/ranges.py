"""Named ranges of array variables: their elements, and which element of one stands for which of another."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sd_cluster.errors import ModelError, near
from sd_cluster.model import key
from sd_cluster.source import RangeDefinition

DEEPEST = 100
"""Ranges that may stand one inside another."""


@dataclass(frozen=True)
class Range:
    """A named range.

    Attributes
    ----------
    name
        As the modeller writes it.
    elements
        Names of its elements, in order.
    mapped
        For each range it maps to, by its key: the elements there, by their keys, and the element here for each.
    joined
        For each range it maps to, by its key: the elements here, by their keys, that share one there, and that one.
    """

    name: str
    elements: tuple[str, ...]
    mapped: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False, compare=False)
    joined: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False, compare=False)


class Ranges:
    """All ranges of a model; names are compared as Vensim compares them.

    Raises
    ------
    ModelError
        If a range holds itself, or maps to what does not fit it; the text names the range.
    """

    def __init__(self, definitions: Iterable[RangeDefinition]) -> None:
        self._definitions = {key(item.name): item for item in definitions}
        self._elements: dict[str, tuple[str, ...]] = {}
        self._stretches: set[str] = set()
        for folded in sorted(self._definitions, key=lambda name: bool(self._definitions[name].copied)):
            self._members(folded, ())
        self._places: dict[str, dict[str, int]] = {}
        known: dict[int, dict[str, int]] = {}
        for folded, elements in self._elements.items():  # other names of one range share its elements
            if id(elements) not in known:
                known[id(elements)] = {key(name): place for place, name in enumerate(elements)}
            self._places[folded] = known[id(elements)]
        self._names = {
            folded: self._elements[name][place]
            for name, places in self._places.items()
            for folded, place in places.items()
        }
        self.all = {folded: self._range(item) for folded, item in self._definitions.items()}

    def _members(self, folded: str, above: tuple[str, ...]) -> tuple[str, ...]:
        if folded in self._elements:
            return self._elements[folded]
        item = self._definitions[folded]
        if folded in above:
            raise ModelError(f"range '{item.name}' holds itself; name its elements")
        if len(above) > DEEPEST:
            raise ModelError(f"range '{item.name}' stands within more than {DEEPEST} ranges one inside another")
        if item.copied:
            if key(item.copied) not in self._definitions:
                raise ModelError(f"range '{item.name}' is another name of '{item.copied}', which is not defined")
            self._elements[folded] = self._members(key(item.copied), (*above, folded))
            return self._elements[folded]
        found: dict[str, str] = {}
        for member in item.members:
            inner = key(member)
            parts = self._members(inner, (*above, folded)) if inner in self._definitions else (clean(member),)
            for part in parts:
                found.setdefault(key(part), part)
        if not found:
            raise ModelError(f"range '{item.name}' has no elements")
        self._elements[folded] = tuple(found.values())
        return self._elements[folded]

    def _range(self, item: RangeDefinition) -> Range:
        own = self._elements[key(item.name)]
        mapped: dict[str, dict[str, str]] = {}
        joined: dict[str, dict[str, str]] = {}
        for target, entries in item.mappings:
            if key(target) not in self._elements:
                raise ModelError(f"range '{item.name}' maps to '{target}', which is not defined")
            groups = [self.elements(entry) for entry in entries] or [(name,) for name in self._elements[key(target)]]
            if len(groups) != len(own):
                raise ModelError(
                    f"range '{item.name}' has {len(own)} elements, what it maps to in '{target}' has {len(groups)}"
                )
            pairs = [(name, here) for here, group in zip(own, groups, strict=True) for name in group]
            times = Counter(key(name) for name, _ in pairs)
            mapped[key(target)] = {key(name): here for name, here in pairs if times[key(name)] == 1}
            joined[key(target)] = {key(here): name for name, here in pairs if times[key(name)] > 1}
        return Range(clean(item.name), own, mapped, joined)

    def __contains__(self, name: str) -> bool:
        return key(name) in self._elements

    def is_element(self, name: str) -> bool:
        """Whether a name is that of an element of some range."""
        return key(name) in self._names

    def elements(self, name: str) -> tuple[str, ...]:
        """Elements of a range, or the one element of that name.

        Raises
        ------
        ModelError
            If there is neither; the text names the nearest one.
        """
        folded = key(name)
        if folded in self._elements:
            return self._elements[folded]
        if folded in self._names:
            return (self._names[folded],)
        known = [*(item.name for item in self._definitions.values()), *self._names.values()]
        raise ModelError(f"'{clean(name)}' is neither a range nor an element{near(name, known)}")

    def stretch(self, name: str, first: str, last: str) -> str | None:
        """A range from one element of a range to another, named after both; nothing where these are not its elements.

        Numbers count elements from 1. It is not among the ranges that a variable is said to run over.
        """
        known = self._elements[key(name)]
        ends = []
        for end in (first, last):
            place = self.place(name, end)
            counted = int(end) - 1 if place is None and end.isdecimal() else place
            if counted is None or not 0 <= counted < len(known):
                return None
            ends.append(counted)
        elements = known[ends[0] : ends[1] + 1]
        own = f"{clean(name)} from {elements[0]} to {elements[-1]}" if elements else ""
        if elements and own not in self:
            self._add(Range(own, elements), {key(element): place for place, element in enumerate(elements)})
        return own or None

    def twin(self, name: str) -> str:
        """A range of the same elements under a name of its own: for a loop around another one over the same range.

        It is not among the ranges that a variable is said to run over.
        """
        own = f"{clean(name)} of the caller"
        if own not in self:
            self._add(replace(self.all[key(name)], name=own), self._places[key(name)])
        return own

    def _add(self, span: Range, places: dict[str, int]) -> None:
        """Keep a range that equations need and no variable is said to run over."""
        folded = key(span.name)
        self.all[folded], self._elements[folded], self._places[folded] = span, span.elements, places
        self._stretches.add(folded)

    def count(self, subscripts: Iterable[str]) -> int:
        """How many elements some subscripts together stand for."""
        return math.prod(len(self.elements(subscript)) for subscript in subscripts)

    def place(self, name: str, element: str) -> int | None:
        """Where an element stands in a range, counted from 0; nothing where it does not."""
        return self._places.get(key(name), {}).get(key(element))

    def home(self, element: str) -> str:
        """The widest range that holds an element, which numbers it."""
        holders = [
            name for name, places in self._places.items() if key(element) in places and name not in self._stretches
        ]
        return max(holders, key=lambda name: len(self._elements[name]))

    def family(self, name: str) -> str:
        """The widest range that holds all elements of a range, or an element: it numbers them (Vensim's families)."""
        if name not in self:
            return self.home(name)
        own = self._places[key(name)].keys()
        holders = [
            other for other, places in self._places.items() if own <= places.keys() and other not in self._stretches
        ]
        return max(holders, key=lambda other: len(self._elements[other]), default=name)

    def translated(self, element: str, loop: str, wanted: str) -> str | None:
        """The element of range `wanted` that `element` of range `loop` stands for, if one does.

        A mapping between the two counts before an element that both hold: in a chain of ages each cohort reads the
        one before it, though most are members of both ranges.
        """
        target, source = self.all[key(wanted)], self.all.get(key(loop))
        if key(element) in (direct := target.mapped.get(key(loop), {})):
            return direct[key(element)]
        back = [there for there, here in (source.mapped if source else {}).get(key(wanted), {}).items()
                if key(here) == key(element)]  # fmt: skip
        if len(back) == 1:
            return self._names[back[0]]
        if source is not None and key(element) in (joined := source.joined.get(key(wanted), {})):
            return joined[key(element)]
        place = self.place(wanted, element)
        if place is not None:
            return self._elements[key(wanted)][place]
        for mapping in target.mapped.values():
            if key(element) in mapping:
                return mapping[key(element)]
        others = source.mapped if source is not None else {}
        for name in (other for other in others if self._shares(other, wanted)):
            back = [there for there, here in others.get(name, {}).items() if key(here) == key(element)]
            fitting = [there for there in back if self.place(wanted, there) is not None]
            if len(fitting) == 1:
                return self._names[fitting[0]]
        return self._alias(element, loop, wanted)

    def _shares(self, first: str, second: str) -> bool:
        return bool(self._places[key(first)].keys() & self._places[key(second)].keys())

    def _alias(self, element: str, loop: str, wanted: str) -> str | None:
        """One step through a range that both map to."""
        source, target = self.all.get(key(loop)), self.all[key(wanted)]
        if source is None:
            return None
        for name in source.mapped.keys() & target.mapped.keys():
            for there, here in source.mapped[name].items():
                if key(here) == key(element) and there in target.mapped[name]:
                    return target.mapped[name][there]
        return None

    def dimension(self, subscripts: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """Name and elements of a position that these subscripts fill in different equations.

        The smallest range that holds all of them, one that is named among them before others.
        """
        if len(set(subscripts)) == 1 and subscripts[0] in self:
            return self.all[key(subscripts[0])].name, self._elements[key(subscripts[0])]
        wanted: dict[str, str] = {}
        for subscript in subscripts:
            for element in self.elements(subscript):
                wanted.setdefault(key(element), element)
        named = [key(subscript) for subscript in subscripts if key(subscript) in self._elements]
        fitting = [
            name
            for name, places in self._places.items()
            if name not in self._stretches and all(element in places for element in wanted)
        ]
        if not fitting:
            return " ".join(dict.fromkeys(map(clean, subscripts))), tuple(wanted.values())
        best = min(fitting, key=lambda name: (len(self._elements[name]), name not in named))
        return self.all[best].name, self._elements[best]


def clean(name: str) -> str:
    """A name as a person reads it: no quotes, single spaces."""
    return " ".join(name.strip().strip('"').replace("_", " ").split()) if name.strip() else name
