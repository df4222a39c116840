"""curl, nghttp, h2load and Node through the gateway, to nghttpd and to HTTP/1, in the clear and with TLS, small and large."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import GatewayProcess, Start
from .tools import debian_tool, node, node_folder, told_by_node

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

LARGE_BYTES = 10_000_000
PAGE = b"a page\n" * 20_000
MIXED = ("http2", "http1")
NGHTTP2 = "nghttp2-client"

Files = tuple[Path, Path]
Port = Callable[[], int]


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 MB that nobody compresses or guesses."""
    file = tmp_path_factory.mktemp("large") / "large"
    file.write_bytes(os.urandom(LARGE_BYTES))
    return file


@pytest.fixture
def start_nghttpd(program: Callable[..., None], free_port: Port, tmp_path: Path) -> Callable[..., int]:
    """Starts a server of HTTP/2 without TLS: `page` is a file there, uploads come back, and trailers follow."""

    def run(*more: str) -> int:
        server, port = debian_tool("nghttpd", "nghttp2-server"), free_port()
        (tmp_path / "page").write_bytes(PAGE)
        options = ("--no-tls", "--echo-upload", "--trailer", "x-end: reached", "--address", "127.0.0.1", *more)
        program([server, *options, "-d", tmp_path, port], port)
        return port

    return run


@pytest.fixture
def nghttpd(start_nghttpd: Callable[..., int]) -> int:
    """Its port."""
    return start_nghttpd()


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def files(request: pytest.FixtureRequest, certificate_files: Files) -> Files | None:
    """The listener's certificate and key; None: it speaks plaintext."""
    return certificate_files if request.param else None


@pytest.fixture
def gateway(start: Start, nghttpd: int, files: Files | None) -> GatewayProcess:
    """A gateway before nghttpd."""
    return start(nghttpd, speaks=MIXED, upstream="h2c", tls=files)


@pytest.fixture(params=["http1", "http2"])
def echoing(
    request: pytest.FixtureRequest,
    start: Start,
    files: Files | None,
    corpus: Path,
    program: Callable[..., None],
    free_port: Port,
) -> GatewayProcess:
    """A gateway before a back end, of either version, that sends back what it gets."""
    if request.param == "http2":
        return start(request.getfixturevalue("nghttpd"), speaks=MIXED, upstream="h2c", tls=files)
    port = free_port()
    program([sys.executable, corpus / "attacks" / "echo.py", port], port)
    return start(port, speaks=MIXED, tls=files)


def output(argv: list[str], given: Path = Path(os.devnull)) -> bytes:
    """What a program writes that reads `given`; it must end well."""
    with given.open("rb") as file:
        done = subprocess.run(argv, stdin=file, capture_output=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def curl(folder: Path, *arguments: str, given: Path = Path(os.devnull)) -> tuple[str, bytes]:
    """The version and the status that curl saw, and the content that it got."""
    got = folder / "got"
    words = ["-sS", "-k", "--max-time", "60", "-o", str(got), "-w", "%{http_version} %{http_code}", *arguments]
    told = output([debian_tool("curl", "curl"), *words], given)
    return told.decode(), got.read_bytes()


def spoken(gateway: GatewayProcess) -> str:
    """With TLS the version is agreed on in the handshake, and otherwise known."""
    return "--http2-prior-knowledge" if gateway.url.startswith("http:") else "--http2"


def test_curl_gets_a_page(gateway: GatewayProcess, tmp_path: Path) -> None:
    assert curl(tmp_path, spoken(gateway), f"{gateway.url}/page") == ("2 200", PAGE)
    assert curl(tmp_path, spoken(gateway), f"{gateway.url}/none")[0] == "2 404"


def test_curl_gets_a_page_over_http1_on_the_same_port(gateway: GatewayProcess, tmp_path: Path) -> None:
    assert curl(tmp_path, "--http1.1", f"{gateway.url}/page") == ("1.1 200", PAGE)


def test_an_offer_to_upgrade_is_not_taken(start: Start, nghttpd: int, tmp_path: Path) -> None:
    gateway = start(nghttpd, speaks=MIXED, upstream="h2c")
    assert curl(tmp_path, "--http2", f"{gateway.url}/page") == ("1.1 200", PAGE)


@pytest.mark.parametrize("how", ["--data-binary @{}", "-T {}", "-T - -X POST"])
def test_curl_sends_ten_megabytes_and_gets_them_back(
    how: str, echoing: GatewayProcess, tmp_path: Path, large_file: Path
) -> None:
    words = how.format(large_file).split()
    told = curl(tmp_path, spoken(echoing), *words, f"{echoing.url}/up", given=large_file)
    assert told == ("2 200", large_file.read_bytes())


def test_trailers_reach_nghttp(gateway: GatewayProcess) -> None:
    told = output([debian_tool("nghttp", NGHTTP2), "-nv", f"{gateway.url}/page"]).decode()
    assert re.search(r"recv \(stream_id=\d+\) x-end: reached", told), told


@pytest.mark.parametrize("options", ["", "-w 10 -W 10", "-w 14 -W 30", "-m 20 -w 12", "--no-dep -m 20", "-p 7 -m 3"])
def test_nghttp_gets_all_bytes_with_any_window(options: str, gateway: GatewayProcess) -> None:
    times = int(found[1]) if (found := re.search(r"-m (\d+)", options)) else 1
    told = output([debian_tool("nghttp", NGHTTP2), *options.split(), f"{gateway.url}/page"])
    assert len(told) == len(PAGE) * times
    assert set(told) == set(PAGE)


@pytest.mark.parametrize("options", ["", "-w 10 -W 10", "-b 500"])
def test_nghttp_sends_ten_megabytes(options: str, gateway: GatewayProcess, large_file: Path) -> None:
    argv = [debian_tool("nghttp", NGHTTP2), *options.split(), "-d", str(large_file), f"{gateway.url}/up"]
    assert output(argv) == large_file.read_bytes()


@pytest.mark.parametrize("options", ["-c 10 -m 1", "-c 10 -m 20", "-c 1 -m 100", "-c 4 -m 10 -w 10 -W 10"])
def test_h2load_sees_no_request_fail(options: str, gateway: GatewayProcess) -> None:
    count = 2000 if "-w" not in options else 200
    argv = [debian_tool("h2load", NGHTTP2), "-n", str(count), *options.split()]
    assert succeeded(output([*argv, f"{gateway.url}/page"])) == count


def test_h2load_sees_no_upload_fail(gateway: GatewayProcess, tmp_path: Path) -> None:
    (tmp_path / "some").write_bytes(bytes(100_000))
    argv = [debian_tool("h2load", NGHTTP2), "-n", "500", "-c", "5", "-m", "10", "-d", str(tmp_path / "some")]
    assert succeeded(output([*argv, f"{gateway.url}/up"])) == 500


@pytest.mark.parametrize("streams", ["1", "3"])
def test_an_upstream_that_takes_few_streams_fails_no_request(
    streams: str, start: Start, start_nghttpd: Callable[..., int]
) -> None:
    gateway = start(start_nghttpd("-m", streams), speaks=MIXED, upstream="h2c")
    argv = [debian_tool("h2load", NGHTTP2), "-n", "500", "-c", "2", "-m", "50"]
    assert succeeded(output([*argv, f"{gateway.url}/page"])) == 500


def test_an_upstream_with_small_windows_fails_no_upload(
    start: Start, start_nghttpd: Callable[..., int], tmp_path: Path
) -> None:
    gateway = start(start_nghttpd("-w", "10", "-W", "16"), speaks=MIXED, upstream="h2c")
    (tmp_path / "some").write_bytes(bytes(100_000))
    argv = [debian_tool("h2load", NGHTTP2), "-n", "50", "-c", "2", "-m", "10", "-d", str(tmp_path / "some")]
    assert succeeded(output([*argv, f"{gateway.url}/up"])) == 50


@pytest.mark.parametrize(("version", "upstream"), [("1.1", "http"), ("2", "h2c")])
def test_node_opens_a_tunnel_by_extended_connect(
    version: str, upstream: str, start: Start, program: Callable[..., None], free_port: Port
) -> None:
    port = free_port()
    program([node(), "tunnel_server.mjs", version, port], port, node_folder())
    told = told_by_node("tunnel_client.mjs", start(port, speaks=MIXED, upstream=upstream).url)
    assert told == {"enabled": True, "status": 200, "path": "/chat?room=1", "echoed": "pingpong"}


def test_an_answer_that_is_not_read_holds_up_no_other(
    gateway: GatewayProcess, tmp_path: Path, large_file: Path
) -> None:
    (tmp_path / "large").symlink_to(large_file)
    told = told_by_node("neighbours_client.mjs", gateway.url)
    assert told == {"others": [len(PAGE)] * 200, "slow": LARGE_BYTES}


def succeeded(told: bytes) -> int:
    """How many requests h2load counts as done and as answered by 2xx."""
    text = told.decode()
    requests = re.search(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout", text)
    codes = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", text)
    assert requests, text
    assert codes, text
    assert requests[1] == codes[1]
    return int(requests[1])
