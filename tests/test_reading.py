"""Reading: what cannot be read gives one clear error, nothing is written, and no text of a file is ever run."""

import os
import struct
import sys

import numpy as np
import pytest
from support import FEATURES, NAMES, model_text, tiny, write_model

import sd_cluster as sd
from sd_cluster.model import Table
from sd_cluster.statefuls import supported

SUPPORTED = supported()
MACRO = ":MACRO: GROW(input)\n{body}\n\t~\tinput\n\t~\t\n\t|\n:END OF MACRO:\n"


def message(path, kind=sd.ReadingError):
    """The text of the error that reading a file gives: one line."""
    with pytest.raises(kind) as caught:
        sd.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def partly_read(path):
    """A model of which some variables cannot be computed, which a warning says."""
    with pytest.warns(sd.ReadingWarning, match=rf"^{path.name}: \d+ variable\(s\) cannot be computed: '"):
        return sd.load(path, check_units=False)


def written(folder, data, name="tiny.mdl"):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_missing_file(tmp_path):
    path = tmp_path / "nowhere.mdl"
    assert message(path) == f"no file '{path}'; give the path of a .mdl or .xmile file"


def test_a_folder_that_is_called_like_a_model(tmp_path):
    path = tmp_path / "folder.mdl"
    path.mkdir()
    assert message(path) == f"no file '{path}'; give the path of a .mdl or .xmile file"


def test_a_wrong_suffix(tmp_path):
    path = written(tmp_path, "year,firms", "table.csv")
    assert message(path) == (f"'{path}' is not a model file; its name should end in one of .mdl, .xmile, .xml, .stmx")


def test_an_unknown_shipped_model():
    names = ", ".join(sd.models())
    assert message("colective_learning") == (
        "no shipped model 'colective_learning' (did you mean 'collective_learning'?);"
        f" give one of {names}, or the path of a .mdl or .xmile file"
    )


@pytest.mark.parametrize("text", ["", "\n", "dear reader,\nthis is a letter.\n"])
def test_a_text_that_is_no_model(tmp_path, text):
    assert message(written(tmp_path, text)) == (
        "tiny.mdl is not a Vensim model: it holds no equation ended by '~ units ~ note |'"
    )


def test_a_text_with_the_signs_of_a_model_but_no_equation(tmp_path):
    assert message(written(tmp_path, "about ~ 3 things |")) == "tiny.mdl is not a model: it holds no equations"


def test_bytes_that_are_no_text(tmp_path):
    assert message(written(tmp_path, bytes(range(256)) * 4)).startswith("tiny.mdl ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Document is empty, line 1, column 1 (tiny.xmile, line 1)"),
        ("just text", "Start tag expected, '<' not found, line 1, column 1 (tiny.xmile, line 1)"),
        ("<html><body/></html>", "it does not begin with <xmile xmlns=...>"),
    ],
)
def test_an_xml_that_is_no_model(tmp_path, text, told):
    assert message(written(tmp_path, text, "tiny.xmile")) == f"tiny.xmile is not an XMILE model: {told}"


def test_an_xmile_file_without_variables(tmp_path):
    text = "<xmile xmlns='http://docs.oasis-open.org/xmile/ns/XMILE/v1.0'><model/></xmile>"
    assert message(written(tmp_path, text, "tiny.xmile")) == "tiny.xmile is not a model: it holds no equations"


def test_a_broken_xmile_file_is_not_mended(tmp_path):
    """PySD's parser mends broken XML without a word: half a model was read as a whole one."""
    whole = (FEATURES / "sir" / "sir.xmile").read_text(encoding="utf-8")
    half = whole[: whole.index("</variables>")]
    assert message(written(tmp_path, half, "sir.xmile")).startswith("sir.xmile is not an XMILE model: Premature end")


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_file_is_an_error_or_lacks_nothing(tmp_path, name):
    whole = (FEATURES / name / f"{name}.mdl").read_text(encoding="utf-8")
    everything = len(sd.load(FEATURES / name / f"{name}.mdl").equations)
    for cut in range(40, len(whole), max(1, len(whole) // 12)):
        try:
            found = len(sd.load(written(tmp_path, whole[:cut]), check_units=False).equations)
        except (sd.ReadingError, sd.ModelError) as error:
            found, told = 0, str(error)
        assert found == everything or (found == 0 and told.startswith("tiny.mdl") and "\n" not in told)


def reason(path, name="z"):
    """Why a variable of a file cannot be computed, while the rest of it can."""
    model = partly_read(path)
    assert sd.simulate(model)["x"][0] == 5
    with pytest.raises(sd.ModelError) as caught:
        model.variable(name)
    assert str(caught.value).startswith(f"{model.name} cannot compute '{name}': ")
    return model.unsupported[name]


def test_an_unknown_function(tmp_path):
    path = write_model(tmp_path, "x = INTEG(1, 5) \n z = SQRTT(x)")
    assert reason(path) == f"the function 'SQRTT' is not supported (did you mean 'sqrt'?); {SUPPORTED}"


def test_what_cannot_be_computed_disables_only_what_depends_on_it(tmp_path):
    equations = "x = INTEG(1, 5) \n z = QUIX(x) \n y = z+1 \n s = INTEG(SMOOTH(y, 2), 1) \n w = x*2"
    model = partly_read(write_model(tmp_path, equations))
    report = model.report()
    assert set(report.unsupported) == {"z"}
    assert report.dependent == {"y": "it depends on 'z'", "s": "it depends on 'y'"}
    assert "2 dependent on these:" in str(report)
    run = sd.simulate(model, solver=sd.Euler())
    assert run["w"][-1] == 30
    assert run.notes == ("not computed: 'z', 'y', 's'; model.report() says why",)
    assert model.notes == (
        "3 variable(s) cannot be computed: 'z' (the function 'QUIX' is not supported), 'y', 's';"
        " model.report() says why",
    )


def test_a_file_in_which_nothing_can_be_computed(tmp_path):
    text = message(write_model(tmp_path, "z = QUIX(Time)"))
    assert text.startswith("tiny.mdl, variable 'z': the function 'QUIX' is not supported")


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("SMOOTH(x)", "smooth takes 2 or 3 argument(s), here it has 1"),
        ("DELAY1(x)", "delay1 takes 2 or 3 argument(s), here it has 1"),
        ("INTEG(x)", "integ takes 2 argument(s), here it has 1"),
        ("PULSE TRAIN(1, 2, 3)", "pulse train takes 4 argument(s), here it has 3"),
        ("'x'", "a text stands where a number is expected"),
        ("INTEG(x, 1)+1", "INTEG stands inside an expression; give the stock a variable of its own"),
        ("table", "uses the lookup 'table' without an argument"),
        ("table(x, 2)", "table takes 1 argument(s), here it has 2"),
        ("MAX(x)", "max takes 2 argument(s), here it has 1"),
        ("IF THEN ELSE(x > 1, 2)", "if then else takes 3 argument(s), here it has 2"),
        ("RAMP(1)", "ramp takes 2 or 3 argument(s), here it has 1"),
        ("ACTIVE INITIAL(x)", "active initial takes 2 argument(s), here it has 1"),
        ("2+ACTIVE INITIAL(x)", "active initial takes 2 argument(s), here it has 1"),
        ("talent_flwo+1", "reads 'talent flwo', which the model does not define (did you mean 'talent flow'?)"),
        ("rainfall", "reads 'rainfall', which the model does not define"),
        ("DELAY1(x[a], 2)", "'x' is read with 1 subscript(s), it has 0"),
        ("SUM(x[a!])", "'x' is read with 1 subscript(s), it has 0"),
    ],
)
def test_an_equation_that_cannot_be_used(tmp_path, expression, told):
    equations = f"x = INTEG(1, 5) \n talent flow = 1 \n table((0,0),(1,1)) \n z = {expression}"
    assert reason(write_model(tmp_path, equations)) == told


LONG = ("(" * 300 + "x" + ")" * 300, "*".join(["x"] * 400), "+".join(["x"] * 5_000))


@pytest.mark.parametrize("expression", ["(x", "x)", "x+*2", "$x", *LONG])
def test_an_equation_that_is_no_equation(tmp_path, expression):
    text = reason(write_model(tmp_path, f"x = INTEG(1, 5) \n z = {expression}"))
    assert text.startswith("cannot read the equation 'z = ")
    assert len(text) < 200


@pytest.mark.parametrize(
    ("equations", "told"),
    [
        ("x = INTEG(a, 5) \n a = b+1 \n b = c*2 \n c = a", "equations go in a circle: 'a' -> 'b' -> 'c' -> 'a'"),
        ("x = INTEG(a, 5) \n a = a+1", "equations go in a circle: 'a' -> 'a'"),
        ("x = INTEG(1, y) \n y = INTEG(1, x)", "initial values go in a circle: 'x' -> 'y' -> 'x'"),
        (
            "x = INTEG(1, SMOOTH(x, 2))",
            "initial values go in a circle: 'x #1 smooth stage 1' -> 'x' -> 'x #1 smooth stage 1'",
        ),
    ],
)
def test_a_circle_is_shown(tmp_path, equations, told):
    path = write_model(tmp_path, equations)
    assert message(path, sd.ModelError) == f"tiny: {told}; a stock or INITIAL must break it"


@pytest.mark.parametrize("second", ["A = 2", '"a" = 2'])
def test_a_name_defined_twice(tmp_path, second):
    """It was told as an array equation."""
    path = write_model(tmp_path, f"x = INTEG(a, 5) \n a = 1 \n {second}")
    assert message(path) == "tiny.mdl defines 'a' twice; keep one of them"


@pytest.mark.parametrize("control", ["FINAL TIME", "INITIAL TIME", "TIME STEP"])
def test_a_missing_control_variable(tmp_path, control):
    text = model_text("x = INTEG(1, 5)").replace(control, "something else")
    assert message(written(tmp_path, text)) == f"tiny.mdl has no '{control}'; a model states its four control variables"


@pytest.mark.parametrize(
    ("controls", "told"),
    [
        ({"step": "0"}, "TIME STEP is 0; it should be above zero"),
        ({"step": "-1"}, "TIME STEP is -1; it should be above zero"),
        ({"end": "-1"}, "FINAL TIME -1 lies before INITIAL TIME 0"),
        ({"start": "x"}, "'INITIAL TIME' depends on 'x', which varies; it should be a constant"),
        ({"start": "Time+2"}, "'INITIAL TIME' depends on 'Time', which varies; it should be a constant"),
        ({"end": "x+Time+table(1)"}, "a constant reads the lookup 'table'; give it a number"),
        ({"end": "1/0"}, "'FINAL TIME' has no finite value; give it a number"),
        ({"end": "LN(-1)"}, "'FINAL TIME' has no finite value; give it a number"),
        ({"end": "FINAL TIME"}, "'FINAL TIME' depends on itself; give it a number"),
        ({"end": "table(1)"}, "a constant reads the lookup 'table'; give it a number"),
    ],
)
def test_a_control_variable_that_is_no_constant(tmp_path, controls, told):
    path = write_model(tmp_path, "x = INTEG(1, 5) \n table((0,0),(1,1))", **controls)
    assert message(path) == f"tiny.mdl: {told}"


def test_without_a_saving_time_each_step_is_saved(tmp_path):
    text = model_text("x = INTEG(1, 5)").replace("SAVEPER", "something else")
    model = sd.load(written(tmp_path, text))
    assert model.horizon.save_every == 0.125
    assert sd.simulate(model, horizon=(0, 2), solver=sd.Euler()).times.size == 17


def test_a_saving_time_between_steps_saves_each_step():
    model = tiny("x = INTEG(1, 5)", step="0.5", save="0.75")
    assert model.notes[:1] == ("SAVEPER 0.75 is no multiple of TIME STEP 0.5; every step is saved",)
    assert sd.simulate(model, solver=sd.Euler()).times.size == 21


def test_fixed_steps_go_to_the_first_one_at_the_end_as_in_vensim():
    model = tiny("x = INTEG(1, 5)", step="0.7", save="0.7", end="6")
    assert sd.simulate(model, solver=sd.Euler()).times[-1] == pytest.approx(6.3, rel=1e-12)
    assert sd.simulate(model).times[-1] == 6.0


def test_an_end_that_moves_away_is_an_error_and_other_solvers_say_what_they_take(monkeypatch):
    model = tiny("x = INTEG(1, 5)", end="x+1", step="0.5", check_units=False)
    monkeypatch.setattr("sd_cluster.varying.MOST_STEPS", 50)
    with pytest.raises(sd.SimulationError, match="tiny: FINAL TIME is not reached after 50 steps; check its equation"):
        sd.simulate(model, solver=sd.Euler())
    run = sd.simulate(model)
    assert run.times[-1] == 6.0
    assert run.notes == ("FINAL TIME varies; this run has its value at the start, Euler() follows it",)
    shrinking = tiny("x = INTEG(-1, 5)", step="x/5", check_units=False)
    with pytest.raises(sd.SimulationError, match=r"TIME STEP is -?[\de.-]+; it should be above zero|not reached"):
        sd.simulate(shrinking, solver=sd.Euler())


def test_control_variables_may_be_expressions_of_constants():
    model = tiny("x = INTEG(1, 5) \n span = 20", end="INITIAL TIME+span", start="1980", step="1/8", save="TIME STEP")
    assert model.horizon == sd.Horizon(1980, 2000, 0.125, 0.125, "Year")


def test_an_array_over_a_range_that_is_not_there(tmp_path):
    assert message(write_model(tmp_path, "firms[region] = INTEG(1, 5)")) == (
        "tiny.mdl, variable 'firms': 'region' is neither a range nor an element"
    )


@pytest.mark.parametrize(
    ("body", "use", "told"),
    [
        ("GROW = input+1", "GROW(x, 2)", "macro grow takes 1 argument(s), here it has 2"),
        ("SHRINK = input-1", "GROW(x)", "macro grow does not define a variable of its own name, which is its value"),
        ("GROW = input+other", "GROW(x)", "macro grow: reads 'other', which the model does not define"),
        ("GROW = input+x", "GROW(x)", "macro grow: reads 'x', which the model does not define"),
    ],
)
def test_a_macro_that_cannot_be_used(tmp_path, body, use, told):
    text = model_text(f"x = INTEG(1, 5) \n z = {use}")
    assert reason(written(tmp_path, text.replace("{UTF-8}\n", "{UTF-8}\n" + MACRO.format(body=body)))) == told


def test_a_macro_that_uses_itself(tmp_path):
    text = model_text("x = INTEG(1, 5) \n z = GROW(x)")
    path = written(tmp_path, text.replace("{UTF-8}\n", "{UTF-8}\n" + MACRO.format(body="GROW = GROW(input)+1")))
    assert message(path) == "tiny.mdl, variable 'z', macro grow: macro grow uses itself without end"


ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "utf-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "latin-1 that says utf-8": lambda text: text.encode("latin-1"),
    "latin-1": lambda text: text.replace("{UTF-8}\n", "").encode("latin-1"),
    "utf-16": lambda text: text.encode("utf-16"),
    "carriage returns": lambda text: text.replace("\n", "\r\n").encode(),
    "old carriage returns": lambda text: text.replace("\n", "\r").encode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_letters_outlive_their_encoding(tmp_path, encoding):
    """Letters of a latin-1 file were dropped without a word, so two names could become one."""
    text = model_text("größe = INTEG(-größe/zeit, 5) ~ Stück \n zeit = 4 ~ Year \n größer = 1 ~ dmnl")
    model = sd.load(written(tmp_path, ENCODINGS[encoding](text)))
    assert model.stocks == ("größe",)
    assert model.variable("größe").units == "Stück"
    assert sd.simulate(model)["Größe"][-1] == pytest.approx(5 * np.exp(-2.5), rel=1e-6)


def test_an_xmile_file_in_its_declared_encoding(tmp_path):
    text = (FEATURES / "decay" / "decay.xmile").read_text(encoding="utf-8")
    text = (
        text.replace('encoding="utf-8"', 'encoding="iso-8859-1"').replace("stock", "größe").replace("<größe", "<stock")
    )
    model = sd.load(written(tmp_path, text.replace("</größe>", "</stock>").encode("latin-1"), "decay.xmile"))
    assert model.stocks == ("größe",)


def test_names_of_other_scripts_and_signs():
    model = tiny('知识 存量 = INTEG(-知识_存量/4, 5) \n "R&D, share (a)" = 知识 存量*2')
    assert model.stocks == ("知识 存量",)
    assert sd.simulate(model)["r&d, SHARE_(a)"][0] == 10


HOSTILE = (
    "\"__import__('os').system('touch broken')\"",
    '"); import os; os.abort() #"',
    "\"'''+open(1)+'''\"",
    "lambda",
    "None",
    "p",
    "clock",
    '"v0 = 3"',
    '"{x}"',
)


@pytest.mark.parametrize(("name", "backend"), [*((name, "python") for name in HOSTILE), (HOSTILE[0], "numba")])
def test_a_name_is_never_run(tmp_path, monkeypatch, name, backend):
    monkeypatch.chdir(tmp_path)
    model = tiny(f"{name} = INTEG(rate, 5) \n rate = {name}*2")
    run = sd.simulate(model, solver=sd.Euler(), backend=backend)
    assert run.values[0, :2].tolist() == [5, 10]
    sd.simulate(model, solver=sd.Adaptive(method="BDF"))
    assert len(model.symbolic().rates) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_entity_of_an_xmile_file_reads_no_other_file(tmp_path):
    secret = written(tmp_path, "12345", "secret.txt")
    text = (FEATURES / "decay" / "decay.xmile").read_text(encoding="utf-8")
    entity = f'<!DOCTYPE xmile [<!ENTITY e SYSTEM "{secret.as_uri()}">]>\n<xmile'
    path = written(tmp_path, text.replace("<xmile", entity, 1).replace("<eqn>4</eqn>", "<eqn>&e;</eqn>"), "d.xmile")
    try:
        model = sd.load(path)
    except sd.ReadingError:
        return
    assert "12345" not in repr(model)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_written_beside_the_model(tmp_path, name):
    for source in (FEATURES / name).iterdir():
        if source.suffix != ".csv":
            copy = tmp_path / source.name
            copy.write_bytes(source.read_bytes())
            before = (sorted(os.listdir(tmp_path)), copy.stat().st_mtime_ns)
            sd.simulate(sd.load(copy), solver=sd.Euler())
            assert (sorted(os.listdir(tmp_path)), copy.stat().st_mtime_ns) == before


def test_suffixes_in_capitals_and_other_names_of_xmile(tmp_path):
    for name in ("A.MDL", "a.xml", "a.stmx", "a.XMILE"):
        source = FEATURES / "decay" / ("decay.mdl" if name == "A.MDL" else "decay.xmile")
        assert sd.load(written(tmp_path, source.read_bytes(), name)).stocks == ("stock",)


def test_points_of_a_lookup_are_put_in_order():
    model = tiny("x = INTEG(1, 1) \n falling((2,0),(0,1))")
    (table,) = model.of_kind(Table)
    assert (table.x, table.y) == ((0.0, 2.0), (1.0, 0.0))
    told = "the points of its lookup were not in order of x; they are read in that order"
    assert f"'falling': {told}" in model.notes


def test_a_run_of_equations_is_read_as_written():
    model = tiny("x = INTEG(a-b-x, 5) \n a = 3 \n b = -2 \n c = a/b/x*2^-x")
    assert model.table().loc["x", "equation"] == "integ(a - b - x, 5)"
    assert model.table().loc["c", "equation"] == "a / b / x * 2 ^ (-x)"
    assert model.table().loc["b", "value"] == -2


def test_data_held_from_the_time_before_do_not_see_half_a_step_ahead(tmp_path):
    """With a step of 1, data at 0.3 were read at 0 already: what is held was looked up in the middle of the step."""
    (tmp_path / "data.csv").write_text("time,x\n-1,5\n0.3,7\n2,9\n")
    held = "GET DIRECT DATA('data.csv', ',', 'A', 'B2')"
    path = write_model(tmp_path, f"x :HOLD BACKWARD: := {held} \n s = INTEG(x, 0)", step="1", end="3")
    for solver in (sd.Euler(), sd.RungeKutta4()):
        assert sd.simulate(sd.load(path, check_units=False), solver=solver)["x"].tolist() == [5, 7, 9, 9]


def test_series_as_vensim_lists_them(tmp_path):
    path = write_model(tmp_path, "A: A1, A2 \n x[A] \n y \n z = INTEG(y + SUM(x[A!]), 0)")
    listed = tmp_path / "run.dat"
    listed.write_text('x[A1]\n0\t1\n4\t5\n"x[A2]"\n0\t2\ny\n0\t3\n2\t5\n')
    run = sd.simulate(sd.load(path, check_units=False, data=listed))
    assert [run[name][2] for name in ("x[A1]", "x[A2]", "y")] == [3, 2, 5]
    listed.write_text("x[A1]\n0\t1\n4\tfive\n")
    with pytest.raises(sd.ReadingError, match=r"'4 five' is neither a name alone nor a time and a value$"):
        sd.load(path, data=listed)


def old_book(path, rows):
    """A book of one sheet in Excel's oldest binary format, record by record."""
    records = [struct.pack("<HHHH", 0x0009, 4, 2, 0x0010)]
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            head = struct.pack("<HH3s", i, j, b"\0\0\0")
            if isinstance(cell, str):
                body = head + bytes([len(cell)]) + cell.encode()
                records.append(struct.pack("<HH", 0x0004, len(body)) + body)
            else:
                body = head + struct.pack("<d", cell)
                records.append(struct.pack("<HH", 0x0003, len(body)) + body)
    path.write_bytes(b"".join([*records, struct.pack("<HH", 0x000A, 0)]))


def test_books_in_excels_old_format(tmp_path, monkeypatch):
    old_book(tmp_path / "old.xls", [["time", "x"], [0.0, 1.0], [4.0, 5.0]])
    path = write_model(
        tmp_path,
        "x := GET XLS DATA('old.xls', 'Sheet 1', 'A', 'B2') \n c = GET XLS CONSTANTS('old.xls', 'Sheet 1', 'B3')"
        " \n s = INTEG(x, 0) \n z = INTEG(1, 0)",
    )
    run = sd.simulate(sd.load(path, check_units=False), solver=sd.Euler())
    assert (run["x"][2], run["c"][0]) == (3, 5)
    (tmp_path / "old.xls").write_bytes(b"nothing of the kind")
    assert "'old.xls' is not an Excel file" in partly_read(path).unsupported["x"]
    monkeypatch.setitem(sys.modules, "xlrd", None)
    assert partly_read(path).unsupported["x"] == (
        "'old.xls' is in Excel's old format; install 'sd-cluster[xls]', or save it as .xlsx"
    )


@pytest.mark.parametrize("backend", ["python", "numba"])
def test_a_lookup_with_two_points_at_its_ends_jumps_there(backend):
    """It was refused."""
    model = tiny("x = INTEG(1, -1) \n z = WITH LOOKUP(x, ((0,3),(0,0),(2,1),(2,5)))", end="4", step="0.5", save="0.5")
    run = sd.simulate(model, solver=sd.Euler(), backend=backend)
    np.testing.assert_allclose(run["z"], [3, 3, 3, 0.25, 0.5, 0.75, 5, 5, 5], rtol=1e-15)


def test_a_lookup_with_two_points_at_one_place_jumps_there():
    model = tiny("x = INTEG(1, 0) \n z = WITH LOOKUP(x, ((0,0),(2,1),(2,5),(4,6)))", end="4", step="0.5", save="0.5")
    assert model.notes[0] == "'z': a lookup has two points at 2; it jumps there"
    for backend in ("python", "numba"):
        run = sd.simulate(model, solver=sd.Euler(), backend=backend)
        np.testing.assert_allclose(run["z"], [0, 0.25, 0.5, 0.75, 5, 5.25, 5.5, 5.75, 6], rtol=1e-15)


def xmile(folder, variables, name="tiny.xmile", doctype="", model="", saving=""):
    """An XMILE file of some variables over four years."""
    return written(
        folder,
        f'<?xml version="1.0"?>\n{doctype}<xmile version="1.0" xmlns="http://docs.oasis-open.org/xmile/ns/XMILE/v1.0">'
        f'<sim_specs time_units="Year"{saving}><start>0</start><stop>4</stop><dt>1</dt></sim_specs>'
        f"<model>{model}<variables>{variables}</variables></model></xmile>",
        name,
    )


def test_what_stands_behind_a_comment_in_xml_counts(tmp_path):
    """An element's text ended at the first comment or instruction: `2<!-- two -->+3` was 2."""
    path = xmile(
        tmp_path,
        '<aux name="a"><eqn>2<!-- two -->+3</eqn></aux>'
        '<aux name="b"><eqn>TIME</eqn><gf><xscale min="0" max="2"/><ypts>0,5<!-- last -->,10</ypts></gf></aux>'
        '<stock name="S"><eqn>5<?say no?>0</eqn><inflow><!-- c -->f</inflow></stock>'
        '<flow name="f"><eqn>a</eqn><units>wid<!-- x -->get</units></flow>',
    )
    model = sd.load(path, check_units=False)
    run = sd.simulate(model, solver=sd.Euler())
    assert run["a"].tolist() == [5.0] * 5
    assert run["b"].tolist() == [0.0, 5.0, 10.0, 10.0, 10.0]
    assert run["S"].tolist() == [50.0, 55.0, 60.0, 65.0, 70.0]
    assert model.variable("f").units == "widget"


def test_an_entity_is_refused_by_its_name(tmp_path):
    """`2&r;` lost what the entity stands for and was 2."""
    variables = '<aux name="a"><eqn>2&r;</eqn></aux><aux name="b"><eqn>a+TIME</eqn></aux>'
    path = xmile(tmp_path, variables, doctype='<!DOCTYPE xmile [<!ENTITY r "00">]>\n')
    told = "tiny.xmile defines the entity 'r', which is not read; write its text where it is used"
    assert message(path) == told


@pytest.mark.parametrize("backend", ["python", "numba"])
def test_whole_numbers_rests_and_ratios_have_the_meaning_of_their_format(tmp_path, backend):
    """XMILE's INT, MOD and SAFEDIV had Vensim's meaning, which differs for negative numbers and near zero."""
    parts = {
        "a": ("-7 MOD 3 + 0*TIME", 2.0),
        "b": ("INT(-3.5 + 0*TIME)", -4.0),
        "c": ("SAFEDIV(1e-9, 1e-8 + 0*TIME)", 0.1),
        "d": ("1e-9//(1e-8 + 0*TIME)", 0.1),
        "e": ("7 MOD -3 + 0*TIME", -2.0),
        "f": ("SAFEDIV(1, 0*TIME, 5) + 1//(0*TIME)", 5.0),
        "g": ("MODULO(-7, 3) + 0*TIME", -1.0),
        "h": ("INT(3.5 + 0*TIME) + 7 MOD 3", 4.0),
    }
    path = xmile(tmp_path, "".join(f'<aux name="{name}"><eqn>{text}</eqn></aux>' for name, (text, _) in parts.items()))
    model = sd.load(path)
    run = sd.simulate(model, solver=sd.Euler(), backend=backend)
    assert {name: run[name][-1] for name in parts} == {name: value for name, (_, value) in parts.items()}
    assert sd.write(model, tmp_path / "back.mdl").difference < 1e-15
    theirs = tiny("w = INTEGER(-2.5) \n v = INTEGER(w - 0.5) \n x = INTEG(v, MODULO(-7, 3))")
    assert sd.write(theirs, tmp_path / "there.xmile").difference == 0.0


def test_cells_that_are_not_there_are_not_missing_values(tmp_path):
    """Cells outside the sheet, in row 0, and formulas that nobody has computed were read as Vensim's missing value."""
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append([5, None, "=A1*2"])
    book.active.append([6, 7, "=A2*2"])
    book.save(tmp_path / "w.xlsx")
    (tmp_path / "c.csv").write_text("1,2,3\n4,,6\n")
    path = write_model(
        tmp_path,
        "a = GET DIRECT CONSTANTS('c.csv', ',', 'B2') \n b = GET DIRECT CONSTANTS('c.csv', ',', 'Z99')"
        " \n c = GET DIRECT CONSTANTS('c.csv', ',', 'A0') \n d = GET XLS CONSTANTS('w.xlsx', 'Sheet', 'C2')"
        " \n e = GET XLS CONSTANTS('w.xlsx', 'Sheet', 'A3') \n f := GET XLS DATA('w.xlsx', 'Sheet', 'A', 'C1')"
        " \n g = GET XLS CONSTANTS('w.xlsx', 'Sheet', 'B1') \n x = INTEG(1, 0)",
    )
    model = partly_read(path)
    assert model.unsupported == {
        "b": "'c.csv' cell Z99 lies outside the sheet, which has 2 rows and 3 columns",
        "c": "'c.csv' has no cell A0; rows are counted from 1",
        "d": "'w.xlsx' sheet 'Sheet' cell C2 holds a formula without its value; open the book in Excel, and save it",
        "e": "'w.xlsx' sheet 'Sheet' cell A3 lies outside the sheet, which has 2 rows and 3 columns",
        "f": "'w.xlsx' sheet 'Sheet' cell C1 holds a formula without its value; open the book in Excel, and save it",
    }
    assert model.variable("a").value == model.variable("g").value == -(2.0**109)


def test_cells_of_elements_that_an_equation_leaves_out_are_not_read(tmp_path):
    (tmp_path / "c.csv").write_text("1,2\n")
    path = write_model(
        tmp_path,
        "D: d1, d2, d3 \n a[D] :EXCEPT: [d3] = GET DIRECT CONSTANTS('c.csv', ',', 'A1') \n a[d3] = 7"
        " \n x = INTEG(1, 0)",
    )
    model = sd.load(path, check_units=False)
    assert [model.variable(f"a[d{place}]").value for place in (1, 2, 3)] == [1, 2, 7]


@pytest.mark.parametrize("part", ["sheet1", "workbook.xml", "table"])
def test_a_truncated_book_or_a_table_of_one_word_is_one_error(tmp_path, part):
    """Each ended in a traceback of the package that reads it."""
    import zipfile

    import openpyxl

    book = openpyxl.Workbook()
    book.active["A1"] = 5
    book.save(tmp_path / "whole.xlsx")
    with zipfile.ZipFile(tmp_path / "whole.xlsx") as whole, zipfile.ZipFile(tmp_path / "cut.xlsx", "w") as cut:
        for name in whole.namelist():
            data = whole.read(name)
            cut.writestr(name, data[:-60] if part in name else data)
    (tmp_path / "long.csv").write_text("x" * 200_000 + ",1\n")
    source = "'long.csv', ','" if part == "table" else "'cut.xlsx', 'Sheet'"
    path = write_model(tmp_path, f"a = GET DIRECT CONSTANTS({source}, 'A1') \n x = INTEG(1, 0)")
    told = partly_read(path).unsupported["a"]
    assert "cut.xlsx' is" in told or "'long.csv' is not a table" in told
    if part == "table":
        with pytest.raises(sd.ReadingError, match=r"^'long\.csv' is not a table"):
            sd.load(path, check_units=False, data=tmp_path / "long.csv")


def test_the_list_of_functions_stands_once_in_a_report(tmp_path):
    """Each variable that could not be read repeated it, and data inside an expression were called unknown."""
    path = write_model(
        tmp_path,
        "a = SQRTT(1) \n b = SQRRT(2) \n c = GET XLS CONSTANTS('w.xlsx', 'Sheet', 'A2')*2 \n x = INTEG(1, 0)",
    )
    report = partly_read(path).report()
    assert str(report).count("supported: ") == 1
    told = "GET XLS CONSTANTS stands inside an expression; give what it reads a variable of its own"
    assert report.unsupported["c"] == told


def test_names_that_look_like_inner_variables_or_elements(tmp_path):
    """What stands behind ` #` was cut off, so that other variables were disabled; `"k[d1]"` replaced an element."""
    path = write_model(
        tmp_path,
        '"price #2" = NOSUCHFN(3) \n price = 7 \n worth = price*2 \n "cost #3" = Time/1 \n cost = "price #2"'
        ' \n x = INTEG(worth, 5)\n z = "cost #3"',
    )
    model = partly_read(path)
    assert set(model.unsupported) == {"price #2", "cost"}
    assert sd.simulate(model, solver=sd.Euler())["z"][-1] == 10.0
    array = tiny('D: d1, d2 \n "p #2"[D] = 1, 2 \n w = SUM("p #2"[D!]) \n x = INTEG(w, 5)', check_units=False)
    assert "p #2" in array.arrays
    twice = write_model(tmp_path, 'D: d1, d2 \n "k[d1]" = 50 \n k[D] = 1, 2 \n x = INTEG(k[d1], 5)')
    assert "a variable and an element of an array are both called 'k[d1]'; rename one of them" in message(twice)


def test_outflows_take_no_more_than_a_stock_holds(tmp_path):
    """An outflow of a stock that stops at zero went on bringing material elsewhere."""
    stocks = '<stock name="S"><eqn>5</eqn><outflow>f</outflow><outflow>g</outflow><non_negative/></stock>'
    stocks += '<stock name="T"><eqn>1</eqn><inflow>f</inflow><outflow>h</outflow><non_negative/></stock>'
    stocks += '<stock name="U"><eqn>0</eqn><inflow>g</inflow><inflow>h</inflow></stock>'
    stocks += '<flow name="f"><eqn>wish*1.7</eqn></flow><flow name="g"><eqn>2.3</eqn><non_negative/></flow>'
    stocks += '<flow name="h"><eqn>0.9*TIME</eqn></flow><aux name="wish"><eqn>1</eqn></aux>'
    model = sd.load(xmile(tmp_path, stocks + '<aux name="sum"><eqn>S+T+U</eqn></aux>'), check_units=False)
    assert not [note for note in model.notes if "below zero" in note]
    for solver in (sd.Euler(), sd.RungeKutta4(), sd.Adaptive()):
        run = sd.simulate(model, solver=solver)
        assert abs(run["sum"] - 6.0).max() < 1e-9 if isinstance(solver, sd.Adaptive) else 1e-12
        assert min(run[name].min() for name in "STUfgh") >= 0.0
        assert run["S"][-1] < 0.5
    draws = sd.Space({"wish": (0, 3)}).sample(4, seed=1)
    found = sd.sweep(model, draws, outputs=["sum"], solver=sd.Euler())
    assert abs(found.dataset()["sum"] - 6.0).max() < 1e-12


def test_inflows_that_depend_on_an_outflow_are_named(tmp_path):
    """Two stocks that feed each other would make their limits go in a circle."""
    stocks = '<stock name="S"><eqn>5</eqn><inflow>back</inflow><outflow>f</outflow><non_negative/></stock>'
    stocks += '<stock name="T"><eqn>0</eqn><inflow>f</inflow><outflow>back</outflow><non_negative/></stock>'
    flows = '<flow name="f"><eqn>9</eqn></flow><flow name="back"><eqn>2</eqn></flow>'
    model = sd.load(xmile(tmp_path, stocks + flows), check_units=False)
    (note,) = (note for note in model.notes if "below zero" in note)
    assert note.endswith("depend on these outflows: 'S' without 'back', 'T' without 'f'")
    run = sd.simulate(model, solver=sd.Euler())
    assert (list(run["S"][:3]), list(run["T"][:3])) == ([5.0, 0.0, 2.0], [0.0, 5.0, 3.0])
    assert (list(run["f"][:3]), list(run["back"][:3])) == ([5.0, 0.0, 2.0], [0.0, 2.0, 2.0])


def test_a_stock_whose_first_value_reads_its_outflow_is_cut_while_it_runs(tmp_path):
    """The limit of an outflow that the stock's initial value reads made a circle."""
    stock = '<stock name="S"><eqn>2*f</eqn><outflow>g</outflow><outflow>f</outflow><non_negative/></stock>'
    flows = '<flow name="f"><eqn>1.5</eqn></flow><flow name="g"><eqn>f/3</eqn></flow>'
    run = sd.simulate(sd.load(xmile(tmp_path, stock + flows), check_units=False), solver=sd.Euler())
    assert list(run["S"][:4]) == [3.0, 1.0, 0.0, 0.0]
    assert list(run["f"][:4]) == [1.5, 1.0, 0.0, 0.0], "it comes before the flow that is computed from it"


def test_a_stock_whose_elements_have_flows_of_their_own_is_named(tmp_path):
    """A stock that stops at zero while its outflows are not cut must say so."""
    stock = '<stock name="S"><dimensions><dim name="D"/></dimensions>'
    for name in "ab":
        stock += f'<element subscript="{name}"><eqn>5</eqn><outflow>f{name}</outflow><non_negative/></element>'
    stock += "<non_negative/></stock>"
    stock += '<stock name="T"><eqn>0</eqn><inflow>fa</inflow></stock>'
    flows = "".join(f'<flow name="f{name}"><eqn>3</eqn></flow>' for name in "ab")
    path = xmile(tmp_path, stock + flows)
    dims = '<dimensions><dim name="D"><elem name="a"/><elem name="b"/></dim></dimensions>'
    path.write_text(path.read_text(encoding="utf-8").replace("<model>", dims + "<model>", 1), encoding="utf-8")
    (note,) = (note for note in sd.load(path, check_units=False).notes if "below zero" in note)
    assert note.startswith("stocks that may not fall below zero: 'S'; such a stock stops at zero")


def test_files_chosen_when_vensim_runs_are_given_on_loading(tmp_path):
    """A model with `?history` could not be read without writing it anew."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "years.csv").write_text("time,0,10\nwater,1,21\n", encoding="utf-8")
    path = write_model(tmp_path, "water := GET DIRECT DATA('?history', ',', '1', 'B2') \n x = INTEG(water, 5)")
    told = message(path)
    assert told.endswith(
        "the file '?history' is chosen when Vensim runs; give it: sd.load(..., files={'?history': path})"
    )
    model = sd.load(path, check_units=False, files={"?history": tmp_path / "other" / "years.csv"})
    assert sd.simulate(model, solver=sd.Euler())["water"].tolist() == [2 * year + 1 for year in range(11)]
    with pytest.raises(sd.ReadingError, match=r"there is no file 'gone\.csv', which files= gives for '\?history'$"):
        sd.load(path, files={"?history": "gone.csv"})


def test_data_without_an_equation_are_looked_for_beside_the_model(tmp_path):
    """A model with its data beside it could not be run without saying so."""
    path = write_model(tmp_path, "A: a1, a2 \n rain[A] \n x = INTEG(SUM(rain[A!]), 5)")
    assert "no data for 'rain[a1]'" in message(path)
    (tmp_path / "notes.txt").write_text("no table at all", encoding="utf-8")
    (tmp_path / "output.tab").write_text("Time\tx\train[a1]\train[a2]\n0\t5\t8\t8\n10\t5\t8\t8\n", encoding="utf-8")
    (tmp_path / "rain.csv").write_text("time,rain[a1],rain[a2]\n0,1,2\n10,1,2\n", encoding="utf-8")
    model = sd.load(path, check_units=False)
    assert model.notes[0] == "'rain' has no equation; its data are those of 'rain.csv' beside the model"
    assert sd.simulate(model, solver=sd.Euler())["x"][-1] == 35
    given = sd.load(path, check_units=False, data=tmp_path / "output.tab")
    assert sd.simulate(given, solver=sd.Euler())["x"][-1] == 165


def test_a_left_hand_side_that_cannot_be_read_disables_its_variable(tmp_path):
    """One such equation made a whole file unreadable."""
    model = partly_read(write_model(tmp_path, "3rd party = 1 \n x = INTEG(2, 0)"))
    assert model.unsupported == {"3rd party": "cannot read '3rd party = 1'; an equation is 'name = expression'"}
    assert sd.simulate(model, solver=sd.Euler())["x"][-1] == 20.0


def test_an_array_that_means_nothing_for_an_element_disables_what_depends_on_it(tmp_path):
    """A range on the right-hand side that stands for no element made a whole file unreadable."""
    equations = "A: A1, A2, A3 \n B: B1, B2 \n b[B] = 1, 2 \n y[A] = b[B] \n z = SUM(y[A!]) \n x = INTEG(2, 0)"
    partial = "p[A1] = 1 \n q[A] = p[A]+x \n d[A] = x \n d[A] = x"
    model = partly_read(write_model(tmp_path, f"{equations} \n {partial}"))
    assert set(model.unsupported) == {"y", "z", "q", "d"}
    assert model.unsupported["y"].startswith("'y[A1]': 'B' on the right-hand side stands for no one element")
    assert model.unsupported["z"] == "it depends on 'y'"
    assert model.unsupported["q"] == "'q[A2]' reads 'p[A2]', which no equation defines"
    assert sd.simulate(model, solver=sd.Euler())["x"][-1] == 20.0


def test_exceptions_with_blanks_around_their_word():
    """`x[A] : EXCEPT : [A1] = 5` was read as a range called x."""
    model = tiny("A: A1, A2 \n x[A] : EXCEPT : [A1] = 5 \n x[A1] = 3 \n y = INTEG(x[A2], x[A1])")
    assert sd.simulate(model, solver=sd.Euler())["y"][-1] == 53.0


def test_a_series_of_numbers_alone():
    """`(2000-2003)` made a whole file unreadable."""
    model = tiny("year: (2000-2003) \n x[year] = 1, 2, 3, 4 \n y = INTEG(x[2001], REINITIAL(x[2003]+Time))")
    assert sd.simulate(model, solver=sd.Euler())["y"][-1] == 24.0


def test_a_lookup_given_to_a_macro(tmp_path):
    """A macro that takes a lookup among its arguments was not read."""
    macro = ":MACRO: AT(curve, place)\nAT = curve(place)+LOOKUP INVERT(curve, 20)\n~~|\n:END OF MACRO:\n"
    equations = "A: A1, A2 \n t((0,0),(10,100)) \n s[A1]((0,0),(10,50)) \n s[A2]((0,0),(10,40))"
    uses = "x = AT(t, Time) \n y[A] = AT(s[A], Time) \n z = AT(s[A2], Time) \n w = INTEG(x, 0)"
    model = sd.load(written(tmp_path, macro + model_text(f"{equations} \n {uses}")), check_units=False)
    run = sd.simulate(model, solver=sd.Euler())
    year = run.times
    assert run["x"].tolist() == (10.0 * year + 2.0).tolist()
    assert run["y[A1]"].tolist() == (5.0 * year + 4.0).tolist()
    assert run["y[A2]"].tolist() == run["z"].tolist() == (4.0 * year + 5.0).tolist()


def test_constants_of_an_array_within_a_macro_that_an_array_uses(tmp_path):
    """The numbers were looked for among all elements of both: an IndexError."""
    macro = ":MACRO: WEIGHED(part)\nWEIGHED = SUM(share[B!])*part\n~~|\nshare[B] = 1, 2\n~~|\n:END OF MACRO:\n"
    equations = "A: A1, A2, A3 \n B: B1, B2 \n y[A] = WEIGHED(A) \n w = INTEG(y[A3], 0)"
    model = sd.load(written(tmp_path, macro + model_text(equations)), check_units=False)
    assert sd.simulate(model, solver=sd.Euler())["w"][-1] == 90.0


def test_an_offset_beyond_an_array_gives_the_missing_value():
    """VECTOR ELM MAP outside its array was no number, which ended the run."""
    model = tiny("A: A1, A2 \n x[A] = 1, 2 \n y[A] = VECTOR ELM MAP(x[A1], A) \n z = INTEG(x[A1], 0)")
    run = sd.simulate(model, solver=sd.Euler())
    assert (run["y[A1]"][-1], run["y[A2]"][-1]) == (2.0, -(2.0**109))


def test_names_of_cells_that_look_like_columns_and_a_range_of_one_element(tmp_path):
    """Cells named `times` were read as the column TIMES, and a range of one element did not count as a range."""
    import openpyxl
    from openpyxl.workbook.defined_name import DefinedName

    book = openpyxl.Workbook()
    for row in ([0, 5, 10], [1, 6, 11], [2, 7, 12]):
        book.active.append(row)
    for name, cells in {"times": "$A$1:$C$1", "tc": "$A$3:$C$3"}.items():
        book.defined_names[name] = DefinedName(name, attr_text=f"Sheet!{cells}")
    book.save(tmp_path / "cells.xlsx")
    path = write_model(
        tmp_path,
        "A: A1, A2, A3 \n B: B1 \n d := GET DIRECT DATA('Cells.XLSX', 'Sheet', 'times', 'tc') \n w = INTEG(d, 0)"
        " \n down[A,B] = GET XLS CONSTANTS('cells.xlsx', 'Sheet', 'A1') \n"
        " across[A,B1] = GET XLS CONSTANTS('cells.xlsx', 'Sheet', 'A1') \n"
        " turned[B,A] = GET XLS CONSTANTS('cells.xlsx', 'Sheet', 'A1*')",
    )
    run = sd.simulate(sd.load(path, check_units=False), solver=sd.Euler())
    assert run["d"].tolist() == [2.0 + year for year in range(11)]
    assert run["down"].values[-1].ravel().tolist() == [0.0, 1.0, 2.0]
    assert run["across"].values[-1].ravel().tolist() == [0.0, 5.0, 10.0]
    assert run["turned"].values[-1].ravel().tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("M = SUM(k[A!]) | k[A] = input*A", [3, 6]),
        ("M = k[a1]+10*k[a2] | k[A] = input*A", [21, 42]),
        ("M = SUM(z[A!]) | k[A] = input*A | z[A] = k[A]+1", [5, 8]),
        ("M = SUM(k[A!])+input | k[a1] = input*5 | k[a2] = input*7", [13, 26]),
        ("M = SUM(k[A!]) | k[A] = INTEG(0, input*A)", [3, 6]),
    ],
)
def test_a_macro_has_arrays_over_the_range_of_its_caller(tmp_path, body, expected):
    """The caller's elements were taken for those of the macro's own array: wrong numbers."""
    text = model_text("A: a1, a2 \n y[A] = M(x[A]) \n x[A] = 1, 2 \n s = INTEG(SUM(y[A!]), 0)")
    lines = "".join(f"{line}\n\t~\t\n\t~\t\n\t|\n" for line in body.split(" | "))
    path = written(tmp_path, text.replace("{UTF-8}\n", "{UTF-8}\n:MACRO: M(input)\n" + lines + ":END OF MACRO:\n"))
    run = sd.simulate(sd.load(path, check_units=False), solver=sd.Euler())
    assert [run["y[a1]"][0], run["y[a2]"][0]] == expected


@pytest.mark.parametrize("count", [149, 151, 1000])
def test_a_long_sum_is_a_sum(tmp_path, count):
    """More than 150 terms in a row made a file unreadable."""
    signs = ["-" if place % 5 == 3 else "+" for place in range(count)]
    terms = "".join(f"{sign} a*{place}" if place % 2 else f"{sign} b" for place, sign in enumerate(signs))
    equations = f"a = 2 \n b = 3 \n total = {terms} \n above = IF THEN ELSE({terms} > 7, 1, 0)*5 \n x = INTEG(total, 0)"
    run = sd.simulate(sd.load(write_model(tmp_path, equations), check_units=False), solver=sd.Euler())
    exact = sum((-1 if sign == "-" else 1) * (2 * place if place % 2 else 3) for place, sign in enumerate(signs))
    assert run["total"][-1] == exact and run["above"][-1] == 5


def test_a_function_of_a_whole_vector_of_many_elements_says_so(tmp_path):
    """It reads all elements for each one: 3,000 of them were not read within a quarter of an hour."""
    equations = "D: (d1-d600) \n v[D] = D \n sorted[D] = VECTOR SORT ORDER(v[D], 1) \n x = INTEG(1, 0)"
    model = partly_read(write_model(tmp_path, equations))
    assert list(model.unsupported) == ["sorted"]
    told = "sorted order reads all elements for each one, which makes more than 250000 terms here; take fewer elements"
    assert model.unsupported["sorted"].endswith(told)
