"""Do 90 % intervals hold the truth in 90 of 100 regions? Profiles and posteriors of synthetic regions of known truth.

Fifty regions of the shipped model are made up: five parameters drawn from their priors, figures of firms, employees
and revenue (its factor unknown) with the noise and the gaps of real series: employees every second year, firms with a
third of the years missing, noise of 4, 6 and 10 %, unknown to the fit. Each is fitted, and the share of the 90 %
intervals that hold the truth is printed for each parameter, for profiles and for posteriors (two chains of NUTS).
Truths come from the priors that the fit knows, so that their ranks among the draws should be spread evenly as well. Run
`python benchmarks/intervals.py`; `--regions N` for another number, `--first K` for other regions, `--workers 1` for one
process, `--out FILE` to keep a line of JSON for each region.
"""

import json
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

sys.path.append(sys.path.pop(0))  # a script beside this one bears the name of the package

import calibration as cal
import sd_cluster as sd
from calibration.dataset import Dataset
from calibration.objective import Objective
from calibration.profiles import profiles
from calibration.workers import run_together

FREE = {
    "entry potential": cal.LogNormal(60.0, 1.8),
    "land limit": cal.LogNormal(600.0, 1.6),
    "jobs of a leading firm": cal.LogNormal(500.0, 1.5),
    "hiring rate": cal.LogNormal(0.3, 1.6),
    "initial trust": cal.LogitNormal(0.6, 0.75),
}
NOISE = {"firms": 0.04, "employees": 0.06, "revenue": 0.10}
YEARS = np.arange(1985, 2026)


def main() -> None:
    asked = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    count, first, hands = (
        int(asked.get(key, usual)) for key, usual in (("--regions", 50), ("--first", 0), ("--workers", 2))
    )
    begin, found = time.perf_counter(), []
    for one in run_together(one_region, None, [(seed,) for seed in range(first, first + count)], hands):
        found.append(one)
        if "--out" in asked:
            with open(asked["--out"], "a", encoding="utf-8") as out:
                print(json.dumps(one), file=out)
    names = list(FREE)
    print(f"{count} regions, {time.perf_counter() - begin:.0f} s on {hands} processes")
    print(f"{'90 % intervals that hold the truth':36}{'profile':>10}{'posterior':>12}{'R-hat > 1.01':>14}")
    shares = np.array([[one[kind][name] for name in names] for one in found for kind in ("profile", "posterior")])
    shares = shares.reshape(count, 2, len(names))
    for k, name in enumerate(names):
        print(f"{name:36}{100 * shares[:, 0, k].mean():8.0f} %{100 * shares[:, 1, k].mean():10.0f} %")
    apart = sum(one["apart"] for one in found)
    print(f"{'all':36}{100 * shares[:, 0].mean():8.1f} %{100 * shares[:, 1].mean():10.1f} %{apart:14}")
    ranks = np.array([[one["rank"][name] for name in names] for one in found])
    fifths = np.histogram(ranks, bins=5, range=(0.0, 1.0))[0] / ranks.size
    print("truths in each fifth of the draws: " + ", ".join(f"{100 * share:.0f} %" for share in fifths))
    print(f"largest R-hat {max(one['r_hat'] for one in found):.3f}, fewest effective draws ", end="")
    print(f"{min(one['ess'] for one in found):.0f}")


def objective_of(seed: int) -> tuple[Objective, dict[str, float]]:
    """A made-up region, and the truth behind it."""
    model = sd.load("collective_learning")
    rng = np.random.default_rng([20, seed])
    truth = {name: float(prior.quantile(rng.uniform())) for name, prior in FREE.items()}
    run = sd.simulate(model, sd.Scenario("truth", truth), solver=sd.RungeKutta4(), save=1.0)
    read = {"firms": "member firms", "employees": "talent pool", "revenue": "revenue"}
    rows = []
    for series, variable in read.items():
        kept = YEARS[::2] if series == "employees" else YEARS
        kept = kept[rng.uniform(size=len(kept)) > 1 / 3] if series == "firms" else kept
        factor = 3.7 if series == "revenue" else 1.0
        values = np.interp(kept, run.times, run[variable]) * factor * np.exp(NOISE[series] * rng.normal(size=len(kept)))
        rows += [
            {"region": f"made up {seed}", "year": int(year), "indicator": series, "value": value, "unit": "as made",
             "source": "made up"}
            for year, value in zip(kept, values, strict=True)
        ]  # fmt: skip
    import pandas as pd

    data: Dataset = cal.read_dataset(pd.DataFrame(rows))
    gauges = cal.Measurement({name: cal.Level(variable, scale=name == "revenue") for name, variable in read.items()})
    return Objective(cal.Likelihood(model, data, gauges, list(FREE)), FREE), truth


def one_region(_: None, seed: int) -> dict[str, object]:
    """Which intervals of one region hold the truth."""
    begin = time.perf_counter()
    objective, truth = objective_of(seed)
    fit = cal.minimise(objective, starts=20, seed=seed, workers=1, progress=False)
    lines = profiles(fit, list(FREE), level=0.9, workers=1, progress=False)
    drawn = cal.sample_posterior(
        objective, start=fit.place, chains=2, draws=400, tune=400, seed=seed, workers=1, progress=False
    )
    summary = drawn.summary()

    def inside(ends: tuple[float, float], name: str) -> bool:
        return bool(ends[0] <= truth[name] <= ends[1])

    return {
        "seed": seed,
        "profile": {name: inside(lines[name].interval, name) for name in FREE},
        "posterior": {name: inside(drawn.interval(name, 0.9), name) for name in FREE},
        "apart": bool((summary["r_hat"] > 1.01).any()),
        "truth": truth,
        "rank": {name: float(np.mean(drawn.values[..., drawn.names.index(name)] < truth[name])) for name in FREE},
        "ends": {name: [*lines[name].interval, *drawn.interval(name, 0.9)] for name in FREE},
        "sides": {name: list(lines[name].sides) for name in FREE},
        "gained": {name: lines[name].gained for name in FREE},
        "r_hat": float(summary["r_hat"].max()),
        "ess": float(summary["ess_bulk"].min()),
        "seconds": time.perf_counter() - begin,
    }


if __name__ == "__main__":
    main()
