"""Tools of the tests of validation: parks with a known truth, and a quick search for the best place."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from twins import TRUTH, firms_at, park, true_series

import calibration as cal
import sd_cluster as sd
from calibration.dataset import dataset_from

FREE = ("growth rate", "land", "initial firms")
PRIORS = {
    "growth rate": cal.LogNormal(0.3, 2.0),
    "land": cal.LogNormal(600.0, 2.0),
    "initial firms": cal.LogNormal(30.0, 3.0),
}
VALUES = np.array([TRUTH[name] for name in FREE])


@dataclass(frozen=True, eq=False)
class Found:
    """As much of a fit as validation asks for."""

    objective: cal.Objective
    place: np.ndarray


def figures(name: str, years: np.ndarray, values: np.ndarray, region: str = "park") -> pd.DataFrame:
    """Rows of a table for one indicator."""
    return pd.DataFrame(
        {
            "region": region,
            "year": years.astype(int),
            "indicator": name,
            "value": values,
            "unit": name,
            "source": "twin",
        }
    )


def park_likelihood(
    years: np.ndarray, *, noise: object = 0.05, seed: int | None = 0, names: tuple[str, ...] = ("firms",),
    model: sd.Model | None = None, region: str = "park", free: tuple[str, ...] = FREE, scaled: bool = False,
) -> cal.Likelihood:  # fmt: skip
    """The likelihood of a park's figures in some years: exact ones without a seed, else drawn with its own noise."""
    variables = {"firms": "firms", "staff": "employees", "revenue": "sales"}
    gauges = {name: cal.Level(variables[name], scale=scaled or name == "revenue") for name in names}
    table = pd.concat([figures(name, years, true_series(years)[name], region) for name in names])
    scenario = sd.Scenario("truth", {name: value for name, value in TRUTH.items() if name not in free})
    made = cal.Likelihood(
        model or park(), dataset_from(table), cal.Measurement(gauges), free,
        noise=dict.fromkeys(names, noise), scenario=scenario,
    )  # fmt: skip
    if seed is None:
        return made
    values = [TRUTH[name] for name in free]
    medians = [float(prior.quantile(0.5)) for prior in made.default_priors().values()]
    return made.with_data(made.draw(np.array(values + medians), seed))


def objective_of(*likelihoods: cal.Likelihood, **settings: object) -> cal.Objective:
    """Their objective with the priors of the park."""
    free = {name for one in likelihoods for name in one.free}
    return cal.Objective(likelihoods, {name: prior for name, prior in PRIORS.items() if name in free}, **settings)


def fitted(objective: cal.Objective) -> Found:
    """The best place, by a local search from the model's own values."""
    found = minimize(objective.payoff_and_gradient, objective.start, jac=True, method="L-BFGS-B")
    return Found(objective, found.x)


__all__ = [
    "FREE",
    "PRIORS",
    "TRUTH",
    "VALUES",
    "Found",
    "figures",
    "firms_at",
    "fitted",
    "objective_of",
    "park_likelihood",
]
