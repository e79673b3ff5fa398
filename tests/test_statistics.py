"""Statistics of fit against sums that can be done by hand, and against textbook identities."""

import numpy as np
import pytest

from calibration.statistics import durbin_watson, r_squared, rmspe, theil


def test_theil_of_a_constant_error_is_all_bias():
    shares = theil([3.0, 5.0, 9.0], [1.0, 3.0, 7.0])
    assert (shares.bias, shares.variation, shares.covariation) == (1.0, 0.0, 0.0)


def test_theil_of_a_doubled_swing_is_all_variation():
    observed = np.array([-1.0, 0.0, 1.0])
    shares = theil(2.0 * observed, observed)
    assert shares.bias == 0.0
    assert shares.variation == pytest.approx(1.0, rel=1e-12)
    assert shares.covariation == pytest.approx(0.0, abs=1e-12)


def test_theil_of_a_reversed_swing_is_all_covariation():
    observed = np.array([-1.0, 0.0, 1.0])
    shares = theil(-observed, observed)
    assert (shares.bias, shares.variation, shares.covariation) == (0.0, 0.0, 1.0)


def test_theil_follows_the_published_formula_for_covariation():
    rng = np.random.default_rng(3)
    observed = rng.normal(10.0, 2.0, 40)
    simulated = 0.7 * observed + rng.normal(2.0, 1.0, 40)
    shares = theil(simulated, observed)
    r = np.corrcoef(simulated, observed)[0, 1]
    mse = np.mean((simulated - observed) ** 2)
    expected = 2.0 * (1.0 - r) * simulated.std() * observed.std() / mse
    assert shares.covariation == pytest.approx(expected, rel=1e-9)
    assert shares.bias + shares.variation + shares.covariation == pytest.approx(1.0, rel=1e-12)


def test_theil_of_a_perfect_simulation_has_nothing_to_split():
    shares = theil([1.0, 2.0], [1.0, 2.0])
    assert np.isnan([shares.bias, shares.variation, shares.covariation]).all()


def test_durbin_watson_by_hand():
    assert durbin_watson([1.0, 2.0, 4.0]) == pytest.approx((1.0 + 4.0) / (1.0 + 4.0 + 16.0))


def test_durbin_watson_is_near_two_for_unrelated_and_near_zero_for_slow_residuals():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=20_000)
    assert durbin_watson(noise) == pytest.approx(2.0, abs=0.05)
    assert durbin_watson(np.cumsum(noise)) < 0.01


@pytest.mark.parametrize("residuals", [[], [1.0], [0.0, 0.0, 0.0]])
def test_durbin_watson_without_anything_to_compare_is_nan(residuals):
    assert np.isnan(durbin_watson(residuals))


def test_r_squared_by_hand():
    assert r_squared([1.0, 2.0, 4.0], [1.0, 2.0, 3.0]) == pytest.approx(1.0 - 1.0 / 2.0)


def test_r_squared_of_constant_observations_is_nan():
    assert np.isnan(r_squared([1.0, 2.0], [2.0, 2.0]))


def test_rmspe_by_hand():
    assert rmspe([90.0, 130.0], [100.0, 100.0]) == pytest.approx(np.sqrt((0.01 + 0.09) / 2.0))


def test_series_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"one common length.*\(2,\) and \(3,\)"):
        theil([1.0, 2.0], [1.0, 2.0, 3.0])
