"""Figures of a study: data against model with residuals, and what policies change."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sd_cluster.look import (
    INK,
    MUTED,
    PALETTE,
    PAPER,
    WIDTH,
    blank,
    head,
    legend_above,
    look,
    sentence_case,
    tidy_values,
)
from sd_cluster.plot import draw_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from calibration.fit import SeriesFit
    from calibration.study import LeverEffect, Line
    from calibration.thresholds import Threshold


def draw_fit(series: Sequence[SeriesFit], lines: Mapping[str, Line]) -> Figure:
    """Draw data against model, one column for each series, with the residuals below.

    Residuals are logarithmic, in per cent: a figure 10 % above the model stands near +10. All columns share
    the scale of the residuals, so that the worst-fitted series looks it.

    Parameters
    ----------
    series
        From the fit.
    lines
        The model year by year, by indicator, as `lines_of` gives it.
    """
    with look():
        figure = blank(height=4.1)
        grid = figure.subplots(2, len(series), squeeze=False, height_ratios=[2.4, 1], sharex="col")
        reach = max(float(np.max(np.abs(one.residuals))) for one in series) * 130
        for (upper, lower), one in zip(grid.T, series, strict=True):
            years, values = lines[one.indicator]
            upper.plot(years, values, color=PALETTE[0], label="model")
            upper.plot(one.years, one.observed, "o", color=INK, mfc=PAPER, ms=4.2, mew=1.1, label="data", zorder=4)
            head(upper, sentence_case(one.indicator), one.unit)
            tidy_values(upper, ticks=5, across=4)
            upper.set_xlim(years[0] - 1, years[-1] + 1)
            above = 100 * one.residuals
            lower.vlines(one.years, 0, above, color=MUTED, linewidth=1)
            lower.plot(one.years, above, "o", color=INK, ms=3.2)
            lower.axhline(0, color=PALETTE[0], linewidth=1.2)
            tidy_values(lower, ticks=4, across=4, ground=False)
            lower.set_ylim(-reach, reach)
            head(lower, None, "data above model, %")
            lower.yaxis.set_label_coords(0.0, 1.07)  # clear of the tallest residual
            lower.set_xlabel("year")
        legend_above(figure, grid[0, 0])
    return figure


def draw_thresholds(thresholds: Sequence[Threshold], unit: str) -> Figure:
    """Draw outcomes against initial trust, one chart for each cluster, on one scale."""
    with look():
        figure = blank(height=3.3)
        charts = figure.subplots(1, len(thresholds), squeeze=False, sharey=True)[0]
        for axes, one in zip(charts, thresholds, strict=True):
            sharp = np.isfinite(one.separatrix)
            draw_threshold(
                axes, one.initial, one.outcomes, separatrix=one.separatrix if sharp else None,
                mark=(one.used, f"starts at {one.used:.2f}"), sides=("rests low", "rests high"),
            )  # fmt: skip
            head(axes, sentence_case(one.name), unit)
            axes.set_xlabel("initial trust")
    return figure


def draw_changes(changes: Mapping[str, Mapping[str, float]], *, heading: str, columns: int = 3) -> Figure:
    """Draw policies side by side: a row of bars for each outcome, in per cent of the base case.

    Parameters
    ----------
    changes
        Policy -> outcome -> change in per cent.
    heading
        What the bars show, for instance `change against the base case in 2040, %`.
    columns
        Outcomes beside one another.
    """
    policies = list(changes)
    outcomes = list(next(iter(changes.values())))
    columns = min(columns, len(outcomes))
    rows = -(-len(outcomes) // columns)
    places = np.arange(len(policies))[::-1]
    colours = [PALETTE[number % len(PALETTE)] for number in range(len(policies))]
    with look():
        figure = blank(height=0.45 + rows * (0.42 + 0.23 * len(policies)))
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, outcome in zip(grid.flat, outcomes, strict=False):
            values = [changes[policy][outcome] for policy in policies]
            axes.barh(places, values, height=0.62, color=colours)
            _bare(axes, values)
            for place, value in zip(places, values, strict=True):
                _write_change(axes, value, float(place))
            axes.set_title(textwrap.fill(sentence_case(outcome), 28), pad=6, fontsize=8.5)
            axes.set_yticks(places, policies)
        for axes in list(grid.flat)[len(outcomes) :]:
            axes.set_axis_off()
        figure.supxlabel(heading, fontsize=8.5, color=MUTED)
    return figure


def draw_levers(effects: Sequence[LeverEffect], outcome: str, sections: Mapping[str, str], heading: str) -> Figure:
    """Draw what each lever alone does to one outcome, sorted, coloured by the section that pulls it."""
    ordered = sorted(effects, key=lambda effect: effect.changes[outcome])
    names = list(sections)
    with look():
        figure = blank(width=WIDTH * 0.86, height=0.8 + 0.2 * len(ordered))
        axes = figure.subplots()
        values = [effect.changes[outcome] for effect in ordered]
        places = np.arange(len(ordered))
        for number, (section, who) in enumerate(sections.items()):
            mine = [place for place in places if ordered[place].section == section]
            axes.barh(
                mine, [values[place] for place in mine], height=0.64,
                color=PALETTE[number % len(PALETTE)], label=f"{section} {who}",
            )  # fmt: skip
        _bare(axes, values)
        for place, value in zip(places, values, strict=True):
            _write_change(axes, value, float(place))
        axes.set_yticks(places, [effect.lever for effect in ordered])
        axes.set_xlabel(heading)
        if names:
            legend_above(figure, axes)
    return figure


def _bare(axes: Axes, values: Sequence[float]) -> None:
    """Take away what bars do not need, and leave room for the numbers at their ends."""
    axes.grid(visible=False)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    axes.set_xlim(low - (0.42 * span if low < 0 else 0.02 * span), high + (0.42 * span if high > 0 else 0.02 * span))


def _write_change(axes: Axes, value: float, place: float) -> None:
    axes.annotate(
        signed(value), xy=(value, place), xytext=(3 if value >= 0 else -3, 0), textcoords="offset points",
        va="center", ha="left" if value >= 0 else "right", fontsize=8,
    )  # fmt: skip


def signed(value: float) -> str:
    """Write a change with its sign, below ten with one decimal.

    >>> signed(12.34), signed(-0.456), signed(0.0), signed(2.0), signed(1530.2)
    ('+12', '−0.5', '0', '+2.0', '+1,530')
    """
    size = abs(value)
    text = f"{size:,.0f}" if size >= 9.95 else f"{size:.1f}"
    if text == "0.0":
        return "0"
    return ("+" if value > 0 else "−") + text
