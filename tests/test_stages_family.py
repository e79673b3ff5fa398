"""The study of a family of regions: mean and spread, no joint optimum; and a region predicted by the others."""

import numpy as np
import pandas as pd
import pytest
from test_family import TRUE_MEAN, TRUE_SPREAD
from test_stages import Page
from twins import MODEL

import calibration as cal
from calibration.family import fit_family
from calibration.left_out import leave_one_out
from calibration.modes import posterior_mode
from calibration.stages import STAGES, run_study
from calibration.stages_after import validate_held_out
from calibration.study_file import read_fit_study
from calibration.study_report import summary, write_study_report
from calibration.study_work import Work
from sd_cluster.study_table import StudyError

CODES = ("NO1", "NO2", "NO3", "SE1", "SE2", "SE3")
YEARS = np.array([2000, 2003, 2006, 2009, 2012, 2015])

TEXT = f"""
name = "Six parks"
model = "{MODEL}"
data = "parks.csv"
regions = {list(CODES)}
pooled = ["growth rate", "land"]
posterior = false
seed = 3
remark = "The parks were made up for a test."
[measure]
firms = "firms"
[noise]
firms = 0.08
[free]
"growth rate" = {{ kind = "lognormal", median = 0.25, ratio = 2.5 }}
"land" = {{ kind = "lognormal", median = 600, ratio = 2.5 }}
[fit]
starts = 2
[profile]
points = 2
[hold_out]
region = "SE1"
draws = 100
bands = "laplace"
[prediction]
end = 2020
draws = 100
[[alternative]]
name = "one land"
scenario = {{ land = 640 }}
"""


def write_family(folder, text=TEXT, seed=4):
    """Parks of a common mean; their table and a study beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(seed), []
    for code in CODES:
        rate, land = (TRUE_MEAN[name] * np.exp(TRUE_SPREAD[name] * rng.standard_normal()) for name in TRUE_MEAN)
        grown = 40.0 * np.exp(rate * (YEARS - 2000.0))
        firms = land * grown / (land + grown - 40.0) * np.exp(0.08 * rng.standard_normal(len(YEARS)))
        rows += [(code, year, "firms", float(value)) for year, value in zip(YEARS, firms, strict=True)]
    table = pd.DataFrame(rows, columns=["region", "year", "indicator", "value"]).assign(unit="firms", source="twin")
    table.to_csv(folder / "parks.csv", index=False)
    (folder / "parks.toml").write_text(text, encoding="utf-8")
    return folder / "parks.toml"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The study of six parks, whole, with figures of one of them."""
    folder = tmp_path_factory.mktemp("parks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("calibration.study_work.SHOWN", 1)
        outcome = run_study(read_fit_study(write_family(folder)), folder / "out", workers=1, progress=False)
    write_study_report(outcome, command="sd-cluster fit parks.toml --out out")
    return outcome


@pytest.fixture(scope="module")
def family(done):
    study = done.study
    some = study.likelihoods()
    return fit_family(some, study.priors_of(some), pooled=study.pooled)


@pytest.mark.slow
def test_a_study_that_pools_finds_spreads_as_a_family_does(done, family):
    """A study searched the best point of everything at once, where spreads run away or collapse."""
    fit = done.work.fit
    spreads = [f"spread of {name}" for name in done.study.pooled]
    found = [fit[name] for name in spreads]
    assert np.log(found) == pytest.approx(np.log([family.values[name] for name in spreads]), abs=0.05), "steps of 3 %"
    joint = cal.minimise(done.work.objective, starts=1, progress=False, workers=1)
    assert any(joint[name] > 1.3 * fit[name] for name in spreads)
    table = pd.read_csv(done.folder / "tables" / "family.csv").set_index("parameter")
    assert list(table.index) == ["growth rate", "land"]
    assert table.spread.tolist() == pytest.approx(found, rel=1e-8)
    for name, true in TRUE_MEAN.items():
        assert table.region_low[name] < true < table.region_high[name]
    assert len(pd.read_csv(done.folder / "tables" / "shrinkage.csv")) == 2 * len(CODES)


@pytest.mark.slow
def test_what_a_family_found_reads_as_any_other_fit(done):
    fit = done.work.fit
    first = fit.verdicts[0]
    assert first.good and first.text.startswith("Each of 6 regions was first searched by itself from 2 starts")
    assert not any("One start only" in one.text for one in fit.verdicts)
    estimates = {one.name: one for one in fit.estimates}
    region = estimates["land [NO2]"]
    assert region.low < region.value < region.high and region.low > 100.0, "in firms, not in spreads"
    again = cal.load_fit(done.folder / "fit.json", done.work.objective)
    np.testing.assert_array_equal(again.place, fit.place)


@pytest.mark.slow
def test_profiles_of_a_family_are_of_what_regions_share(done):
    """With spreads free, the payoff of a family falls without end, and a profile has no base."""
    table = pd.read_csv(done.folder / "tables" / "profiles.csv").set_index("unknown")
    assert set(table.index) == {"mean of growth rate", "mean of land"}
    assert (table.left == "bounded").all() and (table.right == "bounded").all()
    assert done.chapters["identifiability"].numbers["gained"] < 0.05


@pytest.mark.slow
def test_a_region_held_out_is_predicted_by_the_family_without_it(done, family):
    table = pd.read_csv(done.folder / "tables" / "validation.csv")
    assert set(table.region) == {"SE1"} and list(table.method) == ["model", "typical region"]
    alone = leave_one_out(family, regions=["SE1"], draws=100, seed=3, rounds=30).frame()
    assert table["mape"].to_numpy() == pytest.approx(alone["mape"].to_numpy(), rel=0.02), "spreads end within 3 %"
    told = summary(done)[2]
    assert told.startswith("On 6 figures of a region it had not seen it errs")
    assert not (done.folder / "training-fit.json").exists()


@pytest.mark.slow
def test_the_report_tells_of_the_family(done):
    text = Page((done.folder / "report.html").read_text(encoding="utf-8")).text
    asked = (
        "The family of regions", "typical region", "90 % of regions", "The family was fitted again without SE1",
        "of a region's estimate", "spreads from the mean", "Spreads between regions stay at their estimates",
        "Laplace approximation of the family", "one land", "made up for a test",
    )  # fmt: skip
    for words in asked:
        assert words in text, words
    assert "Without any effect" not in text, "means have one through the regions"
    assert "nan" not in text.lower().split()


@pytest.mark.slow
def test_a_study_of_a_family_goes_on_where_it_was_killed(done, monkeypatch):
    """Region searches and the family are kept: after a kill nothing is searched again."""
    monkeypatch.setattr("calibration.optimisation.search_from", lambda *_: pytest.fail("it was done before"))
    monkeypatch.setattr("calibration.family_search.fit_family", lambda *_, **__: pytest.fail("it was done before"))
    for path in (done.folder / "stages").glob("fit.json"):
        path.unlink()
    heard = []
    again = run_study(
        done.study, done.folder, workers=1, progress=False, told=lambda *told: heard.append(told[-1])
    )  # fmt: skip
    assert heard.count(False) == 1
    np.testing.assert_array_equal(again.work.fit.place, done.work.fit.place)
    assert list(again.chapters) == list(STAGES)


@pytest.mark.slow
def test_the_mode_of_a_posterior_leaves_spreads_where_they_are(done):
    """The density of all places at once grows without end as a spread widens and the distances shrink."""
    objective, place = done.work.objective, done.work.fit.place
    mode = posterior_mode(objective, place)
    rows = [pool.spread for pool in objective.pools]
    assert mode[rows] == pytest.approx(place[rows], abs=6e-4), "places to begin from are told apart by a thousandth"
    assert objective.log_density(mode)[0] > objective.log_density(place)[0] - 0.01


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('region = "SE1"', 'region = "SE9"', "'hold_out.region': no region 'SE9' (did you mean 'SE3'?)"),
        ("points = 2", 'which = ["spread of land"]', "'profile.which': 'spread of land' has no profile"),
    ],
)
def test_a_slip_is_told_before_any_run(tmp_path, old, new, said):
    with pytest.raises(StudyError) as caught:
        read_fit_study(write_family(tmp_path, TEXT.replace(old, new)))
    assert said in str(caught.value)


def test_last_years_of_a_family_are_held_out_too(tmp_path, monkeypatch):
    monkeypatch.setattr("calibration.study_work.SHOWN", 1)
    study = read_fit_study(write_family(tmp_path, TEXT.replace('region = "SE1"', "last = 2009")))
    chapter = validate_held_out(Work(study, tmp_path / "out", workers=1, progress=False))
    table = pd.read_csv(tmp_path / "out" / "tables" / "validation.csv")
    assert set(table.region) == set(CODES)
    assert "of the same years had the same past" in chapter.blocks[0].text
    assert "Laplace approximation of the family" in chapter.blocks[0].text


@pytest.mark.slow
def test_two_regions_are_no_family_and_the_fit_says_so(tmp_path):
    text = TEXT.replace(str(list(CODES)), '["NO1", "NO2"]').replace('region = "SE1"', "last = 2009")
    outcome = run_study(
        read_fit_study(write_family(tmp_path, text)), tmp_path / "out", until="fit", workers=1, progress=False
    )  # fmt: skip
    told = outcome.work.fit.verdicts[-1]
    assert not told.good and told.text.startswith("2 regions cannot tell how far regions differ: the spread of 'growth")
