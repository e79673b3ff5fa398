"""The mode of a posterior over places: where sampling and the Laplace approximation should begin.

The best point of a fit is not that place: a range ends at infinity in places, so an estimate at a bound lies thousands
of spreads out, where a sampler would wander for ever. The density of the places has its maximum well inside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from calibration.objective import Objective
from calibration.statistics import Floats
from sd_cluster.errors import SimulationError

OUTER = 0.005
"""Part of each prior left out at either end where the search for the mode begins."""
STEP = 1e-4
"""Half width of the differences that tell how a prior's log density bends."""
LEAST = 1e-3
"""Least curvature taken from a prior: heavy tails bend the wrong way."""
TRIALS = 150
"""Most trials of the search."""


def posterior_mode(objective: Objective, places: ArrayLike) -> Floats:
    """Find the place of greatest posterior density near the best points of a search.

    Spreads between regions stay where they are: the density of all places at once grows without end as a spread widens
    and the distances shrink, so its maximum says nothing of where the posterior is. `fit_family` finds spreads.

    Parameters
    ----------
    objective
        What is to be sampled.
    places : shape (n_unknowns,) or (n_places, n_unknowns)
        Where to begin, such as the ends of the starts; estimates at a bound are brought inside first. The best fit is
        not always nearest to the highest density, hence several.

    Returns
    -------
    place : shape (n_unknowns,)
        The highest mode come upon; the first place brought inside if the model can be run from none.
    """
    begun = np.unique(np.round(brought_inside(objective, np.atleast_2d(places)), 3), axis=0)
    found = [_climb(objective, one) for one in begun]
    best = min(range(len(found)), key=lambda k: found[k][0])
    return found[best][1] if np.isfinite(found[best][0]) else brought_inside(objective, np.atleast_2d(places)[0])


def _climb(objective: Objective, inside: Floats) -> tuple[float, Floats]:
    """Minus the log density of the mode reached from a place, and where it is."""
    from scipy.optimize import minimize

    moving = np.setdiff1d(np.arange(inside.size), [pool.spread for pool in objective.pools])

    def whole(some: Floats) -> Floats:
        where = inside.copy()
        where[moving] = some
        return where

    def falling(some: Floats) -> tuple[float, Floats]:
        try:
            density, slopes = objective.log_density(whole(some))
        except SimulationError:
            return np.inf, np.zeros(some.size)
        return -density, -slopes[moving]

    def curvature(some: Floats) -> Floats:
        where = whole(some)
        found = objective.information(where, data_only=True) + np.diag(_bends(objective, where))
        return np.asarray(found[np.ix_(moving, moving)])

    before = falling(inside[moving])[0]
    if not np.isfinite(before):
        return np.inf, inside
    found = minimize(
        falling, inside[moving], jac=True, hess=curvature, method="trust-exact",
        options={"gtol": 1e-4, "maxiter": TRIALS},
    )  # fmt: skip
    reached = whole(np.asarray(found.x, dtype=float))
    return (float(found.fun), reached) if np.isfinite(reached).all() and found.fun <= before else (before, inside)


def brought_inside(objective: Objective, places: ArrayLike) -> Floats:
    """Places with each unknown within the middle 99 % of its prior, same shape (..., n_unknowns)."""
    ends = [
        [float(np.asarray(prior.place(prior.quantile(share)))) for prior in objective.priors.values()]
        for share in (OUTER, 1.0 - OUTER)
    ]
    return np.asarray(np.clip(np.asarray(places, dtype=float), *np.array(ends)))


def _bends(objective: Objective, place: Floats) -> Floats:
    """Minus the second derivative of each prior's log density of the place, not below a small number."""
    bends = []
    for k, prior in enumerate(objective.priors.values()):
        before, after = (float(np.asarray(prior.log_density_slope(place[k] + side))) for side in (-STEP, STEP))
        bends.append(before - after)
    return np.maximum(np.array(bends) / (2.0 * STEP), LEAST)
