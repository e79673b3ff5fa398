"""One chain of a sampler, from its seed to its draws: the unit that runs in a process and is kept on disk.

Two samplers. The No-U-Turn Sampler (Hoffman & Gelman 2014, Journal of Machine Learning Research 15, 1593-1623) runs
in nutpie, whose tuning learns the scales from draws and gradients. The affine-invariant ensemble (Goodman & Weare
2010, doi:10.2140/camcos.2010.5.65) runs in emcee (Foreman-Mackey et al. 2013, doi:10.1086/670067) and needs no
gradient.

A chain is a function of its seed. nutpie does not hand out its inner state, so a chain that was killed is begun
again, but the evaluations it had asked for are played back from a tape and cost microseconds; an ensemble is kept in
blocks of steps with the state of its random numbers. Both end in the numbers of a chain that was never killed.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from calibration.history import History, Tape
from calibration.statistics import Floats
from sd_cluster.errors import FitError, SimulationError
from sd_cluster.files import write_beside

Method: TypeAlias = Literal["nuts", "ensemble"]
Told: TypeAlias = Callable[[int], None]
"""Called with the number of draws a chain has made so far."""
Chain: TypeAlias = dict[str, Floats]
"""Arrays of one unit, shape (n_rows, draws) each, `places` (n_rows, draws, n_unknowns); rows are chains or walkers."""

SPREAD = 1.5
"""How far chains start apart, in standard deviations of the Laplace approximation: wider than the posterior, so that
chains that agree have forgotten where they began."""
WIDEST = 2.0
"""Largest standard deviation of a place believed: those of the priors' base densities are 1 and 1.8."""
TRIES = 100
"""Places tried for one start before giving up."""
BLOCK = 50
"""Steps of an ensemble between two records."""
DEPTH = 10
"""Most doublings of a trajectory of NUTS."""


class Target(Protocol):
    """What can be sampled: a density over places, unbounded coordinates of the unknowns."""

    @property
    def names(self) -> tuple[str, ...]:
        """The unknowns, in order."""

    def log_density(self, place: Floats) -> tuple[float, Floats]:
        """Log density up to a constant and its gradient; SimulationError where the model cannot be run."""

    def values(self, place: Floats) -> Any:
        """The unknowns in their own units, in the order of the names."""

    def information(self, place: Floats) -> Floats:
        """Minus the expected Hessian of the log density, shape (n_unknowns, n_unknowns)."""

    def sample_prior(self, n: int, seed: int, /) -> Floats:
        """Places drawn from the prior, shape (n, n_unknowns)."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How every chain of a posterior is made.

    Attributes
    ----------
    method, draws, tune, seed, target_accept, walkers
        As in `sample_posterior`.
    start : shape (n_unknowns,)
        The optimum, or None for starts from the prior.
    root : shape (n_unknowns, n_unknowns)
        Lower triangular; the Laplace approximation's covariance is root @ root.T. The identity without a start.
    folder
        Where finished chains are kept, or None.
    """

    method: Method
    draws: int
    tune: int
    seed: int
    target_accept: float
    walkers: int
    start: Floats | None
    root: Floats
    folder: Path | None

    def path(self, number: int) -> Path | None:
        """File of a finished chain."""
        return None if self.folder is None else self.folder / f"chain-{number}.npz"

    def settings(self) -> dict[str, Any]:
        """What the numbers of a chain depend on, besides its target and its own number."""
        chosen = {
            "method": self.method,
            "draws": self.draws,
            "tune": self.tune,
            "seed": self.seed,
            "start": "prior" if self.start is None else self.start.tolist(),
        }
        only = {"target_accept": self.target_accept} if self.method == "nuts" else {"walkers": self.walkers}
        return chosen | only


def run_chain(target: Target, plan: Plan, number: int, told: Told) -> Chain:
    """Make a chain, or take it from its file.

    Parameters
    ----------
    target
        What to sample.
    plan
        How.
    number
        Of the chain, from 0; with the plan's seed it decides the chain's numbers.
    told
        Is told how far the chain is.

    Raises
    ------
    FitError
        If no place to start from can be run, nutpie cannot begin there (as where the density is flat), or the file of
        the chain is damaged.
    """
    path = plan.path(number)
    if path is not None and path.exists():
        told(plan.draws + plan.tune)
        return _read(path)
    make = _nuts if plan.method == "nuts" else _ensemble
    chain = make(_Whitened(target, plan), plan, number, told)
    if path is not None:
        write_beside(path, lambda beside: np.savez(beside, allow_pickle=False, **chain))
        path.with_suffix(".tape").unlink(missing_ok=True)
        path.with_suffix(".jsonl").unlink(missing_ok=True)
    return chain


def laplace_root(target: Target, place: Floats) -> Floats:
    """Square root of the covariance of the Laplace approximation at a place, lower triangular.

    Directions in which the information is weak or not positive are taken as `WIDEST`.

    Raises
    ------
    FitError
        If the start cannot be run, or the information is not a finite square matrix of the right size.
    """
    try:
        information = np.asarray(target.information(place), dtype=float)
    except SimulationError as error:
        raise FitError(f"the start cannot be run ({error}); start from the optimum of a fit") from None
    if information.shape != (place.size, place.size) or not np.isfinite(information).all():
        raise FitError(
            f"the information at the start is not a finite {place.size} x {place.size} matrix; start from the optimum "
            "of a fit, or leave the start out to begin from the prior"
        )
    curvatures, axes = np.linalg.eigh(0.5 * (information + information.T))
    spreads = np.minimum(1.0 / np.sqrt(np.maximum(curvatures, WIDEST**-2)), WIDEST)
    return np.asarray(np.linalg.cholesky((axes * spreads**2) @ axes.T))


def quiet_arviz() -> Any:
    """ArviZ, without the notice it gives once a day on being imported; any other warning goes through.

    ArviZ writes a file on giving the notice. Of two processes that import it at once the slower one finds the file
    gone that it was about to rename, and tries again.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing a major refactor", category=FutureWarning)
        try:
            import arviz
        except FileNotFoundError:
            import arviz
    return arviz


class _Whitened:
    """A target over u, where place = start + root @ u: scales and correlations of the optimum taken out.

    The step of a leapfrog and the diagonal mass matrix then suit all directions from the first draw on.
    """

    def __init__(self, target: Target, plan: Plan) -> None:
        self.target, self.plan = target, plan
        self.size = len(target.names)
        self.middle: Floats = np.zeros(self.size) if plan.start is None else plan.start
        self.root = plan.root

    def place(self, u: Floats) -> Floats:
        """Places of points, shape (..., n_unknowns)."""
        return np.asarray(self.middle + u @ self.root.T)

    def judge(self, u: Floats) -> tuple[float, Floats]:
        """Log density and gradient over u; minus infinity and zeros where the model cannot be run."""
        try:
            density, gradient = self.target.log_density(self.place(u))
        except SimulationError:
            return -np.inf, np.zeros(self.size)
        if np.isnan(density) or (np.isfinite(density) and not np.isfinite(gradient).all()):
            told = ", ".join(
                f"{name}={value:.4g}" for name, value in zip(self.target.names, self.place(u), strict=True)
            )
            raise FitError(f"the log density or its gradient is not a number at the place {told}; mend the target")
        return (float(density), gradient @ self.root) if np.isfinite(density) else (-np.inf, np.zeros(self.size))

    def begin(self, number: int, walker: int = 0) -> Floats:
        """Where a chain or a walker begins: spread around the optimum or drawn from the prior, and runnable.

        Raises
        ------
        FitError
            If none of `TRIES` places can be run.
        """
        random = np.random.default_rng([self.plan.seed, number, walker, 1])
        for trial in range(TRIES):
            if self.plan.start is None:
                u = np.asarray(self.target.sample_prior(1, int(random.integers(2**31))), dtype=float)[0]
            else:
                u = SPREAD * 0.9**trial * random.standard_normal(self.size)
            if np.isfinite(self.judge(u)[0]):
                return np.asarray(u)
        where = "drawn from the prior" if self.plan.start is None else "around the start"
        raise FitError(
            f"chain {number} found no place to begin: none of {TRIES} places {where} can be run; "
            "narrow the priors, shorten the run, or start from the optimum of a fit"
        )


def _nuts(target: _Whitened, plan: Plan, number: int, told: Told) -> Chain:
    """One chain of nutpie, in a thread of its own under this process."""
    quiet_arviz()
    import nutpie

    path = plan.path(number)
    begin = target.begin(number)
    with Tape(path.with_suffix(".tape") if path is not None else None, target.judge, target.size) as tape:
        density = _Guarded(tape, target.size)
        counted = _Counted(told)
        compiled = nutpie.compiled_pyfunc.from_pyfunc(
            target.size,
            lambda: density,
            lambda *seeds: counted,
            [np.dtype(np.float64)],
            [(target.size,)],
            ["u"],
            make_initial_point_fn=lambda seed: begin,
        )
        sampler = nutpie.sample(
            compiled,
            draws=plan.draws,
            tune=plan.tune,
            chains=1,
            cores=1,
            seed=_seed(plan, number),
            target_accept=plan.target_accept,
            maxdepth=DEPTH,
            save_warmup=False,
            progress_bar=False,
            blocking=False,
        )
        try:
            trace = sampler.wait()
        except KeyboardInterrupt:
            sampler.cancel()
            raise
        except RuntimeError as error:
            reason = str(error).partition("Stack backtrace")[0].replace("Caused by:", "").split("\n")
            why = ": ".join(line.strip() for line in reason if line.strip())
            raise density.error or FitError(f"nutpie could not make chain {number}: {why}") from None
        if density.error is not None:
            raise density.error
    stats = trace.sample_stats
    return {
        "places": target.place(trace.posterior["u"].to_numpy()),
        "log_density": stats["logp"].to_numpy(),
        "diverging": stats["diverging"].to_numpy().astype(float),
        "depth": stats["depth"].to_numpy().astype(float),
        "gradients": stats["n_steps"].to_numpy().astype(float),
        "step_size": stats["step_size"].to_numpy(),
        "energy": stats["energy"].to_numpy(),
    }


class _Guarded:
    """A density for nutpie: an error of the target is kept for the caller, and ends the chain in haste.

    An exception inside nutpie's thread would be printed as a panic and lose its type.
    """

    def __init__(self, density: Callable[[Floats], tuple[float, Floats]], size: int) -> None:
        self._density, self._size = density, size
        self.error: BaseException | None = None

    def __call__(self, u: Floats) -> tuple[float, Floats]:
        if self.error is None:
            try:
                return self._density(u)
            except BaseException as error:  # raised again by the caller
                self.error = error
        return -np.inf, np.zeros(self._size)


class _Counted:
    """What nutpie calls once a draw, tuning included; tells how many there were."""

    def __init__(self, told: Told) -> None:
        self._told, self._done = told, 0

    def __call__(self, u: Floats) -> Mapping[str, Floats]:
        self._done += 1
        self._told(self._done)
        return {"u": np.array(u)}


def _ensemble(target: _Whitened, plan: Plan, number: int, told: Told) -> Chain:
    """One ensemble of emcee, block by block; each walker is a row."""
    import emcee

    blocks = History(plan.folder, {"plan": plan.settings()}, name=f"chain-{number}") if plan.folder else None
    sampler = emcee.EnsembleSampler(plan.walkers, target.size, lambda u: target.judge(u)[0])
    total = plan.tune + plan.draws
    state: dict[str, Any] = {}
    parts: list[tuple[Floats, Floats]] = []
    for first in range(0, total, BLOCK):
        key, steps = f"steps from {first}", min(BLOCK, total - first)
        record = blocks.kept(key) if blocks is not None else None
        if record is None:
            record = _steps(sampler, state or _opening(target, plan, number), steps)
            if blocks is not None:
                blocks.keep(key, record)
        state = record["state"]
        parts.append((np.array(record["u"]), np.array(record["log_density"])))
        told(first + steps)
    u, density = (np.concatenate(part)[plan.tune :].swapaxes(0, 1) for part in zip(*parts, strict=True))
    return {"places": target.place(u), "log_density": density}


def _opening(target: _Whitened, plan: Plan, number: int) -> dict[str, Any]:
    random = np.random.RandomState(_seed(plan, number) % 2**32)
    return {
        "u": np.array([target.begin(number, walker) for walker in range(plan.walkers)]),
        "random": random.get_state(),
        "log_density": None,
    }


def _steps(sampler: Any, state: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """A block of steps from a state: what the walkers went through, and the state after it."""
    import emcee

    kind, keys, *rest = state["random"]
    opened = emcee.State(
        np.array(state["u"]),
        log_prob=None if state["log_density"] is None else np.array(state["log_density"]),
        random_state=(kind, np.array(keys, dtype=np.uint32), *rest),
    )
    sampler.reset()
    ended = sampler.run_mcmc(opened, steps, skip_initial_state_check=True)
    after = {"u": ended.coords, "log_density": ended.log_prob, "random": list(ended.random_state)}
    return {"u": sampler.get_chain(), "log_density": sampler.get_log_prob(), "state": after}


def _seed(plan: Plan, number: int) -> int:
    return int(np.random.SeedSequence([plan.seed, number]).generate_state(1, np.uint64)[0])


def _read(path: Path) -> Chain:
    import zipfile

    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise FitError(f"{path} is damaged ({error}); remove it to have the chain made again") from None
