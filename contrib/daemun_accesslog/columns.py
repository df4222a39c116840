"""From a column of kept values to what a line holds, whatever the format.

What a client chose is bytes here, cut and without what a URL may hide; each format escapes them in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from time import gmtime, strftime
from typing import TypeAlias

from daemun_accesslog.names import holds_url
from daemun_accesslog.record import Batch, Values

__all__ = ["MARK", "Column", "header_column", "json_columns", "shortened", "stamped", "target_of"]

Column: TypeAlias = Callable[[Batch], Sequence[object]]
"""A column as JSON values."""

MARK = b"..."
"""What a value that was cut ends in."""

_MILLISECONDS = tuple(f".{rest:03}Z" for rest in range(1000))
_URL_USER = re.compile(rb"//[^/?#]*@")
_URL_REST = re.compile(rb"[?#].*", re.DOTALL)
_URL_CUT_IN_AUTHORITY = re.compile(rb"//[^/?#]*\Z")


def json_columns(limit: int, worker: int) -> dict[str, Column]:
    """Every field but those of headers. Values of clients are shown up to `limit` bytes."""

    def texts(values: Iterable[bytes]) -> list[str | None]:
        return [value.decode("utf-8", "backslashreplace") or None for value in values]

    return {
        "time": lambda batch: stamped(batch, "%Y-%m-%dT%H:%M:%S", _MILLISECONDS),
        "client_address": lambda batch: [peer.address or None for peer in batch.peer],
        "client_port": lambda batch: [peer.port or None for peer in batch.peer],
        "listener": lambda batch: [peer.listener for peer in batch.peer],
        "scheme": lambda batch: [peer.scheme for peer in batch.peer],
        "version": lambda batch: [version or None for version in batch.version],
        "method": lambda batch: texts(shortened(batch.method, limit)),
        "authority": lambda batch: texts(shortened(batch.authority, limit)),
        "path": lambda batch: texts(target_of(batch, limit, query=False)),
        "query": lambda batch: texts(target.partition(b"?")[2] for target in target_of(batch, limit, query=True)),
        "status": lambda batch: batch.status,
        "reason": lambda batch: [reason and reason.value for reason in batch.reason],
        "plugin": lambda batch: [plugin or None for plugin in batch.plugin],
        "route": lambda batch: [route or None for route in batch.route],
        "endpoint": lambda batch: [endpoint or None for endpoint in batch.endpoint],
        "received_bytes": lambda batch: batch.received_bytes,
        "sent_bytes": lambda batch: batch.sent_bytes,
        "duration_seconds": _durations,
        "cold_start_seconds": lambda batch: [
            round(seconds, 6) if seconds >= 0 else None for seconds in batch.cold_start_seconds
        ],
        "server_name": lambda batch: [peer.server_name or None for peer in batch.peer],
        "client_name": lambda batch: [peer.client_name or None for peer in batch.peer],
        "worker": lambda batch: [worker] * len(batch.started),
    }


def header_column(header: str, slot: int, limit: int) -> Callable[[Sequence[Values]], list[bytes | None]]:
    """The values of one header field, which stand in `slot` of each record."""
    show = _shown_url if holds_url(header) else _shown

    def column(values: Sequence[Values]) -> list[bytes | None]:
        return [value and show(value, limit) for value in (several[slot] for several in values)]

    return column


def shortened(values: Iterable[bytes], limit: int) -> list[bytes]:
    """Values as they were, or their first `limit` bytes with the mark."""
    return [value if len(value) <= limit else _shown(value, limit) for value in values]


def target_of(batch: Batch, limit: int, *, query: bool) -> list[bytes]:
    """Paths, with or without the query; limit and mark are those of the whole target."""
    targets = shortened(batch.target, limit)
    return targets if query else [target.partition(b"?")[0] for target in targets]


def stamped(batch: Batch, seconds: str, milliseconds: Sequence[str] | None = None) -> list[str]:
    """When each request began, in UTC: `seconds` as for `strftime`, and then one of a thousand `milliseconds`."""
    offset_ms = batch.offset * 1000.0
    stamps: list[str] = []
    last, text = -1, ""
    for started in batch.started:
        second, rest = divmod(int(started * 1000.0 + offset_ms), 1000)
        if second != last:
            last, text = second, strftime(seconds, gmtime(second))
        stamps.append(text if milliseconds is None else text + milliseconds[rest])
    return stamps


def _durations(batch: Batch) -> list[float | None]:
    return [
        int((ended - started) * 1e6 + 0.5) / 1e6 if ended >= 0 else None  # half of what `round` costs
        for started, ended in zip(batch.started, batch.ended, strict=True)
    ]


def _shown(value: bytes, limit: int) -> bytes:
    return value if len(value) <= limit else value[:limit] + MARK


def _shown_url(value: bytes, limit: int) -> bytes:
    """Without user, query and fragment, which may be secrets."""
    shown = _URL_USER.sub(b"//", _shown(value, limit))
    if len(value) > limit:
        shown = _URL_CUT_IN_AUTHORITY.sub(b"//" + MARK, shown)  # who knows whether a user was about to end
    return _URL_REST.sub(b"", shown)
