"""Profile likelihoods: how far one unknown can go before the fit is lost, all others searched anew at every step.

What a local, linear error cannot see, a profile does: intervals that are lopsided or open, valleys that bend, a second
optimum. An interval ends where the payoff has risen by half the chi-squared quantile of one degree of freedom: 1.35 for
90 %, 1.92 for 95 %, 3.32 for 99 % (Venzon and Moolgavkar 1988, doi:10.2307/2347496; Raue et al. 2009,
doi:10.1093/bioinformatics/btp358).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.history import History, digest
from calibration.landscape import Landscape, found_at, is_relative, position, spreads
from calibration.pinned import Pinned
from calibration.profile_words import companions, told
from calibration.statistics import Floats
from calibration.walking import BETTER, Side, Walk, Walker
from calibration.workers import run_together
from sd_cluster.errors import FitError
from sd_cluster.look import slug
from sd_cluster.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

    from calibration.priors import Prior

PAYS = 5.0
"""Seconds of work guessed above which further processes pay for their own start."""
GRADIENTS = 150
"""Gradients a profile is guessed to take."""


@dataclass(frozen=True, eq=False)
class Profile:
    """The least payoff over the values of one unknown.

    Attributes
    ----------
    name
        The unknown.
    names
        All unknowns.
    unit
        Of the unknown; empty where that is not known.
    level
        Of the interval, such as 0.95.
    cut
        Rise of the payoff at which it ends.
    priors
        Whether the payoff holds the priors' penalties.
    prior
        Of the value of the unknown.
    coordinates, payoffs, misfits, slopes : shape (n_points,), read-only
        From left to right: coordinate (place under the prior), least payoff, its part without penalties, and its
        derivative by the coordinate. The payoff is infinite where no run was possible.
    places, values : shape (n_points, n_unknowns), read-only
        All unknowns along the profile: they show what makes up for the one.
    best
        Which point is the optimum.
    low, high
        Ends of the interval, in the unknown's own unit; the end of what is possible under the prior (maybe infinite) on
        a side that does not end.
    sides
        How it ends to the left and to the right: "bounded" by the data, mostly by the "prior", at a "cliff" where runs
        fail, "flat" to the end of the search, or "unknown" where it was interrupted.
    gained
        By how much better optima were that the profile came upon; it is then taken around the best of them.
    relative
        Which unknowns are positive by nature.
    noise
        Which unknowns belong to the noise, and so do not make up for anything.
    scales : shape (n_unknowns,)
        Prior spread of each place.
    runs
        Evaluations it took, as far as they are known.
    """

    name: str
    names: tuple[str, ...]
    unit: str
    level: float
    cut: float
    priors: bool
    prior: Prior
    coordinates: Floats
    payoffs: Floats
    misfits: Floats
    slopes: Floats
    places: Floats
    values: Floats
    best: int
    low: float
    high: float
    sides: tuple[Side, Side]
    gained: float
    relative: tuple[bool, ...]
    noise: tuple[str, ...]
    scales: Floats
    runs: int

    def __post_init__(self) -> None:
        for array in vars(self).values():
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    @property
    def value(self) -> float:
        """The unknown at the optimum."""
        return float(self.values[self.best, self.names.index(self.name)])

    @property
    def place(self) -> Floats:
        """The optimum, shape (n_unknowns,): where a fit should begin again if the profile found a better one."""
        return np.asarray(self.places[self.best])

    @property
    def rises(self) -> Floats:
        """Payoffs above that of the optimum, shape (n_points,)."""
        return np.asarray(self.payoffs - self.payoffs[self.best])

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high."""
        return self.low, self.high

    @property
    def finished(self) -> bool:
        """False if it was interrupted."""
        return "unknown" not in self.sides

    @property
    def good(self) -> bool:
        """True if the data bound the unknown on both sides, and no better optimum turned up."""
        return self.sides == ("bounded", "bounded") and self.gained == 0.0

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """What the profile says, in plain words: the verdict, then what makes up for the unknown."""
        return told(self)

    @property
    def verdict(self) -> str:
        """The first sentence."""
        return self.sentences[0]

    @property
    def compensation(self) -> str:
        """Which unknowns move along within the interval, and how."""
        return companions(self)

    def curve(self, count: int = 200) -> tuple[Floats, Floats]:
        """Values and rises of a smooth line through the points and their slopes, shape (count,) each."""
        from scipy.interpolate import CubicHermiteSpline, PchipInterpolator

        sure = np.isfinite(self.payoffs)
        if sure.sum() < 2:
            return self.values[sure, self.names.index(self.name)], self.rises[sure]
        line = CubicHermiteSpline(self.coordinates[sure], self.rises[sure], self.slopes[sure])
        x = np.linspace(self.coordinates[sure][0], self.coordinates[sure][-1], count)
        values = PchipInterpolator(self.coordinates[sure], self.values[sure, self.names.index(self.name)])(x)
        return np.asarray(values, dtype=float), np.maximum(line(x), 0.0)

    def frame(self) -> pd.DataFrame:
        """One row a point: payoff, rise, misfit, and every unknown in its own unit."""
        import pandas as pd

        told = {"payoff": self.payoffs, "rise": self.rises, "misfit": self.misfits}
        return pd.DataFrame({**told, **dict(zip(self.names, self.values.T, strict=True))})

    def __str__(self) -> str:
        return " ".join(self.sentences)


def profile(
    fit_or_objective: Any,
    name: str,
    place: ArrayLike | None = None,
    *,
    level: float = 0.95,
    points: int = 8,
    priors: bool = True,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Profile:
    """Follow one unknown to both sides until the fit is lost, with all others searched anew at each step.

    Steps are laid so that the payoff rises evenly; others begin where the line through the last two points leads, and
    are searched by a trust region with exact gradients. The ends are found to 0.002 prior spreads. A side on which the
    payoff does not rise by the cut-off is followed to the last thousandth of the prior. Where a better optimum turns
    up, the profile begins again around it and says so.

    Parameters
    ----------
    fit_or_objective
        A fit, or an objective with its place.
    name
        The unknown.
    place : shape (n_unknowns,)
        The optimum; that of the fit where not given.
    level
        Of the interval.
    points
        About how many points to each side before the end.
    priors
        False leaves the priors' penalties out: what the figures say by themselves, all unknowns staying within the
        middle 99.8 % of their priors.
    folder
        Where to keep points; nothing is kept without one. After a kill -9 the same call goes on where it was and ends
        in the same numbers.
    progress
        Show a bar on a terminal.

    Returns
    -------
    profile
        What was done when Ctrl-C came, if it came after the optimum was found.

    Raises
    ------
    FitError
        If the name is no unknown, the place cannot be run, a setting is out of range, or the folder holds the points of
        another profile.
    """
    objective, where = found_at(fit_or_objective, place)
    position(objective, name)
    cut = _cut(level)
    if isinstance(points, bool) or not isinstance(points, int | np.integer) or points < 2:
        raise FitError(f"points={points!r}; expected a whole number of at least 2")
    pinned, walk = Pinned(objective, name, priors=priors), Walk()
    history = None if folder is None else _history(objective, name, where, level, int(points), priors, Path(folder))
    with progress_bar(2 * points + 6, "points", progress) as advance:
        try:
            Walker(pinned, cut, int(points), history, advance).follow(where, walk)
        except KeyboardInterrupt:
            if walk.base is None:
                raise
    return _profile(objective, name, pinned, walk, level)


def profiles(
    fit_or_objective: Any,
    names: Sequence[str] | None = None,
    place: ArrayLike | None = None,
    *,
    level: float = 0.95,
    points: int = 8,
    priors: bool = True,
    folder: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Profile]:
    """Profiles of several unknowns, all where none is named, side by side where that pays.

    The numbers are the same for any number of workers. Ctrl-C keeps the profiles that are done.

    Parameters
    ----------
    fit_or_objective, place, level, points, priors, folder, progress
        As for `profile`.
    names
        Which unknowns.
    workers
        Processes; 1 stays in this one. By default one per processor if more than some seconds of work are expected.

    Raises
    ------
    FitError
        As `profile`, and if a worker process died.
    KeyboardInterrupt
        If Ctrl-C comes before the first profile is done.
    """
    objective, where = found_at(fit_or_objective, place)
    chosen = list(dict.fromkeys(objective.names if names is None else names))
    for name in chosen:
        position(objective, name)
    if workers is not None and workers < 1:
        raise FitError(f"workers={workers}; expected a whole number of at least 1")
    settings = {"level": level, "points": points, "priors": priors, "folder": folder}
    done: dict[str, Profile] = {}
    with progress_bar(len(chosen), "profiles", progress) as advance:
        try:
            for one in _all(objective, where, chosen, settings, _hands(objective, where, len(chosen), workers)):
                done[one.name] = one
                advance(1)
        except KeyboardInterrupt:
            if not done:
                raise
    return {name: done[name] for name in chosen if name in done}


def _all(
    objective: Landscape, place: Floats, names: Sequence[str], settings: dict[str, Any], hands: int
) -> Iterator[Profile]:
    payload = (objective, place, settings)
    if hands > 1:
        yield from run_together(_received, payload, [(name,) for name in names], hands)
        return
    for name in names:
        yield _received(payload, name)


def _received(payload: tuple[Landscape, Floats, dict[str, Any]], name: str) -> Profile:
    objective, place, settings = payload
    found = profile(objective, name, place, progress=False, **settings)
    if not found.finished:
        raise KeyboardInterrupt
    return found


def _hands(objective: Landscape, place: Floats, count: int, workers: int | None) -> int:
    if workers is not None or count < 2:
        return min(workers or 1, max(count, 1))
    objective.payoff_and_gradient(place)  # compiles
    began = time.perf_counter()
    objective.payoff_and_gradient(place + 1e-6)
    if (time.perf_counter() - began) * GRADIENTS * count < PAYS:
        return 1
    import loky

    return int(min(loky.cpu_count(), count))


def _cut(level: float) -> float:
    """Rise of the payoff at which an interval ends.

    >>> [round(_cut(level), 2) for level in (0.9, 0.95, 0.99)]
    [1.35, 1.92, 3.32]
    """
    from scipy.special import chdtri

    if not 0.0 < level < 1.0:
        raise FitError(f"level={level}; expected a share between 0 and 1, such as 0.95")
    return float(chdtri(1, 1.0 - level)) / 2.0


def _history(
    objective: Landscape, name: str, place: Floats, level: float, points: int, priors: bool, folder: Path
) -> History:
    settings = {
        "unknown": name,
        "unknowns": list(objective.names),
        "place": place,
        "payoff": f"{objective.payoff_and_gradient(place)[0]:.9g}",
        "level": level,
        "points": points,
        "priors": priors,
    }
    told = f"{slug(name)}-{100 * level:g}{'' if priors else '-data'}-{digest(name)[:6]}"
    return History(folder, settings, name=f"profile-{told}")


def _profile(objective: Any, name: str, pinned: Pinned, walk: Walk, level: float) -> Profile:
    base = walk.base
    assert base is not None
    ordered = sorted(walk.points, key=lambda point: point.x)
    places = np.array([point.place for point in ordered])
    gained = walk.gained + max(base.payoff - min(point.payoff for point in ordered), 0.0)
    low, high = (
        bound if np.isnan(end) else pinned.value(end, base.place)
        for end, bound in zip(walk.ends, (pinned.prior.low, pinned.prior.high), strict=True)
    )
    return Profile(
        name=name,
        names=tuple(objective.names),
        unit=objective.unit(name) if hasattr(objective, "unit") else "",
        level=level,
        cut=_cut(level),
        priors=pinned.priors,
        prior=pinned.prior,
        coordinates=np.array([point.x for point in ordered]),
        payoffs=np.array([point.payoff for point in ordered]),
        misfits=np.array([point.misfit for point in ordered]),
        slopes=np.array([point.slope for point in ordered]),
        places=places,
        values=np.array([objective.values(one) for one in places]),
        best=ordered.index(base),
        low=low,
        high=high,
        sides=(walk.sides[0], walk.sides[1]),
        gained=gained if gained > BETTER else 0.0,
        relative=tuple(is_relative(objective, one) for one in objective.names),
        noise=tuple(getattr(objective, "noise_names", ())),
        scales=spreads(objective),
        runs=sum(point.runs for point in ordered),
    )
