"""Equations printed together with their derivatives: what forward sensitivities are computed by.

Values come out as `printing` prints them, but for a last digit: a division whose slope is needed becomes a product.
Derivatives are taken by stocks and by chosen parameters; those by parameters are sparse numbers, those by stocks are
coefficients of whole rows of the sensitivities S = dy/dp. All lies in one flat vector `w`, so that the compiler sees
that nothing overlaps: five blocks of one row a stock, S | S at the second, third and fourth stage of a step | the
direct effect of parameters, and then the coefficients. Rows are padded to whole vectors of the processor. `g` keeps
what does not change during a run: derivatives of constants and frozen values, and whatever of the source depends on
parameters alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TypeAlias

from sd_cluster.errors import ModelError
from sd_cluster.expressions import (
    COMPARISONS,
    LOGIC,
    VARYING,
    Call,
    Expression,
    Lookup,
    Name,
    Number,
    Operation,
    references,
)
from sd_cluster.model import Auxiliary, Held, Model, Stock
from sd_cluster.ordering import LANES, ordered
from sd_cluster.printing import Printer, pipe_name
from sd_cluster.runtime import EMPTY
from sd_cluster.structure import Structure, starting
from sd_cluster.symbols import partials
from sd_cluster.tape import Node, Slope, Tape, needed

COEFFICIENTS = 16
"""How many coefficients, kept in registers, a loop over columns of S may have: rows share what they read of S."""

_Row: TypeAlias = tuple[int, list[tuple[str, int]], int | None]
"""A row of S: where it begins, coefficients with the rows they multiply, and where the direct effects lie."""

_LASTING = re.compile(r"(?:[pg]\[\d+\]|\d+\.\d*(?:e[+-]?\d+)?|square|f_exp|f_ln|f_power|if|else|[-+*/()<>=!, ])+")
"""Source that reads nothing but parameters, constants and what is kept through a run."""

_MAGNITUDE = {"step": 0, "ramp": 0, "xmile_pulse": 1, "xmile_pulse_train": 2}
"""Which argument of a switching function says how much rather than when."""


def square(x: float) -> float:
    """Second power."""
    return x * x


class TangentPrinter(Printer):
    """Prints values and derivatives of one model.

    Parameters
    ----------
    model
    chosen
        Parameters to differentiate by, in the order of the columns of S.
    outputs
        Variables whose derivatives are wanted.
    """

    def __init__(self, model: Model, chosen: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__(model)
        self.chosen, self.wanted = tuple(chosen), tuple(outputs)
        self.columns = {name: column for column, name in enumerate(self.chosen)}
        self.live = live_variables(self.structure, outputs)
        self.kept = tuple(name for name in self.structure.held if name in self.live)
        _check_modes(self.structure, self.kept, model.name)
        stocks = [name for name in self.structure.stocks if name in self.live]
        self.rows = {name: row for row, name in enumerate([*stocks, *self.kept])}
        self.width = -(-len(self.chosen) // LANES) * LANES
        self.block = self.width * len(self.rows)
        self.gains, self.length = 0, 5 * self.block
        self._fixed: dict[str, dict[int, str]] = {}
        self._lasting: dict[str, str] = {}
        self._nodes: dict[str, Node] = {}
        self._known: dict[Expression, tuple[str, Node | None]] = {}
        self._shared: dict[str, str] = {}
        self._tape = Tape()
        self._stepwise = {f"p[{self.slots[name]}]" for name in self.structure.held}
        self.following = self.behind = 0

    @property
    def pipe_slots(self) -> tuple[int, ...]:
        """Where in `p` the pipes lie whose contents have derivatives; they need room in `w` behind the rest."""
        return tuple(self.slots[pipe_name(name)] for name in self.kept if name in self.pipes)

    def source_of_all(self) -> str:
        """Source of `start`, `rates`, the four stages, `outputs` and `limit`."""
        start = self._start()
        rates, stages = self._rates_and_rows()
        held = self._held_rows() if self.kept else []
        outputs = self._outputs_and_rows()
        start += self._pipes_filled()
        start += [f"{place} = {text}" for text, place in self._lasting.items()]
        parts = [
            self._function("start(t, tick, p, y, g, w)", needed(start)),
            self._function("rates(t, tick, y, p, g, w, dy)", rates),
            self._function("advance(w, dt, stage)", _branches(stages), clock=False),
            self._function("outputs(t, tick, y, p, g, w, k, out, jac)", needed(outputs)),
            self._function("limit(y, w)", self._limit_and_rows(), clock=False),
        ]
        if self.kept:
            parts += [
                self._function("hold_rows(t, tick, y, p, g, w)", needed(held)),
                self._function("hold(t, tick, y, p)", self._holds()),
                self._function("take_rows(w)", self._rows_taken(), clock=False),
            ]
        return "\n\n".join(parts) + "\n"

    def _lasts(self, text: str) -> str | None:
        """The place in `g` of source that depends on parameters alone."""
        if not (_LASTING.fullmatch(text) and "[" in text):
            return None
        if self._stepwise and not self._stepwise.isdisjoint(re.findall(r"p\[\d+\]", text)):
            return None
        if text not in self._lasting:
            self._lasting[text] = f"g[{self.gains}]"
            self.gains += 1
        return self._lasting[text]

    def _begin(self, *, stocks: bool) -> None:
        """A fresh tape whose seeds are the chosen parameters, and what is known after the start."""
        self._tape, self._known, self._shared = Tape(lasts=self._lasts if stocks else None), {}, {}
        self._nodes = {name: ("parameter", column) for name, column in self.columns.items()}
        if not stocks:
            return
        self._nodes |= {name: ("stock", row) for name, row in self.rows.items()}
        for name, entries in self._fixed.items():
            node = self._tape.vertex((("parameter", column), Slope(gain)) for column, gain in entries.items())
            if node is not None:
                self._nodes[name] = node

    def _start(self) -> list[str]:
        """Constants, initial values, and their derivatives."""
        settled = self.structure
        self._begin(stocks=False)
        tape = self._tape
        for name in [*settled.constant, *settled.initial]:
            equation = settled.equations[name]
            expression = self._running(name) if name in settled.constant else starting(equation)
            assert expression is not None
            self._define(name, expression, self._place(equation))
            if isinstance(equation, Held) and equation.delay is not None:
                value = self._place(equation)
                empty = {"fixed": value, "line": "0.0"}.get(equation.mode, repr(EMPTY))
                pipe, delay = self._pipe(equation), self.number(equation.delay)
                tape.lines.append(f"{value} = f_pipe_begin(p, {pipe}, {value}, {delay}, {self._dt()}, {empty})")
        lasting = [*settled.constant, *settled.frozen]
        targets = {name: tape.target(self._nodes.get(name)) for name in [*lasting, *self.rows]}
        found = tape.eliminate(targets.values())
        for name in lasting:
            for (_, column), source in found[targets[name]].items():
                self._fixed.setdefault(name, {})[column] = f"g[{self.gains}]"
                tape.lines.append(f"g[{self.gains}] = {source}")
                self.gains += 1
        for name, row in self.rows.items():
            for (_, column), source in found[targets[name]].items():
                tape.lines.append(f"w[{row * self.width + column}] = {source}")
        return tape.lines

    def _rates_and_rows(self) -> tuple[list[str], dict[int, list[str]]]:
        """Net flows with the coefficients of their rows, and what the four stages make of these."""
        settled = self.structure
        self._begin(stocks=True)
        tape = self._tape
        self._define_moving(Name(name) for name in settled.stocks)
        empty, targets = {}, {}
        for slot, name in enumerate(settled.stocks):
            stock = settled.equations[name]
            assert isinstance(stock, Stock)
            live = name in self.rows
            text, node = self._lower(stock.rate) if live else (self.number(stock.rate), None)
            if stock.non_negative:
                text = tape.local(text)
                empty[name] = tape.local(f"y[{slot}] <= 0.0 and {text} < 0.0", prefix="c")
                text = f"0.0 if {empty[name]} else {text}"
            tape.lines.append(f"dy[{slot}] = {text}")
            if live:
                targets[name] = tape.target(node)
        found = tape.eliminate(targets.values())
        rows: list[_Row] = []
        for name, row in self.rows.items():
            terms, stop, direct = [], empty.get(name), 4 * self.block + row * self.width
            for (kind, place), source in (found[targets[name]] if name in targets else {}).items():
                text = f"0.0 if {stop} else {source}" if stop else source
                if kind == "parameter":
                    tape.lines.append(f"w[{direct + place}] = {text}")
                else:
                    tape.lines.append(f"w[{self.length}] = {text}")
                    terms.append((f"w[{self.length}]", place))
                    self.length += 1
            alone = name not in targets or not any(kind == "parameter" for kind, _ in found[targets[name]])
            rows.append((row * self.width, terms, None if alone else direct))
        lines, self.length = ordered(needed(tape.lines), -(-self.length // LANES) * LANES)
        return lines, {number: self._stage(number, rows) for number in (1, 2, 3, 4)}

    def _stage(self, number: int, rows: Sequence[_Row]) -> list[str]:
        """All rows of S taken through one stage of a step, some of them in each loop over columns."""
        lines: list[str] = []
        group: list[_Row] = []
        for place, row in enumerate(rows):
            group.append(row)
            ahead = rows[place + 1 : place + 2]
            if not ahead or sum(len(terms) for _, terms, _ in [*group, *ahead]) > COEFFICIENTS:
                lines += self._loop(number, group)
                group = []
        return lines

    def _loop(self, number: int, rows: Sequence[_Row]) -> list[str]:
        """One loop over columns that takes some rows through one stage.

        The fourth stage gathers the step from the others: S + h (K1 + 2 K2 + 2 K3 + K4) / 6, where K1 to K3 are
        recovered from the rows they led to, so that no rate of change is ever stored.
        """
        block = self.block
        before: list[str] = []
        loop: list[str] = []
        for row, terms, direct in rows:
            names = [f"a{len(before) + k}" for k in range(len(terms))]
            before += [f"{name} = {source}" for name, (source, _) in zip(names, terms, strict=True)]  # read once
            products = [
                f"{name} * w[{(number - 1) * block + place * self.width} + l]"
                for name, (_, place) in zip(names, terms, strict=True)
            ]
            flow = " + ".join([f"w[{direct} + l]"] * (direct is not None) + products) or "0.0"
            if number < 4:
                ahead = "dt" if number == 3 else "0.5 * dt"
                loop.append(f"    w[{number * block + row} + l] = w[{row} + l] + {ahead} * ({flow})")
                continue
            second, third, fourth = (f"w[{place * block + row} + l]" for place in (1, 2, 3))
            weighed = f"({second} + 2.0 * {third} + {fourth} - w[{row} + l]) * {1 / 3!r}"
            # rows are read at the stage before: the fourth stage may overwrite S
            loop.append(f"    w[{row} + l] = {weighed} + dt * {1 / 6!r} * ({flow})")
        return [*before, f"for l in range({self.width}):", *loop]

    def _outputs_and_rows(self) -> list[str]:
        self._begin(stocks=True)
        tape = self._tape
        self._define_moving(Name(name) for name in self.wanted)
        targets = [tape.target(self._nodes.get(name)) for name in self.wanted]
        found = tape.eliminate(targets)
        for column, (name, target) in enumerate(zip(self.wanted, targets, strict=True)):
            tape.lines.append(f"out[k, {column}] = {self.number(Name(name))}")
            rows = [(source, row) for (kind, row), source in found[target].items() if kind == "stock"]
            total = " + ".join(f"{source} * w[{row * self.width} + l]" for source, row in rows) or "0.0"
            tape.lines += [f"for l in range({len(self.chosen)}):", f"    jac[k, {column}, l] = {total}"]
            for (kind, place), source in found[target].items():
                if kind == "parameter":
                    tape.lines.append(f"jac[k, {column}, {place}] += {source}")
        return tape.lines

    def _held_rows(self) -> list[str]:
        """Rows that held values will have at the next step, from what their equations read at this one."""
        self.following = self.length
        self.behind = self.length = self.length + len(self.kept) * self.width
        self._begin(stocks=True)
        tape = self._tape
        self._define_moving(Name(name) for name in self.kept)
        held = [item for name in self.kept if isinstance(item := self.structure.equations[name], Held)]
        targets = [tape.target(self._lower(item.following)[1]) for item in held]
        found = tape.eliminate(targets)
        for place, target in enumerate(targets):
            begin = self.following + place * self.width
            rows = [(source, row) for (kind, row), source in found[target].items() if kind == "stock"]
            total = " + ".join(f"{source} * w[{row * self.width} + l]" for source, row in rows) or "0.0"
            tape.lines += [f"for l in range({self.width}):", f"    w[{begin} + l] = {total}"]
            for (kind, column), source in found[target].items():
                if kind == "parameter":
                    tape.lines.append(f"w[{begin + column}] += {source}")
        for number, item in enumerate(item for item in held if item.delay is not None):
            begin = self.following + self.kept.index(item.name) * self.width
            tape.lines += [
                *self._room(number, item),
                f"for l in range({self.width}):",
                f"    w[base + (place + length) % room * {self.width} + l] = w[{begin} + l]",
                f"    w[{begin} + l] = w[base + (place + 1) % room * {self.width} + l]",
            ]
        return tape.lines

    def _room(self, number: int, held: Held) -> list[str]:
        """Lines that say where the rows of a pipe lie, and where in it values go in and come out."""
        return [
            f"at = {self._pipe(held)}",
            "room, place, length = int(p[at]), int(p[at + 1]), int(p[at + 2])",
            f"base = {self.behind} + {number} * room * {self.width}",
        ]

    def _pipes_filled(self) -> list[str]:
        """Lines that fill the rows of pipes with those of their values at the start."""
        lines = []
        piped = [item for name in self.kept if isinstance(item := self.structure.equations[name], Held) and item.delay]
        for number, item in enumerate(piped):
            row = self.rows[item.name] * self.width
            lines += [
                *self._room(number, item),
                "for place in range(room):",
                f"    for l in range({self.width}):",
                f"        w[base + place * {self.width} + l] = w[{row} + l]",
            ]
        return lines

    def _rows_taken(self) -> list[str]:
        """Lines by which held values take the rows that were worked out for them."""
        lines = []
        for place, name in enumerate(self.kept):
            there, here = self.rows[name] * self.width, self.following + place * self.width
            lines += [f"for l in range({self.width}):", f"    w[{there} + l] = w[{here} + l]"]
        return lines

    def _limit_and_rows(self) -> list[str]:
        lines = []
        for slot, name in enumerate(self.structure.stocks):
            stock = self.structure.equations[name]
            if isinstance(stock, Stock) and stock.non_negative:
                lines += [f"if y[{slot}] < 0.0:", f"    y[{slot}] = 0.0"]
                if name in self.rows:
                    row = self.rows[name] * self.width
                    lines += [f"    for l in range({self.width}):", f"        w[{row} + l] = 0.0"]
        return lines

    def _define_moving(self, expressions: Iterable[Expression]) -> None:
        """Lines for the moving auxiliaries that some stocks' rates or other variables need."""
        equations = self.structure.equations
        asked = [equations[e.name] for e in expressions if isinstance(e, Name)]
        needed = self._upstream(
            item.rate if isinstance(item, Stock) else item.following if isinstance(item, Held) else Name(item.name)
            for item in asked
        )
        for name in self.structure.moving:
            if name in needed and name in self.live:
                self._define(name, self._running(name), self.locals[name])
            elif name in needed:
                self._tape.lines.append(f"{self.locals[name]} = {self.number(self._running(name))}")

    def _define(self, name: str, expression: Expression, place: str) -> None:
        text, node = self._lower(expression)
        self._tape.lines.append(f"{place} = {text}")
        if node is not None:
            self._nodes[name] = node

    def _lower(self, expression: Expression) -> tuple[str, Node | None]:
        """Source of a value, short, and its vertex if it depends on a seed."""
        if isinstance(expression, Number | Name):
            return self.number(expression), self._nodes.get(expression.name) if isinstance(expression, Name) else None
        if expression not in self._known:
            self._known[expression] = self._lower_new(expression)
        return self._known[expression]

    def _lower_new(self, expression: Expression) -> tuple[str, Node | None]:
        if not any(name in self._nodes for name in references(expression)) or _jumps(expression):
            return self._tape.local(self.number(expression)), None
        match expression:
            case Operation():
                return self._arithmetic(expression.operator, [self._lower(part) for part in expression.operands])
            case Call(function="if_then_else"):
                condition, *branches = expression.arguments
                return self._choice(self.truth(condition), *map(self._lower, branches))
            case Call(function="power"):
                return self._arithmetic("^", [self._lower(part) for part in expression.arguments])
            case Call() if expression.function in VARYING:
                return self._switched(expression)
            case Call():
                return self._built_in(expression.function, [self._lower(part) for part in expression.arguments])
            case Lookup():
                return self._looked_up(expression)
        raise AssertionError(f"no derivative of {expression}")

    def _arithmetic(self, operator: str, parts: Sequence[tuple[str, Node | None]]) -> tuple[str, Node | None]:
        tape = self._tape
        (a, first), (b, second) = parts[0], parts[-1]
        if operator == "neg":
            return tape.local(f"-{a}"), tape.vertex([(first, Slope("-1.0"))])
        if operator == "^":
            return self._power(*parts)
        if operator == "/":
            over = self._once(f"1.0 / {b}")
            value = tape.local(f"{a} * {over}")
            return value, tape.vertex([(first, Slope(over)), (second, Slope(f"-{value} * {over}"))])
        value = tape.local(f"{a} {operator} {b}")
        slopes = {"+": ("1.0", "1.0"), "-": ("1.0", "-1.0"), "*": (b, a)}[operator]
        return value, tape.vertex([(first, Slope(slopes[0])), (second, Slope(slopes[1]))])

    def _power(self, base: tuple[str, Node | None], exponent: tuple[str, Node | None]) -> tuple[str, Node | None]:
        """A power through the logarithm of its base, which its slopes and other powers of the base share."""
        tape, (x, first), (e, second) = self._tape, base, exponent
        if e == "2.0":
            return tape.local(f"square({x})"), tape.vertex([(first, Slope(f"2.0 * {x}"))])
        log = self._once(f"f_ln({x})")
        grown = self._once(f"f_exp({self._once(f'{e} * {log}')})")
        value = tape.local(f"{grown} if {x} > 0.0 else f_power({x}, {e})")
        edges = []
        if first is not None:
            over = self._once(f"1.0 / {x}")
            slope = f"({e} * {value} * {over} if {x} > 0.0 else {e} * f_power({x}, {e} - 1.0))"
            edges.append((first, Slope(slope)))
        if second is not None:
            edges.append((second, Slope(f"({value} * {log} if {x} > 0.0 or {value} != 0.0 else 0.0)")))
        return value, tape.vertex(edges)

    def _once(self, text: str) -> str:
        """A name for the value of some source, computed once."""
        if text not in self._shared:
            self._shared[text] = self._tape.local(text)
        return self._shared[text]

    def _choice(
        self, condition: str, yes: tuple[str, Node | None], no: tuple[str, Node | None]
    ) -> tuple[str, Node | None]:
        holds = self._tape.local(condition, prefix="c")
        value = self._tape.local(f"{yes[0]} if {holds} else {no[0]}")
        return value, self._tape.vertex([(yes[1], Slope("1.0", holds)), (no[1], Slope("1.0", f"(not {holds})"))])

    def _built_in(self, function: str, parts: Sequence[tuple[str, Node | None]]) -> tuple[str, Node | None]:
        tape = self._tape
        texts = [text for text, _ in parts]
        if function in {"min", "max"}:
            return self._choice(f"{texts[0]} {'<' if function == 'min' else '>'} {texts[1]}", parts[0], parts[1])
        if function == "ln":
            value = self._once(f"f_ln({texts[0]})")
        else:
            value = tape.local(self._written(Call(function, _arguments(len(texts))), texts))
        if function == "exp":
            return value, tape.vertex([(parts[0][1], Slope(value))])
        slopes = _slopes(function, len(texts))
        active = [(place, node) for place, (_, node) in enumerate(parts) if node is not None]
        edges = [(node, Slope(tape.local(self._written(slopes[place], texts)))) for place, node in active]
        return value, tape.vertex(edges)

    def _written(self, expression: Expression, texts: Sequence[str]) -> str:
        """Source of an expression of `_arguments`, which stand for short source."""
        stand_ins = {name.name: text for name, text in zip(_arguments(len(texts)), texts, strict=True)}
        self.locals |= stand_ins
        try:
            return self.number(expression)
        finally:
            for name in stand_ins:
                del self.locals[name]

    def _switched(self, call: Call) -> tuple[str, Node | None]:
        """A switching function: in proportion to its magnitude, its times held."""
        place = _MAGNITUDE.get(call.function)
        value = self._tape.local(self.number(call))
        if place is None:
            return value, None
        unit = replace(call, arguments=(*call.arguments[:place], Number(1.0), *call.arguments[place + 1 :]))
        if call in self.structure.switches:
            self.structure = replace(self.structure, switches=self.structure.switches | {unit})
        _, node = self._lower(call.arguments[place])
        return value, self._tape.vertex([(node, Slope(self._tape.local(self.number(unit))))])

    def _looked_up(self, lookup: Lookup) -> tuple[str, Node | None]:
        text, node = self._lower(lookup.argument)
        (stand_in,) = _arguments(1)
        value = self._tape.local(self._written(replace(lookup, argument=stand_in), [text]))
        if lookup.slope:
            return value, None
        slope = self._written(replace(lookup, argument=stand_in, slope=True), [text])
        return value, self._tape.vertex([(node, Slope(slope))])


def _branches(stages: Mapping[int, Sequence[str]]) -> list[str]:
    """Lines that do what one of some numbered stages asks."""
    lines = []
    for number, rows in stages.items():
        lines += [f"if stage == {number}:", *(f"    {line}" for line in rows or ["pass"])]
    return lines


def live_variables(settled: Structure, outputs: Iterable[str]) -> frozenset[str]:
    """Stocks, held values and auxiliaries on which some variables depend, at once or in time."""
    equations = settled.equations
    found: set[str] = set()
    pending = list(outputs)
    while pending:
        name = pending.pop()
        equation = equations.get(name)
        if name in found or not isinstance(equation, Stock | Auxiliary | Held):
            continue
        found.add(name)
        match equation:
            case Stock():
                pending += references(equation.rate)
            case Held():
                pending += references(equation.following)
            case _:
                pending += references(equation.expression)
    return frozenset(found)


def _check_modes(settled: Structure, kept: Sequence[str], model: str) -> None:
    """Raise a `ModelError` for held values whose derivatives are not worked out."""
    for name in kept:
        held = settled.equations[name]
        if isinstance(held, Held) and held.mode not in {"step", "fixed"}:
            what = {"line": "DEPRECIATE STRAIGHTLINE"}.get(held.mode, f"DELAY {held.mode.upper()}")
            raise ModelError(
                f"{model}: '{name.split(' #')[0]}' comes out of {what}, which has no derivative here; take differences"
                " of runs"
            )


def _jumps(expression: Expression) -> bool:
    """Whether an expression is a truth, which has no slope."""
    return isinstance(expression, Operation) and expression.operator in COMPARISONS | LOGIC


def _arguments(count: int) -> tuple[Name, ...]:
    return tuple(Name(f"#{place}") for place in range(count))


@cache
def _slopes(function: str, count: int) -> tuple[Expression, ...]:
    """Slopes of a built-in function by each of its arguments, in terms of `_arguments`."""
    names = _arguments(count)
    found = partials(Call(function, names), [name.name for name in names])
    return tuple(found.get(name.name, Number(0.0)) for name in names)
