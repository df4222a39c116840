"""How message filters come to see messages: in the opening handshake they join one lens, and each side is asked."""

from __future__ import annotations

from daemun import Exchange, Handler, Request, Response, StashKey, header_values
from daemun_websocket.agreement import Agreed, agree, make_offer, read_answer
from daemun_websocket.framing import Bounds, Framing
from daemun_websocket.lens import Lens
from daemun_websocket.lens_settings import MessageSettings
from daemun_websocket.message_filter import OpenFilter
from daemun_websocket.way import Way

__all__ = ["looking"]

_EXTENSIONS = b"sec-websocket-extensions"


def looking(
    handler: Handler,
    name: str,
    open_filter: OpenFilter | None,
    *,
    streamed: bool,
    settings: MessageSettings | None = None,
) -> Handler:
    """A handler that shows the messages of WebSockets to what `open_filter` gives, and passes all else.

    All on a route look through one lens: the outermost makes it, the others join, and messages are parsed once.
    """

    async def handle(request: Request) -> Response:
        if request.protocol != b"websocket":
            return await handler(request)
        stash = request.exchange.stash
        opening = stash.get(_OPENING, None)
        way = None
        if opening is None or opening.over:
            opening = stash[_OPENING] = _Opening(header_values(request.headers, _EXTENSIONS))
            way = Way(request.body, of_client=True)
            request = opening.forwarded(request.with_body(way))
        opening.joined = opening.joined or not streamed
        if settings is not None:
            opening.settings = settings
            request = opening.forwarded(request)
        if open_filter is not None:
            opening.wanted[handle] = name, open_filter, request
        if way is None:
            return await handler(request)
        try:
            return await opening.answer(way, await handler(request), request.exchange)
        finally:
            opening.end()

    return handle


class _Opening:
    """An opening handshake that is under way: who wants to look, and what either side offers."""

    def __init__(self, offers: list[bytes]) -> None:
        """`offers`: the client's extensions."""
        self.settings = MessageSettings()
        self.wanted: dict[Handler, tuple[str, OpenFilter, Request]] = {}
        """By the filter's handler, which a filter before it may call again."""
        self.joined = False
        self.over = False
        self._offers = offers
        self._offered = False

    def end(self) -> None:
        """It is over; its exchange goes on, and holds nothing that holds the exchange."""
        self.over = True
        self.wanted = {}

    def forwarded(self, request: Request) -> Request:
        """`request` with the gateway's own offer: there is one if the client made one that can be met."""
        bits = self.settings.window_bits
        self._offered = self.settings.compression and agree(self._offers, bits) is not None
        request = request.without_header(_EXTENSIONS)
        return request.with_header(_EXTENSIONS, make_offer(bits)) if self._offered else request

    async def answer(self, way: Way, response: Response, exchange: Exchange) -> Response:
        """The answer as the client gets it; if it is a switch, messages pass from here on."""
        if response.status != 101:
            way.stay()
            return response
        lens = Lens(exchange, self.settings.close_timeout_seconds)
        try:
            return self._switched(way, response, lens)
        except BaseException:
            lens.over()
            await response.body.aclose()
            raise

    def _switched(self, from_client: Way, response: Response, lens: Lens) -> Response:
        bits = self.settings.window_bits
        upstream = read_answer(header_values(response.headers, _EXTENSIONS), bits, offered=self._offered)
        client = agree(self._offers, bits) if self._offered else None
        headers = tuple(field for field in response.headers if field[0] != _EXTENSIONS)
        if client is not None:
            headers = (*headers, (_EXTENSIONS, client[1]))
        for name, open_filter, request in self.wanted.values():
            found = open_filter(request)
            lens.join(name, found.client_said, found.upstream_said, found.ended)
        from_upstream = Way(response.body, of_client=False)
        lens.open(
            from_client,
            from_upstream,
            self._framing(client and client[0], client=False),
            self._framing(upstream, client=True),
        )
        return response.with_headers(headers).with_body(from_upstream)

    def _framing(self, agreed: Agreed | None, *, client: bool) -> Framing:
        settings = self.settings
        bounds = Bounds(
            settings.max_message_bytes, settings.max_frame_bytes or settings.max_message_bytes, settings.max_fragments
        )
        return Framing(
            client=client,
            bounds=bounds,
            inflater=agreed.inflater(client=client) if agreed else None,
            deflater=agreed.deflater(client=client) if agreed else None,
            joined=self.joined,
        )


_OPENING: StashKey[_Opening] = StashKey("websocket opening")
