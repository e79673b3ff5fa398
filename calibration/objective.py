"""Objective: likelihoods of one or more regions plus priors, as a function of free coordinates.

Every unknown has a prior, a monotone map from an unbounded coordinate (its place) to its value. Optimisation,
profiles and samplers move in places, so bounds never bite and every unknown has about the same scale. Unknowns may be
shared by all regions, own to each, or pooled: then each region's place is drawn around a common mean with a common
spread, in the non-centred form (Betancourt and Girolami 2015, doi 10.1201/b18502-5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calibration.history import digest
from calibration.likelihood import Likelihood
from calibration.prior_stack import PriorStack
from calibration.priors import LogNormal, Normal, Prior
from calibration.statistics import Floats
from sd_cluster.errors import FitError, near

SPREAD, SPREAD_RATIO = 0.5, 4.0
"""Prior of the spread between regions: median, in standard deviations of a place, and 95 % quantile over it."""

OFFSET = Normal(0.0, 1.0, source="what a spread means")
"""Prior of a region's distance from the mean, in spreads."""

FARTHEST = 6.0
"""A start is no farther out than this, in places: the model's own value may stand at an end of its prior."""


@dataclass(frozen=True, eq=False)
class Pool:
    """One pooled parameter among the unknowns of an objective.

    A region's coordinate is that of the mean plus the spread times the region's own place; its prior turns that into
    its value.

    Attributes
    ----------
    name
        The parameter, as the model has it.
    mean, spread
        Rows of the unknowns that hold the place of the typical region and the spread.
    rows : shape (n_regions,)
        Rows that hold the distances of the regions from the mean, in spreads.
    regions
        Names of the regions, in the order of `rows`.
    priors
        The prior of each region, in whose coordinate it differs from the mean; usually one and the same.
    """

    name: str
    mean: int
    spread: int
    rows: NDArray[np.intp]
    regions: tuple[str, ...]
    priors: tuple[Prior, ...]

    def __post_init__(self) -> None:
        self.rows.setflags(write=False)

    @property
    def prior(self) -> Prior:
        """Of the typical region: that of the first."""
        return self.priors[0]


class Objective:
    """Minus the log posterior of the unknowns of one or more regions.

    Parameters
    ----------
    likelihoods
        One for each region; regions are told apart by their names.
    priors
        Prior of every free parameter, and of extras whose default is not wanted, by name.
    own
        Free parameters that every region has to itself.
    pooled
        Free parameters that regions have each, around a common mean with a common spread.
    inside
        Begin at the nearest end of a prior where it excludes the model's own value, rather than refuse.

    Attributes
    ----------
    names
        Of the unknowns. What belongs to one of several regions bears its name: `hiring rate [KR-DAEDEOK]`; pooled
        parameters bring `mean of hiring rate` (the value of a typical region) and `spread of hiring rate`.
    priors
        Of the unknowns, by name, in their order.
    start : shape (n_unknowns,)
        The model's own values as a place; medians of the priors where it has none.
    noise_names
        Those unknowns that belong to noise.
    pools
        One `Pool` for each pooled parameter; none where there is one region only.
    model
        Of the first region.

    Raises
    ------
    FitError
        If a free parameter has no prior, a prior names nothing, two regions bear one name, a parameter is both own and
        pooled, or the model's own value of a parameter lies outside its prior.
    """

    def __init__(
        self,
        likelihoods: Likelihood | Sequence[Likelihood],
        priors: Mapping[str, Prior],
        *,
        own: Sequence[str] = (),
        pooled: Sequence[str] = (),
        inside: bool = False,
    ) -> None:
        self.likelihoods = (likelihoods,) if isinstance(likelihoods, Likelihood) else tuple(likelihoods)
        if not self.likelihoods:
            raise FitError("an objective needs at least one likelihood")
        regions = [one.region for one in self.likelihoods]
        if len(set(regions)) < len(regions):
            raise FitError(f"two likelihoods bear one region ({', '.join(regions)}); give each its own `region`")
        self.model = self.likelihoods[0].model
        self.own, self.pooled = tuple(map(self.full_name, own)), tuple(map(self.full_name, pooled))
        self._many, self._inside = len(self.likelihoods) > 1, inside
        given = {self.full_name(name): prior for name, prior in priors.items()}
        _check_named(self.likelihoods, given, self.own, self.pooled)
        self._collect(given)
        self.start = self._start()

    def full_name(self, name: str) -> str:
        """The model's own name of a variable; any other name as it is."""
        return self.model.variable(name).name if name in self.model else name

    def _collect(self, given: Mapping[str, Prior]) -> None:
        """All unknowns with their priors, and where each likelihood finds its own among them."""
        unknowns: dict[str, Prior] = {}
        self._units: dict[str, str] = {}
        noisy: list[str] = []
        self._regional: list[tuple[int, int, int, Prior]] = []  # unknown, its mean, its spread, the prior it has
        means: dict[str, tuple[int, int]] = {}
        regions: dict[str, list[tuple[int, str, Prior]]] = {}
        self._at: list[NDArray[np.intp]] = []
        for one in self.likelihoods:
            defaults = one.default_priors()
            places = []
            for name in one.names:
                extra = name in one.extras
                shown = f"{name} [{one.region}]" if self._many and (extra or name in self.own + self.pooled) else name
                prior = given.get(shown) or given.get(name) or (defaults[name] if extra else None)
                if prior is None:
                    raise FitError(f"'{name}' is free but has no prior; give one, such as LogNormal(0.2, 3)")
                if name in self.pooled and self._many:
                    if name not in means:
                        mean, spread = f"mean of {name}", f"spread of {name}"
                        unknowns[mean] = given.get(mean) or prior
                        unknowns[spread] = given.get(spread) or _spread_of(prior)
                        self._units |= {mean: one.model.variable(name).units, spread: "dmnl"}
                        means[name] = (len(unknowns) - 2, len(unknowns) - 1)
                    unknowns[shown] = OFFSET
                    self._regional.append((len(unknowns) - 1, *means[name], prior))
                    regions.setdefault(name, []).append((len(unknowns) - 1, one.region, prior))
                elif shown not in unknowns:
                    unknowns[shown] = prior
                self._units[shown] = one.unit(name)
                noisy += [shown] if name in one.noise_names else []
                places.append(list(unknowns).index(shown))
            self._at.append(np.array(places, dtype=np.intp))
        self.priors, self._stack = unknowns, PriorStack(list(unknowns.values()))
        self.pools = tuple(_pool(name, *means[name], some) for name, some in regions.items())
        self.names = tuple(unknowns)
        self.noise_names = tuple(noisy)

    def _start(self) -> Floats:
        """The model's own values as a place; prior medians where it has none."""
        place = np.zeros(len(self.names))
        pooled = {row: (mean, spread, prior) for row, mean, spread, prior in self._regional}
        typical: dict[int, dict[int, float]] = {}
        for one, places in zip(self.likelihoods, self._at, strict=True):
            for name, own, row in zip(one.free, one.own_values(), places, strict=False):
                value = float(own)
                if np.isnan(value):
                    continue
                prior = pooled[row][2] if row in pooled else self.priors[self.names[row]]
                value = float(np.clip(value, prior.low, prior.high)) if self._inside else value
                try:
                    at = float(np.clip(prior.place(value), -FARTHEST, FARTHEST))
                except FitError:
                    raise FitError(
                        f"the prior of '{name}' excludes the model's own value {value:g}: it goes from {prior.low:g} to"
                        f" {prior.high:g}; widen it, or set '{name}' in the scenario"
                    ) from None
                if row in pooled:
                    typical.setdefault(pooled[row][0], {})[row] = at
                else:
                    place[row] = at
        for mean, regional in typical.items():
            place[mean] = np.mean(list(regional.values()))
            for row, at in regional.items():
                spread = float(np.asarray(self.priors[self.names[pooled[row][1]]].value(0.0)))
                place[row] = np.clip((at - place[mean]) / spread, -FARTHEST, FARTHEST)
        return place

    def pool(self, name: str) -> Pool:
        """Of a pooled parameter.

        Raises
        ------
        FitError
            If the parameter is not pooled; the text names the nearest one that is.
        """
        for one in self.pools:
            if one.name == self.full_name(name):
                return one
        pooled = [one.name for one in self.pools]
        told = f"; pooled are {', '.join(pooled)}" if pooled else ", and nothing else is"
        raise FitError(f"'{name}' is not pooled{near(name, pooled)}{told}")

    def unit(self, name: str) -> str:
        """Unit of an unknown's value; `dmnl` for what has none."""
        return self._units[name]

    @property
    def data_digest(self) -> str:
        """SHA-256 of the tables that the figures come from."""
        digests = [one.dataset.digest for one in self.likelihoods]
        return digests[0] if len(digests) == 1 else digest(digests)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the numbers depend on: models, figures, measurements, noise, priors and groups."""
        return digest([[one.digest for one in self.likelihoods], *map(repr, (self.priors, self.own, self.pooled))])

    def values(self, place: Floats) -> Floats:
        """Values in their own units, shape (n_unknowns,), from places of that shape or of shape (n, n_unknowns)."""
        place = np.asarray(place, dtype=float)
        found = self._stack.value(place)
        for row, mean, spread, prior in self._regional:
            found[..., row] = prior.value(place[..., mean] + found[..., spread] * place[..., row])
        return found

    def place(self, values: Floats) -> Floats:
        """Places, shape (n_unknowns,), from values of that shape.

        Raises
        ------
        FitError
            If a value lies outside its prior.
        """
        values = np.asarray(values, dtype=float)
        regional = {row for row, *_ in self._regional}
        found = np.zeros(len(values))
        for k, (name, prior) in enumerate(self.priors.items()):
            if k not in regional:
                try:
                    found[k] = float(np.asarray(prior.place(values[k])))
                except FitError as error:
                    raise FitError(f"'{name}': {error}") from None
        for row, mean, spread, prior in self._regional:
            found[row] = (float(np.asarray(prior.place(values[row]))) - found[mean]) / values[spread]
        return found

    def _slopes(self, place: Floats, values: Floats) -> Floats:
        """Derivatives of the values by the places, shape (n_unknowns, n_unknowns)."""
        slopes = np.diag(self._stack.slope(place))
        for row, mean, spread, prior in self._regional:
            steep = float(np.asarray(prior.slope(place[mean] + values[spread] * place[row])))
            slopes[row, row] = steep * values[spread]
            slopes[row, mean] = steep
            slopes[row, spread] = steep * place[row] * slopes[spread, spread]
        return slopes

    def payoff(self, place: Floats) -> float:
        """Minus the log-likelihood of all regions plus the priors' penalties.

        Raises
        ------
        SimulationError
            If a run blows up.
        """
        place = np.asarray(place, dtype=float)
        return self._misfit(self.values(place)) + self.penalty(place)

    def payoff_and_gradient(self, place: Floats) -> tuple[float, Floats]:
        """The payoff and its derivatives by the places, shape (n_unknowns,)."""
        place = np.asarray(place, dtype=float)
        misfit, gradient = self._misfit_and_gradient(place)
        return misfit + self.penalty(place), gradient + self._stack.penalty_slope(place)

    def log_density(self, place: Floats) -> tuple[float, Floats]:
        """Log density of the posterior over places, up to a constant, and its derivatives: what samplers need."""
        place = np.asarray(place, dtype=float)
        misfit, gradient = self._misfit_and_gradient(place)
        density = float(self._stack.log_density(place).sum())
        return density - misfit, self._stack.log_density_slope(place) - gradient

    def penalty(self, place: Floats) -> float:
        """What the priors add to the payoff."""
        return float(self._stack.penalty(np.asarray(place, dtype=float)).sum())

    def information(self, place: Floats, *, data_only: bool = False) -> Floats:
        """Expected information of the data (and of the priors' penalties) about the places, shape (n_unknowns,) * 2."""
        place = np.asarray(place, dtype=float)
        values = self.values(place)
        total = np.zeros((len(place), len(place)))
        for one, at in zip(self.likelihoods, self._at, strict=True):
            total[np.ix_(at, at)] += one.information(values[at])
        slopes = self._slopes(place, values)
        found: Floats = slopes.T @ total @ slopes
        if data_only:
            return found
        return found + np.diag(self._stack.curvature(place))

    def sample_prior(self, count: int, seed: int) -> Floats:
        """Places drawn from the prior by a Latin hypercube, shape (count, n_unknowns)."""
        from scipy.stats import qmc

        unit = qmc.LatinHypercube(d=len(self.names), rng=np.random.default_rng(seed)).random(count)
        columns = [np.asarray(p.place(p.quantile(unit[:, k]))) for k, p in enumerate(self.priors.values())]
        return np.column_stack(columns)

    def of_region(self, place: Floats, number: int = 0) -> Floats:
        """Values in the order of `likelihoods[number].names`."""
        found: Floats = self.values(place)[..., self._at[number]]
        return found

    def _misfit(self, values: Floats) -> float:
        return sum(one.payoff(values[at]) for one, at in zip(self.likelihoods, self._at, strict=True))

    def _misfit_and_gradient(self, place: Floats) -> tuple[float, Floats]:
        values = self.values(place)
        misfit, gradient = 0.0, np.zeros(len(values))
        for one, at in zip(self.likelihoods, self._at, strict=True):
            more, slope = one.payoff_and_gradient(values[at])
            misfit += more
            gradient[at] += slope
        return misfit, self._pulled_back(place, values, gradient)

    def _pulled_back(self, place: Floats, values: Floats, gradient: Floats) -> Floats:
        """Derivatives by the places from those by the values: the transposed slopes times these."""
        by_place = self._stack.slope(place)
        found: Floats = by_place * gradient
        for row, mean, spread, prior in self._regional:
            told = float(prior.slope(place[mean] + values[spread] * place[row])) * gradient[row]
            found[row] = values[spread] * told
            found[mean] += told
            found[spread] += place[row] * by_place[spread] * told
        return found


def _pool(name: str, mean: int, spread: int, some: Sequence[tuple[int, str, Prior]]) -> Pool:
    rows, regions, priors = zip(*some, strict=True)
    return Pool(name, mean, spread, np.array(rows, dtype=np.intp), regions, priors)


def _spread_of(prior: Prior) -> Prior:
    """Prior of the spread between regions, in places of a prior."""
    source = "assumed: regions differ by about half the width of the prior"
    return LogNormal(SPREAD * prior.spread, SPREAD_RATIO, source=source)


def _check_named(
    likelihoods: Sequence[Likelihood], priors: Mapping[str, Prior], own: Sequence[str], pooled: Sequence[str]
) -> None:
    """Every prior and every own or pooled name must be an unknown of some region."""
    free = {name for one in likelihoods for name in one.free}
    for name in (*own, *pooled):
        if name not in free:
            raise FitError(f"'{name}' is to be own or pooled but is not free{near(name, free)}")
    for name in own:
        if name in pooled:
            raise FitError(f"'{name}' is both own and pooled; regions have it either each to itself or around a mean")
    known = {name for one in likelihoods for name in one.names}
    known |= {f"{name} [{one.region}]" for one in likelihoods for name in one.names}
    known |= {f"{what} of {name}" for what in ("mean", "spread") for name in pooled}
    for name, prior in priors.items():
        if name not in known:
            raise FitError(f"a prior is given for '{name}', which is not free{near(name, known)}")
        if not isinstance(prior, Prior):
            raise FitError(f"the prior of '{name}' is {prior!r}; expected a prior, such as LogNormal(0.2, 3)")
