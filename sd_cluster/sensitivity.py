"""Sensitivity: how much each parameter matters, over the whole space, for every output at every time.

Each method takes a model (or a plain function of rows, or for some an ensemble that is there already), lays its own
design, runs it, and gives `Indices` with intervals. None answers in silence for less than was asked: lost runs are
counted, whole blocks of the design go with them, and an analysis that lost more than 5 % of them is refused.
"""

from collections.abc import Mapping
from typing import Unpack

import numpy as np

from sd_cluster import designs, estimators
from sd_cluster.analysis import Given, at_least, drawn, run_blocks, seed_of
from sd_cluster.answers import Function, Subject
from sd_cluster.draws import Draws
from sd_cluster.errors import ModelError, ScenarioError
from sd_cluster.estimators import Estimate
from sd_cluster.indices import Indices
from sd_cluster.kernel import Floats
from sd_cluster.model import Model
from sd_cluster.settings import Settings, with_settings
from sd_cluster.space import Space


@with_settings(Settings)
def sobol(
    subject: Model | Function,
    space: Space,
    *,
    samples: int = 1024,
    second_order: bool = False,
    resamples: int = 100,
    **settings: Unpack[Settings],
) -> Indices:
    """Share of each output's variance that each parameter makes, alone (`first`) and with all others (`total`).

    The design is SALib's (Saltelli's radial one on scrambled Sobol points); the estimators are those of SALib to the
    last digits, worked out for all outputs and times at once (see `estimators.sobol` for sources).

    Parameters
    ----------
    subject
        A model, or a function of rows (n_runs, n_parameters) that gives (n_runs,).
    space
        Independent parameters.
    samples
        Blocks of the design, a power of two; each takes a run for every parameter and two more.
    second_order
        Also the share of each pair (`second`), for nearly twice the runs.
    resamples
        Of the bootstrap over blocks, from which intervals come.
    settings
        See `Settings`.

    Raises
    ------
    ModelError
        If an output or a parameter is unknown.
    ScenarioError
        If parameters of the space go together.
    SimulationError
        If more than 5 % of the blocks hold a failed run, without `allow_failures`.

    Examples
    --------
    >>> box = Space({"a": (0, 1), "b": (0, 1), "idle": (0, 1)})
    >>> print(sobol(lambda x: 2 * x[:, 0] + x[:, 1], box, samples=1024).verdict[:7])
    settled
    >>> print(sobol(lambda x: 2 * x[:, 0] + x[:, 1], box)["first"].ravel().round(2))
    [0.8 0.2 0. ]
    """
    designs.independent(space, "Sobol's method")
    samples, notes = designs.power_of_two(samples)
    d, seed = len(space.names), seed_of(settings)
    size = (2 if second_order else 1) * d + 2
    unit = designs.radial(d, samples, seed, second_order=second_order)
    corners = slice(None, None, size - 1)
    blocks = run_blocks(subject, drawn(space, unit, seed, "sobol radial"), size, "blocks", settings, judged=corners)
    found = estimators.sobol(blocks.values, blocks.picks(resamples), second_order=second_order)
    kinds: dict[str, Estimate] = {"first": found.first, "total": found.total}
    if found.second is not None:
        kinds["second"] = found.second
    return blocks.indices("Sobol", "total", kinds, samples, notes)


@with_settings(Settings)
def morris(
    subject: Model | Function,
    space: Space,
    *,
    samples: int = 64,
    levels: int = 4,
    resamples: int = 100,
    **settings: Unpack[Settings],
) -> Indices:
    """Elementary effects: a cheap screening of many parameters, through SALib's trajectories.

    Effects are in the output's unit for a step over the whole range (or from quantile 0 to 1) of a parameter.
    `mu_star` is their mean size, `mu` their mean, `sigma` their spread: large where a parameter acts unevenly or
    together with others.

    Parameters
    ----------
    subject, space
        As in `sobol`.
    samples
        Trajectories; each takes a run for every parameter and one more.
    levels
        Of the grid, an even number.
    resamples
        Of the bootstrap over trajectories.
    settings
        See `Settings`.

    Raises
    ------
    ModelError, ScenarioError, SimulationError
        As `sobol` does, with trajectories for blocks.

    Examples
    --------
    >>> box = Space({"a": (0, 1), "idle": (0, 1)})
    >>> morris(lambda x: 3 * x[:, 0], box)["mu_star"].ravel().round(6)
    array([3., 0.])
    """
    designs.independent(space, "Morris's method")
    if levels % 2:
        raise ScenarioError(f"levels={levels} would reach some values more often; take an even number, such as 4")
    d, seed = len(space.names), seed_of(settings)
    unit = designs.trajectories(d, at_least(samples, 2), seed, levels=levels)
    draws = drawn(space, unit, seed, "morris", tail=0.01)
    blocks = run_blocks(subject, draws, d + 1, "trajectories", settings, effects=True)
    steps, picked = unit.reshape(-1, d + 1, d)[blocks.kept], blocks.picks(resamples)
    kinds = estimators.by_columns(lambda values: estimators.morris(steps, values, picked), blocks.values)
    return blocks.indices("Morris", "mu_star", kinds, samples, scaled=True, tolerance=0.3)


@with_settings(Settings)
def fast(
    subject: Model | Function,
    space: Space,
    *,
    samples: int = 304,
    curves: int = 5,
    **settings: Unpack[Settings],
) -> Indices:
    """First and total order by extended FAST, on SALib's search curves.

    SALib itself warns that resampling a search curve gives no honest interval (its issue 649), so whole sets of
    curves are repeated with new random phases, as Saltelli, Tarantola and Chan (1999) advise, and intervals are
    Student's t over these.

    Parameters
    ----------
    subject, space
        As in `sobol`.
    samples
        Points on a curve, more than 64; each set has a curve for every parameter. Intervals tell of chance alone:
        that only four harmonics are counted as a parameter's own is a bias they do not hold.
    curves
        Sets of curves, at least two.
    settings
        See `Settings`.

    Raises
    ------
    ModelError, ScenarioError, SimulationError
        As `sobol` does, with sets of curves for blocks.
    """
    from scipy.stats import norm, t

    designs.independent(space, "FAST")
    samples, notes = designs.free_of_aliases(samples)
    d, seed = len(space.names), seed_of(settings)
    draws = drawn(space, designs.curves(d, samples, at_least(curves, 2), seed), seed, "fast")
    blocks = run_blocks(subject, draws, d * samples, "sets of curves", settings)
    sets = len(blocks.values)
    place = 0.5 + settings.get("level", 0.95) / 2
    wider = t.ppf(place, sets - 1) / norm.ppf(place) / np.sqrt(sets)

    def shares(values: Floats) -> dict[str, Estimate]:
        found = [estimators.fast(values[:, j * samples : (j + 1) * samples]) for j in range(d)]
        kinds = zip(("first", "total"), np.stack(found, axis=1), strict=True)
        return {kind: (own.mean(axis=1), wider * own.std(axis=1, ddof=1)) for kind, own in kinds}

    kinds = estimators.by_columns(shares, blocks.values)
    note = "intervals are Student's t over repeated sets of curves, as resampling one curve would not be honest"
    return blocks.indices("FAST", "total", kinds, samples, (*notes, note))


@with_settings(Settings)
def rbd_fast(
    subject: Subject,
    space: Space | None = None,
    *,
    samples: int = 1024,
    resamples: int = 100,
    **settings: Unpack[Settings],
) -> Indices:
    """First order from any sample, by random balance designs with SALib's estimator.

    Parameters
    ----------
    subject
        As in `sobol`; or an ensemble that is there already, which is then read as it is, without a space.
    space
        As in `sobol`; parameters may go together.
    samples
        Runs, laid as a Latin hypercube.
    resamples
        Of the bootstrap over runs.
    settings
        See `Settings`.

    Raises
    ------
    ModelError, SimulationError
        As `sobol` does, with runs for blocks.
    """
    given = Given(subject, space, at_least(samples, 40), settings)

    def found(x: Floats, y: Floats) -> dict[str, Floats]:
        return {"first": estimators.rbd_fast(x, y)}

    return given.indices("RBD-FAST", "first", found, resamples)


@with_settings(Settings)
def pawn(
    subject: Subject,
    space: Space | None = None,
    *,
    samples: int = 1024,
    slices: int = 10,
    resamples: int = 100,
    **settings: Unpack[Settings],
) -> Indices:
    """How far fixing a parameter moves the whole distribution of an output, by SALib's PAWN estimator.

    `median` and `largest` are over slices of the parameter. They are never quite zero: a note says what a parameter
    without any influence reads in a sample of this size.

    Parameters
    ----------
    subject, space, samples, resamples
        As in `rbd_fast`.
    slices
        Of each parameter, with equally many runs.
    settings
        See `Settings`.

    Raises
    ------
    ModelError, SimulationError
        As `rbd_fast` does.
    """
    given = Given(subject, space, at_least(samples, 5 * slices), settings)

    def found(x: Floats, y: Floats) -> dict[str, Floats]:
        median, largest = estimators.pawn(x, y, slices)
        return {"median": median, "largest": largest}

    idle = 0.8276 * np.sqrt((1.0 - 1.0 / slices) * slices / len(given.x))
    note = f"a parameter without influence reads a median of about {idle:.2g} in a sample of this size"
    return given.indices("PAWN", "median", found, resamples, (note,))


@with_settings(Settings)
def delta(
    subject: Subject,
    space: Space | None = None,
    *,
    samples: int = 1024,
    resamples: int = 20,
    **settings: Unpack[Settings],
) -> Indices:
    """Borgonovo's delta: how far knowing a parameter moves the density of an output, by SALib's estimator.

    Twice the estimate less the mean of the resamples takes off the bias (Plischke, Borgonovo and Smith 2013, eq. 30).
    What is left of it is told by a note: what a parameter without any influence reads. Smooth estimates of densities
    with edges also read low. SALib goes column by column: a parameter, an output and a time take some 3 ms for each
    resample.

    Parameters
    ----------
    subject, space, samples, resamples
        As in `rbd_fast`.
    settings
        See `Settings`.

    Raises
    ------
    ModelError, SimulationError
        As `rbd_fast` does.
    """
    given = Given(subject, space, at_least(samples, 50), settings)

    def found(x: Floats, y: Floats) -> dict[str, Floats]:
        return {"delta": estimators.delta(x, y)}

    return given.indices("Delta", "delta", found, resamples, (given.idle_delta(),), unbias=True)


@with_settings(Settings)
def prcc(
    subject: Subject,
    space: Space | None = None,
    *,
    samples: int = 1024,
    resamples: int = 100,
    **settings: Unpack[Settings],
) -> Indices:
    """Partial rank correlation: sign and strength of a rising or falling influence, the other parameters held.

    It sees what is monotonic and misses what goes up and down again. `p` is the chance of a value as far from zero
    if there were no such influence, by the t-test of Marino et al. (2008, doi:10.1016/j.jtbi.2008.04.011).

    Parameters
    ----------
    subject, space, samples, resamples
        As in `rbd_fast`.
    settings
        See `Settings`.

    Raises
    ------
    ModelError, SimulationError
        As `rbd_fast` does.

    Examples
    --------
    >>> box = Space({"up": (0, 1), "down": (0, 1)})
    >>> prcc(lambda x: np.exp(3 * x[:, 0] - x[:, 1]), box)["prcc"].ravel().round(1)
    array([ 1., -1.])
    """
    given = Given(subject, space, samples, settings)
    runs, d = given.x.shape
    if runs < d + 3:
        raise ModelError(f"{runs} runs are too few for {d} parameters; take at least {d + 3}")

    def found(x: Floats, y: Floats) -> dict[str, Floats]:
        return {"prcc": estimators.prcc(x, y)}

    def test(own: Mapping[str, Floats]) -> dict[str, Floats]:
        return {"p": estimators.prcc_test(own["prcc"], runs)}

    return given.indices("PRCC", "prcc", found, resamples, extra=test)


@with_settings(Settings)
def dgsm(
    subject: Model | Function,
    space: Space,
    *,
    samples: int = 256,
    step: float = 0.01,
    resamples: int = 100,
    **settings: Unpack[Settings],
) -> Indices:
    """Derivative-based measure: an upper bound on the total index from derivatives, by SALib's formula.

    A parameter whose bound is near zero can be fixed with a good conscience; the bound may lie far above the index.
    Derivatives are differences over `step` of the unit box, towards its middle.

    Parameters
    ----------
    subject, space
        As in `sobol`.
    samples
        Points, a power of two; each takes a run for every parameter and one more.
    resamples
        Of the bootstrap over points.
    settings
        See `Settings`.

    Raises
    ------
    ModelError, ScenarioError, SimulationError
        As `sobol` does, with points for blocks.
    """
    designs.independent(space, "DGSM")
    if not 0.0 < step < 0.5:
        raise ScenarioError(f"step={step:g} should be a small share of the range, such as 0.01")
    samples, notes = designs.power_of_two(samples)
    d, seed = len(space.names), seed_of(settings)
    unit, steps = designs.differences(d, samples, seed, step=step)
    blocks = run_blocks(subject, drawn(space, unit, seed, "dgsm"), d + 1, "points", settings)
    steps, picked = steps[blocks.kept], blocks.picks(resamples)
    kinds = estimators.by_columns(lambda values: estimators.dgsm(values, steps, picked), blocks.values)
    return blocks.indices("DGSM", "dgsm", kinds, samples, notes, scaled=True, tolerance=0.3)


@with_settings(Settings)
def shapley(
    subject: Model | Function,
    space: Space,
    *,
    samples: int = 2048,
    resamples: int = 100,
    **settings: Unpack[Settings],
) -> Indices:
    """Shapley effects: shares of the variance that add up to one even where parameters go together.

    By random permutations (Song, Nelson and Staum 2016, doi:10.1137/15M1048070), with conditional draws from the
    space's Gaussian copula; intervals by a bootstrap over permutations. A parameter that the model ignores may well
    have an effect when it goes together with one that matters.

    Parameters
    ----------
    subject
        As in `sobol`.
    space
        Parameters may go together; not rows of a table, which tell no distribution of some given others.
    samples
        Permutations; each takes two runs, and three for every parameter but one.
    resamples
        Of the bootstrap over permutations.
    settings
        See `Settings`.

    Raises
    ------
    ModelError, SimulationError
        As `sobol` does, with permutations for blocks.
    ScenarioError
        If the space has rows of a table.
    """
    if not isinstance(space, Space):
        raise ScenarioError(f"Shapley effects go over a space, as Space({{'trust': (0.05, 0.6)}}); got {space!r}")
    if space.table is not None:
        raise ScenarioError(
            "Shapley effects draw some parameters given others, which rows of a table do not tell; "
            "give distributions and their correlation"
        )
    seed = seed_of(settings)
    plan = designs.permutations(space.scores, at_least(samples, 2), seed)
    size, d = plan.scores.shape[1:]
    draws = Draws(space.names, space.from_scores(plan.scores.reshape(-1, d)), seed, "shapley")
    blocks = run_blocks(subject, draws, size, "permutations", settings)
    kept, picked = np.flatnonzero(blocks.kept), blocks.picks(resamples)

    def shares(values: Floats) -> dict[str, Estimate]:
        return estimators.shapley(designs.shapley_gains(plan, kept, values), picked)

    kinds = estimators.by_columns(shares, blocks.values)
    laid = len(plan.order)
    notes = () if laid == samples else (f"{samples} samples were made {laid}: all orders of the parameters come alike",)
    return blocks.indices("Shapley", "shapley", kinds, laid, notes)
