"""Commands that look: check, routes, explain, plugins, hooks, schema, --version; their texts, JSON and exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from daemun import hookspecs

Cli = Callable[..., Result]

GOOD = {
    "listeners": [{"name": "http", "bind": "127.0.0.1:8080"}],
    "sources": [
        {
            "type": "inline",
            "backends": {"up": {"endpoints": ["http://127.0.0.1:9000"]}},
            "routes": [
                {"name": "api", "hosts": ["a.test"], "match": {"prefix": "/api"}, "to": "up", "timeout_seconds": 5},
                {"name": "posts", "hosts": ["a.test"], "match": {"methods": ["POST"]}, "to": "up"},
                {"name": "wild", "hosts": ["*.test"], "respond": {"status": 204}},
                {"name": "urgent", "hosts": ["u.test"], "priority": 9, "respond": {}},
                {"name": "rest", "hosts": ["u.test"], "respond": {}},
            ],
        }
    ],
}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "daemun.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    return file


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    settings = json.loads(json.dumps(GOOD))
    settings["sources"][0]["routes"] += [{"name": "lost", "to": "nowhere"}, {"name": "idle"}]
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def plain(result: Result) -> str:
    """The output, which holds no colour because nobody looks."""
    assert "\x1b" not in result.output
    return result.stdout


# --- check ---


def test_check_of_what_is_good(cli: Cli, good: Path) -> None:
    result = cli("check", "-s", good)
    assert result.exit_code == 0
    assert plain(result) == f"{good}: 6 objects, all good\n"


@pytest.mark.parametrize("command", ["check", "routes"])
def test_the_settings_file_may_be_an_argument(cli: Cli, good: Path, command: str) -> None:
    assert plain(cli(command, good)) == plain(cli(command, "--settings", good)) != ""


def test_check_tells_every_fault_with_its_place(cli: Cli, bad: Path) -> None:
    result = cli("check", "-s", bad)
    assert result.exit_code == 1
    lines = plain(result).splitlines()
    assert any(line.startswith("inline#lost: route lost: unknown back end 'nowhere'") for line in lines)
    assert any(line.startswith("inline#idle: route idle: ") for line in lines)
    assert lines[-1] == f"{bad}: 2 of 8 objects refused"


def test_check_for_programs(cli: Cli, good: Path, bad: Path) -> None:
    assert json.loads(cli("check", "-s", good, "--json").stdout)["faults"] == 0
    result = cli("check", "-s", bad, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["faults"] == 2
    assert {one["name"] for one in found["objects"] if one["error"]} == {"lost", "idle"}


def test_check_finds_the_settings_by_the_environment(cli: Cli, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEMUN_SETTINGS", str(good))
    assert cli("check").exit_code == 0
    monkeypatch.delenv("DAEMUN_SETTINGS")
    monkeypatch.chdir(good.parent)
    assert plain(cli("check")) == "daemun.yaml: 6 objects, all good\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listener: []", "unknown key `listener`; did you mean `listeners`?"),
        ("sources: [{type: fil}]", "unknown source 'fil'; did you mean 'file'?"),
        ("a: [", "line 1, column"),
        ("plugins: {only: [nobody]}", "plugin nobody: not installed"),
        ("event_loop: twisted", "unknown event loop 'twisted'"),
        ("listeners: [{name: a, bind: 'x:1', protocols: [http9]}]", "unknown wire protocol 'http9'"),
        ("listeners: [{name: a, bind: 'x:1'}, {name: a, bind: 'x:2'}]", "two listeners are named 'a'"),
        ("listeners: [{name: a, bind: 'x:1', tls: {certificate: no.pem}}]", "belong together"),
        ("listeners: [{name: a, bind: 'x:1', tls: {certificate: no.pem, key: no.key}}]", "no.pem: no such file"),
        ("observers: [{type: nobody}]", "unknown observer 'nobody'"),
    ],
)
@pytest.mark.parametrize("command", [("check",), ("check", "--json")])
def test_settings_that_cannot_be_used_are_one_line_and_exit_1(
    cli: Cli, tmp_path: Path, text: str, words: str, command: tuple[str, ...]
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    result = cli(*command, "-s", file)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("daemun: ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_looking_checks_the_settings_of_observers_and_opens_none(cli: Cli, tmp_path: Path) -> None:
    """A look beside a running gateway may neither take its addresses nor touch its files."""
    file = tmp_path / "s.yaml"
    file.write_text(f"observers: [{{type: accesslog, file: {tmp_path}/access.log}}]")
    for command in (("check",), ("routes",), ("explain", "GET", "http://a.test/")):
        assert "Traceback" not in cli(*command, "-s", file).stderr
    assert not (tmp_path / "access.log").exists()
    file.write_text("observers: [{type: accesslog, fields: [nonsense]}]")
    result = cli("check", "-s", file)
    assert result.exit_code == 1
    assert "nonsense" in result.stderr


def test_a_file_that_is_not_there_exits_1(cli: Cli, tmp_path: Path) -> None:
    for command in (("check",), ("routes",), ("explain", "GET", "a.test")):
        result = cli(*command, "-s", tmp_path / "none.yaml")
        assert result.exit_code == 1
        assert "cannot be read: no such file or directory" in result.stderr


# --- routes ---


def test_routes_prints_the_table_in_order_with_chains(cli: Cli, good: Path) -> None:
    result = cli("routes", "-s", good)
    assert result.exit_code == 0
    lines = plain(result).splitlines()
    assert re.fullmatch(r"ROUTE +HOSTS +PATH +CHAIN +ORIGIN", lines[0])
    assert re.fullmatch(r"urgent +u\.test +segment_prefix / +respond 200 +inline#urgent", lines[1])
    assert re.fullmatch(
        r"api +a\.test +segment_prefix /api +timeout 5 s → forward up +inline#api",
        next(line for line in lines if line.startswith("api")),
    )
    assert any(re.fullmatch(r"wild +\*\.test +.*respond 204.*", line) for line in lines)


def test_routes_tells_what_was_refused(cli: Cli, bad: Path) -> None:
    result = cli("routes", "-s", bad)
    assert result.exit_code == 0
    assert re.search(r"REFUSED +NAME +WHY +ORIGIN\n", plain(result))
    assert re.search(r"route +lost +unknown back end 'nowhere' \(accepted: up\) +inline#lost", plain(result))


def test_routes_for_programs(cli: Cli, good: Path) -> None:
    found = json.loads(cli("routes", "-s", good, "--json").stdout)
    assert [route["spec"]["name"] for route in found["routes"]] == ["urgent", "api", "posts", "rest", "wild"]
    assert found["routes"][0]["chain"] == ["respond 200"]
    assert len(found["objects"]) == 6


# --- explain ---


def test_explain_tells_the_winner_its_chain_and_why_two_lost(cli: Cli, good: Path) -> None:
    result = cli("explain", "GET", "http://a.test/api/x?q=1", "-s", good)
    assert result.exit_code == 0
    lines = plain(result).splitlines()
    assert lines[0] == "api wins  (a.test segment_prefix /api, inline#api)"
    assert lines[1:3] == ["  1. timeout 5 s", "  2. forward up"]
    assert len(lines) == 5
    assert lines[3] == "wild lost: matches too, and its source lists it later"
    assert lines[4].startswith("urgent lost: host a.test is none of its hosts")


def test_explain_tells_of_priority(cli: Cli, good: Path) -> None:
    lines = plain(cli("explain", "GET", "u.test", "-s", good)).splitlines()
    assert lines[0].startswith("urgent wins")
    assert "rest lost: matches too, at priority 0 below 9" in lines


def test_explain_of_what_nobody_takes_exits_1(cli: Cli, good: Path) -> None:
    result = cli("explain", "GET", "http://a.b.other/", "-s", good)
    assert result.exit_code == 1
    lines = plain(result).splitlines()
    assert lines[0] == "no route matches: the answer is 404 no_route"
    assert len(lines) == 3
    assert all("lost: host a.b.other is none of its hosts" in line for line in lines[1:])


def test_explain_takes_method_and_fields(cli: Cli, good: Path) -> None:
    result = cli("explain", "post", "http://127.0.0.1:8080/", "-H", "Host: a.test", "-H", "x: y", "-s", good)
    assert plain(result).startswith("posts wins")


def test_explain_for_programs(cli: Cli, good: Path) -> None:
    found = json.loads(cli("explain", "GET", "a.test/api", "-s", good, "--json").stdout)
    assert found["winner"]["spec"]["name"] == "api"
    assert found["winner"]["chain"] == ["timeout 5 s", "forward up"]
    assert [one["route"] for one in found["lost"]] == ["wild", "urgent"]
    result = cli("explain", "GET", "b.other", "-s", good, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["winner"] is None


def test_explain_knows_listeners(cli: Cli, tmp_path: Path) -> None:
    routes = [{"name": "inner", "listeners": ["inner"], "respond": {}}]
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump({"sources": [{"type": "inline", "routes": routes}]}))
    assert cli("explain", "GET", "a", "-s", file).exit_code == 1
    assert "no listener is named (--listener)" in cli("explain", "GET", "a", "-s", file).stdout
    assert cli("explain", "GET", "a", "--listener", "inner", "-s", file).exit_code == 0


# --- plugins, hooks, schema ---


def test_plugins_tells_what_each_brings(cli: Cli) -> None:
    result = cli("plugins")
    assert result.exit_code == 0
    lines = plain(result).splitlines()
    assert re.fullmatch(r"PLUGIN +VERSION +MODULE +HOOKS +BRINGS +PHASE +CONTENT +FAILURE", lines[0])
    assert any(re.fullmatch(r"http1 +\S+ +daemun_http1 +daemun_protocols +protocol http1", line) for line in lines)
    at = next(number for number, line in enumerate(lines) if line.startswith("file "))
    assert re.fullmatch(r"file +\S+ +daemun_file +daemun_sources +source file", lines[at])
    assert lines[at + 1].strip() == "source inline"
    assert any(re.fullmatch(r" +daemun_matchers +filter soap +authz +as it comes +closed", line) for line in lines)


def test_plugins_for_programs(cli: Cli) -> None:
    rows = {row["name"]: row for row in json.loads(cli("plugins", "--json").stdout)}
    assert [(thing["kind"], thing["name"]) for thing in rows["process"]["things"]] == [("activator", "process")]
    assert rows["static"]["hooks"] == ["daemun_backends"]
    assert rows["http1"]["module"] == "daemun_http1"


CAREFUL = """
from daemun import DisableAfter, FailurePolicy, FilterType, NoSettings, Phase, hookimpl
from daemun.testing import built

def layer(handler):
    return lambda request: handler(request)

@hookimpl
def daemun_filters():
    return [
        FilterType("loose", NoSettings, built(layer), phase=Phase.AUTHN, buffer_bytes=65536, failure=FailurePolicy.OPEN),
        FilterType("tired", NoSettings, built(layer), buffer_bytes=1000, failure=DisableAfter(3, within_seconds=10)),
    ]

@hookimpl
def daemun_started(info): pass

@hookimpl
def daemun_old(gone, kept): pass
"""


def test_plugins_tells_how_filters_fail_and_what_they_need(cli: Cli, stranger: Any, old_hook: None) -> None:
    stranger("careful", CAREFUL)
    output = plain(cli("plugins"))
    of = output[output.index("careful") :].splitlines()
    assert re.search(
        r"careful +1.0 +careful_module +daemun_filters +filter loose +authn +in memory, ≤ 64 KiB +open", of[0]
    )
    assert re.search(r" daemun_old +filter tired +transform +in memory, ≤ 1000 B +left out after 3 in 10 s", of[1])
    assert of[2].strip() == "daemun_started"
    assert output.splitlines()[-2:] == [
        "careful: daemun_old is deprecated: use daemun_new instead",
        "careful: daemun_old(gone) is deprecated: nobody knows",
    ]


def test_plugins_measures_what_each_costs(stranger: Any, tmp_path: Path) -> None:
    """In a process of its own: what other tests left in this one is collected for each figure."""
    stranger("careful", CAREFUL.replace("@hookimpl\ndef daemun_old(gone, kept): pass\n", ""))
    command = [sys.executable, "-m", "daemun.cli", "plugins", "careful", "static", "file", "--cost", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170)
    assert said.returncode == 0, said.stderr
    rows = {row["name"]: row for row in json.loads(said.stdout)}
    costs = {thing["name"]: thing["cost"] for thing in rows["careful"]["things"]}
    assert all(re.fullmatch(r"[+-]\d+\.\d\d ± \d+\.\d\d µs", cost) for cost in costs.values())
    (static,) = rows["static"]["things"]
    assert (static["cost"], static["why"].partition(";")[0]) == ("", "needs settings: root (str)")
    assert rows["file"]["things"][0]["cost"] == "–"
    assert set(rows) == {"careful", "static", "file"}


def test_plugins_measures_with_settings_what_cannot_do_without(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("hello")
    file = tmp_path / "costs.yaml"
    file.write_text("static: {root: .}\n")
    output = plain(cli("plugins", "static", "--cost"))
    assert output.splitlines()[0].endswith(" COST")
    assert output.splitlines()[-1] == (
        "static: backend static: not measured: needs settings: root (str); put `static: {root: …}` in a file for --settings"
    )
    assert re.search(r"[+-]\d+\.\d\d ± \d+\.\d\d µs\n$", plain(cli("plugins", "static", "--cost", "-s", file)))
    file.write_text("statik: {root: .}\n")
    result = cli("plugins", "static", "--cost", "-s", file)
    assert result.exit_code == 1
    assert result.stderr == f"daemun: {file}: settings for 'statik', which nobody brings (accepted: static)\n"


def test_plugins_of_a_name_that_nobody_has(cli: Cli) -> None:
    result = cli("plugins", "statick")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.match(r"daemun: plugin statick: not installed; installed are: .*static", result.stderr)


def test_hooks_tells_every_hook(cli: Cli) -> None:
    names = [name for name in vars(hookspecs) if name.startswith("daemun_")]
    output = plain(cli("hooks"))
    assert [line.partition("(")[0] for line in output.splitlines() if not line.startswith(" ")] == names
    assert "daemun_route_filters(route: RouteSpec) -> Iterable[FilterSpec]" in output
    rows = {row["name"]: row for row in json.loads(cli("hooks", "--json").stdout)}
    assert list(rows) == names
    assert rows["daemun_protocols"]["plugins"] == ["http1", "http2"]
    assert rows["daemun_started"]["plugins"] == []
    assert all(row["doc"] for row in rows.values())


def test_schema_is_one_of_json(cli: Cli) -> None:
    schema = json.loads(cli("schema").stdout)
    assert "Settings" in schema["$defs"]
    assert set(schema["x-daemun-plugins"]["sources"]) >= {"file", "inline"}
    assert set(schema["x-daemun-plugins"]["balancers"]) >= {"round_robin", "consistent_hash"}
    listener = schema["$defs"]["ListenerSettings"]["properties"]
    assert listener["bind"] == {"type": "string"}


# --- usage ---


def test_version(cli: Cli) -> None:
    result = cli("--version")
    assert result.exit_code == 0
    assert re.fullmatch(r"daemun \d+\.\d+\.\d+\S*\n", result.stdout)


def test_help_lists_every_command_with_those_of_plugins(cli: Cli) -> None:
    result = cli("--help")
    assert result.exit_code == 0
    listed = re.findall(r"^  ([a-z-]+)  ", result.stdout.partition("Commands:")[2], re.MULTILINE)
    looking = ["check", "explain", "hooks", "plugins", "routes", "schema"]
    serving = ["file-server", "reverse-proxy", "run", "systemd-unit"]
    making = ["bench", "build", "plugin"]
    assert listed == sorted([*looking, *serving, *making, "demo", "install", "proxy", "soap", "uninstall"])
    assert "Exit codes: 0 it worked, 1 a fault in settings, plugins or objects, 2 wrong usage." in " ".join(
        result.stdout.split()
    )
    for name in [[], *([one] for one in listed)]:
        result = cli(*name, "--help")
        assert result.exit_code == 0
        assert "..." not in result.stdout.partition("Commands:")[2]  # what each does is said whole


@pytest.mark.parametrize(
    "arguments",
    [
        ["chek"],
        ["check", "--jsn"],
        ["explain", "GET"],
        ["explain", "GET", "a.test", "-H", "no colon"],
        ["explain", "GET", "http://[::1"],
        ["reverse-proxy"],
        ["reverse-proxy", "--to", "http://a", "--workers", "many"],
        ["file-server", "--root", "/nowhere/at/all"],
        ["--log-level", "loud", "check"],
        ["run", "a", "b"],
        ["check", "a.yaml", "--settings", "b.yaml"],
        ["routes", "a.yaml", "b.yaml"],
        ["plugins", "--settings", "a.yaml"],
    ],
)
def test_wrong_usage_exits_2(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert result.stdout == ""


@pytest.fixture
def old_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that is to go, with an argument that was to go before."""

    def daemun_old(gone: int, kept: int) -> None: ...

    deprecated = hookspecs.hookspec(
        warn_on_impl=DeprecationWarning("use daemun_new instead"),
        warn_on_impl_args={"gone": DeprecationWarning("nobody knows")},
    )
    monkeypatch.setattr(hookspecs, "daemun_old", deprecated(daemun_old), raising=False)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs a plugin of the given source."""

    def install(name: str, source: str) -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[daemun]\n{name} = {name}_module\n")
        (tmp_path / f"{name}_module.py").write_text(source)
        monkeypatch.delitem(sys.modules, f"{name}_module", raising=False)
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


MUTE = """
from daemun import NoSettings, SourceType, hookimpl
from daemun.testing import built

class Mute:
    async def run(self, publish):
        raise LookupError("nothing is found")
    def reload(self):
        pass

@hookimpl
def daemun_sources(): return [SourceType("mute", NoSettings, built(Mute()))]
"""


def test_a_source_that_published_nothing_is_a_fault(cli: Cli, stranger: Any, tmp_path: Path) -> None:
    stranger("mute", MUTE)
    file = tmp_path / "mute.yaml"
    file.write_text("sources: [{type: mute}, {type: inline, routes: [{name: a, respond: {status: 204}}]}]\n")
    result = cli("check", "--settings", str(file))
    assert result.exit_code == 1
    assert "source mute: it has published nothing; it was waited for up to 10 s" in result.stdout
    assert result.stdout.endswith(": 1 of 2 objects refused\n")
    assert "it has published nothing" in cli("routes", "--settings", str(file)).stdout


def test_a_command_of_a_plugin(cli: Cli, stranger: Any) -> None:
    stranger(
        "greeter",
        "import click\nfrom daemun import hookimpl\n@click.command()\ndef greet(): click.echo('hello')\n"
        "@hookimpl\ndef daemun_commands(): return [greet]\n",
    )
    assert cli("greet").stdout == "hello\n"
    assert "greet" in cli("--help").stdout


WATCHMAN = """
from daemun import CheckType, DaemunError, Finding, Severity, hookimpl

async def look():
    return [
        Finding(Severity.FINE, "bridge", "is down"),
        Finding(Severity.WARNING, "moat", "is half empty", "fill it"),
        Finding(Severity.ERROR, "gate", "stands open"),
    ]

async def calm():
    return []

async def blind():
    raise DaemunError("it is dark")

@hookimpl
def daemun_checks():
    return [CheckType("castle", "Look at the castle.", look), CheckType("town-wall", "Look there.", calm),
            CheckType("night", "Look at night.", blind)]
"""


def test_checks_of_plugins_are_options_of_check(cli: Cli, stranger: Any) -> None:
    stranger("watchman", WATCHMAN)
    assert "--castle" in cli("check", "--help").stdout
    result = cli("check", "--castle")
    assert result.exit_code == 1
    assert plain(result).splitlines() == [
        "✓ bridge: is down",
        "! moat: is half empty",
        "    fill it",
        "✗ gate: stands open",
        "1 error, 1 warning",
    ]
    found = json.loads(cli("check", "--castle", "--json").stdout)
    assert (found["errors"], [one["severity"] for one in found["findings"]]) == (1, ["fine", "warning", "error"])
    result = cli("check", "--town-wall")
    assert (result.exit_code, plain(result)) == (0, "all good\n")
    result = cli("check", "--night")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "daemun: it is dark\n")


def test_a_broken_plugin_breaks_no_command_that_does_not_need_it(cli: Cli, stranger: Any, good: Path) -> None:
    stranger("broken", "1 / 0")
    settings = yaml.safe_load(good.read_text())
    good.write_text(yaml.safe_dump({**settings, "plugins": {"block": ["broken"]}}))
    assert cli("check", "-s", good).exit_code == 0
    help_ = cli("--help")
    assert help_.exit_code == 0
    assert "plugin broken: its import failed: ZeroDivisionError" in help_.stderr
    assert "check" in help_.stdout
    result = cli("plugins")
    assert result.exit_code == 1
    assert "plugin broken: its import failed: ZeroDivisionError" in result.stderr
    assert "daemun_http1" in result.stdout


def test_a_plugin_may_not_take_the_name_of_a_command_of_ours(cli: Cli, stranger: Any) -> None:
    stranger(
        "usurper",
        "import click\nfrom daemun import hookimpl\n@click.command('run')\ndef command(): click.echo('mine')\n"
        "@hookimpl\ndef daemun_commands(): return [command]\n",
    )
    result = cli("--help")
    assert result.exit_code == 0
    assert "plugin usurper: command 'run' is daemun's own" in result.stderr
    assert cli("greet").exit_code == 2
