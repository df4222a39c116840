"""Rules of a wire protocol's downstream half, `serve`: every end, garbage, slow clients, drain."""

from __future__ import annotations

from itertools import repeat

import anyio

from daemun.errors import ExchangeError, Reason
from daemun.message import Buffered, Request, Response
from daemun.testing.batteries.messages import ListenedBody, WaitingBody
from daemun.testing.batteries.odd import garbage
from daemun.testing.batteries.rules import Check, cannot_tell, expect
from daemun.testing.batteries.subject import Subject
from daemun.testing.batteries.talking import CONTENT, FIELDS, beginning, exchange, first_exchange, hello, talking
from daemun.testing.batteries.watching import turns

__all__ = [
    "SERVING",
    "answers_the_last_exchange",
    "ends_idle_connections_on_drain",
    "ends_when_the_client_ends",
    "notices_a_client_that_leaves",
    "serve_can_be_cancelled",
    "survives_garbage",
    "waits_for_a_slow_client",
    "writes_no_broken_answer_to_its_end",
]

_PIECE = bytes(16 * 1024)
_MAX_AHEAD_BYTES = 4 * 1024 * 1024
_MAX_CUTS = 60


async def ends_when_the_client_ends(subject: Subject) -> None:
    """`serve` returns when the client ends the connection, at any byte, and raises nothing."""
    async with talking(subject, hello) as talk:
        await turns()
        talk.there.end()
        await talk.ended()
    said = await beginning(subject)
    for size in range(0, len(said), max(1, len(said) // _MAX_CUTS)):
        for resets in (False, True):
            async with talking(subject, hello) as talk:
                await talk.near.end.send(said[:size])
                await turns(3)
                if resets:
                    talk.near.abort()
                else:
                    talk.there.end()
                await talk.ended()


async def survives_garbage(subject: Subject) -> None:
    """Whatever a client says, `serve` answers it or ends the connection, and raises nothing."""
    for data in garbage():
        async with talking(subject, hello) as talk:
            try:
                await talk.near.end.send(data)
            except anyio.BrokenResourceError:
                pass  # it has seen enough
            await turns(3)
            talk.there.end()
            await talk.ended()


async def waits_for_a_slow_client(subject: Subject) -> None:
    """A client that reads nothing stops the answer: little of it is read ahead, and nothing is heaped up."""
    body = ListenedBody(repeat(_PIECE))

    async def endless(request: Request) -> Response:
        return Response(200, (), body)

    async with talking(subject, endless) as talk:
        upstream = await talk.connect()
        try:
            await upstream.send(subject.request())
        except ExchangeError as error:
            cannot_tell(f"its halves do not fit together: {error}")
        before = -1
        while body.reads != before and body.reads * len(_PIECE) <= _MAX_AHEAD_BYTES:
            before = body.reads
            await turns(30)
        ahead = body.reads * len(_PIECE)
        talk.near.abort()
        await talk.ended()
    expect(ahead <= _MAX_AHEAD_BYTES, f"{ahead >> 20} MiB were read of the answer", "await stream.send(…), and wait")
    expect(body.closed, "the client left, and the answer's body stayed open", "aclose() of it, by run_exchange")


async def notices_a_client_that_leaves(subject: Subject) -> None:
    """A client that leaves in the middle of an exchange cancels it, and `serve` returns."""
    cancelled = anyio.Event()

    async def wait(request: Request) -> Response:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    said = await beginning(subject)
    if not said:
        cannot_tell("its halves do not fit together")
    async with talking(subject, wait) as talk:
        await talk.near.end.send(said)
        await talk.connection.begun.wait()
        talk.near.abort()
        await cancelled.wait()
        await talk.ended()


async def serve_can_be_cancelled(subject: Subject) -> None:
    """`serve` can be cancelled, idle or in the middle of an answer, whose body is closed then."""
    body = WaitingBody()

    async def wait(request: Request) -> Response:
        return Response(200, (), body)

    async with talking(subject, hello) as talk:
        await turns()
        talk.scope.cancel()
        await talk.ended()
    said = await beginning(subject)
    if said:
        async with talking(subject, wait) as talk:
            await talk.near.end.send(said)
            await body.asked.wait()
            talk.scope.cancel()
            await talk.ended()
        expect(body.closed, "the answer's body stayed open", "aclose() of it, by run_exchange")


async def ends_idle_connections_on_drain(subject: Subject) -> None:
    """When the gateway drains, an idle connection ends: `connection.on_drain` is set, and is called."""
    async with talking(subject, hello) as talk:
        if subject.thing.connect is not None:
            await first_exchange(subject, talk)
        await turns()
        talk.connection.drain()
        await talk.ended()
        expect(not talk.connection.begun_while_draining, "an exchange began while it drained", "none")


async def answers_the_last_exchange(subject: Subject) -> None:
    """An exchange that runs when the gateway begins to drain is answered to its end; then the connection ends."""
    go_on = anyio.Event()

    async def late(request: Request) -> Response:
        await go_on.wait()
        return Response(200, FIELDS, Buffered(CONTENT))

    async with talking(subject, late) as talk:
        upstream = await talk.connect()
        found: list[bytes] = []

        async def ask() -> None:
            found.append((await exchange(upstream, subject.request()))[1])
            upstream.close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await talk.connection.begun.wait()
            talk.connection.drain()
            await turns()
            go_on.set()
        expect(found == [CONTENT], f"the client got {found}", "the whole answer")
        await talk.ended()


async def writes_no_broken_answer_to_its_end(subject: Subject) -> None:
    """An answer that breaks off in the middle is broken off for the client too: it can tell."""
    error = ExchangeError(Reason.UPSTREAM_CLOSED, "broken off")

    async def breaks(request: Request) -> Response:
        return Response(200, (), ListenedBody((CONTENT, error)))

    async with talking(subject, breaks) as talk:
        try:
            _, response, content = await first_exchange(subject, talk)
        except ExchangeError:
            return
        expect(
            False,
            f"the client got {response.status} with {len(content)} bytes, as if that were all",
            "an end that tells",
        )


SERVING: tuple[Check, ...] = (
    ends_when_the_client_ends,
    survives_garbage,
    waits_for_a_slow_client,
    notices_a_client_that_leaves,
    serve_can_be_cancelled,
    ends_idle_connections_on_drain,
    answers_the_last_exchange,
    writes_no_broken_answer_to_its_end,
)
