"""Follow one unknown from its best value to where the payoff has risen by the cut-off, on either side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from calibration.history import History
from calibration.pinned import Pinned, Point
from calibration.statistics import Floats
from sd_cluster.errors import FitError

Side = Literal["bounded", "prior", "cliff", "flat", "unknown"]
"""How a profile ends: by the data, by the priors, where runs fail, not at all, or it was not followed so far."""

TOLERANCE = 0.002
"""Ends of intervals are found to so many prior spreads."""
BETTER = 0.01
"""Another optimum is told if it is better by more than this."""
RESTARTS = 3
"""So many times a profile begins again from a better optimum it came upon."""


@dataclass
class Walk:
    """What a profile has found so far.

    Attributes
    ----------
    base
        The optimum it is taken around; None before that is found.
    points
        All points about this optimum, in the order they were found, the optimum first.
    sides
        How it ends to the left and to the right.
    ends
        Coordinates of these ends.
    gained
        By how much better optima were that it came upon, all together.
    """

    base: Point | None = None
    points: list[Point] = field(default_factory=list)
    sides: list[Side] = field(default_factory=lambda: ["unknown", "unknown"])
    ends: list[float] = field(default_factory=lambda: [np.nan, np.nan])
    gained: float = 0.0


class Walker:
    """Makes the points of a profile, each once: those a history keeps are not made again.

    Parameters
    ----------
    pinned
    cut
        Rise of the payoff at which an interval ends.
    steps
        About how many points to each side before that.
    history
        Where points are kept, or None.
    told
        Is called for each point.
    """

    def __init__(
        self, pinned: Pinned, cut: float, steps: int, history: History | None, told: Callable[[int], None]
    ) -> None:
        self.pinned, self.cut, self.steps, self.history, self.told = pinned, cut, steps, history, told
        self._known: dict[float, Point] = {}
        self._round = 0

    def follow(self, place: Floats, walk: Walk) -> None:
        """Fill a walk, from the optimum near a place."""
        first = Pinned(self.pinned.landscape, "", priors=self.pinned.priors)
        given = first.payoff(place)
        for number in range(RESTARTS + 1):
            self._round, self._known = number, {}
            base = self._kept(f"{number} base", lambda: self._base(first, place))  # noqa: B023 - called at once
            if number or self.pinned.priors:
                before = given if walk.base is None else walk.base.payoff
                walk.gained += max(before - base.payoff, 0.0)
            walk.base, walk.points = base, [base]
            walk.sides, walk.ends = ["unknown", "unknown"], [np.nan, np.nan]
            better = self._both(walk, restart=number < RESTARTS)
            if better is None:
                return
            place = better.place

    def _base(self, first: Pinned, place: Floats) -> Point:
        found = first.settle(0.0, place)
        if not np.isfinite(found.payoff):
            raise FitError("the place cannot be run; give the place of a fit")
        return Point(self.pinned.coordinate(found.place), found.place, found.payoff, found.misfit, 0.0, found.runs)

    def _both(self, walk: Walk, *, restart: bool) -> Point | None:
        """Follow both sides; a point that is better than the optimum ends it, where it may begin again from there."""
        base = walk.base
        assert base is not None
        self._known = {base.x: base}
        bend = self.pinned.curvature(base.place)
        least, most = self.pinned.ends(base.x)
        longest = (most - least) / (2 * self.steps)
        first = min(np.sqrt(2.0 * self.cut / bend) / self.steps if bend > 0.0 else np.inf, longest)
        for number, (end, sign) in enumerate(((least, -1.0), (most, 1.0))):
            before, last = base, base
            step, risen = first, 0.0
            while last.x != end:
                x = float(last.x + sign * step)
                x = end if sign * (x - end) > -1e-9 else x
                slide = (x - last.x) / (last.x - before.x) if before is not last else 0.0
                fresh = self._point(x, last.place + slide * (last.place - before.place), last.place)
                walk.points.append(fresh)
                if restart and fresh.payoff < base.payoff - BETTER:
                    return fresh
                if fresh.payoff - base.payoff > self.cut:
                    walk.ends[number] = self._end(walk, last, fresh)
                    break
                rise = float(np.sqrt(max(fresh.payoff - base.payoff, 0.0)))
                wanted = np.sqrt(self.cut) / self.steps
                step = min(step * float(np.clip(wanted / max(rise - risen, 1e-3 * wanted), 0.5, 2.0)), longest)
                before, last, risen = last, fresh, rise
            walk.sides[number] = self._side(walk, walk.ends[number])
        return None

    def _end(self, walk: Walk, inside: Point, outside: Point) -> float:
        """Where the payoff has risen by the cut-off, between two points."""
        from scipy.optimize import brentq

        base = walk.base
        assert base is not None

        def over(x: float) -> float:
            known = x in self._known
            place = self._between(x)
            point = self._point(x, place, self._nearest(x).place)
            if not known:
                walk.points.append(point)
            rise = min(point.payoff - base.payoff, 4.0 * self.cut)
            # The difference of the roots, which is nearly straight, written so that its sign is that of rise - cut.
            return float((rise - self.cut) / (np.sqrt(max(rise, 0.0)) + np.sqrt(self.cut)))

        return float(brentq(over, inside.x, outside.x, xtol=TOLERANCE * float(self.pinned.prior.spread)))

    def _side(self, walk: Walk, end: float) -> Side:
        base = walk.base
        assert base is not None
        if np.isnan(end):
            return "flat"
        sure = [point for point in walk.points if np.isfinite(point.payoff)]
        nearest = min(sure, key=lambda point: abs(point.x - end))
        if nearest.payoff - base.payoff < 0.8 * self.cut:
            return "cliff"
        return "bounded" if nearest.misfit - base.misfit >= 0.5 * (nearest.payoff - base.payoff) else "prior"

    def _between(self, x: float) -> Floats:
        """The place on the straight line between the points on either side."""
        known = sorted((point for point in self._known.values() if np.isfinite(point.payoff)), key=lambda one: one.x)
        for left, right in pairwise(known):
            if left.x <= x <= right.x:
                share = (x - left.x) / (right.x - left.x)
                return np.asarray((1.0 - share) * left.place + share * right.place)
        return self._nearest(x).place

    def _nearest(self, x: float) -> Point:
        sure = [point for point in self._known.values() if np.isfinite(point.payoff)]
        return min(sure, key=lambda point: abs(point.x - x))

    def _point(self, x: float, *starts: Floats) -> Point:
        if x not in self._known:
            self._known[x] = self._kept(f"{self._round} {x!r}", lambda: self.pinned.settle(x, *starts))
            self.told(1)
        return self._known[x]

    def _kept(self, key: str, make: Callable[[], Point]) -> Point:
        record: dict[str, Any] | None = None if self.history is None else self.history.kept(key)
        if record is not None:
            return Point(**{**record, "place": np.array(record["place"], dtype=float)})
        point = make()
        if self.history is not None:
            self.history.keep(key, vars(point))
        return point
