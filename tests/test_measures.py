"""What is asked of each run: measures against trajectories whose answers can be seen."""

import numpy as np
import pytest
from support import assert_close, tiny

import sd_cluster as sd
from sd_cluster.answers import evaluate
from sd_cluster.draws import Draws
from sd_cluster.measures import At, Computed, Course, Cumulated, Final, FirstAbove, Peak, measures_of

TIMES = np.array([2000.0, 2001.0, 2003.0])
FIRMS = {"firms": np.array([[40.0, 60.0, 100.0], [100.0, 50.0, 40.0], [10.0, 20.0, 15.0]])}


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (Final("firms"), [100.0, 40.0, 15.0]),
        (At("firms", 2001.0), [60.0, 50.0, 20.0]),
        (At("firms", 2002.0), [80.0, 45.0, 17.5]),
        (At("firms", 2000.0), [40.0, 100.0, 10.0]),
        (At("firms", 2003.0), [100.0, 40.0, 15.0]),
        (Peak("firms"), [100.0, 100.0, 20.0]),
        (FirstAbove("firms", 80.0), [2002.0, 2000.0, np.nan]),
        (FirstAbove("firms", 80.0, otherwise=2003.0), [2002.0, 2000.0, 2003.0]),
        (FirstAbove("firms", 10.0), [2000.0, 2000.0, 2000.0]),
        (Cumulated("firms"), [210.0, 165.0, 50.0]),
        (Computed("swing", lambda run: np.ptp(run["firms"]), ("firms",)), [60.0, 60.0, 10.0]),
    ],
)
def test_measures_read_what_can_be_seen(measure, expected):
    np.testing.assert_allclose(measure.read(TIMES, FIRMS, {"firms": "firm"}), expected)


def test_a_broken_run_has_no_answer():
    broken = {"firms": np.array([[10.0, np.nan, np.nan]])}
    for measure in (Final("firms"), Peak("firms"), FirstAbove("firms", 5.0, otherwise=1.0), Cumulated("firms")):
        assert np.isnan(measure.read(TIMES, broken, {})).all()
    never_called = Computed("any", lambda run: 1 / 0, ("firms",))
    assert np.isnan(never_called.read(TIMES, broken, {})).all()


def test_a_function_sees_a_run_with_units_and_times():
    seen = []
    Computed("any", lambda run: seen.append((run.unit("firms"), *run.times)) or 0.0, ("firms",)).read(
        TIMES, {"firms": FIRMS["firms"][:1]}, {"firms": "firm"}
    )
    assert seen == [("firm", 2000.0, 2001.0, 2003.0)]


def test_a_year_outside_the_runs_is_refused():
    with pytest.raises(sd.ModelError, match="firms in 2010: the runs go from 2000 to 2003"):
        At("firms", 2010.0).read(TIMES, FIRMS, {})


def test_outputs_are_named_once():
    def final_gap(run):
        return 0.0

    assert [one.label for one in measures_of([Final("trust"), final_gap])] == ["final trust", "final gap"]
    assert measures_of("trust") == (Course("trust"),)
    with pytest.raises(sd.ModelError, match="asked for twice"):
        measures_of(["trust", "trust"])
    assert measures_of(["trust", Peak("firms")]) == (Course("trust"), Peak("firms"))
    with pytest.raises(sd.ModelError, match="no output is asked for"):
        measures_of([])


def test_a_condition_says_true_false_or_nothing():
    above, below = Final("firms") > 30.0, Final("firms") < 30.0
    answers = np.array([40.0, 20.0, np.nan])
    np.testing.assert_array_equal(above.holds(answers), [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(below.holds(answers), [0.0, 1.0, np.nan])
    assert str(below) == "final firms < 30"


GROWTH = """
    stock = INTEG(gain, start) ~ thing
    gain = rate * stock ~ thing/Year
    start = 2 ~ thing
    rate = 0.1 ~ 1/Year
"""


def test_a_model_answers_as_its_closed_form_does():
    draws = Draws(("rate", "start"), np.array([[0.1, 2.0], [0.2, 3.0], [-0.1, 1.0]]))
    model = tiny(GROWTH)
    ends = draws["start"] * np.exp(10.0 * draws["rate"])
    of = [Final("stock"), Cumulated("gain"), FirstAbove("stock", 2.5, otherwise=10.0), At("Stock", 5.0)]
    answers = evaluate(model, draws, of, {"save": 0.125, "rtol": 1e-8})
    assert answers.values.shape == (3, 1, 4)
    assert answers.outputs == ("final stock", "cumulated gain", "first time of stock above 2.5", "Stock in 5")
    table = answers.values[:, 0]
    assert_close(table[:, 0], ends, 1e-6, because="steps are chosen for 1e-8 of the largest value")
    assert_close(table[:, 1], ends - draws["start"], 1e-4, because="trapezoids of an eighth of a year")
    assert_close(table[0, 2], np.log(1.25) / 0.1, 1e-4, because="straight between eighths of a year")
    np.testing.assert_array_equal(table[1:, 2], [0.0, 10.0])
    assert_close(table[:, 3], draws["start"] * np.exp(5.0 * draws["rate"]), 1e-6, because="steps are chosen for 1e-8")


def test_a_course_over_time_and_a_bare_function_of_the_run():
    draws = Draws(("rate",), np.array([[0.1], [0.2]]))
    course = evaluate(tiny(GROWTH), draws, "stock", {})
    assert course.values.shape == (2, 11, 1)
    np.testing.assert_array_equal(course.times, np.arange(11.0))

    def doubled(run):
        return 2.0 * run["stock"][-1]

    number = evaluate(tiny(GROWTH), draws, doubled, {})
    assert_close(number.values[:, 0, 0], 2.0 * course.values[:, -1, 0], 1e-12, because="the same runs")


def test_courses_and_numbers_together_are_what_each_is_alone():
    draws, model = Draws(("rate",), np.array([[0.1], [0.2]])), tiny(GROWTH)
    both = evaluate(model, draws, [Final("stock"), "gain", FirstAbove("stock", 2.5)], {})
    np.testing.assert_array_equal(both.times, [*np.arange(11.0), np.nan])
    assert both.courses == (False, True, False)
    np.testing.assert_array_equal(np.isfinite(both.values), np.broadcast_to(both.places, (2, 12, 3)))
    np.testing.assert_array_equal(both.values[:, -1:, 0], evaluate(model, draws, Final("stock"), {}).values[..., 0])
    np.testing.assert_array_equal(both.values[:, :-1, 1], evaluate(model, draws, "gain", {}).values[..., 0])
    assert both.ok.all()


def test_runs_in_a_store_are_read_chunk_by_chunk(tmp_path):
    from dataclasses import replace

    from sd_cluster.answers import read_ensemble
    from sd_cluster.ensemble import sweep
    from sd_cluster.workers import CHUNK

    class Watched:
        """A store's values that remember how many runs were read at once."""

        def __init__(self, values):
            self.values, self.shape, self.chunks, self.most = values, values.shape, values.chunks, 0

        def __getitem__(self, rows):
            found = self.values[rows]
            self.most = max(self.most, len(found))
            return found

    draws = Draws(("rate",), np.linspace(-0.1, 0.2, 2 * CHUNK + 100)[:, None])
    stored = sweep(tiny(GROWTH), draws, outputs=["stock", "gain"], store=tmp_path / "runs.zarr")
    watched = Watched(stored.values)
    of = measures_of([Final("stock"), Peak("gain"), "gain"])
    answers = read_ensemble(replace(stored, values=watched), of)
    assert watched.most == CHUNK
    here = read_ensemble(sweep(tiny(GROWTH), draws, outputs=["stock", "gain"]), of)
    np.testing.assert_array_equal(answers.values, here.values)


def test_unknown_names_are_met_with_the_nearest():
    draws = Draws(("rate",), np.array([[0.1], [0.2]]))
    with pytest.raises(sd.ModelError, match=r"did you mean 'stock'\?"):
        evaluate(tiny(GROWTH), draws, "stok", {})
    with pytest.raises(sd.SdClusterError, match=r"did you mean 'rate'\?"):
        evaluate(tiny(GROWTH), Draws(("rat",), np.array([[0.1]])), "stock", {})


def test_a_plain_function_may_give_one_answer_or_several():
    draws = Draws(("a", "b"), np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert evaluate(lambda x: x.sum(axis=1), draws, None).outputs == ("output",)
    assert evaluate(lambda x: x, draws, ["one", "two"]).outputs == ("one", "two")
    with pytest.raises(sd.ModelError, match=r"it should give \(2,\)"):
        evaluate(lambda x: 1.0, draws, None)
    with pytest.raises(sd.ModelError, match="2 outputs, but 1 are named"):
        evaluate(lambda x: x, draws, "one")


def test_runs_without_an_answer_are_counted_with_the_reason():
    draws = Draws(("rate",), np.array([[0.1], [-0.1]]))
    answers = evaluate(tiny(GROWTH), draws, FirstAbove("stock", 2.5), {})
    np.testing.assert_array_equal(answers.ok, [True, False])
    assert answers.lost == 1
    assert "1 run has no 'first time of stock above 2.5'; say what they count as by otherwise=" in answers.reasons
