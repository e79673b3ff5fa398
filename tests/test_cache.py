"""Machine code on disk: found again, rebuilt when in doubt, never trusted when it comes from elsewhere."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support import tiny

import sd_cluster as sd
from sd_cluster import cache, runtime

MODEL = "x = INTEG(-x/tau, 8) ~ widget \n tau = 2 ~ Year"
RUN = """
import sys
sys.path.insert(0, {tests!r})
import sd_cluster as sd
from sd_cluster.kernel import compile_model
from support import tiny
model = tiny({equations!r}, step="0.5")
run = sd.simulate(model, solver=sd.Euler(), backend="numba", horizon=(0, 2), save=0.5)
stats = compile_model(model, "numba").rates.stats
print(run["x"].tolist(), sum(stats.cache_hits.values()))
"""
RIGHT = [8.0, 6.0, 4.5, 3.375, 2.53125]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SD_CLUSTER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """A cache with one whole entry, to be copied and spoilt."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SD_CLUSTER_CACHE", str(root))
        run_here()
    return root / "kernels"


def script(equations=MODEL):
    return RUN.format(tests=str(Path(__file__).parent), equations=equations)


def fresh_process(**options):
    """Run the model in a new Python; whether its machine code was found."""
    command = [sys.executable, "-W", "error", "-c", script()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    values, hits = done.stdout.rsplit(" ", 1)
    assert values == str(RIGHT)
    return int(hits) > 0


def run_here():
    model = tiny(MODEL, step="0.5")
    run = sd.simulate(model, solver=sd.Euler(), backend="numba", horizon=(0, 2), save=0.5)
    assert run["x"].tolist() == RIGHT


KERNEL = 2
"""Entries of a kernel that ran: its functions, and the loop that goes through them."""


def entries(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir())


def sealed(folder, entry):
    source = (entry / "kernel.py").read_text(encoding="utf-8")
    return cache._sealed(entry, source, (folder / "key").read_bytes())


def contents(entry):
    return {path.relative_to(entry): path.read_bytes() for path in sorted(entry.rglob("*")) if path.is_file()}


def test_an_entry_is_found_again_in_a_new_process(folder, spoilt):
    shutil.copytree(spoilt, folder)
    whole = {entry: contents(entry) for entry in entries(folder)}
    assert len(whole) == KERNEL
    for files in whole.values():
        assert {path.name for path in files} >= {"kernel.py", "seal"}
        assert any(path.suffix == ".nbc" for path in files) and any(path.suffix == ".nbi" for path in files)
    assert fresh_process(), "its machine code was loaded, not made"
    assert {entry: contents(entry) for entry in entries(folder)} == whole


def damages(folder, entry):
    """Ways to spoil an entry, by name."""
    code, index = next(entry.rglob("*.nbc")), next(entry.rglob("*.nbi"))
    seal, source = entry / "seal", entry / "kernel.py"
    hostile = "\nraise SystemExit(3)\n"
    return {
        "code": lambda: code.write_bytes(code.read_bytes()[:-7] + b"corrupt"),
        "index": lambda: index.write_bytes(b"cos\nsystem\n(S'exit 3'\ntR."),
        "source": lambda: source.write_text(source.read_text(encoding="utf-8") + hostile, encoding="utf-8"),
        "seal": lambda: seal.write_bytes(b"\0" * 32),
        "no source": source.unlink,
        "no seal": seal.unlink,
        "more": lambda: (entry / "more.py").write_text(hostile, encoding="utf-8"),
        "key": lambda: (folder / "key").write_bytes(b"k" * 32),
        "short key": lambda: (folder / "key").write_bytes(b"short"),
    }


SLOW = ("index", "seal", "no source", "no seal", "more", "key", "short key")
FAST = ("code", "source")


@pytest.mark.parametrize("what", [*FAST, *(pytest.param(what, marks=pytest.mark.slow) for what in SLOW)])
def test_a_spoilt_entry_is_built_anew(folder, spoilt, what):
    shutil.copytree(spoilt, folder)
    before = entries(folder)
    assert len(before) == KERNEL and all(sealed(folder, entry) for entry in before)
    for entry in before:
        damages(folder, entry)[what]()
    run_here()
    assert entries(folder) == before, "under their old names"
    assert len((folder / "key").read_bytes()) == 32
    assert all(sealed(folder, entry) for entry in before)
    assert not any((entry / "more.py").exists() for entry in before)


def test_an_entry_from_another_machine_is_not_trusted(folder, spoilt):
    for entry in entries(spoilt):
        shutil.copytree(entry, folder / entry.name)
    run_here()
    for entry in entries(spoilt):
        here = folder / entry.name / "seal"
        assert here.read_bytes() != (entry / "seal").read_bytes(), "built anew under a key of its own"


def test_the_key_is_for_its_owner_alone(spoilt):
    assert (spoilt / "key").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_processes_may_race_for_one_entry(folder):
    command = [sys.executable, "-W", "error", "-c", script()]
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in racing:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert out.startswith(str(RIGHT))
    assert len(entries(folder)) == KERNEL, "nothing half-made is left over"


def test_a_helper_that_changed_is_another_entry(folder, spoilt, monkeypatch):
    """The name left the built-in functions out: a repaired one would have gone on in its old form."""
    shutil.copytree(spoilt, folder)

    def repaired(a, b):
        return b if a < b else a

    repaired.__module__ = "sd_cluster.runtime"
    monkeypatch.setitem(runtime.HELPERS, "maximum", repaired)
    run_here()
    assert len(entries(folder)) == 2 * KERNEL


def test_what_only_others_call_is_compiled_again_where_numba_finds_nothing(folder):
    """Numba throws its files away where it takes them for outdated; what it compiles then needs the inner functions."""
    source = "def twice(x):\n    return 2.0 * x\n\ndef wanted(x):\n    return twice(x) + 1.0\n"
    signatures = dict.fromkeys(("twice", "wanted"), "float64(float64)")
    for hits in (0, 1, 0, 1):
        wanted = cache.compiled(source, {}, signatures, inner=("twice",))["wanted"]
        assert wanted(3.0) == 7.0
        assert sum(wanted.stats.cache_hits.values()) == hits
        (entry,) = entries(folder)
        if hits:
            for path in entry.rglob("*.nbi"):
                path.unlink()
            (entry / "seal").write_bytes(cache._seal(entry, (folder / "key").read_bytes()))


def test_a_cache_that_cannot_be_made_still_works(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("SD_CLUSTER_CACHE", str(tmp_path / "file" / "cache"))
    run_here()


def test_a_cache_that_may_only_be_read_still_works(folder, spoilt, monkeypatch):
    """A new model ended in a bare PermissionError, a known one in 'cannot cache function: no locator available'."""
    shutil.copytree(spoilt, folder)
    known, new = (tiny(equations, step="0.5") for equations in (MODEL, MODEL.replace("-x/tau", "-1*x/tau")))

    def refused(*args, **options):
        raise PermissionError("read-only")

    for name in ("mkdtemp", "TemporaryFile"):
        monkeypatch.setattr(tempfile, name, refused)
    for model in (known, new):
        run = sd.simulate(model, solver=sd.Euler(), backend="numba", horizon=(0, 2), save=0.5)
        assert run["x"].tolist() == RIGHT
    assert len(entries(folder)) == KERNEL
