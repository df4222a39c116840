"""Files that are rotated, removed, full, or shared: no line is lost that could be written, and no request waits."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from daemun_accesslog.sink import Sink

if TYPE_CHECKING:
    from tests.contrib.accesslog.conftest import Desk

pytestmark = pytest.mark.anyio


def numbers(*texts: list[dict[str, str]]) -> list[int]:
    return [int(line["path"][1:]) for lines in texts for line in lines]


def descriptors_of(file: Path) -> list[int]:
    return [int(one.name) for one in Path("/proc/self/fd").iterdir() if one.exists() and one.resolve() == file]


async def test_a_renamed_file_is_opened_anew_and_nothing_is_lost(desk: Desk) -> None:
    old = desk.folder / "access.log.1"
    async with desk.open(fields=["path"]) as door:
        for number in range(10):
            await door.ask(f"/{number}")
        desk.file.rename(old)
        door.reopen()
        await desk.until(desk.file.exists)
        for number in range(10, 20):
            await door.ask(f"/{number}")
    assert sorted(numbers(desk.objects(old), desk.objects())) == list(range(20))
    assert numbers(desk.objects())[-10:] == list(range(10, 20))
    assert desk.told == []


async def test_rotation_under_load_loses_nothing(desk: Desk) -> None:
    asked = 0
    async with desk.open(fields=["path"]) as door:

        async def load() -> None:
            nonlocal asked
            while len(turned) < 5:
                await door.ask_many(10, "/1")
                asked += 10

        turned: list[Path] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load)
            tasks.start_soon(load)
            for turn in range(5):
                await desk.until(lambda: desk.file.exists() and desk.file.stat().st_size)
                file = desk.folder / f"turned.{turn}"
                desk.file.rename(file)
                door.reopen()
                turned.append(file)
        await desk.until(desk.file.exists)
        await door.ask("/1")
        asked += 1
    counts = [len(desk.objects(file)) for file in (*turned, desk.file)]
    assert min(counts) > 0
    assert sum(counts) == asked


async def test_a_file_is_appended_to_and_is_not_for_everybody(desk: Desk) -> None:
    before = os.umask(0)
    try:
        for _ in range(2):
            async with desk.open(fields=["path"]) as door:
                await door.ask("/1")
                (descriptor,) = descriptors_of(desk.file)
                assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    finally:
        os.umask(before)
    assert desk.file.stat().st_mode & 0o7777 == 0o640
    assert numbers(desk.objects()) == [1, 1]
    assert descriptors_of(desk.file) == []


async def test_lines_of_several_workers_never_mix(desk: Desk) -> None:
    agent = ("User-Agent", b"a" * 900)
    async with (
        desk.open() as one,
        desk.open() as two,
        desk.open(fields=["path", "request.user-agent"]) as three,
        anyio.create_task_group() as tasks,
    ):
        for door in (one, two, three):
            tasks.start_soon(door.ask_many, 200, "/", agent)
            tasks.start_soon(door.ask_many, 200, "/", agent)
    assert [line["request.user-agent"] for line in desk.objects()] == ["a" * 900] * 1200


async def test_a_full_disk_stops_no_request_and_is_told_once(desk: Desk) -> None:
    desk.file.symlink_to("/dev/full")
    async with desk.open(fields=["path"]) as door:
        assert (await door.ask("/lost")).status == 200
        await desk.until(lambda: desk.told)
        await door.ask_many(20, "/lost")
        desk.file.unlink()
        door.reopen()
        await desk.until_told(": works again", door)
    full, again = desk.told
    assert full == "access.log: cannot be written: no space left on device; lines are lost until it works again"
    assert again.startswith("access.log: works again; lines lost: ")
    lost = int(again.rpartition(" ")[2])
    asked_again = sum(1 for line in desk.objects() if line["path"] == "/again")
    kept = sum(1 for line in desk.objects() if line["path"] == "/lost")
    assert lost + kept == 21
    assert asked_again >= 1


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """A disk that is full when a file has `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_line_that_was_torn_by_a_full_disk_spoils_no_other(tmp_path: Path) -> None:
    sink = Sink("log", tmp_path)
    lines = b"".join(b"line %03d\n" % number for number in range(100))
    assert sink.write(b"begin 12\n" * 2, reopen=False) == (0, "")
    with files_up_to(100):
        assert sink.write(lines, reopen=False) == (91, "cannot be written: file too large")
        assert sink.write(lines, reopen=False) == (100, "cannot be written: file too large")
    assert sink.write(b"after\n", reopen=False) == (0, "")
    assert sink.write(b"later\n", reopen=False) == (0, "")
    sink.close()
    text = (tmp_path / "log").read_bytes()
    assert text == b"begin 12\n" * 2 + lines[:81] + b"l\nafter\nlater\n"


async def test_a_file_whose_folder_was_removed_comes_back(desk: Desk) -> None:
    folder = desk.folder / "logs"
    folder.mkdir()
    async with desk.open(file="logs/access.log", fields=["path"]) as door:
        await door.ask("/1")
        await desk.until(lambda: (folder / "access.log").stat().st_size)
        shutil.rmtree(folder)
        assert (await door.ask("/2")).status == 200
        await desk.until(lambda: desk.told)
        folder.mkdir()
        await desk.until_told(": works again", door)
    assert desk.told[0] == (
        "logs/access.log: cannot be opened anew: no such file or directory; lines are lost until it works again"
    )
    assert desk.told[1] == "logs/access.log: works again; lines lost: 1"
    assert {line["path"] for line in desk.objects(folder / "access.log")} == {"/again"}


async def test_a_file_that_cannot_be_opened_anew_stays_in_use_until_it_can(desk: Desk) -> None:
    old = desk.folder / "old.log"
    async with desk.open(fields=["path"]) as door:
        desk.file.rename(old)
        desk.file.mkdir()
        door.reopen()
        await door.ask("/1")
        await desk.until(lambda: desk.told and old.stat().st_size)
        desk.file.rmdir()
        await desk.until_told(": works again", door)
    assert desk.told == [
        "access.log: cannot be opened anew: is a directory; lines go on to the file that was open",
        "access.log: works again; lines lost: 0",
    ]
    assert desk.objects(old)[0] == {"path": "/1"}
    assert desk.objects()[-1] == {"path": "/again"}


async def test_a_reader_that_left_stops_no_request(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    keep = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        async with desk.open(file="-", fields=["path"]) as door:
            await door.ask("/1")
            with anyio.fail_after(10):
                assert await anyio.to_thread.run_sync(os.read, reader, 100) == b'{"path":"/1"}\n'
            os.close(reader)
            assert (await door.ask("/2")).status == 200
            await desk.until(lambda: desk.told)
    finally:
        os.dup2(keep, 1)
        os.close(keep)
    assert desk.told == [
        "stdout: cannot be written: broken pipe; lines are lost until it works again",
        "stdout: closed; lines lost: 1",
    ]
