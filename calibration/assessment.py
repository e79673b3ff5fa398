"""From the starts of a search to a Fit: statistics, standard errors and verdicts in words."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from calibration.fit import Estimate, Fit, SeriesFit, Start, Verdict, rounded
from calibration.identification import Identification, identify
from calibration.objective import Misfit
from calibration.statistics import Floats
from calibration.words import counted

AT_BOUND = 0.005
"""An estimate this near to an end, in ranges, stands at the bound."""
NEAR_BEST = 0.01
"""A start ended near the best if its typical error is at most this much larger."""
CUT_OFF = 1.92
"""Difference of payoff that the data cannot tell: the 95 % cut-off of the likelihood ratio for one parameter."""
APART = 0.2
"""Starts that the data cannot tell apart disagree about a parameter where they lie this far apart, in ranges."""


def assess(misfit: Misfit, starts: Sequence[Start], *, asked: int, seed: int, interrupted: bool) -> Fit:
    """Make the Fit of a search.

    Parameters
    ----------
    misfit
        What was minimised.
    starts
        The starts that are done, at least one of them with a result.
    asked, seed
        As given to `minimise`.
    interrupted
        True if the search was stopped before all starts were done.
    """
    best = min((start for start in starts if not start.failed), key=lambda start: (start.payoff, start.number))
    noise = misfit.noise_scales(misfit.log_residuals(best.end))
    place = misfit.scaling.to_unit(best.end)
    held = (place <= AT_BOUND) | (place >= 1.0 - AT_BOUND)
    known = identify(misfit, best.end, noise, held)
    estimates = _estimates(misfit, best.end, place, held, known)
    series = _series(misfit, best.end, noise)
    verdicts = [
        *_on_starts(misfit, starts, best, asked, interrupted),
        *_on_bounds(estimates),
        *_on_identification(estimates, known),
        *_on_series(series),
    ]
    if misfit.unused:
        verdicts.append(Verdict("data", True, f"Not used, for want of a gauge: {', '.join(misfit.unused)}."))
    return Fit(
        model=misfit.model.name,
        region=misfit.dataset.region,
        estimates=estimates,
        series=series,
        starts=tuple(starts),
        payoff=best.payoff,
        verdicts=tuple(verdicts),
        base=misfit.scenario,
        span=misfit.span,
        provenance=_provenance(misfit, starts, asked, seed),
        objective=misfit,
    )


def growth_of_error(payoff: Floats, best: float, n_figures: int) -> Floats:
    """How much larger the typical error is than at the best payoff, as a fraction.

    The payoff is n times the logarithm of the typical (geometric mean) noise scale plus a constant, so
    differences of payoff are growth of that error, whatever the payoff's sign.

    Examples
    --------
    >>> round(float(growth_of_error(np.array([10.0 * np.log(1.02)]), 0.0, 10)[0]), 9)
    0.02
    """
    with np.errstate(over="ignore"):
        return np.expm1((payoff - best) / n_figures)


def _estimates(
    misfit: Misfit, vector: Floats, place: Floats, held: NDArray[np.bool_], known: Identification
) -> tuple[Estimate, ...]:
    slope = misfit.scaling.slope(vector)
    made = []
    for number, name in enumerate(misfit.names):
        variable = misfit.model.variable(name)
        end = "low" if place[number] < 0.5 else "high"
        telling = bool(known.identified[number])
        made.append(
            Estimate(
                name=name,
                unit=variable.units,
                value=float(vector[number]),
                low=float(misfit.scaling.lower[number]),
                high=float(misfit.scaling.upper[number]),
                place=float(place[number]),
                error=float(known.errors[number] * slope[number]) if telling else float("nan"),
                bound=end if held[number] else "",
                identified=telling,
                logarithmic=bool(misfit.scaling.logarithmic[number]),
            )
        )
    return tuple(made)


def _series(misfit: Misfit, vector: Floats, noise: dict[str, float]) -> tuple[SeriesFit, ...]:
    predicted = misfit.predict(vector)
    scales = misfit.scales(vector)
    made = []
    for name, one in misfit.series.items():
        gauge = misfit.measurement.gauges[name]
        origin = "floor" if noise[name] <= misfit.noise_floor else "estimated"
        made.append(
            SeriesFit(
                indicator=name,
                unit=one.unit,
                variable=gauge.variable,
                years=one.years,
                observed=one.values,
                predicted=predicted[name],
                scale=scales[name],
                scale_fitted=gauge.scale,
                noise=noise[name],
                noise_origin="given" if name in misfit.fixed_noise else origin,
                skipped=one.skipped,
            )
        )
    return tuple(made)


def _on_starts(misfit: Misfit, starts: Sequence[Start], best: Start, asked: int, interrupted: bool) -> list[Verdict]:
    made = []
    if interrupted:
        made.append(
            Verdict(
                "starts",
                False,
                f"Interrupted: {len(starts)} of {asked} starts were done; the others are not known.",
            )
        )
    failed = [start for start in starts if start.failed]
    if failed:
        made.append(
            Verdict(
                "starts",
                False,
                f"{len(failed)} of {len(starts)} starts failed; the first: {failed[0].outcome}.",
            )
        )
    fine = [start for start in starts if not start.failed]
    n_figures = sum(len(one.years) for one in misfit.series.values())
    growth = growth_of_error(np.array([start.payoff for start in fine]), best.payoff, n_figures)
    near = [start for start, more in zip(fine, growth, strict=True) if more <= NEAR_BEST]
    text = f"{len(near)} of {len(starts)} starts ended within 1 % of the best (typical error of a figure)."
    trusted = len(near) > 1
    if len(starts) == 1:
        text = "One start only: nothing shows that this is the best point of the ranges; use more starts."
    elif not trusted:
        text += " Only one start found it: use more starts before trusting it as the best of the ranges."
    made.append(Verdict("starts", trusted, text))
    if best.outcome != "converged":
        made.append(Verdict("convergence", False, f"The best start {best.outcome}: the point is not yet an optimum."))
    else:
        made.append(Verdict("convergence", True, "The best start converged."))
    made.extend(_on_spread(misfit, [start for start in fine if start.payoff <= best.payoff + CUT_OFF]))
    return made


def _on_spread(misfit: Misfit, near: Sequence[Start]) -> list[Verdict]:
    """Starts of like payoff that ended far apart: seen over the whole box, not only near the optimum."""
    if len(near) < 2:
        return []
    ends = np.array([start.end for start in near])
    places = np.array([misfit.scaling.to_unit(end) for end in ends])
    apart = np.ptp(places, axis=0) > APART
    if not apart.any():
        return []
    some = "; ".join(
        f"'{name}' from {rounded(ends[:, number].min(), 3)} to {rounded(ends[:, number].max(), 3)}"
        for number, name in enumerate(misfit.names)
        if apart[number]
    )
    return [
        Verdict(
            "identification",
            False,
            f"Starts that the data cannot tell apart (payoff within {CUT_OFF} of the best) disagree: {some}.",
        )
    ]


def _on_bounds(estimates: Sequence[Estimate]) -> list[Verdict]:
    made = [
        Verdict(
            "bounds",
            False,
            f"'{one.name}' stands at its {one.bound} bound ({rounded(one.value, 4)}): "
            "the data would take it further. Widen the range if the theory allows, else fix it there and say so.",
        )
        for one in estimates
        if one.bound
    ]
    return made or [Verdict("bounds", True, "No estimate stands at a bound.")]


def _on_identification(estimates: Sequence[Estimate], known: Identification) -> list[Verdict]:
    held = len(estimates) - known.free
    if known.free == 0:
        return [Verdict("identification", False, "Every estimate stands at a bound: nothing was judged.")]
    aside = f", with {held} held at bounds" if held else ""
    condition = f"condition {known.condition:.1e}" if np.isfinite(known.condition) else "condition infinite"
    summary = (
        f"The data tell {known.told} of {counted(known.free, 'independent direction')} of the parameters{aside} "
        f"({condition})."
    )
    made = [Verdict("identification", known.told == known.free, summary)]
    made += [Verdict("identification", False, sentence) for sentence in known.sentences]
    said = " ".join(known.sentences)
    made += [
        Verdict(
            "identification",
            False,
            f"Barely known: '{one.name}'. Its standard error is as large as a guess within its range.",
        )
        for one in estimates
        if not one.bound and not one.identified and f"'{one.name}'" not in said
    ]
    return made


def _on_series(series: Sequence[SeriesFit]) -> list[Verdict]:
    made = []
    for one in series:
        if one.in_waves:
            made.append(
                Verdict(
                    "residuals",
                    False,
                    f"The residuals of '{one.indicator}' come in waves (Durbin-Watson {one.durbin_watson:.2f}): the "
                    "model misses something slow, and the standard errors above are too small.",
                )
            )
        if one.noise_origin == "floor":
            made.append(
                Verdict(
                    "residuals",
                    True,
                    f"'{one.indicator}' is fitted to within the least noise allowed ({one.noise:.2g}), which is used "
                    "instead.",
                )
            )
    free = [one.indicator for one in series if one.scale_fitted]
    if free:
        made.append(
            Verdict(
                "data",
                True,
                f"The scale is free for {', '.join(free)}: only the shape over time was fitted, not the level.",
            )
        )
    return made


def _provenance(misfit: Misfit, starts: Sequence[Start], asked: int, seed: int) -> dict[str, str | int | float]:
    made: dict[str, str | int | float] = {
        "seed": seed,
        "starts": asked,
        "starts done": len(starts),
        "simulations": sum(start.runs for start in starts),
        "solver": repr(misfit.solver),
        "run": f"{misfit.span[0]:g} to {misfit.span[1]:g}",
        "scenario": misfit.scenario.name,
        "noise floor": misfit.noise_floor,
        "model digest": misfit.model.digest,
        "data file": misfit.dataset.path.name,
        "data digest": misfit.dataset.digest,
        "python": platform.python_version(),
    }
    for package in ("sd-cluster", "numpy", "scipy", "numba"):
        try:
            made[package] = version(package)
        except PackageNotFoundError:
            made[package] = "not installed"
    return made
