"""Writing a model back to a .mdl or an XMILE file, from the trees its own file was read into."""

from dataclasses import dataclass
from pathlib import Path

from sd_cluster.errors import ModelError, SdClusterError
from sd_cluster.files import write_beside
from sd_cluster.model import Model, key
from sd_cluster.reading import load
from sd_cluster.run import Run
from sd_cluster.scribe_vensim import VensimScribe
from sd_cluster.scribe_xmile import XmileScribe
from sd_cluster.simulation import simulate
from sd_cluster.solvers import Euler
from sd_cluster.source import Source


@dataclass(frozen=True)
class Written:
    """A file that was written, read back and run.

    Attributes
    ----------
    path
        The file.
    difference
        Largest difference between runs of both by Euler's method, relative to each variable's largest value.
    variable
        Where it is.
    """

    path: Path
    difference: float
    variable: str

    def __str__(self) -> str:
        at = f" (in '{self.variable}')" if self.difference else ""
        return f"{self.path}: read back and run, it differs by at most {self.difference:.1e}{at}"


def write(model: Model, path: str | Path) -> Written:
    """Write a model to a `.mdl` or an XMILE file, read it back, run both and say by how much they differ.

    Parameters
    ----------
    model
        As `load` gave it.
    path
        A file that ends in `.mdl`, `.xmile`, `.xml` or `.stmx`.

    Returns
    -------
    written

    Raises
    ------
    ModelError
        If the model did not come from a file, uses what the other format cannot say, or what was written does not read
        back; the text names the variable.
    SimulationError
        If the model cannot be run, so that nothing can be compared.
    OSError
        If the file cannot be written. On any error a file that stood there before is as it was.
    """
    path = Path(path)
    source = model.origin
    if not isinstance(source, Source):
        raise ModelError(f"{model.name} did not come from a file, so there is nothing to write")
    suffix = path.suffix.lower()
    if suffix not in {".mdl", ".xmile", ".xml", ".stmx"}:
        raise ModelError(f"'{path.name}' should end in .mdl, .xmile, .xml or .stmx")
    scribe = VensimScribe(model, source) if suffix == ".mdl" else XmileScribe(model, source)
    text = scribe.text()

    found: list[tuple[float, str]] = []
    before = simulate(model, solver=Euler())

    def put(neighbour: Path) -> None:
        """Write, read back and run; only what passes takes the place of what was there."""
        neighbour.write_text(text, encoding="utf-8")
        try:
            after = simulate(load(neighbour, check_units=False), solver=Euler())
            found.append(_difference(before, after))
        except SdClusterError as error:
            told = str(error).replace(neighbour.name, path.name).replace(neighbour.stem, path.stem)
            raise ModelError(f"{model.name} was not written: it does not read back: {told}") from None

    write_beside(path, put)
    return Written(path, *found[0])


def _difference(first: Run, second: Run) -> tuple[float, str]:
    """Largest difference between two models' runs, and the variable it is in; what only one has as no number is inf."""
    import numpy as np

    worst, where = 0.0, ""
    places = {key(name): place for place, name in enumerate(second.names)}
    for column, name in enumerate(first.names):
        if key(name) == "saveper":
            continue
        one, place = first.values[:, column], places.get(key(name))
        other = np.interp(first.times, second.times, second[name] if place is None else second.values[:, place])
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        with np.errstate(invalid="ignore"):
            off = np.where(same, 0.0, np.nan_to_num(np.abs(one - other), nan=np.inf))
        known = np.abs(one[np.isfinite(one)])
        apart = float(off.max() / max(float(known.max(initial=0.0)), 1e-300))
        if apart > worst:
            worst, where = apart, name
    return worst, where
