"""What a profile says, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.statistics import Floats

if TYPE_CHECKING:
    from calibration.profiles import Profile

STILL = 0.01
"""A payoff that rises by less than this share of the cut-off is flat."""
MOVES = 0.25
"""Prior spreads by which another unknown must move to be told as making up for the one."""
STRAIGHT = 0.1
"""How near a power must be to one for a product or a ratio to be told."""
MOST = 3
"""Most unknowns told."""


def told(profile: Profile) -> tuple[str, ...]:
    """The verdict; then another optimum, an interruption, and what makes up for the unknown, where there is such."""
    found = [_verdict(profile)]
    if profile.gained > 0.0:
        found.append(f"Another optimum, better by {profile.gained:.2g}, was found: fit again from it.")
    if not profile.finished:
        found.append("The profile was interrupted: it is not known on both sides.")
    along = companions(profile)
    return (*found, along) if along else tuple(found)


def _verdict(profile: Profile) -> str:
    name, level = f"'{profile.name}'", f"{100 * profile.level:g} %"
    low, high = number(profile.low), number(profile.high)
    left, right = profile.sides
    sides = set(profile.sides)
    whose = "data and priors" if profile.priors else "the data alone, within the ends of the priors"
    if "unknown" in sides:
        return f"{name} is {number(profile.value)} at the optimum."
    if sides == {"flat"}:
        first, last = (number(float(profile.values[k, profile.names.index(profile.name)])) for k in (0, -1))
        if float(profile.rises.max()) < STILL * profile.cut:
            return f"{name} is structurally flat: from {first} to {last} the fit is equally good, whatever its value."
        return f"{name} is flat to both sides, from {first} to {last}: practically non-identifiable."
    if "flat" in sides:
        bound, way = (f"at least {low}", "right") if right == "flat" else (f"at most {high}", "left")
        how = " by the priors rather than by the data" if "prior" in sides else ""
        return f"{name} is {bound}{how} ({level}), and flat to the {way}: practically non-identifiable there."
    text = f"{name} is bounded on both sides, {low} to {high} ({level}), by {whose}."
    if sides == {"prior"}:
        text = f"{name} is held to {low} to {high} ({level}) by the priors rather than by the data."
    elif "prior" in sides:
        end = "lower" if left == "prior" else "upper"
        text = (
            f"{name} lies between {low} and {high} ({level}); its {end} end is set by the priors more than by the data."
        )
    if "cliff" in sides:
        where = low if left == "cliff" else high
        text += f" Beyond {where} the payoff jumps or no run is possible: that end is the model's, not the data's."
    return text


def companions(profile: Profile) -> str:
    """Which other unknowns move within the interval, in which direction, and whether a product or ratio stays."""
    own = profile.names.index(profile.name)
    inside = profile.rises <= 1.05 * profile.cut
    if inside.sum() < 3:
        return ""
    values, places = profile.values[inside], profile.places[inside]
    moved = np.ptp(places, axis=0) / profile.scales
    moved[[own, *(profile.names.index(name) for name in profile.noise)]] = 0.0
    others = [int(k) for k in np.argsort(-moved, kind="stable") if moved[k] >= MOVES][:MOST]
    if not others:
        return "No other unknown makes up for it."
    if len(others) == 1 and profile.relative[own] and profile.relative[others[0]]:
        kept = _kept(values[:, own], values[:, others[0]])
        if kept:
            level = values[:, own] * values[:, others[0]] ** (1 if kept == "product" else -1)
            other, near = profile.names[others[0]], number(float(level.mean()))
            return f"'{other}' makes up for it: their {kept} stays near {near}."
    rows = np.argsort(values[:, own])
    ways = [_way(values[rows, k]) for k in others]
    parts = [f"'{profile.names[k]}' {way}" for k, way in zip(others, ways, strict=True)]
    joined = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"As it rises, {joined} to make up for it."


def _way(values: Floats) -> str:
    """How a quantity goes from left to right."""
    first, last = float(values[0]), float(values[-1])
    turned = np.ptp(values) > 1.5 * abs(last - first)
    if turned:
        farthest = float(values[np.argmax(np.abs(values - first))])
        return f"goes from {number(first)} by {number(farthest)} to {number(last)}"
    return f"{'rises' if last > first else 'falls'} from {number(first)} to {number(last)}"


def _kept(one: Floats, other: Floats) -> str:
    """Whether their product or ratio stays the same while both move by half or more; empty where neither does."""
    x, y = np.log(one), np.log(other)
    if np.ptp(x) < np.log(1.5):
        return ""
    power = float(np.polyfit(x, y, 1)[0])
    for kept, wanted in (("product", -1.0), ("ratio", 1.0)):
        rest = y - wanted * x
        if abs(power - wanted) <= STRAIGHT and np.ptp(rest) <= STRAIGHT * np.ptp(x):
            return kept
    return ""


def number(value: float) -> str:
    """Write a number with three figures.

    >>> number(0.12345), number(152345.0), number(-np.inf)
    ('0.123', '152,000', '-inf')
    """
    if not np.isfinite(value) or value == 0.0:
        return f"{value:g}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if 1e3 <= abs(rounded) < 1e9 else f"{rounded:g}"
