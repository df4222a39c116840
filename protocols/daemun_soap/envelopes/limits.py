"""What an XML document may cost, counted on its bytes before a parser sees them.

What a parser builds is many times what made it: `<a/>` are four bytes and a node of two hundred. So markup, attributes
and the length of tags are bounded here, by searches that cost next to nothing beside parsing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

from msgspec import Meta, Struct

from daemun import ExchangeError, Reason

__all__ = ["MAX_DEPTH", "Caps", "Limits", "too_much"]

MAX_DEPTH = 256
"""Levels of elements that libxml2 itself allows: below it there is nothing to count."""

_ATTRIBUTE_BYTES = 5
"""Of the shortest attribute, with the blank before it."""
_QUOTED = re.compile(rb""""[^<"]*"|'[^<']*'""")
_TAG = re.compile(rb"""<[^<>"'!](?:[^<>"']++|"[^<"]*+"|'[^<']*+')*+>""")


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of an envelope. Whatever exceeds one is refused."""

    max_envelope_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=1024 * 1024 * 1024,
            description="Bytes of the envelope, without attachments. One text in it never has more than 10,000,000.",
        ),
    ] = 4 * 1024 * 1024
    max_markup: Annotated[
        int, Meta(ge=16, description="Tags, comments and the like, counted by `<`; they bound the memory of parsing.")
    ] = 40_000
    max_attributes: Annotated[
        int, Meta(ge=16, description="Attributes and namespace declarations of all elements, counted by `=`.")
    ] = 32_768
    max_element_attributes: Annotated[
        int, Meta(ge=4, le=4096, description="Attributes and namespace declarations of one element.")
    ] = 256
    max_tag_bytes: Annotated[int, Meta(ge=256, le=1024 * 1024, description="Bytes of one tag with its attributes.")] = (
        64 * 1024
    )
    max_depth: Annotated[
        int, Meta(ge=4, le=256, description="Levels of elements, the envelope included; 256 are what libxml2 allows.")
    ] = MAX_DEPTH


def too_much(words: str) -> ExchangeError:
    """The error of a message that exceeds a limit, with words that say which."""
    return ExchangeError(Reason.CONTENT_TOO_LARGE, f"SOAP message too large: {words}")


class Caps:
    """Counts one document as it comes, in UTF-8 or another superset of ASCII."""

    __slots__ = ("_attributes", "_bytes", "_enough", "_limits", "_pending", "markup")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = 0
        self.markup = 0
        """How many `<` there were."""
        self._attributes = 0
        self._enough = 0
        self._pending = bytearray()

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Counts the next bytes, the last ones perhaps. Raises `ExchangeError` for what is too much.

        A tag that came in part is looked at again when it is twice as long, or too long.
        """
        limits = self._limits
        size = self._bytes = self._bytes + len(data)
        if size > limits.max_envelope_bytes:
            raise too_much(f"an envelope of more than {limits.max_envelope_bytes} bytes")
        self.markup += data.count(b"<")
        if self.markup > limits.max_markup:
            raise too_much(f"more than {limits.max_markup} tags")
        self._attributes += data.count(b"=")
        if self._attributes > limits.max_attributes:
            raise too_much(f"more than {limits.max_attributes} attributes")
        text = data
        if self._pending:
            self._pending += data
            if len(self._pending) < self._enough and not last:
                return
            text = bytes(self._pending)
        if self._attributes > limits.max_element_attributes:
            self._check_attributes(text)
        if size > limits.max_tag_bytes:
            self._check_tags(text)
        if not last:
            self._pending = bytearray(self._unfinished(text))
            self._enough = min(2 * len(self._pending), limits.max_tag_bytes + 1)

    def _check_attributes(self, text: bytes) -> None:
        most = self._limits.max_element_attributes
        for hit in _long(most * _ATTRIBUTE_BYTES).finditer(text):
            tag = _TAG.match(text, hit.start())
            if tag is not None and _QUOTED.sub(b"", tag[0]).count(b"=") > most:
                raise too_much(f"an element with more than {most} attributes")

    def _check_tags(self, text: bytes) -> None:
        most = self._limits.max_tag_bytes
        for hit in _long(most).finditer(text):
            if _TAG.match(text, hit.start(), hit.start() + most) is None:
                raise too_much(f"a tag of more than {most} bytes")

    def _unfinished(self, text: bytes) -> bytes:
        """The tag at the end of `text`, if it may go on."""
        at = text.rfind(b"<")
        most = self._limits.max_tag_bytes
        if at < 0 or text.startswith(b"<!", at) or _TAG.match(text, at, at + most) is not None:
            return b""
        if len(text) - at > most:
            raise too_much(f"a tag of more than {most} bytes")
        return text[at:]


@lru_cache(maxsize=64)
def _long(size: int) -> re.Pattern[bytes]:
    """Where a tag may begin that is as long, with the text behind it: no value of an attribute has a `<`."""
    return re.compile(rb"<[^!<][^<]{%d}" % (size - 1))
