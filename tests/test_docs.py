"""The examples people read are run: README, the pages of docs, and the docstrings."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [
    f"{package}.{module.name}"
    for package in ("sd_cluster", "calibration")
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
]


LONG = ("README.md", "calibration.md", "ensembles.md", "local.md", "network.md", "sensitivity.md")


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in LONG else []) for page in PAGES],
)
def test_python_blocks_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    namespace = {"__name__": "page"}
    for block in blocks:
        if "sd.discover(" in block:
            pytest.importorskip("ema_workbench", reason="comes with the extra 'discovery'")
        exec(compile(block, page.name, "exec"), namespace)
    capsys.readouterr()


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE, extraglobs=_names())
    assert outcome.failed == 0


def _names():
    import numpy as np

    import calibration as cal
    import sd_cluster as sd

    return {"np": np, "sd": sd, "cal": cal, "Scenario": sd.Scenario, "TimeSeries": sd.TimeSeries, "Space": sd.Space}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_names_its_two_commands_first():
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M | re.S)
    demo, tests = blocks[:2]
    assert demo.count("\n") == 1
    assert "sd-cluster demo" in demo
    assert tests.count("\n") == 1
    assert "pytest" in tests
