"""What does a step of a million members with ten million contacts cost, beside numba loops, and how much memory?

An Euler step of `cluster_network`, one thread, a quarter of a run of four, in turn with

- the loops of ../shared/bench (`net.py`, `net2.py`), which read one number of each contact, or eight that lie side by
  side, and multiply them;
- a loop by hand over the same contacts that does what the model asks of each: it reads all fields and works out the
  terms of exchange. The rest of the model's step (own learning, trust, ability) is not in it.

Run `python benchmarks/network.py [FIELDS ...]`; each number of fields has a process of its own, for its peak memory.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from timing import in_turn

import sd_cluster as sd

MEMBERS, CONTACTS = 1_000_000, 10
BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"
REPEATS = 11
STEPS = 4


def bench_loops(table):
    """One step of each loop of the bench on a table, one thread."""
    sys.path.insert(0, str(BENCH))
    from net import step_w1
    from net2 import mk, mkb

    rng = np.random.default_rng(0)
    knowledge, out, shared = rng.random(MEMBERS) * 5, np.empty(MEMBERS), np.empty(MEMBERS)
    signed = table.indptr.astype(np.int32), table.indices.astype(np.int32)
    unsigned = table.indptr.astype(np.uint32), table.indices.astype(np.uint32)
    plain, fast, eightfold = mk(False, False), mk(True, False), mkb(False)
    eight = [np.repeat(one[:, np.newaxis], 8, axis=1) for one in (knowledge, out, shared)]
    return {
        "net.py, one thread": lambda: step_w1(*signed, table.data, knowledge, out, shared, 0.06),
        "net2.py": lambda: plain(*unsigned, table.data, knowledge, out, shared, 0.06),
        "net2.py, fastmath": lambda: fast(*unsigned, table.data, knowledge, out, shared, 0.06),
        "net2.py, eight numbers": lambda: eightfold(*unsigned, table.data, *eight, 0.06),
    }


def by_hand(table, fields):
    """What the model asks of each contact, written by hand for so many fields."""
    import numba

    @numba.njit(error_model="numpy")
    def learn(starts, columns, weights, known, reserve, learnt, barter):
        own = np.empty(fields)
        for i in range(len(starts) - 1):
            for f in range(fields):
                own[f] = known[i, f]
                learnt[i, f] = 0.0
            for e in range(starts[i], starts[i + 1]):
                j = columns[e]
                teach = differ = 0.0
                for f in range(fields):
                    gap = known[j, f] - own[f]
                    least = 0.01 * (known[j, f] + own[f] + 0.1)
                    noticed = gap * gap / (gap * gap + least * least)
                    differ += noticed
                    teach += noticed * (1.0 if gap < 0.0 else 0.0)
                terms = weights[e] * (1.0 - barter * reserve[j] * (1.0 - teach / (differ + 1e-6)))
                for f in range(fields):
                    learnt[i, f] += terms * max(0.0, known[j, f] - own[f])

    rng = np.random.default_rng(0)
    known, learnt = rng.random((MEMBERS, fields)) * 12, np.empty((MEMBERS, fields))
    reserve = np.ones(MEMBERS)
    starts, columns = table.indptr.astype(np.uint32), table.indices.astype(np.uint32)
    return lambda: learn(starts, columns, table.data, known, reserve, learnt, 1.0)


def steps_of(table, fields):
    """A simulation, and some Euler steps of it on its own arrays."""
    begin = time.perf_counter()
    model = sd.load("cluster_network", sizes={"member": MEMBERS, "field": fields}, tables={"contact": table})
    simulation = sd.Simulation(model, solver=sd.Euler())
    print(f"loaded, compiled and started in {time.perf_counter() - begin:.0f} s", flush=True)
    kernel, y, p = simulation._kernel, simulation._y, simulation._p
    room, before, rows = np.zeros(len(y)), np.zeros(2 * len(y) + 1), np.zeros(0, dtype=np.int64)
    out = np.zeros((0, len(kernel.names)))
    return simulation, lambda: kernel.euler(0.0, 0.0625, 0, STEPS, rows, 0, y, p, room, before, out)


def measure(fields):
    for kind, table in (
        ("random", sd.contacts.random(MEMBERS, CONTACTS, seed=1)),
        ("small world", sd.contacts.small_world(MEMBERS, CONTACTS, 0.1, seed=1)),
    ):
        print(f"\n{kind}, {fields} field(s), {table.nnz:,} contacts; load {os.getloadavg()[0]:.1f}", flush=True)
        simulation, steps = steps_of(table, fields)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        jobs = {"model": steps, **bench_loops(table), "the same by hand": by_hand(table, fields)}
        seconds = in_turn(list(jobs.values()), REPEATS)
        seconds[:, 0] /= STEPS
        print(f"model: {np.median(seconds[:, 0]) * 1e3:.0f} ms a step; peak memory up to here {peak:.2f} GiB")
        for place, name in enumerate(list(jobs)[1:], 1):
            ratio = np.median(seconds[:, 0] / seconds[:, place])
            print(f"{name}: {np.median(seconds[:, place]) * 1e3:.0f} ms; model / loop {ratio:.2f}", flush=True)
        del simulation, steps, jobs


def main():
    asked = [int(text) for text in sys.argv[1:]] or [1, 2, 5]
    if len(asked) == 1:
        measure(asked[0])
        return
    for fields in asked:
        subprocess.run([sys.executable, __file__, str(fields)], check=True)


if __name__ == "__main__":
    main()
