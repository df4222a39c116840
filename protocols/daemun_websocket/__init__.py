"""WebSocket (RFC 6455, RFC 8441): openings that are checked, bytes that pass, and a lens for who wants messages.

opening.py    the opening handshake
dialect.py    `websocket`: its part in every exchange that switches to it
tunnel.py     bytes that pass, and what is said between them; frames.py where a frame ends
rules.py      the filter `websocket`; settings.py what may be set for it
"""

from __future__ import annotations

from collections.abc import Iterable

from daemun import Dialect, FilterType, hookimpl
from daemun_websocket.dialect import WEBSOCKET
from daemun_websocket.rules import RULES_FILTER

__all__ = ["daemun_dialects", "daemun_filters"]


@hookimpl
def daemun_dialects() -> Iterable[Dialect]:
    return [WEBSOCKET]


@hookimpl
def daemun_filters() -> Iterable[FilterType]:
    return [RULES_FILTER]
