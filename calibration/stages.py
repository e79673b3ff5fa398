"""Stages of the study of a fit, in the order of Villaverde et al. (2021), doi:10.1093/bib/bbab387.

Identifiability is judged before the fit and again after it, many starts are searched, the fit is assessed, and only
then is it used to predict; the audit of the figures and the check of the priors come before, figures held out and other
models after. Each stage writes its tables and figures as soon as it is done, and last a chapter in the folder `stages`
with the digest of all that it depends on: a stage whose chapter is there and not out of date is not done again. What
takes long keeps its parts in the folder `kept`, so that a study killed at any moment goes on and ends in the numbers of
one that was left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calibration import stages_after, stages_before, stages_fit
from calibration.chapter import Chapter, as_read, load_chapter
from calibration.fit_study import FitStudy
from calibration.history import digest
from calibration.study_work import Work
from sd_cluster.errors import FitError, near
from sd_cluster.files import write_beside

FORMAT = 1
"""Raised whenever stages come to say something else of the same numbers."""

Told = Callable[[int, int, str, bool], None]
"""Called before each stage with its number from 1, how many there are, its title, and whether it is done already."""


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes
    ----------
    key, title
        Its name on the command line, and its heading in the report.
    work
        Does it.
    asked
        What of the study it depends on, besides the objective and the seed.
    needs
        Stages whose outcome it depends on.
    """

    key: str
    title: str
    work: Callable[[Work], Chapter]
    asked: Callable[[FitStudy], Any] = lambda study: None
    needs: tuple[str, ...] = ()


STAGES: Mapping[str, Stage] = {
    stage.key: stage
    for stage in (
        Stage("audit", "The figures", stages_before.audit_data),
        Stage(
            "prior", "What was assumed", stages_before.check_priors, lambda study: study.remark or None,
        ),
        Stage("structure", "What such figures could tell", stages_before.judge_structure),
        Stage("fit", "Data against model", stages_fit.search, lambda study: repr(study.searching)),
        Stage("quality", "How good the fit is", stages_fit.assess_quality, needs=("fit",)),
        Stage(
            "identifiability", "What the data tell", stages_fit.identify_unknowns,
            lambda study: repr(study.profiling), ("fit",),
        ),
        Stage(
            "posterior", "The posterior", stages_after.sample_posterior,
            lambda study: repr(study.drawing), ("fit", "identifiability"),
        ),
        Stage(
            "prediction", "What it predicts", stages_after.predict_on, lambda study: repr(study.outlook), ("posterior",)
        ),
        Stage(
            "validation", "Figures held out", stages_after.validate_held_out,
            lambda study: repr(
                (study.holding, study.searching if study.pooled else study.searching.search, study.drawing)
            ),
        ),
        Stage(
            "comparison", "Other models of the same figures", stages_after.compare_models,
            lambda study: [study.of(one).objective().digest for one in study.alternatives], ("fit",),
        ),
    )
}  # fmt: skip
"""All stages in their order, by key."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a study came to, as far as it went.

    Attributes
    ----------
    study, folder
        What was asked, and where everything stands.
    chapters
        Of the stages done, by key and in their order.
    work
        The bench, from which the fit and the posterior can be had.
    """

    study: FitStudy
    folder: Path
    chapters: Mapping[str, Chapter]
    work: Work

    @property
    def complete(self) -> bool:
        """Whether every stage is done."""
        return len(self.chapters) == len(STAGES)


def run_study(
    study: FitStudy,
    folder: str | Path,
    *,
    until: str | None = None,
    workers: int | None = None,
    progress: bool = True,
    told: Told = lambda number, of, title, done: None,
) -> Outcome:
    """Do the stages of a study into a folder, or those that are not done yet.

    Parameters
    ----------
    study
        What `read_fit_study` gave.
    folder
        Made where needed.
    until
        The last stage to do; all where not given.
    workers, progress
        As in `minimise`.
    told
        Hears of each stage before it is done.

    Raises
    ------
    FitError
        If there is no such stage, or a stage cannot be done.
    KeyboardInterrupt
        After Ctrl-C; what is done stands in the folder, and the same call goes on.
    """
    if until is not None and until not in STAGES:
        raise FitError(f"no stage '{until}'{near(until, STAGES)}; there are {', '.join(STAGES)}")
    from threadpoolctl import threadpool_limits

    work = Work(study, Path(folder), workers, progress)
    work.folder.mkdir(parents=True, exist_ok=True)
    write_beside(work.folder / "study.toml", partial(_write, text=study.text))
    with threadpool_limits(1, user_api="blas"):  # threads cost more than small matrices are worth
        for number, stage in enumerate(STAGES.values(), start=1):
            path = work.folder / "stages" / f"{stage.key}.json"
            wanted = _digest(stage, work)
            done = _kept(path, wanted)
            told(number, len(STAGES), stage.title, done is not None)
            work.chapters[stage.key] = _done(stage, work, path, wanted) if done is None else done
            if stage.key == until:
                break
    return Outcome(study, work.folder, dict(work.chapters), work)


def _done(stage: Stage, work: Work, path: Path, wanted: str) -> Chapter:
    began = time.monotonic()
    chapter = stage.work(work)
    took = round(time.monotonic() - began, 1)
    return as_read(replace(chapter, title=stage.title, digest=wanted, seconds=took), path)


def _digest(stage: Stage, work: Work) -> str:
    """Of all that a stage's chapter depends on."""
    study = work.study
    return digest(
        {
            "stage": stage.key, "format": FORMAT, "version": version("sd-cluster"),
            "objective": work.objective.digest, "name": study.name, "seed": study.seed, "asked": stage.asked(study),
            "data": [one.dataset.digest for one in study.regions],
            "sources": [prior.source for prior in work.objective.priors.values()],
            "needs": [work.chapters[key].digest for key in stage.needs],
        }
    )  # fmt: skip


def _kept(path: Path, wanted: str) -> Chapter | None:
    """The chapter of an earlier run, if it is there and not out of date."""
    if not path.exists():
        return None
    try:
        found = load_chapter(path)
    except FitError:
        return None
    return found if found.digest == wanted else None


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
