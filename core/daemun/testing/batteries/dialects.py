"""The battery for dialects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from daemun.errors import ExchangeError, Reason
from daemun.extend.types import Dialect
from daemun.headers import Headers
from daemun.message import EMPTY, Body, Buffered, NoContent, Request
from daemun.testing.batteries.common import CODE, NAMED
from daemun.testing.batteries.layer_contents import passes_tunnels
from daemun.testing.batteries.layers import LAYERED
from daemun.testing.batteries.messages import ListenedBody, framing_fault, request_fault, response_fault
from daemun.testing.batteries.odd import every_error, odd_requests
from daemun.testing.batteries.rules import Check, Unseen, cannot_tell, expect, run_battery, shown, words_of
from daemun.testing.batteries.subject import Subject
from daemun.testing.batteries.watching import blocking_calls

__all__ = [
    "DIALECT",
    "DialectSubject",
    "answers_quickly",
    "check_dialect",
    "claims_any_request",
    "claims_without_a_trace",
    "declares_what_is_its_own",
    "dialect_subject",
    "outgoing_stays_a_request",
    "renders_every_error",
    "renders_without_framing",
]


class DialectSubject(Subject):
    """A dialect; its requests are such as it has a part in."""

    @asynccontextmanager
    async def opened(self, context: Any = None) -> AsyncIterator[Any]:
        """Its layer."""
        if self.thing.layer is None:
            cannot_tell("it has no `layer`")
        yield self.thing.layer

    def own(self) -> Request:
        """A request that it has a part in, or any one where it has none."""
        dialect = self.thing
        fields: Headers = ()
        if dialect.content_types:
            fields = ((b"content-type", dialect.content_types[0]),)
        protocol = dialect.protocols[0] if dialect.protocols else b""
        return self.request(
            b"POST" if fields else b"GET", Buffered(b"\0") if fields else EMPTY, fields, protocol=protocol
        )

    def requests(self) -> list[Request]:
        """Its own, and odd ones."""
        return [self.own(), *odd_requests(self)]


async def declares_what_is_its_own(subject: DialectSubject) -> None:
    """`content_types` and `protocols` are tuples of bytes, lower-case, as they are compared."""
    for field in ("content_types", "protocols"):
        values = getattr(subject.thing, field)
        fits = isinstance(values, tuple) and all(
            isinstance(value, bytes) and value and value == value.lower() for value in values
        )
        expect(fits, f"{field} is {values!r}", 'a tuple such as (b"application/json-rpc",)')


async def claims_any_request(subject: DialectSubject) -> None:
    """`claims` says True or False of any request, and never raises: it is asked for whatever went wrong."""
    for request in subject.requests():
        found = subject.thing.claims(request)
        expect(isinstance(found, bool), f"claims() gave {shown(found)} for {request.target[:40]!r}", "True or False")


async def claims_without_a_trace(subject: DialectSubject) -> None:
    """`claims` says the same of the same request, reads no content, and changes nothing of the exchange."""
    for request in subject.requests():
        exchange = request.exchange
        before = exchange.status, exchange.reason, exchange.deadline, exchange.dialect
        first = subject.thing.claims(request)
        second = subject.thing.claims(request)
        expect(first == second, f"it said {first}, then {second} of {request.target[:40]!r}", "the same")
        _untouched(request.body)
        after = exchange.status, exchange.reason, exchange.deadline, exchange.dialect
        expect(before == after, f"{before} became {after}", "an exchange that is only looked at")


def _untouched(body: Body) -> None:
    if isinstance(body, ListenedBody):
        expect(not body.reads and not body.closed, "it read or closed the request's body", "a look at the head only")


async def renders_every_error(subject: DialectSubject) -> None:
    """`render` gives a response that can be sent for every reason and any request, and never raises."""
    for request in subject.requests()[:8]:
        for error in every_error():
            try:
                response = subject.thing.render(request, error)
            except Exception as fault:
                expect(False, f"for {error.reason.value}: {words_of(fault)}", "a Response")
            found = response_fault(response)
            expect(not found, f"for {error.reason.value}: {found}", "a Response that can be sent")
            whole = isinstance(response.body, (Buffered, NoContent))
            expect(whole, f"for {error.reason.value}: the body {response.body!r}", "Buffered, or EMPTY")
            _untouched(request.body)


async def renders_without_framing(subject: DialectSubject) -> None:
    """What it renders has no field of framing or of a connection."""
    for error in map(ExchangeError, Reason):
        found = framing_fault(subject.thing.render(subject.own(), error))
        expect(not found, f"{found} for {error.reason.value}", "a body that says its `length`")


async def outgoing_stays_a_request(subject: DialectSubject) -> None:
    """`outgoing` gives a request of the same exchange that can be sent, never raises, and is called for each try."""
    if not (subject.thing.content_types or subject.thing.protocols):
        cannot_tell("it has no part in exchanges: neither `content_types` nor `protocols`")
    request = subject.own()
    for _ in range(2):
        out = subject.thing.outgoing(request)
        found = request_fault(out)
        expect(not found, found, "a Request that can be sent")
        expect(out.exchange is request.exchange, "a request of another exchange", "`request.with_…`")
    _untouched(request.body)


async def answers_quickly(subject: DialectSubject) -> None:
    """None of its functions waits: they run on the path of an exchange, and are no coroutines."""
    with blocking_calls() as found:
        for request in subject.requests():
            subject.thing.claims(request)
        for error in every_error():
            subject.thing.render(subject.own(), error)
        if subject.thing.content_types or subject.thing.protocols:
            subject.thing.outgoing(subject.own())
    expect(not found, f"it waits in {', '.join(found[:3])}", "what can be told from the request")


DIALECT: tuple[Check, ...] = (
    *NAMED,
    *CODE,
    declares_what_is_its_own,
    claims_any_request,
    claims_without_a_trace,
    renders_every_error,
    renders_without_framing,
    outgoing_stays_a_request,
    answers_quickly,
    *(check for check in LAYERED if check is not passes_tunnels),
)
"""What `check_dialect` looks at."""


def dialect_subject(dialect: Dialect) -> DialectSubject:
    """What its checks look at."""
    headers: Headers = ((b"content-type", dialect.content_types[0]),) if dialect.content_types else ()
    return DialectSubject("dialect", dialect, headers=headers if dialect.layer is not None else ())


async def check_dialect(dialect: Dialect) -> tuple[Unseen, ...]:
    """Checks a dialect, and its layer if it has one.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = dialect_subject(dialect)
    return await run_battery(subject.words, DIALECT, subject)
