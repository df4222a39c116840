"""What a cluster holds of one kind, kept up to date: listed once, then watched for ever.

No difference is lost and none is told twice, whatever happens to connections and servers:

- A watch goes on where the last event, or bookmark, left off. It is opened anew when it ends, breaks or falls silent.
- A version that the server has forgotten (410) leads to a new list, and what differs from it is told as changes.
- Whatever fails is tried again, 0.1 s later at first and up to 10 s later, less a random part.
- The first list may be of any version (`resourceVersion=0`), which spares etcd; a later one is not older than what was
  seen, as servers differ in what they know; after a 410 it is the newest there is. So does client-go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from random import uniform
from types import MappingProxyType
from typing import Generic, Literal, TypeVar

import anyio
import msgspec
from msgspec import Raw, Struct

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.backoff import Backoff
from daemun_kubernetes.client.errors import ApiError, read_status
from daemun_kubernetes.client.kinds import Kind, KubeObject, Metadata
from daemun_kubernetes.client.lines import Lines

__all__ = ["Change", "Reflector"]

log = logging.getLogger("daemun.kubernetes")

_SHORT_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_FAILURES_BEFORE_LIST = 5
_FAILURES_BEFORE_WORDS = 3
_SAID_AT_ONCE = (401, 403, 404, 429, 503)
_REFUSED = (403, 404)
_MAX_EVENT_BYTES = 16 * 1024 * 1024
_Key = tuple[str, str]
T = TypeVar("T", bound=KubeObject)


class Change(Struct, Generic[T], frozen=True):
    """A difference: `object` is the newest state, also the last one of what was deleted; `old` is what was known."""

    kind: Literal["added", "modified", "deleted"]
    object: T
    old: T | None = None


class _Named(Struct, frozen=True, rename="camel"):
    name: str | None = None
    namespace: str | None = None
    resource_version: str | None = None


class _Head(Struct, frozen=True):
    """As much of an object as even a malformed one has."""

    metadata: _Named = _Named()


class _Event(Struct, frozen=True):
    type: str
    object: Raw


_EVENT = msgspec.json.Decoder(_Event)
_HEAD = msgspec.json.Decoder(_Head)


class Reflector(Generic[T]):
    """Keeps `objects` as the cluster has them while `run` runs; `on_change` is called for each difference, in order.

    `on_change` is synchronous and finds `objects` already changed; what it raises ends `run`. Objects that cannot be
    decoded are logged by name and left as they were. `namespace` "" means all namespaces. The first list is not older
    than the version `at_least`: that of another Reflector of the same kind, whose place this one takes.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind[T],
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        at_least: str = "0",
        on_change: Callable[[Change[T]], None],
    ) -> None:
        self._objects: dict[_Key, T] = {}
        self.objects: Mapping[_Key, T] = MappingProxyType(self._objects)
        """By namespace and name."""
        self.synced = False
        """Whether the first list has been read."""
        self.version = at_least
        """The newest that was seen; objects are as they were then, or later."""
        self.trouble = ""
        """Why nothing is heard of the cluster at present; "" if all is well."""
        self.refused = False
        """Whether the server said last that this may not be had, or is not there: that does not pass by itself."""
        self._cluster = cluster
        self._kind = kind
        self._namespace = namespace
        self._selectors = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        self._on_change = on_change
        self._synced = anyio.Event()
        self._backoff = Backoff()
        self._malformed: dict[_Key, str] = {}

    async def wait_synced(self) -> None:
        """Until the first list has been read, and all of it was told."""
        await self._synced.wait()

    async def run(self) -> None:
        """For ever: lists, watches, and starts again where that is needed."""
        version, listed = self.version, False
        while True:
            try:
                if not listed:
                    await self._list(version)
                    listed = True
                await self._watch_once()
            except ApiError as error:
                self.refused = error.status in _REFUSED
                if error.gone or error.ahead:
                    version, listed = "", False
                elif listed and error.status and self._backoff.failures >= _FAILURES_BEFORE_LIST:
                    version, listed = self.version, False
                pause = max(self._backoff.failed(), min(error.retry_after_seconds or 0.0, _LONGEST_PAUSE_SECONDS))
                self._lost(error)
                await anyio.sleep(pause)

    async def _list(self, version: str) -> None:
        query = {**self._selectors, "resourceVersion": version} if version else self._selectors
        now, items = await self._cluster.walk(self._kind, self._namespace, query, self._take)
        if not now:
            raise ApiError(f"{self._cluster.server} gave a list of {self._kind.plural} without its version", status=200)
        self.version = now
        for _, item in items:
            if item is not None:
                self._put(item)
        for key in (self._objects.keys() | self._malformed.keys()) - {key for key, _ in items}:
            self._remove(key, None)
        if not self.synced:
            self.synced = True
            self._synced.set()

    async def _watch_once(self) -> None:
        seconds = self._cluster.watch_timeout_seconds
        query = {
            **self._selectors,
            "resourceVersion": self.version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(round(uniform(seconds, 2 * seconds))),
        }
        started = anyio.current_time()
        version = self.version
        lines = Lines(_MAX_EVENT_BYTES)
        try:
            async with self._cluster.watch(self._kind, self._namespace, query) as pieces:
                self._found()
                async for piece in pieces:
                    for line in self._split(lines, piece):
                        self._event(line)
        finally:
            lasted = anyio.current_time() - started
            if self.version != version or lasted >= _SHORT_SECONDS:
                self._backoff.recovered()
        if self.version == version and lasted < _SHORT_SECONDS:
            raise ApiError(f"{self._cluster.server} ends watches of {self._kind.plural} at once", status=200)

    def _split(self, lines: Lines, piece: bytes) -> list[bytes]:
        try:
            return lines.feed(piece)
        except ValueError as error:
            raise self._unreadable(error) from None

    def _event(self, line: bytes) -> None:
        try:
            event = _EVENT.decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise self._unreadable(error) from None
        if event.type == "ERROR":
            said = read_status(event.object)
            words = said.message or "no reason was given"
            text = f"the watch of {self._kind.resource} at {self._cluster.server} has ended: {words}"
            raise ApiError(text, status=said.code or 500, reason=said.reason or "Unknown", said=said)
        if event.type == "BOOKMARK":
            self._passed(_head(event.object))
            return
        deleted = event.type == "DELETED"
        key, item = self._take(event.object, quiet=deleted)
        if deleted:
            self._remove(key, item)
        elif item is not None:
            self._put(item)
        self._passed(_head(event.object) if item is None else item.metadata)

    def _take(self, data: Raw, *, quiet: bool = False) -> tuple[_Key, T | None]:
        """Name and object; no object if it is malformed, which is said once."""
        try:
            item = self._kind.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            head = _head(data)
            key = head.namespace or "", head.name or ""
            if not quiet and self._malformed.get(key) != head.resource_version:
                self._malformed[key] = head.resource_version or ""
                name = "/".join(part for part in key if part)
                log.warning("%s %s cannot be read, and is left as it was: %s", self._kind.kind, name, error)
            return key, None
        return (item.metadata.namespace, item.metadata.name), item

    def _put(self, item: T) -> None:
        key = item.metadata.namespace, item.metadata.name
        self._malformed.pop(key, None)
        old = self._objects.get(key)
        if old is not None and old.metadata.resource_version == item.metadata.resource_version:
            return
        self._objects[key] = item
        self._on_change(Change("added" if old is None else "modified", item, old))

    def _remove(self, key: _Key, last: T | None) -> None:
        self._malformed.pop(key, None)
        old = self._objects.pop(key, None)
        if old is not None:
            self._on_change(Change("deleted", old if last is None else last, old))

    def _passed(self, head: Metadata | _Named) -> None:
        self.version = head.resource_version or self.version

    def _unreadable(self, error: Exception) -> ApiError:
        text = f"{self._cluster.server} gave an event of {self._kind.plural} that cannot be read: {error}"
        return ApiError(text, status=200, reason="Malformed")

    def _lost(self, error: ApiError) -> None:
        """Says once what keeps the cluster from being heard, and not for what passes by itself."""
        if self.trouble:
            self.trouble = str(error)
        elif error.gone:
            log.debug("%s", error)  # it is listed again, and that says what is wrong if anything is
        elif self._backoff.failures >= _FAILURES_BEFORE_WORDS or error.status in _SAID_AT_ONCE:
            self.trouble = str(error)
            log.warning("%s; it is tried again", error)
        else:
            log.debug("%s", error)

    def _found(self) -> None:
        self.refused = False
        if self.trouble:
            self.trouble = ""
            log.info("%s of %s are watched again", self._kind.plural, self._cluster.server)


def _head(data: Raw) -> _Named:
    try:
        return _HEAD.decode(data).metadata
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _Named()
