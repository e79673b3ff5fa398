"""How long does a model of World3's size take to load and to run, beside PySD on the same machine?

Builds a model of 300 equations with 50 lookups (40 stocks in ten coupled sectors; nobody's world) and times, in turn:
PySD's parse of the file and our whole loading, which has PySD's parser in it; then a run of 400 Euler steps by the
compiled kernel, by plain Python, and once by PySD, whose values are compared. Run `python benchmarks/world.py`.
"""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from timing import in_turn

import sd_cluster as sd
from sd_cluster.model import Stock, Table

SECTORS, STOCKS, STEPS = 10, 4, 400


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "world.mdl"
        path.write_text(text(), encoding="utf-8")
        model = sd.load(path)
        tables = sum(1 for _ in model.of_kind(Table))
        print(f"{len(model.equations)} equations, {tables} lookups, {sum(1 for _ in model.of_kind(Stock))} stocks")
        loading(path)
        running(path, model)


def loading(path: Path) -> None:
    """Loading, beside the parse that it cannot do without."""
    from pysd.translators.vensim.vensim_file import VensimFile

    from sd_cluster.peg import by_pysd

    def ours() -> None:
        by_pysd.cache_clear()
        sd.load(path)

    seconds = in_turn([lambda: VensimFile(path).parse(), ours], 5)
    theirs, own = np.median(seconds, axis=0)
    beyond = np.median(seconds[:, 1] - seconds[:, 0])
    print(f"PySD's parse {theirs:.2f} s, our loading {own:.2f} s: {beyond:.2f} s beyond it")


def running(path: Path, model: sd.Model) -> None:
    """A run of 400 steps: compiled, in plain Python, and PySD's."""
    import pysd

    theirs = pysd.read_vensim(str(path))
    start = time.perf_counter()
    table = theirs.run()
    slow = time.perf_counter() - start
    saves = list(table.index)

    def run(backend: sd.kernel.Backend) -> sd.Run:
        return sd.simulate(model, solver=sd.Euler(), backend=backend)

    start = time.perf_counter()
    run("numba")
    first = time.perf_counter() - start
    kernel = sd.kernel.compile_model(model, "numba")
    rows = np.arange(0, STEPS + 1, STEPS // 10)
    fresh = kernel.vector({})
    n = len(kernel.stocks)
    out, before, rates = kernel.matrix(len(rows)), kernel.array(2 * n + 1), kernel.array(n)
    p, y = fresh.copy(), kernel.array(n)
    p[kernel.half_step] = model.horizon.step / 2

    def compiled() -> None:
        kernel.constants(p)
        kernel.initial(0.0, 0.0, p, y)
        kernel.euler(0.0, model.horizon.step, 0, STEPS, rows, 0, y, p, rates, before, out)

    seconds = in_turn([compiled, lambda: run("numba"), lambda: run("python")], 21)
    kernel_time, numba_time, plain_time = np.median(seconds, axis=0)
    ours = run("numba")
    worst = max(
        float(np.max(np.abs(ours[name] - table[name].to_numpy(float)) / np.maximum(np.abs(ours[name]), 1e-9)))
        for name in model.stocks
    )
    assert saves == ours.times.tolist()
    print(f"PySD's run {slow:.1f} s; largest difference to ours in a stock {worst:.1e}")
    print(f"compiled kernel {1e3 * kernel_time:.2f} ms: {slow / kernel_time:,.0f} times as fast as PySD")
    print(f"simulate() with numba {1e3 * numba_time:.1f} ms: {slow / numba_time:,.0f} times (first call {first:.1f} s)")
    print(f"simulate() in plain Python {1e3 * plain_time:.0f} ms: {slow / plain_time:,.0f} times")


def text() -> str:
    """The model: each sector has four stocks, driven by tables of its own ratios and of the next sector's."""
    rng = np.random.default_rng(7)
    lines: list[str] = []
    for sector in range(SECTORS):
        after = (sector + 1) % SECTORS
        for number in range(STOCKS):
            own, other = f"stock {sector} {number}", f"stock {after} {number}"
            lines += [
                f"{own} = INTEG(inflow {sector} {number} - outflow {sector} {number}, start {sector} {number})",
                f"start {sector} {number} = {rng.uniform(50, 150):.3f}",
                f"inflow {sector} {number} = usual {sector}*effect {sector} {number}*start {sector} {number}",
                f"outflow {sector} {number} = {own}/life {sector}*(1 + strain {sector} {number})",
                f"strain {sector} {number} = MAX(0, ratio {sector} {number} - 1)*SMOOTH(pressure {sector}, 5)/10",
                f"ratio {sector} {number} = {own}/(1 + {other})",
            ]
            points = ",".join(f"({x / 2},{y:.3f})" for x, y in enumerate(np.sort(rng.uniform(0.2, 1.6, 9))[::-1]))
            lines.append(f"table {sector} {number}([(0,0)-(4,2)],{points})")
            lines.append(f"effect {sector} {number} = table {sector} {number}(ratio {sector} {number})")
        points = ",".join(f"({x},{y:.3f})" for x, y in enumerate(np.sort(rng.uniform(0.5, 1.5, 6))))
        total = " + ".join(f"stock {sector} {number}" for number in range(STOCKS))
        lines += [
            f"usual {sector} = {rng.uniform(0.05, 0.15):.4f}",
            f"life {sector} = {rng.uniform(8, 20):.2f} + STEP(2, {rng.integers(20, 80)})",
            f"whole {sector} = {total}",
            f"crowd {sector}([(0,0)-(5,2)],{points})",
            f"pressure {sector} = IF THEN ELSE(whole {sector} > 100, crowd {sector}(whole {sector}/200), 1)",
        ]
    controls = ["FINAL TIME = 100", "INITIAL TIME = 0", "SAVEPER = 10", "TIME STEP = 0.25"]
    return "{UTF-8}\n" + "".join(f"{line}\n\t~\t\n\t~\t\n\t|\n" for line in [*lines, *controls])


if __name__ == "__main__":
    main()
