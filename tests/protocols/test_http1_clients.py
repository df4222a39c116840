"""Clients and a server that nobody here wrote."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import Process

from daemun.testing import Scene, eventually, proxying, read_asked, running

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])]
"""On the event loop that serves where it can: the clients' side is the same on each."""

BIG = hashlib.shake_256(b"clients").digest(2 * 1024 * 1024 + 11)


def program(name: str) -> str:
    """The path of a program. Skips the test if it is not installed."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


async def echo(scene: Scene) -> None:
    """Says what it got: the content of a request in chunks, or its target."""
    while message := await scene.request(willing=True):
        asked = read_asked(message)
        method, target = message.split(b" ", 2)[:2]
        if method == b"HEAD":
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        elif target == b"/hints":
            await scene.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
        elif target == b"/none":
            await scene.send(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")
        else:
            body = asked.body or target
            await scene.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
            for start in range(0, len(body), 100_000):
                piece = body[start : start + 100_000]
                await scene.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await scene.send(b"0\r\nX-Sum: %d\r\n\r\n" % len(body))


async def test_http_client_of_python() -> None:
    async with proxying(echo) as proxy:

        def talk() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.gateway.port, timeout=10)
            connection.request("GET", "/one")
            assert connection.getresponse().read() == b"/one"
            first = connection.sock
            connection.request("POST", "/two", body=BIG)
            assert connection.getresponse().read() == BIG
            connection.request("POST", "/three", body=iter([b"a" * 70_000, b"b"]), encode_chunked=True)
            assert connection.getresponse().read() == b"a" * 70_000 + b"b"
            connection.request("HEAD", "/four")
            answer = connection.getresponse()
            assert (answer.read(), answer.headers["content-length"]) == (b"", "5")
            connection.request("GET", "/none")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (304, b"")
            assert connection.sock is first
            connection.request("GET", "/five", headers={"Connection": "close"})
            assert connection.getresponse().read() == b"/five"
            connection.close()

        await anyio.to_thread.run_sync(talk)


async def test_httpx() -> None:
    async with proxying(echo) as proxy, httpx.AsyncClient(base_url=proxy.gateway.url) as client:
        assert (await client.get("/one")).content == b"/one"
        answers = [await client.post("/", content=BIG[:size]) for size in (1, 1000, 65536, len(BIG))]
        assert [answer.content == BIG[:size] for answer, size in zip(answers, (1, 1000, 65536, len(BIG)), strict=True)]

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(BIG), 300_000):
                yield BIG[start : start + 300_000]

        assert (await client.put("/", content=pieces())).content == BIG
        assert (await client.head("/")).headers["content-length"] == "5"
        assert (await client.get("/hints")).status_code == 204
        async with anyio.create_task_group() as tasks:

            async def get(number: int) -> None:
                assert (await client.get(f"/{number}")).content == b"/%d" % number

            for number in range(30):
                tasks.start_soon(get, number)


async def run(*command: str, data: bytes = b"") -> bytes:
    """What a program prints. Raises `CalledProcessError` if it fails."""
    with anyio.fail_after(20):
        done = await anyio.run_process(command, input=data, stderr=subprocess.PIPE)
    return done.stdout


async def test_curl(tmp_path: Path) -> None:
    curl = program("curl")
    common = (curl, "--silent", "--show-error", "--fail", "--max-time", "10", "--noproxy", "*")
    file = tmp_path / "big"
    file.write_bytes(BIG)
    async with proxying(echo) as proxy:
        url = proxy.gateway.url
        assert await run(*common, f"{url}/[1-5]") == b"/1/2/3/4/5"
        assert proxy.upstream.connections == 1
        assert await run(*common, "--data-binary", f"@{file}", f"{url}/") == BIG
        expecting = (*common, "--http1.1", "-H", "Expect: 100-continue", "--expect100-timeout", "5")
        assert await run(*expecting, "-T", str(file), f"{url}/up") == BIG
        assert await run(*common, "-H", "Transfer-Encoding: chunked", "-T", "-", f"{url}/", data=BIG) == BIG
        assert await run(*common, "--http1.0", f"{url}/old") == b"/old"
        assert b"HTTP/1.1 103 Early Hints" in await run(*common, "-i", f"{url}/hints")
        assert b"content-length: 5" in await run(*common, "--head", f"{url}/")
        assert await run(*common, "--path-as-is", "-w", "%{http_code}", "-o", os.devnull, f"{url}/a//b") == b"200"
        assert b"x-sum: 4" in (await run(*common, "-i", "--raw", f"{url}/end")).lower()


NODE = """
const http = require('http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const port = Number(process.argv[2]);
const big = Buffer.alloc(1 << 20, 'node');
function ask(method, path, body, headers) {
  return new Promise((resolve, reject) => {
    const request = http.request({ port, host: '127.0.0.1', agent, method, path, headers }, (response) => {
      const pieces = [];
      response.on('data', (piece) => pieces.push(piece));
      response.on('end', () => resolve({ response, body: Buffer.concat(pieces), reused: request.reusedSocket }));
    });
    request.on('error', reject);
    request.on('continue', () => request.end(body));
    if (!headers) request.end(body);
  });
}
(async () => {
  const one = await ask('GET', '/one');
  const two = await ask('POST', '/two', big);
  const three = await ask('POST', '/three', big, { Expect: '100-continue', 'Transfer-Encoding': 'chunked' });
  const head = await ask('HEAD', '/head');
  const hints = await ask('GET', '/hints');
  console.log(JSON.stringify({
    one: one.body.toString(),
    two: two.body.equals(big),
    three: three.body.equals(big),
    sum: three.response.trailers['x-sum'],
    head: [head.body.length, head.response.headers['content-length']],
    hints: hints.response.statusCode,
    reused: [two, three, head, hints].every((answer) => answer.reused),
  }));
  agent.destroy();
})().catch((error) => { console.error(error); process.exit(1); });
"""


async def test_node(tmp_path: Path) -> None:
    node = program("node")
    script = tmp_path / "client.js"
    script.write_text(NODE)
    async with proxying(echo) as proxy:
        said = await run(node, str(script), str(proxy.gateway.port))
        assert said == (
            b'{"one":"/one","two":true,"three":true,"sum":"1048576","head":[0,"5"],"hints":204,"reused":true}\n'
        )


NGINX = """
daemon off; master_process off; worker_processes 1; error_log stderr warn; pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{
  access_log off; keepalive_requests 5; client_max_body_size 1m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; default_type text/plain;
  server {{
    listen unix:{folder}/socket;
    root {folder}/files; etag on;
    location = /host {{ return 200 "$host $http_x_forwarded_for $http_via"; }}
    location = /old {{ chunked_transfer_encoding off; keepalive_timeout 0; return 200 "old"; }}
    location = /upload {{ client_max_body_size 1k; proxy_pass http://unix:{folder}/nobody; }}
    location = /drop {{ return 444; }}
  }}
}}
"""


@asynccontextmanager
async def nginx(folder: Path) -> AsyncIterator[str]:
    """nginx on a Unix socket; its path."""
    path = program("nginx")
    (folder / "files").mkdir()
    (folder / "files/big").write_bytes(BIG)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    command = (path, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr")
    process: Process = await anyio.open_process(command, stdin=None, stdout=None, stderr=None)

    def listens() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(folder / "socket")) == 0

    try:
        await eventually(listens, "nginx")
        yield f"unix:{folder}/socket"
    finally:
        process.send_signal(signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await process.wait()


async def test_nginx_as_upstream(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "sources": [{"type": "inline", "backends": {"up": {}}, "routes": [{"name": "all", "to": "up"}]}]
    }
    async with nginx(tmp_path) as address:
        settings["sources"][0]["backends"]["up"]["endpoints"] = [address]
        async with running(settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
            answers = [await client.get("/big") for _ in range(12)]
            assert all(answer.content == BIG for answer in answers)
            tag = answers[0].headers["etag"]
            assert (await client.get("/big", headers={"If-None-Match": tag})).status_code == 304
            part = await client.get("/big", headers={"Range": "bytes=5-99"})
            assert (part.status_code, part.content) == (206, BIG[5:100])
            assert (await client.head("/big")).headers["content-length"] == str(len(BIG))
            said = await client.get("/host", headers={"Host": "b.test:81"})
            assert said.text == "b.test 127.0.0.1 1.1 daemun"
            assert (await client.get("/old")).text == "old"
            assert (await client.get("/missing")).status_code == 404
            assert (await client.post("/upload", content=BIG)).status_code == 413
            assert (await client.get("/drop")).status_code == 502
            async with anyio.create_task_group() as tasks:

                async def get() -> None:
                    assert (await client.get("/big")).content == BIG

                for _ in range(10):
                    tasks.start_soon(get)
