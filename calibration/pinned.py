"""The least payoff that is left when one unknown is pinned to a value and all others are searched anew."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.landscape import Landscape, penalty_and_slope, pooled_from, position, spreads
from calibration.statistics import Floats
from sd_cluster.errors import SimulationError

if TYPE_CHECKING:
    from calibration.priors import Prior

NEAR = 5e-5
"""A search is done where another step would gain less than this, by the slope and the expected curvature."""
STEPS = 100
"""Most steps of one search."""
IDLE, LITTLE = 12, 1e-6
"""A search that gained less than this in so many steps is done too: at a kink of the model the slope never vanishes."""
RIDGE = 1e-6
"""Curvature given to directions that have none, so that a search leaves them alone."""
REACH = 1e-3
"""An unknown is followed from this quantile of its prior to the one from the other end."""
WALL = 0.05
"""Prior spreads by which a pull of one, in payoff per spread squared, leans into the wall."""
AT_LEAST = 3.0
"""But, with the priors' penalties, so many prior spreads from its best value at least."""


@dataclass(frozen=True, eq=False)
class Point:
    """The best that can be done at one value of the pinned unknown.

    Attributes
    ----------
    x
        Coordinate of the pinned unknown: its place, or for one pooled over regions that of its value.
    place : shape (n_unknowns,)
        Where all unknowns are.
    payoff, misfit
        The payoff there (infinite where no run was possible), and the part of it that is not the priors'; distances
        of regions from the mean that is pinned are not.
    slope
        Derivative of the least payoff by `x`.
    runs
        Evaluations it took.
    """

    x: float
    place: Floats
    payoff: float
    misfit: float
    slope: float
    runs: int


class Pinned:
    """A landscape over all unknowns but one, which is held at a coordinate.

    An unknown that is pooled over regions has a value that depends on the mean and the spread of all; pinning it ties
    its own place to those.

    Parameters
    ----------
    landscape
    name
        The unknown to pin; empty pins none.
    priors
        False leaves the priors' penalties out of the payoff; others then stay within the middle of their priors, where
        a wall stands, lest what the data do not tell runs away to what no run can bear.
    """

    def __init__(self, landscape: Landscape, name: str, *, priors: bool = True) -> None:
        self.landscape, self.priors = landscape, priors
        self.row = position(landscape, name) if name else None
        self.pooled = pooled_from(landscape, name)
        self._every = list(landscape.priors.values())
        self._regional = [k for k, one in enumerate(landscape.names) if pooled_from(landscape, one) is not None]
        self.prior = self._every[(self.row or 0) if self.pooled is None else self.pooled[0]]
        self._limits = np.array([_middle(prior) for prior in self._every]).T
        self._stiff = (WALL * spreads(landscape)) ** -2
        if self.row is not None:
            self._stiff[self.row] = 0.0
        self._free = np.array([k for k in range(len(landscape.names)) if k != self.row], dtype=np.intp)

    def coordinate(self, place: Floats) -> float:
        """Where the pinned unknown stands at a place."""
        if self.row is None:
            return 0.0
        if self.pooled is None:
            return float(place[self.row])
        return float(place[self.pooled[0]] + self._spread(place)[0] * place[self.row])

    def value(self, x: float, place: Floats) -> float:
        """The pinned unknown at a coordinate, in its own unit, the others being as at a place."""
        assert self.row is not None
        return float(self.landscape.values(self.place_of(x, place[self._free]))[self.row])

    def ends(self, x: float) -> tuple[float, float]:
        """How far it is followed to either side of its best coordinate."""
        low, high = _middle(self.prior)
        least = AT_LEAST * float(self.prior.spread) if self.priors else 0.0
        return min(low, x - least), max(high, x + least)

    def curvature(self, place: Floats) -> float:
        """Second derivative of the least payoff by the coordinate, from the expected information; not negative."""
        hessian = self.hessian(place)
        along, others = self.moves(place)
        inner = others.T @ hessian @ others
        cross = others.T @ hessian @ along
        made_up = cross @ np.linalg.lstsq(inner, cross, rcond=1e-12)[0] if cross.size else 0.0
        return max(float(along @ hessian @ along - made_up), 0.0)

    def settle(self, x: float, *starts: Floats) -> Point:
        """Search all other unknowns from the first of some places that can be run.

        Parameters
        ----------
        x
            Coordinate of the pinned unknown.
        starts : shape (n_unknowns,)
            Places to begin from; the pinned unknown is moved to `x`.
        """
        counted = _Counted(self, x)
        for start in starts:
            others = start[self._free]
            if np.isfinite(counted.payoff(others)[0]):
                return self._point(x, self._search(counted, others), counted)
        place = self.place_of(x, starts[-1][self._free])
        return Point(x, place, np.inf, np.inf, np.nan, counted.runs)

    def payoff(self, place: Floats) -> float:
        """The payoff at a place as it is; infinite where it cannot be run."""
        return _Counted(self, self.coordinate(place)).payoff(place[self._free])[0]

    def _search(self, counted: _Counted, others: Floats) -> Floats:
        from scipy.optimize import minimize

        if not others.size:
            return others
        best = [np.inf] * IDLE

        def watch(intermediate_result: Any) -> None:
            best.append(min(best[-1], float(intermediate_result.fun)))
            if counted.left(intermediate_result.x) < NEAR or best[-1] > best[-1 - IDLE] - LITTLE:
                raise StopIteration

        found = minimize(
            counted.payoff, others, jac=True, hess=counted.hessian, method="trust-exact", callback=watch,
            options={"gtol": 1e-8, "maxiter": STEPS, "initial_trust_radius": 1.0, "max_trust_radius": 8.0},
        )  # fmt: skip
        return np.asarray(found.x, dtype=float)

    def _point(self, x: float, others: Floats, counted: _Counted) -> Point:
        place = self.place_of(x, others)
        payoff, gradient = self.judge(place)
        penalty = penalty_and_slope(self.landscape, place)[0] - self._apart(place) if self.priors else 0.0
        slope = float(gradient @ self.moves(place)[0])
        return Point(x, place, payoff, payoff - penalty, slope, counted.runs)

    def _apart(self, place: Floats) -> float:
        """The penalty of regions for their distances from a mean: of a mean it is the regions that tell, no prior."""
        if self.pooled is not None:
            return 0.0
        return sum(float(self._every[k].penalty(place[k])) for k in self._regional)

    def place_of(self, x: float, others: Floats) -> Floats:
        """The place of all unknowns, shape (n_unknowns,)."""
        place = np.empty(len(self._every))
        place[self._free] = others
        if self.row is not None:
            place[self.row] = x
            if self.pooled is not None:
                place[self.row] = (x - place[self.pooled[0]]) / self._spread(place)[0]
        return place

    def _spread(self, place: Floats) -> tuple[float, float]:
        """The spread a pooled unknown is drawn with, and its derivative by its place."""
        assert self.pooled is not None
        at, prior = place[self.pooled[1]], self._every[self.pooled[1]]
        return float(prior.value(at)), float(prior.slope(at))

    def moves(self, place: Floats) -> tuple[Floats, Floats]:
        """Derivatives of the place by the coordinate (n_unknowns,), and by the others (n_unknowns, n_others)."""
        every = np.eye(len(self._every))
        along, others = np.zeros(len(self._every)), every[:, self._free]
        if self.row is not None:
            along[self.row] = 1.0
            if self.pooled is not None:
                spread, slope = self._spread(place)
                along[self.row] = 1.0 / spread
                pull = every[self.pooled[0]] + place[self.row] * slope * every[self.pooled[1]]
                others[self.row] = -pull[self._free] / spread
        return along, others

    def judge(self, place: Floats) -> tuple[float, Floats]:
        """The payoff at a place and its derivatives by the places, with or without the priors' penalties."""
        payoff, gradient = self.landscape.payoff_and_gradient(place)
        if not self.priors:
            penalty, slope = penalty_and_slope(self.landscape, place)
            beyond = self._beyond(place)
            payoff += 0.5 * float(self._stiff @ beyond**2) - penalty
            gradient = gradient + self._stiff * beyond - slope
        return float(payoff), np.asarray(gradient, dtype=float)

    def hessian(self, place: Floats) -> Floats:
        """Expected second derivatives of the payoff by the places."""
        found = np.asarray(self.landscape.information(place, data_only=True), dtype=float)
        if self.priors:
            curved = [float(np.asarray(prior.curvature(place[k]))) for k, prior in enumerate(self._every)]
            return found + np.diag(curved)
        return found + np.diag(self._stiff * (self._beyond(place) != 0.0))

    def _beyond(self, place: Floats) -> Floats:
        """How far each place lies outside the middle of its prior."""
        return np.asarray(place - np.clip(place, *self._limits))


def _middle(prior: Prior) -> tuple[float, float]:
    """Places between which a prior has all but `REACH` of its probability on either side."""
    first, last = (float(prior.place(prior.quantile(share))) for share in (REACH, 1.0 - REACH))
    return first, last


class _Counted:
    """The payoff of the others at one pinned coordinate; infinite where the model cannot be run.

    Attributes
    ----------
    runs
        Evaluations so far.
    """

    def __init__(self, pinned: Pinned, x: float) -> None:
        self.pinned, self.x, self.runs = pinned, x, 0
        self._slopes: tuple[bytes, Floats] | None = None
        self._bends: tuple[bytes, Floats] | None = None

    def payoff(self, others: Floats) -> tuple[float, Floats]:
        """The payoff and its derivatives by the others."""
        self.runs += 1
        place = self.pinned.place_of(self.x, others)
        try:
            payoff, gradient = self.pinned.judge(place)
        except SimulationError:
            return np.inf, np.zeros(others.size)
        if not (np.isfinite(payoff) and np.isfinite(gradient).all()):
            return np.inf, np.zeros(others.size)
        slopes = self.pinned.moves(place)[1].T @ gradient
        self._slopes = others.tobytes(), slopes
        return payoff, slopes

    def hessian(self, others: Floats) -> Floats:
        """The expected second derivatives."""
        place = self.pinned.place_of(self.x, others)
        moves = self.pinned.moves(place)[1]
        found = RIDGE * np.eye(others.size)
        with suppress(SimulationError):
            found = found + moves.T @ self.pinned.hessian(place) @ moves
        self._bends = others.tobytes(), found
        return found

    def left(self, others: Floats) -> float:
        """What another step is expected to gain; infinite for others that are not the last ones looked at."""
        where = others.tobytes()
        if self._slopes is None or self._bends is None or not self._slopes[0] == self._bends[0] == where:
            return np.inf
        return 0.5 * float(self._slopes[1] @ np.linalg.solve(self._bends[1], self._slopes[1]))
