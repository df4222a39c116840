"""`graphql`: errors of the gateway as clients of GraphQL expect them (GraphQL over HTTP, §6.4)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from daemun import Buffered, Dialect, ExchangeError, Request, Response, header_values, hookimpl

_ANSWER = b"application/graphql-response+json"
_REQUEST = b"application/graphql"


def claims(request: Request) -> bool:
    """Whether the client sends a query, or accepts the media type of answers; a wildcard is no wish for it."""
    content = header_values(request.headers, b"content-type")
    accepted = (part for value in header_values(request.headers, b"accept") for part in value.split(b","))
    return any(_media_type(value) == _REQUEST for value in content) or any(
        _media_type(part) == _ANSWER for part in accepted
    )


def render(request: Request, error: ExchangeError) -> Response:
    """One error without data; `extensions` say what failed, who, and whether to try again."""
    extensions: dict[str, object] = {"code": error.reason.value.upper(), "side": error.side.value}
    headers = [(b"content-type", _ANSWER)]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
        extensions["retryAfterSeconds"] = error.retry_after_seconds
    answer = {"errors": [{"message": error.message, "extensions": extensions}]}
    return Response(error.status, tuple(headers), Buffered(msgspec.json.encode(answer)))


def _media_type(value: bytes) -> bytes:
    return value.partition(b";")[0].strip().lower()


@hookimpl
def daemun_dialects() -> Iterable[Dialect]:
    return [Dialect("graphql", claims, render)]
