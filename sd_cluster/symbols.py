"""SymPy's view of a model: the ODE system, and exact local derivatives of each equation.

Equations stay small: auxiliaries are symbols, never written into one another unless asked. The derivative of a whole
model follows from the local ones by the chain rule (see `kernel`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sd_cluster.errors import ModelError, NoDerivativeError
from sd_cluster.expressions import COMPARISONS, LOGIC, TIME, Call, Expression, Lookup, Name, Number, Operation
from sd_cluster.model import Model, Parameter, Stock
from sd_cluster.structure import running, structure

if TYPE_CHECKING:
    import sympy

_NATIVE = {
    "abs": "Abs", "arccos": "acos", "arcsin": "asin", "arctan": "atan", "cos": "cos", "cosh": "cosh", "exp": "exp",
    "ln": "log", "sin": "sin", "sinh": "sinh", "sqrt": "sqrt", "tan": "tan", "tanh": "tanh",
}  # fmt: skip
"""Functions that SymPy has under these names."""

_WITHOUT_DERIVATIVE = {
    "allocate_available": "ALLOCATE AVAILABLE",
    "allocate_by_priority": "ALLOCATE BY PRIORITY",
    "at_price": "DEMAND AT PRICE and SUPPLY AT PRICE",
    "digamma": "the slope of GAMMA LN",
    "exponential_between": "RANDOM EXPONENTIAL",
    "drawn": "a random function of this distribution",
    "inverted": "INVERT MATRIX",
    "market_price": "FIND MARKET PRICE",
    "normal_share": "RANDOM NORMAL between bounds",
}
"""Functions whose derivatives are not worked out, by the names a modeller knows."""


@dataclass(frozen=True, eq=False)
class OdeSystem:
    """A model as SymPy sees it.

    Attributes
    ----------
    time
        The symbol of time.
    symbols
        The symbol of each variable, by the modeller's name.
    parameters
        Values of the parameters, by symbol.
    auxiliaries
        Expressions of the auxiliaries, by symbol, in an order in which they can be computed.
    rates
        Net flows of the stocks, by symbol, in terms of stocks, parameters, auxiliaries and time.
    initial
        Initial values of the stocks, by symbol.
    """

    time: "sympy.Symbol"
    symbols: Mapping[str, "sympy.Symbol"]
    parameters: Mapping["sympy.Symbol", float]
    auxiliaries: Mapping["sympy.Symbol", "sympy.Expr"]
    rates: Mapping["sympy.Symbol", "sympy.Expr"]
    initial: Mapping["sympy.Symbol", "sympy.Expr"]

    def inlined(self) -> dict["sympy.Symbol", "sympy.Expr"]:
        """Net flows with every auxiliary written out: only for small models, as expressions grow fast."""
        whole: dict[Any, Any] = {}
        for symbol, expression in self.auxiliaries.items():
            whole[symbol] = expression.xreplace(whole)
        return {stock: rate.xreplace(whole) for stock, rate in self.rates.items()}

    def jacobian(self) -> "sympy.Matrix":
        """Matrix of derivatives of the inlined net flows with respect to the stocks; for small models."""
        import sympy

        flows = self.inlined()
        return sympy.Matrix(list(flows.values())).jacobian(list(flows))


def ode_system(model: Model) -> OdeSystem:
    """SymPy's view of a model.

    Raises
    ------
    ModelError
        If the model has no stock, or something in it is only defined at steps; the text names it.
    """
    import sympy

    settled = structure(model)
    if not settled.stocks:
        raise ModelError(f"{model.name} has no stock, so it is not an ODE system")
    for name in settled.stepwise:
        raise ModelError(
            f"{model.name}: '{name}' is only defined at steps (a delay in a pipe, a sample, a random number), so the"
            " model is not an ODE system"
        )
    symbols = {name: sympy.Symbol(name, real=True) for name in [TIME, *settled.equations]}
    equations = settled.equations
    values = {symbols[n]: e.value for n, e in equations.items() if isinstance(e, Parameter)}
    auxiliaries, rates, initial = {}, {}, {}
    for name in [*settled.constant, *settled.moving]:
        expression = running(equations[name])
        assert expression is not None
        auxiliaries[symbols[name]] = _to_sympy(expression, symbols)
    for name in settled.stocks:
        stock = equations[name]
        assert isinstance(stock, Stock)
        rates[symbols[name]] = _to_sympy(stock.rate, symbols)
        initial[symbols[name]] = _to_sympy(stock.initial, symbols)
    return OdeSystem(symbols[TIME], symbols, values, auxiliaries, rates, initial)


def partials(expression: Expression, names: Sequence[str]) -> dict[str, Expression]:
    """Exact derivatives of one expression with respect to some of the variables it reads.

    Conditions and switching times are taken as they stand: a derivative does not see across a switch. At a point of a
    lookup the slope to the right counts.

    Parameters
    ----------
    expression
    names
        Variables to differentiate by; all others are held.

    Returns
    -------
    derivatives
        By name, as expressions of our own form.
    """
    import sympy

    read = {node.name for node in _names(expression)}
    symbols = {name: sympy.Symbol(f"s{number}", real=True) for number, name in enumerate(sorted(read))}
    whole = _to_sympy(expression, symbols, safe_power=True)
    back = {symbol: name for name, symbol in symbols.items()}
    return {name: _from_sympy(sympy.diff(whole, symbols[name]), back) for name in names if name in symbols}


def _names(expression: Expression) -> list[Name]:
    from sd_cluster.expressions import walk

    return [node for node in walk(expression) if isinstance(node, Name)]


@cache
def _function(name: str, table: str = "") -> Any:
    """A SymPy function of ours that knows its own derivatives."""
    import sympy

    def fdiff(self: Any, index: int = 1) -> Any:
        return _derivative(name, table, self.args, index - 1)

    shown = f"{name} {table}".strip()
    return type(shown, (sympy.Function,), {"fdiff": fdiff, "_built_in": name, "_table": table, "is_real": True})


def _derivative(name: str, table: str, arguments: tuple[Any, ...], index: int) -> Any:
    import sympy

    zero, one = sympy.Integer(0), sympy.Integer(1)
    match name, index:
        case "lookup", _:
            return _function("slope", table)(*arguments)
        case "if_then_else", 1:
            return _function(name)(arguments[0], one, zero)
        case "if_then_else", 2:
            return _function(name)(arguments[0], zero, one)
        case (("min" | "max"), _):
            first_counts = _function("<" if name == "min" else ">")(*arguments)
            return first_counts if index == 0 else one - first_counts
        case "power", 0:
            base, exponent = arguments
            return exponent * _function(name)(base, exponent - 1)
        case "power", 1:
            base, exponent = arguments
            return _function(name)(base, exponent) * sympy.log(base)
        case (("modulo" | "xmile_modulo"), 0):
            return one
        case (("modulo" | "quantum"), 1):
            whole = _function("integer")(arguments[0] / arguments[1])
            return -whole if name == "modulo" else whole
        case "xmile_modulo", 1:
            return -_function("xmile_integer")(arguments[0] / arguments[1])
        case "xmile_over", 0:
            return _function(name)(one, arguments[1], zero)
        case "xmile_over", 1:
            return -_function(name)(_function(name)(arguments[0], arguments[1], zero), arguments[1], zero)
        case "xmile_over", 2:
            return _function(name)(zero, arguments[1], one)
        case (("xidz" | "zidz"), 0):
            return _function("zidz")(one, arguments[1])
        case (("xidz" | "zidz"), 1):
            ratio = _function("zidz")(arguments[0], arguments[1])
            return -_function("zidz")(ratio, arguments[1])
        case "xidz", 2:
            return _function("xidz")(zero, arguments[1], one)
        case (("step" | "ramp"), 0):
            return _function(name)(one, *arguments[1:])
        case "gamma_ln", _:
            return _function("digamma")(*arguments)
        case "normal", _:
            here = _function(name)(*arguments)
            return sympy.sqrt(2 * sympy.pi) * sympy.exp(here * here / 2)
        case "pick", _ if index > 0:
            return _function(name)(
                arguments[0], *(one if place == index else zero for place in range(1, len(arguments)))
            )
        case _ if name in _WITHOUT_DERIVATIVE:
            raise NoDerivativeError(f"{_WITHOUT_DERIVATIVE[name]} has no derivative here; take differences of runs")
        case "xmile_pulse", 1:
            return _function(name)(arguments[0], one)
        case "xmile_pulse_train", 2:
            return _function(name)(*arguments[:2], one)
        case _:
            return zero


def _to_sympy(expression: Expression, symbols: Mapping[str, Any], *, safe_power: bool = False) -> Any:
    """SymPy's form of an expression; `safe_power` keeps derivatives of powers finite where the base is zero."""
    import sympy

    def convert(part: Expression) -> Any:
        match part:
            case Number():
                whole = part.value.is_integer() and abs(part.value) < 1e15
                return sympy.Integer(int(part.value)) if whole else sympy.Float(part.value, 17)
            case Name():
                return symbols[part.name]
            case Lookup():
                return _function("slope" if part.slope else "lookup", f"{part.how}|{part.table}")(
                    convert(part.argument)
                )
            case Call():
                return call(part.function, [convert(argument) for argument in part.arguments])
            case Operation():
                return operation(part.operator, [convert(operand) for operand in part.operands])

    def call(name: str, arguments: list[Any]) -> Any:
        if name == "pi":
            return sympy.pi
        if name == "log":
            return sympy.log(arguments[0]) / sympy.log(arguments[1])
        if name == "power":
            return power(*arguments)
        if name in _NATIVE:
            return getattr(sympy, _NATIVE[name])(*arguments)
        return _function(name)(*arguments)

    def power(base: Any, exponent: Any) -> Any:
        return base**exponent if not safe_power or exponent.is_Integer else _function("power")(base, exponent)

    def operation(operator: str, operands: list[Any]) -> Any:
        match operator:
            case "+":
                return operands[0] + operands[1]
            case "-":
                return operands[0] - operands[1]
            case "*":
                return operands[0] * operands[1]
            case "/":
                return operands[0] / operands[1]
            case "^":
                return power(*operands)
            case "neg":
                return -operands[0]
            case _:
                return _function(operator)(*operands)

    return convert(expression)


def _from_sympy(expression: Any, names: Mapping[Any, str]) -> Expression:
    """Our form of a SymPy expression made of what `_to_sympy` makes and of its derivatives."""
    import sympy

    built_in = {getattr(sympy, theirs): ours for ours, theirs in _NATIVE.items()}

    def convert(part: Any) -> Expression:
        if part.is_Symbol:
            return Name(names[part])
        if part is sympy.pi:
            return Number(math.pi)
        if part in {sympy.nan, sympy.zoo, sympy.oo, -sympy.oo}:
            return Operation("/", (Number(1.0), Number(0.0)))
        if part.is_number and not part.has(sympy.Function):
            return Number(float(part))
        if part.is_Add or part.is_Mul:
            operator = "+" if part.is_Add else "*"
            converted = [convert(argument) for argument in part.args]
            whole = converted[0]
            for argument in converted[1:]:
                whole = Operation(operator, (whole, argument))
            return whole
        if part.is_Pow:
            base, exponent = part.as_base_exp()
            if exponent == -1:
                return Operation("/", (Number(1.0), convert(base)))
            return Operation("^", (convert(base), convert(exponent)))
        arguments = tuple(convert(argument) for argument in part.args)
        if part.func in built_in:
            return Call(built_in[part.func], arguments)
        if part.func is sympy.sign:
            above = Operation(">", (arguments[0], Number(0.0)))
            return Operation("-", (above, Operation("<", (arguments[0], Number(0.0)))))
        return ours(part.func._built_in, part.func._table, arguments)

    def ours(name: str, table: str, arguments: tuple[Expression, ...]) -> Expression:
        if name in {"lookup", "slope"}:
            how, _, read = table.partition("|")
            return Lookup(read, arguments[0], slope=name == "slope", how=how)
        if name in COMPARISONS | LOGIC:
            return Operation(name, arguments)
        if name == "power":
            return Operation("^", arguments)
        return Call(name, arguments)

    return convert(expression)
