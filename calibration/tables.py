"""Tidy tables on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sd_cluster.files import write_beside

if TYPE_CHECKING:
    import pandas as pd

    from calibration.fit import Fit
    from sd_cluster import Run


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, whole or not at all; numbers with ten figures, so that the same run is the same file."""
    return write_beside(
        path, lambda beside: table.to_csv(beside, index=False, float_format="%.10g", lineterminator="\n")
    )


def write_fit_tables(fit: Fit, folder: Path) -> list[Path]:
    """Write what a fit says of its parameters, series, figures and starts, a table each."""
    tables = {
        "estimates": fit.frame(),
        "series": fit.series_frame(),
        "data-and-model": fit.data_frame(),
        "starts": fit.starts_frame(),
    }
    return [write_table(table, folder / f"{name}.csv") for name, table in tables.items()]


def tidy(runs: Sequence[Run], variables: Sequence[str]) -> pd.DataFrame:
    """Runs as one tidy table: scenario, time, variable, value, unit; one row for each saved time and variable."""
    import pandas as pd

    tables = [
        pd.DataFrame(
            {"scenario": run.scenario, "time": run.times, "variable": name, "value": run[name], "unit": run.unit(name)}
        )
        for run in runs
        for name in variables
    ]
    return pd.concat(tables, ignore_index=True)
