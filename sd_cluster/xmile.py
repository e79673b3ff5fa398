"""XMILE files taken apart into definitions: variables, arrays, graphical functions, macros and modules."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sd_cluster.errors import ReadingError
from sd_cluster.grammar import Application, Figure, GrammarError, Operator, Points, Reference, Tree
from sd_cluster.limits import limited
from sd_cluster.model import key
from sd_cluster.peg import read
from sd_cluster.source import Definition, MacroDefinition, RangeDefinition, Source
from sd_cluster.text import decoded, first_line, shorten

_KINDS = {"aux", "flow", "stock", "gf"}
_FOREIGN = {"conveyor": "conveyors", "queue": "queues", "oven": "ovens", "leak": "leakages"}
_MODE = {"continuous": "interpolate", "extrapolate": "extrapolate", "discrete": "discrete"}


def read_xmile(path: Path) -> Source:
    """Take an XMILE file apart.

    Raises
    ------
    ReadingError
        If the file is not an XMILE model, the text names the line; or if it defines entities of its own.
    """
    from lxml import etree

    tree = _parsed(path)
    root = tree.getroot()
    if (entity := _entity(tree, etree.Entity)) is not None:
        raise ReadingError(
            f"{path.name} defines the entity '{shorten(entity, 40)}', which is not read;"
            " write its text where it is used"
        )
    if etree.QName(root).localname.casefold() != "xmile":
        raise ReadingError(f"{path.name} is not an XMILE model: it does not begin with <xmile xmlns=...>")
    return _File(path, root).read()


def _parsed(path: Path) -> Any:
    """The tree of a file; where its letters are not in the encoding that it declares, that is passed over."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        return etree.fromstring(path.read_bytes(), parser, base_url=str(path)).getroottree()
    except etree.XMLSyntaxError as error:
        first = error
    text = decoded(path)
    text = re.sub(r"^\s*(<\?xml.*?\?>)?", lambda found: "\n" * found[0].count("\n"), text, count=1, flags=re.DOTALL)
    try:
        return etree.fromstring(text.encode("utf-8", errors="replace"), parser).getroottree()
    except etree.XMLSyntaxError:
        raise ReadingError(f"{path.name} is not an XMILE model: {first_line(first)}") from None


@dataclass(frozen=True)
class _Behaviour:
    """What holds for all stocks and flows."""

    stocks: bool = False
    flows: bool = False


class _File:
    """One XMILE file."""

    def __init__(self, path: Path, root: Any) -> None:
        self.path, self.root = path, root
        self.notes: list[str] = []

    def read(self) -> Source:
        models = [model for model in self.root if _tag(model) == "model"]
        if not any(_child(model, "variables") is not None for model in models):
            raise ReadingError(f"{self.path.name} is not a model: it holds no equations")
        ranges = [self._range(dim) for dim in self._dimensions()]
        main = next((model for model in models if not model.get("name")), models[0])
        named = {key(model.get("name")): model for model in models if model.get("name")}
        definitions = self._model(main, named, "", ())
        definitions += self._controls()
        if len({key(item.name) for item in definitions}) == 4:
            raise ReadingError(f"{self.path.name} is not a model: it holds no equations")
        macros = tuple(self._macro(macro) for macro in self.root if _tag(macro) == "macro")
        definitions, notes = limited(definitions, ranges)
        inside = [limited(macro.definitions, ranges) for macro in macros]
        macros = tuple(
            replace(macro, definitions=tuple(found)) for macro, (found, _) in zip(macros, inside, strict=True)
        )
        notes = (*self.notes, *notes, *(note for _, told in inside for note in told))
        return Source("xmile", tuple(definitions), tuple(ranges), macros, notes)

    def _dimensions(self) -> Iterator[Any]:
        """Dimensions of the file, whether they stand beside its models or in them."""
        for part in self.root:
            for block in (part, *part) if _tag(part) == "model" else (part,):
                if _tag(block) == "dimensions":
                    yield from (dim for dim in block if _tag(dim) == "dim")

    def _range(self, dim: Any) -> RangeDefinition:
        elements = tuple(elem.get("name", "") for elem in dim if _tag(elem) == "elem")
        size = dim.get("size")
        if not elements and size is not None:
            if not size.isdecimal() or not 0 < int(size) <= 10_000_000:
                raise ReadingError(f"{self.path.name} line {dim.sourceline}: dimension size '{size}' is not a number")
            elements = tuple(str(number + 1) for number in range(int(size)))
        return RangeDefinition(_name(dim), elements, line=dim.sourceline)

    def _controls(self) -> list[Definition]:
        """The four control variables, by Vensim's names."""
        inner = (_child(model, "sim_specs") for model in self.root if _tag(model) == "model")
        specs = next((node for node in (_child(self.root, "sim_specs"), *inner) if node is not None), None)
        if specs is None:
            raise ReadingError(f"{self.path.name} has no <sim_specs>; a model states its start, stop and step")
        unit = specs.get("time_units", "")
        method = specs.get("method", "").partition(",")[0].strip()
        if method.casefold() not in {"", "euler"}:
            steps = (
                "sd.RungeKutta4() takes its steps" if method.casefold() == "rk4" else "a run takes the one it is given"
            )
            self.notes.append(f"the file asks for the integration method '{method}': {steps}")
        found = []
        for name, tag in (("INITIAL TIME", "start"), ("FINAL TIME", "stop"), ("TIME STEP", "dt")):
            node = _child(specs, tag)
            text = None if node is None else (node.text or "")
            text = "1" if tag == "dt" and not (text or "").strip() else text
            if text is None:
                raise ReadingError(f"{self.path.name} has no <{tag}> in <sim_specs>")
            reciprocal = node is not None and node.get("reciprocal", "").casefold() == "true"
            tree, fault = self._tree(f"1/({text})" if reciprocal else text)
            found.append(Definition(name, tree, units=unit, fault=fault))
        inside = _child(specs, "save_step")
        texts = [value for name, value in specs.attrib.items() if name.rpartition("}")[2] == "save_interval"]
        texts += [] if inside is None else [inside.text or ""]
        tree, fault = self._tree(texts[0]) if texts else (Reference("TIME STEP"), "")
        if tree == Figure(0.0):  # what Stella writes for each step
            tree = Reference("TIME STEP")
        return [*found, Definition("SAVEPER", tree, units=unit, fault=fault)]

    def _tree(self, text: str | None) -> tuple[Tree | None, str]:
        """The tree of an equation's text, or why there is none."""
        shown = " ".join(_without_comments(text or "").replace("\\n", " ").split())
        try:
            return read(shown, "xmile"), ""
        except GrammarError as error:
            with suppress(GrammarError):
                return read(_vensim_words(shown), "xmile"), ""
            return None, f"cannot read the equation '{shorten(shown, 60)}': {error}"

    def _macro(self, node: Any) -> MacroDefinition:
        name = _name(node)
        inputs = tuple((parm.text or "").strip() for parm in node if _tag(parm) == "parm")
        variables = _child(node, "variables")
        definitions = [] if variables is None else self._variables(variables, _Behaviour())
        eqn = _child(node, "eqn")
        if eqn is not None and key(name) not in {key(item.name) for item in definitions}:
            tree, fault = self._tree(eqn.text)
            definitions.append(Definition(name, tree, fault=fault, line=node.sourceline))
        defaults: list[Tree] = []
        for parm in node:
            if _tag(parm) == "parm" and parm.get("default") is not None:
                tree, fault = self._tree(parm.get("default"))
                if tree is None:
                    raise ReadingError(f"{self.path.name} line {node.sourceline}: macro '{name}': {fault}")
                defaults.append(tree)
            elif _tag(parm) == "parm" and defaults:
                told = f"'{(parm.text or '').strip()}' needs a default, as an input before it has one"
                raise ReadingError(f"{self.path.name} line {node.sourceline}: macro '{name}': {told}")
        return MacroDefinition(name, inputs, (), tuple(definitions), defaults=tuple(defaults))

    def _model(self, model: Any, named: Mapping[str, Any], prefix: str, above: tuple[str, ...]) -> list[Definition]:
        """Definitions of a model and of the modules in it, with their full names."""
        variables = _child(model, "variables")
        behaviour = self._behaviour(model)
        own = [] if variables is None else self._variables(variables, behaviour)
        definitions = [replace(item, name=prefix + item.name) for item in own]
        modules = [] if variables is None else [node for node in variables if _tag(node) == "module"]
        connects: list[tuple[tuple[str, ...], str]] = []
        for module in modules:
            name = _name(module)
            inner = named.get(key(module.get("model") or name))
            if inner is None:
                told = f"module '{prefix}{name}' has no model in this file; what reads its variables cannot be computed"
                self.notes.append(told)
                continue
            if key(name) in above or len(above) > 20:
                raise ReadingError(f"{self.path.name} line {module.sourceline}: module '{name}' holds itself")
            inside = f"{prefix}{name}."
            definitions += self._model(inner, named, inside, (*above, key(name)))
            for connect in module:
                if _tag(connect) in {"connect", "connect2"}:
                    target, source = connect.get("to", "").lstrip("."), connect.get("from", "")
                    full = (
                        target if key(target.partition(".")[0]) == key(name) and "." in target else f"{name}.{target}"
                    )
                    connects.append(((prefix + full, target), source))  # Stella may write it in full, from the top
        known = {key(item.name) for item in definitions}
        connected = {
            key(next((target for target in targets if key(target) in known), targets[0])): source
            for targets, source in connects
        }
        scoped = [self._scoped(item, prefix, known) for item in definitions]
        for place, item in enumerate(scoped):
            source = connected.get(key(item.name))
            if source is not None:
                read = Reference(self._full(source, prefix, known))
                scoped[place] = replace(item, tree=read, kind="equation", fault="")
        return scoped

    def _full(self, name: str, prefix: str, known: set[str]) -> str:
        """The full name that a name within a module stands for."""
        if name.startswith("."):
            return name[1:]
        bare = name.strip().strip('"')
        return prefix + bare if prefix and key(prefix + bare) in known else name

    def _scoped(self, item: Definition, prefix: str, known: set[str]) -> Definition:
        """A definition whose references have full names."""

        def renamed(tree: Tree) -> Tree:
            match tree:
                case Reference():
                    return replace(tree, name=self._full(tree.name, prefix, known))
                case Operator():
                    return replace(tree, operands=tuple(map(renamed, tree.operands)))
                case Application():
                    name = self._full(tree.name, prefix, known)
                    return replace(tree, name=name, arguments=tuple(map(renamed, tree.arguments)))
                case _:
                    return tree

        initial = None if item.initial is None else renamed(item.initial)
        return replace(item, tree=None if item.tree is None else renamed(item.tree), initial=initial)

    def _behaviour(self, model: Any) -> _Behaviour:
        found = _Behaviour()
        for node in (_child(self.root, "behavior"), _child(model, "behavior")):
            if node is None:
                continue
            every = _child(node, "all")
            if any(_child(part, "non_negative") is not None for part in (node, every) if part is not None):
                return _Behaviour(stocks=True, flows=True)
            stock, flow = _child(node, "stock"), _child(node, "flow")
            found = _Behaviour(
                found.stocks or (stock is not None and _child(stock, "non_negative") is not None),
                found.flows or (flow is not None and _child(flow, "non_negative") is not None),
            )
        return found

    def _variables(self, block: Any, behaviour: _Behaviour) -> list[Definition]:
        found: list[Definition] = []
        for node in block:
            if _tag(node) in _KINDS:
                if key(_name(node)) in {"initial_time", "final_time", "time_step", "saveper"}:
                    continue
                found += self._variable(node, behaviour)
            elif _tag(node) == "group":
                found += self._variables(node, behaviour)
        for node in block:
            if any(_child(node, tag) is not None for tag in _FOREIGN):
                found = self._beside(node, found)
        return found

    def _beside(self, node: Any, found: Sequence[Definition]) -> list[Definition]:
        """Definitions with those of the flows of a conveyor, queue or oven: these give what flows out."""
        outflows = [key(part.text or "") for part in node if _tag(part) == "outflow"]
        told = next(what for tag, what in _FOREIGN.items() if _child(node, tag) is not None)
        content = next((item.initial for item in found if item.name == _name(node) and not item.fault), None)
        out: Tree | None = None
        if content is not None:
            time, _ = self._tree(_text(_child(node, "conveyor"), "len"))
            inflow: Tree = Figure(0.0)
            for part in node:
                if _tag(part) == "inflow":
                    read, _ = self._tree(part.text)
                    inflow = Operator("+", (inflow, read)) if read is not None else inflow
            out = None if time is None else Application("conveyor", (), (inflow, time, content))
        fault = "" if out is not None else f"it flows out of '{_name(node)}', {told} are not supported"
        return [
            replace(item, tree=out, fault=fault, kind="equation") if key(item.name) in outflows else item
            for item in found
        ]

    def _variable(self, node: Any, behaviour: _Behaviour) -> Iterator[Definition]:
        """The definitions of one variable: several where its elements have equations of their own."""
        low, high = self._limits(node)
        about = Definition(
            _name(node),
            None,
            units=" ".join(_text(node, "units").split()),
            note=" ".join(_text(node, "doc").split()),
            low=low,
            high=high,
            line=node.sourceline,
        )
        dims = _child(node, "dimensions")
        ranges = () if dims is None else tuple(_name(dim) for dim in dims if _tag(dim) == "dim")
        elements = [part for part in node if _tag(part) == "element"]
        foreign = next((what for tag, what in _FOREIGN.items() if _child(node, tag) is not None), "")
        equations = [part for part in node if _tag(part) == "eqn"]
        if foreign and not _is_pipe(node):
            yield replace(about, subscripts=ranges, fault=f"{foreign} are not supported")
        elif elements:
            wanted = math.prod(self._sizes.get(key(name), 0) for name in ranges)
            if len(elements) < wanted and any((equation.text or "").strip() for equation in equations):
                yield self._one(node, node, replace(about, subscripts=ranges), behaviour)  # of all other elements
            for element in elements:
                subscripts = tuple(" ".join(part.split()) for part in element.get("subscript", "").split(","))
                subscripts = tuple(self._numbered(ranges, place, part) for place, part in enumerate(subscripts))
                yield self._one(node, element, replace(about, subscripts=subscripts), behaviour)
        elif len(equations) > 1 and len(ranges) == 1:
            for place, equation in enumerate(equations):
                name = self._numbered(ranges, 0, str(place + 1))
                yield self._one(node, node, replace(about, subscripts=(name,)), behaviour, equation)
        else:
            yield self._one(node, node, replace(about, subscripts=ranges), behaviour)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """How many elements each dimension has."""
        return {key(found.name): len(found.members) for found in map(self._range, self._dimensions())}

    def _numbered(self, ranges: Sequence[str], place: int, text: str) -> str:
        """The element that a number stands for, where elements have names; `*` stands for all."""
        if text == "*" and place < len(ranges):
            return ranges[place]
        if not text.isdecimal() or place >= len(ranges):
            return text
        for dim in self._dimensions():
            names = [elem.get("name", "") for elem in dim if _tag(elem) == "elem"]
            if key(_name(dim)) == key(ranges[place]) and names and text not in names:
                return names[int(text) - 1] if 0 < int(text) <= len(names) else text
        return text

    def _one(self, node: Any, part: Any, about: Definition, behaviour: _Behaviour, equation: Any = None) -> Definition:
        kind = _tag(node)
        found = _child(part, "gf")
        graph = found if found is not None else _child(node, "gf")
        own = (_child(where, "eqn") for where in (part, node))
        equation = equation if equation is not None else next((found for found in own if found is not None), None)
        if kind == "gf":
            return self._lookup(node, about)
        if graph is not None and (equation is None or not (equation.text or "").strip()):
            return self._lookup(graph, about)
        if equation is None:
            return replace(about, fault="it has no equation")
        tree, fault = self._tree(equation.text)
        if fault:
            return replace(about, fault=fault)
        if kind == "stock":
            flows = part if any(_tag(inner) in {"inflow", "outflow"} for inner in part) else node
            bounded = _child(node, "conveyor") is None and _non_negative(node, behaviour.stocks, part)
            return self._stock(flows, about, tree, bounded)
        if graph is not None and tree is not None:
            lookup = self._lookup(graph, about)
            if lookup.fault or lookup.tree is None:
                return lookup
            tree = Application("with lookup", (), (tree, lookup.tree))
        start = _child(part, "init_eqn")
        if start is not None and (start.text or "").strip() and tree is not None:
            initial, fault = self._tree(start.text)
            if initial is None:
                return replace(about, fault=fault)
            tree = Application("active initial", (), (tree, initial))
        if kind == "flow" and _non_negative(node, behaviour.flows, part) and tree is not None:
            tree = Application("max", (), (tree, Figure(0.0)))
        return replace(about, tree=tree)

    def _stock(self, flows: Any, about: Definition, initial: Tree | None, non_negative: bool) -> Definition:
        """A stock: inflows less outflows, in the order in which they stand in `flows`, the stock or one element."""
        flow: Tree | None = None
        for tag, operator in (("inflow", "+"), ("outflow", "-")):
            for part in flows:
                if _tag(part) != tag:
                    continue
                read, fault = self._tree(part.text)
                if read is None:
                    return replace(about, fault=fault)
                if flow is None:
                    flow = read if operator == "+" else Operator("neg", (read,))
                else:
                    flow = Operator(operator, (flow, read))
        return replace(about, tree=flow or Figure(0.0), initial=initial, kind="stock", non_negative=non_negative)

    def _lookup(self, node: Any, about: Definition) -> Definition:
        """A graphical function: values over a scale or over points of their own."""
        try:
            values = _numbers(node, "ypts")
            points, scale = _numbers(node, "xpts"), _child(node, "xscale")
            if not points and scale is not None:
                low, high = float(scale.get("min")), float(scale.get("max"))
                steps = max(len(values) - 1, 1)
                points = [low + (high - low) * k / steps for k in range(len(values))]
                points[-1:] = [high] if len(values) > 1 else points[-1:]
        except (TypeError, ValueError):
            return replace(about, fault="its graphical function holds what is not a number", kind="lookup")
        if len(points) != len(values) or not values:
            told = f"its graphical function has {len(points)} x and {len(values)} y; give as many of both"
            return replace(about, fault=told, kind="lookup")
        order = sorted(range(len(points)), key=points.__getitem__)
        mode = _MODE.get(node.get("type", "continuous").casefold())
        if mode is None:
            return replace(
                about, fault=f"graphical functions of type '{node.get('type')}' are not known", kind="lookup"
            )
        moved = order != list(range(len(points)))
        tree = Points(tuple(points[k] for k in order), tuple(values[k] for k in order), mode, moved)
        return replace(about, tree=tree, kind="lookup")

    def _limits(self, node: Any) -> tuple[float | None, float | None]:
        part = _child(node, "yscale") if _tag(node) == "gf" else _child(node, "range")
        bounds = []
        for name in ("min", "max"):
            try:
                bounds.append(None if part is None else float(part.get(name)))
            except (TypeError, ValueError):
                bounds.append(None)
        return bounds[0], bounds[1]


def _entity(tree: Any, kind: Any) -> str | None:
    """Name of an entity that a file defines or uses, beyond XML's own, if there is one."""
    for declared in (tree.docinfo.internalDTD, tree.docinfo.externalDTD):
        for entity in () if declared is None else declared.iterentities():
            return str(entity.name)
    return next((str(node.name) for node in tree.iter(kind)), None)


def _is_pipe(node: Any) -> bool:
    """Whether a stock is a conveyor that does no more than hand on what comes in after a time."""
    conveyor = _child(node, "conveyor")
    if conveyor is None or any(_child(node, tag) is not None for tag in ("queue", "oven", "leak", "dimensions")):
        return False
    outflows = [part for part in node if _tag(part) == "outflow"]
    plain = {_tag(part) for part in conveyor} == {"len"} and conveyor.get("discrete", "false") == "false"
    return plain and len(outflows) == 1


def _tag(node: Any) -> str:
    """Name of an element without its namespace; comments have none."""
    tag = node.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _child(node: Any, tag: str) -> Any:
    return next((part for part in node if _tag(part) == tag), None)


def _text(node: Any, tag: str) -> str:
    part = _child(node, tag)
    return "" if part is None else part.text or ""


def _name(node: Any) -> str:
    return " ".join((node.get("name") or "").replace("\\n", " ").split())


def _non_negative(node: Any, everywhere: bool, element: Any = None) -> bool:
    """Whether a variable, or one element of it, may not fall below zero."""
    parts = (None if where is None else _child(where, "non_negative") for where in (element, node))
    part = next((found for found in parts if found is not None), None)
    if part is None:
        return everywhere
    return "false" not in (part.text or "").casefold()


def _numbers(node: Any, tag: str) -> list[float]:
    """Numbers of a graphical function; blanks or semicolons part them where no comma does."""
    part = _child(node, tag)
    if part is None:
        return []
    text: str = part.text or ""
    separator: str = part.get("sep") or ("," if "," in text else ";" if ";" in text else "")
    return [float(one) for one in text.split(separator.strip() or None) if one.strip()]


_KEYWORDS = r"(?:if|then|else|and|or|not|mod)"
_TWO_NAMES = re.compile(rf'(?<![\w.$"])(?!{_KEYWORDS}\b)([^\W\d][\w$\']*)\s+(?!{_KEYWORDS}\b)(?=[\w$])', re.IGNORECASE)


def _vensim_words(text: str) -> str:
    """An equation as Vensim's export leaves it, made XMILE's: names without quotes, words between colons."""
    text = re.sub(r"\bif\s+then\s+else\s*\(", "if_then_else(", text, flags=re.IGNORECASE)
    text = re.sub(r":\s*(and|or|not)\s*:", r" \1 ", text, flags=re.IGNORECASE)
    parts = re.split(r'("[^"]*")', text)
    while parts != (joined := [part if part[:1] == '"' else _TWO_NAMES.sub(r"\1_", part) for part in parts]):
        parts = joined
    return "".join(parts)


def _without_comments(text: str) -> str:
    """Text without comments in braces."""
    kept, deep = [], 0
    for letter in text:
        deep += letter == "{"
        if not deep:
            kept.append(letter)
        deep -= letter == "}" and deep > 0
    return "".join(kept)
