"""Layers that change heads: host and path rewrites, fields set, added and removed."""

from __future__ import annotations

import re
from collections.abc import Callable

from daemun.handler import Handler, Layer
from daemun.headers import Headers
from daemun.message import Request, Response
from daemun.routing.match import path_prefix
from daemun.routing.spec import HeaderEdit, RouteSpec

__all__ = [
    "Editor",
    "authority_of",
    "edit_headers",
    "edit_requests",
    "field_name",
    "field_value",
    "header_editor",
    "path_of",
    "replace_prefix",
    "rewrite_target",
    "rewriter",
]

Editor = Callable[[Headers], Headers]


def header_editor(edit: HeaderEdit) -> Editor | None:
    """A function that applies `edit`, or None if it changes nothing. Raises `ValueError` for a name or value that
    cannot stand in a head."""
    drop = frozenset(field_name(name) for name in (*edit.remove, *edit.set))
    put = tuple((field_name(name), field_value(name, value)) for name, value in (*edit.set.items(), *edit.add.items()))
    if not drop and not put:
        return None
    if not drop:
        return lambda headers: headers + put
    return lambda headers: (*(pair for pair in headers if pair[0] not in drop), *put)


def edit_headers(spec: RouteSpec) -> Layer | None:
    """The layer for a route's `request_headers` and `response_headers`, or None."""
    requests, responses = header_editor(spec.request_headers), header_editor(spec.response_headers)
    if responses is None:
        return None if requests is None else edit_requests(requests)

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            response = await handler(request)
            return response.with_headers(responses(response.headers))

        return handle if requests is None else edit_requests(requests)(handle)

    return layer


def edit_requests(editor: Editor) -> Layer:
    """A layer that passes every request's fields through `editor`."""

    def layer(handler: Handler) -> Handler:
        return lambda request: handler(request.with_headers(editor(request.headers)))

    return layer


def rewriter(spec: RouteSpec) -> Layer | None:
    """The layer for a route's `rewrite_…`, or None. Raises `ValueError` for a rewrite that cannot be."""
    host = authority_of(spec.rewrite_host)
    target = rewrite_target(spec)
    if not host and target is None:
        return None

    def layer(handler: Handler) -> Handler:
        def handle(request: Request) -> object:
            if target is not None:
                request = request.with_target(target(request.target))
            return handler(request.with_authority(host) if host else request)

        return handle  # type: ignore[return-value]

    return layer


def rewrite_target(spec: RouteSpec) -> Callable[[bytes], bytes] | None:
    """What becomes of a target on this route; None: nothing."""
    if spec.rewrite_path:
        path = path_of(spec.rewrite_path)
        return lambda target: path + target[len(target.partition(b"?")[0]) :]
    if spec.rewrite_prefix is None:
        return None
    return replace_prefix(spec, spec.rewrite_prefix)


def replace_prefix(spec: RouteSpec, replacement: str) -> Callable[[bytes], bytes]:
    """A function that puts `replacement` in the place of the prefix that the route matched."""
    prefix = path_prefix(spec.path)
    if prefix is None:
        raise ValueError("a prefix can be replaced where the path is matched by prefix, not by regex")
    size, new = len(prefix), path_of(replacement).rstrip(b"/")

    def replaced(target: bytes) -> bytes:
        rest = target[size:]
        if rest[:1] not in (b"/", b"?", b""):
            rest = b"/" + rest
        path = new + rest
        return path if path[:1] == b"/" else b"/" + path

    return replaced


_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection", b"host", b"upgrade", b"trailer"))
_PATH = re.compile(r"(?:/[!-\"$->@-~]*)?")
_AUTHORITY = re.compile(r"(?:(?:\[[0-9a-f:.]+\]|[!$%&'()*+,;=._~0-9a-z-]+)(?::[0-9]{1,5})?)?")


def field_name(name: str) -> bytes:
    """A field's name as heads carry it. Raises `ValueError` in words, like all below."""
    raw = name.lower().encode()
    if not raw or not _TOKEN.issuperset(raw):
        raise ValueError(f"{name!r} is no field name")
    if raw in _FRAMING:
        raise ValueError(f"field {name!r} belongs to the connection and cannot be edited; use rewrite for the host")
    return raw


def field_value(name: str, value: str) -> bytes:
    """The value of field `name` as heads carry it."""
    raw = value.encode()
    if any((octet < 0x20 and octet != 9) or octet == 0x7F for octet in raw):
        raise ValueError(f"the value of field {name!r} holds a control character")
    return raw


def path_of(value: str) -> bytes:
    """A path as request lines carry it; b"" for ""."""
    if not _PATH.fullmatch(value):
        raise ValueError(f"{value!r} is no path (accepted: / and what follows, no ? or #, other characters as %XX)")
    return value.encode()


def authority_of(value: str) -> bytes:
    """A host with optional port, in lower case; b"" for ""."""
    if not _AUTHORITY.fullmatch(value.lower()):
        raise ValueError(f"{value!r} is no host (accepted: host, host:port, [v6]:port)")
    return value.lower().encode()
