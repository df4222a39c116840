"""A responder in the test plays PHP-FPM: what it is told, and what becomes of what it says."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import daemun_fastcgi
import pytest
from daemun_fastcgi.records import Kind, decode_head, encode, encode_params, records
from hypothesis import given
from hypothesis import strategies as st

from daemun import SettingsError
from daemun.testing import Scene, in_memory
from daemun.testing.batteries import check_protocol

pytestmark = pytest.mark.anyio

Answer = Callable[[dict[bytes, bytes], bytes], bytes]


async def exactly(scene: Scene, size: int) -> bytes:
    while len(scene.received) < size:
        if not await scene.more():
            raise anyio.EndOfStream
    data, scene.received = scene.received[:size], scene.received[size:]
    return data


def decode_params(data: bytes) -> dict[bytes, bytes]:
    found, at = {}, 0

    def length() -> int:
        nonlocal at
        size = data[at]
        if size & 0x80:
            (size,) = struct.unpack(">I", data[at : at + 4])
            at += 3
        at += 1
        return size & 0x7FFFFFFF

    while at < len(data):
        name_bytes, value_bytes = length(), length()
        found[data[at : at + name_bytes]] = data[at + name_bytes : at + name_bytes + value_bytes]
        at += name_bytes + value_bytes
    return found


def responder(answer: Answer, *, pieces: int = 1 << 16) -> Callable[[Scene], Awaitable[None]]:
    """An upstream that says `answer(params, content)`, in records of `pieces` bytes."""

    async def run(scene: Scene) -> None:
        try:
            await serve(scene)
        except anyio.EndOfStream:
            return

    async def serve(scene: Scene) -> None:
        while True:
            params, content = b"", b""
            while True:
                kind, size, padding = decode_head(await exactly(scene, 8))
                data = (await exactly(scene, size + padding))[:size]
                if kind == Kind.PARAMS:
                    params += data
                elif kind == Kind.STDIN:
                    content += data
                    if not data:
                        break
            said = answer(decode_params(params), content)
            for at in range(0, len(said), pieces):
                await scene.send(b"".join(records(Kind.STDOUT, said[at : at + pieces])))
                await scene.send(encode(Kind.STDERR, b"a warning"))
            await scene.send(encode(Kind.STDOUT) + encode(Kind.END_REQUEST, bytes(8)))

    return run


def echo(params: dict[bytes, bytes], content: bytes) -> bytes:
    lines = b"".join(b"%b=%b\n" % pair for pair in sorted(params.items()))
    return b"Status: 201 Made\r\nContent-Type: text/plain\r\nX-Powered-By: test\r\n\r\n" + lines + b"[" + content + b"]"


def gateway(script: Any, **settings: Any) -> Any:
    endpoint = {"url": "http://php.test:9000", "protocol": "fastcgi"}
    source = {
        "type": "inline",
        "backends": {"php": {"endpoints": [endpoint]}},
        "routes": [{"name": "all", "to": "php"}],
    }
    return in_memory(
        {"sources": [source], "protocols": {"fastcgi": {"root": "/srv/www", **settings}}},
        plugins=[daemun_fastcgi],
        only=["http1", "file"],
        upstreams={"php.test:9000": script},
    )


@pytest.mark.parametrize("pieces", [1, 7, 1 << 16])
async def test_a_request_is_told_as_cgi_and_answered(pieces: int) -> None:
    async with gateway(responder(echo, pieces=pieces)) as one:
        answer = await one.ask(
            "POST",
            "/blog/post.php/12?x=1",
            headers=[("Content-Type", "text/x"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("Proxy", "evil")],
            content=b"hello",
            host="a.test:8080",
        )
    assert (answer.status, answer.field(b"x-powered-by")) == (201, b"test")
    told = dict(line.split(b"=", 1) for line in answer.body.splitlines()[:-1])
    assert told[b"SCRIPT_FILENAME"] == b"/srv/www/blog/post.php"
    assert (told[b"SCRIPT_NAME"], told[b"PATH_INFO"], told[b"QUERY_STRING"]) == (b"/blog/post.php", b"/12", b"x=1")
    assert (told[b"SERVER_NAME"], told[b"SERVER_PORT"]) == (b"a.test", b"8080")
    assert (told[b"CONTENT_LENGTH"], told[b"CONTENT_TYPE"]) == (b"5", b"text/x")
    assert told[b"HTTP_COOKIE"] == b"a=1; b=2"
    assert b"HTTP_PROXY" not in told
    assert answer.body.endswith(b"[hello]")


async def test_a_connection_is_used_again() -> None:
    async with gateway(responder(echo)) as one:
        for _ in range(3):
            assert (await one.ask()).status == 201
        assert (await one.ask("HEAD")).body == b""
        assert one.upstream["php.test:9000"].connections == 1


async def test_large_contents_pass_both_ways() -> None:
    data = bytes(range(256)) * 1024
    async with gateway(responder(lambda params, content: b"Content-Type: x/y\n\n" + content)) as one:
        assert (await one.ask("POST", content=data)).body == data


@pytest.mark.parametrize("path", ["/../etc/x.php", "/a%2f..%2fb.php", "/a%00.php", "/a//b.php"])
async def test_a_path_that_is_no_scripts_is_refused(path: str) -> None:
    async with gateway(responder(echo)) as one:
        answer = await one.ask(target=path)
        assert answer.status in (400, 404)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"no head at all", b"upstream_protocol"),
        (b"Status: two\r\n\r\n", b"upstream_protocol"),
        (b"not a field\r\n\r\n", b"upstream_protocol"),
    ],
)
async def test_answers_that_are_none(said: bytes, reason: bytes) -> None:
    async with gateway(responder(lambda params, content: said)) as one:
        answer = await one.ask()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, reason)


async def test_an_upstream_that_hangs_up() -> None:
    async def hang_up(scene: Scene) -> None:
        await exactly(scene, 8)

    async with gateway(hang_up) as one:
        answer = await one.ask("POST")
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_closed")


@given(st.dictionaries(st.binary(min_size=1, max_size=200), st.binary(max_size=300)))
def test_params_of_every_length(params: dict[bytes, bytes]) -> None:
    assert decode_params(encode_params(params.items())) == params


async def test_a_listener_cannot_speak_it() -> None:
    listener = {"name": "http", "bind": "127.0.0.1:0", "protocols": ["fastcgi"]}
    with pytest.raises(SettingsError, match="'fastcgi' has an upstream half only"):
        async with in_memory({"listeners": [listener]}, plugins=[daemun_fastcgi], only=["http1"]):
            pass


async def test_it_keeps_the_contract_of_protocols() -> None:
    (kind,) = daemun_fastcgi.daemun_protocols()
    await check_protocol(kind)
