"""Reading .mdl and XMILE files into a `Model`: the only file that knows PySD.

PySD's translators are used up to their abstract model; none of its generated code is made or run, and nothing
is written beside the model file.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from sd_cluster import library
from sd_cluster.errors import ModelError, ReadingError, near
from sd_cluster.expressions import FUNCTIONS, TIME, Call, Expression, Lookup, Name, Number, Operation, depth
from sd_cluster.model import (
    CONTROLS,
    Auxiliary,
    Equation,
    Frozen,
    Horizon,
    Model,
    Parameter,
    Stock,
    Table,
    Variable,
    key,
)
from sd_cluster.structure import check_circles, constant_value
from sd_cluster.text import decoded, first_line, shorten, with_powers_first
from sd_cluster.units import check_units as check_model_units

_READERS = {".mdl": "Vensim", ".xmile": "XMILE", ".xml": "XMILE", ".stmx": "XMILE"}

_DEEPEST = 150
"""Nesting that Python's own recursion stands with room to spare."""

_RENAMED = {"Xpulse": "xmile_pulse", "Xpulse_train": "xmile_pulse_train", "Xramp": "ramp", "int": "integer"}


def load(path_or_name: str | Path, *, check_units: bool = True) -> Model:
    """Read a model file, or a shipped model by name.

    Parameters
    ----------
    path_or_name
        A `.mdl`, `.xmile`, `.xml` or `.stmx` file, or the name of a shipped model such as
        `collective_learning`.
    check_units
        Whether to check every equation's units. Variables without declared units are left out of the check
        and listed in the model's `notes`.

    Returns
    -------
    model

    Raises
    ------
    ReadingError
        If the file is missing, is not a model, or uses what is not supported; the text names the variable.
    ModelError
        If equations go in a circle.
    UnitsError
        If an equation's units clash, with the equation and both dimensions.
    """
    path = _find(path_or_name)
    reader = _Reader(path)
    equations = reader.read()
    horizon = _horizon(path, equations)
    equations = tuple(_as_parameter(equation, horizon) for equation in equations)
    model = Model(name=path.stem, source=str(path), equations=equations, horizon=horizon)
    check_circles(model)
    if not check_units:
        return model
    return Model(model.name, model.source, equations, horizon, notes=check_model_units(model))


def _find(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    if path.suffix.lower() in _READERS:
        if not path.is_file():
            raise ReadingError(f"no file '{path}'; give the path of a .mdl or .xmile file")
        return path
    if path.exists():
        expected = ", ".join(_READERS)
        raise ReadingError(f"'{path}' is not a model file; its name should end in one of {expected}")
    names = library.models()
    if str(path_or_name) in names:
        return library.path(str(path_or_name))
    raise ReadingError(
        f"no shipped model '{path_or_name}'{near(str(path_or_name), names)};"
        f" give one of {', '.join(names)}, or the path of a .mdl or .xmile file"
    )


def _horizon(path: Path, equations: tuple[Equation, ...]) -> Horizon:
    """Times of the run, from the four control variables."""
    by_key = {key(equation.name): equation for equation in equations}
    values = []
    for control in CONTROLS:
        if key(control) not in by_key:
            raise ReadingError(f"{path.name} has no '{control}'; a model states its four control variables")
        try:
            values.append(constant_value(by_key[key(control)].name, equations))
        except ModelError as error:
            raise ReadingError(f"{path.name}: {error}") from None
    start, end, step, save_every = values
    if not step > 0 or not math.isfinite(step):
        raise ReadingError(f"{path.name}: TIME STEP is {step:g}; it should be above zero")
    if end < start:
        raise ReadingError(f"{path.name}: FINAL TIME {end:g} lies before INITIAL TIME {start:g}")
    return Horizon(start, end, step, max(save_every, step), by_key[key("TIME STEP")].units)


def _as_parameter(equation: Equation, horizon: Horizon) -> Equation:
    """A control variable as a number, so that a run's own step and end reach the equations that read them."""
    values = dict(zip(map(key, CONTROLS), astuple(horizon), strict=False))
    if key(equation.name) not in values or isinstance(equation, Parameter):
        return equation
    about = {item.name: getattr(equation, item.name) for item in fields(Variable)}
    return Parameter(**about, value=values[key(equation.name)])


class _Reader:
    """Turns PySD's abstract model of one file into our equations."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.equations: dict[str, Equation] = {}
        self.macros: dict[str, Any] = {}
        self.calls = 0

    def read(self) -> tuple[Equation, ...]:
        main, *macros = self._abstract_sections()
        self.macros = {key(section.name): section for section in macros}
        if not main.elements:
            raise ReadingError(f"{self.path.name} is not a model: it holds no equations")
        _Section(self, main).read()
        return tuple(self.equations.values())

    def _abstract_sections(self) -> tuple[Any, ...]:
        """Parse with PySD's translators, with one clear error for whatever stops them."""
        from parsimonious.exceptions import ParseError, VisitationError

        vensim = _READERS[self.path.suffix.lower()] == "Vensim"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._vensim() if vensim else self._xmile()
        except ReadingError:
            raise
        except (ParseError, VisitationError) as error:
            raise ReadingError(f"{self.path.name} is not a model that can be read: {first_line(error)}") from None
        except Exception as error:
            raise ReadingError(f"{self.path.name} is not a model that can be read: {first_line(error)}") from None

    def _vensim(self) -> tuple[Any, ...]:
        from parsimonious.exceptions import ParseError, VisitationError
        from pysd.translators.vensim.vensim_file import VensimFile

        equations = " ".join(decoded(self.path).split(r"\\\---///")[0].replace("\\\n\t", " ").split())
        if "~" not in equations:
            raise ReadingError(
                f"{self.path.name} is not a Vensim model: it holds no equation ended by '~ units ~ note |'"
            )
        file = VensimFile(self.path)
        # PySD's own reading drops the letters it cannot decode
        file.model_text = with_powers_first(equations)
        file.parse(parse_all=False)
        for section in file.sections:
            section.parse(parse_all=False)
            for element in section.elements:
                try:
                    component = element.parse()
                    if hasattr(component, "parse"):
                        component.parse()
                except (ParseError, VisitationError, RecursionError) as error:
                    equation = " ".join(element.equation.split())
                    count = "argument" in str(error) and "TypeError" in str(error)
                    reason = "a function has too few or too many arguments" if count else first_line(error)
                    raise ReadingError(
                        f"{self.path.name}: cannot read the equation '{shorten(equation)}' ({reason})"
                    ) from None
        file.parse()
        return tuple(file.get_abstract_model().sections)

    def _xmile(self) -> tuple[Any, ...]:
        from lxml import etree  # type: ignore[import-untyped]
        from pysd.translators.xmile.xmile_file import XmileFile

        try:
            root = etree.parse(str(self.path), etree.XMLParser(resolve_entities=False)).getroot()
        except etree.XMLSyntaxError as error:
            raise ReadingError(f"{self.path.name} is not an XMILE model: {first_line(error)}") from None
        if etree.QName(root).localname != "xmile" or None not in root.nsmap:
            raise ReadingError(f"{self.path.name} is not an XMILE model: it does not begin with <xmile xmlns=...>")
        if root.find(".//{*}variables") is None:
            raise ReadingError(f"{self.path.name} is not a model: it holds no equations")
        for equation in root.iter("{*}eqn"):
            equation.text = with_powers_first(f"={equation.text or ''}")[1:]
        file = XmileFile(self.path)
        file.xmile_root = root  # PySD's own reading mends broken files without a word
        file.parse()
        return tuple(file.get_abstract_model().sections)

    def add(self, equation: Equation) -> None:
        folded = key(equation.name)
        for item in ("expression", "rate", "initial"):
            if isinstance(part := getattr(equation, item, None), Expression) and depth(part) > _DEEPEST:
                raise ReadingError(
                    f"{self.path.name}, variable '{equation.name}': more than {_DEEPEST} operations stand one inside"
                    " another; split it into several variables"
                )
        if folded in self.equations:
            raise ReadingError(f"{self.path.name} defines '{equation.name}' twice; keep one of them")
        self.equations[folded] = equation


class _Section:
    """One section of a file, the main model or one use of a macro, with its own names."""

    def __init__(self, reader: _Reader, section: Any, prefix: str = "", bound: Mapping[str, str] | None = None) -> None:
        self.reader = reader
        self.section = section
        self.prefix = prefix
        self.names: dict[str, str] = dict(bound or {})
        for element in section.elements:
            self.names[key(element.name)] = prefix + _clean(element.name)
        self.tables = {
            key(element.name)
            for element in section.elements
            if any(type(part).__name__ == "AbstractLookup" for part in element.components)
        }
        self.owner = ""

    def read(self) -> None:
        if self.section.subscripts:
            ranges = ", ".join(repr(item.name) for item in self.section.subscripts)
            self.fail(f"array variables (ranges {ranges}) are not supported yet; write the elements as variables")
        for element in self.section.elements:
            if key(element.name) == key(TIME):
                continue
            self._element(element)

    def fail(self, what: str) -> NoReturn:
        where = f", variable '{self.owner.split(' #')[0]}'" if self.owner else ""
        where += f", macro {self.section.name}" if self.prefix else ""
        raise ReadingError(f"{self.reader.path.name}{where}: {what}")

    def _element(self, element: Any) -> None:
        self.owner = self.names[key(element.name)]
        if not any(component.subscripts[0] for component in element.components) and len(element.components) > 1:
            raise ReadingError(f"{self.reader.path.name} defines '{self.owner}' twice; keep one of them")
        if len(element.components) != 1 or element.components[0].subscripts[0]:
            self.fail("array equations are not supported yet; write the elements as variables")
        (component,) = element.components
        low, high = (None if limit is None else float(limit) for limit in element.limits)
        about: dict[str, Any] = {
            "name": self.owner,
            "units": " ".join((element.units or "").split()),
            "note": " ".join((element.documentation or "").split()),
            "low": low,
            "high": high,
            "hidden": bool(self.prefix),
        }
        self.reader.add(self._equation(component, about))

    def _equation(self, component: Any, about: dict[str, Any]) -> Equation:
        ast = component.ast
        match type(ast).__name__:
            case "int" | "float" | "float64" if type(component).__name__ == "AbstractComponent":
                return Parameter(**about, value=self._number(ast))
            case "LookupsStructure":
                return self._table(ast, about)
            case "IntegStructure":
                rate, initial = self.lower(ast.flow), self.lower(ast.initial)
                return Stock(**about, rate=rate, initial=initial, non_negative=bool(ast.non_negative))
            case "InitialStructure":
                return Frozen(**about, expression=self.lower(ast.initial))
            case "CallStructure" if key(getattr(ast.function, "reference", "")) == "active_initial":
                run, initial = self._arguments("active initial", ast.arguments, (2,))
                return Auxiliary(**about, expression=run, initial=initial)
            case _:
                return Auxiliary(**about, expression=self.lower(ast))

    def _number(self, value: Any) -> float:
        if not math.isfinite(value):
            self.fail(f"the value {value} is not a number (:NA: is not supported yet)")
        return float(value)

    def _table(self, ast: Any, about: dict[str, Any]) -> Table:
        if ast.type != "interpolate":
            self.fail(f"lookups of type '{ast.type}' are not supported yet; supported: interpolate")
        x, y = tuple(map(float, ast.x)), tuple(map(float, ast.y))
        if any(later <= earlier for earlier, later in pairwise(x)):
            self.fail("the lookup has two points at the same x; give each point its own x")
        if not all(map(math.isfinite, (*x, *y))):
            self.fail("the lookup holds a value that is not a number")
        return Table(**about, x=x, y=y)

    def hidden_name(self, what: str) -> str:
        """A name for an inner variable that belongs to the equation being read."""
        self.reader.calls += 1
        return f"{self.owner} #{self.reader.calls} {what}"

    def define(self, equation: Equation) -> Name:
        self.reader.add(equation)
        return Name(equation.name)

    def lower(self, ast: Any) -> Expression:
        """Our form of one of PySD's expressions."""
        kind = type(ast).__name__
        if isinstance(ast, bool | str) or kind == "ndarray":
            self.fail(f"a {'text' if isinstance(ast, str) else 'table of numbers'} stands where a number is expected")
        if isinstance(ast, int | float):
            return Number(self._number(ast))
        lowered: dict[str, Callable[[Any], Expression]] = {
            "ReferenceStructure": self._reference,
            "ArithmeticStructure": self._arithmetic,
            "LogicStructure": self._logic,
            "CallStructure": self._call,
            "InlineLookupsStructure": self._inline_lookup,
            "InitialStructure": self._initial,
            "SmoothStructure": self._smooth,
            "DelayStructure": self._delay,
        }
        if kind in lowered:
            return lowered[kind](ast)
        if kind == "IntegStructure":
            self.fail("INTEG stands inside an expression; give the stock a variable of its own")
        function = kind.removesuffix("Structure")
        self.fail(f"the function {_spaced(function)} is not supported yet; {_supported()}")

    def _reference(self, ast: Any) -> Expression:
        if ast.subscripts is not None:
            self.fail(f"'{ast.reference}' is read with subscripts; array equations are not supported yet")
        folded = key(ast.reference)
        if folded == key(TIME):
            return Name(TIME)
        if folded not in self.names and folded in map(key, CONTROLS) and self.prefix:
            return Name(next(control for control in CONTROLS if key(control) == folded))
        if folded not in self.names:
            raise_name = ast.reference.replace("_", " ")
            self.fail(f"reads '{raise_name}', which the model does not define{near(raise_name, self.names.values())}")
        if folded in self.tables:
            self.fail(f"uses the lookup '{self.names[folded]}' without an argument")
        return Name(self.names[folded])

    def _arithmetic(self, ast: Any) -> Expression:
        operands = [self.lower(argument) for argument in ast.arguments]
        operators = list(ast.operators)
        if operators == ["negative"]:
            return Operation("neg", tuple(operands))
        if operators[0] == "^":
            result = operands.pop()
            while operands:
                result = Operation("^", (operands.pop(), result))
            return result
        return _fold_left(operands, operators)

    def _logic(self, ast: Any) -> Expression:
        operands = [self.lower(argument) for argument in ast.arguments]
        operators = [operator.strip(":").lower() for operator in ast.operators]
        if operators == ["not"]:
            return Operation("not", tuple(operands))
        if set(operators) <= {"and", "or"}:
            return _fold_logic(operands, operators)
        return _fold_left(operands, operators)

    def _call(self, ast: Any) -> Expression:
        if type(ast.function).__name__ != "ReferenceStructure":
            self.fail("calls something that is not a function")
        written = ast.function.reference
        folded = key(written)
        if folded in self.tables:
            (argument,) = self._arguments(written, ast.arguments, (1,))
            return Lookup(self.names[folded], argument)
        if folded in self.reader.macros:
            return self._macro(self.reader.macros[folded], ast.arguments)
        if folded == "active_initial":
            run, initial = self._arguments("active initial", ast.arguments, (2,))
            name = self.hidden_name("active initial")
            return self.define(Auxiliary(name=name, hidden=True, expression=run, initial=initial))
        if folded == "log10":
            return Call("log", (*self._arguments(written, ast.arguments, (1,)), Number(10.0)))
        function = _RENAMED.get(written, folded)
        if function not in FUNCTIONS:
            close = near(written, FUNCTIONS)
            self.fail(f"the function '{written.replace('_', ' ')}' is not supported{close}; {_supported()}")
        arguments = self._arguments(written, ast.arguments, FUNCTIONS[function])
        if function == "pulse_train":  # PySD gives start, interval, width, end
            arguments = (arguments[0], arguments[2], arguments[1], arguments[3])
        return Call(function, arguments)

    def _arguments(self, function: str, arguments: Iterable[Any], counts: tuple[int, ...]) -> tuple[Expression, ...]:
        lowered = tuple(self.lower(argument) for argument in arguments)
        if len(lowered) not in counts:
            expected = " or ".join(map(str, counts))
            self.fail(f"{function.replace('_', ' ')} takes {expected} argument(s), here it has {len(lowered)}")
        return lowered

    def _inline_lookup(self, ast: Any) -> Expression:
        argument = self.lower(ast.argument)
        about = {"name": self.hidden_name("lookup"), "hidden": True}
        table = self._table(ast.lookups, about)
        self.reader.add(table)
        return Lookup(table.name, argument)

    def _initial(self, ast: Any) -> Expression:
        name = self.hidden_name("initial")
        return self.define(Frozen(name=name, hidden=True, expression=self.lower(ast.initial)))

    def _smooth(self, ast: Any) -> Expression:
        """Exponential smooth: a chain of `order` stocks, each nearing the one before it."""
        target, initial = self.lower(ast.input), self.lower(ast.initial)
        order = self._order(ast.order)
        stage_time = self._stage_time(ast.smooth_time, order)
        for stage in range(1, order + 1):
            name = self.hidden_name(f"smooth stage {stage}")
            gap = Operation("-", (target, Name(name)))
            rate = Operation("/", (gap, stage_time))
            target = self.define(Stock(name=name, hidden=True, rate=rate, initial=initial))
        return target

    def _delay(self, ast: Any) -> Expression:
        """Material delay: what flows in leaves through `order` stocks, each with its share of the delay time."""
        inflow, initial = self.lower(ast.input), self.lower(ast.initial)
        order = self._order(ast.order)
        stage_time = self._stage_time(ast.delay_time, order)
        for stage in range(1, order + 1):
            name = self.hidden_name(f"delay stage {stage}")
            outflow = Operation("/", (Name(name), stage_time))
            rate = Operation("-", (inflow, outflow))
            self.define(Stock(name=name, hidden=True, rate=rate, initial=Operation("*", (initial, stage_time))))
            inflow = self.define(
                Auxiliary(name=self.hidden_name(f"delay outflow {stage}"), hidden=True, expression=outflow)
            )
        return inflow

    def _order(self, order: Any) -> int:
        if not isinstance(order, int | float) or order != int(order) or order < 1:
            self.fail(f"the order of a delay is {order}; it should be a whole number of at least 1")
        return int(order)

    def _stage_time(self, whole: Any, order: int) -> Expression:
        time = self.lower(whole)
        stage = time if order == 1 else Operation("/", (time, Number(float(order))))
        if isinstance(stage, Name | Number):
            return stage
        return self.define(Auxiliary(name=self.hidden_name("stage time"), hidden=True, expression=stage))

    def _macro(self, section: Any, arguments: tuple[Any, ...]) -> Expression:
        """Write a macro out in place: its variables become hidden ones, named after the variable that uses it."""
        if len(arguments) != len(section.params):
            self.fail(f"macro {section.name} takes {len(section.params)} argument(s), here it has {len(arguments)}")
        if self.prefix.count("#") > 20:
            self.fail(f"macro {section.name} uses itself without end")
        prefix = self.hidden_name(section.name) + ": "
        bound: dict[str, str] = {}
        for parameter, argument in zip(section.params, arguments, strict=True):
            name = prefix + _clean(parameter)
            self.define(Auxiliary(name=name, hidden=True, expression=self.lower(argument)))
            bound[key(parameter)] = name
        inner = _Section(self.reader, section, prefix, bound)
        output = inner.names.get(key(section.name))
        if output is None:
            self.fail(f"macro {section.name} does not define a variable of its own name, which is its value")
        inner.read()
        return Name(output)


def _fold_left(operands: list[Expression], operators: list[str]) -> Expression:
    result = operands[0]
    for operator, operand in zip(operators, operands[1:], strict=True):
        result = Operation(operator, (result, operand))
    return result


def _fold_logic(operands: list[Expression], operators: list[str]) -> Expression:
    """`a or b and c` with `and` binding tighter than `or`."""
    terms: list[Expression] = [operands[0]]
    for operator, operand in zip(operators, operands[1:], strict=True):
        if operator == "and":
            terms[-1] = Operation("and", (terms[-1], operand))
        else:
            terms.append(operand)
    return _fold_left(terms, ["or"] * (len(terms) - 1))


def _clean(name: str) -> str:
    """A name as a person reads it: no quotes, single spaces."""
    return " ".join(name.strip().strip('"').replace("_", " ").split()) if name.strip() else name


def _supported() -> str:
    statefuls = ["active initial", "delay1", "delay3", "initial", "integ", "smooth", "smooth3", "with lookup"]
    names = sorted([*(name.replace("_", " ") for name in FUNCTIONS if not name.startswith("xmile")), *statefuls])
    return f"supported: {', '.join(names)}"


def _spaced(name: str) -> str:
    return "".join(f" {letter}" if letter.isupper() else letter for letter in name).strip().upper()
