"""The house: what importing costs, and which room knows which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import calibration as cal
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


def test_the_door_of_calibration_opens_every_name_and_imports_nothing_heavy():
    """What the pages show as `cal.profile` could only be had from a module of its own."""
    path = Path(sd_cluster.__file__).parent.parent / "calibration" / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    block = next(one for one in tree.body if isinstance(one, ast.If))
    checked = {(one.module, name.asname) for one in block.body for name in one.names}
    assert checked == {(f"calibration.{module}", name) for module, names in cal._LATER.items() for name in names}
    modules = {one.stem for one in path.parent.glob("*.py")}
    assert not modules & {name for names in cal._LATER.values() for name in names}, "importing it would hide the name"
    for _, name in checked:
        assert getattr(cal, name) is getattr(cal, name)
        assert name in dir(cal)
    for name in ("profile", "profiles", "worth", "audit", "shrinkage", "posterior_mode", "compare", "hold_out"):
        assert callable(getattr(cal, name)), "also where a module bears the name"
    with pytest.raises(AttributeError, match="module 'calibration' has no attribute 'profil'"):
        cal.profil  # noqa: B018
    loaded = loaded_after("import calibration")
    assert not loaded & (HEAVY - {"calibration"}) and "calibration.stages" not in loaded


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
