"""Figures of a family of regions: shrinkage towards the mean, and regions predicted by the others."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from calibration.shrinkage import Shrinkage
from calibration.skill import MODEL
from sd_cluster.errors import FitError
from sd_cluster.look import (
    GRID,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    WIDTH,
    blank,
    look,
    sentence_case,
    tick_text,
    unit_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from calibration.validation import Validation

_ALONE, _FAMILY = PALETTE[1], PALETTE[0]
_ROW = 0.165
"""Height of a region's row, in inches."""


def draw_shrinkage(shrunk: Sequence[Shrinkage]) -> Figure:
    """Draw every region's estimate by itself and in its family, a chart for each parameter.

    Open points are estimates of a region by itself, filled ones those in the family, each with one standard error to
    either side; the line between them is what the family moves. The upright line is the typical region, the shade one
    spread to either side.

    Parameters
    ----------
    shrunk
        What `shrinkage` gave.

    Raises
    ------
    FitError
        If there is none.
    """
    if not shrunk:
        raise FitError("nothing is pooled, so there is no shrinkage to draw")
    regions = list(dict.fromkeys(name for one in shrunk for name in one.regions))
    with look():
        figure = blank(WIDTH, 1.15 + _ROW * len(regions))
        grid = figure.subplots(1, len(shrunk), squeeze=False, sharey=True)[0]
        for axes, one in zip(grid, shrunk, strict=True):
            _draw_one(axes, one, np.array([len(regions) - 1 - regions.index(name) for name in one.regions]))
            unit = unit_label(one.unit)
            axes.set_title(textwrap.fill(sentence_case(one.parameter), 62 // len(shrunk)))
            axes.set_xlabel("share of 1" if unit == "dimensionless" else unit)
        grid[0].set_yticks(range(len(regions)), regions[::-1])
        grid[0].set_ylim(-0.7, len(regions) - 0.3)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=4, handlelength=1.4, columnspacing=1.6)
    return figure


def _draw_one(axes: Axes, one: Shrinkage, rows: np.ndarray) -> None:
    axes.axvspan(*one.typical_ends, color=_FAMILY, alpha=0.12, linewidth=0, label="typical region, one spread")
    axes.axvline(one.typical, color=_FAMILY, linewidth=1.0)
    axes.hlines(rows, one.alone, one.pooled, color=GRID, linewidth=2.4, zorder=2)
    up, down = rows + 0.14, rows - 0.14
    axes.hlines(up, *one.alone_ends, color=_ALONE, linewidth=0.8, alpha=0.8)
    axes.hlines(down, *one.pooled_ends, color=_FAMILY, linewidth=1.2, alpha=0.8)
    axes.plot(one.alone, up, "o", color=_ALONE, mfc=PAPER, ms=3.4, mew=1.0, label="region by itself", zorder=4)
    axes.plot(one.pooled, down, "o", color=_FAMILY, ms=3.6, label="region in the family", zorder=5)
    if one.logarithmic:
        axes.set_xscale("log")
    _few_ticks(axes, one.logarithmic)
    axes.grid(axis="y", visible=False)


def draw_left_out(validation: Validation) -> Figure:
    """Draw the error of the model beside that of the best naive forecast, a point for each region left out.

    A point below the diagonal is a region that the model predicts better. Axes are logarithmic and in per cent.

    Parameters
    ----------
    validation
        What `leave_one_out` gave.

    Raises
    ------
    FitError
        If there is no region with errors in per cent.
    """
    table = validation.frame()
    table = table[np.isfinite(table["mape"])]
    indicators = list(dict.fromkeys(table["indicator"]))
    if not indicators:
        raise FitError("no region left out has errors in per cent, so there is nothing to draw")
    columns = min(len(indicators), 4)
    rows = -(-len(indicators) // columns)
    with look():
        figure = blank(WIDTH, 0.55 + rows * (0.35 + 0.9 * WIDTH / columns))
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, name in zip(grid.flat, indicators, strict=False):
            some = table[table["indicator"] == name]
            _draw_duel(axes, some)
            axes.set_title(textwrap.fill(name.replace("_", " "), 84 // columns), fontsize=8.5)
        for axes in list(grid.flat)[len(indicators) :]:
            axes.set_axis_off()
        figure.supylabel("error of the model, %", fontsize=8.5, color=MUTED)
        figure.supxlabel("error of the naive forecast, %", fontsize=8.5, color=MUTED)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=4, handlelength=1.0, columnspacing=1.6)
    return figure


def _draw_duel(axes: Axes, some: object) -> None:
    import pandas as pd

    assert isinstance(some, pd.DataFrame)
    wide = some.pivot(index="region", columns="method", values="mape")
    methods = [name for name in dict.fromkeys(some["method"]) if name != MODEL]
    ends = [0.8 * float(np.nanmin(wide)), 1.25 * float(np.nanmax(wide))]
    axes.plot(ends, ends, color=MUTED, linewidth=0.8)
    for number, method in enumerate(methods):
        colour = PALETTE[(0, 1, 2, 3, 4)[number % 5]]
        axes.plot(wide[method], wide[MODEL], "o", color=colour, ms=3.2, alpha=0.8, label=method)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, box_aspect=1.0)
    axes.tick_params(colors=INK, labelsize=7.5)
    _few_ticks(axes, True)
    _few_ticks(axes, True, upright=True)


def _few_ticks(axes: Axes, logarithmic: bool, *, upright: bool = False) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis = axes.yaxis if upright else axes.xaxis
    if logarithmic:
        low, high = axes.get_ylim() if upright else axes.get_xlim()
        subs = (1.0,) if high / low > 60.0 else (1.0, 2.0, 5.0) if high / low > 3.0 else tuple(range(1, 10))
        axis.set_major_locator(LogLocator(subs=subs, numticks=6))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(tick_text))
