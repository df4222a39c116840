"""What may be set for the filters between SOAP and JSON."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["JsonToSoapSettings", "SoapToJsonSettings"]

_TEMPLATE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/[!-~]*)")
_Wsdl = Annotated[
    str,
    Meta(min_length=1, description="The WSDL: a file, relative to the settings file, or an http or https URL."),
]
_Service = Annotated[str, Meta(description="The service of the WSDL; none: all that it has.")]
_Port = Annotated[str, Meta(description="The port of the service; none: its first for SOAP 1.1, or its first.")]
_MaxRequest = Annotated[int, Meta(ge=1, le=1 << 30, description="Longest request, which is held in memory.")]
_MaxResponse = Annotated[int, Meta(ge=1, le=1 << 30, description="Longest answer, which is held in memory.")]
_Depth = Annotated[int, Meta(ge=1, le=128, description="How many elements may be within each other.")]
_RequestNodes = Annotated[int, Meta(ge=1, description="How many elements and attributes a request may have.")]
_ResponseNodes = Annotated[int, Meta(ge=1, description="How many elements and attributes an answer may have.")]


class JsonToSoapSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `json-to-soap`."""

    wsdl: _Wsdl
    service: _Service = ""
    port: _Port = ""
    path: Annotated[
        str,
        Meta(pattern="^/", description="Where the JSON begins on the outside; what is not below passes as it is."),
    ] = "/"
    back_end_path: Annotated[
        str, Meta(pattern="^(/.*)?$", description="Path of the back end; none: that of the port's address.")
    ] = ""
    openapi: Annotated[bool, Meta(description="Answer `GET {path}/openapi.json`.")] = True
    max_request_bytes: _MaxRequest = 1024 * 1024
    max_response_bytes: _MaxResponse = 4 * 1024 * 1024
    max_depth: _Depth = 64
    max_request_nodes: _RequestNodes = 20_000
    max_response_nodes: _ResponseNodes = 200_000


class SoapToJsonSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `soap-to-json`."""

    wsdl: _Wsdl
    service: _Service = ""
    port: _Port = ""
    path: Annotated[str, Meta(pattern="^/", description="Where the back end's operations begin.")] = "/"
    paths: Annotated[
        dict[str, str],
        Meta(
            description="Other methods and paths by operation, such as `GET /orders/{id}`: members that it names go "
            "into the path, and for GET and DELETE all others into the query."
        ),
    ] = {}
    understood: Annotated[
        tuple[str, ...],
        Meta(
            description="Header blocks that may say `mustUnderstand`, for something else sees to them: "
            "`{namespace}name`, `{namespace}*`."
        ),
    ] = ()
    max_request_bytes: _MaxRequest = 1024 * 1024
    max_response_bytes: _MaxResponse = 4 * 1024 * 1024
    max_depth: _Depth = 64
    max_request_nodes: _RequestNodes = 20_000
    max_response_nodes: _ResponseNodes = 200_000

    def __post_init__(self) -> None:
        for operation, template in self.paths.items():
            if not _TEMPLATE.fullmatch(template):
                raise ValueError(
                    f"paths: {operation}: {template!r} is no method and path (accepted: GET /orders/{{id}})"
                )
