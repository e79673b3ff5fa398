"""Many runs of one model: the same equations under many draws of its parameters."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from os import PathLike
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np

from sd_cluster.batch import Batch
from sd_cluster.draws import Draws
from sd_cluster.ensemble_file import drawn_label, read_ensemble, write_ensemble
from sd_cluster.errors import ModelError, ScenarioError, SimulationError, near
from sd_cluster.grid import Grid, Whole
from sd_cluster.kernel import Backend, Floats
from sd_cluster.look import unit_label
from sd_cluster.model import Horizon, Model, key
from sd_cluster.moments import chosen_horizon, plain_changes, refuse_moving
from sd_cluster.paths import Path, choose_path
from sd_cluster.scenario import Scenario, apply
from sd_cluster.solvers import Adaptive, Solver
from sd_cluster.store import Store
from sd_cluster.workers import CHUNK, CHUNK_ALONE, Alone, in_tasks, run_alone, side_by_side

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from dask.distributed import Client
    from matplotlib.figure import Figure

FOREMOST = 9
"""Parameters that a figure shows of many."""

TOLD = 500
"""Failed runs up to which all are solved once more, one by one; of more, the first are asked for the reason."""

ASKED = 20
"""Failed runs that are asked for the reason where there are too many."""


@dataclass(frozen=True)
class Failure:
    """A run that could not go on: the draw's number, when, in which stock, and the whole sentence."""

    draw: int
    time: float
    stock: str
    text: str


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What a sweep gives.

    Attributes
    ----------
    draws
        Parameters of each run.
    times : shape (n_times,)
        Saved times, in the model's unit of time.
    values : shape (n_runs, n_times, n_variables)
        Values of the saved variables; NaN from where a run failed.
    names, units
        Of the variables.
    failures
        Runs that failed, at most the first few hundred told one by one.
    ok : shape (n_runs,)
        False for every run that failed.
    notes
        Which step was taken and which error it leaves, and what else a reader should know.
    provenance
        All that is needed to repeat the sweep.
    """

    draws: Draws
    times: Floats
    values: Floats
    names: tuple[str, ...]
    units: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    ok: Any = None
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ok is None:
            object.__setattr__(self, "ok", np.ones(len(self.draws), dtype=bool))
        for array in (self.times, self.values, self.ok):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    def _column(self, name: str) -> int:
        folded = [key(known) for known in self.names]
        if key(name) not in folded:
            raise ModelError(f"the ensemble has not saved '{name}'{near(name, self.names)}; ask for it in outputs")
        return folded.index(key(name))

    def __getitem__(self, name: str) -> Floats:
        """All trajectories of a variable, shape (n_runs, n_times); case and underscores do not count."""
        column: Floats = self.values[:, :, self._column(name)]
        return column

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.draws)

    def __str__(self) -> str:
        lost = int((~self.ok).sum())
        of = f" of {self.provenance['model']}" if "model" in self.provenance else ""
        failed = f", {lost:,} of which failed" if lost else ""
        head = f"{len(self):,} runs{of}, {self.times[0]:g} to {self.times[-1]:g} in {len(self.times)} rows{failed}"
        rows = [["", "5 %", "median", "95 %", ""]]
        if lost < len(self):
            last = np.asarray(self.values[:, len(self.times) - 1])[self.ok]
            bands = np.quantile(last, (0.05, 0.5, 0.95), axis=0).T
            for name, unit, band in zip(self.names, self.units, bands, strict=True):
                told = [f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}" for value in band]
                rows.append([name, *told, unit_label(unit)])
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        table = [
            "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:4], widths[1:4]), row[4]]).rstrip()
            for row in rows
        ]
        title = [f"At {self.times[-1]:g}:", *table] if len(rows) > 1 else []
        return "\n".join([head, *title, *(f"Note: {note}." for note in self.notes)])

    def unit(self, name: str) -> str:
        """Unit of a variable as the file declares it."""
        return self.units[self._column(name)]

    def quantiles(self, name: str, levels: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)) -> Floats:
        """Quantiles of a variable over the runs that did not fail, shape (n_levels, n_times)."""
        bands: Floats = np.quantile(self[name][self.ok], levels, axis=0)
        return bands

    def dataset(self) -> "xr.Dataset":
        """A labelled xarray Dataset over `draw` and `time`; parameters are coordinates of `draw`."""
        import xarray as xr

        data = {
            name: (("draw", "time"), self.values[:, :, column], {"units": unit})
            for column, (name, unit) in enumerate(zip(self.names, self.units, strict=True))
        }
        drawn = {drawn_label(name, self.names): ("draw", self.draws[name]) for name in self.draws.names}
        places = {"draw": np.arange(len(self)), "time": self.times, "ok": ("draw", self.ok)}
        about = {"notes": list(self.notes), "provenance": json.dumps(self.provenance)}
        return xr.Dataset(data, coords={**places, **drawn}, attrs=about)

    def plot(self, name: str) -> "Figure":
        """Draw the runs of a variable that did not fail as a fan of quantile bands."""
        from sd_cluster import charts
        from sd_cluster.look import sentence_case

        return charts.fan(self.times, self[name][self.ok], title=sentence_case(name), unit=self.unit(name))

    def scatter(self, name: str, *, time: float | None = None, parameters: Sequence[str] | None = None) -> "Figure":
        """Draw a variable against the parameters, one point a run, with the trend of its middle half.

        Parameters
        ----------
        name
            Of the variable.
        time
            When it is read; the last one where not given.
        parameters
            Which to draw; all where not given, or of many the nine whose ranks go with the variable most.

        Raises
        ------
        ModelError
            If the variable was not saved, or not at that time.
        """
        from sd_cluster import charts

        at = float(self.times[-1]) if time is None else time
        if not np.isclose(self.times, at).any():
            raise ModelError(f"the ensemble has no row at {at:g}; the times are those of .times")
        answers = np.asarray(self.values[:, int(np.abs(self.times - at).argmin()), self._column(name)])
        chosen = parameters or _foremost(self.draws, answers, self.ok)
        drawn = {parameter: self.draws[parameter][self.ok] for parameter in chosen}
        return charts.scatter(drawn, answers[self.ok], y_label=f"{name} at {at:g}, {unit_label(self.unit(name))}")

    def frame(self) -> "pd.DataFrame":
        """A long table: one row a run and time, one column a variable."""
        import pandas as pd

        index = pd.MultiIndex.from_product([range(len(self)), self.times], names=["draw", "time"])
        values = np.asarray(self.values[:]).reshape(len(index), -1)
        return pd.DataFrame(values, index=index, columns=list(self.names))

    def parts(self) -> dict[str, Any]:
        """All but the arrays, as JSON takes it."""
        failures = [[None if one != one else one for one in astuple(failure)] for failure in self.failures]
        about = {"names": self.draws.names, "seed": self.draws.seed, "method": self.draws.method}
        return {
            "names": list(self.names),
            "units": list(self.units),
            "draws": {**about, "names": list(self.draws.names), "notes": list(self.draws.notes)},
            "failures": failures,
            "notes": list(self.notes),
            "provenance": dict(self.provenance),
        }

    def save(self, path: str | FilePath) -> FilePath:
        """Write the ensemble to a netCDF file, whole or not at all; `load_ensemble` reads it back.

        What a sweep has streamed to a store needs no saving: `load_ensemble` reads that too.

        Returns
        -------
        path
            The file, with the suffix `.nc`.
        """
        return write_ensemble(path, self.dataset(), self.parts())


def _foremost(draws: Draws, answers: Floats, ok: Any) -> list[str]:
    """Parameters whose ranks go with some answers most, nine at the most, in the order of the draws."""
    if len(draws.names) <= FOREMOST:
        return list(draws.names)

    def ranks(values: Floats) -> Floats:
        places = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
        return np.asarray(places - (len(values) - 1) / 2, dtype=float)

    strength = np.abs(ranks(answers[ok]) @ ranks(draws.values[ok]))
    return [draws.names[column] for column in sorted(np.argsort(-strength, kind="stable")[:FOREMOST])]


def load_ensemble(path: str | FilePath) -> Ensemble:
    """Read an ensemble that was saved, or that a sweep has streamed to a store.

    Parameters
    ----------
    path
        A netCDF file, or the folder that `store=` named; of the latter what is sliced is read.

    Raises
    ------
    DataError
        If the path leads to nothing, to something else, or to a sweep that was interrupted.
    """
    parts = read_ensemble(path)
    failures = tuple(
        Failure(draw, float("nan") if time is None else time, stock, text)
        for draw, time, stock, text in parts["failures"]
    )
    names, units, notes = (tuple(parts[name]) for name in ("names", "units", "notes"))
    return Ensemble(
        parts["draws"], parts["times"], parts["values"], names, units, failures, parts["ok"], notes, parts["provenance"]
    )


def sweep(
    model: Model,
    draws: Draws,
    *,
    outputs: str | Sequence[str] | None = None,
    save: float | Sequence[float] | None = None,
    horizon: Horizon | tuple[float, float] | None = None,
    scenario: Scenario | None = None,
    solver: Solver | None = None,
    rtol: float = 1e-5,
    threads: int | None = None,
    progress: bool = False,
    store: str | PathLike[str] | None = None,
    client: "Client | None" = None,
) -> Ensemble:
    """Run a model once for each draw.

    Where no solver is given, the runs share Runge-Kutta steps that no switching time falls into; the step is halved on
    some of the runs until halving it moves nothing by more than `rtol` of its largest value. Models that would need
    too short a step, or whose switching times differ between runs, are solved run by run by `Adaptive`. Arrays that
    are kept whole are solved run by run, with Runge-Kutta steps that are halved on two of the runs as above. The
    numbers do not depend on the number of threads or the order of the draws.

    Parameters
    ----------
    model
    draws
        Parameters, or stocks for their initial values, one row a run.
    outputs
        Variables to save, or the name of one; the stocks where not given, or where arrays are kept whole all that has
        no subscripts.
    save
        Time between saved rows, or the times themselves; one unit of time where not given.
    horizon, scenario
        As in `simulate`.
    solver
        A fixed-step solver replays Vensim's meaning of the step; `Adaptive` solves run by run.
    rtol
        Error allowed in continuous time, relative to each variable's largest value in a run.
    threads
        One for each processor where not given.
    progress
        Show a bar with runs per second and time left on a terminal.
    store
        Folder of a Zarr group to stream results to, for sweeps larger than memory. An interrupted sweep goes on where
        it stopped when called again, and gives the same numbers.
    client
        A Dask client whose workers carry the runs out, for sweeps larger than the machine.

    Returns
    -------
    ensemble
        With `store`, its `values` is a Zarr array: what is sliced is read.

    Raises
    ------
    ScenarioError, ModelError
        If names, horizon or times do not fit the model, or a setting is none.
    DataError
        If `store` holds something else.
    """
    if not isinstance(draws, Draws):
        given = type(draws).__name__
        raise ScenarioError(f"draws came as {given}; give Space(...).sample(n), or Draws.of({{name: values}})")
    if not (isinstance(rtol, int | float) and 0.0 < rtol < 1.0):
        raise ScenarioError(f"rtol={rtol!r} should lie between 0 and 1, as 1e-5 does")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ScenarioError(f"threads={threads!r} should be a whole number from 1 on, or None for all processors")
    batch = prepare(model, draws.names, outputs, horizon, scenario, solver)
    path = choose_path(batch, draws, save, solver, rtol, threads)
    units = tuple(batch.variable(name).units for name in batch.outputs)
    about = provenance(batch, draws, path, solver, rtol)
    times = np.array(path.times)
    chunk = CHUNK if isinstance(path.how, Grid) else CHUNK_ALONE
    kept = Store(store, draws, times, batch.outputs, units, about, chunk) if store is not None else None
    if kept is None and client is None and isinstance(path.how, Grid):
        out, failed = side_by_side(batch, draws.values, path.how, threads, progress)
        values: Any = out.transpose(2, 0, 1)
    else:
        values, failed = in_tasks(batch, draws.values, path.how, threads, client, kept, progress)
    failures, ok, mended = _look_into(batch, draws, path, failed, values)
    notes = (*path.notes, *mended, *_lost(failures, ok))
    found = Ensemble(draws, times, values, batch.outputs, units, failures, ok, notes, about)
    if kept is not None:
        kept.finish(found.parts(), ok)
    return found


def prepare(
    model: Model,
    names: Sequence[str],
    outputs: str | Sequence[str] | None,
    horizon: Horizon | tuple[float, float] | None,
    scenario: Scenario | None,
    solver: Solver | None,
) -> Batch:
    """Check at the door what a sweep is asked for."""
    if solver is not None and not isinstance(solver, Solver):
        raise ScenarioError(f"solver={solver!r} is none; give RungeKutta4(), Euler() or Adaptive()")
    refuse_moving(model)
    chosen = chosen_horizon(model, horizon, solver or Adaptive())
    asked = [outputs] if isinstance(outputs, str) else _usual(model) if outputs is None else outputs
    wanted = tuple(n for name in asked for n in model.named(name))
    if not wanted:
        raise ModelError(f"the sweep of {model.name} saves nothing; name at least one variable in outputs")
    if twice := [name for name in wanted if wanted.count(name) > 1]:
        raise ModelError(f"'{twice[0]}' stands twice among the outputs; name it once")
    base = scenario or Scenario()
    apply(model, Scenario("draws", dict.fromkeys(names, 0.0)))
    return Batch(model, base, chosen, tuple(names), wanted)


def _usual(model: Model) -> tuple[str, ...]:
    """What a sweep saves where nothing is named: the stocks; of arrays that are kept whole nothing."""
    if model.whole is None:
        return model.stocks
    return tuple(name for name in (*model.stocks, *model.auxiliaries) if not model.variable(name).ranges)


def _look_into(
    batch: Batch, draws: Draws, path: Path, failed: Whole, values: Any
) -> tuple[tuple[Failure, ...], Any, tuple[str, ...]]:
    """Solve the runs that failed once more, alone: some can be done, the others say why not."""
    ok, failures, mended = failed < 0, [], 0
    lost = np.flatnonzero(~ok)
    many = len(lost) > TOLD  # all or none, so that the numbers do not depend on the order of the draws
    backend: Backend = "numba" if len(lost) > ASKED else "python"
    alone = path.how if isinstance(path.how, Alone) else Alone(path.times, Adaptive(), backend)
    for draw in map(int, lost[: ASKED if many else None]):
        try:
            solved = run_alone(batch, draws.values[draw], alone)
        except SimulationError as error:
            time = error.time if np.isfinite(error.time) else path.time_of(int(failed[draw]))
            failures.append(Failure(draw, time, error.stock, str(error)))
        else:
            if not many:
                values[draw], ok[draw], mended = solved, True, mended + 1
    told = {failure.draw for failure in failures}
    untold = [draw for draw in map(int, np.flatnonzero(~ok)) if draw not in told]
    failures += [Failure(draw, path.time_of(int(failed[draw])), "", "the run blew up") for draw in untold]
    notes = (f"{mended} run(s) failed side by side and were solved one by one",) if mended else ()
    if many and isinstance(path.how, Grid):
        notes = (f"{len(lost)} runs failed side by side, too many to try each alone; solver=Adaptive() does",)
    return tuple(sorted(failures, key=lambda failure: failure.draw)), ok, notes


def _lost(failures: tuple[Failure, ...], ok: Any) -> tuple[str, ...]:
    if not failures:
        return ()
    return (f"{len(failures)} of {len(ok)} runs failed, the first with: {failures[0].text}",)


def provenance(batch: Batch, draws: Draws, path: Path, solver: Solver | None, rtol: float) -> dict[str, object]:
    """All that is needed to repeat a sweep."""
    from sd_cluster.version import __version__

    return {
        "model": batch.model.name,
        "digest": batch.model.digest,
        "scenario": {"name": batch.scenario.name, "changes": plain_changes(batch.scenario.changes)},
        "draws": {"names": list(draws.names), "method": draws.method, "seed": draws.seed, "count": len(draws)},
        "solver": {"name": type(solver).__name__, **asdict(solver)} if solver else {"rtol": rtol},
        "steps": path.how.total_steps if isinstance(path.how, Grid) else None,
        "error": path.error,
        "horizon": asdict(batch.horizon),
        "versions": {"sd_cluster": __version__, "numpy": np.__version__},
    }
