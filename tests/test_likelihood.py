"""Likelihood of one region: against closed forms and differences, and what it refuses at the door."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from support import assert_close, feature, tiny
from twins import GAUGES, TRUTH, park, table, true_series, write_rows, write_twin

import sd_cluster as sd
from calibration.dataset import dataset_from, read_dataset
from calibration.likelihood import Likelihood
from calibration.measurement import Cumulated, Growth, Index, Lagged, Level, Measurement, Rate, Share, Shift, Survey
from calibration.noise import AutoRegressive, NegativeBinomial, NormalNoise, Poisson, StudentT
from calibration.patterns import Bound, GrowthRate, Peak
from calibration.steps import Steps
from sd_cluster.errors import DataError, FitError, ModelError, SimulationError

FREE = ("growth rate", "land", "initial firms", "occupancy")
STANDING = np.array([TRUTH[name] for name in FREE])
YEARS = np.arange(2000, 2026, 2)


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    path = write_twin(tmp_path_factory.mktemp("twin") / "park.csv", noise=0.1, seed=4)
    return read_dataset(path)


def of_park(twin, gauges=GAUGES, free=FREE, **chosen):
    return Likelihood(park(), twin, gauges, free, **chosen)


def gradient(function, at):
    """Central differences, steps of a hundred-thousandth of each value."""
    steps = np.diag(1e-5 * np.maximum(np.abs(at), 1e-3))
    return np.array([(function(at + h) - function(at - h)) / (2.0 * h.sum()) for h in steps])


def values_of(likelihood, free=STANDING, seed=1):
    """The free values given, and extras near the medians of their priors."""
    rng = np.random.default_rng(seed)
    priors = likelihood.default_priors()
    return np.concatenate([free, [float(priors[name].value(0.3 * rng.normal())) for name in likelihood.extras]])


def check_gradient(likelihood, values, because="central differences of steps 1e-5 err by about 1e-9"):
    payoff, slopes = likelihood.payoff_and_gradient(values)
    exact = gradient(likelihood.payoff, values)
    assert payoff == pytest.approx(likelihood.payoff(values), rel=1e-11), "two compiled runs differ by rounding"
    size = np.abs(exact * np.maximum(np.abs(values), 1e-3)).max()
    scale = np.maximum(np.abs(values), 1e-3)
    assert_close(slopes * scale, exact * scale, rtol=1e-6, atol=1e-6 * size, because=because)


# --- what is exactly known


def test_the_payoff_is_the_log_likelihood_of_the_closed_form(twin):
    noise = {"firms": 0.1, "staff": NormalNoise(2000.0), "revenue": StudentT(0.2)}
    found = of_park(twin, noise=noise)
    assert found.names == (*FREE, "factor of revenue")
    values = np.append(STANDING, 3.7)
    exact = true_series(twin["firms"].years)
    logs = np.log(twin["revenue"].values)
    wanted = -stats.lognorm(0.1, scale=exact["firms"]).logpdf(twin["firms"].values).sum()
    wanted -= stats.norm(exact["staff"], 2000.0).logpdf(twin["staff"].values).sum()
    wanted -= (stats.t(4.0, np.log(exact["revenue"]), 0.2).logpdf(logs) - logs).sum()
    assert found.payoff(values) == pytest.approx(wanted, rel=1e-6), "Runge-Kutta at quarters of a year errs by 1e-7"
    predicted = found.outcome(values)
    for name, true in exact.items():
        assert_close(predicted[name].predicted, true, rtol=1e-6, because="Runge-Kutta at quarters of a year")
        assert_close(predicted[name].observed, twin[name].values, rtol=0.0, because="as in the table")


def test_a_solved_factor_needs_no_unknown(twin):
    found = of_park(twin, noise=dict.fromkeys(GAUGES.gauges, 0.1))
    assert found.names == FREE and found.solved("revenue") and not found.solved("firms")
    logs = np.log(twin["revenue"].values / true_series(twin["revenue"].years)["revenue"])
    assert found.factor("revenue", STANDING) == pytest.approx(3.7 * np.exp(logs.mean()), rel=1e-6)
    assert found.factor("firms", STANDING) == 1.0


def test_missing_years_and_gaps_are_a_matter_of_course(tmp_path):
    rows = ("2001,firms,30", "2002,firms,", "2009,firms,200", "2003,staff,9000", "2004,staff,11000")
    dataset = read_dataset(write_rows(tmp_path / "park.csv", *rows))
    gauges = Measurement({"firms": Level("firms"), "staff": Level("employees")})
    found = of_park(dataset, gauges, noise={"firms": AutoRegressive(0.1, 0.5), "staff": 0.1})
    assert [len(one.years) for one in found.outcome(STANDING).values()] == [2, 2]
    check_gradient(found, STANDING)


def test_known_errors_of_figures_are_taken_in():
    """A figure with an error of its own counts less; one without has the noise's scale alone."""
    import pandas as pd

    frame = pd.DataFrame({"region": "made", "indicator": "firms", "unit": "firms", "source": "made"}, index=range(3))
    frame = frame.assign(year=[2001, 2003, 2005], value=[40.0, 60.0, 90.0], error=[4.0, None, 30.0])
    gauges = Measurement({"firms": Level("firms")})
    found = of_park(dataset_from(frame), gauges, noise={"firms": 0.1})
    predicted = found.outcome(STANDING)["firms"].predicted
    widths = np.hypot(0.1, [4.0 / 40.0, 0.0, 30.0 / 90.0])
    exact = stats.lognorm(widths, scale=predicted).logpdf([40.0, 60.0, 90.0])
    assert_close(found.outcome(STANDING)["firms"].judged.pointwise, exact, rtol=1e-12, because="rounding")
    alone = of_park(dataset_from(frame.assign(error=3.0)), gauges, noise={"firms": NormalNoise(0.0)})
    assert alone.payoff(STANDING) == pytest.approx(-stats.norm(predicted, 3.0).logpdf([40.0, 60.0, 90.0]).sum())
    with pytest.raises(DataError, match="noise of scale 0, but not all its figures have a standard error"):
        of_park(dataset_from(frame), gauges, noise={"firms": 0.0})


def test_a_level_shift_multiplies_what_follows(twin):
    gauges = replace(GAUGES, shifts={"firms": [Shift(2011)], "staff": [Shift(2005, factor=2.0)]})
    found, plain = of_park(twin, gauges, noise=dict.fromkeys(GAUGES.gauges, 0.1)), of_park(twin)
    assert found.names == (*FREE, "shift of firms from 2011")
    moved = found.outcome(np.append(STANDING, 0.5))
    still = plain.outcome(np.append(STANDING, [0.1] * 3))
    late = np.where(YEARS >= 2011, np.exp(0.5), 1.0)
    assert_close(moved["firms"].predicted, late * still["firms"].predicted, rtol=1e-12, because="the same run")
    twice = np.where(YEARS >= 2005, 2.0, 1.0)
    assert_close(moved["staff"].predicted, twice * still["staff"].predicted, rtol=1e-12, because="the same run")
    check_gradient(found, np.append(STANDING, 0.2))


def test_moments_between_steps_lie_on_the_straight_line():
    horizon = sd.Horizon(2000.0, 2003.0, 0.5, 1.0)
    steps = Steps(np.array([2000.0, 2000.1, 2001.5, 2002.75, 2003.0]), horizon)
    assert_close(steps.times, [2000.0, 2000.5, 2001.5, 2002.5, 2003.0], rtol=0.0, because="steps around them")
    line = steps.between(np.column_stack([steps.times, 2.0 * steps.times]))
    assert_close(line[:, 0], steps.moments, rtol=1e-14, because="a straight line is met everywhere")
    assert_close(line[:, 1], 2.0 * steps.moments, rtol=1e-14, because="in every column")
    on_steps = Steps(np.array([2000.0, 2001.0]), horizon)
    np.testing.assert_array_equal(on_steps.between(np.eye(2)), np.eye(2))


# --- gradients


NOISES = {
    "unknown log-normal": {},
    "normal": {"firms": NormalNoise(), "staff": NormalNoise(relative=True), "revenue": NormalNoise()},
    "student": dict.fromkeys(GAUGES.gauges, StudentT()),
    "autoregressive": {"firms": AutoRegressive(), "staff": AutoRegressive(log=False), "revenue": AutoRegressive()},
    "plain autoregressive": {"revenue": AutoRegressive(log=False)},
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_gradients_agree_with_differences(twin, noise):
    found = of_park(twin, noise=noise)
    check_gradient(found, values_of(found, free=STANDING * [1.05, 0.9, 1.2, 1.0]))


def test_gradients_of_counts(twin):
    series = dict(twin.series)
    series["firms"] = replace(twin["firms"], values=np.round(twin["firms"].values))
    series["revenue"] = replace(twin["revenue"], values=np.round(twin["revenue"].values / 1e3))
    counted = replace(twin, series=series)
    for noise in (Poisson(), NegativeBinomial()):
        found = of_park(counted, noise={"firms": noise, "revenue": noise})
        assert ("factor of revenue" in found.names) == isinstance(noise, NegativeBinomial)
        check_gradient(found, values_of(found))


def check_all_gauges(model, gauges, free, values, **chosen):
    """Gradient and sensitivities with a figure every third year, of likelihoods as chosen."""
    years = np.arange(2004, 2022, 3)
    made = dict(zip(years.tolist(), np.exp(np.random.default_rng(2).normal(size=len(years))), strict=True))
    dataset = table(**dict.fromkeys(gauges.gauges, ("made", made)))
    found = Likelihood(model, dataset, gauges, free, **chosen)
    values = values_of(found, free=np.array(values))
    check_gradient(found, values)
    jacobians, held = found.sensitivities(values), found.outcome(values)
    for column, step in enumerate(np.diag(1e-5 * values)):
        after, before = found.outcome(values + step), found.outcome(values - step)
        for name, jacobian in jacobians.items():
            ends = [one[name].predicted / one[name].judged.factor for one in (before, after)]
            exact = held[name].judged.factor * (ends[1] - ends[0]) / (2.0 * step[column])
            size = np.abs(jacobian * values).max()
            because = f"central differences of {name}"
            assert_close(
                jacobian[:, column] * values[column], exact * values[column], 1e-5, 1e-6 * size, because=because
            )


def test_gradients_through_all_gauges():
    gauges = {
        "level": Level("employees", at=0.3),
        "rate": Rate("growth", scale=True),
        "lagged": Lagged("growth", lag=1.5, scale=True),
        "cumulated": Cumulated("growth", since=2001.0, scale=True),
        "survey": Survey("occupancy", low=1.0, high=5.0),
        "growth": Growth("firms"),
        "index": Index("employees", base_year=2010.0),
        "share": Share("firms", ["firms", "land"]),
    }
    shifts = {"level": [Shift(2011.0)], "rate": [Shift(2015.0, factor=2.0), Shift(2018.0)]}
    noise = {"growth": NormalNoise(), "survey": NormalNoise(), "lagged": StudentT(), "level": AutoRegressive()}
    judges = (
        Bound("firms", at_most=400.0, tolerance=100.0),
        Peak("growth", year=2012.0, error=3.0),
        GrowthRate("employees", first=2004.0, last=2010.0, value=0.2, error=0.05),
    )
    chosen = {"noise": noise, "judges": judges, "scenario": sd.Scenario("s", {"occupancy": 0.6})}
    free = ("growth rate", "land", "occupancy", "firms")  # the last is a stock: its initial value
    check_all_gauges(park(), Measurement(gauges, shifts=shifts), free, [0.33, 560.0, 0.7, 37.0], **chosen)


@pytest.mark.slow
def test_gradients_of_the_core_model():
    """The values lie away from the knots of its lookups."""
    gauges = {
        "people": Level("talent pool"),
        "made": Rate("conversion", scale=True),
        "trust": Survey("trust", low=1.0, high=5.0),
        "growth": Growth("member firms"),
        "base": Share("shared knowledge base", ["shared knowledge base", "private knowledge"]),
    }
    noise = {"growth": NormalNoise(), "trust": NormalNoise(), "made": StudentT(), "people": AutoRegressive()}
    judges = (Bound("trust", at_most=0.5, tolerance=0.1),)
    free = ("obsolescence rate", "initial talent pool", "entry potential", "talent flow", "trust")
    values = [0.17, 1100.0, 80.0, 0.43, 0.52]
    model = feature("collective_learning")
    check_all_gauges(model, Measurement(gauges), free, values, noise=noise, judges=judges, horizon=(1980.0, 2022.0))


def test_only_extras_may_be_unknown(twin):
    found = of_park(twin, free=())
    assert found.names == ("noise of firms", "noise of staff", "noise of revenue")
    check_gradient(found, np.array([0.3, 0.4, 0.5]))


# --- information


def test_information_is_the_hessian_for_a_linear_case():
    """Figures met by a mean that is linear in its only unknown, with known normal noise: the payoff is a parabola."""
    model = tiny("slope = 2 ~ thing/Year\nx = INTEG(slope, 1) ~ thing", check_units=False)
    rng = np.random.default_rng(0)
    dataset = table(x=("thing", {year: 1.0 + 2.0 * year + rng.normal() for year in range(1, 9)}))
    chosen = {"measurement": Measurement({"x": Level("x")}), "free": ["slope"]}
    found = Likelihood(model, dataset, **chosen, noise={"x": NormalNoise(0.5)})
    exact = np.sum(np.arange(1.0, 9.0) ** 2) / 0.25
    assert found.information(np.array([2.0]))[0, 0] == pytest.approx(exact, rel=1e-9)
    steps = [found.payoff_and_gradient(np.array([at]))[1][0] for at in (1.99, 2.01)]
    assert (steps[1] - steps[0]) / 0.02 == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("noise", [NormalNoise(), AutoRegressive(log=False), NormalNoise(relative=True)], ids=repr)
def test_information_is_the_mean_hessian_of_replicates(noise):
    """The Hessian of a linear case, over 1,000 replicates; an entry's standard error is a few per cent."""
    model = tiny("slope = 2 ~ thing/Year\nx = INTEG(slope, 10) ~ thing", check_units=False)
    dataset = table(x=("thing", {year: 10.0 + 2.1 * year for year in (1, 2, 4, 5, 8, 9)}))
    found = Likelihood(model, dataset, Measurement({"x": Level("x")}), ["slope"], noise={"x": noise})
    values = np.array([2.0, 0.1 if noise.relative else 1.0, 0.5][: len(found.names)])
    total = np.zeros((len(values), len(values)))
    judge, one = noise.judge, found.series["x"]
    predicted = found.outcome(values)["x"].predicted
    times = predicted - 10.0
    rng = np.random.default_rng(1)
    count = 1_000
    for _ in range(count):
        figures = noise.draw(one.years, predicted, values[1:], rng)

        def slopes(at, figures=figures):
            judged = judge(one.years, figures, 10.0 + at[0] / 2.0 * times, at[1:])
            return np.append(judged.slope @ times / 2.0, judged.value_slopes)

        steps = np.diag(1e-4 * values)
        total += np.array([(slopes(values + h) - slopes(values - h)) / (2.0 * h.sum()) for h in steps])
    exact = found.information(values)
    size = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert_close(total / count / size, exact / size, 0.0, 0.15, because="1,000 replicates")


def test_information_loses_what_a_solved_factor_takes_up(twin):
    gauges = Measurement({"revenue": Level("sales", scale=True)})
    found = of_park(twin, gauges, noise={"revenue": 0.1})
    information = found.information(STANDING)
    assert abs(information[3, 3]) < 1e-9, "occupancy only multiplies the sales"
    assert information[0, 0] > 1.0


# --- copies, draws, predictions


def test_draws_are_of_the_noise(twin):
    found = of_park(twin, noise={"firms": 0.05, "staff": NormalNoise(100.0), "revenue": 0.2})
    drawn = [found.draw(STANDING, seed) for seed in range(300)]
    logs = np.array([np.log(one["firms"].values / found.outcome(STANDING)["firms"].predicted) for one in drawn])
    assert logs.std() == pytest.approx(0.05, rel=0.06)
    np.testing.assert_array_equal(found.draw(STANDING, 7)["staff"].values, drawn[7]["staff"].values)
    again = found.with_data(drawn[0])
    assert again.names == found.names and again.payoff(STANDING) != found.payoff(STANDING)


def test_between_keeps_the_years_asked_for(twin):
    shifts = {"firms": [Shift(2011)], "staff": [Shift(2011, factor=2.0)]}
    found = of_park(twin, replace(GAUGES, shifts=shifts), noise=dict.fromkeys(GAUGES.gauges, 0.1))
    early = found.between(last=2010)
    assert early.series["firms"].years[-1] == 2010 and early.names == FREE
    late = found.between(first=2012)
    assert late.names == FREE, "an unknown shift without figures before it is left out"
    values = np.append(STANDING, 0.0)
    known = found.outcome(values)["staff"].predicted[YEARS >= 2012]
    assert_close(late.outcome(STANDING)["staff"].predicted, known, rtol=1e-12, because="a known shift holds on")
    parts = early.payoff(STANDING) + late.payoff(STANDING)
    scaled = of_park(twin, Measurement({"firms": Level("firms")}), noise={"firms": 0.1})
    assert scaled.between(last=2010).payoff(STANDING) + scaled.between(first=2011).payoff(STANDING) == pytest.approx(
        scaled.payoff(STANDING)
    )
    assert np.isfinite(parts)


def test_between_leaves_out_what_has_no_figure_then(tmp_path):
    rows = ("2001,firms,30", "2003,firms,60", "2015,staff,90000", "2017,staff,99000")
    dataset = read_dataset(write_rows(tmp_path / "park.csv", *rows))
    gauges = Measurement({"firms": Level("firms"), "staff": Level("employees")})
    found = of_park(dataset, gauges, noise={"firms": 0.1, "staff": 0.2})
    assert set(found.between(last=2010).series) == {"firms"}
    with pytest.raises(DataError, match=r"park\.csv has no measured figure from 2030 to inf"):
        found.between(first=2030)


def test_predictions_beyond_the_data(twin):
    gauges = replace(GAUGES, shifts={"firms": [Shift(2011, factor=3.0)]})
    found = of_park(twin, gauges, noise=dict.fromkeys(GAUGES.gauges, 0.1))
    there = found.predictor(YEARS)(STANDING)
    for name, outcome in found.outcome(STANDING).items():
        assert_close(there[name], outcome.predicted, rtol=1e-12, because="the same run, factor and shifts")
    far = found.predictor([2030.0, 2040.5])(STANDING)
    land = TRUTH["land"]
    assert far["firms"].shape == (2,) and 2.9 * land < far["firms"][1] < 3.0 * land
    with pytest.raises(DataError, match="need the model at 1995, before the run's start"):
        found.predictor([1995.0])


def test_predictions_for_as_many_moments_as_there_are_in_the_data():
    """Rows were once taken from the grid of the data when another grid happened to be as long."""
    model = tiny("x = INTEG(1, 0) ~ thing\ny = 2*x ~ thing", check_units=False)
    dataset = table(x=("thing", {1: 1.0, 3: 3.1}), y=("thing", {2: 4.0, 4: 8.1}))
    gauges = Measurement({"x": Level("x"), "y": Level("y")})
    judge = Bound("y", at_most=100.0, tolerance=1.0, years=(6.0, 7.0))
    found = Likelihood(model, dataset, gauges, [], noise={"x": 0.1, "y": 0.1}, judges=[judge])
    for count in range(1, 30):
        years = np.linspace(1.0, 9.0, count)
        assert_close(found.predictor(years)(np.zeros(0))["x"], years, rtol=1e-6, because="moments go by millionths")


def test_a_likelihood_travels(twin):
    found = of_park(twin)
    values = values_of(found)
    one = found.payoff_and_gradient(values)
    other = pickle.loads(pickle.dumps(found)).payoff_and_gradient(values)
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1], other[1])
    digests = {found.digest, pickle.loads(pickle.dumps(found)).digest, of_park(twin).digest}
    assert len(digests) == 1
    others = [
        of_park(twin, noise={"firms": 0.1}), of_park(twin, free=FREE[:2]), of_park(twin, region="other"),
        of_park(twin, horizon=(2000.0, 2026.0)), of_park(twin, step=0.5), found.between(last=2020),
        of_park(twin, scenario=sd.Scenario("s", {"land": 500.0})),
    ]  # fmt: skip
    assert len(digests | {one.digest for one in others}) == 8


def test_unknown_factors_begin_at_the_level_of_the_figures(twin):
    found = of_park(twin, noise={"revenue": StudentT()})
    own = sd.simulate(park(), save=[float(year) for year in YEARS])["sales"]
    prior = found.default_priors()["factor of revenue"]
    assert prior.median == pytest.approx(twin["revenue"].values.mean() / own.mean(), rel=1e-4)
    shifted = of_park(twin, replace(GAUGES, shifts={"firms": [Shift(2011)]}))
    assert shifted.default_priors()["shift of firms from 2011"].sd == 0.3


def test_units_of_values(twin):
    found = of_park(twin, noise={"firms": NormalNoise(), "revenue": NegativeBinomial(fractional=True)})
    units = {name: found.unit(name) for name in found.names}
    assert units["land"] == "firms" and units["noise of firms"] == "unit" and units["noise of staff"] == "dmnl"
    assert units["dispersion of revenue"] == "dmnl"
    assert found.noise_names == ("noise of firms", "noise of staff", "dispersion of revenue")
    assert found.noise_values("staff", values_of(found)).shape == (1,)
    assert found.noise_values("staff", np.ones((3, len(found.names)))).shape == (3, 1)


# --- what is refused


def refused(error, told, *args, **chosen):
    with pytest.raises(error) as raised:
        Likelihood(*args, **chosen)
    assert told in str(raised.value) and "\n" not in str(raised.value)


def test_figures_that_tell_nothing(tmp_path):
    model, firms = park(), Measurement({"firms": Level("firms")})
    none = read_dataset(write_rows(tmp_path / "a.csv", "2001,firms,", "2002,staff,3"))
    refused(DataError, "a.csv has no figure of 'firms'; drop its gauge or widen the years", model, none, firms, FREE)
    single = read_dataset(write_rows(tmp_path / "b.csv", "2001,firms,30"))
    refused(DataError, "b.csv: 'firms' has one figure, which cannot tell its own noise", model, single, firms, FREE)
    assert Likelihood(model, single, firms, FREE, noise={"firms": 0.1}).payoff(STANDING)
    constant = read_dataset(write_rows(tmp_path / "c.csv", *(f"{year},firms,30" for year in range(2001, 2006))))
    refused(DataError, "c.csv: 'firms' is 30 in all 5 years", model, constant, firms, FREE)
    scaled = Measurement({"firms": Level("firms", scale=True)})
    told = "b.csv line 2: the only figure of 'firms' is used up by the unknown factor of its gauge"
    refused(DataError, told, model, single, scaled, FREE, noise={"firms": 0.1})
    zero = read_dataset(write_rows(tmp_path / "z.csv", "2001,firms,0", "2002,firms,0"))
    told = "z.csv: 'firms' is zero throughout, which tells no factor of its gauge"
    refused(DataError, told, model, zero, scaled, FREE, noise={"firms": Poisson()})
    wrong = read_dataset(write_rows(tmp_path / "d.csv", "2001,firms,30", "2002,firms,0"))
    refused(DataError, "d.csv: 'firms' has the figure 0, but this noise is relative", model, wrong, firms, FREE)


def test_names_that_do_not_fit(twin):
    def told_of_park(error, told, gauges=GAUGES, free=FREE, **chosen):
        refused(error, told, park(), twin, gauges, free, **chosen)

    told_of_park(FitError, "a parameter is free twice (land, Land); name each once", free=["land", "Land"])
    told_of_park(ModelError, "did you mean 'land'", free=["lands"])
    told_of_park(FitError, "'firm', which is not measured (did you mean 'firms'?)", noise={"firm": 0.1})
    told_of_park(FitError, "the noise of 'firms' is 'wide'; expected a number or a noise", noise={"firms": "wide"})
    moving = sd.Scenario("boom", {"land": sd.TimeSeries([2000, 2010], [500.0, 600.0])})
    told_of_park(FitError, "scenario 'boom' makes 'land' a function of time", free=["land"], scenario=moving)
    told_of_park(DataError, "has no indicator 'firm'", gauges=Measurement({"firm": Level("firms")}))
    told_of_park(ModelError, "did you mean 'employees'", gauges=Measurement({"staff": Level("employee")}))


def test_years_outside_the_run(twin):
    told = "park.csv line 2: year 2000 lies before the run's start (2001); start the horizon earlier or drop the row"
    refused(DataError, told, park(), twin, GAUGES, FREE, horizon=(2001.0, 2025.0))
    told = "lies after the run's end (2020); extend the horizon or drop the row"
    refused(DataError, told, park(), twin, GAUGES, FREE, horizon=(2000.0, 2020.0))
    lagged = Measurement({"firms": Lagged("growth", lag=3.0)})
    refused(DataError, "year 2000 needs the model at 1996, which lies before", park(), twin, lagged, FREE)


UNITS = """
births = 3 ~ firm/Year
firms = INTEG(births, 10) ~ firm
staff = firms*per firm ~ person
per firm = 9 ~ person/firm
openness = 0.5 ~ dmnl
"""


@pytest.mark.parametrize(
    ("gauge", "unit", "told"),
    [
        (
            Level("staff"),
            "firms",
            "'x' is in 'firms', but its gauge reads 'staff' in 'person'; choose another variable",
        ),
        (Level("staff"), "thousand persons", "but its gauge reads 'staff' in 'person'; multiply the figures by 1000"),
        (Level("openness"), "percent of firms", "multiply the figures by 0.01 or give the gauge a factor"),
        (Level("staff"), "percent", "choose another variable or give the gauge a factor"),
        (Rate("births"), "persons", "but its gauge reads 'births' in 'firm/Year'"),
        (Growth("firms"), "percent", "but its gauge gives a growth as a fraction; multiply the figures by 0.01"),
        (Share("firms", "firms"), "%", "but its gauge gives a share as a fraction; multiply the figures by 0.01"),
        (Level("staff"), "persons", ""),
        (Level("staff"), "person (year-end)", ""),
        (Level("staff"), "number", ""),
        (Level("staff"), "heads", ""),
        (Level("staff"), "billion TWD (current)", ""),
        (Level("staff", scale=True), "thousand persons", ""),
        (Rate("births"), "firms", ""),
        (Level("births"), "firms", ""),
        (Level("births"), "firms/Year", ""),
        (Level("openness"), "1", ""),
        (Index("staff", base_year=1.0), "percent", ""),
        (Survey("openness", low=0.0, high=100.0), "percent of respondents", ""),
    ],
)
def test_units_that_contradict_one_another(gauge, unit, told):
    model = tiny(UNITS)
    dataset = table(x=(unit, {1: 1.0, 2: 2.0}))
    if told:
        refused(DataError, told, model, dataset, Measurement({"x": gauge}), [])
    else:
        Likelihood(model, dataset, Measurement({"x": gauge}), [])


def test_places_where_the_model_cannot_be_run(twin):
    model = tiny("r = 0.1 ~ 1/Year\nx = INTEG(r*x*x, 1) ~ thing", check_units=False, end="20")
    dataset = table(x=("thing", {1: 1.0, 9: 3.0}))
    found = Likelihood(model, dataset, Measurement({"x": Level("x")}), ["r"], noise={"x": 0.1})
    assert np.isfinite(found.payoff(np.array([0.01])))
    for call in (found.payoff, found.payoff_and_gradient, found.information):
        with pytest.raises(SimulationError):
            call(np.array([5.0]))
    dataset = table(x=("1", {1: 1.0, 9: 3.0}))
    falling = Likelihood(model, dataset, Measurement({"x": Growth("x")}), ["r"], noise={"x": 0.1})
    with pytest.raises(SimulationError, match=r"made: the model gives -0\.\d+ for 'x' in 1, which needs a value"):
        falling.payoff(np.array([-0.1]))
    normal = Likelihood(model, dataset, Measurement({"x": Growth("x")}), ["r"], noise={"x": NormalNoise(0.1)})
    assert np.isfinite(normal.payoff(np.array([-0.1])))


@pytest.mark.parametrize("noise", [0.1, NormalNoise(0.1), NormalNoise(0.1, relative=True), StudentT(0.1), Poisson()])
def test_predictions_without_measure_are_failed_runs_not_warnings(noise):
    """Too large or too small to be squared or divided by: no warning, no NaN, an error that a search expects."""
    model = tiny("size = 1 ~ thing\nrest = 1 ~ thing\nx = size*rest ~ thing", check_units=False)
    gauges = Measurement({"x": Level("x", scale=True)})
    found = Likelihood(model, table(x=("thing", {1: 1.0, 2: 3.0})), gauges, ["size", "rest"], noise={"x": noise})
    for size in (1e-320, 1e-200, 1e200, 1e308):
        values = np.array([size, 1.0, *([1.0] * len(found.extras))])
        try:
            payoff, slopes = found.payoff_and_gradient(values)
        except SimulationError:
            continue
        assert np.isfinite(payoff) and np.isfinite(slopes).all()


def test_a_factor_below_zero_is_a_failed_run():
    model = tiny("start = 5 ~ thing\nx = INTEG(-1, start) ~ thing", check_units=False)
    gauges = Measurement({"x": Level("x", scale=True)})
    found = Likelihood(model, table(x=("thing", {1: 2.0, 3: 1.0})), gauges, ["start"], noise={"x": NormalNoise(0.1)})
    assert found.factor("x", np.array([5.0])) > 0.0
    with pytest.raises(SimulationError, match="no factor above zero brings what the model gives for 'x'"):
        found.payoff(np.array([-5.0]))


def test_what_a_prediction_cannot_be_asked_is_one_error(twin):
    """Each ended in a traceback of NumPy, or in no number at all."""
    found = of_park(twin, noise=dict.fromkeys(GAUGES.gauges, 0.1))
    for years in ([], {}, [float("nan")], {"firms": [2001.0], "staff": []}):
        with pytest.raises(DataError, match="the years to predict should be numbers, at least one for each indicator"):
            found.predictor(years)
    with pytest.raises(DataError, match=r"there is no indicator 'frims' \(did you mean 'firms'\?\) to predict"):
        found.predictor({"frims": [2001.0]})
    for ask in (found.predictor([2001.0]), found.payoff, found.information):
        with pytest.raises(FitError, match=rf"2 value\(s\) for {len(FREE)}: "):
            ask(STANDING[:2])
