"""Functions of Stella: conveyors that hand on what came in, counts of arrangements, normal shares, roots, waves."""

from collections.abc import Callable

from sd_cluster.delays import Trees, minus, over, pipe, plus, times
from sd_cluster.errors import UnsupportedError
from sd_cluster.expressions import TIME, Call, Expression, Name, Number, Operation
from sd_cluster.grammar import Reference
from sd_cluster.lowering import Section
from sd_cluster.model import Auxiliary


def conveyor(section: Section, trees: Trees) -> Expression:
    """What leaves a conveyor: what came in a transit time ago, and before that its first content in equal parts."""
    inflow, time, content = section.counted("conveyor", trees, (3,))
    transit, step = section.constant(time), section.constant(Reference("TIME STEP"))
    if transit is None or step is None:
        raise UnsupportedError("conveyors whose transit time varies are not supported")
    if not (transit > 0.0 and step > 0.0 and abs(transit / step - round(transit / step)) < 1e-6 * transit / step):
        raise UnsupportedError(f"conveyors whose transit time {transit:g} is no multiple of DT are not supported")
    whole = section.lower(time)
    spread = section.auxiliary("first content", over(section.lower(content), whole))
    return pipe(section, "fixed", section.auxiliary("what comes in", section.lower(inflow)), whole, spread)


def _whole(value: Expression) -> Expression:
    """The whole number that a computed one comes near."""
    return Call("xmile_integer", (plus(value, Number(0.5)),))


def _ln_factorial(value: Expression) -> Expression:
    return Call("gamma_ln", (plus(value, Number(1.0)),))


def factorial(section: Section, trees: Trees) -> Expression:
    """FACTORIAL: of a whole number."""
    (value,) = section.arguments("factorial", trees, (1,))
    return _whole(Call("exp", (_ln_factorial(value),)))


def permutations(section: Section, trees: Trees) -> Expression:
    """PERMUTATIONS: in how many orders some of so many can stand."""
    count, chosen = section.arguments("permutations", trees, (2,))
    return _whole(Call("exp", (minus(_ln_factorial(count), _ln_factorial(minus(count, chosen))),)))


def combinations(section: Section, trees: Trees) -> Expression:
    """COMBINATIONS: in how many ways some of so many can be chosen."""
    count, chosen = section.arguments("combinations", trees, (2,))
    orders = minus(_ln_factorial(count), _ln_factorial(minus(count, chosen)))
    return _whole(Call("exp", (minus(orders, _ln_factorial(chosen)),)))


def normal_number(section: Section, trees: Trees) -> Expression:
    """INVNORM: the normal number with a share of all below it, by mean 0 and deviation 1 unless they stand there."""
    share, *shape = section.arguments("invnorm", trees, (1, 3))
    own = Call("normal", (share,))
    return plus(shape[0], times(shape[1], own)) if shape else own


def normal_share(section: Section, trees: Trees) -> Expression:
    """NORMALCDF: the share of normal numbers between two bounds."""
    low, high, *shape = section.arguments("normalcdf", trees, (2, 4))
    mean, deviation = shape or (Number(0.0), Number(1.0))
    below = (Call("normal_share", (bound, bound, mean, deviation, Number(0.0))) for bound in (high, low))
    return minus(*below)


def root(section: Section, trees: Trees) -> Expression:
    """ROOTN: the root of some order."""
    value, order = section.arguments("rootn", trees, (2,))
    return Operation("^", (value, over(Number(1.0), order)))


def switch(section: Section, trees: Trees) -> Expression:
    """SWITCH: 1 where the first is above the second, else 0."""
    first, second = section.arguments("switch", trees, (2,))
    return Call("if_then_else", (Operation(">", (first, second)), Number(1.0), Number(0.0)))


def wave(function: str) -> Callable[[Section, Trees], Expression]:
    """SINWAVE and COSWAVE: height and period."""

    def lowered(section: Section, trees: Trees) -> Expression:
        height, period = section.arguments(f"{function}wave", trees, (2,))
        turns = over(times(Number(2.0), Call("pi", ()), Name(TIME)), period)
        # a period is often a bare number, which is no clash of units
        own = Auxiliary(name=section.hidden_name("turns"), hidden=True, units="?", expression=turns)
        return times(height, Call(function, (section.define(own),)))

    return lowered
