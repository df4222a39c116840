"""Sending the content of a request, beside its response, which may begin and end before the content does."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
from anyio.streams.tls import TLSAttribute

from daemun import ExchangeError, Reason, Request, Stream
from daemun_http1.written import field_lines

__all__ = ["Pump"]

log = logging.getLogger("daemun.http1")

_CONTINUE_SECONDS = 1.0
_TUNNEL_CLOSE_SECONDS = 10.0
"""An upstream has it to end a tunnel that its client has left, where it cannot be told so."""


class Pump:
    """Sends content to one upstream connection; what goes wrong with it ends the exchange."""

    __slots__ = ("_stream", "_whole", "continued", "error", "finished", "sent")

    def __init__(self, stream: Stream, whole: Callable[[], None]) -> None:
        """`whole` is called each time all content of a request was sent."""
        self.sent = True
        """No content is left to be sent."""
        self.finished = False
        """The client has finished its half of a tunnel."""
        self.error: ExchangeError | None = None
        """Why the connection was ended."""
        self.continued: anyio.Event | None = None
        """To be set when the upstream says `100 Continue`, if it was asked to."""
        self._stream = stream
        self._whole = whole

    async def start(self, request: Request) -> None:
        """Sends content that streams: beside the response where the exchange lends tasks, before it otherwise."""
        self.sent = False
        self.continued = anyio.Event() if request.header(b"expect") is not None else None
        if request.exchange.tasks is None:
            await self.run(request)
        else:
            request.exchange.tasks.start_soon(self.run, request)

    async def run(self, request: Request) -> None:
        """Sends the content of `request`, or the client's half of a tunnel."""
        if request.protocol:
            request.exchange.pumped = True
        try:
            await self._send(request)
        except ExchangeError as error:
            self.error = error
            self._stream.abort()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        except Exception as error:
            self.error = ExchangeError(Reason.PLUGIN_FAULT, "the content of a request failed in a plugin")
            self.error.__cause__ = error  # the edge logs it, and knows whose it is
            self._stream.abort()
        else:
            self.sent = True
            if not request.protocol:
                self._whole()
        finally:
            if request.protocol:
                request.exchange.pumped = False
                await request.body.aclose()

    async def _send(self, request: Request) -> None:
        stream, body = self._stream, request.body
        chunked = (body.length is None or bool(body.trailers)) and not request.protocol
        if self.continued is not None:
            with anyio.move_on_after(_CONTINUE_SECONDS):
                await self.continued.wait()
        relay = None if chunked else getattr(body, "relay", None)
        while data := await body.read():
            await stream.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            if relay is not None:
                await relay(stream)
        if chunked:
            await stream.send(b"0\r\n" + field_lines(body.trailers) + b"\r\n")
        if request.protocol:
            await stream.send_eof()
            self.finished = True
            if stream.extra(TLSAttribute.ssl_object, None) is not None:  # which has no half of an end
                await anyio.sleep(_TUNNEL_CLOSE_SECONDS)
                stream.abort()
