"""What sources publish, for all workers: each gets what is new, and a publish is over when all have applied it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import anyio
import msgspec

from daemun.extend.sources import Applied
from daemun.process.workers.channel import ChannelError, framed
from daemun.process.workers.frames import Outcome, encode
from daemun.process.workers.patch import difference
from daemun.routing.refused import log_refused
from daemun.routing.spec import BackendSpec, CertificateSpec, ObjectStatus, RouteSpec, Snapshot

__all__ = ["Feed", "Reader", "gathered"]

S = TypeVar("S", RouteSpec, BackendSpec, CertificateSpec)

_CODECS: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (RouteSpec, BackendSpec, CertificateSpec)
}


class Reader(Protocol):
    """A worker, as the feed sees it."""

    def post(self, frame: bytes) -> None:
        """Sends an encoded frame."""
        ...

    async def outcome(self, serial: int) -> Outcome | None:
        """What the worker says of a patch; None if it ended before it did."""
        ...


class Feed:
    """The last snapshot of each source, and the workers that serve them."""

    def __init__(self, on_applied: Callable[[Applied], None]) -> None:
        self.routes = 0
        """Routes in use, as a worker counted them last."""
        self.statuses: dict[str, tuple[ObjectStatus, ...]] = {}
        """What became of the objects of each source."""
        self._on_applied = on_applied
        self._snapshots: dict[str, Snapshot] = {}
        self._readers: list[Reader] = []
        self._serials = itertools.count(1)
        self._lock = anyio.Lock()

    async def join(self, reader: Reader) -> tuple[ObjectStatus, ...]:
        """Hands everything to a worker that has nothing yet, and all that is published from now on.

        Returns once it serves it, or has ended, what it refused.
        """
        self._readers.append(reader)
        serials = []
        for source, snapshot in self._snapshots.items():
            serials.append(serial := next(self._serials))
            reader.post(encode(difference(serial, source, Snapshot(), snapshot)))
        outcomes = [await reader.outcome(serial) for serial in serials]
        return tuple(status for outcome in outcomes if outcome is not None for status in outcome.refused)

    def leave(self, reader: Reader) -> None:
        """It ended, or serves no more."""
        if reader in self._readers:
            self._readers.remove(reader)

    async def publish(self, source: str, snapshot: Snapshot) -> Applied:
        """Replaces what `source` published. Returns once every worker serves it, or has ended."""
        async with self._lock:
            old = self._snapshots.get(source, Snapshot())
            unfit: dict[tuple[str, str, str], str] = {}
            new = Snapshot(
                _fit("route", old.routes, snapshot.routes, unfit),
                _fit("backend", old.backends, snapshot.backends, unfit),
                certificates=_fit("certificate", old.certificates, snapshot.certificates, unfit),
            )
            serial = next(self._serials)
            try:
                frame = encode(difference(serial, source, old, new))
                framed(frame)
            except ChannelError as error:
                refused = ObjectStatus("source", source, source, f"{error}; what it published before stays in use")
                return self._applied(source, Applied(0, (refused,)))
            self._snapshots[source] = new
            readers = list(self._readers)
            for reader in readers:
                reader.post(frame)
            outcomes = [outcome for reader in readers if (outcome := await reader.outcome(serial)) is not None]
            if outcomes:
                self.routes = outcomes[0].routes
            return self._applied(source, gathered(snapshot, outcomes, unfit))

    def _applied(self, source: str, applied: Applied) -> Applied:
        log_refused(applied.refused, source, self.statuses.get(source, ()))
        self.statuses[source] = applied.objects
        self._on_applied(applied)
        return applied


def _fit(kind: str, old: Sequence[S], new: Iterable[S], unfit: dict[tuple[str, str, str], str]) -> tuple[S, ...]:
    """Those of `new` that can be handed to another process. One that cannot is told in `unfit`, and what had its
    name before stays."""
    before = {item.name: item for item in old}
    fit: list[S] = []
    for item in new:
        known = before.get(item.name)
        if known is not None and (known is item or known == item):
            fit.append(known)
            continue
        try:
            _CODECS[type(item)].decode(encode(item))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            words = f"cannot be handed to workers: {error}"
            if known is not None:
                words += "; the version from before stays in use"
                fit.append(known)
            unfit[kind, item.name, item.origin] = words
        else:
            fit.append(item)
    return tuple(fit)


def gathered(
    snapshot: Snapshot, outcomes: Sequence[Outcome], unfit: dict[tuple[str, str, str], str] | None = None
) -> Applied:
    """One answer of all workers: an object that one of them refuses is refused, in its words."""
    words: dict[tuple[str, str, str], list[str]] = {key: [error] for key, error in (unfit or {}).items()}
    for outcome in outcomes:
        for status in outcome.refused:
            told = words.setdefault((status.kind, status.name, status.origin), [])
            if status.error not in told:
                told.append(status.error)
    objects = list(snapshot.refused)
    named = [("route", route.name, route.origin) for route in snapshot.routes]
    named += [("backend", backend.name, backend.origin) for backend in snapshot.backends]
    named += [("certificate", one.name, one.origin) for one in snapshot.certificates]
    objects += [ObjectStatus(*key, "; ".join(words.pop(key, ()))) for key in named]
    objects += (ObjectStatus(*key, "; ".join(errors)) for key, errors in words.items())
    return Applied(max((outcome.generation for outcome in outcomes), default=0), tuple(objects))
