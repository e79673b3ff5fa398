"""PySD's parser and ours read every right-hand side of the feature models alike."""

from pathlib import Path

import pytest
from support import FEATURES

import sd_cluster as sd
from sd_cluster import grammar, peg, vensim, xmile
from sd_cluster.grammar import Figure, GrammarError, Operator, Reference, Tree

RULES = {"lookup": "lookups", "vensim": "components", "xmile": "equations"}
STOPS = {
    ("0,2,3,6,1,5,4,10", "lookup"),  # the old form of a lookup
    ("SPLIT(10, share : rest)", "vensim"),  # a macro with further outputs
    ("SUM(x[DimA!]*DimA!)", "vensim"),  # the place of an element within a sum
    ("SUM(IF THEN ELSE(SubA! > A3, x[SubA!], 0))", "vensim"),
    ("SAFEDIV(x, 0, 7)+x//0", "xmile"),
    ("DELAY_INFORMATION(news, way, nothing)", "xmile"),  # a function of Vensim, as sd.write leaves it
    ("SUM(people[*])", "xmile"),
    ("SUM(table[2,*])", "xmile"),
    ("Shop.sales*year", "xmile"),  # modules
    ("x MOD 3", "xmile"),
    ("SUM(price[first:second])", "xmile"),  # stretches of a range, and places that expressions give
    ("SUM(price[2:3]*sold[2:3])", "xmile"),
    ("price[INT(TIME*pace)+1]", "xmile"),
    ("price[Year_of_life+1]", "xmile"),
    ("price[Year_of_life-1]-price", "xmile"),
    ("price[Year_of_life.third]", "xmile"),
    ("IF Year_of_life = Year_of_life.second THEN 1 ELSE 0", "xmile"),
    ("sold[2]/2", "xmile"),
    ("people[Place.north]", "xmile"),
    ("share[north, Number.2]", "xmile"),
    ("open orders/order time", "xmile"),  # names without quotes, as Vensim exports them
    ("order time * order rate", "xmile"),
    ("order rate", "xmile"),
    (
        "IF THEN ELSE(Time >= start of boom :AND: :NOT: Time > end of boom, boom rate, usual rate)",
        "xmile",
    ),
}
"""What PySD's grammar cannot read."""


@pytest.fixture(scope="module")
def written() -> set[tuple[str, str]]:
    """Every right-hand side of the feature models and the shipped ones, with the kind of text it is."""
    found: set[tuple[str, str]] = set()

    def note(text: str, kind: str = "vensim") -> Tree:
        found.add((text, kind))
        return Figure(0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vensim, "read", note)
        patch.setattr(xmile, "read", note)
        patch.setattr(vensim, "read_lookup", lambda text: note(text, "lookup"))
        for path in _files():
            try:
                (vensim.read_vensim if path.suffix == ".mdl" else xmile.read_xmile)(path)
            except sd.ReadingError:  # some features are about files that cannot be read
                continue
    return found


def _files() -> list[Path]:
    shipped = Path(sd.__file__).parents[1] / "models"
    return [path for folder in (FEATURES, shipped) for path in folder.rglob("*.*") if path.suffix in {".mdl", ".xmile"}]


def test_both_readers_agree(written):
    assert len(written) > 600
    stops = set()
    for text, kind in sorted(written):
        found = peg.by_pysd(f"({text})" if kind == "lookup" else text, RULES[kind])
        if found is None:
            stops.add((text, kind))
            continue
        ours = grammar.parse_lookup(text) if kind == "lookup" else grammar.parse(text, kind)
        assert found == ours, text
    assert {(text, kind) for text, kind in stops if "*:" not in text} <= STOPS, "PySD's grammar has no x[*:range]"


@pytest.mark.parametrize(
    ("text", "dialect", "expected"),
    [
        ("(-2)^2", "vensim", Operator("^", (Figure(-2.0), Figure(2.0)))),
        ("-2^2", "vensim", Operator("neg", (Operator("^", (Figure(2.0), Figure(2.0))),))),
        ("2^3^2", "vensim", Operator("^", (Figure(2.0), Operator("^", (Figure(3.0), Figure(2.0)))))),
        ("2^-x", "vensim", Operator("^", (Figure(2.0), Operator("neg", (Reference("x"),))))),
        ("a - b - c", "vensim", Operator("-", (Operator("-", (Reference("a"), Reference("b"))), Reference("c")))),
        (
            "c :OR: a :AND: b",
            "vensim",
            Operator("or", (Reference("c"), Operator("and", (Reference("a"), Reference("b"))))),
        ),
        ("notional", "xmile", Reference("notional")),
        ("a mod b * c", "xmile", None),
    ],
)
def test_what_pysd_alone_gets_wrong(text, dialect, expected):
    found = peg.read(text, dialect)
    assert found == grammar.parse(text, dialect)
    assert expected is None or found == expected


@pytest.mark.parametrize("text", ["MAX(1 2)", "MAX(1, 2,)", "1 -2 3", "x[A B,]", "2 3", "a b (", "1e999", "", "x +"])
def test_what_only_pysd_would_let_pass(text):
    assert peg.by_pysd(text, "components") is None
    if text not in {"x[A B,]", "MAX(1, 2,)"}:
        with pytest.raises(GrammarError):
            peg.read(text)


def test_long_and_deep_texts_are_left_to_our_grammar():
    assert peg.by_pysd("+".join(["x"] * 200), "components") is None
    assert peg.by_pysd("1," * peg.LONGEST, "components") is None
    with pytest.raises(GrammarError, match="one inside another"):
        peg.read("(" * 5000 + "x" + ")" * 5000)
