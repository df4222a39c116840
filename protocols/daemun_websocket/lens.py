"""The lens: a WebSocket's bytes become messages, pass its filters, and become bytes again, each way by itself.

Frames are made anew: masked for the upstream, and compressed as each side has agreed. What one side did wrong ends both
ways: each is left a last word, the client's with a moment to hear what the upstream still answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from daemun import Exchange, ExchangeError, Reason
from daemun_websocket.ending import note_ending
from daemun_websocket.framing import BadFrames, Framing
from daemun_websocket.messages import Binary, Close, Message, Text
from daemun_websocket.way import Say, Show, Way

__all__ = ["Lens"]

log = logging.getLogger("daemun.websocket")

_GRACE_SECONDS = 1.0
"""An upstream has it to answer what the client said before the mistake that ended the WebSocket."""
_GOING_AWAY = Close(1001)
_BROKEN_UPSTREAM = Close(1011, "the upstream broke the protocol")  # 1014 says it better, but browsers refuse it
_FAULT = Close(1011, "a plugin of the gateway failed")
_TOO_BIG = 1009


class Lens:
    """Both ways of one WebSocket."""

    __slots__ = (
        "_client_shows",
        "_endings",
        "_exchange",
        "_parted",
        "_upstream_shows",
        "_ways",
        "client_over",
        "close_seconds",
    )

    def __init__(self, exchange: Exchange, close_seconds: float) -> None:
        """`close_seconds`: how long the client is listened to after its last word."""
        self.client_over = anyio.Event()
        """All that the client says has been read."""
        self.close_seconds = close_seconds
        self._exchange = exchange
        self._parted = False
        self._ways: tuple[Way, Way] | None = None
        """From the client, and from the upstream, while messages pass."""
        self._client_shows: list[Show] = []
        self._upstream_shows: list[Show] = []
        self._endings: list[tuple[str, Callable[[], None]]] = []

    def join(self, name: str, client_said: Say, upstream_said: Say, ended: Callable[[], None]) -> None:
        """Adds a filter, behind those that joined before as the client sees it. `ended` is called once."""
        self._client_shows.append(Show(name, client_said))
        self._upstream_shows.insert(0, Show(name, upstream_said))
        self._endings.append((name, ended))

    def open(self, from_client: Way, from_upstream: Way, client: Framing, upstream: Framing) -> None:
        """The protocol was switched: messages pass from here on."""
        self._ways = from_client, from_upstream
        self.client_over = from_client.over
        from_upstream.open(self, upstream, client, self._upstream_shows)
        from_client.open(self, client, upstream, self._client_shows)

    def over(self) -> None:
        """The WebSocket is over: the filters are told, and nothing is held any more."""
        for way in self._ways or ():
            way.drop()
        self._ways = None
        endings, self._endings = self._endings, []
        for name, ended in endings:
            try:
                ended()
            except Exception:
                log.exception("route %s: the message filter %s failed at its end", self._exchange.route or "-", name)

    @property
    def lingers(self) -> bool:
        """Whether the client's connection ends with what it is sent: then it must have heard it before."""
        exchange = self._exchange
        return self._parted and exchange.peer.scheme == "https" and exchange.version != "HTTP/2"

    def broken(self, way: Way, error: BadFrames) -> None:
        """The side that `way` comes from sent what is refused."""
        side, said = _side(way), error.close
        words = f"closed by the gateway, {said.code}: "
        if error.refused:
            words += f"the {side} sent a {error.refused}; {said.reason}"
            to_client = Close(_TOO_BIG, f"the upstream broke a limit: {said.reason}")
        else:
            words += f"the {side} is at fault: {said.reason}"
            to_client = _BROKEN_UPSTREAM
        if way.of_client:
            reason = Reason.CONTENT_TOO_LARGE if error.refused else Reason.BAD_REQUEST
            self._part(way, said, _GOING_AWAY, reason, words, logging.DEBUG)
        else:
            self._part(way, to_client, said, Reason.UPSTREAM_PROTOCOL, words, logging.INFO)

    def ended(self, way: Way, name: str, close: Close, message: Message) -> None:
        """The filter `name` ended the WebSocket over `message`, which came `way`."""
        words = f"closed by the filter {name}, {close.code or 'no code'}, over a {_kind(message)} of the {_side(way)}"
        if close.reason:
            words += ": " + ascii(close.reason)[1:-1]
        self._part(way, close, _GOING_AWAY, None, words, logging.DEBUG)

    def failed(self, way: Way, name: str) -> None:
        """The filter `name` raised what it may not. To be called where that is handled."""
        log.exception("route %s: the message filter %s failed", self._exchange.route or "-", name)
        self._exchange.plugin = name
        words = f"closed by the gateway, {_FAULT.code}: the filter {name} failed"
        self._part(way, _FAULT, _GOING_AWAY, Reason.PLUGIN_FAULT, words, logging.DEBUG)

    def closed(self, way: Way, close: Close) -> None:
        """A Close passed."""
        note_ending(self._exchange, f"closed by the {_side(way)}, {close.code or 'no code'}")

    def left(self, way: Way, error: Exception | None) -> None:
        """The side that `way` comes from says no more, for its connection broke by `error`, or in order."""
        if self._ways is None:
            return
        words = f"the {_side(way)} left without a close"
        if error is not None:
            words = f"the {_side(way)} was lost: {error if isinstance(error, ExchangeError) else type(error).__name__}"
        note_ending(self._exchange, words)

    def _part(
        self, cause: Way, to_client: Close, to_upstream: Close, reason: Reason | None, words: str, level: int
    ) -> None:
        """Ends both ways, by what `words` say."""
        if self._parted or self._ways is None:
            return
        self._parted = True
        exchange = self._exchange
        note_ending(exchange, words)
        log.log(level, "route %s: a WebSocket was %s", exchange.route or "-", words)
        if reason is not None:
            exchange.reason = reason
        from_client, from_upstream = self._ways
        now = anyio.current_time()
        answered = cause is from_client and cause.spoke
        grace = min(_GRACE_SECONDS, self.close_seconds) if answered else 0.0
        from_client.part(to_upstream, now, self.close_seconds)
        from_upstream.part(to_client, now + grace, 0.0)


def _side(way: Way) -> str:
    return "client" if way.of_client else "upstream"


def _kind(message: Message) -> str:
    name = type(message).__name__.lower()
    return f"{name} message" if isinstance(message, (Text, Binary)) else name
