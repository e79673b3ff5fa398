"""Likelihood: how probable the figures of one region are under a model, as a function of what is unknown.

One run of the model gives all predictions together with their exact derivatives (`sd.ForwardRunner`). Gauges turn the
run into statistics, noise models judge these, soft constraints and patterns judge the trajectory itself; the
derivatives follow through all of them by the chain rule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

import sd_cluster as sd
from calibration.dataset import Dataset, Series
from calibration.extras import extras_of, priors_of
from calibration.history import digest
from calibration.likelihood_checks import (
    check_predictions,
    check_series,
    kept_years,
    noise_of_each,
    own_value,
    whole_horizon,
)
from calibration.measurement import Measurement
from calibration.noise import Noise
from calibration.outcome import Evaluated, Outcome
from calibration.patterns import Judge
from calibration.priors import Prior
from calibration.statistics import Floats
from calibration.steps import Steps, values_at, widest_step
from sd_cluster.errors import DataError, FitError, SimulationError, near


class Likelihood:
    """Minus the log-likelihood of one region's figures, with its exact gradient.

    Parameters
    ----------
    model
    dataset
        The figures of the region.
    measurement
        Which gauge reads which indicator, and which level shifts there are.
    free
        Parameters, or stocks (their initial values), that are unknown.
    noise
        Noise of each indicator: a noise model, or a number for log-normal noise of a known scale; log-normal noise of
        unknown scale where not given.
    judges
        Soft constraints and behaviour patterns.
    scenario
        What is changed in the model for every run.
    horizon
        Time to run over, (start, end) or a whole `Horizon`; the model's own where not given.
    step
        Length of a step of the classical Runge-Kutta method; where not given, the model's own, or a multiple of it
        that is as good as exact in the model as it stands.
    region
        Its name; that of the dataset where not given.

    Attributes
    ----------
    names
        Everything unknown: `free`, then `extras` (noise scales, shifts, factors).

    Raises
    ------
    ModelError, ScenarioError
        If the model does not have what is named, or the scenario does not fit it.
    DataError
        If an indicator is missing, empty or too short, does not fit its noise, contradicts the model's units, or has a
        year outside the run.
    FitError
        If a name is free twice, noise is given for what is not measured, or a free parameter is a function of time in
        the scenario.
    """

    def __init__(
        self,
        model: sd.Model,
        dataset: Dataset,
        measurement: Measurement,
        free: Sequence[str],
        *,
        noise: Mapping[str, Noise | float] | None = None,
        judges: Sequence[Judge] = (),
        scenario: sd.Scenario | None = None,
        horizon: sd.Horizon | tuple[float, float] | None = None,
        step: float | None = None,
        region: str | None = None,
    ) -> None:
        self.model, self.dataset, self.measurement = model, dataset, measurement
        self.free = tuple(dict.fromkeys(model.variable(name).name for name in free))
        if len(self.free) < len(free):
            raise FitError(f"a parameter is free twice ({', '.join(free)}); name each once")
        self.judges = tuple(judges)
        self.scenario = scenario or sd.Scenario("base")
        self.horizon = whole_horizon(model, horizon, step)
        self.region = region or dataset.region
        for variable in (*measurement.variables, *(name for judge in judges for name in judge.variables)):
            model.variable(variable)
        self._own = np.array([own_value(model, self.scenario, name) for name in self.free])
        self.series: dict[str, Series] = {name: dataset[name] for name in measurement.gauges}
        self.noise = noise_of_each(noise or {}, self.series)
        for name, one in self.series.items():
            check_series(model, measurement.gauges[name], one, self.noise[name], self.horizon, dataset.path)
        self._choose_step(step)
        self._lay_out()

    def _choose_step(self, step: float | None) -> None:
        """Take the step that is given, or the longest that is as good as exact."""
        if step is None:
            moments = self.measurement.times({name: one.years for name, one in self.series.items()})
            names = tuple(dict.fromkeys(self.model.variable(name).name for name in self.measurement.variables))
            step = widest_step(self.model, self.scenario, self.horizon, names, moments)
        self.step, self.horizon = step, replace(self.horizon, step=step)

    def _lay_out(self) -> None:
        """Names of the extras, and where each lies behind the free parameters."""
        self._extras = extras_of(self.measurement, self.noise)
        self.extras = self._extras.names
        self.names = (*self.free, *self.extras)
        self._years = {name: one.years for name, one in self.series.items()}
        self._times = self.measurement.times(self._years)
        watched = [judge.times(self.horizon.start, self.horizon.end, self.horizon.step) for judge in self.judges]
        self._watched = watched
        self._steps = Steps(np.unique(np.concatenate([self._times, *watched])), self.horizon)
        self._moments = self._steps.moments
        names = (*self.measurement.variables, *(name for judge in self.judges for name in judge.variables))
        self.outputs = tuple(dict.fromkeys(self.model.variable(name).name for name in names))
        self._rows = np.searchsorted(self._moments, self._times)
        self._measured = np.array(
            [self.outputs.index(self.model.variable(name).name) for name in self.measurement.variables], dtype=np.intp
        )
        self._points = {
            name: self._rows[places][:, :, None] * len(self.outputs) + self._measured[columns]
            for name, (places, columns) in self.measurement.points(self._years, self._times)
        }
        self._still = {
            name: self.measurement.shift_factors(name, years, np.zeros(0))
            for name, years in self._years.items()
            if self._extras.shifts[name].start == self._extras.shifts[name].stop
        }
        self._last: tuple[bytes, Evaluated] | None = None

    def __getstate__(self) -> dict[str, object]:
        """What another process needs: the equations without machine code."""
        state = {name: value for name, value in self.__dict__.items() if name not in {"_runner", "_forward", "_last"}}
        return {**state, "model": dataclasses.replace(self.model), "_last": None}

    @cached_property
    def _runner(self) -> sd.Runner:
        return sd.Runner(
            self.model, self.free, outputs=self.outputs, times=self._steps.times.tolist(), horizon=self.horizon,
            scenario=self.scenario, solver=sd.RungeKutta4(self.step),
        )  # fmt: skip

    @cached_property
    def _forward(self) -> sd.ForwardRunner:
        return sd.ForwardRunner(
            self.model, self.free, outputs=self.outputs, times=self._steps.times.tolist(), horizon=self.horizon,
            scenario=self.scenario, step=self.step,
        )  # fmt: skip

    def own_values(self) -> Floats:
        """Values of `free` in the scenario, or else in the model; NaN for a stock whose initial value is computed."""
        return self._own.copy()

    def default_priors(self) -> dict[str, Prior]:
        """Priors of the extras."""
        return priors_of(self._extras, self.noise, self.series, self._first_factor)

    def _first_factor(self, name: str) -> float:
        """Figures over predictions, on average, of the model as it stands."""
        outputs = values_at(self.model, self.scenario, self.horizon, self.outputs, self._times)
        if outputs is None:
            return 1.0
        try:
            raw = dict(self.measurement.predict(self._years, self._times, outputs[:, self._measured]))[name]
        except SimulationError:
            return 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = float(np.mean(np.abs(self.series[name].values)) / np.mean(np.abs(raw)))
        return ratio if np.isfinite(ratio) and ratio > 0.0 else 1.0

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the numbers depend on."""
        chosen = (self.free, self.measurement, self.noise, self.judges, self.scenario, self.horizon, self.step)
        figures = [(one.years, one.values, one.errors) for one in self.series.values()]
        return digest([self.model.digest, self.region, *map(repr, chosen), figures])

    def payoff(self, values: Floats) -> float:
        """Minus the log-likelihood.

        Parameters
        ----------
        values : shape (n_names,)
            In the order of `names`, in their own units.

        Raises
        ------
        SimulationError
            If the run blows up or predicts what the noise model cannot take.
        """
        return self._evaluate(values, slopes=False).payoff

    def payoff_and_gradient(self, values: Floats) -> tuple[float, Floats]:
        """Minus the log-likelihood and its derivatives, shape (n_names,), per unit of each value."""
        found = self._evaluate(values, slopes=True)
        assert found.gradient is not None
        return found.payoff, found.gradient

    def information(self, values: Floats) -> Floats:
        """Expected information (Gauss-Newton) at these values, shape (n_names, n_names)."""
        total = sum(self.informations(values).values(), start=np.zeros((len(self.names), len(self.names))))
        for payoff, slope in self._evaluate(values, slopes=True).judges:
            if payoff > 1e-12:  # a payoff of r**2 / 2 has the gradient r dr, hence the information dr dr'
                total += np.outer(slope, slope) / (2.0 * payoff)
        return total

    def informations(self, values: Floats) -> dict[str, Floats]:
        """Expected information of each series: indicator -> (n_names, n_names)."""
        evaluated, count = self._evaluate(values, slopes=True), len(self.free)
        found: dict[str, Floats] = {}
        for name, jacobian in evaluated.jacobians.items():
            judged, place = evaluated.outcomes[name].judged, self._extras.noise[name]
            weighted = judged.root[:, None] * jacobian if judged.root.ndim == 1 else judged.root @ jacobian
            one: Floats = weighted.T @ weighted
            noise = np.arange(count + place.start, count + place.stop)
            shared = jacobian.T @ judged.cross
            one[:, noise] += shared
            one[noise] += shared.T
            one[np.ix_(noise, noise)] += judged.value_information
            found[name] = one
        return found

    def solved(self, name: str) -> bool:
        """Whether the factor of an indicator's gauge is unknown and solved in closed form."""
        return self.measurement.gauges[name].scale and name not in self._extras.factors

    def factor(self, name: str, values: Floats) -> float:
        """Factor of an indicator's gauge, solved or estimated; 1 where it has none."""
        judged = self._evaluate(values, slopes=False).outcomes[name].judged
        return judged.factor * self._factor(name, values[len(self.free) :])

    def noise_values(self, name: str, values: Floats) -> Floats:
        """Values of an indicator's noise unknowns, shape (..., n_unknowns), among all values, shape (..., n_names)."""
        return values[..., len(self.free) :][..., self._extras.noise[name]]

    @property
    def noise_names(self) -> tuple[str, ...]:
        """Those extras that belong to noise."""
        return tuple(name for place in self._extras.noise.values() for name in self.extras[place])

    def unit(self, name: str) -> str:
        """Unit of the value of one of `names`; `dmnl` for what has none."""
        if name in self.free:
            return self.model.variable(name).units
        own = {f"noise of {one}": self.series[one].unit for one, noise in self.noise.items() if not noise.relative}
        return own.get(name, "dmnl")

    def outcome(self, values: Floats) -> dict[str, Outcome]:
        """Every series beside its prediction, by indicator."""
        return self._evaluate(values, slopes=False).outcomes

    def sensitivities(self, values: Floats) -> dict[str, Floats]:
        """Derivatives of the predictions (factor included, held) by all names: indicator -> (n_figures, n_names)."""
        found = self._evaluate(values, slopes=True)
        return {name: found.outcomes[name].judged.factor * jacobian for name, jacobian in found.jacobians.items()}

    def draw(self, values: Floats, seed: int) -> Dataset:
        """Figures as the model and its noise would give them, at the years of the data: a replicate or a twin."""
        rng = np.random.default_rng(seed)
        series = dict(self.dataset.series)
        for name, outcome in self.outcome(values).items():
            one, known = self.series[name], self.noise_values(name, values)
            figures = self.noise[name].draw(one.years, outcome.predicted, known, rng, one.errors)
            series[name] = replace(one, values=figures)
        return replace(self.dataset, series=series)

    def with_data(self, dataset: Dataset) -> Likelihood:
        """The same likelihood of other figures."""
        return self._of(dataset, self.measurement)

    def with_step(self, step: float) -> Likelihood:
        """The same likelihood with another step of the solver."""
        return self._of(self.dataset, self.measurement, step)

    def _of(self, dataset: Dataset, measurement: Measurement, step: float | None = None) -> Likelihood:
        return Likelihood(
            self.model, dataset, measurement, self.free, noise={name: self.noise[name] for name in measurement.gauges},
            judges=self.judges, scenario=self.scenario, horizon=self.horizon, step=step or self.step,
            region=self.region,
        )  # fmt: skip

    def between(self, first: float = -np.inf, last: float = np.inf) -> Likelihood:
        """The same likelihood of the figures from `first` to `last`, both included.

        Indicators without a figure then are left out, and so are unknown level shifts without figures on both sides.
        """
        series = {name: kept_years(one, first, last) for name, one in self.dataset.series.items()}
        gauges = {name: gauge for name, gauge in self.measurement.gauges.items() if len(series[name].years)}
        if not gauges:
            raise DataError(f"{self.dataset.path.name} has no measured figure from {first:g} to {last:g}")
        kept = {}
        for name in gauges:
            years, some = series[name].years, self.measurement.shifts.get(name, ())
            inside = [one for one in some if one.factor is not None or years[0] < one.year <= years[-1]]
            kept[name] = tuple(inside)
        return self._of(replace(self.dataset, series=series), replace(self.measurement, gauges=gauges, shifts=kept))

    def predictor(self, years: ArrayLike | Mapping[str, ArrayLike]) -> Callable[[Floats], dict[str, Floats]]:
        """A function that says what the model predicts of every indicator in some years, at given values.

        Factors come from the figures of this likelihood, level shifts hold on. The horizon is extended where needed.

        Parameters
        ----------
        years
            The same for all indicators, or those of each indicator.

        Returns
        -------
        predict
            `predict(values)` gives indicator -> shape (n_years,), in the unit of the data.

        Raises
        ------
        DataError
            If there are no years, one is no number or needs the model before the run's start, or there is no such
            indicator.
        FitError
            From `predict`, if there are not as many values as parameters.
        """
        each = years if isinstance(years, Mapping) else dict.fromkeys(self.series, years)
        for name in each:
            if name not in self.series:
                raise DataError(f"{self.region}: there is no indicator '{name}'{near(name, self.series)} to predict")
        asked = {name: np.atleast_1d(np.asarray(some, dtype=float)) for name, some in each.items()}
        if not asked or not all(some.size and np.isfinite(some).all() for some in asked.values()):
            raise DataError(f"{self.region}: the years to predict should be numbers, at least one for each indicator")
        times = self.measurement.times(asked)
        if times.min() < self.horizon.start - 1e-9:
            raise DataError(
                f"{self.region}: the years asked for need the model at {times.min():g}, before the run's start "
                f"({self.horizon.start:g}); ask for later years"
            )
        horizon = replace(self.horizon, end=max(self.horizon.end, float(times.max())))
        steps = Steps(times, horizon)
        runner = sd.Runner(
            self.model, self.free, outputs=self.outputs, times=steps.times.tolist(), horizon=horizon,
            scenario=self.scenario, solver=sd.RungeKutta4(self.step),
        )  # fmt: skip

        def predict(values: Floats) -> dict[str, Floats]:
            outcomes = self.outcome(values)
            outputs = steps.between(runner(values[: len(self.free)]))[:, self._measured]
            extras, found = values[len(self.free) :], {}
            for name, raw in self.measurement.predict(asked, times, outputs):
                shifted = raw * self._shifted(name, asked[name], extras)[0] * self._factor(name, extras)
                found[name] = outcomes[name].judged.factor * shifted
            return found

        return predict

    def _simulate(self, free: Floats) -> Floats:
        return self._steps.between(self._runner(free))

    def _evaluate(self, values: Floats, *, slopes: bool) -> Evaluated:
        """Everything at one point; the latest point is remembered, since optimisers ask for it again."""
        values = np.asarray(values, dtype=float)
        if values.shape != (len(self.names),):
            raise FitError(f"{self.region}: {values.size} value(s) for {len(self.names)}: {', '.join(self.names)}")
        where = values.tobytes()
        if self._last is None or self._last[0] != where or (slopes and self._last[1].gradient is None):
            with np.errstate(all="ignore"):  # what overflows is found by what is not finite in the end
                self._last = (where, self._evaluate_new(values, slopes=slopes))
        return self._last[1]

    def _evaluate_new(self, values: Floats, *, slopes: bool) -> Evaluated:
        count = len(self.free)
        free, extras = values[:count], values[count:]
        jacobian: Floats | None = None
        if slopes and count:
            rows, raw = self._forward(free)
            outputs, jacobian = self._steps.between(rows), self._steps.between(raw)
        else:
            outputs = self._simulate(free)
            jacobian = np.zeros((*outputs.shape, 0)) if slopes else None
        gradient = np.zeros(len(self.names)) if slopes else None
        outcomes, jacobians, payoff = {}, {}, 0.0
        for name, gauge in self.measurement.gauges.items():
            samples = outputs.take(self._points[name])
            raw = np.asarray(gauge.read(samples, self._years[name]))
            shifts, factor = self._shifts_of(name, extras), self._factor(name, extras)
            outcome = self._outcome(name, raw * (shifts[0] * factor), extras)
            outcomes[name] = outcome
            payoff += outcome.judged.payoff
            if gradient is not None and jacobian is not None:
                slopes_of = gauge.slopes(samples, self._years[name])
                full = self._jacobian(name, raw, slopes_of, jacobian, shifts, factor)
                jacobians[name] = full
                gradient += full.T @ outcome.judged.slope
                place = self._extras.noise[name]
                gradient[count + place.start : count + place.stop] += outcome.judged.value_slopes
        judges = []
        for judge, times in zip(self.judges, self._watched, strict=True):
            more, slope = self._watch(judge, times, outputs, jacobian)
            payoff += more
            if gradient is not None:
                gradient += slope
                judges.append((more, slope))
        if not np.isfinite(payoff) or (gradient is not None and not np.isfinite(gradient).all()):
            raise SimulationError(f"{self.region}: the figures have no finite likelihood at this point")
        return Evaluated(payoff, outcomes, gradient, jacobians, tuple(judges))

    def _outcome(self, name: str, predicted: Floats, extras: Floats) -> Outcome:
        """A series judged."""
        one, noise = self.series[name], self.noise[name]
        check_predictions(self.region, name, one.years, predicted, noise)
        judged = noise.judge(
            one.years, one.values, predicted, extras[self._extras.noise[name]], one.errors, free_scale=self.solved(name)
        )
        if not 0.0 < judged.factor < np.inf:
            raise SimulationError(
                f"{self.region}: no factor above zero brings what the model gives for '{name}' near its figures"
            )
        return Outcome(one.years, one.values, judged.factor * predicted, judged)

    def _shifts_of(self, name: str, extras: Floats) -> tuple[Floats, Floats]:
        """Factors of an indicator's level shifts in the years of its figures, and their derivatives."""
        still = self._still.get(name)
        return self._shifted(name, self._years[name], extras) if still is None else still

    def _shifted(self, name: str, years: Floats, extras: Floats) -> tuple[Floats, Floats]:
        return self.measurement.shift_factors(name, years, extras[self._extras.shifts[name]])

    def _factor(self, name: str, extras: Floats) -> float:
        return float(extras[self._extras.factors[name]]) if name in self._extras.factors else 1.0

    def _jacobian(
        self, name: str, raw: Floats, slopes: Floats, jacobian: Floats, shifts: tuple[Floats, Floats], factor: float
    ) -> Floats:
        """Derivatives of the predictions of one series (before a solved factor), shape (n_figures, n_names).

        Parameters
        ----------
        name, raw
            The indicator, and its statistics before shifts and factor.
        slopes : shape (n_figures, n_points, n_variables)
            Of the statistics by the points of the trajectory.
        jacobian : shape (n_moments, n_outputs, n_free)
            Of the trajectory.
        shifts, factor
            As `_shifts_of` and `_factor` give them.
        """
        full = np.zeros((len(raw), len(self.names)))
        count, (level, by_shift) = len(self.free), shifts
        if count:
            samples = jacobian.reshape(-1, count).take(self._points[name], axis=0)
            full[:, :count] = (level * factor)[:, None] * np.einsum("ypv,ypvk->yk", slopes, samples)
        if by_shift.size:
            place = self._extras.shifts[name]
            full[:, count + place.start : count + place.stop] = raw[:, None] * (factor * by_shift)
        if name in self._extras.factors:
            full[:, count + self._extras.factors[name]] = raw * level
        return full

    def _watch(self, judge: Judge, times: Floats, outputs: Floats, jacobian: Floats | None) -> tuple[float, Floats]:
        """What a constraint or pattern adds to the payoff, and to the gradient."""
        rows = np.searchsorted(self._moments, times)
        columns = [self.outputs.index(self.model.variable(name).name) for name in judge.variables]
        payoff, slopes = judge.judge(times, outputs[rows][:, columns])
        gradient = np.zeros(len(self.names))
        if jacobian is not None and self.free:
            gradient[: len(self.free)] = np.einsum("tv,tvk->k", slopes, jacobian[rows][:, columns])
        return payoff, gradient
