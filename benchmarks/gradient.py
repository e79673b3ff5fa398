"""What does the exact gradient of a run cost against finite differences by the fastest C kernel at hand?

The Jacobian of 150 outputs (5 series x 30 years) by 40 parameters on `cluster.mdl` of the benchmark folder beside the
checkout (`../shared/bench`), RK4 with the model's own step 1/16, one thread. The C kernel runs 41 parameter sets in the
lanes of the widest vectors there are and takes forward differences. It is timed as it stands (60 years)
and cut to the 30 years that are asked for. Medians of interleaved runs. Run `python benchmarks/gradient.py [REPEATS]`.
"""

import ctypes
import os
import shutil
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from limit import aligned, c_limit
from timing import in_turn

import sd_cluster as sd
from sd_cluster.forward import ForwardRunner

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
SERIES = ["Shared Knowledge Base", "Trust", "Talent Pool", "Member Firms", "Cumulative Innovation Output"]
YEARS = 30
LANES = 48


class Differences:
    """Forward differences by the C kernel over a number of years, steps of 1/16."""

    def __init__(self, batch, columns, years):
        self.batch, self.columns, self.years = batch, columns, years
        self.points, self.rows = aligned((40, LANES)), aligned((years + 1, 10, LANES))

    def __call__(self, point):
        widths = 1e-6 * point
        self.points[:] = point[:, None]
        self.points[range(40), range(40)] += widths
        where = [array.ctypes.data_as(ctypes.c_void_p) for array in (self.points, self.rows)]
        self.batch(where[0], ctypes.c_long(LANES), self.years * 16, 1, where[1])
        rows = self.rows[1 : YEARS + 1, self.columns]
        return (rows[:, :, :40] - rows[:, :, 40:41]) / widths


def why_not():
    """A sentence on what is missing, or nothing."""
    if not (BENCH / "cluster.mdl").exists():
        return f"{BENCH} is not here, so there is neither the model nor the C kernel to compare with."
    if shutil.which("gcc") is None:
        return "gcc is not here, so there is no C kernel to compare with."
    return ""


def main(repeats=101):
    """Time, compare, print."""
    if missing := why_not():
        print(missing)
        return
    sys.path.insert(0, str(BENCH))
    import spec

    model = sd.load(BENCH / "cluster.mdl", check_units=False)
    names = [name.replace("_", " ") for name in spec.PARAMS]
    point = np.array(list(spec.PARAMS.values()))
    begun = time.perf_counter()
    forward = ForwardRunner(model, names, outputs=SERIES, times=np.arange(1.0, YEARS + 1))
    ready = time.perf_counter() - begun
    coarse = ForwardRunner(model, names, outputs=SERIES, times=np.arange(1.0, YEARS + 1), step=0.5)
    fine = ForwardRunner(model, names, outputs=SERIES, times=np.arange(1.0, YEARS + 1), step=1 / 256)
    columns = [spec.STOCKS.index(letter) for letter in spec.OBS]
    ways = {
        "ForwardRunner, step 1/16": lambda x: forward(x)[1],
        "ForwardRunner, step 1/2": lambda x: coarse(x)[1],
    }
    limits = {years: c_limit(years) for years in (60, YEARS)}
    for years, limit in limits.items():
        if limit:
            ways[f"C vectors, finite differences, 41 runs of {years} years"] = Differences(limit, columns, years)
    exact = fine(point)[1]
    for name, way in ways.items():
        assert np.allclose(way(point), exact, rtol=0.05, atol=1e-3 * np.abs(exact).max(axis=0)), name
    seconds = in_turn([lambda way=way: way(point) for way in ways.values()], repeats)
    scale = np.abs(exact).max(axis=0)
    print(f"{'Jacobian of 150 outputs by 40 parameters':55}{'ms':>8}{'/ C 60 y':>10}{'/ C 30 y':>10}{'error':>9}")
    for column, (name, way) in enumerate(ways.items()):
        ratios = [np.median(seconds[:, column] / bound) for bound in seconds[:, 2:].T]
        error = (np.abs(way(point) - exact) / scale).max()
        shown = "".join(f"{ratio:10.2f}" for ratio in ratios)
        print(f"{name:55}{np.median(seconds[:, column]) * 1e3:8.3f}{shown}{error:9.1e}")
    print(f"compiled, or taken from the cache, in {ready:.1f} s; medians of {repeats} interleaved runs")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
