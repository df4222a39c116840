"""What clients see of a WSDL: its documents at the outside address, with no inside one left in them."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import zeep
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from zeep.transports import Transport

from daemun import Buffered, NoContent, Peer, Response, SettingsError
from daemun.testing import make_request
from daemun_soap.wsdl.contract import Contract, open_contract
from daemun_soap.wsdl.known import known_schema
from daemun_soap.wsdl.model import Service, Wsdl
from daemun_soap.wsdl.read import read_wsdl

BASE = Path(__file__).parent / "wsdl"
OUTSIDE = "https://api.example.com/shop/soap"
FIXTURES = [
    "stock.wsdl",
    "bare.wsdl",
    "rpc.wsdl",
    "encoded.wsdl",
    "split/main.wsdl",
    "mtom.wsdl",
    "quirky.wsdl",
    "redefined/main.wsdl",
]
LOCATIONS = re.compile(rb'(?<![\w:])(?:schemaL|l)ocation="([^"]*)"')


@functools.cache
def contract(name: str) -> Contract:
    return anyio.run(open_contract, name, BASE)


def asked(contract: Contract, url: str, method: str = "GET", **headers: str) -> Response:
    fields = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    response = contract.published(make_request(method, url, fields))
    assert response is not None
    return response


def data(response: Response) -> bytes:
    assert response.status == 200
    assert isinstance(response.body, Buffered)
    return response.body.data


def all_documents(contract: Contract, url: str = OUTSIDE) -> dict[str, bytes]:
    """Every document that a client finds, by its URL."""
    found: dict[str, bytes] = {}
    waiting = [f"{url}?wsdl"]
    while waiting:
        place = waiting.pop()
        if place not in found:
            found[place] = data(asked(contract, place))
            waiting += [location.decode() for location in LOCATIONS.findall(found[place]) if b"?" in location]
    return found


@pytest.mark.parametrize("name", FIXTURES)
def test_every_address_is_an_outside_one(name: str) -> None:
    found = all_documents(contract(name))
    assert len(found) == len(contract(name).wsdl.documents)
    for document in found.values():
        for location in LOCATIONS.findall(document):
            assert location.startswith(OUTSIDE.encode()) or location == b"/GetPrice"  # of http:operation, relative
        root = etree.fromstring(document)
        namespaces = {str(space).encode() for element in root.iter("{*}*") for space in element.nsmap.values()}
        actions = {
            str(value).encode() for element in root.iter("{*}*") for name, value in element.items() if "Action" in name
        }
        for inside in re.findall(rb"[\w:/.-]*(?:inside\.test|10\.1\.2\.3)[\w:/.-]*", document):
            assert inside in namespaces | actions


@pytest.mark.parametrize("name", [name for name in FIXTURES if name not in ("quirky.wsdl", "redefined/main.wsdl")])
def test_a_client_finds_everything_at_the_outside_address(name: str) -> None:
    class Loader(Transport):
        def load(self, url: str) -> bytes:
            if url == "http://schemas.xmlsoap.org/soap/encoding/":  # zeep has it at hand, by this name
                return known_schema(url) or b""
            assert url.startswith(OUTSIDE + "?")
            return data(asked(contract(name), url))

    client = zeep.Client(f"{OUTSIDE}?wsdl", transport=Loader())  # type: ignore[no-untyped-call]
    seen = {
        (service.name, port.name): (port.binding_options["address"], set(port.binding._operations))
        for service in client.wsdl.services.values()
        for port in service.ports.values()
    }
    for service in contract(name).wsdl.services:
        for port in service.ports:
            _, operations = seen[service.name, port.name]
            assert operations >= {operation.name for operation in port.operations}
    assert {address for address, _ in seen.values()} <= {OUTSIDE, OUTSIDE + "/GetPrice"}


def test_names_comments_and_documentation_stay() -> None:
    document = data(asked(contract("stock.wsdl"), f"{OUTSIDE}?wsdl"))
    assert document.startswith(b"<?xml version='1.0' encoding='UTF-8'?>\n<!-- Document/literal wrapped")
    assert f"<wsdl:documentation>What is in stock. Try {OUTSIDE} by hand.</wsdl:documentation>".encode() in document
    assert f"<wsa:Address>{OUTSIDE}</wsa:Address>".encode() in document
    before = etree.parse(BASE / "stock.wsdl").getroot()
    assert etree.fromstring(document).nsmap == before.nsmap
    assert [element.tag for element in etree.fromstring(document).iter()] == [element.tag for element in before.iter()]


def test_what_is_not_reached_over_http_is_not_there_outside() -> None:
    document = data(asked(contract("quirky.wsdl"), f"{OUTSIDE}?wsdl"))
    assert b'name="Queue" binding' not in document
    assert b"no-such-file" not in document
    assert b"xsi:schemaLocation" not in document
    assert b'<xsd:import namespace="urn:example:gone"/>' in document


def test_a_port_without_an_address_of_its_version_gets_one(tmp_path: Path) -> None:
    text = (BASE / "stock.wsdl").read_text()
    (tmp_path / "a.wsdl").write_text(
        text.replace('<soap:address location="http://stock.inside.test:8080/soap/stock"/>', "").replace(
            "soap12:address", "soap:address"
        )
    )
    document = data(asked(anyio.run(open_contract, "a.wsdl", tmp_path), f"{OUTSIDE}?wsdl"))
    assert document.count(f'<soap:address location="{OUTSIDE}"/>'.encode()) == 2
    assert document.count(f'<soap12:address location="{OUTSIDE}"/>'.encode()) == 1


def test_attributes_and_secrets_show_no_inside_host(tmp_path: Path) -> None:
    hidden = (
        '<p:Ref xmlns:p="urn:p" href="http://STOCK.inside.test:8080/policy" other="https://stock.inside.test:8443/x"/>'
        "http://user:pw@stock.inside.test/x"
    )
    text = (BASE / "stock.wsdl").read_text().replace("What is in stock.", hidden)
    (tmp_path / "a.wsdl").write_text(text)
    document = data(asked(anyio.run(open_contract, "a.wsdl", tmp_path), f"{OUTSIDE}?wsdl"))
    assert b"inside.test" not in document.lower()
    assert b"user:pw" not in document
    assert b'/policy"' in document


def test_marks_that_a_caller_writes_are_only_text() -> None:
    request = make_request("GET", "http://a&b.test/daemun-outside-origin-in-comment/daemun-outside-url?wsdl")
    response = contract("stock.wsdl").published(request)
    assert response is not None
    found = etree.fromstring(data(response)).find(".//{*}address")
    assert found is not None
    assert found.get("location") == "http://a&b.test/daemun-outside-origin-in-comment/daemun-outside-url"


def test_policies_show_no_inside_host() -> None:
    document = data(asked(contract("mtom.wsdl"), f"{OUTSIDE}?wsdl"))
    assert b">https://api.example.com/sts</wsa:Address>" in document
    assert b'<wsp:PolicyReference URI="#Mtom"/>' in document


@pytest.mark.parametrize("query", ["wsdl", "WSDL", "Wsdl", "wsdl=", "singleWsdl", "wsdl&x=1"])
def test_the_wsdl_is_found_in_any_spelling(query: str) -> None:
    response = asked(contract("stock.wsdl"), f"{OUTSIDE}?{query}")
    assert data(response) == data(asked(contract("stock.wsdl"), f"{OUTSIDE}?wsdl"))
    assert response.header(b"content-type") == b"text/xml; charset=utf-8"


@pytest.mark.parametrize("query", ["wsdl=0", "wsdl=2", "xsd=5", "xsd=0", "xsd=9999"])
def test_a_number_that_there_is_not_is_404(query: str) -> None:
    assert asked(contract("split/main.wsdl"), f"{OUTSIDE}?{query}").status == 404


@pytest.mark.parametrize("query", ["", "?", "?xsd", "?wsdl=a", "?wsdl2", "?a=wsdl", "?xsd=12345", "?xsd=²"])
def test_any_other_request_is_not_for_the_publisher(query: str) -> None:
    assert contract("stock.wsdl").published(make_request("GET", OUTSIDE + query)) is None
    assert contract("stock.wsdl").published(make_request("POST", f"{OUTSIDE}?wsdl")) is None


def test_a_document_is_not_sent_twice_to_who_has_it() -> None:
    stock = contract("stock.wsdl")
    tag = asked(stock, f"{OUTSIDE}?wsdl").header(b"etag")
    assert tag is not None
    for field in (tag, b'"other", ' + tag, b"W/" + tag, b"*"):
        response = asked(stock, f"{OUTSIDE}?wsdl", if_none_match=field.decode())
        assert (response.status, response.header(b"etag"), response.body.length) == (304, tag, 0)
    assert asked(stock, f"{OUTSIDE}?wsdl", if_none_match='"other"').status == 200
    assert asked(stock, f"{OUTSIDE}/elsewhere?wsdl", if_none_match=tag.decode()).status == 200


def test_head_tells_the_length() -> None:
    response = asked(contract("stock.wsdl"), f"{OUTSIDE}?wsdl", "HEAD")
    assert isinstance(response.body, NoContent)
    assert response.body.length == len(data(asked(contract("stock.wsdl"), f"{OUTSIDE}?wsdl")))


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        ({}, "http://a.test:81/x"),
        ({"x_forwarded_proto": "https", "x_forwarded_host": "out.example"}, "https://out.example/x"),
        (
            {"x_forwarded_proto": "http, https", "x_forwarded_host": "a.example, b.example:8443"},
            "https://b.example:8443/x",
        ),
        ({"x_forwarded_host": "[2001:db8::1]:80"}, "http://[2001:db8::1]:80/x"),
        ({"x_forwarded_proto": "gopher", "x_forwarded_host": '"><script>'}, "http://a.test:81/x"),
    ],
)
def test_the_address_is_the_one_that_the_client_used(headers: dict[str, str], seen: str) -> None:
    document = data(asked(contract("stock.wsdl"), "http://a.test:81/x?wsdl", **headers))
    assert f'<soap:address location="{seen}"/>'.encode() in document


def test_without_a_host_the_address_is_the_listener_s() -> None:
    peer = Peer(local="127.0.0.1:8080", scheme="https")
    request = make_request("GET", "http:///x?wsdl", peer=peer)
    response = contract("stock.wsdl").published(request)
    assert response is not None
    assert b'location="https://127.0.0.1:8080/x"' in data(response)


def test_the_address_may_be_set() -> None:
    fixed = anyio.run(functools.partial(open_contract, address="https://fixed.example/a/b"), "split/main.wsdl", BASE)
    assert len(all_documents(fixed, "https://fixed.example/a/b")) == 6
    assert all_documents(fixed, "https://fixed.example/a/b")["https://fixed.example/a/b?wsdl"] == data(
        asked(fixed, f"{OUTSIDE}?wsdl", x_forwarded_host="other.example")
    )


@pytest.mark.parametrize(
    "address", ["ftp://a", "a.example", "https://", "https://a/?b", "https://a/#b", "https://u:p@a/"]
)
def test_what_is_no_address_cannot_be_set(address: str) -> None:
    with pytest.raises(SettingsError, match=r"is no outside address \(accepted"):
        anyio.run(functools.partial(open_contract, address=address), "stock.wsdl", BASE)


@given(
    st.lists(st.tuples(st.text("abc-.&<'\"%", min_size=1), st.text("abc/&'%2", max_size=9)), min_size=1, max_size=20)
)
def test_whatever_address_is_seen_the_document_is_well_formed(seen: list[tuple[str, str]]) -> None:
    stock = contract("stock.wsdl")
    for host, path in seen:
        request = make_request("GET", "http://a.test/?wsdl").with_authority(host.encode())
        response = stock.published(request.with_target(f"/{path}?wsdl".encode()))
        assert response is not None
        root = etree.fromstring(data(response))
        assert root.xpath("//*[local-name()='address']/@location")[0] == f"http://{host}/{path}"


# --- published documents are as good as the ones they were made of ---


class Gateway:
    """Publishes what it is given, on a port of its own."""

    def __init__(self) -> None:
        self.contract = contract("stock.wsdl")
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                response = gateway.contract.published(make_request("GET", f"http://{self.headers['host']}{self.path}"))
                assert response is not None
                body = data(response)
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                return None

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/a/b"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    thread = threading.Thread(target=gateway.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield gateway
    gateway.server.shutdown()
    thread.join()
    gateway.server.server_close()


def facts(wsdl: Wsdl) -> tuple[list[Service], set[str], set[str]]:
    """What a client could tell, addresses apart."""
    services = [
        Service(
            service.name,
            service.namespace,
            tuple(type(port)(port.name, port.version, "", port.operations) for port in service.ports),
            "",
        )
        for service in wsdl.services
    ]
    return services, set(wsdl.schema.maps.elements), set(wsdl.schema.maps.types)


@pytest.mark.parametrize("name", FIXTURES)
def test_published_documents_say_what_the_originals_say(gateway: Gateway, name: str) -> None:
    gateway.contract = contract(name)
    again = anyio.run(read_wsdl, f"{gateway.url}?wsdl", BASE)
    assert facts(again) == facts(gateway.contract.wsdl)
    assert {port.address for service in again.services for port in service.ports} == {gateway.url}


_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)


@st.composite
def wsdls(draw: st.DrawFn) -> dict[str, str]:
    """A WSDL of any style, in one document or several, by the names of its files."""
    operations = draw(st.lists(_NAMES, min_size=1, max_size=4, unique=True))
    rpc = draw(st.booleans())
    version = draw(st.sampled_from(["soap", "soap12"]))
    split = draw(st.sampled_from(["inline", "include", "import", "wsdl"]))
    space = draw(st.sampled_from(["urn:a", "http://host.inside.test/a", "http://host.inside.test/a/"]))
    elements = "".join(
        f'<xs:element name="{name}{end}" type="xs:string"/>' for name in operations for end in ("", ".r")
    )
    part = 'name="p" type="xs:string"' if rpc else 'name="p" element="t:{}"'
    messages = "".join(
        f'<message name="{name}{end}"><part {part.format(name + end)}/></message>'
        for name in operations
        for end in ("", ".r")
    )
    port_type = "".join(
        f'<operation name="{name}"><input message="t:{name}"/><output message="t:{name}.r"/></operation>'
        for name in operations
    )
    body = f'<s:body use="literal" namespace="{space}"/>' if rpc else '<s:body use="literal"/>'
    bound = "".join(
        f'<operation name="{name}"><s:operation soapAction="{draw(_NAMES)}"/>'
        f"<input>{body}</input><output>{body}</output></operation>"
        for name in operations
    )
    head = (
        f'targetNamespace="{space}" xmlns:t="{space}" xmlns:xs="http://www.w3.org/2001/XMLSchema" '
        f'xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/{version}/"'
    )
    schema = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="{space}">{{}}</xs:schema>'
    files = {"inside/types.xsd": schema.format(elements)}
    inline = {
        "inline": schema.format(elements),
        "include": schema.format('<xs:include schemaLocation="inside/types.xsd"/>'),
        "import": f'<xs:schema><xs:import namespace="{space}" schemaLocation="inside/types.xsd"/></xs:schema>',
        "wsdl": "",
    }[split]
    abstract = f'<types>{inline}</types>{messages}<portType name="P">{port_type}</portType>'
    if split == "wsdl":
        files["inside/abstract.wsdl"] = (
            f"<definitions {head}>"
            + abstract.replace("<types></types>", f"<types>{schema.format(elements)}</types>")
            + "</definitions>"
        )
        abstract = f'<import namespace="{space}" location="inside/abstract.wsdl"/>'
    style = "rpc" if rpc else "document"
    files["main.wsdl"] = (
        f'<definitions {head}>{abstract}<binding name="B" type="t:P">'
        f'<s:binding style="{style}" transport="http://schemas.xmlsoap.org/soap/http"/>{bound}</binding>'
        '<service name="S"><port name="One" binding="t:B"><s:address location="http://host.inside.test/a"/></port>'
        '<port name="Two" binding="t:B"><s:address location="http://host.inside.test:81/a/b?c"/></port></service></definitions>'
    )
    return files


@settings(max_examples=30)
@given(files=wsdls())
def test_publishing_is_stable(
    gateway: Gateway, tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("wsdl")
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    gateway.contract = anyio.run(open_contract, "main.wsdl", folder)
    first = all_documents(gateway.contract, gateway.url)
    again = anyio.run(open_contract, f"{gateway.url}?wsdl", BASE)
    assert facts(again.wsdl) == facts(gateway.contract.wsdl)
    assert all_documents(again, gateway.url) == first
