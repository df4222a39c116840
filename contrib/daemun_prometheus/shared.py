"""The cells of one worker among several: a file mapped into memory, which outlives the worker.

Whoever locks a file owns it; the lock ends with the process, however that ends. A worker takes the file of its index,
with everything that its predecessor counted. While that one still runs (a rolling reload), it takes the next.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from daemun_prometheus.cells import Numbers, Place, Record
from daemun_prometheus.record_file import HEADER_BYTES, MARK, BrokenFileError, encode, places

__all__ = ["SharedCells", "is_owned"]

log = logging.getLogger("daemun.prometheus")

_STEP_BYTES = 256 * 1024
_CELL_BYTES = 8
_USED_WORD = 1
_MAX_FILES = 1000


def is_owned(path: Path) -> bool:
    """Whether a living process, this one included, owns the file. Raises `OSError` if it cannot be opened."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _lock(fcntl.F_RDLCK))
        return bytes(answer[:2]) != struct.pack("h", fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def _lock(kind: int) -> bytes:
    """A `struct flock` of the whole file. Locks of this kind belong to the open file, not to the process."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


class SharedCells:
    """The cells in a file. Use `open` to have them."""

    def __init__(self, path: Path, descriptor: int, reading: Callable[[], Iterable[Record]]) -> None:
        self.path = path
        self.succeeds = False
        """Another worker of this index was there before, and may still be."""
        self.values: Numbers
        self._descriptor = descriptor
        self._reading = reading
        self._places: list[Place] = []
        size = os.fstat(descriptor).st_size
        data = os.pread(descriptor, size, 0)
        used = HEADER_BYTES
        try:
            for place in places(data):
                self._places.append(place._replace(at=place.at // _CELL_BYTES))
                used = place.at + place.size * _CELL_BYTES
        except BrokenFileError as error:
            log.warning("%s is broken, %d label sets are kept: %s", path, len(self._places), error)
        self.succeeds = bool(self._places)
        self._map(max(_STEP_BYTES, size + -size % _STEP_BYTES))
        self._words[_USED_WORD] = used
        self._mapped[: len(MARK)] = MARK

    @classmethod
    def open(
        cls, folder: Path, stem: str, index: int, workers: int, reading: Callable[[], Iterable[Record]]
    ) -> SharedCells:
        """The file of the worker `index` of `workers`, locked, in a folder that no stranger writes to.

        `stem` begins the names of the files that belong together; `reading` gives what all of them hold. Raises
        `OSError`.
        """
        for number in range(index, index + workers * _MAX_FILES, workers):
            path = folder / f"{stem}-{number}.cells"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK))
                cells = cls(path, descriptor, reading)
            except BlockingIOError:
                os.close(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            else:
                cells.succeeds |= number != index
                return cells
        raise FileExistsError(f"{_MAX_FILES} workers of index {index} run")

    def places(self) -> Iterable[Place]:
        return self._places

    def append(self, kind: str, labels: tuple[str, ...], count: int) -> int:
        record, cells = encode(kind, labels, count)
        used = self._words[_USED_WORD]
        end = used + len(record)
        if end > len(self._mapped):
            self._map(end + _STEP_BYTES - end % _STEP_BYTES)
        self._mapped[used:end] = record
        self._words[_USED_WORD] = end  # one aligned word: a reader sees all of the record or nothing
        place = Place(kind, labels, (used + cells) // _CELL_BYTES, count)
        self._places.append(place)
        return place.at

    def reading(self) -> Callable[[], Iterable[Record]]:
        return self._reading

    def close(self) -> None:
        """Gives the file to whoever comes next. What is counted afterwards still arrives."""
        fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _lock(fcntl.F_UNLCK))
        os.close(self._descriptor)

    def _map(self, size: int) -> None:
        """Maps `size` bytes, which are allocated: a full disk is an `OSError` here and not a signal later."""
        os.posix_fallocate(self._descriptor, 0, size)
        self._mapped = mmap.mmap(self._descriptor, size)
        self._words = memoryview(self._mapped).cast("Q")
        self.values = memoryview(self._mapped).cast("d")
