"""Parameters that make up for one another, and which combination of them the data do know, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.collinearity import normalised, set_index, smallest_sets
from calibration.landscape import width
from calibration.statistics import Bools, Floats
from calibration.words import listed, quoted

ALIKE = 0.1
"""How near an exponent must be to a whole number to be told as one."""
TAKES_PART = 0.05
"""Least share of a direction, as a squared loading, with which a parameter takes part in it."""
LEAST_INDEX = 3.0
"""Parameters with a lower collinearity index are weakly told each rather than confounded."""
_EXACT = 1e-12
"""Eigenvalue, relative to the largest, below which a direction has no effect at all but rounding."""
_POWERS = {1: "", 2: " squared", 3: " cubed"}


@dataclass(frozen=True)
class Confounded:
    """Some parameters of which the data know fewer combinations than there are parameters.

    Attributes
    ----------
    names
    known
        The one combination that is known, such as "the ratio of 'transfer rate' to 'obsolescence'"; "a combination of"
        them where it is no simple one; empty where more than one is known.
    error
        Standard error of that combination: relative for products and ratios, else NaN.
    structural
        True where moving along the rest has no effect at all on figures like these.
    sentence
        All of it in words.
    """

    names: tuple[str, ...]
    known: str
    error: float
    structural: bool
    sentence: str


@dataclass(frozen=True, eq=False)
class Local:
    """What is known near a place, of those parameters that data tell at least by themselves.

    Attributes
    ----------
    names
    values : shape (n,)
    gram : shape (n, n)
        Information of the data in prior spreads.
    posterior : shape (n, n)
        Covariance under the posterior, in prior spreads, whatever else is unknown besides.
    slopes : shape (n, n)
        Of each parameter's measure (logarithm or value) by the places in prior spreads.
    relative : shape (n,)
        True where the measure is the logarithm.
    """

    names: tuple[str, ...]
    values: Floats
    gram: Floats
    posterior: Floats
    slopes: Floats
    relative: Bools

    def of(self, members: Sequence[int]) -> Local:
        """The same for some of the parameters."""
        some = np.array(members, dtype=np.intp)
        block = np.ix_(some, some)
        names = tuple(self.names[k] for k in some)
        return Local(
            names, self.values[some], self.gram[block], self.posterior[block], self.slopes[block], self.relative[some]
        )


def confounded(local: Local) -> tuple[Confounded, ...]:
    """Find the parameters that make up for one another.

    A set is confounded where the data know some direction in it less well than the prior does, and its parameters act
    nearly alike (collinearity index above `LEAST_INDEX`). Sets that share a parameter are taken together. What no
    small set explains comes last, one direction of many parameters each.
    """
    groups = _together(smallest_sets(local.gram, _weak))
    found = [one for members in groups for one in _tell(local.of(members))]
    explained = [_embedded(local.of(members).gram, members, len(local.gram)) for members in groups]
    return (*found, *_unexplained(local, explained))


def _weak(grams: Floats) -> Bools:
    if grams.shape[-1] < 2:
        return np.zeros(len(grams), dtype=bool)
    lengths = np.sqrt(np.einsum("kii->ki", grams))
    unit = grams / (lengths[:, :, None] * lengths[:, None, :])
    return np.asarray((np.linalg.eigvalsh(grams)[:, 0] < 1.0) & (set_index(unit) > LEAST_INDEX))


def _together(sets: Sequence[Sequence[int]]) -> list[list[int]]:
    """Join sets that share a member; members in order."""
    groups: list[set[int]] = []
    for one in sets:
        meeting = [group for group in groups if group & set(one)]
        groups = [group for group in groups if group not in meeting] + [set(one).union(*meeting)]
    return sorted(sorted(group) for group in groups)


def _tell(group: Local) -> list[Confounded]:
    """What is known of one group: its one known combination, or the moves that leave the fit alone."""
    weights, axes = np.linalg.eigh(group.gram)
    weak = weights < 1.0
    structural = bool((weights[weak] < _EXACT * weights[-1]).all())
    if (~weak).sum() == 1:
        known, combination = _combination(group, axes[:, -1])
        error = float(np.sqrt(combination @ group.posterior @ combination)) if known else float("nan")
        told = f"Only {known} is known, to {width(error)}" if known else ""
        if not known:
            known = f"a combination of {listed(quoted(group.names))}"
            told = f"Only {known} is known: {_move(group, axes[:, 0])} hardly changes the fit"
        return [Confounded(group.names, known, error, structural, f"{told}; {_reason(structural)}.")]
    if weak.sum() == 1:
        return _moving(group, axes[:, 0], structural)
    found: list[Confounded] = []
    for members in smallest_sets(group.gram, _weak):
        part = group.of(members)
        for one in _moving(part, np.linalg.eigh(part.gram)[1][:, 0], structural):
            told_already = any(set(other.names) >= set(one.names) for other in found)
            if len(found) < weak.sum() and not told_already:
                found.append(one)
    return found


def _moving(group: Local, direction: Floats, structural: bool) -> list[Confounded]:
    """A direction that leaves the fit alone, unless one parameter alone takes part in it."""
    loading = np.flatnonzero(direction**2 >= TAKES_PART)
    if len(loading) < 2:
        return []
    some = group.of(loading.tolist())
    text = (
        f"{listed(quoted(some.names))} are not told one by one: {_move(some, direction[loading])} hardly changes the "
        f"fit; {_reason(structural)}."
    )
    return [Confounded(some.names, "", float("nan"), structural, text)]


def _reason(structural: bool) -> str:
    return (
        "figures like these cannot part them, however exact"
        if structural
        else "the figures are too few or too noisy to part them"
    )


def _combination(group: Local, strong: Floats) -> tuple[str, Floats]:
    """The combination that grows along the one known direction, and the derivative of its logarithm by the places.

    Empty where it is no simple product, ratio, sum or difference.
    """
    own = np.diag(group.slopes)
    if not (own != 0.0).all():
        return "", strong
    if group.relative.all():
        powers = strong / own
        powers = powers / powers[int(np.argmax(np.abs(powers)))]
        powers = powers / np.abs(powers).min()
        whole = np.round(powers)
        if (np.abs(powers - whole) <= ALIKE * np.abs(whole)).all() and np.abs(whole).max() <= max(_POWERS):
            return _product(group.names, whole), whole @ group.slopes
    steep = own * np.where(group.relative, group.values, 1.0)
    weights = strong / steep
    weights = weights / weights[int(np.argmax(np.abs(weights)))]
    total = float(np.sign(weights) @ group.values)
    if (np.abs(np.abs(weights) - 1.0) <= ALIKE).all() and total != 0.0:
        signs = np.sign(weights)
        moved = (signs * np.where(group.relative, group.values, 1.0)) @ group.slopes
        return _sum(group.names, signs), moved / abs(total)
    return "", strong


def _product(names: Sequence[str], powers: Floats) -> str:
    """Name a product or ratio.

    >>> _product(["a", "b"], np.array([1, -1])), _product(["a", "b", "c"], np.array([1, 2, -1]))
    ("the ratio of 'a' to 'b'", "the ratio of the product of 'a' and 'b' squared to 'c'")
    """
    if powers.sum() < 0:
        powers = -powers
    above, below = (
        [f"'{name}'{_POWERS[int(abs(power))]}" for name, power in zip(names, powers, strict=True) if power * side > 0]
        for side in (1, -1)
    )
    first, second = (one[0] if len(one) == 1 else f"the product of {listed(one)}" for one in (above, below or above))
    return f"the ratio of {first} to {second}" if below else first


def _sum(names: Sequence[str], signs: Floats) -> str:
    if (signs > 0).all() or (signs < 0).all():
        return f"the sum of {listed(quoted(names))}"
    return f"the difference between '{names[0]}' and '{names[1]}'" if len(names) == 2 else ""


def _move(group: Local, direction: Floats) -> str:
    """A small step along a direction, the largest change being 10 %."""
    change = np.diag(group.slopes) * direction
    if not group.relative.all() or not change.any():
        signs = np.sign(change) * (np.sign(change[0]) or 1.0)
        parts = [f"'{name}' {'up' if sign >= 0 else 'down'}" for name, sign in zip(group.names, signs, strict=True)]
        return f"moving {listed(parts)} together"
    change = 0.1 * change / np.abs(change).max() * (np.sign(change[0]) or 1.0)
    parts = [
        f"'{name}' {'up' if one >= 0 else 'down'} by {width(abs(one))}"
        for name, one in zip(group.names, change, strict=True)
    ]
    return f"moving {listed(parts)} together"


def _embedded(gram: Floats, members: Sequence[int], size: int) -> Floats:
    """Weak directions of a group, as columns over all parameters."""
    weights, axes = np.linalg.eigh(gram)
    found = np.zeros((size, int((weights < 1.0).sum())))
    found[list(members)] = axes[:, weights < 1.0]
    return found


def _unexplained(local: Local, explained: Sequence[Floats]) -> list[Confounded]:
    """Weak directions of all parameters together that lie mostly outside those of the groups."""
    if not len(local.gram):
        return []
    weights, axes = np.linalg.eigh(local.gram)
    known = np.linalg.qr(np.column_stack([*explained, np.zeros((len(local.gram), 0))]))[0]
    found = []
    for direction, weight in zip(axes.T, weights, strict=True):
        rest = direction - known @ (known.T @ direction)
        loading = np.flatnonzero(direction**2 >= TAKES_PART)
        if weight >= 1.0 or rest @ rest < 0.5 or len(loading) < 2:  # spread over so many that none takes part
            continue
        if set_index(normalised(local.gram[np.ix_(loading, loading)])) > LEAST_INDEX:
            found += _moving(local, direction, structural=bool(weight < _EXACT * weights[-1]))
    return found
