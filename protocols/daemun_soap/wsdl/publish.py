"""A WSDL and its documents as the gateway publishes them: `?wsdl`, `?wsdl=N`, `?xsd=N`, each address an outside one.

The documents are rewritten once, with marks in the place of addresses; a request costs the replacing of the marks.
Every port of the WSDL gets the URL that the request came to, or the one that is set: that is where the route listens,
whatever paths the ports have inside. Names, comments and documentation stay; addresses in them are rewritten too.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from lxml import etree

from daemun import EMPTY, Buffered, NoContent, Request, Response, SettingsError, http_date
from daemun_soap.names import WSDL, XSD, XSI, Version, local_name, qualified
from daemun_soap.wsdl.documents import Document, Documents, parse_document, place_of, referring
from daemun_soap.wsdl.known import known_schema
from daemun_soap.wsdl.model import Wsdl
from daemun_soap.wsdl.read import SOAP_BINDINGS

__all__ = ["Publisher"]

_MAX_CACHED_BYTES = 16 * 1024 * 1024

_URL = "daemun-outside-url"
_ORIGIN = "daemun-outside-origin"
_AUTHORITY = "daemun-outside-authority"
_SAID = "-in-comment"
"""What follows a mark in a comment, where other characters are allowed."""

_MARK = re.compile(f"({_URL}|{_ORIGIN}|{_AUTHORITY})({_SAID})?".encode())

_HTTP = ("http", "https")
_OVER_HTTP = re.compile(r"\s*(?:https?:|(?![A-Za-z][A-Za-z0-9+.-]*:))", re.IGNORECASE)
_PORT = qualified(WSDL, "port")
_IMPORT = qualified(XSD, "import")
_SCHEMA_LOCATION = qualified(XSI, "schemaLocation")
_KEPT = frozenset(
    """
    namespace targetNamespace soapAction Action encodingStyle transport value default fixed source name type ref base
    element message binding part parts use style itemType memberTypes substitutionGroup refer xpath arrayType Dialect
    ContentType contentType expectedContentTypes processContents
    """.split()  # noqa: SIM905
)
"""Attributes that hold names or content, and no addresses."""
_AUTHORITY_FORM = re.compile(rb"[A-Za-z0-9._~-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_CONTENT_TYPE = (b"content-type", b"text/xml; charset=utf-8")


class _Outside(NamedTuple):
    """Where clients reach the service."""

    scheme: str
    authority: str
    path: str


class _Rendered(NamedTuple):
    """A document for one outside address."""

    data: bytes
    tag: bytes


class Publisher:
    """Answers requests for the documents of a WSDL."""

    def __init__(self, documents: Documents, wsdl: Wsdl, address: str = "") -> None:
        """Raises `SettingsError` if `address`, the URL to publish whatever the request says, is none."""
        self._fixed = _parsed(address) if address else None
        self._names = _names(documents)
        inside = _Inside(documents)
        usable = {port.name: port.version for service in wsdl.services for port in service.ports}
        self._documents = {
            self._names[document.location]: _marked(document, self._names, inside, usable)
            for document in documents.by_location.values()
        }
        self._cache: OrderedDict[tuple[_Outside, str], _Rendered] = OrderedDict()
        self._cached_bytes = 0

    def published(self, request: Request) -> Response | None:
        """The document that a request asks for, 404 if there is none of its number; None if it asks for none."""
        if request.method not in (b"GET", b"HEAD") or not request.query:
            return None
        name = _asked(request.query)
        if name is None:
            return None
        if name not in self._documents:
            return Response(404, (_plain(), (b"date", http_date())), Buffered(b"the wsdl has no such document\n"))
        rendered = self._render(self._fixed or _seen(request), name)
        headers = (_CONTENT_TYPE, (b"etag", rendered.tag), (b"date", http_date()))
        if _matches(request.header(b"if-none-match"), rendered.tag):
            return Response(304, headers[1:], EMPTY)
        if request.method == b"HEAD":
            return Response(200, headers, NoContent(len(rendered.data)))
        return Response(200, headers, Buffered(rendered.data))

    def _render(self, outside: _Outside, name: str) -> _Rendered:
        key = (outside, name)
        rendered = self._cache.get(key)
        if rendered is not None:
            self._cache.move_to_end(key)
            return rendered
        origin = f"{outside.scheme}://{outside.authority}"
        said = {_URL: origin + outside.path, _ORIGIN: origin, _AUTHORITY: outside.authority}

        def written(mark: re.Match[bytes]) -> bytes:
            text = said[mark[1].decode()]
            return (_in_comment(text) if mark[2] else escape(text, {'"': "&quot;"})).encode()

        data = _MARK.sub(written, self._documents[name])
        rendered = _Rendered(data, b'"%b"' % sha256(data).hexdigest()[:32].encode())
        if len(data) <= _MAX_CACHED_BYTES:
            self._cache[key] = rendered
            self._cached_bytes += len(data)
            while self._cached_bytes > _MAX_CACHED_BYTES:
                self._cached_bytes -= len(self._cache.popitem(last=False)[1].data)
        return rendered


# --- requests ---


def _asked(query: bytes) -> str | None:
    """The document that a query asks for: `wsdl`, `wsdl=1`, `xsd=1`."""
    key, _, value = query.partition(b"&")[0].partition(b"=")
    kind = key.lower()
    if kind in (b"wsdl", b"singlewsdl") and not value:
        return "wsdl"
    if kind in (b"wsdl", b"xsd") and value.isdigit() and len(value) < 5:
        return f"{kind.decode()}={int(value)}"
    return None


def _seen(request: Request) -> _Outside:
    """Where the client believes to be. The fields are the gateway's own, or those of proxies that it trusts."""
    peer = request.exchange.peer
    scheme = _last(request.header(b"x-forwarded-proto")).lower().decode("latin-1")
    authority = _last(request.header(b"x-forwarded-host"))
    if not _AUTHORITY_FORM.fullmatch(authority):
        authority = request.authority or peer.local.encode()
    return _Outside(
        scheme if scheme in _HTTP else peer.scheme, authority.decode("latin-1"), request.path.decode("latin-1")
    )


def _in_comment(text: str) -> str:
    if "--" in text or text[-1:] == "-":
        text = text.replace("-", "%2D")
    return text.replace(">", "%3E")


def _last(value: bytes | None) -> bytes:
    return (value or b"").rpartition(b",")[2].strip()


def _parsed(address: str) -> _Outside:
    parts = urlsplit(address)
    plain = parts.scheme in _HTTP and not (parts.query or parts.fragment)
    if not plain or not _AUTHORITY_FORM.fullmatch(parts.netloc.encode()):
        raise SettingsError(f"address {address!r} is no outside address (accepted: http or https URL, without a query)")
    return _Outside(parts.scheme, parts.netloc, parts.path)


def _matches(field: bytes | None, tag: bytes) -> bool:
    if field is None:
        return False
    return any(known.strip() in (b"*", tag, b"W/" + tag) for known in field.split(b","))


def _plain() -> tuple[bytes, bytes]:
    return (b"content-type", b"text/plain; charset=utf-8")


# --- documents ---


def _names(documents: Documents) -> dict[str, str]:
    """What each document is asked for by: the WSDL is `wsdl`, others have numbers from 1."""
    names: dict[str, str] = {}
    counts = {"wsdl": 0, "xsd": 0}
    for location, document in documents.by_location.items():
        if document is documents.main:
            names[location] = "wsdl"
        else:
            kind = "xsd" if document.is_schema else "wsdl"
            counts[kind] += 1
            names[location] = f"{kind}={counts[kind]}"
    return names


class _Inside:
    """The addresses that nobody outside may see: those of ports, and of documents that were fetched."""

    def __init__(self, documents: Documents) -> None:
        addresses = {address for document in documents.by_location.values() for address in _addresses(document.root)}
        origins = {origin for address in addresses if (origin := _origin(address))}
        for document in documents.by_location.values():
            fetched = document.is_schema and known_schema(document.root.get("targetNamespace", "")) == document.data
            if not fetched and (origin := _origin(document.location)):
                origins.add(origin)
        marks = dict.fromkeys(origins, _ORIGIN)
        marks.update((address, _URL) for address in addresses if _origin(address))
        for origin in origins:
            parts = urlsplit(origin)
            for name in (parts.netloc.rpartition("@")[2], parts.hostname or ""):
                if "." in name or ":" in name:  # a name without a dot may be any word
                    marks[name] = _AUTHORITY
        self._marks = {text.lower(): mark for text, mark in marks.items()}
        longest = sorted(marks, key=len, reverse=True)
        words = "|".join(map(re.escape, longest))
        # with who is said to ask, and with what secret
        before = r"(?:(?<=//)[^\s/@]++@|(?<![\w.-]))"
        self._pattern = re.compile(rf"{before}({words})(?![\w-])", re.IGNORECASE) if words else None

    def marked(self, text: str, said: str = "") -> str:
        """`text` with marks for the addresses in it, each with `said` behind."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._marks[match[1].lower()] + said, text)


def _addresses(root: etree._Element) -> Iterator[str]:
    """The addresses of all ports, by whatever extension."""
    for port in root.iter(_PORT):
        for element in port.iter("{*}*"):
            location = element.get("location", "").strip()
            if location:
                yield location
            if local_name(str(element.tag)) == "Address" and element.text:
                yield element.text.strip()


def _origin(address: str) -> str:
    """`scheme://host:port` of an http(s) URL, or ""."""
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in _HTTP and parts.netloc else ""


def _marked(document: Document, names: dict[str, str], inside: _Inside, usable: dict[str, Version]) -> bytes:
    """The document, with marks in the place of addresses."""
    root = parse_document(document.data)
    for element, reference in zip(list(referring(root)), document.references, strict=True):
        attribute = place_of(element)
        if reference.target is not None:
            element.set(attribute, f"{_URL}?{names[reference.target]}")
        elif element.tag == _IMPORT and element.get("namespace"):
            del element.attrib[attribute]
        else:
            _remove(element)
    for port in list(root.iter(_PORT)):
        _move_port(port, usable)
    for node in root.getroottree().iter():
        _sweep(node, inside)
    for node in (*root.itersiblings(preceding=True), *root.itersiblings()):
        _sweep(node, inside)
    return etree.tostring(root.getroottree(), encoding="UTF-8", xml_declaration=True)


def _move_port(port: etree._Element, usable: dict[str, Version]) -> None:
    """Gives a port its outside address; one that is not reached over HTTP is not there outside."""
    version = usable.get(port.get("name", ""))
    for element in list(port.iter("{*}*")):
        location = element.get("location")
        if location is not None and element is not port:
            if version is None and not _OVER_HTTP.match(location):
                _remove(port)
                return
            element.set("location", _URL)
        if local_name(str(element.tag)) == "Address":
            element.text = _URL
    for namespace, spoken in SOAP_BINDINGS.items():
        address = qualified(namespace, "address")
        if spoken is version and port.find(address) is None:
            etree.SubElement(port, address, location=_URL)


def _sweep(node: etree._Element, inside: _Inside) -> None:
    """Marks what is left of inside addresses: in texts, comments, policies."""
    if node.text:
        marked = inside.marked(node.text, "" if isinstance(node.tag, str) else _SAID)
        if marked != node.text:
            node.text = marked
    if node.tail:
        marked = inside.marked(node.tail)
        if marked != node.tail:
            node.tail = marked
    if not isinstance(node.tag, str):
        return
    for name, value in node.attrib.items():
        text = str(value)
        if name == _SCHEMA_LOCATION:
            if inside.marked(text) != text:
                del node.attrib[name]
        elif local_name(str(name)) not in _KEPT and inside.marked(text) != text:
            node.set(name, inside.marked(text))


def _remove(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
