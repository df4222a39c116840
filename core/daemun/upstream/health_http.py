"""The health check `http`: a GET, and the status that comes back."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from daemun.errors import ExchangeError, Reason, SettingsError
from daemun.exchange import Exchange, Peer
from daemun.extend.endpoints import HealthCheck, HealthCheckType
from daemun.handler import Handler
from daemun.message import EMPTY, Request
from daemun.upstream.endpoints import Endpoint

__all__ = ["HEALTH_CHECKS", "HttpHealthSettings"]

_MAX_CONTENT_BYTES = 64 * 1024
"""What is read of an answer; the rest is left."""
_FRAMING = frozenset(
    ("connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
_END = r"(?![\s\S])"
"""The end of a text; `$` would let a line end pass."""

_Name = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9!#$%&'*+.^_`|~-]+{_END}", max_length=256)]
_Value = Annotated[str, Meta(pattern=rf"^[ -~]*{_END}", max_length=4096)]


class HttpHealthSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the health check `http`."""

    path: Annotated[
        str, Meta(pattern=rf"^/[!-~]*{_END}", max_length=4096, description="What is asked for, with its query.")
    ] = "/"
    method: Literal["GET", "HEAD"] = "GET"
    """The method of the request."""
    host: Annotated[str, Meta(pattern=rf"^[A-Za-z0-9_.:\[\]-]*{_END}", max_length=262)] = ""
    """The host that is asked for; "": the endpoint's own name or address."""
    headers: Annotated[dict[_Name, _Value], Meta(max_length=64, description="More fields of the request.")] = {}
    statuses: Annotated[
        tuple[Annotated[int, Meta(ge=200, le=599)], ...], Meta(description="Those that are well; none: 200 to 399.")
    ] = ()


def _build(settings: HttpHealthSettings) -> HealthCheck:
    """Raises `SettingsError` for a field that the protocol itself sets."""
    fields = {name.lower(): value for name, value in settings.headers.items()}
    if own := sorted(_FRAMING.intersection(fields)):
        raise SettingsError(f"field {own[0]!r} is the protocol's own", path="$.settings.health_check.headers")
    fields.setdefault("user-agent", "daemun-health-check")
    headers = tuple((name.encode(), value.strip().encode()) for name, value in fields.items())
    method, target, host = settings.method.encode(), settings.path.encode(), settings.host.lower().encode()
    statuses = frozenset(settings.statuses or range(200, 400))

    async def check(send: Handler, endpoint: Endpoint) -> None:
        peer = Peer(scheme="https" if endpoint.spec.tls else "http")
        response = await send(Request(method, target, host or endpoint.authority, headers, EMPTY, Exchange(peer)))
        try:
            if response.status not in statuses:
                raise ExchangeError(Reason.UPSTREAM_PROTOCOL, f"it answered {response.status}")
            left = _MAX_CONTENT_BYTES
            while left > 0 and (data := await response.body.read()):
                left -= len(data)
        finally:
            await response.body.aclose()

    return check


HEALTH_CHECKS = (HealthCheckType("http", HttpHealthSettings, _build),)
