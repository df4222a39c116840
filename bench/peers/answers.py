"""Does a peer answer as the origin does? Asked before anything is measured, for a wrong answer is a cheap one."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time

from bench.peers.asking import Http2Error, call, get
from bench.peers.origin import Origin
from bench.peers.place import host_of
from bench.peers.soap import Posted
from bench.peers.websocket import echo, opened
from bench.peers.workloads import Workload

__all__ = ["AnswerError", "arrived", "check"]

_PATIENCE_SECONDS = 30.0


class AnswerError(Exception):
    """A peer does not answer as the origin does."""


def check(workload: Workload, port: int, origin: Origin) -> None:
    """Asks the peer once what the load will ask. Raises `AnswerError` if that does not become right in time."""
    if workload.kind in ("huge", "stream"):
        return  # its measure looks at what arrives
    host = host_of(workload.setup.routes - 1) if workload.setup.routes else "bench.test"
    path = workload.path + "1/item?page=1" if workload.varied else workload.path
    setup = workload.setup
    if setup.upstream == "grpc":
        expected = call(origin.grpc, path)
    elif setup.upstream == "websocket":
        expected = _talk(origin.websocket)
    else:
        expected = _ask(origin.port, path, host, workload.posted)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            if setup.upstream == "grpc":
                got = call(port, path)
            elif setup.upstream == "websocket":
                got = _talk(port)
            elif setup.clients == "http2":
                got = get(port, path)
            else:
                got = _ask(port, path, host, workload.posted, tls=setup.tls)
        except (OSError, http.client.HTTPException, Http2Error) as error:
            fault = f"it does not answer: {type(error).__name__} {error}"
        else:
            if got == expected:
                return
            fault = f"it answers {got[0]} with {got[1]} bytes, the origin {expected[0]} with {expected[1]}"
        if time.monotonic() > deadline:
            raise AnswerError(fault)
        time.sleep(0.1)


def arrived(port: int) -> str:
    """Which of the fields about the client reached the origin through a peer without TLS, by name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/forwarded", headers={"Host": "bench.test"})
        pairs = connection.getresponse().read().decode("latin-1").split(";")
    except (OSError, http.client.HTTPException):
        return "unknown"
    finally:
        connection.close()
    return ", ".join(name for name, _, value in (pair.partition("=") for pair in pairs) if value) or "none"


def _talk(port: int) -> tuple[int, int, str]:
    with opened(port) as connection:
        content = echo(connection)
    return 101, len(content), hashlib.sha256(content).hexdigest()


def _ask(port: int, path: str, host: str, posted: Posted, *, tls: bool = False) -> tuple[int, int, str]:
    connection: http.client.HTTPConnection
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        method, body = ("POST", posted.content) if posted.length else ("GET", None)
        connection.request(method, path, body=body, headers={"Host": host, **posted.fields})
        response = connection.getresponse()
        content = response.read()
        return response.status, len(content), hashlib.sha256(content).hexdigest()
    finally:
        connection.close()
