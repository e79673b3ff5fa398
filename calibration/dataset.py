"""Observed series of one region, read from a tidy table and checked row by row."""

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.statistics import Floats
from sd_cluster.errors import DataError, near

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("region", "year", "indicator", "value", "unit", "source")
_REGIONS = Path(__file__).parent / "regions"


@dataclass(frozen=True, eq=False)
class Series:
    """One indicator over the years; years without a figure are simply absent.

    Attributes
    ----------
    indicator, unit
        As written in the table; a series has one unit.
    years : shape (n,), increasing whole years
        Years that have a figure.
    values : shape (n,), in `unit`
        The figures.
    sources, statuses
        One text per figure; the status is empty where the table has no such column.
    lines
        Line of the file each figure stands on, for messages.
    skipped
        Rows left out, each as (line, reason): no value, or outside the years asked for.
    """

    indicator: str
    unit: str
    years: Floats
    values: Floats
    sources: tuple[str, ...]
    statuses: tuple[str, ...]
    lines: tuple[int, ...]
    skipped: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        self.years.setflags(write=False)
        self.values.setflags(write=False)


@dataclass(frozen=True, eq=False)
class Dataset:
    """The series of one region, and the file they came from.

    Attributes
    ----------
    region
        As written in the table.
    series
        By indicator, in the order of the table.
    path
        The file.
    digest
        SHA-256 of the file's bytes, kept with every fit.
    """

    region: str
    series: Mapping[str, Series]
    path: Path
    digest: str

    def __getitem__(self, indicator: str) -> Series:
        """The series of this indicator.

        Raises
        ------
        DataError
            If there is none; the text names the nearest one.
        """
        found = self.series.get(indicator)
        if found is None:
            known = ", ".join(self.series)
            hint = near(indicator, self.series)
            raise DataError(f"{self.path.name} has no indicator '{indicator}'{hint}; it has {known}")
        return found

    def frame(self) -> "pd.DataFrame":
        """The figures as a tidy pandas table, one row each, in the columns of the file."""
        import pandas as pd

        rows = [
            (self.region, int(year), one.indicator, value, one.unit, source)
            for one in self.series.values()
            for year, value, source in zip(one.years, one.values.tolist(), one.sources, strict=True)
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def __str__(self) -> str:
        lines = [f"{self.region}: {len(self.series)} series ({self.path.name})"]
        for one in self.series.values():
            span = f"{one.years[0]:.0f}-{one.years[-1]:.0f}" if len(one.years) else "all gaps"
            lines.append(f"  {one.indicator} ({one.unit}): {len(one.years)} figures, {span}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Row:
    """A checked row; `value` is None for an empty cell."""

    line: int
    region: str
    year: int
    indicator: str
    value: float | None
    unit: str
    source: str
    status: str


def regions() -> tuple[str, ...]:
    """Names of the shipped regions, in alphabetical order."""
    return tuple(sorted(path.stem for path in _REGIONS.glob("*.csv")))


def read_dataset(
    region_or_path: str | Path,
    *,
    region: str | None = None,
    first: int | None = None,
    last: int | None = None,
) -> Dataset:
    """Read the observed series of one region from a shipped or from your own table.

    The table is comma-separated with the columns `region, year, indicator, value, unit, source` in any
    order; a column `status` (such as "provisional") is kept, others are ignored. An empty value is
    a gap: it is left out and counted as skipped, never filled.

    Parameters
    ----------
    region_or_path
        Name of a shipped region, such as "hsinchu", or the path of a CSV file.
    region
        Which region to take, for a file that holds several.
    first, last
        First and last year to use, both included; rows outside are counted as skipped.

    Returns
    -------
    dataset
        Series in the order of the file, each sorted by year.

    Raises
    ------
    DataError
        If the file is missing or not such a table, or a row has no number for a value, no whole year,
        a second figure for the same year or a second unit; the text names file and line.

    Examples
    --------
    >>> hsinchu = read_dataset("hsinchu", last=2002)
    >>> hsinchu["firms"].years, hsinchu["firms"].values
    (array([1999., 2002.]), array([292., 335.]))
    """
    if first is not None and last is not None and first > last:
        raise DataError(f"first={first} comes after last={last}; give the earlier year as first")
    path = _find(region_or_path)
    content = _bytes_of(path)
    rows = _of_one_region(path, list(_rows(path, content)), region)
    series = {name: _series(path, some, first, last) for name, some in _by_indicator(rows).items()}
    if not any(len(one.years) for one in series.values()):
        raise DataError(f"{path.name} has no figure{_between(first, last)}; check the years or the value column")
    return Dataset(rows[0].region, series, path, hashlib.sha256(content).hexdigest())


def _find(region_or_path: str | Path) -> Path:
    if isinstance(region_or_path, str):
        if region_or_path in regions():
            return _REGIONS / f"{region_or_path}.csv"
        path = Path(region_or_path)
        looks_like_a_name = not path.suffix and path.name == region_or_path and not path.exists()
        if looks_like_a_name:
            raise DataError(
                f"no shipped region '{region_or_path}'{near(region_or_path, regions())}; "
                f"shipped are {', '.join(regions())}, or give the path of a CSV file"
            )
    path = Path(region_or_path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}; give the path of a CSV file or one of {', '.join(regions())}")
    return path


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _rows(path: Path, content: bytes) -> Iterator[_Row]:
    """Check the rows one by one; the csv module knows the line each one ends on."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not a text file in UTF-8; save the table as CSV in UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise DataError(
            f"{path.name} line 1: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}, found {found}"
        )
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path.name} line {reader.line_num}: {len(cells)} cells, expected {len(header)} as in the "
                "header; put texts that hold commas in double quotes"
            )
        yield _row(path, reader.line_num, dict(zip(header, map(str.strip, cells), strict=True)))


def _row(path: Path, line: int, cells: Mapping[str, str]) -> _Row:
    where = f"{path.name} line {line}"
    year = _number(cells["year"])
    if year is None or not math.isfinite(year) or year != int(year):
        raise DataError(f"{where}: year '{cells['year']}' is not a whole year, such as 2004")
    value = _number(cells["value"])
    if cells["value"] and value is None:
        raise DataError(
            f"{where}: value '{cells['value']}' is not a number; write it with a decimal point and without "
            "thousands separators, or leave it empty for a gap"
        )
    if value is not None and not math.isfinite(value):
        raise DataError(f"{where}: value '{cells['value']}' is not finite; leave the cell empty for a gap")
    for name in ("region", "indicator"):
        if not cells[name]:
            raise DataError(f"{where}: no {name}; every row needs one")
    texts = (cells["unit"], cells["source"], cells.get("status", ""))
    return _Row(line, cells["region"], int(year), cells["indicator"], value, *texts)


def _number(text: str) -> float | None:
    try:
        return float(text.replace("_", "?"))  # Python reads 1_000 as a number; a table should not
    except ValueError:
        return None


def _of_one_region(path: Path, rows: list[_Row], region: str | None) -> list[_Row]:
    if not rows:
        raise DataError(f"{path.name} has no rows below its header; expected one row per figure")
    known = list(dict.fromkeys(row.region for row in rows))
    if region is None:
        if len(known) > 1:
            some = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
            raise DataError(f"{path.name} holds {len(known)} regions ({some}); choose one with region='{known[0]}'")
        return rows
    if region not in known:
        raise DataError(f"{path.name} has no region '{region}'{near(region, known)}")
    return [row for row in rows if row.region == region]


def _by_indicator(rows: Iterable[_Row]) -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = {}
    for row in rows:
        found.setdefault(row.indicator, []).append(row)
    return found


def _series(path: Path, rows: list[_Row], first: int | None, last: int | None) -> Series:
    """One indicator's rows as a series by year, after checking units and duplicates."""
    head = rows[0]
    seen: dict[int, int] = {}
    for row in rows:
        if row.unit != head.unit:
            raise DataError(
                f"{path.name} line {row.line}: '{row.indicator}' is in '{row.unit}' here but in "
                f"'{head.unit}' on line {head.line}; convert it or give it a name of its own"
            )
        if row.year in seen:
            raise DataError(
                f"{path.name} line {row.line}: a second figure for '{row.indicator}' in {row.year}, after "
                f"line {seen[row.year]}; keep one of them"
            )
        seen[row.year] = row.line
    used: list[tuple[_Row, float]] = []
    skipped: list[tuple[int, str]] = []
    for row in sorted(rows, key=lambda row: row.year):
        if (first is not None and row.year < first) or (last is not None and row.year > last):
            skipped.append((row.line, f"year {row.year} is not{_between(first, last)}"))
        elif row.value is None:
            skipped.append((row.line, f"year {row.year} has no value"))
        else:
            used.append((row, row.value))
    return Series(
        indicator=head.indicator,
        unit=head.unit,
        years=np.array([row.year for row, _ in used], dtype=float),
        values=np.array([value for _, value in used], dtype=float),
        sources=tuple(row.source for row, _ in used),
        statuses=tuple(row.status for row, _ in used),
        lines=tuple(row.line for row, _ in used),
        skipped=tuple(skipped),
    )


def _between(first: int | None, last: int | None) -> str:
    if first is not None and last is not None:
        return f" from {first} to {last}"
    if first is not None:
        return f" from {first} on"
    return f" up to {last}" if last is not None else ""
