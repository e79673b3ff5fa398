"""What every noise has in common: what it says of a series, what it is asked, and when it must refuse."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.measurement import is_number
from calibration.priors import Prior
from calibration.statistics import Bools, Floats
from sd_cluster.errors import DataError, FitError

USUAL, RATIO, FLOOR = 0.13, 4.0, 0.01
"""Of an unknown relative scale: median, 95 % quantile over the median, and least value."""

SCALE_SOURCE = (
    "median over eight kinds of yearly series of UK regions, 0.05 to 0.42, of the standard deviation about a straight "
    "line in logs (computed); not below 0.01, since printed figures are rounded and dated to about a per cent"
)
ROOT = 0.5 * math.log(2.0 * math.pi)
"""Minus the log density of the standard normal at its mean."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What a noise makes of one series beside its predictions.

    Attributes
    ----------
    payoff
        Minus the log-likelihood of the figures, constants included: minus the sum of `pointwise`.
    slope : shape (n_figures,)
        Derivatives of the payoff by the predictions as given (before a solved factor).
    value_slopes : shape (n_unknowns,)
        Derivatives of the payoff by the noise's unknowns.
    root : shape (n_figures,) or (n_figures, n_figures)
        A square root of the expected information about the predictions as given: the information is
        `root.T @ root`, and a vector stands for a diagonal.
    value_information : shape (n_unknowns, n_unknowns)
        Information about the noise's unknowns; never negative.
    cross : shape (n_figures, n_unknowns)
        Expected information between predictions and the noise's unknowns; zero for most noises.
    factor
        What the predictions as given are multiplied by; 1 where it is not solved here.
    pointwise : shape (n_figures,)
        Log density of each figure; for autoregressive noise, given the figures before it.
    """

    payoff: float
    slope: Floats
    value_slopes: Floats
    root: Floats
    value_information: Floats
    cross: Floats
    factor: float
    pointwise: Floats


class Noise(ABC):
    """How the figures of one series scatter about their predictions.

    Each kind is a frozen dataclass; a scale that it is not given is estimated.
    """

    @property
    def solves_scale(self) -> bool:
        """Whether an unknown factor of the gauge is solved in closed form; if not, it is estimated like a parameter."""
        return False

    @property
    @abstractmethod
    def unknowns(self) -> tuple[str, ...]:
        """What is estimated, such as `scale`."""

    @property
    @abstractmethod
    def relative(self) -> bool:
        """Whether its scale is a share of the prediction, rather than in the unit of the data."""

    @property
    def positive(self) -> bool:
        """Whether predictions must be above zero."""
        return self.relative

    def scale_at(self, values: Floats) -> float:
        """The scale, known or among the unknowns' values, shape (n_unknowns,); NaN for noise without a scale."""
        return math.nan

    @abstractmethod
    def priors(self, values: Floats) -> tuple[Prior, ...]:
        """Weak priors of the unknowns, for figures of this size, shape (n_figures,)."""

    @abstractmethod
    def check(self, name: str, values: Floats, errors: Floats | None = None) -> None:
        """See that this noise can have made these figures.

        Parameters
        ----------
        name
            Of the indicator, for messages.
        values, errors : shape (n_figures,)
            Figures, and their standard errors, NaN where not known.

        Raises
        ------
        DataError
            If it cannot, or the figures cannot tell what is unknown.
        """

    @abstractmethod
    def judge(
        self,
        years: Floats,
        observed: Floats,
        predicted: Floats,
        values: Floats,
        errors: Floats | None = None,
        *,
        free_scale: bool = False,
    ) -> Judged:
        """How probable figures are, given predictions.

        Parameters
        ----------
        years, observed, predicted : shape (n_figures,)
            Years increase; both others are in the unit of the data.
        values : shape (n_unknowns,)
            In the order of `unknowns`.
        errors : shape (n_figures,)
            Known standard errors in the unit of the data, NaN where not known.
        free_scale
            Multiply the predictions by the factor that makes the figures most probable; only where `solves_scale`.
        """

    @abstractmethod
    def draw(
        self,
        years: Floats,
        predicted: Floats,
        values: Floats,
        rng: np.random.Generator,
        errors: Floats | None = None,
    ) -> Floats:
        """Figures as this noise would make them, shape (n_figures,); parameters as for `judge`."""


def without(direction: Floats, root: Floats) -> Floats:
    """A root of information less what one direction of its rows takes up, shape (n, n)."""
    unit = direction / math.sqrt(float(direction @ direction))
    whole = np.diag(root) if root.ndim == 1 else root
    found: Floats = whole - np.outer(unit, unit @ whole)
    return found


def errors_of(figures: Floats, errors: Floats | None) -> Floats:
    """Known standard errors, zero where not known."""
    return np.zeros(figures.shape) if errors is None else np.nan_to_num(errors, nan=0.0)


def check_known(noise: Any, name: str, *, zero: bool) -> None:
    """An attribute must be None or a number above zero (or zero)."""
    value = getattr(noise, name)
    if value is not None and not (is_number(value) and (value > 0.0 or (zero and value == 0.0))):
        least = "a number from zero on" if zero else "a number above zero"
        raise FitError(
            f"{type(noise).__name__} noise has {name} {value!r}; expected {least}, or nothing to estimate it"
        )


def check_flag(noise: Any, name: str) -> None:
    """An attribute must be true or false."""
    if not isinstance(getattr(noise, name), bool):
        raise FitError(f"{type(noise).__name__} noise has {name} {getattr(noise, name)!r}; expected true or false")


def check_telling(name: str, values: Floats, instead: str = "give its noise as a number, such as 0.1") -> None:
    """Figures that are to tell their own noise must be several, and not all the same."""
    if len(values) < 2:
        raise DataError(f"'{name}' has one figure, which cannot tell its own noise; {instead}, or leave the series out")
    if len(values) > 2 and (values == values[0]).all():
        raise DataError(
            f"'{name}' is {values[0]:g} in all {len(values)} years, as a figure carried forward would be, and cannot "
            f"tell its own noise; {instead}, or leave the series out"
        )


def refuse_scale(noise: Noise, free_scale: bool) -> None:
    """Noise without a closed form for the factor must not be asked for one."""
    if free_scale:
        raise FitError(f"{type(noise).__name__} noise has no closed form for a free factor; estimate the factor")


def first_bad(values: Floats, good: Bools) -> str:
    """The first figure that is not good, for messages."""
    return f"{values[int(np.argmin(good))]:g}"
