"""Sweeps on disk: a Zarr group that is filled chunk by chunk, and goes on where it stopped."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sd_cluster.draws import Draws
from sd_cluster.errors import DataError
from sd_cluster.files import umask
from sd_cluster.kernel import Floats

FORMAT = "sd_cluster sweep 1"
"""What a group says of itself."""


def opened(path: Path, mode: Literal["r", "r+"] = "r") -> Any:
    """The group of a sweep, or nothing where something else lies."""
    import zarr

    try:
        group = zarr.open_group(path, mode=mode)
    except (OSError, ValueError, KeyError, TypeError):  # not a group, or damaged
        return None
    return group if group.attrs.get("format") == FORMAT else None


class Store:
    """A sweep's results on disk.

    The group holds `values` (draw, time, variable), `draws` (draw, parameter), `time`, and for each chunk of draws
    whether it is done. A chunk is marked only after its values are written, so that an interrupted sweep loses what
    was in the making and nothing else. Files of a group appear whole or not at all, and so does a new group.

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
        self.path, self.chunk = Path(path), chunk
        shape = (len(draws), len(times), len(names))
        digest = hashlib.sha256(draws.values.tobytes() + np.asarray(times).tobytes())
        digest.update(json.dumps([names, about, shape, chunk], sort_keys=True, default=str).encode())
        attributes = {
            "format": FORMAT,
            "identity": digest.hexdigest(),
            "names": list(names),
            "units": list(units),
            "parameters": list(draws.names),
        }
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            self._create(shape, draws, times, attributes)
        self.group = opened(self.path, "r+")
        if self.group is None:
            raise DataError(f"'{self.path}' holds something that is not a sweep; choose another folder")
        if self.group.attrs.get("identity") != attributes["identity"]:
            raise DataError(
                f"'{self.path}' holds another sweep (other model, draws, horizon or step); choose another folder"
            )

    def _create(self, shape: tuple[int, int, int], draws: Draws, times: Floats, attributes: Mapping[str, Any]) -> None:
        """Make a group beside its place, and put it there when it is whole."""
        import zarr

        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{self.path.stem}-", dir=self.path.parent))
        try:
            group = zarr.open_group(fresh, mode="w", attributes=dict(attributes))
            sizes = (min(self.chunk, shape[0]), shape[1], shape[2])
            dimensions = ("draw", "time", "variable")
            group.create_array(
                "values", shape=shape, chunks=sizes, dtype="float64", dimension_names=dimensions, fill_value=np.nan
            )
            tables: dict[str, tuple[Any, tuple[str, ...]]] = {
                "time": (times, ("time",)),
                "draws": (draws.values, ("draw", "parameter")),
                "failed": (np.full(shape[0], -1, dtype=np.int64), ("draw",)),
                "done": (np.zeros(-(-shape[0] // self.chunk), dtype=np.int8), ("chunk",)),
            }
            for name, (table, axes) in tables.items():
                chunks = (sizes[0], *table.shape[1:]) if axes[0] == "draw" else table.shape
                made = group.create_array(
                    name, shape=table.shape, chunks=chunks, dtype=table.dtype, dimension_names=axes
                )
                made[...] = table
            fresh.chmod(0o777 & ~umask())
            if self.path.exists():
                self.path.rmdir()
            fresh.rename(self.path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def missing(self) -> list[int]:
        """First draws of the chunks that are not done."""
        return [int(number) * self.chunk for number in np.flatnonzero(np.asarray(self.group["done"][:]) == 0)]

    def write(self, low: int, values: Floats, failed: Any) -> None:
        """Write a chunk, values of shape (n_runs, n_times, n_variables), then mark it done."""
        self.group["values"][low : low + len(values)] = values
        self.group["failed"][low : low + len(values)] = failed
        self.group["done"][low // self.chunk] = 1

    def finish(self, result: Mapping[str, Any], ok: Any) -> None:
        """Write beside the values of a finished sweep which runs are good, and what else is to be known of it.

        Parameters
        ----------
        result
            Such as notes and failures, as JSON takes it.
        ok : shape (n_runs,), bool
        """
        good = np.asarray(ok, dtype=np.int8)
        made = self.group.create_array(
            "ok",
            shape=good.shape,
            chunks=(min(self.chunk, len(good)),),
            dtype=good.dtype,
            dimension_names=("draw",),
            overwrite=True,
        )
        made[...] = good
        self.group.attrs["result"] = dict(result)

    @property
    def values(self) -> Any:
        """The values as a Zarr array: what is sliced is read."""
        return self.group["values"]

    @property
    def failed(self) -> Any:
        """Part of the grid in which each run failed, or -1; shape (n_runs,)."""
        return np.asarray(self.group["failed"][:])
