"""Cited priors of the parameters of a cluster: the literature where it speaks, else the ranges of the model file."""

from collections.abc import Mapping

from calibration.prior_base import Prior
from calibration.prior_ranges import range_prior
from calibration.prior_scores import LogNormal
from sd_cluster.errors import FitError
from sd_cluster.model import CONTROLS, Model, Parameter, Variable
from sd_cluster.units import dimension

PRIORS: Mapping[str, Prior] = {
    "obsolescence rate": LogNormal(
        0.18, 2.58,
        "knowledge depreciates at 0.15 by convention, 0.12-0.38 by industry (Li 2012), 0.20-0.40 from market values "
        "(Hall 2007, NBER w13473), 0.02-0.07 from inventors' revenue (de Rassenfosse & Jaffe 2018, EER 101:625)",
    ),
    "absorption loss rate": LogNormal(
        0.14, 2.8,
        "organisational forgetting is 0.4 a year in aircraft plants (Benkard 2000: background) and less for research "
        "skills; assumed: down to 0.05",
    ),
    "talent elasticity": LogNormal(
        0.7, 1.4,
        "patents on R&D staff: about 0.6-0.9 (Griliches, Jaffe: background), 0.73 over UK regions (computed), 1.06 in "
        "US federal laboratories (Link & van Hasselt 2019)",
    ),
    "achievement rate": LogNormal(
        1.3, 2.0,
        "diffusion lags differ by a factor of two between industries (Adams, Clemmons & Stephan 2006, NBER w11997); "
        "assumed: the middle, as the parameter is the rate at full openness",
    ),
    "least mobility": LogNormal(
        0.07, 1.7, "job-to-job mobility 0.05 in Sweden and Greece, 0.08 in the EU, 0.13 in Denmark (EU LFS 2003)"
    ),
    "greatest mobility": LogNormal(
        0.27, 1.6,
        "computer staff of Silicon Valley about 0.25 (Fallick, Fleischman & Rebitzer 2006, REStat 88:472: background); "
        "chip firms in mainland China, 2010, median 0.29 (survey in the press)",
    ),
    "bearable mobility": LogNormal(
        0.15, 2.24,
        "talent turnover between the EU's job-to-job mobility, 0.08 (EU LFS 2003), and chip firms' 0.29 (survey in the "
        "press); assumed: that usual turnover is what is bearable",
    ),
    "leaving rate": LogNormal(
        0.10, 2.24,
        "turnover of talent 0.15, nine in ten 0.06-0.30 (EU LFS 2003, press surveys); assumed: two thirds of it leave "
        "the cluster",
    ),
    "exit rate": LogNormal(
        0.075, 1.8,
        "firm death 0.093 in US high tech (computed from US Census BDS), 0.09 in the EU (Eurostat); less on parks "
        "(Ferguson & Olofsson 2004), 22 of 335 firms in Hsinchu in 2002",
    ),
    "spin off rate": LogNormal(
        0.22, 2.0,
        "0.01-0.03 spin-offs per incumbent and year (Klepper & Sleeper; Franco & Filson: background), of which the "
        "model makes 0.025 from 0.28 at rest",
    ),
}  # fmt: skip
"""By name of a parameter of `collective_learning`; each tells its source."""

_UNITS = {"talent elasticity": "dmnl"}
_RATE = "1/Year"


def prior_of(model: Model, name: str) -> Prior:
    """What is known of a parameter before the data speak.

    That is the library's prior where it has one of this name and unit; else any value, or any ratio where the ends lie
    far apart, within the range that the model file gives, which is then said to be assumed.

    Parameters
    ----------
    model
    name
        Of a parameter.

    Raises
    ------
    ModelError
        If the model does not have it.
    FitError
        If it is no parameter but computed, or a control of the run, or nothing is known of it.
    """
    variable = model.variable(name)
    if not isinstance(variable, Parameter) or variable.name in CONTROLS:
        what = "a control of the run" if variable.name in CONTROLS else "computed by the model"
        raise FitError(f"'{variable.name}' is {what}, so the library has no prior of it; give one, such as [0.1, 10]")
    cited = PRIORS.get(variable.name)
    if cited is not None and _same_unit(variable, _UNITS.get(variable.name, _RATE)):
        return cited
    if variable.low is None or variable.high is None:
        raise FitError(
            f"{model.name} gives no range for '{variable.name}' and the library does not know it; give a prior, such "
            "as [0.1, 10] or a log-normal one with median and ratio"
        )
    note = f"; {variable.note}" if variable.note else ""
    return range_prior(variable.low, variable.high, f"assumed: the range in the file of {model.name}{note}")


def _same_unit(variable: Variable, unit: str) -> bool:
    try:
        return dict(dimension(variable.units)) == dict(dimension(unit))
    except ValueError:
        return False
