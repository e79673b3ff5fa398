"""The sub-commands `fit`, `demo` and `data` of `sd-cluster`, found through the entry point `sd_cluster.commands`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.cli_data import register as register_data
from calibration.words import counted
from sd_cluster.cli import examples, plain_table, rounded, screen

if TYPE_CHECKING:
    from rich.console import Console

    from calibration.dataset import Dataset
    from calibration.fit import Fit
    from calibration.measurement import Measurement
    from calibration.misfit import Misfit
    from calibration.study import Study
    from sd_cluster import Model, Space


def free_place(folder: Path | None) -> Path | None:
    """Refuse, before any work, a place for results that is a file or lies below one."""
    for part in (folder, *folder.parents) if folder is not None else ():
        if part.exists() and not part.is_dir():
            raise typer.BadParameter(f"'{part}' is a file; name a folder to write to")
    return folder


OutOption = Annotated[Path, typer.Option(metavar="FOLDER", callback=free_place, help="Where to write the study.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes; one per processor by default.")]


def register(app: typer.Typer) -> None:
    """Offer `fit`, `demo` and `data` to the command line of sd_cluster."""
    app.command(
        epilog=examples(
            "sd-cluster fit study.toml --out study  # all stages and a report; again after an interrupt, it goes on",
            "sd-cluster fit study.toml --until fit  # stops after that stage",
            'sd-cluster fit hsinchu --free "land limit" --free "hiring rate=0.1,0.8"',
            'sd-cluster fit hsinchu --free "spin off rate" --starts 20 --out fit  # writes fit, tables, figures',
            'sd-cluster fit my.csv my.mdl --measure "employees=staff" --free "growth=0,1"',
            'sd-cluster fit my.csv my.mdl --measure "revenue=output*" --free "growth"  # unknown factor',
        )
    )(fit)
    app.command(
        epilog=examples(
            "sd-cluster demo  # writes the folder demo; open demo/report.html",
            "sd-cluster demo --out study --starts 20 --seed 3",
        )
    )(demo)
    register_data(app)


def fit(
    data: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|DATA",
            help="A study file, .toml; or a shipped region, such as hsinchu, or a table.",
        ),
    ],
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of a shipped model, or a .mdl or .xmile file.")
    ] = "collective_learning",
    *,
    free: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=LOW,HIGH]",
            help="Parameter to fit, within its range in the model or the one given; repeatable.",
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VARIABLE",
            help="Which variable an indicator measures; a * behind it leaves the factor free; repeatable.",
        ),
    ] = None,
    first: Annotated[int | None, typer.Option(metavar="YEAR", help="First year of data to use.")] = None,
    last: Annotated[int | None, typer.Option(metavar="YEAR", help="Last year of data to use.")] = None,
    start: Annotated[float | None, typer.Option("--from", metavar="TIME", help="First moment of the run.")] = None,
    starts: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Starting points of the search; 8 if left out.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Seed of the starting points; 0 if left out.")
    ] = None,
    workers: WorkersOption = None,
    until: Annotated[
        str | None, typer.Option(metavar="STAGE", help="With a study file: the last stage to do, such as fit.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            callback=free_place,
            help="Where to write; for a study file, a folder of its name if left out.",
        ),
    ] = None,
) -> None:
    """Fit a model's parameters to the figures of a region.

    With a study file, all that it says is done, stage by stage: audit, priors, identifiability, search, quality of the
    fit, profiles, posterior, predictions, figures held out. The folder gets tables, figures and a report; what is done
    is not done again, so the same command goes on after an interrupt.

    Without one, a quick fit prints a report card. Without --measure, the shipped model is read as firms = member firms,
    employees = talent pool and revenue = revenue with a free factor; without --free, the parameters of the
    demonstration are fitted.
    """
    from calibration.cli_fit import is_study, refuse_options, run_file
    from calibration.optimisation import minimise
    from calibration.study import Study
    from sd_cluster.library import models

    quick = {"--free": free, "--measure": measure, "--first": first, "--last": last, "--from": start}
    if is_study(data):
        refuse_options({**quick, "--starts": starts, "--seed": seed is not None})
        run_file(Path(data), out, until, workers)
        return
    if until is not None:
        raise typer.BadParameter("--until is for a study file, such as study.toml")
    starts = 8 if starts is None else starts
    study = Study()
    ours = model in models() and model == study.model
    if not ours and not (free and measure):
        raise typer.BadParameter(f"for {model}, say what to fit and to what: give --free and --measure")
    ranges = [read_range(text) for text in free or []]
    measured = dict(read_measure(text) for text in measure or [])
    misfit = _misfit(data, model, ranges, measured, study if ours else None, years=(first, last), start=start)
    result = minimise(misfit, starts=starts, seed=seed or 0, workers=workers)
    console = screen()
    show_card(console, result)
    region = misfit.likelihoods[0]
    if region.scenario.changes:
        told = ", ".join(f"{name} = {value:g}" for name, value in region.scenario.changes.items())
        console.print(f"\nSet for {data}, not fitted: {told}", markup=False)
    if out is not None:
        for path in _write_fit(misfit.model, result, out):
            console.print(f"wrote {path}", markup=False, soft_wrap=True)
    if len(result.starts) < starts:
        raise typer.Exit(130)


def demo(
    *,
    out: OutOption = Path("demo"),
    starts: Annotated[int | None, typer.Option(min=1, metavar="N", help="Starting points of the search.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Seed of all that is drawn; that of the study if left out.")
    ] = None,
    workers: WorkersOption = None,
) -> None:
    """Carry out a whole study of the Hsinchu Science Park and write it as a folder.

    Fits the model to firms, employees and revenue, says what the figures tell and how sure that is, holds the last ten
    years out, compares four policies, the pair of Route 128 and Silicon Valley and the threshold of trust, and writes a
    report, figures, tables and runs. It takes a minute or two; after an interrupt the same command goes on.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from calibration.cli_fit import teller
    from calibration.demo import run_demo
    from calibration.study import Study

    study = Study(starts=starts, seed=seed)
    told = screen(error=True)
    changed = {"--starts": starts, "--seed": seed}
    command = " ".join(
        [f"sd-cluster demo --out {out}", *(f"{name} {value}" for name, value in changed.items() if value is not None)]
    )
    told.print(f"Fitting {study.model} to {study.plan.name}", markup=False)
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TextColumn("left"), TimeRemainingColumn())
    bar = Progress(*columns, console=told, disable=not told.is_terminal, transient=True)
    task = bar.add_task("", total=1.0)

    def tell(what: str, done: float) -> None:
        bar.start()
        bar.update(task, description=what, completed=done)

    try:
        found = run_demo(out, study, workers=workers, staged=teller(told), told=tell, command=command)
    except KeyboardInterrupt:
        bar.stop()
        told.print(f"\nInterrupted; what is done stands in {out}. Go on with: {command}", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        bar.stop()
    console = screen()
    show_card(console, found.fit, brief=True)
    console.print()
    for path, words in (
        (out / "report.html", "the study; open it in a browser"),
        (out / "figures", "PNG and SVG"),
        (out / "tables", "tidy CSV"),
        (out / "runs", "netCDF"),
        (out / "fit.json", "the fit"),
        (out / "posterior.nc", "draws of the posterior"),
    ):
        console.print(f"wrote {path}  ({words})", markup=False, soft_wrap=True)


def read_range(text: str) -> tuple[str, tuple[float, float] | None]:
    """Read `name` or `name=low,high`.

    Examples
    --------
    >>> read_range("talent flow=0,1")
    ('talent flow', (0.0, 1.0))

    Raises
    ------
    typer.BadParameter
        For text of another form: wrong use, exit code 2.
    """
    name, equals, bounds = text.partition("=")
    if not equals:
        return name.strip(), None
    try:
        low, high = (float(bound) for bound in bounds.split(","))
    except ValueError:
        raise typer.BadParameter(f"--free '{text}': write NAME or NAME=LOW,HIGH") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise typer.BadParameter(f"--free '{text}': both ends of the range should be finite numbers")
    if not low < high:
        raise typer.BadParameter(f"--free '{text}': the low end {low:g} should lie below the high end {high:g}")
    return name.strip(), (low, high)


def read_measure(text: str) -> tuple[str, tuple[str, bool]]:
    """Read `indicator=variable`; a star behind the variable leaves the factor between them free.

    Examples
    --------
    >>> read_measure("revenue = revenue*")
    ('revenue', ('revenue', True))

    Raises
    ------
    typer.BadParameter
        For text of another form: wrong use, exit code 2.
    """
    indicator, _, variable = (part.strip() for part in text.partition("="))
    name = variable.rstrip("* ")
    if not (indicator and name):
        raise typer.BadParameter(f"--measure '{text}': write INDICATOR=VARIABLE, such as employees=talent pool")
    return indicator, (name, variable.endswith("*"))


def show_card(console: Console, fit: Fit, *, brief: bool = False) -> None:
    """Print a fit as a report card that suits the width of the screen; piped, as plain text."""
    if not console.is_terminal and not brief:
        console.print(str(fit), markup=False, soft_wrap=True)
        return
    from rich.markup import escape
    from rich.table import Table

    starts = counted(len(fit.starts), "start")
    console.print(f"[bold]{escape(fit.model)} fitted to {escape(fit.region)}[/bold]  best of {starts}\n")
    heads = [("parameter", "left"), ("estimate", "right"), ("± error", "right"), ("unit", "left")]
    table = plain_table(*heads, ("bounds", "right"), ("place", "right"))
    for one in fit.estimates:
        bounds = f"{rounded(one.low)}–{rounded(one.high)}"
        where = f"at {one.bound} bound" if one.bound else f"{100 * one.place:.0f} %"
        unit = "–" if one.unit.lower() == "dmnl" else one.unit
        known = "" if one.bound else one.spread
        value = {"low": one.low, "high": one.high}.get(one.bound, one.value)
        table.add_row(escape(one.name), rounded(value), known, unit, bounds, where)
    console.print(table)
    console.print()
    shares = [(name, "right") for name in ("UM", "US", "UC")]
    table = plain_table(("series", "left"), ("n", "right"), ("R²", "right"), *shares, ("DW", "right"))
    for series in fit.series:
        theil = series.theil
        numbers = (series.r_squared, theil.bias, theil.variation, theil.covariation, series.durbin_watson)
        table.add_row(escape(series.indicator), str(len(series.years)), *(f"{number:.2f}" for number in numbers))
    console.print(table)
    shown = [verdict for verdict in fit.verdicts if not verdict.good or not brief]
    grid = Table.grid(padding=(0, 1))
    for verdict in shown:
        grid.add_row("[green]ok[/green]" if verdict.good else "[yellow]mind[/yellow]", escape(verdict.text))
    if shown:
        console.print()
        console.print(grid)


def _misfit(
    data: str,
    model: str,
    ranges: list[tuple[str, tuple[float, float] | None]],
    measured: Mapping[str, tuple[str, bool]],
    study: Study | None,
    *,
    years: tuple[int | None, int | None],
    start: float | None,
) -> Misfit:
    """What is to be minimised; the model of the demonstration begins, and is set, as in its study."""
    from calibration.dataset import read_dataset
    from calibration.misfit import Misfit
    from sd_cluster import Scenario, load

    dataset = read_dataset(data, first=years[0], last=years[1])
    loaded = load(model) if study is None else study.plan.model
    space = _space(loaded, ranges, study)
    gauges = _measurement(measured, dataset, study)
    base = Scenario("base", study.fixed if study is not None and data == study.region else {})
    last_year = max(float(series.years[-1]) for series in dataset.series.values() if len(series.years))
    begin = start if start is not None else loaded.horizon.start if study is None else study.start
    return Misfit(loaded, space, gauges, dataset, scenario=base, horizon=(begin, last_year))


def _space(model: Model, ranges: list[tuple[str, tuple[float, float] | None]], study: Study | None) -> Space:
    """The space to search: ranges given, else those of the model file, else those of the demonstration."""
    from sd_cluster import Space
    from sd_cluster.errors import ModelError

    if study is not None and not ranges:
        return Space(dict(study.free))
    chosen = {}
    for name, given in ranges:
        Space({name: given or (0.0, 1.0)}).check(model)  # first whether it can be set at all, then how far
        its = model.variable(name)
        if given is None and (its.low is None or its.high is None):
            raise ModelError(f"{model.name} gives no range for '{its.name}'; state one: --free \"{its.name}=LOW,HIGH\"")
        chosen[its.name] = given or Space.of(model, [name]).ranges[its.name]
    return Space(chosen)


def _measurement(measured: Mapping[str, tuple[str, bool]], dataset: Dataset, study: Study | None) -> Measurement:
    """The gauges asked for, or those of the demonstration for the indicators that the data have."""
    from calibration.measurement import Level, Measurement
    from sd_cluster.errors import DataError

    if measured or study is None:
        return Measurement({name: Level(variable, scale=free) for name, (variable, free) in measured.items()})
    gauges = {name: gauge for name, gauge in study.measurement().gauges.items() if name in dataset.series}
    if not gauges:
        known = ", ".join(dataset.series)
        raise DataError(
            f"{dataset.path.name} has none of {', '.join(study.measurement().gauges)}, only {known}; give --measure"
        )
    return Measurement(gauges)


def _write_fit(model: Model, fit: Fit, folder: Path) -> list[Path]:
    """Write a fit with its tables, its run and the figure of data against model."""
    from calibration.figures import draw_fit
    from calibration.fit import simulate_fit
    from calibration.lines import lines_of
    from calibration.tables import write_fit_tables
    from sd_cluster.plot import save

    folder.mkdir(parents=True, exist_ok=True)
    written = [fit.save(folder / "fit.json"), *write_fit_tables(fit, folder)]
    run = simulate_fit(fit, model=model)
    written.append(run.save(folder / "fitted.nc"))
    lines = {one.indicator: lines_of(fit, one.region, one.indicator) for one in fit.series}
    written += save(draw_fit(fit.series, lines), folder, "fit")
    return written
