"""Machine code of kernels on disk: found again by a hash, checked before it is used, rebuilt when in doubt.

An entry is a folder named after a hash of the source, of the versions of everything that shaped its machine code and
of the processor. It holds the source, the machine code (numba's own cache files, or an object file) and a seal: a keyed
hash over these files, whose key lies beside the entries and never leaves this machine. An entry that is incomplete,
altered or copied from elsewhere does not bear the right seal and is built anew. Entries appear by one rename, so
processes may race for one.
"""

import gc
import hashlib
import hmac
import platform
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from sd_cluster.files import cache_folder, write_beside
from sd_cluster.linking import ENTRY, Linked, entry_source, object_file, symbol_of

_SOURCE = "kernel.py"
_SEAL = "seal"
_OBJECT = "object"
_SYMBOL = "symbol"


@dataclass(frozen=True)
class _Recipe:
    """What machine code is made of."""

    source: str
    helpers: Mapping[str, Any]
    signatures: Mapping[str, str]
    inlined: Mapping[str, Any]
    linked: str
    inner: frozenset[str]
    reordered: bool
    given: Mapping[str, Any]


def compiled(
    source: str,
    helpers: Mapping[str, Any],
    signatures: Mapping[str, str],
    inlined: Mapping[str, Any] | None = None,
    linked: str = "",
    inner: Collection[str] = (),
    reordered: bool = False,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Compile a kernel's source with numba, or take it from the cache.

    Parameters
    ----------
    source
        Functions in an order in which each calls only earlier ones or helpers.
    helpers
        What they call, by name: plain Python functions that numba can compile.
    signatures
        Numba signature of each function to compile, by name, callees first.
    inlined
        Helpers to write into loops over many runs.
    linked
        The one function that is wanted, where it takes arrays and numbers and gives nothing: it is then kept as an
        object file, which needs no numba when it is found again.
    inner
        Functions that only others of these call: they are not made callable from Python, which takes time.
    reordered
        Whether sums may be reordered, so that loops are made of vectors. It is so wherever helpers are written into
        loops, and products and sums are contracted there, too.
    given
        Functions of the same source that are compiled already, for others to call.

    Returns
    -------
    functions
        The compiled functions by name, or the one that is wanted.
    """
    reordered = reordered or bool(inlined)
    recipe = _Recipe(source, helpers, signatures, inlined or {}, linked, frozenset(inner), reordered, given or {})
    root = cache_folder() / "kernels"
    entry = root / _name(recipe)
    try:
        root.mkdir(parents=True, exist_ok=True)
        key = _key(root)
    except OSError:
        return _build(recipe, None)
    if _sealed(entry, source, key):
        try:
            return _taken(recipe, entry)
        except (OSError, RuntimeError):  # numba finds its own files only where it may write
            return _build(recipe, None)
        except LookupError:  # numba takes its own files for outdated
            pass
    shutil.rmtree(entry, ignore_errors=True)
    try:
        new = Path(tempfile.mkdtemp(prefix="new-", dir=root))
    except OSError:  # a cache that may be read but not written
        return _build(recipe, None)
    try:
        (new / _SOURCE).write_text(source, encoding="utf-8")
        functions = _build(recipe, new)
        (new / _SEAL).write_bytes(_seal(new, key))
        with suppress(OSError):  # another process was faster; its entry is as good
            new.rename(entry)
        return functions
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _name(recipe: _Recipe) -> str:
    from importlib.metadata import version

    import llvmlite.binding as llvm

    from sd_cluster.version import __version__

    codes = [function.__code__ for function in recipe.helpers.values() if _ours(function)]
    codes += [function.__code__ for function in recipe.inlined.values()]
    parts = [
        recipe.source, recipe.linked, *sorted(recipe.inner), str(recipe.reordered), *sorted(recipe.given),
        *map(str, recipe.signatures.items()),
        *(f"{code.co_code.hex()}{code.co_consts}{code.co_names}" for code in codes),
        __version__, version("numba"), version("llvmlite"), sys.version, platform.machine(),
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


_COLLECTING = threading.Lock()
_collecting: list[tuple[int, int, int]] = []
"""Thresholds before each of the builds that go on at once."""


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Numba makes millions of objects; looking for circles among them and all else takes a fifth of its time."""
    with _COLLECTING:
        _collecting.append(_collecting[0] if _collecting else gc.get_threshold())
        if _collecting[0][0]:
            gc.set_threshold(200_000, 20, 20)
    try:
        yield
    finally:
        with _COLLECTING:
            before = _collecting.pop()
            if not _collecting:
                gc.set_threshold(*before)


_EPILOGUE = "-prefer-predicate-over-epilogue="
"""LLVM's option that tells how the last elements of a loop made of vectors are done; it is one for the process."""


@contextmanager
def _masked() -> Iterator[None]:
    """What is left of a loop over full vectors is one more vector with a mask, not a loop of single elements.

    A sum over ten contacts then takes three vectors of four, not two and two single ones: a fifth less. Only for
    processors that have masks (AVX-512), and while numba compiles nothing else; an option that LLVM no longer knows
    has no effect.
    """
    import llvmlite.binding as llvm

    lock: Any = import_module("numba.core.compiler_lock")
    if not llvm.get_host_cpu_features().get("avx512vl"):
        yield
        return
    with lock.global_compiler_lock:
        llvm.set_option("sd_cluster", f"{_EPILOGUE}predicate-else-scalar-epilogue")
        try:
            yield
        finally:
            llvm.set_option("sd_cluster", f"{_EPILOGUE}scalar-epilogue")


_WITHIN: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of functions that Python does not call."""


@_seldom_collecting()
def _build(recipe: _Recipe, entry: Path | None, kept: bool = False) -> dict[str, Any]:
    """Compile, with numba's own cache kept inside `entry` where there is one; where it is kept there, it is read."""
    import numba

    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    namespace: dict[str, Any] = {
        name: numba.njit(function, inline="never", **options) if _ours(function) else function
        for name, function in recipe.helpers.items()
    }
    if recipe.reordered:
        options |= {"fastmath": {"reassoc", "nsz"} | ({"contract"} if recipe.inlined else set())}
        for name, function in recipe.inlined.items():
            namespace[name] = numba.njit(function, inline="never", error_model="numpy", fastmath={"contract", "nsz"})
    namespace["__name__"] = "sd_cluster.runtime"  # numba imports the module of a cached function
    if recipe.linked:
        return _linked(recipe, namespace, options, entry)
    exec(compile(recipe.source, str(entry / _SOURCE) if entry else "<kernel>", "exec"), namespace)
    namespace |= recipe.given
    config: Any = numba.config
    elsewhere, config.CACHE_DIR = config.CACHE_DIR, ""  # the seal guards the entry's own folder
    try:
        with _masked() if recipe.reordered and not recipe.inlined else nullcontext():
            for name, signature in recipe.signatures.items():
                if name not in recipe.inner:
                    namespace[name] = numba.njit(signature, cache=entry is not None, **options)(namespace[name])
                elif not kept:
                    namespace[name] = numba.njit(signature, **_WITHIN, **options)(namespace[name])
    finally:
        config.CACHE_DIR = elsewhere
    return namespace


def _taken(recipe: _Recipe, entry: Path) -> dict[str, Any]:
    """What an entry keeps: the functions from numba's own cache, or the one that is wanted from its object file."""
    if not recipe.linked:
        errors: Any = import_module("numba.core.errors")
        try:
            return _build(recipe, entry, kept=True)
        except errors.TypingError as error:  # it compiles anew, and what is inner was not compiled
            raise LookupError("outdated") from error
    symbol = (entry / _SYMBOL).read_text(encoding="ascii")
    return {recipe.linked: Linked((entry / _OBJECT).read_bytes(), symbol, recipe.signatures[recipe.linked])}


def _linked(recipe: _Recipe, namespace: dict[str, Any], options: dict[str, Any], entry: Path | None) -> dict[str, Any]:
    """Compile the one function that is wanted, keep it as an object file where there is an entry, and link it."""
    numba: Any = import_module("numba")
    signature = recipe.signatures[recipe.linked]
    before, its = entry_source(recipe.linked, signature)
    exec(compile(f"{recipe.source}\n\n{before}", "<kernel>", "exec"), namespace)
    namespace["carray"] = numba.carray
    options |= _WITHIN
    for name, one in recipe.signatures.items():  # who owns an array is the caller's to know
        namespace[name] = numba.njit(one, _nrt=False, **options)(namespace[name])
    module, symbol = symbol_of(numba.njit(its, **options)(namespace[ENTRY]))
    code = object_file(module, symbol)
    if entry is not None:
        (entry / _OBJECT).write_bytes(code)
        (entry / _SYMBOL).write_text(symbol, encoding="ascii")
    try:
        return {recipe.linked: Linked(code, symbol, signature)}
    except RuntimeError:  # a system whose linker does not take it
        return _build(replace(recipe, linked=""), None)


@cache
def fetching() -> Any:
    """A function of an array and a place that asks the processor to bring that place near, and does not wait for it."""
    extending: Any = import_module("numba.extending")
    types: Any = import_module("numba.core.types")
    ir: Any = import_module("llvmlite.ir")

    def fetch(typing: Any, array: Any, place: Any) -> Any:
        def written(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            its = context.make_array(signature.args[0])(context, builder, arguments[0])
            address, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            at = builder.bitcast(builder.gep(its.data, [arguments[1]]), address)
            kind = ir.FunctionType(ir.VoidType(), [address, number, number, number])
            fetch = builder.module.declare_intrinsic("llvm.prefetch", [address], kind)
            builder.call(fetch, [at, number(0), number(3), number(1)])  # to read, to keep, data
            return context.get_dummy_value()

        return types.void(array, place), written

    return extending.intrinsic(fetch)


def _ours(function: object) -> bool:
    return getattr(function, "__module__", "") in {"sd_cluster.runtime", "sd_cluster.tables", "sd_cluster.vectors"}
