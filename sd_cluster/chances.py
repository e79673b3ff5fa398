"""Random functions: numbers of many distributions, each made of one even random number a step."""

from collections.abc import Callable

from sd_cluster.delays import Trees, minus, over, plus, times
from sd_cluster.expressions import Call, Expression, Name, Number, Operation
from sd_cluster.lowering import SEED, Section
from sd_cluster.model import Held

KINDS = {"gamma": 1.0, "beta": 2.0, "weibull": 3.0, "triangular": 4.0, "poisson": 5.0, "binomial": 6.0, "negative": 7.0}
"""Numbers by which `vectors.drawn` knows distributions."""

_EVERYWHERE = (Number(-1e300), Number(1e300))


def noise(section: Section) -> Expression:
    """An even random number between 0 and 1, another one for each use, element and step."""
    section.lowering.draws += 1
    seed = section.lowering.main.names.get("noise_seed", SEED)
    return Call("noise", (Name(seed), Number(float(section.lowering.draws)), Number(0.0)))


def uniform(section: Section, trees: Trees) -> Expression:
    """RANDOM UNIFORM and XMILE's RANDOM: even between two bounds, or between 0 and 1."""
    trees = section.counted("random uniform", trees, (0, 2, 3))
    if not trees:
        return noise(section)
    low, high = section.lower(trees[0]), section.lower(trees[1])
    return plus(low, times(minus(high, low), noise(section)))


def normal(section: Section, trees: Trees) -> Expression:
    """RANDOM NORMAL: within bounds."""
    low, high, mean, deviation, *_ = section.arguments("random normal", trees, (4, 5))
    share = Call("normal_share", (low, high, mean, deviation, noise(section)))
    return plus(mean, times(deviation, Call("normal", (share,))))


def pink(section: Section, trees: Trees) -> Expression:
    """RANDOM PINK NOISE: normal numbers that forget the one before within a correlation time.

    From step to step, so that mean and deviation are what is said at every length of it (Vensim's own structure).
    """
    mean, deviation, time, *_ = section.arguments("random pink noise", trees, (3, 4))
    mean, deviation = section.auxiliary("mean", mean), section.auxiliary("deviation", deviation)
    share = section.auxiliary("share of a step", over(Name("TIME STEP"), time))
    name = section.hidden_name("pink noise")
    own = section.inner(name)
    wide = Call("sqrt", (over(minus(Number(2.0), share), share),))
    white = times(deviation, wide, Call("normal", (noise(section),)))
    following = plus(own, times(share, minus(plus(mean, white), own)))
    begin = plus(mean, times(deviation, Call("normal", (noise(section),))))
    return section.define(Held(name=name, hidden=True, following=following, initial=begin))


def xmile_normal(section: Section, trees: Trees) -> Expression:
    """XMILE's NORMAL: mean and deviation, without bounds."""
    mean, deviation, *_ = section.arguments("normal", trees, (2, 3))
    return plus(mean, times(deviation, Call("normal", (noise(section),))))


def xmile_lognormal(section: Section, trees: Trees) -> Expression:
    """XMILE's LOGNORMAL: mean and deviation of the number itself."""
    mean, deviation, *_ = section.arguments("lognormal", trees, (2, 3))
    mean = section.auxiliary("mean", mean)
    ratio = over(deviation, mean)
    spread = section.auxiliary("spread", Call("ln", (plus(Number(1.0), times(ratio, ratio)),)))
    middle = minus(Call("ln", (mean,)), over(spread, Number(2.0)))
    return Call("exp", (plus(middle, times(Call("sqrt", (spread,)), Call("normal", (noise(section),)))),))


def exponential(section: Section, trees: Trees) -> Expression:
    """RANDOM EXPONENTIAL: moved and stretched, within bounds."""
    low, high, shift, stretch, *_ = section.arguments("random exponential", trees, (4, 5))
    return Call("exponential_between", (noise(section), low, high, shift, stretch))


def xmile_exponential(section: Section, trees: Trees) -> Expression:
    """XMILE's EXPRND, by its mean."""
    mean, *_ = section.arguments("exprnd", trees, (1, 2))
    even = Operation("-", (Number(1.0), noise(section)))
    return Operation("neg", (times(mean, Call("ln", (even,))),))


def bounded(kind: str, shapes: int) -> Callable[[Section, Trees], Expression]:
    """Vensim's RANDOM functions: bounds, one or two numbers of shape, shift, stretch and a seed that is not needed."""

    def lowered(section: Section, trees: Trees) -> Expression:
        found = section.arguments(f"random {kind}", trees, (4 + shapes, 5 + shapes))
        low, high, *shape = found[: 2 + shapes]
        shift, stretch = (section.auxiliary("part", part) for part in found[2 + shapes : 4 + shapes])
        ends = tuple(over(minus(end, shift), stretch) for end in (low, high))
        first, second = (*shape, Number(0.0))[:2]
        own = Call("drawn", (Number(KINDS[kind]), first, second, *ends, noise(section)))
        return plus(shift, times(stretch, own))

    return lowered


def triangular(section: Section, trees: Trees) -> Expression:
    """RANDOM TRIANGULAR: bounds, then start, peak and end of the triangle."""
    low, high, start, peak, end, *_ = section.arguments("random triangular", trees, (5, 6))
    return _triangle(section, start, peak, end, low, high)


def xmile_triangular(section: Section, trees: Trees) -> Expression:
    """XMILE's TRIANGULAR: lowest, most likely and highest value."""
    start, peak, end, *_ = section.arguments("triangular", trees, (3, 4))
    return _triangle(section, start, peak, end, start, end)


def _triangle(
    section: Section, start: Expression, peak: Expression, end: Expression, low: Expression, high: Expression
) -> Expression:
    start, end = section.auxiliary("start", start), section.auxiliary("end", end)
    width = section.auxiliary("width", minus(end, start))
    top, first, last = (over(minus(part, start), width) for part in (peak, low, high))
    own = Call("drawn", (Number(KINDS["triangular"]), top, Number(0.0), first, last, noise(section)))
    return plus(start, times(width, own))


def unbounded(kind: str, shapes: int, *, turned: bool = False) -> Callable[[Section, Trees], Expression]:
    """XMILE's functions of the same distributions: one or two numbers of shape and perhaps a seed."""

    def lowered(section: Section, trees: Trees) -> Expression:
        shape = section.arguments(kind, trees, (shapes, shapes + 1))[:shapes]
        first, second = (*(reversed(shape) if turned else shape), Number(0.0))[:2]
        return Call("drawn", (Number(KINDS[kind]), first, second, *_EVERYWHERE, noise(section)))

    return lowered
