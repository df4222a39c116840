"""gRPC, gRPC-Web and Connect through a gateway and its connections: content, trailers, deadlines and errors on the wire."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
import h2.config
import h2.connection
import h2.events
import httpx
import pytest

import daemun_grpc
from daemun import (
    BackendType,
    Body,
    Exchange,
    Headers,
    NoSettings,
    Observer,
    ObserverType,
    Request,
    Response,
)
from daemun.extend.loading import installed
from daemun.testing import RunningGateway, Scene, built, eventually, make_plugin, running, scripted
from daemun_grpc import Call, Code, call_of
from daemun_grpc.base64_stream import Decoder
from daemun_grpc.messages import Reader, frame
from daemun_grpc.timeout import parse_timeout

pytestmark = pytest.mark.anyio

PLUGINS = [] if "grpc" in installed() else [daemun_grpc]
GRPC = "application/grpc"
GRPC_TYPE = (b"content-type", b"application/grpc+proto")


class Answer(NamedTuple):
    """What came for a call."""

    headers: dict[str, str]
    messages: list[bytes]
    trailers: dict[str, str]


class Echo:
    """Gives back each message when it comes, and tells of trailers, or waits for more."""

    def __init__(self, service: Service, body: Body, *, ends: bool) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self._service = service
        self._body = body
        self._ends = ends

    async def read(self) -> bytes:
        data = await self._body.read()
        if not data:
            if not self._ends:
                await anyio.sleep_forever()
            self.trailers = ((b"grpc-status", b"0"), (b"x-t", b"1"))
        return data

    async def aclose(self) -> None:
        self._service.closed += 1


class Service:
    """A back end that speaks gRPC: it gives back what it got, or waits until nobody listens."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.closed = 0
        self.plugin = make_plugin(
            "service", daemun_backends=lambda: [BackendType("service", NoSettings, built(self.handle))]
        )

    async def handle(self, request: Request) -> Response:
        self.requests.append(request)
        if request.path.endswith(b"/Wait"):
            await anyio.sleep_forever()
        return Response(
            200, (GRPC_TYPE, (b"x-h", b"1")), Echo(self, request.body, ends=not request.path.endswith(b"/Open"))
        )


class Journal(Observer):
    """Remembers calls."""

    def __init__(self) -> None:
        self.calls: list[Call | None] = []
        self.plugin = make_plugin(
            "journal", daemun_observers=lambda: [ObserverType("journal", NoSettings, built(self))]
        )

    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        self.calls.append(call_of(request, response, exchange))


class Stage(NamedTuple):
    gateway: RunningGateway
    service: Service
    journal: Journal

    async def call(self, method: str, *messages: bytes, **fields: str) -> Answer:
        """A call over HTTP/2, all messages at once."""
        return await grpc_call(self.gateway.port, f"/pkg.Svc/{method}", b"".join(map(frame, messages)), fields)

    async def post(self, method: str, content_type: str, content: bytes, **fields: str) -> httpx.Response:
        """A request over HTTP/1."""
        headers = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in fields.items()}}
        return await anyio.to_thread.run_sync(
            lambda: httpx.post(f"{self.gateway.url}/pkg.Svc/{method}", content=content, headers=headers, timeout=10)
        )


@asynccontextmanager
async def staged(*filters: str | dict[str, Any], **route: Any) -> AsyncIterator[Stage]:
    """A gateway whose route leads to itself over HTTP/2, and from there to the service."""
    service, journal = Service(), Journal()
    inner_settings = {
        "listeners": [{"name": "inner", "bind": "127.0.0.1:0", "protocols": ["http2"]}],
        "sources": [
            {"type": "inline", "backends": {"svc": {"type": "service"}}, "routes": [{"name": "all", "to": "svc"}]}
        ],
    }
    async with running(inner_settings, extra=[*PLUGINS, service.plugin]) as inner:
        outer_route = {
            "name": "svc",
            "match": {"grpc": {"service": "pkg.Svc"}},
            "to": "inner",
            "filters": [one if isinstance(one, dict) else {"type": one} for one in filters],
            **route,
        }
        outer_settings = {
            "listeners": [{"name": "outer", "bind": "127.0.0.1:0", "protocols": ["http2", "http1"]}],
            "sources": [
                {
                    "type": "inline",
                    "backends": {"inner": {"endpoints": [f"h2c://127.0.0.1:{inner.port}"]}},
                    "routes": [outer_route],
                }
            ],
            "observers": [{"type": "journal"}],
        }
        async with running(outer_settings, extra=[*PLUGINS, journal.plugin]) as outer:
            yield Stage(outer, service, journal)


async def grpc_call(port: int, path: str, content: bytes, fields: dict[str, str]) -> Answer:
    """A call by a client that knows HTTP/2 and nothing else."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    client.initiate_connection()
    head = {":method": "POST", ":path": path, ":scheme": "http", ":authority": "a.test", "content-type": GRPC}
    extra = {name.replace("_", "-"): value for name, value in fields.items()}
    client.send_headers(1, [*{**head, "te": "trailers", **extra}.items()])
    client.send_data(1, content, end_stream=True)
    headers: dict[str, str] = {}
    trailers: dict[str, str] = {}
    data = b""
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            ended = False
            while not ended:
                await stream.send(client.data_to_send())
                for event in client.receive_data(await stream.receive()):
                    assert not isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated), event
                    if isinstance(event, h2.events.ResponseReceived):
                        headers = {str(name): str(value) for name, value in event.headers or ()}
                    elif isinstance(event, h2.events.DataReceived):
                        data += event.data or b""
                    elif isinstance(event, h2.events.TrailersReceived):
                        trailers = {str(name): str(value) for name, value in event.headers or ()}
                    ended = ended or isinstance(event, h2.events.StreamEnded)
    reader = Reader("response", 1_000_000)
    messages = [message.data for message in reader.feed(data)]
    assert not reader.inside
    return Answer(headers, messages, trailers)


def web_answer(content: bytes) -> tuple[list[bytes], dict[str, str]]:
    *messages, last = Reader("response", 1_000_000).feed(content)
    assert last.flags == 0x80
    return [one.data for one in messages], dict(line.split(": ", 1) for line in last.data.decode().splitlines())


# --- gRPC ---


async def test_a_call_passes_with_head_messages_and_trailers() -> None:
    async with staged() as stage:
        answer = await stage.call("Do", b"a", b"bc")
        assert answer.headers[":status"] == "200"
        assert answer.headers["content-type"] == "application/grpc+proto"
        assert answer.headers["x-h"] == "1"
        assert answer.messages == [b"a", b"bc"]
        assert answer.trailers == {"grpc-status": "0", "x-t": "1"}
        (request,) = stage.service.requests
        assert request.header(b"te") in (None, b"trailers")


async def test_what_is_left_of_a_deadline_goes_on() -> None:
    async with staged() as stage:
        await stage.call("Do", b"a", grpc_timeout="20S")
        (request,) = stage.service.requests
        assert 10 < parse_timeout(request.header(b"grpc-timeout") or b"") < 20
        await stage.call("Do", b"a")
        assert stage.service.requests[1].header(b"grpc-timeout") is None


async def test_a_deadline_that_passes_is_trailers_only() -> None:
    async with staged() as stage:
        answer = await stage.call("Wait", grpc_timeout="200m")
        assert (answer.headers["grpc-status"], answer.trailers) == ("4", {})
    assert stage.journal.calls[0] is not None
    assert stage.journal.calls[0].code is Code.DEADLINE_EXCEEDED


async def test_a_route_that_takes_too_long_is_trailers_only() -> None:
    async with staged(timeout_seconds=0.2) as stage:
        answer = await stage.call("Wait")
        assert (answer.headers["grpc-status"], answer.trailers) == ("4", {})
        assert answer.headers["x-daemun-reason"] == "route_timeout"


async def test_a_method_that_has_no_route_is_unimplemented() -> None:
    async with staged() as stage:
        answer = await grpc_call(stage.gateway.port, "/pkg.Other/Do", frame(b"a"), {})
        assert answer.headers[":status"] == "200"
        assert answer.headers["grpc-status"] == "12"
        assert answer.headers["grpc-message"] == "no route matches"
        assert answer.trailers == {}
        other = await stage.post("Do", "application/json", b"{}")
        assert other.status_code == 404


async def test_a_malformed_deadline_is_refused() -> None:
    async with staged() as stage:
        answer = await stage.call("Do", grpc_timeout="soon")
        assert answer.headers["grpc-status"] == str(int(Code.INTERNAL))
        assert stage.service.requests == []


async def test_messages_that_are_too_long_end_the_call() -> None:
    limits = {"type": "grpc-limits", "settings": {"max_request_bytes": 4}}
    async with staged(limits) as stage:
        assert (await stage.call("Do", b"abcd")).messages == [b"abcd"]
        answer = await stage.call("Do", b"abcde")
        assert {**answer.headers, **answer.trailers}["grpc-status"] == str(int(Code.RESOURCE_EXHAUSTED))


# --- upstreams that lose what gRPC needs ---

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n"


@asynccontextmanager
async def before_http1(*answer: bytes, cut: bool = False) -> AsyncIterator[RunningGateway]:
    """A gateway before an upstream that answers in HTTP/1."""

    async def script(scene: Scene) -> None:
        while await scene.request():
            for data in answer:
                await scene.send(data)
            if cut:
                await scene.reset()

    async with scripted(script) as upstream:
        source = {
            "type": "inline",
            "backends": {"up": {"endpoints": [upstream.url]}},
            "routes": [{"name": "all", "to": "up"}],
        }
        listener = {"name": "h2", "bind": "127.0.0.1:0", "protocols": ["http2"]}
        async with running({"listeners": [listener], "sources": [source]}, extra=PLUGINS) as gateway:
            yield gateway


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (HEAD + b"Content-Length: 6\r\n\r\n" + frame(b"a"), Code.UNKNOWN, "without grpc-status"),
        (HEAD + b"Content-Length: 0\r\n\r\n", Code.UNKNOWN, "without grpc-status"),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n6\r\n" + frame(b"a") + b"\r\n0\r\ngrpc-status: 5\r\n\r\n",
            Code.NOT_FOUND,
            "",
        ),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n6\r\n" + frame(b"a") + b"\r\n0\r\n\r\n", Code.UNKNOWN, "without"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 3\r\n\r\nbad", Code.UNAVAILABLE, "HTTP 502"),
        (b"nonsense\r\n\r\n", Code.INTERNAL, ""),
    ],
)
async def test_a_call_always_ends_in_a_status(answer: bytes, code: Code, words: str) -> None:
    async with before_http1(answer) as gateway:
        found = await grpc_call(gateway.port, "/pkg.Svc/Do", frame(b"q"), {})
        ending = {**found.headers, **found.trailers}
        assert ending["grpc-status"] == str(int(code))
        assert words in ending.get("grpc-message", "")


async def test_an_answer_that_is_cut_ends_in_a_status() -> None:
    started = HEAD + b"Transfer-Encoding: chunked\r\n\r\n6\r\n" + frame(b"a") + b"\r\n"
    async with before_http1(started, cut=True) as gateway:
        found = await grpc_call(gateway.port, "/pkg.Svc/Do", frame(b"q"), {})
        ending = {**found.headers, **found.trailers}
        assert ending["grpc-status"] == str(int(Code.UNAVAILABLE))


# --- bridges, over HTTP/1 ---


@pytest.mark.parametrize("text", [False, True])
async def test_grpc_web_reaches_the_service(text: bool) -> None:
    async with staged("grpc-web", "connect") as stage:
        asked = frame(b"a") + frame(b"bc")
        kind = "application/grpc-web-text" if text else "application/grpc-web"
        response = await stage.post("Do", kind, base64.b64encode(asked) if text else asked)
        decoder = Decoder()
        content = decoder.feed(response.content) + decoder.end() if text else response.content
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        assert web_answer(content) == ([b"a", b"bc"], {"grpc-status": "0", "x-t": "1"})
        answer = await stage.call("Do", b"d")
        assert answer.messages == [b"d"]
    assert [call and (call.method, call.code) for call in stage.journal.calls] == [("Do", Code.OK)] * 2


async def test_connect_reaches_the_service() -> None:
    async with staged("grpc-web", "connect", "grpc-stats") as stage:
        response = await stage.post("Do", "application/json", b'{"a": 1}', connect_timeout_ms="5000")
        assert (response.status_code, response.content) == (200, b'{"a": 1}')
        assert response.headers["content-type"] == "application/json"
        assert response.headers["trailer-x-t"] == "1"
        (request,) = stage.service.requests
        assert 1 < parse_timeout(request.header(b"grpc-timeout") or b"") < 5
        response = await stage.post("Do", "application/connect+json", frame(b"1") + frame(b"2"))
        *messages, end = Reader("response", 1000).feed(response.content)
        assert [one.data for one in messages] == [b"1", b"2"]
        assert (end.flags, json.loads(end.data)) == (2, {"metadata": {"x-t": ["1"]}})
    counts = [call and (call.request_messages, call.response_messages, call.code) for call in stage.journal.calls]
    assert counts == [(1, 1, Code.OK), (2, 2, Code.OK)]


async def test_deadlines_of_other_forms_are_told_in_those_forms() -> None:
    async with staged("grpc-web", "connect") as stage:
        web = await stage.post("Wait", "application/grpc-web", frame(b""), grpc_timeout="200m")
        assert web_answer(web.content)[1]["grpc-status"] == "4"
        unary = await stage.post("Wait", "application/json", b"{}", connect_timeout_ms="200")
        assert (unary.status_code, unary.json()["code"]) == (504, "deadline_exceeded")
        stream = await stage.post("Wait", "application/connect+json", frame(b""), connect_timeout_ms="200")
        (end,) = Reader("response", 1000).feed(stream.content)
        assert json.loads(end.data)["error"]["code"] == "deadline_exceeded"


async def test_no_route_is_told_in_each_form() -> None:
    async with staged() as stage:
        web = await stage.post("Do", "application/grpc-web", frame(b""))
        assert web_answer(web.content) == ([], {"grpc-status": "12", "grpc-message": "no route matches"})
        proto = await stage.post("Do", "application/proto", b"")
        assert (proto.status_code, proto.json()["code"]) == (501, "unimplemented")


@pytest.mark.parametrize("content_type", [b"application/grpc-web", b"application/connect+proto"])
async def test_a_browser_that_leaves_ends_its_stream(content_type: bytes) -> None:
    async with staged("grpc-web", "connect") as stage:
        first = frame(b"a")
        head = b"POST /pkg.Svc/Open HTTP/1.1\r\nHost: a.test\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        async with await stage.gateway.connect() as stream:
            await stream.send(head % (content_type, len(first)) + first)
            received = b""
            while first not in received:
                received += await stream.receive()
        await eventually(lambda: bool(stage.journal.calls), "the end of the call")
        assert stage.journal.calls[0] is not None
        assert stage.journal.calls[0].code is Code.CANCELLED
        await eventually(lambda: stage.service.closed == 1, "the end of the call at the service")


async def test_a_client_that_leaves_is_known_to_have_cancelled() -> None:
    async with staged() as stage:
        with anyio.move_on_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stage.call, "Wait")
                await eventually(lambda: bool(stage.service.requests), "the call at the service")
                tasks.cancel_scope.cancel()
        await eventually(lambda: bool(stage.journal.calls), "the end of the call")
        assert stage.journal.calls[0] is not None
        assert stage.journal.calls[0].code is Code.CANCELLED
