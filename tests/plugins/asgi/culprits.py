"""Applications that leave something behind: scopes, tasks that are cancelled later, half a response."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel

from .applications import Receive, Scope, Send, gates, seen, whole

left: list[Any] = []
"""What calls left behind: scopes and tasks."""


async def pieces() -> AsyncIterator[bytes]:
    """A generator that is given up while its scope is open."""
    with anyio.CancelScope() as scope:
        left.append(scope)
        while True:
            await anyio.lowlevel.checkpoint()
            yield b"piece"


async def leaving(scope: Scope, receive: Receive, send: Send) -> None:
    """`/scope`: leaves a scope open. `/gone`: so does its client. `/task`: leaves its task to somebody. Else: slow."""
    assert scope["type"] == "http"
    if scope["path"] == "/task":
        left.append(asyncio.current_task())
    elif scope["path"] != "/":
        generator = pieces()
        left.append(generator)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            async for piece in generator:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if scope["path"] == "/scope":
                    break
        finally:
            seen.append("over")
        await send({"type": "http.response.body", "body": b""})
        return
    else:
        seen.append("begun")
        await gates["go"].wait()
    await whole(send, b"whole")


async def incomplete(scope: Scope, receive: Receive, send: Send) -> None:
    """Announces trailers, and returns in the middle of its content; `/whole`: without them."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
    await send({"type": "http.response.body", "body": b"content", "more_body": scope["path"] != "/whole"})


class Swallowing:
    """Takes what the rest of the chain raises for the end of the content."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def own(message: Any) -> None:
            await send(message)

        try:
            await self.app(scope, receive, own)
        except RuntimeError as error:
            seen.append(str(error))


def leave_early() -> None:
    """A factory that ends the program."""
    sys.exit("no database")


class Panic(BaseException):
    """As extensions raise it that are written in Rust."""


WORST = {"panic": Panic, "key": KeyboardInterrupt, "exit": SystemExit, "generator": GeneratorExit}


async def worst(scope: Scope, receive: Receive, send: Send) -> None:
    """By its path: raises what is no `Exception`."""
    await receive()
    if scope["path"][1:] in WORST:
        raise WORST[scope["path"][1:]]("by itself")
    await whole(send, b"fine")


def worst_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"][1:] in WORST:
        raise WORST[environ["PATH_INFO"][1:]]("by itself")
    start_response("200 OK", [])
    return [b"fine"]


async def worst_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """The same, after the opening."""
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"][1:] in WORST:
        raise WORST[scope["path"][1:]]("by itself")
    await send({"type": "websocket.send", "text": "fine"})


class Unmade:
    """A middleware that cannot be made."""

    def __init__(self, app: Any) -> None:
        raise KeyboardInterrupt
