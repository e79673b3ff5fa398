"""Measures: what is asked of each run, as a number or as a course over time.

A measure reads saved times only, straight between them: save more often to see whether an answer moves.
`measure > level` and `measure < level` make a `Condition`, which is what scenario discovery looks for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from sd_cluster.errors import ModelError
from sd_cluster.kernel import Floats
from sd_cluster.run import Run

Columns: TypeAlias = Mapping[str, Floats]
"""Values of variables by name, each of shape (n_runs, n_times)."""


@runtime_checkable
class Measure(Protocol):
    """What a measure can do.

    `label` names it in tables; `variables` are the ones it reads (none means: whatever was saved); `over_time`
    says whether it answers with a course, (n_runs, n_times), or with a number, (n_runs,). A run for which there
    is no answer gets NaN.
    """

    @property
    def label(self) -> str:
        """How tables call it."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables it reads."""

    @property
    def over_time(self) -> bool:
        """Whether it answers with a course over time."""

    def read(self, times: Floats, columns: Columns, units: Mapping[str, str]) -> Floats:
        """Answer for all runs: shape (n_runs,), or (n_runs, n_times) over time."""


class _Number:
    """Compares to a level, giving a `Condition`."""

    def __gt__(self: "Measure", level: float) -> "Condition":
        return Condition(self, ">", float(level))

    def __lt__(self: "Measure", level: float) -> "Condition":
        return Condition(self, "<", float(level))


@dataclass(frozen=True)
class Course:
    """A variable at all saved times, in its own unit."""

    variable: str

    @property
    def label(self) -> str:
        """The variable's name."""
        return self.variable

    @property
    def variables(self) -> tuple[str, ...]:
        """The variable."""
        return (self.variable,)

    @property
    def over_time(self) -> bool:
        """Always."""
        return True

    def read(self, times: Floats, columns: Columns, units: Mapping[str, str]) -> Floats:
        """Give the saved values, shape (n_runs, n_times)."""
        return columns[self.variable]


@dataclass(frozen=True)
class _Scalar(_Number):
    """One variable read into one number a run."""

    variable: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The variable."""
        return (self.variable,)

    @property
    def over_time(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class Final(_Scalar):
    """A variable at the last saved time, in its own unit.

    Examples
    --------
    >>> Final("trust").read(np.array([0.0, 1.0]), {"trust": np.array([[0.2, 0.5]])}, {})
    array([0.5])
    """

    @property
    def label(self) -> str:
        """As in `final trust`."""
        return f"final {self.variable}"

    def read(self, times: Floats, columns: Columns, units: Mapping[str, str]) -> Floats:
        """Give the last value, shape (n_runs,)."""
        return columns[self.variable][:, -1]


@dataclass(frozen=True)
class At(_Scalar):
    """A variable at a year, in its own unit, straight between saved times.

    Raises
    ------
    ModelError
        On reading, if the year lies outside the saved times.

    Examples
    --------
    >>> At("trust", 0.5).read(np.array([0.0, 1.0]), {"trust": np.array([[0.2, 0.5]])}, {})
    array([0.35])
    """

    year: float

    @property
    def label(self) -> str:
        """As in `trust in 1990`."""
        return f"{self.variable} in {self.year:g}"

    def read(self, times: Floats, columns: Columns, units: Mapping[str, str]) -> Floats:
        """Give the value at the year, shape (n_runs,)."""
        if not times[0] <= self.year <= times[-1]:
            raise ModelError(f"{self.label}: the runs go from {times[0]:g} to {times[-1]:g}")
        after = int(np.clip(np.searchsorted(times, self.year), 1, max(1, len(times) - 1)))
        values = columns[self.variable]
        if len(times) == 1:
            return values[:, 0]
        share = (self.year - times[after - 1]) / (times[after] - times[after - 1])
        found: Floats = values[:, after - 1] * (1.0 - share) + values[:, after] * share
        return found


@dataclass(frozen=True)
class Peak(_Scalar):
    """The highest saved value of a variable, in its own unit.

    Examples
    --------
    >>> Peak("trust").read(np.array([0.0, 1.0, 2.0]), {"trust": np.array([[0.2, 0.5, 0.4]])}, {})
    array([0.5])
    """

    @property
    def label(self) -> str:
        """As in `peak trust`."""
        return f"peak {self.variable}"

    def read(self, times: Floats, columns: Columns, units: Mapping[str, str]) -> Floats:
        """Give the maximum, shape (n_runs,)."""
        highest: Floats = columns[self.variable].max(axis=1)
        return highest


@dataclass(frozen=True)
class FirstAbove(_Scalar):
    """The time at which a variable first rises above a level, straight between saved times.

    Attributes
    ----------
    variable
    level
        In the variable's unit. A run that starts above it answers with the first saved time.
    otherwise
        What a run that never rises above the level answers. Without it such a run has no answer and counts as lost,
        because leaving it out in silence would answer for the early risers alone; the end of the horizon is a
        common choice.

    Examples
    --------
    A cluster of 40, 60, then 100 firms has its eightieth halfway through the second year:

    >>> firms = {"firms": np.array([[40.0, 60.0, 100.0]])}
    >>> FirstAbove("firms", 80.0).read(np.array([2000.0, 2001.0, 2002.0]), firms, {})
    array([2001.5])
    """

    level: float
    otherwise: float | None = None

    @property
    def label(self) -> str:
        """As in `first year of trust above 0.5`."""
        return f"first time of {self.variable} above {self.level:g}"

    def read(self, times: Floats, columns: Columns, units: Mapping[str, str]) -> Floats:
        """Give the time of the first crossing, shape (n_runs,)."""
        values = columns[self.variable]
        above = values > self.level
        first = np.argmax(above, axis=1)
        rows = np.arange(len(values))
        before = np.maximum(first - 1, 0)
        low, high = values[rows, before], values[rows, first]
        share = np.where(first > 0, (self.level - low) / np.where(high > low, high - low, 1.0), 0.0)
        found: Floats = times[before] + share * (times[first] - times[before])
        broken = ~np.isfinite(values).all(axis=1)
        never = np.nan if self.otherwise is None else float(self.otherwise)
        return np.where(broken, np.nan, np.where(above.any(axis=1), found, never))


@dataclass(frozen=True)
class Cumulated(_Scalar):
    """What a flow adds up to over the run, in the flow's unit times the unit of time.

    By the trapezoidal rule over saved times.

    Examples
    --------
    >>> Cumulated("patents").read(np.array([0.0, 1.0, 3.0]), {"patents": np.array([[10.0, 10.0, 20.0]])}, {})
    array([40.])
    """

    @property
    def label(self) -> str:
        """As in `cumulated patenting`."""
        return f"cumulated {self.variable}"

    def read(self, times: Floats, columns: Columns, units: Mapping[str, str]) -> Floats:
        """Give the integral, shape (n_runs,)."""
        return np.asarray(np.trapezoid(columns[self.variable], times, axis=1), dtype=float)


@dataclass(frozen=True)
class Computed(_Number):
    """A number that a function of yours works out from each run.

    Attributes
    ----------
    label
        What to call it.
    function
        Takes a `Run`, which has `variables` as its columns, and gives a number.
    variables
        What the function reads. Runs hold nothing else.

    Examples
    --------
    >>> growth = Computed("growth of trust", lambda run: run["trust"][-1] - run["trust"][0], ("trust",))
    >>> growth.read(np.array([0.0, 1.0]), {"trust": np.array([[0.2, 0.5]])}, {"trust": "dmnl"})
    array([0.3])
    """

    label: str
    function: Callable[[Run], float]
    variables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))

    @property
    def over_time(self) -> bool:
        """Never."""
        return False

    def read(self, times: Floats, columns: Columns, units: Mapping[str, str]) -> Floats:
        """Give the function's answers, shape (n_runs,); NaN for runs that failed."""
        names = tuple(columns)
        stacked = np.stack([columns[name] for name in names], axis=2)
        told = tuple(units.get(name, "") for name in names)
        answers = np.full(len(stacked), np.nan)
        for number in np.flatnonzero(np.isfinite(stacked).all(axis=(1, 2))):
            answers[number] = float(self.function(Run(times, stacked[number], names, told, f"draw {number}")))
        return answers


Output: TypeAlias = str | Measure | Callable[[Run], float]
"""How a user says an output: the name of a variable, a measure, or a function of the run."""


@dataclass(frozen=True)
class Condition:
    """A measure above or below a level: true or false for each run.

    Examples
    --------
    >>> print(Final("trust") > 0.5)
    final trust > 0.5
    """

    measure: Measure
    side: str
    level: float

    def holds(self, answers: Floats) -> Floats:
        """Say for each answer whether it lies on the right side: 1, 0, or NaN where there is no answer."""
        met = answers > self.level if self.side == ">" else answers < self.level
        return np.where(np.isfinite(answers), met, np.nan)

    def __str__(self) -> str:
        return f"{self.measure.label} {self.side} {self.level:g}"


def measures_of(of: Output | Sequence[Output]) -> tuple[Measure, ...]:
    """Turn what a user says of outputs into measures.

    Raises
    ------
    ModelError
        If nothing is asked, or something is asked twice.
    """
    several = [of] if isinstance(of, str) or callable(of) or isinstance(of, Measure) else list(of)
    if not several:
        raise ModelError("no output is asked for; name a variable, as in of='trust', or a measure, of=Final('trust')")
    found: list[Measure] = []
    for one in several:
        if isinstance(one, str):
            found.append(Course(one))
        elif isinstance(one, Measure):
            found.append(one)
        elif callable(one):
            found.append(
                Computed(getattr(one, "__name__", "answer").replace("_", " ").replace("<lambda>", "answer"), one)
            )
        else:
            raise ModelError(f"an output is {one!r}; give the name of a variable, a measure or a function of a Run")
    labels = [one.label for one in found]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise ModelError(f"'{min(twice)}' is asked for twice; ask once, or give functions different names")
    return tuple(found)
