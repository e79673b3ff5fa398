"""The step of a fit: as long as it is as good as exact, and looked at again where the fit ends."""

import dataclasses

import numpy as np
import pytest
from twins import GAUGES, RANGES, park, table, write_twin

import calibration as cal
import sd_cluster as sd
from calibration.steps import WIDEST, values_at, widest_step

PARK = park()


def _horizon(step):
    return dataclasses.replace(PARK.horizon, step=step)


def test_the_longest_step_that_moves_nothing_is_taken():
    years = np.arange(2000.0, 2021.0)
    step = widest_step(PARK, sd.Scenario("base"), _horizon(1 / 64), ["firms"], years)
    assert step == WIDEST
    errors = [
        np.abs(values_at(PARK, sd.Scenario("base"), _horizon(one), ["firms"], years) / _exact(years) - 1.0).max()
        for one in (step, 1 / 64)
    ]
    assert errors[0] < 1e-5
    assert errors[1] < errors[0]


def _exact(years):
    land, start = (PARK.parameters[name].value for name in ("land", "initial firms"))
    grown = np.exp(PARK.parameters["growth rate"].value * (years - 2000.0))
    return (land * start * grown / (land + start * (grown - 1.0)))[:, None]


def test_a_fast_model_keeps_its_step():
    years = np.arange(2000.0, 2021.0)
    fast = sd.Scenario("fast", {"growth rate": 6.0})
    assert widest_step(PARK, fast, _horizon(1 / 16), ["firms"], years) < WIDEST


@pytest.mark.parametrize("moment", [2001.125, 2001.3])
def test_moments_between_steps_keep_the_step_short(moment):
    """A value read between two steps lies on a straight line, so steps must not grow past the moments."""
    step = widest_step(PARK, sd.Scenario("base"), _horizon(1 / 16), ["firms"], np.array([2000.0, moment]))
    assert step == (1 / 8 if moment == 2001.125 else 1 / 16)


def test_a_step_that_is_given_is_taken(tmp_path):
    data = cal.read_dataset(write_twin(tmp_path / "twin.csv"))
    assert cal.Likelihood(PARK, data, GAUGES, list(RANGES), step=0.125).step == 0.125
    assert cal.Likelihood(PARK, data, GAUGES, list(RANGES)).with_step(0.0625).horizon.step == 0.0625


def test_too_long_a_step_is_told():
    data = table(firms=("firms", {2002: 300.0, 2004: 480.0, 2006: 500.0, 2008: 499.0, 2010: 501.0}))
    gauges = cal.Measurement({"firms": cal.Level("firms")})
    space = sd.Space({"growth rate": (0.5, 4.0)})
    settings = {"noise": {"firms": 0.01}}
    coarse = cal.minimise(cal.Misfit(PARK, space, gauges, data, step=1.0, **settings), starts=1, progress=False)
    fine = cal.minimise(cal.Misfit(PARK, space, gauges, data, **settings), starts=1, progress=False)
    told = [[one for one in fit.verdicts if one.text.startswith("Halving")] for fit in (coarse, fine)]
    assert [one[0].good for one in told] == [False, True]
    assert told[0][0].text.endswith("Fit again with a smaller step.")
