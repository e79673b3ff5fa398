"""What the study of a fit is: model, regions, measurement, unknowns, and what is asked of them; and its objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.dataset import Dataset
from calibration.history import digest
from calibration.likelihood import Likelihood
from calibration.measurement import Measurement
from calibration.noise import Noise
from calibration.objective import Objective
from calibration.patterns import Judge
from calibration.priors import Prior
from calibration.searches import Search, TrustRegion
from sd_cluster import Model, Scenario

if TYPE_CHECKING:
    from calibration.chains import Method
    from calibration.validation import Split


@dataclass(frozen=True, eq=False)
class RegionStudy:
    """One region of a study.

    Attributes
    ----------
    name
        As figures and tables call it.
    dataset
        Its figures.
    measurement, noise, judges
        How the model becomes these figures, how they scatter, and what else is known of the course.
    scenario
        What is set in the model for it.
    span
        First and last moment of its runs.
    """

    name: str
    dataset: Dataset
    measurement: Measurement
    noise: Mapping[str, Noise]
    judges: tuple[Judge, ...]
    scenario: Scenario
    span: tuple[float, float]


@dataclass(frozen=True)
class Searching:
    """How the best point is looked for: starts, and the search from each."""

    starts: int = 20
    search: Search = field(default_factory=TrustRegion)


@dataclass(frozen=True)
class HoldingOut:
    """What is held out: figures after the year `last` (of `region` alone where given), or a whole region.

    The bands of the forecast come from a "posterior" of the training figures, or, in a moment, from a "laplace"
    approximation of it.
    """

    last: float | None = None
    region: str | None = None
    starts: int = 8
    draws: int = 1000
    bands: str = "posterior"


@dataclass(frozen=True)
class Profiling:
    """Whose profiles are followed (all free parameters where empty), to which level, in how many points a side."""

    which: tuple[str, ...] = ()
    level: float = 0.95
    points: int = 8


@dataclass(frozen=True)
class Drawing:
    """How the posterior is sampled."""

    method: Method = "nuts"
    chains: int = 4
    draws: int = 1000
    tune: int = 1000
    target_accept: float = 0.9


@dataclass(frozen=True)
class Outlook:
    """What is predicted: measured series and `variables` of the model, up to `end`, from so many draws."""

    end: float
    variables: tuple[str, ...] = ()
    draws: int = 1000


@dataclass(frozen=True, eq=False)
class Alternative:
    """Another model of the same figures.

    Attributes
    ----------
    name
    changes
        Set in the scenario of every region; what is set is no longer free.
    priors
        Further free parameters, or other priors of those that are.
    noise
        Noise of indicators that differs.
    """

    name: str
    changes: Mapping[str, float]
    priors: Mapping[str, Prior]
    noise: Mapping[str, Noise]


@dataclass(frozen=True, eq=False)
class FitStudy:
    """All that a study file says.

    Attributes
    ----------
    path, text
        The file, and what stands in it.
    name
        Heading of the report.
    model
        What is fitted.
    regions
        To whose figures.
    free
        Prior of every free parameter or initial stock.
    priors
        Priors of other unknowns, such as scales of noise, where the usual ones are not wanted.
    own, pooled
        Free parameters that every region has to itself, or around a common mean.
    step
        Of the solver; the model's own where None.
    searching, holding, profiling, drawing, outlook, alternatives
        What is done; None for what is left out.
    seed
        Of everything that is drawn.
    remark
        What a reader of the priors must know, such as how they came about; printed before them.
    """

    path: Path
    text: str
    name: str
    model: Model
    regions: tuple[RegionStudy, ...]
    free: Mapping[str, Prior]
    priors: Mapping[str, Prior]
    own: tuple[str, ...]
    pooled: tuple[str, ...]
    step: float | None
    searching: Searching
    holding: HoldingOut | None
    profiling: Profiling | None
    drawing: Drawing | None
    outlook: Outlook
    alternatives: tuple[Alternative, ...]
    seed: int
    remark: str = ""

    def likelihoods(self) -> tuple[Likelihood, ...]:
        """One for each region.

        Raises
        ------
        FitError, DataError, ModelError
            As `Likelihood`.
        """
        return tuple(
            Likelihood(
                self.model, one.dataset, one.measurement, list(self.free), noise=one.noise, judges=one.judges,
                scenario=one.scenario, horizon=one.span, step=self.step, region=one.name,
            )
            for one in self.regions
        )  # fmt: skip

    def objective(self, likelihoods: Sequence[Likelihood] | None = None) -> Objective:
        """What is minimised and sampled: of all figures, or of the training part of a split.

        Raises
        ------
        FitError, DataError, ModelError
            As `Objective`.
        """
        some = self.likelihoods() if likelihoods is None else tuple(likelihoods)
        return Objective(some, self.priors_of(some), own=self.own, pooled=self.pooled)

    def priors_of(self, likelihoods: Sequence[Likelihood]) -> dict[str, Prior]:
        """Priors of what these likelihoods have: one of a shift that its training figures cannot tell is left out."""
        known = {name for one in likelihoods for name in one.names}
        known |= {f"{name} [{one.region}]" for one in likelihoods for name in one.names}
        regions = {one.name for one in self.regions}
        gone = {name for one in self.likelihoods() for name in one.names} - known if self.priors else set()

        def kept(name: str) -> bool:
            own, _, region = name.removesuffix("]").partition(" [")
            left_out = region in regions and region not in {one.region for one in likelihoods}
            return own not in gone and not left_out

        return {**self.free, **{name: prior for name, prior in self.priors.items() if kept(name)}}

    def split(self, likelihoods: Sequence[Likelihood]) -> Split | None:
        """Figures parted into training and held out; None where nothing is held out."""
        from calibration.validation import hold_out

        if self.holding is None:
            return None
        return hold_out(likelihoods, last=self.holding.last, region=self.holding.region)

    def of(self, alternative: Alternative) -> FitStudy:
        """The same study of another model of the figures."""
        set_here = {self.model.variable(name).name for name in alternative.changes}
        free = {name: prior for name, prior in self.free.items() if name not in set_here}
        regions = tuple(
            replace(
                one, scenario=one.scenario.with_changes(dict(alternative.changes)),
                noise={**one.noise, **alternative.noise},
            )
            for one in self.regions
        )  # fmt: skip
        free |= alternative.priors
        own, pooled = (tuple(name for name in some if name in free) for some in (self.own, self.pooled))
        return replace(self, name=alternative.name, regions=regions, free=free, own=own, pooled=pooled)

    def settings(self) -> dict[str, Any]:
        """What else the numbers depend on, besides the objective: what a reader may want to see at a glance."""
        return {
            "searching": repr(self.searching), "holding": repr(self.holding), "profiling": repr(self.profiling),
            "drawing": repr(self.drawing), "outlook": repr(self.outlook), "seed": self.seed,
        }  # fmt: skip

    def digest(self) -> str:
        """SHA-256 of the text of the file."""
        return digest(self.text)
