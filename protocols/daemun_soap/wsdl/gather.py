"""The schemas of a WSDL, wherever they were written: each as a document of its own, made fit for the others.

Schemas in the wild lean on what their toolkit forgives: imports without a location, or missing; the same namespace in
many places, or the same schema twice. So each schema is copied with the namespace declarations that it inherits; one
document for each namespace includes all that belong to it; and every import names that document.
"""

from __future__ import annotations

import hashlib

from lxml import etree

from daemun_soap.names import WSDL, XSD, qualified
from daemun_soap.wsdl.documents import Documents, parse_document
from daemun_soap.wsdl.gaps import Gaps
from daemun_soap.wsdl.known import XML, known_schema
from daemun_soap.wsdl.repair import COMPONENTS, repair
from daemun_soap.wsdl.schema import HOST, SchemaDocuments, namespace_location
from daemun_soap.wsdl.tidy import NAMES, tidy

__all__ = ["gather_schemas"]

_TOP = HOST + "all.xsd"

_SCHEMA = qualified(XSD, "schema")
_IMPORT = qualified(XSD, "import")
_INCLUDE = qualified(XSD, "include")
_REDEFINE = qualified(XSD, "redefine")
_ANNOTATION = qualified(XSD, "annotation")
_PART = qualified(WSDL, "part")
_REFERRING = (_IMPORT, _INCLUDE, _REDEFINE)


class _Unit:
    """One `xs:schema`, wherever it was written."""

    def __init__(self, name: str, element: etree._Element, targets: list[etree._Element | None]) -> None:
        # serialised on its own, an inline schema keeps the namespaces that are declared around it
        self.root = tidy(parse_document(etree.tostring(element, with_tail=False)))
        self.location = f"{HOST}{name}.xsd"
        self.namespace = self.root.get("targetNamespace", "").strip()
        self.targets = targets
        """What its imports, includes and redefines mean, in their order."""
        self.imported = False
        self.included = False
        self.redefined = False

    @property
    def references(self) -> list[etree._Element]:
        """Its imports, includes and redefines, in order."""
        return list(self.root.iterchildren(*_REFERRING))

    @property
    def digest(self) -> bytes:
        """Equal for schemas that are the same."""
        return hashlib.sha256(etree.tostring(self.root)).digest()

    @property
    def is_guest(self) -> bool:
        """Whether it has no namespace, and is there to be included in others'."""
        return not self.namespace and (self.included or self.redefined) and not self.imported

    @property
    def stands_alone(self) -> bool:
        """Whether it belongs to the whole of its namespace by itself: it does more than import, and is neither
        redefined by another one nor there to be included in other namespaces."""
        if self.redefined or self.is_guest:
            return False
        return any(child.tag not in (_IMPORT, _ANNOTATION) for child in self.root.iterchildren("*"))


def gather_schemas(documents: Documents) -> SchemaDocuments:
    """All schemas of `documents`, made fit for each other. What they name and is nowhere is one of the gaps."""
    units, by_element = _units(documents)
    by_element = _merge_equal(units, by_element)
    for unit in units:
        for reference, target in zip(unit.references, unit.targets, strict=True):
            other = by_element.get(target) if target is not None else None
            if other is None or other is unit:
                continue
            other.imported |= reference.tag == _IMPORT
            other.included |= reference.tag == _INCLUDE
            other.redefined |= reference.tag == _REDEFINE and other.namespace in ("", unit.namespace)
    _add_known(units, _used_by_parts(documents))
    _drop_doubles(units, documents.gaps)
    namespaces = frozenset(unit.namespace for unit in units if unit.stands_alone)
    data: dict[str, bytes] = {}
    repair(
        [(unit.root, unit.namespace) for unit in units if not unit.is_guest],
        [unit.root for unit in units if unit.is_guest],
        documents.gaps,
    )
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
    return SchemaDocuments(_TOP, data, namespaces, documents.gaps)


def _units(documents: Documents) -> tuple[list[_Unit], dict[etree._Element, _Unit]]:
    units: list[_Unit] = []
    by_element: dict[etree._Element, _Unit] = {}
    for document in documents.by_location.values():
        targets = {reference.element: reference.target for reference in document.references}
        for element in list(document.root.iter(_SCHEMA)):
            places = [targets.get(child) for child in element.iterchildren(*_REFERRING)]
            roots = [documents.by_location[place].root if place else None for place in places]
            unit = _Unit(str(len(units)), element, roots)
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


def _add_known(units: list[_Unit], used: set[str]) -> None:
    """Schemas for well-known namespaces that are used, and of which there is none."""
    have = {unit.namespace for unit in units if unit.stands_alone}
    waiting = set(used).union(*map(_used, units)) - have
    while waiting:
        namespace = waiting.pop()
        have.add(namespace)
        data = known_schema(namespace)
        if data is not None:
            root = etree.fromstring(data)
            targets: list[etree._Element | None] = [None for _ in root.iterchildren(*_REFERRING)]
            unit = _Unit(f"known/{len(units)}", root, targets)
            units.append(unit)
            waiting |= _used(unit) - have


def _used(unit: _Unit) -> set[str]:
    """The namespaces that a schema imports, or names without doing so."""
    used = {child.get("namespace", "") for child in unit.root.iterchildren(_IMPORT)}
    for element in unit.root.iter("{*}*"):
        for name in NAMES:
            used |= _prefixes(element, element.get(name, "")) - (set() if name == "ref" else {XSD})
    return used


def _used_by_parts(documents: Documents) -> set[str]:
    used: set[str] = set()
    for document in documents.by_location.values():
        for part in document.root.iter(_PART):
            used |= _prefixes(part, part.get("element", "")) | _prefixes(part, part.get("type", ""))
    return used


def _prefixes(element: etree._Element, names: str) -> set[str]:
    """The namespaces that the prefixes of `names` stand for."""
    used = set()
    for name in names.split():
        prefix = name.rpartition(":")[0]
        used.add(XML if prefix == "xml" else element.nsmap.get(prefix or None, ""))
    return used


def _drop_doubles(units: list[_Unit], gaps: Gaps) -> None:
    """Leaves the first of global components of one name, where several schemas of a namespace have it."""
    seen: dict[tuple[str, str, str], etree._Element] = {}
    for unit in units:
        if not unit.stands_alone:
            continue
        for child in list(unit.root.iterchildren(*COMPONENTS)):
            key = (unit.namespace, COMPONENTS[str(child.tag)], child.get("name", ""))
            first = seen.setdefault(key, child)
            if first is not child:
                if etree.tostring(first, with_tail=False) != etree.tostring(child, with_tail=False):
                    gaps.left_out(f"{key[1]} {qualified(key[0], key[2])} is there twice, the first one is used")
                unit.root.remove(child)


def _refer(unit: _Unit, by_element: dict[etree._Element, _Unit], namespaces: frozenset[str]) -> None:
    """Has every import of a schema name the document of the namespace, and every include its schema."""
    used = _used(unit)
    for reference, target in zip(unit.references, unit.targets, strict=True):
        other = by_element.get(target) if target is not None else None
        if reference.tag == _IMPORT:
            unit.root.remove(reference)
        elif other is None or other is unit:
            if reference.tag == _INCLUDE or len(reference) == 0:
                unit.root.remove(reference)
        elif other.namespace and other.namespace != unit.namespace:
            used.add(other.namespace)
            unit.root.remove(reference)
        else:
            reference.set("schemaLocation", other.location)
    for namespace in sorted(used - {unit.namespace}, reverse=True):
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
        if unit.namespace == namespace and unit.stands_alone:
            etree.SubElement(root, _INCLUDE, schemaLocation=unit.location)
    return etree.tostring(root)
