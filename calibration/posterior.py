"""Sample a posterior in chains that survive a kill, and say in plain words whether the draws can be trusted.

NUTS comes from nutpie (https://github.com/pymc-devs/nutpie) because it takes the one thing there is here, a Python
function that returns a log density and its gradient, at some tens of microseconds a call, and needs no compiler, JAX
or PyTensor. It is not small: 23 MB by itself, 168 MB more of pyarrow. BlackJAX is written in JAX, so each simulation
would come back to Python through a host callback; PyMC needs the density wrapped as an operation of PyTensor, which
brings its own compilation. emcee, without gradients and under a megabyte, is the second opinion.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import ArrayLike

import sd_cluster as sd
from calibration.chains import Chain, Method, Plan, Target, laplace_root, quiet_arviz, run_chain
from calibration.convergence import (
    Loo,
    agreement,
    completeness,
    diagnostics,
    divergence,
    enough,
    leave_one_out,
    trajectories,
)
from calibration.fit import Verdict
from calibration.history import History, digest
from calibration.modes import posterior_mode
from calibration.objective import Objective
from calibration.statistics import Floats
from calibration.words import counted, listed, quoted
from calibration.workers import WATCH, died, receive, received
from sd_cluster.errors import FitError, SimulationError, near
from sd_cluster.files import write_beside
from sd_cluster.model import Parameter, Stock
from sd_cluster.progress import progress_bar

if TYPE_CHECKING:
    from concurrent.futures import Future

    import pandas as pd

FEWEST = 10
"""Fewest draws of a chain: diagnostics split each chain in two."""
PAYS = 5.0
"""Seconds of work guessed above which further processes pay for their own start."""
TARGET_ACCEPT = 0.9
"""Acceptance NUTS tunes to: 0.8 is usual, smaller steps keep to the curved ridges of models like these."""
GRADIENTS = 8
"""Gradients a draw is guessed to take."""
FORMAT = "sd_cluster posterior, version 1"


def sample_posterior(
    target: Target,
    *,
    method: Method = "nuts",
    chains: int = 4,
    draws: int = 1000,
    tune: int = 1000,
    seed: int = 0,
    start: ArrayLike | None = None,
    folder: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
    target_accept: float = TARGET_ACCEPT,
    walkers: int | None = None,
) -> "Posterior":
    """Draw from the posterior of a target in several chains.

    Each chain is a function of the target, the settings and its own number, so the numbers are the same for any number
    of workers, and a chain more leaves the others as they are. With a folder each finished chain is written at once
    and what a running chain has computed goes to a tape: after a kill -9, or with more chains asked, the same call
    goes on and ends in the numbers of an uninterrupted run. A place that cannot be run is infinitely bad. Ctrl-C keeps
    the chains that are done.

    Parameters
    ----------
    target
        What to sample, such as an `Objective`.
    method
        "nuts", or "ensemble": as many independent ensembles as chains, without gradients; each walker then counts as
        a chain, and hundreds to thousands of steps are needed where NUTS needs tens.
    chains, draws, tune
        Chains, draws kept of each, and draws spent on tuning before (for ensembles: steps).
    seed
        Chain k draws from the seed and k alone.
    start : shape (n_unknowns,)
        The place of the optimum, such as `Fit.place`. The search goes on from there to the mode of the posterior (an
        estimate at a bound lies far out of it), and chains begin around that by the Laplace approximation, whose
        scales and correlations the sampler then works in. By default chains begin at draws from the prior.
    folder
        Where to keep chains; nothing is kept without one.
    workers
        Processes; 1 stays in this one. By default one per processor if more than some seconds of work are expected.
    progress
        Show a bar with the time left on a terminal.
    target_accept
        Acceptance NUTS tunes its step to, between 0 and 1; higher means smaller steps and fewer divergences.
    walkers
        Of each ensemble, even and at least twice the unknowns; by default two more than that, and at least 8.

    Raises
    ------
    FitError
        If a setting is out of range, the folder holds chains of another target or other settings, no place to begin
        can be run, or a worker process died.
    KeyboardInterrupt
        If Ctrl-C comes before the first chain is done.

    References
    ----------
    Hoffman, M. D. and Gelman, A. (2014), The No-U-Turn Sampler, Journal of Machine Learning Research 15, 1593-1623.
    Goodman, J. and Weare, J. (2010), doi:10.2140/camcos.2010.5.65, for the ensemble.
    """
    _check(method, chains, draws, tune, seed, workers, target_accept)
    plan = _plan(target, method, draws, tune, seed, start, folder, target_accept, walkers)
    began = time.perf_counter()
    settings = plan.settings() | {"target": _fingerprint(target, plan), "sampler": _sampler(method)}
    if plan.folder is not None:
        History(plan.folder, settings, name="sampling")
    done: dict[int, Chain] = {}
    try:
        for number, chain in _all_chains(target, plan, chains, _hands(target, plan, chains, workers), progress):
            done[number] = chain  # noqa: PERF403 - what is done is kept when Ctrl-C comes
    except KeyboardInterrupt:
        if not done:
            raise
    provenance = {
        "chains asked": chains,
        "chains done": len(done),
        "seconds": round(time.perf_counter() - began, 1),
        "settings digest": digest(settings),
        **{package: version(package) for package in ("sd-cluster", "numpy", "arviz")},
    }
    return _posterior(target, [done[number] for number in sorted(done)], settings, provenance)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws from a posterior, with what it takes to judge and to repeat them.

    Attributes
    ----------
    names
        The unknowns.
    places, values : shape (n_chains, n_draws, n_unknowns), read-only
        The draws as unbounded coordinates, and in their own units.
    log_density : shape (n_chains, n_draws), read-only
        Of each draw, up to a constant.
    stats
        What the sampler says of each draw, shape (n_chains, n_draws) each: "diverging", "depth", "gradients",
        "step_size" and "energy" for NUTS; nothing for ensembles.
    settings, provenance
        What the draws depend on; how they came about.
    """

    names: tuple[str, ...]
    places: Floats
    values: Floats
    log_density: Floats
    stats: Mapping[str, Floats] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.log_density.shape
        full = (*shape, len(self.names))
        stray = [name for name, one in self.stats.items() if one.shape != shape]
        if len(shape) != 2 or self.places.shape != full or self.values.shape != full or stray:
            raise FitError(f"the draws of {counted(len(self.names), 'unknown')} do not fit together; sample again")
        for what, array in (("place", self.places), ("value", self.values)):
            if not np.isfinite(array).all():
                name = self.names[int(np.argwhere(~np.isfinite(array))[0, 2])]
                raise FitError(f"a draw of '{name}' has no finite {what}; look at its prior")
        for array in (self.places, self.values, self.log_density, *self.stats.values()):
            array.setflags(write=False)

    @property
    def divergences(self) -> int:
        """Draws at which a trajectory of NUTS left the level of its energy."""
        return int(self.stats["diverging"].sum()) if "diverging" in self.stats else 0

    @property
    def step_sizes(self) -> Floats:
        """Step of NUTS at the end of each chain, shape (n_chains,); empty for ensembles."""
        return self.stats["step_size"][:, -1] if "step_size" in self.stats else np.empty(0)

    @property
    def good(self) -> bool:
        """True if no verdict asks to be minded."""
        return all(verdict.good for verdict in self.verdicts)

    def __getitem__(self, name: str) -> Floats:
        """Draws of one unknown in its own unit, shape (n_chains, n_draws).

        Raises
        ------
        FitError
            If it was not sampled; the text names the nearest one.
        """
        if name not in self.names:
            raise FitError(f"the posterior has no unknown '{name}'{near(name, self.names)}")
        return self.values[:, :, self.names.index(name)]

    def interval(self, name: str, level: float = 0.9) -> tuple[float, float]:
        """Ends of the equal-tailed interval that holds this share of the draws.

        Raises
        ------
        FitError
            If the unknown was not sampled, or the level is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise FitError(f"level={level}; expected a share between 0 and 1, such as 0.9")
        low, high = np.quantile(self[name], [0.5 - 0.5 * level, 0.5 + 0.5 * level])
        return float(low), float(high)

    def frame(self) -> "pd.DataFrame":
        """The draws as a table: one row a draw, chain after chain, one column an unknown."""
        import pandas as pd

        index = pd.MultiIndex.from_product([range(size) for size in self.log_density.shape], names=["chain", "draw"])
        return pd.DataFrame(self.values.reshape(-1, len(self.names)), index=index, columns=list(self.names))

    def summary(self) -> "pd.DataFrame":
        """One row an unknown: mean, sd, median, q5, q95, r_hat, ess_bulk, ess_tail.

        R-hat and effective sizes are those of ranks (Vehtari et al. 2021, doi:10.1214/20-BA1221), NaN for an unknown
        that never moved.
        """
        import pandas as pd

        drawn = self.values.reshape(-1, len(self.names))
        q5, median, q95 = np.quantile(drawn, [0.05, 0.5, 0.95], axis=0)
        columns = {
            "mean": drawn.mean(axis=0),
            "sd": drawn.std(axis=0, ddof=1),
            "median": median,
            "q5": q5,
            "q95": q95,
            **self._diagnostics,
        }
        return pd.DataFrame(columns, index=pd.Index(self.names, name="unknown"))

    @cached_property
    def _diagnostics(self) -> Mapping[str, Floats]:
        return diagnostics(self.values)

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What to make of the draws, in sentences."""
        found = self._diagnostics
        done = int(self.provenance.get("chains done", len(self.log_density)))
        made = [
            *completeness(int(self.provenance.get("chains asked", done)), done),
            agreement(self.names, found["r_hat"]),
            enough(self.names, np.minimum(found["ess_bulk"], found["ess_tail"])),
        ]
        if "diverging" in self.stats:
            made += [
                divergence(self.stats, float(self.settings.get("target_accept", TARGET_ACCEPT))),
                *trajectories(self.stats),
            ]
        return tuple(made)

    def inference_data(self) -> Any:
        """The draws as `arviz.InferenceData`, one variable an unknown, in their own units."""
        stats = dict(self.stats)
        if "diverging" in stats:
            stats["diverging"] = stats["diverging"].astype(bool)
        posterior = {name: self[name] for name in self.names}
        return quiet_arviz().from_dict(posterior, sample_stats={"lp": self.log_density, **stats})

    def space(self, model: "sd.Model", *, region: str | None = None) -> "sd.Space":
        """A space of the draws, each drawn whole, for `sd.sweep` and everything else that takes a space.

        Parameters
        ----------
        model
            Its parameters and initial stocks are taken; other unknowns, such as noise scales, are left out.
        region
            Which of the unknowns that are own to a region to take: "hiring rate [KR-DAEDEOK]" becomes "hiring rate".

        Raises
        ------
        FitError
            If unknowns are own to regions and none of them is given, or nothing of the model was sampled.
        """
        picked: dict[str, Floats] = {}
        regions: set[str] = set()
        for name in self.names:
            regional = name.endswith("]") and name not in model
            own, _, place = name.removesuffix("]").partition(" [") if regional else (name, "", "")
            if own not in model or not isinstance(model.variable(own), Parameter | Stock):
                continue
            if place:
                regions.add(place)
            if place in {"", region}:
                picked[own] = self[name].ravel()
        if regions and region not in regions:
            asked = "" if region is None else f", not to '{region}'{near(region, regions)}"
            raise FitError(f"unknowns are own to {listed(sorted(regions))}{asked}; say which, as in region='...'")
        if not picked:
            raise FitError(f"none of {listed(quoted(self.names))} is a parameter or stock of {model.name}")
        return sd.Space.rows(picked)

    def loo(self, log_likelihood: ArrayLike, *, labels: Sequence[str] | None = None) -> Loo:
        """Leave-one-out prediction by Pareto-smoothed importance sampling.

        Parameters
        ----------
        log_likelihood : shape (n_chains, n_draws, n_figures) or (n_chains * n_draws, n_figures)
            Log density of each figure at each draw, in the order of `frame()`.
        labels
            What to call the figures, such as "firms 2009".

        Raises
        ------
        FitError
            If shapes do not fit, or a density is not finite.

        References
        ----------
        Vehtari, A., Gelman, A. and Gabry, J. (2017), doi:10.1007/s11222-016-9696-4.
        """
        matrix = np.asarray(log_likelihood, dtype=float)
        shape = self.log_density.shape
        fits = matrix.shape[:-1] in {shape, (shape[0] * shape[1],)} and matrix.shape[-1] > 0
        if not fits or (labels is not None and len(labels) != matrix.shape[-1]):
            raise FitError(
                f"log densities of shape {matrix.shape} do not fit {shape[0]} chains of {shape[1]} draws"
                + (f" and {len(labels)} labels" if labels is not None else "")
            )
        if not np.isfinite(matrix).all():
            raise FitError("a log density of a figure is not finite; a draw that cannot explain a figure is a fault")
        return leave_one_out(self.values, matrix.reshape(*shape, -1), labels)

    def save(self, path: str | Path) -> Path:
        """Write the posterior as netCDF, whole or not at all; `Posterior.load` reads it back bit for bit."""
        import xarray as xr

        axes = ("chain", "draw")
        arrays = {name: (axes, one) for name, one in self.stats.items()}
        about = {"names": self.names, "settings": dict(self.settings), "provenance": dict(self.provenance)}
        dataset = xr.Dataset(
            {
                "place": ((*axes, "unknown"), self.places),
                "value": ((*axes, "unknown"), self.values),
                "log_density": (axes, self.log_density),
                **arrays,
            },
            attrs={"format": FORMAT, "about": json.dumps(about)},
        )
        return write_beside(Path(path), lambda beside: _to_netcdf(dataset, beside))

    @classmethod
    def load(cls, path: str | Path) -> "Posterior":
        """Read what `save` wrote.

        Raises
        ------
        FitError
            If the file is missing or is not such a posterior.
        """
        import xarray as xr

        path = Path(path)
        if not path.exists():
            raise FitError(f"{path} does not exist; give a file that Posterior.save wrote")
        try:
            dataset = xr.load_dataset(path, engine="scipy")
            if dataset.attrs.get("format") != FORMAT:
                raise ValueError(f"expected netCDF of format '{FORMAT}'")
            about = json.loads(dataset.attrs["about"])
            arrays = {str(name): np.array(one, dtype=float) for name, one in dataset.data_vars.items()}
            places, values, log_density = (arrays.pop(name) for name in ("place", "value", "log_density"))
            names = tuple(about["names"])
            return cls(names, places, values, log_density, arrays, about["settings"], about["provenance"])
        except (OSError, ValueError, TypeError, LookupError, FitError) as error:
            raise FitError(f"{path} is not a posterior that Posterior.save wrote: {error}") from error

    def __str__(self) -> str:
        n_chains, n_draws = self.log_density.shape
        lines = [f"  {'ok  ' if verdict.good else 'MIND'} {verdict.text}" for verdict in self.verdicts]
        table = self.summary().to_string(float_format=lambda number: f"{number:.4g}")
        return "\n".join([f"{n_chains} chains of {n_draws} draws", table, *lines])


def _to_netcdf(dataset: Any, path: Path) -> None:
    dataset.to_netcdf(path, engine="scipy")


def _check(
    method: str, chains: int, draws: int, tune: int, seed: int, workers: int | None, target_accept: float
) -> None:
    if method not in get_args(Method):
        raise FitError(f"no sampler '{method}'{near(method, get_args(Method))}; there are: nuts, ensemble")
    least = {"chains": (chains, 1), "draws": (draws, FEWEST), "tune": (tune, 0), "seed": (seed, 0)}
    if workers is not None:
        least["workers"] = (workers, 1)
    for name, (number, low) in least.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < low:
            raise FitError(f"{name}={number!r}; expected a whole number of at least {low}")
    if not 0.0 < target_accept < 1.0:
        raise FitError(f"target_accept={target_accept}; expected a share between 0 and 1, such as 0.9")


def _plan(
    target: Target,
    method: Method,
    draws: int,
    tune: int,
    seed: int,
    start: ArrayLike | None,
    folder: str | Path | None,
    target_accept: float,
    walkers: int | None,
) -> Plan:
    size = len(target.names)
    place = None if start is None else np.array(start, dtype=float)
    if place is not None and (place.shape != (size,) or not np.isfinite(place).all()):
        raise FitError(f"the start should be {counted(size, 'finite number')}, the place of each unknown")
    if place is not None and isinstance(target, Objective):
        place = posterior_mode(target, place)
    band = max(2 * size + 2, 8) if walkers is None else walkers
    if band % 2 or band < 2 * size:
        raise FitError(f"walkers={band}; expected an even number of at least {2 * size}, twice the unknowns")
    root = np.eye(size) if place is None else laplace_root(target, place)
    kept = None if folder is None else Path(folder)
    return Plan(method, int(draws), int(tune), int(seed), float(target_accept), band, place, root, kept)


def _fingerprint(target: Target, plan: Plan) -> str:
    """What tells a target from another: its names, and its density at the start, to nine digits."""
    place = plan.start if plan.start is not None else target.sample_prior(1, plan.seed)[0]
    try:
        density = f"{target.log_density(place)[0]:.9g}"
    except SimulationError:
        density = "cannot be run"
    return digest([list(target.names), [f"{one:.9g}" for one in place], density, np.round(plan.root, 6).tolist()])


def _sampler(method: Method) -> str:
    package = "nutpie" if method == "nuts" else "emcee"
    return f"{package} {version(package)}"


def _hands(target: Target, plan: Plan, chains: int, workers: int | None) -> int:
    """How many processes to use."""
    if workers is not None or chains == 1:
        return min(workers or 1, chains)
    place = plan.start if plan.start is not None else target.sample_prior(1, plan.seed)[0]
    began = time.perf_counter()
    with suppress(SimulationError):
        target.log_density(place)
    each = GRADIENTS if plan.method == "nuts" else plan.walkers
    if (time.perf_counter() - began) * each * (plan.draws + plan.tune) * chains < PAYS:
        return 1
    import loky

    return int(min(loky.cpu_count(), chains))


def _all_chains(target: Target, plan: Plan, chains: int, hands: int, progress: bool) -> Iterator[tuple[int, Chain]]:
    """Every chain as it is done, with its number, under a bar of draws."""
    made = np.zeros(chains, dtype=np.int64)
    shown = 0
    with progress_bar(chains * (plan.draws + plan.tune), "draws", progress) as advance:

        def look() -> None:
            nonlocal shown
            now = int(made.sum())
            advance(now - shown)
            shown = now

        if hands > 1:
            yield from _together(target, plan, made, hands, look)
            return
        for number in range(chains):

            def told(done: int, number: int = number) -> None:
                made[number] = done
                if done % 10 == 0:
                    look()

            yield number, run_chain(target, plan, number, told)


def _together(
    target: Target, plan: Plan, made: "np.ndarray[Any, np.dtype[np.int64]]", hands: int, look: Callable[[], None]
) -> Iterator[tuple[int, Chain]]:
    """Chains as they are done by several processes, which write their counts of draws into a small file."""
    from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait

    import loky

    with tempfile.TemporaryDirectory(prefix="sd-cluster-", ignore_cleanup_errors=True) as folder:
        counts = Path(folder) / "draws"
        made.tofile(counts)
        pool = loky.ProcessPoolExecutor(hands, initializer=receive, initargs=((target, plan, counts), os.getpid()))
        try:
            waiting: dict[Future[Chain], int] = {pool.submit(_run_received, one): one for one in range(made.size)}
            while waiting:
                done, _ = wait(waiting, timeout=WATCH, return_when=FIRST_COMPLETED)
                made[:] = np.fromfile(counts, dtype=np.int64)
                look()
                for future in done:
                    yield waiting.pop(future), future.result()
            pool.shutdown(wait=True)
        except BrokenExecutor as error:
            raise died(error) from error
        finally:
            pool.shutdown(wait=True, kill_workers=True)


def _run_received(number: int) -> Chain:
    target, plan, counts = received()
    slot = np.memmap(counts, dtype=np.int64, mode="r+", offset=8 * number, shape=(1,))

    def told(done: int) -> None:
        slot[0] = done

    return run_chain(target, plan, number, told)


def _posterior(
    target: Target, chains: Sequence[Chain], settings: Mapping[str, Any], provenance: Mapping[str, Any]
) -> Posterior:
    whole = {name: np.concatenate([chain[name] for chain in chains]) for name in chains[0]}
    places, log_density = whole.pop("places"), whole.pop("log_density")
    values = np.array([_vector(target, place) for place in places.reshape(-1, places.shape[-1])])
    return Posterior(target.names, places, values.reshape(places.shape), log_density, whole, settings, provenance)


def _vector(target: Target, place: Floats) -> Floats:
    found = target.values(place)
    return np.array([found[name] for name in target.names] if isinstance(found, Mapping) else found, dtype=float)
