"""Right-hand sides read by PySD's parser: its grammars, and a visitor of ours that makes trees of what they find.

PySD's own visitor loses what a model means in places: `(-2)^2` and `-2^2` end as the same tree, `a :AND: b :OR: c` is
grouped from the right, figures lose that they were written as real numbers. Hence the parse is PySD's and the tree is
ours. Where the grammar stops, or takes for an expression what none is, there is no tree and `grammar.parse` decides.
"""

import math
import warnings
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from sd_cluster.grammar import (
    MISSING,
    STRETCH,
    Application,
    Dialect,
    Figure,
    GrammarError,
    Numbers,
    Operator,
    Points,
    Quoted,
    Reference,
    Tree,
    parse,
    parse_lookup,
)

if TYPE_CHECKING:
    from parsimonious.nodes import Node

LONGEST = 20_000
"""Letters of a right-hand side beyond which the parse is left to our own grammar, a hundred times as quick."""


class _DoubtError(Exception):
    """Something that PySD's grammar lets pass and a modeller cannot mean."""


def read(text: str, dialect: Dialect = "vensim") -> Tree:
    """The tree of a right-hand side: by PySD's grammar, and by ours where that one stops.

    Raises
    ------
    GrammarError
        If the text is not an expression; the message shows where reading stopped.

    Examples
    --------
    >>> read("a + 2")
    Operator(operator='+', operands=(Reference(name='a', subscripts=()), Figure(value=2.0)))
    """
    found = by_pysd(text, "components" if dialect == "vensim" else "equations")
    return parse(text, dialect) if found is None else found


def read_lookup(text: str) -> Tree:
    """The points of a lookup of Vensim from what stands in its brackets, as `grammar.parse_lookup`."""
    found = by_pysd(f"({text})", "lookups")
    return parse_lookup(text) if found is None else found


@lru_cache(maxsize=4096)
def by_pysd(text: str, rules: str) -> Tree | None:
    """The tree of a text by one of PySD's grammars; nothing where it stops or cannot be trusted."""
    from parsimonious.exceptions import ParseError

    if len(text) > LONGEST:
        return None
    try:
        return _tree(_grammar(rules).parse(text.strip()))
    except (ParseError, RecursionError, GrammarError, _DoubtError):
        return None


@cache
def _grammar(rules: str) -> Any:
    """One of PySD's grammars; the warnings of what it imports are of no use to a modeller."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if rules == "equations":
            from pysd.translators.xmile import xmile_structures as structures
            from pysd.translators.xmile import xmile_utils as utils
        else:
            from pysd.translators.vensim import vensim_structures as structures
            from pysd.translators.vensim import vensim_utils as utils
        return utils.Grammar.get(rules, structures.parsing_ops)


def _tree(node: "Node") -> Tree:
    """The tree of a node of PySD's parse."""
    parts = node.children
    match node.expr_name:
        case "final_expr" | "logic2_expr" if len(parts) == 2:
            return _logic(*_chain(node))
        case "logic_expr":
            inner = _tree(parts[2])
            if not parts[0].text:
                return inner
            _check_word(parts[0].text, node.text[len(parts[0].text) :])
            return Operator("not", (inner,))
        case "comp_expr" | "add_expr" | "prod_expr":
            return _from_left(*_chain(node))
        case "mod_expr":
            return _modulo(node)
        case "exp_expr":
            return _power(node)
        case "parens":
            return _tree(parts[2])
        case "conditional_statement":
            return Application("if then else", (), tuple(_tree(parts[place]) for place in (2, 6, 10)))
        case "call":
            function = _reference(parts[0])
            return Application(function.name, function.subscripts, _arguments(parts[4]))
        case "reference":
            return _reference(node)
        case "number" | "raw_number":
            return Figure(_number(node.text))
        case "nan":
            return Figure(MISSING)
        case "string":
            return Quoted(node.text[1:-1])
        case "lookup_with_def":
            return Application(parts[0].text, (), (_tree(parts[4]), _points(parts[11])))
        case "lookup":
            return _tree(parts[3])
        case "regularLookup":
            return _points(parts[2])
        case "excelLookup":
            return Application(" ".join(parts[0].text.split()), (), tuple(_strings(node)))
        case "tabbed_array_call":
            return Numbers((tuple(map(_number, parts[4].text.split())),))
        case "array":
            return _array(node.text)
    if len(parts) == 1:
        return _tree(parts[0])
    raise _DoubtError


def _chain(node: "Node") -> tuple[list[Tree], list[str]]:
    """Operands and operators of a rule `a (_ operator _ a)*`."""
    first, rest = node.children
    if len(rest.children) >= STRETCH:
        raise _DoubtError
    for link in rest.children:
        _check_word(link.children[1].text, link.children[2].text + link.children[3].text)
    operators = [link.children[1].text.strip(":").casefold() for link in rest.children]
    return [_tree(first), *(_tree(link.children[3]) for link in rest.children)], operators


def _check_word(word: str, after: str) -> None:
    """An operator that is a word must not be the beginning of a name: `notional` is not `NOT ional`."""
    if word[-1].isalpha() and (after[0].isalnum() or after[0] == "_"):
        raise _DoubtError


def _from_left(operands: Sequence[Tree], operators: Sequence[str]) -> Tree:
    tree = operands[0]
    for operator, operand in zip(operators, operands[1:], strict=True):
        tree = Operator(operator, (tree, operand))
    return tree


def _logic(operands: Sequence[Tree], operators: Sequence[str]) -> Tree:
    """Chains of `and` first, then of `or`."""
    groups: list[list[Tree]] = [[operands[0]]]
    for operator, operand in zip(operators, operands[1:], strict=True):
        if operator == "and":
            groups[-1].append(operand)
        else:
            groups.append([operand])
    joined = [_from_left(group, ["and"] * (len(group) - 1)) for group in groups]
    return _from_left(joined, ["or"] * (len(joined) - 1))


def _modulo(node: "Node") -> Tree:
    """XMILE's `a mod b`; PySD takes `a mod b * c` for `a mod (b * c)`, where the standard goes from the left."""
    first, rest = node.children
    if not rest.text:
        return _tree(first)
    link = rest.children[0]
    second = _tree(link.children[3])
    if isinstance(second, Operator) and second.operator in {"*", "/"}:
        raise _DoubtError
    _check_word("mod", link.text.lstrip()[3:])
    return Application("mod", (), (_tree(first), second))


def _power(node: "Node") -> Tree:
    """Powers go from the right and bind tighter than a sign before them."""
    first, rest = node.children
    signed = [first, *(link.children[3] for link in rest.children)]
    tree: Tree | None = None
    for one in reversed(signed):
        own = _tree(one.children[2])
        tree = own if tree is None else Operator("^", (own, tree))
        if one.children[0].text == "-":
            tree = Figure(-tree.value) if isinstance(tree, Figure) else Operator("neg", (tree,))
    assert tree is not None
    return tree


def _reference(node: "Node") -> Reference:
    chosen = node.children[0]
    if chosen.expr_name == "name":
        return Reference(_name(chosen))
    name, _, subscripts = chosen.children
    return Reference(_name(name), tuple(_listed(subscripts.children[2])))


def _name(node: "Node") -> str:
    text = node.text.strip()
    if text[0].isdigit():
        raise _DoubtError
    return text


def _listed(node: "Node") -> list[str]:
    """Subscripts, those to be summed over with their `!`."""
    _check_commas([item.children[4].text for item in node.children])
    return [_name(item.children[0]) + item.children[2].text for item in node.children]


def _arguments(node: "Node") -> tuple[Tree, ...]:
    _check_commas([item.children[2].text for item in node.children])
    return tuple(_tree(item.children[0]) for item in node.children)


def _check_commas(commas: Sequence[str]) -> None:
    """A comma behind all but the last; PySD's grammar lets it be left out."""
    if commas and (commas[-1] or not all(commas[:-1])):
        raise _DoubtError


def _strings(node: "Node") -> list[Quoted]:
    if node.expr_name == "string":
        return [Quoted(node.text[1:-1])]
    return [found for part in node.children for found in _strings(part)]


def _numbers(node: "Node") -> list[float]:
    if node.expr_name in {"number", "raw_number"}:
        return [_number(node.text)]
    return [found for part in node.children for found in _numbers(part)]


def _number(text: str) -> float:
    sign, size = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    try:
        value = sign * float(size)
    except ValueError:  # figures with nothing between them
        raise _DoubtError from None
    if not math.isfinite(value):
        raise _DoubtError
    return value


def _points(node: "Node") -> Points:
    numbers = _numbers(node)
    pairs = sorted(zip(numbers[::2], numbers[1::2], strict=True), key=lambda pair: pair[0])
    x = tuple(place for place, _ in pairs)
    return Points(x, tuple(value for _, value in pairs), moved=x != tuple(numbers[::2]))


def _array(text: str) -> Tree:
    """A number, or constants of an array: `1, 2; 3, 4;`."""
    rows = [row.split(",") for row in text.strip().removesuffix(";").split(";")]
    found = tuple(tuple(_number(figure.strip()) for figure in row) for row in rows)
    if found == ((found[0][0],),) and ";" not in text:
        return Figure(found[0][0])
    return Numbers(found)
