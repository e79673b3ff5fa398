"""Text of a model file, decoded, and lines cut to what a person reads at a glance."""

import codecs
from collections.abc import Sequence
from pathlib import Path


def decoded(path: Path) -> str:
    """Text of a file in UTF-8, in UTF-16 with a mark, or else in the Western European letters of older Vensims."""
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(lines[0] if lines else type(error).__name__)


def some(items: Sequence[str]) -> str:
    """The first five of some things, and whether there are others."""
    return ", ".join(items[:5]) + (" and others" if len(items) > 5 else "")


def shorten(text: str, length: int = 160) -> str:
    """A text cut to a length a person reads at a glance."""
    return text if len(text) <= length else text[: length - 1] + "…"
