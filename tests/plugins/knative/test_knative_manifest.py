"""Manifests as they are written, and what Knative's webhook would refuse, with its field paths."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemun import BackendSpec, HostKind, HostMatch, RouteSpec
from daemun_file import ObjectError, RawObject, show_path
from daemun_knative import KnativeFilesSettings
from daemun_knative.services.source import decode_manifest, split_manifest

SETTINGS = KnativeFilesSettings(paths=("x",), images={"app": {"command": ["app"]}}, local_listeners=("inner",))


def decoded(manifest: Any) -> tuple[BackendSpec, RouteSpec]:
    (item,) = split_manifest(manifest)
    if isinstance(item, ObjectError):
        raise item
    (backend,), (route,) = decode_manifest(item, SETTINGS, "here")
    return backend, route


def service(spec: str = "", *, template: str = "{}", metadata: str = "{}", container: str = "{}") -> dict[str, Any]:
    """A `v1` Service with parts changed."""
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "hello", **yaml.safe_load(metadata)},
        "spec": {
            "template": {
                "spec": {
                    "containers": [{"image": "app", **yaml.safe_load(container)}],
                    **yaml.safe_load(template),
                },
            },
            **(yaml.safe_load(spec) or {}),
        },
    }


def test_v1_as_kubectl_prints_it() -> None:
    manifest = yaml.safe_load(
        """
        apiVersion: serving.knative.dev/v1
        kind: Service
        metadata:
          annotations: {serving.knative.dev/creator: me}
          creationTimestamp: "2026-01-01T00:00:00Z"
          generation: 2
          name: hello
          namespace: shop
          resourceVersion: "17"
          uid: 8b5d
        spec:
          template:
            metadata:
              annotations: {client.knative.dev/user-image: app}
              creationTimestamp: null
              name: hello-v1
            spec:
              containerConcurrency: 0
              containers:
              - env: [{name: TARGET, value: x}]
                image: app
                name: user-container
                ports: [{containerPort: 8080, name: http1, protocol: TCP}]
                readinessProbe: {successThreshold: 1, tcpSocket: {port: 0}}
                resources: {limits: {cpu: 500m}}
              enableServiceLinks: false
              timeoutSeconds: 60
          traffic:
          - {latestRevision: true, percent: 100}
        status:
          url: http://hello.shop.example.com
        """
    )
    backend, route = decoded(manifest)
    assert (backend.name, route.name, route.timeout_seconds) == ("shop/hello", "shop/hello", 60.0)
    assert backend.activation["environment"]["K_REVISION"] == "hello-v1"


RUN_LATEST = "runLatest: {configuration: {revisionTemplate: {spec: {timeoutSeconds: 7, %s}}}}"


@pytest.mark.parametrize(
    "spec",
    [
        RUN_LATEST % "container: {image: app}",
        RUN_LATEST % "containers: [image: app]",
        "template: {spec: {containers: [{image: app}], timeoutSeconds: 7}}",
    ],
)
def test_the_forms_of_v1alpha1(spec: str) -> None:
    manifest = {
        "apiVersion": "serving.knative.dev/v1alpha1",
        "kind": "Service",
        "metadata": {"name": "hello"},
        "spec": yaml.safe_load(spec),
    }
    _, route = decoded(manifest)
    assert route.hosts == (HostMatch(HostKind.EXACT, "hello.default.example.com"),)
    assert route.timeout_seconds == 7.0


def test_a_list_is_its_items() -> None:
    items = list(split_manifest({"kind": "List", "apiVersion": "v1", "items": [service(), 7, {"kind": "Pod"}]}))
    assert [(item.kind, item.name, item.path) for item in items if isinstance(item, RawObject)] == [
        ("Service", "default/hello", ("items", 0)),
        ("Pod", "default/items[2]", ("items", 2)),
    ]
    assert [item.path for item in items if isinstance(item, ObjectError)] == [("items", 1)]


@pytest.mark.parametrize(
    ("manifest", "path", "words"),
    [
        (service(metadata="{name: ''}"), "metadata.name", "missing field"),
        (service(metadata="{name: Hello}"), "metadata.name", "invalid value 'Hello'; accepted: a label"),
        (service(metadata="{namespace: a.b}"), "metadata.namespace", "invalid value"),
        (
            service(metadata="{labls: {}}"),
            "metadata",
            "unknown key 'labls'; accepted: .*; did you mean 'labels'",
        ),
        (
            service(metadata="{labels: {networking.knative.dev/visibility: public}}"),
            'metadata.labels["networking.knative.dev/visibility"]',
            "accepted: cluster-local",
        ),
        (service("template: null"), "spec.template", "missing field"),
        (service("runLatest: {configuration: {revisionTemplate: {}}}"), "spec.runLatest", "is of .*v1alpha1"),
        (service(template="{containers: []}"), "spec.template.spec.containers", "missing field"),
        (service(template="{container: {image: app}}"), "spec.template.spec.container", "is of .*v1alpha1"),
        (
            service(template="{containers: [{image: app}, {image: app}]}"),
            "spec.template.spec.containers[1]",
            "accepted: one container",
        ),
        (service(template="{volumes: [{name: v}]}"), "spec.template.spec.volumes", "no volumes"),
        (
            service(template="{containerConcurrency: 1001}"),
            "spec.template.spec.containerConcurrency",
            "0 <= 1001 <= 1000",
        ),
        (service(template="{timeoutSeconds: 601}"), "spec.template.spec.timeoutSeconds", "0 <= 601 <= 600"),
        (service(template="{timeoutSeconds: -1}"), "spec.template.spec.timeoutSeconds", "0 <= -1 <= 600"),
        (
            service(template="{timeoutSeconds: 10, responseStartTimeoutSeconds: 11}"),
            "spec.template.spec.responseStartTimeoutSeconds",
            "0 <= 11 <= 10",
        ),
        (
            service(template="{concurrencyModel: Dual}"),
            "spec.template.spec.concurrencyModel",
            "accepted: Single, Multi",
        ),
        (service(container="{image: ''}"), "spec.template.spec.containers[0].image", "missing field"),
        (service(container="{img: app}"), "spec.template.spec.containers[0]", "did you mean 'image'"),
        (
            service(container="{env: [{name: PORT, value: '1'}]}"),
            "spec.template.spec.containers[0].env[0].name",
            "reserved environment variable",
        ),
        (
            service(container="{env: [{name: A, value: 1}]}"),
            "spec.template.spec.containers[0].env[0].value",
            "expected a string, got an integer; put it in quotes",
        ),
        (
            service(container="{env: [{name: 'A=B'}]}"),
            "spec.template.spec.containers[0].env[0].name",
            "without =",
        ),
        (
            service(container="{env: [{name: ''}]}"),
            "spec.template.spec.containers[0].env[0].name",
            "missing field",
        ),
        (
            service(container="{env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}"),
            "spec.template.spec.containers[0].env[0].valueFrom",
            "no ConfigMap and no Secret; accepted: value",
        ),
        (
            service(container="{envFrom: [{secretRef: {name: s}}]}"),
            "spec.template.spec.containers[0].envFrom",
            "no ConfigMap and no Secret",
        ),
        (
            service(container="{ports: [{containerPort: 1}, {containerPort: 2}]}"),
            "spec.template.spec.containers[0].ports",
            "more than one container port",
        ),
        (
            service(container="{ports: [{containerPort: 8012}]}"),
            "spec.template.spec.containers[0].ports[0].containerPort",
            "invalid value 8012",
        ),
        (
            service(container="{ports: [{name: grpc}]}"),
            "spec.template.spec.containers[0].ports[0].name",
            "accepted: http1, h2c",
        ),
        (
            service(container="{ports: [{protocol: UDP}]}"),
            "spec.template.spec.containers[0].ports[0].protocol",
            "accepted: TCP",
        ),
        (service("traffic: [{percent: 90, latestRevision: true}]"), "spec.traffic", "sum to 90, want 100"),
        (service("traffic: [{percent: 101}]"), "spec.traffic[0].percent", "0 <= 101 <= 100"),
        (
            service("traffic: [{percent: 100, revisionName: hello-00001}]"),
            "spec.traffic[0].revisionName",
            "files have one revision",
        ),
        (
            service("traffic: [{percent: 100, revisionName: hello-1, latestRevision: true}]"),
            "spec.traffic[0].latestRevision",
            "beside revisionName",
        ),
        (
            service("traffic: [{percent: 100, latestRevision: false}]"),
            "spec.traffic[0].revisionName",
            "missing field",
        ),
        (
            service("traffic: [{percent: 100, configurationName: hello}]"),
            "spec.traffic[0].configurationName",
            "accepted: latestRevision",
        ),
        (
            service("traffic: [{percent: 50, tag: a}, {percent: 50, tag: a}]"),
            "spec.traffic[1].tag",
            "multiple definitions for 'a'",
        ),
        (service("traffic: [{percent: 100, tag: A}]"), "spec.traffic[0].tag", "invalid value 'A'"),
        (service("pinned: {revisionName: x}"), "spec.pinned", "files have one revision; accepted: runLatest"),
    ],
)
def test_what_is_refused_and_where(manifest: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ObjectError, match=words) as caught:
        decoded(manifest)
    assert show_path(caught.value.path, "") == path


@pytest.mark.parametrize(
    ("annotations", "path", "words"),
    [
        (
            {"min-scale": "-1"},
            'spec.template.metadata.annotations["autoscaling.knative.dev/min-scale"]',
            "a number from 0",
        ),
        (
            {"maxScale": "x"},
            'spec.template.metadata.annotations["autoscaling.knative.dev/maxScale"]',
            "a number from 0",
        ),
        (
            {"min-scale": "3", "max-scale": "2"},
            "spec.template.metadata.annotations",
            "max-scale 2 is less than min-scale 3",
        ),
    ],
)
def test_scales_that_cannot_be(annotations: dict[str, str], path: str, words: str) -> None:
    manifest = service()
    manifest["spec"]["template"]["metadata"] = {
        "annotations": {f"autoscaling.knative.dev/{key}": value for key, value in annotations.items()}
    }
    with pytest.raises(ObjectError, match=words) as caught:
        decoded(manifest)
    assert show_path(caught.value.path, "") == path


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (
            {"apiVersion": "apps/v1", "kind": "Deployment"},
            "kind Deployment of apps/v1 is not served from files; accepted: ",
        ),
        ({"apiVersion": "v1", "kind": "Service"}, "kind Service of v1 is not served"),
        ({"kind": "Service"}, "kind Service of no apiVersion"),
        ({"apiVersion": "v1"}, "expected a manifest with kind"),
        ([], "expected a manifest with kind"),
    ],
)
def test_other_kinds_are_refused_in_words(manifest: Any, words: str) -> None:
    with pytest.raises(ObjectError, match=words):
        decoded(manifest)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=6), children, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


WHOLE = service(
    "traffic: [{percent: 100, tag: a, latestRevision: true}]",
    template="{containerConcurrency: 3, timeoutSeconds: 9}",
    metadata="{namespace: n, labels: {a: b}}",
    container="{env: [{name: A, value: b}], ports: [{containerPort: 80}], readinessProbe: {httpGet: {}}}",
)


@given(st.sampled_from(places(WHOLE)[1:]), ANYTHING)
def test_whatever_stands_in_a_field_is_taken_or_refused_in_words(place: tuple[Any, ...], value: Any) -> None:
    def changed(data: Any, path: tuple[Any, ...]) -> Any:
        if not path:
            return value
        copy = data.copy()
        copy[path[0]] = changed(data[path[0]], path[1:])
        return copy

    try:
        backend, route = decoded(changed(WHOLE, place))
    except ObjectError as error:
        message = error.message
    else:
        assert backend.name == route.name
        return
    assert message
