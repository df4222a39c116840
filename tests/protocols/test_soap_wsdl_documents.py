"""The documents of a WSDL: found by file and by HTTP, bounded, hardened; what is missing is a gap."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemun import SettingsError
from daemun_soap.wsdl import documents
from daemun_soap.wsdl.documents import Documents, load_documents
from daemun_soap.wsdl.gaps import Validates

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What is tested here depends on no event loop."""
    return "asyncio"


BASE = Path(__file__).parent / "wsdl"
XS = 'xmlns:xs="http://www.w3.org/2001/XMLSchema"'
Answer = tuple[int, dict[str, str], bytes]


def wsdl(inside: str = "") -> bytes:
    return f'<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" {XS}>{inside}</definitions>'.encode()


def types(inside: str) -> bytes:
    return wsdl(f"<types><xs:schema>{inside}</xs:schema></types>")


def imports(*places: str) -> bytes:
    return types("".join(f'<xs:import namespace="urn:{place}" schemaLocation="{place}"/>' for place in places))


def schema(inside: str = "") -> bytes:
    return f"<xs:schema {XS}>{inside}</xs:schema>".encode()


class Site:
    """A server of documents; what it has can be changed."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[str] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                status, headers, body = site.pages.get(self.path, (404, {}, b"nothing here"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                return None

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def has(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        self.pages[path] = status, headers, body


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


def names(documents: Documents) -> list[str]:
    return [location.rpartition("/")[2] for location in documents.by_location]


async def test_all_that_a_file_refers_to_is_read_once_each() -> None:
    documents = await load_documents("split/main.wsdl", BASE)
    assert names(documents) == [
        "main.wsdl",
        "abstract.wsdl",
        "orders.xsd",
        "order%20parts.xsd",
        "common.xsd",
        "goods.xsd",
    ]
    assert documents.main.data == (BASE / "split/main.wsdl").read_bytes()
    assert documents.by_location[documents.main.location] is documents.main


async def test_a_url_is_read_with_what_it_refers_to(site: Site) -> None:
    site.has("/stock", imports("/a.xsd", "b/b.xsd"))
    site.has("/a.xsd", schema('<xs:include schemaLocation="b/b.xsd"/>'))
    site.has("/b/b.xsd", schema('<xs:include schemaLocation="../a.xsd"/>'))
    documents = await load_documents(f"{site.url}/stock", BASE)
    assert names(documents) == ["stock", "a.xsd", "b.xsd"]
    assert site.asked == ["/stock", "/a.xsd", "/b/b.xsd"]


async def test_a_file_may_refer_to_a_url(site: Site, tmp_path: Path) -> None:
    site.has("/a.xsd", schema())
    (tmp_path / "a.wsdl").write_bytes(imports(f"{site.url}/a.xsd#part"))
    assert names(await load_documents((tmp_path / "a.wsdl").as_uri(), BASE)) == ["a.wsdl", "a.xsd"]


async def test_relative_locations_start_where_a_redirect_led(site: Site) -> None:
    site.has("/old", b"", 302, Location="/new/here")
    site.has("/new/here", imports("a.xsd"))
    site.has("/new/a.xsd", schema())
    assert names(await load_documents(f"{site.url}/old", BASE)) == ["old", "a.xsd"]


@pytest.mark.parametrize("place", ["file:///etc/hostname", "/loop", "ftp://127.0.0.1/a"])
async def test_a_redirect_leads_neither_to_files_nor_on_for_ever(site: Site, place: str) -> None:
    site.has("/loop", b"", 302, Location=place)
    with pytest.raises(SettingsError, match="cannot be used"):
        await load_documents(f"{site.url}/loop", BASE)
    assert len(site.asked) <= 1 + documents.MAX_REDIRECTS


async def test_a_document_of_the_web_may_not_refer_to_a_file(site: Site) -> None:
    site.has("/stock", imports((BASE / "split/parts/types/common.xsd").as_uri()))
    with pytest.raises(SettingsError, match=r"refers to the file .* http and https URLs"):
        await load_documents(f"{site.url}/stock", BASE)


async def test_what_is_missing_is_a_gap_that_is_named(site: Site) -> None:
    site.has("/html", b"<!DOCTYPE html><html><br></html>")
    site.has("/xhtml", b"<!DOCTYPE html><html/>")
    site.has("/good", schema())
    site.has("/stock", imports("/gone", "/html", "/xhtml", "gopher://127.0.0.1/a", "/good"))
    documents = await load_documents(f"{site.url}/stock", BASE)
    assert names(documents) == ["stock", "good"]
    targets = [reference.target for reference in documents.main.references]
    assert targets == [None, None, None, None, f"{site.url}/good"]
    with pytest.raises(SettingsError) as caught:
        documents.gaps.settle(Validates.COMPILED)
    words = str(caught.value)
    assert words.startswith(f"wsdl {site.url}/stock: messages cannot be checked by it: ")
    assert f"{site.url}/gone, which is imported, cannot be read: the answer was HTTP 404" in words
    assert [place in words for place in ("/html", "/xhtml", "gopher:")] == [True] * 3


async def test_a_password_in_a_url_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        await load_documents("http://user:secret@127.0.0.1:9/a", BASE)
    assert "secret" not in str(caught.value)
    assert "http://127.0.0.1:9/a" in str(caught.value)
    (tmp_path / "a.wsdl").write_bytes(imports("http://user:secret@127.0.0.1:9/b"))
    with pytest.raises(SettingsError, match=r"http://127\.0\.0\.1:9/b, which is imported") as caught:
        (await load_documents("a.wsdl", tmp_path)).gaps.settle(Validates.COMPILED)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no well-formed XML"),
        (b"<a", "no well-formed XML"),
        (b"<html/>", "begins with html"),
        (b'<description xmlns="http://www.w3.org/ns/wsdl"/>', "begins with description, and is neither WSDL 1.1"),
        (schema(), "is a schema"),
        (b"<!DOCTYPE x>" + wsdl(), "has a DOCTYPE"),
        (
            b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + wsdl("<documentation>&e;</documentation>"),
            "DOCTYPE",
        ),
    ],
)
async def test_what_is_no_wsdl_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.wsdl").write_bytes(content)
    with pytest.raises(SettingsError, match=words) as caught:
        await load_documents("a.wsdl", tmp_path)
    assert "a.wsdl" in str(caught.value)
    assert "accepted" in str(caught.value)


async def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match=r"no-such\.wsdl cannot be used: No such file or directory \(accepted"):
        await load_documents("no-such.wsdl", BASE)


async def test_a_doctype_in_an_import_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wsdl").write_bytes(imports("a.xsd"))
    (tmp_path / "a.xsd").write_bytes(b'<!DOCTYPE a [<!ENTITY b "c">]>' + schema())
    with pytest.raises(SettingsError, match=r"a\.xsd has a DOCTYPE"):
        await load_documents("a.wsdl", tmp_path)


async def test_schemas_that_all_know_are_not_fetched(tmp_path: Path) -> None:
    known = "http://www.w3.org/XML/1998/namespace"
    signature = "http://www.w3.org/2000/09/xmldsig#"
    (tmp_path / "dsig.xsd").write_bytes(b"<!DOCTYPE schema>" + schema())
    (tmp_path / "a.wsdl").write_bytes(
        types(
            f'<xs:import namespace="{known}" schemaLocation="http://127.0.0.1:9/xml.xsd"/>'
            f'<xs:import namespace="{signature}" schemaLocation="dsig.xsd"/>'
            '<xs:import namespace="http://www.w3.org/2005/05/xmlmime" schemaLocation="gone.xsd"/>'
            '<xs:import namespace="http://www.w3.org/2001/XMLSchema" schemaLocation="http://127.0.0.1:9/XMLSchema.xsd"/>'
        )
    )
    documents = await load_documents("a.wsdl", tmp_path)
    assert names(documents) == ["a.wsdl", "xml.xsd", "dsig.xsd", "gone.xsd"]
    assert documents.by_location["http://127.0.0.1:9/xml.xsd"].root.get("targetNamespace") == known


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    return lambda name, value: monkeypatch.setattr(documents, name, value)


async def test_too_much_is_refused(tmp_path: Path, limit: Callable[[str, int], None]) -> None:
    for number in range(6):
        (tmp_path / f"{number}.xsd").write_bytes(schema(f'<xs:include schemaLocation="{number + 1}.xsd"/>'))
    (tmp_path / "a.wsdl").write_bytes(imports("0.xsd"))
    for name, value, words in (
        ("MAX_DOCUMENTS", 5, r"is one too many \(accepted: 5 documents\)"),
        ("MAX_DEPTH", 4, "deeper than 4 documents"),
        ("MAX_DOCUMENT_BYTES", 80, "is longer than 80 bytes"),
        ("MAX_TOTAL_BYTES", 300, "longer than 300 bytes"),
    ):
        before = getattr(documents, name)
        limit(name, value)
        with pytest.raises(SettingsError, match=words):
            await load_documents("a.wsdl", tmp_path)
        limit(name, before)
    assert len((await load_documents("a.wsdl", tmp_path)).by_location) == 7


async def test_a_slow_document_is_given_up(site: Site, limit: Callable[[str, int], None]) -> None:
    site.has("/stock", wsdl())
    limit("FETCH_SECONDS", 1e-9)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"cannot be used: .*(tim|took longer|progress)"):
        await load_documents(f"{site.url}/stock", BASE)


async def test_blanks_before_the_declaration_are_forgiven(tmp_path: Path) -> None:
    (tmp_path / "a.wsdl").write_bytes(b"\r\n  \n<?xml version='1.0'?>\n" + wsdl())
    assert (await load_documents("a.wsdl", tmp_path)).main.references == ()
