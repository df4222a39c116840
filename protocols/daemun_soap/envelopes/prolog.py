"""What stands before an envelope's first tag, read by a grammar of ours before any parser sees the document.

A parser chooses an encoding and meets a DTD here: two readers that differ in it read two documents. So there is one
encoding that everything agrees on, blanks and comments, and nothing else.
"""

from __future__ import annotations

import re

from msgspec import Struct

from daemun import ExchangeError, Reason

__all__ = ["MAX_PROLOG_BYTES", "Prolog", "malformed", "read_prolog"]

MAX_PROLOG_BYTES = 16 * 1024
_ENCODINGS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "us-ascii",
    "ascii": "us-ascii",
    "iso-8859-1": "iso-8859-1",
    "latin1": "iso-8859-1",
    "utf-16": "utf-16",
}
_ACCEPTED = "accepted: UTF-8, UTF-16 with a byte order mark, US-ASCII, ISO-8859-1"
_DECLARATION = re.compile(
    rb"""<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:"1\.0"|'1\.0')"""
    rb"""(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?:"([A-Za-z][A-Za-z0-9._-]*)"|'([A-Za-z][A-Za-z0-9._-]*)'))?"""
    rb"""(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:"(?:yes|no)"|'(?:yes|no)'))?[ \t\r\n]*\?>"""
)
_SPACE = re.compile(rb"[ \t\r\n]*")
_ROOT = re.compile(rb"<((?:[A-Za-z_\x80-\xff][\w.\x80-\xff-]*:)?[A-Za-z_\x80-\xff][\w.\x80-\xff-]*)[ \t\r\n/>]")
_BEGINNINGS = (b"<?xml", b"<!--")


class Prolog(Struct, frozen=True):
    """What a prolog says."""

    encoding: str
    """`utf-8`, `utf-16`, `us-ascii` or `iso-8859-1`."""
    root: str
    """The local name of the first element."""
    size: int
    """Bytes before the first tag (in UTF-16: none are counted)."""


def malformed(words: str) -> ExchangeError:
    """The error of a message that cannot be read, with words that hold none of it."""
    return ExchangeError(Reason.BAD_REQUEST, f"malformed SOAP message: {words}")


_KNOWN: dict[tuple[bytes, str], Prolog] = {}
_KNOWN_BYTES = 128
_MAX_KNOWN = 256


def read_prolog(data: bytes, charset: str = "") -> Prolog | None:
    """The prolog of a document that begins with `data`, or None if it goes on behind `data`.

    `charset` is what the content type says, "" if it says nothing. Raises `ExchangeError` for a DTD, a processing
    instruction, an encoding that is not accepted, or encodings that contradict each other.
    """
    beginning = data[:_KNOWN_BYTES]
    known = _KNOWN.get((beginning, charset))
    if known is not None:
        return known
    named = _accepted(charset) if charset else ""
    complete = len(data) >= MAX_PROLOG_BYTES
    data = data[:MAX_PROLOG_BYTES]
    mark, text = _without_mark(data)
    if text is None:
        return None
    declared, at = "", 0
    if b"<?xml".startswith(text):
        return None
    if text.startswith(b"<?xml") and text[5:6] in (b" ", b"\t", b"\r", b"\n"):
        match = _DECLARATION.match(text)
        if match is None:
            if complete or b"?>" in text:
                raise malformed("the XML declaration is malformed, or not of XML 1.0")
            return None
        name = match[1] or match[2]
        declared = _accepted(name.decode()) if name else ""
        at = match.end()
    found = _first_tag(text, at)
    if found is None:
        if complete:
            raise malformed(f"no element within the first {MAX_PROLOG_BYTES} bytes")
        return None
    root, at = found
    encoding = mark or named or declared or "utf-8"
    if encoding == "utf-16" and not mark:
        raise malformed(f"UTF-16 without a byte order mark; {_ACCEPTED}")
    if any(other and other != encoding for other in (mark, named, declared)):
        raise malformed("the byte order mark, the XML declaration and the charset contradict each other")
    local = root.rpartition(b":")[2].decode(errors="replace")
    if encoding == "utf-16":
        return Prolog(encoding, local, 0)
    size = len(data) - len(text) + at
    prolog = Prolog(encoding, local, size)
    if size + len(root) + 2 <= len(beginning):  # it is all there: what begins alike says the same
        if len(_KNOWN) >= _MAX_KNOWN:
            _KNOWN.clear()
        _KNOWN[beginning, charset] = prolog
    return prolog


def _accepted(name: str) -> str:
    encoding = _ENCODINGS.get(name.lower())
    if encoding is None:
        raise malformed(f"an encoding that is not accepted; {_ACCEPTED}")
    return encoding


def _without_mark(data: bytes) -> tuple[str, bytes | None]:
    """What the byte order mark says, and the text without it in a superset of ASCII; None: too little to tell."""
    first = data[:1]
    if first in (b"<", b" ", b"\t", b"\r", b"\n"):
        if data[1:2] == b"\0":
            raise malformed(f"UTF-16 without a byte order mark; {_ACCEPTED}")
        return "", data
    if first in (b"\xff", b"\xfe", b"\xef"):
        if len(data) < 4:
            return "", None
        if data.startswith(b"\xef\xbb\xbf"):
            return "utf-8", data[3:]
        if data.startswith(b"\xff\xfe") and data[2:4] != b"\0\0":
            return "utf-16", _from_utf16(data, "utf-16-le")
        if data.startswith(b"\xfe\xff"):
            return "utf-16", _from_utf16(data, "utf-16-be")
    elif not first:
        return "", None
    raise malformed(f"it does not begin as XML in an accepted encoding; {_ACCEPTED}")


def _from_utf16(data: bytes, codec: str) -> bytes:
    return data[2 : len(data) & ~1].decode(codec, "replace").encode("utf-8", "replace")


def _first_tag(text: bytes, at: int) -> tuple[bytes, int] | None:
    """The qualified name in the first tag from `at` on, and where the tag begins; None: it comes later."""
    while True:
        match = _SPACE.match(text, at)
        at = match.end() if match is not None else at
        root = _ROOT.match(text, at)
        if root is not None:
            return root[1], at
        if text.startswith(b"<!--", at):
            end = text.find(b"--", at + 4)
            if end < 0 or len(text) < end + 3:
                return None
            if text[end + 2] != 0x3E:
                raise malformed("two hyphens inside of a comment")
            at = end + 3
            continue
        rest = text[at : at + 9]
        if rest.startswith(b"<!D") or (b"<!DOCTYPE".startswith(rest) and len(rest) > 2):
            raise malformed("a DTD, which SOAP forbids")
        if rest.startswith(b"<?"):
            raise malformed("a processing instruction, which SOAP forbids")
        if len(rest) == len(text) - at and (rest in (b"", b"<") or any(b.startswith(rest) for b in _BEGINNINGS)):
            return None
        if text[at : at + 1] == b"<" and re.fullmatch(rb"<[\w.:\x80-\xff-]*", text[at:]):
            return None
        raise malformed("something else than comments stands before the first element")
