"""The command line: what it prints and writes, its errors in one line, its exit codes 0, 1 and 2."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import sd_cluster as sd
from sd_cluster import cli

MODEL = """{UTF-8}
staff = INTEG(hiring - leaving, initial staff) ~ person ~ People who work here. ~~|
hiring = staff*growth ~ person/Year ~ New people, a [0,1] share of staff. |
leaving = staff*quit rate ~ person/Year ~ Those who go. |
growth = 0.1 ~ 1/Year [0,0.5] ~ Lever, paper 4.1: how fast it grows. |
quit rate = 0.05 ~ 1/Year [0.01,0.2] ~ Assumed. |
initial staff = 100 ~ person [10,1000] ~ Assumed. |
INITIAL TIME = 2000 ~ Year ~ |
FINAL TIME = 2010 ~ Year ~ |
TIME STEP = 0.25 ~ Year ~ |
SAVEPER = 1 ~ Year ~ |
""".replace(" ~~|", " |")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "office.mdl"
    path.write_text(MODEL)
    return str(path)


def call(*arguments):
    """Run the command line in this process; give exit code, stdout and stderr, as 80 columns show them."""
    result = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(cli.app, list(arguments), prog_name="sd-cluster")
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


def said(text):
    """Text as a reader sees it: without the frame of an error box and its line breaks."""
    return " ".join(re.sub(r"[╭╮╰╯│─]", " ", text).split())


def test_run_shows_the_stocks(model):
    code, out, err = call("run", model)
    assert (code, err) == (0, "")
    assert "staff" in out
    end = sd.simulate(sd.load(model)).at(2010)["staff"]
    assert f"{end:.4g}" in out


def test_set_changes_a_parameter(model, tmp_path):
    code, _, _ = call("run", model, "--set", "growth=0.2", "--out", str(tmp_path / "run.csv"))
    assert code == 0
    table = pd.read_csv(tmp_path / "run.csv", index_col="time")
    expected = sd.simulate(sd.load(model), sd.Scenario("x", {"growth": 0.2})).frame()
    pd.testing.assert_frame_equal(table, expected, check_exact=False, rtol=1e-12)


def test_set_on_a_stock_is_its_initial_value(model, tmp_path):
    call("run", model, "--set", "staff=7", "--out", str(tmp_path / "run.csv"))
    assert pd.read_csv(tmp_path / "run.csv")["staff"].iloc[0] == 7


def test_set_takes_a_series(model, tmp_path):
    call("run", model, "--set", "growth=2000:0,2010:0.5", "--out", str(tmp_path / "run.csv"))
    growth = pd.read_csv(tmp_path / "run.csv", index_col="time")["growth"]
    assert growth.loc[2005.0] == pytest.approx(0.25)


def test_horizon_solver_and_name_are_kept(model, tmp_path):
    path = tmp_path / "run.nc"
    code, _, _ = call(
        "run", model, "--from", "2002", "--to", "2004", "--solver", "euler", "--name", "short", "--out", str(path)
    )
    assert code == 0
    run = sd.load_run(path)
    assert (run.times[0], run.times[-1], run.scenario) == (2002.0, 2004.0, "short")
    assert run.provenance["solver"]["name"] == "Euler"


def test_a_folder_gets_table_run_and_figures(model, tmp_path):
    code, out, _ = call("run", model, "--out", str(tmp_path / "o"), "--plot", "staff", "--plot", "hiring")
    assert code == 0
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == [
        "office-base-hiring.png",
        "office-base-hiring.svg",
        "office-base-staff.png",
        "office-base-staff.svg",
        "office-base.csv",
        "office-base.nc",
    ]
    assert all(name in out for name in names)


@pytest.mark.parametrize("solver", [name.value for name in cli.SolverName])
def test_every_solver_runs(model, solver):
    assert call("run", model, "--solver", solver)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "grwth=1"], "did you mean 'growth'?"),
        (["--set", "hiring=1"], "which the model computes"),
        (["--set", "growth=nan"], "finite"),
        (["--set", "growth=2010:1,2000:2"], "should increase"),
        (["--plot", "staf"], "did you mean 'staff'?"),
        (["--set", "growth=1e9"], "stock 'staff'"),
    ],
)
def test_what_fails_says_so_in_one_line_and_exits_with_1(model, arguments, message):
    code, _, err = call("run", model, *arguments)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert message in err


def test_a_missing_model_exits_with_1():
    code, _, err = call("run", "collective_lerning")
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert "collective_lerning" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "growth"], "write NAME=VALUE"),
        (["--set", "growth=fast"], "'fast' is not a number"),
        (["--set", "growth=2000:1,2010"], "is not a number"),
        (["--solver", "heun"], "heun"),
        (["--solver", "rk4", "--rtol", "1e-6"], "--rtol is for solvers that choose their steps"),
        (["--rtol", "2"], "between 0 and 1"),
        (["--from", "2010", "--to", "2000"], "give --from before --to"),
        (["--unknown"], "--unknown"),
    ],
)
def test_wrong_use_exits_with_2(model, arguments, message):
    code, _, err = call("run", model, *arguments)
    assert code == 2
    assert message in said(err)


def test_an_unknown_command_exits_with_2():
    code, _, err = call("rnu")
    assert code == 2
    assert "rnu" in err


def test_describe_tells_all(model):
    code, out, _ = call("describe", model, "--all")
    assert code == 0
    for word in ("2000 to 2010", "Stocks (1)", "Levers (1)", "Initial values (1)", "Parameters (", "Computed (2)"):
        assert word in out
    assert "a [0,1] share" in " ".join(out.split()), "brackets in a note are text, not markup"


def test_describe_as_json(model):
    code, out, _ = call("describe", model, "--json")
    assert code == 0
    told = json.loads(out)
    assert told["horizon"]["end"] == 2010
    growth = next(row for row in told["variables"] if row["name"] == "growth")
    assert (growth["value"], growth["low"], growth["high"]) == (0.1, 0.0, 0.5)
    staff = next(row for row in told["variables"] if row["name"] == "staff")
    assert staff["value"] is None


def test_models_lists_the_shipped_ones():
    code, out, _ = call("models")
    assert code == 0
    assert all(name in out for name in sd.models())


@pytest.mark.parametrize("command", [[], ["models"], ["describe"], ["run"], ["fit"], ["demo"]])
def test_help_has_examples_and_fits_80_columns(command):
    code, out, _ = call(*command, "--help")
    assert code == 0
    examples = out.partition("Examples")[2]
    assert f"sd-cluster {' '.join(command)}".strip() in examples
    assert max(map(len, out.splitlines())) <= 80


def test_version():
    code, out, _ = call("--version")
    assert code == 0
    assert re.fullmatch(r"sd-cluster \d+\.\d+\.\d+\S*\n", out)


def test_fit_and_demo_say_wrong_use_with_2(model):
    assert call("fit", "hsinchu", model)[0] == 2
    assert call("fit", "hsinchu", "--free", "land limit=5,1")[0] == 2
    assert call("fit", "hsinchu", "--measure", "employees")[0] == 2
    assert call("demo", "--starts", "0")[0] == 2


def test_fit_without_such_a_region_exits_with_1():
    code, _, err = call("fit", "hsinchuu", "--free", "land limit")
    assert code == 1
    assert "did you mean 'hsinchu'" in err


def office(folder, growth=0.17):
    """Figures made by the model of these tests, as a table."""
    path = folder / "office.mdl"
    path.write_text(MODEL)
    run = sd.simulate(sd.load(path), sd.Scenario("truth", {"growth": growth}))
    rows = [f"office,{year},people,{run.at(year)['staff']:.6f},persons,made" for year in range(2001, 2011)]
    data = folder / "office.csv"
    data.write_text("\n".join(["region,year,indicator,value,unit,source", *rows]) + "\n")
    return str(data)


def test_fit_finds_what_made_the_data(model, tmp_path):
    code, out, err = call(
        "fit", office(tmp_path), model, "--measure", "people=staff", "--free", "growth", "--starts", "1",
        "--out", str(tmp_path / "fit"),
    )  # fmt: skip
    assert code == 0, err
    assert "0.17" in out
    assert "1 parameter, best of 1 start\n" in out
    written = {path.name for path in (tmp_path / "fit").iterdir()}
    assert {"fit.json", "estimates.csv", "data-and-model.csv", "fitted.nc", "fit.png", "fit.svg"} <= written
    assert pd.read_csv(tmp_path / "fit" / "estimates.csv")["estimate"][0] == pytest.approx(0.17, rel=1e-3)


@pytest.mark.parametrize(
    "free", [["growth=0.01,0.4"], ["growth", "initial staff=50,200"], ["Growth=0.01,0.4", "quit_rate"]]
)
def test_a_range_can_be_given_without_one_from_the_model(model, tmp_path, free):
    """Given only ranges, the command asked the model file for none and failed: a space has no parameter."""
    wanted = [part for text in free for part in ("--free", text)]
    code, out, err = call("fit", office(tmp_path), model, "--measure", "people=staff", *wanted, "--starts", "1")
    assert (code, err) == (0, "")
    name, _, bounds = free[-1].partition("=")
    low, high = bounds.split(",") if bounds else ("0.01", "0.2")
    assert re.search(rf"^{name.replace('_', ' ').casefold()} .* {low} +{high} ", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hiring", "'hiring', which the model computes"),
        ("hiring=0,1", "'hiring', which the model computes"),
        ("grwth", "did you mean 'growth'?"),
        ("TIME STEP", "give the run a horizon"),
        ("staff", "gives no range for 'staff'; state one: --free \"staff=LOW,HIGH\""),
    ],
)
def test_what_cannot_be_fitted_is_said_before_its_range(model, tmp_path, name, message):
    """A computed variable was said to have no range."""
    code, _, err = call("fit", office(tmp_path), model, "--measure", "people=staff", "--free", name)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert message in err


@pytest.mark.parametrize("bounds", ["100,inf", "-inf,5", "nan,5"])
def test_a_range_without_end_is_refused(bounds):
    code, _, err = call("fit", "hsinchu", "--free", f"land limit={bounds}")
    assert code == 2
    assert "both ends of the range should be finite" in said(err)


@pytest.mark.parametrize("command", [["fit", "hsinchu"], ["demo"]])
@pytest.mark.parametrize("below", ["", "study"])
def test_results_on_top_of_a_file_are_refused_before_the_work(command, below, tmp_path, monkeypatch):
    """The fit was done, and then lost in a traceback."""

    def work(*_, **__):
        pytest.fail("the place should be looked at first")

    monkeypatch.setattr("calibration.optimisation.minimise", work)
    monkeypatch.setattr("calibration.study_work.minimise", work)
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("mine")
    code, _, err = call(*command, "--out", str(Path("notes.txt") / below))
    assert code == 2
    assert "'notes.txt' is a file; name a folder" in said(err)
    assert Path("notes.txt").read_text() == "mine"


class Entry:
    """An entry point made by hand."""

    def __init__(self, name, what):
        self.name, self.what = name, what

    def load(self):
        if isinstance(self.what, Exception):
            raise self.what
        return self.what


def test_a_broken_neighbour_breaks_only_itself(monkeypatch, model):
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda **_: [Entry("calibration", ImportError("no numbers"))]
    )
    assert call("run", model)[0] == 0
    code, out, err = call("--help")
    assert code == 0
    assert "describe" in out
    assert "sub-commands of 'calibration' could not be loaded: no numbers" in err
    code, _, err = call("fit", "hsinchu")
    assert code == 2
    assert "could not be loaded" in err


def test_another_package_adds_commands(monkeypatch):
    def register(app):
        @app.command()
        def greet(name: str) -> None:
            """Greet somebody."""
            print(f"hello {name}")

        @app.command()
        def stop() -> None:
            """Stop as Ctrl-C does."""
            raise KeyboardInterrupt

    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [Entry("other", register)])
    assert call("greet", "world")[:2] == (0, "hello world\n")
    assert call("stop")[0] == 130


def test_the_installed_command_is_quick_quiet_and_bare(model):
    """In a process of its own: no colours in a pipe, errors on stderr, no calibration for `run`."""
    code = (
        "import sys; from sd_cluster.cli import main; sys.argv[0] = 'sd-cluster'\n"
        "try: main()\n"
        "finally: print([name for name in ('calibration', 'matplotlib') if name in sys.modules])"
    )
    good = subprocess.run([sys.executable, "-c", code, "run", model], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines()[-1] == "[]"
    assert "\x1b" not in good.stdout
    bad = subprocess.run(
        [sys.executable, "-c", code, "run", "nowhere.mdl"], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1
    assert len(bad.stderr.splitlines()) == 1


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "sd_cluster", "models"], capture_output=True, text=True, check=True)
    assert "collective_learning" in done.stdout


def test_describe_lists_no_control_variable(model):
    """They stood among the parameters, as if a study could free them."""
    _, out, _ = call("describe", model, "--all")
    assert "quit rate" in out
    assert not any(name in out for name in ("INITIAL TIME", "FINAL TIME", "TIME STEP", "SAVEPER"))


def test_a_place_that_cannot_be_written_to_is_refused_before_the_run(model, tmp_path, monkeypatch):
    """The model ran to its end, and then its table was lost."""
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "folder.csv").mkdir()

    def never(*_, **__):
        raise AssertionError("it ran")

    monkeypatch.setattr("sd_cluster.simulation.simulate", never)
    places = {"taken": "is a file, not a folder", "taken/run.csv": "is a file", "folder.csv": "is a folder"}
    for place, told in places.items():
        code, _, err = call("run", model, "--out", str(tmp_path / place))
        assert code == 2
        assert told in said(err)


def test_data_are_given_on_the_command_line(tmp_path):
    """Only scripts could give a data variable its table."""
    (tmp_path / "data").mkdir()
    table = tmp_path / "data" / "growth.csv"
    table.write_text("time,growth\n2000,0.05\n2010,0.05\n", encoding="utf-8")
    path = tmp_path / "field.mdl"
    path.write_text(MODEL.replace("growth = 0.1 ~", "growth ~"), encoding="utf-8")
    assert call("check", str(path))[0] == 1
    assert "growth" not in call("check", str(path), "--data", str(table))[1]
    code, shown, _ = call("run", str(path), "--data", str(table), "--solver", "euler")
    assert code == 0 and re.search(r"staff +person +100 +100 +100", shown)
