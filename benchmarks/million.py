"""Do a million runs of the core model fit into a small memory, and how long do they take?

Streams three variables of every year to a Zarr group and prints time, rate, peak memory of the process and the size of
the group. Run `python benchmarks/million.py [FOLDER]`.
"""

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import sd_cluster as sd

RUNS = 1_000_000


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="million-")) / "sweep.zarr"
    shutil.rmtree(folder, ignore_errors=True)
    model = sd.load("collective_learning")
    levers = [name for name, p in model.parameters.items() if p.note.startswith("Lever")]
    space = sd.Space.of(model, [*levers, "initial trust"])
    draws = space.sample(RUNS, method="lhs", seed=1)
    wanted = ["shared knowledge base", "member firms", "talent pool"]
    begin = time.perf_counter()
    ensemble = sd.sweep(model, draws, outputs=wanted, store=folder, progress=True)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**30
    sample = np.asarray(ensemble.values[:: RUNS // 100])
    print(f"{RUNS:,} runs, {ensemble.values.shape[1]} years, {len(wanted)} variables: {seconds:.0f} s,")
    print(f"{RUNS / seconds:,.0f} runs a second; peak memory {peak:.2f} GiB; {size:.2f} GiB on disk at {folder}")
    print(f"complete: {bool(np.isfinite(sample).all())}, {int(ensemble.ok.sum()):,} of {RUNS:,} runs good")
    print(*ensemble.notes, sep="\n")


if __name__ == "__main__":
    main()
