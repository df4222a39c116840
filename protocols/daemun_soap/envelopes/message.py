"""The SOAP message of a request: what matchers and filters know of it together, so that each byte is read once."""

from __future__ import annotations

from typing import NamedTuple

from daemun import ExchangeError, Reason, Request, StashKey
from daemun_soap.envelopes.action import agreed_action, announced_action, joined_action
from daemun_soap.envelopes.inflate import Inflater
from daemun_soap.envelopes.limits import Limits
from daemun_soap.envelopes.media import SoapType, soap_type
from daemun_soap.envelopes.multipart import RootPart
from daemun_soap.envelopes.prolog import malformed
from daemun_soap.envelopes.scan import EnvelopeScan
from daemun_soap.names import Version

__all__ = ["SHORT_BYTES", "SOAP_MESSAGE", "SoapHead", "SoapMessage", "head_of", "message_of"]


SHORT_BYTES = 64 * 1024
"""Content that is known to be no longer is taken into memory: it costs less to read, and may be sent again."""


class SoapHead(NamedTuple):
    """What the head of a request says of its message."""

    media: SoapType
    action: bytes | None
    """The field `SOAPAction`."""
    coding: bytes | None
    """The field `content-encoding`."""


class SoapMessage:
    """One request's message. What raises `ExchangeError` ends it."""

    __slots__ = ("_inflater", "_kept", "_part", "_scan", "announced", "limits", "media", "over", "said", "seen")

    def __init__(self, head: SoapHead, limits: Limits) -> None:
        media = head.media
        self.limits = limits
        self.media = media
        self.over = False
        """Whether the envelope was read to its end, and is right."""
        self.said = head.action is not None
        """Whether it has a `SOAPAction`."""
        self.seen = 0
        """How many bytes of the request's content were looked at."""
        self.announced = announced_action(head.action, media)
        """What `SOAPAction` or the parameter `action` says, with the operation also that of the envelope's part; None:
        neither is there."""
        self._inflater = _inflater(head.coding) if head.coding is not None else None
        if self._inflater is not None and media.boundary:
            # gzip may hold a boundary in its head, where who does not inflate finds another envelope
            raise _unread("a message with attachments in a content coding", "none")
        self._kept: list[bytes] | None = None
        self._part = RootPart(media) if media.boundary else None
        self._scan: EnvelopeScan | None = None if media.boundary else EnvelopeScan(limits, media.charset, media.version)

    @property
    def alone(self) -> bool:
        """Whether the request's content is the envelope and nothing else, as it is."""
        return self._part is None and self._inflater is None

    @property
    def operation(self) -> str | None:
        """The qualified name of the Body's first child; "": an empty Body; None: not known yet."""
        return self._scan.operation if self._scan is not None else None

    @property
    def version(self) -> Version | None:
        """What its envelope says, or else its content type."""
        return (self._scan and self._scan.version) or self.media.version

    @property
    def foreign(self) -> bool:
        """Whether it turned out to be no SOAP."""
        return self._scan is not None and self._scan.foreign

    @property
    def siblings(self) -> bool:
        """Whether its Body has more than one child, as far as it is known."""
        return self._scan is not None and self._scan.siblings

    @property
    def wsa_action(self) -> str | None:
        """The Action of WS-Addressing; valid with the operation."""
        return self._scan.wsa_action if self._scan is not None else None

    @property
    def action(self) -> str:
        """What it says of its action, "" if nothing; valid with the operation. Raises `ExchangeError` for two."""
        return agreed_action(self.announced, self.wsa_action)

    def keep(self) -> None:
        """From now on, which is the beginning, the envelope is kept."""
        self._kept = []

    def forget(self) -> None:
        """The envelope is kept no longer."""
        self._kept = None

    def drop(self) -> None:
        """Nothing of it is kept any longer: it is not read on. What it said is still known."""
        self._kept = None
        if self._scan is not None:
            self._scan.drop()

    @property
    def envelope(self) -> bytes:
        """The envelope that was kept."""
        return b"".join(self._kept or ())

    @property
    def charset(self) -> str:
        """What is said of the envelope's characters outside of it."""
        return (self.media if self._part is None else self._part.media).charset

    def read(self, data: bytes) -> None:
        """Looks at the whole content, also at what was looked at before: it costs less than to go on in pieces."""
        if self.over:
            return
        if self.alone:
            if self._kept is not None:
                self._kept = [data]
            if self._scan is None or self.seen:
                self._scan = EnvelopeScan(self.limits, self.media.charset, self.media.version)
            self._scan.read(data)
            self.seen, self.over = len(data), True
            return
        self.show(0, data)
        self.close()

    def show(self, offset: int, data: bytes) -> None:
        """Looks at content that begins at `offset`, as far as it was not looked at before."""
        known = self.seen - offset
        if self.over or known >= len(data):
            return
        self.seen = offset + len(data)
        data = data[known:] if known > 0 else data
        if self._inflater is None:
            self._feed(data)
            return
        for content in self._inflater.feed(data):
            self._feed(content)
            if self.over:
                return

    def close(self) -> None:
        """The content is over."""
        if self.over:
            return
        if self._inflater is not None:
            self._inflater.close()
        if self._part is not None:
            self._part.close()
        self._close_scan()

    def _feed(self, content: bytes) -> None:
        part = self._part
        envelope = content if part is None else part.feed(content)
        if envelope:
            if self._kept is not None:
                self._kept.append(envelope)
            self._begun().feed(envelope)
        if part is not None and part.over:
            self._close_scan()

    def _begun(self) -> EnvelopeScan:
        if self._scan is None:
            media = self.media
            if self._part is not None:
                media = self._part.media
                self.announced = joined_action(self.announced, media.action)
            self._scan = EnvelopeScan(self.limits, media.charset, media.version or self.media.version)
        return self._scan

    def _close_scan(self) -> None:
        self._begun().close()
        self.over = True


def _inflater(coding: bytes) -> Inflater | None:
    coding = coding.strip().lower()
    if coding in (b"", b"identity"):
        return None
    if coding in (b"gzip", b"x-gzip"):
        return Inflater()
    raise _unread("a SOAP message in a content coding that is not accepted", "gzip, none")


def _unread(words: str, accepted: str) -> ExchangeError:
    return ExchangeError(Reason.UNSUPPORTED_CONTENT, f"{words}; accepted: {accepted}")


SOAP_MESSAGE: StashKey[SoapMessage] = StashKey("soap message")


def head_of(request: Request) -> SoapHead | None:
    """What its head says of a message, or None if its content type is of something else.

    Raises `ExchangeError` if the content type is malformed, or if a field is there twice.
    """
    content_type = action = coding = None
    for name, value in request.headers:
        if name == b"content-type":
            if content_type is not None:
                raise malformed("it has more than one content-type")
            content_type = value
        elif name == b"soapaction":
            if action is not None:
                raise malformed("it has more than one SOAPAction")
            action = value
        elif name == b"content-encoding":
            coding = value if coding is None else coding + b"," + value
    media = soap_type(content_type)
    return SoapHead(media, action, coding) if media is not None else None


def message_of(request: Request, head: SoapHead, limits: Limits) -> SoapMessage:
    """The message of a request, which was begun by whoever came before with the same limits, or begins here."""
    stash = request.exchange.stash
    known = stash.get(SOAP_MESSAGE, None)
    if known is not None and (known.limits is limits or known.limits == limits):
        return known
    message = SoapMessage(head, limits)
    stash[SOAP_MESSAGE] = message
    return message
