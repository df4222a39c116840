"""Answers of a back end that speaks JSON, as SOAP: an envelope in the caller's version, or a Fault."""

from __future__ import annotations

from lxml import etree

from daemun import Buffered, ExchangeError, Headers, Reason, Response
from daemun_soap.envelopes.fault import Code, fault, fault_status
from daemun_soap.facade.bounds import JsonError
from daemun_soap.facade.codec import from_json
from daemun_soap.facade.content import OffLoop, is_json, whole
from daemun_soap.facade.operations import Facade, JsonOperation, envelope
from daemun_soap.facade.problem import phrase, read_problem
from daemun_soap.names import Version

__all__ = ["Replies"]

_DROPPED = frozenset((b"accept-ranges", b"age", b"etag", b"last-modified"))
_MAX_WORDS = 2000


class Replies:
    """Reads the answers of one back end."""

    def __init__(self, facade: Facade, max_bytes: int, off_loop: OffLoop) -> None:
        self._facade = facade
        self._max_bytes = max_bytes
        self._off_loop = off_loop

    async def read(self, response: Response, operation: JsonOperation, version: Version) -> Response:
        """The answer for a SOAP caller: 4xx is a Fault of the Client or Sender, 5xx of the Server or Receiver.

        Raises `ExchangeError` (`UPSTREAM_PROTOCOL`) for what is no answer to the operation.
        """
        status = response.status
        kept = tuple(field for field in response.headers if field[0] not in _DROPPED and field[0][:8] != b"content-")
        if response.header(b"content-encoding") not in (None, b"identity"):
            await response.body.aclose()
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the answer is compressed, which was not asked for")
        data = await whole(response.body, self._max_bytes, answers=True)
        json = is_json(response.header(b"content-type"))
        if 400 <= status < 600:
            return await self._off_loop.run(len(data), lambda: self._fault(status, data, operation, version, kept))
        if not 200 <= status < 300 or (data.strip() and not json):
            raise ExchangeError(
                Reason.UPSTREAM_PROTOCOL, f"the back end answered HTTP {status} {phrase(status)} and no JSON"
            )
        if operation.one_way:
            return Response(202, kept)
        content = await self._off_loop.run(len(data), lambda: self._envelope(data, operation, version))
        return Response(200, (_content_type(version), *kept), Buffered(content))

    def _envelope(self, data: bytes, operation: JsonOperation, version: Version) -> bytes:
        body = operation.response
        try:
            value = from_json(data) if data.strip() else {}
            if body is not None and self._facade.is_wrapped(body) and not isinstance(value, dict):
                value = {"value": value}
            return envelope(version, self._facade.write(body, value, ignore_unknown=True))
        except JsonError as error:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the answer does not fit the operation: {error}") from None

    def _fault(self, status: int, data: bytes, operation: JsonOperation, version: Version, kept: Headers) -> Response:
        code = Code.SENDER if status < 500 else Code.RECEIVER
        words, said = read_problem(data)
        actor = "" if said is None else said.actor
        detail = "" if said is None else self._detail(said.detail, operation)
        words = words or f"{status} {phrase(status)}"
        content = fault(version, code, words[:_MAX_WORDS], actor=actor, detail=detail)
        return Response(fault_status(version, code), (_content_type(version), *kept), Buffered(content))

    def _detail(self, detail: object, operation: JsonOperation) -> str:
        """The elements of a detail that the operation declares, as XML; what is none of them is left out."""
        if not isinstance(detail, dict):
            return ""
        found = []
        for element in self._facade.fault_elements(operation):
            if element.local_name in detail:
                try:
                    made = self._facade.codec.encode(element, detail[element.local_name], ignore_unknown=True)
                except JsonError:
                    continue
                found.append(etree.tostring(made, encoding="unicode"))
        return "".join(found)


def _content_type(version: Version) -> tuple[bytes, bytes]:
    return (b"content-type", version.content_type + b"; charset=utf-8")
