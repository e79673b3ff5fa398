"""Small words for sentences: lists, quotes, and numbers that agree with their noun."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def listed(words: Sequence[str]) -> str:
    """Join words as a sentence does.

    >>> listed(["trust"]), listed(["firms", "talent", "trust"])
    ('trust', 'firms, talent and trust')
    """
    some = list(words)
    return some[0] if len(some) == 1 else ", ".join(some[:-1]) + " and " + some[-1]


def quoted(names: Iterable[str]) -> list[str]:
    """Put each name in quotes.

    >>> quoted(["trust"])
    ["'trust'"]
    """
    return [f"'{name}'" for name in names]


def counted(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun, in the singular for one.

    >>> counted(1, "parameter"), counted(4, "parameter"), counted(2, "one is", "ones are")
    ('1 parameter', '4 parameters', '2 ones are')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def about(value: float, figures: int = 3) -> str:
    """Write a number with the figures that matter.

    >>> about(152345.0), about(0.12345), about(7.0), about(8.54, 2), about(-1500.0)
    ('152,000', '0.123', '7', '8.5', '−1,500')
    """
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    rounded = round(value, figures - 1 - int(np.floor(np.log10(abs(value)))))
    text = f"{rounded:,.0f}" if abs(rounded) >= 10 ** (figures - 1) else f"{rounded:.{figures}g}"
    return text.replace("-", "−")


def cell(value: float, figures: int = 3) -> str:
    """Write a number for a table: shares with two or three figures, big numbers without idle ones, a dash for none.

    >>> cell(0.0512), cell(float("nan")), cell(float("inf")), cell(1234567.0)
    ('0.0512', '–', '∞', '1,230,000')
    """
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    return about(value, figures)


def fixed(value: float, digits: int) -> str:
    """Write a number with so many decimals, or a dash.

    >>> fixed(-0.5, 2), fixed(float("nan"), 2)
    ('−0.50', '–')
    """
    return f"{value:.{digits}f}".replace("-", "−") if np.isfinite(value) else "–"


def span_of(low: float, high: float) -> str:
    """Write the two ends of an interval.

    >>> span_of(0.05, 0.2), span_of(-1.0, 2.0)
    ('0.05 to 0.2', '−1 to 2')
    """
    return f"{cell(low)} to {cell(high)}"
