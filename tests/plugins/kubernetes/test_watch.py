"""Keeping up with a cluster: nothing is lost and nothing is told twice, whatever connections and servers do."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemun.testing import eventually
from daemun_kubernetes import Change, Cluster, Reflector
from daemun_kubernetes.client.kinds import CONFIG_MAP, ENDPOINT_SLICE, ConfigMap
from daemun_kubernetes.client.lines import Lines

from .api_server import ApiServer, Call
from .clusters import asking, kubeconfig, opened
from .store import Store

pytestmark = pytest.mark.anyio

PATH = "/api/v1/configmaps"
Told = list[tuple[str, str, str]]


class Watching:
    """A Reflector of ConfigMaps, and what it told: kind of change, name, version."""

    def __init__(self, cluster: Cluster, **more: Any) -> None:
        self.told: Told = []
        self.reflector = Reflector(cluster, CONFIG_MAP, on_change=self._changed, **more)

    def _changed(self, change: Change[ConfigMap]) -> None:
        self.told.append((change.kind, change.object.metadata.name, change.object.metadata.resource_version))
        key = (change.object.metadata.namespace, change.object.metadata.name)
        kept = self.reflector.objects.get(key)
        assert kept is (None if change.kind == "deleted" else change.object)
        assert (change.old is None) == (change.kind == "added")

    @property
    def kept(self) -> dict[tuple[str, str], str]:
        return {key: value.metadata.resource_version for key, value in self.reflector.objects.items()}

    def agrees_with(self, store: Store) -> bool:
        return self.reflector.synced and self.kept == versions(store)


def versions(store: Store) -> dict[tuple[str, str], str]:
    return {key: value["metadata"]["resourceVersion"] for key, value in store.objects.get(PATH, {}).items()}


def history(store: Store) -> Told:
    kinds = {"ADDED": "added", "MODIFIED": "modified", "DELETED": "deleted"}
    return [
        (kinds[type_], value["metadata"]["name"], value["metadata"]["resourceVersion"])
        for _, _, type_, value in store.history
    ]


@asynccontextmanager
async def watching(store: Store, **settings: Any) -> AsyncIterator[tuple[Watching, ApiServer]]:
    """A Reflector at work, with its first list read."""
    async with asking(store.handle, **settings) as (cluster, server):
        one = Watching(cluster)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.reflector.run)
            await one.reflector.wait_synced()
            yield one, server
            tasks.cancel_scope.cancel()


def lists(server: ApiServer) -> list[dict[str, str]]:
    return [call.query for call in server.calls if "watch" not in call.query]


def watches(server: ApiServer) -> list[dict[str, str]]:
    return [call.query for call in server.calls if "watch" in call.query]


async def test_what_is_there_and_what_comes_is_told_once() -> None:
    store = Store()
    store.put(PATH, "a", "one", data={"x": "1"})
    async with watching(store) as (one, server):
        assert one.told == [("added", "one", "101")]
        store.put(PATH, "a", "two")
        store.put(PATH, "a", "one")
        store.remove(PATH, "a", "two")
        await eventually(lambda: len(one.told) == 4)
        assert one.told[1:] == [("added", "two", "102"), ("modified", "one", "103"), ("deleted", "two", "104")]
        assert one.agrees_with(store)
        assert lists(server) == [{"resourceVersion": "0", "limit": "500"}]
        (query,) = watches(server)
        assert query["allowWatchBookmarks"] == "true"
        assert query["resourceVersion"] == "101"
        assert 300 <= int(query["timeoutSeconds"]) <= 600


async def test_a_broken_connection_is_resumed_where_it_left_off() -> None:
    store = Store()
    async with watching(store) as (one, server):
        for number in range(3):
            store.put(PATH, "a", f"before-{number}")
            await eventually(lambda: one.agrees_with(store))
            await server.cut_all()
            store.put(PATH, "a", f"meanwhile-{number}")
            await eventually(lambda: one.agrees_with(store))
        assert one.told == history(store)
        assert len(lists(server)) == 1


async def test_a_watch_that_the_server_ends_is_opened_anew_from_a_bookmark() -> None:
    ended = anyio.Event()
    store = Store()
    store.put(PATH, "a", "one")

    async def handle(call: Call) -> None:
        if "watch" in call.query and not ended.is_set():
            store.put("/api/v1/secrets", "a", "elsewhere")
            await call.begin()
            await call.event("BOOKMARK", {"kind": "ConfigMap", "metadata": {"resourceVersion": "102"}})
            await call.end()
            ended.set()
        else:
            await store.handle(call)

    async with asking(handle) as (cluster, server):
        one = Watching(cluster)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.reflector.run)
            await eventually(lambda: len(watches(server)) == 2)
            assert [query["resourceVersion"] for query in watches(server)] == ["101", "102"]
            assert len(lists(server)) == 1
            assert one.told == [("added", "one", "101")]
            tasks.cancel_scope.cancel()


async def test_a_forgotten_version_leads_to_a_new_list_and_the_differences() -> None:
    """410 as the answer to a watch."""
    store = Store()
    for name in ("goes", "stays", "changes"):
        store.put(PATH, "a", name)
    async with watching(store) as (one, server):
        one.told.clear()
        store.refusing = (503, "ServiceUnavailable")
        await server.cut_all()
        store.remove(PATH, "a", "goes")
        changed = store.put(PATH, "a", "changes")
        store.put(PATH, "a", "comes")
        store.forget()
        store.refusing = None
        await eventually(lambda: one.agrees_with(store))
        version = changed["metadata"]["resourceVersion"]
        assert sorted(one.told) == [
            ("added", "comes", "106"),
            ("deleted", "goes", "101"),
            ("modified", "changes", version),
        ]
        assert "resourceVersion" not in lists(server)[-1], "after a 410 the newest list there is"


async def test_a_watch_that_says_410_leads_to_a_new_list() -> None:
    """410 as an event of a watch."""
    store = Store()
    store.put(PATH, "a", "one")
    async with watching(store) as (one, server):
        await eventually(lambda: store.watches == 1)
        store.say(store.event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}))
        await eventually(lambda: len(watches(server)) == 2)
        store.put(PATH, "a", "two")
        await eventually(lambda: one.agrees_with(store))
        assert one.told == [("added", "one", "101"), ("added", "two", "102")]
        assert len(lists(server)) == 2


async def test_other_errors_of_a_watch_are_no_reason_to_list() -> None:
    store = Store()
    async with watching(store) as (one, server):
        await eventually(lambda: store.watches == 1)
        store.say(store.event("ERROR", {"kind": "Status", "code": 500, "message": "etcd is tired"}))
        store.put(PATH, "a", "one")
        await eventually(lambda: one.agrees_with(store) and len(watches(server)) == 2)
        assert len(lists(server)) == 1


async def test_a_server_that_went_back_in_time_is_listed_from_scratch() -> None:
    """As after a backup of etcd was restored: the version that was seen is of the future."""
    store = Store()
    store.put(PATH, "a", "one")
    store.put(PATH, "a", "lost")
    async with watching(store) as (one, server):
        restored = Store()
        restored.put(PATH, "a", "one")
        server.handle = restored.handle
        await server.cut_all()
        await eventually(lambda: one.agrees_with(restored))
        assert one.told[2:] == [("deleted", "lost", "102")]


async def test_a_list_comes_in_pages() -> None:
    store = Store(page_objects=3)
    for number in range(10):
        store.put(PATH, "a", f"{number}")
    async with watching(store) as (one, server):
        assert one.agrees_with(store)
        assert len(lists(server)) == 4
        assert [query.get("resourceVersion") for query in lists(server)] == ["0", None, None, None]


async def test_a_list_that_is_forgotten_half_way_is_read_at_once() -> None:
    store = Store(page_objects=3)
    for number in range(5):
        store.put(PATH, "a", f"{number}")

    async def handle(call: Call) -> None:
        if "continue" in call.query:
            store.put(PATH, "a", "late")
            store.forget()
        await store.handle(call)

    async with asking(handle) as (cluster, server):
        assert len(await cluster.list(CONFIG_MAP)) == 6
        assert "limit" not in lists(server)[-1]


async def test_a_malformed_object_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.put(PATH, "a", "good")
    store.put(PATH, "a", "bad", data=["no", "map"])
    with caplog.at_level(logging.WARNING, "daemun.kubernetes"):
        async with watching(store) as (one, server):
            assert one.told == [("added", "good", "101")]
            store.put(PATH, "a", "good", data="no map")
            store.put(PATH, "a", "next")
            await eventually(lambda: ("added", "next", "104") in one.told)
            assert one.kept == {("a", "good"): "101", ("a", "next"): "104"}, "what was good stays as it was"
            store.remove(PATH, "a", "good")
            store.put(PATH, "a", "bad", data={})
            await eventually(lambda: one.agrees_with(store))
            assert one.told[2:] == [("deleted", "good", "101"), ("added", "bad", "106")]
            assert len(lists(server)) == 1
    assert [record.getMessage().partition(" cannot")[0] for record in caplog.records] == [
        "ConfigMap a/bad",
        "ConfigMap a/good",
    ]


async def test_an_event_that_is_none_ends_the_watch_and_not_the_reflector() -> None:
    store = Store()
    async with watching(store) as (one, server):
        await eventually(lambda: store.watches == 1)
        store.say(b"<html>\n")
        store.put(PATH, "a", "one")
        await eventually(lambda: one.agrees_with(store) and len(watches(server)) == 2)


async def test_a_server_that_is_away_is_asked_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    async with watching(store) as (one, server):
        with caplog.at_level(logging.INFO, "daemun.kubernetes"):
            store.refusing = (500, "InternalError")
            await server.cut_all()
            await eventually(lambda: bool(one.reflector.trouble))
            assert "500 InternalError" in one.reflector.trouble
            store.put(PATH, "a", "one")
            store.refusing = None
            await eventually(lambda: one.agrees_with(store))
            assert one.reflector.trouble == ""
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_right_that_is_missing_is_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.refusing = (403, "Forbidden")
    async with asking(store.handle) as (cluster, _):
        one = Watching(cluster)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.reflector.run)
            await eventually(lambda: "the right to list configmaps is missing" in one.reflector.trouble)
            assert not one.reflector.synced
            store.refusing = None
            await one.reflector.wait_synced()
            tasks.cancel_scope.cancel()


async def test_a_peer_that_fell_silent_is_left() -> None:
    store = Store()
    async with watching(store, silence_timeout_seconds=0.2) as (one, server):
        await eventually(lambda: len(watches(server)) >= 2)
        store.put(PATH, "a", "one")
        await eventually(lambda: one.agrees_with(store))
        assert len(lists(server)) == 1


async def test_a_server_that_ends_watches_at_once_is_not_asked_without_pause() -> None:
    store = Store()

    async def handle(call: Call) -> None:
        if "watch" in call.query:
            await call.begin()
            await call.end()
        else:
            await store.handle(call)

    async with asking(handle) as (cluster, server):
        one = Watching(cluster)
        with anyio.move_on_after(0.5):
            await one.reflector.run()
        assert len(watches(server)) < 20


async def test_what_on_change_raises_ends_the_reflector() -> None:
    def fail(change: Change[ConfigMap]) -> None:
        raise ValueError(change.object.metadata.name)

    store = Store()
    async with asking(store.handle) as (cluster, _):
        reflector = Reflector(cluster, CONFIG_MAP, on_change=fail)
        async with anyio.create_task_group() as tasks:

            async def later() -> None:
                await eventually(lambda: store.watches == 1)
                store.put(PATH, "a", "one")

            tasks.start_soon(later)
            with pytest.raises(ValueError, match="one"):
                await reflector.run()

        def is_closed() -> bool:
            store.bookmark()  # which fails where nobody listens
            return store.watches == 0

        await eventually(is_closed, "the end of the watch's connection")


async def test_a_reflector_that_runs_again_does_not_go_back_in_time() -> None:
    store = Store()
    async with watching(store) as (one, server):
        store.put(PATH, "a", "one")
        await eventually(lambda: one.agrees_with(store))
        again = anyio.CancelScope()

        async def run() -> None:
            with again:
                await one.reflector.run()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await eventually(lambda: len(lists(server)) == 2)
            again.cancel()
        assert lists(server)[-1] == {"resourceVersion": "101"}, "and no limit, which would mean exactly that version"


async def test_a_reflector_that_takes_anothers_place_does_not_go_back_in_time() -> None:
    store = Store()
    store.put(PATH, "a", "one")
    async with watching(store) as (one, server):
        async with opened(kubeconfig(server.url)) as cluster, anyio.create_task_group() as tasks:
            another = Watching(cluster, at_least=one.reflector.version)
            tasks.start_soon(another.reflector.run)
            await eventually(lambda: another.agrees_with(store))
            tasks.cancel_scope.cancel()
        assert lists(server)[-1] == {"resourceVersion": "101"}


async def test_a_server_that_wants_to_be_left_alone_is_left_alone() -> None:
    store = Store()
    asked: list[float] = []

    async def handle(call: Call) -> None:
        if "watch" not in call.query:
            await store.handle(call)
            return
        asked.append(anyio.current_time())
        if len(asked) == 1:
            await call.answer(b"later", 429, retry_after="1")
        else:
            await store.handle(call)

    async with asking(handle) as (cluster, _):
        one = Watching(cluster)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.reflector.run)
            await eventually(lambda: len(asked) == 2)
            tasks.cancel_scope.cancel()
    assert asked[1] - asked[0] >= 1


async def test_selectors_and_namespace_are_the_servers_to_apply() -> None:
    store = Store()
    async with asking(store.handle) as (cluster, server):
        one = Watching(cluster, namespace="a", labels="x=y", fields="metadata.name=z")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.reflector.run)
            await eventually(lambda: len(server.calls) == 2)
            tasks.cancel_scope.cancel()
        for call in server.calls:
            assert call.path == "/api/v1/namespaces/a/configmaps"
            assert call.query["labelSelector"] == "x=y"
            assert call.query["fieldSelector"] == "metadata.name=z"


def test_null_is_what_is_not_there() -> None:
    """Go writes it for lists without items."""
    slice_ = ENDPOINT_SLICE.decode(
        b'{"metadata": {"name": "x", "labels": null, "creationTimestamp": null}, "endpoints": null,'
        b' "ports": [{"port": null, "name": null}]}'
    )
    assert slice_.endpoints == ()
    assert slice_.metadata.labels == {}
    assert slice_.ports[0].port is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd")),
        st.tuples(st.just("remove"), st.sampled_from("abcd")),
        st.tuples(st.sampled_from(["cut", "forget", "bookmark", "error", "pass", "settle"]), st.just("")),
    ),
    max_size=25,
)


async def play(steps: list[tuple[str, str]], store: Store, server: ApiServer, one: Watching) -> None:
    for step, name in steps:
        if step == "put":
            store.put(PATH, "n", name)
        elif step == "remove":
            store.remove(PATH, "n", name)
        elif step == "cut":
            await server.cut_all()
        elif step == "forget":
            store.forget()
        elif step == "bookmark" and store.watches and one.agrees_with(store):
            store.bookmark()
        elif step == "error":
            store.say(store.event("ERROR", {"kind": "Status", "code": 500}))
        elif step == "pass":
            await anyio.lowlevel.checkpoint()
        elif step == "settle":
            await eventually(lambda: one.agrees_with(store))


@settings(max_examples=40)
@given(before=STEPS, after=STEPS, page_objects=st.integers(0, 2))
async def test_any_interleaving_ends_with_the_same_objects(
    before: list[tuple[str, str]], after: list[tuple[str, str]], page_objects: int
) -> None:
    """And each change that is told is a difference to what was told before."""
    store = Store(page_objects)
    async with asking(store.handle) as (cluster, server):
        one = Watching(cluster)
        await play([step for step in before if step[0] in ("put", "remove")], store, server, one)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.reflector.run)
            await play(before, store, server, one)
            await play(after, store, server, one)
            await eventually(lambda: one.agrees_with(store))
            tasks.cancel_scope.cancel()
    told: dict[str, str] = {}
    for kind, name, version in one.told:
        assert (kind == "added") == (name not in told)
        assert told.get(name) != version or kind == "deleted"
        if kind == "deleted":
            del told[name]
        else:
            told[name] = version
    assert {("n", name): version for name, version in told.items()} == versions(store)


@settings(max_examples=30)
@given(steps=STEPS)
async def test_where_nothing_is_forgotten_every_single_event_is_told(steps: list[tuple[str, str]]) -> None:
    store = Store()
    async with watching(store) as (one, server):
        await play([step for step in steps if step[0] != "forget"], store, server, one)
        await eventually(lambda: one.told == history(store))


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" "))),
    cuts=st.lists(st.integers(1, 30)),
    rest=st.binary(max_size=5).map(lambda line: line.replace(b"\n", b" ")),
)
def test_lines_come_out_whole_however_the_stream_is_cut(lines: list[bytes], cuts: list[int], rest: bytes) -> None:
    stream = b"".join(line + b"\n" for line in lines) + rest
    splitter = Lines(1000)
    out: list[bytes] = []
    at = 0
    for cut in [*cuts, len(stream)]:
        out += splitter.feed(stream[at : at + cut])
        at += cut
    assert out == [line for line in lines if line]
    assert splitter.feed(b"\n") == ([rest] if rest else [])


@pytest.mark.parametrize(
    "pieces", [[b"x" * 11], [b"x" * 6, b"x" * 6], [b"x" * 11 + b"\n"], [b"a\n" + b"x" * 11 + b"\nb\n"]]
)
def test_a_line_without_end_is_refused(pieces: list[bytes]) -> None:
    splitter = Lines(10)
    with pytest.raises(ValueError, match="longer than 10 bytes"):
        for piece in pieces:
            splitter.feed(piece)


@given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=8))
@settings(max_examples=20)
async def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    events = b"".join(
        Store.event("ADDED", {"metadata": {"name": f"é-{number}", "namespace": "n", "resourceVersion": f"{number}"}})
        for number in range(2, 7)
    )

    async def handle(call: Call) -> None:
        if "watch" not in call.query:
            await call.answer({"metadata": {"resourceVersion": "1"}, "items": None})
            return
        await call.begin()
        at = 0
        for cut in [*cuts, len(events)]:
            if events[at : at + cut]:
                await call.send(events[at : at + cut])
            at += cut
        await anyio.sleep_forever()

    async with asking(handle) as (cluster, _):
        one = Watching(cluster)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.reflector.run)
            await eventually(lambda: len(one.told) == 5)
            tasks.cancel_scope.cancel()
    assert one.told == [("added", f"é-{number}", f"{number}") for number in range(2, 7)]
