"""Forward sensitivities against closed forms, against differences of whole runs, and their edges."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from support import assert_close, feature, tiny

import sd_cluster as sd
from sd_cluster.forward import ForwardRunner
from sd_cluster.model import Stock
from sd_cluster.tape import Slope, Tape, needed

YEARS = [0.0, 1.0, 2.5, 5.0, 7.5, 10.0]


def differences(model, names, point, *, outputs, times, reach=1e-3, **settings):
    """Derivatives of whole runs by central differences of fourth order, shape (n_times, n_outputs, n_names)."""
    runner = sd.Runner(model, names, outputs=outputs, times=times, backend="python", **settings)
    columns = []
    for place, value in enumerate(point):
        width = reach * (abs(value) or 1.0)
        ends = [runner(np.array(point) + k * width * np.eye(len(point))[place]) for k in (-2, -1, 1, 2)]
        columns.append((ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * width))
    return np.stack(columns, axis=-1)


def check_against_differences(model, names, point, rtol=1e-6, reach=1e-3, **settings):
    values, jacobian = ForwardRunner(model, names, **settings)(point)
    runs = sd.Runner(model, names, backend="python", **settings)(point)
    assert_close(values, runs, 1e-12, 1e-12, because="the same steps, rounded otherwise in places")
    expected = differences(model, names, point, reach=reach, **settings)
    size = np.abs(values).max(axis=0)[:, np.newaxis] / np.where(np.array(point) == 0.0, 1.0, np.abs(point))
    scale = np.abs(expected).max(axis=0) + 1e-5 * size
    assert_close(jacobian / scale, expected / scale, 0, rtol, because="rounding of differences over their width")
    return jacobian


FEATURES = {
    "delays": (["working year", "waiting"], [1.0, 12.0], ["third", "third from", "waiting"]),
    "initials": (["fraction", "level", "usual backlog"], [0.2, 3.0, 10.0], ["first level", "ratio", "pressure"]),
    "lookups": (["pace", "x"], [0.97, -1.0], ["by name", "by bare name", "in place", "filled"]),
    "maths": (["pace", "x"], [0.37, 0.11], ["powers", "logs", "waves", "arcs", "hyperbolic", "corners"]),
    "precedence": (["a", "b", "pace", "x"], [7, 3, 0.5, 1], ["quotients", "mixed", "negative power", "grouped"]),
    "sir": (["contact rate", "duration", "infectious"], [2.5, 1.0, 10.0], ["infection", "total", "recovered"]),
    "switches": (["height", "slope", "residence"], [5.0, 0.5, 1.5], ["level", "inflow"]),
    "two_stocks": (["first rate", "second rate", "upper"], [0.4, 0.15, 80.0], ["lower", "outflow"]),
}


QUICK = {"delays", "lookups", "maths", "switches"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FEATURES]
)
def test_features_agree_with_differences_of_whole_runs(name):
    names, point, outputs = FEATURES[name]
    reach = 1e-5 if name == "lookups" else 1e-3  # no run of the differences may cross a point of a table elsewhere
    check_against_differences(feature(name), names, point, reach=reach, outputs=outputs, times=YEARS)


@pytest.mark.slow
def test_collective_learning_agrees_with_differences():
    model = feature("collective_learning")
    names = ["initial trust", "talent flow", "obsolescence rate", "external frontier", "hiring rate"]
    point = [model.parameters[name].value for name in names]
    settings = {"outputs": ["trust", "shared knowledge base"], "times": [1985, 1995], "horizon": (1980, 1995)}
    check_against_differences(model, names, point, **settings)


@pytest.mark.slow
def test_all_parameters_of_collective_learning_agree_with_differences():
    model = feature("collective_learning")
    names = [name for name in model.parameters if name.upper() != name]
    point = [model.parameters[name].value for name in names]
    check_against_differences(model, names, point, 1e-5, outputs=["trust", "talent pool"], times=[2000, 2040])


def test_decay_has_its_closed_form():
    runner = ForwardRunner(
        feature("decay"), ["lifetime", "initial stock"], outputs=["stock", "loss"], times=YEARS, step=1 / 64
    )
    values, jacobian = runner([3.0, 80.0])
    t = np.array(YEARS)
    share = np.exp(-t / 3.0)
    assert_close(values[:, 0], 80 * share, 1e-10, because="steps of 1/64")
    assert_close(jacobian[:, 0, 0], 80 * t / 9 * share, 1e-9, 1e-12, because="steps of 1/64")
    assert_close(jacobian[:, 0, 1], share, 1e-10, because="steps of 1/64")
    assert_close(jacobian[:, 1, 0], 80 * share * (t / 27 - 1 / 9), 1e-9, because="loss = stock / lifetime")


def test_logistic_growth_has_its_closed_form():
    names = ["growth rate", "capacity", "initial firms"]
    runner = ForwardRunner(feature("logistic"), names, outputs=["firms"], times=YEARS, step=1 / 64)
    _, jacobian = runner([0.5, 400.0, 10.0])
    t, r, room, start = np.array(YEARS), 0.5, 400.0, 10.0
    fall = np.exp(-r * t)
    below = start + (room - start) * fall
    assert_close(jacobian[:, 0, 0], room * start * (room - start) * t * fall / below**2, 1e-8, because="1/64")
    assert_close(jacobian[:, 0, 1], start**2 * (1 - fall) / below**2, 1e-8, 1e-14, because="1/64")
    assert_close(jacobian[:, 0, 2], room**2 * fall / below**2, 1e-8, because="1/64")


def test_halving_the_step_shrinks_the_error_by_sixteen():
    def error(step):
        _, jacobian = ForwardRunner(feature("decay"), ["lifetime"], outputs=["stock"], times=[10.0], step=step)([1.0])
        return abs(jacobian[0, 0, 0] - 1000 * np.exp(-10.0))

    assert 13 < error(1 / 4) / error(1 / 8) < 19


def test_constants_worked_out_once_and_starts_that_depend_on_parameters():
    model = tiny("""
        stock = INTEG(-drain*stock, twice*begin) ~
        begin = base^2+drain ~
        drain = base/10 ~
        twice = 2 ~
        base = 3 ~
        first = INITIAL(stock*base) ~
        share = stock/first ~
    """)
    names, outputs = ["base", "twice"], ["stock", "share", "first", "drain", "begin"]
    jacobian = check_against_differences(model, names, [3.0, 2.0], outputs=outputs, times=YEARS)
    assert_close(jacobian[:, 3, 0], 0.1, 1e-14, because="base / 10")
    assert_close(jacobian[:, 4, 0], 6.1, 1e-14, because="2 base + 1 / 10")
    assert_close(jacobian[:, 2, 1], 9.3 * 3, 1e-14, because="frozen at the start")


def test_an_initial_stock_is_differentiated_by_itself():
    runner = ForwardRunner(feature("two_stocks"), ["lower", "upper"], outputs=["lower", "upper"], times=YEARS)
    _, jacobian = runner([20.0, 80.0])
    assert_close(jacobian[0], np.eye(2), 0, because="at the start")
    assert_close(jacobian[:, 1, 0], 0.0, 0, because="the upper stock does not know of the lower one")
    assert_close(jacobian[:, 0, 0], np.exp(-0.15 * np.array(YEARS)), 1e-8, because="steps of 1/8")


def test_a_parameter_as_output_and_an_idle_one():
    model = tiny("stock = INTEG(pace, 1) ~\npace = 2 ~\nidle = 4 ~")
    _, jacobian = ForwardRunner(model, ["idle", "pace"], outputs=["pace", "stock"], times=[0, 10])([4.0, 2.0])
    assert jacobian[1].tolist() == [[0.0, 1.0], [0.0, 10.0]]


def test_many_parameters_fill_more_than_one_vector_of_the_processor():
    names = [f"p{number}" for number in range(11)]
    lines = "\n".join(f"{name} = {number} ~" for number, name in enumerate(names))
    model = tiny(f"stock = INTEG({'+'.join(names)}-stock/p10, 0) ~\n{lines}")
    check_against_differences(model, names, list(range(11)), outputs=["stock"], times=YEARS)


def test_scenarios_with_series_and_their_own_numbers():
    model = tiny("""
        level = INTEG(gain*push-level/life, 1) ~
        push = 2 ~
        gain = 3 ~
        life = 4 ~
    """)
    series = {"push": {0: 0.5, 3.3: 2.0, 9: 0.0}, "gain": sd.TimeSeries([0, 2, 7], [1, 4, 2], "previous"), "life": 5.0}
    settings = {"outputs": ["level", "push"], "times": YEARS, "scenario": sd.Scenario("program", series)}
    check_against_differences(model, ["life", "level"], [5.0, 1.0], **settings)


@pytest.mark.parametrize(
    ("equations", "name", "variable"),
    [
        ("level = INTEG(STEP(5, begin)-level, 0) ~\nbegin = 2 ~", "begin", "level"),
        ("level = INTEG(rise, 0) ~\nrise = RAMP(1, early*2, 9) ~\nearly = 2 ~", "early", "rise"),
        ("level = INTEG(rise, 0) ~\nrise = PULSE(1, width) ~\nwidth = 2 ~", "width", "rise"),
        ("level = INTEG(rise, 0) ~\nrise = IF THEN ELSE(Time > begin, 1, 0) ~\nbegin = 2 ~", "begin", "rise"),
        (
            "level = INTEG(rise, 0) ~\nage = Time-begin ~\nrise = IF THEN ELSE(age > 0, 1, 0) ~\nbegin = 2 ~",
            "begin",
            "rise",
        ),
        ("level = INTEG(rise, 0) ~\nrise = MODULO(Time, begin) ~\nbegin = 2 ~", "begin", "rise"),
    ],
)
def test_what_enters_a_switching_time_is_refused_by_name(equations, name, variable):
    model = tiny(equations + "\nother = 1 ~")
    with pytest.raises(sd.ModelError, match=f"'{name}' enters the time at which '{variable}' switches"):
        ForwardRunner(model, ["other", name], outputs=["level"], times=[1.0])


def test_an_initial_stock_that_enters_a_switching_time_is_refused_under_its_own_name():
    model = tiny("level = INTEG(STEP(1, begin), 0) ~\nbegin = INITIAL(store) ~\nstore = INTEG(1, 2) ~")
    with pytest.raises(sd.ModelError, match="'store' enters the time at which 'level' switches"):
        ForwardRunner(model, ["store"], outputs=["level"], times=[1.0])


def test_a_switch_that_does_not_reach_the_output_is_no_hindrance():
    model = tiny("level = INTEG(-level/life, 1) ~\nlife = 2 ~\naside = INTEG(STEP(1, life), 0) ~")
    _, jacobian = ForwardRunner(model, ["life"], outputs=["level"], times=[4.0])([2.0])
    assert_close(jacobian[0, 0, 0], np.exp(-2.0), 1e-5, because="steps of 1/8")


def test_conditions_on_the_state_are_told():
    model = tiny("level = INTEG(flow, 1) ~\nflow = IF THEN ELSE(level > most, 0, rate) ~\nmost = 5 ~\nrate = 1 ~")
    runner = ForwardRunner(model, ["rate", "most"], outputs=["level"], times=[2.0])
    (note,) = runner.notes
    assert note == "'flow' switches by a condition on the state: derivatives leave out what a jump there adds"
    assert ForwardRunner(feature("decay"), ["lifetime"], outputs=["stock"], times=[2.0]).notes == ()


def test_what_a_condition_keeps_away_does_not_spoil_derivatives():
    """Behind a closed condition a slope may be infinite: zero times infinity is no number."""
    model = tiny("""
        x = INTEG(rate, 0) ~
        rate = 1 ~
        guarded = IF THEN ELSE(x > 0, LN(x), x) ~
        larger = MAX(LN(x), x-5) ~
        safe = ZIDZ(rate, x) ~
        nested = IF THEN ELSE(x > 0, IF THEN ELSE(x > 2, SQRT(x-2), 1/x), 3*rate) ~
    """)
    outputs = ["guarded", "larger", "safe", "nested"]
    _, jacobian = ForwardRunner(model, ["rate", "x"], outputs=outputs, times=[0, 1, 4])([1.0, 0.0])
    assert_close(jacobian[0], [[0, 1], [0, 1], [0, 0], [3, 0]], 1e-14, because="where the stock is empty")
    root = 0.5 / np.sqrt(2.0)
    late = [[1, 0.25], [1, 0.25], [0, -1 / 16], [4 * root, root]]
    assert_close(jacobian[2], late, 1e-13, 1e-15, because="at x = 4")


def test_powers_of_what_is_empty():
    model = tiny("x = INTEG(rate*x^2+k*y^1.5, 0) ~\ny = INTEG(rate*0, 0) ~\nrate = 1 ~\nk = 2 ~")
    _, jacobian = ForwardRunner(model, ["rate", "k"], outputs=["x"], times=[5.0])([1.0, 2.0])
    assert jacobian.tolist() == [[[0.0, 0.0]]]


def test_a_stock_that_stays_above_zero_stops_there_with_its_sensitivities():
    model = tiny("store = INTEG(-drain, 5) ~\ndrain = 1 ~")
    limited = [replace(item, non_negative=True) if isinstance(item, Stock) else item for item in model.equations]
    runner = ForwardRunner(
        replace(model, equations=tuple(limited)), ["drain", "store"], outputs=["store"], times=[4.0, 8.0]
    )
    values, jacobian = runner([1.0, 5.0])
    assert_close(values[:, 0], [1.0, 0.0], 1e-14, because="a straight line, then nothing")
    assert_close(jacobian[:, 0], [[-4.0, 1.0], [0.0, 0.0]], 1e-14, because="a straight line, then nothing")


def test_blow_ups_read_as_they_do_from_a_runner():
    model = tiny("x = INTEG(rate*x^2, 1) ~\nrate = 1 ~", end="10")
    with pytest.raises(sd.SimulationError) as ours:
        ForwardRunner(model, ["rate"], outputs=["x"], times=[10.0])([5.0])
    with pytest.raises(sd.SimulationError) as theirs:
        sd.Runner(model, ["rate"], outputs=["x"], times=[10.0])([5.0])
    assert str(ours.value) == str(theirs.value)


def test_starts_that_cannot_be_computed_are_told():
    model = tiny("x = INTEG(1, 1/rate) ~\nrate = 1 ~")
    with pytest.raises(sd.SimulationError, match="initial value of 'x' divides by zero"):
        ForwardRunner(model, ["rate"], outputs=["x"], times=[10.0])([0.0])


def test_a_derivative_without_a_finite_value_is_told():
    model = tiny("x = INTEG(1, begin) ~\nbegin = 0 ~\nroot = SQRT(x) ~")
    with pytest.raises(sd.SimulationError, match="at Year 0 the derivative of 'root' by 'begin' has no finite value"):
        ForwardRunner(model, ["begin"], outputs=["root"], times=[0.0, 1.0])([0.0])


def test_names_that_do_not_fit_are_refused():
    model = feature("lookups")
    with pytest.raises(sd.ModelError, match="'pace' stands twice"):
        ForwardRunner(model, ["pace", "Pace"], outputs=["x"], times=[1.0])
    with pytest.raises(sd.ModelError, match="'effect table' is a lookup"):
        ForwardRunner(model, ["pace"], outputs=["effect table"], times=[1.0])
    with pytest.raises(sd.ScenarioError, match="which the model computes"):
        ForwardRunner(model, ["filled", "by name"], outputs=["x"], times=[1.0])
    with pytest.raises(sd.ScenarioError, match="does not fall on a step"):
        ForwardRunner(model, ["pace"], outputs=["x"], times=[1.01])


def test_a_vector_of_another_length_is_refused():
    settings = {"outputs": ["stock"], "times": [1.0]}
    for runner in (ForwardRunner(feature("decay"), ["lifetime"], **settings),
                   sd.Runner(feature("decay"), ["lifetime"], backend="python", **settings)):  # fmt: skip
        with pytest.raises(sd.ModelError, match="2 numbers were given for 1 names"):
            runner([1.0, 2.0])


def test_a_copy_gives_the_same_bits():
    runner = ForwardRunner(feature("logistic"), ["capacity"], outputs=["firms"], times=YEARS)
    copy = pickle.loads(pickle.dumps(runner))
    for first, second in zip(runner([300.0]), copy([300.0]), strict=True):
        assert first.tobytes() == second.tobytes()


def test_elimination_multiplies_along_paths_and_adds_over_them():
    tape = Tape()
    a = tape.vertex([(("stock", 0), Slope("2.0")), (("stock", 1), Slope("3.0"))])
    b = tape.vertex([(a, Slope("5.0")), (("stock", 1), Slope("-1.0"))])
    target = tape.target(tape.vertex([(a, Slope("7.0")), (b, Slope("1.0", "c1"))]))
    found = tape.eliminate([target])[target]
    for c1, expected in ((True, {0: 24.0, 1: 35.0}), (False, {0: 14.0, 1: 21.0})):
        scope = {"c1": c1}
        exec("\n".join(tape.lines), scope)
        assert {row: eval(source, scope) for (_, row), source in found.items()} == expected


def test_lines_nobody_reads_are_left_out():
    lines = ["e1 = y[0]", "e2 = e1 * 2.0", "d3 = e2", "v4 = e1", "out[0] = v4"]
    assert needed(lines) == ["e1 = y[0]", "v4 = e1", "out[0] = v4"]


HELD = {
    "a pipe in a loop": (
        "s = INTEG(a*DELAY FIXED(s, 1.5, 2*s0) - k*s, s0) \n a = 0.3 \n k = 0.2 \n s0 = 2",
        ["a", "k", "s0"],
        ["s"],
    ),
    "a sample": (
        "s = INTEG(a*x - k*s, 1) \n x = SAMPLE IF TRUE(MODULO(Time, 2) < 0.5, s*k, k) \n a = 0.3 \n k = 0.2",
        ["a", "k"],
        ["s", "x"],
    ),
    "a delay whose time varies": (
        "s = INTEG(DELAY N(a*s, t, k, 3) - k*s, 1) \n t = 2 + s/10 \n a = 0.3 \n k = 0.2",
        ["a", "k"],
        ["s"],
    ),
    "pipes one behind another": (
        "x = DELAY FIXED(a*Time, 1, k) \n y = DELAY FIXED(x*k, 0.5, a) \n s = INTEG(y - s*a, 1) \n a = 0.3 \n k = 0.2",
        ["a", "k"],
        ["s", "y"],
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_values_held_from_step_to_step_have_derivatives(name):
    equations, names, outputs = HELD[name]
    model = tiny(equations, check_units=False)
    point = [model.parameters[parameter].value for parameter in names]
    check_against_differences(model, names, point, outputs=outputs, times=[0, 1, 2, 5, 10])


def test_a_time_in_a_pipe_has_no_derivative_and_other_pipes_have_none_at_all():
    model = tiny("x = DELAY FIXED(a*Time, d, 1) \n s = INTEG(x, a) \n a = 0.3 \n d = 2", check_units=False)
    with pytest.raises(sd.ModelError, match="'d' enters the time at which 'x' switches"):
        ForwardRunner(model, ["d"], outputs=["s"], times=[5])
    model = tiny("x = DELAY MATERIAL(a, 2, 0, 0) \n s = INTEG(x, a) \n z = INTEG(a, 1) \n a = 0.3", check_units=False)
    with pytest.raises(sd.ModelError, match="'x' comes out of DELAY MATERIAL, which has no derivative here"):
        ForwardRunner(model, ["a"], outputs=["s"], times=[5])
    assert_close(ForwardRunner(model, ["a"], outputs=["z"], times=[5])([0.3])[1], 5.0, 1e-12, because="a line")
