"""Calibration: figures of real regions, what a model says of them, and how sure that is.

What a first fit needs is imported at once; names further down are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from calibration.audit import Audit as Audit
from calibration.audit import audit as audit
from calibration.audit import breaks_of as breaks_of
from calibration.dataset import Dataset as Dataset
from calibration.dataset import Series as Series
from calibration.dataset import dataset_from as dataset_from
from calibration.dataset import read_dataset as read_dataset
from calibration.dataset import read_datasets as read_datasets
from calibration.dataset import regions as regions
from calibration.fit import Estimate as Estimate
from calibration.fit import Fit as Fit
from calibration.fit import RegionFit as RegionFit
from calibration.fit import SeriesFit as SeriesFit
from calibration.fit import Start as Start
from calibration.fit import Verdict as Verdict
from calibration.fit import simulate_fit as simulate_fit
from calibration.fit_file import load_fit as load_fit
from calibration.identifiability import Identification as Identification
from calibration.identifiability import identify as identify
from calibration.likelihood import Likelihood as Likelihood
from calibration.measurement import Cumulated as Cumulated
from calibration.measurement import Gauge as Gauge
from calibration.measurement import Growth as Growth
from calibration.measurement import Index as Index
from calibration.measurement import Lagged as Lagged
from calibration.measurement import Level as Level
from calibration.measurement import Measurement as Measurement
from calibration.measurement import Rate as Rate
from calibration.measurement import Share as Share
from calibration.measurement import Shift as Shift
from calibration.measurement import Survey as Survey
from calibration.misfit import Misfit as Misfit
from calibration.modes import posterior_mode as posterior_mode
from calibration.noise import AutoRegressive as AutoRegressive
from calibration.noise import NegativeBinomial as NegativeBinomial
from calibration.noise import NormalNoise as NormalNoise
from calibration.noise import Poisson as Poisson
from calibration.noise import StudentT as StudentT
from calibration.objective import Objective as Objective
from calibration.objective import Pool as Pool
from calibration.optimisation import minimise as minimise
from calibration.patterns import Bound as Bound
from calibration.patterns import GrowthRate as GrowthRate
from calibration.patterns import HalfLife as HalfLife
from calibration.patterns import Peak as Peak
from calibration.patterns import TakeOff as TakeOff
from calibration.posterior import Posterior as Posterior
from calibration.posterior import sample_posterior as sample_posterior
from calibration.priors import Beta as Beta
from calibration.priors import LogitNormal as LogitNormal
from calibration.priors import LogNormal as LogNormal
from calibration.priors import LogUniform as LogUniform
from calibration.priors import Normal as Normal
from calibration.priors import Uniform as Uniform
from calibration.priors import prior_of as prior_of
from calibration.profiles import Profile as Profile
from calibration.profiles import profile as profile
from calibration.profiles import profiles as profiles
from calibration.searches import CovarianceMatrixAdaptation as CovarianceMatrixAdaptation
from calibration.searches import DifferentialEvolution as DifferentialEvolution
from calibration.searches import TrustRegion as TrustRegion
from calibration.shrinkage import Shrinkage as Shrinkage
from calibration.shrinkage import shrinkage as shrinkage
from calibration.worth import Worth as Worth
from calibration.worth import prediction_of as prediction_of
from calibration.worth import worth as worth

if TYPE_CHECKING:
    from calibration.audit_figure import draw_audit as draw_audit
    from calibration.baselines import Naive as Naive
    from calibration.baselines import naive_forecasts as naive_forecasts
    from calibration.candidates import Further as Further
    from calibration.candidates import usual_candidates as usual_candidates
    from calibration.checks import PredictiveChecks as PredictiveChecks
    from calibration.checks import check_predictions as check_predictions
    from calibration.comparison import Comparison as Comparison
    from calibration.comparison import compare as compare
    from calibration.comparison import log_densities as log_densities
    from calibration.family import FamilyFit as FamilyFit
    from calibration.family import fit_alone as fit_alone
    from calibration.family import fit_family as fit_family
    from calibration.family_figures import draw_left_out as draw_left_out
    from calibration.family_figures import draw_shrinkage as draw_shrinkage
    from calibration.figures import draw_fit as draw_fit
    from calibration.fit_study import FitStudy as FitStudy
    from calibration.forecasts import Forecast as Forecast
    from calibration.forecasts import SeriesForecast as SeriesForecast
    from calibration.forecasts import predict as predict
    from calibration.left_out import leave_one_out as leave_one_out
    from calibration.left_out import tally as tally
    from calibration.left_out import without as without
    from calibration.residuals import ResidualCheck as ResidualCheck
    from calibration.residuals import check_residuals as check_residuals
    from calibration.skill import Held as Held
    from calibration.skill import Score as Score
    from calibration.sources import fetch as fetch
    from calibration.sources import read_answer as read_answer
    from calibration.stages import run_study as run_study
    from calibration.standardising import residual_checks as residual_checks
    from calibration.study_figures import draw_intervals as draw_intervals
    from calibration.study_figures import draw_marginals as draw_marginals
    from calibration.study_figures import draw_predictions as draw_predictions
    from calibration.study_figures import draw_traces as draw_traces
    from calibration.study_figures import draw_waterfall as draw_waterfall
    from calibration.study_file import read_fit_study as read_fit_study
    from calibration.study_file import shipped_studies as shipped_studies
    from calibration.study_report import write_study_report as write_study_report
    from calibration.uncertainty_figures import draw_collinearity as draw_collinearity
    from calibration.uncertainty_figures import draw_narrowing as draw_narrowing
    from calibration.uncertainty_figures import draw_profiles as draw_profiles
    from calibration.uncertainty_figures import draw_worth as draw_worth
    from calibration.validation import Split as Split
    from calibration.validation import Validation as Validation
    from calibration.validation import hold_out as hold_out
    from calibration.validation import validate as validate
    from calibration.validation_figures import draw_agreement as draw_agreement
    from calibration.validation_figures import draw_calibration as draw_calibration
    from calibration.validation_figures import draw_checks as draw_checks
    from calibration.validation_figures import draw_forecast as draw_forecast
    from calibration.validation_figures import draw_residuals as draw_residuals

_LATER = {
    "audit_figure": ("draw_audit",),
    "baselines": ("Naive", "naive_forecasts"),
    "candidates": ("Further", "usual_candidates"),
    "checks": ("PredictiveChecks", "check_predictions"),
    "comparison": ("Comparison", "compare", "log_densities"),
    "family": ("FamilyFit", "fit_alone", "fit_family"),
    "family_figures": ("draw_left_out", "draw_shrinkage"),
    "figures": ("draw_fit",),
    "fit_study": ("FitStudy",),
    "forecasts": ("Forecast", "SeriesForecast", "predict"),
    "left_out": ("leave_one_out", "tally", "without"),
    "residuals": ("ResidualCheck", "check_residuals"),
    "skill": ("Held", "Score"),
    "sources": ("fetch", "read_answer"),
    "stages": ("run_study",),
    "standardising": ("residual_checks",),
    "study_figures": ("draw_intervals", "draw_marginals", "draw_predictions", "draw_traces", "draw_waterfall"),
    "study_file": ("read_fit_study", "shipped_studies"),
    "study_report": ("write_study_report",),
    "uncertainty_figures": ("draw_collinearity", "draw_narrowing", "draw_profiles", "draw_worth"),
    "validation": ("Split", "Validation", "hold_out", "validate"),
    "validation_figures": ("draw_agreement", "draw_calibration", "draw_checks", "draw_forecast", "draw_residuals"),
}
"""Module -> names that are imported when they are first asked for; those above, for type checkers."""


if not TYPE_CHECKING:  # else a checker would take any name for granted

    def __getattr__(name: str) -> Any:
        """A name of `_LATER`, from then on an ordinary one."""
        module = next((module for module, names in _LATER.items() if name in names), None)
        if module is None:
            raise AttributeError(f"module 'calibration' has no attribute '{name}'")
        found = getattr(import_module(f"calibration.{module}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *(name for names in _LATER.values() for name in names)})
