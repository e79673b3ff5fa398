"""Machine code of kernels on disk: found again by a hash, checked before it is used, rebuilt when in doubt.

An entry is a folder named after a hash of the source, of the versions of everything that shaped its machine code and
of the processor. It holds the source, numba's own cache files and a seal: a keyed hash over these files, whose key
lies beside the entries and never leaves this machine. An entry that is incomplete, altered or copied from elsewhere
does not bear the right seal and is built anew. Entries appear by one rename, so processes may race for one.
"""

import hashlib
import hmac
import platform
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sd_cluster.files import cache_folder, write_beside

_SOURCE = "kernel.py"
_SEAL = "seal"


def compiled(source: str, helpers: Mapping[str, Any]) -> dict[str, Any]:
    """Compile a kernel's source with numba, or take it from the cache.

    Parameters
    ----------
    source
        Functions `constants`, `initial`, `rates`, `outputs`, `limit`, `euler`, `rk4`.
    helpers
        What they call, by name: plain Python functions that numba can compile.

    Returns
    -------
    functions
        The compiled functions by name.
    """
    root = cache_folder() / "kernels"
    entry = root / _name(source)
    try:
        root.mkdir(parents=True, exist_ok=True)
        key = _key(root)
    except OSError:
        return _build(source, helpers, None)
    if _sealed(entry, source, key):
        return _build(source, helpers, entry)
    shutil.rmtree(entry, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=root))
    try:
        (new / _SOURCE).write_text(source, encoding="utf-8")
        functions = _build(source, helpers, new)
        (new / _SEAL).write_bytes(_seal(new, key))
        with suppress(OSError):  # another process was faster; its entry is as good
            new.rename(entry)
        return functions
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _name(source: str) -> str:
    import llvmlite
    import llvmlite.binding as llvm
    import numba

    from sd_cluster.version import __version__

    parts = [
        source, __version__, numba.__version__, llvmlite.__version__, sys.version, platform.machine(),
        llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(),
    ]  # fmt: skip
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


def _key(root: Path) -> bytes:
    path = root / "key"
    if not path.is_file() or path.stat().st_size != 32:

        def write(neighbour: Path) -> None:
            neighbour.write_bytes(secrets.token_bytes(32))

        write_beside(path, write)
        path.chmod(0o600)
    return path.read_bytes()


def _seal(entry: Path, key: bytes) -> bytes:
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for path in sorted(entry.rglob("*")):
        if path.is_file() and path.name != _SEAL:
            digest.update(str(path.relative_to(entry)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


def _sealed(entry: Path, source: str, key: bytes) -> bool:
    try:
        if (entry / _SOURCE).read_text(encoding="utf-8") != source:
            return False
        return hmac.compare_digest((entry / _SEAL).read_bytes(), _seal(entry, key))
    except (OSError, UnicodeDecodeError):
        return False


def _build(source: str, helpers: Mapping[str, Any], entry: Path | None) -> dict[str, Any]:
    """Compile, with numba's own cache kept inside `entry` where there is one."""
    import numba
    from numba import float64, int64, void

    keep = entry is not None
    namespace: dict[str, Any] = {
        name: numba.njit(function, error_model="numpy", inline="never") if _ours(function) else function
        for name, function in helpers.items()
    }
    namespace["__name__"] = "sd_cluster.runtime"  # numba imports the module of a cached function
    exec(compile(source, str(entry / _SOURCE) if entry else "<kernel>", "exec"), namespace)
    vector, matrix, rows = float64[::1], float64[:, ::1], int64[::1]
    march = int64(float64, float64, int64, int64, rows, int64, vector, vector, vector, vector, matrix)
    signatures: dict[str, Any] = {
        "constants": void(vector),
        "initial": void(float64, float64, vector, vector),
        "rates": float64(float64, float64, vector, vector, vector),
        "outputs": void(float64, float64, vector, vector, vector),
        "limit": void(vector),
        "euler": march,
        "rk4": march,
    }
    for name, signature in signatures.items():
        namespace[name] = numba.njit(signature, cache=keep, error_model="numpy")(namespace[name])
    return namespace


def _ours(function: object) -> bool:
    return getattr(function, "__module__", "") == "sd_cluster.runtime"
