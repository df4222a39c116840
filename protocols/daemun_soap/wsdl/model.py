"""What a WSDL 1.1 document describes, as far as a gateway needs it: services, ports, operations, messages.

Immutable facts, made once by `read.py`; names are qualified names, `{namespace}local`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from daemun_soap.names import Version

if TYPE_CHECKING:
    from xmlschema import XMLSchema

__all__ = ["Message", "Operation", "Part", "Port", "Service", "Wsdl"]


class Part(Struct, frozen=True):
    """A part of a message: an element of a schema, or (in RPC style) a value of a type."""

    name: str
    element: str = ""
    type: str = ""


class Message(Struct, frozen=True):
    """What one side says, as it stands in the body of an envelope."""

    root: str
    """The first child of the Body: the wrapper in RPC style, the element of the only part in document style; "": an
    empty body."""
    parts: tuple[Part, ...] = ()
    """Parts in the body, in order."""
    headers: tuple[Part, ...] = ()
    """Parts in the header, by `soap:header`."""


class Operation(Struct, frozen=True):
    """One operation of a port."""

    name: str
    style: Literal["document", "rpc"]
    encoded: bool
    """`use="encoded"` on either side: SOAP's own encoding, which schemas cannot check."""
    action: str
    """The SOAPAction that the binding demands; "": none."""
    wsa_action: str
    """The WS-Addressing Action of requests, given or by the default pattern."""
    request: Message
    response: Message | None
    """None: one-way."""
    faults: tuple[tuple[str, Part], ...] = ()
    """The details that its faults may have, by the name of the fault."""
    documentation: str = ""


class Port(Struct, frozen=True):
    """Where and how a service is reached."""

    name: str
    version: Version
    address: str
    """As the document has it: where the back end believes to be."""
    operations: tuple[Operation, ...]


class Service(Struct, frozen=True):
    """A service and its ports that speak SOAP."""

    name: str
    namespace: str
    ports: tuple[Port, ...]
    documentation: str = ""


class Wsdl(Struct, frozen=True, eq=False):
    """A WSDL document with all that it imports."""

    location: str
    """Where it was read, for people."""
    namespace: str
    """Its `targetNamespace`."""
    services: tuple[Service, ...]
    schema: XMLSchema
    """All types of all documents in one schema; its `maps` know every global component."""
    documents: dict[str, bytes]
    """Every document by its location, as it was read; the first one is the WSDL itself."""

    def operation(self, root: str, version: Version | None = None) -> tuple[Port, Operation] | None:
        """The operation whose request begins with `root` (of ports that speak `version`, if given), or None."""
        for service in self.services:
            for port in service.ports:
                if version is not None and port.version is not version:
                    continue
                for operation in port.operations:
                    if operation.request.root == root:
                        return port, operation
        return None
