"""Equations printed as straight-line Python over numbered locals.

No text of a model file enters the source, only numbers. All a run needs besides time and stocks lies in one flat
vector `p`: parameters | half a step | constants | frozen values | held values | where each pipe and each table begins |
the tables and the pipes themselves.
"""

from collections.abc import Iterable, Mapping, Sequence

from sd_cluster.errors import NoDerivativeError
from sd_cluster.expressions import (
    COMPARISONS,
    LOGIC,
    NOISE,
    TIME,
    TIME_FUNCTIONS,
    VECTOR_FUNCTIONS,
    Call,
    Expression,
    Lookup,
    Name,
    Number,
    Operation,
    references,
)
from sd_cluster.model import Held, Model, Stock, Table, Variable, key
from sd_cluster.runtime import EMPTY
from sd_cluster.structure import Structure, followed, running, starting, structure, timing
from sd_cluster.symbols import partials
from sd_cluster.tables import READERS

MARCHES = """
def euler(start, dt, first, last, rows, k, y, p, dy, before, out):
    for i in range(first, last + 1):
        t = start + i * dt
        before[len(before) - 1] = i
        for j in range(len(y)):
            before[j] = y[j]
        if k < len(rows) and rows[k] == i:
            outputs(t, t, y, p, out[k])
            k += 1
        if i == last:
            return -1
        rates(t, t, y, p, dy)
        hold(t, t, y, p)
        total = 0.0
        for j in range(len(y)):
            y[j] += dt * dy[j]
            total += y[j]
        limit(y)
        if not total - total == 0.0:
            return i
    return -1


def rk4(start, dt, first, last, rows, k, y, p, dy, before, out):
    n = len(y)
    for i in range(first, last + 1):
        t = start + i * dt
        before[2 * n] = i
        for j in range(n):
            before[j] = y[j]
        if k < len(rows) and rows[k] == i:
            outputs(t, t, y, p, out[k])
            k += 1
        if i == last:
            return -1
        rates(t, t, y, p, dy)
        for j in range(n):
            before[n + j] = dy[j]
            y[j] = before[j] + 0.5 * dt * dy[j]
        rates(t + 0.5 * dt, t, y, p, dy)
        for j in range(n):
            before[n + j] += 2.0 * dy[j]
            y[j] = before[j] + 0.5 * dt * dy[j]
        rates(t + 0.5 * dt, t, y, p, dy)
        for j in range(n):
            before[n + j] += 2.0 * dy[j]
            y[j] = before[j] + dt * dy[j]
        rates(t + dt, t, y, p, dy)
        hold(t, t, before, p)
        total = 0.0
        for j in range(n):
            y[j] = before[j] + dt * (before[n + j] + dy[j]) / 6.0
            total += y[j]
        limit(y)
        if not total - total == 0.0:
            return i
    return -1
"""
"""Loops over fixed steps. `before` keeps the state the last step began with and, last, that step's number."""


SWIFT_EULER = """
def euler(start, dt, first, last, rows, k, y, p, dy, before, out):
    now, then = y, dy
    for i in range(first, last + 1):
        t = start + i * dt
        before[len(before) - 1] = i
        if k < len(rows) and rows[k] == i:
            outputs(t, t, now, p, out[k])
            k += 1
        if i == last:
            if (last - first) % 2 == 1:
                for j in range(len(y)):
                    y[j] = now[j]
            return -1
        wild = ahead(t, t, now, p, dt, then)
        hold(t, t, now, p)
        limit(then)
        if not wild == 0.0:
            for j in range(len(y)):
                before[j] = now[j]
                y[j] = then[j]
            return i
        now, then = then, now
    return -1
"""
"""Euler's loop for millions of stocks: a step goes from one vector to the other, so that each comes from memory once.

Beside the loops above and a sum of the net flows that took 31 ms of 53 for four million stocks, 121 of 203 for twelve,
when there was still one vector for the net flows. Compiled code alone takes it: where an equation may raise, `before`
has to be filled before it is worked out.
"""


_V = "float64[::1]"
_LOOP = f"int64(float64, float64, int64, int64, int64[::1], int64, {_V}, {_V}, {_V}, {_V}, float64[:, ::1])"
SIGNATURES = {
    "constants": f"void({_V})",
    "initial": f"void(float64, float64, {_V}, {_V})",
    "rates": f"float64(float64, float64, {_V}, {_V}, {_V})",
    "outputs": f"void(float64, float64, {_V}, {_V}, {_V})",
    "hold": f"void(float64, float64, {_V}, {_V})",
    "limit": f"void({_V})",
    "euler": _LOOP,
    "rk4": _LOOP,
}
"""Types of the printed functions and of the loops, as numba writes them."""

AHEAD = f"float64(float64, float64, {_V}, {_V}, float64, {_V})"
"""Type of the function that gives the stocks a step ahead, where arrays are kept whole; nought if they are finite."""


def pipe_name(name: str) -> str:
    """What the place of a held value's pipe is called among the slots of `p`."""
    return f"{name} #pipe"


def pipes(settled: Structure) -> tuple[str, ...]:
    """Held values that come out of a pipe."""
    found = (settled.equations[name] for name in settled.held)
    return tuple(held.name for held in found if isinstance(held, Held) and held.delay is not None)


def reader(lookup: Lookup, table: Table) -> str:
    """The function that reads a table as it is asked for, or gives its slope there."""
    how = lookup.how or ("ahead" if table.ahead else "step" if table.step else "beyond" if table.beyond else "")
    if lookup.slope:
        if how == "invert":
            raise NoDerivativeError("LOOKUP INVERT has no derivative here; take differences of runs")
        level = dict.fromkeys(["ahead", "step", *READERS.keys() - {"within"}], "0.0")
        return {**level, "beyond": "f_beyond_slope"}.get(how, "f_lookup_slope")
    if how in READERS:
        return f"f_{READERS[how]}"
    known = {"ahead": "f_upper_staircase", "step": "f_staircase", "beyond": "f_beyond", "invert": "f_lookup_invert"}
    return known.get(how, "f_lookup")


_LONGEST_SUM = 500
"""Flows that are added in one line."""

_TOGETHER = {"+": "+-", "-": "+-", "*": "*/", "/": "*/"}
"""Operators that bind alike."""


class Printer:
    """Prints the equations of one model as Python source."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.structure = settled = structure(model)
        self.time_step = next(name for name in settled.equations if key(name) == "time_step")
        self.first_time = next(name for name in settled.equations if key(name) == "initial_time")
        self.half_step = len(settled.parameters)
        self.pipes = pipes(settled)
        kept = [*settled.frozen, *settled.held, *map(pipe_name, self.pipes)]
        order = [*settled.parameters, "", *settled.constant, *kept, *settled.tables]
        self.slots = {name: slot for slot, name in enumerate(order) if name}
        self.stock_slots = {name: slot for slot, name in enumerate(settled.stocks)}
        self.locals = {name: f"v{number}" for number, name in enumerate(settled.moving)}
        self.names: Sequence[str] = tuple(
            name
            for name, equation in settled.equations.items()
            if not isinstance(equation, Table) and not equation.hidden
        )

    def source(self) -> str:
        """Source of `constants`, `initial`, `rates`, `outputs`, `hold` and `limit`."""
        parts = [
            self._function("constants(p)", self._constants(), clock=False),
            self._function("initial(t, tick, p, y)", self._initial()),
            self._function("rates(t, tick, y, p, dy)", self._rates()),
            self._function("outputs(t, tick, y, p, out)", self._outputs()),
            self._function("hold(t, tick, y, p)", self._holds()),
            self._function("limit(y)", self._limits(), clock=False),
        ]
        return "\n\n".join(parts) + "\n"

    def switch_source(self) -> str:
        """Source of `switch_times`, which always runs in plain Python."""
        lines = ["times = []", *(line for node in self.structure.switches for line in self._switch(node))]
        return self._function("switch_times(p, first, last)", [*lines, "return times"], clock=False) + "\n"

    def trace_source(self) -> str:
        """Source of `trace` and `trace_start`, which find out in plain Python why a run failed."""
        settled = self.structure
        trace = []
        for name in settled.moving:
            equation = settled.equations[name]
            expression = running(equation)
            assert expression is not None
            trace += [f"yield {name!r}", f"{self.locals[name]} = {self.number(expression)}"]
            trace += [f"yield {self.locals[name]}"]
        for name in settled.stocks:
            stock = settled.equations[name]
            assert isinstance(stock, Stock)
            trace += [f"yield {name!r}", f"yield {self.number(stock.rate)}"]
        for name in settled.held:
            trace += [line for part in followed(settled.equations[name]) for line in self._looked_at(name, part)]
        begin = []
        for name in [*settled.constant, *settled.initial]:
            equation = settled.equations[name]
            expression = self._running(name) if name in settled.constant else starting(equation)
            assert expression is not None
            begin += [f"yield {name!r}", f"{self._place(equation)} = {self.number(expression)}"]
            begin += [f"yield {self._place(equation)}"]
        functions = [
            self._function("trace(t, tick, y, p)", [*trace, "return"]),
            self._function("trace_start(t, tick, y, p)", [*begin, "return"]),
        ]
        return "\n\n".join(functions) + "\n"

    def _looked_at(self, name: str, part: Expression) -> list[str]:
        return [f"yield {name!r}", f"yield {self.number(part)}"]

    def jacobian_source(self) -> str:
        """Source of `jacobian`: each auxiliary's derivatives follow from those of what it reads."""
        settled = self.structure
        derivatives: dict[str, dict[int, str]] = {name: {slot: "1.0"} for name, slot in self.stock_slots.items()}
        lines = self._rates()[:-1]
        lines = [line for line in lines if line.startswith("v")]
        for name in [
            name for name in settled.moving if f"{self.locals[name]} =" in {x[: x.index("=") + 1] for x in lines}
        ]:
            terms = self._chain(self._running(name), derivatives)
            derivatives[name] = {}
            for slot, total in terms.items():
                derivatives[name][slot] = f"{self.locals[name]}_{slot}"
                lines.append(f"{self.locals[name]}_{slot} = {total}")
        for row, name in enumerate(settled.stocks):
            stock = settled.equations[name]
            assert isinstance(stock, Stock)
            for slot, total in self._chain(stock.rate, derivatives).items():
                lines.append(f"matrix[{row}, {slot}] = {total}")
        return self._function("jacobian(t, tick, y, p, matrix)", lines) + "\n"

    def _chain(self, expression: Expression, derivatives: Mapping[str, Mapping[int, str]]) -> dict[int, str]:
        """Derivatives of an expression with respect to each stock, as source."""
        read = [name for name in references(expression) if derivatives.get(name)]
        terms: dict[int, list[str]] = {}
        for name, partial in partials(expression, read).items():
            if partial != Number(0.0):
                for slot, inner in derivatives[name].items():
                    terms.setdefault(slot, []).append(f"{self.number(partial)} * {inner}")
        return {slot: " + ".join(parts) for slot, parts in sorted(terms.items())}

    def _function(self, head: str, lines: Iterable[str], *, clock: bool = True) -> str:
        body = list(lines)
        if body and clock:
            body = [f"clock = tick + p[{self.half_step}]", *body]
        body = body or ["pass"]
        return f"def {head}:\n" + "\n".join(f"    {line}" for line in body)

    def _constants(self) -> list[str]:
        return [f"p[{self.slots[name]}] = {self.number(self._running(name))}" for name in self.structure.constant]

    def _running(self, name: str) -> Expression:
        expression = running(self.structure.equations[name])
        assert expression is not None
        return expression

    def _initial(self) -> list[str]:
        lines = []
        for name in self.structure.initial:
            equation = self.structure.equations[name]
            expression = starting(equation)
            assert expression is not None
            value = self.number(expression)
            if isinstance(equation, Held) and equation.delay is not None:
                empty = {"fixed": value, "line": "0.0"}.get(equation.mode, repr(EMPTY))
                delay, dt = self.number(equation.delay), self._dt()
                value = f"f_pipe_begin(p, {self._pipe(equation)}, {value}, {delay}, {dt}, {empty})"
            lines.append(f"{self._place(equation)} = {value}")
        return lines

    def _dt(self) -> str:
        return f"p[{self.slots[self.time_step]}]"

    def _pipe(self, held: Held) -> str:
        return f"int(p[{self.slots[pipe_name(held.name)]}])"

    def _holds(self) -> list[str]:
        """Lines that give held values what they have at the next step; all is worked out before anything changes."""
        settled = self.structure
        held = [equation for name in settled.held if isinstance(equation := settled.equations[name], Held)]
        wanted = self._upstream(part for equation in held for part in followed(equation))
        lines = [
            f"{self.locals[name]} = {self.number(self._running(name))}" for name in settled.moving if name in wanted
        ]
        after = []
        for number, equation in enumerate(held):
            parts = [f"h{number}_{place}" for place in range(len(followed(equation)))]
            lines += [f"{h} = {self.number(part)}" for h, part in zip(parts, followed(equation), strict=True)]
            value = parts[0]
            match equation.mode:
                case "fixed":
                    value = f"f_pipe_fixed(p, {self._pipe(equation)}, {parts[0]})"
                case "material":
                    value = (
                        f"f_pipe_material(p, {self._pipe(equation)}, {parts[0]}, {parts[1]}, {self._dt()}, {parts[2]})"
                    )
                case "information":
                    now = f"p[{self.slots[equation.name]}]"
                    value = (
                        f"f_pipe_information(p, {self._pipe(equation)}, {parts[0]}, {parts[1]}, {self._dt()}, {now})"
                    )
                case "line":
                    value = f"f_pipe_line(p, {self._pipe(equation)}, {parts[0]}, {parts[1]}, {self._dt()})"
            after.append(f"p[{self.slots[equation.name]}] = {value}")
        return lines + after

    def _place(self, equation: Variable) -> str:
        if isinstance(equation, Stock):
            return f"y[{self.stock_slots[equation.name]}]"
        if equation.name in self.slots:
            return f"p[{self.slots[equation.name]}]"
        return self.locals[equation.name]

    def _rates(self) -> list[str]:
        settled = self.structure
        stocks = [settled.equations[name] for name in settled.stocks]
        wanted = self._upstream(stock.rate for stock in stocks if isinstance(stock, Stock))
        lines = [
            f"{self.locals[name]} = {self.number(self._running(name))}" for name in settled.moving if name in wanted
        ]
        for slot, stock in enumerate(stocks):
            assert isinstance(stock, Stock)
            lines.append(f"d{slot} = {self.number(stock.rate)}")
            if stock.non_negative:
                lines.append(f"if y[{slot}] <= 0.0 and d{slot} < 0.0:")
                lines.append(f"    d{slot} = 0.0")
            lines.append(f"dy[{slot}] = d{slot}")
        flows = [f"d{slot}" for slot in range(len(stocks))]
        while len(flows) > _LONGEST_SUM:  # Python's own compiler takes no sum of thousands
            lines.append(f"total = {' + '.join(flows[:_LONGEST_SUM])}")
            flows = ["total", *flows[_LONGEST_SUM:]]
        return [*lines, f"return {' + '.join(flows) or '0.0'}"]

    def _upstream(self, expressions: Iterable[Expression]) -> set[str]:
        """Moving auxiliaries that the expressions need, directly or through others."""
        wanted: set[str] = set()
        pending = [name for expression in expressions for name in references(expression)]
        while pending:
            name = pending.pop()
            if name in self.locals and name not in wanted:
                wanted.add(name)
                pending += references(self._running(name))
        return wanted

    def _outputs(self) -> list[str]:
        settled = self.structure
        wanted = self._upstream(Name(name) for name in self.names)
        lines = [
            f"{self.locals[name]} = {self.number(self._running(name))}" for name in settled.moving if name in wanted
        ]
        return lines + [f"out[{column}] = {self.number(Name(name))}" for column, name in enumerate(self.names)]

    def _limits(self) -> list[str]:
        lines = []
        for slot, name in enumerate(self.structure.stocks):
            stock = self.structure.equations[name]
            if isinstance(stock, Stock) and stock.non_negative:
                lines += [f"if y[{slot}] < 0.0:", f"    y[{slot}] = 0.0"]
        return lines

    def _switch(self, node: Expression) -> list[str]:
        """Lines that collect the times at which one node switches."""
        dt = f"p[{self.slots[self.time_step]}]"
        if isinstance(node, Operation):
            first, second = node.operands
            return [f"times.append({self.number(second if first == Name(TIME) else first)})"]
        assert isinstance(node, Call)
        when = [self.number(argument) for argument in timing(node)]
        match node.function:
            case "step":
                return [f"times.append({when[0]})"]
            case "ramp":
                return [f"times += [{', '.join(when)}]"]
            case "pulse":
                return [f"times += f_pulse_times({when[0]}, {when[1]}, {dt})"]
            case "pulse_train":
                return [f"times += f_train_times({', '.join(when)}, {dt}, first, last)"]
            case "xmile_pulse":
                return [f"times += f_pulse_times({when[0]}, 0.0, {dt})"]
            case _:
                return [f"times += f_train_times({when[0]}, 0.0, {when[1]}, last, {dt}, first, last)"]

    def number(self, expression: Expression) -> str:
        """Source that gives the value of an expression."""
        match expression:
            case Number():
                return repr(expression.value) if expression.value >= 0 else f"({expression.value!r})"
            case Name():
                return self._name(expression.name)
            case Lookup():
                table = self.structure.equations[expression.table]
                assert isinstance(table, Table)
                read = reader(expression, table)
                if read == "0.0":
                    return read
                argument = self.number(expression.argument)
                if expression.argument == Name(TIME):  # but for the rounding of sums of steps
                    argument = {
                        "f_staircase": f"(tick + 1e-6 * p[{self.half_step}])",
                        "f_upper_staircase": f"(t - 1e-6 * p[{self.half_step}])",
                    }.get(read, argument)
                return f"{read}(p, int(p[{self.slots[expression.table]}]), {argument})"
            case Call():
                return self._call(expression)
            case Operation():
                return self._operation(expression)

    def _name(self, name: str) -> str:
        if name == TIME:
            return "t"
        if name in self.stock_slots:
            return f"y[{self.stock_slots[name]}]"
        return self.locals.get(name) or f"p[{self.slots[name]}]"

    def _call(self, call: Call) -> str:
        if call.function == "if_then_else":
            condition, yes, no = call.arguments
            return f"({self.number(yes)} if {self.truth(condition)} else {self.number(no)})"
        arguments = [self.number(argument) for argument in call.arguments]
        if call.function in VECTOR_FUNCTIONS:
            heads = VECTOR_FUNCTIONS[call.function]
            items = "".join(f"{item}, " for item in arguments[heads:])
            return f"f_{call.function}({', '.join(arguments[:heads])}, ({items}))"
        if call.function == NOISE:
            step = f"floor((clock - p[{self.slots[self.first_time]}]) / {self._dt()})"
            return f"f_noise({', '.join(arguments)}, {step})"
        if call.function == "pi":
            return "pi"
        if call.function == "log":
            return f"(f_ln({arguments[0]}) / f_ln({arguments[1]}))"
        if call.function in {"min", "max"}:
            return f"f_{call.function}imum({', '.join(arguments)})"
        if call.function in TIME_FUNCTIONS:
            clock = "clock" if call in self.structure.switches else f"(t + p[{self.half_step}])"
            if call.function == "ramp":
                arguments = ["t", clock, *arguments, *(["1e300"] if len(arguments) == 2 else [])]
            elif call.function == "step":
                arguments = [clock, *arguments]
            else:
                arguments = [clock, f"p[{self.slots[self.time_step]}]", *arguments]
        return f"f_{call.function}({', '.join(arguments)})"

    def _operation(self, operation: Operation) -> str:
        if operation.operator in COMPARISONS | LOGIC:
            return f"(1.0 if {self.truth(operation)} else 0.0)"
        operands = [self.number(operand) for operand in operation.operands]
        if operation.operator == "neg":
            return f"(-{operands[0]})"
        if operation.operator == "^":
            return f"f_power({', '.join(operands)})"
        first = operation.operands[0]
        together = isinstance(first, Operation) and first.operator in _TOGETHER.get(operation.operator, "")
        if together and operands[0].startswith("("):
            operands[0] = operands[0][1:-1]  # Python too goes from the left; its parser stops at 200 brackets
        return f"({operands[0]} {operation.operator} {operands[1]})"

    def truth(self, expression: Expression) -> str:
        """Source that says whether an expression holds."""
        if isinstance(expression, Operation) and expression.operator in COMPARISONS:
            operands = [
                "tick" if expression in self.structure.switches and operand == Name(TIME) else self.number(operand)
                for operand in expression.operands
            ]
            operator = {"=": "==", "<>": "!="}.get(expression.operator, expression.operator)
            return f"({operands[0]} {operator} {operands[1]})"
        if isinstance(expression, Operation) and expression.operator == "not":
            return f"(not {self.truth(expression.operands[0])})"
        if isinstance(expression, Operation) and expression.operator in LOGIC:
            first, second = (self.truth(operand) for operand in expression.operands)
            return f"({first} {expression.operator} {second})"
        return f"({self.number(expression)} != 0.0)"
