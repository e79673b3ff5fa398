"""How one parameter is uncertain: a range, a range of logarithms, a distribution, or a function of these."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from sd_cluster.errors import ScenarioError
from sd_cluster.kernel import Floats

EDGE = 0.001
"""A side without an end is taken to end where this share of the probability lies beyond."""

TAIL = 1e-9
"""No draw lies further out in a tail than this share: six standard deviations of a normal."""


class Frozen(Protocol):
    """What is asked of a distribution of `scipy.stats`, frozen: its quantiles."""

    def ppf(self, q: Any, /) -> Any:
        """Values below which the shares `q` lie."""


class Marginal(Protocol):
    """One uncertain parameter."""

    @property
    def low(self) -> float:
        """Low end, -inf for a tail."""

    @property
    def high(self) -> float:
        """High end, inf for a tail."""

    def quantile(self, share: Floats) -> Floats:
        """Values below which these shares of the probability lie, same shape."""

    def __str__(self) -> str:
        """In words, for tables and records."""


@dataclass(frozen=True)
class Range:
    """Any value between two ends alike."""

    low: float
    high: float

    def quantile(self, share: Floats) -> Floats:
        """Values at these places of the range; never outside it by rounding."""
        values: Floats = np.clip(self.low + share * (self.high - self.low), self.low, self.high)
        return values

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogRange:
    """Any ratio alike between two positive ends: for rates and sizes known within a factor.

    Examples
    --------
    Half of the draws lie below the geometric mean of the ends:

    >>> LogRange(0.01, 1.0).quantile(np.array([0.0, 0.5, 1.0]))
    array([0.01, 0.1 , 1.  ])
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        low, high = float(self.low), float(self.high)
        if not (math.isfinite(high) and 0.0 < low < high):
            raise ScenarioError(
                f"a range of logarithms goes from {low:g} to {high:g}; both ends should be positive, low below high"
            )
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def quantile(self, share: Floats) -> Floats:
        """Values at these places between the logarithms of the ends."""
        start, end = math.log(self.low), math.log(self.high)
        values: Floats = np.clip(np.exp(start + share * (end - start)), self.low, self.high)
        return values

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, logarithmic"


@dataclass(frozen=True)
class Distribution:
    """A distribution of `scipy.stats`, frozen (`scipy.stats.lognorm(0.5)`) or of its newer kind (`Normal(mu=0)`)."""

    law: Any

    def __post_init__(self) -> None:
        probes = self.quantile(np.array([EDGE, 0.5, 1.0 - EDGE]))
        if not np.isfinite(probes).all():
            raise ScenarioError(f"{self} has no quantiles; look at its parameters")
        if probes[0] == probes[-1]:
            raise ScenarioError(f"{self} has one value only, {probes[0]:g}; set it in the scenario instead")

    @property
    def low(self) -> float:
        """Low end, -inf for a tail."""
        return float(self.law.support()[0])

    @property
    def high(self) -> float:
        """High end, inf for a tail."""
        return float(self.law.support()[1])

    def quantile(self, share: Floats) -> Floats:
        """The distribution's own quantiles."""
        inverse = getattr(self.law, "ppf", None) or self.law.icdf
        return np.asarray(inverse(np.clip(share, TAIL, 1.0 - TAIL)), dtype=float)

    def __str__(self) -> str:
        if not hasattr(self.law, "dist"):
            return str(self.law).lower().replace("np.float64", "").replace("((", "(").replace("))", ")")
        given = [f"{value:g}" for value in self.law.args]
        given += [f"{name}={value:g}" for name, value in self.law.kwds.items()]
        return f"{self.law.dist.name}({', '.join(given)})"


@dataclass(frozen=True)
class Transformed:
    """A function of an uncertain quantity, such as `Transformed((-3, -1), lambda power: 10**power)`.

    Attributes
    ----------
    of
        A range (low, high), a frozen distribution, a `LogRange`, or another `Transformed`.
    function
        Takes and gives an array; rising or falling throughout. A function with a name can be sent to other
        processes, a lambda cannot.

    Raises
    ------
    ScenarioError
        If the function gives what is not finite, or turns back within the range.
    """

    of: "Entry"
    function: Callable[[Floats], Floats]

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", marginal("the transformed quantity", self.of))
        probes = np.asarray(self.quantile(np.linspace(EDGE, 1.0 - EDGE, 101)), dtype=float)
        steps = np.diff(probes)
        if probes.shape != (101,) or not np.isfinite(probes).all():
            raise ScenarioError(f"{self} is not finite everywhere; look at its range")
        if not ((steps >= 0).all() or (steps <= 0).all()) or probes[0] == probes[-1]:
            raise ScenarioError(f"{self} turns back within its range; it should rise or fall throughout")

    def _ends(self) -> tuple[float, float]:
        of: Any = self.of
        with np.errstate(all="ignore"):
            ends = np.asarray(self.function(np.array([of.low, of.high])), dtype=float)
        return float(ends.min()), float(ends.max())

    @property
    def low(self) -> float:
        """Low end."""
        return self._ends()[0]

    @property
    def high(self) -> float:
        """High end."""
        return self._ends()[1]

    def quantile(self, share: Floats) -> Floats:
        """The function of the quantiles; for a falling function of the shares from above."""
        of: Any = self.of
        with np.errstate(all="ignore"):
            ends = np.asarray(self.function(of.quantile(np.array([EDGE, 1.0 - EDGE]))), dtype=float)
            return np.asarray(self.function(of.quantile(share if ends[0] <= ends[1] else 1.0 - share)), dtype=float)

    def __str__(self) -> str:
        return f"{getattr(self.function, '__name__', 'a function')} of {self.of}"


Entry: TypeAlias = (
    "tuple[float, float] | list[float] | Frozen | Marginal | Range | LogRange | Distribution | Transformed"
)
"""What a space takes for one parameter."""


def marginal(name: str, entry: Any) -> Range | LogRange | Distribution | Transformed:
    """Make of what the user gave for one parameter what can be drawn from.

    Raises
    ------
    ScenarioError
        If it is neither two finite numbers, low before high, nor a frozen distribution.
    """
    if isinstance(entry, Range | LogRange | Distribution | Transformed):
        return entry
    if hasattr(entry, "ppf") or hasattr(entry, "icdf"):
        if hasattr(entry, "freeze") and not hasattr(entry, "dist"):
            raise ScenarioError(
                f"'{name}' is given the family '{entry.name}'; give one distribution of it,"
                f" as in scipy.stats.{entry.name}(...)"
            )
        try:
            return Distribution(entry)
        except ScenarioError as error:
            raise ScenarioError(f"the distribution of '{name}': {error}") from None
    try:
        low, high = map(float, entry)
    except (TypeError, ValueError):
        raise ScenarioError(f"the range of '{name}' is {entry!r}; give two numbers, (low, high)") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ScenarioError(f"the range of '{name}' goes from {low:g} to {high:g}; low should be below high")
    return Range(low, high)


def bounds(one: Marginal) -> tuple[float, float]:
    """Finite low and high of a parameter: its ends, or for a tail the place beyond which `EDGE` of it lies.

    Examples
    --------
    >>> bounds(Range(0.0, 2.0))
    (0.0, 2.0)
    """
    edges = one.quantile(np.array([EDGE, 1.0 - EDGE]))
    low = one.low if math.isfinite(one.low) else float(edges[0])
    high = one.high if math.isfinite(one.high) else float(edges[1])
    return low, high
