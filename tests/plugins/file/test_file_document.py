"""What a person writes, and the specs that it stands for; faults name their path and what would be
accepted."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemun import (
    BackendSpec,
    EndpointSpec,
    FilterSpec,
    Forward,
    HeaderEdit,
    HostKind,
    HostMatch,
    PathKind,
    PathMatch,
    Redirect,
    Respond,
    Retries,
    RouteSpec,
    Split,
    ValueKind,
    ValueMatch,
)
from daemun_file import Document, InlineSettings, ObjectError, RawObject, document_schema, show_path
from daemun_file.objects import decode_object


def route(text: str) -> RouteSpec:
    (spec,) = routes(text)
    return spec


def routes(text: str) -> tuple[RouteSpec, ...]:
    specs = decode_object(RawObject("route", "r", (), {"name": "r", **yaml.safe_load(text)}), "here")
    assert isinstance(specs, tuple)
    return specs


def backend(text: str) -> BackendSpec:
    spec = decode_object(RawObject("backend", "b", (), yaml.safe_load(text)), "here")
    assert isinstance(spec, BackendSpec)
    return spec


def attempt(kind: str, data: Any) -> RouteSpec | BackendSpec | ObjectError:
    """The first spec that `data` stands for, or why it is refused."""
    try:
        specs = decode_object(RawObject(kind, "r", (), data), "here")
    except ObjectError as error:
        return error
    return specs if isinstance(specs, BackendSpec) else specs[0]


def test_a_route_with_everything() -> None:
    spec = route(
        r"""
        hosts: [Hello.Example.COM., "[::1]"]
        listeners: [http]
        match:
          regex: "/u/\\d+"
          methods: [get, POST, GET]
          headers:
            X-A: "1"
            x-b: {prefix: p}
            x-c: {regex: "a|b"}
            x-d: {present: true}
            x-e: {present: false}
          query: {q: {exact: v}}
        to: hello
        rewrite: {host: "inner.example:8080", path: /fixed}
        request_headers: {set: {x-a: b}, add: {x-c: d}, remove: [cookie]}
        response_headers: {remove: [server]}
        timeout_seconds: 10
        retries: {attempts: 2, on_status: [503], per_try_timeout_seconds: 1}
        filters: [{type: x, settings: {y: 1}}]
        priority: 7
        """
    )
    assert spec == RouteSpec(
        name="r",
        action=Forward((Split("hello"),), Retries(2, (503,), 1.0)),
        hosts=(HostMatch(HostKind.EXACT, "hello.example.com"), HostMatch(HostKind.EXACT, "[::1]")),
        path=PathMatch(PathKind.REGEX, r"/u/\d+"),
        methods=("GET", "POST"),
        headers=(
            ValueMatch("x-a", ValueKind.EXACT, "1"),
            ValueMatch("x-b", ValueKind.PREFIX, "p"),
            ValueMatch("x-c", ValueKind.REGEX, "a|b"),
            ValueMatch("x-d", ValueKind.PRESENT),
            ValueMatch("x-e", ValueKind.ABSENT),
        ),
        query=(ValueMatch("q", ValueKind.EXACT, "v"),),
        listeners=("http",),
        priority=7,
        rewrite_host="inner.example:8080",
        rewrite_path="/fixed",
        request_headers=HeaderEdit({"x-a": "b"}, {"x-c": "d"}, ("cookie",)),
        response_headers=HeaderEdit(remove=("server",)),
        timeout_seconds=10.0,
        filters=(FilterSpec("x", {"y": 1}),),
        origin="here",
    )


def test_a_route_with_nothing_but_a_back_end_takes_everything() -> None:
    assert route("to: b") == RouteSpec("r", Forward((Split("b"),)), origin="here")


POST_OF_GRPC: dict[str, Any] = {
    "methods": ("POST",),
    "headers": (ValueMatch("content-type", ValueKind.REGEX, "application/grpc([+;].*)?"),),
}


@pytest.mark.parametrize(
    ("calls", "path"),
    [
        ("{service: a.Svc, method: Do}", PathMatch(PathKind.EXACT, "/a.Svc/Do")),
        ("{service: a.Svc}", PathMatch(PathKind.SEGMENT_PREFIX, "/a.Svc")),
        ("{}", PathMatch()),
    ],
)
def test_calls_of_grpc_are_matched_by_name(calls: str, path: PathMatch) -> None:
    to_b = Forward((Split("b"),))
    assert route(f"{{match: {{grpc: {calls}}}, to: b}}") == RouteSpec(
        "r", to_b, path=path, origin="here", **POST_OF_GRPC
    )
    for bridge in ("grpc-web", "connect"):
        spec = route(f"{{match: {{grpc: {calls}}}, to: b, filters: [{{type: {bridge}}}]}}")
        assert spec == RouteSpec("r", to_b, path=path, filters=(FilterSpec(bridge),), origin="here")


def test_calls_of_grpc_are_matched_by_more_than_their_name() -> None:
    spec = route("{match: {grpc: {}, headers: {x-a: b}}, to: b}")
    assert spec.headers == (*POST_OF_GRPC["headers"], ValueMatch("x-a", ValueKind.EXACT, "b"))


def test_splits_carry_weights_and_headers() -> None:
    spec = route("split: [{backend: a, weight: 90}, {backend: b, request_headers: {set: {x-v: '2'}}}]")
    assert spec.action == Forward((Split("a", 90), Split("b", 1, HeaderEdit({"x-v": "2"}))))


def test_redirects_and_fixed_responses() -> None:
    assert route("redirect: {scheme: https, status: 308}").action == Redirect("https", status=308)
    spec = route("{match: {prefix: /old}, redirect: {host: New.example, port: 8443, prefix: /new, strip_query: true}}")
    assert spec.action == Redirect(host="new.example", port=8443, prefix="/new", strip_query=True)
    assert route("respond: {status: 410, body: Größe, headers: {x-a: b}}").action == Respond(
        410, "Größe".encode(), (("x-a", "b"),)
    )


def test_a_prefix_can_be_taken_away() -> None:
    assert route("{match: {prefix: /api}, to: b, rewrite: {prefix: /}}").rewrite_prefix == "/"


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:9000", EndpointSpec("127.0.0.1:9000")),
        ("http://Hello.example/", EndpointSpec("hello.example:80")),
        ("https://hello.example", EndpointSpec("hello.example:443", tls=True)),
        ("h2c://hello.example:50051", EndpointSpec("hello.example:50051", "http2")),
        ("http://[::1]:8080", EndpointSpec("[::1]:8080")),
        ("unix:/run/app.sock", EndpointSpec("unix:/run/app.sock")),
        ("unix:///run/app.sock", EndpointSpec("unix:/run/app.sock")),
    ],
)
def test_endpoints_are_urls(url: str, endpoint: EndpointSpec) -> None:
    assert backend(f"endpoints: ['{url}']").endpoints == (endpoint,)


def test_a_back_end_of_endpoints() -> None:
    assert backend(
        """
        endpoints:
          - {url: "https://10.0.0.1:8443", weight: 3, capacity: 10, server_name: app.example, protocol: http2}
        balancer: {type: consistent_hash, by: header, name: x-user}
        settings: {connect_timeout_seconds: 2}
        """
    ) == BackendSpec(
        "b",
        settings={
            "connect_timeout_seconds": 2,
            "balancer": {"type": "consistent_hash", "by": "header", "name": "x-user"},
        },
        endpoints=(EndpointSpec("10.0.0.1:8443", "http2", True, "app.example", 3, 10),),
        origin="here",
    )


def test_a_back_end_that_is_started_and_one_of_another_type() -> None:
    assert backend("{activator: process, activation: {command: [python, app.py]}}") == BackendSpec(
        "b", activator="process", activation={"command": ["python", "app.py"]}, origin="here"
    )
    assert backend("{type: static, settings: {root: ./public}}") == BackendSpec(
        "b", "static", {"root": "./public"}, origin="here"
    )


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (
            "{match: {pth: /a}, to: b}",
            "$.match",
            "unknown key 'pth'; accepted: path, prefix, .*; did you mean 'path'",
        ),
        ("{match: {grpc: {method: Do}}, to: b}", "$.match.grpc.method", "no 'service' that has it"),
        ("{match: {grpc: {service: /a.Svc}}, to: b}", "$.match.grpc.service", "expected"),
        ("{match: {grpc: {}, prefix: /a}, to: b}", "$.match", "has prefix and grpc; accepted: one of path, .*, grpc"),
        ("{match: {grpc: {}, methods: [GET]}, to: b}", "$.match.methods", "accepted: no methods beside 'grpc'"),
        ("{host: [a], to: b}", "$", "unknown key 'host'; accepted: name, hosts, .*; did you mean 'hosts'"),
        ("{}", "$", "the route does nothing; accepted: exactly one of to, split, redirect, respond"),
        ("{to: a, respond: {}}", "$", "the route has to and respond; accepted: exactly one of"),
        ("{to: 1}", "$.to", "expected a string or null, got an integer; put it in quotes"),
        ("{to: b, hosts: a.example}", "$.hosts", "expected a list, got a string"),
        (
            "{to: b, hosts: [ok.example, bücher.example]}",
            "$.hosts[1]",
            r"not ASCII.*\(xn--bcher-kva.example\)",
        ),
        ("{to: b, hosts: ['a.example:80']}", "$.hosts[0]", "ports are not compared"),
        ("{to: b, hosts: ['a.*']}", "$.hosts[0]", r"accepted: host, \*.host, \*\*.host, \*"),
        ("{to: b, hosts: ['a b']}", "$.hosts[0]", "no host name"),
        ("{to: b, hosts: ['']}", "$.hosts[0]", "no host name"),
        ("{to: b, hosts: ['[::x]']}", "$.hosts[0]", "no IPv6 address"),
        (
            "{to: b, match: {path: /a, regex: b}}",
            "$.match",
            "has path and regex; accepted: one of path, prefix,",
        ),
        ("{to: b, match: {path: a}}", "$.match.path", "does not begin with /"),
        ("{to: b, match: {prefix: '/a?b'}}", "$.match.prefix", "no \\? or #"),
        ("{to: b, match: {prefix: /ä}}", "$.match.prefix", "other characters as %XX"),
        ("{to: b, match: {regex: '('}}", "$.match.regex", "no regular expression: "),
        ("{to: b, match: {methods: [GET, 'A B']}}", "$.match.methods[1]", "'A B' is no method"),
        ("{to: b, match: {headers: {x a: b}}}", '$.match.headers["x a"]', "no name of a header"),
        ("{to: b, match: {headers: {x-a: 1}}}", '$.match.headers["x-a"]', "expected a string or a mapping"),
        (
            "{to: b, match: {headers: {x-a: {}}}}",
            '$.match.headers["x-a"]',
            "has no key; accepted: one of exact",
        ),
        ("{to: b, match: {query: {q: {regex: '['}}}}", "$.match.query.q", "no regular expression"),
        ("{to: b, match: {query: {q: {exact: a, prefix: b}}}}", "$.match.query.q", "has exact and prefix"),
        ("{to: b, match: {query: {q: {prefx: b}}}}", "$.match.query.q", "did you mean 'prefix'"),
        ("{split: []}", "$.split", "expected a list of length >= 1"),
        ("{split: [{backend: a, weight: 0}]}", "$.split", "every weight is 0"),
        ("{split: [{weight: 1}]}", "$.split[0]", "key 'backend' is missing"),
        ("{to: b, retries: {attempts: 99}}", "$.retries.attempts", "expected an integer <= 10"),
        ("{to: b, retries: {on_status: [7]}}", "$.retries.on_status[0]", "accepted: 100 to 599"),
        ("{to: b, timeout_seconds: -1}", "$.timeout_seconds", "expected a number >= 0"),
        ("{to: b, rewrite: {path: /a, prefix: /b}}", "$.rewrite", "has path and prefix"),
        (
            "{to: b, match: {path: /a}, rewrite: {prefix: /b}}",
            "$.rewrite.prefix",
            "there is no prefix to replace",
        ),
        ("{to: b, rewrite: {host: 'a:x'}}", "$.rewrite.host", "accepted: host, host:port"),
        ("{to: b, request_headers: {set: {host: x}}}", "$.request_headers.set.host", "cannot be set"),
        (
            '{to: b, request_headers: {add: {x-a: "a\\x01"}}}',
            '$.request_headers.add["x-a"]',
            "printable ASCII",
        ),
        ("{to: b, response_headers: {remove: [te]}}", "$.response_headers.remove[0]", "cannot be set"),
        ('{respond: {headers: {x-a: "a\\r\\nb: c"}}}', '$.respond.headers["x-a"]', "printable ASCII"),
        ("{respond: {status: 204, body: x}}", "$.respond.body", "a response 204 has no body"),
        ("{respond: {status: 101}}", "$.respond.status", "expected an integer >= 200"),
        ("{respond: {}, rewrite: {path: /}}", "$.rewrite", "this route answers by itself"),
        ("{redirect: {path: /}, retries: {}}", "$.retries", "this route answers by itself"),
        ("{redirect: {}}", "$.redirect", "leads to the same place; accepted: scheme, host"),
        (
            "{redirect: {status: 300, path: /}}",
            "$.redirect.status",
            "300 is not known; accepted: 301, 302, 303,",
        ),
        ("{redirect: {scheme: ftp}}", "$.redirect.scheme", "'ftp' is not known; accepted: http, https"),
        ("{redirect: {path: /, prefix: /}}", "$.redirect", "has path and prefix"),
        ("{to: b, filters: [{typ: x}]}", "$.filters[0]", "unknown key 'typ'"),
        ("{to: b, name: 'a#b'}", "$.name", "expected a string matching"),
    ],
)
def test_faults_of_routes(text: str, path: str, words: str) -> None:
    with pytest.raises(ObjectError, match=words) as caught:
        routes(text)
    assert show_path(caught.value.path) == path


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("{}", "$", "nothing answers here; accepted: endpoints, activator"),
        ("{endpoints: [127.0.0.1:9000]}", "$.endpoints[0]", "accepted: http://host:port"),
        ("{endpoints: ['ftp://a']}", "$.endpoints[0]", "accepted: http://host:port"),
        ("{endpoints: ['http://a/b']}", "$.endpoints[0]", "a path goes to 'rewrite'"),
        ("{endpoints: ['http://a:99999']}", "$.endpoints[0]", "no URL"),
        ("{endpoints: ['http://a:0']}", "$.endpoints[0]", "port 0"),
        ("{endpoints: ['http://']}", "$.endpoints[0]", "accepted: http://host:port"),
        ("{endpoints: ['unix:run/x']}", "$.endpoints[0]", "accepted: unix:/path"),
        ("{endpoints: [{url: 'http://a', wieght: 1}]}", "$.endpoints[0]", "did you mean 'weight'"),
        ("{endpoints: [{url: 'http://a', weight: -1}]}", "$.endpoints[0].weight", "expected an integer >= 0"),
        ("{activation: {}, endpoints: ['http://a'], activaton: {}}", "$", "did you mean 'activation'"),
        ("{activation: {a: 1}, endpoints: ['http://a']}", "$.activation", "there is no 'activator'"),
        ("{type: static, endpoints: ['http://a']}", "$.endpoints", "a back end of type 'static' has none"),
        (
            "{endpoints: ['http://a'], balancer: x, settings: {balancer: y}}",
            "$.settings.balancer",
            "there twice",
        ),
    ],
)
def test_faults_of_back_ends(text: str, path: str, words: str) -> None:
    with pytest.raises(ObjectError, match=words) as caught:
        backend(text)
    assert show_path(caught.value.path) == path


def test_a_password_in_a_url_is_refused_without_being_shown() -> None:
    with pytest.raises(ObjectError) as caught:
        backend("{endpoints: ['http://user:sesame@a']}")
    assert "sesame" not in str(caught.value)


def test_the_schema_is_json_and_says_what_the_structs_say() -> None:
    schema = json.loads(json.dumps(document_schema()))
    definitions = schema["$defs"]
    assert set(definitions["Document"]["properties"]) == {"$schema", "backends", "routes"}
    assert definitions["RouteDocument"]["additionalProperties"] is False
    assert definitions["RouteDocument"]["required"] == ["name"]
    inline = json.loads(json.dumps(msgspec.json.schema(InlineSettings)))["$defs"]["InlineSettings"]["properties"]
    assert inline["routes"]["items"]["properties"]["match"]["properties"].keys() >= {"path", "prefix"}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=6), children, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*msgspec.json.schema(Document)["$defs"]["RouteDocument"]["properties"], "other"])
MATCH = st.dictionaries(st.sampled_from(["path", "prefix", "raw_prefix", "regex", "methods", "headers"]), ANYTHING)


@given(st.dictionaries(KEYS, ANYTHING | MATCH, max_size=5), st.booleans())
def test_any_route_is_taken_or_refused_in_words(data: dict[str, Any], named: bool) -> None:
    result = attempt("route", {"to": "b", **data, "name": "r"} if named else data)
    if isinstance(result, ObjectError):
        assert result.message
        assert result.message[0].islower() or not result.message[0].isalpha()
    else:
        assert result.name == "r"


@given(st.text(max_size=30) | st.text("*.ab-_:[]0", max_size=10))
def test_any_host_is_taken_in_lower_case_or_refused(host: str) -> None:
    result = attempt("route", {"name": "r", "to": "b", "hosts": [host]})
    if isinstance(result, ObjectError):
        assert show_path(result.path) == "$.hosts[0]"
    else:
        assert isinstance(result, RouteSpec)
        value = result.hosts[0].value
        assert value == value.lower()
        assert value.isascii()
        assert not set(value) & set(" /?#@*")


@given(st.text(max_size=30) | st.text("htps2cunix:/.@[]0123456789#?", max_size=30))
def test_any_url_is_an_address_or_refused(url: str) -> None:
    result = attempt("backend", {"endpoints": [url]})
    if isinstance(result, ObjectError):
        assert show_path(result.path) == "$.endpoints[0]"
    else:
        assert isinstance(result, BackendSpec)
        address = result.endpoints[0].address
        assert address.startswith("unix:/") or address.rpartition(":")[2].isdigit()
