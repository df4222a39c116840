"""Content types as SOAP uses them: which are messages, of which version, with which action, in how many parts."""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from daemun_soap.envelopes.prolog import malformed
from daemun_soap.names import Version

__all__ = ["Media", "SoapType", "parse_media", "soap_type"]

_TYPE = re.compile(rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*")
_PARAMETER = re.compile(
    rb""";[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]++|\\.)*+)"|([^\s;,"]+)))?[ \t]*"""
)
_ESCAPE = re.compile(r"\\(.)")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_MAX_CACHED_BYTES = 512


class Media(Struct, frozen=True):
    """A media type with its parameters, names in lower case."""

    name: str
    """`text/xml`, in lower case."""
    parameters: dict[str, str]


class SoapType(Struct, frozen=True):
    """The content type of a SOAP message."""

    version: Version | None
    """None: one that does not tell."""
    charset: str = ""
    action: str | None = None
    """None: it says nothing of one."""
    boundary: bytes = b""
    """Of the parts of a message that has attachments; b"": it has none."""
    start: str = ""
    """The Content-ID of the part that is the envelope; "": it is the first one."""


def parse_media(value: bytes) -> Media:
    """A `content-type`. Raises `ExchangeError` if it is malformed, or has a parameter twice."""
    match = _TYPE.match(value)
    if match is None:
        raise malformed("its content-type is malformed")
    parameters: dict[str, str] = {}
    at = match.end()
    while at < len(value):
        found = _PARAMETER.match(value, at)
        if found is None:
            raise malformed("its content-type is malformed")
        at = found.end()
        if found[1] is None:
            continue
        name = found[1].decode().lower()
        if name in parameters:
            raise malformed("its content-type has a parameter twice")
        quoted = found[2]
        parameters[name] = (
            _ESCAPE.sub(r"\1", quoted.decode("latin-1")) if quoted is not None else found[3].decode("latin-1")
        )
    return Media(match[1].decode().lower(), parameters)


def soap_type(value: bytes | None) -> SoapType | None:
    """What `value` says of a SOAP message, or None if it is the type of something else.

    `text/xml` may be anybody's: it is of SOAP 1.1 if it is of SOAP at all. Raises `ExchangeError` for one that is
    malformed, or that says two things.
    """
    if value is None:
        return None
    if len(value) <= _MAX_CACHED_BYTES:
        return _cached(value)
    return _soap_type(value)


@lru_cache(maxsize=1024)
def _cached(value: bytes) -> SoapType | None:
    return _soap_type(value)


def _soap_type(value: bytes) -> SoapType | None:
    begins = value.lstrip(b" \t")[:20].lower()
    if not begins.startswith((b"text/xml", b"application/soap+xml", b"multipart/related")):
        return None
    media = parse_media(value)
    given = media.parameters
    charset = given.get("charset", "")
    if media.name == "text/xml":
        return SoapType(Version.V1_1, charset)
    if media.name == "application/soap+xml":
        return SoapType(Version.V1_2, charset, given.get("action"))
    if media.name == "multipart/related":
        return _related(given)
    return None


def _related(given: dict[str, str]) -> SoapType | None:
    """RFC 2387: SOAP with Attachments, or MTOM, whose envelope says by `start-info` what it would be alone."""
    root = given.get("type", "").partition(";")[0].strip().lower()
    about = parse_media(given["start-info"].encode("latin-1")) if given.get("start-info") else None
    if root == "application/xop+xml":
        root = about.name if about is not None else ""
        if root not in ("", "text/xml", "application/soap+xml"):
            return None
    elif root not in ("text/xml", "application/soap+xml"):
        return None
    boundary = given.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise malformed("a boundary of its parts is missing, or is none (RFC 2046)")
    version = {"text/xml": Version.V1_1, "application/soap+xml": Version.V1_2}.get(root)
    said = (given.get("action"), about.parameters.get("action") if about is not None else None)
    actions = {one for one in said if one is not None}
    if len(actions) > 1:
        raise malformed("its content-type says two actions")
    return SoapType(version, "", actions.pop() if actions else None, boundary.encode(), given.get("start", "").strip())
