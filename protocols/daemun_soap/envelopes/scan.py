"""An envelope on its way: which operation it asks for, as soon as it says so, and whether it is one envelope at all."""

from __future__ import annotations

import gc
from contextlib import suppress

from lxml import etree

from daemun_soap.envelopes.fault import Code, FaultError, no_envelope
from daemun_soap.envelopes.hardened import Document, learning, parser_options, tree, xml_error
from daemun_soap.envelopes.limits import Limits
from daemun_soap.envelopes.prolog import malformed
from daemun_soap.names import SOAP11, SOAP12, WSA, Version, qualified

__all__ = ["EnvelopeScan"]

_SPOKEN = ((SOAP11, Version.V1_1), (SOAP12, Version.V1_2))
_VERSIONS = {qualified(uri, "Envelope"): version for uri, version in _SPOKEN}
_TAGS = {version: (qualified(uri, "Header"), qualified(uri, "Body")) for uri, version in _SPOKEN}
_ADDRESSING = (WSA, *(f"http://schemas.xmlsoap.org/ws/{when}/addressing" for when in ("2004/08", "2004/03", "2003/03")))
"""All versions of WS-Addressing that back ends read."""
_ACTIONS = tuple(qualified(namespace, "Action") for namespace in _ADDRESSING)


_FREE_LOOKS_BYTES = 16 * 1024
"""What may be parsed before its operation is known, beside four times what came."""


class _Left:
    """What parsers were fed that may still be there: each is in a circle, which only a rare collection finds."""

    bytes = 0


_LEFT = _Left()
_MAX_LEFT_BYTES = 16 * 1024 * 1024


class EnvelopeScan:
    """Reads one envelope, whole or in pieces.

    Pieces are kept and parsed from their beginning, again and again until they tell the operation, and once more when
    they are complete: no parser lives longer than a call, for none may be ended in another thread than its own. Only
    the Body that is a child of the Envelope counts. `feed`, `read` and `close` raise `ExchangeError`; after that the
    scan is of no more use.
    """

    __slots__ = (
        "_content",
        "_document",
        "_expected",
        "_headed",
        "_parsed",
        "foreign",
        "operation",
        "siblings",
        "version",
        "wsa_action",
    )

    def __init__(self, limits: Limits, charset: str = "", version: Version | None = None) -> None:
        self.version: Version | None = None
        self.operation: str | None = None
        """The qualified name of the Body's first child; "": an empty Body; None: not known yet."""
        self.wsa_action: str | None = None
        """The Action of WS-Addressing in the header."""
        self.foreign = False
        """Whether it turned out to be XML of another kind."""
        self.siblings = False
        """Whether the Body has more than one child, as far as it is known."""
        self._content: bytearray | None = bytearray()
        """What came in pieces; None: it is kept no longer."""
        self._document = Document(limits, charset)
        self._expected = version
        self._headed = False
        self._parsed = 0

    def read(self, data: bytes) -> None:
        """Reads all of it."""
        self._settle(self._document.feed(data, last=True))

    def feed(self, data: bytes) -> None:
        """Reads the next bytes."""
        content = self._kept()
        content += self._document.feed(data)
        if self.operation is None and content:
            self._check_name()
            self._look_ahead(content)

    def close(self) -> None:
        """Ends it. Raises `ExchangeError` if it is not complete, or no envelope."""
        content = bytes(self._kept() + self._document.feed(b"", last=True))
        self._content = None
        self._settle(content)

    def drop(self) -> None:
        """Lets go of what was kept, whoever still has it: nothing more can be read."""
        if self._content is not None:
            self._content.clear()
        self._content = None

    def _kept(self) -> bytearray:
        if self._content is None:
            raise malformed("it was broken off")
        return self._content

    def _check_name(self) -> None:
        prolog = self._document.prolog
        if prolog is not None and prolog.root != "Envelope":
            self.foreign = True
            raise no_envelope(prolog.root)

    def _look_ahead(self, content: bytearray) -> None:
        """Looks at what came so far, if that is not too much for all the times that it was looked at."""
        size = len(content)
        if self._parsed + size > _FREE_LOOKS_BYTES + 4 * size:
            return
        self._parsed += size
        learning(size, lambda: self._look_at(bytes(content)))

    def _look_at(self, content: bytes) -> None:
        if _LEFT.bytes > _MAX_LEFT_BYTES:
            _LEFT.bytes = 0
            gc.collect(1)
        _LEFT.bytes += len(content)
        parser = etree.XMLPullParser(("start",), tag="{*}Envelope", **parser_options(self._document.encoding))
        root: etree._Element | None = None
        try:
            parser.feed(content)
            root = next((element for _, element in parser.read_events()), None)
            if root is not None:
                self._look(root)
        except (etree.LxmlError, ValueError) as error:
            raise xml_error(error) from None
        finally:
            with suppress(etree.LxmlError, ValueError):
                parser.close()  # it is not complete
            if root is not None:
                root.clear()

    def _settle(self, content: bytes) -> None:
        """What a complete envelope says."""
        self._check_name()
        self._document.close()
        learning(len(content), lambda: self._look_through(tree(content, self._document.encoding)))

    def _look_through(self, root: etree._Element) -> None:
        self._document.check(root)
        body = self._look(root)
        if body is None:
            raise malformed("an Envelope without a Body")
        if self.operation is None:
            self.operation = ""

    def _look(self, root: etree._Element) -> etree._Element | None:
        """The Body, if it is there yet. What is already there must be right."""
        header_tag, body_tag = _TAGS[self.version or self._told(root)]
        header = body = None
        for child in root:
            tag = child.tag
            if body is not None:
                raise malformed("something follows the Body")
            if tag == body_tag:
                body = child
            elif tag == header_tag and header is None:
                header = child
            else:
                raise malformed("an Envelope with something else than one Header and one Body")
        if body is not None:
            if not self._headed:
                self._headed = True
                self._look_at_header(header)
            self._look_into(body)
        return body

    def _told(self, root: etree._Element) -> Version:
        version = _VERSIONS.get(str(root.tag))
        if version is None:
            self.foreign = True
            raise no_envelope(str(root.tag))
        if self._expected is not None and version is not self._expected:
            raise FaultError(
                Code.VERSION_MISMATCH,
                f"an Envelope of SOAP {version.value} in a message whose content-type says SOAP {self._expected.value}",
            )
        self.version = version
        return version

    def _look_into(self, body: etree._Element) -> None:
        for first in body:
            if not isinstance(first.tag, str):
                raise malformed("a processing instruction, which SOAP forbids")
            self.operation = first.tag
            self.siblings = first.getnext() is not None
            return

    def _look_at_header(self, header: etree._Element | None) -> None:
        if header is None:
            return
        actions = [child.text or "" for child in header if child.tag in _ACTIONS]
        if len(actions) > 1:
            raise malformed("more than one Action of WS-Addressing")
        self.wsa_action = actions[0].strip() if actions else None
