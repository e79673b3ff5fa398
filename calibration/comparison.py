"""Comparison of models fitted to the same figures: AICc at their optima, or leave-one-out over their posteriors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from calibration.chains import quiet_arviz
from calibration.statistics import Floats
from calibration.words import counted, listed, quoted
from sd_cluster.errors import FitError, near

if TYPE_CHECKING:
    import pandas as pd

    from calibration.objective import Objective
    from calibration.posterior import Posterior

Criterion = Literal["aicc", "loo"]

CLEAR, STRONG = 4.0, 10.0
"""Differences of AICc: below the first a model is a fair rival, above the second it has next to no support."""
SMALL = 4.0
"""Differences of expected log density below which leave-one-out does not tell models apart."""
PULL = 1.0
"""Payoff of the priors above which an optimum is not one of the likelihood."""


@dataclass(frozen=True)
class Candidate:
    """One model of a comparison.

    Attributes
    ----------
    name
    unknowns
        What was estimated, solved factors included; for leave-one-out their effective number.
    figures
        Figures it was fitted to.
    log_likelihood
        Of all figures: at the optimum, or for leave-one-out the expected log predictive density.
    aicc, bic
        NaN for leave-one-out.
    difference
        From the best model, zero or more: of AICc, or of expected log density.
    error
        Standard error of that difference; NaN for AICc.
    weight
        Akaike weight, or that of stacking; NaN where the models saw different figures.
    """

    name: str
    unknowns: float
    figures: int
    log_likelihood: float
    aicc: float
    bic: float
    difference: float
    error: float
    weight: float

    @property
    def evidence(self) -> float:
        """Evidence ratio of the best model to this one, by AICc."""
        return float(np.exp(0.5 * self.difference))


@dataclass(frozen=True)
class Comparison:
    """Models side by side, the best first.

    Attributes
    ----------
    criterion
    candidates
    notes
        What to mind, in sentences.
    """

    criterion: Criterion
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether all models saw the same figures, without which nothing is compared."""
        return not any(np.isnan(one.weight) for one in self.candidates)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The outcome in a sentence, then what to mind."""
        if not self.same:
            return self.notes
        best, *others = self.candidates
        tell = _aicc_sentence if self.criterion == "aicc" else _loo_sentence
        return (tell(best, others), *self.notes)

    def frame(self) -> pd.DataFrame:
        """A row for each model."""
        import pandas as pd

        rows = []
        for one in self.candidates:
            row = {"model": one.name, "unknowns": one.unknowns, "figures": one.figures}
            if self.criterion == "aicc":
                row |= {"log_likelihood": one.log_likelihood, "aicc": one.aicc, "bic": one.bic}
                row |= {"difference": one.difference, "weight": one.weight, "evidence_ratio": one.evidence}
            else:
                row |= {"elpd": one.log_likelihood, "difference": one.difference, "error": one.error}
                row |= {"weight": one.weight}
            rows.append(row)
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        table = self.frame().to_string(index=False, float_format=lambda number: f"{number:.4g}", na_rep="-")
        return "\n".join([table, *(f"  {one}" for one in self.sentences)])


def compare(
    fits: Mapping[str, Any], criterion: Criterion = "aicc", *, posteriors: Mapping[str, Posterior] | None = None
) -> Comparison:
    """Compare models fitted to the same figures.

    AICc is minus twice the log-likelihood plus 2 k n / (n - k - 1), k the number of unknowns, solved factors included,
    and n that of figures. It takes figures as independent and unknowns as free: where residuals come in waves it is too
    sure, where priors pull or regions are pooled it counts too many unknowns, and leave-one-out is the better judge.

    Parameters
    ----------
    fits
        By name; each with `objective` and `place`.
    criterion
        "aicc", or "loo": Pareto-smoothed importance sampling over posterior draws. With autoregressive noise, whose
        figures are each judged given those before, "loo" leaves out what a figure adds to its past.
    posteriors
        For "loo": draws for each of the fits' objectives, by the same names.

    Raises
    ------
    FitError
        If there are fewer than two models, the criterion is unknown, or posteriors are missing or do not fit.

    References
    ----------
    Hurvich, C. M. and Tsai, C.-L. (1989), Regression and time series model selection in small samples, Biometrika 76,
    297-307, doi:10.1093/biomet/76.2.297.
    Burnham, K. P. and Anderson, D. R. (2002), Model selection and multimodel inference, doi:10.1007/b97636.
    Vehtari, A., Gelman, A. and Gabry, J. (2017), doi:10.1007/s11222-016-9696-4, for leave-one-out.
    Yao, Y., Vehtari, A., Simpson, D. and Gelman, A. (2018), Using stacking to average Bayesian predictive
    distributions, doi:10.1214/17-BA1091, for its weights.
    """
    if len(fits) < 2:
        raise FitError(f"{counted(len(fits), 'model')} to compare; expected two or more, by name")
    if criterion not in get_args(Criterion):
        raise FitError(f"no criterion '{criterion}'{near(criterion, get_args(Criterion))}; there are: aicc, loo")
    differing = _different(fits)
    if criterion == "aicc":
        found, notes = _by_aicc(fits)
    else:
        given = posteriors or {}
        for name in fits:
            if name not in given:
                raise FitError(f"leave-one-out needs a posterior of '{name}'; sample its objective, or compare by aicc")
        found, notes = _by_loo(fits, given, comparable=not differing)
    if differing:
        found = [_uncompared(one) for one in found]
        notes = [differing, *notes]
    return Comparison(criterion, tuple(found), tuple(notes))


def log_densities(objective: Objective, places: ArrayLike) -> tuple[Floats, tuple[str, ...]]:
    """Log density of every figure under every draw: what `Posterior.loo` takes.

    Parameters
    ----------
    objective
    places : shape (..., n_unknowns)

    Returns
    -------
    densities : shape (..., n_figures)
    labels
        Such as "firms 2009", with the region where there are several.

    Raises
    ------
    SimulationError
        If a draw cannot be run.
    """
    given = np.asarray(places, dtype=float)
    flat = given.reshape(-1, given.shape[-1])
    columns, labels = [], []
    for number, one in enumerate(objective.likelihoods):
        values = objective.of_region(flat, number)
        columns.append(
            np.array([np.concatenate([each.judged.pointwise for each in one.outcome(row).values()]) for row in values])
        )
        where = f"{one.region} " if len(objective.likelihoods) > 1 else ""
        labels += [f"{where}{name} {year:.0f}" for name, series in one.series.items() for year in series.years]
    return np.concatenate(columns, axis=1).reshape(*given.shape[:-1], -1), tuple(labels)


def count_unknowns(objective: Objective) -> int:
    """Unknowns of an objective, with the factors that are solved in closed form."""
    return len(objective.names) + sum(one.solved(name) for one in objective.likelihoods for name in one.series)


def _by_aicc(fits: Mapping[str, Any]) -> tuple[list[Candidate], list[str]]:
    rows: list[tuple[str, int, int, float, float]] = []
    notes: list[str] = []
    pulled: list[str] = []
    for name, fit in fits.items():
        objective, place = fit.objective, np.asarray(fit.place, dtype=float)
        densities = log_densities(objective, place)[0]
        unknowns, count = count_unknowns(objective), len(densities)
        spare = count - unknowns - 1
        likely = float(densities.sum())
        rows.append(
            (name, unknowns, count, likely, -2.0 * likely + 2.0 * unknowns * count / spare if spare > 0 else np.inf)
        )
        if spare <= 0:
            notes.append(f"'{name}' has {unknowns} unknowns for {counted(count, 'figure')}: AICc cannot judge it.")
        elif objective.pooled:
            notes.append(f"'{name}' pools regions, so its unknowns are fewer than {unknowns}: prefer leave-one-out.")
        elif objective.penalty(place) > PULL:
            pulled.append(name)
    if pulled:
        notes.append(
            f"Priors pull the optimum of {listed(quoted(pulled))}: AICc is then an upper bound; prefer leave-one-out."
        )
    best = min(value for *_, value in rows)
    gaps = np.array([value - best if np.isfinite(value) else np.inf for *_, value in rows])
    weights = np.exp(-0.5 * gaps) / np.exp(-0.5 * gaps).sum() if np.isfinite(best) else np.full(len(rows), np.nan)
    found = [
        Candidate(
            name, unknowns, count, likely, value, unknowns * float(np.log(count)) - 2.0 * likely, float(gap), np.nan,
            float(weight),
        )
        for (name, unknowns, count, likely, value), gap, weight in zip(rows, gaps, weights, strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.difference), notes


def _by_loo(
    fits: Mapping[str, Any], posteriors: Mapping[str, Posterior], *, comparable: bool
) -> tuple[list[Candidate], list[str]]:
    import warnings

    arviz = quiet_arviz()
    data, alone, notes = {}, {}, []
    for name, fit in fits.items():
        posterior = posteriors[name]
        if tuple(posterior.names) != tuple(fit.objective.names):
            raise FitError(f"the posterior of '{name}' has other unknowns than its objective; sample that objective")
        densities, labels = log_densities(fit.objective, posterior.places)
        alone[name] = posterior.loo(densities, labels=labels)
        data[name] = arviz.from_dict({"values": posterior.values}, log_likelihood={"figures": densities})
        notes += [f"'{name}': {verdict.text}" for verdict in alone[name].verdicts if not verdict.good]
    if not comparable:
        return [
            Candidate(name, one.effective, len(one.by_figure), one.elpd, np.nan, np.nan, np.nan, np.nan, np.nan)
            for name, one in alone.items()
        ], notes
    with warnings.catch_warnings():  # the notes say what this warning says, and of which figures
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto", category=UserWarning)
        warnings.filterwarnings("ignore", message="The inplace keyword", category=DeprecationWarning)  # ArviZ in pandas
        table = arviz.compare(data, ic="loo", method="stacking")
    found = [
        Candidate(
            str(name), float(row["p_loo"]), len(alone[str(name)].by_figure), float(row["elpd_loo"]), np.nan, np.nan,
            float(row["elpd_diff"]), float(row["dse"]), float(row["weight"]),
        )
        for name, row in table.iterrows()
    ]  # fmt: skip
    return found, notes


def _uncompared(one: Candidate) -> Candidate:
    return Candidate(one.name, one.unknowns, one.figures, one.log_likelihood, one.aicc, one.bic, *(np.nan,) * 3)


def _different(fits: Mapping[str, Any]) -> str:
    """What to say where models saw different figures; empty where they saw the same."""
    seen = {
        name: {
            (one.region, indicator, year): value
            for one in fit.objective.likelihoods
            for indicator, series in one.series.items()
            for year, value in zip(series.years.tolist(), series.values.tolist(), strict=True)
        }
        for name, fit in fits.items()
    }
    first, *others = seen
    for name in others:
        if seen[name] != seen[first]:
            odd = sorted(
                key for key in seen[name].keys() | seen[first].keys() if seen[name].get(key) != seen[first].get(key)
            )
            region, indicator, year = odd[0]
            return (
                f"'{name}' and '{first}' saw different figures (such as '{indicator}' of {region} in {year:.0f}; "
                f"{len(odd)} in all), so they cannot be compared: fit them to the same."
            )
    return ""


def _aicc_sentence(best: Candidate, others: list[Candidate]) -> str:
    text = f"By AICc '{best.name}' is best (weight {best.weight:.2f})"
    rivals = [one for one in others if one.difference < CLEAR]
    lost = [one.name for one in others if one.difference > STRONG]
    between = [one for one in others if CLEAR <= one.difference <= STRONG]
    if rivals:
        text += f"; {listed([_with_evidence(one) for one in rivals])} can not be ruled out"
    if between:
        text += f"; {listed([_with_evidence(one) for one in between])} has less support"
    if lost:
        text += f"; next to nothing speaks for {listed(quoted(lost))}"
    return text + "."


def _with_evidence(one: Candidate) -> str:
    return f"'{one.name}' (evidence {one.evidence:.3g} to 1 against it)"


def _loo_sentence(best: Candidate, others: list[Candidate]) -> str:
    text = f"By leave-one-out '{best.name}' predicts best"
    for one in others:
        gap = f"'{one.name}' is behind by {one.difference:.1f} ± {one.error:.1f} in log density"
        apart = one.difference >= SMALL and one.difference > 2.0 * one.error
        text += f"; {gap}: {'worse' if apart else 'not told apart'}"
    return text + "."
