"""Searches: a trust region that settles at bounds, in valleys and among failures, and global ones before it."""

import numpy as np
import pytest
from twins import GAUGES, RANGES, TRUTH, park, write_twin

import calibration as cal
import sd_cluster as sd
from calibration.objective import Objective
from calibration.optimisation import search_from
from calibration.searches import SEARCHES, Counted, CovarianceMatrixAdaptation, DifferentialEvolution, TrustRegion
from sd_cluster.errors import FitError

PARK = park()


@pytest.fixture(scope="module")
def objective(tmp_path_factory):
    """A twin with 4 % noise."""
    path = write_twin(tmp_path_factory.mktemp("searches") / "twin.csv", noise=0.04, seed=2)
    return cal.Misfit(PARK, sd.Space(RANGES), GAUGES, cal.read_dataset(path))


@pytest.mark.parametrize(
    "search", [TrustRegion(), DifferentialEvolution(generations=8, population=3), CovarianceMatrixAdaptation(25)]
)
def test_all_searches_end_in_the_same_optimum(objective, search):
    origin = objective.sample_prior(1, seed=5)[0]
    best = search_from(objective, TrustRegion(), 0, 0, objective.place(_near_truth(objective)))
    found = search_from(objective, search, 3, 1, origin)
    assert found.outcome == "converged"
    assert found.payoff == pytest.approx(best.payoff, abs=1e-6)
    assert found.end == pytest.approx(best.end, rel=1e-4)


def _near_truth(objective):
    return np.array([1.05 * TRUTH.get(name, 0.05) for name in objective.names])


@pytest.mark.parametrize("search", [DifferentialEvolution(2, 2), CovarianceMatrixAdaptation(2)])
def test_a_global_search_is_a_function_of_its_seed(objective, search):
    counted = [Counted(objective) for _ in range(3)]
    ends = [search.descend(one, objective.start, seed)[0] for one, seed in zip(counted, (1, 1, 2), strict=True)]
    assert np.array_equal(ends[0], ends[1])
    assert counted[0].runs == counted[1].runs


def test_steps_near_an_end_of_a_range_are_newtons(objective):
    """Without the bend of the coordinate the trust region took hundreds of tiny steps towards a bound."""
    bounded = cal.Misfit(
        PARK, sd.Space({**RANGES, "growth rate": (0.05, 0.25)}), GAUGES, objective.likelihoods[0].dataset
    )
    found = search_from(bounded, TrustRegion(), 0, 0, bounded.start)
    assert found.outcome == "converged"
    assert found.end[0] == pytest.approx(0.25, rel=1e-4)
    assert found.runs < 80


def test_curvature_is_the_hessian_of_the_payoff_where_figures_are_met(tmp_path):
    """Where residuals vanish, the expected information is the whole Hessian by the free parameters."""
    data = cal.read_dataset(write_twin(tmp_path / "exact.csv"))
    exact = cal.Misfit(PARK, sd.Space(RANGES), GAUGES, data, noise=dict.fromkeys(GAUGES.gauges, 0.05))
    place = exact.place(np.array([TRUTH[name] for name in exact.names]))
    step = 1e-4
    rows = []
    for k in range(place.size):
        sides = [exact.payoff_and_gradient(place + sign * step * np.eye(place.size)[k])[1] for sign in (-1.0, 1.0)]
        rows.append((sides[1] - sides[0]) / (2.0 * step))
    curvature = Counted(exact).curvature(place)
    assert curvature == pytest.approx(np.array(rows), rel=2e-4, abs=2e-4 * np.abs(curvature).max())


def test_an_unknown_without_effect_stays_where_it_is(objective):
    """A singular curvature once sent what has no effect to the end of its range."""
    firms = cal.Measurement({"firms": cal.Level("firms")})
    space = sd.Space({"growth rate": (0.05, 0.6), "occupancy": (0.2, 1)})
    silent = cal.Misfit(PARK, space, firms, objective.likelihoods[0].dataset)
    found = search_from(silent, TrustRegion(), 0, 0, silent.start)
    assert found.end[1] == pytest.approx(0.8, rel=1e-9)


def test_two_regions_are_fitted_at_once(tmp_path):
    """What regions share is found from both; what each has to itself from its own figures."""
    likelihoods = []
    for number, growth in enumerate((0.31, 0.31)):
        data = cal.read_dataset(write_twin(tmp_path / f"{number}.csv", noise=0.01, seed=number))
        assert growth == TRUTH["growth rate"]
        one = cal.Likelihood(PARK, data, GAUGES, ["growth rate", "land"], region=f"park {number}",
                             scenario=sd.Scenario("true", {"initial firms": 25.0, "occupancy": 0.7}))  # fmt: skip
        likelihoods.append(one)
    priors = {"growth rate": cal.LogNormal(0.25, 2.0), "land": cal.LogNormal(500.0, 3.0)}
    both = Objective(likelihoods, priors, own=["land"])
    fit = cal.minimise(both, starts=2, workers=1, progress=False)
    assert [one.name for one in fit.regions] == ["park 0", "park 1"]
    assert fit["growth rate"] == pytest.approx(0.31, rel=0.02)
    assert fit.scenario(region="park 1").changes["land"] == fit["land [park 1]"]
    assert fit.series_frame()["region"].tolist() == ["park 0"] * 3 + ["park 1"] * 3
    assert "firms [park 1]" in str(fit)
    with pytest.raises(FitError, match=r"^the fit has no region 'park 2' \(did you mean"):
        fit.of_region("park 2")
    again = cal.load_fit(fit.save(tmp_path / "fit.json"), both)
    assert str(again) == str(fit)
    run = cal.simulate_fit(fit, region="park 1")
    assert run.scenario == "fitted to park 1"


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("trust region", {"steps": 0}, "steps=0; expected a whole number of at least 1"),
        ("differential evolution", {"population": 1}, "population=1; expected a whole number of at least 2"),
        ("cma-es", {"population": 2.5}, "population=2.5; expected a whole number of at least 4"),
        ("cma-es", {"width": 0.0}, "width=0.0; expected a positive number, such as 1.0"),
    ],
)
def test_wrong_settings(kind, options, told):
    with pytest.raises(FitError) as caught:
        SEARCHES[kind](**options)
    assert str(caught.value) == told
