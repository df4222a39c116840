"""A thousand reloads under load with a plugin that has state: nothing of the old ones stays."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from statistics import median

import pytest
import yaml

from daemun.testing.program import Load, Program, program, soon

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

RELOADS, SETTLED = 1000, 200

STATEFUL = '''
"""`memo`: remembers answers, counts in a task of its own, and holds a file open."""

import os
from contextlib import asynccontextmanager

import anyio
from msgspec import Struct

from daemun import Buffered, FilterType, Response, StashKey, hookimpl

PARTNER = StashKey("partner")


class MemoSettings(Struct, frozen=True, forbid_unknown_fields=True):
    edition: int


@asynccontextmanager
async def partner():
    yield {}


@asynccontextmanager
async def build(settings, context):
    memory = {number: b"%d" % number * 20 for number in range(10_000)}
    requests = ticks = 0

    async def count():
        nonlocal ticks
        while True:
            ticks += 1
            await anyio.sleep(0.01)

    def layer(handler):
        async def handle(request):
            nonlocal requests
            requests += 1
            memory[b"last"] = request
            known = await request.exchange.peer.scope.open(PARTNER, partner)
            known["memo"] = memory
            return Response(200, (), Buffered(b"%d" % settings.edition))

        return handle

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        with open(os.devnull, "rb"):
            yield layer
        tasks.cancel_scope.cancel()


@hookimpl
def daemun_filters():
    return [FilterType("memo", MemoSettings, build)]
'''


def rss_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def write(folder: Path, edition: int) -> None:
    route = {
        "name": "all",
        "respond": {"body": "x"},
        "filters": [{"type": "memo", "settings": {"edition": edition}}],
    }
    fresh = folder / "routes.new"
    fresh.write_text(yaml.safe_dump({"routes": [route]}))
    fresh.rename(folder / "routes.yaml")


def descriptors(one: Program) -> int:
    return len(list(Path(f"/proc/{one.process.pid}/fd").iterdir()))


def serves(one: Program, content: bytes) -> bool:
    return one.get()[1] == content


def test_a_thousand_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    info = tmp_path / "memo-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: memo\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[daemun]\nmemo = memo\n")
    (tmp_path / "memo.py").write_text(STATEFUL)
    write(tmp_path, 0)
    settings = {"sources": [{"type": "file", "paths": ["routes.yaml"]}]}
    sizes, open_files = [], []
    with program(tmp_path, settings, PYTHONPATH=str(tmp_path)) as one:
        with Load(one.port, clients=2, keep_alive=True) as load:
            for edition in range(1, RELOADS + 1):
                write(tmp_path, edition)
                one.tell(signal.SIGHUP)
                soon(partial(serves, one, b"%d" % edition))
                sizes.append(rss_kib(one.process.pid))
                open_files.append(descriptors(one))
        assert load.failures == []
        assert load.answers > RELOADS
        one.tell(signal.SIGTERM)
        assert one.end() == 0
        assert "Traceback" not in one.log()
    before, after = median(sizes[SETTLED : 2 * SETTLED]), median(sizes[-SETTLED:])
    print(f"RSS {before / 1024:.1f} MiB, after {RELOADS} reloads {after / 1024:.1f} MiB; {load.answers} answers")
    assert after <= before * 1.05
    assert median(open_files[-SETTLED:]) <= median(open_files[SETTLED : 2 * SETTLED]) + 2
