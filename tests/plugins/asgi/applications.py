"""Applications and middlewares that tests let the gateway load, and what they saw."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from wsgiref.validate import validator

import anyio
import anyio.lowlevel
from asgi_correlation_id import correlation_id
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

seen: list[Any] = []
"""What happened, in order; emptied by `stage.serving`."""
gates: dict[str, anyio.Event] = {}
"""What applications wait for, made anew by `stage.serving`."""
told: ContextVar[str] = ContextVar("told", default="nothing")
no_application = 7
here = b"in this module"


async def whole(send: Send, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await whole(send, b"hello", 200, (b"content-type", b"text/plain"), (b"content-length", b"5"))


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """The scope, as JSON."""
    shown = {key: value for key, value in scope.items() if isinstance(value, str | dict | tuple | list | None)}
    shown |= {key: scope[key].decode() for key in ("raw_path", "query_string")}
    shown["headers"] = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
    await whole(send, json.dumps(shown).encode(), 200, (b"content-type", b"application/json"))


async def parrot(scope: Scope, receive: Receive, send: Send) -> None:
    """Says each piece of content back as it comes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        seen.append(message["type"])
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


async def twice(scope: Scope, receive: Receive, send: Send) -> None:
    """A piece at once, and another one when the test says so."""
    headers = [(name, value) for name, value in scope["headers"] if name == b"x-send"]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"first ", "more_body": True})
    await gates["go"].wait()
    await send({"type": "http.response.body", "body": b"second"})


async def status(scope: Scope, receive: Receive, send: Send) -> None:
    """`/STATUS/LENGTH/CONTENT`, whatever the status allows; `-` for no length."""
    _, code, length, content = scope["path"].split("/")
    headers = [] if length == "-" else [(b"content-length", length.encode())]
    await send({"type": "http.response.start", "status": int(code), "headers": headers})
    await send({"type": "http.response.body", "body": content.encode()})


async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]}
    match scope["path"]:
        case "/before":
            raise RuntimeError("the shelf is empty")
        case "/silent":
            return
        case "/after":
            await send(start)
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await gates["go"].wait()
            raise RuntimeError("the shelf is empty")
        case "/short":
            await send(start)
            await send({"type": "http.response.body", "body": b"short"})
        case "/long":
            await send(start)
            await send({"type": "http.response.body", "body": b"much longer than it said"})
        case "/cut":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await gates["go"].wait()
        case "/exit":
            raise SystemExit(3)
        case "/twice":
            await send(start)
            await send(start)
        case "/early":
            await send({"type": "http.response.body", "body": b"no head"})
        case "/odd":
            await send({"type": "http.response.odd"})
        case "/header":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nb: c")]})
        case "/name":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x y", b"a")]})
        case "/text":
            await send({"type": "http.response.start", "status": 200, "headers": [("x", "a")]})
        case "/interim":
            await send({"type": "http.response.start", "status": 103})


async def trailing(scope: Scope, receive: Receive, send: Send) -> None:
    seen.append(sorted(scope["extensions"]))
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await send({"type": "http.response.start", "status": 200, "trailers": True})
    await send({"type": "http.response.body", "body": b"content"})
    await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-b", b"2")]})


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends until it fails; says how."""
    await send({"type": "http.response.start", "status": 200})
    sent = 0
    try:
        while True:
            await send({"type": "http.response.body", "body": bytes(50_000), "more_body": True})
            sent += 50_000
            seen.append(sent)
    except OSError as error:
        seen.append(str(error))


async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers nothing, and heeds that the client leaves."""
    seen.append("begun")
    while (message := await receive())["type"] != "http.disconnect":
        pass
    seen.append(message["type"])
    try:
        await whole(send, b"too late")
    except OSError as error:
        seen.append(str(error))


async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers nothing, and heeds nothing but cancellation."""
    seen.append("begun")
    try:
        await anyio.sleep_forever()
    finally:
        seen.append("cancelled")


async def worker(scope: Scope, receive: Receive, send: Send) -> None:
    """Goes on after its response."""
    before, _ = told.get(), told.set(scope["path"])
    await whole(send, before.encode())
    seen.append((await receive())["type"])
    await gates["go"].wait()
    seen.append("worked")


def keeper(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    """Keeps something from its start to its stop."""
    return _lifespan(scope, receive, send) if scope["type"] == "lifespan" else mirror(scope, receive, send)


async def _lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    seen.append((await receive())["type"])
    scope["state"]["kept"] = "from the start"
    await send({"type": "lifespan.startup.complete"})
    seen.append((await receive())["type"])
    await send({"type": "lifespan.shutdown.complete"})


async def broken_start(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def late_start(scope: Scope, receive: Receive, send: Send) -> None:
    await anyio.sleep_forever()


async def early_fault(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http", "only http"
    await whole(send, b"http only")


class Shop:
    """Something with an application inside."""

    app = staticmethod(hello)


def make() -> Any:
    return hello


def make_nothing() -> Any:
    return None


def make_fault() -> Any:
    raise KeyError("key")


async def correlated(scope: Scope, receive: Receive, send: Send) -> None:
    await whole(send, (correlation_id.get() or "none").encode())


async def counted(scope: Scope, receive: Receive, send: Send) -> None:
    scope["session"]["count"] = count = scope["session"].get("count", 0) + 1
    await whole(send, b"%d" % count)


async def user(scope: Scope, receive: Receive, send: Send) -> None:
    await whole(send, scope["user"].encode())


# --- Starlette ---


async def item(request: Request) -> JSONResponse:
    work = BackgroundTask(lambda: seen.append(f"after {request.url.path}"))
    return JSONResponse({"item": request.path_params["item"], "kept": request.state.kept}, background=work)


async def stream(request: Request) -> StreamingResponse:
    async def digits() -> AsyncIterator[str]:
        for digit in range(10):
            yield str(digit)
            await anyio.lowlevel.checkpoint()

    return StreamingResponse(digits())


@asynccontextmanager
async def starlette_lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"kept": "in starlette"}


class Timing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-path"] = request.url.path
        return response


starlette_shop = Starlette(
    routes=[Route("/items/{item}", item), Route("/stream", stream)],
    middleware=[Middleware(GZipMiddleware, minimum_size=1), Middleware(Timing)],
    lifespan=starlette_lifespan,
)


# --- WebSockets ---


async def talk(scope: Scope, receive: Receive, send: Send) -> None:
    """By its path: what a WebSocket can do."""
    assert scope["type"] == "websocket"
    assert (await receive())["type"] == "websocket.connect"
    seen.append((scope["scheme"], scope["subprotocols"], scope["http_version"]))
    match scope["path"]:
        case "/refuse":
            await send({"type": "websocket.close"})
            return
        case "/deny":
            await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"secret")]})
            await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
            await send({"type": "websocket.http.response.body", "body": b"are you"})
            return
        case "/silent":
            return
        case "/before":
            raise RuntimeError("the shelf is empty")
    chosen = scope["subprotocols"][-1] if scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": [(b"x-room", b"7")]})
    if scope["path"] == "/after":
        raise RuntimeError("the shelf is empty")
    if scope["path"] == "/flood":
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(50_000)})
                seen.append(50_000)
        except OSError as error:
            seen.append(str(error))
        return
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text == "bye":
            await send({"type": "websocket.close", "code": 4001, "reason": "as you say"})
        elif text == "leave":
            return
        else:
            await send({"type": "websocket.send", "text": text, "bytes": message.get("bytes")})
    seen.append((message["type"], message["code"], message["reason"]))
    try:
        await send({"type": "websocket.send", "text": "too late"})
    except OSError as error:
        seen.append(str(error))


# --- WSGI ---

StartResponse = Callable[..., Any]


def plain(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Says back what it was told and sent."""
    content = environ["wsgi.input"].read(100_000)
    told_of = [f"{key}={environ[key]}" for key in ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING")]
    told_of.append(f"HTTP_X_A={environ.get('HTTP_X_A')}")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\n".join(told_of).encode(), b"\n", content]


def lines(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Content by lines, in each of the ways to read it."""
    source = environ["wsgi.input"]
    first = source.readline()
    some = source.read(3)
    rest = source.readlines()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr([first, some, rest]).encode()]


class Pieces:
    """Pieces that stop until the test says go, and are closed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        seen.append("closed")


def streamed(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    def pieces() -> Iterator[bytes]:
        yield b"first "
        anyio.from_thread.run(gates["go"].wait)
        yield b""
        yield b"second"

    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "12")])
    return Pieces(pieces())


def forever(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    def pieces() -> Iterator[bytes]:
        while True:
            seen.append(50_000)
            yield bytes(50_000)

    start_response("200 OK", [("Content-Type", "text/plain")])
    return Pieces(pieces())


def written(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("201 Created", [("Content-Type", "text/plain")])
    write(b"written ")
    return [b"and returned"]


def corrected(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Finds that it cannot, and says so while it may."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise ValueError("cannot")
    except ValueError as error:
        start_response("503 Busy", [("Content-Type", "text/plain")], (type(error), error, error.__traceback__))
    return [b"sorry"]


def wsgi_fault(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/unstarted":
        return [b"content"]
    raise RuntimeError("the shelf is empty")


valid_plain = validator(plain)
valid_lines = validator(lines)


# --- middlewares ---


class Passing:
    """Hands everything on."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Changing(Passing):
    """Changes what comes and goes."""

    def __init__(self, app: Any, word: str = "changed") -> None:
        super().__init__(app)
        self.word = word.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = {**scope, "path": scope["path"].replace("/old", "/new r\u00f6ad"), "query_string": b"by=middleware"}
        scope["headers"] = [*scope["headers"], (b"X-Word", self.word)]

        async def shouted() -> Any:
            message = await receive()
            if message["type"] == "http.request":
                message = {**message, "body": message["body"].upper()}
            return message

        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-word", self.word)]}
            await send(message)

        await self.app(scope, shouted, marked)


class Catching(Passing):
    """Answers for what the inner application raises."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            await whole(send, f"caught {type(error).__name__}".encode(), 418)


class Raising(Passing):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("nothing to be found")


class Impatient(Passing):
    """Gives the inner application no time."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.move_on_after(0.01):
            await self.app(scope, receive, send)
            return
        await whole(send, b"too slow", 504)


class Started(Passing):
    """Knows when it starts and stops."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":

            async def heard() -> Any:
                message = await receive()
                seen.append(message["type"])
                return message

            scope["state"]["kept"] = "from the start"
            await self.app(scope, heard, send)
        else:
            seen.append(scope["state"])
            scope["user"] = "somebody"
            await self.app(scope, receive, send)


class RefusesToStart(Passing):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no key"})


class Keyed(Passing):
    """Lets nobody in who has no key, as it was written for any server."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (b"x-key", b"k") not in scope["headers"]:
            seen.append(("kept out", scope["type"], scope.get("method")))
            if scope["type"] == "websocket":
                assert (await receive())["type"] == "websocket.connect"
                await send({"type": "websocket.close", "code": 4401})
            else:
                await whole(send, b"who are you", 401)
            return
        await self.app(scope, receive, send)


class Denying(Passing):
    """Says why it refuses."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.http.response.start", "status": 429, "headers": [(b"retry-after", b"7")]})
            await send({"type": "websocket.http.response.body", "body": b"later"})


class Marking(Passing):
    """Wraps `send` for the sake of heads, as those do that set cookies."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Any) -> None:
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                message = {**message, "headers": [*message.get("headers", ()), (b"x-mark", b"1")]}
            await send(message)

        await self.app(scope, receive, marked)


class Vetoing(Passing):
    """Puts another answer in the place of the one that comes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def instead(message: Any) -> None:
            if message["type"] == "websocket.accept":
                await send({"type": "websocket.close"})
            elif message["type"] == "http.response.start":
                await whole(send, b"not here", 451)
            elif not message["type"].startswith("http"):
                await send(message)

        await self.app(scope, receive, instead)


class Censoring(Passing):
    """Sees every message of either side."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def heard() -> Any:
            message = await receive()
            if message.get("text"):
                message = {**message, "text": message["text"].replace("secret", "******")}
            seen.append(message["type"])
            return message

        async def said(message: Any) -> None:
            if message.get("text"):
                message = {**message, "text": message["text"] + "!"}
            await send(message)

        await self.app(scope, heard, said)
        seen.append("over")


class FirstWord(Passing):
    """Accepts a WebSocket, and wants to hear a word before the inner application learns of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connect = await receive()
        await send({"type": "websocket.accept"})
        if (await receive()).get("text") != "sesame":
            await send({"type": "websocket.close", "code": 4403, "reason": "who are you"})
            return
        waiting = [connect]

        async def replayed() -> Any:
            return waiting.pop() if waiting else await receive()

        async def swallowed(message: Any) -> None:
            if message["type"] != "websocket.accept":
                await send(message)

        await self.app(scope, replayed, swallowed)


class Meddling(Passing):
    """Hands all on as it is, and talks beside it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.app, scope, receive, send)
            await gates["go"].wait()
            try:
                await send({"type": "websocket.send", "text": "beside it"})
            except RuntimeError as error:
                seen.append(str(error))


class Counting(Passing):
    """Knows how many run."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen.append("in")
        try:
            await self.app(scope, receive, send)
        finally:
            seen.append("out")


class Bounded(Passing):
    """Ends the inner application when it has had enough."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                await gates["go"].wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(stop)
            await self.app(scope, receive, send)
            tasks.cancel_scope.cancel()
