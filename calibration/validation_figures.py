"""Figures of validation: forecast fans beside naive forecasts, observed against predicted, calibration, and checks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from calibration.scores import inside_shares
from calibration.statistics import Floats
from sd_cluster.errors import FitError, near
from sd_cluster.look import (
    GRID,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    blank,
    head,
    legend_above,
    look,
    sentence_case,
    tick_text,
    tidy_values,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from calibration.checks import PredictiveChecks
    from calibration.residuals import ResidualCheck
    from calibration.skill import Held
    from calibration.validation import Validation

DWARFED = 5.0
"""A band that reaches so many times higher than the largest figure is drawn on a logarithmic axis."""

_MODEL, _UNSEEN = PALETTE[0], PALETTE[1]
_NAIVE = {
    "last value": PALETTE[2], "drift": PALETTE[3], "logistic curve": PALETTE[4],
    "exponential smoothing": PALETTE[6], "typical region": PALETTE[2], "typical of its group": PALETTE[3],
    "typical growth": PALETTE[4],
}  # fmt: skip


def draw_forecast(
    validation: Validation, indicators: Sequence[str] | None = None, *, region: str | None = None
) -> Figure:
    """Draw the forecast of each series as a fan, with the figures held out and the naive forecasts.

    The dark line is the median, the bands are those of the validation's levels, noise included. Figures that were
    known are open, those held out are filled.

    Parameters
    ----------
    validation
        What `validate` gave.
    indicators
        Which series, in reading order; all when left out.
    region
        Which region, where there are several; the first when left out.

    Raises
    ------
    FitError
        If nothing was held out of such a series or region; the text names the nearest one.
    """
    chosen = _chosen(validation, indicators, region)
    columns = 1 if len(chosen) == 1 else 2
    rows = -(-len(chosen) // columns)
    with look():
        figure = blank(height=0.5 + 2.6 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, held in zip(grid.flat, chosen, strict=False):
            _draw_fan(axes, validation, held)
        for axes in list(grid.flat)[len(chosen) :]:
            axes.set_axis_off()
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=5, handlelength=1.4, columnspacing=1.6)
    return figure


def _draw_fan(axes: Axes, validation: Validation, held: Held) -> None:
    """One fan; on a logarithmic axis where the band dwarfs the figures."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    whole = next(one for one in validation.forecasts if one.region == held.region)[held.indicator]
    for number, level in enumerate(sorted(held.levels, reverse=True)):
        low, high = whole.interval(level)
        axes.fill_between(
            whole.years, low, high, color=_MODEL, alpha=0.14 + 0.14 * number, linewidth=0,
            label=f"model, {100 * level:g} %",
        )  # fmt: skip
    axes.plot(whole.years, whole.quantile(0.5, noise=False), color=_MODEL, label="model, median")
    for one in held.naive:
        if not one.refused:
            start = (held.past_years[-1:], held.past[-1:]) if len(held.past) else (np.empty(0), np.empty(0))
            axes.plot(
                np.append(start[0], one.years), np.append(start[1], one.point), color=_NAIVE[one.method],
                linewidth=1.2, linestyle=(0, (4, 1.5)), label=one.method,
            )  # fmt: skip
    axes.plot(held.past_years, held.past, "o", color=INK, mfc=PAPER, ms=3.6, mew=0.9, label="known", zorder=5)
    axes.plot(held.years, held.observed, "o", color=_UNSEEN, ms=4.0, label="held out", zorder=6)
    if validation.last is not None:
        axes.axvline(validation.last + 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (1, 1.5)))
    head(axes, sentence_case(held.indicator.replace("_", " ")), held.unit)
    tidy_values(axes, ticks=5, across=5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.set_xlim(whole.years[0] - 0.5, whole.years[-1] + 0.5)
    outer = whole.interval(max(held.levels))
    figures = np.concatenate([held.past, held.observed])
    if figures.min() > 0.0 and outer[0].min() > 0.0 and outer[1].max() > DWARFED * figures.max():
        axes.set_yscale("log")
        head(axes, None, f"{held.unit}, logarithmic")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.yaxis.set_major_formatter(FuncFormatter(tick_text))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(0.8 * min(outer[0].min(), figures.min()), 1.25 * outer[1].max())
    else:
        axes.set_ylim(*_limits(axes, held, outer))


def _limits(axes: Axes, held: Held, outer: tuple[Floats, Floats]) -> tuple[float, float]:
    """Room for the bands and the figures; a naive forecast that runs away is cut."""
    figures = np.concatenate([held.past, held.observed, *outer])
    low, high = float(figures.min()), float(figures.max())
    lines = [one.point for one in held.naive if not one.refused]
    wide = high - low
    if lines:
        low = max(min(low, *(float(np.nanmin(one)) for one in lines)), low - 0.5 * wide)
        high = min(max(high, *(float(np.nanmax(one)) for one in lines)), high + 0.5 * wide)
    ground = 0.0 if 0.0 <= low < 0.6 * high else low - 0.05 * (high - low)
    return ground, high + 0.05 * (high - low)


def draw_agreement(validation: Validation, *, region: str | None = None) -> Figure:
    """Draw observed against predicted figures, known and held out, with the largest band of each held-out one."""
    from matplotlib.ticker import MaxNLocator

    chosen = _chosen(validation, None, region)
    columns = 2 if len(chosen) == 4 else min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    with look():
        figure = blank(height=0.5 + 2.7 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, held in zip(grid.flat, chosen, strict=False):
            whole = next(one for one in validation.forecasts if one.region == held.region)[held.indicator]
            known = np.isin(whole.years, held.past_years)
            low, high = held.forecast.interval(max(held.levels))
            point = held.forecast.point
            every = np.concatenate([held.past, held.observed, whole.point[known], low, high])
            ends = np.array([every.min(), every.max()]) + 0.05 * np.ptp(every) * np.array([-1.0, 1.0])
            axes.plot(ends, ends, color=MUTED, linewidth=0.9, label="as predicted")
            axes.hlines(held.observed, low, high, color=_UNSEEN, linewidth=0.8, alpha=0.35)
            axes.plot(whole.point[known], held.past, "o", color=INK, mfc=PAPER, ms=3.6, mew=0.9, label="known")
            axes.plot(point, held.observed, "o", color=_UNSEEN, ms=3.6, label="held out")
            head(axes, textwrap.fill(sentence_case(held.indicator.replace("_", " ")), 84 // columns), "observed")
            tidy_values(axes, ticks=4, ground=False)
            axes.xaxis.set_major_locator(MaxNLocator(3))
            axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
            axes.set_xlim(*ends)
            axes.set_ylim(*ends)
            axes.set_box_aspect(1)
            axes.set_xlabel(f"predicted, {held.unit}")
        for axes in list(grid.flat)[len(chosen) :]:
            axes.set_axis_off()
        legend_above(figure, grid[0, 0])
    return figure


def draw_residuals(checks: Sequence[ResidualCheck]) -> Figure:
    """Draw residuals over the years, one column for each series, with their autocorrelation below.

    The grey bands hold 95 % of what unrelated residuals would do, pairs of figures that many years apart counted.
    """
    from matplotlib.ticker import MaxNLocator

    with look():
        figure = blank(width=max(3.6, min(7.2, 2.6 * len(checks))), height=4.1)
        grid = figure.subplots(2, len(checks), squeeze=False, height_ratios=[1.5, 1])
        reach = 1.1 * max(2.2, *(float(np.max(np.abs(one.residuals))) for one in checks))
        for (upper, lower), one in zip(grid.T, checks, strict=True):
            upper.axhspan(-1.96, 1.96, color=GRID, linewidth=0, zorder=0)
            upper.vlines(one.years, 0, one.residuals, color=MUTED, linewidth=1)
            upper.plot(one.years, one.residuals, "o", color=INK, ms=3.2)
            upper.axhline(0, color=_MODEL, linewidth=1.2)
            head(
                upper,
                textwrap.fill(sentence_case(one.indicator.replace("_", " ")), 64 // len(checks)),
                "standard deviations",
            )
            tidy_values(upper, ticks=5, across=4, ground=False)
            upper.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            upper.set_ylim(-reach, reach)
            upper.set_xlim(one.years[0] - 1, one.years[-1] + 1)
            head(lower, None, "autocorrelation")
            lower.set_ylim(-1, 1)
            if one.lags.size:
                bound = 1.96 * np.sqrt(one.pairs / (len(one.years) * (len(one.years) + 2.0)))
                wide = 0.5 * float(np.min(np.diff(one.lags, prepend=0.0)))
                lower.bar(one.lags, 2 * bound, 1.6 * wide, bottom=-bound, color=GRID, zorder=0)
                odd = np.abs(one.autocorrelation) > bound
                colours = np.where(odd, _UNSEEN, _MODEL)
                lower.bar(one.lags, one.autocorrelation, 0.7 * wide, color=colours)
                tidy_values(lower, ticks=4, ground=False)
                lower.xaxis.set_major_locator(MaxNLocator(5, integer=True))
                lower.set_xlim(0, one.lags[-1] + wide)
            else:
                lower.text(0.5, 0.8, "too few pairs of figures", transform=lower.transAxes, ha="center", color=MUTED)
                lower.set_xticks([])
            lower.axhline(0, color=MUTED, linewidth=0.8)
            lower.set_xlabel("years apart")
    return figure


def draw_calibration(places: Floats, *, bins: int = 10) -> Figure:
    """Draw where figures stand among the draws of their forecasts, and how many each band holds.

    On the left every bar would be as high as the line for an honest forecast: a hump means bands too wide, a trough
    bands too narrow, a slope a bias. On the right the bars hold the share of figures in the central band of each level;
    the steps are what was promised.

    Parameters
    ----------
    places : shape (n_figures,)
        From 0 to 1, as `Validation.places` or those of predictive checks.
    bins
    """
    levels = np.array([0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 0.95])
    shares = inside_shares(places, levels)
    bins = max(2, min(bins, len(places) // 2))
    with look():
        figure = blank(height=3.0)
        left, right = figure.subplots(1, 2)
        counts, edges = np.histogram(places, bins=bins, range=(0.0, 1.0))
        expected = len(places) / bins
        spread = 1.96 * np.sqrt(expected * (1.0 - 1.0 / bins))
        left.axhspan(max(0.0, expected - spread), expected + spread, color=GRID, linewidth=0, zorder=0)
        left.bar(edges[:-1], counts, np.diff(edges), align="edge", color=_MODEL, edgecolor=PAPER, linewidth=0.8)
        left.axhline(expected, color=_UNSEEN, linewidth=1.2)
        head(left, "Place among the draws", "figures")
        left.set_xlim(0, 1)
        left.set_ylim(0, 1.1 * max(float(counts.max()), expected + spread))
        left.set_xlabel("share of draws below the figure")
        left.yaxis.get_major_locator().set_params(integer=True)
        left.grid(axis="x", visible=False)
        at = np.arange(len(levels))
        right.bar(at, 100 * shares, 0.6, color=_MODEL, label="figures inside")
        right.hlines(100 * levels, at - 0.42, at + 0.42, color=_UNSEEN, linewidth=2.0, label="promised")
        head(right, f"Bands of {len(places)} figures", "% inside")
        right.set_xticks(at, [f"{100 * level:g}" for level in levels])
        right.set_ylim(0, 105)
        right.set_xlabel("level of the band, %")
        right.grid(axis="x", visible=False)
        right.legend(loc="upper left")
    return figure


def draw_checks(checks: PredictiveChecks, *, region: str | None = None) -> Figure:
    """Draw replicated against observed statistics: a row for each series, a column for each statistic.

    Observed values outside the middle 95 % of replicates are drawn in another colour.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    regions = list(dict.fromkeys(one.region for one in checks.checks))
    wanted = regions[0] if region is None and regions else region
    some = [one for one in checks.checks if one.region == wanted]
    if not some:
        raise FitError(f"no checks of region '{region}'{near(str(region), regions)}")
    indicators = list(dict.fromkeys(one.indicator for one in some))
    statistics = list(dict.fromkeys(one.statistic for one in some))
    with look():
        figure = blank(height=0.5 + 1.25 * len(indicators))
        grid = figure.subplots(len(indicators), len(statistics), squeeze=False)
        for one in some:
            row, column = indicators.index(one.indicator), statistics.index(one.statistic)
            axes = grid[row, column]
            low, high = np.quantile(one.replicated, [0.005, 0.995])
            ends = min(low, one.observed), max(high, one.observed)
            wide = (ends[1] - ends[0]) or 1.0
            reach = (ends[0] - 0.05 * wide, ends[1] + 0.05 * wide)
            whole = one.statistic == "peak year"
            edges = np.arange(np.floor(reach[0]) - 0.5, np.ceil(reach[1]) + 1.0) if whole else 24
            axes.hist(one.replicated, bins=edges, range=reach, color=_MODEL, alpha=0.55)
            axes.axvline(one.observed, ymax=0.8, color=INK if one.good else _UNSEEN, linewidth=2.0)
            axes.grid(visible=False)
            axes.set_yticks([])
            axes.xaxis.set_major_locator(MaxNLocator(2, integer=whole, min_n_ticks=1))
            axes.xaxis.set_major_formatter(FuncFormatter(_plain if whole else _short))
            axes.set_xlim(*reach)
            axes.set_ylim(0, 1.3 * axes.dataLim.y1)
            if row == 0:
                axes.set_title(textwrap.fill(sentence_case(one.statistic), 16), pad=6, fontsize=8.5)
            if column == 0:
                axes.set_ylabel(textwrap.fill(one.indicator.replace("_", " "), 14), rotation=0, ha="right", va="center")
            chance = f"{100 * one.below:.0f} %"
            axes.annotate(
                chance, xy=(0.98, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=7.5,
                color=MUTED if one.good else _UNSEEN,
            )  # fmt: skip
        figure.supxlabel(
            "replicates (bars), observed (line), and the share of replicates below it", fontsize=8.5, color=MUTED
        )
    return figure


def _plain(value: float, position: int | None = None) -> str:
    """A year as a tick."""
    return f"{value:.0f}"


def _short(value: float, position: int | None = None) -> str:
    """A tick in little room.

    >>> _short(4e6), _short(150_000.0), _short(0.025), _short(-3.0)
    ('4M', '150k', '0.025', '−3')
    """
    size = abs(value)
    text = f"{value / 1e6:g}M" if size >= 1e6 else f"{value / 1e3:g}k" if size >= 1e4 else f"{value:.6g}"
    return text.replace("-", "−")


def _chosen(validation: Validation, indicators: Sequence[str] | None, region: str | None) -> list[Held]:
    regions = list(dict.fromkeys(one.region for one in validation.series))
    wanted = regions[0] if region is None else region
    some = {one.indicator: one for one in validation.series if one.region == wanted}
    if not some:
        raise FitError(f"nothing was held out of region '{wanted}'{near(wanted, regions)}")
    for name in indicators or ():
        if name not in some:
            raise FitError(f"no figure of '{name}' was held out{near(name, some)}")
    return [some[name] for name in indicators or some]
