"""What a fit shows, in sentences: how near it comes, where it is off, and what its residuals do."""

from __future__ import annotations

import numpy as np

from calibration.assessment import CUT_OFF
from calibration.fit import Fit, SeriesFit
from calibration.statistics import SCATTER
from calibration.words import about, counted, listed


def nearness(fit: Fit, begun: str = "") -> str:
    """How near the model comes, over all series, and where the search began (at its starts where not said)."""
    relative = [one for one in fit.series if one.relative]
    begun = begun or counted(len(fit.starts), "starting point")
    text = f"The search moved {counted(len(fit.estimates), 'parameter')} from {begun}."
    if relative:
        typical = [100 * float(np.median(np.abs(one.residuals))) for one in relative]
        order = np.argsort(typical)
        near, far = relative[order[0]], relative[order[-1]]
        rest = (
            f"; for {_named(far, fit)}, the series met least well, half lie within {about(typical[order[-1]], 2)} %."
            if len(relative) > 1
            else "."
        )
        text += (
            f" At the best {'one' if len(fit.starts) > 1 else 'point'}, half of the {_named(near, fit)} figures lie "
            f"within {about(typical[order[0]], 2)} % of the model{rest}"
        )
    scaled = list(dict.fromkeys(one.indicator for one in fit.series if one.scale_fitted))
    if scaled:
        verb = "is" if len(scaled) == 1 else "are"
        text += (
            f" Only the course of {listed(scaled)} {verb} compared, not the level: one factor brings model and data to "
            "a scale."
        )
    return text


def worst_figure(fit: Fit) -> str:
    """The figure farthest off, by the noise of its series."""
    rows = [one for one in fit.series if one.relative] or list(fit.series)
    worst = max(rows, key=lambda one: float(np.max(np.abs(one.residuals))))
    at = int(np.argmax(np.abs(worst.residuals)))
    off = worst.observed[at] - worst.predicted[at]
    far = f"{about(100 * abs(off / worst.predicted[at]), 2)} %" if worst.relative else f"{about(abs(off))} {worst.unit}"
    side = "above" if off > 0 else "below"
    return f"The figure farthest off is {_named(worst, fit)} of {worst.years[at]:.0f}, {far} {side} the model."


def hanging_together(fit: Fit) -> str:
    """Whether residuals hang together in time, by their Durbin-Watson ratio."""
    tied = [one for one in fit.series if one.in_waves]
    loose = [one for one in fit.series if not one.in_waves and not one.durbin_watson >= SCATTER]
    ratios = [one.durbin_watson for one in fit.series]
    parts = []
    if tied:
        names = listed([f"{_named(one, fit)} ({one.durbin_watson:.2f})" for one in tied])
        parts.append(
            f"Residuals of {names} follow one another for years on end (Durbin–Watson well below 2): the data hold "
            "swings, of trade cycles or of counting, that the model does not have."
        )
    if loose:
        names = listed([f"{_named(one, fit)} ({_ratio(one.durbin_watson)})" for one in loose])
        parts.append(
            f"Residuals of {names} may hang together in time (Durbin–Watson not up to {SCATTER:g}); too few or too "
            "faint to call it a swing."
        )
    if not parts:
        spread = " to ".join(dict.fromkeys(f"{one:.2f}" for one in (min(ratios), max(ratios))))
        parts.append(f"Residuals change sign from figure to figure (Durbin–Watson {spread}): no trend is left.")
    remembering = [_named(one, fit) for one in fit.series if one.innovations.size]
    if remembering:
        parts.append(
            f"Of {listed(remembering)}, whose noise lets residuals follow one another, the ratio is of innovations."
        )
    return " ".join(parts)


def shares_told(fit: Fit) -> str:
    """Theil's shares, in words."""
    found = [(one, 100 * (one.theil.bias + one.theil.variation)) for one in fit.series]
    parts = [(_named(one, fit), share) for one, share in found if np.isfinite(share)]
    fine = [name for name, share in parts if share < 20]
    poor = [f"{name} ({share:.0f} %)" for name, share in parts if share >= 20]
    told = []
    if fine:
        told.append(
            f"For {listed(fine)}, bias and unequal variation make up less than a fifth of the squared error: what is "
            "missed is mostly scatter."
        )
    if poor:
        told.append(
            f"For {listed(poor)}, the systematic share (bias and unequal variation) is large: level or spread differ "
            "from the data."
        )
    return " ".join(told)


def starts_told(fit: Fit) -> str:
    """How many starts agree, and how many failed."""
    payoffs = np.array([one.payoff for one in fit.starts])
    near = int(np.sum(payoffs <= fit.payoff + CUT_OFF))
    same = int(np.sum(payoffs <= fit.payoff + 0.01))
    failed = int(np.sum(~np.isfinite(payoffs)))
    return (
        f"Of {counted(len(fit.starts), 'start')}, {same} ended at the best payoff and {near} within the 95 % cut-off "
        f"of it ({CUT_OFF:g} in log-likelihood)" + (f"; {failed} failed" if failed else "") + "."
    )


def _named(one: SeriesFit, fit: Fit) -> str:
    return f"{one.indicator} [{one.region}]" if len(fit.regions) > 1 else one.indicator


def _ratio(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "not to be told"
