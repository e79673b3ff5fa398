"""Whether the draws of a posterior can be trusted, in numbers and in sentences."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.chains import DEPTH, quiet_arviz
from calibration.fit import Verdict
from calibration.statistics import Floats
from calibration.words import counted, listed, quoted

AGREE = 1.01
"""R-hat above which chains do not tell of one posterior (Vehtari et al. 2021)."""
ENOUGH = 400
"""Effective draws below which R-hat itself and the quantiles are too rough (Vehtari et al. 2021)."""
ENERGY = 0.3
"""Fraction of missing information in the energy below which the tails are hardly reached (Betancourt 2016)."""
DEEP = 0.01
"""Share of draws with trajectories of full depth from which that is worth saying."""


@dataclass(frozen=True, eq=False)
class Loo:
    """How well draws predict figures they have seen, as if each had been left out.

    Attributes
    ----------
    elpd, error
        Expected log predictive density of all figures, and its standard error.
    effective
        Effective number of unknowns.
    by_figure : shape (n_figures,)
        Contributions to `elpd`.
    pareto_k : shape (n_figures,)
        Above about 0.7 leaving the figure out would change the posterior too much to be told from these draws.
    verdicts
        What to make of it.
    """

    elpd: float
    error: float
    effective: float
    by_figure: Floats
    pareto_k: Floats
    verdicts: tuple[Verdict, ...]


def diagnostics(values: Floats) -> Mapping[str, Floats]:
    """R-hat and effective sizes of ranks, in bulk and in the tails.

    Parameters
    ----------
    values : shape (n_chains, n_draws, n_unknowns)

    Returns
    -------
    found
        `r_hat`, `ess_bulk` and `ess_tail`, shape (n_unknowns,) each; NaN for an unknown that never moved, R-hat
        infinite for chains that stand still at different values.

    References
    ----------
    Vehtari, A., Gelman, A., Simpson, D., Carpenter, B. and Buerkner, P.-C. (2021), Rank-normalization, folding, and
    localization: an improved R-hat for assessing convergence of MCMC, doi:10.1214/20-BA1221.
    """
    arviz = quiet_arviz()
    table = np.full((values.shape[2], 3), np.nan)
    for row, drawn in zip(table, np.moveaxis(values, 2, 0), strict=True):
        if np.ptp(drawn) > 0.0:
            with np.errstate(divide="ignore", invalid="ignore"):  # chains that stand still
                row[:] = arviz.rhat(drawn), arviz.ess(drawn, method="bulk"), arviz.ess(drawn, method="tail")
    return dict(zip(("r_hat", "ess_bulk", "ess_tail"), table.T, strict=True))


def completeness(asked: int, done: int) -> list[Verdict]:
    """Whether all chains are there, and whether they are several."""
    made = []
    if done < asked:
        text = f"Stopped after {done} of {counted(asked, 'chain')}; the same call with the same folder makes the rest."
        made.append(Verdict("convergence", False, text))
    if done == 1:
        text = "One chain cannot show that it missed a part of the posterior; sample at least 4."
        made.append(Verdict("convergence", False, text))
    return made


def agreement(names: Sequence[str], r_hat: Floats) -> Verdict:
    """Whether the chains tell of one posterior."""
    still = [name for name, value in zip(names, r_hat, strict=True) if np.isnan(value)]
    if still:
        text = f"{_few(still)} never moved: R-hat cannot be told. Look at the start and at what the target returns."
        return Verdict("convergence", False, text)
    apart = [names[place] for place in np.argsort(-r_hat) if r_hat[place] > AGREE]
    if not apart:
        return Verdict("convergence", True, f"The chains agree: R-hat is at most {r_hat.max():.3f} (limit {AGREE}).")
    text = (
        f"The chains do not agree on {_few(apart)}: R-hat is up to {r_hat.max():.3g} (limit {AGREE}). Do not use these "
        "draws; give more tuning and draws, and if that does not help look for several optima or for unknowns that "
        "the data cannot tell apart."
    )
    return Verdict("convergence", False, text)


def enough(names: Sequence[str], ess: Floats) -> Verdict:
    """Whether there are draws enough; `ess` is the smaller effective size of each unknown."""
    ess = np.nan_to_num(ess, nan=0.0)
    few = [names[place] for place in np.argsort(ess) if ess[place] < ENOUGH]
    if not few:
        return Verdict("convergence", True, f"There are enough draws: at least {ess.min():.0f} effective ones.")
    text = f"There are too few effective draws of {_few(few)}: {ess.min():.0f}, at least {ENOUGH} are needed"
    more = f"; draw about {np.ceil(ENOUGH / ess.min()):.0f} times as many." if ess.min() >= 1.0 else "."
    return Verdict("convergence", False, text + more)


def divergence(stats: Mapping[str, Floats], target_accept: float) -> Verdict:
    """Whether trajectories of NUTS left the level of their energy."""
    diverging = stats["diverging"]
    number = int(diverging.sum())
    if not number:
        return Verdict("convergence", True, "No trajectory diverged.")
    text = (
        f"{counted(number, 'draw')} ({100.0 * number / diverging.size:.2g} %) diverged: there the posterior is too "
        "sharp for the step, or the model cannot be run, and a part may be missed. Sample with "
        f"target_accept={min(0.99, 0.5 * (1.0 + target_accept)):g}, or narrow priors that reach where the model "
        "cannot be run."
    )
    return Verdict("convergence", False, text)


def trajectories(stats: Mapping[str, Floats]) -> list[Verdict]:
    """What to mind about the energy and the length of trajectories; nothing if they are as they should be.

    References
    ----------
    Betancourt, M. (2016), Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo, arXiv:1604.00695.
    """
    made = []
    energy = stats["energy"]
    moving = energy[energy.var(axis=1) > 0.0]
    share = np.mean(np.diff(moving, axis=1) ** 2, axis=1) / moving.var(axis=1)
    if share.size and share.min() < ENERGY:
        text = (
            f"The energy moves slowly (missing-information fraction {share.min():.2f}, at least {ENERGY}): the tails "
            "are hardly reached. Sample longer, or write a spread and what it spreads as independent unknowns."
        )
        made.append(Verdict("convergence", False, text))
    deep = float(np.mean(stats["depth"] >= DEPTH))
    if deep >= DEEP:
        text = (
            f"{100.0 * deep:.0f} % of the trajectories reached the greatest length, 2^{DEPTH} steps: slow, not wrong. "
            "Start from the optimum, or hold unknowns that the data cannot tell apart."
        )
        made.append(Verdict("convergence", False, text))
    return made


def leave_one_out(values: Floats, log_likelihood: Floats, labels: Sequence[str] | None) -> Loo:
    """Leave-one-out prediction by Pareto-smoothed importance sampling, with a verdict.

    Parameters
    ----------
    values : shape (n_chains, n_draws, n_unknowns)
        They tell how many draws these are worth.
    log_likelihood : shape (n_chains, n_draws, n_figures)
    labels
        What to call the figures.

    References
    ----------
    Vehtari, A., Gelman, A. and Gabry, J. (2017), Practical Bayesian model evaluation using leave-one-out
    cross-validation and WAIC, doi:10.1007/s11222-016-9696-4.
    """
    arviz = quiet_arviz()
    data = arviz.from_dict({"values": values}, log_likelihood={"figures": log_likelihood})
    with warnings.catch_warnings():  # the verdict says what this warning says, and of which figures
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto", category=UserWarning)
        found = arviz.loo(data, pointwise=True)
    k = np.asarray(found.pareto_k, dtype=float)
    limit = float(found.good_k)
    called = labels if labels is not None else [f"figure {number}" for number in range(k.size)]
    bad = [called[place] for place in np.argsort(-k) if not k[place] <= limit]
    if bad:
        text = (
            f"Leaving out {_few(bad)} would move the posterior too much to be told from these draws (Pareto k up to "
            f"{k.max():.2f}, limit {limit:.2f}): fit again without, or look whether the figure is a slip."
        )
    else:
        text = f"Each figure can be left out on paper: Pareto k is at most {k.max():.2f} (limit {limit:.2f})."
    by_figure = np.asarray(found.loo_i, dtype=float)
    for array in (by_figure, k):
        array.setflags(write=False)
    numbers = (float(found.elpd_loo), float(found.se), float(found.p_loo))
    return Loo(*numbers, by_figure, k, (Verdict("data", not bad, text),))


def _few(names: Sequence[str]) -> str:
    """The first names in quotes, and how many more there are."""
    more = [] if len(names) <= 4 else [f"{len(names) - 3} more"]
    return listed([*quoted(names if not more else names[:3]), *more])
