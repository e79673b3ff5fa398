"""Data worth: against closed forms of lines and exponentials, and against the same figures put into the data."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support import assert_close, tiny

from calibration.candidates import Further, gains_of, shares_of, usual_candidates
from calibration.dataset import dataset_from
from calibration.landscape import gram
from calibration.likelihood import Likelihood
from calibration.measurement import Level, Measurement, Shift
from calibration.noise import AutoRegressive, LogNormal, NormalNoise, Poisson
from calibration.objective import Objective
from calibration.priors import LogNormal as LogNormalPrior
from calibration.priors import Normal
from calibration.worth import prediction_of, worth
from sd_cluster.errors import DataError, FitError, ModelError

YEARS = np.array([0.0, 1.0, 2.0, 4.0])
SLOPES = "slopes of the priors' maps by differences"
UNITS = {"line": "dmnl", "ideas": "idea"}
MODEL = tiny(
    """
    line = level + trend * Time ~ dmnl
    level = 3 ~ dmnl
    trend = 0.5 ~ dmnl
    knowledge = INTEG(transfer rate * openness * knowledge, start) ~ idea
    transfer rate = 0.2 ~ 1/Year
    openness = 0.5 ~ dmnl
    start = 10 ~ idea
    """,
    check_units=False,
)


def table(**series):
    """Figures of a region, by indicator, at `YEARS` or at years of their own."""
    rows = [
        {"region": "p", "year": int(year), "indicator": name, "value": value, "unit": UNITS[name], "source": "twin"}
        for name, some in series.items()
        for year, value in (some.items() if isinstance(some, dict) else zip(YEARS, some, strict=True))
    ]
    return dataset_from(pd.DataFrame(rows))


def lines(**more):
    """Level and trend of a line, with normal noise of 0.2 and standard normal priors about the truth."""
    likelihood = Likelihood(
        MODEL, table(line=3.0 + 0.5 * YEARS), Measurement({"line": Level("line")}), ["level", "trend"],
        noise={"line": NormalNoise(scale=0.2)}, **more,
    )  # fmt: skip
    return Objective(likelihood, {"level": Normal(3.0, 1.0, source="toy"), "trend": Normal(0.5, 1.0, source="toy")})


def growths(gauge=None, noise=None, values=None, shifts=None, names=("transfer rate", "openness", "start")):
    """Exponential growth of 0.1 a year from 10."""
    likelihood = Likelihood(
        MODEL, table(ideas=10.0 * np.exp(0.1 * YEARS) if values is None else values),
        Measurement({"ideas": gauge or Level("knowledge")}, {"ideas": shifts or ()}), names,
        noise={"ideas": noise or LogNormal(scale=0.05)},
    )  # fmt: skip
    middles = {"transfer rate": 0.2, "openness": 0.5, "start": 10.0}
    return Objective(likelihood, {name: LogNormalPrior(middles[name], 3.0, source="toy") for name in names})


def design(years, scale=0.2):
    matrix = np.column_stack([np.ones_like(years), years]) / scale
    return matrix.T @ matrix


# --- against closed forms


def test_further_years_of_a_line():
    objective, more = lines(), np.array([6.0, 8.0])
    found = worth(objective, objective.start, candidates=[Further("line", more)])
    now = np.linalg.inv(design(YEARS) + np.eye(2))
    then = np.linalg.inv(design(YEARS) + design(more) + np.eye(2))
    item = found.further[0]
    assert_close(found.present, np.sqrt(np.diag(now)), 1e-7, because=SLOPES)
    assert_close(found.errors[0], np.sqrt(np.diag(then)), 1e-7, because=SLOPES)
    assert item.target == "trend" and not item.relative
    assert_close(item.narrowing, 1.0 - np.sqrt(then[1, 1] / now[1, 1]), 1e-7, because=SLOPES)
    bits = 0.5 * np.log2(np.linalg.det(now) / np.linalg.det(then))
    assert_close(item.information, bits, 1e-7, because=SLOPES)
    # without its only series nothing but the priors is left
    assert_close(found.errors[1], np.ones(2), 1e-6, because=SLOPES)
    assert found.without[0].label == "'line'" and found.without[0].information < 0


def test_figures_of_another_noise():
    objective, more = lines(), np.array([6.0, 8.0])
    found = worth(objective, objective.start, "trend", [Further("line", more, NormalNoise(scale=0.01))], present=False)
    then = np.linalg.inv(design(YEARS) + design(more, 0.01) + np.eye(2))
    assert_close(found.items[0].after, np.sqrt(then[1, 1]), 1e-7, because=SLOPES)


def test_a_prediction_of_a_line():
    objective, more = lines(), np.array([6.0])
    target = prediction_of(objective, "line", 9.0)
    found = worth(objective, objective.start, target, [Further("line", more)], present=False, told="the line in 9")
    at = np.array([1.0, 9.0])
    for error, information in ((found.present[0], design(YEARS)), (found.errors[0, 0], design(YEARS) + design(more))):
        exact = np.sqrt(at @ np.linalg.inv(information + np.eye(2)) @ at) / 7.5
        assert_close(error, exact, 1e-6, because="slopes by differences")
    assert found.items[0].relative and "would narrow 'the line in 9' from ±" in str(found)


def test_a_solved_factor_takes_what_it_takes():
    """Growth seen through an unknown factor: what counts is the spread of the years about their mean, all together."""
    objective = growths(Level("knowledge", scale=True), names=("transfer rate",))
    (gain,) = gains_of(objective, objective.start, [Further("ideas", [6, 9])])
    wide = np.log(3.0) / 1.6448536269514722
    every = np.array([*YEARS, 6.0, 9.0])
    spreads = [np.sum((some - some.mean()) ** 2) for some in (every, YEARS)]
    exact = (spreads[0] - spreads[1]) * (0.1 * wide / 0.05) ** 2
    assert_close(gain[0, 0], exact, 1e-4, because="Runge-Kutta's growth at steps of an eighth")
    # figures of another noise have another factor, so that only their own spread counts
    (apart,) = gains_of(objective, objective.start, [Further("ideas", [6, 9], 0.05)])
    assert_close(apart[0, 0], 4.5 * (0.1 * wide / 0.05) ** 2, 1e-4, because="the same")


@pytest.mark.parametrize(
    "noise", [LogNormal(), AutoRegressive(), NormalNoise(scale=0.3), Poisson(), LogNormal(scale=0.05)], ids=repr
)
def test_as_if_the_figures_were_there(noise):
    """What is promised is what the information is once the figures are in the data, and turn out as predicted."""
    counts = np.round(10.0 * np.exp(0.1 * YEARS))
    objective = growths(noise=noise, values=counts)
    place = objective.start
    (gain,) = gains_of(objective, place, [Further("ideas", [3, 6])])
    one = objective.likelihoods[0]
    predicted = one.predictor([3, 6])(objective.of_region(place))["ideas"]
    predicted = np.round(predicted) if isinstance(noise, Poisson) else predicted
    figures = dict(zip(YEARS, counts, strict=True)) | dict(zip([3, 6], predicted, strict=True))
    fuller = Objective(one.with_data(table(ideas=dict(sorted(figures.items())))), objective.priors)
    assert_close(gram(objective, place) + gain, gram(fuller, place), 1e-6, 1e-7, because=SLOPES)


def test_shares_of_the_series_add_up():
    one = lines().likelihoods[0]
    both = Likelihood(
        MODEL, table(line=3.0 + 0.5 * YEARS, ideas=10.0 * np.exp(0.1 * YEARS)),
        Measurement({"line": Level("line"), "ideas": Level("knowledge")}), [*one.free, "start"],
        noise={"line": one.noise["line"], "ideas": 0.1},
    )  # fmt: skip
    priors = {name: LogNormalPrior(value, 3.0, source="toy") for name, value in
              {"level": 3.0, "trend": 0.5, "start": 10.0}.items()}  # fmt: skip
    objective = Objective(both, priors)
    shares = shares_of(objective, objective.start)
    assert list(shares) == [("p", "line"), ("p", "ideas")]
    assert_close(sum(shares.values()), gram(objective, objective.start), 1e-7, 1e-9, because=SLOPES)


def test_what_separates_a_product():
    """Growth tells only the product of two parameters; a look at one of them parts them, more growth does not."""
    objective = growths()
    found = worth(
        objective, objective.start, "openness",
        [Further("ideas", [5, 6, 7, 8]), Further(Level("openness"), [2], 0.1)], present=False,
    )  # fmt: skip
    assert [item.label for item in found.items] == ["'openness' in 2 at 10 %", "'ideas' each year 5-8"]
    assert found.items[0].after < 0.1 and found.items[1].narrowing < 0.02
    assert str(found) == "'openness' in 2 at 10 % would narrow 'openness' from ±48 % to ±9.8 %."


def test_shifts_and_regions_find_their_unknowns():
    first = growths(shifts=[Shift(2)]).likelihoods[0]
    second = Likelihood(
        MODEL, replace(first.dataset, region="q"), first.measurement, first.free, noise=first.noise, region="q"
    )
    priors = {name: LogNormalPrior(0.3, 30.0, source="toy") for name in first.free}
    objective = Objective([first, second], priors, own=["start"])
    gain, other = gains_of(
        objective, objective.start, [Further("ideas", [6], region="q"), Further("ideas", [6], region="p")]
    )
    names = list(objective.names)
    shift = [names.index(f"shift of ideas from 2 [{region}]") for region in "pq"]
    assert gain[shift[1], shift[1]] > 0.0 and gain[shift[0], shift[0]] == 0.0
    assert other[shift[0], shift[0]] > 0.0 and other[shift[1], shift[1]] == 0.0
    found = worth(objective, objective.start, candidates=[])
    assert {item.label for item in found.without} == {"'ideas' of p", "'ideas' of q"}


# --- what is told, and faults


def test_what_one_thinks_of_first():
    found = usual_candidates(growths(), ahead=3)
    assert [str(one) for one in found] == ["'ideas' each year 5-7", "'ideas' in 3"]
    objective = lines()
    found = usual_candidates(objective, noise=0.2)
    assert [str(one) for one in found] == [
        "'line' each year 5-9", "'line' in 3", "'knowledge' (an index) every 2 years 0-4 at 20 %"
    ]  # fmt: skip
    assert len(worth(objective, objective.start).items) == 4


def test_nothing_helps_a_silent_unknown():
    objective = lines()
    found = worth(objective, objective.start, "level", [Further(Level("knowledge"), [1, 2], 0.1)], present=False)
    assert str(found) == "None of the candidates would narrow anything by 5 % or more."
    table = found.frame()
    assert list(table.columns) == ["label", "kind", "information", "target", "before", "after", "narrowing"]


def test_the_most_missed_series_is_told():
    objective = lines()
    told = worth(objective, objective.start, candidates=[]).sentences
    assert told == ("Without 'line', 'trend' would be known to ±1 instead of ±0.067.",)
    assert "error of level" in worth(objective, objective.start, candidates=[]).frame()


def test_what_cannot_be_asked():
    objective = growths()
    start = objective.start

    def ask(*candidates, of=None):
        return worth(objective, start, of, candidates)

    with pytest.raises(FitError, match="'ideas' has a figure of 4 already"):
        ask(Further("ideas", [4, 5]))
    with pytest.raises(FitError, match="not measured so far, so say how noisy"):
        ask(Further("openness", [4]))
    with pytest.raises(FitError, match=r"there is no region 'q'"):
        ask(Further("ideas", [5], region="q"))
    with pytest.raises(ModelError, match="openess"):
        ask(Further("openess", [4], 0.1))
    with pytest.raises(FitError, match="expected at least one"):
        Further("ideas", [])
    with pytest.raises(DataError, match="lies before the run's start"):
        ask(Further("ideas", [-3]))
    with pytest.raises(FitError, match="'opennes' is not among the unknowns"):
        ask(of="opennes")
    with pytest.raises(FitError, match="not a finite number"):
        ask(of=lambda place: float("nan"))
    with pytest.raises(FitError, match="would bring the unknown 'noise of openness'"):
        ask(Further("openness", [1, 2, 3], LogNormal()))
    with pytest.raises(FitError, match="no figures of 'firms' for p"):
        prediction_of(objective, "firms", 2.0)
