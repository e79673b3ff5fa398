"""The demonstration: the study of a fit, policies, the pair and the threshold, in a folder that tells it.

The study of the fit is that of a shipped file, stage by stage, and goes on where it was if it is killed. What follows
is quick: each step writes its files as soon as it is done, each file beside its place and then renamed. The report
comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from calibration import stages
from calibration.demo_chapters import write_demo_report
from calibration.figures import draw_changes, draw_levers, draw_thresholds
from calibration.lines import lines_of
from calibration.stages import Outcome, run_study
from calibration.study import (
    SECTIONS,
    Findings,
    LeverEffect,
    Policies,
    Study,
    changes_at_end,
    examine_doubts,
    lever_effects,
    place_of,
    run_pair,
    run_policies,
)
from calibration.tables import tidy, write_table
from calibration.thresholds import Threshold, find_threshold
from sd_cluster import Model, Run, Scenario, plot
from sd_cluster.look import slug, unit_label

if TYPE_CHECKING:
    import pandas as pd

Told = Callable[[str, float], None]
"""Called with what is being done and which part of the work after the fit is done, from 0 to 1."""

FIGURES = ("stocks", "channels", "policies", "changes", "levers", "pair", "threshold")
"""Figures of what follows the fit, in reading order; each stands in the folder as PNG and SVG."""


def run_demo(
    folder: Path,
    study: Study | None = None,
    *,
    workers: int | None = None,
    progress: bool = True,
    staged: stages.Told = lambda number, of, title, done: None,
    told: Told = lambda what, done: None,
    command: str = "sd-cluster demo",
) -> Findings:
    """Carry out the study and write all of it into a folder.

    Parameters
    ----------
    folder
        Made where needed; files of an earlier study of the same names are replaced, one by one.
    study
        The settings; those of the demonstration by default.
    workers, progress
        As in `minimise`.
    staged
        Hears of each stage of the fit before it is done.
    told
        Hears what is being done after the fit.
    command
        The command line that repeats it, for the report.

    Returns
    -------
    findings
        What the report is made of.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C; the same call goes on.
    """
    study = study or Study()
    outcome = run_study(study.plan, folder, workers=workers, progress=progress, told=staged)
    found = _follow_up(folder, study, outcome, told)
    told("report", 0.95)
    write_demo_report(found, outcome, command=command)
    told("done", 1.0)
    return found


def _follow_up(folder: Path, study: Study, outcome: Outcome, told: Told) -> Findings:
    """All that follows the fit."""
    fit, model = outcome.work.fit, study.plan.model
    scenario = fit.scenario("base")
    policies, effects = _outlook(folder, model, study, scenario, told)
    told("Route 128 and Silicon Valley", 0.5)
    pair = run_pair(model, study)
    _write_pair(folder, pair, study)
    thresholds = _thresholds(folder, model, study, scenario, told)
    lines = {one.indicator: lines_of(fit, one.region, one.indicator) for one in fit.series}
    doubts = examine_doubts(study, fit)
    dataset = study.plan.regions[0].dataset
    return Findings(study, model, dataset, fit, scenario, lines, policies, effects, pair, thresholds, doubts)


def _outlook(
    folder: Path, model: Model, study: Study, scenario: Scenario, told: Told
) -> tuple[Policies, tuple[LeverEffect, ...]]:
    """Run the fitted model on: the base case, the policies, and each lever alone."""
    horizon = replace(model.horizon, start=study.start, end=study.end)
    told("policies", 0.02)
    policies = run_policies(model, scenario, study, horizon)
    _write_base(folder, policies, study, model)
    _write_policies(folder, policies, study)
    effects = lever_effects(
        model, scenario, policies, study, horizon,
        told=lambda n, of: told("levers one by one", 0.2 + 0.3 * n / of),
    )  # fmt: skip
    _write_effects(folder, effects, study)
    return policies, effects


def _thresholds(
    folder: Path, model: Model, study: Study, scenario: Scenario, told: Told
) -> tuple[Threshold, Threshold]:
    """Look for the threshold of trust in the model as shipped and as fitted."""
    shipped = find_threshold(
        model, Scenario("base"), study.trust, name="the model as shipped", start=model.horizon.start,
        told=lambda n, of: told("threshold of trust", 0.55 + 0.2 * n / of),
    )  # fmt: skip
    fitted = find_threshold(
        model, scenario, study.trust, name=f"fitted to {place_of(study)}", start=study.start,
        told=lambda n, of: told("threshold of trust", 0.75 + 0.2 * n / of),
    )  # fmt: skip
    _write_thresholds(folder, (shipped, fitted), model)
    return shipped, fitted


def _write_base(folder: Path, policies: Policies, study: Study, model: Model) -> None:
    base = policies.base
    _write_run(base, folder, "base")
    _write_table(tidy([base], model.stocks), folder, "stocks")
    plot.save(plot.panel(base, model.stocks), folder / "figures", "stocks")
    _write_table(tidy([base], study.channels), folder, "channels")
    plot.save(plot.stacked(base, study.channels), folder / "figures", "channels")


def _write_policies(folder: Path, policies: Policies, study: Study) -> None:
    for run in policies.runs:
        _write_run(run, folder, slug(run.scenario))
    everything = [policies.base, *policies.runs]
    _write_table(tidy(everything, study.outcomes), folder, "policies")
    figure = plot.panel(
        [_from(run, policies.year - 6) for run in everything],
        study.outcomes,
        reference="base",
        mark=policies.year,
    )
    plot.save(figure, folder / "figures", "policies")
    changes = changes_at_end(policies, study.outcomes, study.end)
    heading = f"change against the base case in {study.end:.0f}, %"
    plot.save(draw_changes(changes, heading=heading), folder / "figures", "changes")
    rows = [(policy, name, change) for policy, row in changes.items() for name, change in row.items()]
    _write_rows(("policy", "variable", "change_percent"), rows, folder, "policy-changes")


def _write_effects(folder: Path, effects: Sequence[LeverEffect], study: Study) -> None:
    rows = [(one.lever, one.section, name, change) for one in effects for name, change in one.changes.items()]
    _write_rows(("lever", "section", "variable", "change_percent"), rows, folder, "lever-effects")
    outcome = study.outcomes[0]
    heading = f"change of the {outcome} in {study.end:.0f}, %"
    plot.save(draw_levers(effects, outcome, SECTIONS, heading), folder / "figures", "levers")


def _write_pair(folder: Path, pair: Sequence[Run], study: Study) -> None:
    for run in pair:
        _write_run(run, folder, slug(run.scenario))
    _write_table(tidy(pair, study.outcomes), folder, "pair")
    plot.save(plot.panel(pair, study.outcomes), folder / "figures", "pair")


def _write_thresholds(folder: Path, thresholds: Sequence[Threshold], model: Model) -> None:
    rows = [
        (one.name, trust, one.variable, one.year, outcome)
        for one in thresholds
        for trust, outcome in zip(one.initial.tolist(), one.outcomes.tolist(), strict=True)
    ]
    _write_rows(("cluster", "initial_trust", "variable", "year", "value"), rows, folder, "threshold")
    unit = unit_label(model.variable(thresholds[0].variable).units)
    plot.save(draw_thresholds(thresholds, unit), folder / "figures", "threshold")


def _from(run: Run, year: float) -> Run:
    """The part of a run from a year on, for a closer look."""
    kept = run.times >= year
    return replace(run, times=run.times[kept].copy(), values=run.values[kept].copy())


def _write_run(run: Run, folder: Path, name: str) -> None:
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    run.save(folder / "runs" / f"{name}.nc")


def _write_rows(heads: Sequence[str], rows: Sequence[Sequence[object]], folder: Path, name: str) -> None:
    import pandas as pd

    _write_table(pd.DataFrame(list(rows), columns=list(heads)), folder, name)


def _write_table(table: pd.DataFrame, folder: Path, name: str) -> None:
    write_table(table, folder / "tables" / f"{name}.csv")
