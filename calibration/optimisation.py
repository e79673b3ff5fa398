"""Search for the best parameters from many starts, in parallel, with everything it takes to trust the result.

The sum of squares is minimised by SciPy's trust-region reflective method (Branch, Coleman & Li 1999,
SIAM J. Sci. Comput. 21, 1-23, doi:10.1137/S1064827595289108). Where noise scales are estimated, weights and
parameters take turns: fit with the weights, re-estimate the scale of each series from its residuals, until the
scales settle. Each turn lowers the joint likelihood, and where they settle the concentrated
likelihood is stationary (iteratively re-weighted least squares; Seber & Wild 1989, doi:10.1002/0471725315).
"""

import signal
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from calibration.assessment import assess
from calibration.fit import Fit, Start
from calibration.objective import Misfit
from calibration.statistics import Floats
from sd_cluster.errors import FitError, SimulationError

if TYPE_CHECKING:
    from concurrent.futures import Future

FIRST_NOISE = 0.1
"""Noise scale of every series in the first turn: the middle of what regional series show."""
STEP = 1e-7
"""Step of the forward differences, in ranges."""
STEPS = 200
"""Most steps of least squares in one turn."""
SHARP = 1e-10
"""Tolerance of the last least squares."""
EDGE = 1e-5
"""Nearness to a bound, in ranges, at which an estimate is put on it."""
TURNS = 60
"""Most turns of weights and parameters."""
PAYS = 5.0
"""Seconds of work left above which further processes pay for their own start."""
SETTLED = 1e-5
"""Relative change of the noise scales below which they have settled."""


def minimise(
    misfit: Misfit,
    *,
    starts: int = 20,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Fit:
    """Find the parameters of least misfit from many starts.

    The first start is the model's own values, the others a Latin hypercube over the unit box of the ranges. The
    numbers are the same for any number of workers. Ctrl-C keeps the starts that are done.

    Parameters
    ----------
    misfit
        What to minimise.
    starts
        How many starts, at least 1.
    seed
        Of the Latin hypercube; written in the result.
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
        If `starts` or `workers` is not positive, or every start failed.
    KeyboardInterrupt
        If Ctrl-C comes before the first start is done.
    """
    for name, number in (("starts", starts), ("workers", workers)):
        if number is not None and number < 1:
            raise FitError(f"{name}={number}; expected a whole number of at least 1")
    origins = start_points(misfit, starts, seed)
    done: list[Start] = []
    interrupted = False
    try:
        for start in _watched(_search_all(misfit, origins, workers), starts, progress):
            done.append(start)  # noqa: PERF402 - what is done is kept when Ctrl-C comes
    except KeyboardInterrupt:
        if not any(not start.failed for start in done):
            raise
        interrupted = True
    done.sort(key=lambda start: start.number)
    if all(start.failed for start in done):
        raise FitError(
            f"all {len(done)} starts failed, the first with: {done[0].outcome}; narrow the ranges or shorten the run"
        )
    return assess(misfit, done, asked=starts, seed=seed, interrupted=interrupted)


def start_points(misfit: Misfit, starts: int, seed: int) -> Floats:
    """Places in the unit box to start from: the model's own values, then a Latin hypercube.

    Returns
    -------
    places : shape (starts, n_parameters)
        Each between 0 and 1.
    """
    from scipy.stats import qmc

    own = misfit.scaling.to_unit(misfit.own_values())
    if starts == 1:
        return own[None, :]
    cube = qmc.LatinHypercube(d=len(misfit.names), rng=np.random.default_rng(seed))
    return np.vstack([own, cube.random(starts - 1)])


def search(misfit: Misfit, number: int, place: Floats) -> Start:
    """Minimise from one start.

    Parameters
    ----------
    misfit
        What to minimise.
    number
        Of the start.
    place : shape (n_parameters,)
        Where to begin, in the unit box.

    Returns
    -------
    start
        With its end and payoff, or with the reason why it failed.
    """
    counted = _Counted(misfit)
    origin = misfit.scaling.from_unit(place)
    try:
        place, outcome = _take_turns(counted, place)
        end = misfit.scaling.from_unit(place)
        return Start(number, origin, end, misfit(end), counted.runs, outcome)
    except (SimulationError, np.linalg.LinAlgError) as error:
        return Start(number, origin, np.full_like(origin, np.nan), np.nan, counted.runs, f"failed: {error}")


class _Counted:
    """Residuals over the unit box, with a count of runs; a trial that cannot be simulated is infinitely bad."""

    def __init__(self, misfit: Misfit) -> None:
        self.misfit = misfit
        self.runs = 0
        self._last: tuple[bytes, dict[str, Floats]] | None = None

    def log_residuals(self, place: Floats) -> dict[str, Floats]:
        """Log residuals by indicator; the latest place is remembered, since it is often asked for again."""
        where = place.tobytes()
        if self._last is None or self._last[0] != where:
            self.runs += 1
            self._last = (where, self.misfit.log_residuals(self.misfit.scaling.from_unit(place)))
        return self._last[1]

    def weighted(self, place: Floats, noise: dict[str, float]) -> Floats:
        """Residuals over their noise; infinite where the run fails, so that the trust region shrinks."""
        try:
            residuals = self.log_residuals(place)
        except SimulationError:
            return np.full(sum(one.years.size for one in self.misfit.series.values()), np.inf)
        return np.concatenate([values / noise[name] for name, values in residuals.items()])

    def jacobian(self, place: Floats, noise: dict[str, float]) -> Floats:
        """Forward differences, backward near the upper end or where forward fails; zero where both fail."""
        here = self.weighted(place, noise)
        columns = []
        for number in range(place.size):
            column = np.zeros_like(here)
            for sign in (1.0, -1.0):
                moved = place.copy()
                moved[number] += sign * STEP
                if 0.0 <= moved[number] <= 1.0:
                    there = self.weighted(moved, noise)
                    if np.all(np.isfinite(there)):
                        column = (there - here) / (moved[number] - place[number])
                        break
            columns.append(column)
        return np.column_stack(columns)


def _take_turns(counted: _Counted, place: Floats) -> tuple[Floats, str]:
    """Fit with the weights, re-estimate them, and so on; the last place and how it ended.

    While the weights still move, each turn is solved only as sharply as they are known.
    """
    misfit = counted.misfit
    noise = {name: misfit.fixed_noise.get(name, FIRST_NOISE) for name in misfit.series}
    counted.log_residuals(place)  # a start that cannot be simulated fails here, with its reason
    change = 1.0
    for _ in range(TURNS):
        settled = change < SETTLED
        place, stopped = _solve(counted, place, noise, SHARP if settled else max(SHARP, 1e-3 * change))
        if stopped:
            return place, f"stopped after {STEPS} steps without settling"
        before, noise = noise, misfit.noise_scales(counted.log_residuals(place))
        change = max(abs(noise[name] / before[name] - 1.0) for name in noise)
        if settled and change < SETTLED:
            return _on_the_edge(misfit, place), "converged"
    return place, f"stopped after {TURNS} turns of weights without settling"


def _solve(counted: _Counted, place: Floats, noise: dict[str, float], tolerance: float) -> tuple[Floats, bool]:
    """Least squares with these weights; the place found, and whether it ran out of steps."""
    from scipy.optimize import least_squares

    result = least_squares(
        counted.weighted,
        place,
        jac=counted.jacobian,
        args=(noise,),
        bounds=(0.0, 1.0),
        method="trf",
        ftol=tolerance,
        xtol=tolerance,
        gtol=SHARP,
        max_nfev=STEPS,
    )
    return np.clip(result.x, 0.0, 1.0), result.status == 0


def _on_the_edge(misfit: Misfit, place: Floats) -> Floats:
    """Put a place that the interior method left a hair off a bound on it, unless that is worse."""
    snapped = np.where(place < EDGE, 0.0, np.where(place > 1.0 - EDGE, 1.0, place))
    if np.array_equal(snapped, place):
        return place
    try:
        better = misfit(misfit.scaling.from_unit(snapped)) <= misfit(misfit.scaling.from_unit(place)) + 1e-6
    except SimulationError:
        return place
    return snapped if better else place


def _search_all(misfit: Misfit, origins: Floats, workers: int | None) -> Iterator[Start]:
    """Every start as it is done: in this process, or in several where that is asked for or pays."""
    began = time.perf_counter()
    left = list(enumerate(origins))
    while left and (workers is None or workers == 1):
        yield search(misfit, *left.pop(0))
        each = (time.perf_counter() - began) / (len(origins) - len(left))
        if workers is None and each * len(left) > PAYS:
            break
    if left:
        yield from _search_together(misfit, left, workers)


def _search_together(misfit: Misfit, left: Sequence[tuple[int, Floats]], workers: int | None) -> Iterator[Start]:
    """Starts as they are done by several processes.

    loky starts its workers afresh and does not import the caller's script again, so a script needs no
    `if __name__ == "__main__"`, and no thread of this process is copied half-way.
    """
    from concurrent.futures import BrokenExecutor, as_completed

    import loky

    pool = loky.ProcessPoolExecutor(
        min(workers or loky.cpu_count(), len(left)), initializer=_receive, initargs=(misfit,)
    )
    try:
        waiting: list[Future[Start]] = [pool.submit(_search_received, *one) for one in left]
        for future in as_completed(waiting):
            yield future.result()
        pool.shutdown(wait=True)
    except BrokenExecutor as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FitError(
            f"a worker process died: {reason} Use fewer workers, or workers=1 to stay in this one"
        ) from error
    finally:
        pool.shutdown(wait=True, kill_workers=True)


_received: list[Misfit] = []


def _receive(misfit: Misfit) -> None:
    """Keep the misfit in a worker, and leave Ctrl-C to the process that shows the bar."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _received[:] = [misfit]


def _search_received(number: int, place: Floats) -> Start:
    return search(_received[0], number, place)


def _watched(found: Iterator[Start], starts: int, progress: bool) -> Iterator[Start]:
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
    best = np.inf
    with Progress(*columns, console=console, disable=not (progress and console.is_terminal)) as bar:
        task = bar.add_task("starts", total=starts, best="-")
        for start in found:
            best = np.fmin(best, start.payoff)
            bar.update(task, advance=1, best=f"{best:.2f}" if np.isfinite(best) else "-")
            yield start
