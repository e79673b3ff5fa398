"""Designs: where in the unit box the methods of sensitivity analysis want a model run.

Morris and FAST points come from SALib. The radial design of Sobol's method is laid from Sobol points as SALib
lays it, bit for bit, without its loops in Python.
"""

from dataclasses import dataclass

import numpy as np

from sd_cluster.errors import ScenarioError
from sd_cluster.estimators import Ints
from sd_cluster.kernel import Floats
from sd_cluster.space import Space, lay


def independent(space: Space, method: str) -> None:
    """Refuse what is no space, or one whose parameters go together, for methods that suppose they do not.

    Raises
    ------
    ScenarioError
        The text names what to use instead.
    """
    if not isinstance(space, Space):
        raise ScenarioError(f"{method} goes over a space, as Space({{'initial trust': (0.05, 0.6)}}); got {space!r}")
    if not space.independent:
        raise ScenarioError(
            f"{method} supposes that parameters are independent, but this space says that some go together; "
            "use shapley, or a space without correlation"
        )


def power_of_two(samples: int) -> tuple[int, tuple[str, ...]]:
    """Round samples up to the power of two that Sobol points want, with a note where that is another number.

    Examples
    --------
    >>> power_of_two(1000)[0]
    1024
    """
    if samples < 2:
        raise ScenarioError(f"samples={samples} is too few; take a power of two, such as 1024")
    even = 1 << (samples - 1).bit_length()
    return even, () if even == samples else (f"{samples} samples were made {even}: Sobol points come in powers of two",)


def radial(dimensions: int, samples: int, seed: int, *, second_order: bool) -> Floats:
    """Lay blocks of A, A with one column of B each, (B with one column of A each,) B, as SALib's `sobol.sample` does.

    Returns
    -------
    unit : shape (samples * (dimensions + 2), dimensions), or samples * (2 * dimensions + 2) with second order
    """
    base, _ = lay(samples, 2 * dimensions, "sobol", seed)
    a, b = base[:, :dimensions], base[:, dimensions:]
    size = 2 * dimensions + 2 if second_order else dimensions + 2
    unit = np.empty((samples, size, dimensions))
    unit[:, : dimensions + 1] = a[:, None]
    unit[:, dimensions + 1 :] = b[:, None]
    each = np.arange(dimensions)
    unit[:, each + 1, each] = b
    if second_order:
        unit[:, each + 1 + dimensions, each] = a
    return unit.reshape(-1, dimensions)


def _problem(dimensions: int) -> dict[str, object]:
    return {
        "num_vars": dimensions,
        "names": [f"x{number}" for number in range(dimensions)],
        "bounds": [[0.0, 1.0]] * dimensions,
    }


def trajectories(dimensions: int, samples: int, seed: int, *, levels: int = 4) -> Floats:
    """Lay Morris trajectories by SALib, shape (samples * (dimensions + 1), dimensions)."""
    from SALib.sample import morris

    unit: Floats = morris.sample(_problem(dimensions), samples, num_levels=levels, seed=np.random.default_rng(seed))
    return unit


def free_of_aliases(samples: int, harmonics: int = 4) -> tuple[int, tuple[str, ...]]:
    """Lengthen FAST's curves until no parameter's waves fall on another's, with a note where that takes more points.

    SALib looks at the frequency (n - 1) / (2 * harmonics). With just that many points the last harmonic is the highest
    frequency that n points can tell, and what parameters do together folds back onto it: Ishigami's third, which has
    no first order, then reads 0.024 however many points there are. So the curve takes all the points up to the next
    frequency. A frequency that is a prime is no harmonic of the low ones that the other parameters get.

    Examples
    --------
    >>> free_of_aliases(304)[0], free_of_aliases(257)[0]
    (304, 304)

    Raises
    ------
    ScenarioError
        If the curves are too short for the harmonics.
    """
    if samples <= 4 * harmonics**2:
        raise ScenarioError(f"samples={samples} is too few for FAST; take at least {4 * harmonics**2 + 1} a curve")
    frequency = -(-samples // (2 * harmonics)) - 1
    while any(frequency % divisor == 0 for divisor in range(2, int(frequency**0.5) + 1)):
        frequency += 1
    free = 2 * harmonics * (frequency + 1)
    note = f"{samples} samples were made {free}, so that no parameter's waves fall on another's"
    return free, () if free == samples else (note,)


def curves(dimensions: int, samples: int, count: int, seed: int, *, harmonics: int = 4) -> Floats:
    """Lay search curves of extended FAST by SALib, each set with new random phases.

    Returns
    -------
    unit : shape (count * dimensions * samples, dimensions)
    """
    from SALib.sample import fast_sampler

    random = np.random.default_rng(seed)
    sets = [fast_sampler.sample(_problem(dimensions), samples, M=harmonics, seed=random) for _ in range(count)]
    return np.concatenate(sets)


def differences(dimensions: int, samples: int, seed: int, *, step: float = 0.01) -> tuple[Floats, Floats]:
    """Lay Sobol points, each followed by itself with one parameter moved towards the middle of the box.

    Returns
    -------
    unit : shape (samples * (dimensions + 1), dimensions)
    steps : shape (samples, dimensions)
    """
    base, _ = lay(samples, dimensions, "sobol", seed)
    steps = np.where(base < 0.5, step, -step)
    unit = np.repeat(base[:, None], dimensions + 1, axis=1)
    each = np.arange(dimensions)
    unit[:, each + 1, each] += steps
    moved: Floats = unit[:, each + 1, each] - base
    return unit.reshape(-1, dimensions), moved


@dataclass(frozen=True, eq=False)
class Permutations:
    """The runs of Shapley effects by random permutations (Song, Nelson and Staum 2016, doi:10.1137/15M1048070).

    Attributes
    ----------
    order : shape (n_permutations, n_parameters)
        In which parameters become known.
    scores : shape (n_permutations, n_rows, n_parameters)
        Normal scores of the runs: two independent ones, then `inner` for each parameter but the last.
    inner
        Runs that share what is known.
    """

    order: Ints
    scores: Floats
    inner: int


def permutations(correlation: Floats, samples: int, seed: int, *, inner: int = 3) -> Permutations:
    """Lay the runs of Shapley effects.

    The parameters known so far keep their values within a group of runs while the others are drawn anew given
    them: with normal scores in the order of the permutation, that is to keep the first of the numbers that the
    Cholesky factor turns into scores. As Song et al. find best, there is one group for each permutation and length.
    For few parameters all permutations come equally often, so that chance is left in the runs alone.

    Parameters
    ----------
    correlation : shape (n_parameters, n_parameters)
        Of normal scores.
    samples
        Number of permutations; rounded up to all of them where there are fewer.
    """
    from itertools import islice
    from itertools import permutations as all_orders
    from math import factorial

    d = len(correlation)
    random = np.random.default_rng(seed)
    if d <= 8 and factorial(d) <= samples:
        every = np.array(list(islice(all_orders(range(d)), factorial(d))), dtype=np.intp)
        order = np.tile(every, (-(-samples // len(every)), 1))
    else:
        order = random.permuted(np.tile(np.arange(d, dtype=np.intp), (samples, 1)), axis=1)
    n = len(order)
    factors = np.linalg.cholesky(correlation[order[:, :, None], order[:, None, :]])
    fresh = random.standard_normal((n, 2 + inner * (d - 1), d))
    for known in range(1, d):
        group = slice(2 + inner * (known - 1), 2 + inner * known)
        fresh[:, group, :known] = fresh[:, group, :known][:, :1]
    ordered = np.einsum("nrk,njk->nrj", fresh, factors)
    scores = np.empty_like(ordered)
    np.put_along_axis(scores, order[:, None, :], ordered, axis=2)
    return Permutations(order, scores, inner)


def shapley_gains(plan: Permutations, kept: Ints, values: Floats) -> Floats:
    """What each parameter takes off the variance when it becomes known, in each permutation.

    The variance left once k parameters are known is the mean over groups of the variance within a group; the
    variance before anything is known is half the mean squared difference of two independent runs. Both are
    without bias, and the gains of one permutation add up to that variance.

    Parameters
    ----------
    plan
    kept
        Permutations to use.
    values : shape (n_kept, n_rows, n_columns)

    Returns
    -------
    gains : shape (n_kept, n_parameters, n_columns)
    """
    order = plan.order[kept]
    n, d = order.shape
    left = np.zeros((n, d + 1, values.shape[2]))
    left[:, 0] = 0.5 * (values[:, 0] - values[:, 1]) ** 2
    groups = values[:, 2:].reshape(n, d - 1, plan.inner, -1)
    left[:, 1:d] = groups.var(axis=2, ddof=1)
    gains = np.empty((n, d, values.shape[2]))
    np.put_along_axis(gains, order[:, :, None], left[:, :-1] - left[:, 1:], axis=1)
    return gains
