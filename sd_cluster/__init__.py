"""System dynamics of collective learning in high-technology clusters.

Read a model (`load`), run it (`simulate`) under a `Scenario`, look at the `Run`; run it thousands of times (`sweep`),
and ask what matters (`sobol` and its kin, `local`, `discover`).
"""

from sd_cluster import charts as charts
from sd_cluster import library as library
from sd_cluster import plot as plot
from sd_cluster.checking import Checked as Checked
from sd_cluster.checking import check as check
from sd_cluster.correlation import Correlation as Correlation
from sd_cluster.discovery import Box as Box
from sd_cluster.discovery import discover as discover
from sd_cluster.draws import Draws as Draws
from sd_cluster.elasticities import Elasticities as Elasticities
from sd_cluster.elasticities import local as local
from sd_cluster.ensemble import Ensemble as Ensemble
from sd_cluster.ensemble import Failure as Failure
from sd_cluster.ensemble import sweep as sweep
from sd_cluster.errors import DataError as DataError
from sd_cluster.errors import FitError as FitError
from sd_cluster.errors import ModelError as ModelError
from sd_cluster.errors import ReadingError as ReadingError
from sd_cluster.errors import ScenarioError as ScenarioError
from sd_cluster.errors import SdClusterError as SdClusterError
from sd_cluster.errors import SimulationError as SimulationError
from sd_cluster.errors import UnitsError as UnitsError
from sd_cluster.forward import ForwardRunner as ForwardRunner
from sd_cluster.indices import Indices as Indices
from sd_cluster.library import models as models
from sd_cluster.marginals import LogRange as LogRange
from sd_cluster.marginals import Transformed as Transformed
from sd_cluster.measures import At as At
from sd_cluster.measures import Computed as Computed
from sd_cluster.measures import Condition as Condition
from sd_cluster.measures import Cumulated as Cumulated
from sd_cluster.measures import Final as Final
from sd_cluster.measures import FirstAbove as FirstAbove
from sd_cluster.measures import Peak as Peak
from sd_cluster.model import Horizon as Horizon
from sd_cluster.model import Model as Model
from sd_cluster.reading import load as load
from sd_cluster.run import Run as Run
from sd_cluster.run import load_run as load_run
from sd_cluster.runner import Runner as Runner
from sd_cluster.scenario import Scenario as Scenario
from sd_cluster.scenario import TimeSeries as TimeSeries
from sd_cluster.sensitivity import delta as delta
from sd_cluster.sensitivity import dgsm as dgsm
from sd_cluster.sensitivity import fast as fast
from sd_cluster.sensitivity import morris as morris
from sd_cluster.sensitivity import pawn as pawn
from sd_cluster.sensitivity import prcc as prcc
from sd_cluster.sensitivity import rbd_fast as rbd_fast
from sd_cluster.sensitivity import shapley as shapley
from sd_cluster.sensitivity import sobol as sobol
from sd_cluster.simulation import Simulation as Simulation
from sd_cluster.simulation import simulate as simulate
from sd_cluster.solvers import Adaptive as Adaptive
from sd_cluster.solvers import Euler as Euler
from sd_cluster.solvers import RungeKutta4 as RungeKutta4
from sd_cluster.space import Space as Space
from sd_cluster.study import StudyError as StudyError
from sd_cluster.study import read_study as read_study
from sd_cluster.version import __version__ as __version__
from sd_cluster.writing import Written as Written
from sd_cluster.writing import write as write
