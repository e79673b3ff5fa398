"""Local sensitivity: how much outputs change, over time, when parameters or initial stocks change by a little."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sd_cluster.errors import ModelError, ScenarioError, near
from sd_cluster.forward import ForwardRunner
from sd_cluster.jumps import jumps, shown
from sd_cluster.kernel import Floats, begin, compile_model
from sd_cluster.model import CONTROLS, Horizon, Model, Parameter, key
from sd_cluster.moments import chosen_horizon, controls, save_times
from sd_cluster.scenario import Scenario, TimeSeries, apply
from sd_cluster.solvers import RungeKutta4
from sd_cluster.structure import structure
from sd_cluster.tangent import live_variables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Elasticities:
    """Sensitivities of outputs to parameters, over time.

    Attributes
    ----------
    times : shape (n_times,)
        Saved times, in the model's unit of time.
    outputs, names
        Variables, and the parameters or stocks (their initial values) they were differentiated by.
    output_units, name_units
        Their units, as declared.
    values : shape (n_times, n_outputs)
        The outputs themselves.
    point : shape (n_names,)
        Where derivatives were taken: the parameters' values.
    sensitivities : shape (n_times, n_outputs, n_names)
        Derivatives dy/dp, in the output's unit per unit of the parameter.
    scenario
        Name of the scenario.
    notes
        What a reader of the numbers should know: zeros, jumps, parameters left out.
    provenance
        Model and its digest, scenario, step and horizon.
    """

    times: Floats
    outputs: tuple[str, ...]
    names: tuple[str, ...]
    output_units: tuple[str, ...]
    name_units: tuple[str, ...]
    values: Floats
    point: Floats
    sensitivities: Floats
    scenario: str = "base"
    time_unit: str = ""
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for array in (self.times, self.values, self.point, self.sensitivities):
            array.setflags(write=False)

    @property
    def elasticities(self) -> Floats:
        """Per cent change of an output per per cent change of a parameter, shape (n_times, n_outputs, n_names).

        That is (dy/dp) p / y. It is NaN where the output is zero, as there is no per cent of nothing, and zero where
        the parameter is zero: read `sensitivities` there.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            shares: Floats = self.sensitivities * self.point / self.values[:, :, np.newaxis]
        shares[self.values == 0.0] = np.nan
        return shares

    def __getitem__(self, pair: tuple[str, str]) -> Floats:
        """Elasticity of an output to a parameter over time, shape (n_times,); case and underscores do not count.

        Raises
        ------
        ModelError
            If one of the two was not asked for; the text names the nearest one.
        """
        output, name = pair
        column: Floats = self.elasticities[:, self._place(output, self.outputs), self._place(name, self.names)]
        return column

    def _place(self, name: str, known: Sequence[str]) -> int:
        folded = [key(one) for one in known]
        if key(name) not in folded:
            raise ModelError(f"these elasticities do not tell of '{name}'{near(name, known)}")
        return folded.index(key(name))

    def frame(self) -> "pd.DataFrame":
        """A long table: one row a time, output and parameter, with its sensitivity and elasticity."""
        import pandas as pd

        index = pd.MultiIndex.from_product([self.times, self.outputs, self.names], names=["time", "output", "to"])
        columns = {"sensitivity": self.sensitivities.ravel(), "elasticity": self.elasticities.ravel()}
        return pd.DataFrame(columns, index=index)

    def table(self, time: float | None = None) -> "pd.DataFrame":
        """Elasticities at one saved time, the last where none is given: one row a parameter, one column an output."""
        import pandas as pd

        index = pd.Index(self.names, name="to")
        return pd.DataFrame(self.elasticities[self._row(time)].T, index=index, columns=list(self.outputs))

    def _row(self, time: float | None) -> int:
        if time is None:
            return len(self.times) - 1
        row = int(np.argmin(np.abs(self.times - time)))
        if abs(self.times[row] - time) > 1e-9 * max(1.0, abs(time)):
            raise ModelError(f"{time:g} was not saved; the nearest saved time is {self.times[row]:g}")
        return row

    def strongest(self, output: str, time: float | None = None) -> tuple[str, ...]:
        """Parameters in the order of their elasticities' size at a saved time, the last where none is given."""
        column = self.elasticities[self._row(time), self._place(output, self.outputs)]
        order = np.argsort(-np.abs(np.nan_to_num(column)), kind="stable")
        return tuple(self.names[place] for place in order)

    def __str__(self) -> str:
        unit = self.time_unit or "time"
        lines = [f"elasticities, scenario '{self.scenario}', at {unit} {self.times[-1]:g} (% per %)"]
        last, most = self.table(), 5
        for output in self.outputs:
            told = [f"{name} {_signed(float(last[output][name]))}" for name in self.strongest(output)[:most]]
            more = len(self.names) - most
            lines.append(f"  {output}: {', '.join(told)}" + (f" (and {more} weaker)" if more > 0 else ""))
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def plot(self, output: str | None = None, *, time: float | None = None, most: int = 8) -> "Figure":
        """Draw elasticities in the house look.

        Parameters
        ----------
        output
            The output whose elasticities are drawn over time, one line a parameter. Where it is left out and there are
            several outputs, a table in colours: parameters down, outputs across, at one time.
        time
            For the table in colours: a saved time, the last where not given.
        most
            How many parameters to show, those with the largest elasticities.
        """
        from sd_cluster.look import blank, look, sentence_case

        with look():
            if output is None and len(self.outputs) > 1:
                shown_names = self._largest(self._row(time), most)
                figure = blank(height=1.3 + 0.3 * len(shown_names))
                self._draw_cells(figure.subplots(), shown_names, self._row(time))
            else:
                figure = blank()
                chosen = self.outputs[0 if output is None else self._place(output, self.outputs)]
                self._draw_lines(figure.subplots(), chosen, most)
                figure.axes[0].set_title(f"Elasticity of {sentence_case(chosen).lower()}", pad=18)
        return figure

    def _largest(self, row: int, most: int) -> list[int]:
        sizes = np.nan_to_num(np.abs(self.elasticities[row])).max(axis=0)
        return [int(place) for place in np.argsort(-sizes, kind="stable")[:most]]

    def _draw_lines(self, axes: "Axes", output: str, most: int) -> None:
        from sd_cluster.look import GRID, PALETTE, head, label_ends, tidy_values

        share = self.elasticities[:, self._place(output, self.outputs)]
        sizes = np.nan_to_num(np.abs(share)).max(axis=0)
        ends = []
        for order, place in enumerate(np.argsort(-sizes, kind="stable")[: min(most, len(PALETTE))]):
            axes.plot(self.times, share[:, place], color=PALETTE[order], zorder=3)
            ends.append((float(share[-1, place]), self.names[place], PALETTE[order]))
        axes.axhline(0.0, color=GRID, linewidth=1.2, zorder=1)
        head(axes, None, "% per %")
        axes.set_xlabel(self.time_unit or "time")
        tidy_values(axes, ground=False)
        label_ends(axes, ends)

    def _draw_cells(self, axes: "Axes", places: Sequence[int], row: int) -> None:
        import textwrap

        from matplotlib.colors import LinearSegmentedColormap

        from sd_cluster.look import INK, PALETTE, PAPER, sentence_case

        cells = self.elasticities[row][:, places].T
        most = float(np.nanmax(np.abs(cells), initial=0.0)) or 1.0
        colours = LinearSegmentedColormap.from_list("house", [PALETTE[1], PAPER, PALETTE[0]])
        axes.imshow(cells, cmap=colours, vmin=-most, vmax=most, aspect="auto")
        for (down, across), value in np.ndenumerate(cells):
            ink = PAPER if abs(value) > 0.6 * most else INK
            axes.text(across, down, _signed(float(value)), ha="center", va="center", color=ink, fontsize=8)
        axes.set_xticks(range(len(self.outputs)), [textwrap.fill(sentence_case(name), 14) for name in self.outputs])
        axes.set_yticks(range(len(places)), [self.names[place] for place in places])
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.set_title(f"Elasticities at {self.time_unit or 'time'} {self.times[row]:g} (% per %)")


def _signed(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.2f}".replace("-", "−")


def local(
    model: Model,
    of: str | Sequence[str],
    to: str | Sequence[str] | None = None,
    *,
    scenario: Scenario | None = None,
    horizon: Horizon | tuple[float, float] | None = None,
    save: float | Sequence[float] | None = None,
    step: float | None = None,
) -> Elasticities:
    """Exact sensitivities and elasticities of outputs over time, from the forward sensitivity equations.

    One march gives them all: no differences are taken and no step size has to be found for them.

    Parameters
    ----------
    model
    of
        Outputs: any variables but lookups.
    to
        Parameters, or stocks for their initial values. All parameters of the model where not given, but those that
        enter switching times, which a note names.
    scenario, horizon, save
        As in `simulate`; derivatives are taken at the scenario's values.
    step
        Length of the Runge-Kutta steps; the model's own where not given.

    Returns
    -------
    elasticities

    Raises
    ------
    ModelError
        If a name is unknown, or a parameter that was asked for enters a switching time; the text names it.
    ScenarioError
        If the scenario, horizon or save times do not fit, or the scenario makes such a parameter a function of time.
    SimulationError
        If the run blows up, or a derivative has no finite value.

    Examples
    --------
    >>> model = sd.load("collective_learning")
    >>> found = local(model, "trust", ["initial trust"], save=[1980, 1985])
    >>> print(found["trust", "initial trust"][0])
    1.0
    """
    scenario = scenario or Scenario()
    outputs = [model.variable(name).name for name in ([of] if isinstance(of, str) else of)]
    notes: list[str] = []
    if to is None:
        names, notes = _all_parameters(model, scenario, outputs)
    else:
        names = [model.variable(name).name for name in ([to] if isinstance(to, str) else to)]
    if not outputs or not names:
        raise ModelError("there is nothing to differentiate; name at least one output and one parameter")
    point = _point(model, scenario, names, horizon)
    settled = chosen_horizon(model, horizon, RungeKutta4(step))
    times = save_times(settled, save)
    runner = ForwardRunner(model, names, outputs=outputs, times=times, horizon=horizon, scenario=scenario, step=step)
    values, jacobian = runner(point)
    return Elasticities(
        times=np.array(times),
        outputs=tuple(outputs),
        names=tuple(names),
        output_units=tuple(model.variable(name).units for name in outputs),
        name_units=tuple(model.variable(name).units for name in names),
        values=values,
        point=point,
        sensitivities=jacobian,
        scenario=scenario.name,
        time_unit=model.horizon.unit,
        notes=(*notes, *runner.notes, *_zeros(outputs, names, values, point)),
        provenance={
            "model": model.name,
            "digest": model.digest,
            "scenario": scenario.name,
            "solver": {"name": "RungeKutta4", "step": settled.step},
            "horizon": asdict(settled),
        },
    )


def _series(model: Model, scenario: Scenario) -> set[str]:
    """Parameters that a scenario makes functions of time."""
    return {model.variable(name).name for name, change in scenario.changes.items() if isinstance(change, TimeSeries)}


def _all_parameters(model: Model, scenario: Scenario, outputs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Every parameter that has a derivative, with sentences on those left out."""
    left = _series(model, scenario) | {name for name in model.parameters if key(name) in map(key, CONTROLS)}
    names = [name for name, item in model.parameters.items() if name not in left and not item.hidden]
    settled = structure(apply(model, scenario).model)
    moved = jumps(settled, names, live_variables(settled, outputs)).moved
    notes = [
        f"'{shown(name)}' enters the time at which '{variable}' switches, so it is left out" for name, variable in moved
    ]
    return [name for name in names if name not in {name for name, _ in moved}], notes


def _point(
    model: Model, scenario: Scenario, names: Sequence[str], horizon: Horizon | tuple[float, float] | None
) -> Floats:
    """Values of parameters and initial stocks under a scenario."""
    varying = _series(model, scenario)
    for name in names:
        if name in varying:
            raise ScenarioError(
                f"scenario '{scenario.name}' makes '{name}' a function of time, so there is no number to differentiate"
                " by; leave it out, or let the scenario set a number"
            )
    apply(model, Scenario("elasticities", dict.fromkeys(names, 0.0)))
    inputs = apply(model, scenario)
    settled = chosen_horizon(model, horizon, RungeKutta4())
    kernel = compile_model(inputs.model)
    p = kernel.vector({**controls(model, settled), **inputs.values}, inputs.tables)
    p[kernel.half_step] = settled.step / 2.0
    y = kernel.array(len(kernel.stocks))
    begin(kernel, settled.start, settled.start, p, y)
    starts = dict(zip(kernel.stocks, y, strict=True))
    found = [p[kernel.slots[name]] if isinstance(model.variable(name), Parameter) else starts[name] for name in names]
    return np.array(found, dtype=float)


def _zeros(outputs: Sequence[str], names: Sequence[str], values: Floats, point: Floats) -> list[str]:
    """Sentences on zeros, of which there is no per cent."""
    notes = []
    for column, name in enumerate(outputs):
        if (values[:, column] == 0.0).any():
            notes.append(f"'{name}' is zero at times: there it has sensitivities but no elasticities (NaN)")
    zero = [name for name, value in zip(names, point, strict=True) if value == 0.0]
    if zero:
        told = ", ".join(f"'{name}'" for name in zero)
        notes.append(f"{told} at zero: elasticities to it are zero whatever it does; read sensitivities")
    return notes
