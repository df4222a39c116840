"""A server of the library `websockets` that sends back every message, with compression if the client offers it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

__all__ = ["MODES", "SUBPROTOCOL", "serving"]

MODES: dict[str, list[dict[str, Any]]] = {"bytes": [], "lens": [{"type": "ws_log", "settings": {"fraction": 0.01}}]}
"""Filters of a route to it: with one for messages, every frame is read and written anew."""
SUBPROTOCOL = Subprotocol("echo.test")


@contextmanager
def serving(port: int) -> Iterator[SimpleQueue[str]]:
    """Serves in threads. The text `close CODE REASON` is answered by such a Close, and what follows `tell ` is told here."""
    told: SimpleQueue[str] = SimpleQueue()

    def echo(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):  # whoever ended it, and however
            for message in connection:
                if isinstance(message, str) and message.startswith("close "):
                    _, code, reason = message.split(" ", 2)
                    connection.close(int(code), reason)
                elif isinstance(message, str) and message.startswith("tell "):
                    told.put(message.removeprefix("tell "))
                else:
                    connection.send(message)

    with serve(echo, "127.0.0.1", port, select_subprotocol=_choose) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


def _choose(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return SUBPROTOCOL if SUBPROTOCOL in offered else None
