"""Tables of contacts between members: who meets whom, as SciPy sparse matrices in compressed rows.

Entry (i, j) is how much member i has to do with member j; 1 is a full working contact, and no entry means none. The
tables are symmetric unless their edges say otherwise, no member is its own contact, and they go straight into
`sd.load("cluster_network", sizes={"member": n}, tables={"contact": table})`.

Up to `NETWORKX_UP_TO` members the generators are those of networkx. Larger tables are built with NumPy, as a Python
object for every contact would take minutes and gigabytes: a ring entry by entry the same, small worlds, random and
scale-free contacts drawn by the same rules (`tests/test_contacts.py` compares degrees, clustering and hubs).
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sd_cluster.errors import DataError, near

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    Contacts: TypeAlias = csr_array[Any]

Ints: TypeAlias = npt.NDArray[np.int64]

NETWORKX_UP_TO = 20_000
"""Members up to which networkx draws the contacts."""

_MOST_COMPLETE = 20_000
"""Members beyond which a table in which all meet all would not fit into memory."""


def ring(n: int, degree: int) -> "Contacts":
    """Contacts with the nearest neighbours on a ring, half of them on each side: the regular network.

    Parameters
    ----------
    n
        Members.
    degree
        Contacts of each member: even, and less than `n`.

    Returns
    -------
    table : shape (n, n)

    Raises
    ------
    DataError
        If the numbers do not fit together; the text names the number.

    Examples
    --------
    >>> sd.contacts.ring(5, 2).toarray()
    array([[0., 1., 0., 0., 1.],
           [1., 0., 1., 0., 0.],
           [0., 1., 0., 1., 0.],
           [0., 0., 1., 0., 1.],
           [1., 0., 0., 1., 0.]])
    """
    _check_even(n, degree, "ring")
    return _table(n, *_ring(n, degree))


def small_world(n: int, degree: int, rewiring: float, *, seed: int) -> "Contacts":
    """A ring of which some contacts lead to members anywhere (Watts & Strogatz 1998, doi:10.1038/30918).

    Parameters
    ----------
    n
        Members.
    degree
        Mean number of contacts of a member: even, and less than `n`.
    rewiring
        Share of the contacts that are led elsewhere: 0 is the ring, 1 is close to random contacts.
    seed
        The same seed gives the same table.

    Returns
    -------
    table : shape (n, n)
        With n * degree entries whatever the rewiring.

    Raises
    ------
    DataError
        If the numbers do not fit together; the text names the number.
    """
    _check_even(n, degree, "small_world")
    if not 0 <= rewiring <= 1:
        raise DataError(f"small_world: rewiring is {rewiring!r}; it should be a share from 0 (a ring) to 1 (random)")
    _check_seed(seed, "small_world")
    if n <= NETWORKX_UP_TO:
        import networkx as nx

        return _from_graph(nx.watts_strogatz_graph(n, degree, rewiring, seed=seed), range(n))
    rng = np.random.default_rng(seed)
    first, second = _ring(n, degree)
    moved = np.flatnonzero(rng.random(len(first)) < rewiring)
    while len(moved):
        second[moved] = rng.integers(0, n, len(moved))
        moved = _bad_pairs(n, first, second, moved)
    return _table(n, first, second)


def random(n: int, degree: float, *, seed: int) -> "Contacts":
    """Contacts between members drawn at random (Erdos & Renyi's model with a fixed number of contacts).

    Parameters
    ----------
    n
        Members.
    degree
        Mean number of contacts of a member, at most n - 1; n * degree / 2 pairs are drawn, rounded.
    seed
        The same seed gives the same table.

    Returns
    -------
    table : shape (n, n)

    Raises
    ------
    DataError
        If the numbers do not fit together; the text names the number.
    """
    _check_members(n, "random")
    if not 0 <= degree <= n - 1:
        raise DataError(f"random: degree is {degree!r}; {n} members have from 0 to {n - 1} contacts each")
    _check_seed(seed, "random")
    pairs = round(n * degree / 2)
    if n <= NETWORKX_UP_TO:
        import networkx as nx

        return _from_graph(nx.gnm_random_graph(n, pairs, seed=seed), range(n))
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, n, pairs), rng.integers(0, n, pairs)
    bad = _bad_pairs(n, first, second, np.arange(pairs))
    while len(bad):
        first[bad], second[bad] = rng.integers(0, n, len(bad)), rng.integers(0, n, len(bad))
        bad = _bad_pairs(n, first, second, bad)
    return _table(n, first, second)


def scale_free(n: int, links: int, *, seed: int) -> "Contacts":
    """Contacts grown by preference for the well connected (Barabasi & Albert 1999, doi:10.1126/science.286.5439.509).

    Beyond `NETWORKX_UP_TO` members the ends are drawn all at once by the method of Batagelj & Brandes 2005
    (doi:10.1103/PhysRevE.71.036113); of ends that a newcomer draws twice one is kept, which takes away fewer than one
    contact in a thousand.

    Parameters
    ----------
    n
        Members.
    links
        Contacts that each newcomer makes, less than `n`; the mean number of contacts is close to twice that.
    seed
        The same seed gives the same table.

    Returns
    -------
    table : shape (n, n)

    Raises
    ------
    DataError
        If the numbers do not fit together; the text names the number.
    """
    _check_members(n, "scale_free")
    if not _whole(links) or not 0 < links < n:
        raise DataError(
            f"scale_free: links is {links!r}; a newcomer among {n} members makes from 1 to {n - 1} contacts"
        )
    _check_seed(seed, "scale_free")
    if n <= NETWORKX_UP_TO:
        import networkx as nx

        return _from_graph(nx.barabasi_albert_graph(n, links, seed=seed), range(n))
    rng = np.random.default_rng(seed)
    # Ends in the order in which they are made. The first newcomer meets all members there are; each later one takes
    # the end at a random earlier place, and so meets members in proportion to the contacts they have.
    newcomers = np.arange(links, n)
    source = np.repeat(newcomers, links)
    before = 2 * links * np.repeat(np.arange(len(newcomers)), links)
    place = np.empty(len(source), dtype=np.int64)
    place[links:] = rng.integers(0, before[links:])
    target = np.empty(len(source), dtype=np.int64)
    target[:links] = np.arange(links)
    open_ = np.arange(links, len(source))
    while len(open_):  # even places hold newcomers, odd ones what they drew: another place, further back
        half = place[open_] // 2
        even = place[open_] % 2 == 0
        known = even | (half < links)
        target[open_[known]] = np.where(even, source[half], target[np.minimum(half, links - 1)])[known]
        open_ = open_[~known]
        place[open_] = place[half[~known]]
    return _table(n, source, target, once=True)


def complete(n: int, contacts: float) -> "Contacts":
    """All meet all alike: well-mixed contact, as models of a whole cluster suppose it.

    Parameters
    ----------
    n
        Members, from 2 to 20,000.
    contacts
        What a member's entries add up to, so that it has as much contact as in a network of that many contacts.

    Returns
    -------
    table : shape (n, n)
        With contacts / (n - 1) everywhere but on the diagonal.

    Raises
    ------
    DataError
        If the numbers do not fit; the text names the number.

    Examples
    --------
    >>> sd.contacts.complete(3, 1.0).toarray()
    array([[0. , 0.5, 0.5],
           [0.5, 0. , 0.5],
           [0.5, 0.5, 0. ]])
    """
    from scipy.sparse import csr_array

    _check_members(n, "complete")
    if n > _MOST_COMPLETE:
        raise DataError(f"complete: {n} members would have {n * (n - 1):.2g} contacts; take at most {_MOST_COMPLETE}")
    if not contacts > 0 or not np.isfinite(contacts):
        raise DataError(f"complete: contacts is {contacts!r}; it should be a number above zero")
    columns = np.broadcast_to(np.arange(n), (n, n))[~np.eye(n, dtype=bool)]
    starts = np.arange(n + 1) * (n - 1)
    return csr_array((np.full(n * (n - 1), contacts / (n - 1)), columns, starts), shape=(n, n))


def from_edges(edges: Any, *, members: Sequence[Any] | None = None, directed: bool = False) -> "Contacts":
    """A table of observed contacts: from pairs, from a file, or from a networkx graph.

    Parameters
    ----------
    edges
        Pairs (one, other) or triples (one, other, how much); a networkx graph, whose edges may have a `weight`; or
        the path of a text file with a pair or triple a line, parted by commas, tabs or blanks, `#` before remarks.
    members
        The members in the order of the table; those of the edges in the order in which they appear where not given.
    directed
        Whether a pair says only what the first has to do with the second.

    Returns
    -------
    table : shape (n_members, n_members)
        What is said of a pair several times adds up.

    Raises
    ------
    DataError
        If the file is missing, a line is no pair, a weight is no number above zero, a member is its own contact or
        is not among `members`; the text names the line or the pair.

    Examples
    --------
    >>> sd.contacts.from_edges([("a", "b"), ("b", "c", 0.5)]).toarray()
    array([[0. , 1. , 0. ],
           [1. , 0. , 0.5],
           [0. , 0.5, 0. ]])
    """
    rows = list(_rows(edges))
    if members is None:
        found = (
            list(edges.nodes) if hasattr(edges, "nodes") else [end for _, one, other, _ in rows for end in (one, other)]
        )
        members = list(dict.fromkeys(found))
    place = {member: number for number, member in enumerate(members)}
    if len(place) != len(members):
        raise DataError("from_edges: a member is named twice among members; name each once")
    if not place:
        raise DataError("from_edges: there are no members; give pairs, or members")
    ends = np.empty((len(rows), 2), dtype=np.int64)
    weights = np.empty(len(rows))
    for number, (where, one, other, weight) in enumerate(rows):
        for end, column in ((one, 0), (other, 1)):
            if end not in place:
                raise DataError(f"{where}: {end!r} is not among the members{near(str(end), map(str, members))}")
            ends[number, column] = place[end]
        if one == other:
            raise DataError(f"{where}: {one!r} is its own contact; leave the pair out")
        weights[number] = weight
    return _table(len(members), ends[:, 0], ends[:, 1], weights=weights, directed=directed)


def degrees(table: Any) -> Ints:
    """How many contacts each member has, whatever their weight.

    Examples
    --------
    >>> sd.contacts.degrees(sd.contacts.from_edges([("a", "b"), ("b", "c")])).tolist()
    [1, 2, 1]
    """
    rows = _square(table)
    entries = np.asarray(rows.data != 0, dtype=np.int64)
    before = np.concatenate([[0], np.cumsum(entries)])
    return np.asarray(before[rows.indptr[1:]] - before[rows.indptr[:-1]], dtype=np.int64)


def best_connected(table: Any, share: float) -> Ints:
    """Numbers of the members with most contacts; of equals those that come first.

    Parameters
    ----------
    table
    share
        What part of the members, from 0 to 1, rounded to whole members.

    Raises
    ------
    DataError
        If the table is not square or the share is none.

    Examples
    --------
    >>> sd.contacts.best_connected(sd.contacts.from_edges([("a", "b"), ("b", "c"), ("b", "d")]), 0.25)
    array([1])
    """
    if not 0 <= share <= 1:
        raise DataError(f"best_connected: share is {share!r}; it should be from 0 to 1")
    count = degrees(table)
    order: Ints = np.argsort(-count, kind="stable")
    return np.sort(order[: round(share * len(count))])


def without(table: Any, members: Iterable[int]) -> "Contacts":
    """The table when some members have no contacts any more; its shape stays, so they stand alone.

    Parameters
    ----------
    table
    members
        Numbers of the members, from 0.

    Raises
    ------
    DataError
        If the table is not square or has no member of a number.

    Examples
    --------
    >>> sd.contacts.degrees(sd.contacts.without(sd.contacts.ring(5, 2), [0])).tolist()
    [0, 1, 2, 2, 1]
    """
    from scipy.sparse import csr_array

    rows = _square(table)
    n = rows.shape[0]
    gone = np.zeros(n, dtype=bool)
    for member in members:
        if not _whole(member) or not 0 <= member < n:
            raise DataError(f"without: there is no member {member!r}; {n} members are numbered from 0 to {n - 1}")
        gone[member] = True
    row = np.repeat(np.arange(n), np.diff(rows.indptr))
    kept = ~gone[row] & ~gone[rows.indices]
    starts = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=n))])
    return csr_array((rows.data[kept], rows.indices[kept], starts), shape=(n, n))


def _whole(number: Any) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _check_members(n: int, of: str) -> None:
    if not _whole(n) or n < 2:
        raise DataError(f"{of}: n is {n!r}; contacts take a whole number of members, two or more")


def _check_even(n: int, degree: int, of: str) -> None:
    _check_members(n, of)
    if not _whole(degree) or degree % 2 or not 0 < degree < n:
        raise DataError(
            f"{of}: degree is {degree!r}; half of the contacts lie on each side, so it should be an even number"
            f" above zero and below the {n} members"
        )


def _check_seed(seed: int, of: str) -> None:
    if not _whole(seed) or seed < 0:
        raise DataError(f"{of}: seed is {seed!r}; give a whole number, zero or above")


def _square(table: Any) -> "Contacts":
    if not hasattr(table, "tocsr") or len(set(table.shape)) != 1:
        raise DataError(f"a table of contacts is a square SciPy sparse matrix; got {getattr(table, 'shape', table)!r}")
    rows: Contacts = table.tocsr()
    return rows


def _ring(n: int, degree: int) -> tuple[Ints, Ints]:
    first = np.tile(np.arange(n), degree // 2)
    step = np.repeat(np.arange(1, degree // 2 + 1), n)
    return first, (first + step) % n


def _bad_pairs(n: int, first: Ints, second: Ints, new: Ints) -> Ints:
    """Which of the new pairs join a member to itself, or are there already."""
    codes = np.minimum(first, second) * n + np.maximum(first, second)
    is_new = np.zeros(len(codes), dtype=bool)
    is_new[new] = True
    order = np.lexsort((is_new, codes))  # of equals the old pair stands first, and stays
    again = np.zeros(len(codes), dtype=bool)
    again[order[1:]] = codes[order[1:]] == codes[order[:-1]]
    return np.flatnonzero(is_new & (again | (first == second)))


def _table(
    n: int, first: Ints, second: Ints, *, weights: Any = None, directed: bool = False, once: bool = False
) -> "Contacts":
    """A table with an entry each way for every pair, sorted; entries of one pair add up, or count once."""
    from scipy.sparse import coo_array

    values = np.ones(len(first)) if weights is None else weights
    rows, columns = (first, second) if directed else (np.r_[first, second], np.r_[second, first])
    index = np.int32 if n < 2**31 else np.int64
    table = coo_array(
        (values if directed else np.r_[values, values], (rows.astype(index), columns.astype(index))), shape=(n, n)
    ).tocsr()
    table.sum_duplicates()
    if once:
        table.data[:] = 1.0
    return table


def _from_graph(graph: Any, members: Iterable[Any]) -> "Contacts":
    """The table of an undirected networkx graph whose nodes are numbers."""
    pairs = np.fromiter((end for pair in graph.edges for end in pair), dtype=np.int64).reshape(-1, 2)
    return _table(len(list(members)), pairs[:, 0], pairs[:, 1])


def _rows(edges: Any) -> Iterable[tuple[str, Any, Any, float]]:
    """Where each pair stands, its two members and its weight."""
    if isinstance(edges, str | Path):
        yield from _lines(Path(edges))
        return
    if hasattr(edges, "edges") and hasattr(edges, "nodes"):
        edges = edges.edges(data="weight", default=1.0)
    for number, edge in enumerate(edges, 1):
        parts = [edge] if isinstance(edge, str) or not isinstance(edge, Iterable) else list(islice(edge, 4))
        yield _row(f"from_edges, pair {number}", parts, edge)


def _lines(path: Path) -> Iterable[tuple[str, Any, Any, float]]:
    if not path.is_file():
        raise DataError(f"no file '{path}'; give the path of a table of contacts, a pair a line")
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        text = line.split("#")[0].strip()
        mark = next((mark for mark in ",\t;" if mark in text), None)
        if text:
            yield _row(f"{path.name} line {number}", [part.strip() for part in text.split(mark)], text)


def _row(where: str, parts: list[Any], edge: Any) -> tuple[str, Any, Any, float]:
    if len(parts) not in {2, 3} or any(isinstance(part, str) and not part for part in parts):
        raise DataError(f"{where}: {edge!r} is no contact; give one member, the other, and how much if it is not 1")
    try:
        weight = float(parts[2]) if len(parts) == 3 else 1.0
    except (TypeError, ValueError):
        weight = np.nan
    if not 0 < weight < np.inf:
        raise DataError(f"{where}: the weight {parts[2]!r} is no number above zero; leave contacts of no weight out")
    return where, parts[0], parts[1], weight
