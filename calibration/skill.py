"""Skill: how the forecast of one series did on figures it had not seen, beside naive forecasts of the same years."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.baselines import Naive
from calibration.forecasts import Forecast, SeriesForecast
from calibration.noise import AutoRegressive, Noise
from calibration.scores import coverage, crps, log_scores, mape, mase, ranks, rmse
from calibration.statistics import Floats, Theil, theil

if TYPE_CHECKING:
    from calibration.likelihood import Likelihood

MODEL = "model"
"""What the model's own row is called in tables."""
SHARES = (np.arange(999) + 0.5) / 999
"""Quantiles by which a naive forecast is scored as draws are."""


@dataclass(frozen=True, eq=False)
class Score:
    """How one method did on the figures held out of one series.

    Attributes
    ----------
    method
    refused
        Why the method has no forecast, or empty.
    mape
        Mean absolute error in per cent of the figures.
    rmse, crps
        In the unit of the figures.
    mase
        Mean absolute error over that of the last value a year ahead, in the past.
    log_score
        Mean log predictive density, per unit of the figures; higher is better.
    inside
        Figures inside the band, one count a level.
    """

    method: str
    refused: str
    mape: float
    rmse: float
    mase: float
    crps: float
    log_score: float
    inside: tuple[int, ...]

    @property
    def error(self) -> float:
        """What methods are compared by: the mean absolute error in per cent, or the rmse where a figure is zero."""
        return self.mape if np.isfinite(self.mape) else self.rmse


@dataclass(frozen=True, eq=False)
class Held:
    """One series with its held-out figures, the model's forecast of them, and the naive ones.

    Attributes
    ----------
    region, indicator, unit
    past_years, past : shape (n_past,)
        Figures known; empty where the whole region was held out.
    years, observed : shape (n_years,)
        Figures held out.
    forecast
        The model's, of these years.
    densities : shape (n_years,)
        The model's log predictive density of each figure.
    naive
        The naive forecasts of these years.
    places : shape (n_years,)
        Where among the model's draws each figure stands, from 0 to 1.
    scores
        The model's first, then those of the naive forecasts.
    levels
        Of the bands.
    breaks
        Years of level shifts that the training figures could not tell.
    """

    region: str
    indicator: str
    unit: str
    past_years: Floats
    past: Floats
    years: Floats
    observed: Floats
    forecast: SeriesForecast
    densities: Floats
    naive: tuple[Naive, ...]
    places: Floats
    scores: tuple[Score, ...]
    levels: tuple[float, ...]
    breaks: tuple[float, ...] = ()

    @property
    def model(self) -> Score:
        """The model's score."""
        return self.scores[0]

    @property
    def theil(self) -> Theil:
        """Theil's split of the model's squared error."""
        return theil(self.forecast.point, self.observed)

    @property
    def rivals(self) -> tuple[Score, ...]:
        """Scores of the naive forecasts there are, the least error first."""
        return tuple(sorted((one for one in self.scores[1:] if not one.refused), key=lambda one: one.error))


def hold_series(
    full: Likelihood, known: Likelihood | None, forecast: Forecast, name: str, naive: tuple[Naive, ...],
    levels: tuple[float, ...], seed: int,
) -> Held:  # fmt: skip
    """Set the forecast of one series beside the figures held out of it.

    Parameters
    ----------
    full, known
        The region with all figures, and with those of training; None where nothing of it was known.
    forecast
        Of the region; its years hold those held out.
    name
        Of the indicator.
    naive
        Naive forecasts of the years held out.
    levels
        Of the bands.
    seed
        Of the random last part of places.
    """
    series, made = full.series[name], forecast[name]
    before = (np.empty(0), np.empty(0)) if known is None else (known.series[name].years, known.series[name].values)
    after = series.years > (before[0][-1] if len(before[0]) else -np.inf)
    years, observed = series.years[after], series.values[after]
    columns = np.isin(made.years, years)
    ahead = SeriesForecast(
        name, made.unit, made.years[columns], made.model[:, columns], made.figures[:, columns], made.anchor
    )
    errors = None if series.errors is None else series.errors[after]
    noise_values = (known or full).noise_values(name, forecast.values)
    densities = log_scores(_densities(full.noise[name], ahead, observed, errors, noise_values, before))
    model = _score(MODEL, ahead.figures, ahead.point, densities, observed, before, levels)
    scores = (model, *(_naive_score(one, observed, before, levels) for one in naive))
    places = ranks(ahead.figures, observed, seed)
    shifts = [one.year for one in full.measurement.shifts.get(name, ()) if one.factor is None]
    breaks = tuple(year for year in shifts if f"shift of {name} from {year:g}" not in (known or full).names)
    for array in (years, observed, densities, places):
        array.setflags(write=False)
    return Held(
        full.region, name, made.unit, *before, years, observed, ahead, densities, naive, places, scores, levels, breaks
    )  # fmt: skip


def _densities(
    noise: Noise, ahead: SeriesForecast, observed: Floats, errors: Floats | None, values: Floats,
    before: tuple[Floats, Floats],
) -> Floats:  # fmt: skip
    """Log density of each held-out figure under each draw, shape (n_draws, n_years).

    Noise that remembers is judged year by year from the last figure known: the density of that year, not knowing those
    between.
    """
    if isinstance(noise, AutoRegressive):
        return _remembering(noise, ahead, observed, errors, values, before)
    found = np.empty(ahead.model.shape)
    for row, predicted in enumerate(ahead.model):
        found[row] = noise.judge(ahead.years, observed, predicted, values[row], errors).pointwise
    return found


def _remembering(
    noise: AutoRegressive, ahead: SeriesForecast, observed: Floats, errors: Floats | None, values: Floats,
    before: tuple[Floats, Floats],
) -> Floats:  # fmt: skip
    """The same for autoregressive noise: normal, given the residual of the last figure known."""
    from scipy.stats import norm

    count = len(ahead.model)
    scale = np.full(count, noise.scale) if noise.scale is not None else values[:, 0]
    correlation = np.full(count, noise.correlation) if noise.correlation is not None else values[:, -1]
    off = np.log(observed / ahead.model) if noise.log else observed - ahead.model
    known = np.zeros(len(observed)) if errors is None else np.nan_to_num(errors)
    mean, variance = np.zeros_like(off), scale[:, None] ** 2 + (known / observed if noise.log else known) ** 2
    if len(before[0]):
        last = before[1][-1]
        start = np.log(last / ahead.anchor) if noise.log else last - ahead.anchor
        carried = correlation[:, None] ** (ahead.years - before[0][-1])
        mean, variance = carried * start[:, None], variance - (scale[:, None] * carried) ** 2
    density = norm.logpdf(off, mean, np.sqrt(variance))
    return np.asarray(density - np.log(observed) if noise.log else density)


def _score(
    method: str, figures: Floats, point: Floats, densities: Floats, observed: Floats, past: tuple[Floats, Floats],
    levels: tuple[float, ...],
) -> Score:  # fmt: skip
    inside = tuple(coverage(figures, observed, level)[0] for level in levels)
    return Score(
        method, "", mape(point, observed), rmse(point, observed), mase(point, observed, *past),
        float(np.mean(crps(figures, observed))), float(np.mean(densities)), inside,
    )  # fmt: skip


def _naive_score(naive: Naive, observed: Floats, past: tuple[Floats, Floats], levels: tuple[float, ...]) -> Score:
    if naive.refused or not np.isfinite(naive.point).all():
        nothing = (np.nan,) * 5
        return Score(
            naive.method, naive.refused or "no other region has a figure in some year", *nothing, (0,) * len(levels)
        )
    if np.isfinite(naive.sd).all():
        return _score(
            naive.method, naive.quantile(SHARES), naive.point, naive.log_density(observed), observed, past, levels
        )
    point = naive.point  # too few figures to say how sure it is
    numbers = (mape(point, observed), rmse(point, observed), mase(point, observed, *past), np.nan, np.nan)
    return Score(naive.method, "", *numbers, (len(observed),) * len(levels))
