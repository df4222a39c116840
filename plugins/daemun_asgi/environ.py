"""What an application of WSGI is told of a request (PEP 3333), with content that is read as it is asked for."""

from __future__ import annotations

import io
import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from anyio import from_thread

from daemun_asgi.call import Receive
from daemun_asgi.scope import OWN_KEYS, Scope

__all__ = ["Content", "environ_of"]


def environ_of(scope: Scope, receive: Receive) -> dict[str, Any]:
    """The environment for a call in a worker thread."""
    root_path: str = scope["root_path"]
    path = unquote_to_bytes(scope["raw_path"])[len(unquote_to_bytes(root_path)) :].decode("latin-1")
    host, port = scope["server"] or ("", None)
    client = scope["client"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root_path,
        "PATH_INFO": path,
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": str(port or (443 if scope["scheme"] == "https" else 80)),
        "REMOTE_ADDR": client[0] if client else "",
        "REMOTE_PORT": str(client[1]) if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BufferedReader(Content(receive)),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "asgi.scope": scope,
    }
    for name, value in scope["headers"]:
        if b"_" in name:  # `remote_user` would be `remote-user`, which a filter may have seen to
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    for key, value in scope.items():
        if key not in OWN_KEYS:
            environ.setdefault(f"asgi.{key}", value)
    return environ


class Content(io.RawIOBase):
    """The content of a request, pulled through the event loop; to be read in a worker thread."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer` with what is there or comes next. Raises `OSError` if the client left before the end."""
        while not self._left and not self._ended:
            message: Any = from_thread.run(_next, self._receive)
            if message["type"] != "http.request":
                raise ConnectionResetError("the client left in the middle of its content")
            self._left, self._ended = message["body"], not message["more_body"]
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


async def _next(receive: Receive) -> Any:
    return await receive()
