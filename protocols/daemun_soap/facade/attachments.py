"""MTOM messages that are read as a whole: parts of a multipart, put into the envelope where it includes them."""

from __future__ import annotations

import binascii
from urllib.parse import unquote

from lxml import etree
from msgspec import Struct

from daemun_soap.envelopes.media import SoapType, parse_media
from daemun_soap.names import XOP, qualified

__all__ = ["Package", "include_parts", "read_package"]

_INCLUDE = qualified(XOP, "Include")
_MAX_PARTS = 1000
_MAX_PART_HEAD_BYTES = 16 * 1024


class Package(Struct, frozen=True):
    """An envelope and what came along with it."""

    envelope: bytes
    charset: str
    """As the content type says; "": it does not."""
    parts: dict[str, bytes] = {}
    """Attachments by their content ids."""


def read_package(data: bytes, media: SoapType) -> Package:
    """The envelope in `data`, whether it is alone or the root of a multipart. Raises `ValueError` in words."""
    if not media.boundary:
        return Package(data, media.charset)
    parts = _parts(data, media.boundary)
    start = media.start.strip("<>")
    root = next((part for part in parts if part[0] == start), None) if start else parts[0]
    if root is None:
        raise ValueError("a multipart whose root is not there")
    charset = parse_media(root[1].encode("latin-1")).parameters.get("charset", "") if root[1] else ""
    return Package(root[2], charset, {name: content for name, _, content in parts if name})


def _parts(data: bytes, boundary: bytes) -> list[tuple[str, str, bytes]]:
    """Content id, content type and content of each part."""
    pieces = (b"\r\n" + data).split(b"\r\n--" + boundary)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise ValueError("a multipart that does not end with its boundary")
    if len(pieces) - 2 > _MAX_PARTS:
        raise ValueError(f"a multipart of more than {_MAX_PARTS} parts")
    found = []
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank or len(head) > _MAX_PART_HEAD_BYTES:
            raise ValueError("a part of a multipart whose head does not end")
        fields: dict[str, str] = {}
        for line in head.decode("latin-1").replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n"):
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        if fields.get("content-transfer-encoding", "binary").lower() == "base64":
            content = binascii.a2b_base64(content)
        found.append((fields.get("content-id", "").strip("<>"), fields.get("content-type", ""), content))
    return found


def include_parts(root: etree._Element, parts: dict[str, bytes], max_bytes: int) -> None:
    """Puts parts into elements that include them, as base64. Raises `ValueError` for parts that are not there, and for
    more than `max_bytes` in all: a part may be included many times."""
    left = max_bytes
    for include in list(root.iter(_INCLUDE)):
        href = include.get("href", "")
        content = parts.get(unquote(href.removeprefix("cid:"))) if href.startswith("cid:") else None
        parent = include.getparent()
        if content is None or parent is None:
            raise ValueError("an xop:Include of a part that is not there")
        left -= len(content) * 4 // 3
        if left < 0:
            raise ValueError(f"attachments of more than {max_bytes} bytes")
        parent.remove(include)
        parent.text = binascii.b2a_base64(content, newline=False).decode()
