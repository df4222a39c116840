"""One element against a schema, by libxml2 or by xmlschema, and what is wrong in words for people.

Both may be asked by several threads at once. Values are not told beyond their first characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from threading import Lock
from typing import Any, NamedTuple, cast

import xmlschema
from lxml import etree

from daemun_soap.envelopes.hardened import MAX_NAMESPACES, namespaces_around
from daemun_soap.names import local_name

__all__ = ["Compiled", "Typed", "Wrong", "cut"]

_MAX_WORDS = 300
_MAX_VALUE = 40
_MAX_IN_TREE = 2000
"""Elements of a message whose error is looked for a second time, to tell where it is."""
_MAX_SLOW = 5000
"""Elements of a message that xmlschema checks, at some 20 µs each."""

_GAVE_UP = "Internal error"
"""What libxml2 says of a pattern that may be matched in too many ways."""
_SIZE = etree.XPath("count(descendant::*)")
_BEFORE_LONG_TEXT = etree.XPath("descendant::*[following-sibling::node()[1][self::text()][string-length() > 1000]]")
_WITH_LONG_TEXT = etree.XPath("descendant-or-self::*[node()[1][self::text()][string-length() > 1000]]")
_VALUE = re.compile(r"(?:(?<=value )|^)'(.*)'(?= (?:is|has|does) )", re.DOTALL)
_PREFIX = re.compile(r"(?<=')[\w.-]+:(?=[\w.-]+')")
_QUOTED = re.compile(r"'([^']*)'")
_NAMESPACE = re.compile(r"\{[A-Za-z][A-Za-z0-9+.-]*:[^}]*\}")
_SUBJECT = re.compile(r"Element '[^']*'(?:, attribute '(?P<attribute>[^']*)')?: ")
_STEP = re.compile(r"(?:(?P<prefix>[^:\[]+):)?(?P<name>[^\[]+)(?:\[(?P<position>\d+)\])?")


class Wrong(NamedTuple):
    """What is wrong in an element, and where in it."""

    steps: tuple[str, ...]
    words: str


_TOO_HARD = Wrong((), "a value takes too long to check by the pattern of its type")


class Compiled:
    """A schema of libxml2: some microseconds a kilobyte."""

    def __init__(self, schema: etree.XMLSchema) -> None:
        self._schema = schema
        self._lock = Lock()

    def wrong(self, element: etree._Element) -> Wrong | None:
        """The first thing that is wrong in an element, or None."""
        # A parser validates as it goes. In a tree libxml2 would count all elements before an error, for each error.
        # What is parsed here was within limits when it was parsed for the first time.
        parser = etree.XMLParser(
            schema=self._schema, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True
        )
        data, exact = _in_few_pieces(element)
        try:
            etree.fromstring(data, parser)
        except etree.XMLSyntaxError as error:
            if (error.msg or "").startswith(_GAVE_UP):
                return _TOO_HARD
            words = _words(error.msg or "", with_subject=True)
            if cast("float", _SIZE(element)) > _MAX_IN_TREE:
                return Wrong((), words)
            return self._wrong_in_tree(element) or (Wrong((), words) if exact else None)
        return None if exact else self._wrong_in_tree(element)

    def _wrong_in_tree(self, element: etree._Element) -> Wrong | None:
        """The same with its place, where there are few elements or few errors."""
        with self._lock:  # the log is that of the last who asked
            try:
                if self._schema.validate(element):
                    return None
            except etree.XMLSchemaValidateError:
                return _TOO_HARD
            entry = self._schema.error_log[0]
        return Wrong(_steps(element, entry.path or ""), _words(entry.message))


class Typed:
    """A schema of xmlschema: for schemas that libxml2 does not understand, and for messages that are not too long."""

    def __init__(self, schema: xmlschema.XMLSchema) -> None:
        self._schema = schema
        self._lock = Lock()

    def wrong(self, element: etree._Element) -> Wrong | None:
        """The first thing that is wrong in an element, or None."""
        if cast("float", _SIZE(element)) > _MAX_SLOW:
            return Wrong(
                (), f"there are more than {_MAX_SLOW} elements, which is more than the check of this wsdl takes"
            )
        if len(element.nsmap) + namespaces_around(element) > MAX_NAMESPACES:
            return Wrong((), f"there are more than {MAX_NAMESPACES} namespaces around an element")
        prefixes = {prefix or "": namespace for prefix, namespace in element.nsmap.items()}
        try:
            with self._lock:
                error = next(self._schema.iter_errors(cast("Any", element), namespaces=prefixes), None)
        except (xmlschema.XMLSchemaException, RecursionError) as failure:
            return Wrong((), _words(str(failure)))
        if error is None:
            return None
        steps = (local_name(step).rpartition(":")[2] for step in (error.path or "").strip("/").split("/")[1:])
        words = error.reason or error.message
        if any(start in words for value in _values(error.elem) for start in (value[:20], repr(value)[1:20])):
            words = "the value is not of its type"
        return Wrong(tuple(steps), _words(_PREFIX.sub("", words)))


def _in_few_pieces(element: etree._Element) -> tuple[bytes, bool]:
    """An element as bytes, its long texts in CDATA, and whether that is all that differs.

    A parser that validates puts a text together from its pieces, of which every reference is one, and copies all that
    it has for each. What CDATA cannot hold is another character in it, of the same kind.
    """
    texts = [(one, one.text or "") for one in cast("list[etree._Element]", _WITH_LONG_TEXT(element))]
    tails = [(one, one.tail or "") for one in cast("list[etree._Element]", _BEFORE_LONG_TEXT(element))]
    exact = not any("\r" in text or "]]>" in text for _, text in (*texts, *tails))
    for one, text in texts:
        one.text = _cdata(text)
    for one, text in tails:
        one.tail = _cdata(text)
    try:
        return etree.tostring(element, with_tail=False, encoding="utf-8"), exact
    finally:
        for one, text in texts:
            one.text = text
        for one, text in tails:
            one.tail = text


def _cdata(text: str) -> etree.CDATA:
    return etree.CDATA(text.replace("\r", "\n").replace("]]>", "]]<"))


def _steps(root: etree._Element, path: str) -> tuple[str, ...]:
    """The names on the way to what libxml2 calls `/*/*[2]/ns:name`, without the first one."""
    names: list[str] = []
    element = root
    for step in path.strip("/").split("/")[1:]:
        match = _STEP.fullmatch(step)
        if match is None or step.startswith("@"):
            break
        position = int(match["position"] or 1)
        children = [child for child in element if isinstance(child.tag, str)]
        if match["name"] != "*":
            children = [
                child
                for child in children
                if local_name(str(child.tag)) == match["name"] and child.prefix == match["prefix"]
            ]
        if position > len(children):
            break
        element = children[position - 1]
        alike = sum(1 for child in element.itersiblings(str(element.tag), preceding=True))
        more = alike or next(element.itersiblings(str(element.tag)), None) is not None
        names.append(local_name(str(element.tag)) + (f"[{alike + 1}]" if more else ""))
    return tuple(names)


def _words(message: str, *, with_subject: bool = False) -> str:
    """What is wrong, in the words of the library, without what the path says already."""
    subject = _SUBJECT.match(message)
    if subject is not None and not with_subject:
        message = message[subject.end() :]
        if subject["attribute"]:
            message = f"attribute {subject['attribute']}: {message}"
    head, _, rest = message.partition(": ") if with_subject and subject is not None else ("", "", message)
    rest = _QUOTED.sub(lambda match: cut(match[1]), _VALUE.sub(lambda match: cut(match[1]), rest))
    message = " ".join(_NAMESPACE.sub("", f"{head}: {rest}" if head else rest).split()).removesuffix(".")
    return message[:1].lower() + message[1:_MAX_WORDS]


def _values(element: Any) -> Iterator[str]:
    """Values of an element that are too long to be told, with whitespace as types take it."""
    for value in () if element is None else (element.text, *element.attrib.values()):
        if isinstance(value, str) and len(value) > _MAX_VALUE:
            yield from (value, value.strip(), " ".join(value.split()))


def cut(text: str) -> str:
    """A value in quotes, cut if it is long."""
    return f"'{text}'" if len(text) <= _MAX_VALUE else f"'{text[: _MAX_VALUE - 1]}…'"
