"""Object files: what comes out of them, with no compiler loaded, and what may not go into them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sd_cluster import cache, linking

SOURCE = """
def double(x, l):
    x[l] *= 2.0


def scale(table, picked, factor, count):
    for row in range(table.shape[0]):
        for l in range(table.shape[1]):
            table[row, l] *= factor
    for k in range(count):
        double(table[picked[k]], k)
"""
SIGNATURES = {"double": "void(float64[::1], int64)", "scale": "void(float64[:, ::1], int64[::1], float64, int64)"}
AGAIN = """
import sys
import numpy as np
sys.path.insert(0, {tests!r})
from test_linking import compiled, scaled
assert scaled(compiled()).tolist() == [[6.0, 3.0], [3.0, 6.0]]
print("numba" in sys.modules)
"""


def compiled(source=SOURCE):
    return cache.compiled(source, {"np": np}, SIGNATURES, linked="scale")["scale"]


def scaled(function):
    table = np.ones((2, 2))
    function(table, np.array([0, 1]), 3.0, 2)
    return table


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SD_CLUSTER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


def test_a_linked_function_is_found_again_without_the_compiler(folder):
    """A sweep from the cache took half a second, most of it to load what it did not need."""
    assert scaled(compiled()).tolist() == [[6.0, 3.0], [3.0, 6.0]]
    (entry,) = (path for path in folder.iterdir() if path.is_dir())
    assert {path.name for path in entry.iterdir()} == {"kernel.py", "object", "symbol", "seal"}
    script = AGAIN.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr


@pytest.mark.slow
def test_processes_may_race_for_one_object(folder):
    script = AGAIN.format(tests=str(Path(__file__).parent))
    racing = [subprocess.Popen([sys.executable, "-W", "error", "-c", script], stderr=subprocess.PIPE) for _ in range(2)]
    for process in racing:
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 0, errors
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 1, "nothing half-made is left over"


def test_a_spoilt_object_is_built_anew(folder):
    compiled()
    (entry,) = (path for path in folder.iterdir() if path.is_dir())
    spoilt = (entry / "object").read_bytes()[:-8] + b"spoiled!"
    (entry / "object").write_bytes(spoilt)
    assert scaled(compiled()).tolist() == [[6.0, 3.0], [3.0, 6.0]]
    assert (entry / "object").read_bytes() != spoilt


@pytest.mark.parametrize(
    "wrong",
    [np.ones((2, 2), dtype=np.float32), np.ones((2, 2), dtype=int), np.ones(4), np.ones((2, 4))[:, ::2], [[1.0, 2.0]]],
    ids=["half as wide", "whole numbers", "one axis", "with gaps", "a list"],
)
def test_arrays_of_another_kind_are_refused(wrong):
    """Behind a pointer their numbers would be read as others."""
    with pytest.raises(TypeError, match="expected an array"):
        compiled()(wrong, np.array([0, 1]), 3.0, 2)


def test_a_missing_argument_is_refused():
    with pytest.raises(ValueError, match="zip"):
        compiled()(np.ones((2, 2)), np.array([0, 1]), 3.0)


def test_where_nothing_can_be_linked_numba_calls_it(folder, monkeypatch):
    def refused(*arguments):
        raise RuntimeError("no linker here")

    monkeypatch.setattr(linking.Linked, "__init__", refused)
    for _ in range(2):  # built, then found again
        assert scaled(compiled()).tolist() == [[6.0, 3.0], [3.0, 6.0]]
