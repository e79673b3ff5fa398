"""Which parameters of a space go together: a Gaussian copula from given correlations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sd_cluster.errors import ScenarioError, near
from sd_cluster.kernel import Floats
from sd_cluster.model import key

Pairs: TypeAlias = Mapping[tuple[str, str], float]
"""Rank correlations by pair of parameters; pairs that are not named are independent."""


@dataclass(frozen=True, eq=False)
class Correlation:
    """Parameters that go together, by the matrix of their correlations.

    Draws follow a Gaussian copula: normal scores with these correlations, each carried to its parameter's own
    distribution, whose shape is untouched.

    Attributes
    ----------
    names
        Parameters of the space, at least two.
    matrix : shape (n_names, n_names)
        Symmetric, ones on the diagonal, positive definite.
    kind
        `rank`: Spearman's correlation of the draws, whatever the distributions; the scores get
        2 sin(pi rho/6) (Pearson 1907; Kruskal 1958, doi:10.1080/01621459.1958.10501481). `normal`: Pearson's
        correlation of the normal scores, which for normal parameters is that of the parameters.

    Raises
    ------
    ScenarioError
        If the matrix is not such a matrix; where it is not positive definite, the text says by how much.
    """

    names: tuple[str, ...]
    matrix: Floats
    kind: Literal["rank", "normal"] = "rank"

    def __init__(self, names: Sequence[str], matrix: npt.ArrayLike, kind: Literal["rank", "normal"] = "rank") -> None:
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "kind", kind)
        if kind not in ("rank", "normal"):
            raise ScenarioError(f"a correlation is of the kind 'rank' or 'normal', not '{kind}'")
        told = ", ".join(f"'{name}'" for name in self.names)
        try:
            table = np.array(matrix, dtype=float)
        except (TypeError, ValueError):
            raise ScenarioError(f"the correlation of {told} holds what is not a number") from None
        n = len(self.names)
        if n < 2 or table.shape != (n, n):
            shape = " x ".join(map(str, table.shape)) or "one number"
            raise ScenarioError(f"the correlation of {told} is {shape}; give a matrix of {n} x {n}, two names or more")
        if not np.array_equal(table, table.T) or not (np.diag(table) == 1.0).all():
            raise ScenarioError(f"the correlation of {told} should be symmetric with ones on the diagonal")
        if not (np.abs(table[~np.eye(n, dtype=bool)]) < 1.0).all():
            raise ScenarioError(f"the correlation of {told} holds a number that is not between -1 and 1")
        table.setflags(write=False)
        object.__setattr__(self, "matrix", table)
        factor(self.names, self.scores())

    def scores(self) -> Floats:
        """Correlation of the normal scores, shape (n_names, n_names)."""
        if self.kind == "normal":
            return self.matrix
        scores: Floats = 2.0 * np.sin(np.pi * self.matrix / 6.0)
        np.fill_diagonal(scores, 1.0)
        return scores


Given: TypeAlias = "Correlation | Sequence[Correlation] | Pairs | None"
"""What a space takes as correlation."""


def blocks(given: Any, names: Sequence[str]) -> tuple[Correlation, ...]:
    """Take a correlation as the user gives it, and check it against the names of a space.

    Returns
    -------
    blocks
        Bearing the names as the space writes them; no name in two blocks.

    Raises
    ------
    ScenarioError
        If a name is not in the space or stands in two blocks, or a pair is not two names and a number.
    """
    if given is None:
        return ()
    if isinstance(given, Mapping):
        given = (_from_pairs(given, names),) if given else ()
    elif isinstance(given, Correlation):
        given = (given,)
    taken: dict[str, int] = {}
    found = []
    for number, block in enumerate(given):
        if not isinstance(block, Correlation):
            raise ScenarioError(
                f"a correlation is given as {block!r}; give Correlation(names, matrix), or pairs as in"
                " {('trust', 'talent flow'): 0.5}"
            )
        own = tuple(_own_name(name, names) for name in block.names)
        for name in own:
            if taken.setdefault(name, number) != number or own.count(name) > 1:
                raise ScenarioError(f"'{name}' stands twice in the correlations; put all that goes with it in one")
        found.append(Correlation(own, block.matrix, block.kind))
    return tuple(found)


def scores_of(given: Sequence[Correlation], names: Sequence[str]) -> Floats:
    """Correlation of the normal scores of all parameters, shape (n_names, n_names); ones and noughts without blocks."""
    whole: Floats = np.eye(len(names))
    for block in given:
        places = [list(names).index(name) for name in block.names]
        whole[np.ix_(places, places)] = block.scores()
    return whole


def factor(names: Sequence[str], scores: Floats) -> Floats:
    """Lower triangle whose product with its transpose is the matrix, shape (n, n).

    Raises
    ------
    ScenarioError
        If the matrix is not positive definite.
    """
    try:
        lower: Floats = np.asarray(np.linalg.cholesky(scores), dtype=np.float64)
    except np.linalg.LinAlgError:
        least = float(np.linalg.eigvalsh(scores)[0])
        told = ", ".join(f"'{name}'" for name in names)
        raise ScenarioError(
            f"no parameters can go together as {told} should: their correlation is not positive definite (smallest"
            f" eigenvalue {least:.3g}); bring the strongest correlations nearer to zero"
        ) from None
    return lower


def _own_name(name: str, names: Sequence[str]) -> str:
    for own in names:
        if key(own) == key(name):
            return own
    raise ScenarioError(f"a correlation names '{name}', which is not in the space{near(name, names)}")


def _from_pairs(pairs: Mapping[Any, Any], names: Sequence[str]) -> Correlation:
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(name, str) for name in pair)):
            raise ScenarioError(
                f"a correlation is given for {pair!r}; name two parameters, as in {{('trust', 'talent flow'): 0.5}}"
            )
    told = {tuple(_own_name(name, names) for name in pair): value for pair, value in pairs.items()}
    used = [name for name in names if any(name in pair for pair in told)]
    matrix = np.eye(len(used))
    for (one, other), value in told.items():
        if one == other or (other, one) in told:
            raise ScenarioError(f"the correlation of '{one}' and '{other}' is not one number of two parameters")
        try:
            rho = float(value)
        except (TypeError, ValueError):
            raise ScenarioError(f"the correlation of '{one}' and '{other}' is {value!r}; give a number") from None
        if not -1.0 < rho < 1.0:
            raise ScenarioError(f"the correlation of '{one}' and '{other}' is {rho:g}; give one between -1 and 1")
        i, j = used.index(one), used.index(other)
        matrix[i, j] = matrix[j, i] = rho
    return Correlation(used, matrix)
