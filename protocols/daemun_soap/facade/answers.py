"""Answers of a back end that speaks SOAP, as JSON: content, problem documents for Faults, or nothing."""

from __future__ import annotations

from typing import Any

from lxml import etree

from daemun import Buffered, ExchangeError, Headers, Reason, Response
from daemun_soap.envelopes.fault import Code, SoapFault, read_fault
from daemun_soap.envelopes.media import SoapType, soap_type
from daemun_soap.facade.bounds import JsonError
from daemun_soap.facade.codec import to_json
from daemun_soap.facade.content import OffLoop, whole
from daemun_soap.facade.messages import limits_of, read_envelope
from daemun_soap.facade.operations import Facade, JsonOperation
from daemun_soap.facade.problem import FaultMember, phrase, problem
from daemun_soap.names import Version, local_name

__all__ = ["Answers", "fault_member"]

_PASSED = (401, 403, 429, 503)
_DROPPED = frozenset(
    (b"accept-ranges", b"age", b"etag", b"last-modified", b"mime-version", b"soapaction", b"transfer-encoding")
)
_MAX_WORDS = 2000


class Answers:
    """Reads the answers of one façade."""

    def __init__(self, facade: Facade, max_bytes: int, off_loop: OffLoop) -> None:
        self._facade = facade
        self._max_bytes = max_bytes
        self._limits = limits_of(facade.codec.bounds, max_bytes)
        self._off_loop = off_loop

    async def read(self, response: Response, operation: JsonOperation) -> Response:
        """The answer for a JSON caller. A Fault of a Client or Sender is 400, any other 500.

        Raises `ExchangeError` (`UPSTREAM_PROTOCOL`) for what is no answer to the operation.
        """
        kept = tuple(field for field in response.headers if field[0] not in _DROPPED and field[0][:8] != b"content-")
        media = self._media(response)
        if response.header(b"content-encoding") not in (None, b"identity"):
            await response.body.aclose()
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the answer is compressed, which was not asked for")
        if media is None or response.status in (202, 204):
            return await self._without_envelope(response, operation, kept)
        data = await whole(response.body, self._max_bytes, answers=True)
        if not data.strip():
            return self._empty(response.status, operation, kept)
        try:
            return await self._off_loop.run(
                len(data), lambda: self._read(data, media, response.status, operation, kept)
            )
        except ExchangeError:
            if response.status not in _PASSED:
                raise
            return _refusal(response.status, kept)

    @staticmethod
    def _media(response: Response) -> SoapType | None:
        try:
            return soap_type(response.header(b"content-type"))
        except ExchangeError:
            return None

    async def _without_envelope(self, response: Response, operation: JsonOperation, kept: Headers) -> Response:
        body, status = response.body, response.status
        await body.aclose()
        if 200 <= status < 300 and (status in (202, 204) or operation.one_way or body.length == 0):
            return self._empty(status, operation, kept)
        if status in _PASSED:
            return _refusal(status, kept)
        raise ExchangeError(Reason.UPSTREAM_PROTOCOL, _no_soap(status))

    @staticmethod
    def _empty(status: int, operation: JsonOperation, kept: Headers) -> Response:
        if not 200 <= status < 300 or (status == 200 and operation.response is not None):
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the back end answered HTTP {status} and no envelope")
        return Response(202 if operation.one_way or status == 202 else 204, kept)

    def _read(self, data: bytes, media: SoapType, status: int, operation: JsonOperation, kept: Headers) -> Response:
        incoming = read_envelope(data, media, self._limits, Reason.UPSTREAM_PROTOCOL)
        child = incoming.child
        try:
            if child is not None and incoming.is_fault:
                return self._fault(child, operation, kept)
            if operation.response is None:
                return self._empty(200, operation, kept)
            if child is None or status != 200:
                raise ExchangeError(
                    Reason.UPSTREAM_PROTOCOL, f"the back end answered HTTP {status} and no answer in SOAP"
                )
            if local_name(str(child.tag)) != local_name(operation.response.tag):
                raise ExchangeError(
                    Reason.UPSTREAM_PROTOCOL, "the back end answered with the answer of another operation"
                )
            value = self._facade.read(operation.response, child)
        except JsonError as error:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the answer {error.problems[0].message}") from None
        return Response(200, ((b"content-type", b"application/json"), *kept), Buffered(to_json(value)))

    def _fault(self, element: etree._Element, operation: JsonOperation, kept: Headers) -> Response:
        said = read_fault(element)
        if said is None:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the back end answered with a Fault that is none")
        status = 400 if said.code is Code.SENDER else 500
        return problem(
            status,
            said.reason[:_MAX_WORDS],
            headers=kept,
            fault=fault_member(self._facade, operation, said),
        )


def _no_soap(status: int) -> str:
    return f"the back end answered HTTP {status} {phrase(status)} and no SOAP"


def _refusal(status: int, kept: Headers) -> Response:
    return problem(status, _no_soap(status), headers=kept)


def fault_member(facade: Facade, operation: JsonOperation, said: SoapFault) -> FaultMember:
    """A Fault as the member of a problem document; elements of its detail have their types where schemas know them."""
    detail: dict[str, Any] = {}
    if said.detail is not None:
        declared = {element.name: element for element in facade.fault_elements(operation)}
        for child in said.detail.iterchildren(tag=etree.Element):
            tag = str(child.tag)
            element = declared.get(tag)
            if element is None:
                element = facade.wsdl.schema.maps.elements.get(tag)
            loose = element is None
            value = facade.codec.decode_loose(child) if element is None else facade.codec.decode(element, child)
            name = local_name(tag)
            detail[tag if loose and name in detail else name] = value
        text = "".join(said.detail.itertext()) if not detail else ""
        if text.strip():
            detail["#text"] = text.strip()
    code = local_name(said.code_name)
    return FaultMember(
        code=code.partition(".")[0] if said.version is Version.V1_1 else code,
        subcodes=list(said.subcodes),
        actor=said.actor or said.node,
        detail=detail or None,
    )
