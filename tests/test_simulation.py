"""Running: stop and go on, change on the way, runs that cannot go on, horizons and saved times."""

import multiprocessing
import pickle
import re

import numpy as np
import pytest
from support import NAMES, assert_close, feature, tiny

import sd_cluster as sd

FIXED = (sd.Euler(), sd.RungeKutta4())


def stopped(model, scenario, solver, stops, **options):
    simulation = sd.Simulation(model, scenario, solver=solver, **options)
    for stop in stops:
        simulation.run_to(stop)
    simulation.run_to(simulation.horizon.end)
    return simulation.run()


@pytest.mark.parametrize("solver", FIXED)
@pytest.mark.parametrize("name", NAMES)
def test_stopping_at_steps_changes_no_bit(name, solver):
    model = feature(name)
    whole = sd.simulate(model, solver=solver)
    parts = stopped(model, None, solver, [0, 0, 2.5, 3, 3, 7.5])
    assert np.array_equal(whole.times, parts.times)
    assert np.array_equal(whole.values, parts.values)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"logic", "maths"}))
def test_stopping_anywhere_hardly_changes_a_continuous_run(name):
    """Not of two features whose outputs jump with the state: a rounding error away is another value."""
    model = feature(name)
    whole, parts = sd.simulate(model), stopped(model, None, sd.Adaptive(), [0, 1.2345, 4, 4.25, 7])
    assert np.array_equal(whole.times, parts.times)
    scale = np.abs(whole.values).max(axis=0) + 1e-9
    assert_close(parts.values / scale, whole.values / scale, 0, 1e-6, because="the solver starts anew at each stop")


def test_stopping_beside_a_switch_does_no_harm():
    model = tiny("x = INTEG(STEP(1, 0.3), 0)", check_units=False)
    parts = stopped(model, None, sd.Adaptive(), [0.1 + 0.2, 0.30000000000000010])
    assert_close(parts["x"][-1], 9.7, 1e-12, because="a line")


RELAXING = """
    level = INTEG((lever-level)/residence, start) ~ widget
    lever = 1 ~ widget
    start = 5 ~ widget
    residence = 2 ~ Year
    first = INITIAL(level+lever) ~ widget
    ratio = level/first ~ dmnl
"""


@pytest.mark.parametrize("solver", [*FIXED, sd.Adaptive()])
def test_changing_a_parameter_on_the_way_is_a_series_that_switches(solver):
    model = tiny(RELAXING)
    simulation = sd.Simulation(model, solver=solver)
    simulation.run_to(4)
    simulation.change({"lever": 3})
    simulation.run_to(6.5)
    simulation.change({"Lever": 0, "residence": 2})
    simulation.run_to(10)
    lever = sd.TimeSeries([0, 4, 6.5], [1, 3, 0], kind="previous")
    series = sd.simulate(model, sd.Scenario("s", {"lever": lever}), solver=solver)
    run = simulation.run()
    assert run["lever"].tolist() == [1, 1, 1, 1, 3, 3, 3, 0, 0, 0, 0], "the row at a change bears the new value"
    assert_close(run["level"], series["level"], 1e-7, because="two ways to say one thing")
    assert [item["time"] for item in run.provenance["changes on the way"]] == [4, 6.5]


@pytest.mark.parametrize("solver", [*FIXED, sd.Adaptive()])
def test_a_stock_jumps_and_values_of_the_start_survive(solver):
    simulation = sd.Simulation(tiny(RELAXING), sd.Scenario("s", {"start": 8}), solver=solver)
    simulation.run_to(5)
    simulation.change({"level": 100, "start": 1, "lever": {0: 7, 10: 7}})
    assert simulation.now("level") == 100 and simulation.now("ratio") == 100 / 9
    simulation.run_to(10)
    run = simulation.run()
    assert run["level"][5] == 100 and run["level"][4] < 8
    assert set(run["first"]) == {9.0}
    assert_close(run["level"][-1], 7 + 93 * np.exp(-2.5), 0.05, because="Euler's step is coarse")


def test_a_hidden_stock_keeps_its_value_through_a_change():
    model = feature("delays")
    simulation = sd.Simulation(model, solver=sd.Euler())
    simulation.run_to(5)
    simulation.change({"waiting": simulation.now("waiting"), "working year": {0: 1, 10: 1}})
    simulation.run_to(10)
    assert np.array_equal(simulation.run()["third"], sd.simulate(model, solver=sd.Euler())["third"])


def test_a_change_that_cannot_be_changes_nothing():
    simulation = sd.Simulation(tiny(RELAXING), solver=sd.Euler())
    simulation.run_to(4)
    with pytest.raises(sd.ScenarioError, match=r"^scenario 'base' sets 'levr', but tiny has no such variable"):
        simulation.change({"levr": 3})
    with pytest.raises(sd.ScenarioError, match=r"^scenario 'base' sets 'ratio', which the model computes"):
        simulation.change({"ratio": 3})
    simulation.run_to(10)
    assert np.array_equal(simulation.run().values, sd.simulate(tiny(RELAXING), solver=sd.Euler()).values)


@pytest.mark.parametrize("time", [-1, 3, 10.5, np.nan])
def test_a_run_goes_forward_within_its_horizon(time):
    simulation = sd.Simulation(feature("decay"))
    simulation.run_to(4)
    with pytest.raises(sd.ScenarioError) as caught:
        simulation.run_to(time)
    assert str(caught.value) == f"cannot run to {time:g}: the run stands at 4 and ends at 10"


def test_a_fixed_step_run_stops_at_steps():
    simulation = sd.Simulation(feature("decay"), solver=sd.Euler())
    with pytest.raises(sd.ScenarioError) as caught:
        simulation.run_to(0.3)
    told = "time 0.3 does not fall on a step of 0.125 from 0; choose a step that divides it, or Adaptive()"
    assert str(caught.value) == told


def test_a_stop_between_saved_times_adds_a_row_to_the_run_so_far():
    simulation = sd.Simulation(feature("decay"))
    simulation.run_to(2.5)
    assert simulation.run().times.tolist() == [0, 1, 2, 2.5]
    simulation.run_to(10)
    assert simulation.run().times.tolist() == list(range(11))


# Runs that cannot go on.


def failure(model, scenario=None, **options):
    with pytest.raises(sd.SimulationError) as caught:
        sd.simulate(model, scenario, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("solver", FIXED)
@pytest.mark.parametrize("backend", ["python", "numba"])
def test_a_division_by_zero_later_on_names_year_variable_and_stock(solver, backend):
    model = tiny(
        """
        trust = INTEG(-pace, 5)
        pace = 1
        risk = 1/trust
        fear = INTEG(risk, 0)
        """,
        check_units=False,
    )
    told = "tiny: at Year 5 'risk' divides by zero, on which stock 'fear' depends; check the parameters it reads"
    found = failure(model, solver=solver, backend=backend)
    assert found == told or (solver == sd.RungeKutta4() and found == told.replace("Year 5", "Year 4.875"))
    runner = sd.Runner(model, ["pace"], outputs=["fear"], times=[1, 10], solver=solver, backend=backend)
    with pytest.raises(sd.SimulationError) as caught:
        runner([1.0])
    assert str(caught.value) == found
    assert runner([0.1]).shape == (2, 1)


@pytest.mark.parametrize(("backend", "reason"), [("python", "divides by zero"), ("numba", "has no finite value")])
def test_a_division_by_zero_in_what_no_stock_reads(backend, reason):
    """Numba divided by zero without a word, and Python named the step before."""
    model = tiny("trust = INTEG(-pace, 5) \n pace = 1 \n risk = 1/trust", check_units=False)
    told = f"tiny: at Year 5 'risk' {reason}; check the parameters it reads"
    assert failure(model, solver=sd.Euler(), backend=backend) == told
    runner = sd.Runner(model, ["pace"], outputs=["trust"], times=range(11), solver=sd.Euler(), backend=backend)
    with pytest.raises(sd.SimulationError) as caught:
        runner([1.0])
    assert str(caught.value) == told
    if backend == "python":
        assert failure(model) == told


@pytest.mark.parametrize("backend", ["python", "numba"])
def test_a_run_that_blows_up_names_year_and_stock(backend):
    """Through numba the search for the culprit itself ended in RuntimeWarning: overflow."""
    model = tiny("boom = INTEG(rate*boom*boom, 1) \n rate = 1", end="20", check_units=False)
    found = failure(model, solver=sd.Euler(), backend=backend)
    assert found == "tiny: at Year 2.375 'boom' has no finite value; check the parameters it reads"
    runner = sd.Runner(model, ["rate"], outputs=["boom"], times=[20], solver=sd.Euler(), backend=backend)
    with pytest.raises(sd.SimulationError, match=r"^tiny: at Year 2\.375 'boom' has no finite value"):
        runner([1.0])
    assert runner([0.0])[0, 0] == 1.0


@pytest.mark.parametrize("method", ["LSODA", "RK45", "DOP853", "RK23", "Radau", "BDF"])
def test_a_continuous_run_that_blows_up_names_year_and_stock(method):
    model = tiny("boom = INTEG(boom*boom, 1) \n calm = INTEG(-calm, 1)", check_units=False)
    told = failure(model, solver=sd.Adaptive(method=method))
    assert re.match(r"^tiny: the solver stopped near Year 1, where stock 'boom' changes fastest \(", told)


@pytest.mark.parametrize("method", ["LSODA", "RK45", "DOP853", "RK23", "Radau", "BDF"])
def test_a_continuous_run_out_of_a_functions_domain_names_year_and_variable(method):
    model = tiny("x = INTEG(-1+0*need, 5) \n need = LN(x)", check_units=False)
    told = failure(model, solver=sd.Adaptive(method=method))
    assert told == (
        "tiny: at Year 5 'need' has no finite value, on which stock 'x' depends; check the parameters it reads"
    )


@pytest.mark.parametrize("method", ["LSODA", "RK45", "DOP853", "RK23", "BDF"])
def test_a_trial_step_out_of_a_functions_domain_is_taken_back(method):
    """A stock that nears zero is stepped past it by a trial: the run ended with 'has no finite value'."""
    model = tiny("x = INTEG(-x*SQRT(x)*300, 1) \n y = INTEG(SQRT(x), 0)", check_units=False)
    run = sd.simulate(model, solver=sd.Adaptive(rtol=1e-3, atol=1e-3, method=method))
    assert_close(run["x"][-1], 1 / 1501**2, 0, 2e-3, because="the tolerance asked for")


@pytest.mark.parametrize("backend", ["python", "numba"])
def test_what_cannot_be_computed_at_the_start_is_named(backend):
    """The text was 'a value that depends on parameters alone cannot be computed', or a wrong stock in a Runner."""
    model = tiny(
        """
        x = INTEG(gain, 5/inlet)
        inlet = 1
        outlet = 1
        gain = 1/outlet
        """,
        check_units=False,
    )
    cases = {
        "outlet": "'gain' divides by zero, on which stock 'x' depends",
        "inlet": "the initial value of 'x' divides by zero",
    }
    for name, told in cases.items():
        whole = f"tiny: at Year 0 {told}; check the parameters it reads"
        solvers = [*FIXED, sd.Adaptive()] if backend == "python" else FIXED
        for solver in solvers:
            assert failure(model, sd.Scenario("s", {name: 0}), solver=solver, backend=backend) == whole
        runner = sd.Runner(model, [name], outputs=["x"], times=[1], backend=backend)
        with pytest.raises(sd.SimulationError) as caught:
            runner([0.0])
        assert str(caught.value) == whole


def test_a_value_without_bound_is_not_saved():
    model = tiny("x = INTEG(1, 1) \n huge = x*1e308*10", check_units=False)
    for solver in (*FIXED, sd.Adaptive()):
        told = failure(model, solver=solver)
        assert told == "tiny: at Year 0 'huge' has no finite value; check the parameters it reads"


def test_a_change_into_a_division_by_zero_is_told():
    simulation = sd.Simulation(tiny(RELAXING), solver=sd.Euler())
    simulation.run_to(4)
    simulation.change({"residence": 0})
    with pytest.raises(sd.SimulationError) as caught:
        simulation.run_to(10)
    assert str(caught.value) == "tiny: at Year 4 'level' divides by zero; check the parameters it reads"


def test_a_stock_that_may_not_fall_below_zero_stays_there(tmp_path):
    text = (
        '<xmile version="1.0" xmlns="http://docs.oasis-open.org/xmile/ns/XMILE/v1.0"><sim_specs time_units="Year">'
        "<start>0</start><stop>10</stop><dt>0.25</dt></sim_specs><model><variables>"
        '<stock name="x"><eqn>1</eqn><outflow>out</outflow><non_negative/></stock>'
        '<flow name="out"><eqn>0.3</eqn></flow></variables></model></xmile>'
    )
    (tmp_path / "m.xmile").write_text(text, encoding="utf-8")
    model = sd.load(tmp_path / "m.xmile")
    for solver in (*FIXED, sd.Adaptive()):
        run = sd.simulate(model, solver=solver, save=1)
        exact = np.maximum(1 - 0.3 * run.times, 0)
        if isinstance(solver, sd.Euler):
            assert_close(run["x"], exact, 0, 1e-12, because="the last step takes what is left")
        else:
            assert_close(
                run["x"], exact, 0, 3e-3, because="stages take what is left of their own stock, over some steps"
            )


# Horizons and saved times.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"horizon": (5, 5)}, "the horizon goes from 5 to 5; its end should lie after its start"),
        ({"horizon": (5, 1)}, "the horizon goes from 5 to 1; its end should lie after its start"),
        ({"horizon": (0, np.inf)}, "the horizon goes from 0 to inf; its end should lie after its start"),
        ({"horizon": ("a", 1)}, "the horizon is ('a', 1); give two numbers, (start, end)"),
        ({"horizon": (1, 2, 3)}, "the horizon is (1, 2, 3); give two numbers, (start, end)"),
        ({"horizon": sd.Horizon(0, 10, 0, 1)}, "the horizon's step is 0; it should be above zero"),
        ({"horizon": sd.Horizon(0, 10, np.nan, 1)}, "the horizon's step is nan; it should be above zero"),
        ({"save": 0}, "the time between saved rows is 0; it should be above zero"),
        ({"save": -1}, "the time between saved rows is -1; it should be above zero"),
        ({"save": np.nan}, "the time between saved rows is nan; it should be above zero"),
        ({"save": [1, 11]}, "save time 11 lies outside the horizon 0 to 10"),
        ({"save": [np.nan]}, "save time nan lies outside the horizon 0 to 10"),
        (
            {"save": [0.3], "solver": sd.Euler()},
            "time 0.3 does not fall on a step of 0.125 from 0; choose a step that divides it, or Adaptive()",
        ),
        (
            {"solver": sd.RungeKutta4(0.3)},
            "time 1 does not fall on a step of 0.3 from 0; choose a step that divides it, or Adaptive()",
        ),
    ],
)
def test_a_horizon_that_cannot_be(options, told):
    with pytest.raises(sd.ScenarioError) as caught:
        sd.simulate(feature("decay"), **options)
    assert str(caught.value) == told


@pytest.mark.parametrize("solver", [sd.Euler, sd.RungeKutta4])
@pytest.mark.parametrize("step", [0, -1, np.nan, np.inf])
def test_a_step_that_cannot_be(solver, step):
    with pytest.raises(sd.ScenarioError) as caught:
        solver(step)
    assert str(caught.value) == f"the solver's step is {step}; it should be above zero"


def test_an_unknown_method_or_tolerance():
    with pytest.raises(sd.ScenarioError, match=r"^no method 'Euler'; SciPy's solve_ivp offers LSODA, RK45, "):
        sd.Adaptive(method="Euler")
    with pytest.raises(sd.ScenarioError, match=r"^the solver's rtol is 0; it should be above zero, such as 1e-8$"):
        sd.Adaptive(rtol=0)


def test_a_coarse_step_saves_every_step():
    """With a step longer than SAVEPER, all rows but a few were zeros."""
    model = tiny("x = INTEG(1, 3)", save="0.125", check_units=False)
    for solver in (sd.Euler(0.5), sd.RungeKutta4(0.5)):
        run = sd.simulate(model, solver=solver)
        assert run.times.tolist() == [0.5 * step for step in range(21)]
        assert run["x"].tolist() == [3 + 0.5 * step for step in range(21)]


def test_the_solvers_step_is_the_models_even_where_it_is_an_expression():
    """TIME STEP = 1/8 kept its length under Euler(0.5), so a pulse one step wide never came."""
    for controls in ({"step": "1/8"}, {"step": "0.125"}, {"step": "0.125", "save": "TIME STEP"}):
        run = sd.simulate(tiny("x = INTEG(PULSE(2, 0), 0)", check_units=False, **controls), solver=sd.Euler(0.5))
        assert run["x"][-1] == 0.5
        assert set(run["TIME STEP"]) == {0.5}


def test_the_runs_horizon_reaches_equations_that_read_it():
    model = tiny("x = INTEG(1, INITIAL TIME) \n left = FINAL TIME-Time", end="INITIAL TIME+10", check_units=False)
    run = sd.simulate(model, horizon=(5, 8))
    assert run["left"].tolist() == [3, 2, 1, 0]
    assert run["x"][0] == 5


@pytest.mark.parametrize("solver", [*FIXED, sd.Adaptive()])
def test_saved_times_as_asked_for(solver):
    model = feature("decay")
    whole = sd.simulate(model, solver=solver, save=0.125)
    for save in ([2, 0.125, 7.5], np.array([0.125, 2, 7.5]), (7.5, 2, 2, 0.125)):
        run = sd.simulate(model, solver=solver, save=save)
        assert run.times.tolist() == [0.125, 2, 7.5], "just the times that were listed"
        assert_close(run["stock"][:3], whole["stock"][[1, 16, 60]], 1e-7, because="interpolated by the solver")
    assert sd.simulate(model, solver=solver, save=4).times.tolist() == [0, 4, 8, 10]
    assert sd.simulate(model, solver=solver, save=np.float64(5)).times.tolist() == [0, 5, 10]
    assert sd.simulate(model, solver=solver, save=np.int64(5)).times.tolist() == [0, 5, 10]


def test_saved_times_off_the_step_grid_in_continuous_time():
    run = sd.simulate(feature("decay"), save=[0.3, 1 / 3, np.pi])
    assert_close(run["stock"], 100 * np.exp(-np.array([0.3, 1 / 3, np.pi]) / 4), 1e-7, because="rtol is 1e-8")


@pytest.mark.parametrize("solver", [*FIXED, sd.Adaptive()])
def test_tenths_of_years_add_up(solver):
    model = tiny("x = INTEG(1, 0)", start="2000", end="2010", step="0.1", save="0.1", check_units=False)
    run = sd.simulate(model, solver=solver)
    assert len(run.times) == 101
    assert_close(run["x"], run.times - 2000, 0, 1e-9, because="sums of tenths")


@pytest.mark.parametrize("solver", [*FIXED, sd.Adaptive(), sd.Adaptive(method="BDF")])
def test_a_model_without_stocks_runs(solver):
    run = sd.simulate(tiny("x = Time*2", check_units=False), solver=solver)
    assert run["x"].tolist() == [2.0 * year for year in range(11)]


def test_switches_that_cannot_be_located_are_noted():
    model = tiny("x = INTEG(IF THEN ELSE(x > 3, 0, 1), 0) \n y = STEP(1, x)", check_units=False)
    assert sd.simulate(model).notes == (
        "'x' switches by a condition on the state or on an expression of time; the solver steps over it unlocated",
        "'y' switches by step at a time that varies; the solver steps over it unlocated",
    )
    assert sd.simulate(model, solver=sd.Euler()).notes == ()


def test_now_has_no_value_for_a_lookup():
    simulation = sd.Simulation(feature("lookups"))
    with pytest.raises(sd.ModelError, match=r"^'effect table' is a lookup, which has no value of its own$"):
        simulation.now("effect table")


def test_a_runner_travels_to_another_process():
    model = feature("sir")
    runner = sd.Runner(model, ["contact rate", "infectious"], outputs=["Recovered"], times=[10, 20])
    run = sd.simulate(
        model,
        sd.Scenario("s", {"contact rate": 2, "infectious": 20}),
        solver=sd.RungeKutta4(),
    )
    expected = [[run["recovered"][10]], [run["recovered"][20]]]
    assert_close(runner([2, 20]), expected, 1e-13, because="machine maths against Python's")
    assert np.array_equal(pickle.loads(pickle.dumps(runner))([2, 20]), runner([2, 20]))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (there,) = pool.map(runner, [[2, 20]])
    assert np.array_equal(there, runner([2, 20]))
    assert np.array_equal(runner([2, 20]), runner([2, 20])), "nothing is left over from the run before"


def test_a_runner_refuses_what_a_scenario_refuses():
    model = feature("sir")
    with pytest.raises(sd.ScenarioError, match="has no such variable"):
        sd.Runner(model, ["contact rte"], outputs=["recovered"], times=[1], backend="python")
    with pytest.raises(sd.ModelError, match=r"^sir has no variable 'recoverd' \(did you mean 'recovered'\?\)$"):
        sd.Runner(model, ["contact rate"], outputs=["recoverd"], times=[1], backend="python")
    with pytest.raises(sd.ScenarioError, match=r"^time 0\.3 does not fall on a step"):
        sd.Runner(model, ["contact rate"], outputs=["recovered"], times=[0.3], backend="python")
    runner = sd.Runner(model, ["contact rate"], outputs=["recovered"], times=[1], backend="python")
    with pytest.raises((sd.SdClusterError, ValueError)):
        runner([1.0, 2.0])


@pytest.mark.parametrize("solver", [sd.Euler(), sd.RungeKutta4(), sd.Adaptive(), sd.Adaptive(method="BDF")])
@pytest.mark.parametrize("moment", ["4", "4.125"])
def test_a_division_by_zero_between_steps_is_named(solver, moment):
    """Runge-Kutta blamed the step, LSODA went on for ever at one moment."""
    model = tiny(f"x = INTEG(k, 0) \n k = 1/(Time-{moment})", check_units=False)
    with pytest.raises(sd.SimulationError, match=f"at Year {moment} 'k' divides by zero, on which stock 'x' depends"):
        sd.simulate(model, solver=solver)


def test_a_solver_that_stands_still_is_stopped():
    """LSODA took steps of no length without end where a stock ran away."""
    model = sd.load("collective_learning")
    with pytest.raises(sd.SimulationError, match=r"stopped near Year 1980.*stock 'mastered knowledge'"):
        sd.simulate(model, sd.Scenario("absurd", {"talent flow": -2.0}))


def test_values_outside_their_range_are_told():
    run = sd.simulate(sd.load("collective_learning"), sd.Scenario("much", {"training": 40.0}), save=30.0)
    assert run.notes == ("'training' is set to 40, outside its range 0 to 1",)


@pytest.mark.parametrize("backend", ["python", "numba"])
@pytest.mark.parametrize("step", [1.0, 0.5, 0.1])
def test_a_pulse_that_begins_in_the_middle_of_a_step_is_not_lost(step, backend):
    """Both comparisons were strict, so that a pulse of one step that began at half a step gave nothing."""
    start = 3.5 * step
    texts = (f"PULSE({start}, {step})", f"PULSE({start}, 0)", f"PULSE TRAIN({start}, {step}, {2 * step}, {6.2 * step})")
    names = "one", "least", "train"
    equations = " \n ".join(f"{name} = {text}" for name, text in zip(names, texts, strict=True))
    model = tiny(f"{equations} \n x = INTEG(one, 0)", check_units=False)
    run = sd.simulate(model, solver=sd.Euler(step=step), horizon=(0, 10 * step), save=step, backend=backend)
    assert run["one"].tolist() == run["least"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert run["train"].tolist() == [0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]


def test_save_takes_times_not_names():
    """A ValueError came from the depths."""
    with pytest.raises(
        sd.ScenarioError, match=r"^save=\['widgets'\] is neither a time between rows nor a list of times$"
    ):
        sd.simulate(feature("decay"), save=["widgets"])
