"""Random functions: the distributions they say, between the bounds they say, and the same numbers for the same seed."""

import math

import numpy as np
import pytest
import scipy.stats
from support import assert_close, tiny

import sd_cluster as sd
from sd_cluster.vectors import drawn

SHARES = np.linspace(0.005, 0.995, 41)
EVERYWHERE = (-1e300, 1e300)


@pytest.mark.parametrize(
    ("kind", "first", "second", "known"),
    [
        (1, 1.0, 0.0, scipy.stats.gamma(1.0)),
        (1, 0.4, 0.0, scipy.stats.gamma(0.4)),
        (1, 60.0, 0.0, scipy.stats.gamma(60.0)),
        (2, 2.0, 3.0, scipy.stats.beta(2.0, 3.0)),
        (2, 0.5, 0.5, scipy.stats.beta(0.5, 0.5)),
        (3, 0.7, 0.0, scipy.stats.weibull_min(0.7, scale=1 / math.gamma(1 + 1 / 0.7))),
        (3, 5.0, 0.0, scipy.stats.weibull_min(5.0, scale=1 / math.gamma(1.2))),
        (4, 0.3, 0.0, scipy.stats.triang(0.3)),
        (4, 0.0, 0.0, scipy.stats.triang(0.0)),
        (4, 1.0, 0.0, scipy.stats.triang(1.0)),
        (5, 0.5, 0.0, scipy.stats.poisson(0.5)),
        (5, 100.0, 0.0, scipy.stats.poisson(100.0)),
        (6, 0.3, 10.0, scipy.stats.binom(10, 0.3)),
        (7, 0.3, 10.0, scipy.stats.nbinom(10, 0.3, loc=10)),
    ],
)
def test_a_share_of_a_distribution_lies_below_what_is_drawn(kind, first, second, known):
    found = [drawn(kind, first, second, *EVERYWHERE, share) for share in SHARES]
    assert_close(found, known.ppf(SHARES), 1e-12, 1e-14, because="halving goes on to the last digit")
    low, high = known.ppf(0.2), known.ppf(0.9)
    if kind < 5:
        between = known.cdf(low) + SHARES * (known.cdf(high) - known.cdf(low))
        found = [drawn(kind, first, second, low, high, share) for share in SHARES]
        assert_close(found, known.ppf(between), 1e-10, because="the same between bounds")


def test_whole_numbers_at_their_bounds_are_drawn_too():
    assert {drawn(5, 3.0, 0.0, 1.0, 4.0, share) for share in SHARES} == {1.0, 2.0, 3.0, 4.0}


EQUATIONS = """
    poisson = RANDOM POISSON(0, 20, 3, 1, 2, 0)
    gamma = RANDOM GAMMA(1, 5, 2, 1, 0.5, 0)
    beta = RANDOM BETA(0, 1, 2, 3, 0, 1, 0)
    weibull = RANDOM WEIBULL(0, 9, 2, 0, 1, 0)
    triangular = RANDOM TRIANGULAR(0, 8, 2, 3, 10, 0)
    binomial = RANDOM BINOMIAL(0, 10, 0.4, 10, 0, 1, 0)
    trials = RANDOM NEGATIVE BINOMIAL(0, 90, 0.4, 10, 0, 1, 0)
    sum = INTEG(poisson, 0)
"""
BOUNDS = {
    "poisson": (1, 19), "gamma": (1, 5), "beta": (0, 1), "weibull": (0, 9), "triangular": (2, 8), "binomial": (0, 10),
    "trials": (10, 90),
}  # fmt: skip


def test_random_functions_of_vensim_stay_within_their_bounds_and_repeat_for_a_seed():
    model = tiny(EQUATIONS, check_units=False, end="200")
    run, again = (sd.simulate(model, solver=sd.Euler(), backend=backend) for backend in ("python", "numba"))
    other = sd.simulate(model, sd.Scenario("other", {"NOISE SEED": 2}), solver=sd.Euler())
    for name, (low, high) in BOUNDS.items():
        assert low <= run[name].min() < run[name].max() <= high, name
        assert_close(again[name], run[name], 1e-10, because="machine maths against Python's")
        assert not np.array_equal(other[name], run[name])
    assert set(run["poisson"] % 2) == {1.0}, "twice a whole number and one"


@pytest.mark.slow
def test_random_functions_of_xmile_have_the_mean_that_they_are_given(tmp_path):
    equations = {
        "EXPRND(3)": 3.0, "POISSON(4)": 4.0, "LOGNORMAL(5, 2)": 5.0, "TRIANGULAR(0, 1, 5)": 2.0,
        "BINOMIAL(10, 0.3)": 3.0, "BETA(2, 6)": 0.25, "NEGBINOMIAL(4, 0.5)": 8.0,
    }  # fmt: skip
    parts = [f"<aux name='x{number}'><eqn>{text}</eqn></aux>" for number, text in enumerate(equations)]
    path = tmp_path / "chances.xmile"
    path.write_text(
        "<xmile xmlns='http://docs.oasis-open.org/xmile/ns/XMILE/v1.0'><sim_specs><start>0</start><stop>2000</stop>"
        f"<dt>1</dt></sim_specs><model><variables>{''.join(parts)}</variables></model></xmile>"
    )
    run = sd.simulate(sd.load(path), solver=sd.Euler())
    for number, (text, mean) in enumerate(equations.items()):
        values = run[f"x{number}"]
        error = values.std() / math.sqrt(len(values))
        assert abs(values.mean() - mean) < 4 * error, text


@pytest.mark.parametrize("step", ["1", "0.25"])
def test_pink_noise_has_its_spread_and_forgets_at_its_rate_whatever_the_step(step):
    equations = "a = RANDOM PINK NOISE(5, 2, 4, 0) ~ Dmnl \n x = INTEG(a, 0) ~ Year"
    model = tiny(equations, step=step, end="40000", save="1", check_units=False)
    run = sd.simulate(model, solver=sd.Euler())
    pink = run["a"]
    assert abs(pink.mean() - 5) < 5 * 2 * math.sqrt(8 / 40_000), "the mean of numbers of which each eighth is another"
    assert abs(pink.std() / 2 - 1) < 5 * math.sqrt(4 / 40_000)
    forgets = (1 - float(step) / 4) ** (1 / float(step))
    assert abs(np.corrcoef(pink[1:], pink[:-1])[0, 1] - forgets) < 5 / math.sqrt(40_000)
    later = sd.simulate(model, solver=sd.RungeKutta4())["a"]
    assert_close(later, pink, 1e-12, because="it is only defined at steps")
