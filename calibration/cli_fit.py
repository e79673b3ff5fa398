"""What `sd-cluster fit STUDY.toml` does: stages with their progress on the screen, and a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sd_cluster.cli import screen

if TYPE_CHECKING:
    from rich.console import Console

    from calibration.stages import Outcome, Told


def is_study(data: str) -> bool:
    """Whether what is to be fitted is a study file, rather than a table or a region."""
    return data.lower().endswith(".toml")


def run_file(path: Path, out: Path | None, until: str | None, workers: int | None) -> None:
    """Do the study of a file and print what it came to.

    Raises
    ------
    typer.BadParameter
        If there is no such stage: wrong use, exit code 2.
    typer.Exit
        With 130 after Ctrl-C, once it is told how to go on.
    """
    from calibration.stages import STAGES, run_study
    from calibration.study_file import read_fit_study
    from calibration.study_report import summary, write_study_report
    from sd_cluster.errors import near

    if until is not None and until not in STAGES:
        raise typer.BadParameter(
            f"--until '{until}': no such stage{near(until, STAGES)}; there are {', '.join(STAGES)}"
        )
    study = read_fit_study(path)
    folder = out or Path(path.stem)
    command = f"sd-cluster fit {path} --out {folder}"
    told = screen(error=True)
    try:
        outcome = run_study(study, folder, until=until, workers=workers, told=teller(told))
    except KeyboardInterrupt:
        told.print(
            f"\nInterrupted; what was done stands in {folder}. To go on: {command}", markup=False, soft_wrap=True
        )
        raise typer.Exit(130) from None
    page = write_study_report(outcome, command=command)
    console = screen()
    console.print()
    for line in summary(outcome):
        console.print(line, markup=False)
    console.print()
    for place, words in places_of(outcome, page).items():
        console.print(f"wrote {place}  ({words})", markup=False, soft_wrap=True)


def teller(console: Console) -> Told:
    """Tell each stage in a line before it is done; the bars of a stage come below it and go when it is over."""

    def tell(number: int, of: int, title: str, done: bool) -> None:
        text = f"{number:>2}/{of}  {title}"
        if done:
            console.print(f"{text}: done before", markup=False, style="dim", highlight=False)
        else:
            console.print(text, markup=False, highlight=False)

    return tell


def places_of(outcome: Outcome, page: Path) -> Mapping[Path, str]:
    """What was written, and what it is."""
    folder = outcome.folder
    words: Mapping[str, str] = {
        "fit.json": "the fit",
        "posterior.nc": "draws of the posterior, netCDF",
        "figures": "PNG and SVG",
        "tables": "tidy CSV",
        "runs": "netCDF",
    }
    found = {folder / name: text for name, text in words.items() if (folder / name).exists()}
    return {page: "the report; open it in a browser", **found}


def refuse_options(given: Mapping[str, object]) -> None:
    """With a study file, what is fitted stands in the file.

    Raises
    ------
    typer.BadParameter
        If an option says it once more.
    """
    for name, value in given.items():
        if value:
            raise typer.BadParameter(f"{name} is for a fit without a study file; write it into the file instead")
