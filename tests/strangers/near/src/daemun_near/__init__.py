"""`near`: requests go to endpoints of the first network that has one with room; within it to the least busy."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from msgspec import Struct

from daemun import Balancer, BalancerType, Endpoint, Request, SettingsError, hookimpl


class NearSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Of the balancer."""

    networks: tuple[str, ...]
    """The near first: `10.0.1.0/24`. Endpoints of no network come last, names too."""


class Near:
    """Knows how far endpoints are."""

    def __init__(self, networks: tuple[IPv4Network | IPv6Network, ...]) -> None:
        self._networks = networks
        self._seen: tuple[Endpoint, ...] = ()
        self._by_distance: tuple[tuple[Endpoint, ...], ...] = ()

    def pick(self, endpoints: tuple[Endpoint, ...], request: Request) -> Endpoint | None:
        if endpoints is not self._seen:  # a view is replaced as a whole
            self._seen, self._by_distance = endpoints, self._sorted(endpoints)
        for group in self._by_distance:
            best: Endpoint | None = None
            for endpoint in group:
                if endpoint.weight and endpoint.available and (best is None or endpoint.active < best.active):
                    best = endpoint
            if best is not None:
                return best
        return None

    def _sorted(self, endpoints: tuple[Endpoint, ...]) -> tuple[tuple[Endpoint, ...], ...]:
        groups: dict[int, list[Endpoint]] = {}
        for endpoint in endpoints:
            groups.setdefault(self._distance(endpoint.host), []).append(endpoint)
        return tuple(tuple(groups[distance]) for distance in sorted(groups))

    def _distance(self, host: str) -> int:
        try:
            address = ip_address(host)
        except ValueError:
            return len(self._networks)
        return next((at for at, network in enumerate(self._networks) if address in network), len(self._networks))


def build(settings: NearSettings) -> Balancer:
    try:
        return Near(tuple(map(ip_network, settings.networks)))
    except ValueError as error:
        raise SettingsError(f"networks: {error} (accepted: 10.0.0.0/8, fd00::/8)") from None


@hookimpl
def daemun_balancers() -> Iterable[BalancerType]:
    return [BalancerType("near", NearSettings, build)]
