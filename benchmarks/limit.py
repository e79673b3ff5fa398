"""The limit of the machine: the benchmark model in C, with vectors as wide as the processor has them."""

import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"


def c_limit(years=60):
    """The compiled function `batch`, or None with a sentence.

    Runs side by side in the lanes of AVX-512 vectors, with its own exponentials; where the processor has none, in
    AVX2 vectors with the C library's vector functions.
    """
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    out = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        subprocess.run([sys.executable, str(BENCH / "gen.py"), str(out)], check=True)
        source, extra = (out / "v_explog.c").read_text(), ["-DINL"]
        if "avx512dq" not in flags:
            print("no AVX-512 on this machine: the limit is C with AVX2 vectors and the C library's vector functions")
            source, extra = with_avx2(source), []
        cut = source.replace("60.0/nsteps", f"{years}.0/nsteps").replace("nsteps/60", f"nsteps/{years}")
        (out / "limit.c").write_text(cut)
        options = ["-march=native", "-fopenmp", "-shared", "-fPIC", "-Wno-psabi", *extra]
        libraries = ["-lmvec", "-lm"]
        subprocess.run(["gcc", "-Ofast", *options, f"{out}/limit.c", "-o", f"{out}/limit.so", *libraries], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the C limit could not be built ({error}): it is left out")
        return None
    return ctypes.CDLL(str(out / "limit.so")).batch


def with_avx2(source):
    """The C limit for vectors of four doubles."""
    there = {
        "vector_size(64)": "vector_size(32)",
        "_ZGVeN8v": "_ZGVdN4v",
        "_mm512_max_pd((__m512d)(v),_mm512_setzero_pd())": "_mm256_max_pd((__m256d)(v),_mm256_setzero_pd())",
        "b<n/8": "b<n/4",
        "b*8": "b*4",
    }
    for old, new in there.items():
        source = source.replace(old, new)
    return source


def aligned(shape):
    """Zeros that begin where a line of the processor's cache begins."""
    raw = np.zeros(int(np.prod(shape)) + 8)
    edge = -raw.ctypes.data % 64 // 8
    return raw[edge : edge + int(np.prod(shape))].reshape(shape)
