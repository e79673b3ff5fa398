"""Regions of a study file: whose figures, how the model is measured there, and what is set for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from calibration.dataset import Dataset, read_dataset, regions
from calibration.fit_study import RegionStudy
from calibration.likelihood_checks import kept_years
from calibration.measurement import Measurement, Shift, gauge_from
from calibration.noise import Noise, noise_from
from calibration.patterns import Judge, pattern_from
from sd_cluster.errors import near
from sd_cluster.model import Model
from sd_cluster.scenario import Scenario, apply
from sd_cluster.study_table import (
    StudyError,
    StudyTable,
    a_number,
    a_text,
    changes_from,
    checked,
    mapping,
    sequence,
    texts,
    whole,
)

_SHARED = ("data", "first", "last", "years", "run", "scenario", "measure", "shifts", "noise", "watch")
"""Keys that stand at the top for every region, and in a [[region]] for it alone."""


class RegionReader:
    """Reads the regions of a study file, each with what stands at the top and what it says itself.

    Parameters
    ----------
    top
        The whole file.
    path
        Of the file: tables lie beside it.
    model
        What measures must name.
    """

    def __init__(self, top: StudyTable, path: Path, model: Model) -> None:
        self.top, self.path, self.model = top, path, model

    def read(self) -> tuple[RegionStudy, ...]:
        """All regions, at least one.

        Raises
        ------
        StudyError
            For the first thing that does not fit.
        """
        top = self.top
        top.known += [*_SHARED, "region", "regions"]
        codes = top.take("regions", 'codes of regions in the table, ["DE21", "DE11"]', texts, tuple[str, ...]())
        entry = top.data.get("region")
        if codes and entry is not None:
            raise StudyError(f"{top.file}: both 'region' and 'regions' stand there; keep one of them")
        if codes:
            asked: list[dict[str, Any]] = [{"region": code} for code in codes]
        elif isinstance(entry, str) or entry is None:
            asked = [{} if entry is None else {"region": entry}]
        else:
            asked = top.take("region", "a code, or tables [[region]]", _tables, [])
        found = [self._region(one, number, many=len(asked) > 1) for number, one in enumerate(asked, start=1)]
        names = [one.name for one in found]
        for name in names:
            if names.count(name) > 1:
                raise StudyError(f"{top.file}: two regions are called '{name}'; give each its own name")
        return tuple(found)

    def _region(self, entry: Mapping[str, Any], number: int, *, many: bool) -> RegionStudy:
        where = f"region {number}: " if many else ""
        merged = {key: self._merged(key, entry, where) for key in _SHARED if key in self.top.data or key in entry}
        given = {**entry, **merged}
        table = StudyTable(self.top.file, where, given)
        table.known += list(_SHARED)
        dataset = self._years(table, self._dataset(table))
        name = table.take("name", "a text", a_text, dataset.region)
        if many:
            table.where = f"region {name}: "
        scenario = self._scenario(table)
        measurement = self._measurement(table, dataset)
        noise = noises_of(table, measurement.gauges)
        judges = self._judges(table)
        span = self._span(table, measurement, dataset)
        table.done()
        return RegionStudy(name, dataset, measurement, noise, judges, scenario, span)

    def _merged(self, key: str, entry: Mapping[str, Any], where: str) -> Any:
        """What a region says of a key over what stands at the top: tables are joined, all else replaced."""
        shared, own = self.top.data.get(key), entry.get(key)
        if isinstance(shared, dict) and isinstance(own, dict):
            return {**shared, **own}
        return shared if own is None else own

    def _dataset(self, table: StudyTable) -> Dataset:
        table.need("data", 'data = "hsinchu", or the name of a .csv file beside this one')
        name = table.take("data", "the name of a shipped region, or of a table beside this file", a_text, "")
        first, last = (
            table.take(key, "a year, such as 2005", lambda value: whole(value, 0), None) for key in ("first", "last")
        )
        region = table.take("region", "the code of a region in the table", a_text, None)
        shipped = name in regions() or not Path(name).suffix
        source = name if shipped else self.path.parent / name
        key = f"{table.where}data" if region is None else f"{table.where}region"
        return checked(table.file, key, lambda: read_dataset(source, region=region, first=first, last=last))

    def _years(self, table: StudyTable, dataset: Dataset) -> Dataset:
        """Only some years of some series, where a table says so."""
        entries = table.take("years", "a table, [years] and a line patents = [1985, 2009]", mapping, dict[str, Any]())
        series = dict(dataset.series)
        for name, span in entries.items():
            key = f"{table.where}years.{name}"
            if name not in series:
                told = f"{dataset.path.name} has no indicator '{name}'{near(name, series)}"
                raise StudyError(f"{table.file}: '{key}': {told}")
            try:
                first, last = (a_number(year) for year in sequence(span))
            except ValueError:
                first, last = 1.0, 0.0
            if first > last:
                raise StudyError(f"{table.file}: '{key}' is {span!r}; expected the first and the last year to use")
            series[name] = kept_years(series[name], first, last)
        return replace(dataset, series=series)

    def _scenario(self, table: StudyTable) -> Scenario:
        changes = table.take("scenario", "a table of changes", mapping, dict[str, Any]())
        scenario = Scenario("base", changes_from(StudyTable(table.file, f"{table.where}scenario.", changes)))
        checked(table.file, f"{table.where}scenario", lambda: apply(self.model, scenario))
        return scenario

    def _measurement(self, table: StudyTable, dataset: Dataset) -> Measurement:
        table.need("measure", '[measure] and a line firms = "member firms"')
        expected = 'a table, [measure] and a line firms = "member firms"'
        entries = table.take("measure", expected, mapping, dict[str, Any]())
        gauges = {}
        for name, entry in entries.items():
            key = f"{table.where}measure.{name}"
            if entry is False:
                continue  # a region leaves out what stands at the top
            gauge = checked(table.file, key, partial(gauge_from, entry))
            checked(table.file, key, partial(self._named, gauge.variables))
            checked(table.file, key, partial(dataset.__getitem__, name))
            if not len(dataset[name].years):
                raise StudyError(f"{table.file}: '{key}': {dataset.path.name} has no figure of '{name}' in these years")
            gauges[name] = gauge
        given = table.take("shifts", "a table, [shifts] and a line employees = [2011]", mapping, dict[str, Any]())
        shifts = {}
        for name, some in given.items():
            key = f"{table.where}shifts.{name}"
            if name in gauges:
                shifts[name] = checked(table.file, key, partial(_shifts, table, key, some))
            elif name not in entries:
                raise StudyError(f"{table.file}: '{key}': '{name}' is not measured{near(name, gauges)}")
        return checked(table.file, f"{table.where}measure", lambda: Measurement(gauges, shifts))

    def _named(self, variables: Iterable[str]) -> None:
        """The model must have these."""
        for name in variables:
            self.model.variable(name)

    def _judges(self, table: StudyTable) -> tuple[Judge, ...]:
        entries = table.take("watch", "tables, [[watch]] with kind and variable", _tables, list[dict[str, Any]]())
        found = []
        for number, entry in enumerate(entries, start=1):
            key = f"{table.where}watch {number}"
            judge = checked(table.file, key, partial(pattern_from, entry))
            checked(table.file, key, partial(self._named, judge.variables))
            found.append(judge)
        return tuple(found)

    def _span(self, table: StudyTable, measurement: Measurement, dataset: Dataset) -> tuple[float, float]:
        """Start and end of the run: the model's own start, and the last moment a figure needs, where not given."""
        run = StudyTable(
            table.file, f"{table.where}run.", table.take("run", "a table, { start = 1980 }", mapping, dict[str, Any]())
        )
        start = run.take("start", "a year", a_number, float(self.model.horizon.start))
        years = {name: dataset[name].years for name in measurement.gauges}
        times = checked(table.file, f"{table.where}measure", lambda: measurement.times(years))
        end = run.take("end", "a year", a_number, float(times[-1]))
        if not start < end:
            raise StudyError(f"{table.file}: '{run.where}end' is {end:g}; expected a year after the start, {start:g}")
        for edge, beyond, key in ((start, times[0] < start, "start"), (end, times[-1] > end, "end")):
            if beyond:
                needed = times[0] if key == "start" else times[-1]
                side = "before" if key == "start" else "after"
                raise StudyError(
                    f"{table.file}: '{run.where}{key}' is {edge:g}, but a figure of {dataset.path.name} needs the "
                    f"model at {needed:g}, {side} it; move it, or drop figures with first and last"
                )
        return start, end


def noises_of(table: StudyTable, indicators: Iterable[str]) -> dict[str, Noise]:
    """Read `noise`: a number, a kind or a table for some of the indicators measured.

    Raises
    ------
    StudyError
        If an indicator is not measured, or a noise cannot be.
    """
    measured = list(indicators)
    entries = table.take("noise", "a table, [noise] and a line firms = 0.05", mapping, dict[str, Any]())
    found = {}
    for name, entry in entries.items():
        key = f"{table.where}noise.{name}"
        if name not in measured:
            if name in (table.data.get("measure") or {}):
                continue
            raise StudyError(f"{table.file}: '{key}': '{name}' is not measured{near(name, measured)}")
        found[name] = checked(table.file, key, partial(noise_from, entry))
    return found


def _shifts(table: StudyTable, key: str, some: Any) -> tuple[Shift, ...]:
    """Read level shifts: years, or tables of year and factor."""
    expected = "a list of years, [2011], or of tables, [{ year = 2011, factor = 1.2 }]"
    made = []
    try:
        for one in sequence(some):
            if isinstance(one, Mapping):
                inner = StudyTable(table.file, f"{key}.", one)
                inner.need("year", "year = 2011")
                year = inner.take("year", "a year", a_number, 0.0)
                factor = inner.take("factor", "a number above zero", a_number, None)
                inner.done()
                made.append(Shift(year, factor))
            else:
                made.append(Shift(a_number(one)))
    except (ValueError, TypeError):
        raise StudyError(f"{table.file}: '{key}' is {some!r}; expected {expected}") from None
    return tuple(made)


def _tables(value: Any) -> list[dict[str, Any]]:
    return [mapping(one) for one in sequence(value)]
