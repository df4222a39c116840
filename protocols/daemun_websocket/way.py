"""One way of a WebSocket under the lens: the body that one side reads, made of what the other says.

It pulls bytes no faster than it is read, so nothing queues up. A Close passes like any message, and nothing that comes
behind it does; an end of bytes passes at once.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import anyio
from anyio.lowlevel import checkpoint

from daemun import Body, Headers
from daemun_websocket.framing import BadFrames, Framing
from daemun_websocket.messages import Binary, Close, CloseWebSocket, Message, Text

__all__ = ["Pair", "Say", "Show", "Way"]

_MAX_DISCARDED_BYTES = 16 * 1024 * 1024
_TURN = 32
"""Messages that are looked at before other connections have their turn."""

Say = Callable[[Message], Awaitable[Message | None]]
"""Shows a filter a message, and gives what goes on instead."""


class Show(NamedTuple):
    """One filter's part in one way."""

    name: str
    say: Say


class Pair(Protocol):
    """Both ways of one WebSocket, as one of them sees it."""

    client_over: anyio.Event
    """All that the client says has been read."""
    close_seconds: float
    """How long the client is listened to after its last word."""

    @property
    def lingers(self) -> bool:
        """Whether the client must have heard its last word before its way ends."""
        ...

    def over(self) -> None:
        """The WebSocket is over."""
        ...

    def broken(self, way: Way, error: BadFrames) -> None:
        """The side that `way` comes from sent what is refused."""
        ...

    def ended(self, way: Way, name: str, close: Close, message: Message) -> None:
        """The filter `name` ended the WebSocket over `message`, which came `way`."""
        ...

    def failed(self, way: Way, name: str) -> None:
        """The filter `name` raised what it may not."""
        ...

    def closed(self, way: Way, close: Close) -> None:
        """A Close passed."""
        ...

    def left(self, way: Way, error: Exception | None) -> None:
        """The side that `way` comes from says no more, for its connection broke by `error`, or in order."""
        ...


class Way:
    """What one side says, as the body that the other side is sent."""

    __slots__ = (
        "_closed",
        "_deaf",
        "_discarded",
        "_due",
        "_inner",
        "_lens",
        "_linger_seconds",
        "_looks",
        "_opened",
        "_reader",
        "_scope",
        "_shown",
        "_shows",
        "_turn",
        "_word",
        "_writer",
        "length",
        "of_client",
        "over",
        "spoke",
        "trailers",
    )

    def __init__(self, inner: Body, *, of_client: bool) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self.of_client = of_client
        """It is the client that speaks."""
        self.over = anyio.Event()
        """It has ended."""
        self.spoke = False
        """Something passed."""
        self._inner = inner
        self._lens: Pair
        self._reader: Framing
        self._writer: Framing
        self._shows: Sequence[Show]
        self._opened = anyio.Event()
        self._looks = False
        self._scope: anyio.CancelScope | None = None
        self._shown: tuple[Message, Message, int] | None = None
        """A message as it came, as it is now, and how many filters it has passed."""
        self._turn = 0
        self._word: Close | None = None
        """What is said last, unless a Close was sent before."""
        self._due = math.inf
        """When it is said, and then, when the way ends, unless the side that it comes from ends it before."""
        self._linger_seconds = 0.0
        self._closed = False
        """A Close was sent: nothing follows it."""
        self._deaf = False
        """Nothing of what comes can be understood any more."""
        self._discarded = 0

    def open(self, lens: Pair, reader: Framing, writer: Framing, shows: Sequence[Show]) -> None:
        """Messages pass from here on, through `shows`."""
        self._lens, self._reader, self._writer, self._shows = lens, reader, writer, shows
        self._looks = True
        self._opened.set()

    def stay(self) -> None:
        """The protocol was not switched: bytes pass."""
        self._opened.set()

    def part(self, word: Close, due: float, linger_seconds: float) -> None:
        """Says `word` at the time `due` at the latest, and ends `linger_seconds` later at the latest."""
        self._word, self._linger_seconds = word, linger_seconds
        self._due = due + linger_seconds if self._closed else due
        if self._scope is not None:
            self._scope.deadline = self._due

    async def read(self) -> bytes:
        """The next frames. Cancelled while a filter waits, the next call shows it the same message again."""
        await self._opened.wait()
        if not self._looks:
            return await self._inner.read()
        while not self.over.is_set():
            if self._word is not None and anyio.current_time() >= self._due:
                if not self._closed:
                    return self._say_last(self._word)
                await self._end()
                break
            with anyio.CancelScope(deadline=self._due) as self._scope:
                try:
                    data = await self._next()
                finally:
                    self._scope = None
                if data:
                    return data
        return b""

    async def aclose(self) -> None:
        self.over.set()
        if not self.of_client:
            self._lens.over()
        await self._inner.aclose()

    def drop(self) -> None:
        """Ends the way, whoever reads it now, and gives back what it holds."""
        self.over.set()
        if self._scope is not None:
            self._scope.cancel()
        self._shown = None
        self._reader.drop()

    def _say_last(self, word: Close) -> bytes:
        self._closed = True
        self._due = anyio.current_time() + self._linger_seconds
        self._shown = None
        return self._writer.write(word)

    async def _end(self) -> None:
        lens = self._lens
        if self.of_client:
            await self._inner.aclose()
        elif lens.lingers:
            with anyio.move_on_after(lens.close_seconds):
                await lens.client_over.wait()
        self.over.set()

    async def _next(self) -> bytes:
        """The next frames; b"": something else came of it."""
        self._turn += 1
        if self._turn >= _TURN:
            self._turn = 0
            await checkpoint()
        if self._shown is not None:
            return await self._pass()
        message: Message | None = None
        if not self._deaf:
            try:
                message = self._reader.read()
            except BadFrames as error:
                self._deaf = True
                if self._word is None:
                    self._lens.broken(self, error)
                elif not self._closed:
                    self._due = -math.inf
                return b""
        if message is None:
            await self._pull()
            return b""
        leaves = type(message) is Close
        self._deaf = leaves
        if self._word is not None and leaves:
            self._due = -math.inf  # it has heard us, or has no more to say
        elif not self._closed:
            self._shown = message, message, 0
            return await self._pass()
        return b""

    async def _pull(self) -> None:
        """Takes more bytes of the side that it comes from."""
        try:
            data = await self._inner.read()
        except Exception as error:
            self._lens.left(self, error)
            raise
        self._turn = 0
        if self.over.is_set():
            return
        if not data:
            self._lens.left(self, None)
            if self._word is None:
                self.over.set()
            else:
                self._due = -math.inf
        elif self._deaf or (self._closed and self._word is not None):
            self._discarded += len(data)
            if self._discarded > _MAX_DISCARDED_BYTES:
                await self._end()
        if data and not self._deaf:
            self._reader.feed(data)

    async def _pass(self) -> bytes:
        """What becomes of the message at hand, in frames."""
        assert self._shown is not None
        came, message, passed = self._shown
        shows = self._shows
        name = "-"
        try:
            while passed < len(shows):
                name = shows[passed].name
                answer = await shows[passed].say(message)
                if answer is None:
                    self._shown = None
                    return b"" if self.over.is_set() else self._dropped(came)
                message = answer
                passed += 1
                self._shown = came, message, passed
            self._shown = None
            if self.over.is_set():
                return b""
            framed = self._writer.write(message)
        except CloseWebSocket as error:
            self._shown = None
            self._lens.ended(self, name, error.close, came)
            return b""
        except Exception:
            self._shown = None
            self._lens.failed(self, name)
            return b""
        if type(message) is Close:
            self._closed = True
            self._lens.closed(self, message)
        self.spoke = True
        return framed

    def _dropped(self, came: Message) -> bytes:
        """Ends the message of which earlier pieces were sent, if the piece that was dropped is its last."""
        begun = self._writer.sending
        if begun is None or not isinstance(came, (Text, Binary)) or not came.last:
            return b""
        return self._writer.write(Text("") if begun is Text else Binary(b""))
