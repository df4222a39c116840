"""Messages of a WebSocket, put together from their pieces."""

from __future__ import annotations

from typing import Any

from wsproto.events import Message, TextMessage

__all__ = ["Assembling"]

_PIECE_BYTES = 4096
"""Small pieces are put together up to it: an object for each would weigh more than they do."""


class Assembling:
    """The message of one side that is on its way."""

    __slots__ = ("_max_bytes", "_pieces", "_size")

    def __init__(self, max_bytes: int) -> None:
        self._pieces: list[Any] = []
        self._size = 0
        self._max_bytes = max_bytes

    def add(self, event: Message[Any]) -> dict[str, Any] | None:
        """The message that `event` completes, as `text` or `bytes`. Raises `ValueError` if it is too long."""
        data, pieces = event.data, self._pieces
        self._size += len(data)
        if self._size > self._max_bytes:
            raise ValueError("a message is too long")
        if pieces and len(pieces[-1]) < _PIECE_BYTES:
            pieces[-1] += data
        else:
            pieces.append(data)
        if not event.message_finished:
            return None
        self.forget()
        return {"text": "".join(pieces)} if isinstance(event, TextMessage) else {"bytes": b"".join(pieces)}

    def forget(self) -> None:
        """Nobody waits for it any more."""
        self._pieces, self._size = [], 0
