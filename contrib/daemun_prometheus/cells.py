"""Counters as numbers in one flat sequence, so that counting is `values[index] += 1`; here in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

__all__ = ["Cells", "MemoryCells", "Numbers", "Place", "Record"]


class Numbers(Protocol):
    """What cells are taken from and put into: a list, or a view of mapped memory."""

    def __getitem__(self, index: int, /) -> float: ...

    def __setitem__(self, index: int, value: float, /) -> None: ...


class Record(NamedTuple):
    """What was counted for one label set."""

    kind: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    """A tuple, as the garbage collector need not look at one of numbers."""


class Place(NamedTuple):
    """Where the cells of a record are."""

    kind: str
    labels: tuple[str, ...]
    at: int
    size: int


class Cells(Protocol):
    """A sequence of cells that grows at its end."""

    values: Numbers
    """The cells. Another object after `append`: take it anew then."""

    def places(self) -> Iterable[Place]:
        """The records that are there."""
        ...

    def append(self, kind: str, labels: tuple[str, ...], count: int) -> int:
        """Index of the first of `count` new cells, which are 0. Raises `OSError` if there is no room."""
        ...

    def reading(self) -> Callable[[], Iterable[Record]]:
        """A function that gives all records as they are about now; another thread may call it."""
        ...


class MemoryCells:
    """The cells of a worker that is alone."""

    def __init__(self) -> None:
        self._list: list[float] = []
        self.values: Numbers = self._list
        self._places: list[Place] = []

    def places(self) -> Iterable[Place]:
        return self._places

    def append(self, kind: str, labels: tuple[str, ...], count: int) -> int:
        place = Place(kind, labels, len(self._list), count)
        self._list.extend([0.0] * count)
        self._places.append(place)
        return place.at

    def reading(self) -> Callable[[], Iterable[Record]]:
        places, values = self._places.copy(), self._list.copy()
        return lambda: (Record(kind, labels, tuple(values[at : at + size])) for kind, labels, at, size in places)
