"""The report of a study: its chapters between a summary and all that it takes to repeat it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from calibration.chapter import Block, Chapter, Code, Heading, Paragraph, Rows, rows_of
from calibration.report import Page, write_page
from calibration.stages import STAGES, Outcome
from calibration.words import about, counted, listed, quoted

PACKAGES = ("sd-cluster", "numpy", "scipy", "numba", "pysd", "nutpie", "emcee", "cmaes", "arviz", "statsmodels")
"""Whose versions the numbers may depend on."""

KINDS = (
    ("report.html", "this page"),
    ("study.toml", "the study file"),
    ("fit.json, training-fit.json", "fits: estimates, every start, verdicts, provenance; cal.load_fit opens them"),
    ("posterior.nc", "draws of the posterior; Posterior.load opens it"),
    ("figures/*", "each figure as PNG and SVG"),
    ("tables/*.csv", "tidy tables behind figures and text"),
    ("runs/*.nc", "runs of the fitted model, all variables, with what made them; sd_cluster.load_run opens them"),
    ("stages/*.json", "what each stage says, with the digest of all it depends on"),
    ("kept/*", "every start, chain and point of a profile: what an interrupted study goes on from"),
)
"""Files of the folder, and what they hold."""


def write_study_report(outcome: Outcome, *, command: str) -> Path:
    """Write `report.html` for the stages done so far into the folder of the study."""
    return write_page(page_of(outcome, command=command), outcome.folder)


def page_of(outcome: Outcome, *, command: str) -> Page:
    """The report as a page, for the stages done so far."""
    study = outcome.study
    chapters = [*outcome.chapters.values(), repeat(outcome, command=command)]
    return Page(
        title=study.name,
        description=f"{study.name}: a system-dynamics model set against figures",
        over="sd-cluster · the study of a fit",
        lead=" ".join(summary(outcome)),
        key_numbers=key_numbers(outcome),
        chapters=chapters,
        foot=foot(outcome),
    )


def summary(outcome: Outcome) -> list[str]:
    """The study in three sentences: how it fits, what the figures tell, and how it foresees."""
    done = outcome.chapters
    told = []
    if "fit" in done:
        told.append(_fitted(outcome, done["fit"].numbers))
    else:
        figures = done["audit"].numbers["figures"] if "audit" in done else 0
        told.append(
            f"{outcome.study.model.name} is to be fitted to {counted(figures, 'figure')} of {outcome.study.name}."
        )
    if "identifiability" in done:
        told.append(_known(outcome, done["identifiability"].numbers))
    if "validation" in done:
        told.append(_foreseen(outcome, done["validation"].numbers))
    if not outcome.complete:
        left = [stage.title.lower() for key, stage in STAGES.items() if key not in done]
        told.append(f"Not done yet: {listed(left)}.")
    return told


def _fitted(outcome: Outcome, numbers: Mapping[str, Any]) -> str:
    its, study = numbers, outcome.study
    text = (
        f"The model of {study.model.name.replace('_', ' ')} was fitted to {counted(its['figures'], 'figure')} of "
        f"{study.name}"
    )
    if its["middle"] is not None:
        text += f": half of them lie within {about(100 * its['middle'], 2)} % of the model"
    if its["starts"] > 1:
        text += f", at a best point that {its['near']} of {its['starts']} starts found"
    quality = outcome.chapters.get("quality")
    if quality is not None and quality.numbers["dependent"]:
        text += f", though residuals of {listed(list(dict.fromkeys(quality.numbers['dependent']))[:4])} come in waves"
    return text + "."


def _known(outcome: Outcome, numbers: Mapping[str, Any]) -> str:
    free = list(outcome.chapters["fit"].numbers["values"])
    sure = [name for name in numbers["identified"] if name in free]
    bounds = outcome.chapters["fit"].numbers["bounds"]
    rest = [name for name in free if name not in sure and name not in bounds]
    text = f"Of {counted(len(free), 'parameter')} the figures identify {len(sure)}"
    text += f" ({listed(sure[:5])}{', …' if len(sure) > 5 else ''})" if sure else ""
    if rest:
        text += f" and leave {listed(quoted(rest[:4]))}{' and others' if len(rest) > 4 else ''} more or less as assumed"
    if bounds:
        text += f"; {listed(quoted(bounds[:3]))} {'stands' if len(bounds) == 1 else 'stand'} at a bound"
    return text + "."


def _foreseen(outcome: Outcome, numbers: Mapping[str, Any]) -> str:
    if not numbers:
        return "Nothing was held out, so how well it foresees is not known."
    won, every, lost = numbers["won"], numbers["series"], numbers["lost_to"]
    when = f"after {numbers['last']:.0f}" if numbers["last"] is not None else "of a region it had not seen"
    text = (
        f"On {counted(numbers['figures'], 'figure')} {when} it errs less than every naive forecast in {len(won)} of "
        f"{counted(len(every), 'series', 'series')}"
    )
    if lost:
        some = [f"{name} (to {rival})" for name, rival in list(lost.items())[:4]]
        text += f" and loses in {listed(some)}{' and others' if len(lost) > 4 else ''}"
    inside = [f"its {level} % bands hold {count}" for level, count in numbers["inside"].items()]
    return f"{text}; {listed(inside)} of these figures."


def key_numbers(outcome: Outcome) -> list[tuple[str, str]]:
    """A few numbers for the head of the page."""
    done, found = outcome.chapters, []
    if "fit" in done:
        its = done["fit"].numbers
        found.append((str(its["figures"]), f"figures, {counted(len(its['values']), 'parameter')} fitted"))
        if its["middle"] is not None:
            found.append((f"{about(100 * its['middle'], 2)} %", "median distance between data and model"))
    if "identifiability" in done:
        names = [
            name for name in done["identifiability"].numbers["identified"] if name in done["fit"].numbers["values"]
        ]
        found.append((f"{len(names)} of {len(done['fit'].numbers['values'])}", "parameters that the figures identify"))
    if "validation" in done and done["validation"].numbers:
        its = done["validation"].numbers
        found.append(
            (f"{len(its['won'])} of {len(its['series'])}", "series forecast better than by every naive method")
        )
    return found


def repeat(outcome: Outcome, *, command: str) -> Chapter:
    """Everything that it takes to repeat the study."""
    study = outcome.study
    blocks: list[Block] = [
        Paragraph(
            "One command writes all of this; the same file and seed give the same numbers on the same versions. Killed "
            "at any moment, the same command goes on from what is there and ends in the same numbers."
        ),
        Code(command),
        Heading(f"The study file, {study.path.name}"),
        Code(study.text.rstrip()),
        _provenance(outcome),
        _files(outcome.folder),
        Heading("Methods"),
        Paragraph(METHODS),
    ]
    return Chapter("repeat", "How to repeat this", tuple(blocks))


METHODS = (
    "Order of the stages: Villaverde et al. (2021), doi:10.1093/bib/bbab387. Identifiability: singular values of the "
    "sensitivities in spreads of the priors (Cui et al. 2014, doi:10.1088/0266-5611/30/11/114015) and collinearity "
    "(Brun et al. 2001, doi:10.1029/2000WR900350). Profiles: Raue et al. (2009), doi:10.1093/bioinformatics/btp358. "
    "Worth of data: Tiedeman et al. (2004), doi:10.1029/2004WR003313. Sampling: Hoffman and Gelman (2014), through "
    "nutpie; its diagnostics: Vehtari et al. (2021), doi:10.1214/20-BA1221; leave-one-out: Vehtari et al. (2017), "
    "doi:10.1007/s11222-016-9696-4. Predictive checks: Gelman, Meng and Stern (1996), Statistica Sinica 6, 733-807."
)


def _provenance(outcome: Outcome) -> Rows:
    study, fit = outcome.study, outcome.chapters.get("fit")
    kept = fit.numbers["provenance"] if fit is not None else {}
    rows: list[tuple[str, str]] = [
        ("model", f"{study.model.name}, digest {_short(study.model.digest)}"),
        ("study file", f"{study.path.name}, digest {_short(study.digest())}"),
    ]
    files = {one.dataset.path.name: one.dataset.digest for one in study.regions}
    rows += [(f"figures, {name}", f"digest {_short(digest)}") for name, digest in files.items()]
    rows += [("objective", f"digest {_short(outcome.work.objective.digest)}"), ("seed", str(study.seed))]
    rows += [(key, str(kept[key]).replace("(step=None)", ", the model's own step")) for key in _KEPT if key in kept]
    rows.append(("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"))
    rows.append(("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES)))
    return rows_of((("what", "left keep"), ("value", "left")), rows, "What it was made with.")


_KEPT = ("search", "starts", "simulations", "solver", "run")


def _files(folder: Path) -> Rows:
    rows = []
    for pattern, words in KINDS:
        found = sorted(
            path.name for part in pattern.split(", ") for path in folder.glob(part) if not path.name.startswith(".")
        )
        if not found and pattern != "report.html":
            continue
        stems = list(dict.fromkeys(name.rpartition(".")[0] or name for name in found))
        more = f": {', '.join(stems)}" if len(stems) > 2 and len(stems) <= 40 and pattern.startswith("tables") else ""
        rows.append((pattern, words + more))
    return rows_of((("file", "left keep"), ("what it holds", "left")), rows, "Files of this folder.")


def foot(outcome: Outcome) -> str:
    """The last line of the page: by what it was written, and how long the stages took."""
    seconds = sum(chapter.seconds for chapter in outcome.chapters.values())
    return f"Written by sd-cluster {version('sd-cluster')}; its stages took {seconds:.0f} seconds."


def _short(digest: str) -> str:
    return f"{digest[:16]}…"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
