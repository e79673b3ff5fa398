"""Tables of observations: what is read, and one clear error for each way a table can be wrong."""

import re
from pathlib import Path

import numpy as np
import pytest

import calibration as cal
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
        "no shipped region 'hsinchoo' (did you mean 'hsinchu'?); shipped are daedeok, hsinchu, or give the path of "
        "a CSV file"
    )


def test_misspelt_region_inside_a_file_gets_the_near_match(tmp_path):
    path = _table(tmp_path, "north,2001,firms,5,firms,a", "south,2001,firms,6,firms,a")
    with pytest.raises(DataError, match=r"^park\.csv has no region 'nort' \(did you mean 'north'\?\)$"):
        cal.read_dataset(path, region="nort")


def test_missing_file_and_folder(tmp_path):
    for path, what in ((tmp_path / "none.csv", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(DataError) as caught:
            cal.read_dataset(path)
        assert str(caught.value) == f"{path} {what}; give the path of a CSV file or one of daedeok, hsinchu"


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
