"""Priors worked out together give what each gives alone."""

import numpy as np
import pytest
from scipy import stats

from calibration.prior_stack import PriorStack
from calibration.priors import Beta, Law, LogitNormal, LogNormal, LogUniform, Normal, Uniform

PRIORS = [
    Uniform(0.0, 2.0), LogNormal(0.2, 3.0), Normal(1.0, 0.3), LogUniform(0.01, 5.0), Uniform(-3.0, -1.0),
    LogNormal(40.0, 1.5, low=3.0), LogitNormal(0.3, 0.6), Beta(2.0, 3.0), LogUniform(10.0, 1e6),
    LogitNormal(2.0, 4.0, low=1.0, high=5.0), Law(stats.gamma(3.0, scale=0.1)), Normal(-2.0, 4.0),
]  # fmt: skip
WHAT = ["value", "slope", "penalty", "penalty_slope", "curvature", "log_density", "log_density_slope"]


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("priors", [PRIORS, PRIORS[:1], [PRIORS[0], PRIORS[4]], PRIORS[7:8]])
def test_together_as_alone(what, priors):
    """One to the last digit: a search must not hang on how its unknowns are grouped."""
    places = np.random.default_rng(1).normal(0.0, 2.0, (5, len(priors)))
    alone = np.stack([getattr(one, what)(places[:, k]) for k, one in enumerate(priors)], axis=-1)
    assert np.array_equal(getattr(PriorStack(priors), what)(places), alone)
    assert np.array_equal(getattr(PriorStack(priors), what)(places[2]), alone[2])
