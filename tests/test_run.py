"""A run answers by name, becomes tables, and is read back from its file as it was."""

import json

import numpy as np
import pytest
from support import feature, tiny

import sd_cluster as sd


@pytest.fixture(scope="module")
def run():
    scenario = sd.Scenario("slow", {"contact rate": {0: 2.0, 20: 1.5}, "infectious": 20})
    return sd.simulate(feature("sir"), scenario, horizon=(0, 12))


@pytest.mark.parametrize("name", ["contact rate", "Contact_Rate", "CONTACT  RATE", '"contact rate"'])
def test_a_variable_answers_to_all_its_spellings(run, name):
    assert run[name][0] == 2.0
    assert run.unit(name) == "1/Year"


def test_elements_and_time_answer_as_results_tables_name_them():
    """A space behind a comma, quotes around the array's own name, and `Time` were not known."""
    run = sd.simulate(tiny("A: a1, a2 \n B: b1, b2 \n the x[A,B] = A*10+B \n y = INTEG(1, 0)", check_units=False))
    for name in ("the x[a1,b2]", '"the x"[a1, b2]', "THE_X[ A1,B2 ]"):
        assert run[name][0] == 12
    assert run["Time"] is run.times


def test_an_unknown_variable_gives_the_near_match(run):
    with pytest.raises(sd.ModelError) as caught:
        run["infectios"]
    assert str(caught.value) == "run 'slow' has no variable 'infectios' (did you mean 'infectious'?)"


def test_arrays_cannot_be_written_over(run):
    for array in (run.values, run.times, run["infectious"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_frame_is_a_table_of_its_own(run):
    frame = run.frame()
    assert frame.index.name == "time" and frame.index.tolist() == list(range(13))
    assert list(frame.columns) == list(run.names)
    assert np.array_equal(frame.to_numpy(), run.values)
    frame.loc[3, "infectious"] = -1.0
    frame["infectious"] *= 2
    assert run["infectious"][3] > 0


def test_the_dataset_bears_units(run):
    dataset = run.dataset()
    assert dataset["infection"].attrs["units"] == "person/Year"
    assert dataset["infection"].dims == ("time",)
    assert dataset["infectious"].sel(time=3).item() == run["infectious"][3]
    assert dataset.attrs["scenario"] == "slow"
    assert json.loads(dataset.attrs["provenance"])["model"] == "sir"


def test_between_saved_times_a_run_is_straight(run):
    halfway = 0.5 * (run["infectious"][3] + run["infectious"][4])
    assert run.at(3.5)["infectious"] == pytest.approx(halfway, rel=1e-15)
    assert run.at(12)["infectious"] == run["infectious"][-1]
    for year in (-0.1, 12.1, np.nan):
        with pytest.raises(sd.ModelError, match=r"lies outside the run, which goes from 0 to 12$"):
            run.at(year)


def test_provenance_repeats_the_run(run):
    about = run.provenance
    again = sd.simulate(
        feature("sir"),
        sd.Scenario(about["scenario"]["name"], {"infectious": 20, "contact rate": {0: 2.0, 20: 1.5}}),
        solver=sd.Adaptive(**{name: value for name, value in about["solver"].items() if name != "name"}),
        horizon=sd.Horizon(**about["horizon"]),
    )
    assert np.array_equal(again.values, run.values)
    assert about["digest"] == feature("sir").digest
    assert set(about["versions"]) == {"sd_cluster", "numpy", "scipy"}


def test_a_saved_run_is_read_back_as_it_was(run, tmp_path):
    path = run.save(tmp_path / "deep" / "folder" / "slow")
    assert path == tmp_path / "deep" / "folder" / "slow.nc"
    back = sd.load_run(path)
    assert np.array_equal(back.times, run.times) and np.array_equal(back.values, run.values)
    assert (back.names, back.units, back.scenario, back.notes) == (run.names, run.units, run.scenario, run.notes)
    assert back.provenance == json.loads(json.dumps(run.provenance))
    assert [item.name for item in path.parent.iterdir()] == ["slow.nc"]
    with pytest.raises(ValueError, match="read-only"):
        back.values[0, 0] = 1


def test_signs_of_all_kinds_outlive_the_file(tmp_path):
    model = tiny('"R/D größe" = INTEG(1, 2) ~ €/人 \n 信任 = STEP(1, "R/D größe")', check_units=False)
    run = sd.simulate(model, sd.Scenario("früh – 早", {}))
    back = sd.load_run(run.save(tmp_path / "früh"))
    assert back.names == run.names and back.units == run.units and back.scenario == "früh – 早"
    assert back.notes == run.notes and len(run.notes) == 1
    assert np.array_equal(back.values, run.values)


def test_a_changed_run_tells_its_changes(tmp_path):
    simulation = sd.Simulation(feature("sir"), solver=sd.Euler())
    simulation.run_to(5)
    simulation.change({"contact rate": 0.5, "infectious": 3})
    simulation.run_to(20)
    back = sd.load_run(simulation.run().save(tmp_path / "run.nc"))
    assert back.provenance["changes on the way"] == [{"time": 5, "changes": {"contact rate": 0.5, "infectious": 3}}]
    assert back.provenance["solver"] == {"name": "Euler", "step": None}


def corruptions(data):
    yield "empty", b""
    yield "text", b"year,firms\n2000,3\n"
    yield "half", data[: len(data) // 2]
    yield "head", data[:40]
    yield "another tool's", None


def test_a_file_that_is_no_saved_run(run, tmp_path):
    import xarray as xr

    data = run.save(tmp_path / "good.nc").read_bytes()
    for name, broken in corruptions(data):
        path = tmp_path / f"{name}.nc"
        if broken is None:
            xr.Dataset({"values": ("time", [1.0])}, coords={"time": [0.0]}).to_netcdf(path, engine="scipy")
        else:
            path.write_bytes(broken)
        with pytest.raises(sd.DataError) as caught:
            sd.load_run(path)
        assert str(caught.value).startswith(f"'{path}' is not a run saved by this package (")
        assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(sd.DataError) as caught:
        sd.load_run(tmp_path / "none.nc")
    assert str(caught.value) == f"no file '{tmp_path / 'none.nc'}'; give the path of a run that was saved"


def test_a_failed_writing_leaves_nothing_half_done(run, tmp_path, monkeypatch):
    import xarray as xr

    path = run.save(tmp_path / "run.nc")
    before = path.read_bytes()

    def fails(self, target, **options):
        target.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fails)
    for name in ("run.nc", "other.nc"):
        with pytest.raises(OSError, match="no space left"):
            run.save(tmp_path / name)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["run.nc"]


def test_models_describe_themselves():
    model = feature("sir")
    table = model.table()
    assert table.loc["contact rate", "value"] == 2.5
    assert table.loc["infection", "equation"] == "contact rate * susceptible * infectious / total"
    assert table.loc["susceptible", "kind"] == "stock"
    assert "contact_RATE" in model and "rainfall" not in model
    with pytest.raises(sd.ModelError, match=r"^sir has no variable 'totl' \(did you mean 'total'\?\)$"):
        model.variable("totl")
