"""Spaces of uncertain parameters."""

import numpy as np
import pytest
from support import feature

import sd_cluster as sd


@pytest.mark.parametrize(
    ("ranges", "told"),
    [
        ({}, "a space has no parameter; name at least one, as in Space({'initial trust': (0.05, 0.6)})"),
        ({"a": 3}, "the range of 'a' is 3; give two numbers, (low, high)"),
        ({"a": (1,)}, "the range of 'a' is (1,); give two numbers, (low, high)"),
        ({"a": (1, 2, 3)}, "the range of 'a' is (1, 2, 3); give two numbers, (low, high)"),
        ({"a": ("low", 2)}, "the range of 'a' is ('low', 2); give two numbers, (low, high)"),
        ({"a": (None, 2)}, "the range of 'a' is (None, 2); give two numbers, (low, high)"),
        ({"a": (2, 1)}, "the range of 'a' goes from 2 to 1; low should be below high"),
        ({"a": (1, 1)}, "the range of 'a' goes from 1 to 1; low should be below high"),
        ({"a": (np.nan, 1)}, "the range of 'a' goes from nan to 1; low should be below high"),
        ({"a": (0, np.inf)}, "the range of 'a' goes from 0 to inf; low should be below high"),
    ],
)
def test_a_space_that_cannot_be(ranges, told):
    with pytest.raises(sd.ScenarioError) as caught:
        sd.Space(ranges)
    assert str(caught.value) == told


def test_a_space_knows_its_bounds():
    space = sd.Space({"b": (0, 1), "a": (np.float64(-2), 3)})
    assert space.names == ("b", "a")
    assert space.lower.tolist() == [0, -2] and space.upper.tolist() == [1, 3]


def test_the_callers_mapping_may_change_afterwards():
    ranges = {"a": (0, 1)}
    space = sd.Space(ranges)
    ranges["b"] = (0, 1)
    assert space.names == ("a",)


def test_the_ranges_of_the_file():
    model = feature("logistic")
    space = sd.Space.of(model, ["Growth_Rate", "capacity"])
    assert space.ranges == {"growth rate": (0.1, 1), "capacity": (100, 1000)}
    assert space.default(model).tolist() == [0.5, 400]
    with pytest.raises(sd.ModelError) as caught:
        sd.Space.of(model, ["growth"])
    assert str(caught.value) == "logistic gives no range for 'growth'; state one in the space"
    with pytest.raises(sd.ModelError, match=r"^logistic has no variable 'capcity' \(did you mean 'capacity'\?\)$"):
        sd.Space.of(model, ["capcity"])


def test_the_models_own_values_are_moved_into_the_space():
    model = feature("logistic")
    assert sd.Space({"growth rate": (0.6, 1), "firms": (10, 30)}).default(model).tolist() == [0.6, 20]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("capcity", "the space varies 'capcity', but logistic has no such variable (did you mean 'capacity'?)"),
        ("growth", "the space varies 'growth', which the model computes; set a parameter, initial stock or input"),
        (
            "TIME STEP",
            "the space varies 'TIME STEP'; give the run a horizon, a solver step or save times instead",
        ),
    ],
)
def test_a_space_that_does_not_fit_a_model(name, told):
    with pytest.raises(sd.ModelError) as caught:
        sd.Space({name: (0, 1)}).check(feature("logistic"))
    assert str(caught.value) == told


def test_a_space_that_fits():
    sd.Space({"Growth_Rate": (0.1, 1), "firms": (1, 5)}).check(feature("logistic"))
