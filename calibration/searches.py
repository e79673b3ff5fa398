"""Ways to search for the least payoff from one place: a trust region alone, or a global search before it.

All move in places, the unbounded coordinates of an objective. The trust region solves its subproblem nearly exactly
(Conn, Gould and Toint 2000, doi:10.1137/1.9780898719857, section 7.3, through SciPy) with the expected information as
curvature, which is Fisher's scoring: close to Newton's steps near an optimum and never a step uphill away from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from calibration.objective import Objective
from calibration.prior_stack import PriorStack
from calibration.statistics import Floats
from sd_cluster.errors import FitError, SimulationError

SHARP = 1e-7
"""Length of the gradient, in places, below which a point is an optimum."""
RIDGE = 1e-6
"""Curvature added in every direction, so that unknowns without any effect stay where they are."""
POLISH = 4
"""Most Newton steps at the end of a search."""
KNOWN = 1e-5
"""Payoff still to be gained, by the local quadratic, below which a point is as good as an optimum."""
PATIENCE = 12
"""Trials without any gain after which a search gives up: rounding hides what may be left."""
BEND = 1e-3
"""Half width of the difference that tells how the coordinate of a prior bends."""
EDGE = 0.005
"""Part of a prior left out at either end of the box in which a global search moves."""


class Search(Protocol):
    """How to get from a place to an optimum."""

    def descend(self, counted: "Counted", place: Floats, seed: int) -> tuple[Floats, str]:
        """Where it ended, and "converged" or why not.

        Raises
        ------
        SimulationError
            If the first place cannot be run.
        """


class Counted:
    """An objective with a count of runs; a place that cannot be run is infinitely bad."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.runs = 0
        self._priors = PriorStack(list(objective.priors.values()))
        self._last: tuple[bytes, float, Floats] | None = None

    def payoff(self, place: Floats) -> float:
        """The payoff alone, infinite where the run fails."""
        self.runs += 1
        try:
            return self.objective.payoff(place)
        except SimulationError:
            return np.inf

    def both(self, place: Floats) -> tuple[float, Floats]:
        """Payoff and gradient; infinite and zero where the run fails, so that a trust region shrinks."""
        where = place.tobytes()
        if self._last is None or self._last[0] != where:
            self.runs += 1
            try:
                self._last = (where, *self.objective.payoff_and_gradient(place))
            except SimulationError:
                self._last = (where, np.inf, np.zeros(place.size))
        return self._last[1], self._last[2]

    def curvature(self, place: Floats) -> Floats:
        """Expected information, and what the bend of the coordinates adds where it is positive.

        Towards an end of a range values flatten out over places, and information with them: without the bend, steps
        there would be far too long. The objective remembers the run of the latest place.
        """
        pull = self.both(place)[1] - self._priors.penalty_slope(place)
        below, slope, above = self._priors.slope(place + np.array([[-BEND], [0.0], [BEND]]))
        bends = pull * np.divide(above - below, 2.0 * BEND * slope, out=np.zeros_like(slope), where=slope > 0.0)
        found: Floats = self.objective.information(place) + np.diag(np.maximum(bends, 0.0) + RIDGE)
        return found

    def left(self, place: Floats) -> float:
        """Payoff that the local quadratic still promises."""
        gradient = self.both(place)[1]
        return 0.5 * float(gradient @ np.linalg.solve(self.curvature(place), gradient))


@dataclass(frozen=True)
class TrustRegion:
    """Descent by exact gradients and Fisher's information; the default.

    In a curved valley with figures far off, the expected information misleads, and steps become small: what has not
    settled after so many trials goes on by the method of Broyden, Fletcher, Goldfarb and Shanno from that curvature.

    Attributes
    ----------
    steps
        Most trials of one start, with either method.
    """

    steps: int = 120

    def __post_init__(self) -> None:
        _at_least(self, "steps", 1)

    def descend(self, counted: Counted, place: Floats, seed: int) -> tuple[Floats, str]:
        """As `Search` says; the seed is not used."""
        from scipy.optimize import minimize

        counted.objective.payoff(place)  # a start that cannot be run fails here, with its reason
        found = minimize(
            counted.both, place, jac=True, hess=counted.curvature, method="trust-exact", callback=_Stall(),
            options={"gtol": SHARP, "maxiter": self.steps},
        )  # fmt: skip
        place = np.asarray(found.x, dtype=float)
        if counted.left(place) > KNOWN:
            place = self._along_the_valley(counted, place)
        place = _sharpened(counted, place)
        left = counted.left(place)
        if left < KNOWN:
            return place, "converged"
        return place, f"stopped without settling, with about {left:.2g} of payoff to gain"

    def _along_the_valley(self, counted: Counted, place: Floats) -> Floats:
        """Go on by BFGS, which learns the curvature that the expected information leaves out."""
        from scipy.optimize import minimize

        known = np.linalg.inv(counted.curvature(place))
        found = minimize(
            counted.both, place, jac=True, method="BFGS",
            options={"gtol": 1e-5, "maxiter": self.steps, "hess_inv0": 0.5 * (known + known.T)},
        )  # fmt: skip
        better = np.asarray(found.x, dtype=float)
        return better if counted.both(better)[0] <= counted.both(place)[0] else place


def _sharpened(counted: Counted, place: Floats) -> Floats:
    """A few Newton steps judged by the gradient, which still tells where the payoff is flat to rounding."""
    for _ in range(POLISH):
        payoff, gradient = counted.both(place)
        step = np.linalg.solve(counted.curvature(place), gradient)
        moved, slope = counted.both(place - step)
        if not (moved <= payoff + 1e-9 and np.linalg.norm(slope) < 0.5 * np.linalg.norm(gradient)):
            return place
        place = place - step
    return place


class _Stall:
    """Ends a descent once trials have stopped gaining."""

    def __init__(self) -> None:
        self._best, self._since = np.inf, 0

    def __call__(self, intermediate_result: object) -> None:
        payoff = float(getattr(intermediate_result, "fun", np.nan))
        gained = self._best - payoff > 1e-11 * (1.0 + abs(payoff))
        self._best, self._since = (payoff, 0) if gained else (self._best, self._since + 1)
        if self._since >= PATIENCE:
            raise StopIteration


@dataclass(frozen=True)
class DifferentialEvolution:
    """Differential evolution over the middle 99 % of the priors, then the trust region from the best place.

    Attributes
    ----------
    generations
        Most generations.
    population
        Members for each unknown.

    References
    ----------
    Storn, R. and Price, K. (1997), doi:10.1023/A:1008202821328; through SciPy.
    """

    generations: int = 100
    population: int = 10

    def __post_init__(self) -> None:
        _at_least(self, "generations", 1)
        _at_least(self, "population", 2)

    def descend(self, counted: Counted, place: Floats, seed: int) -> tuple[Floats, str]:
        """As `Search` says."""
        from scipy.optimize import Bounds, differential_evolution

        low, high = _box(counted.objective)
        found = differential_evolution(
            counted.payoff, Bounds(low, high), maxiter=self.generations, popsize=self.population,
            rng=np.random.default_rng(seed), x0=np.clip(place, low, high), polish=False, tol=1e-6,
        )  # fmt: skip
        return TrustRegion().descend(counted, np.asarray(found.x, dtype=float), seed)


@dataclass(frozen=True)
class CovarianceMatrixAdaptation:
    """CMA-ES from the place of the start, then the trust region from the best place.

    Attributes
    ----------
    generations
        Most generations.
    population
        Members of a generation; by the usual rule where None.
    width
        Standard deviation of the first generation, in places: priors have one of 1 to 1.8.

    References
    ----------
    Hansen, N. (2016), The CMA evolution strategy: a tutorial, arXiv:1604.00772; through the package cmaes (Nomura and
    Shibata 2024, arXiv:2402.01373).
    """

    generations: int = 300
    population: int | None = None
    width: float = 1.0

    def __post_init__(self) -> None:
        _at_least(self, "generations", 1)
        if self.population is not None:
            _at_least(self, "population", 4)
        if not (np.isfinite(self.width) and self.width > 0.0):
            raise FitError(f"width={self.width}; expected a positive number, such as 1.0")

    def descend(self, counted: Counted, place: Floats, seed: int) -> tuple[Floats, str]:
        """As `Search` says."""
        import cmaes

        optimiser = cmaes.CMA(mean=place.copy(), sigma=self.width, population_size=self.population, seed=seed)
        best, least = place, counted.payoff(place)
        for _ in range(self.generations):
            asked = [optimiser.ask() for _ in range(optimiser.population_size)]
            told = [(one, counted.payoff(one)) for one in asked]
            worst = max((payoff for _, payoff in told if np.isfinite(payoff)), default=0.0)
            optimiser.tell([(one, payoff if np.isfinite(payoff) else worst + 1e6) for one, payoff in told])
            nearest = min(told, key=lambda pair: pair[1])
            best, least = nearest if nearest[1] < least else (best, least)
            if optimiser.should_stop():
                break
        return TrustRegion().descend(counted, np.asarray(best, dtype=float), seed)


SEARCHES: dict[str, Callable[..., Search]] = {
    "trust region": TrustRegion,
    "differential evolution": DifferentialEvolution,
    "cma-es": CovarianceMatrixAdaptation,
}
"""Searches by their names in study files."""


def _box(objective: Objective) -> tuple[Floats, Floats]:
    """Ends of the middle part of every prior, in places."""
    priors = objective.priors.values()
    ends = [[float(np.asarray(p.place(p.quantile(u)))) for p in priors] for u in (EDGE, 1.0 - EDGE)]
    return np.array(ends[0]), np.array(ends[1])


def _at_least(record: object, name: str, least: int) -> None:
    value = getattr(record, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise FitError(f"{name}={value!r}; expected a whole number of at least {least}")
