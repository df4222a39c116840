"""One schema, without small faults that its toolkit did not mind and others do."""

from __future__ import annotations

import re

from lxml import etree

from daemun_soap.names import XSD, qualified

__all__ = ["NAMES", "tidy"]

NAMES = frozenset(("type", "ref", "base", "itemType", "memberTypes", "substitutionGroup", "refer"))
"""Attributes that hold names of components."""

_SCHEMA = qualified(XSD, "schema")
_REDEFINE = qualified(XSD, "redefine")
_ELEMENT = qualified(XSD, "element")
_TYPES = (qualified(XSD, "simpleType"), qualified(XSD, "complexType"))
_TEXTUAL = (qualified(XSD, "documentation"), qualified(XSD, "appinfo"))
_PREFIXED = re.compile(r"((?<![\w.:-])[A-Za-z_][\w.-]*:(?!:)[\w.*-]+)")


def tidy(root: etree._Element) -> etree._Element:
    """The schema with what is at fault left out. It may be changed; the root may be another one."""
    for element in list(root.iter("*")):
        _tidy_element(element)
    return _with_one_meaning(root)


def _tidy_element(element: etree._Element) -> None:
    parent = element.getparent()
    for name in [name for name in element.attrib if _is_stray(str(name))]:
        del element.attrib[name]
    if _is_structure(element):
        element.text = None
    if parent is None:
        return
    if _is_stray(str(element.tag)):
        parent.remove(element)
        return
    unwanted: tuple[str, ...] = ()
    if element.tag == _ELEMENT and parent.tag == _SCHEMA:
        unwanted = ("minOccurs", "maxOccurs", "form", "ref")
    elif element.tag in _TYPES and parent.tag not in (_SCHEMA, _REDEFINE):
        unwanted = ("name",)
    for name in unwanted:
        element.attrib.pop(name, None)
    if _is_structure(parent):
        element.tail = None


def _is_stray(name: str) -> bool:
    """Whether a name has a prefix that is not declared."""
    return ":" in name and not name.startswith("{")


def _is_structure(element: etree._Element) -> bool:
    return str(element.tag).startswith(f"{{{XSD}}}") and element.tag not in _TEXTUAL


def _with_one_meaning(root: etree._Element) -> etree._Element:
    """The same schema, with no prefix that means one namespace here and another one there: xmlschema mixes them up."""
    named = [element for element in root.iter("{*}*") if not NAMES.isdisjoint(element.keys()) or element.get("xpath")]
    meanings: dict[str | None, set[str]] = {}
    for element in named:
        for prefix, namespace in element.nsmap.items():
            meanings.setdefault(prefix, set()).add(namespace)
    if all(len(namespaces) == 1 for namespaces in meanings.values()):
        return root
    prefixes: dict[str, str] = {XSD: "xs"}

    def one(element: etree._Element, name: str) -> str:
        prefix, _, local = name.rpartition(":")
        namespace = element.nsmap.get(prefix or None)
        if prefix == "xml" or namespace is None:
            return name
        return f"{prefixes.setdefault(namespace, f'n{len(prefixes)}')}:{local}"

    for element in named:
        for attribute in NAMES.intersection(map(str, element.keys())):
            element.set(attribute, " ".join(one(element, name) for name in element.get(attribute, "").split()))
        if element.get("xpath"):
            words = _PREFIXED.split(element.get("xpath", ""))
            element.set(
                "xpath", "".join(one(element, word) if position % 2 else word for position, word in enumerate(words))
            )
    renamed = etree.Element(root.tag, nsmap={prefix: namespace for namespace, prefix in prefixes.items()})
    for attribute, value in root.attrib.items():
        renamed.set(attribute, value)
    renamed.extend(list(root))
    return renamed
