"""The battery for balancers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from daemun.exchange import Peer
from daemun.extend.endpoints import BalancerType
from daemun.message import EMPTY, Request
from daemun.routing.spec import EndpointSpec
from daemun.testing.batteries.common import CODE, NAMED, SETTINGS
from daemun.testing.batteries.odd import odd_requests
from daemun.testing.batteries.rules import Check, Unseen, expect, run_battery, shown
from daemun.testing.batteries.subject import Subject
from daemun.testing.batteries.watching import blocking_calls, calls
from daemun.upstream.endpoints import Endpoint

__all__ = [
    "BALANCER",
    "balancer_subject",
    "check_balancer",
    "fills_all",
    "follows_the_list",
    "gives_none_when_all_are_full",
    "has_a_key_of_its_own",
    "leaves_endpoints_alone",
    "picks_for_any_request",
    "picks_from_what_it_is_given",
    "picks_quickly",
    "picks_what_is_available",
    "shares_no_state",
]

_CLIENTS = 60
_MANY = 100
_MAX_CALLS_EACH = 30


def _endpoints(count: int, capacity: int = 0) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(EndpointSpec(f"127.0.0.1:{9000 + number}", capacity=capacity)) for number in range(count))


def _requests(subject: Subject) -> Iterator[Request]:
    """Of many clients."""
    for number in range(_CLIENTS):
        fields = ((b"cookie", b"id=%d" % number), (b"x-client", b"%d" % number))
        peer = Peer(listener="web", address=f"192.0.2.{number}")
        yield subject.request(b"GET", EMPTY, fields, target=b"/%d" % number, peer=peer)


async def has_a_key_of_its_own(subject: Subject) -> None:
    """None of its settings is called `type`: that key names the balancer."""
    expect("type" not in subject.thing.settings.__struct_encode_fields__, "the key `type`", "another name")


async def picks_from_what_it_is_given(subject: Subject) -> None:
    """`pick` gives one of the endpoints that it was given, at once and not as a coroutine, or None."""
    balancer = subject.made()
    for count in (1, 2, 7):
        endpoints = _endpoints(count)
        for request in _requests(subject):
            found = balancer.pick(endpoints, request)
            expect(found in endpoints, f"it gave {shown(found)} of {count} that are free", "one of them")
    found = balancer.pick((), subject.request())
    expect(found is None, f"of no endpoints it gave {found!r}", "None")


async def picks_what_is_available(subject: Subject) -> None:
    """It picks an endpoint only while that is available: one that is full gets nothing."""
    balancer = subject.made()
    endpoints = _endpoints(4, capacity=2)
    for number in range(4):
        for endpoint in endpoints:
            endpoint.active = 2
        endpoints[number].active = 1
        for request in _requests(subject):
            found = balancer.pick(endpoints, request)
            expect(
                found is endpoints[number],
                f"it gave {found!r}, where {endpoints[number]!r} is the only one with room",
                "the one that is `available`",
            )


async def gives_none_when_all_are_full(subject: Subject) -> None:
    """It gives None when all are full: then the request waits, or is refused."""
    balancer = subject.made()
    endpoints = _endpoints(3, capacity=1)
    for endpoint in endpoints:
        endpoint.active = 1
    for request in _requests(subject):
        found = balancer.pick(endpoints, request)
        expect(found is None, f"it gave {found!r}, which is full", "None")


async def fills_all(subject: Subject) -> None:
    """While exchanges run, each endpoint gets its share: all are full before it gives None."""
    balancer = subject.made()
    endpoints = _endpoints(5, capacity=3)
    for request in list(_requests(subject))[:15]:
        found = balancer.pick(endpoints, request)
        expect(found is not None, f"None, where {[one.active for one in endpoints]} run of 3 each", "one with room")
        found.active += 1


async def follows_the_list(subject: Subject) -> None:
    """It follows the list as endpoints come and go: what is gone is never picked again."""
    balancer = subject.made()
    every = _endpoints(8)
    for first, last in ((0, 8), (2, 5), (5, 6), (0, 3), (3, 8), (0, 8)):
        endpoints = every[first:last]
        for request in _requests(subject):
            found = balancer.pick(endpoints, request)
            expect(
                found in endpoints, f"it gave {found!r}, which is not in the list now", "one of those that it was given"
            )


async def shares_no_state(subject: Subject) -> None:
    """Each back end has a balancer of its own: two of them, with other endpoints each, do not disturb one another."""
    first, second = subject.made(), subject.made()
    here, there = _endpoints(3), _endpoints(6)[3:]
    for request in _requests(subject):
        for balancer, endpoints in ((first, here), (second, there)):
            found = balancer.pick(endpoints, request)
            expect(
                found in endpoints,
                f"it gave {found!r} of the other back end",
                "state of the instance, not of the module",
            )


async def picks_for_any_request(subject: Subject) -> None:
    """It picks for any request: without fields, cookies or an address, with any bytes in the target."""
    balancer, endpoints = subject.made(), _endpoints(3)
    for request in odd_requests(subject):
        found = balancer.pick(endpoints, request)
        expect(found in endpoints, f"it gave {found!r} for {request.method!r} {request.target[:40]!r}", "one of three")


async def leaves_endpoints_alone(subject: Subject) -> None:
    """It changes nothing of an endpoint and reads no content: the gateway counts what runs."""
    balancer, endpoints = subject.made(), _endpoints(3, capacity=2)
    for request in _requests(subject):
        balancer.pick(endpoints, request)
    found = [one for one in endpoints if one.active or one.capacity != 2 or one.weight != 1 or one.retired]
    expect(not found, f"{found} were changed", "endpoints that are only looked at")


async def picks_quickly(subject: Subject) -> None:
    """It never waits, and looks at an endpoint a few times at most: it runs for each try of each request."""
    balancer, endpoints = subject.made(), _endpoints(_MANY)
    requests = list(_requests(subject))
    with blocking_calls() as found:
        balancer.pick(endpoints, requests[0])
    expect(not found, f"it waits in {', '.join(found[:3])}", "a choice by what is known")
    most = max(calls(partial(balancer.pick, endpoints, request)) for request in requests[1:4])
    expect(most <= _MAX_CALLS_EACH * _MANY, f"{most} calls for {_MANY} endpoints", f"up to {_MAX_CALLS_EACH * _MANY}")


BALANCER: tuple[Check, ...] = (
    *NAMED,
    *SETTINGS,
    has_a_key_of_its_own,
    *CODE,
    picks_from_what_it_is_given,
    picks_what_is_available,
    gives_none_when_all_are_full,
    fills_all,
    follows_the_list,
    shares_no_state,
    picks_for_any_request,
    leaves_endpoints_alone,
    picks_quickly,
)
"""What `check_balancer` looks at."""


def balancer_subject(kind: BalancerType, settings: Mapping[str, Any] | None = None) -> Subject:
    """What its checks look at."""
    return Subject("balancer", kind, settings)


async def check_balancer(kind: BalancerType, settings: Mapping[str, Any] | None = None) -> tuple[Unseen, ...]:
    """Checks a balancer with `settings`.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = balancer_subject(kind, settings)
    return await run_battery(subject.words, BALANCER, subject)
