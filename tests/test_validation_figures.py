"""Figures of validation: drawn without a fault, and showing what they should."""

import numpy as np
import pytest
from forecasting import VALUES, Found, objective_of, park_likelihood

from calibration.checks import check_predictions
from calibration.standardising import residual_checks
from calibration.validation import hold_out, validate
from calibration.validation_figures import (
    draw_agreement,
    draw_calibration,
    draw_checks,
    draw_forecast,
    draw_residuals,
)
from sd_cluster.errors import FitError
from sd_cluster.look import save

YEARS = np.arange(2000.0, 2026.0)


@pytest.fixture(scope="module")
def validated():
    """A park and its validation from draws around the truth."""
    whole = park_likelihood(YEARS, noise=0.05, names=("firms", "staff", "revenue"), seed=1)
    split = hold_out(whole, last=2014.0)
    objective = objective_of(*split.training)
    truth = objective.place(VALUES)
    return validate(Found(objective, truth), split, source=np.tile(truth, (40, 1)))


def test_a_fan_has_a_chart_for_each_series_with_its_figures(validated, tmp_path):
    figure = draw_forecast(validated)
    charts = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in charts] == ["Firms", "Staff", "Revenue"]
    labels = charts[0].get_legend_handles_labels()[1]
    assert labels[:3] == ["model, 95 %", "model, 80 %", "model, median"]
    assert {"last value", "drift", "logistic curve", "exponential smoothing", "known", "held out"} <= set(labels)
    low, high = charts[0].get_ylim()
    assert low <= validated["firms"].observed.min() and high >= validated["firms"].observed.max()
    assert save(figure, tmp_path, "fan")[0].stat().st_size > 10_000


def test_one_series_can_be_chosen_and_a_wrong_one_is_told(validated):
    assert len([axes for axes in draw_forecast(validated, ["staff"]).axes if axes.axison]) == 1
    with pytest.raises(FitError, match="did you mean 'firms'"):
        draw_forecast(validated, ["firmss"])
    with pytest.raises(FitError, match="nothing was held out of region 'prk'"):
        draw_forecast(validated, region="prk")


def test_agreement_has_one_scale_on_both_axes(validated, tmp_path):
    figure = draw_agreement(validated)
    assert all(axes.get_xlim() == axes.get_ylim() for axes in figure.axes if axes.axison)
    assert save(figure, tmp_path, "agreement")[0].exists()


def test_residuals_are_drawn_with_and_without_enough_figures(tmp_path):
    many = residual_checks(park_likelihood(YEARS, noise=0.05, seed=1), VALUES)
    few = residual_checks(park_likelihood(YEARS[:3], noise=0.05, seed=1), VALUES)
    figure = draw_residuals([*many, *few])
    assert len(figure.axes) == 4 and save(figure, tmp_path, "residuals")[0].exists()


@pytest.mark.parametrize("count", [3, 200])
def test_calibration_counts_every_figure(count, tmp_path):
    places = (np.arange(count) + 0.5) / count
    figure = draw_calibration(places)
    left, right = figure.axes
    assert (
        sum(bar.get_height() for bar in left.patches if hasattr(bar, "get_height") and bar.get_width() < 1.0) >= count
    )
    heights = [bar.get_height() for bar in right.patches]
    if count == 200:
        assert np.allclose(heights, [20, 40, 50, 60, 80, 90, 95], atol=1.0)
    assert save(figure, tmp_path, "calibration")[0].exists()


def test_checks_have_a_row_for_each_series_and_a_column_for_each_statistic(tmp_path):
    objective = objective_of(park_likelihood(YEARS, noise=0.05, names=("firms", "staff"), seed=1))
    found = check_predictions(objective, np.tile(objective.place(VALUES), (60, 1)), seed=1)
    figure = draw_checks(found)
    assert len(figure.axes) == 10 and save(figure, tmp_path, "checks")[0].exists()
    with pytest.raises(FitError, match="no checks of region 'prk'"):
        draw_checks(found, region="prk")
