"""Misfit: how far a model with given parameters is from a dataset, on a log scale.

The noise of each series is taken as log-normal with one scale per series. Unless given, that scale is
estimated from the series' own residuals, the concentrated likelihood of Seber & Wild (1989), Nonlinear
Regression, section 2.2.3 (doi:10.1002/0471725315): the maximum over the scale is put in closed form, so only the
model's parameters are searched.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

import sd_cluster as sd
from calibration.dataset import Dataset, Series
from calibration.measurement import Measurement, log_scale
from calibration.scaling import Scaling, scaling_of
from calibration.statistics import Floats
from sd_cluster.errors import DataError, FitError, SimulationError, near

NOISE_FLOOR = 0.01
"""Least noise of a series, as a fraction: printed figures are rounded and dated to about a per cent."""


class Misfit:
    """Weighted squares on the log scale, as a function of the parameters of a space.

    Calling it with a vector gives the payoff, minus the log-likelihood (smaller is better), so that a
    difference of 1.92 between two vectors is the usual 95 % cut-off for one parameter.

    Parameters
    ----------
    model
        The model to fit.
    space
        The parameters and initial values to search, with their ranges.
    measurement
        Which gauge reads which indicator.
    dataset
        The figures; indicators without a gauge are not used, and named in `unused`.
    scenario
        What is changed in the model for every run.
    horizon
        The time to run over; the model's own by default.
    solver
        Fourth-order Runge-Kutta with the model's step by default: a fixed step makes the misfit smooth.
    noise
        Noise scales that are known, by indicator, as fractions (0.05 is about 5 %); the others are estimated.
    noise_floor
        Least estimated noise; without it a series of few figures is fitted exactly at the cost of the others.

    Raises
    ------
    ModelError
        If the space or a gauge names what the model does not have.
    DataError
        If an indicator is missing or empty, a figure is not positive, or a year lies outside the run.
    FitError
        If `noise` is not made of positive numbers for measured indicators, or a searched parameter
        is a function of time in the scenario.
    """

    def __init__(
        self,
        model: "sd.Model",
        space: "sd.Space",
        measurement: Measurement,
        dataset: Dataset,
        *,
        scenario: "sd.Scenario | None" = None,
        horizon: "sd.Horizon | tuple[float, float] | None" = None,
        solver: "sd.Euler | sd.RungeKutta4 | None" = None,
        noise: Mapping[str, float] | None = None,
        noise_floor: float = NOISE_FLOOR,
    ) -> None:
        space.check(model)
        if any(measurement.shifts.values()):
            raise FitError("the misfit knows no level shifts; give the measurement none, or use a likelihood")
        for variable in measurement.variables:
            model.variable(variable)
        self.model = model
        self.space = space
        self.names: tuple[str, ...] = tuple(space.names)
        self.measurement = measurement
        self.dataset = dataset
        self.scenario = scenario if scenario is not None else sd.Scenario("base")
        self.horizon = horizon
        self.solver = solver if solver is not None else sd.RungeKutta4()
        if not isinstance(self.solver, (sd.Euler, sd.RungeKutta4)):
            raise FitError(f"the misfit runs with {self.solver}; expected fixed steps, Euler() or RungeKutta4()")
        self.noise_floor = noise_floor
        self.series: dict[str, Series] = {name: dataset[name] for name in measurement.gauges}
        self.fixed_noise = _checked_noise(noise or {}, self.series, noise_floor)
        self.scaling: Scaling = scaling_of(space.lower, space.upper)
        self._years = {name: one.years for name, one in self.series.items()}
        self._log_observed: dict[str, Floats] = {}
        for name, one in self.series.items():
            self._log_observed[name] = _log_of(one, dataset.path.name, self.measurement.gauges[name].scale)
            self._check_years(one)
        self._times = measurement.times(self._years)
        self._steps = _Steps(self._times, self.span, self.solver.step or self._run_horizon.step)
        self._own = np.clip([self._own_value(name) for name in self.names], space.lower, space.upper)
        self._own.setflags(write=False)
        self._runner = self._compiled()

    def _compiled(self) -> "sd.Runner":
        return sd.Runner(
            self.model,
            self.names,
            outputs=self.measurement.variables,
            times=self._steps.times.tolist(),
            horizon=self.horizon,
            scenario=self.scenario,
            solver=self.solver,
        )

    def __getstate__(self) -> dict[str, object]:
        """What goes to another process: the equations without the machine code, which is compiled or cached there."""
        state = {name: value for name, value in self.__dict__.items() if name != "_runner"}
        return {**state, "model": dataclasses.replace(self.model)}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._runner = self._compiled()

    @property
    def skipped(self) -> dict[str, tuple[tuple[int, str], ...]]:
        """Rows of measured indicators that are not used, as (line, reason)."""
        return {name: one.skipped for name, one in self.series.items()}

    @property
    def unused(self) -> tuple[str, ...]:
        """Indicators of the dataset that no gauge reads."""
        return tuple(name for name in self.dataset.series if name not in self.series)

    @property
    def span(self) -> tuple[float, float]:
        """First and last moment of the run."""
        if isinstance(self.horizon, tuple):
            return float(self.horizon[0]), float(self.horizon[1])
        return self._run_horizon.start, self._run_horizon.end

    @property
    def _run_horizon(self) -> "sd.Horizon":
        return self.horizon if isinstance(self.horizon, sd.Horizon) else self.model.horizon

    def __call__(self, vector: Floats) -> float:
        """Minus the log-likelihood of the figures' logarithms, noise scales at their best.

        Parameters
        ----------
        vector : shape (n_parameters,)
            Values in the order of `names`, in the parameters' own units.

        Raises
        ------
        SimulationError
            If the run blows up, or gives no positive value where a figure needs one.
        """
        residuals = self.log_residuals(vector)
        return payoff(residuals, self.noise_scales(residuals))

    def residuals(self, vector: Floats, noise: Mapping[str, float] | None = None) -> Floats:
        """Log residuals, each divided by the noise scale of its series; shape (n_figures,).

        Parameters
        ----------
        vector : shape (n_parameters,)
            Values in the order of `names`.
        noise
            One scale per indicator; estimated from these very residuals where None.
        """
        residuals = self.log_residuals(vector)
        scales = noise if noise is not None else self.noise_scales(residuals)
        return np.concatenate([values / scales[name] for name, values in residuals.items()])

    def log_residuals(self, vector: Floats) -> dict[str, Floats]:
        """log(observed) - log(predicted) by indicator, unknown scales already at their best."""
        found = {}
        for name, predicted in self._unscaled(vector).items():
            difference = self._log_observed[name] - np.log(predicted)
            if self.measurement.gauges[name].scale:
                difference = difference - difference.mean()
            found[name] = difference
        return found

    def noise_scales(self, residuals: Mapping[str, Floats]) -> dict[str, float]:
        """Noise scale of each series: the known one, or the root mean square of its residuals, floored."""
        return {
            name: self.fixed_noise.get(name, max(self.noise_floor, float(np.sqrt(np.mean(values**2)))))
            for name, values in residuals.items()
        }

    def predict(self, vector: Floats) -> dict[str, Floats]:
        """Predicted figures by indicator, in the units of the data, at the years of the data."""
        scales = self.scales(vector)
        return {name: scales[name] * values for name, values in self._unscaled(vector).items()}

    def scales(self, vector: Floats) -> dict[str, float]:
        """Factor from model variable to figure by indicator: 1 unless the gauge leaves it unknown."""
        found = {}
        for name, predicted in self._unscaled(vector).items():
            unknown = self.measurement.gauges[name].scale
            factor = np.exp(log_scale(predicted, self.series[name].values)) if unknown else 1.0
            found[name] = float(factor)
        return found

    def own_values(self) -> Floats:
        """The values of the scenario, or else of the model, brought inside the ranges; shape (n_parameters,).

        A stock's initial value that is not set by a number is taken from the middle of its range.
        """
        return self._own

    def _own_value(self, name: str) -> float:
        value = value_in(self.model, self.scenario, name)
        if isinstance(value, sd.TimeSeries):
            raise FitError(
                f"scenario '{self.scenario.name}' makes '{self.model.variable(name).name}' a function of time, so it "
                "cannot be searched as one number; take it out of the space or out of the scenario"
            )
        if value is not None:
            return value
        middle = self.scaling.from_unit(np.full(len(self.names), 0.5))
        return float(middle[self.names.index(name)])

    def _unscaled(self, vector: Floats) -> dict[str, Floats]:
        outputs = self._steps.between(self._runner(np.asarray(vector, dtype=float)))
        found = dict(self.measurement.predict(self._years, self._times, outputs))
        for name, predicted in found.items():
            bad = ~(np.isfinite(predicted) & (predicted > 0.0))
            if bad.any():
                first = int(np.flatnonzero(bad)[0])
                raise SimulationError(
                    f"'{self.measurement.gauges[name].variable}' gives {predicted[first]:.3g} for the figure "
                    f"'{name}' of {self._years[name][first]:.0f}, which needs a value above zero"
                )
        return found

    def _check_years(self, one: Series) -> None:
        """Every moment a figure needs must lie within the run."""
        start, end = self.span
        asked = self.measurement.gauges[one.indicator].times(one.years)
        for line, year, moments in zip(one.lines, one.years, asked, strict=True):
            where = f"{self.dataset.path.name} line {line}: year {year:.0f}"
            needs = "" if moments.min() == moments.max() == year else " needs the model at {:g}, which"
            if moments.max() > end + 1e-9:
                far = needs.format(moments.max())
                raise DataError(f"{where}{far} lies after the run's end ({end:g}); extend the horizon or drop the row")
            if moments.min() < start - 1e-9:
                far = needs.format(moments.min())
                raise DataError(
                    f"{where}{far} lies before the run's start ({start:g}); start the horizon earlier or drop the row"
                )


class _Steps:
    """The steps of the solver on either side of each moment asked for, and the straight line between them."""

    def __init__(self, times: Floats, span: tuple[float, float], step: float) -> None:
        start, end = span
        position = np.maximum((times - start) / step, 0.0)
        nearest = np.round(position)
        exact = np.abs(position - nearest) < 1e-6
        left = np.where(exact, nearest, np.floor(position)).astype(np.int64)
        right = np.minimum(left + ~exact, int(np.floor((end - start) / step + 1e-6)))
        rows = np.unique(np.concatenate([left, right]))
        self.times: Floats = np.minimum(start + rows * step, end)
        self._left, self._right = np.searchsorted(rows, left), np.searchsorted(rows, right)
        self._share = np.where(exact, 0.0, position - left)[:, None]

    def between(self, outputs: Floats) -> Floats:
        """Values at the moments asked for from values at the steps; shape (n_times, n_outputs)."""
        return (1.0 - self._share) * outputs[self._left] + self._share * outputs[self._right]


def value_in(model: "sd.Model", scenario: "sd.Scenario", name: str) -> "float | sd.TimeSeries | None":
    """What a scenario gives a parameter or a stock's initial value, else the model; None for a stock left alone."""
    full = model.variable(name).name
    for changed, value in scenario.changes.items():
        if model.variable(changed).name == full:
            return value if isinstance(value, sd.TimeSeries) else float(value)
    parameter = model.parameters.get(full)
    return None if parameter is None else float(parameter.value)


def payoff(residuals: Mapping[str, Floats], noise: Mapping[str, float]) -> float:
    """Minus the log-likelihood of normal residuals with these noise scales.

    Examples
    --------
    One residual of zero with noise one leaves half the log of two pi:

    >>> round(payoff({"firms": np.zeros(1)}, {"firms": 1.0}), 6)
    0.918939
    """
    total = 0.0
    for name, values in residuals.items():
        scale = noise[name]
        total += 0.5 * float(np.sum((values / scale) ** 2)) + values.size * float(np.log(scale * np.sqrt(2 * np.pi)))
    return total


def _checked_noise(noise: Mapping[str, float], series: Mapping[str, Series], floor: float) -> dict[str, float]:
    if not (np.isfinite(floor) and floor > 0.0):
        raise FitError(f"noise_floor is {floor}; expected a small positive fraction, such as 0.01")
    for name, value in noise.items():
        if name not in series:
            raise FitError(f"noise is given for '{name}', which is not measured{near(name, series)}")
        if not (np.isfinite(value) and value > 0.0):
            raise FitError(f"the noise of '{name}' is {value}; expected a positive fraction, such as 0.05")
    return {name: float(value) for name, value in noise.items()}


def _log_of(one: Series, file: str, scale: bool) -> Floats:
    """Logarithms of the figures, after the checks that need the whole series."""
    if not len(one.years):
        raise DataError(f"{file}: '{one.indicator}' has no figure, only gaps; drop it from the measurement")
    if scale and len(one.years) < 2:
        raise DataError(
            f"{file}: '{one.indicator}' has one figure only, which its unknown scale would fit exactly; "
            "give it scale=False or drop it from the measurement"
        )
    bad = np.flatnonzero(one.values <= 0.0)
    if bad.size:
        first = int(bad[0])
        raise DataError(
            f"{file} line {one.lines[first]}: '{one.indicator}' is {one.values[first]:g} in "
            f"{one.years[first]:.0f}, which has no logarithm; leave the cell empty for a gap"
        )
    return np.log(one.values)
