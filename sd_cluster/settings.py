"""Settings: what every analysis takes besides its own arguments, told and checked in one place."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from numbers import Integral
from os import PathLike
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypedDict, TypeVar

from sd_cluster.errors import ModelError, near
from sd_cluster.measures import Output
from sd_cluster.model import Horizon
from sd_cluster.scenario import Scenario
from sd_cluster.solvers import Solver

if TYPE_CHECKING:
    from dask.distributed import Client

_WHOLE = {"samples": 0, "resamples": 2, "levels": 2, "slices": 2, "seed": 0}
"""Settings that are whole numbers, and the least that has a meaning; of samples each method says its own."""

P = ParamSpec("P")
Result = TypeVar("Result")

Of: TypeAlias = Output | Sequence[Output] | None
"""Outputs: names of variables (over time), measures such as `Final("trust")`, or functions of a `Run`."""


class Sweeping(TypedDict, total=False):
    """How the runs of a model are made, as in `sweep`.

    horizon, scenario, save, solver, rtol
        Over which time, under which changes, with which rows kept, and how they are solved.
    threads, progress
        One thread for each processor where not given; a bar on a terminal.
    store
        Folder of a Zarr group to which the runs stream; an interrupted analysis goes on where it stopped.
    client
        A Dask client whose workers carry the runs out.
    """

    horizon: Horizon | tuple[float, float] | None
    scenario: Scenario | None
    save: float | Sequence[float] | None
    solver: Solver | None
    rtol: float
    threads: int | None
    progress: bool
    store: str | PathLike[str] | None
    client: "Client | None"


class Sampling(Sweeping, total=False):
    """Where chance begins, and how many lost runs are borne.

    seed
        The same seed, 0 unless given, gives the same numbers.
    allow_failures
        Let an analysis pass that lost more than 5 % of its runs.
    """

    seed: int
    allow_failures: bool


class Settings(Sampling, total=False):
    """What is asked of the runs, and how intervals are judged.

    of
        Outputs: names of variables, followed over time; measures such as `sd.Final("trust")`; functions of a `Run`.
        For a subject that is a function, what to call its answers.
    level
        Share that an interval should hold, 0.95 unless given.
    tolerance
        Width of an interval above which the verdict is "not settled": 0.1 unless given; of effects and bounds 0.3,
        as a share of the largest.
    """

    of: Of
    level: float
    tolerance: float


def with_settings(kind: type[Sampling]) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Check the settings of an analysis at the door, and tell them in its docstring where `settings` stands there.

    The analysis then raises TypeError for a name that it does not take, as Python does, with the nearest that it
    does.
    """

    def dressed(analysis: Callable[P, Result]) -> Callable[P, Result]:
        own = [name for name in inspect.signature(analysis).parameters if name != "settings"]
        known = [*own, *kind.__annotations__]

        @wraps(analysis)
        def checked(*args: P.args, **kwargs: P.kwargs) -> Result:
            for name in kwargs:
                if name not in known:
                    raise TypeError(f"{analysis.__name__} takes no '{name}'{near(name, known)}")
            level, tolerance = kwargs.get("level", 0.95), kwargs.get("tolerance", 0.1)
            if not (isinstance(level, int | float) and 0.0 < level < 1.0):
                raise ModelError(f"level={level} should lie between 0 and 1, as 0.95 does")
            if not (isinstance(tolerance, int | float) and tolerance > 0.0):
                raise ModelError(f"tolerance={tolerance} should be above zero, as 0.1 is")
            for name, least in _WHOLE.items():
                value = kwargs.get(name, least)
                if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                    raise ModelError(f"{name}={value!r} should be a whole number from {least} on")
            return analysis(*args, **kwargs)

        before, mark, after = (analysis.__doc__ or "").partition("    settings\n        See `Settings`.\n")
        checked.__doc__ = before + (_told(kind) if mark else "") + after
        return checked

    return dressed


def _told(kind: type[Sampling]) -> str:
    """All settings as a docstring tells them, those nearest to the question first."""
    parts = [one for one in (Settings, Sampling, Sweeping) if set(one.__annotations__) <= set(kind.__annotations__)]
    entries = [inspect.cleandoc(one.__doc__ or "").partition("\n\n")[2] for one in parts]
    return "".join(f"    {line}\n" for line in "\n".join(entries).splitlines())
