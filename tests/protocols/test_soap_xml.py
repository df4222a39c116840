"""XML from strangers: the corpus through matcher and filter, what was thought of beside it, and whatever hypothesis finds."""

from __future__ import annotations

import gc
import json
import zlib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from daemun import Body, Buffered, ExchangeError, FilterContext, MatcherContext, Reason, Request, Response
from daemun.testing import Pieces, make_request
from daemun_soap.envelopes import hardened
from daemun_soap.envelopes.hardened import parse
from daemun_soap.envelopes.limits import Limits
from daemun_soap.envelopes.prolog import read_prolog
from daemun_soap.envelopes.scan import EnvelopeScan
from daemun_soap.kinds import SOAP_FILTER, SOAP_MATCHER
from daemun_soap.names import SOAP11
from daemun_soap.settings import CheckSettings, MatchSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What is tested here depends on no event loop."""
    return "asyncio"


CASES = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "xml_cases.jsonl"
OPEN, CLOSE = f'<s:Envelope xmlns:s="{SOAP11}"><s:Body>', "</s:Body></s:Envelope>"
PLAIN = f"{OPEN}<a>1</a>{CLOSE}"
LIMITS = Limits()


def cases() -> Iterator[Any]:
    if not CASES.is_file():
        yield pytest.param({}, id="absent", marks=pytest.mark.skip("no ../shared/corpus/xml_cases.jsonl"))
        return
    for line in CASES.read_text().splitlines():
        case = json.loads(line)
        yield pytest.param(case, id=case["id"])


@cache
def zeros_in_gzip(size: int) -> bytes:
    gzip, zeros = zlib.compressobj(1, zlib.DEFLATED, 31), bytes(1 << 20)
    return b"".join([*(gzip.compress(zeros) for _ in range(size >> 20)), gzip.flush()])


def spelt(case: dict[str, Any]) -> bytes:
    """The content of a case of the corpus."""
    if "gen_gzip_zeros" in case:
        return zeros_in_gzip(case["gen_gzip_zeros"])
    text = ""
    for segment in case["body"]:
        if isinstance(segment, str):
            text += segment
        elif "rep" in segment:
            text += segment["rep"][0] * segment["rep"][1]
        else:
            text += "".join(segment["seq"][0] % index for index in range(segment["seq"][1]))
    return text.encode(case.get("encode", "utf-8"))


class Looked:
    """What a matcher may look at."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.pieces: list[bytes] = []

    @property
    def seen(self) -> tuple[bytes, ...]:
        return tuple(self.pieces)

    async def more(self) -> bytes:
        data = await self.body.read()
        if data:
            self.pieces.append(data)
        return data


@pytest.fixture(autouse=True, scope="module")
def timed() -> None:
    """What a route of SOAP imports is there, and what other tests left is not looked through: both take time."""
    for name in ("checks", "matcher"):
        import_module(f"daemun_soap.{name}")
    gc.collect()
    gc.freeze()


async def passes(data: bytes, *fields: tuple[bytes, bytes], piece: int = 0, matched: bool = True) -> bytes:
    """What reaches the back end behind matcher and filter; `piece`: how long pieces are, 0 for all in one."""
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)] if piece else []

    def body() -> Body:
        return Pieces(*pieces) if piece else Buffered(data)

    reached: list[bytes] = []

    async def back_end(request: Request) -> Response:
        while data := await request.body.read():
            reached.append(data)
        return Response(200)

    request = make_request("POST", "http://a.test/", fields, body())
    async with (
        SOAP_MATCHER.build(MatchSettings(), MatcherContext("soap", Path())) as matcher,
        SOAP_FILTER.build(CheckSettings(), FilterContext("soap", Path())) as layer,
    ):
        if matched:
            await matcher(request, Looked(body()))
        await layer(back_end)(request)
    return b"".join(reached)


@pytest.mark.parametrize("piece", [0, 4096, 100_003])
@pytest.mark.parametrize("case", list(cases()))
async def test_the_corpus_comes_out_as_listed(case: dict[str, Any], piece: int) -> None:
    data = spelt(case)
    fields = [(name.lower().encode(), value.encode()) for name, value in case.get("headers", {}).items()]
    began = process_time()
    try:
        reached = await passes(data, (b"content-type", case["content_type"].encode()), *fields, piece=piece)
        verdict = "accept"
    except ExchangeError as error:
        verdict = "reject"
        assert error.status in (400, 413, 415)
    else:
        assert reached == data
    assert process_time() - began < case["max_ms"] / 100
    assert case["expect"] in (verdict, "either")


@pytest.mark.skipif(not CASES.is_file(), reason="no ../shared/corpus/xml_cases.jsonl")
def test_the_operation_of_the_corpus_is_that_of_the_real_body() -> None:
    named = [case for case in map(json.loads, CASES.read_text().splitlines()) if "operation" in case]
    assert named
    for case in named:
        scan = EnvelopeScan(LIMITS)
        scan.read(spelt(case))
        assert scan.operation == case["operation"]


def entity(prefix: str) -> bytes:
    return f'{prefix}<!DOCTYPE r [<!ENTITY x "y">]>{OPEN}<a>&x;</a>{CLOSE}'.encode()


def attributes(count: int, form: str = 'b{}=""') -> bytes:
    return f"{OPEN}<a {' '.join(form.format(index) for index in range(count))}/>{CLOSE}".encode()


REFUSED = {
    "dtd behind a comment": entity("<!-- c -->"),
    "dtd behind a mark": b"\xef\xbb\xbf" + entity(""),
    "dtd behind blanks": entity(" \r\n\t"),
    "dtd in lower case": f"<!doctype r>{PLAIN}".encode(),
    "dtd in utf-16 of the other order": b"\xfe\xff" + entity("").decode().encode("utf-16-be"),
    "dtd behind the root": f"{PLAIN}<!DOCTYPE r>".encode(),
    "utf-16 without a mark": PLAIN.encode("utf-16-le"),
    "utf-16 of half a character": PLAIN.encode("utf-16")[:-1],
    "utf-16 of a lone surrogate": (OPEN + "<a>").encode("utf-16") + b"\x00\xd8" + ("</a>" + CLOSE).encode("utf-16-le"),
    "utf-32": PLAIN.encode("utf-32"),
    "utf-32 without a mark": PLAIN.encode("utf-32-be"),
    "utf-7 by declaration": f'<?xml version="1.0" encoding="UTF-7"?>{PLAIN}'.encode(),
    "ebcdic": PLAIN.encode("cp037"),
    "windows-1252": f'<?xml version="1.0" encoding="windows-1252"?>{PLAIN}'.encode(),
    "declared utf-16, sent utf-8": f'<?xml version="1.0" encoding="UTF-16"?>{PLAIN}'.encode(),
    "declared latin, marked utf-8": b"\xef\xbb\xbf" + f'<?xml version="1.0" encoding="ISO-8859-1"?>{PLAIN}'.encode(),
    "declared utf-8, marked utf-16": f'<?xml version="1.0" encoding="UTF-8"?>{PLAIN}'.encode("utf-16"),
    "two declarations": f'<?xml version="1.0"?><?xml version="1.0"?>{PLAIN}'.encode(),
    "a declaration too late": f' <?xml version="1.0"?>{PLAIN}'.encode(),
    "xml 1.1": f'<?xml version="1.1"?>{PLAIN}'.encode(),
    "utf-8 that is none": PLAIN.replace("1", "\xff").encode("latin-1"),
    "utf-8 that is too long": PLAIN.encode().replace(b"1", b"\xc0\xbc"),
    "ascii that is none": f'<?xml version="1.0" encoding="US-ASCII"?>{PLAIN}'.replace("1<", "\xe9<").encode(),
    "an instruction before": f"<?pi?>{PLAIN}".encode(),
    "an instruction behind": f"{PLAIN}<?pi?>".encode(),
    "an instruction for the body": f"{OPEN}<?pi?><a/>{CLOSE}".encode(),
    "an instruction deep inside": f"{OPEN}<a><b><?pi x?></b></a>{CLOSE}".encode(),
    "an instruction in utf-16": f"{OPEN}<a><?pi x?></a>{CLOSE}".encode("utf-16"),
    "an entity of nobody": f"{OPEN}<a>&x;</a>{CLOSE}".encode(),
    "an entity in an attribute": f'{OPEN}<a b="&x;"/>{CLOSE}'.encode(),
    "an attribute twice": f'{OPEN}<a b="1" b="2"/>{CLOSE}'.encode(),
    "an attribute twice by prefix": f'{OPEN}<a xmlns:p="u" xmlns:q="u" p:b="1" q:b="2"/>{CLOSE}'.encode(),
    "a prefix of nobody": f"{OPEN}<p:a/>{CLOSE}".encode(),
    "a bare less-than in an attribute": f'{OPEN}<a b="<"/>{CLOSE}'.encode(),
    "a surrogate by reference": f"{OPEN}<a>&#xD800;</a>{CLOSE}".encode(),
    "a control character": f"{OPEN}<a>\x08</a>{CLOSE}".encode(),
    "a noncharacter": f"{OPEN}<a>\ufffe</a>{CLOSE}".encode(),
    "something behind": f"{PLAIN}<b/>".encode(),
    "text behind": f"{PLAIN}text".encode(),
    "text before": f"text{PLAIN}".encode(),
    "two envelopes": f"{PLAIN}{PLAIN}".encode(),
    "nothing but blanks": b"   ",
    "hyphens in a comment": f"<!-- a -- b -->{PLAIN}".encode(),
    "257 levels": f"{OPEN}{'<a>' * 255}{'</a>' * 255}{CLOSE}".encode(),
    "300 levels": f"{OPEN}{'<a>' * 300}{'</a>' * 300}{CLOSE}".encode(),
    "30,000 levels that never close": f"{OPEN}{'<a>' * 30_000}".encode(),
    "257 attributes": attributes(257),
    "10,000 attributes": attributes(10_000),
    "1,000 namespaces": attributes(1000, 'xmlns:b{}="u"'),
    "namespaces in single quotes": attributes(300, "xmlns:b{} = 'u'"),
    "attributes behind a value with >": attributes(300, "b{}='>'"),
    "many elements with attributes": (OPEN + '<a b="1" c="2"/>' * 20_000 + CLOSE).encode(),
    "50,000 elements": f"{OPEN}{'<a/>' * 50_000}{CLOSE}".encode(),
    "a value of 70,000": f"{OPEN}<a b='{'x' * 70_000}'/>{CLOSE}".encode(),
    "a value of > only": f"{OPEN}<a b='{'>' * 70_000}'/>{CLOSE}".encode(),
    "a namespace of 70,000": f"{OPEN}<a xmlns='{'x' * 70_000}'/>{CLOSE}".encode(),
    "a name of 70,000": f"{OPEN}<{'x' * 70_000}/>{CLOSE}".encode(),
    "a tag that never ends": f"{OPEN}<a {'x' * 70_000}".encode(),
    "a comment of 5 MB": f"{OPEN}<!--{'x' * 5_000_000}-->{CLOSE}".encode(),
    "blanks of 100,000 before": f"{' ' * 100_000}{PLAIN}".encode(),
}

ACCEPTED = {
    "plain": PLAIN.encode(),
    "declared": f'<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n{PLAIN}'.encode(),
    "declared in single quotes": f"<?xml version = '1.0' encoding = 'UTF-8' ?>{PLAIN}".encode(),
    "marked": b"\xef\xbb\xbf" + PLAIN.encode(),
    "utf-16": PLAIN.encode("utf-16"),
    "utf-16, declared": f'<?xml version="1.0" encoding="UTF-16"?>{PLAIN}'.encode("utf-16"),
    "utf-16 of the other order": b"\xfe\xff" + PLAIN.replace("1", "\u20ac\U0001f600").encode("utf-16-be"),
    "latin-1": f'<?xml version="1.0" encoding="ISO-8859-1"?>{PLAIN}'.replace("1<", "\xe9<").encode("latin-1"),
    "comments around": f"<!-- <!DOCTYPE r> -->\n<!-- - -->{PLAIN}<!-- end -->".encode(),
    "comments inside": f"{OPEN}<!-- x --><a><!-- <?pi?> --></a>{CLOSE}".encode(),
    "a doctype in cdata": f"{OPEN}<a><![CDATA[<!DOCTYPE x [<!ENTITY a 'b'>]><?pi?>]]></a>{CLOSE}".encode(),
    "references": f"{OPEN}<a>&lt;&amp;&#x20AC;</a>{CLOSE}".encode(),
    "xml:id, xml:base": f"{OPEN}<a xml:id='i' xml:base='http://127.0.0.1:19099/'><b xml:id='i'/></a>{CLOSE}".encode(),
    "xinclude": f"{OPEN}<x:include xmlns:x='http://www.w3.org/2001/XInclude' href='/etc/passwd'/>{CLOSE}".encode(),
    "256 levels": f"{OPEN}{'<a>' * 254}{'</a>' * 254}{CLOSE}".encode(),
    "256 attributes": attributes(256, "b{}='='"),
    "signs in text": f"{OPEN}<a>{'k=v&amp;' * 1000}</a>{CLOSE}".encode(),
    "a long value": f"{OPEN}<a b='{'x' * 60_000}'/>{CLOSE}".encode(),
    "3 MB of text": f"{OPEN}<a>{'x=' * 1000}{'x' * 3_000_000}</a>{CLOSE}".encode(),
    "a long comment": f"{OPEN}<!--{'x ' * 100_000}--><a/>{CLOSE}".encode(),
    "many elements": f"{OPEN}<a>{'<b>1</b>' * 15_000}</a>{CLOSE}".encode(),
}

XML = (b"content-type", b"text/xml")


@pytest.mark.parametrize("piece", [0, 997])
@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused(name: str, piece: int) -> None:
    began = process_time()
    with pytest.raises(ExchangeError) as caught:
        await passes(REFUSED[name], XML, piece=piece, matched=False)
    assert process_time() - began < 1
    assert caught.value.reason in (Reason.BAD_REQUEST, Reason.CONTENT_TOO_LARGE)
    assert "xxxx" not in caught.value.message


@pytest.mark.parametrize("piece", [0, 997])
@pytest.mark.parametrize("name", ACCEPTED)
async def test_what_is_accepted(name: str, piece: int) -> None:
    began = process_time()
    assert await passes(ACCEPTED[name], XML, piece=piece) == ACCEPTED[name]
    assert process_time() - began < 2


@pytest.mark.parametrize(
    ("charset", "declared", "sent", "good"),
    [
        ("utf-8", "utf-8", "utf-8", True),
        ("UTF-8", "", "utf-8", True),
        ("iso-8859-1", "", "latin-1", True),
        ("iso-8859-1", "utf-8", "utf-8", False),
        ("utf-8", "iso-8859-1", "utf-8", False),
        ("utf-16", "", "utf-16", True),
        ("utf-16", "", "utf-8", False),
        ("utf-8", "", "utf-16", False),
        ("utf-7", "", "utf-8", False),
        ("us-ascii", "", "utf-8", False),
    ],
)
async def test_everything_that_tells_of_an_encoding_agrees(charset: str, declared: str, sent: str, good: bool) -> None:
    text = PLAIN.replace("1<", "\xe9<")
    data = (f'<?xml version="1.0" encoding="{declared}"?>{text}' if declared else text).encode(sent)
    fields = (b"content-type", b"text/xml; charset=" + charset.encode())
    if good:
        assert await passes(data, fields) == data
    else:
        with pytest.raises(ExchangeError, match="malformed"):
            await passes(data, fields)


def test_a_document_is_read_as_its_encoding_says() -> None:
    for data, charset in (
        (PLAIN.replace("1<", "\xe9<").encode("utf-16"), ""),
        (PLAIN.replace("1<", "\xe9<").encode("latin-1"), "iso-8859-1"),
    ):
        assert parse(data, LIMITS, charset).findtext(".//a") == "\xe9"


def test_an_answer_that_cannot_be_read_is_the_upstreams_fault() -> None:
    for data in (b"<a>", b"<a/>" * 100_000, b"<!DOCTYPE a><a/>"):
        with pytest.raises(ExchangeError) as caught:
            parse(data, LIMITS, reason=Reason.UPSTREAM_PROTOCOL)
        assert caught.value.reason is Reason.UPSTREAM_PROTOCOL


def test_what_is_too_large_says_so() -> None:
    for limits in (Limits(max_envelope_bytes=1024), Limits(max_markup=16), Limits(max_attributes=16)):
        with pytest.raises(ExchangeError) as caught:
            parse(b"<a>" + b'<b c="1"/>' * 200 + b"</a>", limits)
        assert caught.value.reason is Reason.CONTENT_TOO_LARGE


def test_names_of_strangers_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardened, "_LEARNT", type("Nothing", (), {"bytes": 0}))
    monkeypatch.setattr(hardened, "_MAX_LEARNT_BYTES", 100_000)

    def strange(number: int) -> bytes:
        return f"{OPEN}<a>{''.join(f'<strange{number}x{index}/>' for index in range(1000))}</a>{CLOSE}".encode()

    for number in range(10):
        parse(strange(number), LIMITS)
    names = etree.memory_debugger.dict_size()  # type: ignore[attr-defined]
    assert hardened.crowded()
    for number in range(10, 15):
        assert len(parse(strange(number), LIMITS)[0][0]) == 1000
    assert etree.memory_debugger.dict_size() == names  # type: ignore[attr-defined]
    with pytest.raises(ExchangeError, match="line 1"):
        parse(b"<a><stranger></a>", LIMITS)


async def test_operations_are_told_also_when_documents_are_parsed_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardened, "_LEARNT", type("Much", (), {"bytes": 1 << 40}))
    scan = EnvelopeScan(LIMITS)
    for text in (OPEN, "<a>", *["<b>1</b>"] * 50):
        scan.feed(text.encode())
    assert scan.operation == "a"
    for piece in (0, 50):
        assert await passes(PLAIN.encode(), XML, piece=piece) == PLAIN.encode()
        with pytest.raises(ExchangeError, match="malformed"):
            await passes(f"{OPEN}<a/></s:Body><s:Body/></s:Envelope>".encode(), XML, piece=piece)


@pytest.mark.parametrize(
    "data",
    [
        b"<!---->" * 2300 + PLAIN.encode(),
        f"{OPEN}<a b='{'x' * 60_000}'/>{CLOSE}".encode(),
        f"{OPEN}<!--{'<a ' * 20_000}--><a/>{CLOSE}".encode(),
    ],
    ids=["prolog", "tag", "comment"],
)
def test_what_comes_in_crumbs_is_not_read_again_with_each(data: bytes) -> None:
    scan = EnvelopeScan(LIMITS)
    began = process_time()
    for at in range(0, len(data), 4):
        scan.feed(data[at : at + 4])
    scan.close()
    assert process_time() - began < 5
    assert scan.operation == "a"


FRAGMENTS = st.sampled_from(
    [OPEN, CLOSE, "<a>", "</a>", "<a b='1'/>", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "<!DOCTYPE a>", "&x;", "&lt;",
     '<?xml version="1.0"?>', "<", ">", "=", '"', "'", " ", "text", "\xe9", "\ufeff", "\0", "<s:Header>", "</s:Header>"]
)  # fmt: skip
ALIKE = st.lists(FRAGMENTS, max_size=30).map("".join)


@given(
    st.binary(max_size=300)
    | ALIKE.map(str.encode)
    | st.tuples(ALIKE, st.sampled_from(["utf-16", "latin-1", "utf-8-sig"])).map(
        lambda pair: pair[0].encode(pair[1], "replace")
    ),
    st.sampled_from(["", "utf-8", "utf-16", "iso-8859-1", "bogus"]),
)
@example(b"\xff\xfe", "")
@example(b"\xef", "")
@example(b"<?xml version='1.0'", "")
@example(b"<?", "")
def test_anything_is_a_tree_or_an_error_of_ours(data: bytes, charset: str) -> None:
    try:
        root = parse(data, LIMITS, charset)
    except ExchangeError as error:
        assert error.reason in (Reason.BAD_REQUEST, Reason.CONTENT_TOO_LARGE)
    else:
        assert root.getroottree().docinfo.internalDTD is None
        assert not root.xpath("//processing-instruction()|//comment()")


@given(ALIKE.map(str.encode), st.integers(min_value=0, max_value=200))
@example(b'<?xml version="1.0"?>', 2)
@example(b'<?xml version="1.0"?>', 5)
def test_a_prolog_that_is_told_stays_told(data: bytes, cut: int) -> None:
    try:
        part = read_prolog(data[:cut])
    except ExchangeError:
        with pytest.raises(ExchangeError):
            read_prolog(data)
        return
    if part is not None:
        assert read_prolog(data) == part


SAID = {
    "300 levels": "SOAP message too large: more than 256 levels of elements",
    "30,000 levels that never close": "SOAP message too large: more than 256 levels of elements",
    "an attribute twice": "malformed SOAP message: an attribute that an element has twice, line 1",
    "an attribute twice by prefix": "malformed SOAP message: an attribute that an element has twice, line 1",
    "a prefix of nobody": "malformed SOAP message: a prefix that is not declared, line 1",
    "an entity of nobody": "malformed SOAP message: an entity, which SOAP forbids, line 1",
    "something behind": "malformed SOAP message: something follows the end of the first element, line 1",
    "a control character": "malformed SOAP message: a character that XML does not allow, line 1",
}


@pytest.mark.parametrize("name", SAID)
async def test_what_is_wrong_is_said_in_words(name: str) -> None:
    with pytest.raises(ExchangeError) as caught:
        await passes(REFUSED[name], XML, matched=False)
    assert caught.value.message == SAID[name]
    large = "too large" in SAID[name]
    assert caught.value.reason is (Reason.CONTENT_TOO_LARGE if large else Reason.BAD_REQUEST)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("<a><b></a>", "an end tag that is not that of the open element"),
        ("<a><b", "a tag that is not closed by `>`"),
        ("<a>", "it ends before its elements are closed"),
        ("<a>&x</a>", "an `&` that is not written `&amp;`"),
        ("<a b=1/>", "an attribute without quotes"),
        ("<a b/>", "an attribute without a value"),
        ("<a><1/></a>", "a `<`, `&` or blank where a name is to follow"),
        ("<a>]]></a>", "a `]]>` without a CDATA section"),
        ("<a b:c:d=''/>", "a name with more than one colon"),
        ("<a>" + "x" * 10_000_001 + "</a>", "SOAP message too large: a text of more than 10000000 bytes"),
        ("<a><" + "a" * 60_000 + "/></a>", "SOAP message too large: a name of more than 50000 bytes"),
    ],
)
def test_what_a_parser_finds_is_told_without_what_it_read(data: str, words: str) -> None:
    limits = Limits(max_envelope_bytes=20_000_000, max_tag_bytes=100_000)
    with pytest.raises(ExchangeError) as caught:
        parse(data.encode(), limits)
    assert caught.value.message in (words, f"malformed SOAP message: {words}, line 1")
    with pytest.raises(ExchangeError) as caught:
        parse(data.encode(), limits, reason=Reason.UPSTREAM_PROTOCOL)
    assert caught.value.reason is Reason.UPSTREAM_PROTOCOL
