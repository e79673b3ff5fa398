"""Figures of a study: the waterfall of starts, intervals side by side, draws beside priors, traces and predictions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from calibration.statistics import Floats
from sd_cluster.look import (
    INK,
    MUTED,
    PALETTE,
    PAPER,
    blank,
    head,
    legend_above,
    look,
    sentence_case,
    tidy_values,
    unit_label,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calibration.dataset import Series
    from calibration.fit import Fit
    from calibration.forecasts import Forecast
    from calibration.objective import Objective
    from calibration.posterior import Posterior

CUT = 1.92
"""Rise of the payoff that the data cannot tell."""
_LEAST = 1e-3
"""Rises below this are drawn as none: on a scale of logarithms there is no zero."""


def draw_waterfall(fit: Fit) -> Figure:
    """Draw how much worse than the best each start ended, best first, on a logarithmic scale."""
    from matplotlib.ticker import MaxNLocator

    rises = np.sort([one.payoff - fit.payoff for one in fit.starts if not one.failed])
    failed = len(fit.starts) - len(rises)
    with look():
        figure = blank(height=2.6)
        axes = figure.subplots()
        places = 1 + np.arange(len(rises))
        close = rises <= CUT
        shown = np.maximum(rises, _LEAST)
        for mask, colour, label in (
            (close, PALETTE[0], "within the cut-off of the best"),
            (~close, MUTED, "worse than that"),
        ):
            if mask.any():
                axes.plot(places[mask], shown[mask], "o", color=colour, ms=4.6, label=label)
        if failed:
            top = float(shown.max(initial=1.0)) * 4
            axes.plot(
                len(rises) + 1 + np.arange(failed), np.full(failed, top), "x", color=PALETTE[1], ms=5, label="failed"
            )
        axes.axhline(CUT, color=PALETTE[1], linewidth=1.1, linestyle=(0, (4, 2)), label=f"cut-off, {CUT:g}")
        axes.set_yscale("log")
        axes.set_ylim(_LEAST / 2, max(10.0, float(shown.max(initial=1.0)) * (8 if failed else 2)))
        axes.set_xlim(0.5, len(fit.starts) + 0.5)
        head(axes, None, "payoff above the best")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("start, best first")
        axes.minorticks_off()
        legend_above(figure, axes)
    return figure


def draw_intervals(rows: Mapping[str, Mapping[str, tuple[float, float, float]]], level: float) -> Figure:
    """Draw intervals of several kinds for each unknown, on the scale of its prior.

    Parameters
    ----------
    rows
        Unknown -> kind -> (low, middle, high), each a share of the prior below it, from 0 to 1.
    level
        Of the intervals.
    """
    kinds = list(dict.fromkeys(kind for some in rows.values() for kind in some))
    colours = dict(zip(kinds, PALETTE, strict=False))
    with look():
        figure = blank(height=0.9 + 0.36 * len(rows))
        axes = figure.subplots()
        for number, some in enumerate(rows.values()):
            for offset, kind in enumerate(kinds):
                if kind not in some:
                    continue
                at = -number - (offset - (len(kinds) - 1) / 2) * 0.24
                low, middle, high = (100 * share for share in some[kind])
                label = kind if kind not in axes.get_legend_handles_labels()[1] else None
                axes.plot([low, high], [at, at], color=colours[kind], linewidth=2.6, solid_capstyle="butt", label=label)
                axes.plot(middle, at, "o", color=colours[kind], mfc=PAPER, ms=4.2, mew=1.3)
        axes.set_yticks(-np.arange(len(rows)), [textwrap.fill(name, 30) for name in rows])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.set_xlim(-1, 101)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"share of the prior below, % (intervals of {100 * level:g} %)")
        legend_above(figure, axes)
    return figure


def draw_marginals(posterior: Posterior, objective: Objective, names: Sequence[str]) -> Figure:
    """Draw the draws of each unknown as bars beside the density of its prior."""
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with look():
        figure = blank(height=0.5 + 1.55 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            drawn = posterior[name].ravel()
            low, high = np.quantile(drawn, [0.002, 0.998])
            pad = 0.12 * (high - low) or 1.0
            low, high = low - pad, high + pad
            axes.hist(
                drawn, bins=28, range=(low, high), density=True, color=PALETTE[0], alpha=0.6, label="posterior draws"
            )
            values, density = _prior_density(objective, name, low, high)
            axes.plot(values, density, color=PALETTE[1], linewidth=1.4, label="prior")
            axes.set_title(textwrap.fill(sentence_case(name), 84 // columns), pad=5, fontsize=8)
            tidy_values(axes, across=2, ground=False)
            axes.set_yticks([])
            axes.grid(visible=False)
            axes.set_xlim(low, high)
        for axes in list(grid.flat)[len(names) :]:
            axes.set_axis_off()
        legend_above(figure, grid[0, 0])
    return figure


def _prior_density(objective: Objective, name: str, low: float, high: float) -> tuple[Floats, Floats]:
    """Density of a prior over the values shown: differences of the share below."""
    prior = objective.priors[name]
    if name.endswith("]") and f"mean of {name.rpartition(' [')[0]}" in objective.names:
        return np.array([low, high]), np.array([np.nan, np.nan])  # pooled: its prior hangs on the others
    edges = np.linspace(max(low, prior.low), min(high, prior.high), 160)
    shares = np.asarray(prior.share(prior.place(edges)))
    return 0.5 * (edges[1:] + edges[:-1]), np.diff(shares) / np.diff(edges)


def draw_traces(posterior: Posterior, names: Sequence[str]) -> Figure:
    """Draw the draws of each unknown in the order they came, a colour for each chain: they should mix like grass."""
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    chains = min(4, len(posterior.log_density))
    with look():
        figure = blank(height=0.5 + 1.35 * rows)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for axes, name in zip(grid.flat, names, strict=False):
            for number in range(chains):
                axes.plot(posterior[name][number], color=PALETTE[number], linewidth=0.5, alpha=0.85)
            axes.set_title(textwrap.fill(sentence_case(name), 84 // columns), pad=5, fontsize=8)
            tidy_values(axes, ticks=3, across=3, ground=False)
        for axes in list(grid.flat)[len(names) :]:
            axes.set_axis_off()
        for axes in list(grid.flat)[max(0, len(names) - columns) : len(names)]:
            axes.set_xlabel("draw")
            axes.tick_params(labelbottom=True)
    return figure


def draw_predictions(forecast: Forecast, series: Mapping[str, Series], indicators: Sequence[str]) -> Figure:
    """Draw what the model says of each series, with its doubt, beside the figures.

    The dark band is the doubt about the model (95 %), the light one holds figures with their noise (95 %); the dotted
    line stands behind the last figure.
    """
    columns = 1 if len(indicators) == 1 else 2 if len(indicators) in (2, 4) else 3
    rows = -(-len(indicators) // columns)
    with look():
        figure = blank(height=0.5 + 2.3 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, name in zip(grid.flat, indicators, strict=False):
            made, known = forecast[name], series[name]
            for noise, alpha, label in ((True, 0.16, "figures, 95 %"), (False, 0.34, "model, 95 %")):
                low, high = made.interval(0.95, noise=noise)
                axes.fill_between(made.years, low, high, color=PALETTE[0], alpha=alpha, linewidth=0, label=label)
            axes.plot(made.years, made.quantile(0.5, noise=False), color=PALETTE[0], label="model, median")
            axes.plot(known.years, known.values, "o", color=INK, mfc=PAPER, ms=3.6, mew=0.9, label="data", zorder=5)
            if made.years[-1] > known.years[-1]:
                axes.axvline(known.years[-1] + 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (1, 1.5)))
            title = textwrap.fill(sentence_case(name.replace("_", " ")), 72 // columns)
            head(axes, title, unit_label(made.unit))
            tidy_values(axes, ticks=5, across=4)
            axes.set_xlim(made.years[0] - 0.5, made.years[-1] + 0.5)
        for axes in list(grid.flat)[len(indicators) :]:
            axes.set_axis_off()
        legend_above(figure, grid[0, 0])
    return figure
