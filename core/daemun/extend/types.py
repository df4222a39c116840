"""What a plugin registers for the way of a request: a name, a settings struct, a `build` that provisions and cleans up.

`build(settings, context)` returns an async context manager: what it yields is used until it exits. A settings
struct is decoded strictly: an unknown or ill-typed key is refused with its path, and nothing else is lost.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from daemun.errors import ExchangeError
from daemun.extend.failure import DisableAfter, FailurePolicy
from daemun.handler import Handler, Layer
from daemun.message import Request, Response
from daemun.scopes import Scope

__all__ = [
    "BackendContext",
    "BackendType",
    "Dialect",
    "FilterContext",
    "FilterType",
    "Matcher",
    "MatcherContext",
    "MatcherType",
    "NoSettings",
    "Peek",
    "Phase",
]


class NoSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of what needs none."""


class Phase(enum.IntEnum):
    """Where a filter stands in a route's chain; requests pass in this order, responses the other way."""

    EARLY = 0
    """Before all else: what every request must pass, such as ids and redirects to `https`."""
    CORS = 1
    """Answers to a browser's preflights, which carry no credentials."""
    AUTHN = 2
    """Who asks."""
    AUTHZ = 3
    """Whether they may."""
    RATELIMIT = 4
    """Whether they may now."""
    TRANSFORM = 5
    """Changes to messages."""
    UPSTREAM = 6
    """What concerns the request as it goes out, such as its signature."""


class FilterContext(Struct, frozen=True):
    """What a filter may use while it is built. Equal settings share one instance, over routes and reloads."""

    name: str
    """What its kind is called."""
    base_dir: Path
    """Folder that relative paths start from: where the settings file is."""
    process: Scope = Scope()
    """What is opened once for all instances in this process, until the gateway stops."""
    route: str = ""
    """The route that it is built for, if it is one of those that are built for each (`FilterType.per_route`)."""


class FilterType(Struct, frozen=True):
    """A kind of filter: `filters: [{type: NAME, settings: …}]` on a route. It builds a `Layer`."""

    name: str
    """What a route's `filters` call it."""
    settings: type[Struct]
    """Decoded strictly before `build` is called; `NoSettings` where there are none."""
    build: Callable[[Any, FilterContext], AbstractAsyncContextManager[Layer]]
    """`build(settings, context)`: entered once for equal settings, exited when no route uses it any more."""
    phase: Phase = Phase.TRANSFORM
    """Where it stands in the chain of a route."""
    before: tuple[str, ...] = ()
    """Names of filters of the same phase that come later."""
    after: tuple[str, ...] = ()
    """Names of filters of the same phase that come earlier."""
    buffer_bytes: int = 0
    """Reads request bodies into memory up to this size before the filter sees them (413 above); 0: never."""
    failure: FailurePolicy | DisableAfter = FailurePolicy.CLOSED
    """The author's; `plugins.failure` of the settings can overrule it."""
    per_route: bool = False
    """Whether each route has an instance of its own. It outlives changes of the route's other settings."""


class Peek(Protocol):
    """Content of a request that is looked at before its route is known; whoever gets the request reads all of it."""

    @property
    def seen(self) -> tuple[bytes, ...]:
        """What matchers looked at so far, of this route and of others."""
        ...

    async def more(self) -> bytes:
        """The next bytes of the content, as they come; b"" at its end.

        Raises `ExchangeError` (`CONTENT_TOO_LARGE`) above what this kind of matcher may look at, and what the sender's
        faults raise.
        """
        ...


Matcher = Callable[[Request, Peek], Awaitable[bool]]
"""`await matcher(request, peek)`: whether the route takes the request. Asked only where all else of the route matches,
in the order of precedence; what it raises ends the exchange."""


class MatcherContext(Struct, frozen=True):
    """What a matcher may use while it is built. Equal settings share one instance, over routes and reloads."""

    name: str
    """What its kind is called."""
    base_dir: Path
    """Folder that relative paths start from: where the settings file is."""
    process: Scope = Scope()
    """What is opened once for all instances in this process, until the gateway stops."""


class MatcherType(Struct, frozen=True):
    """A kind of condition on a request's content: `match: {matchers: [{type: NAME, settings: …}]}` of a route."""

    name: str
    """What a route's `matchers` call it."""
    settings: type[Struct]
    """Decoded strictly before `build` is called; `NoSettings` where there are none."""
    build: Callable[[Any, MatcherContext], AbstractAsyncContextManager[Matcher]]
    """`build(settings, context)`: entered once for equal settings, exited when no route uses it any more."""
    peek_bytes: int = 64 * 1024
    """How much of the content may be looked at."""


class BackendContext(Struct, frozen=True):
    """What a back end may use while it is built."""

    name: str
    """Name of the back end; equal settings share one handler, which has the name of the first."""
    base_dir: Path
    """Folder that relative paths start from: where the settings file is."""
    process: Scope = Scope()
    """What is opened once for all instances in this process, until the gateway stops."""


class BackendType(Struct, frozen=True):
    """A kind of back end that answers by itself: `backends: {x: {type: NAME, settings: …}}`. It builds a `Handler`."""

    name: str
    """What a back end's `type` calls it."""
    settings: type[Struct]
    """Decoded strictly before `build` is called; `NoSettings` where there are none."""
    build: Callable[[Any, BackendContext], AbstractAsyncContextManager[Handler]]
    """`build(settings, context)`: entered once for equal settings, exited when nothing uses it any more."""


def _as_it_is(request: Request) -> Request:
    return request


class Dialect(Struct, frozen=True):
    """A meaning of an HTTP exchange, such as gRPC or SOAP: its form of errors, and what belongs to it on any route."""

    name: str
    """Unique; logs use it."""
    claims: Callable[[Request], bool]
    """Whether the request speaks it. Asked only when an error must be rendered."""
    render: Callable[[Request, ExchangeError], Response]
    """`render(request, error)`: the error as a client of this dialect understands it."""
    content_types: tuple[bytes, ...] = ()
    """What the `content-type` of its requests begins with, lower-case. Who has none here and in `protocols`
    has no part in exchanges before an error: `layer` and `outgoing` are for requests that these tell."""
    layer: Layer | None = None
    """Around all that handles such a request, the choice of the route included."""
    outgoing: Callable[[Request], Request] = _as_it_is
    """Such a request as it goes out to an endpoint now: called for each try, after any waiting. It may not raise."""
    protocols: tuple[bytes, ...] = ()
    """What its requests want to switch to, lower-case: `Request.protocol`. They are its own whatever their content."""
