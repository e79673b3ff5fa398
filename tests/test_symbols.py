"""SymPy's view, and the Jacobian by the chain rule, against central differences and against the kernels."""

import numpy as np
import pytest
from support import NAMES, SHIPPED, assert_close, feature, tiny

import sd_cluster as sd
from sd_cluster import simulation
from sd_cluster.kernel import compile_jacobian, compile_model
from sd_cluster.model import Table

MOMENTS = (0.06, 2.31, 4.83, 8.77)


def state_at(model, time):
    """Kernel, inputs and stocks of a run at a moment, nudged off corners and points of tables."""
    kernel = compile_model(model)
    p, y = kernel.vector({}), kernel.array(len(kernel.stocks))
    kernel.constants(p)
    kernel.initial(model.horizon.start, model.horizon.start, p, y)
    p[kernel.half_step] = 0.0
    rng = np.random.default_rng(round(100 * time))
    y = np.array(y) * rng.uniform(0.8, 1.25, len(y)) + 0.0137
    return kernel, p, y


def rates(kernel, t, y, p):
    dy = kernel.array(len(y))
    kernel.rates(t, t, y.tolist(), p, dy)
    return np.array(dy)


@pytest.mark.parametrize("time", MOMENTS)
@pytest.mark.parametrize("name", [*NAMES, *SHIPPED])
def test_the_chain_rule_agrees_with_central_differences(name, time):
    model = feature(name)
    time += model.horizon.start
    kernel, p, y = state_at(model, time)
    exact = compile_jacobian(model)(time, time, y.tolist(), p)
    differences = np.empty_like(exact)
    for column in range(len(y)):
        step = np.zeros(len(y))
        step[column] = 1e-5 * max(1e-3, abs(y[column]))
        change = rates(kernel, time, y + step, p) - rates(kernel, time, y - step, p)
        differences[:, column] = change / (2 * step[column])
    scale = max(1e-6, np.abs(exact).max())
    assert_close(exact, differences, 1e-6, 1e-7 * scale, because="differences cut off a cubic term and round")


@pytest.mark.parametrize(
    ("expression", "slope"),
    [
        ("MAX(x, 3)", 0.0),
        ("MIN(x, 3)", 1.0),
        ("ABS(x-5)", -1.0),
        ("MODULO(x, 1.5)", 1.0),
        ("QUANTUM(x, 0.3)", 0.0),
        ("INTEGER(3*x)", 0.0),
        ("IF THEN ELSE(x > 1, x^2, 0)", 4.0),
        ("XIDZ(6, x, 1)", -1.5),
        ("ZIDZ(6, x)", -1.5),
        ("table(x)", 0.5),
        ("table(2*x)", 0.0),
        ("table(table(x))", 0.25),
        ("x^x", 4 * (1 + np.log(2))),
        ("POWER(x, 3)", 12.0),
        ("2^x", 4 * np.log(2)),
        ("LOG(x, 10)", 0.5 / np.log(10)),
        ("ARCTAN(x)", 0.2),
        ("SQRT(2*x)", 0.5),
        ("TANH(x)", 1 / np.cosh(2) ** 2),
        ("1/(1+EXP(-x))", np.exp(-2) / (1 + np.exp(-2)) ** 2),
    ],
)
def test_the_slope_of_one_function_by_hand(expression, slope):
    model = tiny(f"x = INTEG({expression}, 2) \n table((0,0),(1,0.5),(4,2))", check_units=False)
    kernel = compile_model(model)
    p = kernel.vector({})
    assert compile_jacobian(model)(0, 0, [2.0], p)[0, 0] == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("method", ["LSODA", "Radau", "BDF"])
def test_stiff_solvers_get_the_jacobian(method, monkeypatch):
    asked = []

    class Watched(simulation.Rates):
        def jacobian(self, t, y):
            asked.append(t)
            return super().jacobian(t, y)

    monkeypatch.setattr(simulation, "Rates", Watched)
    model = tiny("x = INTEG(-1000*(x-y), 0) \n y = INTEG(-y+x*x/(1+x), 1)", check_units=False)
    sd.simulate(model, solver=sd.Adaptive(method=method))
    assert asked


@pytest.mark.parametrize("method", ["LSODA", "Radau", "BDF", "RK45", "DOP853", "RK23"])
@pytest.mark.parametrize("power", ["SQRT(x)", "x^0.5"])
def test_a_slope_without_bound_does_not_stop_a_solver(method, power):
    """The root of an empty stock has no slope: its Jacobian ended in a bare ValueError: math domain error."""
    model = tiny(f"x = INTEG({power}+1, 1e-9) \n y = INTEG(SQRT(y), 0)", check_units=False)
    run = sd.simulate(model, solver=sd.Adaptive(method=method))
    fine = sd.simulate(model, solver=sd.RungeKutta4(1 / 4096), backend="python", horizon=(0, 2))
    assert_close(run["x"][2], fine["x"][-1], 1e-4, because="fixed steps lose order at the root")
    assert run["y"][-1] == pytest.approx(0, abs=30), "zero and (t/2)^2 both solve it"


def test_a_slope_that_divides_by_zero_in_a_branch_not_taken():
    """SymPy's zoo in a branch ended in TypeError: Cannot convert complex to float."""
    model = tiny("x = INTEG(IF THEN ELSE(x > -1, 1, x/0), 0)", check_units=False)
    for method in ("LSODA", "BDF", "Radau"):
        assert sd.simulate(model, solver=sd.Adaptive(method=method))["x"][-1] == pytest.approx(10, rel=1e-9)


@pytest.mark.parametrize("name", ["decay", "logistic", "two_stocks", "sir", "precedence", "initials", *SHIPPED])
def test_symbolic_rates_evaluate_to_the_kernels(name):
    import sympy

    model = feature(name)
    system = model.symbolic()
    kernel, p, y = state_at(model, 2.31)
    time = model.horizon.start + 2.31
    known = {system.time: time, **system.parameters}
    known |= {system.symbols[stock]: value for stock, value in zip(kernel.stocks, y.tolist(), strict=True)}
    known |= {system.symbols[frozen]: p[kernel.slots[frozen]] for frozen in kernel.structure.frozen}
    tables = {equation.name: equation for equation in model.equations if isinstance(equation, Table)}

    def number(expression):
        value = expression.subs(known)
        value = value.replace(
            lambda node: getattr(type(node), "_built_in", "") in BUILT_IN,
            lambda node: sympy.Float(BUILT_IN[type(node)._built_in](node, tables)),
        )
        return float(value)

    for symbol, expression in system.auxiliaries.items():
        known[symbol] = number(expression)
    symbolic = [number(rate) for rate in system.rates.values()]
    assert [str(stock) for stock in system.rates] == list(kernel.stocks)
    assert_close(symbolic, rates(kernel, time, y, p), 1e-9, 1e-12, because="SymPy adds in an order of its own")


def _interp(node, tables):
    table = tables[type(node)._table]
    return np.interp(float(node.args[0]), table.x, table.y)


BUILT_IN = {
    "lookup": _interp,
    "min": lambda node, _: min(map(float, node.args)),
    "max": lambda node, _: max(map(float, node.args)),
    "if_then_else": lambda node, _: float(node.args[1 if bool(node.args[0]) else 2]),
    "zidz": lambda node, _: float(node.args[0]) / float(node.args[1]),
    "xidz": lambda node, _: float(node.args[0]) / float(node.args[1]),
    ">": lambda node, _: float(bool(node.args[0] > node.args[1])),
    "<": lambda node, _: float(bool(node.args[0] < node.args[1])),
    ">=": lambda node, _: float(bool(node.args[0] >= node.args[1])),
    "<=": lambda node, _: float(bool(node.args[0] <= node.args[1])),
}


@pytest.mark.parametrize("name", ["decay", "logistic", "two_stocks", "sir"])
def test_the_symbolic_jacobian_equals_the_one_by_the_chain_rule(name):
    model = feature(name)
    system = model.symbolic()
    kernel, p, y = state_at(model, 1.0)
    known = dict(system.parameters) | {system.symbols[s]: v for s, v in zip(kernel.stocks, y.tolist(), strict=True)}
    symbolic = np.array(system.jacobian().subs(known), dtype=float)
    assert_close(compile_jacobian(model)(0, 0, y.tolist(), p), symbolic, 1e-12, because="one formula, two ways")


def test_the_symbolic_view_of_logistic_growth_reads_as_in_a_book():
    import sympy

    system = feature("logistic").symbolic()
    firms, rate, capacity = (system.symbols[name] for name in ("firms", "growth rate", "capacity"))
    assert sympy.simplify(system.inlined()[firms] - rate * firms * (1 - firms / capacity)) == 0
    assert sympy.simplify(system.jacobian()[0, 0] - rate * (1 - 2 * firms / capacity)) == 0
    assert system.initial[firms] == system.symbols["initial firms"]


def test_a_model_without_a_stock_is_no_ode_system():
    with pytest.raises(sd.ModelError, match=r"^tiny has no stock, so it is not an ODE system$"):
        tiny("x = Time").symbolic()


def test_a_model_with_values_that_are_only_defined_at_steps_is_no_ode_system():
    model = tiny("s = INTEG(DELAY FIXED(s, 2, 1), 1)", check_units=False)
    with pytest.raises(sd.ModelError, match="'s' is only defined at steps"):
        model.symbolic()


def test_sweeps_and_derivatives_refuse_an_end_that_varies():
    model = tiny("s = INTEG(-k*s, 9) \n k = 1", end="IF THEN ELSE(s < 1, Time, 10)", check_units=False)
    draws = sd.Draws(("k",), np.array([[1.0]]))
    for attempt in (lambda: sd.sweep(model, draws), lambda: sd.local(model, "s", "k")):
        with pytest.raises(sd.ModelError, match=r"tiny: FINAL TIME varies with the run, which sd\.simulate follows"):
            attempt()
