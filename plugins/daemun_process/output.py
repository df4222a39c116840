"""What processes print: to a file, to the gateway's log, or nowhere. A process never waits for us to log."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from time import monotonic

import anyio

__all__ = ["LoggedOutput", "Output", "open_output"]

_CHUNK_BYTES = 65536
_PIPE_BYTES = 1024 * 1024
_LINE_BYTES = 4096
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(9), *range(10, 32), *range(127, 160))}


class Output:
    """Where the output of one process goes. `descriptor` is for the process."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def handed_over(self) -> None:
        """The process holds its copy now."""
        os.close(self.descriptor)

    async def pump(self) -> None:
        """Takes what is printed, until cancelled or until nobody can print more. May be called again."""

    def close(self) -> None:
        """Takes what is left and ends. Never blocks."""


class LoggedOutput(Output):
    """Lines become records of `logger`, with control characters made visible and long lines cut.

    More than `lines_per_second` are read and counted, but not logged.
    """

    def __init__(self, logger: logging.Logger, lines_per_second: int) -> None:
        self._reader, writer = os.pipe()
        super().__init__(writer)
        os.set_blocking(self._reader, False)
        self._logger = logger
        self._limit = lines_per_second
        self._line = b""
        self._cut_bytes = 0
        self._second = 0.0
        self._logged = 0
        self._dropped = 0

    async def pump(self) -> None:
        data: bytes | None = None
        while data != b"":
            await anyio.wait_readable(self._reader)
            data = self._take()

    def close(self) -> None:
        # A descendant that fled may hold the other end and print for ever: what fits a pipe is enough.
        for _ in range(_PIPE_BYTES // _CHUNK_BYTES):
            if not self._take():
                break
        os.close(self._reader)
        if self._line:
            self._end_line()
        self._report_dropped()

    def _take(self) -> bytes | None:
        """Reads what is there; b"" at the end, None if nothing is there yet."""
        try:
            data = os.read(self._reader, _CHUNK_BYTES)
        except BlockingIOError:
            return None
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._extend(line)
            self._end_line()
        self._extend(rest)
        return data

    def _extend(self, part: bytes) -> None:
        room = _LINE_BYTES - len(self._line)
        self._line += part[:room]
        self._cut_bytes += max(0, len(part) - room)

    def _end_line(self) -> None:
        line, self._line = self._line, b""
        cut_bytes, self._cut_bytes = self._cut_bytes, 0
        now = monotonic()
        if now - self._second >= 1.0:
            self._report_dropped()
            self._second, self._logged = now, 0
        if self._logged >= self._limit:
            self._dropped += 1
            return
        self._logged += 1
        text = line.rstrip(b"\r").decode("utf-8", "backslashreplace").translate(_CONTROL)
        if cut_bytes:
            text = f"{text}… ({cut_bytes} bytes more)"
        self._logger.info("%s", text)

    def _report_dropped(self) -> None:
        if self._dropped:
            self._logger.warning("%d lines more than %d in a second were not logged", self._dropped, self._limit)
            self._dropped = 0


def open_output(backend: str, file: Path | None, lines_per_second: int) -> Output:
    """The output of one process of `backend`. Blocks for a moment. Raises `OSError` for a bad `file`."""
    if file is not None:
        return Output(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if lines_per_second:
        return LoggedOutput(logging.getLogger(f"daemun.process.{backend}"), lines_per_second)
    return Output(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
