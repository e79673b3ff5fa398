"""Study files, and the commands that carry them out: what they write, their errors, their exit codes."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import sd_cluster as sd
from sd_cluster import cli, ensemble
from sd_cluster.marginals import LogRange
from sd_cluster.measures import At, FirstAbove
from sd_cluster.study import read_study
from sd_cluster.study_table import StudyError

MODEL = """{UTF-8}
staff = INTEG(staff*growth - staff*quit rate, initial staff) ~ person ~ People who work here. |
growth = 0.1 ~ 1/Year [0,0.5] ~ How fast it grows. |
quit rate = 0.05 ~ 1/Year [0.01,0.2] ~ Assumed. |
idle = 1 ~ dmnl [0,2] ~ Does nothing. |
initial staff = 100 ~ person [10,1000] ~ Assumed. |
wages = staff*pay ~ money/Year ~ What it costs. |
pay = 2 ~ money/(person*Year) ~ Assumed. |
INITIAL TIME = 2000 ~ Year ~ |
FINAL TIME = 2010 ~ Year ~ |
TIME STEP = 0.25 ~ Year ~ |
SAVEPER = 1 ~ Year ~ |
"""

STUDY = """
model = "office.mdl"
title = "An office"
samples = 64
seed = 3
outputs = ["staff", "wages"]
[scenario]
pay = 3
[space]
growth = "model"
"quit rate" = { low = 0.01, high = 0.1, log = true }
idle = [0, 2]
"""


@pytest.fixture
def write(tmp_path):
    """Write a study file beside the model; give its path."""

    def written(text=STUDY, name="plan.toml"):
        (tmp_path / "office.mdl").write_text(MODEL)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


def call(*arguments):
    """Run the command line in this process; give exit code, stdout and stderr, as 80 columns show them."""
    told = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"})
    result = told.invoke(cli.app, [str(one) for one in arguments], prog_name="sd-cluster")
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


def exact(draws, times):
    """The closed form of the office's staff, shape (n_runs, n_times)."""
    rate = draws["growth"] - draws["quit rate"]
    return 100 * np.exp(rate[:, None] * (times - 2000))


def test_a_study_says_what_is_run(write):
    plan = read_study(
        write(STUDY + '[sensitivity]\nmethod = "morris"\nof = [{ at = "staff", year = 2005 }]\nlevels = 6\n')
    )
    assert (plan.title, plan.samples, plan.seed, plan.method) == ("An office", 64, 3, None)
    assert plan.space.names == ("growth", "quit rate", "idle")
    assert plan.space.entries["quit rate"] == LogRange(0.01, 0.1)
    assert plan.space.ranges["growth"] == (0, 0.5)
    assert plan.scenario.changes == {"pay": 3}
    assert (plan.analysis, plan.of, plan.settings) == ("morris", (At("staff", 2005),), {"levels": 6})


def test_all_that_a_study_can_say(write):
    path = write(
        """
model = "office.mdl"
horizon = [2001, 2004]
save = [2001, 2004]
method = "lhs"
solver = "rk4"
step = 0.5
store = "runs.zarr"
correlation = [["growth", "quit rate", 0.5]]
[scenario]
pay = { 2000 = 1, 2010 = 2 }
[space]
growth = { distribution = "norm", loc = 0.1, scale = 0.02 }
"quit rate" = [0.01, 0.2]
[sensitivity]
of = [{ first_above = "staff", level = 120, otherwise = 2010 }, { peak = "staff" }]
"""
    )
    plan = read_study(path)
    assert (plan.horizon, plan.save, plan.method, plan.store) == ((2001, 2004), (2001, 2004), "lhs", "runs.zarr")
    assert plan.solver == sd.RungeKutta4(step=0.5)
    assert plan.outputs == ("staff",)
    assert plan.scenario.changes["pay"] == sd.TimeSeries([2000, 2010], [1, 2])
    assert str(plan.space.entries["growth"]) == "norm(loc=0.1, scale=0.02)"
    assert plan.space.correlation[0].matrix[0, 1] == 0.5
    assert plan.of[0] == FirstAbove("staff", 120, 2010)


def test_rows_of_a_table_beside_the_study(write, tmp_path):
    pd.DataFrame({"growth": [0.1, 0.2], "quit rate": [0.05, 0.1]}).to_csv(tmp_path / "posterior.csv", index=False)
    plan = read_study(write('model = "office.mdl"\nrows = "posterior.csv"\n[space]\nidle = [0, 2]\n'))
    assert plan.space.names == ("idle", "growth", "quit rate")
    assert sorted(plan.space.sample(2)["growth"]) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"office.mdl"', '"ofice.mdl"', "plan.toml: 'model': "),
        ('"office.mdl"', "3", "plan.toml: 'model' is 3; expected the name of a shipped model, or a model file beside"),
        ('model = "office.mdl"', "", "plan.toml: 'model' is missing; write, for instance, model = "),
        ("samples = 64", "samples = 0", "plan.toml: 'samples' is 0; expected a whole number above zero"),
        ("samples = 64", "sample = 64", "plan.toml: no key 'sample' (did you mean 'samples'?)"),
        ("seed = 3", "seed = 1.5", "plan.toml: 'seed' is 1.5; expected a whole number from 0 on"),
        ("seed = 3", 'method = "sobel"', "plan.toml: 'method' is 'sobel'; expected one of sobol, halton, lhs"),
        ("seed = 3", "horizon = [2010, 2000]", "'horizon' is [2010, 2000]; expected two years, [start, end]"),
        ("seed = 3", "save = 0", "'save' is 0; expected years between saved rows"),
        ("seed = 3", 'solver = "rk5"', "'solver' is 'rk5'; expected one of euler, rk4"),
        ("seed = 3", "step = 0.1", "'step' is for solver"),
        ("seed = 3", "rtol = 2", "'rtol' is 2; expected a number between 0 and 1"),
        ("seed = 3", 'store = "a/b"', "'store' is 'a/b'; expected the name of a folder that ends in .zarr"),
        ("seed = 3", 'correlation = [["growth", 0.5]]', "'correlation' is [['growth', 0.5]]; expected triples"),
        ("seed = 3", 'correlation = [["growth", "idel", 0.5]]', "(did you mean 'idle'?)"),
        ("seed = 3", 'rows = "none.csv"', "none.csv cannot be read as a table"),
        ('"staff", "wages"', '"staf"', "plan.toml: 'outputs': office has no variable 'staf' (did you mean 'staff'?)"),
        ('["staff", "wages"]', "[]", "'outputs' is []; expected names of variables"),
        ("pay = 3", "pya = 3", "(did you mean 'pay'?)"),
        ("pay = 3", "pay = true", "'scenario.pay' is True; expected a number, a table of years"),
        ("pay = 3", "pay = { y = 3 }", "'scenario.pay' is {'y': 3}; expected a number"),
        ("pay = 3", "pay = { years = [1], values = [1, 2] }", "'scenario.pay': a time series has 1 years and 2 values"),
        ("pay = 3", "growth = 0.2", "'growth' stands in both scenario and space; set it or vary it, not both"),
        ("idle = [0, 2]", "idle = [2, 0]", "'space.idle' is [2, 0]; expected two numbers, [low, high], low first"),
        ("idle = [0, 2]", 'idle = "modle"', "'space.idle' is 'modle'; expected [low, high], \"model\" for the range"),
        ("idle = [0, 2]", "idel = [0, 2]", "the space varies 'idel', but office has no such variable (did you mean"),
        ("idle = [0, 2]", "wages = [0, 2]", "the space varies 'wages', which the model computes"),
        ("idle = [0, 2]", 'pay = "model"', "office gives no range for 'pay'; state one in the space"),
        ("idle = [0, 2]", "idle = { low = 1 }", "'space.idle.high' is missing; write, for instance, high = 10"),
        ("idle = [0, 2]", "idle = { low = 1, hgih = 2 }", "'space.idle.high' is missing ('hgih' stands there)"),
        ("idle = [0, 2]", "idle = { low = 0, high = 2, log = true }", "both ends should be positive"),
        ("idle = [0, 2]", 'idle = { distribution = "nrom" }', "scipy.stats has no 'nrom' (did you mean 'norm'?)"),
        ("idle = [0, 2]", 'idle = { distribution = "lognorm" }', "'space.idle.s' is missing; write, for instance, s"),
        ("idle = [0, 2]", 'idle = { distribution = "norm", sd = 1 }', "no key 'space.idle.sd'"),
        ("idle = [0, 2]", 'idle = { distribution = "norm", scale = -1 }', "norm(scale=-1) has no quantiles"),
        ("idle = [0, 2]", '[sensitivity]\nmethod = "soblo"', "'sensitivity.method' is 'soblo'; expected one of sobol"),
        ("idle = [0, 2]", '[sensitivity]\nof = ["staf"]', "'sensitivity.of': office has no variable 'staf'"),
        ("idle = [0, 2]", "[sensitivity]\nof = [{ last = 1 }]", "measures are final, at, peak, first_above, cumulated"),
        ("idle = [0, 2]", '[sensitivity]\nof = [{ at = "staff" }]', "'sensitivity.of.year' is missing"),
        ("seed = 3", "seed = ", "plan.toml is not TOML: "),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_used_is_said(write, old, new, told):
    assert old in STUDY
    with pytest.raises(StudyError) as caught:
        read_study(write(STUDY.replace(old, new)))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sweep_writes_runs_quantiles_and_fans(write, tmp_path):
    code, out, err = call("sweep", write(), "--out", tmp_path / "o")
    assert (code, err) == (0, "")
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == sorted(
        ["plan.nc", "plan-quantiles.csv"]
        + [f"plan-{name}.{kind}" for name in ("fans", "staff", "wages", "staff-scatter", "wages-scatter")
           for kind in ("png", "svg")]
    )  # fmt: skip
    assert all(name in out for name in names)
    assert "64 draws of 3 parameters" in out
    with xr.open_dataset(tmp_path / "o" / "plan.nc", engine="scipy") as runs:
        draws = read_study(write()).space.sample(64, seed=3)
        np.testing.assert_array_equal(runs["growth"], draws["growth"])
        expected = exact(draws, runs["time"].values)
        np.testing.assert_allclose(runs["staff"], expected, rtol=2e-5)
        np.testing.assert_allclose(runs["wages"], 3 * runs["staff"], rtol=1e-12)
        assert json.loads(runs.attrs["provenance"])["draws"]["seed"] == 3
    table = pd.read_csv(tmp_path / "o" / "plan-quantiles.csv")
    assert list(table.columns) == ["variable", "unit", "time", "5 %", "25 %", "50 %", "75 %", "95 %", "mean", "runs"]
    last = table[(table["variable"] == "staff") & (table["time"] == 2010)].iloc[0]
    assert last["50 %"] == pytest.approx(np.median(expected[:, -1]), rel=1e-4)
    assert (last["unit"], last["runs"]) == ("person", 64)


def test_samples_and_seed_of_the_command_win(write, tmp_path):
    code, out, _ = call("sweep", write(), "--out", tmp_path, "--samples", "10", "--seed", "9", "--no-figures")
    assert code == 0
    with xr.open_dataset(tmp_path / "plan.nc", engine="scipy") as runs:
        np.testing.assert_array_equal(runs["growth"], read_study(write()).space.sample(10, seed=9)["growth"])
    assert "10 Sobol points are no power of two" in out
    assert not list(tmp_path.glob("*.png"))


def test_the_number_of_threads_changes_no_digit(write, tmp_path):
    tables = []
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        assert call("sweep", write(), "--out", folder, "--no-figures", "--threads", threads)[0] == 0
        tables.append((folder / "plan-quantiles.csv").read_bytes())
    assert tables[0] == tables[1]


def test_a_sweep_into_a_store(write, tmp_path):
    assert call("sweep", write(), "--out", tmp_path / "a", "--no-figures")[0] == 0
    text = STUDY.replace("seed = 3", 'seed = 3\nstore = "runs.zarr"')
    code, out, _ = call("sweep", write(text), "--out", tmp_path / "b", "--no-figures")
    assert code == 0
    assert "runs.zarr" in out and (tmp_path / "b" / "runs.zarr").is_dir()
    tables = [pd.read_csv(tmp_path / name / "plan-quantiles.csv") for name in "ab"]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_when_it_is_called_again(write, tmp_path):
    import zarr

    text = STUDY.replace("samples = 64", "samples = 65536").replace(
        "seed = 3", 'seed = 3\nstore = "runs.zarr"\nsolver = "rk4"\nstep = 0.001'
    )
    study = write(text)

    def started(folder):
        command = [sys.executable, "-c", "from sd_cluster.cli import main; main()", "sweep", study]
        command += ["--out", tmp_path / folder, "--no-figures", "--threads", "1"]
        return subprocess.Popen(map(str, command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def chunks(folder):
        values = tmp_path / folder / "runs.zarr" / "values" / "c"
        return {path: path.stat().st_mtime_ns for path in values.rglob("*") if path.is_file()}

    assert started("whole").wait(timeout=300) == 0
    killed = started("killed")
    while len(chunks("killed")) < 5:
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    done = np.asarray(zarr.open_group(tmp_path / "killed" / "runs.zarr", mode="r")["done"][:])
    assert 4 <= done.sum() < len(done)
    with pytest.raises(sd.DataError, match=f"interrupted, {done.sum()} of its 32 chunks done"):
        sd.load_ensemble(tmp_path / "killed" / "runs.zarr")
    before = chunks("killed")
    assert started("killed").wait(timeout=300) == 0
    after = chunks("killed")
    kept = [path for path, when in before.items() if after[path] == when]
    assert len(kept) >= done.sum(), "what was done is not done again"
    whole, there = (sd.load_ensemble(tmp_path / folder / "runs.zarr") for folder in ("whole", "killed"))
    np.testing.assert_array_equal(there.values[:], whole.values[:])
    assert there.ok.all()
    tables = [(tmp_path / folder / "plan-quantiles.csv").read_bytes() for folder in ("whole", "killed")]
    assert tables[0] == tables[1]


def test_failed_runs_are_counted_and_listed(write, tmp_path):
    model = MODEL.replace("staff*quit rate, initial", "staff*quit rate + SQRT(1 - idle), initial").replace(
        "~ person ~ People", "~ ~ People"
    )
    study = STUDY.replace("office.mdl", "broken.mdl").replace("idle = [0, 2]", "idle = [0, 1.2]")
    (tmp_path / "broken.mdl").write_text(model)
    code, out, _ = call("sweep", write(study), "--out", tmp_path / "o", "--no-figures")
    assert code == 0
    assert re.search(r"note: \d+ of 64 runs failed and are left out, the first so: draw \d+: ", out)
    table = pd.read_csv(tmp_path / "o" / "plan-failures.csv")
    lost = read_study(write(study)).space.sample(64, seed=3)["idle"] > 1
    assert table["draw"].tolist() == np.flatnonzero(lost).tolist()
    quantiles = pd.read_csv(tmp_path / "o" / "plan-quantiles.csv")
    assert (quantiles["runs"] == 64 - lost.sum()).all()
    none = study.replace("[0, 1.2]", "[1.1, 1.2]")
    code, _, err = call("sweep", write(none), "--out", tmp_path / "o")
    assert code == 1
    assert err.startswith("all 64 runs failed, the first so: draw 0: ")


@pytest.mark.parametrize("method", ["sobol", "morris"])
def test_a_sensitivity_study_prints_and_writes_its_indices(write, tmp_path, method):
    text = STUDY + f'[sensitivity]\nmethod = "{method}"\nof = [{{ final = "staff" }}]\nsamples = 64\n'
    code, out, err = call("sensitivity", write(text), "--out", tmp_path / "o")
    assert (code, err) == (0, "")
    assert "ettled" in out
    table = pd.read_csv(tmp_path / "o" / f"plan-{method}.csv")
    assert {"growth", "quit rate", "idle"} == set(table["parameter"])
    kind = {"sobol": "total", "morris": "mu_star"}[method]
    found = table[table["kind"] == kind].set_index("parameter")["value"]
    assert abs(found["idle"]) < 1e-12
    assert found["growth"] > found["quit rate"] > 0
    assert (tmp_path / "o" / f"plan-{method}-final-staff.png").stat().st_size > 5000


def test_courses_are_drawn_as_areas(write, tmp_path):
    code, _, _ = call("sensitivity", write(STUDY + "[sensitivity]\nsamples = 16\n"), "--out", tmp_path / "o")
    assert code == 0
    names = {path.name for path in (tmp_path / "o").glob("*.png")}
    assert {"plan-sobol-staff-over-time.png", "plan-sobol-staff.png", "plan-sobol-wages.png"} <= names


def test_a_setting_the_analysis_has_not(write):
    code, _, err = call("sensitivity", write(STUDY + "[sensitivity]\nsecnd_order = true\n"))
    assert code == 1
    assert "'sobol' has no setting 'sensitivity.secnd_order' (did you mean 'second_order'?)" in err


def test_exit_codes(write, tmp_path, monkeypatch):
    assert call("sweep", tmp_path / "none.toml")[0] == 2
    assert call("sweep", write(), "--samples", "0")[0] == 2
    assert call("sensitivity")[0] == 2
    code, _, err = call("sweep", write(STUDY.replace("samples", "smaples")))
    assert code == 1
    assert err.strip() == (
        "plan.toml: no key 'smaples' (did you mean 'samples'?); there are: model, title, horizon, save, scenario,"
        " space, correlation, rows, outputs, samples, method, seed, solver, step, rtol, store, sensitivity"
    )

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ensemble, "sweep", stopped)
    assert call("sweep", write(), "--out", tmp_path / "o")[0] == 130


@pytest.mark.parametrize("command", ["sweep", "sensitivity"])
def test_help_has_examples(command):
    code, out, _ = call(command, "--help")
    assert code == 0
    assert "Examples" in out and f"sd-cluster {command} take_off.toml" in out


def test_the_shipped_studies_can_be_read():
    folder = Path(__file__).parent.parent / "docs" / "studies"
    for path in folder.glob("*.toml"):
        plan = read_study(path)
        assert plan.samples > 1 and plan.of
