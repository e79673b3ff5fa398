"""The stages of a study: a tiny park end to end, its report, and a study that goes on where it was killed."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from twins import MODEL, write_twin
from typer.testing import CliRunner

import calibration as cal
from calibration import stages
from calibration.chapter import Bullets, Chapter, Paragraph, Rows, load_chapter, save_chapter
from calibration.posterior import Posterior
from calibration.stages import STAGES, run_study
from calibration.study_file import read_fit_study
from calibration.study_report import page_of, summary, write_study_report
from sd_cluster.cli import app
from sd_cluster.errors import FitError

TEXT = f"""
name = "A park & its twin"
model = "{MODEL}"
data = "park.csv"
seed = 3
[measure]
firms = "firms"
staff = "employees"
revenue = "sales*"
[free]
"growth rate" = [0.05, 0.6]
"land" = {{ kind = "lognormal", median = 600, ratio = 3, source = "a map of the park" }}
"initial firms" = [5, 400]
"occupancy" = [0.2, 1]
[fit]
starts = 3
[hold_out]
last = 2016
bands = "laplace"
draws = 100
[profile]
which = ["land", "growth rate"]
points = 3
[posterior]
chains = 2
draws = 60
tune = 60
[prediction]
end = 2035
variables = ["employees"]
draws = 100
[[alternative]]
name = "land known"
scenario = {{ land = 640 }}
"""


def write_study(folder, text=TEXT):
    folder.mkdir(parents=True, exist_ok=True)
    write_twin(folder / "park.csv", noise=0.04, seed=1)
    (folder / "park.toml").write_text(text, encoding="utf-8")
    return folder / "park.toml"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The tiny study, whole: its outcome, and what was heard of its stages."""
    place = tmp_path_factory.mktemp("stages")
    study, heard = read_fit_study(write_study(place)), []
    outcome = run_study(
        study, place / "out", workers=1, progress=False, told=lambda *told: heard.append(told)
    )  # fmt: skip
    write_study_report(outcome, command="sd-cluster fit park.toml --out out")
    return outcome, heard


class Page(HTMLParser):
    """Collects the addresses, the ids, the tags and the visible words of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.ids, self.words, self.tags = [], [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())

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
def page(done):
    return Page((done[0].folder / "report.html").read_text(encoding="utf-8"))


def test_stages_come_in_the_order_of_the_protocol(done):
    outcome, heard = done
    order = [
        "audit", "prior", "structure", "fit", "quality", "identifiability", "posterior", "prediction", "validation",
        "comparison",
    ]  # fmt: skip
    assert list(STAGES) == order
    assert list(outcome.chapters) == order
    assert outcome.complete
    assert [number for number, *_ in heard] == list(range(1, 11))
    assert not any(was for *_, was in heard)


def test_every_stage_keeps_its_chapter_tables_and_figures(done):
    folder = done[0].folder
    for key, chapter in done[0].chapters.items():
        kept = load_chapter(folder / "stages" / f"{key}.json")
        assert kept == chapter
        for drawing in chapter.drawings:
            for kind in ("png", "svg"):
                assert (folder / "figures" / f"{drawing.name}.{kind}").stat().st_size > 1000
    assert all(len(pd.read_csv(path)) or path.stem == "audit-findings" for path in (folder / "tables").glob("*.csv"))
    assert (folder / "study.toml").read_text() == TEXT


def test_what_is_written_is_what_was_found(done):
    outcome, folder = done[0], done[0].folder
    fit = cal.load_fit(folder / "fit.json", outcome.work.objective)
    np.testing.assert_array_equal(fit.place, outcome.work.fit.place)
    drawn = Posterior.load(folder / "posterior.nc")
    np.testing.assert_array_equal(drawn.places, outcome.work.posterior.places)
    profiles = pd.read_csv(folder / "tables" / "profiles.csv").set_index("unknown")
    assert set(profiles.index) == {"land", "growth rate"}
    assert profiles.low["land"] < fit["land"] < profiles.high["land"]
    intervals = pd.read_csv(folder / "tables" / "intervals.csv")
    assert set(intervals[intervals.unknown == "land"].kind) == {"curvature", "profile", "posterior"}
    assert set(intervals[intervals.unknown == "occupancy"].kind) == {"curvature", "posterior"}
    low, high = drawn.interval("land", 0.95)
    row = intervals[(intervals.unknown == "land") & (intervals.kind == "posterior")]
    assert row[["low", "high"]].to_numpy()[0] == pytest.approx([low, high], rel=1e-8)
    skill = pd.read_csv(folder / "tables" / "validation.csv")
    assert set(skill.method) == {"model", "last value", "drift", "logistic curve", "exponential smoothing"}


def test_the_report_needs_nothing_else_and_leads_everywhere(done, page):
    text = (done[0].folder / "report.html").read_text(encoding="utf-8")
    assert all(address.startswith("#") for address in page.addresses)
    assert "script" not in page.tags
    assert not re.search(r"url\((?!#)|@import", text)
    assert page.tags.count("svg") == sum(len(one.drawings) for one in done[0].chapters.values())
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses} <= set(page.ids)


def test_the_report_has_what_a_reviewer_asks_for(done, page):
    outcome, text = done[0], page.text
    for stage in STAGES.values():
        assert stage.title in text
    asked = (
        "A park & its twin", "a map of the park", "Theil", "Pareto", "R\N{NON-BREAKING HYPHEN}hat", "ESS",
        "last value", "drift", "logistic curve", "exponential smoothing", "inside 80 %", "inside 95 %",
        "Three ways to an interval", "curvature", "profile", "Predictions to 2035", "land known", "AICc",
        "sd-cluster fit park.toml --out out", "Villaverde", "seed", "digest",
    )  # fmt: skip
    for words in asked:
        assert words in text, words
    for line in TEXT.split():
        assert line in text
    study = outcome.study
    for digest in (study.model.digest, study.regions[0].dataset.digest, outcome.work.objective.digest):
        assert digest[:16] in text
    assert not re.search(r"\b(nan|inf|None)\b", text)


def test_the_summary_is_three_sentences_from_the_numbers(done):
    fitted, known, foreseen = summary(done[0])
    assert fitted.startswith(
        "The model of logistic firms was fitted to 39 figures of A park & its twin: half of them lie"
    )
    assert known.startswith("Of 4 parameters the figures identify ")
    assert re.match(r"On 12 figures after 2016 it errs less than every naive forecast in \d of 3 series", foreseen)


def test_a_loss_to_a_naive_forecast_is_said_in_the_summary(done):
    """Whatever the numbers say, the summary says."""
    outcome = done[0]
    chapter = outcome.chapters["validation"]
    lost = {**chapter.numbers, "won": ["firms"], "lost_to": {"staff": "drift", "revenue": "last value"}}
    turned = replace(outcome, chapters={**outcome.chapters, "validation": replace(chapter, numbers=lost)})
    assert "in 1 of 3 series and loses in staff (to drift) and revenue (to last value)" in summary(turned)[2]
    none = replace(outcome, chapters={**outcome.chapters, "validation": replace(chapter, numbers={})})
    assert summary(none)[2] == "Nothing was held out, so how well it foresees is not known."


def test_a_study_done_is_not_done_again(done, monkeypatch):
    heard = []
    monkeypatch.setattr("calibration.study_work.minimise", lambda *_, **__: pytest.fail("it was done before"))
    outcome = done[0]
    again = run_study(outcome.study, outcome.folder, progress=False, told=lambda *told: heard.append(told[-1]))
    assert heard == [True] * len(STAGES)
    assert dict(again.chapters) == dict(outcome.chapters)


def test_only_what_depends_on_a_change_is_done_again(done, tmp_path):
    """More draws of the posterior leave the fit and the figures held out as they are."""
    outcome, heard = done[0], {}
    keys = list(STAGES)
    for name in ("prediction", "seed"):
        study = outcome.study
        study = replace(study, outlook=replace(study.outlook, end=2030.0)) if name == "prediction" else study
        study = replace(study, seed=4) if name == "seed" else study
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stages, "_done", lambda stage, work, path, wanted: Chapter(stage.key, "", (), digest=wanted))
            run_study(
                study, outcome.folder, told=lambda *told, name=name: heard.setdefault(name, []).append(told[-1])
            )  # fmt: skip
    assert [key for key, was in zip(keys, heard["prediction"], strict=True) if not was] == ["prediction"]
    assert not any(heard["seed"])


def test_until_stops_after_a_stage_and_the_report_says_what_is_left(tmp_path):
    outcome = run_study(read_fit_study(write_study(tmp_path)), tmp_path / "out", until="prior", progress=False)
    assert list(outcome.chapters) == ["audit", "prior"]
    text = Page(write_study_report(outcome, command="x").read_text(encoding="utf-8")).text
    assert "Not done yet: what such figures could tell, data against model" in text
    with pytest.raises(FitError, match=r"no stage 'pirors' \(did you mean 'prior'\?\)"):
        run_study(outcome.study, tmp_path / "out", until="pirors")


def test_a_damaged_chapter_is_done_again(tmp_path):
    study, heard = read_fit_study(write_study(tmp_path)), []
    run_study(study, tmp_path / "out", until="audit", progress=False)
    path = tmp_path / "out" / "stages" / "audit.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    run_study(study, tmp_path / "out", until="audit", progress=False, told=lambda *told: heard.append(told[-1]))
    assert heard == [False]
    assert json.loads(path.read_text())["blocks"] == json.loads(whole)["blocks"]


def test_a_chapter_comes_back_from_its_file_as_it_was(tmp_path):
    table = Rows((("name", "left"), ("value", "right")), (("a", "1"), ("b", "–")), "Two.")
    chapter = Chapter("fit", "Fit", (Paragraph("One."), Bullets(("x", "y")), table), {"a": [1, 2.5, None]}, "abc", 1.0)
    assert load_chapter(save_chapter(chapter, tmp_path / "one.json")) == chapter
    with pytest.raises(FitError, match="is not a chapter of this version"):
        load_chapter(tmp_path / "two.json")


@pytest.mark.slow
def test_what_is_left_out_is_said(tmp_path):
    """A study without posterior, profiles and figures held out is one all the same, and the report says what lacks."""
    text = TEXT[: TEXT.index("[hold_out]")].replace("seed = 3", "seed = 3\nprofile = false\nposterior = false")
    outcome = run_study(read_fit_study(write_study(tmp_path, text)), tmp_path / "out", workers=1, progress=False)
    told = Page(write_study_report(outcome, command="x").read_text(encoding="utf-8")).text
    assert "Nothing was held out" in told
    assert "The study leaves the posterior out" in told
    assert "names no other model" in told
    assert not (tmp_path / "out" / "posterior.nc").exists()
    assert page_of(outcome, command="x").chapters[-1].key == "repeat"


def call(*arguments):
    found = CliRunner().invoke(app, list(map(str, arguments)))
    return found.exit_code, found.stdout, found.stderr


def test_the_command_takes_a_study_file(tmp_path):
    path = write_study(tmp_path)
    code, out, err = call("fit", path, "--out", tmp_path / "out", "--until", "audit")
    assert code == 0, err
    assert "report.html  (the report; open it in a browser)" in out
    assert "1/10  The figures" in err
    assert "done before" in call("fit", path, "--out", tmp_path / "out", "--until", "audit")[2]
    assert call("fit", path, "--until", "adit")[0] == 2
    assert call("fit", path, "--starts", "5")[0] == 2
    assert call("fit", path, "--free", "land")[0] == 2
    assert call("fit", "hsinchu", "--until", "fit")[0] == 2
    code, _, err = call("fit", tmp_path / "nowhere.toml")
    assert (code, len(err.strip().splitlines())) == (1, 1)


def test_after_ctrl_c_the_command_tells_how_to_go_on(tmp_path, monkeypatch):
    def stop(work):
        raise KeyboardInterrupt

    monkeypatch.setitem(stages.STAGES, "prior", replace(stages.STAGES["prior"], work=stop))
    path = write_study(tmp_path)
    code, _, err = call("fit", path, "--out", tmp_path / "out")
    assert code == 130
    assert f"To go on: sd-cluster fit {path} --out {tmp_path / 'out'}" in " ".join(err.split())
    assert (tmp_path / "out" / "stages" / "audit.json").is_file()


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_in_the_same_numbers(tmp_path, done):
    """kill -9 while stages run, again and again; tables, chapters and draws are those of a study left alone."""
    path, out = write_study(tmp_path), tmp_path / "out"
    command = [
        sys.executable,
        "-c",
        "from sd_cluster.cli import main; main()",
        "fit",
        path,
        "--out",
        out,
        "--workers",
        1,
    ]
    environment = {**os.environ, "SD_CLUSTER_CACHE": str(tmp_path / "machine-code")}
    rng, killed = random.Random(5), 0
    for _ in range(60):
        process = subprocess.Popen(
            list(map(str, command)), env=environment, cwd=Path(__file__).parent.parent, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait = rng.uniform(1.0, 4.0) if killed < 10 else 600.0
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() - begun < wait:
            time.sleep(0.05)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed += 1
    assert process.returncode == 0
    assert killed >= 5, "it was over before it could be killed"
    alone = done[0].folder
    same = {one.relative_to(alone) for one in (alone / "tables").glob("*.csv")}
    assert same == {one.relative_to(out) for one in (out / "tables").glob("*.csv")}
    for name in same:
        assert (out / name).read_bytes() == (alone / name).read_bytes(), name
    for key in STAGES:
        one, other = (replace(load_chapter(some / "stages" / f"{key}.json"), seconds=0.0) for some in (out, alone))
        assert one == other, key
    np.testing.assert_array_equal(Posterior.load(out / "posterior.nc").places, done[0].work.posterior.places)
