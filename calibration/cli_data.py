"""The sub-commands `data list`, `data show` and `data fetch` of `sd-cluster`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.words import counted
from sd_cluster.cli import examples, plain_table, reflow, rounded, screen

if TYPE_CHECKING:
    from rich.console import Console

    from calibration.audit import Audit

FirstOption = Annotated[int | None, typer.Option(metavar="YEAR", help="First year to use.")]
LastOption = Annotated[int | None, typer.Option(metavar="YEAR", help="Last year to use.")]


def register(app: typer.Typer) -> None:
    """Offer `data` with its sub-commands."""
    data = typer.Typer(rich_markup_mode="rich", no_args_is_help=True)
    offered = (
        (list_regions, "list", ("sd-cluster data list",)),
        (show, "show", (
            "sd-cluster data show hsinchu",
            "sd-cluster data show my.xlsx --figure my.png  # draws every series with what to mind",
            "sd-cluster data show eu.csv --region DE21 --breaks breaks.csv  # beside the other regions of the file",
        )),
        (fetch, "fetch", (
            "sd-cluster data fetch eurostat PAT_EP_RTOT --key A.NR.DE21+NL41 --out patents.csv",
            "sd-cluster data fetch eurostat tgs00003 --first 2008 --refresh  # asks again, whatever was kept",
        )),
    )  # fmt: skip
    for function, name, lines in offered:
        data.command(name, help=reflow(function.__doc__ or ""), epilog=examples(*lines))(function)
    app.add_typer(data, name="data", help="Look at tables of observations before a fit, and fetch new ones.")


def list_regions() -> None:
    """List the shipped regions and their indicators."""
    from calibration.dataset import read_dataset, regions

    table = plain_table(
        ("region", "left"), ("indicator", "left"), ("unit", "left"), ("figures", "right"), ("years", "right")
    )
    for region in regions():
        for number, one in enumerate(read_dataset(region).series.values()):
            span = f"{one.years[0]:.0f}–{one.years[-1]:.0f}"
            table.add_row(region if number == 0 else "", one.indicator, one.unit, str(len(one.years)), span)
    screen().print(table)


def show(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Name of a shipped region, or a CSV or Excel file.")],
    *,
    region: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which region of a file; the others are its neighbours.")
    ] = None,
    first: FirstOption = None,
    last: LastOption = None,
    breaks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Table of known breaks, .csv.", exists=True, dir_okay=False)
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the series here; a .png and an .svg are written.")
    ] = None,
) -> None:
    """Show what a table holds, and what in it would mislead a fit.

    Gaps, zeros that stand for suppressed figures, slips of unit, jumps of level, truncated last years and figures
    marked as unsure are named, and a noise is suggested for each series.
    """
    from calibration.audit import audit, breaks_of
    from calibration.dataset import read_dataset, read_datasets

    if figure is not None and figure.suffix not in (".png", ".svg"):
        raise typer.BadParameter(f"--figure '{figure}': give a file that ends in .png or .svg")
    dataset = read_dataset(data, region=region, first=first, last=last)
    neighbours = read_datasets(data, first=first, last=last) if region is not None else None
    known = breaks_of(breaks, dataset) if breaks is not None else None
    found = audit(dataset, neighbours, breaks=known)
    console = screen()
    _show_audit(console, found)
    if figure is not None:
        from calibration.audit_figure import draw_audit
        from sd_cluster.plot import save

        for path in save(draw_audit(found), figure.parent, figure.stem):
            console.print(f"wrote {path}", markup=False, soft_wrap=True)


def fetch(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="eurostat or oecd.")],
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="The office's code; for the OECD, AGENCY,FLOW,VERSION.")
    ],
    *,
    key: Annotated[
        str, typer.Option(metavar="KEY", help="Codes of the dimensions in order, dots between; + for alternatives.")
    ] = "",
    first: FirstOption = None,
    last: LastOption = None,
    indicator: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the series.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask again, even if the answer was kept.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write; DATASET.csv if left out.")] = None,
) -> None:
    """Fetch yearly figures from a statistical office and write them as a table.

    The answer is kept in the cache; asked again, it comes from there. Flags of the office become words in the column
    status.
    """
    from calibration import sources
    from calibration.tables import write_table
    from sd_cluster.look import slug

    table = sources.fetch(service, dataset, key, first=first, last=last, indicator=indicator, refresh=refresh)
    path = write_table(table, out or Path(f"{slug(dataset)}.csv"))
    figures, places = int(table["value"].notna().sum()), table["region"].nunique()
    told = f"{counted(figures, 'figure')} of {counted(places, 'region')}"
    screen().print(f"wrote {path}  ({told})", markup=False, soft_wrap=True)


def _show_audit(console: Console, found: Audit) -> None:
    """Print an audit to suit the width of the screen; piped, as plain text."""
    if not console.is_terminal:
        console.print(str(found), markup=False, soft_wrap=True)
        return
    from rich.markup import escape
    from rich.table import Table

    dataset = found.dataset
    console.print(f"[bold]{escape(dataset.region)}[/bold]  {escape(dataset.path.name)}\n")
    heads = [("n", "right"), ("years", "right"), ("growth/yr", "right"), ("noise, at most", "left"), ("mind", "right")]
    table = plain_table(("series", "left"), ("unit", "left"), *heads)
    for row in found.summary().to_dict("records"):
        span = f"{row['first']:.0f}–{row['last']:.0f}" if row["figures"] else ""
        growth = f"{100 * row['growth']:+.1f} %" if row["growth"] == row["growth"] else ""
        noise = f"{row['noise']} {rounded(row['scale'])}".strip()
        cells = (str(row["figures"]), span, growth, noise, str(row["mind"] or ""))
        table.add_row(escape(row["indicator"]), escape(row["unit"]), *cells)
    console.print(table)
    console.print()
    grid = Table.grid(padding=(0, 1))
    for line in found.sentences():
        mark, text = line.split(maxsplit=1)
        grid.add_row("[green]ok[/green]" if mark == "ok" else "[yellow]mind[/yellow]", escape(text))
    console.print(grid)
