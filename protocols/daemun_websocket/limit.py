"""The message filter `ws_limit`: how many messages and bytes a side may send in a second, and how long a message is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import anyio

from daemun import FilterContext, Phase
from daemun_websocket.kinds import message_filter
from daemun_websocket.lens_settings import RateLimits, RateSettings
from daemun_websocket.message_filter import MessageFilter, OpenFilter
from daemun_websocket.messages import Binary, Close, CloseWebSocket, Message, Text

__all__ = ["LIMIT_FILTER"]

_TOO_BIG = 1009
_AGAINST_POLICY = 1008
_WHOLE = 1.0 - 1e-6
"""One token, however it was rounded."""


class _Bucket:
    """Tokens that come back at a rate, `burst` of them at most. It may owe some: a message is never parted."""

    __slots__ = ("_burst", "_left", "_of", "_rate", "_since")

    def __init__(self, rate: float, burst: int, of: str) -> None:
        self._rate = rate
        self._of = of
        self._burst = burst
        self._left = float(burst)
        self._since = monotonic()

    def wait_seconds(self) -> float:
        """Time until something may be taken; 0: now."""
        if not self._rate:
            return 0.0
        now = monotonic()
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        return 0.0 if self._left > _WHOLE else (1.0 - self._left) / self._rate

    def take(self, count: int) -> None:
        """Takes `count`, or owes them."""
        if self._rate:
            self._left -= count

    def __str__(self) -> str:
        return f"at most {self._rate:.12g} {self._of} a second are taken, {self._burst} at once"


class _Side:
    """What one side may still send."""

    __slots__ = ("_blame", "_bytes", "_delays", "_inside", "_messages", "_most", "_size")

    def __init__(self, limits: RateLimits, *, delays: bool, blame: str = "") -> None:
        self._messages = _Bucket(limits.messages_per_second, limits.burst_messages, "messages")
        self._bytes = _Bucket(limits.bytes_per_second, limits.burst_bytes, "bytes")
        self._blame = blame
        """What the client is told before the limit that was broken."""
        self._most = limits.max_message_bytes
        self._delays = delays
        self._inside = False
        """Pieces of a message have passed, and not the last."""
        self._size = 0

    async def said(self, message: Message) -> Message:
        """`message`, when it may pass. Raises `CloseWebSocket` if it may not."""
        if isinstance(message, Close):
            return message
        data = message.data
        size = len(data.encode()) if isinstance(data, str) else len(data)
        content = isinstance(message, (Text, Binary))
        whole = (self._size if content else 0) + size
        if content and 0 < self._most < whole:
            raise CloseWebSocket(_TOO_BIG, f"{self._blame}messages of at most {self._most} bytes are taken")
        goes_on = content and self._inside
        while wait := max(self._bytes.wait_seconds(), 0.0 if goes_on else self._messages.wait_seconds()):
            if not self._delays:
                broken = self._bytes if self._bytes.wait_seconds() else self._messages
                raise CloseWebSocket(_AGAINST_POLICY, f"{self._blame}{broken}")
            await anyio.sleep(wait)
        self._bytes.take(size)
        if not goes_on:
            self._messages.take(1)
        if isinstance(message, (Text, Binary)):
            self._inside, self._size = not message.last, 0 if message.last else whole
        return message


class _Limit(MessageFilter):
    def __init__(self, settings: RateSettings) -> None:
        delays = settings.policy == "delay"
        self._client = _Side(settings.client, delays=delays)
        self._upstream = _Side(settings.upstream, delays=delays, blame="the upstream broke a limit: ")

    async def client_said(self, message: Message) -> Message:
        return await self._client.said(message)

    async def upstream_said(self, message: Message) -> Message:
        return await self._upstream.said(message)


@asynccontextmanager
async def _build(settings: RateSettings, context: FilterContext) -> AsyncIterator[OpenFilter]:
    yield lambda request: _Limit(settings)


LIMIT_FILTER = message_filter("ws_limit", RateSettings, _build, phase=Phase.RATELIMIT, streamed=True)
"""Keeps each side of a WebSocket to its rates; every WebSocket has its own."""
