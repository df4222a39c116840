"""Events: what happened to an object, said where `kubectl describe` shows it.

They are for people, and nothing may suffer for them: they are written one by one beside everything else, repeats are
counted and not written again and again, and one object has only so many. What cannot be written is forgotten.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from datetime import UTC, datetime
from secrets import token_hex
from typing import Literal, TypeVar

import anyio
from msgspec import Struct

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import EVENT, Event, EventSource, Kind, KubeObject, Metadata, ObjectReference

__all__ = ["Recorder"]

log = logging.getLogger("daemun.kubernetes")

_MAX_SERIES = 1024
_MAX_WAITING = 256
_MAX_MESSAGE_CHARACTERS = 1024
_REPEAT_SECONDS = 60.0
_BURST = 25
_REFILL_SECONDS = 300.0

_Type = Literal["Normal", "Warning"]
_Key = tuple[str, ...]
T = TypeVar("T", bound=KubeObject)


class _Series(Struct):
    """The same thing happening to the same object: one Event that counts."""

    about: ObjectReference
    type: _Type
    reason: str
    message: str
    first: str
    last: str
    count: int = 0
    name: str = ""
    due: float = 0.0


class _Allowance(Struct):
    left: float
    at: float


class Recorder:
    """Writes Events in the name of `component` while `run` runs."""

    def __init__(self, cluster: Cluster, component: str, instance: str = "") -> None:
        self._cluster = cluster
        self._component = component
        self._instance = instance
        self._series: OrderedDict[_Key, _Series] = OrderedDict()
        self._allowances: OrderedDict[_Key, _Allowance] = OrderedDict()
        self._waiting: dict[_Key, _Series] = {}
        self._wake = anyio.Event()

    def record(
        self,
        kind: Kind[T],
        about: T,
        reason: str,
        message: str,
        type: _Type = "Normal",  # noqa: A002  (the word of the API)
    ) -> bool:
        """Has it written soon: `reason` is one word in CamelCase, `message` for people. Never waits, never raises.

        Whether it was taken: not where too many wait, or this object has had too many.
        """
        metadata = about.metadata
        message = message[:_MAX_MESSAGE_CHARACTERS]
        whose = (kind.resource, metadata.namespace, metadata.name, metadata.uid)
        key = (*whose, type, reason, message)
        now = _now()
        series = self._series.get(key)
        if series is None:
            if len(self._waiting) >= _MAX_WAITING or not self._is_allowed(whose):
                return False
            reference = ObjectReference(
                api_version=kind.api_version,
                kind=kind.kind,
                namespace=metadata.namespace,
                name=metadata.name,
                uid=metadata.uid,
                resource_version=metadata.resource_version,
            )
            series = self._series[key] = _Series(reference, type, reason, message, now, now)
            if len(self._series) > _MAX_SERIES:
                self._series.popitem(last=False)
        else:
            self._series.move_to_end(key)
        series.count += 1
        series.last = now
        if key not in self._waiting and len(self._waiting) >= _MAX_WAITING:
            return False
        self._waiting[key] = series
        self._wake.set()
        return True

    async def run(self) -> None:
        """For ever: writes what is due."""
        while True:
            now = anyio.current_time()
            for key in [key for key, series in self._waiting.items() if series.due <= now]:
                series = self._waiting.pop(key)
                await self._write(series)
                series.due = anyio.current_time() + _REPEAT_SECONDS
            pause = min((series.due for series in self._waiting.values()), default=now + _REPEAT_SECONDS) - now
            with anyio.move_on_after(max(pause, 0.0)):
                await self._wake.wait()
            self._wake = anyio.Event()

    async def _write(self, series: _Series) -> None:
        namespace = series.about.namespace or "default"
        try:
            if series.name:
                change = {"count": series.count, "lastTimestamp": series.last, "message": series.message}
                try:
                    await self._cluster.patch(EVENT, series.name, namespace, change)
                    return
                except ApiError as error:
                    if error.status != 404:  # it was too old to be kept
                        raise
            series.name = (await self._cluster.create(EVENT, self._event(series, namespace))).metadata.name
        except ApiError as error:
            log.debug("an event was not recorded: %s", error)

    def _event(self, series: _Series, namespace: str) -> Event:
        return Event(
            metadata=Metadata(name=f"{series.about.name[:200]}.{token_hex(8)}", namespace=namespace),
            involved_object=series.about,
            reason=series.reason,
            message=series.message,
            type=series.type,
            count=series.count,
            first_timestamp=series.first,
            last_timestamp=series.last,
            source=EventSource(component=self._component, host=self._instance),
            reporting_component=self._component,
            reporting_instance=self._instance,
        )

    def _is_allowed(self, whose: _Key) -> bool:
        """An object has 25 different Events, and one more each five minutes."""
        now = anyio.current_time()
        allowance = self._allowances.pop(whose, None) or _Allowance(_BURST, now)
        self._allowances[whose] = allowance
        if len(self._allowances) > _MAX_SERIES:
            self._allowances.popitem(last=False)
        allowance.left = min(_BURST, allowance.left + (now - allowance.at) / _REFILL_SECONDS)
        allowance.at = now
        if allowance.left < 1:
            return False
        allowance.left -= 1
        return True


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
