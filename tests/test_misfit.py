"""The misfit: what it computes, against closed forms, and one clear error for each wrong use."""

import pickle

import numpy as np
import pytest
from twins import GAUGES, RANGES, SALES, STAFF, TRUTH, firms_at, park, write_rows, write_twin

import calibration as cal
import sd_cluster as sd
from calibration.scaling import scaling_of
from calibration.study import number_in
from sd_cluster.errors import DataError, FitError, ModelError, SimulationError

SPACE = sd.Space(RANGES)
MODEL = park()


@pytest.fixture(scope="module")
def misfit(tmp_path_factory):
    path = write_twin(tmp_path_factory.mktemp("twin") / "twin.csv")
    return cal.Misfit(MODEL, SPACE, GAUGES, cal.read_dataset(path))


def _misfit(tmp_path, *rows, gauges=None, space=None, **options):
    dataset = cal.read_dataset(write_rows(tmp_path / "park.csv", *rows))
    measurement = cal.Measurement(gauges or {"firms": cal.Level("firms")})
    return cal.Misfit(MODEL, space or SPACE, measurement, dataset, **options)


def _values(misfit, noise=0.01, **changed):
    """The truth, with some of it changed, and the same noise for every series."""
    known = {**TRUTH, **{name.replace("_", " "): value for name, value in changed.items()}}
    return np.array([known.get(name, noise) for name in misfit.names])


def _predicted(misfit, **changed):
    outcome = misfit.likelihoods[0].outcome(_values(misfit, **changed))
    return {name: one.predicted for name, one in outcome.items()}


def test_residuals_vanish_at_the_truth(misfit):
    outcome = misfit.likelihoods[0].outcome(_values(misfit))
    assert {name: one.predicted.shape for name, one in outcome.items()} == {
        "firms": (13,),
        "staff": (13,),
        "revenue": (13,),
    }
    worst = max(float(np.abs(np.log(one.observed / one.predicted)).max()) for one in outcome.values())
    assert worst < 1e-6, "what remains is the error of RK4 with a step of an eighth of a year"


def test_unknown_scale_is_found_and_the_known_ones_are_one(misfit):
    factors = {name: misfit.likelihoods[0].factor(name, _values(misfit)) for name in GAUGES.gauges}
    assert (factors["firms"], factors["staff"]) == (1.0, 1.0)
    assert factors["revenue"] == pytest.approx(3.7, rel=1e-6)


def test_payoff_at_the_truth_is_that_of_log_normal_figures_without_residuals(misfit):
    figures = np.concatenate([one.values for one in misfit.likelihoods[0].series.values()])
    expected = np.sum(np.log(figures * 0.02 * np.sqrt(2.0 * np.pi)))
    assert misfit.payoff(misfit.place(_values(misfit, noise=0.02))) == pytest.approx(expected, abs=1e-6)


def test_ranges_alone_pull_nowhere(misfit):
    for place in misfit.sample_prior(5, seed=1):
        assert misfit.penalty(place) == 0.0


def test_a_level_twice_too_high_is_off_by_log_two_and_a_free_scale_does_not_care(misfit):
    half, whole = _predicted(misfit, occupancy=0.35), _predicted(misfit)
    assert np.log(whole["staff"] / half["staff"]) == pytest.approx(np.full(13, np.log(2.0)), abs=1e-6)
    assert half["revenue"] == pytest.approx(whole["revenue"], rel=1e-6)


def test_payoff_is_the_negative_log_likelihood_of_a_log_normal(tmp_path):
    from scipy.stats import lognorm

    misfit = _misfit(tmp_path, "2004,firms,100", "2006,firms,150", noise={"firms": 0.15})
    predicted = _predicted(misfit)["firms"]
    expected = -lognorm.logpdf([100.0, 150.0], s=0.15, scale=predicted).sum()
    assert misfit.payoff(misfit.place(_values(misfit))) == pytest.approx(expected, rel=1e-9)


def test_given_noise_is_used_as_it_is(tmp_path):
    misfit = _misfit(tmp_path, "2004,firms,100", "2006,firms,150", noise={"firms": 0.2})
    assert misfit.names == tuple(TRUTH)
    assert misfit.likelihoods[0].noise["firms"].scale == 0.2


@pytest.mark.parametrize("at", [0.0, 0.3, 0.625, 1.0])
def test_moments_within_the_year_are_met_on_and_between_steps(tmp_path, at):
    misfit = _misfit(tmp_path, "2004,firms,1", "2007,firms,1", gauges={"firms": cal.Level("firms", at=at)})
    expected = firms_at(np.array([2004.0, 2007.0]) + at)
    assert _predicted(misfit)["firms"] == pytest.approx(expected, rel=3e-4), "straight within an eighth of a year"


def test_yearly_total_of_growth_is_the_change_of_firms(tmp_path):
    misfit = _misfit(tmp_path, "2004,births,1", gauges={"births": cal.Rate("growth")}, noise={"births": 0.1})
    assert _predicted(misfit)["births"] == pytest.approx([firms_at(2004.0) - firms_at(2003.0)], rel=1e-5)


def test_index_of_sales(tmp_path):
    misfit = _misfit(
        tmp_path, "2004,sales,1", gauges={"sales": cal.Index("sales", base_year=2001)}, noise={"sales": 0.1}
    )
    assert _predicted(misfit)["sales"] == pytest.approx([100.0 * firms_at(2004.0) / firms_at(2001.0)], rel=1e-6)


def test_scenario_and_horizon_apply_to_every_run(tmp_path):
    scenario = sd.Scenario("half staff", {"staff per firm": STAFF / 2})
    gauges = {"staff": cal.Level("employees"), "sales": cal.Level("sales")}
    known = {"gauges": gauges, "noise": dict.fromkeys(gauges, 0.1)}
    misfit = _misfit(tmp_path, "2030,staff,1", "2030,sales,1", scenario=scenario, horizon=(2000, 2030), **known)
    staff = firms_at(2030.0) * STAFF / 2 * TRUTH["occupancy"]
    predicted = _predicted(misfit)
    assert predicted["staff"] == pytest.approx([staff], rel=1e-6)
    assert predicted["sales"] == pytest.approx([SALES * staff], rel=1e-6)


def test_own_values_are_the_scenarios_or_the_models_brought_inside(tmp_path):
    space = sd.Space({"growth rate": (0.3, 0.6), "land": (200, 2000), "Firms": (10, 1000)})
    scenario = sd.Scenario("more land", {"Land": 900})
    misfit = _misfit(tmp_path, "2004,firms,100", space=space, scenario=scenario, noise={"firms": 0.1})
    start = dict(zip(misfit.names, misfit.values(misfit.start), strict=True))
    assert start["growth rate"] == pytest.approx(0.3, rel=3e-3), "a hair inside the range"
    assert start["land"] == pytest.approx(900.0)
    assert start["firms"] == pytest.approx(100.0), "the stock: the middle of its log range"


def test_a_pickled_misfit_gives_the_same_numbers(misfit):
    again = pickle.loads(pickle.dumps(misfit))
    assert again.payoff_and_gradient(misfit.start)[0] == misfit.payoff_and_gradient(misfit.start)[0]


def test_wide_positive_ranges_are_searched_on_a_log_scale():
    scaling = scaling_of(np.array([5.0, 0.05, 0.0]), np.array([400.0, 0.6, 10.0]))
    assert scaling.logarithmic.tolist() == [True, False, False]
    vector = np.array([np.sqrt(5.0 * 400.0), 0.325, 5.0])
    assert scaling.to_unit(vector) == pytest.approx([0.5, 0.5, 0.5])
    assert scaling.from_unit(scaling.to_unit(vector)) == pytest.approx(vector)
    ends = scaling.from_unit(np.ones(3))
    assert ends == pytest.approx([400.0, 0.6, 10.0])
    assert np.all(ends <= scaling.upper), "never beyond the range by rounding"
    slope = scaling.slope(vector)
    step = scaling.from_unit(np.full(3, 0.5 + 1e-6)) - scaling.from_unit(np.full(3, 0.5 - 1e-6))
    assert slope == pytest.approx(step / 2e-6, rel=1e-6)


WRONG_USES = {
    "year after the end": (
        {"rows": ["2004,firms,100", "2031,firms,120"]},
        DataError,
        "park.csv line 3: year 2031 lies after the run's end (2025); extend the horizon or drop the row",
    ),
    "year before the start": (
        {"rows": ["1999,firms,100", "2001,firms,120"]},
        DataError,
        "park.csv line 2: year 1999 lies before the run's start (2000); start the horizon earlier or drop the row",
    ),
    "end of the last year": (
        {"rows": ["2025,firms,100"], "noise": {"firms": 0.1}, "gauges": {"firms": cal.Level("firms", at=1.0)}},
        DataError,
        "park.csv line 2: year 2025 needs the model at 2026, which lies after the run's end (2025); extend the horizon "
        "or drop the row",
    ),
    "total of the first year": (
        {"rows": ["2000,births,5"], "noise": {"births": 0.1}, "gauges": {"births": cal.Rate("growth")}},
        DataError,
        "park.csv line 2: year 2000 needs the model at 1999, which lies before the run's start (2000); start the "
        "horizon earlier or drop the row",
    ),
    "outside a given horizon": (
        {"rows": ["2022,firms,5"], "noise": {"firms": 0.1}, "horizon": (2000, 2020)},
        DataError,
        "park.csv line 2: year 2022 lies after the run's end (2020); extend the horizon or drop the row",
    ),
    "zero": (
        {"rows": ["2004,firms,100", "2005,firms,0"]},
        DataError,
        "park.csv: 'firms' has the figure 0, but this noise is relative and needs figures above zero; use normal "
        "noise, poisson or negative binomial noise for counts, or leave it out",
    ),
    "negative": (
        {"rows": ["2004,firms,-3"]},
        DataError,
        "park.csv: 'firms' has the figure -3, but this noise is relative and needs figures above zero; use normal "
        "noise, poisson or negative binomial noise for counts, or leave it out",
    ),
    "empty series": (
        {"rows": ["2004,firms,", "2004,staff,7"]},
        DataError,
        "park.csv has no figure of 'firms'; drop its gauge or widen the years",
    ),
    "missing indicator": (
        {"rows": ["2004,firm,7"]},
        DataError,
        "park.csv has no indicator 'firms' (did you mean 'firm'?); it has firm",
    ),
    "one figure and an unknown scale": (
        {"rows": ["2004,firms,7"], "gauges": {"firms": cal.Level("firms", scale=True)}},
        DataError,
        "park.csv line 2: the only figure of 'firms' is used up by the unknown factor of its gauge, so it tells "
        "nothing; drop the gauge or its factor",
    ),
    "unknown variable": (
        {"rows": ["2004,firms,7"], "gauges": {"firms": cal.Level("firm")}},
        ModelError,
        "logistic_firms has no variable 'firm' (did you mean 'firms'?)",
    ),
    "noise of what is not measured": (
        {"rows": ["2004,firms,7"], "noise": {"firm": 0.1}},
        FitError,
        "noise is given for 'firm', which is not measured (did you mean 'firms'?)",
    ),
    "noise of zero": (
        {"rows": ["2004,firms,7"], "noise": {"firms": 0.0}},
        DataError,
        "park.csv: 'firms' has noise of scale 0, but not all its figures have a standard error; give both",
    ),
    "noise floor of zero": (
        {"rows": ["2004,firms,7"], "noise_floor": 0.0},
        FitError,
        "noise_floor is 0.0; expected a small positive fraction, such as 0.01",
    ),
    "one figure and an unknown noise": (
        {"rows": ["2004,firms,7"]},
        DataError,
        "park.csv: 'firms' has one figure, which cannot tell its own noise; give its noise as a number, such as 0.1, "
        "or leave the series out",
    ),
    "figures that are all the same": (
        {"rows": ["2004,firms,7", "2005,firms,7", "2006,firms,7"]},
        DataError,
        "park.csv: 'firms' is 7 in all 3 years, as a figure carried forward would be, and cannot tell its own noise; "
        "give its noise as a number, such as 0.1, or leave the series out",
    ),
    "searched and varying": (
        {"rows": ["2004,firms,7"], "scenario": sd.Scenario("boom", {"land": {2000: 500, 2010: 900}})},
        FitError,
        "scenario 'boom' makes 'land' a function of time, so it cannot be searched as one number; take it out of "
        "what is free or out of the scenario",
    ),
}


@pytest.mark.parametrize("case", WRONG_USES)
def test_each_wrong_use_gives_one_clear_error(tmp_path, case):
    options, kind, expected = WRONG_USES[case]
    options = dict(options)
    with pytest.raises(kind) as caught:
        _misfit(tmp_path, *options.pop("rows"), **options)
    assert str(caught.value) == expected


def test_a_space_with_an_unknown_parameter_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"growht rate.*did you mean 'growth rate'"):
        _misfit(tmp_path, "2004,firms,7", space=sd.Space({"growht rate": (0.1, 0.5)}))


def test_a_run_without_a_logarithm_says_where(tmp_path):
    space = sd.Space({"sales per head": (-1, 10)})
    gauges = {"sales": cal.Level("sales")}
    misfit = _misfit(tmp_path, "2000,sales,7", gauges=gauges, space=space, noise={"sales": 0.1})
    with pytest.raises(SimulationError) as caught:
        misfit.payoff(misfit.place(np.array([-0.5])))
    assert str(caught.value) == "park: the model gives -4.8e+03 for 'sales' in 2000, which needs a value above zero"


def test_the_value_in_a_scenario_does_not_hang_on_spelling():
    """The study looked a change up as spelt, and took the model's value for any other spelling or for a series."""
    model = MODEL
    scenario = sd.Scenario("made", {"Growth_Rate": 0.2, "land": sd.TimeSeries([2000, 2010], [500, 600])})
    assert number_in(model, scenario, "growth rate") == 0.2
    assert number_in(model, scenario, "occupancy") == model.parameters["occupancy"].value
    assert np.isnan(number_in(model, scenario, "firms")), "a stock whose initial value is computed"
    with pytest.raises(FitError, match="scenario 'made' makes 'land' a function of time"):
        number_in(model, scenario, "land")
