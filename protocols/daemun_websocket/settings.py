"""What may be set for the filter `websocket`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["Rules"]

_ORIGIN = re.compile(r"(?i:[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)|same|\*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]


class Rules(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `websocket`; what stands here is in force on routes without it too."""

    mode: Annotated[
        Literal["allow", "require", "forbid"],
        Meta(description="Whether the route takes WebSockets beside other requests, takes nothing else, or none."),
    ] = "allow"
    origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins whose pages may open a WebSocket: `https://app.example.com` and the like, `same` for "
            "the host that is asked, `*` for any; none: not looked at. Case, and a port that is the scheme's own, do "
            "not matter."
        ),
    ] = ()
    require_origin: Annotated[
        bool, Meta(description="Refuse clients that send no Origin, which only browsers must.")
    ] = False
    subprotocols: Annotated[
        tuple[str, ...],
        Meta(
            description="Those that may be spoken: others are not offered to the back end, and a client that offers "
            "none of them, or nothing, is refused (400). Empty: any, or none."
        ),
    ] = ()
    extensions: Annotated[bool, Meta(description="Whether extensions such as compression may be agreed on.")] = True
    idle_timeout_seconds: Annotated[
        _Seconds, Meta(description="Without a byte either way for so long, a WebSocket is closed (1001); 0: never.")
    ] = 3600.0
    ping_interval_seconds: Annotated[
        _Seconds, Meta(description="A client that nothing was said to for so long is sent a ping; 0: never.")
    ] = 0.0
    max_lifetime_seconds: Annotated[
        _Seconds, Meta(description="How long a WebSocket may last; then it is closed (1001). 0: for ever.")
    ] = 0.0

    def __post_init__(self) -> None:
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"origins: {origin!r} is no origin (accepted: https://host, http://host:port, same, *)"
                )
        for name in self.subprotocols:
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"subprotocols: {name!r} is no name of a subprotocol")
