"""A fit on disk: one JSON file, whole or absent."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import numpy as np

import sd_cluster as sd
from calibration.fit import Estimate, Fit, RegionFit, SeriesFit, Start, Verdict
from sd_cluster.errors import FitError, ScenarioError
from sd_cluster.files import write_beside

if TYPE_CHECKING:
    from calibration.objective import Objective

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
Made = TypeVar("Made")
FORMAT = "sd_cluster fit, version 2"


def save_fit(fit: Fit, path: str | Path) -> Path:
    """Write a fit as JSON, beside and then renamed; the objective is left out.

    NaN is written as null, so that any reader of JSON can take the file.
    """
    content = {
        "format": FORMAT,
        "model": fit.model,
        "regions": [
            {
                "name": one.name,
                "base": {"name": one.base.name, "changes": {key: _change(key, one.base) for key in one.base.changes}},
                "changes": dict(one.changes),
                "span": list(one.span),
                "step": one.step,
            }
            for one in fit.regions
        ],
        "names": list(fit.names),
        "place": fit.place,
        "payoff": fit.payoff,
        "estimates": [dataclasses.asdict(one) for one in fit.estimates],
        "series": [dataclasses.asdict(one) for one in fit.series],
        "starts": [dataclasses.asdict(one) for one in fit.starts],
        "verdicts": [dataclasses.asdict(one) for one in fit.verdicts],
        "provenance": dict(fit.provenance),
    }
    text = json.dumps(_plain(content), indent=1, allow_nan=False)
    return write_beside(Path(path), lambda beside: _write(beside, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def load_fit(path: str | Path, objective: "Objective | None" = None) -> Fit:
    """Read a fit that `Fit.save` wrote.

    Parameters
    ----------
    path
        The file.
    objective
        The objective it was made with, to go on from it; checked against the digests in the file.

    Raises
    ------
    FitError
        If the file is missing, is not such a fit, or was made with another model or dataset.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FitError(f"{path} does not exist; give a file that Fit.save wrote") from error
    except (OSError, ValueError) as error:
        raise FitError(f"{path} is not a fit that Fit.save wrote: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FitError(f"{path} is not a fit that Fit.save wrote; expected a JSON file of format '{FORMAT}'")
    try:
        fit = _fit(content, objective)
    except (LookupError, TypeError, ValueError, ScenarioError) as error:
        raise FitError(f"{path} is damaged: {error!r}; run the fit again") from error
    if objective is not None:
        _same(path, fit, objective)
    return fit


def _same(path: Path, fit: Fit, objective: "Objective") -> None:
    now = {"model": objective.model.digest, "data": objective.data_digest}
    for what, digest in now.items():
        if fit.provenance.get(f"{what} digest") != digest:
            raise FitError(f"{path} was made with another {what}; load it without objective, or fit again")
    if fit.names != objective.names:
        raise FitError(f"{path} searched {', '.join(fit.names)}, not {', '.join(objective.names)}")


def _fit(content: "dict[str, Plain]", objective: "Objective | None") -> Fit:
    # The types of a JSON file are known only by looking: every part is converted where it is used.
    parts: dict[str, list[dict[str, object]]] = {
        name: _records(content[name]) for name in ("estimates", "series", "starts", "verdicts")
    }
    provenance, names, place = content["provenance"], content["names"], content["place"]
    if not isinstance(provenance, dict) or not isinstance(names, list) or not isinstance(place, list):
        raise TypeError("provenance, names or place")
    return Fit(
        model=str(content["model"]),
        regions=tuple(_region(one) for one in _records(content["regions"])),
        estimates=tuple(_made(Estimate, one) for one in parts["estimates"]),
        series=tuple(_made(SeriesFit, one) for one in parts["series"]),
        starts=tuple(_made(Start, one) for one in parts["starts"]),
        names=tuple(str(name) for name in names),
        place=np.array([_number(one) for one in place]),
        payoff=_number(content["payoff"]),
        verdicts=tuple(_made(Verdict, one) for one in parts["verdicts"]),
        provenance={key: value for key, value in provenance.items() if isinstance(value, (str, int, float))},
        objective=objective,
    )


def _region(part: Mapping[str, object]) -> RegionFit:
    base, changes, span = part["base"], part["changes"], part["span"]
    if not isinstance(base, dict) or not isinstance(changes, dict) or not isinstance(span, list):
        raise TypeError("a region")
    return RegionFit(
        name=str(part["name"]),
        base=sd.Scenario(str(base["name"]), {key: _changed(value) for key, value in base["changes"].items()}),
        changes={str(name): _number(value) for name, value in changes.items()},
        span=(_number(span[0]), _number(span[1])),
        step=None if part["step"] is None else _number(part["step"]),
    )


def _records(part: Plain) -> list[dict[str, object]]:
    if not isinstance(part, list):
        raise TypeError("a list was expected")
    return [{**one} for one in part if isinstance(one, dict)]


_ARRAYS = {"years", "observed", "predicted", "innovations", "origin", "end", "place"}
_FLOATS = {"value", "low", "high", "place", "error", "scale", "noise", "payoff"}


def _made(kind: Callable[..., Made], fields: Mapping[str, object]) -> Made:
    made: dict[str, object] = {}
    for name, value in fields.items():
        if name in _ARRAYS and isinstance(value, list):
            made[name] = np.array([_number(one) for one in value], dtype=float)
        elif name in _FLOATS:
            made[name] = _number(value)
        elif name == "skipped" and isinstance(value, list):
            made[name] = tuple((int(line), str(reason)) for line, reason in value)
        else:
            made[name] = value
    return kind(**made)


def _number(value: object) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, (int, float)):
        return float(value)
    raise TypeError(f"{value!r} is not a number")


def _change(key: str, base: "sd.Scenario") -> Plain:
    value = base.changes[key]
    if isinstance(value, sd.TimeSeries):
        return {"years": list(value.years), "values": list(value.values), "kind": value.kind}
    return float(value)


def _changed(value: Plain) -> "float | sd.TimeSeries":
    if not isinstance(value, dict):
        return _number(value)
    years, values = value["years"], value["values"]
    if not isinstance(years, list) or not isinstance(values, list):
        raise TypeError("years and values of a time series")
    kind: Literal["linear", "previous"] = "previous" if value["kind"] == "previous" else "linear"
    return sd.TimeSeries([_number(year) for year in years], [_number(one) for one in values], kind=kind)


def _plain(value: object) -> Plain:
    """Records, tuples and arrays as what JSON knows; NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise FitError(f"{value!r} cannot be written to a fit file")
