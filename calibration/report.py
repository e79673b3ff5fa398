"""Reports: chapters as one HTML page that opens offline, with text, tables and figures inside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.chapter import Block, Bullets, Chapter, Drawing, Paragraph
from sd_cluster.files import write_beside
from sd_cluster.look import GRID, INK, MUTED, PALETTE, PAPER

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Page:
    """What a report consists of.

    Attributes
    ----------
    title, description
        Of the page.
    over
        A line above the title.
    lead
        The whole in a few sentences.
    key_numbers
        A number and what it is, for the head of the page.
    chapters
        In reading order.
    foot
        The last line.
    """

    title: str
    description: str
    over: str
    lead: str
    key_numbers: Sequence[tuple[str, str]]
    chapters: Sequence[Chapter]
    foot: str = ""


def write_page(page: Page, folder: Path, name: str = "report.html") -> Path:
    """Write a page into a folder that holds its figures in `figures/`; the page takes them in."""
    text = render(page, folder)
    return write_beside(folder / name, lambda path: _write(path, text))


def render(page: Page, folder: Path) -> str:
    """Give the page as text; `folder` as in `write_page`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawings = [one for chapter in page.chapters for one in chapter.drawings]
    figures = {one.name: inline(folder / "figures" / f"{one.name}.svg", one.name, one.caption) for one in drawings}
    text: str = environment.get_template("report.html.j2").render(
        page=page,
        version=version("sd-cluster"),
        lead=bound(page.lead),
        chapters=[(chapter, [(_kind(block), _bound(block)) for block in chapter.blocks]) for chapter in page.chapters],
        figures=figures,
        numbers={one.name: number for number, one in enumerate(drawings, start=1)},
    )
    return text


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


def bound(text: str) -> str:
    """Keep a number and its per cent sign on one line."""
    return re.sub(r"(\d) %", "\\1\N{NO-BREAK SPACE}%", text)


def _bound(block: Block) -> Block:
    if isinstance(block, Paragraph):
        return Paragraph(bound(block.text))
    if isinstance(block, Bullets):
        return Bullets(tuple(map(bound, block.lines)))
    return Drawing(block.name, bound(block.caption)) if isinstance(block, Drawing) else block


def _kind(block: Block) -> str:
    return type(block).__name__.lower()


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
