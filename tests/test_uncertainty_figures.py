"""Figures of what the data cannot say: what they show, number for number."""

import numpy as np
import pytest
from landscapes import linear, powers

from calibration.identifiability import identify
from calibration.profiles import profiles
from calibration.uncertainty_figures import draw_collinearity, draw_narrowing, draw_profiles, draw_worth
from calibration.worth import Item, Worth


@pytest.fixture(scope="module")
def toy():
    return linear([[1.0, 0.5], [0.3, 1.0]], 0.5)


def test_profiles_stand_on_their_points(toy):
    found = profiles(toy, place=np.zeros(2), workers=1, progress=False)
    alone = profiles(toy, place=np.zeros(2), workers=1, progress=False, priors=False)
    figure = draw_profiles(found, alone, columns=2)
    axes = figure.axes[0]
    points = axes.lines[2]
    np.testing.assert_array_equal(points.get_xdata(), found["x0"].values[:, 0])
    np.testing.assert_array_equal(points.get_ydata(), found["x0"].rises)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "with priors", "data alone", "cut-off", "optimum", "prior"
    ]  # fmt: skip
    assert axes.get_xscale() == "linear" and len(draw_profiles(list(found.values())).axes) == 2


def test_wide_profiles_are_drawn_on_a_logarithmic_axis():
    found = profiles(powers([[1, 1]], sigma=0.002), place=np.zeros(2), workers=1, progress=False, priors=False)
    figure = draw_profiles(found)
    assert figure.axes[0].get_xscale() == "log"
    figure.draw_without_rendering()


def test_a_matrix_of_pairs_shows_both_halves(toy):
    found = identify(toy, np.zeros(2))
    texts = [text.get_text() for text in draw_collinearity(found).axes[0].texts]
    assert texts == [f"{found.pairs[0, 1]:.1f}", f"{found.correlation[1, 0]:.1f}".replace("-", "−")]
    framed = draw_collinearity(identify(powers([[1, 1]]), np.zeros(2)))
    assert "∞" in [text.get_text() for text in framed.axes[0].texts]
    framed.draw_without_rendering()


def test_bars_of_narrowing_are_in_order(toy):
    found = identify(toy, np.zeros(2))
    figure = draw_narrowing(found)
    lengths = [patch.get_width() for patch in figure.axes[0].patches][2:]
    assert lengths == sorted(lengths)
    np.testing.assert_allclose(lengths, np.sort(100.0 * found.narrowed))
    figure.draw_without_rendering()


@pytest.mark.parametrize("targets", [("x0",), ("x0", "x1")])
def test_bars_of_worth_are_cut_where_they_are_too_long(targets):
    items = (
        Item("'firms' in 2026", "further", "x0", 0.4, 0.3, True, 0.25, 1.0),
        Item("'trust' in 2026", "further", "x1", 0.4, 0.4, True, 0.0, 0.0),
        Item("'firms'", "without", "x0", 0.4, 4.0, True, -9.0, -12.0),
    )
    found = Worth(targets, items, np.ones((3, len(targets))), np.ones(len(targets)))
    figure = draw_worth(found)
    lengths = [patch.get_width() for patch in figure.axes[0].patches]
    assert lengths[2] == (25.0 if len(targets) == 1 else 1.0) and lengths[0] > -40.0
    cut = [text.get_text() for text in figure.axes[0].texts if text.get_text().startswith("‹")]
    assert cut == (["‹ −900 %"] if len(targets) == 1 else ["‹ −12"])
    assert len(draw_worth(found, most=1).axes[0].patches) == 2
    figure.draw_without_rendering()
