"""The house look of every figure: colours, type, ticks, labels, and how a figure becomes a file.

Colours are those of Okabe and Ito (2008, "Color universal design"), which stay apart for colour-blind
readers. No global state is touched: no pyplot, no change of the reader's own settings. Matplotlib is
imported inside functions, so that a program which draws nothing does not wait for it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sd_cluster.files import write_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INK = "#22303c"
MUTED = "#6b7885"
GRID = "#e1e6ea"
PAPER = "#ffffff"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#9a4d9c", "#e69f00", "#56b4e9", "#8c564b", "#7f8c98")

WIDTH = 7.2
"""Width of a full figure, in inches: the text column of the report at its natural size."""

_STYLE: dict[Any, object] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlepad": 7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.0,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "lines.dash_capstyle": "round",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "path.simplify": True,
}


@contextmanager
def look() -> Iterator[None]:
    """Hold the house look while a figure is drawn or written; the reader's settings come back after.

    Matplotlib's own defaults are the ground, so a personal `matplotlibrc` changes nothing.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def blank(width: float = WIDTH, height: float = 3.4) -> Figure:
    """Give an empty figure of the house, to be filled inside `with look():`; sizes in inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.04)
    return Figure(figsize=(width, height), layout=engine)


def head(axes: Axes, title: str | None, unit: str) -> None:
    """Write the title over a chart and below it, level with the eye, the unit of the value axis."""
    axes.set_ylabel(unit, rotation=0, ha="left", va="bottom")
    axes.yaxis.set_label_coords(0.0, 1.015)
    if title:
        axes.set_title(title, pad=18)


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], *, wrap: int = 20) -> None:
    """Write labels beside the right edge at the height of each line's end, moved apart where they meet.

    Parameters
    ----------
    axes
        A chart whose limits are final.
    ends
        (value, label, colour) of each line.
    wrap
        Letters after which a label breaks.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    position = axes.get_position()
    points = axes.figure.get_figheight() * 72 * position.height  # type: ignore[union-attr]
    texts = [textwrap.fill(text, wrap) for _, text, _ in ends]
    needed = np.array([(text.count("\n") + 1) * 10.5 / points for text in texts])
    wanted = np.array([(value - low) / (high - low) for value, _, _ in ends])
    placed = spread(np.nan_to_num(wanted), needed)
    for (_, _, colour), text, height, at in zip(ends, texts, placed, wanted, strict=True):
        moved = abs(height - at) > 0.02
        thread = {"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 1, "shrinkB": 1, "relpos": (0.0, 0.5)}
        axes.annotate(
            text, xy=(1.0, at), xytext=(1.035 if moved else 1.015, height),
            xycoords="axes fraction", textcoords="axes fraction", color=colour, va="center", ha="left",
            fontsize=8.5, annotation_clip=False, arrowprops=thread if moved else None,
        )  # fmt: skip


def spread(wanted: NDArray[np.float64], needed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move heights apart until each has the room it needs, as little as possible and in the same order.

    >>> spread(np.array([0.5, 0.5]), np.array([0.1, 0.1]))
    array([0.45, 0.55])
    """
    order = np.argsort(wanted, kind="stable")
    clusters: list[list[int]] = []

    def centre(members: list[int]) -> float:
        offsets, below = [], 0.0
        for member in members:
            offsets.append(wanted[member] - (below + needed[member] / 2))
            below += float(needed[member])
        return float(np.mean(offsets)) + below / 2

    def room(members: list[int]) -> float:
        return float(sum(needed[member] for member in members))

    for index in order:
        clusters.append([int(index)])
        while len(clusters) > 1:
            last, before = clusters[-1], clusters[-2]
            if centre(last) - room(last) / 2 >= centre(before) + room(before) / 2 - 1e-12:
                break
            clusters[-2:] = [before + last]
    placed = np.empty_like(wanted)
    for members in clusters:
        edge = centre(members) - room(members) / 2
        for member in members:
            placed[member] = edge + needed[member] / 2
            edge += needed[member]
    return placed


def legend_above(figure: Figure, axes: Axes) -> None:
    """Put one legend for the whole figure above its charts, from the lines of one of them."""
    handles, labels = axes.get_legend_handles_labels()
    across, used = len(labels), sum(len(label) + 6 for label in labels)
    limit = int(figure.get_figwidth() * 15)
    while across > 1 and used * across / len(labels) > limit:
        across -= 1
    figure.legend(handles, labels, loc="outside upper left", ncols=across, handlelength=1.4, columnspacing=1.6)


def tick_text(value: float, position: int | None = None) -> str:
    """Write a tick so that big numbers have commas and small ones no idle noughts.

    >>> tick_text(150000.0), tick_text(0.25), tick_text(-3.0)
    ('150,000', '0.25', '−3')
    """
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"
    return text.replace("-", "−")


def tidy_values(axes: Axes, *, ticks: int = 5, across: int = 6, ground: bool = True, share: bool = False) -> None:
    """Give the value axis few round ticks, and let it stand on zero unless that would hide the shape.

    Parameters
    ----------
    axes
        A chart with its lines drawn.
    ticks, across
        About how many ticks on the value axis, and along the foot.
    ground
        False leaves the limits as they are.
    share
        True for what lies between 0 and 1 by its nature: it stands on zero always.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(tick_text))
    axes.xaxis.set_major_locator(MaxNLocator(across, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
    axes.grid(axis="x", visible=False)
    if not ground:
        return
    low, high = axes.dataLim.y0, axes.dataLim.y1
    if np.isfinite([low, high]).all() and low >= 0 and high > 0 and (low < 0.6 * high or share):
        axes.set_ylim(0, high * 1.06)


def _plain_number(value: float, position: int | None = None) -> str:
    """Write a tick of the axis of time: years bear no comma."""
    return f"{value:.6g}".replace("-", "−")


def name_upright(
    axes: Axes, at: float, text: str, colour: str, *, height: float = 0.05, others: Sequence[float] = ()
) -> None:
    """Name an upright line along its foot: on its right if there is room, else on its left, else in two lines.

    Parameters
    ----------
    axes
        A chart whose limits are final.
    at, text, colour
        Of the line.
    height
        Of the name's foot, as a part of the chart.
    others
        Where other upright lines stand, which the name should not cross.
    """
    low, high = axes.get_xlim()
    width = axes.figure.get_figwidth() * 72 * axes.get_position().width  # type: ignore[union-attr]
    right = (min([high, *(one for one in others if one > at)]) - at) / (high - low) * width
    left_room = (at - max([low, *(one for one in others if one < at)])) / (high - low) * width
    if _letters(text) > max(right, left_room):
        text = "\n".join(text.rsplit(" ", 1))
    left = _letters(text) > right and left_room > right
    axes.annotate(
        text, xy=(at, height), xycoords=("data", "axes fraction"), xytext=(-5 if left else 5, 0),
        textcoords="offset points", color=colour, ha="right" if left else "left", va="bottom",
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.0},
    )  # fmt: skip


def _letters(text: str) -> float:
    """About how many points a label is wide, its distance from the line included."""
    return 10.0 + 4.6 * max(map(len, text.split("\n")))


def point_along(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], colour: str) -> None:
    """Show the direction of a path by an arrow head at the middle of its length."""
    spans = np.hypot(np.diff(x) / (np.ptp(x) or 1.0), np.diff(y) / (np.ptp(y) or 1.0))
    along = np.concatenate([[0.0], np.cumsum(spans)])
    if along[-1] <= 0:
        return
    middle = int(np.clip(np.searchsorted(along, along[-1] / 2), 1, len(x) - 1))
    head = {"arrowstyle": "-|>", "color": colour, "lw": 1.2, "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0}
    axes.annotate(
        "", xy=(x[middle], y[middle]), xytext=(x[middle - 1], y[middle - 1]), arrowprops=head,
    )  # fmt: skip


def slug(text: str) -> str:
    """Turn a name into one fit for a file.

    >>> slug("4.1 enterprises, all levers")
    '4-1-enterprises-all-levers'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def sentence_case(text: str) -> str:
    """Give a name a capital first letter and leave the rest as the modeller wrote it."""
    return text[:1].upper() + text[1:]


def unit_label(units: str) -> str:
    """Write a unit as a reader wants it: `dmnl` in full, one space round no stroke.

    >>> unit_label("Dmnl"), unit_label("idea/(firm*Year)")
    ('dimensionless', 'idea/(firm·year)')
    """
    plain = units.strip()
    if plain.lower() in {"", "1", "dmnl", "dimensionless"}:
        return "dimensionless"
    return re.sub(r"\s*\*\s*", "·", plain).replace("Year", "year")


def with_unit(name: str, units: str) -> str:
    """Write `name` with its unit in brackets, or alone when it is a pure number."""
    label = unit_label(units)
    return sentence_case(name) if label == "dimensionless" else f"{sentence_case(name)} ({label})"


def save(figure: Figure, folder: str | Path, name: str) -> tuple[Path, Path]:
    """Write a figure as `name.png` (150 dots per inch) and `name.svg`; give both paths.

    Each file is written beside its place and then renamed, so a reader never meets half a file,
    and neither holds a date: the same figure is the same bytes.
    """
    import matplotlib

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    png, svg = place / f"{name}.png", place / f"{name}.svg"
    with look():
        matplotlib.rcParams["svg.hashsalt"] = name
        write_beside(png, lambda path: figure.savefig(path, format="png", dpi=150, metadata={"Software": None}))
        write_beside(
            svg,
            lambda path: figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}),
        )
    return png, svg
