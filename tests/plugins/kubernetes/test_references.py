"""Watching only what is referred to: how wide, what is told, and that one trouble stays one."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from daemun.testing import eventually
from daemun_kubernetes.client.kinds import CONFIG_MAP, ConfigMap
from daemun_kubernetes.view.references import Key, References, open_references
from daemun_kubernetes.view.secrets import open_secrets
from daemun_kubernetes.view.services import open_services

from .api_server import ApiServer, Call
from .clusters import asking
from .store import Store

pytestmark = pytest.mark.anyio

PATH = "/api/v1/configmaps"
SERVICES = "/api/v1/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
SECRETS = "/api/v1/secrets"


def name_of(one: ConfigMap) -> str:
    """What it is referred to as: its label, or else its name."""
    return one.metadata.labels.get("as", one.metadata.name)


class Told(list[set[Key]]):
    """Which keys changed, as it was told."""

    def hear(self, keys: frozenset[Key]) -> None:
        self.append(set(keys))


@asynccontextmanager
async def referring(store: Store, **more: Any) -> AsyncIterator[tuple[References[ConfigMap], Told, ApiServer]]:
    told = Told()
    async with (
        asking(store.handle) as (cluster, server),
        open_references(cluster, CONFIG_MAP, told.hear, name_of=name_of, **more) as references,
    ):
        yield references, told, server


def found(references: References[ConfigMap], key: Key) -> list[str]:
    return sorted(one.metadata.name for one in references.objects(key))


def asked(server: ApiServer, **query: str) -> list[str]:
    """The paths that were listed, with what was selected."""
    return [
        f"{call.path}?{call.query.get('fieldSelector', '')}"
        for call in server.calls
        if "watch" not in call.query and query.items() <= call.query.items()
    ]


def watches(store: Store) -> int:
    """How many there are; those that were left are found out by writing to them."""
    store.bookmark()
    return store.watches


async def test_nothing_is_asked_of_the_cluster_until_something_is_referred_to() -> None:
    store = Store()
    store.put(PATH, "shop", "a")
    store.put(PATH, "office", "a")
    async with referring(store) as (references, told, server):
        assert server.calls == []
        await references.wait_synced()
        references.refer({("shop", "a"), ("shop", "none")})
        assert references.settled(("shop", "a")) is False
        await references.wait_synced()
        assert (found(references, ("shop", "a")), found(references, ("shop", "none"))) == (["a"], [])
        assert references.trouble(("shop", "none")) == ""
        assert asked(server) == ["/api/v1/namespaces/shop/configmaps?"]
        assert told[-1] == {("shop", "a"), ("shop", "none")}, "that they are known now"


async def test_changes_are_told_of_what_is_referred_to_and_of_nothing_else() -> None:
    store = Store()
    async with referring(store) as (references, told, _):
        references.refer({("shop", "a"), ("shop", "b")})
        await references.wait_synced()
        await eventually(lambda: store.watches == 1)
        told.clear()
        store.put(PATH, "shop", "other")
        store.put(PATH, "shop", "a-1", metadata={"labels": {"as": "a"}})
        await eventually(lambda: told == [{("shop", "a")}])
        store.put(PATH, "shop", "a-1", metadata={"labels": {"as": "b"}})
        await eventually(lambda: told[1:] == [{("shop", "a"), ("shop", "b")}])
        assert (found(references, ("shop", "a")), found(references, ("shop", "b"))) == ([], ["a-1"])
        store.remove(PATH, "shop", "a-1")
        await eventually(lambda: told[2:] == [{("shop", "b")}])
        assert found(references, ("shop", "b")) == []


async def test_what_is_new_in_a_namespace_that_is_watched_is_known_at_once() -> None:
    store = Store()
    store.put(PATH, "shop", "a")
    store.put(PATH, "shop", "b")
    async with referring(store) as (references, _, server):
        references.refer({("shop", "a")})
        await references.wait_synced()
        references.refer({("shop", "a"), ("shop", "b")})
        assert references.settled(("shop", "b"))
        assert found(references, ("shop", "b")) == ["b"]
        assert len(asked(server)) == 1


async def test_a_watch_ends_when_nothing_of_it_is_referred_to_any_more() -> None:
    store = Store()
    async with referring(store) as (references, _, _server):
        references.refer({("shop", "a"), ("office", "a")})
        await references.wait_synced()
        await eventually(lambda: store.watches == 2)
        references.refer({("shop", "b")})
        await eventually(lambda: watches(store) == 1)
        assert references.watches == (("shop", ""),)
        references.refer(())
        await eventually(lambda: watches(store) == 0)


async def test_few_objects_are_watched_one_by_one_more_by_namespace_and_many_namespaces_as_a_whole() -> None:
    store = Store()
    for namespace in "xyz":
        store.put(PATH, namespace, "a")
    seen: list[list[str]] = []
    keys = [(namespace, "a") for namespace in "xyz"]
    async with referring(store, max_names=1, max_namespaces=2, fields="type=x") as (references, _, server):

        async def refer(*some: Key) -> None:
            references.refer(some)
            seen.extend(found(references, key) or ["?"] for key in some)
            await references.wait_synced()
            assert all(found(references, key) == ["a"] for key in some)

        await refer(*keys[:1])
        assert list(references.watches) == [("x", "a")]
        await refer(*keys[:2])
        assert list(references.watches) == [("x", ""), ("y", "")]
        await refer(*keys)
        assert list(references.watches) == [("", "")]
        await refer(*keys[:2])
        assert list(references.watches) == [("", "")], "it is narrow again only when there is half of what made it wide"
        await refer(*keys[:1])
        assert list(references.watches) == [("x", "")]
        await eventually(lambda: watches(store) == 1)
    first, *both, everything, again = asked(server)
    assert first == "/api/v1/namespaces/x/configmaps?metadata.name=a"
    assert sorted(both) == [f"/api/v1/namespaces/{namespace}/configmaps?type=x" for namespace in "xy"]
    assert (everything, again) == ("/api/v1/configmaps?type=x", "/api/v1/namespaces/x/configmaps?type=x")
    assert seen == [["?"], ["a"], ["?"], ["a"], ["a"], ["?"], ["a"], ["a"], ["a"]], "what is in use is never gone"


async def test_a_watch_that_is_refused_hurts_no_other_and_is_waited_for_only_so_long() -> None:
    store = Store()
    store.put(PATH, "shop", "a")
    store.put(PATH, "vault", "a")
    closed = True

    async def handle(call: Call) -> None:
        if closed and "/vault/" in call.path:
            await call.refuse(403, "Forbidden", "not for you")
        else:
            await store.handle(call)

    told = Told()
    async with (
        asking(handle) as (cluster, _),
        open_references(cluster, CONFIG_MAP, told.hear, name_of=name_of, patience_seconds=1.5) as references,
    ):
        references.refer({("shop", "a"), ("vault", "a")})
        with anyio.fail_after(10):
            await references.wait_synced()
        assert found(references, ("shop", "a")) == ["a"]
        assert (references.settled(("vault", "a")), found(references, ("vault", "a"))) == (True, [])
        assert "not for you" in references.trouble(("vault", "a"))
        assert {("vault", "a")} in told
        closed = False
        await eventually(lambda: found(references, ("vault", "a")) == ["a"])
        assert references.trouble(("vault", "a")) == ""


def put_service(store: Store, namespace: str, name: str, *addresses: str) -> None:
    store.put(SERVICES, namespace, name, spec={"ports": [{"port": 80}]})
    move(store, namespace, name, *addresses)


def move(store: Store, namespace: str, name: str, *addresses: str) -> None:
    """The endpoints of a Service."""
    store.put(
        SLICES,
        namespace,
        f"{name}-x",
        metadata={"labels": {"kubernetes.io/service-name": name}},
        addressType="IPv4",
        endpoints=[{"addresses": [address]} for address in addresses],
        ports=[{"name": "", "port": 8080}],
    )


async def test_a_view_of_services_follows_them() -> None:
    store, told = Store(), Told()
    put_service(store, "shop", "cart", "10.0.0.1")
    async with asking(store.handle) as (cluster, server), open_services(cluster, told.hear) as view:
        view.refer({("shop", "cart"), ("shop", "late")})
        assert view.backend("shop", "cart", 80).pending
        await view.wait_synced()
        first = view.backend("shop", "cart", 80)
        assert first.spec is not None
        assert [one.address for one in first.spec.endpoints] == ["10.0.0.1:8080"]
        assert view.backend("shop", "cart", 80) is first, "what did not change is the same"
        assert view.backend("shop", "late", 80).error == "service shop/late not found"
        told.clear()
        move(store, "shop", "cart", "10.0.0.2")
        put_service(store, "shop", "late")
        await eventually(lambda: set().union(*told) == {("shop", "cart"), ("shop", "late")})
        await eventually(lambda: view.backend("shop", "late", 80).spec is not None)
        moved = view.backend("shop", "cart", 80)
        assert moved.spec is not None
        assert [one.address for one in moved.spec.endpoints] == ["10.0.0.2:8080"]
        assert not view.backend("shop", "late", 80).ready
        assert {call.query["labelSelector"] for call in server.calls if "slices" in call.path} == {
            "kubernetes.io/service-name"
        }
        assert {call.path.partition("/namespaces/")[2].partition("/")[0] for call in server.calls} == {"shop"}


async def test_services_that_cannot_be_listed_say_so() -> None:
    store, told = Store(), Told()
    store.refusing = (403, "Forbidden")
    async with asking(store.handle) as (cluster, _), open_services(cluster, told.hear, patience_seconds=0.1) as view:
        view.refer({("shop", "cart")})
        await view.wait_synced()
        words = "service shop/cart is not known: cannot list services in namespace shop"
        await eventually(lambda: view.backend("shop", "cart", 80).error.startswith(words))


async def test_a_view_of_secrets_follows_them() -> None:
    def pem(label: str, body: bytes) -> str:
        text = f"-----BEGIN {label}-----\n{base64.b64encode(body).decode()}\n-----END {label}-----\n"
        return base64.b64encode(text.encode()).decode()

    store, told = Store(), Told()
    async with asking(store.handle) as (cluster, server), open_secrets(cluster, told.hear) as view:
        view.refer({("shop", "cert")})
        assert view.pair("shop", "cert").pending
        await view.wait_synced()
        assert view.pair("shop", "cert").error == "secret shop/cert not found"
        for body in (b"\x30one", b"\x30two"):
            data = {"tls.crt": pem("CERTIFICATE", body), "tls.key": pem("PRIVATE KEY", b"\x30key")}
            told.clear()
            store.put(SECRETS, "shop", "cert", type="kubernetes.io/tls", data=data)
            await eventually(lambda: told == [{("shop", "cert")}])
            pair = view.pair("shop", "cert")
            assert base64.b64encode(body).decode() in pair.certificate
            assert view.pair("shop", "cert") is pair
        assert asked(server) == ["/api/v1/namespaces/shop/secrets?metadata.name=cert"]


async def test_what_takes_over_is_waited_for_as_long_as_it_takes() -> None:
    store = Store()
    for namespace in "xy":
        store.put(PATH, namespace, "a")
    closed = True

    async def handle(call: Call) -> None:
        if closed and call.path == PATH:
            await call.refuse(403, "Forbidden", "not for you")
        else:
            await store.handle(call)

    told = Told()
    async with (
        asking(handle) as (cluster, _),
        open_references(
            cluster, CONFIG_MAP, told.hear, name_of=name_of, max_namespaces=1, patience_seconds=1.5
        ) as references,
    ):
        references.refer({("x", "a")})
        await references.wait_synced()
        references.refer({("x", "a"), ("y", "a")})
        await references.wait_synced()
        assert found(references, ("x", "a")) == ["a"]
        assert "not for you" in references.trouble(("y", "a"))
        store.put(PATH, "x", "a-2", metadata={"labels": {"as": "a"}})
        await eventually(lambda: found(references, ("x", "a")) == ["a", "a-2"])
        closed = False
        await eventually(lambda: found(references, ("y", "a")) == ["a"])
        await eventually(lambda: watches(store) == 1)
        assert found(references, ("x", "a")) == ["a", "a-2"]


async def test_what_takes_over_is_not_older_than_what_was_seen() -> None:
    """API servers differ in what they know, and the next list may be answered by one that lags behind."""
    newer, older = Store(), Store()
    for store, name in ((newer, "new"), (older, "old")):
        store.put(PATH, "x", name, metadata={"labels": {"as": "a"}})
    newer.version = 190
    wide: list[str] = []

    async def handle(call: Call) -> None:
        if call.path == PATH and "watch" not in call.query:
            wide.append(call.query.get("resourceVersion", ""))
            await (newer if wide[-1] in ("", "190") else older).handle(call)
        else:
            await newer.handle(call)

    async with (
        asking(handle) as (cluster, _),
        open_references(cluster, CONFIG_MAP, lambda keys: None, name_of=name_of, max_namespaces=1) as references,
    ):
        references.refer({("x", "a")})
        await references.wait_synced()
        assert found(references, ("x", "a")) == ["new"]
        references.refer({("x", "a"), ("y", "a")})
        await references.wait_synced()
        assert found(references, ("x", "a")) == ["new"]
        assert wide == ["190"]


async def test_the_first_list_may_be_of_any_version_also_beside_other_watches() -> None:
    store = Store()
    async with referring(store, max_names=8) as (references, _, server):
        references.refer({("x", "a")})
        await references.wait_synced()
        references.refer({("x", "a"), ("x", "b")})
        await references.wait_synced()
    assert [call.query["resourceVersion"] for call in server.calls if "watch" not in call.query] == ["0", "0"]


async def test_a_list_that_comes_late_tells_what_is_not_there() -> None:
    store, told = Store(), Told()
    store.refusing = (500, "InternalError")
    async with (
        asking(store.handle) as (cluster, _),
        open_services(cluster, told.hear, patience_seconds=0.1) as services,
        open_secrets(cluster, told.hear, patience_seconds=0.1) as secrets,
    ):
        services.refer({("shop", "cart")})
        secrets.refer({("shop", "cert")})
        await eventually(lambda: not services.backend("shop", "cart", 80).pending)
        await eventually(lambda: not secrets.pair("shop", "cert").pending)
        assert " is not known: " in services.backend("shop", "cart", 80).error
        assert not secrets.pair("shop", "cert").missing
        told.clear()
        store.refusing = None
        await eventually(lambda: services.backend("shop", "cart", 80).error == "service shop/cart not found")
        await eventually(lambda: secrets.pair("shop", "cert").missing)
        assert {("shop", "cart")} in told
        assert {("shop", "cert")} in told


@pytest.mark.parametrize("trouble", [(500, "InternalError"), (429, "TooManyRequests"), (401, "Unauthorized")])
async def test_at_the_start_what_passes_is_waited_for_beyond_all_patience(trouble: tuple[int, str]) -> None:
    store = Store()
    store.put(PATH, "shop", "a")
    store.refusing = trouble
    async with referring(store, patience_seconds=0.01) as (references, _, _server):
        references.refer({("shop", "a")})
        await eventually(lambda: references.settled(("shop", "a")))
        async with anyio.create_task_group() as tasks:
            synced = anyio.Event()

            async def wait() -> None:
                await references.wait_synced()
                synced.set()

            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not synced.is_set()
            store.refusing = None
            with anyio.fail_after(10):
                await synced.wait()
        assert found(references, ("shop", "a")) == ["a"]


async def test_what_was_in_trouble_and_is_refused_then_is_waited_for_no_longer() -> None:
    store = Store()
    store.refusing = (500, "InternalError")
    async with referring(store, patience_seconds=0.01) as (references, _, _server):
        references.refer({("shop", "a")})
        await eventually(lambda: references.settled(("shop", "a")))
        store.refusing = (403, "Forbidden")
        with anyio.fail_after(10):
            await references.wait_synced()
        assert "403" in references.trouble(("shop", "a"))
