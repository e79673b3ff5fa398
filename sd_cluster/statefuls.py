"""Functions that are more than their arguments: delays, smooths, pipes, random numbers, lookups, sums over ranges.

Each is made of stocks, held values and built-in functions of the one equation language.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from sd_cluster import chances, series, stella
from sd_cluster.delays import (
    Trees,
    chained,
    fixed,
    information,
    material,
    minus,
    of_order,
    over,
    plus,
    straightline,
    times,
    xmile_delay,
    xmile_order,
)
from sd_cluster.errors import UnsupportedError
from sd_cluster.expressions import FUNCTIONS, Call, Expression, Lookup, Name, Number, Operation, replace_names
from sd_cluster.grammar import MISSING, PLACED, Application, Dialect, Operator, Points, Reference, Tree
from sd_cluster.lowering import Functions, Section
from sd_cluster.model import Auxiliary, Frozen, Held, Stock, key

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
    "reinitial": "initial",  # another value only where a game goes on
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
    "lognormal": "xmile_lognormal",
    "round": "xmile_round",
    "sinwave": "xmile_sinwave",
    "coswave": "xmile_coswave",
    "percent": "xmile_percent",
    "derivn": "xmile_derivative",
    "stddev": "xmile_deviation",
    "int": "xmile_integer",
    "mod": "xmile_modulo",
    "exprnd": "xmile_exponential",
    "poisson": "xmile_poisson",
    "binomial": "xmile_binomial",
    "negbinomial": "xmile_negbinomial",
    "beta": "xmile_beta",
    "triangular": "xmile_triangular",
    "lookup": "lookup_own",
    "lookupinv": "lookup_invert",
    "gammaln": "gamma_ln",
    "arraysum": "sum",
    "arraymean": "mean",
    "arraystddev": "xmile_deviation",
    "combinations": "xmile_combinations",
    "conveyor": "xmile_conveyor",
    "factorial": "xmile_factorial",
    "invnorm": "xmile_invnorm",
    "normalcdf": "xmile_normalcdf",
    "permutations": "xmile_permutations",
    "rootn": "xmile_rootn",
    "switch": "xmile_switch",
    "trend": "trend",
}


def canonical(folded: str, dialect: Dialect) -> str:
    """One name for a function that the dialects and their versions call differently."""
    return (_XMILE if dialect == "xmile" else _VENSIM).get(folded, folded)


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
    rate = over(minus(value, section.inner(name)), time)
    return section.define(Stock(name=name, hidden=True, rate=rate, initial=initial))


def _trend(section: Section, trees: Trees) -> Expression:
    """TREND: fractional rate of change against a smoothed past."""
    trees = section.counted("trend", trees, (2, 3))
    value, time = section.auxiliary("input", section.lower(trees[0])), section.lower(trees[1])
    trend = section.lower(trees[2]) if len(trees) == 3 else Number(0.0)
    average = _averaged(section, value, time, over(value, plus(Number(1.0), times(trend, time))))
    return Call("zidz", (minus(value, average), times(time, Call("abs", (average,)))))


def _forecast(section: Section, trees: Trees) -> Expression:
    """FORECAST: the trend against a smoothed past, drawn on."""
    trees = section.counted("forecast", trees, (3, 4))
    value, time = section.auxiliary("input", section.lower(trees[0])), section.lower(trees[1])
    ahead = section.lower(trees[2])
    trend = section.lower(trees[3]) if len(trees) == 4 else Number(0.0)
    average = _averaged(section, value, time, over(value, plus(Number(1.0), trend)))
    change = Call("zidz", (minus(value, average), times(time, average)))
    return times(value, plus(Number(1.0), times(change, ahead)))


def _rounded(section: Section, trees: Trees) -> Expression:
    """Stella's ROUND: to the nearest whole number, halves away from zero."""
    (value,) = section.arguments("round", trees, (1,))
    value = section.auxiliary("value", value)
    half = Call("if_then_else", (Operation("<", (value, Number(0.0))), Number(-0.5), Number(0.5)))
    return Call("integer", (plus(value, half),))


def _derivative(section: Section, trees: Trees) -> Expression:
    """Stella's DERIVN of first order: the change since the step before, over its length; 0 at the start."""
    trees = section.counted("derivn", trees, (1, 2))
    if len(trees) == 2 and section.constant(trees[1]) != 1.0:
        raise UnsupportedError("DERIVN is supported for the first derivative alone")
    value = section.auxiliary("input", section.lower(trees[0]))
    held = Held(name=section.hidden_name("input before"), hidden=True, following=value, initial=value)
    return over(minus(value, section.define(held)), Name("TIME STEP"))


def _percent(section: Section, trees: Trees) -> Expression:
    """Stella's PERCENT: a hundred times a fraction."""
    return times(Number(100.0), *section.arguments("percent", trees, (1,)))


def _mean(section: Section, trees: Trees) -> Expression:
    """MEAN of an array, or of several numbers."""
    if len(trees) == 1:
        return _reduction("mean")(section, trees)
    first, *others = section.arguments("mean", trees, tuple(range(2, 50)))
    for other in others:
        first = plus(first, other)
    return over(first, Number(float(len(trees))))


def _deviation(section: Section, trees: Trees) -> Expression:
    """Stella's STDDEV of an array: its spread about the mean, as of a whole population."""
    trees = section.counted("stddev", trees, (1,))
    part = _over_all(section, trees[0])
    mean = section.auxiliary("mean", Call("mean", (part,)))
    off = minus(part, mean)
    return Call("sqrt", (Call("mean", (times(off, off),)),))


def _bounded_stock(section: Section, trees: Trees) -> Expression:
    """SINTEG: Euler's sum of a rate between two bounds, which is drawn to a special value when it comes near.

    It is held from step to step, as what it does is only defined there.
    """
    trees = section.counted("sinteg", trees, (7,))
    low, high, quantum, special, near = map(section.constant, trees[2:])
    if None in (low, high, quantum, special, near):
        section.fail("the last five arguments of sinteg should be numbers or :NA:")
    if quantum != MISSING:
        raise UnsupportedError("SINTEG with a quantum is not supported; give :NA: there")
    name = section.hidden_name("bounded stock")
    value = plus(section.inner(name), times(Name("TIME STEP"), section.lower(trees[0])))
    if low != MISSING:
        value = Call("max", (value, section.lower(trees[2])))
    if high != MISSING:
        value = Call("min", (value, section.lower(trees[3])))
    if MISSING not in {special, near}:
        value = section.auxiliary("next", value)
        off = Call("abs", (minus(value, section.lower(trees[5])),))
        close = Operation("<", (off, section.lower(trees[6])))
        value = Call("if_then_else", (close, section.lower(trees[5]), value))
    return section.define(Held(name=name, hidden=True, following=value, initial=section.lower(trees[1])))


def _npv(section: Section, trees: Trees) -> Expression:
    """NPV: a stream's value so far, discounted to the start."""
    stream, rate, initial, factor = section.arguments("npv", trees, (4,))
    step, name = Name("TIME STEP"), section.hidden_name("discount")
    stream, rate = section.auxiliary("stream", stream), section.auxiliary("rate", rate)
    falling = over(Operation("neg", (times(section.inner(name), rate),)), plus(Number(1.0), times(rate, step)))
    discount = section.define(Stock(name=name, hidden=True, rate=falling, initial=Number(1.0)))
    total = section.hidden_name("discounted sum")
    so_far = section.define(Stock(name=total, hidden=True, rate=times(stream, discount), initial=initial))
    return times(plus(so_far, times(stream, step, discount)), factor)


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
        ranges, xmile = section.lowering.ranges, section.lowering.source.dialect == "xmile"
        own = set(map(key, section.subscripts)) if xmile else set()
        indices = section.indices(key(tree.name), tree.subscripts or ("*",) * len(shape))
        bare = [index.removesuffix("!") for index in indices if index.endswith("!") or key(index) not in own]
        return Number(float(math.prod(len(ranges.elements(index)) for index in bare)))
    if tree.name not in section.lowering.ranges:
        section.fail(f"elmcount takes the name of a range, which '{tree.name}' is not")
    return Number(float(len(section.lowering.ranges.elements(tree.name))))


def _reduction(name: str) -> Callable[[Section, Trees], Expression]:
    def lowered(section: Section, trees: Trees) -> Expression:
        trees = section.counted(name, trees, (1,))
        return Call(name, (_over_all(section, trees[0]),))

    return lowered


def _over_all(section: Section, tree: Tree) -> Expression:
    """An array to be reduced; in XMILE over all of what is written without subscripts, and of ranges not its own."""
    if section.lowering.source.dialect != "xmile":
        return section.lower(tree)

    def starred(part: Tree) -> Tree:
        match part:
            case Reference(subscripts=()) if shape := section.shapes.get(key(part.name), ()):
                return replace(part, subscripts=("*",) * len(shape))
            case Operator():
                return replace(part, operands=tuple(map(starred, part.operands)))
            case Application() if key(part.name) != key(PLACED):
                return replace(part, arguments=tuple(map(starred, part.arguments)))
            case _:
                return part

    own = {key(subscript) for subscript in section.subscripts}

    def marked(name: Name) -> Expression:
        before = len(section.over)
        loops = tuple(
            f"{index}!" if index in section.lowering.ranges and key(index) not in own else index
            for index in name.indices[before:]
        )
        return replace(name, indices=(*name.indices[:before], *loops)) if name.name else name

    return replace_names(section.lower(starred(tree)), marked)


def _placed(section: Section, trees: Trees) -> Expression:
    """XMILE's element of an array at places that expressions give."""
    array, *places = trees
    if isinstance(array, Reference) and isinstance(further := section.placed(array, len(places)), Application):
        array, *more = further.arguments
        places += more
    named = section.named(array.name, array.subscripts) if isinstance(array, Reference) else section.lower(array)
    return Call("placed", (named, *map(section.lower, places)))


def _at_price(side: float) -> Callable[[Section, Trees], Expression]:
    """DEMAND AT PRICE and SUPPLY AT PRICE: a quantity, the curve of its priorities, a price."""

    def lowered(section: Section, trees: Trees) -> Expression:
        name = "demand at price" if side > 0.0 else "supply at price"
        return Call("quantity_at_price", (*section.arguments(name, trees, (3,)), Number(side)))

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
        trees = section.counted(name, trees, tuple(range(2, 50)))
        arrays = [isinstance(tree, Reference) and "*" in tree.subscripts for tree in trees]
        whole = _reduction(f"v{name}")
        parts = zip(trees, arrays, strict=True)
        first, *others = (whole(section, (tree,)) if array else section.lower(tree) for tree, array in parts)
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
    """XMILE's SAFEDIV: what stands third, or zero, where the divisor is exactly zero."""
    above, below, *otherwise = section.arguments("safediv", trees, (2, 3))
    return Call("xmile_over", (above, below, *(otherwise or [Number(0.0)])))


FUNCTIONS_OF_TREES: Mapping[str, Callable[[Section, Trees], Expression]] = {
    "active_initial": _active_initial,
    "allocate_available": _plain("allocate_available", 3),
    "allocate_by_priority": _plain("allocate_by_priority", 5),
    "delay1": chained("delay", 1),
    "delay3": chained("delay", 3),
    "delay_fixed": fixed,
    "delay_information": information,
    "delay_material": material,
    "delay_n": of_order("delay"),
    "depreciate_straightline": straightline,
    "element_at_a_place": _placed,
    "elmcount": _elmcount,
    "demand_at_price": _at_price(1.0),
    "find_market_price": _plain("find_market_price", 4),
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
    "mean": _mean,
    "get_data_at_time": series.at_time,
    "get_data_between_times": series.between_times,
    "get_data_first_time": series.about("get data first time", "first time"),
    "get_data_last_time": series.about("get data last time", "last time"),
    "get_data_total_points": series.about("get data total points", "points"),
    "get_time_value": series.time_value,
    "npv": _npv,
    "previous": _previous,
    "prod": _reduction("prod"),
    "random_beta": chances.bounded("beta", 2),
    "random_binomial": chances.bounded("binomial", 2),
    "random_exponential": chances.exponential,
    "random_gamma": chances.bounded("gamma", 1),
    "random_negative_binomial": chances.bounded("negative", 2),
    "random_normal": chances.normal,
    "random_pink_noise": chances.pink,
    "random_poisson": chances.bounded("poisson", 1),
    "random_triangular": chances.triangular,
    "random_uniform": chances.uniform,
    "random_weibull": chances.bounded("weibull", 1),
    "ranked": _plain("ranked", 2),
    "reorder": _plain("reorder", 2),
    "sample_if_true": _sampled,
    "sinteg": _bounded_stock,
    "smooth": chained("smooth", 1),
    "smooth3": chained("smooth", 3),
    "smooth_n": of_order("smooth"),
    "sorted_order": _plain("sorted_order", 2),
    "sum": _reduction("sum"),
    "supply_at_price": _at_price(-1.0),
    "time_shift": series.shifted,
    "trend": _trend,
    "vector_elm_map": _plain("vector_elm_map", 2),
    "vector_select": _vector_select,
    "vmax": _reduction("vmax"),
    "vmin": _reduction("vmin"),
    "with_lookup": _with_lookup,
    "xmile_coswave": stella.wave("cos"),
    "xmile_delay": xmile_delay,
    "xmile_delay_n": xmile_order("delay"),
    "xmile_max": _extreme("max"),
    "xmile_min": _extreme("min"),
    "xmile_beta": chances.unbounded("beta", 2),
    "xmile_binomial": chances.unbounded("binomial", 2, turned=True),
    "xmile_deviation": _deviation,
    "xmile_derivative": _derivative,
    "xmile_exponential": chances.xmile_exponential,
    "xmile_lognormal": chances.xmile_lognormal,
    "xmile_negbinomial": chances.unbounded("negative", 2, turned=True),
    "xmile_normal": chances.xmile_normal,
    "xmile_poisson": chances.unbounded("poisson", 1),
    "xmile_triangular": chances.xmile_triangular,
    "xmile_combinations": stella.combinations,
    "xmile_conveyor": stella.conveyor,
    "xmile_factorial": stella.factorial,
    "xmile_invnorm": stella.normal_number,
    "xmile_normalcdf": stella.normal_share,
    "xmile_permutations": stella.permutations,
    "xmile_rootn": stella.root,
    "xmile_switch": stella.switch,
    "xmile_percent": _percent,
    "xmile_pulse_of": _xmile_pulse,
    "xmile_random": chances.uniform,
    "xmile_round": _rounded,
    "xmile_safediv": _safediv,
    "xmile_sinwave": stella.wave("sin"),
    "xmile_smooth_n": xmile_order("smooth"),
}
"""Functions by their common name; each takes the section it stands in and its arguments as they are written."""

_INNER = {"at_price", "drawn", "exponential_between", "noise", "normal", "normal_share"}


def supported() -> str:
    """A sentence that names all functions."""
    own = {name for name in FUNCTIONS if not name.startswith("xmile") and name not in _INNER}
    written = {theirs: ours for ours, theirs in _VENSIM.items()}
    more = {written.get(name, name) for name in FUNCTIONS_OF_TREES if not name.startswith("xmile")}
    return f"supported: {', '.join(sorted(name.replace('_', ' ') for name in own | more))}"


KNOWN = Functions(FUNCTIONS_OF_TREES, canonical, supported)
"""What the lowering is given."""
