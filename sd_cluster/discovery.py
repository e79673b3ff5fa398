"""Scenario discovery: the box of parameters in which something happens, as a sentence and a figure.

PRIM (Friedman and Fisher 1999, doi:10.1023/A:1008894516817; for scenarios Bryant and Lempert 2010,
doi:10.1016/j.techfore.2009.08.002) comes from the EMA workbench (Kwakkel 2017, doi:10.1016/j.envsoft.2017.06.054),
classification trees from scikit-learn. A box found on half of the runs is tried on the other half, because a search
among many boxes flatters the one it finds.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from sd_cluster.answers import Answers, Function, Settings, check_settings, evaluate, kept_blocks, read_ensemble
from sd_cluster.errors import ModelError, ScenarioError
from sd_cluster.kernel import Floats
from sd_cluster.measures import Condition, measures_of
from sd_cluster.model import Model
from sd_cluster.space import Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sd_cluster.ensemble import Ensemble

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


def discover(
    subject: Model | Function | Ensemble,
    space: Space | None = None,
    *,
    success: Condition,
    event: str | None = None,
    method: Literal["prim", "cart"] = "prim",
    density: float | None = None,
    samples: int = 1024,
    seed: int = 0,
    **settings: Unpack[Settings],
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
    samples, seed
        Runs, laid as a Latin hypercube, and the seed of all chance.
    settings
        See `Settings`.

    Returns
    -------
    box
        Without limits if no box does better than the whole space.

    Raises
    ------
    ModelError
        If a name is unknown, or it happens in all runs or in none.
    SimulationError
        If more than 5 % of the runs failed, without `allow_failures`.
    """
    check_settings(settings)
    if method not in ("prim", "cart"):
        raise ModelError(f"no method '{method}'; there are 'prim' and 'cart'")
    if not isinstance(success, Condition):
        raise ModelError(
            "say what should happen by a measure and a level, as in success=sd.Final('member firms') > 100"
        )
    names, draws, answers = _runs(subject, space, success, samples, seed, settings)
    values, kept, lost = kept_blocks(answers, 1, "runs", settings)
    x, happened = draws[kept], success.holds(values[:, 0, 0]) > 0.5
    told = event or str(success)
    count = int(happened.sum())
    if count in (0, len(happened)):
        often = "in no run" if count == 0 else "in every run"
        raise ModelError(
            f"{told} happens {often} of {len(happened)}, so nothing marks it off; move the level or the space"
        )
    find = _prim if method == "prim" else _cart
    limits, chances = find(x, happened, names, density, seed)
    tried = _tried(find, x, happened, names, density, seed)
    there = _inside(x, names, limits)
    return Box(
        method=method.upper(),
        event=told,
        limits=limits,
        chances=chances,
        density=float(happened[there].mean()),
        coverage=float(happened[there].sum() / count),
        mass=float(there.mean()),
        base_rate=count / len(happened),
        tried=tried,
        ranges=space.ranges if space else dict(zip(names, zip(x.min(axis=0), x.max(axis=0), strict=True), strict=True)),
        parameters=names,
        draws=x,
        happened=happened,
        notes=(*answers.notes, *lost),
    )


def _runs(
    subject: Any, space: Space | None, success: Condition, samples: int, seed: int, settings: Settings
) -> tuple[tuple[str, ...], Floats, Answers]:
    if isinstance(subject, Model) or callable(subject):
        if space is None:
            raise ScenarioError("say over which space, as in Space({'initial trust': (0.05, 0.6)})")
        draws = space.sample(samples, method="lhs" if space.table is None else None, seed=seed)
        of = success.measure if isinstance(subject, Model) else success.measure.label
        return draws.names, draws.values, evaluate(subject, draws, of, settings)
    if space is not None:
        raise ScenarioError("an ensemble brings its own draws; leave the space out")
    return subject.draws.names, subject.draws.values, read_ensemble(subject, measures_of(success.measure))


def _inside(draws: Floats, names: Sequence[str], limits: Limits) -> Bools:
    there = np.ones(len(draws), dtype=bool)
    for name, (low, high) in limits.items():
        column = draws[:, list(names).index(name)]
        there &= (column >= low) & (column <= high)
    return there


def _better(happened: Bools, there: Bools, wanted: float | None) -> tuple[float, float]:
    """How good a box is, as something to compare: enough density first if that is wanted, then the aim."""
    cases = int(happened[there].sum())
    if not cases:
        return (-1.0, -1.0)
    density, coverage = cases / int(there.sum()), cases / int(happened.sum())
    if wanted is None:
        return (0.0, 2.0 * density * coverage / (density + coverage))
    return (1.0, coverage) if density >= wanted else (0.0, density)


def _prim(
    x: Floats, happened: Bools, names: tuple[str, ...], wanted: float | None, seed: int
) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Peel with the EMA workbench, take the best box on the way, open the sides that chance would do as well."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ema_workbench.analysis import prim as ema

        table = pd.DataFrame(x, columns=list(names))
        search = ema.Prim(table, happened.astype(int), threshold=0.0, peel_alpha=0.05, mass_min=0.05)
        path = search.find_box()
        steps: list[Any] = list(path.box_lims)
        whole = steps[0]
        boxes = [_opened(one, whole, names) for one in steps]
        scores = [_better(happened, _inside(x, names, limits), wanted) for limits in boxes]
        best = max(range(len(boxes)), key=lambda number: (*scores[number], -len(boxes[number])))
    return _ordered(x, happened, names, _without_chance(x, happened, names, boxes[best]))


def _without_chance(
    x: Floats, happened: Bools, names: tuple[str, ...], limits: Limits
) -> dict[str, tuple[float, float]]:
    """Open, one after the other and the idlest first, the sides that chance would do as well."""
    left = dict(limits)
    while left:
        sides = []
        for name, (low, high) in left.items():
            for opened in ((-np.inf, high), (low, np.inf)):
                if opened != (low, high):
                    rest = {**left, name: opened}
                    sides.append((_chance(x, happened, names, left, rest), name, opened))
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


def _cart(
    x: Floats, happened: Bools, names: tuple[str, ...], wanted: float | None, seed: int
) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Grow a small tree with scikit-learn and take the leaf, or the branch above leaves, that is best."""
    from sklearn.tree import DecisionTreeClassifier

    least = max(10, len(x) // 20)
    tree = DecisionTreeClassifier(max_leaf_nodes=8, min_samples_leaf=least, random_state=seed)
    grown: Any = tree.fit(x, happened).tree_
    best: tuple[tuple[float, float], int] = (_better(happened, np.ones(len(x), dtype=bool), wanted), 0)
    found: dict[str, tuple[float, float]] = {}
    waiting: list[tuple[int, dict[str, tuple[float, float]]]] = [(0, {})]
    while waiting:
        node, limits = waiting.pop()
        merit = (_better(happened, _inside(x, names, limits), wanted), -len(limits))
        if merit > best:
            best, found = merit, limits
        if grown.children_left[node] >= 0:
            name, at = names[grown.feature[node]], float(grown.threshold[node])
            low, high = limits.get(name, (-np.inf, np.inf))
            waiting.append((int(grown.children_left[node]), {**limits, name: (low, at)}))
            waiting.append((int(grown.children_right[node]), {**limits, name: (np.nextafter(at, np.inf), high)}))
    return _ordered(x, happened, names, found)


def _ordered(
    x: Floats, happened: Bools, names: tuple[str, ...], limits: Limits
) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Limits with the ones that matter most first: those without which the box would thin out most."""

    def without(name: str) -> float:
        rest = {other: ends for other, ends in limits.items() if other != name}
        return float(happened[_inside(x, names, rest)].mean())

    order = sorted(limits, key=without)
    chances = {}
    for name in order:
        chances[name] = _chance(x, happened, names, limits, {other: limits[other] for other in order if other != name})
    return {name: limits[name] for name in order}, chances


def _chance(x: Floats, happened: Bools, names: tuple[str, ...], limits: Limits, wider: Limits) -> float:
    """Chance of as many cases in a box as there are, if it were a random part of a wider one (Bryant and Lempert)."""
    from scipy.stats import binomtest

    there, rest = _inside(x, names, limits), _inside(x, names, wider)
    if not there.any():
        return 1.0
    rate = float(happened[rest].mean())
    return float(binomtest(int(happened[there].sum()), int(there.sum()), rate, alternative="greater").pvalue)


def _tried(
    find: Any, x: Floats, happened: Bools, names: tuple[str, ...], wanted: float | None, seed: int
) -> tuple[float, float]:
    """Density and coverage, on one half of the runs, of a box found on the other half."""
    order = np.random.default_rng([seed, 2]).permutation(len(x))
    here, there = order[: len(x) // 2], order[len(x) // 2 :]
    if min(happened[here].sum(), happened[there].sum(), (~happened[here]).sum()) < 10:
        return (float("nan"), float("nan"))
    limits, _ = find(x[here], happened[here], names, wanted, seed)
    caught = _inside(x[there], names, limits)
    if not caught.any():
        return (0.0, 0.0)
    cases = float(happened[there][caught].sum())
    return cases / float(caught.sum()), cases / float(happened[there].sum())


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
