"""What data can and cannot say near an optimum: against closed forms, and the words for it."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from landscapes import RATE, Pooled, linear, powers
from support import assert_close, tiny

from calibration.collinearity import inseparable, pair_indices, set_index, smallest_sets
from calibration.confounding import Local, confounded
from calibration.dataset import dataset_from
from calibration.identifiability import at_end, identify
from calibration.likelihood import Likelihood
from calibration.measurement import Level, Measurement
from calibration.objective import Objective
from calibration.priors import LogNormal, Normal, Uniform
from sd_cluster.errors import FitError, SimulationError

EXACT = "closed form; eigenvalues of small matrices"
MAPPED = "slopes of the priors' maps by differences"


def told(toy, place=None, **more):
    return identify(toy, np.zeros(len(toy.names)) if place is None else np.asarray(place, dtype=float), **more)


# --- what is known exactly


def test_errors_of_a_linear_model():
    matrix = np.array([[1.0, 0.5, 0.0], [0.2, 1.0, 0.3], [0.0, 0.1, 2.0], [1.0, 1.0, 1.0]])
    found = told(linear(matrix, sigma=0.5))
    information = matrix.T @ matrix / 0.25
    posterior = np.linalg.inv(information + np.eye(3))
    assert_close(found.errors, np.sqrt(np.diag(posterior)), 1e-7, because=MAPPED)
    assert_close(found.data_errors, np.sqrt(np.diag(np.linalg.inv(information))), 1e-7, because=MAPPED)
    assert_close(found.prior_errors, np.ones(3), 1e-7, because=MAPPED)
    assert_close(found.narrowed, 1.0 - np.sqrt(np.diag(posterior)), 1e-10, because=EXACT)
    assert_close(found.singular, np.linalg.svd(matrix / 0.5)[1], 1e-10, because=EXACT)
    sds = np.sqrt(np.diag(posterior))
    assert_close(found.correlation, posterior / np.outer(sds, sds), 1e-10, because=EXACT)
    assert_close(found.condition, np.linalg.cond(matrix), 1e-8, because=EXACT)
    assert found.rank == 3 and not found.relative.any()


def test_a_prior_twice_as_wide_leaves_the_data_error_alone():
    narrow = told(linear([[1.0, 0.3], [0.0, 1.0]], 0.5))
    wide = told(
        linear([[1.0, 0.3], [0.0, 1.0]], 0.5, priors={f"x{k}": Normal(0.0, 2.0, source="toy") for k in range(2)})
    )
    assert_close(wide.data_errors, narrow.data_errors, 1e-7, because=MAPPED)
    assert (wide.errors > narrow.errors).all() and (wide.narrowed > narrow.narrowed).all()


def test_errors_of_positive_unknowns_are_relative():
    found = told(powers([[1, 0], [0, 1]], sigma=0.02))
    # figure = value = 0.2 with error 0.02: 10 % from the data, sigma of the prior's logarithm beside it
    wide = np.log(3.0) / 1.6448536269514722
    expected = np.full(2, 1.0 / np.sqrt(1.0 / 0.1**2 + 1.0 / wide**2))
    assert_close(found.errors, expected, 1e-7, because=MAPPED)
    assert_close(found.prior_errors, np.full(2, wide), 1e-7, because=MAPPED)
    assert found.verdicts["transfer rate"] == "'transfer rate' is identified to 9.9 %"
    assert found.identified.all() and not found.confounded


def test_errors_within_ranges_stay_within_them():
    toy = linear([[0.01, 0.0], [0.0, 0.01]], priors={name: Uniform(-0.5, 0.5, source="toy") for name in ("x0", "x1")})
    found = told(toy, [0.0, 1.5])
    assert (found.errors <= 0.5).all() and (found.narrowed < 0.01).all()


def test_pair_index_is_that_of_brun_and_others():
    """For two columns at an angle the smallest eigenvalue of the normalised S'S is one less its cosine."""
    angle = 0.3
    columns = np.array([[1.0, np.cos(angle) * 7.0, 0.0], [0.0, np.sin(angle) * 7.0, 2.0], [0.0, 0.0, 0.0]])
    gram = columns.T @ columns
    found = pair_indices(gram)
    assert_close(found[0, 1], 1.0 / np.sqrt(1.0 - np.cos(angle)), 1e-10, because=EXACT)
    assert_close(found[0, 2], 1.0, 1e-12, because=EXACT)
    assert np.isinf(pair_indices(np.ones((2, 2)))[0, 1])
    assert np.isnan(pair_indices(np.diag([1.0, 0.0]))[0, 1])


def test_smallest_sets_are_those_of_a_plain_search():
    rng = np.random.default_rng(5)
    columns = rng.normal(size=(6, 7))
    columns[:, 3] = columns[:, 0] + 0.01 * rng.normal(size=6)
    columns[:, 5] = columns[:, 1] - columns[:, 2] + 0.01 * rng.normal(size=6)
    unit = columns / np.linalg.norm(columns, axis=0)

    def bad(some):
        return np.linalg.svd(unit[:, list(some)])[1].min() < 1.0 / 20.0

    plain = [some for size in (1, 2, 3, 4) for some in combinations(range(7), size) if bad(some)]
    plain = [some for some in plain if not any(set(one) < set(some) for one in plain)]
    found = smallest_sets(unit.T @ unit, lambda grams: set_index(grams) > 20.0)
    assert set(found) == set(plain) and {(0, 3), (1, 2, 5)} <= set(found)
    named = inseparable(columns.T @ columns, tuple("abcdefg"))
    assert named[0].names == ("a", "d") and named[0].index > 20.0


# --- what is told


@pytest.mark.parametrize(
    ("exponents", "known"),
    [
        ([[1, 1]], "the product of 'a' and 'b'"),
        ([[1, -1]], "the ratio of 'a' to 'b'"),
        ([[-1, 1]], "the ratio of 'a' to 'b'"),
        ([[3, 3]], "the product of 'a' and 'b'"),
        ([[2, 1]], "the product of 'a' squared and 'b'"),
        ([[1, 1, 1]], "the product of 'a', 'b' and 'c'"),
        ([[1, 1, -1]], "the ratio of the product of 'a' and 'b' to 'c'"),
    ],
)
def test_the_one_combination_that_matters_is_named(exponents, known):
    names = tuple("abc"[: len(exponents[0])])
    found = told(powers(exponents, names, sigma=1e-4))
    (only,) = found.confounded
    assert only.known == known and only.structural and only.names == names
    assert found.rank == 1 and found.told == 1 and not found.identified[1:].any()
    assert f"Only {known} is known, to" in found.sentences[1]
    assert all(known in text for text in list(found.verdicts.values())[1:])


def test_how_well_a_product_is_known():
    found = told(powers([[1, 1]], sigma=0.001))
    # figure 0.04 with error 0.001: 2.5 % of the product; the priors are far wider
    assert_close(found.confounded[0].error, 0.025, 1e-3, because="the prior adds a thousandth")
    assert np.isinf(found.data_errors).all()


def test_only_a_sum_or_a_difference():
    (total,) = told(linear([[2.0, 2.0]], 0.1), [1.0, 3.0]).confounded
    assert total.known == "the sum of 'x0' and 'x1'"
    (apart,) = told(linear([[1.0, -1.0]], 0.1), [1.0, 3.0]).confounded
    assert apart.known == "the difference between 'x0' and 'x1'"


def test_two_pairs_are_told_apart():
    """Directions without effect of equal size come out of an eigenvalue search as any mixture of one another."""
    found = told(powers([[1, 1, 0, 0], [0, 0, 1, -1]], tuple("abcd"), sigma=1e-3))
    assert [one.known for one in found.confounded] == ["the product of 'a' and 'b'", "the ratio of 'c' to 'd'"]


def test_three_of_which_two_combinations_are_known():
    found = told(powers([[1, 1, 0], [0, 1, 1]], tuple("abc"), sigma=1e-3))
    (only,) = found.confounded
    assert only.known == "" and only.names == ("a", "b", "c")
    assert "moving 'a' up by 10 %, 'b' down by 10 % and 'c' up by 10 % together hardly changes the fit" in only.sentence


def test_no_simple_combination():
    found = told(powers([[1.0, 1.5]], tuple("ab"), sigma=1e-4))
    assert found.confounded[0].known == "a combination of 'a' and 'b'"
    assert "moving 'a' up by 10 % and 'b' down by 6.7 %" in found.sentences[1]


def test_many_that_make_up_for_one_another():
    """A direction of more parameters than the sets that are searched."""
    rng = np.random.default_rng(2)
    base = np.linalg.qr(rng.normal(size=(6, 5)))[0]
    columns = 30.0 * np.column_stack([base, -base.sum(axis=1)])
    found = told(linear(columns), np.ones(6))
    assert found.rank == 5
    assert found.confounded[-1].names == tuple(f"x{k}" for k in range(6))


def test_hidden_by_noise_rather_than_by_structure():
    columns = np.array([[1.0, 1.0], [0.0, 0.1]])
    noisy, sharp = told(linear(columns, 0.3), [1.0, 1.0]), told(linear(columns, 1e-3), [1.0, 1.0])
    assert not noisy.confounded[0].structural
    assert "too few or too noisy" in noisy.sentences[1]
    assert not sharp.confounded and sharp.identified.all()
    assert sharp.pairs[0, 1] == pytest.approx(noisy.pairs[0, 1])


def test_unknowns_that_are_told_are_not_called_confounded():
    found = told(linear([[1.1, 0.0], [0.0, 1.1]]), [1.0, 1.0])
    assert not found.confounded
    assert "told only up to 0.67, against 1 beforehand" in found.verdicts["x0"]


def test_silence():
    found = told(powers([[1, 0]], sigma=0.001))
    assert found.verdicts["obsolescence"] == (
        "'obsolescence' is not told by these data: the prior, a factor of 2, is all there is"
    )
    assert found.sentences[-1] == "Not told by these data: 'obsolescence'. The prior is all there is."
    assert found.told == 1 and np.isinf(found.condition) and np.isnan(found.pairs[0, 1])


def test_order_does_not_matter():
    first = told(powers([[1, 1, 0], [0, 0, 1]], tuple("abc"), sigma=1e-3))
    second = told(powers([[0, 1, 1], [1, 0, 0]], tuple("cab"), sigma=1e-3))
    assert {name: first.verdicts[name] for name in "abc"} == {name: second.verdicts[name] for name in "abc"}


def test_held_unknowns_are_taken_as_known():
    toy = powers([[1, 1]], sigma=0.001)
    found = told(toy, held=[True, False])
    assert found.identified.tolist() == [False, True] and np.isnan(found.errors[0])
    assert found.verdicts["transfer rate"] == "'transfer rate' is held at 0.2 and was not judged"
    assert found.sentences == (
        "Of 1 independent direction of the unknowns (1 unknown held), the figures depend on 1 and tell 1 better than "
        "the priors do.",
    )
    assert told(toy, held=[True, True]).sentences == ("Every unknown is held: nothing was judged.",)


def test_what_stands_at_an_end_of_its_range_is_held():
    """There the map from place to value is flat, which looks like silent data."""
    toy = powers([[1, 0], [1, 1]], prior=Uniform(0.0, 1.0, source="toy"))
    assert at_end(toy, np.array([7.0, 0.0])).tolist() == [True, False]
    assert told(toy, [7.0, 0.0]).held.tolist() == [True, False]
    assert told(powers([[1, 1]]), [7.0, 0.0]).held.tolist() == [False, False]


def test_pooled_values_are_told_in_their_own_measure():
    priors = {"mean of rate": RATE, "spread of rate": LogNormal(0.5, 4.0, source="toy")}
    priors |= {f"rate [{region}]": Normal(0.0, 1.0, source="toy") for region in "AB"}
    toy = Pooled(priors, lambda v: (v[2:], np.eye(4)[2:]), np.array([0.2, 0.3]), 0.01)
    place = np.array([0.1, 0.0, -0.2, 0.6])
    found = told(toy, place)
    assert found.relative.all()
    # figures are the rates themselves, with an error of 0.01, far better than the priors
    assert_close(found.errors[2:], 0.01 / toy.values(place)[2:], 0.01, because="the priors add some thousandths")


def test_table_and_text():
    found = told(powers([[1, 1], [0, 0]], sigma=1e-3))
    table = found.frame()
    assert table.loc["transfer rate", "most_like"] == "obsolescence" and np.isinf(table["collinearity"]).all()
    assert str(found).splitlines()[2].strip().startswith("'transfer rate' is not told by itself")


# --- faults


def test_what_cannot_be_judged():
    toy = powers([[1, 1]])
    with pytest.raises(FitError, match="needs the place of its optimum"):
        identify(toy)
    with pytest.raises(FitError, match="should be 2 finite numbers"):
        told(toy, [0.0, np.nan])
    with pytest.raises(FitError, match="yes or no for each of 2 unknowns"):
        told(toy, held=[True])
    toy.information = lambda place, data_only: np.full((2, 2), np.nan)
    with pytest.raises(FitError, match="not a finite 2 x 2 matrix"):
        told(toy)

    def blown_up(place, data_only):
        raise SimulationError("knowledge blew up in 1999")

    toy.information = blown_up
    with pytest.raises(FitError, match="the place cannot be run"):
        told(toy)


def test_a_fit_brings_its_place():
    toy = powers([[1, 1]])
    assert identify(SimpleNamespace(objective=toy, place=np.zeros(2))).names == toy.names


# --- a model


def test_a_model_in_which_only_a_product_matters():
    model = tiny(
        """
        knowledge = INTEG(transfer rate * openness * knowledge, start) ~ idea
        transfer rate = 0.2 ~ 1/Year
        openness = 0.5 ~ dmnl
        start = 10 ~ idea
        """
    )
    years = np.arange(0, 11)
    figures = 10.0 * np.exp(0.1 * years)
    table = pd.DataFrame({"region": "p", "year": years, "indicator": "ideas", "value": figures, "unit": "idea"})
    likelihood = Likelihood(
        model, dataset_from(table.assign(source="twin")), Measurement({"ideas": Level("knowledge")}),
        ["transfer rate", "openness", "start"], noise={"ideas": 0.05},
    )  # fmt: skip
    priors = {name: LogNormal(middle, 3.0, source="toy") for name, middle in
              {"transfer rate": 0.2, "openness": 0.5, "start": 10.0}.items()}  # fmt: skip
    objective = Objective(likelihood, priors)
    found = identify(objective, objective.start)
    (only,) = found.confounded
    assert only.known == "the product of 'transfer rate' and 'openness'" and only.structural
    assert found.verdicts["start"].startswith("'start' is identified to 2")
    # of ten years' growth, from a line through the logarithms: Sxx = 110, sigma = 5 %, growth 0.1 a year
    assert_close(only.error, 0.05 / np.sqrt(110.0) / 0.1, 0.01, because="priors add a little, the solver less")


def test_a_toy_gradient_is_right():
    """The closed forms of these tests, against differences."""
    toy = Pooled(
        {"mean of rate": RATE, "spread of rate": RATE, "rate [A]": Normal(0.0, 1.0, source="toy")},
        lambda v: (np.array([v[2] ** 2, v[0]]), np.array([[0, 0, 2 * v[2]], [1, 0, 0]])), np.array([0.1, 0.2]), 0.1,
    )  # fmt: skip
    place = np.array([0.3, -0.2, 0.7])
    for one in (toy, powers([[1, 2]])):
        at = place[: len(one.names)]
        steps = 1e-6 * np.eye(at.size)
        slopes = [(one.payoff(at + step) - one.payoff(at - step)) / 2e-6 for step in steps]
        assert_close(one.payoff_and_gradient(at)[1], slopes, 1e-6, 1e-7, because="central differences")


def test_a_weak_direction_in_which_nothing_takes_part_is_no_group():
    """Of a family of 22 regions, whose weak direction is spread over all of them, it asked for the index of nobody."""
    size = 60
    even = np.full((size, size), 1.0 / size)
    gram = 50.0 * (np.eye(size) - even) + 0.01 * even
    names = tuple(f"rate [{number}]" for number in range(size))
    local = Local(
        names, np.ones(size), gram, np.linalg.inv(gram + np.eye(size)), np.eye(size), np.ones(size, dtype=bool)
    )
    assert confounded(local) == ()
