"""Ensembles saved and loaded: the same in every part, readable by others, refused when it is something else."""

import json

import numpy as np
import pytest
import xarray as xr
from support import feature, tiny

import sd_cluster as sd
from sd_cluster import ensemble_file
from sd_cluster.draws import Draws
from sd_cluster.store import Store
from sd_cluster.workers import CHUNK_ALONE

MODEL = """
people = INTEG(people*growth-people*SQRT(gone), 40) ~
growth = 0.1 ~
gone = 0.04 ~
"%/staff" = people/2 ~
"""
"""Fails where `gone` is below zero; one name is none that a netCDF file can hold."""


@pytest.fixture(scope="module")
def model():
    return tiny(MODEL, check_units=False)


@pytest.fixture(scope="module")
def draws(model):
    values = np.random.default_rng(3).uniform([20, 0.01], [60, 0.09], (70, 2))
    values[[4, 31], 1] = -0.5
    return Draws(("people", "gone"), values, seed=3, method="random", notes=("drawn for a test",))


def equal(one, other):
    """Whether two ensembles are the same in every part."""
    assert (one.names, one.units, one.notes) == (other.names, other.units, other.notes)
    assert json.dumps(one.provenance) == json.dumps(other.provenance)
    for name in ("names", "seed", "method", "notes"):
        assert getattr(one.draws, name) == getattr(other.draws, name)
    np.testing.assert_array_equal(one.draws.values, other.draws.values)
    np.testing.assert_array_equal(one.times, other.times)
    np.testing.assert_array_equal(one.ok, other.ok)
    np.testing.assert_array_equal(np.asarray(one.values[:]), np.asarray(other.values[:]))
    assert [repr(failure) for failure in one.failures] == [repr(failure) for failure in other.failures]
    return True


SOLVERS = [None, sd.RungeKutta4(), sd.Adaptive()]


@pytest.mark.parametrize("solver", SOLVERS, ids=["step chosen", "fixed steps", "one by one"])
def test_a_saved_ensemble_is_read_back_in_every_part(model, draws, tmp_path, solver):
    found = sd.sweep(model, draws, outputs=["people", "%/staff"], solver=solver, save=2.0)
    assert found.ok.sum() == 68 and len(found.failures) == 2
    path = found.save(tmp_path / "runs")
    assert path == tmp_path / "runs.nc"
    assert equal(sd.load_ensemble(path), found)


def test_any_reader_of_netcdf_finds_variables_parameters_and_units(tmp_path):
    model = sd.load("collective_learning")
    space = sd.Space.of(model, ["talent flow", "initial trust"])
    found = sd.sweep(model, space.sample(8, seed=1), save=20.0)
    with xr.open_dataset(found.save(tmp_path / "runs.nc"), engine="scipy") as runs:
        assert dict(runs.sizes) == {"draw": 8, "time": 4}
        np.testing.assert_array_equal(runs["trust"], found["trust"])
        assert runs["member firms"].attrs["units"] == "firm"
        np.testing.assert_array_equal(runs["talent flow"], found.draws["talent flow"])
        assert json.loads(runs.attrs["parameters"]) == ["talent flow", "initial trust"]
        assert runs["ok"].values.all()


def test_a_stock_that_is_drawn_and_saved_keeps_both(model, draws, tmp_path):
    """The labelled dataset left its draws out, as the stock's course bears the same name."""
    dataset = sd.sweep(model, draws, save=5.0).dataset()
    np.testing.assert_array_equal(dataset["drawn people"], draws["people"])
    assert dataset["people"].dims == ("draw", "time")


@pytest.mark.parametrize("solver", SOLVERS, ids=["step chosen", "fixed steps", "one by one"])
def test_the_folder_of_a_streamed_sweep_is_an_ensemble_too(model, draws, tmp_path, solver):
    found = sd.sweep(model, draws, solver=solver, save=2.0, store=tmp_path / "runs.zarr")
    memory = sd.sweep(model, draws, solver=solver, save=2.0)
    assert equal(found, memory)
    again = sd.load_ensemble(tmp_path / "runs.zarr")
    assert equal(again, memory)
    assert not isinstance(again.values, np.ndarray), "read when it is sliced"
    assert equal(sd.load_ensemble(again.save(tmp_path / "copy")), memory)
    assert again.frame().shape == (70 * 6, 1)


def test_a_sweep_solved_one_by_one_goes_on_where_it_stopped(model, tmp_path, monkeypatch):
    """It kept all runs in memory and wrote them at the end, so that an interrupt lost everything."""
    values = np.random.default_rng(1).uniform([20, 0.01], [60, 0.09], (3 * CHUNK_ALONE + 5, 2))
    draws = Draws(("people", "gone"), values)
    options = {"solver": sd.Adaptive(), "save": 5.0, "store": tmp_path / "runs.zarr"}
    write, written = Store.write, []

    def interrupted(store, low, *rest):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(low)
        write(store, low, *rest)

    monkeypatch.setattr(Store, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sd.sweep(model, draws, **options)
    with pytest.raises(sd.DataError, match=r"was interrupted, 2 of its 4 chunks done; run it once more"):
        sd.load_ensemble(tmp_path / "runs.zarr")
    monkeypatch.setattr(Store, "write", lambda store, low, *rest: (written.append(low), write(store, low, *rest)))
    found = sd.sweep(model, draws, **options)
    assert written == [0, CHUNK_ALONE, 2 * CHUNK_ALONE, 3 * CHUNK_ALONE]
    np.testing.assert_array_equal(found.values[:], sd.sweep(model, draws, solver=sd.Adaptive(), save=5.0).values)


def test_a_sweep_killed_while_it_makes_its_folder_leaves_nothing_in_the_way(model, draws, tmp_path, monkeypatch):
    """A half-made group was later refused as something that is not a sweep."""
    import zarr

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Group, "create_array", lambda *args, **options: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sd.sweep(model, draws, save=5.0, store=tmp_path / "runs.zarr")
    assert not (tmp_path / "runs.zarr").exists()
    assert sd.sweep(model, draws, save=5.0, store=tmp_path / "runs.zarr").ok.sum() == 68


def test_what_is_no_ensemble_is_refused(tmp_path):
    with pytest.raises(sd.DataError, match="no file or folder"):
        sd.load_ensemble(tmp_path / "runs.nc")
    (tmp_path / "letter.nc").write_text("Dear reader")
    run = sd.simulate(feature("decay")).save(tmp_path / "run.nc")
    for path in (tmp_path / "letter.nc", run):
        with pytest.raises(sd.DataError, match="is not an ensemble saved by this package"):
            sd.load_ensemble(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(sd.DataError, match=r"is not a sweep; give the folder that store= named"):
        sd.load_ensemble(tmp_path / "folder")


def test_a_file_in_the_way_of_a_store_is_left_alone(model, draws, tmp_path):
    (tmp_path / "runs.zarr").write_text("a letter")
    with pytest.raises(sd.DataError, match="is not a sweep; choose another folder"):
        sd.sweep(model, draws, store=tmp_path / "runs.zarr")
    assert (tmp_path / "runs.zarr").read_text() == "a letter"


def test_what_no_netcdf_file_can_hold_is_said_before_it_is_written(model, draws, tmp_path, monkeypatch):
    monkeypatch.setattr(ensemble_file, "_LARGEST", 1000)
    with pytest.raises(sd.DataError, match=r"'people' has .* too much for a netCDF file; use store="):
        sd.sweep(model, draws).save(tmp_path / "runs.nc")
    assert not list(tmp_path.iterdir())
