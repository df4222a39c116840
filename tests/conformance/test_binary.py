"""The one file that `make binary` makes, where there is nothing but it and the C library: no /tmp, no /proc, no /dev."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from bench.peers.origin import certificate

from daemun.extend.loading import installed
from daemun.testing.program import Program, children, soon

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the binary is made for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
    pytest.mark.timeout(600),
]

REPOSITORY = Path(__file__).resolve().parents[2]
ROOTS = ("core", "protocols", "plugins", "contrib", "pyproject.toml")
MAX_BYTES = 40 * 1024 * 1024
START_SECONDS = 0.8
HELLO = "helloworld-go.default.example.com"

DEMO = """
import fcntl, http.client, socket, struct, subprocess, sys, time
with socket.socket() as sock:  # a network of its own, in which port 8080 is free
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
with subprocess.Popen(sys.argv[2:], env={}) as gateway:
    deadline = time.monotonic() + 60
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
            connection.request("GET", "/", headers={"Host": sys.argv[1]})
            break
        except OSError:
            assert gateway.poll() is None and time.monotonic() < deadline, "it does not listen"
            time.sleep(0.05)
    response = connection.getresponse()
    print(response.status, response.getheader("x-daemun-cold-start"), response.read().decode())
    connection.close()
    gateway.terminate()
sys.exit(gateway.returncode)
"""


def build(output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemun.cli", "build", "--output", str(output), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)


def at_home(binary: Path) -> dict[str, str]:
    """The environment in which it unpacks itself beside itself, not for the whole machine."""
    return {"DAEMUN_UNPACK": str(binary.parent)}


@pytest.fixture(scope="session")
def binary() -> Path:
    """The binary of this checkout, made once for what its sources are now."""
    digest = hashlib.sha256(sys.version.encode())
    for root in ROOTS:
        for path in sorted([REPOSITORY / root, *(REPOSITORY / root).rglob("*")]):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path).encode() + path.read_bytes())
    file = Path(tempfile.gettempdir(), f"daemun-tested-{digest.hexdigest()[:16]}", "daemun")
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        done = build(file)
        assert done.returncode == 0, done.stderr
    return file


class Root:
    """A folder with the binary and what `ldd` says of it, to be the root of processes."""

    def __init__(self, folder: Path, binary: Path) -> None:
        self.folder = folder
        said = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
        for path in map(Path, re.findall(r"(/\S+) \(0x", said)):
            target = folder / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        shutil.copy(binary, folder / "daemun")

    def command(self, *words: str) -> list[str]:
        return [shutil.which("chroot") or "/usr/sbin/chroot", str(self.folder), "/daemun", *words]


@pytest.fixture
def root(tmp_path: Path, binary: Path) -> Iterator[Root]:
    if os.geteuid() != 0:
        pytest.skip("another root takes rights that only root has")
    folder = tmp_path / "root"
    folder.mkdir()
    yield Root(folder, binary)
    shutil.rmtree(folder)


@contextmanager
def running(command: Sequence[str], **environment: str) -> Iterator[Program]:
    """A gateway that is ready, started by `command` with nothing in its environment but `environment`."""
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        gateway = Program(process, log)
        assert gateway.first, gateway.log()
        try:
            yield gateway
        finally:
            for pid in (*gateway.workers(), process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


def write(folder: Path, settings: dict[str, Any]) -> None:
    (folder / "daemun.yaml").write_text(yaml.safe_dump(settings))


def answering(body: str, **more: Any) -> dict[str, Any]:
    source = {"type": "inline", "routes": [{"name": "all", "respond": {"body": body}}]}
    return {"listeners": [{"name": "http", "bind": "127.0.0.1:0"}], "sources": [source], **more}


def ends(gateway: Program) -> int:
    gateway.tell(signal.SIGTERM)
    return gateway.end(30)


# --- what it is ---


def test_it_is_small_and_carries_every_plugin_of_its_environment(binary: Path, tmp_path: Path) -> None:
    assert binary.stat().st_size < MAX_BYTES
    done = subprocess.run(
        [binary, "plugins", "--json"], capture_output=True, text=True, check=True, env=at_home(binary)
    )
    assert sorted(one["name"] for one in json.loads(done.stdout)) == sorted(installed())


def test_it_starts_about_as_fast_as_python_does(binary: Path, tmp_path: Path) -> None:
    """Beside the same command where there is Python, in turn; an absolute bound would be one on the machine."""

    def seconds(*command: str) -> float:
        began = time.monotonic()
        subprocess.run([*command, "--version"], check=True, capture_output=True, env=os.environ | at_home(binary))
        return time.monotonic() - began

    ours, pythons = [], []
    for _ in range(7):
        ours.append(seconds(str(binary)))
        pythons.append(seconds(sys.executable, "-m", "daemun.cli"))
    assert statistics.median(ours) < max(START_SECONDS, 3 * statistics.median(pythons))


# --- in an empty root ---


def test_the_demo_answers_in_an_empty_root(root: Root) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    command = ["unshare", "--net", sys.executable, "-c", DEMO, HELLO, *root.command("demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.splitlines()[-2:] == ["200 true Hello Go Sample v1!", ""], (done.stdout, done.stderr)
    assert done.returncode == 0, done.stderr


def test_a_plugin_is_measured_in_an_empty_root(root: Root) -> None:
    done = subprocess.run(
        root.command("bench", "websocket", "--seconds", "0.2"), env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "filter websocket " in done.stdout


def test_workers_a_reload_and_kills_in_an_empty_root(root: Root) -> None:
    write(root.folder, answering("one", workers=2))
    with running(root.command("run", "/daemun.yaml", "--json")) as gateway:
        soon(lambda: len(gateway.workers()) == 2)
        assert gateway.get() == (200, b"one")
        (forking,) = children(gateway.process.pid)
        first, second = gateway.workers()
        os.kill(first, signal.SIGKILL)
        soon(lambda: gateway.log().count("serves after") == 1)
        os.kill(forking, signal.SIGKILL)
        soon(lambda: "the fork server" in gateway.log())
        os.kill(second, signal.SIGKILL)
        soon(lambda: gateway.log().count("serves after") == 2)
        assert forking not in children(gateway.process.pid)
        soon(lambda: gateway.get() == (200, b"one"))

        write(root.folder, answering("two", workers=2))
        gateway.tell(signal.SIGHUP)
        soon(lambda: gateway.get() == (200, b"two"))
        assert ends(gateway) == 0


def test_files_over_tls_and_http2_in_an_empty_root(root: Root) -> None:
    chain, key = root.folder / "chain.pem", root.folder / "key.pem"
    if why := certificate(chain, key):
        pytest.skip(why)
    (root.folder / "pages").mkdir()
    (root.folder / "pages" / "index.html").write_text("<p>a page")
    words = (
        "file-server",
        "--listen",
        "127.0.0.1:0",
        "--root",
        "/pages",
        "--tls-cert",
        "/chain.pem",
        "--tls-key",
        "/key.pem",
    )
    with running(root.command(*words)) as gateway:
        assert gateway.process.stdout is not None
        url = gateway.process.stdout.readline().split()[1]
        trust = ssl.create_default_context(cafile=str(chain))
        for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
            with httpx.Client(http2=http2, verify=trust) as client:
                response = client.get(url.replace("127.0.0.1", "localhost"))
                assert (response.http_version, response.text) == (version, "<p>a page")
        assert ends(gateway) == 0


def test_what_it_started_ends_when_it_is_killed_in_an_empty_root(root: Root) -> None:
    """The guardian, and the process of the back end, are the binary too."""
    (root.folder / "server.py").write_text(
        "import os, socket\n"
        "with socket.create_server(('127.0.0.1', int(os.environ['PORT']))) as listener:\n"
        "    while True:\n"
        "        connection, _ = listener.accept()\n"
        "        connection.recv(65536)\n"
        "        connection.sendall(b'HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\nconnection: close\\r\\n\\r\\nup')\n"
        "        connection.close()\n"
    )
    python = next(root.folder.glob("daemun-*/python"), None)
    if python is None:
        subprocess.run(root.command("--version"), check=True, capture_output=True, env={})
        python = next(root.folder.glob("daemun-*/python"))
    command = [f"/{python.relative_to(root.folder)}", "server.py"]
    source = {
        "type": "inline",
        "backends": {"app": {"activator": "process", "activation": {"command": command}}},
        "routes": [{"name": "all", "to": "app"}],
    }
    write(root.folder, {"listeners": [{"name": "http", "bind": "127.0.0.1:0"}], "sources": [source]})
    with running(root.command("run", "/daemun.yaml", "--json")) as gateway:
        assert gateway.get(timeout=60) == (200, b"up")
        started = children(gateway.process.pid)
        assert len(started) == 2
        os.kill(gateway.process.pid, signal.SIGKILL)
        soon(lambda: not any(Path(f"/proc/{pid}/root").exists() and _lives(pid) for pid in started))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- where it unpacks itself ---


def unpacked(binary: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"DAEMUN_UNPACK": str(folder)}
    return subprocess.run([binary, "--version"], env=environment, capture_output=True, text=True, check=False)


def test_starts_at_the_same_time_unpack_one_folder(binary: Path, tmp_path: Path) -> None:
    environment = {"DAEMUN_UNPACK": str(tmp_path)}
    together = [subprocess.Popen([binary, "--version"], env=environment, stdout=subprocess.PIPE) for _ in range(4)]
    assert [process.communicate()[0].split()[:1] for process in together] == [[b"daemun"]] * 4
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o755


def test_what_root_unpacked_serves_everybody(binary: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    place = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        shutil.copy(binary, place / "daemun")
        place.chmod(0o755)
        environment = {"DAEMUN_UNPACK": str(place)}
        for user in (0, 10001):
            subprocess.run([place / "daemun", "--version"], env=environment, user=user, check=True, capture_output=True)
        assert len(list(place.iterdir())) == 2
    finally:
        shutil.rmtree(place)


def test_a_folder_that_lost_a_file_is_made_anew(binary: Path, tmp_path: Path) -> None:
    assert unpacked(binary, tmp_path).returncode == 0
    (folder,) = tmp_path.iterdir()
    (folder / "_internal" / "base_library.zip").unlink()
    assert unpacked(binary, tmp_path).stdout.startswith("daemun ")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_others_may_write_to_is_not_used(binary: Path, tmp_path: Path) -> None:
    assert unpacked(binary, tmp_path).returncode == 0
    (folder,) = tmp_path.iterdir()
    folder.chmod(0o777)
    done = unpacked(binary, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no folder to unpack into" in done.stderr


def test_without_a_folder_it_says_what_it_needs(binary: Path) -> None:
    done = unpacked(binary, Path("/proc"))
    assert done.returncode == 1
    assert done.stderr == (
        "daemun: no folder to unpack into (accepted: one that can be written to, on a file system that runs programs; "
        "DAEMUN_UNPACK names it)\n"
    )


# --- building ---


def plugin(folder: Path, module: str) -> Path:
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "shouting"\nversion = "3.2"\n'
        '[project.entry-points.daemun]\nshouting = "shouting"\n'
        '[tool.hatch.build.targets.wheel]\nonly-include = ["shouting.py"]\n'
    )
    (folder / "shouting.py").write_text(module)
    return folder


def test_a_plugin_of_ones_own_goes_into_one_file(tmp_path: Path) -> None:
    module = (
        "import click\nfrom daemun import hookimpl\n"
        "@click.command()\ndef shout():\n    click.echo('HELLO')\n"
        "@hookimpl\ndef daemun_commands():\n    return [shout]\n"
    )
    file = tmp_path / "out" / "gateway"
    done = build(file, "--with", str(plugin(tmp_path / "shouting", module)))
    assert done.returncode == 0, done.stderr
    assert "shouting" in done.stdout
    listed = subprocess.run([file, "plugins", "--json"], capture_output=True, text=True, check=True, env=at_home(file))
    (one,) = [one for one in json.loads(listed.stdout) if one["name"] == "shouting"]
    assert one["version"] == "3.2"
    shout = subprocess.run([file, "shout"], capture_output=True, text=True, check=True, env=at_home(file))
    assert shout.stdout == "HELLO\n"


def test_a_plugin_that_cannot_be_imported_makes_no_file(tmp_path: Path) -> None:
    file = tmp_path / "daemun"
    done = build(file, "--with", str(plugin(tmp_path / "shouting", "import no_such_thing_anywhere\n")))
    assert done.returncode == 1
    assert "plugin shouting: needs the module no_such_thing_anywhere" in done.stderr
    assert not file.exists()


def test_a_plugin_that_cannot_be_installed_is_named(tmp_path: Path) -> None:
    done = build(tmp_path / "daemun", "--with", str(tmp_path / "nothing-is-here"))
    assert done.returncode == 1
    assert "nothing-is-here cannot be installed" in done.stderr
