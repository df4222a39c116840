"""Every error of ours, two levels deep.

`SettingsError` stops a start or a reload, `PluginError` names a plugin that broke its contract, `ExchangeError`
ends one exchange and is turned into a response once, at the edge, by the dialect of the request.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

__all__ = [
    "DaemunError",
    "ExchangeError",
    "PluginError",
    "Reason",
    "Retry",
    "SettingsError",
    "Side",
    "ungrouped",
]


class Side(enum.Enum):
    """Who failed."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


class Retry(enum.Enum):
    """Whether the same request may be sent once more."""

    NEVER = "never"
    UNSENT = "unsent"
    """No byte of it was sent: any method may be tried again."""
    IDEMPOTENT = "idempotent"
    """It may have been processed, and nothing of a response was seen (RFC 9110 §9.2.2)."""


class Reason(enum.Enum):
    """Why an exchange failed: label of metrics, field of access logs, table of the documents.

    The value is the label; side and status are what a client is told unless the error says otherwise.
    """

    side: Side
    status: int

    def __new__(cls, label: str, side: Side, status: int) -> Self:
        member = object.__new__(cls)
        member._value_ = label
        member.side = side
        member.status = status
        return member

    BAD_REQUEST = ("bad_request", Side.DOWNSTREAM, 400)
    CLIENT_LEFT = ("client_left", Side.DOWNSTREAM, 499)
    REQUEST_TIMEOUT = ("request_timeout", Side.DOWNSTREAM, 408)
    CONTENT_TOO_LARGE = ("content_too_large", Side.DOWNSTREAM, 413)
    TARGET_TOO_LONG = ("target_too_long", Side.DOWNSTREAM, 414)
    EXPECTATION_FAILED = ("expectation_failed", Side.DOWNSTREAM, 417)
    HEAD_TOO_LARGE = ("head_too_large", Side.DOWNSTREAM, 431)
    METHOD_REFUSED = ("method_refused", Side.DOWNSTREAM, 405)
    MISDIRECTED = ("misdirected", Side.DOWNSTREAM, 421)
    NOT_IMPLEMENTED = ("not_implemented", Side.DOWNSTREAM, 501)
    VERSION_REFUSED = ("version_refused", Side.DOWNSTREAM, 505)

    NO_ROUTE = ("no_route", Side.GATEWAY, 404)
    PLUGIN_FAULT = ("plugin_fault", Side.GATEWAY, 500)
    ROUTE_FAULT = ("route_fault", Side.GATEWAY, 500)
    WAITING_ROOM_FULL = ("waiting_room_full", Side.GATEWAY, 503)
    NO_ENDPOINT = ("no_endpoint", Side.GATEWAY, 503)
    OVERLOADED = ("overloaded", Side.GATEWAY, 503)
    DRAINING = ("draining", Side.GATEWAY, 503)
    ACTIVATION_FAILED = ("activation_failed", Side.GATEWAY, 504)
    ROUTE_TIMEOUT = ("route_timeout", Side.GATEWAY, 504)

    CONNECT_FAILED = ("connect_failed", Side.UPSTREAM, 502)
    CONNECT_TIMEOUT = ("connect_timeout", Side.UPSTREAM, 504)
    UPSTREAM_CLOSED = ("upstream_closed", Side.UPSTREAM, 502)
    UPSTREAM_PROTOCOL = ("upstream_protocol", Side.UPSTREAM, 502)
    UPSTREAM_TIMEOUT = ("upstream_timeout", Side.UPSTREAM, 504)


class DaemunError(Exception):
    """The root of every error that daemun raises on purpose."""


class SettingsError(DaemunError):
    """Settings that cannot be used: what, where (`file`, `path` as in `$.routes[0].hosts`), what would do."""

    def __init__(self, message: str, *, file: str = "", path: str = "") -> None:
        self.message = message
        self.file = file
        self.path = path
        where = ": ".join(part for part in (file, path) if part)
        super().__init__(f"{where}: {message}" if where else message)


class PluginError(DaemunError):
    """A plugin that cannot be loaded or broke its contract; the message names it."""

    def __init__(self, message: str, *, plugin: str) -> None:
        self.plugin = plugin
        super().__init__(f"plugin {plugin}: {message}")


class ExchangeError(DaemunError):
    """One exchange that ends without the response it was meant to have.

    `reason` decides side and status; `retry` says whether `forward` may pick again; `retry_after_seconds` becomes
    the `Retry-After` field. The message is shown to the client: it may not hold a secret or an inner address.
    """

    def __init__(
        self,
        reason: Reason,
        message: str = "",
        *,
        retry: Retry = Retry.NEVER,
        status: int = 0,
        retry_after_seconds: int | None = None,
    ) -> None:
        self.reason = reason
        self.message = message or reason.value.replace("_", " ")
        self.retry = retry
        self.status = status or reason.status
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.message)

    @property
    def side(self) -> Side:
        """Who failed."""
        return self.reason.side


@contextmanager
def ungrouped() -> Iterator[None]:
    """Lets a lone exception out of the groups that task groups wrapped around it."""
    lone: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        lone = group
        while isinstance(lone, BaseExceptionGroup) and len(lone.exceptions) == 1:
            lone = lone.exceptions[0]
    if lone is not None:
        raise lone  # outside of the handler, so that it keeps the context that it has
