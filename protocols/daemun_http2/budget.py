"""What a peer may make us do for nothing: one budget a connection, which refills slowly. Who overdraws it is cut off.

Everything cheap to send and not cheap to serve costs: streams that are reset at once by either side (CVE-2023-44487,
CVE-2025-8671), PING and SETTINGS that want an answer, frames without any effect. What a peer needs in order to take
our content in is not counted against it: content that we send earns its acknowledgements.
"""

from __future__ import annotations

from time import monotonic

from daemun_http2.frames import ConnectionFault, ErrorCode

__all__ = ["WORTHWHILE_BYTES", "Budget"]

_RESETS = 100.0
_CONTROLS = 100.0
_IDLE_FRAMES = 1000.0
_REFILL_SECONDS = 10.0
"""An empty budget is full again after it."""
WORTHWHILE_BYTES = 64
"""Less content, or a window that grows by less, is a frame for nothing."""
_EARNED_FRAMES = 100_000.0
"""What can be earned ahead by content that we send."""


class Budget:
    """Counts down; raises `ConnectionFault` (ENHANCE_YOUR_CALM) at the end."""

    __slots__ = ("_controls", "_idle_frames", "_resets", "_since", "_to_take")

    def __init__(self) -> None:
        self._resets = _RESETS
        self._controls = _CONTROLS
        self._idle_frames = _IDLE_FRAMES
        self._since = monotonic()
        self._to_take = 0
        """Content that was sent and not taken yet, once for its stream and once for the connection."""

    def sent(self, frames: int, size: int) -> None:
        """So many frames went out, with `size` bytes of content."""
        self._to_take += 2 * size
        if self._idle_frames < _EARNED_FRAMES:
            self._idle_frames += 2 * frames
            if size >= WORTHWHILE_BYTES:
                self._controls += frames

    def answered(self) -> None:
        """An exchange was answered: who asks for something may ask how we are."""
        if self._controls < _EARNED_FRAMES:
            self._controls += 1

    def reset(self) -> None:
        """A stream that ended before it had an answer."""
        self._resets -= 1
        if self._resets < 0:
            self._refill("streams that are reset")

    def control(self) -> None:
        """A frame that wants an answer."""
        self._controls -= 1
        if self._controls < 0:
            self._refill("frames that want an answer")

    def window(self, increment: int) -> None:
        """The peer takes more content, on a stream or on the connection. What it was sent it may ask for again."""
        if WORTHWHILE_BYTES <= increment <= self._to_take:
            self._to_take -= increment
        else:
            self.idle_frame()

    def idle_frame(self) -> None:
        """A frame that changes next to nothing."""
        self._idle_frames -= 1
        if self._idle_frames < 0:
            self._refill("frames without effect")

    def _refill(self, what: str) -> None:
        now = monotonic()
        share = (now - self._since) / _REFILL_SECONDS
        self._since = now
        self._resets = max(self._resets, min(self._resets + share * _RESETS, _RESETS))
        self._controls = max(self._controls, min(self._controls + share * _CONTROLS, _CONTROLS))
        self._idle_frames = max(self._idle_frames, min(self._idle_frames + share * _IDLE_FRAMES, _IDLE_FRAMES))
        if min(self._resets, self._controls, self._idle_frames) < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {what}")
