"""Contents that are kept: bounded, and never those of a file that has changed."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
from anyio import CapacityLimiter

from daemun import ExchangeError
from daemun_static import content
from daemun_static.content import FileBody, SmallFiles, read_small, read_small_at_once
from daemun_static.ranges import Span


@pytest.fixture(autouse=True)
def _files_settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "SETTLED_NANOSECONDS", 0)


def test_what_is_kept_is_bounded_and_the_least_used_goes(tmp_path: Path) -> None:
    small = SmallFiles(4000)
    facts = []
    for number in range(4):
        (tmp_path / str(number)).write_bytes(b"x" * 800)
        facts.append((tmp_path / str(number)).stat())
    for number in range(3):
        small.keep(facts[number], b"%d" % number * 800)
    assert small.get(facts[0]) == b"0" * 800
    small.keep(facts[3], b"3" * 800)
    assert [small.get(one) is not None for one in facts] == [True, False, True, True]
    small.keep(facts[1], b"x" * 4001)
    assert [small.get(one) is not None for one in facts] == [True, False, True, True]


def test_empty_files_are_bounded_too(tmp_path: Path) -> None:
    small = SmallFiles(10_000)
    facts = []
    for number in range(100):
        (tmp_path / str(number)).touch()
        facts.append((tmp_path / str(number)).stat())
        small.keep(facts[-1], b"")
    assert sum(small.get(one) is not None for one in facts) < 30


def test_a_changed_file_is_not_found(tmp_path: Path) -> None:
    small = SmallFiles(10_000)
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before = path.stat()
    small.keep(before, b"one")
    small.keep(before, b"one")
    assert small.get(path.stat()) == b"one"
    os.utime(path, ns=(0, before.st_mtime_ns + 1))
    assert small.get(path.stat()) is None
    path.chmod(0o600)
    assert small.get(path.stat()) is None


def test_a_file_that_may_go_on_changing_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "SETTLED_NANOSECONDS", 3600 * 10**9)
    small = SmallFiles(10_000)
    (tmp_path / "a").write_bytes(b"one")
    small.keep((tmp_path / "a").stat(), b"one")
    assert small.get((tmp_path / "a").stat()) is None


@pytest.mark.parametrize("change", [b"", b"shorter", b"a longer content"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"the content")
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        path.write_bytes(change)
        assert read_small_at_once(file.fileno(), facts) is None
        with pytest.raises(ExchangeError, match="changed") as caught:
            read_small(file.fileno(), facts)
    assert (caught.value.status, caught.value.retry_after_seconds) == (503, 1)


def test_a_file_that_is_replaced_while_it_is_read_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"the content")
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        (tmp_path / "b").write_bytes(b"new")
        (tmp_path / "b").rename(path)
        assert read_small(file.fileno(), facts) == b"the content"


@pytest.mark.anyio
@pytest.mark.parametrize("waits", [False, True])
async def test_a_body_sends_its_parts_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    if waits:
        monkeypatch.setattr(content, "_NO_WAIT", None)
    data = os.urandom(700_000)
    (tmp_path / "a").write_bytes(data)
    parts: list[Span | bytes] = [b"first", (600_000, 700_000), b"second", (0, 1), (5, 400_000), b"last"]
    body = FileBody(os.open(tmp_path / "a", os.O_RDONLY), parts, CapacityLimiter(1))
    try:
        got = b""
        while chunk := await body.read():
            got += chunk
        assert got == b"first" + data[600_000:] + b"second" + data[:1] + data[5:400_000] + b"last"
        assert body.length == len(got)
        assert await body.read() == b""
    finally:
        await body.aclose()


@pytest.mark.anyio
async def test_closing_during_a_read_closes_the_file_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_NO_WAIT", None)
    (tmp_path / "a").write_bytes(b"x" * 300_000)
    limiter = CapacityLimiter(1)
    async with anyio.create_task_group() as tasks:
        body = FileBody(os.open(tmp_path / "a", os.O_RDONLY), [(0, 300_000)], limiter)
        await limiter.acquire()  # the read has to wait for its thread
        tasks.start_soon(body.read)
        while not limiter.statistics().tasks_waiting:
            await anyio.lowlevel.checkpoint()
        await body.aclose()
        assert body.descriptor >= 0
        limiter.release()
    assert body.descriptor == -1
