"""Which regions of a table can be used together, and their figures made comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from calibration.dataset import Dataset
from sd_cluster.errors import DataError, near


def complete(regions: Mapping[str, Dataset], years: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Names of the regions that have every figure of some series, in the order of the table.

    Parameters
    ----------
    regions
        By name, as from `read_datasets`.
    years
        Indicator -> first and last year, both included.

    Raises
    ------
    DataError
        If no region has one of the indicators.
    """
    known = dict.fromkeys(name for one in regions.values() for name in one.series)
    for indicator in years:
        if indicator not in known:
            raise DataError(f"no region has an indicator '{indicator}'{near(indicator, known)}")
    return tuple(name for name, one in regions.items() if all(_whole(one, *some) for some in years.items()))


def per(dataset: Dataset, amount: float, what: str, indicators: Sequence[str]) -> Dataset:
    """Some series of a region over an amount that tells its size, so that regions can be compared.

    Parameters
    ----------
    dataset
    amount
        Above zero, such as the region's inhabitants in some year, in millions.
    what
        What the figures are then over, for their unit: "million inhabitants of 2008".
    indicators
        Which series; shares stay as they are.

    Raises
    ------
    DataError
        If the amount is not above zero, or there is no such indicator.
    """
    if not amount > 0.0:
        raise DataError(f"{dataset.region} has {amount:g} {what}; expected a number above zero")
    series = dict(dataset.series)
    for name in indicators:
        one = dataset[name]
        errors = None if one.errors is None else one.errors / amount
        series[name] = replace(one, values=one.values / amount, errors=errors, unit=f"{one.unit} per {what}")
    return replace(dataset, series=series)


def _whole(dataset: Dataset, indicator: str, span: tuple[int, int]) -> bool:
    one = dataset.series.get(indicator)
    return one is not None and bool(np.isin(np.arange(span[0], span[1] + 1), one.years).all())
