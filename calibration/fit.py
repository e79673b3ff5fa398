"""Fit: the best point, every start, and what to make of them; printed as a report card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

import sd_cluster as sd
from calibration.statistics import ENOUGH, WAVES, Floats, Theil, durbin_watson, r_squared, rmspe, theil
from calibration.words import counted, listed
from sd_cluster.errors import FitError, near

if TYPE_CHECKING:
    import pandas as pd

    from calibration.objective import Objective
    from sd_cluster.solvers import Solver

Topic = Literal["starts", "convergence", "bounds", "identification", "residuals", "data", "prediction"]


@dataclass(frozen=True)
class Estimate:
    """One fitted unknown.

    Attributes
    ----------
    name, unit
        As in the model; unknowns of the measurement, such as a level shift, have no unit.
    value, low, high
        The estimate and the range searched; where the prior has no ends, its 5 and 95 % quantiles.
    place
        Where it stands in its prior, from 0 to 1: for a range the part of it below, on a log scale where `logarithmic`.
    error
        One standard error from the curvature at the optimum, local and linear; NaN at a bound or where
        the data do not tell.
    bound
        "low" or "high" for an estimate that stands at an end of its range, else empty.
    identified
        False where the data narrow the unknown hardly more than its prior does.
    ranged
        True for a range with ends, False for a prior that only makes some values unlikely.
    """

    name: str
    unit: str
    value: float
    low: float
    high: float
    place: float
    error: float
    bound: str
    identified: bool
    logarithmic: bool
    ranged: bool = True

    @property
    def standing(self) -> str:
        """Where the estimate stands, in words: `37 %` or `AT LOW BOUND`."""
        return f"AT {self.bound.upper()} BOUND" if self.bound else f"{100.0 * self.place:.0f} %"

    @property
    def spread(self) -> str:
        """The standard error, or why there is none."""
        if self.bound:
            return "at bound"
        return rounded(self.error, 2) if self.identified else "not known"


@dataclass(frozen=True, eq=False)
class SeriesFit:
    """One series beside its prediction at the optimum.

    Attributes
    ----------
    indicator, unit, variable
        Of the data, and the model variable it was set against.
    years : shape (n,)
        Years of the figures.
    observed, predicted : shape (n,), in `unit`
        Figures and predictions, the unknown scale included.
    scale
        Factor from variable to figure; 1 unless `scale_fitted`.
    noise
        Scale of the noise model, on the log scale where `relative` (0.05 is about 5 %); NaN for counts, whose noise
        follows from their size.
    noise_origin
        "estimated", "given", or "floor" where the estimate met the least noise allowed.
    skipped
        Rows left out, each as (line, reason).
    region
        Whose series it is.
    relative
        Whether residuals are logarithmic; else they are in `unit`.
    innovations : shape (n,)
        What is left of each residual once the ones before are known, in standard deviations, where the noise lets
        residuals follow one another; empty for any other noise.
    """

    indicator: str
    unit: str
    variable: str
    years: Floats
    observed: Floats
    predicted: Floats
    scale: float
    scale_fitted: bool
    noise: float
    noise_origin: str
    skipped: tuple[tuple[int, str], ...] = ()
    region: str = ""
    relative: bool = True
    innovations: Floats = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        for array in (self.years, self.observed, self.predicted, self.innovations):
            array.setflags(write=False)

    @property
    def residuals(self) -> Floats:
        """log(observed) - log(predicted), or the plain difference where not `relative`; shape (n,)."""
        return self._eased(self.observed) - self._eased(self.predicted)

    @property
    def r_squared(self) -> float:
        """R2 on the scale of the residuals."""
        return r_squared(self._eased(self.predicted), self._eased(self.observed))

    def _eased(self, values: Floats) -> Floats:
        return np.log(values) if self.relative else values

    @property
    def rmspe(self) -> float:
        """Root mean square relative error of the figures."""
        return rmspe(self.predicted, self.observed)

    @property
    def theil(self) -> Theil:
        """Theil's shares of the mean squared error of the figures."""
        return theil(self.predicted, self.observed)

    @property
    def durbin_watson(self) -> float:
        """Durbin-Watson of the residuals over neighbouring figures, or of innovations where the noise has such."""
        return durbin_watson(self.innovations if self.innovations.size else self.residuals)

    @property
    def in_waves(self) -> bool:
        """True where residuals follow one another for years, beyond what the noise lets them.

        Not judged for few figures or noise at its floor.
        """
        return len(self.years) >= ENOUGH and self.durbin_watson < WAVES and self.noise_origin != "floor"


@dataclass(frozen=True, eq=False)
class Start:
    """One start of the search.

    Attributes
    ----------
    number
        From 0, which is the model's own values.
    origin, end : shape (n_unknowns,)
        Where it began and ended, in each unknown's own unit; the end is NaN for a start that failed.
    payoff
        Minus the log-likelihood at the end; NaN for a start that failed.
    runs
        Simulations it took.
    outcome
        "converged", or why not.
    place : shape (n_unknowns,)
        The end in the coordinates of the search.
    """

    number: int
    origin: Floats
    end: Floats
    payoff: float
    runs: int
    outcome: str
    place: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def failed(self) -> bool:
        """True for a start without a result."""
        return not np.isfinite(self.payoff)


@dataclass(frozen=True)
class Verdict:
    """One sentence about a fit; `good` is False for what a reader must mind."""

    topic: Topic
    good: bool
    text: str


@dataclass(frozen=True, eq=False)
class RegionFit:
    """One region of a fit: what it takes to run the model for it.

    Attributes
    ----------
    name
        Of the region.
    base
        The scenario every run of the fit had.
    changes
        Fitted values of the model's parameters and initial stocks, by their names in the model.
    span
        First and last moment of the runs.
    step
        Of the solver; the model's own where None.
    """

    name: str
    base: "sd.Scenario"
    changes: Mapping[str, float]
    span: tuple[float, float]
    step: float | None = None


@dataclass(frozen=True, eq=False)
class Fit:
    """What a search found.

    Attributes
    ----------
    model
        Name of the model.
    regions
        The regions fitted, at least one.
    estimates
        Best point, one record per unknown, noise scales aside.
    series
        One record per fitted series.
    starts
        Every start, in order of its number.
    names, place : shape (n_unknowns,)
        All unknowns, and the best point in the coordinates of the search.
    payoff
        Minus the log-likelihood at the best point, plus what priors add.
    verdicts
        What to make of it, in sentences.
    provenance
        What it takes to repeat the fit: seed, starts, digests, versions.
    objective
        What was minimised; None for a fit read from a file without it.
    """

    model: str
    regions: tuple[RegionFit, ...]
    estimates: tuple[Estimate, ...]
    series: tuple[SeriesFit, ...]
    starts: tuple[Start, ...]
    names: tuple[str, ...]
    place: Floats
    payoff: float
    verdicts: tuple[Verdict, ...]
    provenance: Mapping[str, str | int | float] = field(default_factory=dict)
    objective: "Objective | None" = None

    @property
    def region(self) -> str:
        """Name of the region, or of all of them."""
        return listed([one.name for one in self.regions])

    @property
    def base(self) -> "sd.Scenario":
        """The scenario every run of the first region had."""
        return self.regions[0].base

    @property
    def span(self) -> tuple[float, float]:
        """First and last moment of the runs of the first region."""
        return self.regions[0].span

    @property
    def values(self) -> dict[str, float]:
        """The estimates by name."""
        return {one.name: one.value for one in self.estimates}

    @property
    def good(self) -> bool:
        """True if no verdict asks to be minded."""
        return all(verdict.good for verdict in self.verdicts)

    def __getitem__(self, name: str) -> float:
        """The estimate of this parameter.

        Raises
        ------
        FitError
            If it was not searched; the text names the nearest one.
        """
        if name not in self.values:
            raise FitError(f"the fit has no parameter '{name}'{near(name, self.values)}")
        return self.values[name]

    def of_region(self, region: str | None = None) -> RegionFit:
        """One region of the fit; the first where not given.

        Raises
        ------
        FitError
            If it was not fitted; the text names the nearest one.
        """
        found = {one.name: one for one in self.regions}
        if region is None:
            return self.regions[0]
        if region not in found:
            raise FitError(f"the fit has no region '{region}'{near(region, found)}")
        return found[region]

    def scenario(self, name: str | None = None, *, region: str | None = None) -> "sd.Scenario":
        """The scenario of a region with the estimates set, under `name` or "fitted to <region>"."""
        one = self.of_region(region)
        return one.base.with_changes(dict(one.changes), name=name or f"fitted to {one.name}")

    def frame(self) -> "pd.DataFrame":
        """The estimates as a table: parameter, estimate, unit, low, high, place, error, bound, identified, ..."""
        import pandas as pd

        keys = (
            "name",
            "value",
            "unit",
            "low",
            "high",
            "place",
            "error",
            "bound",
            "identified",
            "logarithmic",
            "ranged",
        )
        rows = [[getattr(one, key) for key in keys] for one in self.estimates]
        return pd.DataFrame(rows, columns=["parameter", "estimate", *keys[2:]])

    def series_frame(self) -> "pd.DataFrame":
        """The statistics of fit as a table, one row per series; shares and errors are fractions."""
        import pandas as pd

        return pd.DataFrame(
            {
                "region": one.region,
                "series": one.indicator,
                "variable": one.variable,
                "n": len(one.years),
                "skipped": len(one.skipped),
                "r_squared": one.r_squared,
                "rmspe": one.rmspe,
                "theil_um": one.theil.bias,
                "theil_us": one.theil.variation,
                "theil_uc": one.theil.covariation,
                "durbin_watson": one.durbin_watson,
                "noise": one.noise,
                "noise_origin": one.noise_origin,
                "scale": one.scale,
                "scale_fitted": one.scale_fitted,
            }
            for one in self.series
        )

    def data_frame(self) -> "pd.DataFrame":
        """Figures beside predictions as a tidy table: region, series, year, observed, predicted, residual, unit."""
        import pandas as pd

        tables = [
            pd.DataFrame(
                {
                    "region": one.region,
                    "series": one.indicator,
                    "year": one.years,
                    "observed": one.observed,
                    "predicted": one.predicted,
                    "residual": one.residuals,
                    "unit": one.unit,
                }
            )
            for one in self.series
        ]
        return pd.concat(tables, ignore_index=True)

    def starts_frame(self) -> "pd.DataFrame":
        """Every start as a table, best first: start, payoff, runs, outcome, and where each parameter ended."""
        import pandas as pd

        names = list(self.names)
        rows = [[s.number, s.payoff, s.runs, s.outcome, *s.end.tolist()] for s in self.starts]
        table = pd.DataFrame(rows, columns=["start", "payoff", "runs", "outcome", *names])
        return table.sort_values("payoff", kind="stable", ignore_index=True)

    def save(self, path: str | Path) -> Path:
        """Write the fit as JSON, whole or not at all; `load_fit` reads it back."""
        from calibration.fit_file import save_fit

        return save_fit(self, path)

    def __str__(self) -> str:
        return report_card(self)


def simulate_fit(
    fit: Fit,
    horizon: "sd.Horizon | tuple[float, float] | None" = None,
    *,
    region: str | None = None,
    model: "sd.Model | None" = None,
    solver: "Solver | None" = None,
    save: float | Sequence[float] | None = None,
) -> "sd.Run":
    """Run the model at the best point of a fit.

    Parameters
    ----------
    fit
        What `minimise` gave, or `load_fit` read.
    horizon
        The time to run over; that of the fit by default.
    region
        Which of several regions; the first by default.
    model
        Needed for a fit read from a file without its objective.
    solver
        That of the fit by default.
    save
        As in `simulate`.

    Raises
    ------
    FitError
        If the model is not known, or its equations are not those that were fitted, or the region was not fitted.
    """
    one = fit.of_region(region)
    if model is None and fit.objective is not None:
        model = fit.objective.likelihoods[fit.regions.index(one)].model
    if model is None:
        raise FitError(f"a fit read from a file needs its model: simulate_fit(fit, model=load('{fit.model}'))")
    fitted = str(fit.provenance.get("model digest", model.digest))
    if model.digest != fitted:
        raise FitError(
            f"the fit was made with other equations of {fit.model} (digest {fitted[:12]}, now {model.digest[:12]}); "
            "fit again, or load the model as it was"
        )
    return sd.simulate(
        model, fit.scenario(region=region), solver=solver or sd.RungeKutta4(one.step),
        horizon=horizon if horizon is not None else one.span, save=save,
    )  # fmt: skip


def report_card(fit: Fit) -> str:
    """A fit as text: estimates, statistics of each series, verdicts, provenance."""
    figures = sum(len(one.years) for one in fit.series)
    parts = [
        f"Fit of {fit.model} to {fit.region}: {counted(figures, 'figure')} in {len(fit.series)} series, "
        f"{counted(len(fit.estimates), 'parameter')}, best of {counted(len(fit.starts), 'start')}",
        _table(_ESTIMATES, [_estimate_row(one) for one in fit.estimates]),
        _table(_SERIES, [_series_row(one, named=len(fit.regions) > 1) for one in fit.series]),
        _LEGEND,
        "\n".join(["What to make of it", *(_verdict_line(verdict) for verdict in fit.verdicts)]),
        "\n".join(["How it was made", *(f"  {key}: {value}" for key, value in fit.provenance.items())]),
    ]
    return "\n\n".join(parts)


_ESTIMATES = ("parameter", "estimate", "+/-", "unit", "low", "high", "in its range")
_SERIES = ("series", "n", "skipped", "R2", "RMSPE", "UM", "US", "UC", "DW", "noise", "scale")
_LEGEND = """\
+/- is one standard error from the curvature at the optimum (local and linear). Low and high are the ends of the range;
in brackets the 5 and 95 % quantiles of a prior without ends. R2 is on the scale of the residuals, the log scale unless
the noise is plain; RMSPE and Theil's shares of the squared error (UM bias, US unequal variation, UC unequal
covariation) are on the figures' own scale; DW is Durbin-Watson over neighbouring figures; noise is the scale of the
noise model, the log-scale error of one figure by default (* at its floor, = given, - for counts); scale is the
fitted factor from model variable to figure."""


def _estimate_row(one: Estimate) -> tuple[str, ...]:
    where = f"{one.standing} (log)" if one.logarithmic and not one.bound else one.standing
    ends = [rounded(number, 4) if one.ranged else f"({rounded(number, 4)})" for number in (one.low, one.high)]
    return (one.name, rounded(one.value, 4), one.spread, one.unit, *ends, where)


def _series_row(one: SeriesFit, *, named: bool) -> tuple[str, ...]:
    mark = {"floor": " *", "given": " ="}.get(one.noise_origin, "")
    shares = (one.theil.bias, one.theil.variation, one.theil.covariation)
    return (
        f"{one.indicator} [{one.region}]" if named else one.indicator,
        str(len(one.years)),
        str(len(one.skipped)),
        _fixed(one.r_squared, 3),
        f"{100.0 * one.rmspe:.1f} %",
        *(_fixed(share, 2) for share in shares),
        _fixed(one.durbin_watson, 2),
        f"{rounded(one.noise, 2)}{mark}" if np.isfinite(one.noise) else "-",
        rounded(one.scale, 4) if one.scale_fitted else "-",
    )


def rounded(number: float, digits: int) -> str:
    """A number with so many significant digits, without a power of ten up to a million.

    Examples
    --------
    >>> rounded(82345.6, 3), rounded(0.15321, 3)
    ('82300', '0.153')
    """
    return f"{float(f'{number:.{digits}g}'):g}"


def _fixed(number: float, digits: int) -> str:
    return f"{number:.{digits}f}" if np.isfinite(number) else "-"


def _verdict_line(verdict: Verdict) -> str:
    import textwrap

    return textwrap.fill(
        verdict.text, 112, initial_indent="  ok   " if verdict.good else "  MIND ", subsequent_indent=" " * 7
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their heads, the first and any column of words to the left, numbers to the right."""
    words = {"parameter", "series", "unit", "in its range"}
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row in (heads, *rows):
        cells = [
            cell.ljust(width) if head in words else cell.rjust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
