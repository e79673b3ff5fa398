"""Drawings: axes named with units, labels that do not collide, files that are whole and the same each time."""

import subprocess
import sys

import numpy as np
import pytest

import sd_cluster as sd
from sd_cluster import look, plot
from sd_cluster.errors import ModelError

TIMES = np.linspace(2000.0, 2040.0, 81)


def make_run(name="base", scale=1.0):
    """A run of four variables without a simulation."""
    growth = 1 / (1 + np.exp(-0.2 * (TIMES - 2015)))
    columns = {
        "member firms": ("firm", 600 * scale * growth),
        "trust": ("Dmnl", 0.3 + 0.4 * scale * growth),
        "supply contact": ("1/Year", 0.1 + 0.2 * growth),
        "informal contact": ("1/Year", 0.3 - 0.1 * growth),
    }
    values = np.column_stack([values for _, values in columns.values()])
    return sd.Run(TIMES.copy(), values, tuple(columns), tuple(unit for unit, _ in columns.values()), scenario=name)


BASE, OPEN = make_run(), make_run("open", 1.3)


def run_python(code):
    """Run code in a Python of its own; it must end well."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def texts(figure):
    """Every text of a figure."""
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_compare_names_its_lines_axes_and_units():
    figure = plot.compare([BASE, OPEN], "Member_Firms")
    axes = figure.axes[0]
    assert axes.get_ylabel() == "firm"
    assert axes.get_xlabel() == "year"
    assert {"base", "open"} <= set(texts(figure))
    assert axes.lines[0].get_ydata()[-1] == BASE["member firms"][-1]


def test_compare_shows_data_beside_the_run():
    figure = plot.compare(BASE, "member firms", data={2005.0: 100.0, 2010.0: 200.0})
    points = figure.axes[0].lines[-1]
    assert points.get_xdata().tolist() == [2005.0, 2010.0]
    assert "data" in texts(figure)


def test_compare_takes_a_pandas_series_as_data():
    import pandas as pd

    figure = plot.compare(BASE, "member firms", data=pd.Series([100.0, 200.0], index=[2005, 2010]))
    assert figure.axes[0].lines[-1].get_ydata().tolist() == [100.0, 200.0]


def test_an_unknown_variable_names_its_neighbour():
    with pytest.raises(ModelError, match=r"no variable 'member firm' \(did you mean 'member firms'\?\)"):
        plot.compare(BASE, "member firm")


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="at least one run"):
        plot.compare([], "trust")


def test_panel_has_one_chart_for_each_variable_with_its_unit():
    figure = plot.panel([BASE, OPEN], BASE.names, columns=3, mark=2020.0)
    drawn = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_ylabel() for axes in drawn] == ["firm", "dimensionless", "1/year", "1/year"]
    assert [axes.get_xlabel() for axes in drawn] == ["", "year", "year", "year"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["base", "open"]


def test_shares_fill_the_chart():
    figure = plot.stacked(BASE, ["supply contact", "informal contact"])
    top = figure.axes[0].lines[-1].get_ydata()
    np.testing.assert_allclose(top, 100.0, rtol=1e-12)
    assert figure.axes[0].get_ylabel() == "share of the sum, %"


def test_amounts_keep_their_unit():
    assert plot.stacked(BASE, ["supply contact"], shares=False).axes[0].get_ylabel() == "1/year"


def test_phase_has_units_on_both_axes():
    axes = plot.phase([BASE, OPEN], "trust", "member firms").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Trust", "Member firms (firm)")


def test_threshold_marks_the_separatrix():
    values = np.linspace(0, 1, 11)
    figure = plot.threshold(
        values, np.where(values > 0.42, 9.0, 1.0), separatrix=0.42, x_label="initial trust", y_label="ideas",
        mark=(0.6, "here"), sides=("stays poor", "takes off"),
    )  # fmt: skip
    assert {"threshold 0.42", "here", "stays poor", "takes off"} <= set(texts(figure))
    poor, rich = figure.axes[0].lines[:2]
    assert (len(poor.get_xdata()), len(rich.get_xdata())) == (5, 6)


def test_response_draws_each_outcome_and_points_out_a_value():
    lever = np.linspace(0, 1, 5)
    figure = plot.response(
        lever, {"closed": lever, "open": 2 * lever}, x_label="talent flow", y_label="firm", mark=(0.5, "now")
    )
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("talent flow", "firm")
    assert {"closed", "open", "now"} <= set(texts(figure))


def test_bars_bear_their_numbers():
    figure = plot.bars({"neither": 264.2, "both": 1490.4}, y_label="knowledge")
    assert {"neither", "both", "264", "1,490"} <= set(texts(figure))
    assert [bar.get_height() for bar in figure.axes[0].patches] == [264.2, 1490.4]


@pytest.mark.parametrize("ends", [[0.5, 0.5, 0.5], [0.0, 0.01, 1.0], [1.0, 0.99, 0.98, 0.2]])
def test_labels_at_line_ends_never_overlap(ends):
    needed = np.full(len(ends), 0.1)
    placed = look.spread(np.array(ends), needed)
    gaps = np.diff(np.sort(placed))
    assert (gaps >= 0.1 - 1e-9).all()
    assert (np.argsort(placed) == np.argsort(ends, kind="stable")).all()


def test_the_readers_own_settings_come_back():
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    plot.compare(BASE, "trust")
    assert matplotlib.rcParams["font.size"] == before


def test_pyplot_is_never_imported():
    run_python(
        "import sys, numpy as np, sd_cluster as sd\n"
        "run = sd.Run(np.arange(3.0), np.ones((3, 1)), ('x',), ('firm',))\n"
        "sd.plot.compare(run, 'x')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )


def test_importing_the_package_draws_nothing_in():
    run_python("import sys, sd_cluster; assert 'matplotlib' not in sys.modules")


def test_saved_files_are_the_same_each_time(tmp_path):
    first = plot.save(plot.panel([BASE, OPEN], ["trust", "member firms"]), tmp_path / "a", "trust")
    second = plot.save(plot.panel([BASE, OPEN], ["trust", "member firms"]), tmp_path / "b", "trust")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert len(one.read_bytes()) < 200_000
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["trust.png", "trust.svg"]


def test_saved_files_say_nothing_of_the_day(tmp_path):
    _, svg = plot.save(plot.compare(BASE, "trust"), tmp_path, "trust")
    assert "dc:date" not in svg.read_text()


@pytest.mark.parametrize(
    ("value", "text"), [(150000.0, "150,000"), (0.25, "0.25"), (-3.0, "−3"), (0.0, "0"), (1000.0, "1,000")]
)
def test_ticks_read_well(value, text):
    assert look.tick_text(value) == text
