"""Drawings of runs in the house look: lines, small multiples, shares, phase planes, thresholds.

Every function takes runs, which hold all it needs (names, units, values), and gives a
`matplotlib.figure.Figure`; `save` writes it as PNG and SVG. The same run gives the same picture, byte
for byte. Lines are named at their ends where there is room, so that a legend is seldom needed.
"""

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
    blank,
    head,
    label_ends,
    legend_above,
    look,
    name_upright,
    point_along,
    save,
    sentence_case,
    tick_text,
    tidy_values,
    unit_label,
    with_unit,
)

__all__ = ["bars", "compare", "panel", "phase", "response", "save", "stacked", "threshold"]

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from sd_cluster.run import Run


def compare(
    runs: Run | Sequence[Run],
    variable: str,
    *,
    data: Mapping[float, float] | pd.Series[float] | None = None,
    reference: str | None = None,
    title: str | None = None,
) -> Figure:
    """Draw one variable of several runs against time, each line named at its end.

    Parameters
    ----------
    runs
        The runs to compare; their scenario names become the labels.
    variable
        A variable the runs share, in the modeller's words.
    data
        Observed points, year -> value in the unit of the variable, drawn as open circles.
    reference
        Name of the run drawn in ink, as the one the others are read against.
    title
        Heading; the variable's name when left out.

    Raises
    ------
    ModelError
        If a run has no such variable; the message names the near match.
    """
    chosen = _several(runs)
    with look():
        figure = blank()
        axes = figure.subplots()
        ends = draw_lines(axes, chosen, variable, reference=reference)
        if data is not None:
            years, values = _points(data)
            axes.plot(years, values, "o", color=INK, mfc=PAPER, ms=4.5, mew=1.2, label="data", zorder=4)
        head(axes, title or sentence_case(variable), unit_label(chosen[0].unit(variable)))
        axes.set_xlabel(time_label(chosen[0]))
        tidy_values(axes, share=_is_share(chosen, variable))
        if len(chosen) > 1:
            label_ends(axes, ends)
        if data is not None:
            shown = axes.lines if len(chosen) == 1 else axes.lines[-1:]
            axes.legend(handles=shown, loc="best", handlelength=1.4)
    return figure


def panel(
    runs: Run | Sequence[Run],
    variables: Sequence[str],
    *,
    columns: int = 3,
    reference: str | None = None,
    mark: float | None = None,
) -> Figure:
    """Draw small multiples: one little chart for each variable, all runs in each.

    Parameters
    ----------
    runs
        One run or several; several are told apart by a legend above the charts.
    variables
        Names of the variables, in reading order.
    columns
        Charts beside one another.
    reference
        Name of the run drawn in ink.
    mark
        A time to mark in every chart by a thin upright line, for instance the start of a policy.

    Raises
    ------
    ModelError
        If a run has no such variable.
    """
    chosen = _several(runs)
    columns = min(columns, len(variables))
    rows = -(-len(variables) // columns)
    with look():
        figure = blank(height=0.35 * (len(chosen) > 1) + 1.95 * rows + 0.2)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for axes, variable in zip(grid.flat, variables, strict=False):
            draw_lines(axes, chosen, variable, reference=reference)
            title = textwrap.fill(sentence_case(variable), 72 // columns)
            head(axes, title, unit_label(chosen[0].unit(variable)))
            if mark is not None:
                axes.axvline(mark, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
            tidy_values(axes, ticks=4, across=4, share=_is_share(chosen, variable))
        for axes in list(grid.flat)[len(variables) :]:
            axes.set_axis_off()
        for axes in list(grid.flat)[max(0, len(variables) - columns) : len(variables)]:
            axes.set_xlabel(time_label(chosen[0]))
            axes.tick_params(labelbottom=True)
        if len(chosen) > 1:
            legend_above(figure, grid[0, 0])
    return figure


def stacked(run: Run, variables: Sequence[str], shares: bool = True, *, title: str | None = None) -> Figure:
    """Draw how several variables add up over time, as shares of their sum or in their own unit.

    Parameters
    ----------
    run
        The run.
    variables
        Names of variables that are not negative and carry the same unit.
    shares
        True draws each as a share of the sum, in per cent (a sum of zero leaves a gap).
    title
        Heading; none when left out.
    """
    with look():
        figure = blank()
        axes = figure.subplots()
        layers = np.vstack([run[name] for name in variables])
        if shares:
            total = layers.sum(axis=0)
            layers = 100 * np.divide(layers, total, out=np.full_like(layers, np.nan), where=total > 0)
        edges = np.vstack([np.zeros(layers.shape[1]), np.cumsum(layers, axis=0)])
        ends = []
        for number, name in enumerate(variables):
            colour = PALETTE[number % len(PALETTE)]
            axes.fill_between(
                run.times, edges[number], edges[number + 1], color=colour, alpha=0.82, linewidth=0, label=name
            )
            axes.plot(run.times, edges[number + 1], color=PAPER, linewidth=0.9)
            ends.append((float(edges[number, -1] + edges[number + 1, -1]) / 2, name, colour))
        axes.set_ylim(0, 100 if shares else None)
        axes.set_xlabel(time_label(run))
        head(axes, title, "share of the sum, %" if shares else unit_label(run.unit(variables[0])))
        tidy_values(axes, ground=False)
        label_ends(axes, ends)
    return figure


def phase(
    runs: Run | Sequence[Run],
    x: str,
    y: str,
    *,
    title: str | None = None,
    groups: Mapping[str, str] | None = None,
    border: tuple[ArrayLike, ArrayLike, str] | None = None,
) -> Figure:
    """Draw the path of runs through the plane of two variables, from an open to a full circle.

    Parameters
    ----------
    runs
        One run or several.
    x, y
        Names of the variables on the two axes.
    title
        Heading; none when left out.
    groups
        Scenario name -> group; runs of a group share a colour and one entry of the legend
        (many paths into two resting places are then read at a glance).
    border
        (x, y, label) of a line in the plane, such as the separatrix of the starts; drawn broken.
    """
    chosen = _several(runs)
    names = [(groups or {}).get(run.scenario, run.scenario) for run in chosen]
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(dict.fromkeys(names))}
    with look():
        figure = blank(width=5.4, height=4.2)
        axes = figure.subplots()
        for run, name in zip(chosen, names, strict=True):
            along, up = run[x], run[y]
            first = name in colours and not any(line.get_label() == name for line in axes.lines)
            axes.plot(along, up, color=colours[name], linewidth=1.4, label=name if first else "_")
            axes.plot(along[0], up[0], "o", color=colours[name], mfc=PAPER, ms=4.5, mew=1.2)
            axes.plot(along[-1], up[-1], "o", color=colours[name], ms=5.5)
            point_along(axes, along, up, colours[name])
        if border is not None:
            along, up = np.asarray(border[0], dtype=float), np.asarray(border[1], dtype=float)
            axes.plot(along, up, color=INK, linewidth=1.3, linestyle=(0, (4, 2)), label=border[2])
        axes.set_xlabel(with_unit(x, chosen[0].unit(x)))
        axes.set_ylabel(with_unit(y, chosen[0].unit(y)))
        axes.margins(0.05)
        tidy_values(axes, ground=False)
        if title:
            axes.set_title(title)
        if len(colours) > 1 or border is not None:
            legend_above(figure, axes)
    return figure


def threshold(
    values: ArrayLike,
    outcomes: ArrayLike,
    *,
    separatrix: float | None = None,
    x_label: str,
    y_label: str,
    title: str | None = None,
    mark: tuple[float, str] | None = None,
    sides: tuple[str, str] = ("", ""),
) -> Figure:
    """Draw an outcome against the value a run started from, with the separatrix marked.

    Parameters
    ----------
    values, outcomes : shape (n_runs,)
        Starting values and what each run ended with.
    separatrix
        The starting value that parts the two outcomes; points on its sides take two colours.
    x_label, y_label
        What the axes show, units included.
    title
        Heading; none when left out.
    mark
        A starting value to point out, with its label, for instance the fitted one.
    sides
        Words for the outcomes below and above the separatrix, written into the two halves.
    """
    with look():
        figure = blank(width=6.4, height=3.5)
        axes = figure.subplots()
        draw_threshold(axes, values, outcomes, separatrix=separatrix, mark=mark, sides=sides)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if title:
            axes.set_title(title)
    return figure


def draw_threshold(
    axes: Axes,
    values: ArrayLike,
    outcomes: ArrayLike,
    *,
    separatrix: float | None = None,
    mark: tuple[float, str] | None = None,
    sides: tuple[str, str] = ("", ""),
) -> None:
    """Draw into a chart what `threshold` draws, without its titles; arguments as there."""
    start = np.asarray(values, dtype=float)
    end = np.asarray(outcomes, dtype=float)
    order = np.argsort(start)
    start, end = start[order], end[order]
    above = np.ones(start.size, bool) if separatrix is None else start > separatrix
    for side, colour in ((~above, PALETTE[1]), (above, PALETTE[0])):
        axes.plot(start[side], end[side], "-o", color=colour, ms=3.6, linewidth=1.4)
    room = 0.04 * (start[-1] - start[0])
    axes.set_xlim(start[0] - room, start[-1] + room)
    tidy_values(axes)
    if end.min() >= 0:
        axes.set_ylim(0, max(axes.get_ylim()[1], end.max() * 1.2))
    if separatrix is not None:
        axes.axvline(separatrix, color=INK, linewidth=1, linestyle=(0, (4, 2)))
        between = _clear_height(axes, end[~above], end[above])
        label = f"threshold {separatrix:.3g}"
        name_upright(axes, separatrix, label, INK, height=between, others=[mark[0]] if mark else [])
        for place, colour, text in zip((0.0, 1.0), (PALETTE[1], PALETTE[0]), sides, strict=True):
            axes.text(
                0.015 + 0.97 * place, 0.97, text, transform=axes.transAxes, color=colour, va="top",
                ha="right" if place else "left",
            )  # fmt: skip
    if mark is not None:
        axes.axvline(mark[0], color=MUTED, linewidth=1)
        others = [] if separatrix is None else [separatrix]
        name_upright(axes, mark[0], mark[1], MUTED, height=0.14 if others else 0.05, others=others)


def _clear_height(axes: Axes, below: NDArray[np.float64], above: NDArray[np.float64]) -> float:
    """Where beside a jump a name stands clear of the dots: at the foot, or in the jump if dots lie low."""
    low, high = axes.get_ylim()
    if not below.size or not above.size:
        return 0.05
    lower, upper = ((float(value) - low) / (high - low) for value in (below.max(), above.min()))
    near_foot = float(below.min() - low) / (high - low) < 0.3
    return 0.5 * (lower + upper) - 0.06 if near_foot and upper - lower > 0.25 else 0.05


def time_label(run: Run) -> str:
    """Name the axis of time by the run's unit of time, `year` unless its provenance tells another."""
    horizon = run.provenance.get("horizon")
    told = horizon.get("unit") if isinstance(horizon, Mapping) else None
    return str(told or "year").lower()


def response(
    values: ArrayLike,
    outcomes: Mapping[str, ArrayLike],
    *,
    x_label: str,
    y_label: str,
    title: str | None = None,
    mark: tuple[float, str] | None = None,
    log: bool = False,
) -> Figure:
    """Draw how one or several outcomes answer to a value that is varied.

    Parameters
    ----------
    values : shape (n_runs,), increasing
        The value varied, for instance a lever from 0 to 1.
    outcomes
        Label -> outcomes, each shape (n_runs,); a single curve is not labelled.
    x_label
        What the horizontal axis shows, its unit included.
    y_label
        The unit of the outcomes.
    title
        Heading; none when left out.
    mark
        A value to point out, with its label.
    log
        True draws the outcomes on a log scale over at most four powers of ten.
    """
    varied = np.asarray(values, dtype=float)
    with look():
        figure = blank(width=6.4, height=3.3)
        axes = figure.subplots()
        ends = []
        for number, (label, answers) in enumerate(outcomes.items()):
            colour = PALETTE[number % len(PALETTE)]
            answer = np.asarray(answers, dtype=float)
            axes.plot(varied, answer, color=colour, label=label)
            ends.append((float(answer[-1]), label, colour))
        axes.set_xlim(varied[0], varied[-1])
        axes.set_xlabel(x_label)
        head(axes, title, y_label)
        tidy_values(axes)
        if log:
            _set_log(axes)
        if len(outcomes) > 1 and log:
            legend_above(figure, axes)  # what falls out of the scale has no end to be named at
        elif len(outcomes) > 1:
            label_ends(axes, ends)
        if mark is not None:
            axes.axvline(mark[0], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            name_upright(axes, mark[0], mark[1], MUTED)
    return figure


def bars(values: Mapping[str, float], *, y_label: str, title: str | None = None) -> Figure:
    """Draw a few numbers side by side as upright bars with their values on top.

    Parameters
    ----------
    values
        Label -> number, in reading order.
    y_label
        Their unit.
    title
        Heading; none when left out.
    """
    with look():
        figure = blank(width=5.4, height=3.2)
        axes = figure.subplots()
        places = np.arange(len(values))
        heights = list(values.values())
        axes.bar(places, heights, width=0.62, color=[PALETTE[i % len(PALETTE)] for i in range(len(heights))])
        for place, height in zip(places, heights, strict=True):
            axes.annotate(
                tick_text(float(f"{height:.3g}")), xy=(float(place), height), xytext=(0, 3),
                textcoords="offset points", ha="center",
            )  # fmt: skip
        head(axes, title, y_label)
        tidy_values(axes)
        axes.set_ylim(min(0.0, *heights) * 1.12, max(0.0, *heights) * 1.12)
        axes.set_xlim(-0.6, len(heights) - 0.4)
        axes.set_xticks(places, [textwrap.fill(label, 18) for label in values])
        axes.tick_params(axis="x", length=0, labelcolor=INK)
    return figure


def draw_lines(
    axes: Axes, runs: Sequence[Run], variable: str, *, reference: str | None = None
) -> list[tuple[float, str, str]]:
    """Draw one line for each run and give (last value, label, colour) of each, for `label_ends`."""
    ends = []
    colours = iter(range(len(runs)))
    for run in runs:
        is_reference = run.scenario == reference
        colour = INK if is_reference else PALETTE[next(colours) % len(PALETTE)]
        values = run[variable]
        axes.plot(
            run.times, values, color=colour, label=run.scenario,
            linewidth=2.2 if is_reference else 1.7, zorder=3 if is_reference else 2.5,
        )  # fmt: skip
        ends.append((float(values[-1]), run.scenario, colour))
    start = min(float(run.times[0]) for run in runs)
    end = max(float(run.times[-1]) for run in runs)
    axes.set_xlim(start, end)
    return ends


def _set_log(axes: Axes) -> None:
    """Put the value axis on a log scale of at most four powers of ten below the highest value."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    top = float(axes.dataLim.y1)
    axes.set_yscale("log")
    axes.set_ylim(max(top * 1e-4, float(axes.dataLim.minposy) * 0.8), top * 1.5)
    axes.yaxis.set_major_locator(LogLocator(10))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(tick_text))


def _is_share(runs: Sequence[Run], variable: str) -> bool:
    """Tell whether a variable is a pure number that stays between 0 and 1 in all runs."""
    pure = unit_label(runs[0].unit(variable)) == "dimensionless"
    return pure and all(run[variable].min() >= 0 and run[variable].max() <= 1 for run in runs)


def _several(runs: Run | Sequence[Run]) -> list[Run]:
    """Give a list of runs from one or many."""
    chosen = list(runs) if isinstance(runs, Sequence) else [runs]
    if not chosen:
        raise ValueError("nothing to draw: give at least one run")
    return chosen


def _points(data: Mapping[float, float] | pd.Series[float]) -> tuple[list[float], list[float]]:
    pairs = [(float(str(year)), float(value)) for year, value in data.items()]
    return [year for year, _ in pairs], [value for _, value in pairs]
