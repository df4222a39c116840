"""Messages with attachments (RFC 2387): the part that is the envelope, found while all bytes pass by unchanged.

The envelope must be the first part, as everybody sends it: then attachments need not be looked at. Two readers of the
same bytes must find the same envelope, so lines that only look like a delimiter are refused.
"""

from __future__ import annotations

import enum
import re

from daemun_soap.envelopes.media import SoapType, part_type
from daemun_soap.envelopes.prolog import malformed

__all__ = ["RootPart"]

_MAX_PREAMBLE_BYTES = 4 * 1024
_MAX_HEAD_BYTES = 16 * 1024
_FOLD = re.compile(rb"\r\n[ \t]+")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)")
_DELIMITED = re.compile(rb"(--)?[ \t]*\r\n")
_PARTLY_DELIMITED = re.compile(rb"-|(?:--)?[ \t]*\r?")
_CLOSED = re.compile(rb"--[ \t]*\r?")
_MAX_PADDING_BYTES = 64
_ENCODINGS = (b"7bit", b"8bit", b"binary")


class _Step(enum.Enum):
    """What comes next."""

    PREAMBLE = 0
    HEAD = 1
    ENVELOPE = 2
    DELIMITER = 3
    """Behind a boundary that ended the envelope, in its line."""


class RootPart:
    """Takes the bytes of a message with attachments and gives those of its envelope."""

    __slots__ = ("_delimiter", "_held", "_lead", "_start", "_step", "media", "over")

    def __init__(self, media: SoapType) -> None:
        self.media = SoapType(media.version)
        """What the part says of itself; valid with the first byte of the envelope."""
        self.over = False
        """Whether the envelope was passed: what follows need not be shown."""
        self._delimiter = b"--" + media.boundary
        self._held = b""
        self._lead = 2
        self._start = media.start
        self._step = _Step.PREAMBLE

    def feed(self, data: bytes) -> bytes:
        """The bytes of the envelope among those that came. Raises `ExchangeError` if parts cannot be told apart."""
        if self.over:
            return b""
        held = self._held + data
        if self._step is _Step.PREAMBLE:
            held = self._after_preamble(held)
        if self._step is _Step.HEAD:
            held = self._after_head(held)
        envelope = b""
        if self._step is _Step.ENVELOPE:
            envelope, held = self._envelope(held)
        if self._step is _Step.DELIMITER:
            held = self._after_envelope(held)
        self._held = held
        return envelope

    def close(self) -> None:
        """Ends the message. Raises `ExchangeError` if the envelope was not complete."""
        if self._step is _Step.DELIMITER and _CLOSED.fullmatch(self._held):
            self.over = True
        if not self.over:
            raise malformed("its parts end before the envelope does")

    def _after_preamble(self, held: bytes) -> bytes:
        at = held.find(self._delimiter)
        line = held.find(b"\r\n", at) if at >= 0 else -1
        if line >= 0:
            if at > 0 and held[at - 2 : at] != b"\r\n":
                raise malformed("its first boundary does not begin a line")
            end = _DELIMITED.match(held, at + len(self._delimiter))
            if end is None or end[1]:
                raise malformed("its first boundary is malformed, or ends the message")
            self._step = _Step.HEAD
            return held[line:]  # the line's end, which may end an empty head too
        if len(held) > _MAX_PREAMBLE_BYTES:
            raise malformed(f"no boundary within the first {_MAX_PREAMBLE_BYTES} bytes")
        return held

    def _after_head(self, held: bytes) -> bytes:
        end = held.find(b"\r\n\r\n")
        if end < 0:
            if len(held) > _MAX_HEAD_BYTES:
                raise malformed(f"fields of its first part longer than {_MAX_HEAD_BYTES} bytes")
            return held
        self._read_head(held[2:end])
        self._step = _Step.ENVELOPE
        return held[end + 2 :]  # with the line's end before it, a delimiter may follow at once

    def _read_head(self, head: bytes) -> None:
        fields: dict[bytes, bytes] = {}
        for line in _FOLD.sub(b" ", head).split(b"\r\n") if head else ():
            match = _FIELD.fullmatch(line)
            if match is None:
                raise malformed("a malformed field in its first part")
            name = match[1].lower()
            if name in fields:
                raise malformed("a field twice in its first part")
            fields[name] = match[2].strip(b" \t")
        if self._start and fields.get(b"content-id", b"").decode("latin-1") != self._start:
            raise malformed("its first part is not the one that start names; accepted: the envelope first")
        if fields.get(b"content-transfer-encoding", b"8bit").lower() not in _ENCODINGS:
            raise malformed("an envelope in a transfer encoding; accepted: 7bit, 8bit, binary")
        if b"content-type" in fields:
            media = part_type(fields[b"content-type"])
            if media is None:
                raise malformed("its first part is no envelope")
            if None not in (self.media.version, media.version) and self.media.version is not media.version:
                raise malformed("its first part and its content-type differ in the version of SOAP")
            self.media = media

    def _envelope(self, held: bytes) -> tuple[bytes, bytes]:
        """What of `held` is sure to be the envelope's, and what is not."""
        at = held.find(b"\n" + self._delimiter)
        if at >= 0:
            if held[at - 1 : at] != b"\r":
                raise malformed("a boundary behind a line that ends in LF alone")
            self._step = _Step.DELIMITER
            envelope, rest = held[self._lead : at - 1], held[at + 1 + len(self._delimiter) :]
        else:
            sure = max(len(held) - len(self._delimiter) - 2, 0)
            if sure <= self._lead:
                return b"", held
            envelope, rest = held[self._lead : sure], held[sure:]
        self._lead = 0
        return envelope, rest

    def _after_envelope(self, held: bytes) -> bytes:
        if _DELIMITED.match(held):
            self.over = True
            return b""
        if len(held) > _MAX_PADDING_BYTES or not _PARTLY_DELIMITED.fullmatch(held):
            raise malformed("a line that only begins like its boundary")
        return held
