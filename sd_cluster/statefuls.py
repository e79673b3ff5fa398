"""Functions that are more than their arguments: delays, smooths, pipes, random numbers, lookups, sums over ranges.

Each is made of stocks, held values and built-in functions of the one equation language.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from sd_cluster.errors import UnsupportedError
from sd_cluster.expressions import FUNCTIONS, Call, Expression, Lookup, Name, Number, Operation, replace_names
from sd_cluster.grammar import Dialect, Points, Reference, Tree
from sd_cluster.lowering import SEED, Functions, Section
from sd_cluster.model import Auxiliary, Frozen, Held, Stock, key

Trees: TypeAlias = tuple[Tree, ...]

_VENSIM = {
    "smoothi": "smooth",
    "smooth3i": "smooth3",
    "delay1i": "delay1",
    "delay3i": "delay3",
    "int": "integer",
    "vector_sort_order": "sorted_order",
    "vector_rank": "ranked",
    "vector_reorder": "reorder",
    "invert_matrix": "inverted",
    "random_0_1": "random_uniform",
    "lookup_backward": "lookup_step",
    "lookup_forward": "lookup_ahead",
    "lookup_extrapolate": "lookup_beyond",
}
_XMILE = {
    **_VENSIM,
    "delay": "xmile_delay",
    "delayn": "xmile_delay_n",
    "smth1": "smooth",
    "smth3": "smooth3",
    "smthn": "xmile_smooth_n",
    "forcst": "forecast",
    "safediv": "xmile_safediv",
    "pulse": "xmile_pulse_of",
    "init": "initial",
    "max": "xmile_max",
    "min": "xmile_min",
    "size": "elmcount",
    "random": "xmile_random",
    "uniform": "xmile_random",
    "normal": "xmile_normal",
    "lookup": "lookup_own",
    "lookupinv": "lookup_invert",
    "gammaln": "gamma_ln",
    "trend": "trend",
}


def canonical(folded: str, dialect: Dialect) -> str:
    """One name for a function that the dialects and their versions call differently."""
    return (_XMILE if dialect == "xmile" else _VENSIM).get(folded, folded)


def _times(*parts: Expression) -> Expression:
    whole = parts[0]
    for part in parts[1:]:
        whole = Operation("*", (whole, part))
    return whole


def _over(above: Expression, below: Expression) -> Expression:
    return Operation("/", (above, below))


def _plus(first: Expression, second: Expression) -> Expression:
    return Operation("+", (first, second))


def _minus(first: Expression, second: Expression) -> Expression:
    return Operation("-", (first, second))


def _smooth(section: Section, order: int, target: Expression, time: Expression, initial: Expression) -> Expression:
    """Exponential smooth: a chain of `order` stocks, each nearing the one before it."""
    stage_time = _stage_time(section, time, order)
    for stage in range(1, order + 1):
        name = section.hidden_name(f"smooth stage {stage}")
        rate = _over(_minus(target, section.inner(name)), stage_time)
        target = section.define(Stock(name=name, hidden=True, rate=rate, initial=initial))
    return target


def _delay(section: Section, order: int, inflow: Expression, time: Expression, initial: Expression) -> Expression:
    """Material delay: what flows in leaves through `order` stocks, each with its share of the delay time."""
    stage_time = _stage_time(section, time, order)
    for stage in range(1, order + 1):
        name = section.hidden_name(f"delay stage {stage}")
        outflow = _over(section.inner(name), stage_time)
        rate, start = _minus(inflow, outflow), _times(initial, stage_time)
        section.define(Stock(name=name, hidden=True, rate=rate, initial=start))
        out = section.hidden_name(f"delay outflow {stage}")
        inflow = section.define(Auxiliary(name=out, hidden=True, expression=outflow))
    return inflow


def _stage_time(section: Section, whole: Expression, order: int) -> Expression:
    if order == 1:
        return section.auxiliary("stage time", whole)
    return section.auxiliary("stage time", _over(whole, Number(float(order))))


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


def _chained(kind: str, order: int) -> Callable[[Section, Trees], Expression]:
    """SMOOTH, SMOOTH3, DELAY1, DELAY3, with or without an initial value."""

    def lowered(section: Section, trees: Trees) -> Expression:
        name = f"{kind}{order if order > 1 or kind == 'delay' else ''}"
        trees = section.counted(name, trees, (2, 3))
        stages = order if kind == "smooth" else _reduced(section, order, trees[1])
        inflow, time = section.lower(trees[0]), section.lower(trees[1])
        initial = section.lower(trees[2]) if len(trees) == 3 else inflow
        return (_smooth if kind == "smooth" else _delay)(section, stages, inflow, time, initial)

    return lowered


def _of_order(kind: str) -> Callable[[Section, Trees], Expression]:
    """Vensim's SMOOTH N and DELAY N: input, time, initial value, order."""

    def lowered(section: Section, trees: Trees) -> Expression:
        trees = section.counted(f"{kind} n", trees, (4,))
        return _nth(section, kind, trees[0], trees[1], trees[2], trees[3])

    return lowered


def _xmile_order(kind: str) -> Callable[[Section, Trees], Expression]:
    """XMILE's SMTHN and DELAYN: input, time, order and perhaps an initial value."""

    def lowered(section: Section, trees: Trees) -> Expression:
        trees = section.counted("smthn" if kind == "smooth" else "delayn", trees, (3, 4))
        return _nth(section, kind, trees[0], trees[1], trees[3] if len(trees) == 4 else trees[0], trees[2])

    return lowered


def _nth(section: Section, kind: str, first: Tree, time: Tree, initial: Tree, order: Tree) -> Expression:
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
    times: list[Expression] = [whole]
    for stage in range(1, order + 1):
        name = section.hidden_name(f"delay time {stage} before")
        times.append(section.define(Held(name=name, hidden=True, following=times[-1], initial=whole)))
    stages = Number(float(order))
    contents: list[Name] = []
    for stage in range(order):
        name = section.hidden_name(f"delay stage {stage + 1}")
        rate = _times(_minus(inflow, _over(section.inner(name), times[stage])), stages)
        # the input of the first stage is a flow, that of the others what left the stage before, seen per stage
        section.define(Stock(name=name, hidden=True, rate=rate, initial=_times(initial, whole)))
        contents.append(section.inner(name))
        inflow = _over(contents[-1], times[stage])
    return section.auxiliary("delay outflow", _over(contents[-1], times[1]))


def _fixed(section: Section, trees: Trees) -> Expression:
    inflow, delay, initial = section.arguments("delay fixed", trees, (3,))
    return _pipe(section, "fixed", inflow, delay, initial)


def _xmile_delay(section: Section, trees: Trees) -> Expression:
    trees = section.counted("delay", trees, (2, 3))
    inflow, delay = section.lower(trees[0]), section.lower(trees[1])
    return _pipe(section, "fixed", inflow, delay, section.lower(trees[2]) if len(trees) == 3 else inflow)


def _pipe(
    section: Section,
    mode: str,
    inflow: Expression,
    delay: Expression,
    initial: Expression,
    missing: Expression | None = None,
) -> Name:
    name = section.hidden_name(f"pipe {mode}")
    held = Held(name=name, hidden=True, following=inflow, initial=initial, mode=mode, delay=delay, missing=missing)
    return section.define(held)


def _material(section: Section, trees: Trees) -> Expression:
    inflow, delay, initial, missing = section.arguments("delay material", trees, (4,))
    return _pipe(section, "material", inflow, delay, initial, missing)


def _straightline(section: Section, trees: Trees) -> Expression:
    """DEPRECIATE STRAIGHTLINE: the stream of each step leaves in equal shares over a time, the first at once."""
    stream, time, _, _ = section.arguments("depreciate straightline", trees, (4,))
    stream, time = section.auxiliary("stream", stream), section.auxiliary("time", time)
    now = _over(_times(stream, Name("TIME STEP")), time)
    return _plus(_pipe(section, "line", stream, time, Number(0.0)), now)


def _sampled(section: Section, trees: Trees) -> Expression:
    """SAMPLE IF TRUE: the input where the condition holds, else what it was; it may read itself in its condition."""
    condition, value, initial = section.arguments("sample if true", trees, (3,))
    held = section.hidden_name("sample")
    own = section.inner(held)

    def before(name: Name) -> Expression:
        return own if name.name == section.owner else name

    condition, value = replace_names(condition, before), replace_names(value, before)
    taken = section.hidden_name("sampled")
    section.define(Held(name=held, hidden=True, following=section.inner(taken), initial=initial))
    chosen = Call("if_then_else", (condition, value, own))
    return section.define(Auxiliary(name=taken, hidden=True, expression=chosen, initial=initial))


def _previous(section: Section, trees: Trees) -> Expression:
    """XMILE's PREVIOUS: a value one step ago."""
    trees = section.counted("previous", trees, (1, 2))
    value = section.lower(trees[0])
    initial = section.lower(trees[1]) if len(trees) == 2 else Number(0.0)
    return section.define(Held(name=section.hidden_name("previous"), hidden=True, following=value, initial=initial))


def _averaged(section: Section, value: Expression, time: Expression, initial: Expression) -> Name:
    name = section.hidden_name("average")
    rate = _over(_minus(value, section.inner(name)), time)
    return section.define(Stock(name=name, hidden=True, rate=rate, initial=initial))


def _trend(section: Section, trees: Trees) -> Expression:
    """TREND: fractional rate of change against a smoothed past."""
    trees = section.counted("trend", trees, (2, 3))
    value, time = section.auxiliary("input", section.lower(trees[0])), section.lower(trees[1])
    trend = section.lower(trees[2]) if len(trees) == 3 else Number(0.0)
    average = _averaged(section, value, time, _over(value, _plus(Number(1.0), _times(trend, time))))
    return Call("zidz", (_minus(value, average), _times(time, Call("abs", (average,)))))


def _forecast(section: Section, trees: Trees) -> Expression:
    """FORECAST: the trend against a smoothed past, drawn on."""
    trees = section.counted("forecast", trees, (3, 4))
    value, time = section.auxiliary("input", section.lower(trees[0])), section.lower(trees[1])
    ahead = section.lower(trees[2])
    trend = section.lower(trees[3]) if len(trees) == 4 else Number(0.0)
    average = _averaged(section, value, time, _over(value, _plus(Number(1.0), trend)))
    change = Call("zidz", (_minus(value, average), _times(time, average)))
    return _times(value, _plus(Number(1.0), _times(change, ahead)))


def _npv(section: Section, trees: Trees) -> Expression:
    """NPV: a stream's value so far, discounted to the start."""
    stream, rate, initial, factor = section.arguments("npv", trees, (4,))
    step, name = Name("TIME STEP"), section.hidden_name("discount")
    stream, rate = section.auxiliary("stream", stream), section.auxiliary("rate", rate)
    falling = _over(Operation("neg", (_times(section.inner(name), rate),)), _plus(Number(1.0), _times(rate, step)))
    discount = section.define(Stock(name=name, hidden=True, rate=falling, initial=Number(1.0)))
    total = section.hidden_name("discounted sum")
    so_far = section.define(Stock(name=total, hidden=True, rate=_times(stream, discount), initial=initial))
    return _times(_plus(so_far, _times(stream, step, discount)), factor)


def _noise(section: Section) -> Expression:
    section.lowering.draws += 1
    seed = section.lowering.main.names.get("noise_seed", SEED)
    return Call("noise", (Name(seed), Number(float(section.lowering.draws)), Number(0.0)))


def _uniform(section: Section, trees: Trees) -> Expression:
    trees = section.counted("random uniform", trees, (0, 2, 3))
    if not trees:
        return _noise(section)
    low, high = section.lower(trees[0]), section.lower(trees[1])
    return _plus(low, _times(_minus(high, low), _noise(section)))


def _normal(section: Section, trees: Trees) -> Expression:
    low, high, mean, deviation, *_ = section.arguments("random normal", trees, (4, 5))
    share = Call("normal_share", (low, high, mean, deviation, _noise(section)))
    return _plus(mean, _times(deviation, Call("normal", (share,))))


def _xmile_normal(section: Section, trees: Trees) -> Expression:
    mean, deviation, *_ = section.arguments("normal", trees, (2, 3))
    return _plus(mean, _times(deviation, Call("normal", (_noise(section),))))


def _exponential(section: Section, trees: Trees) -> Expression:
    low, high, shift, stretch, *_ = section.arguments("random exponential", trees, (4, 5))
    return Call("exponential_between", (_noise(section), low, high, shift, stretch))


def _with_lookup(section: Section, trees: Trees) -> Expression:
    trees = section.counted("with lookup", trees, (2,))
    if not isinstance(trees[1], Points):
        section.fail("with lookup takes an input and the points of a lookup")
    argument = section.lower(trees[0])
    table = section.table(trees[1], {"name": section.hidden_name("lookup"), "hidden": True})
    section.lowering.add(section.piece(table))
    return Lookup(table.name, argument, indices=section.inner("").indices)


def _looked_up(how: str) -> Callable[[Section, Trees], Expression]:
    """Reads a lookup in another way than its own."""

    def lowered(section: Section, trees: Trees) -> Expression:
        trees = section.counted(f"lookup {how}", trees, (2,))
        name, indices = section.read_table(trees[0])
        return Lookup(name, section.lower(trees[1]), how=how, indices=indices)

    return lowered


def _initial(section: Section, trees: Trees) -> Expression:
    (value,) = section.arguments("initial", trees, (1,))
    return section.define(Frozen(name=section.hidden_name("initial"), hidden=True, expression=value))


def _active_initial(section: Section, trees: Trees) -> Expression:
    run, start = section.arguments("active initial", trees, (2,))
    name = section.hidden_name("active initial")
    return section.define(Auxiliary(name=name, hidden=True, expression=run, initial=start))


def _integ(section: Section, trees: Trees) -> Expression:
    section.fail("INTEG stands inside an expression; give the stock a variable of its own")


def _log(section: Section, trees: Trees) -> Expression:
    value, *base = section.arguments("log", trees, (1, 2))
    return Call("log", (value, *(base or [Number(10.0)])))


def _game(section: Section, trees: Trees) -> Expression:
    return section.arguments("game", trees, (1,))[0]


def _elmcount(section: Section, trees: Trees) -> Expression:
    (tree,) = section.counted("elmcount", trees, (1,))
    if not isinstance(tree, Reference):
        section.fail("elmcount takes the name of a range")
    shape = section.shapes.get(key(tree.name), ())
    if tree.name not in section.lowering.ranges and shape:
        return Number(float(len(shape[0][1])))
    if tree.name not in section.lowering.ranges:
        section.fail(f"elmcount takes the name of a range, which '{tree.name}' is not")
    return Number(float(len(section.lowering.ranges.elements(tree.name))))


def _reduction(name: str) -> Callable[[Section, Trees], Expression]:
    def lowered(section: Section, trees: Trees) -> Expression:
        (argument,) = section.arguments(name, trees, (1,))
        if section.lowering.source.dialect == "xmile" and isinstance(argument, Name):
            bare = isinstance(trees[0], Reference) and not trees[0].subscripts
            indices = tuple(f"{index}!" if bare and not index.endswith("!") else index for index in argument.indices)
            argument = replace(argument, indices=indices)
        return Call(name, (argument,))

    return lowered


def _vector_select(section: Section, trees: Trees) -> Expression:
    trees = section.counted("vector select", trees, (5,))
    action = section.constant(trees[3])
    if action is None or action not in range(11):
        raise UnsupportedError("the numerical action of VECTOR SELECT should be a number from 0 to 10")
    chosen, values, missing = (section.lower(tree) for tree in trees[:3])
    return Call("vector_select", (chosen, values, missing, Number(action)))


def _plain(name: str, count: int) -> Callable[[Section, Trees], Expression]:
    """A function of whole arrays, which `elements` takes apart."""

    def lowered(section: Section, trees: Trees) -> Expression:
        return Call(name, section.arguments(name.replace("_", " "), trees, (count,)))

    return lowered


def _extreme(name: str) -> Callable[[Section, Trees], Expression]:
    """XMILE's MAX and MIN: of several numbers, or of an array."""

    def lowered(section: Section, trees: Trees) -> Expression:
        if len(trees) == 1:
            return _reduction(f"v{name}")(section, trees)
        first, *others = section.arguments(name, trees, tuple(range(2, 50)))
        for other in others:
            first = Call(name, (first, other))
        return first

    return lowered


def _xmile_pulse(section: Section, trees: Trees) -> Expression:
    trees = section.counted("pulse", trees, (1, 2, 3))
    size, *when = (section.lower(tree) for tree in trees)
    if len(when) == 2 and section.constant(trees[2]) != 0.0:
        return Call("xmile_pulse_train", (when[0], when[1], size))
    return Call("xmile_pulse", (when[0] if when else Name("INITIAL TIME"), size))


def _safediv(section: Section, trees: Trees) -> Expression:
    arguments = section.arguments("safediv", trees, (2, 3))
    return Call("zidz" if len(arguments) == 2 else "xidz", arguments)


FUNCTIONS_OF_TREES: Mapping[str, Callable[[Section, Trees], Expression]] = {
    "active_initial": _active_initial,
    "allocate_available": _plain("allocate_available", 3),
    "allocate_by_priority": _plain("allocate_by_priority", 5),
    "delay1": _chained("delay", 1),
    "delay3": _chained("delay", 3),
    "delay_fixed": _fixed,
    "delay_material": _material,
    "delay_n": _of_order("delay"),
    "depreciate_straightline": _straightline,
    "elmcount": _elmcount,
    "forecast": _forecast,
    "game": _game,
    "initial": _initial,
    "integ": _integ,
    "inverted": lambda section, trees: _plain("inverted", 1)(
        section, section.counted("invert matrix", trees, (1, 2))[:1]
    ),
    "log": _log,
    "log10": _log,
    "lookup_ahead": _looked_up("ahead"),
    "lookup_beyond": _looked_up("beyond"),
    "lookup_invert": _looked_up("invert"),
    "lookup_own": _looked_up(""),
    "lookup_step": _looked_up("step"),
    "mean": _reduction("mean"),
    "npv": _npv,
    "previous": _previous,
    "prod": _reduction("prod"),
    "random_exponential": _exponential,
    "random_normal": _normal,
    "random_uniform": _uniform,
    "ranked": _plain("ranked", 2),
    "reorder": _plain("reorder", 2),
    "sample_if_true": _sampled,
    "smooth": _chained("smooth", 1),
    "smooth3": _chained("smooth", 3),
    "smooth_n": _of_order("smooth"),
    "sorted_order": _plain("sorted_order", 2),
    "sum": _reduction("sum"),
    "trend": _trend,
    "vector_elm_map": _plain("vector_elm_map", 2),
    "vector_select": _vector_select,
    "vmax": _reduction("vmax"),
    "vmin": _reduction("vmin"),
    "with_lookup": _with_lookup,
    "xmile_delay": _xmile_delay,
    "xmile_delay_n": _xmile_order("delay"),
    "xmile_max": _extreme("max"),
    "xmile_min": _extreme("min"),
    "xmile_normal": _xmile_normal,
    "xmile_pulse_of": _xmile_pulse,
    "xmile_random": _uniform,
    "xmile_safediv": _safediv,
    "xmile_smooth_n": _xmile_order("smooth"),
}
"""Functions by their common name; each takes the section it stands in and its arguments as they are written."""

_INNER = {"exponential_between", "noise", "normal", "normal_share"}


def supported() -> str:
    """A sentence that names all functions."""
    own = {name for name in FUNCTIONS if not name.startswith("xmile") and name not in _INNER}
    written = {theirs: ours for ours, theirs in _VENSIM.items()}
    more = {written.get(name, name) for name in FUNCTIONS_OF_TREES if not name.startswith("xmile")}
    return f"supported: {', '.join(sorted(name.replace('_', ' ') for name in own | more))}"


KNOWN = Functions(FUNCTIONS_OF_TREES, canonical, supported)
"""What the lowering is given."""
