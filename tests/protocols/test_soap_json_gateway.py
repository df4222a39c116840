"""Both bridges through a gateway and its connections: zeep as the caller, spyne as the back end, JSON on the other side."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import httpx
import pytest
import zeep
import zeep.exceptions

import daemun_soap
from daemun import BackendType, Buffered, NoSettings, Request, Response
from daemun.extend.loading import installed
from daemun.testing import RunningGateway, built, content, make_plugin, running

pytestmark = pytest.mark.anyio

PLUGINS = [] if "soap" in installed() else [daemun_soap]
WSDLS = Path(__file__).parent / "wsdl"
SPYNE = """
import logging
from wsgiref.simple_server import WSGIRequestHandler, make_server

from spyne import Application, Array, Decimal, Fault, Integer, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11, Soap12
from spyne.server.wsgi import WsgiApplication

logging.disable(logging.CRITICAL)


class Shop(ServiceBase):
    @rpc(Array(Decimal), Integer, _returns=Decimal)
    def total(ctx, prices, times):
        if not prices:
            raise Fault("Client.Empty", "nothing to add up")
        return sum(prices) * times

    @rpc(Unicode, _returns=Unicode)
    def echo(ctx, text):
        return text


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


application = Application([Shop], "urn:spyne:shop", in_protocol=Soap11(validator="lxml"), out_protocol=Soap11())
server = make_server("127.0.0.1", 0, WsgiApplication(application), handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[int]:
    """The port of a server that speaks SOAP."""
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", SPYNE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


async def rest(request: Request) -> Response:
    """A back end that speaks JSON."""
    asked = json.loads(await content(request.body) or b"{}")
    if request.path == b"/rest/PlaceOrder":
        answer = json.dumps({"number": 2**53 + len(asked["order"]["line"])})
        return Response(200, ((b"content-type", b"application/json"),), Buffered(answer.encode()))
    if request.target == b"/prices/ABC?currency=EUR":
        return Response(200, ((b"content-type", b"application/json"),), Buffered(b'{"price":0.10}'))
    problem = {"detail": "never heard of it", "fault": {"detail": {"NoSuchSymbol": {"symbol": "X", "known": 7}}}}
    return Response(404, ((b"content-type", b"application/problem+json"),), Buffered(json.dumps(problem).encode()))


@asynccontextmanager
async def gateway(**route: Any) -> AsyncIterator[RunningGateway]:
    plugin = make_plugin("rest", daemun_backends=lambda: [BackendType("rest", NoSettings, built(rest))])
    source = {
        "type": "inline",
        "backends": {"back": route.pop("backend", {"type": "rest"})},
        "routes": [{"name": "soap", "to": "back", **route}],
    }
    async with running({"sources": [source]}, WSDLS, extra=[*PLUGINS, plugin]) as found:
        yield found


async def post(url: str, data: Any, **headers: str) -> httpx.Response:
    return await anyio.to_thread.run_sync(lambda: httpx.post(url, json=data, headers=headers, timeout=10))


# --- JSON callers, a server of spyne ---


async def test_json_to_a_server_that_speaks_soap(shop: int) -> None:
    settings = {"wsdl": f"http://127.0.0.1:{shop}/?wsdl", "path": "/api"}
    filters = [{"type": "json-to-soap", "settings": settings}]
    async with gateway(filters=filters, backend={"endpoints": [f"http://127.0.0.1:{shop}"]}) as found:
        answer = await post(f"{found.url}/api/total", {"times": 3, "prices": {"decimal": [0.1, 2]}})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.text, parse_float=Decimal) == {"totalResult": Decimal("6.3")}
        text = "<&>\r\n \u2028 한글 \U0001f600"
        answer = await post(f"{found.url}/api/Shop/echo", {"text": text})
        assert answer.json() == {"echoResult": text}
        answer = await post(f"{found.url}/api/total", {"times": 3})
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert answer.json()["detail"] == "nothing to add up"
        assert answer.json()["fault"]["subcodes"] == ["Empty"]
        answer = await post(f"{found.url}/api/total", {"times": "3"})
        assert answer.json()["problems"] == [{"path": "$.times", "message": "is a string (accepted: an integer)"}]
        document = await anyio.to_thread.run_sync(lambda: httpx.get(f"{found.url}/api/openapi.json"))
        assert list(document.json()["paths"]) == ["/Shop/total", "/Shop/echo"]


async def test_errors_of_the_gateway_are_problem_documents(shop: int) -> None:
    settings = {"wsdl": f"http://127.0.0.1:{shop}/?wsdl", "max_request_bytes": 100}
    filters = [{"type": "json-to-soap", "settings": settings}]
    async with gateway(filters=filters, backend={"endpoints": ["http://127.0.0.1:1"]}) as found:
        for data, status, reason in (
            ({"text": "x"}, 502, "connect_failed"),
            ({"text": "x" * 100}, 413, "content_too_large"),
        ):
            answer = await post(f"{found.url}/echo", data, accept="*/*")
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
            assert answer.json()["reason"] == reason


# --- a caller with zeep, a back end that speaks JSON ---


def called(url: str, binding: str, work: Any) -> Any:
    """What `work` returns for a service of zeep, which would ask www.w3.org for the schema of xml:lang."""
    wsdl = re.sub(r'<xsd:(import [^>]*XML/1998|attribute ref="xml:)[^>]*/>', "", (WSDLS / "stock.wsdl").read_text())
    with TemporaryDirectory() as folder:
        (Path(folder) / "stock.wsdl").write_text(wsdl)
        client: Any = zeep.Client(f"{folder}/stock.wsdl")  # type: ignore[no-untyped-call]
    with client:
        return work(client.create_service(binding, f"{url}/soap"), client)


REST = {
    "type": "soap-to-json",
    "settings": {"wsdl": "stock.wsdl", "path": "/rest", "paths": {"GetPrice": "GET /prices/{symbol}"}},
}


@pytest.mark.parametrize("binding", ["{urn:example:stock}StockSoap", "{urn:example:stock}StockSoap12"])
async def test_a_caller_that_speaks_soap(binding: str) -> None:
    def work(service: Any, client: Any) -> tuple[Any, ...]:
        price = service.GetPrice(symbol="ABC", currency="EUR")
        urgent = client.get_type("{urn:example:stock:types}UrgentLine")
        lines = [{"symbol": "ABC", "amount": 1}, urgent(symbol="DEF", amount=2, before="2026-01-01T00:00:00Z")]
        number = service.PlaceOrder(order={"id": "o1", "line": lines, "card": "1"})
        with pytest.raises(zeep.exceptions.Fault) as caught:
            service.GetPrice(symbol="X", currency="EUR")
        with pytest.raises(zeep.exceptions.Fault) as invalid:
            service.GetPrice(symbol="not one", currency="EUR")
        return price, number, caught.value, invalid.value

    async with gateway(filters=[REST]) as found:
        price, number, fault, invalid = await anyio.to_thread.run_sync(called, found.url, binding, work)
    assert price == Decimal("0.10")
    assert number == 2**53 + 2
    assert fault.message == "never heard of it"
    assert fault.code.partition(":")[2] == ("Client" if binding.endswith("Soap") else "Sender")
    assert fault.detail[0].tag == "{urn:example:stock:types}NoSuchSymbol"
    assert [child.text for child in fault.detail[0]] == ["X", "7"]
    assert "is not valid" in invalid.message
    assert "symbol" in invalid.message
