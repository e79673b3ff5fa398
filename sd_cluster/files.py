"""Files that are whole or absent: write beside, then rename; and the folder for caches."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_beside(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary neighbour of `path`, then put it in place in one step.

    Parameters
    ----------
    path
        The file to make or to replace; its folder is made where needed.
    write
        Called with the neighbour's path, which bears the same suffix.

    Returns
    -------
    path
        The finished file. On any error the neighbour is removed and `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    neighbour = Path(name)
    try:
        write(neighbour)
        neighbour.chmod(0o666 & ~umask())
        neighbour.replace(path)
    finally:
        neighbour.unlink(missing_ok=True)
    return path


def why_not(path: Path) -> str:
    """Why a file cannot be made at a path, as words behind its name, or nothing where it can.

    Examples
    --------
    >>> why_not(Path("/"))
    'is a folder'
    """
    if path.is_dir():
        return "is a folder"
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        return f"cannot be made: '{above}' is a file, not a folder"
    return "" if os.access(above, os.W_OK) else f"cannot be made: nothing may be written in '{above}'"


def umask() -> int:
    """Rights that new files and folders of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cache_folder() -> Path:
    """Folder for compiled kernels: `SD_CLUSTER_CACHE` where set, else the user's cache folder."""
    chosen = os.environ.get("SD_CLUSTER_CACHE")
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("sd-cluster", appauthor=False)
