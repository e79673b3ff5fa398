"""Noise: how figures scatter about the predictions of a model, as probability densities with their derivatives.

The scale of each noise is known, or unknown and then estimated with the model's parameters. Standard errors that the
dataset gives for single figures add in quadrature. Years need not follow one another: only autoregressive noise looks
at them, and it takes gaps as they are.

Where a gauge's factor is unknown and the best one has a closed form, it is solved for every prediction. The
derivatives of the payoff are then those at a fixed factor, since the payoff is at its least there (envelope theorem),
and the information about the predictions loses the direction that the factor takes up.
"""

from collections.abc import Mapping
from typing import Any

from calibration.measurement import record_from
from calibration.noise_base import Judged, Noise
from calibration.noise_counts import NegativeBinomial, Poisson
from calibration.noise_kinds import LogNormal, NormalNoise, StudentT
from calibration.noise_series import AutoRegressive
from sd_cluster.errors import FitError

__all__ = [
    "NOISES", "AutoRegressive", "Judged", "LogNormal", "NegativeBinomial", "Noise", "NormalNoise", "Poisson",
    "StudentT", "noise_from",
]  # fmt: skip

NOISES: Mapping[str, type[Noise]] = {
    "lognormal": LogNormal,
    "normal": NormalNoise,
    "student": StudentT,
    "autoregressive": AutoRegressive,
    "poisson": Poisson,
    "negative binomial": NegativeBinomial,
}
"""Kinds of noise by their names in study files."""


def noise_from(entry: float | str | Mapping[str, Any]) -> Noise:
    """Make a noise of what a study file says.

    Parameters
    ----------
    entry
        A number, for log-normal noise of that scale; or the name of a kind; or a mapping of `kind` ("lognormal" where
        left out) and what that kind takes.

    Raises
    ------
    FitError
        If the kind is unknown, or a key is unknown or of the wrong type.

    Examples
    --------
    >>> noise_from(0.05)
    LogNormal(scale=0.05)
    >>> noise_from({"kind": "student", "freedom": 3})
    StudentT(scale=None, freedom=3, log=True)
    """
    if isinstance(entry, str):
        return record_from(NOISES, {"kind": entry}, "noise")
    if isinstance(entry, int | float) and not isinstance(entry, bool):
        return LogNormal(scale=float(entry))
    if not isinstance(entry, Mapping):
        raise FitError(f"a noise is given as {entry!r}; expected a number, a kind, or keys such as kind and scale")
    return record_from(NOISES, entry, "noise", default="lognormal")
