"""Sensitivity indices: functions whose indices are known, SALib's own numbers, and what is refused."""

import inspect
import itertools
import math
import re
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm, qmc, rankdata, t
from support import assert_close, tiny

import sd_cluster as sd
from sd_cluster import designs, estimators
from sd_cluster.correlation import Correlation
from sd_cluster.draws import Draws
from sd_cluster.measures import Final, FirstAbove
from sd_cluster.points import sobol_points
from sd_cluster.sensitivity import delta, dgsm, fast, morris, pawn, prcc, rbd_fast, shapley, sobol
from sd_cluster.space import Space

EVERY = (sobol, morris, fast, rbd_fast, pawn, delta, prcc, dgsm, shapley)
FEW = {delta: {"samples": 200, "resamples": 4}}
"""Settings for methods that are slow, where the numbers themselves are not asked about."""

FIRST = (sobol, fast, rbd_fast)
ISHIGAMI_SPACE = Space(dict.fromkeys(("x1", "x2", "x3"), (-np.pi, np.pi)))


def ishigami(x):
    return np.sin(x[:, 0]) + 7.0 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def ishigami_truth():
    one, two, both = 0.5 * (1 + 0.1 * np.pi**4 / 5) ** 2, 7**2 / 8, 8 * 0.1**2 * np.pi**8 / 225
    whole = one + two + both
    return np.array([one, two, 0.0]) / whole, np.array([one + both, two, both]) / whole, both / whole


A = np.array([0.0, 1.0, 4.5, 9.0])
G_SPACE = Space({f"x{number}": (0, 1) for number in range(len(A))})


def g_function(x):
    return np.prod((np.abs(4.0 * x - 2.0) + A) / (1.0 + A), axis=1)


def g_truth():
    own = 1.0 / (3.0 * (1.0 + A) ** 2)
    whole = np.prod(1.0 + own) - 1.0
    return own / whole, own * np.prod(1.0 + own) / (1.0 + own) / whole, np.outer(own, own) / whole


WEIGHTS = np.array([3.0, 2.0, 1.0, 0.0])
LINEAR_SPACE = Space({"a": (0, 1), "b": (-1, 0), "c": (2, 3), "idle": (0, 1)})
LINEAR_TRUTH = WEIGHTS**2 / (WEIGHTS**2).sum()


def linear(x):
    return x @ WEIGHTS


def holds(indices, kind, truth, *, beyond=0.0):
    """Whether intervals, made wider by `beyond`, hold the truth; never for lack of numbers."""
    low, high = indices.low[kind][:, 0, 0] - beyond, indices.high[kind][:, 0, 0] + beyond
    assert np.isfinite(low).all()
    return ((low <= truth) & (truth <= high)).all()


# ------------------------------------------------------------------ known truths


def test_sobol_finds_ishigami_within_its_intervals():
    first, total, both = ishigami_truth()
    found = sobol(ishigami, ISHIGAMI_SPACE, samples=4096, second_order=True, seed=1)
    assert holds(found, "first", first)
    assert holds(found, "total", total)
    pair = found["second"][0, 2, 0, 0], found.low["second"][0, 2, 0, 0], found.high["second"][0, 2, 0, 0]
    assert pair[1] <= both <= pair[2]
    assert_close(found["second"][0, 1], 0.0, 0.0, 0.03, because="x1 and x2 add up; intervals are this wide")
    assert np.isnan(np.diagonal(found["second"][:, :, 0, 0])).all()
    assert found.settled


def test_sobol_finds_the_g_function_within_its_intervals():
    first, total, second = g_truth()
    found = sobol(g_function, G_SPACE, samples=4096, second_order=True, seed=2)
    assert holds(found, "first", first)
    assert holds(found, "total", total)
    upper = np.triu_indices(4, 1)
    low, high = found.low["second"][..., 0, 0][upper], found.high["second"][..., 0, 0][upper]
    assert ((low <= second[upper]) & (second[upper] <= high)).all()


def test_intervals_of_sobol_hold_the_truth_about_as_often_as_they_say():
    first, total, _ = g_truth()
    held = []
    for seed in range(30):
        found = sobol(g_function, G_SPACE, samples=256, seed=seed)
        for kind, truth in (("first", first), ("total", total)):
            held.append((found.low[kind][:, 0, 0] <= truth) & (truth <= found.high[kind][:, 0, 0]))
    assert np.mean(held) > 0.9


@pytest.mark.parametrize("method", FIRST, ids=lambda method: method.__name__)
def test_shares_of_a_linear_model(method):
    found = method(linear, LINEAR_SPACE, seed=3)
    beyond = 0.0 if method is sobol else 0.01
    assert holds(found, "first", LINEAR_TRUTH, beyond=beyond)
    assert_close(found["first"][:, 0, 0], LINEAR_TRUTH, 0.0, 0.04, because="a thousand samples")


def test_totals_of_an_additive_model_are_its_first_orders():
    found = sobol(lambda x: np.exp(x[:, 0]) + x[:, 1] ** 2, LINEAR_SPACE, seed=4, samples=2048)
    variance = np.array([(np.e**2 - 1) / 2 - (np.e - 1) ** 2, 4 / 45, 0.0, 0.0])
    assert holds(found, "first", variance / variance.sum())
    assert holds(found, "total", variance / variance.sum())


def test_fast_finds_ishigami_up_to_the_bias_of_its_harmonics():
    first, total, _ = ishigami_truth()
    """SALib's own number of points lets x1 and x3 together fold back onto x3, which then reads 0.024 and not nought."""
    found = fast(ishigami, ISHIGAMI_SPACE, samples=1000, seed=1)
    assert found.samples == 1024
    assert_close(found["first"][:, 0, 0], first, 0.0, 0.01, because="four harmonics are kept")
    assert_close(found["total"][:, 0, 0], total, 0.0, 0.03, because="harmonics above the fourth fall to the total")


def test_rbd_fast_finds_ishigami():
    first, _, _ = ishigami_truth()
    found = rbd_fast(ishigami, ISHIGAMI_SPACE, samples=4096, seed=1)
    assert_close(found["first"][:, 0, 0], first, 0.0, 0.03, because="chance of four thousand runs")
    assert holds(found, "first", first, beyond=0.01)


def test_effects_of_a_linear_model_are_its_weights_over_the_range():
    found = morris(linear, Space({"a": (0, 2), "b": (-1, 0), "c": (2, 3), "idle": (0, 1)}), seed=5)
    assert_close(found["mu_star"].ravel(), [6.0, 2.0, 1.0, 0.0], 1e-12, 1e-12, because="a straight line has one slope")
    assert_close(found["sigma"].ravel(), 0.0, 0.0, 1e-7, because="the slope is the same everywhere")
    assert found.ranking() == ("a", "b", "c", "idle")


def test_derivative_bound_of_a_linear_model():
    found = dgsm(linear, LINEAR_SPACE, samples=512, seed=6)
    assert holds(found, "dgsm", 12.0 / np.pi**2 * LINEAR_TRUTH, beyond=1e-3)
    assert_close(found["mean square"].ravel(), WEIGHTS**2, 1e-9, 1e-12, because="the slope is the same everywhere")


def test_derivative_bounds_lie_above_the_totals():
    _, total, _ = ishigami_truth()
    found = dgsm(ishigami, ISHIGAMI_SPACE, samples=1024, seed=6)
    assert (found["dgsm"].ravel() > total).all()


def test_delta_of_a_sum_of_two():
    grid = (np.arange(400) + 0.5) / 400
    y = 2.0 * grid
    density = np.where(y < 1.0, y, 2.0 - y)
    within = (y[None, :] > grid[:, None]) & (y[None, :] < grid[:, None] + 1.0)
    truth = 0.5 * np.abs(density[None, :] - within).mean(axis=0).sum() * (y[1] - y[0])
    found = delta(lambda x: x[:, 0] + x[:, 1], Space({"a": (0, 1), "b": (0, 1), "idle": (0, 1)}), resamples=5, seed=7)
    assert_close(
        found["delta"].ravel(), [truth, truth, 0.0], 0.0, 0.08, because="kernels smooth the edges of densities"
    )
    assert any("without influence reads about 0.0" in note for note in found.notes)


def test_pawn_of_a_step_is_known():
    """The answer is the sign of x: a slice on one side has one value, all runs half of each: the distance is 0.5."""
    found = pawn(lambda x: np.sign(x[:, 0]), Space({"x": (-1, 1), "idle": (0, 1)}), samples=2000, seed=8)
    assert_close(found["median"][0, 0, 0], 0.5, 0.0, 0.01, because="ten slices of two hundred runs")
    assert found["median"][1, 0, 0] < 0.1


@pytest.mark.parametrize("method", EVERY, ids=lambda method: method.__name__)
def test_a_parameter_that_is_ignored_gives_nothing(method):
    few = {"resamples": 5} if method is delta else {}
    space = Space({"a": (0, 1), "b": (0, 1), "idle": (0, 1)})
    found = method(lambda x: np.exp(x[:, 0]) + x[:, 1], space, seed=9, **few)
    idle, least = found[found.main][2, 0, 0], found[found.main][:2].min()
    assert abs(idle) < {pawn: 0.5, delta: 0.25}.get(method, 0.15) * least
    if method in (sobol, morris, dgsm):
        assert abs(idle) < 1e-12
    assert found.ranking()[-1] == "idle"


# ------------------------------------------------------------------ ranks and correlated inputs


def sample(n=300, seed=0):
    random = np.random.default_rng(seed)
    x = random.random((n, 4))
    x[:, 1] += 0.5 * x[:, 0]
    return x, np.exp(2 * x[:, 0] - x[:, 1]) + 0.2 * random.standard_normal(n)


def test_prcc_is_minus_the_inverse_of_the_rank_correlations():
    x, y = sample()
    found = estimators.prcc(x, y[:, None])[:, 0]
    inverse = np.linalg.inv(np.corrcoef(rankdata(np.column_stack([x, y]), axis=0).T))
    expected = -inverse[:4, 4] / np.sqrt(np.diag(inverse)[:4] * inverse[4, 4])
    assert_close(found, expected, 1e-11, because="two ways to the same inverse")


def test_prcc_is_the_correlation_of_what_regression_leaves():
    x, y = sample()
    ranks, answers = rankdata(x, axis=0), rankdata(y)
    for j in range(4):
        others = np.column_stack([np.ones(len(x)), np.delete(ranks, j, axis=1)])
        left = [v - others @ np.linalg.lstsq(others, v)[0] for v in (ranks[:, j], answers)]
        expected = np.corrcoef(left)[0, 1]
        assert_close(estimators.prcc(x, y[:, None])[j, 0], expected, 1e-10, because="the same number by least squares")


def test_prcc_of_what_one_parameter_settles_alone_is_zero_for_the_others():
    """What regression left was rounding, with which the others were correlated by one or minus one."""
    box = Space({"only": (0, 1), "idle": (0, 1), "other": (0, 1)})
    found = prcc(lambda x: x[:, 0] ** 3, box, samples=200, seed=2)["prcc"].ravel()
    assert_close(found, [1.0, 0.0, 0.0], 0.0, 1e-5, because="left of a variance is at least 1e-12")


def test_prcc_is_tested_by_t():
    x, y = sample()
    found = estimators.prcc(x, y[:, None])
    statistic = found * np.sqrt((300 - 2 - 3) / (1 - found**2))
    assert_close(
        estimators.prcc_test(found, 300), 2 * t.sf(np.abs(statistic), 295), 1e-9, because="the formula of Marino et al."
    )
    assert_close(estimators.prcc_test(np.ones((1, 1)), 300), 0.0, 0.0, because="a perfect correlation is no chance")


def test_p_values_of_idle_parameters_are_even():
    chances = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        found = estimators.prcc(random.random((60, 3)), random.random((60, 1)))
        chances += list(estimators.prcc_test(found, 60).ravel())
    assert_close(np.quantile(chances, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], 0.0, 0.06, because="600 draws")


def shapley_truth(weights, covariance):
    """Shapley effects of a linear model of normal inputs, over all subsets."""
    d, along = len(weights), covariance @ weights

    def explained(known):
        if not known:
            return 0.0
        known = list(known)
        return along[known] @ np.linalg.solve(covariance[np.ix_(known, known)], along[known])

    effects = np.zeros(d)
    for i in range(d):
        others = [j for j in range(d) if j != i]
        for size in range(d):
            for known in itertools.combinations(others, size):
                gain = explained((*known, i)) - explained(known)
                effects[i] += gain / (d * math.comb(d - 1, size))
    return effects / explained(range(d))


def normals(matrix, names):
    return Space({name: norm() for name in names}, correlation=Correlation(names, matrix, kind="normal"))


@pytest.mark.parametrize("samples", [12_000, 12_001])
def test_shapley_effects_of_correlated_normals(samples):
    matrix = np.array([[1.0, 0.7, 0.0], [0.7, 1.0, 0.3], [0.0, 0.3, 1.0]])
    weights = np.array([1.0, 0.0, 2.0])
    found = shapley(lambda x: x @ weights, normals(matrix, ("a", "b", "c")), samples=samples, seed=10)
    truth = shapley_truth(weights, matrix)
    assert truth[1] > 0.05, "b has no weight of its own, but goes together with those that have"
    assert holds(found, "shapley", truth)
    assert_close(found["shapley"].sum(), 1.0, 1e-12, because="gains of a permutation add up to the variance")


def test_shapley_effects_of_two_normals_are_those_of_owen_and_prieur():
    rho, b1, b2 = 0.6, 2.0, 1.0
    whole = b1**2 + b2**2 + 2 * rho * b1 * b2
    truth = (b1**2 * (1 - rho**2 / 2) + rho * b1 * b2 + b2**2 * rho**2 / 2) / whole
    assert_close(
        shapley_truth(np.array([b1, b2]), np.array([[1.0, rho], [rho, 1.0]]))[0], truth, 1e-12, because="closed form"
    )
    found = shapley(
        lambda x: b1 * x[:, 0] + b2 * x[:, 1], normals([[1, rho], [rho, 1]], ("a", "b")), samples=8000, seed=11
    )
    assert holds(found, "shapley", np.array([truth, 1 - truth]))


def test_shapley_effects_by_random_orders_when_there_are_many_parameters():
    weights = np.arange(9.0)
    found = shapley(lambda x: x @ weights, Space({f"x{number}": (0, 1) for number in range(9)}), samples=4000, seed=12)
    assert_close(found["shapley"].ravel(), weights**2 / (weights**2).sum(), 0.0, 0.03, because="four thousand orders")


def test_methods_that_suppose_independence_refuse_a_space_without_it():
    space = normals([[1, 0.5], [0.5, 1]], ("a", "b"))
    for method in (sobol, morris, fast, dgsm):
        with pytest.raises(sd.ScenarioError, match="use shapley"):
            method(lambda x: x[:, 0], space)
    rows = Space.rows({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    with pytest.raises(sd.ScenarioError, match="rows of a table"):
        shapley(lambda x: x[:, 0], rows)


# ------------------------------------------------------------------ the numbers of SALib


def problem(space):
    bounds = [list(ends) for ends in space.ranges.values()]
    return {"num_vars": len(bounds), "names": list(space.names), "bounds": bounds}


@pytest.fixture
def quiet():
    """SALib sets global things, warnings among them: they are put back."""
    state = np.random.get_state()  # noqa: NPY002
    form = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    warnings.formatwarning = form
    np.random.set_state(state)  # noqa: NPY002


@pytest.mark.parametrize("second_order", [False, True])
def test_sobol_equals_salib_on_the_same_sample(quiet, second_order):
    from SALib.analyze import sobol as analyse
    from SALib.sample import sobol as draw

    x = draw.sample(problem(ISHIGAMI_SPACE), 128, calc_second_order=second_order, seed=np.random.default_rng(5))
    ours = ISHIGAMI_SPACE.from_unit(designs.radial(3, 128, 5, second_order=second_order))
    assert_close(ours, x, 1e-15, 1e-15, because="the same design, bit for bit but for the scaling")
    columns = np.column_stack([ishigami(x) + 40.0, linear(np.column_stack([x, x[:, 0]])) ** 3])
    values = columns.reshape(128, -1, 2)
    picked = estimators.picks(128, 50, np.random.default_rng(7))
    found = estimators.sobol(values, picked, second_order=second_order)
    z = norm.ppf(0.975)
    for column in range(2):
        theirs = analyse.analyze(
            problem(ISHIGAMI_SPACE), columns[:, column], calc_second_order=second_order, num_resamples=50, seed=7
        )
        why = "the same formulas, summed in another order"
        for ours, name in ((found.first, "S1"), (found.total, "ST")):
            assert_close(ours[0][:, column], theirs[name], 1e-12, 1e-12, because=why)
            assert_close(z * ours[1][:, column], theirs[f"{name}_conf"], 1e-10, 1e-12, because=why)
        if second_order:
            upper = np.triu_indices(3, 1)
            assert_close(found.second[0][*upper, column], theirs["S2"][upper], 1e-12, 1e-12, because=why)
            assert_close(z * found.second[1][*upper, column], theirs["S2_conf"][upper], 1e-10, 1e-12, because=why)


def test_morris_equals_salib_on_the_same_sample(quiet):
    from SALib.analyze import morris as analyse

    unit = designs.trajectories(3, 20, 3)
    x = ISHIGAMI_SPACE.from_unit(unit)
    theirs = analyse.analyze(problem(ISHIGAMI_SPACE), x, ishigami(x), num_resamples=10, seed=1)
    picked = estimators.picks(20, 10, np.random.default_rng(0))
    found = estimators.morris(unit.reshape(20, 4, 3), ishigami(x).reshape(20, 4, 1), picked)
    for kind in ("mu", "mu_star", "sigma"):
        assert_close(found[kind][0][:, 0], theirs[kind], 1e-9, 1e-9, because="steps of thirds are rounded")


def test_fast_equals_salib_on_the_same_sample(quiet):
    from SALib.analyze import fast as analyse

    x = ISHIGAMI_SPACE.from_unit(designs.curves(3, 301, 1, 4))
    theirs = analyse.analyze(problem(ISHIGAMI_SPACE), ishigami(x), num_resamples=2, seed=1)
    first, total = estimators.fast(ishigami(x).reshape(3, 301, 1))
    assert_close(first[:, 0], theirs["S1"], 1e-12, 1e-12, because="the same transform")
    assert_close(total[:, 0], theirs["ST"], 1e-12, 1e-12, because="the same transform")


def test_given_data_estimators_equal_salib_on_the_same_sample(quiet):
    from SALib.analyze import dgsm as analyse_dgsm
    from SALib.analyze import pawn as analyse_pawn
    from SALib.analyze import rbd_fast as analyse_rbd

    x = ISHIGAMI_SPACE.sample(500, method="lhs", seed=1).values
    y = np.column_stack([ishigami(x), np.round(ishigami(x))])
    first, (median, largest) = estimators.rbd_fast(x, y), estimators.pawn(x, y)
    for column in range(2):
        own = y[:, column].copy()
        theirs = analyse_rbd.analyze(problem(ISHIGAMI_SPACE), x, own, num_resamples=2, seed=1)
        assert_close(first[:, column], theirs["S1"], 1e-10, 1e-12, because="one periodogram, two ways")
        theirs = analyse_pawn.analyze(problem(ISHIGAMI_SPACE), x, own, seed=1)
        assert_close(median[:, column], theirs["median"], 1e-12, 1e-12, because="distances between the same steps")
        assert_close(largest[:, column], theirs["maximum"], 1e-12, 1e-12, because="distances between the same steps")
    unit, steps = designs.differences(3, 64, 2)
    x = ISHIGAMI_SPACE.from_unit(unit)
    theirs = analyse_dgsm.analyze(problem(ISHIGAMI_SPACE), x, ishigami(x), num_resamples=2, seed=1)
    picked = estimators.picks(64, 10, np.random.default_rng(0))
    found = estimators.dgsm(ishigami(x).reshape(64, 4, 1), steps, picked)
    assert_close(found["dgsm"][0][:, 0], theirs["dgsm"], 1e-9, because="differences over the same steps")


# ------------------------------------------------------------------ what is counted, said and refused


def failing(share):
    def function(x):
        return np.where(x[:, 0] < share, np.nan, linear(x))

    return function


def test_blocks_with_a_lost_run_are_dropped_whole_and_reported():
    found = sobol(failing(0.004), LINEAR_SPACE, samples=256, seed=13)
    unit = designs.radial(4, 256, 13, second_order=False).reshape(256, 6, 4)
    kept = (unit[:, :, 0] >= 0.004).all(axis=1)
    gone = int((unit[:, :, 0] < 0.004).sum())
    assert 0 < (~kept).sum() <= 0.05 * 256
    assert found.failed == gone
    assert any(f"{gone} of 1536 runs were lost and with them {(~kept).sum()} of 256 blocks" in n for n in found.notes)
    values = linear(LINEAR_SPACE.from_unit(unit[kept].reshape(-1, 4))).reshape(-1, 6, 1)
    expected = estimators.sobol(values, estimators.picks(int(kept.sum()), 2, np.random.default_rng(0))).first[0]
    assert_close(found["first"][:, 0], expected, 1e-12, because="the blocks that are left")


@pytest.mark.parametrize("method", EVERY, ids=lambda method: method.__name__)
def test_an_analysis_that_lost_too_much_is_refused(method):
    with pytest.raises(sd.SimulationError, match=r"lost.*pass allow_failures=True|nothing is left"):
        method(failing(0.2), LINEAR_SPACE)


def test_losses_may_be_allowed_and_are_then_said():
    found = prcc(failing(0.2), LINEAR_SPACE, samples=200, allow_failures=True)
    assert found.failed == 40
    assert "40 of 200 runs were lost (20.0%)" in str(found)
    with pytest.raises(sd.SimulationError, match="nothing is left to analyse"):
        prcc(failing(2.0), LINEAR_SPACE, samples=200, allow_failures=True)


@pytest.mark.parametrize("method", EVERY, ids=lambda method: method.__name__)
def test_an_output_that_does_not_vary_is_explained(method):
    def two(x):
        return np.column_stack([linear(x), np.full(len(x), 0.1 + 0.2)])

    found = method(two, LINEAR_SPACE, of=["moving", "still"], **FEW.get(method, {}))
    values = found[found.main]
    assert np.isfinite(values[:, 0]).all()
    assert np.isnan(values[:, 1]).all() or (method is morris and (values[:, 1] == 0.0).all())
    assert any("'still' does not vary" in note for note in found.notes)
    assert "'still'" in str(found)


@pytest.mark.parametrize("method", EVERY, ids=lambda method: method.__name__)
def test_the_same_seed_gives_the_same_numbers_and_leaves_the_world_alone(method):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (method(ishigami, ISHIGAMI_SPACE, seed=seed, **FEW.get(method, {})) for seed in (1, 1, 2))
    for kind in one.values:
        np.testing.assert_array_equal(one[kind], same[kind])
        if kind in one.low:
            np.testing.assert_array_equal(one.low[kind], same.low[kind])
    assert not np.array_equal(one[one.main], other[one.main])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("method", EVERY, ids=lambda method: method.__name__)
def test_columns_together_give_what_each_gives_alone(method):
    def both(x):
        return np.column_stack([ishigami(x), x[:, 1] ** 3])

    few = FEW.get(method, {})
    together, alone = method(both, ISHIGAMI_SPACE, of=["one", "two"], **few), method(ishigami, ISHIGAMI_SPACE, **few)
    for kind, values in alone.values.items():
        part = together[kind][:, :, :1] if values.ndim == 4 else together[kind][:, :1]
        assert_close(part, values, 1e-9, 1e-12, because="sums may run in another order")


def test_the_verdict_says_what_to_do():
    rough, fine = (sobol(ishigami, ISHIGAMI_SPACE, samples=n, seed=1) for n in (64, 8192))
    assert not rough.settled
    assert rough.verdict.startswith("not settled: the interval of 'x")
    assert "wider than 0.1" in rough.verdict
    factor, wanted = re.search(r"take (\d+) times the samples, ([\d,]+)$", rough.verdict).groups()
    wanted = int(wanted.replace(",", ""))
    assert wanted == 64 * int(factor)
    taken = sobol(ishigami, ISHIGAMI_SPACE, samples=wanted, seed=1)
    assert np.nanmax(taken._widths()) < 1.3 * taken.tolerance, "what it asked for is about enough"
    nearly = sobol(ishigami, ISHIGAMI_SPACE, samples=64, seed=1, tolerance=0.8 * np.nanmax(rough._widths()))
    assert nearly.verdict.endswith("double the samples, 128")
    assert fine.settled
    assert fine.verdict.startswith("settled")
    assert sobol(ishigami, ISHIGAMI_SPACE, samples=64, seed=1, tolerance=2.0).settled


@pytest.mark.parametrize("method", [morris, dgsm, pawn])
def test_intervals_of_what_is_never_negative_end_at_zero(method):
    """A bound of 1.5 was told with an interval from -0.6 on."""
    found = method(lambda x: np.exp(9.0 * x[:, 0]), LINEAR_SPACE, samples=64, seed=1)
    for kind in set(found.low) - {"mu"}:
        assert (found.low[kind] >= 0.0).all()
        assert (found.low[kind] <= found[kind]).all() and (found[kind] <= found.high[kind]).all()


def test_a_p_value_too_small_for_a_double_is_not_told_as_zero():
    text = str(prcc(linear, LINEAR_SPACE, samples=512, seed=1))
    assert "< 1e-16" in text


def test_intervals_widen_with_the_level():
    narrow, wide = (sobol(ishigami, ISHIGAMI_SPACE, samples=64, level=level) for level in (0.5, 0.99))
    ratio = (wide.high["total"] - wide.low["total"]) / (narrow.high["total"] - narrow.low["total"])
    assert_close(ratio, norm.ppf(0.995) / norm.ppf(0.75), 1e-9, because="quantiles of the normal")


def test_orders_of_few_parameters_come_alike_and_this_is_said():
    found = shapley(linear, LINEAR_SPACE, samples=100, seed=1)
    assert found.samples == 120
    assert "100 samples were made 120: all orders of the parameters come alike" in found.notes


def test_samples_are_rounded_to_what_the_design_wants_and_this_is_said():
    found = sobol(ishigami, ISHIGAMI_SPACE, samples=100)
    assert found.samples == 128
    assert found.runs == 128 * 5
    assert "100 samples were made 128" in str(found)


def test_misspelt_settings_kinds_and_outputs_are_met_with_the_nearest():
    with pytest.raises(TypeError, match=r"sobol takes no 'horizn' \(did you mean 'horizon'\?\)"):
        sobol(ishigami, ISHIGAMI_SPACE, horizn=(0, 1))
    with pytest.raises(TypeError, match=r"sobol takes no 'resample' \(did you mean 'resamples'\?\)"):
        sobol(ishigami, ISHIGAMI_SPACE, resample=20)
    with pytest.raises(TypeError, match="fast takes no 'resamples'"):
        fast(ishigami, ISHIGAMI_SPACE, resamples=20)
    found = sobol(ishigami, ISHIGAMI_SPACE, samples=16)
    with pytest.raises(sd.ModelError, match=r"did you mean 'total'\?"):
        found["totl"]
    with pytest.raises(sd.ModelError, match=r"did you mean 'ishigami'\?"):
        found.plot("ishigam")
    with pytest.raises(sd.ScenarioError, match="say over which space"):
        prcc(ishigami)
    with pytest.raises(sd.ScenarioError, match="too few"):
        fast(ishigami, ISHIGAMI_SPACE, samples=20)
    with pytest.raises(sd.ModelError, match=r"level=1\.5"):
        sobol(ishigami, ISHIGAMI_SPACE, level=1.5)


@pytest.mark.parametrize(
    ("method", "wrong", "told"),
    [
        (sobol, {"samples": "8"}, "samples='8' should be a whole number"),
        (sobol, {"resamples": 1}, "resamples=1 should be a whole number from 2 on"),
        (sobol, {"seed": -1}, "seed=-1 should be a whole number from 0 on"),
        (sobol, {"tolerance": 0}, "tolerance=0 should be above zero"),
        (morris, {"levels": 3}, "levels=3 would reach some values more often; take an even number"),
        (pawn, {"slices": 0}, "slices=0 should be a whole number from 2 on"),
        (dgsm, {"step": 0.0}, "step=0 should be a small share of the range"),
        (sobol, {"space": None}, "Sobol's method goes over a space"),
        (shapley, {"space": None}, "Shapley effects go over a space"),
    ],
)
def test_settings_without_a_meaning_are_told(method, wrong, told):
    with pytest.raises(sd.SdClusterError, match=told):
        method(ishigami, **{"space": ISHIGAMI_SPACE, **wrong})


# ------------------------------------------------------------------ models, tables, figures

GROWTH = """
    stock = INTEG(gain, start) ~ thing
    gain = rate * stock ~ thing/Year
    start = 2 ~ thing
    rate = 0.1 ~ 1/Year
    idle = 1 ~ dmnl
    aside = idle ~ dmnl
"""


@cache
def growth():
    return tiny(GROWTH)


GROWTH_SPACE = Space({"rate": (0.05, 0.15), "start": (1, 3), "idle": (0, 1)})


def test_indices_of_a_model_over_time_are_those_of_its_closed_form():
    model = growth()
    found = sobol(model, GROWTH_SPACE, of=["stock", "aside"], samples=512, seed=1, rtol=1e-9)
    assert found["total"].shape == (3, 2, 11)
    np.testing.assert_array_equal(found.times, np.arange(11.0))
    assert_close(found["first"][:, 0, 0], [0.0, 1.0, 0.0], 0.0, 0.02, because="at the start only the start matters")
    closed = sobol(lambda x: x[:, 1] * np.exp(10 * x[:, 0]), GROWTH_SPACE, samples=512, seed=1)
    assert_close(found["total"][:, 0, -1], closed["total"][:, 0, 0], 1e-6, 1e-9, because="steps chosen for 1e-9")
    assert_close(found["total"][2, 0], 0.0, 0.0, 1e-12, because="the stock ignores idle")
    assert_close(found["first"][2, 1], 1.0, 0.0, 0.02, because="aside is idle and nothing else")
    table = found.frame()
    assert list(table.columns) == ["kind", "parameter", "with", "output", "time", "value", "low", "high"]
    assert len(table) == 2 * 3 * 2 * 11
    row = table.query("kind == 'total' and parameter == 'rate' and output == 'stock' and time == 10").iloc[0]
    assert row["value"] == found["total"][0, 0, -1]
    assert row["low"] == found.low["total"][0, 0, -1]


def test_indices_of_numbers_of_a_model():
    found = morris(growth(), GROWTH_SPACE, of=[Final("stock"), FirstAbove("stock", 2.5, otherwise=10.0)], seed=1)
    assert found.outputs == ("final stock", "first time of stock above 2.5")
    assert not found.over_time
    assert found.ranking("final stock") == ("start", "rate", "idle")
    assert found["mu"][1, 1, 0] < 0 < found["mu"][0, 0, 0]


def test_years_that_never_come_are_not_left_out_in_silence():
    with pytest.raises(sd.SimulationError, match="otherwise="):
        prcc(growth(), GROWTH_SPACE, of=FirstAbove("stock", 4.0), samples=64)


def test_courses_and_numbers_can_be_asked_together():
    """An analysis took either variables over time or numbers such as a peak, never both."""
    model, asked = growth(), ["stock", Final("stock"), FirstAbove("stock", 2.5, otherwise=10.0), "gain"]
    for method, few in ((sobol, {"samples": 64}), (prcc, {"samples": 64})):
        both = method(model, GROWTH_SPACE, of=asked, seed=1, **few)
        assert not both.over_time
        assert both.numbers == ("final stock", "first time of stock above 2.5")
        for one in asked:
            alone = method(model, GROWTH_SPACE, of=one, seed=1, **few)
            found = both.only(alone.outputs[0])
            np.testing.assert_array_equal(found.times, alone.times)
            assert found.numbers == alone.numbers
            for kind in alone.values:
                assert_close(found[kind], alone[kind], 1e-9, 1e-12, because="sums may run in another order")
    both = sobol(model, GROWTH_SPACE, of=asked, samples=64, seed=1)
    assert both.ranking("final stock") == both.ranking("stock", 10.0)
    assert both.ranking("stock", 0.0)[0] == "start"
    table = both.frame()
    assert len(table) == 2 * 3 * (2 * 11 + 2)
    assert set(table[table["time"].isna()]["output"]) == set(both.numbers)
    text = str(both)
    assert "'stock' at 10" in text
    assert "'final stock'\n" in text
    assert "nan" not in text
    for figure in (both.plot("final stock"), both.plot("stock"), both.plot("stock", time=3.0)):
        figure.draw_without_rendering()
        assert figure.axes
    with pytest.raises(sd.ModelError, match="no indices were worked out at 3"):
        both.plot("final stock", time=3.0)


def test_runs_of_an_analysis_may_stream_to_a_store_and_are_not_made_twice(tmp_path, monkeypatch):
    from sd_cluster import workers

    model, of = growth(), ["stock", Final("aside")]
    here = sobol(model, GROWTH_SPACE, of=of, samples=64, seed=1)
    stored = sobol(model, GROWTH_SPACE, of=of, samples=64, seed=1, store=tmp_path / "runs.zarr")
    monkeypatch.setattr(workers, "carry_out", None)
    again = sobol(model, GROWTH_SPACE, of=of, samples=64, seed=1, store=tmp_path / "runs.zarr")
    for kind in here.values:
        np.testing.assert_array_equal(stored[kind], here[kind])
        np.testing.assert_array_equal(again[kind], here[kind])
    with pytest.raises(sd.DataError, match="another sweep"):
        sobol(model, GROWTH_SPACE, of=of, samples=64, seed=2, store=tmp_path / "runs.zarr")


@pytest.fixture
def cramped(monkeypatch):
    """As if there were next to no memory; gives the settings of the files that tables lie in."""
    from sd_cluster import room

    files, opened = [], tempfile.TemporaryFile
    monkeypatch.setattr(room, "SHARE", 0.0)
    monkeypatch.setattr(estimators, "LARGEST", 1500)
    monkeypatch.setattr(room.tempfile, "TemporaryFile", lambda **how: (files.append(how), opened(**how))[1])
    return files


@pytest.mark.parametrize("method", EVERY)
def test_answers_that_take_much_memory_lie_in_a_file_and_are_taken_some_at_a_time(method, tmp_path, request):
    settings = {"of": ["stock", "aside"], "seed": 1, "save": 5.0, **FEW.get(method, {})}
    here = method(growth(), GROWTH_SPACE, **settings)
    files = request.getfixturevalue("cramped")
    there = method(growth(), GROWTH_SPACE, **settings, store=tmp_path / "runs.zarr")
    assert [how["dir"] for how in files] == [tmp_path / "runs.zarr"]
    for kind in here.values:
        np.testing.assert_allclose(there[kind], here[kind], rtol=1e-8, atol=1e-9, err_msg="sums in another order")
    assert not list((tmp_path / "runs.zarr").glob(".table*")), "the file went away"


@pytest.mark.slow
def test_what_is_left_of_lost_runs_lies_in_a_file_too(tmp_path, request):
    model = tiny(GROWTH.replace("aside = idle", "aside = idle+0*SQRT(idle-0.01)"), check_units=False)
    settings = {"of": ["stock", Final("aside")], "seed": 1, "samples": 128, "allow_failures": True}
    here = sobol(model, GROWTH_SPACE, **settings)
    files = request.getfixturevalue("cramped")
    there = sobol(model, GROWTH_SPACE, **settings, store=tmp_path / "runs.zarr")
    assert len(files) == 2
    assert there.failed == here.failed > 0
    np.testing.assert_allclose(there["total"], here["total"], rtol=1e-8, atol=1e-9, err_msg="sums in another order")


def test_an_analysis_of_stored_courses_never_holds_all_answers_in_memory(tmp_path, monkeypatch):
    import tracemalloc

    from sd_cluster import room

    monkeypatch.setattr(room, "SHARE", 0.0)
    monkeypatch.setattr(estimators, "LARGEST", 1 << 16)
    settings = {"of": ["stock", "aside"], "samples": 8192, "seed": 1, "resamples": 2, "save": 0.125}
    size = 8192 * 5 * 81 * 2 * 8
    morris(growth(), GROWTH_SPACE, **{**settings, "samples": 4})  # what is loaded once
    tracemalloc.start()
    try:
        sobol(growth(), GROWTH_SPACE, **settings, store=tmp_path / "runs.zarr")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * size, f"{peak / 2**20:.0f} of {size / 2**20:.0f} MiB"


@pytest.mark.slow
def test_runs_of_an_analysis_may_be_carried_out_by_a_cluster(tmp_path):
    pytest.importorskip("distributed", reason="dask.distributed comes with the cluster extra")
    script = tmp_path / "cluster.py"
    script.write_text(
        "import numpy as np\n"
        "import sd_cluster as sd\n"
        "from dask.distributed import Client, LocalCluster\n"
        "def main():\n"
        "    model = sd.load('collective_learning')\n"
        "    space = sd.Space({'talent flow': (0, 1), 'initial trust': (0.2, 0.8)})\n"
        "    asked = {'of': ['private knowledge', sd.Final('trust')], 'samples': 1024, 'save': 10.0}\n"
        "    here = sd.sobol(model, space, **asked)\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:\n"
        "        with Client(cluster) as client:\n"
        "            there = sd.sobol(model, space, client=client, **asked)\n"
        "            both = sd.sobol(model, space, client=client, store='runs.zarr', **asked)\n"
        "    for found in (there, both):\n"
        "        for kind in here.values:\n"
        "            np.testing.assert_array_equal(found[kind], here[kind])\n"
        "    print('equal')\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=240, cwd=tmp_path, check=False
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_the_first_analysis_of_a_process_waits_for_no_library_it_does_not_need():
    """The first call took three times as long as the second, most of it imports."""
    script = (
        "import sys, sd_cluster as sd\n"
        "sd.sobol(lambda x: x[:, 0], sd.Space({'a': (0, 1), 'b': (0, 1)}))\n"
        "print([name for name in ('SALib', 'matplotlib', 'pandas', 'scipy.stats', 'xarray') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("method", [*EVERY, sd.discover], ids=lambda method: method.__name__)
def test_help_tells_all_that_a_method_takes(method):
    told = inspect.getdoc(method)
    assert "See `Settings`" not in told
    for name in ("subject", "seed", "allow_failures", "store", "client", "threads"):
        assert re.search(rf"\n    {name}\b|\n{name}\b|\n.*, {name}\b", told), name
    assert ("tolerance" in told) == (method is not sd.discover)


def test_discovery_without_its_extra_says_what_to_install(monkeypatch):
    for method, library in (("prim", "ema_workbench"), ("cart", "sklearn")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(sd.ModelError, match=r"needs \w+; pip install 'sd-cluster\[discovery\]'"):
            sd.discover(linear, LINEAR_SPACE, success=Final("sum") > 3.0, method=method)


@pytest.mark.parametrize(("dimensions", "power"), [(1, 0), (1, 3), (2, 1), (7, 10), (150, 6)])
def test_sobol_points_are_those_of_scipy(dimensions, power):
    for seed in (0, 7):
        ours = sobol_points(dimensions, power, seed)
        theirs = qmc.Sobol(dimensions, rng=np.random.default_rng(seed)).random_base2(power)
        np.testing.assert_array_equal(ours, theirs)


def test_sobol_points_are_had_also_where_scipy_keeps_no_direction_numbers(monkeypatch):
    from sd_cluster import points

    expected = sobol_points(5, 4, 1)
    monkeypatch.setattr(points, "_table", lambda: (np.empty(0), np.empty(0)))
    np.testing.assert_array_equal(sobol_points(5, 4, 1), expected)


def test_an_ensemble_that_is_there_can_be_asked_many_things():
    from sd_cluster.ensemble import sweep

    ensemble = sweep(growth(), GROWTH_SPACE.sample(256, seed=3), outputs=["stock"])
    for method in (prcc, rbd_fast, pawn):
        found = method(ensemble, of=Final("stock"))
        assert found.runs == 256
        assert found.ranking()[-1] == "idle"
    with pytest.raises(sd.ScenarioError, match="leave the space out"):
        prcc(ensemble, GROWTH_SPACE, of="stock")
    with pytest.raises(sd.ModelError, match=r"have not saved 'gain'"):
        prcc(ensemble, of="gain")


def test_second_order_stands_in_the_table_once_a_pair():
    found = sobol(ishigami, ISHIGAMI_SPACE, samples=64, second_order=True)
    pairs = found.frame().query("kind == 'second'")
    assert list(zip(pairs["parameter"], pairs["with"], strict=True)) == [("x1", "x2"), ("x1", "x3"), ("x2", "x3")]
    with pytest.raises(sd.ModelError, match="frame"):
        found.plot(kind="second")


def test_the_printed_report():
    golden = Path(__file__).parent / "golden" / "indices.txt"
    found = sobol(lambda x: np.column_stack([linear(x), np.ones(len(x))]), LINEAR_SPACE, of=["sum", "one"], seed=1)
    assert str(found) + "\n" == golden.read_text(encoding="utf-8")


def test_figures_are_drawn():
    model = growth()
    course = sobol(model, GROWTH_SPACE, of="stock", samples=16)
    for figure in (
        course.plot(),
        course.plot(kind="first", time=10.0),
        morris(model, GROWTH_SPACE, of=Final("stock"), samples=8).plot(),
        prcc(ishigami, ISHIGAMI_SPACE, samples=64).plot(),
    ):
        figure.draw_without_rendering()
        assert figure.axes
    with pytest.raises(sd.ModelError, match=r"no indices were worked out at 3\.3"):
        course.plot(time=3.3)


def test_draws_of_a_distribution_are_drawn_through_their_quantiles():
    space = Space({"a": norm(0.0, 2.0), "b": norm(0.0, 1.0)})
    for method in (sobol, fast, rbd_fast):
        found = method(lambda x: x[:, 0] + x[:, 1], space, seed=3)
        assert_close(found["first"].ravel(), [0.8, 0.2], 0.0, 0.05, because="tails are cut and samples are few")


def test_draws_keep_the_seed():
    from sd_cluster.analysis import drawn

    draws = drawn(G_SPACE, np.full((2, 4), 0.5), 7, "sobol radial")
    assert isinstance(draws, Draws)
    assert (draws.seed, draws.method) == (7, "sobol radial")
