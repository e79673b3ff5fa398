"""Priors in words, for a reader who wants to know what was assumed."""

from __future__ import annotations

import numpy as np

from calibration.priors import Beta, LogitNormal, LogNormal, LogUniform, Normal, Prior, Uniform

_KINDS = {
    Uniform: "even",
    LogUniform: "even in ratios",
    Normal: "normal",
    LogNormal: "log-normal",
    LogitNormal: "logit-normal",
    Beta: "beta",
}


def kind_of(prior: Prior) -> str:
    """The shape of a prior, in a word or two.

    >>> kind_of(Uniform(0.0, 1.0)), kind_of(LogNormal(0.2, 3.0))
    ('even', 'log-normal')
    """
    return next((word for kind, word in _KINDS.items() if isinstance(prior, kind)), type(prior).__name__)


def quantiles_of(prior: Prior) -> tuple[float, float, float]:
    """Values below which 5, 50 and 95 % of the prior lie; the ends of a range where it is even."""
    if isinstance(prior, Uniform | LogUniform):
        return prior.low, float(np.asarray(prior.quantile(0.5))), prior.high
    low, middle, high = (float(np.asarray(prior.quantile(share))) for share in (0.05, 0.5, 0.95))
    return low, middle, high
