"""Picking one of several endpoints: round robin, least requests, power of two choices, consistent hash."""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Sequence
from random import Random
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from daemun.extend.culprit import ContractError
from daemun.extend.endpoints import Balancer, BalancerType
from daemun.extend.types import NoSettings
from daemun.message import Request
from daemun.upstream.endpoints import Endpoint

__all__ = ["BALANCERS", "Checked", "ConsistentHash", "HashSettings", "LeastRequests", "PowerOfTwo", "RoundRobin"]


class RoundRobin:
    """Each in turn; a weight of n takes n turns, spread out (smooth weighted round robin)."""

    def __init__(self) -> None:
        self._of: tuple[Endpoint, ...] = ()
        self._order: Sequence[Endpoint] = ()
        self._next = 0

    def pick(self, endpoints: tuple[Endpoint, ...], request: Request) -> Endpoint | None:
        if endpoints is not self._of:
            self._of, self._order = endpoints, _turns(endpoints)
        order = self._order
        for _ in order:
            self._next = index = self._next + 1 if self._next + 1 < len(order) else 0
            endpoint = order[index]
            if endpoint.capacity == 0 or endpoint.active < endpoint.capacity:
                return endpoint
        return None


def _turns(endpoints: tuple[Endpoint, ...]) -> Sequence[Endpoint]:
    endpoints = tuple(endpoint for endpoint in endpoints if endpoint.weight)
    if len({endpoint.weight for endpoint in endpoints}) <= 1:
        return endpoints
    total = sum(endpoint.weight for endpoint in endpoints)
    credit = dict.fromkeys(endpoints, 0)
    turns = []
    for _ in range(total):
        for endpoint in endpoints:
            credit[endpoint] += endpoint.weight
        best = max(endpoints, key=credit.__getitem__)
        credit[best] -= total
        turns.append(best)
    return turns


class LeastRequests:
    """The one with the fewest running exchanges for its weight; equal ones in turn."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, endpoints: tuple[Endpoint, ...], request: Request) -> Endpoint | None:
        free = [endpoint for endpoint in endpoints if endpoint.available and endpoint.weight]
        if not free:
            return None
        self._turn += 1
        start = self._turn % len(free)
        return min(free[start:] + free[:start], key=lambda endpoint: endpoint.active / endpoint.weight)


class PowerOfTwo:
    """The less busy of two random ones: nearly as even as least requests, without looking at all."""

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or Random()

    def pick(self, endpoints: tuple[Endpoint, ...], request: Request) -> Endpoint | None:
        free = [endpoint for endpoint in endpoints if endpoint.available and endpoint.weight]
        if len(free) < 2:
            return free[0] if free else None
        first, second = self._random.sample(free, 2)
        return first if first.active * second.weight <= second.active * first.weight else second


class HashSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the balancer `consistent_hash`."""

    by: Literal["address", "header", "cookie", "path"] = "address"
    """What keeps a client with its endpoint: the peer's IP, a field, a cookie or the path."""
    name: str = ""
    """Name of the field or cookie."""
    points: Annotated[int, Meta(ge=1, le=10_000)] = 160
    """Points of an endpoint of weight 1 on the ring."""


class ConsistentHash:
    """The endpoint that a key hashes to on a ring: when one comes or goes, few keys move."""

    def __init__(self, settings: HashSettings) -> None:
        self._settings = settings
        self._name = settings.name.lower().encode()
        self._of: tuple[Endpoint, ...] = ()
        self._points: list[int] = []
        self._owners: list[Endpoint] = []

    def pick(self, endpoints: tuple[Endpoint, ...], request: Request) -> Endpoint | None:
        if endpoints is not self._of:
            self._build(endpoints)
        if not self._owners:
            return None
        start = bisect(self._points, _hash(self._key(request)))
        for step in range(len(self._owners)):
            endpoint = self._owners[(start + step) % len(self._owners)]
            if endpoint.available:
                return endpoint
        return None

    def _build(self, endpoints: tuple[Endpoint, ...]) -> None:
        ring = sorted(
            (_hash(f"{endpoint.address}#{point}".encode()), index)
            for index, endpoint in enumerate(endpoints)
            for point in range(self._settings.points * endpoint.weight)
        )
        self._of = endpoints
        self._points = [point for point, _ in ring]
        self._owners = [endpoints[index] for _, index in ring]

    def _key(self, request: Request) -> bytes:
        match self._settings.by:
            case "address":
                return request.exchange.peer.address.encode()
            case "header":
                return request.header(self._name) or b""
            case "path":
                return request.path
            case "cookie":
                for pair in (request.header(b"cookie") or b"").split(b";"):
                    name, _, value = pair.strip().partition(b"=")
                    if name.lower() == self._name:
                        return value
                return b""


class Checked:
    """A plugin's balancer, held to what it may return."""

    __slots__ = ("_balancer", "_pick")

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self._pick = balancer.pick

    def pick(self, endpoints: tuple[Endpoint, ...], request: Request) -> Endpoint | None:
        picked = self._pick(endpoints, request)
        if picked is None or picked in endpoints:
            return picked
        words = f"pick returned {type(picked).__name__}; accepted: one of the endpoints, or None"
        raise ContractError(words, self._balancer)


def _hash(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


def _consistent_hash(settings: HashSettings) -> Balancer:
    return ConsistentHash(settings)


def _plain(make: type[Any]) -> Any:
    def build(settings: NoSettings) -> Balancer:
        balancer: Balancer = make()
        return balancer

    return build


BALANCERS = (
    BalancerType("round_robin", NoSettings, _plain(RoundRobin)),
    BalancerType("least_requests", NoSettings, _plain(LeastRequests)),
    BalancerType("power_of_two", NoSettings, _plain(PowerOfTwo)),
    BalancerType("consistent_hash", HashSettings, _consistent_hash),
)
