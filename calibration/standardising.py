"""Residuals of a fitted likelihood on the scale on which they should be standard normal, and their tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.noise import AutoRegressive, Noise, StudentT
from calibration.residuals import ResidualCheck, check_residuals
from calibration.statistics import Floats

if TYPE_CHECKING:
    from calibration.likelihood import Likelihood


def residual_checks(likelihood: Likelihood, values: Floats) -> tuple[ResidualCheck, ...]:
    """Test the standardised residuals of every series at one point, such as the optimum.

    Autoregressive noise is tested by its innovations: what is left once the residual of the year before is known. The
    Breusch-Godfrey test allows for everything that was fitted, a solved factor included.

    Parameters
    ----------
    likelihood
    values : shape (n_names,)
        In the order of its names.
    """
    outcomes, sensitivities = likelihood.outcome(values), likelihood.sensitivities(values)
    found = []
    for name, outcome in outcomes.items():
        noise, errors = likelihood.noise[name], likelihood.series[name].errors
        own = likelihood.noise_values(name, values)
        residuals, root = standardised(noise, outcome.years, outcome.observed, outcome.predicted, own, errors)
        moved = sensitivities[name]
        if likelihood.solved(name):
            moved = np.column_stack([moved, outcome.predicted])
        slopes = root[:, None] * moved if root.ndim == 1 else root @ moved
        remembers = isinstance(noise, AutoRegressive) and "correlation" in noise.unknowns
        found.append(check_residuals(name, outcome.years, residuals, slopes=slopes, fitted=int(remembers)))
    return tuple(found)


def standardised(
    noise: Noise, years: Floats, observed: Floats, predicted: Floats, values: Floats, errors: Floats | None
) -> tuple[Floats, Floats]:
    """Residuals that are independent and standard normal (for counts: of mean 0 and variance 1) if the noise is right.

    Parameters
    ----------
    noise
    years, observed, predicted : shape (n_figures,)
        A factor is already in the predictions.
    values : shape (n_unknowns,)
        Of the noise.
    errors : shape (n_figures,), optional
        Known standard errors.

    Returns
    -------
    residuals : shape (n_figures,)
    root : shape (n_figures,) or (n_figures, n_figures)
        Minus their derivatives by the predictions, to first order.
    """
    from scipy.stats import norm, t

    root = noise.judge(years, observed, predicted, values, errors).root
    logarithmic = bool(getattr(noise, "logarithmic", False))
    gaps = predicted * np.log(observed / predicted) if logarithmic else observed - predicted
    white = root * gaps if root.ndim == 1 else root @ gaps
    if isinstance(noise, StudentT):  # its information is smaller than that of a normal of the same width
        width = np.sqrt((noise.freedom + 3.0) / (noise.freedom + 1.0))
        white = norm.ppf(t.cdf(width * white, noise.freedom))
    return np.asarray(white), root
