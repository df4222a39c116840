"""The message filter `ws_log`: who said what kind of message and how long it was, and what ended it; or a share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import random

from daemun import FilterContext, Phase, Request
from daemun_websocket.ending import ending_of
from daemun_websocket.kinds import message_filter
from daemun_websocket.lens_settings import LogSettings
from daemun_websocket.message_filter import MessageFilter, OpenFilter
from daemun_websocket.messages import Close, Message, Ping, Pong, Text

__all__ = ["LOG_FILTER"]

log = logging.getLogger("daemun.websocket")


class _Side:
    """What one side says: it may come in pieces, and is logged with the last."""

    __slots__ = ("_bytes", "_excerpt", "_head", "_settings")

    def __init__(self, head: str, settings: LogSettings) -> None:
        self._head = head
        self._settings = settings
        self._bytes = 0
        self._excerpt = ""

    def said(self, message: Message) -> None:
        """Counts `message`, and logs it if it is whole."""
        settings = self._settings
        if isinstance(message, (Ping, Pong)):
            if settings.pings:
                self._write(f"{type(message).__name__.lower()}, {len(message.data)} bytes")
        elif isinstance(message, Close):
            self._write(f"close, {message.code or 'no code'}" + self._shown(message.reason))
        else:
            data = message.data
            self._bytes += len(data.encode()) if isinstance(data, str) else len(data)
            if isinstance(data, str) and len(self._excerpt) <= settings.excerpt_chars:
                self._excerpt += data[: settings.excerpt_chars + 1]
            if message.last:
                kind = "text" if isinstance(message, Text) else "binary"
                self._write(f"{kind}, {self._bytes} bytes" + self._shown(self._excerpt))
                self._bytes, self._excerpt = 0, ""

    def _shown(self, text: str) -> str:
        """The beginning of `text` as printable ASCII, if it may be shown."""
        most = self._settings.excerpt_chars
        if not most or not text:
            return ""
        return ": " + ascii(text[:most]) + ("..." if len(text) > most else "")

    def _write(self, words: str) -> None:
        _write(self._settings, self._head, words)


class _Log(MessageFilter):
    def __init__(self, settings: LogSettings, request: Request) -> None:
        exchange = request.exchange
        where = f"route {exchange.route or '-'}, {exchange.peer.address or '-'}:{exchange.peer.port}"
        self._client = _Side(f"{where}, client", settings)
        self._upstream = _Side(f"{where}, upstream", settings)
        self._exchange = exchange
        self._head = f"{where}, end"
        self._settings = settings

    async def client_said(self, message: Message) -> Message:
        self._client.said(message)
        return message

    async def upstream_said(self, message: Message) -> Message:
        self._upstream.said(message)
        return message

    def ended(self) -> None:
        _write(self._settings, self._head, ending_of(self._exchange))


def _write(settings: LogSettings, head: str, words: str) -> None:
    if settings.sample == "socket" or random() < settings.fraction:
        log.info("%s: %s", head, words)


@asynccontextmanager
async def _build(settings: LogSettings, context: FilterContext) -> AsyncIterator[OpenFilter]:
    def open_filter(request: Request) -> MessageFilter:
        if settings.sample == "socket" and random() >= settings.fraction:
            return MessageFilter()
        return _Log(settings, request)

    yield open_filter


LOG_FILTER = message_filter("ws_log", LogSettings, _build, phase=Phase.EARLY, streamed=True)
"""Logs messages as the client sent them and as it gets them, and their end; what they say only if that is asked for."""
