"""The operations of a WSDL as JSON: which there are, what each takes and answers, and the envelopes between.

Every body is one element of the schema. Where the WSDL gives only the parts of one (RPC style), a schema is made that
declares it, so that all else need not know of styles.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from lxml import etree
from msgspec import Struct
from xmlschema.validators import XsdElement

from daemun import SettingsError
from daemun_soap.facade.bounds import Bounds, JsonError, Problem
from daemun_soap.facade.codec import JsonCodec
from daemun_soap.facade.shapes import namespace_of
from daemun_soap.names import XSD, Version, local_name, qualified
from daemun_soap.wsdl.model import Message, Operation, Port, Service, Wsdl

__all__ = ["HEADER", "BodyElement", "Facade", "JsonOperation", "JsonService", "envelope"]

log = logging.getLogger("daemun.soap")

HEADER = "#header"
"""The member of a request for header blocks that the operation declares, by their local names."""

_MADE = itertools.count(1)
_ENVELOPE_PREFIX = "soap"


_Place = tuple[str, int, bool]  # service, operation by its place in the port, whether it answers
_Declared = dict[_Place, XsdElement]


class BodyElement(Struct, frozen=True, eq=False):
    """The first child of a Body, and what declares it."""

    tag: str
    element: XsdElement


class JsonOperation(Struct, frozen=True, eq=False):
    """One operation as JSON callers know it."""

    service: str
    name: str
    """Its name in the WSDL; those that share it have `_2` and so on behind it."""
    port: Port
    operation: Operation
    request: BodyElement | None
    """None: its body is empty."""
    response: BodyElement | None
    """None: it answers an empty body, or nothing at all."""

    @property
    def one_way(self) -> bool:
        """It is not answered."""
        return self.operation.response is None


class JsonService(Struct, frozen=True, eq=False):
    """The operations of one port of a service."""

    name: str
    documentation: str
    port: Port
    path: str
    """Path and query of its address."""
    operations: dict[str, JsonOperation]


class Facade:
    """A WSDL as JSON. Its services are those that are asked for, or all."""

    def __init__(self, wsdl: Wsdl, service: str = "", port: str = "", bounds: Bounds | None = None) -> None:
        """Raises `SettingsError` if the WSDL has no such service or port, or no operation that can be taken."""
        self.wsdl = wsdl
        chosen = [(one, _chosen_port(one, port)) for one in _chosen_services(wsdl, service, port)]
        declared = _declare(wsdl, chosen)
        self.codec = JsonCodec(wsdl.schema, bounds)
        self.services = {
            one.name: JsonService(
                one.name, one.documentation, used, _path_of(used.address), dict(self._operations(one, used, declared))
            )
            for one, used in chosen
        }
        if not any(one.operations for one in self.services.values()):
            raise SettingsError(
                f"wsdl {wsdl.location} has no operation that JSON can be made of "
                "(accepted: operations of literal use, with elements and types that its schemas have)"
            )

    @property
    def only(self) -> JsonService | None:
        """The service, if it is the only one."""
        return next(iter(self.services.values())) if len(self.services) == 1 else None

    def find(self, service: str, operation: str) -> JsonOperation | None:
        """The operation of a service; with service "", that of the only one."""
        found = self.services.get(service) if service else self.only
        return None if found is None else found.operations.get(operation)

    def header_elements(self, operation: JsonOperation) -> list[XsdElement]:
        """The header blocks that requests may have, as far as schemas declare them."""
        known = self.wsdl.schema.maps.elements
        return [known[part.element] for part in operation.operation.request.headers if part.element in known]

    def write_request(self, operation: JsonOperation, value: Any, version: Version | None = None) -> bytes:
        """The envelope of a request, in `version` or that of its port. Raises `JsonError`."""
        blocks: list[etree._Element] = []
        declared = {element.local_name: element for element in self.header_elements(operation)}
        if declared and isinstance(value, dict) and HEADER in value:
            blocks = list(self._blocks(declared, value[HEADER]))
            value = {name: member for name, member in value.items() if name != HEADER}
        return envelope(version or operation.port.version, self.write(operation.request, value), blocks)

    def _blocks(self, declared: dict[str, XsdElement], value: Any) -> Iterator[etree._Element]:
        where = f"$.{HEADER}"
        if not isinstance(value, dict):
            raise JsonError((Problem(where, f"is no object (accepted: an object with {', '.join(declared)})"),))
        for name, block in value.items():
            if name not in declared:
                raise JsonError((Problem(f"{where}.{name}", f"is not known (known: {', '.join(declared)})"),))
            with _below(f"{where}.{name}"):
                made = self.codec.encode(declared[name], block)
            yield made

    def read_header(self, operation: JsonOperation, header: etree._Element) -> dict[str, Any]:
        """The JSON of the header blocks that the operation declares. Raises `JsonError` for what is too much."""
        declared = {element.name: element for element in self.header_elements(operation)}
        if not declared:
            return {}
        return {
            declared[str(block.tag)].local_name: self.codec.decode(declared[str(block.tag)], block)
            for block in header.iterchildren(*declared)
        }

    def write(self, body: BodyElement | None, value: Any, *, ignore_unknown: bool = False) -> etree._Element | None:
        """The child of a Body for a JSON value. Raises `JsonError`."""
        if body is None:
            return None
        if not self.is_wrapped(body):
            return self.codec.encode(body.element, value, body.tag, ignore_unknown=ignore_unknown)
        if not isinstance(value, dict) or value.keys() != {"value"}:
            raise JsonError((Problem("$", "is no object with the one member `value`"),))
        with _below("$.value"):
            return self.codec.encode(body.element, value["value"], body.tag, ignore_unknown=ignore_unknown)

    def read(self, body: BodyElement, node: etree._Element) -> Any:
        """The JSON value of the child of a Body. Raises `JsonError` for what is too much."""
        value = self.codec.decode(body.element, node)
        return {"value": value} if self.is_wrapped(body) else value

    def is_wrapped(self, body: BodyElement) -> bool:
        """Whether the value is no object by itself, and so is the member `value` of one."""
        return self.codec.shapes.of(body.element.type).content in ("value", "any")

    def fault_elements(self, operation: JsonOperation) -> list[XsdElement]:
        """The elements that details of its Faults may hold, as far as schemas declare them."""
        known = self.wsdl.schema.maps.elements
        parts = (part for _, part in operation.operation.faults)
        return [known[part.element] for part in parts if part.element in known]

    def _operations(self, service: Service, port: Port, declared: _Declared) -> Iterator[tuple[str, JsonOperation]]:
        names: set[str] = set()
        for number, operation in enumerate(port.operations):
            where = f"wsdl {self.wsdl.location}: operation {service.name}/{operation.name}"
            if operation.encoded:
                log.warning('%s is left out of the JSON: it is use="encoded"', where)
                continue
            try:
                request = self._body(operation.request, declared.get((service.name, number, False)))
                answer = operation.response
                response = None if answer is None else self._body(answer, declared.get((service.name, number, True)))
            except KeyError as error:
                log.warning("%s is left out of the JSON: no schema declares %s", where, error.args[0])
                continue
            name = _unused(names, operation.name)
            names.add(name)
            yield name, JsonOperation(service.name, name, port, operation, request, response)

    def _body(self, message: Message, made: XsdElement | None) -> BodyElement | None:
        if not message.root:
            return None
        element = made if made is not None else self.wsdl.schema.maps.elements.get(message.root)
        if element is None:
            raise KeyError(message.root)
        return BodyElement(message.root, element)


@contextmanager
def _below(path: str) -> Iterator[None]:
    """Tells of problems with a value by its place in a greater one."""
    try:
        yield
    except JsonError as error:
        raise JsonError(tuple(Problem(path + one.path[1:], one.message) for one in error.problems)) from None


def envelope(version: Version, child: etree._Element | None, blocks: Sequence[etree._Element] = ()) -> bytes:
    """The envelope with `child` in its Body and `blocks` in its Header."""
    root = etree.Element(qualified(version.namespace, "Envelope"), nsmap={_ENVELOPE_PREFIX: version.namespace})
    if blocks:
        etree.SubElement(root, qualified(version.namespace, "Header")).extend(blocks)
    body = etree.SubElement(root, qualified(version.namespace, "Body"))
    if child is not None:
        body.append(child)
    return etree.tostring(root, encoding="utf-8", xml_declaration=True)


def _chosen_services(wsdl: Wsdl, service: str, port: str) -> list[Service]:
    found = [
        one
        for one in wsdl.services
        if (not service or one.name == service) and any(not port or used.name == port for used in one.ports)
    ]
    if not found:
        known = ", ".join(f"{one.name}/{used.name}" for one in wsdl.services for used in one.ports) or "none"
        asked = "/".join(word for word in (service, port) if word) or "any"
        raise SettingsError(f"wsdl {wsdl.location} has no service and port {asked!r} that speaks SOAP (known: {known})")
    return found


def _chosen_port(service: Service, port: str) -> Port:
    """The port of this name; without one, the first that speaks SOAP 1.1, which most do, or the first."""
    named = [used for used in service.ports if not port or used.name == port]
    return next((used for used in named if used.version is Version.V1_1), named[0])


def _path_of(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return "/"  # no address; `back_end_path` says which
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _declare(wsdl: Wsdl, chosen: list[tuple[Service, Port]]) -> _Declared:
    """Declarations of all bodies in RPC style."""
    namespace = f"urn:daemun:rpc:{next(_MADE)}"
    prefixes: dict[str, str] = {}
    made: dict[str, _Place] = {}
    schema = etree.Element(qualified(XSD, "schema"), nsmap={"xs": XSD}, targetNamespace=namespace)
    for service, port in chosen:
        for number, operation in enumerate(port.operations):
            if operation.style != "rpc" or operation.encoded:
                continue
            for message, answers in ((operation.request, False), (operation.response, True)):
                if message is not None and _is_known(wsdl, message):
                    name = _unused(made, f"{operation.name}Response" if answers else operation.name)
                    made[name] = (service.name, number, answers)
                    _declare_one(schema, name, message, prefixes)
    if not made:
        return {}
    for used in prefixes:
        schema.insert(0, etree.Element(qualified(XSD, "import"), namespace=used))
    text = _with_prefixes(schema, prefixes)
    wsdl.schema.add_schema(text, build=True)
    return {place: wsdl.schema.maps.elements[qualified(namespace, name)] for name, place in made.items()}


def _is_known(wsdl: Wsdl, message: Message) -> bool:
    """Whether schemas have what the parts of a message are made of."""
    maps = wsdl.schema.maps
    return all(part.element in maps.elements if part.element else part.type in maps.types for part in message.parts)


def _unused(names: Container[str], name: str) -> str:
    number, found = 2, name
    while found in names:
        number, found = number + 1, f"{name}_{number}"
    return found


def _declare_one(schema: etree._Element, name: str, message: Message, prefixes: dict[str, str]) -> None:
    element = etree.SubElement(schema, qualified(XSD, "element"), name=name)
    of_type = etree.SubElement(element, qualified(XSD, "complexType"))
    sequence = etree.SubElement(of_type, qualified(XSD, "sequence"))
    for part in message.parts:
        meant = part.element or part.type
        used = namespace_of(meant)
        prefix = "xs" if used == XSD else prefixes.setdefault(used, f"p{len(prefixes)}") if used else ""
        reference = f"{prefix}:{local_name(meant)}" if prefix else local_name(meant)
        if part.element:
            etree.SubElement(sequence, qualified(XSD, "element"), ref=reference)
        else:
            etree.SubElement(sequence, qualified(XSD, "element"), name=part.name, type=reference)


def _with_prefixes(schema: etree._Element, prefixes: dict[str, str]) -> str:
    nsmap = {"xs": XSD} | {prefix: namespace for namespace, prefix in prefixes.items()}
    named = etree.Element(schema.tag, nsmap=nsmap)
    named.set("targetNamespace", schema.get("targetNamespace", ""))
    named.extend(list(schema))
    return etree.tostring(named, encoding="unicode")
