"""Faults of both versions: written for errors of ours, read out of what a back end answers."""

from __future__ import annotations

import enum
from xml.sax.saxutils import escape

from lxml import etree
from msgspec import Struct

from daemun import ExchangeError, Reason, Side
from daemun_soap.names import SOAP11, SOAP12, Version, local_name, qualified, quoted

__all__ = [
    "FAULT_NAMESPACE",
    "Code",
    "FaultError",
    "SoapFault",
    "fault",
    "fault_of",
    "fault_status",
    "no_envelope",
    "read_fault",
]

FAULT_NAMESPACE = "urn:daemun:fault"
"""Of the element in the detail of our faults: `<reason xmlns="urn:daemun:fault">no_endpoint</reason>`."""

_NOT_XML = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "\ufffd")
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


class Code(enum.Enum):
    """What kind of fault it is, in the words of SOAP 1.2."""

    VERSION_MISMATCH = "VersionMismatch"
    MUST_UNDERSTAND = "MustUnderstand"
    DATA_ENCODING_UNKNOWN = "DataEncodingUnknown"
    SENDER = "Sender"
    RECEIVER = "Receiver"

    def name_in(self, version: Version) -> str:
        """Its local name in `version`."""
        return self.value if version is Version.V1_2 else _NAMES_1_1.get(self, self.value)


_NAMES_1_1 = {Code.SENDER: "Client", Code.RECEIVER: "Server", Code.DATA_ENCODING_UNKNOWN: "Client"}
_CODES = {**{code.value: code for code in Code}, "Client": Code.SENDER, "Server": Code.RECEIVER}


class FaultError(ExchangeError):
    """An error whose fault says more than who failed."""

    def __init__(
        self,
        code: Code,
        message: str,
        reason: Reason = Reason.BAD_REQUEST,
        *,
        spoken: tuple[Version, ...] = tuple(Version),
    ) -> None:
        super().__init__(reason, message)
        self.code = code
        self.spoken = spoken
        """The versions that would be accepted, if that is what is wrong."""


class SoapFault(Struct, frozen=True, eq=False):
    """A fault that was read."""

    version: Version
    code: Code | None
    """None: a code of nobody's standard."""
    code_name: str
    """The code as it was written, qualified if its prefix is bound."""
    subcodes: tuple[str, ...]
    """In 1.1 what follows the first dot of the code."""
    reason: str
    actor: str
    """`faultactor`, or the Role."""
    node: str
    detail: etree._Element | None


def fault_status(version: Version, code: Code) -> int:
    """The HTTP status of a fault: 500, but 400 for a Sender's in 1.2."""
    return 400 if version is Version.V1_2 and code is Code.SENDER else 500


def fault(
    version: Version,
    code: Code,
    reason: str,
    *,
    actor: str = "",
    detail: str = "",
    spoken: tuple[Version, ...] = tuple(Version),
) -> bytes:
    """An envelope in UTF-8 that holds a fault. `actor` is the role in 1.2; `detail` is XML already; `spoken` are the
    versions that a mismatch of versions tells of."""
    words = _text(reason)
    name = code.name_in(version)
    if version is Version.V1_1:
        who = f"<faultactor>{_text(actor)}</faultactor>" if actor else ""
        more = f"<detail>{detail}</detail>" if detail else ""
        body = f"<faultcode>s:{name}</faultcode><faultstring>{words}</faultstring>{who}{more}"
    else:
        who = f"<s:Role>{_text(actor)}</s:Role>" if actor else ""
        more = f"<s:Detail>{detail}</s:Detail>" if detail else ""
        body = (
            f"<s:Code><s:Value>s:{name}</s:Value></s:Code>"
            f'<s:Reason><s:Text xml:lang="en">{words}</s:Text></s:Reason>{who}{more}'
        )
    header = ""
    if code is Code.VERSION_MISMATCH and version is Version.V1_2:
        newest = sorted(spoken, key=lambda one: one.value, reverse=True)
        accepted = (f'<s:SupportedEnvelope xmlns:v="{one.namespace}" qname="v:Envelope"/>' for one in newest)
        header = f"<s:Header><s:Upgrade>{''.join(accepted)}</s:Upgrade></s:Header>"
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<s:Envelope xmlns:s="{version.namespace}">{header}<s:Body><s:Fault>{body}</s:Fault></s:Body></s:Envelope>'
    ).encode()


def fault_of(version: Version, error: ExchangeError) -> tuple[int, bytes]:
    """The HTTP status and the envelope of an error of ours."""
    spoken = tuple(Version)
    if isinstance(error, FaultError):
        code, spoken = error.code, error.spoken
    else:
        code = Code.SENDER if error.side is Side.DOWNSTREAM else Code.RECEIVER
    detail = f'<reason xmlns="{FAULT_NAMESPACE}">{error.reason.value}</reason>'
    return fault_status(version, code), fault(version, code, error.message, detail=detail, spoken=spoken)


def no_envelope(root: str) -> FaultError:
    """The error of a message that begins with the element `root` and is no envelope of SOAP at all."""
    return FaultError(
        Code.VERSION_MISMATCH, f"the message begins with {quoted(root)}; accepted: an Envelope of SOAP 1.1 or 1.2"
    )


def read_fault(element: etree._Element) -> SoapFault | None:
    """What a `Fault` element says, or None if it is none of either version."""
    if element.tag == qualified(SOAP11, "Fault"):
        return _read_1_1(element)
    if element.tag == qualified(SOAP12, "Fault"):
        return _read_1_2(element)
    return None


def _read_1_1(element: etree._Element) -> SoapFault:
    written = _resolved(element.find("faultcode"))
    name, _, more = local_name(written).partition(".")
    return SoapFault(
        version=Version.V1_1,
        code=_CODES.get(name),
        code_name=written,
        subcodes=(more,) if more else (),
        reason=_words(element.find("faultstring")),
        actor=_words(element.find("faultactor")),
        node="",
        detail=element.find("detail"),
    )


def _read_1_2(element: etree._Element) -> SoapFault:
    def at(parent: etree._Element | None, name: str) -> etree._Element | None:
        return parent.find(qualified(SOAP12, name)) if parent is not None else None

    code = at(element, "Code")
    written = _resolved(at(code, "Value"))
    subcodes = []
    inner = at(code, "Subcode")
    while inner is not None:
        subcodes.append(_resolved(at(inner, "Value")))
        inner = at(inner, "Subcode")
    reason = at(element, "Reason")
    texts = reason.findall(qualified(SOAP12, "Text")) if reason is not None else []
    english = [text for text in texts if (text.get(_LANGUAGE) or "").lower().startswith("en")]
    return SoapFault(
        version=Version.V1_2,
        code=_CODES.get(local_name(written)),
        code_name=written,
        subcodes=tuple(subcodes),
        reason=_words(next(iter(english or texts), None)),
        actor=_words(at(element, "Role")),
        node=_words(at(element, "Node")),
        detail=at(element, "Detail"),
    )


def _words(element: etree._Element | None) -> str:
    return (element.text or "").strip() if element is not None else ""


def _resolved(element: etree._Element | None) -> str:
    """A qualified name that an element has as text, with the namespace of its prefix."""
    written = _words(element)
    prefix, colon, name = written.partition(":")
    if element is None or not colon:
        return written
    namespace = element.nsmap.get(prefix)
    return qualified(namespace, name) if namespace else written


def _text(words: str) -> str:
    return escape(words.translate(_NOT_XML))
