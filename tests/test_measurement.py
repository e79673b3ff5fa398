"""Gauges: where they look and what they read, against integrals and ratios known in closed form."""

import numpy as np
import pytest

import calibration as cal
from calibration.measurement import log_scale
from sd_cluster.errors import FitError

YEARS = np.array([2001.0, 2004.0])


def _read(gauge, trajectory):
    """What a gauge makes of a trajectory given as a function of time."""
    times = gauge.times(YEARS)
    return gauge.read(trajectory(times))


def test_level_is_the_value_at_the_year_or_later_within_it():
    assert _read(cal.Level("firms"), lambda t: t).tolist() == [2001.0, 2004.0]
    assert _read(cal.Level("firms", at=0.75), lambda t: t).tolist() == [2001.75, 2004.75]


def test_rate_is_the_integral_over_the_year_that_ends_at_the_reported_time():
    total = _read(cal.Rate("entry"), lambda t: (t - 2000.0) ** 3)
    expected = [((year - 2000.0) ** 4 - (year - 2001.0) ** 4) / 4.0 for year in YEARS]
    assert total == pytest.approx(expected, rel=1e-12), "Simpson is exact for a cubic"


def test_rate_at_the_end_of_the_calendar_year():
    total = _read(cal.Rate("entry", at=1.0), lambda t: t)
    assert total == pytest.approx([2001.5, 2004.5], rel=1e-12)


def test_rate_of_exponential_growth():
    total = _read(cal.Rate("entry"), lambda t: np.exp(0.2 * (t - 2000.0)))
    expected = [(np.exp(0.2 * (y - 2000.0)) - np.exp(0.2 * (y - 2001.0))) / 0.2 for y in YEARS]
    assert total == pytest.approx(expected, rel=1e-7)


def test_index_is_a_hundred_in_its_base_year():
    index = _read(cal.Index("firms", base_year=2001), lambda t: t - 1999.0)
    assert index.tolist() == [100.0, 250.0]


def test_scale_is_the_geometric_mean_of_the_ratio():
    predicted, observed = np.array([1.0, 2.0, 4.0]), np.array([3.0, 6.0, 24.0])
    assert np.exp(log_scale(predicted, observed)) == pytest.approx((3.0 * 3.0 * 6.0) ** (1 / 3))


def test_measurement_says_which_variables_and_times_it_needs():
    gauges = cal.Measurement({"firms": cal.Level("firms"), "births": cal.Rate("entry"), "units": cal.Level("firms")})
    years = {"firms": np.array([2001.0]), "births": np.array([2002.0]), "units": np.array([2002.0])}
    assert gauges.variables == ("firms", "entry")
    assert gauges.times(years).tolist() == [2001.0, 2001.25, 2001.5, 2001.75, 2002.0]


def test_measurement_maps_a_trajectory_to_each_statistic():
    gauges = cal.Measurement({"firms": cal.Level("firms"), "births": cal.Rate("entry")})
    years = {"firms": np.array([2001.0, 2002.0]), "births": np.array([2002.0])}
    times = gauges.times(years)
    outputs = np.column_stack([10.0 * times, np.full_like(times, 7.0)])
    predicted = dict(gauges.predict(years, times, outputs))
    assert predicted["firms"].tolist() == [20010.0, 20020.0]
    assert predicted["births"] == pytest.approx([7.0])


def test_a_measurement_needs_gauges():
    with pytest.raises(FitError, match=r"^the measurement is empty; name an indicator, such as "):
        cal.Measurement({})
    with pytest.raises(FitError) as caught:
        cal.Measurement({"firms": "member firms"})
    assert str(caught.value) == "'firms' is measured by 'member firms'; expected a gauge, such as Level('member firms')"
