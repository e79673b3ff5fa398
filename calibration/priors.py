"""Priors by what a study says of them: two numbers, a kind with its numbers, a space, or the library's own."""

from collections.abc import Mapping, Sequence
from typing import Any

import sd_cluster as sd
from calibration.measurement import record_from
from calibration.prior_base import Prior
from calibration.prior_library import PRIORS, prior_of
from calibration.prior_ranges import Beta, LogUniform, Uniform, range_prior
from calibration.prior_scores import Law, LogitNormal, LogNormal, Normal
from sd_cluster.errors import FitError
from sd_cluster.marginals import Distribution, LogRange, Range

__all__ = [
    "KINDS", "PRIORS", "Beta", "Law", "LogNormal", "LogUniform", "LogitNormal", "Normal", "Prior", "Uniform",
    "from_space", "prior_from", "prior_of", "range_prior",
]  # fmt: skip

KINDS: Mapping[str, type[Prior]] = {
    "normal": Normal,
    "lognormal": LogNormal,
    "logitnormal": LogitNormal,
    "uniform": Uniform,
    "loguniform": LogUniform,
    "beta": Beta,
}
"""Kinds of priors by their names in study files."""


def prior_from(entry: str | Sequence[float] | Mapping[str, Any], model: sd.Model, name: str) -> Prior:
    """Make a prior of what a study file says of one parameter.

    Parameters
    ----------
    entry
        Two numbers, for any value between them; or "library", for what the library knows of it; or a mapping of
        `kind` and what that kind takes, such as `{kind = "lognormal", median = 0.2, ratio = 3}`.
    model, name
        The parameter.

    Raises
    ------
    FitError
        If it is none of these, or its numbers cannot be; the text names the parameter.

    Examples
    --------
    >>> prior_from([0.0, 1.0], sd.load("collective_learning"), "talent flow")
    Uniform(low=0.0, high=1.0, source='')
    """
    try:
        return _made(entry, model, name)
    except FitError as error:
        raise FitError(f"'{name}': {error}") from None


def _made(entry: Any, model: sd.Model, name: str) -> Prior:
    if isinstance(entry, str):
        if entry != "library":
            raise FitError(f'the prior is given as "{entry}"; expected "library", two numbers, or a kind')
        return prior_of(model, name)
    if isinstance(entry, Mapping):
        return record_from(KINDS, entry, "prior")
    if isinstance(entry, Sequence) and len(entry) == 2:
        low, high = entry
        return range_prior(low, high)
    raise FitError(
        f'the prior is given as {entry!r}; expected "library", two numbers, or a kind (to hold it at one number, '
        "set it in the scenario)"
    )


def from_space(space: sd.Space) -> dict[str, Prior]:
    """Priors that say what a space says, by name: ranges as bounds without a pull, distributions as they are.

    Raises
    ------
    FitError
        If parameters go together, rows of a table are drawn, or an entry is a function of another quantity.
    """
    if not space.independent:
        raise FitError("priors are independent, but the space has correlations or rows of a table; state ranges alone")
    found: dict[str, Prior] = {}
    for name, entry in space.entries.items():
        if isinstance(entry, Range):
            found[name] = range_prior(entry.low, entry.high, "a range of the space")
        elif isinstance(entry, LogRange):
            found[name] = LogUniform(entry.low, entry.high, "a range of the space")
        elif isinstance(entry, Distribution):
            found[name] = Law(entry.law, "a distribution of the space")
        else:
            raise FitError(f"'{name}' is {entry} in the space, which is no prior; give a range or a distribution")
    return found
