"""Variables over both ranges of a sparse table: worked out where they are read, for what the table holds alone.

With a million members such a variable would have a million million elements. Sums over the table need ten million of
them, each once or twice, so each sum works out its own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from sd_cluster.arrays import Piece
from sd_cluster.errors import ModelError
from sd_cluster.expressions import REDUCTIONS, Call, Expression, Lookup, Name, Operation, walk
from sd_cluster.model import Auxiliary, key


def worked_out_where_read(pieces: Sequence[Piece], tables: Mapping[str, Any]) -> tuple[list[Piece], tuple[str, ...]]:
    """Write variables over both ranges of a sparse table into the equations that read them.

    Parameters
    ----------
    pieces
        All equations of a model.
    tables
        Sparse tables by name.

    Returns
    -------
    pieces
        Without those variables; what they were equal to stands where they were read.
    names
        Of those variables, in the order of the file.

    Raises
    ------
    ModelError
        If one of them is read within a sum over a range that it sums over itself; the text names it.
    """
    pairs = [{key(s) for s in piece.subscripts} for piece in pieces if piece.equation.name in tables]
    own: dict[str, list[Piece]] = {}
    for piece in pieces:
        own.setdefault(piece.equation.name, []).append(piece)
    bodies: dict[str, Piece] = {}
    for name, (piece, *others) in own.items():
        equation = piece.equation
        plain = isinstance(equation, Auxiliary) and equation.initial is None and not others and not piece.exceptions
        if plain and any(pair <= {key(s) for s in piece.subscripts} for pair in pairs):
            bodies[name] = piece
    if not bodies:
        return list(pieces), ()
    kept = [_written_in(piece, bodies) for piece in pieces if piece.equation.name not in bodies]
    return kept, tuple(bodies)


def _written_in(piece: Piece, bodies: Mapping[str, Piece]) -> Piece:
    equation = piece.equation
    changed: dict[str, Any] = {}
    for item in fields(equation):
        part = getattr(equation, item.name)
        if isinstance(part, Expression) and _reads(part, bodies):
            changed[item.name] = _replaced(part, bodies, frozenset())
    return replace(piece, equation=replace(equation, **changed)) if changed else piece


def _reads(expression: Expression, bodies: Mapping[str, Piece]) -> bool:
    return any(isinstance(node, Name) and node.name in bodies for node in walk(expression))


def _summed(expression: Expression) -> frozenset[str]:
    """Ranges over which an expression asks to be summed."""
    nodes = (node for node in walk(expression) if isinstance(node, Name | Lookup))
    return frozenset(key(index) for node in nodes for index in node.indices if index.endswith("!"))


def _replaced(expression: Expression, bodies: Mapping[str, Piece], within: Collection[str]) -> Expression:
    """An expression, within sums over some ranges, in which variables are replaced by what they are equal to."""
    match expression:
        case Name() if expression.name in bodies:
            piece = bodies[expression.name]
            equation = piece.equation
            assert isinstance(equation, Auxiliary)
            clash = _summed(equation.expression) & set(within)
            if clash:
                raise ModelError(
                    f"'{expression.name}' sums over '{min(clash)}' and is read within a sum over it; give the range"
                    " another name there (a <-> b)"
                )
            places = dict(zip(map(key, piece.subscripts), expression.indices, strict=True))
            return _replaced(_indexed(equation.expression, places), bodies, within)
        case Operation(operands=operands):
            return replace(expression, operands=tuple(_replaced(part, bodies, within) for part in operands))
        case Call(function=function, arguments=arguments):
            inside = {*within, *_summed(expression)} if function in REDUCTIONS else within
            return replace(expression, arguments=tuple(_replaced(part, bodies, inside) for part in arguments))
        case Lookup(argument=argument):
            return replace(expression, argument=_replaced(argument, bodies, within))
        case _:
            return expression


def _indexed(expression: Expression, places: Mapping[str, str]) -> Expression:
    """An expression for other elements than those of its left-hand side."""
    match expression:
        case Name() | Lookup():
            indices = tuple(places.get(key(index), index) for index in expression.indices)
            if isinstance(expression, Name):
                return replace(expression, indices=indices)
            return replace(expression, indices=indices, argument=_indexed(expression.argument, places))
        case Operation(operands=operands):
            return replace(expression, operands=tuple(_indexed(part, places) for part in operands))
        case Call(arguments=arguments):
            return replace(expression, arguments=tuple(_indexed(part, places) for part in arguments))
        case _:
            return expression
