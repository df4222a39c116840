"""The response that an application sends, message by message, as it becomes ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio

from daemun import EMPTY, Body, Buffered, Headers, NoContent, Response, Waker, http_date
from daemun_asgi.fields import ResponseFields, response_fields, trailer_fields
from daemun_asgi.pipe import Pipe

__all__ = ["Answer", "StreamBody"]

_BARE_STATUSES = (204, 304)
_PLAIN = ResponseFields((), None, False)


class Answer:
    """A response that grows; `waker` wakes whoever waits for it, once there is enough to begin with."""

    __slots__ = (
        "_fields",
        "_head",
        "_last",
        "_left",
        "_status",
        "_trailers_due",
        "_waker",
        "_whole",
        "bare",
        "begun",
        "complete",
        "error",
        "held",
        "passed",
        "pipe",
        "trailers",
    )

    def __init__(self, waker: Waker, method: bytes) -> None:
        self.begun = False
        """Who waits for it can have it: no other can be sent."""
        self.complete = False
        """Everything was sent."""
        self.error: BaseException | None = None
        """Why there is none, or no end of it."""
        self.held = False
        """Its end waits for that of the application, which may still raise."""
        self.passed: Response | None = None
        """A response that a middleware handed on as it was."""
        self.bare = False
        """It has no content, whatever is sent as one."""
        self.pipe: Pipe | None = None
        """Its content, if that comes in pieces."""
        self.trailers: Headers = ()
        self._waker = waker
        self._head = method == b"HEAD"
        self._status = 0
        self._fields = _PLAIN
        self._left: int | None = None
        self._last = False
        self._trailers_due = False
        self._whole: bytes | None = None

    def start(self, message: Mapping[str, Any]) -> None:
        """`http.response.start`. Nothing is sent before the first piece of content. Raises what the application did
        wrong, as all below do."""
        if self._status or self.passed is not None:
            raise RuntimeError("http.response.start was sent already")
        status = message["status"]
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise ValueError(f"status {status!r} is none of a response; accepted: 200 to 999")
        self._fields = fields = response_fields(message.get("headers", ()))
        self._status = int(status)
        self._trailers_due = bool(message.get("trailers", False))
        self.bare = self._head or status in _BARE_STATUSES
        self._left = None if self.bare else fields.length

    def body(self, message: Mapping[str, Any]) -> anyio.Event | None:
        """`http.response.body`; what it returns is to be waited for before more is sent."""
        if not self._status:
            raise RuntimeError("http.response.body was sent before http.response.start")
        data, more = message.get("body", b""), self.held or message.get("more_body", False)
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if self.bare:
            self._bare_body(data, more)
            return self.pipe.room() if more and self.pipe is not None else None
        if self.complete or self._last or (self.pipe is not None and self.pipe.ended):
            raise RuntimeError("http.response.body was sent after its end")
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise ValueError("the content is not as long as content-length says")
        if self.pipe is None:
            if not more and not self._trailers_due:
                self._whole, self.begun, self.complete = data, True, True
                self._waker.wake()
                return None
            self.pipe, self.begun = Pipe(self._waker), True
            self._waker.wake()
        self._last = not message.get("more_body", False)
        room = self.pipe.put(data)
        if more:
            return room
        if not self._trailers_due:
            self._end()
        return None

    def begin(self) -> Pipe | None:
        """Begins with a head that was sent, before any content; what that goes through, None if there is none."""
        if self._status and not self.begun and not self.bare:
            self.pipe, self.begun = Pipe(self._waker), True
            self._waker.wake()
        return self.pipe

    def _bare_body(self, data: bytes, more: bool) -> None:
        if self._whole is None:
            self._whole, self.begun = b"", True
            if not more and self._head and self._fields.length is None:
                self._left = len(data)
            if more:  # somebody has to tell the application that nobody listens
                self.pipe = Pipe(self._waker)
                self.pipe.end()
            self._waker.wake()
        self.complete = self.complete or not more

    def more_trailers(self, message: Mapping[str, Any]) -> None:
        """`http.response.trailers`."""
        if not self._trailers_due or (self.complete and not self.bare):
            raise RuntimeError("http.response.trailers was sent and not announced by http.response.start")
        self.trailers = (*self.trailers, *trailer_fields(message.get("headers", ())))
        if not message.get("more_trailers", False) and not self.bare:
            self._end()

    def hand_on(self, response: Response) -> None:
        """`response` as it is."""
        if self._status:
            raise RuntimeError("http.response.start was sent already")
        self.passed, self.begun, self.complete = response, True, True
        self._waker.wake()

    def fail(self, error: BaseException) -> None:
        """There will be no response, or no end of it."""
        if not self.complete and self.error is None:
            self.error = error
            if self.pipe is not None:
                self.pipe.end(error)
            self._waker.wake()

    def returned(self, words: Callable[[str], Exception]) -> None:
        """Nothing more will be sent. `words` makes an error for what is missing."""
        if self.complete or self.error is not None:
            return
        if self.pipe is not None and self._last and not self._left:  # what it had to wait for does not come
            self._end()
        elif not self.bare or self._whole is None:
            self.fail(words("returned before the end of its response" if self._status else "returned no response"))

    def response(self, left: Callable[[], Awaitable[None]]) -> Response:
        """As much of it as there is. `left` is called when nobody reads on. Raises why there is none."""
        if self.passed is not None:
            return self.passed
        if self.error is not None:
            raise self.error
        fields = self._fields
        headers = fields.headers if fields.dated else ((b"date", http_date()), *fields.headers)
        body: Body
        length = fields.length
        if self.pipe is not None:
            # content with a length is not followed by trailers everywhere
            body = StreamBody(self, None if self._trailers_due else length, left)
        elif self.bare:
            body = NoContent(None if self._status == 204 else self._left if length is None else length)
        elif self._whole or self.trailers:
            body = Buffered(self._whole or b"", self.trailers)
        else:
            body = EMPTY
        return Response(self._status, headers, body)

    def _end(self) -> None:
        assert self.pipe is not None
        self.complete = True
        self.pipe.end()


class StreamBody:
    """Content that is pulled while the application sends it."""

    __slots__ = ("_answer", "_left", "_pipe", "length")

    def __init__(self, answer: Answer, length: int | None, left: Callable[[], Awaitable[None]]) -> None:
        assert answer.pipe is not None
        self.length = length
        self._answer = answer
        self._pipe = answer.pipe
        self._left = left

    @property
    def trailers(self) -> Headers:
        """What the application sent last."""
        return self._answer.trailers

    def read_nowait(self) -> bytes:
        """What was sent already."""
        return self._pipe.read_nowait()

    async def read(self) -> bytes:
        """The next pieces. Raises what ended the application too early."""
        return await self._pipe.read()

    async def aclose(self) -> None:
        """Tells the application that nobody reads on."""
        self._pipe.drop()
        await self._left()
