"""A folder that runs where there is no Python: PyInstaller finds modules and libraries, and packs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from daemun.binary.carried import EXCLUDED, PRUNED, Carried, programs, standard_library
from daemun.errors import SettingsError

__all__ = ["freeze", "libraries_of_system"]

_PROGRAM = Path(__file__).with_name("inside.py")
"""What runs first in the binary; not imported here, for it imports the commands, of which `build` is one."""
_LAST_LINES = 12
_of_c_library = re.compile(r"(ld-|lib(anl|c|dl|m|pthread|resolv|rt|util)\.).*").fullmatch


def freeze(what: Carried, work: Path, include: Sequence[str] = ()) -> Path:
    """The folder with the program `daemun` in it, beneath `work`. Takes half a minute.

    `include` are further modules, also such as are left out else. Raises `SettingsError` if that cannot be done here.
    """
    if find_spec("PyInstaller") is None:
        raise SettingsError(
            "a binary needs the module PyInstaller, which is not installed (pip install 'daemun[binary]')"
        )
    log = work / "freeze.log"
    command = [sys.executable, "-m", "PyInstaller", *_arguments(what, work, include), str(_PROGRAM)]
    with log.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        raise SettingsError(f"PyInstaller could not pack the plugins; it said last:\n{last}")
    folder = work / "frozen" / "daemun"
    for pattern in PRUNED:
        for path in (folder / "_internal").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _bring_libraries(folder)
    return folder


def libraries_of_system(folder: Path) -> list[Path]:
    """The parts of the C library that what is in `folder` needs."""
    return sorted(path for path in _linked(folder) if _of_c_library(path.name))


def _bring_libraries(folder: Path) -> None:
    """PyInstaller leaves some libraries to the system that are none of the C library: zlib, which its own program needs
    where Python has it within, and libcrypt."""
    for path in _linked(folder):
        if not _of_c_library(path.name):
            shutil.copy(path, folder / "_internal" / path.name)


def _linked(folder: Path) -> set[Path]:
    """The libraries outside of `folder` that what is in it is linked with."""
    programs = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_elf(path)]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder / "_internal")}
    said = subprocess.run(["ldd", *programs], env=environment, capture_output=True, text=True, check=False).stdout
    found = map(Path, re.findall(r"=> (/\S+) \(", said))
    return {path for path in found if not path.is_relative_to(folder)}


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _arguments(what: Carried, work: Path, include: Sequence[str]) -> Iterator[str]:
    yield from ("--onedir", "--strip", "--noconfirm", "--name", "daemun", "--log-level", "WARN")
    yield from ("--distpath", str(work / "frozen"), "--workpath", str(work / "work"), "--specpath", str(work))
    for name in what.modules:
        yield from ("--collect-submodules", name, "--collect-data", name, "--collect-binaries", name)
        yield from ("--hidden-import", name)
        for file, folder in programs(name):
            yield from ("--add-data", f"{file}:{folder}")
    for name in what.distributions:
        yield from ("--recursive-copy-metadata", name)
    for name in (*standard_library(), *include):
        yield from ("--hidden-import", name)
    for name in EXCLUDED:
        if not any(name == one or one.startswith(f"{name}.") for one in include):
            yield from ("--exclude-module", name)
