"""The cluster client on a real kube-apiserver and a real etcd of its own, which are killed and compacted under load."""

from __future__ import annotations

import base64
import json
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from tests.conformance.tools import debian_tool

from daemun.testing import eventually
from daemun.testing.program import soon
from daemun_kubernetes import ApiError, Change, Cluster, ClusterSettings, Elector, Recorder, Reflector, open_cluster
from daemun_kubernetes.client import api as client_api
from daemun_kubernetes.client.kinds import CONFIG_MAP, EVENT, LEASE, NAMESPACE, SECRET, ConfigMap
from daemun_kubernetes.client.lease import Terms

from . import build
from .credentials import Credentials
from .processes import Processes

pytestmark = [pytest.mark.conformance, pytest.mark.anyio, pytest.mark.timeout(3600)]  # programs may have to be built

SPACE = "client"
WRITERS = 3


class Server:
    """etcd and kube-apiserver on the loopback, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._credentials = Credentials(folder / "credentials")
        self._processes = Processes(folder / "processes")
        self._etcd, self._peer, self._port = _free_ports(3)

    def start(self) -> None:
        self._credentials.make()
        token = self._credentials.tokens.read_text().partition(",")[0]
        document = json.loads(self._credentials.kubeconfig(token))
        document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self._port}"
        self.kubeconfig.write_text(json.dumps(document))
        listens = f"http://127.0.0.1:{self._etcd}"
        peers = f"http://127.0.0.1:{self._peer}"
        argv = [debian_tool("etcd", "etcd-server"), "--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync"]
        argv += ["--listen-client-urls", listens, "--advertise-client-urls", listens, "--listen-peer-urls", peers]
        argv += ["--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"]
        self._processes.start("etcd", argv)
        assert soon(lambda: "ready to serve client requests" in self._processes.log("etcd"), 20)
        self.start_api()

    def start_api(self) -> None:
        files = self._credentials
        argv = [
            str(build.control_plane() / "kube-apiserver"),
            *("--bind-address=127.0.0.1", "--advertise-address=198.18.64.9", f"--secure-port={self._port}"),
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            "--service-cluster-ip-range=198.18.0.0/18",
            *(f"--tls-cert-file={files.certificate}", f"--tls-private-key-file={files.key}"),
            *(f"--client-ca-file={files.authority}", f"--token-auth-file={files.tokens}", "--authorization-mode=RBAC"),
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files.accounts_public}",
            f"--service-account-signing-key-file={files.accounts_key}",
            *("--disable-admission-plugins=ServiceAccount", f"--cert-dir={self.folder / 'certificates'}", "--v=1"),
        ]
        self._processes.start("kube-apiserver", argv)
        assert soon(self._is_ready, 90), self._processes.log("kube-apiserver")[-2000:]

    def kill_api(self) -> None:
        self._processes.end("kube-apiserver", signal.SIGKILL)

    def compact(self) -> None:
        """Makes etcd forget all that is not the newest."""
        url = f"http://127.0.0.1:{self._etcd}/v3/kv"
        told = httpx.post(f"{url}/range", json={"key": base64.b64encode(b"/").decode()}).json()
        revision = {"revision": told["header"]["revision"], "physical": True}
        assert httpx.post(f"{url}/compaction", json=revision, timeout=60).status_code == 200

    def end(self) -> None:
        self._processes.end_all(("kube-apiserver", "etcd"))

    def _is_ready(self) -> bool:
        context = ssl.create_default_context(cafile=self._credentials.authority)
        try:
            return httpx.get(f"https://127.0.0.1:{self._port}/readyz", verify=context).status_code == 200
        except httpx.HTTPError:
            return False


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("server"))
    try:
        one.start()
        yield one
    finally:
        one.end()


@asynccontextmanager
async def opened(server: Server, **settings: Any) -> AsyncIterator[Cluster]:
    """The cluster, with a namespace for the tests."""
    async with open_cluster(
        ClusterSettings(kubeconfig=str(server.kubeconfig), namespace=SPACE, **settings), Path()
    ) as one:
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}
        await one.apply(space, manager="test")
        yield one


class Load:
    """Writers that create, change and delete objects of their own, and remember what the server made of it."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self.acknowledged: dict[str, list[str]] = {}
        """Versions by name, of what was created and changed."""
        self.writes = 0
        self._cluster = cluster
        self._prefix = prefix
        self._going = True

    async def write(self, number: int) -> None:
        random = Random(number)
        names = [f"{self._prefix}-{number}-{index}" for index in range(8)]
        there: set[str] = set()
        while self._going:
            name = random.choice(names)
            try:
                if name in there and random.random() < 0.3:
                    await self._cluster.delete(CONFIG_MAP, name)
                    there.discard(name)
                    continue
                if name in there:
                    made = await self._cluster.patch(CONFIG_MAP, name, "", {"data": {"n": str(self.writes)}})
                else:
                    made = await self._cluster.create(CONFIG_MAP, {"metadata": {"name": name}})
                    there.add(name)
            except ApiError as error:
                if error.status == 404:
                    there.discard(name)
                elif error.status == 409:
                    there.add(name)
                await anyio.sleep(0.02)
                continue
            self.writes += 1
            self.acknowledged.setdefault(name, []).append(made.metadata.resource_version)

    def stop(self) -> None:
        self._going = False

    async def more(self, writes: int) -> None:
        wanted = self.writes + writes
        await eventually(lambda: self.writes >= wanted, f"{writes} writes")


class Told:
    """What a Reflector says, checked to make sense."""

    def __init__(self, cluster: Cluster) -> None:
        self.changes: list[tuple[str, str, str]] = []
        self.reflector = Reflector(cluster, CONFIG_MAP, SPACE, on_change=self._changed)
        self._known: dict[str, str] = {}

    def _changed(self, change: Change[ConfigMap]) -> None:
        name, version = change.object.metadata.name, change.object.metadata.resource_version
        assert (change.kind == "added") == (name not in self._known), "told twice, or not at all"
        if change.kind != "deleted":  # of which the last state may be the one that was known
            assert int(version) > int(self._known.get(name, "0")), "no difference, or back in time"
        self.changes.append((change.kind, name, version))
        if change.kind == "deleted":
            del self._known[name]
        else:
            self._known[name] = version

    async def agrees(self, cluster: Cluster) -> None:
        """Ends when it knows what the server says there is."""
        there = {one.metadata.name: one.metadata.resource_version for one in await cluster.list(CONFIG_MAP, SPACE)}
        await eventually(lambda: self._known == there, "agreement")
        assert {key[1]: one.metadata.resource_version for key, one in self.reflector.objects.items()} == there


async def test_no_event_is_lost_or_doubled_over_many_watches(server: Server) -> None:
    async with (
        opened(server) as writing,
        opened(server, watch_timeout_seconds=1) as watching,
        anyio.create_task_group() as tasks,
    ):
        told, load = Told(watching), Load(writing, "many")
        tasks.start_soon(told.reflector.run)
        await told.reflector.wait_synced()
        async with anyio.create_task_group() as writers:
            for number in range(WRITERS):
                writers.start_soon(load.write, number)
            await anyio.sleep(6)  # five times the server ends the watch
            load.stop()
        await told.agrees(writing)
        seen = {(name, version) for kind, name, version in told.changes if kind != "deleted"}
        acknowledged = {(name, version) for name, versions in load.acknowledged.items() for version in versions}
        assert acknowledged - seen == set()
        assert len(seen) == sum(kind != "deleted" for kind, _, _ in told.changes)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("compacted", [False, True])
async def test_the_api_server_is_killed_under_load(server: Server, compacted: bool) -> None:
    async with opened(server) as cluster, anyio.create_task_group() as tasks:
        told, load = Told(cluster), Load(cluster, f"killed-{compacted}".lower())
        tasks.start_soon(told.reflector.run)
        await told.reflector.wait_synced()
        async with anyio.create_task_group() as writers:
            for number in range(WRITERS):
                writers.start_soon(load.write, number)
            for _ in range(2):
                await load.more(100)
                await anyio.to_thread.run_sync(server.kill_api)
                if compacted:
                    await anyio.to_thread.run_sync(server.compact)
                await anyio.to_thread.run_sync(server.start_api)
                await load.more(100)
            load.stop()
        await told.agrees(cluster)
        assert told.reflector.trouble == ""
        tasks.cancel_scope.cancel()


async def test_a_version_that_etcd_has_forgotten_leads_to_the_differences(server: Server) -> None:
    """Nothing is watched while objects come, go and change, and all of it is forgotten."""
    async with opened(server) as cluster:
        for name in ("stays", "changes", "goes"):
            await cluster.create(CONFIG_MAP, {"metadata": {"name": f"forgotten-{name}"}})
        told = Told(cluster)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(told.reflector.run)
                await told.reflector.wait_synced()
                await told.agrees(cluster)
                scope.cancel()
        told.changes.clear()
        await cluster.delete(CONFIG_MAP, "forgotten-goes")
        changed = await cluster.patch(CONFIG_MAP, "forgotten-changes", "", {"data": {"x": "y"}})
        come = await cluster.create(CONFIG_MAP, {"metadata": {"name": "forgotten-comes"}})
        await anyio.to_thread.run_sync(server.kill_api)
        await anyio.to_thread.run_sync(server.compact)
        await anyio.to_thread.run_sync(server.start_api)
        version = told.reflector.version
        with pytest.raises(ApiError) as caught:
            await _watched(cluster, version)
        assert caught.value.gone
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(told.reflector.run)
            await told.agrees(cluster)
            tasks.cancel_scope.cancel()
        assert sorted((kind, name) for kind, name, _ in told.changes) == [
            ("added", "forgotten-comes"),
            ("deleted", "forgotten-goes"),
            ("modified", "forgotten-changes"),
        ]
        versions = {version for _, _, version in told.changes}
        assert {come.metadata.resource_version, changed.metadata.resource_version} <= versions


async def _watched(cluster: Cluster, version: str) -> None:
    """A watch from that version, until something is wrong with it."""
    reflector = Reflector(cluster, CONFIG_MAP, SPACE, on_change=lambda change: None)
    reflector.version = version
    with anyio.fail_after(30):
        while True:
            await reflector._watch_once()


async def test_a_list_whose_rest_is_forgotten_is_read_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_api, "_PAGE_OBJECTS", 4)
    async with opened(server) as cluster:
        for number in range(10):
            await cluster.create(CONFIG_MAP, {"metadata": {"name": f"paged-{number}"}})
        calls = 0

        def take(item: object) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                server.compact()

        _, taken = await cluster.walk(CONFIG_MAP, SPACE, {}, take)
        assert len(taken) == len(await cluster.list(CONFIG_MAP, SPACE))


async def test_leading_goes_on_when_the_api_server_was_away(server: Server) -> None:
    async with opened(server) as cluster:
        led: list[tuple[str, bool]] = []
        terms = Terms(lease_seconds=4, deadline_seconds=3, retry_seconds=0.2)
        electors = [
            Elector(cluster, "leader", "", name, lambda leading, name=name: led.append((name, leading)), terms=terms)  # type: ignore[misc]
            for name in ("one", "two")
        ]
        async with anyio.create_task_group() as tasks:
            for elector in electors:
                tasks.start_soon(elector.run)
            await eventually(lambda: any(elector.leading for elector in electors))
            assert sum(elector.leading for elector in electors) == 1
            await anyio.to_thread.run_sync(server.kill_api)
            await eventually(lambda: not any(elector.leading for elector in electors))
            await anyio.to_thread.run_sync(server.start_api)
            await eventually(lambda: any(elector.leading for elector in electors))
            tasks.cancel_scope.cancel()
        spec = (await cluster.get(LEASE, "leader")).spec
        assert spec.holder_identity == ""
        leading = 0
        for _, leads in led:
            leading += 1 if leads else -1
            assert leading in (0, 1), led


async def test_the_server_takes_what_is_written(server: Server) -> None:
    async with opened(server) as cluster, anyio.create_task_group() as tasks:
        secret = await cluster.create(SECRET, {"metadata": {"name": "s"}, "data": {"k": "dg=="}})
        assert (await cluster.replace(SECRET, secret)).data == {"k": b"v"}
        with pytest.raises(ApiError) as caught:
            await cluster.create(SECRET, {"metadata": {"name": "s"}})
        assert caught.value.reason == "AlreadyExists"
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dry"}, "data": {"a": "b"}}
        applied = await cluster.apply(manifest, manager="me", dry_run=True)
        assert applied["metadata"]["namespace"] == SPACE
        with pytest.raises(ApiError) as caught:
            await cluster.get(CONFIG_MAP, "dry")
        assert caught.value.status == 404
        recorder = Recorder(cluster, "daemun")
        tasks.start_soon(recorder.run)
        recorder.record(SECRET, secret, "Seen", "it is there", "Warning")
        recorder.record(NAMESPACE, await cluster.get(NAMESPACE, SPACE), "Seen", "it is there")
        found: list[str] = []

        async def look() -> None:
            while len(found) < 2:
                found[:] = [one.message for one in await cluster.list(EVENT, fields="reason=Seen")]
                await anyio.sleep(0.05)

        with anyio.fail_after(20):
            await look()
        tasks.cancel_scope.cancel()


async def test_a_right_that_is_missing_is_named(server: Server, tmp_path: Path) -> None:
    async with opened(server) as cluster:
        for manifest in (
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "weak"}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": "weak"},
                "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "weak"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "weak"},
                "subjects": [{"kind": "ServiceAccount", "name": "weak", "namespace": SPACE}],
            },
        ):
            await cluster.apply(manifest, manager="test")
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
        path = f"/api/v1/namespaces/{SPACE}/serviceaccounts/weak/token"
        answer = json.loads(await cluster.raw("POST", path, body=json.dumps(asked).encode()))
    document = json.loads(server.kubeconfig.read_text())
    (tmp_path / "token").write_text(answer["status"]["token"])
    document["users"][0]["user"] = {"tokenFile": "token"}
    (tmp_path / "config").write_text(json.dumps(document))
    async with open_cluster(ClusterSettings(kubeconfig="config", namespace=SPACE), tmp_path) as weak:
        await eventually_allowed(weak)
        reflector = Reflector(weak, CONFIG_MAP, SPACE, on_change=lambda change: None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reflector.run)
            await reflector.wait_synced()
            await eventually(lambda: "the right to watch configmaps is missing" in reflector.trouble)
            tasks.cancel_scope.cancel()
        with pytest.raises(ApiError, match="the right to list secrets is missing"):
            await weak.list(SECRET)


async def eventually_allowed(cluster: Cluster) -> None:
    """New rights take a moment to be seen."""
    with anyio.fail_after(20):
        while True:
            try:
                await cluster.list(CONFIG_MAP, SPACE)
                return
            except ApiError:
                await anyio.sleep(0.05)
