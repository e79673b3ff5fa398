"""What does one run from Python cost beyond the arithmetic itself?

Two ratios, measured in turn within one run: `sd.simulate` by LSODA against SciPy's LSODA called by hand on the same
compiled right-hand side and Jacobian, stopping at the same switching times; and `sd.simulate` by Runge-Kutta's fixed
steps against a scalar C kernel of the same model (left out, with a sentence, where gcc or `../shared/bench` is absent).
Run `python benchmarks/single.py`.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from scipy.integrate import solve_ivp
from timing import in_turn

import sd_cluster as sd
from sd_cluster.kernel import compile_jacobian, compile_model

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
REPEATS = 101
YEARS = np.arange(61.0)
TOLERANCES = {"rtol": 1e-6, "atol": 1e-8}


def by_hand(model):
    """SciPy's LSODA on the same compiled functions, from one switching time to the next, saving every variable."""
    kernel, jacobian = compile_model(model, "numba"), compile_jacobian(model)
    p = kernel.vector({})
    kernel.constants(p)
    stops = sorted({float(x) for table in kernel.structure.tables_of_time for x in kernel.structure.equations[table].x})

    def job():
        y, dy = np.zeros(len(kernel.stocks)), np.zeros(len(kernel.stocks))
        kernel.initial(0.0, 0.0, p, y)
        out = np.zeros((len(YEARS), len(kernel.names)))
        for low, high in pairwise(stops):

            def rates(t, state, tick=low):
                kernel.rates(t, tick, state, p, dy)
                return dy.copy()

            def slopes(t, state, tick=low):
                return jacobian(t, tick, state.tolist(), p)

            inside = YEARS[(low < YEARS) & (high > YEARS)]
            found = solve_ivp(rates, (low, high), y, "LSODA", t_eval=[*inside, high], jac=slopes, **TOLERANCES)
            for time_, state in zip(found.t, found.y.T, strict=True):
                if time_ == round(time_):
                    kernel.outputs(time_, low, np.ascontiguousarray(state), p, out[int(time_)])
            y = found.y[:, -1]
        return out

    return job


def scalar_c(model):
    """The scalar C kernel for one run, or None with a sentence."""
    out = tempfile.mkdtemp(prefix="bench-")
    try:
        subprocess.run([sys.executable, str(BENCH / "gen.py"), out], check=True)
        flags = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-Wno-psabi"]
        subprocess.run(["gcc", *flags, f"{out}/k_scalar.c", "-o", f"{out}/scalar.so", "-lm"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the C kernel could not be built ({error}): it is left out")
        return None
    loop = ctypes.CDLL(f"{out}/scalar.so").loop1
    controls = {"FINAL TIME", "INITIAL TIME", "TIME STEP", "SAVEPER"}
    values = np.array([[p.value for name, p in model.parameters.items() if name not in controls]])
    rows = np.empty((1, 61, len(model.stocks)))
    pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (values, rows)]
    return lambda: loop(pointers[0], ctypes.c_long(1), 960, 1, pointers[1])


def main() -> None:
    if not BENCH.is_dir():
        sys.exit("the benchmark model lies in ../shared/bench, beside the checkout; it is not there")
    model = sd.load(BENCH / "cluster.mdl", check_units=False)
    adaptive = sd.Adaptive(**TOLERANCES)
    seconds = in_turn([by_hand(model), lambda: sd.simulate(model, solver=adaptive, backend="numba")], REPEATS)
    hand, ours = np.median(seconds, axis=0) * 1e3
    ratio = np.median(seconds[:, 1] / seconds[:, 0])
    print(f"LSODA, rtol 1e-6: by hand {hand:.2f} ms, sd.simulate {ours:.2f} ms, ratio {ratio:.2f}")
    kernel = scalar_c(model)
    if kernel:
        seconds = in_turn([kernel, lambda: sd.simulate(model, solver=sd.RungeKutta4(), backend="numba")], REPEATS)
        bound, ours = np.median(seconds, axis=0) * 1e3
        ratio = np.median(seconds[:, 1] / seconds[:, 0])
        print(f"RK4, step 1/16: scalar C {bound:.2f} ms, sd.simulate {ours:.2f} ms, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
