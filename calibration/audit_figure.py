"""The figure of an audit: every series small, its gaps shaded and what to mind marked."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sd_cluster.look import GRID, INK, MUTED, PALETTE, PAPER, blank, head, look, sentence_case, tidy_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from calibration.audit import Audit
    from calibration.dataset import Series
    from calibration.faults import Finding

_LEVELS = ("jump", "common jump", "unit")
_POINTS = ("zero", "outlier", "truncation", "status", "repeated")
_MIND = PALETTE[1]
_BREAK = PALETTE[0]


def draw_audit(audit: Audit, indicators: Sequence[str] | None = None, *, columns: int = 3) -> Figure:
    """Draw the series of an audit as small multiples.

    Missing years are shaded, figures to mind are filled, jumps and known breaks stand as upright lines before the first
    year of the new level; what concerns a whole series (constant, too few) is written below it. Standard errors
    are drawn where the table gives them.

    Parameters
    ----------
    audit
        What `audit` gave.
    indicators
        Which series, in reading order; all when left out.
    columns
        Charts beside one another.

    Raises
    ------
    DataError
        If the dataset has no such indicator; the text names the nearest one.
    """
    chosen = [audit.dataset[name] for name in indicators or audit.dataset.series]
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    with look():
        figure = blank(height=0.6 + 1.75 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        marks: dict[str, Any] = {}
        for axes, one in zip(grid.flat, chosen, strict=False):
            _draw_series(axes, one, audit.of(one.indicator), marks)
            head(axes, textwrap.fill(sentence_case(one.indicator.replace("_", " ")), 84 // columns), one.unit)
        for axes in list(grid.flat)[len(chosen) :]:
            axes.set_axis_off()
        figure.legend(
            list(marks.values()), list(marks), loc="outside upper left", ncols=len(marks), handlelength=1.4,
            columnspacing=1.6,
        )  # fmt: skip
    return figure


def _draw_series(axes: Axes, one: Series, findings: Sequence[Finding], marks: dict[str, Any]) -> None:
    """One chart; new kinds of marks are added to `marks`, by their name in the legend."""
    from matplotlib.ticker import MaxNLocator

    if not len(one.years):
        axes.set_axis_off()
        axes.text(0.0, 0.5, "no figures", transform=axes.transAxes, color=MUTED)
        return
    for found in findings:
        if found.kind == "gap":
            for year in found.years:
                marks["no figure"] = axes.axvspan(year - 0.5, year + 0.5, color=GRID, linewidth=0, zorder=0)
    _draw_line(axes, one, [year for found in findings if found.kind == "gap" for year in found.years])
    (marks["figure"],) = axes.plot(one.years, one.values, "o", color=INK, mfc=PAPER, ms=3.4, mew=0.9, zorder=4)
    odd = np.isin(one.years, [year for found in findings if found.kind in _POINTS for year in found.years])
    if odd.any():
        (marks["figure to mind"],) = axes.plot(one.years[odd], one.values[odd], "o", color=_MIND, ms=4.2, zorder=5)
    for found in findings:
        known = found.kind == "known break"
        if known or found.kind in _LEVELS:
            colour, style = (_BREAK, (0, (1, 1.5))) if known else (_MIND, (0, (4, 2)))
            for year in found.years:
                line = axes.axvline(year - 0.5, color=colour, linewidth=1.1, linestyle=style, zorder=3)
                marks["known break" if known else "jump"] = line
    tidy_values(axes, ticks=4, across=4)
    axes.set_xlim(one.years[0] - 1, one.years[-1] + 1)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    whole = [found.kind if found.kind == "constant" else found.sentence for found in findings if _of_all(found)]
    axes.set_xlabel(", ".join(whole), color=_MIND)


def _draw_line(axes: Axes, one: Series, absent: Sequence[int]) -> None:
    """A thin line through figures, broken where years are missing, and bars of one standard error."""
    years = np.concatenate([one.years, np.asarray(absent, dtype=float)])
    values = np.concatenate([one.values, np.full(len(absent), np.nan)])
    order = np.argsort(years, kind="stable")
    axes.plot(years[order], values[order], color=MUTED, linewidth=0.9, zorder=2)
    if one.errors is not None:
        axes.errorbar(one.years, one.values, yerr=np.nan_to_num(one.errors), fmt="none", ecolor=MUTED, elinewidth=0.8)


def _of_all(found: Finding) -> bool:
    return found.kind in ("constant", "few")
