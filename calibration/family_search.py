"""The search of a family kept on disk, and its outcome as a fit: what stages and reports of any fit can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calibration.assessment import assess
from calibration.family import FamilyFit, fit_alone, fit_family
from calibration.fit import Estimate, Fit, Start, Verdict
from calibration.history import History
from calibration.identifiability import TOLD
from calibration.likelihood import Likelihood
from calibration.objective import Objective
from calibration.priors import Prior
from calibration.searches import Search, TrustRegion
from calibration.words import counted, listed, quoted


@dataclass(frozen=True, eq=False)
class FamilySearch:
    """What the search of a family found.

    Attributes
    ----------
    fit
        The family at its best place, as any other fit.
    family
        Mean and spread of what regions have each.
    alone
        Every region by itself, where the search began.
    """

    fit: Fit
    family: FamilyFit
    alone: tuple[Fit, ...]


def search_family(
    likelihoods: Sequence[Likelihood],
    priors: Mapping[str, Prior],
    *,
    pooled: Sequence[str],
    own: Sequence[str] = (),
    starts: int = 4,
    seed: int = 0,
    search: Search | None = None,
    folder: str | Path | None = None,
    workers: int | None = 1,
    progress: bool = False,
) -> FamilySearch:
    """Fit every region by itself, then the family from there; what is done is kept and not done again.

    Parameters
    ----------
    likelihoods, priors, own, pooled
        As for `fit_family`.
    starts, seed, search, workers, progress
        Of each region by itself, as in `minimise`.
    folder
        Where to keep starts of the regions, and the family; nothing is kept without one.

    Raises
    ------
    FitError
        As `fit_family`, or if the folder holds a search of other settings.
    KeyboardInterrupt
        If Ctrl-C cuts the search of a region short.
    """
    how = search or TrustRegion()
    alone = fit_alone(
        likelihoods, priors, starts=starts, seed=seed, search=how, folder=folder, workers=workers, progress=progress
    )
    if any(len(one.starts) < starts for one in alone):
        raise KeyboardInterrupt
    objective = Objective(likelihoods, priors, own=own, pooled=pooled)
    settings = {"objective": objective.digest, "starts": starts, "seed": seed, "search": repr(how)}
    history = None if folder is None else History(folder, settings, name="family")
    kept = None if history is None else history.kept("family")
    if kept is None:
        family = fit_family(likelihoods, priors, pooled=pooled, own=own, alone=alone)
        if history is not None:
            names = ("place", "root", "doubts", "rounds", "settled")
            history.keep("family", {name: getattr(family, name) for name in names})
    else:
        arrays = {name: np.array(kept[name], dtype=float) for name in ("place", "root", "doubts")}
        given = {objective.full_name(name): prior for name, prior in priors.items()}
        family = FamilyFit(
            objective, priors=given, own=objective.own, pooled=objective.pooled, rounds=int(kept["rounds"]),
            settled=bool(kept["settled"]), **arrays,
        )  # fmt: skip
    return FamilySearch(_as_fit(family, alone, starts=starts, seed=seed, search=how), family, alone)


def of_two(fit: Fit) -> Fit:
    """A fit that pools over fewer regions than can tell how far they differ, with a verdict that says so."""
    assert fit.objective is not None
    some = listed(quoted([pool.name for pool in fit.objective.pools]))
    text = (
        f"{counted(len(fit.regions), 'region')} cannot tell how far regions differ: the spread of {some} is hardly "
        "more than its prior. Pool over three regions or more, or let each have its own."
    )
    return replace(fit, verdicts=(*fit.verdicts, Verdict("identification", False, text)))


def _as_fit(family: FamilyFit, alone: Sequence[Fit], *, starts: int, seed: int, search: Search) -> Fit:
    objective, place = family.objective, family.place.copy()
    outcome = "converged" if family.settled else f"had not settled after {counted(family.rounds, 'round')}"
    runs = sum(start.runs for one in alone for start in one.starts)
    values = objective.values
    one = Start(0, values(objective.start), values(place), objective.payoff(place), runs, outcome, place)
    spreads = [objective.names[pool.spread] for pool in objective.pools]
    found = assess(objective, [one], asked=1, seed=seed, search=search, interrupted=False, still=spreads)
    again = sum(_found_again(fit) for fit in alone)
    text = (
        f"Each of {counted(len(alone), 'region')} was first searched by itself from {counted(starts, 'start')}"
        + (f" ({again} of them ended at one best point from several)" if starts > 1 else "")
        + f"; from there means and spreads were moved {counted(family.rounds, 'time')}"
        + (" until they came to rest." if family.settled else " and have NOT come to rest: allow more rounds.")
    )
    verdicts = (Verdict("starts", family.settled, text), *(one for one in found.verdicts if one.topic != "starts"))
    estimates = tuple(_with_doubt(one, family) for one in found.estimates)
    return replace(found, verdicts=verdicts, estimates=estimates)


def _found_again(fit: Fit) -> bool:
    """Whether more than one start ended at the best point."""
    return sum(start.payoff <= fit.payoff + 0.01 for start in fit.starts) > 1


def _with_doubt(one: Estimate, family: FamilyFit) -> Estimate:
    """The estimate of a spread with the error that its marginal density gives it; any other as it is."""
    for name, doubt in zip(family.pooled, family.doubts, strict=True):
        row = family.objective.pool(name).spread
        if one.name == family.names[row]:
            prior = family.objective.priors[one.name]
            known = bool(doubt <= (1.0 - TOLD) * prior.spread)
            return replace(one, error=float(doubt * prior.slope(family.place[row])), identified=known)
    return one
