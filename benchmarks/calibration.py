"""How long does a fit take, per gradient and per start, against finite differences on the same kernel and in PySD?

Fits the shipped model to the Hsinchu Science Park (firms, employees, revenue) with eight free parameters and three
noise scales from many starts. Two ways to a gradient are compared on the same places, in turn: ours (forward
sensitivities), and forward differences of the same compiled kernel; then whole searches: ours, and SciPy's BFGS with
forward differences on the same kernel, from the same starts. PySD runs the same model by Euler's method, at the
model's own step and at the fit's; its gradient by differences is extrapolated from a few runs. Run `python
benchmarks/calibration.py`; with `--posterior` also the time of four chains of a thousand draws.
"""

import sys
import time
import warnings

import numpy as np

sys.path.append(sys.path.pop(0))  # this script bears the name of the package that it asks about

from timing import in_turn

import calibration as cal
import sd_cluster as sd
from calibration.optimisation import search_from, start_points
from calibration.searches import TrustRegion
from calibration.study import Study
from sd_cluster import library

STARTS, COMPARED, REPEATS = 100, 12, 51


def main() -> None:
    misfit = question()
    place = misfit.start
    n = len(place)
    print(f"{n} unknowns, {sum(len(one.years) for one in misfit.likelihoods[0].series.values())} figures")
    misfit.payoff_and_gradient(place)

    def moved(k: int) -> np.ndarray:
        return place + 1e-7 * k

    count = iter(range(10**9))
    seconds = in_turn(
        [
            lambda: misfit.payoff(moved(next(count))),
            lambda: misfit.payoff_and_gradient(moved(next(count))),
            lambda: forward_differences(misfit, moved(next(count))),
        ],
        REPEATS,
    )
    run, ours, differences = 1e3 * np.median(seconds, axis=0)
    ratio = np.median(seconds[:, 2] / seconds[:, 1])
    print(f"a payoff {run:.2f} ms; with its gradient {ours:.2f} ms; by {n} forward differences {differences:.1f} ms")
    print(f"the gradient by forward sensitivities takes 1/{ratio:.1f} of the time of forward differences")
    starts(misfit)
    pysd_gradient(misfit, ours)
    if "--posterior" in sys.argv:
        posterior(misfit)


def question() -> cal.Misfit:
    """The misfit of the Hsinchu Science Park with all that the study leaves open."""
    study = Study()
    return cal.Misfit(
        sd.load(study.model), sd.Space({**study.free, **study.doubtful}), study.measurement(),
        cal.read_dataset(study.region), scenario=sd.Scenario("base", study.fixed), horizon=(study.start, 2025.0),
    )  # fmt: skip


def forward_differences(misfit: cal.Misfit, place: np.ndarray, step: float = 1e-6) -> np.ndarray:
    here = misfit.payoff(place)
    return np.array([(misfit.payoff(place + step * axis) - here) / step for axis in np.eye(len(place))])


def starts(misfit: cal.Misfit) -> None:
    """Time of a start, ours and SciPy's with differences, and how many end at the best."""
    from scipy.optimize import minimize

    begin = time.perf_counter()
    fit = cal.minimise(misfit, starts=STARTS, seed=7, workers=1, progress=False)
    whole = time.perf_counter() - begin
    runs = sum(one.runs for one in fit.starts)
    payoffs = np.array([one.payoff for one in fit.starts])
    near = int(np.sum(payoffs <= fit.payoff + 1.92))
    print(
        f"\n{STARTS} starts: {whole:.1f} s on one core, {1e3 * whole / STARTS:.0f} ms, {runs / STARTS:.0f} runs each;"
    )
    print(f"{near} end within 1.92 of the best, {int(np.sum(payoffs <= fit.payoff + 1e-3))} within 0.001")
    ratios, ended = [], []
    for number, origin in enumerate(start_points(misfit, STARTS, 7)[:COMPARED]):
        begin = time.perf_counter()
        own = search_from(misfit, TrustRegion(), 7, number, origin)
        middle = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            other = minimize(lambda place: safe(misfit, place), origin, method="BFGS", options={"maxiter": 2000})
        ratios.append((time.perf_counter() - middle) / (middle - begin))
        ended.append((own.payoff, float(other.fun)))
    better = sum(own <= theirs + 1e-3 for own, theirs in ended)
    print(f"SciPy's BFGS with forward differences on the same kernel: {np.median(ratios):.1f} times as long per start")
    print(f"(medians of {COMPARED}; quartiles {np.quantile(ratios, 0.25):.1f} to {np.quantile(ratios, 0.75):.1f});")
    print(f"ours ends as low or lower in {better} of {COMPARED}")


def safe(misfit: cal.Misfit, place: np.ndarray) -> float:
    try:
        return misfit.payoff(place)
    except sd.SimulationError:
        return 1e6


def pysd_gradient(misfit: cal.Misfit, ours: float) -> None:
    """A gradient by forward differences in PySD, from the time of its runs."""
    try:
        import pysd
    except ImportError:
        print("\nPySD is not installed and was left out")
        return
    import shutil
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "collective_learning.mdl"
        shutil.copy(library.path("collective_learning"), path)
        model = pysd.read_vensim(str(path))
        horizon = misfit.likelihoods[0].horizon
        outputs = ["member_firms", "talent_pool", "revenue"]
        own_step = float(model["time_step"])
        seconds = in_turn(
            [
                lambda step=step: model.run(
                    params={"entry_potential": 60.0}, initial_condition=(horizon.start, {}), final_time=horizon.end,
                    time_step=step, return_columns=outputs,
                    return_timestamps=np.arange(horizon.start, horizon.end + 1),
                )
                for step in (own_step, horizon.step)
            ],
            5,
        )  # fmt: skip
    print("\nPySD, a gradient by forward differences (extrapolated from 5 runs by Euler's method):")
    for step, one in zip((own_step, horizon.step), np.median(seconds, axis=0), strict=True):
        gradient = one * (1 + len(misfit.likelihoods[0].free))
        print(
            f"step {step:g}: a run {one:.3f} s, a gradient {gradient:.2f} s, {1e3 * gradient / ours:,.0f} times as long"
        )
    print(f"the model's own step is {own_step:g}; the fit runs by Runge-Kutta's method with steps of {horizon.step:g}")


def posterior(misfit: cal.Misfit) -> None:
    """Four chains of a thousand draws."""
    fit = cal.minimise(misfit, starts=8, seed=7, workers=1, progress=False)
    begin = time.perf_counter()
    found = cal.sample_posterior(misfit, start=fit.place, chains=4, draws=1000, tune=1000, seed=1, progress=False)
    print(f"\n4 chains of 1,000 draws after 1,000 of tuning: {time.perf_counter() - begin:.0f} s on all cores")
    print(found)


if __name__ == "__main__":
    main()
