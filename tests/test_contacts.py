"""Tables of contacts: those of networkx where it draws them, and the same statistics where NumPy does."""

import networkx as nx
import numpy as np
import pytest
from support import assert_close

import sd_cluster as sd
from sd_cluster import contacts

DRAWN = {
    "small world": lambda n, seed: sd.contacts.small_world(n, 10, 0.1, seed=seed),
    "random": lambda n, seed: sd.contacts.random(n, 10, seed=seed),
    "scale-free": lambda n, seed: sd.contacts.scale_free(n, 5, seed=seed),
}


@pytest.fixture
def with_numpy(monkeypatch):
    monkeypatch.setattr(contacts, "NETWORKX_UP_TO", 0)


def check_table(table, n):
    assert table.shape == (n, n)
    assert table.has_sorted_indices
    assert abs(table - table.T).max() == 0
    assert table.diagonal().max() == 0
    assert set(table.data) == {1.0}


def test_tables_of_networkx_are_its_graphs():
    n = 200
    for graph, table in (
        (nx.circulant_graph(n, range(1, 4)), sd.contacts.ring(n, 6)),
        (nx.watts_strogatz_graph(n, 6, 0.2, seed=3), sd.contacts.small_world(n, 6, 0.2, seed=3)),
        (nx.gnm_random_graph(n, 600, seed=3), sd.contacts.random(n, 6, seed=3)),
        (nx.barabasi_albert_graph(n, 3, seed=3), sd.contacts.scale_free(n, 3, seed=3)),
    ):
        check_table(table, n)
        assert abs(nx.to_scipy_sparse_array(graph, nodelist=range(n)) - table).max() == 0


@pytest.mark.parametrize("kind", DRAWN)
def test_large_tables_are_sound_and_repeat_themselves(kind, with_numpy):
    table = DRAWN[kind](3000, 1)
    check_table(table, 3000)
    assert abs(table - DRAWN[kind](3000, 1)).max() == 0
    assert abs(table - DRAWN[kind](3000, 2)).max() == 1


def statistics(table):
    """Entries, spread of the numbers of contacts, share of contacts at the best connected tenth, and clustering."""
    count = np.sort(sd.contacts.degrees(table))
    top = count[-len(count) // 10 :].sum() / count.sum()
    return [table.nnz, count.std(), top, nx.transitivity(nx.from_scipy_sparse_array(table))]


@pytest.mark.parametrize("kind", DRAWN)
def test_numpy_draws_what_networkx_draws(kind, monkeypatch):
    """Means over twelve tables of 1,000 members agree within four standard errors, or within 2 %."""
    seeds = range(12)
    by_networkx = np.array([statistics(DRAWN[kind](1000, seed)) for seed in seeds])
    monkeypatch.setattr(contacts, "NETWORKX_UP_TO", 0)
    by_numpy = np.array([statistics(DRAWN[kind](1000, seed)) for seed in seeds])
    error = np.sqrt((by_networkx.var(0, ddof=1) + by_numpy.var(0, ddof=1)) / len(seeds))
    apart = np.abs(by_numpy.mean(0) - by_networkx.mean(0))
    allowed = np.maximum(4 * error, 0.02 * by_networkx.mean(0))
    names = ("contacts", "spread", "hubs", "clustering")
    assert (apart <= allowed).all(), dict(zip(names, (apart / by_networkx.mean(0)).round(3), strict=True))


def test_hubs_of_a_large_scale_free_table_follow_the_power_law(with_numpy):
    """The share of members with k contacts or more falls with the square of k (doi:10.1126/science.286.5439.509)."""
    table = sd.contacts.scale_free(200_000, 5, seed=1)
    count = sd.contacts.degrees(table)
    assert table.nnz > 0.999 * 2 * 5 * (200_000 - 5), "fewer than one contact in a thousand is drawn twice"
    above = np.array([(count >= k).mean() for k in (10, 20, 40, 80, 160)])
    exact = [5 * 6 / (k * (k + 1)) for k in (10, 20, 40, 80, 160)]  # doi:10.1103/PhysRevLett.85.4633
    assert_close(above, exact, 0.06, because="200 to 50,000 members stand behind each share")


def test_the_ends_of_rewiring():
    assert abs(sd.contacts.small_world(50, 4, 0.0, seed=1) - sd.contacts.ring(50, 4)).max() == 0
    assert sd.contacts.small_world(50, 4, 1.0, seed=1).nnz == 200


def test_well_mixed_contact_adds_up():
    table = sd.contacts.complete(40, 10.0)
    assert_close(table.sum(axis=1), 10.0, 1e-14, because="39 equal parts")
    assert table.diagonal().max() == 0


EDGES = np.array([[0.0, 2.0, 1.0], [2.0, 0.0, 0.0], [1.0, 0.0, 0.0]])


def test_edges_from_pairs_a_file_and_a_graph(tmp_path):
    pairs = [("Acer", "TSMC", 2), ("Acer", "ITRI")]
    assert (sd.contacts.from_edges(pairs).toarray() == EDGES).all()
    for name, text in (
        ("a.csv", "# who, whom\nAcer, TSMC, 2\n\nAcer,ITRI  # a remark\n"),
        ("b.tsv", "Acer\tTSMC\t2\nAcer\tITRI\n"),
        ("c.txt", "Acer TSMC 2\nAcer ITRI"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert (sd.contacts.from_edges(tmp_path / name).toarray() == EDGES).all()
    graph = nx.Graph()
    graph.add_nodes_from(["Acer", "TSMC", "ITRI", "UMC"])
    graph.add_weighted_edges_from([("Acer", "TSMC", 2)])
    graph.add_edge("Acer", "ITRI")
    found = sd.contacts.from_edges(graph).toarray()
    assert (found[:3, :3] == EDGES).all()
    assert found.shape == (4, 4)
    assert found[3].sum() == 0


def test_edges_in_an_order_of_members_and_one_way():
    table = sd.contacts.from_edges([("b", "a", 3)], members=["a", "b", "c"], directed=True)
    assert table.toarray().tolist() == [[0, 0, 0], [3, 0, 0], [0, 0, 0]]


def test_the_best_connected_and_their_removal():
    table = sd.contacts.scale_free(500, 5, seed=1)
    hubs = sd.contacts.best_connected(table, 0.1)
    count = sd.contacts.degrees(table)
    assert len(hubs) == 50
    assert count[hubs].min() >= np.delete(count, hubs).max()
    rest = sd.contacts.without(table, hubs)
    assert rest.shape == table.shape
    assert rest[hubs].nnz == rest[:, hubs].nnz == 0
    others = np.setdiff1d(np.arange(500), hubs)
    assert abs(rest[others][:, others] - table[others][:, others]).max() == 0


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda c: c.ring(10, 3), "ring: degree is 3; .* even number above zero and below the 10 members"),
        (lambda c: c.ring(4, 4), "ring: degree is 4"),
        (lambda c: c.ring(1.5, 2), r"ring: n is 1.5; contacts take a whole number of members, two or more"),
        (lambda c: c.small_world(10, 4, 1.2, seed=1), "small_world: rewiring is 1.2; it should be a share from 0"),
        (lambda c: c.small_world(10, 4, 0.2, seed=-1), "small_world: seed is -1; give a whole number"),
        (lambda c: c.random(10, 10, seed=1), "random: degree is 10; 10 members have from 0 to 9 contacts each"),
        (
            lambda c: c.scale_free(10, 0, seed=1),
            "scale_free: links is 0; a newcomer among 10 members makes from 1 to 9",
        ),
        (lambda c: c.complete(30_000, 1), "complete: 30000 members would have 9e.08 contacts; take at most 20000"),
        (lambda c: c.complete(5, -1), "complete: contacts is -1; it should be a number above zero"),
        (lambda c: c.best_connected(c.ring(5, 2), 2), "best_connected: share is 2; it should be from 0 to 1"),
        (lambda c: c.without(c.ring(5, 2), [5]), "without: there is no member 5; 5 members are numbered from 0 to 4"),
        (lambda c: c.degrees([[1]]), "a table of contacts is a square SciPy sparse matrix; got"),
        (lambda c: c.from_edges([("a",)]), "from_edges, pair 1: .* is no contact; give one member, the other"),
        (lambda c: c.from_edges(["ab"]), "from_edges, pair 1: 'ab' is no contact"),
        (lambda c: c.from_edges([("a", "a")]), "from_edges, pair 1: 'a' is its own contact; leave the pair out"),
        (lambda c: c.from_edges([("a", "b", -1)]), "from_edges, pair 1: the weight -1 is no number above zero"),
        (lambda c: c.from_edges([("a", "beta")], members=["a", "bet"]), r"'beta' is not among the members \(did you"),
        (lambda c: c.from_edges([("a", "b")], members=["a", "b", "a"]), "a member is named twice among members"),
        (lambda c: c.from_edges([]), "from_edges: there are no members; give pairs, or members"),
        (lambda c: c.from_edges("nowhere.csv"), "no file 'nowhere.csv'; give the path of a table of contacts"),
    ],
)
def test_what_does_not_fit_is_told(call, told):
    with pytest.raises(sd.DataError, match=told):
        call(sd.contacts)


def test_a_line_that_is_no_contact_is_named(tmp_path):
    path = tmp_path / "contacts.csv"
    path.write_text("a,b\na,b,c\n", encoding="utf-8")
    with pytest.raises(sd.DataError, match=r"contacts.csv line 2: the weight 'c' is no number above zero"):
        sd.contacts.from_edges(path)
