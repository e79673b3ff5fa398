"""Killed at any moment, a fit and a sampling go on where they were and end in the same numbers."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from twins import GAUGES, MODEL, RANGES, park, write_twin

import calibration as cal
import sd_cluster as sd
from calibration.history import History
from sd_cluster.errors import FitError

HEAD = """
import sys
import calibration as cal
import sd_cluster as sd
sys.path.insert(0, {tests!r})
from twins import GAUGES, RANGES, park
misfit = cal.Misfit(park(), sd.Space(RANGES), GAUGES, cal.read_dataset({data!r}))
"""
FIT = HEAD + "cal.minimise(misfit, starts=12, seed=3, folder={folder!r}, workers={workers}, progress=False)\n"
SAMPLE = HEAD + (
    "cal.sample_posterior(misfit, chains=2, draws=150, tune=150, seed=4, folder={folder!r}, workers={workers}, "
    "progress=False)\n"
)


def _misfit(path):
    return cal.Misfit(park(), sd.Space(RANGES), GAUGES, cal.read_dataset(path))


def _killed_and_gone_on(script, kills, seed):
    """Run a script again and again, killing it at random moments, until a run ends by itself."""
    chance = random.Random(seed)
    tried = 0
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(timeout=1.5 + chance.random() * 2.5)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            tried += 1
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return tried


@pytest.mark.slow
def test_a_fit_killed_at_ten_moments_ends_in_the_same_numbers(tmp_path):
    data, folder = write_twin(tmp_path / "twin.csv", noise=0.04), tmp_path / "kept"
    script = FIT.format(tests=str(MODEL.parents[1]), data=str(data), folder=str(folder), workers=2)
    assert _killed_and_gone_on(script, kills=10, seed=1) > 0
    misfit = _misfit(data)
    again = cal.minimise(misfit, starts=12, seed=3, folder=folder, workers=1, progress=False)
    whole = cal.minimise(misfit, starts=12, seed=3, workers=1, progress=False)
    assert str(again) == str(whole)
    assert again.starts_frame().equals(whole.starts_frame())
    assert np.array_equal(again.place, whole.place)


@pytest.mark.slow
def test_a_sampling_killed_at_ten_moments_ends_in_the_same_numbers(tmp_path):
    data, folder = write_twin(tmp_path / "twin.csv", noise=0.04), tmp_path / "kept"
    script = SAMPLE.format(tests=str(MODEL.parents[1]), data=str(data), folder=str(folder), workers=1)
    assert _killed_and_gone_on(script, kills=10, seed=2) > 0
    settings = {"chains": 2, "draws": 150, "tune": 150, "seed": 4, "workers": 1, "progress": False}
    again = cal.sample_posterior(_misfit(data), folder=folder, **settings)
    whole = cal.sample_posterior(_misfit(data), **settings)
    assert np.array_equal(again.values, whole.values)


def test_starts_are_kept_as_they_are_done(tmp_path, monkeypatch):
    from calibration import optimisation

    misfit = _misfit(write_twin(tmp_path / "twin.csv", noise=0.04))
    search, asked = optimisation.search_from, []

    def watched(objective, how, seed, number, origin):
        asked.append(number)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return search(objective, how, seed, number, origin)

    monkeypatch.setattr(optimisation, "search_from", watched)
    settings = {"starts": 4, "seed": 3, "workers": 1, "progress": False}
    part = cal.minimise(misfit, folder=tmp_path / "kept", **settings)
    assert [one.number for one in part.starts] == [0, 1]
    whole = cal.minimise(misfit, folder=tmp_path / "kept", **settings)
    assert asked == [0, 1, 2, 2, 3]
    assert str(whole) == str(cal.minimise(misfit, **settings))


def test_starts_of_other_settings_are_refused(tmp_path):
    misfit = _misfit(write_twin(tmp_path / "twin.csv", noise=0.04))
    cal.minimise(misfit, starts=1, seed=3, workers=1, folder=tmp_path / "kept")
    with pytest.raises(FitError, match=r"starts\.jsonl was made with other settings: seed was 3, now 4\. Give another"):
        cal.minimise(misfit, starts=1, seed=4, workers=1, folder=tmp_path / "kept")
    other = _misfit(write_twin(tmp_path / "other.csv", noise=0.03))
    with pytest.raises(FitError, match=r"starts\.jsonl was made with other settings: objective was "):
        cal.minimise(other, starts=1, seed=3, workers=1, folder=tmp_path / "kept")


def test_a_torn_last_line_is_dropped(tmp_path):
    History(tmp_path, {"seed": 1}).keep("start 0", {"payoff": 1.0})
    path = tmp_path / "history.jsonl"
    path.write_bytes(path.read_bytes() + b'["start 1", {"pay')
    history = History(tmp_path, {"seed": 1})
    assert list(history) == ["start 0"]
    history.keep("start 1", {"payoff": 2.0})
    assert History(tmp_path, {"seed": 1}).kept("start 1") == {"payoff": 2.0}


@pytest.mark.slow
def test_a_worker_ends_with_its_parent(tmp_path):
    """Workers of a killed fit once waited for work for ever."""
    data = write_twin(tmp_path / "twin.csv", noise=0.04)
    script = FIT.format(tests=str(MODEL.parents[1]), data=str(data), folder=str(tmp_path / "kept"), workers=2)
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        deadline = time.monotonic() + 60.0
        while not _children(process.pid) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        children = _children(process.pid)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 20.0
    while any(_alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in children)


def _children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(one) for one in file.read().split()]
    except OSError:
        return []


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
