"""A server on the loopback interface plays the API that starts machines, and the machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import daemun_webhook_start
import pytest

from daemun.testing import running
from daemun.testing.batteries import check_activator

pytestmark = pytest.mark.anyio


class Api:
    """Starts a machine when it is told to."""

    def __init__(self) -> None:
        self.calls: list[str | None] = []
        self.status = 202
        api = self

        class Machine(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say(200, b"awake\n")

            def do_POST(self) -> None:
                api.calls.append(self.headers["Authorization"])
                self._say(api.status, b"")

            def _say(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Machine)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    one = Api()
    yield one
    one.close()


def settings(api: Api) -> dict[str, object]:
    return {"start_url": f"http://{api.address}/start", "address": api.address, "token": "secret"}


def sources(api: Api) -> list[object]:
    backend = {"activator": "webhook", "activation": settings(api)}
    return [{"type": "inline", "backends": {"m": backend}, "routes": [{"name": "all", "to": "m"}]}]


REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


async def test_a_request_starts_the_machine(api: Api) -> None:
    opened = running({"sources": sources(api)}, only=["http1", "file"], extra=[daemun_webhook_start])
    async with opened as gateway:
        answer = await gateway.exchange(REQUEST)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"awake\n")
        assert b"x-daemun-cold-start: true" in answer.lower()
        await gateway.exchange(REQUEST)
    assert api.calls == ["Bearer secret"]


async def test_a_start_that_is_refused_is_told(api: Api) -> None:
    api.status = 500
    opened = running({"sources": sources(api)}, only=["http1", "file"], extra=[daemun_webhook_start])
    async with opened as gateway:
        answer = await gateway.exchange(REQUEST)
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"the answer was 500" in answer
    assert b"secret" not in answer


async def test_it_keeps_the_contract_of_activators(api: Api) -> None:
    (kind,) = daemun_webhook_start.daemun_activators()
    await check_activator(kind, settings(api))
