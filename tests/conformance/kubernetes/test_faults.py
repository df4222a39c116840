"""The API server gone, etcd compacted, endpoints that flip, objects that are broken: traffic goes on."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from signal import SIGKILL
from statistics import median
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import anyio
import pytest
from anyio import to_thread
from anyio.abc import TaskGroup

from daemun_kubernetes import Change, Reflector
from daemun_kubernetes.client.kinds import ENDPOINT_SLICE, SECRET, EndpointSlice

from .cluster import Cluster
from .kingresses import Writer, backend_processes, kingress, open_writer, paths, service, slice_of
from .load import Answer, Load, ask, load, until_answered
from .replicas import Replicas, made, replicas

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(3600)]  # the cluster's programs may have to be built

NAME = "kn-faults"
FIRST, SECOND = ("198.18.115.1", "198.18.115.2"), ("198.18.115.3", "198.18.115.4")
"""Two sets of back ends: say the activator, and a revision."""
FLIP_SECONDS = 0.1
OUTAGE_SECONDS = 5.0


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def gate(cluster: Cluster) -> Iterator[Replicas]:
    """A gateway, and the back ends."""
    with replicas(cluster, NAME, "198.18.114.") as found, backend_processes(*FIRST, *SECOND):
        found.start()
        yield found


@pytest.fixture(scope="module")
async def writer(gate: Replicas) -> AsyncIterator[Writer]:
    """The administrator, after the Service `first` has endpoints, and `second` others, and `good.test` goes to one."""
    async with open_writer(gate) as found:
        await found.create(service("first"), slice_of("first", FIRST), service("second"), slice_of("second", SECOND))
        await found.create(_kingress(found, "good", "first"))
        await found.until_ready("good")
        yield found


def _kingress(writer: Writer, name: str, to: str, **spec: Any) -> dict[str, Any]:
    return kingress(name, writer.ingress_class, f"{name}.test", paths(NAME, {to: 100}, "0"), **spec)


async def _serves(gate: Replicas, host: str, version: str) -> None:
    """Waits until a host is served in that version."""
    await until_answered(gate.address(0), host, lambda answer: answer.content.endswith(f" {version}"), port=8080)


@pytest.mark.anyio
async def test_the_api_server_dies_and_comes_back(writer: Writer, gate: Replicas) -> None:
    await writer.create(*(_kingress(writer, name, "first") for name in ("changed", "deleted")))
    await writer.until_ready("changed", "deleted")
    cluster = gate.cluster
    async with (
        load(gate.address(0), "good.test", port=8080) as kept,
        load(gate.address(0), "good.test", port=8080, per_second=50, keep_alive=False) as fresh,
    ):
        async with _api_server_killed(cluster):
            await anyio.sleep(OUTAGE_SECONDS)
        began = anyio.current_time()
        # before the gateway watches again, perhaps
        await writer.change("changed", paths(NAME, {"second": 100}, "1"))
        await writer.delete("deleted")
        await writer.create(_kingress(writer, "created", "second"))
        await writer.until_ready("changed", generation=2)
        await writer.until_ready("created")
        await _serves(gate, "changed.test", "1")
        await until_answered(gate.address(0), "deleted.test", lambda answer: answer.status == 404, port=8080)
        seconds = anyio.current_time() - began
    cluster.tell(
        f"the API server killed, and back: {len(kept.answers) + len(fresh.answers)} requests,"
        f" failed: {kept.failures + fresh.failures or 'none'}; all as it should be after {seconds:.1f} s"
    )
    assert not kept.failures + fresh.failures


def _etcd(path: str, **body: Any) -> dict[str, Any]:
    """What etcd answers."""
    request = Request(f"http://127.0.0.1:2379/v3/{path}", json.dumps(body).encode())
    with urlopen(request, timeout=10) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def _compact() -> None:
    """Nobody can read from now on what was before."""
    revision = _etcd("kv/range", key=base64.b64encode(b"/").decode())["header"]["revision"]
    with suppress(HTTPError):  # nothing was written since the last time
        _etcd("kv/compaction", revision=revision, physical=True)


@asynccontextmanager
async def _api_server_killed(cluster: Cluster) -> AsyncIterator[None]:
    """It is dead until the context is left; then it answers again."""
    await to_thread.run_sync(cluster.processes.end, "kube-apiserver", SIGKILL)
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(cluster.start_api)
        if cluster.is_kept:
            cluster.processes.leave("kube-apiserver")


@pytest.mark.anyio
async def test_etcd_is_compacted_while_everything_changes(writer: Writer, gate: Replicas) -> None:
    """And the watches break right after: what they left off at is nowhere any more, so everything is listed anew."""
    names = [f"busy-{number}" for number in range(10)]
    await writer.create(*(_kingress(writer, name, "first") for name in names))
    await writer.until_ready(*names)
    cluster = gate.cluster
    async with load(gate.address(0), "good.test", port=8080) as asked:
        for version in range(1, 6):
            for name in names:
                await writer.change(name, paths(NAME, {"second": 100}, str(version)))
            await to_thread.run_sync(_compact)
        async with _api_server_killed(cluster):
            await to_thread.run_sync(_compact)
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(writer.change, name, paths(NAME, {"second": 100}, "last"))
        await to_thread.run_sync(_compact)
        await writer.until_ready(*names, generation=7)
        for name in names:
            await _serves(gate, f"{name}.test", "last")
        seconds = anyio.current_time() - began
    cluster.tell(
        f"etcd compacted: {len(asked.answers)} requests, failed: {asked.failures or 'none'};"
        f" all as it should be after {seconds:.1f} s"
    )
    assert not asked.failures


@pytest.mark.anyio
async def test_endpoints_flip_and_nothing_is_dropped(writer: Writer, gate: Replicas) -> None:
    await writer.create(service("flips"), slice_of("flips", FIRST), _kingress(writer, "flips", "flips"))
    await writer.until_ready("flips")
    seen = 0.0

    def changed(change: Change[EndpointSlice]) -> None:
        nonlocal seen
        seen = anyio.current_time()

    beside = Reflector(writer.cluster, ENDPOINT_SLICE, NAME, fields="metadata.name=flips", on_change=changed)
    first, last = [], []
    async with (
        anyio.create_task_group() as tasks,
        load(gate.address(0), "flips.test", port=8080) as asked,
        load(gate.address(0), "flips.test", port=8080, path="/slow", per_second=16, clients=8) as slow,
    ):
        tasks.start_soon(beside.run)
        await beside.wait_synced()
        for turn in range(20):
            to, former = (FIRST, SECOND)[:: 1 if turn % 2 else -1]
            answer = await _flipped(tasks, writer, asked, to)
            await anyio.sleep(0.2)
            first.append(answer.at - seen)
            old = (one.at for one in asked.answers if one.content.split()[0] in former)
            last.append(max(old, default=seen) - seen)
        tasks.cancel_scope.cancel()
    gate.cluster.tell(
        f"endpoints flip: after a watch beside sees it, first answer of the new ones: median {median(first) * 1e3:.0f}"
        f" ms, slowest {max(first) * 1e3:.0f} ms; last one of the old: median {median(last) * 1e3:.0f} ms, slowest"
        f" {max(last) * 1e3:.0f} ms (target {FLIP_SECONDS * 1e3:.0f} ms); {len(asked.answers)} requests,"
        f" failed: {asked.failures or 'none'}"
    )
    assert not asked.failures + slow.failures
    assert median(first) <= FLIP_SECONDS
    assert median(last) <= FLIP_SECONDS


async def _flipped(tasks: TaskGroup, writer: Writer, asked: Load, to: tuple[str, ...]) -> Answer:
    endpoints = slice_of("flips", to)["endpoints"]
    tasks.start_soon(writer.cluster.patch, ENDPOINT_SLICE, "flips", NAME, {"endpoints": endpoints})
    return await asked.until(lambda answer: answer.content.split()[0] in to)


def _secret(name: str, certificate: str, key: str) -> dict[str, Any]:
    data = {"tls.crt": certificate, "tls.key": key}
    return made("v1", "Secret", name, type="kubernetes.io/tls", stringData=data)


@pytest.mark.anyio
async def test_what_is_broken_concerns_its_own_host_alone(writer: Writer, gate: Replicas) -> None:
    odd = _kingress(writer, "odd", "first")
    odd["spec"]["rules"][0]["http"]["paths"][0]["appendHeaders"] = {"no name": "x"}

    def tls(name: str) -> dict[str, Any]:
        secret = {"hosts": [f"{name}.test"], "secretName": name, "secretNamespace": NAME}
        return _kingress(writer, name, "first", tls=[secret])

    async with load(gate.address(0), "good.test", port=8080) as asked:
        await writer.create(
            odd,
            tls("secret-missing"),
            _secret("secret-broken", "no certificate", "no key"),
            tls("secret-broken"),
            _kingress(writer, "service-missing", "missing"),
            service("empty"),
            _kingress(writer, "service-empty", "empty"),
        )
        await writer.create(_kingress(writer, "later", "first"))
        await writer.until_ready("later", seconds=5)
        expected = {
            "odd": ("False", "Invalid", "spec.rules[0].http.paths[0].appendHeaders: 'no name' is no name of a header"),
            "secret-missing": ("Unknown", "SecretNotReady", f"secret {NAME}/secret-missing not found"),
            "secret-broken": (
                "Unknown",
                "SecretNotReady",
                f"secret {NAME}/secret-broken: tls.crt holds no certificate",
            ),
            "service-missing": ("Unknown", "ServiceNotReady", f"service {NAME}/missing not found"),
            "service-empty": ("Unknown", "ServiceNotReady", f"service {NAME}/empty has no endpoint that is ready"),
        }

        def told() -> dict[str, tuple[str, str, str]]:
            found = {name: writer.condition(name) for name in expected}
            return {
                name: (status, reason, message[: len(expected[name][2])])
                for name, (status, reason, message) in found.items()
            }

        try:
            await writer.until(lambda: told() == expected, 10)
        except TimeoutError:
            assert told() == expected
        assert {(await ask(gate.address(0), f"{name}.test", port=8080)).status for name in expected} == {404}
        for name in ("odd", "service-missing"):
            await writer.change(name, paths(NAME, {"second": 100}, "mended"))
        await writer.create(slice_of("empty", SECOND))
        await writer.until_ready("odd", "service-missing", "service-empty")
    assert not asked.failures


def _shown(gate: Replicas, host: str) -> bytes:
    """The certificate that is shown for a host."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((gate.address(0), 8443), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""


@pytest.mark.anyio
async def test_a_secret_that_is_spoilt_is_served_as_it_was(
    writer: Writer, gate: Replicas, certificate_files: tuple[Path, Path]
) -> None:
    certificate, key = (file.read_text() for file in certificate_files)
    entry = {"hosts": ["tls.test"], "secretName": "tls", "secretNamespace": NAME}
    await writer.create(_secret("tls", certificate, key), _kingress(writer, "tls", "first", tls=[entry]))
    await writer.until_ready("tls")
    shown = await to_thread.run_sync(_shown, gate, "tls.test")
    assert shown == ssl.PEM_cert_to_DER_cert(certificate)
    await writer.cluster.patch(SECRET, "tls", NAME, {"stringData": {"tls.crt": "spoilt"}})
    await writer.until(lambda: writer.condition("tls")[1] == "SecretNotReady", 10)
    assert await to_thread.run_sync(_shown, gate, "tls.test") == shown
    assert (await ask(gate.address(0), "tls.test", port=8080)).status == 200
    await writer.cluster.patch(SECRET, "tls", NAME, {"stringData": {"tls.crt": certificate}})
    await writer.until_ready("tls")


@pytest.mark.anyio
async def test_a_service_that_loses_its_endpoints_is_503_and_stays_ready(writer: Writer, gate: Replicas) -> None:
    await writer.create(service("shrinks"), slice_of("shrinks", FIRST), _kingress(writer, "shrinks", "shrinks"))
    await writer.until_ready("shrinks")
    async with load(gate.address(0), "good.test", port=8080) as asked:
        await writer.cluster.patch(ENDPOINT_SLICE, "shrinks", NAME, {"endpoints": []})
        await until_answered(gate.address(0), "shrinks.test", lambda answer: answer.status == 503, port=8080)
        await writer.cluster.patch(ENDPOINT_SLICE, "shrinks", NAME, {"endpoints": slice_of("", FIRST)["endpoints"]})
        await _serves(gate, "shrinks.test", "0")
    assert writer.condition("shrinks")[0] == "True"
    assert not asked.failures
