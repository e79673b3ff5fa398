"""A family of regions: spreads against the exact answer, shrinkage towards the mean, regions left out."""

import numpy as np
import pytest
from twins import firms_at, park

import calibration as cal
import sd_cluster as sd
from calibration.dataset import dataset_from
from calibration.family import fit_alone, fit_family, pool_of
from calibration.family_figures import draw_left_out, draw_shrinkage
from calibration.left_out import leave_one_out, tally, without
from calibration.likelihood import Likelihood
from calibration.measurement import Measurement
from calibration.noise import LogNormal as LogNormalNoise
from calibration.noise import NormalNoise
from calibration.priors import LogNormal, LogUniform, Normal
from calibration.shrinkage import shrinkage
from sd_cluster.errors import FitError

YEARS = np.array([2000.0, 2005.0, 2010.0])
TRUE_PARK = {"growth rate": 0.31, "land": 640.0, "initial firms": 25.0}


def table(region, **series):
    """A dataset of one region from indicator -> (years, values)."""
    import pandas as pd

    pairs = {name: zip(*some, strict=True) for name, some in series.items()}
    rows = [(region, int(year), name, value) for name, some in pairs.items() for year, value in some]
    frame = pd.DataFrame(rows, columns=["region", "year", "indicator", "value"])
    return dataset_from(frame.assign(unit="unit", source="twin"), name=f"{region}.csv")


# A family whose answer is known exactly: staff is linear in occupancy, noise is normal and known.

OCCUPANCY = {"occupancy": Normal(0.7, 0.2)}
SIGMA = np.array([3000.0, 8000.0, 3000.0, 8000.0, 4000.0, 6000.0, 3000.0])
PLACES = np.array([0.9, -0.2, 0.4, -0.9, 0.1, 1.3, -0.4])
"""Distances of the regions from the middle of the prior, in its standard deviations."""


def linear_family():
    model, rng = park(), np.random.default_rng(5)
    made = []
    for number, (place, sigma) in enumerate(zip(PLACES, SIGMA, strict=True)):
        staff = 300.0 * firms_at(YEARS) * (0.7 + 0.2 * place) + sigma * rng.standard_normal(len(YEARS))
        gauges = Measurement({"staff": cal.Level("employees")})
        made.append(
            Likelihood(
                model, table(f"R{number}", staff=(YEARS, staff)), gauges, ["occupancy"], horizon=(2000, 2010),
                noise={"staff": NormalNoise(scale=sigma)}, scenario=sd.Scenario("park", TRUE_PARK),
            )
        )  # fmt: skip
    return made


def exact(likelihoods):
    """Least-squares places of the regions, and their variances."""
    steep = 60.0 * firms_at(YEARS)
    figures = np.array([one.series["staff"].values for one in likelihoods])
    means = ((figures - 210.0 * firms_at(YEARS)) @ steep) / (steep @ steep)
    return means, SIGMA**2 / (steep @ steep)


def exact_log_marginal(likelihoods, spread, prior):
    """Log density of a spread given the figures, regions and mean averaged out; up to a constant."""
    means, variances = exact(likelihoods)
    covariance = np.diag(variances + spread**2) + 1.0
    _, size = np.linalg.slogdet(covariance)
    return -0.5 * (size + means @ np.linalg.solve(covariance, means)) - float(prior.penalty(prior.place(spread)))


@pytest.fixture(scope="module")
def linear():
    likelihoods = linear_family()
    return likelihoods, fit_family(likelihoods, OCCUPANCY, pooled=["occupancy"])


def test_the_spread_is_the_most_probable_one_of_the_exact_marginal_density(linear):
    likelihoods, fit = linear
    prior = fit.objective.priors["spread of occupancy"]
    grid = np.geomspace(0.05, 5.0, 4001)
    best = grid[np.argmax([exact_log_marginal(likelihoods, spread, prior) for spread in grid])]
    assert fit.settled
    assert fit.values["spread of occupancy"] == pytest.approx(best, rel=0.01), "Laplace is exact here; steps end at 3 %"


def test_the_joint_optimum_has_a_spread_far_too_wide(linear):
    """Why spreads are not searched like anything else: distances cost less the wider the spread."""
    likelihoods, fit = linear
    joint = cal.minimise(cal.Objective(likelihoods, OCCUPANCY, pooled=["occupancy"]), starts=2, progress=False)
    at = dict(zip(joint.names, joint.objective.values(joint.place), strict=True))
    assert at["spread of occupancy"] > 1.5 * fit.values["spread of occupancy"]


def test_regions_and_their_pulls_are_those_of_the_exact_normal_model(linear):
    likelihoods, fit = linear
    means, variances = exact(likelihoods)
    spread = fit.values["spread of occupancy"]
    size = len(means)
    # Unknowns: the mean, then the distances; the figures see mean + spread * distance.
    design = np.column_stack([np.ones(size), spread * np.eye(size)])
    precision = design.T @ np.diag(1.0 / variances) @ design + np.eye(size + 1)
    covariance = np.linalg.inv(precision)
    expected = covariance @ design.T @ (means / variances)
    shrunk = shrinkage(fit, fit_alone(likelihoods, OCCUPANCY, starts=1))[0]
    assert shrunk.pooled == pytest.approx(0.7 + 0.2 * (expected[0] + spread * expected[1:]), abs=1e-4)
    assert shrunk.pulls == pytest.approx(np.diag(covariance)[1:], rel=1e-3)
    within = np.sqrt(np.diag(design @ covariance @ design.T))
    assert (shrunk.pooled_ends[1] - shrunk.pooled) / 0.2 == pytest.approx(within, rel=1e-3)
    alone = means / (1.0 + variances)  # by itself a region has the prior alone, of mean 0 and variance 1
    assert shrunk.alone == pytest.approx(0.7 + 0.2 * alone, abs=1e-4)


def test_draws_tell_how_sure_the_spread_is(linear):
    likelihoods, fit = linear
    prior = fit.objective.priors["spread of occupancy"]
    grid = np.geomspace(0.02, 20.0, 2001)
    weights = np.exp([exact_log_marginal(likelihoods, spread, prior) for spread in grid])  # flat steps of the logarithm
    weights /= weights.sum()
    middle = np.sum(weights * np.log(grid))
    wide = np.sqrt(np.sum(weights * (np.log(grid) - middle) ** 2))
    places = fit.draws(4000, seed=1)
    _, spread, rows = pool_of(fit.objective, "occupancy")
    logs = np.log(fit.objective.values(places)[:, spread])
    assert np.std(logs) == pytest.approx(wide, rel=0.3), "the normal approximation of a skewed density of seven regions"
    assert abs(np.mean(logs) - middle) < 0.5 * wide
    values = fit.objective.values(places)[:, rows]
    expected = shrinkage(fit, fit_alone(likelihoods, OCCUPANCY, starts=1))[0]
    assert np.median(values, axis=0) == pytest.approx(expected.pooled, abs=0.02), "regions stay where they are"


# A family of parks that grow: truth known, figures few and noisy.

GROWTH = {"growth rate": LogNormal(0.25, 2.5), "land": LogNormal(600.0, 2.5)}
TRUE_MEAN, TRUE_SPREAD = {"growth rate": 0.3, "land": 700.0}, {"growth rate": 0.2, "land": 0.3}
"""Spreads are of logarithms."""


def growing_family(size, seed, *, noise=0.2, years=(2001.0, 2004.0, 2008.0, 2012.0, 2016.0), sales=False):
    """Likelihoods and true values of parks around a common mean."""
    model, rng = park(), np.random.default_rng(seed)
    when = np.array(years)
    truth = {name: TRUE_MEAN[name] * np.exp(TRUE_SPREAD[name] * rng.standard_normal(size)) for name in GROWTH}
    scale = np.exp(0.5 * rng.standard_normal(size))
    gauge = cal.Level("sales", scale=True) if sales else cal.Level("firms")
    made = []
    for number in range(size):
        rate, land = (truth[name][number] for name in ("growth rate", "land"))
        grown = 40.0 * np.exp(rate * (when - 2000.0))
        figures = land * grown / (land + grown - 40.0) * (scale[number] if sales else 1.0)
        figures = figures * np.exp(noise * rng.standard_normal(len(when)))
        made.append(
            Likelihood(
                model, table(f"P{number}", size=(when, figures)), Measurement({"size": gauge}), list(GROWTH),
                noise={"size": LogNormalNoise(noise)}, horizon=(2000, 2016), step=0.5,
            )
        )  # fmt: skip
    return made, truth


@pytest.fixture(scope="module")
def growing():
    likelihoods, truth = growing_family(12, 3)
    alone = fit_alone(likelihoods, GROWTH, starts=2)
    return likelihoods, truth, alone, fit_family(likelihoods, GROWTH, pooled=list(GROWTH), alone=alone)


def test_estimates_shrink_towards_the_mean_and_come_nearer_to_the_truth(growing):
    _, truth, alone, fit = growing
    for one in shrinkage(fit, alone):
        apart, together = (np.log(some / one.typical) for some in (one.alone, one.pooled))
        assert np.std(together) < np.std(apart)
        errors = [np.sqrt(np.mean(np.log(some / truth[one.parameter]) ** 2)) for some in (one.alone, one.pooled)]
        assert errors[1] < errors[0], one.parameter
        assert ((one.pulls > 0.0) & (one.pulls < 1.0)).all()
        assert one.logarithmic and one.text.startswith(f"'{one.parameter}': of a region's estimate ")


def test_mean_and_spread_of_a_family_are_found(growing):
    *_, fit = growing
    frame = fit.frame().set_index("parameter")
    for name, prior in GROWTH.items():
        true = float(prior.place(TRUE_MEAN[name]))
        mean = fit.names.index(f"mean of {name}")
        assert abs(fit.place[mean] - true) < 3.0 * fit.errors[mean], "three standard errors"
        spread, doubt = frame.loc[name, "spread"], frame.loc[name, "spread_error"]
        assert abs(spread - TRUE_SPREAD[name] / prior._sigma) < 3.0 * doubt
        assert frame.loc[name, "region_low"] < frame.loc[name, "typical_low"] < frame.loc[name, "typical"]
    assert "12 regions" in str(fit) and fit.settled


@pytest.mark.slow
def test_bands_of_regions_left_out_hold_as_many_figures_as_they_should():
    held = []
    for seed in (11, 12):
        likelihoods, _ = growing_family(10, seed, noise=0.1)
        fit = fit_family(likelihoods, GROWTH, pooled=list(GROWTH))
        held += leave_one_out(fit, draws=200, seed=1).series
    last = np.array([one.places[-1] for one in held])
    inside = [int(np.sum(np.abs(last - 0.5) < 0.5 * level)) for level in (0.5, 0.8)]
    assert inside[1] >= 12, "of 20 figures an honest 80 % band holds 11 or fewer once in two hundred times"
    assert 4 <= inside[0] <= 17, "and a 50 % band 3 or fewer, or 18 or more, more rarely than that"


@pytest.fixture(scope="module")
def sized():
    """A family whose levels tell nothing of the model."""
    likelihoods, _ = growing_family(8, 21, noise=0.05, sales=True)
    return likelihoods, fit_family(likelihoods, GROWTH, pooled=list(GROWTH))


def test_levels_of_a_region_left_out_are_those_of_the_others_where_the_factor_is_free(sized):
    likelihoods, fit = sized
    validation = leave_one_out(fit, regions=["P2"], draws=400, seed=3)
    held = validation["size"]
    others = [np.mean(np.log(one.series["size"].values)) for one in likelihoods if one.region != "P2"]
    level = np.mean(np.log(held.forecast.model), axis=1)
    assert np.median(level) == pytest.approx(np.mean(others), abs=0.1), "drawn by Student's t about the mean of seven"
    assert np.subtract(*np.quantile(level, [0.75, 0.25])) == pytest.approx(
        2 * 0.718 * np.std(others, ddof=1) * np.sqrt(1 + 1 / 7), rel=0.15
    ), "quartiles of t with six degrees of freedom are 0.718 to either side"
    assert [one.method for one in held.naive] == ["typical region"]


def test_with_a_first_figure_known_growth_is_predicted_from_there(sized):
    _, fit = sized
    validation = leave_one_out(fit, known=1, draws=100, seed=3)
    assert [one.region for one in validation.series] == [f"P{number}" for number in range(8)]
    assert {held.years[0] for held in validation.series} == {2004.0}
    table = tally(validation).set_index("method")
    assert set(table.index) == {"model", "last value", "typical growth"}
    assert (table["series"] == 8).all() and (table["figures"] == 32).all()
    assert table.loc["model", "mape"] < 0.7 * table.loc["last value", "mape"], "parks grow tenfold"
    assert table.loc["model", "inside_95"] > 0.8, "figures of a region go together, so this is about eight"


def test_groups_give_a_further_naive_forecast(sized):
    likelihoods, fit = sized
    groups = {one.region: "A" if number < 4 else "B" for number, one in enumerate(likelihoods)}
    validation = leave_one_out(fit, regions=["P2"], groups=groups, draws=50, seed=3)
    assert [one.method for one in validation["size"].naive] == ["typical region", "typical of its group"]
    near = [likelihoods[number].series["size"].values[0] for number in (0, 1, 3)]
    assert validation["size"].naive[1].point[0] == pytest.approx(np.exp(np.mean(np.log(near))), rel=1e-9)
    assert len(draw_left_out(validation).axes) == 1


def test_a_family_without_a_region_does_not_know_it(growing):
    likelihoods, _, _, fit = growing
    others = without(fit, "P4")
    assert not any("P4" in name for name in others.names)
    fresh = fit_family([one for one in likelihoods if one.region != "P4"], GROWTH, pooled=list(GROWTH))
    for name in GROWTH:
        for what in ("mean", "spread"):
            both = (one.values[f"{what} of {name}"] for one in (others, fresh))
            assert np.log(np.divide(*both)) == pytest.approx(0.0, abs=0.05), "both end within a step of 3 %"


@pytest.mark.slow
def test_the_numbers_are_the_same_in_two_processes(growing):
    *_, fit = growing
    one, two = (leave_one_out(fit, regions=["P0", "P1", "P2"], draws=50, seed=4, workers=n) for n in (1, 2))
    for here, there in zip(one.series, two.series, strict=True):
        assert here.region == there.region
        assert here.forecast.figures == pytest.approx(there.forecast.figures, rel=1e-9)


def test_what_is_shared_is_one_number_and_regions_may_own_theirs(growing):
    likelihoods, *_ = growing
    fit = fit_family(likelihoods[:4], GROWTH, pooled=["growth rate"], own=["land"])
    assert fit.settled
    assert {"land [P0]", "growth rate [P0]", "mean of growth rate"} <= set(fit.names)
    shared = fit_family(likelihoods[:4], GROWTH, pooled=["growth rate"])
    assert "land" in shared.names and shared.frame()["parameter"].tolist() == ["growth rate"]


def test_shrinkage_is_drawn_region_by_region(growing):
    *_, alone, fit = growing
    figure = draw_shrinkage(shrinkage(fit, alone))
    assert len(figure.axes) == 2
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][::-1] == [f"P{k}" for k in range(12)]
    with pytest.raises(FitError, match=r"^nothing is pooled"):
        draw_shrinkage([])


def test_a_region_at_a_bound_keeps_its_family_within_reach():
    """The place of a region at a bound lies far out, and says nothing of where the mean of a family should begin."""
    likelihoods, _ = growing_family(4, 3)
    free = {"growth rate": LogUniform(0.05, 0.29), "land": LogNormal(600.0, 2.5)}
    alone = fit_alone(likelihoods, free, starts=1)
    assert any(abs(one.place[0]) > 10.0 for one in alone), "one of them stands at a bound"
    fit = fit_family(likelihoods, free, pooled=["growth rate"], alone=alone)
    assert fit.settled and abs(fit.place[fit.names.index("mean of growth rate")]) < 10.0
    (one,) = shrinkage(fit, alone)
    assert (one.alone_ends[1] > one.alone_ends[0]).all() and np.isfinite(one.alone_ends).all()


ERRORS = {
    "nothing pooled": (
        lambda some, fit: fit_family(some, GROWTH, pooled=[]),
        "nothing is pooled, so the regions are no family; name parameters in pooled=",
    ),
    "two regions": (
        lambda some, fit: fit_family(some[:2], GROWTH, pooled=["land"]),
        "2 regions cannot tell how far regions differ; give 3",
    ),
    "fits of other regions": (
        lambda some, fit: fit_family(some, GROWTH, pooled=["land"], alone=fit_alone(some[:2], GROWTH, starts=1)),
        "2 fits for 12 regions; one for each",
    ),
    "unknown region": (
        lambda some, fit: leave_one_out(fit, regions=["P99"]),
        "no region 'P99' to leave out (did you mean 'P9'?); there are P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11",
    ),
    "too few figures": (
        lambda some, fit: leave_one_out(fit, regions=["P1"], known=4),
        "'size' of P1 has 5 figures, too few to know 4 of them",
    ),
    "no draws": (
        lambda some, fit: leave_one_out(fit, draws=0),
        "known=0, draws=0; expected zero or more figures, and one draw or more",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_each_wrong_family_gives_one_clear_error(case, growing):
    make, expected = ERRORS[case]
    likelihoods, *_, fit = growing
    with pytest.raises(FitError) as caught:
        make(likelihoods, fit)
    assert str(caught.value) == expected
