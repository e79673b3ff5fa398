"""Noise that goes on from year to year: first-order autoregressive residuals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.noise_base import Judged, check_flag, check_known
from calibration.noise_scaled import Scaled, gaussian
from calibration.priors import Beta, Prior
from calibration.statistics import Floats
from sd_cluster.errors import FitError, SimulationError


@dataclass(frozen=True)
class AutoRegressive(Scaled):
    """First-order autoregressive residuals: what is off in one year is still off in the next, by a share.

    Residuals g years apart have the correlation `correlation ** g`, whatever the gaps, and each has the standard
    deviation `scale`. Known standard errors are independent from figure to figure and add in quadrature.

    Attributes
    ----------
    scale
        Standard deviation of a residual (not of its yearly innovation): of the logarithm where `log`, else in the unit
        of the data; None where it is estimated.
    correlation
        From one year to the next, from 0 to below 1; None where it is estimated.
    log
        False for figures that may be zero or negative.
    """

    correlation: float | None = None
    log: bool = True

    @property
    def solves_scale(self) -> bool:
        """True: generalised least squares."""
        return True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known(self, "correlation", zero=True)
        if self.correlation is not None and self.correlation >= 1.0:
            raise FitError(f"AutoRegressive noise has correlation {self.correlation:g}; expected 0 or more, below 1")
        check_flag(self, "log")

    @property
    def logarithmic(self) -> bool:
        """Whether it scatters the logarithm of a figure."""
        return self.log

    @property
    def unknowns(self) -> tuple[str, ...]:
        """Scale and correlation, those that are not known."""
        return (*super().unknowns, *(("correlation",) if self.correlation is None else ()))

    def priors(self, values: Floats) -> tuple[Prior, ...]:
        """Log-normal scale about that of regional series; correlation about one half, away from 0 and 1."""
        correlation = Beta(2.0, 2.0, source="assumed: residuals of slow series follow one another somewhat")
        return (*super().priors(values), *((correlation,) if self.correlation is None else ()))

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
        """Multivariate normal density; generalised least squares for the factor."""
        sight = self.sight(observed, predicted, errors)
        scale, correlation = self.scale_at(values), self._correlation_of(values)
        alike, by_correlation = _correlations(years, correlation)
        moved = []
        if self.scale is None:
            moved.append(2.0 * scale * alike)
        if self.correlation is None:
            moved.append(scale**2 * by_correlation)
        return gaussian(sight, _whitener(scale**2 * alike + np.diag(sight.errors**2)), moved, free_scale, log=self.log)

    def draw(
        self, years: Floats, predicted: Floats, values: Floats, rng: np.random.Generator, errors: Floats | None = None
    ) -> Floats:
        """Predictions, scattered by a stationary series."""
        return self.draw_after(years, predicted, values, rng, np.zeros(0), np.zeros(0), errors)

    def draw_after(
        self,
        years: Floats,
        predicted: Floats,
        values: Floats,
        rng: np.random.Generator,
        past_years: Floats,
        past_residuals: Floats,
        errors: Floats | None = None,
    ) -> Floats:
        """Figures as this noise would make them when it is known how far off earlier ones were.

        Parameters
        ----------
        years, predicted, values, rng, errors
            As for `draw`.
        past_years, past_residuals : shape (n_past,)
            Earlier years, and observed less predicted there (of logarithms where `log`), taken as free of other error.
        """
        scale, n_past = self.scale_at(values), len(past_years)
        alike, _ = _correlations(np.concatenate([past_years, years]), self._correlation_of(values))
        whole = scale**2 * alike
        whole[n_past:, n_past:] += np.diag(self.widths(predicted, errors) ** 2)
        lower = _cholesky(whole)
        known = np.linalg.solve(lower[:n_past, :n_past], past_residuals)
        scattered = lower[n_past:, :n_past] @ known + lower[n_past:, n_past:] @ rng.standard_normal(len(predicted))
        return self.scattered(predicted, scattered)

    def _correlation_of(self, values: Floats) -> float:
        return float(values[-1]) if self.correlation is None else self.correlation


def _correlations(years: Floats, correlation: float) -> tuple[Floats, Floats]:
    """Correlations of residuals, and their derivatives by that of neighbouring years, shape (n, n)."""
    gaps = np.abs(years[:, None] - years)
    apart = gaps > 0.0
    powers = np.where(apart, correlation ** np.where(apart, gaps, 1.0), 1.0)
    slopes = np.where(apart, gaps * correlation ** np.where(apart, gaps - 1.0, 1.0), 0.0)
    return powers, slopes


def _cholesky(covariance: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.cholesky(covariance))
    except np.linalg.LinAlgError:
        raise SimulationError("residuals are so strongly correlated that their density cannot be computed") from None


def _whitener(covariance: Floats) -> Floats:
    lower = _cholesky(covariance)
    return np.asarray(np.tril(np.linalg.solve(lower, np.eye(len(lower)))))
