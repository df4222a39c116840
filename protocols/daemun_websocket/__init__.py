"""WebSocket (RFC 6455, RFC 8441): openings that are checked, bytes that pass, and a lens for who wants messages.

opening.py         the opening handshake; dialect.py `websocket`, its part in every exchange that switches to it
tunnel.py          bytes that pass, and what is said between them; frames.py where a frame ends
rules.py           the filter `websocket`; settings.py what may be set for it
messages.py        text, binary, ping, pong, close
message_filter.py  what a plugin derives from to filter them; kinds.py a filter type of it, and `websocket-messages`
looking.py         how filters come to look; agreement.py what either side agrees on about compression
lens.py            bytes become messages and bytes again; way.py in one direction, framing.py within bounds,
                   deflate.py compressed (RFC 7692)
ending.py          how it ended, in words, for `ws_log`
log.py             `ws_log`, limit.py `ws_limit`; lens_settings.py what may be set for filters that look at messages
"""

from __future__ import annotations

from collections.abc import Iterable

from daemun import Dialect, FilterType, hookimpl
from daemun_websocket.dialect import WEBSOCKET
from daemun_websocket.kinds import MESSAGES_FILTER, message_filter
from daemun_websocket.limit import LIMIT_FILTER
from daemun_websocket.log import LOG_FILTER
from daemun_websocket.message_filter import MessageFilter, OpenFilter
from daemun_websocket.messages import Binary, Close, CloseWebSocket, Message, Ping, Pong, Text
from daemun_websocket.opening import accept_key
from daemun_websocket.rules import RULES_FILTER

__all__ = [
    "Binary",
    "Close",
    "CloseWebSocket",
    "Message",
    "MessageFilter",
    "OpenFilter",
    "Ping",
    "Pong",
    "Text",
    "accept_key",
    "daemun_dialects",
    "daemun_filters",
    "message_filter",
]


@hookimpl
def daemun_dialects() -> Iterable[Dialect]:
    return [WEBSOCKET]


@hookimpl
def daemun_filters() -> Iterable[FilterType]:
    return [RULES_FILTER, MESSAGES_FILTER, LOG_FILTER, LIMIT_FILTER]
