"""The battery for health checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import repeat
from typing import Any

import anyio

from daemun.errors import ExchangeError, Reason
from daemun.extend.endpoints import HealthCheckType
from daemun.message import Buffered, Request, Response
from daemun.routing.spec import EndpointSpec
from daemun.testing.batteries.common import CODE, NAMED, SETTINGS
from daemun.testing.batteries.messages import ListenedBody, WaitingBody, framing_fault, request_fault
from daemun.testing.batteries.rules import Check, Unseen, cannot_tell, expect, run_battery
from daemun.testing.batteries.subject import Subject
from daemun.testing.batteries.watching import blocking_calls, swallows
from daemun.upstream.endpoints import Endpoint
from daemun.upstream.health import HealthSettings

__all__ = [
    "HEALTH_CHECK",
    "asks_by_valid_requests",
    "check_health_check",
    "closes_answers",
    "health_check_subject",
    "judges_in_words",
    "keeps_its_keys_apart",
    "lets_cancellation_through",
    "lets_errors_through",
    "reads_no_endless_answer",
    "waits_for_nothing_else",
]

_PIECE = bytes(64 * 1024)
_MAX_PIECES = 256


class _Send:
    """Sends to an endpoint that answers as told."""

    def __init__(self, answer: Callable[[], Response] | None = None) -> None:
        self.requests: list[Request] = []
        self._answer = answer or (lambda: Response(200, (), Buffered(b"ok\n")))

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return self._answer()


def _endpoint() -> Endpoint:
    return Endpoint(EndpointSpec("127.0.0.1:9000", server_name="shop.test"))


async def _judged(check: Any, send: Callable[[Request], Awaitable[Response]]) -> str | None:
    """What the check finds wrong; None: nothing."""
    try:
        found = await check(send, _endpoint())
    except ExchangeError as error:
        return error.message
    expect(found is None, f"it returned {found!r}", "nothing for well, ExchangeError for not well")
    return None


async def keeps_its_keys_apart(subject: Subject) -> None:
    """None of its settings is called `type`, or like one that all health checks have."""
    fields = set(subject.thing.settings.__struct_encode_fields__)
    taken = fields & {"type", *HealthSettings.__struct_encode_fields__}
    expect(not taken, f"the keys {', '.join(sorted(taken))}", "other names")


async def judges_in_words(subject: Subject) -> None:
    """It returns, or raises `ExchangeError` with words, whatever is answered: any status, any content, none at all."""
    check = subject.made()
    for status in (100, 101, 200, 204, 302, 404, 500, 503, 999):
        for content in (b"", b"ok\n", b"\xff\0\xfe" * 100):
            for fields in ((), ((b"content-type", b"\xff"), (b"x-odd", b""))):
                send = _Send(lambda s=status, f=fields, c=content: Response(s, f, Buffered(c)))  # type: ignore[misc]
                words = await _judged(check, send)
                expect(words is None or words.strip(), f"{status} is not well, without words", "words for the log")


async def asks_by_valid_requests(subject: Subject) -> None:
    """What it sends is a request that can be sent, to the endpoint's own host or another one that settings name."""
    check, send = subject.made(), _Send()
    await _judged(check, send)
    if not send.requests:
        cannot_tell("it sends no request")
    for request in send.requests:
        found = request_fault(request) or framing_fault(request)
        expect(not found, found, "a request as `Request` describes it")
        expect(request.authority, "a request without an authority", "`endpoint.authority`, or a host of the settings")


async def closes_answers(subject: Subject) -> None:
    """It closes each answer, whatever it thinks of it."""
    check = subject.made()
    for status in (200, 503):
        for error in (None, ExchangeError(Reason.UPSTREAM_CLOSED, "broken off")):
            bodies: list[ListenedBody] = []

            def answer(
                status: int = status, error: ExchangeError | None = error, bodies: list[ListenedBody] = bodies
            ) -> Response:
                bodies.append(ListenedBody((b"ok\n",) if error is None else (error,)))
                return Response(status, (), bodies[-1])

            await _judged(check, _Send(answer))
            left = [body for body in bodies if not body.closed]
            expect(not left, f"an answer {status} was left open", "aclose() in a `finally`")


async def reads_no_endless_answer(subject: Subject) -> None:
    """It reads so much of an answer and no more: an endpoint may say anything."""
    body = ListenedBody(repeat(_PIECE, _MAX_PIECES * 2))
    await _judged(subject.made(), _Send(lambda: Response(200, (), body)))
    most = _MAX_PIECES * len(_PIECE) >> 20
    expect(body.reads <= _MAX_PIECES, f"{body.reads * len(_PIECE) >> 20} MiB were read", f"less than {most} MiB")


async def lets_errors_through(subject: Subject) -> None:
    """What `send` raises is not well: it comes out, or another `ExchangeError` does."""
    check = subject.made()
    for reason in (Reason.CONNECT_FAILED, Reason.UPSTREAM_PROTOCOL, Reason.UPSTREAM_TIMEOUT):

        async def send(request: Request, reason: Reason = reason) -> Response:
            raise ExchangeError(reason, "said by the endpoint")

        words = await _judged(check, send)
        expect(words is not None, f"an endpoint with {reason.value} is well", "ExchangeError")


async def lets_cancellation_through(subject: Subject) -> None:
    """A check that takes too long is cancelled, and ends then: while it asks, and while it reads."""
    check, asked, body = subject.made(), anyio.Event(), WaitingBody()

    async def wait(request: Request) -> Response:
        asked.set()
        await anyio.sleep_forever()
        raise AssertionError

    for send, reached in ((wait, asked), (_Send(lambda: Response(200, (), body)), body.asked)):
        found = await swallows(lambda send=send: _judged(check, send), reached)  # type: ignore[misc]
        expect(not found, found, "nothing caught, or raised again")


async def waits_for_nothing_else(subject: Subject) -> None:
    """It waits for `send` and what that gives, and for nothing that holds up the event loop."""
    check = subject.made()
    with blocking_calls() as found:
        await _judged(check, _Send())
    expect(not found, f"it waits in {', '.join(found[:3])}", "`send`, which has the endpoint's connection")


HEALTH_CHECK: tuple[Check, ...] = (
    *NAMED,
    *SETTINGS,
    keeps_its_keys_apart,
    *CODE,
    judges_in_words,
    asks_by_valid_requests,
    closes_answers,
    reads_no_endless_answer,
    lets_errors_through,
    lets_cancellation_through,
    waits_for_nothing_else,
)
"""What `check_health_check` looks at."""


def health_check_subject(kind: HealthCheckType, settings: Mapping[str, Any] | None = None) -> Subject:
    """What its checks look at."""
    return Subject("health check", kind, settings)


async def check_health_check(kind: HealthCheckType, settings: Mapping[str, Any] | None = None) -> tuple[Unseen, ...]:
    """Checks a health check with `settings`.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = health_check_subject(kind, settings)
    return await run_battery(subject.words, HEALTH_CHECK, subject)
