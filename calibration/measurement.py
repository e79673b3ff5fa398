"""How the variables of a model become the statistics of an office: level, yearly total, index, unknown scale.

Time convention. A figure for the year Y is set against the model at time Y, the model's own reading of that
year. Where a figure belongs to another moment, its gauge says so with `at`, a fraction of a year after Y: with
a model whose time 2004.0 is the first of January, a count at the end of 2004 has `at=1.0`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from calibration.statistics import Floats
from sd_cluster.errors import FitError

_SIMPSON = np.array([1.0, 4.0, 2.0, 4.0, 1.0]) / 12.0


class Gauge(Protocol):
    """What a measurement asks of a gauge: where it looks, and what it reads there.

    `times` gives for each year the model times it needs, shape (n_years, n_points); `read` turns the
    variable's values at those times, same shape, into one statistic per year, shape (n_years,).
    """

    @property
    def variable(self) -> str:
        """The model variable it looks at."""

    @property
    def scale(self) -> bool:
        """True where statistic and variable differ by an unknown constant factor."""

    def times(self, years: Floats) -> Floats:
        """Model times needed for these years."""

    def read(self, samples: Floats) -> Floats:
        """The statistic from the variable's values at those times."""


@dataclass(frozen=True)
class Level:
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
    """

    variable: str
    scale: bool = False
    at: float = 0.0

    def times(self, years: Floats) -> Floats:
        """One moment per year."""
        return years[:, None] + self.at

    def read(self, samples: Floats) -> Floats:
        """The value at that moment."""
        return samples[:, 0]


@dataclass(frozen=True)
class Rate:
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
    """

    variable: str
    scale: bool = False
    at: float = 0.0

    def times(self, years: Floats) -> Floats:
        """Five moments, a quarter of a year apart."""
        return years[:, None] + self.at + np.linspace(-1.0, 0.0, _SIMPSON.size)

    def read(self, samples: Floats) -> Floats:
        """The integral over the year."""
        return samples @ _SIMPSON


@dataclass(frozen=True)
class Index:
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

    @property
    def scale(self) -> bool:
        """An index has its scale from its base year."""
        return False

    def times(self, years: Floats) -> Floats:
        """The moment itself, and that of the base year."""
        return np.column_stack([years, np.full_like(years, self.base_year)]) + self.at

    def read(self, samples: Floats) -> Floats:
        """The ratio of the two, times the base."""
        return self.base * samples[:, 0] / samples[:, 1]


@dataclass(frozen=True)
class Measurement:
    """Which gauge reads which indicator.

    Attributes
    ----------
    gauges
        From the name of an indicator in the dataset to its gauge.

    Examples
    --------
    >>> gauges = Measurement({"firms": Level("member firms"), "revenue": Level("revenue", scale=True)})
    >>> gauges.variables
    ('member firms', 'revenue')
    """

    gauges: Mapping[str, Gauge]

    def __post_init__(self) -> None:
        if not self.gauges:
            raise FitError("the measurement is empty; name an indicator, such as {'firms': Level('member firms')}")
        for indicator, gauge in self.gauges.items():
            if not hasattr(gauge, "read") or not hasattr(gauge, "times"):
                raise FitError(
                    f"'{indicator}' is measured by {gauge!r}; expected a gauge, such as Level('member firms')"
                )
        object.__setattr__(self, "gauges", dict(self.gauges))

    @property
    def variables(self) -> tuple[str, ...]:
        """The model variables needed, each once, in the order of the gauges."""
        return tuple(dict.fromkeys(gauge.variable for gauge in self.gauges.values()))

    def times(self, years: Mapping[str, Floats]) -> Floats:
        """The model times needed, each once, increasing.

        Parameters
        ----------
        years : indicator -> shape (n_years,)
            Years that have a figure.
        """
        return np.unique(np.concatenate([self._asked(name, some).ravel() for name, some in years.items()]))

    def predict(self, years: Mapping[str, Floats], times: Floats, outputs: Floats) -> Iterator[tuple[str, Floats]]:
        """Each indicator's statistics, without its unknown scale.

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
        column = {name: number for number, name in enumerate(self.variables)}
        for name, some in years.items():
            gauge = self.gauges[name]
            places = np.searchsorted(times, self._asked(name, some))
            yield name, gauge.read(outputs[places, column[gauge.variable]])

    def _asked(self, indicator: str, years: Floats) -> Floats:
        # Rounded to a millionth of a year, so that moments reached by different sums are one moment.
        return np.round(self.gauges[indicator].times(years), 6)


def log_scale(predicted: Floats, observed: Floats) -> float:
    """Logarithm of the factor that brings predictions nearest to observations on the log scale.

    It is the mean of log(observed / predicted), the least-squares solution, so that no search is needed for it.

    Examples
    --------
    >>> round(float(np.exp(log_scale(np.array([1.0, 2.0]), np.array([10.0, 20.0])))), 9)
    10.0
    """
    return float(np.mean(np.log(observed) - np.log(predicted)))
