"""Forecasts: what a model says of a region's figures, with unknowns from a prior or posterior, and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.chains import laplace_root, quiet_arviz
from calibration.modes import posterior_mode
from calibration.noise import AutoRegressive
from calibration.statistics import Bools, Floats
from calibration.words import counted
from sd_cluster.errors import DataError, FitError, SimulationError, near

if TYPE_CHECKING:
    import pandas as pd

    from calibration.likelihood import Likelihood
    from calibration.objective import Objective

FEWEST = 20
"""Fewest draws that can be run from which bands are told."""
CANDIDATES, TAILS = 2, 8.0
"""Candidates of the Laplace approximation for every draw, and degrees of freedom of their distribution."""
LEVELS = (0.8, 0.95)
"""Levels of bands where none are asked for."""


@dataclass(frozen=True, eq=False)
class SeriesForecast:
    """What the model says of one series.

    Attributes
    ----------
    indicator, unit
        Of the data.
    years : shape (n_years,)
    model, figures : shape (n_draws, n_years), in `unit`
        The statistic without noise, and as an office would print it, noise included.
    anchor : shape (n_draws,)
        What the model says of the last figure known, without noise; empty where none is known.
    """

    indicator: str
    unit: str
    years: Floats
    model: Floats
    figures: Floats
    anchor: Floats

    def __post_init__(self) -> None:
        for array in (self.years, self.model, self.figures, self.anchor):
            array.setflags(write=False)

    @property
    def point(self) -> Floats:
        """The median, noise included, shape (n_years,)."""
        return np.asarray(np.median(self.figures, axis=0))

    def quantile(self, share: ArrayLike, *, noise: bool = True) -> Floats:
        """Quantiles over draws, shape (n_shares, n_years), or (n_years,) for one share."""
        return np.asarray(np.quantile(self.figures if noise else self.model, np.asarray(share, dtype=float), axis=0))

    def interval(self, level: float, *, noise: bool = True) -> tuple[Floats, Floats]:
        """Ends of the equal-tailed band of this level, such as 0.8, shape (n_years,) each.

        Raises
        ------
        FitError
            If the level is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise FitError(f"level={level}; expected a share between 0 and 1, such as 0.8")
        low, high = self.quantile([0.5 - 0.5 * level, 0.5 + 0.5 * level], noise=noise)
        return low, high


@dataclass(frozen=True, eq=False)
class Forecast:
    """What the model says of all series of a region in some years.

    Attributes
    ----------
    region
    origin
        Where the draws come from: "prior", "posterior", "Laplace approximation, ..." or "unknowns as given".
    series
        By indicator.
    places : shape (n_draws, n_unknowns)
        The draws that could be run.
    values : shape (n_draws, n_names)
        The same in their own units, in the order of the region's likelihood.
    failed
        Draws that could not be run and are left out.
    seed
        Of draws and noise.
    """

    region: str
    origin: str
    series: Mapping[str, SeriesForecast]
    places: Floats
    values: Floats
    failed: int
    seed: int

    def __getitem__(self, indicator: str) -> SeriesForecast:
        """The forecast of this indicator.

        Raises
        ------
        FitError
            If there is none; the text names the nearest one.
        """
        if indicator not in self.series:
            raise FitError(f"the forecast has no indicator '{indicator}'{near(indicator, self.series)}")
        return self.series[indicator]

    def frame(self, levels: Sequence[float] = LEVELS) -> pd.DataFrame:
        """A table: region, indicator, unit, year, median, then the ends of every band with and without noise."""
        import pandas as pd

        parts = []
        for one in self.series.values():
            columns = {"region": self.region, "indicator": one.indicator, "unit": one.unit, "year": one.years}
            columns["median"] = one.point
            for level in levels:
                for what, noise in (("", True), ("model_", False)):
                    low, high = one.interval(level, noise=noise)
                    columns |= {f"{what}low_{100 * level:g}": low, f"{what}high_{100 * level:g}": high}
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    @property
    def text(self) -> str:
        """Where the forecast comes from, in a sentence."""
        count = len(self.places)
        left = f"; left out: {counted(self.failed, 'draw')} that could not be run" if self.failed else ""
        return f"{self.region}: bands from {counted(count, 'draw')} of the {self.origin}{left}."


def predict(
    objective: Objective,
    source: Any,
    years: Sequence[float],
    *,
    seed: int,
    region: int | str = 0,
    draws: int = 1000,
) -> Forecast:
    """Forecast (or replicate) the figures of a region.

    Level shifts hold on. A factor that is solved from the figures known is uncertain too: it is solved again from
    figures replicated under each draw. Where residuals are remembered from year to year, years after the last figure
    start from its residual.

    Parameters
    ----------
    objective
        Whose unknowns the draws are; only the figures of its likelihoods are known.
    source
        Where draws come from: "prior"; a posterior; the fit of a family; another fit, or its place, shape
        (n_unknowns,), for the Laplace approximation around the mode of the posterior near it (an estimate at a bound
        lies far out of that); or places, shape (n_draws, n_unknowns).
    years : increasing
        Of the figures; the run is prolonged where needed.
    seed
        Of draws and noise.
    region
        Number or name of one of the regions.
    draws
        How many to take of a source that has more, or any number.

    Raises
    ------
    FitError
        If there is no such region, the draws do not fit the objective, or too few of them can be run.
    """
    number = number_of(objective, region)
    places, origin = places_from(objective, source, draws, seed)
    one = objective.likelihoods[number]
    return forecast_from(one, places, objective.of_region(places, number), years, origin=origin, seed=seed)


def forecast_from(
    likelihood: Likelihood,
    places: Floats,
    values: Floats,
    years: Sequence[float] | Mapping[str, Floats],
    *,
    origin: str,
    seed: int,
    factors: Mapping[str, Floats] = {},
    errors: Mapping[str, Floats] = {},
) -> Forecast:
    """Forecast with values given for everything unknown; see `predict`.

    Parameters
    ----------
    likelihood
        Of the figures known.
    places : shape (n_draws, n_unknowns)
        Only kept.
    values : shape (n_draws, n_names)
        In the order of `likelihood.names`.
    years
        The same for all series, or those of each series.
    origin, seed
    factors : indicator -> shape (n_draws,), optional
        Factors to use in place of those that the figures known would give; residuals of these are then not remembered.
    errors : indicator -> shape (n_years,), optional
        Known standard errors of the figures to come, NaN where not known.
    """
    from threadpoolctl import threadpool_limits

    each = years if isinstance(years, Mapping) else dict.fromkeys(likelihood.series, years)
    asked = {name: np.array(some, dtype=float) for name, some in each.items()}
    with threadpool_limits(1, user_api="blas"):  # threads cost more than matrices of a few rows are worth
        model, figures, anchors, ran, error = _drawn(likelihood, asked, values, seed, factors, errors)
    if ran.sum() < min(FEWEST, len(values)):
        raise FitError(
            f"{likelihood.region}: only {ran.sum()} of {len(values)} draws of the {origin} can be run ({error}); "
            "narrow the priors or shorten the run"
        )
    series = {
        name: SeriesForecast(
            name, likelihood.series[name].unit, when, model[name][ran], figures[name][ran], anchors[name][ran]
        )
        for name, when in asked.items()
    }
    return Forecast(likelihood.region, origin, series, places[ran], values[ran], int((~ran).sum()), seed)


def _drawn(
    likelihood: Likelihood, asked: Mapping[str, Floats], values: Floats, seed: int, factors: Mapping[str, Floats],
    errors: Mapping[str, Floats],
) -> tuple[dict[str, Floats], dict[str, Floats], dict[str, Floats], Bools, SimulationError | None]:  # fmt: skip
    """Run every draw: statistics without and with noise, anchors, which draws could be run, and the first error."""
    rng = np.random.default_rng([seed, 1])
    predictor = likelihood.predictor(asked)
    model = {name: np.empty((len(values), len(some))) for name, some in asked.items()}
    figures = {name: np.empty_like(some) for name, some in model.items()}
    anchors = {name: np.empty(len(values)) for name in asked}
    ran = np.zeros(len(values), dtype=bool)
    error: SimulationError | None = None
    for row, some in enumerate(values):
        try:
            predicted = predictor(some)
            for name, when in asked.items():
                known = _Known(likelihood, name, some, remembers=name not in factors)
                by = known.doubt(rng) if name not in factors else float(factors[name][row]) / known.factor
                model[name][row] = by * predicted[name]
                anchors[name][row] = by * known.predicted[-1]
                known.check(name, when, model[name][row])
                figures[name][row] = known.draw(when, model[name][row], anchors[name][row], rng, errors.get(name))
            ran[row] = True
        except SimulationError as failure:
            error = error or failure
    return model, figures, anchors, ran, error


class _Known:
    """What the known figures of one series say under one draw of the unknowns."""

    def __init__(self, likelihood: Likelihood, name: str, values: Floats, *, remembers: bool = True) -> None:
        outcome = likelihood.outcome(values)[name]
        self.years, self.observed, self.predicted = outcome.years, outcome.observed, outcome.predicted
        self.factor = outcome.judged.factor
        self.noise, self.errors = likelihood.noise[name], likelihood.series[name].errors
        self.values = likelihood.noise_values(name, values)
        self.solved, self.remembers = likelihood.solved(name), remembers

    def doubt(self, rng: np.random.Generator) -> float:
        """What the solved factor could as well be multiplied by, from figures replicated; 1 where it is not solved."""
        if not self.solved:
            return 1.0
        again = self.noise.draw(self.years, self.predicted, self.values, rng, self.errors)
        try:
            judged = self.noise.judge(self.years, again, self.predicted, self.values, self.errors, free_scale=True)
        except DataError:  # counts that are all zero by chance
            return 1.0
        return judged.factor

    def check(self, name: str, years: Floats, predicted: Floats) -> None:
        """See that the noise can scatter these predictions; SimulationError if not."""
        bad = ~np.isfinite(predicted) | (self.noise.positive & ~(predicted > 0.0))
        if bad.any():
            first = int(np.argmax(bad))
            raise SimulationError(f"the model gives {predicted[first]:.3g} for '{name}' in {years[first]:.0f}")

    def draw(
        self, years: Floats, predicted: Floats, anchor: float, rng: np.random.Generator, errors: Floats | None
    ) -> Floats:
        """Figures; those after the last known one remember its residual where the noise does."""
        later = years > self.years[-1]
        if not (isinstance(self.noise, AutoRegressive) and self.remembers and later.any()):
            return self.noise.draw(years, predicted, self.values, rng, errors)
        found = np.empty_like(predicted)
        some = [None if errors is None else errors[part] for part in (~later, later)]
        if not later.all():
            found[~later] = self.noise.draw(years[~later], predicted[~later], self.values, rng, some[0])
        last = np.log(self.observed[-1] / anchor) if self.noise.log else self.observed[-1] - anchor
        found[later] = self.noise.draw_after(
            years[later], predicted[later], self.values, rng, self.years[-1:], np.array([last]), some[1]
        )
        return found


def places_from(objective: Objective, source: Any, draws: int, seed: int) -> tuple[Floats, str]:
    """Draws of the unknowns, shape (n_draws, n_unknowns), and where they come from; `source` as in `predict`."""
    if draws < FEWEST:
        raise FitError(f"draws={draws}; expected at least {FEWEST}")
    size = len(objective.names)
    if isinstance(source, str):
        if source != "prior":
            raise FitError(f"no draws of '{source}'; give 'prior', a posterior, a fit, or places")
        return objective.sample_prior(draws, seed), "prior"
    if hasattr(source, "places") and hasattr(source, "log_density"):
        if tuple(source.names) != tuple(objective.names):
            raise FitError("the posterior has other unknowns than the objective; sample that objective")
        every = np.asarray(source.places, dtype=float).reshape(-1, size)
        if len(every) <= draws:
            return every, "posterior"
        chosen = np.random.default_rng([seed, 2]).choice(len(every), draws, replace=False)
        return every[np.sort(chosen)], "posterior"
    if callable(getattr(source, "draws", None)):
        if tuple(source.names) != tuple(objective.names):
            raise FitError("the family has other unknowns than the objective; fit the family of that objective")
        return np.asarray(source.draws(draws, seed), dtype=float), "Laplace approximation of the family"
    given = np.asarray(getattr(source, "place", source), dtype=float)
    if given.shape == (size,):
        return laplace_places(objective, posterior_mode(objective, given), draws, seed)
    if given.ndim != 2 or given.shape[1] != size or not np.isfinite(given).all():
        raise FitError(
            f"places of shape {given.shape} do not fit {counted(size, 'unknown')}; expected a finite (n_draws, {size})"
        )
    return given, "unknowns as given"


def laplace_places(objective: Objective, place: Floats, draws: int, seed: int) -> tuple[Floats, str]:
    """Places drawn around the optimum of a posterior, weighed by how probable they are, and what to call them.

    Candidates come from Student's t with the location and the inverse of the expected information of the optimum
    (directions that neither data nor prior narrow are held to about the width of the priors), and are drawn again by
    Pareto-smoothed importance weights. How far the weights can be trusted is told by Pareto's k: above 0.7 they cannot,
    and the posterior should be sampled.

    Returns
    -------
    places : shape (draws, n_unknowns)
        Some may come more than once.
    origin

    Raises
    ------
    FitError
        If the model cannot be run at the place, or at none of the candidates.

    References
    ----------
    Vehtari, A., Simpson, D., Gelman, A., Yao, Y. and Gabry, J. (2024), Pareto smoothed importance sampling, Journal of
    Machine Learning Research 25, 1-58.
    """
    rng = np.random.default_rng([seed, 3])
    size = len(place)
    root = laplace_root(objective, np.asarray(place, dtype=float))
    across = rng.standard_normal((CANDIDATES * draws, size))
    across /= np.sqrt(rng.chisquare(TAILS, (len(across), 1)) / TAILS)
    places = place + across @ root.T
    proposed = -0.5 * (TAILS + size) * np.log1p(np.sum(across**2, axis=1) / TAILS)
    weights = np.array([_log_density(objective, one) for one in places]) - proposed
    there = np.isfinite(weights)
    if there.sum() < FEWEST:
        raise FitError(f"only {there.sum()} of {len(places)} places around the optimum can be run; narrow the priors")
    smooth, k = quiet_arviz().psislw(weights[there])
    chances = np.exp(np.asarray(smooth, dtype=float))
    chosen = rng.choice(np.flatnonzero(there), draws, p=chances / chances.sum())
    trust = "" if float(k) <= 0.7 else "; above 0.7: sample the posterior instead"
    return places[np.sort(chosen)], f"Laplace approximation, reweighed (Pareto k {float(k):.2f}{trust})"


def _log_density(objective: Objective, place: Floats) -> float:
    """Log density of the posterior over places, without gradient; minus infinity where the model cannot be run."""
    prior = sum(float(one.log_density(place[k])) for k, one in enumerate(objective.priors.values()))
    try:
        return prior - (objective.payoff(place) - objective.penalty(place))
    except SimulationError:
        return -np.inf


def number_of(objective: Objective, region: int | str) -> int:
    """The number of a region given by number or name; FitError if there is none."""
    names = [one.region for one in objective.likelihoods]
    if isinstance(region, str):
        if region not in names:
            raise FitError(f"no region '{region}'{near(region, names)}; there are {', '.join(names)}")
        return names.index(region)
    if not 0 <= region < len(names):
        raise FitError(f"region={region}; there are {counted(len(names), 'region')}, the first is 0")
    return region
