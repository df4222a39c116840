"""Statuses are written when they are not so, over what was seen, and again after a failure; and by the leader alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from daemun.testing import eventually
from daemun_kubernetes import StatusWriter
from daemun_kubernetes.client import status as status_module
from daemun_kubernetes.client.kinds import INGRESS, Ingress
from daemun_kubernetes.client.watch import Reflector

from .api_server import Call
from .clusters import asking
from .store import Store

pytestmark = pytest.mark.anyio

PATH = INGRESS.path()
Key = tuple[str, str]


class World(Store):
    """Ingresses, of which each is to publish the address in its label."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.writer: StatusWriter[Ingress]
        self.seen: Reflector[Ingress]
        self.patches: list[Call] = []
        self.refusals: list[tuple[int, str]] = []
        """What the next writes are answered."""
        self.aims: dict[str, str] = {}
        """Addresses that are wanted whatever the label says."""
        self.looked: list[str] = []
        """The versions that were looked at."""
        self.hold = anyio.Event()
        self.hold.set()
        self.waiting = 0
        for name in names:
            self.want(name, "192.0.2.1")

    def want(self, name: str, address: str) -> None:
        kept = self.objects.get(PATH, {}).get(("shop", name), {})
        self.put(PATH, "shop", name, **{**kept, "metadata": {"labels": {"address": address}}})

    def address(self, name: str) -> str:
        ingresses = self.objects[PATH]["shop", name].get("status", {}).get("loadBalancer", {}).get("ingress", [{}])
        return str(ingresses[0].get("ip", ""))

    @property
    def tried(self) -> list[str]:
        """The names that were written, or were tried to be."""
        return [call.path.split("/")[-2] for call in self.patches]

    def current(self, key: Key) -> Ingress | None:
        return self.seen.objects.get(key)

    def wanted(self, ingress: Ingress) -> dict[str, Any] | None:
        self.looked.append(ingress.metadata.resource_version)
        address = self.aims.get(ingress.metadata.name) or ingress.metadata.labels["address"]
        if [one.ip for one in ingress.status.load_balancer.ingress] == [address]:
            return None
        return {"loadBalancer": {"ingress": [{"ip": address}]}}

    async def handle(self, call: Call) -> None:
        if call.method == "PATCH":
            self.patches.append(call)
            self.waiting += 1
            await self.hold.wait()
            self.waiting -= 1
            if self.refusals:
                await call.refuse(*self.refusals.pop(0), "not now")
                return
        await super().handle(call)

    async def shown(self, name: str, version: str) -> None:
        """The watch has told of this version."""
        await eventually(lambda: self.seen.objects["shop", name].metadata.resource_version == version)

    def mark(self, *names: str) -> None:
        self.writer.mark(("shop", name) for name in names)


@asynccontextmanager
async def writing(world: World, *, leading: bool = True) -> AsyncIterator[World]:
    """A writer of the Ingresses of `world`."""
    async with asking(world.handle) as (cluster, _), anyio.create_task_group() as tasks:
        world.seen = Reflector(cluster, INGRESS, on_change=lambda change: None)
        world.writer = StatusWriter(cluster, INGRESS, world.current, world.wanted)
        world.writer.leading = leading
        tasks.start_soon(world.seen.run)
        await world.seen.wait_synced()
        tasks.start_soon(world.writer.run)
        yield world
        tasks.cancel_scope.cancel()


@pytest.fixture(params=[403, 409, 500])
def refusal(request: pytest.FixtureRequest) -> tuple[int, str]:
    return request.param, {403: "Forbidden", 409: "Conflict", 500: "InternalError"}[request.param]


async def test_what_is_marked_is_written_over_what_was_seen() -> None:
    async with writing(World("a", "b")) as world:
        seen = world.objects[PATH]["shop", "a"]["metadata"]["resourceVersion"]
        world.mark("a", "a")
        await eventually(lambda: world.address("a") == "192.0.2.1")
        (call,) = world.patches
        assert call.path == "/apis/networking.k8s.io/v1/namespaces/shop/ingresses/a/status"
        assert call.fields["content-type"] == "application/merge-patch+json"
        assert call.json["metadata"] == {"resourceVersion": seen}
        assert world.address("b") == ""


async def test_what_is_so_already_is_not_written_also_before_it_is_seen() -> None:
    async with writing(World("a", "b")) as world:
        world.mark("a")
        await eventually(lambda: len(world.patches) == 1)
        for _ in range(3):
            world.mark("a")
            await anyio.wait_all_tasks_blocked()
        world.mark("a", "b")
        await eventually(lambda: world.address("b") == "192.0.2.1")
        assert world.tried == ["a", "b"]


async def test_what_was_written_is_built_upon_while_the_watch_is_silent() -> None:
    async with writing(World("a")) as world:
        stale = dict(world.seen.objects)
        world.writer._current = stale.get
        world.mark("a")
        await eventually(lambda: world.address("a") == "192.0.2.1")
        world.mark("a")
        newest = world.objects[PATH]["shop", "a"]["metadata"]["resourceVersion"]
        await eventually(lambda: world.looked == [stale["shop", "a"].metadata.resource_version, newest])
        assert world.tried == ["a"]


async def test_who_does_not_lead_writes_nothing() -> None:
    async with writing(World("a", "b"), leading=False) as world:
        world.mark("a")
        await anyio.wait_all_tasks_blocked()
        world.writer.leading = True
        world.mark("b")
        await eventually(lambda: world.address("b") == "192.0.2.1")
        assert world.tried == ["b"], "what was marked before is of no account"


async def test_what_was_marked_is_not_written_by_who_leads_no_more() -> None:
    async with writing(World("a", "b")) as world:
        world.mark("a")
        world.writer.leading = False
        await anyio.wait_all_tasks_blocked()
        world.writer.leading = True
        world.mark("b")
        await eventually(lambda: world.address("b") == "192.0.2.1")
        assert world.tried == ["b"]


async def test_what_fails_is_tried_again(refusal: tuple[int, str]) -> None:
    async with writing(World("a", "b")) as world:
        world.refusals = [refusal, refusal]
        world.mark("a")
        await eventually(lambda: world.address("a") == "192.0.2.1")
        assert world.tried == ["a", "a", "a"]


async def test_who_wrote_in_between_is_not_written_over() -> None:
    async with writing(World("a")) as world:
        world.hold = anyio.Event()
        world.mark("a")
        await eventually(lambda: world.waiting == 1)
        world.want("a", "192.0.2.9")
        world.hold.set()
        await eventually(lambda: world.address("a") == "192.0.2.9")
        assert world.patches[0].json["status"] == {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        assert len({call.json["metadata"]["resourceVersion"] for call in world.patches}) == 2


async def test_marks_do_not_hurry_what_failed_but_a_new_version_does(
    monkeypatch: pytest.MonkeyPatch, refusal: tuple[int, str]
) -> None:
    monkeypatch.setattr(status_module, "_FIRST_PAUSE_SECONDS", 3600.0)
    async with writing(World("a", "b")) as world:
        world.refusals = [refusal]
        world.mark("a")
        await eventually(lambda: not world.refusals)
        for _ in range(5):
            await anyio.wait_all_tasks_blocked()
            world.mark("a")
        world.mark("b")
        await eventually(lambda: world.address("b") == "192.0.2.1")
        assert world.tried == ["a", "b"]
        world.want("a", "192.0.2.2")
        await eventually(lambda: world.seen.objects["shop", "a"].metadata.labels["address"] == "192.0.2.2")
        world.mark("a")
        await eventually(lambda: world.address("a") == "192.0.2.2")


async def test_pauses_grow_and_a_success_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "_FIRST_PAUSE_SECONDS", 0.01)
    async with writing(World("a")) as world:
        world.refusals = [(500, "InternalError")] * 4
        started = anyio.current_time()
        world.mark("a")
        await eventually(lambda: world.address("a") == "192.0.2.1")
        assert anyio.current_time() - started >= 0.01 + 0.02 + 0.04 + 0.08
        await eventually(lambda: world.writer._pauses == {})


async def test_what_is_gone_is_left_alone() -> None:
    async with writing(World("a", "b")) as world:
        stale = dict(world.seen.objects)
        world.writer._current = stale.get
        world.remove(PATH, "shop", "a")
        world.mark("a")
        await eventually(lambda: len(world.patches) == 1)
        del stale["shop", "a"]
        world.mark("a", "b")
        await eventually(lambda: world.address("b") == "192.0.2.1")
        assert world.tried == ["a", "b"]
        assert (world.writer._pauses, world.writer._resting) == ({}, {})


async def test_many_are_written_at_once_but_not_all_and_one_by_one_each() -> None:
    names = [f"i{number}" for number in range(30)]
    async with writing(World(*names)) as world:
        world.hold = anyio.Event()
        world.mark(*names)
        await eventually(lambda: world.waiting == 8)
        world.mark(*names)
        await anyio.wait_all_tasks_blocked()
        assert world.waiting == 8
        world.hold.set()
        await eventually(lambda: {world.address(name) for name in names} == {"192.0.2.1"})
        await anyio.wait_all_tasks_blocked()
        assert sorted(world.tried) == sorted(names)


async def test_what_changes_while_it_is_written_is_written_again() -> None:
    async with writing(World("a")) as world:
        world.hold = anyio.Event()
        world.mark("a")
        await eventually(lambda: world.waiting == 1)
        world.aims["a"] = "192.0.2.7"
        world.mark("a")
        world.hold.set()
        await eventually(lambda: world.address("a") == "192.0.2.7")
        assert world.tried == ["a", "a"]


async def test_who_is_at_odds_with_another_writer_writes_seldom_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(status_module, "_REFILL_SECONDS", 3600.0)
    async with writing(World("a", "b")) as world:

        async def contest(name: str, address: str, generation: int) -> None:
            """Somebody else writes, which is seen, and is put right if it may be."""
            metadata = {"labels": {"address": "192.0.2.1"}, "generation": generation}
            status = {"loadBalancer": {"ingress": [{"ip": address}]}}
            version = world.put(PATH, "shop", name, metadata=metadata, status=status)["metadata"]["resourceVersion"]
            await eventually(lambda: world.seen.objects["shop", name].metadata.resource_version == version)
            world.mark(name)
            await eventually(lambda: version in world.looked)

        for number in range(12):
            await contest("a", f"198.51.100.{number}", 1)
            if number < 6:
                await eventually(lambda: world.address("a") == "192.0.2.1")
        await contest("b", "198.51.100.1", 1)
        await eventually(lambda: world.address("b") == "192.0.2.1")
        assert world.tried == ["a"] * 6 + ["b"], "the first said what was new, and undid nothing"
        assert world.address("a") == "198.51.100.11"
        assert [record.getMessage() for record in caplog.records if "does another" in record.getMessage()] == [
            "Ingress shop/a: its status does not stay as it was written; does another controller write it too?"
        ]
        await contest("a", "198.51.100.1", 2)
        await eventually(lambda: world.address("a") == "192.0.2.1", "what is new is written at once")


async def test_who_is_at_odds_with_another_writer_comes_back_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "_REFILL_SECONDS", 0.3)
    monkeypatch.setattr(status_module, "_BURST", 1)
    async with writing(World("a")) as world:
        world.mark("a")
        await eventually(lambda: world.address("a") == "192.0.2.1")
        for number in range(2):
            status = {"loadBalancer": {"ingress": [{"ip": f"198.51.100.{number}"}]}}
            metadata = {"labels": {"address": "192.0.2.1"}}
            version = world.put(PATH, "shop", "a", metadata=metadata, status=status)["metadata"]["resourceVersion"]
            await world.shown("a", version)
            world.mark("a")
            await eventually(lambda: world.address("a") == "192.0.2.1")
        assert world.tried == ["a"] * 3


async def test_what_is_new_is_written_at_once_however_often_nobody_is_at_odds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(status_module, "_REFILL_SECONDS", 3600.0)
    async with writing(World("a")) as world:
        for number in range(15):
            world.want("a", f"192.0.2.{number}")
            version = world.objects[PATH]["shop", "a"]["metadata"]["resourceVersion"]
            await world.shown("a", version)
            world.mark("a")
            await eventually(lambda number=number: world.address("a") == f"192.0.2.{number}")  # type: ignore[misc]
        assert len(world.tried) == 15
    assert "another controller" not in caplog.text


async def test_what_flaps_is_written_seldom_in_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(status_module, "_OWN_BURST", 3)
    monkeypatch.setattr(status_module, "_OWN_REFILL_SECONDS", 3600.0)
    async with writing(World("a", "b")) as world:
        for number in range(6):
            world.want("a", f"192.0.2.{number}")
            version = world.objects[PATH]["shop", "a"]["metadata"]["resourceVersion"]
            await world.shown("a", version)
            world.mark("a")
            await eventually(lambda version=version: version in world.looked)  # type: ignore[misc]
            if number < 3:
                await eventually(lambda number=number: world.address("a") == f"192.0.2.{number}")  # type: ignore[misc]
        world.mark("b")
        await eventually(lambda: world.address("b") == "192.0.2.1")
        assert world.tried == ["a", "a", "a", "b"]
    assert "another controller" not in caplog.text, "nobody else wrote"


@pytest.mark.parametrize("leading", [True, False], ids=["leading", "leading no more"])
async def test_what_is_deleted_is_forgotten_and_a_new_one_of_its_name_begins_anew(
    leading: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(status_module, "_REFILL_SECONDS", 3600.0)
    monkeypatch.setattr(status_module, "_OWN_REFILL_SECONDS", 3600.0)
    monkeypatch.setattr(status_module, "_OWN_BURST", 1)
    async with writing(World()) as world:
        for _ in range(8):
            world.want("a", "192.0.2.1")
            await eventually(lambda: ("shop", "a") in world.seen.objects)
            world.mark("a")
            await eventually(lambda: world.address("a") == "192.0.2.1")
            world.remove(PATH, "shop", "a")
            await eventually(lambda: ("shop", "a") not in world.seen.objects)
            world.writer.leading = leading
            world.mark("a")
            await eventually(lambda: not world.writer._accounts and not world.writer._written)
            world.writer.leading = True
    assert len(world.tried) == 8
    assert "another controller" not in caplog.text


async def test_what_is_invalid_is_not_tried_again_before_something_about_it_changes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(status_module, "_FIRST_PAUSE_SECONDS", 0.001)
    async with writing(World("a", "b")) as world:
        world.refusals = [(422, "Invalid")] * 2
        world.mark("a")
        await eventually(lambda: len(world.refusals) == 1)
        for _ in range(5):
            await anyio.wait_all_tasks_blocked()
            world.mark("a")
        world.aims["a"] = "192.0.2.7"
        world.mark("a")
        await eventually(lambda: not world.refusals)
        world.want("a", "192.0.2.1")
        version = world.objects[PATH]["shop", "a"]["metadata"]["resourceVersion"]
        await eventually(lambda: world.seen.objects["shop", "a"].metadata.resource_version == version)
        world.mark("a")
        await eventually(lambda: world.address("a") == "192.0.2.7")
        wishes = [str(call.json) for call in world.patches]
        assert len(set(wishes)) == len(wishes) == 3
    assert len([record for record in caplog.records if "cannot be written" in record.getMessage()]) == 2
