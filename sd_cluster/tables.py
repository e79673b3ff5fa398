"""Reading series of data where they are known: between their first and last time, or at a time of theirs.

In plain Python, fit for numba, and each function alone, as in `vectors`. A series lies in `p` from `at` on: its length,
all times, all values. Where it says nothing, its value is Vensim's missing value.
"""

from typing import Any

EMPTY = -(2.0**109)
"""Vensim's missing value."""


def within(p: Any, at: int, x: float) -> float:
    """Straight between two points; missing before the first and behind the last."""
    n = int(p[at])
    first, last = at + 1, at + n
    if not (p[first] <= x <= p[last]):
        return EMPTY
    low, high = first, last + 1
    while high - low > 1:
        middle = (low + high) // 2
        if p[middle] <= x:
            low = middle
        else:
            high = middle
    if low == last:
        return float(p[low + n])
    return float(p[low + n] + (p[low + n + 1] - p[low + n]) * (x - p[low]) / (p[low + 1] - p[low]))


def step_within(p: Any, at: int, x: float) -> float:
    """The value of the point before; missing before the first and behind the last."""
    n = int(p[at])
    first, last = at + 1, at + n
    if not (p[first] <= x <= p[last]):
        return EMPTY
    low, high = first, last + 1
    while high - low > 1:
        middle = (low + high) // 2
        if p[middle] <= x:
            low = middle
        else:
            high = middle
    return float(p[low + n])


def ahead_within(p: Any, at: int, x: float) -> float:
    """The value of the point behind; missing before the first and behind the last."""
    n = int(p[at])
    first, last = at + 1, at + n
    if not (p[first] <= x <= p[last]):
        return EMPTY
    low, high = first - 1, last
    while high - low > 1:
        middle = (low + high) // 2
        if p[middle] < x:
            low = middle
        else:
            high = middle
    return float(p[high + n])


def exactly(p: Any, at: int, x: float) -> float:
    """The value of a point that lies there, but for rounding; missing everywhere else."""
    n = int(p[at])
    for place in range(at + 1, at + n + 1):
        if abs(p[place] - x) <= 1e-9 * max(1.0, abs(x)):
            return float(p[place + n])
    return EMPTY


def first_time(p: Any, at: int, x: float) -> float:
    """Time of the first point."""
    return float(p[at + 1] + 0.0 * x)


def last_time(p: Any, at: int, x: float) -> float:
    """Time of the last point."""
    return float(p[at + int(p[at])] + 0.0 * x)


def points(p: Any, at: int, x: float) -> float:
    """Number of points."""
    return float(p[at] + 0.0 * x)


READERS = {
    "within": "within",
    "step within": "step_within",
    "ahead within": "ahead_within",
    "exactly": "exactly",
    "first time": "first_time",
    "last time": "last_time",
    "points": "points",
}
"""By the words that say how a series is read, the function that does."""
