"""Positions that leave room: numbers that rise in the order of a list, of which a change of the list moves few."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import gt

__all__ = ["new_positions"]

_STEP = 1 << 32
"""Room between neighbours: 32 times running, one can be put beside the one before it until all are numbered anew."""


def new_positions(positions: Sequence[int | None], step: int = _STEP) -> dict[int, int]:
    """The positions to be given, by index in the list, so that all rise.

    `positions` are those of the list's items so far, None for an item that has none. As many as can be stay.
    """
    known = [position for position in positions if position is not None]
    if any(map(gt, known, known[1:])):
        staying = _longest_rise(known)
        positions = [position if position in staying else None for position in positions]
    new: dict[int, int] = {}
    low: int | None = None
    waiting = 0
    for index, high in enumerate(positions):
        if high is None:
            waiting += 1
            continue
        if waiting:
            gap = step if low is None else (high - low) // (waiting + 1)
            if not gap:
                return {index: index * step for index in range(len(positions))}
            for back in range(1, waiting + 1):
                new[index - back] = high - back * gap
            waiting = 0
        low = high
    first = 0 if low is None else low + step
    for ahead in range(waiting):
        new[len(positions) - waiting + ahead] = first + ahead * step
    return new


def _longest_rise(values: Sequence[int]) -> set[int]:
    """The most of `values`, all different, that rise in the order given."""
    ends: list[int] = []
    before: dict[int, int | None] = {}
    for value in values:
        if not ends or value > ends[-1]:
            before[value] = ends[-1] if ends else None
            ends.append(value)
        else:
            length = bisect_left(ends, value)
            before[value] = ends[length - 1] if length else None
            ends[length] = value
    rise: set[int] = set()
    last: int | None = ends[-1]
    while last is not None:
        rise.add(last)
        last = before[last]
    return rise
