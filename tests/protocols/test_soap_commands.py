"""`daemun soap`: what a WSDL offers, its OpenAPI, and calls, also of a server that nobody here wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from daemun import SettingsError
from daemun_soap.commands import soap
from daemun_soap.wsdl.read import read_wsdl

WSDLS = Path(__file__).parent / "wsdl"
STOCK = str(WSDLS / "stock.wsdl")
SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
PRICE = '{"symbol":"ABC","currency":null}'


def run(*arguments: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(soap, list(arguments), input=stdin)


def enveloped(body: str) -> bytes:
    return f'<s:Envelope xmlns:s="{SOAP11}" xmlns:t="urn:example:stock:types"><s:Body>{body}</s:Body></s:Envelope>'.encode()


class Server:
    """Answers every request as it is told, and remembers it."""

    def __init__(self) -> None:
        self.status = 200
        self.content_type = "text/xml; charset=utf-8"
        self.cut = False
        """Whether the answer ends too early."""
        self.content = enveloped("<t:GetPriceResponse><t:price>1.50</t:price></t:GetPriceResponse>")
        self.headers: dict[str, str] = {}
        self.asked = b""
        self.url = ""


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.headers = {name.lower(): value for name, value in self.headers.items()}
            told.asked = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(told.status)
            self.send_header("content-type", told.content_type)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", str(len(told.content) + told.cut))
            self.end_headers()
            self.wfile.write(told.content)

        def log_message(self, *_: Any) -> None:
            return None

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        told.url = f"http://127.0.0.1:{http.server_port}/soap"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield told
        http.shutdown()
        thread.join()


# --- operations, openapi ---


def test_operations_are_a_table() -> None:
    result = run("operations", STOCK)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].split() == ["SERVICE", "PORT", "VERSION", "STYLE", "OPERATION", "ACTION"]
    assert lines[1].split() == [
        "StockService",
        "StockSoap",
        "1.1",
        "document/literal",
        "GetPrice",
        "urn:example:stock/GetPrice",
    ]
    assert len(lines) == 7


def test_operations_are_json_for_programs() -> None:
    rows = json.loads(run("operations", STOCK, "--json").output)
    assert rows[2] == {
        "service": "StockService", "port": "StockSoap", "version": "1.1", "style": "document/literal",
        "operation": "Forget", "action": "",
    }  # fmt: skip
    assert {row["style"] for row in json.loads(run("operations", str(WSDLS / "encoded.wsdl"), "--json").output)} == {
        "rpc/encoded"
    }


def test_openapi_is_printed_or_written(tmp_path: Path) -> None:
    printed = json.loads(run("openapi", STOCK, "--server", "https://api.test/x").output)
    assert printed["openapi"] == "3.1.0"
    assert printed["servers"] == [{"url": "https://api.test/x"}]
    result = run(
        "openapi", STOCK, "--service", "StockService", "--port", "StockSoap12", "-o", str(tmp_path / "out.json")
    )
    assert (result.exit_code, result.output) == (0, "")
    assert list(json.loads((tmp_path / "out.json").read_text())["paths"]) == [
        "/StockService/GetPrice",
        "/StockService/PlaceOrder",
    ]


def test_a_wsdl_that_is_not_there_is_an_error_of_ours() -> None:
    result = run("operations", "nope.wsdl")
    assert result.exit_code == 1
    assert isinstance(result.exception, SettingsError)


# --- call ---


@pytest.mark.parametrize("stdin", [False, True])
def test_a_call_prints_its_answer(server: Server, stdin: bool) -> None:
    given = ("-",) if stdin else (PRICE,)
    result = run(
        "call", STOCK, "GetPrice", *given, "--endpoint", server.url, "-H", "X-Own: 1", stdin=PRICE if stdin else ""
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"price": 1.5}
    assert "1.50" in result.stdout
    assert result.stderr == ""
    assert server.headers["soapaction"] == '"urn:example:stock/GetPrice"'
    assert server.headers["content-type"] == "text/xml; charset=utf-8"
    assert server.headers["x-own"] == "1"
    assert b"<s:symbol>ABC</s:symbol>" in server.asked


def test_a_call_in_soap_1_2(server: Server) -> None:
    server.content = server.content.replace(SOAP11.encode(), b"http://www.w3.org/2003/05/soap-envelope")
    server.content_type = "application/soap+xml"
    result = run("call", STOCK, "StockService/GetPrice", PRICE, "--endpoint", server.url, "--soap-version", "1.2")
    assert json.loads(result.stdout) == {"price": 1.5}
    assert server.headers["content-type"] == 'application/soap+xml; charset=utf-8; action="urn:example:stock/GetPrice"'
    assert b"http://www.w3.org/2003/05/soap-envelope" in server.asked


def test_raw_prints_the_answer_as_it_came(server: Server) -> None:
    result = run("call", STOCK, "GetPrice", PRICE, "--endpoint", server.url, "--raw")
    assert result.stdout_bytes == server.content + b"\n"


def test_a_fault_is_a_problem_on_standard_error(server: Server) -> None:
    server.status = 500
    server.content = enveloped("<s:Fault><faultcode>s:Server</faultcode><faultstring>broken</faultstring></s:Fault>")
    result = run("call", STOCK, "GetPrice", PRICE, "--endpoint", server.url)
    assert (result.exit_code, result.stdout) == (1, "")
    problem = json.loads(result.stderr)
    assert (problem["status"], problem["detail"], problem["fault"]["code"]) == (500, "broken", "Server")
    result = run("call", STOCK, "GetPrice", PRICE, "--endpoint", server.url, "--raw")
    assert (result.exit_code, result.stderr.encode()) == (1, server.content + b"\n")


@pytest.mark.parametrize(
    ("status", "content_type"), [(302, "text/html"), (404, "text/html"), (200, "text/html"), (200, "text/xml")]
)
def test_what_is_no_answer_is_a_problem(server: Server, status: int, content_type: str) -> None:
    server.status, server.content_type, server.content = status, content_type, b"<html/>"
    result = run("call", STOCK, "GetPrice", PRICE, "--endpoint", server.url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr)["status"] == 502


def test_one_way_calls_print_nothing(server: Server) -> None:
    server.status, server.content = 202, b""
    result = run("call", STOCK, "Forget", '{"number":[1]}', "--endpoint", server.url)
    assert (result.exit_code, result.output) == (0, "")


def test_json_that_does_not_fit_is_a_problem(server: Server) -> None:
    result = run("call", STOCK, "GetPrice", '{"symbol":"abc","currency":null}', "--endpoint", server.url)
    assert result.exit_code == 1
    assert [one["path"] for one in json.loads(result.stderr)["problems"]] == ["$.symbol"]
    assert server.asked == b""


def test_nobody_at_the_endpoint_is_a_problem() -> None:
    result = run("call", STOCK, "GetPrice", PRICE, "--endpoint", "http://127.0.0.1:1/")
    assert result.exit_code == 1
    assert "cannot be called" in json.loads(result.stderr)["detail"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Nope",), "operation 'Nope' is not known (accepted: StockService/GetPrice"),
        (("GetPrice", "{"), "JSON: is no JSON"),
        (("GetPrice", "{}", "--endpoint", "file:///etc/passwd"), "accepted: an http or https URL"),
        (("GetPrice", "{}", "--endpoint", "http://a.test/\u00e9"), "in ASCII"),
        (("GetPrice", "{}", "--endpoint", "http://[x/"), "a malformed endpoint"),
        (("GetPrice", "{}", "--endpoint", "http://me:secret@a.test/"), "with a name or a password"),
        (("GetPrice", "{}", "-H", "nope"), "is not `Name: value`"),
        (("GetPrice", "{}", "-H", "a: b\r\nc: d"), "is not `Name: value`"),
        (("GetPrice", "{}", "--soap-version", "1.3"), "1.3"),
        (("GetPrice", "{}", "--timeout", "0"), "--timeout"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], words: str) -> None:
    result = run("call", STOCK, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "secret" not in result.stderr


def test_a_location_that_is_none_is_an_error_of_ours() -> None:
    with pytest.raises(SettingsError, match="malformed"):
        anyio.run(read_wsdl, "http://[x/a.wsdl", WSDLS)


def test_an_answer_that_only_says_that_it_is_json_is_printed_as_it_came(server: Server) -> None:
    server.content, server.content_type = b"{no", "application/json"
    result = run("call", STOCK, "GetPrice", PRICE, "--endpoint", server.url, "--raw")
    assert result.stdout_bytes == b"{no\n"


def test_an_error_that_breaks_off_is_a_problem(server: Server) -> None:
    server.status, server.cut = 500, True
    result = run("call", STOCK, "GetPrice", PRICE, "--endpoint", server.url)
    assert result.exit_code == 1
    assert "breaks off" in json.loads(result.stderr)["detail"]


# --- a server that nobody here wrote ---

SPYNE = """
import logging
from wsgiref.simple_server import WSGIRequestHandler, make_server

from spyne import Application, Array, ComplexModel, Date, Decimal, Fault, Integer, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication

logging.disable(logging.CRITICAL)


class Line(ComplexModel):
    __namespace__ = "urn:spyne:shop"
    name = Unicode(min_occurs=1, nillable=False)
    price = Decimal
    day = Date


class Shop(ServiceBase):
    @rpc(Array(Line), Integer, _returns=Decimal)
    def total(ctx, lines, times):
        if not lines:
            raise Fault("Client.Empty", "nothing to add up")
        return sum(line.price for line in lines) * times

    @rpc(Unicode, _returns=Array(Line))
    def find(ctx, name):
        return [Line(name=name, price="0.10"), Line(name=name + "2", price="12345678901234567890.01")]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


application = Application([Shop], "urn:spyne:shop", in_protocol=Soap11(validator="lxml"), out_protocol=Soap11())
server = make_server("127.0.0.1", 0, WsgiApplication(application), handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", SPYNE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/?wsdl"
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def test_a_call_of_spyne_and_its_answer(shop: str) -> None:
    lines = '{"Line":[{"name":"a","price":0.10,"day":"2026-01-31"},{"price":1e2,"name":"b"}]}'
    result = run("call", shop, "total", f'{{"times":3,"lines":{lines}}}')
    assert result.exit_code == 0, result.output
    assert "300.30" in result.stdout
    assert json.loads(result.stdout) == {"totalResult": 300.3}
    result = run("call", shop, "find", '{"name":"x"}')
    assert '"price": 12345678901234567890.01' in result.stdout
    assert [line["name"] for line in json.loads(result.stdout)["findResult"]["Line"]] == ["x", "x2"]


def test_a_fault_of_spyne(shop: str) -> None:
    result = run("call", shop, "total", '{"times":3}')
    assert result.exit_code == 1
    problem = json.loads(result.stderr)
    assert (problem["status"], problem["detail"]) == (400, "nothing to add up")
    assert problem["fault"]["code"] == "Client"
    assert problem["fault"]["subcodes"] == ["Empty"]
