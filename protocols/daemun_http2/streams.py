"""The states of streams (RFC 9113 §5.1): two bits and a window while there is something to come or to be sent, and of
those that are over only the numbers of the last ones, to tell a late frame from a wrong one."""

from __future__ import annotations

from collections import deque

__all__ = ["REMEMBERED_STREAMS", "StreamState", "Streams"]

RECEIVES, SENDS, HEAD_CAME = 1, 2, 4
"""What may still come, what may still be sent, and that content or trailers are next to come."""
REMEMBERED_STREAMS = 256


class StreamState:
    """A stream: what each side may still do, and how much the peer may send."""

    __slots__ = ("bits", "window")

    def __init__(self, bits: int, window: int) -> None:
        self.bits = bits
        self.window = window


class Streams:
    """The streams of one connection."""

    __slots__ = ("_late_bytes", "_ours", "cut", "last_theirs", "next_ours", "open", "over")

    def __init__(self, *, client: bool) -> None:
        self.open: dict[int, StreamState] = {}
        """Those on which something may happen."""
        self.last_theirs = 0
        """The highest stream that the peer has opened."""
        self.next_ours = 1 if client else 2
        """The number of the next stream of ours."""
        self._ours = self.next_ours & 1
        self._late_bytes = 0
        """Content that may be under way for streams that we reset: what their windows allowed."""
        self.over: deque[int] = deque(maxlen=REMEMBERED_STREAMS)
        """Streams that ended, the latest last."""
        self.cut: deque[int] = deque(maxlen=REMEMBERED_STREAMS)
        """Those that we reset: what is still under way for them means nothing."""

    def idle(self, stream: int) -> bool:
        """Whether nobody has opened a stream yet."""
        if stream & 1 == self._ours:
            return stream >= self.next_ours
        return stream > self.last_theirs

    def was_cut(self, stream: int) -> bool:
        """Whether we may have reset it: what comes for it now was under way, and means nothing.

        Of streams that the peer opened the last are remembered; of ours, which it cannot make, any that is not open.
        """
        return stream in self.cut or (stream & 1 == self._ours and stream < self.next_ours and stream not in self.over)

    def late(self, size: int) -> bool:
        """Content for streams that we reset; whether it can have been under way when they were."""
        self._late_bytes -= size
        return self._late_bytes >= 0

    def sent_end(self, stream: int) -> None:
        """Nothing more will be sent."""
        state = self.open.get(stream)
        if state is not None:
            state.bits &= ~SENDS
            if not state.bits & RECEIVES:
                del self.open[stream]
                self.over.append(stream)

    def came_end(self, stream: int, state: StreamState) -> None:
        """Nothing more will come."""
        state.bits &= ~RECEIVES
        if not state.bits & SENDS:
            del self.open[stream]
            self.over.append(stream)

    def reset(self, stream: int) -> bool:
        """We end it; whether there was something to end."""
        state = self.open.pop(stream, None)
        if state is None:
            return False
        self.cut.append(stream)
        if state.bits & RECEIVES:
            self._late_bytes += state.window
        return True

    def was_reset(self, stream: int) -> bool:
        """The peer ends it; whether there was something to end."""
        if self.open.pop(stream, None) is None:
            return False
        self.over.append(stream)
        return True
