"""Shrinkage: what a region's figures say by themselves, beside what they say in the region's family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.chains import laplace_root
from calibration.family import FamilyFit, pool_of, region_of
from calibration.fit import Fit
from calibration.modes import brought_inside
from calibration.statistics import Floats
from calibration.words import listed, quoted
from sd_cluster.errors import FitError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Shrinkage:
    """One pooled parameter of every region, by itself and in its family.

    Attributes
    ----------
    parameter, unit
    regions
    alone, pooled : shape (n_regions,)
        Estimates, in `unit`.
    alone_ends, pooled_ends : shape (2, n_regions)
        Values one standard error below and above them.
    pulls : shape (n_regions,)
        How much of a region's estimate is the family's: 0 where the region's figures say all, 1 where they say nothing
        (the variance of its distance from the mean, in spreads).
    typical
        The typical region.
    typical_ends : shape (2,)
        One spread below and above it.
    logarithmic
        Whether distances are ratios.
    """

    parameter: str
    unit: str
    regions: tuple[str, ...]
    alone: Floats
    pooled: Floats
    alone_ends: Floats
    pooled_ends: Floats
    pulls: Floats
    typical: float
    typical_ends: Floats
    logarithmic: bool

    def __post_init__(self) -> None:
        for array in (self.alone, self.pooled, self.alone_ends, self.pooled_ends, self.pulls, self.typical_ends):
            array.setflags(write=False)

    def frame(self) -> pd.DataFrame:
        """A row for each region."""
        import pandas as pd

        columns = {"parameter": self.parameter, "unit": self.unit, "region": self.regions, "alone": self.alone}
        columns |= {"alone_low": self.alone_ends[0], "alone_high": self.alone_ends[1], "in_family": self.pooled}
        columns |= {"family_low": self.pooled_ends[0], "family_high": self.pooled_ends[1], "pull": self.pulls}
        return pd.DataFrame(columns)

    @property
    def text(self) -> str:
        """How strongly regions are drawn to the mean, in a sentence."""
        order = np.argsort(self.pulls)
        weak, strong = (quoted([self.regions[order[end]]])[0] for end in (0, -1))
        return (
            f"'{self.parameter}': of a region's estimate {100.0 * float(np.mean(self.pulls)):.0f} % is the family's on "
            f"average, least in {weak} ({100.0 * self.pulls.min():.0f} %) and most in {strong} "
            f"({100.0 * self.pulls.max():.0f} %)."
        )


def shrinkage(fit: FamilyFit, alone: Sequence[Fit]) -> tuple[Shrinkage, ...]:
    """Set every region's pooled parameters beside what it says of them by itself.

    Parameters
    ----------
    fit
    alone
        Fits of the same regions each by itself, from `fit_alone`.

    Raises
    ------
    FitError
        If the fits are not those of the family's regions.

    References
    ----------
    Gelman, A. and Pardoe, I. (2006), Bayesian measures of explained variance and pooling in multilevel models,
    Technometrics 48, 241-251, doi:10.1198/004017005000000517.
    """
    objective = fit.objective
    regions = tuple(one.region for one in objective.likelihoods)
    objectives = [one.objective for one in alone if one.objective is not None]
    if tuple(one.likelihoods[0].region for one in objectives) != regions:
        raise FitError(f"expected a fit of each region of the family, in their order: {listed(quoted(regions))}")
    places = [brought_inside(its, one.place) for its, one in zip(objectives, alone, strict=True)]
    errors = [
        np.sqrt(np.sum(laplace_root(its, where) ** 2, axis=1)) for its, where in zip(objectives, places, strict=True)
    ]
    sure = [dict(zip(one.names, some, strict=True)) for one, some in zip(alone, errors, strict=True)]
    at = [dict(zip(one.names, where, strict=True)) for one, where in zip(alone, places, strict=True)]
    return tuple(_shrunk(fit, name, at, sure) for name in fit.pooled)


def _shrunk(
    fit: FamilyFit, name: str, at: Sequence[Mapping[str, float]], sure: Sequence[Mapping[str, float]]
) -> Shrinkage:
    mean, spread, rows = pool_of(fit.objective, name)
    prior = fit.prior(name)
    regions = tuple(region_of(fit.names[row]) for row in rows)
    chosen = [k for k, one in enumerate(fit.objective.likelihoods) if one.region in regions]
    places, errors = (np.array([some[k][name] for k in chosen]) for some in (at, sure))
    wide = fit.values[fit.names[spread]]
    pooled = fit.place[mean] + wide * fit.place[rows]
    moves = np.zeros((len(rows), len(fit.place)))
    moves[:, mean] = 1.0
    moves[np.arange(len(rows)), rows] = wide
    within = np.sqrt(np.sum((moves @ fit.root) ** 2, axis=1))
    sides = np.array([[-1.0], [1.0]])
    return Shrinkage(
        name,
        fit.objective.unit(fit.names[mean]),
        regions,
        np.asarray(prior.value(places)),
        np.asarray(prior.value(pooled)),
        np.asarray(prior.value(places + sides * errors)),
        np.asarray(prior.value(pooled + sides * within)),
        np.clip(fit.errors[rows] ** 2, 0.0, 1.0),
        float(prior.value(fit.place[mean])),
        np.asarray(prior.value(fit.place[mean] + sides[:, 0] * wide)),
        hasattr(prior, "ratio") or type(prior).__name__ == "LogUniform",
    )
