"""The house: what importing costs, and which room knows which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sd_cluster

HEAVY = {"sympy", "pandas", "xarray", "pysd", "numba", "matplotlib", "scipy.integrate", "pint", "calibration"}


def loaded_after(code):
    """Names of the modules that a fresh Python has loaded after some code."""
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy():
    assert not loaded_after("import sd_cluster") & HEAVY


def test_reading_a_model_needs_no_calibration_compiler_or_figures():
    loaded = loaded_after("import sd_cluster as sd\nsd.simulate(sd.load('collective_learning'), solver=sd.Euler())")
    assert not loaded & {"calibration", "numba", "matplotlib"}


@pytest.mark.parametrize("path", sorted(Path(sd_cluster.__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_no_file_of_the_engine_names_calibration(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(name.name.split(".")[0] == "calibration" for name in node.names)
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] != "calibration"


def test_only_peg_knows_pysd_and_only_the_cache_knows_numba():
    folder = Path(sd_cluster.__file__).parent
    for room, owner in (("pysd", "peg.py"), ("numba", "cache.py")):
        naming = set()
        for path in folder.glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
                if any(name.split(".")[0] == room for name in names):
                    naming.add(path.name)
        assert naming == {owner}
