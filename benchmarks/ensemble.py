"""How near do sweeps come to the limit of the machine, and how much does a whole Sobol analysis cost?

Compares `sd.sweep`'s kernel with a C kernel written with AVX-512 vectors and its own exponentials (`v_inl`), RK4 and
Euler, in turn within one run, one thread each; then both cores against one; then a Sobol analysis end to end, as the
first call of a fresh process and as a later one, against the bare sweep. Needs the benchmark folder beside the
checkout (`../shared/bench`), gcc and AVX-512 for the C part; says so and leaves it out where they are absent. Run
`python benchmarks/ensemble.py`; with `--sobol` the last part alone.
"""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np
from limit import aligned, c_limit
from timing import in_turn

import sd_cluster as sd
from sd_cluster.batch import Batch
from sd_cluster.grid import step_grid

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
RUNS, REPEATS = 192, 31
SOBOL_RUNS = 43_008
PROCESSES, LATER = 7, 3
"""Fresh processes of the last part, and calls that each makes after its first."""


def main() -> None:
    if not BENCH.is_dir():
        sys.exit("the benchmark model lies in ../shared/bench, beside the checkout; it is not there")
    if "--process" in sys.argv:
        return one_process()
    if "--sobol" not in sys.argv:
        kernels()
    sobol()


def question():
    """The model, the box around its parameters, and draws from it."""
    model = sd.load(BENCH / "cluster.mdl", check_units=False)
    controls = {"FINAL TIME", "INITIAL TIME", "TIME STEP", "SAVEPER"}
    centre = {name: parameter.value for name, parameter in model.parameters.items() if name not in controls}
    space = sd.Space({name: (0.8 * value, 1.2 * value) for name, value in centre.items()})
    values = np.random.default_rng(1).uniform(space.lower, space.upper, (SOBOL_RUNS, len(centre)))
    return model, centre, space, sd.Draws(space.names, values)


def kernels() -> None:
    """Our kernel against C on one core, then both cores against one."""
    model, centre, _, draws = question()
    names = tuple(centre)
    values = np.array(list(centre.values())) * np.random.default_rng(0).uniform(0.8, 1.2, (RUNS, len(names)))
    batch = Batch(model, sd.Scenario(), model.horizon, names, model.stocks)
    begin = time.perf_counter()
    batch.lanes()
    print(f"kernel of {len(names)} parameters ready in {time.perf_counter() - begin:.1f} s")

    years = tuple(float(year) for year in range(61))
    rows = np.arange(61, dtype=np.int64) * 16
    grids = [step_grid(model.horizon, years, solver, rows) for solver in (sd.RungeKutta4(), sd.Euler())]
    out = np.empty((61, len(model.stocks), RUNS))
    ours = [lambda grid=grid: batch.run(values, grid, out) for grid in grids]
    limit = c_limit()
    if limit:
        table, there = aligned((len(names), RUNS)), aligned((61, len(model.stocks), RUNS))
        table[:] = values.T
        pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (table, there)]
        theirs = [lambda rk=rk: limit(pointers[0], ctypes.c_long(RUNS), 960, rk, pointers[1]) for rk in (1, 0)]
        seconds = in_turn([theirs[0], ours[0], theirs[1], ours[1]], REPEATS)
        print(f"\n{'one core':24}{'runs/s':>10}{'C runs/s':>10}{'time / C':>10}   (medians of {REPEATS})")
        for label, c, own in (("RK4, step 1/16", 0, 1), ("Euler, step 1/16", 2, 3)):
            ratio = np.median(seconds[:, own] / seconds[:, c])
            speed, bound = RUNS / np.median(seconds[:, own]), RUNS / np.median(seconds[:, c])
            print(f"{label:24}{speed:10,.0f}{bound:10,.0f}{ratio:10.2f}")
    seconds = in_turn([lambda: sd.sweep(model, draws, threads=1), lambda: sd.sweep(model, draws, threads=2)], 11)
    one, two = np.median(seconds, axis=0)
    print(f"\n{SOBOL_RUNS:,} runs x {len(model.stocks)} stocks x 61 years, step chosen for an error of 1e-5")
    print(
        f"one thread {one:.2f} s, two threads {two:.2f} s: {np.median(seconds[:, 0] / seconds[:, 1]):.2f} times as fast"
    )
    print(sd.sweep(model, draws).notes[0])


def one_process() -> None:
    """Seconds of a Sobol analysis: the first and later ones; of the bare sweep: its own step, and 1/16."""
    model, _, space, draws = question()
    jobs = [
        lambda: sd.sobol(model, space, of=list(model.stocks), samples=1024, seed=1),
        lambda: sd.sweep(model, draws),
        lambda: sd.sweep(model, draws, solver=sd.RungeKutta4(), save=1.0),
    ]
    begin = time.perf_counter()
    jobs[0]()
    print(time.perf_counter() - begin, *np.median(in_turn(jobs, LATER), axis=0))


def sobol() -> None:
    """A whole analysis against the bare sweep, both on all cores, in fresh processes that have compiled before."""
    job = [sys.executable, __file__, "--process"]
    told = [subprocess.run(job, capture_output=True, text=True, check=True) for _ in range(1 + PROCESSES)]
    seconds = np.array([one.stdout.split() for one in told[1:]], dtype=float)  # the first may have had to compile
    first, later, chosen, fixed = np.median(seconds, axis=0)
    print(f"\nSobol analysis, {SOBOL_RUNS:,} runs, sampling to intervals (medians of {PROCESSES} fresh processes):")
    print(f"{'':50}{'seconds':>9}{'/ step 1/16':>13}{'/ step chosen':>15}")
    for label, column, own in (("first call, which loads the kernel", 0, first), ("later calls", 1, later)):
        ratios = [np.median(seconds[:, column] / seconds[:, bare]) for bare in (3, 2)]
        print(f"{label:50}{own:9.2f}{ratios[0]:13.2f}{ratios[1]:15.2f}")
    print(f"{'the bare sweep, steps of 1/16':50}{fixed:9.2f}")
    print(f"{'the bare sweep, step chosen as the analysis does':50}{chosen:9.2f}")


if __name__ == "__main__":
    main()
