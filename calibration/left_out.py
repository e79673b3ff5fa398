"""Leave one region out: what a family without a region says of it, beside naive forecasts of the same figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from calibration.baselines import Naive, naive_forecasts, typical_region
from calibration.family import FamilyFit, fit_family
from calibration.forecasts import LEVELS, Forecast, forecast_from
from calibration.likelihood import Likelihood
from calibration.skill import Held, hold_series
from calibration.statistics import Floats
from calibration.transfer import transfer_values
from calibration.validation import Validation
from calibration.workers import run_together
from sd_cluster.errors import FitError, SimulationError, near

if TYPE_CHECKING:
    import pandas as pd

Made = tuple[list[Held], Forecast]
FEWEST = 3
"""Other regions from which a level can be told."""


@dataclass(frozen=True, eq=False)
class _Plan:
    """What every region left out needs.

    Attributes
    ----------
    fit
        Of the whole family.
    known, draws, seed, levels, groups, rounds
        As in `leave_one_out`.
    """

    fit: FamilyFit
    known: int
    draws: int
    seed: int
    levels: tuple[float, ...]
    groups: Mapping[str, str]
    rounds: int


def leave_one_out(
    fit: FamilyFit,
    *,
    regions: Sequence[str] | None = None,
    known: int = 0,
    groups: Mapping[str, str] = {},
    draws: int = 400,
    seed: int = 0,
    levels: Sequence[float] = LEVELS,
    rounds: int = 12,
    workers: int = 1,
) -> Validation:
    """Fit the family again without a region, predict the region from mean and spread of the others; every region once.

    A region left out is drawn around the common mean with the common spread, its noise is that of one of the others.
    Where a gauge's factor is free, only the shape of a series follows from the model: its level is drawn from those of
    the other regions, or with `known` follows from the region's own first figures. Compare regions of like size
    or give figures per head: no model knows how large a region is that it has not seen.

    The naive forecasts of a region nothing is known of are the middle of the other regions in the same year and, with
    `groups`, that of its group. With first figures known they are last value, drift, logistic curve and exponential
    smoothing, where so few figures allow, and the growth of a typical region from there.

    Parameters
    ----------
    fit
        Of the whole family.
    regions
        Which to leave out, each in turn; all where not given.
    known
        How many first figures of each series of the region are known; the others are predicted.
    groups
        Region -> group, such as its country.
    draws, seed, levels
        As in `predict`.
    rounds
        Most times spreads are moved without the region; they begin from those of the whole family.
    workers
        Processes to use, each for one region at a time; 1 stays in this process. The numbers are the same.

    Returns
    -------
    validation
        With every series of every region left out; `last` is None.

    Raises
    ------
    FitError
        If there is no such region, fewer than four regions in the family, or a series has a free factor and is
        predicted below zero.
    """
    names = [one.region for one in fit.objective.likelihoods]
    if len(names) <= FEWEST:
        raise FitError(f"{len(names)} regions are too few to leave one out; expected at least {FEWEST + 1}")
    for name in regions or ():
        if name not in names:
            raise FitError(f"no region '{name}' to leave out{near(name, names)}; there are {', '.join(names)}")
    if known < 0 or draws < 1:
        raise FitError(f"known={known}, draws={draws}; expected zero or more figures, and one draw or more")
    plan = _Plan(fit, known, draws, seed, tuple(levels), groups, rounds)
    asked = [(names.index(name),) for name in (names if regions is None else regions)]
    made = dict(_all(plan, asked, workers))
    held = [one for (number,) in asked for one in made[number][0]]
    forecasts = tuple(made[number][1] for (number,) in asked)
    return Validation(tuple(held), forecasts, plan.levels, None, "family without the region", seed)


def tally(validation: Validation) -> pd.DataFrame:
    """Scores over all regions: a row for each indicator and method.

    The columns are: series and figures; the mean of the errors in per cent; the geometric mean over regions of the CRPS
    over that of the first naive forecast (below 1 is better than it); the share of series in which the method errs less
    than the model; and the share of figures inside each band.
    """
    import pandas as pd

    table = validation.frame()
    keys = ["region", "indicator"]
    model = table[table["method"] == "model"].set_index(keys)["mape"]
    first = table[table["method"] != "model"].groupby(keys, sort=False).first()["crps"]
    rows = []
    for (indicator, method), some in table.groupby(["indicator", "method"], sort=False):
        there = some[some["note"] == ""].set_index(keys)
        if there.empty:
            continue
        ratios = np.log(there["crps"] / first.reindex(there.index))
        row = {"indicator": indicator, "method": method, "series": len(there), "figures": int(there["figures"].sum())}
        row |= {"mape": there["mape"].mean(), "crps_ratio": float(np.exp(ratios.mean()))}
        row["beats_model"] = float(np.mean(there["mape"] < model.reindex(there.index)))
        for level in validation.levels:
            name = f"inside_{100 * level:g}"
            banded = there[there["crps"].notna()]  # a single figure has no band to either side
            row[name] = float(np.average(banded[name], weights=banded["figures"])) if len(banded) else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def without(fit: FamilyFit, region: str, *, rounds: int = 12) -> FamilyFit:
    """The family fitted anew without a region, beginning from where the others stand with it."""
    others = [one for one in fit.objective.likelihoods if one.region != region]
    tail = f" [{region}]"
    priors = {name: prior for name, prior in fit.priors.items() if not name.endswith(tail)}
    there = dict(zip(fit.names, fit.place.tolist(), strict=True))
    start = np.array([place for name, place in there.items() if not name.endswith(tail)])
    return fit_family(others, priors, own=fit.own, pooled=fit.pooled, start=start, rounds=rounds)


def _all(plan: _Plan, asked: Sequence[tuple[int]], workers: int) -> Iterator[tuple[int, Made]]:
    if workers == 1:
        for (number,) in asked:
            yield _left_out(plan, number)
    else:
        yield from run_together(_left_out, plan, asked, workers)


def _left_out(plan: _Plan, number: int) -> tuple[int, Made]:
    """One region predicted by the others."""
    region = plan.fit.objective.likelihoods[number]
    family = without(plan.fit, region.region, rounds=plan.rounds)
    objective, places = family.objective, family.draws(plan.draws, plan.seed)
    hidden = _after_first(region, plan.known)
    values = transfer_values(objective, places, hidden, plan.seed)
    years = {name: one.years for name, one in hidden.series.items()}
    factors, ran = _factors(family, hidden, region, values, plan)
    forecast = forecast_from(
        hidden, places[ran], values[ran], years, origin="family without the region", seed=plan.seed,
        factors={name: some[ran] for name, some in factors.items()},
    )  # fmt: skip
    held = [
        hold_series(
            hidden, None, forecast, name, _naive(objective.likelihoods, region, name, plan), plan.levels, plan.seed
        )
        for name in hidden.series
    ]
    return number, (held, forecast)


def _after_first(region: Likelihood, known: int) -> Likelihood:
    """A region without its first figures."""
    if not known:
        return region
    series = dict(region.dataset.series)
    for name in region.series:
        one = series[name]
        if len(one.years) < known + 2:
            raise FitError(f"'{name}' of {region.region} has {len(one.years)} figures, too few to know {known} of them")
        kept = slice(known, None)
        series[name] = replace(
            one, years=one.years[kept].copy(), values=one.values[kept].copy(), sources=one.sources[kept],
            statuses=one.statuses[kept], lines=one.lines[kept],
            errors=None if one.errors is None else one.errors[kept].copy(),
        )  # fmt: skip
    return region.with_data(replace(region.dataset, series=series))


def _factors(
    family: FamilyFit, hidden: Likelihood, region: Likelihood, values: Floats, plan: _Plan
) -> tuple[dict[str, Floats], np.ndarray]:
    """Factors of a region's gauges that bring every draw to the level of other regions, or of the first figures.

    Returns
    -------
    factors : indicator -> shape (n_draws,)
    ran : shape (n_draws,)
        Which draws can be run.
    """
    rng = np.random.default_rng([plan.seed, 7])
    names = [name for name in hidden.series if hidden.solved(name)]
    first = {name: slice(None, plan.known) if plan.known else slice(None) for name in names}
    years = {name: region.series[name].years[first[name]] for name in names}
    if not names:
        return {}, np.ones(len(values), dtype=bool)
    logs = {name: np.full(len(values), np.nan) for name in names}
    predict = hidden.predictor(years)
    for row, some in enumerate(values):
        try:
            predicted, outcome = predict(some), hidden.outcome(some)
        except SimulationError:
            continue
        for name in names:
            logs[name][row] = _mean_log(predicted[name] / outcome[name].judged.factor, name)
    found, levels = {}, {} if plan.known else _levels(family, years)
    for name in names:
        if plan.known:
            seen = _mean_log(region.series[name].values[first[name]], name)
            doubt = np.array([region.noise[name].scale_at(some) for some in region.noise_values(name, values)])
            level = seen + np.nan_to_num(doubt) * rng.standard_normal(len(values))
        else:
            others = levels[name]
            wide = float(np.std(others, ddof=1)) * np.sqrt(1.0 + 1.0 / len(others))
            level = np.mean(others) + wide * rng.standard_t(len(others) - 1, len(values))
        found[name] = np.exp(level - logs[name])
    return found, np.all([np.isfinite(some) for some in logs.values()], axis=0)


def _levels(family: FamilyFit, years: Mapping[str, Floats]) -> dict[str, Floats]:
    """Mean logarithms of what the model says of the other regions in some years of each series."""
    found: dict[str, list[float]] = {name: [] for name in years}
    for number, one in enumerate(family.objective.likelihoods):
        asked = {name: some for name, some in years.items() if name in one.series}
        predicted = one.predictor(asked)(family.objective.of_region(family.place, number)) if asked else {}
        for name, values in predicted.items():
            found[name].append(_mean_log(values, name))
    for name, levels in found.items():
        if len(levels) < FEWEST:
            raise FitError(f"the level of '{name}' cannot be told from {len(levels)} other regions; leave it out")
    return {name: np.array(levels) for name, levels in found.items()}


def _mean_log(values: Floats, name: str) -> float:
    if not (values > 0.0).all():
        raise FitError(
            f"'{name}' has a free factor and is {values.min():g} somewhere; its level needs numbers above zero"
        )
    return float(np.mean(np.log(values)))


def _naive(others: Sequence[Likelihood], region: Likelihood, name: str, plan: _Plan) -> tuple[Naive, ...]:
    """Naive forecasts of the hidden figures of a series."""
    series = region.series[name]
    some = {one.region: one.series[name] for one in others if name in one.series}
    figures = {where: (one.years, one.values) for where, one in some.items() if (one.values > 0.0).all()}
    if not plan.known:
        found = [typical_region(figures, series.years)]
        group = plan.groups.get(region.region)
        near_by = {where: pair for where, pair in figures.items() if plan.groups.get(where) == group}
        if group is not None and len(near_by) > 1:
            found.append(replace(typical_region(near_by, series.years), method="typical of its group"))
        return tuple(found)
    years, ahead = series.years[: plan.known], series.years[plan.known :]
    values = series.values[: plan.known]
    apart = naive_forecasts(years, values, ahead, name=f"'{name}'")
    grown = {
        where: (when, level / level[when == years[-1]] * values[-1])
        for where, (when, level) in figures.items()
        if (when == years[-1]).any()
    }
    return (*apart, replace(typical_region(grown, ahead), method="typical growth"))
