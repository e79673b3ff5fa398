"""How the variables of a model become the statistics of an office: level, yearly total, share, index, unknown scale.

Time convention. A figure for the year Y is set against the model at time Y, the model's own reading of that
year. Where a figure belongs to another moment, its gauge says so with `at`, a fraction of a year after Y: with
a model whose time 2004.0 is the first of January, a count at the end of 2004 has `at=1.0`.

Every gauge also gives the derivatives of its statistic, so that gradients pass through a measurement exactly.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import Floats
from sd_cluster.errors import DataError, FitError, SimulationError, near

Chain = tuple[NDArray[np.intp], NDArray[np.intp], Floats]
"""Places (n_years, n_points), columns (n_variables,) and slopes (n_years, n_points, n_variables) of one indicator."""

_SIMPSON = np.array([1.0, 4.0, 2.0, 4.0, 1.0]) / 12.0

Record = TypeVar("Record")


class Gauge(Protocol):
    """What a measurement asks of a gauge: where it looks, and what it reads there."""

    @property
    def variables(self) -> tuple[str, ...]:
        """The model variables it looks at."""

    @property
    def variable(self) -> str:
        """The first of them, by which it is named."""

    @property
    def scale(self) -> bool:
        """True where statistic and variable differ by an unknown constant factor."""

    def times(self, years: Floats) -> Floats:
        """Model times needed for these years, shape (n_years, n_points)."""

    def read(self, samples: Floats, years: Floats) -> Floats:
        """One statistic per year, shape (n_years,), from samples of shape (n_years, n_points, n_variables)."""

    def slopes(self, samples: Floats, years: Floats) -> Floats:
        """Derivatives of `read` by the samples, in their shape."""


class _OneVariable:
    """What gauges of one variable share."""

    variable: str

    def __post_init__(self) -> None:
        check(self)

    @property
    def variables(self) -> tuple[str, ...]:
        """The variable."""
        return (self.variable,)


class _Linear(_OneVariable):
    """A weighted sum over the points of each year, of one variable or of several added up."""

    plus: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.plus, list | tuple) or not all(
            isinstance(name, str) and name.strip() for name in self.plus
        ):
            raise wrong(self, "plus", "the names of further variables, such as ['derivation']")
        if self.plus:
            object.__setattr__(self, "plus", tuple(self.plus))

    @property
    def variables(self) -> tuple[str, ...]:
        """The variable, and those added to it."""
        return (self.variable, *self.plus)

    def weights(self, years: Floats) -> Floats:
        """Weight of each point, shape (n_points,) or (n_years, n_points)."""
        raise NotImplementedError

    def read(self, samples: Floats, years: Floats) -> Floats:
        """The weighted sum, shape (n_years,)."""
        total: Floats = (samples.sum(axis=2) * self.weights(years)).sum(axis=1)
        return total

    def slopes(self, samples: Floats, years: Floats) -> Floats:
        """The weights, in the shape of the samples."""
        found = np.empty(samples.shape)
        found[...] = self.weights(years)[..., None]
        return found


@dataclass(frozen=True)
class Level(_Linear):
    """The variable itself at one moment of the year: employees, firms, a yearly rate.

    Attributes
    ----------
    variable
        Name of the model variable.
    scale
        True if statistic and variable are proportional with an unknown factor, as revenue in billions
        and an index of output are; the factor is then solved from the data.
    at
        Moment of the observation, in years after the model time of its year.
    plus
        Names of further variables that are counted along with it.
    """

    variable: str
    scale: bool = False
    at: float = 0.0
    plus: Sequence[str] = field(default=(), kw_only=True)

    def times(self, years: Floats) -> Floats:
        """One moment per year."""
        return years[:, None] + self.at

    def weights(self, years: Floats) -> Floats:
        """The value at that moment."""
        return np.ones(1)


@dataclass(frozen=True)
class Rate(_Linear):
    """A year's total of a flow: its integral over the year that ends at the reported time.

    The total for the year Y runs from Y - 1 + at to Y + at. The integral is Simpson's, over quarters, exact
    for a flow that is a cubic within half a year.

    Attributes
    ----------
    variable
        Name of a flow, in units per year.
    scale
        As for `Level`.
    at
        End of the reported year, in years after the model time of that year.
    plus
        Names of further flows that are counted along with it, as entrants from outside and spin-offs are.

    Examples
    --------
    >>> Rate("entry", plus=["derivation"]).variables
    ('entry', 'derivation')
    """

    variable: str
    scale: bool = False
    at: float = 0.0
    plus: Sequence[str] = field(default=(), kw_only=True)

    def times(self, years: Floats) -> Floats:
        """Five moments, a quarter of a year apart."""
        return years[:, None] + self.at + np.linspace(-1.0, 0.0, _SIMPSON.size)

    def weights(self, years: Floats) -> Floats:
        """Simpson's over the year."""
        return _SIMPSON


@dataclass(frozen=True)
class Lagged(Rate):
    """A year's total of a flow some years earlier, as patents are granted years after the idea.

    The total for the year Y runs from Y - 1 - lag + at to Y - lag + at, by the rule of `Rate`.

    Attributes
    ----------
    lag
        Years from the event to its figure, zero or more; need not be whole.

    Examples
    --------
    >>> Lagged("patents granted", lag=2).times(np.array([2004.0]))
    array([[2001.  , 2001.25, 2001.5 , 2001.75, 2002.  ]])
    """

    lag: float = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lag < 0.0:
            raise wrong(self, "lag", "zero or more years; for a figure that comes before the event use at")

    def times(self, years: Floats) -> Floats:
        """Five moments, a quarter of a year apart."""
        return super().times(years) - self.lag


@dataclass(frozen=True)
class Cumulated(_Linear):
    """The count of a flow since a year: its integral from the model time `since` to the reported time.

    Simpson's rule goes back from the reported time in quarters; what remains before the first whole half-year is
    one panel more. It is exact for a flow that is a cubic within half a year.

    Attributes
    ----------
    variable
        Name of a flow, in units per year.
    since
        Model time at which the count is zero.
    scale
        As for `Level`.
    at
        Moment of the observation, in years after the model time of its year; `since` stays where it is.
    plus
        Names of further flows that are counted along with it.

    Raises
    ------
    DataError
        On asking for its times, if a year does not lie after `since`.
    """

    variable: str
    since: float
    scale: bool = False
    at: float = 0.0
    plus: Sequence[str] = field(default=(), kw_only=True)

    def times(self, years: Floats) -> Floats:
        """The ends and middle of the first panel, then quarters; a year that is done repeats its end."""
        length = self._length(years)
        halves, rest = self._halves(length)
        quarters = np.arange(2 * halves.max(initial=0) + 1) / 4.0
        after = np.minimum(rest[:, None] + quarters, length[:, None])
        return np.column_stack([np.zeros_like(rest), rest / 2.0, after]) + self.since

    def weights(self, years: Floats) -> Floats:
        """Simpson's over the first panel and over the quarters; none for a repeated end."""
        halves, rest = self._halves(self._length(years))
        number = np.arange(2 * halves.max(initial=0) + 1)
        last = 2 * halves[:, None]
        inner = np.where(number % 2 == 1, 4.0, 2.0) / 12.0
        ends = (number == 0) | (number == last)
        quarters = np.where((number > last) | (last == 0), 0.0, np.where(ends, 1.0 / 12.0, inner))
        quarters[:, 0] += rest / 6.0
        return np.column_stack([rest / 6.0, rest * 4.0 / 6.0, quarters])

    def _length(self, years: Floats) -> Floats:
        length = years + self.at - self.since
        early = years[length <= 0.0]
        if early.size:
            raise DataError(
                f"the count of '{self.variable}' since {self.since:g} has no figure yet in {early[0]:g}; "
                "drop that figure or count from an earlier year"
            )
        return length

    @staticmethod
    def _halves(length: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Whole half-years, and what remains."""
        halves = np.floor(2.0 * length + 1e-6).astype(np.int64)
        rest: Floats = np.maximum(length - halves / 2.0, 0.0)
        return halves, rest


@dataclass(frozen=True)
class Survey(_Linear):
    """The answer to a question with a bounded scale, of a variable between 0 and 1: trust on a scale from 1 to 5.

    Attributes
    ----------
    variable
        Name of a model variable that lies between 0 and 1.
    low, high
        Answers that stand for 0 and for 1; `low` above `high` where the best answer has the least number.
    at
        Moment of the survey, in years after the model time of its year.
    """

    variable: str
    low: float = 0.0
    high: float = 1.0
    at: float = 0.0

    scale: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low == self.high:
            raise wrong(self, "high", f"a number other than low, {self.low:g}")

    def times(self, years: Floats) -> Floats:
        """One moment per year."""
        return years[:, None] + self.at

    def weights(self, years: Floats) -> Floats:
        """Width of the scale."""
        return np.array([self.high - self.low])

    def read(self, samples: Floats, years: Floats) -> Floats:
        """The place on the scale, shape (n_years,)."""
        return self.low + super().read(samples, years)


class _Ratio(_OneVariable):
    """One moment over another, in which an unknown scale would cancel."""

    scale: ClassVar[bool] = False

    def read(self, samples: Floats, years: Floats) -> Floats:
        """The ratio, shape (n_years,)."""
        ratio: Floats = samples[:, 0, 0] / self._below(samples)
        return ratio

    def slopes(self, samples: Floats, years: Floats) -> Floats:
        """Derivatives of the ratio by both."""
        below = self._below(samples)
        slopes: Floats = np.stack([1.0 / below, -samples[:, 0, 0] / below**2], axis=1)[:, :, None]
        return slopes

    def _below(self, samples: Floats) -> Floats:
        return _not_zero(samples[:, 1, 0], self.variable, self.variable)


@dataclass(frozen=True)
class Growth(_Ratio):
    """The relative change of the variable over a year, as a fraction: 0.03 where it grew by 3 %.

    Attributes
    ----------
    variable
        Name of the model variable; an unknown scale would cancel.
    at
        End of the year of growth, in years after the model time of its year.
    """

    variable: str
    at: float = 0.0

    def times(self, years: Floats) -> Floats:
        """The moment itself, and a year before."""
        moments: Floats = years[:, None] + self.at + np.array([0.0, -1.0])
        return moments

    def read(self, samples: Floats, years: Floats) -> Floats:
        """The ratio less one, shape (n_years,)."""
        growth: Floats = super().read(samples, years) - 1.0
        return growth


@dataclass(frozen=True)
class Index(_Ratio):
    """The variable relative to a base year, which stands at 100.

    Attributes
    ----------
    variable
        Name of the model variable.
    base_year
        The year in which the index is `base`.
    base
        Value of the index in that year.
    at
        Moment of the observation, in years after the model time of its year; it moves the base too.
    """

    variable: str
    base_year: float
    base: float = 100.0
    at: float = 0.0

    def times(self, years: Floats) -> Floats:
        """The moment itself, and that of the base year."""
        return np.column_stack([years, np.full_like(years, self.base_year)]) + self.at

    def read(self, samples: Floats, years: Floats) -> Floats:
        """The ratio times the base, shape (n_years,)."""
        return self.base * super().read(samples, years)

    def slopes(self, samples: Floats, years: Floats) -> Floats:
        """Derivatives of the index by both."""
        slopes: Floats = self.base * super().slopes(samples, years)
        return slopes


@dataclass(frozen=True)
class Share:
    """One variable over another, or over a sum of others, as a fraction.

    Attributes
    ----------
    variable
        The part.
    whole
        Name of the whole, or the names of what it is the sum of; the part itself may be among them.
    scale
        As for `Level`; True also for figures in per cent, whose factor is then solved rather than set to 100.
    at
        Moment of the observation, in years after the model time of its year.

    Examples
    --------
    >>> Share("engineers", ["engineers", "workers"]).variables
    ('engineers', 'engineers', 'workers')
    """

    variable: str
    whole: str | Sequence[str]
    scale: bool = False
    at: float = 0.0

    def __post_init__(self) -> None:
        whole = (self.whole,) if isinstance(self.whole, str) else self.whole
        check(self)
        if not whole or not isinstance(whole, Sequence) or not all(isinstance(name, str) and name for name in whole):
            raise wrong(self, "whole", "the name of a variable, or the names of those that make up the whole")
        object.__setattr__(self, "whole", tuple(whole))

    @property
    def variables(self) -> tuple[str, ...]:
        """The part, then what makes up the whole."""
        return (self.variable, *self.whole)

    def times(self, years: Floats) -> Floats:
        """One moment per year."""
        return years[:, None] + self.at

    def read(self, samples: Floats, years: Floats) -> Floats:
        """Part over whole, shape (n_years,)."""
        share: Floats = samples[:, 0, 0] / self._total(samples)
        return share

    def slopes(self, samples: Floats, years: Floats) -> Floats:
        """Derivatives by the part and by each summand of the whole."""
        total = self._total(samples)
        found = np.repeat((-samples[:, 0, 0] / total**2)[:, None, None], samples.shape[2], axis=2)
        found[:, 0, 0] = 1.0 / total
        return found

    def _total(self, samples: Floats) -> Floats:
        return _not_zero(samples[:, 0, 1:].sum(axis=1), self.variable, " + ".join(self.whole))


@dataclass(frozen=True)
class Shift:
    """A break in a series: from a year on, its figures are multiplied by a factor, as after a new definition.

    Attributes
    ----------
    year
        First year of the new level.
    factor
        Above zero; None where it is unknown, and estimated as its logarithm.
    """

    year: float
    factor: float | None = None

    def __post_init__(self) -> None:
        if not is_number(self.year):
            raise FitError(f"a level shift has the year {self.year!r}; expected a number")
        if self.factor is not None and not (is_number(self.factor) and self.factor > 0.0):
            raise FitError(
                f"the level shift from {self.year:g} has the factor {self.factor!r}; expected a number above zero, or "
                "none where it is unknown"
            )


@dataclass(frozen=True)
class Measurement:
    """Which gauge reads which indicator, and where a series breaks.

    Attributes
    ----------
    gauges
        From the name of an indicator in the dataset to its gauge.
    shifts
        From the name of an indicator to its level shifts, each from another year on; they are kept in order of year.

    Raises
    ------
    FitError
        If there is no gauge, or a shift that belongs to no gauge or to the same year as another.

    Examples
    --------
    >>> gauges = Measurement({"firms": Level("member firms"), "revenue": Level("revenue", scale=True)})
    >>> gauges.variables
    ('member firms', 'revenue')
    """

    gauges: Mapping[str, Gauge]
    shifts: Mapping[str, Sequence[Shift]] = field(default_factory=dict)
    _found: dict[tuple[str, bytes, bytes], tuple[NDArray[np.intp], NDArray[np.intp]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.gauges:
            raise FitError("the measurement is empty; name an indicator, such as {'firms': Level('member firms')}")
        for indicator, gauge in self.gauges.items():
            if not hasattr(gauge, "read") or not hasattr(gauge, "times"):
                raise FitError(
                    f"'{indicator}' is measured by {gauge!r}; expected a gauge, such as Level('member firms')"
                )
        object.__setattr__(self, "gauges", dict(self.gauges))
        for indicator in self.shifts:
            if indicator not in self.gauges:
                raise FitError(f"'{indicator}' has a level shift, but no gauge{near(indicator, self.gauges)}")
        shifts = {name: _in_order(name, self.shifts[name]) for name in self.gauges if name in self.shifts}
        object.__setattr__(self, "shifts", shifts)

    @property
    def variables(self) -> tuple[str, ...]:
        """The model variables needed, each once, in the order of the gauges."""
        return tuple(dict.fromkeys(name for gauge in self.gauges.values() for name in gauge.variables))

    @property
    def shift_unknowns(self) -> tuple[tuple[str, float], ...]:
        """Indicator and year of each shift whose factor is unknown: in the order of the gauges, then of the years."""
        return tuple((name, one.year) for name, some in self.shifts.items() for one in some if one.factor is None)

    def times(self, years: Mapping[str, Floats]) -> Floats:
        """The model times needed, each once, increasing.

        Parameters
        ----------
        years : indicator -> shape (n_years,)
            Years that have a figure.
        """
        return np.unique(np.concatenate([self._asked(name, some).ravel() for name, some in years.items()]))

    def points(
        self, years: Mapping[str, Floats], times: Floats
    ) -> Iterator[tuple[str, tuple[NDArray[np.intp], NDArray[np.intp]]]]:
        """Where each indicator looks at the trajectory, arguments as for `predict`.

        Yields
        ------
        indicator, (places, columns)
            Rows of the outputs, shape (n_years, n_points), and columns, shape (n_variables,).
        """
        for name, some in years.items():
            yield name, self._places(name, some, times)

    def predict(self, years: Mapping[str, Floats], times: Floats, outputs: Floats) -> Iterator[tuple[str, Floats]]:
        """Each indicator's statistics, without its unknown scale and its level shifts.

        Parameters
        ----------
        years : indicator -> shape (n_years,)
            Years that have a figure.
        times : shape (n_times,)
            What `times(years)` gave.
        outputs : shape (n_times, n_variables)
            The trajectory at those times, columns as in `variables`.

        Yields
        ------
        indicator, statistics : shape (n_years,)
        """
        for name, (places, columns) in self.points(years, times):
            yield name, self.gauges[name].read(outputs[places[:, :, None], columns], years[name])

    def slopes(self, years: Mapping[str, Floats], times: Floats, outputs: Floats) -> Iterator[tuple[str, Chain]]:
        """What the chain rule needs from trajectory to statistic, arguments as for `predict`.

        The derivative of the statistic of year y by `outputs[places[y, p], columns[v]]` is the sum of `slopes[y, p, v]`
        over all p and v that point there.

        Yields
        ------
        indicator, (places, columns, slopes)
            Rows of `outputs`, shape (n_years, n_points); its columns, shape (n_variables,); derivatives, shape
            (n_years, n_points, n_variables).
        """
        for name, (places, columns) in self.points(years, times):
            yield name, (places, columns, self.gauges[name].slopes(outputs[places[:, :, None], columns], years[name]))

    def shift_factors(self, indicator: str, years: Floats, values: Floats) -> tuple[Floats, Floats]:
        """What the level shifts of an indicator multiply its statistics by.

        Parameters
        ----------
        indicator
        years : shape (n_years,)
        values : shape (n_unknowns,)
            Logarithms of the unknown factors of this indicator, in the order of `shift_unknowns`.

        Returns
        -------
        factors : shape (n_years,)
        slopes : shape (n_years, n_unknowns)
            Derivatives of the factors by the values.
        """
        some = self.shifts.get(indicator, ())
        unknown = np.array([one.year for one in some if one.factor is None])
        values = np.asarray(values, dtype=float)
        if values.shape != unknown.shape:
            raise FitError(f"'{indicator}' has {unknown.size} unknown level shifts, but {values.size} values are given")
        later = (np.asarray(years)[:, None] >= unknown).astype(float)
        factors: Floats = np.exp(later @ values)
        for one in some:
            if one.factor is not None:
                factors = np.where(years >= one.year, one.factor, 1.0) * factors
        return factors, factors[:, None] * later

    def _places(self, indicator: str, years: Floats, times: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the outputs that an indicator reads; kept, since a search asks for them at every step."""
        asked = indicator, years.tobytes(), times.tobytes()
        if asked not in self._found:
            column = {name: number for number, name in enumerate(self.variables)}
            columns = np.array([column[name] for name in self.gauges[indicator].variables], dtype=np.intp)
            self._found[asked] = np.searchsorted(times, self._asked(indicator, years)), columns
        return self._found[asked]

    def _asked(self, indicator: str, years: Floats) -> Floats:
        # Rounded to a millionth of a year, so that moments reached by different sums are one moment.
        return np.round(self.gauges[indicator].times(years), 6)


GAUGES: Mapping[str, Callable[..., Gauge]] = {
    "level": Level,
    "rate": Rate,
    "growth": Growth,
    "share": Share,
    "index": Index,
    "cumulated": Cumulated,
    "lagged": Lagged,
    "survey": Survey,
}
"""Kinds of gauges by their names in study files."""


def gauge_from(entry: str | Mapping[str, Any]) -> Gauge:
    """Make a gauge of what a study file says.

    Parameters
    ----------
    entry
        The name of a variable, for its level, with a star behind it where the scale is free; or a mapping of
        `variable`, `kind` ("level" where left out) and what that kind takes.

    Raises
    ------
    FitError
        If the kind is unknown, or a key is unknown, missing or of the wrong type.

    Examples
    --------
    >>> gauge_from("revenue*")
    Level(variable='revenue', scale=True, at=0.0, plus=())
    >>> gauge_from({"variable": "patents granted", "kind": "lagged", "lag": 2, "scale": True})
    Lagged(variable='patents granted', scale=True, at=0.0, plus=(), lag=2)
    """
    if isinstance(entry, str):
        name = entry.strip()
        return Level(name.removesuffix("*").rstrip(), scale=name.endswith("*"))
    return record_from(GAUGES, entry, "gauge", default="level")


def record_from(
    kinds: Mapping[str, Callable[..., Record]], entry: Mapping[str, Any], what: str, default: str = ""
) -> Record:
    """Make the record that a mapping describes: its `kind` says which, the other keys are its attributes.

    Parameters
    ----------
    kinds
        Dataclasses by name.
    entry
    what
        What such a record is called in errors.
    default
        The kind where the mapping has none; may be empty.

    Raises
    ------
    FitError
        If the kind is unknown, or a key is unknown or missing.
    """
    if not isinstance(entry, Mapping):
        raise FitError(f"a {what} is given as {entry!r}; expected keys such as variable and kind")
    given = dict(entry)
    kind = str(given.pop("kind", default))
    if kind not in kinds:
        came = f"has the kind '{kind}'{near(kind, kinds)}" if kind else "has no kind"
        raise FitError(f"a {what} {came}; expected one of {', '.join(kinds)}")
    takes = {one.name: one for one in dataclasses.fields(kinds[kind]) if one.init}  # type: ignore[arg-type]
    for name in given:
        if name not in takes:
            raise FitError(f"a {what} of kind '{kind}' has no '{name}'{near(name, takes)}; it takes {', '.join(takes)}")
    for name, one in takes.items():
        if name not in given and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise FitError(f"a {what} of kind '{kind}' needs '{name}'; it takes {', '.join(takes)}")
    return kinds[kind](**given)


def check(record: Any) -> None:
    """See that a record's attributes of the types str, bool and float are what they are declared to be, and finite.

    Raises
    ------
    FitError
        For the first that is not.
    """
    for one in dataclasses.fields(record):
        value = getattr(record, one.name)
        if one.type in (str, "str") and not (isinstance(value, str) and value.strip()):
            raise FitError(f"{type(record).__name__} has {one.name} {value!r}; expected the name of a variable")
        if one.type in (bool, "bool") and not isinstance(value, bool):
            raise wrong(record, one.name, "true or false")
        if one.type in (float, "float") and not is_number(value):
            raise wrong(record, one.name, "a number")


def wrong(record: Any, name: str, expected: str) -> FitError:
    """The error of an attribute that cannot be used."""
    value = getattr(record, name)
    return FitError(f"{type(record).__name__} of '{record.variable}' has {name} {value!r}; expected {expected}")


def is_number(value: object) -> bool:
    """Whether a value is a finite number, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _not_zero(below: Floats, variable: str, name: str) -> Floats:
    if np.any(below == 0.0):
        raise SimulationError(f"'{variable}' cannot be set against '{name}', which is zero there")
    return below


def _in_order(indicator: str, shifts: Sequence[Shift]) -> tuple[Shift, ...]:
    if not isinstance(shifts, Sequence):
        raise FitError(f"'{indicator}' has the level shifts {shifts!r}; expected a sequence, such as [Shift(2011)]")
    for one in shifts:
        if not isinstance(one, Shift):
            raise FitError(f"'{indicator}' has the level shift {one!r}; expected a shift, such as Shift(2011)")
    ordered = tuple(sorted(shifts, key=lambda one: one.year))
    for one, other in itertools.pairwise(ordered):
        if one.year == other.year:
            raise FitError(f"'{indicator}' has two level shifts from {one.year:g} on; give them one factor")
    return ordered


def log_scale(predicted: Floats, observed: Floats) -> float:
    """Logarithm of the factor that brings predictions nearest to observations on the log scale.

    It is the mean of log(observed / predicted), the least-squares solution, so that no search is needed for it.

    Examples
    --------
    >>> round(float(np.exp(log_scale(np.array([1.0, 2.0]), np.array([10.0, 20.0])))), 9)
    10.0
    """
    return float(np.mean(np.log(observed) - np.log(predicted)))
