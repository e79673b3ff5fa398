"""Scenario discovery: the box of parameters in which something happens, as a sentence and a figure.

PRIM (Friedman and Fisher 1999, doi:10.1023/A:1008894516817; for scenarios Bryant and Lempert 2010,
doi:10.1016/j.techfore.2009.08.002) comes from the EMA workbench (Kwakkel 2017, doi:10.1016/j.envsoft.2017.06.054),
classification trees from scikit-learn. A box found on half of the runs is tried on the other half, because a search
among many boxes flatters the one it finds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from sd_cluster.analysis import sampled, seed_of
from sd_cluster.answers import Subject, kept_blocks
from sd_cluster.errors import ModelError
from sd_cluster.kernel import Floats
from sd_cluster.measures import Condition
from sd_cluster.model import Model
from sd_cluster.settings import Sampling, with_settings
from sd_cluster.space import Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Bools = npt.NDArray[np.bool_]
Limits = Mapping[str, tuple[float, float]]

CHANCE = 0.05
"""A limit that chance would do as well as with this probability or more is left out."""


@dataclass(frozen=True, eq=False)
class Box:
    """A box of parameters in which something happens more often than elsewhere.

    Attributes
    ----------
    method
        `PRIM` or `CART`.
    event
        What happens there, in words.
    limits
        Low and high bound by parameter, of those that matter; minus or plus infinity where a side is open.
    chances
        Of each limit, the probability that a parameter without any part in it would look as good (the quasi-p-value
        of Bryant and Lempert, a binomial test).
    density
        Share of the runs in the box in which it happens.
    coverage
        Share of all cases that lie in the box.
    mass
        Share of all runs that lie in the box.
    base_rate
        Share of all runs in which it happens.
    tried
        Density and coverage of a box found likewise on one half of the runs, on the other half; NaN where there
        were too few cases.
    ranges
        Low and high by parameter, of what was searched.
    parameters, draws, happened
        The runs: names, values of shape (n_runs, n_parameters), and whether it happened, shape (n_runs,).
    notes
    """

    method: str
    event: str
    limits: Limits
    chances: Mapping[str, float]
    density: float
    coverage: float
    mass: float
    base_rate: float
    tried: tuple[float, float]
    ranges: Mapping[str, tuple[float, float]]
    parameters: tuple[str, ...]
    draws: Floats
    happened: Bools
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", MappingProxyType(dict(self.limits)))
        object.__setattr__(self, "ranges", MappingProxyType(dict(self.ranges)))
        object.__setattr__(self, "chances", MappingProxyType(dict(self.chances)))
        self.happened.setflags(write=False)

    def inside(self, draws: Floats) -> Bools:
        """Say which rows of parameters lie in the box, shape (n_runs,)."""
        return _inside(draws, self.parameters, self.limits)

    @property
    def sentence(self) -> str:
        """The box in one sentence."""
        event = self.event[:1].upper() + self.event[1:]
        if not self.limits:
            return f"{event} in {_percent(self.base_rate)} of all runs, and no box of parameters does better"
        where = " and ".join(_limit(name, *ends) for name, ends in self.limits.items())
        return (
            f"{event} in {_percent(self.density)} of runs where {where}; that box holds {_percent(self.coverage)} "
            f"of all such runs ({_percent(self.base_rate)} of runs overall)"
        )

    @property
    def verdict(self) -> str:
        """Whether the box holds up on runs that were not used to find it."""
        density, coverage = self.tried
        if not self.limits:
            return (
                "no box does better than the whole space; ask for a purer one by density=0.95, or vary other parameters"
            )
        if not np.isfinite(density):
            return "not tried: too few cases to find the box on one half of the runs and try it on the other"
        found = f"found on half of the runs and tried on the other half, such a box has {_percent(density)}"
        held = f"{found} and holds {_percent(coverage)}"
        if density < self.density - 0.1 or coverage < self.coverage - 0.1:
            return f"not settled: {held}; double the samples to {2 * len(self.happened)}"
        return f"settled: {held}"

    def __str__(self) -> str:
        lines = [f"{self.method}: {len(self.happened):,} runs", "", f"{self.sentence}.", ""]
        for name, (low, high) in self.limits.items():
            lines.append(f"  {_limit(name, low, high)}   (by chance: {self.chances.get(name, float('nan')):.1g})")
        lines += [""] * bool(self.limits) + [f"{self.verdict[:1].upper()}{self.verdict[1:]}."]
        return "\n".join(lines + [f"Note: {note}." for note in self.notes])

    def plot(self) -> Figure:
        """Draw the box: its limits within the ranges drawn, and the runs over its two foremost parameters."""
        from sd_cluster import charts

        names = list(self.limits) or list(self.parameters[:8])
        columns = {name: self.draws[:, self.parameters.index(name)] for name in names}
        ranges = {name: self.ranges[name] for name in names}
        limits = {}
        for name in names:
            low, high = self.limits.get(name, (-np.inf, np.inf))
            limits[name] = max(low, ranges[name][0]), min(high, ranges[name][1])
        return charts.box(
            limits,
            ranges,
            title=f"{self.event[:1].upper()}{self.event[1:]}: where",
            density=self.density,
            coverage=self.coverage,
            points=(columns, self.happened),
        )


@with_settings(Sampling)
def discover(
    subject: Subject,
    space: Space | None = None,
    *,
    success: Condition,
    event: str | None = None,
    method: Literal["prim", "cart"] = "prim",
    density: float | None = None,
    samples: int = 1024,
    **settings: Unpack[Sampling],
) -> Box:
    """Find the box of parameters in which something happens.

    Parameters
    ----------
    subject
        A model; a function of rows (n_runs, n_parameters) whose answers (n_runs,) the condition is put to; or an
        ensemble that is there already, without a space.
    space
        Which parameters are uncertain.
    success
        What should happen, such as `sd.Final("member firms") > 100`. For a function any measure will do.
    event
        What to call it, such as "take-off"; the condition itself where not given.
    method
        `prim` peels slice after slice off the whole space; `cart` grows a tree of at most eight leaves and takes
        the best one. PRIM finds the tighter box; a tree is quick and sees several regions.
    density
        Smallest share of runs in the box in which it should happen; among such boxes the one that holds most cases
        is taken. Where not given, the box with the best balance (harmonic mean) of density and coverage.
    samples
        Runs, laid as a Latin hypercube.
    settings
        See `Settings`.

    Returns
    -------
    box
        Without limits if no box does better than the whole space.

    Raises
    ------
    ModelError
        If a name is unknown, it happens in all runs or in none, or the extra `discovery` is not installed.
    SimulationError
        If more than 5 % of the runs failed, without `allow_failures`.
    """
    if method not in _FINDERS:
        raise ModelError(f"no method '{method}'; there are 'prim' and 'cart'")
    if not isinstance(success, Condition):
        raise ModelError(
            "say what should happen by a measure and a level, as in success=sd.Final('member firms') > 100"
        )
    if find_spec(_NEEDS[method]) is None:
        raise ModelError(f"method '{method}' needs {_NEEDS[method]}; pip install 'sd-cluster[discovery]'")
    told, seed = event or str(success), seed_of(settings)
    cases, notes = _cases(subject, space, success, told, samples, settings)
    limits = _FINDERS[method](cases, density, seed)
    there = cases.inside(limits)
    return Box(
        method=method.upper(),
        event=told,
        limits=limits,
        chances=_chances(cases, limits),
        density=float(cases.happened[there].mean()),
        coverage=float(cases.happened[there].sum() / cases.happened.sum()),
        mass=float(there.mean()),
        base_rate=float(cases.happened.mean()),
        tried=_tried(method, cases, density, seed),
        ranges=space.ranges if space else cases.ranges,
        parameters=cases.names,
        draws=cases.x,
        happened=cases.happened,
        notes=notes,
    )


@dataclass(frozen=True, eq=False)
class _Cases:
    """The runs that are searched: parameters `x` (n_runs, n_names), and whether it happened (n_runs,)."""

    names: tuple[str, ...]
    x: Floats
    happened: Bools

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Low and high met, by parameter."""
        return dict(zip(self.names, zip(self.x.min(axis=0), self.x.max(axis=0), strict=True), strict=True))

    def inside(self, limits: Limits) -> Bools:
        """Which runs lie in a box."""
        return _inside(self.x, self.names, limits)

    def part(self, rows: Any) -> _Cases:
        """Some of the runs."""
        return _Cases(self.names, self.x[rows], self.happened[rows])


def _cases(
    subject: Subject, space: Space | None, success: Condition, told: str, samples: int, settings: Sampling
) -> tuple[_Cases, tuple[str, ...]]:
    """Run or take the sample and say where it happened; with notes on the runs."""
    runs = isinstance(subject, Model) or not callable(subject)
    of = success.measure if runs else success.measure.label
    draws, answers = sampled(subject, space, of, samples, settings)
    values, kept, lost = kept_blocks(answers, 1, "runs", allow_failures=settings.get("allow_failures", False))
    happened = success.holds(values[:, 0, 0]) > 0.5
    if happened.all() or not happened.any():
        often = "in every run" if happened.all() else "in no run"
        raise ModelError(
            f"{told} happens {often} of {len(happened)}, so nothing marks it off; move the level or the space"
        )
    return _Cases(draws.names, draws.values[kept], happened), (*answers.notes, *lost)


def _inside(draws: Floats, names: Sequence[str], limits: Limits) -> Bools:
    there = np.ones(len(draws), dtype=bool)
    for name, (low, high) in limits.items():
        column = draws[:, list(names).index(name)]
        there &= (column >= low) & (column <= high)
    return there


def _better(cases: _Cases, limits: Limits, wanted: float | None) -> tuple[float, float]:
    """How good a box is, as something to compare: enough density first if that is wanted, then the aim."""
    there = cases.inside(limits)
    caught = int(cases.happened[there].sum())
    if not caught:
        return (-1.0, -1.0)
    density, coverage = caught / int(there.sum()), caught / int(cases.happened.sum())
    if wanted is None:
        return (0.0, 2.0 * density * coverage / (density + coverage))
    return (1.0, coverage) if density >= wanted else (0.0, density)


def _prim(cases: _Cases, wanted: float | None, seed: int) -> dict[str, tuple[float, float]]:
    """Peel with the EMA workbench, take the best box on the way, open the sides that chance would do as well."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ema_workbench.analysis import prim as ema

        table = pd.DataFrame(cases.x, columns=list(cases.names))
        search = ema.Prim(table, cases.happened.astype(int), threshold=0.0, peel_alpha=0.05, mass_min=0.05)
        steps: list[Any] = list(search.find_box().box_lims)
        boxes = [_opened(one, steps[0], cases.names) for one in steps]
    best = max(boxes, key=lambda limits: (*_better(cases, limits, wanted), -len(limits)))
    return _ordered(cases, _without_chance(cases, best))


def _without_chance(cases: _Cases, limits: Limits) -> dict[str, tuple[float, float]]:
    """Open, one after the other and the idlest first, the sides that chance would do as well."""
    left = dict(limits)
    while left:
        sides = [
            (_chance(cases, left, {**left, name: opened}), name, opened)
            for name, (low, high) in left.items()
            for opened in ((-np.inf, high), (low, np.inf))
            if opened != (low, high)
        ]
        chance, name, opened = max(sides)
        if chance < CHANCE:
            break
        left[name] = opened
        if opened == (-np.inf, np.inf):
            del left[name]
    return left


def _opened(box: Any, whole: Any, names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Limits of a box of the EMA workbench that are tighter than the whole; untouched sides are open."""
    limits = {}
    for name in names:
        low, high = float(box[name].iloc[0]), float(box[name].iloc[1])
        low = low if low > float(whole[name].iloc[0]) else -np.inf
        high = high if high < float(whole[name].iloc[1]) else np.inf
        if np.isfinite(low) or np.isfinite(high):
            limits[name] = (low, high)
    return limits


def _cart(cases: _Cases, wanted: float | None, seed: int) -> dict[str, tuple[float, float]]:
    """Grow a small tree with scikit-learn and take the leaf, or the branch above leaves, that is best."""
    from sklearn.tree import DecisionTreeClassifier

    least = max(10, len(cases.x) // 20)
    tree = DecisionTreeClassifier(max_leaf_nodes=8, min_samples_leaf=least, random_state=seed)
    grown: Any = tree.fit(cases.x, cases.happened).tree_
    boxes: list[dict[str, tuple[float, float]]] = []
    waiting: list[tuple[int, dict[str, tuple[float, float]]]] = [(0, {})]
    while waiting:
        node, limits = waiting.pop()
        boxes.append(limits)
        if grown.children_left[node] >= 0:
            name, at = cases.names[grown.feature[node]], float(grown.threshold[node])
            low, high = limits.get(name, (-np.inf, np.inf))
            waiting.append((int(grown.children_left[node]), {**limits, name: (low, at)}))
            waiting.append((int(grown.children_right[node]), {**limits, name: (np.nextafter(at, np.inf), high)}))
    best = max(boxes, key=lambda limits: (_better(cases, limits, wanted), -len(limits)))
    return _ordered(cases, best)


_FINDERS: dict[str, Callable[[_Cases, float | None, int], dict[str, tuple[float, float]]]] = {
    "prim": _prim,
    "cart": _cart,
}
_NEEDS = {"prim": "ema_workbench", "cart": "sklearn"}


def _without(limits: Limits, name: str) -> dict[str, tuple[float, float]]:
    return {other: ends for other, ends in limits.items() if other != name}


def _ordered(cases: _Cases, limits: Limits) -> dict[str, tuple[float, float]]:
    """Limits with the ones that matter most first: those without which the box would thin out most."""
    thinned = {name: float(cases.happened[cases.inside(_without(limits, name))].mean()) for name in limits}
    return {name: limits[name] for name in sorted(limits, key=thinned.__getitem__)}


def _chances(cases: _Cases, limits: Limits) -> dict[str, float]:
    """Of each limit, the chance that a parameter without any part in it would look as good."""
    return {name: _chance(cases, limits, _without(limits, name)) for name in limits}


def _chance(cases: _Cases, limits: Limits, wider: Limits) -> float:
    """Chance of as many cases in a box as there are, if it were a random part of a wider one (Bryant and Lempert)."""
    from scipy.stats import binomtest

    there = cases.inside(limits)
    if not there.any():
        return 1.0
    rate = float(cases.happened[cases.inside(wider)].mean())
    found = binomtest(int(cases.happened[there].sum()), int(there.sum()), rate, alternative="greater")
    return float(found.pvalue)


def _tried(method: str, cases: _Cases, wanted: float | None, seed: int) -> tuple[float, float]:
    """Density and coverage, on one half of the runs, of a box found on the other half."""
    order = np.random.default_rng([seed, 2]).permutation(len(cases.x))
    here, there = cases.part(order[: len(order) // 2]), cases.part(order[len(order) // 2 :])
    counts = [half.happened.sum() for half in (here, there)] + [(~here.happened).sum()]
    if min(counts) < 10:
        return (float("nan"), float("nan"))
    inside = there.inside(_FINDERS[method](here, wanted, seed))
    if not inside.any():
        return (0.0, 0.0)
    caught = float(there.happened[inside].sum())
    return caught / float(inside.sum()), caught / float(there.happened.sum())


def _limit(name: str, low: float, high: float) -> str:
    if np.isfinite(low) and np.isfinite(high):
        return f"{low:.3g} < {name} < {high:.3g}"
    if np.isfinite(low):
        return f"{name} > {low:.3g}"
    return f"{name} < {high:.3g}" if np.isfinite(high) else name


def _percent(share: float) -> str:
    """Write a share so that almost all is not called all.

    >>> _percent(0.934), _percent(0.998), _percent(1.0)
    ('93 %', '99.8 %', '100 %')
    """
    near_an_end = 0.0 < share < 0.01 or 0.99 < share < 1.0
    return f"{100 * share:.{1 if near_an_end else 0}f} %"
