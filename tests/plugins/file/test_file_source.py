"""The sources as the gateway sees them: what they publish, when, and how fast they let go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from daemun import Applied, Snapshot, SourceContext, SourceType
from daemun_file import FileSettings, InlineSettings, daemun_sources, decode

pytestmark = pytest.mark.anyio

SOURCES: dict[str, SourceType] = {kind.name: kind for kind in daemun_sources()}


class Published:
    """What a source publishes, as it comes."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.reload: Callable[[], None]
        self._news = anyio.Event()

    async def publish(self, snapshot: Snapshot) -> Applied:
        self.snapshots.append(snapshot)
        self._news.set()
        self._news = anyio.Event()
        return Applied(len(self.snapshots), snapshot.refused)

    async def until(self, holds: Callable[[Snapshot], bool]) -> Snapshot:
        """The first snapshot, of those published last, for which `holds`."""
        with anyio.fail_after(20):
            while not self.snapshots or not holds(self.snapshots[-1]):
                await self._news.wait()
        return self.snapshots[-1]

    async def names(self, *names: str) -> Snapshot:
        return await self.until(lambda snapshot: [route.name for route in snapshot.routes] == list(names))


@asynccontextmanager
async def running(folder: Path, kind: str = "file", **settings: Any) -> AsyncIterator[Published]:
    published = Published()
    source_type = SOURCES[kind]
    decoded = decode(settings, source_type.settings)
    async with source_type.build(decoded, SourceContext(name=kind, base_dir=folder)) as source:
        published.reload = source.reload
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run, published.publish)
            yield published
            tasks.cancel_scope.cancel()


def text(*names: str, to: str = "b") -> str:
    return "routes:\n" + "".join(f"- {{name: {name}, to: {to}}}\n" for name in names)


async def test_what_is_there_is_published_at_once(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        text("a") + "- {name: bad}\nbackends: {b: {endpoints: ['http://127.0.0.1:9000']}}\n"
    )
    async with running(tmp_path, paths=["r.yaml"]) as published:
        snapshot = await published.names("a")
        assert [backend.name for backend in snapshot.backends] == ["b"]
        assert [(status.kind, status.name, status.origin) for status in snapshot.refused] == [
            ("route", "bad", "r.yaml#bad")
        ]


async def test_a_file_that_is_edited_in_place_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text("a"))
    async with running(tmp_path, paths=["r.yaml"]) as published:
        await published.names("a")
        path.write_text(text("a", "b"))
        await published.names("a", "b")
        with path.open("a") as stream:
            stream.write("- {name: c, to: b}\n")
        await published.names("a", "b", "c")


async def test_a_file_that_is_replaced_by_a_rename_is_seen_each_time(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text("a0"))
    async with running(tmp_path, paths=["r.yaml"]) as published:
        await published.names("a0")
        for number in range(1, 4):
            other = tmp_path / "r.yaml.new"
            other.write_text(text(f"a{number}"))
            other.replace(path)
            await published.names(f"a{number}")


async def test_the_swap_of_a_config_map_is_seen_each_time(tmp_path: Path) -> None:
    mount = tmp_path / "mount"

    def swap(version: str, **files: str) -> None:
        folder = mount / f"..{version}"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / f"{name}.yaml").write_text(content)
        (mount / "..data_tmp").symlink_to(folder.name)
        (mount / "..data_tmp").replace(mount / "..data")
        for name in files:
            if not (mount / f"{name}.yaml").is_symlink():
                (mount / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")

    swap("v1", routes=text("a"))
    async with (
        running(tmp_path, paths=["mount"]) as folder,
        running(tmp_path, paths=["mount/routes.yaml"]) as file,
    ):
        for published in (folder, file):
            await published.names("a")
        swap("v2", routes=text("b"))
        for published in (folder, file):
            await published.names("b")
        swap("v3", routes=text("c"), others=text("d"))
        await folder.names("d", "c")
        await file.names("c")


async def test_files_and_folders_that_appear_later_are_seen(tmp_path: Path) -> None:
    async with running(tmp_path, paths=["deep/inner", "named.yaml"]) as published:
        snapshot = await published.names()
        assert [status.name for status in snapshot.refused] == ["deep/inner", "named.yaml"]
        (tmp_path / "named.yaml").write_text(text("n"))
        await published.names("n")
        (tmp_path / "deep" / "inner").mkdir(parents=True)
        (tmp_path / "deep" / "inner" / "r.yaml").write_text(text("r"))
        snapshot = await published.names("r", "n")
        assert snapshot.refused == ()
        (tmp_path / "deep" / "inner" / "s.json").write_text('{"routes": [{"name": "s", "to": "b"}]}')
        await published.names("r", "s", "n")
        (tmp_path / "deep" / "inner" / "r.yaml").unlink()
        await published.names("s", "n")


async def test_folders_in_folders_and_patterns_are_watched(tmp_path: Path) -> None:
    async with (
        running(tmp_path, paths=["."], recursive=True) as folder,
        running(tmp_path, paths=["*/r.yaml"]) as pattern,
        running(tmp_path, paths=["**/*.yaml"]) as deep,
    ):
        for published in (folder, pattern, deep):
            await published.names()
        (tmp_path / "one" / "two").mkdir(parents=True)
        (tmp_path / "one" / "r.yaml").write_text(text("a"))
        for published in (folder, pattern, deep):
            await published.names("a")
        (tmp_path / "one" / "two" / "s.yaml").write_text(text("b"))
        for published in (folder, deep):
            await published.names("a", "b")


async def test_a_folder_that_is_replaced_by_another_is_seen(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "r.yaml").write_text(text("a"))
    async with running(tmp_path, paths=["conf"]) as published:
        await published.names("a")
        (tmp_path / "next").mkdir()
        (tmp_path / "next" / "r.yaml").write_text(text("b"))
        (tmp_path / "conf").rename(tmp_path / "last")
        (tmp_path / "next").rename(tmp_path / "conf")
        await published.names("b")
        (tmp_path / "conf" / "r.yaml").write_text(text("c"))
        await published.names("c")


async def test_a_half_written_file_leaves_the_routes_from_before(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text("a"))
    async with running(tmp_path, paths=["r.yaml"]) as published:
        good = await published.names("a")
        path.write_text("routes: [{name: a, to")
        snapshot = await published.until(lambda snapshot: bool(snapshot.refused))
        assert snapshot.routes == good.routes
        assert snapshot.refused[0].error.startswith("line ")


async def test_what_says_the_same_is_not_published_again(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text("a"))
    async with running(tmp_path, paths=["."]) as published:
        await published.names("a")
        path.write_text("# a comment\n" + text("a"))
        (tmp_path / "notes.txt").write_text("no document")
        path.touch()
        (tmp_path / "s.yaml").write_text(text("s"))
        await published.names("a", "s")
        assert len(published.snapshots) == 2


@pytest.mark.parametrize("kind", ["file", "inline"])
async def test_reload_publishes_although_nothing_changed(tmp_path: Path, kind: str) -> None:
    """What was refused for something else, such as a host that did not answer, is tried again."""
    (tmp_path / "r.yaml").write_text(text("a"))
    settings = {"paths": ["r.yaml"]} if kind == "file" else {"routes": [{"name": "a", "to": "b"}]}
    async with running(tmp_path, kind, **settings) as published:
        await published.names("a")
        published.reload()
        await published.until(lambda _: len(published.snapshots) == 2)
        assert published.snapshots[0] == published.snapshots[1]


async def test_reload_reads_again_where_nothing_is_watched(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text("a"))
    async with running(tmp_path, paths=["r.yaml"], watch=False) as published:
        await published.names("a")
        status = os.stat(path)
        path.write_text(text("b"))
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
        published.reload()
        published.reload()
        await published.names("b")


async def test_no_change_is_lost_while_one_is_being_published(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text("a0"))
    release = anyio.Event()
    published = Published()

    async def slowly(snapshot: Snapshot) -> Applied:
        await release.wait()
        return await published.publish(snapshot)

    kind = SOURCES["file"]
    async with (
        kind.build(FileSettings(paths=("r.yaml",)), SourceContext("file", tmp_path)) as source,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(source.run, slowly)
        for number in range(1, 20):
            other = tmp_path / "other"
            other.write_text(text(f"a{number}"))
            other.replace(path)
            await anyio.sleep(0.005)
        release.set()
        await published.names("a19")
        tasks.cancel_scope.cancel()


AT_ONCE = """
import sys, threading
from types import ModuleType
from daemun_file import decode

SOURCE = '''
from __future__ import annotations
from msgspec import Struct
class Inner(Struct, forbid_unknown_fields=True):
    one: int | None = None
    other: dict[str, int | str] | None = None
class Outer(Struct, forbid_unknown_fields=True):
    inner: Inner | None = None
    many: dict[str, Inner] | None = None
'''

def read(module, start):
    start.wait()
    assert decode({"inner": {"one": 1}}, module.Outer).inner.one == 1

sys.setswitchinterval(1e-6)
for number in range(100):
    module = sys.modules[f"new{number}"] = ModuleType(f"new{number}")
    exec(SOURCE, vars(module))
    start = threading.Barrier(4)
    threads = [threading.Thread(target=read, args=(module, start)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_sources_may_meet_a_type_for_the_first_time_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")


async def test_cancellation_is_quick(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text("a"))
    async with running(tmp_path, paths=["r.yaml"]) as published:
        await published.names("a")
        (tmp_path / "r.yaml").write_text(text("b"))
        await published.names("b")
        before = time.monotonic()
    assert time.monotonic() - before < 3.0


async def test_a_folder_that_may_not_be_read_does_not_stop_the_watch_of_others(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "r.yaml").write_text(text("r"))
    (tmp_path / "s.yaml").write_text(text("s"))
    (tmp_path / "shut").chmod(0o311)
    async with running(tmp_path, paths=["s.yaml", "shut/r.yaml"]) as published:
        await published.names("s", "r")
        (tmp_path / "s.yaml").write_text(text("t"))
        await published.names("t", "r")


async def test_an_error_of_publish_ends_the_source(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text("a"))

    async def broken(snapshot: Snapshot) -> Applied:
        raise RuntimeError("no table")

    kind = SOURCES["file"]
    async with kind.build(FileSettings(paths=("r.yaml",)), SourceContext("file", tmp_path)) as source:
        with pytest.raises(ExceptionGroup) as caught:
            await source.run(broken)
    assert caught.group_contains(RuntimeError, match="no table")


async def test_inline_routes_are_published_and_one_bad_object_hurts_no_other(tmp_path: Path) -> None:
    routes = [{"name": "a", "to": "b"}, {"name": "bad", "to": "b", "hots": []}, {"name": "a", "to": "c"}, 7]
    backends = {"b": {"endpoints": ["http://127.0.0.1:9000"]}, "c": {}}
    async with running(tmp_path, "inline", routes=routes, backends=backends) as published:
        snapshot = await published.names("a")
        assert [backend.name for backend in snapshot.backends] == ["b"]
        assert [(status.kind, status.name, status.error.partition(";")[0]) for status in snapshot.refused] == [
            ("backend", "c", "$.backends.c: nothing answers here"),
            ("route", "bad", "$.routes[1]: unknown key 'hots'"),
            ("route", "a", "$.routes[2]: another object has this name"),
            ("route", "routes[3]", "$.routes[3]: expected a mapping, got an integer"),
        ]


async def test_settings_are_strict() -> None:
    with pytest.raises(Exception, match="did you mean 'paths'"):
        decode({"path": "r.yaml"}, FileSettings)
    with pytest.raises(Exception, match="did you mean 'routes'"):
        decode({"route": []}, InlineSettings)
