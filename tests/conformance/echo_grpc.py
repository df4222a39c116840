"""A small gRPC service for `grpcio` and for other languages' libraries, and a client that tells what became of each kind of call.

Every client here and in `foreign/node` makes the same calls, and tells the same facts, whoever serves: `FACTS`.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import DESCRIPTOR as WRAPPERS
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from daemun.testing.program import soon

__all__ = ["FACTS", "LARGE_BYTES", "METHODS", "SERVICE", "facts", "looked_up", "serving", "write_service"]

SERVICE = "daemun.test.Echo"
METHODS = {  # name: streams of the client, of the server
    "Unary": (False, False),
    "Repeat": (False, True),
    "Gather": (True, False),
    "Chat": (True, True),
    "Fail": (False, False),
    "Remaining": (False, False),
    "Wait": (False, True),
    "Left": (False, False),
}
LARGE_BYTES = 3 * 1024**2
_WORDS = "näh: ☃ 100% \n"
_BINARY = bytes(range(255))  # a multiple of three: base64 is the same with and without padding


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2, len(data))) + data


_ANY = _field(1, b"type.googleapis.com/google.protobuf.StringValue") + _field(
    2, StringValue(value="why").SerializeToString()
)
_DETAILS = b"\x08\x03" + _field(2, _WORDS.encode()) + _field(3, _ANY)
"""A `google.rpc.Status`."""

FACTS: dict[str, Any] = {
    "unary": "hello",
    "metadata": ["in", "out", base64.b64encode(_BINARY).decode()],
    "server_streaming": ["0", "1", "2"],
    "client_streaming": "a,b,c",
    "ping_pong": ["a", "b", "c"],
    "large": LARGE_BYTES,
    "status": [3, _WORDS, base64.b64encode(_DETAILS).decode()],
    "unimplemented": 12,
    "deadline": 4,
    "remaining": True,
    "cancelled": [1, True],
}
"""What a client finds out through a gateway that changes nothing."""


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="daemun/test/echo.proto", package="daemun.test", syntax="proto3")
    file.dependency.append(WRAPPERS.name)
    service = file.service.add(name="Echo")
    text = ".google.protobuf.StringValue"
    for name, (client, server) in METHODS.items():
        service.method.add(
            name=name, input_type=text, output_type=text, client_streaming=client, server_streaming=server
        )
    return file


descriptor_pool.Default().Add(_file())  # for reflection


def write_service(folder: Path) -> None:
    """What the scripts of `foreign/node` must know: the service as a `FileDescriptorSet`, and what fails in which words."""
    wrappers = descriptor_pb2.FileDescriptorProto()
    WRAPPERS.CopyToProto(wrappers)
    described = descriptor_pb2.FileDescriptorSet(file=[wrappers, _file()])
    (folder / "service.binpb").write_bytes(described.SerializeToString())
    (folder / "status.binpb").write_bytes(_DETAILS)


class _Echo:
    """The service. `left` has what was asked in calls of `Wait` whose client has gone."""

    def __init__(self) -> None:
        self.left: set[str] = set()

    def unary(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        sent = dict(context.invocation_metadata())
        if "x-ask" in sent:
            context.send_initial_metadata((("x-initial", "in"),))
            context.set_trailing_metadata((("x-trailing", "out"), ("x-trailing-bin", sent["x-ask-bin"])))
        return request

    def repeat(self, request: StringValue, context: grpc.ServicerContext) -> Iterator[StringValue]:
        for number in range(int(request.value)):
            yield StringValue(value=str(number))

    def gather(self, requests: Iterator[StringValue], context: grpc.ServicerContext) -> StringValue:
        return StringValue(value=",".join(request.value for request in requests))

    def chat(self, requests: Iterator[StringValue], context: grpc.ServicerContext) -> Iterator[StringValue]:
        yield from requests

    def fail(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        context.set_trailing_metadata((("grpc-status-details-bin", _DETAILS),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, request.value)

    def remaining(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        return StringValue(value=str(context.time_remaining()))

    def wait(self, request: StringValue, context: grpc.ServicerContext) -> Iterator[StringValue]:
        gone = threading.Event()

        def end() -> None:
            self.left.add(request.value)
            gone.set()

        context.add_callback(end)
        if request.value:
            yield StringValue(value="begun")
        gone.wait(20)

    def has_left(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        return StringValue(value="yes" if request.value in self.left else "no")


@contextmanager
def serving(port: int, credentials: grpc.ServerCredentials | None = None) -> Iterator[None]:
    """Serves it on `port` with `grpcio`, beside health and reflection."""
    echo = _Echo()
    functions: dict[str, Callable[..., Any]] = {
        "Unary": echo.unary,
        "Repeat": echo.repeat,
        "Gather": echo.gather,
        "Chat": echo.chat,
        "Fail": echo.fail,
        "Remaining": echo.remaining,
        "Wait": echo.wait,
        "Left": echo.has_left,
    }
    handlers = {name: _handler(*METHODS[name], function) for name, function in functions.items()}
    options = [("grpc.max_receive_message_length", 2 * LARGE_BYTES), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(16), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    checks = health.HealthServicer()
    checks.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server)
    address = f"127.0.0.1:{port}"
    assert port == (server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address))
    server.start()
    try:
        yield
    finally:
        server.stop(0).wait()


def _handler(client: bool, server: bool, function: Callable[..., Any]) -> grpc.RpcMethodHandler[Any, Any]:
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    return makers[client, server](function, StringValue.FromString, StringValue.SerializeToString)


class _Client:
    """One call of each kind, with `grpcio`."""

    def __init__(self, channel: grpc.Channel) -> None:
        makers: dict[tuple[bool, bool], Callable[..., Any]] = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }
        self.stubs: dict[str, Any] = {
            name: makers[streams](f"/{SERVICE}/{name}", StringValue.SerializeToString, StringValue.FromString)
            for name, streams in (*METHODS.items(), ("Nothing", (False, False)))
        }

    def ask(self, name: str, text: str = "") -> str:
        answer: str = self.stubs[name](StringValue(value=text), timeout=20).value
        return answer

    def failure(self, name: str, text: str = "") -> Any:
        try:
            self.ask(name, text)
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"{name} did not fail")

    def metadata(self) -> list[str]:
        ask = (("x-ask", "yes"), ("x-ask-bin", _BINARY))
        _, call = self.stubs["Unary"].with_call(StringValue(value="m"), metadata=ask, timeout=10)
        initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
        return [initial["x-initial"], trailing["x-trailing"], base64.b64encode(trailing["x-trailing-bin"]).decode()]

    def ping_pong(self) -> list[str]:
        """Each message is sent after the answer to the one before: nobody may hold one back."""
        answered = threading.Semaphore(1)

        def questions() -> Iterator[StringValue]:
            for text in "abc":
                answered.acquire()
                yield StringValue(value=text)

        found = []
        for answer in self.stubs["Chat"](questions(), timeout=10):
            found.append(answer.value)
            answered.release()
        return found

    def status(self) -> list[Any]:
        error = self.failure("Fail", _WORDS)
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        return [error.code().value[0], error.details(), base64.b64encode(details).decode()]

    def deadline(self) -> int:
        call = self.stubs["Wait"](StringValue(), timeout=0.4)
        try:
            for _ in call:
                pass
        except grpc.RpcError:
            pass
        return int(call.code().value[0])

    def cancelled(self) -> list[Any]:
        """The code of a cancelled call, and whether the server learns of it."""
        who = uuid4().hex
        call = self.stubs["Wait"](StringValue(value=who), timeout=20)
        assert next(call).value == "begun"
        call.cancel()
        return [call.code().value[0], bool(soon(lambda: self.ask("Left", who) == "yes", 10))]


def facts(channel: grpc.Channel) -> dict[str, Any]:
    """What the service behind `channel` does: `FACTS` if all is well."""
    client = _Client(channel)
    large = client.ask("Unary", "x" * LARGE_BYTES)
    return {
        "unary": client.ask("Unary", "hello"),
        "metadata": client.metadata(),
        "server_streaming": [one.value for one in client.stubs["Repeat"](StringValue(value="3"), timeout=10)],
        "client_streaming": client.stubs["Gather"](iter([StringValue(value=text) for text in "abc"]), timeout=10).value,
        "ping_pong": client.ping_pong(),
        "large": len(large) if set(large) == {"x"} else -1,
        "status": client.status(),
        "unimplemented": client.failure("Nothing").code().value[0],
        "deadline": client.deadline(),
        "remaining": 15 < float(client.ask("Remaining")) < 21,
        "cancelled": client.cancelled(),
    }


def looked_up(channel: grpc.Channel) -> tuple[list[str], list[str], int]:
    """What reflection lists, the methods that it tells of the service, and what health says of it."""
    database = ProtoReflectionDescriptorDatabase(channel)
    file = database.FindFileContainingSymbol(SERVICE)
    check = health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]  # the stubs leave it out
        health_pb2.HealthCheckRequest(service=SERVICE), timeout=10
    )
    return list(database.get_services()), [method.name for method in file.service[0].method], check.status
