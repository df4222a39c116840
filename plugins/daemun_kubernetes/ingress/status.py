"""The addresses in the status of Ingresses: those of the gateway's own Service, or of the settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from daemun_kubernetes.client.kinds import Ingress, LoadBalancerIngress, Service

__all__ = ["Addresses", "addresses_of", "addresses_said", "has_addresses", "status_of"]

Addresses = tuple[tuple[str, str], ...]
"""Each with its IP, or else its host name."""


def addresses_of(service: Service | None) -> Addresses:
    """Where a Service answers from outside of the cluster: its load balancer, or else its external IPs."""
    if service is None:
        return ()
    found = _pairs(service.status.load_balancer.ingress)
    return found or tuple((ip, "") for ip in service.spec.external_ips)


def addresses_said(texts: Iterable[str]) -> Addresses:
    """Addresses as they are written in settings: IPs and host names."""
    return tuple((text, "") if _is_ip(text) else ("", text) for text in texts)


def has_addresses(ingress: Ingress) -> Addresses:
    """What its status says now."""
    return _pairs(ingress.status.load_balancer.ingress)


def status_of(addresses: Addresses) -> dict[str, Any]:
    """The status that says `addresses`, as a merge patch."""
    ingress = [{"ip": ip} if ip else {"hostname": name} for ip, name in addresses]
    return {"loadBalancer": {"ingress": ingress or None}}


def _pairs(ingress: Iterable[LoadBalancerIngress]) -> Addresses:
    return tuple((one.ip, "" if one.ip else one.hostname) for one in ingress if one.ip or one.hostname)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
