"""From parameters in their own units to the unit box in which a search moves, and back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import Floats

WIDE = 20.0
"""A positive range whose high end is this many times its low end is searched on a log scale."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """Ranges of the searched parameters, straight or logarithmic.

    Attributes
    ----------
    lower, upper : shape (n_parameters,)
        Ends of the ranges, in each parameter's own unit.
    logarithmic : shape (n_parameters,), boolean
        Where equal steps are equal ratios.
    """

    lower: Floats
    upper: Floats
    logarithmic: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for array in (self.lower, self.upper, self.logarithmic):
            array.setflags(write=False)

    def to_unit(self, vector: Floats) -> Floats:
        """Place of each value in its range: 0 at the low end, 1 at the high end."""
        low, high = self._ends()
        return (self._eased(vector) - low) / (high - low)

    def from_unit(self, unit: Floats) -> Floats:
        """The values that stand at these places; never outside the range by rounding."""
        low, high = self._ends()
        eased = low + unit * (high - low)
        with np.errstate(over="ignore"):
            values = np.where(self.logarithmic, np.exp(eased), eased)
        return np.clip(values, self.lower, self.upper)

    def slope(self, vector: Floats) -> Floats:
        """Change of each value for a whole range of its place, at these values."""
        low, high = self._ends()
        return (high - low) * np.where(self.logarithmic, vector, 1.0)

    def _ends(self) -> tuple[Floats, Floats]:
        return self._eased(self.lower), self._eased(self.upper)

    def _eased(self, vector: Floats) -> Floats:
        return np.where(self.logarithmic, np.log(np.where(self.logarithmic, vector, 1.0)), vector)


def scaling_of(lower: Floats, upper: Floats) -> Scaling:
    """Search wide positive ranges on a log scale and the others straight.

    Examples
    --------
    >>> scaling_of(np.array([0.01, 0.0]), np.array([1.0, 1.0])).logarithmic
    array([ True, False])
    """
    low, high = np.array(lower, dtype=float), np.array(upper, dtype=float)
    return Scaling(low, high, (low > 0.0) & (high >= WIDE * low))
