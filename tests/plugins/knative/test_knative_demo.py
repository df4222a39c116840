"""The demo: the hello-world server, its manifest, and settings that run it."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

import daemun_knative
from daemun import BackendSpec, HostKind, HostMatch, RouteSpec
from daemun_file import Reader, decode
from daemun_knative import KnativeFilesSettings
from daemun_knative.services.source import decode_manifest, split_manifest
from daemun_knative.services.translate import Specs
from daemun_process import ProcessSettings
from daemun_process.place import take_place

DEMO = Path(daemun_knative.__file__).parent / "services" / "demo"


def demo() -> tuple[BackendSpec, RouteSpec]:
    """What the demo's settings make of its manifest."""
    (source,) = yaml.safe_load((DEMO / "daemun.yaml").read_text())["sources"]
    assert source.pop("type") == "knative_files"
    settings = decode(source, KnativeFilesSettings)
    reader: Reader[Specs] = Reader(
        settings.paths,
        DEMO,
        split=split_manifest,
        decode=lambda item, origin: decode_manifest(item, settings, origin),
        root="",
    )
    reading = reader.read()
    assert reading is not None
    assert reading.refused == ()
    (entry,) = reading.entries
    (backend,), (route,) = entry.value
    return backend, route


def test_the_settings_make_the_host_of_the_article() -> None:
    backend, route = demo()
    assert route.hosts == (HostMatch(HostKind.EXACT, "helloworld-go.default.example.com"),)
    settings = msgspec.convert(backend.activation, ProcessSettings)
    assert settings.environment["TARGET"] == "Go Sample v1"
    assert settings.idle_timeout_seconds == 60


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The server, run as the settings say, and its port."""
    backend, _ = demo()
    settings = msgspec.convert(backend.activation, ProcessSettings)
    place = take_place()  # nobody is given it by chance, and nobody who asks there answers himself
    port = place.port
    try:
        environment = {**settings.environment, "PORT": str(port)}
        with subprocess.Popen(settings.command, env=environment, cwd=DEMO / settings.directory) as process:
            deadline = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < deadline
                    assert process.poll() is None
                    time.sleep(0.005)
            yield process, port
            process.kill()
    finally:
        place.give_back()


Server = tuple[subprocess.Popen[bytes], int]


def test_it_says_what_the_article_says(server: Server) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server[1], timeout=10)
    for method, body, answer in (
        ("GET", None, b"Hello Go Sample v1!\n"),
        ("POST", b"x" * 200_000, b"Hello Go Sample v1!\n"),
        ("HEAD", None, b""),
        ("GET", None, b"Hello Go Sample v1!\n"),
    ):
        client.request(method, "/any/path?a=b", body)
        response = client.getresponse()
        assert (response.status, response.read()) == (200, answer)
    client.close()


def test_it_answers_a_chunked_request_and_closes(server: Server) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server[1], timeout=10)
    client.request("POST", "/", iter([b"abc", b"def"]), encode_chunked=True)
    response = client.getresponse()
    assert (response.read(), response.will_close) == (b"Hello Go Sample v1!\n", True)
    client.close()


def test_it_answers_several_connections_at_once_and_pipelined_requests(server: Server) -> None:
    streams = [socket.create_connection(("127.0.0.1", server[1]), timeout=10) for _ in range(20)]
    for stream in reversed(streams):
        stream.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n")
        received = b""
        while chunk := stream.recv(65536):
            received += chunk
        assert received.count(b"HTTP/1.1 200 OK\r\n") == received.count(b"Hello Go Sample v1!\n") == 2
        stream.close()


def test_it_ends_at_once_on_sigterm_with_idle_connections(server: Server) -> None:
    process, port = server
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = http.client.HTTPResponse(stream)
        answer.begin()
        assert answer.read() == b"Hello Go Sample v1!\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert stream.recv(65536) == b""


def test_it_runs_without_anything_but_the_standard_library() -> None:
    backend, _ = demo()
    assert backend.activation["command"] == [sys.executable, "-I", "-S", "helloworld.py"]
