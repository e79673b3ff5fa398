"""Study files of fits: one TOML file that says model, figures, measurement, unknowns, and what is asked of them.

Everything is checked while the file is read, before any run: names against the model and the figures, priors against
the model's own values, years against the run. The page `docs/calibration.md` shows all keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from calibration.family import is_family
from calibration.fit_study import (
    Alternative,
    Drawing,
    FitStudy,
    HoldingOut,
    Outlook,
    Profiling,
    RegionStudy,
    Searching,
)
from calibration.measurement import record_from
from calibration.priors import Prior, prior_from
from calibration.searches import SEARCHES, TrustRegion
from calibration.study_regions import RegionReader, noises_of
from sd_cluster.errors import near
from sd_cluster.model import Model
from sd_cluster.study_table import (
    StudyError,
    StudyTable,
    a_number,
    a_share,
    a_text,
    checked,
    mapping,
    one_of,
    positive,
    read_toml,
    sequence,
    texts,
    whole,
)

STUDIES = Path(__file__).parent / "studies"
"""Folder of the studies that come with the package."""

_USUAL: dict[str, Any] | None = {}
"""A table that is left out, and done in the usual way."""


def shipped_studies() -> tuple[str, ...]:
    """Names of the studies that come with the package, in alphabetical order."""
    return tuple(sorted(path.stem for path in STUDIES.glob("*.toml")))


def read_fit_study(path: str | Path) -> FitStudy:
    """Read a study file and check all of it against its model and its figures.

    Parameters
    ----------
    path
        Of a .toml file, or the name of a shipped study, such as "hsinchu" or "hsinchu.toml"; a file of that name in
        this folder comes first.

    Raises
    ------
    StudyError
        If the file is missing or not TOML, a key is missing, unknown or not what is expected, or something does not
        fit the model or the figures; the text names file, table and key.
    """
    path = _found(Path(path))
    data = read_toml(path)
    top = StudyTable(path.name, "", data)
    name = top.take("name", "a text", a_text, path.stem.replace("_", " "))
    model = _model(top, path)
    free = _priors(top, "free", model)
    if not free:
        top.need("free", '[free] and a line "entry potential" = [10, 250]')
        raise StudyError(f"{path.name}: 'free' is empty; name at least one parameter, such as \"entry potential\"")
    other = _priors(top, "priors", model)
    seed = top.take("seed", "a whole number from 0 on", lambda value: whole(value, 0), 0)
    remark = top.take("remark", "a text", a_text, "")
    step = _step(top)
    regions = RegionReader(top, path, model).read()
    own, pooled = (_of_free(top, key, model, free) for key in ("own", "pooled"))
    searching = _searching(top)
    holding = _holding(top, searching, regions)
    profiling, drawing = _profiling(top), _drawing(top)
    outlook = _outlook(top, model, regions)
    alternatives = _alternatives(top, model, regions, free)
    top.done()
    study = FitStudy(
        path, path.read_text(encoding="utf-8"), name, model, regions, free, other, own, pooled, step,
        searching, holding, profiling, drawing, outlook, alternatives, seed, remark,
    )  # fmt: skip
    _check_whole(study)
    return study


def _found(path: Path) -> Path:
    """The file itself, or where there is none the shipped study of this name."""
    alone = path.parent == Path() and path.suffix in ("", ".toml")
    return STUDIES / f"{path.stem}.toml" if alone and not path.is_file() and path.stem in shipped_studies() else path


def _model(top: StudyTable, path: Path) -> Model:
    from sd_cluster.reading import load

    top.need("model", 'model = "collective_learning"')
    name = top.take("model", "the name of a shipped model, or a model file beside this one", a_text, "")
    return checked(path.name, "model", lambda: load(path.parent / name if Path(name).suffix else name))


def _priors(top: StudyTable, key: str, model: Model) -> dict[str, Prior]:
    """Read `free` or `priors`: names with two numbers, a kind, or "library"."""
    table = top.take(key, f'a table, [{key}] and lines such as "exit rate" = [0.03, 0.12]', mapping, dict[str, Any]())
    found: dict[str, Prior] = {}
    for name, entry in table.items():
        where = f"{key}.{name}"
        full = checked(top.file, where, partial(_full, model, name)) if key == "free" else name
        if full in found:
            raise StudyError(f"{top.file}: '{where}': '{full}' stands there twice; keep one of them")
        found[full] = checked(top.file, where, partial(prior_from, entry, model, full))
    return found


def _step(top: StudyTable) -> float | None:
    """The step is read here, start and end with each region."""
    run = top.take("run", "a table, run = { start = 1980, end = 2025 }", mapping, dict[str, Any]())
    table = StudyTable(top.file, "run.", run)
    table.known += ["start", "end"]
    step = table.take("step", "the length of a step, above zero", positive, None)
    table.done()
    return step


def _of_free(top: StudyTable, key: str, model: Model, free: Mapping[str, Prior]) -> tuple[str, ...]:
    """Read `own` or `pooled`: names of free parameters."""
    named = top.take(key, 'names of free parameters, ["exit rate"]', texts, tuple[str, ...]())
    full = checked(top.file, key, lambda: tuple(model.variable(name).name for name in named))
    for name in full:
        if name not in free:
            raise StudyError(f"{top.file}: '{key}': '{name}' is not free{near(name, free)}; free are {', '.join(free)}")
    return full


def _searching(top: StudyTable) -> Searching:
    table = StudyTable(top.file, "fit.", top.take("fit", "a table, as in [fit]", mapping, dict[str, Any]()))
    starts = table.take("starts", "a whole number above zero", lambda value: whole(value, 1), Searching.starts)
    entry = table.take("search", f"one of {', '.join(SEARCHES)}, or a table with its kind", _name_or_table, None)
    table.done()
    if entry is None:
        return Searching(starts, TrustRegion())
    asked = {"kind": entry} if isinstance(entry, str) else entry
    return Searching(starts, checked(top.file, "fit.search", lambda: record_from(SEARCHES, asked, "search")))


def _holding(top: StudyTable, searching: Searching, regions: tuple[RegionStudy, ...]) -> HoldingOut | None:
    expected = "a table, [hold_out] and a line last = 2015"
    given = top.take("hold_out", expected, mapping, None)
    if given is None:
        return None
    table = StudyTable(top.file, "hold_out.", given)
    last = table.take("last", "a year, the last one that the fit may see", a_number, None)
    names = [one.name for one in regions]
    region = table.take("region", f"one of {', '.join(names)}", a_text, None)
    usual = min(searching.starts, HoldingOut.starts)
    starts = table.take("starts", "a whole number above zero", lambda value: whole(value, 1), usual)
    draws = table.take("draws", "a whole number of at least 100", lambda value: whole(value, 100), HoldingOut.draws)
    bands = table.take("bands", "posterior or laplace", one_of(("posterior", "laplace")), HoldingOut.bands)
    table.done()
    if last is None and region is None:
        raise StudyError(
            f"{top.file}: 'hold_out' says neither last (a year) nor region; write, for instance, last = 2015"
        )
    if region is not None and region not in names:
        raise StudyError(
            f"{top.file}: 'hold_out.region': no region '{region}'{near(region, names)}; {', '.join(names)}"
        )
    return HoldingOut(last, region, starts, draws, bands)


def _profiling(top: StudyTable) -> Profiling | None:
    expected = "a table, as in [profile], or false to leave profiles out"
    given = top.take("profile", expected, _table_or_false, _USUAL)
    if given is None:
        return None
    table = StudyTable(top.file, "profile.", given)
    which = table.take("which", 'names of unknowns, ["exit rate"]', texts, tuple[str, ...]())
    level = table.take("level", "a share between 0 and 1, such as 0.95", a_share, Profiling.level)
    points = table.take("points", "a whole number of at least 2", lambda value: whole(value, 2), Profiling.points)
    table.done()
    return Profiling(which, level, points)


def _drawing(top: StudyTable) -> Drawing | None:
    expected = "a table, as in [posterior], or false to leave it out"
    given = top.take("posterior", expected, _table_or_false, _USUAL)
    if given is None:
        return None
    table = StudyTable(top.file, "posterior.", given)
    method = table.take("method", "nuts or ensemble", one_of(("nuts", "ensemble")), "nuts")
    chains = table.take("chains", "a whole number above zero", lambda value: whole(value, 1), Drawing.chains)
    draws = table.take("draws", "a whole number of at least 25", lambda value: whole(value, 25), Drawing.draws)
    tune = table.take("tune", "a whole number from 0 on", lambda value: whole(value, 0), Drawing.tune)
    accept = table.take("target_accept", "a share between 0 and 1, such as 0.95", a_share, Drawing.target_accept)
    table.done()
    return Drawing("ensemble" if method == "ensemble" else "nuts", chains, draws, tune, accept)


def _outlook(top: StudyTable, model: Model, regions: tuple[RegionStudy, ...]) -> Outlook:
    table = StudyTable(
        top.file, "prediction.", top.take("prediction", "a table, as in [prediction]", mapping, dict[str, Any]())
    )
    last = max(one.span[1] for one in regions)
    end = table.take("end", "a year", a_number, last)
    named = table.take("variables", 'names of model variables, ["trust"]', texts, tuple[str, ...]())
    draws = table.take("draws", "a whole number of at least 100", lambda value: whole(value, 100), Outlook.draws)
    table.done()
    variables = checked(top.file, "prediction.variables", lambda: tuple(model.variable(name).name for name in named))
    if end < last:
        raise StudyError(f"{top.file}: 'prediction.end' is {end:g}, before the last figure's moment ({last:g})")
    return Outlook(end, variables, draws)


def _alternatives(
    top: StudyTable, model: Model, regions: tuple[RegionStudy, ...], free: Mapping[str, Prior]
) -> tuple[Alternative, ...]:
    expected = "tables, [[alternative]] with a name and what differs"
    found: list[Alternative] = []
    for entry in top.take("alternative", expected, _tables, list[dict[str, Any]]()):
        table = StudyTable(top.file, "alternative.", entry)
        table.need("name", 'name = "no spin-offs"')
        name = table.take("name", "a text", a_text, "")
        table.where = f"alternative.{name}."
        changes = table.take("scenario", 'a table, { "spin off rate" = 0 }', _numbers_by_name, dict[str, float]())
        for one in changes:
            checked(top.file, f"alternative.{name}.scenario", partial(model.variable, one))
        priors = _priors(table, "free", model)
        noise = noises_of(table, [indicator for one in regions for indicator in one.measurement.gauges])
        table.done()
        if not (changes or priors or noise):
            raise StudyError(
                f"{top.file}: 'alternative.{name}' says nothing that differs; give scenario, free or noise"
            )
        if name in [one.name for one in found]:
            raise StudyError(f"{top.file}: two alternatives are called '{name}'; give each its own name")
        if not {*free, *priors} - {model.variable(one).name for one in changes}:
            raise StudyError(f"{top.file}: 'alternative.{name}' leaves nothing free; a fit needs an unknown")
        found.append(Alternative(name, changes, priors, noise))
    return tuple(found)


def _check_whole(study: FitStudy) -> None:
    """Build every objective that will be needed: what does not fit together shows now."""
    file = study.path.name
    many = len(study.regions) > 1
    likelihoods = checked(file, "region" if many else "measure", study.likelihoods)
    objective = checked(file, "free", lambda: study.objective(likelihoods))
    for name in study.profiling.which if study.profiling else ():
        if name not in objective.names:
            told = f"{file}: 'profile.which': '{name}' is no unknown{near(name, objective.names)}"
            raise StudyError(f"{told}; there are {', '.join(objective.names)}")
        if is_family(objective) and name in [objective.names[pool.spread] for pool in objective.pools]:
            raise StudyError(
                f"{file}: 'profile.which': '{name}' has no profile: it is found with the distances of the regions "
                "averaged out, and the table of the family tells how sure it is; leave it out"
            )
    split = checked(file, "hold_out", lambda: study.split(likelihoods))
    if split is not None:
        checked(file, "hold_out", lambda: study.objective(split.training))
    for one in study.alternatives:
        checked(file, f"alternative.{one.name}", partial(_built, study, one))


def _full(model: Model, name: str) -> str:
    """The model's own name of a variable."""
    return model.variable(name).name


def _built(study: FitStudy, alternative: Alternative) -> None:
    study.of(alternative).objective()


def _name_or_table(value: Any) -> str | dict[str, Any]:
    return a_text(value) if isinstance(value, str) else mapping(value)


def _table_or_false(value: Any) -> dict[str, Any] | None:
    return None if value is False else mapping(value)


def _tables(value: Any) -> list[dict[str, Any]]:
    return [mapping(one) for one in sequence(value)]


def _numbers_by_name(value: Any) -> dict[str, float]:
    return {name: a_number(one) for name, one in mapping(value).items()}
