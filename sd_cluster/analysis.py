"""What all sensitivity analyses share: draws from a design, its runs in blocks, and the record of what they show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from sd_cluster import estimators
from sd_cluster.answers import Answers, Bools, Function, Subject, evaluate, kept_blocks, read_ensemble
from sd_cluster.draws import Draws
from sd_cluster.errors import ScenarioError
from sd_cluster.estimators import Estimate, Ints
from sd_cluster.indices import NEVER_NEGATIVE, Indices
from sd_cluster.kernel import Floats
from sd_cluster.measures import measures_of
from sd_cluster.model import Model
from sd_cluster.settings import Of, Sampling, Settings
from sd_cluster.space import Space

Estimator: TypeAlias = Callable[[Floats, Floats], dict[str, Floats]]
"""From draws (n_runs, n_parameters) and answers (n_runs, n_columns) to indices (n_parameters, n_columns) by kind."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """The answers of a design in its blocks, those left out in which a run was lost.

    Attributes
    ----------
    values : shape (n_kept, size, n_columns)
        As `kept_blocks` gives them.
    kept : shape (n_blocks,)
        Which blocks are there.
    undefined : shape (n_columns,)
        Columns that do not vary, so that nothing has a share in their variance.
    names
        Of the parameters.
    answers, settings
        From which this comes.
    notes
        On lost blocks and columns that do not vary.
    """

    values: Floats
    kept: Bools
    undefined: Bools
    names: tuple[str, ...]
    answers: Answers
    settings: Settings
    notes: tuple[str, ...]

    def picks(self, resamples: int) -> Ints:
        """Blocks that each resample takes, by a chance apart from that of the design."""
        return estimators.picks(len(self.values), resamples, chance(self.settings))

    def indices(
        self,
        method: str,
        main: str,
        kinds: Mapping[str, Estimate],
        samples: int,
        notes: Sequence[str] = (),
        *,
        without: Mapping[str, Floats] | None = None,
        scaled: bool = False,
        tolerance: float = 0.1,
    ) -> Indices:
        """Make the record.

        Parameters
        ----------
        method, main, samples, scaled, tolerance
            As in `Indices`.
        kinds
            Estimates with their standard errors.
        notes
            On the design and the method.
        without
            Kinds that have no interval.
        """
        level = self.settings.get("level", 0.95)
        z = NormalDist().inv_cdf(0.5 + level / 2.0)
        values = {kind: self._shaped(own) for kind, (own, _) in kinds.items()}
        errors = {kind: z * self._shaped(error) for kind, (_, error) in kinds.items()}
        answers = self.answers
        numbers = [name for name, course in zip(answers.outputs, answers.courses, strict=True) if not course]
        return Indices(
            method=method,
            parameters=self.names,
            outputs=answers.outputs,
            times=answers.times.copy(),
            values=values | {kind: self._shaped(own) for kind, own in (without or {}).items()},
            low={kind: _low(kind, values[kind], errors[kind]) for kind in values},
            high={kind: values[kind] + errors[kind] for kind in values},
            main=main,
            samples=samples,
            runs=len(answers.ok),
            seed=seed_of(self.settings),
            failed=answers.lost,
            level=level,
            tolerance=self.settings.get("tolerance", tolerance),
            scaled=scaled,
            notes=(*answers.notes, *self.notes, *notes),
            numbers=tuple(numbers),
        )

    def _shaped(self, columns: Floats) -> Floats:
        """From columns, shape (..., n_columns), to (..., n_outputs, n_times)."""
        places = self.answers.places
        table = np.full((*columns.shape[:-1], *places.shape), np.nan)
        table[..., places] = np.where(self.undefined, np.nan, columns)
        return np.ascontiguousarray(table.swapaxes(-1, -2))


def _low(kind: str, values: Floats, errors: Floats) -> Floats:
    """Lower ends of intervals, at zero for a kind that is never negative."""
    low: Floats = values - errors
    return np.maximum(low, 0.0) if kind in NEVER_NEGATIVE else low


def blocks_of(
    answers: Answers,
    draws: Draws,
    size: int,
    what: str,
    settings: Settings,
    *,
    judged: slice = slice(None),
    effects: bool = False,
) -> Blocks:
    """Set answers out in blocks.

    Parameters
    ----------
    answers, draws, settings
    size, what
        Runs in a block, and the blocks in words.
    judged
        Runs of a block by which columns that do not vary are found.
    effects
        Whether effects are asked for, which are zero for such a column, rather than shares of its variance.
    """
    values, kept, lost = kept_blocks(answers, size, what, allow_failures=settings.get("allow_failures", False))
    still, told = constant(answers, values[:, judged], "every effect is zero" if effects else "no index is defined")
    return Blocks(values, kept, still & (not effects), draws.names, answers, settings, lost + told)


def run_blocks(
    subject: Model | Function,
    draws: Draws,
    size: int,
    what: str,
    settings: Settings,
    *,
    judged: slice = slice(None),
    effects: bool = False,
) -> Blocks:
    """Run the draws of a design and set the answers out in blocks; arguments as in `blocks_of`."""
    answers = evaluate(subject, draws, settings.get("of"), settings)
    return blocks_of(answers, draws, size, what, settings, judged=judged, effects=effects)


def sampled(subject: Subject, space: Space | None, of: Of, samples: int, settings: Sampling) -> tuple[Draws, Answers]:
    """Draws and their answers: a sample laid here, or that of an ensemble which is there already.

    Raises
    ------
    ScenarioError
        If the space is missing, or given though an ensemble brings its own draws.
    """
    if isinstance(subject, Model) or callable(subject):
        if space is None:
            raise ScenarioError("say over which space, as in Space({'initial trust': (0.05, 0.6)})")
        draws = space.sample(samples, method="lhs" if space.table is None else None, seed=seed_of(settings))
        return draws, evaluate(subject, draws, of, settings)
    if space is not None:
        raise ScenarioError("an ensemble brings its own draws; leave the space out")
    return subject.draws, read_ensemble(subject, measures_of(() if of is None else of))


class Given:
    """A sample from which any of several indices can be read: parameters `x` of the runs that are there."""

    def __init__(self, subject: Subject, space: Space | None, samples: int, settings: Settings) -> None:
        draws, answers = sampled(subject, space, settings.get("of"), samples, settings)
        self.blocks = blocks_of(answers, draws, 1, "runs", settings)
        self.samples, self.x = len(draws), draws.values[self.blocks.kept]
        self.varying = np.flatnonzero(~self.blocks.undefined)

    def indices(
        self,
        method: str,
        main: str,
        estimator: Estimator,
        resamples: int,
        notes: Sequence[str] = (),
        *,
        unbias: bool = False,
        extra: Callable[[Mapping[str, Floats]], dict[str, Floats]] | None = None,
    ) -> Indices:
        """Estimate on the sample and on its resamples.

        Parameters
        ----------
        method, main, notes
            As in `Blocks.indices`.
        estimator
        resamples
            Of the runs.
        unbias
            Whether what resampling adds on average is taken off.
        extra
            Works out kinds without intervals from the others.
        """
        picked = self.blocks.picks(resamples)

        @np.errstate(invalid="ignore", divide="ignore")
        def some(values: Floats) -> dict[str, Estimate]:
            y = np.ascontiguousarray(values[:, 0])
            again = [estimator(self.x[rows], y[rows]) for rows in picked.T]
            kinds = {}
            for kind, found in estimator(self.x, y).items():
                resampled = np.stack([one[kind] for one in again])
                kinds[kind] = 2.0 * found - resampled.mean(axis=0) if unbias else found, estimators.spread(resampled)
            return kinds

        found = estimators.by_columns(some, self.blocks.values, self.varying)
        more = extra({kind: own for kind, (own, _) in found.items()}) if extra else {}
        without = {kind: self._widened(one) for kind, one in more.items()}
        kinds = {kind: (self._widened(own), self._widened(error)) for kind, (own, error) in found.items()}
        return self.blocks.indices(method, main, kinds, self.samples, notes, without=without)

    def idle_delta(self) -> str:
        """Say what delta reads for a random parameter, on the first column that varies."""
        if not len(self.varying):
            return "no output varies"
        y, random = self.blocks.values[:, 0, self.varying[:1]], chance(self.blocks.settings)
        x = random.random((len(y), 4))
        again = [estimators.delta(x[rows], y[rows]) for rows in estimators.picks(len(y), 4, random).T]
        reads = float((2.0 * estimators.delta(x, y) - np.mean(again, axis=0)).mean())
        return f"a parameter without influence reads about {max(reads, 0.0):.2g} in a sample of this size"

    def _widened(self, found: Floats) -> Floats:
        """With columns that do not vary put back."""
        whole = np.full((len(found), len(self.blocks.undefined)), np.nan)
        whole[:, ~self.blocks.undefined] = found
        return whole


def seed_of(settings: Sampling) -> int:
    """Where all chance of an analysis begins."""
    return settings.get("seed", 0)


def at_least(samples: int, least: int) -> int:
    """Give samples back, or refuse too few."""
    if samples < least:
        raise ScenarioError(f"{samples} samples are too few; take at least {least}")
    return samples


def chance(settings: Sampling) -> np.random.Generator:
    """Chance of the resamples, apart from that of the design."""
    return np.random.default_rng([seed_of(settings), 1])


def drawn(space: Space, unit: Floats, seed: int, method: str, tail: float | None = None) -> Draws:
    """Draws of a space at the points of a design in the unit box."""
    values = space.from_unit(unit) if tail is None else space.from_unit(unit, tail=tail)
    values.setflags(write=False)
    return Draws(space.names, values, seed, method)


def constant(answers: Answers, values: Floats, so: str) -> tuple[Bools, tuple[str, ...]]:
    """Which columns do not vary beyond rounding, and notes that say so.

    Parameters
    ----------
    answers
    values : shape (n_blocks, size, n_columns)
    so
        What follows for these.

    Returns
    -------
    still : shape (n_columns,)
    notes
    """
    high, low = values.max(axis=(0, 1)), values.min(axis=(0, 1))
    still: Bools = high - low <= 1e-12 * np.maximum(np.abs(high), np.abs(low))
    table = np.zeros(answers.places.shape, dtype=bool)
    table[answers.places] = still
    found: dict[str, list[str]] = {}
    for column in np.flatnonzero(table.any(axis=0)):
        times = answers.times[table[:, column]]
        everywhere = len(times) == answers.places[:, column].sum()
        when = "" if everywhere else f" at {_listed([f'{at:g}' for at in times])}"
        found.setdefault(when, []).append(f"'{answers.outputs[column]}'")
    notes = []
    for when, names in found.items():
        verb = "does" if len(names) == 1 else "do"
        notes.append(f"{_listed(names)} {verb} not vary{when}, whatever the parameters: {so} there")
    return still, tuple(notes)


def _listed(words: Sequence[str]) -> str:
    """The first three of several words, and how many more there are."""
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(words[:3]) + more
