"""The battery for wire protocols. No transcript is needed: the protocol's own halves talk to one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemun.errors import ExchangeError, Reason
from daemun.extend.wire import Sniff, WireProtocol
from daemun.message import EMPTY, Body, Buffered, NoContent, Request, Response
from daemun.testing.batteries.common import CODE, NAMED, SETTINGS
from daemun.testing.batteries.messages import ListenedBody, framing_fault, request_fault, response_fault
from daemun.testing.batteries.odd import garbage
from daemun.testing.batteries.pipes import Flow
from daemun.testing.batteries.rules import Check, Unseen, cannot_tell, expect, run_battery
from daemun.testing.batteries.sending import SENDING
from daemun.testing.batteries.serving import SERVING
from daemun.testing.batteries.subject import Subject, streaming
from daemun.testing.batteries.talking import CONTENT, FIELDS, beginning, exchange, first_exchange, hello, talking, whole
from daemun.testing.batteries.watching import held, left_behind

__all__ = [
    "PROTOCOL",
    "check_protocol",
    "connections_leave_nothing_behind",
    "declares_what_it_is",
    "halves_understand_each_other",
    "protocol_subject",
    "reads_bytes_in_any_pieces",
    "sniffs_any_bytes",
    "sniffs_its_own_beginning",
]

_ENOUGH_BYTES = 64 * 1024


async def declares_what_it_is(subject: Subject) -> None:
    """ALPN names are text, and `silence_seconds` gives seconds by its settings."""
    kind: WireProtocol = subject.thing
    fits = isinstance(kind.alpn, tuple) and all(isinstance(name, str) and name.isascii() and name for name in kind.alpn)
    expect(fits, f"alpn is {kind.alpn!r}", 'a tuple such as ("h2",), or ()')
    seconds = kind.silence_seconds(subject.decoded())
    expect(isinstance(seconds, (int, float)) and seconds > 0, f"silence_seconds gave {seconds!r}", "seconds")
    for field in ("preference", "multiplexed"):
        value = getattr(kind, field)
        expect(isinstance(value, int), f"{field} is {value!r}", "a number, and True or False")


async def sniffs_any_bytes(subject: Subject) -> None:
    """`sniff` says YES, NO or MORE of any bytes, never raises, and has made up its mind after 64 KiB."""
    for start in [b"", *(bytes([byte]) for byte in range(256)), *garbage()]:
        found = subject.thing.sniff(start)
        expect(isinstance(found, Sniff), f"{found!r} of {start[:40]!r}", "Sniff.YES, NO or MORE")
    for start in (bytes(_ENOUGH_BYTES), b"x" * _ENOUGH_BYTES, b"\r\n" * (_ENOUGH_BYTES // 2)):
        found = subject.thing.sniff(start)
        expect(found is not Sniff.MORE, f"MORE after {len(start)} bytes", "YES or NO")


async def sniffs_its_own_beginning(subject: Subject) -> None:
    """`sniff` keeps its word as bytes come: after YES or NO of a beginning it says the same with more bytes."""
    beginnings = [*garbage(), await beginning(subject)] if subject.thing.serve is not None else garbage()
    for start in beginnings:
        said = Sniff.MORE
        for size in range(1, min(len(start), 200) + 1):
            found = subject.thing.sniff(start[:size])
            expect(
                said is Sniff.MORE or found is said,
                f"{said.name} of {start[: size - 1][-40:]!r}, then {found.name} with one byte more",
                "MORE until it is sure",
            )
            said = found


def _told(request: Request) -> tuple[Any, ...]:
    return request.method, request.target, request.header(b"x-kept")


async def halves_understand_each_other(subject: Subject) -> None:
    """The request that its upstream half sends is the one that its downstream half reads, and so the answer."""
    answers: list[Response] = []
    heard: list[bytes] = []

    async def answer(request: Request) -> Response:
        found = request_fault(request) or framing_fault(request)
        expect(not found, f"of a request it makes one with {found}", "a Request as handlers get it")
        heard.append(await whole(request.body))
        return answers[-1]

    refused = False
    for method, body, status, content in _exchanges():
        answers.append(Response(status, FIELDS, content))
        words = f"{method.decode()} answered {status}"
        expected = b"" if method == b"HEAD" or isinstance(content, NoContent) else CONTENT
        async with talking(subject, answer) as talk:
            async with streaming(subject.request(method, body, FIELDS)) as request:
                try:
                    upstream = await talk.connect()
                    response, found = await exchange(upstream, request)
                except ExchangeError as error:
                    talk.no_fault()
                    expect(error.reason is Reason.NOT_IMPLEMENTED, f"{words}: {error.reason.value}: {error}")
                    refused = True
                    continue
            fault = response_fault(response) or framing_fault(response)
            expect(not fault, f"of an answer it makes one with {fault}", "a Response as handlers give it")
            expect(response.status == status, f"{words} came as {response.status}", str(status))
            expect(found == expected, f"{words} came with {len(found)} bytes", f"{len(expected)} bytes")
            came = talk.connection.requests[0]
            expect((came.method, came.target) == (method, subject.target), f"{came.method!r} {came.target!r}", words)
            asked = CONTENT if body is not EMPTY else b""
            expect(heard[-1] == asked, f"{words}: {len(heard[-1])} bytes of content came", f"{len(asked)} bytes")
    if refused and not heard:
        cannot_tell("its halves do not fit together")


def _exchanges() -> list[tuple[bytes, Body, int, Body]]:
    return [
        (b"GET", EMPTY, 200, Buffered(CONTENT)),
        (b"GET", EMPTY, 404, ListenedBody((CONTENT[:5], CONTENT[5:]))),
        (b"GET", EMPTY, 200, ListenedBody((CONTENT,), length=len(CONTENT))),
        (b"GET", EMPTY, 204, EMPTY),
        (b"HEAD", EMPTY, 200, NoContent(len(CONTENT))),
        (b"POST", Buffered(CONTENT), 200, Buffered(CONTENT)),
        (b"PUT", ListenedBody((CONTENT[:5], CONTENT[5:])), 200, Buffered(CONTENT)),
    ]


async def reads_bytes_in_any_pieces(subject: Subject) -> None:
    """Bytes that come one by one mean what they mean at once, in either direction."""
    seen: list[Any] = []
    for there, back in ((1 << 20, 1 << 20), (1, 1 << 20), (1 << 20, 1)):
        async with talking(subject, hello, Flow(piece_bytes=there), Flow(piece_bytes=back)) as talk:
            _, response, content = await first_exchange(subject, talk)
            seen.append((_told(talk.connection.requests[0]), response.status, content))
    expect(seen[1] == seen[0], f"a request byte by byte: {seen[1]}", f"{seen[0]}")
    expect(seen[2] == seen[0], f"an answer byte by byte: {seen[2]}", f"{seen[0]}")


async def connections_leave_nothing_behind(subject: Subject) -> None:
    """A connection that is over leaves no task, descriptor or thread, on either side."""

    async def once() -> None:
        async with talking(subject, hello) as talk:
            try:
                upstream, _, _ = await first_exchange(subject, talk)
                upstream.close()
            except ExchangeError:
                talk.near.abort()
            await talk.ended()

    await once()
    before = held()
    await once()
    await left_behind(before, "a connection was over")


PROTOCOL: tuple[Check, ...] = (
    *NAMED,
    *SETTINGS,
    *CODE,
    declares_what_it_is,
    sniffs_any_bytes,
    sniffs_its_own_beginning,
    *SERVING,
    halves_understand_each_other,
    reads_bytes_in_any_pieces,
    *SENDING,
    connections_leave_nothing_behind,
)
"""What `check_protocol` looks at."""


def protocol_subject(kind: WireProtocol, settings: Mapping[str, Any] | None = None) -> Subject:
    """What its checks look at."""
    return Subject("protocol", kind, settings)


async def check_protocol(kind: WireProtocol, settings: Mapping[str, Any] | None = None) -> tuple[Unseen, ...]:
    """Checks a wire protocol with `settings`, both halves.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = protocol_subject(kind, settings)
    return await run_battery(subject.words, PROTOCOL, subject)
