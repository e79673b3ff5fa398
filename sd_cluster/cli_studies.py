"""The commands `sd-cluster sweep` and `sd-cluster sensitivity`: study files in, tables and figures out."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sd_cluster.errors import near

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from sd_cluster.ensemble import Ensemble
    from sd_cluster.indices import Indices
    from sd_cluster.kernel import Floats
    from sd_cluster.study import Study

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Columns of the table of quantiles; the figures' bands end at the same places."""

DRAWN = 20_000
"""Runs from which fans are drawn at least, of more: no eye tells their bands from those of all runs."""

StudyArgument = Annotated[
    Path, typer.Argument(metavar="STUDY", help="A study file, .toml.", exists=True, dir_okay=False, readable=True)
]
OutOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where to write; a folder named like the study if left out.")
]
SamplesOption = Annotated[
    int | None, typer.Option(metavar="NUMBER", min=1, help="Samples, instead of those of the file.")
]
SeedOption = Annotated[
    int | None,
    typer.Option(metavar="NUMBER", min=0, help="Seed, instead of that of the file; the same gives the same."),
]
ThreadsOption = Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="Cores to use; all if left out.")]
FiguresOption = Annotated[bool, typer.Option("--figures/--no-figures", help="Draw figures.", show_default=False)]


def register(app: typer.Typer, examples: Callable[..., str]) -> None:
    """Add the commands of this file to the command line; `examples` writes the foot of a help page."""
    app.command(
        epilog=examples(
            "sd-cluster sweep take_off.toml  # all that the file says, into the folder take_off",
            "sd-cluster sweep take_off.toml --samples 100000 --out wide --no-figures",
        )
    )(sweep)
    app.command(
        epilog=examples(
            "sd-cluster sensitivity take_off.toml",
            "sd-cluster sensitivity take_off.toml --samples 4096 --out fine  # when the verdict asks for more",
        )
    )(sensitivity)


def sweep(
    study: StudyArgument,
    *,
    out: OutOption = None,
    samples: SamplesOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    figures: FiguresOption = True,
) -> None:
    """Run a model under many draws of its uncertain parameters, as a study file says.

    Writes the runs with their draws (netCDF, or Zarr where the file names a store), quantiles over time as CSV,
    fan charts, and the last values against the parameters.

    A sweep into a store that was interrupted goes on where it stopped when it is called again.
    """
    from sd_cluster.ensemble import sweep as run_all
    from sd_cluster.study import read_study

    plan = read_study(study)
    plan = replace(plan, samples=plan.samples if samples is None else samples, seed=plan.seed if seed is None else seed)
    folder = out or Path(plan.path.stem)
    draws = plan.space.sample(plan.samples, method=plan.method, seed=plan.seed)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    how = _how(plan, threads)
    if plan.store is not None:
        how["store"] = folder / plan.store
    found = run_all(plan.model, draws, outputs=plan.outputs, **how)
    say = _speaker()
    say(f"[bold]{plan.title}[/bold]  {plan.model.name}, {len(draws):,} draws of {len(draws.names)} parameters", True)
    for note in dict.fromkeys([*draws.notes, *found.notes]):
        say(f"note: {note}")
    _tell_failures(found, say)
    for path in _write_sweep(found, plan, folder, figures=figures):
        say(f"wrote {path}")


def sensitivity(
    study: StudyArgument,
    *,
    out: OutOption = None,
    samples: SamplesOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    figures: FiguresOption = True,
) -> None:
    """Ask which uncertain parameters drive the outputs, as a study file says.

    Prints the indices with their intervals and a verdict on them; writes them as CSV, and draws them.
    """
    from sd_cluster import sensitivity as analyses
    from sd_cluster.files import write_beside
    from sd_cluster.look import slug
    from sd_cluster.study import read_study
    from sd_cluster.study_table import StudyError

    plan = read_study(study)
    inner = dict(plan.settings)
    if samples is not None:
        inner["samples"] = samples
    analyse = getattr(analyses, plan.analysis)
    known = _settings_of(analyse)
    for name in inner:
        if name not in known:
            told = ", ".join(sorted(known)) or "none"
            raise StudyError(
                f"{plan.path.name}: '{plan.analysis}' has no setting 'sensitivity.{name}'{near(name, known)};"
                f" there are: {told}"
            )
    folder = out or Path(plan.path.stem)
    chosen = {**_how(plan, threads), "seed": plan.seed if seed is None else seed, **inner}
    try:
        found: Indices = analyse(plan.model, plan.space, of=list(plan.of), **chosen)
    except TypeError as error:
        raise StudyError(f"{plan.path.name}: 'sensitivity': {error}") from error
    say = _speaker()
    say(str(found))
    name = slug(plan.analysis)
    target = folder / f"{plan.path.stem}-{name}.csv"
    table = found.frame()
    say(f"wrote {write_beside(target, lambda path: table.to_csv(path, index=False, lineterminator=chr(10)))}")
    if figures:
        from sd_cluster.plot import save

        for label, figure in _figures_of(found, plan):
            for path in save(figure, folder, f"{plan.path.stem}-{name}-{slug(label)}"):
                say(f"wrote {path}")


def _how(study: Study, threads: int | None) -> dict[str, Any]:
    """How the runs of a study are made, as `sweep` takes it."""
    chosen = {"solver": study.solver, "rtol": study.rtol, "threads": threads, "horizon": study.horizon}
    given = {name: value for name, value in chosen.items() if value is not None}
    return {"scenario": study.scenario, "save": study.save, "progress": sys.stderr.isatty(), **given}


def _settings_of(analyse: Callable[..., Any]) -> set[str]:
    """Settings a study may give to an analysis: all it takes but what the file says elsewhere."""
    from sd_cluster.answers import Settings

    own = {name for name, one in inspect.signature(analyse).parameters.items() if one.kind is one.KEYWORD_ONLY}
    elsewhere = {
        "of",
        "seed",
        "scenario",
        "horizon",
        "save",
        "solver",
        "rtol",
        "threads",
        "progress",
        "store",
        "client",
    }
    return (own | set(Settings.__annotations__) | {"samples"}) - elsewhere


def _speaker() -> Callable[..., None]:
    """Give a function that prints a line; markup only where asked for."""
    from rich.console import Console

    console = Console(highlight=False)

    def say(text: str, markup: bool = False) -> None:
        console.print(text, markup=markup, soft_wrap=True)

    return say


def _tell_failures(found: Ensemble, say: Callable[..., None]) -> None:
    """Count what failed; nothing left is an error."""
    from sd_cluster.errors import SimulationError

    lost = int((~found.ok).sum())
    if not lost:
        return
    first = found.failures[0]
    told = f"draw {first.draw}: {first.text}"
    if lost == len(found.ok):
        raise SimulationError(f"all {lost:,} runs failed, the first so: {told}; narrow the space")
    say(f"note: {lost:,} of {len(found.ok):,} runs failed and are left out, the first so: {told}")


def _write_sweep(found: Ensemble, study: Study, folder: Path, *, figures: bool) -> list[Path]:
    """Write runs, quantiles, failures and fans; give the paths in the order written."""
    from sd_cluster.files import write_beside

    stem = study.path.stem
    written = [folder / study.store] if study.store else [found.save(folder / f"{stem}.nc")]
    table = quantiles(found)
    written.append(
        write_beside(
            folder / f"{stem}-quantiles.csv", lambda path: table.to_csv(path, index=False, lineterminator="\n")
        )
    )
    if found.failures:
        import pandas as pd

        rows = pd.DataFrame([(one.draw, one.time, one.stock, one.text) for one in found.failures],
                            columns=["draw", "time", "stock", "text"])  # fmt: skip
        written.append(
            write_beside(
                folder / f"{stem}-failures.csv", lambda path: rows.to_csv(path, index=False, lineterminator="\n")
            )
        )
    if figures:
        written += _draw_fans(found, study, folder)
    return written


def quantiles(found: Ensemble, shares: Sequence[float] = QUANTILES) -> pd.DataFrame:
    """Quantiles of the runs that came to their end, at each time by itself.

    Returns
    -------
    table
        One row a variable and time: `variable`, `unit`, `time`, one column a share (`5 %`), `mean`, and `runs`.
    """
    import numpy as np
    import pandas as pd

    parts = []
    for name, unit in zip(found.names, found.units, strict=True):
        runs = _good(found, name)
        at_each = np.array([np.quantile(runs[:, number], shares) for number in range(runs.shape[1])]).T
        columns: dict[str, Any] = {"variable": name, "unit": unit, "time": found.times}
        columns.update(zip([f"{100 * share:g} %" for share in shares], at_each, strict=True))
        parts.append(pd.DataFrame({**columns, "mean": runs.mean(axis=0), "runs": len(runs)}))
    return pd.concat(parts, ignore_index=True)


def _good(found: Ensemble, name: str) -> Floats:
    """Runs of a variable that came to their end, shape (n_good, n_times); read from the store where there is one."""
    import numpy as np

    runs = np.asarray(found[name])
    return runs if found.ok.all() else runs[found.ok]


def _draw_fans(found: Ensemble, study: Study, folder: Path) -> list[Path]:
    """Draw all variables side by side, and each by itself, from evenly chosen runs where there are very many.

    Beside each, its last values against the parameters.
    """
    from sd_cluster.charts import fan, fans
    from sd_cluster.look import sentence_case, slug
    from sd_cluster.plot import save

    stem, label = study.path.stem, _time_label(study)
    every = max(1, int(found.ok.sum()) // DRAWN)
    good = {name: _good(found, name)[::every].copy() for name in found.names}
    units = dict(zip(found.names, found.units, strict=True))
    written: list[Path] = []
    if len(good) > 1:
        written += save(fans(found.times, good, units=units, time_label=label), folder, f"{stem}-fans")
    for name, runs in good.items():
        figure = fan(found.times, runs, title=sentence_case(name), unit=units[name], time_label=label)
        written += save(figure, folder, f"{stem}-{slug(name)}")
        written += save(found.scatter(name), folder, f"{stem}-{slug(name)}-scatter")
    return written


def _figures_of(found: Indices, study: Study) -> list[tuple[str, Figure]]:
    """The figures of an analysis with the names of their files: areas, Morris's plane, or points with intervals."""
    from sd_cluster.charts import index_areas, indices, morris_plane
    from sd_cluster.look import sentence_case

    drawn = []
    for column, output in enumerate(found.outputs):
        title = sentence_case(output)
        if found.over_time and "first" in found.values:
            areas = index_areas(
                found.times, found.parameters, found["first"][:, column], title=title, time_label=_time_label(study)
            )
            drawn.append((f"{output} over time", areas))
        if found.over_time:
            title += f" in {found.times[-1]:g}"
        bars = {
            kind: (found.low[kind][:, column, -1], found.high[kind][:, column, -1])
            for kind in found.values
            if kind in found.low and found.values[kind].ndim == 3
        }
        if "mu_star" in found.values:
            strength, spread = found["mu_star"][:, column, -1], found["sigma"][:, column, -1]
            drawn.append(
                (output, morris_plane(found.parameters, strength, spread, intervals=bars.get("mu_star"), title=title))
            )
            continue
        kinds = [kind for kind in ("first", found.main) if kind in found.values]
        values = {_name_of(kind): found[kind][:, column, -1] for kind in dict.fromkeys(kinds)}
        ends = {_name_of(kind): bars[kind] for kind in kinds if kind in bars}
        text = "share of the variance" if found.main in ("total", "first", "shapley") else _name_of(found.main)
        drawn.append((output, indices(found.parameters, values, intervals=ends, x_label=text, title=title)))
    return drawn


def _name_of(kind: str) -> str:
    from sd_cluster.indices import WORDS

    return WORDS.get(kind, kind)


def _time_label(study: Study) -> str:
    return (study.model.horizon.unit or "year").lower()
