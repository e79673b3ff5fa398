"""Study files of fits: what they say is what is done, and every slip is one clear line that names file and key."""

import re
from dataclasses import replace

import numpy as np
import pytest
from twins import MODEL, write_rows, write_twin

import calibration as cal
from calibration.fit_study import HoldingOut, Outlook, Profiling
from calibration.measurement import Level, Share, Shift
from calibration.noise import AutoRegressive, LogNormal, StudentT
from calibration.patterns import Bound
from calibration.priors import LogNormal as LogNormalPrior
from calibration.priors import LogUniform, Uniform
from calibration.searches import CovarianceMatrixAdaptation
from calibration.study_file import read_fit_study, shipped_studies
from sd_cluster.study_table import StudyError

TEXT = """
name = "A park"
model = "MODEL"
data = "park.csv"
last = 2022
run = { start = 2000, end = 2024, step = 0.5 }
seed = 3
own = []
[measure]
firms = "firms"
staff = { variable = "employees", kind = "level", at = 0.5 }
revenue = "sales*"
[noise]
firms = 0.05
staff = { kind = "student", freedom = 5 }
[shifts]
staff = [2010, { year = 2014, factor = 1.1 }]
[free]
"growth rate" = [0.05, 0.6]
"land" = { kind = "lognormal", median = 600, ratio = 3, source = "a map" }
"Initial_Firms" = [5, 400]
[priors]
"noise of revenue" = { kind = "loguniform", low = 0.01, high = 0.5 }
[[watch]]
kind = "bound"
variable = "firms"
at_most = 900
tolerance = 20
[fit]
starts = 6
search = { kind = "cma-es", generations = 40 }
[hold_out]
last = 2016
[profile]
which = ["land"]
level = 0.9
[posterior]
method = "ensemble"
draws = 200
[prediction]
end = 2030
variables = ["employees"]
[[alternative]]
name = "fixed land"
scenario = { land = 500 }
[[alternative]]
name = "waves"
noise = { staff = "autoregressive" }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("studies")
    write_twin(place / "park.csv", noise=0.03, seed=1)
    return place


def written(folder, text, name="park.toml"):
    path = folder / name
    path.write_text(text.replace("MODEL", str(MODEL)), encoding="utf-8")
    return path


def changed(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


def test_a_study_says_all_that_its_file_says(folder):
    text = TEXT.replace("own = []\n", "")
    study = read_fit_study(written(folder, text))
    (region,) = study.regions
    assert (study.name, study.model.name, study.seed, study.step) == ("A park", "logistic_firms", 3, 0.5)
    assert (region.name, region.span) == ("park", (2000.0, 2024.0))
    assert region.dataset["firms"].years[-1] == 2022
    assert region.measurement.gauges == {
        "firms": Level("firms"), "staff": Level("employees", at=0.5), "revenue": Level("sales", scale=True),
    }  # fmt: skip
    assert region.measurement.shifts == {"staff": (Shift(2010.0), Shift(2014.0, 1.1))}
    assert region.noise == {"firms": LogNormal(0.05), "staff": StudentT(freedom=5)}
    assert region.judges == (Bound("firms", at_most=900, tolerance=20),)
    assert study.free["growth rate"] == Uniform(0.05, 0.6)
    assert study.free["land"] == LogNormalPrior(600, 3, source="a map")
    assert isinstance(study.free["initial firms"], LogUniform), "names are the model's own"
    assert study.searching.starts == 6
    assert study.searching.search == CovarianceMatrixAdaptation(generations=40)
    assert study.holding == HoldingOut(2016.0, None, 6, 1000, "posterior")
    assert study.profiling == Profiling(("land",), 0.9, 8)
    assert (study.drawing.method, study.drawing.draws, study.drawing.chains) == ("ensemble", 200, 4)
    assert study.outlook == Outlook(2030.0, ("employees",), 1000)
    assert [one.name for one in study.alternatives] == ["fixed land", "waves"]
    assert study.text == text.replace("MODEL", str(MODEL))


def test_the_objective_has_the_unknowns_of_the_file(folder):
    study = read_fit_study(written(folder, TEXT.replace("own = []\n", "")))
    objective = study.objective()
    assert objective.names == (
        "growth rate", "land", "initial firms", "noise of staff", "shift of staff from 2010", "noise of revenue",
    )  # fmt: skip
    assert objective.priors["noise of revenue"] == LogUniform(0.01, 0.5)
    fixed, waves = (study.of(one).objective() for one in study.alternatives)
    assert "land" not in fixed.names
    assert fixed.likelihoods[0].scenario.changes == {"land": 500.0}
    assert "correlation of staff" in waves.names
    assert waves.likelihoods[0].noise["staff"] == AutoRegressive()


def test_a_shift_that_training_figures_cannot_tell_takes_its_prior_along(folder):
    text = TEXT.replace("own = []\n", "")
    text = changed(
        text, "[priors]\n", '[priors]\n"shift of staff from 2010" = { kind = "normal", mean = 0, sd = 0.1 }\n'
    )
    study = read_fit_study(written(folder, changed(text, "last = 2016", "last = 2008")))
    training = study.objective(study.split(study.likelihoods()).training)
    assert "shift of staff from 2010" not in training.names
    assert "shift of staff from 2010" in study.objective().names


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('model = "MODEL"\n', "", "'model' is missing; write, for instance, model ="),
        ('model = "MODEL"', 'modell = "MODEL"', "'model' is missing ('modell' stands there)"),
        ('model = "MODEL"', 'model = "park.mdl"', "'model'"),
        ('data = "park.csv"\n', "", "'data' is missing"),
        ("park.csv", "nowhere.csv", "'data': "),
        ('data = "park.csv"', 'data = "hsinchuu"', "did you mean 'hsinchu'?"),
        ('data = "park.csv"', 'data = "park.csv"\nregion = "prak"', "'region': park.csv has no region 'prak'"),
        ("seed = 3", "seed = -3", "'seed' is -3; expected a whole number from 0 on"),
        ("seed = 3", "sead = 3", "no key 'sead' (did you mean 'seed'?)"),
        ("step = 0.5", "step = 0", "'run.step' is 0; expected the length of a step"),
        ("step = 0.5", "stepp = 0.5", "no key 'run.stepp' (did you mean 'step'?)"),
        ("end = 2024", "end = 1990", "'run.end' is 1990; expected a year after the start"),
        ("end = 2024", "end = 2015", "'run.end' is 2015, but a figure of park.csv needs the model at 2022.5"),
        ("start = 2000", "start = 2003", "'run.start' is 2003, but a figure of park.csv needs the model at 2000"),
        ('firms = "firms"', 'firms = "frims"', "'measure.firms': logistic_firms has no variable 'frims'"),
        ('firms = "firms"', 'frims = "firms"', "'measure.frims': park.csv has no indicator 'frims'"),
        ('kind = "level"', 'kind = "levle"', "'measure.staff': a gauge has the kind 'levle' (did you mean 'level'?)"),
        ("at = 0.5", "att = 0.5", "'measure.staff': a gauge of kind 'level' has no 'att'"),
        ("last = 2022", "last = 1999", "'data': park.csv has no figure up to 1999"),
        ("firms = 0.05", "firms = -0.05", "'noise.firms'"),
        ("firms = 0.05", "frims = 0.05", "'noise.frims': 'frims' is not measured (did you mean 'firms'?)"),
        ('kind = "student"', 'kind = "studnt"', "'noise.staff': a noise has the kind 'studnt'"),
        ("staff = [2010,", 'staff = ["2010",', "'shifts.staff' is"),
        ("staff = [2010,", "stuff = [2010,", "'shifts.stuff': 'stuff' is not measured (did you mean 'staff'?)"),
        ("[0.05, 0.6]", "[0.6, 0.05]", "'free.growth rate'"),
        ("[0.05, 0.6]", "[0.05, 0.1]", "'free': the prior of 'growth rate' excludes the model's own value"),
        ("[0.05, 0.6]", '"librray"', "'free.growth rate': 'growth rate': the prior is given as"),
        ("[0.05, 0.6]", "0.3", "'free.growth rate'"),
        ('"growth rate" =', '"groth rate" =', "'free.groth rate': logistic_firms has no variable 'groth rate'"),
        ('"Initial_Firms" =', '"Land" =', "'free.Land': 'land' stands there twice"),
        ('"noise of revenue"', '"noise of revenu"', "a prior is given for 'noise of revenu', which is not free"),
        ('kind = "bound"', 'kind = "bond"', "'watch 1': a pattern has the kind 'bond'"),
        ('variable = "firms"\nat_most', 'variable = "frims"\nat_most', "'watch 1': logistic_firms has no variable"),
        ("own = []\n", 'own = ["growth"]\n', "'own'"),
        ("own = []\n", 'pooled = ["occupancy"]\n', "'pooled': 'occupancy' is not free"),
        ("starts = 6", "starts = 0", "'fit.starts' is 0; expected a whole number above zero"),
        ('kind = "cma-es"', 'kind = "cma"', "'fit.search': a search has the kind 'cma'"),
        ("generations = 40", "generations = 0", "'fit.search': generations=0"),
        ("last = 2016", "lst = 2016", "no key 'hold_out.lst' (did you mean 'last'?)"),
        ("[hold_out]\nlast = 2016", "[hold_out]\nstarts = 2", "'hold_out' says neither last (a year) nor region"),
        ("last = 2016", "last = 2023", "'hold_out': no figure comes after 2023"),
        ("last = 2016", 'region = "prk"', "'hold_out.region': no region 'prk' (did you mean 'park'?)"),
        ("last = 2016", 'region = "park"', "'hold_out': 'park' is the only region"),
        ('which = ["land"]', 'which = ["lnad"]', "'profile.which': 'lnad' is no unknown (did you mean 'land'?)"),
        ("level = 0.9", "level = 90", "'profile.level' is 90; expected a share between 0 and 1"),
        ('method = "ensemble"', 'method = "hmc"', "'posterior.method' is 'hmc'; expected nuts or ensemble"),
        ("draws = 200", "draws = 5", "'posterior.draws' is 5; expected a whole number of at least 25"),
        ("end = 2030", "end = 2010", "'prediction.end' is 2010, before the last figure's moment"),
        ('variables = ["employees"]', 'variables = ["staff"]', "'prediction.variables': logistic_firms has no"),
        ("scenario = { land = 500 }", "scenario = { lnd = 500 }", "'alternative.fixed land.scenario'"),
        ("scenario = { land = 500 }\n", "", "'alternative.fixed land' says nothing that differs"),
        ('name = "waves"', 'name = "fixed land"', "two alternatives are called 'fixed land'"),
        ('name = "waves"\n', "", "'alternative.name' is missing"),
    ],
)
def test_a_slip_is_told_before_any_run(folder, monkeypatch, old, new, said):
    """One line that names the file, the key, what came and what was expected; nothing has been searched."""
    monkeypatch.setattr("calibration.optimisation.minimise", lambda *_, **__: pytest.fail("nothing should run"))
    text = changed(TEXT, old, new)
    text = text.replace("own = []\n", "")
    with pytest.raises(StudyError) as caught:
        read_fit_study(written(folder, text))
    told = str(caught.value)
    assert told.startswith("park.toml: ") or "park.toml" in told
    assert said in told
    assert "\n" not in told


def test_a_file_that_is_missing_or_no_toml_is_told(folder):
    with pytest.raises(StudyError, match="no study file"):
        read_fit_study(folder / "nowhere.toml")
    with pytest.raises(StudyError, match=r"park\.toml is not TOML"):
        read_fit_study(written(folder, "name = "))


REGIONS = """
model = "MODEL"
data = "parks.csv"
pooled = ["growth rate"]
own = ["initial firms"]
[measure]
firms = "firms"
staff = "employees"
[free]
"growth rate" = [0.05, 0.6]
"initial firms" = [5, 400]
[posterior]
chains = 2
[scenario]
land = 640
"""

EACH = """
[[region]]
region = "north"
[[region]]
region = "south"
name = "the south"
scenario = { occupancy = 0.7 }
measure = { staff = false, firms = { variable = "firms", at = 0.5 } }
first = 2002
"""


@pytest.fixture(scope="module")
def parks(folder):
    one = cal.read_dataset(folder / "park.csv").frame()
    import pandas as pd

    both = pd.concat([one.assign(region="north"), one.assign(region="south")])
    both.to_csv(folder / "parks.csv", index=False)
    return folder


def test_regions_have_what_stands_at_the_top_and_what_they_say_themselves(parks):
    study = read_fit_study(written(parks, REGIONS + EACH))
    north, south = study.regions
    assert (north.name, south.name) == ("north", "the south")
    assert set(north.measurement.gauges) == {"firms", "staff"}
    assert south.measurement.gauges == {"firms": Level("firms", at=0.5)}
    assert north.scenario.changes == {"land": 640.0}
    assert south.scenario.changes == {"land": 640.0, "occupancy": 0.7}
    assert south.dataset["firms"].years[0] == 2002
    names = set(study.objective().names)
    assert {"mean of growth rate", "spread of growth rate", "growth rate [the south]", "initial firms [north]"} <= set(
        names
    )


def test_regions_can_be_a_list_of_codes(parks):
    study = read_fit_study(written(parks, 'regions = ["south", "north"]\n' + REGIONS))
    assert [one.name for one in study.regions] == ["south", "north"]
    held = study.split(study.likelihoods())
    assert held is None
    with pytest.raises(StudyError, match="both 'region' and 'regions'"):
        read_fit_study(written(parks, 'regions = ["south", "north"]\n' + REGIONS + EACH))
    with pytest.raises(StudyError, match=r"region 1: region'.*has no region 'nroth' \(did you mean 'north'\?\)"):
        read_fit_study(written(parks, 'regions = ["nroth", "south"]\n' + REGIONS))
    with pytest.raises(StudyError, match="two regions are called 'north'"):
        read_fit_study(written(parks, 'regions = ["north", "north"]\n' + REGIONS))


def test_a_region_held_out_takes_its_own_priors_along(parks):
    text = REGIONS + '[priors]\n"initial firms [south]" = [10, 300]\n[hold_out]\nregion = "south"\n'
    study = read_fit_study(written(parks, 'regions = ["north", "south"]\n' + text))
    training = study.objective(study.split(study.likelihoods()).training)
    assert [one.region for one in training.likelihoods] == ["north"]
    assert study.objective().priors["initial firms [south]"] == LogUniform(10, 300)


def test_shipped_studies_are_whole():
    assert set(shipped_studies()) >= {"daedeok", "hsinchu"}
    for name in ("daedeok", "hsinchu"):
        study = read_fit_study(name)
        assert study.holding is not None
        assert len(study.free) >= 4
        for prior_name, prior in study.objective().priors.items():
            assert np.isfinite(prior.spread), prior_name


def test_a_study_whose_priors_were_set_after_a_fit_says_so():
    """The priors of Daedeok read as beliefs from beforehand, and were not."""
    study = read_fit_study("daedeok")
    assert "set after a fit had been seen" in study.remark
    assert read_fit_study("hsinchu").remark == ""


def test_a_file_of_the_folder_comes_before_a_shipped_study(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert read_fit_study("hsinchu.toml").name == "Hsinchu Science Park"
    written(folder, changed(TEXT, "own = []\n", ""), "hsinchu.toml")
    assert read_fit_study("hsinchu.toml").name == "A park"
    with pytest.raises(StudyError, match=r"no study file 'sub/hsinchu\.toml'"):
        read_fit_study("sub/hsinchu.toml")


def test_gauges_of_every_kind_can_be_asked_for(folder):
    text = changed(TEXT, 'revenue = "sales*"', 'revenue = { kind = "share", variable = "firms", whole = "land" }')
    text = changed(text, "own = []\n", "")
    text = re.sub(r"\[priors\].*?\[\[watch\]\]", "[[watch]]", text, flags=re.S)
    study = read_fit_study(written(folder, text))
    assert study.regions[0].measurement.gauges["revenue"] == Share("firms", "land")


def test_an_unused_region_leaves_the_others_alone(folder):
    """A figure of zero in a series that is not measured was read as a fault of the study."""
    rows = [f"{year},firms,{value}" for year, value in ((2001, 30), (2003, 60), (2005, 110), (2007, 200))]
    write_rows(folder / "few.csv", *rows, "2001,exports,0")
    text = 'model = "MODEL"\ndata = "few.csv"\n[measure]\nfirms = "firms"\n[free]\nland = [200, 2000]\n'
    study = read_fit_study(written(folder, text))
    assert study.regions[0].span == (2000.0, 2007.0)
    assert replace(study, seed=9).objective().digest == study.objective().digest
