"""Sweeps against single runs, closed forms and themselves, whatever the threads, order, store or cluster."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from support import assert_close, feature, model_text, tiny

import sd_cluster as sd
from sd_cluster.batch import Batch
from sd_cluster.draws import Draws
from sd_cluster.ensemble import sweep
from sd_cluster.grid import smooth_grid
from sd_cluster.lanes import WIDTH
from sd_cluster.workers import CHUNK, LEAST, carry_out, task_size


def drawn(model, seed=0, runs=40, **ranges):
    rng = np.random.default_rng(seed)
    names = tuple(name.replace("_", " ") for name in ranges)
    low, high = np.array(list(ranges.values()), dtype=float).T
    return Draws(names, rng.uniform(low, high, (runs, len(names))))


@pytest.fixture(scope="module")
def core():
    model = sd.load("collective_learning")
    ranges = {"talent_flow": (0, 1), "initial_trust": (0.2, 0.8), "obsolescence_rate": (0.1, 0.3), "training": (0, 1)}
    return model, drawn(model, runs=70, **ranges)


@pytest.fixture(scope="module")
def small():
    model = feature("logistic")
    return model, drawn(model, runs=70, growth_rate=(0.2, 0.9), capacity=(200, 600), firms=(5, 50))


@pytest.mark.parametrize(
    "solver", [pytest.param(sd.Euler(), marks=pytest.mark.slow), sd.RungeKutta4(), sd.RungeKutta4(0.25)]
)
def test_side_by_side_agrees_with_one_by_one_on_the_core_model(core, solver):
    model, draws = core
    names = [*model.stocks, "competitiveness", "mobility", "talent flow"]
    ensemble = sweep(model, draws, outputs=names, solver=solver, save=5.0)
    runner = sd.Runner(model, draws.names, outputs=names, times=ensemble.times, solver=solver)
    for draw in (0, 17, 69):
        alone = runner(draws.values[draw])
        assert_close(ensemble.values[draw], alone, 1e-10, because="the same steps, other roundings")


FEATURES = {
    "decay": {"lifetime": (1, 9), "initial stock": (10, 200)},
    "logistic": {"growth rate": (0.1, 0.9), "firms": (5, 50)},
    "two_stocks": {"first rate": (0.1, 0.9)},
    "lookups": {"pace": (0.5, 1.5)},
    "delays": {"working year": (0.5, 2)},
    "initials": {"fraction": (0.05, 0.3)},
    "logic": {"pace": (0.7, 1.3)},
    "maths": {"pace": (0.2, 0.4)},
    "switches": {"residence": (0.5, 4), "height": (1, 9)},
    "time_conditions": {"pace": (0.5, 2)},
    "sir": {"contact rate": (1.2, 4), "infectious": (1, 30)},
}
QUICK = {"switches", "maths"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FEATURES]
)
@pytest.mark.parametrize("solver", [sd.Euler(), sd.RungeKutta4()])
def test_side_by_side_agrees_with_one_by_one_on_features(name, solver):
    model = feature(name)
    draws = Draws(
        tuple(FEATURES[name]),
        np.random.default_rng(3).uniform(*np.array(list(FEATURES[name].values())).T, (3, len(FEATURES[name]))),
    )
    names = (*model.stocks, *model.auxiliaries)
    ensemble = sweep(model, draws, outputs=names, solver=solver)
    for draw, row in enumerate(draws.values):
        changes = dict(zip(draws.names, row, strict=True))
        run = sd.simulate(model, sd.Scenario("one", changes), solver=solver)
        for variable in names:
            scale = np.abs(run[variable]).max() + 1e-12
            assert_close(
                ensemble[variable][draw] / scale,
                run[variable] / scale,
                0,
                1e-10,
                because="other roundings, no jump met",
            )


def test_the_step_is_chosen_so_that_the_error_is_met():
    model = feature("logistic")
    draws = Draws(("growth rate",), np.linspace(0.2, 0.9, 33)[:, None])
    for rtol in (1e-3, 1e-6):
        ensemble = sweep(model, draws, rtol=rtol)
        rate, t = draws.values, ensemble.times
        exact = 400 / (1 + 39 * np.exp(-rate * t))
        error = np.abs(ensemble["firms"] - exact).max() / 400
        assert error < 2 * rtol
        assert ensemble.provenance["error"] <= rtol
        assert "halving them" in ensemble.notes[0]
    coarse, fine = (sweep(model, draws, rtol=rtol).provenance["steps"] for rtol in (1e-3, 1e-6))
    assert fine > coarse


def test_no_step_crosses_a_switching_time():
    model = feature("switches")
    draws = Draws(("residence",), np.array([[0.7], [1.5], [3.0]]))
    ensemble = sweep(model, draws, rtol=1e-7)
    for draw, residence in enumerate(draws.values[:, 0]):
        run = sd.simulate(model, sd.Scenario("one", {"residence": residence}), save=ensemble.times.tolist())
        assert_close(ensemble["level"][draw], run["level"], 0, 1e-5, because="rtol of the steps is 1e-7")


def test_runs_whose_switching_times_differ_are_solved_one_by_one():
    model = feature("switches")
    draws = Draws(("step time",), np.array([[1.1], [2.3]]))
    ensemble = sweep(model, draws)
    assert "run by run" in ensemble.notes[0]
    run = sd.simulate(model, sd.Scenario("one", {"step time": 2.3}), save=ensemble.times.tolist())
    assert_close(ensemble["level"][1], run["level"], 0, 1e-6, because="the same adaptive solver")


def test_a_stiff_model_is_solved_one_by_one():
    model = tiny("x = INTEG(-speed*(x-SIN(Time)), 0) \n speed = 2e7", check_units=False, end="2")
    ensemble = sweep(model, Draws(("speed",), np.array([[1e7], [3e7]])))
    assert "one by one" in ensemble.notes[0]
    assert_close(ensemble["x"][:, -1], np.sin(2.0), 1e-5, because="x follows the sine at once")


def test_numbers_do_not_depend_on_threads_or_order(small):
    model, draws = small
    wide = Draws(draws.names, np.tile(draws.values, (CHUNK // 35, 1)))
    once = sweep(model, wide, threads=1)
    assert np.array_equal(once.values, sweep(model, wide, threads=3).values)
    order = np.random.default_rng(1).permutation(len(wide))
    shuffled = sweep(model, Draws(wide.names, wide.values[order]))
    assert np.array_equal(shuffled.values, once.values[order])
    assert np.array_equal(once.values[:70], once.values[70:140]), "the same draw gives the same run in any lane"


def test_the_step_does_not_depend_on_the_order_of_the_draws(small):
    """The step was tried on every so-manieth row, so another order could have met another step."""
    from sd_cluster.paths import PILOT, _pilot

    values = np.random.default_rng(5).lognormal(sigma=2.0, size=(3000, 3))
    first = _pilot(values)
    assert len(first) == PILOT
    for seed in range(3):
        assert np.array_equal(_pilot(np.random.default_rng(seed).permutation(values)), first)


@pytest.mark.parametrize("runs", [1, 129, 4096, 43_008])
@pytest.mark.parametrize("workers", [1, 2, 64])
def test_all_workers_have_as_much_to_do(runs, workers):
    """Two threads had two tasks out of 4,096 runs: one slow moment on one of them and the other stood idle."""
    grid = smooth_grid(0.0, (1.0,), [], 0.5)
    size = task_size(grid, runs, workers)
    assert size % WIDTH == 0
    assert size <= CHUNK
    tasks = -(-runs // size)
    assert tasks >= min(4 * workers, -(-runs // LEAST))


def test_an_error_says_when_and_where_to_programs_too():
    model = tiny("level = INTEG(-1-0*reach, 5) ~\nreach = SQRT(level-2) ~")
    with pytest.raises(sd.SimulationError) as caught:
        sd.simulate(model)
    assert (caught.value.stock, caught.value.variable) == ("level", "reach")
    assert caught.value.time == pytest.approx(3.0, abs=0.1), "where the root is empty"
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.time, copy.stock) == (str(caught.value), caught.value.time, "level")
    with pytest.raises(sd.SimulationError) as caught:
        sd.Runner(tiny("a = INTEG(1/b, 1) ~\nb = 0 ~"), [], outputs=["a"], times=[1.0])([])
    assert (caught.value.time, caught.value.variable, caught.value.stock) == (0.0, "a", "a")
    plain = sd.SimulationError("something else")
    assert np.isnan(plain.time) and plain.stock == plain.variable == ""


def test_failed_runs_are_marked_and_the_rest_go_on(core):
    model, draws = core
    values = draws.values.copy()
    values[5, 2] = -50.0
    ensemble = sweep(model, Draws(draws.names, values))
    assert not ensemble.ok[5]
    assert ensemble.ok.sum() == len(values) - 1
    (failure,) = ensemble.failures
    assert failure.draw == 5
    assert failure.stock in model.stocks
    assert 1980 < failure.time < 2040
    assert np.isnan(ensemble.values[5, -1]).all()
    assert np.isfinite(ensemble.values[6]).all()
    assert any("1 of 70 runs failed" in note for note in ensemble.notes)
    clean = sweep(model, draws)
    assert np.array_equal(ensemble.values[6:], clean.values[6:])


def test_more_failed_runs_than_can_be_tried_alone_are_left_whatever_their_order(monkeypatch):
    """The first two hundred of them were solved alone, so that the numbers hung on the order of the draws."""
    from sd_cluster import ensemble

    monkeypatch.setattr(ensemble, "TOLD", 5)
    model = tiny("x = INTEG(-rate*x, 1) ~\nrate = 1 ~", check_units=False)
    rates = np.concatenate([np.linspace(0.1, 1.0, 20), np.linspace(9000.0, 9500.0, 9)])
    order = np.random.default_rng(1).permutation(len(rates))
    coarse = sd.RungeKutta4(0.5)  # far too long for the stiff ones
    horizon = (0.0, 50.0)
    one = sweep(model, Draws(("rate",), rates[:, None]), solver=coarse, horizon=horizon)
    other = sweep(model, Draws(("rate",), rates[order, None]), solver=coarse, horizon=horizon)
    assert one.ok.tolist() == [True] * 20 + [False] * 9
    np.testing.assert_array_equal(other.values, one.values[order])
    assert any("9 runs failed side by side, too many to try each alone" in note for note in one.notes)
    few = sweep(model, Draws(("rate",), rates[:22, None]), solver=coarse, horizon=horizon)
    assert few.ok.all() and any("2 run(s) failed side by side and were solved" in note for note in few.notes)


def test_labels(core):
    model, draws = core
    ensemble = sweep(model, draws, save=10.0)
    assert ensemble.names == model.stocks
    dataset = ensemble.dataset()
    assert dict(dataset.sizes) == {"draw": 70, "time": 7}
    assert dataset["member firms"].attrs["units"] == "firm"
    assert_close(dataset["talent flow"].values, draws["talent flow"], 0, because="copied")
    assert ensemble.frame().loc[(3, 2000.0), "trust"] == ensemble["trust"][3, 2]
    assert ensemble.quantiles("trust").shape == (5, 7)
    with pytest.raises(sd.ModelError, match=r"has not saved 'mobility'; ask for it in outputs"):
        ensemble["mobility"]
    with pytest.raises(ValueError, match="read-only"):
        ensemble.values[0, 0, 0] = 1.0


def test_an_ensemble_prints_what_its_runs_end_with(small):
    model, draws = small
    values = draws.values.copy()
    values[3, 2] = -50.0  # below zero firms fall without end
    ensemble = sweep(model, Draws(draws.names, values), solver=sd.RungeKutta4(), save=5.0)
    lines = str(ensemble).splitlines()
    assert lines[0] == "70 runs of logistic, 0 to 20 in 5 rows, 1 of which failed"
    assert lines[1] == "At 20:"
    name, low, middle, high, unit = lines[3].split()
    assert (name, unit) == ("firms", "firm")
    assert [float(low), float(middle), float(high)] == pytest.approx(
        np.quantile(ensemble["firms"][ensemble.ok, -1], [0.05, 0.5, 0.95]), rel=1e-3
    )
    assert lines[4].startswith("Note: RungeKutta4 with a step of")


def test_figures_of_an_ensemble(core):
    model, draws = core
    ensemble = sweep(model, draws, save=10.0)
    fan = ensemble.plot("member firms").axes[0]
    assert (fan.get_title(loc="left"), fan.get_xlim()) == ("Member firms", (1980.0, 2040.0))
    assert [axes.get_xlabel() for axes in ensemble.scatter("trust").axes] == [
        "Talent flow", "Initial trust", "Obsolescence rate", "Training",
    ]  # fmt: skip
    (one,) = ensemble.scatter("trust", time=2000, parameters=["talent flow"]).axes
    np.testing.assert_array_equal(one.lines[0].get_xdata(), draws["talent flow"])
    np.testing.assert_array_equal(one.lines[0].get_ydata(), ensemble["trust"][:, 2])
    with pytest.raises(sd.ModelError, match=r"no row at 1985; the times are those of \.times"):
        ensemble.scatter("trust", time=1985)


def test_of_many_parameters_a_figure_shows_those_that_matter():
    names = [f"p{number}" for number in range(14)]
    weights = [0.0, 5, 0, 4, 3, 0, 2, 6, 7, 8, 0, 9, 10, 0]
    terms = "+".join(f"{weight}*{name}" for weight, name in zip(weights, names, strict=True))
    model = tiny(f"sum = INTEG({terms}, 0) ~\n" + "\n".join(f"{name} = 1 ~" for name in names), check_units=False)
    draws = Draws(tuple(names), np.random.default_rng(1).random((400, 14)))
    figure = sweep(model, draws).scatter("sum")
    shown = [axes.get_xlabel().lower() for axes in figure.axes]
    assert shown == [name for name, weight in zip(names, weights, strict=True) if weight]


def test_bad_questions_get_one_clear_error(core):
    model, draws = core
    with pytest.raises(sd.ScenarioError, match=r"no such variable \(did you mean 'talent flow'\?\)"):
        sweep(model, Draws(("talent flwo",), np.ones((2, 1))))
    with pytest.raises(sd.ScenarioError, match="which the model computes"):
        sweep(model, Draws(("transfer",), np.ones((2, 1))))
    with pytest.raises(sd.ModelError, match="no variable 'trus'"):
        sweep(model, draws, outputs=["trus"])
    with pytest.raises(sd.ModelError, match="saves nothing"):
        sweep(model, draws, outputs=[])
    with pytest.raises(sd.ModelError, match="'trust' stands twice"):
        sweep(model, draws, outputs=["trust", "Trust"])
    assert sweep(model, draws, outputs="trust", save=30.0).names == ("trust",)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rtol": 0}, "rtol=0 should lie between 0 and 1"),
        ({"rtol": "fine"}, "rtol='fine' should lie between 0 and 1"),
        ({"threads": 0}, "threads=0 should be a whole number from 1 on"),
        ({"solver": "rk4"}, r"solver='rk4' is none; give RungeKutta4\(\), Euler\(\) or Adaptive\(\)"),
        ({"draws": {"trust": [0.1]}}, r"draws came as dict; give Space\(\.\.\.\)\.sample\(n\), or Draws\.of"),
    ],
)
def test_settings_that_make_no_sense_are_told_before_the_first_run(core, wrong, told):
    """A tolerance of nought fell back to the slow solver without a word, a solver's name ended in AttributeError."""
    model, draws = core
    with pytest.raises(sd.ScenarioError, match=told):
        sweep(model, **{"draws": draws, **wrong})


def test_a_scenario_lies_below_the_draws(small):
    model, draws = small
    few = Draws(draws.names[:1], draws.values[:, :1])
    scenario = sd.Scenario("policy", {"capacity": {2: 300, 9: 500}, "firms": 20.0})
    ensemble = sweep(model, few, scenario=scenario, rtol=1e-7)
    one = scenario.with_changes({"growth rate": few.values[3, 0]})
    run = sd.simulate(model, one, save=ensemble.times.tolist())
    assert_close(ensemble["firms"][3], run["firms"], 1e-6, because="rtol of the steps is 1e-7")


def test_a_store_is_filled_in_chunks_and_goes_on_where_it_stopped(small, tmp_path):
    import zarr

    model, draws = small
    wide = Draws(draws.names, np.tile(draws.values, (CHUNK // 30, 1)))
    memory = sweep(model, wide, save=10.0)
    stored = sweep(model, wide, save=10.0, store=tmp_path / "z")
    assert np.array_equal(stored.values[:], memory.values)
    assert stored["firms"].shape == (len(wide), 3)
    group = zarr.open_group(tmp_path / "z")
    group["done"][1] = 0
    group["values"][CHUNK : 2 * CHUNK] = 0.0
    again = sweep(model, wide, save=10.0, store=tmp_path / "z")
    assert np.array_equal(again.values[:], memory.values)
    with pytest.raises(sd.DataError, match="holds another sweep"):
        sweep(model, draws, save=10.0, store=tmp_path / "z")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(sd.DataError, match="not a sweep"):
        sweep(model, draws, store=tmp_path / "other")


def test_an_array_is_drawn_by_its_name(tmp_path):
    """Its elements took the numbers of the next runs, and the last what lay behind them."""
    path = tmp_path / "arrays.mdl"
    path.write_text(
        "{UTF-8}\nD: A1, A2, A3\n\t~\n\t~\n\t|\n"
        + model_text("x[D]=INTEG(g[D],i0[D])\ng[D]=1,2,3\ni0[D]=1").replace("{UTF-8}\n", ""),
        encoding="utf-8",
    )
    model = sd.load(path, check_units=False)
    for solver in (sd.Euler(), None):
        found = sweep(model, sd.Draws.of({"g": [1.0, 2.0]}), outputs=["x"], save=[0, 10], solver=solver)
        assert_close(found.values[:, 1], [[11.0] * 3, [21.0] * 3], 1e-12, because="ten years of the same flow")
    found = sweep(model, sd.Draws.of({"x": [1.0, 2.0], "g[A2]": [0.0, 5.0]}), outputs=["x"], save=[0, 10],
                  solver=sd.Euler())  # fmt: skip
    assert_close(found.values[:, 1], [[11.0, 1.0, 31.0], [12.0, 52.0, 32.0]], 1e-12, because="the same")
    runner = sd.Runner(model, ["g"], outputs=["x[A1]", "x[A3]"], times=[10], backend="python")
    assert_close(runner([2.0]), [[21.0, 21.0]], 1e-12, because="the same")


@pytest.mark.slow
def test_a_local_cluster_gives_the_same_numbers_and_a_killed_worker_loses_nothing(tmp_path):
    pytest.importorskip("distributed", reason="dask.distributed comes with the cluster extra")
    script = tmp_path / "cluster.py"
    script.write_text(
        "import numpy as np, os, signal, threading, time\n"
        "import sd_cluster as sd\n"
        "from sd_cluster.draws import Draws\n"
        "from sd_cluster.ensemble import sweep\n"
        "from dask.distributed import Client, LocalCluster\n"
        "def main():\n"
        "    model = sd.load('collective_learning')\n"
        "    values = np.random.default_rng(0).uniform([0, 0.2], [1, 0.8], (20000, 2))\n"
        "    draws = Draws(('talent flow', 'initial trust'), values)\n"
        "    here = sweep(model, draws, save=10.0, rtol=1e-8)\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:\n"
        "        with Client(cluster) as client:\n"
        "            there = sweep(model, draws, save=10.0, rtol=1e-8, client=client)\n"
        "            print('equal', np.array_equal(here.values, there.values))\n"
        "            pid = list(client.run(os.getpid).values())[0]\n"
        "            threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()\n"
        "            again = sweep(model, draws, save=10.0, rtol=1e-8, client=client)\n"
        "            print('after kill', np.array_equal(here.values, again.values))\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=240, env=os.environ.copy(), check=False
    )
    assert "equal True" in done.stdout, done.stderr[-2000:]
    assert "after kill True" in done.stdout, done.stderr[-2000:]


def test_a_batch_travels_light(small):
    model, draws = small
    batch = Batch(model, sd.Scenario(), model.horizon, draws.names, ("firms",))
    grid = smooth_grid(0.0, (0.0, 20.0), [], 0.5)
    here, _ = carry_out(batch, draws.values, grid)
    copy = pickle.loads(pickle.dumps(batch))
    there, _ = carry_out(copy, draws.values, grid)
    assert np.array_equal(here, there)
    assert len(pickle.dumps(batch)) < 20_000


@pytest.mark.parametrize("x", [0.0, 5e-324, 1e-310, 1e-200, 0.3, 0.7071, 1.0, 1.4143, 2.0, 7.5, 1e200, 1.7e308])
def test_logarithm_of_the_lanes(x):
    from sd_cluster.lanes import l_ln

    expected = np.log(x) if x >= 2.3e-308 else -np.inf
    with np.errstate(over="ignore"):  # whole numbers go round, as they do in compiled code
        assert l_ln(x) == expected or abs(l_ln(x) - expected) <= 4e-16 * max(1.0, abs(expected))
        assert np.isnan(l_ln(-x)) or x == 0.0


@pytest.mark.parametrize("x", [-800.0, -700.0, -1.0, -1e-9, 0.0, 1e-9, 0.34657, 0.3466, 1.0, 20.0, 700.0])
def test_exponential_of_the_lanes(x):
    from sd_cluster.lanes import l_exp

    assert float(l_exp(np.float64(x))) == pytest.approx(np.exp(x), rel=1e-14, abs=1e-300)
