"""From what a person wrote to what the core runs: pure functions that raise `ObjectError` with a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from daemun import (
    BackendSpec,
    EndpointSpec,
    Forward,
    HostKind,
    HostMatch,
    PathKind,
    PathMatch,
    Redirect,
    Respond,
    Retries,
    RouteSpec,
    Split,
    ValueKind,
    ValueMatch,
)
from daemun_file.document import (
    BackendDocument,
    EndpointDocument,
    GrpcDocument,
    MatchDocument,
    RedirectDocument,
    RespondDocument,
    RewriteDocument,
    RouteDocument,
    SplitDocument,
)
from daemun_file.explain import ObjectError
from daemun_file.fields import (
    at,
    field_name,
    header_edit,
    methods,
    plain_path,
    regex,
    response_field,
    value_matches,
)
from daemun_file.places import endpoint_of, host_match, host_name
from daemun_file.precedence import per_host_class

__all__ = ["backend_of", "routes_of"]


_APPLICATIONS = ("asgi", "wsgi")
"""Keys of a back end that are its type, with the application as their value."""
_ACTIONS = ("to", "split", "redirect", "respond")
_PATH_KINDS = {
    "path": PathKind.EXACT,
    "prefix": PathKind.SEGMENT_PREFIX,
    "raw_prefix": PathKind.RAW_PREFIX,
    "regex": PathKind.REGEX,
}
_GRPC_BRIDGES = frozenset(("grpc-web", "connect"))
"""Filters whose requests are calls of gRPC without looking like them."""
_GRPC_CONTENT = ValueMatch("content-type", ValueKind.REGEX, "application/grpc([+;].*)?")
"""Not that of gRPC-Web, which begins alike."""


def routes_of(document: RouteDocument, origin: str) -> tuple[RouteSpec, ...]:
    """The routes that stand for `document`: one for each class of its hosts."""
    path = _path(document.match)
    action = _action(document, path)
    rewrite = document.rewrite
    if isinstance(action, Redirect | Respond):
        words = "belongs to a request that is sent on; this route answers by itself"
        if rewrite != RewriteDocument():
            raise ObjectError(("rewrite",), words)
        if document.retries is not None:
            raise ObjectError(("retries",), words)
    if rewrite.path is not None and rewrite.prefix is not None:
        raise ObjectError(("rewrite",), "has path and prefix; accepted: one of them")
    calls = document.match.grpc is not None and not any(one.type in _GRPC_BRIDGES for one in document.filters)
    headers = value_matches(document.match.headers, ("match", "headers"), field_name)
    spec = RouteSpec(
        name=document.name,
        action=action,
        hosts=tuple(_hosts(document.hosts)) or (HostMatch(HostKind.ANY),),
        path=path,
        methods=("POST",) if calls else methods(document.match.methods, "match", "methods"),
        headers=(_GRPC_CONTENT, *headers) if calls else headers,
        query=value_matches(document.match.query, ("match", "query"), str),
        matchers=document.match.matchers,
        listeners=document.listeners,
        priority=document.priority,
        rewrite_host=_maybe(rewrite.host, _authority, "rewrite", "host") or "",
        rewrite_path=_maybe(rewrite.path, plain_path, "rewrite", "path") or "",
        rewrite_prefix=_prefix(rewrite.prefix, path, "rewrite"),
        request_headers=header_edit(document.request_headers, "request_headers"),
        response_headers=header_edit(document.response_headers, "response_headers"),
        timeout_seconds=document.timeout_seconds,
        filters=document.filters,
        origin=origin,
    )
    return per_host_class(spec)


def _hosts(hosts: tuple[str, ...]) -> Iterator[HostMatch]:
    for index, host in enumerate(hosts):
        with at("hosts", index):
            yield host_match(host)


def _path(match: MatchDocument) -> PathMatch:
    kinds = (*_PATH_KINDS, "grpc")
    found = {name: value for name in kinds if (value := getattr(match, name)) is not None}
    if len(found) > 1:
        raise ObjectError(("match",), f"has {' and '.join(found)}; accepted: one of {', '.join(kinds)}")
    if match.grpc is not None:
        if match.methods:
            raise ObjectError(("match", "methods"), "calls of gRPC are POST; accepted: no methods beside 'grpc'")
        return _grpc_path(match.grpc)
    for name, value in found.items():
        with at("match", name):
            return PathMatch(_PATH_KINDS[name], regex(value) if name == "regex" else plain_path(value))
    return PathMatch()


def _grpc_path(calls: GrpcDocument) -> PathMatch:
    if calls.service is None:
        if calls.method is not None:
            raise ObjectError(("match", "grpc", "method"), "there is no 'service' that has it")
        return PathMatch()
    if calls.method is None:
        return PathMatch(PathKind.SEGMENT_PREFIX, f"/{calls.service}")
    return PathMatch(PathKind.EXACT, f"/{calls.service}/{calls.method}")


def _action(document: RouteDocument, path: PathMatch) -> Forward | Redirect | Respond:
    found = [name for name in _ACTIONS if getattr(document, name) is not None]
    if len(found) != 1:
        has = f"has {' and '.join(found)}" if found else "does nothing"
        raise ObjectError((), f"the route {has}; accepted: exactly one of {', '.join(_ACTIONS)}")
    if document.redirect is not None:
        return _redirect(document.redirect, path)
    if document.respond is not None:
        return _respond(document.respond)
    retries = document.retries or Retries()
    for index, status in enumerate(retries.on_status):
        if not 100 <= status <= 599:
            raise ObjectError(("retries", "on_status", index), f"{status} is no status; accepted: 100 to 599")
    if document.to is not None:
        return Forward((Split(document.to),), retries)
    splits = document.split or ()
    if not any(split.weight for split in splits):
        raise ObjectError(("split",), "every weight is 0; accepted: at least one above 0")
    return Forward(tuple(_split(split, index) for index, split in enumerate(splits)), retries)


def _split(split: SplitDocument, index: int) -> Split:
    edit = header_edit(split.request_headers, "split", index, "request_headers")
    return Split(split.backend, split.weight, edit)


def _redirect(to: RedirectDocument, path: PathMatch) -> Redirect:
    if to.path is not None and to.prefix is not None:
        raise ObjectError(("redirect",), "has path and prefix; accepted: one of them")
    if all(part is None for part in (to.scheme, to.host, to.port, to.path, to.prefix)):
        raise ObjectError(("redirect",), "leads to the same place; accepted: scheme, host, port, path or prefix")
    return Redirect(
        scheme=to.scheme or "",
        host=_maybe(to.host, host_name, "redirect", "host") or "",
        port=to.port or 0,
        path=_maybe(to.path, plain_path, "redirect", "path") or "",
        prefix=_prefix(to.prefix, path, "redirect") or "",
        status=to.status,
        strip_query=to.strip_query,
    )


def _respond(document: RespondDocument) -> Respond:
    if document.body and document.status in (204, 205, 304):
        raise ObjectError(("respond", "body"), f"a response {document.status} has no body")
    for name, value in document.headers.items():
        with at("respond", "headers", name):
            response_field(name, value)
    return Respond(document.status, document.body.encode(), tuple(document.headers.items()))


def _prefix(value: str | None, path: PathMatch, where: str) -> str | None:
    if value is None:
        return None
    if path.kind not in (PathKind.SEGMENT_PREFIX, PathKind.RAW_PREFIX):
        raise ObjectError((where, "prefix"), "there is no prefix to replace; match by 'prefix' or 'raw_prefix'")
    with at(where, "prefix"):
        return plain_path(value)


def _authority(value: str) -> str:
    """A host with an optional port, as an authority. Raises `ValueError` in words."""
    host, colon, port = value.rpartition(":")
    if not colon or value.endswith("]"):
        return host_name(value)
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
        raise ValueError(f"{value!r} is no host with a port; accepted: host, host:port")
    return f"{host_name(host)}:{port}"


def _maybe(value: str | None, check: Callable[[str], str], *where: str | int) -> str | None:
    if value is None:
        return None
    with at(*where):
        return check(value)


def backend_of(name: str, document: BackendDocument, origin: str) -> BackendSpec:
    """The back end that stands for `document`."""
    settings: dict[str, Any] = document.settings
    for kind in _APPLICATIONS:
        app = getattr(document, kind)
        if app is not None:
            return _application(name, kind, app, document, origin)
    if document.type != "endpoints":
        for key in ("endpoints", "balancer", "activator", "activation"):
            if getattr(document, key):
                raise ObjectError((key,), f"a back end of type {document.type!r} has none; it takes 'settings'")
        return BackendSpec(name, document.type, settings, origin=origin)
    if document.activation and not document.activator:
        raise ObjectError(("activation",), "there is no 'activator' that takes it")
    if not document.endpoints and not document.activator:
        raise ObjectError(
            (), "nothing answers here; accepted: endpoints, activator, asgi, wsgi, or a type other than 'endpoints'"
        )
    if document.balancer:
        if "balancer" in settings:
            raise ObjectError(("settings", "balancer"), "is there twice; accepted: 'balancer' of the back end")
        settings = {**settings, "balancer": document.balancer}
    return BackendSpec(
        name,
        settings=settings,
        endpoints=tuple(_endpoints(document.endpoints)),
        activator=document.activator,
        activation=document.activation,
        origin=origin,
    )


def _application(name: str, kind: str, app: str, document: BackendDocument, origin: str) -> BackendSpec:
    """A back end in the short form: `asgi: module:attribute`."""
    accepted = f"accepted beside {kind!r}: 'settings'"
    if document.type != "endpoints":
        raise ObjectError(("type",), f"{kind!r} is the type already; {accepted}")
    for key in ("endpoints", "balancer", "activator", "activation", *_APPLICATIONS):
        if key != kind and getattr(document, key):
            raise ObjectError((key,), f"an application of {kind!r} answers by itself and has none; {accepted}")
    if "app" in document.settings:
        raise ObjectError(("settings", "app"), f"is there twice; accepted: {kind!r} of the back end")
    return BackendSpec(name, kind, {"app": app, **document.settings}, origin=origin)


def _endpoints(endpoints: tuple[str | EndpointDocument, ...]) -> Iterator[EndpointSpec]:
    for index, endpoint in enumerate(endpoints):
        with at("endpoints", index):
            if isinstance(endpoint, str):
                yield endpoint_of(endpoint)
                continue
            spec = endpoint_of(endpoint.url)
            yield replace(
                spec,
                protocol=endpoint.protocol or spec.protocol,
                server_name=endpoint.server_name,
                weight=endpoint.weight,
                capacity=endpoint.capacity,
            )
