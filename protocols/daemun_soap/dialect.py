"""The dialects `soap` and `soap-json`. What SOAP needs is imported with the first error of one that may speak it."""

from __future__ import annotations

from daemun import Dialect, ExchangeError, Request, Response, StashKey, render

__all__ = ["ALLOWED", "SOAP", "SOAP_JSON"]

ALLOWED: StashKey[bytes] = StashKey("soap allowed methods")
"""The methods that a filter `soap` lets pass, of a request with another one: what `Allow` of its 405 says."""

_CONTENT_TYPES = (b"text/xml", b"application/soap+xml", b"multipart/related")


def _claims(request: Request) -> bool:
    if ALLOWED in request.exchange.stash:
        return True
    content_type = request.header(b"content-type")
    if content_type is None or not content_type.lower().startswith(_CONTENT_TYPES):
        return False
    try:
        from daemun_soap.rendering import version_of
    except ModuleNotFoundError:  # without the extra nobody here speaks it
        return False
    return version_of(request) is not None


def _render(request: Request, error: ExchangeError) -> Response:
    from daemun_soap.rendering import as_fault, version_of

    allowed = request.exchange.stash.get(ALLOWED, None)
    answer = render(error, request) if version_of(request) is None else as_fault(request, error)
    return answer.with_header(b"allow", allowed or b"POST") if error.status == 405 else answer


def _claims_json(request: Request) -> bool:
    return request.exchange.dialect is SOAP_JSON


def _render_json(request: Request, error: ExchangeError) -> Response:
    return render(error, request.with_header(b"accept", b"application/problem+json"))


SOAP = Dialect("soap", _claims, _render)
"""SOAP, on any route: by its content type, by `SOAPAction`, or because a matcher or a filter has seen that it is."""
SOAP_JSON = Dialect("soap-json", _claims_json, _render_json)
"""JSON in the place of SOAP: on exchanges that the filter `json-to-soap` gave it."""
