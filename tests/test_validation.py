"""Hold-out of years and of regions: no figure leaks, scores are those of their definitions, words tell who won."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from forecasting import FREE, PRIORS, VALUES, Found, figures, firms_at, fitted, objective_of, park_likelihood
from scipy import stats
from support import assert_close

import calibration as cal
from calibration.baselines import naive_forecasts
from calibration.dataset import dataset_from
from calibration.forecasts import SeriesForecast, predict
from calibration.noise import AutoRegressive, LogNormal
from calibration.scores import coverage, ranks
from calibration.skill import _densities
from calibration.transfer import transfer_factors, transfer_values
from calibration.validation import hold_out, validate
from calibration.validation_words import overall, series_sentences
from sd_cluster.errors import FitError

YEARS = np.arange(2000.0, 2026.0)
LAST = 2014.0


@pytest.fixture(scope="module")
def whole() -> cal.Likelihood:
    """A park with noise of 5 %."""
    return park_likelihood(YEARS, noise=0.05, names=("firms", "revenue"), seed=1)


@pytest.fixture(scope="module")
def validated(whole):
    """Its fit up to 2014, validated on the rest."""
    split = hold_out(whole, last=LAST)
    return validate(fitted(objective_of(*split.training)), split, draws=400, seed=2)


def test_a_fit_of_the_house_is_taken_as_it_is(whole):
    split = hold_out(whole, last=LAST)
    fit = cal.minimise(objective_of(*split.training), starts=2, seed=1, workers=1, progress=False)
    assert validate(fit, split, draws=30)["firms"].model.mape < 10.0


def test_figures_are_parted_at_the_last_year(whole):
    split = hold_out(whole, last=LAST)
    assert split.training[0].series["firms"].years[-1] == LAST and split.held == (whole,)


def test_a_region_is_held_out_whole_or_from_a_year_on():
    model = park_likelihood(YEARS, seed=None).model
    parts = [park_likelihood(YEARS, noise=0.05, seed=k, region=name, model=model) for k, name in enumerate("abc")]
    away = hold_out(parts, region="b")
    assert [one.region for one in away.training] == ["a", "c"] and [one.region for one in away.held] == ["b"]
    later = hold_out(parts, region="b", last=LAST)
    assert [one.series["firms"].years[-1] for one in later.training] == [2025.0, LAST, 2025.0]
    assert later.held == (parts[1],)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "say what to hold out"),
        ({"region": "prk"}, "no region 'prk' to hold out, did you mean 'park'|no region 'prk'"),
        ({"region": "park"}, "is the only region"),
        ({"last": 2030.0}, "no figure comes after 2030"),
    ],
)
def test_what_cannot_be_held_out_is_told(whole, settings, text):
    with pytest.raises(FitError, match=text):
        hold_out(whole, **settings)


def test_a_fit_that_saw_the_figures_is_refused(whole):
    """A validation on figures the fit has seen would flatter the model."""
    split = hold_out(whole, last=LAST)
    with pytest.raises(FitError, match=r"the fit saw other figures of 'firms' in park .*its last is of 2025"):
        validate(Found(objective_of(whole), np.zeros(3)), split)
    with pytest.raises(FitError, match="without its objective"):
        validate(Found(None, np.zeros(3)), split)
    with pytest.raises(FitError, match="levels="):
        validate(Found(objective_of(*split.training), np.zeros(3)), split, levels=(80,))


def test_held_out_figures_do_not_reach_the_forecast(whole):
    """Changing what is held out changes scores, but neither draws nor bands nor naive forecasts."""
    table = whole.dataset.frame()
    table.loc[table["year"] > LAST, "value"] *= 3.0
    other = whole.with_data(dataset_from(table))
    made = []
    for one in (whole, other):
        split = hold_out(one, last=LAST)
        objective = objective_of(*split.training)
        made.append(
            validate(Found(objective, objective.place(VALUES)), split, source=np.tile(objective.place(VALUES), (50, 1)))
        )
    for first, second in zip(made[0].series, made[1].series, strict=True):
        assert np.array_equal(first.forecast.figures, second.forecast.figures)
        assert all(
            np.array_equal(a.point, b.point, equal_nan=True) for a, b in zip(first.naive, second.naive, strict=True)
        )
        assert second.model.rmse > first.model.rmse


def test_a_right_model_forecasts_within_its_noise_and_beats_naive_forecasts(validated):
    firms = validated["firms"]
    assert_close(
        firms.forecast.point, firms_at(firms.years), 0.1, because="15 figures of 5 % noise hardly tell the ceiling"
    )
    assert firms.model.mape < 7.0, "5 % noise is 4 % of mean error"
    assert firms.rivals[-1].error > 2.0 * firms.model.error
    assert {one.method for one in firms.scores} == {
        "model", "last value", "drift", "logistic curve", "exponential smoothing"
    }  # fmt: skip
    assert firms.model.inside[1] >= 9, "of 11 figures in the 95 % band"


def test_scores_are_those_of_their_definitions(validated):
    firms = validated["firms"]
    point, observed = np.median(firms.forecast.figures, axis=0), firms.observed
    assert_close(firms.model.mape, 100 * np.mean(np.abs(point / observed - 1)), 1e-12, because="definition")
    assert_close(firms.model.rmse, np.sqrt(np.mean((point - observed) ** 2)), 1e-12, because="definition")
    naive = np.mean(np.abs(np.diff(firms.past)))
    assert_close(firms.model.mase, np.mean(np.abs(point - observed)) / naive, 1e-12, because="yearly figures")
    low, high = np.quantile(firms.forecast.figures, [0.1, 0.9], axis=0)
    assert firms.model.inside[0] == np.sum((observed >= low) & (observed <= high))
    density = stats.norm.logpdf(np.log(observed / firms.forecast.model), 0.0, 0.05) - np.log(observed)
    exact = np.mean(np.log(np.mean(np.exp(density), axis=0)))
    assert_close(firms.model.log_score, exact, 1e-10, because="log-normal density averaged over draws")
    last, drift, *_ = naive_forecasts(firms.past_years, firms.past, firms.years)
    assert_close(firms.scores[1].rmse, np.sqrt(np.mean((last.point - observed) ** 2)), 1e-12, because="last value")
    assert_close(firms.scores[2].log_score, np.mean(drift.log_density(observed)), 1e-12, because="t density")


def test_the_table_has_a_row_for_each_series_and_method(validated):
    table = validated.frame()
    assert len(table) == 10 and table["figures"].eq(11).all()
    assert {"mape", "rmse", "mase", "crps", "log_score", "inside_80", "inside_95", "note"} <= set(table.columns)
    text = str(validated)
    assert "exponential smoothing" in text and "it had not seen" in text


@pytest.mark.parametrize(("log", "errors"), [(True, False), (False, False), (True, True)])
def test_densities_of_remembering_noise_are_those_of_pairs(log, errors):
    rng = np.random.default_rng(3)
    noise = AutoRegressive(log=log)
    ahead, before = np.array([2003.0, 2005.0]), (np.array([1999.0, 2001.0]), np.array([9.0, 11.0]))
    model, anchor = 12.0 + rng.random((5, 2)), 10.0 + rng.random(5)
    values = np.column_stack([0.2 + rng.random(5), 0.3 + 0.5 * rng.random(5)])
    forecast = SeriesForecast("firms", "firms", ahead, model, model, anchor)
    wrong = np.array([np.nan, 1.5]) if errors else None
    observed = np.array([13.0, 12.0])
    found = _densities(noise, forecast, observed, wrong, values, before)
    alone = _densities(noise, forecast, observed, wrong, values, (np.empty(0), np.empty(0)))
    for row in range(5):
        for k in range(2):
            known = None if wrong is None else np.array([np.nan, wrong[k]])
            pair = noise.judge(
                np.array([2001.0, ahead[k]]), np.array([11.0, observed[k]]), np.array([anchor[row], model[row, k]]),
                values[row], known,
            )  # fmt: skip
            assert_close(found[row, k], pair.pointwise[1], 1e-10, because="the second of two figures given the first")
            one = noise.judge(
                ahead[k : k + 1], observed[k : k + 1], model[row, k : k + 1], values[row],
                None if wrong is None else wrong[k : k + 1],
            )  # fmt: skip
            assert_close(alone[row, k], one.pointwise[0], 1e-10, because="a figure by itself")


def test_bands_of_many_parks_cover_what_they_promise():
    """Coverage over parks, since years of one park go together."""
    model = park_likelihood(YEARS, seed=None).model
    inside, count, places = np.zeros(2), 0, []
    for seed in range(25):
        one = park_likelihood(YEARS, noise=0.05, seed=seed, model=model, free=("land", "initial firms"))
        best = fitted(objective_of(*hold_out(one, last=2012.0).training))
        ahead = YEARS[YEARS > 2012.0]
        draws = predict(best.objective, best, ahead, draws=100, seed=seed)["firms"].figures
        observed = one.series["firms"].values[-len(ahead) :]
        inside += [coverage(draws, observed, level)[0] for level in (0.8, 0.95)]
        count += len(ahead)
        places.append(ranks(draws, observed, seed))
    assert_close(inside / count, [0.8, 0.95], 0.0, 0.08, because="25 parks of 13 related years each")
    assert stats.kstest(np.concatenate(places), "uniform").statistic < 0.15


def test_words_say_who_lost_by_how_much_and_why(validated):
    firms = validated["firms"]
    bad = replace(
        firms, scores=(replace(firms.model, mape=30.0, inside=(1, 2)), *firms.scores[1:]),
        forecast=SeriesForecast(
            "firms", "firms", firms.years, 1.3 * firms.forecast.model, 1.3 * firms.forecast.figures,
            1.2 * firms.forecast.anchor,
        ),
    )  # fmt: skip
    text = " ".join(series_sentences(bad, LAST))
    assert "LOSES to" in text and "the model is off by 30.0 %" in text
    assert "too sure of itself" in text
    assert "a forecast above the figures (+2" in text and "above the last figure known" in text
    assert "LOSES" not in " ".join(
        series_sentences(replace(firms, scores=(replace(firms.model, mape=0.1), *firms.scores[1:])), LAST)
    )
    assert "last value in 1 of 2" in overall((bad, validated["revenue"]))


def test_refused_naive_forecasts_are_told(whole):
    split = hold_out(whole, last=2002.0)
    objective = objective_of(*split.training)
    found = validate(Found(objective, objective.place(VALUES)), split, source="prior", draws=30)
    firms = found["firms"]
    assert "there is no logistic curve (it needs at least four figures" in " ".join(series_sentences(firms, 2002.0))
    row = found.frame().query("method == 'logistic curve' and indicator == 'firms'").iloc[0]
    assert np.isnan(row["mape"]) and np.isnan(row["inside_80"]) and "four figures" in row["note"]


def test_series_without_a_figure_to_train_on_are_left_out_and_told():
    table = pd.concat(
        [figures("firms", YEARS, firms_at(YEARS)), figures("staff", YEARS[-3:], np.array([1.0, 2.0, 3.0]))]
    )
    base = park_likelihood(YEARS, noise=0.05, names=("firms", "staff"), seed=None)
    split = hold_out(base.with_data(dataset_from(table)), last=LAST)
    objective = objective_of(*split.training)
    found = validate(Found(objective, objective.place(VALUES)), split, source=np.tile(objective.place(VALUES), (30, 1)))
    assert [one.indicator for one in found.series] == ["firms"] and found.left_out == ("'staff' of park",)
    assert any("for want of a figure to train on: 'staff' of park" in one for one in found.sentences)


def test_breaks_that_training_cannot_tell_are_told():
    base = park_likelihood(YEARS, noise=0.05, seed=None)
    broken = cal.Likelihood(
        base.model, base.dataset, cal.Measurement({"firms": cal.Level("firms")}, {"firms": [cal.Shift(2020.0)]}), FREE,
        noise={"firms": 0.05}, scenario=base.scenario,
    )  # fmt: skip
    split = hold_out(broken, last=LAST)
    objective = objective_of(*split.training)
    found = validate(Found(objective, objective.place(VALUES)), split, source=np.tile(objective.place(VALUES), (30, 1)))
    assert found["firms"].breaks == (2020.0,)
    assert any("'firms' breaks in 2020, by an amount no figure before tells" in one for one in found.sentences)


def family(count: int, *, scaled: bool = False, noise: object = 0.05) -> list[cal.Likelihood]:
    """Parks that differ in nothing but their noise, and their factor."""
    model = park_likelihood(YEARS, seed=None).model
    made = []
    for k in range(count):
        one = park_likelihood(YEARS, noise=noise, seed=k, region=f"r{k}", model=model, scaled=scaled)
        if scaled:
            table = one.dataset.frame()
            table["value"] *= 2.0**k
            one = one.with_data(dataset_from(table))
        made.append(one)
    return made


def test_a_region_held_out_is_forecast_from_what_the_others_share():
    parts = family(3)
    split = hold_out(parts, region="r1")
    found = validate(fitted(objective_of(*split.training)), split, draws=200, seed=1)
    firms = found["firms"]
    assert len(firms.years) == len(YEARS) and not len(firms.past)
    assert_close(firms.forecast.point, firms_at(YEARS), 0.06, because="52 figures of 5 % noise in the other two")
    assert [one.method for one in firms.naive] == ["typical region"]
    middle = np.sqrt(parts[0].series["firms"].values * parts[2].series["firms"].values)
    assert_close(firms.naive[0].point, middle, 1e-12, because="geometric mean of two")
    assert found.last is None and np.isnan(firms.model.mase)


def test_pooled_and_own_unknowns_of_a_new_region_are_drawn_anew():
    parts = family(3, noise=LogNormal())
    objective = objective_of(*parts[:2], own=("initial firms",), pooled=("land",))
    places = np.tile(objective.start, (3000, 1))
    row = {name: k for k, name in enumerate(objective.names)}
    places[:, row["spread of land"]] = objective.priors["spread of land"].place(0.5)
    places[:, row["mean of land"]] = 1.0
    places[:, row["noise of firms [r0]"]], places[:, row["noise of firms [r1]"]] = -1.0, 1.0
    values = transfer_values(objective, places, parts[2], seed=1)
    column = {name: values[:, k] for k, name in enumerate(parts[2].names)}
    land = PRIORS["land"].place(column["land"])
    assert_close([land.mean(), land.std()], [1.0, 0.5], 0.05, because="3,000 draws around the mean with the spread")
    first = PRIORS["initial firms"].place(column["initial firms"])
    assert_close([first.mean() + 1.0, first.std()], [1.0, 1.0], 0.06, because="3,000 draws of the prior")
    assert np.ptp(column["growth rate"]) == 0.0, "shared, and the same in every draw"
    assert len(np.unique(column["noise of firms"])) == 2, "that of either region"


def test_factors_of_a_new_region_come_from_the_spread_of_the_others():
    parts = family(4, scaled=True)
    objective = objective_of(*parts[:3])
    places = np.tile(objective.place(VALUES), (4000, 1))
    logs = np.log(transfer_factors(objective, places, parts[3], seed=1)["firms"])
    middle = np.median(logs) / np.log(2.0)
    assert_close(middle, 1.0, 0.0, 0.08, because="factors of 1, 2 and 4, each known to a per cent; 4,000 draws")
    low, high = np.quantile(logs, [0.25, 0.75])
    wide = np.log(2.0) * np.sqrt(4.0 / 3.0) * 2.0 * stats.norm.ppf(0.75)
    assert_close(high - low, wide, 0.08, because="spread of three, and of their mean")
    with pytest.raises(FitError, match="cannot be told for r3 from 1 other region"):
        transfer_factors(objective_of(parts[0]), np.tile(objective_of(parts[0]).start, (30, 1)), parts[3], seed=1)


def test_a_new_region_with_other_unknowns_is_refused():
    parts = family(2)
    objective = objective_of(park_likelihood(YEARS, noise=0.05, free=("land",), region="r0"))
    with pytest.raises(FitError, match="'growth rate' is free in r1, but not in r0"):
        transfer_values(objective, np.zeros((5, 1)), parts[1], seed=1)
