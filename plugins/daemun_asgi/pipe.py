"""What an application sends on its way to who pulls it: a little goes ahead, then the sender waits."""

from __future__ import annotations

import anyio

from daemun import Waker

__all__ = ["Pipe"]

_AHEAD_BYTES = 64 * 1024


class Pipe:
    """Bytes from a sender to a reader, each a task. Whoever reads waits with `waker`."""

    __slots__ = ("_chunks", "_error", "_room", "_size", "_waker", "_wanted", "_wants", "dropped", "ended")

    def __init__(self, waker: Waker) -> None:
        self.ended = False
        """Nothing more will be put."""
        self.dropped = False
        """Nothing more will be read."""
        self._waker = waker
        self._chunks: list[bytes] = []
        self._size = 0
        self._room: anyio.Event | None = None
        self._error: BaseException | None = None
        self._wants = False
        self._wanted: anyio.Event | None = None

    def put(self, data: bytes) -> anyio.Event | None:
        """Adds `data`; what it returns is to be waited for before more is put."""
        if self.dropped or not data:
            return None
        self._wants = False
        self._chunks.append(data)
        self._size += len(data)
        self._waker.wake()
        return self.room() if self._size >= _AHEAD_BYTES else None

    def room(self) -> anyio.Event | None:
        """To be waited for: everything was read, or nobody reads on."""
        if self.dropped:
            return None
        if self._room is None:
            self._room = anyio.Event()
        return self._room

    def end(self, error: BaseException | None = None) -> None:
        """Nothing follows; `error`: and it is not whole."""
        if not self.ended:
            self.ended = True
            self._error = error
            self._waker.wake()

    def drop(self) -> None:
        """Nobody reads on: what is there is given up, and nobody waits."""
        self.dropped = True
        if self._wanted is not None:
            self._wanted.set()
        self._chunks, self._size = [], 0
        self._make_room()

    async def wanted(self) -> None:
        """Returns once somebody waits for more, or nobody ever will."""
        while not (self._wants or self.dropped):
            self._wanted = anyio.Event()
            await self._wanted.wait()

    def read_nowait(self) -> bytes:
        """What is there; b"" says nothing of what comes."""
        chunks = self._chunks
        if not chunks:
            return b""
        self._chunks, self._size = [], 0
        self._make_room()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read(self) -> bytes:
        """What is there, or comes next; b"": nothing follows. Raises what it ended with."""
        while not self._chunks:
            self._wants = True
            if self._wanted is not None:
                self._wanted.set()
            if self.ended or self.dropped:
                if self._error is not None:
                    raise self._error
                return b""
            await self._waker.wait()
        return self.read_nowait()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.set()
