"""KIngress and the ClusterIngress of 2019, out of files."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemun import BackendSpec, EndpointSpec, Forward, Redirect, RouteSpec
from daemun_file import ObjectError, show_path
from daemun_knative.kingress.files import (
    EVERYWHERE,
    Surroundings,
    Written,
    decode_cluster_ingress,
    decode_ingress,
    specs_of,
)
from daemun_knative.kingress.hash import token_of
from daemun_knative.kingress.translate import Doors

OLD = """
apiVersion: networking.internal.knative.dev/v1alpha1
kind: ClusterIngress
metadata:
  name: route-1a2b
  creationTimestamp: 2019-03-01T10:00:00Z
  annotations: {networking.knative.dev/ingress.class: gloo.ingress.networking.knative.dev}
spec:
  generation: 1
  visibility: ExternalIP
  rules:
  - hosts: [helloworld-go.default.example.com, helloworld-go.default.svc.cluster.local]
    http:
      paths:
      - appendHeaders: {Knative-Serving-Revision: helloworld-go-00001, Knative-Serving-Namespace: default}
        retries: {attempts: 3, perTryTimeout: 10m0s}
        timeout: 10m0s
        splits:
        - {serviceNamespace: default, serviceName: activator-service, servicePort: 80, percent: 100}
"""
NEW = """
apiVersion: networking.internal.knative.dev/v1alpha1
kind: Ingress
metadata: {name: hello, uid: 6f, managedFields: [{manager: x}]}
spec:
  rules:
  - hosts: [hello.example.com]
    http:
      paths:
      - {path: /b, splits: [{serviceNamespace: default, serviceName: b, servicePort: http2}]}
      - splits:
        - {serviceNamespace: default, serviceName: a, servicePort: 80, percent: 90}
        - {serviceNamespace: default, serviceName: b, servicePort: http2, percent: 10}
"""
DOORS = Doors(external_http=("http",), external_https=("https",), internal_http=("local",))
SERVICES = {
    "default/a": "http://127.0.0.1:9001",
    "default/b:http2": "h2c://127.0.0.1:9002",
    "default/activator-service": "http://127.0.0.1:9003",
}


def old(**changes: Any) -> dict[str, Any]:
    """The old document, with other values at paths such as `spec.rules.0.http`."""
    return changed(yaml.safe_load(OLD), changes)


def new(**changes: Any) -> dict[str, Any]:
    return changed(yaml.safe_load(NEW), changes)


def changed(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for place, value in changes.items():
        *way, last = [int(key) if key.isdigit() else key for key in place.split("__")]
        inner: Any = data
        for key in way:
            inner = inner[key]
        inner[last] = value
    return data


def specs(written: Written, **more: Any) -> tuple[tuple[BackendSpec, ...], tuple[RouteSpec, ...]]:
    return specs_of(written, Surroundings(**{"services": SERVICES, **more}), "routes.yaml#default/x")


def refusal(data: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(ObjectError) as raised:
        decode_cluster_ingress(data) if data["kind"] == "ClusterIngress" else decode_ingress(data, "default")
    return show_path(raised.value.path, ""), raised.value.message


def test_the_old_one_is_read_with_warnings() -> None:
    written = decode_cluster_ingress(old())
    ingress = written.ingress
    assert (ingress.metadata.namespace, ingress.metadata.name) == ("default", "route-1a2b")
    (rule,) = ingress.spec.rules
    assert (rule.visibility, rule.paths[0].append_headers["Knative-Serving-Revision"]) == (
        "ExternalIP",
        "helloworld-go-00001",
    )
    assert written.warnings == (
        "ClusterIngress is of 2019; write Ingress of the same apiVersion",
        "spec.rules[0].http.paths[0].retries is ignored: the gateway does not send a request again that was answered",
        "spec.rules[0].http.paths[0].timeout is ignored: the gateway sets no limit, who answers does",
    )


def test_the_old_visibility_is_that_of_all_rules() -> None:
    written = decode_cluster_ingress(old(spec__visibility="ClusterLocal"))
    _, (route,) = specs(written, doors=DOORS)
    assert route.listeners == ("local",)
    with pytest.raises(ObjectError, match="needs a listener that only insiders reach"):
        specs(written)


@pytest.mark.parametrize(
    ("pattern", "prefix", "warned"),
    [
        ("", "", False),
        (".*", "", False),
        ("/.*", "/", False),
        ("/a/.*", "/a/", False),
        ("/a", "/a", True),
        ("/.well-known/x", "/.well-known/x", True),
    ],
)
def test_the_old_paths_were_regular_expressions(pattern: str, prefix: str, warned: bool) -> None:
    written = decode_cluster_ingress(old(spec__rules__0__http__paths__0__path=pattern))
    assert written.ingress.spec.rules[0].paths[0].path == prefix
    words = f"spec.rules[0].http.paths[0].path is taken as a prefix: {prefix} and all that begins with it"
    assert (words in written.warnings) == warned


@pytest.mark.parametrize("pattern", ["/a|/b", "/[ab]", "/a+", "(/a)?", "/a.*b", "a"])
def test_a_path_that_no_prefix_can_say_is_refused(pattern: str) -> None:
    assert refusal(old(spec__rules__0__http__paths__0__path=pattern)) == (
        "spec.rules[0].http.paths[0].path",
        f"{pattern!r} is a regular expression; accepted: a plain prefix that begins with /, with or without .*",
    )


def test_the_new_one_is_in_the_namespace_that_files_have() -> None:
    written = decode_ingress(new(), "default")
    assert written.ingress.metadata.namespace == "default"
    assert written.warnings == ()
    assert decode_ingress(new(metadata__namespace="default"), "other").ingress == written.ingress


def test_what_is_not_known_is_told() -> None:
    written = decode_ingress(
        new(
            spec__rules__0__http__paths__0__timeout="1s",
            spec__rules__0__http__paths__0__headers={"Tag": {"exact": "x", "prefix": "y"}},
            spec__visibility="ClusterLocal",
            spec__tls=[{"secretName": "s", "secretNamespace": "default"}],
        ),
        "default",
    )
    assert sorted(written.warnings) == [
        "spec.rules[0].http.paths[0].headers.Tag.prefix is not known and ignored",
        "spec.rules[0].http.paths[0].timeout is not known and ignored",
        "spec.tls is ignored: files have no Secret; certificates are said in the settings of a listener",
        "spec.visibility is not known and ignored",
    ]


@pytest.mark.parametrize(
    ("data", "where", "words"),
    [
        (old(spec__visibility="Inside"), "spec.rules[0].visibility", "invalid value 'Inside'; accepted: ExternalIP, ClusterLocal"),
        (old(spec__visibility=3), "spec.visibility", "expected a string"),
        (old(spec__rules__0__hosts="a.b"), "spec.rules[0].hosts", "expected a list, got a string"),
        (old(metadata__name=""), "metadata.name", "missing field"),
        (old(metadata=[]), "metadata", "expected a mapping"),
        (old(spec=3), "spec", "expected a mapping, got an integer"),
        (old(spec__rules__0__http__paths__0__splits__0__percent=99), "spec.rules[0].http.paths[0].splits", "traffic split percentage must total to 100, but was 99"),
        (new(spec__rules=[]), "spec", "missing field"),
        (new(spec__rules__0__http__paths__0__splits__0__serviceNamespace="x"), "spec.rules[0].http.paths[0].splits[0].serviceNamespace", "service namespace must match ingress namespace; accepted: 'default'"),
        (new(metadata__name={}), "metadata.name", "expected a string, got a mapping"),
    ],
)  # fmt: skip
def test_what_is_refused(data: dict[str, Any], where: str, words: str) -> None:
    assert refusal(data) == (where, words)


def test_an_old_one_over_two_namespaces_is_refused() -> None:
    data = old()
    other = {"serviceNamespace": "other", "serviceName": "a", "servicePort": 80}
    data["spec"]["rules"][0]["http"]["paths"][0]["splits"].append(other)
    assert refusal(data) == (
        "spec.rules[0].http.paths[0].splits[1].serviceNamespace",
        "'other' is not 'default'; accepted: one namespace for all Services",
    )


def test_services_are_addresses_of_a_table() -> None:
    backends, _ = specs(decode_ingress(new(), "default"), backend_settings={"response_timeout_seconds": 9})
    assert backends == (
        BackendSpec(
            "default/b:http2",
            settings={"response_timeout_seconds": 9},
            endpoints=(EndpointSpec("127.0.0.1:9002", "http2"),),
        ),
        BackendSpec(
            "default/a:80",
            settings={"response_timeout_seconds": 9},
            endpoints=(EndpointSpec("127.0.0.1:9001", "http1"),),
        ),
    )


def test_a_service_that_the_table_does_not_have_or_cannot_reach() -> None:
    written = decode_ingress(new(), "default")
    with pytest.raises(
        ObjectError, match=r"Service default/b has no entry in 'services' of the source; accepted: default/a$"
    ):
        specs(written, services={"default/a": "http://a"})
    with pytest.raises(ObjectError, match="accepted: nothing, the table is empty"):
        specs(written, services={})
    with pytest.raises(
        ObjectError, match="'services' of the source: 'ftp://a' is not accepted; accepted: http://host:port"
    ):
        specs(written, services={"default/b": "ftp://a", "default/a": "http://a"})


def test_routes_are_on_all_listeners_unless_some_are_named() -> None:
    written = decode_ingress(new(), "default")
    _, everywhere = specs(written)
    assert [(route.name, route.listeners, route.path.value) for route in everywhere] == [
        ("default/hello:0.0", (), "/b"),
        ("default/hello:0.1", (), "/"),
    ]
    assert {route.origin for route in everywhere} == {"routes.yaml#default/x"}
    assert {route.filters[0].settings["hash"] for route in everywhere} == {token_of(written.ingress)}
    _, named = specs(written, doors=DOORS)
    assert {route.listeners for route in named} == {("http", "https", "local")}


def test_what_is_everywhere_for_the_public_is_not_for_insiders() -> None:
    data = new(spec__rules__0__visibility="ClusterLocal")
    _, found = specs(decode_ingress(data, "default"), doors=Doors(external_http=EVERYWHERE, internal_http=("local",)))
    assert {route.listeners for route in found} == {("local",)}


def test_a_redirect_needs_to_know_where_https_is() -> None:
    written = decode_ingress(new(spec__httpOption="Redirected"), "default")
    for doors in (Doors(external_http=EVERYWHERE, external_https=("https",)), Doors(external_http=("http",))):
        with pytest.raises(ObjectError, match="needs to know which listeners speak https"):
            specs(written, doors=doors)
    _, found = specs(written, doors=DOORS)
    assert [(type(route.action), route.listeners) for route in found] == [
        (Redirect, ("http",)),
        (Forward, ("https", "local")),
    ] * 2


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(max_size=5),
        st.sampled_from(["default", "/a.*", "ClusterLocal"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.integers(),
                st.sampled_from(
                    [
                        "rules",
                        "hosts",
                        "http",
                        "paths",
                        "path",
                        "splits",
                        "headers",
                        "x",
                        "tls",
                        "timeout",
                        "visibility",
                    ]
                ),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=15,
)


@given(values, values)
def test_rubbish_is_refused_with_a_path(metadata: Any, spec: Any) -> None:
    for data in ({"metadata": metadata, "spec": spec}, {"metadata": {"name": "n"}, "spec": spec}):
        for decode in (decode_cluster_ingress, lambda data: decode_ingress(data, "default")):
            try:
                written = decode(data)
                specs(written, doors=DOORS)
            except ObjectError as error:
                assert error.message
