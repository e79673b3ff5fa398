"""Transfer: what the regions of a fit say of a region that was not among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.statistics import Floats
from sd_cluster.errors import FitError

if TYPE_CHECKING:
    from calibration.likelihood import Likelihood
    from calibration.objective import Objective


def transfer_values(objective: Objective, places: Floats, likelihood: Likelihood, seed: int) -> Floats:
    """Values of everything a new region has unknown, drawn as if it were one more region of the same family.

    What regions share is taken as it was drawn. What is pooled is drawn around the common mean with the common spread.
    What every region has to itself is drawn from its prior. Noise, and a level shift that other regions have in the
    same year, is that of one of the other regions, drawn anew for every row; a shift of this region alone is drawn from
    its prior.

    Parameters
    ----------
    objective
        Of the other regions.
    places : shape (n_draws, n_unknowns)
        Of its unknowns.
    likelihood
        Of the new region.
    seed

    Returns
    -------
    values : shape (n_draws, n_names)
        In the order of `likelihood.names`.

    Raises
    ------
    FitError
        If an unknown of the new region is none of the objective's.
    """
    rng = np.random.default_rng([seed, 4])
    values, count = objective.values(places), len(places)
    others = [one.region for one in objective.likelihoods]
    pooled = {one.name: one for one in objective.pools}
    defaults = likelihood.default_priors()
    columns = []
    for name in likelihood.names:
        known = [name, *(f"{name} [{region}]" for region in others)]
        rows = [objective.names.index(one) for one in known if one in objective.names]
        extra = name in likelihood.extras
        if extra and not rows:
            columns.append(np.asarray(defaults[name].quantile(rng.random(count))))
        elif not rows:
            raise FitError(f"'{name}' is free in {likelihood.region}, but not in {', '.join(others)}")
        elif name in pooled:
            pool = pooled[name]
            around = places[:, pool.mean] + values[:, pool.spread] * rng.standard_normal(count)
            columns.append(np.asarray(pool.prior.value(around)))
        elif name in objective.own:
            columns.append(np.asarray(objective.priors[objective.names[rows[0]]].quantile(rng.random(count))))
        else:
            columns.append(values[np.arange(count), np.array(rows)[rng.integers(len(rows), size=count)]])
    return np.column_stack(columns)


def transfer_factors(objective: Objective, places: Floats, likelihood: Likelihood, seed: int) -> dict[str, Floats]:
    """Factors of gauges of a new region, drawn around those solved for the other regions; shape (n_draws,) each.

    Their logarithms are taken as normal over regions, with mean and spread those of the other regions at the middle
    of the draws.

    Raises
    ------
    FitError
        If fewer than two other regions have the series.
    """
    rng = np.random.default_rng([seed, 5])
    middle = np.median(places, axis=0)
    found = {}
    for name in likelihood.series:
        if not likelihood.solved(name):
            continue
        logs = [
            np.log(one.outcome(objective.of_region(middle, number))[name].judged.factor)
            for number, one in enumerate(objective.likelihoods)
            if name in one.series
        ]
        if len(logs) < 2:
            raise FitError(
                f"the factor of '{name}' cannot be told for {likelihood.region} from {len(logs)} other region; leave "
                "the series out, or hold out its last years instead"
            )
        wide = float(np.std(logs, ddof=1)) * np.sqrt(1.0 + 1.0 / len(logs))
        found[name] = np.exp(np.mean(logs) + wide * rng.standard_normal(len(places)))
    return found
