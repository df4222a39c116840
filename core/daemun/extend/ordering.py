"""The order of a route's filters: phases first, then `before` and `after`, then as the route lists them."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from daemun.errors import SettingsError
from daemun.extend.types import FilterType

__all__ = ["in_order"]


def in_order(filters: Sequence[FilterType]) -> list[int]:
    """Positions of `filters` in the order in which requests pass them. Stable where nothing is demanded.

    Raises `SettingsError` naming the filters of a circle.
    """
    order: list[int] = []
    for phase in sorted({kind.phase for kind in filters}):
        among = [position for position, kind in enumerate(filters) if kind.phase is phase]
        waits: dict[int, set[int]] = {position: set() for position in among}
        for first in among:
            for second in among:
                if filters[second].name in filters[first].before or filters[first].name in filters[second].after:
                    waits[second].add(first)
        order += _sorted(waits, filters)
    return order


def _sorted(waits: dict[int, set[int]], filters: Sequence[FilterType]) -> list[int]:
    sorter = TopologicalSorter(waits)
    try:
        sorter.prepare()
    except CycleError as error:
        names = " → ".join(filters[position].name for position in error.args[1])
        raise SettingsError(f"filters wait for each other: {names}") from error
    order: list[int] = []
    ready: list[int] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        ready.sort()
        first = ready.pop(0)
        order.append(first)
        sorter.done(first)
    return order
