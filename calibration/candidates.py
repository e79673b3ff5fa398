"""Figures that could be had, and what they would say: further years, filled gaps, variables not measured so far."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.dataset import Dataset, Series
from calibration.faults import spans
from calibration.landscape import value_slopes
from calibration.measurement import Gauge, Level, Measurement, Shift
from calibration.noise import LogNormal, Noise
from calibration.statistics import Floats
from calibration.words import listed
from sd_cluster.errors import FitError, near
from sd_cluster.look import unit_label

if TYPE_CHECKING:
    from calibration.likelihood import Likelihood


@dataclass(frozen=True)
class Further:
    """Figures that could be had.

    Attributes
    ----------
    what
        An indicator that is measured; or the name of a model variable that is not, or a gauge of such.
    years
        In which years.
    noise
        A noise model, or a number for log-normal noise of that scale (0.05 is about 5 %). A measured indicator has its
        own noise where none is given; one that is given is known, and an unknown factor of such figures is taken as
        another than that of the present ones.
    region
        Of which region, where there are several.
    label
        What to call it; made from the rest where empty.
    """

    what: str | Gauge
    years: Sequence[float]
    noise: Noise | float | None = None
    region: str | None = None
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "years", tuple(sorted({float(year) for year in self.years})))
        if not self.years or not np.isfinite(self.years).all():
            raise FitError(f"figures of {self.what!r} are asked for in the years {self.years}; expected at least one")
        if isinstance(self.noise, int | float) and not isinstance(self.noise, bool):
            object.__setattr__(self, "noise", LogNormal(scale=float(self.noise)))

    @property
    def name(self) -> str:
        """Of the indicator or variable."""
        return self.what if isinstance(self.what, str) else self.what.variable

    def __str__(self) -> str:
        if self.label:
            return self.label
        at = f" at {100 * self.noise.scale:.2g} %" if isinstance(self.noise, LogNormal) and self.noise.scale else ""
        where = f" of {self.region}" if self.region else ""
        index = " (an index)" if not isinstance(self.what, str) and self.what.scale else ""
        return f"'{self.name}'{index}{where} {_when(self.years)}{at}"


def _when(years: Sequence[float]) -> str:
    """Tell years.

    >>> _when([2026, 2027, 2028]), _when([2026, 2028, 2030]), _when([2026]), _when([2001, 2002, 2007])
    ('each year 2026-2028', 'every 2 years 2026-2030', 'in 2026', 'in 2001-2002 and 2007')
    """
    gaps = np.unique(np.diff(years))
    if len(years) > 2 and len(gaps) == 1:
        every = "each year" if gaps[0] == 1 else f"every {gaps[0]:g} years"
        return f"{every} {years[0]:g}-{years[-1]:g}"
    whole = all(float(year).is_integer() for year in years)
    return f"in {spans([int(year) for year in years]) if whole else listed([f'{year:g}' for year in years])}"


def usual_candidates(
    objective: Any, *, ahead: int = 5, unmeasured: Sequence[str] | None = None, noise: float = 0.1
) -> tuple[Further, ...]:
    """What one would think of first, for every region.

    The next years of each series, the years missing within it (both with the noise it has), and each variable not
    measured so far in every second year of the record: by an index of unknown scale, unless it is a pure number.

    Parameters
    ----------
    objective
        An `Objective`.
    ahead
        Next years of each series.
    unmeasured
        Model variables; by default the model's own stocks that no gauge reads.
    noise
        Relative noise of these.
    """
    found = []
    for one in objective.likelihoods:
        region = one.region if len(objective.likelihoods) > 1 else None
        last = max(float(series.years.max()) for series in one.series.values())
        first = min(float(series.years.min()) for series in one.series.values())
        for name, series in one.series.items():
            found.append(Further(name, (last + 1.0 + np.arange(ahead)).tolist(), region=region))
            missing = sorted(set(np.arange(series.years.min(), series.years.max())) - set(series.years.tolist()))
            if missing:
                found.append(Further(name, missing, region=region))
        read = {one.model.variable(name).name for name in one.measurement.variables}
        stocks = [name for name in one.model.stocks if name not in read]
        times = np.arange(first, last + 1.0, 2.0).tolist()
        for name in stocks if unmeasured is None else unmeasured:
            gauge = Level(name, scale=unit_label(one.model.variable(name).units) != "dimensionless")
            found.append(Further(gauge, times, noise, region))
    return tuple(found)


def gains_of(objective: Any, place: Floats, candidates: Sequence[Further]) -> list[Floats]:
    """Information that each candidate would add, in prior spreads, shape (n_unknowns, n_unknowns) each.

    All candidates of a region are read off one run of the model.

    Raises
    ------
    FitError
        If the region or the indicator is not there, a variable that is not measured comes without noise, or a year has
        a figure already.
    ModelError, DataError
        If the model has no such variable, or a year lies before the run.
    """
    found: list[Floats] = [np.empty(0)] * len(candidates)
    owners = [_of_region(objective, one) for one in candidates]
    present = shares_of(objective, place)
    for likelihood in objective.likelihoods:
        mine = {
            f"{one.name} #{k}": _Wanted(one, likelihood) for k, one in enumerate(candidates) if owners[k] is likelihood
        }
        for key, information in _read(objective, place, likelihood, mine).items():
            wanted = mine[key]
            before = present[likelihood.region, wanted.name] if wanted.joins else 0.0
            found[int(key.rpartition("#")[2])] = information - before
    return found


def shares_of(objective: Any, place: Floats) -> dict[tuple[str, str], Floats]:
    """Information that each present series brings, in prior spreads: region and indicator -> its matrix."""
    return {
        (one.region, name): information
        for one in objective.likelihoods
        for name, information in _informations(objective, place, one).items()
    }


class _Wanted:
    """A candidate beside the likelihood of its region."""

    def __init__(self, further: Further, likelihood: Likelihood) -> None:
        self.name, self.years = further.name, np.array(further.years, dtype=float)
        measured = isinstance(further.what, str) and self.name in likelihood.series
        self.joins = measured and further.noise is None
        if further.noise is None and not measured:
            raise FitError(f"{further}: it is not measured so far, so say how noisy it would be, such as noise=0.1")
        taken = set(further.years) & set(likelihood.series[self.name].years.tolist()) if measured else set()
        if taken:
            raise FitError(f"'{self.name}' has a figure of {min(taken):g} already; ask for years without one")
        self.noise = likelihood.noise[self.name] if further.noise is None else further.noise
        self.gauge: Gauge = Level(further.what) if isinstance(further.what, str) else further.what
        self.shifts: Sequence[Shift] = ()
        self.present: Series | None = None
        if measured:
            self.gauge = likelihood.measurement.gauges[self.name]
            self.shifts = likelihood.measurement.shifts.get(self.name, ())
        if self.joins:
            self.present = likelihood.series[self.name]

    def series(self, figures: Floats | None = None) -> Series:
        """Present figures, if it joins them, and further ones; stand-ins where these are not known yet."""
        size, old = self.years.size, self.present
        if figures is None:
            figures = np.resize(old.values if old is not None else 1.0 + np.arange(size), size)
        elif not getattr(self.noise, "fractional", True):
            figures = np.round(figures)
        blank = ("",) * (size + (0 if old is None else old.years.size))
        if old is None:
            return Series(self.name, "", self.years, figures, blank, blank, tuple(range(size)))
        order = np.argsort(np.concatenate([old.years, self.years]), kind="stable")
        errors = None if old.errors is None else np.concatenate([old.errors, np.full(size, np.nan)])[order]
        return Series(
            self.name, old.unit, np.concatenate([old.years, self.years])[order],
            np.concatenate([old.values, figures])[order], blank, blank, tuple(range(len(blank))), (), errors,
        )  # fmt: skip


def _of_region(objective: Any, further: Further) -> Likelihood:
    found: dict[str, Likelihood] = {one.region: one for one in objective.likelihoods}
    if further.region is None and len(found) > 1:
        raise FitError(f"{further}: there are several regions ({', '.join(found)}); say which, as in region='...'")
    if further.region is not None and further.region not in found:
        raise FitError(f"{further}: there is no region '{further.region}'{near(further.region, found)}")
    return found[further.region] if further.region is not None else next(iter(found.values()))


def _read(objective: Any, place: Floats, one: Likelihood, wanted: Mapping[str, _Wanted]) -> dict[str, Floats]:
    """Information of every candidate's series, each with the model's own predictions as its further figures."""
    if not wanted:
        return {}
    values = np.asarray(objective.values(place), dtype=float)
    own = one.outcome(values[_rows(objective, one)])
    first = _likelihood(one, wanted, {key: some.series() for key, some in wanted.items()})
    series = {}
    for key, outcome in first.outcome(values[_rows(objective, first)]).items():
        some = wanted[key]
        factor = own[some.name].judged.factor if some.joins else 1.0
        figures = factor * outcome.predicted / outcome.judged.factor
        series[key] = some.series(figures[np.isin(outcome.years, some.years)])
    return _informations(objective, place, _likelihood(one, wanted, series))


def _likelihood(one: Likelihood, wanted: Mapping[str, _Wanted], series: Mapping[str, Series]) -> Likelihood:
    """A likelihood of candidates, each a series by itself, in a run that is long enough."""
    from calibration.likelihood import Likelihood

    end = max(float(np.max(some.gauge.times(some.years))) for some in wanted.values())
    gauges = {key: some.gauge for key, some in wanted.items()}
    shifts = {key: some.shifts for key, some in wanted.items()}
    return Likelihood(
        one.model, Dataset(one.region, series, one.dataset.path, ""), Measurement(gauges, shifts), one.free,
        noise={key: some.noise for key, some in wanted.items()}, scenario=one.scenario,
        horizon=replace(one.horizon, end=max(one.horizon.end, end)), step=one.step, region=one.region,
    )  # fmt: skip


def _rows(objective: Any, one: Likelihood) -> list[int]:
    """Where the unknowns of a likelihood stand among those of the objective; candidates share those of their series."""
    names = list(objective.names)
    rows = []
    for name in (re.sub(r" #\d+", "", name) for name in one.names):
        full = f"{name} [{one.region}]"
        if full not in names and name not in names:
            raise FitError(f"further figures would bring the unknown '{name}'; give them a noise without unknowns")
        rows.append(names.index(full if full in names else name))
    return rows


def _informations(objective: Any, place: Floats, one: Likelihood) -> dict[str, Floats]:
    """Information of each series of a likelihood about the places of an objective, in prior spreads."""
    rows = _rows(objective, one)
    slopes = value_slopes(objective, place)[rows]
    inner = one.informations(np.asarray(objective.values(place), dtype=float)[rows])
    return {name: np.asarray(slopes.T @ information @ slopes) for name, information in inner.items()}
