"""docs/theory.md names every variable of the model and no other; the model file agrees with an independent reader."""

import re
from pathlib import Path

import numpy as np
import pytest

import sd_cluster as sd

PAGE = Path(__file__).parent.parent / "docs" / "theory.md"
CONTROLS = {"FINAL TIME", "INITIAL TIME", "TIME STEP", "SAVEPER"}


@pytest.fixture(scope="module")
def model():
    return sd.load("collective_learning")


def test_the_page_names_exactly_the_variables_of_the_model(model):
    named = set(re.findall(r"`([^`]+)`", PAGE.read_text(encoding="utf-8")))
    variables = {equation.name for equation in model.equations} - CONTROLS
    assert named - variables == set(), "named on the page but not in the model"
    assert variables - named == set(), "in the model but not named on the page"


def test_every_parameter_stands_in_the_table_of_the_models_page(model):
    page = (sd.library.folder() / "README.md").read_text(encoding="utf-8")
    missing = [name for name in model.parameters if name not in CONTROLS and f"| {name} |" not in page]
    assert missing == []


def test_an_independent_reader_loads_the_file_without_issues_and_agrees(model):
    simlin = pytest.importorskip("simlin", reason="pysimlin is not installed (it comes with the dev extra)")
    other = simlin.load(model.source)
    assert list(other.check()) == []
    assert list(other.check_units()) == []
    ours = sd.simulate(model, solver=sd.Euler())
    theirs = other.run(analyze_loops=False).results
    for name in (*model.stocks, *model.auxiliaries):
        expected = theirs[name.replace(" ", "_")].to_numpy()
        np.testing.assert_allclose(ours[name][: len(expected)], expected, rtol=1e-9, atol=1e-12, err_msg=name)


def test_an_independent_reader_draws_the_diagram(model):
    simlin = pytest.importorskip("simlin", reason="pysimlin is not installed (it comes with the dev extra)")
    drawing = bytes(simlin.load(model.source).project.render_png(width=600))
    assert drawing.startswith(b"\x89PNG")
    assert len(drawing) > 20_000
