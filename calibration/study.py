"""The study that `sd-cluster demo` carries out: its settings, and the runs it makes of a fitted model.

All that a reader may want to change stands in `Study`, in one place. The functions below take a model and
a scenario (usually the fitted one) and give records; nothing here draws, prints or writes a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from calibration.dataset import Dataset
from calibration.fit import Fit
from calibration.fit_study import FitStudy
from calibration.identifiability import Identification, identify
from calibration.likelihood_checks import own_value
from calibration.measurement import Measurement
from calibration.misfit import Misfit
from calibration.priors import Prior, range_prior
from calibration.statistics import Floats
from calibration.study_file import read_fit_study
from calibration.thresholds import Sweep, Threshold
from sd_cluster import Horizon, Model, Run, Scenario, Space, TimeSeries, simulate
from sd_cluster.errors import FitError
from sd_cluster.model import CONTROLS, key

Line = tuple[Floats, Floats]
"""Years and values of a line, both shape (n,)."""

SECTIONS = {
    "4.1": "enterprises",
    "4.2": "agencies",
    "4.3": "public services",
    "4.4": "government",
}
"""The four sections of the paper that name levers, and whose levers they are."""


@dataclass(frozen=True)
class Study:
    """Settings of the demonstration study.

    Attributes
    ----------
    name
        Of the shipped study file that says what is fitted to what; see `plan`.
    starts, seed, draws
        Instead of those of the file, where given; draws of each chain, for tests.
    doubtful
        Parameters held in the fit -> (low, high); the report asks whether the data could tell them too.
    policy_year, raise_by
        From this year on each policy raises the levers of its section by so much (none above 1).
    outcomes
        Variables by which policies are compared.
    channels
        The four ways of collective learning of the paper's section 2.1.
    pair
        Name of a cluster -> its levers: equal at the start, different in openness (Saxenian 1994).
    pair_years
        Length of that comparison, from the start of the model's own horizon.
    trust
        How initial trust is swept to find its threshold.
    """

    name: str = "hsinchu"
    starts: int | None = None
    seed: int | None = None
    draws: int | None = None
    doubtful: Mapping[str, tuple[float, float]] = field(
        default_factory=lambda: {
            "initial trust": (0.3, 0.9),
            "obsolescence rate": (0.06, 0.4),
            "exit rate": (0.03, 0.12),
            "hiring rate": (0.1, 0.8),
        }
    )
    policy_year: float = 2026.0
    raise_by: float = 0.3
    outcomes: tuple[str, ...] = (
        "shared knowledge base",
        "mastered knowledge",
        "member firms",
        "talent pool",
        "revenue",
        "trust",
    )
    channels: tuple[str, ...] = ("personnel flow", "supply contact", "derivation contact", "informal contact")
    pair: Mapping[str, Mapping[str, float]] = field(
        default_factory=lambda: {
            "Route 128: closed firms": {
                "talent flow": 0.1,
                "cooperative learning": 0.1,
                "cooperative competition": 0.1,
                "learning atmosphere": 0.1,
                "mutual exchange": 0.1,
                "external learning links": 0.2,
            },
            "Silicon Valley: open firms": {
                "talent flow": 0.6,
                "cooperative learning": 0.7,
                "cooperative competition": 0.7,
                "learning atmosphere": 0.7,
                "mutual exchange": 0.7,
                "external learning links": 0.6,
            },
        }
    )
    pair_years: float = 60.0
    trust: Sweep = field(default_factory=Sweep)

    @cached_property
    def plan(self) -> FitStudy:
        """What is fitted to what, as the shipped file has it, with the changes asked for here."""
        found = read_fit_study(self.name)
        searching = found.searching if self.starts is None else replace(found.searching, starts=self.starts)
        drawing, outlook, holding = found.drawing, found.outlook, found.holding
        if self.draws is not None and drawing is not None and holding is not None:
            drawing = replace(drawing, draws=self.draws, tune=self.draws)
            outlook, holding = replace(outlook, draws=100), replace(holding, draws=100, starts=searching.starts)
        return replace(
            found, searching=searching, drawing=drawing, outlook=outlook, holding=holding,
            seed=found.seed if self.seed is None else self.seed,
        )  # fmt: skip

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.plan.model.name

    @property
    def region(self) -> str:
        """Name of the region."""
        return self.plan.regions[0].name

    @property
    def free(self) -> dict[str, tuple[float, float]]:
        """Free parameters with the ends of their priors, or their 5 and 95 % quantiles where they have no ends."""
        return {name: _ends(prior) for name, prior in self.plan.free.items()}

    @property
    def fixed(self) -> dict[str, float]:
        """What is set otherwise than in the model file for this region, by judgement."""
        changes = self.plan.regions[0].scenario.changes
        return {name: float(value) for name, value in changes.items() if isinstance(value, int | float)}

    @property
    def start(self) -> float:
        """First moment of the run."""
        return self.plan.regions[0].span[0]

    @property
    def last_year(self) -> int:
        """Year of the last figure."""
        region = self.plan.regions[0]
        return int(max(region.dataset[name].years[-1] for name in region.measurement.gauges))

    @property
    def end(self) -> float:
        """Where the outlook ends."""
        return self.plan.outlook.end

    def measurement(self) -> Measurement:
        """The gauges that read the model as the offices count."""
        return self.plan.regions[0].measurement

    def smaller(self, *, starts: int, points: int, draws: int | None = None) -> Study:
        """The same study with less work, for tests."""
        return replace(self, starts=starts, trust=replace(self.trust, points=points), draws=draws)


@dataclass(frozen=True, eq=False)
class Policies:
    """The base case and one run for each policy, which differ from `year` on.

    Attributes
    ----------
    base, runs
        The runs; a policy's scenario is named after the section, such as `4.1 enterprises`.
    levers
        Scenario name -> lever -> (value before, value from `year` on).
    """

    base: Run
    runs: tuple[Run, ...]
    levers: Mapping[str, Mapping[str, tuple[float, float]]]
    year: float


@dataclass(frozen=True)
class LeverEffect:
    """What raising one lever alone does by the end, in per cent of the base case's end value."""

    lever: str
    section: str
    changes: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Findings:
    """All that the study found, as the report tells it.

    Attributes
    ----------
    study, model, dataset, fit
        What was asked, of what, and the fit.
    scenario
        The fitted parameters as a scenario, named `base`.
    lines
        The model beside each fitted series.
    policies, effects
        Of the fitted model.
    pair
        Of the model as shipped.
    thresholds
        Of the model as shipped, and of the fitted one.
    doubts
        What the data would tell of the study's doubtful parameters, were they free as well.
    """

    study: Study
    model: Model
    dataset: Dataset
    fit: Fit
    scenario: Scenario
    lines: Mapping[str, Line]
    policies: Policies
    effects: tuple[LeverEffect, ...]
    pair: tuple[Run, ...]
    thresholds: tuple[Threshold, Threshold]
    doubts: Identification


def levers(model: Model) -> dict[str, str]:
    """The policy levers of a model with their section of the paper, in file order.

    A lever is a parameter whose note begins `Lever, paper 4.1: ...`; the section is read from the note.
    """
    found = {}
    for name, parameter in model.parameters.items():
        note = parameter.note.strip()
        section = re.search(r"\b4\.[1-4]\b", note)
        if note.lower().startswith("lever") and section:
            found[name] = section.group()
    return found


def place_of(study: Study) -> str:
    """Name of the study's region, as a title has it."""
    return study.region.replace("_", " ").title()


def run_policies(model: Model, base: Scenario, study: Study, horizon: Horizon) -> Policies:
    """Run the base case and one policy for each section: its levers rise from the policy year on.

    Each policy raises the levers of one section by `study.raise_by`, none above 1; before the policy
    year all runs are the same.
    """
    reference = simulate(model, base.with_changes({}, name="base"), horizon=horizon)
    runs, changed = [], {}
    by_lever = levers(model)
    for section, who in SECTIONS.items():
        name = f"{section} {who}"
        chosen = [lever for lever, its in by_lever.items() if its == section]
        if not chosen:
            raise FitError(f"{model.name} has no lever of section {section}; its notes should begin 'Lever, paper'")
        steps = {lever: _raised(model, base, lever, study.raise_by) for lever in chosen}
        series = {lever: _step(horizon.start, study.policy_year, *pair) for lever, pair in steps.items()}
        runs.append(simulate(model, base.with_changes(series, name=name), horizon=horizon))
        changed[name] = steps
    return Policies(reference, tuple(runs), changed, study.policy_year)


def lever_effects(
    model: Model,
    base: Scenario,
    policies: Policies,
    study: Study,
    horizon: Horizon,
    *,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[LeverEffect, ...]:
    """Raise one lever at a time, as a policy does, and see what each brings by the end."""
    found = []
    end = policies.base.at(horizon.end)
    all_levers = levers(model)
    for done, (lever, section) in enumerate(all_levers.items()):
        told(done, len(all_levers))
        step = _step(horizon.start, study.policy_year, *_raised(model, base, lever, study.raise_by))
        run = simulate(model, base.with_changes({lever: step}, name=lever), horizon=horizon)
        last = run.at(horizon.end)
        found.append(LeverEffect(lever, section, {name: 100 * (last[name] / end[name] - 1) for name in study.outcomes}))
    return tuple(found)


def run_pair(model: Model, study: Study) -> tuple[Run, ...]:
    """Run the two clusters of the pair from the model's own start: equal but for their levers."""
    own = model.horizon
    horizon = replace(own, end=own.start + study.pair_years)
    return tuple(simulate(model, Scenario(name, changes), horizon=horizon) for name, changes in study.pair.items())


def _ends(prior: Prior) -> tuple[float, float]:
    """Ends of a prior, or where one is missing its 5 and 95 % quantiles."""
    if np.isfinite(prior.low) and np.isfinite(prior.high):
        return float(prior.low), float(prior.high)
    return float(np.asarray(prior.quantile(0.05))), float(np.asarray(prior.quantile(0.95)))


def misfit_of(model: Model, dataset: Dataset, study: Study, free: Mapping[str, tuple[float, float]]) -> Misfit:
    """The misfit of the study, as a function of some parameters."""
    return Misfit(
        model,
        Space(free),
        study.measurement(),
        dataset,
        scenario=Scenario("base", study.fixed),
        horizon=(study.start, float(study.last_year)),
    )


def examine_doubts(study: Study, fit: Fit) -> Identification:
    """Ask at the fitted point which parameters the data could tell, were the doubtful ones free as well."""
    plan = study.plan
    doubtful: dict[str, Prior] = {name: range_prior(*ends) for name, ends in study.doubtful.items()}
    wider = replace(plan, free={**plan.free, **doubtful}).objective()
    found = dict(zip(fit.names, fit.place.tolist(), strict=True))
    place = np.array([found.get(name, own) for name, own in zip(wider.names, wider.start.tolist(), strict=True)])
    bounds = {one.name for one in fit.estimates if one.bound}
    return identify(wider, place, np.array([name in bounds for name in wider.names]))


def own_parameters(model: Model) -> list[str]:
    """Names of the parameters the modeller wrote, without those that hold the horizon."""
    controls = {key(name) for name in CONTROLS}
    return [name for name, one in model.parameters.items() if key(name) not in controls and not one.hidden]


def number_in(model: Model, scenario: Scenario, name: str) -> float:
    """The one number a parameter has in a scenario: as changed there, else as written in the model."""
    return own_value(model, scenario, name)


def changes_at_end(policies: Policies, outcomes: Sequence[str], year: float) -> dict[str, dict[str, float]]:
    """Change of each outcome against the base case in a year, in per cent: policy -> outcome -> change."""
    base = policies.base.at(year)
    return {
        run.scenario: {name: 100 * (run.at(year)[name] / base[name] - 1) for name in outcomes} for run in policies.runs
    }


def _raised(model: Model, base: Scenario, lever: str, by: float) -> tuple[float, float]:
    before = number_in(model, base, lever)
    return before, max(before, min(1.0, before + by))


def _step(start: float, year: float, before: float, after: float) -> TimeSeries:
    return TimeSeries([start, year], [before, after], kind="previous")
