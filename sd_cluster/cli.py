"""The command `sd-cluster`: list, describe and run models; other packages add sub-commands of their own.

A package offers sub-commands through an entry point of the group `sd_cluster.commands`, a function
`register(app: typer.Typer) -> None`. They are looked up only when a name is not one of ours or the list
of all is asked for, so nothing here waits for them, and a broken one breaks only itself.

Exit codes: 0 good, 1 failed (one clear line on stderr), 2 wrong use, 130 interrupted.
"""

from __future__ import annotations

import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from sd_cluster.cli_studies import register as register_studies
from sd_cluster.errors import SdClusterError
from sd_cluster.screens import as_plain, plain_table, rounded, screen, show_model, show_run

if TYPE_CHECKING:
    from sd_cluster.model import Model
    from sd_cluster.run import Run
    from sd_cluster.scenario import TimeSeries
    from sd_cluster.solvers import Solver

__all__ = ["Commands", "app", "examples", "main", "plain_table", "read_change", "reflow", "rounded", "screen"]

GROUP = "sd_cluster.commands"


class Commands(TyperGroup):
    """The commands of this file and those of other packages, with errors told in one line."""

    def _others(self) -> dict[str, Any]:
        """Load the sub-commands of other packages, once; tell of those that cannot be loaded."""
        found: dict[str, Any] | None = getattr(self, "_found", None)
        if found is None:
            found = {}
            self.broken: list[str] = []
            from importlib.metadata import entry_points

            for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
                offered = typer.Typer(rich_markup_mode="rich")
                offered.callback()(lambda: None)
                try:
                    entry.load()(offered)
                except Exception as error:  # a broken neighbour must not take this house down
                    self.broken.append(f"sub-commands of '{entry.name}' could not be loaded: {error}")
                    continue
                group = typer.main.get_group(offered)
                found.update({name: command for name, command in group.commands.items() if name not in found})
            self._found = found
        return found

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands: ours first, then the others'."""
        ours = list(self.commands)
        others = [name for name in self._others() if name not in self.commands]
        for line in self.broken:
            _complain(line, style="yellow")
        return ours + others

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command; other packages are imported only for a name that is not ours."""
        found = self.commands.get(cmd_name) or self._others().get(cmd_name)
        if found is None:
            for line in self.broken:
                _complain(line, style="yellow")
        elif found.help:
            found.help = reflow(found.help)
        return found

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn errors meant for a person into one line and an exit code."""
        try:
            return super().invoke(ctx)
        except SdClusterError as error:
            _complain(" ".join(str(error).split()))
            raise typer.Exit(1) from error
        except OSError as error:
            if error.filename is None:
                raise
            _complain(f"cannot use '{error.filename}': {error.strerror}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error


class SolverName(StrEnum):
    """Solvers by the names the command line takes."""

    EULER = "euler"
    RK4 = "rk4"
    LSODA = "lsoda"
    RK45 = "rk45"
    DOP853 = "dop853"
    RADAU = "radau"
    BDF = "bdf"


_METHODS: dict[SolverName, Literal["LSODA", "RK45", "DOP853", "Radau", "BDF"]] = {
    SolverName.LSODA: "LSODA",
    SolverName.RK45: "RK45",
    SolverName.DOP853: "DOP853",
    SolverName.RADAU: "Radau",
    SolverName.BDF: "BDF",
}

app = typer.Typer(
    name="sd-cluster",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Name of a shipped model, or a .mdl or .xmile file.")
]

DataOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help="A table for data variables without an equation; repeatable."),
]

UnitsOption = Annotated[
    bool | None,
    typer.Option(
        "--units/--no-units",
        help="Refuse a model whose units clash, or do not look; by default a clash is noted.",
        show_default=False,
    ),
]


def examples(*lines: str) -> str:
    """Write the examples at the foot of a help page; each line is a command, `#` starts a remark."""
    shown = []
    for line in lines:
        command, _, remark = line.partition("  #")
        escaped = command.replace("[", r"\[")
        shown.append(f"  {escaped}" + (f"\n    [dim]{remark.strip()}[/dim]" if remark else ""))
    return "[bold]Examples[/bold]\n" + "\n".join(shown)


def reflow(text: str) -> str:
    r"""Join the lines of each paragraph, so that the screen alone decides where they break.

    >>> reflow("One line\nand the next.\n\nAnother paragraph.")
    'One line and the next.\n\nAnother paragraph.'
    """
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sd-cluster {version('sd-cluster')}")
        raise typer.Exit


@app.callback(
    epilog=examples(
        "sd-cluster models",
        "sd-cluster describe collective_learning",
        'sd-cluster run collective_learning --set "initial trust=0.2"',
        "sd-cluster demo --out demo",
    )
)
def door(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and leave."),
    ] = False,
) -> None:
    """System dynamics of collective learning in high-technology clusters.

    Simulate a model, ask it questions, and fit it to a real cluster.
    """


@app.command(epilog=examples("sd-cluster models"))
def models() -> None:
    """List the shipped models."""
    from sd_cluster.library import models as names
    from sd_cluster.model import CONTROLS, key
    from sd_cluster.reading import load

    table = plain_table(("model", "left"), ("stocks", "right"), ("parameters", "right"), ("years", "right"))
    for name in names():
        model = load(name, check_units=False)
        own = [parameter for parameter in model.parameters if key(parameter) not in map(key, CONTROLS)]
        years = f"{model.horizon.start:g} to {model.horizon.end:g}"
        table.add_row(name, str(len(model.stocks)), str(len(own)), years)
    screen().print(table)


@app.command(
    epilog=examples(
        "sd-cluster check my_model.mdl",
        "sd-cluster check my_model.mdl --strict  # advice counts as an error too",
    )
)
def check(
    model: ModelArgument,
    strict: Annotated[bool, typer.Option("--strict", help="Let advice fail too.")] = False,
    data: DataOption = None,
) -> None:
    """Look for all that is wrong with a model file; the exit code is 0 if nothing is.

    Errors: what cannot be read, is not supported, goes in a circle, or has clashing units. Advice: units that are not
    declared, variables that nothing uses, missing documentation.
    """
    from sd_cluster.checking import check as look

    found = look(model, data=data or ())
    typer.echo(str(found))
    if not found.good or (strict and found.findings):
        raise typer.Exit(1)


@app.command(
    epilog=examples(
        "sd-cluster describe collective_learning",
        "sd-cluster describe collective_learning --all  # with every computed variable",
        "sd-cluster describe my_model.mdl --json > my_model.json",
    )
)
def describe(
    model: ModelArgument,
    everything: Annotated[bool, typer.Option("--all", help="Show computed variables too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for other programs.")] = False,
    units: UnitsOption = None,
) -> None:
    """Show what a model holds: its horizon, stocks, levers and parameters."""
    from sd_cluster.reading import load

    loaded = load(model, check_units=units)
    if as_json:
        import json

        typer.echo(json.dumps(as_plain(loaded), indent=2, ensure_ascii=False, allow_nan=False))
        return
    show_model(screen(), loaded, everything)


@app.command(
    epilog=examples(
        "sd-cluster run collective_learning  # the base case, on the screen",
        'sd-cluster run collective_learning --set "trust=0.2" --out low_trust  # a stock: its initial value',
        'sd-cluster run collective_learning --set "talent flow=1990:0.2,2010:0.6"  # straight between years',
        'sd-cluster run collective_learning --plot "trust" --plot "member firms" --out figures',
        "sd-cluster run my_model.mdl --solver euler --to 2060 --out run.csv",
    )
)
def run(
    model: ModelArgument,
    *,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter or a stock's start; repeatable."),
    ] = None,
    start: Annotated[float | None, typer.Option("--from", metavar="TIME", help="First moment of the run.")] = None,
    end: Annotated[float | None, typer.Option("--to", metavar="TIME", help="Last moment of the run.")] = None,
    solver: Annotated[
        SolverName,
        typer.Option(
            metavar="NAME",
            help="euler and rk4 step as Vensim does; lsoda, rk45, dop853, radau and bdf choose their steps.",
        ),
    ] = SolverName.LSODA,
    rtol: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="Relative tolerance, without euler and rk4.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A folder, or one file ending in .csv or .nc.")
    ] = None,
    plot: Annotated[
        list[str] | None, typer.Option(metavar="VARIABLE", help="Draw a variable (PNG, SVG); repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the scenario.")] = None,
    data: DataOption = None,
    units: UnitsOption = None,
) -> None:
    """Simulate a model, with changes by name, and show or write the result."""
    chosen = _solver(solver, rtol)
    asked = dict(read_change(text) for text in changes or [])
    from sd_cluster.reading import load
    from sd_cluster.scenario import Scenario
    from sd_cluster.simulation import simulate

    loaded = load(model, check_units=units, data=data or ())
    horizon = (
        loaded.horizon.start if start is None else start,
        loaded.horizon.end if end is None else end,
    )
    if not horizon[0] < horizon[1]:
        raise typer.BadParameter(f"the run would go from {horizon[0]:g} to {horizon[1]:g}; give --from before --to")
    if out is not None:
        _check_out(out)
    scenario = Scenario(name or ("changed" if asked else "base"), asked)
    for variable in plot or []:
        loaded.variable(variable)
    result = simulate(loaded, scenario, solver=chosen, horizon=horizon)
    console = screen()
    show_run(console, loaded, result)
    for path in _write_run(loaded, result, out, plot or []):
        console.print(f"wrote {path}", markup=False, soft_wrap=True)


register_studies(app, examples)


def read_change(text: str) -> tuple[str, float | TimeSeries]:
    """Read `name=value` or `name=year:value,year:value,...`, the second straight between its years.

    Examples
    --------
    >>> read_change("talent flow = 0.8")
    ('talent flow', 0.8)

    Raises
    ------
    typer.BadParameter
        For text of another form: wrong use, exit code 2.
    """
    name, equals, value = text.partition("=")
    form = "write NAME=VALUE or NAME=YEAR:VALUE,YEAR:VALUE"
    if not (equals and name.strip() and value.strip()):
        raise typer.BadParameter(f"--set '{text}': {form}")
    try:
        if ":" not in value:
            return name.strip(), float(value)
        points = [point.split(":") for point in value.split(",")]
        years = [float(year) for year, _ in points]
        values = [float(number) for _, number in points]
    except ValueError:
        raise typer.BadParameter(f"--set '{text}': '{value.strip()}' is not a number; {form}") from None
    from sd_cluster.scenario import TimeSeries

    return name.strip(), TimeSeries(years, values)


def main() -> None:
    """Run the command line; the entry point `sd-cluster`."""
    warnings.showwarning = lambda message, *_, **__: _complain(f"note: {message}", "yellow")
    try:
        app(prog_name="sd-cluster")
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(text: str, style: str = "red") -> None:
    """Write one line to stderr, whatever its length."""
    from rich.text import Text

    screen(error=True).print(Text.assemble((text, style)), soft_wrap=True)


def _solver(name: SolverName, rtol: float | None) -> Solver:
    from sd_cluster import solvers

    if name in (SolverName.EULER, SolverName.RK4):
        if rtol is not None:
            raise typer.BadParameter(f"--rtol is for solvers that choose their steps; {name.value} does not")
        return solvers.Euler() if name is SolverName.EULER else solvers.RungeKutta4()
    if rtol is not None and not 0 < rtol < 1:
        raise typer.BadParameter(f"--rtol {rtol:g}: give a number between 0 and 1, such as 1e-8")
    method = _METHODS[name]
    return solvers.Adaptive(method=method) if rtol is None else solvers.Adaptive(rtol=rtol, method=method)


def _check_out(out: Path) -> None:
    """Refuse a place that cannot be written to, before anything is computed."""
    from sd_cluster.files import why_not

    target = out if out.suffix in {".csv", ".nc"} else out / "run.csv"
    if told := why_not(target):
        raise typer.BadParameter(f"--out {out}: '{target}' {told}")


def _write_run(model: Model, result: Run, out: Path | None, plots: list[str]) -> list[Path]:
    """Write the run and its drawings; give the paths in the order written."""
    from sd_cluster.files import write_beside
    from sd_cluster.look import slug

    stem = f"{slug(model.name)}-{slug(result.scenario)}"
    written: list[Path] = []
    folder = Path() if out is None else out
    if out is not None:
        targets = [out] if out.suffix in {".csv", ".nc"} else [out / f"{stem}.csv", out / f"{stem}.nc"]
        folder = out.parent if out.suffix in {".csv", ".nc"} else out
        folder.mkdir(parents=True, exist_ok=True)
        for target in targets:
            if target.suffix == ".nc":
                result.save(target)
            else:
                write_beside(target, lambda path: result.frame().to_csv(path, lineterminator="\n"))
            written.append(target)
    if plots:
        from sd_cluster.plot import compare, save

        for variable in plots:
            written += save(compare(result, variable), folder, f"{stem}-{slug(variable)}")
    return written
