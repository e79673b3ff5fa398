"""Scrambled Sobol points, bit for bit those of `scipy.stats.qmc.Sobol`.

To import `scipy.stats` takes longer than a whole sweep of ten thousand runs, and the points themselves a few lines.
The direction numbers (Joe and Kuo 2008, doi:10.1137/070709359) are read from SciPy's folder; where SciPy keeps them
elsewhere one day, `qmc.Sobol` is asked after all.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

BITS = 30
"""Bits of each coordinate."""

_Bits = npt.NDArray[np.uint32]


def sobol_points(dimensions: int, power: int, seed: int) -> npt.NDArray[np.float64]:
    """Two to the power of `power` Sobol points, their digits scrambled by a random matrix and shifted.

    The scrambling is Matousek's (1998, doi:10.1006/jcom.1998.0489).

    Returns
    -------
    unit : shape (2**power, dimensions)
        Within 0 and 1, without 1.

    Examples
    --------
    Of four points in one dimension each quarter gets one:

    >>> sorted((4 * sobol_points(1, 2, seed=7)[:, 0]).astype(int).tolist())
    [0, 1, 2, 3]
    """
    unit: npt.NDArray[np.float64]
    random = np.random.default_rng(seed)
    if power > BITS or not 0 < dimensions <= len(_table()[0]):
        from scipy.stats import qmc

        unit = qmc.Sobol(dimensions, rng=random).random_base2(power)
        return unit
    random = random.spawn(1)[0]
    weights = 2 ** np.arange(BITS, dtype=np.uint32)
    shift = random.integers(2, size=(dimensions, BITS), dtype=np.uint32) @ weights
    mixing = np.tril(random.integers(2, size=(dimensions, BITS, BITS), dtype=np.uint32))
    mixing[:, np.arange(BITS), np.arange(BITS)] = 1
    digits = (_directions(dimensions)[:, None, :] >> np.arange(BITS, dtype=np.uint32)[::-1, None]) & 1
    mixed = (mixing.astype(np.float32) @ digits.astype(np.float32)).astype(np.uint32) & 1
    columns = np.einsum("dkj,k->jd", mixed, weights[::-1])
    points = shift[None]
    for column in columns[:power]:  # in the order of Gray's code: each half mirrors the one before, one bit flipped
        points = np.concatenate([points, points[::-1] ^ column])
    unit = points * (1.0 / 2**BITS)
    return unit


def _directions(dimensions: int) -> _Bits:
    """Direction numbers, shape (dimensions, BITS), by the recurrence of each dimension's primitive polynomial."""
    polynomials, first = (table[:dimensions] for table in _table())
    numbers = np.ones((dimensions, BITS), dtype=np.int64)
    degrees = np.frexp(polynomials)[1] - 1
    for degree in np.unique(degrees[1:]):
        which = np.flatnonzero(degrees == degree)
        which = which[which > 0]
        numbers[which, :degree] = first[which, :degree]
        for j in range(degree, BITS):
            new = numbers[which, j - degree]
            for k in range(degree):
                taken = (polynomials[which] >> (degree - 1 - k)) & 1
                new = new ^ taken * (numbers[which, j - k - 1] << (k + 1))
            numbers[which, j] = new
    return (numbers << np.arange(BITS)[::-1]).astype(np.uint32)


@cache
def _table() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Polynomials and first direction numbers by dimension; empty where SciPy has no such file."""
    found = find_spec("scipy.stats")
    path = Path(str(found.origin if found else "")).parent / "_sobol_direction_numbers.npz"
    try:
        with np.load(path) as tables:
            return tables["poly"], tables["vinit"]
    except (OSError, KeyError):
        return np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.int64)
