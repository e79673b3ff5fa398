"""Ensembles in files: netCDF for what fits in memory, and the Zarr groups that sweeps stream to.

A netCDF file holds one variable for each saved variable over `draw` and `time`, the drawn parameters over `draw`, and
which runs came to their end, so that any program that reads netCDF can go on with it.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sd_cluster.draws import Draws
from sd_cluster.errors import DataError
from sd_cluster.files import write_beside
from sd_cluster.store import opened

if TYPE_CHECKING:
    import xarray as xr

_FORMAT = "sd_cluster ensemble 1"

_LARGEST = 2**32
"""Bytes that one variable of a netCDF file may have (its classic format with 64-bit offsets)."""


def drawn_label(name: str, saved: Collection[str]) -> str:
    """What a drawn parameter is called beside saved variables: a stock may be drawn, by its start, and saved."""
    return f"drawn {name}" if name in saved else name


def write_ensemble(path: str | Path, dataset: "xr.Dataset", parts: dict[str, Any]) -> Path:
    """Write an ensemble to a netCDF file, whole or not at all.

    Parameters
    ----------
    path
        The file; `.nc` is added where it does not end so.
    dataset
        Saved variables, parameters, times and which runs are good.
    parts
        All else that makes the ensemble, as JSON takes it.

    Returns
    -------
    path
        The file.

    Raises
    ------
    DataError
        If a variable is too large for such a file.
    """
    path = Path(path)
    path = path if path.suffix == ".nc" else path.with_name(path.name + ".nc")
    for name, variable in dataset.variables.items():
        if variable.nbytes >= _LARGEST:
            raise DataError(f"'{name}' has {variable.nbytes / 2**30:.1f} GiB, too much for a netCDF file; use store=")
    drawn = [str(name) for name in dataset.coords if name not in dataset.dims and name != "ok"]
    labels = {str(name): _written(str(name)) for name in (*dataset.data_vars, *drawn)}
    plain = dataset.reset_coords(drawn).rename({old: new for old, new in labels.items() if old != new})
    about = {name: json.dumps(part) for name, part in parts.items()}
    plain = plain.assign_attrs({"format": _FORMAT, "parameters": json.dumps([labels[name] for name in drawn]), **about})
    return write_beside(path, lambda neighbour: plain.to_netcdf(neighbour, engine="scipy"))


def _written(name: str) -> str:
    """A name as a netCDF file can hold it: no slash, a letter, figure or underscore first."""
    name = name.replace("/", "|")
    return name if name[0].isalnum() or name[0] == "_" else f"_{name}"


def read_ensemble(path: str | Path) -> dict[str, Any]:
    """Parts of an ensemble that was written to a netCDF file, or streamed to a Zarr group.

    The values of a Zarr group are read when they are sliced.

    Raises
    ------
    DataError
        If the path leads to nothing, to something else, or to a sweep that was interrupted.
    """
    path = Path(path)
    if path.is_dir():
        return _read_store(path)
    if not path.is_file():
        raise DataError(f"no file or folder '{path}'; give the path of an ensemble that was saved")
    import xarray as xr

    try:
        with xr.open_dataset(path, engine="scipy") as dataset:
            if dataset.attrs.get("format") != _FORMAT:
                raise KeyError("format")
            parts = {name: json.loads(dataset.attrs[name]) for name in ("names", "units", "draws", "notes", "failures")}
            parts["provenance"] = json.loads(dataset.attrs["provenance"])
            drawn = [_written(drawn_label(name, parts["names"])) for name in parts["draws"]["names"]]
            table = np.column_stack([dataset[name].values for name in drawn])
            values = np.stack([dataset[_written(name)].values for name in parts["names"]], axis=2)
            times, ok = np.array(dataset["time"].values, dtype=float), np.array(dataset["ok"].values, dtype=bool)
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"'{path}' is not an ensemble saved by this package ({type(error).__name__})") from None
    return {**parts, "draws": _draws(table, parts["draws"]), "values": values, "times": times, "ok": ok}


def _draws(table: Any, about: dict[str, Any]) -> Draws:
    return Draws(tuple(about["names"]), table, about["seed"], about["method"], tuple(about["notes"]))


def _read_store(path: Path) -> dict[str, Any]:
    """Parts of an ensemble from the group that a sweep has streamed to."""
    group = opened(path)
    if group is None:
        raise DataError(f"'{path}' holds something that is not a sweep; give the folder that store= named")
    about = dict(group.attrs)
    if "result" not in about:
        done = np.asarray(group["done"][:])
        raise DataError(
            f"'{path}' holds a sweep that was interrupted, {int(done.sum())} of its {len(done)} chunks done;"
            " run it once more with the same draws and store, and it goes on"
        )
    result = about["result"]
    return {
        "names": about["names"],
        "units": about["units"],
        "draws": _draws(np.asarray(group["draws"][:]), result["draws"]),
        "times": np.asarray(group["time"][:]),
        "values": group["values"],
        "ok": np.asarray(group["ok"][:]).astype(bool),
        **{name: result[name] for name in ("notes", "failures", "provenance")},
    }
