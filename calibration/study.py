"""The study that `sd-cluster demo` carries out: its settings, and the runs it makes of a fitted model.

All that a reader may want to change stands in `Study`, in one place. The functions below take a model and
a scenario (usually the fitted one) and give records; nothing here draws, prints or writes a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from calibration.dataset import Dataset
from calibration.fit import Fit, SeriesFit
from calibration.identification import Identification, identify
from calibration.measurement import Level, Measurement
from calibration.objective import Misfit, value_in
from calibration.statistics import Floats
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
    model, region
        Which shipped model is fitted to which shipped region.
    measures
        Indicator -> model variable; those named in `scaled` are proportional to it with an unknown factor.
    free
        Parameter -> (low, high): what the fit may move.
    fixed
        What is set otherwise than in the model file for this region, by judgement.
    doubtful
        Parameters held in the fit -> (low, high); the report asks whether the data could tell them too.
    start, last_year, end
        The run starts here; the fit uses figures up to `last_year`; the outlook ends here.
    starts, seed
        Of the multi-start search.
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
    threshold_range, threshold_points, threshold_years
        Initial trust is swept over this range in so many runs, each of so many years.
    """

    model: str = "collective_learning"
    region: str = "hsinchu"
    measures: Mapping[str, str] = field(
        default_factory=lambda: {"firms": "member firms", "employees": "talent pool", "revenue": "revenue"}
    )
    scaled: tuple[str, ...] = ("revenue",)
    free: Mapping[str, tuple[float, float]] = field(
        default_factory=lambda: {
            "entry potential": (10.0, 250.0),
            "land limit": (150.0, 2000.0),
            "jobs of a leading firm": (200.0, 1200.0),
            "labour limit": (50_000.0, 1_000_000.0),
        }
    )
    fixed: Mapping[str, float] = field(
        default_factory=lambda: {
            "bridging to knowledge centres": 0.8,
            "infrastructure investment": 0.8,
            "finance": 0.6,
            "derivation support": 0.6,
            "training": 0.6,
            "knowledge services": 0.6,
            "external learning links": 0.6,
        }
    )
    doubtful: Mapping[str, tuple[float, float]] = field(
        default_factory=lambda: {
            "initial trust": (0.3, 0.9),
            "obsolescence rate": (0.06, 0.4),
            "exit rate": (0.03, 0.12),
            "hiring rate": (0.1, 0.8),
        }
    )
    start: float = 1980.0
    last_year: int = 2025
    end: float = 2040.0
    starts: int = 20
    seed: int = 7
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
    threshold_range: tuple[float, float] = (0.02, 0.98)
    threshold_points: int = 33
    threshold_years: float = 120.0

    def measurement(self) -> Measurement:
        """The gauges that read the model as the offices count."""
        gauges = {name: Level(variable, scale=name in self.scaled) for name, variable in self.measures.items()}
        return Measurement(gauges)

    def smaller(self, *, starts: int, points: int) -> Study:
        """The same study with less work, for tests."""
        return replace(self, starts=starts, threshold_points=points)


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


@dataclass(frozen=True, eq=False)
class Threshold:
    """An end value against the value of trust a run started from.

    Attributes
    ----------
    name
        Of the cluster.
    initial, outcomes : shape (n_runs,)
        Initial trust and the variable at the end.
    separatrix
        The initial trust that parts low from high outcomes, or NaN where there is no such jump.
    variable, year
        What is looked at, and when.
    used
        The initial trust of the scenario itself.
    """

    name: str
    initial: Floats
    outcomes: Floats
    separatrix: float
    variable: str
    year: float
    used: float

    @property
    def levels(self) -> tuple[float, float]:
        """Median outcome below and above the separatrix; of all runs, twice, where there is none."""
        if np.isnan(self.separatrix):
            middle = float(np.median(self.outcomes))
            return middle, middle
        above = self.initial > self.separatrix
        return float(np.median(self.outcomes[~above])), float(np.median(self.outcomes[above]))


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


def model_lines(run: Run, series: Sequence[SeriesFit], measurement: Measurement) -> dict[str, Line]:
    """What the model says of each fitted series year by year, between its first and last figure.

    Parameters
    ----------
    run
        The fitted model; it covers the years of the figures and is saved finely enough to be read between.
    series
        From the fit, with the factor of each.
    measurement
        The gauges of the fit.

    Returns
    -------
    lines
        Indicator -> (years, values in the unit of the data).
    """
    lines = {}
    for one in series:
        years = np.arange(one.years[0], one.years[-1] + 1)
        lines[one.indicator] = (years, predicted(run, measurement, one.indicator, years) * one.scale)
    return lines


def predicted(run: Run, measurement: Measurement, indicator: str, years: Floats) -> Floats:
    """What a run says of an indicator in some years, before its unknown scale."""
    asked = {indicator: years}
    times = measurement.times(asked)
    outputs = np.column_stack([np.interp(times, run.times, run[name]) for name in measurement.variables])
    ((_, values),) = measurement.predict(asked, times, outputs)
    return np.asarray(values)


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


def find_threshold(
    model: Model,
    base: Scenario,
    study: Study,
    *,
    name: str,
    start: float,
    variable: str = "shared knowledge base",
    told: Callable[[int, int], None] = lambda done, of: None,
) -> Threshold:
    """Sweep initial trust, then halve the interval in which the outcome jumps.

    The separatrix is where the outcome crosses the geometric mean of the lowest and the highest one. It
    counts as a threshold only if a change of initial trust by 0.02 across it carries at least half of the
    whole difference (on the log scale) and the outcomes differ by a fifth or more; else it is NaN.
    """
    horizon = replace(model.horizon, start=start, end=start + study.threshold_years, save_every=1.0)

    def outcome(trust: float) -> float:
        run = simulate(model, base.with_changes({"initial trust": trust}, name="swept"), horizon=horizon)
        return run.at(horizon.end)[variable]

    initial = np.linspace(*study.threshold_range, study.threshold_points)
    outcomes = np.empty_like(initial)
    for place, trust in enumerate(initial):
        told(place, len(initial) + 20)
        outcomes[place] = outcome(float(trust))
    low, high = float(outcomes.min()), float(outcomes.max())
    separatrix = float("nan")
    if low > 0 and high >= 1.2 * low and outcomes[0] < outcomes[-1]:
        middle = float(np.sqrt(low * high))
        place = int(np.argmax(outcomes > middle))
        below, above = float(initial[place - 1]), float(initial[place])
        for step in range(18):
            told(len(initial) + step, len(initial) + 20)
            half = (below + above) / 2
            below, above = (below, half) if outcome(half) > middle else (half, above)
        crossing = (below + above) / 2
        near = [outcome(crossing - 0.01), outcome(crossing + 0.01)]
        if np.log(near[1] / near[0]) >= 0.5 * np.log(high / low):
            separatrix = crossing
    return Threshold(
        name, initial, outcomes, separatrix, variable, horizon.end, number_in(model, base, "initial trust")
    )


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


def examine_doubts(model: Model, dataset: Dataset, study: Study, fit: Fit) -> Identification:
    """Ask at the fitted point which parameters the data could tell, were the doubtful ones free as well."""
    misfit = misfit_of(model, dataset, study, {**study.free, **study.doubtful})
    own = dict(zip(misfit.names, misfit.own_values().tolist(), strict=True))
    vector = np.array([fit.values.get(name, own[name]) for name in misfit.names])
    held = np.array([any(one.name == name and one.bound for one in fit.estimates) for name in misfit.names])
    return identify(misfit, vector, misfit.noise_scales(misfit.log_residuals(vector)), held)


def own_parameters(model: Model) -> list[str]:
    """Names of the parameters the modeller wrote, without those that hold the horizon."""
    controls = {key(name) for name in CONTROLS}
    return [name for name, one in model.parameters.items() if key(name) not in controls and not one.hidden]


def number_in(model: Model, scenario: Scenario, name: str) -> float:
    """The one number a parameter has in a scenario: as changed there, else as written in the model."""
    value = value_in(model, scenario, name)
    if not isinstance(value, float):
        raise FitError(f"'{name}' has no one number in scenario '{scenario.name}'; set it to a number there")
    return value


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
