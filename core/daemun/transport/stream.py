"""A byte stream that is fast when there is nothing to wait for, and tells when the peer leaves.

anyio's socket stream pays a checkpoint and two epoll_ctl calls for each receive. Ours returns at once when bytes
are there and writes at once when the transport takes them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable

from anyio.abc import ByteStream

__all__ = ["READ_AHEAD_BYTES", "RECEIVE_BYTES", "Stream"]

READ_AHEAD_BYTES = 64 * 1024
"""Above this much unread data the transport stops reading."""
RECEIVE_BYTES = 256 * 1024
"""What one `receive` returns at most, unless told otherwise."""


class Stream(ByteStream):
    """A byte stream with the call-backs that a gateway needs. Owned by one task, as any anyio stream."""

    on_eof: Callable[[], None] | None = None
    """Called once when the peer has finished sending; it may still read."""
    on_lost: Callable[[], None] | None = None
    """Called once when nothing can be sent or received any more."""
    on_stall: Callable[[bool], None] | None = None
    """Called with True when a send begins to wait for the peer, with False when it goes on."""
    on_data: Callable[[bytes], None] | None = None
    """Takes what comes from now on, as it comes, instead of `receive`: for connections that many exchanges share.
    Called outside of the tasks that it concerns: it may not block or raise. What came before is to be received."""
    unread_bytes = 0
    """Bytes that `receive` would return without waiting."""
    at_eof = False
    """The peer has finished sending. There may be bytes left to receive."""
    lost = False
    """The connection is gone."""
    relayed_bytes = 0
    """Bytes that were sent by a `relay` to this stream."""

    async def relay(self, sink: Stream, length: int, came: Callable[[memoryview], None] | None = None) -> int:
        """Passes up to `length` bytes to `sink` as they come, and says how many: fewer if the peer ends or is lost.

        It costs less than receiving and sending them. `came` sees each piece before it is passed on, and keeps nothing
        of it. 0 where these two streams cannot do it now. Cancelled, it has passed on all that it took.
        """
        return 0

    @abstractmethod
    def receive_nowait(self) -> bytes:
        """What has come; b"" if nothing has. Raises what `receive` raises: at the end, when the peer is lost."""

    def take(self, max_bytes: int) -> bytes:
        """`receive_nowait`, but no more than `max_bytes`: the rest stays."""
        data = self.receive_nowait()
        if len(data) > max_bytes:
            self.unread(data[max_bytes:])
            data = data[:max_bytes]
        return data

    async def receive(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        """What comes next, as soon as something has come. Raises `EndOfStream`, or that the peer is lost."""
        while not (data := self.take(max_bytes)):
            await self.wait_readable()
        return data

    @abstractmethod
    def wait_readable(self) -> Awaitable[None]:
        """To be awaited when `receive_nowait` gave nothing: returns once it has something to tell."""

    @abstractmethod
    def send_nowait(self, item: bytes) -> bool:
        """Hands over all of `item`. If it says False the peer is slow: await `wait_writable` before more is sent.

        Raises what `send` raises.
        """

    def send_soon(self, item: bytes, *, alone: bool = False) -> bool:
        """`send_nowait`, but what several tasks hand over one after the other leaves together; `alone`: there is only
        one that does. For streams on which nothing is sent in any other way."""
        return self.send_nowait(item)

    def send_last(self, item: bytes) -> None:
        """`send_nowait`, from any call-back, of what nobody waits for: nothing else is sent after it."""
        self.send_nowait(item)

    async def send(self, item: bytes) -> None:
        """Sends all of `item`, as fast as the peer takes it. Raises `BrokenResourceError` if it does not."""
        if not self.send_nowait(item):
            await self.wait_writable()

    @abstractmethod
    async def wait_writable(self) -> None:
        """Waits until the peer has taken enough. Raises `BrokenResourceError` if it will not."""

    @property
    @abstractmethod
    def unsent_bytes(self) -> int:
        """Bytes that the peer's slowness holds in memory."""

    @abstractmethod
    def unread(self, data: bytes) -> None:
        """Puts `data` back, in front of what there is to receive."""

    @abstractmethod
    async def flush(self) -> None:
        """Waits until everything was handed to the kernel. Raises `BrokenResourceError` if it cannot be."""

    @abstractmethod
    def abort(self) -> None:
        """Ends the connection now; unsent bytes are lost. Idempotent, from any call-back."""
