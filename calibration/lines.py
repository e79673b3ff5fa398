"""The line of a fitted model through the years of a series."""

from __future__ import annotations

import numpy as np

from calibration.fit import Fit
from calibration.statistics import Floats


def lines_of(fit: Fit, region: str, indicator: str) -> tuple[Floats, Floats]:
    """What the fitted model says of an indicator year by year, between its first and last figure.

    Parameters
    ----------
    fit
        With its objective.
    region, indicator
        Which series.

    Returns
    -------
    years, values : shape (n,)
        Whole years and those of the figures; values in the unit of the data, the factor included.
    """
    assert fit.objective is not None
    number = [one.region for one in fit.objective.likelihoods].index(region)
    one = fit.objective.likelihoods[number]
    years = one.series[indicator].years
    grid = np.unique(np.concatenate([years, np.arange(np.ceil(years[0]), years[-1] + 1.0)]))
    values = one.predictor({indicator: grid})(fit.objective.of_region(fit.place, number))
    return grid, values[indicator]
