"""What a Service becomes: hosts, the command, its environment, and how many processes."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
import yaml

from daemun import BackendSpec, Forward, HostKind, RouteSpec, Split
from daemun_file import ObjectError, RawObject, decode, show_path
from daemun_knative import KnativeFilesSettings
from daemun_knative.services.source import decode_manifest
from daemun_process import ProcessSettings


def specs(manifest: str = "", *, images: Any = None, **settings: Any) -> tuple[BackendSpec, RouteSpec]:
    """What a Service `hello` becomes; `manifest` is its metadata, spec and container, in YAML."""
    parts: dict[str, Any] = {"metadata": {}, "spec": {}, "template": {}, "container": {}, "annotations": {}}
    parts |= yaml.safe_load(manifest) or {}
    data = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "hello", **parts["metadata"]},
        "spec": {
            "template": {
                "metadata": {"annotations": parts["annotations"]},
                "spec": {
                    "containers": [{"image": "registry/app:v1", **parts["container"]}],
                    **parts["template"],
                },
            },
            **parts["spec"],
        },
    }
    decoded = decode(
        {"paths": ["x"], "images": images or {"registry/app": {"command": ["app"]}}, **settings},
        KnativeFilesSettings,
    )
    (backend,), (route,) = decode_manifest(RawObject("Service", "default/hello", (), data), decoded, "s.yaml#hello")
    return backend, route


def activation(manifest: str = "", **settings: Any) -> dict[str, Any]:
    backend, _ = specs(manifest, **settings)
    msgspec.convert(backend.activation, ProcessSettings)
    return backend.activation


def hosts(manifest: str, **settings: Any) -> list[str]:
    _, route = specs(manifest, **settings)
    assert {host.kind for host in route.hosts} == {HostKind.EXACT}
    return [host.value for host in route.hosts]


def test_a_route_leads_from_the_host_to_a_back_end_that_is_started() -> None:
    backend, route = specs(backend_settings={"cold_start_header": False}, listeners=["http"])
    assert route.action == Forward((Split("default/hello"),))
    assert (route.name, route.timeout_seconds, route.listeners) == ("default/hello", 300.0, ("http",))
    assert (backend.name, backend.type, backend.activator) == ("default/hello", "endpoints", "process")
    assert backend.settings == {"cold_start_header": False}
    assert backend.origin == route.origin == "s.yaml#hello"


def test_hosts() -> None:
    assert hosts("") == ["hello.default.example.com"]
    assert hosts("metadata: {namespace: shop}", domain="apps.example.org") == ["hello.shop.apps.example.org"]
    assert hosts("spec: {traffic: [{percent: 100, tag: new}, {tag: test}]}") == [
        "hello.default.example.com",
        "new-hello.default.example.com",
        "test-hello.default.example.com",
    ]


def test_a_cluster_local_service_is_served_to_insiders_only() -> None:
    local = "metadata: {labels: {networking.knative.dev/visibility: cluster-local}}"
    assert hosts(local, local_listeners=["inner"]) == ["hello.default.svc.cluster.local"]
    assert specs(local, local_listeners=["inner"], listeners=["outer"])[1].listeners == ("inner",)
    with pytest.raises(ObjectError, match="name it in 'local_listeners'"):
        specs(local)


def test_a_host_that_is_too_long_is_refused() -> None:
    with pytest.raises(ObjectError, match="longer than 253"):
        specs(domain=".".join(["a" * 60] * 4))


@pytest.mark.parametrize(
    ("image", "command"),
    [
        ("registry/app:v1", "exact"),
        ("registry/app:v2", "without tag"),
        ("registry/app@sha256:00", "without tag"),
        ("localhost:5000/app", "port"),
        ("registry/other:v1", "pattern"),
        ("registry/other@sha256:00", "pattern"),
    ],
)
def test_images_are_found_exactly_then_without_tag_then_by_pattern(image: str, command: str) -> None:
    images = {
        "registry/*": {"command": ["pattern"]},
        "registry/app": {"command": ["without tag"]},
        "registry/app:v1": {"command": ["exact"]},
        "localhost:5000/app": {"command": ["port"]},
    }
    assert activation(f"container: {{image: '{image}'}}", images=images)["command"] == [command]


def test_an_image_without_an_entry_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(ObjectError, match=r"image 'registry/app:v1' has no entry .* accepted: one, two/\*") as caught:
        specs(images={"one": {}, "two/*": {}})
    assert show_path(caught.value.path, "") == "spec.template.spec.containers[0].image"


def test_the_table_gives_command_and_settings_and_the_manifest_adds_to_them() -> None:
    images = {
        "*": {
            "command": ["$PYTHON", "-m", "app", "$PORT"],
            "environment": {"A": "table", "B": "table"},
            "directory": "apps",
            "idle_timeout_seconds": 5,
        }
    }
    manifest = "container: {args: [--verbose], env: [{name: A, value: manifest}]}"
    assert activation(manifest, images=images, idle_timeout_seconds=60, start_timeout_seconds=20) == {
        "command": [sys.executable, "-m", "app", "$PORT", "--verbose"],
        "environment": {
            "A": "manifest",
            "B": "table",
            "K_SERVICE": "hello",
            "K_CONFIGURATION": "hello",
            "K_REVISION": "hello-00001",
        },
        "directory": "apps",
        "idle_timeout_seconds": 5,
        "start_timeout_seconds": 20.0,
    }


def test_a_command_of_the_manifest_is_run_only_if_that_is_allowed() -> None:
    manifest = "container: {command: [sh, -c], args: [id]}"
    with pytest.raises(ObjectError, match="unless its 'allow_commands' is true") as caught:
        specs(manifest)
    assert show_path(caught.value.path, "") == "spec.template.spec.containers[0].command"
    assert activation(manifest, allow_commands=True)["command"] == ["sh", "-c", "id"]


def test_references_to_variables_are_filled_in_as_kubernetes_does() -> None:
    env = "[{name: A, value: a}, {name: B, value: '$(A)-$(C)-$$(A)'}, {name: C, value: '$(K_SERVICE)'}]"
    result = activation(f"container: {{env: {env}, args: ['--port=$(PORT)', '$(B)', $x]}}")
    assert result["environment"]["B"] == "a-$(C)-$(A)"
    assert result["environment"]["C"] == "hello"
    assert result["command"][1:] == ["--port=$PORT", "a-$(C)-$(A)", "$x"]


def test_protocol_and_readiness_come_from_the_manifest() -> None:
    probe = "readinessProbe: {httpGet: {path: /ready}}"
    result = activation(f"container: {{ports: [{{name: h2c, containerPort: 50051}}], {probe}}}")
    assert (result["protocol"], result["readiness"]) == ("http2", {"kind": "http", "path": "/ready"})
    table = {"*": {"command": ["app"], "readiness": {"kind": "tcp"}}}
    assert activation(f"container: {{{probe}}}", images=table)["readiness"] == {"kind": "tcp"}
    assert "readiness" not in activation("container: {readinessProbe: {tcpSocket: {}}}")


@pytest.mark.parametrize(
    ("manifest", "scale"),
    [
        ("", {}),
        ("annotations: {autoscaling.knative.dev/max-scale: '9'}", {}),
        ("annotations: {autoscaling.knative.dev/min-scale: '2'}", {"min_instances": 1}),
        ("template: {containerConcurrency: 5}", {"capacity": 5}),
        ("template: {concurrencyModel: Single}", {"capacity": 1}),
        (
            "{template: {containerConcurrency: 5}, annotations: {autoscaling.knative.dev/maxScale: '9'}}",
            {"capacity": 5, "max_instances": 9},
        ),
        (
            "{template: {containerConcurrency: 5}, annotations: {autoscaling.knative.dev/min-scale: '2'}}",
            {"capacity": 5, "min_instances": 2, "max_instances": 2},
        ),
    ],
)
def test_concurrency_and_scale(manifest: str, scale: dict[str, int]) -> None:
    result = activation(manifest)
    assert {key: value for key, value in result.items() if key not in ("command", "environment")} == scale


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "'registry/app:v1' has no 'command', a list of text"),
        ({"command": "app"}, "has no 'command'"),
        ({"command": [1]}, "has no 'command'"),
        ({"command": ["app"], "environment": []}, "environment of 'registry/app:v1' is no mapping"),
    ],
)
def test_a_table_that_cannot_be_used_is_told(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ObjectError, match=words):
        specs(images={"*": entry})
