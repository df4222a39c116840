"""Content in both directions: lengths, chunks, trailers, answers that have none."""

from __future__ import annotations

import hashlib

import pytest

from daemun.testing import CutOff, Scene, proxying
from daemun.testing.upstreams import Script

pytestmark = pytest.mark.anyio

BIG = hashlib.shake_256(b"big").digest(3 * 1024 * 1024 + 17)


def answering(data: bytes) -> Script:
    """A script that answers every request with the same bytes, and then waits for the end."""

    async def script(scene: Scene) -> None:
        while await scene.request():
            await scene.send(data)

    return script


async def echo(scene: Scene) -> None:
    """Sends back the content of each request, with its length."""
    while message := await scene.request():
        content = message.partition(b"\r\n\r\n")[2]
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)


async def test_chunked_content_comes_through_with_its_trailers(codec: str) -> None:
    script = answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"5;part=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n"
    )
    async with proxying(script, http1={"codec": codec}) as proxy:
        answer = await proxy.ask(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;a=b\r\nabc\r\n00002\r\nde\r\n0\r\nX-Check: 5\r\nx-more: yes \r\n\r\n"
        )
        assert answer.body == b"hello world"
        assert answer.trailers == ((b"x-sum", b"11"),)
        assert answer.field(b"transfer-encoding") == b"chunked"
        assert answer.field(b"content-length") is None
        (asked,) = proxy.upstream.asked
        assert asked.body == b"abcde"
        assert asked.trailers == ((b"x-check", b"5"), (b"x-more", b"yes"))
        assert asked.values(b"content-length") == []


@pytest.mark.parametrize(
    "name",
    [b"Content-Length", b"Transfer-Encoding", b"Host", b"Authorization", b"X-Forwarded-For", b"X_Y", b"Set-Cookie"],
)
async def test_trailers_that_could_change_the_meaning_of_a_head_are_dropped(name: bytes) -> None:
    script = answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n%b: 1\r\nX-Sum: 2\r\n\r\n" % name
    )
    async with proxying(script) as proxy:
        answer = await proxy.ask(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n%b: 1\r\nX-Sum: 2\r\n\r\n"
            % name
        )
        assert answer.trailers == ((b"x-sum", b"2"),)
        assert proxy.upstream.asked[0].trailers == ((b"x-sum", b"2"),)


async def test_content_with_a_length_keeps_it(codec: str) -> None:
    async with proxying(echo, http1={"codec": codec}) as proxy:
        for content in (b"", b"x", b"abc" * 1000):
            answer = await proxy.ask(
                b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
            )
            assert (answer.body, answer.field(b"content-length")) == (content, b"%d" % len(content))
        assert [asked.field(b"content-length") for asked in proxy.upstream.asked] == [b"0", b"1", b"3000"]
        assert all(asked.field(b"transfer-encoding") is None for asked in proxy.upstream.asked)


@pytest.mark.parametrize("chunk", [1 << 14, 1 << 20])
async def test_big_content_arrives_unchanged_in_both_directions(chunk: int) -> None:
    async def chunked_echo(scene: Scene) -> None:
        await scene.request()
        content = proxy.upstream.asked[0].body
        await scene.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(content), chunk):
            piece = content[start : start + chunk]
            await scene.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await scene.send(b"0\r\n\r\n")
        await scene.gone()

    async with proxying(chunked_echo) as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(BIG), chunk):
            piece = BIG[start : start + chunk]
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await wire.send(b"0\r\n\r\n")
        assert (await wire.answer()).body == BIG
        assert proxy.upstream.asked[0].body == BIG


async def test_big_content_with_a_length_arrives_unchanged_in_both_directions() -> None:
    async with proxying(echo) as proxy:
        wire = await proxy.connect()
        for _ in range(2):
            await wire.send(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG)
            assert (await wire.answer()).body == BIG
        assert proxy.upstream.connections == 1


async def test_content_streams_before_it_is_whole() -> None:
    async def talk(scene: Scene) -> None:
        await scene.head()
        while b"ping" not in scene.received:
            await scene.more()
        await scene.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npong\r\n")
        while b"end" not in scene.received:
            await scene.more()
        await scene.send(b"0\r\n\r\n")
        await scene.gone()

    async with proxying(talk) as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nping\r\n")
        await wire.until(b"pong\r\n")
        await wire.send(b"3\r\nend\r\n0\r\n\r\n")
        assert await wire.until(b"0\r\n\r\n") == b"0\r\n\r\n"


async def test_head_gets_the_fields_of_a_get_and_no_content(codec: str) -> None:
    async def heads(scene: Scene) -> None:
        while message := await scene.request():
            framing = b"Content-Length: 1234" if b"/length" in message else b"Transfer-Encoding: chunked"
            await scene.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\nETag: x\r\n\r\n")

    async with proxying(heads, http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        for target, length in ((b"/length", b"1234"), (b"/chunked", None)) * 2:
            await wire.send(b"HEAD %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % target)
            answer = await wire.answer("HEAD")
            assert (answer.body, answer.field(b"etag")) == (b"", b"x")
            assert answer.field(b"content-length") == length
        assert proxy.upstream.connections == 1


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"204 No Content\r\nETag: x", None),
        (b"204 No Content\r\nETag: x\r\nContent-Length: 0", None),
        (b"304 Not Modified\r\nETag: x", None),
        (b"304 Not Modified\r\nETag: x\r\nContent-Length: 99", b"99"),
    ],
)
async def test_answers_without_content_keep_the_connection(head: bytes, length: bytes | None) -> None:
    async with proxying(answering(b"HTTP/1.1 " + head + b"\r\n\r\n")) as proxy:
        wire = await proxy.connect()
        for _ in range(2):
            await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            answer = await wire.answer()
            assert (answer.body, answer.field(b"etag")) == (b"", b"x")
            assert answer.field(b"content-length") == length
        assert (wire.received, proxy.upstream.connections) == (b"", 1)


async def test_an_answer_with_length_0_keeps_it() -> None:
    async with proxying(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as proxy:
        assert (await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")).field(b"content-length") == b"0"


async def test_content_that_ends_with_the_upstreams_connection_is_framed_anew(codec: str) -> None:
    async def until_close(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.0 200 OK\r\n\r\nall ")
        await scene.send(b"of it")

    async with proxying(until_close, http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        for _ in range(2):
            await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            answer = await wire.answer()
            assert answer.body == b"all of it"
            assert answer.field(b"transfer-encoding") == b"chunked"
        assert proxy.upstream.connections == 2


@pytest.mark.parametrize(
    "broken",
    [
        b"4\r\nabc\r\n0\r\n\r\n",
        b"g\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\r\n0\r\nX : 1\r\n\r\n",
        b"fffffffffffffffff\r\nabc",
    ],
)
async def test_a_broken_chunked_request_is_refused_and_its_connection_ends(broken: bytes, codec: str) -> None:
    ends: list[bytes] = []

    async def see(scene: Scene) -> None:
        await scene.gone()
        ends.append(scene.received)

    async with proxying(see, http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + broken)
        answer = await wire.answer()
        assert (answer.status, answer.field(b"connection")) == (400, b"close")
        assert await wire.rest() == b""
    assert not any(end.endswith(b"0\r\n\r\n") for end in ends)


async def test_content_that_ends_in_the_middle_is_refused_and_never_looks_complete() -> None:
    ends: list[bytes] = []

    async def see(scene: Scene) -> None:
        await scene.gone()
        ends.append(scene.received)

    async with proxying(see) as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        await wire.finish()
        assert (await wire.answer()).status == 400
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabcde")
        await wire.finish()
        assert (await wire.answer()).status == 400
    assert [end.partition(b"\r\n\r\n")[2] for end in ends] == [b"5\r\nabcde\r\n", b"abcde"]


async def test_content_that_nobody_wants_is_passed_over_if_it_is_little() -> None:
    route = {"to": None, "respond": {"body": "fixed"}}
    async with proxying(route=route, http1={"drain_bytes": 1000}) as proxy:
        wire = await proxy.connect()
        for head, content in (
            (b"Content-Length: 900", b"x" * 900),
            (b"Transfer-Encoding: chunked", b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n"),
        ):
            await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + head + b"\r\n\r\n")
            answer = await wire.answer()
            assert (answer.body, answer.field(b"connection")) == (b"fixed", None)
            await wire.send(content)
        await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await wire.answer()).body == b"fixed"


async def test_content_that_nobody_wants_ends_the_connection_if_it_is_much() -> None:
    route = {"to": None, "respond": {"body": "fixed"}}
    async with proxying(route=route, http1={"drain_bytes": 1000}) as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1001\r\n\r\n")
        assert (await wire.answer()).field(b"connection") == b"close"

        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await wire.answer()).body == b"fixed"
        await wire.send(b"fff\r\n" + b"x" * 4095)
        with pytest.raises(CutOff):
            await wire.send(b"\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            await wire.answer()
