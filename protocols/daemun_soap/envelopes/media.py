"""Content types as SOAP uses them: which are messages, of which version, with which action, in how many parts.

Readers differ in escapes, in names with `*` (RFC 2231) and in what stands without quotes: what two of them would take
for two things is refused.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from daemun_soap.envelopes.prolog import malformed
from daemun_soap.names import Version

__all__ = ["Media", "SoapType", "parse_media", "part_type", "soap_type"]

_TYPE = re.compile(rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*")
_PARAMETER = re.compile(
    rb""";[ \t]*(?:([!#$%&'+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*"""
    rb"""(?:"((?:[^"\\]++|\\.)*+)"|([!#$%&'*+.^_`|~0-9A-Za-z/:=<>@?-]+)))?[ \t]*"""
)
_TYPES = ("type", "start-info")
"""Parameters that are types themselves, with an action in escaped quotes perhaps."""
_ESCAPED = re.compile(rb'[^"\\]*\\"[^"\\;]*\\"[ \t]*')
_LIKE_ACTION = re.compile(r"action.*=")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_VERSIONS = {"text/xml": Version.V1_1, "application/soap+xml": Version.V1_2, "": None}
"""What an envelope is by its type; "": a type that does not tell."""
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
    """A `content-type`. Raises `ExchangeError` if it is malformed, or may be read in two ways."""
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
        written = found[2] if found[2] is not None else found[3]
        if b"\\" in written and not (name in _TYPES and _ESCAPED.fullmatch(written)):
            raise malformed("its content-type has a backslash in a parameter")
        text = parameters[name] = written.replace(b"\\", b"").decode("latin-1")
        if name != "action" and name not in _TYPES and _LIKE_ACTION.search(f"{name}={text}".lower()):
            raise malformed("its content-type has what looks like an action, and is none")
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
        return SoapType(Version.V1_1, charset, _action(given))
    if media.name == "application/soap+xml":
        return SoapType(Version.V1_2, charset, _action(given))
    if media.name == "multipart/related":
        return _related(given)
    return None


def part_type(value: bytes) -> SoapType | None:
    """What the part of an envelope says of itself, or None if it is of something else. Raises as `soap_type` does."""
    media = parse_media(value)
    kind = media.name
    if kind == "application/xop+xml":
        kind = _kind(media.parameters, "type")
    if kind not in _VERSIONS:
        return None
    return SoapType(_VERSIONS[kind], media.parameters.get("charset", ""), _action(media.parameters))


def _related(given: dict[str, str]) -> SoapType | None:
    """RFC 2387: SOAP with Attachments, or MTOM, whose envelope says by `start-info` what it would be alone."""
    kind = _kind(given, "type")
    if kind == "application/xop+xml":
        kind = _kind(given, "start-info")
    elif not kind:
        return None
    if kind not in _VERSIONS:
        return None
    boundary = given.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise malformed("a boundary of its parts is missing, or is none (RFC 2046)")
    return SoapType(_VERSIONS[kind], "", _action(given), boundary.encode(), given.get("start", "").strip())


def _kind(given: dict[str, str], name: str) -> str:
    """A parameter that is a type, without its own parameters; "": it is not there."""
    return given.get(name, "").partition(";")[0].strip().lower()


def _action(given: dict[str, str]) -> str | None:
    """The action that is said, also in parameters that are types themselves. Raises `ExchangeError` for two."""
    said = [given.get("action")]
    said += [_action(parse_media(given[name].encode("latin-1")).parameters) for name in _TYPES if given.get(name)]
    actions = {one for one in said if one is not None}
    if len(actions) > 1:
        raise malformed("its content-type says two actions")
    return actions.pop() if actions else None
