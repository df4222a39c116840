"""What all workers say together: everything that any of them ever counted, and what is true now of those that live."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from daemun_prometheus.cells import Record
from daemun_prometheus.record_file import BrokenFileError, records
from daemun_prometheus.shared import is_owned

__all__ = ["Gauge", "Workers"]

log = logging.getLogger("daemun.prometheus")


class Gauge(NamedTuple):
    """A value that is true now."""

    name: str
    """Of its family."""
    labels: tuple[str, ...]
    value: float


_DECODER = msgspec.msgpack.Decoder(list[Gauge])


class Workers:
    """The files of all workers in `folder`. Its methods read and write files: call them in a thread."""

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder = folder
        self._stem = stem
        self._complained: set[Path] = set()

    def counted(self) -> Iterator[Record]:
        """The records of all files. Of one that is broken, those before the place where it is."""
        for path in self._files():
            try:
                yield from records(path.read_bytes())
            except (OSError, BrokenFileError) as error:
                self._complain(path, error)

    def gauges_of_others(self, own: Path) -> Iterator[Gauge]:
        """What the other workers published last, if they live; `own` is the file of cells of this one."""
        for path in self._files():
            published = path.with_suffix(".gauges")
            try:
                if path != own and is_owned(path) and published.exists():
                    yield from _DECODER.decode(published.read_bytes())
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
                self._complain(published, error)

    def publish(self, own: Path, gauges: list[Gauge]) -> None:
        """Replaces what this worker published. Raises `OSError`."""
        fresh = own.with_suffix(".fresh")
        fresh.write_bytes(msgspec.msgpack.encode(gauges))
        os.replace(fresh, own.with_suffix(".gauges"))

    def forget(self, own: Path) -> None:
        """Removes what a predecessor published. Raises `OSError`."""
        own.with_suffix(".gauges").unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._stem}-*.cells"))

    def _complain(self, path: Path, error: Exception) -> None:
        if path not in self._complained:
            self._complained.add(path)
            log.warning("%s is left out of the metrics as far as it is broken: %s", path, error)
