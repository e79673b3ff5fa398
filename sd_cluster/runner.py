"""One model run over and over: what fits and sweeps call."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sd_cluster.errors import ModelError
from sd_cluster.kernel import Backend, Floats, begin, blame_rows, blame_step, compile_model
from sd_cluster.model import Horizon, Model
from sd_cluster.moments import chosen_horizon, controls, refuse_moving, save_times, steps_of
from sd_cluster.scenario import Scenario, apply, targets_of
from sd_cluster.solvers import Euler, RungeKutta4


class Runner:
    """One model run over and over with other values of a few parameters: what fits and sweeps call.

    Compiled once; copies sent to other processes compile nothing anew but take the machine code from the cache.

    Parameters
    ----------
    model
    names
        Parameters or stocks (their initial values) that vary, in the order of the vector.
    outputs
        Variables to return.
    times : increasing, shape (n_times,)
        When to return them; each should fall on a step.
    horizon, scenario, solver
        As in `simulate`; the solver takes fixed steps.
    """

    def __init__(
        self,
        model: Model,
        names: Sequence[str],
        *,
        outputs: Sequence[str],
        times: Sequence[float],
        horizon: Horizon | tuple[float, float] | None = None,
        scenario: Scenario | None = None,
        solver: Euler | RungeKutta4 | None = None,
        backend: Backend = "numba",
    ) -> None:
        self.model, self.names, self.outputs = model, tuple(names), tuple(outputs)
        self.solver = solver or RungeKutta4()
        refuse_moving(model)
        self.horizon = chosen_horizon(model, horizon, self.solver)
        self.times = tuple(save_times(self.horizon, times))
        self.scenario = scenario or Scenario()
        self.backend: Backend = backend
        self._settle()

    def _settle(self) -> None:
        self._rows = steps_of(self.times, self.horizon)
        middle = self.scenario.with_changes(dict.fromkeys(self.names, 0.0))
        inputs = apply(self.model, middle)
        self._targets = targets_of(self.model, self.names)
        self._kernel = compile_model(inputs.model, self.backend)
        values = {**controls(self.model, self.horizon), **inputs.values}
        self._p = self._kernel.vector(values, inputs.tables)
        self._p[self._kernel.half_step] = self.horizon.step / 2.0
        kernel = self._kernel
        self._slots = [(kernel.slots[name], kernel.count(name), place) for name, place in self._targets.items()]
        wanted = [self.model.full_name(name) for name in self.outputs]
        for name in wanted:
            if name not in self._kernel.names:
                raise ModelError(f"'{name}' is a lookup, which has no value of its own")
        self._columns = [self._kernel.names.index(name) for name in wanted]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in {"_kernel", "_p"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._settle()

    def __call__(self, vector: Sequence[float] | Floats) -> Floats:
        """Run once.

        Parameters
        ----------
        vector : shape (n_names,)

        Returns
        -------
        values : shape (n_times, n_outputs)

        Raises
        ------
        ModelError
            If there are not as many numbers as names.
        SimulationError
            If the run blows up; the text names the time and the variable.
        """
        kernel = self._kernel
        p = self._p.copy()
        if len(vector) != len(self.names):
            raise ModelError(f"{len(vector)} numbers were given for {len(self.names)} names; give one for each")
        for slot, count, place in self._slots:
            if count == 1:
                p[slot] = float(vector[place])
            else:  # an array that is kept whole
                p[slot : slot + count] = float(vector[place])
        n = len(kernel.stocks)
        y, before, out = kernel.array(n), kernel.array(2 * n + 1), kernel.matrix(len(self._rows))
        start, step = self.horizon.start, self.horizon.step
        march = kernel.euler if isinstance(self.solver, Euler) else kernel.rk4
        last = int(self._rows[-1]) if len(self._rows) else 0
        begin(kernel, start, start, p, y)
        try:
            failed = march(start, step, 0, last, self._rows, 0, y, p, kernel.array(n), before, out)
        except (ArithmeticError, ValueError):
            raise blame_step(kernel, start, step, before, y, p) from None
        if failed >= 0:
            raise blame_step(kernel, start, step, before, y, p)
        values: Floats = np.asarray(out, dtype=float)
        if len(values) and (error := blame_rows(kernel, self.times, values)):
            raise error
        return values[:, self._columns]
