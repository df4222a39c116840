"""Objects as structs: what the API writes is read, and what is written is what was read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_kubernetes import Kind
from daemun_kubernetes.client import kinds
from daemun_kubernetes.client.kinds import ENDPOINT_SLICE, INGRESS, POD, SERVICE

ALL: list[Kind[Any]] = [value for value in vars(kinds).values() if isinstance(value, Kind)]

INGRESS_MANIFEST: dict[str, Any] = {
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "u",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionTimestamp": "2026-01-02T00:00:00Z",
        "labels": {"a": "b"},
        "annotations": {"c": "d"},
        "finalizers": ["f"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "y", "controller": True}],
    },
    "spec": {
        "ingressClassName": "daemun",
        "defaultBackend": {"service": {"name": "a", "port": {"number": 80}}},
        "tls": [{"hosts": ["a.test"], "secretName": "s"}],
        "rules": [
            {
                "host": "*.a.test",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "b", "port": {"name": "web"}}},
                        },
                        {
                            "pathType": "Exact",
                            "backend": {"resource": {"apiGroup": "g", "kind": "Bucket", "name": "c"}},
                        },
                    ]
                },
            },
            {"host": "b.test"},
        ],
    },
    "status": {
        "loadBalancer": {
            "ingress": [{"ip": "10.0.0.1", "ipMode": "VIP", "ports": [{"port": 80, "error": "E"}]}, {"hostname": "lb"}]
        }
    },
}


def test_an_ingress_is_read_and_written_in_full() -> None:
    ingress = INGRESS.decode(msgspec.json.encode(INGRESS_MANIFEST))
    assert msgspec.json.decode(msgspec.json.encode(ingress)) == INGRESS_MANIFEST
    assert ingress.spec.rules[1].http is None


def test_names_that_are_no_plain_camel_case() -> None:
    service = SERVICE.decode(
        b'{"metadata": {"name": "a"}, "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "externalIPs": ["1.1.1.1"],'
        b' "loadBalancerIP": "2.2.2.2", "ports": [{"port": 80, "targetPort": "web", "nodePort": 30000}]}}'
    )
    assert service.spec.cluster_ip == "10.0.0.1"
    assert service.spec.cluster_ips == ("10.0.0.1",)
    assert service.spec.external_ips == ("1.1.1.1",)
    assert service.spec.load_balancer_ip == "2.2.2.2"
    assert service.spec.ports[0].target_port == "web"
    pod = POD.decode(b'{"metadata": {"name": "a"}, "status": {"podIP": "1", "podIPs": [{"ip": "1"}], "hostIP": "2"}}')
    assert (pod.status.pod_ip, pod.status.pod_ips[0].ip, pod.status.host_ip) == ("1", "1", "2")


def test_conditions_that_are_not_there_are_unknown() -> None:
    slice_ = ENDPOINT_SLICE.decode(
        b'{"metadata": {"name": "a"}, "addressType": "IPv6", "endpoints": [{"addresses": ["::1"], "conditions":'
        b' {"ready": null, "serving": true}}], "ports": [{"port": 80}, {}]}'
    )
    (endpoint,) = slice_.endpoints
    assert (endpoint.conditions.ready, endpoint.conditions.serving, endpoint.conditions.terminating) == (
        None,
        True,
        None,
    )
    assert [port.port for port in slice_.ports] == [80, None]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.kind)
def test_every_kind_reads_an_object_with_nothing_but_a_name(kind: Kind[Any]) -> None:
    value = kind.decode(
        b'{"apiVersion": "x", "kind": "y", "metadata": {"name": "a", "managedFields": [{}]}, "unknown": 1}'
    )
    assert value.metadata.name == "a"
    assert msgspec.to_builtins(value) == {"metadata": {"name": "a"}}


def with_nulls(value: Any, chosen: Any) -> Any:
    """`value` with null for keys that are not there."""
    if isinstance(value, dict):
        there = {key: with_nulls(item, chosen) for key, item in value.items()}
        return {**dict.fromkeys(chosen - there.keys()), **there}
    if isinstance(value, list):
        return [with_nulls(item, chosen) for item in value]
    return value


NULLABLE = (
    *("labels", "annotations", "finalizers", "spec", "status", "rules", "http", "paths", "tls", "hosts", "service"),
    *("resource", "port", "name", "number", "ingress", "ports", "loadBalancer", "creationTimestamp", "generation"),
)


@given(chosen=st.sets(st.sampled_from(NULLABLE)))
def test_null_anywhere_is_what_is_not_there(chosen: set[str]) -> None:
    path: dict[str, Any] = {"backend": {"service": {"port": {}}}}
    small: dict[str, Any] = {"metadata": {"name": "a"}, "spec": {"rules": [{"http": {"paths": [path]}}]}}
    manifests: list[dict[str, Any]] = [small, INGRESS_MANIFEST, {"metadata": {}}]
    for manifest in manifests:
        with_some = msgspec.json.encode(with_nulls(manifest, chosen))
        assert INGRESS.decode(with_some) == INGRESS.decode(msgspec.json.encode(manifest))
