"""Chapters of the demonstration around those of its fit: the question, the model, and what the fitted model does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from calibration import sentences
from calibration.chapter import Block, Bullets, Chapter, Drawing, Paragraph, Rows, rows_of
from calibration.report import Page, write_page
from calibration.sentences import KNOWLEDGE, percent, place
from calibration.stages import Outcome
from calibration.study import Findings, changes_at_end
from calibration.study_report import foot, key_numbers, repeat, summary
from calibration.words import about
from sd_cluster.look import sentence_case, unit_label

QUESTION = (
    "Yang Aijie’s paper “Effective Construction of Collective Learning Mechanisms in Hi-Tech Industrial Clusters” says "
    "in words how the firms of a cluster learn together: by transfer of their own knowledge, by conversion of it into "
    "new knowledge, and by achievement, the way back from the shared base to every member. It has no equations and no "
    "numbers. Here its words are a model that can be run, and the model is set beside the record of a real park."
)

MODEL = (
    "Knowledge flows through four channels (personnel flow, contact with suppliers and customers, derivation of firms, "
    "informal contact) and four motives decide how much members take part. Sharing, trust, absorption, talent, "
    "spin-offs and culture feed themselves; obsolescence, sameness of knowledge, crowded land and labour, turnover and "
    "competition hold them back. The levers, from 0 (none) to 1 (full), stand for what enterprises, agencies, public "
    "services and government can do."
)

PAIR = (
    "Saxenian (1994) compared two regions that began alike: around Boston firms kept to themselves, in the valley "
    "people and knowledge moved between them. "
)

BOUNDARY = (
    "The policies are what the best point of the fit implies: they say what follows from the model, and are not a "
    "forecast. How sure the fit itself is, the chapters above say."
)


def write_demo_report(found: Findings, outcome: Outcome, *, command: str) -> Path:
    """Write `report.html` into the folder of the study, which holds all figures."""
    return write_page(page_of(found, outcome, command=command), outcome.folder)


def page_of(found: Findings, outcome: Outcome, *, command: str) -> Page:
    """The report of the demonstration as a page."""
    chapters = [*_before(found), *outcome.chapters.values(), *_after(found), repeat(outcome, command=command)]
    return Page(
        title=f"How {place(found)} learns",
        description=f"Collective learning in {place(found)}: a system-dynamics study",
        over="sd-cluster · a study in system dynamics",
        lead=" ".join([summary(outcome)[0], summary(outcome)[-1], sentences.lead(found)]),
        key_numbers=[*key_numbers(outcome), *_key_numbers(found)],
        chapters=chapters,
        foot=foot(outcome),
    )


def _key_numbers(found: Findings) -> list[tuple[str, str]]:
    """What the best policy brings, and the threshold of trust where there is one."""
    changes = changes_at_end(found.policies, (KNOWLEDGE,), found.study.end)
    best = max(changes, key=lambda policy: changes[policy][KNOWLEDGE])
    words = f"shared knowledge by {found.study.end:.0f}, policy of {best[4:]}"
    numbers = [(percent(changes[best][KNOWLEDGE]), words)]
    for one in reversed(found.thresholds):
        if np.isfinite(one.separatrix):
            return [*numbers, (f"{one.separatrix:.2f}", f"threshold of initial trust, {one.name}")]
    return numbers


def _before(found: Findings) -> list[Chapter]:
    question = (Paragraph(QUESTION), Paragraph(sentences.question(found)))
    told, *others = sentences.doubts(found)
    model = (Paragraph(sentences.model(found)), _stocks(found), Paragraph(MODEL), Paragraph(sentences.held(found)),
             Paragraph(told), Bullets(tuple(others)))  # fmt: skip
    return [Chapter("question", "The question", question), Chapter("model", "The model in brief", model)]


def _after(found: Findings) -> list[Chapter]:
    captions = _captions(found)

    def figure(name: str) -> Drawing:
        return Drawing(name, captions[name])

    parts: Mapping[str, tuple[str, Sequence[Block]]] = {
        "stocks": ("The cluster over time", [Paragraph(sentences.stocks(found)), figure("stocks")]),
        "channels": (
            "Through which channels it learns", [Paragraph(sentences.channels(found)), figure("channels")]
        ),
        "policies": (
            "Four policies side by side",
            [
                Paragraph(sentences.policies_set_up(found)), _policies(found, captions["policy_table"]),
                Paragraph(sentences.policies(found)), figure("policies"), figure("changes"),
                Paragraph(sentences.lever_sentence(found)), figure("levers"), Paragraph(BOUNDARY),
            ],
        ),
        "pair": (
            "Route 128 and Silicon Valley",
            [
                Paragraph(PAIR + sentences.pair_set_up(found)), figure("pair"), Paragraph(sentences.pair(found)),
                _pair(found, captions["pair_table"]),
            ],
        ),
        "threshold": ("The threshold of trust", [Paragraph(sentences.threshold(found)), figure("threshold")]),
    }  # fmt: skip
    return [Chapter(key, title, tuple(blocks)) for key, (title, blocks) in parts.items()]


def _captions(found: Findings) -> dict[str, str]:
    study, policies = found.study, found.policies
    year = f"{study.end:.0f}"
    return {
        "stocks": f"All stocks of the fitted model, {study.start:.0f} to {year}, levers as fitted.",
        "channels": "Share of each channel in the intensity of transfer, fitted model.",
        "policies": f"The base case (thick line) and four policies that start in {policies.year:.0f} (dotted line).",
        "changes": f"Change against the base case in {year}, per cent. Each column has its own scale.",
        "levers": f"Change of the {KNOWLEDGE} in {year} when one lever alone rises by {study.raise_by:g} in "
        f"{policies.year:.0f}, per cent.",
        "policy_table": f"Change against the base case in {year}, per cent; the base case in its own units.",
        "pair": "Two clusters equal at the start and different in openness.",
        "pair_table": f"Both clusters after {study.pair_years:.0f} years.",
        "threshold": f"{sentence_case(found.thresholds[0].variable)} after {study.trust.years:.0f} years against "
        "the trust a cluster started with, all else equal.",
    }  # fmt: skip


def _stocks(found: Findings) -> Rows:
    rows = []
    for name in found.model.stocks:
        variable = found.model.variable(name)
        section, note = _section_and_note(variable.note)
        rows.append((name, _short_unit(variable.units), section, note))
    heads = (("stock", "left keep"), ("unit", "left keep"), ("paper", "left keep"), ("what it is", "left"))
    return rows_of(heads, rows, "Stocks, with what the model file says of them.")


def _section_and_note(note: str) -> tuple[str, str]:
    """Part a note such as `Paper 4.1, 4.2: ability to learn.` into its sections and its text."""
    plain = " ".join(note.split())
    head = re.match(r"(?:Lever, )?[Pp]aper ([\d., -]+):\s*(.*)", plain)
    section, text = head.groups() if head else ("", plain)
    return section, sentence_case(text)


def _short_unit(units: str) -> str:
    label = unit_label(units)
    return "–" if label == "dimensionless" else label


def _policies(found: Findings, caption: str) -> Rows:
    study = found.study
    changes = changes_at_end(found.policies, study.outcomes, study.end)
    base = found.policies.base.at(study.end)
    heads = [("", "left keep"), *((name, "right") for name in study.outcomes)]
    rows: list[Sequence[object]] = [("base case", *(_level(base[name]) for name in study.outcomes))]
    rows += [(policy, *(percent(row[name]) for name in study.outcomes)) for policy, row in changes.items()]
    return rows_of(heads, rows, caption)


def _pair(found: Findings, caption: str) -> Rows:
    closed, opened = found.pair
    end = float(opened.times[-1])
    a, b = closed.at(end), opened.at(end)
    rows = [
        (name, _short_unit(closed.unit(name)), _level(a[name]), _level(b[name]), f"{b[name] / a[name]:.1f}")
        for name in found.study.outcomes
    ]
    names = [run.scenario.partition(":")[0] for run in (closed, opened)]
    heads = (("", "left"), ("unit", "left keep"), (names[0], "right"), (names[1], "right"), ("ratio", "right"))
    return rows_of(heads, rows, caption)


def _level(value: float) -> str:
    """Write a stock or a flow: shares with two decimals, big numbers with three figures."""
    return f"{value:.2f}" if abs(value) < 1 else about(value)


def variables_said() -> Mapping[str, str]:
    """Names of model variables the sentences count on, with why; a test holds the model to them."""
    return {
        KNOWLEDGE: "outcome of policies and of the threshold",
        "member firms": "growth and the pair",
        "talent pool": "growth and the pair",
        "trust": "growth",
        "initial trust": "the threshold",
    }
