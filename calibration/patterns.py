"""Soft constraints and behaviour patterns: what is known of a trajectory besides yearly figures.

That a park took off about 1985, or that trust hardly passes 0.9, is knowledge in the form of a datum with an error.
Each judge reads a whole trajectory and adds to the payoff; a pattern adds r**2 / 2, where r is the distance between
found and known in errors, as minus the logarithm of a normal likelihood does, less its constant. For behaviour
patterns as evidence see Barlas (1996), Formal aspects of model validity and validation in system dynamics, System
Dynamics Review 12(3), doi:10.1002/(SICI)1099-1727(199623)12:3<183::AID-SDR103>3.0.CO;2-4.

Where a run does not show a pattern at all, for instance never takes off, the judge goes on with a number that grows
with the distance from showing it, so that gradients still lead there. These numbers are guides for a search, and not
times of the model; each judge says what it takes.
"""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol

import numpy as np

from calibration.measurement import check, is_number, record_from, wrong
from calibration.statistics import Floats
from sd_cluster.errors import FitError, SimulationError

Found = tuple[float, Floats]
"""A number read from a trajectory, and its derivatives by the values at all times, shape (n,)."""


class Judge(Protocol):
    """What a likelihood asks of a constraint or pattern."""

    @property
    def name(self) -> str:
        """How reports call it."""

    @property
    def variables(self) -> tuple[str, ...]:
        """The model variables it looks at."""

    def times(self, start: float, end: float, step: float) -> Floats:
        """Steps of a run from `start` to `end` that it needs, shape (n,)."""

    def judge(self, times: Floats, samples: Floats) -> tuple[float, Floats]:
        """Payoff and its derivatives, shape (n, n_variables), from samples of that shape at those times."""


@dataclass(frozen=True)
class _OneVariable:
    """What all judges share: one variable, looked at on every step."""

    variable: str

    def __post_init__(self) -> None:
        check(self)

    @property
    def variables(self) -> tuple[str, ...]:
        """The variable."""
        return (self.variable,)

    def times(self, start: float, end: float, step: float) -> Floats:
        """All steps of the run, shape (n,)."""
        return _grid(start, end, step)


@dataclass(frozen=True)
class Bound(_OneVariable):
    """The variable stays below, or above, a level: softly, with a tolerance.

    Beyond the level the payoff is that of a half-normal, and it adds up over time: an excess of one tolerance that
    lasts a year costs 1/2. The integral is the trapezoidal rule's over the steps, so the step hardly matters.

    Attributes
    ----------
    variable
    at_most, at_least
        The levels, in the variable's unit; at least one of them.
    tolerance
        Standard deviation of the half-normal, in the variable's unit.
    years
        First and last year in which it holds; always where None.

    Examples
    --------
    >>> low = Bound("trust", at_most=0.9, tolerance=0.1)
    >>> payoff, slopes = low.judge(np.array([0.0, 1.0, 2.0]), np.array([[0.8], [1.0], [0.8]]))
    >>> round(payoff, 9)
    0.5
    """

    at_most: float | None = None
    at_least: float | None = None
    _: KW_ONLY
    tolerance: float
    years: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _above_zero(self, "tolerance")
        if self.at_most is None and self.at_least is None:
            raise FitError(f"the bound of '{self.variable}' has no level; give at_most or at_least")
        for name in ("at_most", "at_least"):
            if getattr(self, name) is not None and not is_number(getattr(self, name)):
                raise wrong(self, name, "a number")
        if self.at_most is not None and self.at_least is not None and self.at_most < self.at_least:
            raise wrong(self, "at_most", f"no less than at_least, {self.at_least:g}")
        if self.years is not None:
            object.__setattr__(self, "years", _two_years(self))

    @property
    def name(self) -> str:
        """As in `trust at most 0.9`."""
        parts = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        parts += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        return f"{self.variable} {' and '.join(parts)}"

    def times(self, start: float, end: float, step: float) -> Floats:
        """The steps within the years in which it holds, shape (n,).

        Raises
        ------
        FitError
            If fewer than two steps lie within them.
        """
        steps = _grid(start, end, step)
        first, last = self.years or (start, end)
        kept = steps[(steps >= first - 1e-6) & (steps <= last + 1e-6)]
        if kept.size < 2:
            raise FitError(f"{self.name}: the run, {start:g} to {end:g}, has no two steps from {first:g} to {last:g}")
        return kept

    def judge(self, times: Floats, samples: Floats) -> tuple[float, Floats]:
        """Half the integral of the squared excess in tolerances, and its derivatives, shape (n, 1)."""
        values = _values(self.variable, times, samples)
        excess = np.zeros_like(values)
        if self.at_most is not None:
            excess += np.maximum(values - self.at_most, 0.0)
        if self.at_least is not None:
            excess += np.minimum(values - self.at_least, 0.0)
        width = np.diff(times)
        weights = (np.append(width, 0.0) + np.append(0.0, width)) / 2.0
        relative = excess / self.tolerance
        return 0.5 * float(weights @ relative**2), (weights * relative / self.tolerance)[:, None]


class _Pattern(_OneVariable):
    """One number of the trajectory, with the value it should have."""

    error: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _above_zero(self, "error")

    @property
    def target(self) -> float:
        """What the number should be."""
        raise NotImplementedError

    def find(self, times: Floats, values: Floats) -> Found:
        """The number in a trajectory, both shape (n,), and its derivatives by the values, shape (n,)."""
        raise NotImplementedError

    def judge(self, times: Floats, samples: Floats) -> tuple[float, Floats]:
        """Half the square of the distance in errors, and its derivatives, shape (n, 1)."""
        found, slopes = self.find(times, _values(self.variable, times, samples))
        distance = (found - self.target) / self.error
        return 0.5 * distance**2, (distance / self.error * slopes)[:, None]


@dataclass(frozen=True)
class TakeOff(_Pattern):
    """The variable first passes a level in a known year.

    The crossing is located on the straight line between two steps. A run that never gets there is taken to pass at the
    time of its maximum plus the length of the run times (level - maximum) / |level|; one that starts above, at its
    start less the length of the run times (first value - level) / |level|. Both meet the crossing, to within half a
    step, where the level is touched.

    Attributes
    ----------
    variable
    level
        In the variable's unit, not zero.
    year
        When it was passed.
    error
        Standard error of that year, in years.
    """

    level: float
    year: float
    error: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level == 0.0:
            raise wrong(self, "level", "a number other than zero, since distances are taken relative to it")

    @property
    def name(self) -> str:
        """As in `take-off of trust past 0.5`."""
        return f"take-off of {self.variable} past {self.level:g}"

    @property
    def target(self) -> float:
        """The year."""
        return self.year

    def find(self, times: Floats, values: Floats) -> Found:
        """Time of the first passage."""
        slopes = np.zeros_like(values)
        per_unit = (times[-1] - times[0]) / abs(self.level)
        if values[0] >= self.level:
            slopes[0] = -per_unit
            return float(times[0] - per_unit * (values[0] - self.level)), slopes
        if values.max() < self.level:
            when, slopes = _top(times, values)
            highest = int(np.argmax(values))
            slopes[highest] -= per_unit
            return when + per_unit * float(self.level - values[highest]), slopes
        return _crossing(times, values, self.level, int(np.argmax(values >= self.level)))


@dataclass(frozen=True)
class Peak(_Pattern):
    """The variable is highest in a known year.

    The maximum is that of the parabola through the highest step and its neighbours. Where the first or the last step is
    the highest, the peak is taken to lie beyond it, by the length of the run times the slope there over the mean slope
    between the lowest and the highest value over the whole run; it meets the parabola's where the slope is zero.

    Attributes
    ----------
    variable
    year
        When it peaked.
    error
        Standard error of that year, in years.

    Raises
    ------
    SimulationError
        On judging, if the variable does not move.
    """

    year: float
    error: float

    @property
    def name(self) -> str:
        """As in `peak of firms`."""
        return f"peak of {self.variable}"

    @property
    def target(self) -> float:
        """The year."""
        return self.year

    def find(self, times: Floats, values: Floats) -> Found:
        """Time of the maximum."""
        if values.min() == values.max():
            raise SimulationError(f"'{self.variable}' does not move, so it has no peak")
        return _peak(times, values)


@dataclass(frozen=True)
class HalfLife(_Pattern):
    """How fast the variable decays: the time from its peak to half its peak, or its half-life between two years.

    From its peak: the peak is dated as by `Peak`, or at the start of a run that falls from the start; half of the
    highest value is then located on the straight line between two steps. A run that stays above is taken to reach it at
    the time of its lowest later value plus the length of the run times that value's excess over half the peak, in
    halves of the peak; one that is still rising at the end has its half-life beyond the length of the run by as much
    as `Peak` puts the peak beyond the end.

    Between two years: log(2) over the mean rate of decay. It is judged on the scale of that rate, with the error
    carried over by the delta method, since a half-life has no sense for a run that grows while its rate has.

    Attributes
    ----------
    variable
    value
        The half-life, in years.
    error
        Its standard error, in years.
    years
        First and last year of the decay; from the peak where None.

    Raises
    ------
    SimulationError
        On judging, if the peak, or a value in the two years, is not above zero, or the variable does not move.
    """

    value: float
    error: float
    years: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _above_zero(self, "value")
        if self.years is not None:
            object.__setattr__(self, "years", _two_years(self))

    def _decay(self, first: float, last: float) -> "GrowthRate":
        """The same knowledge as a negative rate of growth."""
        rate = np.log(2.0) / self.value
        return GrowthRate(self.variable, first, last, -rate, rate * self.error / self.value)

    @property
    def name(self) -> str:
        """As in `half-life of firms`."""
        return f"half-life of {self.variable}"

    @property
    def target(self) -> float:
        """The half-life."""
        return self.value

    def times(self, start: float, end: float, step: float) -> Floats:
        """All steps of the run, or those about the two years, shape (n,)."""
        if self.years is not None:
            return self._decay(*self.years).times(start, end, step)
        return super().times(start, end, step)

    def judge(self, times: Floats, samples: Floats) -> tuple[float, Floats]:
        """Half the square of the distance in errors, and its derivatives, shape (n, 1)."""
        if self.years is not None:
            return self._decay(*self.years).judge(times, samples)
        return super().judge(times, samples)

    def find(self, times: Floats, values: Floats) -> Found:
        """Time from the peak to half of it, or the half-life between two years (infinite, or below zero, in growth)."""
        if self.years is not None:
            rate, slopes = self._decay(*self.years).find(times, values)
            with np.errstate(divide="ignore", invalid="ignore"):
                return float(-np.log(2.0) / np.float64(rate)), np.log(2.0) / np.float64(rate) ** 2 * slopes
        highest = int(np.argmax(values))
        if values[highest] <= 0.0 or values.min() == values.max():
            raise SimulationError(f"'{self.variable}' does not move, or peaks below zero, so it has no half-life")
        if highest == len(values) - 1:
            beyond, slopes = _peak(times, values)
            return float(beyond - times[0] + times[-1] - times[-2]), slopes
        peak, earlier = _top(times, values)
        half, slopes = self._half(times, values, highest)
        return half - peak, slopes - earlier

    @staticmethod
    def _half(times: Floats, values: Floats, highest: int) -> Found:
        """When half of the peak is reached."""
        level = values[highest] / 2.0
        below = values[highest:] <= level
        if below.any():
            when, slopes = _crossing(times, values, level, highest + int(np.argmax(below)))
            slopes[highest] -= slopes.sum() / 2.0  # moving level and values together moves nothing
            return when, slopes
        lowest = highest + int(np.argmin(values[highest:]))
        per_unit = (times[-1] - times[0]) / level
        slopes = np.zeros_like(values)
        slopes[lowest] = per_unit
        slopes[highest] -= per_unit * values[lowest] / values[highest]
        return float(times[lowest] + per_unit * (values[lowest] - level)), slopes


@dataclass(frozen=True)
class GrowthRate(_Pattern):
    """The mean rate of growth between two years: the difference of logarithms over the years between.

    A year between two steps is read on the straight line between them.

    Attributes
    ----------
    variable
    first, last
        The two years.
    value
        Mean growth of the logarithm, per year: 0.05 for about 5 %; negative for decay.
    error
        Its standard error, per year.

    Raises
    ------
    FitError
        On asking for its times, if a year lies outside the run.
    SimulationError
        On judging, if the variable is not above zero in one of the years.
    """

    first: float
    last: float
    value: float
    error: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first >= self.last:
            raise wrong(self, "last", f"a year after the first, {self.first:g}")

    @property
    def name(self) -> str:
        """As in `growth of firms from 1985 to 1995`."""
        return f"growth of {self.variable} from {self.first:g} to {self.last:g}"

    @property
    def target(self) -> float:
        """The rate."""
        return self.value

    def times(self, start: float, end: float, step: float) -> Floats:
        """The steps on either side of both years, shape (n,)."""
        steps = _grid(start, end, step)
        if self.first < steps[0] - 1e-6 or self.last > steps[-1] + 1e-6:
            raise FitError(f"{self.name}: the run goes from {start:g} to {end:g}; extend its horizon or drop it")
        needed = [np.flatnonzero(_hats(steps, year)) for year in (self.first, self.last)]
        return steps[np.unique(np.concatenate(needed))]

    def find(self, times: Floats, values: Floats) -> Found:
        """Mean growth of the logarithm between the two years."""
        hats = np.array([_hats(times, self.first), _hats(times, self.last)])
        before, after = (hats @ values).tolist()
        for year, value in ((self.first, before), (self.last, after)):
            if value <= 0.0:
                raise SimulationError(f"'{self.variable}' is {value:.3g} in {year:g}, which has no rate of growth")
        length = self.last - self.first
        return float(np.log(after / before)) / length, (hats[1] / after - hats[0] / before) / length


PATTERNS: Mapping[str, Callable[..., Judge]] = {
    "bound": Bound,
    "take-off": TakeOff,
    "peak": Peak,
    "half-life": HalfLife,
    "growth-rate": GrowthRate,
}
"""Kinds of soft constraints and patterns by their names in study files."""


def pattern_from(entry: Mapping[str, Any]) -> Judge:
    """Make a soft constraint or pattern of what a study file says: its `kind`, and what that kind takes.

    Raises
    ------
    FitError
        If the kind is missing or unknown, or a key is unknown, missing or of the wrong type.

    Examples
    --------
    >>> pattern_from({"kind": "peak", "variable": "member firms", "year": 2001, "error": 2})
    Peak(variable='member firms', year=2001, error=2)
    """
    return record_from(PATTERNS, entry, "pattern")


def _grid(start: float, end: float, step: float) -> Floats:
    """Steps of a run; rounded so that a moment of a figure on a step is the same number."""
    grid: Floats = np.round(start + step * np.arange(int(np.floor((end - start) / step + 1e-6)) + 1), 9)
    return grid


def _values(variable: str, times: Floats, samples: Floats) -> Floats:
    """The one column of the samples."""
    values: Floats = samples[:, 0]
    bad = ~np.isfinite(values)
    if bad.any():
        raise SimulationError(f"'{variable}' is {values[bad][0]} at {times[bad][0]:g}, so its course cannot be judged")
    return values


def _crossing(times: Floats, values: Floats, level: float, after: int) -> Found:
    """When the straight line from the step before `after` to `after` meets a level, the level held."""
    slopes = np.zeros_like(values)
    low, high = values[after - 1], values[after]
    width = times[after] - times[after - 1]
    share = (level - low) / (high - low)
    slopes[after - 1] = -width * (1.0 - share) / (high - low)
    slopes[after] = -width * share / (high - low)
    return float(times[after - 1] + share * width), slopes


def _top(times: Floats, values: Floats) -> Found:
    """Time of the maximum within the run: the vertex of a parabola through three steps, or an end, which is fixed."""
    slopes = np.zeros_like(values)
    k = int(np.argmax(values))
    if k in (0, len(values) - 1):
        return float(times[k]), slopes
    before, highest, after = values[k - 1 : k + 2]
    step = (times[k + 1] - times[k - 1]) / 2.0
    bend = before - 2.0 * highest + after
    slopes[k - 1 : k + 2] = step * np.array([after - highest, before - after, highest - before]) / bend**2
    return float(times[k] + step * (before - after) / (2.0 * bend)), slopes


def _peak(times: Floats, values: Floats) -> Found:
    """Time of the maximum, or the moment beyond an end at which a run that is highest there is taken to peak."""
    k = int(np.argmax(values))
    if k not in (0, len(values) - 1):
        return _top(times, values)
    inner, outward = (1, -1.0) if k == 0 else (k - 1, 1.0)
    lowest = int(np.argmin(values))
    step, span, spread = abs(times[k] - times[inner]), times[-1] - times[0], values[k] - values[lowest]
    beyond = outward * span * (span / step) * (values[k] - values[inner]) / spread
    slopes = np.zeros_like(values)
    slopes[k] += outward * span * (span / step) / spread - beyond / spread
    slopes[inner] -= outward * span * (span / step) / spread
    slopes[lowest] += beyond / spread
    return float((times[k] + times[inner]) / 2.0 + beyond), slopes


def _hats(times: Floats, year: float) -> Floats:
    """Weights of the steps in the value at a year, straight between them."""
    weights = np.zeros_like(times)
    after = int(np.searchsorted(times, year - 1e-6))
    share = (times[after] - year) / (times[after] - times[after - 1]) if after else 0.0
    weights[after] = 1.0 - share if share > 1e-6 else 1.0
    if share > 1e-6:
        weights[after - 1] = share
    return weights


def _two_years(record: Any) -> tuple[float, float]:
    years = record.years
    if not (isinstance(years, tuple | list) and len(years) == 2 and all(map(is_number, years)) and years[0] < years[1]):
        raise wrong(record, "years", "two years, the first below the last")
    return years[0], years[1]


def _above_zero(record: Any, name: str) -> None:
    if getattr(record, name) <= 0.0:
        raise wrong(record, name, "a number above zero")
