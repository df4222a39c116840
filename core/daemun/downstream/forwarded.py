"""What the upstream is told about the client: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via`.

Fields of that kind that a client sent are dropped, unless the listener says how many proxies stand in front of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from daemun.exchange import Peer
from daemun.headers import Headers, header_values
from daemun.settings import ForwardedSettings

__all__ = ["IDENTITY_FIELDS", "Forwarding"]

IDENTITY_FIELDS = frozenset(
    (
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-forwarded-prefix",
        b"x-real-ip",
        b"x-client-ip",
        b"true-client-ip",
        b"client-cert",
        b"client-cert-chain",
        b"x-client-cert",
        b"x-forwarded-client-cert",
        b"x-ssl-client-cert",
        b"x-ssl-client-s-dn",
        b"x-ssl-client-verify",
        b"x-original-forwarded-for",
    )
)
"""Fields by which a client could pretend to be another one."""


class Forwarding:
    """The fields for one connection; those for its usual authority and version are made once."""

    __slots__ = ("_authority", "_fields", "_peer", "_settings", "_version")

    def __init__(self, peer: Peer, settings: ForwardedSettings) -> None:
        self._peer = peer
        self._settings = settings
        self._authority: bytes | None = None
        self._version = b""
        self._fields: Headers = ()

    @property
    def trusted_hops(self) -> int:
        """How many proxies in front of the gateway are believed what they say about the client."""
        return self._settings.trusted_hops

    def fields(self, authority: bytes, version: bytes, received: Iterable[tuple[bytes, bytes]]) -> Headers:
        """The fields to add to a request for `authority`. `received` are the `IDENTITY_FIELDS` that the client
        sent, already taken out of the request; `version` is its protocol's, as `Via` writes it."""
        if self._settings.trusted_hops and received:
            return self._build(authority, version, tuple(received))
        if authority != self._authority or version != self._version:
            self._fields = self._build(authority, version, ())
            self._authority, self._version = authority, version
        return self._fields

    def _build(self, authority: bytes, version: bytes, received: Headers) -> Headers:
        settings, peer = self._settings, self._peer
        fields: list[tuple[bytes, bytes]] = []
        address = peer.address.encode() or b"unix"
        scheme = peer.scheme.encode()
        if settings.x_forwarded:
            hops = b",".join(header_values(received, b"x-forwarded-for")).split(b",")
            trusted = [hop.strip() for hop in hops if hop.strip()][-settings.trusted_hops :] if received else []
            fields.append((b"x-forwarded-for", b", ".join([*trusted, address])))
            fields.append((b"x-forwarded-proto", _last(received, b"x-forwarded-proto") or scheme))
            fields.append((b"x-forwarded-host", _last(received, b"x-forwarded-host") or authority))
        if settings.forwarded:
            hops = b",".join(header_values(received, b"forwarded")).split(b",")
            trusted = [hop.strip() for hop in hops if hop.strip()][-settings.trusted_hops :] if received else []
            node = b'"[%b]"' % address if b":" in address else address
            own = b"for=%b;host=%b;proto=%b" % (node, _quoted(authority), scheme)
            fields.append((b"forwarded", b", ".join([*trusted, own])))
        if settings.via:
            fields.append((b"via", version + b" " + settings.via.encode()))
        return tuple(fields)


def _last(received: Headers, name: bytes) -> bytes | None:
    values = header_values(received, name)
    return values[-1] if values else None


def _quoted(authority: bytes) -> bytes:
    return b'"%b"' % authority if b":" in authority else authority
