"""What does the exact gradient of a run cost against finite differences by the fastest C kernel at hand?

The Jacobian of 150 outputs (5 series x 30 years) by 40 parameters on `cluster.mdl` of the benchmark folder beside the
checkout (`../shared/bench`), RK4 with the model's own step 1/16, one thread. The C kernel runs 41 parameter sets in the
lanes of AVX-512 vectors and takes forward differences. It is timed as it stands (60 years, the rows of PERFORMANCE.md)
and cut to the 30 years that are asked for. Medians of interleaved runs. Run `python benchmarks/gradient.py [REPEATS]`.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import sd_cluster as sd
from sd_cluster.forward import ForwardRunner

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
SERIES = ["Shared Knowledge Base", "Trust", "Talent Pool", "Member Firms", "Cumulative Innovation Output"]
YEARS = 30
TARGET = 0.3
LANES = 48


class Differences:
    """Forward differences by the C kernel over a number of years, steps of 1/16."""

    def __init__(self, library, columns, years):
        self.batch, self.columns, self.years = ctypes.CDLL(str(library)).batch, columns, years
        self.points, self.rows = aligned(40, LANES), aligned(years + 1, 10, LANES)

    def __call__(self, point):
        widths = 1e-6 * point
        self.points[:] = point[:, None]
        self.points[range(40), range(40)] += widths
        where = [array.ctypes.data_as(ctypes.c_void_p) for array in (self.points, self.rows)]
        self.batch(where[0], ctypes.c_long(LANES), self.years * 16, 1, where[1])
        rows = self.rows[1 : YEARS + 1, self.columns]
        return (rows[:, :, :40] - rows[:, :, 40:41]) / widths


def aligned(*shape):
    """Zeros on the boundary of a cache line, as the vector loads of the kernel want them."""
    raw = np.zeros(int(np.prod(shape)) + 8)
    first = (-raw.ctypes.data % 64) // 8
    return raw[first : first + int(np.prod(shape))].reshape(shape)


def build(folder):
    """The C kernels: as the shared script builds them, and once more for the shorter horizon."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["sh", str(BENCH / "build.sh")], env={**os.environ, "BENCH_OUT": str(folder)}, check=True, **quiet)
    text = (folder / "v_explog.c").read_text()
    short = text.replace("60.0/nsteps", f"{YEARS}.0/nsteps").replace("nsteps/60", f"nsteps/{YEARS}")
    assert short != text, "the C source has changed its shape"
    (folder / "short.c").write_text(short)
    flags = "-Ofast -march=native -fopenmp -shared -fPIC -Wno-psabi -DINL short.c -o short.so -lm"
    subprocess.run(["gcc", *flags.split()], cwd=folder, check=True, **quiet)
    return folder / "v_inl.so", folder / "short.so"


def why_not():
    """A sentence on what is missing, or nothing."""
    if not (BENCH / "cluster.mdl").exists():
        return f"{BENCH} is not here, so there is neither the model nor the C kernel to compare with."
    if shutil.which("gcc") is None:
        return "gcc is not here, so there is no C kernel to compare with."
    if "avx512f" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        return "This processor has no AVX-512, which the C kernel needs."
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
    with tempfile.TemporaryDirectory() as folder:
        whole, short = build(Path(folder))
        columns = [spec.STOCKS.index(letter) for letter in spec.OBS]
        ways = {
            "C AVX-512 finite differences, 41 runs of 60 years": Differences(whole, columns, 60),
            "C AVX-512 finite differences, 41 runs of 30 years": Differences(short, columns, YEARS),
            "ForwardRunner, step 1/16": lambda x: forward(x)[1],
            "ForwardRunner, step 1/2": lambda x: coarse(x)[1],
        }
        exact = fine(point)[1]
        times = {name: [] for name in ways}
        for name, way in ways.items():
            assert np.allclose(way(point), exact, rtol=0.05, atol=1e-3 * np.abs(exact).max(axis=0)), name
        for _ in range(repeats):
            for name, way in ways.items():
                begun = time.perf_counter()
                way(point)
                times[name].append(time.perf_counter() - begun)
        base = [median(times[name]) for name in ways][:2]
        scale = np.abs(exact).max(axis=0)
        heads = "Jacobian of 150 outputs by 40 parameters", "ms", "/ C 60 y", "/ C 30 y", "error"
        print("{:52s} {:>8s} {:>9s} {:>9s} {:>8s}".format(*heads))
        for name, way in ways.items():
            took, error = median(times[name]), (np.abs(way(point) - exact) / scale).max()
            print(f"{name:52s} {took * 1e3:8.3f} {took / base[0]:9.2f} {took / base[1]:9.2f} {error:8.1e}")
        ratio = median(times["ForwardRunner, step 1/16"]) / base[0]
        verdict = "met" if ratio <= TARGET else "MISSED"
        print(f"target: at most {TARGET} of the C differences at the same step; measured {ratio:.2f}: {verdict}")
        print(f"compiled, or taken from the cache, in {ready:.1f} s; medians of {repeats} interleaved runs")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
