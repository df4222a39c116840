"""Every error of ours, two levels deep.

`SettingsError` stops a start or a reload, `PluginError` names a plugin that broke its contract, `ExchangeError`
ends one exchange and is turned into a response once, at the edge, by the dialect of the request.
"""

from __future__ import annotations

import enum
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import anyio

__all__ = [
    "DaemunError",
    "ExchangeError",
    "PluginError",
    "Reason",
    "Retry",
    "SettingsError",
    "Side",
    "is_fault",
    "lone",
    "ungrouped",
]


class Side(enum.Enum):
    """Who failed."""

    DOWNSTREAM = "downstream"
    """The client, or its connection."""
    UPSTREAM = "upstream"
    """An endpoint, or the way to it."""
    GATEWAY = "gateway"
    """The gateway, a plugin, or what its settings allow."""


class Retry(enum.Enum):
    """Whether the same request may be sent once more."""

    NEVER = "never"
    """It may have had its effect."""
    UNSENT = "unsent"
    """No byte of it was sent: any method may be tried again."""
    IDEMPOTENT = "idempotent"
    """It may have been processed, and nothing of a response was seen (RFC 9110 §9.2.2)."""


class Reason(enum.Enum):
    """Why an exchange failed: label of metrics, field of access logs, table of the documents.

    The value is the label; side and status are what a client is told unless the error says otherwise.
    """

    side: Side
    """Who failed."""
    status: int
    """What the client is answered."""

    def __new__(cls, label: str, side: Side, status: int) -> Self:
        member = object.__new__(cls)
        member._value_ = label
        member.side = side
        member.status = status
        return member

    BAD_REQUEST = ("bad_request", Side.DOWNSTREAM, 400)
    """A request that is malformed, or that two parsers could read in two ways."""
    CLIENT_LEFT = ("client_left", Side.DOWNSTREAM, 499)
    """The client left, or stopped sending while it waited for an endpoint; the status is for logs."""
    REQUEST_TIMEOUT = ("request_timeout", Side.DOWNSTREAM, 408)
    """A head that took too long, or content that came too slowly."""
    FORBIDDEN = ("forbidden", Side.DOWNSTREAM, 403)
    """What the rules of a route do not allow, such as a WebSocket of a page from elsewhere."""
    CONTENT_TOO_LARGE = ("content_too_large", Side.DOWNSTREAM, 413)
    """Content above what a filter takes into memory, or a matcher looks at."""
    TARGET_TOO_LONG = ("target_too_long", Side.DOWNSTREAM, 414)
    """A request line above the limit of a head."""
    UNSUPPORTED_CONTENT = ("unsupported_content", Side.DOWNSTREAM, 415)
    """Content of a type or coding that the route does not take."""
    EXPECTATION_FAILED = ("expectation_failed", Side.DOWNSTREAM, 417)
    """An `Expect` other than `100-continue`."""
    UPGRADE_REQUIRED = ("upgrade_required", Side.DOWNSTREAM, 426)
    """A route that takes WebSockets only, or a version of WebSocket that is not spoken."""
    HEAD_TOO_LARGE = ("head_too_large", Side.DOWNSTREAM, 431)
    """A head with too many bytes or fields."""
    FLOOD = ("flood", Side.DOWNSTREAM, 429)
    """A connection that made work for nothing: streams reset at once, pings, frames without effect, heads that never
    end. It was ended; the status is for logs."""
    METHOD_REFUSED = ("method_refused", Side.DOWNSTREAM, 405)
    """TRACE, which the gateway takes to nobody."""
    MISDIRECTED = ("misdirected", Side.DOWNSTREAM, 421)
    """A target whose scheme is not that of the listener, or whose host is not that of the TLS handshake."""
    CLIENT_TIMEOUT = ("client_timeout", Side.DOWNSTREAM, 504)
    """The time passed that the client itself set (`grpc-timeout`, `Connect-Timeout-Ms`)."""
    NOT_IMPLEMENTED = ("not_implemented", Side.DOWNSTREAM, 501)
    """A transfer coding other than chunked, or CONNECT where it is not allowed."""
    VERSION_REFUSED = ("version_refused", Side.DOWNSTREAM, 505)
    """A version of HTTP that the listener does not speak."""

    NO_ROUTE = ("no_route", Side.GATEWAY, 404)
    """No route matches."""
    PLUGIN_FAULT = ("plugin_fault", Side.GATEWAY, 500)
    """A plugin raised what it may not, or built a message that cannot be sent; the log names it."""
    ROUTE_FAULT = ("route_fault", Side.GATEWAY, 500)
    """A route that cannot send anything anywhere: every split has weight 0."""
    WAITING_ROOM_FULL = ("waiting_room_full", Side.GATEWAY, 503)
    """Every endpoint is busy, or none is ready, and no more may wait."""
    NO_ENDPOINT = ("no_endpoint", Side.GATEWAY, 503)
    """The back end has no endpoint, and nothing that could start one."""
    OVERLOADED = ("overloaded", Side.GATEWAY, 503)
    """For plugins: the gateway takes no more work of this kind now."""
    ACTIVATION_FAILED = ("activation_failed", Side.GATEWAY, 504)
    """No endpoint was started, or became free, in time; the message says for how long it was queued and why."""
    IDLE_TIMEOUT = ("idle_timeout", Side.GATEWAY, 504)
    """A tunnel was quiet for too long, or lasted too long, and its client did not end it; the status is for logs."""
    ROUTE_TIMEOUT = ("route_timeout", Side.GATEWAY, 504)
    """The route's `timeout_seconds` passed."""

    CONNECT_FAILED = ("connect_failed", Side.UPSTREAM, 502)
    """No connection to the endpoint: refused, unreachable, or no TLS handshake."""
    CONNECT_TIMEOUT = ("connect_timeout", Side.UPSTREAM, 504)
    """No connection to the endpoint within `connect_timeout_seconds`."""
    UPSTREAM_CLOSED = ("upstream_closed", Side.UPSTREAM, 502)
    """The upstream ended the connection before its response was complete."""
    UPSTREAM_PROTOCOL = ("upstream_protocol", Side.UPSTREAM, 502)
    """A response that is malformed, or whose framing cannot be trusted."""
    UPSTREAM_TIMEOUT = ("upstream_timeout", Side.UPSTREAM, 504)
    """The upstream was silent for `response_timeout_seconds`, or one try took too long."""


class DaemunError(Exception):
    """The root of every error that daemun raises on purpose."""


class SettingsError(DaemunError):
    """Settings that cannot be used: what, where (`file`, `path` as in `$.routes[0].hosts`), what would do."""

    def __init__(self, message: str, *, file: str = "", path: str = "", wanted: Any = None) -> None:
        self.message = message
        """What is wrong, without the place."""
        self.file = file
        self.path = path
        self.wanted = wanted
        """The type that the settings do not fit, if that is what is wrong."""
        where = ": ".join(part for part in (file, path) if part)
        super().__init__(f"{where}: {message}" if where else message)


class PluginError(DaemunError):
    """A plugin that cannot be loaded or broke its contract; the message names it."""

    def __init__(self, message: str, *, plugin: str, code: Any = None) -> None:
        self.plugin = plugin
        """Name of the plugin."""
        self.code = code
        """The function, or the file, of the plugin that is at fault, where that is known."""
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
        """Why."""
        self.message = message or reason.value.replace("_", " ")
        """In words for the client."""
        self.retry = retry
        self.status = status or reason.status
        """What the client is answered, unless its dialect has another word."""
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.message)

    @property
    def side(self) -> Side:
        """Who failed."""
        return self.reason.side


def is_fault(error: BaseException) -> bool:
    """Whether `error` is somebody's fault, to be dealt with where it comes out: an exception (`sys.exit` too), or a
    cancellation that nobody asked for, as a library's cancelled future raises it in whom awaits it. To be asked where
    it was caught.

    What is neither, such as `KeyboardInterrupt` or the panic of an extension, is a fault in a gateway that takes SIGINT
    itself, as `daemun run` does. In anybody else's program, such as a test, it is for that program.
    """
    if isinstance(error, (Exception, SystemExit)):
        return True
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_fault, error.exceptions))
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return anyio.current_effective_deadline() != -math.inf
    return not _sigint_raises()


def _sigint_raises() -> bool:
    """Whether Ctrl-C may raise `KeyboardInterrupt` anywhere: by the handler of Python, `asyncio.run` or trio."""
    handler = signal.getsignal(signal.SIGINT)
    of_trio = getattr(handler, "__module__", "").startswith("trio._core.")
    return handler is signal.default_int_handler or isinstance(handler, partial) or of_trio


def lone(error: BaseException) -> BaseException:
    """The one exception that `error` stands for, without the groups that task groups wrapped around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@contextmanager
def ungrouped() -> Iterator[None]:
    """Lets a lone exception out of the groups that task groups wrapped around it."""
    only: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        only = lone(group)
    if only is not None:
        raise only  # outside of the handler, so that it keeps the context that it has
