"""Draw the reference behaviours of the shipped models, and what one of them makes of real regions.

Run `python docs/figures.py` to draw them anew into `docs/figures/`; `python docs/figures.py take_off lock_in` draws
some. The numbers behind each picture are those of the test of the same behaviour.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import sd_cluster as sd
from calibration.study import Study
from sd_cluster import plot
from sd_cluster.look import PALETTE, blank, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calibration.family import FamilyFit
    from calibration.fit import Fit

FOLDER = Path(__file__).parent / "figures"
REGIONS = Path(__file__).parent / "studies" / "regions"
TABLES = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Where tables of regions are expected that are not part of the repository."""
BASE = "shared knowledge base"
SIZE = ("shared knowledge base", "member firms", "talent pool")

# Settings, one block for each behaviour.
PAIR = Study().pair
CUT_OFF = {
    "external learning links": 0,
    "bridging to knowledge centres": 0,
    "knowledge services": 0,
    "least link": 0,
    "entry potential": 0,
}
LOW_TRUST = {"initial trust": 0.25, "learning atmosphere": 0.0, "cooperative competition": 0.0}
PLATFORM = {"learning atmosphere": 1.0}
RESTRAINT = {"cooperative competition": 0.4}
CUT_YEAR = 60.0
"""Years after the start when the cluster is cut off."""
SHOCK_YEAR = 5.0
"""Years after the start when trust is lost; talent is lost at the start."""
TRUST_LOSSES = (0.2, 0.45)
TALENT_LOSSES = (0.5, 0.9)
HIGH = {"initial trust": 0.8, "initial learning culture": 0.8}
"""A start well above the threshold."""
LONG = 200.0
"""Years after which a run counts as settled."""


@cache
def model() -> sd.Model:
    """The shipped model."""
    return sd.load("collective_learning")


def run(changes: Mapping[str, float], name: str, years: float | None = None) -> sd.Run:
    """A run of the shipped model with changes, over so many years or the model's own horizon."""
    its = model()
    horizon = its.horizon if years is None else replace(its.horizon, end=its.horizon.start + years, save_every=1.0)
    return sd.simulate(its, sd.Scenario(name, changes), horizon=horizon)


def last(changes: Mapping[str, float], variable: str, years: float) -> float:
    """What a variable ends with."""
    return float(run(changes, "swept", years)[variable][-1])


def sweep(name: str, values: Sequence[float], variable: str, years: float, **others: float) -> list[float]:
    """What a variable ends with, for each value of a parameter."""
    return [last({name: float(value), **others}, variable, years) for value in values]


def takeoff() -> Figure:
    """1. The base case grows in an S and levels off."""
    return plot.panel(run({}, "base", 100), model().stocks)


def path_dependence() -> Figure:
    """2. The same cluster, started with more or less trust, comes to rest in one of two places."""
    runs, groups = [], {}
    middle = np.sqrt(last({"initial trust": 0.02}, BASE, LONG) * last({"initial trust": 0.9}, BASE, LONG))
    for culture in (0.15, 0.35, 0.55):
        for trust in (0.1, 0.25, 0.4, 0.55, 0.7):
            name = f"{trust} {culture}"
            its = run({"initial trust": trust, "initial learning culture": culture}, name, LONG)
            groups[name] = "takes off" if its[BASE][-1] > middle else "stagnates"
            runs.append(its)
    runs.sort(key=lambda its: groups[its.scenario], reverse=True)
    cultures = np.linspace(0.26, 0.72, 24)
    border = [separatrix(float(culture), float(middle)) for culture in cultures]
    return plot.phase(
        runs, "trust", "learning culture", groups=groups, border=(border, cultures, "starts that part the two")
    )


def separatrix(culture: float, middle: float) -> float:
    """Initial trust that parts the two outcomes, for an initial learning culture; NaN where all end alike."""

    def high(trust: float) -> bool:
        return last({"initial trust": trust, "initial learning culture": culture}, BASE, LONG) > middle

    below, above = 0.0, 1.0
    if high(below) or not high(above):
        return float("nan")
    for _ in range(12):
        half = (below + above) / 2
        below, above = (below, half) if high(half) else (half, above)
    return (below + above) / 2


def threshold() -> Figure:
    """2. Where the two outcomes part, along initial trust."""
    trust = np.linspace(0.02, 0.8, 40)
    ends = np.array(sweep("initial trust", trust.tolist(), BASE, LONG))
    middle = np.sqrt(ends.min() * ends.max())
    crossing: float | None = None
    if ends.max() > 2 * ends.min():
        place = int(np.argmax(ends > middle))
        below, above = float(trust[place - 1]), float(trust[place])
        for _ in range(16):
            half = (below + above) / 2
            high = last({"initial trust": half}, BASE, LONG) > middle
            below, above = (below, half) if high else (half, above)
        crossing = (below + above) / 2
    return plot.threshold(
        trust, ends, separatrix=crossing, x_label="Initial trust (0 none, 1 full)",
        y_label=f"Shared knowledge base after {LONG:.0f} years", sides=("stagnates", "takes off"),
    )  # fmt: skip


def pair() -> Figure:
    """3. Closed and open firms, equal at the start."""
    return plot.panel([run(levers, name, 60) for name, levers in PAIR.items()], [*SIZE, "revenue", "trust", "mobility"])


def mobility() -> Figure:
    """4. Knowledge in the long run against mobility: an inverted U."""
    flow = np.linspace(0, 1, 41)
    ends = sweep("talent flow", flow.tolist(), BASE, LONG, **HIGH)
    best = float(flow[int(np.argmax(ends))])
    return plot.response(
        flow, {BASE: ends}, x_label="Talent flow (lever, 0 none, 1 full)", y_label="knowledge",
        title=f"Shared knowledge base after {LONG:.0f} years", mark=(best, f"most at {best:.2f}"),
    )  # fmt: skip


def lock_in() -> Figure:
    """5. Cut off from outside sources and newcomers, a mature cluster declines as overlap grows."""
    its = model()
    horizon = replace(its.horizon, end=its.horizon.start + 120, save_every=0.5)
    cut = sd.Simulation(its, sd.Scenario("cut off"), horizon=horizon)
    cut.run_to(horizon.start + CUT_YEAR)
    cut.change(CUT_OFF)
    cut.run_to(horizon.end)
    runs = [run({}, "base", 120), cut.run()]
    shown = [BASE, "overlap", "novelty", "conversion", "knowledge per firm", "member firms"]
    return plot.panel(runs, shown, reference="base", mark=horizon.start + CUT_YEAR)


def platform() -> Figure:
    """6. The sharing platform alone, at low trust, does little; with cooperative competition it does much."""
    ends = {
        "neither": last(LOW_TRUST, BASE, 60),
        "platform": last({**LOW_TRUST, **PLATFORM}, BASE, 60),
        "cooperative competition": last({**LOW_TRUST, **RESTRAINT}, BASE, 60),
        "both": last({**LOW_TRUST, **PLATFORM, **RESTRAINT}, BASE, 60),
    }
    return plot.bars(ends, y_label="knowledge", title="Shared knowledge base after 60 years")


def shocks() -> Figure:
    """7. A sudden loss of trust or talent: small ones heal, large ones do not."""
    its = model()
    horizon = replace(its.horizon, end=its.horizon.start + 100, save_every=0.25)
    runs = [run({}, "no shock", 100)]
    for loss in TRUST_LOSSES:
        live = sd.Simulation(its, sd.Scenario(f"trust −{100 * loss:.0f} %"), horizon=horizon)
        live.run_to(horizon.start + SHOCK_YEAR)
        live.change({"trust": live.now("trust") * (1 - loss)})
        live.run_to(horizon.end)
        runs.append(live.run())
    people = its.parameters["initial talent pool"].value
    runs += [
        run({"initial talent pool": people * (1 - loss)}, f"talent −{100 * loss:.0f} %", 100) for loss in TALENT_LOSSES
    ]
    return plot.panel(runs, ["trust", BASE, "member firms"], reference="no shock")


def obsolescence() -> Figure:
    """8. Faster technology life cycles lower the base; past a point no policy sustains it."""
    rates = np.linspace(0.06, 0.8, 38)
    levers = {name: 1.0 for name, its in model().parameters.items() if its.note.startswith("Lever")}
    base = sweep("obsolescence rate", rates.tolist(), BASE, 300, **HIGH)
    full = sweep("obsolescence rate", rates.tolist(), BASE, 300, **HIGH, **levers)
    return plot.response(
        rates, {"levers as in the base case": base, "all levers at 1": full},
        x_label="Obsolescence rate (1/year)", y_label="knowledge",
        title="Shared knowledge base after 300 years", log=True,
    )  # fmt: skip


def extremes() -> Figure:
    """9. No firms, no talent, no trust, no levers."""
    zero = {name: 0.0 for name, its in model().parameters.items() if its.note.startswith("Lever")}
    runs = [
        run({}, "base", 60),
        run({"initial member firms": 0}, "no firms", 60),
        run({"initial talent pool": 0, "hiring rate": 0, "graduates": 0}, "no talent", 60),
        run({"initial trust": 0, "mutual exchange": 0}, "no trust", 60),
        run(zero, "all levers 0", 60),
    ]
    return plot.panel(runs, [BASE, "transfer", "conversion", "voluntary sharing", "member firms", "talent pool"],
                      reference="base")  # fmt: skip


REWIRINGS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4, 1.0)
NETWORKS = 12
"""Networks, each with members of its own, behind a mean."""


def members(table: Any, changes: Mapping[str, float], seed: int, years: float = 60.0, step: float = 0.0625) -> Any:
    """What each member of a network of 500 knows in the end."""
    model = sd.load("cluster_network", sizes={"member": 500}, tables={"contact": table}, check_units=False)
    scenario = sd.Scenario("network", {**changes, "NOISE SEED": seed})
    its = sd.simulate(model, scenario, solver=sd.Euler(step), horizon=(0.0, years), save=years)
    return its.array("all knowledge")[-1].to_numpy()


def mean_and_error(rows: Any) -> tuple[Any, Any]:
    """Mean over networks, the first axis, and its standard error."""
    return np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / np.sqrt(len(rows))


def small_world() -> Figure:
    """Knowledge against rewiring: pure exchange by barter, and the whole theory by barter and by broadcast."""
    pure = dict.fromkeys(
        ("trust building rate", "rivalry wear", "absorption gain rate", "absorption loss rate", "practice rate",
         "outside learning rate", "obsolescence rate"), 0.0,
    ) | {"reserve by kind": 1.0, "greatest initial knowledge": 1.0, "knowledge of a leader": 10.0}  # fmt: skip

    def ends(changes: Mapping[str, float], years: float, step: float) -> Any:
        return np.array([
            [members(sd.contacts.small_world(500, 10, p, seed=s), changes, s, years, step).mean() for p in REWIRINGS]
            for s in range(NETWORKS)
        ])  # fmt: skip

    with look():
        figure = blank(width=7.6, height=3.2)
        left, right = figure.subplots(1, 2)
        places = np.arange(len(REWIRINGS))
        mean, error = mean_and_error(ends(pure, 200.0, 0.25))
        print("pure exchange", mean.round(2), error.round(2))
        left.errorbar(places, mean, error, marker="o", color=PALETTE[0], capsize=2)
        left.set(title="Pure exchange by barter", ylabel="Knowledge of a member, mean", ylim=(0, None))
        for colour, (name, barter) in enumerate((("barter", 1.0), ("broadcast", 0.0))):
            found = ends({"barter": barter}, 60.0, 0.0625)
            print(name, found.mean(0).round(2))
            mean, error = mean_and_error(100 * (found / found[:, :1] - 1))
            print(name, mean.round(2), error.round(2))
            right.errorbar(places, mean, error, marker="o", color=PALETTE[colour], capsize=2, label=name)
        right.set(title="The whole theory", ylabel="More than on the ring (%)")
        right.legend(frameon=False)
        for axes in (left, right):
            axes.set_xticks(places, [f"{p:g}" for p in REWIRINGS])
            axes.set_xlim(-0.3, len(REWIRINGS) - 0.7)
            axes.set_xlabel("Rewiring (0 ring, 1 random)")
    return figure


def gatekeepers() -> Figure:
    """What those who remain lose when a tenth leaves; and who knows how much under barter and broadcast."""
    lost: dict[str, list[list[float]]] = {"barter": [], "broadcast": []}
    known: dict[str, list[Any]] = {"barter": [], "broadcast": []}
    for seed in range(NETWORKS):
        table = sd.contacts.scale_free(500, 5, seed=seed)
        groups = sd.contacts.best_connected(table, 0.1), np.random.default_rng(seed).choice(500, 50, replace=False)
        for name, barter in (("barter", 1.0), ("broadcast", 0.0)):
            whole = members(table, {"barter": barter}, seed)
            known[name].append(np.sort(whole))
            row = []
            for gone in groups:
                rest = np.setdiff1d(np.arange(500), gone)
                after = members(sd.contacts.without(table, gone), {"barter": barter}, seed)
                row.append(100 * (1 - after[rest].mean() / whole[rest].mean()))
            lost[name].append(row)
    with look():
        figure = blank(width=7.6, height=3.2)
        left, right = figure.subplots(1, 2)
        for colour, name in enumerate(lost):
            mean, error = mean_and_error(lost[name])
            spread = [np.std(row) / np.mean(row) for row in known[name]]
            print(
                name,
                "loss",
                mean.round(2),
                error.round(2),
                "variation",
                np.mean(spread).round(3),
                mean_and_error(spread)[1].round(3),
            )
            left.bar(
                np.arange(2) + 0.4 * colour - 0.2, mean, 0.36, yerr=error, color=PALETTE[colour], capsize=2, label=name
            )
            right.plot(np.linspace(0, 100, 500), np.mean(known[name], axis=0), color=PALETTE[colour], label=name)
        left.set_xticks([0, 1], ["best connected", "at random"])
        left.set(title="A tenth of the members leaves", ylabel="Loss of those who remain (%)")
        right.set(
            title="Who knows how much", xlabel="Members, from least to most (%)", ylabel="Knowledge", ylim=(0, None)
        )
        left.legend(frameon=False)
    return figure


def hsinchu() -> Figure:
    """10. The fitted model beside the figures of the Hsinchu Science Park."""
    import calibration as cal
    from calibration.figures import draw_fit
    from calibration.lines import lines_of

    plan = Study().plan
    fit = cal.minimise(plan.objective(), starts=plan.searching.starts, seed=plan.seed, progress=False)
    return draw_fit(fit.series, {one.indicator: lines_of(fit, one.region, one.indicator) for one in fit.series})


def hightech() -> Figure:
    """The high-technology sector of the United States, fitted up to 2005 and forecast to 2020."""
    from calibration.optimisation import minimise
    from calibration.posterior import sample_posterior
    from calibration.study_file import read_fit_study
    from calibration.validation import validate
    from calibration.validation_figures import draw_forecast

    study = read_fit_study(REGIONS / "us_hightech.toml")
    split = study.split(study.likelihoods())
    assert split is not None
    training = study.objective(split.training)
    fit = minimise(training, starts=4, seed=study.seed, progress=False)
    posterior = sample_posterior(training, start=fit.place, chains=2, draws=500, tune=400, seed=study.seed)
    validation = validate(fit, split, source=posterior, draws=500, seed=study.seed)
    return draw_forecast(validation, ["firms", "employment", "establishment_entries", "establishment_exits"])


@cache
def family() -> tuple[FamilyFit, tuple[Fit, ...]]:
    """The European family and its regions alone."""
    from calibration.family import fit_alone, fit_family
    from calibration.study_file import read_fit_study

    study = read_fit_study(REGIONS / "eu_family.toml")
    likelihoods, priors = study.likelihoods(), {**study.free, **study.priors}
    alone = fit_alone(likelihoods, priors, starts=4, seed=study.seed)
    return fit_family(likelihoods, priors, pooled=study.pooled, alone=alone), alone


def shrunk() -> Figure:
    """What 22 European regions say by themselves, and in their family."""
    from calibration.family_figures import draw_shrinkage
    from calibration.shrinkage import shrinkage

    return draw_shrinkage(shrinkage(*family()))


def left_out() -> Figure:
    """Every region predicted from the others and the first figure of each of its series."""
    from calibration.family_figures import draw_left_out
    from calibration.left_out import leave_one_out

    return draw_left_out(leave_one_out(family()[0], known=1, draws=400, seed=7))


FIGURES: dict[str, Callable[[], Figure]] = {
    "take_off": takeoff,
    "path_dependence": path_dependence,
    "threshold": threshold,
    "route_128_silicon_valley": pair,
    "mobility": mobility,
    "lock_in": lock_in,
    "complementarity": platform,
    "shocks": shocks,
    "obsolescence": obsolescence,
    "extremes": extremes,
    "network_small_world": small_world,
    "network_gatekeepers": gatekeepers,
    "hsinchu": hsinchu,
}
FROM_TABLES: dict[str, Callable[[], Figure]] = {"us_hightech": hightech, "shrinkage": shrunk, "left_out": left_out}
"""Drawn only where the tables are there; some minutes."""


def main(names: Sequence[str]) -> None:
    """Draw the figures named, or all; each as PNG below 200 kB."""
    every = {**FIGURES, **FROM_TABLES}
    for name in names or list(every):
        if name in FROM_TABLES and not TABLES.is_dir():
            print(f"{name} is left as it is: the tables are not at {TABLES}")
            continue
        png, svg = plot.save(every[name](), FOLDER, name)
        svg.unlink()
        print(f"{png.relative_to(FOLDER.parent.parent)}  {png.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
