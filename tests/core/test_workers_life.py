"""A gateway with several workers, from outside: who serves, who is replaced, what a reload and a stop do."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemun import SettingsError
from daemun.process.info import GatewayInfo, ListenerInfo
from daemun.process.serve import print_started
from daemun.process.workers.supervisor import count_workers
from daemun.settings import Settings
from daemun.strict import convert
from daemun.testing.program import Load, Program, program, soon

LISTENER = {"name": "http", "bind": "127.0.0.1:0"}
REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


def settings(body: str = "one", **more: Any) -> dict[str, Any]:
    source = {"type": "inline", "routes": [{"name": "all", "respond": {"body": body}}]}
    return {"workers": 2, "sources": [source], "plugins": {"only": ["http1", "file", "process"]}, **more}


def rewrite(folder: Path, wanted: dict[str, Any]) -> None:
    """Puts other settings into the file; the listener stays unless others are named."""
    (folder / "daemun.yaml").write_text(yaml.safe_dump({"listeners": [LISTENER], **wanted}))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def asked(gateway: Program) -> socket.socket:
    """A connection on which one request was answered."""
    connection = gateway.connect()
    connection.sendall(REQUEST)
    answer(connection)
    return connection


def answer(connection: socket.socket) -> bytes:
    """The content of the next answer."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    assert response.status == 200
    return response.read()


def both_used(gateway: Program, stack: ExitStack) -> dict[int, list[socket.socket]]:
    """Connections by the worker that has them, some for each of two workers."""
    found: dict[int, list[socket.socket]] = {}

    def more() -> bool:
        connection = stack.enter_context(asked(gateway))
        found.setdefault(gateway.worker_of(connection), []).append(connection)
        return len(found) == 2 and all(len(some) > 1 for some in found.values())

    soon(more)
    return found


def silent_upstream() -> socket.socket:
    upstream = socket.socket()
    upstream.bind(("127.0.0.1", 0))
    upstream.listen()
    return upstream


def to(upstream: socket.socket, **more: Any) -> dict[str, Any]:
    source = {
        "type": "inline",
        "backends": {"up": {"endpoints": [f"http://127.0.0.1:{upstream.getsockname()[1]}"]}},
        "routes": [{"name": "all", "to": "up"}],
    }
    return settings(**more) | {"sources": [source]}


# --- serving ---


def test_two_workers_serve_and_both_are_used(tmp_path: Path) -> None:
    with program(tmp_path, settings()) as gateway, ExitStack() as stack:
        assert sorted(gateway.info["workers"]) == gateway.workers()
        assert (gateway.info["routes"], gateway.info["refused"]) == (1, 0)
        assert set(both_used(gateway, stack)) == set(gateway.workers())
        gateway.tell(signal.SIGTERM)
        assert gateway.end() == 0
        assert gateway.log() == ""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_workers_on_every_event_loop(tmp_path: Path, loop: str) -> None:
    with program(tmp_path, settings(event_loop=loop)) as gateway:
        assert gateway.info["event_loop"] == loop
        assert gateway.get() == (200, b"one")
        os.kill(gateway.info["workers"][0], signal.SIGKILL)
        soon(lambda: "serves after" in gateway.log())
        assert gateway.get() == (200, b"one")
        gateway.tell(signal.SIGINT)
        assert gateway.end() == 0
        assert "Traceback" not in gateway.log()


def test_workers_with_sockets_of_their_own(tmp_path: Path) -> None:
    with program(tmp_path, settings(listeners=[{**LISTENER, "reuse_port": True}])) as gateway, ExitStack() as stack:
        assert set(both_used(gateway, stack)) == set(gateway.workers())
        os.kill(gateway.info["workers"][1], signal.SIGKILL)
        for _ in range(20):
            assert gateway.get() == (200, b"one")
        gateway.tell(signal.SIGTERM)
        assert gateway.end() == 0


# --- a worker ends ---


def test_a_killed_worker_takes_only_its_own_and_is_replaced_without_a_pause(tmp_path: Path) -> None:
    with program(tmp_path, settings()) as gateway, ExitStack() as stack:
        served = both_used(gateway, stack)
        victim, other = gateway.info["workers"]
        with Load(gateway.port, 2) as load:
            load.more()
            os.kill(victim, signal.SIGKILL)
            successors = soon(lambda: set(gateway.workers()) - {victim, other})
            soon(lambda: "serves after" in gateway.log())
            load.more()
        assert len(successors) == 1
        assert len(load.failures) <= 2
        for connection in served[other]:
            connection.sendall(REQUEST)
            assert answer(connection) == b"one"
        for connection in served[victim]:
            assert connection.recv(65536) == b""
        words = rf"worker 0 \(process {victim}\) was killed by SIGKILL after \S+ s; another one is started$"
        assert re.search(words, gateway.log(), re.MULTILINE)
        assert gateway.process.poll() is None


def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    with program(tmp_path, settings(supervisor={"ping_timeout_seconds": 2})) as gateway:
        victim = gateway.info["workers"][1]
        os.kill(victim, signal.SIGSTOP)
        soon(lambda: "serves after" in gateway.log())
        assert not alive(victim)
        assert f"worker 1 (process {victim}) answers no ping for 2 s and is killed" in gateway.log()
        assert gateway.get() == (200, b"one")


def test_a_worker_that_dies_again_and_again_is_started_less_and_less_often(tmp_path: Path) -> None:
    with program(tmp_path, settings()) as gateway:
        other = gateway.info["workers"][1]
        for times in range(1, 4):
            (victim,) = set(gateway.workers()) - {other}
            os.kill(victim, signal.SIGKILL)
            soon(lambda times=times: gateway.log().count("serves after") == times)  # type: ignore[misc]
        pauses = re.findall(r"another one is started(?: in (\S+) s)?$", gateway.log(), re.MULTILINE)
        assert pauses == ["", "0.1", "0.2"]


def test_a_worker_that_is_told_to_stop_drains_and_is_replaced(tmp_path: Path) -> None:
    with program(tmp_path, settings()) as gateway, Load(gateway.port, 2) as load:
        victim = gateway.info["workers"][0]
        os.kill(victim, signal.SIGTERM)
        soon(lambda: "serves after" in gateway.log())
        load.more()
        assert load.failures == []
        assert f"(process {victim}) exited with status 0" in gateway.log()


def test_the_fork_server_is_replaced_too(tmp_path: Path) -> None:
    with program(tmp_path, settings()) as gateway:
        (zygote,) = {
            int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in gateway.workers()
        }
        first, second = gateway.info["workers"]
        os.kill(zygote, signal.SIGKILL)
        soon(lambda: "the fork server" in gateway.log())
        assert gateway.get() == (200, b"one")
        os.kill(first, signal.SIGKILL)
        soon(lambda: "serves after" in gateway.log())
        assert gateway.get() == (200, b"one")
        gateway.tell(signal.SIGTERM)
        assert gateway.end() == 0
        soon(lambda: not alive(second))


def test_nobody_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with program(tmp_path, settings(), TMPDIR=str(tmp_path)) as gateway:
        assert [stat.S_IMODE(one.stat().st_mode) for one in tmp_path.glob("daemun-*")] == [0o700]
        workers = gateway.workers()
        (zygote,) = {int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in workers}
        gateway.process.kill()
        soon(lambda: not any(alive(pid) for pid in (*workers, zygote)))
        assert gateway.log().count("the supervisor is gone; draining") == 2
        assert list(tmp_path.glob("daemun-*")) == []


# --- reload ---


def test_a_changed_route_reaches_all_workers_and_a_refused_one_is_told_once(tmp_path: Path) -> None:
    routes = tmp_path / "routes.yaml"
    routes.write_text("routes: [{name: r, respond: {body: one}}]")
    source = {"type": "file", "paths": ["routes.yaml"], "watch": False}
    with program(tmp_path, settings() | {"sources": [source]}) as gateway, ExitStack() as stack:
        served = both_used(gateway, stack)
        workers = gateway.workers()
        routes.write_text(
            "routes: [{name: r, respond: {body: two}}, {name: bad, respond: {}, filters: [{type: no-such}]}]"
        )
        gateway.tell(signal.SIGHUP)
        soon(lambda: "2 routes, 0 back ends, 1 objects refused" in gateway.log())
        for some in served.values():
            for connection in some:
                connection.sendall(REQUEST)
                assert answer(connection) == b"two"
        assert gateway.workers() == workers
        assert gateway.log().count("route bad refused") == 1
        assert gateway.log().count("unknown filter 'no-such'") == 1


@pytest.mark.parametrize(("keep_alive", "reuse_port"), [(False, False), (True, False), (False, True)])
def test_changed_settings_replace_workers_without_a_failed_request(
    tmp_path: Path, keep_alive: bool, reuse_port: bool
) -> None:
    listeners = [{**LISTENER, "reuse_port": reuse_port}]
    with program(tmp_path, settings(listeners=listeners)) as gateway:
        before = gateway.workers()
        with Load(gateway.port, 4, keep_alive=keep_alive) as load:
            load.more()
            for times, count in ((1, 3), (2, 1), (3, 2)):
                rewrite(tmp_path, settings(f"round {times}", workers=count, listeners=listeners))
                gateway.tell(signal.SIGHUP)
                soon(lambda times=times: gateway.log().count("settings reloaded") == times)  # type: ignore[misc]
                soon(lambda count=count: len(gateway.workers()) == count)  # type: ignore[misc]
                assert gateway.get() == (200, b"round %d" % times)
                load.more()
        assert load.failures == []
        assert not set(before) & set(gateway.workers())
        assert "Traceback" not in gateway.log()


def test_listeners_come_and_go_with_a_reload(tmp_path: Path) -> None:
    with program(tmp_path, settings()) as gateway:
        path = tmp_path / "s"
        second = {"name": "second", "bind": f"unix:{path}"}
        rewrite(tmp_path, settings(listeners=[LISTENER, second]))
        gateway.tell(signal.SIGHUP)
        soon(lambda: "settings reloaded" in gateway.log())
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert over_unix(path) == b"one"
        assert gateway.get() == (200, b"one")
        rewrite(tmp_path, settings(listeners=[second]))
        gateway.tell(signal.SIGHUP)
        soon(lambda: gateway.log().count("settings reloaded") == 2)
        assert over_unix(path) == b"one"
        with socket.socket() as probe:
            soon(lambda: probe.connect_ex(("127.0.0.1", gateway.port)) != 0)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"wrokers": 2}, "unknown key `wrokers`"),
    ({"listeners": []}, "$.listeners: no listener"),
    ({"listeners": [{"name": "x", "bind": "nowhere"}]}, "listener x cannot bind nowhere"),
    (
        {"listeners": [LISTENER, {"name": "x", "bind": "127.0.0.1:0", "protocols": ["no"]}]},
        "unknown wire protocol 'no'",
    ),
    ({"protocols": {"http1": {"no": 1}}}, "$.protocols.http1: unknown key `no`"),
    ({"sources": [{"type": "fil"}]}, "unknown source 'fil'"),
    ({"plugins": {"only": ["http1"]}}, "$.plugins: plugins are loaded once"),
]


def test_settings_that_are_wrong_are_refused_and_everything_stays(tmp_path: Path) -> None:
    with program(tmp_path, settings()) as gateway:
        workers = gateway.workers()
        for times, (change, words) in enumerate(WRONG, 1):
            rewrite(tmp_path, settings("two", **change))
            gateway.tell(signal.SIGHUP)
            refusals = soon(lambda times=times: refused(gateway, times))  # type: ignore[misc]
            assert words in refusals[-1]
        assert gateway.get() == (200, b"one")
        soon(lambda: gateway.workers() == workers)
        rewrite(tmp_path, settings("three"))
        gateway.tell(signal.SIGHUP)
        soon(lambda: gateway.get() == (200, b"three"))


def refused(gateway: Program, times: int) -> list[str]:
    """The reloads that were refused, if there were so many."""
    lines = re.findall("not reloaded, everything stays as it was: (.*)", gateway.log())
    return lines if len(lines) == times else []


# --- stop ---


def test_sigterm_lets_what_runs_finish(tmp_path: Path) -> None:
    with silent_upstream() as upstream, program(tmp_path, to(upstream)) as gateway, gateway.connect() as client:
        client.sendall(REQUEST)
        accepted, _ = upstream.accept()
        with accepted:
            gateway.tell(signal.SIGTERM)
            soon(lambda: len(gateway.workers()) == 1)
            with socket.socket() as probe:
                soon(lambda: probe.connect_ex(("127.0.0.1", gateway.port)) != 0)
            assert gateway.process.poll() is None
            accepted.recv(65536)
            accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert answer(client) == b"ok"
        assert gateway.end() == 0
        assert "Traceback" not in gateway.log()


def test_a_second_sigterm_cuts_off(tmp_path: Path) -> None:
    with silent_upstream() as upstream, program(tmp_path, to(upstream)) as gateway, gateway.connect() as client:
        client.sendall(REQUEST)
        accepted, _ = upstream.accept()
        with accepted:
            gateway.tell(signal.SIGTERM)
            soon(lambda: len(gateway.workers()) == 1)
            gateway.tell(signal.SIGTERM)
            assert gateway.end() == 0
        assert "1 connection was cut off" in gateway.log()
        assert "Traceback" not in gateway.log()


# --- start ---


def test_a_unix_socket_and_its_file(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with program(tmp_path, settings(listeners=[{"name": "u", "bind": f"unix:{path}"}])) as gateway:
        os.kill(gateway.info["workers"][0], signal.SIGKILL)
        soon(lambda: "serves after" in gateway.log())
        assert over_unix(path) == b"one"
        gateway.tell(signal.SIGTERM)
        assert gateway.end() == 0
        assert not path.exists()


def over_unix(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(REQUEST)
        return answer(client)


def test_tls_and_a_renewed_certificate(tmp_path: Path) -> None:
    tls = {"certificate": "c.pem", "key": "k.pem"}
    make_certificate(tmp_path)
    with program(tmp_path, settings(listeners=[{**LISTENER, "tls": tls}])) as gateway:
        first = certificate_of(gateway)
        assert gateway.info["listeners"][0]["url"].startswith("https://")
        gateway.tell(signal.SIGHUP)  # nothing changed: nobody is replaced
        make_certificate(tmp_path)
        gateway.tell(signal.SIGHUP)
        soon(lambda: "settings reloaded" in gateway.log())
        assert certificate_of(gateway) != first


def make_certificate(folder: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl on this machine")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=a.test", "-days", "1", "-keyout", "k.pem", "-out", "c.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def certificate_of(gateway: Program) -> bytes | None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with gateway.connect() as plain, context.wrap_socket(plain) as client:
        client.sendall(REQUEST)
        answer(client)
        return client.getpeercert(binary_form=True)


def test_what_is_printed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    listeners = (ListenerInfo("a", "http://127.0.0.1:1", ("http1",)),)
    print_started(GatewayInfo("1", listeners, ("http1",), 3, 0, "asyncio", 0.1, (12, 13)), 0.25)
    assert "\n  workers    2 (pids 12, 13)\n" in capsys.readouterr().out


def test_auto_is_a_worker_for_each_cpu() -> None:
    assert count_workers(convert({"workers": "auto"}, Settings)) == len(os.sched_getaffinity(0))
    assert count_workers(Settings()) == 1
    for wrong in (0, 257, "all"):
        with pytest.raises(SettingsError, match=r"^\$\.workers: "):
            convert({"workers": wrong}, Settings)


def test_what_cannot_start_says_why_and_leaves_nobody(tmp_path: Path) -> None:
    tls = {"certificate": "no.pem", "key": "no.key"}
    listener = {"name": "tls", "bind": "127.0.0.1:0", "tls": tls}
    with program(tmp_path, settings(listeners=[listener])) as gateway:
        assert gateway.first == ""
        assert gateway.end() == 1
        assert len(gateway.log().splitlines()) == 1
        assert "no.pem" in gateway.log()
        found = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
        assert str(tmp_path) not in found
