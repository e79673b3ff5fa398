"""The demonstration: all its files, a page that needs nothing else, sentences that tell what was found."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import calibration as cal
import sd_cluster as sd
from calibration import report, sentences, study
from calibration.demo import run_demo
from calibration.figures import signed
from calibration.report import FIGURES, bound
from calibration.study import SECTIONS, Study

SMALL = Study().smaller(starts=1, points=5)


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
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    tables = {
        f"tables/{name}.csv"
        for name in (
            "estimates", "series", "data-and-model", "starts", "stocks", "channels", "policies", "policy-changes",
            "lever-effects", "pair", "threshold",
        )
    }  # fmt: skip
    runs = {"base", "4-1-enterprises", "4-2-agencies", "4-3-public-services", "4-4-government"}
    runs |= {"route-128-closed-firms", "silicon-valley-open-firms"}
    expected = {"report.html", "fit.json"} | figures | tables | {f"runs/{name}.nc" for name in runs}
    assert names == expected


def test_the_page_needs_nothing_else(page):
    text, parsed = page
    assert all(address.startswith("#") for address in parsed.addresses)
    assert "@import" not in text
    assert "script" not in parsed.tags
    assert not re.search(r"url\((?!#)", text)
    assert parsed.tags.count("svg") == len(FIGURES)


def test_every_address_on_the_page_leads_somewhere(page):
    _, parsed = page
    assert len(parsed.ids) == len(set(parsed.ids)), "ids of figures must not mix"
    assert {address[1:] for address in parsed.addresses} <= set(parsed.ids)


def test_figures_take_the_colours_of_the_page(page):
    text, _ = page
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert not any(re.search(r"#[0-9a-f]{6}\b", drawing) for drawing in drawings)
    assert not any("<style" in drawing or "<metadata" in drawing for drawing in drawings)


def test_no_number_is_missing(page):
    words = " ".join(page[1].words)
    assert not re.search(r"\b(nan|inf|None)\b", words)


def test_the_page_tells_what_the_fit_says_of_itself(demo, page):
    words = " ".join(" ".join(page[1].words).split())
    minded = [verdict.text for verdict in demo[1].fit.verdicts if not verdict.good]
    for text in minded:
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


def test_an_interrupt_leaves_whole_files(demo, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("calibration.demo.fit_region", lambda *_, **__: demo[1].fit)
    monkeypatch.setattr("calibration.demo.run_pair", stop)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, SMALL)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {"fit.json", "base.nc", "levers.svg", "policies.csv"} <= names
    assert "report.html" not in names
    assert not any(name.startswith(".") for name in names)


def test_a_fit_cut_short_is_kept_and_ends_the_study(demo, tmp_path, monkeypatch):
    monkeypatch.setattr("calibration.demo.fit_region", lambda *_, **__: demo[1].fit)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, replace(SMALL, starts=5))
    assert (tmp_path / "fit.json").is_file()
    assert not (tmp_path / "runs").exists()


def test_the_model_has_every_variable_the_sentences_name(demo):
    for name in report.variables_said():
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
        study, "simulate", lambda model, scenario, **_: Answer(outcome(scenario.changes["initial trust"]))
    )
    model = sd.load(SMALL.model)
    found = study.find_threshold(model, sd.Scenario("base"), SMALL, name="made", start=2000.0)
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
    for sentence in found.doubts.sentences:
        assert sentence in text
    assert found.doubts.free <= len(SMALL.free) + len(SMALL.doubtful)


def test_small_words():
    assert sentences.about(152345.0) == "152,000"
    assert sentences.about(0.0) == "0"
    assert sentences.about(float("nan")) == "–"
    assert [signed(value) for value in (12.34, -0.46, 0.01, 2.0)] == ["+12", "−0.5", "0", "+2.0"]
    assert sentences.listed(["a", "b", "c"]) == "a, b and c"
    assert bound("by 5 %") == "by 5\N{NO-BREAK SPACE}%"
