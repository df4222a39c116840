"""Requests that hardly anybody sends, exchanges that end in every way there is, and bytes without sense."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from daemun.errors import ExchangeError, Reason, Retry
from daemun.exchange import Peer
from daemun.headers import Headers
from daemun.message import EMPTY, Buffered, Request, Response
from daemun.testing.batteries.messages import ListenedBody
from daemun.testing.batteries.subject import Subject

__all__ = ["every_error", "garbage", "odd_requests", "odd_responses"]

_FIELDS: tuple[Headers, ...] = (
    (),
    ((b"content-type", b""),),
    ((b"content-type", b'\xff\xfe;=;charset="\xe4'),),
    ((b"content-type", b"text/html; charset=utf-8"), (b"content-type", b"application/json")),
    ((b"accept", b"*/*"), (b"cookie", b"a=b; ;=;c"), (b"authorization", b"Basic !!!")),
    tuple((b"x-many-%d" % number, b"v" * 100) for number in range(100)),
)
_SEED = 7
_METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"M-SEARCH")
_TARGETS = (
    b"/",
    b"/a?b=c&b",
    b"*",
    b"",
    b"/%00%zz/../%2e%2e/",
    b"/\xff\xfe?\xe4",
    b"//a//b",
    b"/" + b"x" * 5000,
    b"/?" * 50,
)


def odd_requests(subject: Subject) -> Iterator[Request]:
    """Each method with odd targets, fields, bodies and peers."""
    for number, target in enumerate(_TARGETS):
        method = _METHODS[number % len(_METHODS)]
        fields = _FIELDS[number % len(_FIELDS)]
        body = (
            ListenedBody((b"con", b"tent")) if number % 3 == 0 else (Buffered(b"\xff\0") if number % 3 == 1 else EMPTY)
        )
        yield subject.request(method, body, fields, target=target)
    for fields in _FIELDS:
        yield subject.request(b"POST", Buffered(b"content"), fields, protocol=b"daemun-check")
        yield subject.request(b"GET", EMPTY, fields, peer=Peer())


def odd_responses() -> Iterator[Response | None]:
    """What exchanges end with: nothing, and answers with odd statuses and fields."""
    yield None
    for status in (101, 200, 204, 304, 404, 500, 599, 999):
        yield Response(status)
    yield Response(200, ((b"x-bytes", b"\xff\xfe"), (b"set-cookie", b"a"), (b"set-cookie", b"b")), Buffered(b"\0"))
    yield Response(200, (), ListenedBody((b"content",), length=7))


def every_error() -> Iterator[ExchangeError]:
    """Every reason, with and without what an error may have besides."""
    for reason in Reason:
        yield ExchangeError(reason)
        yield ExchangeError(
            reason, 'words "<&>" \xe4\u20ac\n of it', retry=Retry.UNSENT, status=599, retry_after_seconds=7
        )


def garbage() -> list[bytes]:
    """What a client may say that speaks another protocol, or none."""
    random = Random(_SEED)
    found = [
        b"\0" * 100,
        b"\xff" * 100,
        b"\r\n" * 50,
        b"\n" * 50,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  /  HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"x" * 100_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    ]
    return found + [random.randbytes(random.randrange(1, 400)) for _ in range(10)]
