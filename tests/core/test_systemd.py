"""Under systemd: sockets that it passes, what it is told, and the units that `daemun systemd-unit` writes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from daemun import SettingsError
from daemun.cli.main import main
from daemun.cli.unit_words import stream_address
from daemun.downstream.listener import bind, remove_socket_file
from daemun.settings import ListenerSettings
from daemun.testing.program import Program, soon

# As systemd does it: the descriptors are 3 and up, and the environment names the process.
_PASS = """
import os, sys
names, *words = sys.argv[1:]
inherited = [int(word) for word in os.environ.pop("INHERITED").split()]
kept = [os.dup(one) for one in inherited]
for number, one in enumerate(kept, 3):
    os.dup2(one, number)
    os.set_inheritable(number, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(kept)), "LISTEN_FDNAMES": names}
os.execv(words[0], words)
"""


@contextmanager
def activated(
    folder: Path, settings: dict[str, Any], sockets: Mapping[str, socket.socket], **more: str
) -> Iterator[Program]:
    """`daemun run` with sockets by their names, as systemd starts it."""
    (folder / "daemun.yaml").write_text(yaml.safe_dump(settings))
    descriptors = [sock.fileno() for sock in sockets.values()]
    environment = {**os.environ, "INHERITED": " ".join(map(str, descriptors)), **more}
    command = [sys.executable, "-c", _PASS, ":".join(sockets)]
    command += [sys.executable, "-m", "daemun.cli", "run", str(folder / "daemun.yaml"), "--json"]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, pass_fds=descriptors
        ) as process,
    ):
        gateway = Program(process, log)
        assert gateway.first, gateway.log()
        try:
            yield gateway
        finally:
            process.kill()


def settings(*binds: str, **more: Any) -> dict[str, Any]:
    listeners = [{"name": f"l{number}", "bind": one} for number, one in enumerate(binds)]
    source = {"type": "inline", "routes": [{"name": "all", "respond": {"body": "served"}}]}
    return {"listeners": listeners, "sources": [source], "plugins": {"only": ["http1", "file"]}, **more}


@pytest.fixture
def passed() -> Iterator[socket.socket]:
    """A socket that listens before the gateway does."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


# --- sockets ---


@pytest.mark.parametrize("workers", [1, 2])
def test_a_named_socket_is_served_and_outlives_the_gateway(tmp_path: Path, passed: socket.socket, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        wanted = settings("systemd:admin", "systemd:web", workers=workers)
        for _ in range(2):
            with activated(tmp_path, wanted, {"web": passed, "admin": other}) as gateway:
                urls = [one["url"] for one in gateway.info["listeners"]]
                assert urls == [f"http://127.0.0.1:{sock.getsockname()[1]}" for sock in (other, passed)]
                assert gateway.get() == (200, b"served")
                gateway.tell(signal.SIGTERM)
                assert gateway.end(30) == 0
            with socket.create_connection(passed.getsockname()):
                pass  # nobody serves, and nobody is refused


def test_a_reload_keeps_it(tmp_path: Path, passed: socket.socket) -> None:
    wanted = settings("systemd:web", workers=2)
    with activated(tmp_path, wanted, {"web": passed}) as gateway:
        before = set(gateway.workers())
        wanted["drain"] = {"grace_seconds": 29}
        (tmp_path / "daemun.yaml").write_text(yaml.safe_dump(wanted))
        gateway.tell(signal.SIGHUP)
        soon(lambda: "settings reloaded" in gateway.log() and not before & set(gateway.workers()))
        assert gateway.get() == (200, b"served")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a process that got three sockets."""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "3")
    monkeypatch.setenv("LISTEN_FDNAMES", "web:twice:twice")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nope", r"systemd passed no socket of that name; it passed web, twice, twice \(accepted: .*systemd:NAME\)"),
        ("twice", "systemd passed 2 sockets of that name, give each a FileDescriptorName of its own"),
    ],
)
@pytest.mark.usefixtures("told")
def test_a_name_that_is_not_one_socket_is_told(name: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"listener x cannot bind systemd:{name}: {words}"):
        bind(ListenerSettings("x", f"systemd:{name}"))


@pytest.mark.parametrize(
    "environment",
    [{"LISTEN_PID": "1"}, {"LISTEN_FDS": ""}, {"LISTEN_FDS": "many"}, {"LISTEN_FDS": "0"}],
)
@pytest.mark.usefixtures("told")
def test_sockets_that_another_process_got_are_not_ours(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="it passed none"):
        bind(ListenerSettings("x", "systemd:web"))


@pytest.mark.usefixtures("told")
def test_sockets_without_names_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "5")
    with pytest.raises(SettingsError, match="it passed web, twice, twice, unknown, unknown"):
        bind(ListenerSettings("x", "systemd:nope"))


def test_the_file_of_a_passed_unix_socket_stays(tmp_path: Path) -> None:
    file = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(file))
        remove_socket_file(ListenerSettings("x", "systemd:web"), sock)
        assert file.is_socket()


# --- what it is told ---


@pytest.fixture
def told_of(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd listens for what services say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(60)
        yield sock


@pytest.mark.parametrize("workers", [1, 2])
def test_systemd_is_told_when_it_is_ready_and_when_it_stops(
    tmp_path: Path, told_of: socket.socket, workers: int
) -> None:
    wanted = settings("127.0.0.1:0", workers=workers)
    with activated(tmp_path, wanted, {}, NOTIFY_SOCKET=str(tmp_path / "notify")) as gateway:
        assert told_of.recv(4096) == b"READY=1"
        assert gateway.get() == (200, b"served")
        gateway.tell(signal.SIGTERM)
        assert told_of.recv(4096) == b"STOPPING=1"
        assert gateway.end(30) == 0


def test_a_watchdog_gets_signs_of_life(tmp_path: Path, told_of: socket.socket) -> None:
    more = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    with activated(tmp_path, settings("127.0.0.1:0"), {}, **more):
        assert [told_of.recv(4096) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]


def test_a_systemd_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    with activated(tmp_path, settings("127.0.0.1:0"), {}, NOTIFY_SOCKET=str(tmp_path / "gone")) as gateway:
        assert gateway.get() == (200, b"served")
        assert "systemd cannot be told READY=1: " in gateway.log()


# --- units ---


def unit(tmp_path: Path, wanted: dict[str, Any], *words: str) -> Result:
    file = tmp_path / "daemun.yaml"
    file.write_text(yaml.safe_dump(wanted))
    return CliRunner().invoke(main, ["systemd-unit", str(file), *words])


def test_units_say_what_the_settings_say(tmp_path: Path) -> None:
    wanted = settings("systemd:web", "0.0.0.0:9090", drain={"grace_seconds": 60, "delay_seconds": 5})
    result = unit(tmp_path, wanted, "--listen", "web=0.0.0.0:80", "--into", str(tmp_path / "units"))
    assert result.exit_code == 0, result.output
    written = {path.name: path.read_text().splitlines() for path in (tmp_path / "units").iterdir()}
    service, sock = written["daemun.service"], written["daemun-web.socket"]
    assert {"ListenStream=0.0.0.0:80", "FileDescriptorName=web", "Service=daemun.service"} <= set(sock)
    assert {"Type=notify", "Sockets=daemun-web.socket", "Also=daemun-web.socket", "CapabilityBoundingSet="} <= set(
        service
    )
    assert f"run {tmp_path / 'daemun.yaml'}" in next(line for line in service if line.startswith("ExecStart="))
    stop = next(int(line.partition("=")[2]) for line in service if line.startswith("TimeoutStopSec="))
    assert stop > 65
    if shutil.which("systemd-analyze"):
        files = [str(tmp_path / "units" / name) for name in written]
        done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_low_port_of_its_own_needs_a_capability_and_no_socket(tmp_path: Path) -> None:
    result = unit(tmp_path, settings("0.0.0.0:443", "unix:/run/d.sock"), "--name", "edge")
    assert result.stdout.startswith("# edge.service\n")
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in result.stdout
    assert ".socket" not in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 1, "listener l0 has no address: say --listen web=0.0.0.0:80"),
        (["--listen", "web=80", "--listen", "b=1"], 1, "no listener is bound to systemd:b (accepted: web)"),
        (["--listen", "web"], 2, "--listen 'web' is not NAME=ADDRESS"),
        (["--listen", "web=nonsense"], 2, "--listen 'web=nonsense': it is no address; accepted: a port, IPv4:port, "),
        (["--listen", "web=0.0.0.0:99999"], 2, "it has no port from 1 to 65535; accepted: "),
        (["--listen", "web=:80"], 2, "it names no host before the port; accepted: "),
        (["--listen", "web=a.test:80"], 2, "it has no address of IP before the port; accepted: "),
        (["--listen", "web=/run/a b"], 2, "a path holds a blank or a control"),
        (["--listen", "web=80", "--name", "a b"], 2, "--name 'a b' is no name of a unit; accepted: letters, digits"),
        (["--listen", "web=80", "--into", "/proc/x"], 1, "/proc/x/daemun.service: cannot be written: "),
    ],
)
def test_an_address_that_misses_or_is_too_many_is_told(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    result = unit(tmp_path, settings("systemd:web"), *words)
    assert result.exit_code == code
    assert said in result.stderr


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("80", "80"),
        ("[::]:80", "[::]:80"),
        ("[fe80::1%eth0]:80", "[fe80::1%%eth0]:80"),
        ("unix:/run/web.sock", "/run/web.sock"),
        ("/run/web.sock", "/run/web.sock"),
        ("@web", "@web"),
    ],
)
def test_addresses_as_systemd_takes_them(tmp_path: Path, said: str, written: str) -> None:
    result = unit(tmp_path, settings("systemd:web"), "--listen", f"web={said}")
    assert result.exit_code == 0
    assert f"\nListenStream={written}\n" in result.stdout


@given(st.text(min_size=1, max_size=40) | st.from_regex(r"(unix:)?[/@\[0-9.:a-f%\]]*:?[0-9]{0,6}", fullmatch=True))
def test_no_address_adds_lines_to_a_unit(address: str) -> None:
    try:
        written = stream_address(address)
    except ValueError as error:
        assert "accepted: " in str(error) or "blank" in str(error)
    else:
        assert written
        assert not set(written) & set(" \t\r\n")
        assert stream_address(written.replace("%%", "%")) == written


def test_a_name_of_a_socket_that_is_none_of_a_unit_is_told(tmp_path: Path) -> None:
    result = unit(tmp_path, settings("systemd:a b"), "--listen", "a b=80")
    assert result.exit_code == 1
    assert "listener l0: 'a b' is no name of a socket's unit; accepted: letters, digits" in result.stderr


def test_no_line_of_a_unit_ends_with_a_blank(tmp_path: Path) -> None:
    for result in (
        unit(tmp_path, settings("127.0.0.1:8080")),
        unit(tmp_path, settings("systemd:a"), "--listen", "a=80"),
    ):
        assert "After=network-online.target" in result.stdout
        assert [line for line in result.stdout.splitlines() if line != line.rstrip()] == []


def test_the_folder_of_a_socket_in_run_is_made_by_systemd(tmp_path: Path) -> None:
    binds = ("unix:/run/daemun/web.sock", "unix:/run/daemun/admin.sock", "unix:/run/shop/deep/d.sock")
    result = unit(tmp_path, settings(*binds))
    assert "\nRuntimeDirectory=daemun shop/deep\n" in result.stdout
    assert "listener" not in result.stderr
    assert "RuntimeDirectory" not in unit(tmp_path, settings("127.0.0.1:8080")).stdout


def test_what_would_keep_the_service_from_starting_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEMUN_BINARY", "/home/ada/daemun")
    result = unit(tmp_path, settings("unix:/run/d.sock", "unix:/srv/d.sock"), "--name", "edge")
    assert result.exit_code == 0
    said = result.stderr.splitlines()
    assert (
        "! the service does not see /home/ada/daemun: ProtectHome=yes hides /home (accepted: a place elsewhere)" in said
    )
    assert said[-2:] == [
        "! listener l0: the service may make no socket /run/d.sock (accepted: unix:/run/edge/d.sock)",
        "! listener l1: the service may make no socket /srv/d.sock (accepted: unix:/run/edge/d.sock)",
    ]
    assert "!" not in result.stdout


def test_files_with_odd_names_are_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "it's 100% $ure"
    folder.mkdir()
    result = unit(folder, settings("127.0.0.1:8080"))
    assert f'run "{tmp_path}/it\'s 100%% $$ure/daemun.yaml"\n' in result.stdout
