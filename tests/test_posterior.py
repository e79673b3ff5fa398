"""Chains of a posterior: what they tell of known densities, how they are judged, and how they outlive a kill -9."""

import os
import signal
import subprocess
import sys
from _thread import interrupt_main
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import sd_cluster as sd
from calibration.chains import WIDEST, laplace_root, quiet_arviz
from calibration.convergence import AGREE
from calibration.history import History, Tape
from calibration.posterior import Posterior
from calibration.posterior import sample_posterior as sample
from sd_cluster.errors import FitError, SimulationError

SHORT = {"draws": 100, "tune": 110, "chains": 2, "workers": 1, "progress": False}


@dataclass
class Gaussian:
    """Normal with strong correlation and unlike scales; values are exponentials of places."""

    names: tuple[str, ...] = ("initial trust", "talent flow", "learning rate")
    mean: np.ndarray = field(default_factory=lambda: np.array([-1.0, -2.0, 0.5]))
    covariance: np.ndarray = field(
        default_factory=lambda: np.array([[0.09, 0.24, 0.0], [0.24, 1.0, 0.0], [0.0, 0.0, 1e-4]])
    )
    calls: int = 0

    def log_density(self, place):
        self.calls += 1
        slope = np.linalg.solve(self.covariance, self.mean - place)
        return -0.5 * float((self.mean - place) @ slope), slope

    def values(self, place):
        return np.exp(place)

    def information(self, place):
        return np.linalg.inv(self.covariance)

    def sample_prior(self, n, seed):
        return np.random.default_rng(seed).standard_normal((n, len(self.names)))


@dataclass
class Line(Gaussian):
    """One standard normal unknown; density, gradient and limits to be replaced."""

    names: tuple[str, ...] = ("trust",)
    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))
    covariance: np.ndarray = field(default_factory=lambda: np.eye(1))

    def values(self, place):
        return {"trust": place[0]}


class Banana(Gaussian):
    """y around x squared."""

    def __init__(self):
        super().__init__(names=("x", "y"))

    def log_density(self, place):
        x, y = place
        off = (y - x**2) / 0.25
        return -0.5 * x**2 - 0.5 * (y - x**2) * off, np.array([-x + 2.0 * x * off, -off])

    def values(self, place):
        return place


class Funnel(Gaussian):
    """Neal's funnel, as a hierarchy of few regions gives in its centred form."""

    def __init__(self):
        super().__init__(names=("spread", *(f"region {k}" for k in range(6))))

    def log_density(self, place):
        v, x = place[0], place[1:]
        pull = x * np.exp(-v)
        density = -(v**2) / 18.0 - 0.5 * float(x @ pull) - 0.5 * x.size * v
        return density, np.array([-v / 9.0 + 0.5 * float(x @ pull) - 0.5 * x.size, *-pull])

    def values(self, place):
        return place


def made(values, **stats):
    """A posterior of given values, one unknown."""
    values = np.asarray(values, dtype=float)[:, :, None]
    shape = values.shape[:2]
    if stats:
        stats = {name: np.zeros(shape) for name in ("diverging", "depth")} | {"energy": noise(*shape)} | stats
    return Posterior(("trust",), values, values, np.zeros(shape), stats)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def minded(posterior):
    return [verdict.text for verdict in posterior.verdicts if not verdict.good]


def same(one, other):
    assert one.names == other.names and one.stats.keys() == other.stats.keys()
    for name in ("places", "values", "log_density"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name, array in one.stats.items():
        np.testing.assert_array_equal(array, other.stats[name])


@pytest.fixture(scope="module")
def gaussian():
    target = Gaussian()
    return sample(target, draws=1000, tune=500, seed=4, start=target.mean, workers=1, progress=False)


# --- what is known


def test_moments_of_a_correlated_gaussian(gaussian):
    target = Gaussian()
    summary = gaussian.summary()
    z = gaussian.places.reshape(-1, 3)
    sds = np.sqrt(np.diag(target.covariance))
    # four standard errors of a mean, a standard deviation, a correlation at this effective size
    error = 1.0 / np.sqrt(summary["ess_bulk"].to_numpy().min())
    np.testing.assert_allclose((z.mean(axis=0) - target.mean) / sds, 0.0, atol=4 * error)
    np.testing.assert_allclose(z.std(axis=0) / sds, 1.0, atol=4 * error)
    np.testing.assert_allclose(np.corrcoef(z.T)[0, 1], 0.8, atol=4 * (1 - 0.8**2) * error)
    np.testing.assert_allclose(summary["median"], np.exp(target.mean), rtol=6 * error * sds.max())
    assert gaussian.good, gaussian.verdicts
    assert summary["r_hat"].max() < AGREE and summary["ess_tail"].min() > 400
    assert gaussian.divergences == 0 and gaussian.step_sizes.shape == (4,)
    density = [target.log_density(place)[0] for place in gaussian.places[1, :5]]
    np.testing.assert_allclose(gaussian.log_density[1, :5], density, rtol=1e-9)


def test_intervals_and_names(gaussian):
    low, high = gaussian.interval("initial trust", 0.9)
    exact = np.exp(-1.0 + 0.3 * 1.6449 * np.array([-1, 1]))
    np.testing.assert_allclose([low, high], exact, rtol=0.06)
    with pytest.raises(FitError, match=r"no unknown 'initial thrust' \(did you mean 'initial trust'\?\)"):
        gaussian.interval("initial thrust")
    with pytest.raises(FitError, match="level=90; expected a share between 0 and 1"):
        gaussian.interval("initial trust", 90)
    assert "The chains agree" in str(gaussian) and "ess_tail" in str(gaussian)


def test_a_banana_from_the_prior():
    found = sample(Banana(), draws=500, tune=500, seed=1, workers=1, progress=False)
    x, y = found["x"].ravel(), found["y"].ravel()
    worth = found.summary()["ess_bulk"].to_numpy()
    np.testing.assert_allclose(x.mean(), 0.0, atol=4 / np.sqrt(worth[0]))
    np.testing.assert_allclose(y.mean(), 1.0, atol=4 * 1.5 / np.sqrt(worth[1]))
    np.testing.assert_allclose(x.std(), 1.0, atol=5 / np.sqrt(worth[0]))


def test_a_funnel_is_not_passed_over_in_silence():
    """Whether trajectories diverge in so few draws is a matter of the seed; that they are too few is not."""
    for seed in range(3):
        found = sample(Funnel(), draws=100, tune=100, seed=seed, target_accept=0.8, workers=1, progress=False)
        assert not found.good


def test_an_ensemble_finds_the_same_gaussian():
    target = Gaussian()
    found = sample(target, method="ensemble", chains=1, draws=1500, tune=300, start=target.mean, workers=1, seed=3)
    assert found.places.shape == (8, 1500, 3) and not found.stats
    z = found.places.reshape(-1, 3)
    sds = np.sqrt(np.diag(target.covariance))
    error = 1.0 / np.sqrt(found.summary()["ess_bulk"].to_numpy().min())
    np.testing.assert_allclose((z.mean(axis=0) - target.mean) / sds, 0.0, atol=4 * error)
    np.testing.assert_allclose(z.std(axis=0) / sds, 1.0, atol=5 * error)
    np.testing.assert_allclose(np.corrcoef(z.T)[0, 1], 0.8, atol=5 * error)
    density = [target.log_density(place)[0] for place in found.places[5, :5]]
    np.testing.assert_allclose(found.log_density[5, :5], density, rtol=1e-9)


def test_weak_directions_are_taken_as_no_wider_than_a_prior():
    target = Gaussian(covariance=np.diag([1e12, 1.0, 1e-4]))
    root = laplace_root(target, target.mean)
    np.testing.assert_allclose(root, np.diag([WIDEST, 1.0, 0.01]), atol=1e-12)
    target.information = lambda place: np.full((3, 3), np.nan)
    with pytest.raises(FitError, match="not a finite 3 x 3 matrix"):
        laplace_root(target, target.mean)

    def blown_up(place):
        raise SimulationError("knowledge blew up in 1999")

    target.information = blown_up
    with pytest.raises(FitError, match="the start cannot be run"):
        laplace_root(target, target.mean)


# --- the same numbers


@pytest.mark.parametrize("method", ["nuts", "ensemble"])
def test_a_chain_is_a_function_of_its_seed(method):
    target = Gaussian()
    chosen = {**SHORT, "method": method, "start": target.mean}
    one = sample(target, seed=5, **chosen)
    same(one, sample(target, seed=5, **chosen))
    assert not np.array_equal(one.places, sample(target, seed=6, **chosen).places)
    rows = len(one.places)
    more = sample(target, seed=5, **{**chosen, "chains": 3})
    np.testing.assert_array_equal(more.places[:rows], one.places)
    assert not np.array_equal(more.places[0], more.places[-1])


@pytest.mark.parametrize("method", [pytest.param("nuts", marks=pytest.mark.slow), "ensemble"])
def test_workers_do_not_change_the_numbers(tmp_path, capfd, method):
    target = Gaussian()
    chosen = {**SHORT, "method": method, "start": target.mean}
    one = sample(target, **chosen)
    same(one, sample(target, folder=tmp_path, **{**chosen, "workers": 2, "progress": True}))
    same(one, sample(target, folder=tmp_path, **chosen))
    out, err = capfd.readouterr()
    assert out == "" and err == ""  # no bar where nobody looks, and nothing of nutpie's


class PowerCut(Exception):
    pass


@dataclass
class Cut(Gaussian):
    """Fails with what is not a fault of the model after so many calls."""

    after: int = 10**9

    def log_density(self, place):
        if self.calls >= self.after:
            raise PowerCut("the lights went out")
        return super().log_density(place)


@pytest.mark.parametrize("method", ["nuts", "ensemble"])
def test_resumed_where_it_was_cut(tmp_path, method):
    target = Cut()
    chosen = {**SHORT, "method": method, "start": target.mean}
    whole = sample(target, **chosen)
    needed, target.calls = target.calls, 0
    target.after = int(0.75 * needed)
    with pytest.raises(PowerCut, match="lights"):
        sample(target, folder=tmp_path, **chosen)
    assert (tmp_path / "chain-0.npz").exists() and not (tmp_path / "chain-1.npz").exists()
    target.calls, target.after = 0, needed
    same(whole, sample(target, folder=tmp_path, **chosen))
    assert target.calls < 0.45 * needed
    target.calls = 0
    same(whole, sample(target, folder=tmp_path, **chosen))
    assert target.calls <= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain-0.npz", "chain-1.npz", "sampling.jsonl"]


def test_ctrl_c_keeps_the_chains_that_are_done(tmp_path):
    class Stopped(Gaussian):
        def log_density(self, place):
            if (tmp_path / "chain-0.npz").exists() and self.calls >= 0:
                self.calls = -(10**9)
                interrupt_main()
            return super().log_density(place)

    target = Stopped()
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        found = sample(target, folder=tmp_path, start=target.mean, **SHORT)
    finally:
        signal.signal(signal.SIGINT, usual)
    assert len(found.places) == 1 and any("Stopped after 1 of 2 chains" in text for text in minded(found))
    same(sample(Gaussian(), start=target.mean, **SHORT), sample(target, folder=tmp_path, start=target.mean, **SHORT))


def test_folders_of_other_settings_are_refused(tmp_path):
    target = Line()
    chosen = {**SHORT, "start": [0.1], "folder": tmp_path}
    sample(target, **chosen)
    with pytest.raises(FitError, match=r"other settings: draws was 100, now 101\. Give another folder"):
        sample(target, **{**chosen, "draws": 101})
    with pytest.raises(FitError, match="other settings: target was"):
        sample(Line(covariance=2 * np.eye(1)), **chosen)
    (tmp_path / "chain-1.npz").write_bytes(b"PK nonsense")
    with pytest.raises(FitError, match=r"chain-1\.npz is damaged"):
        sample(target, **chosen)


# --- what cannot be run


def test_places_that_cannot_be_run_are_only_bad():
    class Half(Line):
        def log_density(self, place):
            if place[0] < 0.0:
                raise SimulationError("knowledge blew up in 1999")
            return super().log_density(place)

    found = sample(Half(), draws=400, tune=200, seed=1, workers=1, progress=False)
    trust = found["trust"]
    assert trust.min() >= 0.0
    np.testing.assert_allclose(np.median(trust), 0.674, atol=0.15)
    assert any("diverged" in text for text in minded(found))
    found = sample(Half(), method="ensemble", chains=1, draws=500, tune=100, start=[0.5], workers=1, progress=False)
    assert found["trust"].min() >= 0.0
    np.testing.assert_allclose(np.median(found["trust"]), 0.674, atol=0.15)


def test_a_start_that_cannot_be_run():
    class Never(Line):
        def log_density(self, place):
            raise SimulationError("knowledge blew up in 1999")

    with pytest.raises(FitError, match="chain 0 found no place to begin: none of 100 places drawn from the prior"):
        sample(Never(), **SHORT)
    with pytest.raises(FitError, match="places around the start can be run"):
        sample(Never(), start=[0.0], **SHORT)


def test_no_nan_passes():
    class Hollow(Line):
        def log_density(self, place):
            density, slope = super().log_density(place)
            return density, slope * (np.nan if place[0] > 1.0 else 1.0)

    with pytest.raises(FitError, match=r"not a number at the place trust=1\.\d+; mend the target"):
        sample(Hollow(), **SHORT)
    with pytest.raises(FitError, match="a draw of 'trust' has no finite value"):
        Posterior(("trust",), np.zeros((1, 20, 1)), np.full((1, 20, 1), np.inf), np.zeros((1, 20)))


@pytest.mark.slow
def test_a_worker_that_dies_is_told():
    class Deadly(Line):
        def log_density(self, place):
            self.calls += 1
            if self.calls > 100:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().log_density(place)

    with pytest.raises(FitError, match="a worker process died"):
        sample(Deadly(), method="ensemble", **{**SHORT, "workers": 2})


def test_a_flat_density_is_told():
    class Flat(Line):
        def log_density(self, place):
            return 0.0, np.zeros(1)

    with pytest.raises(FitError, match="nutpie could not make chain 0: "):
        sample(Flat(), **SHORT)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "nut"}, r"no sampler 'nut' \(did you mean 'nuts'\?\)"),
        ({"chains": 0}, "chains=0; expected a whole number of at least 1"),
        ({"draws": 3}, "draws=3; expected a whole number of at least 10"),
        ({"tune": 1.5}, "tune=1.5; expected a whole number"),
        ({"workers": 0}, "workers=0"),
        ({"target_accept": 1.0}, "target_accept=1.0; expected a share"),
        ({"start": [0.0, 1.0]}, "the start should be 1 finite number"),
        ({"start": [np.nan]}, "the start should be 1 finite number"),
        ({"method": "ensemble", "walkers": 5}, "walkers=5; expected an even number of at least 2"),
    ],
)
def test_settings_out_of_range(changes, told):
    with pytest.raises(FitError, match=told):
        sample(Line(), **{**SHORT, **changes})


# --- verdicts


def test_chains_apart_are_told():
    apart = made(noise(4, 500) + np.array([0.0, 0.0, 0.0, 3.0])[:, None])
    told = minded(apart)
    assert not apart.good and "do not agree on 'trust': R-hat is up to 1." in told[0] and "Do not use" in told[0]


def test_few_effective_draws_are_told():
    (told,) = [text for text in minded(made(noise(4, 60))) if "too few" in text]
    assert "draw about 2 times as many" in told


def test_chains_that_stand_still_are_told():
    told = minded(made(np.ones((4, 100))))
    assert "'trust' never moved" in told[0] and "too few effective draws of 'trust': 0," in told[1]
    assert "do not agree" in minded(made(np.arange(4.0)[:, None] * np.ones((4, 100))))[0]


def test_troubles_of_nuts_are_told():
    drawn = noise(4, 1000)
    assert made(drawn, step_size=np.full(drawn.shape, 0.5)).good
    few = np.zeros(drawn.shape)
    few[2, 5] = 1.0
    assert any(text.startswith("1 draw (0.025 %) diverged") for text in minded(made(drawn, diverging=few)))
    slow = np.cumsum(noise(4, 1000, seed=1), axis=1)
    assert any("energy moves slowly" in text for text in minded(made(drawn, energy=slow)))
    assert any("greatest length" in text for text in minded(made(drawn, depth=np.full(drawn.shape, 10.0))))
    assert any("One chain cannot show" in text for text in minded(made(noise(1, 1000))))


# --- what else can be had of it


def test_saved_and_read_back(gaussian, tmp_path):
    path = gaussian.save(tmp_path / "posterior.nc")
    read = Posterior.load(path)
    same(gaussian, read)
    assert read.settings == gaussian.settings and read.provenance == gaussian.provenance
    assert read.verdicts == gaussian.verdicts
    with pytest.raises(FitError, match=r"nowhere\.nc does not exist"):
        Posterior.load(tmp_path / "nowhere.nc")
    path.write_bytes(b"CDF\x02 and then nonsense")
    with pytest.raises(FitError, match="is not a posterior that"):
        Posterior.load(path)


def test_inference_data(gaussian):
    data = gaussian.inference_data()
    assert list(data.posterior.data_vars) == list(gaussian.names)
    np.testing.assert_array_equal(data.posterior["talent flow"], gaussian["talent flow"])
    assert data.sample_stats["diverging"].dtype == bool
    frame = gaussian.frame()
    assert frame.shape == (4000, 3)
    assert frame.loc[(2, 7), "talent flow"] == gaussian["talent flow"][2, 7]


def test_a_space_of_the_draws():
    model = sd.load("collective_learning")
    names = ("initial trust", "talent flow [A]", "talent flow [B]", "noise of firms", "Hiring_Rate")
    values = np.random.default_rng(1).uniform(0.1, 0.2, (2, 20, 5))
    posterior = Posterior(names, values, values, np.zeros((2, 20)))
    space = posterior.space(model, region="B")
    assert set(space.names) == {"initial trust", "talent flow", "Hiring_Rate"}
    drawn = space.sample(40)
    assert set(drawn["talent flow"]) == set(posterior["talent flow [B]"].ravel())
    rows = set(zip(posterior["initial trust"].ravel(), posterior["talent flow [B]"].ravel(), strict=True))
    assert set(zip(drawn["initial trust"], drawn["talent flow"], strict=True)) == rows  # whole rows
    with pytest.raises(FitError, match="own to A and B; say which"):
        posterior.space(model)
    with pytest.raises(FitError, match="own to A and B, not to 'C'"):
        posterior.space(model, region="C")
    with pytest.raises(FitError, match="none of 'noise of firms' is a parameter or stock of collective_learning"):
        Posterior(names[3:4], values[:, :, :1], values[:, :, :1], np.zeros((2, 20))).space(model)


@pytest.mark.slow
def test_a_sweep_over_the_draws():
    model = sd.load("collective_learning")
    drawn = np.random.default_rng(1).uniform(0.1, 0.2, (2, 20, 1))
    space = Posterior(("initial trust",), drawn, drawn, np.zeros((2, 20))).space(model)
    ensemble = sd.sweep(model, space.sample(40), progress=False)
    np.testing.assert_array_equal(np.sort(ensemble.draws["initial trust"]), np.sort(drawn.ravel()))


def test_leave_one_out_of_a_normal_mean():
    rng = np.random.default_rng(3)
    figures = rng.standard_normal(12)
    n = figures.size
    mean = figures.mean() + noise(4, 1000, seed=8) / np.sqrt(n)  # the posterior under a flat prior, unit noise
    density = -0.5 * (figures - mean[:, :, None]) ** 2 - 0.5 * np.log(2 * np.pi)
    loo = made(mean).loo(density)
    rest = (figures.sum() - figures) / (n - 1)
    spread = 1.0 + 1.0 / (n - 1)
    exact = -0.5 * (figures - rest) ** 2 / spread - 0.5 * np.log(2 * np.pi * spread)
    np.testing.assert_allclose(loo.by_figure, exact, atol=0.05)
    np.testing.assert_allclose(loo.elpd, exact.sum(), atol=0.1)
    seen = -0.5 * (figures - figures.mean()) ** 2 / (1 + 1 / n) - 0.5 * np.log(2 * np.pi * (1 + 1 / n))
    np.testing.assert_allclose(loo.effective, (seen - exact).sum(), atol=0.1)
    assert loo.verdicts[0].good
    figures[4] = 12.0
    odd = -0.5 * (figures - mean[:, :, None]) ** 2 * np.where(np.arange(n) == 4, 40.0, 1.0)
    told = made(mean).loo(odd, labels=[f"firms {2000 + k}" for k in range(n)]).verdicts[0]
    assert not told.good and told.text.startswith("Leaving out 'firms 2004' would move")
    same_by_rows = made(mean).loo(density.reshape(-1, n))
    np.testing.assert_array_equal(same_by_rows.by_figure, loo.by_figure)
    with pytest.raises(FitError, match=r"shape \(4, 999, 12\) do not fit 4 chains of 1000 draws"):
        made(mean).loo(density[:, 1:])
    with pytest.raises(FitError, match="and 2 labels"):
        made(mean).loo(density, labels=["a", "b"])
    with pytest.raises(FitError, match="log density of a figure is not finite"):
        made(mean).loo(np.where(density < density.max(), density, -np.inf))


# --- history


def test_history_keeps_floats_bit_for_bit(tmp_path):
    record = {"payoff": 0.1 + 0.2, "end": np.array([1 / 3, np.nan, -np.inf, 5e-324]), "outcome": "über", "runs": 3}
    history = History(tmp_path, {"seed": 1, "low": np.float64(0.1)})
    history.keep("start 0", record)
    again = History(tmp_path, {"low": 0.1, "seed": 1})
    assert list(again) == ["start 0"] and len(again) == 1 and again.kept("start 1") is None
    kept = again.kept("start 0")
    assert kept["payoff"] == record["payoff"] and kept["outcome"] == "über"
    np.testing.assert_array_equal(np.array(kept["end"]), record["end"])
    assert str(history.kept("start 0")) == str(kept)
    with pytest.raises(FitError, match="keeps 'start 0' already"):
        again.keep("start 0", record)
    with pytest.raises(FitError, match="'start 2' cannot be kept"):
        again.keep("start 2", {"model": object()})
    assert len(History(tmp_path, {"seed": 1, "low": 0.1})) == 1


def test_history_drops_a_torn_last_line_wherever_it_is_torn(tmp_path):
    history = History(tmp_path, {"seed": 1})
    history.keep("a", [1.5])
    before = history.path.read_bytes()
    history.keep("b", [2.5])
    whole = history.path.read_bytes()
    for end in range(len(whole) + 1):
        history.path.write_bytes(whole[:end])
        read = History(tmp_path, {"seed": 1})
        assert list(read) == (["a", "b"] if end == len(whole) else ["a"] if end >= len(before) else [])
        if "b" not in read:
            read.keep("b", [2.5])
            assert History(tmp_path, {"seed": 1}).kept("b") == [2.5]


def test_history_refuses_what_is_not_its_own(tmp_path):
    path = History(tmp_path, {"seed": 1, "place": list(range(40))}).path
    with pytest.raises(FitError, match=r"other settings: place was \[0, 1.*\.\.\., now null; seed was 1, now 2\."):
        History(tmp_path, {"seed": 2})
    path.write_bytes(path.read_bytes() + b"{torn}\n" + b'["a", 1]\n')
    with pytest.raises(FitError, match="line 2 is damaged"):
        History(tmp_path, {"seed": 1, "place": list(range(40))})
    path.write_bytes(b"year,firms\n1980,3\n")
    with pytest.raises(FitError, match="is no history of this version"):
        History(tmp_path, {"seed": 1})


def test_a_tape_never_changes_a_number(tmp_path):
    path, asked = tmp_path / "a.tape", []

    def judge(place):
        asked.append(place.copy())
        return float(place.sum()), 2.0 * place

    places = noise(5, 2)
    with Tape(path, judge, 2) as tape:
        first = [tape(place) for place in places]
    path.write_bytes(path.read_bytes() + b"torn")
    with Tape(path, judge, 2) as tape:
        played = [tape(place) for place in places]
    assert len(asked) == 5
    for (density, slope), (other, others) in zip(first, played, strict=True):
        assert density == other
        np.testing.assert_array_equal(slope, others)
    with Tape(path, judge, 2) as tape:  # another run from the third evaluation on
        for place in [*places[:2], *-places[2:]]:
            assert tape(place)[0] == place.sum()
    assert len(asked) == 8 and path.stat().st_size == 5 * 5 * 8


# --- kill -9

CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import numpy as np
from calibration.history import History
from test_posterior import Gaussian, SHORT, sample

class Slow(Gaussian):
    def log_density(self, place):
        time.sleep(0.001)
        return super().log_density(place)

def records(folder):
    history = History(folder, {{"seed": 1}})
    for k in range(1000):
        if history.kept(str(k)) is None:
            history.keep(str(k), np.random.default_rng(k).standard_normal(200))

def chains(folder, method, workers):
    target = Slow()
    sample(target, method=method, folder=folder, start=target.mean, **{{**SHORT, "workers": workers}})

if {warm}:
    from calibration.chains import quiet_arviz
    quiet_arviz()
    import nutpie
print("ready", flush=True)
{call}
"""


def killed_until_done(call, random, most):
    """Run a script again and again, killed at random moments; how many kills it took."""
    script = CHILD.format(tests=str(Path(__file__).parent), call=call, warm="nuts" in call)
    for kills in range(30):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdout.readline()
        try:
            child.wait(random.uniform(0.0, most))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        _, err = child.communicate()
        if child.returncode == 0:
            return kills
        assert child.returncode == -signal.SIGKILL, err.decode()
    raise AssertionError("never done in 30 tries")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_history_outlives_kills(tmp_path):
    assert killed_until_done(f"records({str(tmp_path)!r})", np.random.default_rng(1), 1.0) > 0
    history = History(tmp_path, {"seed": 1})
    assert list(history) == [str(k) for k in range(1000)]
    for k in range(1000):
        np.testing.assert_array_equal(history.kept(str(k)), np.random.default_rng(k).standard_normal(200))


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize(
    ("method", "workers"),
    [
        pytest.param("nuts", 1, marks=pytest.mark.slow),
        pytest.param("ensemble", 1, marks=pytest.mark.exhaustive),
        pytest.param("ensemble", 2, marks=pytest.mark.slow),
    ],
)
def test_chains_outlive_kills(tmp_path, method, workers):
    """Workers of a killed process end by themselves, perhaps while the next ones are writing already."""
    target = Gaussian()
    most = 3.0 if workers == 1 else 12.0
    kills = killed_until_done(f"chains({str(tmp_path)!r}, {method!r}, {workers})", np.random.default_rng(2), most)
    assert kills > 0 or workers > 1
    chosen = {**SHORT, "method": method, "start": target.mean}
    same(sample(target, **chosen), sample(target, folder=tmp_path, **chosen))


@pytest.mark.slow
def test_the_daily_notice_of_arviz_is_not_an_error(tmp_path):
    script = "from calibration.chains import quiet_arviz; quiet_arviz(); import nutpie"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, env=env)


def test_quiet_arviz_gives_arviz():
    assert quiet_arviz().__name__ == "arviz"
