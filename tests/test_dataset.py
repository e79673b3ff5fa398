"""Tables of observations: what is read, and one clear error for each way a table can be wrong."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import calibration as cal
from calibration.dataset import dataset_from, read_datasets
from sd_cluster.errors import DataError

HEADER = "region,year,indicator,value,unit,source\n"


def _table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "park.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def test_hsinchu_has_the_published_figures_and_keeps_its_gaps():
    hsinchu = cal.read_dataset("hsinchu")
    assert {name: len(one.years) for name, one in hsinchu.series.items()} == {
        "employees": 14,
        "exports": 5,
        "firm_exits": 1,
        "firms": 9,
        "new_firms_approved": 3,
        "revenue": 21,
    }
    revenue = hsinchu["revenue"]
    assert not set(revenue.years) & {2005, 2008, 2009, 2010, 2015}, "gaps stay gaps"
    assert revenue.unit == "billion TWD (current)"
    assert dict(zip(revenue.years, revenue.values, strict=True))[2004] == 1086.0
    assert hsinchu["employees"].values[-1] == 179298


def test_daedeok_has_seventeen_series():
    daedeok = cal.read_dataset("daedeok")
    assert len(daedeok.series) == 17
    assert daedeok["firms"].values.tolist() == [687, 786, 898, 1006, 1179]


@pytest.mark.parametrize("region", cal.regions())
def test_every_citation_key_of_a_shipped_table_is_explained_beside_it(region):
    readme = (Path(cal.__file__).parent / "regions" / "README.md").read_text(encoding="utf-8")
    keys = {key.strip() for key in re.findall(r"^\| ([^|]+) \|", readme, flags=re.MULTILINE)}
    dataset = cal.read_dataset(region)
    cited = {source for one in dataset.series.values() for source in one.sources}
    assert {source.removesuffix(" (derived)") for source in cited} <= keys


def test_series_are_sorted_by_year_and_remember_their_lines(tmp_path):
    path = _table(tmp_path, "p,2003,firms,30,firms,a", "p,2001,firms,10,firms,b")
    firms = cal.read_dataset(path)["firms"]
    assert firms.years.tolist() == [2001.0, 2003.0]
    assert firms.lines == (3, 2)
    assert firms.sources == ("b", "a")
    with pytest.raises(ValueError, match="read-only"):
        firms.values[0] = 1.0


def test_gaps_and_years_outside_are_skipped_with_their_reason(tmp_path):
    path = _table(tmp_path, *(f"p,{year},firms,{value},firms,a" for year, value in ((2000, 1), (2001, ""), (2002, 3))))
    firms = cal.read_dataset(path, first=2001)["firms"]
    assert firms.years.tolist() == [2002.0]
    assert firms.skipped == ((2, "year 2000 is not from 2001 on"), (3, "year 2001 has no value"))


def test_status_column_and_extra_columns_and_order_of_columns_do_not_matter(tmp_path):
    header = "status,value,year,indicator,region,unit,source,colour\n"
    path = _table(tmp_path, "provisional,5,2001,firms,p,firms,a,red", header=header)
    assert cal.read_dataset(path)["firms"].statuses == ("provisional",)


def test_a_quoted_text_over_two_lines_does_not_upset_the_line_numbers(tmp_path):
    path = _table(tmp_path, 'p,2001,firms,1,firms,"two\nlines"', "p,2002,firms,two,firms,a")
    with pytest.raises(DataError, match=r"park\.csv line 4: value 'two'"):
        cal.read_dataset(path)


def test_frame_is_the_tidy_table(tmp_path):
    frame = cal.read_dataset(_table(tmp_path, "p,2001,firms,10,firms,b")).frame()
    assert frame.to_dict("records") == [
        {"region": "p", "year": 2001, "indicator": "firms", "value": 10.0, "unit": "firms", "source": "b"}
    ]


def test_printing_names_series_and_spans(tmp_path):
    path = _table(tmp_path, "p,2001,firms,10,firms,b", "p,2004,firms,12,firms,b", "p,2004,staff,,persons,b")
    assert str(cal.read_dataset(path)) == (
        "p: 2 series (park.csv)\n  firms (firms): 2 figures, 2001-2004\n  staff (persons): 0 figures, all gaps"
    )


def test_one_region_is_chosen_from_several(tmp_path):
    path = _table(tmp_path, "p,2001,firms,10,firms,b", "q,2001,firms,20,firms,b")
    assert cal.read_dataset(path, region="q")["firms"].values.tolist() == [20.0]


ROWS_AND_ERRORS = {
    "text in the value column": (
        ["p,2001,firms,about 500,firms,a"],
        "park.csv line 2: value 'about 500' is not a number; write it with a decimal point and without thousands "
        "separators, or leave it empty for a gap",
    ),
    "underscore in a number": (
        ["p,2001,firms,1_000,firms,a"],
        "park.csv line 2: value '1_000' is not a number; write it with a decimal point and without thousands "
        "separators, or leave it empty for a gap",
    ),
    "not finite": (
        ["p,2001,firms,5,firms,a", "p,2002,firms,inf,firms,a"],
        "park.csv line 3: value 'inf' is not finite; leave the cell empty for a gap",
    ),
    "nan": (
        ["p,2001,firms,NaN,firms,a"],
        "park.csv line 2: value 'NaN' is not finite; leave the cell empty for a gap",
    ),
    "wrong year": (
        ["p,20x4,firms,5,firms,a"],
        "park.csv line 2: year '20x4' is not a whole year, such as 2004",
    ),
    "half a year": (
        ["p,2004.5,firms,5,firms,a"],
        "park.csv line 2: year '2004.5' is not a whole year, such as 2004",
    ),
    "duplicate": (
        ["p,2001,firms,5,firms,a", "p,2002,firms,6,firms,a", "p,2001,firms,7,firms,b"],
        "park.csv line 4: a second figure for 'firms' in 2001, after line 2; keep one of them",
    ),
    "two units": (
        ["p,2001,staff,5,persons,a", "p,2002,staff,6,thousand,a"],
        "park.csv line 3: 'staff' is in 'thousand' here but in 'persons' on line 2; convert it or give it a name "
        "of its own",
    ),
    "several regions": (
        ["p,2001,firms,5,firms,a", "q,2001,firms,6,firms,a"],
        "park.csv holds 2 regions (p, q); choose one with region='p'",
    ),
    "no rows": ([], "park.csv has no rows below its header; expected one row per figure"),
    "only gaps": (["p,2001,firms,,firms,a"], "park.csv has no figure; check the years or the value column"),
    "ragged": (
        ["p,2001,firms,1,200,firms,a"],
        "park.csv line 2: 7 cells, expected 6 as in the header; put texts that hold commas in double quotes",
    ),
    "no indicator": (["p,2001,,5,firms,a"], "park.csv line 2: no indicator; every row needs one"),
}


@pytest.mark.parametrize("case", ROWS_AND_ERRORS)
def test_each_bad_table_gives_one_clear_error(tmp_path, case):
    rows, expected = ROWS_AND_ERRORS[case]
    with pytest.raises(DataError) as caught:
        cal.read_dataset(_table(tmp_path, *rows))
    assert str(caught.value) == expected


def test_missing_columns_are_named(tmp_path):
    with pytest.raises(DataError) as caught:
        cal.read_dataset(_table(tmp_path, "p,2001,5", header="region,year,value\n"))
    assert str(caught.value) == (
        "park.csv line 1: no column indicator, unit, source; expected region, year, indicator, value, unit, source, "
        "found region, year, value"
    )


def test_empty_file_says_so(tmp_path):
    with pytest.raises(DataError, match=r"found nothing$"):
        cal.read_dataset(_table(tmp_path, header=""))


def test_misspelt_region_gets_the_near_match():
    with pytest.raises(DataError) as caught:
        cal.read_dataset("hsinchoo")
    assert str(caught.value) == (
        "no shipped region 'hsinchoo' (did you mean 'hsinchu'?); shipped are central_taiwan, daedeok, hsinchu, "
        "southern_taiwan, taiwan_parks, or give the path of a CSV file"
    )


def test_misspelt_region_inside_a_file_gets_the_near_match(tmp_path):
    path = _table(tmp_path, "north,2001,firms,5,firms,a", "south,2001,firms,6,firms,a")
    with pytest.raises(DataError, match=r"^park\.csv has no region 'nort' \(did you mean 'north'\?\)$"):
        cal.read_dataset(path, region="nort")


def test_missing_file_and_folder(tmp_path):
    for path, what in ((tmp_path / "none.csv", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(DataError) as caught:
            cal.read_dataset(path)
        assert str(caught.value) == (
            f"{path} {what}; give the path of a CSV file or one of central_taiwan, daedeok, hsinchu, southern_taiwan, "
            "taiwan_parks"
        )


def test_a_spreadsheet_is_not_a_text_file(tmp_path):
    path = tmp_path / "park.csv"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(DataError, match=r"^park\.csv is not a text file in UTF-8; save the table as CSV in UTF-8$"):
        cal.read_dataset(path)


def test_no_year_left(tmp_path):
    path = _table(tmp_path, "p,2001,firms,5,firms,a")
    with pytest.raises(DataError, match=r"^park\.csv has no figure from 2005 to 2009; check the years"):
        cal.read_dataset(path, first=2005, last=2009)


def test_first_after_last():
    with pytest.raises(DataError, match=r"^first=2009 comes after last=2005; give the earlier year as first$"):
        cal.read_dataset("hsinchu", first=2009, last=2005)


def test_unknown_indicator_gets_the_near_match():
    with pytest.raises(DataError, match=r"^hsinchu\.csv has no indicator 'firm' \(did you mean 'firms'\?\); it has "):
        cal.read_dataset("hsinchu")["firm"]


def test_digest_changes_with_the_file(tmp_path):
    one = cal.read_dataset(_table(tmp_path, "p,2001,firms,5,firms,a")).digest
    two = cal.read_dataset(_table(tmp_path, "p,2001,firms,6,firms,a")).digest
    assert one != two
    assert np.unique([len(one), len(two)]).tolist() == [64]


WITH_ERRORS = HEADER.replace("source", "source,error,status")
ROWS = ("p,2001,firms,10,firms,a,0.5,", "p,2002,firms,12,firms,a,,provisional")


def test_errors_stand_beside_the_figures_and_are_unknown_where_none_is_given(tmp_path):
    firms = cal.read_dataset(_table(tmp_path, *ROWS, header=WITH_ERRORS))["firms"]
    np.testing.assert_array_equal(firms.errors, [0.5, np.nan])
    assert firms.statuses == ("", "provisional")
    with pytest.raises(ValueError, match="read-only"):
        firms.errors[0] = 1.0


def test_without_errors_there_are_none(tmp_path):
    rows = ("p,2001,firms,10,firms,a,,",)
    for path in (_table(tmp_path, *rows, header=WITH_ERRORS), _table(tmp_path, "p,2001,firms,10,firms,a")):
        assert cal.read_dataset(path)["firms"].errors is None


@pytest.mark.parametrize("error", ["0", "-1", "nan", "inf", "small"])
def test_an_error_that_is_none_is_told(tmp_path, error):
    path = _table(tmp_path, f"p,2001,firms,10,firms,a,{error},", header=WITH_ERRORS)
    with pytest.raises(DataError) as caught:
        cal.read_dataset(path)
    assert str(caught.value) == (
        f"park.csv line 2: error '{error}' is not a positive number; give the standard error in the unit of the value, "
        "or leave it empty"
    )


def test_frame_keeps_errors_and_statuses_and_gives_the_dataset_back(tmp_path):
    dataset = cal.read_dataset(_table(tmp_path, *ROWS, header=WITH_ERRORS))
    frame = dataset.frame()
    assert list(frame.columns) == [*HEADER.strip().split(","), "status", "error"]
    again = dataset_from(frame)["firms"]
    np.testing.assert_array_equal(again.errors, dataset["firms"].errors)
    assert again.statuses == dataset["firms"].statuses


def test_a_data_frame_is_read_as_a_file_is(tmp_path):
    path = _table(tmp_path, *ROWS, header=WITH_ERRORS)
    frame = pd.read_csv(path)
    for dataset in (dataset_from(frame), cal.read_dataset(frame)):
        assert dataset["firms"].values.tolist() == [10.0, 12.0]
        assert dataset["firms"].years.tolist() == [2001.0, 2002.0]
        assert dataset.path.name == "data frame"
        assert len(dataset.digest) == 64


def test_a_missing_value_in_a_data_frame_is_a_gap_and_infinity_an_error():
    columns = {"region": "p", "indicator": "firms", "unit": "firms", "source": "a"}
    frame = pd.DataFrame({"year": [2001, 2002], "value": [1.0, np.nan], **columns})
    assert dataset_from(frame)["firms"].skipped == ((3, "year 2002 has no value"),)
    with pytest.raises(DataError, match=r"^survey line 3: value 'inf' is not finite"):
        dataset_from(frame.assign(value=[1.0, np.inf]), name="survey")
    with pytest.raises(DataError, match=r"^data frame line 1: no column unit, source; expected"):
        dataset_from(frame.drop(columns=["unit", "source"]))


def _workbook(folder, rows, name="park.xlsx"):
    openpyxl = pytest.importorskip("openpyxl", reason="the extra excel is not installed")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.create_sheet("notes").append(["not", "a", "table"])
    path = folder / name
    book.save(path)
    return path


def test_the_first_sheet_of_a_workbook_is_read(tmp_path):
    header = [*HEADER.strip().split(","), "error", None]
    rows = [["p", 2001, "firms", 10, "firms", "a", 0.5], ["p", 2002.0, "firms", 12.25, "firms", "a"], [None] * 7]
    firms = cal.read_dataset(_workbook(tmp_path, [header, *rows, ["p", 2003, "firms", None, "firms", "a"]]))["firms"]
    assert firms.values.tolist() == [10.0, 12.25]
    assert firms.lines == (2, 3)
    assert firms.skipped == ((5, "year 2003 has no value"),)
    np.testing.assert_array_equal(firms.errors, [0.5, np.nan])


@pytest.mark.parametrize("cell", ["#N/A", "1,200", "n.a."])
def test_a_cell_of_a_workbook_that_is_no_number_is_told(tmp_path, cell):
    path = _workbook(tmp_path, [HEADER.strip().split(","), ["p", 2001, "firms", cell, "firms", "a"]])
    with pytest.raises(DataError, match=rf"^park\.xlsx line 2: value '{cell}' is not a number"):
        cal.read_dataset(path)


def test_an_empty_workbook_and_one_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"^park\.xlsx line 1: no column .* found nothing$"):
        cal.read_dataset(_workbook(tmp_path, []))
    path = tmp_path / "text.xlsx"
    path.write_text(HEADER)
    with pytest.raises(DataError, match=r"^text\.xlsx is not an Excel workbook; save it as \.xlsx or as CSV in UTF-8$"):
        cal.read_dataset(path)


def test_without_openpyxl_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = _workbook(tmp_path, [HEADER.strip().split(",")])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"pip install 'sd-cluster\[excel\]', or save the sheet as CSV$"):
        cal.read_dataset(path)


def test_all_regions_of_a_table_are_read_at_once(tmp_path):
    path = _table(tmp_path, "p,2001,firms,10,firms,b", "q,2001,firms,20,firms,b", "r,1990,firms,20,firms,b")
    found = read_datasets(path, first=2000)
    assert {region: one["firms"].values.tolist() for region, one in found.items()} == {"p": [10.0], "q": [20.0]}
    assert read_datasets(pd.read_csv(path)).keys() == {"p", "q", "r"}
    with pytest.raises(DataError, match=r"^park\.csv has no figure from 2005 on"):
        read_datasets(path, first=2005)


def test_the_parks_of_taiwan_add_up_to_their_total():
    total = cal.read_dataset("taiwan_parks")["revenue"]
    parks = [cal.read_dataset(name)["revenue"] for name in ("hsinchu", "southern_taiwan", "central_taiwan")]
    by_year = [dict(zip(one.years, one.values, strict=True)) for one in (total, *parks)]
    years = sorted(set.intersection(*map(set, by_year)))
    assert len(years) == 13
    for year in years:
        whole, *parts = (one[year] for one in by_year)
        assert sum(parts) == pytest.approx(whole, rel=1e-3)
