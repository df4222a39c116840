"""The time that a client gives a call: what `grpc-timeout` and `Connect-Timeout-Ms` say, and what is left of it."""

from __future__ import annotations

import re

from msgspec.structs import replace

from daemun import Exchange, ExchangeError, Reason, Request

__all__ = [
    "TIMEOUT",
    "format_timeout",
    "limit",
    "limit_by_client",
    "parse_connect_timeout",
    "parse_timeout",
    "with_remaining",
]

TIMEOUT = b"grpc-timeout"
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_MILLISECONDS = re.compile(rb"[0-9]{1,10}")
_PER_SECOND = {b"H": 1 / 3600, b"M": 1 / 60, b"S": 1.0, b"m": 1e3, b"u": 1e6, b"n": 1e9}
_UNITS = (b"n", b"u", b"m", b"S", b"M", b"H")
_MOST = 99_999_999


def parse_timeout(value: bytes) -> float:
    """Seconds that a `grpc-timeout` gives. Raises `ExchangeError` for one that is malformed."""
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise ExchangeError(
            Reason.BAD_REQUEST, "grpc-timeout is malformed; accepted: up to 8 digits and one of H, M, S, m, u, n"
        )
    return int(match[1]) / _PER_SECOND[match[2]]


def parse_connect_timeout(value: bytes) -> float:
    """Seconds that a `Connect-Timeout-Ms` gives. Raises `ExchangeError` for one that is malformed."""
    if _MILLISECONDS.fullmatch(value) is None:
        raise ExchangeError(Reason.BAD_REQUEST, "connect-timeout-ms is malformed; accepted: up to 10 digits")
    return int(value) / 1e3


def format_timeout(seconds: float) -> bytes:
    """`seconds` as a `grpc-timeout`: never more, never 0, in the smallest unit that has room for it."""
    for unit in _UNITS:
        count = seconds * _PER_SECOND[unit]
        if count < _MOST:
            return b"%d%b" % (int(count) or 1, unit)
    return b"%dH" % _MOST


def limit(exchange: Exchange, seconds: float) -> None:
    """Ends the exchange in `seconds`. Raises `ExchangeError` if that is now."""
    if seconds <= 0:
        raise ExchangeError(Reason.CLIENT_TIMEOUT, "the client gave the call no time")
    exchange.expire_in(seconds, Reason.CLIENT_TIMEOUT)


def limit_by_client(request: Request) -> None:
    """Ends the exchange when its client wants it to. Raises `ExchangeError` if that is now, or malformed."""
    timeout = request.header(TIMEOUT)
    if timeout is not None:
        limit(request.exchange, parse_timeout(timeout))


def with_remaining(request: Request) -> Request:
    """`request` with what is left of the exchange's time in its `grpc-timeout`, if it has one."""
    headers = request.headers
    for index, (name, _) in enumerate(headers):
        if name == TIMEOUT:
            left = (TIMEOUT, format_timeout(request.exchange.remaining_seconds()))
            return replace(request, headers=(*headers[:index], left, *headers[index + 1 :]))
    return request
