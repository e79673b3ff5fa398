"""Reordered straight-line code computes what the code computed, with exponentials and logarithms side by side."""

import math

import numpy as np
import pytest
from support import assert_close

from sd_cluster.lanes import l_exp, l_ln
from sd_cluster.ordering import FEWEST, LANES, TOGETHER, ordered


def run(lines, values, room=400):
    """What straight-line code stores."""
    w, dy = np.zeros(room), np.zeros(100)
    names = {"np": np, "l_exp": l_exp, "l_ln": l_ln, "f_exp": math.exp, "f_ln": math.log, "w": w, "dy": dy, "y": values}
    with np.errstate(all="ignore"):  # lanes that nobody reads
        exec("\n".join([TOGETHER, *lines]), names)
    return dy


def random_lines(rng, count=60):
    """Straight-line code whose values stay within (0, 3)."""
    lines, names = [], [f"y[{k}]" for k in range(6)]
    for k in range(count):
        a, b = rng.choice(names, 2)
        text = rng.choice([f"f_exp(-{a})", f"f_ln(1.5 + {a})", f"0.4 * {a} + 0.3 * {b}", f"{a} / (1.0 + {b})"])
        lines.append(f"e{k} = {text}")
        if rng.random() < 0.3:
            lines.append(f"dy[{k}] = e{k}")
        names.append(f"e{k}")
    return [*lines, f"dy[99] = {' + '.join(names)}"]


@pytest.mark.parametrize("seed", range(20))
def test_the_order_does_not_change_what_is_computed(seed):
    rng = np.random.default_rng(seed)
    lines, values = random_lines(rng), rng.uniform(0.1, 1.0, 6)
    after, end = ordered(lines, 8)
    assert_close(run(after, values), run(lines, values), 1e-12, because="exponentials of our own, some 60 in a row")
    assert end % LANES == 0 and len(after) >= len(lines)


def test_powers_of_many_bases_take_one_wave_of_logarithms_and_one_of_exponentials():
    logs = [f"e{k} = f_ln(y[{k}])" for k in range(5)]
    grown = [f"e{k + 10} = f_exp(e{k + 20})" for k in range(5)]
    times = [f"e{k + 20} = 1.7 * e{k}" for k in range(5)]
    stores = [f"dy[{k}] = e{k + 10}" for k in range(5)]
    lines = [line for four in zip(logs, times, grown, stores, strict=True) for line in four]
    after, end = ordered(lines, 16)
    calls = [line for line in after if "_all" in line]
    assert calls == ["f_ln_all(w, np.uint64(16), np.uint64(8))", "f_exp_all(w, np.uint64(24), np.uint64(8))"]
    assert end == 32
    values = np.array([0.3, 1.0, 2.0, 7.5, 1e4, 0.0])
    assert_close(run(after, values)[:5], values[:5] ** 1.7, 1e-14, because="a power through its logarithm")


def test_calls_too_few_for_a_vector_stay_as_they_are():
    lines = [f"e{k} = f_exp(y[{k}])" for k in range(FEWEST - 1)]
    assert ordered(lines, 0) == (lines, 0)


def test_an_exponential_beyond_all_numbers_is_infinite_as_it_is_elsewhere():
    lines = [f"e{k} = f_exp(y[{k}])" for k in range(3)] + [f"dy[{k}] = e{k}" for k in range(3)]
    found = run(ordered(lines, 0)[0], np.array([800.0, -800.0, np.nan]))
    assert found[0] == np.inf
    assert found[1] < 1e-300
    assert np.isnan(found[2])
