"""From documents to facts: services, ports and operations of a WSDL 1.1, as far as they speak SOAP over HTTP.

What is odd is read as its author's toolkit would: names without prefix, messages without parts, operations of one name.
What cannot be read is passed by, and one of the gaps; only a WSDL without any usable port is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import anyio.to_thread
import xmlschema
from lxml import etree

from daemun import SettingsError
from daemun_soap.names import WSDL, Version, local_name, qualified
from daemun_soap.wsdl.documents import Documents, load_documents
from daemun_soap.wsdl.gaps import Validates
from daemun_soap.wsdl.gather import gather_schemas
from daemun_soap.wsdl.model import Message, Operation, Part, Port, Service, Wsdl
from daemun_soap.wsdl.schema import typed_schema

__all__ = ["HTTP_TRANSPORTS", "SOAP_BINDINGS", "describe", "read_wsdl"]

SOAP_BINDINGS = {
    "http://schemas.xmlsoap.org/wsdl/soap/": Version.V1_1,
    "http://schemas.xmlsoap.org/wsdl/soap12/": Version.V1_2,
}
"""The versions of SOAP, by the namespace of their bindings."""

HTTP_TRANSPORTS = (
    "",
    "http://schemas.xmlsoap.org/soap/http",
    "http://schemas.xmlsoap.org/soap/http/",
    "http://schemas.xmlsoap.org/soap12/http",
    "http://www.w3.org/2003/05/soap/bindings/HTTP/",
    "http://www.w3.org/2003/05/soap/bindings/HTTP",
)
"""What a binding may name as its transport, for HTTP."""

_MIME_CONTENT = "{http://schemas.xmlsoap.org/wsdl/mime/}content"
_ACTIONS = (
    "{http://www.w3.org/2007/05/addressing/metadata}Action",
    "{http://www.w3.org/2006/05/addressing/wsdl}Action",
    "{http://www.w3.org/2005/08/addressing}Action",
    "{http://schemas.xmlsoap.org/ws/2004/08/addressing}Action",
)
_SERVICE = qualified(WSDL, "service")
_PORT = qualified(WSDL, "port")
_BINDING = qualified(WSDL, "binding")
_PORT_TYPE = qualified(WSDL, "portType")
_MESSAGE = qualified(WSDL, "message")
_OPERATION = qualified(WSDL, "operation")
_INPUT = qualified(WSDL, "input")
_OUTPUT = qualified(WSDL, "output")
_FAULT = qualified(WSDL, "fault")
_PART = qualified(WSDL, "part")
_DOCUMENTATION = qualified(WSDL, "documentation")
_Table = dict[str, etree._Element]


class _Unreadable(Exception):
    """Something that a port or an operation needs, and that is not there."""


class _Headed(NamedTuple):
    """What `soap:header` of one side say."""

    parts: tuple[Part, ...]
    own: frozenset[str]
    """Names of those that are parts of the side's own message."""


async def read_wsdl(location: str, base_dir: Path, *, validates: Validates = Validates.NOBODY) -> Wsdl:
    """What the WSDL at `location` describes: a file, relative to `base_dir`, or an http(s) URL.

    Raises `SettingsError` for documents that cannot be read, that hold no port that speaks SOAP over HTTP, or whose
    gaps matter to who `validates` messages by it.
    """
    documents = await load_documents(location, base_dir)

    def read() -> Wsdl:
        found = describe(documents, typed_schema(gather_schemas(documents)))
        documents.gaps.settle(validates)
        return found

    return await anyio.to_thread.run_sync(read)


def describe(documents: Documents, schema: xmlschema.XMLSchema) -> Wsdl:
    """What documents describe. Raises `SettingsError` if there is no port that speaks SOAP over HTTP."""
    reader = _Reader(documents, schema)
    services = tuple(service for service in map(reader.service, reader.services) if service.ports)
    if not services:
        raise SettingsError(
            f"wsdl {documents.gaps.location} has no port that can be used "
            "(accepted: SOAP 1.1 or 1.2 over HTTP, with at least one operation)"
        )
    return Wsdl(
        location=documents.gaps.location,
        namespace=documents.main.root.get("targetNamespace", ""),
        services=services,
        schema=schema,
        documents={location: document.data for location, document in documents.by_location.items()},
    )


class _Reader:
    """Looks up what parts of a WSDL refer to, in all its documents."""

    def __init__(self, documents: Documents, schema: xmlschema.XMLSchema) -> None:
        self._gaps = documents.gaps
        self._schema = schema
        self._messages: _Table = {}
        self._port_types: _Table = {}
        self._bindings: _Table = {}
        self.services: list[etree._Element] = []
        tables = {_MESSAGE: self._messages, _PORT_TYPE: self._port_types, _BINDING: self._bindings}
        for document in documents.by_location.values():
            if document.is_schema:
                continue
            for element in document.root.iterchildren(*tables):
                name = qualified(_namespace(element), element.get("name", ""))
                tables[str(element.tag)].setdefault(name, element)
            self.services += document.root.iterchildren(_SERVICE)

    def service(self, element: etree._Element) -> Service:
        """A service, with those of its ports that can be used."""
        name = element.get("name", "")
        ports = [port for child in element.iterchildren(_PORT) if (port := self._port(name, child)) is not None]
        return Service(name, _namespace(element), tuple(ports), _documentation(element))

    def _port(self, service: str, element: etree._Element) -> Port | None:
        name = element.get("name", "")
        try:
            binding = self._find(self._bindings, element, "binding")
            extension = _extension(binding, "binding")
            if extension is None:
                return None
            transport = extension.get("transport", "")
            if transport not in HTTP_TRANSPORTS:
                raise _Unreadable(f"its transport is {transport} (accepted: HTTP)")
            operations = tuple(self._operations(name, binding, extension))
            if not operations:
                raise _Unreadable("it has no operation")
        except _Unreadable as error:
            self._gaps.left_out(f"port {name} of {service} is left out: {error}")
            return None
        version = SOAP_BINDINGS[etree.QName(extension).namespace or ""]
        addresses = (child.get("location", "").strip() for child in element if local_name(str(child.tag)) == "address")
        return Port(name, version, next(addresses, ""), operations)

    def _operations(self, port: str, binding: etree._Element, extension: etree._Element) -> Iterator[Operation]:
        port_type = self._find(self._port_types, binding, "type")
        bound = list(binding.iterchildren(_OPERATION))
        for position, element in enumerate(bound):
            name = element.get("name", "")
            earlier = sum(1 for other in bound[:position] if other.get("name", "") == name)
            try:
                abstract = _abstract(port_type, element, name, earlier)
                if abstract is not None:
                    yield self._operation(port_type, element, abstract, extension.get("style", "document"))
            except _Unreadable as error:
                self._gaps.left_out(f"operation {name} of port {port} is left out: {error}")

    def _operation(
        self, port_type: etree._Element, bound: etree._Element, abstract: etree._Element, default_style: str
    ) -> Operation:
        name = bound.get("name", "")
        extension = _extension(bound, "operation")
        action = extension.get("soapAction", "").strip() if extension is not None else ""
        style: Literal["document", "rpc"] = "document"
        if (default_style if extension is None else extension.get("style", default_style)) == "rpc":
            style = "rpc"
        asked, answered = abstract.find(_INPUT), abstract.find(_OUTPUT)
        assert asked is not None
        bodies = [body for side in (_INPUT, _OUTPUT) for body in _soap_of(bound.find(side), "body")]
        return Operation(
            name=name,
            style=style,
            encoded=any(body.get("use") == "encoded" for body in bodies),
            action=action,
            wsa_action=_explicit_action(asked) or action or _default_action(port_type, asked, name, answered is None),
            request=self._message(asked, bound.find(_INPUT), style, name),
            response=None
            if answered is None
            else self._message(answered, bound.find(_OUTPUT), style, name + "Response"),
            faults=tuple(self._faults(abstract)),
            documentation=_documentation(abstract),
        )

    def _message(
        self, abstract: etree._Element, bound: etree._Element | None, style: Literal["document", "rpc"], wrapper: str
    ) -> Message:
        message = self._find(self._messages, abstract, "message") if abstract.get("message") else None
        parts = [] if message is None else [self._part(part) for part in message.iterchildren(_PART)]
        headed = self._headers(bound, message)
        body = next(_soap_of(bound, "body"), None)
        named = None if body is None else body.get("parts")
        if named is not None:
            parts = [part for part in parts if part.name in named.split()]
        else:
            attached = {child.get("part", "") for child in bound.iter(_MIME_CONTENT)} if bound is not None else set()
            parts = [part for part in parts if part.name not in attached and part.name not in headed.own]
        if style == "rpc":
            root = qualified("" if body is None else body.get("namespace", ""), wrapper)
        else:
            root = (parts[0].element or parts[0].name) if parts else ""
        return Message(root, tuple(parts), headed.parts)

    def _headers(self, bound: etree._Element | None, own: etree._Element | None) -> _Headed:
        parts: list[Part] = []
        names = set()
        for header in _soap_of(bound, "header"):
            try:
                message = self._find(self._messages, header, "message")
            except _Unreadable as error:
                self._gaps.left_out(f"a soap:header is left out: {error}")
                continue
            name = header.get("part", "")
            meant = [part for part in message.iterchildren(_PART) if part.get("name", "") == name]
            if not meant:
                self._gaps.left_out(f"a soap:header is left out: message {message.get('name')!r} has no part {name!r}")
            parts += map(self._part, meant)
            if meant and message is own:
                names.add(name)
        return _Headed(tuple(parts), frozenset(names))

    def _faults(self, abstract: etree._Element) -> Iterator[tuple[str, Part]]:
        for fault in abstract.iterchildren(_FAULT):
            try:
                message = self._find(self._messages, fault, "message")
            except _Unreadable as error:
                self._gaps.left_out(f"a fault of {abstract.get('name')} is left out: {error}")
                continue
            for part in list(message.iterchildren(_PART))[:1]:
                yield fault.get("name", ""), self._part(part)

    def _part(self, part: etree._Element) -> Part:
        return Part(
            part.get("name", ""),
            self._component(self._schema.maps.elements, part, "element"),
            self._component(self._schema.maps.types, part, "type"),
        )

    def _component(self, known: Any, element: etree._Element, attribute: str) -> str:
        """The name of a component of the schema: without prefix it may be meant to be in the target namespace."""
        value = element.get(attribute, "").strip()
        if not value:
            return ""
        names = _meanings(element, value)
        return next((name for name in names if name in known), names[0])

    def _find(self, table: _Table, element: etree._Element, attribute: str) -> etree._Element:
        """What an attribute names. Raises `_Unreadable`."""
        value = element.get(attribute, "").strip()
        for name in _meanings(element, value):
            if name in table:
                return table[name]
        alike = [found for name, found in table.items() if local_name(name) == value.rpartition(":")[2]]
        if len(alike) == 1:
            return alike[0]
        kind = local_name(str(element.tag))
        raise _Unreadable(f"the {attribute} {value!r} of {kind} {element.get('name', '')!r} is not there")


def _abstract(port_type: etree._Element, bound: etree._Element, name: str, earlier: int) -> etree._Element | None:
    """The operation of the port type that a bound one means, or None if it begins on the other side.

    Of several with one name it is the one whose input and output are named alike, else the one in the same place.
    """
    alike = [child for child in port_type.iterchildren(_OPERATION) if child.get("name", "") == name]
    if not alike:
        raise _Unreadable(f"port type {port_type.get('name', '')!r} does not have it")
    if len(alike) > 1:
        wanted = [(side, child.get("name")) for side in (_INPUT, _OUTPUT) if (child := bound.find(side)) is not None]
        exact = [
            child
            for child in alike
            if any(name is not None for _, name in wanted)
            and all(
                name is None or ((own := child.find(side)) is not None and own.get("name") == name)
                for side, name in wanted
            )
        ]
        alike = exact or alike
    chosen = alike[min(earlier, len(alike) - 1)]
    first = next(chosen.iterchildren(_INPUT, _OUTPUT), None)
    return None if first is None or first.tag == _OUTPUT else chosen


def _extension(element: etree._Element, name: str) -> etree._Element | None:
    """The child by which SOAP extends an element."""
    return next(element.iterchildren(*(qualified(namespace, name) for namespace in SOAP_BINDINGS)), None)


def _soap_of(side: etree._Element | None, name: str) -> Iterator[etree._Element]:
    """What SOAP says about one side of a bound operation, also within MIME parts."""
    if side is not None:
        yield from side.iter(*(qualified(namespace, name) for namespace in SOAP_BINDINGS))


def _explicit_action(abstract: etree._Element) -> str:
    return next((action.strip() for name in _ACTIONS if (action := abstract.get(name))), "")


def _default_action(port_type: etree._Element, asked: etree._Element, operation: str, one_way: bool) -> str:
    """The Action of WS-Addressing where a WSDL gives none (WS-Addressing 1.0, Metadata §4.4.4)."""
    namespace = _namespace(port_type)
    delimiter = ":" if namespace.lower().startswith("urn:") else "/"
    message = asked.get("name") or (operation if one_way else operation + "Request")
    return delimiter.join((namespace.removesuffix(delimiter), port_type.get("name", ""), message))


def _namespace(element: etree._Element) -> str:
    """The `targetNamespace` of the WSDL that an element is part of."""
    return next(
        (around.get("targetNamespace", "") for around in element.iterancestors(qualified(WSDL, "definitions"))), ""
    )


def _meanings(element: etree._Element, value: str) -> tuple[str, ...]:
    """What a QName means, and what it may have been meant to."""
    prefix, _, name = value.rpartition(":")
    namespace = _namespace(element)
    own = qualified(namespace, name)
    if prefix:
        return qualified(element.nsmap.get(prefix, namespace), name), own
    return qualified(element.nsmap.get(None, ""), name), own, name


def _documentation(element: etree._Element) -> str:
    found = element.find(_DOCUMENTATION)
    return "" if found is None else " ".join("".join(found.itertext()).split())
