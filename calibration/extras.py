"""What is unknown about a measurement besides the model: scales of noise, level shifts, factors of gauges."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from calibration.dataset import Series
from calibration.measurement import Measurement
from calibration.noise import Noise
from calibration.priors import LogNormal, Normal, Prior

SHIFT = Normal(0.0, 0.3, source="assumed: a break moves a series by some tens of per cent at most")
"""Prior of the logarithm of an unknown level shift."""

FACTOR = 100.0
"""An unknown factor that no closed form gives lies within this ratio of its first guess (90 %)."""


@dataclass(frozen=True)
class Extras:
    """Names of these unknowns, and where each lies among them.

    Attributes
    ----------
    names
        Such as `noise of firms`, `shift of firms from 2011`, `factor of patents`.
    noise, shifts
        By indicator, the places of its noise's unknowns and of its unknown level shifts.
    factors
        Place of the factor of those indicators whose factor has no closed form.
    """

    names: tuple[str, ...]
    noise: Mapping[str, slice]
    shifts: Mapping[str, slice]
    factors: Mapping[str, int]


def extras_of(measurement: Measurement, noise: Mapping[str, Noise]) -> Extras:
    """Name what is unknown about a measurement, indicator by indicator."""
    names: list[str] = []
    scattered: dict[str, slice] = {}
    shifted: dict[str, slice] = {}
    factors: dict[str, int] = {}
    for name, one in noise.items():
        first = len(names)
        names += [f"{'noise' if unknown == 'scale' else unknown} of {name}" for unknown in one.unknowns]
        scattered[name] = slice(first, len(names))
        first = len(names)
        names += [f"shift of {name} from {year:g}" for shift, year in measurement.shift_unknowns if shift == name]
        shifted[name] = slice(first, len(names))
        if measurement.gauges[name].scale and not one.solves_scale:
            factors[name] = len(names)
            names.append(f"factor of {name}")
    return Extras(tuple(names), scattered, shifted, factors)


def priors_of(
    extras: Extras, noise: Mapping[str, Noise], series: Mapping[str, Series], factor: Callable[[str], float]
) -> dict[str, Prior]:
    """Weak priors of all extras, by name.

    Parameters
    ----------
    extras
    noise, series
        By indicator.
    factor
        A first guess of the factor of an indicator.
    """
    found: dict[str, Prior] = {}
    for name, one in noise.items():
        found |= dict(zip(extras.names[extras.noise[name]], one.priors(series[name].values), strict=True))
        found |= dict.fromkeys(extras.names[extras.shifts[name]], SHIFT)
        if name in extras.factors:
            around = "assumed: any level, around that of the model as it stands"
            found[extras.names[extras.factors[name]]] = LogNormal(factor(name), FACTOR, source=around)
    return found
