"""All schemas of a WSDL as one: inline, imported and included ones, each a document of its own that needs no network.

Schemas in the wild lean on what their toolkit forgives: imports without a location, or missing; the same namespace in
many places, or the same schema twice. So each schema is copied with the namespace declarations that it inherits; one
document for each namespace includes all that belong to it; and every import names that document.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import BaseHandler, OpenerDirector, Request
from urllib.response import addinfourl

import xmlschema
from lxml import etree

from daemun import SettingsError
from daemun_soap.names import XSD, local_name, qualified
from daemun_soap.wsdl_documents import Documents
from daemun_soap.wsdl_known import XML, known_schema

__all__ = ["SchemaDocuments", "compiled_schema", "gather_schemas", "typed_schema"]

log = logging.getLogger("daemun.soap")

_HOST = "http://schemas.invalid/"
"""Where the documents are said to be: nothing is ever fetched there."""
_TOP = _HOST + "all.xsd"

_SCHEMA = qualified(XSD, "schema")
_IMPORT = qualified(XSD, "import")
_INCLUDE = qualified(XSD, "include")
_REDEFINE = qualified(XSD, "redefine")
_ANNOTATION = qualified(XSD, "annotation")
_REFERRING = (_IMPORT, _INCLUDE, _REDEFINE)
_NAMES = frozenset(("type", "ref", "base", "itemType", "memberTypes", "substitutionGroup", "refer"))
_KINDS = {
    qualified(XSD, tag): kind
    for tag, kind in {
        "element": "element",
        "attribute": "attribute",
        "simpleType": "type",
        "complexType": "type",
        "group": "group",
        "attributeGroup": "attributeGroup",
        "notation": "notation",
    }.items()
}


class SchemaDocuments(NamedTuple):
    """Schemas that refer to nothing but each other, by their made-up locations."""

    top: str
    """The location of the document that imports all namespaces."""
    by_location: dict[str, bytes]
    namespaces: frozenset[str]

    def with_schemas(self, schemas: dict[str, bytes]) -> SchemaDocuments:
        """The same with more, by their target namespaces; these may import `namespace_location(...)`."""
        places = {namespace: f"{_HOST}more/{number}.xsd" for number, namespace in enumerate(schemas)}
        top = etree.fromstring(self.by_location[self.top])
        for namespace, place in places.items():
            etree.SubElement(top, _IMPORT, namespace=namespace, schemaLocation=place)
        more = {places[namespace]: data for namespace, data in schemas.items()}
        return SchemaDocuments(
            self.top,
            {**self.by_location, **more, self.top: etree.tostring(top)},
            self.namespaces | frozenset(schemas),
        )


class _Unit:
    """One `xs:schema`, wherever it was written."""

    def __init__(self, number: int, element: etree._Element, source: str, targets: list[etree._Element | None]) -> None:
        # serialised on its own, an inline schema keeps the namespaces that are declared around it
        self.root = etree.fromstring(etree.tostring(element, with_tail=False))
        self.location = f"{_HOST}{number}.xsd"
        self.source = source
        self.namespace = self.root.get("targetNamespace", "").strip()
        self.targets = targets
        """What its imports, includes and redefines mean, in their order."""
        self.included = False
        self.redefined = False

    @property
    def references(self) -> list[etree._Element]:
        """Its imports, includes and redefines, in order."""
        return list(self.root.iterchildren(*_REFERRING))

    @property
    def digest(self) -> bytes:
        """Equal for schemas that are the same."""
        return hashlib.sha256(etree.tostring(self.root, method="c14n")).digest()

    @property
    def is_empty(self) -> bool:
        """Whether it only imports."""
        return all(child.tag in (_IMPORT, _ANNOTATION) for child in self.root.iterchildren("*"))


def namespace_location(namespace: str) -> str:
    """Where the document is said to be that has all of `namespace`."""
    return f"{_HOST}ns/{hashlib.sha256(namespace.encode()).hexdigest()[:16]}.xsd"


def gather_schemas(documents: Documents) -> SchemaDocuments:
    """All schemas of `documents`, made fit for each other."""
    units, by_element = _units(documents)
    by_element = _merge_equal(units, by_element)
    for unit in units:
        for reference, target in zip(unit.references, unit.targets, strict=True):
            other = by_element.get(target) if target is not None else None
            if other is None or other is unit or reference.tag == _IMPORT:
                continue
            other.included |= reference.tag == _INCLUDE
            other.redefined |= reference.tag == _REDEFINE and other.namespace in ("", unit.namespace)
    _add_known(units)
    namespaces = frozenset(unit.namespace for unit in units if not unit.is_empty)
    _drop_doubles(units)
    data: dict[str, bytes] = {}
    for unit in units:
        _refer(unit, by_element, namespaces)
        data[unit.location] = etree.tostring(unit.root)
    for namespace in sorted(namespaces):
        data[namespace_location(namespace)] = _whole(namespace, units)
    top = etree.Element(_SCHEMA, nsmap={"xs": XSD})
    for namespace in sorted(namespaces - {""}):
        etree.SubElement(top, _IMPORT, namespace=namespace, schemaLocation=namespace_location(namespace))
    if "" in namespaces:
        etree.SubElement(top, _INCLUDE, schemaLocation=namespace_location(""))
    data[_TOP] = etree.tostring(top)
    return SchemaDocuments(_TOP, data, namespaces)


def _units(documents: Documents) -> tuple[list[_Unit], dict[etree._Element, _Unit]]:
    units: list[_Unit] = []
    by_element: dict[etree._Element, _Unit] = {}
    for document in documents.by_location.values():
        targets = {reference.element: reference.target for reference in document.references}
        for element in list(document.root.iter(_SCHEMA)):
            places = [targets.get(child) for child in element.iterchildren(*_REFERRING)]
            roots = [documents.by_location[place].root if place else None for place in places]
            unit = _Unit(len(units), element, document.location, roots)
            units.append(unit)
            by_element[element] = unit
    return units, by_element


def _merge_equal(units: list[_Unit], by_element: dict[etree._Element, _Unit]) -> dict[etree._Element, _Unit]:
    """Leaves one of those that are the same: a schema that was found in two places."""
    first: dict[tuple[bytes, str], _Unit] = {}
    merged = {}
    for element, unit in by_element.items():
        kept = first.setdefault((unit.digest, unit.namespace), unit)
        merged[element] = kept
        if kept is not unit:
            units.remove(unit)
    return merged


def _add_known(units: list[_Unit]) -> None:
    """Schemas for well-known namespaces that are used, and of which there is none."""
    have = {unit.namespace for unit in units if not unit.is_empty}
    waiting = list(units)
    while waiting:
        unit = waiting.pop()
        for namespace in sorted(_used(unit) - have):
            data = known_schema(namespace)
            if data is not None:
                root = etree.fromstring(data)
                added = _Unit(len(units) + 1000, root, namespace, [None] * len(list(root.iterchildren(*_REFERRING))))
                units.append(added)
                waiting.append(added)
                have.add(namespace)


def _used(unit: _Unit) -> set[str]:
    """The namespaces that a schema imports, or names without doing so."""
    used = {child.get("namespace", "") for child in unit.root.iterchildren(_IMPORT)}
    for element in unit.root.iter("{*}*"):
        for name, value in element.attrib.items():
            if name in _NAMES:
                for word in str(value).split():
                    prefix = word.rpartition(":")[0]
                    namespace = XML if prefix == "xml" else element.nsmap.get(prefix or None)
                    if namespace is not None:
                        used.add(namespace)
    return used


def _drop_doubles(units: list[_Unit]) -> None:
    """Leaves the first of global components of one name, where several schemas of a namespace have it."""
    seen: dict[tuple[str, str, str], _Unit] = {}
    for unit in units:
        if unit.redefined or (not unit.namespace and unit.included):
            continue
        for child in list(unit.root.iterchildren(*_KINDS)):
            key = (unit.namespace, _KINDS[str(child.tag)], child.get("name", ""))
            if seen.setdefault(key, unit) is not unit:
                log.warning("schema of %r: %s %r is there twice, the first one is used", *key)
                unit.root.remove(child)


def _refer(unit: _Unit, by_element: dict[etree._Element, _Unit], namespaces: frozenset[str]) -> None:
    """Has every import of a schema name the document of the namespace, and every include its schema."""
    used = _used(unit)
    for reference, target in zip(unit.references, unit.targets, strict=True):
        other = by_element.get(target) if target is not None else None
        if reference.tag == _IMPORT:
            unit.root.remove(reference)
            if other is not None and other.namespace == unit.namespace:
                log.debug("%s imports its own namespace: taken as an include", unit.source)
        elif other is None or other is unit:
            if reference.tag == _INCLUDE or len(reference) == 0:
                unit.root.remove(reference)
        elif other.namespace and other.namespace != unit.namespace:
            used.add(other.namespace)
            unit.root.remove(reference)
        else:
            reference.set("schemaLocation", other.location)
    for namespace in sorted(used - {unit.namespace, XSD}, reverse=True):
        element = etree.Element(_IMPORT)
        if namespace:
            element.set("namespace", namespace)
        if namespace in namespaces:
            element.set("schemaLocation", namespace_location(namespace))
        elif not namespace:
            continue
        unit.root.insert(0, element)


def _whole(namespace: str, units: list[_Unit]) -> bytes:
    """The document that includes all schemas of a namespace."""
    root = etree.Element(_SCHEMA, nsmap={"xs": XSD})
    if namespace:
        root.set("targetNamespace", namespace)
    for unit in units:
        chameleon = not unit.namespace and (unit.included or unit.redefined)
        if unit.namespace == namespace and not unit.redefined and not unit.is_empty and not chameleon:
            etree.SubElement(root, _INCLUDE, schemaLocation=unit.location)
    return etree.tostring(root)


# --- as xmlschema has it ---


class _Memory(BaseHandler):
    """Opens documents by their made-up locations, and nothing else."""

    def __init__(self, documents: dict[str, bytes]) -> None:
        self._documents = documents

    def default_open(self, request: Request) -> addinfourl:
        data = self._documents.get(request.full_url)
        if data is None:
            raise URLError(f"{request.full_url} is not among the documents of the WSDL")
        return addinfourl(io.BytesIO(data), {}, request.full_url, 200)  # type: ignore[arg-type]


def typed_schema(schemas: SchemaDocuments) -> xmlschema.XMLSchema:
    """All components, with their types. What cannot be resolved is of any type, with a warning."""
    opener = OpenerDirector()
    opener.add_handler(_Memory(_without_xml(schemas.by_location)))
    try:
        schema = xmlschema.XMLSchema(
            schemas.top, validation="lax", opener=opener, use_fallback=False, defuse="never", timeout=1
        )
    except (xmlschema.XMLSchemaException, OSError, RecursionError) as error:
        raise SettingsError(f"the schemas of the wsdl cannot be used: {error}") from error
    errors = schema.maps.all_errors if hasattr(schema.maps, "all_errors") else schema.all_errors
    for error in errors[:_MOST_WARNINGS]:
        log.warning("schemas of the wsdl: %s", _words(error))
    if len(errors) > _MOST_WARNINGS:
        log.warning("schemas of the wsdl: %d more of the kind", len(errors) - _MOST_WARNINGS)
    return schema
