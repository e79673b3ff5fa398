"""Fits: a twin gives its parameters back, the same seed the same numbers, and the report tells the truth."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from twins import GAUGES, MODEL, RANGES, STAFF, TRUTH, firms_at, park, true_series, write_rows, write_twin

import calibration as cal
import sd_cluster as sd
from calibration.fit import Estimate, Fit, RegionFit, SeriesFit, Start, Verdict
from calibration.optimisation import start_points
from sd_cluster.errors import FitError

GOLDEN = Path(__file__).parent / "golden" / "report_card.txt"
PARK = park()
GAUGE = cal.Measurement({"firms": cal.Level("firms")})


def _misfit(path, ranges, gauges=GAUGES, **options):
    return cal.Misfit(PARK, sd.Space(ranges), gauges, cal.read_dataset(path), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fits")


@pytest.fixture(scope="module")
def twin(folder):
    """The fit of a noiseless twin."""
    return cal.minimise(_misfit(write_twin(folder / "twin.csv"), RANGES), starts=6, seed=3, workers=1)


@pytest.fixture(scope="module")
def noisy(folder):
    """The fit of a twin with 4 % noise, of which one parameter can be known only together with another."""
    ranges = {**RANGES, "staff per firm": (50, 2000)}
    return cal.minimise(_misfit(write_twin(folder / "noisy.csv", noise=0.04), ranges), starts=6, seed=3, workers=1)


def _texts(fit, topic, good=None):
    return [one.text for one in fit.verdicts if one.topic == topic and good in (None, one.good)]


def test_a_noiseless_twin_gives_its_parameters_back(twin):
    for name, true in TRUTH.items():
        assert twin[name] == pytest.approx(true, rel=1e-4), name
    assert twin.good, "every verdict is good"
    assert twin.series[2].scale == pytest.approx(3.7, rel=1e-4)


def test_a_noisy_twin_gives_its_parameters_back_within_three_standard_errors(folder):
    misfit = _misfit(write_twin(folder / "some_noise.csv", noise=0.04, seed=5), RANGES)
    fit = cal.minimise(misfit, starts=4, seed=0, workers=1)
    for one in fit.estimates:
        assert 0.0 < one.error < 0.1 * (one.high - one.low)
        assert abs(one.value - TRUTH[one.name]) < 3.0 * one.error, one.name


def _remembered(folder, correlation, **noise):
    """The fit of 40 figures whose residuals follow one another with a correlation, under some noise."""
    rng, years = np.random.default_rng(8), np.arange(2000, 2040)
    off = [rng.normal()]
    for _ in years[1:]:
        off.append(correlation * off[-1] + np.sqrt(1.0 - correlation**2) * rng.normal())
    figures = firms_at(years) * np.exp(0.05 * np.array(off))
    rows = [f"{year},firms,{float(value)!r}" for year, value in zip(years, figures, strict=True)]
    dataset = cal.read_dataset(write_rows(folder / f"remembered_{correlation}.csv", *rows))
    known = sd.Scenario("known", {name: value for name, value in TRUTH.items() if name != "land"})
    likelihood = cal.Likelihood(PARK, dataset, GAUGE, ["land"], horizon=(2000, 2039), scenario=known, **noise)
    objective = cal.Objective(likelihood, {"land": cal.LogUniform(*RANGES["land"])})
    return cal.minimise(objective, starts=1, workers=1, progress=False)


def test_noise_that_allows_waves_is_judged_by_its_innovations(folder, tmp_path):
    """Residuals in waves were called too much even for noise whose residuals may follow one another."""
    plain = _remembered(folder, 0.9)
    (told,) = _texts(plain, "residuals", good=False)
    assert told.startswith("The residuals of 'firms' come in waves")
    right = _remembered(folder, 0.9, noise={"firms": cal.AutoRegressive()})
    assert _texts(right, "residuals") == []
    assert 1.5 < right.series[0].durbin_watson < 2.5, "innovations are scatter"
    wrong = _remembered(folder, 0.97, noise={"firms": cal.AutoRegressive(correlation=0.1)})
    (told,) = _texts(wrong, "residuals", good=False)
    assert "yet their innovations come in waves" in told and "too small" in told
    again = cal.load_fit(wrong.save(tmp_path / "fit.json"))
    np.testing.assert_array_equal(again.series[0].innovations, wrong.series[0].innovations)


def test_standard_errors_are_those_of_linear_regression(folder):
    """On a log-linear model the local errors are exact: compare with the textbook formula."""
    rng = np.random.default_rng(11)
    years = np.arange(2000, 2026)
    values = firms_at(years) * STAFF * 0.7 * np.exp(0.05 * rng.normal(size=years.size))
    path = write_rows(folder / "one.csv", *(f"{y},staff,{v!r}" for y, v in zip(years, values.tolist(), strict=True)))
    scenario = sd.Scenario("true", {k: v for k, v in TRUTH.items() if k != "occupancy"})
    gauges = cal.Measurement({"staff": cal.Level("employees")})
    fit = cal.minimise(_misfit(path, {"occupancy": (0.2, 1)}, gauges, scenario=scenario), starts=1, workers=1)
    logs = np.log(values / (firms_at(years) * STAFF))
    assert fit["occupancy"] == pytest.approx(np.exp(logs.mean()), rel=1e-5)
    expected = np.exp(logs.mean()) * logs.std(ddof=1) / np.sqrt(years.size)
    assert fit.estimates[0].error == pytest.approx(expected, rel=1e-4)


def test_noise_scales_settle_at_each_series_own_residuals(noisy):
    for one in noisy.series:
        assert one.noise == pytest.approx(np.sqrt(np.mean(one.residuals**2)), rel=1e-9)
        assert 0.01 < one.noise < 0.08
        assert one.noise_origin == "estimated"
    assert noisy.starts[0].outcome == "converged"


def test_the_optimum_is_stationary(noisy):
    objective, place = noisy.objective, noisy.place
    best = noisy.payoff
    assert np.linalg.norm(objective.payoff_and_gradient(place)[1]) < 1e-4
    for number in range(place.size):
        for step in (-3e-3, 3e-3):
            moved = place.copy()
            moved[number] += step
            assert objective.payoff(moved) >= best - 1e-6


def test_a_product_of_two_parameters_is_told(noisy):
    assert [one.name for one in noisy.estimates if not one.identified] == ["occupancy", "staff per firm"]
    told = _texts(noisy, "identification", good=False)
    assert any(text.startswith("Only the product of 'occupancy' and 'staff per firm' is known, to ") for text in told)
    assert any("the figures depend on 7 and tell 7 better than the priors do" in text for text in told)
    assert any("(payoff within 1.92 of the best) disagree: 'occupancy' from " in text for text in told)
    assert noisy["occupancy"] * noisy["staff per firm"] == pytest.approx(0.7 * STAFF, rel=0.05)
    assert not noisy.good


def test_a_parameter_without_effect_is_told(folder):
    gauges = cal.Measurement({"firms": cal.Level("firms")})
    misfit = _misfit(write_twin(folder / "twin.csv"), {"growth rate": (0.05, 0.6), "occupancy": (0.2, 1)}, gauges)
    fit = cal.minimise(misfit, starts=3, workers=1)
    assert _texts(fit, "identification", good=False)[-1] == (
        "Not told by these data: 'occupancy'. The prior is all there is."
    )
    assert fit.estimates[1].spread == "not known"
    assert np.isnan(fit.estimates[1].error)


def test_an_estimate_at_a_bound_is_named_with_what_to_do(folder):
    misfit = _misfit(write_twin(folder / "twin.csv"), {**RANGES, "growth rate": (0.05, 0.25)})
    fit = cal.minimise(misfit, starts=3, workers=1)
    growth = fit.estimates[0]
    assert (growth.bound, growth.standing, growth.spread) == ("high", "AT HIGH BOUND", "at bound")
    assert _texts(fit, "bounds") == [
        "'growth rate' stands at its high bound (0.25): the data would take it further. Widen the range if the theory "
        "allows, else fix it there and say so."
    ]
    assert "AT HIGH BOUND" in str(fit)


def test_same_seed_same_numbers_with_one_worker_and_with_two(twin):
    again = cal.minimise(twin.objective, starts=6, seed=3, workers=2, progress=False)
    for one, two in zip(twin.starts, again.starts, strict=True):
        assert (one.number, one.payoff, one.runs) == (two.number, two.payoff, two.runs)
        assert np.array_equal(one.end, two.end)
    assert str(again) == str(twin)


def test_another_seed_starts_elsewhere_but_the_first_start_is_the_models_own(twin):
    misfit = twin.objective
    one, two = start_points(misfit, 5, seed=1), start_points(misfit, 5, seed=2)
    assert misfit.values(one[0])[:4] == pytest.approx([0.25, 500.0, 40.0, 0.8])
    assert np.array_equal(one[0], two[0])
    assert not np.any(one[1:] == two[1:])
    shares = np.array([prior.share(one[1:, k]) for k, prior in enumerate(misfit.priors.values())]).T[:, :4]
    strata = np.sort(np.floor((shares - 0.02) / 0.96 * 4), axis=0)
    assert np.array_equal(strata, np.tile(np.arange(4.0)[:, None], 4)), "one start in each quarter of each range"


def test_a_start_that_fails_is_kept_with_its_reason(folder):
    gauges = cal.Measurement({"sales": cal.Level("sales")})
    rows = [f"{year},sales,{float(firms_at(year)) * 420.0!r}" for year in (2000, 2005, 2010)]
    path = write_rows(folder / "sales.csv", *rows)
    scenario = sd.Scenario("true", {**TRUTH, "sales per head": 1.0})
    misfit = _misfit(path, {"sales per head": (-8, 8)}, gauges, scenario=scenario)
    fit = cal.minimise(misfit, starts=8, seed=0, workers=1)
    failed = [start for start in fit.starts if start.failed]
    assert 2 <= len(failed) <= 4
    assert all(start.outcome.startswith("failed: park: the model gives -") for start in failed)
    assert fit["sales per head"] == pytest.approx(2.0, rel=1e-6)
    assert _texts(fit, "starts", good=False)[0].startswith(
        f"{len(failed)} of 8 starts failed; the first: failed: park: the model gives -"
    )


def test_all_starts_failing_is_an_error(folder):
    gauges = cal.Measurement({"sales": cal.Level("sales")})
    path = write_rows(folder / "negative.csv", "2000,sales,5", "2001,sales,6")
    misfit = _misfit(path, {"sales per head": (-8, -4)}, gauges)
    with pytest.raises(
        FitError, match=r"^all 2 starts failed, the first with: failed: park: the model gives -.*; narrow the"
    ):
        cal.minimise(misfit, starts=2, workers=1)


def test_interrupting_keeps_what_is_done(twin, monkeypatch):
    from calibration import optimisation

    search = optimisation.search_from

    def interrupted(objective, how, seed, number, origin):
        if number == 2:
            raise KeyboardInterrupt
        return search(objective, how, seed, number, origin)

    monkeypatch.setattr(optimisation, "search_from", interrupted)
    fit = cal.minimise(twin.objective, starts=6, seed=3, workers=1)
    assert [start.number for start in fit.starts] == [0, 1]
    assert _texts(fit, "starts")[0] == "Interrupted: 2 of 6 starts were done; the others are not known."


def test_interrupting_before_anything_is_done_stops(twin, monkeypatch):
    from calibration import optimisation

    def interrupted(*which):
        raise KeyboardInterrupt

    monkeypatch.setattr(optimisation, "search_from", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cal.minimise(twin.objective, starts=6, workers=1)


@pytest.mark.parametrize(("name", "options"), [("starts", {"starts": 0}), ("workers", {"workers": 0})])
def test_no_starts_or_workers(twin, name, options):
    with pytest.raises(FitError, match=f"^{name}=0; expected a whole number of at least 1$"):
        cal.minimise(twin.objective, **options)


@pytest.mark.slow
def test_a_script_needs_no_guard_for_its_workers(folder):
    """A script without `if __name__ == "__main__"` must neither start itself again nor hang."""
    write_twin(folder / "twin.csv")
    script = folder / "script.py"
    script.write_text(
        f"""
import calibration as cal, sd_cluster as sd
print("once")
model = sd.load({str(MODEL)!r})
gauges = cal.Measurement({{"firms": cal.Level("firms")}})
data = cal.read_dataset({str(folder / "twin.csv")!r})
fit = cal.minimise(cal.Misfit(model, sd.Space({{"land": (200, 2000)}}), gauges, data), starts=3, workers=2)
print(len(fit.starts))
""",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("once\n3\n", "", 0)


def test_a_worker_that_dies_is_an_error_and_not_a_hang(twin, monkeypatch):
    monkeypatch.setattr("calibration.optimisation._search_received", _die)
    with pytest.raises(FitError, match=r"^a worker process died: .* or workers=1 to stay in this one$"):
        cal.minimise(twin.objective, starts=3, workers=2)


def _die(payload, number, place):
    import os

    os._exit(3)


def test_the_scenario_of_a_fit_carries_base_and_estimates(folder):
    base = sd.Scenario("half staff", {"staff per firm": STAFF / 2})
    misfit = _misfit(write_twin(folder / "twin.csv"), RANGES, scenario=base)
    fit = cal.minimise(misfit, starts=1, workers=1)
    scenario = fit.scenario()
    assert scenario.name == "fitted to park"
    assert dict(scenario.changes) == {"staff per firm": STAFF / 2, **fit.values}
    assert fit.scenario("mine").name == "mine"


def test_simulating_a_fit_goes_through_the_figures(twin):
    run = cal.simulate_fit(twin)
    assert run.at(2010)["firms"] == pytest.approx(firms_at(2010.0), rel=1e-4)
    longer = cal.simulate_fit(twin, horizon=(2000, 2040))
    assert longer.times[-1] == 2040.0


def test_a_fit_of_other_equations_is_not_simulated(twin, tmp_path):
    changed = tmp_path / "logistic_firms.mdl"
    changed.write_text(MODEL.read_text().replace("occupancy = 0.8", "occupancy = 0.9"))
    with pytest.raises(FitError, match=r"^the fit was made with other equations of logistic_firms \(digest "):
        cal.simulate_fit(twin, model=sd.load(changed))


def test_tables_of_a_fit(twin):
    assert twin.frame()["parameter"].tolist() == list(TRUTH)
    assert twin.series_frame()["n"].tolist() == [13, 13, 13]
    data = twin.data_frame()
    assert len(data) == 39
    years = np.arange(2000, 2026, 2)
    assert data["observed"].to_numpy()[:13] == pytest.approx(true_series(years)["firms"])
    assert data["predicted"].to_numpy() == pytest.approx(data["observed"].to_numpy(), rel=1e-4)
    starts = twin.starts_frame()
    assert starts["payoff"].is_monotonic_increasing
    noises = ["noise of firms", "noise of staff", "noise of revenue"]
    assert starts.columns.tolist() == ["start", "payoff", "runs", "outcome", *TRUTH, *noises]


def test_a_saved_fit_reads_back_the_same(noisy, tmp_path):
    path = noisy.save(tmp_path / "deep" / "fit.json")
    again = cal.load_fit(path)
    assert str(again) == str(noisy)
    assert again.values == noisy.values
    assert again.starts_frame().equals(noisy.starts_frame())
    assert again.objective is None
    assert cal.load_fit(path, noisy.objective).objective is noisy.objective
    run, once = cal.simulate_fit(again, model=PARK), cal.simulate_fit(noisy)
    assert np.array_equal(run.values, once.values)
    with pytest.raises(FitError, match=r"^a fit read from a file needs its model"):
        cal.simulate_fit(again)


def test_a_saved_fit_keeps_series_in_its_scenario_and_is_plain_json(folder, tmp_path):
    base = sd.Scenario("boom", {"staff per firm": {2000.0: 200.0, 2010.0: 300.0}})
    misfit = _misfit(write_twin(folder / "twin.csv"), {"land": (200, 2000)}, scenario=base)
    path = cal.minimise(misfit, starts=2, workers=1).save(tmp_path / "fit.json")
    assert cal.load_fit(path).base == base
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_fit_is_not_joined_to_another_misfit(twin, folder, tmp_path):
    path = twin.save(tmp_path / "fit.json")
    other = _misfit(write_twin(folder / "noise.csv", noise=0.01), RANGES)
    with pytest.raises(FitError, match=r"fit\.json was made with another data; load it without objective"):
        cal.load_fit(path, other)
    fewer = _misfit(write_twin(folder / "twin.csv"), {"land": (200, 2000)})
    with pytest.raises(
        FitError,
        match=r"fit\.json searched growth rate, land, .*, noise of revenue, not land, noise of firms",
    ):
        cal.load_fit(path, fewer)


@pytest.mark.parametrize("content", ["not json", "[]", '{"format": "other"}'])
def test_a_file_that_is_no_fit_is_refused(tmp_path, content):
    path = tmp_path / "fit.json"
    path.write_text(content)
    with pytest.raises(FitError, match=r"fit\.json is not a fit that Fit\.save wrote"):
        cal.load_fit(path)
    with pytest.raises(FitError, match=r"none\.json does not exist; give a file that Fit\.save wrote$"):
        cal.load_fit(tmp_path / "none.json")


def test_a_damaged_fit_is_refused(twin, tmp_path):
    path = twin.save(tmp_path / "fit.json")
    content = json.loads(path.read_text())
    del content["estimates"][0]["value"]
    path.write_text(json.dumps(content))
    with pytest.raises(FitError, match=r"fit\.json is damaged: TypeError"):
        cal.load_fit(path)


def test_an_unknown_parameter_of_a_fit_gets_the_near_match(twin):
    with pytest.raises(FitError, match=r"^the fit has no parameter 'lnd' \(did you mean 'land'\?\)$"):
        twin["lnd"]


FAILED = "failed: trust is not finite at 2003"


def _hand_made() -> Fit:
    """A fit put together by hand, the same on every machine."""
    years = np.array([2000.0, 2002.0, 2003.0, 2007.0])
    observed = np.array([100.0, 120.0, 125.0, 180.0])
    return Fit(
        model="collective_learning",
        regions=(
            RegionFit(
                "hsinchu",
                sd.Scenario("base"),
                {"talent turnover": 0.153, "initial trust": 0.6, "initial talent pool": 82000.0},
                (1999.0, 2025.0),
            ),
        ),
        estimates=(
            Estimate("talent turnover", "1/Year", 0.153, 0.06, 0.3, 0.3875, 0.0123, "", True, False),
            Estimate("initial trust", "Dmnl", 0.6, 0.05, 0.6, 1.0, np.nan, "high", True, False),
            Estimate("initial talent pool", "persons", 82000.0, 1000.0, 200000.0, 0.83, np.nan, "", False, True),
            Estimate("learning rate", "1/Year", 0.2, 0.1, 0.4, 0.5, 0.02, "", True, True, ranged=False),
        ),
        series=(
            SeriesFit(
                "employees",
                "persons",
                "talent pool",
                years,
                observed,
                observed * np.array([1.02, 0.97, 1.01, 1.0]),
                1.0,
                False,
                0.0192,
                "estimated",
                ((9, "year 2001 has no value"),),
            ),
            SeriesFit("revenue", "billion TWD", "revenue", years, observed, observed * 1.0, 3.7, True, 0.01, "floor"),
        ),
        starts=(
            Start(0, np.array([0.1, 0.3, 5e4, 0.2]), np.array([0.153, 0.6, 8.2e4, 0.2]), -20.5, 120, "converged"),
            Start(
                1, np.array([0.2, 0.1, 5e3, 0.3]), np.full(4, np.nan), np.nan, 4, "failed: trust is not finite at 2003"
            ),
        ),
        names=("talent turnover", "initial trust", "initial talent pool", "learning rate"),
        place=np.array([-0.4, 9.0, 1.6, 0.0]),
        payoff=-20.5,
        verdicts=(
            Verdict("starts", False, "1 of 2 starts failed; the first: failed: trust is not finite at 2003."),
            Verdict("convergence", True, "The best start converged."),
            Verdict(
                "bounds",
                False,
                "'initial trust' stands at its high bound (0.6): the data would take it further. Widen the range if "
                "the theory allows, else fix it there and say so.",
            ),
        ),
        provenance={"seed": 7, "starts": 2, "solver": "RungeKutta4(step=None)"},
    )


def test_report_card_is_the_golden_one():
    assert f"{_hand_made()}\n" == GOLDEN.read_text(encoding="utf-8")


def test_report_card_shows_what_changed():
    """The golden file must be able to fail: another estimate prints another card."""
    fit = _hand_made()
    moved = dataclasses.replace(fit, estimates=(dataclasses.replace(fit.estimates[0], value=0.2), *fit.estimates[1:]))
    assert f"{moved}\n" != GOLDEN.read_text(encoding="utf-8")


def test_hsinchu_table_can_be_fitted_by_a_small_model():
    """The shipped data go through the whole path; the logistic curve follows the firms of the park."""
    hsinchu = cal.read_dataset("hsinchu")
    gauges = cal.Measurement(
        {
            "firms": cal.Level("firms"),
            "employees": cal.Level("employees"),
            "revenue": cal.Level("sales", scale=True),
        }
    )
    space = sd.Space(
        {
            "growth rate": (0.01, 0.6),
            "land": (200, 2000),
            "initial firms": (100, 400),
            "staff per firm": (50, 2000),
        }
    )
    misfit = cal.Misfit(PARK, space, gauges, hsinchu, horizon=(1999, 2025))
    fit = cal.minimise(misfit, starts=4, seed=1, workers=1)
    table = fit.series_frame().set_index("series")
    assert table["n"].to_dict() == {"firms": 9, "employees": 14, "revenue": 21}
    assert table.loc["firms", "r_squared"] > 0.9
    assert (
        _texts(fit, "data")[0] == "The scale is free for revenue: only the shape over time was fitted, not the level."
    )
    assert _texts(fit, "data")[1] == "Not used, for want of a gauge: exports, firm_exits, new_firms_approved."


@pytest.mark.slow
def test_a_noiseless_twin_of_the_core_model_gives_its_parameters_back(tmp_path):
    model = sd.load("collective_learning")
    truth = {
        "entry potential": 95.0,
        "land limit": 640.0,
        "hiring rate": 0.22,
        "jobs of a leading firm": 520.0,
        "talent flow": 0.55,
    }
    run = sd.simulate(model, sd.Scenario("truth", truth), solver=sd.RungeKutta4())
    read = {"firms": "member firms", "employees": "talent pool", "revenue": "revenue"}
    years = range(1985, 2026, 2)
    rows = [f"{year},{series},{run.at(year)[name]!r}" for series, name in read.items() for year in years]
    gauges = cal.Measurement({series: cal.Level(name, scale=series == "revenue") for series, name in read.items()})
    data = cal.read_dataset(write_rows(tmp_path / "core.csv", *rows))
    misfit = cal.Misfit(model, sd.Space.of(model, list(truth)), gauges, data)
    fit = cal.minimise(misfit, starts=6, seed=1, workers=1, progress=False)
    for name, true in truth.items():
        assert fit[name] == pytest.approx(true, rel=0.01), name
