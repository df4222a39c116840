"""The health check `grpc`: its two messages, what an answer means, and a server that nobody here wrote."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import (
    BackendSpec,
    Endpoint,
    Endpoints,
    EndpointSpec,
    ExchangeError,
    Forward,
    Headers,
    Request,
    Response,
    RouteSpec,
    Split,
)
from daemun.testing import Starter, eventually, make_plugin, routed, running
from daemun_grpc.health import GRPC_HEALTH, GrpcHealthSettings, read_serving, written_service
from daemun_grpc.messages import frame

grpc: Any = pytest.importorskip("grpc")
DecodeError: Any = pytest.importorskip("google.protobuf.message").DecodeError
health: Any = pytest.importorskip("grpc_health.v1.health")
health_pb2: Any = pytest.importorskip("grpc_health.v1.health_pb2")
health_pb2_grpc: Any = pytest.importorskip("grpc_health.v1.health_pb2_grpc")

PLUGIN = make_plugin("grpc_health", daemun_health_checks=lambda: [GRPC_HEALTH])
ENDPOINT = Endpoint(EndpointSpec("a.test:1", protocol="http2"))
GRPC = (b"content-type", b"application/grpc")
OK = (b"grpc-status", b"0")
SERVING = frame(b"\x08\x01")


# --- its two messages ---


@given(st.text(max_size=300))
def test_a_service_is_written_as_the_library_of_google_does(service: str) -> None:
    try:
        service.encode()
    except UnicodeEncodeError:
        return
    assert written_service(service) == health_pb2.HealthCheckRequest(service=service).SerializeToString()


@given(st.sampled_from(health_pb2.HealthCheckResponse.ServingStatus.values()), st.binary(max_size=200))
def test_a_status_is_read_among_fields_of_the_future(status: int, other: bytes) -> None:
    known = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    text = b"\x12%c%b" % (len(other) & 0x7F, other[: len(other) & 0x7F])
    for message in (known, known + text, text + known, b"\x19" + bytes(8) + known, b"\x25" + bytes(4) + known):
        assert read_serving(message) == status


@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda data: b"\x08\x01" + data))
def test_any_bytes_are_a_status_or_a_fault(message: bytes) -> None:
    real = health_pb2.HealthCheckResponse()
    try:
        found = read_serving(message)
        real.ParseFromString(message)
    except (ValueError, DecodeError):
        return
    assert (found ^ real.status) & 0xFFFFFFFF == 0


# --- what an answer means ---


class Answer:
    """Content in chunks, with trailers behind it."""

    def __init__(self, *chunks: bytes, trailers: Headers = (OK,)) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self.closed = 0
        self._chunks = list(chunks)
        self._trailers = trailers

    async def read(self) -> bytes:
        if self._chunks:
            return self._chunks.pop(0)
        self.trailers = self._trailers
        return b""

    async def aclose(self) -> None:
        self.closed += 1


async def fault(response: Response, **settings: str) -> str:
    """What the check says of an endpoint that answers so; "": nothing."""
    asked: list[Request] = []

    async def send(request: Request) -> Response:
        asked.append(request)
        return response

    try:
        await GRPC_HEALTH.build(GrpcHealthSettings(**settings))(send, ENDPOINT)
    except ExchangeError as error:
        return error.message
    finally:
        assert len(asked) == 1
        if isinstance(response.body, Answer):
            assert response.body.closed == 1
    return ""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("chunks", "trailers", "words"),
    [
        ([SERVING], (OK,), ""),
        ([SERVING[at : at + 1] for at in range(len(SERVING))], (OK,), ""),
        ([frame(b"\x08\x02")], (OK,), "it is NOT_SERVING"),
        ([frame(b"\x08\x03")], (OK,), "it is SERVICE_UNKNOWN"),
        ([frame(b"")], (OK,), "it is UNKNOWN"),
        ([frame(b"\x08\x63")], (OK,), "it is in a state that nobody knows"),
        ([frame(b"\x08")], (OK,), "its answer is no HealthCheckResponse"),
        ([frame(b"\x12\x09a")], (OK,), "its answer is no HealthCheckResponse"),
        ([frame(b"\x0b\x0c")], (OK,), "its answer is no HealthCheckResponse"),
        ([frame(b"\x08\x01", 1)], (OK,), "its answer is not one plain message"),
        ([SERVING, SERVING], (OK,), "its answer is not one plain message"),
        ([SERVING + b"\0"], (OK,), "its answer is not one plain message"),
        ([], (OK,), "its answer is not one plain message"),
        ([frame(bytes(5000))], (OK,), "a message of the upstream has 5000 bytes; accepted: 4096"),
        ([SERVING], (), "its answer has no grpc-status"),
        ([SERVING], ((b"grpc-status", b"8"),), "the call ended as RESOURCE_EXHAUSTED"),
        ([SERVING], ((b"grpc-status", b"zero"),), "the call ended as UNKNOWN"),
        ([], ((b"grpc-status", b"12"),), "it has no health service"),
        ([], ((b"grpc-status", b"5"),), "it knows no service 'a.B'"),
    ],
)
async def test_what_an_answer_means(chunks: list[bytes], trailers: Headers, words: str) -> None:
    assert await fault(Response(200, (GRPC,), Answer(*chunks, trailers=trailers)), service="a.B") == words


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (503, (GRPC,), "it answered HTTP status 503"),
        (200, ((b"content-type", b"text/html"),), "its answer is not gRPC"),
        (200, (), "its answer is not gRPC"),
        (200, (GRPC, (b"grpc-status", b"12")), "it has no health service"),
        (200, (GRPC, (b"grpc-status", b"14")), "the call ended as UNAVAILABLE"),
        (200, (GRPC, OK), "its answer is not one plain message"),
        (200, ((b"content-type", b"application/grpc+proto"),), "its answer is not one plain message"),
    ],
)
async def test_an_answer_that_is_only_a_head(status: int, headers: Headers, words: str) -> None:
    assert await fault(Response(status, headers)) == words


@pytest.mark.anyio
async def test_what_is_asked() -> None:
    asked: list[Request] = []

    async def send(request: Request) -> Response:
        asked.append(request)
        return Response(200, (GRPC,), Answer(SERVING))

    for settings in (GrpcHealthSettings(), GrpcHealthSettings("a.B", "Grpc.Test:80")):
        check = GRPC_HEALTH.build(settings)
        for _ in range(2):
            await check(send, ENDPOINT)
    plain, named = asked[1], asked[3]
    assert (plain.method, plain.target, plain.authority) == (b"POST", b"/grpc.health.v1.Health/Check", b"a.test:1")
    assert (plain.header(b"content-type"), plain.header(b"te")) == (b"application/grpc", b"trailers")
    assert await plain.body.read() == frame(b"")
    assert named.authority == b"grpc.test:80"
    assert await named.body.read() == frame(b"\x0a\x03a.B")


# --- a server that nobody here wrote ---


@contextmanager
def served(*parts: Callable[[Any], None], port: int = 0) -> Iterator[int]:
    """A server of grpcio with these services; gives its port."""
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads)
        for part in parts:
            part(server)
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait()


def with_health(servicer: Any) -> Callable[[Any], None]:
    return lambda server: health_pb2_grpc.add_HealthServicer_to_server(servicer, server)


@asynccontextmanager
async def checked(*ports: int, **settings: Any) -> AsyncIterator[Endpoints]:
    """Endpoints at these ports that are checked, until the context is left."""
    starter = Starter()
    asked = {"type": "grpc", "interval_seconds": 0.02, **settings}
    backend = BackendSpec("b", settings={"health_check": asked}, activator="starter")
    async with routed(PLUGIN, starter.plugin, only=["http2"]) as table:
        applied = await table.publish(RouteSpec("r", Forward((Split("b"),))), backends=[backend])
        assert not applied.refused
        starter.endpoints.update(EndpointSpec(f"127.0.0.1:{port}", protocol="http2") for port in ports)
        yield starter.endpoints


def last(endpoints: Endpoints) -> list[str | None]:
    return [endpoint.last_check for endpoint in endpoints.all]


@pytest.mark.anyio
async def test_servers_of_grpcio_that_are_well_and_ill() -> None:
    one, two = health.HealthServicer(), health.HealthServicer()
    for servicer in (one, two):
        servicer.set("a.B", health_pb2.HealthCheckResponse.SERVING)
    two.set("a.B", health_pb2.HealthCheckResponse.NOT_SERVING)
    with served(with_health(one)) as first, served(with_health(two)) as second:
        async with checked(first, second, service="a.B") as endpoints:
            await eventually(lambda: last(endpoints) == ["", "it is NOT_SERVING"], "the first checks")
            assert endpoints.ready == endpoints.all[:1]
            two.set("a.B", health_pb2.HealthCheckResponse.SERVING)
            await eventually(lambda: endpoints.ready == endpoints.all, "recovery")
            one.set("a.B", health_pb2.HealthCheckResponse.NOT_SERVING)
            await eventually(lambda: endpoints.ready == endpoints.all[1:], "illness")
            assert endpoints.in_flight == 0


@pytest.mark.anyio
async def test_servers_of_grpcio_without_the_service() -> None:
    with served() as bare, served(with_health(health.HealthServicer())) as other:
        async with checked(bare, other, service="a.B") as endpoints:
            words = ["it has no health service", "it knows no service 'a.B'"]
            await eventually(lambda: last(endpoints) == words, "the first checks")
            assert endpoints.ready == endpoints.all
        async with checked(bare, other) as endpoints:
            await eventually(lambda: last(endpoints) == ["it has no health service", ""], "the first checks")
            assert endpoints.ready == endpoints.all[1:]


@pytest.mark.anyio
async def test_a_server_of_grpcio_that_goes_and_comes_back() -> None:
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
        await _goes_and_comes_back(port)


async def _goes_and_comes_back(port: int) -> None:
    async with checked(port, when_none_healthy="refuse") as endpoints:
        await eventually(lambda: None not in last(endpoints), "the first check")
        assert not endpoints.ready
        with served(with_health(health.HealthServicer()), port=port):
            await eventually(lambda: endpoints.ready == endpoints.all, "who is back")
        await eventually(lambda: not endpoints.ready, "who is gone")


@pytest.mark.anyio
async def test_calls_through_the_gateway_go_to_the_server_that_is_well() -> None:
    servicers = [health.HealthServicer() for _ in range(2)]
    servicers[0].set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    with (
        served(with_health(servicers[0]), named(b"one")) as one,
        served(with_health(servicers[1]), named(b"two")) as two,
    ):
        checks = {"health_check": {"type": "grpc", "interval_seconds": 0.02}}
        urls = [f"h2c://127.0.0.1:{port}" for port in (one, two)]
        source = {
            "type": "inline",
            "backends": {"b": {"endpoints": urls, "settings": checks}},
            "routes": [{"name": "r", "to": "b"}],
        }
        async with running({"sources": [source]}, only=["http1", "http2", "file"], extra=[PLUGIN]) as gateway:

            def calls() -> set[bytes]:
                with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
                    return {channel.unary_unary("/a.B/Who")(b"", timeout=10) for _ in range(6)}

            async def until(names: set[bytes]) -> None:
                with anyio.fail_after(10):
                    while await anyio.to_thread.run_sync(calls) != names:
                        pass

            await until({b"two"})
            servicers[0].set("", health_pb2.HealthCheckResponse.SERVING)
            await until({b"one", b"two"})


def named(name: bytes) -> Callable[[Any], None]:
    """A service whose one method says `name`."""
    who = grpc.unary_unary_rpc_method_handler(lambda request, context: name)
    return lambda server: server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"Who": who}),))
