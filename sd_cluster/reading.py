"""Reading .mdl and XMILE files into a `Model`.

A file is taken apart (`vensim`, `xmile`), its equations are given their meaning (`lowering`), arrays are written out
(`arrays`), and what cannot be computed is set aside with whatever depends on it. Nothing in a file is ever run.
"""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from sd_cluster import library
from sd_cluster.arrays import (
    MOST_WRITTEN,
    WHOLE_FROM,
    WHOLE_PIECE,
    Piece,
    Whole,
    WritingOutError,
    WrittenOut,
    kept_whole,
    parts_of,
    written_out,
)
from sd_cluster.errors import ModelError, ReadingError, ReadingWarning, UnitsError, UnitsWarning, near
from sd_cluster.expressions import Lookup, Name, walk
from sd_cluster.external import Outside
from sd_cluster.grammar import Reference
from sd_cluster.lowering import Lowering
from sd_cluster.model import CONTROLS, LIST, Auxiliary, Equation, Horizon, Model, Parameter, Table, Variable, key
from sd_cluster.ranges import Ranges
from sd_cluster.source import Definition, RangeDefinition, Source
from sd_cluster.sparse import worked_out_where_read
from sd_cluster.statefuls import KNOWN
from sd_cluster.structure import check_circles, constant_value, first_value
from sd_cluster.text import shorten, some
from sd_cluster.units import check_units as check_model_units
from sd_cluster.vensim import MOST_ELEMENTS, read_vensim
from sd_cluster.xmile import read_xmile

_READERS = {".mdl": read_vensim, ".xmile": read_xmile, ".xml": read_xmile, ".stmx": read_xmile}


def load(
    path_or_name: str | Path,
    *,
    check_units: bool | None = None,
    sizes: Mapping[str, int] | None = None,
    data: str | Path | Sequence[str | Path] = (),
    files: Mapping[str, str | Path] | None = None,
    tables: Mapping[str, Any] | None = None,
) -> Model:
    """Read a model file, or a shipped model by name.

    A variable that uses what is not supported, or whose equation means nothing, disables only what depends on it: a
    `ReadingWarning` says so, and `model.report()` lists both.

    Parameters
    ----------
    path_or_name
        A `.mdl`, `.xmile`, `.xml` or `.stmx` file, or the name of a shipped model such as
        `collective_learning`.
    check_units
        Every equation's units are checked, and clashes are told by a `UnitsWarning` and in the model's `notes`; with
        True they are an error, with False nothing is checked. Variables without declared units are left out of the
        check and listed in the `notes`.
    sizes
        Ranges to make longer or shorter, with their numbers of elements: the first ones are kept, further ones are
        numbered on from the last.
    data
        Tables (csv, or parted by tabs) for data variables without an equation: one column a variable, or one row.
        Where none is given the tables beside the model are looked at, and a note names the one that has the data.
    files
        Workbooks and tables to read instead of those that the file names, by these names, such as `?history`.
    tables
        Constants over two ranges as SciPy sparse matrices, by name: sums over their second range visit only what
        they hold.

    Returns
    -------
    model

    Raises
    ------
    ReadingError
        If the file is missing or is not a model, or nothing in it can be computed; the text names the variable.
    ModelError
        If equations go in a circle.
    UnitsError
        If an equation's units clash and `check_units` is True, with the equation and both dimensions.
    """
    path = _find(path_or_name)
    source = _resized(_saving(_READERS[path.suffix.lower()](path)), sizes or {}, path)
    try:
        outside = Outside(path, [data] if isinstance(data, str | Path) else list(data), files)
        ranges = Ranges(outside.filled(source.ranges))
    except ModelError as error:
        raise ReadingError(f"{path.name}: {error}") from None
    lowering = Lowering(path.name, source, ranges, outside, KNOWN)
    lowering.run()
    taken = _taken(path, lowering, ranges, tables or {})
    told = _warnings(taken.unsupported)
    if told:
        warnings.warn(f"{path.name}: {told[0]}", ReadingWarning, stacklevel=2)
    whole = taken.inner is not None
    found, moving = _moving_apart(path, taken.found, whole=whole)
    horizon = _horizon(path, found.equations)
    model = Model(
        name=path.stem,
        source=str(path),
        equations=tuple(_as_parameter(equation, horizon) for equation in found.equations),
        horizon=horizon,
        ranges={item.name: item.elements for item in ranges.all.values()},
        notes=(
            *source.notes,
            *lowering.notes,
            *outside.notes,
            *told,
            *_own_step(path, found.equations, horizon),
            *_where_read(taken.where_read),
        ),
        arrays={
            name: shape
            for name, shape in found.shapes.items()
            if _owner(name, lowering) == name and name not in taken.where_read
        },
        unsupported=taken.unsupported,
        origin=source,
        whole=Whole(_with_controls(taken.inner, horizon), ranges, taken.sparse) if taken.inner is not None else None,
        moving=moving,
    )
    if not whole:
        check_circles(model)
    if check_units is False:
        return model
    try:
        clashes = check_model_units(model, None if whole else found.first)
    except UnitsError as error:
        if check_units:
            raise
        clashes = (f"units clash in {len(error.clashes)} equation(s), as sd.check tells in full: {error.clashes[0]}",)
        warnings.warn(clashes[0], UnitsWarning, stacklevel=2)
    return replace(model, notes=(*model.notes, *clashes))


@dataclass(frozen=True)
class _Taken:
    """What a file's equations became.

    Attributes
    ----------
    found
        Equations and shapes of arrays.
    unsupported
        Why the variables that cannot be computed cannot.
    inner
        Equations over their ranges, where arrays are kept whole.
    where_read
        Variables that are worked out where a sum over a sparse table reads them.
    sparse
        Sparse tables by name.
    """

    found: WrittenOut
    unsupported: dict[str, str]
    inner: tuple[Piece, ...] | None
    where_read: Sequence[str]
    sparse: dict[str, Any]


def _taken(path: Path, lowering: Lowering, ranges: Ranges, tables: Mapping[str, Any]) -> _Taken:
    """Write arrays out, or keep them whole; an array that means nothing for some element is one fault more."""
    while True:
        pieces, unsupported = _readable(path, lowering)
        sparse = _sparse(path, tables, pieces, ranges)
        _check_names(path, pieces, ranges)
        size = sum(ranges.count(piece.subscripts) for piece in pieces)
        try:
            large = bool(sparse) or size > MOST_WRITTEN or size > max(WHOLE_FROM, WHOLE_PIECE * len(pieces))
            inner, where_read = worked_out_where_read(pieces, sparse)
            found = kept_whole(pieces, ranges, {*sparse, *where_read}) if large else written_out(pieces, ranges)
        except WritingOutError as error:
            for name, fault in error.faults.items():
                lowering.faults.setdefault(_owner(name, lowering), fault)
        except ModelError as error:
            raise ReadingError(f"{path.name}, variable {error}") from None
        else:
            return _Taken(found, unsupported, tuple(inner) if large else None, where_read, sparse)


def _check_names(path: Path, pieces: Sequence[Piece], ranges: Ranges) -> None:
    """Raise a `ReadingError` where a variable is called like an element of an array."""
    arrays: dict[str, list[tuple[str, ...]]] = {}
    for piece in pieces:
        if piece.subscripts:
            arrays.setdefault(key(piece.equation.name), []).append(piece.subscripts)
    for piece in pieces:
        base, bracket, inside = piece.equation.name.partition("[")
        parts = [key(part) for part in inside.removesuffix("]").split(",")]
        for subscripts in arrays.get(key(base), ()) if bracket and not piece.subscripts else ():
            spans = [{key(name) for name in ranges.elements(subscript)} for subscript in subscripts]
            if len(parts) != len(spans) or not all(part in span for part, span in zip(parts, spans, strict=True)):
                continue
            raise ReadingError(
                f"{path.name}: a variable and an element of an array are both called '{piece.equation.name}';"
                " rename one of them"
            )


def _with_controls(pieces: Sequence[Piece], horizon: Horizon) -> tuple[Piece, ...]:
    """Pieces in which control variables are numbers."""
    return tuple(replace(piece, equation=_as_parameter(piece.equation, horizon)) for piece in pieces)


def _sparse(path: Path, tables: Mapping[str, Any], pieces: Sequence[Piece], ranges: Ranges) -> dict[str, Any]:
    """Sparse tables by the modeller's names, in compressed rows, checked against the ranges."""
    found: dict[str, Any] = {}
    known = {key(piece.equation.name): piece for piece in pieces if isinstance(piece.equation, Parameter)}
    for name, table in tables.items():
        piece = known.get(key(name))
        if piece is None or len(piece.subscripts) != 2:
            raise ReadingError(f"{path.name} has no constant '{name}' over two ranges to give a table")
        if not hasattr(table, "tocsr"):
            raise ReadingError(f"the table for '{name}' is a {type(table).__name__}; give a SciPy sparse matrix")
        sizes = tuple(len(ranges.elements(subscript)) for subscript in piece.subscripts)
        if tuple(table.shape) != sizes:
            raise ReadingError(f"the table for '{name}' has {table.shape} entries, its ranges have {sizes}")
        found[piece.equation.name] = table.tocsr()
    return found


def _saving(source: Source) -> Source:
    """A source that says when rows are saved: at each step where it does not."""
    if "saveper" in {key(item.name) for item in source.definitions}:
        return source
    saving = Definition("SAVEPER", Reference("TIME STEP"), note="The file does not state it.")
    units = next((item.units for item in source.definitions if key(item.name) == "time_step"), "")
    return replace(source, definitions=(*source.definitions, replace(saving, units=units)))


def _resized(source: Source, sizes: Mapping[str, int], path: Path) -> Source:
    """A source whose ranges have other numbers of elements."""
    ranges = {key(item.name): item for item in source.ranges}
    for name, size in sizes.items():
        if key(name) not in ranges:
            known = [item.name for item in source.ranges]
            raise ReadingError(f"{path.name} has no range '{name}'{near(name, known)} to give a size")
        if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= MOST_ELEMENTS:
            raise ReadingError(f"the size of range '{name}' is {size!r}; it should be a whole number above zero")
        item = ranges[key(name)]
        while item.copied and key(item.copied) in ranges:  # another name of a range has its elements
            item = ranges[key(item.copied)]
        if inner := next((member for member in item.members if key(member) in ranges), ""):
            raise ReadingError(
                f"range '{name}' of {path.name} is made of other ranges, such as '{inner}'; give these a size"
            )
        ranges[key(item.name)] = replace(item, members=_of_size(item, size), external=())
    return replace(source, ranges=tuple(ranges.values()))


def _of_size(item: RangeDefinition, size: int) -> tuple[str, ...]:
    """The first elements of a range, and where they are too few further ones, numbered on from the last."""
    known = item.members[:size]
    series = re.fullmatch(r"(.*?)(\d+)", known[-1]) if known else None
    prefix, last, width = (series[1], int(series[2]), len(series[2])) if series else (item.name, len(known), 0)
    return (*known, *(f"{prefix}{last + number:0{width}d}" for number in range(1, size - len(known) + 1)))


def _readable(path: Path, lowering: Lowering) -> tuple[list[Piece], dict[str, str]]:
    """Pieces that can be computed, and why the other variables cannot."""
    blocked = dict(lowering.faults)
    pieces = lowering.pieces
    while True:
        before = len(blocked)
        for piece in pieces:
            owner = _owner(piece.equation.name, lowering)
            for part in parts_of(piece.equation) if owner not in blocked else ():
                read = [n.name if isinstance(n, Name) else n.table for n in walk(part) if isinstance(n, Name | Lookup)]
                owners = (_owner(name, lowering) for name in read)
                missing = next((name for name in owners if name in blocked and name != owner), None)
                if missing is not None:
                    blocked[owner] = f"it depends on '{missing}'"
                    break
        if len(blocked) == before:
            break
    kept = [piece for piece in pieces if _owner(piece.equation.name, lowering) not in blocked]
    controls = set(map(key, CONTROLS))
    for name, reason in blocked.items():
        if key(name) in controls:
            raise ReadingError(f"{path.name}, variable '{name}': {reason}")
    computed = [piece for piece in kept if not isinstance(piece.equation, Parameter | Table)]
    if blocked and not [piece for piece in computed if key(piece.equation.name) not in controls]:
        name, reason = next(iter(blocked.items()))
        raise ReadingError(f"{path.name}, variable '{name}': {reason}")
    return kept, blocked


def _owner(name: str, lowering: Lowering) -> str:
    """The variable of the file that an inner variable, `owner #1 stage`, belongs to; the file's names may hold ` #`."""
    found = name
    while found not in lowering.written and " #" in found:
        found = found.rpartition(" #")[0]
    return found


def _warnings(unsupported: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence on what cannot be computed, with the reason of the first, which is no other variable's fault."""
    if not unsupported:
        return ()
    first = next(name for name, reason in unsupported.items() if not reason.startswith("it depends on"))
    names = [f"'{first}' ({shorten(unsupported[first].partition(LIST)[0])})"]
    names += [f"'{name}'" for name in unsupported if name != first]
    return (f"{len(unsupported)} variable(s) cannot be computed: {some(names)}; model.report() says why",)


def _where_read(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    listed = ", ".join(f"'{name}'" for name in names)
    return (f"{listed}: worked out only where a sum over a sparse table reads it; runs do not hold it",)


def _find(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    if path.suffix.lower() in _READERS:
        if not path.is_file():
            raise ReadingError(f"no file '{path}'; give the path of a .mdl or .xmile file")
        return path
    if path.exists():
        expected = ", ".join(_READERS)
        raise ReadingError(f"'{path}' is not a model file; its name should end in one of {expected}")
    names = library.models()
    if str(path_or_name) in names:
        return library.path(str(path_or_name))
    raise ReadingError(
        f"no shipped model '{path_or_name}'{near(str(path_or_name), names)};"
        f" give one of {', '.join(names)}, or the path of a .mdl or .xmile file"
    )


def _moving_apart(path: Path, found: WrittenOut, *, whole: bool) -> tuple[WrittenOut, dict[str, str]]:
    """Control variables that vary: each a parameter with its value at the start, and a hidden variable that varies."""
    moving: dict[str, str] = {}
    equations: list[Equation] = []
    for equation in found.equations:
        equations.append(equation)
        control = next((name for name in CONTROLS[1:] if key(name) == key(equation.name)), "")
        if not control or not isinstance(equation, Auxiliary) or whole:
            continue
        try:
            constant_value(equation.name, found.equations)
        except ModelError:
            try:
                value = first_value(equation.name, found.equations)
            except ModelError as error:
                raise ReadingError(f"{path.name}: {error}") from None
            about = {item.name: getattr(equation, item.name) for item in fields(Variable)}
            moving[control] = f"{equation.name} #now"
            equations[-1:] = [
                Parameter(**about, value=value),
                replace(equation, name=moving[control], hidden=True),
            ]
    return replace(found, equations=tuple(equations)), moving


def _own_step(path: Path, equations: tuple[Equation, ...], horizon: Horizon) -> tuple[str, ...]:
    """A sentence about a saving time that does not fall on the model's own steps."""
    wanted = next((item for item in equations if key(item.name) == key("SAVEPER")), None)
    every = constant_value(wanted.name, equations) if wanted is not None else horizon.save_every
    if horizon.save_every != horizon.step or every <= horizon.step:
        return ()
    return (f"SAVEPER {every:g} is no multiple of TIME STEP {horizon.step:g}; every step is saved",)


def _horizon(path: Path, equations: tuple[Equation, ...]) -> Horizon:
    """Times of the run, from the four control variables."""
    by_key = {key(equation.name): equation for equation in equations}
    values = []
    for control in CONTROLS:
        if key(control) not in by_key:
            raise ReadingError(f"{path.name} has no '{control}'; a model states its four control variables")
        try:
            values.append(constant_value(by_key[key(control)].name, equations))
        except ModelError as error:
            raise ReadingError(f"{path.name}: {error}") from None
    start, end, step, save_every = values
    if not step > 0 or not math.isfinite(step):
        raise ReadingError(f"{path.name}: TIME STEP is {step:g}; it should be above zero")
    if not math.isfinite((abs(end) + abs(start) + abs(save_every)) / step):
        raise ReadingError(f"{path.name}: TIME STEP is {step:g}, too short for a run from {start:g} to {end:g}")
    if end < start:
        raise ReadingError(f"{path.name}: FINAL TIME {end:g} lies before INITIAL TIME {start:g}")
    if abs(save_every / step - round(save_every / step)) > 1e-6:
        save_every = step
    return Horizon(start, end, step, max(save_every, step), by_key[key("TIME STEP")].units)


def _as_parameter(equation: Equation, horizon: Horizon) -> Equation:
    """A control variable as a number, so that a run's own step and end reach the equations that read them."""
    values = dict(zip(map(key, CONTROLS), astuple(horizon), strict=False))
    if key(equation.name) not in values or isinstance(equation, Parameter):
        return equation
    about = {item.name: getattr(equation, item.name) for item in fields(Variable)}
    return Parameter(**about, value=values[key(equation.name)])
