"""Rows of a table of observations, from a text file, a spreadsheet or a data frame, checked one by one."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sd_cluster.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("region", "year", "indicator", "value", "unit", "source")
"""Columns every table has; `status` and `error` may stand beside them."""

SPREADSHEETS = frozenset({".xlsx", ".xlsm"})


@dataclass(frozen=True)
class Row:
    """A checked row; `value` and `error` are None for an empty cell."""

    line: int
    region: str
    year: int
    indicator: str
    value: float | None
    unit: str
    source: str
    status: str = ""
    error: float | None = None


def rows_of_file(path: Path, content: bytes) -> Iterator[Row]:
    """Check the rows of a CSV file in UTF-8 or of the first sheet of an Excel workbook.

    Parameters
    ----------
    path
        For messages, and its ending says what the bytes are.
    content
        The bytes of the file.

    Raises
    ------
    DataError
        For a file of another kind, missing columns, or the first row that is wrong; the text names the line.
    """
    lines = _of_workbook(path, content) if path.suffix.lower() in SPREADSHEETS else _of_text(path, content)
    return _checked(path, lines)


def rows_of_frame(frame: pd.DataFrame, name: Path) -> Iterator[Row]:
    """Check the rows of a data frame; a missing value is a gap, and the first row counts as line 2, as in a file."""
    plain = frame.astype(object).where(frame.notna(), None)
    cells = ([_text(cell) for cell in row] for row in plain.itertuples(index=False, name=None))
    return _checked(name, _numbered([[str(column) for column in frame.columns], *cells]))


def _numbered(rows: Iterable[list[str]]) -> Iterator[tuple[int, list[str]]]:
    return enumerate(rows, start=1)


def _of_text(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Lines of a CSV file; the csv module knows the line each row ends on."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not a text file in UTF-8; save the table as CSV in UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    for cells in reader:
        yield reader.line_num, cells


def _of_workbook(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Rows of the first sheet of an Excel workbook; formulas give the values Excel last computed."""
    import zipfile

    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise DataError(
            f"{path.name}: reading Excel needs openpyxl; pip install 'sd-cluster[excel]', or save the sheet as CSV"
        ) from error
    try:
        workbook = load_workbook(io.BytesIO(content), data_only=True)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path.name} is not an Excel workbook; save it as .xlsx or as CSV in UTF-8") from error
    rows = [[_text(cell) for cell in row] for row in workbook.worksheets[0].iter_rows(values_only=True)]
    width = max((place + 1 for row in rows[:1] for place, cell in enumerate(row) if cell), default=0)
    return _numbered([row[:width] if not any(row[width:]) else row for row in rows])


def _text(cell: object) -> str:
    """Write a cell as a text file would hold it; whole numbers without a decimal point."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _checked(path: Path, lines: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    header = [name.strip().lower() for name in next(lines, (1, []))[1]]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise DataError(
            f"{path.name} line 1: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}, found {found}"
        )
    for line, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path.name} line {line}: {len(cells)} cells, expected {len(header)} as in the "
                "header; put texts that hold commas in double quotes"
            )
        yield _row(path, line, dict(zip(header, map(str.strip, cells), strict=True)))


def _row(path: Path, line: int, cells: Mapping[str, str]) -> Row:
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
    return Row(line, cells["region"], int(year), cells["indicator"], value, *texts, _error(where, cells))


def _error(where: str, cells: Mapping[str, str]) -> float | None:
    """Standard error of a figure, in its own unit."""
    text = cells.get("error", "")
    error = _number(text)
    if text and (error is None or not math.isfinite(error) or error <= 0):
        raise DataError(
            f"{where}: error '{text}' is not a positive number; give the standard error in the unit of the value, or "
            "leave it empty"
        )
    return error


def _number(text: str) -> float | None:
    try:
        return float(text.replace("_", "?"))  # Python reads 1_000 as a number; a table should not
    except ValueError:
        return None
