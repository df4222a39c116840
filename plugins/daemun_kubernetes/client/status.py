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
"""Of writes that undo another's."""
_OWN_BURST = 20
_OWN_REFILL_SECONDS = 1.0
"""Of those that say what is new: nobody else is at odds, but something may flap."""


class _Allowance:
    """How often something may still be done now."""

    __slots__ = ("_at", "_burst", "_left", "_refill_seconds")

    def __init__(self, burst: int, refill_seconds: float) -> None:
        self._burst, self._refill_seconds = burst, refill_seconds
        self._left, self._at = float(burst), anyio.current_time()

    def spend(self) -> float:
        """Takes one; else after how many seconds there is one."""
        now = anyio.current_time()
        self._left = min(self._burst, self._left + (now - self._at) / self._refill_seconds)
        self._at = now
        if self._left < 1:
            return (1 - self._left) * self._refill_seconds
        self._left -= 1
        return 0


class _Account(Struct):
    """What was written of one generation of an object, and what may be."""

    uid: str
    generation: int
    own: _Allowance
    others: _Allowance
    is_written: bool = False
    status: object = None
    """As it was after the last write."""
    is_said: bool = False


class StatusWriter(Generic[T]):
    """Brings the status of objects of one kind to what it should be, those that are marked, while it leads.

    What another writer changes is put right five times at once for each generation of an object, and once more each
    ten seconds: where that is too little the two are at odds, and the API server would suffer for it.
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
        self._accounts: dict[_Key, _Account] = {}
        self._invalid: dict[_Key, tuple[str, dict[str, Any]]] = {}
        """Versions with statuses that the server will never take."""
        self._news = anyio.Event()

    def mark(self, keys: Iterable[_Key]) -> None:
        """Has a look at these soon: those that are gone are forgotten, whoever leads."""
        for key in keys:
            if self.leading or self._current(key) is None:
                self._marked[key] = None
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
                self._accounts.pop(key, None)
                self._written.pop(key, None)
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
        account = self._account(key, seen)
        account.is_written, account.status = True, _status_of(after)
        return 0

    def _account(self, key: _Key, seen: T) -> _Account:
        metadata, account = seen.metadata, self._accounts.get(key)
        if account is None or (account.uid, account.generation) != (metadata.uid, metadata.generation):
            allowances = _Allowance(_OWN_BURST, _OWN_REFILL_SECONDS), _Allowance(_BURST, _REFILL_SECONDS)
            account = self._accounts[key] = _Account(metadata.uid, metadata.generation, *allowances)
        return account

    def _spend(self, key: _Key, seen: T) -> float:
        """One write of what may be written; else after how many seconds there is one."""
        account = self._account(key, seen)
        if not account.is_written or account.status == _status_of(seen):
            return account.own.spend()
        pause = account.others.spend()
        if pause and not account.is_said:
            account.is_said = True
            words = "its status does not stay as it was written; does another controller write it too?"
            log.warning("%s %s/%s: %s", self._kind.kind, *key, words)
        return pause

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


def _status_of(thing: object) -> object:
    return getattr(thing, "status", None)
