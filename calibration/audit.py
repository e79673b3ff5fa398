"""Audit of a dataset before any fit: what each series holds, what would mislead a fit, and what noise to assume.

What `audit` finds are hints from the figures alone: a jump it names may be real, and a fault it does not name may be
there. The source of the figures decides.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration import faults
from calibration.dataset import Dataset, Series
from calibration.faults import Finding
from calibration.statistics import Floats
from calibration.words import counted
from sd_cluster.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

SMALL_COUNT = 100.0
"""Median below which whole numbers are judged as counts: the scatter of a Poisson count is then 10 % or more."""

BREAK_COLUMNS = ("dataset", "region", "indicator", "first_year_after", "kind")
_NO_SHIFT = ("truncation", "source error", "volatile", "mixed", "partial")
"""Kinds of known breaks that a shift of level does not mend, by how they begin."""


@dataclass(frozen=True)
class Suggestion:
    """A noise to begin a fit with.

    Attributes
    ----------
    family
        lognormal, normal, poisson or negative binomial.
    scale
        Standard deviation around a straight line: of the logarithm for lognormal, in the unit of the series for normal
        noise; NaN for counts and for fewer than four figures. The line lets pass slow waves and bends as if
        they were noise, so this is an upper bound.
    growth
        Slope of the straight line through the logarithms, per year; NaN where figures are not all positive.
    """

    family: str
    scale: float
    growth: float


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    Attributes
    ----------
    dataset
        What was looked at.
    noise
        By indicator, in the order of the dataset.
    findings
        By series, in the order they were looked for.
    """

    dataset: Dataset
    noise: Mapping[str, Suggestion]
    findings: tuple[Finding, ...]

    @property
    def to_mind(self) -> tuple[Finding, ...]:
        """The findings that would mislead a fit."""
        return tuple(one for one in self.findings if not one.good)

    def of(self, indicator: str) -> tuple[Finding, ...]:
        """The findings of one series.

        Raises
        ------
        DataError
            If the dataset has no such indicator.
        """
        return tuple(one for one in self.findings if one.indicator == self.dataset[indicator].indicator)

    def frame(self) -> pd.DataFrame:
        """The findings as a table: indicator, kind, years (as text), sentence, good, advice."""
        import pandas as pd

        rows = [
            (one.indicator, one.kind, faults.spans(one.years) if one.years else "", one.sentence, one.good, one.advice)
            for one in self.findings
        ]
        return pd.DataFrame(rows, columns=["indicator", "kind", "years", "sentence", "good", "advice"])

    def summary(self) -> pd.DataFrame:
        """A row for each series: its unit, its span, growth per year, the suggested noise, and findings to mind."""
        import pandas as pd

        rows = [self._row(name, one) for name, one in self.dataset.series.items()]
        heads = ["indicator", "unit", "figures", "first", "last", "missing", "growth", "noise", "scale", "mind"]
        return pd.DataFrame(rows, columns=heads)

    def _row(self, name: str, one: Series) -> tuple[object, ...]:
        first, last = (int(one.years[0]), int(one.years[-1])) if len(one.years) else (None, None)
        missing = sum(len(found.years) for found in self.of(name) if found.kind == "gap")
        noise = self.noise[name]
        mind = sum(not found.good for found in self.of(name))
        return (name, one.unit, len(one.years), first, last, missing, noise.growth, noise.family, noise.scale, mind)

    def __str__(self) -> str:
        lines = [
            f"{self.dataset.region}: {counted(len(self.noise), 'series', 'series')} ({self.dataset.path.name})",
            "",
        ]
        cells = [("series", "n", "years", "growth", "noise", "mind"), *map(_cells, self.summary().to_dict("records"))]
        widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
        for row in cells:
            left = row[0].ljust(widths[0])
            lines.append(
                "  ".join([left, *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))])
            )
        lines.append("")
        lines += [f"  {told}" for told in self.sentences()]
        lines.append("noise: standard deviation about a straight line, an upper bound")
        return "\n".join(lines)

    def sentences(self) -> list[str]:
        """What to mind, and known breaks, a line each; one line where there is nothing."""
        shown = [one for one in self.findings if not one.good or one.kind in ("gap", "known break")]
        lines = [
            f"{'ok  ' if one.good else 'mind'}  {one.indicator}: {one.sentence}"
            + (f"; {one.advice}" * bool(one.advice))
            for one in shown
        ]
        return lines or ["ok    nothing to mind"]


def _cells(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    figures, growth, scale = row["figures"], row["growth"], row["scale"]
    span = f"{row['first']:.0f}-{row['last']:.0f}" if figures else "none"
    noise = row["noise"] + (f" {scale:.2g}" if np.isfinite(scale) else "")
    rate = f"{100 * growth:+.1f} %/yr" if np.isfinite(growth) else ""
    return (row["indicator"], str(figures), span, rate, noise, str(row["mind"]))


def audit(
    dataset: Dataset,
    neighbours: Mapping[str, Dataset] | Iterable[Dataset] | None = None,
    *,
    breaks: Mapping[str, Sequence[int]] | None = None,
) -> Audit:
    """Look through a dataset before a fit.

    Looked for in each series: too few figures, gaps, zeros that stand for suppressed figures, factors of 10, 100 or
    1000 between neighbours, single odd figures, jumps of level, truncated last years, figures that do not change or
    stand twice, and figures marked as unsure or as a break. With neighbours, jumps that regions make together.

    Parameters
    ----------
    dataset
        The region to look through.
    neighbours
        Other regions with some of the same indicators, as `read_datasets` gives them; the region itself may be among
        them. At least five are needed to judge a common jump.
    breaks
        First years of a new level that are known, by indicator, as `breaks_of` gives them. The suggested noise leaves
        such steps out.

    Returns
    -------
    audit
        Findings, and a suggested noise for each series.

    Examples
    --------
    >>> found = audit(cal.read_dataset("hsinchu"))
    >>> [one.sentence for one in found.of("revenue") if one.kind == "gap"]
    ['no figure for 2005, 2008-2010 and 2015']
    """
    known = breaks or {}
    others = list(neighbours.values()) if isinstance(neighbours, Mapping) else list(neighbours or ())
    findings: list[Finding] = []
    noise: dict[str, Suggestion] = {}
    earlier: list[Series] = []
    for name, one in dataset.series.items():
        noise[name] = suggest_noise(one, known.get(name, ()))
        findings += _findings(one, noise[name], earlier, _of_neighbours(dataset, others, name), known.get(name, ()))
        earlier.append(one)
    return Audit(dataset, noise, tuple(findings))


def _of_neighbours(dataset: Dataset, others: list[Dataset], name: str) -> list[Series]:
    if not others:
        return []
    of_others = [other.series[name] for other in others if other.region != dataset.region and name in other.series]
    return [dataset.series[name], *of_others]


def _findings(
    one: Series, noise: Suggestion, earlier: list[Series], everywhere: list[Series], known: Sequence[int]
) -> list[Finding]:
    if not len(one.years):
        return [Finding(one.indicator, "few", (), "has no figure at all", advice="leave it out")]
    n, first, last = len(one.years), one.years[0], one.years[-1]
    told = [Finding(one.indicator, "span", (), f"{counted(n, 'figure')}, {first:.0f}-{last:.0f}", good=True)]
    if np.isfinite(noise.scale):
        scale = f"{noise.scale:.2g}" + (" on the log scale" if noise.family == "lognormal" else f" {one.unit}")
        sentence = f"{noise.family} noise of at most {scale}, computed as upper bound around a straight line"
        told.append(Finding(one.indicator, "noise", (), sentence, good=True))
    common = faults.common_jumps(one.indicator, [faults.steps_of(other) for other in everywhere], float(last))
    common = [found for found in common if found.years[0] not in known and first < found.years[0] <= last]
    shared = [year for found in common for year in found.years]
    alone = (faults.few, faults.gaps, faults.zeros, faults.constant, faults.statuses)
    told += [found for look in alone for found in look(one)]
    told += [*faults.known_breaks(one, known), *faults.breaks(one, [*known, *shared]), *common]
    return [*told, *faults.duplicates(one, earlier)]


def suggest_noise(series: Series, breaks: Sequence[int] = ()) -> Suggestion:
    """Suggest a noise from the scatter of a series around a straight line, with a step in each year of `breaks`.

    Small whole numbers are counts (Poisson, or negative binomial where they scatter more than twice as much as that);
    shares, and series with zeros or negative figures, get normal noise; the rest is lognormal.
    """
    years, values = series.years, series.values
    if faults.is_count(series) and len(values) and float(np.median(values)) < SMALL_COUNT:
        return Suggestion("poisson" if _dispersion(years, values) <= 2.0 else "negative binomial", np.nan, np.nan)
    positive = bool(len(values)) and bool((values > 0).all())
    scale, growth = _around_line(years, np.log(values), breaks) if positive else (np.nan, np.nan)
    if positive and not faults.is_share(series.unit):
        return Suggestion("lognormal", scale, growth)
    return Suggestion("normal", _around_line(years, values, breaks)[0], growth)


def _around_line(years: Floats, values: Floats, breaks: Sequence[int] = ()) -> tuple[float, float]:
    """Standard deviation around the least-squares line, and its slope; NaN where figures are too few for it."""
    steps = [years >= year for year in breaks if years[:1].sum() < year <= years[-1:].sum()]
    columns = np.column_stack([np.ones(len(years)), years - years.mean() if len(years) else years, *steps])
    spare = len(values) - columns.shape[1]
    if len(values) < 4 or spare < 2:
        return np.nan, np.nan
    line, *_ = np.linalg.lstsq(columns, values, rcond=None)
    return float(np.sqrt(np.sum((values - columns @ line) ** 2) / spare)), float(line[1])


def _dispersion(years: Floats, values: Floats) -> float:
    """Mean of squared residuals over expected counts, around a line through the logarithms; 1 for a Poisson count."""
    if len(values) < 4:
        return 1.0
    slope, level = np.polyfit(years - years.mean(), np.log(values + 0.5), 1)
    expected = np.exp(level + slope * (years - years.mean()))
    return float(np.sum((values - expected) ** 2 / expected) / (len(values) - 2))


def breaks_of(path: str | Path, dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """Known breaks of a dataset from a table of breaks: where to let the level of a series shift.

    Parameters
    ----------
    path
        A CSV file with the columns dataset (a file's name), region, indicator, first_year_after and kind; a star stands
        for all. Rows without a year, and kinds that no shift of level mends (truncation, source error), are left out.
    dataset
        The region; years outside its series are left out.

    Returns
    -------
    years
        First years of a new level, by indicator, increasing.

    Raises
    ------
    DataError
        If the file cannot be read, has not these columns, or a year that is no whole number.
    """
    import pandas as pd

    place = Path(path)
    try:
        table = pd.read_csv(place, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{place} cannot be read as a table of breaks: {error}") from error
    missing = [name for name in BREAK_COLUMNS if name not in table.columns]
    if missing:
        raise DataError(f"{place.name} has no column {', '.join(missing)}; expected {', '.join(BREAK_COLUMNS)}")
    ours = table["dataset"].isin([dataset.path.name, "*", ""]) & table["region"].isin([dataset.region, "*", ""])
    lasting = ~table["kind"].str.startswith(_NO_SHIFT) & table["first_year_after"].ne("")
    found: dict[str, set[int]] = {}
    for row in table[ours & lasting].itertuples():
        try:
            year = int(str(row.first_year_after))
        except ValueError as error:
            raise DataError(f"{place.name}: first_year_after '{row.first_year_after}' is not a whole year") from error
        for name, one in dataset.series.items():
            inside = len(one.years) > 0 and one.years[0] < year <= one.years[-1]
            if inside and row.indicator in (name, "*", ""):
                found.setdefault(name, set()).add(year)
    return {name: tuple(sorted(years)) for name, years in found.items()}
