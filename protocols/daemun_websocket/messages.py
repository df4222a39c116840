"""What is said on a WebSocket, as the lens shows it: the same to filters on either side of the gateway."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

__all__ = ["Binary", "Close", "CloseWebSocket", "Message", "Ping", "Pong", "Text"]

_MAX_CONTROL_BYTES = 125
_ASSIGNED = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))


class Text(Struct, frozen=True):
    """A text message, or a piece of one."""

    data: str
    last: bool = True
    """False: more pieces of the same message follow. Only filters that asked for pieces see that."""


class Binary(Struct, frozen=True):
    """A binary message, or a piece of one."""

    data: bytes
    last: bool = True
    """As in `Text`."""


class Ping(Struct, frozen=True):
    """A ping, which the other side answers: the gateway answers none. At most 125 bytes."""

    data: bytes = b""

    def __post_init__(self) -> None:
        _check_control(self.data)


class Pong(Struct, frozen=True):
    """The answer to a ping, or one that nobody asked for. At most 125 bytes."""

    data: bytes = b""

    def __post_init__(self) -> None:
        _check_control(self.data)


class Close(Struct, frozen=True):
    """The last thing that one side says (RFC 6455 §7.1). What it says after that reaches nobody."""

    code: int | None = None
    """RFC 6455 §7.4: 1000..1003, 1007..1014, 3000..4999; None: it said none."""
    reason: str = ""
    """At most 123 bytes are sent."""

    def __post_init__(self) -> None:
        if self.code is None:
            if self.reason:
                raise ValueError("a Close with a reason needs a code")
        elif self.code not in _ASSIGNED and not 3000 <= self.code <= 4999:
            raise ValueError(f"no Close may say {self.code} (accepted: 1000..1003, 1007..1014, 3000..4999)")


Message: TypeAlias = Text | Binary | Ping | Pong | Close


class CloseWebSocket(Exception):
    """Raised by a filter that ends the WebSocket: the client gets `code` and `reason`, the upstream 1001."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.close = Close(code, reason)


def _check_control(data: bytes) -> None:
    if len(data) > _MAX_CONTROL_BYTES:
        raise ValueError(f"a ping or pong of {len(data)} bytes (accepted: at most {_MAX_CONTROL_BYTES})")
