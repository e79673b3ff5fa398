"""Objective: likelihoods and priors of one or several regions, over places."""

import pickle

import numpy as np
import pytest
from scipy import stats
from support import assert_close, tiny
from twins import GAUGES, park, table, write_twin

import sd_cluster as sd
from calibration.dataset import read_dataset
from calibration.likelihood import Likelihood
from calibration.measurement import Level, Measurement, Shift
from calibration.noise import AutoRegressive, NormalNoise, StudentT
from calibration.objective import FARTHEST, Objective
from calibration.patterns import Bound
from calibration.priors import Beta, LogitNormal, LogNormal, LogUniform, Normal, Uniform
from sd_cluster.errors import FitError, SimulationError

FREE = ("growth rate", "land", "initial firms", "occupancy")
PRIORS = {
    "growth rate": LogNormal(0.3, 2.0),
    "land": LogUniform(200.0, 2000.0),
    "initial firms": Uniform(5.0, 400.0),
    "occupancy": Beta(3.0, 2.0),
}
PLACE_SIZES = 0.3


@pytest.fixture(scope="module")
def regions(tmp_path_factory):
    """Likelihoods of three regions with the same structure."""
    folder, found = tmp_path_factory.mktemp("twins"), {}
    for number, name in enumerate(("A", "B", "C")):
        dataset = read_dataset(write_twin(folder / f"{name}.csv", noise=0.1, seed=number))
        found[name] = Likelihood(park(), dataset, GAUGES, FREE, region=name)
    return found


def near_the_start(objective, seed=0):
    return objective.start + PLACE_SIZES * np.random.default_rng(seed).normal(size=len(objective.names))


def check_gradients(objective, place):
    """Central differences of steps 1e-5 in places of about unit size err by about 1e-9 of the largest slope."""
    steps = 1e-5 * np.eye(len(place))
    payoff, slopes = objective.payoff_and_gradient(place)
    exact = np.array([(objective.payoff(place + h) - objective.payoff(place - h)) / 2e-5 for h in steps])
    assert_close(slopes, exact, 1e-6, 1e-7 * np.abs(exact).max(), because="central differences")
    density, tilts = objective.log_density(place)
    exact = np.array(
        [(objective.log_density(place + h)[0] - objective.log_density(place - h)[0]) / 2e-5 for h in steps]
    )
    assert_close(tilts, exact, 1e-6, 1e-7 * np.abs(exact).max(), because="central differences")
    assert payoff == pytest.approx(objective.payoff(place), rel=1e-11) and np.isfinite(density)


# --- one region


def test_payoff_and_density_are_sums_of_what_they_say(regions):
    one = regions["A"]
    objective = Objective(one, PRIORS)
    assert objective.names == one.names and objective.model is one.model
    place = near_the_start(objective)
    values = objective.values(place)
    assert objective.payoff(place) == pytest.approx(one.payoff(values) + objective.penalty(place))
    growth = stats.norm(np.log(0.3), np.log(2.0) / stats.norm.ppf(0.95)).logpdf(np.log(values[0]))
    growth -= stats.norm(0.0, np.log(2.0) / stats.norm.ppf(0.95)).logpdf(0.0)
    share = stats.beta(3.0, 2.0).logpdf(values[3]) - stats.beta(3.0, 2.0).logpdf(2.0 / 3.0)
    noise = sum(
        float(prior.penalty(at)) for prior, at in zip(list(objective.priors.values())[4:], place[4:], strict=True)
    )
    assert objective.penalty(place) == pytest.approx(-growth - share + noise), "ranges alone pull nowhere"
    density = objective.log_density(place)[0]
    exact = -one.payoff(values) + sum(
        float(p.log_density(at)) for p, at in zip(objective.priors.values(), place, strict=True)
    )
    assert density == pytest.approx(exact)


def test_the_start_is_the_model_as_it_stands(regions):
    objective = Objective(regions["A"], PRIORS)
    started = dict(zip(objective.names, objective.values(objective.start), strict=True))
    assert started["growth rate"] == pytest.approx(0.25) and started["land"] == pytest.approx(500.0)
    assert started["noise of firms"] == pytest.approx(0.13), "the median of its prior"
    wide = Objective(regions["A"], {**PRIORS, "occupancy": Uniform(0.8, 1.0)})
    assert wide.start[3] == -FARTHEST, "a value at the end of its prior begins inside"


def test_there_and_back(regions):
    objective = Objective(regions["A"], PRIORS)
    place = near_the_start(objective)
    assert_close(objective.place(objective.values(place)), place, 1e-9, 1e-9, because="rounding")
    many = np.stack([place, objective.start])
    assert_close(objective.values(many)[1], objective.values(objective.start), 1e-14, because="the same map")
    assert objective.of_region(many).shape == (2, len(regions["A"].names))
    with pytest.raises(FitError, match="'land': 5000 lies outside the prior, which goes from 200 to 2000"):
        objective.place(np.array([0.3, 5000.0, 30.0, 0.5, 0.1, 0.1, 0.1]))


def test_gradients_with_everything(regions):
    dataset = regions["A"].dataset
    gauges = Measurement(GAUGES.gauges, shifts={"firms": [Shift(2011)], "revenue": [Shift(2007), Shift(2015)]})
    noise = {"firms": StudentT(), "staff": AutoRegressive(), "revenue": StudentT(log=False)}
    judges = [Bound("firms", at_most=300.0, tolerance=50.0)]
    one = Likelihood(park(), dataset, gauges, ["growth rate", "land", "firms", "occupancy"], noise=noise, judges=judges)
    priors = {**PRIORS, "firms": LogitNormal(40.0, 60.0, low=5.0, high=100.0)}
    del priors["initial firms"]
    objective = Objective(one, priors)
    assert "factor of revenue" in objective.names and "correlation of staff" in objective.names
    check_gradients(objective, near_the_start(objective))


def test_information_is_that_of_values_seen_from_places(regions):
    objective = Objective(regions["A"], PRIORS)
    place = near_the_start(objective)
    slopes = np.array([float(p.slope(at)) for p, at in zip(objective.priors.values(), place, strict=True)])
    exact = regions["A"].information(objective.values(place)) * np.outer(slopes, slopes)
    data = objective.information(place, data_only=True)
    assert_close(data, exact, 1e-12, 1e-12 * exact.max(), because="rounding")
    added = np.diag(objective.information(place) - data)
    curved = [float(p.curvature(at)) for p, at in zip(objective.priors.values(), place, strict=True)]
    assert_close(added, curved, 1e-9, 1e-9 * exact.max(), because="rounding")
    assert added[0] == pytest.approx(1.0) and added[1] == pytest.approx(0.0, abs=1e-9)


def test_the_information_of_a_linear_case_is_the_hessian():
    """Figures that a mean linear in places meets, with a normal prior: the payoff is a parabola."""
    model = tiny("slope = 2 ~ thing/Year\nx = INTEG(slope, 1) ~ thing", check_units=False)
    years = np.arange(1.0, 9.0)
    dataset = table(x=("thing", dict(zip(years.tolist(), 1.0 + 2.1 * years, strict=True))))
    one = Likelihood(model, dataset, Measurement({"x": Level("x")}), ["slope"], noise={"x": NormalNoise(0.5)})
    objective = Objective(one, {"slope": Normal(2.0, 0.3)})
    exact = 0.3**2 * np.sum(years**2) / 0.25 + 1.0
    assert objective.information(np.array([0.7]))[0, 0] == pytest.approx(exact, rel=1e-9)
    ends = [objective.payoff_and_gradient(np.array([at]))[1][0] for at in (-0.5, 0.5)]
    assert ends[1] - ends[0] == pytest.approx(exact, rel=1e-7)
    best = -ends[0] / (ends[1] - ends[0]) - 0.5
    posterior = (0.3 * np.sum(years * 0.1 * years) / 0.25) / exact
    assert best == pytest.approx(posterior, rel=1e-7), "the conjugate normal's mean"


def test_draws_from_the_prior(regions):
    objective = Objective(regions["A"], PRIORS)
    places = objective.sample_prior(2000, seed=3)
    values = objective.values(places)
    for k, prior in enumerate(objective.priors.values()):
        wanted = prior.quantile([0.05, 0.5, 0.95])
        assert_close(np.quantile(values[:, k], [0.05, 0.5, 0.95]), wanted, 0.02, because="an even hypercube of 2,000")
    np.testing.assert_array_equal(places, objective.sample_prior(2000, seed=3))
    assert not np.array_equal(places, objective.sample_prior(2000, seed=4))


# --- several regions


def test_names_of_several_regions(regions):
    objective = Objective(list(regions.values()), PRIORS, own=["occupancy"], pooled=["Growth rate"])
    assert objective.names[:3] == ("mean of growth rate", "spread of growth rate", "growth rate [A]")
    assert {"occupancy [A]", "occupancy [B]", "occupancy [C]", "land", "noise of firms [C]"} <= set(objective.names)
    assert "occupancy" not in objective.names and objective.names.count("land") == 1
    assert objective.unit("mean of growth rate") == "1/Year" and objective.unit("spread of growth rate") == "dmnl"
    assert objective.unit("land") == "firms" and objective.unit("growth rate [B]") == "1/Year"
    assert set(objective.noise_names) == {f"noise of {s} [{r}]" for s in GAUGES.gauges for r in "ABC"}


@pytest.mark.parametrize(
    ("own", "pooled"),
    [((), ()), (("occupancy", "initial firms"), ()), ((), ("growth rate", "land")), (("occupancy",), ("growth rate",))],
)
def test_gradients_of_several_regions(regions, own, pooled):
    objective = Objective(list(regions.values())[:2], PRIORS, own=own, pooled=pooled)
    check_gradients(objective, near_the_start(objective))


def test_several_regions_add_up(regions):
    objective = Objective(list(regions.values()), PRIORS, own=["occupancy"])
    place = near_the_start(objective)
    parts = [one.payoff(objective.of_region(place, k)) for k, one in enumerate(regions.values())]
    assert objective.payoff(place) == pytest.approx(sum(parts) + objective.penalty(place))
    with_same = [objective.of_region(place, k)[:3] for k in range(3)]
    np.testing.assert_array_equal(with_same[0], with_same[2])
    assert objective.of_region(place, 0)[3] != objective.of_region(place, 1)[3]


def test_pooled_regions_lie_around_their_mean(regions):
    objective = Objective(list(regions.values()), PRIORS, pooled=["growth rate"])
    place = near_the_start(objective)
    at = dict(zip(objective.names, place, strict=True))
    values = dict(zip(objective.names, objective.values(place), strict=True))
    for region in "ABC":
        moved = at["mean of growth rate"] + values["spread of growth rate"] * at[f"growth rate [{region}]"]
        assert values[f"growth rate [{region}]"] == pytest.approx(float(PRIORS["growth rate"].value(moved)))
    assert_close(objective.place(objective.values(place)), place, 1e-9, 1e-9, because="rounding")
    started = objective.values(objective.start)
    assert started[0] == pytest.approx(0.25) and started[2] == pytest.approx(0.25), "all as the model stands"
    bounded = Objective(list(regions.values()), PRIORS, pooled=["land"])
    assert bounded.priors["spread of land"].median == pytest.approx(0.5 * np.pi / np.sqrt(3.0))


def test_an_objective_says_what_it_pools(regions):
    """Which rows are the mean, the spread and the distances was known to the inside of an objective alone."""
    objective = Objective(list(regions.values()), PRIORS, pooled=["Growth rate"])
    (pool,) = objective.pools
    assert (pool.name, pool.regions) == ("growth rate", ("A", "B", "C"))
    two = [objective.names[row] for row in (pool.mean, pool.spread)]
    assert two == ["mean of growth rate", "spread of growth rate"]
    assert [objective.names[row] for row in pool.rows] == [f"growth rate [{name}]" for name in "ABC"]
    place = near_the_start(objective)
    values = objective.values(place)
    expected = pool.prior.value(place[pool.mean] + values[pool.spread] * place[pool.rows])
    assert_close(values[pool.rows], expected, 1e-14, because="that is what the record says")
    assert objective.pool("GROWTH RATE") is pool
    with pytest.raises(FitError, match=r"^'land' is not pooled; pooled are growth rate$"):
        objective.pool("land")
    assert Objective(regions["A"], PRIORS, pooled=["growth rate"]).pools == ()


def test_pooled_draws_spread_as_the_hierarchy_says(regions):
    given = {**PRIORS, "spread of growth rate": LogNormal(0.5, 1.0 + 1e-9), "mean of growth rate": Normal(0.0, 1e-9)}
    given["mean of growth rate"] = LogNormal(0.3, 1.0 + 1e-9)
    objective = Objective(list(regions.values()), given, pooled=["growth rate"])
    places = objective.sample_prior(2000, seed=1)
    column = objective.names.index("growth rate [B]")
    region = PRIORS["growth rate"].place(objective.values(places)[:, column])
    within = region - places[:, 0]
    assert within.std() == pytest.approx(0.5, rel=0.03)


def test_regions_that_stand_apart_start_apart(regions):
    data = regions["A"].dataset
    ones = [
        Likelihood(park(), data, GAUGES, FREE, region=name, scenario=sd.Scenario(name, {"growth rate": rate}))
        for name, rate in (("A", 0.2), ("B", 0.4))
    ]
    objective = Objective(ones, PRIORS, pooled=["growth rate"])
    started = dict(zip(objective.names, objective.values(objective.start), strict=True))
    assert started["growth rate [A]"] == pytest.approx(0.2) and started["growth rate [B]"] == pytest.approx(0.4)
    assert 0.2 < started["mean of growth rate"] < 0.4


def test_objectives_travel_and_tell_themselves_apart(regions):
    objective = Objective(regions["A"], PRIORS)
    other = pickle.loads(pickle.dumps(objective))
    place = near_the_start(objective)
    assert other.payoff(place) == objective.payoff(place) and other.digest == objective.digest
    assert objective.data_digest == regions["A"].dataset.digest
    changed = [
        Objective(regions["A"], {**PRIORS, "land": LogUniform(200.0, 2001.0)}),
        Objective(regions["B"], PRIORS),
        Objective(list(regions.values()), PRIORS),
        Objective(list(regions.values()), PRIORS, own=["land"]),
        Objective(list(regions.values()), PRIORS, pooled=["land"]),
    ]
    assert len({objective.digest, *(one.digest for one in changed)}) == 6


# --- what is refused


@pytest.mark.parametrize(
    ("priors", "chosen", "told"),
    [
        ({"land": None}, {}, "'land' is free but has no prior; give one, such as LogNormal(0.2, 3)"),
        ({"lands": Uniform(0, 1)}, {}, "a prior is given for 'lands', which is not free (did you mean 'land'?)"),
        ({"staff per firm": Uniform(50, 2000)}, {}, "a prior is given for 'staff per firm', which is not free"),
        ({"mean of land": Uniform(200, 2000)}, {}, "a prior is given for 'mean of land', which is not free"),
        ({"land": (200, 2000)}, {}, "the prior of 'land' is (200, 2000); expected a prior"),
        (
            {"land": Uniform(600, 700)},
            {},
            "the prior of 'land' excludes the model's own value 500: it goes from 600 to 700",
        ),
        ({}, {"own": ["lands"]}, "'lands' is to be own or pooled but is not free (did you mean 'land'?)"),
        ({}, {"own": ["land"], "pooled": ["Land"]}, "'land' is both own and pooled"),
        ({}, {"pooled": ["noise of firms"]}, "'noise of firms' is to be own or pooled but is not free"),
    ],
)
def test_what_does_not_fit(regions, priors, chosen, told):
    given = {name: prior for name, prior in {**PRIORS, **priors}.items() if prior is not None}
    with pytest.raises(FitError) as error:
        Objective([regions["A"], regions["B"]], given, **chosen)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_regions_need_names_of_their_own(regions):
    with pytest.raises(FitError, match="two likelihoods bear one region"):
        Objective([regions["A"], regions["A"]], PRIORS)
    with pytest.raises(FitError, match="needs at least one likelihood"):
        Objective([], PRIORS)


def test_bounds_the_wrong_way_round_are_refused_before_any_run():
    with pytest.raises(FitError, match="LogUniform prior goes from 2000 to 200; expected 0 < low < high"):
        Objective([], {"land": LogUniform(2000.0, 200.0)})


def test_a_prior_that_excludes_a_value_of_the_scenario(regions):
    scenario = sd.Scenario("crowded", {"land": 150.0})
    one = Likelihood(park(), regions["A"].dataset, GAUGES, FREE, scenario=scenario)
    with pytest.raises(FitError, match="excludes the model's own value 150: it goes from 200 to 2000"):
        Objective(one, PRIORS)


def test_places_that_cannot_be_run_are_named():
    model = tiny("r = 0.1 ~ 1/Year\nx = INTEG(r*x*x, 1) ~ thing", check_units=False, end="20")
    one = Likelihood(model, table(x=("thing", {1: 1.0, 9: 3.0})), Measurement({"x": Level("x")}), ["r"])
    objective = Objective(one, {"r": LogUniform(0.001, 100.0)})
    assert np.isfinite(objective.payoff(np.array([-1.0, 0.0])))
    for call in (objective.payoff, objective.payoff_and_gradient, objective.log_density, objective.information):
        with pytest.raises(SimulationError):
            call(np.array([4.0, 0.0]))
