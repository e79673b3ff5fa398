"""A family of regions: one structure, parameters that differ from region to region around a common mean.

A search for the best point of everything at once is no way to find how far regions differ: distances from the mean cost
less the wider the spread is said to be, and the spread runs away (in the centred form it collapses instead). The
spread is found here where the figures are most probable after the distances are averaged out, by Laplace's
approximation: the score of its logarithm is the sum over regions of E z^2 - 1, z being the distance in spreads, and the
information twice the sum of (1 - Var z)^2; both are exact where predictions are linear and noise is normal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.chains import laplace_root
from calibration.fit import Fit
from calibration.likelihood import Likelihood
from calibration.modes import brought_inside
from calibration.objective import Objective
from calibration.optimisation import minimise
from calibration.priors import LogNormal, Prior
from calibration.searches import Counted, Search
from calibration.statistics import Floats
from calibration.words import counted
from sd_cluster.errors import FitError

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 3
"""Regions from which a spread can be told."""
SETTLED = 0.03
"""A spread is found when its next step is shorter than this, in its logarithm."""
LONGEST = 0.7
"""Longest step of a spread's logarithm."""
PINNED = 1.0 + 1e-9
"""95 % quantile over median of a spread that is held."""
STEPS = 250
"""Most steps of one search."""
IDLE, LITTLE = 6, 0.01
"""A search is done that gained less than this in so many steps: figures tell no such differences apart."""
ENOUGH = 0.05
"""Payoff still to be gained, by the local quadratic, below which a search has come to rest."""
FARTHEST = 5.0
"""No region begins farther from the mean, in spreads."""


@dataclass(frozen=True, eq=False)
class FamilyFit:
    """Mean and spread of what regions have each, and every region within them.

    Attributes
    ----------
    objective
        Of all regions, with the priors as given.
    place : shape (n_unknowns,)
        The best place with spreads held at their estimates.
    root : shape (n_unknowns, n_unknowns)
        Square root of the covariance of places around it, spreads held (Laplace's approximation).
    doubts : shape (n_pooled,)
        Standard deviation of each spread's place.
    priors, own, pooled
        As given.
    rounds
        Times the spreads were moved.
    settled
        Whether they came to rest, and the last search with them.
    """

    objective: Objective
    place: Floats
    root: Floats
    doubts: Floats
    priors: Mapping[str, Prior]
    own: tuple[str, ...]
    pooled: tuple[str, ...]
    rounds: int
    settled: bool

    def __post_init__(self) -> None:
        for array in (self.place, self.root, self.doubts):
            array.setflags(write=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the unknowns."""
        return self.objective.names

    @property
    def values(self) -> dict[str, float]:
        """The unknowns in their own units."""
        return dict(zip(self.names, self.objective.values(self.place).tolist(), strict=True))

    @property
    def errors(self) -> Floats:
        """Standard deviations of the places, spreads held, shape (n_unknowns,)."""
        return np.asarray(np.sqrt(np.sum(self.root**2, axis=1)))

    def frame(self) -> pd.DataFrame:
        """A row for each pooled parameter: the typical region, 90 % of regions, and how sure both are."""
        import pandas as pd

        rows = []
        for number, name in enumerate(self.pooled):
            mean, spread, _ = pool_of(self.objective, name)
            prior = self.prior(name)
            middle, wide = float(self.place[mean]), self.values[self.names[spread]]
            ends = [middle + q * wide for q in (-1.645, 1.645)]
            sure = [middle + q * self.errors[mean] for q in (-1.645, 1.645)]
            numbers = np.asarray(prior.value([middle, *sure, *ends])).tolist()
            columns = ("typical", "typical_low", "typical_high", "region_low", "region_high")
            row = {"parameter": name, "unit": self.objective.unit(self.names[mean])}
            spread_of = {"spread": wide, "spread_error": self._relative_doubt(number) * wide}
            rows.append({**row, **dict(zip(columns, numbers, strict=True)), **spread_of})
        return pd.DataFrame(rows)

    def draws(self, count: int, seed: int) -> Floats:
        """Places from the approximate posterior, shape (count, n_unknowns).

        A spread is drawn from what the regions tell of it; distances follow, so that regions stay where they are.
        """
        rng = np.random.default_rng([seed, 6])
        found = self.place + rng.standard_normal((count, len(self.place))) @ self.root.T
        for doubt, name in zip(self.doubts, self.pooled, strict=True):
            _, spread, rows = pool_of(self.objective, name)
            prior = self.objective.priors[self.names[spread]]
            found[:, spread] = self.place[spread] + doubt * rng.standard_normal(count)
            found[:, rows] *= (prior.value(self.place[spread]) / prior.value(found[:, spread]))[:, None]
        return found

    def held(self) -> tuple[Objective, Floats]:
        """The same objective with its spreads held at their estimates, and the place in it: what may be profiled."""
        place = self.place.copy()
        place[[pool.spread for pool in self.objective.pools]] = 0.0
        return _held(self.objective, self.place, self.priors), place

    def prior(self, name: str) -> Prior:
        """The prior of a pooled parameter, in whose coordinate regions differ."""
        return self.objective.pool(name).prior

    def _relative_doubt(self, number: int) -> float:
        _, spread, _ = pool_of(self.objective, self.pooled[number])
        prior, at = self.objective.priors[self.names[spread]], self.place[spread]
        return float(self.doubts[number] * prior.slope(at) / prior.value(at))

    def __str__(self) -> str:
        table = self.frame().to_string(index=False, float_format=lambda number: f"{number:.3g}")
        some = counted(len(self.objective.likelihoods), "region")
        rest = "" if self.settled else "; NOT settled: allow more rounds"
        return f"Family of {some}, spreads found in {counted(self.rounds, 'round')}{rest}\n{table}"


def fit_alone(
    likelihoods: Sequence[Likelihood],
    priors: Mapping[str, Prior],
    *,
    starts: int = 4,
    seed: int = 0,
    search: Search | None = None,
    folder: str | Path | None = None,
    workers: int | None = 1,
    progress: bool = False,
) -> tuple[Fit, ...]:
    """Fit every region by itself, as if it had no family.

    Parameters
    ----------
    likelihoods, priors
        As for `Objective`.
    starts, seed, search, workers, progress
        Of each fit, as in `minimise`.
    folder
        Where to keep starts, in a folder for each region; nothing is kept without one.

    Raises
    ------
    FitError
        As `minimise`.
    """
    objectives = [Objective(one, _own_priors(one, priors)) for one in likelihoods]
    return tuple(
        minimise(
            one, starts=starts, seed=seed, search=search, workers=workers, progress=progress,
            folder=None if folder is None else Path(folder) / f"region-{number}",
        )
        for number, one in enumerate(objectives, start=1)
    )  # fmt: skip


def fit_family(
    likelihoods: Sequence[Likelihood],
    priors: Mapping[str, Prior],
    *,
    pooled: Sequence[str],
    own: Sequence[str] = (),
    alone: Sequence[Fit] = (),
    start: Floats | None = None,
    rounds: int = 30,
) -> FamilyFit:
    """Find mean and spread of the pooled parameters, and every region within them.

    Parameters
    ----------
    likelihoods, priors, own, pooled
        As for `Objective`.
    alone
        Fits of the regions each by itself, from `fit_alone`, to begin from; made here where not given.
    start : shape (n_unknowns,)
        A place to begin from instead.
    rounds
        Most times the spreads are moved.

    Raises
    ------
    FitError
        If nothing is pooled, there are fewer than three regions, or as for `Objective`.
    SimulationError
        If the start cannot be run.

    References
    ----------
    Tierney, L. and Kadane, J. B. (1986), Accurate approximations for posterior moments and marginal densities, Journal
    of the American Statistical Association 81, 82-86, doi:10.1080/01621459.1986.10478240.
    """
    from threadpoolctl import threadpool_limits

    if not pooled:
        raise FitError("nothing is pooled, so the regions are no family; name parameters in pooled=")
    if len(likelihoods) < FEWEST:
        raise FitError(f"{counted(len(likelihoods), 'region')} cannot tell how far regions differ; give {FEWEST}")
    objective = Objective(likelihoods, priors, own=own, pooled=pooled)
    if start is None:
        fits = tuple(alone) or fit_alone(likelihoods, priors)
        start = _together(objective, fits)
    place, spreads = np.array(start, dtype=float), [pool_of(objective, name)[1] for name in objective.pooled]
    settled, doubts, root, done = False, np.zeros(len(spreads)), np.eye(len(place)), 0
    gains, before = np.ones(len(spreads)), np.zeros(len(spreads))
    with threadpool_limits(1):  # threads that wait for one another cost a hundred times the work on a busy machine
        while done < rounds and not settled:
            held = _held(objective, place, priors)
            place, rested = _search(held, place, spreads)
            root = laplace_root(held, place)
            steps, doubts = _spread_steps(objective, place, root)
            settled, done = bool(np.abs(steps).max() < SETTLED and rested), done + 1
            gains = np.where(steps * before < 0.0, 0.5 * gains, gains)  # what swings to and fro is slowed down
            before = steps
            if not settled and done < rounds:
                place = _moved(objective, place, gains * steps)
    kept = {objective.full_name(name): prior for name, prior in priors.items()}
    return FamilyFit(objective, place, root, doubts, kept, objective.own, objective.pooled, done, settled)


def pool_of(objective: Objective, name: str) -> tuple[int, int, NDArray[np.intp]]:
    """Rows of a pooled parameter: of its mean, of its spread, and of the regions' distances from the mean."""
    pool = objective.pool(name)
    return pool.mean, pool.spread, pool.rows


def region_of(name: str) -> str:
    """The region that an unknown's name bears in brackets; empty where it bears none.

    Examples
    --------
    >>> region_of("hiring rate [DE21]"), region_of("hiring rate")
    ('DE21', '')
    """
    return name.rpartition(" [")[2].removesuffix("]") if name.endswith("]") else ""


def _own_priors(one: Likelihood, priors: Mapping[str, Prior]) -> dict[str, Prior]:
    """Of given priors those that a region's own objective knows, without the region's name."""
    full = {one.model.variable(name).name if name in one.model else name: prior for name, prior in priors.items()}
    plain = {name: prior for name, prior in full.items() if name in one.names}
    tail = f" [{one.region}]"
    return plain | {name.removesuffix(tail): prior for name, prior in full.items() if name.endswith(tail)}


def _together(objective: Objective, fits: Sequence[Fit]) -> Floats:
    """A place of the family from the fits of its regions: what is shared is their mean."""
    if len(fits) != len(objective.likelihoods):
        raise FitError(f"{counted(len(fits), 'fit')} for {counted(len(objective.likelihoods), 'region')}; one for each")
    found = dict(zip(objective.names, objective.start.tolist(), strict=True))
    alone: dict[str, list[float]] = {}
    for one, fit in zip(objective.likelihoods, fits, strict=True):
        inside = fit.place if fit.objective is None else brought_inside(fit.objective, fit.place)
        for name, place in zip(fit.names, inside.tolist(), strict=True):
            alone.setdefault(name, []).append(place)
            if f"{name} [{one.region}]" in found:
                found[f"{name} [{one.region}]"] = place
    for name, places in alone.items():
        if name in found:
            found[name] = float(np.mean(places))
    place = np.array(list(found.values()))
    for name in objective.pooled:
        mean, spread, rows = pool_of(objective, name)
        prior = objective.priors[objective.names[spread]]
        place[mean] = float(np.mean(place[rows]))
        wide = float(np.clip(np.std(place[rows]), prior.value(-2.0), prior.value(2.0)))
        place[spread] = float(prior.place(wide))
        place[rows] = np.clip((place[rows] - place[mean]) / wide, -FARTHEST, FARTHEST)
    return place


def is_family(objective: Objective) -> bool:
    """Whether an objective pools something over regions enough to tell how far they differ."""
    return bool(objective.pools) and len(objective.likelihoods) >= FEWEST


def _held(objective: Objective, place: Floats, priors: Mapping[str, Prior]) -> Objective:
    """The same objective with its spreads held where they are: their places become zero."""
    values = dict(zip(objective.names, objective.values(place).tolist(), strict=True))
    spreads = {f"spread of {name}" for name in objective.pooled}
    pinned: dict[str, Prior] = {name: LogNormal(values[name], PINNED, source="held") for name in spreads}
    free = {name: prior for name, prior in priors.items() if name not in spreads}
    return Objective(objective.likelihoods, {**free, **pinned}, own=objective.own, pooled=objective.pooled)


def _search(held: Objective, place: Floats, spreads: Sequence[int]) -> tuple[Floats, bool]:
    """The best place with spreads held, and whether the search came to rest."""
    from scipy.optimize import minimize

    counted_, begin = Counted(held), place.copy()
    begin[list(spreads)] = 0.0
    held.payoff(begin)  # a start that cannot be run fails here, with its reason
    found = minimize(
        counted_.both, begin, jac=True, hess=counted_.curvature, method="trust-exact", callback=_Rest(),
        options={"maxiter": STEPS, "initial_trust_radius": 2.0, "max_trust_radius": 20.0},
    )  # fmt: skip
    end = np.asarray(found.x, dtype=float)
    rested = counted_.left(end) < ENOUGH
    end[list(spreads)] = place[list(spreads)]
    return end, rested


class _Rest:
    """Ends a search that has gained little for a while."""

    def __init__(self) -> None:
        self._best = [np.inf] * IDLE

    def __call__(self, intermediate_result: Any) -> None:
        self._best.append(min(self._best[-1], float(intermediate_result.fun)))
        if self._best[-1 - IDLE] - self._best[-1] < LITTLE:
            raise StopIteration


def _spread_steps(objective: Objective, place: Floats, root: Floats) -> tuple[Floats, Floats]:
    """Steps of the logarithms of the spreads towards where they are most probable, and the doubts of their places."""
    steps, doubts = [], []
    variances = np.sum(root**2, axis=1)
    for name in objective.pooled:
        _, spread, rows = pool_of(objective, name)
        prior, at = objective.priors[objective.names[spread]], place[spread]
        stretch = float(prior.slope(at) / prior.value(at))
        score = stretch * float(np.sum(place[rows] ** 2 + variances[rows] - 1.0)) - float(prior.penalty_slope(at))
        told = 2.0 * float(np.sum(np.clip(1.0 - variances[rows], 0.0, 1.0) ** 2))
        information = stretch**2 * told + max(float(prior.curvature(at)), 1e-3)
        steps.append(float(np.clip(stretch * score / information, -LONGEST, LONGEST)))
        doubts.append(1.0 / math.sqrt(information))
    return np.array(steps), np.array(doubts)


def _moved(objective: Objective, place: Floats, steps: Floats) -> Floats:
    """A place with other spreads and the regions where they are."""
    found = place.copy()
    for name, step in zip(objective.pooled, steps, strict=True):
        _, spread, rows = pool_of(objective, name)
        prior = objective.priors[objective.names[spread]]
        old = float(prior.value(place[spread]))
        new = float(np.clip(old * math.exp(step), prior.value(-6.0), prior.value(6.0)))
        found[spread] = float(prior.place(new))
        found[rows] = np.clip(found[rows] * old / new, -FARTHEST, FARTHEST)
    return found
