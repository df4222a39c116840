"""Events for people: written beside everything else, counted instead of repeated, and never in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from daemun.testing import eventually
from daemun_kubernetes import Metadata, Recorder
from daemun_kubernetes.client import events
from daemun_kubernetes.client.kinds import INGRESS, NAMESPACE, Ingress, Namespace

from .api_server import ApiServer
from .clusters import asking
from .store import Store

pytestmark = pytest.mark.anyio

PATH = "/api/v1/events"
WEB = Ingress(metadata=Metadata(name="web", namespace="shop", uid="1", resource_version="7"))


@asynccontextmanager
async def recording(store: Store) -> AsyncIterator[tuple[Recorder, ApiServer]]:
    async with asking(store.handle) as (cluster, server), anyio.create_task_group() as tasks:
        recorder = Recorder(cluster, "daemun", "pod-1")
        tasks.start_soon(recorder.run)
        yield recorder, server
        tasks.cancel_scope.cancel()


def recorded(store: Store) -> list[dict[str, Any]]:
    return list(store.objects.get(PATH, {}).values())


async def test_an_event_is_recorded_beside_its_object() -> None:
    store = Store()
    async with recording(store) as (recorder, server):
        recorder.record(INGRESS, WEB, "NoEndpoints", "service cart has no endpoints", "Warning")
        await eventually(lambda: len(recorded(store)) == 1)
        (event,) = recorded(store)
        assert event["involvedObject"] == {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "namespace": "shop",
            "name": "web",
            "uid": "1",
            "resourceVersion": "7",
        }
        assert (event["type"], event["reason"], event["count"]) == ("Warning", "NoEndpoints", 1)
        assert event["message"] == "service cart has no endpoints"
        assert event["source"] == {"component": "daemun", "host": "pod-1"}
        assert event["firstTimestamp"] == event["lastTimestamp"]
        assert event["metadata"]["namespace"] == "shop"
        assert event["metadata"]["name"].startswith("web.")
        recorder.record(NAMESPACE, Namespace(metadata=Metadata(name="shop")), "Seen", "it is there")
        await eventually(lambda: len(recorded(store)) == 2)
        assert server.calls[-1].path == "/api/v1/namespaces/default/events", (
            "where events of the cluster's own objects are"
        )


async def test_repeats_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_REPEAT_SECONDS", 0.2)
    store = Store()
    async with recording(store) as (recorder, server):
        for _ in range(100):
            recorder.record(INGRESS, WEB, "Same", "again")
        await eventually(lambda: len(recorded(store)) == 1)
        for _ in range(100):
            recorder.record(INGRESS, WEB, "Same", "again")
        await eventually(lambda: recorded(store)[0]["count"] == 200)
        assert len(recorded(store)) == 1
        assert len(server.calls) <= 3
        store.remove(PATH, "shop", recorded(store)[0]["metadata"]["name"])  # as it is old
        recorder.record(INGRESS, WEB, "Same", "again")
        await eventually(lambda: [event["count"] for event in recorded(store)] == [201])


async def test_an_object_has_only_so_many() -> None:
    store = Store()
    async with recording(store) as (recorder, _):
        taken = [recorder.record(INGRESS, WEB, "Different", f"number {number}") for number in range(100)]
        assert taken == [True] * 25 + [False] * 75
        other = Ingress(metadata=Metadata(name="other", namespace="shop"))
        recorder.record(INGRESS, other, "Same", "x" * 5000)
        await eventually(lambda: any(event["reason"] == "Same" for event in recorded(store)))
        assert len(recorded(store)) == 26
        assert max(len(event["message"]) for event in recorded(store)) == 1024


async def test_what_cannot_be_written_is_forgotten() -> None:
    store = Store()
    store.refusing = (403, "Forbidden")
    async with recording(store) as (recorder, server):
        recorder.record(INGRESS, WEB, "Lost", "no")
        await eventually(lambda: len(server.calls) == 1)
        store.refusing = None
        recorder.record(INGRESS, WEB, "Kept", "yes")
        await eventually(lambda: [event["reason"] for event in recorded(store)] == ["Kept"])


async def test_who_records_never_waits_and_keeps_little() -> None:
    store = Store()
    store.hanging = True
    async with recording(store) as (recorder, server):
        for number in range(5000):
            about = Ingress(metadata=Metadata(name=f"web-{number}", namespace="shop"))
            recorder.record(INGRESS, about, "Many", "x")
        await eventually(lambda: len(server.calls) == 1)
        assert len(recorder._waiting) <= 256
        assert len(recorder._series) <= 1024
        assert len(recorder._allowances) <= 1024
