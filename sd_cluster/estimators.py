"""Estimators of sensitivity indices, for all outputs and times at once: arrays in, arrays out.

Columns of the answers are outputs at times, shape (..., n_columns). The formulas are those of SALib (Iwanaga, Usher
and Herman 2022, doi:10.18174/sesmo.18155), against which the tests hold them to the last digits; SALib takes one
column at a time, which for ten outputs over sixty years with intervals would take minutes where this takes less than
one second. Each estimate comes with the standard error of a bootstrap over whole blocks of the design.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sd_cluster.kernel import Floats

Ints: TypeAlias = npt.NDArray[np.intp]
Estimate: TypeAlias = tuple[Floats, Floats]
"""An index and its standard error, each of shape (n_parameters, n_columns) or with a leading axis more for pairs."""

AT_ONCE = 1 << 18
"""Numbers that a thread works on at a time: few enough to stay near the processor, enough to keep Python out."""


LARGEST = 1 << 26
"""Numbers of a table of answers, half a GiB, from which estimates take some columns after others."""


def by_columns(
    estimate: Callable[[Floats], Mapping[str, Estimate]], values: Floats, columns: Ints | None = None
) -> dict[str, Estimate]:
    """Estimate from columns of the answers, some at a time where all would take much memory.

    Parameters
    ----------
    estimate
        Works on each column by itself.
    values : shape (..., n_columns)
    columns
        Which to take; all where not given.
    """
    wanted = np.arange(values.shape[-1]) if columns is None else columns
    wide = max(1, LARGEST // max(1, int(np.prod(values.shape[:-1]))))
    if wide >= len(wanted):
        return dict(estimate(values if len(wanted) == values.shape[-1] else values[..., wanted]))
    groups = [wanted[low : low + wide] for low in range(0, len(wanted), wide)]
    parts = [estimate(np.array(values[..., group])) for group in groups]
    whole = {kind: zip(*(part[kind] for part in parts), strict=True) for kind in parts[0]}
    joined = {kind: [np.concatenate(tables, axis=-1) for tables in both] for kind, both in whole.items()}
    return {kind: (own, error) for kind, (own, error) in joined.items()}


def picks(n: int, resamples: int, random: np.random.Generator) -> Ints:
    """Which of `n` blocks each resample takes, shape (n, resamples): with replacement, as SALib draws them."""
    return random.integers(n, size=(n, resamples))


def weights_of(picked: Ints) -> Floats:
    """Share of each block in the sample itself (first row) and in each resample, shape (1 + n_resamples, n)."""
    n, resamples = picked.shape
    weights = np.empty((resamples + 1, n))
    weights[0] = 1.0 / n
    for number in range(resamples):
        weights[number + 1] = np.bincount(picked[:, number], minlength=n) / n
    return weights


def spread(resampled: Floats) -> Floats:
    """Standard deviation over resamples, which come first; those where an index is not defined are left out."""
    whole = np.isfinite(resampled)
    if whole.all():
        found: Floats = resampled.std(axis=0, ddof=1)
        return found
    count = whole.sum(axis=0)
    filled = np.where(whole, resampled, 0.0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)
    squares = np.where(whole, (filled - mean) ** 2, 0.0).sum(axis=0)
    return np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)


def _estimate(values: Floats) -> Estimate:
    """Split rows into the sample's own (the first) and the spread of the resamples' (the others)."""
    return values[0], spread(values[1:])


@dataclass(frozen=True, eq=False)
class SobolEstimates:
    """First and total order, (n_parameters, n_columns) each; second order (n_parameters, n_parameters, n_columns)."""

    first: Estimate
    total: Estimate
    second: Estimate | None


def sobol(values: Floats, picked: Ints, *, second_order: bool = False) -> SobolEstimates:
    """Sobol indices from a radial design: A, then A with one column of B each, (B with one of A each,) then B.

    First order by Saltelli et al. (2010, doi:10.1016/j.cpc.2009.09.018), total order by Jansen (1999,
    doi:10.1016/S0010-4655(98)00154-4), second order by Saltelli (2002, doi:10.1016/S0010-4655(02)00280-1).

    Parameters
    ----------
    values : shape (n_blocks, n_parameters + 2, n_columns), or 2 * n_parameters + 2 with second order
        Quickest where the runs of a column lie side by side in memory, as `sweep` leaves them.
    picked : shape (n_blocks, n_resamples)
        From `picks`.
    """
    n, size, n_columns = values.shape
    d = (size - 2) // (2 if second_order else 1)
    weights = weights_of(picked)
    first, total = _blank((d, n_columns)), _blank((d, n_columns))
    second = _blank((d, d, n_columns)) if second_order else None
    upper = np.triu_indices(d, 1)
    columns = np.moveaxis(values, -1, 0)
    wide = max(1, AT_ONCE // (n * size))

    def some(low: int) -> None:
        part = slice(low * wide, (low + 1) * wide)
        runs = np.ascontiguousarray(columns[part])
        centre = runs.mean(axis=(1, 2), keepdims=True)
        corner, mixed = runs[:, :, :1], runs[:, :, 1 : d + 1]
        a, b = corner - centre, runs[:, :, -1:] - centre
        products = np.empty((len(runs), n, 2 * d + 2))
        steps = products[:, :, d : 2 * d]
        np.subtract(mixed, corner, out=steps)
        np.multiply(steps, b, out=products[:, :, :d])
        np.multiply(steps, steps, out=steps)
        products[:, :, -2:-1], products[:, :, -1:] = 0.5 * (a + b), 0.5 * (a * a + b * b)
        means = np.matmul(weights, products).swapaxes(0, 1)
        variance = means[:, :, -1:] - means[:, :, -2:-1] ** 2
        variance[variance <= 0.0] = np.nan
        own = means[:, :, :d] / variance
        _put(first, part, own)
        _put(total, part, means[:, :, d : 2 * d] / (2.0 * variance))
        if second is not None:
            crossed, mixed = runs[:, :, d + 1 : -1] - centre, mixed - centre
            pairs = np.concatenate([crossed[:, :, j : j + 1] * mixed[:, :, j + 1 :] for j in range(d)], axis=2)
            both = np.matmul(weights, pairs - a * b).swapaxes(0, 1) / variance
            for table, found in zip(second, _estimate(both - own[..., upper[0]] - own[..., upper[1]]), strict=True):
                table[upper[0], upper[1], part] = table[upper[1], upper[0], part] = found.T

    side_by_side(some, -(-n_columns // wide))
    return SobolEstimates(first, total, second)


def _put(tables: Estimate, part: slice, values: Floats) -> None:
    """Enter some columns' indices, shape (1 + n_resamples, n_columns, n_parameters), the sample's own first."""
    for table, found in zip(tables, _estimate(values), strict=True):
        table[:, part] = found.T


def _blank(shape: tuple[int, ...]) -> Estimate:
    return np.full(shape, np.nan), np.full(shape, np.nan)


def side_by_side(work: Callable[[int], None], count: int) -> None:
    """Do pieces of array work on all cores, each piece on one: the answer does not depend on how many there are."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
        list(pool.map(work, range(count)))


def morris(unit: Floats, values: Floats, picked: Ints) -> dict[str, Estimate]:
    """Mean, mean absolute and spread of elementary effects, per unit of the box.

    After Morris (1991, doi:10.1080/00401706.1991.10484804) and Campolongo, Cariboni and Saltelli (2007,
    doi:10.1016/j.envsoft.2006.10.004).

    Parameters
    ----------
    unit : shape (n_trajectories, n_parameters + 1, n_parameters)
    values : shape (n_trajectories, n_parameters + 1, n_columns)
    picked : shape (n_trajectories, n_resamples)
    """
    moves = np.diff(unit, axis=1)
    factor = np.abs(moves).argmax(axis=2)
    length = np.take_along_axis(moves, factor[:, :, None], axis=2)
    effects = np.empty((len(unit), unit.shape[2], values.shape[2]))
    np.put_along_axis(effects, factor[:, :, None], np.diff(values, axis=1) / length, axis=1)
    n, weights = len(effects), weights_of(picked)
    flat = effects.reshape(n, -1)
    mean = weights @ flat
    squares = weights @ (flat - mean[0]) ** 2 - (mean - mean[0]) ** 2
    size = np.sqrt(np.maximum(squares, 0.0) * n / max(1, n - 1))
    shape = effects.shape[1:]

    def told(rows: Floats) -> Estimate:
        own, error = _estimate(rows)
        return own.reshape(shape), error.reshape(shape)

    return {"mu": told(mean), "mu_star": told(weights @ np.abs(flat)), "sigma": told(size)}


def fast(values: Floats, harmonics: int = 4) -> tuple[Floats, Floats]:
    """First and total order of extended FAST, per search curve.

    After Saltelli, Tarantola and Chan (1999, doi:10.1080/00401706.1999.10485594).

    Parameters
    ----------
    values : shape (n_curves, n_points, n_columns)

    Returns
    -------
    first, total : shape (n_curves, n_columns)
    """
    n = values.shape[1]
    omega = (n - 1) // (2 * harmonics)
    power = np.abs(np.fft.rfft(values, axis=1)[:, 1 : (n + 1) // 2]) ** 2
    whole = power.sum(axis=1)
    whole[whole <= 0.0] = np.nan
    own = power[:, np.arange(1, harmonics + 1) * omega - 1].sum(axis=1)
    rest = power[:, : omega // 2].sum(axis=1)
    return own / whole, 1.0 - rest / whole


def rbd_fast(x: Floats, y: Floats, harmonics: int = 10) -> Floats:
    """First order by random balance designs, shape (n_parameters, n_columns).

    After Tarantola, Gatelli and Mara (2006, doi:10.1016/j.ress.2005.06.003), the bias taken off as Tissot and Prieur
    (2012, doi:10.1016/j.ress.2012.06.010) do.

    Parameters
    ----------
    x : shape (n_runs, n_parameters)
    y : shape (n_runs, n_columns)
    """
    n = len(y)
    turn = 2.0 * np.pi * np.outer(np.arange(1, harmonics + 1), np.arange(n)) / n
    waves = np.concatenate([np.cos(turn), np.sin(turn)])
    centred = y - y.mean(axis=0)
    whole = n * (centred * centred).sum(axis=0)
    whole[whole <= 0.0] = np.nan
    share = 2.0 * harmonics / n
    found = np.empty((x.shape[1], y.shape[1]))
    for j in range(x.shape[1]):
        order = np.argsort(x[:, j])
        order = np.concatenate([order[::2], order[1::2][::-1]])
        raw = 2.0 * ((waves @ centred[order]) ** 2).sum(axis=0) / whole
        found[j] = raw - share / (1.0 - share) * (1.0 - raw)
    return found


def pawn(x: Floats, y: Floats, slices: int = 10) -> tuple[Floats, Floats]:
    """Median and largest distance between the answers in a slice of a parameter and all answers.

    The distance is Kolmogorov's and Smirnov's; slices hold equally many runs (Pianosi and Wagener 2018,
    doi:10.1016/j.envsoft.2018.07.019). As in SALib the run at the top of the last slice is in none.

    Returns
    -------
    median, largest : shape (n_parameters, n_columns)
    """
    n = len(y)
    order = np.argsort(y, axis=0, kind="stable")
    ranked = np.take_along_axis(y, order, axis=0)
    last = np.ones(y.shape, dtype=bool)
    last[:-1] = ranked[1:] > ranked[:-1]
    share = np.arange(1, n + 1)[:, None] / n
    median, largest = np.empty((x.shape[1], y.shape[1])), np.empty((x.shape[1], y.shape[1]))
    for j in range(x.shape[1]):
        edges = np.quantile(x[:, j], np.linspace(0.0, 1.0, slices + 1))
        slot = np.searchsorted(edges, x[:, j], side="right") - 1
        placed = slot[order]
        distances = np.full((slices, y.shape[1]), np.nan)
        for number in range(slices):
            if count := int((slot == number).sum()):
                gap = np.abs(np.cumsum(placed == number, axis=0) / count - share)
                distances[number] = np.where(last, gap, 0.0).max(axis=0)
        there = np.isfinite(distances[:, 0])
        median[j], largest[j] = np.median(distances[there], axis=0), distances[there].max(axis=0)
    return median, largest


@np.errstate(invalid="ignore", divide="ignore")
def dgsm(values: Floats, steps: Floats, picked: Ints) -> dict[str, Estimate]:
    """Mean squared derivative per unit of the box, and the bound it sets on the total index.

    The bound is Sobol's and Kucherenko's (2009, doi:10.1016/j.matcom.2009.01.023): the total index is at most
    the mean squared derivative over pi squared times the variance.

    Parameters
    ----------
    values : shape (n_points, n_parameters + 1, n_columns)
        At a point, then with each parameter moved.
    steps : shape (n_points, n_parameters)
        How far each was moved, in the unit box.
    picked : shape (n_points, n_resamples)
    """
    weights = weights_of(picked)
    base = values[:, 0] - values[:, 0].mean(axis=0)
    variance = weights @ (base * base) - (weights @ base) ** 2
    variance[variance <= 0.0] = np.nan
    shape = (steps.shape[1], values.shape[2])
    mean, bound = (np.empty(shape), np.empty(shape)), (np.empty(shape), np.empty(shape))
    for j in range(steps.shape[1]):
        squares = weights @ ((values[:, j + 1] - values[:, 0]) / steps[:, j, None]) ** 2
        mean[0][j], mean[1][j] = _estimate(squares)
        bound[0][j], bound[1][j] = _estimate(squares / (np.pi**2 * variance))
    return {"dgsm": bound, "mean square": mean}


def delta(x: Floats, y: Floats) -> Floats:
    """Borgonovo's delta, shape (n_parameters, n_columns): half the area between the densities of all and in a slice.

    By SALib's estimator (Plischke, Borgonovo and Smith 2013, doi:10.1016/j.ejor.2012.11.047).
    """
    import warnings

    from SALib.analyze.delta import calc_delta
    from threadpoolctl import threadpool_limits

    n = len(y)
    power = 2.0 / (7.0 + np.tanh((1500.0 - n) / 500.0))
    edges = np.linspace(0, n, int(np.round(min(int(np.ceil(n**power)), 48))) + 1)
    found = np.full((x.shape[1], y.shape[1]), np.nan)
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):  # too little work to share out
        warnings.simplefilter("ignore")
        for column in range(y.shape[1]):
            own = y[:, column]
            if np.ptp(own) <= 0.0:
                continue
            grid = np.linspace(own.min(), own.max(), 100)
            for j in range(x.shape[1]):
                try:
                    found[j, column] = calc_delta(own, grid, x[:, j], edges)
                except np.linalg.LinAlgError:
                    found[j, column] = np.nan
    return found


_ROUNDING = 1e-12
"""Share of a variance below which what regression leaves is rounding: a parameter is not to be correlated with it."""


def prcc(x: Floats, y: Floats) -> Floats:
    """Partial rank correlation of each parameter and each column, the other parameters held.

    After Marino et al. (2008, doi:10.1016/j.jtbi.2008.04.011): -C_jY / sqrt(C_jj C_YY) with C the inverse of the
    rank correlation matrix, worked out for all columns at once from the inverse of the parameters' own block.

    Returns
    -------
    prcc : shape (n_parameters, n_columns)
        Between -1 and 1; NaN for a column that does not vary.
    """
    from scipy.stats import rankdata

    own, theirs = _standard(rankdata(x, axis=0)), _standard(rankdata(y, axis=0))
    n = len(x)
    inverse = np.linalg.pinv(own.T @ own / n, hermitian=True)
    slope = inverse @ (own.T @ theirs / n)
    left = np.maximum(1.0 - ((own.T @ theirs / n) * slope).sum(axis=0), _ROUNDING)
    size = np.sqrt(left * np.diag(inverse)[:, None] + slope * slope)
    return slope / np.where(size > 0.0, size, np.nan)


def _standard(table: Floats) -> Floats:
    centred = table - table.mean(axis=0)
    size = np.sqrt((centred * centred).mean(axis=0))
    found: Floats = centred / np.where(size > 0.0, size, np.nan)
    return found


def prcc_test(found: Floats, n_runs: int) -> Floats:
    """Chance of a partial correlation as far from zero as this if there were none, by the t-test of Marino et al.

    t = r sqrt((N - 2 - p) / (1 - r^2)) with N - 2 - p degrees of freedom and p the other parameters.

    Parameters
    ----------
    found : shape (n_parameters, n_columns)
    """
    from scipy.stats import t

    free = n_runs - 2 - (len(found) - 1)
    with np.errstate(divide="ignore"):
        statistic = np.abs(found) * np.sqrt(free / np.maximum(1.0 - found * found, 0.0))
    chance: Floats = 2.0 * t.sf(statistic, free)
    return chance


@np.errstate(invalid="ignore", divide="ignore")
def shapley(gains: Floats, picked: Ints) -> dict[str, Estimate]:
    """Shapley effects as shares of the variance, from each permutation's own gains; they add up to one.

    Parameters
    ----------
    gains : shape (n_permutations, n_parameters, n_columns)
        What knowing a parameter takes off the variance, in the order of one permutation.
    picked : shape (n_permutations, n_resamples)
    """
    n, d, columns = gains.shape
    rows = (weights_of(picked) @ gains.reshape(n, -1)).reshape(-1, d, columns)
    whole = rows.sum(axis=1, keepdims=True)
    return {"shapley": _estimate(rows / np.where(whole > 0.0, whole, np.nan))}
