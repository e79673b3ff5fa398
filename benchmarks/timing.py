"""Jobs timed in turn, so that a machine that slows down slows all of them."""

import time
from collections.abc import Callable, Sequence

import numpy as np


def in_turn(jobs: Sequence[Callable[[], object]], repeats: int) -> np.ndarray:
    """Seconds of each job, run in turn after one round that is not counted: shape (repeats, n_jobs)."""
    for job in jobs:
        job()
    seconds = np.empty((repeats, len(jobs)))
    for row in seconds:
        for column, job in enumerate(jobs):
            begin = time.perf_counter()
            job()
            row[column] = time.perf_counter() - begin
    return seconds
