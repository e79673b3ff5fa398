"""The bench of a study: its folder, and what stages share, each made once and the same after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.chapter import Chapter, Drawing
from calibration.family import is_family
from calibration.family_search import FamilySearch, of_two, search_family
from calibration.fit import Fit
from calibration.fit_study import FitStudy, Searching
from calibration.history import digest
from calibration.objective import Objective
from calibration.optimisation import minimise
from calibration.statistics import Floats
from sd_cluster.look import save, slug

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from calibration.posterior import Posterior
    from calibration.validation import Split

SHOWN = 4
"""Regions whose figures a report shows; the tables hold all."""

Told = Callable[[str], None]
"""Hears what is being done."""


@dataclass(eq=False)
class Work:
    """What stages work on and share.

    Parameters
    ----------
    study, folder
        What is asked, and where everything is written.
    workers, progress
        As in `minimise`.
    chapters
        Of the stages done so far, by key; stages may read, `run_study` adds.
    """

    study: FitStudy
    folder: Path
    workers: int | None = None
    progress: bool = True
    chapters: dict[str, Chapter] = field(default_factory=dict)

    @cached_property
    def objective(self) -> Objective:
        """Of all figures."""
        return self.study.objective()

    @cached_property
    def fit(self) -> Fit:
        """The search over all figures, taken up where it was left.

        Raises
        ------
        KeyboardInterrupt
            If Ctrl-C cuts it short; what was found stands in `fit.json`.
        """
        if self.family is not None:
            self.family.fit.save(self.folder / "fit.json")
            return self.family.fit
        return self.searched(self.study, self.objective, self.study.searching, "fit", written="fit.json")

    @cached_property
    def family(self) -> FamilySearch | None:
        """The search over all figures of regions that have parameters around a common mean; None for any other study.

        Raises
        ------
        KeyboardInterrupt
            If Ctrl-C cuts it short.
        """
        return self._family(self.study, self.objective, self.study.searching, "fit")

    @cached_property
    def split(self) -> Split | None:
        """Figures parted into training and held out."""
        return self.study.split(self.objective.likelihoods)

    @cached_property
    def trained(self) -> Fit:
        """The search over the training figures."""
        if self.trained_family is not None:
            return self.trained_family.fit
        return self.searched(self.study, *self._training(), "training")

    @cached_property
    def trained_family(self) -> FamilySearch | None:
        """The same where the training figures are those of a family."""
        return self._family(self.study, *self._training(), "training")

    def _training(self) -> tuple[Objective, Searching]:
        assert self.split is not None and self.study.holding is not None
        how = Searching(self.study.holding.starts, self.study.searching.search)
        return self.study.objective(self.split.training), how

    @cached_property
    def posterior(self) -> Posterior | None:
        """Draws of all figures' posterior; None where the study leaves it out."""
        found = self.sampled(self.fit, "posterior")
        if found is not None:
            found.save(self.folder / "posterior.nc")
        return found

    @property
    def source(self) -> Any:
        """Where draws of the unknowns come from: the posterior, or a Laplace approximation of it."""
        return self.posterior if self.study.drawing is not None else self.laplace(self.fit, self.family)

    def laplace(self, fit: Fit, family: FamilySearch | None) -> Any:
        """What the Laplace approximation is made of: the family itself, or the mode of the posterior."""
        return self.mode(fit) if family is None else family.family

    def searched(self, study: FitStudy, objective: Objective, how: Searching, name: str, *, written: str = "") -> Fit:
        """A search that keeps each start; other settings have another place to keep them.

        Parameters
        ----------
        study, objective, how
            What is searched, of which study, and how.
        name
            Of the search, for the place where its starts are kept.
        written
            File for what is found, also if it is cut short.

        Raises
        ------
        KeyboardInterrupt
            If Ctrl-C cuts it short: nothing is built on half a search.
        """
        family = self._family(study, objective, how, name)
        if family is not None:
            return family.fit
        found = minimise(
            objective, starts=how.starts, seed=self.study.seed, search=how.search,
            folder=self._kept(objective, how, name), workers=self.workers, progress=self.progress,
        )  # fmt: skip
        if written:
            found.save(self.folder / written)
        if len(found.starts) < how.starts:
            raise KeyboardInterrupt
        return of_two(found) if objective.pools else found

    def _family(self, study: FitStudy, objective: Objective, how: Searching, name: str) -> FamilySearch | None:
        """The search of a family; None where an objective pools nothing, or over two regions."""
        if not is_family(objective):
            return None
        some = objective.likelihoods
        return search_family(
            some, study.priors_of(some), pooled=study.pooled, own=study.own, starts=how.starts, seed=self.study.seed,
            search=how.search, folder=self._kept(objective, how, name), workers=self.workers, progress=self.progress,
        )  # fmt: skip

    def _kept(self, objective: Objective, how: Searching, name: str) -> Path:
        """Where a search of these settings keeps its parts."""
        told = digest([objective.digest, how.starts, repr(how.search), self.study.seed])[:12]
        return self.folder / "kept" / f"{name}-{told}"

    def sampled(self, fit: Fit, name: str) -> Posterior | None:
        """Draws around a fit that keep each chain; None where the study leaves them out.

        Raises
        ------
        KeyboardInterrupt
            If Ctrl-C cuts them short.
        """
        from calibration.posterior import sample_posterior

        drawing, objective = self.study.drawing, fit.objective
        if drawing is None or objective is None:
            return None
        start = self.mode(fit)
        how = replace(drawing, chains=0)  # a chain more leaves the others as they are
        settings = [objective.digest, start.tolist(), repr(how), self.study.seed]
        found = sample_posterior(
            objective, method=drawing.method, chains=drawing.chains, draws=drawing.draws, tune=drawing.tune,
            seed=self.study.seed, start=start, folder=self.folder / "kept" / f"{name}-{digest(settings)[:12]}",
            workers=self.workers, progress=self.progress, target_accept=drawing.target_accept,
        )  # fmt: skip
        if len(found.log_density) < drawing.chains and drawing.method == "nuts":
            raise KeyboardInterrupt
        return found

    def mode(self, fit: Fit) -> Floats:
        """Where the posterior of a fit is densest: sampling begins there."""
        from calibration.modes import posterior_mode

        assert fit.objective is not None
        good = sorted((one for one in fit.starts if not one.failed), key=lambda one: (one.payoff, one.number))
        near = [one.place for one in good if one.payoff <= fit.payoff + len(fit.names)]
        return posterior_mode(fit.objective, np.array(near))

    def table(self, table: pd.DataFrame, name: str) -> None:
        """Write a table into the folder of tables."""
        from calibration.tables import write_table

        write_table(table, self.folder / "tables" / f"{name}.csv")

    def draw(self, figure: Figure, name: str, caption: str) -> Drawing:
        """Write a figure into the folder of figures."""
        save(figure, self.folder / "figures", name)
        return Drawing(name, caption)

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions that the report shows figures of."""
        return tuple(one.name for one in self.study.regions[:SHOWN])

    def named(self, name: str, region: str) -> str:
        """Name of a file for a region: with its code where there are several."""
        return name if len(self.study.regions) == 1 else f"{name}-{slug(region)}"

    def of_region(self, text: str, region: str) -> str:
        """A caption with the region before it where there are several."""
        return text if len(self.study.regions) == 1 else f"{region}. {text}"

    def others(self) -> str:
        """What to say where the report shows figures of some regions only."""
        left = len(self.study.regions) - SHOWN
        return f" Figures of {left} more regions are not shown; the tables hold all." if left > 0 else ""


def joined(tables: Mapping[str, pd.DataFrame], column: str = "region") -> pd.DataFrame:
    """Tables below one another, with the key of each in a column of its own."""
    import pandas as pd

    return pd.concat([table.assign(**{column: key}) for key, table in tables.items()], ignore_index=True)


def first(some: Iterable[str], most: int, what: str) -> tuple[str, ...]:
    """The first sentences of many, and how many more there are."""
    lines: Sequence[str] = tuple(some)
    left = len(lines) - most
    return tuple(lines) if left <= 0 else (*lines[:most], f"And {left} more {what}, in the tables.")
