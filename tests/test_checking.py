"""The check of a model file finds all that is wrong at once, and its exit code says whether something is."""

import pytest
from support import feature, model_text, write_model
from typer.testing import CliRunner

import sd_cluster as sd
from sd_cluster.cli import app


def found(path):
    return {finding.kind: finding.text for finding in sd.check(path).findings}


def test_a_good_model_has_nothing_but_advice():
    checked = sd.check(feature("decay").source)
    assert checked.good
    assert str(checked).splitlines()[0].endswith("decay.mdl: 8 variables can be computed")
    assert all(not finding.error for finding in checked.findings)


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    equations = """
        x = INTEG(y, 5) ~ widget
        y = x*2 ~ widget
        z = QUIX(x) ~ widget
        w = z+1 ~ widget
        idle = 3 ~
    """
    kinds = found(write_model(tmp_path, equations))
    assert kinds["cannot be computed"].startswith("z: the function 'QUIX' is not supported")
    assert kinds["dependent on these"] == "w: it depends on 'z'"
    assert kinds["units"] == "tiny: 'x' needs widget/year, but 'y' gives widget"
    assert kinds["not used"] == "idle"
    assert kinds["without a note"] == "idle"
    assert not sd.check(tmp_path / "tiny.mdl").good


def test_circles_and_files_that_cannot_be_read(tmp_path):
    circle = write_model(tmp_path, "x = INTEG(a, 5) \n a = b \n b = a")
    assert "go in a circle: 'a' -> 'b' -> 'a'" in found(circle)["circular"]
    broken = tmp_path / "broken.mdl"
    broken.write_text(model_text("x = y"), encoding="utf-8")
    assert found(broken) == {"cannot be read": "broken.mdl, variable 'x': reads 'y', which the model does not define"}
    with pytest.raises(sd.ReadingError, match="no file"):
        sd.check(tmp_path / "nowhere.mdl")


def test_the_exit_code(tmp_path):
    runner = CliRunner()
    good = runner.invoke(app, ["check", feature("decay").source])
    assert (good.exit_code, good.stdout.splitlines()[-1]) == (0, "good")
    broken = runner.invoke(app, ["check", str(write_model(tmp_path, "x = INTEG(1, 5) \n z = QUIX(x)"))])
    assert (broken.exit_code, broken.stdout.splitlines()[-1]) == (1, "not good")
    missing = runner.invoke(app, ["check", "nowhere.mdl"])
    assert missing.exit_code == 1
