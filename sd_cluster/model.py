"""A model as it was written: its variables with their equations, units, notes and ranges, and its horizon."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from itertools import product, zip_longest
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from sd_cluster.errors import ModelError, near
from sd_cluster.expressions import Expression, text

if TYPE_CHECKING:
    import pandas as pd

    from sd_cluster.symbols import OdeSystem


@dataclass(frozen=True)
class Variable:
    """What every variable has.

    Attributes
    ----------
    name
        The modeller's own name, spaces included.
    units
        As written in the file, empty where the file says nothing.
    note
        The documentation of the variable.
    low, high
        The range in which its values make sense, where the file gives one.
    ranges
        Ranges over which an array variable runs; empty for a single number.
    hidden
        True for the inner stocks of delays and smooths, and for the variables inside macros.
    """

    kind: ClassVar[str] = "variable"
    name: str
    units: str = ""
    note: str = ""
    low: float | None = None
    high: float | None = None
    ranges: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True)
class Parameter(Variable):
    """A constant that a scenario may set."""

    kind: ClassVar[str] = "parameter"
    value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Auxiliary(Variable):
    """A variable computed at each moment; `initial` is what it is while stocks are being initialised."""

    kind: ClassVar[str] = "auxiliary"
    expression: Expression
    initial: Expression | None = None


@dataclass(frozen=True, kw_only=True)
class Stock(Variable):
    """What accumulates: `rate` is its net flow, `initial` its value at the start."""

    kind: ClassVar[str] = "stock"
    rate: Expression
    initial: Expression
    non_negative: bool = False


@dataclass(frozen=True, kw_only=True)
class Frozen(Variable):
    """A value taken once, at the start (Vensim's INITIAL)."""

    kind: ClassVar[str] = "initial"
    expression: Expression


@dataclass(frozen=True, kw_only=True)
class Table(Variable):
    """A lookup: straight between its points and level outside them.

    `step` makes a staircase that holds each value until the next point, `ahead` one that takes the value of the next
    point; `beyond` goes on straight outside the points.
    """

    kind: ClassVar[str] = "lookup"
    x: tuple[float, ...]
    y: tuple[float, ...]
    step: bool = False
    ahead: bool = False
    beyond: bool = False


@dataclass(frozen=True, kw_only=True)
class Held(Variable):
    """A value that changes only from one step to the next (SAMPLE IF TRUE, DELAY FIXED and their like).

    Attributes
    ----------
    following
        What it will be at the next step; for a pipe, what goes in now.
    initial
        Its value at the start; for a pipe, until the first of what went in comes out.
    mode
        `step`, or a pipe: `fixed` gives back what went in a fixed time ago, `material` puts what goes in where it will
        come out after the delay of this moment, `information` does so in place of all that would come out later,
        `line` lets it out in equal shares.
    delay
        How long a pipe is, in time.
    missing
        What comes out of a `material` pipe where nothing does.
    """

    kind: ClassVar[str] = "held value"
    following: Expression
    initial: Expression
    mode: str = "step"
    delay: Expression | None = None
    missing: Expression | None = None


Equation: TypeAlias = Parameter | Auxiliary | Stock | Frozen | Table | Held


@dataclass(frozen=True)
class Horizon:
    """The time a run covers.

    Attributes
    ----------
    start, end
        First and last moment.
    step
        The model's own time step, which fixed-step solvers use and pulses refer to.
    save_every
        Time between saved rows.
    unit
        Unit of time, such as `Year`.
    """

    start: float
    end: float
    step: float
    save_every: float
    unit: str = ""


CONTROLS = ("INITIAL TIME", "FINAL TIME", "TIME STEP", "SAVEPER")
"""Names of the variables that hold the horizon in a model file."""


_AROUND = re.compile(r'"?\s*([\[,\]])\s*"?')
"""What may stand around the brackets and commas of an element's name."""


@lru_cache(maxsize=65536)
def key(name: str) -> str:
    r"""Fold a name the way Vensim compares names: case, spaces, underscores and quotes do not count.

    Examples
    --------
    >>> key('"Shared  Knowledge_Base"')
    'shared_knowledge_base'
    >>> key('"Shared Base"[ North, South ]')
    'shared_base[north,south]'
    >>> key('"North Shop"."goods\\nsold"')
    'north_shop.goods_sold'
    """
    if name.isalnum():
        return name.casefold()
    if "\\n" in name or '"' in name[1:-1]:  # what Stella writes for a new line, and modules in quotes of their own
        name = name.replace("\\n", " ").replace('"."', ".").replace('."', ".").replace('".', ".")
    if name[-1:] == "]":
        name = _AROUND.sub(r"\1", name)
    return re.sub(r"[\s_]+", "_", name.strip().strip('"').strip()).casefold()


MOST_ASKED = 100_000
"""Elements of an array that can be asked for by its name."""


@dataclass(frozen=True, eq=False)
class Model:
    """Equations, units and notes of a model, in the order of its file; it holds no arrays and runs nothing.

    Attributes
    ----------
    name
        File name without suffix.
    source
        Path of the file it came from.
    equations
        All variables, in file order.
    horizon
        The time the file itself asks for.
    ranges
        Named ranges of array variables, with their elements.
    notes
        What was noticed on reading, such as a unit that is not declared.
    arrays
        Of each array variable, by name: name and elements of the range at each position.
    unsupported
        Why a variable of the file cannot be computed, by name.
    origin
        What the file says, equation by equation; `write` needs it.
    whole
        For large arrays, their equations as `whole` prints them; `equations` then has one a variable.
    moving
        For each control variable that varies in a run, the hidden variable with its equation; the control itself is
        a parameter with the value it has at the start.
    """

    name: str
    source: str
    equations: tuple[Equation, ...]
    horizon: Horizon
    ranges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    arrays: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = field(default_factory=dict)
    unsupported: Mapping[str, str] = field(default_factory=dict)
    origin: object = field(default=None, repr=False)
    whole: object = field(default=None, repr=False)
    moving: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _by_key(self) -> dict[str, Equation]:
        return {key(equation.name): equation for equation in self.equations}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the equations: the same for files that mean the same in the same order."""
        lines = [self.name, *(repr(equation) for equation in self.equations), repr(self.horizon)]
        lines += [repr(piece) for piece in getattr(self.whole, "pieces", ())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def __getstate__(self) -> dict[str, object]:
        """What a copy in another process needs: the fields, without what was derived or compiled from them."""
        return {item.name: self.__dict__[item.name] for item in fields(self)}

    def variable(self, name: str) -> Equation:
        """The variable of this name; case, spaces and underscores do not count.

        Raises
        ------
        ModelError
            If there is none; the text names the nearest one.
        """
        found = self._by_key.get(key(name))
        if found is None:
            for other, reason in self.unsupported.items():
                if key(other) == key(name):
                    raise ModelError(f"{self.name} cannot compute '{other}': {reason}")
            if elements := self.elements(name):
                over = ", ".join(position for position, _ in self.arrays[self.array(name)])
                raise ModelError(
                    f"'{self.array(name)}' is an array over {over}; name an element, such as '{elements[0]}'"
                )
            visible = [equation.name for equation in self.equations if not equation.hidden]
            raise ModelError(f"{self.name} has no variable '{name}'{near(name, visible)}")
        return found

    def array(self, name: str) -> str:
        """The modeller's name of an array variable, or nothing where there is none of that name."""
        return next((known for known in self.arrays if key(known) == key(name)), "")

    def elements(self, name: str) -> tuple[str, ...]:
        """Names of the elements of an array variable that have equations, the last subscript fastest."""
        known = self.array(name)
        rows = product(*(elements for _, elements in self.arrays.get(known, ())))
        names = (f"{known}[{','.join(row)}]" for row in rows) if known else ()
        return tuple(name for name in names if key(name) in self._by_key)

    def named(self, name: str) -> tuple[str, ...]:
        """Full names of what a name stands for: a variable, one element of an array, or all of them.

        Raises
        ------
        ModelError
            If there is none of that name, or more elements than can be asked for at once.
        """
        if self.whole is None:
            return self.elements(name) or (self.variable(name).name,)
        ends = [place for place, letter in enumerate(name) if letter == "[" and name.endswith("]")]
        parts = [(self.array(name), ""), *((self.array(name[:place]), name[place + 1 : -1]) for place in ends)]
        known, inside = next((part for part in parts if part[0]), ("", ""))
        if not known or (not inside and known != self.array(name)):
            return (self.variable(name).name,)
        positions = [elements for _, elements in self.arrays[known]]
        if not inside and math.prod(map(len, positions)) > MOST_ASKED:
            raise ModelError(f"'{known}' has more than {MOST_ASKED:,} elements; name some of them, or a sum over them")
        if not inside:
            return tuple(f"{known}[{','.join(row)}]" for row in product(*positions))
        found = [next((e for e in elements if key(e) == key(asked)), None) for asked, elements in
                 zip_longest(inside.split(","), positions, fillvalue="")]  # fmt: skip
        if None in found:
            over = ", ".join(position for position, _ in self.arrays[known])
            raise ModelError(f"'{known}' is an array over {over} and has no element '{inside}'")
        return (f"{known}[{','.join(map(str, found))}]",)

    def full_name(self, name: str) -> str:
        """Full name of a variable without subscripts, or of one element of an array.

        Raises
        ------
        ModelError
            If there is none of that name, or it is an array.
        """
        if self.whole is None:
            return self.variable(name).name
        if array := self.array(name):
            raise ModelError(f"'{array}' is an array; name an element, such as '{self.named(name)[0]}'")
        return self.named(name)[0]

    def report(self) -> "Report":
        """What of the file can be computed and what cannot, with the reasons."""
        visible = [equation.name for equation in self.equations if not equation.hidden]
        own = {name: reason for name, reason in self.unsupported.items() if not reason.startswith("it depends on")}
        led = {name: reason for name, reason in self.unsupported.items() if name not in own}
        return Report(self.name, tuple(visible), own, led, self.notes)

    def __contains__(self, name: str) -> bool:
        return key(name) in self._by_key

    def of_kind(self, kind: type[Variable]) -> Iterator[Equation]:
        """Variables of one kind, hidden ones too, in file order."""
        return (equation for equation in self.equations if isinstance(equation, kind))

    @cached_property
    def stocks(self) -> tuple[str, ...]:
        """Names of the stocks the modeller wrote, in file order."""
        return tuple(equation.name for equation in self.of_kind(Stock) if not equation.hidden)

    @cached_property
    def auxiliaries(self) -> tuple[str, ...]:
        """Names of the computed variables the modeller wrote, in file order."""
        return tuple(
            equation.name
            for equation in self.equations
            if isinstance(equation, Auxiliary | Frozen) and not equation.hidden
        )

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The constants a scenario may set, by name."""
        return {equation.name: equation for equation in self.equations if isinstance(equation, Parameter)}

    def symbolic(self) -> "OdeSystem":
        """SymPy's view of the equations: stocks, auxiliaries and net flows as symbols and expressions."""
        from sd_cluster.symbols import ode_system

        return ode_system(self)

    def table(self) -> "pd.DataFrame":
        """One row a variable: name, kind, value, units, low, high, note, equation."""
        import pandas as pd

        rows = [
            {
                "name": equation.name,
                "kind": equation.kind,
                "value": equation.value if isinstance(equation, Parameter) else None,
                "units": equation.units,
                "low": equation.low,
                "high": equation.high,
                "note": equation.note,
                "equation": written(equation),
            }
            for equation in self.equations
            if not equation.hidden
        ]
        return pd.DataFrame(rows).astype({"value": float, "low": float, "high": float}).set_index("name")


LIST = "; supported: "
"""What stands before the list of all functions, which a report shows once."""


@dataclass(frozen=True)
class Report:
    """What of a model file can be computed.

    Attributes
    ----------
    model
        Its name.
    computed
        Variables that can be computed.
    unsupported
        Variables that cannot, with the reason.
    dependent
        Variables that cannot because they depend on those.
    notes
        What else was noticed on reading.
    """

    model: str
    computed: tuple[str, ...]
    unsupported: Mapping[str, str]
    dependent: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.model}: {len(self.computed)} variables can be computed"]
        for title, part in (("cannot be computed", self.unsupported), ("dependent on these", self.dependent)):
            if part:
                lines.append(f"{len(part)} {title}:")
                lines += [f"    {name}: {reason.partition(LIST)[0]}" for name, reason in part.items()]
        listed = next((reason.partition(LIST)[2] for reason in self.unsupported.values() if LIST in reason), "")
        lines += [f"supported: {listed}"] if listed else []
        return "\n".join([*lines, *self.notes])


def written(equation: Equation) -> str:
    """The equation of a variable as a person would read it."""
    match equation:
        case Parameter():
            return f"{equation.value:g}"
        case Auxiliary() if equation.initial is not None:
            return f"active initial({text(equation.expression)}, {text(equation.initial)})"
        case Auxiliary():
            return text(equation.expression)
        case Frozen():
            return f"initial({text(equation.expression)})"
        case Stock():
            return f"integ({text(equation.rate)}, {text(equation.initial)})"
        case Held():
            return f"{equation.mode}({text(equation.following)}, {text(equation.initial)})"
        case Table():
            return ", ".join(f"({x:g}, {y:g})" for x, y in zip(equation.x, equation.y, strict=True))
