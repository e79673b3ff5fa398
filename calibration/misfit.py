"""Misfit: a region's figures against a model within ranges alone, without further priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sd_cluster as sd
from calibration.dataset import Dataset
from calibration.likelihood import Likelihood
from calibration.measurement import Measurement
from calibration.noise import Noise
from calibration.objective import Objective
from calibration.patterns import Judge
from calibration.priors import LogUniform, Prior, from_space
from sd_cluster.errors import FitError

NOISE_FLOOR = 0.01
"""Least noise of a series, as a fraction: printed figures are rounded and dated to about a per cent."""
NOISE_CEILING = 3.0
"""Most noise: figures off by a factor of twenty tell nothing."""


class Misfit(Objective):
    """Minus the log-likelihood of one region's figures over the ranges of a space: maximum likelihood.

    Parameters
    ----------
    model
        The model to fit.
    space
        Parameters and initial values to search, with their ranges; wide positive ones are searched on a log scale.
    measurement
        Which gauge reads which indicator.
    dataset
        The figures; indicators without a gauge are not used, and named in the fit.
    noise
        Noise of each indicator, a noise model or a known fraction (0.05 is about 5 %); log-normal noise of unknown
        scale where not given.
    noise_floor
        Least unknown scale of log-normal noise; without it a series of few figures is fitted exactly at the cost of
        the others.
    judges, scenario, horizon, step
        As for `Likelihood`.

    Raises
    ------
    ModelError, DataError
        As for `Likelihood`.
    FitError
        If the noise floor is not a small positive fraction, or as for `Likelihood`.
    """

    def __init__(
        self,
        model: sd.Model,
        space: sd.Space,
        measurement: Measurement,
        dataset: Dataset,
        *,
        noise: Mapping[str, Noise | float] | None = None,
        noise_floor: float = NOISE_FLOOR,
        judges: Sequence[Judge] = (),
        scenario: sd.Scenario | None = None,
        horizon: sd.Horizon | tuple[float, float] | None = None,
        step: float | None = None,
    ) -> None:
        if not 0.0 < noise_floor < NOISE_CEILING:
            raise FitError(f"noise_floor is {noise_floor}; expected a small positive fraction, such as 0.01")
        space.check(model)
        likelihood = Likelihood(
            model, dataset, measurement, space.names, noise=noise, judges=judges, scenario=scenario, horizon=horizon,
            step=step,
        )  # fmt: skip
        scale = LogUniform(noise_floor, NOISE_CEILING, source="no noise below what printing allows")
        flat: dict[str, Prior] = {name: scale for name in likelihood.extras if name.startswith("noise of ")}
        super().__init__(likelihood, {**from_space(space), **flat}, inside=True)
