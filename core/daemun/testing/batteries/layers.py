"""Rules of every layer, whatever it is for: a filter's, and a dialect's. `layer_contents` has those about content."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio

from daemun.errors import ExchangeError, Reason
from daemun.headers import Headers
from daemun.message import EMPTY, Buffered, NoContent, Request, Response
from daemun.testing.batteries.behind import Inner, answering, content_for, passed, read_all
from daemun.testing.batteries.layer_contents import CONTENTS
from daemun.testing.batteries.messages import (
    ListenedBody,
    WaitingBody,
    framing_fault,
    request_fault,
    response_fault,
)
from daemun.testing.batteries.rules import Check, cannot_tell, expect
from daemun.testing.batteries.subject import Subject, streaming
from daemun.testing.batteries.watching import blocking_calls, does_not_grow, swallows, turns

__all__ = [
    "LAYERED",
    "adds_no_content",
    "blocks_nobody",
    "exchanges_leave_nothing_behind",
    "keeps_exchanges_apart",
    "leaves_framing_alone",
    "lets_cancellation_through",
    "lets_errors_through",
    "messages_are_valid",
]

_AT_ONCE = 10


async def _look_at(subject: Subject, fault: Callable[[Request | Response], str]) -> None:
    """Runs some exchanges, and breaks the rule by what `fault` finds in a message of one."""
    async with subject.opened() as layer:
        for method, body in (
            (b"GET", EMPTY),
            (b"HEAD", EMPTY),
            (b"POST", Buffered(b"content")),
            (b"PUT", content_for(subject, ListenedBody((b"con", b"tent")), b"content")),
            (b"DELETE", EMPTY),
            (b"PROPFIND", EMPTY),
        ):
            inner = Inner()
            async with streaming(subject.request(method, body, () if body is EMPTY else subject.content)) as request:
                try:
                    response = await layer(inner)(request)
                except ExchangeError:
                    continue
                words = method.decode()
                for one in inner.requests:
                    found = fault(one)
                    expect(not found, f"in the request that it passed on ({words}): {found}")
                found = fault(response)
                expect(not found, f"in its response to {words}: {found}")
                await read_all(response.body)
                await response.body.aclose()


async def messages_are_valid(subject: Subject) -> None:
    """What it passes on and what it answers can be sent: field names in lower case, no line end in a value."""
    await _look_at(subject, lambda one: request_fault(one) if isinstance(one, Request) else response_fault(one))


async def leaves_framing_alone(subject: Subject) -> None:
    """It adds no field of framing or of a connection: a body says its length, and protocols write the rest."""
    await _look_at(subject, framing_fault)


async def adds_no_content(subject: Subject) -> None:
    """An answer to HEAD, and one with status 204 or 304, stays without content."""
    async with subject.opened() as layer:
        for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304)):
            inner = answering(partial(_bare, status, subject.content))
            response = await passed(layer, inner, subject.request(method))
            if response.status == status:
                data = await read_all(response.body)
                expect(not data, f"{data[:40]!r} in an answer {status} to {method.decode()}", "no content")
            await response.body.aclose()


def _bare(status: int, fields: Headers) -> Response:
    return Response(status, fields, NoContent(5 if status == 200 else 0))


async def lets_cancellation_through(subject: Subject) -> None:
    """Cancellation passes: while the next handler runs, and while content is awaited."""
    async with subject.opened() as layer:
        running, body = anyio.Event(), WaitingBody()

        async def wait(request: Request) -> Response:
            running.set()
            await anyio.sleep_forever()
            raise AssertionError

        found = await swallows(lambda: passed(layer, Inner(wait), subject.request()), running)
        expect(not found, f"while the next handler ran {found}", "nothing caught, or raised again")
        response = await passed(layer, answering(lambda: Response(200, subject.content, body)), subject.request())
        found = await swallows(response.body.read, body.asked)
        await response.body.aclose()
        expect(not found, f"while content was awaited {found}", "nothing caught, or raised again")


async def lets_errors_through(subject: Subject) -> None:
    """An `ExchangeError` of the handler behind it comes out with its reason, or is answered."""
    async with subject.opened() as layer:
        for reason in (Reason.UPSTREAM_CLOSED, Reason.NO_ENDPOINT, Reason.ROUTE_TIMEOUT):

            async def refuse(request: Request, reason: Reason = reason) -> Response:
                raise ExchangeError(reason, "said behind it")

            try:
                response = await passed(layer, Inner(refuse), subject.request())
            except ExchangeError as error:
                expect(error.reason is reason, f"{reason.value} became {error.reason.value}", "the same error")
            else:
                found = response_fault(response)
                await response.body.aclose()
                expect(not found, f"{reason.value} was answered, and {found}", "the same error")


async def keeps_exchanges_apart(subject: Subject) -> None:
    """One layer serves many handlers and many exchanges at once, and mixes none of them."""
    mixed: list[str] = []

    def handler(number: int) -> Inner:
        async def answer(request: Request) -> Response:
            await turns()
            asked = request.header(b"x-number")
            if asked != b"%d" % number:
                mixed.append(f"handler {number} got the request {asked!r}")
            return Response(200, ((b"x-number", b"%d" % number), *subject.content), Buffered(b"%d" % number))

        return Inner(answer)

    async with subject.opened() as layer:
        inner = [handler(number) for number in range(_AT_ONCE)]

        async def ask(number: int) -> None:
            try:
                response = await layer(inner[number])(subject.request(headers=((b"x-number", b"%d" % number),)))
            except ExchangeError:
                return  # it lets some of them in, and not all
            found = response.header(b"x-number")
            if inner[number].requests and found not in (None, b"%d" % number):
                mixed.append(f"request {number} got the answer {found!r}")
            await response.body.aclose()

        async with anyio.create_task_group() as tasks:
            for number in range(_AT_ONCE):
                tasks.start_soon(ask, number)
    expect(not mixed, "; ".join(mixed[:3]), "what belongs to an exchange in its request, or in `exchange.stash`")
    if not any(one.requests for one in inner):
        cannot_tell("it lets no request pass; see `headers` (--daemun-header)")


async def blocks_nobody(subject: Subject) -> None:
    """Nothing in an exchange waits without letting other tasks run."""
    async with subject.opened() as layer:
        body = content_for(subject, ListenedBody((b"con", b"tent")), b"content")
        async with streaming(subject.request(b"POST", body, subject.content)) as request:
            with blocking_calls() as found:
                try:
                    response = await layer(Inner())(request)
                    await read_all(response.body)
                    await response.body.aclose()
                except ExchangeError:
                    pass
    expect(not found, f"it waits in {', '.join(found[:3])}", "anyio's own calls, or anyio.to_thread.run_sync")


async def exchanges_leave_nothing_behind(subject: Subject) -> None:
    """Exchanges leave nothing that grows, read or dropped or cancelled: no task, descriptor or thread."""
    async with subject.opened() as layer:

        async def ask(*, cancelled: bool) -> None:
            body = content_for(subject, ListenedBody((b"con", b"tent")), b"content")
            with anyio.CancelScope() as scope:
                async with streaming(subject.request(b"POST", body, subject.content)) as request:
                    try:
                        response = await layer(Inner())(request)
                    except ExchangeError:
                        return
                    try:
                        await response.body.read()
                        if cancelled:
                            scope.cancel()
                            await turns(1)
                    finally:
                        with anyio.CancelScope(shield=True):
                            await response.body.aclose()

        async def both() -> None:
            await ask(cancelled=False)
            await ask(cancelled=True)

        await does_not_grow(both, "its exchanges were over")


LAYERED: tuple[Check, ...] = (
    messages_are_valid,
    leaves_framing_alone,
    adds_no_content,
    *CONTENTS,
    lets_cancellation_through,
    lets_errors_through,
    keeps_exchanges_apart,
    blocks_nobody,
    exchanges_leave_nothing_behind,
)
