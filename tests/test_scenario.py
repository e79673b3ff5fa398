"""Scenarios: what can be set, what cannot, and one clear line for each mistake."""

import pickle

import numpy as np
import pandas as pd
import pytest
from support import feature, tiny

import sd_cluster as sd

MODEL = """
    firms = INTEG(founding, initial firms) ~ firm
    founding = growth rate*firms ~ firm/Year
    growth rate = 0.1 ~ 1/Year
    initial firms = 10 ~ firm
    twins = INTEG(0*founding, 2*firms) ~ firm
    first firms = INITIAL(firms) ~ firm
    table((0,0),(1,1)) ~ dmnl
"""


def run(changes, **options):
    return sd.simulate(tiny(MODEL), sd.Scenario("boom", changes), solver=sd.Euler(), **options)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"grwoth rate": 1}, "sets 'grwoth rate', but tiny has no such variable (did you mean 'growth rate'?)"),
        ({"rainfall": 1}, "sets 'rainfall', but tiny has no such variable"),
        ({"founding": 1}, "sets 'founding', which the model computes; set a parameter, initial stock or input"),
        ({"Founding": 1}, "sets 'founding', which the model computes; set a parameter, initial stock or input"),
        ({"first firms": 1}, "sets 'first firms', which the model computes; set a parameter, initial stock or input"),
        ({"table": 1}, "sets 'table', which the model computes; set a parameter, initial stock or input"),
        ({"FINAL TIME": 1}, "sets 'FINAL TIME'; give the run a horizon, a solver step or save times instead"),
        ({"time_step": 1}, "sets 'TIME STEP'; give the run a horizon, a solver step or save times instead"),
        ({"growth rate": np.nan}, "sets 'growth rate' to nan; give a finite number"),
        ({"growth rate": np.inf}, "sets 'growth rate' to inf; give a finite number"),
        ({"growth rate": "0.1"}, "sets 'growth rate' to '0.1'; give a number or a time series"),
        ({"growth rate": True}, "sets 'growth rate' to True; give a number or a time series"),
        ({"growth rate": np.True_}, "sets 'growth rate' to np.True_; give a number or a time series"),
        ({"growth rate": None}, "sets 'growth rate' to None; give a number or a time series"),
        ({"growth rate": [0.1, 0.2]}, "sets 'growth rate' to [0.1, 0.2]; give a number or a time series"),
        ({"growth rate": 1j}, "sets 'growth rate' to 1j; give a number or a time series"),
        ({"growth rate": {}}, "sets 'growth rate': a time series has 0 years and 0 values; give one value a year"),
        (
            {"growth rate": {2000: "high"}},
            "sets 'growth rate': could not convert string to float: 'high'",
        ),
        (
            {"growth rate": {2000: np.nan}},
            "sets 'growth rate': a time series holds a number that is not finite; leave that year out",
        ),
        (
            {"growth rate": pd.Series(["high"], index=[2000])},
            "sets 'growth rate': could not convert string to float: 'high'",
        ),
        (
            {"firms": {0: 1, 2: 3}},
            "makes stock 'firms' a function of time; a stock takes one number, its initial value",
        ),
    ],
)
def test_a_scenario_that_cannot_be(changes, told):
    with pytest.raises(sd.ScenarioError) as caught:
        run(changes)
    assert str(caught.value) == f"scenario 'boom' {told}"


@pytest.mark.parametrize(
    ("years", "values", "kind", "told"),
    [
        ([], [], "linear", "a time series has 0 years and 0 values; give one value a year"),
        ([1], [1, 2], "linear", "a time series has 1 years and 2 values; give one value a year"),
        ([2, 1], [1, 2], "linear", "the years of a time series should increase, each named once"),
        ([1, 1], [1, 2], "linear", "the years of a time series should increase, each named once"),
        ([1, np.inf], [1, 2], "linear", "a time series holds a number that is not finite; leave that year out"),
        ([1, 2], [1, 2], "next", "a time series is 'linear' or 'previous', not 'next'"),
        ([1], ["x"], "linear", "a time series takes numbers (could not convert string to float: 'x')"),
        ([None], [1], "linear", None),
    ],
)
def test_a_time_series_that_cannot_be(years, values, kind, told):
    with pytest.raises(sd.ScenarioError) as caught:
        sd.TimeSeries(years, values, kind)
    assert told is None or str(caught.value) == told


def test_names_are_those_of_vensim():
    assert run({"GROWTH_RATE": 0.5})["growth rate"][0] == 0.5


def test_numbers_of_numpy_are_numbers():
    assert run({"growth rate": np.float32(0.5)})["growth rate"][0] == 0.5
    assert run({"growth rate": np.int64(1)})["growth rate"][0] == 1
    assert run({"growth rate": np.array(0.25)})["growth rate"][0] == 0.25


def test_mappings_and_pandas_series_are_straight_lines():
    for change in ({10: 1.0, 0: 0.0}, pd.Series([0.0, 1.0], index=[0, 10])):
        assert run({"growth rate": change})["growth rate"].tolist() == pytest.approx(np.linspace(0, 1, 11))


def test_a_stocks_initial_value_flows_into_others():
    result = run({"firms": 7})
    assert (result["firms"][0], result["twins"][0], result["first firms"][-1]) == (7, 14, 7)
    assert result["initial firms"][0] == 10, "the parameter itself stays"


def test_a_parameter_of_initial_values_flows_into_others():
    result = run({"initial firms": 3})
    assert (result["firms"][0], result["twins"][0], result["first firms"][-1]) == (3, 6, 3)


def test_a_series_for_a_parameter_of_initial_values_counts_at_the_start():
    assert run({"initial firms": {0: 4, 10: 100}})["firms"][0] == 4


@pytest.mark.parametrize("changes", [{"firms": 1.0}, {"growth rate": {0: 0, 10: 0}}])
def test_a_variable_that_bears_the_name_of_an_inner_one(changes):
    """A modeller's own 'firms at the start' was overwritten by the scenario's."""
    extra = "firms at the start = 3 ~ firm \n growth rate over time = 9 ~ dmnl"
    result = sd.simulate(tiny(MODEL + extra), sd.Scenario("s", changes), solver=sd.Euler())
    assert set(result["firms at the start"]) == {3}
    assert set(result["growth rate over time"]) == {9}
    assert "firms #at the start" not in result.names


def test_the_later_of_two_spellings_wins():
    """A series stayed in force under a later number that spelt the name another way."""
    base = sd.Scenario("s", {"growth rate": {0: 1, 10: 2}})
    later = base.with_changes({"Growth_Rate": 0.25})
    assert set(sd.simulate(tiny(MODEL), later, solver=sd.Euler())["growth rate"]) == {0.25}


def test_a_scenario_is_a_value():
    one = sd.Scenario("s", {"a": 1, "b": {0: 1, 2: 3}})
    other = sd.Scenario("s", {"a": 1.0, "b": sd.TimeSeries([0, 2], [1, 3])})
    assert one == other and hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(TypeError):
        one.changes["a"] = 2
    assert one.with_changes({"a": 5}).changes["a"] == 5 and one.changes["a"] == 1
    assert one.with_changes({}, name="t").name == "t"


def test_the_callers_mapping_may_change_afterwards():
    changes = {"growth rate": 0.5}
    scenario = sd.Scenario("s", changes)
    changes["growth rate"] = 9
    assert scenario.changes["growth rate"] == 0.5


def test_scenarios_leave_the_model_as_it_was():
    model = feature("sir")
    before, digest = sd.simulate(model), model.digest
    sd.simulate(model, sd.Scenario("s", {"contact rate": {0: 1, 5: 3}, "susceptible": 10, "duration": 2}))
    assert np.array_equal(sd.simulate(model).values, before.values)
    assert model.digest == digest
