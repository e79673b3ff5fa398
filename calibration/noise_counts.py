"""Noise of counts: Poisson and negative binomial."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibration.noise_base import (
    RATIO,
    SCALE_SOURCE,
    USUAL,
    Judged,
    Noise,
    check_flag,
    check_known,
    check_telling,
    first_bad,
    refuse_scale,
    without,
)
from calibration.priors import LogNormal as LogNormalPrior
from calibration.priors import Prior
from calibration.statistics import Floats
from sd_cluster.errors import DataError


class _Counts(Noise):
    """Whole numbers, zero included."""

    fractional: bool

    @property
    def relative(self) -> bool:
        """False: the variance is that of counts."""
        return False

    @property
    def positive(self) -> bool:
        """True: nothing can be counted where nothing is expected."""
        return True

    def check(self, name: str, values: Floats, errors: Floats | None = None) -> None:
        """See that figures are counts without standard errors of their own."""
        if not (values >= 0.0).all():
            raise DataError(f"'{name}' has the figure {first_bad(values, values >= 0.0)}; counts cannot be negative")
        whole = np.abs(values - np.round(values)) < 1e-6
        if not (self.fractional or whole.all()):
            raise DataError(
                f"'{name}' has the figure {first_bad(values, whole)}, which is no whole number; for shared counts, as "
                "of patents, set fractional, for thousands give the counts themselves, else use log-normal noise"
            )
        if errors is not None and (errors > 0.0).any():
            raise DataError(
                f"'{name}' has figures with standard errors, which noise of counts cannot take in; leave the column "
                "'error' out, or use log-normal or normal noise"
            )


@dataclass(frozen=True)
class Poisson(_Counts):
    """Poisson: counts of events that come independently, such as patents or new firms in small regions.

    Attributes
    ----------
    fractional
        True where events are shared out, so that counts need not be whole; the density is then continued between whole
        numbers by the gamma function.
    """

    fractional: bool = False

    @property
    def solves_scale(self) -> bool:
        """True: the ratio of the sums."""
        return True

    def __post_init__(self) -> None:
        check_flag(self, "fractional")

    @property
    def unknowns(self) -> tuple[str, ...]:
        """Nothing: the variance is the mean."""
        return ()

    def priors(self, values: Floats) -> tuple[Prior, ...]:
        """None."""
        return ()

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
        """Probability of the counts; the best factor brings their sum about."""
        factor = float(observed.sum() / predicted.sum()) if free_scale else 1.0
        if free_scale and not observed.any():
            raise DataError("counts that are all zero cannot tell the factor of their gauge; leave the series out")
        mean = factor * predicted
        pointwise = observed * np.log(mean) - mean - _log_factorial(observed)
        root = factor / np.sqrt(mean)
        return Judged(
            payoff=-float(pointwise.sum()),
            slope=factor * (1.0 - observed / mean),
            value_slopes=np.zeros(0),
            root=without(np.sqrt(predicted), root) if free_scale else root,
            value_information=np.zeros((0, 0)),
            cross=np.zeros((len(observed), 0)),
            factor=factor,
            pointwise=pointwise,
        )

    def draw(
        self, years: Floats, predicted: Floats, values: Floats, rng: np.random.Generator, errors: Floats | None = None
    ) -> Floats:
        """Counts of these means."""
        return rng.poisson(predicted).astype(float)


@dataclass(frozen=True)
class NegativeBinomial(_Counts):
    """Negative binomial: counts that scatter more than Poisson's, with variance mean + dispersion * mean**2.

    This is the form called NB2 by Cameron and Trivedi (1986), Econometric models based on count data, Journal of
    Applied Econometrics 1, 29-53, doi:10.1002/jae.3950010104. The factor of a gauge has no closed form.

    Attributes
    ----------
    dispersion
        Square of the relative standard deviation that comes on top of Poisson's; None where it is estimated.
    fractional
        As for `Poisson`.
    """

    dispersion: float | None = None
    fractional: bool = False

    def __post_init__(self) -> None:
        check_known(self, "dispersion", zero=False)
        check_flag(self, "fractional")

    @property
    def unknowns(self) -> tuple[str, ...]:
        """The dispersion, unless it is known."""
        return ("dispersion",) if self.dispersion is None else ()

    def priors(self, values: Floats) -> tuple[Prior, ...]:
        """Log-normal: the square of a scale about that of regional series; next to nothing is Poisson's own noise."""
        prior = LogNormalPrior(USUAL**2, RATIO**2, source=f"square of: {SCALE_SOURCE}", low=1e-6)
        return (prior,) if self.dispersion is None else ()

    def check(self, name: str, values: Floats, errors: Floats | None = None) -> None:
        """See that figures are counts without standard errors of their own, and can tell an unknown dispersion."""
        super().check(name, values, errors)
        if self.dispersion is None:
            check_telling(name, values, instead="use poisson noise or give the dispersion")

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
        """Probability of the counts."""
        from scipy.special import betaln, polygamma, psi

        refuse_scale(self, free_scale)
        alpha = float(values[0]) if self.dispersion is None else self.dispersion
        size = 1.0 / alpha
        spread = 1.0 + alpha * predicted
        chance = observed * (np.log(predicted) + math.log(alpha) - np.log(spread)) - size * np.log(spread)
        pointwise = chance - np.log(size + observed) - betaln(size, observed + 1.0)
        by_size = psi(observed + size) - psi(size) - np.log(spread) + 1.0 - (size + observed) / (size + predicted)
        curved = polygamma(1, observed + size) - polygamma(1, size) + alpha - 1.0 / (size + predicted)
        curved += (observed - predicted) / (size + predicted) ** 2
        told = -float(np.sum(size**4 * curved + 2.0 * size**3 * by_size))
        known = self.dispersion is not None
        return Judged(
            payoff=-float(pointwise.sum()),
            slope=(predicted - observed) / (predicted * spread),
            value_slopes=np.zeros(0) if known else np.array([size**2 * np.sum(by_size)]),
            root=1.0 / np.sqrt(predicted * spread),
            value_information=np.zeros((0, 0)) if known else np.array([[max(told, 0.0)]]),
            cross=np.zeros((len(observed), 0 if known else 1)),
            factor=1.0,
            pointwise=pointwise,
        )

    def draw(
        self, years: Floats, predicted: Floats, values: Floats, rng: np.random.Generator, errors: Floats | None = None
    ) -> Floats:
        """Counts whose rates are drawn from gamma distributions about these means."""
        alpha = float(values[0]) if self.dispersion is None else self.dispersion
        return rng.poisson(rng.gamma(1.0 / alpha, alpha * predicted)).astype(float)


def _log_factorial(counts: Floats) -> Floats:
    from scipy.special import gammaln

    found: Floats = gammaln(counts + 1.0)
    return found
