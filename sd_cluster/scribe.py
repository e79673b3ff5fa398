"""A model file as text, from the trees it was read into: what both formats share."""

from collections.abc import Sequence
from dataclasses import replace

from sd_cluster.errors import ModelError
from sd_cluster.grammar import (
    Application,
    Dialect,
    Figure,
    Operator,
    Quoted,
    Reference,
    Tree,
)
from sd_cluster.model import Model, key
from sd_cluster.ranges import Ranges, clean
from sd_cluster.source import Definition, Source

_BINDING = {
    "or": 1, "and": 2, "not": 3, "=": 4, "<>": 4, "<": 4, "<=": 4, ">": 4, ">=": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "neg": 7, "^": 8,
}  # fmt: skip


class Scribe:
    """What both formats share."""

    dialect: Dialect

    def __init__(self, model: Model, source: Source) -> None:
        self.model, self.source = model, source
        filled = [
            replace(item, members=model.ranges[clean(item.name)], external=()) if item.external else item
            for item in source.ranges
        ]
        self.ranges = Ranges(filled)
        self.owner = ""
        self.here: dict[str, str] = {}
        self.scope: dict[str, list[Definition]] = {}
        self.enter(source.definitions)

    def enter(self, definitions: Sequence[Definition]) -> None:
        """Take names from some definitions: those of the model, or of one macro."""
        self.scope = {}
        for item in definitions:
            self.scope.setdefault(key(item.name), []).append(item)

    def dimensions(self, name: str) -> list[tuple[str, tuple[str, ...]]]:
        """Name and elements of each range of an array variable; none for a single number."""
        rows = [item.subscripts for item in self.scope.get(key(name), ())]
        return [self.ranges.dimension(column) for column in zip(*rows, strict=True)]

    def text(self) -> str:
        """The whole file."""
        raise NotImplementedError

    def fail(self, what: str) -> ModelError:
        """The error for a variable that the format cannot hold."""
        return ModelError(f"{self.model.name}: '{self.owner}' cannot be written: {what}")

    def tree(self, tree: Tree, binding: int = 0) -> str:
        """Text of a tree, with the brackets it needs."""
        match tree:
            case Figure():
                number = self.number(tree.value)
                return f"({number})" if number.startswith("-") and binding > 5 else number
            case Reference():
                return self.reference(tree.name, tree.subscripts)
            case Operator(operator=operator, operands=operands):
                return self.operation(operator, operands, binding)
            case Application():
                return self.application(tree, binding)
            case Quoted():
                return f"'{tree.value}'"
            case _:
                raise self.fail("it has a table inside an expression")

    def number(self, value: float) -> str:
        """A number, so that it reads back the same."""
        raise NotImplementedError

    def reference(self, name: str, subscripts: Sequence[str]) -> str:
        """A name with its subscripts."""
        raise NotImplementedError

    def word(self, operator: str) -> str:
        """How an operator is written."""
        raise NotImplementedError

    def application(self, tree: Application, binding: int) -> str:
        """A function of its arguments."""
        raise NotImplementedError

    def operation(self, operator: str, operands: Sequence[Tree], binding: int) -> str:
        """An operator between its operands, in brackets where it binds looser than what is around it."""
        own = _BINDING[operator]
        if operator == "neg":
            written = f"-{self.tree(operands[0], own)}"
        elif operator == "not":
            written = f"{self.word('not')} {self.tree(operands[0], own)}"
        elif operator == "^":
            written = f"{self.tree(operands[0], own + 1)}^{self.tree(operands[1], own)}"
        else:
            first, second = self.tree(operands[0], own), self.tree(operands[1], own + 1)
            written = f"{first} {self.word(operator)} {second}"
        return f"({written})" if own < binding else written
