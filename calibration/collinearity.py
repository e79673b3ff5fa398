"""Which columns of a sensitivity matrix S say the same, judged from S'S alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import Bools, Floats

INSEPARABLE = 20.0
"""Collinearity index above which parameters cannot be told apart: Brun et al. found 5 to 20 critical, Gabor et al.
(2017, doi:10.1186/s12918-017-0428-y) take 20."""
MOST = 200_000
"""Most sets of one size that are looked at."""
_ROUNDING = 1e-14
"""Eigenvalues of normalised sets below this are rounding."""


@dataclass(frozen=True)
class Collinear:
    """Parameters that cannot be told apart, of which any fewer can.

    Attributes
    ----------
    names
    index
        Collinearity index of the set.
    """

    names: tuple[str, ...]
    index: float


def normalised(gram: Floats) -> Floats:
    """S'S of columns brought to length one; NaN for a column of zeros."""
    lengths = np.sqrt(np.diag(gram))
    lengths = np.where(lengths > 0.0, lengths, np.nan)
    return np.asarray(gram / np.outer(lengths, lengths))


def pair_indices(gram: Floats) -> Floats:
    """Collinearity index of each pair of columns, 1 on the diagonal and for orthogonal ones, NaN for a column of zeros.

    The index says how much of a change of one parameter the other can undo: all but 1/index of it.

    References
    ----------
    Brun, R., Reichert, P. and Kuensch, H. R. (2001), Practical identifiability analysis of large environmental
    simulation models, Water Resources Research 37, 1015-1030, doi:10.1029/2000WR900350.

    Examples
    --------
    >>> pair_indices(np.array([[1.0, 0.6], [0.6, 1.0]])).round(3)
    array([[1.   , 1.581],
           [1.581, 1.   ]])
    """
    found = _index(1.0 - np.abs(normalised(gram)))
    np.fill_diagonal(found, np.where(np.diag(gram) > 0.0, 1.0, np.nan))
    return found


def set_index(gram: Floats) -> Floats:
    """Collinearity index of whole sets, shape (...,) for S'S of shape (..., n_columns, n_columns) normalised."""
    return _index(np.linalg.eigvalsh(gram)[..., 0])


def _index(smallest: NDArray[np.floating]) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / np.sqrt(np.where(smallest < _ROUNDING, 0.0, smallest)))


def inseparable(gram: Floats, names: tuple[str, ...], *, largest: int = 4) -> tuple[Collinear, ...]:
    """The smallest sets of parameters with a collinearity index above `INSEPARABLE`, smaller and worse ones first."""
    unit = normalised(gram)
    telling = np.flatnonzero(np.diag(gram) > 0.0)
    unit = unit[np.ix_(telling, telling)]
    sets = smallest_sets(unit, lambda some: set_index(some) > INSEPARABLE, largest=largest)
    found = [
        Collinear(tuple(names[telling[k]] for k in some), float(set_index(unit[np.ix_(some, some)]))) for some in sets
    ]
    return tuple(sorted(found, key=lambda one: (len(one.names), -one.index)))


def smallest_sets(gram: Floats, bad: Callable[[Floats], Bools], *, largest: int = 4) -> tuple[tuple[int, ...], ...]:
    """Sets of columns that are bad while no set within them is.

    Parameters
    ----------
    gram : shape (n_columns, n_columns)
    bad
        From S'S of sets of one size, shape (n_sets, size, size), to which of them are bad; every set that holds a bad
        one must be bad too, as with anything judged by the smallest eigenvalue.
    largest
        Most columns of a set; sizes with more than `MOST` sets are not looked at.

    Examples
    --------
    Of three columns the first two are the same:

    >>> smallest_sets(np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]), lambda some: set_index(some) > 20)
    ((0, 1),)
    """
    found: list[tuple[int, ...]] = []
    for size in range(1, min(largest, len(gram)) + 1):
        if comb(len(gram), size) > MOST:
            break
        fresh = [
            some for some in combinations(range(len(gram)), size) if not any(set(one) <= set(some) for one in found)
        ]
        if fresh:
            rows = np.array(fresh)
            which = bad(gram[rows[:, :, None], rows[:, None, :]])
            found += [some for some, yes in zip(fresh, which, strict=True) if yes]
    return tuple(found)
