"""Lines out of pieces of bytes."""

from __future__ import annotations

__all__ = ["Lines"]


class Lines:
    """Gives the lines that `feed` completes, without their ends; what is left waits for more.

    Raises `ValueError` for a line longer than `max_bytes`. Each byte is looked at once, however small the pieces.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that end in `piece`, but for empty ones."""
        lines = piece.split(b"\n")
        rest = lines.pop()
        if lines:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
        if max(self._size, max(map(len, lines), default=0)) > self._max_bytes:
            raise ValueError(f"a line is longer than {self._max_bytes} bytes")
        return [line for line in lines if line]
