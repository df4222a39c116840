"""The source as the gateway sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from daemun import Applied, SettingsError, Snapshot, SourceContext
from daemun_file import decode
from daemun_knative import KnativeFilesSettings, daemun_sources

pytestmark = pytest.mark.anyio


def manifest(name: str, target: str = "x") -> str:
    return f"""
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: {name}
spec:
  template:
    spec:
      containers:
      - image: app
        env: [{{name: TARGET, value: {target}}}]
---
"""


async def published(folder: Path, *steps: Any, **settings: Any) -> list[Snapshot]:
    """What the source publishes first, and after each of `steps`."""
    (kind,) = (one for one in daemun_sources() if one.name == "knative_files")
    snapshots: list[Snapshot] = []
    send, receive = anyio.create_memory_object_stream[Snapshot](10)

    async def publish(snapshot: Snapshot) -> Applied:
        await send.send(snapshot)
        return Applied(1, snapshot.refused)

    options = decode({"paths": ["services.yaml"], "images": {"app": {"command": ["app"]}}, **settings}, kind.settings)
    async with (
        send,
        receive,
        kind.build(options, SourceContext("knative", folder)) as source,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(source.run, publish)
        with anyio.fail_after(20):
            snapshots.append(await receive.receive())
            for step in steps:
                step()
                snapshots.append(await receive.receive())
        tasks.cancel_scope.cancel()
    return snapshots


async def test_services_of_a_file_are_published_and_one_that_is_bad_hurts_no_other(tmp_path: Path) -> None:
    text = (
        manifest("one") + manifest("Two") + "kind: Route\napiVersion: serving.knative.dev/v1\n---" + manifest("three")
    )
    (tmp_path / "services.yaml").write_text(text)
    (snapshot,) = await published(tmp_path)
    assert [route.name for route in snapshot.routes] == ["default/one", "default/three"]
    assert [backend.name for backend in snapshot.backends] == ["default/one", "default/three"]
    assert [(status.kind, status.name, status.error.partition(";")[0]) for status in snapshot.refused] == [
        ("Service", "default/Two", "line 17, metadata.name: invalid value 'Two'"),
        (
            "Route",
            "default/unnamed",
            "line 25: kind Route of serving.knative.dev/v1 is not served from files",
        ),
    ]


async def test_a_change_is_seen_and_what_did_not_change_stays_the_same_object(tmp_path: Path) -> None:
    path = tmp_path / "services.yaml"
    path.write_text(manifest("one") + manifest("two"))
    first, second, third = await published(
        tmp_path,
        lambda: path.write_text(manifest("one") + manifest("two", "y")),
        lambda: path.write_text(manifest("one") + manifest("two", "1")),
    )
    assert second.backends[0] is first.backends[0]
    assert second.backends[1].activation["environment"]["TARGET"] == "y"
    assert third.backends == second.backends
    assert [(status.name, status.error.partition(": ")[2]) for status in third.refused] == [
        ("default/two", "expected a string, got an integer; put it in quotes; kept the version from before")
    ]


async def test_the_same_service_in_two_files_counts_once(tmp_path: Path) -> None:
    (tmp_path / "services.yaml").write_text(manifest("one"))
    (tmp_path / "others.yaml").write_text(manifest("one"))
    (snapshot,) = await published(tmp_path, paths=["services.yaml", "others.yaml"])
    assert [route.origin for route in snapshot.routes] == ["services.yaml#default/one"]
    assert [status.error for status in snapshot.refused] == ["the name is taken in services.yaml"]


async def test_a_domain_that_is_none_is_refused_at_start(tmp_path: Path) -> None:
    (kind,) = (one for one in daemun_sources() if one.name == "knative_files")
    settings = KnativeFilesSettings(paths=("x",), domain="not a domain")
    with pytest.raises(SettingsError, match=r"^\$\.domain: "):
        async with kind.build(settings, SourceContext("knative", tmp_path)):
            raise AssertionError("it was built")


OLD = """
apiVersion: networking.internal.knative.dev/v1alpha1
kind: ClusterIngress
metadata: {name: hello-ingress}
spec:
  generation: 1
  visibility: ExternalIP
  rules:
  - hosts: [hello.default.example.com]
    http:
      paths:
      - timeout: 10m0s
        retries: {attempts: 3, perTryTimeout: 10m0s}
        appendHeaders: {knative-serving-revision: hello-00001}
        splits: [{serviceName: hello-00001, serviceNamespace: default, servicePort: 80, percent: 100}]
---
"""


async def test_an_ingress_of_2019_is_served_beside_services_and_says_what_it_means_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "services.yaml").write_text(manifest("one") + OLD + OLD.replace("ClusterIngress", "IngressClass"))
    (snapshot,) = await published(tmp_path, services={"default/hello-00001": "h2c://127.0.0.1:9000"})
    assert [backend.name for backend in snapshot.backends] == ["default/one", "default/hello-00001:80"]
    assert snapshot.backends[1].endpoints[0].address == "127.0.0.1:9000"
    old = snapshot.routes[1]
    assert old.hosts[0].value == "hello.default.example.com"
    assert old.request_headers.set == {"knative-serving-revision": "hello-00001"}
    assert old.timeout_seconds == 0
    words = "\n".join(caplog.messages)
    assert "ClusterIngress is of 2019" in words
    assert "retries is ignored" in words
    (refused,) = snapshot.refused
    assert "accepted: Service of" in refused.error


async def test_an_ingress_without_an_address_for_its_service_is_refused(tmp_path: Path) -> None:
    (tmp_path / "services.yaml").write_text(manifest("one") + OLD)
    (snapshot,) = await published(tmp_path)
    assert [route.name for route in snapshot.routes] == ["default/one"]
    assert "has no entry in 'services'" in snapshot.refused[0].error
