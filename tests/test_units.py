"""Units: each kind of clash is one line that names the equation and both dimensions."""

import pytest
from support import NAMES, feature, tiny, write_model

import sd_cluster as sd
from sd_cluster.units import dimension, show

BASE = """
    firms = INTEG(founding, 10) ~ firm
    founding = rate*firms ~ firm/Year
    rate = 0.1 ~ 1/Year
    people = 50 ~ person
    staff = 5 ~ person/firm
    share = 0.3 ~ dmnl
    table((0,0),(10,1)) ~ dmnl
"""

CLASHES = {
    "q = firms*staff ~ firm": "'q' is declared in firm, but 'firms * staff' gives person",
    "q = firms+people ~ firm": "in 'q' = firms + people: 'firms' is in firm, 'people' in person",
    "q = firms-people ~ firm": "in 'q' = firms - people: 'firms' is in firm, 'people' in person",
    "q = firms+1 ~ firm": "in 'q' = firms + 1: 'firms' is in firm, '1' in dimensionless",
    "q = MAX(firms, people) ~ firm": "in 'q' = max(firms, people): 'firms' is in firm, 'people' in person",
    "q = EXP(rate) ~ dmnl": "in 'q' = exp(rate): the argument of exp should be dimensionless, 'rate' is in 1/year",
    "q = LN(firms) ~ dmnl": "in 'q' = ln(firms): the argument of ln should be dimensionless, 'firms' is in firm",
    "q = LOG(share, people) ~ dmnl": (
        "in 'q' = log(share, people): the base of log should be dimensionless, 'people' is in person"
    ),
    "q = 2^firms ~ dmnl": "in 'q' = 2 ^ firms: an exponent should be dimensionless, 'firms' is in firm",
    "q = firms^share ~ firm": ("in 'q' = firms ^ share: 'firms' is in firm, so its exponent should be a number"),
    "q = firms^2 ~ firm": "'q' is declared in firm, but 'firms ^ 2' gives firm^2",
    "q = SQRT(firms) ~ firm": "'q' is declared in firm, but 'sqrt(firms)' gives firm^0.5",
    "q = IF THEN ELSE(firms > people, 1, 0) ~ dmnl": (
        "in 'q' = if then else(firms > people, 1, 0): 'firms' is in firm, 'people' in person"
    ),
    "q = IF THEN ELSE(share > 0.5, firms, people) ~ firm": (
        "in 'q' = if then else(share > 0.5, firms, people): 'firms' is in firm, 'people' in person"
    ),
    "q = firms*STEP(1, people) ~ firm": ("in 'q' = firms * step(1, people): 'Time' is in year, 'people' in person"),
    "q = XIDZ(people, firms, rate) ~ person/firm": (
        "in 'q' = xidz(people, firms, rate): 'rate' is in 1/year, the ratio in person/firm"
    ),
    "q = table(share) ~ person": "'q' is declared in person, but 'table(share)' gives dimensionless",
    "q = INTEG(firms, 0) ~ firm": "'q' needs firm/year, but 'firms' gives firm",
    "q = INTEG(founding, people) ~ firm": "'q' needs firm, but 'people' gives person",
    "q = INITIAL(people) ~ firm": "'q' is declared in firm, but 'people' gives person",
    "q = ACTIVE INITIAL(firms, people) ~ firm": "'q' is declared in firm, but 'people' gives person",
    "q = people/(firms*rate) ~ person": (
        "'q' is declared in person, but 'people / (firms * rate)' gives person*year/firm"
    ),
}


@pytest.mark.parametrize("line", CLASHES)
def test_a_clash_is_one_line_with_both_dimensions(line):
    with pytest.raises(sd.UnitsError) as caught:
        tiny(BASE + line)
    assert str(caught.value) == f"tiny: {CLASHES[line]}"
    assert caught.value.clashes == (f"tiny: {CLASHES[line]}",)


@pytest.mark.parametrize(
    "line",
    [
        "q = firms*staff ~ person",
        "q = 2*firms ~ firm",
        "q = 3 ~ firm",
        "q = MAX(firms, 0) ~ firm",
        "q = IF THEN ELSE(firms > 5, firms, 0) ~ firm",
        "q = ZIDZ(people, firms) ~ person/firm",
        "q = XIDZ(people, firms, 1) ~ person/firm",
        "q = firms*STEP(1, 3) ~ firm",
        "q = RAMP(rate, 1, 3) ~ dmnl",
        "q = firms^0.5 ~ firm^0.5",
        "q = SQRT(firms*firms) ~ firm",
        "q = EXP(-rate*Time) ~ dmnl",
        "q = SMOOTH(firms, 2) ~ firm",
        "q = DELAY3(founding, 2) ~ firm/Year",
        "q = 1-share ~ dmnl",
        "q = -firms ~ firm",
        "q = 0 ~ whatever",
        "q = firms/firms ~ dmnl",
        "q = firms/Time ~ firm/Year",
        "q = table(firms) ~ dmnl",
        "q = WITH LOOKUP(Time, ((0,0),(1,1))) ~ person",
        "q = TIME STEP*rate ~ fraction",
    ],
)
def test_a_clean_equation_passes(line):
    assert tiny(BASE + line).notes == ()


def test_all_clashes_are_kept_and_the_first_is_told():
    with pytest.raises(sd.UnitsError) as caught:
        tiny(BASE + "a = firms ~ person \n b = people ~ firm")
    assert len(caught.value.clashes) == 2
    assert str(caught.value) == (
        "tiny: 'a' is declared in person, but 'firms' gives firm"
        " (and 1 more; load without check_units=True to use the model as it is)"
    )


def test_a_model_with_clashes_can_be_used_as_it_is():
    model = tiny(BASE + "a = firms ~ person", check_units=False)
    assert sd.simulate(model, solver=sd.Euler())["a"][0] == 10


def test_missing_units_are_noted_and_not_judged():
    model = tiny(BASE + "a = firms \n b = a+people ~ person \n c = a*b ~ firm")
    assert model.notes == ("units are not declared, so not checked, for 1 variable(s): 'a'",)


def test_many_missing_units_are_counted():
    model = tiny("\n".join(f"v{place} = {place}" for place in range(7)))
    (note,) = model.notes
    assert note == (
        "units are not declared, so not checked, for 7 variable(s): 'v0', 'v1', 'v2', 'v3', 'v4' and others"
    )


def test_a_unit_that_is_no_unit_is_told():
    with pytest.raises(sd.UnitsError, match=r"^tiny: 'q' is declared in '\(\(firm' is not a unit"):
        tiny(BASE + "q = 3 ~ ((firm")


@pytest.mark.parametrize("name", [*NAMES, *sd.models()])
def test_models_are_clean(name):
    assert feature(name).notes == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("person", "persons"),
        ("person", "People"),
        ("Year", "yr"),
        ("Year", "years"),
        ("1/Year", "1/yr"),
        ("1/Year", "Dmnl/Year"),
        ("1/Year", "(1/Year)"),
        ("Month", "months"),
        ("$", "dollars"),
        ("$/(person*Year)", "dollar/Year/person"),
        ("$/(person*Year)", "$ / ( persons * yr )"),
        ("Dmnl", "dimensionless"),
        ("Dmnl", "1"),
        ("Dmnl", "firm/firm"),
        ("firm^2", "firm*firm"),
        ("1/firm^2", "1/(firm*firm)"),
        ("firm^-1", "1/firm"),
        ("widget/Year/Year", "widget/Year^2"),
        ("know how", "Know_How"),
        ("class", "classes"[:5]),
        ("personnes/année", "personne/années"),
        ("件", "件"),
    ],
)
def test_two_spellings_of_one_unit(one, other):
    assert dict(dimension(one)) == dict(dimension(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("person", "firm"), ("Year", "Month"), ("$", "€"), ("1/Year", "Year"), ("firm", "firm^2"), ("%", "Dmnl")],
)
def test_two_units_that_differ(one, other):
    assert dict(dimension(one)) != dict(dimension(other))


@pytest.mark.parametrize(
    ("units", "shown"),
    [
        ("Dmnl", "dimensionless"),
        ("persons", "person"),
        ("1/yr", "1/year"),
        ("$/(person*Year)", "$/(person*year)"),
        ("firm^2/Year^0.5", "firm^2/year^0.5"),
        ("shared knowledge", "shared knowledge"),
    ],
)
def test_a_dimension_is_shown_as_a_person_writes_it(units, shown):
    assert show(dimension(units)) == shown


def test_a_clash_is_a_warning_and_a_note_unless_it_is_to_be_an_error(tmp_path):
    path = write_model(tmp_path, BASE + "q = firms*STEP(1, people) ~ firm")
    with pytest.warns(
        sd.UnitsWarning, match=r"^units clash in 1 equation\(s\), as sd\.check tells in full: tiny: in 'q'"
    ):
        model = sd.load(path)
    assert any(note.startswith("units clash in 1") for note in model.notes)
    assert sd.simulate(model).times[-1] == model.horizon.end
    assert not sd.load(path, check_units=False).notes
    with pytest.raises(sd.UnitsError, match="in 'q'"):
        sd.load(path, check_units=True)
    assert not sd.check(path).good
