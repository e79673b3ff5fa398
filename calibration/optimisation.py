"""Find the unknowns of least payoff from many starts, in parallel, with everything it takes to trust the result."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from calibration.assessment import assess
from calibration.fit import Fit, Start
from calibration.history import History
from calibration.objective import Objective
from calibration.searches import Counted, Search, TrustRegion
from calibration.statistics import Floats
from calibration.workers import run_together
from sd_cluster.errors import FitError, SimulationError

PAYS = 5.0
"""Seconds of work left above which further processes pay for their own start."""
FARTHEST = 0.02
"""Part of each prior left out at either end where starts are drawn: out there a run often blows up."""


def minimise(
    objective: Objective,
    *,
    starts: int = 20,
    seed: int = 0,
    search: Search | None = None,
    folder: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Fit:
    """Find the unknowns of least payoff from many starts.

    The first start is the model's own values, the others a Latin hypercube over the priors. Unknowns are scaled by
    their priors. The numbers are the same for any number of workers. Ctrl-C keeps the starts that are done; with a
    folder every start is written as soon as it is done, and after a kill -9 the same call goes on where it was and
    ends in the same numbers.

    Parameters
    ----------
    objective
        What to minimise: a `Misfit`, or any `Objective`.
    starts
        How many starts, at least 1.
    seed
        Of the Latin hypercube and of global searches; written in the result.
    search
        How each start is searched; `TrustRegion()` by default, `DifferentialEvolution()` or
        `CovarianceMatrixAdaptation()` for a global search first.
    folder
        Where to keep starts; nothing is kept without one.
    workers
        Processes to use, at most one per start; 1 stays in this process. By default the search stays in
        this process until more than some seconds of work are left, then takes one per processor.
    progress
        Show a bar with the time left on a terminal.

    Returns
    -------
    fit
        The best point with its verdicts; a start that failed stays in `fit.starts` with its reason.

    Raises
    ------
    FitError
        If `starts` or `workers` is not positive, the folder holds starts of other settings, or every start failed.
    KeyboardInterrupt
        If Ctrl-C comes before the first start is done.
    """
    for name, number in (("starts", starts), ("workers", workers)):
        if number is not None and number < 1:
            raise FitError(f"{name}={number}; expected a whole number of at least 1")
    how = search or TrustRegion()
    origins = start_points(objective, starts, seed)
    history = None
    if folder is not None:
        settings = {"objective": objective.digest, "starts": starts, "seed": seed, "search": repr(how)}
        history = History(folder, settings, name="starts")
    done = {start.number: start for start in _kept(history)}
    left = [(number, place) for number, place in enumerate(origins) if number not in done]
    interrupted = False
    try:
        for start in _watched(_search_all(objective, how, seed, left, workers), starts, list(done.values()), progress):
            done[start.number] = start
            if history is not None:
                history.keep(f"start {start.number}", vars(start))
    except KeyboardInterrupt:
        if all(start.failed for start in done.values()):
            raise
        interrupted = True
    found = [done[number] for number in sorted(done)]
    if all(start.failed for start in found):
        raise FitError(
            f"all {len(found)} starts failed, the first with: {found[0].outcome}; narrow the ranges or shorten the run"
        )
    return assess(objective, found, asked=starts, seed=seed, search=how, interrupted=interrupted)


def start_points(objective: Objective, starts: int, seed: int) -> Floats:
    """Places to start from: the model's own values, then a Latin hypercube over the middle of the priors.

    Returns
    -------
    places : shape (starts, n_unknowns)
    """
    from scipy.stats import qmc

    own = objective.start
    if starts == 1:
        return own[None, :]
    cube = qmc.LatinHypercube(d=len(objective.names), rng=np.random.default_rng(seed)).random(starts - 1)
    drawn = FARTHEST + (1.0 - 2.0 * FARTHEST) * cube
    columns = [np.asarray(p.place(p.quantile(drawn[:, k]))) for k, p in enumerate(objective.priors.values())]
    return np.vstack([own, np.column_stack(columns)])


def search_from(objective: Objective, how: Search, seed: int, number: int, origin: Floats) -> Start:
    """Minimise from one start.

    Parameters
    ----------
    objective, how
        What to minimise, and how.
    seed
        Of the whole search; with the number it decides what a global search draws.
    number
        Of the start.
    origin : shape (n_unknowns,)
        Where to begin, as a place.

    Returns
    -------
    start
        With its end and payoff, or with the reason why it failed.
    """
    counted = Counted(objective)
    values = objective.values(origin)
    try:
        place, outcome = how.descend(counted, origin, int(np.random.default_rng([seed, number]).integers(2**31)))
        return Start(number, values, objective.values(place), objective.payoff(place), counted.runs, outcome, place)
    except (SimulationError, np.linalg.LinAlgError) as error:
        nowhere = np.full_like(origin, np.nan)
        return Start(number, values, nowhere, np.nan, counted.runs, f"failed: {error}", nowhere)


def _kept(history: History | None) -> Iterator[Start]:
    """Starts that an earlier call has done."""
    for key in history or ():
        record = history.kept(key) if history is not None else {}
        arrays = {name: np.array(record[name], dtype=float) for name in ("origin", "end", "place")}
        yield Start(**{**record, **arrays})


def _search_all(
    objective: Objective, how: Search, seed: int, left: Sequence[tuple[int, Floats]], workers: int | None
) -> Iterator[Start]:
    """Every start as it is done: in this process, or in several where that is asked for or pays."""
    began = time.perf_counter()
    waiting = list(left)
    while waiting and (workers is None or workers == 1):
        yield search_from(objective, how, seed, *waiting.pop(0))
        each = (time.perf_counter() - began) / (len(left) - len(waiting))
        if workers is None and each * len(waiting) > PAYS:
            break
    if waiting:
        import loky

        yield from run_together(_search_received, (objective, how, seed), waiting, workers or loky.cpu_count())


def _search_received(payload: tuple[Objective, Search, int], number: int, place: Floats) -> Start:
    return search_from(*payload, number, place)


def _watched(found: Iterator[Start], starts: int, before: Sequence[Start], progress: bool) -> Iterator[Start]:
    """The same starts, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("fitting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("starts, best {task.fields[best]}, left"),
        TimeRemainingColumn(),
    )
    best = min((start.payoff for start in before if not start.failed), default=np.inf)
    with Progress(*columns, console=console, disable=not (progress and console.is_terminal)) as bar:
        task = bar.add_task("starts", total=starts, completed=len(before), best="-")
        for start in found:
            best = np.fmin(best, start.payoff)
            bar.update(task, advance=1, best=f"{best:.2f}" if np.isfinite(best) else "-")
            yield start
