"""Where lines go. Everything here may block, so it is called in a thread; nothing here raises once it is open.

A file gets a batch of lines with one write, so that the lines of several workers never mix (O_APPEND). A pipe or
a terminal gets pieces that it takes whole, and only while there is room: who reads slowly can be left behind.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Outcome", "Sink"]

_STREAMS = {"-": 1, "stdout": 1, "stderr": 2}
_MODE = 0o640
_FLAGS = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_STEP_MS = 100
"""How often a write that waits for room looks whether it should give up."""


class Outcome(NamedTuple):
    """What became of a batch."""

    lost: int
    """Lines that were not written."""
    fault: str
    """What went wrong, in words; "": nothing."""


class Sink:
    """A file, a pipe or a standard stream that lines are written to. Opens it; raises `OSError` if it cannot."""

    def __init__(self, file: str, base_dir: Path) -> None:
        self.name = {"-": "stdout"}.get(file, file)
        """For the log."""
        self.given_up = False
        """Set from outside: a write that waits for room ends."""
        self._path = None if file in _STREAMS else base_dir / file
        self._descriptor = _STREAMS.get(file, -1)
        self._regular = False
        self._torn = False
        """The last line was not written to its end."""
        self._stale = False
        """The file that has the name now is still to be opened."""
        self._open()

    def close(self) -> None:
        """Closes what it opened."""
        if self._path is not None and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, lines: bytes, *, reopen: bool) -> Outcome:
        """Writes whole lines; with `reopen`, to the file that has the name now."""
        fault = ""
        gone = self._is_gone()
        self._stale = self._stale or reopen or gone
        if self._stale:
            try:
                self._open()
            except OSError as error:
                fault = f"cannot be opened anew: {_words(error)}"
                if gone:
                    return Outcome(lines.count(b"\n"), fault)
        begin = 1 if self._torn else 0
        data = b"\n" + lines if self._torn else lines
        done = 0
        try:
            for piece in self._pieces(data):
                while piece:
                    count = self._put(piece)
                    done += count
                    piece = piece[count:]
        except OSError as error:
            fault = f"cannot be written: {_words(error)}"
        if done:
            self._torn = data[done - 1] != 0x0A
        return Outcome(data.count(b"\n", max(done, begin)), fault)

    def _open(self) -> None:
        """Opens the file; the one before stays if that fails."""
        path = self._path
        if path is None:
            self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
            self._stale = False
            return
        try:
            fifo = stat.S_ISFIFO(path.stat().st_mode)
        except FileNotFoundError:
            fifo = False
        # For reading too: a pipe without a reader can be opened then, and one that comes and goes is no error.
        how = os.O_RDWR if fifo else os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(path, how | _FLAGS, _MODE)
        self.close()
        self._descriptor = descriptor
        self._regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._torn = self._stale = False

    def _is_gone(self) -> bool:
        """The file was removed, and not by a rename that is followed by a signal."""
        try:
            return self._path is not None and os.fstat(self._descriptor).st_nlink == 0
        except OSError:  # a network file system that knows it no more
            return True

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        if self._regular:
            yield data
            return
        begin, end = 0, len(data)
        while begin < end:
            stop = data.rfind(b"\n", begin, begin + select.PIPE_BUF) + 1
            if not stop:
                stop = data.index(b"\n", begin) + 1
            yield data[begin:stop]
            begin = stop

    def _put(self, piece: bytes) -> int:
        """Writes what there is room for, once there is some."""
        while True:
            if not self._regular:
                self._wait_for_room()
            try:
                return os.write(self._descriptor, piece)
            except BlockingIOError:
                continue

    def _wait_for_room(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while not poll.poll(_STEP_MS):
            if self.given_up:
                raise OSError(errno.ETIMEDOUT, "nobody reads")


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
