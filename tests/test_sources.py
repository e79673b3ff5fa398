"""Answers of statistical offices: what is read, what is asked, what is kept; no test needs the network."""

from pathlib import Path

import pytest

from calibration.dataset import dataset_from
from calibration.sources import fetch, read_answer
from sd_cluster.errors import DataError

RECORDED = Path(__file__).parent.parent.parent / "shared" / "data" / "recorded" / "eurostat_pat_ep_rtot_sdmx_csv.csv"

# invented numbers in the shape of a Eurostat answer
ANSWER = """DATAFLOW,LAST UPDATE,freq,unit,geo,TIME_PERIOD,OBS_VALUE,OBS_FLAG,CONF_STATUS
ESTAT:PARK_FIRMS(1.0),01/02/20 23:00:00,A,NR,XX11,2001,10.5,,
ESTAT:PARK_FIRMS(1.0),01/02/20 23:00:00,A,NR,XX11,2002,12,b,
ESTAT:PARK_FIRMS(1.0),01/02/20 23:00:00,A,NR,XX11,2003,:,,C
ESTAT:PARK_FIRMS(1.0),01/02/20 23:00:00,A,NR,XX11,2004,14,ep,
ESTAT:PARK_FIRMS(1.0),01/02/20 23:00:00,A,NR,XX12,2001,3,,
"""
OECD = """DATAFLOW,REF_AREA,MEASURE,UNIT_MEASURE,FREQ,TIME_PERIOD,OBS_VALUE,OBS_STATUS,UNIT_MULT,DECIMALS
OECD:DSD_X@DF_X(1.0),XXX,GERD,USD_PPP,A,2001,5,A,6,1
OECD:DSD_X@DF_X(1.0),XXX,BERD,USD_PPP,A,2001,3,E,6,1
"""


def test_an_answer_becomes_a_dataset_with_statuses_and_gaps():
    table = read_answer(ANSWER.encode())
    firms = dataset_from(table, region="XX11")["park_firms"]
    assert firms.values.tolist() == [10.5, 12.0, 14.0]
    assert firms.statuses == ("", "break", "estimated, provisional")
    assert firms.unit == "NR"
    assert firms.skipped == ((4, "year 2003 has no value"),)
    assert set(firms.sources) == {"Eurostat PARK_FIRMS, updated 01/02/20"}
    assert table["status"].tolist()[2] == "confidential"


def test_dimensions_that_vary_name_the_indicator_and_powers_of_ten_stand_in_the_unit():
    table = read_answer(OECD.encode(), "OECD")
    assert table["indicator"].tolist() == ["dsd_x@df_x GERD", "dsd_x@df_x BERD"]
    assert set(table["unit"]) == {"USD_PPP (10^6)"}
    assert table["status"].tolist() == ["", "estimated"]


def test_two_units_make_two_series():
    more = ANSWER + "ESTAT:PARK_FIRMS(1.0),01/02/20 23:00:00,A,P_MHAB,XX11,2001,1.5,,\n"
    found = dataset_from(read_answer(more.encode(), indicator="firms"), region="XX11")
    assert {name: one.unit for name, one in found.series.items()} == {"firms NR": "NR", "firms P_MHAB": "P_MHAB"}


@pytest.mark.skipif(not RECORDED.is_file(), reason="the recorded answer lies in ../shared, which is not here")
def test_the_recorded_answer_is_read_whole():
    table = read_answer(RECORDED)
    assert len(table) == 52
    assert (table["status"] == "provisional").sum() == 4
    series = dataset_from(table, region="AT13")["pat_ep_rtot"]
    assert (series.years[0], series.years[-1], len(series.years), series.unit) == (2000, 2012, 13, "GDP_BEUR")
    assert (series.values[-1], series.statuses[-1]) == (2.741, "provisional")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ANSWER.replace("2002,12", "2002-Q1,12"), "TIME_PERIOD '2002-Q1' is not a year; ask for yearly figures"),
        (ANSWER.replace("2002,12", "2002,twelve"), "line 3: OBS_VALUE 'twelve' is not a number"),
        (ANSWER.replace("geo", "colour"), "has no column geo or REF_AREA"),
        (ANSWER.splitlines()[0] + "\n", "has no figures; check the key and the years"),
        ("<?xml version='1.0'?>\n<footer/>", "is not SDMX-CSV with TIME_PERIOD and OBS_VALUE; it begins '<?xml"),
        ("", "is not SDMX-CSV"),
    ],
)
def test_an_answer_that_is_no_table_says_so(answer, message):
    with pytest.raises(DataError) as caught:
        read_answer(answer.encode())
    assert message in str(caught.value)


class _Answer:
    def __init__(self, text="", status=200):
        self.content, self.status_code = text.encode(), status


@pytest.fixture
def service(monkeypatch, tmp_path):
    """A service that answers what it is told to; gives the list of addresses asked."""
    sdmx = pytest.importorskip("sdmx", reason="the extra sdmx is not installed")
    monkeypatch.setenv("SD_CLUSTER_CACHE", str(tmp_path))
    asked = []
    answer = _Answer(ANSWER)

    def send(self, request, **options):
        asked.append(request.url)
        if isinstance(answer.content, Exception):
            raise answer.content
        return answer

    monkeypatch.setattr(sdmx.session.Session, "send", send)
    return asked, answer


def test_fetch_asks_for_a_table_once_and_keeps_the_answer(service):
    asked, answer = service
    first = fetch("eurostat", "PARK_FIRMS", "A.NR.XX11+XX12", first=2001, last=2004)
    answer.content = b"gone"
    assert fetch("eurostat", "PARK_FIRMS", "A.NR.XX11+XX12", first=2001, last=2004).equals(first)
    (address,) = asked
    assert address.startswith("https://ec.europa.eu/eurostat/api/dissemination/sdmx/2.1/data/PARK_FIRMS/A.NR.XX11")
    assert "startPeriod=2001&endPeriod=2004&format=SDMX-CSV" in address


def test_refresh_and_another_question_ask_again(service):
    asked, _ = service
    for how in ({}, {"refresh": True}, {"first": 2001}):
        fetch("eurostat", "PARK_FIRMS", **how)
    assert len(asked) == 3


def test_oecd_is_asked_in_its_own_words(service):
    asked, answer = service
    answer.content = OECD.encode()
    fetch("oecd", "OECD.STI.PIE,DSD_X@DF_X,1.0", "XXX..A")
    assert asked == ["https://sdmx.oecd.org/public/rest/data/OECD.STI.PIE,DSD_X@DF_X,1.0/XXX..A?format=csvfile"]


def test_a_bad_answer_is_not_kept(service):
    asked, answer = service
    answer.content = b"<footer/>"
    for _ in range(2):
        with pytest.raises(DataError, match="is not SDMX-CSV"):
            fetch("eurostat", "PARK_FIRMS")
    assert len(asked) == 2


def test_no_network_is_one_clear_error(service):
    _, answer = service
    answer.content = ConnectionError("no route")
    with pytest.raises(DataError) as caught:
        fetch("eurostat", "PARK_FIRMS", "A")
    assert str(caught.value) == (
        "Eurostat could not be asked for PARK_FIRMS/A (ConnectionError); check the connection and the code, or read a "
        "stored table"
    )


def test_a_refusal_names_what_was_asked(service):
    _, answer = service
    answer.status_code = 404
    with pytest.raises(DataError, match=r"^Eurostat has no answer to NONE \(HTTP 404\); check the code"):
        fetch("eurostat", "NONE")


def test_an_unknown_service_gets_the_near_match():
    with pytest.raises(
        DataError, match=r"^no service 'eurostt' \(did you mean 'eurostat'\?\); there are eurostat, oecd$"
    ):
        fetch("eurostt", "PARK_FIRMS")


def test_a_missing_client_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SD_CLUSTER_CACHE", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "sdmx", None)
    with pytest.raises(DataError, match=r"pip install 'sd-cluster\[sdmx\]'"):
        fetch("eurostat", "PARK_FIRMS")
