"""Sweeps on disk: a Zarr group that is filled chunk by chunk, and goes on where it stopped."""

import hashlib
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from sd_cluster.draws import Draws
from sd_cluster.errors import DataError
from sd_cluster.kernel import Floats


class Store:
    """A sweep's results on disk.

    The group holds `values` (draw, time, variable), `draws` (draw, parameter), `time`, and for each chunk of draws
    whether it is done. A chunk is marked only after its values are written, so that an interrupted sweep loses what
    was in the making and nothing else.

    Parameters
    ----------
    path
        Folder of the group, made where needed.
    draws, times, names, units
        As in an `Ensemble`.
    about
        What identifies the sweep: going on with another one is refused.
    chunk
        Runs in one chunk.

    Raises
    ------
    DataError
        If the folder holds something else, or another sweep.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        draws: Draws,
        times: Floats,
        names: tuple[str, ...],
        units: tuple[str, ...],
        about: Mapping[str, object],
        chunk: int,
    ) -> None:
        import zarr

        self.path, self.chunk = Path(path), chunk
        shape = (len(draws), len(times), len(names))
        digest = hashlib.sha256(draws.values.tobytes() + np.asarray(times).tobytes())
        digest.update(json.dumps([names, about, shape, chunk], sort_keys=True, default=str).encode())
        identity = digest.hexdigest()
        if self.path.exists() and any(self.path.iterdir()):
            self.group = self._opened(identity)
            return
        self.group = zarr.open_group(self.path, mode="w")
        dims = ("draw", "time", "variable")
        sizes = (min(chunk, shape[0]), shape[1], shape[2])
        self.group.create_array(
            "values", shape=shape, chunks=sizes, dtype="float64", dimension_names=dims, fill_value=np.nan
        )
        self._put("time", times, ("time",))
        self._put("draws", draws.values, ("draw", "parameter"))
        self._put("failed", np.full(shape[0], -1, dtype=np.int64), ("draw",))
        self._put("done", np.zeros(-(-shape[0] // chunk), dtype=np.int8), ("chunk",))
        self.group.attrs.update(
            {
                "format": "sd_cluster sweep 1",
                "identity": identity,
                "names": list(names),
                "units": list(units),
                "parameters": list(draws.names),
            }
        )

    def _put(self, name: str, values: Any, dims: tuple[str, ...]) -> None:
        made = self.group.create_array(name, shape=values.shape, dtype=values.dtype, dimension_names=dims)
        made[...] = values

    def _opened(self, identity: str) -> Any:
        import zarr

        try:
            group = zarr.open_group(self.path, mode="r+")
            about = dict(group.attrs)
        except Exception:
            about = {}
        if about.get("format") != "sd_cluster sweep 1":
            raise DataError(f"'{self.path}' holds something that is not a sweep; choose another folder")
        if about.get("identity") != identity:
            raise DataError(
                f"'{self.path}' holds another sweep (other model, draws, horizon or step); choose another folder"
            )
        return group

    def missing(self) -> list[int]:
        """First draws of the chunks that are not done."""
        return [int(number) * self.chunk for number in np.flatnonzero(np.asarray(self.group["done"][:]) == 0)]

    def write(self, low: int, values: Floats, failed: Any) -> None:
        """Write a chunk, values of shape (n_runs, n_times, n_variables), then mark it done."""
        self.group["values"][low : low + len(values)] = values
        self.group["failed"][low : low + len(values)] = failed
        self.group["done"][low // self.chunk] = 1

    def write_all(self, values: Floats) -> None:
        """Write all runs at one go."""
        for low in self.missing():
            rows = values[low : low + self.chunk]
            self.write(low, rows, np.full(len(rows), -1))

    @property
    def values(self) -> Any:
        """The values as a Zarr array: what is sliced is read."""
        return self.group["values"]

    @property
    def failed(self) -> Any:
        """Part of the grid in which each run failed, or -1; shape (n_runs,)."""
        return np.asarray(self.group["failed"][:])
