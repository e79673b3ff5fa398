"""Profiles: intervals against closed forms, what they say in words, and that they outlive a kill -9."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from landscapes import RATE, Pooled, Toy, linear, powers
from scipy.optimize import brentq, minimize_scalar
from support import assert_close
from test_worth import growths

from calibration.identifiability import identify
from calibration.likelihood import Likelihood
from calibration.objective import Objective
from calibration.pinned import Pinned
from calibration.posterior import sample_posterior
from calibration.priors import LogNormal, Normal, Uniform
from calibration.profiles import profile, profiles
from calibration.walking import TOLERANCE
from sd_cluster.errors import FitError, SimulationError

CUTS = {0.9: 1.6448536269514722, 0.95: 1.959963984540054, 0.99: 2.5758293035489004}
"""Of the standard normal: its square is the quantile of chi-squared with one degree of freedom."""
MATRIX = np.array([[1.0, 0.5], [0.3, 1.0]])
ENDS = "ends are found to 0.002 prior spreads"


def quiet(toy, name, place=None, **more):
    where = np.zeros(len(toy.names)) if place is None else np.asarray(place, dtype=float)
    return profile(toy, name, where, progress=False, **more)


def same(one, other):
    assert one.names == other.names and one.sides == other.sides
    assert (one.low, one.high, one.gained) == (other.low, other.high, other.gained)
    for name in ("coordinates", "payoffs", "misfits", "slopes", "places", "values"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def wells():
    """Two optima of x, the right one better."""
    return Toy(
        {"x": Normal(0.0, 2.0, source="toy"), "y": Normal(0.0, 1.0, source="toy")},
        lambda v: (np.array([v[0] ** 2 - 1 + v[1], 0.5 * v[0], v[1]]), np.array([[2 * v[0], 1], [0.5, 0], [0, 1]])),
        np.array([0.0, 0.5, 0.0]), 0.6,
    )  # fmt: skip


# --- what is known exactly


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_a_linear_model_has_the_textbook_interval(level):
    toy = linear(MATRIX, 0.5, truth=[0.5, -0.3])
    information = MATRIX.T @ MATRIX / 0.25
    for priors, added in ((True, np.eye(2)), (False, np.zeros((2, 2)))):
        covariance = np.linalg.inv(information + added)
        middle = covariance @ information @ [0.5, -0.3]
        found = quiet(toy, "x0", middle, level=level, priors=priors)
        reach = CUTS[level] * np.sqrt(covariance[0, 0])
        assert_close(found.interval, middle[0] + np.array([-reach, reach]), 0, 2 * TOLERANCE, because=ENDS)
        assert_close(found.cut, 0.5 * CUTS[level] ** 2, 1e-10, because="quantile of chi-squared")
        along = (found.coordinates - middle[0]) / np.sqrt(covariance[0, 0])
        assert_close(found.rises, 0.5 * along**2, 0, 1e-4, because="searches end within 5e-5 of their optimum")
        assert_close(found.slopes, along / np.sqrt(covariance[0, 0]), 0, 1e-2, because="the same, as a slope")
        path = middle[1] + covariance[0, 1] / covariance[0, 0] * (found.coordinates - middle[0])
        assert_close(found.values[:, 1], path, 0, 1e-2, because="regression on the pinned unknown; the same")


def test_a_lopsided_interval_of_one_unknown():
    """A half-life seen in one figure: the ends are where the payoff, written out, crosses the cut-off."""
    prior = Uniform(0.0, 40.0, source="toy")
    toy = Toy({"life": prior}, lambda v: (np.exp(-3.0 / v), np.array([[3.0 / v[0] ** 2 * np.exp(-3.0 / v[0])]])),
              np.exp([-3.0 / 5.0]), 0.1)  # fmt: skip
    found = quiet(toy, "life", prior.place([5.0]))

    def over(life):
        return 0.5 * ((np.exp(-3.0 / life) - np.exp(-0.6)) / 0.1) ** 2 - found.cut

    assert_close(found.interval, [brentq(over, 0.5, 5.0), brentq(over, 5.0, 40.0)], 3e-3, because=ENDS)
    assert found.value == pytest.approx(5.0) and found.high - 5.0 > 1.5 * (5.0 - found.low)
    assert found.good and found.compensation == "No other unknown makes up for it."


def test_a_bent_valley_is_followed():
    """Rosenbrock's valley, y near x squared: profiles by a search over the other unknown alone."""
    priors = {"x": Normal(0.0, 1.0, source="toy"), "y": Normal(0.0, 3.0, source="toy")}
    toy = Toy(priors, lambda v: (np.array([v[0], 10 * (v[1] - v[0] ** 2)]), np.array([[1, 0], [-20 * v[0], 10.0]])),
              np.array([0.7, 0.0]), 1.0)  # fmt: skip
    found = quiet(toy, "y", [0.3, 0.0], priors=False)

    def least(y):
        def payoff(x):
            return 0.5 * ((x - 0.7) ** 2 + 100 * (y - x**2) ** 2)

        spans = ((-3, 0), (0, 3))
        return min(
            minimize_scalar(payoff, bounds=span, method="bounded", options={"xatol": 1e-9}).fun for span in spans
        )

    for value, rise in zip(found.values[:, 1], found.rises, strict=True):
        assert rise == pytest.approx(least(value), abs=2e-4)
    assert_close(found.high, brentq(lambda y: least(y) - found.cut, 0.5, 8.0), 0, 3 * 2 * TOLERANCE, because=ENDS)


def test_pinning_a_pooled_unknown_follows_mean_and_spread():
    priors = {"mean of rate": RATE, "spread of rate": LogNormal(0.5, 4.0, source="toy")}
    priors |= {f"rate [{region}]": Normal(0.0, 1.0, source="toy") for region in "AB"}
    toy = Pooled(priors, lambda v: (v[2:], np.eye(4)[2:]), np.array([0.2, 0.3]), 0.02)
    pinned = Pinned(toy, "rate [A]")
    others, x = np.array([0.1, -0.3, 0.6]), 0.4

    def payoff(free):
        return toy.payoff(pinned.place_of(x, free))

    place = pinned.place_of(x, others)
    assert toy.values(place)[2] == pytest.approx(float(RATE.value(x)))
    along, moves = pinned.moves(place)
    gradient = toy.payoff_and_gradient(place)[1]
    differences = [(payoff(others + step) - payoff(others - step)) / 2e-6 for step in 1e-6 * np.eye(3)]
    assert_close(moves.T @ gradient, differences, 1e-6, 1e-6, because="central differences")
    ahead = [toy.payoff(pinned.place_of(x + side * 1e-6, others)) for side in (1, -1)]
    assert_close(along @ gradient, (ahead[0] - ahead[1]) / 2e-6, 1e-6, because="central differences")
    found = quiet(toy, "rate [A]")
    # the figure is the rate itself, with an error of 0.02, far better than what mean and spread say
    reach = CUTS[0.95] * 0.02
    assert_close(found.interval, [0.2 - reach, 0.2 + reach], 0.03, because="the priors pull by some per cent")


@pytest.mark.slow
def test_an_unknown_pooled_over_real_regions():
    """Its value is what is pinned, whatever mean and spread of the regions are."""
    one = growths().likelihoods[0]
    other = Likelihood(
        one.model, replace(one.dataset, region="q"), one.measurement, one.free, noise=one.noise, region="q"
    )
    priors = {name: LogNormal(value, 3.0, source="toy") for name, value in zip(one.free, (0.2, 0.5, 10.0), strict=True)}
    objective = Objective([one, other], priors, pooled=["transfer rate"])
    name = "transfer rate [q]"
    pinned, row = Pinned(objective, name), objective.names.index(name)
    place = objective.start + np.linspace(-0.3, 0.4, len(objective.names))
    assert pinned.place_of(pinned.coordinate(place), np.delete(place, row)) == pytest.approx(place)
    moved = pinned.place_of(0.7, np.delete(place, row))
    assert objective.values(moved)[row] == pytest.approx(float(priors["transfer rate"].value(0.7)))
    found = profile(objective, name, objective.start, level=0.9, points=3, progress=False)
    assert found.low < 0.2 < found.high and found.finished
    assert identify(objective, objective.start).relative.all()


def decays(twins):
    """Twins of two rates, the truth of all: a noisy curve of eight figures each."""
    years = np.arange(1.0, 9.0)

    def formula(v):
        curve = v[1] * np.exp(-v[0] * years)
        return curve, np.column_stack([-years * curve, curve / v[1]])

    truth = np.array([0.3, 1.0])
    priors = {"decay": Uniform(0.0, 2.0, source="toy"), "start": Uniform(0.0, 5.0, source="toy")}
    for seed in range(twins):
        figures = formula(truth)[0] + 0.05 * np.random.default_rng(seed).standard_normal(years.size)
        yield Toy(priors, formula, figures, 0.05), truth


def test_intervals_cover_the_truth():
    """Two rates from noisy decay curves: 90 % intervals hold the truth in about nine of ten twins."""
    inside = 0
    for toy, truth in decays(60):
        for name, true in zip(toy.names, truth, strict=True):
            low, high = quiet(toy, name, toy.place(truth), level=0.9, points=3).interval
            inside += low <= true <= high
    assert 0.83 <= inside / 120 <= 0.97, inside  # 2.5 standard errors of 120 trials that are not quite independent


@pytest.mark.slow
def test_intervals_of_posteriors_cover_the_truth():
    """The same twins by NUTS: 90 % of the draws hold the truth in about nine of ten."""
    inside = 0
    for toy, truth in decays(60):
        settings = {"chains": 2, "draws": 200, "tune": 150, "seed": 1, "workers": 1, "progress": False}
        drawn = sample_posterior(toy, start=toy.place(truth), **settings)
        for name, true in zip(toy.names, truth, strict=True):
            low, high = drawn.interval(name, 0.9)
            inside += low <= true <= high
    assert 0.83 <= inside / 120 <= 0.97, inside  # as above


# --- what is told


def test_a_product_is_structurally_flat_and_said_so():
    found = quiet(powers([[1, 1]], sigma=0.002), "transfer rate", priors=False)
    assert found.sides == ("flat", "flat") and not found.good
    assert found.verdict.startswith("'transfer rate' is structurally flat")
    assert found.sentences[1] == "'obsolescence' makes up for it: their product stays near 0.04."
    assert found.interval == (0.0, np.inf)


def test_a_ratio_held_by_the_priors_alone():
    found = quiet(powers([[1, -1]], sigma=0.01), "transfer rate")
    assert found.sides == ("prior", "prior")
    assert "by the priors rather than by the data" in found.verdict
    assert "their ratio stays near 1" in found.compensation
    # along the ratio both move together: two priors, each of the same width, hold half as much as one
    wide = np.log(3.0) / 1.6448536269514722 * CUTS[0.95] / np.sqrt(2.0)
    assert_close(np.log(found.interval), np.log(0.2) + np.array([-wide, wide]), 0, 3 * TOLERANCE, because=ENDS)


def test_flat_to_the_right():
    """A process that is over when first seen: any faster rate would do."""
    years = np.array([2.0, 4.0, 6.0])

    def formula(v):
        return 1 - np.exp(-v[0] * years), (years * np.exp(-v[0] * years))[:, None]

    toy = Toy({"rate": Uniform(0.0, 20.0, source="toy")}, formula, np.ones(3), 0.05)
    found = quiet(toy, "rate", [0.0])
    assert found.sides == ("bounded", "flat")
    assert found.high == 20.0 and 0.7 < found.low < 1.5
    assert "and flat to the right: practically non-identifiable there" in found.verdict


def test_flat_to_both_sides_but_not_quite():
    toy = linear([[0.2, 0.0]], priors={name: Uniform(-1.0, 1.0, source="toy") for name in ("x0", "x1")})
    assert "flat to both sides, from -0.998 to 0.998: practically" in quiet(toy, "x0").verdict
    assert "structurally flat" in quiet(toy, "x1").verdict


def test_a_better_optimum_is_told_and_the_profile_taken_around_it():
    toy = wells()
    found = quiet(toy, "x", [-0.4, 0.0], level=0.99)
    best = quiet(toy, "x", [0.5, 0.0], level=0.99)
    assert found.gained > 0.3 and not found.good
    assert f"Another optimum, better by {found.gained:.2g}, was found: fit again from it." in found.sentences
    assert_close(found.place, best.place, 0, 0.02, because="both are the right-hand optimum")
    assert_close(found.interval, best.interval, 0, 0.02, because="the same, and ends to 0.002 spreads of 2")
    assert best.gained < 0.1 and found.value > 0.0


def test_where_runs_fail_is_a_cliff():
    class Wall(Toy):
        def payoff_and_gradient(self, place):
            if self.values(place)[0] > 1.2:
                raise SimulationError("knowledge blew up in 1999")
            return super().payoff_and_gradient(place)

        def information(self, place, **more):
            if self.values(place)[0] > 1.2:
                raise SimulationError("knowledge blew up in 1999")
            return super().information(place, **more)

    priors = {name: Normal(0.0, 1.0, source="toy") for name in "xy"}
    toy = Wall(priors, lambda v: (v, np.eye(2)), np.array([1.0, 1.0]), 0.5)
    found = quiet(toy, "x", [0.8, 0.8])
    assert found.sides == ("bounded", "cliff") and found.high == pytest.approx(1.2, abs=2 * TOLERANCE)
    assert "no run is possible: that end is the model's, not the data's" in found.verdict
    assert np.isinf(found.payoffs).any() and np.isfinite(found.curve()[1]).all()
    with pytest.raises(FitError, match="the place cannot be run"):
        quiet(toy, "x", [2.0, 0.0])


def test_silent_unknowns_do_not_run_away():
    """Without a wall they drifted to 1e18, where the model cannot be run."""
    found = quiet(powers([[1, 1, 1]], tuple("abc"), sigma=0.002), "a", priors=False)
    assert (np.abs(found.places[:, 1:]) < 3.3).all()


def test_an_optimum_at_the_end_of_its_range():
    toy = linear([[1.0]], 0.3, truth=[2.0], priors={"x0": Uniform(-1.0, 1.0, source="toy")})
    found = quiet(toy, "x0", [6.0])
    assert found.sides[1] == "flat" and found.high == 1.0 and found.low < 1.0
    assert found.sides[0] == "bounded"


def test_tables_and_curves():
    found = quiet(linear(MATRIX, 0.5), "x0")
    values, rises = found.curve(50)
    spread = np.linalg.inv(MATRIX.T @ MATRIX / 0.25 + np.eye(2))[0, 0]
    assert_close(rises, 0.5 * values**2 / spread, 0, 2e-3, because="a parabola through points and slopes")
    assert list(found.frame().columns) == ["payoff", "rise", "misfit", "x0", "x1"]
    assert str(found).startswith("'x0' ")


def test_a_fit_brings_its_place():
    toy = linear(MATRIX, 0.5)
    same(profile(SimpleNamespace(objective=toy, place=np.zeros(2)), "x1", progress=False), quiet(toy, "x1"))


# --- interrupted and resumed


class Stops(Exception):
    """Stands for a kill."""


def stopping(toy, after, error):
    """The same landscape, which stops after so many evaluations."""
    left = iter(range(after))
    judge = toy.payoff_and_gradient

    def stopped(place):
        if next(left, None) is None:
            raise error
        return judge(place)

    toy.payoff_and_gradient = stopped
    return toy


@pytest.mark.parametrize("after", [12, 20, 33, 47])
def test_a_killed_profile_goes_on_to_the_same_numbers(after, tmp_path):
    whole = quiet(wells(), "x", [-0.4, 0.0], folder=tmp_path / "whole")
    with pytest.raises(Stops):
        quiet(stopping(wells(), after, Stops()), "x", [-0.4, 0.0], folder=tmp_path / "killed")
    (path,) = (tmp_path / "killed").iterdir()
    path.write_bytes(path.read_bytes() + b'["0 torn", {"x": 0.')
    toy = wells()
    same(quiet(toy, "x", [-0.4, 0.0], folder=tmp_path / "killed"), whole)
    fresh = wells()
    same(quiet(fresh, "x", [-0.4, 0.0]), whole)
    assert toy.calls < fresh.calls
    again = wells()
    same(quiet(again, "x", [-0.4, 0.0], folder=tmp_path / "killed"), whole)
    assert again.calls < 10  # only what the steps are laid by


def test_ctrl_c_keeps_what_is_done(tmp_path):
    toy = stopping(linear(MATRIX, 0.5), 25, KeyboardInterrupt())
    found = quiet(toy, "x0", folder=tmp_path)
    assert not found.finished and "unknown" in found.sides and len(found.payoffs) > 2
    assert "The profile was interrupted: it is not known on both sides." in found.sentences
    same(quiet(linear(MATRIX, 0.5), "x0", folder=tmp_path), quiet(linear(MATRIX, 0.5), "x0"))
    with pytest.raises(KeyboardInterrupt):
        quiet(stopping(linear(MATRIX, 0.5), 1, KeyboardInterrupt()), "x0")


def test_ctrl_c_keeps_profiles_that_are_done():
    whole = linear(MATRIX, 0.5)
    first = quiet(whole, "x0")
    toy = stopping(linear(MATRIX, 0.5), whole.calls + 8, KeyboardInterrupt())
    found = profiles(toy, place=np.zeros(2), workers=1, progress=False)
    assert list(found) == ["x0"]
    same(found["x0"], first)


def test_a_folder_of_another_place_is_refused(tmp_path):
    toy = linear(MATRIX, 0.5)
    quiet(toy, "x0", folder=tmp_path)
    quiet(toy, "x0", folder=tmp_path, level=0.9)
    quiet(toy, "x0", folder=tmp_path, priors=False)
    quiet(toy, "x1", folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(FitError, match=r"made with other settings: .*place was \[0.0, 0.0\], now \[0.1, 0.0\]"):
        quiet(toy, "x0", [0.1, 0.0], folder=tmp_path)


KILLED = """
import sys, os, signal
sys.path.insert(0, {tests!r})
from test_profiles import wells, quiet, stopping
class Killed(Exception):
    def __init__(self): os.kill(os.getpid(), signal.SIGKILL)
toy = wells()
judge, left = toy.payoff_and_gradient, iter(range({after}))
def killed(place):
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return judge(place)
toy.payoff_and_gradient = killed
quiet(toy, "x", [-0.4, 0.0], folder={folder!r})
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", np.random.default_rng(4).integers(2, 60, 10).tolist())
def test_kill_9_at_random_moments(after, tmp_path):
    script = KILLED.format(tests=str(Path(__file__).parent), after=after, folder=str(tmp_path / "killed"))
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -9
    same(quiet(wells(), "x", [-0.4, 0.0], folder=tmp_path / "killed"), quiet(wells(), "x", [-0.4, 0.0]))


def test_the_numbers_do_not_hang_on_the_workers():
    alone = profiles(RIDGE, place=np.zeros(2), workers=1, progress=False)
    together = profiles(RIDGE, place=np.zeros(2), workers=2, progress=False)
    assert list(alone) == list(together) == list(RIDGE.names)
    for name, one in alone.items():
        same(one, together[name])


def test_a_few_seconds_of_work_stay_in_this_process():
    found = profiles(RIDGE, ["y", "x", "y"], np.zeros(2), progress=False, points=3)
    assert list(found) == ["y", "x"]


class Ridge(Toy):
    """A toy that another process can be sent: its formula is a method."""

    def __init__(self):
        super().__init__({name: Normal(0.0, 1.0, source="toy") for name in "xy"}, self.ridge, np.array([0.5, 0.2]), 0.4)

    def ridge(self, v):
        return np.array([v[0] * v[1], v[0] + v[1]]), np.array([[v[1], v[0]], [1.0, 1.0]])


RIDGE = Ridge()


# --- faults


def test_what_cannot_be_profiled():
    toy = powers([[1, 1]])
    with pytest.raises(FitError, match=r"'transfer rat' is not among the unknowns \(did you mean 'transfer rate'\?\)"):
        quiet(toy, "transfer rat")
    with pytest.raises(FitError, match="level=95; expected a share between 0 and 1"):
        quiet(toy, "obsolescence", level=95)
    with pytest.raises(FitError, match="points=1; expected a whole number of at least 2"):
        quiet(toy, "obsolescence", points=1)
    with pytest.raises(FitError, match="needs the place of its optimum"):
        profile(toy, "obsolescence")
    with pytest.raises(FitError, match="workers=0"):
        profiles(toy, place=np.zeros(2), workers=0)
    with pytest.raises(FitError, match="'forgetting' is not among"):
        profiles(toy, ["forgetting"], np.zeros(2))
