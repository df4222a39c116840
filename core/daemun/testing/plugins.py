"""Plugins made on the spot, and what a test puts through handlers without a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from daemun.exchange import Exchange, Peer
from daemun.headers import Headers
from daemun.hookspecs import hookimpl
from daemun.message import EMPTY, Body, Request

__all__ = ["built", "make_plugin", "make_request"]

T = TypeVar("T")


def make_plugin(name: str, **hooks: Callable[..., Any]) -> ModuleType:
    """A plugin for `running(extra=…)`: a module `name` whose hooks are the given functions."""
    module = ModuleType(name)
    for hook, function in hooks.items():
        hookimpl(getattr(function, "__func__", function))
        setattr(module, hook, function)
    return module


def built(thing: T) -> Callable[..., AbstractAsyncContextManager[T]]:
    """The `build` of a type that always gives `thing`, whatever its settings."""

    @asynccontextmanager
    async def build(*_: Any) -> AsyncIterator[T]:
        yield thing

    return build


def make_request(
    method: str = "GET",
    url: str = "http://a.test/",
    headers: Headers = (),
    body: Body = EMPTY,
    *,
    peer: Peer | None = None,
) -> Request:
    """A request as a wire protocol makes it. Of `url` it takes host, port, path and query as they stand."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    exchange = Exchange(peer or Peer(listener="http", address="127.0.0.1", scheme=parts.scheme))
    return Request(method.encode(), target.encode(), parts.netloc.lower().encode(), headers, body, exchange)
