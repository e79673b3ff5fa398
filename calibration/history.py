"""What a long search or a long chain has done so far, on disk, so that it goes on where it was killed."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from calibration.statistics import Floats
from sd_cluster.errors import FitError

FORMAT = "sd_cluster history, version 1"
LONGEST = 200_000
"""Most evaluations a tape keeps: some hundred megabytes for fifty unknowns; what comes later is computed again."""


class History:
    """Append-only records by key, for one set of settings.

    One line of JSON a record, written whole and synchronised to the disk before `keep` returns: after a kill -9 or a
    power cut all records but the one being written are there, and a torn last line is dropped on reading. Floats come
    back bit for bit, since JSON takes the shortest text that reads back as the same number; NaN and infinities are
    kept as Python writes them. One process writes at a time.

    Parameters
    ----------
    folder
        Where the file lies; made where needed.
    settings
        What the records depend on. A history made with other settings is refused.
    name
        Of the file, without its suffix.

    Raises
    ------
    FitError
        If the file is no history, is damaged before its last line, or was made with other settings.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> History(folder, {"seed": 7}).keep("start 0", {"payoff": 0.1 + 0.2})
    >>> History(folder, {"seed": 7}).kept("start 0")
    {'payoff': 0.30000000000000004}
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any], *, name: str = "history") -> None:
        self.path = Path(folder) / f"{name}.jsonl"
        self.settings: dict[str, Any] = json.loads(_text(dict(settings)))
        self._records: dict[str, Any] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self._whole_lines()
        if lines:
            self._check(lines[0])
            for number, line in enumerate(lines[1:], start=2):
                self._records.update([self._read(number, line)])
        else:
            self._append({"format": FORMAT, "digest": digest(self.settings), "settings": self.settings})

    def kept(self, key: str) -> Any:
        """The record of this key, arrays as lists, or None."""
        return self._records.get(key)

    def keep(self, key: str, record: Any) -> None:
        """Write a record: numbers, texts, lists, mappings and arrays of them.

        Raises
        ------
        FitError
            If the key has a record already, or the record holds what JSON does not know.
        """
        if key in self._records:
            raise FitError(f"{self.path} keeps '{key}' already; a history is only added to")
        try:
            read_back = json.loads(_text(record))
        except (TypeError, ValueError) as error:
            raise FitError(f"'{key}' cannot be kept in {self.path.name}: {error}") from None
        self._append([key, record])
        self._records[key] = read_back

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        """Number of records."""
        return len(self._records)

    def _whole_lines(self) -> list[bytes]:
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)
        return content[:whole].splitlines()

    def _read(self, number: int, line: bytes) -> tuple[str, Any]:
        try:
            key, record = json.loads(line)
        except ValueError as error:
            raise FitError(f"{self.path} line {number} is damaged ({error}); remove the file and begin again") from None
        return str(key), record

    def _check(self, line: bytes) -> None:
        try:
            head = json.loads(line)
            known, made = head["format"] == FORMAT, dict(head["settings"])
        except (ValueError, TypeError, LookupError):
            known, made = False, {}
        if not known:
            raise FitError(f"{self.path} is no history of this version; give another folder")
        if digest(made) != digest(self.settings):
            names = sorted({*made, *self.settings})
            differ = [name for name in names if _text(made.get(name)) != _text(self.settings.get(name))]
            told = "; ".join(
                f"{name} was {_brief(made.get(name))}, now {_brief(self.settings.get(name))}" for name in differ
            )
            raise FitError(f"{self.path} was made with other settings: {told}. Give another folder, or remove this one")

    def _append(self, content: Any) -> None:
        with self.path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                file.write(_text(content).encode() + b"\n")
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, before)
                raise


class Tape:
    """Evaluations of a density in the order they came, played back where a run is repeated from its start.

    A sampler with a seed asks for the same places again when it is run again, so what it asked before it was killed
    need not be simulated twice. A place that differs from the one on the tape ends the playing: what follows is
    removed and computed anew, so the tape saves time and never changes a number.

    Parameters
    ----------
    path
        The file, of rows of 8-byte floats: place, log density, its gradient; None keeps nothing.
    judge
        Log density and gradient at a place.
    size
        Number of unknowns.
    """

    def __init__(self, path: Path | None, judge: Callable[[Floats], tuple[float, Floats]], size: int) -> None:
        self._judge, self._size, self._width = judge, size, 2 * size + 1
        self._past: Floats = np.empty((0, self._width))
        self._next = 0
        self._file = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        os.truncate(path, self._file.tell() // (8 * self._width) * 8 * self._width)
        self._past = np.fromfile(path).reshape(-1, self._width)

    def __call__(self, place: Floats) -> tuple[float, Floats]:
        """Log density and gradient at a place, from the tape as long as it goes."""
        size, number = self._size, self._next
        self._next += 1
        if number < len(self._past):
            row = self._past[number]
            if np.array_equal(row[:size], place):
                return float(row[size]), row[size + 1 :].copy()
            self._past = self._past[:number]
            if self._file is not None:
                self._file.truncate(number * 8 * self._width)
        density, gradient = self._judge(place)
        if self._file is not None and number < LONGEST:
            self._file.write(np.concatenate([place, [density], gradient]).tobytes())
        return density, gradient

    def __enter__(self) -> "Tape":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()


def digest(settings: Any) -> str:
    """SHA-256 of settings, whatever the order of their names."""
    return hashlib.sha256(_text(settings, ordered=True).encode()).hexdigest()


def _text(value: Any, *, ordered: bool = False) -> str:
    return json.dumps(value, default=_plain, sort_keys=ordered)


def _plain(value: Any) -> Any:
    """Arrays and numbers of NumPy as what JSON knows; a float goes through `repr`, which loses nothing."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is neither number, text, list, mapping nor array")


def _brief(value: Any) -> str:
    told = _text(value)
    return told if len(told) <= 40 else told[:37] + "..."
