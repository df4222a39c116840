"""Messages against the schemas of a WSDL, both ways; for that their envelopes are held in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import anyio.to_thread
from lxml import etree

from daemun import Buffered, ExchangeError, NoContent, Reason, Response
from daemun_soap.envelopes.hardened import learning, parse
from daemun_soap.envelopes.limits import Limits
from daemun_soap.envelopes.media import soap_type
from daemun_soap.envelopes.message import SoapHead, SoapMessage
from daemun_soap.envelopes.passing import Held, looked_at
from daemun_soap.wsdl.contract import Contract
from daemun_soap.wsdl.model import Operation
from daemun_soap.wsdl.validate import InvalidMessage

__all__ = ["Validity"]

_OF_CONTENT = (Reason.BAD_REQUEST, Reason.CONTENT_TOO_LARGE, Reason.UNSUPPORTED_CONTENT)
"""Of an answer they are the upstream's fault."""
_LONG_BYTES = 32 * 1024
"""Envelopes that are longer are checked in another thread, so that nobody waits for them."""


class Validity:
    """Which messages are checked, and how."""

    def __init__(
        self, contract: Contract, which: Literal["none", "request", "response", "both"], limits: Limits, held: Held
    ) -> None:
        self.of_requests = which in ("request", "both")
        self.of_responses = which in ("response", "both")
        self._contract = contract
        self._held = held
        self._limits = limits

    async def check_request(self, message: SoapMessage, operation: Operation) -> None:
        """Raises `ExchangeError` for a message, read to the end of its envelope, that the schema does not allow."""
        try:
            await self._check(message, operation, self._contract.check_request)
        except InvalidMessage as error:
            raise ExchangeError(Reason.BAD_REQUEST, f"the message is not what the WSDL says: {error}") from None

    async def checked_response(self, response: Response, operation: Operation) -> Response:
        """`response`, which the schema allows. Raises `ExchangeError`, and closes its body, if it does not."""
        body, status = response.body, response.status
        if status >= 300 and status != 500 and not self._is_soap(response):
            return response  # of HTTP itself: a challenge, a redirection
        if type(body) is NoContent or (type(body) is Buffered and not body.data):
            return response
        try:
            message = self._answer(response)
            message.keep()
            body = await looked_at(body, message, _anything, self._held)
            await self._check(message, operation, self._contract.check_response)
        except InvalidMessage as error:
            await body.aclose()
            raise ExchangeError(
                Reason.UPSTREAM_PROTOCOL, f"the answer is not what the WSDL says, at {error.path}"
            ) from None
        except ExchangeError as error:
            await body.aclose()
            if error.reason in _OF_CONTENT:
                raise ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the answer cannot be checked: {error}") from None
            raise
        except BaseException:
            await body.aclose()
            raise
        return response.with_body(body)

    @staticmethod
    def _is_soap(response: Response) -> bool:
        try:
            return soap_type(response.header(b"content-type")) is not None
        except ExchangeError:
            return True  # which says so when it is read

    def _answer(self, response: Response) -> SoapMessage:
        media = soap_type(response.header(b"content-type"))
        if media is None:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the answer is no SOAP message")
        return SoapMessage(SoapHead(media, None, response.header(b"content-encoding")), self._limits)

    async def _check(
        self, message: SoapMessage, operation: Operation, check: Callable[[etree._Element, Operation], None]
    ) -> None:
        envelope, charset = message.envelope, message.charset

        def work() -> None:
            learning(len(envelope), lambda: check(parse(envelope, self._limits, charset), operation))

        if len(envelope) > _LONG_BYTES or self._contract.slow:
            await anyio.to_thread.run_sync(work)
        else:
            work()


def _anything(message: SoapMessage) -> None:
    return None
