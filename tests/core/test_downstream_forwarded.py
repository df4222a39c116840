"""What the upstream is told about the client, and whom we believe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import IDENTITY_FIELDS, Headers, Peer
from daemun.downstream.forwarded import Forwarding
from daemun.settings import ForwardedSettings

PEER = Peer(address="10.0.0.9", scheme="https")


def fields(settings: ForwardedSettings, received: Headers = (), *, peer: Peer = PEER) -> dict[bytes, bytes]:
    found = Forwarding(peer, settings).fields(b"a.test:81", b"1.1", received)
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


SPOOFED = (
    (b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"),
    (b"x-forwarded-for", b"3.3.3.3"),
    (b"x-forwarded-proto", b"http"),
    (b"x-forwarded-host", b"public.test"),
    (b"forwarded", b"for=1.1.1.1, for=2.2.2.2;proto=http"),
)


def test_a_client_is_not_believed() -> None:
    assert fields(ForwardedSettings(), SPOOFED) == {
        b"x-forwarded-for": b"10.0.0.9",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-host": b"a.test:81",
        b"via": b"1.1 daemun",
    }


@pytest.mark.parametrize(
    ("hops", "chain"),
    [(1, b"3.3.3.3, 10.0.0.9"), (2, b"2.2.2.2, 3.3.3.3, 10.0.0.9"), (9, b"1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9")],
)
def test_as_many_proxies_as_stand_in_front_are_believed(hops: int, chain: bytes) -> None:
    found = fields(ForwardedSettings(trusted_hops=hops), SPOOFED)
    assert found[b"x-forwarded-for"] == chain
    assert found[b"x-forwarded-proto"] == b"http"
    assert found[b"x-forwarded-host"] == b"public.test"


def test_trusted_proxies_that_say_nothing() -> None:
    assert fields(ForwardedSettings(trusted_hops=2))[b"x-forwarded-for"] == b"10.0.0.9"


def test_forwarded_of_rfc_7239() -> None:
    found = fields(ForwardedSettings(x_forwarded=False, forwarded=True, via="", trusted_hops=1), SPOOFED)
    assert found == {b"forwarded": b'for=2.2.2.2;proto=http, for=10.0.0.9;host="a.test:81";proto=https'}


@pytest.mark.parametrize(
    ("peer", "node", "plain"),
    [
        (Peer(address="::1"), b'for="[::1]"', b"::1"),
        (Peer(address="10.0.0.1"), b"for=10.0.0.1", b"10.0.0.1"),
        (Peer(), b"for=unix", b"unix"),
    ],
)
def test_every_kind_of_address(peer: Peer, node: bytes, plain: bytes) -> None:
    found = fields(ForwardedSettings(forwarded=True), peer=peer)
    assert found[b"forwarded"].startswith(node + b";host=")
    assert found[b"x-forwarded-for"] == plain


def test_everything_can_be_left_out() -> None:
    assert fields(ForwardedSettings(x_forwarded=False, via="")) == {}


def test_another_authority_on_the_same_connection() -> None:
    forwarding = Forwarding(PEER, ForwardedSettings())
    for authority in (b"a.test", b"a.test", b"b.test", b"a.test"):
        assert dict(forwarding.fields(authority, b"1.1", ()))[b"x-forwarded-host"] == authority


def test_another_version_on_the_same_connection() -> None:
    forwarding = Forwarding(PEER, ForwardedSettings())
    for version in (b"1.1", b"1.0", b"1.1"):
        assert dict(forwarding.fields(b"a.test", version, ()))[b"via"] == version + b" daemun"


hops = st.lists(st.sampled_from([b"1.1.1.1", b"2.2.2.2", b"", b" ", b"unknown"]), max_size=4).map(b",".join)


@given(st.lists(st.tuples(st.just(b"x-forwarded-for"), hops), max_size=3).map(tuple), st.integers(0, 4))
def test_never_more_hops_than_trusted_and_ours_is_the_last(received: Headers, trusted: int) -> None:
    chain = fields(ForwardedSettings(trusted_hops=trusted), received)[b"x-forwarded-for"].split(b", ")
    said = [hop.strip() for _, value in received for hop in value.split(b",") if hop.strip()]
    assert chain[-1] == b"10.0.0.9"
    assert chain[:-1] == (said[-trusted:] if trusted else [])


def test_the_fields_by_which_a_client_could_pretend() -> None:
    assert {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-real-ip",
    } <= IDENTITY_FIELDS
