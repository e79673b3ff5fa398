"""Small words for sentences: lists, quotes, and numbers that agree with their noun."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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
