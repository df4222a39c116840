"""Schemas that name what is nowhere: in its place stands what is never valid (`refusing.py`).

So the rest can be compiled, and messages are checked for all that is known; those that have what nobody knows are
refused. Each name is a gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import xmlschema
from lxml import etree

from daemun_soap.names import XSD, local_name, qualified
from daemun_soap.wsdl.gaps import Gaps
from daemun_soap.wsdl.known import BUILT_IN, XML
from daemun_soap.wsdl.refusing import TYPES, refuse_content, refuse_reference, refuse_type

__all__ = ["COMPONENTS", "repair"]

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

_ATTRIBUTE = qualified(XSD, "attribute")
_ELEMENT = qualified(XSD, "element")
_SCHEMA = qualified(XSD, "schema")
_PATTERN = qualified(XSD, "pattern")
_VOCABULARY = frozenset(
    """
all annotation any anyAttribute appinfo attribute attributeGroup choice complexContent complexType documentation element
enumeration extension field fractionDigits group import include key keyref length list maxExclusive maxInclusive
maxLength minExclusive minInclusive minLength notation pattern redefine restriction schema selector sequence
simpleContent simpleType totalDigits union unique whiteSpace
""".split()  # noqa: SIM905 - words are easier to read
)
_WITHIN = {
    qualified(XSD, tag): frozenset(qualified(XSD, child) for child in children.split(" "))
    for tag, children in {
        "schema": "annotation attribute attributeGroup complexType element group import include notation redefine "
        "simpleType",
        "element": "annotation complexType key keyref simpleType unique",
        "attribute": "annotation simpleType",
    }.items()
}
"""What may stand in some, where anything else would be passed by."""
_REDEFINE = qualified(XSD, "redefine")


def repair(schemas: Iterable[tuple[etree._Element, str]], everywhere: Iterable[etree._Element], gaps: Gaps) -> None:
    """Changes `schemas`, each with its target namespace, so that they name nothing that is not there; `gaps` gets it.

    `everywhere` are those without a namespace that others include: what they have may be in any.
    """
    schemas, everywhere = list(schemas), list(everywhere)
    names = _Names(schemas, everywhere)
    roots = [*(root for root, _ in schemas), *everywhere]
    for root in roots:
        for element in list(root.iter("{*}*")):
            words = _nonsense(element)
            if words:
                gaps.nowhere(words)
                names.lose(root, _replace_nonsense(element))
    again = True
    while again:  # what is made of a type that nothing is valid of is no better
        again = False
        for root in roots:
            for element in list(root.iter("{*}*")):
                for attribute, kind in _references(element):
                    missing = names.missing(root, element, attribute, kind)
                    if missing:
                        if not names.is_lost(missing):
                            gaps.nowhere(f"{kind} {missing} is named and in no schema")
                        name = f"{kind}-{local_name(missing)}"
                        own = (etree.QName(missing).namespace or "") in names.namespaces
                        again |= names.lose(root, _replace(element, attribute, kind, name, own=own))
                        break


class _Names:
    """The components that there are."""

    def __init__(self, schemas: list[tuple[etree._Element, str]], everywhere: list[etree._Element]) -> None:
        self.namespaces = {namespace for _, namespace in schemas}
        self._everywhere = everywhere
        self._known = {
            (COMPONENTS[str(child.tag)], qualified(namespace, child.get("name", "")))
            for root, namespace in schemas
            for child in _components(root)
        }
        self._shared = {
            (COMPONENTS[str(child.tag)], child.get("name", "")) for root in everywhere for child in _components(root)
        }
        self._lost: set[str] = set()

    def missing(self, root: etree._Element, element: etree._Element, attribute: str, kind: str) -> str:
        """The first name in an attribute that is of nothing; "": all are. One that lacks a prefix gets it."""
        words = element.get(attribute, "").split()
        for position, word in enumerate(words):
            name = _meant(element, word)
            local = not name.startswith("{") and root in self._everywhere and name not in self._lost
            if (
                local
                or _built_in(kind, name)
                or (kind, name) in self._known
                or (kind, local_name(name)) in self._shared
            ):
                continue
            own = _own(element, word, root.get("targetNamespace", ""))
            if not own or (kind, _meant(element, own)) not in self._known:
                return name
            words[position] = own
            element.set(attribute, " ".join(words))
        return ""

    def lose(self, root: etree._Element, emptied: etree._Element | None) -> bool:
        """Nothing is valid of the type `emptied` any more. Whether it has a name that others use."""
        name = emptied.get("name", "") if emptied is not None and emptied.getparent() in (root, None) else ""
        if not name or name in self._lost:
            return False
        for one in (name, qualified(root.get("targetNamespace", ""), name)):
            self._known.discard(("type", one))
            self._shared.discard(("type", one))
            self._lost.add(one)
        return True

    def is_lost(self, name: str) -> bool:
        """Whether it was there once."""
        return name in self._lost


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


def _built_in(kind: str, name: str) -> bool:
    if kind == "type" and name.startswith(f"{{{XSD}}}"):
        return local_name(name) in BUILT_IN
    return name.startswith((f"{{{XSD}}}", f"{{{XML}}}"))


def _nonsense(element: etree._Element) -> str:
    """What is wrong with an element that XML Schema does not have, or a pattern that is none; "": nothing."""
    tag = str(element.tag)
    parent = element.getparent()
    if tag.startswith(f"{{{XSD}}}") and local_name(tag) not in _VOCABULARY:
        return f"xs:{local_name(tag)} is nothing of XML Schema"
    if parent is not None and parent.tag in _WITHIN and tag not in _WITHIN[str(parent.tag)]:
        around = f"{local_name(str(parent.tag))} {parent.get('name', '')}".strip()
        return f"{local_name(tag)} stands in {around}, where it means nothing"
    if tag == _PATTERN and not _is_pattern(element.get("value", "")):
        return f"pattern {element.get('value', '')} cannot be used: it is no regular expression of XML Schema"
    return ""


@lru_cache(maxsize=1024)
def _is_pattern(pattern: str) -> bool:
    """Whether one of those who check takes it."""
    schema = etree.Element(_SCHEMA, nsmap={"xs": XSD})
    around = etree.SubElement(schema, qualified(XSD, "simpleType"), name="t")
    restriction = etree.SubElement(around, qualified(XSD, "restriction"), base="xs:string")
    etree.SubElement(restriction, _PATTERN, value=pattern)
    try:
        etree.XMLSchema(schema)
    except etree.XMLSchemaParseError:
        try:
            xmlschema.XMLSchema(etree.tostring(schema, encoding="unicode"))
        except xmlschema.XMLSchemaException:
            return False
    return True


def _replace_nonsense(element: etree._Element) -> etree._Element | None:
    parent = element.getparent()
    if parent is None:
        return None
    if parent.tag == _SCHEMA:
        parent.remove(element)  # and what it was meant to be is nowhere
        return None
    if parent.tag in (_ELEMENT, _ATTRIBUTE):
        parent.remove(element)
        refuse_content(parent, local_name(str(element.tag)))
        return None
    return refuse_type(element, local_name(str(element.tag)))


def _replace(element: etree._Element, attribute: str, kind: str, name: str, *, own: bool) -> etree._Element | None:
    """Has an element accept nothing, where `attribute` of it names a component that is not there. The type that was
    emptied.

    `own`: there are schemas of the namespace that is meant.
    """
    if attribute in ("type", "substitutionGroup"):
        del element.attrib[attribute]
        typed = "type" in element.attrib or next(element.iterchildren(*TYPES), None) is not None
        if attribute == "type" or not typed:
            refuse_content(element, name)
        return None
    if attribute == "ref":
        namespace = "" if own else etree.QName(_meant(element, element.get("ref", ""))).namespace or "##local"
        refuse_reference(element, kind, name, namespace)
        return None
    return refuse_type(element, name)
