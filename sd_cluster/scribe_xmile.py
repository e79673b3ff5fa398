"""A model as the text of an XMILE file."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from xml.sax.saxutils import escape, quoteattr

from sd_cluster.grammar import (
    PLACED,
    Application,
    Figure,
    Numbers,
    Operator,
    Points,
    Reference,
    Tree,
)
from sd_cluster.model import CONTROLS, key
from sd_cluster.ranges import clean
from sd_cluster.scribe import Scribe
from sd_cluster.source import Definition, MacroDefinition

_TO_XMILE = {
    "delay_fixed": "delay", "smooth": "smth1", "smoothi": "smth1", "smooth3": "smth3", "smooth3i": "smth3",
    "delay1i": "delay1", "delay3i": "delay3", "forecast": "forcst", "initial": "init",
    "elmcount": "size", "vmax": "max", "vmin": "min", "lookup_invert": "lookupinv", "random_uniform": "random",
    "if_then_else": "if", "gamma_ln": "gammaln",
}  # fmt: skip


class XmileScribe(Scribe):
    """An XMILE file."""

    dialect = "xmile"

    def text(self) -> str:
        """The whole file."""
        controls = {key(name) for name in CONTROLS}
        self.flows: set[str] = set()
        self.added: list[str] = []
        variables = [self._variable(items) for name, items in self.scope.items() if name not in controls]
        kinds = [line for line in variables if line]
        for span in self.source.ranges:
            self.owner = span.name
            if span.mappings:  # another name of a range (`<->`) becomes a range of the same elements
                raise self.fail("a range that maps to another has no form in XMILE")
            if (parted := next((name for name in self.ranges.elements(span.name) if "," in name), None)) is not None:
                raise self.fail(f"its element '{clean(parted)}' holds a comma, which parts subscripts in XMILE")
        dims = "".join(
            f"        <dim name={quoteattr(item.name)}>"
            + "".join(f"<elem name={quoteattr(name)}/>" for name in self.ranges.elements(item.name))
            + "</dim>\n"
            for item in self.source.ranges
        )
        horizon = self.model.horizon
        for control in self.model.moving:
            self.owner = control
            raise self.fail("a control variable that varies has no form in XMILE")
        every = self.number(horizon.save_every)
        saving = f' isee:save_interval="{every}"' if horizon.save_every != horizon.step else ""
        lines = [
            '<?xml version="1.0" encoding="utf-8"?>',
            '<xmile version="1.0" xmlns="http://docs.oasis-open.org/xmile/ns/XMILE/v1.0"'
            + (' xmlns:isee="http://iseesystems.com/XMILE">' if saving else ">"),
            "    <header>",
            "        <vendor>sd_cluster</vendor>",
            '        <product version="1.0">sd_cluster</product>',
            f"        <name>{escape(self.model.name)}</name>",
            "    </header>",
            f'    <sim_specs method="euler" time_units={quoteattr(horizon.unit)}{saving}>',
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
        needed = len(macro.inputs) - len(macro.defaults)
        defaults = [""] * needed + [f" default={quoteattr(self.tree(tree))}" for tree in macro.defaults]
        named = zip(macro.inputs, defaults, strict=True)
        inside = "".join(f"<parm{default}>{escape(self.plain(name))}</parm>" for name, default in named)
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
            written = [self._elements(item) for item in items]
            elements, flows = _flows_apart([line for part in written for line in part])
            lines += elements + flows
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
        """A number, so that it reads back the same."""
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
        """A name with its subscripts."""
        if key(name) in {"time_step", "initial_time", "final_time"}:
            return {"time_step": "DT", "initial_time": "STARTTIME", "final_time": "STOPTIME"}[key(name)]
        if name.endswith("!"):
            raise self.fail("the place of an element within a sum has no form in XMILE")
        inside = list(map(self.subscript, subscripts))
        return self.plain(name) + (f"[{', '.join(inside)}]" if inside else "")

    def subscript(self, part: str) -> str:
        """One subscript: an element, a range, all of a range, or its elements from one to another."""
        if ":" in part:
            return ":".join(map(self.plain, part.removesuffix("!").split(":")))
        return "*" if part == "*" else f"*:{self.plain(part[:-1])}" if part.endswith("!") else self.plain(part)

    def word(self, operator: str) -> str:
        """How an operator is written."""
        return operator.upper() if operator in {"and", "or", "not"} else operator

    def application(self, tree: Application, binding: int) -> str:
        """A function of its arguments."""
        folded = key(tree.name)
        if folded == key(PLACED):
            array, *places = tree.arguments
            assert isinstance(array, Reference)
            inside = [
                self.tree(places[int(part[1:])]) if part.startswith("#") else self.subscript(part)
                for part in array.subscripts
            ]
            return f"{self.plain(array.name)}[{', '.join(inside)}]"
        if tree.outputs:
            raise self.fail("a macro with further outputs has no form in XMILE")
        if folded == "if_then_else" and len(tree.arguments) == 3:
            condition, yes, no = (self.tree(part) for part in tree.arguments)
            return f"(IF {condition} THEN {yes} ELSE {no})"
        if any(isinstance(part, Points) for part in tree.arguments):
            return self._inline(tree)
        if folded in {"integer", "int"} and self.source.dialect == "vensim" and len(tree.arguments) == 1:
            return self._towards_zero(tree.arguments[0])
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

    def _towards_zero(self, part: Tree) -> str:
        """Vensim's INTEGER, which goes towards zero; XMILE's INT goes down."""
        if isinstance(part, Figure):
            return self.number(float(int(part.value)))
        return f"(IF {self.tree(part, 5)} < 0 THEN -INT(-({self.tree(part)})) ELSE INT({self.tree(part)}))"

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
        return f"(IF {middle} >= {begin} AND {middle} < {begin} + MAX({span}, DT) THEN 1 ELSE 0)"


def _flows_apart(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Elements of a stock without their flows, and these, where all elements have the same ones: they stand once."""
    marks = ("<inflow>", "<outflow>", "<non_negative/>")
    groups: list[list[str]] = []
    for line in lines:
        if "<element " in line:
            groups.append([])
        elif line.strip().startswith(marks):
            groups[-1].append(line[4:])
    if not groups or any(group != groups[0] for group in groups):
        return list(lines), []
    return [line for line in lines if not line.strip().startswith(marks)], groups[0]


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
