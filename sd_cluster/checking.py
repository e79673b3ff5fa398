"""What is wrong with a model file, all of it at once: what a modeller or a CI run asks before the model is used."""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sd_cluster.arrays import Whole, parted, parts_of
from sd_cluster.errors import ModelError, ReadingError, ReadingWarning, UnitsError
from sd_cluster.expressions import Lookup, Name, walk
from sd_cluster.model import CONTROLS, Model, Stock, key
from sd_cluster.reading import load
from sd_cluster.whole import WholePrinter


@dataclass(frozen=True)
class Finding:
    """One thing that was found: what kind it is, whether it is an error, and a sentence on it."""

    kind: str
    text: str
    error: bool = True


@dataclass(frozen=True)
class Checked:
    """What was found in a model file.

    Attributes
    ----------
    path
        The file.
    findings
        In the order in which they were looked for; those that are no errors are advice.
    variables
        How many variables can be computed.
    """

    path: str
    findings: tuple[Finding, ...]
    variables: int = 0

    @property
    def good(self) -> bool:
        """Whether there is no error."""
        return not any(finding.error for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.variables} variables can be computed"]
        for kind in dict.fromkeys(finding.kind for finding in self.findings):
            texts = [finding.text for finding in self.findings if finding.kind == kind]
            lines += [f"{kind} ({len(texts)}):", *(f"    {text}" for text in texts)]
        return "\n".join([*lines, "good" if self.good else "not good"])


def check(path: str | Path, *, data: str | Path | Sequence[str | Path] = ()) -> Checked:
    """Look for all that is wrong with a model file: unreadable, unsupported, circular, units, unused, undocumented.

    Parameters
    ----------
    path
        A model file, or the name of a shipped model.
    data
        Tables for data variables without an equation, as for `load`.

    Raises
    ------
    ReadingError
        If there is no such file.
    """
    shown = str(path)
    try:
        with warnings.catch_warnings(action="ignore", category=ReadingWarning):  # all of it is among the findings
            model = load(path, check_units=False, data=data)
    except ModelError as error:
        return Checked(shown, (Finding("circular", str(error)),))
    except ReadingError as error:
        if str(error).startswith(("no file", "no shipped model", f"'{path}' is not a model file")):
            raise
        return Checked(shown, (Finding("cannot be read", str(error)),))
    report = model.report()
    found = []
    if isinstance(model.whole, Whole):
        try:
            WholePrinter(model, model.whole).source()
        except ModelError as error:
            found.append(Finding("cannot be computed", str(error)))
    found += [Finding("cannot be computed", f"{name}: {reason}") for name, reason in report.unsupported.items()]
    found += [Finding("dependent on these", f"{name}: {reason}") for name, reason in report.dependent.items()]
    found += [Finding("noticed", note, error=False) for note in model.notes if "cannot be computed" not in note]
    try:
        with warnings.catch_warnings(action="ignore", category=ReadingWarning):
            whole = load(path, check_units=True, data=data)
        known = {*model.notes}
        found += [Finding("units not declared", note, error=False) for note in whole.notes if note not in known]
    except UnitsError as error:
        found += [Finding("units", clash) for clash in error.clashes]
    found += [Finding("not used", name, error=False) for name in _unused(model)]
    found += [Finding("without a note", name, error=False) for name in _without_note(model)]
    return Checked(shown, tuple(found), len(report.computed))


def _owner(name: str, arrays: Collection[str]) -> str:
    """The variable the modeller wrote, of one of its elements or inner parts."""
    return parted(name, arrays)[0].split(" #", maxsplit=1)[0]


def _unused(model: Model) -> list[str]:
    """Variables that nothing reads: neither stocks nor controls, nor what they themselves make."""
    read: set[str] = set()
    for equation in model.equations:
        for part in parts_of(equation):
            for node in walk(part):
                name = node.name if isinstance(node, Name) else node.table if isinstance(node, Lookup) else ""
                if _owner(name, model.arrays) != _owner(equation.name, model.arrays):
                    read.add(_owner(name, model.arrays))
    own = [item for item in model.equations if not item.hidden and not isinstance(item, Stock)]
    names = dict.fromkeys(
        _owner(item.name, model.arrays) for item in own if key(item.name) not in set(map(key, CONTROLS))
    )
    return [name for name in names if name not in read]


def _without_note(model: Model) -> list[str]:
    controls = set(map(key, CONTROLS))
    plain = [item for item in model.equations if not item.hidden and key(item.name) not in controls]
    return list(dict.fromkeys(_owner(item.name, model.arrays) for item in plain if not item.note))
