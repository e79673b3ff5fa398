"""Writing: what is written reads back and runs the same, or the error says what the other format cannot hold."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
from support import ALL, FEATURES, feature, tiny

import sd_cluster as sd
from sd_cluster.model import CONTROLS

NO_FORM = {
    "array_ageing_chain": "a range that maps to another has no form in XMILE",
    "array_mapping": "a range that maps to another has no form in XMILE",
    "xmile_places_by_expressions": "an element at a place that an expression gives has no form in Vensim",
    "array_places_in_families": "the place of an element within a sum has no form in XMILE",
    "array_mapping_of_elements": "a range that maps to another has no form in XMILE",
    "end_step_and_saving_that_vary": "a control variable that varies has no form in XMILE",
    "xmile_macro_with_defaults": "a macro whose inputs may be left out has no form in Vensim",
    "xmile_functions_of_stella": "a function of Stella has no form in Vensim",
    "macro_with_outputs": "a macro with further outputs has no form in XMILE",
    "pulses": "PULSE TRAIN has no form in XMILE",
    "switches": "PULSE TRAIN has no form in XMILE",
    "xmile_graph_of_a_variable_read_elsewhere": "the graph of a variable that another one reads has no form in Vensim",
    "xmile_graphs_of_three_kinds": "a lookup of type 'extrapolate' has no form in Vensim",
    "xmile_pulses": "XMILE's PULSE has no form in Vensim",
    "xmile_stock_that_stays_above_zero": "a stock that may not fall below zero has no form in Vensim",
    "xmile_stocks_that_run_empty": "a stock that may not fall below zero has no form in Vensim",
}


@pytest.mark.parametrize("name", [*ALL, *sd.models()])
def test_a_written_model_reads_back_and_runs_the_same(tmp_path, name):
    model = sd.load(name, sizes={"member": 9}) if name == "cluster_network" else feature(name)
    if name in ALL:
        for file in (FEATURES / name).iterdir():
            shutil.copy(file, tmp_path)
    for suffix in (".mdl", ".xmile"):
        path, told = tmp_path / f"again{suffix}", NO_FORM.get(name, "")
        told = "data from another file have no form in XMILE" if "_from_" in name or name.startswith("data_") else told
        if told.endswith({".mdl": "Vensim", ".xmile": "XMILE"}[suffix]) and name != "elements_from_a_table":
            with pytest.raises(sd.ModelError, match=re.escape(f"cannot be written: {told}")):
                sd.write(model, path)
            continue
        written = sd.write(model, path)
        assert written.difference < 1e-12, str(written)
        again = sd.load(written.path)
        assert set(model.stocks) == set(again.stocks)
        for variable in model.equations:
            if (
                variable.name in again
                and not variable.hidden
                and variable.name not in CONTROLS
                and "[" not in variable.name
            ):
                there = again.variable(variable.name)
                assert (there.note, there.low, there.high) == (variable.note, variable.low, variable.high)


def test_a_vensim_file_written_as_vensim_means_the_same_equations(tmp_path):
    for name in ("collective_learning", "macros", "logic", "array_exceptions", "precedence"):
        model = feature(name)
        again = sd.load(sd.write(model, tmp_path / f"{model.name}.mdl").path)
        assert again.equations == model.equations
        assert again.digest == model.digest


def test_the_report_of_what_was_written(tmp_path):
    written = sd.write(feature("decay"), tmp_path / "decay.xmile")
    assert str(written) == f"{tmp_path / 'decay.xmile'}: read back and run, it differs by at most 0.0e+00"


@pytest.mark.parametrize(
    ("path", "told"), [("x.txt", "'x.txt' should end in .mdl, .xmile, .xml or .stmx"), ("", "'' should end")]
)
def test_a_file_of_no_known_kind(path, told):
    with pytest.raises(sd.ModelError, match=told):
        sd.write(feature("decay"), path)


def test_a_model_that_no_file_says():
    model = tiny("x = INTEG(1, 5)")
    bare = sd.Model(model.name, model.source, model.equations, model.horizon)
    with pytest.raises(sd.ModelError, match="did not come from a file"):
        sd.write(bare, "x.mdl")


def test_a_file_that_does_not_read_back_leaves_what_was_there(tmp_path, monkeypatch):
    """The file was replaced before anybody knew that the new one could be read."""
    path = tmp_path / "keep.xmile"
    path.write_text("precious")
    monkeypatch.setattr("sd_cluster.scribe_xmile.XmileScribe.text", lambda self: "<xmile/>")
    told = r"^decay was not written: it does not read back: keep\.xmile is not a model"
    with pytest.raises(sd.ModelError, match=told):
        sd.write(feature("decay"), path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_the_saving_time_is_kept(tmp_path):
    """SAVEPER was lost in XMILE, so that each step was saved."""
    again = sd.load(sd.write(tiny("x = INTEG(1, 5)"), tmp_path / "saving.xmile").path)
    assert (again.horizon.step, again.horizon.save_every) == (0.125, 1.0)


def test_an_element_with_a_comma_is_named(tmp_path):
    """XMILE parts subscripts by commas, so that such an array did not read back."""
    model = tiny('B: "b,1", b2 \n y[B] = 3, 4 \n x = INTEG(y[b2], 5)', check_units=False)
    with pytest.raises(sd.ModelError, match=r"'B' cannot be written: its element 'b,1' holds a comma"):
        sd.write(model, tmp_path / "comma.xmile")


def test_what_is_no_number_in_one_run_alone_is_a_difference():
    """A difference that is no number was taken for none."""
    from sd_cluster.writing import _difference

    run = sd.simulate(tiny("x = INTEG(1, 5)"), solver=sd.Euler())
    broken = run.values.copy()
    broken[-1, run.names.index("x")] = float("nan")
    assert _difference(run, dataclasses.replace(run, values=broken)) == (float("inf"), "x")


def test_the_shipped_xmile_file_is_what_is_written_of_the_shipped_model(tmp_path):
    model = sd.load("collective_learning")
    sd.write(model, tmp_path / "collective_learning.xmile")
    shipped = Path(model.source).with_suffix(".xmile")
    assert shipped.read_text(encoding="utf-8") == (tmp_path / "collective_learning.xmile").read_text(encoding="utf-8")
