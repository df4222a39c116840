"""Rules of a wire protocol's upstream half: connections that are cut anywhere, cancelled, closed."""

from __future__ import annotations

import anyio

from daemun.errors import ExchangeError, Retry, Side
from daemun.message import Request, Response
from daemun.testing.batteries.pipes import Flow
from daemun.testing.batteries.rules import Check, expect
from daemun.testing.batteries.subject import Subject
from daemun.testing.batteries.talking import FIELDS, exchange, first_exchange, hello, talking, whole
from daemun.testing.batteries.watching import swallows, turns

__all__ = [
    "SENDING",
    "releases_each_exchange_once",
    "upstream_can_be_cancelled",
    "upstream_can_be_closed",
    "upstream_tells_of_a_cut",
]

_MAX_CUTS = 60


async def upstream_tells_of_a_cut(subject: Subject) -> None:
    """An upstream that ends at any byte is an `ExchangeError` with a `retry` that fits; a part is no whole."""
    async with talking(subject, hello) as talk:
        await talk.connect()
        greeting, said = len(talk.back.sent), len(talk.there.sent)
    async with talking(subject, hello) as talk:
        _, _, content = await first_exchange(subject, talk)
        size = len(talk.back.sent)
    for at in sorted({*range(0, size, max(1, size // _MAX_CUTS)), greeting, greeting + 1, size - 1}):
        for resets in (False, True):
            if at < size:
                await _cut(subject, at, content, said, resets=resets)


async def _cut(subject: Subject, at: int, content: bytes, said: int, *, resets: bool) -> None:
    words = f"a connection {'reset' if resets else 'ended'} after {at} bytes"
    async with talking(subject, hello, back=Flow(cut_after=at, resets=resets)) as talk:
        begun = False
        try:
            upstream = await talk.connect()
            response = await upstream.send(subject.request(headers=FIELDS))
            begun = True
            found = await whole(response.body)
            expect(found == content, f"{words}: {len(found)} bytes came as if they were all", "ExchangeError")
        except ExchangeError as error:
            expect(error.side is Side.UPSTREAM, f"{words}: {error.reason.value}", "a reason of the upstream's side")
            if begun:
                expect(error.retry is Retry.NEVER, f"{words}: retry {error.retry.value}", "never: an answer was seen")
            elif len(talk.there.sent) > said and talk.connection.requests:
                expect(
                    error.retry is not Retry.UNSENT,
                    f"{words}: retry unsent, where the request had come",
                    "idempotent, or never",
                )


async def releases_each_exchange_once(subject: Subject) -> None:
    """`released` is called once for each `send`, however its exchange ended; `capacity` says what it takes now."""
    go_on = anyio.Event()

    async def slow(request: Request) -> Response:
        await go_on.wait()
        return await hello(request)

    async with talking(subject, slow) as talk:
        upstream = await talk.connect()
        expect(upstream.capacity >= 1, f"capacity is {upstream.capacity} on a new connection", "1 or more")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange, upstream, subject.request())
            await talk.connection.begun.wait()
            if not subject.thing.multiplexed:
                expect(upstream.capacity == 0, f"capacity is {upstream.capacity} while an exchange runs", "0")
            go_on.set()
        await turns()
        expect(talk.released == 1, f"it was called {talk.released} times for an exchange in order", "once")
        if upstream.capacity:
            response = await upstream.send(subject.request())
            await response.body.aclose()  # unread
            await response.body.aclose()
            await turns()
            expect(
                talk.released == 2, f"it was called {talk.released - 1} times for an answer that was dropped", "once"
            )
    for at in (0, 1):
        async with talking(subject, hello, back=Flow(cut_after=at)) as talk:
            try:
                upstream = await talk.connect()
            except ExchangeError:
                continue
            try:
                await exchange(upstream, subject.request())
            except ExchangeError:
                await turns()
            expect(talk.released == 1, f"it was called {talk.released} times for one that failed", "once")
            expect(upstream.capacity == 0, f"capacity is {upstream.capacity} on a connection that ended", "0")


async def upstream_can_be_cancelled(subject: Subject) -> None:
    """A `send` and a read of an answer can be cancelled: the exchange is over then, and the far end hears of it."""
    ended = anyio.Event()

    async def wait(request: Request) -> Response:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        raise AssertionError

    async with talking(subject, wait) as talk:
        upstream = await talk.connect()
        found = await swallows(lambda: upstream.send(subject.request()), talk.connection.begun)
        expect(not found, found, "nothing caught, or raised again")
        await turns()
        expect(talk.released == 1, f"`released` was called {talk.released} times", "once")
        await ended.wait()


async def upstream_can_be_closed(subject: Subject) -> None:
    """`close` may be called at any time, twice, and ends the connection: `capacity` is 0 then."""
    async with talking(subject, hello) as talk:
        upstream = await talk.connect()
        for _ in range(2):
            upstream.close()
        expect(upstream.capacity == 0, f"capacity is {upstream.capacity} after close()", "0")
        await talk.ended()


SENDING: tuple[Check, ...] = (
    upstream_tells_of_a_cut,
    releases_each_exchange_once,
    upstream_can_be_cancelled,
    upstream_can_be_closed,
)
