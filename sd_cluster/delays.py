"""Delays and smooths of every kind, made of stocks and of pipes."""

from collections.abc import Callable
from typing import TypeAlias

from sd_cluster.errors import UnsupportedError
from sd_cluster.expressions import Call, Expression, Name, Number, Operation
from sd_cluster.grammar import Figure, Numbers, Reference, Tree
from sd_cluster.lowering import Section
from sd_cluster.model import Auxiliary, Held, Stock, key

Trees: TypeAlias = tuple[Tree, ...]


def times(*parts: Expression) -> Expression:
    """A product, from the left."""
    whole = parts[0]
    for part in parts[1:]:
        whole = Operation("*", (whole, part))
    return whole


def over(above: Expression, below: Expression) -> Expression:
    """A ratio."""
    return Operation("/", (above, below))


def plus(first: Expression, second: Expression) -> Expression:
    """A sum of two."""
    return Operation("+", (first, second))


def minus(first: Expression, second: Expression) -> Expression:
    """A difference."""
    return Operation("-", (first, second))


def _smooth(section: Section, order: int, target: Expression, time: Expression, initial: Expression) -> Expression:
    """Exponential smooth: a chain of `order` stocks, each nearing the one before it."""
    stage_time = _stage_time(section, time, order)
    for stage in range(1, order + 1):
        name = section.hidden_name(f"smooth stage {stage}")
        rate = over(minus(target, section.inner(name)), stage_time)
        target = section.define(Stock(name=name, hidden=True, rate=rate, initial=initial))
    return target


def _delay(section: Section, order: int, inflow: Expression, time: Expression, initial: Expression) -> Expression:
    """Material delay: what flows in leaves through `order` stocks, each with its share of the delay time."""
    stage_time = _stage_time(section, time, order)
    for stage in range(1, order + 1):
        name = section.hidden_name(f"delay stage {stage}")
        outflow = over(section.inner(name), stage_time)
        rate, start = minus(inflow, outflow), times(initial, stage_time)
        section.define(Stock(name=name, hidden=True, rate=rate, initial=start))
        out = section.hidden_name(f"delay outflow {stage}")
        inflow = section.define(Auxiliary(name=out, hidden=True, expression=outflow))
    return inflow


def _stage_time(section: Section, whole: Expression, order: int) -> Expression:
    if order == 1:
        return section.auxiliary("stage time", whole)
    return section.auxiliary("stage time", over(whole, Number(float(order))))


def _order(section: Section, tree: Tree) -> int:
    order = section.constant(tree)
    if order is None:
        raise UnsupportedError("the order of a delay varies; it should be a number or a constant")
    if order < 1 or order > 1000:
        section.fail(f"the order of a delay is {order:g}; it should be a whole number of at least 1")
    return int(order)


def _reduced(section: Section, order: int, time: Tree) -> int:
    """The order that fits the model's own step: Vensim takes as many stages as there are steps in the delay time."""
    delay, step = section.constant(time), section.lowering.main.constant(Reference("TIME STEP"))
    if delay is None or step is None or not step > 0.0 or order * step <= delay:
        return order
    fitting = max(int(delay / step + 1e-9), 1)
    if fitting < order:
        section.lowering.notes.append(
            f"'{section.owner.split(' #')[0]}': a delay of order {order} does not fit into {delay:g} with steps of"
            f" {step:g}; it has order {fitting}, as in Vensim"
        )
    return min(order, fitting)


def chained(kind: str, order: int) -> Callable[[Section, Trees], Expression]:
    """SMOOTH, SMOOTH3, DELAY1, DELAY3, with or without an initial value."""

    def lowered(section: Section, trees: Trees) -> Expression:
        name = f"{kind}{order if order > 1 or kind == 'delay' else ''}"
        trees = section.counted(name, trees, (2, 3))
        stages = order if kind == "smooth" else _reduced(section, order, trees[1])
        inflow, time = section.lower(trees[0]), section.lower(trees[1])
        initial = section.lower(trees[2]) if len(trees) == 3 else inflow
        return (_smooth if kind == "smooth" else _delay)(section, stages, inflow, time, initial)

    return lowered


def of_order(kind: str) -> Callable[[Section, Trees], Expression]:
    """Vensim's SMOOTH N and DELAY N: input, time, initial value, order."""

    def lowered(section: Section, trees: Trees) -> Expression:
        trees = section.counted(f"{kind} n", trees, (4,))
        return _nth(section, kind, trees[0], trees[1], trees[2], trees[3])

    return lowered


def xmile_order(kind: str) -> Callable[[Section, Trees], Expression]:
    """XMILE's SMTHN and DELAYN: input, time, order and perhaps an initial value."""

    def lowered(section: Section, trees: Trees) -> Expression:
        trees = section.counted("smthn" if kind == "smooth" else "delayn", trees, (3, 4))
        return _nth(section, kind, trees[0], trees[1], trees[3] if len(trees) == 4 else trees[0], trees[2])

    return lowered


def _values(section: Section, tree: Tree) -> set[float]:
    """All values of an array of constants; none where it is something else."""
    if not isinstance(tree, Reference) or not tree.subscripts:
        return set()
    found: set[float] = set()
    for item in section.trees.get(key(tree.name), ()):
        match item.tree:
            case Figure(value=value):
                found.add(value)
            case Numbers(rows=rows):
                found.update(value for row in rows for value in row)
            case _:
                return set()
    return found


def _of_many_orders(
    section: Section, kind: str, orders: set[float], first: Tree, time: Tree, initial: Tree, order: Tree
) -> Expression:
    """A chain of as many stages as the largest order has; each element leaves it behind the stage of its own order."""
    if kind == "delay" and section.constant(time) is None and not _values(section, time):
        raise UnsupportedError("a delay whose order differs between elements needs a delay time that is constant")
    if not all(order == int(order) and 1 <= order <= 1000 for order in orders):
        section.fail("the orders of a delay should be whole numbers of at least 1")
    own = section.auxiliary("order", section.lower(order))
    stage_time = section.auxiliary("stage time", over(section.lower(time), own))
    inflow, start = section.lower(first), section.lower(initial)
    out: list[Expression] = []
    for stage in range(1, int(max(orders)) + 1):
        name = section.hidden_name(f"{kind} stage {stage}")
        outflow: Expression = section.inner(name)
        rate, begin = over(minus(inflow, section.inner(name)), stage_time), start
        if kind == "delay":
            outflow = over(section.inner(name), stage_time)
            rate, begin = minus(inflow, outflow), times(start, stage_time)
        section.define(Stock(name=name, hidden=True, rate=rate, initial=begin))
        inflow = section.auxiliary("stage outflow", outflow)
        out.append(inflow)
    chosen = out[-1]
    for fewer in sorted(orders - {max(orders)}, reverse=True):
        chosen = Call("if_then_else", (Operation("=", (own, Number(fewer))), out[int(fewer) - 1], chosen))
    return chosen


def _nth(section: Section, kind: str, first: Tree, time: Tree, initial: Tree, order: Tree) -> Expression:
    if section.constant(order) is None and (orders := _values(section, order)):
        return _of_many_orders(section, kind, orders, first, time, initial, order)
    stages = _order(section, order)
    inflow, start, whole = section.lower(first), section.lower(initial), section.lower(time)
    if kind == "smooth":
        return _smooth(section, stages, inflow, whole, start)
    stages = _reduced(section, stages, time)
    if section.constant(time) is not None:
        return _delay(section, stages, inflow, whole, start)
    return _remembering_delay(section, stages, inflow, whole, start)


def _remembering_delay(
    section: Section, order: int, inflow: Expression, time: Expression, initial: Expression
) -> Expression:
    """DELAY N with a delay time that varies: what is under way keeps the delay time with which it came in.

    Each step hands the delay times on from stage to stage, so that a change reaches them one after the other.
    """
    whole = section.auxiliary("delay time", time)
    seen: list[Expression] = [whole]
    for stage in range(1, order + 1):
        name = section.hidden_name(f"delay time {stage} before")
        seen.append(section.define(Held(name=name, hidden=True, following=seen[-1], initial=whole)))
    stages = Number(float(order))
    contents: list[Name] = []
    for stage in range(order):
        name = section.hidden_name(f"delay stage {stage + 1}")
        rate = times(minus(inflow, over(section.inner(name), seen[stage])), stages)
        # the input of the first stage is a flow, that of the others what left the stage before, seen per stage
        section.define(Stock(name=name, hidden=True, rate=rate, initial=times(initial, whole)))
        contents.append(section.inner(name))
        inflow = over(contents[-1], seen[stage])
    return section.auxiliary("delay outflow", over(contents[-1], seen[1]))


def fixed(section: Section, trees: Trees) -> Expression:
    """DELAY FIXED: what went in comes out after a fixed time."""
    inflow, delay, initial = section.arguments("delay fixed", trees, (3,))
    return pipe(section, "fixed", inflow, delay, initial)


def xmile_delay(section: Section, trees: Trees) -> Expression:
    """XMILE's DELAY, with or without an initial value."""
    trees = section.counted("delay", trees, (2, 3))
    inflow, delay = section.lower(trees[0]), section.lower(trees[1])
    return pipe(section, "fixed", inflow, delay, section.lower(trees[2]) if len(trees) == 3 else inflow)


def pipe(
    section: Section,
    mode: str,
    inflow: Expression,
    delay: Expression,
    initial: Expression,
    missing: Expression | None = None,
) -> Name:
    """A pipe of some mode, from which comes what its delay says; before that its initial value."""
    name = section.hidden_name(f"pipe {mode}")
    held = Held(name=name, hidden=True, following=inflow, initial=initial, mode=mode, delay=delay, missing=missing)
    return section.define(held)


def material(section: Section, trees: Trees) -> Expression:
    """DELAY MATERIAL: what goes in comes out after the delay time of that moment."""
    inflow, delay, initial, missing = section.arguments("delay material", trees, (4,))
    return pipe(section, "material", inflow, delay, initial, missing)


def information(section: Section, trees: Trees) -> Expression:
    """DELAY INFORMATION: what went in comes out after the delay time of that moment, unless later news came first."""
    inflow, delay, initial = section.arguments("delay information", trees, (3,))
    return pipe(section, "information", inflow, delay, initial)


def straightline(section: Section, trees: Trees) -> Expression:
    """DEPRECIATE STRAIGHTLINE: the stream of each step leaves in equal shares over a time, the first at once."""
    stream, time, _, _ = section.arguments("depreciate straightline", trees, (4,))
    stream, time = section.auxiliary("stream", stream), section.auxiliary("time", time)
    now = over(times(stream, Name("TIME STEP")), time)
    return plus(pipe(section, "line", stream, time, Number(0.0)), now)
