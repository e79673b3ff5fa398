"""The threshold of trust: which value of trust at the start parts clusters that rise from clusters that rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from calibration.likelihood_checks import own_value
from calibration.statistics import Floats
from sd_cluster import Model, Scenario, simulate


@dataclass(frozen=True)
class Sweep:
    """Initial trust is swept over a range in so many runs, each of so many years."""

    trust: tuple[float, float] = (0.02, 0.98)
    points: int = 33
    years: float = 120.0


@dataclass(frozen=True, eq=False)
class Threshold:
    """An end value against the value of trust a run started from.

    Attributes
    ----------
    name
        Of the cluster.
    initial, outcomes : shape (n_runs,)
        Initial trust and the variable at the end.
    separatrix
        The initial trust that parts low from high outcomes, or NaN where there is no such jump.
    variable, year
        What is looked at, and when.
    used
        The initial trust of the scenario itself.
    """

    name: str
    initial: Floats
    outcomes: Floats
    separatrix: float
    variable: str
    year: float
    used: float

    @property
    def levels(self) -> tuple[float, float]:
        """Median outcome below and above the separatrix; of all runs, twice, where there is none."""
        if np.isnan(self.separatrix):
            middle = float(np.median(self.outcomes))
            return middle, middle
        above = self.initial > self.separatrix
        return float(np.median(self.outcomes[~above])), float(np.median(self.outcomes[above]))


def find_threshold(
    model: Model,
    base: Scenario,
    settings: Sweep,
    *,
    name: str,
    start: float,
    variable: str = "shared knowledge base",
    told: Callable[[int, int], None] = lambda done, of: None,
) -> Threshold:
    """Sweep initial trust, then halve the interval in which the outcome jumps.

    The separatrix is where the outcome crosses the geometric mean of the lowest and the highest one. It
    counts as a threshold only if a change of initial trust by 0.02 across it carries at least half of the
    whole difference (on the log scale) and the outcomes differ by a fifth or more; else it is NaN.
    """
    horizon = replace(model.horizon, start=start, end=start + settings.years, save_every=1.0)

    def outcome(trust: float) -> float:
        run = simulate(model, base.with_changes({"initial trust": trust}, name="swept"), horizon=horizon)
        return run.at(horizon.end)[variable]

    initial = np.linspace(*settings.trust, settings.points)
    outcomes = np.empty_like(initial)
    for place, trust in enumerate(initial):
        told(place, len(initial) + 20)
        outcomes[place] = outcome(float(trust))
    low, high = float(outcomes.min()), float(outcomes.max())
    separatrix = float("nan")
    if low > 0 and high >= 1.2 * low and outcomes[0] < outcomes[-1]:
        middle = float(np.sqrt(low * high))
        place = int(np.argmax(outcomes > middle))
        below, above = float(initial[place - 1]), float(initial[place])
        for step in range(18):
            told(len(initial) + step, len(initial) + 20)
            half = (below + above) / 2
            below, above = (below, half) if outcome(half) > middle else (half, above)
        crossing = (below + above) / 2
        near = [outcome(crossing - 0.01), outcome(crossing + 0.01)]
        if np.log(near[1] / near[0]) >= 0.5 * np.log(high / low):
            separatrix = crossing
    return Threshold(
        name, initial, outcomes, separatrix, variable, horizon.end, own_value(model, base, "initial trust")
    )
