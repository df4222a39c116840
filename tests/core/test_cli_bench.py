"""`daemun bench` on plugins written for the purpose: what it finds, what it says, what it counts."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from daemun.cli.output import muted

pytestmark = pytest.mark.timeout(180)

Cli = Callable[..., Result]

HEAD = """
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import thread_time

import anyio
from msgspec import Struct

from daemun import *
from daemun.testing import built


def noop(handler):
    async def handle(request):
        return await handler(request)
    return handle
"""
NOOP = "@hookimpl\ndef daemun_filters(): return [FilterType('still', NoSettings, built(noop))]\n"
HEADER = """
def header(handler):
    return lambda request: handler(request.with_header(b"x-a", b"b"))
@hookimpl
def daemun_filters(): return [FilterType("header", NoSettings, built(header))]
"""
SLOW = """
class SlowSettings(Struct, frozen=True, forbid_unknown_fields=True):
    microseconds: float = 60.0
@asynccontextmanager
async def build(settings, context):
    def layer(handler):
        async def handle(request):
            until = thread_time() + settings.microseconds / 1e6
            while thread_time() < until:
                pass
            return await handler(request)
        return handle
    yield layer
@hookimpl
def daemun_filters(): return [FilterType("slow", SlowSettings, build), FilterType("still", NoSettings, built(noop))]
"""
KNOCK = """
class KnockSettings(Struct, frozen=True, forbid_unknown_fields=True):
    word: str
    times: int
@asynccontextmanager
async def build(settings, context):
    def layer(handler):
        async def handle(request):
            if request.header(b"x-knock") != settings.word.encode():
                return Response(401)
            return await handler(request)
        return handle
    yield layer
@hookimpl
def daemun_filters(): return [FilterType("knock", KnockSettings, build)]
"""
IDLE = """
@hookimpl
def daemun_started(info): pass
class Asleep:
    pass
@hookimpl
def daemun_sources(): return [SourceType("asleep", NoSettings, built(Asleep()))]
"""
EVERYTHING = """
class First:
    def pick(self, endpoints, request):
        return next((endpoint for endpoint in endpoints if endpoint.available), None)
class Count(Observer):
    count = 0
    def finished(self, request, response, exchange):
        self.count += 1
async def nothing(request):
    return Response(204)
@hookimpl
def daemun_filters(): return [FilterType("everywhere", NoSettings, built(noop))]
@hookimpl
def daemun_route_filters(route): return [FilterSpec("everywhere")]
@hookimpl
def daemun_backends(): return [BackendType("nothing", NoSettings, built(nothing))]
@hookimpl
def daemun_observers(): return [ObserverType("count", NoSettings, built(Count()))]
@hookimpl
def daemun_balancers(): return [BalancerType("first", NoSettings, lambda settings: First())]
@hookimpl
def daemun_dialects(): return [Dialect("plain", lambda request: True, lambda request, error: Response(599))]
"""
FAULTS = """
def bug(handler):
    async def handle(request):
        return await handler(request.nothing)
    return handle
def wait(handler):
    async def handle(request):
        await anyio.sleep(0.001)
        return await handler(request)
    return handle
kept = []
def leak(handler):
    async def handle(request):
        kept.append(object())
        return await handler(request)
    return handle
@asynccontextmanager
async def broken(settings, context):
    raise RuntimeError("no database")
    yield
@hookimpl
def daemun_filters():
    return [FilterType(name, NoSettings, build) for name, build in
            (("bug", built(bug)), ("wait", built(wait)), ("leak", built(leak)), ("broken", broken))]
"""


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was frozen when the tests were collected stays so: measuring would thaw it, and look through it."""
    monkeypatch.setattr(gc, "unfreeze", lambda: None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a plugin into the current folder, which is a new one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(name: str, source: str, head: str = HEAD) -> Path:
        monkeypatch.delitem(sys.modules, name, raising=False)
        file = tmp_path / f"{name}.py"
        file.write_text(head + source)
        return file

    return write


def measured(result: Result) -> dict[str, Any]:
    """The report for programs."""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def by_name(report: dict[str, Any], what: str = "parts") -> dict[str, Any]:
    return {one["what"]: one for one in report[what]}


def test_a_layer_that_does_nothing_is_one_call(cli: Cli, here: Any) -> None:
    here("my_still", NOOP)
    result = cli("bench", "my_still", "--json", "--seconds", "0.3")
    assert result.exit_code == 0, result.output
    report = measured(result)
    assert (report["plugin"], report["runs_for_requests"]) == ("my_still", True)
    assert report["request"]["ns"] > 0
    assert report["calls"] > 5
    assert report["rounds"] >= 2
    part = by_name(report)["filter still"]
    assert part["cost"]["calls"] == 1
    assert part["cost"]["blocks"] >= 1
    assert part["cost"]["bytes"] > 0
    assert part["cost"]["kept_blocks"] == 0
    assert abs(part["cost"]["cpu"]["ns"]) < report["request"]["ns"]
    assert part["chain"] == ["filter still", "forward answer"]
    assert (part["status"], part["expected"], part["wait_seconds"], part["fault"]) == (200, 200, 0, "")
    yardsticks = by_name(report, "yardsticks")
    assert yardsticks["a layer that does nothing"]["cost"]["calls"] == 1
    assert yardsticks["a layer that does nothing"]["cost"]["bytes"] == part["cost"]["bytes"]
    assert len(yardsticks) >= 5


def test_a_header_edit_costs_as_much_as_the_one_it_is_compared_with(cli: Cli, here: Any) -> None:
    here("my_header", HEADER)
    report = measured(cli("bench", "my_header", "--json", "--seconds", "0.2"))
    own = by_name(report)["filter header"]["cost"]["calls"]
    assert own == by_name(report, "yardsticks")["a field set in the request"]["cost"]["calls"]
    assert own > 1


def test_a_slow_filter_costs_more_than_one_that_does_nothing(cli: Cli, here: Any, tmp_path: Path) -> None:
    here("my_slow", SLOW)
    report = measured(cli("bench", "my_slow.py", "--json", "--seconds", "0.5"))
    parts = by_name(report)
    assert parts["filter slow"]["cost"]["cpu"]["ns"] > 30_000
    assert parts["filter slow"]["cost"]["cpu"]["ns"] > 2 * abs(parts["filter still"]["cost"]["cpu"]["ns"])
    settings = tmp_path / "s.yaml"
    settings.write_text("slow: {microseconds: 400}\n")
    slower = measured(cli("bench", "my_slow", "--json", "--seconds", "0.5", "--settings", settings))
    assert by_name(slower)["filter slow"]["cost"]["cpu"]["ns"] > 200_000


def test_settings_that_are_needed_are_named_with_the_way_to_give_them(cli: Cli, here: Any, tmp_path: Path) -> None:
    here("my_knock", KNOCK)
    result = cli("bench", "my_knock")
    assert result.exit_code == 1
    assert "filter knock: not measured: needs settings: word (str), times (int)" in result.stdout
    assert "put `knock: {word: …, times: …}` in a file for --settings" in result.stdout
    settings = tmp_path / "s.yaml"
    settings.write_text("knock: {word: sesame, times: 1}\n")
    result = cli("bench", "my_knock", "-s", settings, "--json", "--seconds", "0.1", "-H", "x-knock: sesame")
    assert result.exit_code == 0
    assert by_name(measured(result))["filter knock"]["status"] == 200


def test_a_filter_that_refuses_is_measured_refusing(cli: Cli, here: Any, tmp_path: Path) -> None:
    here("my_guard", KNOCK)
    settings = tmp_path / "s.yaml"
    settings.write_text("knock: {word: sesame, times: 1}\n")
    result = cli("bench", "my_guard", "-s", settings, "--seconds", "0.1")
    assert result.exit_code == 0
    assert "filter knock: its answer is 401, without it 200: that is what was measured" in result.stdout


def test_two_things_of_one_name_have_settings_of_their_own(cli: Cli, here: Any, tmp_path: Path) -> None:
    backend = """
@asynccontextmanager
async def answer(settings, context):
    async def handle(request):
        return Response(200, body=Buffered(settings.word.encode()))
    yield handle
@hookimpl
def daemun_backends(): return [BackendType("knock", KnockSettings, answer)]
"""
    here("my_twins", KNOCK + backend)
    result = cli("bench", "my_twins", "--seconds", "0.1")
    assert "put `backend knock: {word: …, times: …}` in a file for --settings" in result.stdout
    settings = tmp_path / "s.yaml"
    settings.write_text("filter knock: {word: sesame, times: 1}\nbackend knock: {word: open, times: 1}\n")
    parts = measured(cli("bench", "my_twins", "-s", settings, "--json", "--seconds", "0.1", "-H", "x-knock: sesame"))
    assert sorted(one["what"] for one in parts["parts"]) == ["backend knock", "filter knock"]
    settings.write_text("knock: {word: sesame, times: 1}\n")
    result = cli("bench", "my_twins", "-s", settings)
    assert result.stderr.endswith("does not bring (accepted: backend knock, filter knock)\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("knock: {word: 1, times: 1}", "$.knock.word: expected `str`, got `int`"),
        ("knock: {word: a, times: 1, wrod: b}", "unknown key `wrod`"),
        ("knok: {word: a}", "settings for 'knok', which plugin my_picky does not bring (accepted: knock)"),
        ("knock", "accepted: `name: {key: value}`"),
        ("a: [", "line 1, column"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(cli: Cli, here: Any, tmp_path: Path, text: str, words: str) -> None:
    here("my_picky", KNOCK)
    settings = tmp_path / "s.yaml"
    settings.write_text(text)
    result = cli("bench", "my_picky", "-s", settings)
    assert (result.exit_code, result.stdout) == (1, "")
    assert words.lower() in result.stderr.lower()
    assert len(result.stderr.splitlines()) == 1


def test_a_plugin_without_a_request_hook_adds_nothing(cli: Cli, here: Any) -> None:
    here("my_idle", IDLE)
    result = cli("bench", "my_idle")
    assert result.exit_code == 0
    assert "adds 0 ns: nothing of it runs for a request; the compiled chain is the same" in result.stdout
    assert "source asleep: not measured: it runs when routes change" in result.stdout
    report = measured(cli("bench", "my_idle", "--json"))
    assert (report["runs_for_requests"], report["parts"], report["yardsticks"]) == (False, [], [])


def test_everything_that_runs_for_a_request_is_measured(cli: Cli, here: Any) -> None:
    here("my_all", EVERYTHING)
    result = cli("bench", "my_all", "--json", "--seconds", "0.3")
    assert result.exit_code == 0, result.output
    parts = by_name(measured(result))
    assert list(parts) == [
        "what it adds to every route (filter everywhere)",
        "filter everywhere",
        "backend nothing",
        "observer count",
        "balancer first",
        "dialect plain",
    ]
    assert parts["what it adds to every route (filter everywhere)"]["cost"]["calls"] == 1
    assert parts["filter everywhere"]["cost"]["calls"] == 1
    assert parts["filter everywhere"]["chain"].count("filter everywhere") == 2
    assert parts["observer count"]["cost"]["calls"] >= 1
    assert parts["backend nothing"]["status"] == 204
    assert parts["backend nothing"]["against"] == "a fixed answer"
    assert parts["balancer first"]["against"] == "round_robin"
    assert parts["balancer first"]["chain"][-1] == "forward upstream"
    assert (parts["dialect plain"]["status"], parts["dialect plain"]["expected"]) == (599, 502)


def test_faults_waits_leaks_and_builds_that_fail_are_told(cli: Cli, here: Any) -> None:
    here("my_faults", FAULTS)
    result = cli("bench", "my_faults", "--seconds", "0.3")
    assert result.exit_code == 1
    lines = result.stdout
    assert "filter bug: its answer is 500, without it 200" in lines
    assert "filter bug: a fault was logged: AttributeError: 'Request' object has no attribute 'nothing'" in lines
    assert re.search(r"filter wait: it waits in the middle of a request, \d+\.\d\d ms by the clock", lines)
    assert re.search(r"filter leak: it keeps [\d.]+ blocks of memory for each request: a leak\?", lines)
    assert "filter broken: not measured: " in lines
    assert "its build failed: RuntimeError: no database" in lines
    assert result.stderr == ""


def test_work_that_is_left_for_later_is_told_and_is_no_leak(cli: Cli, here: Any) -> None:
    here(
        "my_later",
        """
class Queue(Observer):
    def __init__(self):
        self.queue = []
    def finished(self, request, response, exchange):
        self.queue.append(object())
@asynccontextmanager
async def build(settings, context):
    async def work():
        while True:
            await anyio.sleep(0.02)
            while observer.queue:
                observer.queue.pop()
                sum(range(2000))
    observer = Queue()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        yield observer
        tasks.cancel_scope.cancel()
@hookimpl
def daemun_observers(): return [ObserverType("later", NoSettings, build)]
""",
    )
    result = cli("bench", "my_later", "--seconds", "0.1")
    assert result.exit_code == 0
    assert re.search(
        r"observer later: it leaves work for later: about \d+\.\d\d µs of CPU a request more", result.stdout
    )
    assert "a leak" not in result.stdout


def test_what_a_plugin_prints_does_not_spoil_the_report(cli: Cli, here: Any, capfd: pytest.CaptureFixture[str]) -> None:
    here(
        "my_chatter",
        """
import os
print("imported")
async def chatter(request):
    print("asked")
    os.write(1, b"asked")
    return Response(200)
@hookimpl
def daemun_backends(): return [BackendType("chatter", NoSettings, built(chatter))]
""",
    )
    result = cli("bench", "my_chatter", "--seconds", "0.05", "--json")
    assert by_name(measured(result))["backend chatter"]["status"] == 200
    assert capfd.readouterr().out == ""


def test_people_see_a_table_and_no_bar_where_nobody_looks(cli: Cli, here: Any) -> None:
    here("my_table", NOOP)
    result = cli("bench", "my_table", "--seconds", "0.1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "my_table  (module my_table)"
    assert re.fullmatch(r"one request without it: [\d.]+ µs of CPU, \d+ Python calls \(.*, from memory, .*\)", lines[1])
    assert re.fullmatch(r"ADDED BY +CPU +± +CALLS +MEMORY", lines[3])
    assert re.fullmatch(r"filter still +[+-][\d.]+ µs +[\d.]+ +\+1 +\+\d+ B", lines[4])
    assert lines[5].startswith("for comparison -")
    assert "█" not in result.stdout
    assert "\x1b" not in result.output
    assert result.stderr == ""


def test_a_plugin_is_found_as_file_package_module_or_installed(cli: Cli, here: Any, tmp_path: Path) -> None:
    file = here("my_file", NOOP)
    (tmp_path / "my_package").mkdir()
    file.rename(tmp_path / "my_package" / "__init__.py")
    here("my_file", NOOP)
    (tmp_path / "aside").mkdir()
    (tmp_path / "my_file.py").rename(tmp_path / "aside" / "my_aside.py")
    for word, name in (
        ("my_package", "my_package"),
        ("./my_package", "my_package"),
        ("aside/my_aside.py", "my_aside"),
    ):
        report = measured(cli("bench", word, "--json", "--seconds", "0.05"))
        assert report["plugin"] == name
        assert by_name(report)["filter still"]["cost"]["calls"] == 1
    for word in ("file", "daemun_file"):
        report = measured(cli("bench", word, "--json"))
        assert report["plugin"] == "file"
        assert report["where"] == "installed, daemun_file"
        assert report["runs_for_requests"] is False


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("my_plugn", "plugin my_plugn: neither installed nor a module that can be imported from here; did you mean 'my_plugin'?"),
        ("statik", "did you mean 'static'? (installed: "),
        ("nowhere.py", "plugin nowhere.py: there is no such file"),
        ("no/where", "plugin no/where: there is no such file"),
        ("my_broken", "plugin my_broken: its import failed: ZeroDivisionError: division by zero"),
        ("my_broken.py", "plugin my_broken: its import failed: ZeroDivisionError: division by zero"),
        ("my_lonely", "plugin my_lonely: needs the module not_there, which is not installed"),
        ("my_script", "plugin my_script: its import failed: SystemExit: 3"),
        ("my_misspelt", "plugin my_misspelt: "),
        ("my_liar", "returned a list with an int; accepted: a list of FilterType"),
        ("my_nothing", "plugin my_nothing: it implements no hook"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_told_in_one_line(cli: Cli, here: Any, word: str, words: str) -> None:
    here("my_plugin", NOOP)
    here("my_broken", "1 / 0\n", head="")
    here("my_lonely", "import not_there\n", head="")
    here("my_script", "raise SystemExit(3)\n", head="")
    here("my_misspelt", "from daemun import hookimpl\n@hookimpl\ndef daemun_filtres(): return []\n", head="")
    here("my_liar", "from daemun import hookimpl\n@hookimpl\ndef daemun_filters(): return [1]\n", head="")
    here("my_nothing", "def daemun_filters(): return []\n", head="")
    result = cli("bench", word)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["file", "--seconds", "0"],
        ["file", "--content", "-1"],
        ["file", "-H", "no colon"],
        ["file", "-H", "a: b\nc: d"],
        ["file", "--target", "nowhere"],
        ["file", "--target", "/a b"],
    ],
)
def test_wrong_usage_exits_2(cli: Cli, arguments: list[str]) -> None:
    result = cli("bench", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


def test_the_request_has_content_and_target_as_asked(cli: Cli, here: Any) -> None:
    here(
        "my_echo",
        """
async def size(request):
    count = 0
    while data := await request.body.read():
        count += len(data)
    return Response(200 if count == 3000 and request.method == b"POST" and request.target == b"/x?y=z" else 400)
@hookimpl
def daemun_backends(): return [BackendType("size", NoSettings, built(size))]
""",
    )
    report = measured(cli("bench", "my_echo", "--json", "--seconds", "0.05", "--content", "3000", "--target", "/x?y=z"))
    assert by_name(report)["backend size"]["status"] == 200


def test_what_a_plugin_prints_goes_nowhere_where_there_are_no_devices(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "devnull", "/no/such/device")
    with muted():
        print("by Python")
        os.write(1, b"by descriptor")
    print("after it")
    assert capfd.readouterr().out == "after it\n"
