"""Objectives in closed form: a few figures with known noise, predicted by a formula with known derivatives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from calibration.priors import LogNormal, Normal, Prior, Uniform

RATE = LogNormal(0.2, 3.0, source="toy")
SHARE = Uniform(0.0, 1.0, source="toy")


@dataclass
class Toy:
    """Minus log posterior of figures `observed` with normal noise `sigma` about `formula(values)`.

    `formula` gives predictions (n_figures,) and their derivatives (n_figures, n_unknowns) by the values.
    """

    priors: Mapping[str, Prior]
    formula: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    observed: np.ndarray
    sigma: float = 1.0
    calls: int = field(default=0)

    @property
    def names(self):
        return tuple(self.priors)

    def values(self, place):
        place = np.asarray(place, dtype=float)
        return np.stack([prior.value(place[..., k]) for k, prior in enumerate(self.priors.values())], axis=-1)

    def place(self, values):
        return np.array([float(prior.place(v)) for prior, v in zip(self.priors.values(), values, strict=True)])

    def _jacobian(self, place):
        predicted, jacobian = self.formula(self.values(place))
        slopes = [float(prior.slope(place[k])) for k, prior in enumerate(self.priors.values())]
        return np.asarray(predicted), np.asarray(jacobian) * slopes

    def payoff(self, place):
        return self.payoff_and_gradient(place)[0]

    def payoff_and_gradient(self, place):
        self.calls += 1
        predicted, jacobian = self._jacobian(place)
        residuals = (predicted - self.observed) / self.sigma
        priors = list(enumerate(self.priors.values()))
        penalty = sum(float(prior.penalty(place[k])) for k, prior in priors)
        slopes = np.array([float(prior.penalty_slope(place[k])) for k, prior in priors])
        return 0.5 * float(residuals @ residuals) + penalty, jacobian.T @ residuals / self.sigma + slopes

    def log_density(self, place):
        """Of the posterior over places, and its derivatives: the misfit without penalties, the priors' densities."""
        predicted, jacobian = self._jacobian(place)
        residuals = (predicted - self.observed) / self.sigma
        priors = list(enumerate(self.priors.values()))
        density = sum(float(prior.log_density(place[k])) for k, prior in priors)
        slopes = np.array([float(prior.log_density_slope(place[k])) for k, prior in priors])
        return density - 0.5 * float(residuals @ residuals), slopes - jacobian.T @ residuals / self.sigma

    def information(self, place, *, data_only=False):
        jacobian = self._jacobian(place)[1] / self.sigma
        found = jacobian.T @ jacobian
        curved = [float(prior.curvature(place[k])) for k, prior in enumerate(self.priors.values())]
        return found if data_only else found + np.diag(curved)


class Pooled(Toy):
    """Unknowns `mean of rate`, `spread of rate` and `rate [A]`, ..., whose values hang together as in an objective."""

    def values(self, place):
        found = super().values(place)
        rate = self.priors["mean of rate"]
        found[..., 2:] = rate.value(place[..., :1] + found[..., 1:2] * place[..., 2:])
        return found

    def _jacobian(self, place):
        predicted, jacobian = self.formula(self.values(place))
        rate, spread = self.priors["mean of rate"], self.priors["spread of rate"]
        wide, steep = float(spread.value(place[1])), float(spread.slope(place[1]))
        slopes = np.diag([float(rate.slope(place[0])), steep, *np.zeros(place.size - 2)])
        for row in range(2, place.size):
            slope = float(rate.slope(place[0] + wide * place[row]))
            slopes[row, [0, 1, row]] = slope, slope * place[row] * steep, slope * wide
        return np.asarray(predicted), np.asarray(jacobian) @ slopes


def linear(matrix, sigma=1.0, truth=None, priors=None):
    """Figures that are linear in unknowns with standard normal priors: everything is known of it."""
    matrix = np.asarray(matrix, dtype=float)
    names = [f"x{k}" for k in range(matrix.shape[1])]
    truth = np.zeros(matrix.shape[1]) if truth is None else np.asarray(truth, dtype=float)
    priors = priors or {name: Normal(0.0, 1.0, source="toy") for name in names}
    return Toy(priors, lambda x: (matrix @ x, matrix), matrix @ truth, sigma)


def powers(exponents, names=("transfer rate", "obsolescence"), sigma=0.05, prior=RATE, medians=None):
    """Figures that each are a product of powers of positive unknowns, one row of exponents a figure."""
    exponents = np.asarray(exponents, dtype=float)

    def formula(values):
        predicted = np.exp(exponents @ np.log(values))
        return predicted, predicted[:, None] * exponents / values

    priors = dict.fromkeys(names, prior)
    if medians is not None:
        priors = {name: LogNormal(m, 3.0, source="toy") for name, m in zip(names, medians, strict=True)}
    at = np.array([float(one.value(0.0)) for one in priors.values()])
    return Toy(priors, formula, formula(at)[0], sigma)
