"""The scenarios: protocol × transport × dispatch × kind and number of plugins. The short form leaves most of those out
that tell nothing new."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from .plugins import DISPATCHES, KINDS
from .protocols import PROTOCOLS, Protocol

__all__ = ["FULL", "SHORT", "TRANSPORTS", "Scenario"]

TRANSPORTS = ("answer", "proxy", "loopback")
"""In memory, with a back end that answers; in memory, with an upstream in memory behind the whole upstream half; on
real sockets, with clients and origin in another process."""
_COUNTS = (1, 5, 10)


class Scenario(Struct, frozen=True):
    """One row."""

    protocol: Protocol
    transport: str
    dispatch: str = "compiled"
    kind: str = "noop"
    plugins: int = 0

    @property
    def name(self) -> str:
        """As a test's id."""
        what = f"{self.dispatch}-{self.plugins}x{self.kind}" if self.plugins else "no-plugin"
        return f"{self.protocol.name}-{self.transport}-{what}"

    @property
    def without(self) -> Scenario:
        """The same without plugins."""
        return Scenario(self.protocol, self.transport)


def _full() -> Iterator[Scenario]:
    for protocol in PROTOCOLS:
        for transport in TRANSPORTS:
            if not protocol.with_plugins:
                if transport != "loopback":
                    yield Scenario(protocol, transport)
                continue
            yield Scenario(protocol, transport)
            for dispatch in DISPATCHES:
                for kind in KINDS:
                    for count in _COUNTS:
                        yield Scenario(protocol, transport, dispatch, kind, count)


def _in_short(one: Scenario) -> bool:
    first = one.protocol is PROTOCOLS[0]
    if not one.protocol.in_short:
        return False
    if one.plugins == 0:
        return first or one.transport != "loopback"
    noop, compiled = one.kind == "noop", one.dispatch == "compiled"
    if one.plugins == 5:
        return first and noop and compiled and one.transport == "answer"
    if one.transport == "answer" and first:
        return noop or one.dispatch != "hooks"
    if one.transport == "answer":
        return compiled and one.kind in ("noop", "header")
    if one.transport == "proxy":
        return first and noop and compiled
    return first and noop and one.plugins == 10 and one.dispatch != "hooks"


FULL = list(_full())
SHORT = [one for one in FULL if _in_short(one)]
