"""Noise of one scale, on figures or on their logarithms, and the normal density that most of it shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from calibration.noise_base import (
    FLOOR,
    RATIO,
    ROOT,
    SCALE_SOURCE,
    USUAL,
    Judged,
    Noise,
    check_known,
    check_telling,
    errors_of,
    first_bad,
    without,
)
from calibration.priors import LogNormal as LogNormalPrior
from calibration.priors import Prior
from calibration.statistics import Floats
from sd_cluster.errors import DataError


@dataclass(frozen=True, eq=False)
class Sight:
    """A series on the scale on which noise is added, each shape (n_figures,).

    `residuals` are figures less predictions, `turn` is how predictions move with (the logarithm of) a factor,
    `tangent` how they move with the predictions as given, `errors` are known standard errors, and `jacobian` is the log
    of the derivative of this scale by the figure.
    """

    residuals: Floats
    turn: Floats
    tangent: Floats
    errors: Floats
    jacobian: Floats


@dataclass(frozen=True)
class Scaled(Noise):
    """Noise of a scale that is known, or None where it is estimated."""

    scale: float | None = None

    def __post_init__(self) -> None:
        check_known(self, "scale", zero=True)

    @property
    def logarithmic(self) -> bool:
        """Whether it scatters the logarithm of a figure."""
        return True

    @property
    def unknowns(self) -> tuple[str, ...]:
        """The scale, unless it is known."""
        return ("scale",) if self.scale is None else ()

    @property
    def relative(self) -> bool:
        """Whether it works on logarithms."""
        return self.logarithmic

    def priors(self, values: Floats) -> tuple[Prior, ...]:
        """Log-normal, about the scatter of regional series."""
        return () if self.scale is not None else (scale_prior(1.0 if self.relative else size_of(values)),)

    def check(self, name: str, values: Floats, errors: Floats | None = None) -> None:
        """See that figures are positive where logarithms are taken, and that they can tell an unknown scale."""
        if self.logarithmic and not (values > 0.0).all():
            raise DataError(
                f"'{name}' has the figure {first_bad(values, values > 0.0)}, but this noise is relative and needs "
                "figures above zero; use normal noise, poisson or negative binomial noise for counts, or leave it out"
            )
        if self.scale is None:
            check_telling(name, values)
        if self.scale == 0.0 and (errors is None or not (errors > 0.0).all()):
            raise DataError(f"'{name}' has noise of scale 0, but not all its figures have a standard error; give both")

    def scale_at(self, values: Floats) -> float:
        """The scale, known or the first of the unknowns' values."""
        return float(values[0]) if self.scale is None else self.scale

    def sight(self, observed: Floats, predicted: Floats, errors: Floats | None) -> Sight:
        """Figures and predictions on the scale on which the noise is added."""
        wrong = errors_of(observed, errors)
        if not self.logarithmic:
            flat = np.zeros(observed.shape)
            return Sight(observed - predicted, predicted, np.ones(predicted.shape), wrong, flat)
        logs = np.log(observed)
        return Sight(logs - np.log(predicted), np.ones(observed.shape), 1.0 / predicted, wrong / observed, -logs)

    def scattered(self, predicted: Floats, residuals: Floats) -> Floats:
        """Predictions with residuals on the scale of the noise."""
        found: Floats = predicted * np.exp(residuals) if self.logarithmic else predicted + residuals
        return found

    def widths(self, predicted: Floats, errors: Floats | None) -> Floats:
        """Known standard errors beside predictions, on the scale of the noise."""
        wrong = errors_of(predicted, errors)
        return wrong / np.abs(predicted) if self.logarithmic else wrong


def gaussian(sight: Sight, whitener: Floats, moved: Sequence[Floats], free_scale: bool, *, log: bool) -> Judged:
    """Judge normal residuals.

    Parameters
    ----------
    sight
    whitener : shape (n,) or lower triangular (n, n)
        Turns residuals into independent standard normal numbers; a vector stands for a diagonal.
    moved : shape of `whitener` each
        Derivatives of the covariance by the unknowns.
    free_scale
        Whether the factor is solved, by (generalised) least squares.
    log
        Whether residuals are of logarithms.
    """
    across = partial(times, whitener)
    diagonal = whitener if whitener.ndim == 1 else np.diag(whitener)
    residuals, tangent, factor = sight.residuals, sight.tangent, 1.0
    turn = across(sight.turn)
    if free_scale:
        amount = float(turn @ across(residuals) / (turn @ turn))
        residuals = residuals - amount * sight.turn
        factor = float(np.exp(amount)) if log else 1.0 + amount
        tangent = tangent if log else factor * tangent
    white = across(residuals)
    pointwise = -0.5 * white**2 + np.log(diagonal) - ROOT + sight.jacobian
    root = whitener * tangent
    value_slopes, parts = np.zeros(len(moved)), []
    for k, one in enumerate(moved):
        part = whitener * one * whitener if whitener.ndim == 1 else whitener @ one @ whitener.T
        parts.append(part)
        value_slopes[k] = 0.5 * ((part.sum() if part.ndim == 1 else part.trace()) - white @ times(part, white))
    told = np.array([0.5 * float((one * other).sum()) for one in parts for other in parts])
    return Judged(
        payoff=-float(pointwise.sum()),
        slope=-times(whitener.T, white) * tangent,
        value_slopes=value_slopes,
        root=without(turn, root) if free_scale else root,
        value_information=told.reshape(len(moved), len(moved)),
        cross=np.zeros((len(white), len(moved))),
        factor=factor,
        pointwise=pointwise,
    )


def independent(
    noise: Scaled, observed: Floats, predicted: Floats, values: Floats, errors: Floats | None, free_scale: bool
) -> Judged:
    """Normal residuals that know nothing of one another."""
    sight, scale = noise.sight(observed, predicted, errors), noise.scale_at(values)
    variance = scale**2 + sight.errors**2
    moved = [np.full(variance.shape, 2.0 * scale)] if noise.scale is None else []
    return gaussian(sight, 1.0 / np.sqrt(variance), moved, free_scale, log=noise.logarithmic)


def times(matrix: Floats, vector: Floats) -> Floats:
    """A matrix, or the diagonal of one, times a vector."""
    found: Floats = matrix * vector if matrix.ndim == 1 else matrix @ vector
    return found


def size_of(values: Floats) -> float:
    """Typical size of the figures: the mean of their absolute values."""
    size = float(np.mean(np.abs(values))) if len(values) else 0.0
    return size if size > 0.0 else 1.0


def scale_prior(size: float) -> Prior:
    """Weak prior of an unknown scale, for figures of this size; 1 for a relative one."""
    return LogNormalPrior(USUAL * size, RATIO, source=SCALE_SOURCE, low=FLOOR * size)
