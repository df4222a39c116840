"""Statuses: only what is not so already is written, never over what was not seen, and again after a failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import Kind, KubeObject

__all__ = ["StatusWriter"]

log = logging.getLogger("daemun.kubernetes")

_Key = tuple[str, str]
T = TypeVar("T", bound=KubeObject)

_WRITERS = 8
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 60.0
_BURST = 5
_REFILL_SECONDS = 10.0


class _Allowance(Struct):
    """How often the status of one generation of an object may still be written now."""

    generation: int
    left: float
    at: float
    is_said: bool = False


class StatusWriter(Generic[T]):
    """Brings the status of objects of one kind to what it should be, those that are marked, while it leads.

    One generation of an object is written five times at once, and once more each ten seconds: where that is too little
    another writer is at odds with this one, and the API server would suffer for it.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind[T],
        current: Callable[[_Key], T | None],
        wanted: Callable[[T], dict[str, Any] | None],
    ) -> None:
        """`current` is an object as it was seen last, by namespace and name; `wanted` a merge patch of its status as
        it should be, None: there is nothing to write."""
        self.leading = False
        self._cluster = cluster
        self._kind = kind
        self._current = current
        self._wanted = wanted
        self._marked: dict[_Key, None] = {}
        self._busy: set[_Key] = set()
        self._pauses: dict[_Key, float] = {}
        self._resting: dict[_Key, str] = {}
        """Versions over which a status could not be written, until it is worth another try."""
        self._written: dict[_Key, tuple[str, T]] = {}
        """The version that was written over, and what came of it, until that is seen."""
        self._allowances: dict[_Key, _Allowance] = {}
        self._invalid: dict[_Key, tuple[str, dict[str, Any]]] = {}
        """Versions with statuses that the server will never take."""
        self._news = anyio.Event()

    def mark(self, keys: Iterable[_Key]) -> None:
        """Has a look at these soon."""
        if self.leading:
            self._marked.update(dict.fromkeys(keys))
            self._news.set()

    async def run(self) -> None:
        """Writes, for ever."""
        async with anyio.create_task_group() as tasks:
            for _ in range(_WRITERS):
                tasks.start_soon(self._work, tasks)

    async def _work(self, tasks: TaskGroup) -> None:
        while True:
            key = next((key for key in self._marked if key not in self._busy), None)
            if key is None:
                self._news = anyio.Event() if self._news.is_set() else self._news
                await self._news.wait()
                continue
            del self._marked[key]
            self._busy.add(key)
            try:
                pause = await self._write(key)
            finally:
                self._busy.discard(key)
                self._news.set()
            if pause:
                tasks.start_soon(self._again, key, pause)

    async def _again(self, key: _Key, pause: float) -> None:
        await anyio.sleep(pause)
        self._resting.pop(key, None)
        self.mark([key])

    async def _write(self, key: _Key) -> float:
        """Writes what is wanted of one object; after how many seconds it is worth another try, 0: it is done."""
        seen = self._seen(key)
        status = self._wanted(seen) if seen is not None and self.leading else None
        if seen is None or status is None:
            self._pauses.pop(key, None)
            self._invalid.pop(key, None)
            if seen is None:
                self._allowances.pop(key, None)
            return 0
        namespace, name = key
        version = seen.metadata.resource_version
        if self._resting.get(key) == version or self._invalid.get(key) == (version, status):
            return 0
        self._invalid.pop(key, None)
        if pause := self._spend(key, seen):
            is_waiting = key in self._resting
            self._resting[key] = version
            return 0 if is_waiting else pause
        body = {"metadata": {"resourceVersion": version}, "status": status}
        try:
            after = await self._cluster.patch(self._kind, name, namespace, body, subresource="status")
        except ApiError as error:
            if error.status == 404:
                self._pauses.pop(key, None)
                return 0
            if error.status == 422:
                self._invalid[key] = (version, status)
                log.warning("%s %s/%s: its status cannot be written: %s", self._kind.kind, namespace, name, error)
                return 0
            self._resting[key] = version
            pause = self._pauses[key] = min(self._pauses.get(key, _FIRST_PAUSE_SECONDS / 2) * 2, _LONGEST_PAUSE_SECONDS)
            if error.status != 409:
                log.warning("%s %s/%s: its status cannot be written: %s", self._kind.kind, namespace, name, error)
            return pause
        self._pauses.pop(key, None)
        self._written[key] = (version, after)
        return 0

    def _spend(self, key: _Key, seen: T) -> float:
        """One write of what may be written; else after how many seconds there is one."""
        now, generation = anyio.current_time(), seen.metadata.generation
        allowance = self._allowances.get(key)
        if allowance is None or allowance.generation != generation:
            allowance = self._allowances[key] = _Allowance(generation, _BURST, now)
        allowance.left = min(_BURST, allowance.left + (now - allowance.at) / _REFILL_SECONDS)
        allowance.at = now
        if allowance.left >= 1:
            allowance.left -= 1
            return 0
        if not allowance.is_said:
            allowance.is_said = True
            words = "its status does not stay as it was written; does another controller write it too?"
            log.warning("%s %s/%s: %s", self._kind.kind, *key, words)
        return (1 - allowance.left) * _REFILL_SECONDS

    def _seen(self, key: _Key) -> T | None:
        """The newest that is known of it: what was written, as long as only what it was written over is seen."""
        current = self._current(key)
        written = self._written.get(key)
        if written is None:
            return current
        if current is not None and current.metadata.resource_version == written[0]:
            return written[1]
        del self._written[key]
        return current
