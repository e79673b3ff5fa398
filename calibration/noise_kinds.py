"""Noise of figures that know nothing of one another: log-normal, normal and Student's t."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibration.measurement import is_number
from calibration.noise_base import ROOT, Judged, check_flag, errors_of, refuse_scale
from calibration.noise_scaled import Scaled, independent
from calibration.statistics import Floats
from sd_cluster.errors import FitError


@dataclass(frozen=True)
class LogNormal(Scaled):
    """Log-normal: relative errors, the same for small and large figures. Usual for sizes and sums of money.

    Attributes
    ----------
    scale
        Standard deviation of the logarithm, so that 0.05 is about 5 %; None where it is estimated.
    """

    @property
    def solves_scale(self) -> bool:
        """True: a weighted mean of logarithms."""
        return True

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
        """Least squares of logarithms; the factor is a weighted mean of their differences."""
        return independent(self, observed, predicted, values, errors, free_scale)

    def draw(
        self, years: Floats, predicted: Floats, values: Floats, rng: np.random.Generator, errors: Floats | None = None
    ) -> Floats:
        """Predictions, each times a log-normal number of median one."""
        width = np.hypot(self.scale_at(values), self.widths(predicted, errors))
        return self.scattered(predicted, width * rng.standard_normal(len(predicted)))


@dataclass(frozen=True)
class NormalNoise(Scaled):
    """Normal: for growth rates, balances, survey answers and other figures that may be zero or negative.

    Attributes
    ----------
    scale
        Standard deviation in the unit of the data, or as a share of the prediction where `relative`; None where it is
        estimated.
    relative
        True where it grows with the prediction. An unknown factor of the gauge has then no closed form.
    """

    relative: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag(self, "relative")

    @property
    def solves_scale(self) -> bool:
        """Whether the scale does not depend on the prediction."""
        return not self.relative

    @property
    def logarithmic(self) -> bool:
        """False."""
        return False

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
        """Least squares; where the scale is relative, the likelihood with its dependence on the prediction."""
        if not self.relative:
            return independent(self, observed, predicted, values, errors, free_scale)
        refuse_scale(self, free_scale)
        scale, wrong = self.scale_at(values), errors_of(observed, errors)
        variance = (scale * predicted) ** 2 + wrong**2
        residual = observed - predicted
        pointwise = -0.5 * residual**2 / variance - 0.5 * np.log(variance) - ROOT
        by_variance = 0.5 * (1.0 - residual**2 / variance) / variance
        widening, by_scale = 2.0 * scale**2 * predicted, 2.0 * scale * predicted**2
        known = self.scale is not None
        return Judged(
            payoff=-float(pointwise.sum()),
            slope=by_variance * widening - residual / variance,
            value_slopes=np.zeros(0) if known else np.array([by_variance @ by_scale]),
            root=np.sqrt(1.0 / variance + 0.5 * (widening / variance) ** 2),
            value_information=np.zeros((0, 0)) if known else np.array([[0.5 * np.sum((by_scale / variance) ** 2)]]),
            cross=(0.5 * widening * by_scale / variance**2)[:, None][:, : 0 if known else 1],
            factor=1.0,
            pointwise=pointwise,
        )

    def draw(
        self, years: Floats, predicted: Floats, values: Floats, rng: np.random.Generator, errors: Floats | None = None
    ) -> Floats:
        """Predictions, each plus a normal number."""
        scale = self.scale_at(values) * (np.abs(predicted) if self.relative else 1.0)
        width = np.hypot(scale, self.widths(predicted, errors))
        return self.scattered(predicted, width * rng.standard_normal(len(predicted)))


@dataclass(frozen=True)
class StudentT(Scaled):
    """Student's t: as log-normal or normal noise, but single wild figures hardly count.

    Known standard errors widen the scale in quadrature. The factor of a gauge has no closed form. For the
    information see Lange, Little and Taylor (1989), Robust statistical modeling using the t distribution, Journal of
    the American Statistical Association 84, 881-896, doi:10.1080/01621459.1989.10478852.

    Attributes
    ----------
    scale
        Of the logarithm where `log`, else in the unit of the data; None where it is estimated. The standard deviation
        is sqrt(freedom / (freedom - 2)) times that.
    freedom
        Degrees of freedom, above zero: 4 lets one figure in a hundred lie off by more than 4.6 scales.
    log
        False for figures that may be zero or negative.
    """

    freedom: float = 4.0
    log: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_number(self.freedom) and self.freedom > 0.0):
            raise FitError(f"StudentT noise has freedom {self.freedom!r}; expected a number above zero")
        check_flag(self, "log")

    @property
    def logarithmic(self) -> bool:
        """Whether it scatters the logarithm of a figure."""
        return self.log

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
        """Density of the t distribution."""
        refuse_scale(self, free_scale)
        sight, scale, nu = self.sight(observed, predicted, errors), self.scale_at(values), self.freedom
        width = np.hypot(scale, sight.errors)
        square = (sight.residuals / width) ** 2
        constant = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(nu * math.pi)
        pointwise = constant - np.log(width) - 0.5 * (nu + 1.0) * np.log1p(square / nu) + sight.jacobian
        pull = (nu + 1.0) / (nu + square)
        by_scale = scale / width**2
        known = self.scale is not None
        told = 2.0 * nu / (nu + 3.0) * np.sum(by_scale**2)
        return Judged(
            payoff=-float(pointwise.sum()),
            slope=-pull * sight.residuals / width**2 * sight.tangent,
            value_slopes=np.zeros(0) if known else np.array([np.sum((1.0 - pull * square) * by_scale)]),
            root=np.sqrt((nu + 1.0) / (nu + 3.0)) / width * np.abs(sight.tangent),
            value_information=np.zeros((0, 0)) if known else np.array([[told]]),
            cross=np.zeros((len(observed), 0 if known else 1)),
            factor=1.0,
            pointwise=pointwise,
        )

    def draw(
        self, years: Floats, predicted: Floats, values: Floats, rng: np.random.Generator, errors: Floats | None = None
    ) -> Floats:
        """Predictions, each scattered by a number of the t distribution."""
        width = np.hypot(self.scale_at(values), self.widths(predicted, errors))
        return self.scattered(predicted, width * rng.standard_t(self.freedom, len(predicted)))
