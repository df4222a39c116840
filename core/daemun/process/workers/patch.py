"""A snapshot as its difference to the one before, so that one changed route of many costs one route.

Supervisor and worker both hold the last snapshot of each source. A patch says which runs of the old objects stay,
and what is new in between; the objects that stay are the very same ones, which is what the table looks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from daemun.process.workers.frames import Patch, Piece
from daemun.routing.spec import Snapshot

__all__ = ["difference", "patched", "pieces"]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def difference(serial: int, source: str, old: Snapshot, new: Snapshot) -> Patch:
    """What turns `old` into `new`; `refused` is not part of it."""
    routes, new_routes = pieces(old.routes, new.routes)
    backends, new_backends = pieces(old.backends, new.backends)
    certificates, new_certificates = pieces(old.certificates, new.certificates)
    return Patch(serial, source, routes, new_routes, backends, new_backends, certificates, new_certificates)


def patched(old: Snapshot, patch: Patch) -> Snapshot:
    """`old` with `patch`. Raises `ValueError` for a piece that is not there."""
    return Snapshot(
        tuple(_joined(old.routes, patch.routes, patch.new_routes)),
        tuple(_joined(old.backends, patch.backends, patch.new_backends)),
        certificates=tuple(_joined(old.certificates, patch.certificates, patch.new_certificates)),
    )


def pieces(old: Sequence[N], new: Sequence[N]) -> tuple[tuple[Piece, ...], tuple[N, ...]]:
    """`new` as runs of `old` and of what is not in it, with the latter."""
    places = {item.name: place for place, item in enumerate(old)}
    runs: list[list[int]] = []
    fresh: list[N] = []
    for item in new:
        place = places.get(item.name, -1)
        if place >= 0 and old[place] is not item and old[place] != item:
            place = -1
        if place < 0:
            fresh.append(item)
        if runs and (runs[-1][0] + runs[-1][1] == place if place >= 0 and runs[-1][0] >= 0 else runs[-1][0] == place):
            runs[-1][1] += 1
        else:
            runs.append([place, 1])
    return tuple(Piece(start, count) for start, count in runs), tuple(fresh)


def _joined(old: Sequence[N], runs: Iterable[Piece], fresh: Sequence[N]) -> list[N]:
    joined: list[N] = []
    used = 0
    for run in runs:
        if run.start < 0:
            items = fresh[used : used + run.count]
            used += run.count
        else:
            items = old[run.start : run.start + run.count]
        if len(items) != run.count:
            raise ValueError(f"a run of {run.count} objects from {run.start} on is not there")
        joined += items
    return joined
