"""What all sensitivity analyses share: draws from a design, a sample to read indices from, and the record."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from sd_cluster import estimators
from sd_cluster.answers import Answers, Function, Settings, check_settings, evaluate, kept_blocks, read_ensemble
from sd_cluster.draws import Draws
from sd_cluster.errors import ScenarioError
from sd_cluster.estimators import Estimate
from sd_cluster.indices import Indices
from sd_cluster.kernel import Floats
from sd_cluster.measures import Output, measures_of
from sd_cluster.model import Model
from sd_cluster.space import Space

if TYPE_CHECKING:
    from sd_cluster.ensemble import Ensemble

Of: TypeAlias = Output | Sequence[Output] | None
"""Outputs: names of variables (over time), measures such as `Final("trust")`, or functions of a `Run`."""


class Report:
    """What all methods do with their estimates: intervals, outputs that do not vary, the record."""

    def __init__(
        self,
        method: str,
        main: str,
        answers: Answers,
        still: npt.NDArray[np.bool_],
        samples: int,
        seed: int,
        settings: Settings,
        notes: tuple[str, ...],
        scaled: bool = False,
        tolerance: float = 0.1,
    ) -> None:
        self.method, self.main, self.answers, self.still = method, main, answers, still
        self.samples, self.seed, self.settings, self.scaled = samples, seed, settings, scaled
        self.notes = (*answers.notes, *notes)
        self.tolerance = settings.get("tolerance", tolerance)

    def _shaped(self, table: Floats) -> Floats:
        """From columns, times first, to outputs by times."""
        table = np.where(self.still, np.nan, table)
        parts = table.reshape(*table.shape[:-1], len(self.answers.times), len(self.answers.outputs))
        return np.ascontiguousarray(parts.swapaxes(-1, -2))

    def indices(
        self, names: tuple[str, ...], kinds: Mapping[str, Estimate], without: Mapping[str, Floats] | None = None
    ) -> Indices:
        """Make the record; `without` are kinds that have no interval."""
        from scipy.special import ndtri

        level = self.settings.get("level", 0.95)
        z = float(ndtri(0.5 + level / 2.0))
        values = {kind: self._shaped(own) for kind, (own, _) in kinds.items()}
        errors = {kind: z * self._shaped(error) for kind, (_, error) in kinds.items()}
        return Indices(
            method=self.method,
            parameters=names,
            outputs=self.answers.outputs,
            times=self.answers.times.copy(),
            values=values | {kind: self._shaped(own) for kind, own in (without or {}).items()},
            low={kind: values[kind] - errors[kind] for kind in values},
            high={kind: values[kind] + errors[kind] for kind in values},
            main=self.main,
            samples=self.samples,
            runs=len(self.answers.ok),
            seed=self.seed,
            failed=self.answers.lost,
            level=level,
            tolerance=self.tolerance,
            scaled=self.scaled,
            notes=self.notes,
        )


class Given:
    """A sample from which any of several indices can be read: draws laid here, or an ensemble that is there."""

    def __init__(
        self, subject: "Model | Function | Ensemble", space: Space | None, of: Of, samples: int, seed: int,
        settings: Settings,
    ) -> None:  # fmt: skip
        self.seed, self.settings = seed, checked(settings)
        if isinstance(subject, Model) or callable(subject):
            if space is None:
                raise ScenarioError("say over which space, as in Space({'initial trust': (0.05, 0.6)})")
            draws = space.sample(samples, method="lhs" if space.table is None else None, seed=seed)
            self.answers = evaluate(subject, draws, of, settings)
        else:
            if space is not None:
                raise ScenarioError("an ensemble brings its own draws; leave the space out")
            draws = subject.draws
            self.answers = read_ensemble(subject, measures_of(() if of is None else of))
        values, kept, self.lost = kept_blocks(self.answers, 1, "runs", settings)
        self.names, self.x, self.y = draws.names, draws.values[kept], values[:, 0]
        self.samples = len(draws)

    def report(
        self,
        method: str,
        main: str,
        estimator: Callable[[Floats, Floats], dict[str, Floats]],
        resamples: int,
        notes: tuple[str, ...] = (),
        *,
        unbias: bool = False,
        extra: Callable[[Mapping[str, Floats]], dict[str, Floats]] | None = None,
    ) -> Indices:
        """Estimate on the sample and on its resamples."""
        still, told = constant(self.answers, self.y[:, None])
        moving = self.y[:, ~still]
        with np.errstate(invalid="ignore", divide="ignore"):
            own = estimator(self.x, moving)
            again: dict[str, list[Floats]] = {kind: [] for kind in own}
            for rows in estimators.picks(len(self.x), resamples, chance(self.seed)).T:
                for kind, found in estimator(self.x[rows], moving[rows]).items():
                    again[kind].append(found)
        kinds = {}
        for kind, found in own.items():
            stacked = np.stack(again[kind])
            value = 2.0 * found - stacked.mean(axis=0) if unbias else found
            kinds[kind] = self._widened(value, still), self._widened(estimators.spread(stacked), still)
        more = {kind: self._widened(found, still) for kind, found in (extra(own) if extra else {}).items()}
        every = (*self.lost, *told, *notes)
        report = Report(method, main, self.answers, still, self.samples, self.seed, self.settings, every)
        return report.indices(self.names, kinds, more)

    def idle_delta(self) -> str:
        """Say what delta reads for a random parameter, on the first column that varies."""
        still, _ = constant(self.answers, self.y[:, None])
        if still.all():
            return "no output varies"
        y, random = self.y[:, ~still][:, :1], chance(self.seed)
        x = random.random((len(y), 4))
        again = [estimators.delta(x[rows], y[rows]) for rows in estimators.picks(len(y), 4, random).T]
        reads = float((2.0 * estimators.delta(x, y) - np.mean(again, axis=0)).mean())
        return f"a parameter without influence reads about {max(reads, 0.0):.2g} in a sample of this size"

    @staticmethod
    def _widened(found: Floats, still: npt.NDArray[np.bool_]) -> Floats:
        whole = np.full((len(found), len(still)), np.nan)
        whole[:, ~still] = found
        return whole


def checked(settings: Settings) -> Settings:
    """Give settings back once they are known to be right."""
    check_settings(settings)
    return settings


def at_least(samples: int, least: int) -> int:
    """Give samples back, or refuse too few."""
    if samples < least:
        raise ScenarioError(f"{samples} samples are too few; take at least {least}")
    return samples


def chance(seed: int) -> np.random.Generator:
    """Chance of the resamples, apart from that of the design."""
    return np.random.default_rng([seed, 1])


def drawn(space: Space, unit: Floats, seed: int, method: str, tail: float | None = None) -> Draws:
    """Draws of a space at the points of a design in the unit box."""
    values = space.from_unit(unit) if tail is None else space.from_unit(unit, tail=tail)
    values.setflags(write=False)
    return Draws(space.names, values, seed, method)


def constant(
    answers: Answers, values: Floats, so: str = "no index is defined"
) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    """Which columns do not vary beyond rounding, and a note that says so.

    Parameters
    ----------
    answers
    values : shape (n_blocks, size, n_columns)

    Returns
    -------
    still : shape (n_columns,)
    notes
    """
    high, low = values.max(axis=(0, 1)), values.min(axis=(0, 1))
    still = high - low <= 1e-12 * np.maximum(np.abs(high), np.abs(low))
    if not still.any():
        return still, ()
    table = still.reshape(len(answers.times), len(answers.outputs))
    found: dict[str, list[str]] = {}
    for column, name in enumerate(answers.outputs):
        if table[:, column].any():
            when = (
                ""
                if table[:, column].all()
                else f" at {_listed([f'{at:g}' for at in answers.times[table[:, column]]])}"
            )
            found.setdefault(when, []).append(f"'{name}'")
    notes = []
    for when, names in found.items():
        verb = "does" if len(names) == 1 else "do"
        notes.append(f"{_listed(names)} {verb} not vary{when}, whatever the parameters: {so} there")
    return still, tuple(notes)


def _listed(words: Sequence[str]) -> str:
    """The first three of several words, and how many more there are."""
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(words[:3]) + more
