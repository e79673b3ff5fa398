"""A model file is data from a stranger: whatever is in it ends in a model or in one clear line, soon."""

import random
import time
import warnings

import pytest
from support import ALL, FEATURES, model_text

import sd_cluster as sd

PARTS = [
    *"()[],;:\"'|~{}=!*^-\\\n\0é0x",
    *(":=", "<->", "->", "1e308", "1e999", "999999999999", "INTEG(", "SUM(", "DimA", "A1", ":EXCEPT:", ":MACRO:"),
    *("(A1-A99999999)", ":NA:", "Time", "&lt;"),
    *("DELAY FIXED(", ":END OF MACRO:", "TABBED ARRAY(", "WITH LOOKUP(", "GET DIRECT DATA(", "<eqn>", "</eqn>"),
    *('<element subscript="', "VECTOR RANK(", "INVERT MATRIX(", "DELAY N(", 'size="99999999"'),
    *(
        "GET DATA BETWEEN TIMES(",
        "FIND MARKET PRICE(",
        "RANDOM POISSON(",
        "DELAY INFORMATION(",
        "PREVIOUS(SELF,0)",
        "#0",
    ),
    *("[1:2]", "[x-1]", "TIME STEP", "FINAL TIME", '<parm default="', "TIME SHIFT("),
]
FILES = [path for name in ALL for path in sorted((FEATURES / name).iterdir()) if path.suffix in {".mdl", ".xmile"}]


def mangled(text, rng):
    """A text with pieces left out, put in, and doubled."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.randint(0, 12))
        far = min(len(text), start + rng.randint(1, 60))
        here = rng.randrange(len(text) + 1)
        text = rng.choice([
            text[:start] + text[end:],
            text[:start] + rng.choice(PARTS) + text[end:],
            text[:start] + rng.choice(PARTS) + text[start:],
            text[:here] + text[start:far] + text[here:],
            text[: max(start, 40)] if rng.random() < 0.2 else text,
        ])  # fmt: skip
    return text


def read(path):
    """Read and run a file; all that may go wrong is one of our errors, in one line."""
    told = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            sd.simulate(sd.load(path), solver=sd.Euler())
        except sd.SdClusterError as error:
            told.append(str(error))
    assert all(issubclass(one.category, sd.UnitsWarning | sd.ReadingWarning) for one in caught)
    assert not any("\n" in text for text in [*told, *(str(one.message) for one in caught)])


@pytest.mark.parametrize("seed", range(20))
def test_a_mangled_file_ends_in_a_model_or_in_one_line(tmp_path, seed):
    rng = random.Random(seed)
    for number in range(20):
        source = rng.choice(FILES)
        path = tmp_path / f"{number}{source.suffix}"
        path.write_text(mangled(source.read_text(encoding="utf-8"), rng), encoding="utf-8", errors="replace")
        read(path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 120))
def test_many_more_mangled_files(tmp_path, seed):
    test_a_mangled_file_ends_in_a_model_or_in_one_line(tmp_path, seed)


MACRO = ":MACRO: {name}(x)\n{name} = {body}\n\t~\t\n\t~\t\n\t|\n:END OF MACRO:\n"
DOUBLING = "".join(MACRO.format(name=f"M{k}", body=f"M{k + 1}(x)+M{k + 1}(x)" if k < 40 else "x") for k in range(41))
HOSTILE = {
    "nested brackets": model_text("x = INTEG(1, 5) \n z = " + "(" * 5000 + "x" + ")" * 5000),
    "a chain of signs": model_text("x = INTEG(1, 5) \n z = " + "-" * 5000 + "x"),
    "a long sum": model_text("x = INTEG(1, 5) \n z = " + "+".join(["x"] * 20000)),
    "a huge exponent": model_text("x = INTEG(1, 5) \n z = x*1e99999"),
    "a giant range": "{UTF-8}\nD: (A1-A999999999)\n~\n~|\n" + model_text("x[D] = 1"),
    "a product of ranges": "D: (A1-A50000)\n~\n~|\nE: (B1-B50000)\n~\n~|\n" + model_text("x[D,E] = 1")[8:],
    "a range that holds itself": "{UTF-8}\nD: E\n~\n~|\nE: D\n~\n~|\n" + model_text("x[D] = 1"),
    "macros that double": DOUBLING + model_text("x = INTEG(1, 5) \n z = M0(x)"),
    "a long name": model_text("a" * 100_000 + " = 1"),
    "quotes that never close": model_text('x = INTEG(1, 5) \n z = "' + "a|~" * 10000),
    "ten thousand commas": model_text("x = INTEG(1, 5) \n z = MAX(" + "," * 10000),
    "a sum over too much": "{UTF-8}\nD: (A1-A2000)\n~\n~|\n" + model_text("k[D] = 1 \n x = SUM(k[D!]*k[D!])"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_end_soon(tmp_path, kind):
    path = tmp_path / "hostile.mdl"
    path.write_text(HOSTILE[kind], encoding="utf-8")
    begun = time.process_time()
    read(path)
    assert time.process_time() - begun < 20


BOMB = "".join(f'<!ENTITY e{k + 1} "{f"&e{k};" * 10}">' for k in range(12))


def test_an_xml_bomb_is_not_opened(tmp_path):
    whole = (FEATURES / "decay" / "decay.xmile").read_text(encoding="utf-8")
    bomb = f'<!DOCTYPE xmile [<!ENTITY e0 "1">{BOMB}]>\n<xmile'
    path = tmp_path / "bomb.xmile"
    path.write_text(whole.replace("<xmile", bomb, 1).replace("<eqn>4</eqn>", "<eqn>&e12;</eqn>"), encoding="utf-8")
    begun = time.process_time()
    read(path)
    assert time.process_time() - begun < 5


def test_an_output_that_no_macro_gives():
    """The name was known, but nothing defined it: a KeyError in the units check."""
    from support import tiny

    with pytest.raises(sd.ReadingWarning, match="reads 'rest', which no equation defines"):
        tiny("x = INTEG(1, 5) \n s = MAX(x, 2 : rest) \n t = rest*2")


def test_a_variable_without_a_name(tmp_path):
    """Found by mutation: an empty name passed the reader and the printer had no place for it."""
    path = tmp_path / "nameless.mdl"
    path.write_text(model_text('x = INTEG(1, 5) \n "" = 3'))
    with pytest.raises(sd.ReadingError, match=r"^nameless\.mdl line \d+: a variable has no name$"):
        sd.load(path)
    path = tmp_path / "nameless.xmile"
    path.write_text(
        "<xmile xmlns='http://docs.oasis-open.org/xmile/ns/XMILE/v1.0'><sim_specs><start>0</start><stop>1</stop></sim_specs>"
        "<model><variables><aux><eqn>1</eqn></aux><aux name='b'><eqn>2+TIME</eqn></aux></variables></model></xmile>"
    )
    with pytest.raises(sd.ReadingError, match=r"^nameless\.xmile line \d+: a variable has no name$"):
        sd.load(path)


def test_a_file_name_over_two_lines_ends_in_one_line(tmp_path):
    """Found by mutation: a quote that was never closed made a file's name of many lines, and the error too."""
    path = tmp_path / "lines.mdl"
    path.write_text(model_text("R: GET DIRECT SUBSCRIPT('a.csv \n then', ',', 'A1', 'A', '') \n x = INTEG(1, 5)"))
    text = path.read_text().replace("a.csv ", "a.csv\n")
    path.write_text(text)
    with pytest.raises(sd.ReadingError) as caught:
        sd.load(path)
    assert "\n" not in str(caught.value)


def test_a_subscript_over_two_lines_ends_in_one_line(tmp_path):
    """Found by mutation: a subscript that is broken between lines was quoted with its break."""
    path = tmp_path / "broken.mdl"
    path.write_text(model_text("A: A1, A2 \n x[A] = 1, 2 \n y = x[B C1] \n z = INTEG(1, 5)").replace("B C1", "B\n\tC1"))
    with pytest.warns(sd.ReadingWarning):
        told = sd.load(path).unsupported["y"]
    assert told == "reads 'x[B C1]', but 'B C1' is neither a range nor an element"


def test_a_lookup_whose_points_are_a_name(tmp_path):
    """Found by mutation: what `table(x)` reads was taken for a lookup, and its reader ended in an assertion."""
    path = tmp_path / "named.mdl"
    path.write_text(model_text("table(z) \n y = table(1) \n z = INTEG(1, 5)"), encoding="utf-8")
    with pytest.warns(sd.ReadingWarning):
        model = sd.load(path)
    assert model.unsupported == {"table": "the lookup has no points", "y": "it depends on 'table'"}


def test_constants_of_constants_are_worked_out_once():
    """A chain of 1,500 ended in a RecursionError, and one that doubles 24 times took minutes."""
    from support import tiny

    chain = " \n ".join(f"a{k} = a{k + 1}" for k in range(1500))
    doubled = " \n ".join(f"b{k} = b{k + 1}+b{k + 1}" for k in range(40))
    begun = time.process_time()
    model = tiny(
        f"{chain} \n a1500 = 3 \n {doubled} \n b40 = 1 \n x = INTEG(DELAY FIXED(1, a0, 0)+DELAY N(1, 2, 0, b38), 0)",
        check_units=False,
    )
    assert time.process_time() - begun < 20
    assert "x" in model


def test_macros_that_double_each_other_are_bounded():
    """Eighteen macros that each use the next one twice took minutes and gigabytes."""
    from support import tiny

    macros = "".join(f":MACRO: M{k}(u)\nM{k} = M{k - 1}(u)+M{k - 1}(u)~~|\n:END OF MACRO:\n" for k in range(1, 19))
    begun = time.process_time()
    with pytest.raises(sd.ReadingError, match=r"macros make more than 50000 variables"):
        tiny(":MACRO: M0(u)\nM0 = u~~|\n:END OF MACRO:\n" + macros + "x = INTEG(M18(1), 0)")
    assert time.process_time() - begun < 20


def test_steps_rows_and_pulses_beyond_count_are_refused():
    """Each ended in an OverflowError, or filled the memory."""
    from support import tiny

    with pytest.raises(sd.ReadingError, match=r"^tiny\.mdl: TIME STEP is 1e-310, too short for a run from 0 to 10$"):
        tiny("x = INTEG(1, 0)", step="1e-310")
    told = r"^the run from 0 to 1e\+09 would save more than 5000000 rows, one each 0\.001; save less often"
    model = tiny("x = INTEG(1, 0)", end="1e9", step="0.001", save="0.001")
    for solver in (sd.Euler(), sd.Adaptive()):
        with pytest.raises(sd.ScenarioError, match=told):
            sd.simulate(model, solver=solver)
    train = tiny("x = INTEG(PULSE TRAIN(0, 1e-6, 1e-6, 100), 0)", check_units=False)
    with pytest.raises(sd.SimulationError, match=r"a pulse train switches more than 100000 times, each 1e-06"):
        sd.simulate(train)


def test_a_step_too_short_to_count():
    """Found by mutation: the number of a step overflowed, with a warning of NumPy's."""
    from support import tiny

    model = tiny("x = INTEG(1, 5)", step="1e-25", check_units=False)
    with pytest.raises(
        sd.ScenarioError, match=r"^a step of 1e-25 is too short for a run from 0 to 10; take a longer one$"
    ):
        sd.simulate(model, solver=sd.Euler())
