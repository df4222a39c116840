"""SOAP stacks at both ends: zeep and Node's package before the gateway, Node's and spyne behind it; signed and large messages."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from http.server import ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from .conftest import GatewayProcess, Start
from .peak import Peak
from .soap_back_ends import (
    CONTENT_TYPES,
    NAMESPACES,
    Jsonic,
    Recording,
    envelope,
    hash_of,
    large,
    large_bytes,
    large_type,
)
from .tools import FOREIGN, node, node_folder, told_by_node

zeep = pytest.importorskip("zeep")

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]  # packages may have to be installed

WSDLS = FOREIGN / "soap"
SHOP = str(WSDLS / "shop.wsdl")
GROWTH_MB = 20

Port = Callable[[], int]


class Stack(Struct, frozen=True):
    """A server of SOAP."""

    port: int
    path: str
    version: str
    wsdl: str
    """Where its description is, for the gateway."""
    service: str
    endpoint: str
    """Names of its service and port in the description."""


@pytest.fixture(params=["node 1.1", "node 1.2", "spyne 1.1", "spyne 1.2"])
def stack(request: pytest.FixtureRequest, program: Callable[..., None], free_port: Port) -> Stack:
    """A shop."""
    kind, version = request.param.split()
    port = free_port()
    if kind == "node":
        return node_stack(program, port, version)
    return spyne_stack(program, port, version)


def node_stack(program: Callable[..., None], port: int, version: str) -> Stack:
    program([node(), "soap_server.mjs", port, SHOP, version], port, node_folder())
    return Stack(port, "/soap", version, SHOP, "ShopService", "Shop" if version == "1.1" else "Shop12")


def spyne_stack(program: Callable[..., None], port: int, version: str) -> Stack:
    if find_spec("spyne") is None:
        pytest.skip("spyne: not installed")
    program([sys.executable, FOREIGN / "python" / "soap_spyne.py", port], port)
    path = f"/{version.replace('.', '')}"
    return Stack(port, path, version, f"http://127.0.0.1:{port}{path}/?wsdl", "Shop", "Shop")


class Loading(zeep.Transport):  # type: ignore[misc, name-defined]
    """Notes what is fetched."""

    def __init__(self) -> None:
        super().__init__(timeout=20, operation_timeout=20)
        self.session.trust_env = False
        self.loaded: dict[str, bytes] = {}

    def load(self, url: str) -> bytes:
        content: bytes = super().load(url)
        self.loaded[url] = content
        return content


def soap_filter(wsdl: str, **settings: Any) -> dict[str, Any]:
    return {"type": "soap", "settings": {"wsdl": wsdl, **settings}}


def started(start: Start, stack: Stack, **settings: Any) -> GatewayProcess:
    route = {"name": "soap", "to": "up", "filters": [soap_filter(stack.wsdl, **settings)]}
    return start(stack.port, routes=[route])


def facts(service: Any) -> dict[str, Any]:
    """What zeep sees of a shop."""
    order = {
        "id": "o7",
        "line": [{"sku": "a", "count": 2}, {"sku": "b", "count": 3}],
        "note": zeep.xsd.Nil,
        "photo": bytes(range(256)),
    }
    receipt = service.PlaceOrder(order=order)
    with pytest.raises(zeep.exceptions.Fault) as caught:
        service.GetPrice(symbol="NONE")
    fault = caught.value
    return {
        "price": service.GetPrice(symbol="ABC"),
        "price of a day": service.GetPrice(symbol="ABC", day=date(2026, 11, 23)),
        "receipt": (receipt.number, receipt.items, receipt.sku, receipt.photo == order["photo"]),
        "fault": (fault.code.rpartition(":")[2], fault.message, "".join(fault.detail.itertext())),
    }


FACTS: dict[str, Any] = {
    "price": Decimal("13.00"),
    "price of a day": Decimal("12.50"),
    "receipt": ("o7-1", 5, ["a", "b"], True),
    "fault": ("Client", "no such symbol", "NONE"),
}


@pytest.mark.parametrize("validate", ["none", "both"])
def test_zeep_reads_the_published_wsdl_and_calls(validate: str, start: Start, stack: Stack) -> None:
    gateway, transport = started(start, stack, validate=validate), Loading()
    client = zeep.Client(f"{gateway.url}{stack.path}?wsdl", transport=transport)
    assert [url for url in transport.loaded if not url.startswith(f"{gateway.url}/")] == []
    for inside in (b"inside.test", f":{stack.port}".encode()):
        assert [url for url, content in transport.loaded.items() if inside in content] == []
    ports = [port for service in client.wsdl.services.values() for port in service.ports.values()]
    assert {port.binding_options["address"] for port in ports} == {f"{gateway.url}{stack.path}"}
    code = "Client" if stack.version == "1.1" else "Sender"
    expected = {**FACTS, "fault": (code, *FACTS["fault"][1:])}
    assert facts(client.bind(stack.service, stack.endpoint)) == expected


@pytest.mark.parametrize(("name", "service"), [("calc", "CalcService"), ("weather", "WeatherService")])
def test_zeep_speaks_other_dialects(
    name: str, service: str, start: Start, program: Callable[..., None], free_port: Port
) -> None:
    port, wsdl = free_port(), WSDLS / f"{name}.wsdl"
    program([node(), "soap_server.mjs", port, wsdl, "1.1"], port, node_folder())
    # answers to RPC are not validated: the package qualifies the names of parts, against WS-I's R2735
    validate = "request" if name == "calc" else "both"
    gateway = started(start, Stack(port, "/soap", "1.1", str(wsdl), service, ""), validate=validate)
    client = zeep.Client(f"{gateway.url}/soap?wsdl", transport=Loading())
    if name == "calc":
        assert client.service.add(a=40, b=2) == 42
        point = client.service.middle(one={"x": 1, "y": 2}, other={"x": 3, "y": 5})
        assert (point.x, point.y) == (2.0, 3.5)
    else:
        ports = client.wsdl.services[service].ports
        assert {port.binding_options["address"] for port in ports.values()} == {f"{gateway.url}/soap"}
        assert [client.bind(service, port).ask("Berlin") for port in ports] == [Decimal("21.5")] * 2


def test_json_calls_a_stack(start: Start, stack: Stack) -> None:
    settings = {"wsdl": stack.wsdl, "path": "/json", "port": stack.endpoint, "back_end_path": stack.path}
    gateway = start(
        stack.port, routes=[{"name": "json", "to": "up", "filters": [{"type": "json-to-soap", "settings": settings}]}]
    )
    assert asked(gateway, "GetPrice", {"symbol": "ABC", "day": "2026-11-23"}) == (200, {"GetPriceResult": 12.5})
    lines = [{"sku": "a", "count": 2}, {"count": 3, "sku": "b"}]  # members have no order
    status, told = asked(gateway, "PlaceOrder", {"order": {"photo": "AAEC", "note": None, "line": lines, "@id": "o7"}})
    assert (status, told) == (
        200,
        {"PlaceOrderResult": {"number": "o7-1", "items": 5, "sku": ["a", "b"], "photo": "AAEC"}},
    )
    status, told = asked(gateway, "GetPrice", {"symbol": "NONE"})
    assert (status, told["detail"], told["fault"]["detail"]) == (400, "no such symbol", {"NoSuchSymbol": "NONE"})
    assert asked(gateway, "PlaceOrder", {"order": {"line": [{"sku": "a", "count": "many"}]}})[0] == 400


def asked(gateway: GatewayProcess, operation: str, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and document of the answer to JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    try:
        connection.request("POST", f"/json/{operation}", json.dumps(document), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_zeep_calls_a_back_end_of_json(start: Start, jsonic: int) -> None:
    settings = {"wsdl": SHOP, "path": "/shop", "paths": {"GetPrice": "GET /shop/prices/{symbol}"}}
    filters = [{"type": "soap-to-json", "settings": settings}]
    gateway = start(jsonic, routes=[{"name": "soap", "to": "up", "filters": filters}])
    client = zeep.Client(SHOP, transport=Loading())
    for binding, code in (("Shop", "Client"), ("Shop12", "Sender")):
        service = client.create_service(f"{{urn:shop:service}}{binding}", f"{gateway.url}/soap")
        assert facts(service) == {**FACTS, "fault": (code, *FACTS["fault"][1:])}


@pytest.fixture
def jsonic() -> Iterator[int]:
    """Its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Jsonic) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_operations_have_routes_of_their_own(start: Start, program: Callable[..., None], free_port: Port) -> None:
    first, second = node_stack(program, free_port(), "1.1"), spyne_stack(program, free_port(), "1.1")
    matcher = {"type": "soap", "settings": {"operations": ["{urn:shop}PlaceOrder"]}}
    source = {
        "type": "inline",
        "backends": {
            "node": {"endpoints": [f"http://127.0.0.1:{first.port}"]},
            "spyne": {"endpoints": [f"http://127.0.0.1:{second.port}"]},
        },
        "routes": [
            {
                "name": "orders",
                "match": {"path": "/soap", "matchers": [matcher]},
                "rewrite": {"path": "/11"},
                "to": "spyne",
            },
            {"name": "rest", "match": {"path": "/soap"}, "to": "node"},
        ],
    }
    gateway = start(0, sources=[source])
    servers = {}
    for operation, body in (("GetPrice", "<symbol>ABC</symbol>"), ("PlaceOrder", "<order id='1'/>")):
        content = envelope("1.1", f"<{operation} xmlns='urn:shop'>{body}</{operation}>")
        servers[operation] = posted(gateway.port, "/soap", "1.1", content)[2]
    assert b"soap11env:" in servers["PlaceOrder"]
    assert b"soap11env:" not in servers["GetPrice"]


def posted(port: int, path: str, version: str, content: bytes, action: str = "") -> tuple[int, str, bytes]:
    """Status, type and content of the answer to a message."""
    content_type = CONTENT_TYPES[version]
    headers = {"content-type": content_type}
    if version == "1.1":
        headers["soapaction"] = f'"{action}"'
    elif action:
        headers["content-type"] = f'{content_type}; action="{action}"'
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, content, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["content-type"], answer.read()
    finally:
        connection.close()


def test_a_fault_stays_as_it_is(start: Start, stack: Stack) -> None:
    gateway = started(start, stack)
    content = envelope(stack.version, "<GetPrice xmlns='urn:shop'><symbol>NONE</symbol></GetPrice>")
    direct = posted(stack.port, stack.path, stack.version, content)
    assert direct[0] >= 400
    assert b"no such symbol" in direct[2]
    assert posted(gateway.port, stack.path, stack.version, content) == direct


@pytest.fixture
def recording() -> Iterator[Recording]:
    with Recording() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


PRICE = "<GetPrice xmlns='urn:shop'><symbol>ABC</symbol></GetPrice>"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_an_action_that_is_not_the_bodys_is_refused(version: str, start: Start, recording: Recording) -> None:
    filters = [soap_filter(SHOP)]
    gateway = start(recording.server_port, routes=[{"name": "soap", "to": "up", "filters": filters}])
    content = envelope(version, PRICE)
    status, content_type, answer = posted(gateway.port, "/soap", version, content, "urn:shop/PlaceOrder")
    assert (status, content_type.partition(";")[0]) == (
        (500, "text/xml") if version == "1.1" else (400, "application/soap+xml")
    )
    assert NAMESPACES[version].encode() in answer
    assert (b":Client<" if version == "1.1" else b":Sender<") in answer
    assert posted(gateway.port, "/soap", version, envelope(version, "<Erase xmlns='urn:shop'/>"))[0] == status
    assert recording.contents == []
    assert posted(gateway.port, "/soap", version, content, "urn:shop/GetPrice")[0] == 200
    assert recording.contents == [content]


@pytest.mark.parametrize("validate", ["none", "both"])
def test_a_signed_message_passes_byte_for_byte(
    validate: str, start: Start, recording: Recording, tmp_path: Path
) -> None:
    gateway = start(
        recording.server_port,
        routes=[{"name": "soap", "to": "up", "filters": [soap_filter(SHOP, validate=validate)]}],
    )
    key, certificate, message = (str(tmp_path / name) for name in ("key.pem", "certificate.pem", "message.xml"))
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=signer.test"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    told = told_by_node("soap_signed.mjs", "call", SHOP, f"{gateway.url}/soap", key, certificate)
    assert told == {"price": "1", "sent": recording.hashes[0]}
    assert b"<Signature " in recording.contents[0]
    Path(message).write_bytes(recording.contents[0])
    assert told_by_node("soap_signed.mjs", "verify", message, certificate) == {"verified": True}


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize("validate", ["none", "request"])
def test_a_large_attachment_stays_out_of_memory(
    validate: str, chunked: bool, start: Start, recording: Recording
) -> None:
    gateway = start(
        recording.server_port,
        routes=[{"name": "soap", "to": "up", "filters": [soap_filter(SHOP, validate=validate)]}],
    )
    posted(gateway.port, "/soap", "1.1", envelope("1.1", PRICE))  # the first one imports and connects
    peak = Peak(gateway.pid)
    framing = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(large_bytes("PlaceOrder"))}
    headers = {"content-type": large_type("1.1"), "soapaction": '"urn:shop/PlaceOrder"', **framing}
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    connection.request("POST", "/large", large("PlaceOrder"), headers, encode_chunked=chunked)
    answer = connection.getresponse()
    assert answer.status == 200
    assert hash_of(iter(lambda: answer.read(1 << 16), b"")) == hash_of(large("PlaceOrderResponse"))
    connection.close()
    assert recording.hashes[-1] == hash_of(large("PlaceOrder"))
    assert peak.grown_mb() <= GROWTH_MB
