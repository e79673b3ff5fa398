"""How well does the shipped model do on real regions, beside naive forecasts: a sector, two states, a family of 22?

Tables are expected in `../shared/data` beside the checkout. Run `python benchmarks/regions.py [hightech] [states]
[family] [--laplace]`, all three where none is named. Settings stand in `docs/studies/regions/`; bands come from a
posterior by NUTS, some minutes each, or with `--laplace` from the normal approximation around the best point, seconds.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

sys.path.append(sys.path.pop(0))  # a script beside this one bears the name of the package

from calibration.dataset import read_datasets
from calibration.family import fit_alone, fit_family
from calibration.left_out import leave_one_out, tally
from calibration.optimisation import minimise
from calibration.posterior import sample_posterior
from calibration.selection import complete, per
from calibration.shrinkage import shrinkage
from calibration.study_file import read_fit_study
from calibration.validation import validate

STUDIES = Path(__file__).resolve().parents[1] / "docs" / "studies" / "regions"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DRAWS = 500

# How the family is chosen.
YEARS = {
    "epo_patent_applications": (1985, 2009), "gdp": (2000, 2018), "scientists_engineers": (2008, 2018),
    "hightech_employment_share": (2008, 2018),
}  # fmt: skip
CURRENCY = "AT BE CY DE DK EE EL ES FI FR IE IT LT LU LV MT NL PT SI SK"
"""Countries with the euro in 2018, and Denmark, whose krone is tied to it: GDP is in current euros."""
OF_EACH = 3
"""Most regions of one country."""
SIZE_YEAR = 2008
"""Figures are compared a head of this year."""


def patents_a_head(one):
    """Mean yearly patents of 2000-2009 over the inhabitants of the year that figures are compared by."""
    patents = one["epo_patent_applications"]
    return np.mean(patents.values[(patents.years >= 2000) & (patents.years <= 2009)]) / inhabitants(one)


def inhabitants(one):
    """In millions; not a number where the table has none."""
    people = one.series.get("population")
    found = people.values[people.years == SIZE_YEAR] if people is not None else []
    return float(found[0]) / 1e6 if len(found) else np.nan


def choose():
    """Complete regions of countries with one currency, of each country those with most patents a head."""
    every = read_datasets(DATA / "eu_nuts2_innovation.csv")
    able = {name: patents_a_head(every[name]) for name in complete(every, YEARS) if name[:2] in CURRENCY.split()}
    ranked = sorted((name for name in able if np.isfinite(able[name])), key=lambda name: -able[name])
    return sorted(
        name for place, name in enumerate(ranked) if [one[:2] for one in ranked[:place]].count(name[:2]) < OF_EACH
    )


def timed(what, job):
    """Do a job and tell how long it took."""
    begun = time.perf_counter(), time.process_time()
    found = job()
    print(
        f"  {what}: {time.perf_counter() - begun[0]:.1f} s, of which computing {time.process_time() - begun[1]:.1f} s"
    )
    return found


def gradient_time(objective, repeats=50):
    """Median milliseconds of a payoff with its gradient."""
    place, seconds = objective.start + 0.01, []
    for k in range(repeats):
        begun = time.perf_counter()
        objective.payoff_and_gradient(place + 1e-4 * k)
        seconds.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(seconds))


def forecast(name, laplace):
    """Fit all, fit the training part, forecast what was held out."""
    study = read_fit_study(STUDIES / f"{name}.toml")
    likelihoods = study.likelihoods()
    whole, split = study.objective(likelihoods), study.split(likelihoods)
    print(f"\n{study.name}: {len(whole.names)} unknowns, {gradient_time(whole):.1f} ms a gradient")
    fit = timed("all figures, 8 starts", lambda: minimise(whole, starts=8, seed=study.seed, workers=1, progress=False))
    print(str(fit).split("+/- is one")[0])
    training = study.objective(split.training)
    part = timed("training, 4 starts", lambda: minimise(training, starts=4, seed=study.seed, workers=1, progress=False))
    source = None
    if not laplace:
        asked = {"start": part.place, "chains": 2, "draws": 500, "tune": 400, "seed": study.seed, "progress": False}
        source = timed("posterior, 2 chains of 500", lambda: sample_posterior(training, **asked))
        print("  " + "\n  ".join(one.text for one in source.verdicts()))
    print(validate(part, split, source=source, draws=DRAWS, seed=study.seed))


def family():
    """Fit the family, print how its regions shrink, leave every region out in turn."""
    study = read_fit_study(STUDIES / "eu_family.toml")
    chosen = choose()
    print(f"\n{study.name}: {len(chosen)} regions by the rule: {', '.join(chosen)}")
    assert chosen == sorted(one.name for one in study.regions), "the study names other regions than the rule chooses"
    counted = ["epo_patent_applications", "gdp", "scientists_engineers"]
    likelihoods = []
    for one in study.likelihoods():
        what = f"million inhabitants of {SIZE_YEAR}"
        likelihoods.append(one.with_data(per(one.dataset, inhabitants(one.dataset), what, counted)))
    priors = {**study.free, **study.priors}
    alone = timed("regions alone, 4 starts each", lambda: fit_alone(likelihoods, priors, starts=4, seed=study.seed))
    fit = timed("family", lambda: fit_family(likelihoods, priors, pooled=study.pooled, alone=alone))
    print(f"  {len(fit.names)} unknowns, {gradient_time(fit.objective, 20):.0f} ms a gradient\n{fit}")
    shared = [name for name in fit.names if name in study.free]
    print("  shared by all: " + ", ".join(f"{name} {fit.values[name]:.3g}" for name in shared))
    print("\n".join(one.text for one in shrinkage(fit, alone)))
    groups = {name: name[:2] for name in chosen}
    for known, told in ((0, "nothing known of the region"), (1, "the first figure of each series known")):
        made = timed(
            told, lambda known=known: leave_one_out(fit, known=known, groups=groups, draws=400, seed=study.seed)
        )
        print(tally(made).round(3).to_string(index=False), "\n" + made.sentences[0], "\n")


def main(*asked):
    """All that is asked."""
    if not (DATA / "eu_nuts2_innovation.csv").exists():
        print(f"{DATA} is not here, so there are no figures to fit.")
        return
    laplace = "--laplace" in asked
    some = [one for one in asked if not one.startswith("--")] or ["hightech", "states", "family"]
    if "hightech" in some:
        forecast("us_hightech", laplace)
    if "states" in some:
        forecast("us_california", laplace)
        forecast("us_massachusetts", laplace)
    if "family" in some:
        family()


if __name__ == "__main__":
    main(*sys.argv[1:])
