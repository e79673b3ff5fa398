"""Which parameters are uncertain, and how: ranges, distributions, what goes together, rows of a posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sd_cluster.correlation import Correlation, Given, blocks, factor, scores_of
from sd_cluster.draws import Draws, distinct
from sd_cluster.errors import ModelError, ScenarioError, near
from sd_cluster.kernel import Floats
from sd_cluster.marginals import TAIL, Entry, LogRange, Marginal, Range, bounds, marginal
from sd_cluster.model import CONTROLS, Model, Parameter
from sd_cluster.points import sobol_points
from sd_cluster.scenario import Scenario, apply

if TYPE_CHECKING:
    import pandas as pd

Method: TypeAlias = Literal["sobol", "halton", "lhs", "random", "grid"]
"""How points are laid into the unit box."""

METHODS: dict[str, str] = {
    "sobol": "scrambled Sobol points: the evenest for a power of two",
    "halton": "scrambled Halton points: even for any number",
    "lhs": "Latin hypercube: each parameter in n even slices",
    "random": "independent random points",
    "grid": "a full grid, ends included",
}
"""Names of the methods, with what each is."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a table that are drawn whole, so that what goes together stays together.

    Attributes
    ----------
    names
        Of the columns.
    values : shape (n_rows, n_names), read-only
    weights : shape (n_rows,), read-only
        Probability of each row; they add up to one.
    """

    names: tuple[str, ...]
    values: Floats
    weights: Floats


@dataclass(frozen=True, eq=False, init=False)
class Space:
    """The uncertain parameters of a model.

    Attributes
    ----------
    entries
        By name of a parameter, or of a stock for its initial value: two numbers (low, high), a frozen distribution
        of `scipy.stats`, a `LogRange`, or a `Transformed` of one of these.
    correlation
        Which of the entries go together: rank correlations by pair, `{("trust", "talent flow"): 0.5}`, or one or
        several `Correlation`. Draws follow a Gaussian copula.
    table
        Further parameters drawn by whole rows; see `Space.rows`.

    Raises
    ------
    ScenarioError
        If there is no parameter or one comes twice, a range is not two finite numbers of which the first is smaller,
        or the correlations cannot be.

    Examples
    --------
    >>> Space({"initial trust": (0.05, 0.6), "talent flow": (0, 1)}).names
    ('initial trust', 'talent flow')
    """

    entries: Mapping[str, Marginal]
    correlation: tuple[Correlation, ...] = ()
    table: Rows | None = None
    _scores: Floats = field(repr=False, default_factory=lambda: np.eye(0))

    def __init__(self, entries: Mapping[str, Entry], *, correlation: Given = None, table: Rows | None = None) -> None:
        if not entries and table is None:
            raise ScenarioError(
                "a space has no parameter; name at least one, as in Space({'initial trust': (0.05, 0.6)})"
            )
        taken: dict[str, Marginal] = {name: marginal(name, entry) for name, entry in entries.items()}
        distinct([*taken, *(table.names if table is not None else ())])
        names = tuple(taken)
        object.__setattr__(self, "entries", MappingProxyType(taken))
        object.__setattr__(self, "correlation", blocks(correlation, names))
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "_scores", scores_of(self.correlation, names))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (dict(self.entries), self.correlation, self.table)

    @classmethod
    def of(cls, model: Model, names: Sequence[str] | None = None) -> Space:
        """The ranges that the model file itself gives, of the parameters named or of all that have one.

        Raises
        ------
        ModelError
            If a name is unknown, or the file gives no range for it.
        """
        if names is None:
            known = [one for one in model.parameters.values() if one.name not in CONTROLS and not one.hidden]
            names = [one.name for one in known if one.low is not None and one.high is not None]
            if not names:
                raise ModelError(f"{model.name} gives no range for any parameter; state them in the space")
        ranges: dict[str, Entry] = {}
        for name in names:
            variable = model.variable(name)
            if variable.low is None or variable.high is None:
                raise ModelError(f"{model.name} gives no range for '{variable.name}'; state one in the space")
            ranges[variable.name] = (variable.low, variable.high)
        return cls(ranges)

    @classmethod
    def rows(
        cls,
        table: pd.DataFrame | Mapping[str, npt.ArrayLike],
        *,
        weights: npt.ArrayLike | None = None,
        also: Mapping[str, Entry] | None = None,
    ) -> Space:
        """A space of the rows of a table, such as a posterior: each draw is one row, whole.

        Rows are drawn by systematic resampling (Kitagawa 1996, doi:10.2307/1390750) and shuffled: every row comes
        as often as its weight says, to within one, so as many draws as rows are the rows themselves.

        Parameters
        ----------
        table
            One column a parameter, one row a draw; whatever has `frame()` will do as well.
        weights : shape (n_rows,)
            Not negative; even where not given.
        also
            Further parameters, independent of the rows, as in `Space`.

        Raises
        ------
        ScenarioError
            If the table or the weights hold what is not a finite number, or there is no row.
        """
        given: Any = table
        source: Any = given.frame() if hasattr(given, "frame") else given
        drawn = Draws.of(source)
        even = np.ones(len(drawn)) if weights is None else np.array(weights, dtype=float)
        if even.shape != (len(drawn),) or not np.isfinite(even).all() or (even < 0).any() or even.sum() <= 0:
            raise ScenarioError(
                f"the weights of {len(drawn)} rows should be {len(drawn)} finite numbers, none negative, not all zero"
            )
        even = even / even.sum()
        even.setflags(write=False)
        return cls(also or {}, table=Rows(drawn.names, drawn.values, even))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order; those of a table come last."""
        return (*self.entries, *(self.table.names if self.table is not None else ()))

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Low and high by name. A tail ends where one draw in a thousand lies beyond; rows by the extremes met."""
        found = {name: bounds(one) for name, one in self.entries.items()}
        if self.table is not None:
            ends = zip(self.table.names, self.table.values.min(axis=0), self.table.values.max(axis=0), strict=True)
            found.update({name: (float(low), float(high)) for name, low, high in ends})
        return found

    @property
    def lower(self) -> Floats:
        """Low ends of `ranges`, shape (n_parameters,)."""
        return np.array([low for low, _ in self.ranges.values()])

    @property
    def upper(self) -> Floats:
        """High ends of `ranges`, shape (n_parameters,)."""
        return np.array([high for _, high in self.ranges.values()])

    @property
    def independent(self) -> bool:
        """Whether no parameter tells anything of another, as most sensitivity indices suppose."""
        return self.table is None and not self.correlation

    @property
    def scores(self) -> Floats:
        """Correlation of the normal scores of the entries, shape (n_entries, n_entries)."""
        return self._scores

    def check(self, model: Model) -> None:
        """Check that the model has all these parameters and does not compute them.

        Raises
        ------
        ModelError
            If it does not; the text names the nearest parameter.
        """
        try:
            apply(model, Scenario("space", {name: low for name, (low, _) in self.ranges.items()}))
        except ScenarioError as error:
            raise ModelError(str(error).replace("scenario 'space' sets", "the space varies")) from None

    def default(self, model: Model) -> Floats:
        """The model's own values, moved to the nearest bound where they lie outside; shape (n_parameters,).

        A stock that stands in the space by its own name begins in the middle of its range.
        """
        own = []
        for name, (low, high) in self.ranges.items():
            variable = model.variable(name)
            own.append(variable.value if isinstance(variable, Parameter) else 0.5 * (low + high))
        values: Floats = np.clip(np.array(own), self.lower, self.upper)
        return values

    def from_unit(self, unit: npt.ArrayLike, *, tail: float = TAIL) -> Floats:
        """Values of the parameters at points of the unit box, whoever laid the points there.

        Where parameters go together, a point's coordinate is its place among the values that remain likely once
        the coordinates before it in the block are known (Rosenblatt 1952, doi:10.1214/aoms/1177729394).

        Parameters
        ----------
        unit : shape (n_runs, n_parameters), within 0 and 1
        tail
            Points nearer than this to 0 or 1 are brought to it where the distribution has no end: set it to 0.01
            or so for plans that stand on the very sides of the box, such as Morris's.

        Returns
        -------
        values : shape (n_runs, n_parameters)

        Raises
        ------
        ScenarioError
            If the points are not in the unit box of this space, or the space has rows of a table.
        """
        if self.table is not None:
            raise ScenarioError(
                "rows of a table have no unit box; sample this space, or give ranges, distributions and correlations"
            )
        points = np.asarray(unit, dtype=float)
        n = len(self.entries)
        if points.ndim != 2 or points.shape[1] != n:
            raise ScenarioError(
                f"points of shape {points.shape} do not fit a space of {n} parameters; give one row a run"
            )
        if points.size and not (points.min() >= 0.0 and points.max() <= 1.0):
            raise ScenarioError("a point lies outside the unit box; its coordinates go from 0 to 1")
        if self.correlation:
            from scipy.special import ndtri

            points = points.copy()
            for columns, lower in self._factors():
                scores = ndtri(np.clip(points[:, columns], max(tail, TAIL), 1.0 - max(tail, TAIL)))
                points[:, columns] = _shares(scores @ lower.T)
        return self._quantiles(points, tail)

    def from_scores(self, scores: npt.ArrayLike) -> Floats:
        """Values at given normal scores, each standard normal by itself and correlated as `scores`.

        Parameters
        ----------
        scores : shape (n_runs, n_entries)

        Returns
        -------
        values : shape (n_runs, n_entries)
        """
        return self._quantiles(_shares(np.asarray(scores, dtype=float)), TAIL)

    def sample(self, n: int, *, method: Method | None = None, seed: int = 0) -> Draws:
        """Draw values of the parameters.

        Parameters
        ----------
        n
            Number of runs. Sobol points are evenest for a power of two; a grid takes a whole power of its levels.
        method
            `sobol` (the default), `halton`, `lhs`, `random` or `grid`; a space of rows alone takes none.
        seed
            The same seed gives the same numbers, and is kept in the draws.

        Raises
        ------
        ScenarioError
            If the method is unknown or does not fit the space, or `n` or the seed is not a whole number in range.

        Examples
        --------
        >>> space = Space({"initial trust": (0.05, 0.6), "talent flow": (0, 1)})
        >>> space.sample(9, method="grid")["talent flow"]
        array([0. , 0.5, 1. , 0. , 0.5, 1. , 0. , 0.5, 1. ])
        """
        n, seed = _whole("n", n, 1), _whole("seed", seed, 0)
        chosen = self._method(method)
        if self.table is None:
            unit, notes = lay(n, len(self.entries), chosen, seed)
            return Draws(self.names, self._from_plan(unit, chosen), seed, chosen, notes)
        notes = ()
        parts = []
        if self.entries:
            unit, notes = lay(n, len(self.entries), chosen, seed)
            parts.append(Space(self.entries, correlation=self.correlation)._from_plan(unit, chosen))
        parts.append(self.table.values[_resample(self.table.weights, n, seed)])
        return Draws(self.names, np.hstack(parts), seed, chosen, notes)

    def describe(self) -> dict[str, str]:
        """How each parameter is uncertain, in words: for records and tables."""
        told = {name: str(one) for name, one in self.entries.items()}
        if self.table is not None:
            told.update(dict.fromkeys(self.table.names, f"one of {len(self.table.values)} rows"))
        return told

    def __str__(self) -> str:
        width = max(map(len, self.names))
        lines = [f"{name:<{width}}  {text}" for name, text in self.describe().items()]
        for block in self.correlation:
            for i, j in zip(*np.nonzero(np.triu(block.matrix, 1)), strict=True):
                pair = f"{block.names[i]} with {block.names[j]}"
                lines.append(f"{block.kind} correlation of {pair}: {block.matrix[i, j]:g}")
        return "\n".join(lines)

    def _method(self, method: str | None) -> str:
        if self.table is not None and not self.entries:
            if method not in (None, "rows"):
                raise ScenarioError(f"a space of rows is drawn by rows, not by '{method}'; leave the method out")
            return "rows"
        chosen = "sobol" if method is None else method
        if chosen not in METHODS:
            known = ", ".join(METHODS)
            raise ScenarioError(f"no sampling method '{chosen}'{near(str(chosen), METHODS)}; there are: {known}")
        if chosen == "grid" and not self.independent:
            raise ScenarioError("a grid meets all combinations alike, so nothing can go together in it; use 'sobol'")
        return chosen

    def _factors(self) -> list[tuple[list[int], Floats]]:
        names = list(self.entries)
        return [
            ([names.index(name) for name in one.names], factor(one.names, one.scores())) for one in self.correlation
        ]

    def _from_plan(self, unit: Floats, method: str) -> Floats:
        """Values at points of a plan; a grid keeps off the tails by half a cell."""
        levels = round(len(unit) ** (1.0 / max(1, unit.shape[1])))
        return self.from_unit(unit, tail=0.5 / levels if method == "grid" else TAIL)

    def _quantiles(self, shares: Floats, tail: float) -> Floats:
        values = np.empty(shares.shape)
        for column, one in enumerate(self.entries.values()):
            share = shares[:, column]
            if tail > TAIL and not isinstance(one, Range | LogRange) and not np.isfinite([one.low, one.high]).all():
                share = np.clip(share, tail, 1.0 - tail)
            values[:, column] = one.quantile(share)
        if not np.isfinite(values).all():
            name = self.names[int(np.argwhere(~np.isfinite(values))[0, 1])]
            raise ScenarioError(f"a draw of '{name}' is not finite; look at its distribution")
        return values


def lay(n: int, dimensions: int, method: str, seed: int) -> tuple[Floats, tuple[str, ...]]:
    """Lay points into the unit box by one of `METHODS`.

    Returns
    -------
    unit : shape (n, dimensions)
    notes
        What a reader should know, such as a number of Sobol points that is not a power of two.

    Raises
    ------
    ScenarioError
        If a grid of `n` points has not the same number of levels everywhere.
    """
    random = np.random.default_rng(seed)
    if method == "random":
        return random.random((n, dimensions)), ()
    if method == "grid":
        levels = round(n ** (1.0 / dimensions))
        if levels < 2 or levels**dimensions != n:
            fit = max(2, levels) ** dimensions
            raise ScenarioError(
                f"a grid of {dimensions} parameters has no {n} points; ask for {fit}, which is {max(2, levels)} levels"
                + (" each" if dimensions > 1 else "")
            )
        axes = np.meshgrid(*[np.linspace(0.0, 1.0, levels)] * dimensions, indexing="ij")
        return np.column_stack([axis.ravel() for axis in axes]), ()
    if method in ("lhs", "halton"):
        from scipy.stats import qmc

        points = qmc.LatinHypercube if method == "lhs" else qmc.Halton
        return points(dimensions, rng=random).random(n), ()
    power = max(0, (n - 1).bit_length())
    unit = sobol_points(dimensions, power, seed)[:n]
    if n == 2**power:
        return unit, ()
    return unit, (f"{n} Sobol points are no power of two, which costs evenness; {2**power} would be even",)


def _resample(weights: Floats, n: int, seed: int) -> npt.NDArray[np.intp]:
    """Which rows to take, shape (n,): systematic resampling, then shuffled."""
    random = np.random.default_rng([seed, 1])
    edges = np.cumsum(weights)
    places = (np.arange(n) + random.random()) / n * edges[-1]
    picked = np.minimum(np.searchsorted(edges, places, side="right"), len(weights) - 1)
    return random.permutation(picked)


def _shares(scores: Floats) -> Floats:
    from scipy.special import ndtr

    shares: Floats = np.asarray(ndtr(scores), dtype=float)
    return shares


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ScenarioError(f"{name} is {value!r}; give a whole number from {least} on")
    return int(value)


def _rebuilt(entries: dict[str, Any], correlation: tuple[Correlation, ...], table: Rows | None) -> Space:
    return Space(entries, correlation=correlation or None, table=table)
