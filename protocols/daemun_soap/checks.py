"""The filter `soap`: what reaches the back end is one envelope, and asks for an operation that it may ask for.

An envelope is checked whole before anything is sent on: who reads while it comes would act on a message that is refused
in the end. Attachments behind it stream. No byte is changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemun import (
    ExchangeError,
    FilterContext,
    Handler,
    Layer,
    NoContent,
    Reason,
    Request,
    Response,
)
from daemun_soap.dialect import ALLOWED
from daemun_soap.envelopes.message import SOAP_MESSAGE, SoapHead, SoapMessage, head_of, message_of
from daemun_soap.envelopes.passing import Held, looked_at
from daemun_soap.names import quoted
from daemun_soap.rules import Rules
from daemun_soap.settings import CheckSettings
from daemun_soap.validity import Validity
from daemun_soap.wsdl.contract import Contract, open_contract

__all__ = ["build"]

_READING = frozenset((b"GET", b"HEAD", b"OPTIONS"))


def _taken(request: Request, settings: CheckSettings) -> SoapHead | None:
    """What the request says of its message; None: it is none, and may pass. Raises `ExchangeError` if it may not."""
    if request.method in _READING:
        if settings.reading == "refuse":
            raise _refused_method(request, b"POST")
        if type(request.body) is NoContent:
            return None
    head = head_of(request)
    if head is None:
        if settings.other_content == "pass":
            return None
        if request.method == b"POST":
            raise ExchangeError(
                Reason.UNSUPPORTED_CONTENT,
                "content that is no SOAP message; accepted: text/xml, application/soap+xml, multipart/related of them",
            )
    if request.method != b"POST":
        raise _refused_method(request, b"POST" if settings.reading == "refuse" else b"GET, HEAD, OPTIONS, POST")
    return head


def _refused_method(request: Request, allowed: bytes) -> ExchangeError:
    request.exchange.stash[ALLOWED] = allowed
    words = f"{quoted(request.method.decode('latin-1'))} carries no SOAP message; accepted: {allowed.decode()}"
    return ExchangeError(Reason.METHOD_REFUSED, words)


def _checking(settings: CheckSettings, rules: Rules, held: Held, handler: Handler) -> Handler:
    limits = settings.limits

    async def handle(request: Request) -> Response:
        head = _taken(request, settings)
        if head is None:
            return await handler(request)
        message = message_of(request, head, limits)
        body = await looked_at(request.body, message, rules.check, held)
        return await handler(request if body is request.body else request.with_body(body))

    return handle


def _validating(settings: CheckSettings, rules: Rules, validity: Validity, held: Held, handler: Handler) -> Handler:
    limits = settings.limits

    async def handle(request: Request) -> Response:
        head = _taken(request, settings)
        if head is None:
            return await handler(request)
        message = SoapMessage(head, limits)  # from its beginning, though a matcher may have seen some of it
        message.keep()
        request.exchange.stash[SOAP_MESSAGE] = message
        try:
            body = await looked_at(request.body, message, rules.check, held)
            operation = rules.check(message)
            assert operation is not None, "there is a WSDL"
            if validity.of_requests:
                await validity.check_request(message, operation)
        finally:
            message.forget()
        request = request.with_body(body)
        if not validity.of_responses:
            return await handler(request)
        response = await handler(request.without_header(b"accept-encoding"))
        return await validity.checked_response(response, operation)

    return handle


def _publishing(contract: Contract, handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        return contract.published(request) or await handler(request)

    return handle


@asynccontextmanager
async def build(settings: CheckSettings, context: FilterContext) -> AsyncIterator[Layer]:
    held = Held(settings.max_held_bytes)
    contract: Contract | None = None
    validity: Validity | None = None
    if settings.wsdl:
        validates = settings.validate != "none"
        contract = await open_contract(settings.wsdl, context.base_dir, address=settings.address, checked=validates)
        if validates:
            validity = Validity(contract, settings.validate, settings.limits, held)
    rules = Rules(settings, contract)

    def layer(handler: Handler) -> Handler:
        if validity is None:
            checked = _checking(settings, rules, held, handler)
        else:
            checked = _validating(settings, rules, validity, held, handler)
        return _publishing(contract, checked) if contract is not None and settings.publish else checked

    yield layer
