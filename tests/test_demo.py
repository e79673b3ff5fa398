"""The demonstration: all its files, a page that needs nothing else, sentences that tell what was found."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import calibration as cal
import sd_cluster as sd
from calibration import demo_chapters, fit_words, sentences, study, thresholds
from calibration.assessment import _on_series
from calibration.chapter import load_chapter
from calibration.demo import FIGURES, run_demo
from calibration.figures import draw_fit, draw_thresholds, signed
from calibration.fit import SeriesFit
from calibration.report import bound
from calibration.stages import STAGES
from calibration.study import SECTIONS, Study
from calibration.words import counted, listed
from sd_cluster.model import CONTROLS

pytestmark = pytest.mark.slow  # the first command of the README is the same job, and CI runs it, too

SMALL = Study().smaller(starts=1, points=5, draws=30)

FIT_FIGURES = (
    "audit",
    "prior-checks",
    "fit",
    "starts",
    "residuals",
    "narrowing",
    "collinearity",
    "profiles",
    "worth",
    "posterior",
    "traces",
    "intervals",
    "predictive-checks",
    "predictions",
    "variables",
    "forecast",
    "calibration",
    "agreement",
)
FIT_TABLES = (
    "audit", "audit-findings", "priors", "prior-checks", "identifiability-before", "estimates", "series",
    "data-and-model", "starts", "residual-tests", "identifiability", "profiles", "profile-points", "worth", "posterior",
    "intervals", "leave-one-out", "predictive-checks", "predictions", "variables", "validation",
)  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small study: its folder, its findings, and what it said on the way."""
    folder = tmp_path_factory.mktemp("study") / "demo"
    heard = []
    found = run_demo(folder, SMALL, workers=1, progress=False, told=lambda what, done: heard.append((what, done)))
    return folder, found, heard


class Page(HTMLParser):
    """Collects the addresses, the ids and the visible words of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.ids, self.words, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "data"}:
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def page(demo):
    text = (demo[0] / "report.html").read_text()
    return text, Page(text)


def test_every_file_is_there(demo):
    folder, _, _ = demo
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    names = {name for name in names if not name.startswith("kept/")}
    figures = {f"figures/{name}.{kind}" for name in (*FIGURES, *FIT_FIGURES) for kind in ("png", "svg")}
    after = ("stocks", "channels", "policies", "policy-changes", "lever-effects", "pair", "threshold")
    tables = {f"tables/{name}.csv" for name in (*FIT_TABLES, *after)}
    runs = {"base", "fitted", "4-1-enterprises", "4-2-agencies", "4-3-public-services", "4-4-government"}
    runs |= {"route-128-closed-firms", "silicon-valley-open-firms"}
    alone = {"report.html", "study.toml", "fit.json", "training-fit.json", "posterior.nc"}
    stages = {f"stages/{key}.json" for key in STAGES}
    assert names == alone | stages | figures | tables | {f"runs/{name}.nc" for name in runs}


def test_the_page_needs_nothing_else(page):
    text, parsed = page
    assert all(address.startswith("#") for address in parsed.addresses)
    assert "@import" not in text
    assert "script" not in parsed.tags
    assert not re.search(r"url\((?!#)", text)
    assert parsed.tags.count("svg") == len(FIGURES) + len(FIT_FIGURES)


def test_every_address_on_the_page_leads_somewhere(page):
    _, parsed = page
    assert len(parsed.ids) == len(set(parsed.ids)), "ids of figures must not mix"
    assert {address[1:] for address in parsed.addresses} <= set(parsed.ids)


def test_figures_take_the_colours_of_the_page(page):
    text, _ = page
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    shades = [drawing for drawing in drawings if re.search(r"#[0-9a-f]{6}\b", drawing)]
    assert len(shades) <= 1, "only the fan of variables has tints between those of the palette"
    assert not any("<style" in drawing or "<metadata" in drawing for drawing in drawings)


def test_no_number_is_missing(page):
    words = " ".join(page[1].words)
    assert not re.search(r"\b(nan|inf|None)\b", words)


def test_the_page_tells_what_every_stage_says(demo, page):
    words = " ".join(" ".join(page[1].words).replace("\N{NO-BREAK SPACE}", " ").split())
    for key, stage in STAGES.items():
        assert stage.title in words
        chapter = load_chapter(demo[0] / "stages" / f"{key}.json")
        for block in chapter.blocks:
            for text in getattr(block, "lines", ()):
                assert " ".join(text.split()) in words


def test_policies_start_in_their_year_and_raise_their_levers(demo):
    _, found, _ = demo
    its = found.policies
    before = its.base.times < its.year
    by_lever = study.levers(found.model)
    for run in its.runs:
        np.testing.assert_allclose(run.values[before], its.base.values[before], rtol=1e-6, atol=1e-9)
        for lever, section in by_lever.items():
            wanted = its.base[lever][-1]
            if run.scenario.startswith(section):
                wanted = min(1.0, wanted + SMALL.raise_by)
            assert run[lever][-1] == pytest.approx(wanted), f"{run.scenario}: {lever}"


def test_every_section_has_levers(demo):
    assert set(study.levers(demo[1].model).values()) == set(SECTIONS)


def test_changes_in_the_table_are_those_of_the_runs(demo):
    folder, found, _ = demo
    table = pd.read_csv(folder / "tables" / "policy-changes.csv")
    row = table[(table.policy == "4.1 enterprises") & (table.variable == "member firms")]
    ends = [float(run["member firms"][-1]) for run in (found.policies.runs[0], found.policies.base)]
    assert row.change_percent.item() == pytest.approx(100 * (ends[0] / ends[1] - 1), rel=1e-8)


def test_saved_runs_are_the_runs(demo):
    folder, found, _ = demo
    run = sd.load_run(folder / "runs" / "base.nc")
    np.testing.assert_array_equal(run.values, found.policies.base.values)
    assert run.provenance["digest"] == found.model.digest


def test_the_saved_fit_comes_back(demo):
    folder, found, _ = demo
    assert cal.load_fit(folder / "fit.json").values == found.fit.values


def test_the_line_passes_where_the_fit_predicts(demo):
    _, found, _ = demo
    for series in found.fit.series:
        years, line = found.lines[series.indicator]
        np.testing.assert_allclose(np.interp(series.years, years, line), series.predicted, rtol=1e-3)


def test_progress_goes_up_to_the_end(demo):
    done = [part for _, part in demo[2]]
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_an_interrupt_leaves_whole_files_and_is_taken_up(demo, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    shutil.copytree(demo[0], tmp_path / "demo")
    for part in ("runs", "report.html"):
        place = tmp_path / "demo" / part
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    heard = []
    monkeypatch.setattr("calibration.demo.run_pair", stop)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "demo", SMALL, progress=False, staged=lambda *told: heard.append(told[-1]))
    names = {path.name for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    assert {"fit.json", "base.nc", "levers.svg", "policies.csv"} <= names
    assert "report.html" not in names
    assert not any(name.startswith(".") for name in names)
    assert heard == [True] * len(STAGES), "what was done is not done again"


def test_a_fit_cut_short_is_kept_and_ends_the_study(demo, tmp_path, monkeypatch):
    monkeypatch.setattr("calibration.study_work.minimise", lambda *_, **__: demo[1].fit)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, replace(SMALL, starts=5), progress=False)
    assert (tmp_path / "fit.json").is_file()
    assert not (tmp_path / "runs").exists()


def test_the_model_has_every_variable_the_sentences_name(demo):
    for name in demo_chapters.variables_said():
        demo[1].model.variable(name)


def two_basins(trust):
    """A threshold at 0.31."""
    return 9000.0 if trust > 0.31 else 800.0


@pytest.mark.parametrize(("outcome", "expected"), [(two_basins, 0.31), (lambda trust: 800 + 900 * trust, np.nan)])
def test_the_threshold_is_found_where_there_is_one(monkeypatch, outcome, expected):
    class Answer:
        def __init__(self, value):
            self.value = value

        def at(self, year):
            return {"shared knowledge base": self.value}

    monkeypatch.setattr(
        thresholds, "simulate", lambda model, scenario, **_: Answer(outcome(scenario.changes["initial trust"]))
    )
    model = sd.load(SMALL.model)
    found = thresholds.find_threshold(model, sd.Scenario("base"), SMALL.trust, name="made", start=2000.0)
    assert found.separatrix == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_sentences_follow_the_results(demo):
    """A better policy in the results is the one the sentence names."""
    _, found, _ = demo
    end = found.policies.base.times[-1]
    best = max(found.policies.runs, key=lambda run: run.at(end)[sentences.KNOWLEDGE])
    assert f"policy of {best.scenario[4:]}" in sentences.policies(found)
    turned = replace(found, policies=replace(found.policies, runs=found.policies.runs[:1]))
    assert "policy of enterprises" in sentences.policies(turned)


def test_what_was_not_fitted_is_said(demo):
    _, found, _ = demo
    text = sentences.held(found)
    for name, value in SMALL.fixed.items():
        assert name in text
        assert found.policies.base[name][0] == value
    doubts = " ".join(sentences.doubts(found))
    for sentence in found.doubts.sentences:
        assert sentence in doubts
    assert set(SMALL.doubtful) <= set(found.doubts.names)


def test_the_horizon_is_no_parameter(demo):
    """The report counted INITIAL TIME, FINAL TIME, TIME STEP and SAVEPER as parameters left as they are."""
    _, found, _ = demo
    count = len([name for name in found.model.parameters if name not in CONTROLS])
    assert f"and {count} parameters, of which" in sentences.model(found)
    rest = count - len(SMALL.free) - len(SMALL.fixed)
    assert sentences.held(found).startswith(f"{rest} parameters were left as the model file has them.")


def with_ratios(found, *ratios):
    """Findings whose series have these Durbin-Watson ratios."""

    class Made:
        def __init__(self, series, ratio):
            self.series, self.durbin_watson = series, ratio

        def __getattr__(self, name):
            return getattr(self.series, name)

        in_waves = SeriesFit.in_waves

    made = [Made(series, ratio) for series, ratio in zip(found.fit.series, ratios, strict=False)]
    return replace(found.fit, series=tuple(made))


def test_residuals_are_told_by_the_same_cut_as_in_the_verdicts(demo):
    """With a Durbin-Watson of 1.25 it said: near 2 in all series."""
    _, found, _ = demo
    names = [series.indicator for series in found.fit.series]
    good = fit_words.hanging_together(with_ratios(found, 1.9, 2.1, 1.6))
    assert "(Durbin–Watson 1.60 to 2.10): no trend is left" in good
    middling = fit_words.hanging_together(with_ratios(found, 1.9, 1.25, 1.1))
    assert "no trend is left" not in middling
    assert "for years on end" not in middling
    assert f"Residuals of {names[1]} (1.25) and {names[2]} (1.10) may hang together" in middling
    bad = fit_words.hanging_together(with_ratios(found, 1.9, 0.99, 1.2))
    assert f"Residuals of {names[1]} (0.99) follow one another" in bad
    assert f"Residuals of {names[2]} (1.20) may hang together" in bad
    for series in with_ratios(found, 0.99, 0.99, 0.99).series:
        assert series.in_waves == any("waves" in one.text for one in _on_series([series]))


def test_one_series_is_not_both_nearest_and_farthest(demo):
    """Of a single series it said that it lies nearest, and then that it is the one met least well."""
    _, found, _ = demo
    alone = replace(found.fit, series=found.fit.series[:1])
    text = fit_words.nearness(alone)
    assert "met least well" not in text
    assert re.search(r"half of the firms figures lie within \S+ % of the model\.$", text)
    assert "met least well" in fit_words.nearness(found.fit)


def test_one_is_told_in_the_singular(demo):
    _, found, _ = demo
    assert "1 starting point." in fit_words.nearness(found.fit)
    assert "1 starts" not in fit_words.starts_told(found.fit)
    one = replace(found.fit, estimates=found.fit.estimates[:1])
    assert "moved 1 parameter from" in fit_words.nearness(one)


def test_the_place_of_an_estimate_has_its_unit(page):
    assert "place, %" in page[1].words


def boxes(figure):
    """Where the texts of a figure stand, by text, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return [
        (axes, text, text.get_window_extent(canvas.get_renderer()))
        for axes in figure.axes
        for text in (*axes.texts, axes.yaxis.label)
    ]


@pytest.mark.parametrize("separatrix", [0.2, 0.405, 0.45, 0.55, 0.9])
def test_the_name_of_the_threshold_does_not_cut_the_line_beside_it(separatrix):
    """The box of `threshold 0.405` cut the line of `starts at 0.50`."""
    initial = np.linspace(0.02, 0.98, 33)
    outcomes = np.where(initial > separatrix, 1200.0, 500.0)
    made = thresholds.Threshold("made", initial, outcomes, separatrix, "shared knowledge base", 120.0, 0.5)
    figure = draw_thresholds([made, made], "knowledge")
    for axes, text, box in boxes(figure):
        for at in (separatrix, 0.5):
            if text in axes.texts and not text.get_text().startswith("rests"):
                line = axes.transData.transform((at, 0.0))[0]
                assert not box.x0 < line < box.x1, f"'{text.get_text()}' lies over the line at {at}"
        dots = axes.transData.transform(np.column_stack([initial, outcomes]))
        if text in axes.texts:
            assert not any(box.padded(1.0).contains(*dot) for dot in dots), f"'{text.get_text()}' lies over the dots"


def test_no_residual_reaches_the_heading_above_it(demo):
    """The revenue residual of 2000 ran into `data above model, %`."""
    _, found, _ = demo
    figure = draw_fit(found.fit.series, found.lines)
    for axes, text, box in boxes(figure):
        if text.get_text() == "data above model, %":
            tallest = max(float(np.max(line.get_ydata())) for line in axes.lines)
            top = axes.transData.transform((0.0, tallest))[1]
            assert 72 * (box.y0 - top) / figure.dpi > 7, "points; the dot and the margin of the letters take five"


def test_small_words():
    assert sentences.about(152345.0) == "152,000"
    assert sentences.about(0.0) == "0"
    assert sentences.about(float("nan")) == "–"
    assert [signed(value) for value in (12.34, -0.46, 0.01, 2.0)] == ["+12", "−0.5", "0", "+2.0"]
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert [counted(number, "start") for number in (0, 1, 2)] == ["0 starts", "1 start", "2 starts"]
    assert bound("by 5 %") == "by 5\N{NO-BREAK SPACE}%"
