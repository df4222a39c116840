"""What a middleware changed of a request, told by what it was told of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from daemun import Request, normal_authority, normal_target
from daemun_asgi.fields import request_fields
from daemun_asgi.scope import OWN_KEYS, PASSED, Scope

__all__ = ["Told"]


class Told:
    """What a middleware is told of one request."""

    __slots__ = ("_headers", "_method", "_path", "_query", "_raw_path")

    def __init__(self, sees: Scope) -> None:
        self._path: str = sees["path"]
        self._raw_path: bytes = sees["raw_path"]
        self._query: bytes = sees["query_string"]
        self._method: str | None = sees.get("method")
        self._headers: list[tuple[bytes, bytes]] = list(sees["headers"])

    def changes(self, request: Request, scope: Scope) -> dict[str, Any]:
        """The fields of `request` that are others in `scope`; what else is in that is kept for who comes later.

        Raises `TypeError` or `ValueError` for what cannot stand in a head.
        """
        changes: dict[str, Any] = {}
        if scope["headers"] != self._headers:
            host, changes["headers"] = request_fields(scope["headers"])
            if host and host != request.authority:
                changes["authority"] = normal_authority(host)
        raw_path, query = self._raw_path, scope["query_string"]
        if scope["path"] != self._path:
            raw_path = quote(scope["path"], safe="/!$&'()*+,;=:@~").encode()
        elif scope.get("raw_path") not in (None, raw_path):
            raw_path = scope["raw_path"]
        if raw_path is not self._raw_path or query != self._query:
            changes["target"] = normal_target(raw_path + b"?" + query if query else raw_path)
        if self._method is not None and scope["method"] != self._method:
            changes["method"] = scope["method"].encode("ascii")
        extra = {key: value for key, value in scope.items() if key not in OWN_KEYS}
        if extra:
            PASSED.set(extra)
        return changes
