"""What is kept of an exchange until its line is made.

A record is a plain tuple of values: building one costs a tenth of a microsecond, and it holds neither the body
nor the headers nor the connection of its exchange. Formatters see many of them at once, column by column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from daemun import Headers, Peer, Reason

__all__ = ["Batch", "Pick", "Record", "Values", "batch_of", "pick_first"]

Values: TypeAlias = tuple[bytes | None, ...]
"""Values of the header fields that were asked for, in their order; None: not there."""

Record: TypeAlias = tuple[
    float, float, bytes, bytes, bytes, str, int, Reason | None, str, str, str, int, int, float, Peer, Values, Values
]
"""The fields of `Batch` from `started` on, of one exchange."""

Pick: TypeAlias = Callable[[Headers], Values]


class Batch(NamedTuple):
    """Some records, as columns."""

    offset: float
    """What turns `time.monotonic()` into the time since 1970."""
    started: tuple[float, ...]
    """`time.monotonic()` at the end of the request's head."""
    ended: tuple[float, ...]
    """`time.monotonic()` at the end of the exchange; negative: there was none."""
    method: tuple[bytes, ...]
    target: tuple[bytes, ...]
    """Path and query. This and the other values of a client are one byte over the limit if they were cut."""
    authority: tuple[bytes, ...]
    version: tuple[str, ...]
    status: tuple[int, ...]
    reason: tuple[Reason | None, ...]
    plugin: tuple[str, ...]
    route: tuple[str, ...]
    endpoint: tuple[str, ...]
    received_bytes: tuple[int, ...]
    sent_bytes: tuple[int, ...]
    cold_start_seconds: tuple[float, ...]
    """Negative: it did not wait."""
    peer: tuple[Peer, ...]
    request: tuple[Values, ...]
    response: tuple[Values, ...]


def batch_of(records: Sequence[Record], offset: float) -> Batch:
    """The columns of `records`, of which there must be one at least."""
    return Batch(offset, *zip(*records, strict=True))


def pick_first(names: Sequence[bytes], limit: int) -> Pick | None:
    """Takes the first value of each header field, cut to `limit + 1` bytes; None if there are no names."""
    if not names:
        return None
    if len(names) == 1:
        return _pick_one(names[0], limit)
    slots = {name: slot for slot, name in enumerate(names)}
    count = len(names)
    nothing: list[bytes | None] = [None] * count

    def pick(headers: Headers) -> Values:
        values = nothing.copy()
        left = count
        for name, value in headers:
            if name in slots and values[slots[name]] is None:
                values[slots[name]] = value if len(value) <= limit else value[: limit + 1]
                left -= 1
                if not left:
                    break
        return tuple(values)

    return pick


def _pick_one(wanted: bytes, limit: int) -> Pick:
    def pick(headers: Headers) -> Values:
        for name, value in headers:
            if name == wanted:
                return (value if len(value) <= limit else value[: limit + 1],)
        return (None,)

    return pick
