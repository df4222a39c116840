"""How much a message may hold, and what is told of one that does not fit its schema."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Bounds", "JsonError", "Problem"]


class Bounds(Struct, frozen=True):
    """How much a message may hold."""

    max_depth: int = 64
    """Elements within each other."""
    max_read: int = 100_000
    """Elements and attributes of XML that becomes JSON."""
    max_written: int = 100_000
    """Elements and attributes of XML that JSON becomes; they are checked by the schema, at some 20 µs each."""
    max_problems: int = 10
    """Problems that are told; the search ends with the last of them."""


class Problem(Struct, frozen=True):
    """Something that is wrong, and where."""

    path: str
    """As in `$.order.item[2].@id`."""
    message: str


class JsonError(Exception):
    """A message that does not fit its schema."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{problem.path} {problem.message}" for problem in problems))
