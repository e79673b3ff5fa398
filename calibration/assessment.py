"""From the starts of a search to a Fit: statistics, standard errors and verdicts in words."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np

import sd_cluster as sd
from calibration.fit import Estimate, Fit, RegionFit, SeriesFit, Start, Verdict, rounded
from calibration.identifiability import Identification, identify
from calibration.likelihood import Likelihood
from calibration.noise import AutoRegressive
from calibration.objective import OFFSET, Objective
from calibration.outcome import Outcome
from calibration.priors import LogNormal, LogUniform
from calibration.searches import Search
from calibration.standardising import standardised
from calibration.statistics import Bools, Floats

AT_BOUND = 0.005
"""An estimate this near to an end, in ranges, stands at the bound."""
NEAR_BEST = 0.01
"""A start ended near the best if its typical error is at most this much larger."""
CUT_OFF = 1.92
"""Difference of payoff that the data cannot tell: the 95 % cut-off of the likelihood ratio for one parameter."""
APART = 0.2
"""Starts that the data cannot tell apart disagree about an unknown where they lie this far apart, in its prior."""
COARSE = 0.05
"""Shares of a figure's noise by which halving the step may move its prediction."""
FAR_OUT = 0.01
"""An estimate this far out in a prior without ends was pulled there by the data."""


def assess(
    objective: Objective,
    starts: Sequence[Start],
    *,
    asked: int,
    seed: int,
    search: Search,
    interrupted: bool,
    still: Sequence[str] = (),
) -> Fit:
    """Make the Fit of a search.

    Parameters
    ----------
    objective
        What was minimised.
    starts
        The starts that are done, at least one of them with a result.
    asked, seed, search
        As given to `minimise`.
    interrupted
        True if the search was stopped before all starts were done.
    still
        Unknowns that the search did not move: what the figures tell of the others is told with these held.
    """
    best = min((start for start in starts if not start.failed), key=lambda start: (start.payoff, start.number))
    standing = standings(objective, best.place)
    held = _ranged(objective) & ((standing <= AT_BOUND) | (standing >= 1.0 - AT_BOUND))
    known = identify(objective, best.place, held | np.isin(objective.names, list(still)))
    estimates = _estimates(objective, best, standing, held, known)
    series = tuple(
        made
        for number, one in enumerate(objective.likelihoods)
        for made in _series(one, objective.of_region(best.place, number))
    )
    verdicts = [
        *_on_starts(objective, starts, best, asked, interrupted),
        *_on_bounds(estimates),
        *_on_identification([one for one in estimates if one.name not in still], known),
        *_on_series(series),
        *_on_unused(objective),
        _on_step(objective, best.place),
    ]
    return Fit(
        model=objective.model.name,
        regions=tuple(_region(objective, best.place, number) for number in range(len(objective.likelihoods))),
        estimates=estimates,
        series=series,
        starts=tuple(starts),
        names=objective.names,
        place=best.place,
        payoff=best.payoff,
        verdicts=tuple(verdicts),
        provenance=_provenance(objective, starts, asked, seed, search),
        objective=objective,
    )


def standings(objective: Objective, place: Floats) -> Floats:
    """Share of each prior below a place, shape (n_unknowns,): for a range the part of it, on a log scale if it is wide.

    For what is own to a region and drawn around a mean it is the share of the regions below.
    """
    return np.array([float(prior.share(at)) for prior, at in zip(objective.priors.values(), place, strict=True)])


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


def _ranged(objective: Objective) -> Bools:
    """Which unknowns have a range with two ends."""
    priors = objective.priors.values()
    return np.array([bool(np.isfinite(prior.low) and np.isfinite(prior.high)) for prior in priors])


def _region(objective: Objective, place: Floats, number: int) -> RegionFit:
    one = objective.likelihoods[number]
    values = objective.of_region(place, number)
    horizon = one.horizon
    return RegionFit(
        one.region, one.scenario, dict(zip(one.free, values.tolist(), strict=False)), (horizon.start, horizon.end),
        one.step,
    )  # fmt: skip


def _errors(objective: Objective, best: Start, known: Identification) -> Floats:
    """Standard errors in each unknown's own unit, shape (n_unknowns,).

    Priors count where they pull; ranges alone do not. Noise scales at the optimum are a little small, hence the usual
    correction for what the figures have been used up for.
    """
    flat = all(float(np.asarray(prior.curvature(0.0))) == 0.0 for prior in objective.priors.values())
    errors = known.data_errors if flat else known.errors
    n_figures = sum(len(series.years) for one in objective.likelihoods for series in one.series.values())
    n_solved = sum(one.solved(name) for one in objective.likelihoods for name in one.series)
    fitted = np.array([name not in objective.noise_names for name in known.names]) & ~known.held
    spare = n_figures - n_solved - float(np.sum(1.0 - (1.0 - known.narrowed[fitted]) ** 2))
    widening = np.sqrt(n_figures / spare) if spare > 0.0 else np.inf
    return np.asarray(errors * widening * np.where(known.relative, np.abs(best.end), 1.0))


def _estimates(
    objective: Objective, best: Start, standing: Floats, held: Bools, known: Identification
) -> tuple[Estimate, ...]:
    ranged, scales = _ranged(objective), objective.noise_names
    errors, regional = _errors(objective, best, known), _regional_ends(objective, best)
    made = []
    for number, (name, prior) in enumerate(objective.priors.items()):
        if name in scales:
            continue
        low, high = (prior.low, prior.high) if ranged[number] else (float(prior.quantile(q)) for q in (0.05, 0.95))
        low, high = regional.get(number, (low, high))
        telling = bool(known.identified[number] and np.isfinite(errors[number]))
        made.append(
            Estimate(
                name=name,
                unit=objective.unit(name),
                value=float(best.end[number]),
                low=float(low),
                high=float(high),
                place=float(standing[number]),
                error=float(errors[number]) if telling and not held[number] else float("nan"),
                bound=("low" if standing[number] < 0.5 else "high") if held[number] else "",
                identified=telling,
                logarithmic=isinstance(prior, LogNormal | LogUniform),
                ranged=bool(ranged[number]),
            )
        )
    return tuple(made)


def _regional_ends(objective: Objective, best: Start) -> dict[int, tuple[float, float]]:
    """Of unknowns that regions have around a mean: between which values 90 % of regions lie."""
    found = {}
    for pool in objective.pools:
        around = best.place[pool.mean] + best.end[pool.spread] * OFFSET.quantile(np.array([0.05, 0.95]))
        for row, prior in zip(pool.rows.tolist(), pool.priors, strict=True):
            low, high = np.asarray(prior.value(around)).tolist()
            found[row] = (low, high)
    return found


def _series(one: Likelihood, values: Floats) -> list[SeriesFit]:
    """Each series of a region beside its prediction."""
    made = []
    for name, outcome in one.outcome(values).items():
        noise, gauge, series = one.noise[name], one.measurement.gauges[name], one.series[name]
        scale = noise.scale_at(one.noise_values(name, values))
        low = one.default_priors().get(f"noise of {name}")
        known = "scale" not in noise.unknowns
        floor = low is not None and np.isfinite(scale) and scale <= 1.01 * low.low
        positive = bool((outcome.observed > 0.0).all() and (outcome.predicted > 0.0).all())
        made.append(
            SeriesFit(
                indicator=name,
                unit=series.unit,
                variable=gauge.variable,
                years=outcome.years,
                observed=outcome.observed,
                predicted=outcome.predicted,
                scale=one.factor(name, values),
                scale_fitted=gauge.scale,
                noise=scale,
                noise_origin="given" if known else "floor" if floor else "estimated",
                skipped=series.skipped,
                region=one.region,
                relative=noise.relative and positive,
                innovations=_innovations(one, name, outcome, values),
            )
        )
    return made


def _innovations(one: Likelihood, name: str, outcome: Outcome, values: Floats) -> Floats:
    """Of a series whose noise lets residuals follow one another; empty for any other."""
    noise = one.noise[name]
    if not isinstance(noise, AutoRegressive):
        return np.empty(0)
    known, errors = one.noise_values(name, values), one.series[name].errors
    return standardised(noise, outcome.years, outcome.observed, outcome.predicted, known, errors)[0]


def _on_starts(
    objective: Objective, starts: Sequence[Start], best: Start, asked: int, interrupted: bool
) -> list[Verdict]:
    made = []
    if interrupted:
        text = f"Interrupted: {len(starts)} of {asked} starts were done; the others are not known."
        made.append(Verdict("starts", False, text))
    failed = [start for start in starts if start.failed]
    if failed:
        text = f"{len(failed)} of {len(starts)} starts failed; the first: {failed[0].outcome}."
        made.append(Verdict("starts", False, text))
    fine = [start for start in starts if not start.failed]
    n_figures = sum(len(series.years) for one in objective.likelihoods for series in one.series.values())
    growth = growth_of_error(np.array([start.payoff for start in fine]), best.payoff, n_figures)
    near = int(np.sum(growth <= NEAR_BEST))
    text = f"{near} of {len(starts)} starts ended within 1 % of the best (typical error of a figure)."
    if len(starts) == 1:
        text = "One start only: nothing shows that this is the best point of the ranges; use more starts."
    elif near < 2:
        text += " Only one start found it: use more starts before trusting it as the best of the ranges."
    made.append(Verdict("starts", near > 1, text))
    if best.outcome != "converged":
        made.append(Verdict("convergence", False, f"The best start {best.outcome}: the point is not yet an optimum."))
    else:
        made.append(Verdict("convergence", True, "The best start converged."))
    made.extend(_on_spread(objective, [start for start in fine if start.payoff <= best.payoff + CUT_OFF]))
    return made


def _on_spread(objective: Objective, near: Sequence[Start]) -> list[Verdict]:
    """Starts of like payoff that ended far apart: seen over the whole prior, not only near the optimum."""
    if len(near) < 2:
        return []
    ends = np.array([start.end for start in near])
    apart = np.ptp([standings(objective, start.place) for start in near], axis=0) > APART
    some = [
        f"'{name}' from {rounded(ends[:, number].min(), 3)} to {rounded(ends[:, number].max(), 3)}"
        for number, name in enumerate(objective.names)
        if apart[number] and name not in objective.noise_names
    ]
    if not some:
        return []
    text = f"Starts that the data cannot tell apart (payoff within {CUT_OFF} of the best) disagree: {'; '.join(some)}."
    return [Verdict("identification", False, text)]


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
    made += [
        Verdict(
            "bounds",
            False,
            f"'{one.name}' ({rounded(one.value, 3)}) lies in the outer {100.0 * FAR_OUT:g} % of its prior, "
            f"{rounded(one.low, 3)} to {rounded(one.high, 3)} (90 %): data and prior contradict each other.",
        )
        for one in estimates
        if not one.ranged and min(one.place, 1.0 - one.place) < 0.5 * FAR_OUT
    ]
    return made or [Verdict("bounds", True, "No estimate stands at a bound.")]


def _on_identification(estimates: Sequence[Estimate], known: Identification) -> list[Verdict]:
    first, *others = known.sentences
    fine = not others and known.told == len(known.singular) > 0
    made = [Verdict("identification", fine, first)]
    made += [Verdict("identification", False, sentence) for sentence in others]
    said = " ".join(others)
    for one in estimates:
        if not one.bound and not one.identified and f"'{one.name}'" not in said:
            text = known.verdicts[one.name]
            made.append(Verdict("identification", False, f"{text}."))
    return made


def _on_series(series: Sequence[SeriesFit]) -> list[Verdict]:
    made = []
    many = len({one.region for one in series}) > 1
    for one in series:
        name = f"{one.indicator} [{one.region}]" if many else one.indicator
        if one.in_waves:
            what = f"residuals of '{name}' come"
            if one.innovations.size:
                what = f"residuals of '{name}' may follow one another by its noise, yet their innovations come"
            text = (
                f"The {what} in waves (Durbin-Watson {one.durbin_watson:.2f}): the "
                "model misses something slow, and the standard errors above are too small."
            )
            made.append(Verdict("residuals", False, text))
        if one.noise_origin == "floor":
            text = f"'{name}' is fitted to within the least noise allowed ({one.noise:.2g}), which is used instead."
            made.append(Verdict("residuals", True, text))
    free = list(dict.fromkeys(one.indicator for one in series if one.scale_fitted))
    if free:
        text = f"The scale is free for {', '.join(free)}: only the shape over time was fitted, not the level."
        made.append(Verdict("data", True, text))
    return made


def _on_unused(objective: Objective) -> list[Verdict]:
    unused = sorted({name for one in objective.likelihoods for name in one.dataset.series if name not in one.series})
    return [Verdict("data", True, f"Not used, for want of a gauge: {', '.join(unused)}.")] if unused else []


def _on_step(objective: Objective, place: Floats) -> Verdict:
    """Whether the solver's steps are fine enough where the search ended."""
    worst, step = 0.0, max(one.step for one in objective.likelihoods)
    for number, one in enumerate(objective.likelihoods):
        values = objective.of_region(place, number)
        finer = one.with_step(0.5 * one.step).outcome(values)
        for name, outcome in one.outcome(values).items():
            moved = np.abs(finer[name].predicted - outcome.predicted) * _weight(outcome.judged.root)
            worst = max(worst, float(moved.max()))
    text = f"Halving the solver's step of {step:g} moves no prediction by more than {100.0 * worst:.1g} % of its noise."
    return Verdict("convergence", worst < COARSE, text if worst < COARSE else f"{text} Fit again with a smaller step.")


def _weight(root: Floats) -> Floats:
    """One over the noise of each prediction, from a root of its information, shape (n,) or (n, n)."""
    return np.abs(root) if root.ndim == 1 else np.asarray(np.linalg.norm(root, axis=0))


def _provenance(
    objective: Objective, starts: Sequence[Start], asked: int, seed: int, search: Search
) -> dict[str, str | int | float]:
    first = objective.likelihoods[0]
    made: dict[str, str | int | float] = {
        "seed": seed,
        "starts": asked,
        "starts done": len(starts),
        "simulations": sum(start.runs for start in starts),
        "search": repr(search),
        "solver": repr(sd.RungeKutta4(first.step)),
        "run": f"{first.horizon.start:g} to {first.horizon.end:g}",
        "scenario": first.scenario.name,
        "model digest": objective.model.digest,
        "data file": ", ".join(dict.fromkeys(one.dataset.path.name for one in objective.likelihoods)),
        "data digest": objective.data_digest,
        "python": platform.python_version(),
    }
    for package in ("sd-cluster", "numpy", "scipy", "numba"):
        try:
            made[package] = version(package)
        except PackageNotFoundError:
            made[package] = "not installed"
    return made
