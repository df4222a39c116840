"""`lambda`: a function `handler(event, context)` that was written for AWS Lambda is a back end.

It gets the event of an HTTP API (payload format 2.0) and may answer with a string, an object, or `statusCode`, `headers`,
`cookies`, `body` and `isBase64Encoded`. It runs in a thread.
"""

from __future__ import annotations

import importlib
import sys
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

import anyio
import anyio.to_thread
import msgspec
from msgspec import Meta, Struct

from daemun import (
    EMPTY,
    BackendContext,
    BackendType,
    Buffered,
    ExchangeError,
    Handler,
    NoContent,
    Reason,
    Request,
    Response,
    SettingsError,
    hookimpl,
)

Function = Callable[[dict[str, Any], Any], Any]


class LambdaSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Of the back end."""

    handler: str
    """`module.function`, from the folder of the settings file, as in the function's configuration."""
    timeout_seconds: Annotated[float, Meta(gt=0, le=900)] = 3.0
    """What it has to answer; then the client gets 504, and the thread is left to itself."""
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Calls at once; more wait."""
    max_content_bytes: Annotated[int, Meta(ge=0)] = 6 * 1024 * 1024


class LambdaContext:
    """What the function may ask about its call."""

    def __init__(self, name: str, seconds: float) -> None:
        self.function_name = name
        self.function_version = "$LATEST"
        self.aws_request_id = str(uuid.uuid4())
        self._deadline = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds that are left."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def event_of(request: Request, content: bytes, request_id: str) -> dict[str, Any]:
    """The request in payload format 2.0."""
    headers: dict[str, str] = {"host": request.authority.decode()}
    for name, value in request.headers:
        key = name.decode("latin-1")
        text = value.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    cookies = headers.pop("cookie", "")
    query = request.query.decode("ascii", "replace")
    parameters: dict[str, str] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        parameters[key] = f"{parameters[key]},{text}" if key in parameters else text
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path.decode("ascii", "replace"),
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "http": {
                "method": request.method.decode(),
                "path": request.path.decode("ascii", "replace"),
                "protocol": request.exchange.version,
                "sourceIp": request.exchange.peer.address,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "stage": "$default",
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = [one.strip() for one in cookies.split(";")]
    if parameters:
        event["queryStringParameters"] = parameters
    if content:
        try:
            event["body"] = content.decode()
        except UnicodeDecodeError:
            event["body"], event["isBase64Encoded"] = b64encode(content).decode(), True
    return event


def response_of(answer: Any) -> Response:
    """What a function returned, as a response. Raises `ValueError` for what is none."""
    if not isinstance(answer, dict) or "statusCode" not in answer:
        content = answer if isinstance(answer, str) else msgspec.json.encode(answer).decode()
        return Response(200, ((b"content-type", b"application/json"),), Buffered(content.encode()))
    body = answer.get("body") or ""
    content_bytes = b64decode(body, validate=True) if answer.get("isBase64Encoded") else str(body).encode()
    headers: list[tuple[bytes, bytes]] = [
        (str(name).lower().encode("latin-1"), str(value).encode("latin-1"))
        for name, value in (answer.get("headers") or {}).items()
        if str(name).lower() not in ("content-length", "transfer-encoding", "connection")
    ]
    headers += [(b"set-cookie", str(one).encode("latin-1")) for one in answer.get("cookies") or ()]
    if not any(name == b"content-type" for name, _ in headers):
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
    return Response(int(answer["statusCode"]), tuple(headers), Buffered(content_bytes))


async def _content(request: Request, limit: int) -> bytes:
    data = b""
    while chunk := await request.body.read():
        data += chunk
        if len(data) > limit:
            raise ExchangeError(Reason.CONTENT_TOO_LARGE, f"the content is larger than {limit} bytes")
    return data


def _load(handler: str, base_dir: Path) -> Function:
    module, dot, name = handler.rpartition(".")
    if not dot:
        raise SettingsError(f"handler {handler!r} is not `module.function`")
    if str(base_dir) not in sys.path:
        sys.path.insert(0, str(base_dir))
    try:
        function: Function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"handler {handler!r}: {error}") from error
    if not callable(function):
        raise SettingsError(f"handler {handler!r} is no function")
    return function


@asynccontextmanager
async def build(settings: LambdaSettings, context: BackendContext) -> AsyncIterator[Handler]:
    function = _load(settings.handler, context.base_dir)
    limiter = anyio.CapacityLimiter(settings.concurrency)

    async def handle(request: Request) -> Response:
        content = await _content(request, settings.max_content_bytes)
        about = LambdaContext(settings.handler, settings.timeout_seconds)
        event = event_of(request, content, about.aws_request_id)
        try:
            with anyio.fail_after(settings.timeout_seconds):
                answer = await anyio.to_thread.run_sync(function, event, about, abandon_on_cancel=True, limiter=limiter)
        except TimeoutError:
            words = f"the function took longer than {settings.timeout_seconds:g} s"
            raise ExchangeError(Reason.UPSTREAM_TIMEOUT, words) from None
        response = response_of(answer)
        if request.method == b"HEAD" or response.status in (204, 304):
            return response.with_body(NoContent(response.body.length) if response.status == 200 else EMPTY)
        return response

    yield handle


@hookimpl
def daemun_backends() -> Iterable[BackendType]:
    return [BackendType("lambda", LambdaSettings, build)]
