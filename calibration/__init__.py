"""Calibration: datasets, measurements, misfits and fits for models of `sd_cluster`."""

from calibration.dataset import Dataset as Dataset
from calibration.dataset import Series as Series
from calibration.dataset import read_dataset as read_dataset
from calibration.dataset import regions as regions
from calibration.fit import Estimate as Estimate
from calibration.fit import Fit as Fit
from calibration.fit import SeriesFit as SeriesFit
from calibration.fit import Start as Start
from calibration.fit import Verdict as Verdict
from calibration.fit import simulate_fit as simulate_fit
from calibration.fit_file import load_fit as load_fit
from calibration.measurement import Gauge as Gauge
from calibration.measurement import Index as Index
from calibration.measurement import Level as Level
from calibration.measurement import Measurement as Measurement
from calibration.measurement import Rate as Rate
from calibration.objective import Misfit as Misfit
from calibration.optimisation import minimise as minimise
