"""Functions of many numbers and of random ones, in plain Python, fit for numba: each stands alone and calls no other.

They belong to what printed equations call (see `runtime`); arrays are given as tuples.
"""

import math
from typing import Any

import numpy as np

from sd_cluster.tables import EMPTY

_GOLDEN, _FIRST, _SECOND, _ALL = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, (1 << 64) - 1


WITH_ARRAYS = ("inverted", "allocate_by_priority")
"""Functions that make arrays of their own, which code linked without numba cannot."""


def noise(seed: float, stream: float, element: float, step: float) -> float:
    """A number between 0 and 1 for a seed, a call, an element and a step: the same whenever it is asked for.

    Counters go through the finaliser of SplitMix64 (Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195), one
    after the other, so that no state is kept between steps.
    """
    state = int(seed) & _ALL
    for counter in (int(stream), int(element), int(step)):
        state = (state + _GOLDEN * (counter + 1)) & _ALL
        state = ((state ^ (state >> 30)) * _FIRST) & _ALL
        state = ((state ^ (state >> 27)) * _SECOND) & _ALL
        state ^= state >> 31
    return ((state >> 11) + 0.5) * 2.0**-53


def swift_noise(seed: Any, stream: Any, element: Any, step: Any) -> Any:
    """`noise` for compiled code, whose whole numbers wrap around by themselves."""
    state = np.uint64(np.int64(seed))
    for counter in (np.int64(stream), np.int64(element), np.int64(step)):
        state = state + np.uint64(0x9E3779B97F4A7C15) * np.uint64(counter + 1)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return (np.float64(state >> np.uint64(11)) + 0.5) * 2.0**-53


def normal(u: float) -> float:
    """The standard normal number with a share `u` of all below it.

    Rational approximation (Acklam 2003, relative error 1.15e-9), made exact by one step of Halley's method.
    """
    if u <= 0.0 or u >= 1.0:
        return math.nan
    if 0.02425 <= u <= 0.97575:
        q = u - 0.5
        r = q * q
        above = (((((-39.69683028665376 * r + 220.9460984245205) * r - 275.9285104469687) * r
                   + 138.3577518672690) * r - 30.66479806614716) * r + 2.506628277459239) * q  # fmt: skip
        below = (((((-54.47609879822406 * r + 161.5858368580409) * r - 155.6989798598866) * r
                   + 66.80131188771972) * r - 13.28068155288572) * r + 1.0)  # fmt: skip
    else:
        q = math.sqrt(-2.0 * math.log(u if u < 0.5 else 1.0 - u))
        above = ((((-0.007784894002430293 * q - 0.3223964580411365) * q - 2.400758277161838) * q
                  - 2.549732539343734) * q + 4.374664141464968) * q + 2.938163982698783  # fmt: skip
        below = (((0.007784695709041462 * q + 0.3224671290700398) * q + 2.445134137142996) * q
                 + 3.754408661907416) * q + 1.0  # fmt: skip
        above = above if u < 0.5 else -above
    x = above / below
    error = 0.5 * math.erfc(-x / math.sqrt(2.0)) - u
    step = error * math.sqrt(2.0 * math.pi) * math.exp(0.5 * x * x)
    return x - step / (1.0 + 0.5 * x * step)


def normal_share(low: float, high: float, mean: float, deviation: float, u: float) -> float:
    """The share of a normal distribution below the number that has `u` of what lies between two bounds below it."""
    if not deviation > 0.0:
        return 0.5
    first = 0.5 * math.erfc((mean - low) / (deviation * math.sqrt(2.0)))
    last = 0.5 * math.erfc((mean - high) / (deviation * math.sqrt(2.0)))
    share = first + u * (last - first)
    return min(max(share, 1e-300), 1.0 - 1.2e-16)


def exponential_between(u: float, low: float, high: float, shift: float, stretch: float) -> float:
    """An exponential number, moved by `shift` and times `stretch`, between two bounds."""
    first = 1.0 - math.exp(-max((low - shift) / stretch, 0.0))
    last = 1.0 - math.exp(-max((high - shift) / stretch, 0.0))
    return shift - stretch * math.log(1.0 - min(first + u * (last - first), 1.0 - 1.2e-16))


def digamma(x: float) -> float:
    """Slope of the logarithm of the gamma function, by recurrence and the asymptotic series."""
    total = 0.0
    while 0.0 < x < 10.0:
        total -= 1.0 / x
        x += 1.0
    if not x > 0.0:
        return math.nan
    r = 1.0 / (x * x)
    series = r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r * (1 / 132 - r * 691 / 32760)))))
    return total + math.log(x) - 0.5 / x - series


def pick(place: float, items: Any) -> float:
    """The item at a place counted from 0, cut to a whole number; outside, Vensim's missing value."""
    if not 0.0 <= place < len(items):
        return EMPTY
    return float(items[int(place)])


def ranked(place: float, direction: float, items: Any) -> float:
    """Rank of the item at a place, counted from 1: from the smallest if `direction` is above 0, else the largest."""
    own, here, before = items[int(place)], int(place), 0
    for other in range(len(items)):
        before += items[other] < own or (items[other] == own and other < here)
    return before + 1.0 if direction > 0.0 else float(len(items) - before)


def sorted_order(place: float, direction: float, items: Any) -> float:
    """Place, counted from 0, of the item that comes at a place when all are sorted; upwards for `direction` above 0."""
    wanted = int(place) if direction > 0.0 else len(items) - 1 - int(place)
    for here in range(len(items)):
        before = 0
        for other in range(len(items)):
            before += items[other] < items[here] or (items[other] == items[here] and other < here)
        if before == wanted:
            return float(here)
    return math.nan


def inverted(row: float, column: float, items: Any) -> float:
    """One entry of the inverse of a square matrix, by elimination with the largest pivots; not a number if singular."""
    n = int(math.sqrt(len(items)) + 0.5)
    a = np.zeros((n, n + 1))
    for i in range(n):
        for j in range(n):
            a[i, j] = items[i * n + j]
    a[int(column), n] = 1.0
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(a[i, k]) > abs(a[best, k]):
                best = i
        if a[best, k] == 0.0:
            return math.nan
        for j in range(n + 1):
            a[k, j], a[best, j] = a[best, j], a[k, j]
        for i in range(n):
            if i != k:
                share = a[i, k] / a[k, k]
                for j in range(k, n + 1):
                    a[i, j] -= share * a[k, j]
    return float(a[int(row), n] / a[int(row), int(row)])


def allocate_available(place: float, count: float, available: float, items: Any) -> float:
    """What one of many requests gets of a supply, by priority curves (Vensim's ALLOCATE AVAILABLE).

    The price is sought at which the curves, each the part of its request that bids more, take up the whole supply;
    the sum falls with the price, so halving finds it. `items` hold the requests and, for each, kind (1 rectangle,
    2 triangle, 3 normal, 4 exponential), priority, width and a number that these kinds do not use.
    """
    n, own = int(count), int(place)
    total, low, high = 0.0, math.inf, -math.inf
    for i in range(n):
        total += items[i]
        reach = 40.0 * items[n + 4 * i + 2]
        low, high = min(low, items[n + 4 * i + 1] - reach), max(high, items[n + 4 * i + 1] + reach)
    if available >= total:
        return float(items[own])
    if not available > 0.0:
        return 0.0
    share = 0.0
    for _ in range(200):
        price = 0.5 * (low + high)
        taken = 0.0
        for i in range(n):
            kind, priority, width = items[n + 4 * i], items[n + 4 * i + 1], items[n + 4 * i + 2]
            x = (price - priority) / width
            if kind == 1.0:
                part = min(max(0.5 - x, 0.0), 1.0)
            elif kind == 2.0:
                edge = min(max(0.5 - abs(x), 0.0), 0.5)
                part = 2.0 * edge * edge if x >= 0.0 else 1.0 - 2.0 * edge * edge
            elif kind == 3.0:
                part = 0.5 * math.erfc(x / math.sqrt(2.0))
            elif kind == 4.0:
                part = 0.5 * math.exp(-min(x, 700.0)) if x >= 0.0 else 1.0 - 0.5 * math.exp(x)
            else:
                return math.nan
            taken += items[i] * part
            if i == own:
                share = items[i] * part
        if taken > available:
            low = price
        else:
            high = price
    return float(share)


def allocate_by_priority(place: float, count: float, width: float, supply: float, items: Any) -> float:
    """What one of many requests gets of a supply that fills the highest priorities first.

    A request starts to be filled when the next higher one has had its share of the distance between their
    priorities, measured in `width`; those being filled share in proportion to what they ask (Vensim's ALLOCATE BY
    PRIORITY). `items` hold the requests, then the priorities.
    """
    n, own = int(count), int(place)
    total = 0.0
    for i in range(n):
        total += items[i]
    if supply >= total or not items[own] > 0.0:
        return float(items[own])
    order = np.zeros(n, dtype=np.int64)
    m = 0
    for i in range(n):  # insertion sort by falling priority, without empty requests
        if items[i] > 0.0:
            at = m
            while at > 0 and items[n + order[at - 1]] < items[n + i]:
                order[at] = order[at - 1]
                at -= 1
            order[at] = i
            m += 1
    given = np.zeros(n)
    done = np.zeros(n, dtype=np.int64)
    last, left = 0, supply
    while left > 0.0:
        asking = 0.0
        for k in range(last + 1):
            if not done[k]:
                asking += items[order[k]]
        if asking == 0.0:
            if last + 1 >= m:
                break
            last += 1
            continue
        move, full = left, -1
        for k in range(last + 1):
            if not done[k]:
                to_fill = (items[order[k]] - given[k]) * asking / items[order[k]]
                if to_fill <= move:
                    move, full = to_fill, k
        opens = False
        if last + 1 < m and not done[last]:
            gap = min((items[n + order[last]] - items[n + order[last + 1]]) / width, 1.0) * items[order[last]]
            to_open = max(gap - given[last], 0.0) * asking / items[order[last]]
            if to_open <= move:
                move, opens = to_open, True
        for k in range(last + 1):
            if not done[k]:
                given[k] += move * items[order[k]] / asking
                if full >= 0 and given[k] >= items[order[k]] * (1.0 - 1e-12):
                    done[k] = 1
        if opens or (last + 1 < m and done[last]):
            last += 1
        left -= move
    for k in range(m):
        if order[k] == own:
            return float(min(given[k], items[own]))
    return 0.0


def drawn(kind: float, a: float, b: float, low: float, high: float, u: float) -> float:  # noqa: PLR0915  compiled whole
    """The number of a distribution between two bounds that has a share `u` of what lies between them below it.

    Kinds: 1 gamma of order `a`; 2 beta of `a` and `b`; 3 Weibull of shape `a` and mean 1; 4 triangle from 0 to 1 with
    its peak at `a`; 5 Poisson of mean `a`; 6 binomial, 7 negative binomial (trials needed) of probability `a` and
    number `b`. Distribution functions by series and continued fractions (Press et al., Numerical Recipes, chapter 6).
    """
    if u != u or a != a or b != b or not low < high:
        return math.nan
    below = above = 0.0
    left, right = low, high
    for turn in range(3, 403):  # two for the bounds, then halving
        x = low if turn == 3 else high if turn == 4 else 0.5 * (left + right)
        if kind >= 5.0 and turn == 3:  # what lies at the lower bound may be drawn
            x = max(low, -10.0) - 0.5
        if kind >= 5.0:
            x = float(math.floor(max(min(x, 1e15), -1.0)))
        if kind == 4.0:
            x = min(max(x, 0.0), 1.0)
            share = 0.0
            if x >= 1.0:
                share = 1.0
            elif x < a:
                share = x * x / a
            elif a < 1.0:
                share = 1.0 - (1.0 - x) * (1.0 - x) / (1.0 - a)
        elif x <= 0.0 and kind < 5.0:
            share = 0.0
        elif kind == 3.0:
            size = math.lgamma(1.0 + 1.0 / a) + math.log(x)
            share = 1.0 - math.exp(-math.exp(min(a * size, 6.5)))
        elif kind == 1.0:
            if x > 1e6 + 100.0 * a:
                share = 1.0
            elif x < a + 1.0:
                term = total = 1.0 / a
                place = a
                while term > total * 1e-17:
                    place += 1.0
                    term *= x / place
                    total += term
                share = total * math.exp(-x + a * math.log(x) - math.lgamma(a))
            else:
                c, d = 1e300, 1.0 / (x + 1.0 - a)
                fraction = d
                for i in range(1, 1000):
                    factor = -i * (i - a)
                    bottom = x + 1.0 - a + 2.0 * i
                    d = 1.0 / (factor * d + bottom)
                    c = bottom + factor / c
                    fraction *= d * c
                    if abs(d * c - 1.0) < 1e-16:
                        break
                share = 1.0 - math.exp(-x + a * math.log(x) - math.lgamma(a)) * fraction
        elif kind == 2.0:
            if x >= 1.0:
                share = 1.0
            else:
                turned = x > (a + 1.0) / (a + b + 2.0)
                p, q, y = (b, a, 1.0 - x) if turned else (a, b, x)
                c, d = 1.0, 1.0 / (1.0 - (p + q) * y / (p + 1.0))
                fraction = d
                for i in range(1, 1000):
                    factor = i * (q - i) * y / ((p + 2.0 * i - 1.0) * (p + 2.0 * i))
                    d = 1.0 / (1.0 + factor * d)
                    c = 1.0 + factor / c
                    fraction *= d * c
                    factor = -(p + i) * (p + q + i) * y / ((p + 2.0 * i) * (p + 2.0 * i + 1.0))
                    d = 1.0 / (1.0 + factor * d)
                    c = 1.0 + factor / c
                    fraction *= d * c
                    if abs(d * c - 1.0) < 1e-16:
                        break
                size = math.lgamma(p + q) - math.lgamma(p) - math.lgamma(q)
                share = math.exp(size + p * math.log(y) + q * math.log(1.0 - y)) * fraction / p
                share = 1.0 - share if turned else share
        else:
            share, first, term = 0.0, b if kind == 7.0 else 0.0, 1.0
            last = min(x, b) if kind == 6.0 else x
            k = first
            while k <= last and share < 1.0 - 1e-15 and (share < 0.5 or term > 1e-18):
                if kind == 5.0:
                    term = math.exp(k * math.log(a) - a - math.lgamma(k + 1.0))
                elif kind == 6.0:
                    ways = math.lgamma(b + 1.0) - math.lgamma(k + 1.0) - math.lgamma(b - k + 1.0)
                    term = math.exp(ways + k * math.log(a) + (b - k) * math.log(1.0 - a))
                else:
                    ways = math.lgamma(k) - math.lgamma(b) - math.lgamma(k - b + 1.0)
                    term = math.exp(ways + b * math.log(a) + (k - b) * math.log(1.0 - a))
                share += term
                k += 1.0
                if k - first > 1e6:
                    return math.nan
            if kind == 6.0 and x >= b:
                share = 1.0
        if turn == 3:
            below = share
        elif turn == 4:
            above = share
            left = max(low, -1.0)
            right = min(high, 1e9 if kind != 6.0 else b)
            if kind in (2.0, 4.0):
                right = min(right, 1.0)
        elif share < below + u * (above - below):
            left = x if kind < 5.0 else x + 1.0
            if kind >= 5.0 and left >= right:
                return right if right == math.floor(right) else float(math.floor(right))
        else:
            right = x
        if turn > 4 and (right - left <= 1e-15 * max(abs(left), abs(right)) or (kind >= 5.0 and right - left < 1.0)):
            break
    return float(math.floor(right)) if kind >= 5.0 else 0.5 * (left + right)


def market_price(demanders: float, suppliers: float, items: Any) -> float:
    """The price at which what is demanded and what is supplied are equal (Vensim's FIND MARKET PRICE).

    Demand falls and supply rises with the price, so halving finds it. `items` hold the quantities of the demanders,
    their kinds, priorities and widths in turn, and the same of the suppliers; kinds as in `allocate_available`, and 0
    for a quantity that is the same at any price.
    """
    n, m = int(demanders), int(suppliers)
    low, high = math.inf, -math.inf
    for i in range(n + m):
        at = n + 3 * i if i < n else 4 * n + m + 3 * (i - n)
        if items[at] != 0.0:
            low = min(low, items[at + 1] - 40.0 * items[at + 2])
            high = max(high, items[at + 1] + 40.0 * items[at + 2])
    if not low < high:
        return math.nan
    for _ in range(200):
        price = 0.5 * (low + high)
        surplus = 0.0
        for i in range(n + m):
            at = n + 3 * i if i < n else 4 * n + m + 3 * (i - n)
            quantity, kind = items[i if i < n else 3 * n + i], items[at]
            x = (price - items[at + 1]) / items[at + 2] if kind != 0.0 else 0.0
            if kind == 0.0:
                part = 1.0 if i < n else 0.0
            elif kind == 1.0:
                part = min(max(0.5 - x, 0.0), 1.0)
            elif kind == 2.0:
                edge = min(max(0.5 - abs(x), 0.0), 0.5)
                part = 2.0 * edge * edge if x >= 0.0 else 1.0 - 2.0 * edge * edge
            elif kind == 3.0:
                part = 0.5 * math.erfc(x / math.sqrt(2.0))
            elif kind == 4.0:
                part = 0.5 * math.exp(-min(x, 700.0)) if x >= 0.0 else 1.0 - 0.5 * math.exp(x)
            else:
                return math.nan
            surplus += quantity * part if i < n else -quantity * (1.0 - part)
        if surplus > 0.0:
            low = price
        else:
            high = price
    return 0.5 * (low + high)


def at_price(side: float, price: float, quantity: float, kind: float, priority: float, width: float) -> float:
    """What is demanded (side 1) or supplied (side -1) at a price, by one curve of `market_price`."""
    if kind == 0.0:
        return quantity
    x = side * (price - priority) / width
    if kind == 1.0:
        part = min(max(0.5 - x, 0.0), 1.0)
    elif kind == 2.0:
        edge = min(max(0.5 - abs(x), 0.0), 0.5)
        part = 2.0 * edge * edge if x >= 0.0 else 1.0 - 2.0 * edge * edge
    elif kind == 3.0:
        part = 0.5 * math.erfc(x / math.sqrt(2.0))
    elif kind == 4.0:
        part = 0.5 * math.exp(-min(x, 700.0)) if x >= 0.0 else 1.0 - 0.5 * math.exp(x)
    else:
        return math.nan
    return quantity * part
