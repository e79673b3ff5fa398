"""What a validation found, in plain sentences: where the model wins, where it loses and by how much, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from calibration.words import counted, listed

if TYPE_CHECKING:
    from calibration.skill import Held

CLOSE = 0.05
"""Errors within this share of one another are about the same."""
FEW = 8
"""Figures held out from which the share inside a band is judged."""


def overall(some: Sequence[Held]) -> str:
    """How often the model beats each naive forecast, and how their scores compare."""
    text = (
        f"On {counted(sum(len(one.years) for one in some), 'figure')} it had not seen, in "
        f"{counted(len(some), 'series', 'series')}, the model errs less than "
    )
    methods = dict.fromkeys(one.method for held in some for one in held.scores[1:] if not one.refused)
    if not methods:
        return text + "nothing: no naive forecast can be had."
    wins, scored = [], []
    for method in methods:
        pairs = [(held.model, one) for held in some for one in held.rivals if one.method == method]
        won = sum(model.error < one.error for model, one in pairs)
        wins.append(f"{method} in {won} of {len(pairs)}")
        ratios = np.array([model.crps / one.crps for model, one in pairs if one.crps > 0.0])
        if ratios.size and (ratios > 0.0).all():
            scored.append(f"{np.exp(np.mean(np.log(ratios))):.2f} of {method}")
    text += listed(wins)
    if scored:
        text += f"; with its bands (CRPS, geometric mean, below 1 is better) it scores {listed(scored)}"
    return text + "."


def series_sentences(held: Held, last: float | None) -> list[str]:
    """What came out for one series."""
    made = [_errors(held), _bands(held)]
    if held.rivals and held.model.error > (1.0 + CLOSE) * held.rivals[0].error:
        made.append(_why(held, last))
    if held.breaks:
        years = listed([f"{year:g}" for year in held.breaks])
        made.append(
            f"'{held.indicator}' breaks in {years}, by an amount no figure before tells; later figures err by that too."
        )
    return [f"{held.region}: {one}" for one in made]


def _errors(held: Held) -> str:
    """The model's error beside those of the naive forecasts."""
    model = held.model
    span = f"{held.years[0]:.0f}" if len(held.years) == 1 else f"{held.years[0]:.0f}-{held.years[-1]:.0f}"
    text = f"'{held.indicator}' {span} ({counted(len(held.years), 'figure')}): "
    text += f"the model is off by {_size(held, model.error)}"
    lose: list[str] = []
    even: list[str] = []
    win: list[str] = []
    worst = 0.0
    for one in held.rivals:
        ratio = model.error / one.error if one.error > 0.0 else np.inf
        group = lose if ratio > 1.0 + CLOSE else win if ratio < 1.0 - CLOSE else even
        group.append(f"{one.method} ({_size(held, one.error)})")
        worst = max(worst, ratio)
    if lose:
        by = "a factor of" if len(lose) == 1 else "factors of up to"
        text += f"; it LOSES to {listed(lose)}, by {by} {worst:.2g}"
    if even:
        text += f"; it does as well as {listed(even)}"
    if win:
        text += f"; it beats {listed(win)}"
    refused = [f"{one.method} ({one.refused})" for one in held.scores[1:] if one.refused]
    if refused:
        text += f"; there is no {listed(refused)}"
    return text + "."


def _bands(held: Held) -> str:
    """How many figures the bands hold, beside how many they should."""
    count = len(held.years)
    parts = [
        f"the {100 * level:g} % band holds {inside} of {count}"
        for level, inside in zip(held.levels, held.model.inside, strict=True)
    ]
    text = f"for '{held.indicator}' {listed(parts)}"
    shares = {level: inside / count for level, inside in zip(held.levels, held.model.inside, strict=True)}
    narrow = any(share < level - 2.0 * np.sqrt(level * (1.0 - level) / count) for level, share in shares.items())
    if count < FEW:
        return text + ": too few to judge."
    if narrow:
        return text + ": the bands are too narrow, the model is too sure of itself."
    least = min(shares)
    if shares[least] == 1.0 and least**count < 0.05:
        return text + ": none is missed, so the bands are rather wide (years in a row go together, so this is no test)."
    return text + ": about as many as promised (years in a row go together, so this is no proof)."


def _why(held: Held, last: float | None) -> str:
    """Where the error of a forecast that loses comes from."""
    point, split = held.forecast.point, held.theil
    off = held.forecast.point - held.observed
    parts = []
    if np.isfinite(split.bias):
        shares = {"bias": split.bias, "unequal variation": split.variation, "scatter": split.covariation}
        most = max(shares, key=lambda one: shares[one])
        side = "above" if off.mean() > 0.0 else "below"
        size = 100.0 * float(np.mean(off) / np.mean(np.abs(held.observed)))
        told = {
            "bias": f"a forecast {side} the figures ({size:+.0f} % on average)",
            "unequal variation": "a wrong trend or amplitude",
            "scatter": "year-to-year movements it does not follow",
        }[most]
        parts.append(f"{100 * shares[most]:.0f} % of its squared error is {told}")
    if last is not None and len(held.past) and held.forecast.anchor.size:
        start = 100.0 * float(np.median(held.forecast.anchor) / held.past[-1] - 1.0) if held.past[-1] != 0.0 else 0.0
        if abs(start) >= 1.0:
            parts.append(
                f"its curve stood {abs(start):.0f} % {'above' if start > 0.0 else 'below'} the last figure known, "
                "from which naive forecasts set out"
            )
    if len(point) > 1 and len(held.past):
        went, said = held.observed[-1] / held.past[-1], point[-1] / held.past[-1]
        parts.append(
            f"by {held.years[-1]:.0f} the series stood at {went:.2f} times its last known figure, "
            f"the model at {said:.2f}"
        )
    return f"why it loses on '{held.indicator}': {'; '.join(parts)}."


def _size(held: Held, error: float) -> str:
    return f"{error:.1f} %" if np.isfinite(held.model.mape) else f"{error:.3g} {held.unit}"
