"""What may be set for messages, and for the filters that look at them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["LogSettings", "MessageSettings", "RateLimits", "RateSettings"]

_MOST = 2**63 - 1
_Rate = Annotated[float, Meta(ge=0, le=1e12)]


class MessageSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `websocket-messages`; what stands here is in force with any message filter (`ws_log`,
    `ws_limit`, a plugin's), whether a route has this one or not."""

    max_message_bytes: Annotated[
        int,
        Meta(
            ge=1,
            le=_MOST,
            description="Longest message, after decompression; above it the WebSocket is closed with 1009. Either way.",
        ),
    ] = 1024 * 1024
    max_frame_bytes: Annotated[
        int,
        Meta(ge=0, le=_MOST, description="Longest frame, refused by its head with 1009; 0: as long as a message."),
    ] = 0
    max_fragments: Annotated[
        int, Meta(ge=1, le=_MOST, description="Most frames that one message may come in; above it is 1009.")
    ] = 1024
    compression: Annotated[
        bool,
        Meta(
            description="Agree on permessage-deflate with clients that offer it, and offer it to the upstream then; "
            "each side on its own."
        ),
    ] = True
    window_bits: Annotated[
        int,
        Meta(
            ge=9,
            le=15,
            description="How far back compression looks, 2 to this power in bytes. A WebSocket that is compressed on "
            "both sides holds about twenty times as many.",
        ),
    ] = 12
    close_timeout_seconds: Annotated[
        float,
        Meta(gt=0, le=3600, description="A client has it to hear why it was closed before the connection ends."),
    ] = 5.0


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `ws_log`."""

    fraction: Annotated[float, Meta(ge=0, le=1, description="Share of what is logged, at random.")] = 1.0
    sample: Annotated[
        Literal["message", "socket"],
        Meta(description="What the share is of: single messages, or WebSockets with all that is said on them."),
    ] = "message"
    excerpt_chars: Annotated[
        int,
        Meta(
            ge=0,
            le=4096,
            description="Characters of each text, and of the reason of a Close, that are shown, escaped; they may be "
            "secrets. 0: none.",
        ),
    ] = 0
    pings: Annotated[bool, Meta(description="Log pings and pongs too.")] = False


class RateLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """What one side may send on one WebSocket; 0 stands for any."""

    messages_per_second: Annotated[_Rate, Meta(description="Messages, pings and pongs, on average.")] = 0.0
    burst_messages: Annotated[int, Meta(ge=1, le=_MOST, description="How many may come at once after a pause.")] = 10
    bytes_per_second: Annotated[_Rate, Meta(description="Bytes of messages after decompression, on average.")] = 0.0
    burst_bytes: Annotated[int, Meta(ge=1, le=_MOST, description="How many bytes may come at once after a pause.")] = (
        64 * 1024
    )
    max_message_bytes: Annotated[
        int,
        Meta(ge=0, le=_MOST, description="Longest message; above it is 1009. That of `websocket-messages` holds too."),
    ] = 0


class RateSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `ws_limit`."""

    client: Annotated[RateLimits, Meta(description="What the client may send.")] = RateLimits()
    upstream: Annotated[RateLimits, Meta(description="What the upstream may send.")] = RateLimits()
    policy: Annotated[
        Literal["close", "delay"],
        Meta(
            description="Above a rate: the WebSocket is closed with 1008, or its messages wait, and so does the sender."
        ),
    ] = "close"
