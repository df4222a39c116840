"""One SOAP call from a shell: an envelope to a back end and what it answers, by the HTTP of the standard library."""

from __future__ import annotations

import http.client
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from msgspec import Struct

from daemun import Buffered, ExchangeError, Headers, Reason, Response

__all__ = ["Endpoint", "post"]


class Endpoint(Struct, frozen=True):
    """Where a call goes, and how long it may take."""

    url: str
    timeout_seconds: float = 30.0
    """Silence of this length ends the call."""
    max_bytes: int = 16 * 1024 * 1024
    """Longest answer."""

    def __post_init__(self) -> None:
        accepted = "accepted: an http or https URL in ASCII, without name and password"
        try:
            parts = urlsplit(self.url)
        except ValueError:
            raise ValueError(f"a malformed endpoint ({accepted})") from None
        if "@" in parts.netloc:
            raise ValueError(f"an endpoint with a name or a password ({accepted}; -H 'Authorization: …' says them)")
        if parts.scheme not in ("http", "https") or not parts.hostname or not self.url.isascii():
            raise ValueError(f"{self.url!r} is no endpoint ({accepted})")


def post(endpoint: Endpoint, headers: Headers, content: bytes) -> Response:
    """The answer to `content`, whatever its status; redirects are not followed. Raises `ExchangeError` if none came."""
    request = Request(endpoint.url, data=content, method="POST")
    for name, value in headers:
        request.add_header(name.decode("latin-1"), value.decode("latin-1"))
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):  # and none for statuses: each is an answer
        opener.add_handler(handler)
    try:
        return _read(opener.open(request, timeout=endpoint.timeout_seconds), endpoint.max_bytes)
    except TimeoutError:
        raise ExchangeError(Reason.UPSTREAM_TIMEOUT, f"no answer for {endpoint.timeout_seconds:g} s") from None
    except (URLError, OSError, ValueError, http.client.HTTPException) as error:
        words = getattr(error, "reason", None) or error
        raise ExchangeError(Reason.CONNECT_FAILED, f"{endpoint.url} cannot be called: {words}") from None


def _read(answer: http.client.HTTPResponse, max_bytes: int) -> Response:
    with answer:
        content = answer.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the answer is longer than {max_bytes} bytes")
        if answer.length:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the answer breaks off")
        headers = tuple(
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in answer.headers.items()
        )
        return Response(answer.status or 0, headers, Buffered(content))
