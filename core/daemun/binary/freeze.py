"""A folder that runs where there is no Python: PyInstaller finds modules and libraries, and packs them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from daemun.binary.carried import EXCLUDED, PRUNED, Carried, programs, standard_library
from daemun.errors import SettingsError

__all__ = ["freeze"]

_PROGRAM = Path(__file__).with_name("inside.py")
"""What runs first in the binary; not imported here, for it imports the commands, of which `build` is one."""
_LAST_LINES = 12
_ZLIB = "libz.so.1"


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
    _bring_zlib(folder)
    return folder


def _bring_zlib(folder: Path) -> None:
    """PyInstaller's own program needs zlib, which is not of the C library; a Python that has it within brings none."""
    if not (folder / "_internal" / _ZLIB).exists():
        said = subprocess.run(["ldd", folder / "daemun"], capture_output=True, text=True, check=False).stdout
        for word in said.split():
            if Path(word).is_absolute() and Path(word).name == _ZLIB:
                shutil.copy(word, folder / "_internal" / _ZLIB)


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
