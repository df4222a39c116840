"""Messages through the gateway where one side or both speak HTTP/2: content, its framing, trailers, interim responses."""

from __future__ import annotations

import hashlib

import pytest

from daemun.testing import Http2Scene, Scene, StreamReset, eventually, proxying2

pytestmark = pytest.mark.anyio

BIG = hashlib.shake_256(b"messages").digest(300_000)
CONTENT = [b"", b"x", b"y" * 16_385, BIG]


async def echo1(scene: Scene) -> None:
    """Gives every request's content back, with its length, and chunked if the content came chunked."""
    while message := await scene.request():
        head, _, content = message.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head.lower():
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
            await scene.send(head + content)
        else:
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))


async def echo2(scene: Http2Scene) -> None:
    """Gives every request's content back, and its trailers."""
    while stream := await scene.request():
        asked = scene.asked(stream)
        await scene.respond(stream, 200, ((b"x-method", asked.method),), asked.body, asked.trailers)


@pytest.mark.parametrize("content", CONTENT, ids=len)
@pytest.mark.parametrize("announced", [True, False], ids=["length", "no-length"])
@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_content_of_any_size_goes_both_ways(content: bytes, announced: bool, upstream: str) -> None:
    fields = ((b"content-length", b"%d" % len(content)),) if announced else ()
    async with proxying2(echo1 if upstream == "http1" else None, echo2) as proxy:
        wire = await proxy.connect2()
        for _ in range(2):
            answer = await wire.exchange(b"POST", b"/", fields, content)
            assert (answer.status, answer.body) == (200, content)
        for asked in proxy.upstream.asked:
            assert asked.body == content
            assert asked.field(b"content-length") in (None, b"%d" % len(content))
        assert proxy.upstream.connections == 1


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_trailers_go_both_ways(upstream: str) -> None:
    trailers = ((b"x-sum", b"1"), (b"x-sum", b"2"))
    async with proxying2(echo1 if upstream == "http1" else None, echo2) as proxy:
        wire = await proxy.connect2()
        answer = await wire.exchange(b"POST", b"/", (), BIG, trailers)
        assert (answer.body, answer.trailers) == (BIG, trailers)
        assert proxy.upstream.asked[0].trailers == trailers


@pytest.mark.parametrize("content", CONTENT, ids=len)
@pytest.mark.parametrize("framing", ["length", "chunked", "trailers"])
async def test_a_client_of_http1_gets_what_an_upstream_of_http2_sends(content: bytes, framing: str) -> None:
    async with proxying2(None, echo2) as proxy:
        wire = await proxy.connect()
        head = b"POST /p?q HTTP/1.1\r\nHost: a.test\r\n"
        if framing == "length":
            message = head + b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
        else:
            end = b"X-Sum: 1\r\n" if framing == "trailers" else b""
            chunk = b"%x\r\n%b\r\n" % (len(content), content) if content else b""
            message = head + b"Transfer-Encoding: chunked\r\n\r\n%b0\r\n%b\r\n" % (chunk, end)
        for _ in range(2):
            await wire.send(message)
            answer = await wire.answer("POST")
            assert (answer.status, answer.body) == (200, content)
            if framing == "trailers" and content:
                assert answer.trailers == ((b"x-sum", b"1"),)
        asked = proxy.upstream.asked[1]
        assert (asked.body, asked.field(b":path"), asked.field(b":authority")) == (content, b"/p?q", b"a.test")
        assert asked.field(b":scheme") == b"http"
        assert asked.trailers == (((b"x-sum", b"1"),) if framing == "trailers" else ())
        assert {b"host", b"connection", b"transfer-encoding"}.isdisjoint(name for name, _ in asked.headers)


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_head_and_statuses_without_content(upstream: str) -> None:
    async def bare1(scene: Scene) -> None:
        while message := await scene.request():
            status = message.split(b" ")[1][1:]
            length = b"" if status == b"204" else b"Content-Length: 7\r\n"
            await scene.send(b"HTTP/1.1 %b X\r\n%b\r\n" % (status, length))

    async def bare2(scene: Http2Scene) -> None:
        while stream := await scene.request():
            status = int(scene.asked(stream).target[1:])
            await scene.respond(stream, status, () if status == 204 else ((b"content-length", b"7"),))

    async with proxying2(bare1 if upstream == "http1" else None, bare2) as proxy:
        wire = await proxy.connect2()
        for method, status, length in (
            (b"HEAD", 200, b"7"),
            (b"HEAD", 404, b"7"),
            (b"GET", 204, None),
            (b"GET", 304, b"7"),
            (b"HEAD", 204, None),
        ):
            answer = await wire.exchange(method, b"/%d" % status)
            assert (answer.status, answer.body, answer.field(b"content-length")) == (status, b"", length)
        assert [name for frame in wire.frames if (name := type(frame).__name__) == "DataFrame"] == []
        assert proxy.upstream.connections == 1


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_interim_responses_come_before_the_answer(upstream: str) -> None:
    async def hints1(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2)
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await scene.gone()

    async def hints2(scene: Http2Scene) -> None:
        stream = await scene.request()
        for _ in range(2):
            await scene.head(stream, ((b":status", b"103"), (b"link", b"</a>")))
        await scene.respond(stream, 200, (), b"ok")
        await scene.gone()

    async with proxying2(hints1 if upstream == "http1" else None, hints2) as proxy:
        answer = await (await proxy.connect2()).exchange()
        assert (answer.body, answer.interim) == (b"ok", ((103, ((b"link", b"</a>"),)),) * 2)


async def test_a_client_of_http1_gets_interim_responses_of_an_upstream_of_http2() -> None:
    async def hints(scene: Http2Scene) -> None:
        stream = await scene.request()
        await scene.head(stream, ((b":status", b"103"), (b"link", b"</a>")))
        await scene.respond(stream, 200, (), b"ok")
        await scene.gone()

    async with proxying2(None, hints) as proxy:
        answer = await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (answer.body, answer.interim) == (b"ok", ((103, ((b"link", b"</a>"),)),))


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_an_upstream_that_sends_interim_responses_for_ever_is_given_up(upstream: str) -> None:
    async def flood1(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)
        await scene.gone()

    async def flood2(scene: Http2Scene) -> None:
        stream = await scene.request()
        for _ in range(1000):
            await scene.head(stream, ((b":status", b"103"),))
        await scene.gone()

    async with proxying2(flood1 if upstream == "http1" else None, flood2) as proxy:
        answer = await (await proxy.connect2()).exchange()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_protocol")
        assert len(answer.interim) < 1000


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_a_client_that_waits_for_100_gets_it_once_its_content_is_wanted(upstream: str) -> None:
    fields = ((b"expect", b"100-continue"), (b"content-length", b"5"))

    async def willing1(scene: Scene) -> None:
        await scene.request(willing=True)
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await scene.gone()

    async def willing2(scene: Http2Scene) -> None:
        stream = await scene.begun()
        await scene.head(stream, ((b":status", b"100"),))
        await scene.request()
        await scene.respond(stream, 200, (), b"ok")
        await scene.gone()

    async with proxying2(willing1 if upstream == "http1" else None, willing2) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask(b"POST", b"/", fields, ended=False)
        await wire.until(lambda: bool(wire.hear(stream).heads), "100 Continue")
        await wire.content(stream, b"hello", ended=True)
        answer = await wire.answer(stream)
        assert (answer.status, answer.body, [status for status, _ in answer.interim]) == (200, b"ok", [100])
        assert proxy.upstream.asked[0].body == b"hello"


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_a_refusal_without_100_ends_the_upload(upstream: str) -> None:
    async def refuse1(scene: Scene) -> None:
        await scene.head()
        await scene.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await scene.gone()

    async def refuse2(scene: Http2Scene) -> None:
        while stream := await scene.begun():
            await scene.respond(stream, 403, ((b"content-length", b"2"),), b"no")

    async with proxying2(refuse1 if upstream == "http1" else None, refuse2) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask(b"POST", b"/", ((b"expect", b"100-continue"), (b"content-length", b"5")), ended=False)
        answer = await wire.answer(stream)
        assert (answer.status, answer.body, await wire.code_of(stream)) == (403, b"no", 0)
        assert [status for status, _ in answer.interim] in ([], [100])
        assert (await wire.exchange(b"GET", b"/again")).status == 403


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_an_answer_before_the_end_of_an_upload_stops_the_upload_and_keeps_the_connection(upstream: str) -> None:
    async def early1(scene: Scene) -> None:
        await scene.head()
        await scene.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        await scene.gone()

    async def early2(scene: Http2Scene) -> None:
        while stream := await scene.begun():
            await scene.respond(stream, 413, (), b"no")
            await scene.cancel(stream, 0)

    async with proxying2(early1 if upstream == "http1" else None, early2) as proxy:
        wire = await proxy.connect2()
        for _ in range(3):
            stream = await wire.ask(b"POST", content=b"x" * 1000, ended=False)
            assert (await wire.answer(stream)).status == 413
            assert await wire.code_of(stream) == 0
        assert not wire.over


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_cookies_are_one_field_upstream(upstream: str) -> None:
    async with proxying2(echo1 if upstream == "http1" else None, echo2) as proxy:
        wire = await proxy.connect2()
        await wire.exchange(headers=((b"cookie", b"a=1"), (b"x-a", b"b"), (b"cookie", b"c=2"), (b"cookie", b"d=3")))
        assert proxy.upstream.asked[0].values(b"cookie") == [b"a=1; c=2; d=3"]


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_fields_arrive_as_they_were_sent_and_those_of_connections_do_not(upstream: str) -> None:
    fields = ((b"x-a", b"1"), (b"x-b", b"two words"), (b"x-a", b"\xc3\xa4"), (b"x-empty", b""), (b"te", b"trailers"))

    async def say1(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nConnection: x-gone\r\nX-Gone: 1\r\nX-A: 1\r\nKeep-Alive: 5\r\n")
        await scene.send(b"X-A: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n")
        await scene.gone()

    async def say2(scene: Http2Scene) -> None:
        stream = await scene.request()
        said = ((b"x-a", b"1"), (b"x-a", b"2"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
        await scene.respond(stream, 200, said)
        await scene.gone()

    async with proxying2(say1 if upstream == "http1" else None, say2) as proxy:
        wire = await proxy.connect2()
        answer = await wire.exchange(headers=fields)
        assert (answer.values(b"x-a"), answer.values(b"set-cookie")) == ([b"1", b"2"], [b"a=1", b"b=2"])
        assert {b"connection", b"keep-alive", b"x-gone"}.isdisjoint(name for name, _ in answer.headers)
        asked = proxy.upstream.asked[0]
        assert asked.values(b"x-a") == [b"1", b"\xc3\xa4"]
        assert (asked.field(b"x-b"), asked.field(b"x-empty")) == (b"two words", b"")
        assert asked.field(b"via") in (None, b"2 daemun", b"2.0 daemun")


async def test_long_heads_are_continued_both_ways() -> None:
    long = ((b"x-long", bytes(range(0x21, 0x7F)) * 400),)

    async def say(scene: Http2Scene) -> None:
        stream = await scene.request()
        await scene.respond(stream, 200, long, b"ok")
        await scene.gone()

    async with proxying2(None, say) as proxy:
        wire = await proxy.connect2()
        answer = await wire.exchange(headers=long)
        assert answer.field(b"x-long") == proxy.upstream.asked[0].field(b"x-long") == long[0][1]
        assert "ContinuationFrame" in {type(frame).__name__ for frame in wire.frames}


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_a_response_that_ends_too_early_is_reset_and_never_looks_complete(upstream: str) -> None:
    async def short1(scene: Scene) -> None:
        await scene.head()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async def short2(scene: Http2Scene) -> None:
        stream = await scene.request()
        await scene.respond(stream, 200, ((b"content-length", b"10"),), b"half")
        await scene.gone()

    async with proxying2(short1 if upstream == "http1" else None, short2) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask()
        try:
            answer = await wire.answer(stream)
        except StreamReset as reset:
            assert reset.code == 2
        else:  # the end came before anything was passed on
            assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_protocol")
        await wire.round_trip()
        await eventually(lambda: proxy.in_flight == 0, "the end of the exchange")


async def test_a_response_with_more_than_it_announced_is_broken_off() -> None:
    async def long(scene: Http2Scene) -> None:
        while stream := await scene.request():
            await scene.respond(stream, 200, ((b"content-length", b"2"),), b"too much")

    async with proxying2(None, long) as proxy:
        wire = await proxy.connect2()
        answer = None
        try:
            answer = await wire.exchange()
        except StreamReset as reset:
            assert reset.code == 2
        assert answer is None or answer.status == 502
        await eventually(lambda: proxy.upstream.scenes[0].streams[1].code == 1, "a reset")


async def test_padding_is_no_content_and_its_window_comes_back() -> None:
    content = b"x" * 800
    async with proxying2(echo1) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask(b"POST", ended=False)
        await wire.content(stream, content, ended=True, piece=2, padding=250)  # more padding than the window holds
        assert (await wire.answer(stream)).body == content
