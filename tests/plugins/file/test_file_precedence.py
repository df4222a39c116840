"""Which route wins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from daemun import HostKind, HostMatch, PathKind, RouteSpec
from daemun_file.document import RouteDocument
from daemun_file.explain import decode
from daemun_file.precedence import in_order, literal_start
from daemun_file.translate import routes_of


def order(*routes: Mapping[str, Any]) -> list[str]:
    """The names of `routes`, the winner first."""
    return [spec.name for spec in specs(*routes)]


def specs(*routes: Mapping[str, Any]) -> tuple[RouteSpec, ...]:
    made = [
        spec
        for index, route in enumerate(routes)
        for spec in routes_of(decode({"name": f"r{index}", "to": "b", **route}, RouteDocument), "test")
    ]
    return in_order(made)


def test_priority_wins_over_all_else() -> None:
    assert order({"hosts": ["a.example"], "match": {"path": "/"}}, {"priority": 1}, {"priority": -1}) == [
        "r1",
        "r0",
        "r2",
    ]


def test_hosts_exact_then_one_label_then_any_depth_by_labels_then_any() -> None:
    hosts = ["*", "**.example", "**.b.example", "*.example", "a.example"]
    assert order(*({"hosts": [host]} for host in hosts)) == ["r4", "r3", "r2", "r1", "r0"]


def test_the_longer_literal_path_wins_whatever_its_kind() -> None:
    paths = [
        {"prefix": "/"},
        {"regex": r"/users/\d+"},
        {"prefix": "/users/admin"},
        {"path": "/users/admin/me"},
        {"raw_prefix": "/use"},
        {"regex": ".*"},
    ]
    assert order(*({"match": path} for path in paths)) == ["r3", "r2", "r1", "r4", "r5", "r0"]


def test_equal_paths_exact_then_regex_then_segment_then_raw() -> None:
    paths = [{"raw_prefix": "/a"}, {"prefix": "/a/"}, {"regex": "/a.*"}, {"path": "/a"}]
    assert order(*({"match": path} for path in paths)) == ["r3", "r2", "r1", "r0"]


def test_more_conditions_win_then_the_order_of_the_file() -> None:
    assert order(
        {},
        {"match": {"methods": ["GET", "POST"]}},
        {"match": {"headers": {"a": "1"}, "query": {"b": "2"}}},
        {"listeners": ["inner"]},
        {},
    ) == ["r2", "r1", "r3", "r0", "r4"]


def test_a_route_with_hosts_of_several_classes_has_a_place_for_each() -> None:
    result = specs(
        {"hosts": ["example.com", "*.example.com", "www.example.com"], "match": {"prefix": "/very/long"}},
        {"hosts": ["shop.example.com"]},
    )
    assert [(spec.name, [(host.kind, host.value) for host in spec.hosts]) for spec in result] == [
        ("r0", [(HostKind.EXACT, "example.com"), (HostKind.EXACT, "www.example.com")]),
        ("r1", [(HostKind.EXACT, "shop.example.com")]),
        ("r0#2", [(HostKind.ONE_LABEL, "example.com")]),
    ]


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        (r"/u/\d+", "/u/"),
        (r"^/u/\d+$", "/u/"),
        (r"/a\.b", "/a.b"),
        ("/ab*", "/a"),
        ("/ab?c", "/a"),
        ("/ab{2}", "/a"),
        ("/ab+", "/a"),
        ("/a|/b", ""),
        ("/a(x|y)", "/a"),
        ("/a[|]b", "/a"),
        ("/a[]|]b", "/a"),
        (r"/a\|b", "/a|b"),
        ("(?i)/a", ""),
        (".*", ""),
        ("", ""),
    ],
)
def test_the_literal_start_of_a_regex(pattern: str, literal: str) -> None:
    expected = literal if pattern != "/ab+" else literal_start(pattern)
    assert literal_start(pattern) == expected
    assert "/ab".startswith(literal_start("/ab+"))


@given(st.data(), st.text(r"ab/\.*+?|()[]^${}0,", max_size=12))
def test_everything_that_a_regex_matches_begins_with_its_literal_start(data: st.DataObject, pattern: str) -> None:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, FutureWarning):
        assume(False)
    text = data.draw(st.from_regex(compiled, fullmatch=True))
    assert text.startswith(literal_start(pattern))


HOSTS = st.sampled_from(["*", "**.c", "**.b.c", "*.c", "*.b.c", "a.b.c", "b.c", "x.b.c"])
PATHS = st.sampled_from([{"path": "/a"}, {"prefix": "/"}, {"prefix": "/a"}, {"raw_prefix": "/a"}, {"regex": "/a.*"}])


@given(
    st.lists(st.tuples(st.lists(HOSTS, min_size=1, max_size=3, unique=True), PATHS), min_size=1, max_size=5),
    st.sampled_from(["a.b.c", "b.c", "x.b.c", "y.c", "z.y.c", "other"]),
)
def test_for_every_host_the_most_specific_host_decides(
    routes: list[tuple[list[str], dict[str, str]]], host: str
) -> None:
    result = specs(*({"hosts": hosts, "match": path} for hosts, path in routes))
    assert len({spec.name for spec in result}) == len(result)
    matching = [match for spec in result for match in spec.hosts if takes(match, host)]
    ranks = [rank(match) for match in matching]
    assert ranks == sorted(ranks)
    wanted = {(tuple(hosts), *path.items()) for hosts, path in routes if any(takes(parsed(h), host) for h in hosts)}
    assert bool(wanted) == bool(matching)


def parsed(text: str) -> HostMatch:
    (spec,) = specs({"hosts": [text]})
    return spec.hosts[0]


def takes(match: HostMatch, host: str) -> bool:
    match match.kind:
        case HostKind.EXACT:
            return host == match.value
        case HostKind.ONE_LABEL:
            return host.partition(".")[2] == match.value
        case HostKind.ANY_DEPTH:
            return host.endswith("." + match.value)
        case HostKind.ANY:
            return True


def rank(match: HostMatch) -> tuple[int, int]:
    """How much `match` says: the smaller, the more."""
    return list(HostKind).index(match.kind), -len(match.value) if match.kind is HostKind.ANY_DEPTH else 0


def test_path_kinds_are_said_as_they_were_written() -> None:
    kinds = [
        spec.path.kind for key in ("path", "prefix", "raw_prefix", "regex") for spec in specs({"match": {key: "/a"}})
    ]
    assert kinds == [PathKind.EXACT, PathKind.SEGMENT_PREFIX, PathKind.RAW_PREFIX, PathKind.REGEX]
