"""Schemas that name what is nowhere: whatever it was meant to be, anything is accepted in its place.

Imports that cannot be read leave such names behind. Without them libxml2 can compile the rest, and messages are still
checked for all that is known.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from lxml import etree

from daemun_soap.names import XSD, local_name, qualified
from daemun_soap.wsdl.known import XML

__all__ = ["COMPONENTS", "repair"]

log = logging.getLogger("daemun.soap")

_MAX_WARNINGS = 10

COMPONENTS = {
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
"""What stands at the top of a schema, and the name space that its names are in."""

_ALL = qualified(XSD, "all")
_SIMPLE = qualified(XSD, "simpleType")
_COMPLEX = qualified(XSD, "complexType")
_ANY_ATTRIBUTE = qualified(XSD, "anyAttribute")
_ANNOTATION = qualified(XSD, "annotation")
_REDEFINE = qualified(XSD, "redefine")


def repair(schemas: Iterable[tuple[etree._Element, str]], everywhere: Iterable[etree._Element]) -> None:
    """Changes `schemas`, each with its target namespace, so that they name nothing that is not there.

    `everywhere` are those without a namespace that others include: what they have may be in any.
    """
    schemas, everywhere = list(schemas), list(everywhere)
    known = {
        (kind, qualified(namespace, child.get("name", "")))
        for root, namespace in schemas
        for child in _components(root)
        if (kind := COMPONENTS[str(child.tag)])
    }
    shared = {(COMPONENTS[str(child.tag)], child.get("name", "")) for root in everywhere for child in _components(root)}
    missing: dict[str, None] = {}
    for root in (*(root for root, _ in schemas), *everywhere):
        for element in list(root.iter("{*}*")):
            for attribute, kind in _references(element):
                words = element.get(attribute, "").split()
                for position, word in enumerate(words):
                    name = _meant(element, word)
                    local = not name.startswith("{") and root in everywhere
                    if _built_in(name) or local or (kind, name) in known or (kind, local_name(name)) in shared:
                        continue
                    own = _own(element, word, root.get("targetNamespace", ""))
                    if own and (kind, _meant(element, own)) in known:
                        words[position] = own
                        element.set(attribute, " ".join(words))
                        continue
                    missing[f"{kind} {name}"] = None
                    _replace(element, attribute)
                    break
    for name in list(missing)[:_MAX_WARNINGS]:
        log.warning("schemas of the wsdl: %s is nowhere, anything is accepted in its place", name)
    if len(missing) > _MAX_WARNINGS:
        log.warning("schemas of the wsdl: %d more of the kind", len(missing) - _MAX_WARNINGS)


def _components(root: etree._Element) -> Iterable[etree._Element]:
    yield from root.iterchildren(*COMPONENTS)
    for redefined in root.iterchildren(_REDEFINE):
        yield from redefined.iterchildren(*COMPONENTS)


def _references(element: etree._Element) -> Iterable[tuple[str, str]]:
    """The attributes of an element that name a component, with the kind of it."""
    kind = COMPONENTS.get(str(element.tag), "type")
    if "ref" in element.attrib:
        yield "ref", kind
    for attribute in ("type", "base", "itemType", "memberTypes"):
        if attribute in element.attrib:
            yield attribute, "type"
    if "substitutionGroup" in element.attrib:
        yield "substitutionGroup", "element"


def _meant(element: etree._Element, name: str) -> str:
    prefix, _, local = name.rpartition(":")
    return qualified(XML if prefix == "xml" else element.nsmap.get(prefix or None, ""), local)


def _own(element: etree._Element, name: str, namespace: str) -> str:
    """A name without a prefix, as one of the target namespace; "": it has a prefix, or there is none for that."""
    if ":" in name or not namespace:
        return ""
    return next((f"{prefix}:{name}" for prefix, space in element.nsmap.items() if prefix and space == namespace), "")


def _built_in(name: str) -> bool:
    return name.startswith((f"{{{XSD}}}", f"{{{XML}}}"))


def _replace(element: etree._Element, attribute: str) -> None:
    """Has an element accept anything, where `attribute` of it names what is not there."""
    if attribute in ("type", "substitutionGroup"):
        del element.attrib[attribute]
    elif attribute == "ref":
        _replace_reference(element)
    else:
        _replace_derivation(element)


def _replace_reference(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is None:
        return
    kind = COMPONENTS[str(element.tag)]
    if kind in ("attribute", "attributeGroup"):
        parent.remove(element)
        if parent.find(_ANY_ATTRIBUTE) is None:
            etree.SubElement(parent, _ANY_ATTRIBUTE, processContents="lax")
    elif parent.tag == _ALL:
        parent.remove(element)
    else:
        if kind == "element":
            namespace = etree.QName(_meant(element, element.get("ref", ""))).namespace or "##local"
            anything = etree.Element(qualified(XSD, "any"), processContents="lax", namespace=namespace)
        else:
            anything = etree.Element(qualified(XSD, "sequence"))
            _add_anything(anything)
        for name in ("minOccurs", "maxOccurs"):
            anything.set(name, element.get(name, "1"))
        parent.replace(element, anything)


def _replace_derivation(element: etree._Element) -> None:
    """A type that derives from one that is not there."""
    around = next(element.iterancestors(_SIMPLE, _COMPLEX), None)
    if around is None:
        return
    for child in list(around):
        if child.tag != _ANNOTATION:
            around.remove(child)
    if around.tag == _SIMPLE:
        prefix = next((prefix for prefix, namespace in around.nsmap.items() if namespace == XSD), None)
        name = f"{prefix}:string" if prefix else "string"
        etree.SubElement(around, qualified(XSD, "restriction"), base=name)
    else:
        around.set("mixed", "true")
        _add_anything(etree.SubElement(around, qualified(XSD, "sequence")))
        etree.SubElement(around, _ANY_ATTRIBUTE, processContents="lax")


def _add_anything(sequence: etree._Element) -> None:
    etree.SubElement(sequence, qualified(XSD, "any"), processContents="lax", minOccurs="0", maxOccurs="unbounded")
