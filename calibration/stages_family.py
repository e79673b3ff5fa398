"""What the stages of a study add for a family of regions: mean and spread, shrinkage, and a region left out."""

from __future__ import annotations

from calibration.chapter import Block, Bullets, Heading, Paragraph, Rows, rows_of
from calibration.family import FamilyFit
from calibration.family_search import FamilySearch
from calibration.left_out import FEWEST
from calibration.study_work import Work, joined
from calibration.validation import Validation
from calibration.words import cell, counted, listed, quoted, span_of
from sd_cluster.look import unit_label

ROUNDS = 30
"""Most times that spreads are moved for a family without a region."""


def mean_and_spread(work: Work, search: FamilySearch) -> list[Block]:
    """How a family was searched, what the typical region has, how far regions differ, and how they shrink."""
    from calibration.family_figures import draw_shrinkage
    from calibration.shrinkage import shrinkage

    family = search.family
    shrunk = shrinkage(family, search.alone)
    work.table(family.frame(), "family")
    work.table(joined({one.parameter: one.frame() for one in shrunk}, "parameter"), "shrinkage")
    pooled = listed(quoted(family.pooled))
    several = len(family.pooled) > 1
    return [
        Heading("The family of regions"),
        Paragraph(
            f"{pooled[:1].upper()}{pooled[1:]} {'differ' if several else 'differs'} from region to region around a "
            "common mean. How far they differ was found where the figures are most probable with the distances "
            "averaged out (Laplace’s approximation): at the best point of everything at once a spread runs away."
        ),
        _table(family),
        Bullets(tuple(one.text for one in shrunk)),
        work.draw(
            draw_shrinkage(shrunk), "shrinkage",
            "Each region by itself (open) and in the family (filled), with one standard error to either side; the line "
            "is the typical region, the shade one spread.",
        ),
        Heading("The search"),
        Paragraph(next(one.text for one in search.fit.verdicts if one.topic == "starts")),
    ]  # fmt: skip


def _table(family: FamilyFit) -> Rows:
    heads = (("parameter", "left"), ("unit", "left keep"), ("typical region", "right"), ("90 % sure", "right"),
             ("90 % of regions", "right"), ("spread", "right"), ("± error", "right"))  # fmt: skip
    body = [
        (
            row["parameter"], unit_label(row["unit"]).replace("dimensionless", "–"), cell(row["typical"]),
            span_of(row["typical_low"], row["typical_high"]), span_of(row["region_low"], row["region_high"]),
            cell(row["spread"]), cell(row["spread_error"]),
        )
        for row in family.frame().to_dict("records")
    ]  # fmt: skip
    caption = (
        "Mean and spread. The spread is in the coordinate of the prior: of the logarithm, in standard deviations of a "
        "log-normal prior."
    )
    return rows_of(heads, body, caption)


def leaves_region_out(work: Work) -> bool:
    """Whether a region is held out of a family that can be told without it."""
    holding = work.study.holding
    whole = holding is not None and holding.region is not None and holding.last is None
    return whole and work.family is not None and len(work.study.regions) > FEWEST


def left_out(work: Work) -> tuple[Validation, str]:
    """The region held out, predicted by the family without it; and how that was done, in words."""
    from calibration.left_out import leave_one_out

    holding = work.study.holding
    assert work.family is not None and holding is not None and holding.region is not None
    found = leave_one_out(
        work.family.family, regions=[holding.region], draws=holding.draws, seed=work.study.seed, rounds=ROUNDS
    )
    count = sum(len(one.years) for one in found.series)
    others = len(work.study.regions) - 1
    text = (
        f"The family was fitted again without {holding.region}, whose {counted(count, 'figure')} in "
        f"{counted(len(found.series), 'series', 'series')} were then predicted: parameters drawn around the mean and "
        f"with the spread of the other {others} regions, noise as in one of them."
    )
    free = [name for name in work.objective.likelihoods[0].series if work.objective.likelihoods[0].solved(name)]
    if free:
        text += f" The level of {listed(free)}, which the model leaves free, was drawn from theirs too."
    return found, f"{text} The naive forecast is the middle of the other regions in the same year."
