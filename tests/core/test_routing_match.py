"""Which route wins: the index and the words of `mismatch` follow the same rules."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemun import (
    Exchange,
    HostKind,
    HostMatch,
    PathKind,
    PathMatch,
    Peer,
    Request,
    Respond,
    RouteSpec,
    ValueKind,
    ValueMatch,
)
from daemun.message import EMPTY
from daemun.routing.index import Index
from daemun.routing.match import host_of, mismatch, path_prefix
from daemun.testing import make_request

labels = st.sampled_from(["a", "b", "a-b", "xn--a"])
domains = st.lists(labels, min_size=1, max_size=3).map(".".join)
addresses = st.sampled_from(["[::1]", "[::ffff:1.2.3.4]", "127.0.0.1"])

host_matches = st.one_of(
    st.just(HostMatch(HostKind.ANY)),
    st.builds(HostMatch, st.just(HostKind.EXACT), domains | addresses | st.just("")),
    st.builds(HostMatch, st.sampled_from([HostKind.ONE_LABEL, HostKind.ANY_DEPTH]), domains),
)
paths = st.lists(st.sampled_from(["a", "ab", "", "%41", "é".encode().decode("latin-1")]), max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
ascii_paths = st.lists(st.sampled_from(["a", "ab", "", "%41"]), max_size=3).map(lambda parts: "/" + "/".join(parts))
path_matches = st.one_of(
    st.builds(
        PathMatch,
        st.sampled_from([PathKind.EXACT, PathKind.RAW_PREFIX, PathKind.SEGMENT_PREFIX]),
        ascii_paths,
    ),
    st.builds(
        PathMatch,
        st.just(PathKind.REGEX),
        st.sampled_from(
            ["/a.*", "/(a|ab)", "/", "/[^/]*/a?", ".*", "", "/ab?", "/ab*", "/a+b", "/ab{0,2}", "/a|/ab", "(?i)/A", "{"]
        ),
    ),
)
values = st.sampled_from(["", "a", "ab", "b"])
value_matches = st.builds(
    ValueMatch,
    st.sampled_from(["x", "X-Y", "q"]),
    st.sampled_from(ValueKind),
    st.sampled_from(["", "a", "ab", "a?b"]),
)
plain_routes = st.builds(
    RouteSpec,
    name=st.just("r"),
    action=st.just(Respond()),
    hosts=st.lists(host_matches, max_size=1).map(lambda some: (*some, HostMatch(HostKind.ANY))),
    path=path_matches,
)
picky_routes = st.builds(
    RouteSpec,
    name=st.just("r"),
    action=st.just(Respond()),
    hosts=st.lists(host_matches, min_size=1, max_size=3).map(tuple),
    path=path_matches,
    methods=st.lists(st.sampled_from(["GET", "POST"]), max_size=2).map(tuple),
    headers=st.lists(value_matches, max_size=2).map(tuple),
    query=st.lists(value_matches, max_size=2).map(tuple),
    listeners=st.lists(st.sampled_from(["one", "two"]), max_size=1).map(tuple),
)
routes = plain_routes | picky_routes
hosts = st.one_of(domains, addresses, st.sampled_from(["", ".", ".a", "..a", "a..b", "b.a.", "[::1", "x.[::1]"]))
authorities = st.builds(lambda host, end: host + end, hosts, st.sampled_from(["", ".", ":80", ".:80", ":"]))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    query = draw(st.lists(st.tuples(st.sampled_from(["x", "X-Y", "q"]), values), max_size=2))
    target = draw(paths).encode("latin-1")
    if draw(st.booleans()):
        target += b"?" + "&".join(f"{name}={value}" for name, value in query).encode()
    headers = draw(st.lists(st.tuples(st.sampled_from([b"x", b"x-y", b"q"]), values.map(str.encode)), max_size=3))
    peer = Peer(listener=draw(st.sampled_from(["one", "two"])))
    method = draw(st.sampled_from([b"GET", b"POST"]))
    return Request(method, target, draw(authorities).encode(), tuple(headers), EMPTY, Exchange(peer))


def of_host(kind: HostKind, value: str) -> RouteSpec:
    return RouteSpec("r", Respond(), hosts=(HostMatch(kind, value),))


def of_path(kind: PathKind, value: str) -> RouteSpec:
    return RouteSpec("r", Respond(), path=PathMatch(kind, value))


def asking(authority: str, target: str = "/") -> Request:
    return Request(b"GET", target.encode(), authority.encode(), (), EMPTY, Exchange(Peer()))


@settings(max_examples=120)
@given(st.lists(routes, max_size=6), requests())
@example([of_host(HostKind.ANY_DEPTH, "a")], asking(".a"))
@example([of_host(HostKind.ANY_DEPTH, "a")], asking("..a"))
@example([of_host(HostKind.ONE_LABEL, "a.b")], asking(".a.b"))
@example([of_host(HostKind.EXACT, "[::1]")], asking("[::1]:8080"))
@example([of_path(PathKind.SEGMENT_PREFIX, "/"), of_path(PathKind.REGEX, ".*")], asking("a"))
@example([of_path(PathKind.REGEX, ".*"), of_path(PathKind.EXACT, "/")], asking("a"))
def test_the_first_route_that_does_not_mismatch_wins(specs: list[RouteSpec], request: Request) -> None:
    index = Index(list(zip(specs, range(len(specs)), strict=True)))
    expected = next((rank for rank, spec in enumerate(specs) if not mismatch(spec, request)), None)
    assert index.find(request) == expected


@settings(max_examples=120)
@given(st.lists(st.tuples(routes, st.booleans()), max_size=6), st.lists(routes, max_size=3), requests())
def test_a_draft_finds_what_an_index_made_anew_finds_and_leaves_its_origin_alone(
    before: list[tuple[RouteSpec, bool]], added: list[RouteSpec], request: Request
) -> None:
    origin = Index([(spec, rank) for rank, (spec, _) in enumerate(before)])
    found = origin.find(request)
    draft = origin.draft()
    for rank, (spec, stays) in enumerate(before):
        if not stays:
            draft.remove(spec, rank)
    staying = [(spec, rank) for rank, (spec, stays) in enumerate(before) if stays]
    for place, spec in enumerate(added):
        draft.add((-1, place), spec, 100 + place)
    anew = Index([*((spec, 100 + place) for place, spec in enumerate(added)), *staying])
    assert draft.find(request) == anew.find(request)
    assert origin.find(request) == found


@pytest.mark.parametrize(
    ("kind", "value", "authority", "matches"),
    [
        (HostKind.EXACT, "a.test", "a.test", True),
        (HostKind.EXACT, "a.test", "a.test:8080", True),
        (HostKind.EXACT, "a.test", "a.test.", True),
        (HostKind.EXACT, "a.test", "a.test.:443", True),
        (HostKind.EXACT, "a.test", "b.a.test", False),
        (HostKind.EXACT, "[::1]", "[::1]:8080", True),
        (HostKind.EXACT, "", "", True),
        (HostKind.ONE_LABEL, "a.test", "b.a.test", True),
        (HostKind.ONE_LABEL, "a.test", "c.b.a.test", False),
        (HostKind.ONE_LABEL, "a.test", "a.test", False),
        (HostKind.ONE_LABEL, "a.test", ".a.test", False),
        (HostKind.ANY_DEPTH, "a.test", "b.a.test:80", True),
        (HostKind.ANY_DEPTH, "a.test", "c.b.a.test.", True),
        (HostKind.ANY_DEPTH, "a.test", "a.test", False),
        (HostKind.ANY_DEPTH, "a.test", "ba.test", False),
        (HostKind.ANY_DEPTH, "a.test", ".a.test", False),
        (HostKind.ANY, "", "anything:1", True),
        (HostKind.ANY, "", "", True),
    ],
)
def test_hosts(kind: HostKind, value: str, authority: str, *, matches: bool) -> None:
    index = Index([(of_host(kind, value), True)])
    assert bool(index.find(asking(authority))) is matches
    assert (mismatch(of_host(kind, value), asking(authority)) == "") is matches


@pytest.mark.parametrize(
    ("kind", "value", "path", "matches"),
    [
        (PathKind.EXACT, "/a", "/a", True),
        (PathKind.EXACT, "/a", "/a/", False),
        (PathKind.EXACT, "/a", "/a?b", True),
        (PathKind.RAW_PREFIX, "/ab", "/abc", True),
        (PathKind.RAW_PREFIX, "/ab", "/a", False),
        (PathKind.SEGMENT_PREFIX, "/ab", "/ab", True),
        (PathKind.SEGMENT_PREFIX, "/ab", "/ab/c", True),
        (PathKind.SEGMENT_PREFIX, "/ab", "/abc", False),
        (PathKind.SEGMENT_PREFIX, "/ab/", "/ab", True),
        (PathKind.SEGMENT_PREFIX, "/", "/anything/at/all", True),
        (PathKind.REGEX, "/a[0-9]+", "/a12", True),
        (PathKind.REGEX, "/a[0-9]+", "/a12/", False),
        (PathKind.REGEX, "/a", "/a?query", True),
    ],
)
def test_paths(kind: PathKind, value: str, path: str, *, matches: bool) -> None:
    spec = RouteSpec("r", Respond(), path=PathMatch(kind, value))
    assert bool(Index([(spec, True)]).find(asking("a", path))) is matches


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            RouteSpec("r", Respond(), hosts=(HostMatch(HostKind.EXACT, "b.test"),)),
            "host a.test is none of its hosts",
        ),
        (RouteSpec("r", Respond(), path=PathMatch(PathKind.EXACT, "/b")), "path /p is not exact /b"),
        (RouteSpec("r", Respond(), methods=("PUT", "POST")), "method GET is not one of PUT, POST"),
        (RouteSpec("r", Respond(), listeners=("inner",)), "listener http is not one of inner"),
        (
            RouteSpec("r", Respond(), headers=(ValueMatch("X-A", ValueKind.PREFIX, "v"),)),
            "header X-A is not prefix v",
        ),
        (RouteSpec("r", Respond(), headers=(ValueMatch("X-A"),)), "header X-A is not present"),
        (
            RouteSpec("r", Respond(), query=(ValueMatch("q", ValueKind.ABSENT),)),
            "query parameter q is not absent",
        ),
    ],
)
def test_why_a_route_lost_is_said_in_words(spec: RouteSpec, words: str) -> None:
    assert mismatch(spec, make_request(url="http://a.test:80/p?q=1")) == words


@given(st.lists(st.integers(-3, 3), max_size=8))
def test_of_routes_that_all_match_the_first_given_wins(priorities: list[int]) -> None:
    specs = [RouteSpec(str(number), Respond(), priority=one) for number, one in enumerate(priorities)]
    found = Index([(spec, spec.name) for spec in specs]).find(asking("a"))
    assert found == (specs[0].name if specs else None)


@pytest.mark.parametrize(
    "spec",
    [
        RouteSpec("r", Respond(), path=PathMatch(PathKind.REGEX, "/(")),
        RouteSpec("r", Respond(), headers=(ValueMatch("x", ValueKind.REGEX, "["),)),
        RouteSpec("r", Respond(), query=(ValueMatch("x", ValueKind.REGEX, "["),)),
    ],
)
def test_what_is_no_regular_expression_is_refused(spec: RouteSpec) -> None:
    with pytest.raises(re.error):
        Index([(spec, None)])


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"a.test", b"a.test"),
        (b"a.test:80", b"a.test"),
        (b"a.test.", b"a.test"),
        (b"a.test.:80", b"a.test"),
        (b"[::1]", b"[::1]"),
        (b"[::1]:80", b"[::1]"),
        (b"", b""),
    ],
)
def test_the_host_of_an_authority(authority: bytes, host: bytes) -> None:
    assert host_of(authority) == host


def test_the_prefix_that_a_match_consumes() -> None:
    assert path_prefix(PathMatch(PathKind.SEGMENT_PREFIX, "/a/")) == b"/a"
    assert path_prefix(PathMatch(PathKind.RAW_PREFIX, "/a/")) == b"/a/"
    assert path_prefix(PathMatch(PathKind.REGEX, "/a.*")) is None
