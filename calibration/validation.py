"""Validation: fit a part of the figures, forecast the rest, and hold the forecast against naive ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.baselines import Naive, naive_forecasts, typical_region
from calibration.forecasts import LEVELS, Forecast, forecast_from, places_from
from calibration.likelihood import Likelihood
from calibration.skill import Held, hold_series
from calibration.statistics import Floats
from calibration.transfer import transfer_factors, transfer_values
from calibration.validation_words import overall, series_sentences
from calibration.words import listed
from sd_cluster.errors import FitError, near

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Split:
    """Figures parted into those a fit may see and those it must forecast.

    Attributes
    ----------
    training
        What to fit: give these to an `Objective`.
    held
        With all figures, one for each region that has some held out.
    last
        Last year a fit may see of these regions; None where a whole region is held out.
    """

    training: tuple[Likelihood, ...]
    held: tuple[Likelihood, ...]
    last: float | None


def hold_out(
    likelihoods: Likelihood | Sequence[Likelihood], *, last: float | None = None, region: str | None = None
) -> Split:
    """Part figures into training and held out.

    Parameters
    ----------
    likelihoods
        With all figures.
    last
        Last year of training. The figures after it are held out, of all regions or of `region` alone.
    region
        Without `last`, all figures of this region are held out.

    Raises
    ------
    FitError
        If neither is given, there is no such region, nothing is left to train on or nothing is held out.
    DataError
        If a region has no figure to train on.
    """
    every = (likelihoods,) if isinstance(likelihoods, Likelihood) else tuple(likelihoods)
    names = [one.region for one in every]
    if last is None and region is None:
        raise FitError("say what to hold out: last=, the last year of training, or region=, a whole region")
    if region is not None and region not in names:
        raise FitError(f"no region '{region}' to hold out{near(region, names)}; there are {', '.join(names)}")
    held = [one for one in every if region in (None, one.region)]
    if last is None:
        training = [one for one in every if one.region != region]
        if not training:
            raise FitError(f"'{region}' is the only region; hold out its last years with last=")
        return Split(tuple(training), tuple(held), None)
    held = [one for one in held if any((series.years > last).any() for series in one.series.values())]
    if not held:
        raise FitError(f"no figure comes after {last:g}, so nothing is held out; give an earlier year")
    cut = {one.region: one.between(last=last) for one in held}
    return Split(tuple(cut.get(one.region, one) for one in every), tuple(held), float(last))


@dataclass(frozen=True, eq=False)
class Validation:
    """How a model did on figures it had not seen.

    Attributes
    ----------
    series
        One for each series that has figures held out.
    forecasts
        Of each region with figures held out, over the years from the first figure known to the last held out.
    levels
        Of the bands.
    last
        Last year of training, or None where whole regions were held out.
    origin
        Where the draws come from.
    seed
    left_out
        Series with figures held out, but none to train on.
    """

    series: tuple[Held, ...]
    forecasts: tuple[Forecast, ...]
    levels: tuple[float, ...]
    last: float | None
    origin: str
    seed: int
    left_out: tuple[str, ...] = ()

    def __getitem__(self, indicator: str) -> Held:
        """The first series of this indicator.

        Raises
        ------
        FitError
            If there is none; the text names the nearest one.
        """
        names = [one.indicator for one in self.series]
        if indicator not in names:
            raise FitError(f"no figure of '{indicator}' was held out{near(indicator, names)}")
        return self.series[names.index(indicator)]

    @property
    def places(self) -> Floats:
        """Places of all held-out figures among the model's draws."""
        return np.concatenate([one.places for one in self.series])

    def frame(self) -> pd.DataFrame:
        """A row for each series and method: errors, scores, and the share of figures inside each band."""
        import pandas as pd

        rows = []
        for held in self.series:
            for one in held.scores:
                row = {"region": held.region, "indicator": held.indicator, "method": one.method}
                numbers = {"figures": len(held.years), "mape": one.mape, "rmse": one.rmse, "mase": one.mase}
                numbers |= {"crps": one.crps, "log_score": one.log_score}
                for level, inside in zip(held.levels, one.inside, strict=True):
                    numbers[f"inside_{100 * level:g}"] = np.nan if one.refused else inside / len(held.years)
                rows.append({**row, **numbers, "note": one.refused})
        return pd.DataFrame(rows)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What came out, plainly: first over all series, then of each."""
        made = [overall(self.series), *(one.text for one in self.forecasts)]
        if self.left_out:
            made.append(f"Not forecast, for want of a figure to train on: {listed(self.left_out)}.")
        return *made, *(sentence for one in self.series for sentence in series_sentences(one, self.last))

    def __str__(self) -> str:
        table = self.frame().to_string(index=False, float_format=lambda number: f"{number:.3g}", na_rep="-")
        return "\n".join([table, *(f"  {one}" for one in self.sentences)])


def validate(
    fit: Any,
    split: Split,
    *,
    source: Any = None,
    draws: int = 1000,
    seed: int = 0,
    levels: Sequence[float] = LEVELS,
    logarithmic: bool = False,
) -> Validation:
    """Forecast held-out figures from a fit that has not seen them, and score the forecast beside naive ones.

    The naive forecasts know the figures of their own series up to the same year: last value, drift, logistic curve and
    exponential smoothing. For a region held out whole there is no such past; its naive forecast is the middle of the
    other regions in the same year.

    Parameters
    ----------
    fit
        With `objective`, of `split.training`, and `place`, its best place.
    split
        What `hold_out` gave.
    source
        Where draws of the unknowns come from, as in `predict`: best a posterior of the same objective. By default the
        Laplace approximation around the fit.
    draws, seed
        As in `predict`.
    levels
        Of the bands.
    logarithmic
        Whether naive forecasts are made of logarithms.

    Raises
    ------
    FitError
        If the fit is not one of the training part.
    """
    levels = tuple(levels)
    if not levels or not all(0.0 < one < 1.0 for one in levels):
        raise FitError(f"levels={levels}; expected shares between 0 and 1, such as (0.8, 0.95)")
    objective = fit.objective
    if objective is None:
        raise FitError("the fit was read from a file without its objective; fit again, or set it")
    _check_same(objective.likelihoods, split.training)
    places, origin = places_from(objective, fit if source is None else source, draws, seed)
    held: list[Held] = []
    forecasts: list[Forecast] = []
    left_out: list[str] = []
    for full in split.held:
        known = None if split.last is None else _of_region(objective.likelihoods, full.region)
        source_of = full if known is None else known
        grids = {name: _grid(full, name) for name in source_of.series}
        errors = {name: found for name, years in grids.items() if (found := _errors(full, name, years)) is not None}
        if known is None:
            values = transfer_values(objective, places, full, seed)
            factors = transfer_factors(objective, places, full, seed)
        else:
            values, factors = objective.of_region(places, objective.likelihoods.index(known)), {}
        made = forecast_from(source_of, places, values, grids, origin=origin, seed=seed, factors=factors, errors=errors)
        forecasts.append(made)
        left_out += [f"'{name}' of {full.region}" for name in full.series if name not in source_of.series]
        for name in source_of.series:
            series = full.series[name]
            if known is None or series.years[-1] > known.series[name].years[-1]:
                naive = _naive_of(full, known, name, objective.likelihoods, logarithmic)
                held.append(hold_series(full, known, made, name, naive, levels, seed))
    return Validation(tuple(held), tuple(forecasts), levels, split.last, origin, seed, tuple(left_out))


def _of_region(likelihoods: Sequence[Likelihood], region: str) -> Likelihood:
    return next(one for one in likelihoods if one.region == region)


def _naive_of(
    full: Likelihood, known: Likelihood | None, name: str, others: Sequence[Likelihood], logarithmic: bool
) -> tuple[Naive, ...]:
    """Naive forecasts of a series: from its past, or where it has none from the other regions."""
    series = full.series[name]
    if known is None:
        figures = {
            one.region: (one.series[name].years, one.series[name].values) for one in others if name in one.series
        }
        positive = {region: pair for region, pair in figures.items() if (pair[1] > 0.0).all()}
        return (typical_region(positive, series.years),)
    past = known.series[name]
    ahead = series.years[series.years > past.years[-1]]
    return naive_forecasts(past.years, past.values, ahead, logarithmic=logarithmic, name=f"'{name}'")


def _grid(full: Likelihood, name: str) -> Floats:
    """Every year from the first figure of a series to the last of all series, and its own years."""
    own = full.series[name].years
    last = max(float(one.years[-1]) for one in full.series.values())
    whole = np.arange(np.ceil(own[0]), last + 1.0)
    return np.unique(np.concatenate([own, whole]))


def _errors(full: Likelihood, name: str, years: Floats) -> Floats | None:
    """Known standard errors of a series on a grid of years."""
    series = full.series[name]
    if series.errors is None:
        return None
    found = np.full(len(years), np.nan)
    found[np.searchsorted(years, series.years)] = series.errors
    return found


def _check_same(fitted: Sequence[Likelihood], training: Sequence[Likelihood]) -> None:
    """The fit must have seen the training figures and no others."""
    seen, meant = ({one.region: one for one in some} for some in (fitted, training))
    if set(seen) != set(meant):
        raise FitError(
            f"the fit is of {', '.join(seen)}, the training part of {', '.join(meant)}; fit the training part"
        )
    for region, one in seen.items():
        for name, series in one.series.items():
            other = meant[region].series.get(name)
            if (
                other is None
                or not np.array_equal(series.years, other.years)
                or not np.array_equal(series.values, other.values)
            ):
                last = f" (its last is of {series.years[-1]:.0f})"
                raise FitError(
                    f"the fit saw other figures of '{name}' in {region} than the training part has{last}; fit the "
                    "training part alone"
                )
