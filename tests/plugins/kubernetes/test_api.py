"""Asking a cluster: what is sent, what is waited for, and what is refused, in words."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from daemun.testing import eventually
from daemun_kubernetes import ApiError, ClusterSettings, Metadata, open_cluster
from daemun_kubernetes.client.auth import Credentials
from daemun_kubernetes.client.config import ClusterEntry, Target, UserEntry
from daemun_kubernetes.client.http import Asked, Http
from daemun_kubernetes.client.kinds import (
    CONFIG_MAP,
    INGRESS,
    LEASE,
    NAMESPACE,
    SECRET,
    Lease,
    LeaseSpec,
    Secret,
)

from .api_server import ApiServer, Call, api_server
from .clusters import asking, kubeconfig, opened
from .store import Store

pytestmark = pytest.mark.anyio

Answering = Callable[[Call], Awaitable[None]]


def always(value: Any, status: int = 200, **fields: str) -> Answering:
    async def handle(call: Call) -> None:
        await call.answer(value, status, **fields)

    return handle


def refusing(code: int, reason: str, message: str) -> Answering:
    async def handle(call: Call) -> None:
        await call.refuse(code, reason, message)

    return handle


async def test_objects_are_read_written_and_deleted() -> None:
    store = Store()
    async with asking(store.handle) as (cluster, server):
        assert cluster.namespace == "home"
        made = await cluster.create(CONFIG_MAP, {"metadata": {"name": "a"}, "data": {"x": "1"}})
        assert made.metadata.namespace == "home"
        assert server.calls[-1].json["kind"] == "ConfigMap"
        assert server.calls[-1].json["apiVersion"] == "v1"
        changed = await cluster.patch(CONFIG_MAP, "a", "", {"data": {"y": "2"}})
        assert server.calls[-1].fields["content-type"] == "application/merge-patch+json"
        assert changed.data == {"x": "1", "y": "2"}
        replaced = await cluster.replace(CONFIG_MAP, msgspec.structs.replace(changed, data={"z": "3"}))
        assert replaced.data == {"z": "3"}
        assert await cluster.get(CONFIG_MAP, "a") == replaced
        assert await cluster.list(CONFIG_MAP) == [replaced]
        assert await cluster.list(CONFIG_MAP, "elsewhere") == []
        await cluster.delete(CONFIG_MAP, "a")
        assert await cluster.list(CONFIG_MAP) == []
        assert server.accepted == 1, "one connection does"


async def test_what_has_changed_meanwhile_is_not_overwritten() -> None:
    store = Store()
    async with asking(store.handle) as (cluster, _):
        lease = await cluster.create(LEASE, Lease(metadata=Metadata(name="a", namespace="n")))
        await cluster.replace(LEASE, msgspec.structs.replace(lease, spec=LeaseSpec(holder_identity="me")))
        with pytest.raises(ApiError) as caught:
            await cluster.replace(LEASE, lease)
        assert (caught.value.status, caught.value.reason) == (409, "Conflict")
        stale = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": None}
        with pytest.raises(ApiError, match=r"cannot patch leases\.coordination.k8s.io n/a at"):
            await cluster.patch(LEASE, "a", "n", stale)
        with pytest.raises(ValueError, match=r"replacing leases needs metadata.name and metadata.resourceVersion"):
            await cluster.replace(LEASE, {"metadata": {"name": "a"}})


async def test_where_objects_are() -> None:
    async with asking(always({"metadata": {"name": "x"}})) as (cluster, server):
        await cluster.get(NAMESPACE, "x")
        await cluster.get(INGRESS, "x", "n")
        await cluster.get(INGRESS, "a/../b?c")
        await cluster.patch(INGRESS, "x", "n", {}, subresource="status")
        assert [call.path for call in server.calls] == [
            "/api/v1/namespaces/x",
            "/apis/networking.k8s.io/v1/namespaces/n/ingresses/x",
            "/apis/networking.k8s.io/v1/namespaces/home/ingresses/a%2F..%2Fb%3Fc",
            "/apis/networking.k8s.io/v1/namespaces/n/ingresses/x/status",
        ]


async def test_a_server_may_be_below_a_path() -> None:
    async with api_server(always({"metadata": {"name": "x"}})) as server:
        async with opened(kubeconfig(f"{server.url}/k8s/clusters/c-1/")) as cluster:
            await cluster.get(NAMESPACE, "x")
        assert server.calls[0].path == "/k8s/clusters/c-1/api/v1/namespaces/x"


async def test_any_object_is_applied_where_the_server_has_its_kind() -> None:
    resources = {
        "resources": [
            {"name": "widgets", "kind": "Widget", "namespaced": True},
            {"name": "widgets/status", "kind": "Widget", "namespaced": True},
        ]
    }

    async def handle(call: Call) -> None:
        await call.answer(resources if call.method == "GET" else {"done": True})

    manifest = {"apiVersion": "shop/v1", "kind": "Widget", "metadata": {"name": "w"}}
    async with asking(handle) as (cluster, server):
        assert await cluster.apply(manifest, manager="me") == {"done": True}
        assert await cluster.apply(manifest, manager="me", dry_run=True, force=False) == {"done": True}
        first, second, third = server.calls
        assert (first.method, first.path) == ("GET", "/apis/shop/v1")
        assert (second.method, second.path) == ("PATCH", "/apis/shop/v1/namespaces/home/widgets/w")
        assert second.query == {"fieldManager": "me", "force": "true"}
        assert second.fields["content-type"] == "application/apply-patch+yaml"
        assert second.json == manifest
        assert third.query == {"fieldManager": "me", "force": "false", "dryRun": "All"}
        with pytest.raises(ApiError, match="knows no kind Gadget of shop/v1") as caught:
            await cluster.locate({**manifest, "kind": "Gadget"})
        assert caught.value.status == 404


@pytest.mark.parametrize(
    ("answer", "words", "status", "reason"),
    [
        (
            refusing(404, "NotFound", 'configmaps "x" not found'),
            'cannot get configmaps home/x at {url}: configmaps "x" not found (404 NotFound)',
            404,
            "NotFound",
        ),
        (
            refusing(403, "Forbidden", "configmaps is forbidden"),
            "cannot get configmaps home/x at {url}: configmaps is forbidden; the right to get configmaps is missing"
            " (403 Forbidden)",
            403,
            "Forbidden",
        ),
        (
            always(b"<html>", 502),
            "cannot get configmaps home/x at {url}: no reason was given (502 Unknown)",
            502,
            "Unknown",
        ),
        (
            always(b"{"),
            "{url} gave configmaps x that cannot be read: Input data was truncated",
            200,
            "Malformed",
        ),
        (
            always({"metadata": {"name": 1}}),
            "{url} gave configmaps x that cannot be read: Expected `str`, got `int` - at `$.metadata.name`",
            200,
            "Malformed",
        ),
    ],
)
async def test_what_is_refused_is_said_in_words(answer: Answering, words: str, status: int, reason: str) -> None:
    async with asking(answer) as (cluster, server):
        with pytest.raises(ApiError) as caught:
            await cluster.get(CONFIG_MAP, "x")
        assert str(caught.value) == caught.value.message == words.format(url=server.url)
        assert (caught.value.status, caught.value.reason) == (status, reason)


async def test_nested_without_end_is_an_error_in_words() -> None:
    deep = b'{"metadata": {"name": "x"}, "data": null, "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    async with asking(always(deep)) as (cluster, _):
        with pytest.raises(ApiError, match="cannot be read"):
            await cluster.get(CONFIG_MAP, "x")


async def test_a_server_that_is_not_there() -> None:
    async with api_server(always({})) as server:
        pass
    async with opened(kubeconfig(server.url)) as cluster:
        with pytest.raises(ApiError, match=f"^{server.url} cannot be reached: ") as caught:
            await cluster.get(CONFIG_MAP, "x")
        assert (caught.value.status, caught.value.reason) == (0, "Unreachable")


async def test_a_server_that_does_not_answer_is_left() -> None:
    async def hang(call: Call) -> None:
        await anyio.sleep_forever()

    async with asking(hang, request_timeout_seconds=1.5) as (cluster, server):
        with pytest.raises(ApiError, match=r"within 1.5 s|is silent") as caught:
            await cluster.get(CONFIG_MAP, "x")
        assert caught.value.status == 0
        server.handle = always({"metadata": {"name": "x"}})
        assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "x"


async def test_a_server_that_wants_to_be_left_alone_is_asked_again_later() -> None:
    async def handle(call: Call) -> None:
        if len(server.calls) < 3:
            await call.answer(b"too many requests", 429, retry_after="0")
        else:
            await call.answer({"metadata": {"name": "x"}})

    server: ApiServer
    async with asking(handle) as (cluster, server):
        assert (await cluster.create(CONFIG_MAP, {"metadata": {"name": "x"}})).metadata.name == "x"
        assert len(server.calls) == 3


async def test_it_is_not_waited_for_longer_than_there_is_time() -> None:
    async with asking(always(b"", 429, retry_after="60"), request_timeout_seconds=5) as (cluster, server):
        with pytest.raises(ApiError) as caught, anyio.fail_after(4):
            await cluster.get(CONFIG_MAP, "x")
        assert (caught.value.status, caught.value.reason) == (429, "TooManyRequests")
        assert caught.value.retry_after_seconds == 60
        assert len(server.calls) == 1


async def test_it_is_not_asked_for_ever() -> None:
    async with asking(always(b"", 503, retry_after="0")) as (cluster, server):
        with pytest.raises(ApiError, match="503"):
            await cluster.get(CONFIG_MAP, "x")
        assert len(server.calls) == 11


async def test_reading_is_tried_again_when_a_connection_breaks_and_writing_is_not() -> None:
    async def handle(call: Call) -> None:
        if len(server.calls) == 1:
            await call.cut()
        else:
            await call.answer({"metadata": {"name": "x"}})

    server: ApiServer
    async with asking(handle) as (cluster, server):
        assert (await cluster.get(CONFIG_MAP, "x")).metadata.name == "x"
        assert len(server.calls) == 2
        server.calls.clear()
        with pytest.raises(ApiError, match="broke off"):
            await cluster.create(CONFIG_MAP, {"metadata": {"name": "x"}})
        assert len(server.calls) == 1


async def test_connections_that_were_idle_and_are_gone_do_no_harm() -> None:
    async with asking(always({"metadata": {"name": "x"}})) as (cluster, server):
        await cluster.get(CONFIG_MAP, "x")
        await server.cut_all()
        await eventually(lambda: not server.streams)
        await cluster.create(CONFIG_MAP, {"metadata": {"name": "x"}})
        assert len(server.calls) == 2


async def test_so_many_requests_at_once_and_no_more() -> None:
    go = anyio.Event()

    async def handle(call: Call) -> None:
        await go.wait()
        await call.answer({"metadata": {"name": "x"}})

    async with asking(handle) as (cluster, server):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(cluster.get, CONFIG_MAP, "x")
            await eventually(lambda: len(server.calls) == 32)
            await anyio.wait_all_tasks_blocked()
            assert server.accepted == 32
            go.set()
        assert len(server.calls) == 50


async def test_an_answer_has_a_greatest_size() -> None:
    async with api_server(always(b"x" * 1001)) as server:
        target = Target(ClusterEntry(server=server.url), UserEntry(), "home", "me")
        http = Http(target, Credentials(target), ClusterSettings())
        await http.start()
        try:
            assert len((await http.request(Asked("GET", "/x", max_bytes=1001))).body) == 1001
            with pytest.raises(ApiError, match="larger than 1000 bytes"):
                await http.request(Asked("GET", "/x", max_bytes=1000))
        finally:
            await http.aclose()


async def test_a_proxy_is_used() -> None:
    async with api_server(always({"metadata": {"name": "x"}})) as proxy:
        config = kubeconfig("http://far.test:6443", {}, **{"proxy-url": proxy.url})
        async with opened(config) as cluster:
            await cluster.get(CONFIG_MAP, "x")
        assert proxy.calls[0].fields["host"] == "far.test:6443"


async def test_content_of_secrets_is_bytes_and_not_shown() -> None:
    value = {"metadata": {"name": "x", "namespace": "n"}, "data": {"tls.key": "czNjcjN0", "empty": None}}
    async with asking(always(value)) as (cluster, _):
        secret = await cluster.get(SECRET, "x")
        assert secret.data == {"tls.key": b"s3cr3t"}
        assert repr(secret) == "Secret(n/x: tls.key)"
        assert isinstance(secret, Secret)
    async with asking(always({**value, "data": {"tls.key": "s3cr3t-!"}})) as (cluster, _):
        with pytest.raises(ApiError, match="cannot be read") as caught:
            await cluster.get(SECRET, "x")
        assert "s3cr3t" not in str(caught.value)


def test_the_package_needs_httpx_only_where_a_cluster_is_opened(tmp_path: Path) -> None:
    """And says which extra has it."""
    (tmp_path / "config").write_text("{}")
    program = """
import sys
sys.modules["httpcore"] = None
import anyio, daemun_kubernetes
from daemun import SettingsError
from pathlib import Path
async def main():
    try:
        async with daemun_kubernetes.open_cluster(daemun_kubernetes.ClusterSettings(), Path()):
            pass
    except SettingsError as error:
        print(error)
anyio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "a cluster needs the module httpcore, which is not installed (pip install 'daemun[kubernetes]')\n"
    )


async def test_opening_a_cluster_makes_no_request(tmp_path: Path) -> None:
    async with api_server(always({})) as server:
        (tmp_path / "config").write_bytes(msgspec.yaml.encode(kubeconfig(server.url)))
        async with open_cluster(ClusterSettings(kubeconfig="config"), tmp_path):
            pass
        assert server.accepted == 0


async def test_a_server_that_accepts_and_leaves_at_once_is_one_that_cannot_be_reached() -> None:
    """As a balancer in front of dead servers does; event loops see it at different moments."""
    words: set[str] = set()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        listening.settimeout(0.01)
        ended = threading.Event()

        def leave() -> None:
            while not ended.is_set():
                try:
                    accepted, _ = listening.accept()
                except TimeoutError:
                    continue
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                accepted.close()

        async def ask() -> None:
            for _ in range(30):
                with pytest.raises(ApiError) as caught:
                    await cluster.get(CONFIG_MAP, "x")
                words.add(caught.value.reason)

        leaving = threading.Thread(target=leave)
        leaving.start()
        try:
            async with (
                opened(kubeconfig(f"http://127.0.0.1:{listening.getsockname()[1]}")) as cluster,
                anyio.create_task_group() as tasks,
            ):
                for _ in range(10):
                    tasks.start_soon(ask)
        finally:
            ended.set()
            leaving.join()
    assert words == {"Unreachable"}
