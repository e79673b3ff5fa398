"""Draws: values of the uncertain parameters, one row a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sd_cluster.errors import ScenarioError, near
from sd_cluster.kernel import Floats
from sd_cluster.model import key

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Draws:
    """Values of the uncertain parameters, one row a run.

    Attributes
    ----------
    names
        Parameters, or stocks for their initial values, in the order of the columns.
    values : shape (n_runs, n_parameters), read-only
        In each parameter's own unit. A read-only array is kept as it is, any other is copied.
    seed
        From which they were drawn; None for values that came from elsewhere.
    method
        How they were drawn: `sobol`, `halton`, `lhs`, `random`, `grid`, `rows`, or `given`.
    notes
        What a reader of the numbers should know.

    Raises
    ------
    ScenarioError
        If the table is not one row a run and one column a name, a name comes twice, or a value is not finite.

    Examples
    --------
    >>> draws = Draws(("trust", "talent flow"), np.array([[0.2, 0.5], [0.4, 0.7]]))
    >>> draws["talent flow"], len(draws)
    (array([0.5, 0.7]), 2)
    """

    names: tuple[str, ...]
    values: Floats
    seed: int | None = None
    method: str = "given"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = tuple(self.names)
        distinct(names)
        try:
            values = np.asarray(self.values, dtype=float)
        except (TypeError, ValueError) as error:
            raise ScenarioError(f"draws take a table of numbers ({error})") from None
        if values.ndim != 2 or values.shape[1] != len(names) or not names:
            shape = " x ".join(map(str, values.shape)) or "a single number"
            raise ScenarioError(
                f"draws of {len(names)} parameters came as {shape}; give one row a run and one column a parameter"
            )
        if not len(values):
            raise ScenarioError("the draws have no row; give at least one run")
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise ScenarioError(f"draw {row} sets '{names[column]}' to {values[row, column]:g}; give finite numbers")
        if values.flags.writeable:
            values = values.copy()
            values.setflags(write=False)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "values", values)

    @classmethod
    def of(cls, table: "Mapping[str, Sequence[float]] | pd.DataFrame") -> "Draws":
        """Draws made elsewhere, by name: a mapping of columns, or a pandas table.

        Examples
        --------
        >>> Draws.of({"trust": [0.1, 0.2, 0.3]}).values.shape
        (3, 1)
        """
        given: Any = table
        names = [str(name) for name in given]
        columns = [np.asarray(given[name]) for name in given]
        if len({column.shape for column in columns}) > 1:
            lengths = ", ".join(f"'{name}' {column.size}" for name, column in zip(names, columns, strict=True))
            raise ScenarioError(f"the columns of the draws differ in length: {lengths}")
        return cls(tuple(names), np.column_stack(columns) if columns else np.empty((0, 0)))

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.values)

    def __getitem__(self, name: str) -> Floats:
        """Values of one parameter, shape (n_runs,); case and underscores do not count.

        Raises
        ------
        ScenarioError
            If it is not drawn; the text names the nearest one.
        """
        folded = [key(known) for known in self.names]
        if key(name) not in folded:
            raise ScenarioError(f"the draws have no parameter '{name}'{near(name, self.names)}")
        column: Floats = self.values[:, folded.index(key(name))]
        return column

    def frame(self) -> "pd.DataFrame":
        """A table: one row a run, one column a parameter."""
        import pandas as pd

        return pd.DataFrame(self.values, index=pd.RangeIndex(len(self), name="draw"), columns=list(self.names))


def distinct(names: Sequence[str]) -> None:
    """Check that no two names mean the same variable.

    Raises
    ------
    ScenarioError
        If two do; both are named.
    """
    seen: dict[str, str] = {}
    for name in names:
        if key(name) in seen:
            raise ScenarioError(f"'{seen[key(name)]}' and '{name}' are one parameter; name it once")
        seen[key(name)] = name
