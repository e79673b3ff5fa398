"""Elasticities: their definition, their zeros, what they refuse, and how they read."""

import numpy as np
import pytest
from support import assert_close, feature, tiny

import sd_cluster as sd
from sd_cluster.elasticities import local


@pytest.fixture(scope="module")
def decay():
    return local(feature("decay"), ["stock", "loss"], ["lifetime", "stock"], save=2.0, step=1 / 64)


def test_decay_has_its_closed_form(decay):
    t = decay.times
    assert_close(decay["stock", "lifetime"], t / 4, 1e-8, 1e-12, because="d ln exp(-t / T) / d ln T = t / T")
    assert_close(decay["loss", "lifetime"], t / 4 - 1, 1e-7, 1e-10, because="loss = stock / lifetime")
    assert_close(decay["Stock", "STOCK"], 1.0, 1e-12, because="all is in proportion to the start")
    assert_close(decay.sensitivities[:, 0, 1], np.exp(-t / 4), 1e-8, because="steps of 1/64")
    assert decay.point.tolist() == [4.0, 100.0]
    assert decay.name_units == ("Year", "widget")


def test_the_frame_and_the_table_hold_the_same_numbers(decay):
    frame = decay.frame()
    assert frame.index.names == ["time", "output", "to"]
    assert frame.loc[(4.0, "loss", "lifetime"), "elasticity"] == decay["loss", "lifetime"][2]
    assert frame.loc[(4.0, "loss", "lifetime"), "sensitivity"] == decay.sensitivities[2, 1, 0]
    assert decay.table(4.0).loc["lifetime", "loss"] == decay["loss", "lifetime"][2]
    assert decay.strongest("stock") == ("lifetime", "stock")
    with pytest.raises(sd.ModelError, match="3 was not saved; the nearest saved time is"):
        decay.table(3.0)


def test_elasticities_print_as_a_report(decay):
    assert str(decay).splitlines() == [
        "elasticities, scenario 'base', at Year 10 (% per %)",
        "  stock: lifetime +2.50, stock +1.00",
        "  loss: lifetime +1.50, stock +1.00",
    ]


def test_elasticities_agree_with_runs_of_changed_parameters():
    model = feature("sir")
    found = local(model, "recovered", ["contact rate", "duration"], save=[5.0, 15.0])
    for name, value in (("contact rate", 2.5), ("duration", 1.0)):
        ends = [
            sd.simulate(model, sd.Scenario("s", {name: value * (1 + d)}), solver=sd.RungeKutta4(), save=[5.0, 15.0])
            for d in (1e-5, -1e-5)
        ]
        differences = np.log(ends[0]["recovered"] / ends[1]["recovered"]) / np.log((1 + 1e-5) / (1 - 1e-5))
        assert_close(found["recovered", name], differences, 1e-7, because="differences over 1e-5")


def test_zeros_are_told_and_never_divided_by():
    model = tiny("x = INTEG(pace*(1-idle), 0) ~\npace = 2 ~\nidle = 0 ~")
    found = local(model, "x", ["pace", "idle"])
    assert np.isnan(found["x", "pace"][0]) and found["x", "pace"][1] == 1.0
    assert found["x", "idle"][-1] == 0.0
    assert found.sensitivities[-1, 0, 1] == -20.0
    assert "'x' is zero at times" in found.notes[0]
    assert "'idle' at zero" in found.notes[1]
    assert "x: pace +1.00" in str(found)
    assert "note: 'idle' at zero" in str(found)


def test_all_parameters_but_those_that_switch_are_taken_where_none_are_named():
    found = local(feature("switches"), "level")
    assert found.names == ("height", "slope", "residence")
    assert found.notes[0] == "'step time' enters the time at which 'step in' switches, so it is left out"
    with pytest.raises(sd.ModelError, match="'step time' enters the time"):
        local(feature("switches"), "level", "step time")


def test_derivatives_are_taken_at_the_values_of_the_scenario():
    model = feature("two_stocks")
    scenario = sd.Scenario("slow", {"first rate": 0.1, "lower": 50.0})
    found = local(model, "upper", ["first rate", "lower", "upper"], scenario=scenario, save=[0, 10])
    assert found.point.tolist() == [0.1, 50.0, 80.0]
    assert found.scenario == "slow"
    assert_close(found["upper", "first rate"], [0.0, -1.0], 1e-7, because="d ln exp(-r t) / d ln r = -r t")


def test_a_parameter_that_the_scenario_moves_has_no_elasticity():
    scenario = sd.Scenario("moving", {"first rate": {0: 0.1, 10: 0.3}})
    with pytest.raises(sd.ScenarioError, match="makes 'first rate' a function of time"):
        local(feature("two_stocks"), "upper", "first rate", scenario=scenario)
    assert local(feature("two_stocks"), "upper", scenario=scenario).names == ("second rate",)


def test_what_is_not_there_is_told(decay):
    with pytest.raises(sd.ModelError, match="did you mean 'lifetime'"):
        decay["stock", "lifetimes"]
    with pytest.raises(sd.ModelError, match="has no variable 'stok'"):
        local(feature("decay"), "stok")
    with pytest.raises(sd.ModelError, match="nothing to differentiate"):
        local(feature("decay"), [])
    with pytest.raises(sd.ScenarioError, match="which the model computes"):
        local(feature("decay"), "stock", "loss")


def test_arrays_cannot_be_written_to(decay):
    with pytest.raises(ValueError, match="read-only"):
        decay.sensitivities[0] = 1.0


def test_one_output_is_drawn_as_lines_and_several_as_a_table_in_colours(decay):
    lines = decay.plot("loss").axes[0]
    assert lines.get_title(loc="left") == "Elasticity of loss"
    assert lines.lines[0].get_ydata().tolist() == decay["loss", "lifetime"].tolist()
    cells = decay.plot(time=8.0).axes[0]
    assert [label.get_text() for label in cells.get_yticklabels()] == ["lifetime", "stock"]
    assert [text.get_text() for text in cells.texts] == ["+2.00", "+1.00", "+1.00", "+1.00"]
    assert cells.get_title(loc="left") == "Elasticities at Year 8 (% per %)"
