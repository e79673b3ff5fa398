"""Arrays kept whole: loops say what the same equations say written out, and do not grow with the ranges."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from support import ALL, FEATURES, assert_close, feature, model_text

import sd_cluster as sd
from sd_cluster import reading
from sd_cluster.kernel import compile_model

HEAD = "{UTF-8}\n"
RANGE = "{name}: {members}\n\t~\n\t~\n\t|\n"


def load(folder, equations, ranges, **options):
    head = HEAD + "".join(RANGE.format(name=name, members=members) for name, members in ranges.items())
    path = Path(folder) / "whole.mdl"
    path.write_text(model_text(equations).replace(HEAD, head), encoding="utf-8")
    return sd.load(path, check_units=False, **options)


@pytest.fixture
def always_whole(monkeypatch):
    monkeypatch.setattr(reading, "WHOLE_FROM", 0)
    monkeypatch.setattr(reading, "WHOLE_PIECE", 0)


EVEN = [name for name in ALL if name != "end_step_and_saving_that_vary"]


@pytest.mark.parametrize("name", EVEN)
def test_a_feature_kept_whole_runs_as_written_out(monkeypatch, name):
    """In plain Python here, as compiling a hundred models takes minutes."""
    written = feature(name)
    assert written.whole is None
    monkeypatch.setattr(reading, "WHOLE_FROM", 0)
    monkeypatch.setattr(reading, "WHOLE_PIECE", 0)
    monkeypatch.setattr(sd.Simulation, "_choose_backend", lambda self: "python")
    path = next(path for s in (".mdl", ".xmile") if (path := FEATURES / name / f"{name}{s}").exists())
    whole = sd.load(path)
    assert whole.whole is not None
    for solver in (sd.Euler(), sd.RungeKutta4()):
        first, second = (sd.simulate(model, solver=solver) for model in (written, whole))
        assert set(first.names) == set(second.names)
        for variable in first.names:
            assert_close(second[variable], first[variable], 1e-12, 1e-12, because="sums in another order")


def test_continuous_time_stops_where_elements_switch(tmp_path, always_whole, monkeypatch):
    equations = """
        x[D] = INTEG(STEP(1,start[D])*g[D], 0)
        y[D] = INTEG(PULSE(late[D],0.2)*5, 0)
        z[D] = INTEG(IF THEN ELSE(Time>start[D],1,0)+bend(Time), 0)
        bend( (0,0),(2.1,0),(2.2,1),(2.3,0),(20,0) )
        start[D] = 1.03,2.51,4
        late[D] = start[D]+g[D]
        g[D] = 1,2,3
    """
    monkeypatch.setattr(sd.Simulation, "_choose_backend", lambda self: "python")
    model = load(tmp_path, equations, {"D": "A1, A2, A3"})
    assert model.whole is not None
    run, start = sd.simulate(model), np.array([1.03, 2.51, 4.0])
    assert_close(run["x"][-1].to_numpy(), (10 - start) * [1, 2, 3], 1e-9, because="constant between its stops")
    assert_close(run["y"][-1].to_numpy(), np.ones(3), 1e-9, because="pulses of a fifth of a year")
    assert_close(run["z"][-1].to_numpy(), 10 - start + 0.1, 1e-9, because="a triangle of base 0.2 and height 1")
    monkeypatch.setattr("sd_cluster.whole.MOST_SWITCHES", 2)
    noted = sd.simulate(load(tmp_path, equations, {"D": "A1, A2, A3"})).notes
    assert noted[0].startswith("'x' switches at times of its own for each of more than 2 elements; the solver steps")


SEVERAL = {"D": "A1, A2, A3", "E": "B1, B2", "First": "A1", "Later": "(A2-A3) -> Before", "Before": "(A1-A2)"}


@pytest.mark.parametrize(
    "equations",
    [
        "x = INTEG(SUM(STEP(1,start[D!])),0)\nstart[D]=1.03,2.51,4",
        "x = INTEG(SUM(IF THEN ELSE(Time>start[D!],start[D!],0)),0)\nstart[D]=1.03,2.51,4",
        "x[D] = INTEG(IF THEN ELSE(Time>SUM(c[D,E!]),1,0),0)\nc[D,E]=D*0.7+0.11*E",
        "x[D] = INTEG(PULSE(D+0.03,0.2)+STEP(1,D),0)",
        "x[D] = INTEG(f[D],1)\nf[First]=DELAY FIXED(x[First],1,3)\nf[Later]=DELAY FIXED(f[Before],0.5,f[Before]+1)",
    ],
    ids=["summed", "conditions summed", "a sum says when", "the number of an element", "delays in a row"],
)
def test_switches_and_delays_of_elements_are_those_written_out(tmp_path, monkeypatch, equations):
    written = load(tmp_path, equations, SEVERAL)
    monkeypatch.setattr(reading, "WHOLE_FROM", 0)
    monkeypatch.setattr(reading, "WHOLE_PIECE", 0)
    whole = load(tmp_path, equations, SEVERAL)
    assert whole.whole is not None
    monkeypatch.setattr(sd.Simulation, "_choose_backend", lambda self: "python")
    for solver, error in ((sd.Euler(), 1e-12), (sd.RungeKutta4(), 1e-12), (sd.Adaptive(), 1e-6)):
        first, second = (sd.simulate(model, solver=solver) for model in (written, whole))
        for name in first.names:
            if name.startswith("x"):
                assert_close(second[name], first[name], error, 1e-9, because="sums in another order, other steps")


def test_a_switching_time_that_divides_by_zero_is_told(tmp_path, always_whole):
    model = load(tmp_path, "x[D]=INTEG(STEP(1,1/g[D]),0)\ng[D]=0,1,2", SEVERAL)
    with pytest.raises(sd.SimulationError, match="switching time"):
        sd.simulate(model, backend="python")


CHAIN = """
    n[First] = INTEG(births-n[First]/stay, 10)
    n[Later] = INTEG((n[Before]-n[Later])/stay, 10)
    births = 2
    stay = 5
    all = SUM(n[Cohort!])
"""


def chain(folder, length):
    ranges = {"Cohort": f"(C1-C{length})", "First": "C1", "Later": f"(C2-C{length})"}
    return load(folder, CHAIN, {**ranges, "Before": f"(C1-C{length - 1}) -> Later"})


def test_a_chain_of_ten_thousand_stocks(tmp_path, always_whole):
    short, long = chain(tmp_path, 20), chain(tmp_path, 10_000)
    few, many = compile_model(short, "numba"), compile_model(long, "numba")
    assert abs(len(many.source) - len(few.source)) < 100, "only the digits of sizes differ"
    run = sd.simulate(long, solver=sd.Euler())
    assert run.values.shape == (11, 10_007)
    assert_close(run["n"].to_numpy()[:, :5], sd.simulate(short, solver=sd.Euler())["n"].to_numpy()[:, :5], 1e-13,
                 because="the same equations")  # fmt: skip
    assert_close(run["all"], run["n"].sum("Cohort"), 1e-12, because="sums in another order")


@pytest.mark.slow
def test_many_equations_of_their_own_are_written_out(tmp_path):
    """Each became a loop for numba to compile, half an hour of it, and a sum of 6,000 stopped Python's compiler."""
    count = 6_000
    equations = " \n ".join(f"s{k} = INTEG(-s{k}/life, {k})" for k in range(count))
    model = load(tmp_path, f"{equations} \n life = 4", {})
    assert model.whole is None
    run = sd.simulate(model, solver=sd.Euler())
    assert run.provenance["backend"] == "python"
    last = run.frame().iloc[-1][[f"s{k}" for k in range(count)]]
    assert_close(last, np.arange(count) * (1 - 0.125 / 4) ** 80, 1e-12, because="Euler's steps, exactly")


@pytest.mark.slow
def test_many_equations_of_arrays_are_compiled_in_parts_and_run_alike(tmp_path, always_whole, monkeypatch):
    """A hundred of them took six minutes to compile as one function, and are now one for each few loops."""
    equations = ["q0[D] = D+Time", "life = 3", "z[D] = INTEG(q9[D]-z[D]/life, D)"]
    for number in range(1, 10):
        before = f"q{number - 1}[D]"
        equations += [
            f"q{number}[D] = {before}*0.9+SUM(q{number - 1}[D!])/ELMCOUNT(D)/10+held{number}[D]/20",
            f"s{number}[D] = SMOOTH({before}, 2)",
            f"held{number}[D] = DELAY FIXED(s{number}[D], 1, 3)",
            f"t{number} = VMAX(q{number}[D!])+INITIAL(q{number}[d2])",
            f"x{number}[D] = IF THEN ELSE(D > 2 :AND: Time > 3, t{number}, s{number}[D])",
        ]
    model = load(tmp_path, "\n".join(equations), {"D": "(d1-d4)"})
    parted, text = compile_model(model, "python"), ("shared0", "flow0", "step0", "shown0", "begun0")
    assert all(f"def {name}(" in parted.source for name in text)
    for solver in (sd.Euler(), sd.RungeKutta4()):
        first = sd.simulate(model, solver=solver)
        assert first.provenance["backend"] == "python", "soon done"
        second = sd.simulate(model, solver=solver, backend="numba")
        assert_close(second.values, first.values, 1e-12, 1e-12, because="the same equations")
    monkeypatch.setattr("sd_cluster.whole.MOST_TOGETHER", 1_000)
    again = load(tmp_path, "\n".join(equations), {"D": "(d1-d4)"})
    assert "def shared0(" not in compile_model(again, "python").source
    whole = sd.simulate(again, solver=sd.Euler(), backend="python")
    assert_close(whole.values, sd.simulate(model, solver=sd.Euler()).values, 1e-12, 1e-12, because="the same equations")


NETWORK = """
    k[Member] = INTEG(rate*SUM(contact[Member,Other!]*k[Other!])-loss*k[Member], start[Member])
    contact[Member,Other] = 0
    start[Member] = Member
    rate = 0.1
    loss = 0.3
    mean = SUM(k[Member!])/ELMCOUNT(Member)
"""


def contacts(size, seed=1):
    return scipy.sparse.random(size, size, density=min(1.0, 4 / size), random_state=seed, format="csr")


def network(folder, size, **options):
    return load(folder, NETWORK, {"Member": f"(m1-m{size})", "Other": f"(m1-m{size})"}, **options)


def test_a_sparse_table_sums_what_a_dense_one_would(tmp_path):
    table = contacts(30)
    model = network(tmp_path, 30, tables={"contact": table})
    run = sd.simulate(model, solver=sd.Euler())
    dt, k = 0.125, np.arange(1.0, 31.0)
    for _ in range(80):
        k = k + dt * (0.1 * (table @ k) - 0.3 * k)
    assert_close(run["k"][-1].to_numpy(), k, 1e-12, because="sums in another order")
    assert_close(run["mean"][-1], k.mean(), 1e-12, because="sums in another order")


COUPLED = """
    k[Member,Field] = INTEG(taught[Member,Field]-loss*k[Member,Field], start[Member,Field])
    taught[Member,Field] = rate*SUM(contact[Member,Other!]*terms[Member,Other!]*MAX(0, gap[Member,Other!,Field]))*2
    terms[Member,Other] = ahead[Member,Other]/(1+SUM(gap[Member,Other,Subject!]*gap[Member,Other,Subject!]))
    ahead[Member,Other] = SUM(MAX(0, gap[Member,Other,Subject!])) + loss
    gap[Member,Other,Subject] = k[Other,Subject]-k[Member,Subject]
    contact[Member,Other] = 0.3
    start[Member,Field] = Member*Field+1/(Field+Member)
    rate = 0.1
    loss = 0.3
"""


@pytest.mark.parametrize("fields", [1, 3, 12])
def test_a_variable_over_both_ranges_of_a_sparse_table_is_worked_out_where_it_is_read(tmp_path, fields):
    """Its sums lie within the sum over the table; of few fields they are taken side by side, of many in turn."""
    ranges = {"Member": "(m1-m9)", "Other": "(m1-m9)", "Field": f"(f1-f{fields})", "Subject": f"(f1-f{fields})"}
    written = load(tmp_path, COUPLED, ranges)
    assert written.whole is None
    whole = load(tmp_path, COUPLED, ranges, tables={"contact": scipy.sparse.csr_array(np.full((9, 9), 0.3))})
    assert "'terms', 'ahead', 'gap': worked out only where a sum over a sparse table reads it" in whole.notes[0]
    first, second = (sd.simulate(model, solver=sd.Euler(), backend="python") for model in (written, whole))
    assert_close(second["k"].to_numpy(), first["k"].to_numpy(), 1e-12, because="sums in another order")
    with pytest.raises(sd.ModelError, match="has no variable 'terms'"):
        second["terms"]


WOVEN = """
    own[Member,Field] = INTEG(found-loss*own[Member,Field], start[Member,Field])
    learnt[Member,Field] = INTEG(taught[Member,Field]-loss*learnt[Member,Field], 0)
    trust[Member] = INTEG(rate*(1-trust[Member])-loss*trust[Member]*all[Member]/(9+all[Member]), 0.2)
    all[Member] = SUM(k[Member,Field!])
    k[Member,Field] = own[Member,Field]+learnt[Member,Field]
    taught[Member,Field] = trust[Member]*rate*met[Member,Field]
    met[Member,Field] = SUM(contact[Member,Other!]*terms[Member,Other!]*MAX(0, gap[Member,Other!,Field]))
    terms[Member,Other] = trust[Other]*reserve[Other]/(1+SUM(gap[Member,Other,Subject!]*gap[Member,Other,Subject!]))
    gap[Member,Other,Subject] = k[Other,Subject]-k[Member,Subject]
    contact[Member,Other] = 0.3
    reserve[Member] = 1/Member
    start[Member,Field] = Member*Field+1/(Field+Member)
    rate = 0.1
    loss = 0.3
    found = 2
"""
"""What lies apart for a member, two parts of it stocks, is read of others and of oneself."""


@pytest.mark.parametrize("fields", [1, 3, 12])
@pytest.mark.parametrize("equations", [COUPLED, WOVEN], ids=["coupled", "woven"])
def test_asking_for_members_ahead_changes_nothing(tmp_path, monkeypatch, fields, equations):
    """Large tables alone do so, and have what is read of a member in one row; the last rows have none ahead."""
    ranges = {"Member": "(m1-m9)", "Other": "(m1-m9)", "Field": f"(f1-f{fields})", "Subject": f"(f1-f{fields})"}
    table = {"contact": scipy.sparse.random_array((9, 9), density=0.4, rng=1, format="csr")}
    solvers = (sd.Euler(), sd.RungeKutta4()) if fields == 3 else (sd.Euler(),)
    plain = [
        sd.simulate(load(tmp_path, equations, ranges, tables=table), solver=solver, backend="python")
        for solver in solvers
    ]
    monkeypatch.setattr("sd_cluster.loops.FETCH_FROM", 0)
    monkeypatch.setattr("sd_cluster.fusion.ROWS", 4)
    for backend in ("python", "numba")[
        : 1 + (fields == 3 and equations is WOVEN)
    ]:  # the source is the same, and compiling takes seconds
        model = load(tmp_path, equations, ranges, tables=table)
        assert "f_fetch" in compile_model(model, backend).source
        assert "for b0 in range(0, 9, 4):" in compile_model(model, backend).source
        assert bool(compile_model(model, backend).printer.rows) == (equations is WOVEN and fields < 8)
        for solver, before in zip(solvers, plain, strict=True):
            run = sd.simulate(model, solver=solver, backend=backend)
            for name in ("k", "trust")[: 1 + (equations is WOVEN)]:
                assert_close(run[name].to_numpy(), before[name].to_numpy(), 1e-12, because="sums in another order")


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_eulers_steps_from_one_vector_to_the_other_end_in_the_first(tmp_path, steps):
    model = network(tmp_path, 9, tables={"contact": contacts(9)})
    plain, fast = (
        sd.simulate(model, solver=sd.Euler(), backend=backend, horizon=(0, steps * 0.125))
        for backend in ("python", "numba")
    )
    assert_close(fast["k"].to_numpy(), plain["k"].to_numpy(), 1e-13, because="sums in another order")
    halting = sd.Simulation(model, solver=sd.Euler(), backend="numba")
    for part in (1, 2):
        halting.run_to(part * steps * 0.125)
    again = sd.simulate(model, solver=sd.Euler(), backend="python", horizon=(0, steps * 0.25))
    assert_close(halting.run()["k"].to_numpy()[-1], again["k"].to_numpy()[-1], 1e-13, because="sums in another order")


def test_a_variable_read_within_a_sum_over_its_own_range_is_told(tmp_path):
    ranges = {"Member": "(m1-m6)", "Other": "(m1-m6)"}
    equations = """
        x[Member] = INTEG(SUM(t[Member,Other!]*y[Member,Other!]), 1)
        y[Member,Other] = x[Member]*SUM(z[Other!])
        z[Member] = Member
        t[Member,Other] = 0
    """
    with pytest.raises(
        sd.ReadingError, match="'y' sums over 'other!' and is read within a sum over it; give the range"
    ):
        load(tmp_path, equations, ranges, tables={"t": contacts(6)})


def test_a_sum_within_a_sum_goes_through_its_own_range_alone(tmp_path, monkeypatch):
    """The outer sum went through the ranges of the inner one too, which is another number unless both are products."""
    ranges = {"A": "(a1-a3)", "B": "(b1-b4)"}
    equations = """
        x = INTEG(0, SUM(u[A!]/SUM(w[A!,B!])))
        u[A] = A
        w[A,B] = A+B*B
    """
    exact = sum(a / sum(a + b * b for b in range(1, 5)) for a in range(1, 4))
    assert sd.simulate(load(tmp_path, equations, ranges))["x"][0] == pytest.approx(exact, rel=1e-14)
    monkeypatch.setattr(reading, "WHOLE_FROM", 0)
    monkeypatch.setattr(reading, "WHOLE_PIECE", 0)
    assert sd.simulate(load(tmp_path, equations, ranges))["x"][0] == pytest.approx(exact, rel=1e-14)


def test_networks_of_one_size_are_compiled_once(tmp_path):
    """The source does not tell how much a table holds, so that tables in turn do not wait for the compiler."""
    tables = contacts(30), scipy.sparse.csr_array(np.ones((30, 30)))
    few, many = (network(tmp_path, 30, tables={"contact": table}) for table in tables)
    assert compile_model(few, "python").source == compile_model(many, "python").source


def test_a_range_takes_another_size(tmp_path):
    ranges = {"Member": "m1, m2"}
    model = load(tmp_path, "x[Member] = INTEG(Member, 1) \n n = ELMCOUNT(Member)", ranges, sizes={"member": 7})
    run = sd.simulate(model, solver=sd.Euler())
    assert run["x"].coords["Member"].values.tolist() == [f"m{number}" for number in range(1, 8)]
    assert run["n"][0] == 7


@pytest.mark.parametrize(
    ("elements", "size", "expected"),
    [("north, south", 3, ["north", "south", "Member3"]), ("a09, a10", 3, ["a09", "a10", "a11"]),
     ("m1, m2, m3", 2, ["m1", "m2"])],
)  # fmt: skip
def test_a_range_of_another_size_keeps_its_elements(tmp_path, elements, size, expected):
    """They were given other names, so that equations of one element stopped, and `<->` was lost."""
    path = tmp_path / "sizes.mdl"
    ranges = RANGE.format(name="Member", members=elements) + "Other <-> Member\n\t~\n\t~\n\t|\n"
    first = elements.split(", ")[0]
    text = model_text(f"x[Member] = INTEG(SUM(y[Other!]), 1) \n y[Member] = Member \n z = x[{first}]")
    path.write_text(text.replace(HEAD, HEAD + ranges), encoding="utf-8")
    for name in ("member", "other"):
        run = sd.simulate(sd.load(path, check_units=False, sizes={name: size}), solver=sd.Euler())
        assert run["x"].coords["Member"].values.tolist() == expected
        assert run["z"][-1] == 1 + 10 * size * (size + 1) / 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sizes": {"Nobody": 3}}, "has no range 'Nobody' to give a size"),
        ({"sizes": {"Member": 0}}, "the size of range 'Member' is 0; it should be a whole number above zero"),
        ({"tables": {"start": contacts(6)}}, "has no constant 'start' over two ranges to give a table"),
        (
            {"tables": {"contact": contacts(5)}},
            r"the table for 'contact' has \(5, 5\) entries, its ranges have \(6, 6\)",
        ),
        ({"tables": {"contact": [[1]]}}, "the table for 'contact' is a list; give a SciPy sparse matrix"),
    ],
)
def test_sizes_and_tables_that_do_not_fit(tmp_path, options, told):
    with pytest.raises(sd.ReadingError, match=told):
        network(tmp_path, 6, **options)


def test_a_range_of_ranges_takes_no_size(tmp_path):
    """It was said to have no elements of its own names."""
    ranges = {"North": "n1, n2", "South": "s1, s2", "All": "North, South"}
    told = "range 'All' of whole.mdl is made of other ranges, such as 'North'; give these a size"
    with pytest.raises(sd.ReadingError, match=told):
        load(tmp_path, "x[All] = INTEG(1, 0)", ranges, sizes={"All": 5})


def test_a_sparse_table_read_elsewhere(tmp_path):
    ranges = {"Member": "(m1-m6)", "Twin": "(m1-m6)"}
    equations = "x[Member] = INTEG(t[Member,m2], 0) \n t[Member,Twin] = 0"
    model = load(tmp_path, equations, ranges, tables={"t": contacts(6)})
    with pytest.raises(sd.ModelError, match="sparse table 't' is read outside a sum over its second range"):
        sd.simulate(model)


def test_what_whole_arrays_do_not_take_is_told(tmp_path, always_whole):
    model = chain(tmp_path, 50)
    with pytest.raises(sd.ModelError, match="kept whole, which runs, sweeps and sensitivity analyses take; deriv"):
        model.symbolic()
    with pytest.raises(sd.ModelError, match="kept whole"):
        sd.ForwardRunner(model, ["births"], outputs=["all"], times=[10])
    with pytest.raises(sd.ScenarioError, match="only parameters can be set, to numbers"):
        sd.simulate(model, sd.Scenario("s", {"births": {0: 1, 5: 2}}))
    run = sd.simulate(model, sd.Scenario("s", {"births": 0}))
    assert run["n"][-1, 0] < 2
    assert run.notes == ("DOP853 took the place of LSODA, whose matrices would be too large",)


@pytest.mark.parametrize("solver", [sd.Euler(), sd.RungeKutta4(), sd.Adaptive(), None])
def test_a_sweep_of_whole_arrays_runs_each_draw(tmp_path, always_whole, monkeypatch, solver):
    model = chain(tmp_path, 5)
    draws = sd.Draws.of({"births": [1, 2, 4], "stay": [3, 5, 5]})
    outputs = ["all", "N[c3]"]
    if isinstance(solver, sd.Adaptive):
        monkeypatch.setattr(sd.Simulation, "_choose_backend", lambda self: "python")
    found = sd.sweep(model, draws, outputs=outputs, solver=solver, save=1, threads=2, store=tmp_path / "store")
    assert found.names == ("all", "n[C3]") and found.ok.all()
    again = sd.sweep(model, draws, outputs=outputs, solver=solver, save=1, threads=1)
    assert np.array_equal(found.values[:], again.values)
    for row, (births, stay) in enumerate(draws.values):
        scenario = sd.Scenario("s", {"births": births, "stay": stay})
        run = sd.simulate(model, scenario, solver=solver or sd.RungeKutta4(), save=1)
        expected = np.column_stack([run[name] for name in found.names])
        assert_close(found.values[row], expected, 1e-5, because="the step may have been halved")
    assert found.notes[0].startswith("arrays are kept whole: solved run by run with")


def test_a_sweep_of_whole_arrays_saves_what_has_no_subscripts(tmp_path, always_whole):
    model = chain(tmp_path, 5)
    draws = sd.Draws.of({"births": [1.0, 2.0]})
    assert sd.sweep(model, draws, solver=sd.Euler()).names == ("all",)
    assert len(sd.sweep(model, draws, solver=sd.Euler(), outputs="n").names) == 5
    for name, told in (
        ("n[C9]", "is an array over Cohort and has no element 'C9'"),
        ("m", "has no variable 'm'"),
        ("n[", "has no variable"),
        ("n[]", "has no variable"),
        ("my n[C1", "has no variable"),
    ):
        with pytest.raises(sd.ModelError, match=told):
            sd.sweep(model, draws, outputs=name)
    indices = sd.sobol(model, sd.Space({"births": (1, 3), "stay": (2, 9)}), of=["n[C2]"], samples=4, solver=sd.Euler())
    assert indices.outputs[0] == "n[C2]"


def test_a_sweep_of_whole_arrays_takes_times_between_steps(tmp_path, always_whole):
    model = chain(tmp_path, 5)
    found = sd.sweep(model, sd.Draws.of({"births": [1.0, 2.0]}), save=[0.03, 9.99])
    assert found.ok.all() and found.times.tolist() == [0.03, 9.99]
    assert found.notes == ("arrays are kept whole: solved run by run with Adaptive, as fixed steps do not do",)


def test_a_runner_sets_every_element_of_a_whole_array(tmp_path, always_whole):
    model = load(tmp_path, "x[D] = INTEG(g[D], 0) \n g[D] = 1", {"D": "A1, A2, A3"})
    runner = sd.Runner(model, ["g"], outputs=["x[A2]", "x[A3]"], times=[0, 10], solver=sd.Euler(), backend="python")
    assert runner([2.0])[-1].tolist() == [20.0, 20.0]
    with pytest.raises(sd.ModelError, match=r"'x' is an array; name an element, such as 'x\[A1\]'"):
        sd.Runner(model, ["g"], outputs=["x"], times=[10])


def test_a_blow_up_names_the_element(tmp_path, always_whole):
    model = load(tmp_path, "x[D] = INTEG(x[D]*x[D]*g[D], 1) \n g[D] = 0, 50, 0", {"D": "A1, A2, A3"})
    for backend in ("numba", "python"):
        with pytest.raises(sd.SimulationError, match=r"'x\[A2\]'|too long"):
            sd.simulate(model, solver=sd.Euler(), backend=backend)


def test_numbers_beyond_all_bounds(tmp_path):
    with pytest.raises(sd.ReadingError, match="'x' would bring the model beyond 60000000 numbers; take fewer elements"):
        load(tmp_path, "x[D,E] = INTEG(1, 1)", {"D": "(A1-A8000)", "E": "(B1-B8000)"})


def test_control_variables_that_vary_need_arrays_written_out(always_whole):
    path = FEATURES / "end_step_and_saving_that_vary" / "end_step_and_saving_that_vary.mdl"
    with pytest.raises(sd.ReadingError, match="'FINAL TIME' depends on 'fish', which varies; it should be a constant"):
        sd.load(path)


def test_names_made_when_asked_for_are_those_written_down(tmp_path, always_whole, monkeypatch):
    plain = sd.simulate(chain(tmp_path, 40), solver=sd.Euler(), backend="python")
    monkeypatch.setattr("sd_cluster.whole.MOST_NAMED", 0)
    model = chain(tmp_path, 40)
    simulation = sd.Simulation(model, solver=sd.Euler(), backend="python")
    simulation.run_to(5)
    assert simulation.now("all") == simulation.run()["all"][-1]
    run = sd.simulate(model, solver=sd.Euler(), backend="python")
    assert not isinstance(run.names, tuple)
    assert tuple(run.names) == plain.names
    assert tuple(run.names[place] for place in range(len(run.names))) == run.names[:] == plain.names
    assert [run.names.index(name) for name in plain.names] == list(range(len(plain.names)))
    assert (run["n"].to_numpy() == plain["n"].to_numpy()).all()
    assert (run["n[C7]"] == plain["n[C7]"]).all()
    assert "n[C41]" not in run.names
    assert sd.load_run(run.save(tmp_path / "run")).names == plain.names


CHAINED = """
    f[L] = 10, 20, 30, 40
    h[Later] = f[Before]
    k[Before] = f[Later]
    x[A1] = INTEG(1, 0)
    x[Later] = INTEG(x[Before], 0)
    pad[D] = D
"""


@pytest.mark.parametrize("size", [3, 6000])
def test_a_mapping_counts_before_an_element_that_two_ranges_share(tmp_path, size):
    ranges = {"L": "(A1-A4)", "Later": "(A2-A4)", "Before": "(A1-A3) -> Later", "D": f"(D1-D{size})"}
    model = load(tmp_path, CHAINED, ranges)
    assert (model.whole is not None) is (size > 5000)
    run = sd.simulate(model, solver=sd.Euler(), save=1.0)
    assert run["h"].isel(time=0).to_numpy()[-3:].tolist() == [10.0, 20.0, 30.0]
    assert run["k"].isel(time=0).to_numpy()[:3].tolist() == [20.0, 30.0, 40.0]
    step = model.horizon.step
    first = run["x[A1]"]
    assert_close(first, run.times, 1e-12, 1e-12, because="Euler is exact for it")
    second = [step * step * n * (n - 1) / 2 for n in run.times / step]  # the sum of Euler's steps over the first
    assert_close(run["x[A2]"], np.array(second), 1e-12, 1e-12, because="sums in another order")


@pytest.mark.parametrize("kind", ["n[{}] = INTEG(1, 0)", "n[{}] = 2*Time", "n[{}] = 7"])
def test_elements_of_large_arrays_need_an_equation(tmp_path, kind):
    some = "\n".join(kind.format(element) for element in ("A1", "A3"))
    with pytest.raises(sd.ReadingError, match=r"'n\[A2\]' has no equation, while other elements have; give it one"):
        load(tmp_path, f"{some}\npad[A] = 1\ns = INTEG(1, 0)", {"A": "(A1-A6000)"})


def test_an_element_of_a_large_array_that_is_defined_twice(tmp_path):
    with pytest.raises(sd.ReadingError, match=r"'n\[A1\]' is defined twice"):
        load(tmp_path, "n[A1] = INTEG(1, 0)\nn[A] = INTEG(1, 0)\nn[A1] = INTEG(2, 0)", {"A": "(A1-A6000)"})


def test_a_circle_through_a_large_array_is_found_by_a_check(tmp_path):
    load(tmp_path, "x[A] = y[A] + 1\ny[A] = x[A]*2\ns = INTEG(SUM(x[A!]), 0)", {"A": "(A1-A6000)"})
    found = sd.check(tmp_path / "whole.mdl")
    assert not found.good and "depend on each other" in str(found)


def test_names_with_brackets_and_commas_in_large_arrays(tmp_path):
    equations = (
        '"c [EUR]"[D] = D\n"d [EUR]"["b,1"] = 1\n"d [EUR]"[b2] = "d [EUR]"["b,1"] + 1\ns = INTEG(SUM("c [EUR]"[D!]), 0)'
    )
    model = load(tmp_path, equations, {"D": "(D1-D6000)", "B": '"b,1", b2'})
    run = sd.simulate(model, solver=sd.Euler(), backend="python")
    assert run["c [EUR][D7]"][0] == 7.0 and run["d [EUR]"].to_numpy()[0].tolist() == [1.0, 2.0]
    assert sd.check(tmp_path / "whole.mdl").good


def test_ranges_one_inside_another_are_bounded(tmp_path):
    ranges = {"R0": "E1", **{f"R{k}": f"R{k - 1}, R{k - 1}" for k in range(1, 40)}}
    assert load(tmp_path, "s[R39] = INTEG(1, 0)", ranges).ranges["R39"] == ("E1",)
    ranges = {f"R{k}": f"R{k - 1}" for k in range(1500, 0, -1)} | {"R0": "E1"}
    with pytest.raises(sd.ReadingError, match="more than 100 ranges one inside another"):
        load(tmp_path, "s = INTEG(1, 0)", ranges)


@pytest.mark.parametrize("whole", [False, True])
def test_elements_of_a_range_may_share_the_one_they_map_to(tmp_path, request, whole):
    """Countries of one region read the region's value; which country a region stands for cannot be said."""
    if whole:
        request.getfixturevalue("always_whole")
    ranges = {"Region": "north, south", "Country": "a, b, c -> (Region: north, south, north)"}
    model = load(tmp_path, "x[Country] = INTEG(growth[Region], 0)\ngrowth[Region] = 2*Region", ranges)
    assert (model.whole is not None) == whole
    assert sd.simulate(model, solver=sd.Euler())["x"].to_numpy()[-1].tolist() == [20.0, 40.0, 20.0]
    with pytest.raises((sd.ReadingError, sd.ModelError), match="stands for no one element"):
        sd.simulate(load(tmp_path, "x[Region] = INTEG(growth[Country], 0)\ngrowth[Country] = 2", ranges))


PAIR = {"Member": "(m1-m9)", "Other": "(m1-m9)", "Big": "(m1-m12)", "Field": "one, two, three"}
PAIRED = """
    y[Member] = INTEG(0.1*b[Member], Member)
    b[Member] = INTEG(-0.1*b[Member], 1+1/Member)
    a[Member] = x[Member]*0.01+y[Member]
    wide[Big] = Time*Big
"""
TABLES = "t[Member,Other] = 0\nu[Member,Other] = 0\n"


@pytest.mark.parametrize(
    "equations",
    [
        "x[Member] = INTEG(SUM(t[Member,Other!]*y[Other!]*b[Other!])"
        " - SUM(u[Member,Other!]*y[Other!]*b[Other!]*x[Other!])*0.1 - 0.1*x[Member], Member)",
        "x[Member] = INTEG(SUM(t[Member,Other!]*a[Other!]*y[Other!]) + SUM(t[Member,Other!]*a[Other!])"
        " - 0.1*x[Member], Member)",
        "x[Member] = INTEG(SUM(t[Member,Other!]*a[Other!]*y[Other!]) + SUM(a[Other!]) - 0.1*x[Member], Member)",
        "x[Member] = INTEG(h[Member]-0.1*x[Member], Member)"
        "\nh[Member] = DELAY FIXED(SUM(t[Member,Other!]*x[Other!]*y[Other!]), 1, 0)",
        "x[Member] = INTEG(SUM(t[Member,Other!]*wide[Other!]*y[Other!])-0.1*x[Member], Member)",
        "x[Member] = INTEG(MIN(met[Member], 3)+half[Member]+SUM(half[Member!])/9-0.1*x[Member], Member)"
        "\nmet[Member] = SUM(t[Member,Other!]*a[Other!]*y[Other!])*u0[Member]"
        "\nu0[Member] :EXCEPT: [m3] = a[Member]*y[Member] ~~|\nu0[m3] = SQRT(x[m3])"
        "\nhalf[Member] = 1/(2+met[Member])+SQRT(a[Member])",
        "x[Member] = INTEG(SUM(pair[Member,Field!]*a[Member])-0.1*x[Member], Member)"
        "\npair[Member,one] = SUM(t[Member,Other!]*a[Other!]*y[Other!])/(1+SUM(t[Member,Other!]*a[Other!]*a[Other!]))"
        "\npair[Member,two] = SIN(a[Member]*pair[Member,one])"
        "\npair[Member,three] = SQRT(y[Member])",
    ],
    ids=[
        "two copies",
        "copied and direct",
        "copied and of all",
        "held",
        "of another size",
        "read by all",
        "by element",
    ],
)
def test_what_is_copied_into_rows_is_read_as_it_is(tmp_path, monkeypatch, equations):
    tables = {"t": contacts(9, seed=2), "u": contacts(9, seed=3)}
    solvers = (sd.Euler(), sd.RungeKutta4())
    dense = "\n".join(
        f"{name}[m{row + 1},m{column + 1}] = {float(table.toarray()[row, column])!r}"
        for name, table in tables.items()
        for row in range(9)
        for column in range(9)
    )
    model = load(tmp_path, f"{PAIRED}{dense}\n{equations}", PAIR)
    written = [sd.simulate(model, solver=solver)["x"].to_numpy() for solver in solvers]
    monkeypatch.setattr("sd_cluster.loops.FETCH_FROM", 0)
    monkeypatch.setattr("sd_cluster.fusion.ROWS", 4)
    for backend in ("python", "numba")[: 1 + ("u[" in equations)]:
        whole = load(tmp_path, PAIRED + TABLES + equations, PAIR, tables=tables)
        for solver, expected in zip(solvers, written, strict=True):
            run = sd.simulate(whole, solver=solver, backend=backend)
            assert_close(run["x"].to_numpy(), expected, 1e-12, because="sums in another order")


def test_elements_that_read_others_of_their_array_follow_them(tmp_path):
    """Whole as long as no element of an equation reads another of the same equation: 12,000 are too many otherwise."""
    equations = """
        x[Member] = INTEG(SUM(pair[Member,Field!]), 0)
        pair[Member,two] = other[Member,one]+1
        pair[Member,three] = pair[Member,two]*2
        pair[Member,one] = Member
        other[Member,Field] = pair[Member,one]*3
        other[Member,three] :EXCEPT: [m3,three] = SUM(pair[Member,Field!])
        other[m3,three] = pair[m4,two]
    """
    expected = np.arange(1, 12_001) * 10.0 + 3
    model = load(tmp_path, equations, PAIR, sizes={"Member": 12_000})
    run = sd.simulate(model, solver=sd.Euler(), horizon=(0, 1), backend="python")
    assert run["x"].to_numpy()[-1].tolist() == expected.tolist()
    assert run["other"].to_numpy()[-1, 1:4, 2].tolist() == [23.0, 13.0, 43.0]


def test_a_sparse_table_read_where_elements_wait_for_each_other(tmp_path):
    equations = "x[Member] = INTEG(a[Member], 0)\nt[Member,Other] = 0"
    equations += "\na[m1] = 1\na[Later] = a[Sooner]+SUM(t[Later,Other!]*x[Other!])"
    ranges = {**PAIR, "Later": "(m2-m9) -> Sooner", "Sooner": "(m1-m8)"}
    model = load(tmp_path, equations, ranges, tables={"t": contacts(9)})
    with pytest.raises(sd.ModelError, match="'a' reads the sparse table 't' and depends on other elements of its own"):
        sd.simulate(model)


def test_machine_code_of_whole_arrays_rounds_as_python_does(tmp_path, always_whole):
    """Contracted, a*b-c was not nought where c is a*b, and a root of what should be nought was not a number."""
    model = load(
        tmp_path,
        """
        x[D] = INTEG(IF THEN ELSE(a[D]*b[D]-c[D] = 0, 0, 1) + SQRT(a[D]*a[D]-e[D]*e[D]), 0)
        y = INTEG(SUM(c[D!]), 0)
        a[D] = INTEG(0.1*a[D], 1/3+D)
        e[D] = INTEG(0.1*e[D], 1/3+D)
        b[D] = INTEG(0.3*b[D], 1/7+D)
        c[D] = a[D]*b[D]
        """,
        {"D": "(d1-d3)"},
    )
    assert not sd.simulate(model, solver=sd.Euler(), backend="numba")["x"].to_numpy().any()


@pytest.mark.parametrize("save", [1.0, 10.0])
def test_a_blow_up_is_told_at_its_time(tmp_path, always_whole, save):
    model = load(tmp_path, "x[D] = INTEG(x[D]*x[D]*g[D], 1)\ng[D] = 0, 50, 0", {"D": "(d1-d3)"})
    with pytest.raises(sd.SimulationError, match=r"x\[d2\]") as caught:
        sd.simulate(model, solver=sd.Euler(), backend="numba", save=save)
    assert caught.value.time == pytest.approx(1.0, abs=0.126)


def test_extremes_and_products_over_a_sparse_table_count_what_it_does_not_hold(tmp_path):
    table = scipy.sparse.csr_array(np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 0.0], [-2.0, -1.0, -4.0]]))
    equations = """
        x[Member] = INTEG(0, Member)
        most[Member] = VMAX(t[Member,Other!]*v[Other!])
        least[Member] = VMIN(t[Member,Other!]*v[Other!])
        all[Member] = PROD(t[Member,Other!])
        v[Member] = 2
        t[Member,Other] = 0
    """
    model = load(tmp_path, equations, {"Member": "(m1-m3)", "Other": "(m1-m3)"}, tables={"t": table})
    for backend in ("python", "numba"):
        run = sd.simulate(model, solver=sd.Euler(), backend=backend)
        assert run["most"].to_numpy()[-1].tolist() == [6.0, 0.0, -2.0]
        assert run["least"].to_numpy()[-1].tolist() == [0.0, 0.0, -8.0]
        assert run["all"].to_numpy()[-1].tolist() == [0.0, 0.0, -8.0]


def test_a_change_keeps_what_each_element_holds(tmp_path, always_whole):
    """Of frozen values and of pipes the first element alone was kept, the others began anew."""
    model = load(
        tmp_path,
        """
        x[D] = INTEG(i[D]*rate, 0)
        i[D] = INITIAL(D+y[D])
        y[D] = INTEG(D, D)
        late[D] = DELAY FIXED(y[D], 2, 0)
        rate = 1
        """,
        {"D": "(d1-d3)"},
    )
    simulation = sd.Simulation(model, solver=sd.Euler(), backend="python", horizon=(0, 4))
    simulation.run_to(3)
    simulation.change({"rate": 2})
    simulation.run_to(4)
    run = simulation.run()
    assert run["x"].to_numpy()[-1].tolist() == [10.0, 20.0, 30.0]
    assert_close(run["late"].to_numpy()[-1], [3.0, 6.0, 9.0], 1e-12, because="steps of an eighth")
