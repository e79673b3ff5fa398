"""The report of a study as one HTML page that opens offline: text, tables and figures inside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration import sentences
from calibration.sentences import KNOWLEDGE, about, percent, place
from calibration.study import Findings, changes_at_end, levers
from calibration.words import counted, listed
from sd_cluster.files import write_beside
from sd_cluster.look import GRID, INK, MUTED, PALETTE, PAPER, sentence_case, unit_label

if TYPE_CHECKING:
    from markupsafe import Markup

FIGURES = ("fit", "stocks", "channels", "policies", "changes", "levers", "pair", "threshold")
"""Figures of the report in reading order; each stands in the folder as PNG and SVG."""

CONTENTS = {
    "question": "The question",
    "model": "The model in brief",
    "fit": "Data against model",
    "stocks": "The cluster over time",
    "channels": "Through which channels it learns",
    "policies": "Four policies side by side",
    "pair": "Route 128 and Silicon Valley",
    "threshold": "The threshold of trust",
    "limits": "What the fit cannot tell",
    "repeat": "How to repeat this",
}


@dataclass(frozen=True)
class Rows:
    """A table of the report: heads as (text, "left" or "right"), and rows of cells."""

    heads: Sequence[tuple[str, str]]
    body: Sequence[Sequence[object]]


def write_report(found: Findings, folder: Path, *, command: str, seconds: float | None = None) -> Path:
    """Write `report.html` into a folder that already holds the figures and other files of the study.

    Parameters
    ----------
    found
        What the study found.
    folder
        Where the figures stand in `figures/`; the page takes them in, and lists all files.
    command
        The command line that repeats the study.
    seconds
        How long it took, told at the foot.
    """
    page = render(found, folder, command=command, seconds=seconds)
    return write_beside(folder / "report.html", lambda path: _write(path, page))


def render(found: Findings, folder: Path, *, command: str, seconds: float | None = None) -> str:
    """Give the page as text; `folder` as in `write_report`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    title = f"How {place(found)} learns"
    captions = _captions(found)
    page: str = environment.get_template("report.html.j2").render(
        title=title,
        description=f"Collective learning in {place(found)}: a system-dynamics study",
        version=version("sd-cluster"),
        lead=bound(sentences.lead(found)),
        key_numbers=_key_numbers(found),
        contents=CONTENTS.items(),
        figures={name: inline(folder / "figures" / f"{name}.svg", name, captions[name]) for name in FIGURES},
        numbers={name: number for number, name in enumerate(FIGURES, start=1)},
        captions=captions,
        say=_say(found),
        tables=_tables(found, folder),
        verdicts=[verdict.text for verdict in found.fit.verdicts if not verdict.good],
        known=[verdict.text for verdict in found.fit.verdicts if verdict.good and verdict.topic == "data"],
        commands=command,
        seconds=None if seconds is None else f"{seconds:.0f}",
    )
    return page


def inline(path: Path, name: str, label: str) -> Markup:
    """Make a figure's SVG part of a page: it takes the page's type and colours, light or dark.

    Ids get the figure's name before them, so that figures on one page do not mix; the file's head, its
    metadata and its style sheet, which would reach the whole page, are left out. `label` is what those hear who
    cannot see it.
    """
    from markupsafe import Markup, escape

    text = path.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    opening, rest = text[: text.index(">")], text[text.index(">") :]
    opening = re.sub(r' (?:xmlns(?::\w+)?|version|width|height)="[^"]*"', "", opening)
    text = opening + rest.replace("xlink:href", "href")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    colours = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper"}
    colours |= {colour: f"c{number}" for number, colour in enumerate(PALETTE, start=1)}
    for colour, variable in colours.items():
        text = text.replace(colour, f"var(--{variable})")
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    width = float(view.group(1)) if view else 518.4
    # A narrow figure keeps its own size, so that letters are alike in all.
    share = min(100.0, 100.0 * width / 518.4)
    head = f'<svg role="img" aria-label="{escape(label)}" style="width: {share:.1f}%"'
    return Markup(text.replace("<svg", head, 1))


def _write(path: Path, page: str) -> None:
    path.write_text(page, encoding="utf-8")


def _say(found: Findings) -> dict[str, str]:
    """Every computed paragraph of the page, by its place."""
    said = {
        "question": sentences.question(found),
        "model": sentences.model(found),
        "fit": sentences.fit(found),
        "residuals": sentences.residuals(found),
        "card": sentences.card(found),
        "stocks": sentences.stocks(found),
        "channels": sentences.channels(found),
        "policies_set_up": sentences.policies_set_up(found),
        "policies": sentences.policies(found),
        "levers": sentences.lever_sentence(found),
        "pair_set_up": sentences.pair_set_up(found),
        "pair": sentences.pair(found),
        "threshold": sentences.threshold(found),
        "limits": sentences.limits(found),
        "held": sentences.held(found),
    }
    return {key: bound(text) for key, text in said.items()}


def bound(text: str) -> str:
    """Keep a number and its per cent sign on one line."""
    return re.sub(r"(\d) %", "\\1\N{NO-BREAK SPACE}%", text)


def _key_numbers(found: Findings) -> list[tuple[str, str]]:
    """Four numbers for the head of the page."""
    fit = found.fit
    figures = sum(len(one.years) for one in fit.series)
    changes = changes_at_end(found.policies, (KNOWLEDGE,), found.study.end)
    best = max(changes, key=lambda policy: changes[policy][KNOWLEDGE])
    middle = float(np.median(np.abs(np.concatenate([one.residuals for one in fit.series]))))
    numbers = [
        (str(figures), f"figures from {len(fit.series)} series, {counted(len(fit.estimates), 'parameter')} fitted"),
        (f"{about(100 * middle, 2)} %", "median distance between data and model"),
        (
            percent(changes[best][KNOWLEDGE]),
            f"shared knowledge by {found.study.end:.0f}, policy of {best[4:]}",
        ),
    ]
    for one in reversed(found.thresholds):
        if np.isfinite(one.separatrix):
            numbers.append((f"{one.separatrix:.2f}", f"threshold of initial trust, {one.name}"))
            break
    return numbers


def _captions(found: Findings) -> dict[str, str]:
    study, policies = found.study, found.policies
    year = f"{study.end:.0f}"
    return {
        "fit": f"{place(found)}: figures (circles) and fitted model (line); below, how far each figure lies above the "
        "model, in per cent (logarithmic), on one scale for all series.",
        "stocks": f"All stocks of the fitted model, {study.start:.0f} to {year}, levers as fitted.",
        "channels": "Share of each channel in the intensity of transfer, fitted model.",
        "policies": f"The base case (thick line) and four policies that start in {policies.year:.0f} (dotted line).",
        "changes": f"Change against the base case in {year}, per cent. Each column has its own scale.",
        "levers": f"Change of the {KNOWLEDGE} in {year} when one lever alone rises by {study.raise_by:g} in "
        f"{policies.year:.0f}, per cent.",
        "policy_table": f"Change against the base case in {year}, per cent; the base case in its own units.",
        "pair": "Two clusters equal at the start and different in openness.",
        "pair_table": f"Both clusters after {study.pair_years:.0f} years.",
        "threshold": f"{sentence_case(found.thresholds[0].variable)} after {study.threshold_years:.0f} years against "
        "the trust a cluster started with, all else equal.",
    }  # fmt: skip


def _tables(found: Findings, folder: Path) -> dict[str, Rows]:
    return {
        "stocks": _stocks(found),
        "series": _series(found),
        "parameters": _parameters(found),
        "policies": _policies(found),
        "pair": _pair(found),
        "provenance": _provenance(found),
        "files": _files(folder),
    }


def _stocks(found: Findings) -> Rows:
    rows = []
    for name in found.model.stocks:
        variable = found.model.variable(name)
        section, note = _section_and_note(variable.note)
        rows.append((name, _short_unit(variable.units), section, note))
    heads = (("stock", "left keep"), ("unit", "left keep"), ("paper", "left keep"), ("what it is", "left"))
    return Rows(heads, rows)


def _section_and_note(note: str) -> tuple[str, str]:
    """Part a note such as `Paper 4.1, 4.2: ability to learn.` into its sections and its text."""
    plain = " ".join(note.split())
    head = re.match(r"(?:Lever, )?[Pp]aper ([\d., -]+):\s*(.*)", plain)
    section, text = head.groups() if head else ("", plain)
    return section, sentence_case(text)


def _short_unit(units: str) -> str:
    label = unit_label(units)
    return "–" if label == "dimensionless" else label


def _series(found: Findings) -> Rows:
    heads = [("series", "left"), ("figures", "right"), ("skipped", "right"), ("R²", "right")]
    heads += [(share, "right") for share in ("UM", "US", "UC")]
    heads += [("DW", "right"), ("noise, %", "right"), ("factor", "right")]
    rows = [
        (
            one.indicator, len(one.years), len(one.skipped), _fixed(one.r_squared, 3),
            *(_fixed(share, 2) for share in (one.theil.bias, one.theil.variation, one.theil.covariation)),
            _fixed(one.durbin_watson, 2), f"{100 * one.noise:.1f}", about(one.scale) if one.scale_fitted else "–",
        )
        for one in found.fit.series
    ]  # fmt: skip
    return Rows(heads, rows)


def _parameters(found: Findings) -> Rows:
    heads = [("parameter", "left"), ("estimate", "right"), ("± error", "right"), ("unit", "left keep")]
    heads += [("bounds", "right"), ("place, %", "right")]
    rows = []
    for one in found.fit.estimates:
        where = f"at {one.bound} bound" if one.bound else f"{100 * one.place:.0f}"
        known = "–" if one.bound else about(one.error) if one.identified else "not known"
        value = {"low": one.low, "high": one.high}.get(one.bound, one.value)
        bounds = f"{about(one.low)} to {about(one.high)}"
        rows.append((one.name, about(value), known, _short_unit(one.unit), bounds, where))
    return Rows(heads, rows)


def _policies(found: Findings) -> Rows:
    study = found.study
    changes = changes_at_end(found.policies, study.outcomes, study.end)
    base = found.policies.base.at(study.end)
    heads = [("", "left keep"), *((name, "right") for name in study.outcomes)]
    rows: list[Sequence[object]] = [
        (
            "base case",
            *(_level(base[name]) for name in study.outcomes),
        )
    ]
    rows += [(policy, *(percent(row[name]) for name in study.outcomes)) for policy, row in changes.items()]
    return Rows(heads, rows)


def _pair(found: Findings) -> Rows:
    closed, opened = found.pair
    end = float(opened.times[-1])
    a, b = closed.at(end), opened.at(end)
    rows = [
        (name, _short_unit(closed.unit(name)), _level(a[name]), _level(b[name]), f"{b[name] / a[name]:.1f}")
        for name in found.study.outcomes
    ]
    names = [run.scenario.partition(":")[0] for run in (closed, opened)]
    heads = [
        ("", "left"),
        ("unit", "left keep"),
        (names[0], "right"),
        (names[1], "right"),
        ("ratio", "right"),
    ]
    return Rows(heads, rows)


def _provenance(found: Findings) -> Rows:
    rows: list[tuple[str, str]] = []
    for key, value in found.fit.provenance.items():
        text = str(value).replace("(step=None)", ", the model's own step")
        rows.append((key, f"{text[:16]}…" if "digest" in key else text))
    rows.append(("levers", listed([f"{name} ({section})" for name, section in levers(found.model).items()])))
    return Rows((("what", "left keep"), ("value", "left")), rows)


def _files(folder: Path) -> Rows:
    kinds = [
        ("report.html", "this page"),
        ("fit.json", "the fit: estimates, every start, verdicts, provenance"),
        ("figures/*", "each figure as PNG and SVG"),
        ("tables/*.csv", "tidy tables behind the figures"),
        ("runs/*.nc", "every run, all variables, with what made it"),
    ]
    rows = []
    for pattern, words in kinds:
        found = sorted(path.name for path in folder.glob(pattern) if not path.name.startswith("."))
        stems = list(dict.fromkeys(name.rpartition(".")[0] for name in found))
        more = f": {', '.join(stems)}" if len(stems) > 1 else ""
        rows.append((pattern, words + more))
    return Rows((("file", "left keep"), ("what it holds", "left")), rows)


def _level(value: float) -> str:
    """Write a stock or a flow: shares with two decimals, big numbers with three figures."""
    return f"{value:.2f}" if abs(value) < 1 else about(value)


def _fixed(number: float, digits: int) -> str:
    return f"{number:.{digits}f}".replace("-", "−") if np.isfinite(number) else "–"


def variables_said() -> Mapping[str, str]:
    """Names of model variables the sentences count on, with why; a test holds the model to them."""
    return {
        KNOWLEDGE: "outcome of policies and of the threshold",
        "member firms": "growth and the pair",
        "talent pool": "growth and the pair",
        "trust": "growth",
        "initial trust": "the threshold",
    }
