"""Stages before the fit: audit of the figures, what the priors alone would have them be, and what could be told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.chapter import Block, Bullets, Chapter, Paragraph, Rows, rows_of
from calibration.identifiability import TOLD, Identification, identify
from calibration.prior_words import kind_of, quantiles_of
from calibration.statistics import Floats
from calibration.study_work import Work, first, joined
from calibration.words import counted, listed, quoted, span_of
from sd_cluster.errors import FitError
from sd_cluster.look import unit_label

PRIOR_DRAWS = 500
"""Draws of the prior predictive check."""
PLACES = 16
"""Places drawn from the priors at which identifiability is judged before the fit."""
LONG = 40
"""Letters of a source above which it is not repeated."""
MOST = 12
"""Sentences of one kind that the report prints."""


def audit_data(work: Work) -> Chapter:
    """Look through the figures before anything is fitted to them."""
    from calibration.audit import audit
    from calibration.audit_figure import draw_audit

    datasets = {one.name: one.dataset for one in work.study.regions}
    found = {one.name: audit(one.dataset, datasets if len(datasets) > 1 else None) for one in work.study.regions}
    work.table(joined({name: one.summary() for name, one in found.items()}), "audit")
    work.table(joined({name: one.frame() for name, one in found.items()}), "audit-findings")
    heads = (("series", "left"), ("figures", "right"), ("years", "left keep"), ("missing", "right"), ("unit", "left"),
             ("growth a year", "right"), ("noise, at most", "right"), ("to mind", "right"))  # fmt: skip
    body, lines, count, unused, years = [], [], 0, [], []
    for study in work.study.regions:
        one, gauges = found[study.name], study.measurement.gauges
        for row in one.summary().to_dict("records"):
            name = str(row["indicator"])
            if name not in gauges:
                unused.append(name)
                continue
            count += int(row["figures"])
            years += [int(row["first"]), int(row["last"])]
            growth = f"{100 * row['growth']:+.1f} %".replace("-", "−") if np.isfinite(row["growth"]) else "–"
            noise = f"{100 * row['scale']:.0f} %" if row["noise"] == "lognormal" and np.isfinite(row["scale"]) else "–"
            cells = (
                row["figures"],
                f"{row['first']:.0f}–{row['last']:.0f}",
                row["missing"],
                row["unit"],
                growth,
                noise,
            )
            body.append((_shown(name, study.name, work), *cells, row["mind"] or "–"))
            minded = [item for item in one.of(name) if not item.good]
            lines += [f"{_shown(name, study.name, work)}: {item.sentence}." for item in minded]
    files = dict.fromkeys(one.dataset.path.name for one in work.study.regions)
    text = (
        f"The study uses {counted(count, 'figure')} of {counted(len(body), 'series', 'series')} between {min(years)} "
        f"and {max(years)}, from {listed(list(files))}. Years without a figure stay gaps; nothing is filled in."
    )
    if unused:
        text += f" Not used, for want of a measurement: {listed(sorted(set(unused)))}."
    blocks: list[Block] = [
        Paragraph(text),
        rows_of(
            heads,
            body[:40],
            "The series used. Noise is the scatter about a straight line in logarithms, an upper bound.",
        ),
    ]
    blocks.append(
        Bullets(first(lines, MOST, "findings")) if lines else Paragraph("The audit finds nothing in them to mind.")
    )
    for study in work.study.regions:
        if study.name in work.regions:
            figure = draw_audit(found[study.name], list(study.measurement.gauges))
            caption = "Every series with its gaps (shaded) and what to mind (filled)."
            blocks.append(work.draw(figure, work.named("audit", study.name), work.of_region(caption, study.name)))
    return Chapter("audit", "", tuple(blocks), {"figures": count, "first": min(years), "last": max(years)})


def check_priors(work: Work) -> Chapter:
    """See what was assumed, and whether a model that knows nothing else could make such figures at all."""
    from calibration.checks import check_predictions
    from calibration.validation_figures import draw_checks

    checks = check_predictions(work.objective, "prior", seed=work.study.seed, draws=PRIOR_DRAWS)
    work.table(checks.frame(), "prior-checks")
    blocks: list[Block] = [
        Paragraph(
            "What was held to be likely before the figures were seen, and where that comes from. An even prior says "
            "only between which ends a value lies; the other kinds pull."
        ),
        *([Paragraph(work.study.remark)] if work.study.remark else []),
        _priors(work),
        Paragraph(
            f"{counted(PRIOR_DRAWS, 'draw')} of these priors were run through the model and its noise, in the years of "
            f"the data. {checks.sentences[0]}"
        ),
    ]
    if len(checks.sentences) > 1:
        blocks.append(Bullets(first(checks.sentences[1:], MOST, "checks")))
    for region in work.regions:
        caption = (
            "Figures made from the priors alone (bars) and observed (line), statistic by statistic; the number is the "
            "share of replicates below the observed value."
        )
        figure = draw_checks(checks, region=region)
        blocks.append(work.draw(figure, work.named("prior-checks", region), work.of_region(caption, region)))
    return Chapter("prior", "", tuple(blocks), {"unlike": sum(not one.good for one in checks.checks)})


def _priors(work: Work) -> Rows:
    heads = (("unknown", "left"), ("unit", "left keep"), ("prior", "left keep"), ("5 to 95 %", "left keep"),
             ("source", "left small"))  # fmt: skip
    body, table = [], []
    seen: set[str] = set()
    apart = {work.objective.names[row] for pool in work.objective.pools for row in pool.rows}
    for name, prior in work.objective.priors.items():
        low, middle, high = quantiles_of(prior)
        unit = unit_label(work.objective.unit(name)).replace("dimensionless", "–")
        unit = "spreads from the mean" if name in apart else unit
        source = prior.source or "stated in the study file"
        brief = "as above" if len(source) > LONG and source in seen else source
        seen.add(source)
        body.append((name, unit, kind_of(prior), span_of(low, high), brief))
        table.append((name, unit, kind_of(prior), low, middle, high, source))
    import pandas as pd

    columns = ["unknown", "unit", "prior", "low", "median", "high", "source"]
    work.table(pd.DataFrame(table, columns=columns), "priors")
    left = len(body) - 60
    more = f" {left} more stand in tables/priors.csv." if left > 0 else ""
    return rows_of(heads, body[:60], f"Priors; of an even one the ends are given.{more}")


def judge_structure(work: Work) -> Chapter:
    """Judge at places drawn from the priors what figures of this kind could tell, whatever the truth is.

    The judgement is local and numerical: the rank of the sensitivities at each place. An unknown without effect, or a
    combination that none of the places can tell, is a fault of model and measurement, which no fit will mend.
    """
    import pandas as pd

    found, failed = _judged(work)
    if not found:
        raise FitError(f"none of {PLACES} places drawn from the priors can be run; narrow the priors")
    names = work.objective.names
    narrowed = np.array([one.narrowed for one in found])
    of_all = {names[row] for pool in work.objective.pools for row in (pool.mean, pool.spread)}  # told by the regions
    idle = [
        name not in of_all and bool(np.all([np.isinf(one.data_errors[k]) for one in found]))
        for k, name in enumerate(names)
    ]
    ranks, told = [one.rank for one in found], [one.told for one in found]
    table = pd.DataFrame(
        {
            "unknown": names, "narrowed_median": np.median(narrowed, axis=0), "narrowed_low": narrowed.min(axis=0),
            "narrowed_high": narrowed.max(axis=0), "identified_share": np.mean(narrowed >= TOLD, axis=0),
            "without_effect": idle,
        }
    )  # fmt: skip
    work.table(table, "identifiability-before")
    text = (
        f"At {counted(len(found), 'place')} drawn from the priors, figures in these years would depend on "
        f"{_several(ranks)} of {counted(len(names), 'direction')} of the unknowns, and tell {_several(told)} of them "
        "better than the priors do. This is a local judgement, from the rank of the sensitivities at each place; it is "
        "made before the fit, so that what no search could find is known beforehand."
    )
    if failed:
        text += f" At {counted(failed, 'further place')} the model could not be run."
    blocks: list[Block] = [Paragraph(text), Bullets(_structure_lines(found, names, idle, narrowed))]
    heads = (("unknown", "left"), ("prior narrowed by", "right"), ("least", "right"), ("most", "right"),
             ("identified in", "right"))  # fmt: skip
    rows = [
        (
            name, *(f"{100 * share:.0f} %" for share in (np.median(column), column.min(), column.max())),
            f"{int(np.sum(column >= TOLD))} of {len(found)}",
        )
        for name, column in zip(names, narrowed.T, strict=True)
    ]  # fmt: skip
    blocks.append(
        rows_of(
            heads,
            rows[:60],
            "By how much figures in these years would narrow each prior, over places drawn from the priors.",
        )
    )
    return Chapter("structure", "", tuple(blocks), {"without_effect": sum(idle)})


def _judged(work: Work) -> tuple[list[Identification], int]:
    """Identification at the model's own values and at draws of the priors, and how many of these cannot be run."""
    from calibration.modes import brought_inside

    objective = work.objective
    drawn = np.vstack([objective.start, objective.sample_prior(PLACES - 1, work.study.seed)])
    nobody = np.zeros(len(objective.names), dtype=bool)
    found, failed = [], 0
    for place in brought_inside(objective, drawn):
        try:
            found.append(identify(objective, place, nobody))
        except FitError:
            failed += 1
    return found, failed


def _structure_lines(
    found: Sequence[Identification], names: Sequence[str], idle: Sequence[bool], narrowed: Floats
) -> tuple[str, ...]:
    """What is never told, what always, and what is mixed up most often."""
    lines = []
    silent = [name for name, one in zip(names, idle, strict=True) if one]
    if silent:
        lines.append(
            f"Without any effect on the figures, at no place: {listed(quoted(silent))}. That is structural: fix such "
            "an unknown, or measure what it moves."
        )
    never = [
        name for name, column, one in zip(names, narrowed.T, idle, strict=True)
        if not one and float(np.max(column)) < TOLD
    ]  # fmt: skip
    if never:
        lines.append(f"Never known twice as well as beforehand: {listed(quoted(never))}.")
    always = [name for name, column in zip(names, narrowed.T, strict=True) if float(np.min(column)) >= TOLD]
    if always:
        lines.append(f"Known twice as well as beforehand or better at every place: {listed(quoted(always))}.")
    counts: dict[tuple[str, ...], int] = {}
    for one in found:
        for mixed in one.confounded:
            group = tuple(sorted(mixed.names))
            counts[group] = counts.get(group, 0) + 1
    often = sorted((pair for pair in counts.items() if 2 * pair[1] >= len(found)), key=lambda pair: -pair[1])
    lines += [
        f"Not told apart at {number} of {len(found)} places: {listed(quoted(group))}." for group, number in often[:5]
    ]
    return tuple(lines) or ("Nothing is silent or mixed up at most of the places.",)


def _several(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _shown(indicator: str, region: str, work: Work) -> str:
    return indicator if len(work.study.regions) == 1 else f"{indicator} [{region}]"
