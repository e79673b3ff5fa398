"""Faults a published series can have, found from its figures alone: one function for each kind.

Jumps are judged by the robust z of a log difference: its distance from the median difference, over 1.4826 times the
median absolute deviation (Rousseeuw and Croux 1993, doi:10.1080/01621459.1993.10476408). A short series deceives such
a scale, so `threshold` grows as figures get fewer; about one in a hundred clean series passes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.statistics import ENOUGH, Floats
from calibration.words import counted, listed

if TYPE_CHECKING:
    from calibration.dataset import Series

LEAST_JUMP = 0.05
"""Log difference below which a step is never called a jump: about 5 %."""
_FLOOR = 0.01
"""Least scale of log differences: smoother than this, a series would make jumps of its rounding."""
_LATE = 3
"""So many last figures may be incomplete through late reports."""
_SMALL = 5.0
"""A count below this may well be zero by chance; exp(-5) is under 1 %."""
_UNSURE = {"provisional", "estimated", "estimated by the office", "forecast", "imputed", "unreliable", "suppressed"}
_CHANGED = {"break", "definition differs"}


@dataclass(frozen=True)
class Finding:
    """One thing seen in a series.

    Attributes
    ----------
    indicator
        Of which series.
    kind
        span, noise, few, gap, zero, unit, outlier, jump, common jump, known break, truncation, constant, repeated,
        duplicate or status.
    years
        Years concerned; for a jump, the first year of the new level.
    sentence
        What was seen.
    good
        False where a fit would be misled: mind it.
    advice
        What to do, empty where nothing needs doing.
    """

    indicator: str
    kind: str
    years: tuple[int, ...]
    sentence: str
    good: bool = False
    advice: str = ""


def threshold(n: int) -> float:
    """Robust z that about one in a hundred clean series of n figures reaches with its largest step.

    From simulated series of normal scatter about a trend and of random walks, 6 to 40 figures long.

    >>> threshold(6), threshold(34)
    (19.0, 5.0)
    """
    return 4.0 + 30.0 / (n - 4)


def robust_z(steps: Floats, window: int | None = None) -> Floats:
    """Distance of each step from the median of all, or of `window` around it, in robust standard deviations."""
    centre: Floats | float = float(np.median(steps))
    if window is not None:
        half = window // 2
        near = [steps[max(0, place - half) : place + half + 1] for place in range(len(steps))]
        centre = np.array([float(np.median(some)) for some in near])
    away = steps - centre
    scale = 1.4826 * float(np.median(np.abs(away)))
    return np.asarray(away / max(scale, _FLOOR), dtype=float)


def steps_of(series: Series) -> tuple[Floats, Floats]:
    """Years and yearly log differences between neighbouring positive figures; over a gap, the mean per year."""
    use = series.values > 0
    years, logs = series.years[use], np.log(series.values[use])
    return years[1:], np.diff(logs) / np.diff(years)


def few(series: Series) -> Iterator[Finding]:
    """Fewer figures than a fit can be judged by."""
    n = len(series.years)
    if n < ENOUGH:
        yield Finding(
            series.indicator, "few", _whole(series.years), f"only {counted(n, 'figure')}",
            advice="use it beside longer series",
        )  # fmt: skip


def gaps(series: Series) -> Iterator[Finding]:
    """Years without a figure; a series of every second or third year has none."""
    years = _whole(series.years)
    usual = int(np.gcd.reduce(np.diff(years))) if len(years) > 1 else 0
    absent = sorted(set(range(years[0], years[-1], usual)) - set(years)) if usual else []
    if absent:
        wide = len(absent) > len(years) / 3 or len(absent) >= 3 * usual
        yield Finding(series.indicator, "gap", tuple(absent), f"no figure for {spans(absent)}", good=not wide)


def zeros(series: Series) -> Iterator[Finding]:
    """Zeros after a series has begun, among figures far from zero: suppressed rather than none."""
    values = series.values
    positive = np.flatnonzero(values > 0)
    found = []
    for place in np.flatnonzero(values == 0):
        near = positive[np.argsort(np.abs(positive - place), kind="stable")[:4]]
        far = np.min(values[near], initial=np.inf) > max(_SMALL * is_count(series), 0.1 * _middle(values[positive]))
        if len(near) >= 2 and positive[0] < place and far:
            found.append(int(series.years[place]))
    if found:
        yield Finding(
            series.indicator, "zero", tuple(found),
            f"is zero in {spans(found)} among figures of about {_middle(values[positive]):.4g}",
            advice="it often stands for a suppressed figure; leave the cell empty unless the source means none",
        )  # fmt: skip


def known_breaks(series: Series, known: Sequence[int]) -> Iterator[Finding]:
    """First years of a new level that are known beforehand."""
    years, steps = steps_of(series)
    for year in known:
        size = steps[years == year] - (float(np.median(steps)) if len(steps) else 0.0)
        told = f" of {_percent(size[0])}" if len(size) else ""
        yield Finding(
            series.indicator, "known break", (year,), f"a known break{told} in {year}", good=True,
            advice=f"fit it with Shift({year})",
        )  # fmt: skip


def breaks(series: Series, told: Sequence[int] = ()) -> Iterator[Finding]:
    """Steps that stand out from the others: unit mix-ups, single odd figures, truncated ends, jumps of level.

    A jump in a year of `told` is left to the finding that tells it: a known break, or one of all regions.
    """
    years, steps = steps_of(series)
    name = series.indicator
    if len(steps) < 3:
        return
    above = steps - float(np.median(steps))
    spacing = years - np.concatenate([series.years[series.values > 0][:1], years[:-1]])
    total = above * spacing
    sure = np.abs(robust_z(steps)) > threshold(len(steps) + 1) if len(steps) >= 5 else np.zeros(len(steps), bool)
    sure &= np.abs(total) > LEAST_JUMP
    tens = np.array([_power_of_ten(total, place) for place in range(len(total))])
    odd = np.flatnonzero(sure | (tens != 0))
    done: set[int] = set()
    for place in odd:
        year = int(years[place])
        if int(place) in done:
            continue
        after = place + 1
        back = bool(after in odd and abs(total[place] + total[after]) < abs(total[place]) / 2)
        if back:
            done.add(int(place) + 1)
        if tens[place]:
            yield _mixed(name, year, int(tens[place]), back=back)
        elif year in told:
            continue
        elif back:
            yield Finding(
                name, "outlier", (year,), f"the figure of {year} stands {_percent(total[place])} off its neighbours",
                advice="look at the source; leave it out, or use noise with long tails (Student's t)",
            )  # fmt: skip
        elif total[place] < 0 and place >= len(total) - _LATE and (steps[place:] < 0).all():
            yield _truncated(name, _whole(years[place:]), total[place:].sum())
            return
        else:
            yield Finding(
                name, "jump", (year,),
                f"jumps by {_percent(total[place])} beyond trend in {year}; other steps are far smaller",
                advice=f"look for a change of definition; if there is one, fit it with Shift({year})",
            )  # fmt: skip


def _mixed(name: str, year: int, power: int, *, back: bool) -> Finding:
    size = f"{10 ** abs(power):,} times {'larger' if power > 0 else 'smaller'}"
    when = f"the figure of {year} is about {size} than its neighbours" if back else f"from {year} on {size} than before"
    return Finding(name, "unit", (year,), when, advice="likely another unit or a slip of the decimal point; convert it")


def _truncated(name: str, years: Sequence[int], total: float, regions: str = "") -> Finding:
    ends = "the last figure falls" if len(years) == 1 else "the last figures fall"
    size = _percent(abs(total), sign=False)
    return Finding(
        name, "truncation", tuple(years), f"{ends} {size} below trend{regions}, {spans(years)}",
        advice="late reports often leave the newest years incomplete; drop them, and perhaps one or two before",
    )  # fmt: skip


def _power_of_ten(total: Floats, place: int) -> int:
    """Power of ten a step comes within 15 % of, where the others are small; 0 where none."""
    power = total[place] / np.log(10.0)
    others = np.delete(total, [place, *([place + 1] if place + 1 < len(total) else [])])
    calm = len(others) > 0 and float(np.median(np.abs(others))) < 0.25
    return round(power) if calm and abs(power) > 0.9 and abs(power - round(power)) < 0.07 else 0


def common_jumps(name: str, all_steps: Sequence[tuple[Floats, Floats]], last: float) -> list[Finding]:
    """Jumps that most regions make in the same year, judged by the median step of all regions.

    Parameters
    ----------
    name
        The indicator.
    all_steps
        Years and log differences of each region, from `steps_of`.
    last
        Last year of the region in question: a common fall that ends there is a truncation.
    """
    by_year: dict[float, list[float]] = {}
    for years, steps in all_steps:
        for year, step in zip(years.tolist(), steps.tolist(), strict=True):
            by_year.setdefault(year, []).append(step)
    most = max(map(len, by_year.values()), default=0)
    years = np.array(sorted(year for year, some in by_year.items() if len(some) >= max(5, most / 2)))
    if len(years) < 5:
        return []
    medians = np.array([float(np.median(by_year[year])) for year in years])
    usual = float(np.median(medians))
    found = []
    for year, middle, z in zip(years, medians, robust_z(medians, 7), strict=True):
        some = np.array(by_year[year])
        agree = float(np.mean((some - usual) * np.sign(middle - usual) > 0))
        if abs(z) < threshold(len(years) + 1) or abs(middle - usual) < LEAST_JUMP or agree < 0.75:
            continue
        told = f" in {round(agree * len(some))} of {len(some)} regions"
        if middle < 0 and year == years[-1] == last:
            found.append(_truncated(name, [int(year)], middle - usual, told))
            continue
        found.append(Finding(
            name, "common jump", (int(year),),
            f"jumps in {year:.0f} by {_percent(middle)} (median), against {_percent(usual)} in other years,{told}",
            advice=f"a change of definition or a shock to all; for a definition, fit it with Shift({year:.0f})",
        ))  # fmt: skip
    return found


def constant(series: Series) -> Iterator[Finding]:
    """A series, or three neighbouring figures that are no small counts, without any change."""
    values = series.values
    if len(values) > 1 and np.ptp(values) == 0:
        yield Finding(
            series.indicator, "constant", _whole(series.years), f"is {values[0]:g} in every year",
            advice="it holds no information on change; leave it out",
        )  # fmt: skip
        return
    same = np.flatnonzero((values[2:] == values[1:-1]) & (values[1:-1] == values[:-2]) & (np.abs(values[2:]) >= 100))
    if len(same):
        years = sorted({int(series.years[place + more]) for place in same for more in (0, 1, 2)})
        yield Finding(
            series.indicator, "repeated", tuple(years), f"the same figure stands in {spans(years)}",
            advice="figures carried forward are no observations; keep the first",
        )  # fmt: skip


def duplicates(series: Series, others: Sequence[Series]) -> Iterator[Finding]:
    """A year twice, or the figures of another indicator once more."""
    years, counts = np.unique(series.years, return_counts=True)
    if (counts > 1).any():
        twice = _whole(years[counts > 1])
        yield Finding(series.indicator, "duplicate", twice, f"has two figures for {spans(twice)}", advice="keep one")
    for other in others:
        same = np.array_equal(other.years, series.years) and np.array_equal(other.values, series.values)
        if same and len(years) >= 4 and np.ptp(series.values) > 0:
            yield Finding(
                series.indicator, "duplicate", _whole(years), f"has the figures of '{other.indicator}'",
                advice="the same data twice count twice in a fit; keep one",
            )  # fmt: skip


def statuses(series: Series) -> Iterator[Finding]:
    """Figures their publisher marks as unsure, or as the first of a new definition."""
    told: dict[str, list[int]] = {}
    for year, status in zip(series.years, series.statuses, strict=True):
        for word in filter(None, (part.strip().lower() for part in status.split(","))):
            told.setdefault(word, []).append(int(year))
    for word, years in told.items():
        if word in _CHANGED:
            advice = f"fit it with {listed([f'Shift({year})' for year in years])}"
            yield Finding(
                series.indicator, "status", tuple(years), f"is marked '{word}' in {spans(years)}", False, advice
            )
        elif word in _UNSURE:
            advice = "give such figures an error, or drop them"
            yield Finding(
                series.indicator, "status", tuple(years), f"is marked '{word}' in {spans(years)}", False, advice
            )


def is_count(series: Series) -> bool:
    """Tell whether figures are whole numbers, and not of money or shares."""
    unit = series.unit.lower()
    whole = bool((series.values == np.round(series.values)).all() and (series.values >= 0).all())
    return whole and not is_share(unit) and not any(word in unit for word in ("eur", "usd", "twd", "krw", "gbp"))


def is_share(unit: str) -> bool:
    """Tell from its unit whether a figure is a share or a bounded scale."""
    return unit == "1" or any(word in unit.lower() for word in ("percent", "per cent", "%", "share", "dmnl"))


def spans(years: Sequence[int]) -> str:
    """Write years as spans.

    >>> spans([2005, 2008, 2009, 2010, 2015])
    '2005, 2008-2010 and 2015'
    """
    parts: list[list[int]] = []
    for year in sorted(years):
        if parts and year == parts[-1][-1] + 1:
            parts[-1].append(year)
        else:
            parts.append([year])
    return listed([f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts])


def _percent(step: float, *, sign: bool = True) -> str:
    """Write a log difference as a change in per cent."""
    change = 100 * float(np.expm1(step if sign else -step))
    return f"{change:+.0f} %" if sign else f"{abs(change):.0f} %"


def _whole(years: Floats) -> tuple[int, ...]:
    return tuple(int(year) for year in years)


def _middle(values: Floats) -> float:
    return float(np.median(values)) if len(values) else 0.0
