"""Gauges: where they look and what they read, against integrals and ratios known in closed form."""

import numpy as np
import pytest
from twins import park, write_rows

import calibration as cal
import sd_cluster as sd
from calibration.measurement import (
    Cumulated,
    Growth,
    Lagged,
    Measurement,
    Share,
    Shift,
    Survey,
    gauge_from,
    log_scale,
)
from sd_cluster.errors import DataError, FitError, SimulationError

YEARS = np.array([2001.0, 2004.0])


def _read(gauge, trajectory):
    """What a gauge makes of a trajectory given as a function of time."""
    return gauge.read(_samples(gauge, trajectory), YEARS)


def _samples(gauge, *trajectories):
    times = gauge.times(YEARS)
    return np.stack([trajectory(times) for trajectory in trajectories], axis=-1)


def _exponential(times):
    return 3.0 * np.exp(0.2 * (times - 2000.0))


def _line(times):
    return 5.0 + 2.0 * (times - 1990.0)


def _cubic(times):
    return 2.0 + (times - 2001.0) ** 3 + 0.5 * (times - 1998.0) ** 2


def _cubic_integral(times):
    return 2.0 * times + (times - 2001.0) ** 4 / 4.0 + (times - 1998.0) ** 3 / 6.0


def test_level_is_the_value_at_the_year_or_later_within_it():
    assert _read(cal.Level("firms"), lambda t: t).tolist() == [2001.0, 2004.0]
    assert _read(cal.Level("firms", at=0.75), lambda t: t).tolist() == [2001.75, 2004.75]


def test_rate_is_the_integral_over_the_year_that_ends_at_the_reported_time():
    total = _read(cal.Rate("entry"), lambda t: (t - 2000.0) ** 3)
    expected = [((year - 2000.0) ** 4 - (year - 2001.0) ** 4) / 4.0 for year in YEARS]
    assert total == pytest.approx(expected, rel=1e-12), "Simpson is exact for a cubic"


def test_rate_at_the_end_of_the_calendar_year():
    total = _read(cal.Rate("entry", at=1.0), lambda t: t)
    assert total == pytest.approx([2001.5, 2004.5], rel=1e-12)


def test_a_rate_of_several_flows_is_the_sum_of_their_totals():
    both = cal.Rate("entry", plus=["derivation"])
    assert both.variables == ("entry", "derivation") and both.variable == "entry"
    total = both.read(_samples(both, _line, _exponential), YEARS)
    apart = [_read(cal.Rate("x"), one) for one in (_line, _exponential)]
    assert total == pytest.approx(apart[0] + apart[1], rel=1e-14)
    assert gauge_from({"variable": "entry", "kind": "rate", "plus": ["derivation"]}) == both


def test_rate_of_exponential_growth():
    total = _read(cal.Rate("entry"), lambda t: np.exp(0.2 * (t - 2000.0)))
    expected = [(np.exp(0.2 * (y - 2000.0)) - np.exp(0.2 * (y - 2001.0))) / 0.2 for y in YEARS]
    assert total == pytest.approx(expected, rel=1e-7)


def test_index_is_a_hundred_in_its_base_year():
    index = _read(cal.Index("firms", base_year=2001), lambda t: t - 1999.0)
    assert index.tolist() == [100.0, 250.0]


def test_scale_is_the_geometric_mean_of_the_ratio():
    predicted, observed = np.array([1.0, 2.0, 4.0]), np.array([3.0, 6.0, 24.0])
    assert np.exp(log_scale(predicted, observed)) == pytest.approx((3.0 * 3.0 * 6.0) ** (1 / 3))


def test_measurement_says_which_variables_and_times_it_needs():
    gauges = cal.Measurement({"firms": cal.Level("firms"), "births": cal.Rate("entry"), "units": cal.Level("firms")})
    years = {"firms": np.array([2001.0]), "births": np.array([2002.0]), "units": np.array([2002.0])}
    assert gauges.variables == ("firms", "entry")
    assert gauges.times(years).tolist() == [2001.0, 2001.25, 2001.5, 2001.75, 2002.0]


def test_measurement_maps_a_trajectory_to_each_statistic():
    gauges = cal.Measurement({"firms": cal.Level("firms"), "births": cal.Rate("entry")})
    years = {"firms": np.array([2001.0, 2002.0]), "births": np.array([2002.0])}
    times = gauges.times(years)
    outputs = np.column_stack([10.0 * times, np.full_like(times, 7.0)])
    predicted = dict(gauges.predict(years, times, outputs))
    assert predicted["firms"].tolist() == [20010.0, 20020.0]
    assert predicted["births"] == pytest.approx([7.0])


def test_a_measurement_needs_gauges():
    with pytest.raises(FitError, match=r"^the measurement is empty; name an indicator, such as "):
        cal.Measurement({})
    with pytest.raises(FitError) as caught:
        cal.Measurement({"firms": "member firms"})
    assert str(caught.value) == "'firms' is measured by 'member firms'; expected a gauge, such as Level('member firms')"


def test_lagged_is_the_yearly_total_of_an_earlier_year():
    total = _read(Lagged("entry", lag=2), _exponential)
    ends = YEARS - 2.0
    assert total == pytest.approx((_exponential(ends) - _exponential(ends - 1.0)) / 0.2, rel=1e-7)
    assert np.array_equal(_read(Lagged("entry", lag=0), _exponential), _read(cal.Rate("entry"), _exponential))
    half = _read(Lagged("entry", at=0.75, lag=2.5), _cubic)
    ends = YEARS - 1.75
    assert half == pytest.approx(_cubic_integral(ends) - _cubic_integral(ends - 1.0), rel=1e-12)


@pytest.mark.parametrize("at", [0.0, 0.25, 0.4, 1.0])
@pytest.mark.parametrize("since", [1990.0, 1997.3, 2000.0, 2000.9])
def test_cumulated_is_the_integral_since_its_year_exactly_for_a_cubic(since, at):
    total = _read(Cumulated("entry", since, at=at), _cubic)
    assert total == pytest.approx(_cubic_integral(YEARS + at) - _cubic_integral(since), rel=1e-11, abs=1e-11)


def test_cumulated_exponential_and_its_grid_of_quarters():
    gauge = Cumulated("entry", since=1995)
    assert _read(gauge, _exponential) == pytest.approx((_exponential(YEARS) - _exponential(1995.0)) / 0.2, rel=1e-7)
    times = gauge.times(YEARS)
    assert np.all(times * 4.0 == np.round(times * 4.0)), "whole half-years are met on quarters"
    assert times.min() == 1995.0 and times.max(axis=1).tolist() == YEARS.tolist()
    assert gauge.times(np.zeros(0)).shape == (0, 3)


def test_growth_is_the_relative_change_over_a_year():
    assert _read(Growth("firms"), _exponential) == pytest.approx(np.full(2, np.expm1(0.2)), rel=1e-12)
    assert _read(Growth("firms", at=0.5), _line) == pytest.approx(2.0 / _line(YEARS - 0.5), rel=1e-12)


def test_share_is_the_part_over_the_whole_or_over_a_sum():
    one = Share("engineers", "staff")
    samples = _samples(one, _line, _exponential)
    assert one.variables == ("engineers", "staff") and one.variable == "engineers"
    assert one.read(samples, YEARS) == pytest.approx(_line(YEARS) / _exponential(YEARS))
    two = Share("engineers", ["engineers", "workers"])
    found = two.read(_samples(two, _line, _line, _exponential), YEARS)
    assert found == pytest.approx(_line(YEARS) / (_line(YEARS) + _exponential(YEARS)))


def test_survey_is_a_place_on_a_bounded_scale():
    assert _read(Survey("trust", 1, 5), lambda t: (t - 2000.0) / 8.0).tolist() == [1.5, 3.0]
    assert _read(Survey("trust", 5, 1), lambda t: (t - 2000.0) / 8.0).tolist() == [4.5, 3.0]
    assert not Survey("trust").scale


EVERY_GAUGE = [
    cal.Level("x", at=0.5),
    cal.Rate("x"),
    Lagged("x", lag=1.5),
    Cumulated("x", since=1998.3),
    cal.Level("x", at=0.5, plus=["y"]),
    cal.Rate("x", plus=["y", "z"]),
    Lagged("x", lag=1.5, plus=["y"]),
    Cumulated("x", since=1998.3, plus=["y"]),
    Growth("x"),
    cal.Index("x", base_year=2002),
    Survey("x", 1, 7),
    Share("x", "y"),
    Share("x", ("x", "y")),
]


@pytest.mark.parametrize("gauge", EVERY_GAUGE, ids=lambda gauge: f"{type(gauge).__name__}{len(gauge.variables)}")
def test_slopes_are_those_of_central_differences(gauge):
    rng = np.random.default_rng(3)
    samples = rng.uniform(1.0, 2.0, (*gauge.times(YEARS).shape, len(gauge.variables)))
    slopes = gauge.slopes(samples, YEARS)
    assert slopes.shape == samples.shape
    for place in np.ndindex(samples.shape):
        step = np.zeros_like(samples)
        step[place] = 1e-6
        expected = (gauge.read(samples + step, YEARS) - gauge.read(samples - step, YEARS)) / 2e-6
        assert expected[1 - place[0]] == 0.0, "a year's statistic hangs on its own samples only"
        assert slopes[place] == pytest.approx(expected[place[0]], rel=1e-7, abs=1e-9)


def test_measurement_slopes_chain_to_the_outputs():
    gauges = Measurement(
        {"firms": cal.Level("firms"), "share": Share("entry", ["firms", "entry"]), "sum": Cumulated("entry", 1999)}
    )
    years = {"firms": YEARS, "share": YEARS, "sum": np.array([2000.0, 2004.0])}
    times = gauges.times(years)
    outputs = np.random.default_rng(5).uniform(1.0, 2.0, (times.size, 2))
    direction = np.random.default_rng(6).normal(size=outputs.shape)
    ahead, behind = (dict(gauges.predict(years, times, outputs + step * direction)) for step in (1e-6, -1e-6))
    for name, (places, columns, slopes) in gauges.slopes(years, times, outputs):
        assert slopes.shape == (*places.shape, columns.size)
        found = np.einsum("ypv,ypv->y", slopes, direction[places[:, :, None], columns])
        assert found == pytest.approx((ahead[name] - behind[name]) / 2e-6, rel=1e-6, abs=1e-8)


def test_shifts_multiply_from_their_year_on():
    gauges = Measurement(
        {"firms": cal.Level("firms"), "staff": cal.Level("employees")},
        shifts={"staff": (Shift(2008), Shift(2003)), "firms": [Shift(2005), Shift(2002, 1.5)]},
    )
    assert gauges.shift_unknowns == (("firms", 2005), ("staff", 2003), ("staff", 2008))
    years, values = np.array([2001.0, 2003.0, 2008.0]), np.array([0.2, -0.5])
    factors, slopes = gauges.shift_factors("staff", years, values)
    assert factors == pytest.approx(np.exp([0.0, 0.2, -0.3]))
    assert slopes.tolist() == [[0.0, 0.0], [factors[1], 0.0], [factors[2], factors[2]]]
    factors, slopes = gauges.shift_factors("firms", years, np.array([0.1]))
    assert factors == pytest.approx([1.0, 1.5, 1.5 * np.exp(0.1)])
    assert slopes.shape == (3, 1)
    for column in range(2):
        step = 1e-6 * np.eye(2)[column]
        sides = [gauges.shift_factors("staff", years, values + sign * step)[0] for sign in (1, -1)]
        expected = (sides[0] - sides[1]) / 2e-6
        assert gauges.shift_factors("staff", years, values)[1][:, column] == pytest.approx(expected, abs=1e-8)


def test_without_shifts_the_factor_is_one():
    gauges = Measurement({"firms": cal.Level("firms")}, shifts={"firms": ()})
    factors, slopes = gauges.shift_factors("firms", YEARS, np.zeros(0))
    assert gauges.shift_unknowns == () and factors.tolist() == [1.0, 1.0] and slopes.shape == (2, 0)


def test_gauges_of_a_study_file():
    assert gauge_from("talent pool") == cal.Level("talent pool")
    assert gauge_from(" revenue * ") == cal.Level("revenue", scale=True)
    assert gauge_from({"variable": "patents granted", "kind": "lagged", "lag": 2, "scale": True}) == Lagged(
        "patents granted", scale=True, lag=2
    )
    assert gauge_from({"variable": "a", "kind": "share", "whole": ["a", "b"]}) == Share("a", ("a", "b"))
    assert gauge_from({"variable": "trust", "at": 0.5}) == cal.Level("trust", at=0.5)
    kinds = {
        "rate": {},
        "growth": {},
        "index": {"base_year": 2000},
        "cumulated": {"since": 1990},
        "survey": {"high": 5},
    }
    for kind, more in kinds.items():
        assert gauge_from({"variable": "x", "kind": kind, **more}).variables == ("x",)


WRONG = {
    "negative lag": (
        lambda: Lagged("patents", lag=-1),
        "Lagged of 'patents' has lag -1; expected zero or more years; for a figure that comes before the event use at",
    ),
    "base year that is none": (
        lambda: cal.Index("firms", base_year=float("nan")),
        "Index of 'firms' has base_year nan; expected a number",
    ),
    "share of nothing": (
        lambda: Share("engineers", ()),
        "Share of 'engineers' has whole (); expected the name of a variable, or the names of those that make up the "
        "whole",
    ),
    "share of a number": (
        lambda: Share("engineers", 100),
        "Share of 'engineers' has whole 100; expected the name of a variable, or the names of those that make up the "
        "whole",
    ),
    "survey without width": (
        lambda: Survey("trust", 1, 1),
        "Survey of 'trust' has high 1; expected a number other than low, 1",
    ),
    "no variable": (lambda: cal.Level(""), "Level has variable ''; expected the name of a variable"),
    "one name alone for what is added": (
        lambda: cal.Rate("entry", plus="derivation"),
        "Rate of 'entry' has plus 'derivation'; expected the names of further variables, such as ['derivation']",
    ),
    "scale as text": (lambda: cal.Level("x", scale="yes"), "Level of 'x' has scale 'yes'; expected true or false"),
    "a star alone": (lambda: gauge_from("*"), "Level has variable ''; expected the name of a variable"),
    "a number for a gauge": (lambda: gauge_from(3), "a gauge is given as 3; expected keys such as variable and kind"),
    "unknown kind": (
        lambda: gauge_from({"variable": "x", "kind": "laged", "lag": 2}),
        "a gauge has the kind 'laged' (did you mean 'lagged'?); expected one of level, rate, growth, share, index, "
        "cumulated, lagged, survey",
    ),
    "unknown key": (
        lambda: gauge_from({"variable": "x", "kind": "lagged", "lagg": 2}),
        "a gauge of kind 'lagged' has no 'lagg' (did you mean 'lag'?); it takes variable, scale, at, plus, lag",
    ),
    "share without a whole": (
        lambda: gauge_from({"variable": "x", "kind": "share"}),
        "a gauge of kind 'share' needs 'whole'; it takes variable, whole, scale, at",
    ),
    "lag as text": (
        lambda: gauge_from({"variable": "x", "kind": "lagged", "lag": "two"}),
        "Lagged of 'x' has lag 'two'; expected a number",
    ),
    "two shifts in one year": (
        lambda: Measurement({"firms": cal.Level("firms")}, shifts={"firms": (Shift(2003, 2.0), Shift(2003))}),
        "'firms' has two level shifts from 2003 on; give them one factor",
    ),
    "shift without a gauge": (
        lambda: Measurement({"firms": cal.Level("firms")}, shifts={"firm": (Shift(2003),)}),
        "'firm' has a level shift, but no gauge (did you mean 'firms'?)",
    ),
    "shift as a number": (
        lambda: Measurement({"firms": cal.Level("firms")}, shifts={"firms": (2003,)}),
        "'firms' has the level shift 2003; expected a shift, such as Shift(2011)",
    ),
    "one shift alone": (
        lambda: Measurement({"firms": cal.Level("firms")}, shifts={"firms": Shift(2003)}),
        "'firms' has the level shifts Shift(year=2003, factor=None); expected a sequence, such as [Shift(2011)]",
    ),
    "shift to nothing": (
        lambda: Shift(2003, 0.0),
        "the level shift from 2003 has the factor 0.0; expected a number above zero, or none where it is unknown",
    ),
    "shift without a year": (lambda: Shift(None), "a level shift has the year None; expected a number"),
    "too many values": (
        lambda: Measurement({"firms": cal.Level("firms")}).shift_factors("firms", YEARS, np.ones(1)),
        "'firms' has 0 unknown level shifts, but 1 values are given",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_wrong_gauge_gives_one_clear_error(case):
    make, expected = WRONG[case]
    with pytest.raises(FitError) as caught:
        make()
    assert str(caught.value) == expected


def test_a_count_has_no_figure_before_it_begins():
    with pytest.raises(DataError) as caught:
        Cumulated("patents", since=2001).times(YEARS)
    assert str(caught.value) == (
        "the count of 'patents' since 2001 has no figure yet in 2001; drop that figure or count from an earlier year"
    )


@pytest.mark.parametrize("gauge", [Growth("x"), cal.Index("x", 2000), Share("x", ["y", "z"])])
def test_nothing_is_set_against_zero(gauge):
    samples = np.zeros((*gauge.times(YEARS).shape, len(gauge.variables)))
    below = "y + z" if len(gauge.variables) == 3 else "x"
    for ask in (gauge.read, gauge.slopes):
        with pytest.raises(SimulationError) as caught:
            ask(samples, YEARS)
        assert str(caught.value) == f"'x' cannot be set against '{below}', which is zero there"


def test_a_base_year_outside_the_run_is_told_and_shifts_are_searched_by_the_misfit(tmp_path):
    dataset = cal.read_dataset(write_rows(tmp_path / "park.csv", "2004,sales,1", "2006,sales,2"))
    space = sd.Space({"growth rate": (0.05, 0.6)})
    with pytest.raises(DataError) as caught:
        cal.Misfit(park(), space, Measurement({"sales": cal.Index("sales", 1995)}), dataset)
    assert str(caught.value) == (
        "park.csv line 2: year 2004 needs the model at 1995, which lies before the run's start (2000); start the "
        "horizon earlier or drop the row"
    )
    shifted = Measurement({"sales": cal.Level("sales")}, shifts={"sales": (Shift(2005),)})
    misfit = cal.Misfit(park(), space, shifted, dataset)
    assert misfit.names == ("growth rate", "noise of sales", "shift of sales from 2005")
