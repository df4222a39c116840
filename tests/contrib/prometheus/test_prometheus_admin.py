"""The listener that metrics are served at."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import socket
from pathlib import Path
from typing import Any

import anyio
import pytest

from daemun import SettingsError
from daemun.testing import Answer, Wire
from daemun_prometheus.admin import Admin
from daemun_prometheus.exposition import Page
from daemun_prometheus.gauges import Gauges

pytestmark = pytest.mark.anyio

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


async def ask(admin: Path, request: str, *fields: str) -> Answer:
    wire = Wire(await anyio.connect_unix(admin))
    await wire.send("\r\n".join([f"{request} HTTP/1.1", "Host: a", *fields, "", ""]).encode())
    answer = await wire.answer(request.partition(" ")[0])
    await wire.aclose()
    return answer


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_metrics_are_text_unless_another_format_is_asked_for(metering: Any, admin: Path) -> None:
    async with metering():
        plain = await ask(admin, "GET /metrics")
        assert plain.field(b"content-type") == b"text/plain; version=0.0.4; charset=utf-8"
        assert b"# TYPE daemun_requests_total counter\n" in plain.body
        assert not plain.body.endswith(b"# EOF\n")
        new = await ask(admin, "GET /metrics", "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        assert (new.field(b"content-type") or b"").startswith(b"application/openmetrics-text; version=1.0.0;")
        assert new.body.count(b"# EOF\n") == 1
        assert new.body.endswith(b"# EOF\n")
        odd = await ask(admin, "GET /metrics", "Accept: application/openmetrics-text; version=soon")
        assert odd.status == 200


async def test_both_formats_are_what_their_parsers_take(metering: Any) -> None:
    async with metering() as service:
        await service.ask("/up")
        for accept in ("text/plain", OPENMETRICS):
            scraped = await service.scrape(accept)
            assert scraped.value("daemun_requests_total", route="all", status="200", reason="") == 1


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("", False),
    ],
)
async def test_metrics_are_compressed_if_that_is_accepted(
    metering: Any, admin: Path, accepted: str, compressed: bool
) -> None:
    async with metering():
        answer = await ask(admin, "GET /metrics", f"Accept-Encoding: {accepted}")
    assert answer.field(b"content-encoding") == (b"gzip" if compressed else None)
    text = gzip.decompress(answer.body) if compressed else answer.body
    assert b"daemun_workers 1.0\n" in text


async def test_only_its_path_and_only_two_methods_are_answered(metering: Any, admin: Path) -> None:
    async with metering(path="/internal/metrics"):
        assert (await ask(admin, "GET /internal/metrics")).status == 200
        assert (await ask(admin, "GET /internal/metrics?name=x")).status == 200
        assert (await ask(admin, "GET /metrics")).status == 404
        assert (await ask(admin, "GET /internal/metrics/")).status == 404
        assert (await ask(admin, "POST /other")).status == 404
        refused = await ask(admin, "POST /internal/metrics")
        assert (refused.status, refused.field(b"allow")) == (405, b"GET, HEAD")


@pytest.mark.parametrize("request_", ["GET /metrics", "CONNECT /metrics", "OPTIONS /metrics"])
async def test_nobody_switches_protocols(metering: Any, admin: Path, request_: str) -> None:
    async with metering():
        answer = await ask(admin, request_, "Connection: Upgrade", "Upgrade: websocket")
        assert answer.status == (200 if request_.startswith("GET") else 405)
        assert answer.field(b"connection") == b"close"


async def test_head_has_the_head_of_get(metering: Any, admin: Path) -> None:
    async with metering():
        answer = await ask(admin, "HEAD /metrics")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.field(b"content-length") or b"0") > 1000


async def test_a_connection_takes_one_scrape_after_the_other(metering: Any, admin: Path) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    async with metering():
        wire = Wire(await anyio.connect_unix(admin))
        for _ in range(3):
            await wire.send(request)
            assert (await wire.answer()).status == 200
        await wire.send(request + request)
        assert [(await wire.answer()).status for _ in range(2)] == [200, 200]
        await wire.send(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (await wire.answer()).field(b"connection") == b"close"
        assert await wire.rest() == b""
        await wire.aclose()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345", b"413"),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"413"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000, b"431"),
    ],
)
async def test_what_is_no_scrape_is_refused_and_ends_the_connection(
    metering: Any, admin: Path, request_: bytes, status: bytes
) -> None:
    async with metering():
        wire = Wire(await anyio.connect_unix(admin))
        await wire.send(request_)
        assert (await wire.until(b"\r\n\r\n"))[9:12] == status
        await wire.aclose()
        assert (await ask(admin, "GET /metrics")).status == 200


async def test_a_silent_connection_is_closed(metering: Any, admin: Path) -> None:
    async with metering(idle_timeout_seconds=0.5):
        wire = Wire(await anyio.connect_unix(admin))
        await wire.send(b"GET /metrics HTTP/1.1\r\n")
        assert await wire.rest() == b""
        await wire.aclose()


async def test_whoever_holds_too_many_connections_gets_no_more(metering: Any, admin: Path) -> None:
    async with metering() as service:
        held = [Wire(await anyio.connect_unix(admin)) for _ in range(64)]
        for wire in held:
            await wire.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            await wire.answer()
        further = Wire(await anyio.connect_unix(admin))
        assert await further.rest() == b""
        await further.aclose()
        assert (await service.ask("/up")).status == 200
        for wire in held:
            await wire.aclose()
        await service.until("daemun_workers", 1)


async def test_an_address_in_use_is_named(metering: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        where = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"observer prometheus cannot bind {where}: address already in use"):
            async with metering(bind=where):
                pass


async def test_a_unix_socket_in_use_or_another_file_is_left_alone(metering: Any, tmp_path: Path) -> None:
    path = tmp_path / "taken.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(SettingsError, match=r"taken\.sock: address already in use"):
            async with metering(bind=f"unix:{path}"):
                pass
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(SettingsError, match="there is a file that is no socket"):
        async with metering(bind=f"unix:{file}"):
            pass
    assert file.read_text() == "kept"


async def test_a_unix_socket_left_behind_is_replaced_and_removed_at_the_end(metering: Any, admin: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(admin))
    async with metering() as service:
        assert (await service.scrape()).value("daemun_workers") == 1
    assert not await anyio.Path(admin).exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_tcp_address_is_served_and_logged(metering: Any, caplog: pytest.LogCaptureFixture, host: str) -> None:
    if host == "[::1]" and not has_ipv6():
        pytest.skip("no IPv6 here")
    caplog.set_level(logging.INFO, "daemun.prometheus")
    async with metering(bind=f"{host}:0"):
        (message,) = [one.getMessage() for one in caplog.records if one.name == "daemun.prometheus"]
        words, _, where = message.partition(" http://")
        assert words == "metrics at"
        address, _, path = where.partition("/")
        shown, _, port = address.rpartition(":")
        assert (shown, path) == (host, "metrics")
        wire = Wire(await anyio.connect_tcp(host.strip("[]"), int(port)))
        await wire.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert (await wire.answer()).status == 200
        assert await wire.rest() == b""
        await wire.aclose()


async def test_a_client_that_leaves_in_the_middle_does_no_harm(metering: Any, admin: Path) -> None:
    async with metering() as service:
        for _ in range(5):
            wire = Wire(await anyio.connect_unix(admin))
            await wire.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            await wire.aclose()
        assert (await service.scrape()).value("daemun_workers") == 1


class Exhausted:
    """A listener that is out of descriptors, and then is not."""

    def __init__(self) -> None:
        self.accepts = 0
        self.recovered = anyio.Event()

    async def serve(self, handler: object, tasks: object) -> None:
        self.accepts += 1
        if self.accepts < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.recovered.set()
        await anyio.sleep_forever()


async def test_being_out_of_descriptors_is_waited_out() -> None:
    async def scrape(accept: str, gzip: bool) -> Page:
        return Page("text/plain", "", [])

    listener: Any = Exhausted()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Admin("/metrics", scrape, 1).serve, listener, tasks)
        with anyio.fail_after(10):
            await listener.recovered.wait()
        tasks.cancel_scope.cancel()
    assert listener.accepts == 3


async def test_a_scrape_that_fails_is_a_500_and_harms_nothing_else(
    metering: Any, admin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with metering() as service:
        with monkeypatch.context() as broken:
            broken.delattr(Gauges, "look")
            assert (await ask(admin, "GET /metrics")).status == 500
        assert (await service.ask("/up")).status == 200
        assert (await ask(admin, "GET /metrics")).status == 200
