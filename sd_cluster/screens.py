"""What the command line shows of models and runs: pages, tables and numbers for people, plain types for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sd_cluster.model import CONTROLS, key

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sd_cluster.model import Model
    from sd_cluster.run import Run


def screen(*, error: bool = False) -> Console:
    """Give the console to print on; piped output bears no colours."""
    from rich.console import Console

    return Console(stderr=error, highlight=False)


def plain_table(*columns: tuple[str, str], title: str | None = None) -> Table:
    """Give an empty table of the house: a rule below the head, no box; columns as (head, left or right)."""
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1),
        title=title, title_justify="left", title_style="bold",
    )  # fmt: skip
    for head, side in columns:
        table.add_column(head, justify="right" if side == "right" else "left", no_wrap=side == "right")
    return table


def rounded(value: float | None) -> str:
    """Write a number with four figures that matter, big ones with commas.

    >>> rounded(152345.6), rounded(0.123456), rounded(None)
    ('152,346', '0.1235', '')
    """
    if value is None or math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def as_plain(model: Model) -> dict[str, object]:
    """Everything `describe` knows, in types JSON has."""
    table = model.table()
    columns = [*([] if "name" in table.columns else [str(table.index.name)]), *table.columns]
    rows = [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in zip(columns, row, strict=True)
        }
        for row in table.reset_index()[columns].itertuples(index=False)
    ]
    horizon = model.horizon
    return {
        "name": model.name,
        "source": model.source,
        "digest": model.digest,
        "horizon": {
            "start": horizon.start, "end": horizon.end, "step": horizon.step,
            "save_every": horizon.save_every, "unit": horizon.unit,
        },
        "variables": rows,
    }  # fmt: skip


def show_model(console: Console, model: Model, everything: bool) -> None:
    """Print a model as a page: head, stocks, levers, parameters and, if asked, the computed variables."""
    horizon = model.horizon
    unit = horizon.unit.lower() or "time unit"
    console.print(f"[bold]{model.name}[/bold]  {horizon.start:g} to {horizon.end:g}, step {horizon.step:g} {unit}")
    console.print(model.source, style="dim", markup=False, soft_wrap=True)
    console.print(f"digest {model.digest[:12]}", style="dim", markup=False)
    for note in model.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    levers = {name for name, parameter in model.parameters.items() if is_lever(parameter)}
    starts = {name for name in model.parameters if name.startswith("initial ")}
    controls = set(map(key, CONTROLS))  # the first line tells them
    rest = [name for name in model.parameters if name not in levers | starts and key(name) not in controls]
    sections = [
        ("Stocks", list(model.stocks)),
        ("Levers", [name for name in model.parameters if name in levers]),
        ("Initial values", [name for name in model.parameters if name in starts]),
        ("Parameters", rest),
    ]
    if everything:
        sections.append(("Computed", list(model.auxiliaries)))
    for title, names in sections:
        if names:
            console.print()
            console.print(_variables(model, f"{title} ({len(names)})", names))


def is_lever(parameter: object) -> bool:
    """Tell whether a parameter is a policy lever, by its note: `Lever of section 4.1: ...`."""
    return str(getattr(parameter, "note", "")).strip().lower().startswith("lever")


def _variables(model: Model, title: str, names: list[str]) -> Table:
    """One table of variables; a column nobody fills is left out."""
    from rich.markup import escape

    from sd_cluster.look import unit_label

    records = [model.variable(name) for name in names]
    values = [getattr(record, "value", None) for record in records]
    ranges = ["" if r.low is None or r.high is None else f"{r.low:g}–{r.high:g}" for r in records]
    with_values, with_ranges = any(v is not None for v in values), any(ranges)
    units = [unit_label(record.units) for record in records]
    with_units = any(unit != "dimensionless" for unit in units)
    columns = [("name", "left")]
    columns += [("value", "right")] * with_values + [("range", "right")] * with_ranges
    columns += [("unit", "left")] * with_units
    table = plain_table(*columns, ("note", "left"), title=title)
    for record, value, span, unit in zip(records, values, ranges, units, strict=True):
        cells = [escape(record.name), *([rounded(value)] * with_values), *([span] * with_ranges)]
        cells += ["–" if unit == "dimensionless" else unit] * with_units
        table.add_row(*cells, escape(" ".join(record.note.split())))
    return table


def show_run(console: Console, model: Model, result: Run) -> None:
    """Print the stocks at the start, the middle and the end of a run."""
    from sd_cluster.look import unit_label

    first, last = float(result.times[0]), float(result.times[-1])
    moments = [first, (first + last) / 2, last]
    rows = [result.at(moment) for moment in moments]
    console.print(f"[bold]{model.name}[/bold], scenario '{result.scenario}'")
    heads = [(f"{moment:g}", "right") for moment in moments]
    table = plain_table(("stock", "left"), ("unit", "left"), *heads)
    for name in model.stocks:
        unit = unit_label(model.variable(name).units)
        numbers = [rounded(row[name]) for row in rows]
        table.add_row(name, "–" if unit == "dimensionless" else unit, *numbers)
    console.print()
    console.print(table)
    console.print()
    for note in result.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
