"""What stands in a schema in the place of what nobody knows: it may have any content, and nothing is valid.

Its names say why: `type-Order-is-in-no-schema` is an attribute that must be there, and has no values.
"""

from __future__ import annotations

import re

from lxml import etree

from daemun_soap.names import XSD, qualified

__all__ = ["TYPES", "refuse_content", "refuse_reference", "refuse_type"]

_SIMPLE = qualified(XSD, "simpleType")
_COMPLEX = qualified(XSD, "complexType")
TYPES = (_SIMPLE, _COMPLEX)

_ALL = qualified(XSD, "all")
_ANNOTATION = qualified(XSD, "annotation")
_ANY = qualified(XSD, "any")
_ANY_ATTRIBUTE = qualified(XSD, "anyAttribute")
_ATTRIBUTE = qualified(XSD, "attribute")
_ELEMENT = qualified(XSD, "element")
_SEQUENCE = qualified(XSD, "sequence")


def refuse_content(element: etree._Element, unknown: str) -> None:
    """Gives an element, or an attribute, a type of its own of which nothing is valid, for what is `unknown`."""
    for child in list(element.iterchildren(*TYPES)):
        element.remove(child)
    for value in ("default", "fixed"):
        element.attrib.pop(value, None)
    holder = etree.Element(_SIMPLE if element.tag == _ATTRIBUTE else _COMPLEX)
    element.insert(1 if len(element) and element[0].tag == _ANNOTATION else 0, holder)
    _fill(holder, unknown)


def refuse_type(element: etree._Element, unknown: str) -> etree._Element | None:
    """Empties the type around an element, so that nothing is valid of it; the type, if there is one."""
    around = next(element.iterancestors(*TYPES), None)
    if around is None:
        return None
    for child in list(around):
        if child.tag != _ANNOTATION:
            around.remove(child)
    _fill(around, unknown)
    return around


def refuse_reference(element: etree._Element, kind: str, unknown: str, namespace: str) -> None:
    """Replaces a reference to a component of a `kind` by what is never valid.

    `namespace` is that of an element if no schema is of it, else "".
    """
    parent = element.getparent()
    if parent is None:
        return
    if kind == "attributeGroup" or (kind == "attribute" and element.get("use") == "required"):
        parent.replace(element, _add_attribute(parent, unknown))
    elif kind == "attribute":
        parent.remove(element)  # and so it may not be there
    elif namespace and parent.tag != _ALL:
        # nothing is known in it, which `strict` demands
        made = etree.Element(_ANY, processContents="strict", namespace=namespace)
        _put(parent, element, made)
    elif kind == "group":
        made = etree.Element(_SEQUENCE)
        _put(parent, element, made)
        _fill(etree.SubElement(etree.SubElement(made, _ELEMENT, name=_named(unknown)), _COMPLEX), unknown)
    else:
        made = etree.Element(_ELEMENT, name=_named(unknown))
        _put(parent, element, made)
        _fill(etree.SubElement(made, _COMPLEX), unknown)


def _put(parent: etree._Element, element: etree._Element, made: etree._Element) -> None:
    for bound in ("minOccurs", "maxOccurs"):
        made.set(bound, element.get(bound, "1"))
    parent.replace(element, made)


def _fill(holder: etree._Element, unknown: str) -> None:
    """Makes a type one without values: simple, where names have letters; or complex, with any content."""
    if holder.tag == _SIMPLE:
        prefix = next((prefix for prefix, namespace in holder.nsmap.items() if namespace == XSD), None)
        base = f"{prefix}:NCName" if prefix else "NCName"
        restriction = etree.SubElement(holder, qualified(XSD, "restriction"), base=base)
        etree.SubElement(restriction, qualified(XSD, "maxLength"), value="0")
        return
    holder.set("mixed", "true")
    content = etree.SubElement(holder, _SEQUENCE)
    etree.SubElement(content, _ANY, processContents="lax", minOccurs="0", maxOccurs="unbounded")
    _add_attribute(holder, unknown)
    etree.SubElement(holder, _ANY_ATTRIBUTE, processContents="lax")


def _add_attribute(around: etree._Element, unknown: str) -> etree._Element:
    made = etree.SubElement(around, _ATTRIBUTE, name=_named(unknown), use="required")
    _fill(etree.SubElement(made, _SIMPLE), unknown)
    return made


def _named(unknown: str) -> str:
    return re.sub(r"[^\w.-]", "_", f"{unknown}-is-in-no-schema")
