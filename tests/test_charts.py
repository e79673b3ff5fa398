"""Charts of many runs: what is drawn is what was given, the axes are named, failed runs are left out."""

import numpy as np
import pytest

from sd_cluster import charts, plot

TIMES = np.arange(2000.0, 2021.0)
NAMES = ("talent flow", "trust", "training")


def runs(n=200, seed=0):
    return np.random.default_rng(seed).lognormal(3, 0.5, n)[:, None] * (TIMES - 1999)


def texts(figure):
    """Every text of a figure, as a reader sees it."""
    from matplotlib.text import Text

    return {" ".join(text.get_text().split()) for text in figure.findobj(Text) if text.get_text()}


def edges(band):
    """Lowest and highest height of a band at each time."""
    points = band.get_paths()[0].vertices
    return np.array([[points[points[:, 0] == year, 1].min(), points[points[:, 0] == year, 1].max()] for year in TIMES])


def test_a_fan_holds_the_shares_it_names():
    values = runs()
    axes = charts.fan(TIMES, values, title="Firms", unit="firm", bands=(0.5, 0.9)).axes[0]
    for band, share in zip(axes.collections, (0.9, 0.5), strict=True):
        expected = np.quantile(values, [0.5 - share / 2, 0.5 + share / 2], axis=0).T
        np.testing.assert_allclose(edges(band), expected, rtol=1e-12)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.median(values, axis=0), rtol=1e-12)
    assert {"Firms", "firm", "year", "median", "50 % of runs", "90 % of runs"} <= texts(axes.figure)


def test_failed_runs_are_left_out_of_a_fan():
    values = runs()
    values[3, 5:] = np.nan
    axes = charts.fan(TIMES, values).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.median(np.delete(values, 3, axis=0), axis=0), rtol=1e-12)
    assert "no run came to its end" in texts(charts.fan(TIMES, np.full((2, TIMES.size), np.nan)))


def test_a_fan_shows_a_reference_and_data():
    figure = charts.fan(TIMES, runs(), reference=TIMES - 1990, data=([2005.0], [50.0]))
    assert {"base", "data"} <= texts(figure)
    assert figure.axes[0].lines[-1].get_ydata().tolist() == [50.0]


def test_fans_have_a_chart_each():
    figure = charts.fans(TIMES, {"firms": runs(), "trust": runs(seed=1)}, units={"firms": "firm", "trust": "Dmnl"})
    assert [axes.get_ylabel() for axes in figure.axes] == ["firm", "dimensionless"]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"90 % of runs", "50 % of runs", "median"}


def test_a_tornado_has_the_widest_at_the_top():
    figure = charts.tornado(NAMES, [9, 5, 10], [11, 20, 10.5], base=10, x_label="firms")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["trust", "talent flow", "training"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    ends = sorted(bar.get_x() + bar.get_width() for bar in axes.patches)
    assert ends == [5, 9, 10, 10.5, 11, 20]


def test_a_bar_never_hides_the_shorter_one_on_its_side():
    bars = charts.tornado(["a"], [12], [15], base=10).axes[0].patches
    assert bars[0].get_zorder() > bars[1].get_zorder()


def test_what_is_not_drawn_is_counted():
    many = [f"p{i}" for i in range(20)]
    assert "firms (5 weaker parameters not shown)" in texts(
        charts.tornado(many, -np.arange(20.0), np.arange(20.0), x_label="firms")
    )
    assert "share (19 weaker parameters not shown)" in texts(
        charts.indices(many, {"total": np.arange(20.0)}, x_label="share", keep=1)
    )


def test_indices_go_by_their_last_kind_and_keep_their_intervals():
    total = np.array([0.1, 0.7, 0.3])
    figure = charts.indices(
        NAMES, {"first": [0.3, 0.2, 0.1], "total": total}, intervals={"total": (total - 0.1, total + 0.2)}
    )
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["trust", "training", "talent flow"]
    assert axes.lines[-1].get_xdata().tolist() == [0.7, 0.3, 0.1]
    spans = np.array([path.vertices[:, 0] for path in axes.collections[0].get_paths()])
    np.testing.assert_allclose(spans, [[0.6, 0.9], [0.2, 0.5], [0.0, 0.3]], atol=1e-12)


def test_areas_stack_to_the_sum_of_the_shares():
    shares = np.array([[0.1] * 21, [0.5] * 21, [-0.01] * 21])
    figure = charts.index_areas(TIMES, NAMES, shares, title="Firms")
    assert figure.axes[0].lines[-1].get_ydata()[-1] == pytest.approx(60)
    assert {"trust", "talent flow", "together with others"} <= texts(figure)
    assert "training" not in texts(figure), "a share that chance brought below zero has no area"


def test_shares_beyond_one_are_parts_of_their_sum():
    figure = charts.index_areas(TIMES, ["a", "b"], np.full((2, 21), 0.8))
    assert figure.axes[0].lines[-1].get_ydata().max() == pytest.approx(100)


def test_a_time_without_variance_leaves_a_gap():
    shares = np.full((2, 21), 0.4)
    shares[:, 0] = np.nan
    figure = charts.index_areas(TIMES, ["a", "b"], shares)
    assert np.isnan(figure.axes[0].lines[0].get_ydata()[0])


def test_morris_plane_names_its_points_and_rays():
    figure = charts.morris_plane(NAMES, [10, 5, 1], [1, 5, 0.2], intervals=([9, 4, 1], [11, 6, 1]), unit="firm")
    found = texts(figure)
    assert {"talent flow", "trust", "spread = strength", "half", "a tenth", "spread of its effect (firm)"} <= found
    assert figure.axes[0].lines[-1].get_xdata().tolist() == [10, 5, 1]


def test_names_in_the_plane_never_overlap():
    random = np.random.default_rng(4)
    many = [f"a parameter of {i}" for i in range(30)]
    figure = charts.morris_plane(many, random.random(30), random.random(30), keep=30)
    figure.draw_without_rendering()
    named = [text for text in figure.axes[0].texts if text.get_text().startswith("a parameter")]
    boxes = [text.get_window_extent() for text in named]
    assert len(boxes) > 8
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_a_scatter_draws_the_trend_of_all_runs():
    random = np.random.default_rng(1)
    x = random.random(5000)
    y = 3 * x + random.normal(0, 0.1, 5000)
    y[7] = np.nan
    axes = charts.scatter({"trust": x}, y, y_label="firms", success=y > 1.5, most=500).axes[0]
    points = sum(len(line.get_xdata()) for line in axes.lines[:2])
    assert 400 <= points <= 500
    trend = axes.lines[-1]
    np.testing.assert_allclose(trend.get_ydata(), 3 * trend.get_xdata(), atol=0.03)
    assert axes.get_xlabel() == "Trust"
    assert "firms · line: median, band: middle half" in texts(axes.figure)


def test_a_box_tells_its_limits():
    limits = {"trust": (0.3, 1.0), "training": (0.0, 0.8)}
    ranges = dict.fromkeys(limits, (0.0, 1.0))
    random = np.random.default_rng(1)
    points = ({name: random.random(50) for name in limits}, random.random(50) > 0.5)
    alone = charts.box(limits, ranges, density=0.9, coverage=0.5, title="Take-off")
    assert {
        "0.3",
        "1",
        "0",
        "0.8",
        "Take-off",
        "90 % of the runs inside succeed 50 % of the successes lie inside",
    } <= texts(alone)
    plane = charts.box(limits, ranges, points=points).axes[1]
    box = plane.patches[0]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == pytest.approx((0.3, 0, 0.7, 0.8))


def test_the_same_chart_is_the_same_file(tmp_path):
    for folder in ("a", "b"):
        plot.save(charts.scatter({"trust": np.arange(50.0)}, np.arange(50.0)), tmp_path / folder, "s")
        plot.save(charts.fan(TIMES, runs()), tmp_path / folder, "f")
    for name in ("s.png", "s.svg", "f.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
