"""A park whose truth is known: the logistic curve in closed form, and tables made from it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

import calibration as cal
import sd_cluster as sd
from calibration.dataset import Dataset, dataset_from

MODEL = Path(__file__).parent / "models" / "logistic_firms.mdl"
TRUTH = {"growth rate": 0.31, "land": 640.0, "initial firms": 25.0, "occupancy": 0.7}
RANGES = {"growth rate": (0.05, 0.6), "land": (200, 2000), "initial firms": (5, 400), "occupancy": (0.2, 1)}
STAFF, SALES, UNKNOWN_SCALE = 300.0, 2.0, 3.7
GAUGES = cal.Measurement(
    {"firms": cal.Level("firms"), "staff": cal.Level("employees"), "revenue": cal.Level("sales", scale=True)}
)


def firms_at(time: np.ndarray | float) -> np.ndarray:
    """Firms of the true park, from the closed form."""
    land, start = TRUTH["land"], TRUTH["initial firms"]
    grown = np.exp(TRUTH["growth rate"] * (np.asarray(time, dtype=float) - 2000.0))
    return land * start * grown / (land + start * (grown - 1.0))


def true_series(years: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of the true park, by indicator."""
    firms = firms_at(years)
    staff = firms * STAFF * TRUTH["occupancy"]
    return {"firms": firms, "staff": staff, "revenue": staff * SALES * UNKNOWN_SCALE}


def write_rows(path: Path, *rows: str) -> Path:
    """A table of rows `year,indicator,value` of one region, from line 2 on."""
    lines = ["region,year,indicator,value,unit,source", *(f"park,{row},unit,twin" for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_twin(path: Path, noise: float = 0.0, seed: int = 0) -> Path:
    """A table of the true park every second year, with log-normal noise."""
    years = np.arange(2000, 2026, 2)
    rng = np.random.default_rng(seed)
    rows = [
        f"{year},{name},{float(value * np.exp(noise * rng.normal()))!r}"
        for name, values in true_series(years).items()
        for year, value in zip(years, values, strict=True)
    ]
    return write_rows(path, *rows)


def park() -> sd.Model:
    """The model of the park."""
    return sd.load(MODEL)


def table(**series: tuple[str, Mapping[float, float]]) -> Dataset:
    """A dataset of one region from indicator = (unit, {year: value})."""
    figures = [(name, unit, year, value) for name, (unit, some) in series.items() for year, value in some.items()]
    frame = pd.DataFrame(figures, columns=["indicator", "unit", "year", "value"])
    return dataset_from(frame.assign(region="made", source="made"))
