"""How long does a chain of 10,000 stocks take to compile, beside one of ten times as many?

The chains are kept whole, as equations over a range, and are compiled in turn, none of them found in the cache. The
source is the same but for the digits of sizes, and takes numba as long; what grows is looking up which element each one
reads. Seconds are told, too: 10,000 stocks are to take less than two. Run `python benchmarks/chain.py`.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
from timing import in_turn

import sd_cluster as sd
from sd_cluster.kernel import compile_model

CHAIN = """{{UTF-8}}
Cohort: (C1-C{length}) ~~|
Later: (C2-C{length}) ~~|
Before: (C1-C{before}) -> Later ~~|
n[C1] = INTEG(birth - n[C1]/life, 10) ~~|
n[Later] = INTEG(n[Before]/life - n[Later]/life, 10) ~~|
all = SUM(n[Cohort!]) ~~|
birth = 3 ~~|
life = 4 ~~|
INITIAL TIME = 0 ~~|
FINAL TIME = 10 ~~|
TIME STEP = 0.125 ~~|
SAVEPER = TIME STEP ~~|
"""


LENGTHS = (10_000, 100_000)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["SD_CLUSTER_CACHE"] = str(Path(folder) / "cache")
        waiting = [chains(Path(folder), length) for length in LENGTHS]
        sources = [len(compile_model(next(models), "numba").source) for models in waiting]
        seconds = np.median(in_turn([compiling(models) for models in waiting], 5), axis=0)
    for length, took, source in zip(LENGTHS, seconds, sources, strict=True):
        print(f"{length} stocks: compiled in {took:.2f} s, source of {source} letters")
    print(f"ratio {seconds[1] / seconds[0]:.2f}")


def chains(folder: Path, length: int) -> Iterator[sd.Model]:
    """Chains of a length that the cache does not know yet."""
    for number in count(length):
        path = folder / f"chain{number}.mdl"
        path.write_text(CHAIN.format(length=number, before=number - 1), encoding="utf-8")
        yield sd.load(path)


def compiling(models: Iterator[sd.Model]) -> Callable[[], object]:
    """A job that compiles the next of some models."""
    waiting = [next(models) for _ in range(6)]
    return lambda: compile_model(waiting.pop(), "numba")


if __name__ == "__main__":
    main()
