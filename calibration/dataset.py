"""Observed series of one region, read from a tidy table and checked row by row."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.rows import COLUMNS, Row, rows_of_file, rows_of_frame
from calibration.statistics import Floats
from sd_cluster.errors import DataError, near

if TYPE_CHECKING:
    import pandas as pd

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
    errors : shape (n,), in `unit`, or None
        Standard error of each figure, NaN where none is given; None where no figure has one.
    """

    indicator: str
    unit: str
    years: Floats
    values: Floats
    sources: tuple[str, ...]
    statuses: tuple[str, ...]
    lines: tuple[int, ...]
    skipped: tuple[tuple[int, str], ...] = ()
    errors: Floats | None = None

    def __post_init__(self) -> None:
        for array in (self.years, self.values, self.errors):
            if array is not None:
                array.setflags(write=False)


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
        The file; for a data frame, the name it was given.
    digest
        SHA-256 of the file's bytes, kept with every fit; for a data frame, of its rows as CSV.
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

    def frame(self) -> pd.DataFrame:
        """The figures as a tidy pandas table, one row each, in the columns of the file.

        The columns `status` and `error` are there where a figure has one.
        """
        import pandas as pd

        rows = [
            (self.region, int(year), one.indicator, value, one.unit, *told)
            for one in self.series.values()
            for year, value, *told in zip(
                one.years, one.values.tolist(), one.sources, one.statuses, _errors_of(one), strict=True
            )
        ]
        table = pd.DataFrame(rows, columns=[*COLUMNS, "status", "error"])
        idle = [
            name
            for name, used in (("status", table["status"].ne("")), ("error", table["error"].notna()))
            if not used.any()
        ]
        return table.drop(columns=idle)

    def __str__(self) -> str:
        lines = [f"{self.region}: {len(self.series)} series ({self.path.name})"]
        for one in self.series.values():
            span = f"{one.years[0]:.0f}-{one.years[-1]:.0f}" if len(one.years) else "all gaps"
            lines.append(f"  {one.indicator} ({one.unit}): {len(one.years)} figures, {span}")
        return "\n".join(lines)


def regions() -> tuple[str, ...]:
    """Names of the shipped regions, in alphabetical order."""
    return tuple(sorted(path.stem for path in _REGIONS.glob("*.csv")))


def read_dataset(
    region_or_path: str | Path | pd.DataFrame,
    *,
    region: str | None = None,
    first: int | None = None,
    last: int | None = None,
) -> Dataset:
    """Read the observed series of one region from a shipped or from your own table.

    The table has the columns `region, year, indicator, value, unit, source` in any order; a column `status` (such as
    "provisional") and a column `error` (standard error of the figure, in its own unit) are kept, others are ignored.
    An empty value is a gap: it is left out and counted as skipped, never filled.

    Parameters
    ----------
    region_or_path
        Name of a shipped region, such as "hsinchu", or the path of a CSV file or of an Excel workbook (.xlsx, its
        first sheet), or a data frame.
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
    _check_years(first, last)
    path, rows, digest = _load(region_or_path)
    return _dataset(path, _of_one_region(path, rows, region), digest, first, last)


def dataset_from(
    frame: pd.DataFrame,
    *,
    region: str | None = None,
    first: int | None = None,
    last: int | None = None,
    name: str = "data frame",
) -> Dataset:
    """Take the observed series of one region from a pandas table with the columns that `read_dataset` wants.

    A missing value is a gap, counted as skipped. In messages the first row is line 2, as in a file.

    Parameters
    ----------
    frame
        The table; its index is ignored.
    region, first, last
        As in `read_dataset`.
    name
        What messages and reports call the table.

    Raises
    ------
    DataError
        As `read_dataset`.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"region": "p", "year": [2001, 2002], "indicator": "firms", "value": [10, 12]})
    >>> dataset_from(table.assign(unit="firms", source="survey"))["firms"].values
    array([10., 12.])
    """
    _check_years(first, last)
    path, rows, digest = _load(frame, name)
    return _dataset(path, _of_one_region(path, rows, region), digest, first, last)


def read_datasets(
    path: str | Path | pd.DataFrame, *, first: int | None = None, last: int | None = None
) -> dict[str, Dataset]:
    """Read every region of a table that holds several, by region in the order of the table.

    Regions without a figure in the years asked for are left out.

    Parameters
    ----------
    path, first, last
        As in `read_dataset`.

    Raises
    ------
    DataError
        As `read_dataset`, and if no region has a figure.
    """
    _check_years(first, last)
    name, rows, digest = _load(path)
    by_region: dict[str, list[Row]] = {}
    for row in rows:
        by_region.setdefault(row.region, []).append(row)
    inside = {
        region: some
        for region, some in by_region.items()
        if any(row.value is not None and _inside(row.year, first, last) for row in some)
    }
    if not inside:
        raise DataError(f"{name.name} has no figure{_between(first, last)}; check the years or the value column")
    return {region: _dataset(name, some, digest, first, last) for region, some in inside.items()}


def _load(source: str | Path | pd.DataFrame, name: str = "data frame") -> tuple[Path, list[Row], str]:
    """File or name of a table, its checked rows and the digest of its bytes."""
    if isinstance(source, str | Path):
        path = _find(source)
        rows, digest = _read_once(path, _bytes_of(path))
        return path, list(rows), digest
    path = Path(name)
    content = source.to_csv(index=False, lineterminator="\n").encode()
    return path, list(rows_of_frame(source, path)), hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=4)
def _read_once(path: Path, content: bytes) -> tuple[tuple[Row, ...], str]:
    """Checked rows and digest of a file: a family of regions asks for one large table again and again."""
    return tuple(rows_of_file(path, content)), hashlib.sha256(content).hexdigest()


def _check_years(first: int | None, last: int | None) -> None:
    if first is not None and last is not None and first > last:
        raise DataError(f"first={first} comes after last={last}; give the earlier year as first")


def _dataset(path: Path, rows: list[Row], digest: str, first: int | None, last: int | None) -> Dataset:
    series = {name: _series(path, some, first, last) for name, some in _by_indicator(rows).items()}
    if not any(len(one.years) for one in series.values()):
        raise DataError(f"{path.name} has no figure{_between(first, last)}; check the years or the value column")
    return Dataset(rows[0].region, series, path, digest)


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


def _of_one_region(path: Path, rows: list[Row], region: str | None) -> list[Row]:
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


def _by_indicator(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.indicator, []).append(row)
    return found


def _series(path: Path, rows: list[Row], first: int | None, last: int | None) -> Series:
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
    used: list[tuple[Row, float]] = []
    skipped: list[tuple[int, str]] = []
    for row in sorted(rows, key=lambda row: row.year):
        if not _inside(row.year, first, last):
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
        errors=_known_errors([row for row, _ in used]),
    )


def _known_errors(rows: list[Row]) -> Floats | None:
    """Standard errors of figures, NaN where a row has none; None where no row has one."""
    if all(row.error is None for row in rows):
        return None
    return np.array([math.nan if row.error is None else row.error for row in rows])


def _errors_of(one: Series) -> list[float]:
    return [math.nan] * len(one.years) if one.errors is None else one.errors.tolist()


def _inside(year: int, first: int | None, last: int | None) -> bool:
    return (first is None or year >= first) and (last is None or year <= last)


def _between(first: int | None, last: int | None) -> str:
    if first is not None and last is not None:
        return f" from {first} to {last}"
    if first is not None:
        return f" from {first} on"
    return f" up to {last}" if last is not None else ""
