"""System dynamics of collective learning in high-technology clusters.

Read a model (`load`), run it (`simulate`) under a `Scenario`, look at the `Run`.
"""

from sd_cluster import library as library
from sd_cluster import plot as plot
from sd_cluster.errors import DataError as DataError
from sd_cluster.errors import FitError as FitError
from sd_cluster.errors import ModelError as ModelError
from sd_cluster.errors import ReadingError as ReadingError
from sd_cluster.errors import ScenarioError as ScenarioError
from sd_cluster.errors import SdClusterError as SdClusterError
from sd_cluster.errors import SimulationError as SimulationError
from sd_cluster.errors import UnitsError as UnitsError
from sd_cluster.library import models as models
from sd_cluster.model import Horizon as Horizon
from sd_cluster.model import Model as Model
from sd_cluster.reading import load as load
from sd_cluster.run import Run as Run
from sd_cluster.run import load_run as load_run
from sd_cluster.runner import Runner as Runner
from sd_cluster.scenario import Scenario as Scenario
from sd_cluster.scenario import TimeSeries as TimeSeries
from sd_cluster.simulation import Simulation as Simulation
from sd_cluster.simulation import simulate as simulate
from sd_cluster.solvers import Adaptive as Adaptive
from sd_cluster.solvers import Euler as Euler
from sd_cluster.solvers import RungeKutta4 as RungeKutta4
from sd_cluster.space import Space as Space
from sd_cluster.version import __version__ as __version__
