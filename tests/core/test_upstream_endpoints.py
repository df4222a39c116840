"""The live view of a back end's endpoints, and the addresses that it takes."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import Endpoint, Endpoints, EndpointSpec
from daemun.upstream.endpoints import parse_address
from daemun.upstream.pool import Pool


class Lent:
    """What a view sees of a pool."""

    def __init__(self) -> None:
        self.closed = 0

    def close_idle(self) -> None:
        self.closed += 1


def view(*specs: EndpointSpec) -> Endpoints:
    endpoints = Endpoints("b", lambda endpoint: cast("Pool", Lent()))
    endpoints.update(specs)
    return endpoints


def at(port: int, **changes: Any) -> EndpointSpec:
    return EndpointSpec(f"127.0.0.1:{port}", **changes)


def closed(endpoint: Endpoint) -> int:
    return cast("Lent", endpoint.pool).closed


def test_what_stays_keeps_its_connections_and_counts() -> None:
    endpoints = view(at(1), at(2))
    first = endpoints.ready[0]
    endpoints.enter(first)
    endpoints.update([at(3), at(1)])
    assert [endpoint.port for endpoint in endpoints.ready] == [3, 1]
    assert endpoints.ready[1] is first
    assert (first.active, first.retired, closed(first)) == (1, False, 0)


def test_what_goes_is_retired_and_still_counted() -> None:
    endpoints = view(at(1), at(2))
    gone = endpoints.ready[1]
    endpoints.enter(gone)
    endpoints.update([at(1)])
    assert (gone.retired, closed(gone)) == (True, 1)
    assert endpoints.in_flight == 1
    endpoints.leave(gone)
    assert (endpoints.in_flight, gone.active) == (0, 0)


def test_an_endpoint_that_comes_back_is_a_new_one() -> None:
    endpoints = view(at(1))
    old = endpoints.ready[0]
    endpoints.update([])
    endpoints.update([at(1)])
    assert endpoints.ready[0] is not old
    assert not endpoints.ready[0].retired


def test_an_endpoint_with_other_properties_is_another_one() -> None:
    endpoints = view(at(1))
    old = endpoints.ready[0]
    endpoints.update([at(1, weight=2)])
    assert old.retired
    assert endpoints.ready[0].weight == 2


def test_one_that_is_listed_twice_is_one() -> None:
    assert len(view(at(1), at(1)).ready) == 1


def test_a_bad_address_leaves_the_view_as_it_was() -> None:
    endpoints = view(at(1))
    before = endpoints.ready
    with pytest.raises(ValueError, match="nowhere"):
        endpoints.update([at(2), EndpointSpec("nowhere")])
    assert endpoints.ready is before
    assert not before[0].retired


def test_the_view_is_replaced_as_a_whole() -> None:
    endpoints = view(at(1))
    seen = endpoints.ready
    endpoints.update([at(2)])
    assert [endpoint.port for endpoint in seen] == [1]


def test_a_change_is_told_and_a_place_that_gets_free_only_to_those_who_wait() -> None:
    endpoints = view(at(1))
    told: list[int] = []
    endpoints.on_change = lambda: told.append(len(endpoints.ready))
    endpoints.update([at(1), at(2)])
    endpoints.enter(endpoints.ready[0])
    endpoints.leave(endpoints.ready[0])
    assert told == [2]
    endpoints.waiting = 1
    endpoints.enter(endpoints.ready[0])
    endpoints.leave(endpoints.ready[0])
    assert told == [2, 2]


def test_idle_since_moves_when_the_last_exchange_ends() -> None:
    endpoints = view(at(1))
    endpoints.idle_since = 0.0
    for _ in range(2):
        endpoints.enter(endpoints.ready[0])
    endpoints.leave(endpoints.ready[0])
    assert endpoints.idle_since == 0.0
    endpoints.leave(endpoints.ready[0])
    assert endpoints.idle_since > 0.0


@pytest.mark.parametrize(
    ("capacity", "active", "available"), [(0, 99, True), (2, 1, True), (2, 2, False), (2, 3, False)]
)
def test_capacity(capacity: int, active: int, *, available: bool) -> None:
    endpoint = Endpoint(at(1, capacity=capacity))
    endpoint.active = active
    assert endpoint.available is available


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80, "")),
        ("a.test:65535", ("a.test", 65535, "")),
        ("[::1]:8080", ("::1", 8080, "")),
        ("unix:/run/a.sock", ("", 0, "/run/a.sock")),
        ("unix:relative.sock", ("", 0, "relative.sock")),
    ],
)
def test_addresses(address: str, parts: tuple[str, int, str]) -> None:
    assert parse_address(address) == parts


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("a.test", "is not host:port"),
        ("a.test:", "is not host:port"),
        (":80", "is not host:port"),
        ("", "is not host:port"),
        ("a.test:0", "is not host:port"),
        ("a.test:65536", "is not host:port"),
        ("a.test:８０", "is not host:port"),
        ("a.test:-1", "is not host:port"),
        ("::1:80", r"write an IPv6 address as \[::1\]:80"),
        ("unix:", "names no path"),
    ],
)
def test_addresses_that_are_none_are_told_in_words(address: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_address(address)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_fault_in_words(text: str) -> None:
    try:
        host, port, path = parse_address(text)
    except ValueError as error:
        assert "address" in str(error)
    else:
        assert bool(host and 0 < port < 65536) is not bool(path)
