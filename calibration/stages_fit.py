"""Stages of the fit: the search, how well it meets the figures, and what the figures tell of each unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from calibration import fit_words
from calibration.chapter import Block, Bullets, Chapter, Heading, Paragraph, Rows, rows_of
from calibration.family import region_of
from calibration.fit import Fit
from calibration.lines import lines_of
from calibration.profiles import Profile
from calibration.stages_family import mean_and_spread
from calibration.study_work import Work, first, joined
from calibration.words import about, cell, fixed, span_of
from sd_cluster.look import unit_label

if TYPE_CHECKING:
    import pandas as pd

    from calibration.residuals import ResidualCheck

Item = TypeVar("Item")

MOST = 14
"""Sentences of one kind that the report prints."""
REGIONS_FOR_WORTH = 6
"""More regions than this, and the worth of further figures is not worked out: there are too many candidates."""
WORTH_LINES = 8
"""Rows of the table of worth that the report prints."""


def search(work: Work) -> Chapter:
    """Look for the best point from many starts."""
    from calibration.figures import draw_fit
    from calibration.fit import simulate_fit
    from calibration.study_figures import draw_waterfall
    from calibration.tables import write_fit_tables

    fit = work.fit
    write_fit_tables(fit, work.folder / "tables")
    payoffs = np.array([one.payoff for one in fit.starts if not one.failed])
    begun = "" if work.family is None else "where regions stand by themselves"
    blocks: list[Block] = [Paragraph(fit_words.nearness(fit, begun))]
    for region in work.regions:
        run = simulate_fit(fit, region=region)
        run.save(_made(work, "runs") / f"{work.named('fitted', region)}.nc")
        series = [one for one in fit.series if one.region == region]
        for part, some in enumerate(_in_rows(series, 3)):
            lines = {one.indicator: lines_of(fit, region, one.indicator) for one in some}
            name = work.named("fit", region) + (f"-{part + 1}" if part else "")
            caption = (
                "Figures (circles) and fitted model (line); below, how far each figure lies above the model, "
                f"{'in per cent (logarithmic)' if some[0].relative else 'in its own unit'}, on one scale for all "
                "series."
            )
            blocks.append(work.draw(draw_fit(some, lines), name, work.of_region(caption, region)))
    if len(work.study.regions) > len(work.regions):
        blocks.append(Paragraph(work.others().strip()))
    blocks += [Paragraph(fit_words.worst_figure(fit)), _estimates(fit)]
    if work.family is not None:
        blocks += mean_and_spread(work, work.family)
    else:
        blocks += [
            Heading("The search"),
            Paragraph(fit_words.starts_told(fit)),
            work.draw(
                draw_waterfall(fit), "starts",
                "Every start, best first: how much worse than the best it ended. A flat foot of several starts speaks "
                "for a best point that is the best of the whole range.",
            ),
        ]  # fmt: skip
    minded = [one.text for one in fit.verdicts if not one.good and one.topic in ("starts", "convergence", "bounds")]
    if minded:
        blocks.append(Bullets(first(minded, MOST, "verdicts")))
    numbers = {
        "payoff": fit.payoff, "starts": len(fit.starts), "values": fit.values,
        "figures": sum(len(one.years) for one in fit.series), "spread": float(np.ptp(payoffs)),
        "near": int(np.sum(payoffs <= fit.payoff + 0.01)), "bounds": [one.name for one in fit.estimates if one.bound],
        "middle": _middle(fit),
        "provenance": dict(fit.provenance),
    }  # fmt: skip
    return Chapter("fit", "", tuple(blocks), numbers)


def _middle(fit: Fit) -> float:
    """Median distance of a figure from the model, as a fraction; NaN where no series has relative residuals."""
    some = [one.residuals for one in fit.series if one.relative]
    return float(np.median(np.abs(np.concatenate(some)))) if some else float("nan")


def assess_quality(work: Work) -> Chapter:
    """Say how well each series is met, and whether what is left over is scatter."""
    from calibration.standardising import residual_checks
    from calibration.validation_figures import draw_residuals

    fit = work.fit
    assert fit.objective is not None
    checks = {
        one.region: residual_checks(one, fit.objective.of_region(fit.place, number))
        for number, one in enumerate(fit.objective.likelihoods)
    }
    every = [one for some in checks.values() for one in some]
    work.table(_tests(checks), "residual-tests")
    from calibration.residuals import summary

    many = len(checks) > 1
    lines = [
        f"{region}: {one.text}" if many else one.text
        for region, some in checks.items() for one in some if not (many and one.good)
    ]  # fmt: skip
    blocks: list[Block] = [
        Paragraph(fit_words.hanging_together(fit)),
        _series(fit),
        Paragraph(fit_words.shares_told(fit)),
        Heading("Is what is left over scatter?"),
        Paragraph(
            f"{summary(every)} Tested are the standardised residuals (innovations where the noise remembers): "
            "Ljung–Box, Breusch–Godfrey and runs for figures in a row, Shapiro–Wilk for the normal."
        ),
    ]
    if lines:
        blocks.append(Bullets(first(lines, MOST, "series")))
    for region in work.regions:
        for part, some in enumerate(_in_rows(list(checks[region]), 3)):
            name = work.named("residuals", region) + (f"-{part + 1}" if part else "")
            caption = "Standardised residuals and their autocorrelation; grey holds 95 % of what scatter would do."
            blocks.append(work.draw(draw_residuals(some), name, work.of_region(caption, region)))
    numbers = {
        "dependent": [one.indicator for one in every if one.dependent],
        "judged": sum(one.judged for one in every),
    }
    r_squared = {f"{one.region} {one.indicator}".strip(): one.r_squared for one in fit.series}
    return Chapter("quality", "", tuple(blocks), {**numbers, "r_squared": r_squared})


def identify_unknowns(work: Work) -> Chapter:
    """Say what the figures tell of each unknown: locally, along profiles, and what further figures would add."""
    from calibration.identifiability import identify
    from calibration.profiles import profiles
    from calibration.uncertainty_figures import draw_collinearity, draw_narrowing, draw_profiles

    fit = work.fit
    spreads = [] if work.family is None else [work.objective.names[pool.spread] for pool in work.objective.pools]
    bounds = [one.name for one in fit.estimates if one.bound]
    known = identify(work.objective, fit.place, np.isin(work.objective.names, [*spreads, *bounds]) if spreads else None)
    work.table(known.frame().reset_index(), "identifiability")
    verdicts = [f"{text}." for name, text in known.verdicts.items() if name not in spreads]
    blocks: list[Block] = [
        Paragraph(
            f"{known.sentences[0]} An unknown is called identified where the figures narrow its prior to half or less; "
            "two that make up for one another are told together."
            + (" Spreads between regions are held at their estimates." if spreads else "")
        ),
        Bullets(first([*known.sentences[1:], *verdicts], 2 * MOST, "sentences")),
        work.draw(draw_narrowing(known), "narrowing", "How far the figures narrow the prior of each unknown."),
    ]
    if len(known.names) > 1 and np.nansum(known.pairs) > 0:
        caption = (
            "Which unknowns do the same to the figures: collinearity of each pair; above 20 they cannot be parted."
        )
        blocks.append(work.draw(draw_collinearity(known), "collinearity", caption))
    numbers: dict[str, Any] = {
        "silent": [name for name, one in zip(known.names, known.narrowed, strict=True) if one < 0.1]
    }
    numbers |= {"identified": [name for name, one in zip(known.names, known.identified, strict=True) if one]}
    how = work.study.profiling
    if how is not None:
        wanted = how.which or _profiled(work)
        source, place = (fit, None) if work.family is None else work.family.family.held()
        found = profiles(
            source, wanted, place, level=how.level, points=how.points,
            folder=work.folder / "kept" / f"profiles-{_told(work)}", workers=work.workers, progress=work.progress,
        )  # fmt: skip
        if len(found) < len(set(wanted)):
            raise KeyboardInterrupt
        work.table(_profile_table(found), "profiles")
        work.table(joined({name: one.frame() for name, one in found.items()}, "along"), "profile-points")
        some = dict(list(found.items())[:12])
        blocks += [
            Heading("Profiles"),
            Paragraph(
                f"Each unknown in turn is moved away from its estimate, with all others searched anew; where the "
                f"payoff has risen by {next(iter(found.values())).cut:.2f}, the interval of {100 * how.level:g} % "
                "ends. What a standard error cannot see shows here: lopsided or open intervals, and a better point "
                "elsewhere." + (" Spreads between regions stay at their estimates." if work.family is not None else "")
            ),
            work.draw(draw_profiles(some), "profiles", "Profiles: least payoff above that of the best point."),
            Bullets(first([str(one) for one in found.values()], MOST, "profiles")),
        ]
        numbers["profiles"] = {name: [one.low, one.high, *one.sides] for name, one in found.items()}
        numbers["gained"] = max(one.gained for one in found.values())
        numbers["level"] = how.level
    if len(work.study.regions) <= REGIONS_FOR_WORTH:
        blocks += _worth(work, fit)
    return Chapter("identifiability", "", tuple(blocks), numbers)


def _profiled(work: Work) -> tuple[str, ...]:
    """Whose profiles are followed where none is named: all, of a family what regions share and the means."""
    names = [one.name for one in work.fit.estimates]
    if work.family is None:
        return tuple(names)
    spreads = {work.objective.names[pool.spread] for pool in work.objective.pools}
    return tuple(name for name in names if name not in spreads and not region_of(name))


def _worth(work: Work, fit: Fit) -> list[Block]:
    from calibration.uncertainty_figures import draw_worth
    from calibration.worth import worth

    found = worth(fit)
    work.table(found.frame(), "worth")
    return [
        Heading("Which further figures would help"),
        Paragraph(
            "Worked out beforehand, whatever the figures will turn out to be: by how much they would narrow what is "
            "known, linearly around the best point."
        ),
        Bullets(found.sentences),
        work.draw(draw_worth(found), "worth", "Worth of further figures, and of the series there are."),
    ]


def _told(work: Work) -> str:
    from calibration.history import digest

    return digest([work.objective.digest, work.fit.place.tolist(), repr(work.study.profiling)])[:12]


def _estimates(fit: Fit) -> Rows:
    heads = (("parameter", "left"), ("estimate", "right"), ("± error", "right"), ("unit", "left keep"),
             ("prior", "right"), ("place, %", "right"))  # fmt: skip
    body = []
    for one in fit.estimates:
        where = f"at {one.bound} bound" if one.bound else f"{100 * one.place:.0f}"
        known = "–" if one.bound else about(one.error) if one.identified else "not known"
        value = {"low": one.low, "high": one.high}.get(one.bound, one.value)
        unit = unit_label(one.unit).replace("dimensionless", "–")
        body.append((one.name, about(value), known, unit, span_of(one.low, one.high), where))
    left = len(body) - 60
    more = f" {left} more stand in tables/estimates.csv." if left > 0 else ""
    caption = (
        "The best point. The prior is told by its ends, or by its 5 and 95 % quantiles; “place” is where in the prior "
        f"the estimate stands, 0 at the low end and 100 at the high one.{more}"
    )
    return rows_of(heads, body[:60], caption)


def _series(fit: Fit) -> Rows:
    many = len(fit.regions) > 1
    heads = [("series", "left"), ("figures", "right"), ("skipped", "right"), ("R²", "right")]
    heads += [(share, "right") for share in ("UM", "US", "UC")]
    heads += [("DW", "right"), ("noise", "right"), ("factor", "right")]
    body = [
        (
            f"{one.indicator} [{one.region}]" if many else one.indicator, len(one.years), len(one.skipped),
            fixed(one.r_squared, 3),
            *(fixed(share, 2) for share in (one.theil.bias, one.theil.variation, one.theil.covariation)),
            fixed(one.durbin_watson, 2), f"{100 * one.noise:.1f} %" if one.relative else cell(one.noise),
            about(one.scale) if one.scale_fitted else "–",
        )
        for one in fit.series
    ]  # fmt: skip
    caption = (
        "How well each series is met. R² on the scale of the residuals; Theil’s shares part the mean squared error "
        "into bias (UM), unequal variation (US) and unequal covariation (UC); DW is Durbin–Watson, near 2 where "
        "residuals (innovations where the noise remembers) do not hang together; noise is its estimated scale."
    )
    return rows_of(heads, body[:60], caption)


def _tests(checks: Mapping[str, Sequence[ResidualCheck]]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        {
            "region": region, "series": one.indicator, "figures": len(one.years), "durbin_watson": one.durbin_watson,
            **{f"{test.name} p": test.p for test in (one.portmanteau, one.regression, one.runs, one.normality)},
            "verdict": one.text,
        }
        for region, some in checks.items() for one in some
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _profile_table(found: Mapping[str, Profile]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        (one.name, one.value, one.low, one.high, one.level, *one.sides, one.gained, one.verdict)
        for one in found.values()
    ]
    columns = ["unknown", "value", "low", "high", "level", "left", "right", "gained", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _in_rows(some: Sequence[Item], width: int) -> list[list[Item]]:
    """Lists of at most so many, as even as can be."""
    count = -(-len(some) // width)
    ends = [round(number * len(some) / count) for number in range(count + 1)] if count else [0]
    return [list(some[start:end]) for start, end in pairwise(ends)]


def _made(work: Work, name: str) -> Path:
    folder = work.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
