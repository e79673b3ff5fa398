"""Scenario discovery: planted boxes are found, and where there is none none is told."""

import numpy as np
import pytest
from support import tiny

import sd_cluster as sd
from sd_cluster.discovery import discover
from sd_cluster.measures import Final
from sd_cluster.space import Space

pytest.importorskip("ema_workbench", reason="comes with the extra 'discovery'")

NAMES = ("initial trust", "talent flow", "idle", "idle too")
SPACE = Space(dict.fromkeys(NAMES, (0, 1)))
HIGH = Final("answer") > 0.5


def planted(x):
    return ((x[:, 0] > 0.41) & (x[:, 1] < 0.7)).astype(float)


@pytest.mark.parametrize("method", ["prim", "cart"])
def test_a_planted_box_is_found(method):
    box = discover(planted, SPACE, success=HIGH, event="take-off", method=method, seed=1)
    assert set(box.limits) == {"initial trust", "talent flow"}
    (low, top), (bottom, high) = box.limits["initial trust"], box.limits["talent flow"]
    assert (top, bottom) == (np.inf, -np.inf)
    assert low == pytest.approx(0.41, abs=0.02)
    assert high == pytest.approx(0.7, abs=0.02)
    assert box.density > 0.95
    assert box.coverage > 0.95
    assert box.base_rate == pytest.approx(0.59 * 0.7, abs=0.02)
    assert box.verdict.startswith("settled")
    assert all(chance < 1e-6 for chance in box.chances.values())


def test_the_sentence_can_be_read_and_checked():
    box = discover(planted, SPACE, success=HIGH, event="take-off", method="cart", seed=1)
    assert box.sentence.startswith("Take-off in 100 % of runs where ")
    assert "initial trust > 0.4" in box.sentence
    assert "talent flow < 0.7" in box.sentence
    assert "that box holds" in box.sentence
    inside = box.inside(box.draws)
    assert box.density == box.happened[inside].mean()
    assert box.coverage == box.happened[inside].sum() / box.happened.sum()
    assert box.mass == inside.mean()
    assert box.sentence in str(box)


def test_noise_is_not_told_as_a_box():
    random = np.random.default_rng(3)
    box = discover(lambda x: random.random(len(x)), SPACE, success=Final("answer") > 0.7, seed=2)
    assert not box.limits
    assert "no box of parameters does better" in box.sentence
    assert box.density == box.base_rate
    box.plot().draw_without_rendering()


def test_a_box_found_by_luck_does_not_hold_up():
    """Few runs, many idle parameters: whatever is found must say on fresh runs that it does not hold."""
    random = np.random.default_rng(4)
    space = Space({f"x{number}": (0, 1) for number in range(12)})
    box = discover(lambda x: random.random(len(x)), space, success=Final("a") > 0.6, samples=120, density=0.7)
    assert not box.limits or box.verdict.startswith("not")


def test_a_wished_density_is_met_with_the_box_that_holds_most():
    def slope(x):
        return x[:, 0] + 0.5 * x[:, 1]

    success = Final("answer") > 0.9
    balanced = discover(slope, SPACE, success=success, seed=5)
    pure = discover(slope, SPACE, success=success, density=0.97, seed=5)
    assert pure.density >= 0.97 - 0.01
    assert pure.density > balanced.density
    assert pure.coverage < balanced.coverage


def test_what_never_or_always_happens_marks_nothing_off():
    with pytest.raises(sd.ModelError, match="in no run of 1024"):
        discover(planted, SPACE, success=Final("answer") > 2.0)
    with pytest.raises(sd.ModelError, match="in every run of 1024"):
        discover(planted, SPACE, success=Final("answer") < 2.0)


def test_wrong_use_is_told():
    with pytest.raises(sd.ModelError, match="by a measure and a level"):
        discover(planted, SPACE, success=0.5)
    with pytest.raises(sd.ModelError, match="'prim' and 'cart'"):
        discover(planted, SPACE, success=HIGH, method="tree")
    with pytest.raises(sd.ScenarioError, match="say over which space"):
        discover(planted, success=HIGH)
    with pytest.raises(TypeError, match=r"discover takes no 'sample' \(did you mean 'samples'\?\)"):
        discover(planted, SPACE, success=HIGH, sample=10)
    with pytest.raises(sd.SimulationError, match="allow_failures"):
        discover(lambda x: np.where(x[:, 2] < 0.2, np.nan, planted(x)), SPACE, success=HIGH)


def test_the_same_seed_gives_the_same_box():
    one, same = (discover(planted, SPACE, success=HIGH, seed=6, samples=400) for _ in range(2))
    assert one.limits == same.limits
    assert one.tried == same.tried


MODEL = """
    stock = INTEG(rate * stock * (1 - stock / 10) - loss * stock, 1) ~ thing
    rate = 0.5 ~ 1/Year
    loss = 0.2 ~ 1/Year
    idle = 1 ~ dmnl
"""


def test_take_off_of_a_model_and_of_an_ensemble_that_is_there():
    from sd_cluster.ensemble import sweep

    model = tiny(MODEL, check_units=False, end="40")
    space = Space({"rate": (0, 1), "loss": (0.2, 0.3), "idle": (0, 1)})
    box = discover(model, space, success=Final("stock") > 1.0, event="growth", seed=7, samples=500)
    assert next(iter(box.limits)) == "rate"
    assert box.limits["rate"][0] == pytest.approx(0.28, abs=0.04), "growth needs 0.9 rate > loss, here 0.2 to 0.3"
    ensemble = sweep(model, space.sample(500, method="lhs", seed=7), outputs=["stock"])
    again = discover(ensemble, success=Final("stock") > 1.0, seed=7)
    assert again.limits == box.limits
    box.plot().draw_without_rendering()
