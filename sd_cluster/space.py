"""Which parameters are uncertain, and between which bounds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sd_cluster.errors import ModelError, ScenarioError
from sd_cluster.kernel import Floats
from sd_cluster.model import Model, Parameter
from sd_cluster.scenario import Scenario, apply


@dataclass(frozen=True)
class Space:
    """A box of parameters.

    Attributes
    ----------
    ranges
        Low and high bound by name of a parameter, or of a stock for its initial value.

    Raises
    ------
    ScenarioError
        If there is no parameter, or a range is not two finite numbers of which the first is smaller.

    Examples
    --------
    >>> Space({"initial trust": (0.05, 0.6), "talent flow": (0, 1)}).names
    ('initial trust', 'talent flow')
    """

    ranges: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ScenarioError(
                "a space has no parameter; name at least one, as in Space({'initial trust': (0.05, 0.6)})"
            )
        taken = {}
        for name, bounds in self.ranges.items():
            try:
                low, high = map(float, bounds)
            except (TypeError, ValueError):
                raise ScenarioError(f"the range of '{name}' is {bounds!r}; give two numbers, (low, high)") from None
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ScenarioError(f"the range of '{name}' goes from {low:g} to {high:g}; low should be below high")
            taken[name] = (low, high)
        object.__setattr__(self, "ranges", taken)

    @classmethod
    def of(cls, model: Model, names: Sequence[str]) -> "Space":
        """The ranges that the model file itself gives.

        Raises
        ------
        ModelError
            If a name is unknown, or the file gives no range for it.
        """
        ranges = {}
        for name in names:
            variable = model.variable(name)
            if variable.low is None or variable.high is None:
                raise ModelError(f"{model.name} gives no range for '{variable.name}'; state one in the space")
            ranges[variable.name] = (variable.low, variable.high)
        return cls(ranges)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(self.ranges)

    @property
    def lower(self) -> Floats:
        """Low bounds, shape (n_parameters,)."""
        return np.array([low for low, _ in self.ranges.values()])

    @property
    def upper(self) -> Floats:
        """High bounds, shape (n_parameters,)."""
        return np.array([high for _, high in self.ranges.values()])

    def check(self, model: Model) -> None:
        """Check that the model has all these parameters and does not compute them.

        Raises
        ------
        ModelError
            If it does not; the text names the nearest parameter.
        """
        try:
            apply(model, Scenario("space", {name: low for name, (low, _) in self.ranges.items()}))
        except ScenarioError as error:
            raise ModelError(str(error).replace("scenario 'space' sets", "the space varies")) from None

    def default(self, model: Model) -> Floats:
        """The model's own values, moved to the nearest bound where they lie outside; shape (n_parameters,).

        A stock that stands in the space by its own name begins in the middle of its range.
        """
        own = []
        for name, (low, high) in self.ranges.items():
            variable = model.variable(name)
            own.append(variable.value if isinstance(variable, Parameter) else 0.5 * (low + high))
        values: Floats = np.clip(np.array(own), self.lower, self.upper)
        return values
