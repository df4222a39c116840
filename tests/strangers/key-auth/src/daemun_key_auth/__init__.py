"""`key-auth`: who has no API key is not let in, and upstreams are told whose key it was.

Settings, answers and fields are those of Kong's plugin of this name; consumers stand in the settings.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from daemun import (
    Buffered,
    FilterContext,
    FilterType,
    Handler,
    Layer,
    Phase,
    Request,
    Response,
    SettingsError,
    header_values,
    hookimpl,
)

_HASHED = "sha256:"
_ANONYMOUS = b"x-anonymous-consumer"
_CONSUMER = b"x-consumer-username"
_TRUSTED = (_CONSUMER, b"x-consumer-id", b"x-consumer-custom-id", b"x-credential-identifier", _ANONYMOUS)
"""Fields that upstreams trust: those of a client never reach them."""


class KeyAuthSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Of a route."""

    consumers: dict[str, tuple[str, ...]]
    """Keys by consumer, each as it is, or `sha256:` and its hash in hexadecimal digits."""
    key_names: tuple[str, ...] = ("apikey",)
    """Fields and parameters in which a key is looked for."""
    key_in_header: bool = True
    key_in_query: bool = True
    hide_credentials: bool = False
    """Whether the key is taken out of what goes to the upstream."""
    anonymous: str = ""
    """The consumer that stands for who has no valid key; "": nobody does."""
    run_on_preflight: bool = True
    """Whether OPTIONS needs a key."""
    realm: str = "daemun"


class KeyAuth:
    """Finds keys in requests, and consumers by them."""

    def __init__(self, settings: KeyAuthSettings) -> None:
        self._settings = settings
        self._names = tuple(name.lower().encode() for name in settings.key_names)
        self._consumers = {digest: consumer.encode() for consumer, digest in _hashes(settings)}
        self._challenge = (b"www-authenticate", b'Key realm="%b"' % settings.realm.encode())

    def admit(self, request: Request) -> Request | Response:
        """The request as the upstream gets it, or the answer that refuses it."""
        settings = self._settings
        keys = set(self._keys(request))
        headers = tuple(pair for pair in request.headers if pair[0] not in _TRUSTED)
        if len(keys) > 1:
            return self._refusal("Duplicate API key found")
        consumer = self._consumers.get(sha256(keys.pop()).digest()) if keys else None
        if consumer is None and not settings.anonymous:
            return self._refusal("Unauthorized" if any(self._keys(request)) else "No API key found in request")
        if consumer is None:
            named = ((_CONSUMER, settings.anonymous.encode()), (_ANONYMOUS, b"true"))
            return request.with_headers((*headers, *named))
        request = request.with_headers((*headers, (_CONSUMER, consumer)))
        return self._hidden(request) if settings.hide_credentials else request

    def _keys(self, request: Request) -> Iterator[bytes]:
        for name in self._names:
            if self._settings.key_in_header:
                yield from header_values(request.headers, name)
        if self._settings.key_in_query and request.query:
            for part in request.query.split(b"&"):
                name, _, value = part.partition(b"=")
                if unquote_to_bytes(name).lower() in self._names:
                    yield unquote_to_bytes(value.replace(b"+", b" "))

    def _hidden(self, request: Request) -> Request:
        kept = [part for part in request.query.split(b"&") if _name(part) not in self._names]
        target = request.path + (b"?" + b"&".join(kept) if any(kept) else b"")
        headers = tuple(pair for pair in request.headers if pair[0] not in self._names)
        return request.with_target(target).with_headers(headers)

    def _refusal(self, words: str) -> Response:
        content = msgspec.json.encode({"message": words})
        return Response(401, (self._challenge, (b"content-type", b"application/json")), Buffered(content))


def _name(part: bytes) -> bytes:
    return unquote_to_bytes(part.partition(b"=")[0]).lower()


def _hashes(settings: KeyAuthSettings) -> Iterator[tuple[str, bytes]]:
    seen: dict[bytes, str] = {}
    for consumer, keys in settings.consumers.items():
        for key in keys:
            try:
                digest = (
                    bytes.fromhex(key[len(_HASHED) :]) if key.startswith(_HASHED) else sha256(key.encode()).digest()
                )
            except ValueError:
                digest = b""
            if len(digest) != sha256().digest_size:
                raise SettingsError(f"a key of consumer {consumer!r} is no hash (accepted: sha256: and 64 hex digits)")
            if digest in seen:
                raise SettingsError(f"consumers {seen[digest]!r} and {consumer!r} have the same key")
            seen[digest] = consumer
            yield consumer, digest


@asynccontextmanager
async def build(settings: KeyAuthSettings, context: FilterContext) -> AsyncIterator[Layer]:
    auth, preflight = KeyAuth(settings), settings.run_on_preflight

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            if not preflight and request.method == b"OPTIONS":
                return await handler(request)
            admitted = auth.admit(request)
            return admitted if isinstance(admitted, Response) else await handler(admitted)

        return handle

    yield layer


@hookimpl
def daemun_filters() -> Iterable[FilterType]:
    return [FilterType("key-auth", KeyAuthSettings, build, phase=Phase.AUTHN)]
