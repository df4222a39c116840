"""Rows become routes, and stop being ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import daemun_sqlite_routes
import pytest

from daemun.testing import VirtualClock, answering, in_memory
from daemun.testing.batteries import check_source

pytestmark = pytest.mark.anyio

Execute = Callable[..., None]
UPSTREAMS = {"one.test:80": answering(content=b"one"), "two.test:80": answering(content=b"two")}


@pytest.fixture
def execute(tmp_path: Path) -> Execute:
    def run(statement: str, *values: object) -> None:
        with sqlite3.connect(tmp_path / "r.db") as database:
            database.execute(statement, values)
        database.close()

    run("CREATE TABLE routes (host TEXT, path TEXT, address TEXT)")
    run("INSERT INTO routes VALUES ('a.test', NULL, 'one.test:80')")
    return run


async def test_rows_are_routes(tmp_path: Path, execute: Execute, daemun_clock: VirtualClock) -> None:
    settings = {"sources": [{"type": "sqlite", "file": "r.db"}]}
    opened = in_memory(settings, plugins=[daemun_sqlite_routes], only=["http1"], base_dir=tmp_path, upstreams=UPSTREAMS)
    async with opened as gateway:
        assert (await gateway.ask(host="a.test")).body == b"one"
        execute("INSERT INTO routes VALUES ('a.test', '/two', 'two.test:80')")
        execute("INSERT INTO routes VALUES ('*.b.test', NULL, 'two.test:80')")
        await daemun_clock.advance(1.5)
        bodies = [(await gateway.ask(target=path, host="a.test")).body for path in ("/", "/two/x", "/twofold")]
        assert bodies == [b"one", b"two", b"one"]
        assert (await gateway.ask(host="x.b.test")).body == b"two"
        execute("DELETE FROM routes WHERE host = 'a.test'")
        await daemun_clock.advance(1.5)
        assert (await gateway.ask(host="a.test")).status == 404


async def test_one_bad_row_hurts_no_other(tmp_path: Path, execute: Execute) -> None:
    execute("INSERT INTO routes VALUES ('c.test', NULL, NULL)")
    execute("INSERT INTO routes VALUES ('d.test', 'no-slash', 'one.test:80')")
    settings = {"sources": [{"type": "sqlite", "file": "r.db"}]}
    options = {"only": ["http1"], "base_dir": tmp_path, "upstreams": UPSTREAMS, "refused_ok": True}
    async with in_memory(settings, plugins=[daemun_sqlite_routes], **options) as gateway:
        assert (await gateway.ask(host="a.test")).body == b"one"
        assert (await gateway.ask(host="c.test")).status == 404
        assert (await gateway.ask(host="d.test")).status == 404


async def test_it_keeps_the_contract_of_sources(tmp_path: Path, execute: Execute) -> None:
    (kind,) = daemun_sqlite_routes.daemun_sources()
    await check_source(kind, {"file": "r.db"}, base_dir=tmp_path)
