"""Drawings of many runs and of what drives them, in the house look.

Every function takes plain arrays and names, whoever made them, and gives a `matplotlib.figure.Figure`;
`plot.save` writes it. Runs that failed come as NaN and are left out; where there is nothing left, the
chart says so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sd_cluster.look import (
    GRID,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    blank,
    head,
    label_ends,
    legend_above,
    look,
    sentence_case,
    tidy_values,
    unit_label,
)
from sd_cluster.marks import (
    PALE,
    draw_box_plane,
    draw_fan,
    draw_limits,
    draw_rays,
    draw_trend,
    name_points,
    name_rows,
    rows_figure,
    tidy_across,
    with_rest,
)

__all__ = ["box", "fan", "fans", "index_areas", "indices", "morris_plane", "scatter", "tornado"]

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

BANDS = (0.5, 0.9)
"""Shares of the runs that the bands of a fan hold, unless others are asked for."""


def fan(
    times: ArrayLike,
    values: ArrayLike,
    *,
    title: str | None = None,
    unit: str = "",
    time_label: str = "year",
    bands: Sequence[float] = BANDS,
    reference: ArrayLike | None = None,
    data: tuple[ArrayLike, ArrayLike] | None = None,
) -> Figure:
    """Draw the spread of many runs over time: bands that hold given shares of the runs, and their median.

    The bands are quantiles at each time by itself: no single run need follow one of their edges.

    Parameters
    ----------
    times : shape (n_times,)
    values : shape (n_runs, n_times)
        One row a run; rows with a NaN are left out.
    title, unit, time_label
        Words for the heading and the axes.
    bands
        Shares of the runs within each band, between 0 and 1.
    reference : shape (n_times,)
        A single run to compare with, drawn broken.
    data : two arrays of shape (n_points,)
        Observed times and values, drawn as open circles.
    """
    with look():
        figure = blank()
        axes = figure.subplots()
        ends = draw_fan(axes, times, values, bands)
        if reference is not None:
            line = np.asarray(reference, dtype=float)
            axes.plot(np.asarray(times, float), line, color=PALETTE[1], linewidth=1.5, linestyle=(0, (4, 2)))
            ends.append((float(line[-1]), "base", PALETTE[1]))
        if data is not None:
            axes.plot(*data, "o", color=INK, mfc=PAPER, ms=4.5, mew=1.2, label="data", zorder=4)
            axes.legend(handles=axes.lines[-1:], loc="best", handlelength=1.4)
        head(axes, title, unit_label(unit))
        axes.set_xlabel(time_label)
        tidy_values(axes)
        label_ends(axes, ends)
    return figure


def fans(
    times: ArrayLike,
    values: Mapping[str, ArrayLike],
    *,
    units: Mapping[str, str] | None = None,
    time_label: str = "year",
    bands: Sequence[float] = BANDS,
    columns: int | None = None,
) -> Figure:
    """Draw small multiples of fans: one for each variable.

    Parameters
    ----------
    times : shape (n_times,)
    values
        Variable -> runs, each shape (n_runs, n_times).
    units
        Variable -> unit.
    time_label, bands
        As in `fan`.
    columns
        Charts beside one another; where not given three, or two for four charts.
    """
    columns = min(columns or _columns(len(values)), len(values))
    rows = -(-len(values) // columns)
    with look():
        figure = blank(height=1.95 * rows + 0.55)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for axes, (name, runs) in zip(grid.flat, values.items(), strict=False):
            draw_fan(axes, times, runs, bands, named=True)
            title = textwrap.fill(sentence_case(name), 72 // columns)
            head(axes, title, unit_label((units or {}).get(name, "")))
            tidy_values(axes, ticks=4, across=4)
        for axes in list(grid.flat)[len(values) :]:
            axes.set_axis_off()
        for axes in list(grid.flat)[max(0, len(values) - columns) : len(values)]:
            axes.set_xlabel(time_label)
            axes.tick_params(labelbottom=True)
        legend_above(figure, grid[0, 0])
    return figure


def _columns(charts: int) -> int:
    """Charts beside one another so that the last row is full more often."""
    return 2 if charts == 4 else 3


def tornado(
    names: Sequence[str],
    low: ArrayLike,
    high: ArrayLike,
    *,
    base: float = 0.0,
    x_label: str = "",
    title: str | None = None,
    sides: tuple[str, str] = ("parameter low", "parameter high"),
    keep: int = 15,
) -> Figure:
    """Draw how far each parameter by itself moves an outcome, the widest at the top.

    Parameters
    ----------
    names
        The parameters.
    low, high : shape (n_parameters,)
        Outcome with the parameter at its low and at its high end.
    base
        Outcome with all at their own values.
    x_label, title
        The outcome with its unit, and the heading.
    sides
        What the two colours mean.
    keep
        Rows drawn at most; the rest are counted below.
    """
    at_low, at_high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    reach = np.maximum(at_low, at_high) - np.minimum(at_low, at_high)
    away = np.maximum(np.abs(at_low - base), np.abs(at_high - base))
    order = np.argsort(-np.maximum(np.nan_to_num(reach), np.nan_to_num(away)), kind="stable")
    order, left = order[:keep], len(order) - keep
    with look():
        figure = rows_figure(len(order))
        axes = figure.subplots()
        places = np.arange(len(order))
        for ends, colour, text in ((at_low, PALETTE[5], sides[0]), (at_high, PALETTE[0], sides[1])):
            lengths = ends[order] - base
            drawn = axes.barh(places, lengths, left=base, height=0.62, color=colour, label=text)
            for bar, length in zip(drawn, lengths, strict=True):
                bar.set_zorder(2 - 0.5 * abs(length) / (np.nanmax(away) or 1.0))  # the shorter lies upon the longer
        axes.axvline(base, color=INK, linewidth=1, zorder=3)
        name_rows(axes, [names[i] for i in order])
        both = np.concatenate([at_low[order], at_high[order], [base]])
        room = 0.06 * (np.nanmax(both) - np.nanmin(both) or 1.0)
        axes.set_xlim(np.nanmin(both) - room, np.nanmax(both) + room)
        tidy_across(axes)
        axes.set_xlabel(with_rest(x_label, left))
        if title:
            axes.set_title(title)
        legend_above(figure, axes)
    return figure


def indices(
    names: Sequence[str],
    values: Mapping[str, ArrayLike],
    *,
    intervals: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    x_label: str = "share of the variance",
    title: str | None = None,
    keep: int = 15,
) -> Figure:
    """Draw sensitivity indices as points with their intervals, one row a parameter, the largest at the top.

    Parameters
    ----------
    names
        The parameters.
    values
        Kind of index -> values, each shape (n_parameters,); rows go by the last kind.
    intervals
        Kind -> (low, high), each shape (n_parameters,).
    x_label, title
        What the indices are, and the heading.
    keep
        Rows drawn at most; the rest are counted below.
    """
    kinds = {kind: np.asarray(one, dtype=float) for kind, one in values.items()}
    leading = np.abs(np.nan_to_num(list(kinds.values())[-1]))
    order = np.argsort(-leading, kind="stable")
    order, left = order[:keep], len(order) - keep
    with look():
        figure = rows_figure(len(order))
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
        offsets = np.linspace(0.16, -0.16, len(kinds)) if len(kinds) > 1 else [0.0]
        for number, ((kind, value), offset) in enumerate(zip(kinds.items(), offsets, strict=True)):
            places = np.arange(len(order)) - offset
            colour = PALETTE[number % len(PALETTE)]
            if intervals and kind in intervals:
                start, end = (np.asarray(one, dtype=float)[order] for one in intervals[kind])
                axes.hlines(places, start, end, color=colour, linewidth=3.2, alpha=0.35)
            axes.plot(value[order], places, "o", color=colour, ms=5, label=kind)
        name_rows(axes, [names[i] for i in order])
        axes.margins(x=0.06)
        tidy_across(axes)
        axes.set_xlabel(with_rest(x_label, left))
        if title:
            axes.set_title(title)
        if len(kinds) > 1:
            legend_above(figure, axes)
    return figure


def index_areas(
    times: ArrayLike,
    names: Sequence[str],
    values: ArrayLike,
    *,
    title: str | None = None,
    time_label: str = "year",
    keep: int = 6,
    rest: str | None = "together with others",
) -> Figure:
    """Draw how the shares of the variance move over time, as areas one upon the other.

    Parameters
    ----------
    times : shape (n_times,)
    names
        The parameters.
    values : shape (n_parameters, n_times)
        First-order indices. Below zero, which only chance can bring, they are drawn as zero; where they add up to
        more than one, as parts of their sum. A time without variance (NaN) leaves a gap.
    title, time_label
        Words for the heading and the foot.
    keep
        Parameters with an area of their own; the others share one.
    rest
        Name of what is left up to one, which belongs to no parameter alone; None leaves it open.
    """
    years = np.asarray(times, dtype=float)
    shares = np.clip(np.asarray(values, dtype=float), 0.0, None)
    shares = shares / np.maximum(shares.sum(axis=0), 1.0)
    weight = np.nan_to_num(shares).mean(axis=1)
    order = np.argsort(-weight, kind="stable")
    layers = [(names[i], shares[i], PALETTE[n % len(PALETTE)]) for n, i in enumerate(order[:keep])]
    if len(order) > keep:
        layers.append((f"{len(order) - keep} others", shares[order[keep:]].sum(axis=0), PALE))
    with look():
        figure = blank()
        axes = figure.subplots()
        foot = np.zeros(years.size)
        ends = []
        for name, layer, colour in layers:
            axes.fill_between(years, 100 * foot, 100 * (foot + layer), color=colour, alpha=0.82, linewidth=0)
            axes.plot(years, 100 * (foot + layer), color=PAPER, linewidth=0.9)
            if layer[-1] > 0.01:
                ends.append((100 * float(foot[-1] + layer[-1] / 2), name, colour if colour in PALETTE else MUTED))
            foot = foot + layer
        if rest and np.isfinite(foot).any():
            axes.fill_between(years, 100 * foot, 100, where=np.isfinite(foot), color=GRID, alpha=0.6, linewidth=0)
            if foot[-1] < 0.98:
                ends.append((50 * float(1 + foot[-1]), rest, MUTED))
        axes.set_ylim(0, 100)
        if years.size > 1:
            axes.set_xlim(years[0], years[-1])
        axes.set_xlabel(time_label)
        head(axes, title, "share of the variance, %")
        tidy_values(axes, ground=False)
        label_ends(axes, ends)
    return figure


def morris_plane(
    names: Sequence[str],
    strength: ArrayLike,
    spread: ArrayLike,
    *,
    intervals: tuple[ArrayLike, ArrayLike] | None = None,
    unit: str = "",
    title: str | None = None,
    keep: int = 12,
) -> Figure:
    """Draw Morris's plane: how strongly each parameter acts, and how much that depends on where the others stand.

    Rays part the plane by the spread as a share of the strength (0.1, 0.5, 1): nearly straight below the first,
    monotonic below the second, nearly so below the third, bent or bound up with others above (Garcia Sanchez et
    al. 2014, doi:10.1016/j.enbuild.2012.08.048).

    Parameters
    ----------
    names
        The parameters.
    strength, spread : shape (n_parameters,)
        Mean absolute elementary effect (mu star) and standard deviation (sigma).
    intervals : two arrays of shape (n_parameters,)
        Low and high end of the strength.
    unit, title
        Unit of the effects, and the heading.
    keep
        Parameters that are named, the strongest first.
    """
    mean, deviation = np.asarray(strength, dtype=float), np.asarray(spread, dtype=float)
    suffix = "" if unit_label(unit) == "dimensionless" else f" ({unit_label(unit)})"
    with look():
        figure = blank(width=6.4, height=4.2)
        axes = figure.subplots()
        bars = None if intervals is None else (np.asarray(intervals[0], float), np.asarray(intervals[1], float))
        right = 1.12 * float(np.nanmax(mean if bars is None else bars[1], initial=0.0)) or 1.0
        top = 1.12 * float(np.nanmax(deviation, initial=0.0)) or 1.0
        top = max(top, 0.35 * right)
        axes.set_xlim(0, right)
        axes.set_ylim(0, top)
        draw_rays(axes, right, top)
        if bars is not None:
            axes.hlines(deviation, bars[0], bars[1], color=PALETTE[0], linewidth=2.6, alpha=0.3)
        axes.plot(mean, deviation, "o", color=PALETTE[0], ms=5, clip_on=False)
        tidy_values(axes, ground=False)
        axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
        axes.set_xlabel(f"strength: mean size of its effect{suffix}")
        head(axes, title, f"spread of its effect{suffix}")
        figure.draw_without_rendering()
        name_points(axes, mean, deviation, names, keep=keep, bars=bars)
    return figure


def scatter(
    values: Mapping[str, ArrayLike],
    outcome: ArrayLike,
    *,
    y_label: str = "",
    title: str | None = None,
    success: ArrayLike | None = None,
    columns: int | None = None,
    most: int = 2000,
) -> Figure:
    """Draw an outcome against each parameter, one point a run, with the trend of its middle half.

    Parameters
    ----------
    values
        Parameter, with its unit if it has one -> drawn values, each shape (n_runs,).
    outcome : shape (n_runs,)
        A run that failed has NaN.
    y_label, title
        The outcome with its unit, and the heading.
    success : shape (n_runs,), boolean
        Runs to draw in a colour of their own.
    columns
        Charts beside one another; where not given three, or two for four charts.
    most
        Points drawn at most, every second, third, ... of more; the trend is of all.
    """
    result = np.asarray(outcome, dtype=float)
    marked = np.zeros(result.shape, bool) if success is None else np.asarray(success, dtype=bool)
    columns = min(columns or _columns(len(values)), len(values))
    rows = -(-len(values) // columns)
    with look():
        figure = blank(width=7.2 if columns > 1 else 5.4, height=2.0 * rows + 0.4 if columns > 1 else 3.6)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, (name, drawn) in zip(grid.flat, values.items(), strict=False):
            across = np.asarray(drawn, dtype=float)
            good = np.isfinite(result) & np.isfinite(across)
            some = np.flatnonzero(good)[:: max(1, -(-int(good.sum()) // most))]
            for chosen, colour in ((some[~marked[some]], PALETTE[0]), (some[marked[some]], PALETTE[1])):
                axes.plot(across[chosen], result[chosen], "o", color=colour, ms=2.4, mew=0, alpha=0.3, rasterized=True)
            draw_trend(axes, across[good], result[good])
            axes.set_xlabel(textwrap.fill(sentence_case(name), 72 // columns))
            axes.margins(x=0.02)
            tidy_values(axes, ticks=4, across=4)
            axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
        for axes in list(grid.flat)[len(values) :]:
            axes.set_axis_off()
        told = f"{y_label} · line: median, band: middle half" if y_label else "line: median, band: middle half"
        grid[0, 0].set_title(told, fontweight="normal", fontsize=8.5, color=MUTED, pad=5)
        if title:
            figure.suptitle(title, x=0.012, ha="left", fontsize=9, fontweight="bold")
    return figure


def box(
    limits: Mapping[str, tuple[float, float]],
    ranges: Mapping[str, tuple[float, float]],
    *,
    title: str | None = None,
    density: float | None = None,
    coverage: float | None = None,
    points: tuple[Mapping[str, ArrayLike], ArrayLike] | None = None,
) -> Figure:
    """Draw a box found by PRIM: which part of its range each restricted parameter keeps.

    Parameters
    ----------
    limits
        Parameter, with its unit if it has one -> (low, high) within the box, the most telling first.
    ranges
        The same parameters -> (low, high) that were searched.
    title
        Heading.
    density, coverage
        Share of the runs in the box that succeed, and of the successes that lie in the box; between 0 and 1.
    points
        Drawn values by the same names, each shape (n_runs,), and success, boolean of shape (n_runs,): the first
        two parameters are then drawn against each other beside the bars.
    """
    names = list(limits)
    plane = points is not None and len(names) > 1
    with look():
        height = (0.55 if title else 0.3) + 0.5 * bool(density or coverage) + 0.42 * len(names)
        figure = blank(height=max(height, 3.2) if plane else height)
        grid = figure.subplots(1, 2 if plane else 1, squeeze=False, width_ratios=(1.25, 1) if plane else None)
        axes = grid[0, 0]
        for row, name in enumerate(names):
            draw_limits(axes, row, limits[name], ranges[name])
        axes.set_xlim(0, 1)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        name_rows(axes, names)
        axes.set_ylim(len(names) - 0.75, -0.65)
        found = {"runs inside succeed": density, "successes lie inside": coverage}
        told = [f"{100 * share:.0f} % of the {text}" for text, share in found.items() if share is not None]
        if told:
            axes.set_xlabel("\n".join(told), loc="left", labelpad=6)
        if title:
            figure.suptitle(textwrap.fill(title, 90), x=0.012, ha="left", fontsize=9, fontweight="bold")
        if points is not None and plane:
            draw_box_plane(grid[0, 1], names[:2], limits, ranges, points)
    return figure
