"""The demonstration: fit a region, run policies, the pair and the threshold, and write a folder that tells it.

Each step writes its files as soon as it is done, each file beside its place and then renamed: an interrupt
loses only the step it falls into. The report comes last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.dataset import Dataset, read_dataset
from calibration.figures import draw_changes, draw_fit, draw_levers, draw_thresholds
from calibration.fit import Fit
from calibration.optimisation import minimise
from calibration.report import write_report
from calibration.study import (
    SECTIONS,
    Findings,
    LeverEffect,
    Line,
    Policies,
    Study,
    Threshold,
    changes_at_end,
    examine_doubts,
    find_threshold,
    lever_effects,
    misfit_of,
    model_lines,
    place_of,
    run_pair,
    run_policies,
)
from calibration.tables import tidy, write_fit_tables, write_table
from sd_cluster import Model, Run, Scenario, load, plot
from sd_cluster.look import slug, unit_label

if TYPE_CHECKING:
    import pandas as pd

Told = Callable[[str, float], None]
"""Called with what is being done and which part of the work after the fit is done, from 0 to 1."""


def run_demo(
    folder: Path,
    study: Study | None = None,
    *,
    workers: int | None = None,
    progress: bool = True,
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
        After Ctrl-C; a fit cut short is written before, with the starts it had done.
    """
    began = time.monotonic()
    study = study or Study()
    folder.mkdir(parents=True, exist_ok=True)  # a place that cannot be had is told before the work
    model = load(study.model)
    dataset = read_dataset(study.region, last=study.last_year)
    fit = fit_region(model, dataset, study, workers=workers, progress=progress)
    _write_fit(folder, fit)
    if len(fit.starts) < study.starts:
        raise KeyboardInterrupt  # the search gave what it had; the rest of the study was not wanted

    scenario = fit.scenario("base")
    policies, lines, effects = _outlook(folder, model, study, fit, scenario, told)
    told("Route 128 and Silicon Valley", 0.5)
    pair = run_pair(model, study)
    _write_pair(folder, pair, study)
    thresholds = _thresholds(folder, model, study, scenario, told)

    told("report", 0.95)
    doubts = examine_doubts(model, dataset, study, fit)
    found = Findings(study, model, dataset, fit, scenario, lines, policies, effects, pair, thresholds, doubts)
    write_report(found, folder, command=command, seconds=time.monotonic() - began)
    told("done", 1.0)
    return found


def _outlook(
    folder: Path, model: Model, study: Study, fit: Fit, scenario: Scenario, told: Told
) -> tuple[Policies, dict[str, Line], tuple[LeverEffect, ...]]:
    """Run the fitted model on: the base case, the policies, and each lever alone."""
    horizon = replace(model.horizon, start=study.start, end=study.end)
    told("policies", 0.02)
    policies = run_policies(model, scenario, study, horizon)
    lines = model_lines(policies.base, fit.series, study.measurement())
    _write_base(folder, policies, study, model)
    plot.save(draw_fit(fit.series, lines), folder / "figures", "fit")
    _write_policies(folder, policies, study)
    effects = lever_effects(
        model, scenario, policies, study, horizon,
        told=lambda n, of: told("levers one by one", 0.2 + 0.3 * n / of),
    )  # fmt: skip
    _write_effects(folder, effects, study)
    return policies, lines, effects


def _thresholds(
    folder: Path, model: Model, study: Study, scenario: Scenario, told: Told
) -> tuple[Threshold, Threshold]:
    """Look for the threshold of trust in the model as shipped and as fitted."""
    shipped = find_threshold(
        model, Scenario("base"), study, name="the model as shipped", start=model.horizon.start,
        told=lambda n, of: told("threshold of trust", 0.55 + 0.2 * n / of),
    )  # fmt: skip
    fitted = find_threshold(
        model, scenario, study, name=f"fitted to {place_of(study)}", start=study.start,
        told=lambda n, of: told("threshold of trust", 0.75 + 0.2 * n / of),
    )  # fmt: skip
    _write_thresholds(folder, (shipped, fitted), model)
    return shipped, fitted


def fit_region(
    model: Model, dataset: Dataset, study: Study, *, workers: int | None = None, progress: bool = True
) -> Fit:
    """Fit the study's free parameters to its series."""
    misfit = misfit_of(model, dataset, study, study.free)
    return minimise(misfit, starts=study.starts, seed=study.seed, workers=workers, progress=progress)


def _write_fit(folder: Path, fit: Fit) -> None:
    fit.save(folder / "fit.json")
    write_fit_tables(fit, folder / "tables")


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
