"""The document: what a person writes in a file of routes, as structs. README.md says it in prose."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from daemun import FilterSpec, HeaderEdit, MatcherSpec, Retries

__all__ = [
    "BackendDocument",
    "Document",
    "EndpointDocument",
    "GrpcDocument",
    "MatchDocument",
    "Name",
    "Port",
    "RedirectDocument",
    "RespondDocument",
    "RewriteDocument",
    "RouteDocument",
    "Seconds",
    "SplitDocument",
    "ValueDocument",
    "Weight",
    "document_schema",
    "inlined_schema",
]

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/@-]*$",
        max_length=200,
        description="Letters, digits and _ . : / @ -, shown in logs, metrics and `daemun routes`.",
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
Weight = Annotated[int, Meta(ge=0, le=1_000_000)]


class ValueDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """How a header's or a query parameter's value is compared: exactly one key. Plain text means `exact`."""

    exact: str | None = None
    prefix: str | None = None
    regex: Annotated[str, Meta(description="Must match the whole value; Python's re syntax.")] | None = None
    present: Annotated[bool, Meta(description="false: the request must not have it.")] | None = None


class GrpcDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """Calls of gRPC: of a method, of a service, or all."""

    service: (
        Annotated[
            str,
            Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$(?!\n)", description="Its full name, such as helloworld.Greeter."),
        ]
        | None
    ) = None
    method: (
        Annotated[
            str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)", description="One method of the service; none: all.")
        ]
        | None
    ) = None


class MatchDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """What a request must be like: at most one kind of path, and all conditions."""

    path: Annotated[str, Meta(description="The whole path, exactly.")] | None = None
    prefix: Annotated[str, Meta(description="/a takes /a and /a/b, not /ab.")] | None = None
    raw_prefix: Annotated[str, Meta(description="/a takes /a, /a/b and /ab.")] | None = None
    regex: Annotated[str, Meta(description="Must match the whole path; Python's re syntax.")] | None = None
    grpc: Annotated[GrpcDocument, Meta(description="Calls of gRPC instead of a path.")] | None = None
    methods: tuple[str, ...] = ()
    headers: dict[str, str | ValueDocument] = {}
    query: dict[str, str | ValueDocument] = {}
    matchers: Annotated[
        tuple[MatcherSpec, ...],
        Meta(description="Conditions on the content, by kinds that plugins bring; asked last, in this order."),
    ] = ()


class SplitDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """A share of the traffic: weights are relative to their sum."""

    backend: str
    weight: Weight = 1
    request_headers: HeaderEdit = HeaderEdit()


class RedirectDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the client is sent; what is left out stays as it was."""

    scheme: Literal["http", "https"] | None = None
    host: str | None = None
    port: Port | None = None
    path: str | None = None
    prefix: Annotated[str, Meta(description="Replaces the matched prefix.")] | None = None
    status: Literal[301, 302, 303, 307, 308] = 302
    strip_query: bool = False


class RespondDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """A fixed response. A body without a content-type is text/plain in UTF-8."""

    status: Annotated[int, Meta(ge=200, le=599)] = 200
    body: str = ""
    headers: dict[str, str] = {}


class RewriteDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """What the back end is asked for instead."""

    host: str | None = None
    path: Annotated[str, Meta(description="Replaces the path; the query stays.")] | None = None
    prefix: Annotated[str, Meta(description="Replaces the matched prefix.")] | None = None


class RouteDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """One route: exactly one of `to`, `split`, `redirect` and `respond`."""

    name: Name
    hosts: Annotated[
        tuple[str, ...], Meta(description="host, *.host (one label), **.host (any depth), *; none: any host.")
    ] = ()
    listeners: Annotated[tuple[str, ...], Meta(description="Names of listeners; none: all.")] = ()
    match: MatchDocument = MatchDocument()
    to: Annotated[str, Meta(description="Name of a back end.")] | None = None
    split: Annotated[tuple[SplitDocument, ...], Meta(min_length=1)] | None = None
    redirect: RedirectDocument | None = None
    respond: RespondDocument | None = None
    rewrite: RewriteDocument = RewriteDocument()
    request_headers: HeaderEdit = HeaderEdit()
    response_headers: HeaderEdit = HeaderEdit()
    timeout_seconds: Annotated[Seconds, Meta(description="For the whole exchange; 0: none.")] = 0.0
    retries: Retries | None = None
    filters: tuple[FilterSpec, ...] = ()
    priority: Annotated[int, Meta(ge=-1_000_000, le=1_000_000, description="Higher wins over all else.")] = 0


class EndpointDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """An address of a back end with more than its URL."""

    url: Annotated[str, Meta(description="http://…, https://…, h2c://… or unix:/path")]
    weight: Annotated[int, Meta(ge=0, le=1000)] = 1
    capacity: Annotated[int, Meta(ge=0, description="Exchanges it takes at once; 0: no limit.")] = 0
    server_name: Annotated[str, Meta(description="For SNI and the certificate; default: the URL's host.")] = ""
    protocol: Annotated[str, Meta(description="Name of a wire protocol; default: the URL's scheme tells.")] = ""


class BackendDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that answers: addresses, an activator that starts them, or a back end of another type."""

    type: str = "endpoints"
    endpoints: tuple[str | EndpointDocument, ...] = ()
    balancer: Annotated[
        str | dict[str, Any], Meta(description="A name, or {type: name} with the balancer's own settings.")
    ] = ""
    activator: Annotated[str, Meta(description="What starts an endpoint when there is none.")] = ""
    activation: Annotated[dict[str, Any], Meta(description="Settings of the activator.")] = {}
    settings: Annotated[dict[str, Any], Meta(description="Settings of the type.")] = {}
    asgi: (
        Annotated[str, Meta(description="An application of ASGI, as module:attribute: `type: asgi` in short.")] | None
    ) = None
    wsgi: (
        Annotated[str, Meta(description="An application of WSGI, as module:attribute: `type: wsgi` in short.")] | None
    ) = None


class Document(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of routes and back ends. Objects are decoded one by one, so that a bad one hurts no other."""

    schema: Annotated[str, msgspec.Meta(description="Ignored; for editors.")] = msgspec.field(
        default="", name="$schema"
    )
    backends: dict[Name, BackendDocument] = {}
    routes: tuple[RouteDocument, ...] = ()


def document_schema() -> dict[str, Any]:
    """The JSON schema of a file of routes, for editors and `daemun schema`."""
    return msgspec.json.schema(Document)


def inlined_schema(key: str) -> dict[str, Any]:
    """The schema of one key of the document, without references: for settings that hold a document."""
    definitions = document_schema()["$defs"]

    def inlined(schema: Any) -> Any:
        if isinstance(schema, list):
            return [inlined(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            schema = {**schema, **definitions[schema["$ref"].rpartition("/")[2]]}
            del schema["$ref"]
        return {name: inlined(value) for name, value in schema.items()}

    schema: dict[str, Any] = inlined(definitions["Document"]["properties"][key])
    return schema
