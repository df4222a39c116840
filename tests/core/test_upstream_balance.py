"""Balancers pick as their names promise, by weight, and never what is full."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import Balancer, EndpointSpec, Peer, Request
from daemun.testing import make_request
from daemun.upstream.balance import BALANCERS, ConsistentHash, HashSettings, LeastRequests, PowerOfTwo, RoundRobin
from daemun.upstream.endpoints import Endpoint

GET = make_request()


def endpoints(*weights: int, capacity: int = 0) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(EndpointSpec(f"10.0.0.{number}:80", weight=weight, capacity=capacity))
        for number, weight in enumerate(weights, 1)
    )


def every(*, random: Random | None = None) -> list[Balancer]:
    return [RoundRobin(), LeastRequests(), PowerOfTwo(random), ConsistentHash(HashSettings(points=10))]


def pick(balancer: Balancer, of: tuple[Endpoint, ...], request: Request = GET) -> Endpoint:
    found = balancer.pick(of, request)
    assert found is not None
    return found


def test_round_robin_takes_each_in_turn() -> None:
    balancer, of = RoundRobin(), endpoints(1, 1, 1)
    got = [pick(balancer, of) for _ in range(6)]
    assert set(got[:3]) == set(of)
    assert got[3:] == got[:3]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any))
def test_round_robin_gives_each_its_weight_in_every_round(weights: list[int]) -> None:
    balancer, of = RoundRobin(), endpoints(*weights)
    even = len(set(filter(None, weights))) == 1
    turns = sum(map(bool, weights)) if even else sum(weights)
    for _ in range(2):
        got = Counter(pick(balancer, of) for _ in range(turns))
        for endpoint, weight in zip(of, weights, strict=True):
            assert got[endpoint] == (min(weight, 1) if even else weight)


def test_round_robin_spreads_the_turns_of_a_heavy_endpoint() -> None:
    balancer, of = RoundRobin(), endpoints(5, 1, 1)
    got = "".join(pick(balancer, of).address[7] for _ in range(14))
    assert "11111" not in got
    assert Counter(got) == {"1": 10, "2": 2, "3": 2}


def test_round_robin_goes_on_when_the_endpoints_change() -> None:
    balancer, of = RoundRobin(), endpoints(1, 1, 1)
    for _ in range(2):
        pick(balancer, of)
    for size in (1, 3, 2):
        assert pick(balancer, of[:size]) in of[:size]


def test_least_requests_takes_the_least_busy_for_its_weight() -> None:
    balancer, of = LeastRequests(), endpoints(1, 1, 4)
    of[0].active, of[1].active, of[2].active = 2, 1, 3
    assert pick(balancer, of) is of[2]
    of[2].active = 5
    assert pick(balancer, of) is of[1]


def test_least_requests_takes_equally_busy_ones_in_turn() -> None:
    balancer, of = LeastRequests(), endpoints(1, 1, 1)
    assert Counter(pick(balancer, of) for _ in range(30)) == dict.fromkeys(of, 10)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6)), min_size=1, max_size=5))
def test_least_requests_never_takes_a_busier_one(load: list[tuple[int, int]]) -> None:
    of = endpoints(*(weight for weight, _ in load))
    for endpoint, (_, active) in zip(of, load, strict=True):
        endpoint.active = active
    found = pick(LeastRequests(), of)
    assert found.active / found.weight == min(endpoint.active / endpoint.weight for endpoint in of)


def test_power_of_two_takes_the_less_busy_of_two_that_chance_names() -> None:
    of = endpoints(1, 1, 1, 1)
    for number, endpoint in enumerate(of):
        endpoint.active = number
    balancer, same = PowerOfTwo(Random(7)), Random(7)
    for _ in range(50):
        first, second = same.sample(of, 2)
        assert pick(balancer, of) is min(first, second, key=lambda endpoint: endpoint.active)


def test_power_of_two_is_nearly_even_under_load() -> None:
    balancer, of = PowerOfTwo(Random(1)), endpoints(1, 1, 1, 1)
    for _ in range(400):
        pick(balancer, of).active += 1
    assert max(endpoint.active for endpoint in of) - min(endpoint.active for endpoint in of) <= 6


def test_power_of_two_respects_weights() -> None:
    balancer, of = PowerOfTwo(Random(1)), endpoints(3, 1)
    for _ in range(400):
        pick(balancer, of).active += 1
    assert 280 <= of[0].active <= 320


def by_path(number: int) -> Request:
    return make_request(url=f"http://a.test/{number}")


def test_consistent_hash_keeps_a_key_where_it_was() -> None:
    of = endpoints(1, 1, 1)
    first, second = (ConsistentHash(HashSettings(by="path")) for _ in range(2))
    for number in range(50):
        assert pick(first, of, by_path(number)) is pick(second, of, by_path(number))


def test_consistent_hash_moves_only_the_keys_of_what_went() -> None:
    of = endpoints(1, 1, 1, 1, 1)
    balancer = ConsistentHash(HashSettings(by="path"))
    fewer = of[:-1]
    before = [pick(balancer, of, by_path(number)) for number in range(500)]
    after = [pick(balancer, fewer, by_path(number)) for number in range(500)]
    moved = [old for old, new in zip(before, after, strict=True) if old is not new]
    assert set(moved) == {of[-1]}
    assert 50 <= len(moved) <= 150


def test_consistent_hash_moves_few_keys_when_one_comes() -> None:
    of = endpoints(1, 1, 1, 1, 1)
    balancer = ConsistentHash(HashSettings(by="path"))
    fewer = of[:-1]
    before = [pick(balancer, fewer, by_path(number)) for number in range(500)]
    after = [pick(balancer, of, by_path(number)) for number in range(500)]
    moved = [new for old, new in zip(before, after, strict=True) if old is not new]
    assert set(moved) == {of[-1]}
    assert len(moved) <= 150


def test_consistent_hash_spreads_keys_by_weight() -> None:
    of = endpoints(3, 1)
    balancer = ConsistentHash(HashSettings(by="path"))
    got = Counter(pick(balancer, of, by_path(number)) for number in range(1000))
    assert 650 <= got[of[0]] <= 850


@pytest.mark.parametrize(
    ("settings", "same", "other"),
    [
        (
            HashSettings(by="address"),
            [make_request(peer=Peer(address="10.1.1.1", port=port)) for port in (1, 2)],
            [make_request(peer=Peer(address=f"10.1.1.{number}")) for number in range(20)],
        ),
        (
            HashSettings(by="header", name="X-User"),
            [make_request(url=f"http://{host}/", headers=((b"x-user", b"1"),)) for host in "ab"],
            [make_request(headers=((b"x-user", b"%d" % number),)) for number in range(20)],
        ),
        (
            HashSettings(by="cookie", name="sid"),
            [make_request(headers=((b"cookie", cookie),)) for cookie in (b"a=1; sid=7", b"sid=7;b=2")],
            [make_request(headers=((b"cookie", b"a=1; sid=%d" % number),)) for number in range(20)],
        ),
        (
            HashSettings(by="path"),
            [make_request(url=f"http://a.test/p?{query}") for query in "ab"],
            [by_path(number) for number in range(20)],
        ),
    ],
    ids=["address", "header", "cookie", "path"],
)
def test_what_keeps_a_client_with_its_endpoint(
    settings: HashSettings, same: list[Request], other: list[Request]
) -> None:
    balancer, of = ConsistentHash(settings), endpoints(1, 1, 1, 1)
    assert len({pick(balancer, of, request) for request in same}) == 1
    assert len({pick(balancer, of, request) for request in other}) > 1


@pytest.mark.parametrize("settings", [HashSettings(by="cookie", name="sid"), HashSettings(by="header", name="x")])
def test_requests_without_the_key_stay_together(settings: HashSettings) -> None:
    balancer, of = ConsistentHash(settings), endpoints(1, 1, 1)
    assert pick(balancer, of) is pick(balancer, of, make_request(headers=((b"cookie", b"a=1"),)))


@given(st.data())
def test_nothing_full_and_nothing_without_weight_is_ever_picked(data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(0, 2), min_size=0, max_size=4))
    of = endpoints(*weights, capacity=2)
    for endpoint in of:
        endpoint.active = data.draw(st.integers(0, 2))
    free = [endpoint for endpoint in of if endpoint.active < 2 and endpoint.weight]
    for balancer in every(random=Random(3)):
        found = balancer.pick(of, GET)
        assert found in free if free else found is None


def test_a_full_endpoint_of_a_hashed_key_hands_over_to_the_next_on_the_ring() -> None:
    balancer, of = ConsistentHash(HashSettings(by="path")), endpoints(1, 1, 1, capacity=1)
    homes = {pick(balancer, of, by_path(number)) for number in range(20)}
    assert homes == set(of)
    home = pick(balancer, of, by_path(1))
    home.active = 1
    second = pick(balancer, of, by_path(1))
    assert second is not home
    assert pick(balancer, of, by_path(1)) is second


def test_the_names_of_the_balancers() -> None:
    def name(balancer: Any) -> str:
        return type(balancer).__name__

    made = {kind.name: name(kind.build(kind.settings())) for kind in BALANCERS}
    assert made == {
        "round_robin": "RoundRobin",
        "least_requests": "LeastRequests",
        "power_of_two": "PowerOfTwo",
        "consistent_hash": "ConsistentHash",
    }
