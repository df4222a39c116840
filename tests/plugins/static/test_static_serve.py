"""What a client gets from a folder that is served."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from daemun import ExchangeError, SettingsError

if TYPE_CHECKING:
    from tests.plugins.static.conftest import Site

pytestmark = pytest.mark.anyio

HTML = (b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8")


async def test_serves_a_file_with_what_a_cache_needs(site: Site) -> None:
    os.utime(site.write("a b.txt", b"hello"), ns=(0, 1_700_000_000_123_456_789))
    answer = await site.ask(b"/a%20b.txt?v=1")
    assert (answer.status, answer.body, answer.length) == (200, b"hello", 5)
    assert dict(answer.headers) == {
        b"content-type": b"text/plain; charset=utf-8",
        b"x-content-type-options": b"nosniff",
        b"accept-ranges": b"bytes",
        b"etag": b'"%x-5"' % 1_700_000_000_123_456_789,
        b"last-modified": b"Tue, 14 Nov 2023 22:13:20 GMT",
        b"vary": b"accept-encoding",
    }


async def test_head_says_the_same_without_content(site: Site) -> None:
    site.write("a.txt", b"hello")
    get, head = await site.ask(b"/a.txt"), await site.ask(b"/a.txt", method=b"HEAD")
    assert (head.status, head.headers, head.length, head.body) == (200, get.headers, 5, b"")


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"get"])
async def test_other_methods_are_refused(site: Site, method: bytes) -> None:
    site.write("a.txt")
    answer = await site.ask(b"/a.txt", method=method)
    assert (answer.status, answer.field(b"allow")) == (405, b"GET, HEAD")


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 122_881, 700_001])
async def test_every_size_arrives_whole(site: Site, size: int, open_files: Callable[[], int]) -> None:
    content = os.urandom(size)
    site.write("data.bin", content)
    async with site.serve() as handler:
        before = open_files()
        for _ in range(2):
            answer = await site.fetch(handler, b"/data.bin")
            assert (answer.status, answer.body == content, answer.length) == (200, True, size)
        assert open_files() == before


@pytest.mark.parametrize("settings", [{}, {"look_up_in_thread": True}, {"kept_bytes": 0}, {"small_bytes": 0}])
async def test_a_change_is_seen_at_once(site: Site, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemun_static.content.SETTLED_NANOSECONDS", 0)
    path = site.write("a.txt", b"one")
    async with site.serve(**settings) as handler:
        first = await site.fetch(handler, b"/a.txt")
        again = await site.fetch(handler, b"/a.txt")
        os.utime(path, ns=(0, 1))
        path.with_suffix(".new").write_bytes(b"two")
        path.with_suffix(".new").rename(path)
        second = await site.fetch(handler, b"/a.txt")
        path.unlink()
        gone = await site.fetch(handler, b"/a.txt")
    assert (first.body, again, second.body, gone.status) == (b"one", first, b"two", 404)
    assert first.field(b"etag") != second.field(b"etag")


async def test_root_may_be_exchanged_as_a_link(site: Site) -> None:
    for release in ("1", "2"):
        site.write(f"{release}/a.txt", release.encode())
    current = site.root / "current"
    current.symlink_to("1")
    async with site.serve(root="root/current") as handler:
        assert (await site.fetch(handler, b"/a.txt")).body == b"1"
        (site.root / "next").symlink_to("2")
        (site.root / "next").rename(current)
        assert (await site.fetch(handler, b"/a.txt")).body == b"2"


async def test_a_folder_gives_its_index_and_is_never_listed(site: Site) -> None:
    site.write("index.html", b"<p>top")
    site.write("docs/index.htm", b"<p>docs")
    site.write("bare/a.txt")
    for target, settings, status, body in (
        (b"/", {}, 200, b"<p>top"),
        (b"", {}, 200, b"<p>top"),
        (b"/docs/", {}, 404, b"not found\n"),
        (b"/docs/", {"index": ["index.html", "index.htm"]}, 200, b"<p>docs"),
        (b"/", {"index": []}, 404, b"not found\n"),
        (b"/bare/", {}, 404, b"not found\n"),
        (b"/bare", {}, 404, b"not found\n"),
        (b"/index.html/", {}, 404, b"not found\n"),
    ):
        answer = await site.ask(target, **settings)
        assert (answer.status, answer.body) == (status, body), (target, settings)


async def test_an_index_that_is_a_dead_link_does_not_lead_astray(site: Site) -> None:
    site.write("other/index.htm", b"other")
    site.write("docs/index.htm", b"docs")
    (site.root / "docs/index.html").symlink_to("../other/missing")
    answer = await site.ask(b"/docs/", index=["index.html", "index.htm"])
    assert (answer.status, answer.body) == (200, b"docs")


@pytest.mark.parametrize(
    ("folder", "target", "location"),
    [
        ("docs", b"/docs", b"./docs/"),
        ("docs", b"/docs?a=b&c=%20d", b"./docs/?a=b&c=%20d"),
        ("a/b", b"/a/b", b"./b/"),
        ("evil.example", b"/evil.example", b"./evil.example/"),
        ("javascript:x", b"/javascript:x", b"./javascript%3Ax/"),
        ("a\r\nb: c", b"/a%0d%0ab:%20c", b"./a%0D%0Ab%3A%20c/"),
        ("é", b"/%c3%a9?\xc3\xa9", b"./%C3%A9/?%C3%A9"),
    ],
)
async def test_a_folder_without_slash_redirects_relatively(
    site: Site, folder: str, target: bytes, location: bytes
) -> None:
    site.write(f"{folder}/index.html")
    answer = await site.ask(target)
    assert (answer.status, answer.field(b"location"), answer.body) == (301, location, b"")


async def test_a_path_with_two_slashes_never_redirects_to_a_host(site: Site) -> None:
    site.write("evil.example/index.html")
    answer = await site.ask(b"//evil.example")
    assert (answer.status, answer.field(b"location")) == (404, None)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/%2e%2e/secret.txt", 404),
        (b"/../secret.txt", 404),
        (b"/sub/../../secret.txt", 404),
        (b"/..%2fsecret.txt", 404),
        (b"/..%2Fsecret.txt", 404),
        (b"/..\\secret.txt", 404),
        (b"/..%5csecret.txt", 404),
        (b"/%252e%252e/secret.txt", 404),
        (b"/%252e%252e%252fsecret.txt", 404),
        (b"/..;/secret.txt", 404),
        (b"/.;/ok.txt", 404),
        (b"/%c0%ae%c0%ae/secret.txt", 404),
        (b"/%ef%bc%8e%ef%bc%8e/secret.txt", 404),
        (b"/%u002e%u002e/secret.txt", 400),
        (b"/ok.txt%00.png", 400),
        (b"/ok.txt%", 400),
        (b"/ok.txt%2", 400),
        (b"/%zz", 400),
        (b"//etc/passwd", 404),
        (b"/%2fetc/passwd", 404),
        (b"/sub//ok.txt", 404),
        (b"/./ok.txt", 404),
        (b"/~root/.bashrc", 404),
        (b"/~/ok.txt", 404),
        (b"/link-out", 403),
        (b"/linkdir/secret.txt", 403),
        (b"/linkdir", 403),
        (b"/.git/config", 404),
        (b"/%2egit/config", 404),
        (b"/sub/.env", 404),
        (b"/ok.txt::$DATA", 404),
        (b"/ok.txt.", 404),
        (b"/ok.txt%20", 404),
        (b"/ok.txt/", 404),
        (b"/ok.txt/x", 404),
        (b"/OK.TXT", 404),
        (b"/" + b"a" * 300, 404),
        (b"/" + b"a/" * 5000, 404),
        (b"/" + b"a" * 60_000, 404),
        (b"/" + b"loop/" * 60 + b"ok.txt", 404),
        (b"/circle", 404),
        (b"/%ed%a0%80", 404),
        (b"/%ff%fe.txt", 404),
        (b"/fifo", 404),
        (b"/socket", 404),
        (b"/null", 403),
        (b"*", 404),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"look_up_in_thread": True}], ids=["loop", "thread"])
async def test_no_way_out(
    site: Site, target: bytes, status: int, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("ok.txt")
    site.write(".git/config", site.secret)
    site.write("sub/.env", site.secret)
    site.write("sub/ok.txt")
    for name, leads_to in (
        ("link-out", "../secret.txt"),
        ("linkdir", ".."),
        ("loop", "."),
        ("circle", "circle"),
        ("null", "/dev/null"),
    ):
        (site.root / name).symlink_to(leads_to)
    os.mkfifo(site.root / "fifo")
    monkeypatch.chdir(site.root)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        answer = await site.ask(target, **settings)
    assert answer.status == status
    assert site.secret not in answer.body


async def test_links_within_the_root_work(site: Site) -> None:
    # The shape of a mounted ConfigMap: names that begin with a dot are links' business, not the client's.
    site.write("..2024/a.txt", b"a")
    site.write("..2024/a.txt.gz", b"zipped")
    (site.root / "..data").symlink_to("..2024")
    (site.root / "a.txt").symlink_to("..data/a.txt")
    (site.root / "absolute.txt").symlink_to(site.root / "a.txt")
    (site.root / "sub").mkdir()
    (site.root / "sub/up.txt").symlink_to("../a.txt")
    (site.root / "folder").symlink_to("..2024/")
    for target in (b"/a.txt", b"/absolute.txt", b"/sub/up.txt", b"/folder/a.txt"):
        assert (await site.ask(target)).body == b"a", target
        assert (await site.ask(target, (b"accept-encoding", b"gzip"))).body == b"zipped", target


async def test_links_outside_work_where_allowed(site: Site) -> None:
    (site.root / "link-out").symlink_to("../secret.txt")
    (site.root / "up").symlink_to("..")
    (site.root / "null").symlink_to("/dev/null")
    (site.root / "file").symlink_to("../secret.txt")
    async with site.serve(follow_symlinks_outside=True) as handler:
        assert (await site.fetch(handler, b"/link-out")).body == site.secret
        assert (await site.fetch(handler, b"/up/secret.txt")).body == site.secret
        assert (await site.fetch(handler, b"/null")).status == 404
        assert (await site.fetch(handler, b"/file/x")).status == 404
        assert (await site.fetch(handler, b"/up/../secret.txt")).status == 404


async def test_well_known_is_served_unless_refused(site: Site) -> None:
    site.write(".well-known/security.txt", b"contact")
    site.write(".well-known/.hidden", b"hidden")
    site.write("sub/.well-known/x", b"x")
    assert (await site.ask(b"/.well-known/security.txt")).body == b"contact"
    assert (await site.ask(b"/%2Ewell-known/security.txt")).body == b"contact"
    assert (await site.ask(b"/.well-known/security.txt", serve_well_known=False)).status == 404
    assert (await site.ask(b"/.well-known/.hidden")).status == 404
    assert (await site.ask(b"/sub/.well-known/x")).status == 404


@pytest.fixture
def closed() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    root.chmod(0o755)
    (root / "closed.txt").write_bytes(b"closed")
    (root / "closed.txt").chmod(0)
    (root / "closed").mkdir(mode=0)
    yield root
    shutil.rmtree(root)


async def test_what_may_not_be_read_is_forbidden(site: Site, closed: Path) -> None:
    async with site.serve(root=str(closed)) as handler:
        with _not_as_root():
            for target, status in ((b"/closed.txt", 403), (b"/closed/x", 403), (b"/missing", 404)):
                assert (await site.fetch(handler, target)).status == status, target


async def test_a_root_that_cannot_be_reached_is_refused_at_start(site: Site, closed: Path) -> None:
    with _not_as_root(), pytest.raises(SettingsError, match="root cannot be reached"):
        async with site.serve(root=str(closed / "closed/site")):
            pass


@contextmanager
def _not_as_root() -> Iterator[None]:
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


async def test_no_descriptors_left_is_a_503_that_heals(site: Site) -> None:
    site.write("a.txt")
    site.write("b/c.txt")
    async with site.serve() as handler:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        for spare in (0, 1, 2):
            free = [os.open("/", os.O_RDONLY) for _ in range(spare)]
            highest = os.dup(0)
            os.close(highest)
            for descriptor in free:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
            try:
                with pytest.raises(ExchangeError) as caught:
                    await handler(site.request(b"/b/c.txt"))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert (caught.value.status, caught.value.retry_after_seconds) == (503, 1)
        assert (await site.fetch(handler, b"/b/c.txt")).status == 200


async def test_conditions_are_answered_for_the_file(site: Site) -> None:
    site.write("a.txt", b"hello")
    async with site.serve(cache_control="no-cache") as handler:
        full = await site.fetch(handler, b"/a.txt")
        etag, date = full.field(b"etag"), full.field(b"last-modified")
        assert etag is not None
        assert date is not None
        fresh = await site.fetch(handler, b"/a.txt", (b"if-none-match", b'"x", W/' + etag))
        assert (fresh.status, fresh.length, fresh.body) == (304, None, b"")
        assert dict(fresh.headers) == {
            b"etag": etag,
            b"last-modified": date,
            b"vary": b"accept-encoding",
            b"cache-control": b"no-cache",
        }
        assert (await site.fetch(handler, b"/a.txt", (b"if-modified-since", date))).status == 304
        assert (await site.fetch(handler, b"/a.txt", (b"if-match", b'"x"'))).status == 412
        assert (await site.fetch(handler, b"/a.txt", (b"if-match", etag))).status == 200
        huge = b", ".join(b'"%d"' % number for number in range(30_000))
        assert (await site.fetch(handler, b"/a.txt", (b"if-none-match", huge))).status == 200


@pytest.mark.parametrize("settings", [{}, {"small_bytes": 0}], ids=["small", "large"])
async def test_ranges(site: Site, settings: dict[str, Any]) -> None:
    content = bytes(range(256)) * 1000
    site.write("data.bin", content)
    size = len(content)
    async with site.serve(**settings) as handler:

        async def ask(value: bytes, *more: tuple[bytes, bytes], method: bytes = b"GET") -> Any:
            return await site.fetch(handler, b"/data.bin", (b"range", value), *more, method=method)

        for value, start, end in (
            (b"bytes=0-0", 0, 1),
            (b"bytes=1000-", 1000, size),
            (b"BYTES=-10", size - 10, size),
            (b"bytes=250-200000", 250, 200_001),
            (b"bytes=5-99999999999999999999999999", 5, size),
            (b"bytes=3-4,%d-" % size, 3, 5),
        ):
            answer = await ask(value)
            assert (answer.status, answer.body == content[start:end]) == (206, True), value
            assert answer.field(b"content-range") == b"bytes %d-%d/%d" % (start, end - 1, size)
            assert answer.length == end - start
        answer = await ask(b"bytes=99999999999999999999999999-")
        assert (answer.status, answer.field(b"content-range")) == (416, b"bytes */%d" % size)
        for value in (b"bytes=0-1,1-2", b"bytes=" + b"0-0," * 500, b"lines=1-2", b"bytes=2-1", b"bytes=x"):
            answer = await ask(value)
            assert (answer.status, answer.length) == (200, size), value
        assert (await ask(b"bytes=0-1", method=b"HEAD")).status == 200
        etag = answer.field(b"etag")
        assert (await ask(b"bytes=0-1", (b"if-range", etag))).status == 206
        assert (await ask(b"bytes=0-1", (b"if-range", b'"other"'))).status == 200
        assert (await ask(b"bytes=0-1", (b"if-range", b"W/" + etag))).status == 200
        assert (await ask(b"bytes=0-1", (b"range", b"bytes=2-3"))).status == 200


@pytest.mark.parametrize("settings", [{}, {"small_bytes": 0}], ids=["small", "large"])
async def test_several_ranges_are_a_multipart(site: Site, settings: dict[str, Any]) -> None:
    site.write("a.txt", b"0123456789")
    answer = await site.ask(b"/a.txt", (b"range", b"bytes=8-9, 0-1"), **settings)
    assert answer.status == 206
    kind = answer.field(b"content-type") or b""
    assert kind.startswith(b"multipart/byteranges; boundary=")
    boundary = kind.partition(b"boundary=")[2]
    assert answer.length == len(answer.body)
    parts = answer.body.split(b"\r\n--" + boundary)
    assert parts == [
        b"",
        b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 8-9/10\r\n\r\n89",
        b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 0-1/10\r\n\r\n01",
        b"--\r\n",
    ]


async def test_a_precompressed_sibling_is_a_representation_of_its_own(site: Site) -> None:
    site.write("app.js", b"plain " * 10)
    site.write("app.js.br", b"brotli")
    site.write("app.js.gz", b"gzipped")
    (site.root / "app.js.zst").mkdir()
    async with site.serve(precompressed=["br", "gzip", "zstd"]) as handler:
        seen = {}
        for accepted, coding, body in (
            (None, None, b"plain " * 10),
            (b"gzip, deflate, br", b"br", b"brotli"),
            (b"gzip, br;q=0.5", b"gzip", b"gzipped"),
            (b"br;q=0, gzip;q=0", None, b"plain " * 10),
            (b"zstd", None, b"plain " * 10),
            (b"identity, br;q=0.5", None, b"plain " * 10),
            (b"*", b"br", b"brotli"),
        ):
            fields = () if accepted is None else ((b"accept-encoding", accepted),)
            answer = await site.fetch(handler, b"/app.js", *fields)
            assert (answer.field(b"content-encoding"), answer.body) == (coding, body), accepted
            assert answer.field(b"content-type") == b"text/javascript; charset=utf-8"
            assert answer.field(b"vary") == b"accept-encoding"
            seen[coding] = answer.field(b"etag")
        assert len(set(seen.values())) == 3
        accepts = (b"accept-encoding", b"br")
        etag = seen[b"br"]
        assert etag is not None
        part = await site.fetch(handler, b"/app.js", accepts, (b"range", b"bytes=1-2"), (b"if-range", etag))
        assert (part.status, part.body, part.field(b"content-range")) == (206, b"ro", b"bytes 1-2/6")
        several = await site.fetch(handler, b"/app.js", accepts, (b"range", b"bytes=0-1,4-5"))
        assert (several.status, several.body) == (200, b"brotli")
        fresh = await site.fetch(handler, b"/app.js", accepts, (b"if-none-match", etag))
        assert (fresh.status, fresh.field(b"vary")) == (304, b"accept-encoding")
        assert (await site.fetch(handler, b"/app.js", (b"if-none-match", etag))).status == 200
    off = await site.ask(b"/app.js", accepts, precompressed=[])
    assert (off.body, off.field(b"vary")) == (b"plain " * 10, None)


async def test_a_precompressed_sibling_that_leaves_the_root_is_not_taken(site: Site) -> None:
    site.write("app.js", b"plain")
    (site.root / "app.js.gz").symlink_to("../secret.txt")
    answer = await site.ask(b"/app.js", (b"accept-encoding", b"gzip"))
    assert (answer.status, answer.body) == (200, b"plain")


async def test_fallback_answers_navigations_and_nothing_else(site: Site) -> None:
    site.write("index.html", b"<p>app")
    site.write("assets/app.js", b"code")
    site.write("docs/index.html", b"<p>docs")
    async with site.serve(fallback="index.html") as handler:
        for target in (b"/users/1", b"/users/john.doe", b"/v1.2", b"/users/", b"/assets/", b"/assets"):
            answer = await site.fetch(handler, target, HTML)
            assert (answer.status, answer.body) == (200, b"<p>app"), target
            assert answer.field(b"vary") == b"accept-encoding, accept"
            assert answer.field(b"content-type") == b"text/html; charset=utf-8"
        for target in (b"/app.js", b"/x/logo.PNG", b"/.git/config", b"/.well-known/x", b"/%2e%2e/x", b"//x"):
            answer = await site.fetch(handler, target, HTML)
            assert answer.status == 404, target
        missing = await site.fetch(handler, b"/users/1", (b"accept", b"*/*"))
        assert (missing.status, missing.field(b"vary")) == (404, b"accept")
        assert (await site.fetch(handler, b"/users/1")).status == 404
        assert (await site.fetch(handler, b"/docs", HTML)).status == 301
        assert (await site.fetch(handler, b"/docs/", HTML)).body == b"<p>docs"
        head = await site.fetch(handler, b"/users/1", HTML, method=b"HEAD")
        assert (head.status, head.length) == (200, 6)
        (site.root / "index.html").unlink()
        assert (await site.fetch(handler, b"/users/1", HTML)).status == 404


async def test_cache_control_by_pattern(site: Site) -> None:
    for name in ("index.html", "assets/app.1a2b.js", "docs/index.html", "plain.txt"):
        site.write(name)
    rules = {"assets/*": "public, max-age=31536000, immutable", "*.html": "no-cache"}
    async with site.serve(cache_control=rules, fallback="index.html") as handler:
        for target, value in (
            (b"/", b"no-cache"),
            (b"/docs/", b"no-cache"),
            (b"/some/route", b"no-cache"),
            (b"/assets/app.1a2b.js", b"public, max-age=31536000, immutable"),
            (b"/plain.txt", None),
        ):
            assert (await site.fetch(handler, target, HTML)).field(b"cache-control") == value, target
    assert (await site.ask(b"/plain.txt", cache_control="max-age=60")).field(b"cache-control") == b"max-age=60"


async def test_time_stamps_that_tell_nothing_are_not_told(site: Site) -> None:
    path = site.write("a.txt", b"one")
    os.utime(path, ns=(0, 1_000_000_000))
    first = await site.ask(b"/a.txt")
    path.with_suffix(".new").write_bytes(b"two")
    os.utime(path.with_suffix(".new"), ns=(0, 1_000_000_000))
    path.with_suffix(".new").rename(path)
    second = await site.ask(b"/a.txt")
    assert first.field(b"etag") != second.field(b"etag")
    assert first.field(b"last-modified") is None
    os.utime(path, (0, 4_000_000_000))
    assert (await site.ask(b"/a.txt")).field(b"last-modified") is None


async def test_a_file_that_shrinks_is_cut_and_never_padded(site: Site, open_files: Callable[[], int]) -> None:
    path = site.write("data.bin", b"x" * 500_000)
    async with site.serve() as handler:
        before = open_files()
        response = await handler(site.request(b"/data.bin"))
        assert response.body.length == 500_000
        first = await response.body.read()
        os.truncate(path, len(first) + 10)
        assert await response.body.read() == b"x" * 10
        with pytest.raises(ExchangeError, match="shorter"):
            await response.body.read()
        await response.body.aclose()
        assert open_files() == before


async def test_a_file_that_grows_keeps_its_announced_length(site: Site) -> None:
    path = site.write("data.bin", b"x" * 500_000)
    async with site.serve() as handler:
        response = await handler(site.request(b"/data.bin"))
        got = len(await response.body.read())
        with path.open("ab") as file:
            file.write(b"y" * 1000)
        while chunk := await response.body.read():
            got += len(chunk)
        await response.body.aclose()
    assert got == 500_000


@pytest.mark.parametrize(
    "settings", [{}, {"look_up_in_thread": True}, {"small_bytes": 0}], ids=["loop", "thread", "large"]
)
async def test_cancelling_leaves_no_file_open(
    site: Site, settings: dict[str, Any], open_files: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemun_static.content._NO_WAIT", None)  # as on a file system where reading may wait
    site.write("data.bin", b"x" * 300_000)
    site.write("a.txt")
    async with site.serve(**settings) as handler:
        await site.fetch(handler, b"/a.txt")
        before = open_files()
        for target in (b"/a.txt", b"/data.bin"):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await site.fetch(handler, target)
            assert scope.cancelled_caught
        response = await handler(site.request(b"/data.bin"))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await response.body.read()
        assert scope.cancelled_caught
        assert len(await response.body.read()) > 0
        await response.body.aclose()
        await response.body.aclose()
        assert await response.body.read() == b""
        assert open_files() == before


async def test_many_at_once(site: Site, open_files: Callable[[], int]) -> None:
    content = os.urandom(200_000)
    site.write("data.bin", content)
    wrong: list[int] = []
    async with site.serve(threads=2) as handler:
        before = open_files()

        async def fetch(number: int) -> None:
            answer = await site.fetch(handler, b"/data.bin", (b"range", b"bytes=%d-" % number))
            if answer.body != content[number:]:
                wrong.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(fetch, number)
        assert open_files() == before
    assert wrong == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"root": "missing"}, "root is no folder"),
        ({"root": "secret.txt"}, "root is no folder"),
        ({"fallback": "../secret.txt"}, "fallback cannot be served"),
        ({"fallback": ".env"}, "fallback cannot be served"),
    ],
)
async def test_settings_that_cannot_work_are_refused_at_start(site: Site, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        async with site.serve(**settings):
            pass


@pytest.mark.parametrize(
    "settings",
    [
        {"root": ""},
        {"index": ["a/b.html"]},
        {"index": ["..", "index.html"]},
        {"cache_control": "no-cache\n"},
        {"cache_control": {"*": "a\r\nb: c"}},
        {"content_types": {"txt": "text/plain"}},
        {"content_types": {".txt": "text/plain\n"}},
        {"precompressed": ["deflate"]},
        {"listing": True},
        {"threads": 0},
    ],
)
async def test_settings_are_decoded_strictly(site: Site, settings: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        async with site.serve(**settings):
            pass
