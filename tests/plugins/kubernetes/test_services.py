"""Services as back ends: which endpoints, how they are spoken to, and the words where there are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import EndpointSpec
from daemun_kubernetes.client.kinds import (
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    Metadata,
    Service,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
)
from daemun_kubernetes.view.services import by_any_port, by_port, resolve

KEY = ("shop", "cart")


def service(
    *ports: ServicePort, kind: str = "ClusterIP", external_name: str = "", families: tuple[str, ...] = ()
) -> Service:
    spec = ServiceSpec(type=kind, external_name=external_name, ports=ports, ip_families=families)
    return Service(metadata=Metadata(name="cart", namespace="shop"), spec=spec)


def port(number: int, name: str = "", **more: Any) -> ServicePort:
    return ServicePort(port=number, name=name, **more)


def endpoint(*addresses: str, ready: bool | None = None) -> SliceEndpoint:
    return SliceEndpoint(addresses=addresses, conditions=EndpointConditions(ready=ready))


def piece(*endpoints: SliceEndpoint, name: str = "a", kind: str = "IPv4", **ports: int | None) -> EndpointSlice:
    """A slice; its ports by their names, `_` for none."""
    return EndpointSlice(
        metadata=Metadata(name=name, namespace="shop", labels={"kubernetes.io/service-name": "cart"}),
        address_type=kind,
        endpoints=endpoints,
        ports=tuple(
            EndpointPort(name="" if name == "_" else name.replace("_", "-"), port=port) for name, port in ports.items()
        ),
    )


def addresses(*slices: EndpointSlice, to: Service, by: int | str = 80) -> list[str]:
    resolved = resolve(KEY, by, to, slices)
    assert resolved.spec is not None, resolved.error
    return [one.address for one in resolved.spec.endpoints]


def test_endpoints_are_those_of_all_slices_sorted_and_once() -> None:
    found = addresses(
        piece(endpoint("10.0.0.2"), endpoint("10.0.0.1"), name="a", _=8080),
        piece(endpoint("10.0.0.1"), endpoint("10.0.0.3"), name="b", _=8080),
        piece(endpoint("fd00::1"), name="c", kind="IPv6", _=8080),
        to=service(port(80)),
    )
    assert found == ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080", "[fd00::1]:8080"]


def test_an_endpoint_is_used_unless_it_is_said_not_to_be_ready() -> None:
    endpoints = (endpoint("10.0.0.1", ready=True), endpoint("10.0.0.2", ready=False), endpoint("10.0.0.3"))
    assert addresses(piece(*endpoints, _=1), to=service(port(80))) == ["10.0.0.1:1", "10.0.0.3:1"]


def test_where_no_endpoint_is_ready_those_that_still_serve_while_they_end_are_used() -> None:
    ending = SliceEndpoint(
        addresses=("10.0.0.1",), conditions=EndpointConditions(ready=False, serving=True, terminating=True)
    )
    over = SliceEndpoint(
        addresses=("10.0.0.2",), conditions=EndpointConditions(ready=False, serving=False, terminating=True)
    )
    starting = SliceEndpoint(
        addresses=("10.0.0.3",), conditions=EndpointConditions(ready=False, serving=True, terminating=False)
    )
    both = service(port(80))
    assert addresses(piece(ending, over, starting, _=1), to=both) == ["10.0.0.1:1"]
    assert addresses(piece(ending, over, starting, endpoint("10.0.0.4"), _=1), to=both) == ["10.0.0.4:1"]
    assert addresses(piece(over, starting, _=1), to=both) == []


@pytest.mark.parametrize(
    ("families", "found"),
    [
        (("IPv4", "IPv6"), ["10.0.0.1:1"]),
        (("IPv6", "IPv4"), ["[fd00::1]:1"]),
        ((), ["10.0.0.1:1", "[fd00::1]:1"]),
    ],
)
def test_of_a_service_of_both_families_its_first_is_used(families: tuple[str, ...], found: list[str]) -> None:
    of_four, of_six = piece(endpoint("10.0.0.1"), _=1), piece(endpoint("fd00::1"), name="b", kind="IPv6", _=1)
    both = service(port(80), families=families)
    assert addresses(of_four, of_six, to=both) == found
    assert addresses(of_six, to=both) == ["[fd00::1]:1"], "the other where there is none of it"


@pytest.mark.parametrize(
    ("kind", "name"),
    [("FQDN", "metadata.google.internal"), ("FQDN", "127.0.0.1"), ("IPv4", "a.example.com"), ("IPv4", "127.1")],
)
def test_a_slice_leads_to_addresses_and_to_no_names_whatever_it_says(kind: str, name: str) -> None:
    slices = (piece(endpoint(name), kind=kind, _=443), piece(endpoint("10.0.0.1"), name="b", _=443))
    assert addresses(*slices, to=service(port(80))) == ["10.0.0.1:443"]


def test_each_slice_has_its_own_number_for_a_port() -> None:
    slices = (
        piece(endpoint("10.0.0.1"), name="a", web=8080, metrics=9090),
        piece(endpoint("10.0.0.2"), name="b", web=8081),
        piece(endpoint("10.0.0.3"), name="c", web=None),
        piece(endpoint("10.0.0.4"), name="d", other=8080),
    )
    assert addresses(*slices, to=service(port(80, "web"), port(90, "metrics"))) == ["10.0.0.1:8080", "10.0.0.2:8081"]


@pytest.mark.parametrize("by", [80, "80", "web"])
def test_a_port_is_found_by_number_and_by_name(by: int | str) -> None:
    found = addresses(piece(endpoint("10.0.0.1"), web=8080), to=service(port(90, "other"), port(80, "web")), by=by)
    assert found == ["10.0.0.1:8080"]


def test_of_two_ports_with_one_number_that_of_tcp_is_meant() -> None:
    both = service(port(443, "quic", protocol="UDP"), port(443, "web", protocol="TCP"))
    slices = EndpointSlice(
        metadata=Metadata(name="a", namespace="shop"),
        endpoints=(endpoint("10.0.0.1"),),
        ports=(EndpointPort(name="quic", port=8443, protocol="UDP"), EndpointPort(name="web", port=8080)),
    )
    assert addresses(slices, to=both, by=443) == ["10.0.0.1:8080"]


def test_the_name_of_the_back_end_is_what_was_asked_for_and_its_settings_wait_for_nobody() -> None:
    resolved = resolve(KEY, "web", service(port(80, "web")), [piece(endpoint("10.0.0.1"), web=1)])
    assert resolved.spec is not None
    assert resolved.spec.name == "shop/cart:web"
    assert resolved.spec.settings == {"response_timeout_seconds": 0, "waiting_room": {"max_requests": 0}}
    assert resolved.ready


def test_a_service_without_endpoints_is_a_back_end_that_is_not_ready() -> None:
    resolved = resolve(KEY, 80, service(port(80)), [])
    assert resolved.spec is not None
    assert resolved.spec.endpoints == ()
    assert (resolved.ready, resolved.error) == (False, "")


@pytest.mark.parametrize(
    ("by", "to", "words"),
    [
        (80, None, "service shop/cart not found"),
        (
            "web",
            service(port(80, "http"), port(81, "grpc")),
            "service shop/cart has no port 'web' (it has: http 80, grpc 81)",
        ),
        (81, service(port(80)), "service shop/cart has no port 81 (it has: 80)"),
        (80, service(), "service shop/cart has no port 80 (it has: none)"),
        (53, service(port(53, "dns", protocol="UDP")), "service shop/cart has no port 53 (it has: none)"),
    ],
)
def test_what_leads_nowhere_says_why(by: int | str, to: Service | None, words: str) -> None:
    resolved = resolve(KEY, by, to, [])
    assert (resolved.spec, resolved.error, resolved.ready) == (None, words, False)


@pytest.mark.parametrize(
    ("one", "spoken"),
    [
        (port(80), ("http1", False)),
        (port(80, "http"), ("http1", False)),
        (port(80, "http2"), ("http2", False)),
        (port(80, "h2c-api"), ("http2", False)),
        (port(80, "grpc"), ("http2", False)),
        (port(80, "http2x"), ("http1", False)),
        (port(80, "https"), ("http1", True)),
        (port(80, "web", app_protocol="kubernetes.io/h2c"), ("http2", False)),
        (port(80, "web", app_protocol="https"), ("http1", True)),
        (port(80, "web", app_protocol="HTTPS"), ("http1", True)),
        (port(80, "h2c", app_protocol="http"), ("http1", False)),
        (port(80, "https", app_protocol="kubernetes.io/ws"), ("http1", False)),
    ],
)
def test_how_endpoints_are_spoken_to_follows_from_the_port(one: ServicePort, spoken: tuple[str, bool]) -> None:
    rule = by_port(service(one), one)
    assert (rule.protocol, rule.tls) == spoken


def test_with_tls_the_certificate_must_be_that_of_the_service() -> None:
    resolved = resolve(KEY, 443, service(port(443, "https")), [piece(endpoint("10.0.0.1"), https=8443)])
    assert resolved.spec is not None
    assert resolved.spec.endpoints == (EndpointSpec("10.0.0.1:8443", "http1", tls=True, server_name="cart.shop.svc"),)


@pytest.mark.parametrize(
    ("ports", "protocol"),
    [
        ((port(80, "http"), port(81, "h2c")), "http2"),
        ((port(80, "http2"),), "http2"),
        ((port(80, "h2c-api"),), "http1"),
        ((port(80, "http"), port(443, "https")), "http1"),
        ((port(80, "web", app_protocol="kubernetes.io/h2c"),), "http2"),
        ((port(80, "web"), port(81, "api", app_protocol="kubernetes.io/h2c")), "http1"),
    ],
)
def test_knatives_rule_looks_at_the_name_of_any_port(ports: tuple[ServicePort, ...], protocol: str) -> None:
    rule = by_any_port(service(*ports), ports[0])
    assert (rule.protocol, rule.tls) == (protocol, False)


@pytest.mark.parametrize(
    ("by", "ports", "address"),
    [
        (80, (port(80, "http2"),), "app.example.com:80"),
        ("web", (port(8080, "web"),), "app.example.com:8080"),
        ("web", (port(8080, "other"),), "app.example.com:80"),
        (9000, (port(8080, "other"),), "app.example.com:80"),
        (9000, (), "app.example.com:9000"),
        ("web", (), "app.example.com:80"),
    ],
)
def test_an_external_name_is_a_name_with_a_port(by: int | str, ports: tuple[ServicePort, ...], address: str) -> None:
    external = service(*ports, kind="ExternalName", external_name="App.example.com.")
    resolved = resolve(KEY, by, external, [])
    assert resolved.spec is not None
    assert resolved.ready
    (found,) = resolved.spec.endpoints
    assert found.address == address
    assert found.protocol == ("http2" if ports and ports[0].name == "http2" else "http1")


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "a.localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"),
        *("127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.169.254"),
        *("127.1", "2130706433", "0x7f.1", "0x7f000001", "0", "017700000001", "169.254.43518", "a.example.1", ""),
    ],
)
def test_an_external_name_may_not_be_the_gateways_own_machine(host: str) -> None:
    resolved = resolve(KEY, 80, service(port(80), kind="ExternalName", external_name=host), [])
    assert resolved.spec is None
    assert resolved.error.startswith(f"service shop/cart leads to {host!r}, which is ")


@pytest.mark.parametrize("host", ["4.example.com", "1and1.com", "mylocalhost", "192.0.2.1", "2001:db8::1", "x4.a1"])
def test_an_external_name_with_digits_is_a_name(host: str) -> None:
    resolved = resolve(KEY, 80, service(port(80), kind="ExternalName", external_name=host), [])
    assert resolved.ready, resolved.error


def test_external_names_may_be_refused_as_a_whole() -> None:
    external = service(port(80), kind="ExternalName", external_name="app.example.com")
    resolved = resolve(KEY, 80, external, [], external_names=False)
    assert resolved.error == "service shop/cart is of type ExternalName, which is not allowed here"


_ADDRESSES = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
_ENDPOINTS = st.builds(
    SliceEndpoint,
    addresses=st.lists(_ADDRESSES, max_size=3).map(tuple),
    conditions=st.builds(EndpointConditions, ready=st.none() | st.booleans()),
)


@given(st.lists(st.lists(_ENDPOINTS, max_size=4), max_size=4))
def test_whatever_the_slices_every_ready_address_is_there_once(groups: list[list[SliceEndpoint]]) -> None:
    slices = [piece(*group, name=str(number), web=8080) for number, group in enumerate(groups)]
    resolved = resolve(KEY, "web", service(port(80, "web")), slices)
    assert resolved.spec is not None
    found = [one.address for one in resolved.spec.endpoints]
    wanted = {
        f"[{address}]:8080" if ":" in address else f"{address}:8080"
        for group in groups
        for one in group
        if one.conditions.ready is not False
        for address in one.addresses
    }
    assert found == sorted(wanted)
    assert resolved.ready == bool(wanted)
