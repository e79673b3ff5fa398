"""Marks of which the charts of many runs are made: bands, trends, rays, names of points, rows."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sd_cluster.look import GRID, INK, MUTED, PALETTE, PAPER, blank, head, sentence_case, tick_text, tidy_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

PALE = "#b9c2ca"
"""Grey of what stands behind: runs without success, parameters without an area of their own."""

_ROW = 0.3
"""Height of one row of a chart of rows, in inches."""


def draw_fan(
    axes: Axes, times: ArrayLike, values: ArrayLike, bands: Sequence[float], *, named: bool = False
) -> list[tuple[float, str, str]]:
    """Draw the bands and the median; give the labels of their ends."""
    years = np.asarray(times, dtype=float)
    runs = np.asarray(values, dtype=float)
    runs = runs[np.isfinite(runs).all(axis=1)]
    if not len(runs):
        axes.text(0.5, 0.5, "no run came to its end", transform=axes.transAxes, ha="center", color=MUTED)
        return []
    colour = PALETTE[0]
    ends = []
    axes.set_axisbelow("line")
    for number, share in enumerate(sorted(bands, reverse=True)):
        low, high = np.quantile(runs, [0.5 - share / 2, 0.5 + share / 2], axis=0)
        text = f"{100 * share:g} % of runs"
        tint = _paler(colour, min(0.8, 0.17 + 0.26 * number))
        axes.fill_between(years, low, high, color=tint, linewidth=0, label=text if named else "_")
        ends.append((float(high[-1]), text, MUTED))
    middle = np.median(runs, axis=0)
    axes.plot(years, middle, color=colour, linewidth=2.0, label="median" if named else "_")
    ends.append((float(middle[-1]), "median", colour))
    axes.set_xlim(years[0], years[-1])
    return ends


def draw_trend(axes: Axes, across: NDArray[np.float64], result: NDArray[np.float64]) -> None:
    """Draw median and quartiles of the outcome in slices with equally many runs."""
    slices = min(14, len(across) // 20)
    if slices < 3 or across.min() == across.max():
        return
    parts = np.array_split(np.argsort(across, kind="stable"), slices)
    middle = [float(np.median(across[part])) for part in parts]
    low, trend, high = np.array([np.quantile(result[part], [0.25, 0.5, 0.75]) for part in parts]).T
    axes.fill_between(middle, low, high, color=INK, alpha=0.14, linewidth=0, zorder=3)
    axes.plot(middle, trend, color=INK, linewidth=1.6, zorder=3.1)


def draw_rays(axes: Axes, right: float, top: float) -> None:
    """Draw the rays that part straight, monotonic and bent effects, each named where it leaves the chart."""
    for slope, text in ((0.1, "a tenth"), (0.5, "half"), (1.0, "spread = strength")):
        end = min(right, top / slope)
        axes.plot([0, end], [0, slope * end], color=MUTED, linewidth=0.7, linestyle=(0, (3, 3)), zorder=1)
        above = end < right
        axes.annotate(
            text, xy=(end, slope * end), xytext=(0, 3) if above else (4, 0), textcoords="offset points",
            color=MUTED, fontsize=7.5, ha="center" if above else "left", va="bottom" if above else "center",
            annotation_clip=False,
        )  # fmt: skip


def name_points(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    names: Sequence[str],
    *,
    keep: int,
    bars: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> None:
    """Name the points furthest right where there is room beside them, never one name on another or on a bar.

    Parameters
    ----------
    axes
        A chart whose limits are final, in a figure laid out once.
    x, y : shape (n,)
        The points.
    names
        Their names.
    keep
        How many are named at most; a name that finds no room is left out.
    bars
        Left and right ends of level bars through the points.
    """
    scale = axes.figure.dpi / 72.0
    frame = axes.get_window_extent()
    left, right = (x, x) if bars is None else bars
    filled = []
    for number in range(len(x)):
        (west, foot), (east, _) = axes.transData.transform([(left[number], y[number]), (right[number], y[number])])
        filled.append((west - 3 * scale, foot - 3 * scale, east + 3 * scale, foot + 3 * scale))
    for number in np.argsort(-np.nan_to_num(x), kind="stable")[:keep]:
        across, up = axes.transData.transform((x[number], y[number]))
        west, _, east, _ = filled[number]
        wide, tall, gap = 4.7 * len(names[number]) * scale, 9.0 * scale, 5 * scale
        spots = {
            (east + gap - 3 * scale, up - tall / 2): ("left", "center"),
            (across - wide / 2, up + gap): ("center", "bottom"),
            (across - wide / 2, up - gap - tall): ("center", "top"),
            (west - gap - wide + 3 * scale, up - tall / 2): ("right", "center"),
        }
        for (start, foot), (side, level) in spots.items():
            room = (start, foot, start + wide, foot + tall)
            inside = start >= frame.x0 and room[2] <= frame.x1 and foot >= frame.y0 and room[3] <= frame.y1
            if inside and not any(_meet(room, other) for other in filled):
                anchor = {"left": start, "center": across, "right": start + wide}[side]
                height = {"bottom": foot, "center": up, "top": foot + tall}[level]
                place = axes.transData.inverted().transform((anchor, height))
                _write(axes, names[number], (float(place[0]), float(place[1])), side, level)
                filled.append(room)
                break


def _write(axes: Axes, text: str, place: tuple[float, float], side: str, level: str) -> None:
    """Write into a chart, with a rim of paper that keeps lines off the letters."""
    from matplotlib.patheffects import withStroke

    axes.annotate(
        text, xy=place, color=INK, ha=side, va=level, fontsize=8, zorder=5,
        path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
    )  # fmt: skip


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def draw_limits(axes: Axes, row: int, kept: tuple[float, float], whole: tuple[float, float]) -> None:
    """Draw one range as a thin bar, the part kept as a thick one, with the numbers at its ends."""
    width = whole[1] - whole[0]
    low, high = ((end - whole[0]) / width for end in kept)
    axes.plot([0, 1], [row, row], color=GRID, linewidth=7, solid_capstyle="butt", zorder=1)
    axes.plot([low, high], [row, row], color=PALETTE[0], linewidth=7, solid_capstyle="butt", zorder=2)
    for place, value, cut in ((low, kept[0], low > 1e-9), (high, kept[1], high < 1 - 1e-9)):
        axes.annotate(
            tick_text(float(f"{value:.3g}")), xy=(place, row), xytext=(0, 7), textcoords="offset points",
            ha="left" if place < 0.06 else "right" if place > 0.94 else "center", va="bottom", fontsize=8,
            color=INK if cut else MUTED, fontweight="bold" if cut else "normal",
        )  # fmt: skip


def draw_box_plane(
    axes: Axes,
    pair: Sequence[str],
    limits: Mapping[str, tuple[float, float]],
    ranges: Mapping[str, tuple[float, float]],
    points: tuple[Mapping[str, ArrayLike], ArrayLike],
) -> None:
    """Draw the runs in the plane of two parameters, successes coloured, and the box upon them."""
    from matplotlib.patches import Rectangle

    x, y = (np.asarray(points[0][name], dtype=float) for name in pair)
    good = np.asarray(points[1], dtype=bool)
    for chosen, colour, label in ((~good, PALE, "not"), (good, PALETTE[1], "success")):
        axes.plot(x[chosen], y[chosen], "o", color=colour, ms=2.6, mew=0, alpha=0.6, label=label, rasterized=True)
    (left, right), (foot, top) = limits[pair[0]], limits[pair[1]]
    axes.add_patch(
        Rectangle((left, foot), right - left, top - foot, fill=False, edgecolor=PALETTE[0], linewidth=2.2, zorder=4)
    )
    for limit, name in ((axes.set_xlim, pair[0]), (axes.set_ylim, pair[1])):
        low, high = ranges[name]
        limit(low - 0.02 * (high - low), high + 0.02 * (high - low))
    tidy_values(axes, ticks=4, across=4, ground=False)
    axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
    axes.grid(visible=False)
    axes.set_xlabel(sentence_case(pair[0]))
    head(axes, None, sentence_case(pair[1]))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, handletextpad=0.1,
        borderaxespad=0.0, columnspacing=1.0, markerscale=2,
    )  # fmt: skip


def rows_figure(rows: int) -> Figure:
    """Give an empty figure as tall as so many rows need."""
    return blank(width=6.4, height=1.15 + _ROW * rows)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write the names of rows at the left, the first at the top."""
    axes.set_yticks(np.arange(len(names)), [textwrap.fill(name, 30) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="y", visible=False)


def tidy_across(axes: Axes) -> None:
    """Few round ticks along the foot, upright grid only."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(tick_text))
    axes.grid(axis="x", visible=True)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)


def with_rest(text: str, left: int) -> str:
    r"""Add to a label how many rows are not drawn.

    >>> with_rest("share", 2)
    'share\n(2 weaker parameters not shown)'
    """
    if left <= 0:
        return text
    return f"{text}\n({left} weaker parameters not shown)" if left > 1 else f"{text}\n(1 weaker parameter not shown)"


def _paler(colour: str, share: float) -> tuple[float, float, float]:
    """Mix a colour with paper so that this share of it is left."""
    from matplotlib.colors import to_rgb

    red, green, blue = (
        share * one + (1 - share) * other for one, other in zip(to_rgb(colour), to_rgb(PAPER), strict=True)
    )
    return red, green, blue
