"""Machine code of one function, kept as an object file and linked without the compiler.

Loading numba takes half a second, more than a small sweep. A function that takes only arrays and numbers needs none of
it to run: what numba compiled is written out as an object file, and a linker puts that into memory in a millisecond.
Numba's own convention for calls then applies: a place for the result, a place for an exception, the arguments; the
answer is zero unless there was an exception.
"""

import ctypes
import re
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any

import numpy as np

ENTRY = "enter"
"""Name of the function that stands before another and makes its arrays of pointers and lengths."""

_TYPE = re.compile(r"(float64|int64)(?:\[((?:: ?,? ?)*)::1\])?")
_NUMBERS: dict[str, Any] = {"float64": ctypes.c_double, "int64": ctypes.c_int64}
_names = count()


def entry_source(name: str, signature: str) -> tuple[str, str]:
    """Source and signature of a function that calls another with arrays made of pointers and lengths.

    Parameters
    ----------
    name, signature
        Of the function to call, as numba writes them. It takes numbers and C-contiguous arrays and gives nothing.

    Examples
    --------
    >>> source, signature = entry_source("scale", "void(float64[:, ::1], float64)")
    >>> print(source + signature)
    def enter(a0, a0_0, a0_1, a1):
        scale(carray(a0, (a0_0, a0_1,)), a1)
    void(CPointer(float64), int64, int64, float64)
    """
    takes: list[str] = []
    types: list[str] = []
    passed: list[str] = []
    for number, (kind, axes) in enumerate(_arguments(signature)):
        lengths = [f"a{number}_{axis}" for axis in range(axes)]
        takes += [f"a{number}", *lengths]
        types += [f"CPointer({kind})" if axes else kind, *["int64"] * axes]
        passed.append(f"carray(a{number}, ({', '.join(lengths)},))" if axes else f"a{number}")
    return f"def {ENTRY}({', '.join(takes)}):\n    {name}({', '.join(passed)})\n", f"void({', '.join(types)})"


def _arguments(signature: str) -> list[tuple[str, int]]:
    """Kind of number and count of axes (none for a plain number) of each argument of a numba signature."""
    inside = signature[signature.index("(") + 1 : -1]
    found = []
    for one in re.split(r", ?(?![^\[]*\])", inside):
        match = _TYPE.fullmatch(one)
        assert match is not None, f"{one} is neither a number nor a C-contiguous array"
        found.append((match[1], 0 if match[2] is None else match[2].count(":") + 1))
    return found


def object_file(assembly: str, symbol: str) -> bytes:
    """Machine code of one function and all that it calls, for this processor.

    Parameters
    ----------
    assembly
        A module of LLVM, optimised, as text.
    symbol
        The function; others are kept only where it needs them.
    """
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(assembly)
    for function in module.functions:
        if not function.is_declaration and function.name != symbol:
            function.linkage = "internal"
    machine = _machine()
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    code: bytes = machine.emit_object(module)
    return code


@cache
def _machine() -> Any:
    """The processor here, with addresses close to each other, which take the shortest instructions."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="pic",
        codemodel="small",
    )


@cache
def _linker() -> Any:
    import llvmlite.binding as llvm

    return llvm.create_lljit_compiler(_machine())


class Linked:
    """A function in memory, called with arrays and numbers; other threads run meanwhile.

    Parameters
    ----------
    code
        An object file from this machine.
    symbol
        Name of the entry in it.
    signature
        Of the function behind the entry.

    Raises
    ------
    RuntimeError
        If it cannot be linked.
    """

    def __init__(self, code: bytes, symbol: str, signature: str) -> None:
        import llvmlite.binding as llvm

        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process().export_symbol(symbol)
        self._library = builder.link(_linker(), f"sd_cluster-{next(_names)}")  # the code lives as long as this
        self._arguments = _arguments(signature)
        types: list[Any] = [ctypes.c_void_p, ctypes.c_void_p]
        for kind, axes in self._arguments:
            types += [ctypes.c_void_p, *[ctypes.c_int64] * axes] if axes else [_NUMBERS[kind]]
        self._enter: Callable[..., int] = ctypes.CFUNCTYPE(ctypes.c_int, *types)(self._library[symbol])

    def __call__(self, *arguments: Any) -> None:
        """Call it.

        Raises
        ------
        TypeError
            If an argument is not an array of the right kind, as this would be read as other numbers than it holds.
        """
        flat: list[Any] = []
        for value, (kind, axes) in zip(arguments, self._arguments, strict=True):
            if not axes:
                flat.append(value)
                continue
            if not (isinstance(value, np.ndarray) and value.dtype == kind and value.ndim == axes):
                raise TypeError(f"expected an array of {kind} with {axes} axes, got {value!r}")
            if not (value.flags.c_contiguous and value.flags.aligned):
                raise TypeError("expected an array whose numbers lie side by side")
            flat += [value.ctypes.data, *value.shape]
        places = (ctypes.c_void_p * 2)()
        status = self._enter(ctypes.addressof(places), ctypes.addressof(places) + 8, *flat)
        if status != 0:
            raise RuntimeError(f"compiled code stopped with status {status}")


def symbol_of(dispatcher: Any) -> tuple[str, str]:
    """The module of a function that numba has compiled, as text, and the function's name in it."""
    (compiled,) = dispatcher.overloads.values()
    return compiled.library.get_llvm_str(), compiled.fndesc.llvm_func_name
