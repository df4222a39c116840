"""The addresses that the status of Ingresses says."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from daemun_kubernetes.client.kinds import (
    IngressStatus,
    LoadBalancer,
    LoadBalancerIngress,
    Metadata,
    Service,
    ServiceSpec,
    ServiceStatus,
)
from daemun_kubernetes.ingress.settings import IngressSettings
from daemun_kubernetes.ingress.status import addresses_of, addresses_said, has_addresses, status_of

from .ingresses import ingress

BOTH = LoadBalancer(ingress=(LoadBalancerIngress(ip="192.0.2.1"), LoadBalancerIngress(hostname="lb.example.com")))


def service(load_balancer: LoadBalancer = LoadBalancer(), external_ips: tuple[str, ...] = ()) -> Service:  # noqa: B008
    return Service(
        metadata=Metadata(name="gate"),
        spec=ServiceSpec(external_ips=external_ips),
        status=ServiceStatus(load_balancer=load_balancer),
    )


def test_the_gateway_is_where_its_load_balancer_is_or_else_at_its_external_ips() -> None:
    assert addresses_of(service(BOTH, ("198.51.100.1",))) == (("192.0.2.1", ""), ("", "lb.example.com"))
    assert addresses_of(service(external_ips=("198.51.100.1",))) == (("198.51.100.1", ""),)
    assert addresses_of(service()) == ()
    assert addresses_of(None) == ()


def test_settings_say_addresses_and_names() -> None:
    assert addresses_said(("192.0.2.1", "2001:db8::1", "lb.example.com", "1.2.example")) == (
        ("192.0.2.1", ""),
        ("2001:db8::1", ""),
        ("", "lb.example.com"),
        ("", "1.2.example"),
    )


def test_what_is_written_is_what_is_read_again() -> None:
    addresses = addresses_of(service(BOTH))
    assert status_of(addresses) == {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}}
    assert has_addresses(replace(ingress("web"), status=IngressStatus(load_balancer=BOTH))) == addresses
    assert status_of(()) == {"loadBalancer": {"ingress": None}}, "a merge patch removes what is null"


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "gate", "gate-1.example.com"])
def test_addresses_in_settings_are_ips_and_names(text: str) -> None:
    assert msgspec.convert({"status_addresses": [text]}, IngressSettings).status_addresses == (text,)


@pytest.mark.parametrize("text", ["", "Foo_Bar", "10.0.0.1:80", "gate.", "-gate", "http://gate", "a b", "*.a.test"])
def test_what_the_cluster_would_refuse_as_an_address_is_refused_at_once(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"status_addresses": [text]}, IngressSettings)
