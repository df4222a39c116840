"""gRPC through the gateway: the official interop cases, and the libraries for Python and Node on either side."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from daemun.testing.program import soon

from .conftest import GatewayProcess, Start, accepts
from .echo_grpc import FACTS, METHODS, SERVICE, facts, looked_up, serving, write_service
from .tools import go_tool, node, node_folder, told_by_node

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(600)]  # tools may have to be built

CASES = (
    *("empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream"),
    *("timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message"),
    *("special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service"),
    *("rpc_soak", "channel_soak", "orca_per_rpc"),
)
LOADS = ("-service_config_json", '{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}')
"""The client's own policy, which the case about load reports asks for their numbers."""
PATIENCE = ("-soak_per_iteration_max_acceptable_latency_ms", "10000", "-soak_overall_timeout_seconds", "25")
"""What is looked for is calls that fail: a busy machine may take its time."""
MIXED = ("http2", "http1")

Files = tuple[Path, Path]
Port = Callable[[], int]


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def files(request: pytest.FixtureRequest, certificate_files: Files) -> Files | None:
    """The listener's certificate and key; None: it speaks plaintext."""
    return certificate_files if request.param else None


def test_every_interop_case_passes(
    http2: dict[str, Any], start: Start, program: Callable[..., None], free_port: Port, files: Files | None
) -> None:
    server, port = go_tool("server"), free_port()
    program([server, "-port", port], port)
    gateway = start(port, speaks=MIXED, upstream="h2c", tls=files, protocols=http2)
    assert interop_failures(gateway, files) == {}


def test_every_interop_case_passes_with_tls_on_both_sides(
    start: Start, program: Callable[..., None], free_port: Port, certificate_files: Files
) -> None:
    server, port = go_tool("server"), free_port()
    chain, key = certificate_files
    program([server, "-port", port, "-use_tls", "-tls_cert_file", chain, "-tls_key_file", key], port)
    endpoint = {"url": f"https://localhost:{port}", "protocol": "http2"}
    backend = {"endpoints": [endpoint], "settings": {"tls": {"ca": str(chain)}}}
    gateway = start(port, speaks=MIXED, backend=backend, tls=certificate_files)
    assert interop_failures(gateway, certificate_files) == {}


def interop_failures(gateway: GatewayProcess, files: Files | None) -> dict[str, str]:
    """The cases that fail, and the official client's words."""
    argv = [str(go_tool("client")), "-server_host", "127.0.0.1", "-server_port", str(gateway.port), *PATIENCE]
    if files is not None:
        argv += ["-use_tls", "-use_test_ca", "-ca_file", str(files[0]), "-server_host_override", "localhost"]
    failed = {}
    for case in CASES:
        try:
            words = [*argv, "-test_case", case, *(LOADS if case == "orca_per_rpc" else ())]
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
            if done.returncode != 0:
                failed[case] = (done.stdout + done.stderr)[-500:]
        except subprocess.TimeoutExpired:
            failed[case] = "it does not end"
    return failed


@pytest.fixture(params=["python", "node"])
def service(
    request: pytest.FixtureRequest, program: Callable[..., None], free_port: Port, tmp_path: Path
) -> Iterator[int]:
    """The port where `daemun.test.Echo` is served by either language's library."""
    write_service(tmp_path)
    port = free_port()
    if request.param == "python":
        with serving(port):
            yield port
    else:
        program([node(), "grpc_server.mjs", tmp_path, f"127.0.0.1:{port}"], port, node_folder())
        yield port


@contextmanager
def channel_to(gateway: GatewayProcess, files: Files | None) -> Iterator[grpc.Channel]:
    target = f"localhost:{gateway.port}"
    if files is None:
        with grpc.insecure_channel(target) as channel:
            yield channel
    else:
        with grpc.secure_channel(target, grpc.ssl_channel_credentials(files[0].read_bytes())) as channel:
            yield channel


def test_the_python_library_sees_what_it_sees_directly(start: Start, service: int, files: Files | None) -> None:
    gateway = start(service, speaks=MIXED, upstream="h2c", tls=files)
    with channel_to(gateway, files) as channel:
        assert facts(channel) == FACTS


def test_the_node_library_sees_what_it_sees_directly(
    start: Start, service: int, files: Files | None, tmp_path: Path
) -> None:
    gateway = start(service, speaks=MIXED, upstream="h2c", tls=files)
    words = [str(tmp_path), f"localhost:{gateway.port}", *([str(files[0])] if files else [])]
    assert told_by_node("grpc_client.mjs", *words) == FACTS


def test_a_stream_goes_on_while_the_gateway_is_stopped(start: Start, service: int) -> None:
    gateway = start(service, speaks=MIXED, upstream="h2c")
    with channel_to(gateway, None) as channel:
        questions: SimpleQueue[StringValue | None] = SimpleQueue()
        stub = channel.stream_stream(f"/{SERVICE}/Chat", StringValue.SerializeToString, StringValue.FromString)
        call = stub(iter(questions.get, None), timeout=20)
        found = []
        for text in "abc":
            questions.put(StringValue(value=text))
            found.append(next(call).value)
            if text == "a":
                gateway.process.terminate()
                soon(lambda: not accepts(gateway.port))
        questions.put(None)
        assert next(call, None) is None
        assert (found, call.code()) == (["a", "b", "c"], grpc.StatusCode.OK)
        assert gateway.process.wait(10) == 0


def test_reflection_and_health_pass_through(start: Start, free_port: Port) -> None:
    port = free_port()
    with serving(port):
        gateway = start(port, speaks=("http2",), upstream="h2c")
        with channel_to(gateway, None) as channel:
            services, methods, health = looked_up(channel)
    assert SERVICE in services
    assert methods == list(METHODS)
    assert health == 1
