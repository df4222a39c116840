"""What Knative's webhook fills in and refuses, with the same paths; and what could not be served."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_file import ObjectError, show_path
from daemun_knative.kingress.defaults import validate, with_defaults
from daemun_knative.kingress.hash import token_of
from daemun_knative.kingress.translate import Doors, certificates, hosts_of, references, routes
from daemun_knative.kingress.types import KINGRESS, KIngress

from .kingresses import path, rule, split, written

PATH = "spec.rules[0].http.paths[0]"


def refusal(one: KIngress) -> tuple[str, str]:
    with pytest.raises(ObjectError) as raised:
        validate(one)
    return show_path(raised.value.path, ""), raised.value.message


def test_visibility_and_a_lone_share_are_filled_in() -> None:
    one = with_defaults(
        written(rule(path(split()), path(split("a", 100), split("b"))), rule(visibility="ClusterLocal"))
    )
    assert [rule.visibility for rule in one.spec.rules] == ["ExternalIP", "ClusterLocal"]
    assert [[split.percent for split in path.splits] for rule in one.spec.rules for path in rule.paths] == [
        [100],
        [100, 0],
        [100],
    ]


def test_an_absent_http_option_stays_absent_since_knative_leaves_it_too() -> None:
    assert with_defaults(written(rule())).spec.http_option == ""


def test_what_needs_no_default_is_the_same_object() -> None:
    one = with_defaults(written(rule(), httpOption="Enabled"))
    assert with_defaults(one) is one


@pytest.mark.parametrize(
    "one",
    [
        written(rule()),
        written(rule(path(split("a", 90), split("b", 10)), visibility="ClusterLocal"), httpOption="Redirected"),
        written(rule(hosts=())),
        written(rule(path(split(servicePort="http2"), path="/.well-known/acme-challenge/x", rewriteHost="a.b.svc:80"))),
        written(rule(path(headers={"Knative-Serving-Tag": {"exact": ""}}, appendHeaders={"K-Original-Host": "é <x>"}))),
        written(rule(hosts=("A_b.example.com.", "127.0.0.1")), name="hello.example.com"),
        written(
            rule(), tls=[{"hosts": ["*.example.com", "a.b"], "secretName": "route-1.2", "secretNamespace": "other"}]
        ),
        written(rule(), tls=[{"secretName": "s", "secretNamespace": "default"}], httpOption="Enabled"),
    ],
)
def test_what_is_valid(one: KIngress) -> None:
    validate(one)
    validate(with_defaults(one))


@pytest.mark.parametrize(
    ("one", "where", "words"),
    [
        (written(), "spec", "missing field"),
        (written(httpOption="Enabled"), "spec.rules", "missing field"),
        (written({"hosts": ["a.b"]}), "spec.rules[0].http", "missing field"),
        (written({"http": {"paths": []}}), "spec.rules[0].http.paths", "missing field"),
        (written({"http": {"paths": [{"path": "/x", "splits": []}]}}), f"{PATH}.splits", "missing field"),
        (written(rule(), rule(hosts=("a.b", "c:80"))), "spec.rules[1].hosts[1]", "invalid value 'c:80'; accepted: a host name without port and *"),
        (written(rule(hosts=("*.b",))), "spec.rules[0].hosts[0]", "invalid value '*.b'; accepted: a host name without port and *"),
        (written(rule(hosts=("",))), "spec.rules[0].hosts[0]", "invalid value ''; accepted: a host name without port and *"),
        (written(rule(visibility="clusterlocal")), "spec.rules[0].visibility", "invalid value 'clusterlocal'; accepted: ExternalIP, ClusterLocal"),
        (written(rule(), httpOption="enabled"), "spec.httpOption", "invalid value 'enabled'; accepted: Enabled, Redirected"),
        (written(rule(path(path="foo"))), f"{PATH}.path", "invalid value 'foo'; accepted: nothing, or / and what follows, without spaces"),
        (written(rule(path(path="/a\r\nb"))), f"{PATH}.path", "invalid value '/a\\r\\nb'; accepted: nothing, or / and what follows, without spaces"),
        (written(rule(path(rewriteHost="a b"))), f"{PATH}.rewriteHost", "invalid value 'a b'; accepted: host, host:port"),
        (written(rule(path(split("a", 50), split("b", 49)))), f"{PATH}.splits", "traffic split percentage must total to 100, but was 99"),
        (written(rule(path(split("a"), split("b")))), f"{PATH}.splits", "traffic split percentage must total to 100, but was 0"),
        (written(rule(path(split("a", 40)))), f"{PATH}.splits", "traffic split percentage must total to 100, but was 40"),
        (written(rule(path(split("a", 200), split("b", -100)))), f"{PATH}.splits[0].percent", "invalid value 200; accepted: 0 to 100"),
        (written(rule(path(split(serviceNamespace="")))), f"{PATH}.splits[0].serviceNamespace", "missing field"),
        (written(rule(path(split(serviceNamespace="other")))), f"{PATH}.splits[0].serviceNamespace", "service namespace must match ingress namespace; accepted: 'default'"),
        (written(rule(path(split("")))), f"{PATH}.splits[0].serviceName", "missing field"),
        (written(rule(path(split("a/b")))), f"{PATH}.splits[0].serviceName", "invalid value 'a/b'; accepted: a name of lower-case letters, digits, - and ."),
        (written(rule(path(split(servicePort=0)))), f"{PATH}.splits[0].servicePort", "missing field"),
        (written(rule(path(split(servicePort="")))), f"{PATH}.splits[0].servicePort", "missing field"),
        (written(rule(path(split(servicePort=65536)))), f"{PATH}.splits[0].servicePort", "invalid value 65536; accepted: 1 to 65535, or the name of a port"),
        (written(rule(path(split(servicePort="a b")))), f"{PATH}.splits[0].servicePort", "invalid value 'a b'; accepted: 1 to 65535, or the name of a port"),
        (written(rule(), tls=[{}]), "spec.tls[0].secretName", "missing field"),
        (written(rule(), tls=[{"secretName": "s"}]), "spec.tls[0].secretNamespace", "missing field"),
        (written(rule(), tls=[{"secretName": "s", "secretNamespace": "../x"}]), "spec.tls[0].secretNamespace", "invalid value '../x'; accepted: a name of lower-case letters, digits, - and ."),
        (written(rule(), tls=[{"hosts": ["a.*"], "secretName": "s", "secretNamespace": "n"}]), "spec.tls[0].hosts[0]", "invalid value 'a.*'; accepted: a host name without port and * but before the first dot"),
        (written(rule(), name=""), "metadata.name", "missing field"),
        (written(rule(), namespace="a/b"), "metadata.namespace", "invalid value 'a/b'; accepted: a name of lower-case letters, digits, - and ."),
    ],
)  # fmt: skip
def test_what_is_refused(one: KIngress, where: str, words: str) -> None:
    assert refusal(one) == (where, words)


@pytest.mark.parametrize("place", ["path", "split"])
@pytest.mark.parametrize(
    ("name", "value", "where", "words"),
    [
        ("X", "a\r\nHost: evil", ".X", "the value holds what a header cannot carry; accepted: text without control characters"),
        ("X", "a\nb", ".X", "the value holds what a header cannot carry; accepted: text without control characters"),
        ("X", "a\0", ".X", "the value holds what a header cannot carry; accepted: text without control characters"),
        ("X", "a\x7f", ".X", "the value holds what a header cannot carry; accepted: text without control characters"),
        ("X: y\r\nZ", "a", "", "'X: y\\r\\nZ' is no name of a header; accepted: letters, digits and -"),
        ("", "a", "", "'' is no name of a header; accepted: letters, digits and -"),
        ("Host", "evil", ".Host", "the header belongs to the gateway's connections and cannot be set"),
        ("content-length", "0", '["content-length"]', "the header belongs to the gateway's connections and cannot be set"),
        ("Transfer-Encoding", "chunked", '["Transfer-Encoding"]', "the header belongs to the gateway's connections and cannot be set"),
    ],
)  # fmt: skip
def test_headers_that_would_break_a_message(place: str, name: str, value: str, where: str, words: str) -> None:
    fields: dict[str, Any] = {"appendHeaders": {"Good": "1", name: value}}
    one = path(**fields) if place == "path" else path(split(**fields))
    at = PATH if place == "path" else f"{PATH}.splits[0]"
    assert refusal(written(rule(one))) == (f"{at}.appendHeaders{where}", words)


def test_matches_of_headers_are_looked_at_too() -> None:
    assert refusal(written(rule(path(headers={"a b": {"exact": "x"}}))))[0] == f"{PATH}.headers"
    assert refusal(written(rule(path(headers={"A": {"exact": "\n"}}))))[0] == f"{PATH}.headers.A"


def test_a_long_value_is_not_repeated_in_full() -> None:
    assert len(refusal(written(rule(hosts=("a" * 5000,))))[1]) < 200


# --- rubbish ---

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.text(max_size=8),
    st.sampled_from(["ExternalIP", "default", "/", "a.b", "\r\n"]),
)
keys = st.sampled_from(
    [
        "tls",
        "rules",
        "httpOption",
        "hosts",
        "visibility",
        "http",
        "paths",
        "path",
        "splits",
        "headers",
        "appendHeaders",
        "exact",
        "serviceName",
        "serviceNamespace",
        "servicePort",
        "percent",
        "secretName",
    ]
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=20,
)
texts = st.one_of(
    st.text(max_size=6), st.sampled_from(["default", "a", "a.test", "/x", "ExternalIP", "X-Y", "a\r\nb", "\0"])
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


splits = some(
    serviceNamespace=st.sampled_from(["default", "x", ""]),
    serviceName=texts,
    servicePort=st.one_of(st.integers(-1, 70000), texts),
    percent=st.sampled_from([0, 50, 100, -1]),
    appendHeaders=st.dictionaries(texts, texts, max_size=2),
)
paths = some(
    path=texts,
    rewriteHost=texts,
    headers=st.dictionaries(texts, some(exact=texts), max_size=2),
    splits=st.lists(splits, max_size=2),
    appendHeaders=st.dictionaries(texts, texts, max_size=2),
)
rules = some(hosts=st.lists(texts, max_size=2), visibility=texts, http=some(paths=st.lists(paths, max_size=2)))
typed = some(
    rules=st.lists(rules, max_size=2),
    tls=st.lists(some(hosts=st.lists(texts), secretName=texts, secretNamespace=texts), max_size=2),
    httpOption=texts,
)


def everything(one: KIngress) -> None:
    one = with_defaults(one)
    try:
        validate(one)
    except ObjectError as error:
        assert error.message
    doors = Doors(external_http=("http",), external_https=("https",), internal_http=("local",))
    references(one), hosts_of(one), certificates(one, lambda namespace, name: ("c", "k"), doors)
    token = token_of(one)
    for route in routes(
        one, token, doors, lambda namespace, name, port: f"{namespace}/{name}:{port}", lambda host: True
    ):
        assert route.listeners
        assert route.hosts


@given(values)
def test_rubbish_is_refused_where_it_is_read_or_with_a_path(spec: Any) -> None:
    data = json.dumps({"metadata": {"name": "n", "namespace": "default"}, "spec": spec}).encode()
    try:
        one = KINGRESS.decode(data)
    except msgspec.DecodeError as error:
        assert str(error)
    else:
        everything(one)


@given(typed)
def test_rubbish_of_the_right_types_falls_over_nothing(spec: Any) -> None:
    everything(KINGRESS.decode(json.dumps({"metadata": {"name": "n", "namespace": "default"}, "spec": spec}).encode()))
