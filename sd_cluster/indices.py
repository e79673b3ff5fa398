"""Indices: how much each parameter matters for each output at each time, with intervals and a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sd_cluster.errors import ModelError, near
from sd_cluster.kernel import Floats

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

WORDS = {
    "first": "first order",
    "total": "total",
    "second": "second order",
    "mu_star": "mean absolute effect",
    "mu": "mean effect",
    "sigma": "spread of effects",
    "median": "median distance",
    "largest": "largest distance",
    "dgsm": "bound on the total index",
    "mean square": "mean squared derivative",
    "delta": "delta",
    "prcc": "partial rank correlation",
    "p": "p-value",
    "shapley": "Shapley effect",
}
"""What the kinds of indices are called in tables and figures."""

SHARES = ("first", "total", "shapley")
"""Kinds that are shares of a variance."""


NEVER_NEGATIVE = ("mu_star", "sigma", "median", "largest", "dgsm", "mean square")
"""Kinds whose intervals end at zero."""


@dataclass(frozen=True, eq=False)
class Indices:
    """What a sensitivity analysis finds.

    Attributes
    ----------
    method
        As people call it.
    parameters, outputs
        Names, in the order of the arrays.
    times : shape (n_times,)
        Of outputs that are courses, then NaN if any output is a number: there its values stand, and nowhere else.
    values, low, high
        By kind (`first`, `total`, ...), each of shape (n_parameters, n_outputs, n_times); the second order has
        (n_parameters, n_parameters, n_outputs, n_times) with NaN on the diagonal. NaN where an output does not
        vary, for then nothing has a share in its variance. A kind without intervals has no `low` and `high`.
    main
        The kind by which parameters are ranked.
    level
        Share that an interval should hold; intervals are the estimate and that many standard errors of a bootstrap,
        cut at zero where a kind is never negative.
    samples, runs, failed, seed
        Samples asked for, model runs they took, how many of those were lost, and the seed of all chance.
    scaled
        Whether the main kind has the output's unit, so that its intervals are judged against its largest value.
    tolerance
        Width of interval above which the verdict is "not settled".
    notes
        What a reader should know, such as outputs that do not vary.
    numbers
        Outputs that are one number a run rather than a course over time.
    """

    method: str
    parameters: tuple[str, ...]
    outputs: tuple[str, ...]
    times: Floats
    values: Mapping[str, Floats]
    low: Mapping[str, Floats]
    high: Mapping[str, Floats]
    main: str
    samples: int
    runs: int
    seed: int
    failed: int = 0
    level: float = 0.95
    tolerance: float = 0.1
    scaled: bool = False
    notes: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("values", "low", "high"):
            tables: dict[str, Floats] = dict(getattr(self, part))
            for table in tables.values():
                table.setflags(write=False)
            object.__setattr__(self, part, MappingProxyType(tables))
        self.times.setflags(write=False)

    def __getitem__(self, kind: str) -> Floats:
        """Values of one kind.

        Raises
        ------
        ModelError
            If this method does not give it.
        """
        if kind not in self.values:
            known = ", ".join(self.values)
            raise ModelError(f"{self.method} gives no '{kind}'{near(kind, self.values)}; there are: {known}")
        return self.values[kind]

    @property
    def over_time(self) -> bool:
        """Whether all outputs are courses over time."""
        return bool(np.isfinite(self.times).all())

    def only(self, output: str) -> Indices:
        """The same for one output alone, over its own times.

        Raises
        ------
        ModelError
            If it was not analysed.
        """
        number, _ = self._which(output, None)
        times = self._own(number)

        def cut(tables: Mapping[str, Floats]) -> dict[str, Floats]:
            return {kind: table[..., number, times][..., None, :] for kind, table in tables.items()}

        return replace(
            self, outputs=(output,), times=self.times[times], values=cut(self.values), low=cut(self.low),
            high=cut(self.high), numbers=tuple(one for one in self.numbers if one == output),
        )  # fmt: skip

    @property
    def settled(self) -> bool:
        """Whether every interval of the main kind is narrower than the tolerance."""
        widths = self._widths()
        return bool(np.isfinite(widths).any()) and not bool(np.nanmax(widths) > self.tolerance)

    @property
    def verdict(self) -> str:
        """Whether the numbers can be leant on, in words, and what to do if not."""
        widths = self._widths()
        if not np.isfinite(widths).any():
            return "nothing to judge: no output varies, or no interval could be drawn"
        j, output, time = np.unravel_index(int(np.nanargmax(widths)), widths.shape)
        widest = float(widths[j, output, time])
        of = "" if len(self.outputs) == 1 and not self.over_time else f" on {self._place(int(output), int(time))}"
        width = f"{widest:.2g} of the largest in width" if self.scaled else f"{widest:.2g} wide"
        where = f"the interval of '{self.parameters[j]}'{of}"
        if widest <= self.tolerance:
            return f"settled: {where} is the widest, and is {width}"
        wide, all_of_them = int((widths > self.tolerance).sum()), int(np.isfinite(widths).sum())
        others = f" ({wide} of {all_of_them} intervals are)" if wide > 1 else ""
        # intervals shrink with the root of the number of samples
        factor = 2 ** max(1, math.ceil(2.0 * math.log2(widest / self.tolerance)))
        more = "double the samples" if factor == 2 else f"take {factor} times the samples"
        return (
            f"not settled: {where} is {width}, wider than {self.tolerance:g}{others}; {more}, {factor * self.samples:,}"
        )

    def ranking(self, output: str | None = None, time: float | None = None) -> tuple[str, ...]:
        """Parameters from the most to the least important by the main kind, at one time (the last one that tells)."""
        column = np.abs(self._column(self.main, *self._which(output, time)))
        order = np.argsort(-np.nan_to_num(column, nan=-1.0), kind="stable")
        return tuple(self.parameters[j] for j in order)

    def frame(self) -> pd.DataFrame:
        """A long table: kind, parameter, with (for pairs), output, time, value, low, high."""
        import pandas as pd

        parts = []
        for kind, values in self.values.items():
            empty = np.full(values.shape, np.nan)
            pairs = values.ndim == 4
            if pairs:
                j, k = np.triu_indices(len(self.parameters), 1)
                tables = [part[j, k] for part in (values, self.low.get(kind, empty), self.high.get(kind, empty))]
                labels = [(self.parameters[a], self.parameters[b]) for a, b in zip(j, k, strict=True)]
            else:
                tables = [values, self.low.get(kind, empty), self.high.get(kind, empty)]
                labels = [(name, "") for name in self.parameters]
            rows = pd.MultiIndex.from_tuples(
                [(kind, one, other, output, time) for one, other in labels for output in self.outputs
                 for time in self.times],
                names=["kind", "parameter", "with", "output", "time"],
            )  # fmt: skip
            columns = dict(zip(("value", "low", "high"), (table.ravel() for table in tables), strict=True))
            parts.append(pd.DataFrame(columns, index=rows).reset_index())
        table = pd.concat(parts, ignore_index=True)
        return table[table["time"].isna() == table["output"].isin(self.numbers)].reset_index(drop=True)

    def __str__(self) -> str:
        lines = [self._headline()]
        for output in range(len(self.outputs)):
            lines += ["", *self._table(output)]
        lines += ["", self.verdict[:1].upper() + self.verdict[1:] + "."]
        lines += [f"Note: {note}." for note in self.notes]
        return "\n".join(lines)

    def plot(self, output: str | None = None, *, kind: str | None = None, time: float | None = None) -> Figure:
        """Draw one output: lines with bands over time, Morris's plane, or bars with whiskers.

        Parameters
        ----------
        output
            The first one where not given.
        kind
            The main kind where not given.
        time
            Draw bars at this time rather than lines over time.

        Raises
        ------
        ModelError
            If there is no such output, kind or time.
        """
        from sd_cluster import charts
        from sd_cluster.look import sentence_case

        chosen = kind or self.main
        if self[chosen].ndim == 4:
            raise ModelError("the second order has a value for each pair; take it from frame()")
        number, at = self._which(output, time)
        if self.numbers and np.isfinite(self.times).any():
            return self.only(self.outputs[number]).plot(kind=kind, time=time)
        if self.over_time and time is None:
            return self._courses(chosen, number)
        title = f"{sentence_case(self._place(number, at).replace(chr(39), ''))}: what moves it ({self.method})"
        if chosen == "mu_star":
            strength, spread = (self._column(one, number, at) for one in ("mu_star", "sigma"))
            bars = self.low["mu_star"][:, number, at], self.high["mu_star"][:, number, at]
            return charts.morris_plane(self.parameters, strength, spread, intervals=bars, title=title)
        kinds = ("first", "total") if chosen == "total" else (chosen,)
        values = {WORDS.get(one, one): self._column(one, number, at) for one in kinds}
        intervals = {
            WORDS.get(one, one): (self.low[one][:, number, at], self.high[one][:, number, at])
            for one in kinds
            if one in self.low
        }
        label = "share of the variance" if len(kinds) == 2 or chosen in SHARES else WORDS.get(chosen, chosen)
        return charts.indices(self.parameters, values, intervals=intervals, x_label=label, title=title)

    def _headline(self) -> str:
        lost = f", {self.failed} lost" if self.failed else ""
        return f"{self.method}: {self.runs:,} runs{lost}, {self.samples:,} samples, seed {self.seed}"

    def _place(self, output: int, time: int) -> str:
        at = f" at {self.times[time]:g}" if np.isfinite(self.times[time]) else ""
        return f"'{self.outputs[output]}'{at}"

    def _widths(self) -> Floats:
        """Widths of the main kind's intervals, against the largest value of their column where it has a unit."""
        if self.main not in self.low:
            return np.full((1, 1, 1), np.nan)
        widths: Floats = self.high[self.main] - self.low[self.main]
        if self.scaled:
            largest = np.abs(self.values[self.main]).max(axis=0)
            widths = widths / np.where(largest > 0.0, largest, np.nan)
        return widths

    def _which(self, output: str | None, time: float | None) -> tuple[int, int]:
        if output is not None and output not in self.outputs:
            raise ModelError(f"no output '{output}' was analysed{near(output, self.outputs)}")
        number = 0 if output is None else self.outputs.index(output)
        own = self._own(number)
        if time is not None:
            if not np.isclose(self.times[own], time).any():
                raise ModelError(f"no indices were worked out at {time:g}; the times are those of .times")
            return number, int(np.nanargmin(np.abs(self.times - time)))
        telling = own[np.isfinite(self.values[self.main][:, number, own]).any(axis=0)]
        return number, int((telling if len(telling) else own)[-1])

    def _own(self, output: int) -> npt.NDArray[np.intp]:
        """Which of the times are an output's."""
        return np.flatnonzero(np.isnan(self.times) == (self.outputs[output] in self.numbers))

    def _column(self, kind: str, output: int, time: int) -> Floats:
        return self.values[kind][:, output, time]

    def _table(self, output: int) -> list[str]:
        _, time = self._which(self.outputs[output], None)
        kinds = [kind for kind, values in self.values.items() if values.ndim == 3]
        rows = [["", *(WORDS.get(kind, kind) for kind in kinds)]]
        for name in self.ranking(self.outputs[output]):
            j = self.parameters.index(name)
            rows.append([name, *(self._cell(kind, j, output, time) for kind in kinds)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [f"{self._place(output, time)}"]
        for row in rows:
            cells = [
                row[0].ljust(widths[0]),
                *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)),
            ]
            lines.append(("  " + "  ".join(cells)).rstrip())
        return lines

    def _cell(self, kind: str, j: int, output: int, time: int) -> str:
        value = float(self.values[kind][j, output, time])
        if not np.isfinite(value):
            return "-"
        if kind not in self.low:
            return "< 1e-16" if kind == "p" and value < 1e-16 else f"{value:.2g}"
        low, high = float(self.low[kind][j, output, time]), float(self.high[kind][j, output, time])
        if self.scaled:
            return f"{value:.3g} [{low:.3g}, {high:.3g}]"
        return _cleared(f"{value:.2f} [{low:.2f}, {high:.2f}]")

    def _courses(self, kind: str, output: int) -> Figure:
        """Lines with bands over time, the six foremost parameters in colour."""
        from sd_cluster.look import GRID, PALETTE, blank, head, label_ends, look, sentence_case, tidy_values

        values = self.values[kind][:, output]
        order = np.argsort(-np.nan_to_num(np.abs(values)).mean(axis=1), kind="stable")
        ends = []
        with look():
            figure = blank()
            axes = figure.subplots()
            for rank, j in reversed(list(enumerate(order))):
                if rank >= 6:
                    axes.plot(self.times, values[j], color=GRID, linewidth=1.0, zorder=2)
                    continue
                axes.plot(self.times, values[j], color=PALETTE[rank], zorder=3)
                if kind in self.low:
                    band = self.low[kind][j, output], self.high[kind][j, output]
                    axes.fill_between(self.times, *band, color=PALETTE[rank], alpha=0.16, linewidth=0, zorder=2)
                told = values[j][np.isfinite(values[j])]
                ends.append((float(told[-1]) if len(told) else 0.0, self.parameters[j], PALETTE[rank]))
            head(axes, f"{sentence_case(self.outputs[output])}: what moves it ({self.method})", WORDS.get(kind, kind))
            axes.set_xlabel("time")
            tidy_values(axes, ground=False)
            label_ends(axes, ends)
        return figure


def _cleared(text: str) -> str:
    """Write minus nought as nought."""
    return re.sub(r"-(0(?:\.0+)?)(?![\d.])", r"\1", text)
