"""Writing a model back to a .mdl or an XMILE file, from the trees its own file was read into."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from sd_cluster.errors import ModelError
from sd_cluster.files import write_beside
from sd_cluster.grammar import (
    MISSING,
    Application,
    Dialect,
    Figure,
    Numbers,
    Operator,
    Points,
    Quoted,
    Reference,
    Tree,
)
from sd_cluster.model import CONTROLS, Model, key
from sd_cluster.ranges import Ranges, clean
from sd_cluster.reading import load
from sd_cluster.simulation import simulate
from sd_cluster.solvers import Euler
from sd_cluster.source import Definition, MacroDefinition, RangeDefinition, Source

_BINDING = {
    "or": 1, "and": 2, "not": 3, "=": 4, "<>": 4, "<": 4, "<=": 4, ">": 4, ">=": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "neg": 7, "^": 8,
}  # fmt: skip

_TO_XMILE = {
    "delay_fixed": "delay", "smooth": "smth1", "smoothi": "smth1", "smooth3": "smth3", "smooth3i": "smth3",
    "delay1i": "delay1", "delay3i": "delay3", "integer": "int", "forecast": "forcst", "initial": "init",
    "elmcount": "size", "vmax": "max", "vmin": "min", "lookup_invert": "lookupinv", "random_uniform": "random",
    "if_then_else": "if", "gamma_ln": "gammaln",
}  # fmt: skip
_TO_VENSIM = {
    "delay": "delay fixed", "smth1": "smooth", "smth3": "smooth3", "int": "integer", "forcst": "forecast",
    "init": "initial", "size": "elmcount", "lookupinv": "lookup invert", "safediv": "zidz", "random": "random uniform",
    "uniform": "random uniform", "gammaln": "gamma ln",
}  # fmt: skip
_WITH_INITIAL = {"smooth": "smoothi", "smooth3": "smooth3i", "delay1": "delay1i", "delay3": "delay3i"}
_NAMES_OF_TIME = {"dt": "TIME STEP", "starttime": "INITIAL TIME", "stoptime": "FINAL TIME"}


@dataclass(frozen=True)
class Written:
    """A file that was written, read back and run.

    Attributes
    ----------
    path
        The file.
    difference
        Largest difference between runs of both by Euler's method, relative to each variable's largest value.
    variable
        Where it is.
    """

    path: Path
    difference: float
    variable: str

    def __str__(self) -> str:
        at = f" (in '{self.variable}')" if self.difference else ""
        return f"{self.path}: read back and run, it differs by at most {self.difference:.1e}{at}"


def write(model: Model, path: str | Path) -> Written:
    """Write a model to a `.mdl` or an XMILE file, read it back, run both and say by how much they differ.

    Parameters
    ----------
    model
        As `load` gave it.
    path
        A file that ends in `.mdl`, `.xmile`, `.xml` or `.stmx`.

    Returns
    -------
    written

    Raises
    ------
    ModelError
        If the model did not come from a file, or uses what the other format cannot say; the text names the variable.
    """
    path = Path(path)
    source = model.origin
    if not isinstance(source, Source):
        raise ModelError(f"{model.name} did not come from a file, so there is nothing to write")
    suffix = path.suffix.lower()
    if suffix not in {".mdl", ".xmile", ".xml", ".stmx"}:
        raise ModelError(f"'{path.name}' should end in .mdl, .xmile, .xml or .stmx")
    writer: _Writer = _Vensim(model, source) if suffix == ".mdl" else _Xmile(model, source)
    text = writer.text()

    def put(neighbour: Path) -> None:
        neighbour.write_text(text, encoding="utf-8")

    write_beside(path, put)
    again = load(path, check_units=False)
    return Written(path, *_difference(model, again))


def _difference(model: Model, again: Model) -> tuple[float, str]:
    """Largest difference between two models' runs, and the variable it is in."""
    import numpy as np

    first, second = simulate(model, solver=Euler()), simulate(again, solver=Euler())
    worst, where = 0.0, ""
    for name in first.names:
        if key(name) == "saveper":
            continue
        one = first[name]
        other = np.interp(first.times, second.times, second[name])
        apart = float(np.abs(one - other).max() / max(float(np.abs(one).max()), 1e-300))
        if apart > worst:
            worst, where = apart, name
    return worst, where


class _Writer:
    """What both formats share."""

    dialect: Dialect

    def __init__(self, model: Model, source: Source) -> None:
        self.model, self.source = model, source
        filled = [
            replace(item, members=model.ranges[clean(item.name)], external=()) if item.external else item
            for item in source.ranges
        ]
        self.ranges = Ranges(filled)
        self.owner = ""
        self.scope: dict[str, list[Definition]] = {}
        self.enter(source.definitions)

    def enter(self, definitions: Sequence[Definition]) -> None:
        """Take names from some definitions: those of the model, or of one macro."""
        self.scope = {}
        for item in definitions:
            self.scope.setdefault(key(item.name), []).append(item)

    def dimensions(self, name: str) -> list[tuple[str, tuple[str, ...]]]:
        """Name and elements of each range of an array variable; none for a single number."""
        rows = [item.subscripts for item in self.scope.get(key(name), ())]
        return [self.ranges.dimension(column) for column in zip(*rows, strict=True)]

    def text(self) -> str:
        raise NotImplementedError

    def fail(self, what: str) -> ModelError:
        return ModelError(f"{self.model.name}: '{self.owner}' cannot be written: {what}")

    def tree(self, tree: Tree, binding: int = 0) -> str:
        """Text of a tree, with the brackets it needs."""
        match tree:
            case Figure():
                number = self.number(tree.value)
                return f"({number})" if number.startswith("-") and binding > 5 else number
            case Reference():
                return self.reference(tree.name, tree.subscripts)
            case Operator(operator=operator, operands=operands):
                return self.operation(operator, operands, binding)
            case Application():
                return self.application(tree, binding)
            case Quoted():
                return f"'{tree.value}'"
            case _:
                raise self.fail("it has a table inside an expression")

    def number(self, value: float) -> str:
        raise NotImplementedError

    def reference(self, name: str, subscripts: Sequence[str]) -> str:
        raise NotImplementedError

    def word(self, operator: str) -> str:
        raise NotImplementedError

    def application(self, tree: Application, binding: int) -> str:
        raise NotImplementedError

    def operation(self, operator: str, operands: Sequence[Tree], binding: int) -> str:
        own = _BINDING[operator]
        if operator == "neg":
            written = f"-{self.tree(operands[0], own)}"
        elif operator == "not":
            written = f"{self.word('not')} {self.tree(operands[0], own)}"
        elif operator == "^":
            written = f"{self.tree(operands[0], own + 1)}^{self.tree(operands[1], own)}"
        else:
            first, second = self.tree(operands[0], own), self.tree(operands[1], own + 1)
            written = f"{first} {self.word(operator)} {second}"
        return f"({written})" if own < binding else written


class _Vensim(_Writer):
    """A .mdl file."""

    dialect = "vensim"

    def text(self) -> str:
        parts = ["{UTF-8}"]
        parts += [self._macro(macro) for macro in self.source.macros]
        parts += [self._range(item) for item in self.source.ranges]
        parts += [self._definition(item) for item in self.source.definitions]
        return "\n".join(parts) + "\n\\\\\\---/// Sketch information - do not modify anything except names\n"

    def _macro(self, macro: MacroDefinition) -> str:
        inside = ", ".join(map(self.name, macro.inputs))
        outputs = f" : {', '.join(map(self.name, macro.outputs))}" if macro.outputs else ""
        self.enter(macro.definitions)
        body = "\n".join(self._definition(item) for item in macro.definitions)
        self.enter(self.source.definitions)
        return f":MACRO: {self.name(macro.name)}({inside}{outputs})\n{body}\n:END OF MACRO:"

    def _range(self, item: RangeDefinition) -> str:
        if item.copied:
            return f"{self.name(item.name)} <-> {self.name(item.copied)}\n\t~\n\t~\n\t|\n"
        members = ", ".join(map(self.name, item.members))
        if item.external:
            quoted = ", ".join(f"'{text}'" for text in item.external)
            members = f"GET DIRECT SUBSCRIPT({quoted})"
        mapped = [
            f"({self.name(target)}: {', '.join(map(self.name, entries))})" if entries else self.name(target)
            for target, entries in item.mappings
        ]
        arrow = f" -> {', '.join(mapped)}" if mapped else ""
        return f"{self.name(item.name)}: {members}{arrow}\n\t~\n\t~\n\t|\n"

    def _definition(self, item: Definition) -> str:
        self.owner = item.name
        if item.fault:
            raise self.fail(item.fault)
        left = self.reference(item.name, item.subscripts)
        if item.exceptions:
            groups = ", ".join(f"[{', '.join(map(self.name, group))}]" for group in item.exceptions)
            left += f" :EXCEPT: {groups}"
        if item.keyword:
            left += f" :{item.keyword.upper()}:"
        units = item.units
        if item.low is not None or item.high is not None:
            low, high = ("?" if bound is None else self.number(bound) for bound in (item.low, item.high))
            units += f" [{low},{high}]"
        return f"{left}{self._right(item)}\n\t~\t{units}\n\t~\t{item.note.replace('|', '/')}\n\t|\n"

    def _right(self, item: Definition) -> str:
        match item.tree:
            case None:
                return ""
            case Points() as points:
                return f"({self.points(points)})"
            case Numbers(rows=rows):
                lines = [", ".join(map(self.number, row)) for row in rows]
                return f" = {'; '.join(lines)}{';' if len(lines) > 1 else ''}"
            case Application() if item.kind == "lookup":
                return f"({self.tree(item.tree)})"
        sign = {"data": ":=", "constant": "=="}.get(item.kind, "=")
        if item.kind == "stock":
            assert item.initial is not None
            if item.non_negative:
                raise self.fail("a stock that may not fall below zero has no form in Vensim")
            return f" = INTEG({self.tree(item.tree)}, {self.tree(item.initial)})"
        return f" {sign} {self.tree(item.tree)}"

    def points(self, points: Points) -> str:
        if points.kind != "interpolate":
            raise self.fail(f"a lookup of type '{points.kind}' has no form in Vensim")
        pairs = (f"({self.number(x)},{self.number(y)})" for x, y in zip(points.x, points.y, strict=True))
        return ",".join(pairs)

    def number(self, value: float) -> str:
        if value == MISSING:
            return ":NA:"
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)

    def name(self, name: str) -> str:
        bare = name.rstrip("!")
        mark = name[len(bare) :]
        if bare.startswith('"'):
            return name
        bare = " ".join(bare.replace("_", " ").split())
        plain = re.fullmatch(r"(?:[^\W\d]|[\u00a1-\uffff])(?:[\w' $]|[\u00a1-\uffff])*", bare)
        escaped = bare.replace('"', '\\"')
        return (bare if plain else f'"{escaped}"') + mark

    def full(self, name: str, subscripts: Sequence[str]) -> list[str]:
        """Subscripts as Vensim wants them: none left out, no `*`, no numbers for elements that have names."""
        if self.source.dialect == "vensim":
            return list(subscripts)
        shape = self.dimensions(name)
        if not subscripts:
            return [dimension for dimension, _ in shape]
        found = []
        for part, (dimension, elements) in zip(subscripts, shape, strict=False):
            numbered = part.isdecimal() and part not in elements and int(part) <= len(elements)
            found.append(f"{dimension}!" if part == "*" else elements[int(part) - 1] if numbered else part)
        return found

    def reference(self, name: str, subscripts: Sequence[str]) -> str:
        if self.source.dialect == "xmile" and key(name) == "pi" and "pi" not in self.scope:
            return self.number(math.pi)
        subscripts = self.full(name, subscripts)
        name = _NAMES_OF_TIME.get(key(name), name) if self.source.dialect == "xmile" else name
        inside = f"[{','.join(map(self.name, subscripts))}]" if subscripts else ""
        return self.name(name) + inside

    def word(self, operator: str) -> str:
        return f":{operator.upper()}:" if operator in {"and", "or", "not"} else operator

    def application(self, tree: Application, binding: int) -> str:
        folded = key(tree.name)
        if self.source.dialect == "xmile":
            return self._from_xmile(tree, folded, binding)
        return self._call(clean(tree.name), tree)

    def _call(self, name: str, tree: Application) -> str:
        arguments = [
            f"({self.points(part)})" if isinstance(part, Points) else self.tree(part) for part in tree.arguments
        ]
        outputs = [self.reference(output.name, output.subscripts) for output in tree.outputs]
        behind = f" : {', '.join(outputs)}" if outputs else ""
        shown = self.name(name) + (f"[{','.join(map(self.name, tree.subscripts))}]" if tree.subscripts else "")
        return f"{shown}({', '.join(arguments)}{behind})"

    def _from_xmile(self, tree: Application, folded: str, binding: int) -> str:
        count = len(tree.arguments)
        if folded in {"sum", "mean", "prod", "max", "min"} and count == 1 and isinstance(tree.arguments[0], Reference):
            array = tree.arguments[0]
            marked = tuple(f"{name}!" for name in self.full(array.name, ()))
            tree = replace(tree, arguments=(replace(array, subscripts=array.subscripts or marked),))
        if folded == "pulse":
            raise self.fail("XMILE's PULSE has no form in Vensim")
        if folded in {"max", "min"} and count != 2:
            if count == 1:
                return self._call("V" + folded.upper(), tree)
            first, *others = tree.arguments
            for other in others:
                first = Application(folded, (), (first, other))
            return self.tree(first, binding)
        name = _TO_VENSIM.get(folded, clean(tree.name))
        if folded in {"smthn", "delayn"}:
            first, time, order, *start = tree.arguments
            arranged = (first, time, start[0] if start else first, order)
            return self._call("SMOOTH N" if folded == "smthn" else "DELAY N", replace(tree, arguments=arranged))
        if name == "delay fixed" and count == 2:
            tree = replace(tree, arguments=(*tree.arguments, tree.arguments[0]))
        if count == 3 and key(name) in _WITH_INITIAL:
            name = _WITH_INITIAL[key(name)]
        if folded == "safediv" and count == 3:
            name = "xidz"
        if folded in {"log10", "log"} and count == 1:
            tree, name = replace(tree, arguments=(*tree.arguments, Figure(10.0))), "log"
        if folded in {"random", "uniform"}:
            tree = replace(tree, arguments=(*tree.arguments, *([Figure(0.0)] if count == 2 else [])))
        return self._call(name.upper() if key(name) not in self._known() else name, tree)

    def _known(self) -> set[str]:
        return {key(item.name) for item in self.source.definitions} | {key(item.name) for item in self.source.macros}


class _Xmile(_Writer):
    """An XMILE file."""

    dialect = "xmile"

    def text(self) -> str:
        controls = {key(name) for name in CONTROLS}
        self.flows: set[str] = set()
        self.added: list[str] = []
        variables = [self._variable(items) for name, items in self.scope.items() if name not in controls]
        kinds = [line for line in variables if line]
        for span in self.source.ranges:
            self.owner = span.name
            if span.mappings or span.copied:
                raise self.fail("a range that maps to another has no form in XMILE")
        dims = "".join(
            f"        <dim name={quoteattr(item.name)}>"
            + "".join(f"<elem name={quoteattr(name)}/>" for name in self.ranges.elements(item.name))
            + "</dim>\n"
            for item in self.source.ranges
        )
        horizon = self.model.horizon
        lines = [
            '<?xml version="1.0" encoding="utf-8"?>',
            '<xmile version="1.0" xmlns="http://docs.oasis-open.org/xmile/ns/XMILE/v1.0">',
            "    <header>",
            "        <vendor>sd_cluster</vendor>",
            '        <product version="1.0">sd_cluster</product>',
            f"        <name>{escape(self.model.name)}</name>",
            "    </header>",
            f'    <sim_specs method="euler" time_units={quoteattr(horizon.unit)}>',
            f"        <start>{self.number(horizon.start)}</start>",
            f"        <stop>{self.number(horizon.end)}</stop>",
            f"        <dt>{self.number(horizon.step)}</dt>",
            "    </sim_specs>",
            *([f"    <dimensions>\n{dims}    </dimensions>"] if dims else []),
            "    <model>",
            "        <variables>",
            *kinds,
            *self.added,
            "        </variables>",
            "    </model>",
            *(self._macro(macro) for macro in self.source.macros),
            "</xmile>",
        ]
        return "\n".join(lines) + "\n"

    def _macro(self, macro: MacroDefinition) -> str:
        if macro.outputs:
            self.owner = macro.name
            raise self.fail("a macro with further outputs has no form in XMILE")
        inside = "".join(f"<parm>{escape(self.plain(name))}</parm>" for name in macro.inputs)
        before, self.added = self.added, []
        self.enter(macro.definitions)
        variables = "\n".join([*(self._variable([item]) for item in macro.definitions), *self.added])
        self.added = before
        self.enter(self.source.definitions)
        return (
            f"    <macro name={quoteattr(clean(macro.name))}>\n        {inside}\n"
            f"        <eqn>{escape(self.plain(macro.name))}</eqn>\n"
            f"        <variables>\n{variables}\n        </variables>\n    </macro>"
        )

    def _variable(self, items: Sequence[Definition]) -> str:
        """One variable: its equation, or one for each element."""
        first = items[0]
        self.owner = clean(first.name)
        for item in items:
            if item.fault or item.tree is None:
                raise self.fail(item.fault or "a data variable has no form in XMILE")
        stock = first.kind == "stock" or (isinstance(first.tree, Application) and key(first.tree.name) == "integ")
        tag = "gf" if first.kind == "lookup" and not first.subscripts else "stock" if stock else "aux"
        tag = "flow" if tag == "aux" and key(first.name) in self.flows else tag
        lines = [f"            <{tag} name={quoteattr(self.owner)}>"]
        if first.note:
            lines.append(f"                <doc>{escape(first.note)}</doc>")
        whole = len(items) == 1 and not first.exceptions and not isinstance(first.tree, Numbers)
        whole = whole and all(name in self.ranges for name in first.subscripts)
        if first.subscripts:
            columns = zip(*(item.subscripts for item in items), strict=True)
            names = [self.ranges.dimension(column)[0] for column in columns]
            dims = "".join(f"<dim name={quoteattr(name)}/>" for name in names)
            lines.append(f"                <dimensions>{dims}</dimensions>")
        if tag == "gf" and isinstance(first.tree, Points):
            lines += self._points(first.tree)[1:3]
        elif whole:
            lines += self._body(first, {})
        else:
            for item in items:
                lines += self._elements(item)
        if first.units:
            lines.append(f"                <units>{escape(first.units)}</units>")
        if first.low is not None or first.high is not None:
            bounds = [
                f' {which}="{self.number(bound)}"'
                for which, bound in (("min", first.low), ("max", first.high))
                if bound is not None
            ]
            lines.append(f"                <range{''.join(bounds)}/>")
        lines.append(f"            </{tag}>")
        return "\n".join(lines)

    def _elements(self, item: Definition) -> list[str]:
        """Equations of single elements; ranges in them are written as the element they stand for."""
        columns = [self.ranges.elements(name) for name in item.subscripts]
        left_out = [[{key(e) for e in self.ranges.elements(name)} for name in group] for group in item.exceptions]
        lines = []
        flat = [value for row in item.tree.rows for value in row] if isinstance(item.tree, Numbers) else []
        for order, row in enumerate(itertools.product(*columns)):
            if any(all(key(e) in part for e, part in zip(row, group, strict=False)) for group in left_out):
                continue
            bound = {key(name): e for name, e in zip(item.subscripts, row, strict=True)}
            single = replace(item, tree=Figure(flat[order])) if flat else item
            lines.append(f"                <element subscript={quoteattr(', '.join(row))}>")
            lines += [f"    {line}" for line in self._body(single, bound)]
            lines.append("                </element>")
        return lines

    def _body(self, item: Definition, bound: Mapping[str, str]) -> list[str]:
        tree = item.tree
        assert tree is not None
        tree = _bound(tree, bound)
        if isinstance(tree, Points):
            return self._points(tree)
        if item.kind == "stock":
            assert item.initial is not None
            return self._stock(tree, _bound(item.initial, bound), item)
        match tree:
            case Application(name=name, arguments=arguments) if key(name) == "integ" and len(arguments) == 2:
                return self._stock(arguments[0], arguments[1], item)
            case Application(name=name, arguments=(argument, Points() as points)) if key(name) == "with_lookup":
                return [f"                <eqn>{escape(self.tree(argument))}</eqn>", *self._points(points)]
            case Application(name=name, arguments=arguments) if key(name) == "active_initial" and len(arguments) == 2:
                run, start = (escape(self.tree(part)) for part in arguments)
                return [f"                <eqn>{run}</eqn>", f"                <init_eqn>{start}</init_eqn>"]
        return [f"                <eqn>{escape(self.tree(tree))}</eqn>"]

    def _points(self, points: Points) -> list[str]:
        kind = {"interpolate": "continuous"}.get(points.kind, points.kind)
        x, y = (",".join(map(self.number, part)) for part in (points.x, points.y))
        return [
            f'                <gf type="{kind}">',
            f"                    <xpts>{x}</xpts>",
            f"                    <ypts>{y}</ypts>",
            "                </gf>",
        ]

    def _stock(self, rate: Tree, initial: Tree, item: Definition) -> list[str]:
        """A stock; a net flow that is more than a sum of flows becomes a flow of its own."""
        lines = [f"                <eqn>{escape(self.tree(initial))}</eqn>"]
        signed = list(_terms(rate))
        if rate == Figure(0.0):
            signed = []
        elif not all(isinstance(part, Reference) and self._may_flow(part, item) for _, part in signed):
            raise_name = f"net flow of {clean(item.name)}"
            flow = Definition(raise_name, rate, subscripts=item.subscripts, units=self._per_time(item.units))
            signed = [("inflow", Reference(raise_name))]
            owner = self.owner
            self.flows.add(key(raise_name))
            self.added.append(self._variable([flow]))
            self.owner = owner
        for which in ("inflow", "outflow"):
            for kind, part in signed:
                if kind == which and isinstance(part, Reference):
                    lines.append(f"                <{which}>{escape(self.plain(part.name))}</{which}>")
        if item.non_negative:
            lines.append("                <non_negative/>")
        return lines

    def _may_flow(self, part: Reference, item: Definition) -> bool:
        if key(part.name) not in self.scope:
            return False
        implied = self.source.dialect == "xmile" and not part.subscripts
        return implied or tuple(map(key, part.subscripts)) == tuple(map(key, item.subscripts))

    def _per_time(self, units: str) -> str:
        unit = self.model.horizon.unit
        return f"({units})/{unit}" if units and unit else ""

    def number(self, value: float) -> str:
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)

    def plain(self, name: str) -> str:
        """A name as equations of XMILE have it."""
        bare = clean(name)
        if bare.isdecimal():
            return bare
        written = bare.replace(" ", "_")
        fits = re.fullmatch(r"(?:[^\W\d]|[\u00a1-\uffff])(?:[\w$]|[\u00a1-\uffff]|\.(?=\w))*", written)
        word = written.casefold() in {"and", "or", "not", "mod", "if", "then", "else"}
        escaped = bare.replace('"', '\\"')
        return written if fits and not word else f'"{escaped}"'

    def reference(self, name: str, subscripts: Sequence[str]) -> str:
        if key(name) in {"time_step", "initial_time", "final_time"}:
            return {"time_step": "DT", "initial_time": "STARTTIME", "final_time": "STOPTIME"}[key(name)]
        inside = [
            "*" if part == "*" else f"*:{self.plain(part[:-1])}" if part.endswith("!") else self.plain(part)
            for part in subscripts
        ]
        return self.plain(name) + (f"[{', '.join(inside)}]" if inside else "")

    def word(self, operator: str) -> str:
        return operator.upper() if operator in {"and", "or", "not"} else operator

    def application(self, tree: Application, binding: int) -> str:
        folded = key(tree.name)
        if tree.outputs:
            raise self.fail("a macro with further outputs has no form in XMILE")
        if folded == "if_then_else" and len(tree.arguments) == 3:
            condition, yes, no = (self.tree(part) for part in tree.arguments)
            return f"(IF {condition} THEN {yes} ELSE {no})"
        if any(isinstance(part, Points) for part in tree.arguments):
            return self._inline(tree)
        if folded == "modulo" or self.source.dialect == "xmile":
            return self._call(self.plain(tree.name), tree.arguments, tree.subscripts)
        if folded == "pulse" and len(tree.arguments) == 2:
            return self._pulse(*tree.arguments)
        if folded == "pulse_train":
            raise self.fail("PULSE TRAIN has no form in XMILE")
        if folded in {"random_uniform"} and len(tree.arguments) == 3:
            tree = replace(tree, arguments=tree.arguments[:2])
        if folded in {"delay_n", "smooth_n"} and len(tree.arguments) == 4:
            first, time, start, order = tree.arguments
            return self._call("DELAYN" if folded == "delay_n" else "SMTHN", (first, time, order, start), ())
        if folded.startswith("get_"):
            raise self.fail("data from another file have no form in XMILE")
        name = _TO_XMILE.get(folded, "").upper() or self.plain(tree.name)
        return self._call(name, tree.arguments, tree.subscripts)

    def _call(self, name: str, arguments: Iterable[Tree], subscripts: Sequence[str]) -> str:
        inside = f"[{', '.join(map(self.plain, subscripts))}]" if subscripts else ""
        return f"{name}{inside}({', '.join(map(self.tree, arguments))})"

    def _inline(self, tree: Application) -> str:
        """A lookup inside an expression becomes a graphical function of its own."""
        argument, points = tree.arguments
        assert isinstance(points, Points)
        name = f"lookup {len(self.added) + 1} of {self.owner}"
        lines = [f"            <gf name={quoteattr(name)}>", *self._points(points)[1:3], "            </gf>"]
        self.added.append("\n".join(lines))
        return self._call(self.plain(name), (argument,), ())

    def _pulse(self, start: Tree, width: Tree) -> str:
        begin, span = self.tree(start, 5), self.tree(width)
        middle = "TIME + DT/2"
        return f"(IF {middle} > {begin} AND {middle} < {begin} + MAX({span}, DT) THEN 1 ELSE 0)"


def _bound(tree: Tree, bound: Mapping[str, str]) -> Tree:
    """A tree with ranges written as elements."""
    if not bound:
        return tree

    def names(subscripts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(bound.get(key(name), name) for name in subscripts)

    match tree:
        case Reference(name=name, subscripts=()) if key(name) in bound:
            return Reference(bound[key(name)])
        case Reference():
            return replace(tree, subscripts=names(tree.subscripts))
        case Operator():
            return replace(tree, operands=tuple(_bound(part, bound) for part in tree.operands))
        case Application():
            arguments = tuple(_bound(part, bound) for part in tree.arguments)
            return replace(tree, subscripts=names(tree.subscripts), arguments=arguments)
        case _:
            return tree


def _terms(tree: Tree, sign: str = "inflow") -> Iterable[tuple[str, Tree]]:
    """The terms of a sum with their signs, as flows in and out."""
    other = {"inflow": "outflow", "outflow": "inflow"}[sign]
    match tree:
        case Operator(operator="+", operands=(first, second)):
            yield from _terms(first, sign)
            yield from _terms(second, sign)
        case Operator(operator="-", operands=(first, second)):
            yield from _terms(first, sign)
            yield from _terms(second, other)
        case Operator(operator="neg", operands=(first,)):
            yield from _terms(first, other)
        case _:
            yield sign, tree
