"""Envelopes as the façade writes and reads them: whole, in memory, within bounds."""

from __future__ import annotations

from lxml import etree
from msgspec import Struct

from daemun import ExchangeError, Headers, Reason
from daemun_soap.envelopes.fault import no_envelope
from daemun_soap.envelopes.hardened import MAX_NAMESPACES, namespaces_around, parse
from daemun_soap.envelopes.limits import Limits
from daemun_soap.envelopes.media import SoapType
from daemun_soap.facade.attachments import include_parts, read_package
from daemun_soap.facade.bounds import Bounds
from daemun_soap.names import SOAP11, SOAP12, Version, qualified

__all__ = ["Incoming", "fields_for", "limits_of", "read_envelope"]

_VERSIONS = {qualified(version.namespace, "Envelope"): version for version in Version}
_ENVELOPE_LEVELS = 3


class Incoming(Struct, frozen=True, eq=False):
    """An envelope that was read."""

    version: Version
    header: etree._Element | None
    body: etree._Element
    child: etree._Element | None
    """The first child of the Body."""

    @property
    def is_fault(self) -> bool:
        """Whether it is a Fault."""
        return self.child is not None and self.child.tag in (qualified(SOAP11, "Fault"), qualified(SOAP12, "Fault"))


def fields_for(version: Version, action: str) -> Headers:
    """The fields of a request with an envelope."""
    written = action.replace("\\", "").replace('"', "").encode("utf-8")
    if version is Version.V1_1:
        return (
            (b"content-type", b"text/xml; charset=utf-8"),
            (b"accept", b"text/xml, multipart/related"),
            (b"soapaction", b'"' + written + b'"'),
        )
    parameter = b'; action="' + written + b'"' if written else b""
    return (
        (b"content-type", b"application/soap+xml; charset=utf-8" + parameter),
        (b"accept", b"application/soap+xml, multipart/related"),
    )


def limits_of(bounds: Bounds, max_bytes: int) -> Limits:
    """The limits of an envelope whose content has these bounds."""
    return Limits(
        max_envelope_bytes=max_bytes,
        max_markup=2 * bounds.max_read + 64,
        max_attributes=2 * bounds.max_read + 1024,
        max_depth=min(bounds.max_depth + _ENVELOPE_LEVELS, 255),
    )


def read_envelope(data: bytes, media: SoapType, limits: Limits, reason: Reason) -> Incoming:
    """The envelope in `data`, its attachments put where it includes them. Raises `ExchangeError` with `reason`."""
    try:
        package = read_package(data, media)
        root = parse(package.envelope, limits, package.charset, reason=reason)
        if package.parts:
            include_parts(root, package.parts, limits.max_envelope_bytes)
    except ExchangeError as error:
        if reason is Reason.BAD_REQUEST:
            raise
        raise ExchangeError(reason, error.message) from None
    except ValueError as error:
        raise ExchangeError(reason, f"malformed SOAP message: {error}") from None
    if namespaces_around(root) > MAX_NAMESPACES:
        raise ExchangeError(reason, f"SOAP message too large: more than {MAX_NAMESPACES} namespaces around an element")
    version = _VERSIONS.get(str(root.tag))
    if version is None:
        wrong = no_envelope(str(root.tag))
        raise wrong if reason is wrong.reason else ExchangeError(reason, wrong.message)
    body = root.find(qualified(version.namespace, "Body"))
    if body is None or next(body.itersiblings(str(body.tag)), None) is not None:
        raise ExchangeError(reason, "malformed SOAP message: no envelope with one Body")
    child = next(body.iterchildren(tag=etree.Element), None)
    return Incoming(version, root.find(qualified(version.namespace, "Header")), body, child)
