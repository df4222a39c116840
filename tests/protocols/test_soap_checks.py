"""The filter `soap`: what reaches the back end, in memory and while it streams, with and without a WSDL."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import (
    EMPTY,
    Body,
    Buffered,
    ExchangeError,
    FilterContext,
    Handler,
    Headers,
    MatcherContext,
    Reason,
    Request,
    Response,
    SettingsError,
)
from daemun.extend.loading import installed
from daemun.routing.content import Peeked
from daemun.testing import Pieces, content, make_plugin, make_request, proxying
from daemun_soap.dialect import SOAP
from daemun_soap.envelopes.fault import Code, FaultError
from daemun_soap.envelopes.message import SOAP_MESSAGE
from daemun_soap.kinds import SOAP_FILTER, SOAP_MATCHER
from daemun_soap.names import SOAP11, SOAP12
from daemun_soap.settings import CheckSettings, MatchSettings

pytestmark = pytest.mark.anyio

PLUGINS = (
    []
    if "soap" in installed()
    else [make_plugin("soap_under_test", daemun_dialects=lambda: [SOAP], daemun_filters=lambda: [SOAP_FILTER])]
)
WSDLS = Path(__file__).parent / "wsdl"
TEXT = (b"content-type", b"text/xml; charset=utf-8")
SOAP_1_2 = (b"content-type", b"application/soap+xml")


def envelope(inside: str = "<GetPrice/>", namespace: str = SOAP11) -> bytes:
    return f'<s:Envelope xmlns:s="{namespace}"><s:Body>{inside}</s:Body></s:Envelope>'.encode()


LONG = envelope(f"<GetPrice>{'<a>1</a>' * 10_000}</GetPrice>")
"""More than is taken into memory."""


class BackEnd:
    """What answers behind the filter; it reads requests to their end, and remembers them."""

    def __init__(self, response: Response | None = None) -> None:
        self.response = response or Response(200)
        self.requests: list[Request] = []
        self.received: list[bytes] = []
        """Content, piece by piece."""

    async def handle(self, request: Request) -> Response:
        self.requests.append(request)
        while data := await request.body.read():
            self.received.append(data)
        return self.response

    @property
    def content(self) -> bytes:
        return b"".join(self.received)


@asynccontextmanager
async def filtered(handler: Handler, **settings: Any) -> AsyncIterator[Handler]:
    decoded = msgspec.convert(settings, CheckSettings)
    async with SOAP_FILTER.build(decoded, FilterContext("soap", WSDLS)) as layer:
        yield layer(handler)


def request(
    body: Body | bytes, *fields: tuple[bytes, bytes], method: str = "POST", url: str = "http://a.test/"
) -> Request:
    if isinstance(body, bytes):
        body = Buffered(body)
    return make_request(method, url, fields or (TEXT,), body)


async def sent(asked: Request, **settings: Any) -> BackEnd:
    """The back end after a request."""
    back_end = BackEnd()
    async with filtered(back_end.handle, **settings) as handle:
        await handle(asked)
    return back_end


async def refused(asked: Request, **settings: Any) -> ExchangeError:
    """The error of a request that did not reach the back end."""
    back_end = BackEnd()
    async with filtered(back_end.handle, **settings) as handle:
        with pytest.raises(ExchangeError) as caught:
            await handle(asked)
    assert not back_end.requests
    return caught.value


def pieces(data: bytes, size: int = 10_000, *, length: bool = False) -> Pieces:
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    return Pieces(*cut, length=len(data) if length else None)


# --- what passes ---


@pytest.mark.parametrize(
    "make", [Buffered, pieces, lambda data: pieces(data, length=True)], ids=["whole", "any", "known"]
)
@pytest.mark.parametrize("data", [envelope(), LONG], ids=["short", "long"])
async def test_content_passes_as_it_came(make: Callable[[bytes], Body], data: bytes) -> None:
    body = make(data)
    back_end = await sent(request(body))
    assert back_end.content == data
    assert back_end.requests[0].body.length in (body.length, len(data))
    assert back_end.requests[0].headers == (TEXT,)


async def test_trailers_are_kept() -> None:
    trailers = ((b"x-t", b"1"),)
    for data in (envelope(), LONG):
        back_end = await sent(request(Pieces(data[:100], data[100:], trailers=trailers)))
        assert back_end.requests[0].body.trailers == trailers


async def test_content_is_closed_whatever_happens() -> None:
    body = Pieces(envelope(), length=len(envelope()))
    await sent(request(body))
    assert body.closed
    body = pieces(LONG)
    back_end = await sent(request(body))
    await back_end.requests[0].body.aclose()
    assert body.closed
    assert await back_end.requests[0].body.read() == b""


class Slow:
    """Content of which the last piece comes when something reached the back end."""

    length = None
    trailers: Headers = ()

    def __init__(self, reached: list[bytes], *pieces: bytes) -> None:
        self.left = list(pieces)
        self.reached = reached

    async def read(self) -> bytes:
        if len(self.left) == 1:
            assert self.reached, "nothing was passed on before the rest came"
        return self.left.pop(0) if self.left else b""

    async def aclose(self) -> None:
        self.left.clear()


async def test_attachments_go_on_when_the_envelope_is_right() -> None:
    back_end = BackEnd()
    ends = (b"</GetPrice>", b"</s:Body></s:Envelope>\r\n--bb\r\n\r\n", b"attachment", b"\r\n--bb--")
    async with filtered(back_end.handle) as handle:
        body = Slow(back_end.received, FIRST + envelope("<GetPrice>")[: -len("</s:Body></s:Envelope>")], *ends)
        await handle(request(body, MTOM))
    assert back_end.content.endswith(b"".join(ends))


# --- what does not ---


@pytest.mark.parametrize("rest", [b"</wrong>", b"</a><?pi?>", b"</a></GetPrice></s:Body><s:Body/></s:Envelope>", b""])
async def test_a_back_end_gets_nothing_of_a_message_that_is_refused(rest: bytes) -> None:
    data = LONG[: LONG.index(b"</GetPrice>")] + b"<a>" + rest
    if b"?pi" in rest:
        data += b"</GetPrice></s:Body></s:Envelope>"
    for size in (10_000, len(data) - 7, len(data)):
        await refused(request(pieces(data, size)))


async def test_what_the_end_of_a_message_makes_wrong_is_refused_before_anything_passes() -> None:
    begins, ends = envelope("<GetPrice/>@<DropTable/>").split(b"@")
    blanks = [b" " * 1000] * 3
    await refused(request(Pieces(begins, ends, *blanks)))
    await refused(request(Pieces(begins, ends, *blanks, length=len(begins + ends) + 3000)))
    await refused(request(Pieces(FIRST + begins, ends, *blanks, b"\r\n--bb\r\n\r\n", b"\r\n--bb--"), MTOM))
    await refused(request(pieces(gzip.compress(begins + ends), 20), TEXT, (b"content-encoding", b"gzip")))


async def test_compressed_content_that_says_nothing_ends() -> None:
    gzipped = zlib.compressobj(wbits=31)
    begins = gzipped.compress(envelope()) + gzipped.flush(zlib.Z_FULL_FLUSH)
    nothing = b"\0\0\0\xff\xff" * 1000
    body = Pieces(begins, *[nothing] * 20)
    error = await refused(request(body, TEXT, (b"content-encoding", b"gzip")), limits={"max_envelope_bytes": 20_000})
    assert error.reason is Reason.CONTENT_TOO_LARGE


async def test_a_sender_that_breaks_off_is_told_of() -> None:
    broken = ExchangeError(Reason.CLIENT_LEFT)
    for body in (Pieces(LONG[:50], broken), Pieces(LONG[:50_000], LONG[50_000:60_000], broken)):
        back_end = BackEnd()
        async with filtered(back_end.handle) as handle:
            with pytest.raises(ExchangeError) as caught:
                await handle(request(body))
        assert caught.value is broken


@pytest.mark.parametrize(
    ("settings", "good"),
    [
        ({"operations": ["GetPrice"]}, True),
        ({"operations": ["{}GetPrice"]}, True),
        ({"operations": ["Buy"]}, False),
        ({"versions": ["1.1"]}, True),
        ({"versions": ["1.2"]}, False),
    ],
)
async def test_operations_and_versions(settings: dict[str, Any], good: bool) -> None:
    for make in (Buffered, pieces):
        for data in (envelope(), LONG):
            if good:
                assert (await sent(request(make(data)), **settings)).content == data
            else:
                await refused(request(make(data)), **settings)


async def test_a_version_that_is_not_accepted_is_a_mismatch() -> None:
    error = await refused(request(envelope(namespace=SOAP12), SOAP_1_2), versions=["1.1"])
    assert isinstance(error, FaultError)
    assert error.code is Code.VERSION_MISMATCH
    error = await refused(request(envelope(namespace=SOAP12), TEXT))
    assert error.reason is Reason.BAD_REQUEST


@pytest.mark.parametrize(
    ("action", "good"),
    [
        (b'"urn:GetPrice"', True),
        (b'""', True),
        (b'"urn:GetPriceRequest"', True),
        (b'"urn:Delete"', False),
        (b'"', False),
    ],
)
async def test_an_action_that_is_not_that_of_the_body(action: bytes, good: bool) -> None:
    asked = request(envelope(), TEXT, (b"soapaction", action))
    if good:
        await sent(asked)
    else:
        assert (await refused(asked)).status in (400, 403)
    if action != b'"':
        await sent(request(envelope(), TEXT, (b"soapaction", action)), soap_action="any")


async def test_the_action_of_an_empty_body_names_nothing() -> None:
    await sent(request(envelope("")))
    await refused(request(envelope(""), TEXT, (b"soapaction", b'"urn:Delete"')))


@pytest.mark.parametrize("data", [envelope("<GetPrice/><Delete/>"), LONG.replace(b"</s:Body>", b"<Delete/></s:Body>")])
async def test_a_second_child_of_the_body(data: bytes) -> None:
    for body in (Buffered(data), pieces(data)):
        back_end = BackEnd()
        async with filtered(back_end.handle) as handle:
            with pytest.raises(ExchangeError, match="one child"):
                await handle(request(body))
        assert len(back_end.content) < len(data)
    assert (await sent(request(pieces(data)), body_children="any")).content == data


@pytest.mark.parametrize(
    ("method", "field", "body", "status"),
    [
        ("POST", (b"content-type", b"application/json"), b"{}", 415),
        ("POST", (b"content-type", b"application/json"), envelope(), 415),
        ("POST", (b"x-nothing", b"1"), envelope(), 415),
        ("POST", TEXT, b"", 400),
        ("PUT", TEXT, envelope(), 405),
        ("GET", TEXT, envelope(), 405),
        ("DELETE", (b"x-nothing", b"1"), b"", 405),
    ],
)
async def test_other_methods_and_other_content(
    method: str, field: tuple[bytes, bytes], body: bytes, status: int
) -> None:
    asked = request(Buffered(body) if body else EMPTY, field, method=method)
    assert (await refused(asked)).status == status


QUERIES = ("/services/Stock/Delete?id=1", "/stock?x&wsdl", "/stock?%77sdl", "/stock?wsdl=stock.wsdl", "/stock.wsdl")


@pytest.mark.parametrize(
    "settings", [{}, {"operations": ["GetPrice"]}, {"wsdl": "stock.wsdl"}, {"other_content": "pass"}], ids=str
)
async def test_what_is_only_read_passes_where_it_may(settings: dict[str, Any]) -> None:
    back_end = BackEnd()
    nothing = (b"x-nothing", b"1")
    reads = [
        request(body, nothing, method=method, url=f"http://a.test{query}")
        for method in ("GET", "HEAD", "OPTIONS")
        for query in QUERIES
        for body in (EMPTY, b"x=1")
    ]
    async with filtered(back_end.handle, **settings) as handle:
        for asked in reads:
            with pytest.raises(ExchangeError) as caught:
                await handle(asked)
            assert caught.value.status == 405
    assert not back_end.requests
    async with filtered(back_end.handle, reading="pass", **settings) as handle:
        for asked in reads[::2]:
            await handle(asked)
        with pytest.raises(ExchangeError):
            await handle(request(envelope(), TEXT, method="GET"))
    assert len(back_end.requests) == len(reads) / 2


@pytest.mark.parametrize(
    ("settings", "method", "allowed"),
    [
        ({}, "GET", b"POST"),
        ({}, "HEAD", b"POST"),
        ({}, "OPTIONS", b"POST"),
        ({}, "PUT", b"POST"),
        ({"wsdl": "stock.wsdl"}, "GET", b"POST"),
        ({"reading": "pass"}, "DELETE", b"GET, HEAD, OPTIONS, POST"),
    ],
)
@pytest.mark.parametrize("speaks", [False, True], ids=["any", "soap"])
async def test_a_method_that_is_refused_is_told_what_is_allowed(
    settings: dict[str, Any], method: str, allowed: bytes, speaks: bool
) -> None:
    fields = (TEXT, (b"soapaction", b'""')) if speaks else ((b"accept", b"application/json"),)
    asked = make_request(method, "http://a.test/", fields)
    error = await refused(asked, **settings)
    assert error.message == f"'{method}' carries no SOAP message; accepted: {allowed.decode()}"
    assert SOAP.claims(asked)
    answer = SOAP.render(asked, error)
    assert answer.status == 405
    assert answer.header(b"allow") == allowed
    assert (b"Fault>" in await content(answer.body)) is speaks


async def test_other_content_passes_where_it_may() -> None:
    asked = request(b"{}", (b"content-type", b"application/json"))
    assert (await sent(asked, other_content="pass")).content == b"{}"
    assert (await refused(request(b"<a/>", TEXT), other_content="pass")).status == 400


async def test_limits_are_those_of_the_settings() -> None:
    data = envelope("<GetPrice>" + "<a>" * 10 + "</a>" * 10 + "</GetPrice>")
    error = await refused(request(data), limits={"max_depth": 12})
    assert error.message == "SOAP message too large: more than 12 levels of elements"
    assert error.reason is Reason.CONTENT_TOO_LARGE
    await sent(request(data), limits={"max_depth": 13})
    for body in (Buffered(LONG), pieces(LONG, length=True)):
        error = await refused(request(body), limits={"max_envelope_bytes": 70_000})
        assert error.reason is Reason.CONTENT_TOO_LARGE


async def test_no_field_is_there_twice() -> None:
    await refused(request(envelope(), TEXT, (b"soapaction", b'""'), (b"soapaction", b'"urn:Delete"')))
    await refused(request(envelope(), TEXT, TEXT))


async def test_refusals_are_faults() -> None:
    asked = request(envelope(), TEXT)
    error = await refused(asked, operations=["Buy"])
    assert SOAP.claims(asked)
    assert SOAP.render(asked, error).status == 500


async def test_what_a_matcher_saw_is_not_read_again() -> None:
    for data, good in ((envelope(), True), (b"<order/>", False), (LONG, True)):
        looked = Peeked(pieces(data, 100))
        looked.limit = len(data) + 1
        asked = request(looked)
        async with SOAP_MATCHER.build(MatchSettings(), MatcherContext("soap", Path())) as matcher:
            assert await matcher(asked, looked) is good
        asked = asked.with_body(looked.whole)
        if good:
            message = asked.exchange.stash[SOAP_MESSAGE]
            assert message.operation == "GetPrice"
            assert message.seen < len(data)
            assert (await sent(asked)).content == data
            assert asked.exchange.stash[SOAP_MESSAGE] is message
        else:
            await refused(asked)


async def test_what_a_matcher_saw_to_its_end_is_checked_too() -> None:
    for inside, good in (("<GetPrice/>", True), ("<Buy/>", False)):
        data = FIRST + envelope(inside) + b"\r\n--bb\r\n\r\n" + b"x" * 5000 + b"\r\n--bb--"
        looked = Peeked(pieces(data))
        looked.limit = len(data)
        asked = request(looked, MTOM)
        async with SOAP_MATCHER.build(MatchSettings(), MatcherContext("soap", Path())) as matcher:
            assert await matcher(asked, looked)
        asked = asked.with_body(looked.whole)
        assert asked.exchange.stash[SOAP_MESSAGE].over
        if good:
            assert (await sent(asked, operations=["GetPrice"])).content == data
        else:
            await refused(asked, operations=["GetPrice"])


@pytest.mark.parametrize("ends", [b"</s:Body></s:Envelope>", b"</s:Body><s:Body/></s:Envelope>"])
async def test_through_a_gateway(ends: bytes) -> None:
    data = LONG.removesuffix(b"</s:Body></s:Envelope>") + ends
    async with proxying(route={"filters": [{"type": "soap"}]}, extra=PLUGINS) as proxy:
        answer = await proxy.ask(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)
        )
        if b"<s:Body/>" in ends:
            assert answer.status == 500
            assert answer.field(b"content-type") == b"text/xml; charset=utf-8"
            assert b"something follows the Body" in answer.body
            answer = await proxy.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (answer.status, answer.field(b"allow")) == (405, b"POST")
            assert not any(asked.endswith(data) for asked in proxy.upstream.requests)
        else:
            assert answer.status == 200
            assert proxy.upstream.requests[0].endswith(data)


# --- content codings ---


async def test_compressed_content_is_read_and_passes_as_it_came() -> None:
    coding = (b"content-encoding", b"gzip")
    for data in (gzip.compress(envelope()), gzip.compress(LONG)):
        for body in (Buffered(data), pieces(data, 37)):
            assert (await sent(request(body, TEXT, coding), operations=["GetPrice"])).content == data
            await refused(request(Buffered(data), TEXT, coding), operations=["Buy"])


@pytest.mark.parametrize(
    "data",
    [
        envelope(),
        gzip.compress(envelope())[:-1],
        gzip.compress(envelope()) + b"x",
        gzip.compress(envelope()) + gzip.compress(b"<a/>"),
        gzip.compress(envelope("<a>" + " " * 10_000_000 + "</a>")),
        gzip.compress(bytes(50_000_000)),
        b"",
    ],
)
async def test_compressed_content_that_is_refused(data: bytes) -> None:
    for body in (Buffered(data), pieces(data)):
        back_end = BackEnd()
        async with filtered(back_end.handle) as handle:
            with pytest.raises(ExchangeError):
                await handle(request(body, TEXT, (b"content-encoding", b"gzip")))
        assert not data or len(back_end.content) < len(data)


async def test_other_codings_are_not_read() -> None:
    error = await refused(request(envelope(), TEXT, (b"content-encoding", b"br")))
    assert error.status == 415
    await refused(request(envelope(), TEXT, (b"content-encoding", b"gzip"), (b"content-encoding", b"gzip")))
    await sent(request(envelope(), TEXT, (b"content-encoding", b"Identity")))


# --- attachments ---

MTOM = (b"content-type", b'multipart/related; boundary=bb; type="application/xop+xml"; start-info="text/xml"')
FIRST = b"--bb\r\nContent-Type: application/xop+xml; charset=utf-8\r\n\r\n"


async def test_attachments_pass_unseen() -> None:
    data = FIRST + envelope() + b"\r\n--bb\r\n\r\n" + b"<a" * 100_000 + b"\r\n--bb--\r\n"
    for body in (Buffered(data), pieces(data), pieces(data, 7001)):
        assert (await sent(request(body, MTOM), operations=["GetPrice"])).content == data


async def test_attachments_may_be_longer_than_any_envelope() -> None:
    attachment = bytes(1 << 20)
    body = Pieces(FIRST + envelope() + b"\r\n--bb\r\n\r\n", *[attachment] * 8, b"\r\n--bb--")
    assert len((await sent(request(body, MTOM), limits={"max_envelope_bytes": 2048})).content) > 8 << 20


@pytest.mark.parametrize(
    "data",
    [
        FIRST + envelope("<Buy/>") + b"\r\n--bb--",
        FIRST + envelope(namespace=SOAP12) + b"\r\n--bb--",
        FIRST + envelope()[:-1] + b"\r\n--bb--",
        FIRST + envelope(),
        FIRST + b"\r\n--bb--",
        FIRST.replace(b"utf-8", b"utf-16") + envelope() + b"\r\n--bb--",
        envelope(),
    ],
)
async def test_the_envelope_of_attachments_is_checked_too(data: bytes) -> None:
    for body in (Buffered(data), pieces(data, 50)):
        back_end = BackEnd()
        async with filtered(back_end.handle, operations=["GetPrice"]) as handle:
            with pytest.raises(ExchangeError):
                await handle(request(body, MTOM))
        assert len(back_end.content) < len(data)


async def test_attachments_in_a_coding_are_not_read() -> None:
    data = FIRST + envelope() + b"\r\n--bb--\r\n"
    for coding in (b"gzip", b"X-GZip", b"br"):
        for body in (Buffered(gzip.compress(data)), pieces(gzip.compress(data))):
            assert (await refused(request(body, MTOM, (b"content-encoding", coding)))).status == 415
    assert (await sent(request(data, MTOM, (b"content-encoding", b"identity")))).content == data


@pytest.mark.parametrize(
    ("outer", "inner", "good"),
    [
        (b"", b'; action="urn:Delete"', False),
        (b"", rb'; type="application/soap+xml; action=\"urn:Delete\""', False),
        (b"", b'; action="urn:GetPrice"', True),
        (b'; action="urn:GetPrice"', b'; action="urn:GetPrice"', True),
        (b'; action="urn:GetPrice"', b'; action="urn:GetPriceRequest"', False),
        (b'; action="urn:GetPrice"', b"", True),
    ],
)
async def test_the_action_of_the_part_is_that_of_the_body(outer: bytes, inner: bytes, good: bool) -> None:
    head = b"--bb\r\nContent-Type: application/xop+xml" + inner + b"\r\n\r\n"
    data = head + envelope(namespace=SOAP12) + b"\r\n--bb--\r\n"
    kind = b'multipart/related; boundary=bb; type="application/xop+xml"; start-info="application/soap+xml"' + outer
    for body in (Buffered(data), pieces(data, 50)):
        asked = request(body, (b"content-type", kind))
        if good:
            assert (await sent(asked)).content == data
        else:
            assert (await refused(asked)).status in (400, 403)


async def test_nothing_of_what_was_broken_off_is_kept() -> None:
    for rest in (b"<a>" * 1000, ExchangeError(Reason.CLIENT_LEFT)):
        asked = request(Pieces(LONG[:70_000], b"x", rest, b"</b>"))
        async with filtered(BackEnd().handle) as handle:
            with pytest.raises(ExchangeError):
                await handle(asked)
        with pytest.raises(ExchangeError, match="broken off"):
            asked.exchange.stash[SOAP_MESSAGE].show(1 << 20, b"<a/>")


@given(st.lists(st.integers(0, 500), max_size=6), st.integers(0, 3), st.integers(0, 500))
def test_a_decision_does_not_depend_on_pieces(cuts: list[int], kind: int, spoilt: int) -> None:
    inside = ("<GetPrice/>", "<Buy/>", "<GetPrice/><Buy/>", "")[kind]
    data = bytearray(FIRST + envelope(inside) + b"\r\n--bb\r\n\r\nx\r\n--bb--")
    if spoilt < len(data):
        data[spoilt] ^= 4
    at = sorted(min(cut, len(data)) for cut in cuts)
    cut = [bytes(data[begin:end]) for begin, end in zip([0, *at], [*at, len(data)], strict=True)]

    async def verdict(body: Body) -> bool:
        try:
            return bool((await sent(request(body, MTOM), operations=["GetPrice"])).content)
        except ExchangeError:
            return False

    assert anyio.run(verdict, Pieces(*cut)) == anyio.run(verdict, Buffered(bytes(data)))


# --- with a WSDL ---

STOCK = "urn:example:stock:types"
ASKS = f'<GetPrice xmlns="{STOCK}"><symbol>ABC</symbol><currency>EUR</currency></GetPrice>'
WRONG = f'<GetPrice xmlns="{STOCK}"><price>1</price></GetPrice>'


async def test_only_operations_of_the_wsdl_may_be_called() -> None:
    await sent(request(envelope(ASKS)), wsdl="stock.wsdl")
    await refused(request(envelope()), wsdl="stock.wsdl")
    await refused(request(envelope(f'<Other xmlns="{STOCK}"/>')), wsdl="stock.wsdl")


@pytest.mark.parametrize(
    ("settings", "inside", "action", "words"),
    [
        (
            {"operations": ["GetPrice", "{urn:a}Buy"]},
            "<Delete/>",
            b'""',
            "the operation 'Delete' may not be called here; accepted: GetPrice, {urn:a}Buy",
        ),
        ({"operations": ["GetPrice"]}, "", b'""', "an empty Body may not be called here; accepted: GetPrice"),
        (
            {},
            "<a:Buy xmlns:a='urn:a'/>",
            b'"urn:Delete"',
            "the action 'urn:Delete' is not that of the operation '{urn:a}Buy'",
        ),
        (
            {"wsdl": "stock.wsdl"},
            ASKS,
            b'"urn:example:stock/Ping"',
            f"the action 'urn:example:stock/Ping' is not that of the operation '{{{STOCK}}}GetPrice'; accepted: "
            "urn:example:stock/GetPrice",
        ),
        (
            {"wsdl": "stock.wsdl"},
            "<Nope/>",
            b'""',
            f"the WSDL has no operation that begins with 'Nope'; accepted: {{{STOCK}}}Forget, {{{STOCK}}}GetPrice",
        ),
        ({"wsdl": "stock.wsdl"}, "", b'""', f"the WSDL has no operation without content; accepted: {{{STOCK}}}Forget"),
        ({"wsdl": "bare.wsdl"}, "<Nope/>", b'""', "accepted: an empty Body, {http://weather.inside.test/}City"),
    ],
)
async def test_errors_name_what_was_asked_and_what_there_is(
    settings: dict[str, Any], inside: str, action: bytes, words: str
) -> None:
    error = await refused(request(envelope(inside), TEXT, (b"soapaction", action)), **settings)
    assert error.message.startswith(words) or (words.startswith("accepted") and words in error.message)
    assert error.reason is Reason.FORBIDDEN


async def test_what_is_not_published_is_not_listed() -> None:
    error = await refused(request(envelope(f"<{'N' * 5000}/>")), wsdl="stock.wsdl", publish=False)
    assert error.message.startswith("the WSDL has no operation that begins with 'NNN")
    assert "GetPrice" not in error.message
    assert len(error.message) < 300


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        (ASKS, f"the operation '{{{STOCK}}}GetPrice' is not to be had in SOAP 1.2; accepted: SOAP 1.1"),
        ("<Nope/>", "the WSDL has nothing for SOAP 1.2; accepted: SOAP 1.1"),
        ("", "the WSDL has nothing for SOAP 1.2; accepted: SOAP 1.1"),
    ],
)
async def test_a_version_that_the_wsdl_does_not_bind_is_a_mismatch(tmp_path: Path, inside: str, words: str) -> None:
    text = (WSDLS / "stock.wsdl").read_text()
    (tmp_path / "a.wsdl").write_text(re.sub(r'<wsdl:port name="StockSoap12".*?</wsdl:port>', "", text, flags=re.DOTALL))
    settings = {"wsdl": str(tmp_path / "a.wsdl")}
    await sent(request(envelope(ASKS)), **settings)
    asked = request(envelope(inside, SOAP12), SOAP_1_2)
    error = await refused(asked, **settings)
    assert isinstance(error, FaultError)
    assert error.code is Code.VERSION_MISMATCH
    assert error.message == words
    told = (await content(SOAP.render(asked, error).body)).decode()
    assert told.count("SupportedEnvelope") == 1
    assert f'xmlns:v="{SOAP11}"' in told


async def test_operations_that_the_wsdl_does_not_have_cannot_be_set() -> None:
    with pytest.raises(
        SettingsError, match=r"stock\.wsdl has none whose request begins with 'Nope' \(accepted: .*GetPrice"
    ):
        await sent(request(envelope(ASKS)), wsdl="stock.wsdl", operations=["GetPrice", "Nope"])
    await sent(request(envelope(ASKS)), wsdl="stock.wsdl", operations=[f"{{{STOCK}}}GetPrice"])


async def test_the_action_is_that_of_the_wsdl() -> None:
    for action, good in ((b'"urn:example:stock/GetPrice"', True), (b'""', True), (b'"urn:example:stock/Ping"', False)):
        asked = request(envelope(ASKS), TEXT, (b"soapaction", action))
        if good:
            await sent(asked, wsdl="stock.wsdl")
        else:
            await refused(asked, wsdl="stock.wsdl")


async def test_the_wsdl_is_published() -> None:
    back_end = BackEnd()
    asked = request(EMPTY, (b"host", b"a.test"), method="GET", url="http://a.test/shop?wsdl")
    async with filtered(back_end.handle, wsdl="stock.wsdl") as handle:
        published = await content((await handle(asked)).body)
    assert b"http://a.test/shop" in published
    assert not back_end.requests
    async with filtered(back_end.handle, wsdl="stock.wsdl", publish=False) as handle:
        with pytest.raises(ExchangeError):
            await handle(asked)
    async with filtered(back_end.handle, wsdl="stock.wsdl", publish=False, reading="pass") as handle:
        await handle(asked)
    assert back_end.requests


@pytest.mark.parametrize("make", [Buffered, pieces])
async def test_requests_are_valid_by_the_schema(make: Callable[[bytes], Body]) -> None:
    settings = {"wsdl": "stock.wsdl", "validate": "request"}
    assert (await sent(request(make(envelope(ASKS))), **settings)).content == envelope(ASKS)
    await sent(request(make(envelope(WRONG))), wsdl="stock.wsdl")
    error = await refused(request(make(envelope(WRONG))), **settings)
    assert "Body/GetPrice" in error.message


async def test_a_long_request_is_valid_by_the_schema() -> None:
    numbers = "<number>1</number>" * 10_000
    forget = envelope(f'<Forget xmlns="{STOCK}">{numbers}</Forget>')
    settings = {"wsdl": "stock.wsdl", "validate": "request"}
    assert (await sent(request(pieces(forget)), **settings)).content == forget
    await refused(request(pieces(forget.replace(b"1</number></Forget>", b"x</number></Forget>"))), **settings)


async def test_the_envelope_of_attachments_is_valid_and_the_rest_streams() -> None:
    settings = {"wsdl": "stock.wsdl", "validate": "both"}
    for inside, good in ((ASKS, True), (WRONG, False)):
        data = FIRST + envelope(inside) + b"\r\n--bb\r\n\r\n"
        body = Pieces(data, b"attachment", b"\r\n--bb--")
        if good:
            assert (await sent(request(body, MTOM), **settings)).content == data + b"attachment\r\n--bb--"
        else:
            await refused(request(body, MTOM), **settings)
            assert await body.read() == b"attachment"


GOOD = envelope(f'<GetPriceResponse xmlns="{STOCK}"><price>1.5</price></GetPriceResponse>')
LONG_ANSWER = GOOD.replace(b"1.5", b"1." + b"5" * 50_000)
BAD = envelope(f'<GetPriceResponse xmlns="{STOCK}"><price>x</price></GetPriceResponse>')


@pytest.mark.parametrize(
    ("response", "good"),
    [
        (Response(200, (TEXT,), Buffered(GOOD)), True),
        (Response(200, (TEXT,), Buffered(LONG_ANSWER)), True),
        (Response(202), True),
        (Response(500, (TEXT,), Buffered(envelope("<s:Fault/>"))), True),
        (Response(200, (TEXT,), Buffered(BAD)), False),
        (Response(200, (TEXT,), Buffered(GOOD[:-1])), False),
        (Response(200, ((b"content-type", b"text/html"),), Buffered(GOOD)), False),
        (Response(200, (TEXT, (b"content-encoding", b"br")), Buffered(GOOD)), False),
    ],
)
async def test_responses_are_valid_by_the_schema(response: Response, good: bool) -> None:
    back_end = BackEnd(response)
    asked = request(envelope(ASKS), TEXT, (b"accept-encoding", b"gzip"))
    async with filtered(back_end.handle, wsdl="stock.wsdl", validate="response") as handle:
        if good:
            answer = await handle(asked)
            assert answer.status == response.status
            assert await content(answer.body) in (GOOD, LONG_ANSWER, b"", envelope("<s:Fault/>"))
        else:
            with pytest.raises(ExchangeError) as caught:
                await handle(asked)
            assert caught.value.reason is Reason.UPSTREAM_PROTOCOL
    assert back_end.requests[0].header(b"accept-encoding") is None


@pytest.mark.parametrize(
    ("status", "content_type", "passes"),
    [(401, b"text/html", True), (302, b"text/html", True), (503, b"text/plain", True), (500, b"text/html", False)],
)
async def test_responses_that_are_about_http_pass(status: int, content_type: bytes, passes: bool) -> None:
    response = Response(status, ((b"content-type", content_type),), Buffered(b"<html>"))
    async with filtered(BackEnd(response).handle, wsdl="stock.wsdl", validate="both") as handle:
        if passes:
            assert await handle(request(envelope(ASKS))) is response
        else:
            with pytest.raises(ExchangeError):
                await handle(request(envelope(ASKS)))


async def test_a_response_that_streams_is_valid_by_the_schema() -> None:
    for data, good in ((GOOD, True), (BAD, False)):
        body = Pieces(data[:90], data[90:])
        async with filtered(BackEnd(Response(200, (TEXT,), body)).handle, wsdl="stock.wsdl", validate="both") as handle:
            if good:
                assert await content((await handle(request(envelope(ASKS)))).body) == data
            else:
                with pytest.raises(ExchangeError):
                    await handle(request(envelope(ASKS)))
        assert body.closed


def test_there_is_nothing_to_validate_by_without_a_wsdl() -> None:
    with pytest.raises(msgspec.ValidationError, match="wsdl"):
        msgspec.convert({"validate": "both"}, CheckSettings)


# --- many at once ---


class Halting:
    """Content of which the rest comes when `go` is set."""

    length = None
    trailers: Headers = ()

    def __init__(self, data: bytes, rest: bytes) -> None:
        self.data, self.rest = data, rest
        self.came = anyio.Event()
        self.go = anyio.Event()

    async def read(self) -> bytes:
        if self.data:
            data, self.data = self.data, b""
            return data
        self.came.set()
        await self.go.wait()
        data, self.rest = self.rest, b""
        return data

    async def aclose(self) -> None:
        self.data = self.rest = b""


async def test_messages_that_are_not_complete_are_bounded_together() -> None:
    back_end = BackEnd()
    most = 2 * len(LONG)

    async with filtered(back_end.handle, max_held_bytes=most) as handle:

        async def asked(body: Body) -> None:
            await handle(request(body))

        slow = [Halting(LONG[:70_000], LONG[70_000:]) for _ in range(2)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, slow[0])
            await slow[0].came.wait()
            tasks.start_soon(asked, slow[1])
            await slow[1].came.wait()
            with pytest.raises(ExchangeError, match=f"more than {most} bytes together") as caught:
                await asked(pieces(LONG))
            assert caught.value.reason is Reason.OVERLOADED
            assert caught.value.retry_after_seconds == 1
            await asked(pieces(envelope()))  # short ones pass
            slow[0].go.set()
            slow[1].go.set()
        await asked(pieces(LONG))  # and long ones again
    assert len(back_end.requests) == 4


async def test_a_message_alone_may_be_as_long_as_its_limit() -> None:
    assert (await sent(request(pieces(LONG)), max_held_bytes=65_536)).content == LONG
    for spoilt in (LONG[:-1], LONG[:70_000]):
        back_end = BackEnd()
        async with filtered(back_end.handle, max_held_bytes=65_536) as handle:
            with pytest.raises(ExchangeError, match="malformed"):
                await handle(request(pieces(spoilt)))
            await handle(request(pieces(LONG)))  # what was broken off is held no longer
        assert back_end.content == LONG
