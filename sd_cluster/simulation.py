"""Running a model: at one go, or step by step."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from sd_cluster.errors import ModelError, ScenarioError, SimulationError
from sd_cluster.kernel import Backend, Floats, Kernel, blame, blame_step, compile_jacobian, compile_model
from sd_cluster.model import Horizon, Model, Parameter, Stock
from sd_cluster.run import Run
from sd_cluster.scenario import Change, Scenario, TimeSeries, apply
from sd_cluster.solvers import Adaptive, Euler, RungeKutta4, Solver

_NUMBA_PAYS = 3_000_000
"""Evaluated equations above which compiling for a single run pays."""


def simulate(
    model: Model,
    scenario: Scenario | None = None,
    *,
    solver: Solver | None = None,
    horizon: Horizon | tuple[float, float] | None = None,
    save: float | Sequence[float] | None = None,
    backend: Backend | None = None,
) -> Run:
    """Run a model under a scenario.

    Parameters
    ----------
    model
    scenario
        Changes to the model; none where not given.
    solver
        `Adaptive()` where not given: continuous time. `Euler()` and `RungeKutta4()` take the model's own step and
        replay Vensim's meaning of it.
    horizon
        Start and end, or a whole `Horizon`; the model's own where not given.
    save
        Time between saved rows, or the times themselves; the model's SAVEPER where not given.
    backend
        `python` or `numba`; chosen by the length of the run where not given.

    Returns
    -------
    run

    Raises
    ------
    ScenarioError
        If the scenario, horizon or save times do not fit the model.
    SimulationError
        If the run cannot go on; the text names the time, the variable and the stock.
    """
    simulation = Simulation(model, scenario, solver=solver, horizon=horizon, save=save, backend=backend)
    simulation.run_to(simulation.horizon.end)
    return simulation.run()


class Simulation:
    """A run that can be stopped, changed and taken further.

    Examples
    --------
    >>> import sd_cluster as sd
    >>> simulation = sd.Simulation(sd.load("collective_learning"))
    >>> simulation.run_to(2000)
    >>> simulation.change({"trust": 0.1, "talent flow": 0.8})
    >>> simulation.run_to(2040)
    >>> run = simulation.run()
    """

    def __init__(
        self,
        model: Model,
        scenario: Scenario | None = None,
        *,
        solver: Solver | None = None,
        horizon: Horizon | tuple[float, float] | None = None,
        save: float | Sequence[float] | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.model = model
        self.scenario = scenario or Scenario()
        self.solver = solver or Adaptive()
        self.horizon = chosen_horizon(model, horizon, self.solver)
        self._saves = save_times(self.horizon, save)
        self._backend = backend or self._choose_backend()
        self._changes: list[dict[str, object]] = []
        self._rows: list[Floats] = []
        self._times: list[float] = []
        self.time = self.horizon.start
        self._steps_done = 0
        self._kernel, self._p = self._prepare(self.scenario)
        self._y = self._kernel.array(len(self._kernel.stocks))
        self._start()

    def _choose_backend(self) -> Backend:
        if isinstance(self.solver, Adaptive):
            return "python"
        steps = (self.horizon.end - self.horizon.start) / self.horizon.step
        stages = 4 if isinstance(self.solver, RungeKutta4) else 1
        return "numba" if steps * stages * len(self.model.equations) > _NUMBA_PAYS else "python"

    def _prepare(self, scenario: Scenario) -> tuple[Kernel, Any]:
        """Kernel and vector of inputs of a scenario."""
        inputs = apply(self.model, scenario)
        kernel = compile_model(inputs.model, self._backend)
        p = kernel.vector({**controls(self.model, self.horizon), **inputs.values}, inputs.tables)
        if not isinstance(self.solver, Adaptive):
            p[kernel.half_step] = self.horizon.step / 2.0
        with _guard(kernel, self.time, self._constant_reason):
            kernel.constants(p)
        return kernel, p

    def _constant_reason(self) -> str:
        return "a value that depends on parameters alone cannot be computed"

    def _start(self) -> None:
        kernel = self._kernel
        self._breaks = self._switch_times()
        with _guard(kernel, self.time, lambda: "the initial values cannot be computed"):
            kernel.initial(self.time, self._tick(self.time), self._p, self._y)
        for name, value in zip(kernel.stocks, self._y, strict=True):
            if not math.isfinite(value):
                raise SimulationError(f"{self.model.name}: stock '{name}' starts at {value}; it should be a number")

    def run_to(self, time: float) -> None:
        """Go on to a time, not beyond the end of the horizon.

        Raises
        ------
        ScenarioError
            If the time lies behind, beyond the horizon, or between two steps of a fixed-step solver.
        SimulationError
            If the run cannot go on.
        """
        if not self.time <= time <= self.horizon.end:
            raise ScenarioError(
                f"cannot run to {time:g}: the run stands at {self.time:g} and ends at {self.horizon.end:g}"
            )
        if isinstance(self.solver, Adaptive):
            self._run_adaptive(time)
        else:
            self._run_fixed(time)
        self.time = time

    def change(self, changes: Mapping[str, Change]) -> None:
        """Change inputs from now on: parameters take new values or series, stocks jump.

        Parameters
        ----------
        changes
            As in a `Scenario`; a stock's number is its value now.
        """
        later = Scenario(self.scenario.name, changes)
        apply(self.model, later)
        jumps = {}
        for target, change in later.changes.items():
            equation = self.model.variable(target)
            if isinstance(equation, Stock) and not isinstance(change, TimeSeries):
                jumps[equation.name] = change
        merged = {self.model.variable(name).name: change for name, change in self.scenario.changes.items()}
        for target, change in later.changes.items():
            if (name := self.model.variable(target).name) not in jumps:
                merged[name] = change
        self._changes.append({"time": self.time, "changes": _plain(later.changes)})
        self.scenario = Scenario(self.scenario.name, merged)
        frozen = {name: self._p[self._kernel.slots[name]] for name in self._kernel.structure.frozen}
        state = dict(zip(self._kernel.stocks, self._y, strict=True)) | jumps
        self._kernel, self._p = self._prepare(self.scenario)
        for name, value in frozen.items():
            self._p[self._kernel.slots[name]] = value
        self._y = self._kernel.array(len(self._kernel.stocks))
        for slot, name in enumerate(self._kernel.stocks):
            self._y[slot] = state[name]
        self._breaks = self._switch_times()
        if self._times and self._times[-1] == self.time:
            self._rows[-1] = self._row(self.time)

    def now(self, name: str) -> float:
        """Value of a variable at this moment."""
        row = self._row(self.time)
        equation = self.model.variable(name)
        if equation.name not in self._kernel.names:
            raise ModelError(f"'{equation.name}' is a {equation.kind}, which has no value of its own")
        return float(row[self._kernel.names.index(equation.name)])

    def run(self) -> Run:
        """The run so far; a stop between saved times adds a row."""
        times, rows = list(self._times), list(self._rows)
        if not times or times[-1] < self.time:
            times.append(self.time)
            rows.append(self._row(self.time))
        units = tuple(self.model.variable(name).units for name in self._kernel.names)
        return Run(
            times=np.array(times),
            values=np.array(rows),
            names=self._kernel.names,
            units=units,
            scenario=self.scenario.name,
            notes=self._notes(),
            provenance=self._provenance(),
        )

    def _row(self, time: float) -> Floats:
        row = self._kernel.array(len(self._kernel.names))
        tick = self._tick(time)
        try:
            self._kernel.outputs(time, tick, self._y, self._p, row)
        except (ArithmeticError, ValueError):
            raise blame(self._kernel, time, tick, list(self._y), self._p) from None
        return np.array(row, dtype=float)

    def _tick(self, time: float) -> float:
        """The moment at which switches are judged: this step's start, or the middle of this stretch."""
        if not isinstance(self.solver, Adaptive):
            return time
        later = [moment for moment in self._breaks if moment > time]
        earlier = [moment for moment in self._breaks if moment <= time]
        low = earlier[-1] if earlier else self.horizon.start
        high = later[0] if later else max(self.horizon.end, time) + 1.0
        return 0.5 * (low + high)

    def _switch_times(self) -> list[float]:
        """Times inside the horizon at which a continuous solver must stop and restart."""
        if not isinstance(self.solver, Adaptive):
            return []
        start, end = self.horizon.start, self.horizon.end
        with _guard(self._kernel, self.time, lambda: "a switching time cannot be computed"):
            times = list(self._kernel.switch_times(self._p, start, end))
        times += _points_of_time(self._kernel, self._p)
        return sorted({time for time in times if start < time < end})

    def _run_fixed(self, time: float) -> None:
        step = self.horizon.step
        last = round((time - self.horizon.start) / step)
        if abs(self.horizon.start + last * step - time) > 1e-6 * step:
            raise ScenarioError(
                f"{time:g} does not fall on a step of {step:g} from {self.horizon.start:g};"
                " choose a step that divides the time, or Adaptive()"
            )
        saves = [save for save in self._saves if self.time <= save <= time and save not in self._times[-1:]]
        rows = np.array([round((save - self.horizon.start) / step) for save in saves], dtype=np.int64)
        kernel, n = self._kernel, len(self._y)
        out, before = kernel.matrix(len(rows)), kernel.array(2 * n + 1)
        march = kernel.euler if isinstance(self.solver, Euler) else kernel.rk4
        arguments = (self.horizon.start, step, self._steps_done, last, rows, 0, self._y, self._p)
        try:
            failed = march(*arguments, kernel.array(n), before, out)
        except (ArithmeticError, ValueError):
            raise blame_step(kernel, self.horizon.start, step, before, self._y, self._p) from None
        if failed >= 0:
            raise blame_step(kernel, self.horizon.start, step, before, self._y, self._p)
        self._steps_done = last
        self._times += saves
        self._rows += [np.array(row, dtype=float) for row in out]

    def _run_adaptive(self, time: float) -> None:
        from scipy.integrate import solve_ivp

        assert isinstance(self.solver, Adaptive)
        stops = [moment for moment in self._breaks if self.time < moment < time]
        if not self._times and self._saves and self._saves[0] == self.time:
            self._times.append(self.time)
            self._rows.append(self._row(self.time))
        here = self.time
        for stop in [*stops, time] if time > here else []:
            saves = [save for save in self._saves if here < save < stop]
            rates = _Rates(self._kernel, self._p, self._tick(here), np.nextafter(stop, -np.inf))
            options: dict[str, Any] = {
                "method": self.solver.method,
                "rtol": self.solver.rtol,
                "atol": self.solver.atol,
            }
            if self.solver.method in {"LSODA", "Radau", "BDF"} and len(self._y):
                options["jac"] = rates.jacobian
            answer = solve_ivp(rates, (here, stop), np.array(self._y), t_eval=[*saves, stop], **options)
            if not answer.success or not np.isfinite(answer.y).all():
                raise self._blame_adaptive(answer)
            for save, state in zip(saves, answer.y.T, strict=False):
                self._save_row(save, state)
            self._set_state(answer.y[:, -1])
            here = self.time = stop
            if stop in self._saves:
                self._save_row(stop, answer.y[:, -1])

    def _set_state(self, state: Floats) -> None:
        for slot, value in enumerate(state.tolist()):
            self._y[slot] = value

    def _save_row(self, time: float, state: Floats) -> None:
        self._set_state(state)
        self._times.append(time)
        self._rows.append(self._row(time))

    def _blame_adaptive(self, answer: Any) -> SimulationError:
        reached = answer.y.size and np.isfinite(answer.y[:, -1]).all()
        time = float(answer.t[-1]) if reached else self.time
        unit = self.model.horizon.unit or "time"
        return SimulationError(
            f"{self.model.name}: the solver stopped after {unit} {time:g} ({answer.message});"
            " try Adaptive(method='BDF') or a looser rtol"
        )

    def _notes(self) -> tuple[str, ...]:
        unlocated = self._kernel.structure.unlocated if isinstance(self.solver, Adaptive) else ()
        return tuple(f"{sentence}; the solver steps over it unlocated" for sentence in unlocated)

    def _provenance(self) -> dict[str, object]:
        from importlib.metadata import version

        from sd_cluster.version import __version__

        return {
            "model": self.model.name,
            "digest": self.model.digest,
            "scenario": {"name": self.scenario.name, "changes": _plain(self.scenario.changes)},
            "changes on the way": self._changes,
            "solver": {"name": type(self.solver).__name__, **asdict(self.solver)},
            "backend": self._backend,
            "horizon": asdict(self.horizon),
            "versions": {"sd_cluster": __version__, "numpy": np.__version__, "scipy": version("scipy")},
        }


class _Rates:
    """Net flows as SciPy's solvers call them, over one stretch without switches."""

    def __init__(self, kernel: Kernel, p: Any, tick: float, last: float) -> None:
        self.kernel, self.p, self.tick, self.last = kernel, p, tick, last
        self.plain = kernel.backend == "python"

    def __call__(self, t: float, y: Floats) -> Any:
        state: Any = y.tolist() if self.plain else y
        dy = self.kernel.array(len(y))
        t = min(t, self.last)
        try:
            total = self.kernel.rates(t, self.tick, state, self.p, dy)
        except (ArithmeticError, ValueError):
            total = math.nan
        if not total - total == 0.0:
            raise blame(self.kernel, t, self.tick, y.tolist(), self.p)
        return dy

    def jacobian(self, t: float, y: Floats) -> Floats:
        """Exact Jacobian, shape (n_stocks, n_stocks); derived when a solver first asks."""
        derivative = compile_jacobian(self.kernel.model)
        return derivative(min(t, self.last), self.tick, y.tolist(), self.p)


class _guard:  # noqa: N801  a context manager that reads as a word
    """Turns a failed computation before the first step into one error."""

    def __init__(self, kernel: Kernel, time: float, reason: Any) -> None:
        self.kernel, self.time, self.reason = kernel, time, reason

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ZeroDivisionError):
            what = "it divides by zero"
        elif isinstance(error, ArithmeticError | ValueError):
            what = "it has no finite value"
        else:
            return
        unit = self.kernel.model.horizon.unit or "time"
        raise SimulationError(
            f"{self.kernel.model.name}: at {unit} {self.time:g} {self.reason()}: {what}; check the parameters"
        ) from None


def controls(model: Model, horizon: Horizon) -> dict[str, float]:
    """Values of the control variables that are parameters."""
    chosen = (horizon.start, horizon.end, horizon.step, horizon.save_every)
    names = ("INITIAL TIME", "FINAL TIME", "TIME STEP", "SAVEPER")
    found = ((model.variable(name), value) for name, value in zip(names, chosen, strict=True))
    return {variable.name: value for variable, value in found if isinstance(variable, Parameter)}


def chosen_horizon(model: Model, horizon: Horizon | tuple[float, float] | None, solver: Solver) -> Horizon:
    """The horizon of a run: the one given, else the model's, with the solver's step where it states one."""
    if horizon is None:
        chosen = model.horizon
    elif isinstance(horizon, Horizon):
        chosen = horizon
    else:
        start, end = horizon
        chosen = replace(model.horizon, start=float(start), end=float(end))
    if not (math.isfinite(chosen.start) and math.isfinite(chosen.end) and chosen.start < chosen.end):
        raise ScenarioError(
            f"the horizon goes from {chosen.start:g} to {chosen.end:g}; its end should lie after its start"
        )
    if not isinstance(solver, Adaptive) and solver.step is not None:
        chosen = replace(chosen, step=solver.step)
    return chosen


def save_times(horizon: Horizon, save: float | Sequence[float] | None) -> list[float]:
    """Times at which rows are saved, increasing."""
    if save is None or isinstance(save, int | float):
        every = horizon.save_every if save is None else float(save)
        if not every > 0:
            raise ScenarioError(f"the time between saved rows is {every:g}; it should be above zero")
        count = math.floor((horizon.end - horizon.start) / every + 1e-9)
        times = [horizon.start + number * every for number in range(count + 1)]
        return times if abs(times[-1] - horizon.end) < 1e-9 * every else [*times, horizon.end]
    times = sorted({float(time) for time in save})
    for time in times:
        if not horizon.start <= time <= horizon.end:
            raise ScenarioError(f"save time {time:g} lies outside the horizon {horizon.start:g} to {horizon.end:g}")
    return times


def _points_of_time(kernel: Kernel, p: Any) -> list[float]:
    """Points of the tables that are read at Time itself: trajectories have kinks or jumps there."""
    points: list[float] = []
    for name in kernel.structure.tables_of_time:
        at = int(p[kernel.slots[name]])
        points += map(float, p[at + 1 : at + 1 + int(p[at])])
    return points


def _plain(changes: Mapping[str, float | TimeSeries]) -> dict[str, object]:
    return {name: asdict(change) if isinstance(change, TimeSeries) else change for name, change in changes.items()}
