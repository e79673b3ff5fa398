"""Draws from a space: distributions, what goes together, rows of a posterior, and what cannot be drawn."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.stats as st
from support import feature

import sd_cluster as sd
from sd_cluster.correlation import Correlation
from sd_cluster.draws import Draws
from sd_cluster.marginals import LogRange, Transformed
from sd_cluster.space import METHODS, Space


def square(values):
    """A function with a name, so that a space can be sent to another process."""
    return values**2


BOX = Space({"a": (0, 1), "b": (-2, 3), "c": LogRange(0.01, 100)})
MIXED = {
    "range": (2, 5),
    "log": LogRange(1e-3, 10),
    "normal": st.norm(3, 2),
    "skewed": st.lognorm(0.5),
    "counted": st.randint(0, 10),
    "new": st.Normal(mu=0.0, sigma=1.0),
    "squared": Transformed((1, 2), square),
}


@pytest.mark.parametrize("method", ["sobol", "halton", "lhs", "random"])
def test_the_same_seed_gives_the_same_numbers(method):
    one, other, third = (BOX.sample(64, method=method, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(one.values, other.values)
    assert not np.array_equal(one.values, third.values)
    assert (one.seed, one.method, one.names, len(one)) == (7, method, ("a", "b", "c"), 64)
    assert ((one.values >= BOX.lower) & (one.values <= BOX.upper)).all()


def test_numbers_stay_the_same_across_sessions():
    space = Space({"a": (0, 1)})
    np.testing.assert_allclose(space.sample(4, seed=7)["a"], [0.6504268, 0.1495500, 0.4476208, 0.9467467], atol=1e-6)
    random = space.sample(2, method="random", seed=7)
    np.testing.assert_allclose(random["a"], np.random.default_rng(7).random(2), atol=1e-15)


@pytest.mark.parametrize("method", ["sobol", "halton", "lhs", "random"])
@pytest.mark.parametrize("name", list(MIXED))
def test_draws_follow_their_distribution(name, method):
    drawn = Space(MIXED).sample(2048, method=method, seed=3)[name]
    exact = {
        "range": st.uniform(2, 3),
        "log": st.loguniform(1e-3, 10),
        "squared": st.uniform(1, 1),
        "new": st.norm(),
    }.get(name, MIXED[name])
    if name == "squared":
        drawn = np.sqrt(drawn)
    shares = np.linspace(0.05, 0.95, 19)
    gap = np.abs(np.mean(drawn[:, None] <= exact.ppf(shares), axis=0) - exact.cdf(exact.ppf(shares))).max()
    assert gap < (0.035 if method == "random" else 0.01), "1.63/sqrt(2048) is the 1 % point of Kolmogorov's statistic"


def test_even_points_are_evener_than_random_ones():
    def error(method):
        return abs(np.mean([Space({"a": (0, 1), "b": (0, 1)}).sample(256, method=method, seed=s).values.mean() - 0.5
                            for s in range(5)]))  # fmt: skip

    assert max(error("sobol"), error("lhs"), error("halton")) < 0.1 * error("random")


def test_a_number_that_is_no_power_of_two_is_noted():
    assert BOX.sample(128).notes == ()
    draws = BOX.sample(100)
    assert len(draws) == 100
    assert draws.notes == ("100 Sobol points are no power of two, which costs evenness; 128 would be even",)
    assert np.array_equal(draws.values, BOX.sample(128).values[:100])


def test_a_grid_has_its_ends_and_keeps_off_the_tails():
    draws = Space({"a": (0, 2), "n": st.norm()}).sample(9, method="grid")
    assert sorted(set(draws["a"])) == [0, 1, 2]
    np.testing.assert_allclose(sorted(set(draws["n"])), st.norm.ppf([1 / 6, 1 / 2, 5 / 6]), atol=1e-12)


@pytest.mark.parametrize("kind", ["rank", "normal"])
def test_correlations_come_back(kind):
    matrix = np.array([[1, 0.7, -0.4], [0.7, 1, 0], [-0.4, 0, 1]])
    space = Space(MIXED, correlation=Correlation(["normal", "range", "skewed"], matrix, kind))
    assert not space.independent
    draws = space.sample(8192, seed=1)
    table = draws.frame()[["normal", "range", "skewed"]]
    if kind == "normal":
        scores = {name: st.norm.ppf(st.rankdata(table[name]) / 8193) for name in table}
        found = pd.DataFrame(scores).corr("pearson")
    else:
        found = table.corr("spearman")
    np.testing.assert_allclose(found.to_numpy(), matrix, atol=0.005)
    alone = draws.frame()[["log", "counted", "normal"]].corr("spearman").to_numpy()
    np.testing.assert_allclose(alone, np.eye(3), atol=0.02)
    assert st.kstest(draws["skewed"], st.lognorm(0.5).cdf).statistic < 0.015, "its own distribution is untouched"


def test_pairs_are_a_correlation():
    by_pairs = Space(MIXED, correlation={("Normal", "range"): 0.5})
    by_matrix = Space(MIXED, correlation=Correlation(["range", "normal"], [[1, 0.5], [0.5, 1]]))
    assert np.array_equal(by_pairs.sample(32).values, by_matrix.sample(32).values)
    assert by_pairs.scores[0, 2] == pytest.approx(2 * np.sin(np.pi / 12))


def test_points_of_the_unit_box_become_values():
    np.testing.assert_allclose(
        BOX.from_unit([[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]), [[0, -2, 0.01], [0.5, 0.5, 1], [1, 3, 100]]
    )
    space = Space({"n": st.norm(), "k": st.randint(2, 5), "r": (0, 1)})
    sides = space.from_unit([[0, 0, 0], [1, 1, 1]], tail=0.01)
    np.testing.assert_allclose(sides, [[st.norm.ppf(0.01), 2, 0], [st.norm.ppf(0.99), 4, 1]])
    assert np.isfinite(space.from_unit([[0, 0, 0], [1, 1, 1]])).all()


def test_correlated_points_fill_the_box_in_order():
    space = Space({"a": st.norm(), "b": st.norm()}, correlation=Correlation(["a", "b"], [[1, 0.6], [0.6, 1]], "normal"))
    values = space.from_unit([[0.9, 0.5]])[0]
    assert values[0] == pytest.approx(st.norm.ppf(0.9))
    assert values[1] == pytest.approx(0.6 * st.norm.ppf(0.9))
    np.testing.assert_allclose(space.from_scores([[1.0, -2.0]]), [[1.0, -2.0]])


def test_rows_come_whole_and_as_often_as_they_weigh():
    posterior = pd.DataFrame({"a": np.arange(10.0), "b": np.arange(10.0) ** 2})
    draws = Space.rows(posterior).sample(10, seed=2)
    assert sorted(draws["a"]) == list(range(10))
    assert not np.array_equal(draws["a"], np.arange(10.0))
    assert np.array_equal(draws["b"], draws["a"] ** 2)
    assert (draws.method, draws.seed) == ("rows", 2)
    again, other = (Space.rows(posterior).sample(10, seed=seed) for seed in (2, 3))
    assert np.array_equal(again.values, draws.values) and not np.array_equal(other.values, draws.values)
    heavy = Space.rows(posterior, weights=[5, 0, 0, 0, 0, 0, 0, 0, 0, 5]).sample(101)
    assert set(heavy["a"]) == {0, 9}
    assert abs((heavy["a"] == 0).sum() - 50.5) < 1


def test_rows_beside_a_range():
    space = Space.rows({"b": [1.0, 2.0]}, also={"a": (0, 1)})
    draws = space.sample(64, seed=1)
    assert draws.names == ("a", "b")
    assert draws["b"].mean() == 1.5
    assert abs(np.corrcoef(draws.values.T)[0, 1]) < 0.3, "three standard errors of 64 draws"
    assert space.ranges == {"a": (0, 1), "b": (1, 2)}


def test_a_tail_has_an_end_for_searches():
    low, high = Space({"n": st.norm(), "p": st.expon()}).ranges.values()
    np.testing.assert_allclose(low, st.norm.ppf([0.001, 0.999]))
    np.testing.assert_allclose(high, [0, st.expon.ppf(0.999)])


def test_a_falling_function_keeps_the_order_of_its_values():
    space = Space({"x": Transformed((1, 2), np.reciprocal)})
    assert space.ranges == {"x": (0.5, 1.0)}
    assert space.from_unit([[0.0], [1.0]]).ravel().tolist() == [0.5, 1.0]


def test_all_ranges_of_a_model():
    model = feature("logistic")
    named = [p.name for p in model.parameters.values() if p.low is not None and p.high is not None]
    assert Space.of(model).names == tuple(named)


def test_a_space_travels():
    space = Space(MIXED, correlation={("normal", "range"): 0.5})
    again = pickle.loads(pickle.dumps(space))
    assert np.array_equal(again.sample(16).values, space.sample(16).values)
    draws = pickle.loads(pickle.dumps(space.sample(4)))
    assert draws.method == "sobol"


def test_draws_cannot_be_changed():
    given = np.zeros((2, 1))
    draws = Draws(("a",), given)
    given[0] = 5
    assert draws["a"].tolist() == [0, 0]
    with pytest.raises(ValueError, match="read-only"):
        draws.values[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        BOX.sample(4).values[0] = 1
    assert draws.frame().index.name == "draw"


def test_a_space_tells_itself():
    told = str(Space({"a": (0, 1), "rate": LogRange(0.1, 1), "n": st.norm(3, scale=2)}, correlation={("a", "n"): 0.5}))
    assert told.splitlines() == [
        "a     0 to 1",
        "rate  0.1 to 1, logarithmic",
        "n     norm(3, scale=2)",
        "rank correlation of a with n: 0.5",
    ]


TWO = {"a": (0, 1), "b": (0, 1), "c": (0, 1)}


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: BOX.sample(8, method="sobel"), "no sampling method 'sobel' (did you mean 'sobol'?); there are: sobol"),
        (lambda: BOX.sample(0), "n is 0; give a whole number from 1 on"),
        (lambda: BOX.sample(2.5), "n is 2.5; give a whole number from 1 on"),
        (lambda: BOX.sample(8, seed=-1), "seed is -1; give a whole number from 0 on"),
        (lambda: BOX.sample(8, seed=None), "seed is None; give a whole number from 0 on"),
        (lambda: BOX.sample(10, method="grid"), "has no 10 points; ask for 8, which is 2 levels each"),
        (lambda: Space({"a": st.norm}), "the family 'norm'; give one distribution of it, as in scipy.stats.norm(...)"),
        (lambda: Space({"a": st.norm(0, -1)}), "the distribution of 'a': norm(0, -1) has no quantiles"),
        (lambda: Space({"a": st.randint(3, 4)}), "randint(3, 4) has one value only, 3"),
        (lambda: LogRange(0, 1), "goes from 0 to 1; both ends should be positive"),
        (lambda: LogRange(1, np.inf), "goes from 1 to inf; both ends should be positive"),
        (lambda: Transformed((-1, 1), square), "square of -1 to 1 turns back within its range"),
        (lambda: Transformed((-1, 1), np.log), "log of -1 to 1 is not finite everywhere"),
        (lambda: Space({"a": (0, 1), "A": (0, 1)}), "'a' and 'A' are one parameter; name it once"),
        (lambda: Space(TWO, correlation={("a", "d"): 0.1}), "names 'd', which is not in the space"),
        (lambda: Space(TWO, correlation={("a", "b"): 1}), "of 'a' and 'b' is 1; give one between -1 and 1"),
        (lambda: Space(TWO, correlation={("a", "b"): 0.1, ("b", "a"): 0.2}), "is not one number of two"),
        (lambda: Space(TWO, correlation={"ab": 0.1}), "for 'ab'; name two parameters"),
        (
            lambda: Space(TWO, correlation={("a", "b"): 0.9, ("b", "c"): 0.9, ("a", "c"): -0.9}),
            "no parameters can go together as 'a', 'b', 'c' should: their correlation is not positive definite",
        ),
        (lambda: Correlation(["a", "b"], [[1, 0.5], [0.4, 1]]), "should be symmetric with ones"),
        (lambda: Correlation(["a", "b"], [1, 2]), "of 'a', 'b' is 2; give a matrix of 2 x 2"),
        (lambda: Correlation(["a", "b"], np.eye(2), "kendall"), "'rank' or 'normal', not 'kendall'"),
        (
            lambda: Space(TWO, correlation=[Correlation("ab", [[1, 0.5], [0.5, 1]])] * 2),
            "'a' stands twice in the correlations",
        ),
        (lambda: Space(TWO, correlation={("a", "b"): 0.5}).sample(8, method="grid"), "nothing can go together"),
        (lambda: Space.rows({"a": []}), "the draws have no row"),
        (lambda: Space.rows({"a": [1.0, np.nan]}), "draw 1 sets 'a' to nan; give finite numbers"),
        (lambda: Space.rows({"a": [1.0, 2.0], "b": [1.0]}), "differ in length: 'a' 2, 'b' 1"),
        (lambda: Space.rows({"a": ["x"]}), "draws take a table of numbers"),
        (lambda: Space.rows({"a": [1.0]}, weights=[-1]), "none negative, not all zero"),
        (lambda: Space.rows({"a": [1.0]}, also={"a": (0, 1)}), "are one parameter"),
        (lambda: Space.rows({"a": [1.0]}).sample(4, method="lhs"), "drawn by rows, not by 'lhs'"),
        (lambda: Space.rows({"a": [1.0]}).from_unit([[0.5]]), "rows of a table have no unit box"),
        (lambda: BOX.from_unit([[0.5]]), "points of shape (1, 1) do not fit a space of 3 parameters"),
        (lambda: BOX.from_unit([[0.5, 2, 0]]), "outside the unit box"),
        (lambda: BOX.from_unit([[0.5, np.nan, 0]]), "outside the unit box"),
        (lambda: Draws(("a",), np.zeros((2, 3))), "draws of 1 parameters came as 2 x 3"),
        (lambda: BOX.sample(2)["d"], "the draws have no parameter 'd'"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, told):
    with pytest.raises(sd.ScenarioError) as caught:
        call()
    assert told in str(caught.value)


def test_every_method_is_told_in_words():
    assert set(METHODS) == {"sobol", "halton", "lhs", "random", "grid"}
