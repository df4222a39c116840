"""Foreign tools: found on the machine, or built and installed once into a cache folder. One that cannot be had skips its test.

The cache is `$DAEMUN_CONFORMANCE_CACHE`, else `daemun-conformance` in the user's cache folder. What is in it is named for
the versions that `foreign/` asks for, so other versions are another folder. `$DAEMUN_H2SPEC` names an h2spec to use instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = [
    "FOREIGN",
    "autobahn",
    "cache_folder",
    "debian_tool",
    "go_tool",
    "h2spec",
    "kept",
    "node",
    "node_folder",
    "run_tool",
    "told_by_node",
]

FOREIGN = Path(__file__).with_name("foreign")
H2SPEC = "github.com/summerwind/h2spec/cmd/h2spec"
H2SPEC_NEWEST = "v1.5.1-0.20220625142712-af83a65f0b62"
"""146 tests, 147 with `-S`. Not every module proxy has it; go.mod names v2.2.1, which has one test less."""
VIRTUALENV = "virtualenv==20.15.1"
"""The last one that makes environments of Python 2.7."""
_INSTALL_SECONDS = 480


def h2spec() -> Path:
    """The program `h2spec`: the newest one that can be had."""
    if given := os.environ.get("DAEMUN_H2SPEC"):
        return Path(given)

    def build(folder: Path, go: str) -> None:
        try:
            run_tool([go, "install", f"{H2SPEC}@{H2SPEC_NEWEST}"], folder, {"GOBIN": str(folder)})
        except subprocess.CalledProcessError:
            shutil.copy2(go_tool("h2spec"), folder)

    return kept("h2spec", H2SPEC_NEWEST, "go", build) / "h2spec"


def go_tool(name: str) -> Path:
    """A program of `foreign/go/go.mod`: `h2spec`, or the official gRPC interop `client` and `server`."""

    def build(folder: Path, go: str) -> None:
        run_tool([go, "install", "tool"], FOREIGN / "go", {"GOBIN": str(folder)})

    return kept("go", (FOREIGN / "go" / "go.sum").read_text(), "go", build) / name


def autobahn() -> list[str | Path]:
    """The words that start `wstest` of Autobahn's test suite. It runs on CPython 2.7 and nothing newer."""
    needed = FOREIGN / "python2" / "requirements.txt"

    def install(folder: Path, python: str) -> None:
        maker = folder / "maker"
        run_tool([sys.executable, "-m", "pip", "install", "--target", str(maker), VIRTUALENV], folder, {})
        run_tool([sys.executable, "-m", "virtualenv", "-p", python, "suite"], folder, {"PYTHONPATH": str(maker)})
        run_tool(["suite/bin/python", "-m", "pip", "install", "-r", str(needed)], folder, {})

    folder = kept("autobahn", VIRTUALENV + needed.read_text(), _python2() or "python2.7", install)
    return [folder / "suite" / "bin" / "python", "-m", "autobahntestsuite.wstest"]


def node() -> str:
    """The program `node`."""
    return _present("node", "nodejs")


def node_folder() -> Path:
    """A folder with our scripts and the packages of `foreign/node/package.json` beside them."""
    node()
    lock = FOREIGN / "node" / "package-lock.json"

    def install(folder: Path, npm: str) -> None:
        for file in (lock, lock.with_name("package.json")):
            shutil.copy2(file, folder)
        run_tool([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, {})

    folder = kept("node", lock.read_text(), "npm", install)
    for file in lock.parent.glob("*.mjs"):
        shutil.copy2(file, folder)
    return folder


def told_by_node(script: str, *arguments: str) -> dict[str, Any]:
    """What a script of `foreign/node` tells."""
    argv = [node(), script, *arguments]
    done = subprocess.run(argv, cwd=node_folder(), capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def debian_tool(name: str, package: str) -> str:
    """A program that a Debian package brings; it is installed where that can be done."""
    if found := shutil.which(name):
        return found
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        pytest.skip(f"{name}: not installed, and only root installs {package} with apt-get")
    install = [apt, "install", "-y", "--no-install-recommends", package]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    cache_folder().mkdir(parents=True, exist_ok=True)
    try:
        with _alone(cache_folder() / "apt.lock"):
            try:
                run_tool(install, Path("/"), quiet)
            except subprocess.CalledProcessError:
                run_tool([apt, "update"], Path("/"), quiet)
                run_tool(install, Path("/"), quiet)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"{name}: apt-get does not install {package}: {_words(error)}")
    return _present(name, package)


def _python2() -> str | None:
    """A CPython 2.7 that runs: pyenv may have one that it does not show."""
    found = ["python2.7"]
    if shutil.which("pyenv"):
        names = [name for name in _said("pyenv", "versions", "--bare").split() if name.startswith("2.7.")]
        found += [f"{_said('pyenv', 'prefix', name)}/bin/python2.7" for name in names]
    return next((python for python in found if _said(python, "-c", "print(2.7)") == "2.7"), None)


def _said(*argv: str) -> str:
    """The output of a program; "" where it does not run."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _present(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name}: not installed ({package})")
    return found


def kept(kind: str, versions: str, builder: str, build: Callable[[Path, str], None]) -> Path:
    """The cache's folder for these versions; `build(folder, builder)` fills a new one, which takes its place as a whole.

    Skips the test where there is no `builder`, or where it fails.
    """
    folder = cache_folder() / f"{kind}-{hashlib.sha256(versions.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    program = shutil.which(builder)
    if program is None:
        pytest.skip(f"{kind}: there is no {builder} here to get it with")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_suffix(".lock")):
        if folder.is_dir():
            return folder
        new = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            build(new, program)
            new.rename(folder)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"{kind}: {builder} does not build it: {_words(error)}")
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return folder


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One process at a time."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cache_folder() -> Path:
    """Where what was built stays from run to run."""
    if given := os.environ.get("DAEMUN_CONFORMANCE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "daemun-conformance"


def run_tool(
    argv: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float = _INSTALL_SECONDS
) -> None:
    """Runs a program that installs or builds something, in a folder; its output is in the error if it fails."""
    subprocess.run(
        argv,
        cwd=folder,
        env={**os.environ, **environment},
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def _words(error: Exception) -> str:
    output = getattr(error, "stderr", None) or getattr(error, "stdout", None) or str(error)
    return str(output).strip()[-300:]
