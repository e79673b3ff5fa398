"""What is checked before a likelihood is made: years within the run, units that agree, figures enough, own values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import sd_cluster as sd
from calibration.dataset import Series
from calibration.measurement import Cumulated, Gauge, Growth, Level, Rate, Share
from calibration.noise import LogNormal, Noise
from calibration.statistics import Floats
from sd_cluster.errors import DataError, FitError, SimulationError, near
from sd_cluster.units import dimension

_MULTIPLES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "percent": 0.01, "%": 0.01}
_MULTIPLE = re.compile(
    r"^(hundreds?\b|thousands?\b|millions?\b|billions?\b|per ?cent\b|%)\s*(?:of\b.*)?", re.IGNORECASE
)


def own_value(model: sd.Model, scenario: sd.Scenario, name: str) -> float:
    """What a scenario gives a parameter or a stock's initial value, else the model; NaN for a stock left alone.

    Raises
    ------
    FitError
        If it is a function of time there.
    """
    full = model.variable(name).name
    for changed, value in scenario.changes.items():
        if model.variable(changed).name == full:
            if isinstance(value, sd.TimeSeries):
                raise FitError(
                    f"scenario '{scenario.name}' makes '{full}' a function of time, so it cannot be searched as one "
                    "number; take it out of what is free or out of the scenario"
                )
            return float(value)
    parameter = model.parameters.get(full)
    return float("nan") if parameter is None else float(parameter.value)


def whole_horizon(model: sd.Model, horizon: sd.Horizon | tuple[float, float] | None, step: float | None) -> sd.Horizon:
    """The time to run over, in the steps asked for."""
    if isinstance(horizon, tuple):
        chosen = replace(model.horizon, start=float(horizon[0]), end=float(horizon[1]))
    else:
        chosen = horizon or model.horizon
    return replace(chosen, step=step) if step is not None else chosen


def noise_of_each(given: Mapping[str, Noise | float], series: Mapping[str, Series]) -> dict[str, Noise]:
    """Noise of each series: as given, log-normal for a number, and log-normal of unknown scale where not given.

    Raises
    ------
    FitError
        If noise is given for what is not measured, or is not noise.
    """
    for name in given:
        if name not in series:
            raise FitError(f"noise is given for '{name}', which is not measured{near(name, series)}")
    found: dict[str, Noise] = {}
    for name in series:
        one = given.get(name, LogNormal())
        if isinstance(one, int | float) and not isinstance(one, bool):
            one = LogNormal(scale=float(one))
        if not isinstance(one, Noise):
            raise FitError(f"the noise of '{name}' is {one!r}; expected a number or a noise, such as LogNormal(0.05)")
        found[name] = one
    return found


def check_series(model: sd.Model, gauge: Gauge, one: Series, noise: Noise, horizon: sd.Horizon, path: Path) -> None:
    """See that one series can be set against the model.

    Raises
    ------
    DataError
        If it has no figure, or too few, or a year lies outside the run, or its unit cannot be that of its gauge, or its
        noise cannot have made it.
    """
    name = one.indicator
    if not len(one.years):
        raise DataError(f"{path.name} has no figure of '{name}'; drop its gauge or widen the years")
    if gauge.scale and len(one.years) < 2:
        raise DataError(
            f"{path.name} line {one.lines[0]}: the only figure of '{name}' is used up by the unknown factor of its "
            "gauge, so it tells nothing; drop the gauge or its factor"
        )
    if gauge.scale and not one.values.any():
        raise DataError(f"{path.name}: '{name}' is zero throughout, which tells no factor of its gauge; drop the gauge")
    try:
        noise.check(name, one.values, one.errors)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None
    check_years(one, gauge, horizon, path)
    check_units(model, gauge, one, path)


def check_years(one: Series, gauge: Gauge, horizon: sd.Horizon, path: Path) -> None:
    """Every moment a figure needs must lie within the run.

    Raises
    ------
    DataError
        If one does not; the text names the line.
    """
    for line, year, moments in zip(one.lines, one.years, gauge.times(one.years), strict=True):
        where = f"{path.name} line {line}: year {year:.0f}"
        needs = "" if moments.min() == moments.max() == year else " needs the model at {:g}, which"
        if moments.max() > horizon.end + 1e-9:
            far = needs.format(moments.max())
            raise DataError(
                f"{where}{far} lies after the run's end ({horizon.end:g}); extend the horizon or drop the row"
            )
        if moments.min() < horizon.start - 1e-9:
            far = needs.format(moments.min())
            raise DataError(
                f"{where}{far} lies before the run's start ({horizon.start:g}); start the horizon earlier or drop the "
                "row"
            )


def check_units(model: sd.Model, gauge: Gauge, one: Series, path: Path) -> None:
    """See that figures without a factor bear the unit of what their gauge reads, where the two can be compared.

    They can where the unit of the figures is made of words that the model itself uses, such as `persons`, behind a
    multiple, such as `thousand`; time is left aside, since tables rarely say "a year". Percentages are compared with
    what is dimensionless in the model.

    Raises
    ------
    DataError
        If they contradict one another.
    """
    if gauge.scale or not isinstance(gauge, Level | Rate | Cumulated | Growth | Share):
        return
    known = _dimension(model, (gauge.variable,))
    if isinstance(gauge, Share) and known is not None:
        below = _dimension(model, gauge.variables[1:2])
        known = {} if below == known else None
    if isinstance(gauge, Growth):
        known = {}
    if known is None:
        return
    multiple, core = _parted(one.unit)
    told = _told(model, core)
    if told is None or (not told and not core and multiple is None):
        return
    where = f"{path.name} line {one.lines[0]}: '{one.indicator}' is in '{one.unit}'"
    reads = f"its gauge reads '{gauge.variable}' in '{model.variable(gauge.variable).units}'"
    if isinstance(gauge, Growth | Share):
        reads = f"its gauge gives a {type(gauge).__name__.lower()} as a fraction"
    if told != known:
        raise DataError(f"{where}, but {reads}; choose another variable or give the gauge a factor")
    if multiple is not None:
        raise DataError(
            f"{where}, but {reads}; multiply the figures by {_MULTIPLES[multiple]:g}"
            + ("" if isinstance(gauge, Growth) else " or give the gauge a factor")
        )


def _parted(unit: str) -> tuple[str | None, str]:
    """The multiple that a unit begins with, and the rest of it without remarks in brackets."""
    plain = re.sub(r"\([^)]*\)", "", unit).strip() if "/" not in unit else unit.strip()
    found = _MULTIPLE.match(plain)
    if found is None:
        return None, plain
    word = found.group(1).casefold().replace("per cent", "percent").removesuffix("s")
    return word, "" if _MULTIPLES[word] < 1.0 else plain[found.end() :].strip()


def _told(model: sd.Model, core: str) -> dict[str, float] | None:
    """Exponents of a unit made of the model's own words, time left aside; None where it is made of others."""
    try:
        told = _timeless(dict(dimension(core)), model)
    except ValueError:
        return None
    words: set[str] = set()
    for variable in model.equations:
        try:
            words |= set(dimension(variable.units))
        except ValueError:
            continue
    return told if set(told) <= words else None


def _dimension(model: sd.Model, names: Sequence[str]) -> dict[str, float] | None:
    try:
        return _timeless(dict(dimension(model.variable(names[0]).units)), model)
    except ValueError:
        return None


def _timeless(exponents: dict[str, float], model: sd.Model) -> dict[str, float]:
    try:
        time = set(dimension(model.horizon.unit))
    except ValueError:
        time = set()
    return {word: power for word, power in exponents.items() if word not in time}


def check_predictions(region: str, name: str, years: Floats, predicted: Floats, noise: Noise) -> None:
    """Predictions must be numbers, and above zero where the noise needs that.

    Raises
    ------
    SimulationError
        If one is not; the text names its year.
    """
    good = np.isfinite(predicted)
    if noise.positive:
        good &= predicted > 0.0
    if not good.all():
        first = int(np.argmin(good))
        needs = "a value above zero" if noise.positive else "a finite value"
        raise SimulationError(
            f"{region}: the model gives {predicted[first]:.3g} for '{name}' in {years[first]:.0f}, which needs {needs}"
        )


def kept_years(one: Series, first: float, last: float) -> Series:
    """The figures of a series from `first` to `last`, both included."""
    kept = np.flatnonzero((one.years >= first) & (one.years <= last))
    return replace(
        one,
        years=one.years[kept],
        values=one.values[kept],
        errors=None if one.errors is None else one.errors[kept],
        sources=tuple(one.sources[k] for k in kept),
        statuses=tuple(one.statuses[k] for k in kept),
        lines=tuple(one.lines[k] for k in kept),
    )
