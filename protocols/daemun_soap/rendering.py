"""Errors of ours as Faults of the version that the caller speaks."""

from __future__ import annotations

from daemun import Buffered, ExchangeError, Request, Response, http_date
from daemun_soap.envelopes.fault import fault_of
from daemun_soap.envelopes.message import SOAP_MESSAGE, head_of
from daemun_soap.names import Version

__all__ = ["as_fault", "version_of"]

_KEPT = frozenset((401, 405, 407, 415))
"""Statuses that are about HTTP, before any message: they stay. All others are those of Faults."""


def version_of(request: Request) -> Version | None:
    """The version that the caller speaks, 1.1 if it says SOAP and no version; None: it does not speak SOAP."""
    message = request.exchange.stash.get(SOAP_MESSAGE, None)
    if message is not None and not message.foreign:
        return message.version or Version.V1_1
    content_type = (request.header(b"content-type") or b"").lower()
    if content_type.startswith(b"application/soap+xml"):
        return Version.V1_2
    try:
        head = head_of(request)
    except ExchangeError:
        head = None
    if head is None:
        return None
    media = head.media
    if content_type.startswith(b"text/xml") or b"xop+xml" not in content_type:
        return media.version if media.version is Version.V1_2 or head.action is not None else None
    return media.version or Version.V1_1


def as_fault(request: Request, error: ExchangeError) -> Response:
    """`error` as a Fault, with the status that its version asks for."""
    version = version_of(request) or Version.V1_1
    status, envelope = fault_of(version, error)
    headers = [
        (b"date", http_date()),
        (b"server", b"daemun"),
        (b"cache-control", b"no-store"),
        (b"x-daemun-reason", error.reason.value.encode()),
        (b"content-type", version.content_type + b"; charset=utf-8"),
    ]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
    return Response(error.status if error.status in _KEPT else status, tuple(headers), Buffered(envelope))
