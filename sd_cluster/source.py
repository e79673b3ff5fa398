"""A model file as it is written: definitions, ranges and macros, before any name is looked up."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sd_cluster.grammar import Dialect, Tree


@dataclass(frozen=True)
class Definition:
    """One equation of a file.

    Attributes
    ----------
    name
        The modeller's own name.
    tree
        The right-hand side; nothing for a data variable without one. For a stock of XMILE, its net flow.
    subscripts
        Ranges and elements on the left-hand side.
    exceptions
        Groups of subscripts that are left out (`:EXCEPT:`).
    kind
        `equation`, `constant` (written `==`), `lookup`, `data` or `stock` (XMILE).
    keyword
        How a data variable is read between its times: `interpolate`, `hold backward`, `look forward` or `raw`.
    initial
        Initial value of a stock of XMILE.
    non_negative
        Whether that stock may not fall below zero.
    limit
        What a flow of XMILE is at most, as a stock that it takes from may not fall below zero.
    limited_at_start
        Whether that holds where initial values are worked out, too.
    units, note, low, high
        What the file says about the variable.
    line
        Where in the file it begins, counted from 1.
    fault
        Why the right-hand side cannot be read; nothing where it can.
    """

    name: str
    tree: Tree | None
    subscripts: tuple[str, ...] = ()
    exceptions: tuple[tuple[str, ...], ...] = ()
    kind: str = "equation"
    keyword: str = ""
    initial: Tree | None = None
    non_negative: bool = False
    limit: Tree | None = None
    limited_at_start: bool = True
    units: str = ""
    note: str = ""
    low: float | None = None
    high: float | None = None
    line: int = 0
    fault: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is what its right-hand side says: one number, no stock and nothing cut."""
        return not self.subscripts and self.kind != "stock" and self.limit is None


@dataclass(frozen=True)
class RangeDefinition:
    """A named range as it is written.

    Attributes
    ----------
    name
        Name of the range.
    members
        Elements, or names of other ranges whose elements it holds.
    mappings
        Ranges its elements stand for, each with the elements or ranges named for it (none: one for one).
    copied
        The range it is another name of (`<->`), if any.
    external
        Arguments of a function that reads the elements from a file.
    line
        Where in the file it begins.
    """

    name: str
    members: tuple[str, ...] = ()
    mappings: tuple[tuple[str, tuple[str, ...]], ...] = ()
    copied: str = ""
    external: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True)
class MacroDefinition:
    """A macro: equations of its own, with the names of what goes in and comes out besides its own name.

    `defaults` are what its last inputs are where a use of it leaves them out.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    definitions: tuple[Definition, ...]
    ranges: tuple[RangeDefinition, ...] = ()
    result: str = ""
    defaults: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Source:
    """All a model file says."""

    dialect: Dialect
    definitions: tuple[Definition, ...]
    ranges: tuple[RangeDefinition, ...] = ()
    macros: tuple[MacroDefinition, ...] = ()
    notes: Sequence[str] = field(default=())
