"""The battery for matchers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import anyio

from daemun.errors import ExchangeError, Reason
from daemun.extend.types import MatcherContext, MatcherType
from daemun.headers import Headers
from daemun.testing.batteries.common import BUILT, CODE, NAMED, SETTINGS
from daemun.testing.batteries.messages import ListenedBody
from daemun.testing.batteries.odd import odd_requests
from daemun.testing.batteries.rules import Check, Unseen, expect, run_battery
from daemun.testing.batteries.subject import Subject
from daemun.testing.batteries.watching import blocking_calls, swallows

__all__ = [
    "MATCHER",
    "MatcherSubject",
    "answers_any_request",
    "answers_yes_or_no",
    "blocks_nobody",
    "check_matcher",
    "lets_cancellation_through",
    "lets_errors_through",
    "looks_at_what_others_saw",
    "matcher_subject",
    "matches_by_content_alone",
    "peeks_within_bounds",
    "reads_no_content_itself",
]

_CONTENTS = (
    b"",
    b"plain words",
    b"\xff\xfe\0\x80",
    b'{"method": "add", "params": [1, {"a": null}]}',
    b"{" * 2000,
    b'<?xml version="1.0"?><a xmlns="urn:a"><b>c</b></a>',
    b"<" * 2000,
    b"a=b&c=%zz&&=",
)


class MatcherSubject(Subject):
    """A matcher, with content that tells."""

    def __init__(self, *arguments: Any, contents: Iterable[bytes] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.contents = (*contents, *_CONTENTS)


class _Peek:
    """Content that comes piece by piece; a piece may be an error to raise."""

    def __init__(self, pieces: Iterable[bytes | Exception], seen: tuple[bytes, ...] = ()) -> None:
        self.seen = seen
        self.mores = 0
        self._pieces = iter(pieces)

    async def more(self) -> bytes:
        self.mores += 1
        piece = next(self._pieces, b"")
        if isinstance(piece, Exception):
            raise piece
        if piece:
            self.seen = (*self.seen, piece)
        return piece


async def _matches(subject: Subject, matcher: Any, peek: Any) -> bool | None:
    """What it says of a request with that content; None if it raises `ExchangeError`."""
    try:
        found = await matcher(subject.request(b"POST", ListenedBody()), peek)
    except ExchangeError:
        return None
    expect(isinstance(found, bool), f"it said {found!r}", "True or False")
    return bool(found)


def _pieces(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


async def answers_yes_or_no(subject: MatcherSubject) -> None:
    """It says True or False of any content: none, a part of something, nonsense."""
    async with subject.opened() as matcher:
        for content in subject.contents:
            await _matches(subject, matcher, _Peek(_pieces(content, 1000)))


async def answers_any_request(subject: MatcherSubject) -> None:
    """It says True or False of any request: methods, targets, fields and bytes are the client's choice."""
    async with subject.opened() as matcher:
        for request in odd_requests(subject):
            try:
                found = await matcher(request, _Peek((b"con", b"tent")))
            except ExchangeError:
                continue
            expect(isinstance(found, bool), f"it said {found!r} of {request.target[:40]!r}", "True or False")


async def matches_by_content_alone(subject: MatcherSubject) -> None:
    """It says the same of the same content, whatever pieces that comes in, and however often it is asked."""
    async with subject.opened() as matcher:
        for content in subject.contents:
            found = {
                size: await _matches(subject, matcher, _Peek(_pieces(content, size)))
                for size in (len(content) or 1, 1, 7, len(content) or 1)
            }
            expect(
                len(set(found.values())) == 1,
                f"of {content[:40]!r}, by the size of pieces, it said {found}",
                "one answer",
            )


async def looks_at_what_others_saw(subject: MatcherSubject) -> None:
    """What another matcher has looked at before counts: it is in `peek.seen`, and `more()` does not give it again."""
    async with subject.opened() as matcher:
        for content in subject.contents:
            alone = await _matches(subject, matcher, _Peek(_pieces(content, 5)))
            pieces = _pieces(content, 5)
            for count in (len(pieces) // 2, len(pieces)):
                found = await _matches(subject, matcher, _Peek(pieces[count:], tuple(pieces[:count])))
                expect(
                    found == alone,
                    f"{found} where {count} of {len(pieces)} pieces of {content[:40]!r} were seen before, else {alone}",
                    "`b''.join(peek.seen)` as the beginning",
                )


async def reads_no_content_itself(subject: MatcherSubject) -> None:
    """It looks at content by `peek` only, and neither reads nor closes the request's body."""
    async with subject.opened() as matcher:
        for content in subject.contents:
            body = ListenedBody((content,))
            try:
                await matcher(subject.request(b"POST", body), _Peek((content,) if content else ()))
            except ExchangeError:
                pass
            expect(not body.reads and not body.closed, "it read or closed `request.body`", "`await peek.more()`")


async def peeks_within_bounds(subject: MatcherSubject) -> None:
    """When there is more content than it may look at, what `more()` raises comes out, or it has made up its mind."""
    error = ExchangeError(Reason.CONTENT_TOO_LARGE, "more than may be looked at")
    size = subject.thing.peek_bytes
    expect(isinstance(size, int) and size > 0, f"peek_bytes is {size!r}", "bytes")
    async with subject.opened() as matcher:
        for content in subject.contents:
            peek = _Peek((*_pieces(content, 100), error))
            try:
                await matcher(subject.request(b"POST", ListenedBody()), peek)
            except ExchangeError as raised:
                expect(raised is error, f"{error.reason.value} became {raised.reason.value}", "the same error")


async def lets_errors_through(subject: MatcherSubject) -> None:
    """A client that breaks off is no fault: what `more()` raises comes out."""
    error = ExchangeError(Reason.CLIENT_LEFT, "broken off")
    async with subject.opened() as matcher:
        try:
            await matcher(subject.request(b"POST", ListenedBody()), _Peek((error,)))
        except ExchangeError as raised:
            expect(raised is error, f"{error.reason.value} became {raised.reason.value}", "the same error")


async def lets_cancellation_through(subject: MatcherSubject) -> None:
    """Cancellation passes while it waits for content."""
    asked = anyio.Event()

    class Waiting:
        seen: tuple[bytes, ...] = ()

        async def more(self) -> bytes:
            asked.set()
            await anyio.sleep_forever()
            raise AssertionError

    async with subject.opened() as matcher:
        found = await swallows(lambda: matcher(subject.request(b"POST", ListenedBody()), Waiting()), asked)
    expect(not found, found, "nothing caught, or raised again")


async def blocks_nobody(subject: MatcherSubject) -> None:
    """Nothing in it waits without letting other tasks run."""
    async with subject.opened() as matcher:
        with blocking_calls() as found:
            for content in subject.contents:
                await _matches(subject, matcher, _Peek((content,)))
    expect(not found, f"it waits in {', '.join(found[:3])}", "a choice by what was read")


MATCHER: tuple[Check, ...] = (
    *NAMED,
    *SETTINGS,
    *CODE,
    *BUILT,
    answers_yes_or_no,
    answers_any_request,
    matches_by_content_alone,
    looks_at_what_others_saw,
    reads_no_content_itself,
    peeks_within_bounds,
    lets_errors_through,
    lets_cancellation_through,
    blocks_nobody,
)
"""What `check_matcher` looks at."""


def matcher_subject(
    kind: MatcherType,
    settings: Mapping[str, Any] | None = None,
    *,
    headers: Headers = (),
    target: bytes = b"/",
    contents: Iterable[bytes] = (),
    base_dir: Path | None = None,
) -> MatcherSubject:
    """What its checks look at."""
    return MatcherSubject(
        "matcher",
        kind,
        settings,
        context=MatcherContext,
        headers=headers,
        target=target,
        contents=contents,
        base_dir=base_dir,
    )


async def check_matcher(
    kind: MatcherType,
    settings: Mapping[str, Any] | None = None,
    *,
    headers: Headers = (),
    target: bytes = b"/",
    contents: Iterable[bytes] = (),
    base_dir: Path | None = None,
) -> tuple[Unseen, ...]:
    """Checks a matcher with `settings`. `contents` are some that it knows; the rest is what its requests have.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = matcher_subject(kind, settings, headers=headers, target=target, contents=contents, base_dir=base_dir)
    return await run_battery(subject.words, MATCHER, subject)
