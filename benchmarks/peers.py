"""How long does one run of the same model take here, and in the other open engines for Python?

One simulation of `cluster.mdl` (10 stocks, 40 constants, 2 lookups) to year 60 with yearly output: by `sd.simulate`, by
`sd.sweep` (4096 draws, time per run), PySD with and without the two lookups, pysimlin, SciPy's LSODA on a NumPy
right-hand side, BPTK-Py's Rust engine and diffrax, all in one process, the quick ones in turn. Before the clock starts,
each peer's stocks at year 60 are held against a fine reference. A peer that is not installed is named and left out.
Needs the benchmark folder beside the checkout (`../shared/bench`). Run `python benchmarks/peers.py [--figure PATH]`.
"""

import argparse
import contextlib
import importlib
import io
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.integrate import solve_ivp

import sd_cluster as sd

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
YEARS = np.arange(61.0)
DRAWS, REPEATS = 4096, 11
SLOW = 0.25  # seconds; what takes longer is timed on its own, RARE times
RARE = 3
# How far an end value may lie from the reference, relative to it: Euler's method at step 1/16 is itself 1e-2 off.
TOLERANCE = {"Euler": 2e-2, "RK4": 1e-5, "adaptive": 1e-4}


@dataclass
class Peer:
    """One way to make the run: a job to time, the runs it makes, and how to read its stocks at year 60."""

    name: str
    method: str
    job: Callable[[], object]
    ends: Callable[[object], np.ndarray]
    runs: int = 1
    lookups: bool = True
    seconds: float = np.nan
    error: float = np.nan


def ours(model):
    """The model by this library: adaptive and fixed steps, one run at a time."""
    lsoda, fixed = sd.Adaptive(rtol=1e-6, atol=1e-8), sd.RungeKutta4()
    last = lambda run: np.array([run[stock][-1] for stock in model.stocks])  # noqa: E731
    yield Peer("sd.simulate, LSODA", "adaptive", lambda: sd.simulate(model, solver=lsoda, backend="numba"), last)
    yield Peer("sd.simulate, RK4, step 1/16", "RK4", lambda: sd.simulate(model, solver=fixed, backend="numba"), last)


def varied(centre):
    """Draws of every constant within a fifth of its value; the first is the model as written."""
    rows = np.array(centre) * np.random.default_rng(0).uniform(0.8, 1.2, (DRAWS, len(centre)))
    rows[0] = centre
    return rows


def sweeps(model):
    """The model by `sd.sweep`, its own choice of step."""
    gen = emitted()
    draws = sd.Draws(tuple(name.replace("_", " ") for name in gen.PN), varied(gen.P0))
    last = lambda swept: np.array([swept[stock][0, -1] for stock in model.stocks])  # noqa: E731
    for threads, label in ((1, "one thread"), (2, "two threads")):
        job = lambda threads=threads: sd.sweep(model, draws, threads=threads)  # noqa: E731
        yield Peer(f"sd.sweep, a run of {DRAWS}, {label}", "RK4", job, last, runs=DRAWS)


def pysd(model, folder):
    """PySD on the file as written, and on a copy whose two lookups are constants."""
    import pysd

    for path, label in ((BENCH / "cluster.mdl", "as written"), (folder / "constant.mdl", "without its lookups")):
        text = path.read_text()
        copy = folder / f"pysd-{path.name}"  # PySD writes its translation beside the model
        copy.write_text(text)
        with contextlib.redirect_stdout(io.StringIO()):
            translated = pysd.read_vensim(str(copy))
        job = lambda translated=translated: translated.run(  # noqa: E731
            return_columns=list(model.stocks), return_timestamps=YEARS, reload=False, initial_condition="original"
        )
        last = lambda frame: frame[list(model.stocks)].to_numpy()[-1]  # noqa: E731
        yield Peer(f"PySD {pysd.__version__}, {label}", "Euler", job, last, lookups=label == "as written")


def pysimlin(model, folder):
    """The engine of Simlin: reset and run; the yearly series are read within the time."""
    import simlin

    engine = simlin.load(BENCH / "cluster.mdl").simulate()
    names = [stock.lower().replace(" ", "_") for stock in model.stocks]

    def job():
        engine.reset()
        engine.run_to_end()
        return [engine.get_series(name) for name in names]

    yield Peer(f"pysimlin {simlin.__version__}", "Euler", job, lambda series: np.array([one[-1] for one in series]))


def scipy_loop(model, folder):
    """What one writes without a library: the equations as a Python function, handed to `solve_ivp`."""
    gen = emitted()
    tables = {name: np.array(points, float).T for name, points in gen.LOOKUPS.items()}
    space = {name: lambda x, table=table: np.interp(x, *table) for name, table in tables.items()}
    space["exp"] = np.exp
    exec(gen.rhs_src(), space)
    values, start = np.array(gen.P0), np.array(gen.Y0)

    def rates(t, state):
        dy = np.empty(len(start))
        space["rhs"](t, state, values, dy)
        return dy

    job = lambda: solve_ivp(rates, (0, 60), start, "LSODA", t_eval=YEARS, rtol=1e-6, atol=1e-8)  # noqa: E731
    yield Peer("SciPy LSODA, NumPy right-hand side", "adaptive", job, lambda found: found.y[:, -1])


def bptk(model, folder):
    """BPTK-Py's Rust engine called directly, on the equations in BPTK's language; it loads a model for every run."""
    from importlib.metadata import version

    from BPTK_Py import Model, sd_functions
    from BPTK_Py._rust_engine import RustSdEngine

    gen = emitted()
    told = Model(starttime=0.0, stoptime=60.0, dt=0.0625, name="cluster")
    space = {"exp": sd_functions.exp, "t": sd_functions.time()}
    for table, points in gen.LOOKUPS.items():
        told.points[table] = [[float(x), float(y)] for x, y in points]
        space[table] = lambda x, table=table: sd_functions.lookup(x, table)
    for name, value in gen.PARAMS.items():
        space[name] = told.constant(name)
        space[name].equation = value
    for name, value in gen.INIT.items():
        space[name] = told.stock(name)
        space[name].initial_value = float(value)
    for name, equation in gen.AUX:
        space[name] = told.converter(name)
        space[name].equation = eval(equation, space)
    for name, equation in gen.RATE.items():
        flow = told.biflow(f"net_{name}")
        flow.equation = eval(equation, space)
        space[name].equation = flow
    text, engine = told.to_json(), RustSdEngine()

    def last(series):
        return np.array([series[name][max(series[name], key=float)] for name in gen.STOCKS])

    job = lambda: engine.load_model(text).simulate(list(gen.STOCKS))  # noqa: E731
    yield Peer(f"BPTK-Py {version('BPTK-Py')}, Rust engine", "Euler", job, last)


def diffrax(model, folder):
    """diffrax (Tsit5, rtol 1e-6), one run and the draws of the sweep, compiled by JAX before the clock starts."""
    import diffrax
    import jax

    gen = emitted()
    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    one = importlib.import_module("jaxm").make(jnp, jax)["diffrax"]
    run, many = jax.jit(one), jax.jit(jax.vmap(one))
    values, table = jnp.array(gen.P0), jnp.array(varied(gen.P0))
    label = f"diffrax {diffrax.__version__}, Tsit5"
    yield Peer(f"{label}, jit", "adaptive", lambda: np.asarray(run(values)), lambda rows: rows[-1])
    job = lambda: np.asarray(many(table))  # noqa: E731
    yield Peer(f"{label}, vmap, a run of {DRAWS}", "adaptive", job, lambda rows: rows[0, -1], runs=DRAWS)


def emitted():
    """The benchmark folder's generator, which writes the same equations in other languages."""
    if str(BENCH) not in sys.path:
        sys.path.append(str(BENCH))
    return importlib.import_module("gen")


PEERS = {
    "PySD": (pysd, "pysd"),
    "pysimlin": (pysimlin, "pysimlin"),
    "SciPy": (scipy_loop, "scipy"),
    "BPTK-Py": (bptk, "BPTK-Py"),
    "diffrax": (diffrax, "diffrax jax"),
}


def without_lookups(text):
    """The model's text with a constant in place of each of its two lookups."""
    for call, value in (("policy lk(Time)", "0.8"), ("trust lk(Trust)", "0.9")):
        if text.count(call) != 1:
            sys.exit(f"cluster.mdl no longer calls {call!r} once: the variant without lookups cannot be made")
        text = text.replace(call, value)
    return re.sub(r"(trust|policy) lk\(\n.*?\|\n", "", text, flags=re.DOTALL)


def reference(model):
    """The stocks at year 60 by Runge-Kutta's method at a fine step."""
    run = sd.simulate(model, solver=sd.RungeKutta4(step=1 / 64), backend="numba")
    return np.array([run[stock][-1] for stock in model.stocks])


def gathered(model, folder):
    """Every peer that is installed, ready to run."""
    peers = [*ours(model), *sweeps(model)]
    for name, (make, package) in PEERS.items():
        try:
            peers += make(model, folder)
        except ImportError:
            print(f"{name}: not installed: pip install {package}")
    return peers


def checked(peers, model, plain):
    """Fill in each peer's distance from the reference, and say which lies outside its tolerance."""
    truth, other = reference(model), reference(plain)
    for peer in peers:
        aim = truth if peer.lookups else other
        peer.error = float(np.max(np.abs(peer.ends(peer.job()) / aim - 1)))
        if not peer.error <= TOLERANCE[peer.method]:
            print(f"{peer.name}: DOES NOT AGREE: {peer.error:.1e} off, where {TOLERANCE[peer.method]:.0e} is allowed")
    if all(peer.error <= TOLERANCE[peer.method] for peer in peers):
        print("end values of all agree with the reference, each within the tolerance of its method")


def timed(peers):
    """Fill in the medians: the quick ones in turn, the slow ones one after the other."""
    first = [clocked(peer.job) for peer in peers]
    quick = [peer for peer, seconds in zip(peers, first, strict=True) if seconds < SLOW]
    table = np.array([[clocked(peer.job) for peer in quick] for _ in range(REPEATS)])
    for peer, seconds in zip(quick, np.median(table, axis=0), strict=True):
        peer.seconds = seconds / peer.runs
    for peer, seconds in zip(peers, first, strict=True):
        if peer not in quick:
            peer.seconds = float(np.median([seconds, *(clocked(peer.job) for _ in range(RARE - 1))])) / peer.runs


def clocked(job):
    begin = time.perf_counter()
    job()
    return time.perf_counter() - begin


def draw(peers, path):
    """Draw the times as bars on a logarithmic scale."""
    from sd_cluster.look import INK, MUTED, PALETTE, blank, look

    ordered = sorted(peers, key=lambda peer: -peer.seconds)
    with look():
        figure = blank(height=0.3 * len(ordered) + 0.9)
        axes = figure.add_subplot()
        times = np.array([peer.seconds * 1e3 for peer in ordered])
        shades = [PALETTE[0] if peer.name.startswith("sd.") else MUTED for peer in ordered]
        axes.barh(range(len(ordered)), times, color=shades, height=0.62)
        axes.set_xscale("log")
        axes.set_xlim(times.min() / 3, times.max() * 8)
        axes.set_yticks(range(len(ordered)), [peer.name for peer in ordered], color=INK)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.minorticks_off()
        axes.set_xlabel("milliseconds a run, logarithmic scale")
        for row, value in enumerate(times):
            axes.annotate(
                f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", (value, row), (4, 0),
                textcoords="offset points", va="center", color=INK,
            )  # fmt: skip
        axes.set_title("One run of the same model to year 60")
        figure.savefig(path, dpi=150, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--figure", type=Path, help="also draw the times into this PNG")
    chosen = parser.parse_args()
    if not BENCH.is_dir():
        sys.exit("the benchmark model lies in ../shared/bench, beside the checkout; it is not there")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        folder = Path(name)
        (folder / "constant.mdl").write_text(without_lookups((BENCH / "cluster.mdl").read_text()))
        model = sd.load(BENCH / "cluster.mdl", check_units=False)
        plain = sd.load(folder / "constant.mdl", check_units=False)
        before = os.getloadavg()[0]
        peers = gathered(model, folder)
        checked(peers, model, plain)
        timed(peers)
    simulate, sweep = peers[0].seconds, peers[2].seconds
    print(f"\n{'':44}{'ms a run':>12}{'/ sweep':>12}{'/ simulate':>12}{'end error':>11}  method")
    for peer in peers:
        ratios = f"{peer.seconds / sweep:12,.4g}{peer.seconds / simulate:12,.3g}"
        print(f"{peer.name:44}{peer.seconds * 1e3:12,.4g}{ratios}{peer.error:11.1e}  {peer.method}")
    print(
        f"\n'sweep' is one thread, 'simulate' LSODA; medians of {REPEATS} in turn ({RARE} where a run takes {SLOW} s)"
    )
    print(f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")
    if chosen.figure:
        draw(peers, chosen.figure)


if __name__ == "__main__":
    main()
