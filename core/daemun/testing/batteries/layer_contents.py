"""Rules of every layer about content: pulled as it is asked for, both ways, to its end and its trailers."""

from __future__ import annotations

from functools import partial
from itertools import repeat

from daemun.errors import ExchangeError, Reason
from daemun.headers import Headers
from daemun.message import Body, Buffered, Request, Response
from daemun.testing.batteries.behind import Inner, answering, content_for, passed, read_all
from daemun.testing.batteries.messages import ListenedBody
from daemun.testing.batteries.rules import Check, cannot_tell, expect
from daemun.testing.batteries.subject import Subject, streaming
from daemun.testing.batteries.watching import turns

__all__ = [
    "CONTENTS",
    "closes_requests",
    "closes_what_it_wraps",
    "does_not_end_broken_content",
    "keeps_trailers",
    "passes_tunnels",
    "pulls_answers",
    "pulls_requests",
    "reads_both_ways",
]

_PIECE = bytes(16 * 1024)
_MANY = 512
"""Pieces of a content that nobody should want all of."""
_TRAILERS: Headers = ((b"x-sum", b"42"),)
_SLACK = 2
"""Reads that a layer may be ahead of who asked, for content that it must see in whole units."""
_TUNNEL = b"daemun-check"


async def pulls_requests(subject: Subject) -> None:
    """It reads a request's content only when whoever handles the request does; `buffer_bytes` has it read before."""
    if getattr(subject.thing, "buffer_bytes", 0):
        cannot_tell("`buffer_bytes`: the gateway reads the content before it")
    body, before, after = ListenedBody(repeat(_PIECE, _MANY)), [0], [0]

    async def answer(request: Request) -> Response:
        before[0] = body.reads
        await request.body.read()
        await turns()
        after[0] = body.reads
        return Response(200)

    async with subject.opened() as layer, streaming(subject.request(b"POST", body, subject.content)) as request:
        response = await passed(layer, Inner(answer), request)
        await response.body.aclose()
    right = "a body that wraps the request's, and reads it in its own read()"
    expect(before[0] == 0, f"{before[0]} pieces were read before the next handler was called", right)
    expect(after[0] <= 1 + _SLACK, f"{after[0]} pieces were read when one was asked for", right)


async def pulls_answers(subject: Subject) -> None:
    """It reads an answer's content only when it is asked for it: a slow client slows the sender."""
    body = ListenedBody(repeat(_PIECE, _MANY))
    async with subject.opened() as layer:
        response = await passed(layer, answering(lambda: Response(200, subject.content, body)), subject.request())
        await turns()
        before = body.reads
        await response.body.read()
        await turns()
        after = body.reads
        await response.body.aclose()
    right = "a body that wraps the answer's, and reads it in its own read()"
    expect(before == 0, f"{before} pieces were read before the answer was returned", right)
    expect(after <= 1 + _SLACK, f"{after} pieces were read when one was asked for", right)


class _Echo:
    """The content of a request, read while it is sent back."""

    def __init__(self, body: Body) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self.ended = False
        self._body = body

    async def read(self) -> bytes:
        data = await self._body.read()
        self.ended = not data
        return data

    async def aclose(self) -> None:
        await self._body.aclose()


async def reads_both_ways(subject: Subject) -> None:
    """A request's content may still be read after the answer was returned, and both at the same time."""
    echo: list[_Echo] = []

    async def answer(request: Request) -> Response:
        echo.append(_Echo(request.body))
        return Response(200, subject.content, echo[0])

    body = content_for(subject, ListenedBody((b"one", b"two", b"three")), b"onetwothree")
    async with subject.opened() as layer, streaming(subject.request(b"POST", body, subject.content)) as request:
        response = await passed(layer, Inner(answer), request)
        found = await read_all(response.body)
        await response.body.aclose()
    expect(echo[0].ended, f"the content could not be read to its end; what came was {found!r}", "all of it")


async def passes_tunnels(subject: Subject) -> None:
    """A 101 to a protocol that it does not know stays one, and both bodies pass what is said at once."""
    said, heard = ListenedBody((b"ping",)), list[bytes]()

    async def answer(request: Request) -> Response:
        expect(request.protocol == _TUNNEL, f"the protocol became {request.protocol!r}", "the one that was asked for")
        heard.append(await request.body.read())
        return Response(101, (), ListenedBody((b"pong",)))

    async with subject.opened() as layer, streaming(subject.request(b"GET", said, protocol=_TUNNEL)) as request:
        response = await passed(layer, Inner(answer), request)
        expect(response.status == 101, f"the status became {response.status}", "101")
        answered = await response.body.read()
        await response.body.aclose()
    expect(heard == [b"ping"], f"the request's body gave {heard}", "what the client said, at once")
    expect(answered == b"pong", f"the answer's body gave {answered!r}", "what the upstream said, at once")


async def closes_what_it_wraps(subject: Subject) -> None:
    """When an answer is closed, read or not, the one behind it is closed: the client has left."""
    async with subject.opened() as layer:
        for reads, when in ((0, "before it was read"), (1, "in the middle"), (9, "after its end")):
            body = ListenedBody((b"one", b"two", b"three"))
            response = await passed(layer, answering(partial(Response, 200, subject.content, body)), subject.request())
            for _ in range(reads):
                await response.body.read()
            for _ in range(2):  # it is idempotent
                await response.body.aclose()
            expect(body.closed, f"an answer that was closed {when} left the inner one open", "aclose() of both")


async def closes_requests(subject: Subject) -> None:
    """When the next handler closes a request's content, read or not, what it wraps is closed."""
    body = ListenedBody((b"one", b"two", b"three"))
    if getattr(subject.thing, "buffer_bytes", 0):
        cannot_tell("`buffer_bytes`: the gateway reads the content before it")

    async def answer(request: Request) -> Response:
        await request.body.read()
        await request.body.aclose()
        await request.body.aclose()
        return Response(200)

    async with subject.opened() as layer, streaming(subject.request(b"POST", body, subject.content)) as request:
        response = await passed(layer, Inner(answer), request)
        await response.body.aclose()
    expect(body.closed, "the next handler closed the content, and the client's stayed open", "aclose() of both")


async def does_not_end_broken_content(subject: Subject) -> None:
    """Content that breaks off is never passed on as if it were complete: what its read() raises comes out."""
    error = ExchangeError(Reason.UPSTREAM_CLOSED, "broken off")
    async with subject.opened() as layer:
        body = ListenedBody((b"one", error))
        response = await passed(layer, answering(lambda: Response(200, subject.content, body)), subject.request())
        try:
            found = await read_all(response.body)
        except ExchangeError:
            pass
        else:
            told = response.body.trailers  # by protocols that end every answer with a status
            expect(told, f"an answer that broke off ended with {found!r}", "ExchangeError of read()")
        finally:
            await response.body.aclose()


async def keeps_trailers(subject: Subject) -> None:
    """Trailers of either side are among those of the body that it hands on, once its end was read."""
    seen: list[Headers] = []

    async def answer(request: Request) -> Response:
        await read_all(request.body)
        seen.append(request.body.trailers)
        return Response(200, subject.content, ListenedBody((b"one",), trailers=_TRAILERS))

    body: Body = ListenedBody((b"one",), trailers=_TRAILERS)
    if getattr(subject.thing, "buffer_bytes", 0):
        body = Buffered(b"one", _TRAILERS)
    async with subject.opened() as layer, streaming(subject.request(b"POST", body, subject.content)) as request:
        response = await passed(layer, Inner(answer), request)
        await read_all(response.body)
        found = response.body.trailers
        await response.body.aclose()
    right = "trailers taken from the wrapped body when its end was read"
    expect(seen == [_TRAILERS], f"the request's trailers became {seen}", right)
    expect(set(_TRAILERS) <= set(found), f"the answer's trailers became {found}", right)


CONTENTS: tuple[Check, ...] = (
    pulls_requests,
    pulls_answers,
    reads_both_ways,
    passes_tunnels,
    closes_requests,
    closes_what_it_wraps,
    does_not_end_broken_content,
    keeps_trailers,
)
