"""Functions of data over time: values between, at and beside their times, shifted series, and the time itself."""

from collections.abc import Callable

from sd_cluster.delays import Trees, plus
from sd_cluster.errors import UnsupportedError
from sd_cluster.expressions import TIME, Call, Expression, Lookup, Name, Number, Operation
from sd_cluster.grammar import Application, Reference, Tree
from sd_cluster.lowering import Section
from sd_cluster.model import key

_DATA = {"get_xls_data", "get_direct_data"}


def _series(section: Section, tree: Tree, at: Expression, how: str) -> Lookup:
    """A series of data read at a time; other variables have none."""
    folded = key(tree.name) if isinstance(tree, Reference) else ""
    items = section.trees.get(folded, ())
    external = any(isinstance(item.tree, Application) and key(item.tree.name) in _DATA for item in items)
    if not isinstance(tree, Reference) or not (external or any(item.tree is None for item in items)):
        raise UnsupportedError("a function of data takes a variable whose values come from a file")
    indices = (*section.over, *section.indices(folded, tree.subscripts))
    return Lookup(f"{section.names[folded]} #data", at, how=how, indices=indices)


def between_times(section: Section, trees: Trees) -> Expression:
    """GET DATA BETWEEN TIMES: by straight lines (0), the later value (1) or the earlier one (-1)."""
    trees = section.counted("get data between times", trees, (3,))
    at, mode = section.auxiliary("time of data", section.lower(trees[1])), section.constant(trees[2])
    ways = [_series(section, trees[0], at, how) for how in ("step within", "within", "ahead within")]
    if mode is not None:
        return ways[1 + (mode >= 1.0) - (mode <= -1.0)]
    chosen = section.auxiliary("mode", section.lower(trees[2]))
    later = Call("if_then_else", (Operation(">=", (chosen, Number(1.0))), ways[2], ways[1]))
    return Call("if_then_else", (Operation("<=", (chosen, Number(-1.0))), ways[0], later))


def at_time(section: Section, trees: Trees) -> Expression:
    """GET DATA AT TIME: the value of a point that lies there, else missing."""
    trees = section.counted("get data at time", trees, (2,))
    return _series(section, trees[0], section.lower(trees[1]), "exactly")


def shifted(section: Section, trees: Trees) -> Expression:
    """TIME SHIFT: data so much earlier than they are."""
    trees = section.counted("time shift", trees, (2,))
    return _series(section, trees[0], plus(Name(TIME), section.lower(trees[1])), "")


def about(name: str, how: str) -> Callable[[Section, Trees], Expression]:
    """GET DATA FIRST TIME, LAST TIME and TOTAL POINTS: what does not depend on the moment."""

    def lowered(section: Section, trees: Trees) -> Expression:
        (tree,) = section.counted(name, trees, (1,))
        return _series(section, tree, Number(0.0), how)

    return lowered


def time_value(section: Section, trees: Trees) -> Expression:
    """GET TIME VALUE: this moment or the start, moved on, in the model's own units of time."""
    trees = section.counted("get time value", trees, (3,))
    relative, measure = section.constant(trees[0]), section.constant(trees[2])
    if relative not in {0.0, 1.0}:
        raise UnsupportedError("GET TIME VALUE of the computer's clock makes runs that cannot be repeated")
    if measure != 0.0:
        raise UnsupportedError("GET TIME VALUE in calendar years, months or days is not supported; take measure 0")
    return plus(Name(TIME if relative == 0.0 else "INITIAL TIME"), section.lower(trees[1]))
