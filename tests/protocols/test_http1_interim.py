"""Answers before the answer: `Expect: 100-continue` and 1xx responses."""

from __future__ import annotations

import anyio
import pytest

import daemun_http1.pump
from daemun.testing import CutOff, Scene, proxying

pytestmark = pytest.mark.anyio

EXPECTING = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def willing(scene: Scene) -> None:
    """Asks for the content of each request that waits to be asked, and answers with it."""
    while head := await scene.head():
        if b"expect: 100-continue" in head:
            await scene.send(CONTINUE)
        while len(scene.received) < 5:
            await scene.more()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + scene.received)
        scene.received = b""


async def test_the_client_is_asked_for_its_content_before_it_sends_it(codec: str) -> None:
    async with proxying(willing, http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        for _ in range(2):
            await wire.send(EXPECTING)
            assert await wire.until(b"\r\n\r\n") == CONTINUE
            await wire.send(b"hello")
            answer = await wire.answer()
            assert (answer.body, answer.interim) == (b"hello", ())


async def test_content_that_is_there_already_needs_no_100(codec: str) -> None:
    async with proxying(willing, http1={"codec": codec}) as proxy:
        answer = await proxy.ask(EXPECTING + b"hello")
        assert (answer.body, answer.interim) == (b"hello", ())


async def test_the_upstreams_final_answer_comes_without_a_100(codec: str) -> None:
    async def unwilling(scene: Scene) -> None:
        await scene.head()
        await scene.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await scene.gone()
        assert scene.received == b""

    async with proxying(unwilling, http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        await wire.send(EXPECTING)
        answer = await wire.answer()
        assert (answer.status, answer.body, answer.interim) == (403, b"no", ())
        assert answer.field(b"connection") == b"close"
        assert await wire.rest() == b""


async def test_a_route_that_answers_by_itself_never_asks_for_content() -> None:
    async with proxying(route={"to": None, "respond": {"status": 404}}) as proxy:
        wire = await proxy.connect()
        await wire.send(EXPECTING)
        answer = await wire.answer()
        assert (answer.status, answer.interim) == (404, ())


async def test_an_upstream_that_says_nothing_gets_the_content_after_a_while_and_later_content_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def mute(scene: Scene) -> None:
        while await scene.request():
            await scene.send(OK)

    monkeypatch.setattr(daemun_http1.pump, "_CONTINUE_SECONDS", 0.1)
    async with proxying(mute) as proxy:
        wire = await proxy.connect()
        await wire.send(EXPECTING)
        assert await wire.until(b"\r\n\r\n") == CONTINUE
        await wire.send(b"hello")
        assert (await wire.answer()).body == b"ok"
        monkeypatch.setattr(daemun_http1.pump, "_CONTINUE_SECONDS", 600)
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n")
        await wire.send(b"hello")
        assert (await wire.answer()).body == b"ok"
        assert [asked.body for asked in proxy.upstream.asked] == [b"hello", b"hello"]
        assert proxy.upstream.connections == 1


@pytest.mark.parametrize("expectation", [b"200-ok", b"100-continue, more", b""])
async def test_other_expectations_fail(expectation: bytes) -> None:
    async with proxying() as proxy:
        answer = await proxy.ask(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nExpect: %b\r\n\r\nx" % expectation
        )
        assert answer.status == 417
        assert proxy.upstream.requests == []


async def test_the_upstreams_417_comes_through() -> None:
    async def unwilling(scene: Scene) -> None:
        await scene.head()
        await scene.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        await scene.gone()

    async with proxying(unwilling) as proxy:
        assert (await proxy.ask(EXPECTING)).status == 417


async def test_an_http10_client_is_never_asked() -> None:
    async with proxying() as proxy:
        wire = await proxy.connect()
        await wire.send(EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello")
        answer = await wire.answer()
        assert (answer.status, answer.interim) == (200, ())
        assert proxy.upstream.asked[0].field(b"expect") is None


async def test_an_expectation_without_content_is_passed_over() -> None:
    async with proxying() as proxy:
        answer = await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\n\r\n")
        assert (answer.status, answer.interim) == (200, ())
        assert proxy.upstream.asked[0].field(b"expect") is None


async def test_interim_responses_are_passed_on(codec: str) -> None:
    async def hints(scene: Scene) -> None:
        while await scene.request():
            await scene.send(
                b"HTTP/1.1 102 Processing\r\n\r\n"
                b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n" + OK
            )

    async with proxying(hints, http1={"codec": codec}) as proxy:
        answer = await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert answer.interim == ((102, ()), (103, ((b"link", b"</a.css>"),)))
        assert answer.body == b"ok"
        assert (await proxy.ask(b"GET / HTTP/1.0\r\n\r\n")).interim == ()


async def test_a_100_that_nobody_waits_for_is_not_passed_on() -> None:
    async def eager(scene: Scene) -> None:
        while await scene.request():
            await scene.send(CONTINUE + OK)

    async with proxying(eager) as proxy:
        assert (await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")).interim == ()


async def test_hints_come_before_the_final_answer_is_known() -> None:
    seen = anyio.Event()

    async def slow(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        await seen.wait()
        await scene.send(OK)
        await scene.gone()

    async with proxying(slow) as proxy:
        wire = await proxy.connect()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert b"link: </a.css>\r\n" in await wire.until(b"\r\n\r\n")
        seen.set()
        assert (await wire.answer()).body == b"ok"


async def test_a_flood_of_interim_responses_is_refused() -> None:
    ended = anyio.Event()

    async def flood(scene: Scene) -> None:
        await scene.request()
        try:
            await scene.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000)
            await scene.gone()
        finally:
            ended.set()

    async with proxying(flood) as proxy:
        answer = await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert answer.status == 502
        assert 0 < len(answer.interim) < 100
        await ended.wait()


async def test_a_switch_that_nobody_asked_for_is_refused() -> None:
    async def switch(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw")
        await scene.gone()

    async with proxying(switch) as proxy:
        wire = await proxy.connect()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await wire.answer()).status == 502
        assert b"raw" not in wire.received


async def test_an_interim_response_that_is_cut_is_no_answer() -> None:
    async def cut(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-")

    async with proxying(cut) as proxy:
        answer = await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (answer.status, len(answer.interim)) == (502, 1)


async def test_a_client_that_leaves_instead_of_sending_its_content_ends_the_upstreams_exchange() -> None:
    gone = anyio.Event()

    async def ask(scene: Scene) -> None:
        await scene.head()
        await scene.send(CONTINUE)
        await scene.gone()
        gone.set()

    async with proxying(ask) as proxy:
        wire = await proxy.connect()
        await wire.send(EXPECTING)
        await wire.until(CONTINUE)
        await wire.reset()
        await gone.wait()
        with pytest.raises(CutOff):
            await wire.answer()
