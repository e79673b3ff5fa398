"""Files as Stella and others write them: what they leave out, add, and put elsewhere than the standard says."""

import math
import warnings

import pytest

import sd_cluster as sd

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<xmile version="1.0" xmlns="http://docs.oasis-open.org/xmile/ns/XMILE/v1.0">'
SPECS = '<sim_specs time_units="Year"><start>0</start><stop>4</stop><dt>1</dt></sim_specs>'
DIMS = '<dimensions><dim name="R"><elem name="A"/><elem name="B"/></dim></dimensions>'


def aux(name, equation, more=""):
    return f'<aux name="{name}"><eqn>{equation}</eqn>{more}</aux>'


def array(name, inside, tag="aux"):
    return f'<{tag} name="{name}"><dimensions><dim name="R"/></dimensions>{inside}</{tag}>'


def text(variables, *, behind="", specs=SPECS, head=HEAD, dims=DIMS):
    return f"{head}{specs}{dims}<model><variables>{variables}</variables></model>{behind}</xmile>"


def loaded(folder, content):
    path = folder / "tiny.stmx"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return sd.load(path, check_units=False)


def run(folder, variables, **options):
    return sd.simulate(loaded(folder, text(variables, **options)), solver=sd.Euler())


@pytest.mark.parametrize(
    "changed",
    [
        lambda content: content.encode("utf-16"),
        lambda content: content.replace("utf-8", "utf-16").encode("utf-16"),
        lambda content: content.replace("utf-8", "utf-16").encode("utf-8"),
        lambda content: content.encode("cp1252"),
        lambda content: "\n\n" + content,
        lambda content: b"\xef\xbb\xbf" + content.encode("utf-8"),
    ],
)
def test_letters_in_another_encoding_than_the_file_says_are_read(tmp_path, changed):
    """Letters in another encoding than declared ended in an OSError, blank lines before it in an error."""
    content = changed(text(aux("größe", "3") + aux("x", "größe*2")))
    assert sd.simulate(loaded(tmp_path, content), solver=sd.Euler())["x"][0] == 6.0


def test_a_file_that_is_not_xml_is_told_by_its_line(tmp_path):
    with pytest.raises(sd.ReadingError, match=r"tiny.stmx is not an XMILE model: .*line 2"):
        loaded(tmp_path, HEAD + "<model>")


def test_an_equation_of_all_elements_goes_through_a_graph_of_each(tmp_path):
    """An array whose elements differ by their graphs alone became lookups, and was gone from the results."""
    graph = '<element subscript="{}"><gf><xscale min="0" max="4"/><ypts>0,{}</ypts></gf></element>'
    found = run(tmp_path, array("v", "<eqn>TIME</eqn>" + graph.format("A", 4) + graph.format("B", 8)))
    assert (found["v[A]"][3], found["v[B]"][3]) == (3.0, 6.0)


def test_points_of_their_own_count_before_a_scale(tmp_path):
    """A graph with a scale and uneven points was read at even ones."""
    graph = '<gf type="Continuous"><xscale min="0" max="4"/><xpts>0,1,4</xpts><ypts>0,6,0</ypts></gf>'
    assert list(run(tmp_path, aux("x", "TIME", graph))["x"]) == [0.0, 6.0, 4.0, 2.0, 0.0]


def test_points_may_be_parted_by_blanks_or_semicolons(tmp_path):
    """Points without commas were told to hold what is not a number."""
    graph = "<gf><xpts>0 2;4</xpts><ypts>0; 6; 0</ypts></gf>".replace("0 2;4", "0 2 4")
    assert list(run(tmp_path, aux("x", "TIME", graph))["x"]) == [0.0, 3.0, 6.0, 3.0, 0.0]


def test_one_element_alone_may_not_fall_below_zero(tmp_path):
    """An element's own <non_negative/> was passed over."""
    inside = '<element subscript="A"><eqn>1</eqn><non_negative/></element><element subscript="B"><eqn>2</eqn></element>'
    found = run(tmp_path, array("S", inside + "<outflow>f</outflow>", "stock") + array("f", "<eqn>2</eqn>", "flow"))
    assert (found["S[A]"][1], found["S[B]"][2]) == (0.0, -2.0)


def test_all_stocks_and_flows_may_be_kept_from_falling_below_zero(tmp_path):
    """<all> in <behavior> was passed over."""
    stock = '<stock name="S"><eqn>3</eqn><outflow>f</outflow></stock><flow name="f"><eqn>2*(TIME-1)</eqn></flow>'
    kept = "<behavior><all><non_negative/></all></behavior>"
    found = run(tmp_path, stock, specs=SPECS + kept)
    assert (list(found["f"]), list(found["S"])) == ([0.0, 0.0, 2.0, 1.0, 0.0], [3.0, 3.0, 3.0, 1.0, 0.0])


def test_variables_within_a_group_count(tmp_path):
    """A variable that stands in its group was not defined."""
    group = '<group name="Sector"><var>y</var>' + aux("y", "3") + "</group>"
    assert run(tmp_path, group + aux("x", "y*2"))["x"][0] == 6.0


def test_a_point_before_a_name_means_the_outermost_model(tmp_path):
    """`.area` in an equation could not be read."""
    inner = f'<model name="M"><variables>{aux("area", "1")}{aux("x", ".area*10+area")}</variables></model>'
    found = run(tmp_path, '<module name="M"/>' + aux("area", "2") + aux("y", ".area/.5"), behind=inner)
    assert (found["M.x"][0], found["y"][0]) == (21.0, 4.0)


@pytest.mark.parametrize("target", ["Inner.g", "Outer.Inner.g", ".Outer.Inner.g"])
def test_modules_in_modules_are_connected_by_either_name(tmp_path, target):
    """A connection written from the top, within a module, reached nothing."""
    connect = f'<module name="Inner"><connect to="{target}" from="h"/></module>'
    models = f'<model name="Outer"><variables>{aux("h", "7")}{connect}</variables></model>'
    models += '<model name="Inner"><variables><aux name="g" access="input"/></variables></model>'
    assert run(tmp_path, '<module name="Outer"/>', behind=models)["Outer.Inner.g"][0] == 7.0


def test_a_step_that_is_left_empty_is_one(tmp_path):
    """An empty <dt> was an equation that could not be read."""
    found = run(tmp_path, aux("x", "TIME"), specs=SPECS.replace("<dt>1</dt>", "<dt/>"))
    assert list(found.times) == [0, 1, 2, 3, 4]


def test_an_array_stands_among_numbers_in_max(tmp_path):
    """`MAX(v[*], 2)` refused the whole file."""
    numbers = array(
        "v", '<element subscript="A"><eqn>TIME</eqn></element><element subscript="B"><eqn>1</eqn></element>'
    )
    assert list(run(tmp_path, numbers + aux("x", "MAX(v[*], 2)"))["x"]) == [2.0, 2.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("SWITCH(3, 2) + 10*SWITCH(2, 3) + 100*SWITCH(2, 2)", 1.0),
        ("ROOTN(27, 3)", 3.0),
        ("FACTORIAL(5) + FACTORIAL(0)", 121.0),
        ("FACTORIAL(12)", float(math.factorial(12))),
        ("COMBINATIONS(49, 6)", float(math.comb(49, 6))),
        ("PERMUTATIONS(10, 3)", 720.0),
        ("INVNORM(0.975)", 1.959963984540054),
        ("INVNORM(0.5, 7, 2)", 7.0),
        ("NORMALCDF(-1, 1)", math.erf(1 / math.sqrt(2))),
        ("NORMALCDF(3, 7, 5, 2)", math.erf(1 / math.sqrt(2))),
        ("ARRAYSUM(w[*]) + ARRAYMEAN(w[*])", 4.5),
    ],
)
def test_functions_of_stella_have_their_closed_form(tmp_path, equation, expected):
    """They were not known."""
    with warnings.catch_warnings(action="error"):
        found = run(tmp_path, array("w", "<eqn>R</eqn>") + aux("x", equation) + aux("y", "TIME"))
    assert found["x"][0] == pytest.approx(expected, rel=1e-14)


def test_the_limit_of_an_outflow_is_no_clash_of_units(tmp_path):
    """A flow without units, computed with a bare number, was told to clash with what it is cut to."""
    stock = '<stock name="S"><eqn>3</eqn><outflow>f</outflow><non_negative/><units>widget</units></stock>'
    path = tmp_path / "tiny.stmx"
    path.write_text(text(stock + '<flow name="f"><eqn>S/4</eqn></flow>'), encoding="utf-8")
    with warnings.catch_warnings(action="error"):
        sd.load(path)


def conveyor(inside, first="8"):
    stock = (
        f'<stock name="belt"><eqn>{first}</eqn><inflow>i</inflow><outflow>o</outflow>{inside}<non_negative/></stock>'
    )
    flows = '<flow name="i"><eqn>2+STEP(1,1)</eqn></flow><flow name="o"/>'
    return stock + flows + '<stock name="after"><eqn>0</eqn><inflow>o</inflow></stock>' + aux("time of it", "2")


def test_a_conveyor_hands_on_what_came_in(tmp_path):
    """Conveyors disabled all behind them."""
    found = run(tmp_path, conveyor("<conveyor><len>time_of_it</len></conveyor><non_negative/>"))
    assert list(found["o"]) == [4.0, 4.0, 2.0, 3.0, 3.0], "the first content in equal parts, then what came in"
    assert list(found["belt"]) == [8.0, 6.0, 5.0, 6.0, 6.0]
    assert list(found["after"]) == [0.0, 4.0, 8.0, 10.0, 13.0]


@pytest.mark.parametrize(
    ("inside", "first", "told"),
    [
        ("<conveyor><len>1.5</len></conveyor>", "8", "conveyors whose transit time 1.5 is no multiple of DT are not"),
        ("<conveyor><len>1+TIME</len></conveyor>", "8", "conveyors whose transit time varies are not supported"),
        ("<conveyor><len>2</len><capacity>9</capacity></conveyor>", "8", "it flows out of 'belt', conveyors are not"),
        ("<conveyor><len>2</len></conveyor>", "3, 5", "a table of numbers stands where a number is expected"),
        ("<queue/>", "8", "it flows out of 'belt', queues are not supported"),
    ],
)
def test_other_conveyors_disable_what_flows_out(tmp_path, inside, first, told):
    """A flow out of a queue was computed as if there always were something in it."""
    content = text(conveyor(inside, first).replace('<flow name="o"/>', '<flow name="o"><eqn>7</eqn></flow>'))
    with pytest.warns(sd.ReadingWarning):
        model = loaded(tmp_path, content)
    assert model.unsupported["o"].startswith(told)
    assert set(model.unsupported) == {"belt", "o", "after"}


def test_a_period_that_is_a_bare_number_is_no_clash_of_units(tmp_path):
    """SINWAVE(1, 12) was told to take the sine of a month."""
    (tmp_path / "tiny.stmx").write_text(text(aux("x", "SINWAVE(1, 4)") + aux("y", "TIME")), encoding="utf-8")
    with warnings.catch_warnings(action="error"):
        model = sd.load(tmp_path / "tiny.stmx")
    assert sd.simulate(model, solver=sd.Euler())["x"][1] == 1.0


def test_runs_answer_to_the_names_that_stella_writes(tmp_path):
    """Modules with quotes of their own and `\\n` for a new line were no names of a run."""
    inner = f'<model name="My Mod"><variables>{aux("goods" + chr(92) + "nsold", "3*TIME")}</variables></model>'
    found = run(tmp_path, '<module name="My Mod"/>', behind=inner)
    for name in ("My_Mod.goods_sold", '"My Mod"."goods sold"', 'My_Mod."goods' + chr(92) + 'nsold"'):
        assert found[name][1] == 3.0, name


def test_an_equation_of_all_elements_counts_where_an_element_has_none(tmp_path):
    """An array with an equation for all and another one for some elements had only these."""
    found = run(tmp_path, array("v", '<eqn>7</eqn><element subscript="B"><eqn>TIME</eqn></element>'))
    assert (found["v[A]"][3], found["v[B]"][3]) == (7.0, 3.0)
    whole = run(tmp_path, array("v", '<element subscript="*"><eqn>TIME</eqn></element>'))
    assert (whole["v[A]"][3], whole["v[B]"][3]) == (3.0, 3.0)


def test_a_module_without_a_model_disables_what_reads_it(tmp_path):
    """A module whose model is in another file refused the whole file."""
    with pytest.warns(sd.ReadingWarning):
        model = loaded(tmp_path, text('<module name="Ext"/>' + aux("x", "Ext.y") + aux("t", "TIME")))
    assert set(model.unsupported) == {"x"}
    assert "module 'Ext' has no model in this file; what reads its variables cannot be computed" in model.notes


@pytest.mark.parametrize(
    ("method", "note"),
    [
        ("Euler", ""),
        ("RK4, Euler", "the file asks for the integration method 'RK4': sd.RungeKutta4() takes its steps"),
        ("Gear", "the file asks for the integration method 'Gear': a run takes the one it is given"),
    ],
)
def test_the_method_that_a_file_asks_for_is_told(tmp_path, method, note):
    model = loaded(tmp_path, text(aux("x", "1"), specs=SPECS.replace("<sim_specs", f'<sim_specs method="{method}"')))
    assert [told for told in model.notes if "method" in told] == ([note] if note else [])


def test_a_variable_in_brackets_gives_a_place_as_an_expression_does(tmp_path):
    """`w[choice]`, the usual way to pick a scenario, was no element; `w[choice+0]` was one."""
    ranges = '<dim name="N" size="3"/><dim name="K"><elem name="a"/><elem name="b"/></dim>'
    equations = {
        "choice": "2", "picked": "w[choice]", "in turn": "w[TIME]", "total": "SUM(m[choice,*])",
        "both": "m[choice,choice-1]", "last": "m[choice-1,choice]",
    }  # fmt: skip
    arrays = {"w": ("N",), "m": ("N", "K"), "row": ("K",)}
    means = {"w": "N*10", "m": "N*10+K", "row": "m[choice,K]"}
    variables = "".join(f'<aux name="{name}"><eqn>{equation}</eqn></aux>' for name, equation in equations.items())
    for name, over in arrays.items():
        dimensions = "".join(f'<dim name="{one}"/>' for one in over)
        variables += f'<aux name="{name}"><dimensions>{dimensions}</dimensions><eqn>{means[name]}</eqn></aux>'
    result = run(tmp_path, variables, dims=f"<dimensions>{ranges}</dimensions>")
    last = {name: result[name][-1] for name in equations}
    assert last == {"choice": 2, "picked": 20, "in turn": 0, "total": 43, "both": 21, "last": 12}
    assert list(result["in turn"][:4]) == [0, 10, 20, 30]
    assert list(result["row"].to_numpy()[-1]) == [21, 22]


def test_size_counts_the_elements_of_an_array_or_of_a_slice(tmp_path):
    ranges = '<dim name="N" size="3"/><dim name="K"><elem name="a"/><elem name="b"/></dim>'
    sizes = {"all": "SIZE(m)", "row": "SIZE(m[2,*])", "column": "SIZE(m[*,a])", "range": "SIZE(N)"}
    variables = "".join(f'<aux name="{name}"><eqn>{equation}</eqn></aux>' for name, equation in sizes.items())
    variables += '<aux name="m"><dimensions><dim name="N"/><dim name="K"/></dimensions><eqn>1</eqn></aux>'
    result = run(tmp_path, variables, dims=f"<dimensions>{ranges}</dimensions>")
    assert {name: result[name][-1] for name in sizes} == {"all": 6, "row": 2, "column": 3, "range": 3}
