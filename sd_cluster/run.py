"""A run: saved times, values of every variable, and where they came from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sd_cluster.errors import DataError, ModelError, near
from sd_cluster.expressions import TIME
from sd_cluster.files import write_beside
from sd_cluster.kernel import Floats
from sd_cluster.model import key

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@dataclass(frozen=True, eq=False)
class Run:
    """What a simulation gives.

    Attributes
    ----------
    times : shape (n_times,)
        Saved times, increasing, in the model's unit of time.
    values : shape (n_times, n_variables)
        Values of the variables at those times, in their own units.
    names, units
        Of the columns: every variable of the model but lookups, parameters too.
    scenario
        Name of the scenario.
    notes
        What a reader of the numbers should know, such as switches that could not be located.
    provenance
        Model and its digest, scenario, solver, horizon and versions: all that is needed to repeat the run.
    arrays
        Of each array variable, by name: name and elements of the range at each position.
    """

    times: Floats
    values: Floats
    names: Sequence[str]
    units: tuple[str, ...]
    scenario: str = "base"
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)
    arrays: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.times.setflags(write=False)
        self.values.setflags(write=False)

    def _column(self, name: str) -> int:
        if name in self.names:
            return self.names.index(name)
        folded = [key(known) for known in self.names]
        if key(name) in folded:
            return folded.index(key(name))
        raise ModelError(f"run '{self.scenario}' has no variable '{name}'{near(name, self.names)}")

    def array(self, name: str) -> "xr.DataArray":
        """An array variable over `time` and its ranges; elements without an equation are NaN.

        Raises
        ------
        ModelError
            If there is no array of that name.
        """
        import xarray as xr

        known = next((known for known in self.arrays if key(known) == key(name)), None)
        if known is None:
            raise ModelError(f"run '{self.scenario}' has no array '{name}'{near(name, self.arrays)}")
        shape = self.arrays[known]
        full = [f"{known}[{','.join(row)}]" for row in product(*(elements for _, elements in shape))]
        sizes = tuple(len(elements) for _, elements in shape)
        start = self.names.index(full[0]) if full and full[0] in self.names else 0
        if list(self.names[start : start + len(full)]) == full:
            values, places = self.values[:, start : start + len(full)], [start]
        else:
            columns = {column: place for place, column in enumerate(self.names)}
            found = [columns.get(name, -1) for name in full]
            values = np.column_stack([self.values, np.full(len(self.times), np.nan)])[:, found]
            places = [place for place in found if place >= 0]
        unit = self.units[places[-1]] if places else ""
        values = values.reshape(len(self.times), *sizes).copy()
        names = [name for name, _ in shape]
        names = [name if name not in names[:place] else f"{name} {place + 1}" for place, name in enumerate(names)]
        coords = {"time": self.times, **{name: list(shape[place][1]) for place, name in enumerate(names)}}
        return xr.DataArray(values, coords=coords, dims=["time", *names], name=known, attrs={"units": unit})

    def __getitem__(self, name: str) -> Any:
        """Trajectory of a variable, shape (n_times,); of an array, a labelled xarray over time and its ranges.

        Case, underscores and quotes do not count. `Time` is the saved times.

        Raises
        ------
        ModelError
            If there is none of that name; the text names the nearest one.
        """
        if name not in self.names and any(key(known) == key(name) for known in self.arrays):
            return self.array(name)
        if key(name) == key(TIME) and name not in self.names:
            return self.times
        column: Floats = self.values[:, self._column(name)]
        return column

    def unit(self, name: str) -> str:
        """Unit of a variable as the file declares it."""
        return self.units[self._column(name)]

    def at(self, year: float) -> dict[str, float]:
        """Values of all variables at a time, straight between saved times.

        Raises
        ------
        ModelError
            If the time lies outside the run.
        """
        if not self.times[0] <= year <= self.times[-1]:
            raise ModelError(f"{year:g} lies outside the run, which goes from {self.times[0]:g} to {self.times[-1]:g}")
        row = [float(np.interp(year, self.times, column)) for column in self.values.T]
        return dict(zip(self.names, row, strict=True))

    def frame(self) -> "pd.DataFrame":
        """A table: one row a saved time, one column a variable."""
        import pandas as pd

        return pd.DataFrame(self.values, index=pd.Index(self.times, name="time"), columns=list(self.names))

    def dataset(self) -> "xr.Dataset":
        """A labelled xarray Dataset: one data variable a model variable over `time`, with `units` as attributes."""
        import xarray as xr

        columns = zip(self.names, self.units, self.values.T, strict=True)
        data = {name: ("time", column, {"units": unit}) for name, unit, column in columns}
        about = {
            "scenario": self.scenario,
            "notes": list(self.notes),
            "provenance": json.dumps(self.provenance),
        }
        return xr.Dataset(data, coords={"time": self.times}, attrs=about)

    def save(self, path: str | Path) -> Path:
        """Write the run to a netCDF file, whole or not at all; `load_run` reads it back.

        Returns
        -------
        path
            The file, with the suffix `.nc`.
        """
        import xarray as xr

        path = Path(path)
        path = path if path.suffix == ".nc" else path.with_name(path.name + ".nc")
        about = {
            "format": "sd_cluster run 1",
            "names": json.dumps(list(self.names)),
            "units": json.dumps(self.units),
            "scenario": self.scenario,
            "notes": json.dumps(self.notes),
            "provenance": json.dumps(self.provenance),
            "arrays": json.dumps(self.arrays),
        }
        dataset = xr.Dataset({"values": (("time", "variable"), self.values)}, coords={"time": self.times}, attrs=about)

        def write(neighbour: Path) -> None:
            dataset.to_netcdf(neighbour, engine="scipy")

        return write_beside(path, write)


def load_run(path: str | Path) -> Run:
    """Read a run that was saved.

    Raises
    ------
    DataError
        If the file is missing or is not a saved run.
    """
    import xarray as xr

    path = Path(path)
    if not path.is_file():
        raise DataError(f"no file '{path}'; give the path of a run that was saved")
    try:
        with xr.open_dataset(path, engine="scipy") as dataset:
            about: dict[str, Any] = dict(dataset.attrs)
            times = np.array(dataset["time"].values, dtype=float)
            values = np.array(dataset["values"].values, dtype=float)
        if about.get("format") != "sd_cluster run 1":
            raise KeyError("format")
        return Run(
            times=times,
            values=values,
            names=tuple(json.loads(about["names"])),
            units=tuple(json.loads(about["units"])),
            scenario=str(about["scenario"]),
            notes=tuple(json.loads(about["notes"])),
            provenance=json.loads(about["provenance"]),
            arrays={
                name: tuple((place, tuple(elements)) for place, elements in shape)
                for name, shape in json.loads(about.get("arrays", "{}")).items()
            },
        )
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"'{path}' is not a run saved by this package ({type(error).__name__})") from None
