"""A model as the text of a .mdl file."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from sd_cluster.grammar import (
    MISSING,
    PLACED,
    Application,
    Figure,
    Numbers,
    Operator,
    Points,
    Reference,
    Tree,
)
from sd_cluster.model import key
from sd_cluster.ranges import clean
from sd_cluster.scribe import Scribe
from sd_cluster.source import Definition, MacroDefinition, RangeDefinition

_TO_VENSIM = {
    "delay": "delay fixed", "smth1": "smooth", "smth3": "smooth3", "forcst": "forecast",
    "init": "initial", "size": "elmcount", "lookupinv": "lookup invert", "random": "random uniform",
    "uniform": "random uniform", "gammaln": "gamma ln",
}  # fmt: skip
_ZERO = Figure(0.0)
_WITH_INITIAL = {"smooth": "smoothi", "smooth3": "smooth3i", "delay1": "delay1i", "delay3": "delay3i"}
_OF_STELLA = {
    "round", "sinwave", "coswave", "percent", "derivn", "stddev", "exprnd", "poisson", "lognormal", "binomial",
    "negbinomial", "beta", "triangular", "arraymean", "arraystddev", "arraysum", "combinations", "conveyor",
    "factorial", "invnorm", "normalcdf", "permutations", "rootn", "switch",
}  # fmt: skip
_NAMES_OF_TIME = {"dt": "TIME STEP", "starttime": "INITIAL TIME", "stoptime": "FINAL TIME"}


class VensimScribe(Scribe):
    """A .mdl file."""

    dialect = "vensim"

    def text(self) -> str:
        """The whole file."""
        parts = ["{UTF-8}"]
        parts += [self._macro(macro) for macro in self.source.macros]
        parts += [self._range(item) for item in self.source.ranges]
        parts += [self._definition(item) for item in self.source.definitions]
        return "\n".join(parts) + "\n\\\\\\---/// Sketch information - do not modify anything except names\n"

    def _macro(self, macro: MacroDefinition) -> str:
        if macro.defaults:
            self.owner = macro.name
            raise self.fail("a macro whose inputs may be left out has no form in Vensim")
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
        positions = (dimension for dimension, _ in self.dimensions(item.name))
        self.here = dict(zip(positions, item.subscripts, strict=False))
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
        """Points of a lookup."""
        if points.kind != "interpolate":
            raise self.fail(f"a lookup of type '{points.kind}' has no form in Vensim")
        pairs = (f"({self.number(x)},{self.number(y)})" for x, y in zip(points.x, points.y, strict=True))
        return ",".join(pairs)

    def number(self, value: float) -> str:
        """A number, so that it reads back the same."""
        if value == MISSING:
            return ":NA:"
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)

    def name(self, name: str) -> str:
        """A name, in quotes where it needs them."""
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
            return [self.here.get(dimension, dimension) for dimension, _ in shape]
        found = []
        for part, (dimension, elements) in zip(subscripts, shape, strict=False):
            numbered = part.isdecimal() and part not in elements and int(part) <= len(elements)
            found.append(f"{dimension}!" if part == "*" else elements[int(part) - 1] if numbered else part)
        return found

    def reference(self, name: str, subscripts: Sequence[str]) -> str:
        """A name with its subscripts."""
        if self.source.dialect == "xmile" and key(name) == "pi" and "pi" not in self.scope:
            return self.number(math.pi)
        subscripts = self.full(name, subscripts)
        name = _NAMES_OF_TIME.get(key(name), name) if self.source.dialect == "xmile" else name
        inside = f"[{','.join(map(self.name, subscripts))}]" if subscripts else ""
        return self.name(name) + inside

    def word(self, operator: str) -> str:
        """How an operator is written."""
        return f":{operator.upper()}:" if operator in {"and", "or", "not"} else operator

    def application(self, tree: Application, binding: int) -> str:
        """A function of its arguments."""
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
        read = tree.arguments[0].name if folded == "lookup" and isinstance(tree.arguments[0], Reference) else tree.name
        graphs = (part.tree for part in self.scope.get(key(read), ()))
        if any(isinstance(graph, Application) and key(graph.name) == "with_lookup" for graph in graphs):
            raise self.fail("the graph of a variable that another one reads has no form in Vensim")
        if folded == key(PLACED):
            raise self.fail("an element at a place that an expression gives has no form in Vensim")
        if folded in _OF_STELLA or (folded == "mean" and count > 1):
            raise self.fail("a function of Stella has no form in Vensim")
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
        if folded in {"int", "mod", "safediv"}:
            return self.tree(_as_vensim(folded, *tree.arguments), binding)
        name = _TO_VENSIM.get(folded, clean(tree.name))
        if folded in {"smthn", "delayn"}:
            first, time, order, *start = tree.arguments
            arranged = (first, time, start[0] if start else first, order)
            return self._call("SMOOTH N" if folded == "smthn" else "DELAY N", replace(tree, arguments=arranged))
        if name == "delay fixed" and count == 2:
            tree = replace(tree, arguments=(*tree.arguments, tree.arguments[0]))
        if count == 3 and key(name) in _WITH_INITIAL:
            name = _WITH_INITIAL[key(name)]
        if folded in {"log10", "log"} and count == 1:
            tree, name = replace(tree, arguments=(*tree.arguments, Figure(10.0))), "log"
        if folded in {"random", "uniform"}:
            tree = replace(tree, arguments=(*tree.arguments, *([Figure(0.0)] if count == 2 else [])))
        return self._call(name.upper() if key(name) not in self._known() else name, tree)

    def _known(self) -> set[str]:
        return {key(item.name) for item in self.source.definitions} | {key(item.name) for item in self.source.macros}


def _as_vensim(folded: str, first: Tree, second: Tree = _ZERO, third: Tree = _ZERO) -> Tree:
    """XMILE's INT, MOD and SAFEDIV by functions of Vensim, which differ for negative numbers and divisors near zero."""
    if folded == "safediv":
        return _if(Operator("=", (second, _ZERO)), third, Operator("/", (first, second)))
    if folded == "int":
        whole = Application("integer", (), (first,))
        return _if(Operator("<", (first, whole)), Operator("-", (whole, Figure(1.0))), whole)

    def rest(above: Tree, below: Tree) -> Tree:
        left = Application("modulo", (), (above, below))
        return Application("modulo", (), (Operator("+", (left, below)), below))

    if isinstance(second, Figure) and second.value > 0:
        return rest(first, second)
    below_zero = Operator("neg", (rest(Operator("neg", (first,)), Operator("neg", (second,))),))
    return _if(Operator(">", (second, _ZERO)), rest(first, second), below_zero)


def _if(condition: Tree, yes: Tree, no: Tree) -> Tree:
    return Application("if then else", (), (condition, yes, no))
