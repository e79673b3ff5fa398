"""What a likelihood finds at one point: each series beside its prediction, and how all of it moves."""

from dataclasses import dataclass

from calibration.noise import Judged
from calibration.statistics import Floats


@dataclass(frozen=True, eq=False)
class Outcome:
    """One series beside what the model says of it.

    Attributes
    ----------
    years, observed, predicted : shape (n,)
        Figures and predictions in the unit of the data, factor and level shifts included.
    judged
        What the noise model makes of them.
    """

    years: Floats
    observed: Floats
    predicted: Floats
    judged: Judged


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What one point gives.

    Attributes
    ----------
    payoff
        Minus the log-likelihood.
    outcomes
        By indicator.
    gradient : shape (n_names,)
        None where it was not asked for.
    jacobians
        By indicator, derivatives of the predictions before a solved factor, shape (n_figures, n_names).
    judges
        Payoff and gradient of each soft constraint and pattern.
    """

    payoff: float
    outcomes: dict[str, Outcome]
    gradient: Floats | None
    jacobians: dict[str, Floats]
    judges: tuple[tuple[float, Floats], ...]
