"""Room for large tables: in memory while they take little of it, else in a file that the system pages in and out."""

import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

SHARE = 0.25
"""Share of the machine's memory from which a table lies in a file."""


def memory() -> int:
    """Bytes of memory that this machine has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not told on this system
        return 8 << 30


def room_for(shape: tuple[int, ...], folder: Path | None) -> npt.NDArray[np.float64]:
    """An array to be filled, of NaN until then.

    Parameters
    ----------
    shape
    folder
        Where a file may lie; it goes away with the array. None keeps the array in memory whatever its size.
    """
    if folder is None or 8 * int(np.prod(shape)) <= SHARE * memory():
        return np.full(shape, np.nan)
    with tempfile.TemporaryFile(prefix=".table-", dir=folder) as file:
        table = np.memmap(file, dtype=np.float64, mode="w+", shape=shape)
    for part in table:
        part[...] = np.nan
    return table
