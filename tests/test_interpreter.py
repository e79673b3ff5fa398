"""Kernels, in plain Python and through numba, agree with a slow and obvious interpreter of the equations."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ALL, NAMES, SHIPPED, assert_close, assert_runs_agree, feature, interpreted, tiny

import sd_cluster as sd
from sd_cluster.expressions import Call, Lookup, Name, Number, Operation, replace_names, text
from sd_cluster.model import CONTROLS, Auxiliary, Horizon, Model, Parameter, Stock

FURTHER = (
    "array_allocation", "array_inverse", "array_order", "delay_fixed", "delay_material", "delay_n_varying",
    "depreciate_straightline", "gamma_ln", "lookup_extrapolate", "lookup_forward", "lookup_invert", "sample_if_true",
)  # fmt: skip
"""Features whose parts the compiler should see too."""

SAME = "the same operations in the same order"


def simulated(model, **options):
    return sd.simulate(model, solver=sd.Euler(), **options)


EVEN = [name for name in ALL if name != "end_step_and_saving_that_vary"]
"""The interpreter's steps are even."""


@pytest.mark.parametrize("name", [*EVEN, *SHIPPED])
def test_a_kernel_says_what_the_interpreter_says(name):
    model = feature(name)
    rtol = 1e-6 if name == "array_allocation" else 1e-12 if name == "array_inverse" else 1e-13
    assert_runs_agree(simulated(model), interpreted(model), rtol, because=SAME)


HEAVY = ("array_inverse", "array_allocation_by_priority", "delays", "lookups", "maths", "find_market_price")
"""Features that the compilers have stumbled over."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in HEAVY or not number % 12 else pytest.mark.exhaustive)
        for number, name in enumerate(EVEN)
    ],
)
def test_every_feature_through_numba_and_side_by_side(name):
    """All back ends say the same: plain Python, numba, and runs side by side that differ in one parameter.

    Compiling takes two seconds a feature: CI takes a twelfth of them, `pytest -m exhaustive` the others.
    """
    model = feature(name)
    plain, fast = simulated(model), simulated(model, backend="numba")
    assert_close(fast.values, plain.values, 1e-12, 1e-12, because="machine maths against Python's")
    own = [n for n, item in model.parameters.items() if not item.hidden and n not in CONTROLS and item.units != "Year"]
    stocks = [n for n in own if "[" not in n][:1] or own[:1]
    if not stocks or model.parameters[stocks[0]].value < -1e30:
        return
    value = model.parameters[stocks[0]].value
    draws = sd.Draws((stocks[0],), np.array([[value], [value * 1.01]]))
    outputs = [n for n in plain.names if n not in CONTROLS]
    swept = sd.sweep(model, draws, outputs=outputs, solver=sd.Euler())
    for place, changed in enumerate((value, value * 1.01)):
        one = simulated(model, scenario=sd.Scenario("one", {stocks[0]: changed}))
        for output in outputs:
            assert_close(swept[output][place], one[output], 1e-9, 1e-9, because="polynomials of exponentials")


def everything():
    """All features in one model, so that numba compiles once: names are prefixed by their feature."""
    equations = {}
    for name in (*NAMES, *FURTHER):
        model = feature(name)
        for equation in model.equations:
            if equation.name in CONTROLS:
                equations[equation.name] = equation
                continue
            parts = {}
            for field in ("expression", "rate", "initial", "following", "delay", "missing"):
                if getattr(equation, field, None) is not None:
                    parts[field] = renamed(getattr(equation, field), lambda old, name=name: prefixed(name, old))
            equations[prefixed(name, equation.name)] = replace(equation, name=prefixed(name, equation.name), **parts)
    return Model("everything", "", tuple(equations.values()), Horizon(0, 10, 0.125, 1, "Year"))


def prefixed(feature_name, variable):
    return variable if variable in {*CONTROLS, "Time"} else f"{feature_name} {variable}"


def renamed(expression, naming):
    """An expression with every name, tables included, passed through `naming`."""

    def tables(part):
        match part:
            case Lookup():
                return Lookup(naming(part.table), tables(part.argument), part.slope, part.how)
            case Operation():
                return Operation(part.operator, tuple(map(tables, part.operands)))
            case Call():
                return Call(part.function, tuple(map(tables, part.arguments)))
            case _:
                return part

    return replace_names(tables(expression), lambda name: Name(naming(name.name)))


@pytest.mark.slow
def test_numba_says_what_python_says_about_everything():
    model = everything()
    plain, fast = simulated(model, backend="python"), simulated(model, backend="numba")
    assert_close(fast.values, plain.values, 1e-13, because="machine maths against Python's")
    plain, fast = (sd.simulate(model, solver=sd.RungeKutta4(), backend=backend) for backend in ("python", "numba"))
    assert_close(fast.values, plain.values, 1e-13, because="machine maths against Python's")
    runner = sd.Runner(model, ["decay lifetime"], outputs=["decay stock", "maths powers"], times=range(11))
    expected = np.stack([plain["decay stock"], plain["maths powers"]], axis=1)
    assert_close(runner([4.0]), expected, 1e-13, because="machine maths against Python's")


def test_whole_parts_of_huge_numbers_are_the_same_in_both():
    """INTEGER(1e20) was -9.2e18 through numba, whose whole numbers end there."""
    model = tiny("x = INTEG(0, 1e20) \n y = INTEGER(x)+QUANTUM(x, 0.5) \n z = INTEGER(-x)")
    for backend in ("python", "numba"):
        run = simulated(model, backend=backend)
        assert (run["y"][0], run["z"][0]) == (2e20, -1e20)


# Random models: expressions are kept finite by tanh, divisions by 2 + x^2.

ATOMS = ("p0", "p1", "s0", "s1", "s2", "a0", "a1", "a2", "Time")


def expressions(names):
    leaves = st.sampled_from(names).map(Name) | st.floats(-3, 3).map(lambda x: Number(round(x, 3)))

    def grow(parts):
        squared = parts.map(lambda x: Operation("+", (Number(2.0), Operation("*", (x, x)))))
        compared = st.tuples(st.sampled_from(["<", ">=", "="]), parts, parts)
        condition = compared.map(lambda c: Operation(c[0], c[1:]))
        return st.one_of(
            st.tuples(st.sampled_from("+-*"), parts, parts).map(lambda c: Operation(c[0], c[1:])),
            st.tuples(parts, squared).map(lambda c: Operation("/", c)),
            parts.map(lambda x: Operation("neg", (x,))),
            st.tuples(st.sampled_from(["sin", "cos", "arctan", "abs", "tanh"]), parts).map(lambda c: Call(c[0], c[1:])),
            st.tuples(st.sampled_from(["min", "max"]), parts, parts).map(lambda c: Call(c[0], c[1:])),
            st.tuples(condition, parts, parts).map(lambda c: Call("if_then_else", c)),
        )

    bounded = st.recursive(leaves, grow, max_leaves=6)
    return bounded.map(lambda x: Call("tanh", (x,)))


def control_parameters(horizon):
    values = (horizon.start, horizon.end, horizon.step, horizon.save_every)
    return [Parameter(name=name, value=value) for name, value in zip(CONTROLS, values, strict=True)]


@st.composite
def models(draw):
    """Two parameters, three auxiliaries in a row, three stocks."""
    horizon = Horizon(0.0, 4.0, 0.125, 0.5, "Year")
    equations = [Parameter(name=name, value=draw(st.floats(-2, 2))) for name in ("p0", "p1")]
    base = ("p0", "p1", "s0", "s1", "s2", "Time")
    for place in range(3):
        known = (*base, *(f"a{lower}" for lower in range(place)))
        equations.append(Auxiliary(name=f"a{place}", expression=draw(expressions(known))))
    for place in range(3):
        initial = draw(expressions(("p0", "p1", *(f"s{lower}" for lower in range(place)))))
        equations.append(Stock(name=f"s{place}", rate=draw(expressions(ATOMS)), initial=initial))
    return Model("random", "", (*equations, *control_parameters(horizon)), horizon)


def readable(model):
    return {equation.name: text(equation.rate) for equation in model.of_kind(Stock)}


@given(models())
@settings(max_examples=25)
def test_a_random_model_runs_as_interpreted(model):
    assert_runs_agree(simulated(model), interpreted(model), 1e-12, because=SAME)


@given(models(), st.permutations(range(8)))
@settings(max_examples=12)
def test_the_order_of_equations_does_not_count(model, order):
    shuffled = replace(model, equations=(*(model.equations[place] for place in order), *model.equations[8:]))
    run, again = simulated(model), simulated(shuffled)
    for name in run.names:
        assert np.array_equal(run[name], again[name]), readable(model)


@given(models())
@settings(max_examples=12)
def test_names_do_not_count(model):
    def naming(name):
        return name if name in {*CONTROLS, "Time"} else f"z {name[::-1]} \N{GREEK SMALL LETTER ALPHA} if"

    equations = []
    for equation in model.equations:
        parts = {}
        for field in ("expression", "rate", "initial"):
            if getattr(equation, field, None) is not None:
                parts[field] = renamed(getattr(equation, field), naming)
        equations.append(replace(equation, name=naming(equation.name), **parts))
    run, again = simulated(model), simulated(replace(model, equations=tuple(equations)))
    assert np.array_equal(run.values, again.values), readable(model)


@given(models())
@settings(max_examples=12)
def test_the_unit_of_time_does_not_count(model):
    """A year as four quarters: times are four times as large, flows a quarter."""

    def in_quarters(expression):
        return replace_names(expression, lambda n: Operation("/", (n, Number(4.0))) if n.name == "Time" else n)

    horizon = Horizon(0.0, 16.0, 0.5, 2.0, "Quarter")
    equations = []
    for equation in model.equations:
        match equation:
            case Auxiliary():
                equations.append(replace(equation, expression=in_quarters(equation.expression)))
            case Stock():
                rate = Operation("/", (in_quarters(equation.rate), Number(4.0)))
                equations.append(replace(equation, rate=rate))
            case _ if equation.name not in CONTROLS:
                equations.append(equation)
    quarters = Model("random", "", (*equations, *control_parameters(horizon)), horizon)
    run, again = simulated(model), simulated(quarters)
    for name in ("s0", "s1", "s2", "a0", "a1", "a2"):
        assert np.array_equal(run[name], again[name]), "powers of two change no rounding"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), expressions(("s0", "s1", "s2", "s3"))), max_size=5))
@settings(max_examples=40)
def test_a_closed_system_keeps_its_total(transfers):
    horizon = Horizon(0.0, 4.0, 0.125, 0.5, "Year")
    equations = [Auxiliary(name=f"f{place}", expression=flow) for place, (_, _, flow) in enumerate(transfers)]
    for stock in range(4):
        rate = Number(0.0)
        for place, (source, sink, _) in enumerate(transfers):
            if stock in {source, sink} and source != sink:
                rate = Operation("-" if stock == source else "+", (rate, Name(f"f{place}")))
        equations.append(Stock(name=f"s{stock}", rate=rate, initial=Number(float(stock + 1))))
    model = Model("closed", "", (*equations, *control_parameters(horizon)), horizon)
    for solver in (sd.Euler(), sd.RungeKutta4()):
        run = sd.simulate(model, solver=solver)
        total = sum(run[f"s{stock}"] for stock in range(4))
        assert_close(total, 10.0, 1e-12, because="only rounding is lost on the way")


def test_random_models_do_move():
    """The strategy is not so cautious that nothing happens."""
    moved = []

    @given(models())
    @settings(max_examples=15)
    def look(model):
        run = simulated(model)
        moved.append(np.ptp(run["s0"]) > 0.01)

    look()
    assert sum(moved) >= 3


def test_a_sweep_of_a_model_without_stocks():
    """The loop over lanes had no line in it."""
    model = tiny("a = 2 ~ dmnl \n b = a*3+Time/year ~ dmnl \n year = 1 ~ Year")
    swept = sd.sweep(model, sd.Draws(("a",), np.array([[1.0], [2.0]])), outputs=["b"], solver=sd.Euler())
    assert swept["b"][:, 0].tolist() == [3.0, 6.0]
