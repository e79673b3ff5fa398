"""`sd-cluster data`: what it lists, shows, draws, fetches and refuses."""

import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import calibration as cal
from calibration import sources
from sd_cluster import cli


def call(*arguments):
    """Run the command line in this process; give exit code, stdout and stderr, as 80 columns show them."""
    result = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(cli.app, list(arguments), prog_name="sd-cluster")
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def table(tmp_path):
    """Six regions whose staff jumps in 2010; the first also has a zero."""
    years = np.arange(1995, 2020)
    rows = []
    for number in range(6):
        rng = np.random.default_rng(number)
        values = (
            1000 * np.exp(0.04 * (years - 1995) + rng.normal(0, 0.02, len(years))) * np.where(years >= 2010, 1.5, 1)
        )
        values[years == 2003] *= number > 0
        place = f"r{number}"
        rows.append(pd.DataFrame({"region": place, "year": years, "indicator": "staff", "value": values}))
    path = tmp_path / "many.csv"
    pd.concat(rows).assign(unit="FTE", source="made").to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("command", [["data", "list"], ["data", "show"], ["data", "fetch"]])
def test_help_has_examples_and_fits_80_columns(command):
    code, out, _ = call(*command, "--help")
    assert code == 0
    assert f"sd-cluster {' '.join(command)}" in out.partition("Examples")[2]
    assert max(map(len, out.splitlines())) <= 80


def test_data_alone_names_its_commands():
    _, out, err = call("data")
    assert all(name in out + err for name in ("list", "show", "fetch"))


def test_list_names_regions_and_indicators():
    code, out, _ = call("data", "list")
    assert code == 0
    assert all(region in out for region in cal.regions())
    assert all(word in out for word in ("employees", "billion TWD", "1999–2025"))


def test_show_prints_the_series_and_what_to_mind():
    code, out, err = call("data", "show", "hsinchu")
    assert (code, err) == (0, "")
    assert "hsinchu: 6 series (hsinchu.csv)" in out
    assert "mind  revenue: no figure for 2005, 2008-2010 and 2015" in out


def test_show_takes_years():
    _, out, _ = call("data", "show", "hsinchu", "--first", "2011", "--last", "2014")
    assert "2011-2014" in out
    assert "none" in out, "a series without a figure in these years"


def test_show_on_a_terminal_is_a_table(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, _ = call("data", "show", "hsinchu")
    assert code == 0
    assert "noise, at" in out
    assert "standard deviation" not in out, "the foot of the plain text"


def test_a_region_is_shown_beside_the_others_and_known_breaks_are_taken(table, tmp_path):
    code, out, _ = call("data", "show", table, "--region", "r0")
    assert code == 0
    assert "in 6 of 6 regions" in out
    assert "is zero in 2003" in out
    breaks = tmp_path / "breaks.csv"
    breaks.write_text("dataset,region,indicator,first_year_after,kind,note\nmany.csv,*,staff,2010,definition,\n")
    _, out, _ = call("data", "show", table, "--region", "r0", "--breaks", str(breaks))
    assert re.search(r"ok    staff: a known break of \+\d+ % in 2010; fit it with Shift\(2010\)", out)
    assert "in 6 of 6 regions" not in out


def test_show_draws_a_figure(tmp_path):
    code, out, _ = call("data", "show", "daedeok", "--figure", str(tmp_path / "o" / "daedeok.png"))
    assert code == 0
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"daedeok.png", "daedeok.svg"}
    assert "daedeok.svg" in out


def test_what_fails_says_so_in_one_line(table):
    for arguments, message in (
        (["data", "show", "hsinchuu"], "did you mean 'hsinchu'"),
        (["data", "show", table], "holds 6 regions"),
        (["data", "show", table, "--region", "r9"], "has no region 'r9'"),
        (["data", "fetch", "eurostt", "X"], "did you mean 'eurostat'"),
    ):
        code, _, err = call(*arguments)
        assert code == 1
        assert len(err.strip().splitlines()) == 1
        assert message in err


def test_a_figure_of_another_kind_is_wrong_use():
    assert call("data", "show", "hsinchu", "--figure", "x.pdf")[0] == 2


def test_fetch_writes_a_table_that_can_be_read_back(monkeypatch, tmp_path):
    asked = []

    def fetch(*arguments, **options):
        asked.append((arguments, options))
        answer = b"DATAFLOW,geo,TIME_PERIOD,OBS_VALUE,OBS_FLAG\nO:FIRMS(1.0),A1,2001,5.5,\nO:FIRMS(1.0),A1,2002,:,c\n"
        return sources.read_answer(answer)

    monkeypatch.setattr(sources, "fetch", fetch)
    path = tmp_path / "firms.csv"
    code, out, _ = call("data", "fetch", "eurostat", "FIRMS", "--key", "A.A1", "--first", "2001", "--out", str(path))
    assert code == 0
    assert "(1 figure of 1 region)" in out
    assert asked[0][0] == ("eurostat", "FIRMS", "A.A1")
    assert asked[0][1] == {"first": 2001, "last": None, "indicator": None, "refresh": False}
    firms = cal.read_dataset(path)["firms"]
    assert firms.values.tolist() == [5.5]
    assert firms.skipped == ((3, "year 2002 has no value"),)
