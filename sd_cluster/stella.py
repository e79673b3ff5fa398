"""Functions of Stella that are formulas of their arguments: counts of arrangements, normal shares, roots."""

from sd_cluster.delays import Trees, minus, over, plus, times
from sd_cluster.expressions import Call, Expression, Number, Operation
from sd_cluster.lowering import Section


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
