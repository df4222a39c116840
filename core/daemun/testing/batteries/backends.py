"""The battery for back ends that answer by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

import anyio

from daemun.errors import ExchangeError, Reason
from daemun.extend.types import BackendContext, BackendType
from daemun.headers import Headers
from daemun.message import EMPTY, Body, Buffered, Request, Response
from daemun.testing.batteries.common import BUILT, CODE, NAMED, SETTINGS
from daemun.testing.batteries.messages import ListenedBody, WaitingBody, framing_fault, response_fault
from daemun.testing.batteries.odd import odd_requests
from daemun.testing.batteries.rules import Check, Unseen, cannot_tell, expect, run_battery, words_of
from daemun.testing.batteries.subject import Subject, streaming
from daemun.testing.batteries.watching import blocking_calls, does_not_grow, swallows, turns

__all__ = [
    "BACKEND",
    "answers_any_request",
    "answers_are_valid",
    "answers_head_like_get",
    "answers_many_at_once",
    "backend_subject",
    "blocks_nobody",
    "bodies_can_be_closed",
    "bodies_end_and_stay_ended",
    "bodies_keep_their_length",
    "check_backend",
    "exchanges_leave_nothing_behind",
    "lets_broken_content_through",
    "reads_no_endless_content",
    "survives_cancellation",
]

_CONTENT: Headers = ((b"content-type", b"application/octet-stream"),)
_PIECE = bytes(64 * 1024)
_MAX_PIECES = 1024
_MAX_READS = 100_000
_CANCELLED_AFTER = (0, 1, 2, 5)


async def _answer(handler: Any, request: Request) -> Response | None:
    """What it answers; None if it refuses by an `ExchangeError`."""
    try:
        response: Response = await handler(request)
    except ExchangeError:
        return None
    found = response_fault(response)
    expect(not found, f"for {request.method.decode()} {request.target[:60]!r}: {found}", "a Response that can be sent")
    return response


async def _usual(subject: Subject, handler: Any, method: bytes = b"GET") -> Response:
    response = await _answer(handler, subject.request(method))
    if response is None:
        cannot_tell(f"it refuses {method.decode()} {subject.target!r}; see `target` and `headers`")
    return response


async def _read(body: Body) -> bytes:
    pieces = []
    for _ in range(_MAX_READS):
        data = await body.read()
        expect(isinstance(data, bytes), f"read() gave {type(data).__name__}", "bytes")
        if not data:
            break
        pieces.append(data)
    return b"".join(pieces)


async def answers_are_valid(subject: Subject) -> None:
    """What it answers can be sent: a status, lower-case fields without line ends, none of framing, a whole body."""
    async with subject.opened() as handler:
        for method, body in ((b"GET", EMPTY), (b"HEAD", EMPTY), (b"OPTIONS", EMPTY), (b"POST", Buffered(b"content"))):
            response = await _answer(handler, subject.request(method, body, _CONTENT if body is not EMPTY else ()))
            if response is not None:
                found = framing_fault(response)
                expect(not found, f"{found} in an answer to {method.decode()}", "a body that says its `length`")
                await _read(response.body)
                await response.body.aclose()


async def answers_any_request(subject: Subject) -> None:
    """It answers any request, or raises `ExchangeError`: methods, targets, fields and bytes are the client's choice."""
    async with subject.opened() as handler:
        for odd in odd_requests(subject):
            async with streaming(odd) as request:
                try:
                    response = await _answer(handler, request)
                    if response is not None:
                        await response.body.read()
                        await response.body.aclose()
                except Exception as error:
                    where = f"{request.method.decode()} {request.target[:60]!r}"
                    expect(isinstance(error, (ExchangeError, AssertionError)), f"for {where}: {words_of(error)}")
                    if not isinstance(error, ExchangeError):
                        raise


async def answers_head_like_get(subject: Subject) -> None:
    """An answer to HEAD announces the length that GET has; content that it has nevertheless, protocols leave out."""
    async with subject.opened() as handler:
        got, head = await _usual(subject, handler), await _usual(subject, handler, b"HEAD")
        for response in (got, head):
            await response.body.aclose()
        if got.status == head.status:
            lengths = head.body.length, got.body.length
            expect(
                lengths[0] in (lengths[1], None),
                f"HEAD announces {lengths[0]} bytes, where GET has {lengths[1]}",
                "NoContent(length) with the same length, or None",
            )


async def bodies_end_and_stay_ended(subject: Subject) -> None:
    """A body comes to its end, `b""`, and stays there; it may be closed then, twice."""
    async with subject.opened() as handler:
        response = await _usual(subject, handler)
        await _read(response.body)
        for _ in range(2):
            data = await response.body.read()
            expect(not data, f"{data[:40]!r} behind the end of a body", 'b""')
        expect(
            isinstance(response.body.trailers, tuple), f"trailers are {response.body.trailers!r}", "a tuple of pairs"
        )
        await response.body.aclose()
        await response.body.aclose()


async def bodies_keep_their_length(subject: Subject) -> None:
    """A body that says its length has so many bytes."""
    async with subject.opened() as handler:
        response = await _usual(subject, handler)
        length, data = response.body.length, await _read(response.body)
        await response.body.aclose()
    expect(length in (None, len(data)), f"{len(data)} bytes, where {length} were said", "as many as `length` says")


async def bodies_can_be_closed(subject: Subject) -> None:
    """A body can be closed unread, in the middle, and again, and leaves nothing that grows: no descriptor, no task."""
    async with subject.opened() as handler:

        async def close() -> None:
            for reads in (0, 1):
                response = await _usual(subject, handler)
                for _ in range(reads):
                    await response.body.read()
                await response.body.aclose()
                await response.body.aclose()

        await does_not_grow(close, "bodies were closed")


async def reads_no_endless_content(subject: Subject) -> None:
    """It takes so much content and no more, and only as it reads it: 413 if it is too much."""
    body = ListenedBody(repeat(_PIECE, _MAX_PIECES * 2))
    async with subject.opened() as handler, streaming(subject.request(b"POST", body, _CONTENT)) as request:
        response = await _answer(handler, request)
        if response is not None:
            await turns()
            reads = body.reads
            await response.body.aclose()
            expect(
                reads <= _MAX_PIECES,
                f"{reads * len(_PIECE) >> 20} MiB were read before it answered",
                f"a limit below {_MAX_PIECES * len(_PIECE) >> 20} MiB",
            )


async def lets_broken_content_through(subject: Subject) -> None:
    """A client that breaks off in the middle of its content is no fault: what `read()` raises comes out."""
    error = ExchangeError(Reason.CLIENT_LEFT, "broken off")
    async with subject.opened() as handler:
        body = ListenedBody((b"con", error))
        async with streaming(subject.request(b"POST", body, _CONTENT)) as request:
            response = await _answer(handler, request)
            if response is not None:
                try:
                    await _read(response.body)
                except ExchangeError:
                    pass
                await response.body.aclose()


async def survives_cancellation(subject: Subject) -> None:
    """An exchange may be cancelled at any point: it ends then, and the next one is answered as before."""
    async with subject.opened() as handler:
        usual = await _usual(subject, handler)
        await usual.body.aclose()
        body = WaitingBody()
        async with streaming(subject.request(b"POST", body, _CONTENT)) as request:
            found = await swallows(lambda: _answer(handler, request), body.asked)
        expect(not found, f"while content was awaited {found}", "nothing caught, or raised again")
        for count in _CANCELLED_AFTER:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_drop, handler, subject.request())
                await turns(count)
                tasks.cancel_scope.cancel()
        response = await _usual(subject, handler)
        await response.body.aclose()
        expect(response.status == usual.status, f"{response.status} after cancelled exchanges", str(usual.status))


async def _drop(handler: Any, request: Request) -> None:
    response = await _answer(handler, request)
    if response is not None:
        try:
            await _read(response.body)
        finally:
            with anyio.CancelScope(shield=True):
                await response.body.aclose()


async def answers_many_at_once(subject: Subject) -> None:
    """Many exchanges at once get what one gets."""
    statuses: list[int] = []
    async with subject.opened() as handler:
        usual = await _usual(subject, handler)
        await usual.body.aclose()

        async def ask() -> None:
            response = await _answer(handler, subject.request())
            statuses.append(response.status if response is not None else 0)
            if response is not None:
                await _read(response.body)
                await response.body.aclose()

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
    odd = [status for status in statuses if status not in (usual.status, 429, 503)]
    expect(not odd, f"{len(odd)} of 20 got {odd[:3]} (0: an error)", f"{usual.status}")


async def blocks_nobody(subject: Subject) -> None:
    """Nothing in an exchange waits without letting other tasks run."""
    async with subject.opened() as handler:
        with blocking_calls() as found:
            for method in (b"GET", b"POST"):
                response = await _answer(handler, subject.request(method))
                if response is not None:
                    await _read(response.body)
                    await response.body.aclose()
    expect(not found, f"it waits in {', '.join(found[:3])}", "anyio's own calls, or anyio.to_thread.run_sync")


async def exchanges_leave_nothing_behind(subject: Subject) -> None:
    """Exchanges leave nothing that grows, whether read to the end or cancelled: no task, descriptor or thread."""
    async with subject.opened() as handler:

        async def ask() -> None:
            await _drop(handler, subject.request(b"POST", Buffered(b"content"), _CONTENT))
            for count in _CANCELLED_AFTER:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_drop, handler, subject.request())
                    await turns(count)
                    tasks.cancel_scope.cancel()

        await does_not_grow(ask, "its exchanges were over")


BACKEND: tuple[Check, ...] = (
    *NAMED,
    *SETTINGS,
    *CODE,
    *BUILT,
    answers_are_valid,
    answers_any_request,
    answers_head_like_get,
    bodies_end_and_stay_ended,
    bodies_keep_their_length,
    bodies_can_be_closed,
    reads_no_endless_content,
    lets_broken_content_through,
    survives_cancellation,
    answers_many_at_once,
    blocks_nobody,
    exchanges_leave_nothing_behind,
)
"""What `check_backend` looks at."""


def backend_subject(
    kind: BackendType,
    settings: Mapping[str, Any] | None = None,
    *,
    headers: Headers = (),
    target: bytes = b"/",
    base_dir: Path | None = None,
) -> Subject:
    """What its checks look at."""
    return Subject(
        "back end", kind, settings, context=BackendContext, headers=headers, target=target, base_dir=base_dir
    )


async def check_backend(
    kind: BackendType,
    settings: Mapping[str, Any] | None = None,
    *,
    headers: Headers = (),
    target: bytes = b"/",
    base_dir: Path | None = None,
) -> tuple[Unseen, ...]:
    """Checks a back end with `settings`. `headers` and `target` are those of a request that it answers.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = backend_subject(kind, settings, headers=headers, target=target, base_dir=base_dir)
    return await run_battery(subject.words, BACKEND, subject)
