"""What may be set for SOAP: the matcher and the filter `soap`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from daemun_soap.envelopes.limits import Limits
from daemun_soap.names import Version

__all__ = ["CheckSettings", "MatchSettings", "Operations", "Versions", "versions_of"]

_OPERATION = re.compile(r"(?:\{[^{}\s]*\})?[^\W\d][\w.-]*")

Operations = Annotated[
    tuple[str, ...],
    Meta(
        description="Names of operations, `GetPrice` or `{urn:stock}GetPrice`: the first child of the Body; none: any."
    ),
]
Versions = Annotated[tuple[Literal["1.1", "1.2"], ...], Meta(min_length=1, description="Versions of SOAP.")]


def _check_operations(operations: tuple[str, ...]) -> None:
    for name in operations:
        if not _OPERATION.fullmatch(name):
            raise ValueError(f"operations: {name!r} is no name (accepted: Name, {{namespace}}Name)")


def versions_of(names: tuple[str, ...]) -> frozenset[Version]:
    """The versions that settings name."""
    return frozenset(Version(name) for name in names)


class MatchSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the matcher `soap`."""

    operations: Operations = ()
    versions: Versions = ("1.1", "1.2")
    actions: Annotated[
        tuple[str, ...],
        Meta(description="Values of SOAPAction, the parameter `action` or the WS-Addressing Action; none: any."),
    ] = ()

    def __post_init__(self) -> None:
        _check_operations(self.operations)


class CheckSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `soap`."""

    operations: Operations = ()
    versions: Versions = ("1.1", "1.2")
    soap_action: Annotated[
        Literal["match", "any"],
        Meta(
            description="`match`: the action, if one is said, must be that of the operation, by the WSDL or else by "
            "its name; `any`: whatever it is."
        ),
    ] = "match"
    body_children: Annotated[
        Literal["one", "any"],
        Meta(description="`one`, as WS-I demands; `any`: SOAP's own encoding may put values beside the operation."),
    ] = "one"
    other_content: Annotated[
        Literal["refuse", "pass"],
        Meta(description="What becomes of requests with content of another type: 415, or they pass unseen."),
    ] = "refuse"
    reading: Annotated[
        Literal["refuse", "pass"],
        Meta(
            description="What becomes of GET, HEAD and OPTIONS, by which some back ends run operations: 405, or they "
            "pass unseen. The WSDL is published either way."
        ),
    ] = "refuse"
    limits: Limits = Limits()
    """What an envelope may hold."""
    max_held_bytes: Annotated[
        int,
        Meta(
            ge=64 * 1024,
            description="Bytes of all messages longer than 64 KiB whose envelopes are not complete yet; above it 503, "
            "but for a message that is the only one.",
        ),
    ] = 64 * 1024 * 1024
    wsdl: Annotated[
        str, Meta(description='WSDL 1.1 of the service: a file, relative to the settings, or a URL; "": none.')
    ] = ""
    address: Annotated[
        str,
        Meta(description='URL of the service as clients know it, for the WSDL that is published; "": as it was asked.'),
    ] = ""
    publish: Annotated[
        bool, Meta(description="Whether `GET ?wsdl` is answered with the WSDL, its addresses those of the gateway.")
    ] = True
    validate: Annotated[
        Literal["none", "request", "response", "both"],
        Meta(description="Which messages must be valid by the schemas of the WSDL; they are held in memory for it."),
    ] = "none"

    def __post_init__(self) -> None:
        _check_operations(self.operations)
        if self.validate != "none" and not self.wsdl:
            raise ValueError("validate: there is no wsdl to validate by")
