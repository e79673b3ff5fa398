"""Tables of a study file, taken key by key: what is missing, unknown or of another form is one clear error."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sd_cluster.errors import ScenarioError, SdClusterError, near
from sd_cluster.scenario import TimeSeries

Value = TypeVar("Value")


class StudyError(SdClusterError):
    """A study file that cannot be used; the text names file, key, what came and what was expected."""


class StudyTable:
    """One table of the file, taken key by key, so that what nobody takes is an error."""

    def __init__(self, file: str, where: str, data: Mapping[str, Any]) -> None:
        self.file, self.where, self.data = file, where, data
        self.known: list[str] = []

    def error(self, name: str, expected: str) -> StudyError:
        """Say what came and what was expected."""
        return StudyError(f"{self.file}: '{self.where}{name}' is {shown(self.data[name])}; expected {expected}")

    def take(self, name: str, expected: str, read: Callable[[Any], Value], default: Value) -> Value:
        """Read a key, or give the default; `read` raises ValueError or TypeError for what it cannot use."""
        self.known.append(name)
        if name not in self.data:
            return default
        try:
            return read(self.data[name])
        except (ValueError, TypeError):
            raise self.error(name, expected) from None

    def need(self, name: str, example: str) -> None:
        """Insist on a key."""
        if name not in self.data:
            wrong = [key for key in self.data if near(key, [name])]
            hint = f" ('{wrong[0]}' stands there)" if wrong else ""
            raise StudyError(f"{self.file}: '{self.where}{name}' is missing{hint}; write, for instance, {example}")

    def done(self) -> None:
        """Refuse keys that nobody took."""
        for name in self.data:
            if name not in self.known:
                told = ", ".join(self.known)
                raise StudyError(f"{self.file}: no key '{self.where}{name}'{near(name, self.known)}; there are: {told}")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a study file as TOML.

    Raises
    ------
    StudyError
        If it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise StudyError(f"no study file '{path}'; give the path of a .toml file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path.name} is not TOML: {error}") from None


def changes_from(table: StudyTable) -> dict[str, float | TimeSeries]:
    """Read the changes of a scenario: numbers, or series of years."""
    expected = "a number, a table of years, { 1990 = 0.2, 2010 = 0.6 }, or { years = [...], values = [...] }"
    return {name: series_from(table, name, expected) for name in table.data}


def series_from(table: StudyTable, name: str, expected: str) -> float | TimeSeries:
    """Read one change: a number, or a series of years."""
    value = table.data[name]
    try:
        if not isinstance(value, Mapping):
            return a_number(value)
        if "years" in value or "values" in value:
            inner = StudyTable(table.file, f"{table.where}{name}.", value)
            kind = inner.take("kind", "'linear' or 'previous'", one_of(("linear", "previous")), "linear")
            years = inner.take("years", "a list of numbers", numbers, tuple[float, ...]())
            values = inner.take("values", "a list of numbers", numbers, tuple[float, ...]())
            inner.done()
            return TimeSeries(years, values, "previous" if kind == "previous" else "linear")
        points = sorted((float(year), a_number(number)) for year, number in value.items())
        return TimeSeries([year for year, _ in points], [number for _, number in points])
    except (ValueError, TypeError):
        raise table.error(name, expected) from None
    except ScenarioError as error:
        raise StudyError(f"{table.file}: '{table.where}{name}': {error}") from None


def checked(file: str, key: str, work: Callable[[], Value]) -> Value:
    """Do what may find fault with the file, and name the file and the key in the fault."""
    try:
        return work()
    except StudyError:
        raise
    except SdClusterError as error:
        raise StudyError(f"{file}: '{key}': {error}") from None


def shown(value: Any) -> str:
    """Show what came, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def a_text(value: Any) -> str:
    """Take a text that is not blank; like all below, ValueError for anything else."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Take a list of texts, at least one."""
    if not isinstance(value, list) or not value:
        raise ValueError
    return tuple(a_text(one) for one in value)


def a_number(value: Any) -> float:
    """Take a number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return float(value)


def numbers(value: Any) -> tuple[float, ...]:
    """Take a list of numbers, at least one."""
    return tuple(a_number(one) for one in sequence(value))


def positive(value: Any) -> float:
    """Take a number above zero."""
    if not a_number(value) > 0:
        raise ValueError
    return float(value)


def a_share(value: Any) -> float:
    """Take a number between 0 and 1, neither of them."""
    if not 0 < a_number(value) < 1:
        raise ValueError
    return float(value)


def whole(value: Any, least: int) -> int:
    """Take a whole number, not below the least."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError
    return value


def truth(value: Any) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise ValueError
    return value


def sequence(value: Any) -> list[Any]:
    """Take a list, not empty."""
    if not isinstance(value, list) or not value:
        raise ValueError
    return value


def mapping(value: Any) -> dict[str, Any]:
    """Take a table."""
    if not isinstance(value, dict):
        raise ValueError
    return value


def pair(value: Any) -> tuple[float, float]:
    """Take two numbers, the lower one first."""
    low, high = numbers(value)
    if not low < high:
        raise ValueError
    return low, high


def one_of(choices: Sequence[str] | Mapping[str, Any]) -> Callable[[Any], str]:
    """Make a reader that takes one of these words."""

    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError
        return str(value)

    return read
