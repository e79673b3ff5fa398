"""Figures of what the data cannot say: profiles, collinearity, narrowing of priors, worth of further figures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.collinearity import INSEPARABLE
from calibration.landscape import width
from sd_cluster.look import (
    GRID,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    WIDTH,
    blank,
    head,
    look,
    tick_text,
    with_unit,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from calibration.identifiability import Identification
    from calibration.profiles import Profile
    from calibration.statistics import Floats
    from calibration.worth import Worth

_DATA, _WARN, _PRIOR = PALETTE[0], PALETTE[1], MUTED
_WIDE = 8.0
"""Ratio of the values shown from which an axis is logarithmic."""
_TALL = 1.6
"""Height of a profile's chart, in cut-offs."""
_ALIKE = 1.1
"""Least collinearity index with another for an unknown to be drawn in the matrix."""


def draw_profiles(
    profiles: Mapping[str, Profile] | Sequence[Profile], alone: Mapping[str, Profile] | None = None, *, columns: int = 3
) -> Figure:
    """Draw the payoff over each unknown as small multiples.

    The line is the least payoff above the optimum, cut off at the dashed line where the interval ends; points are what
    was computed, the shade at the foot is the density of the prior, to a height of its own.

    Parameters
    ----------
    profiles
        What `profiles` gave, with the priors.
    alone
        The same without the priors' penalties, drawn beside them.
    columns
        Charts beside one another.
    """
    chosen = list(profiles.values()) if isinstance(profiles, Mapping) else list(profiles)
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    marks: dict[str, Any] = {}
    with look():
        figure = blank(height=0.55 + 1.8 * rows)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, one in zip(grid.flat, chosen, strict=False):
            _draw_profile(axes, one, (alone or {}).get(one.name), marks)
            name = with_unit(one.name, one.unit)
            head(axes, textwrap.fill(name, 78 // columns), "rise of the payoff")
        for axes in list(grid.flat)[len(chosen) :]:
            axes.set_axis_off()
        shown = [name for name in ("with priors", "data alone", "cut-off", "optimum", "prior") if name in marks]
        handles = [marks[name] for name in shown]
        figure.legend(handles, shown, loc="outside upper left", ncols=len(shown), handlelength=1.4)
    return figure


def _draw_profile(axes: Axes, one: Profile, alone: Profile | None, marks: dict[str, Any]) -> None:
    own = one.names.index(one.name)
    values, rises = one.curve()
    shown = values[rises <= _TALL * one.cut]
    if alone is not None:
        beside, above = alone.curve()
        (marks["data alone"],) = axes.plot(beside, above, color=_WARN, linewidth=1.3)
        shown = np.concatenate([shown, beside[above <= _TALL * one.cut]])
    low, high = float(shown.min()), float(shown.max())
    if low > 0.0 and high > _WIDE * low:
        axes.set_xscale("log")
        room = (high / low) ** 0.04
        low, high = low / room, high * room
    else:
        low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    span = np.geomspace(low, high, 200) if axes.get_xscale() == "log" else np.linspace(low, high, 200)
    density = _density(one, span, log=axes.get_xscale() == "log")
    marks["prior"] = axes.fill_between(span, 0.0, density * one.cut * 0.7, color=GRID, linewidth=0, zorder=1)
    (marks["with priors" if one.priors else "data alone"],) = axes.plot(values, rises, color=_DATA, zorder=3)
    axes.plot(one.values[:, own], one.rises, "o", color=_DATA, mfc=PAPER, ms=2.8, mew=0.8, zorder=4)
    marks["cut-off"] = axes.axhline(one.cut, color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)), zorder=2)
    for end, side in zip(one.interval, one.sides, strict=True):
        if side in ("bounded", "prior", "cliff"):
            axes.vlines(end, 0.0, one.cut, color=MUTED, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=2)
    (marks["optimum"],) = axes.plot([one.value], [0.0], "o", color=INK, ms=4.0, clip_on=False, zorder=5)
    axes.set_xlim(low, high)
    axes.set_ylim(0.0, _TALL * one.cut)
    _ticks(axes)


def _ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if axes.get_xscale() == "log":
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axes.xaxis.set_minor_formatter(NullFormatter())
        low, high = axes.get_xlim()
        if high > 60 * low:
            axes.xaxis.set_major_locator(LogLocator(numticks=8))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(tick_text))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.grid(axis="x", visible=False)


def _density(one: Profile, values: Floats, *, log: bool) -> Floats:
    """Density of the prior of the value (of its logarithm on a logarithmic axis), its greatest being one."""
    inside = (values > one.prior.low) & (values < one.prior.high)
    found = np.zeros(len(values))
    places = np.asarray(one.prior.place(values[inside]))
    slopes = np.asarray(one.prior.slope(places))
    with np.errstate(divide="ignore", over="ignore"):
        found[inside] = np.exp(np.asarray(one.prior.log_density(places))) / slopes * (values[inside] if log else 1.0)
    found[~np.isfinite(found)] = 0.0
    return found / (found.max() or 1.0)


def draw_collinearity(found: Identification) -> Figure:
    """Draw which unknowns look alike to the data: a matrix of pairs.

    Below the diagonal stands the correlation under the posterior, above it the collinearity index of the data alone;
    indices above 20, where a pair cannot be told apart by its shape, are framed. Unknowns that have to do with no
    other, as scales of noise, are left out.
    """
    pairs = np.where(np.isnan(found.pairs) | np.eye(len(found.names), dtype=bool), 1.0, found.pairs)
    met = ~found.held & (pairs > _ALIKE).any(axis=1)
    rows = np.flatnonzero(met) if met.sum() > 1 else np.flatnonzero(~found.held)
    names, size = [found.names[k] for k in rows], len(rows)
    with look():
        figure = blank(width=min(WIDTH, 2.6 + 0.5 * size), height=min(WIDTH, 2.2 + 0.42 * size))
        axes = figure.subplots()
        for row in range(size):
            for column in range(size):
                if row != column:
                    _cell(axes, found, (int(rows[row]), int(rows[column])), (row, column))
        axes.plot([-0.5, size - 0.5], [-0.5, size - 0.5], color=MUTED, linewidth=0.8)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.set_yticks(range(size), names)
        axes.set_xticks(range(size), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.tick_params(length=0, labelcolor=INK)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        told = "above: collinearity index, framed where a pair cannot be parted\nbelow: correlation under the posterior"
        axes.set_title(told, fontweight="normal", color=MUTED, fontsize=8.5)
    return figure


def _cell(axes: Axes, found: Identification, pair: tuple[int, int], at: tuple[int, int]) -> None:
    """A coloured square with its number: deeper where two unknowns are more alike."""
    from matplotlib.patches import Rectangle

    row, column = at
    above = column > row
    number = float((found.pairs if above else found.correlation)[pair])
    if np.isnan(number):
        return
    strength = float(np.clip(np.log(number) / np.log(INSEPARABLE), 0.0, 1.0)) if above else min(abs(number), 1.0)
    colour = PALETTE[4] if above else PALETTE[5] if number > 0.0 else PALETTE[1]
    axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, facecolor=GRID, alpha=0.35, linewidth=0))
    axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, facecolor=colour, alpha=strength, linewidth=0))
    if above and number > INSEPARABLE:
        axes.add_patch(Rectangle((column - 0.44, row - 0.44), 0.88, 0.88, fill=False, edgecolor=INK, linewidth=1.4))
    if above:
        text = "∞" if np.isinf(number) else f"{number:.0f}" if number >= 9.5 else f"{number:.1f}"
    else:
        text = f"{number:.1f}".replace("-", "−") if abs(number) >= 0.05 else "0"
    axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=INK)


def draw_narrowing(found: Identification) -> Figure:
    """Draw by how much the data narrow each unknown against its prior, the best known first.

    A full bar is an unknown that the data tell exactly; beside it stands the standard error that is left.
    """
    free = np.flatnonzero(~found.held)
    order = free[np.argsort(found.narrowed[free], kind="stable")]
    mixed = {name for one in found.confounded for name in one.names}
    with look():
        figure = blank(width=0.94 * WIDTH, height=0.9 + 0.24 * len(order))
        axes = figure.subplots()
        axes.barh(range(len(order)), 100.0, height=0.62, color=GRID)
        for place, k in enumerate(order):
            told = found.names[k] not in mixed
            label = "told by itself" if told else "others make up for it"
            axes.barh(place, 100.0 * found.narrowed[k], height=0.62, color=_DATA if told else _WARN, label=label)
            relative = bool(found.relative[k])
            left, before = _short(found.errors[k], relative), _short(found.prior_errors[k], relative)
            axes.text(101.5, place, f"{left}, from {before}", va="center", fontsize=8)
        axes.set_yticks(range(len(order)), [found.names[k] for k in order])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(0.0, 135.0)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.spines["bottom"].set_bounds(0, 100)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("narrowing of the prior by the data, %; beside it the standard error", loc="left")
        _legend_once(figure, axes)
    return figure


def draw_worth(found: Worth, *, most: int = 12) -> Figure:
    """Draw what further figures would bring, and what would be lost without each present series.

    For one target bars are the change of its standard error in per cent; for several they are bits of information, and
    the text tells the unknown that changes most. A bar that would be far longer than the others is cut, and numbered.

    Parameters
    ----------
    found
        What `worth` gave.
    most
        Most candidates to draw, the best ones.
    """
    single = len(found.targets) == 1
    items = [*found.further[:most], *found.without][::-1]
    amounts = np.array([100.0 * item.narrowing if single else item.information for item in items])
    reach = max(float(amounts.max(initial=0.0)), 0.1)
    floor = -1.2 * max(reach, 25.0 if single else 2.0)
    left = min(max(float(amounts.min(initial=0.0)), floor), 0.0)
    with look():
        figure = blank(width=WIDTH, height=1.0 + 0.3 * len(items))
        axes = figure.subplots()
        for place, (item, amount) in enumerate(zip(items, amounts.tolist(), strict=True)):
            further = item.kind == "further"
            label = "further figures" if further else "without a present series"
            axes.barh(place, max(amount, floor), height=0.62, color=_DATA if further else _WARN, label=label)
            told = f"{_short(item.before, item.relative)} → {_short(item.after, item.relative)}"
            axes.annotate(
                told if single else f"{item.target} {told}", xy=(max(amount, 0.0), place), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=7.5,
            )  # fmt: skip
            if amount < floor:
                cut = f"‹ {amount:,.0f}" + (" %" if single else "")
                axes.annotate(
                    cut.replace("-", "−"), xy=(floor, place), xytext=(3, 0), textcoords="offset points", va="center",
                    fontsize=7.5, color=PAPER,
                )  # fmt: skip
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        names = [("without " if item.kind == "without" else "") + item.label.replace("'", "") for item in items]
        names = [textwrap.fill(name.replace(" %", "\u00a0%"), 44) for name in names]
        axes.set_yticks(range(len(items)), names, fontsize=7.5)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(1.04 * left, reach + (0.3 if single else 0.75) * (reach - left))
        axes.set_xticks([tick for tick in axes.get_xticks() if 1.04 * left <= tick <= 1.02 * reach])
        axes.spines["bottom"].set_bounds(1.04 * left, reach)
        axes.grid(axis="y", visible=False)
        what = f"narrowing of the standard error of {found.targets[0]}, %" if single else "information gained, bits"
        axes.set_xlabel(what, loc="left")
        _legend_once(figure, axes)
    return figure


def _short(error: float, relative: bool) -> str:
    """A standard error in few letters: `×1.7` for a factor."""
    return width(float(error), relative=relative).replace("a factor of ", "×")


def _legend_once(figure: Figure, axes: Axes) -> None:
    """A legend above the chart with each label once."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    named = list(once)[::-1]  # as bars stand, from the top
    figure.legend([once[name] for name in named], named, loc="outside upper left", ncols=len(once), handlelength=1.4)
