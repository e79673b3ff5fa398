"""Numbers that a model file leaves to other files: Excel books, and tables parted by commas or tabs.

Only cells are read: no formula is computed and no macro is run. What is missing disables the variable that needs it.
"""

import csv
import io
import itertools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from sd_cluster.errors import ModelError, ReadingError, UnsupportedError
from sd_cluster.grammar import MISSING
from sd_cluster.model import key
from sd_cluster.source import RangeDefinition
from sd_cluster.text import decoded, shorten

LARGEST = 200_000_000
"""Bytes of a file beyond which it is not read."""

MOST_BESIDE, LARGEST_BESIDE = 200, 20_000_000
"""Tables beside a model, and bytes of one of them, beyond which they are not looked at."""

Points: TypeAlias = tuple[list[float], list[float]]
_Rows: TypeAlias = list[list[Any]]

_BOOKS = {".xlsx", ".xlsm", ".xls"}
_TABLES = {".csv": ",", ".tab": "\t", ".tsv": "\t", ".txt": "\t", ".dat": "\t"}
_CELL = re.compile(r"\$?([A-Za-z]{1,3})\$?(\d{1,7})(\*?)")


class Outside:
    """What lies outside a model file; each sheet is read once.

    Parameters
    ----------
    model
        Path of the model file: other files are looked for from its folder.
    data
        Tables with the data variables that have no equation.
    files
        Other files to read instead of those that the model names, by these names.
    """

    def __init__(
        self, model: Path, data: Sequence[str | Path] = (), files: Mapping[str, str | Path] | None = None
    ) -> None:
        self.model, self.files = model, files or {}
        self._sheets: dict[tuple[str, str], _Rows] = {}
        self._books: dict[Path, Any] = {}
        self._formula_places: dict[tuple[Path, str], set[tuple[int, int]]] = {}
        self._series: dict[str, Points] = {}
        self._tables_beside: list[tuple[Path, dict[str, Points]]] | None = None
        self.notes: list[str] = []
        for file in data:
            self._series |= _table_of_series(Path(file))

    def filled(self, ranges: Sequence[RangeDefinition]) -> tuple[RangeDefinition, ...]:
        """Ranges with the elements that stand in other files.

        Raises
        ------
        ModelError
            If such a file cannot be read; the text names the range.
        """
        found = []
        for item in ranges:
            members = item.members
            if item.external:
                try:
                    members = self._subscripts(item.external)
                except UnsupportedError as error:
                    raise ModelError(f"range '{item.name}': {error}") from None
            found.append(RangeDefinition(item.name, members, item.mappings, item.copied, line=item.line))
        return tuple(found)

    def series(self, name: str, elements: Sequence[tuple[str, ...]]) -> list[Points]:
        """Times and values of a data variable that has no equation, for each of its elements.

        Raises
        ------
        UnsupportedError
            If no data was given for it.
        """
        full = [f"{name}[{','.join(element)}]" if element else name for element in elements]
        keys = [key(item) for item in full]
        missing = next((item for item, folded in zip(full, keys, strict=True) if folded not in self._series), "")
        if not missing:
            return [self._series[folded] for folded in keys]
        for path, series in self._beside() if not self._series else ():
            if all(folded in series for folded in keys):
                self.notes.append(f"'{name}' has no equation; its data are those of '{path.name}' beside the model")
                return [series[folded] for folded in keys]
        raise UnsupportedError(f"no data for '{missing}'; give a table that has it as load(..., data=...)")

    def _beside(self) -> list[tuple[Path, dict[str, Points]]]:
        """Tables in the model's folder and what they hold; those of few columns, made to be data, come first."""
        if self._tables_beside is None:
            self._tables_beside = []
            tables = (path for path in self.model.parent.iterdir() if path.suffix.lower() in _TABLES)
            for path in itertools.islice(sorted(tables), MOST_BESIDE):
                with suppress(ReadingError, OSError):
                    if path.stat().st_size <= LARGEST_BESIDE:
                        self._tables_beside.append((path, _table_of_series(path)))
            self._tables_beside.sort(key=lambda item: len(item[1]))
        return self._tables_beside

    def constants(self, texts: Sequence[str], sizes: Sequence[int], spared: Collection[int] = ()) -> list[float]:
        """Numbers of GET DIRECT CONSTANTS for an array over ranges of some sizes, the last subscript fastest.

        What is spared, by its number, is not read and stands as 0.

        Raises
        ------
        UnsupportedError
            If the file, its sheet or one of its cells cannot be read.
        """
        if len(texts) != 3:
            raise UnsupportedError(f"constants from a file take file, sheet and cell, here {len(texts)} texts")
        texts = _flat(texts)
        rows = self._sheet(texts[0], texts[1])
        row, column, turned = self._cell(texts[0], texts[2])
        wide = list(sizes) if len(sizes) <= 2 else [size for size in sizes if size > 1]
        if len(wide) > 2:
            raise UnsupportedError("constants from a file fill at most two ranges at once")
        count = (wide[0] if len(wide) == 2 else 1), (wide[-1] if wide else 1)
        places = ((row + j, column + i) if turned else (row + i, column + j) for i in range(count[0])
                  for j in range(count[1]))  # fmt: skip
        return [0.0 if k in spared else self._number(rows, place, texts) for k, place in enumerate(places)]

    def points(self, texts: Sequence[str], count: int) -> list[Points]:
        """Points of GET DIRECT DATA or LOOKUPS, for so many elements side by side.

        Raises
        ------
        UnsupportedError
            If the file or its sheet cannot be read, or holds no points there.
        """
        if len(texts) != 4:
            raise UnsupportedError(
                f"data from a file take file, sheet, row or column of times, and cell, here {len(texts)} texts"
            )
        texts = _flat(texts)
        rows = self._sheet(texts[0], texts[1])
        row, column, _ = self._cell(texts[0], texts[3])
        axis = texts[2].strip()
        found = []
        for number in range(count):
            by_cell = _CELL.fullmatch(texts[3].strip()) is not None  # else both are names, which may look like columns
            if axis.isdecimal():
                length = max((len(line) for line in rows), default=0)
                places = [((int(axis) - 1, k), (row + number, k)) for k in range(column, length)]
            elif axis.isalpha() and by_cell:
                own = _letters(axis)
                places = [((k, own), (k, column + number)) for k in range(row, len(rows))]
            else:
                places = self._named_places(texts, number)
            pairs = [(_at(rows, *x), _at(rows, *y)) for x, y in places]
            self._computed(texts, ((place, _at(rows, *place)) for pair in places for place in pair))
            known = [(_float(x), _float(y)) for x, y in pairs]
            good = sorted((x, y) for x, y in known if x is not None and y is not None)
            if not good:
                raise UnsupportedError(f"'{texts[0]}' holds no numbers from cell {texts[3]} on")
            found.append(([x for x, _ in good], [y for _, y in good]))
        return found

    def table(self, x: Sequence[float], y: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Points as a lookup has them: of several at one place the last counts."""
        kept = dict(zip(x, y, strict=True))
        return tuple(kept), tuple(kept.values())

    def _named_places(self, texts: Sequence[str], number: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Cells of points whose places are ranges of cells with names."""
        times = self._named(texts[0], texts[2])
        values = self._named(texts[0], texts[3])
        if times is None or values is None:
            raise UnsupportedError(f"'{texts[2]}' is neither a row, a column nor a name in '{texts[0]}'")
        down = times[2] > times[0]
        length = times[2] - times[0] + 1 if down else times[3] - times[1] + 1
        x = [(times[0] + k * down, times[1] + k * (not down)) for k in range(length)]
        first = (values[0] + number * (not down), values[1] + number * down)
        y = [(first[0] + k * down, first[1] + k * (not down)) for k in range(length)]
        return list(zip(x, y, strict=True))

    def _subscripts(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Elements of a range from cells in a row or a column."""
        if len(texts) not in {4, 5}:
            raise UnsupportedError(
                f"elements from a file take file, sheet, two cells and a prefix, here {len(texts)} texts"
            )
        texts = _flat(texts)
        prefix = texts[4] if len(texts) == 5 else ""
        rows = self._sheet(texts[0], texts[1])
        row, column, _ = self._cell(texts[0], texts[2])
        last = texts[3].strip()
        if last.isdecimal():
            length = max((len(line) for line in rows), default=0)
            places = [(row, k) for k in range(column, length)]
        elif last.isalpha():
            places = [(k, column) for k in range(row, len(rows))]
        else:
            low, right, _ = self._cell(texts[0], last)
            places = list(itertools.product(range(row, low + 1), range(column, right + 1)))
        names = [_at(rows, *place) for place in places]
        return tuple(f"{prefix}{_text(name)}" for name in names if name not in (None, ""))

    def _number(self, rows: _Rows, place: tuple[int, int], texts: Sequence[str]) -> float:
        """A constant in a cell; an empty one among others is a missing value."""
        value = _at(rows, *place)
        width = max((len(line) for line in rows), default=0)
        if place[0] >= len(rows) or place[1] >= width:
            raise UnsupportedError(
                f"{_where(texts, place)} lies outside the sheet, which has {len(rows)} rows and {width} columns"
            )
        self._computed(texts, [(place, value)])
        found = MISSING if value in (None, "") else _float(value)
        if found is None:
            raise UnsupportedError(f"{_where(texts, place)} holds no number but '{shorten(str(value), 40)}'")
        return found

    def _computed(self, texts: Sequence[str], cells: Iterable[tuple[tuple[int, int], Any]]) -> None:
        """Raise an `UnsupportedError` where a cell looks empty because no program has computed its formula."""
        path = self._path(texts[0])
        if path.suffix.lower() not in _BOOKS - {".xls"}:
            return
        empty = [place for place, value in cells if value is None]
        found = next((place for place in empty if place in self._formulas(path, texts[1])), None)
        if found is not None:
            raise UnsupportedError(
                f"{_where(texts, found)} holds a formula without its value; open the book in Excel, and save it"
            )

    def _formulas(self, path: Path, tab: str) -> set[tuple[int, int]]:
        """Places of a sheet at which formulas stand; read only where a cell that is needed looks empty."""
        at = (path, tab.casefold())
        if at not in self._formula_places:
            import openpyxl

            with _broken(path.name, tab):
                book = openpyxl.load_workbook(path, read_only=True, keep_links=False)
                sheet = next(sheet for sheet in book.worksheets if sheet.title.casefold() == tab.casefold())
                sheet.reset_dimensions()
                self._formula_places[at] = {
                    (row, column)
                    for row, line in enumerate(sheet.iter_rows())
                    for column, cell in enumerate(line)
                    if cell.data_type == "f"
                }
        return self._formula_places[at]

    def _cell(self, file: str, text: str) -> tuple[int, int, bool]:
        """Row, column, both counted from 0, and whether values go on downwards."""
        match = _CELL.fullmatch(text.strip())
        if match:
            if int(match.group(2)) == 0:
                raise UnsupportedError(f"'{file}' has no cell {text.strip()}; rows are counted from 1")
            return int(match.group(2)) - 1, _letters(match.group(1)), bool(match.group(3))
        named = self._named(file, text.strip().rstrip("*"))
        if named is None:
            raise UnsupportedError(f"'{text}' is neither a cell nor a name in '{file}'")
        return named[0], named[1], text.strip().endswith("*")

    def _named(self, file: str, name: str) -> tuple[int, int, int, int] | None:
        """Corners of a named range of cells, counted from 0."""
        path = self._path(file)
        if path.suffix.lower() not in _BOOKS:
            return None
        for known, written in self._names(path).items():
            if known.casefold() == name.casefold():
                cells = written.rpartition("!")[2].replace("$", "").split(":")
                first, last = _CELL.fullmatch(cells[0]), _CELL.fullmatch(cells[-1])
                if first and last:
                    return (
                        int(first.group(2)) - 1, _letters(first.group(1)),
                        int(last.group(2)) - 1, _letters(last.group(1)),
                    )  # fmt: skip
        return None

    def _path(self, file: str) -> Path:
        if file.startswith("?") and file not in self.files:
            told = f"the file '{file}' is chosen when Vensim runs; give it: sd.load(..., files={{'{file}': path}})"
            raise UnsupportedError(told)
        path = Path(self.files[file]) if file in self.files else self.model.parent / file.replace("\\", "/")
        if not path.is_file() and file not in self.files:
            path = _whatever_case(path)
        if not path.is_file() and file in self.files:
            raise UnsupportedError(f"there is no file '{path}', which files= gives for '{file}'")
        if not path.is_file():
            raise UnsupportedError(f"there is no file '{file}' beside the model")
        if path.stat().st_size > LARGEST:
            raise UnsupportedError(f"the file '{file}' has more than {LARGEST} bytes")
        return path

    def _names(self, path: Path) -> dict[str, str]:
        """Names of cells in a book, and what they stand for."""
        book = self._book(path)
        if path.suffix.lower() == ".xls":
            return {item.name: str(item.formula_text or "") for item in book.name_obj_list if item.result is not None}
        return {known: str(defined.attr_text) for known, defined in book.defined_names.items()}

    def _old_book(self, path: Path) -> Any:
        """A book in Excel's binary format, which needs a package of its own."""
        try:
            import xlrd
        except ImportError:
            raise UnsupportedError(
                f"'{path.name}' is in Excel's old format; install 'sd-cluster[xls]', or save it as .xlsx"
            ) from None
        try:
            return xlrd.open_workbook(path, logfile=io.StringIO())
        except Exception as error:  # of many kinds in a broken file
            raise UnsupportedError(f"'{path.name}' is not an Excel file ({type(error).__name__})") from None

    def _book(self, path: Path) -> Any:
        if path not in self._books and path.suffix.lower() == ".xls":
            self._books[path] = self._old_book(path)
        if path not in self._books:
            import openpyxl

            with _broken(path.name):
                self._books[path] = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        return self._books[path]

    def _sheet(self, file: str, tab: str) -> _Rows:
        """Cells of a sheet, row by row; for tables of text `tab` is what parts the columns."""
        if (file, tab) in self._sheets:
            return self._sheets[file, tab]
        path = self._path(file)
        suffix = path.suffix.lower()
        if suffix == ".xls":
            book = self._book(path)
            name = next((name for name in book.sheet_names() if name.casefold() == tab.casefold()), None)
            if name is None:
                raise UnsupportedError(f"'{file}' has no sheet '{tab}'; it has {', '.join(book.sheet_names())}")
            sheet = book.sheet_by_name(name)
            rows: _Rows = [[cell if cell != "" else None for cell in sheet.row_values(k)] for k in range(sheet.nrows)]
        elif suffix in _BOOKS:
            book = self._book(path)
            name = next((name for name in book.sheetnames if name.casefold() == tab.casefold()), None)
            if name is None:
                raise UnsupportedError(f"'{file}' has no sheet '{tab}'; it has {', '.join(book.sheetnames)}")
            sheet = book[name]
            with _broken(file, tab):
                sheet.reset_dimensions()
                rows = [list(line) for line in sheet.iter_rows(values_only=True)]
        elif suffix in _TABLES:
            parted = {"\\t": "\t", "": _TABLES[suffix]}.get(tab, tab)
            rows = _lines(path, parted if len(parted) == 1 else _TABLES[suffix])
        else:
            known = ", ".join([*sorted(_BOOKS), *_TABLES])
            raise UnsupportedError(f"'{file}' is of a kind that is not read; known: {known}")
        self._sheets[file, tab] = rows
        return rows


def _flat(texts: Sequence[str]) -> list[str]:
    """Texts of a function on one line each, as errors quote them."""
    return [text.replace("\n", " ") for text in texts]


def _where(texts: Sequence[str], place: tuple[int, int]) -> str:
    """A cell in words: its file, its sheet and its name."""
    letters, column = "", place[1] + 1
    while column > 0:
        column, letter = divmod(column - 1, 26)
        letters = chr(ord("A") + letter) + letters
    within = f" sheet '{texts[1]}'" if Path(texts[0]).suffix.lower() in _BOOKS else ""
    return f"'{texts[0]}'{within} cell {letters}{place[0] + 1}"


@contextmanager
def _broken(file: str, tab: str = "") -> Iterator[None]:
    """Make one error of the many that a broken book gives."""
    try:
        yield
    except Exception as error:  # of many kinds in a broken file
        within = f"sheet '{tab}' of '{file}' is broken" if tab else f"'{file}' is not an Excel file, or it is broken"
        raise UnsupportedError(f"{within} ({type(error).__name__}); save the book anew") from None


def _lines(path: Path, parted: str) -> _Rows:
    """Cells of a table of text; what cannot be a table is an `UnsupportedError`."""
    try:
        return [[cell.strip() for cell in line] for line in csv.reader(decoded(path).splitlines(), delimiter=parted)]
    except csv.Error as error:
        raise UnsupportedError(f"'{path.name}' is not a table parted by {parted!r}: {error}") from None


def _table_of_series(path: Path) -> dict[str, Points]:
    """Data variables of a table: one a column under its name, or one a row behind it."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise ReadingError(f"no file '{path}' with data, or it is too large")
    parted = _TABLES.get(path.suffix.lower())
    if parted is None:
        raise ReadingError(f"'{path}' is not a table of data; its name should end in one of {', '.join(_TABLES)}")
    try:
        rows = [row for row in _lines(path, parted) if any(row)]
    except UnsupportedError as error:
        raise ReadingError(str(error)) from None
    if path.suffix.lower() == ".dat" and rows and len(rows[0]) == 1:
        return _listed_series(path, rows)
    if rows and all(_float(cell) is not None for cell in rows[0][1:] if cell):
        rows = [list(column) for column in itertools.zip_longest(*rows, fillvalue="")]
    if len(rows) < 2:
        raise ReadingError(f"'{path}' holds no data: it has fewer than two lines")
    found: dict[str, Points] = {}
    for place, name in enumerate(rows[0][1:], start=1):
        pairs = [(_float(_at(rows, k, 0)), _float(_at(rows, k, place))) for k in range(1, len(rows))]
        good = sorted((x, y) for x, y in pairs if x is not None and y is not None)
        if name and good:
            found[key(name)] = [x for x, _ in good], [y for _, y in good]
    return found


def _listed_series(path: Path, rows: _Rows) -> dict[str, Points]:
    """Series as Vensim lists them in a .dat file: a name alone on a line, then a time and a value a line."""
    found: dict[str, list[tuple[float, float]]] = {}
    name = ""
    for row in rows:
        pair = [_float(cell) for cell in row[:2]]
        if len(row) == 1:
            name = row[0]
        elif name and pair[0] is not None and pair[1] is not None:
            found.setdefault(name, []).append((pair[0], pair[1]))
        else:
            raise ReadingError(
                f"'{path}': '{shorten(' '.join(map(str, row)), 40)}' is neither a name alone nor a time and a value"
            )
    return {key(name): ([x for x, _ in sorted(pairs)], [y for _, y in sorted(pairs)]) for name, pairs in found.items()}


def _at(rows: _Rows, row: int, column: int) -> Any:
    return rows[row][column] if 0 <= row < len(rows) and 0 <= column < len(rows[row]) else None


def _whatever_case(path: Path) -> Path:
    """The file of a name in which capitals do not count, as where Vensim runs; the path itself where there is none."""
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    return next((other for other in sorted(beside) if other.name.casefold() == path.name.casefold()), path)


def _letters(text: str) -> int:
    """Number of a column, counted from 0: `A` is 0, `AA` is 26."""
    number = 0
    for letter in text.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _float(value: Any) -> float | None:
    """A cell as a number, if it is one."""
    if value is None or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _text(value: Any) -> str:
    """A cell as the name of an element: whole numbers without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
