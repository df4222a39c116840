"""Pages of other origins: preflights are answered, and answers may be read, by those that the settings name."""

from __future__ import annotations

from daemun import Handler, Headers, Layer, Request, Response, StashKey, normal_origin

__all__ = ["cors", "granted"]

_GRANTED: StashKey[Headers] = StashKey("cors")
_ALLOW_ORIGIN = b"access-control-allow-origin"
_EXPOSED = (b"grpc-status", b"grpc-message", b"grpc-status-details-bin")
_PREFLIGHT_SECONDS = 7200
_NO_FIELDS: Headers = ()


def granted(request: Request, headers: Headers) -> Headers:
    """`headers` of an answer, with those that let the page read them that was granted it."""
    fields = request.exchange.stash.get(_GRANTED, _NO_FIELDS)
    if not fields:
        return headers
    exposed = dict.fromkeys((*_EXPOSED, *(name for name, _ in headers)))
    kept = (field for field in headers if field[0] != _ALLOW_ORIGIN)
    return (*kept, *fields, (b"access-control-expose-headers", b", ".join(exposed)))


def cors(origins: tuple[str, ...], layer: Layer) -> Layer:
    """`layer`, behind what pages of `origins` ask first. Its answers are to pass `granted`."""
    if not origins:
        return layer
    names = frozenset(normal_origin(origin.encode()) for origin in origins)
    everyone = b"*" in names

    def wrapped(handler: Handler) -> Handler:
        inner = layer(handler)

        async def handle(request: Request) -> Response:
            origin = request.header(b"origin")
            if origin is None:
                return await inner(request)
            fields = ((_ALLOW_ORIGIN, origin), (b"vary", b"origin")) if everyone or origin in names else _NO_FIELDS
            if request.method == b"OPTIONS" and request.header(b"access-control-request-method") is not None:
                return Response(204, (*fields, *_allowed(request))) if fields else Response(403)
            request.exchange.stash[_GRANTED] = fields
            return await inner(request)

        return handle

    return wrapped


def _allowed(request: Request) -> Headers:
    asked = request.header(b"access-control-request-headers")
    allowed = (
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-max-age", b"%d" % _PREFLIGHT_SECONDS),
    )
    return allowed if asked is None else (*allowed, (b"access-control-allow-headers", asked))
