"""The studies of real regions: what they say, the rule that scales the model, the rule that chooses a family."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sd_cluster as sd
from calibration.study_file import read_fit_study
from sd_cluster.study_table import StudyError

ROOT = Path(__file__).parent.parent
STUDIES = ROOT / "docs" / "studies" / "regions"
DATA = ROOT.parent / "shared" / "data"
needs_tables = pytest.mark.skipif(
    not (DATA / "eu_nuts2_innovation.csv").exists(), reason=f"the tables of regions are not at {DATA}"
)


def gradient_agrees(objective, rtol=2e-5):
    """Compare the gradient with central differences along three random directions."""
    rng = np.random.default_rng(2)
    place = objective.start + 0.05 * rng.standard_normal(len(objective.names))
    _, gradient = objective.payoff_and_gradient(place)
    for _ in range(3):
        along = rng.standard_normal(len(place))
        sides = [objective.payoff(place + side * 1e-5 * along) for side in (1.0, -1.0)]
        slope = (sides[0] - sides[1]) / 2e-5
        assert slope == pytest.approx(float(gradient @ along), rel=rtol, abs=1e-4), "central differences lose digits"


@pytest.mark.parametrize(
    ("name", "figures", "unknowns"), [("hsinchu_all", 48, 16), ("daedeok_all", 23, 19)], ids=["hsinchu", "daedeok"]
)
def test_the_full_studies_that_come_with_the_package(name, figures, unknowns):
    study = read_fit_study(name)
    objective = study.objective()
    (likelihood,) = objective.likelihoods
    assert sum(len(one.years) for one in likelihood.series.values()) == figures
    assert len(objective.names) == unknowns
    assert all(prior.source for prior in study.free.values()), "every prior says where it comes from"


def test_clusters_side_by_side_run_as_one_of_them():
    """The rule by which studies scale the model to a sector: a hundred times the firms and people, the same course."""
    model, times = sd.load("collective_learning"), 100.0
    own = {name: model.parameters[name].value for name in model.parameters}
    larger = {
        name: times * own[name]
        for name in (
            "firms per member", "circle of an exchange", "visible size", "team of reference", "graduates",
            "entry potential", "land limit", "labour limit", "initial member firms", "initial talent pool",
            "trace of people",
        )
    }  # fmt: skip
    larger["knowledge of a newcomer"] = own["knowledge of a newcomer"] / times
    one = sd.simulate(model)
    many = sd.simulate(model, sd.Scenario("a hundred", larger))
    for stock in model.stocks:
        factor = times if stock in ("member firms", "talent pool") else 1.0
        assert many[stock] == pytest.approx(factor * one[stock], rel=1e-9), stock


@needs_tables
@pytest.mark.parametrize("name", ["us_hightech", "us_california", "us_massachusetts"])
def test_studies_of_tables_beside_the_checkout(name):
    study = read_fit_study(STUDIES / f"{name}.toml")
    (likelihood,) = study.likelihoods()
    split = study.split((likelihood,))
    assert split is not None and split.last < max(one.years[-1] for one in likelihood.series.values())
    assert set(split.training[0].series) == set(likelihood.series), "every indicator has figures to train on"
    assert all(prior.source for prior in study.free.values()), "every prior says where it comes from"
    scenario = study.regions[0].scenario.changes
    clusters = scenario["firms per member"]
    assert clusters == pytest.approx(scenario["initial member firms"] / 460.0, rel=0.01), "the rule of the comment"
    for grown, one in (("circle of an exchange", 2.5), ("visible size", 45.0), ("entry potential", 90.0)):
        assert scenario[grown] == pytest.approx(one * clusters, rel=0.01)


@needs_tables
def test_states_are_measured_by_eleven_of_twelve_indicators():
    for name in ("us_california", "us_massachusetts"):
        (region,) = read_fit_study(STUDIES / f"{name}.toml").regions
        assert len(region.measurement.gauges) == 11
        assert set(region.dataset.series) - set(region.measurement.gauges) == {"state_government_rd"}


@needs_tables
def test_the_family_is_what_the_rule_chooses(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("regions_benchmark", ROOT / "benchmarks" / "regions.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    study = read_fit_study(STUDIES / "eu_family.toml")
    assert benchmark.choose() == sorted(one.name for one in study.regions)
    assert len(study.regions) >= 20
    for one in study.regions:
        for name, (first, last) in benchmark.YEARS.items():
            years = one.dataset[name].years
            assert years.tolist() == list(range(first, last + 1))
        assert [shift.year for shift in one.measurement.shifts["scientists_engineers"]] == [2011.0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hsinchu_all", "daedeok_all"])
def test_gradients_of_the_full_studies_are_exact(name):
    gradient_agrees(read_fit_study(name).objective())


@needs_tables
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("us_hightech", marks=pytest.mark.slow),
        pytest.param("us_california", marks=pytest.mark.exhaustive),
        pytest.param("us_massachusetts", marks=pytest.mark.exhaustive),
        pytest.param("eu_family", marks=pytest.mark.slow),
    ],
)
def test_gradients_of_studies_beside_the_checkout_are_exact(name):
    study = read_fit_study(STUDIES / f"{name}.toml")
    objective = replace(study, regions=study.regions[:3]).objective()
    if name == "eu_family":
        assert "mean of hiring rate" in objective.names and "obsolescence rate" in objective.names
    gradient_agrees(objective)


# What a study says of the years of one series.

TABLE = "region,year,indicator,value,unit,source\n" + "".join(
    f"park,{year},{name},{value},firm,survey\n" for year in range(2001, 2006) for name, value in (("a", year), ("b", 5))
)


def study_with(tmp_path, years):
    (tmp_path / "park.csv").write_text(TABLE, encoding="utf-8")
    text = f"""
model = "collective_learning"
data = "park.csv"
run = {{ start = 1990 }}
[measure]
a = "member firms"
b = "member firms*"
[free]
"exit rate" = "library"
[noise]
b = 0.1
[years]
{years}
"""
    path = tmp_path / "park.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_years_of_one_series_may_be_fewer(tmp_path):
    (region,) = read_fit_study(study_with(tmp_path, "a = [2002, 2004]")).regions
    assert region.dataset["a"].years.tolist() == [2002.0, 2003.0, 2004.0]
    assert len(region.dataset["b"].years) == 5


@pytest.mark.parametrize(
    ("years", "told"),
    [
        ("c = [2002, 2004]", "'years.c': park.csv has no indicator 'c'"),
        ("a = [2004, 2002]", "'years.a' is [2004, 2002]; expected the first and the last year to use"),
        ("a = 2004", "'years.a' is 2004; expected the first and the last year to use"),
        ("a = [2001, 2002, 2003]", "'years.a' is [2001, 2002, 2003]; expected the first and the last year to use"),
        ('a = ["x", 2003]', "'years.a' is ['x', 2003]; expected the first and the last year to use"),
    ],
)
def test_years_that_cannot_be_are_one_clear_error(tmp_path, years, told):
    with pytest.raises(StudyError) as caught:
        read_fit_study(study_with(tmp_path, years))
    assert told in str(caught.value) and str(caught.value).startswith("park.toml: ")
