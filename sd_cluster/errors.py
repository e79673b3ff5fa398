"""Errors a user may meet: each says what came, what was expected and what to do."""

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class SdClusterError(Exception):
    """Base of all errors of this package; its text is one line for a person."""


class ReadingError(SdClusterError):
    """A model file that cannot be read: missing, not a model, or with nothing that can be computed."""


class UnsupportedError(SdClusterError):
    """An equation that is not known or means nothing: it disables its variable, and goes no further."""


class ReadingWarning(UserWarning):
    """A model of which some variables cannot be computed; the others can."""


class UnitsError(SdClusterError):
    """An equation whose two sides are measured in different units.

    Attributes
    ----------
    clashes
        One line for each equation that clashes; the error's own text shows the first.
    """

    def __init__(self, clashes: Sequence[str]) -> None:
        self.clashes = tuple(clashes)
        more = len(self.clashes) - 1
        others = f" (and {more} more; load without check_units=True to use the model as it is)" if more else ""
        super().__init__(self.clashes[0] + others)

    def __reduce__(self) -> tuple[type["UnitsError"], tuple[tuple[str, ...]]]:
        return UnitsError, (self.clashes,)


class UnitsWarning(UserWarning):
    """Units of a model that clash; it can be run all the same."""


class ModelError(SdClusterError):
    """A model used against its structure: an unknown name, or equations that go in a circle."""


class NoDerivativeError(ModelError):
    """A function asked for a derivative it does not have; its value can still be computed."""


class ScenarioError(SdClusterError):
    """A scenario that sets what cannot be set, or sets it to what is not a value."""


class SimulationError(SdClusterError):
    """A run that could not go on; the text names the time and the variable.

    Attributes
    ----------
    time
        When, in the model's unit of time; not a number where that is not known.
    variable
        What could not be computed; empty where nothing can be blamed alone.
    stock
        The stock that is it, or depends on it; empty where there is none.
    """

    def __init__(self, text: str, *, time: float = math.nan, variable: str = "", stock: str = "") -> None:
        super().__init__(text)
        self.time, self.variable, self.stock = time, variable, stock


class DataError(SdClusterError):
    """A table of observations that cannot be used as it stands."""


class FitError(SdClusterError):
    """A calibration that cannot be set up or read back."""


def near(name: str, choices: Iterable[str]) -> str:
    """Suggest the choice nearest to a misspelt name, as ` (did you mean 'x'?)`, or nothing.

    Examples
    --------
    >>> near("lerning rate", ["learning rate", "trust"])
    " (did you mean 'learning rate'?)"
    >>> near("rainfall", ["trust"])
    ''
    """
    by_folded = {choice.casefold(): choice for choice in choices}
    found = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f" (did you mean '{by_folded[found[0]]}'?)" if found else ""
