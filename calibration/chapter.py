"""Chapters: what a stage of a study has to say, as plain blocks that a report shows and a file keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from sd_cluster.errors import FitError
from sd_cluster.files import write_beside

FORMAT = "sd_cluster chapter, version 1"


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of running text."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A heading within a chapter."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """A table: heads as (text, "left", "left keep" or "right"), and rows of cells."""

    heads: tuple[tuple[str, str], ...]
    body: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure by its name in the folder of figures."""

    name: str
    caption: str


@dataclass(frozen=True)
class Code:
    """Text to be shown as it is, line by line."""

    text: str


Block: TypeAlias = Paragraph | Heading | Bullets | Rows | Drawing | Code
_KINDS: dict[str, type[Block]] = {
    kind.__name__.lower(): kind for kind in (Paragraph, Heading, Bullets, Rows, Drawing, Code)
}


@dataclass(frozen=True)
class Chapter:
    """What one stage found.

    Attributes
    ----------
    key, title
        Of the stage.
    blocks
        What it says, in reading order.
    numbers
        What later stages and the summary take from it: numbers, texts, lists and mappings.
    digest
        Of all that it depends on: a chapter of another digest is out of date.
    seconds
        That it took; of no account for what it says.
    """

    key: str
    title: str
    blocks: tuple[Block, ...]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    seconds: float = 0.0

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """Its figures, in reading order."""
        return tuple(block for block in self.blocks if isinstance(block, Drawing))


def rows_of(heads: Sequence[tuple[str, str]], body: Sequence[Sequence[object]], caption: str = "") -> Rows:
    """Make a table of cells of any kind."""
    return Rows(tuple(heads), tuple(tuple(str(cell) for cell in row) for row in body), caption)


def save_chapter(chapter: Chapter, path: Path) -> Path:
    """Write a chapter as JSON, whole or not at all; NaN and infinities are written as null."""
    blocks = [{"kind": type(block).__name__.lower(), **asdict(block)} for block in chapter.blocks]
    content = {"format": FORMAT, **vars(chapter), "blocks": blocks}
    text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
    return write_beside(path, lambda beside: _write(beside, text + "\n"))


def load_chapter(path: Path) -> Chapter:
    """Read what `save_chapter` wrote.

    Raises
    ------
    FitError
        If the file is no chapter of this version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError(f"expected '{FORMAT}'")
        blocks = tuple(_KINDS[block.pop("kind")](**_tuples(block)) for block in content.pop("blocks"))
        return Chapter(blocks=blocks, **content)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise FitError(
            f"{path} is not a chapter of this version ({error}); remove it, and its stage is done again"
        ) from None


def as_read(chapter: Chapter, path: Path) -> Chapter:
    """Write a chapter and read it back, so that a study in one go and a resumed one go on from the same numbers."""
    return load_chapter(save_chapter(chapter, path))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _tuples(value: Any) -> Any:
    """Lists of a JSON file as tuples, all the way down, within the fields of a block."""
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """Numbers of NumPy, tuples and mappings as what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
