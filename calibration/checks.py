"""Predictive checks: whether the model, with all its doubt, could have made figures like those observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.forecasts import forecast_from, number_of, places_from
from calibration.scores import ranks
from calibration.statistics import Floats
from calibration.words import counted

if TYPE_CHECKING:
    import pandas as pd

    from calibration.objective import Objective

EXTREME = 0.025
"""Share of replicates on either side of the observed value below which it is called unlike them."""

Discrepancy = Callable[[Floats, Floats], Floats]
"""Years, shape (n,), and figures, shape (n_rows, n), to one number for each row.

The first row is observed, the others are replicates, so that a choice such as that of logarithms is one for all.
"""


def mean_growth(years: Floats, figures: Floats) -> Floats:
    """Mean growth a year, of logarithms where all figures are above zero, else in the unit of the figures a year."""
    shown = _shown(figures)
    return np.asarray((shown[..., -1] - shown[..., 0]) / (years[-1] - years[0]))


def last_figure(years: Floats, figures: Floats) -> Floats:
    """The last figure."""
    return np.asarray(figures[..., -1])


def peak_year(years: Floats, figures: Floats) -> Floats:
    """The year of the largest figure."""
    return np.asarray(years[np.argmax(figures, axis=-1)])


def bumpiness(years: Floats, figures: Floats) -> Floats:
    """Spread of changes a year: their standard deviation around the mean change, a change over g years over sqrt(g)."""
    shown, gaps = _shown(figures), np.diff(years)
    growth = (shown[..., -1:] - shown[..., :1]) / (years[-1] - years[0])
    changes = (np.diff(shown, axis=-1) - growth * gaps) / np.sqrt(gaps)
    return np.asarray(np.sqrt(np.mean(changes**2, axis=-1)))


def persistence(years: Floats, figures: Floats) -> Floats:
    """Correlation of neighbouring departures from the straight line through the series: high where waves are long."""
    shown = _shown(figures)
    line = np.column_stack([np.ones(len(years)), years - years.mean()])
    off = shown - shown @ line @ np.linalg.inv(line.T @ line) @ line.T
    total = np.sum(off**2, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0.0, np.sum(off[..., 1:] * off[..., :-1], axis=-1) / total, 0.0)


DISCREPANCIES: Mapping[str, Discrepancy] = {
    "mean growth": mean_growth,
    "last figure": last_figure,
    "peak year": peak_year,
    "year-to-year spread": bumpiness,
    "lag-1 autocorrelation": persistence,
}
"""What replicated and observed series are compared by, where nothing else is asked."""

_SIDES = {
    "mean growth": ("grew less", "grew more"),
    "last figure": ("ended lower", "ended higher"),
    "peak year": ("peaked earlier", "peaked later"),
    "year-to-year spread": ("moved more smoothly", "moved more from year to year"),
    "lag-1 autocorrelation": ("moved in shorter waves", "moved in longer waves"),
}


@dataclass(frozen=True, eq=False)
class Check:
    """One statistic of one series: observed, and over replicates.

    Attributes
    ----------
    region, indicator, statistic
    observed
    replicated : shape (n_draws,)
    below
        Share of replicates below the observed value, those equal to it counting half: the p-value is small where this
        is near 0 or 1.
    """

    region: str
    indicator: str
    statistic: str
    observed: float
    replicated: Floats
    below: float

    @property
    def p(self) -> float:
        """Two-sided p-value: twice the smaller share of replicates beyond the observed value."""
        return min(1.0, 2.0 * min(self.below, 1.0 - self.below))

    @property
    def good(self) -> bool:
        """Whether the observed value lies among the replicates."""
        return EXTREME <= self.below <= 1.0 - EXTREME

    @property
    def text(self) -> str:
        """What the check says, in a sentence."""
        low, middle, high = np.quantile(self.replicated, [0.05, 0.5, 0.95])
        numbers = f"observed {_number(self.observed)}, model {_number(middle)} ({_number(low)} to {_number(high)})"
        name = f"{self.region}, '{self.indicator}'"
        if self.good:
            return f"{name}: {self.statistic} is as the model would have it: {numbers}."
        less, more = _SIDES.get(self.statistic, ("lies lower", "lies higher"))
        share = 100.0 * (1.0 - self.below if self.below < 0.5 else self.below)
        how = less if self.below < 0.5 else more
        return f"{name}: it {how} than in {share:.0f} % of the model's replicates ({self.statistic}: {numbers})."


@dataclass(frozen=True, eq=False)
class PredictiveChecks:
    """All checks of a model against the figures it was fitted to, or before it was.

    Attributes
    ----------
    checks
    places
        For each series, as (region, indicator): where among its replicates each figure stands, from 0 to 1.
    origin
        Where the draws come from.
    """

    checks: tuple[Check, ...]
    places: Mapping[tuple[str, str], Floats]
    origin: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """A summary, then every statistic the model does not reproduce."""
        bad = [one for one in self.checks if not one.good]
        expected = 2.0 * EXTREME * len(self.checks)
        unlike = counted(len(bad), "is", "are")
        text = f"Of {len(self.checks)} statistics of the figures, {unlike} unlike the model's replicates"
        if not bad:
            return (f"{text}; unknowns: {self.origin}.",)
        return (
            f"{text}; about {expected:.1f} would be by chance; unknowns: {self.origin}.",
            *(one.text for one in bad),
        )

    def frame(self) -> pd.DataFrame:
        """A row for each series and statistic."""
        import pandas as pd

        rows = []
        for one in self.checks:
            low, middle, high = np.quantile(one.replicated, [0.05, 0.5, 0.95])
            rows.append(
                {
                    "region": one.region, "indicator": one.indicator, "statistic": one.statistic,
                    "observed": one.observed, "median": middle, "q5": low, "q95": high, "below": one.below, "p": one.p,
                }
            )  # fmt: skip
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def check_predictions(
    objective: Objective,
    source: Any,
    *,
    seed: int,
    draws: int = 1000,
    regions: Sequence[int | str] | None = None,
    statistics: Mapping[str, Discrepancy] = DISCREPANCIES,
) -> PredictiveChecks:
    """Compare statistics of the figures with those of figures that the model makes in the same years.

    With draws from the prior it is a prior predictive check: can the model, before it has seen the figures, make such
    at all? With draws from the posterior it asks whether the fitted model reproduces what it was not fitted to one by
    one. Each replicate has its own draw of the unknowns and of the noise, and the gaps of the data.

    Parameters
    ----------
    objective, source, seed, draws
        As in `forecasts.predict`.
    regions
        Numbers or names; all when left out.
    statistics
        By name; each takes years and figures.

    References
    ----------
    Gelman, A., Meng, X.-L. and Stern, H. (1996), Posterior predictive assessment of model fitness via realized
    discrepancies, Statistica Sinica 6, 733-807.
    """
    places, origin = places_from(objective, source, draws, seed)
    numbers = range(len(objective.likelihoods)) if regions is None else [number_of(objective, one) for one in regions]
    made: list[Check] = []
    stands: dict[tuple[str, str], Floats] = {}
    for number in numbers:
        one = objective.likelihoods[number]
        years = {name: series.years for name, series in one.series.items()}
        values = objective.of_region(places, number)
        replicates = forecast_from(
            one, places, values, years, origin=origin, seed=seed,
            errors={name: series.errors for name, series in one.series.items() if series.errors is not None},
        )  # fmt: skip
        for name, series in one.series.items():
            figures = replicates[name].figures
            stands[one.region, name] = ranks(figures, series.values, seed)
            if len(series.years) < 3:
                continue
            rows = np.vstack([series.values, figures])
            made += [
                _check(one.region, name, statistic, measure(series.years, rows))
                for statistic, measure in statistics.items()
            ]
    return PredictiveChecks(tuple(made), stands, origin)


def _check(region: str, indicator: str, statistic: str, found: Floats) -> Check:
    observed, replicated = float(found[0]), found[1:]
    below = float(np.mean(replicated < observed) + 0.5 * np.mean(replicated == observed))
    replicated.setflags(write=False)
    return Check(region, indicator, statistic, observed, replicated, below)


def _shown(figures: Floats) -> Floats:
    """Logarithms where all figures are above zero, else the figures."""
    return np.log(figures) if (figures > 0.0).all() else figures


def _number(value: float) -> str:
    """A number with three figures that matter; years whole.

    >>> _number(152345.0), _number(0.1234), _number(2009.0)
    ('152,000', '0.123', '2009')
    """
    if 1500.0 <= value <= 2200.0 and float(value).is_integer():
        return f"{value:.0f}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000.0 else f"{rounded:g}"
