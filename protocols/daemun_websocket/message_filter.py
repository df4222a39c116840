"""What a plugin derives from to filter messages."""

from __future__ import annotations

from collections.abc import Callable

from daemun import Request
from daemun_websocket.messages import Message

__all__ = ["MessageFilter", "OpenFilter"]


class MessageFilter:
    """Filters the messages of one WebSocket; there is one object for each. Override what you need.

    A method returns the message to pass on: what it was given, or another in its place; None drops it. While it awaits,
    the sender waits; the two directions run beside each other. It ends the WebSocket by raising `CloseWebSocket`;
    whatever else it raises is logged and ends it with 1011. A call that is cancelled may be made again.
    """

    async def client_said(self, message: Message) -> Message | None:
        """A message on its way to the upstream."""
        return message

    async def upstream_said(self, message: Message) -> Message | None:
        """A message on its way to the client."""
        return message

    def ended(self) -> None:
        """The WebSocket is over, whoever ended it and however. Called once."""


OpenFilter = Callable[[Request], MessageFilter]
"""Called for each WebSocket on the route when the upstream has agreed to it, with the request that asked for it."""
