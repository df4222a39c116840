"""Who accepts next: workers share their listening sockets, and who has more connections lets the others go first.

One shared socket has no queue that waits for a worker which is down or hangs, and none that is lost when there are
fewer workers; `SO_REUSEPORT` has both. But the kernel wakes whom it likes, often the same one, and that one would
take all that come in a burst. So each worker writes down how many connections it has, where all can read it.
"""

from __future__ import annotations

import mmap
import os

import anyio

from daemun.downstream.drain import Connections

__all__ = ["Board", "Turn"]

_MAX_WORKERS = 256
_CELL_BYTES = 4
_ABSENT = -1
_PATIENCE_SECONDS = 0.001
_MOST_AFTER_PATIENCE = 8
"""The others were let first and did not come: they are busy, or hang."""
_MANY = 64
_SLACK = 2
_SHARE_OF_SLACK = 8
"""More connections than the others have by two and an eighth are no reason to wait: waiting costs too."""


class Board:
    """The number of connections of each worker, in memory that all of them see."""

    def __init__(self, descriptor: int | None = None) -> None:
        """On the memory of `descriptor`, which is taken over; None: new memory."""
        new = descriptor is None
        self.descriptor = os.memfd_create("daemun-board") if descriptor is None else descriptor
        """To be handed to workers."""
        if new:
            os.truncate(self.descriptor, _MAX_WORKERS * _CELL_BYTES)
        self._memory = mmap.mmap(self.descriptor, _MAX_WORKERS * _CELL_BYTES)
        self._cells = memoryview(self._memory).cast("i")
        if new:
            for index in range(_MAX_WORKERS):
                self._cells[index] = _ABSENT

    def write(self, index: int, connections: int) -> None:
        """So many has the worker `index`."""
        self._cells[index] = connections

    def leave(self, index: int) -> None:
        """The worker `index` accepts no more."""
        self._cells[index] = _ABSENT

    def least(self, index: int, count: int) -> int | None:
        """The fewest that any other one of `count` workers has; None if no other accepts."""
        present = [n for other, n in enumerate(self._cells[:count]) if n != _ABSENT and other != index]
        return min(present, default=None)

    def close(self) -> None:
        """Gives the memory back."""
        self._cells.release()
        self._memory.close()
        os.close(self.descriptor)


class Turn:
    """When a worker may accept, and how many in a row."""

    def __init__(self, board: Board, index: int, count: int, connections: Connections) -> None:
        self._board = board
        self._index = index
        self._count = count
        self._connections = connections
        self._left = False

    def note(self) -> None:
        """Writes down how many connections there are."""
        if not self._left:
            self._board.write(self._index, len(self._connections))

    def leave(self) -> None:
        """This worker accepts no more."""
        self._left = True
        self._board.leave(self._index)

    async def wait(self) -> int:
        """How many to accept now: lets emptier workers go first, for a moment."""
        own = len(self._connections)
        self._board.write(self._index, own)
        least = self._board.least(self._index, self._count)
        if least is None:
            return _MANY
        room = least + _SLACK + least // _SHARE_OF_SLACK - own
        if room > 0:
            return room
        await anyio.sleep(_PATIENCE_SECONDS)
        return min(1 + own // _SHARE_OF_SLACK, _MOST_AFTER_PATIENCE)
