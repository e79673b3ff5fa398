"""Running a model: at one go, or step by step."""

import math
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sd_cluster.arrays import Whole
from sd_cluster.conditions import PASSES, Condition, located
from sd_cluster.errors import ModelError, ScenarioError, SimulationError
from sd_cluster.kernel import (
    Backend,
    Floats,
    Kernel,
    begin,
    blame,
    blame_rows,
    blame_step,
    carry_over,
    compile_model,
    points_of_time,
    settle_constants,
)
from sd_cluster.model import Horizon, Model, Stock
from sd_cluster.moments import (
    cannot,
    chosen_horizon,
    controls,
    outside,
    plain_changes,
    save_steps,
    save_times,
    steps_of,
)
from sd_cluster.rates import Rates
from sd_cluster.run import Run
from sd_cluster.scenario import Change, Scenario, TimeSeries, apply
from sd_cluster.solvers import Adaptive, Euler, RungeKutta4, Solver
from sd_cluster.varying import march
from sd_cluster.whole import MOST_TOGETHER

_CLOSE = 1e-9
"""Times closer than this share of the horizon are one."""

_EDGE = 1e-12
"""Share of the largest stock by which the sides of a condition must differ to turn it back."""

_MOST_TURNS = 100
"""Turnings of conditions at one moment after which a run is taken to slide along them."""

MOST_STEPS = 1_000_000
"""Steps at which a continuous solver may have to stop."""

_NUMBA_PAYS = 3_000_000
"""Evaluated equations above which compiling for a single run pays, which the next run then finds done."""

_COMPILED_SOON, _NUMBA_COSTS = 500, 150_000
"""Equations that numba takes for granted, and how many are evaluated in plain Python while it compiles one more."""

_LOOP_COSTS = 100_000
"""Elements of arrays that are evaluated in plain Python while numba compiles the loops of one equation."""


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
    if model.moving and isinstance(solver, Euler) and solver.step is None and horizon is None:
        return simulation.replayed(save)
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
        self._close = _CLOSE * (self.horizon.end - self.horizon.start)
        if isinstance(self.solver, Adaptive):
            self._saves = save_times(self.horizon, save)
        else:
            self._saves, self._save_rows = save_steps(self.horizon, save)
        self._backend = backend or self._choose_backend()
        self._listed = not (save is None or isinstance(save, int | float | np.number))
        self._asides: list[str] = []
        self._turns = 0
        self._changes: list[dict[str, object]] = []
        self._rows: list[Floats] = []
        self._times: list[float] = []
        self.time = self.horizon.start
        self._steps_done = 0
        self._next: Any = None
        self._kernel, self._p = self._prepare(self.scenario)
        self._y = self._kernel.array(len(self._kernel.stocks))
        self._start()

    def _choose_backend(self) -> Backend:
        steps = (self.horizon.end - self.horizon.start) / self.horizon.step
        stages = 4 if isinstance(self.solver, RungeKutta4) else 1
        whole = self.model.whole
        if isinstance(whole, Whole):
            if isinstance(self.solver, Adaptive) or whole.sparse or len(whole.pieces) <= MOST_TOGETHER:
                return "numba"
            least = _LOOP_COSTS * len(whole.pieces)
            return "numba" if steps * stages * whole.evaluations() > least else "python"
        if isinstance(self.solver, Adaptive):
            return "python"
        size = len(self.model.equations)
        least = _NUMBA_PAYS + _NUMBA_COSTS * max(0, size - _COMPILED_SOON)
        return "numba" if steps * stages * size > least else "python"

    def _prepare(self, scenario: Scenario, backend: Backend | None = None) -> tuple[Kernel, Any]:
        """Kernel and vector of inputs of a scenario."""
        inputs = apply(self.model, scenario)
        self._conditions: tuple[Condition, ...] = ()
        self._plain: Kernel | None = None
        chosen = inputs.model
        if isinstance(self.solver, Adaptive) and self.solver.locate:
            found = located(inputs.model)
            if found.conditions:
                self._plain = compile_model(inputs.model, "python")
                chosen, self._conditions = found.model, found.conditions
                backend = "python"
        kernel = compile_model(chosen, backend or self._backend)
        p = kernel.vector({**controls(self.model, self.horizon), **inputs.values}, inputs.tables)
        if not isinstance(self.solver, Adaptive):
            p[kernel.half_step] = self.horizon.step / 2.0
        settle_constants(kernel, self.time, p)
        return kernel, p

    def _start(self) -> None:
        kernel = self._kernel
        self._breaks = self._switch_times()
        begin(kernel, self.time, self._tick(self.time), self._p, self._y)
        if self._plain is not None:  # where a run begins does not depend on switches
            before = self._plain.vector(
                {name: self._p[kernel.slots[name]] for name in self._plain.structure.parameters}
            )
            before[self._plain.half_step] = self._p[kernel.half_step]
            state = self._plain.array(len(self._plain.stocks))
            begin(self._plain, self.time, self._tick(self.time), before, state)
            carry_over(self._plain, before, kernel, self._p)
            self._set_state(state)
            self._settle(self.time, anew=True)

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

    def replayed(self, save: float | Sequence[float] | None) -> Run:
        """The whole run of a model whose control variables vary, by Euler's steps; a list of times picks rows."""
        kernel, p = self._prepare(self.scenario, "python")
        every = self.horizon.save_every if save is None or not isinstance(save, int | float) else float(save)
        times, rows = march(kernel, p, replace(self.horizon, save_every=every), self.model.moving)
        if save is not None and not isinstance(save, int | float):
            close = [int(np.argmin(np.abs(np.array(times) - float(time)))) for time in save]
            times, rows = [times[place] for place in close], rows[close]
        self._kernel, self._backend = kernel, "python"
        self._times, self._rows, self.time = times, [rows], times[-1]
        return self.run()

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
        self._changes.append({"time": self.time, "changes": plain_changes(later.changes)})
        self.scenario = Scenario(self.scenario.name, merged)
        before, kept = self._kernel, self._p
        state = dict(zip(self._kernel.stocks, self._y, strict=True)) | jumps
        self._kernel, self._p = self._prepare(self.scenario)
        carry_over(before, kept, self._kernel, self._p)
        self._next = None
        self._y = self._kernel.array(len(self._kernel.stocks))
        for slot, name in enumerate(self._kernel.stocks):
            self._y[slot] = state[name]
        self._breaks = self._switch_times()
        self._settle(self.time, anew=True)
        if self._times and self._times[-1] == self.time:
            self._rows[-1][-1] = self._row(self.time)

    def now(self, name: str) -> float:
        """Value of a variable at this moment."""
        row = self._row(self.time)
        equation = self.model.variable(name)
        if equation.name not in self._kernel.names:
            raise ModelError(f"'{equation.name}' is a {equation.kind}, which has no value of its own")
        return float(row[self._kernel.names.index(equation.name)])

    def run(self) -> Run:
        """The run so far; a stop between saved times adds a row, unless the times were listed."""
        names = self._kernel.names
        if self._conditions:
            names = names[: -len(self._conditions)]
        times, rows = list(self._times), list(self._rows)
        if not times or (times[-1] < self.time and not self._listed):
            times.append(self.time)
            rows.append(self._row(self.time)[np.newaxis])
        return Run(
            times=np.array(times),
            values=np.concatenate(rows) if rows else np.empty((0, len(names))),
            names=names,
            units=self._kernel.units[: len(names)],
            scenario=self.scenario.name,
            notes=self._notes(),
            provenance=self._provenance(),
            arrays=self.model.arrays,
        )

    def _row(self, time: float) -> Floats:
        row = self._kernel.array(len(self._kernel.names))
        tick = self._tick(time)
        try:
            self._kernel.outputs(time, tick, self._y, self._p, row)
        except (ArithmeticError, ValueError):
            raise blame(self._kernel, time, tick, self._y, self._p) from None
        values = np.array(row, dtype=float)
        if error := blame_rows(self._kernel, [time], values[np.newaxis]):
            raise error
        return values[: len(values) - len(self._conditions)]

    def _tick(self, time: float) -> float:
        """The moment at which switches are judged: this step's start, or the middle of this stretch."""
        if not isinstance(self.solver, Adaptive):
            return time
        if time >= self.horizon.end:
            return self.horizon.end + self._close
        place = bisect_right(self._breaks, time)
        low = self._breaks[place - 1] if place else self.horizon.start
        high = self._breaks[place] if place < len(self._breaks) else self.horizon.end
        return 0.5 * (low + high)

    def _switch_times(self) -> list[float]:
        """Times inside the horizon at which a continuous solver must stop and restart."""
        if not isinstance(self.solver, Adaptive):
            return []
        start, end = self.horizon.start, self.horizon.end
        with _guard(self._kernel):
            times = list(self._kernel.switch_times(self._p, start, end))
        times += points_of_time(self._kernel, self._p)
        times += self._steps()
        kept: list[float] = []
        for time in sorted(times):
            if start + self._close < time < end - self._close and not (kept and time - kept[-1] <= self._close):
                kept.append(self._near_save(time))
        return kept

    def _steps(self) -> list[float]:
        """The model's own steps, where something in it is only defined at these."""
        if not self._kernel.structure.stepwise:
            return []
        step = self.horizon.step
        count = math.floor((self.horizon.end - self.horizon.start) / step + _CLOSE)
        if count > MOST_STEPS:
            raise SimulationError(
                f"{self.model.name}: '{self._kernel.structure.stepwise[0]}' is only defined at steps, of which the run"
                f" has more than {MOST_STEPS}; take a longer step or a shorter horizon"
            )
        return [self.horizon.start + number * step for number in range(1, count + 1)]

    def _held(self, time: float) -> None:
        """At a step, take what held values have now, and work out what they will have at the next one."""
        kernel = self._kernel
        if not kernel.structure.held:
            return
        steps = (time - self.horizon.start) / self.horizon.step
        if self._next is not None and abs(steps - round(steps)) > _CLOSE * max(1.0, steps):
            return
        if self._next is not None:
            self._p[:] = self._next
        self._next = self._p.copy()
        kernel.hold(time, self._tick(time), self._y, self._next)

    def _near_save(self, time: float) -> float:
        """A switching time, moved to the saved time beside it: both are sums of steps, rounded differently."""
        place = bisect_left(self._saves, time - self._close)
        close = place < len(self._saves) and self._saves[place] <= time + self._close
        return self._saves[place] if close else time

    def _run_fixed(self, time: float) -> None:
        step = self.horizon.step
        low, high = bisect_left(self._saves, self.time), bisect_right(self._saves, time)
        low += low < high and self._saves[low] in self._times[-1:]
        saves, rows = self._saves[low:high], self._save_rows[low:high]
        last = int(rows[-1]) if saves and saves[-1] == time else int(steps_of([time], self.horizon)[0])
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
        values = np.asarray(out, dtype=float).reshape(len(saves), len(kernel.names))
        if saves and (error := blame_rows(kernel, saves, values)):
            raise error
        self._steps_done = last
        self._times += saves
        self._rows.append(values)

    def _run_adaptive(self, time: float) -> None:
        stops = [moment for moment in self._breaks if self.time < moment < time]
        if self._next is None:
            self._held(self.time)
        if not self._times and self._saves and self._saves[0] == self.time:
            self._times.append(self.time)
            self._rows.append(self._row(self.time)[np.newaxis])
        here = self.time
        for stop in [*stops, time] if time > here else []:
            if stop - here > self._close:
                self._cross(here, stop)
            here = self.time = stop
            self._held(stop)
            self._settle(stop)
            if stop in self._saves:
                self._save_row(stop, self._y)

    def _cross(self, here: float, stop: float) -> None:
        """Integrate between two switching times.

        LSODA cannot take back a trial step into a state whose flows have no value (the root of less than nothing):
        BDF can, and goes over such a stretch again.
        """
        assert isinstance(self.solver, Adaptive)
        state, saved = list(self._y), len(self._times)
        if self.model.whole is not None and self.solver.method in {"LSODA", "Radau", "BDF"}:
            self._asides = [f"DOP853 took the place of {self.solver.method}, whose matrices would be too large"]
            self._stretch(here, stop, "DOP853")
            return
        if self._conditions:
            self._located_cross(here, stop)
            return
        try:
            self._stretch(here, stop, self.solver.method)
        except SimulationError:
            if self.solver.method != "LSODA" or self._rates_fail(here, state):
                raise
            self._set_state(state)
            del self._times[saved:], self._rows[saved:]
            self._asides.append(f"from {here:g} to {stop:g} BDF took over from LSODA")
            self._stretch(here, stop, "BDF")

    def _located_cross(self, here: float, stop: float) -> None:
        """Integrate between two known times, from one moment at which a condition turns to the next."""
        assert isinstance(self.solver, Adaptive)
        turns, moment = 0, here
        while stop - here > self._close:
            here, turned = self._stretch(here, stop, self.solver.method)
            for condition in turned:
                slot = self._kernel.slots[condition.switch]
                self._p[slot] = 1.0 - self._p[slot]
            if turned:
                settle_constants(self._kernel, here, self._p)
                self._settle(here, besides={condition.switch for condition in turned})
                turns = turns + 1 if here - moment <= self._close else 0
                moment = here
                self._turns += 1
            if turns > _MOST_TURNS:
                owner = turned[0].text.split(" #")[0]
                raise SimulationError(
                    f"{self.model.name}: near {self.model.horizon.unit or 'time'} {here:g} the run slides along a"
                    f" condition of '{owner}', as its flows lead back to it from both sides; take Adaptive() without"
                    " locate, or smooth the condition",
                    time=here,
                    variable=owner,
                )

    def _gaps(self, time: float, tick: float, state: Any) -> Sequence[float]:
        """Left sides less right sides of the conditions on the state, at a state."""
        row = self._kernel.array(len(self._kernel.names))
        self._kernel.outputs(time, tick, state, self._p, row)
        return list(row[len(row) - len(self._conditions) :])

    def _grain(self) -> float:
        """Differences of sides that are taken for none: a condition that has turned stays turned on its very edge."""
        return _EDGE * max([1.0, *(abs(float(value)) for value in self._y)])

    def _settle(self, time: float, besides: frozenset[str] | set[str] = frozenset(), *, anew: bool = False) -> None:
        """Set the switches to what the conditions say now; they may depend on each other.

        Those `besides` stay as they are, and so do those on the edge, unless all are set `anew`.
        """
        edge = -1.0 if anew or not self._conditions else 2.0 * self._grain()
        slots = [self._kernel.slots[condition.switch] for condition in self._conditions]
        for _ in range(PASSES if slots else 0):
            gaps = self._gaps(time, self._tick(time), self._y)
            wanted = [
                self._p[slot] if condition.switch in besides or abs(gap) <= edge else float(condition.holds(gap))
                for condition, slot, gap in zip(self._conditions, slots, gaps, strict=True)
            ]
            if wanted == [self._p[slot] for slot in slots]:
                return
            for slot, value in zip(slots, wanted, strict=True):
                self._p[slot] = value
            settle_constants(self._kernel, time, self._p)

    def _turnings(self, rates: Rates) -> list[Callable[[float, Floats], float]]:
        """For each condition, what is zero where it turns: for SciPy to stop at."""
        known: dict[tuple[float, bytes], Sequence[float]] = {}

        def turning(number: int, condition: Condition) -> Callable[[float, Floats], float]:
            def gap(t: float, y: Floats) -> float:
                moment = (t, y.tobytes())
                if moment not in known:
                    known.clear()
                    known[moment] = self._gaps(min(t, rates.last), rates.tick, y.tolist())
                return known[moment][number] + shift

            above = (self._p[self._kernel.slots[condition.switch]] != 0.0) == condition.holds(1.0)
            shift = self._grain() if above else -self._grain()
            vars(gap).update(terminal=True, direction=-1.0 if above else 1.0)
            return gap

        return [turning(number, condition) for number, condition in enumerate(self._conditions)]

    def _rates_fail(self, time: float, state: Sequence[float]) -> bool:
        try:
            Rates(self._kernel, self._p, self._tick(time), time)(time, np.array(state, dtype=float))
        except SimulationError:
            return True
        return False

    def _stretch(self, here: float, stop: float, method: str) -> tuple[float, list[Condition]]:
        """Integrate by one method; rows at the end are left to the caller.

        Gives where it ended, and the conditions on the state that turn there.
        """
        from scipy.integrate import solve_ivp

        assert isinstance(self.solver, Adaptive)
        saves = [save for save in self._saves if here < save < stop]
        rates = Rates(self._kernel, self._p, self._tick(here), np.nextafter(stop, -np.inf), strict=method == "LSODA")
        options: dict[str, Any] = {"method": method, "rtol": self.solver.rtol, "atol": self.solver.atol}
        if method in {"LSODA", "Radau", "BDF"} and len(self._y):
            options["jac"] = rates.jacobian
        if self._conditions:
            options["events"] = self._turnings(rates)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is in the answer
            try:
                answer = solve_ivp(rates, (here, stop), np.array(self._y), t_eval=[*saves, stop], **options)
            except (ArithmeticError, ValueError) as error:
                raise rates.failure or self._blame_adaptive(rates, str(error)) from None
        if not answer.success or not np.isfinite(answer.y).all():
            raise rates.failure or self._blame_adaptive(rates, answer.message)
        for save, state in zip(saves, np.array(answer.y).T if len(answer.t) else (), strict=False):
            self._save_row(save, state)
        if answer.status == 1 and answer.t_events is not None and answer.y_events is not None:
            ends = [(float(times[-1]), number) for number, times in enumerate(answer.t_events) if len(times)]
            end, first = min(ends)
            self._set_state(answer.y_events[first][-1])
            return end, [self._conditions[number] for time, number in ends if time == end]
        self._set_state(answer.y[:, -1])
        return stop, []

    def _set_state(self, state: Sequence[float] | Floats) -> None:
        for slot, value in enumerate(state):
            self._y[slot] = float(value)

    def _save_row(self, time: float, state: Sequence[float] | Floats) -> None:
        self._set_state(state)
        self._times.append(time)
        self._rows.append(self._row(time)[np.newaxis])

    def _blame_adaptive(self, rates: Rates, message: str) -> SimulationError:
        unit = self.model.horizon.unit or "time"
        # what a solver only creeps up to can often be met: a division by zero at a round moment
        met = blame(self._kernel, float(f"{rates.reached:.9g}"), rates.tick, rates.state.tolist(), self._p)
        if met.variable:
            return met
        stock = self._kernel.stocks[int(np.argmax(np.abs(rates.latest)))]
        return SimulationError(
            f"{self.model.name}: the solver stopped near {unit} {rates.reached:g}, where stock '{stock}' changes"
            f" fastest ({message.rstrip('.')}); check its flows, or try another method or a looser rtol",
            time=float(rates.reached),
            stock=stock,
        )

    def _notes(self) -> tuple[str, ...]:
        unlocated = self._kernel.structure.unlocated if isinstance(self.solver, Adaptive) else ()
        located = [f"{sentence}; the solver steps over it unlocated" for sentence in unlocated]
        if self._conditions:
            located.append(f"{self._turns} turn(s) of conditions on the state were located")
        stepwise = self._kernel.structure.stepwise if isinstance(self.solver, Adaptive) else ()
        located += [f"'{name}' is only defined at steps: it changes every {self.horizon.step:g}" for name in stepwise]
        for control in self.model.moving if not isinstance(self.solver, Euler) or self.solver.step else ():
            located.append(f"{control} varies; this run has its value at the start, Euler() follows it")
        return (*cannot(self.model), *located, *self._asides, *outside(self.model, self.scenario))

    def _provenance(self) -> dict[str, object]:
        import scipy

        from sd_cluster.version import __version__

        return {
            "model": self.model.name,
            "digest": self.model.digest,
            "scenario": {"name": self.scenario.name, "changes": plain_changes(self.scenario.changes)},
            "changes on the way": self._changes,
            "solver": {"name": type(self.solver).__name__, **vars(self.solver)},
            "backend": self._backend,
            "horizon": dict(vars(self.horizon)),
            "versions": {"sd_cluster": __version__, "numpy": np.__version__, "scipy": scipy.__version__},
        }


class _guard:  # noqa: N801  a context manager that reads as a word
    """Turns failed switching times into one error."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ZeroDivisionError):
            what = "it divides by zero"
        elif isinstance(error, ArithmeticError | ValueError):
            what = "it has no finite value"
        else:
            return
        raise SimulationError(
            f"{self.kernel.model.name}: a switching time cannot be computed: {what}; check the parameters"
        ) from None
