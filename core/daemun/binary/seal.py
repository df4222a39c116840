"""A folder becomes one file: the launcher, the files, a table of them, and a tail that says where they are."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import struct
import subprocess
from collections.abc import Collection, Iterator
from importlib.resources import as_file, files
from pathlib import Path

from daemun.errors import SettingsError

__all__ = ["compile_launcher", "seal"]

_TAIL = struct.Struct("=QQ32s8s")
_MAGIC = b"daemun-1"
_COMPILERS = ("cc", "gcc", "clang")


def compile_launcher(work: Path, needs: Collection[Path] = ()) -> Path:
    """The launcher as a program. `CC` names another compiler than the system's.

    `needs` are libraries that it names beside the C library, for what it becomes needs them: who asks for what the one
    file needs, as `ldd` does, learns of them. Raises `SettingsError` if there is no compiler, or with what it said.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or [one for one in _COMPILERS if shutil.which(one)][:1]
    if not compiler:
        raise SettingsError(
            "a binary needs a C compiler for its first lines (accepted: cc, gcc or clang; CC names another)"
        )
    program = work / "launcher"
    with as_file(files("daemun.binary") / "launcher.c") as source:
        command = [*compiler, "-std=gnu11", "-O2", "-s", "-o", str(program), str(source)]
        command += ["-Wl,--no-as-needed,--allow-shlib-undefined", *map(str, needs)] if needs else []
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except OSError as error:
            raise SettingsError(f"the C compiler {compiler[0]} cannot be run: {error.strerror}") from error
        except subprocess.CalledProcessError as error:
            raise SettingsError(f"the C compiler {compiler[0]} failed:\n{error.stderr.strip()}") from error
    return program


def seal(folder: Path, launcher: Path, output: Path) -> None:
    """Writes `output`: what is in `folder`, and a copy of the launcher as its `python`."""
    shutil.copy(launcher, folder / "python")
    table, digest = bytearray(), hashlib.sha256()
    with output.open("wb") as file:
        file.write(launcher.read_bytes())
        files_at = file.tell()
        for path in _files(folder):
            content = path.read_bytes()
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
            line = f"{mode:o} {len(content)} {path.relative_to(folder)}".encode() + b"\0"
            digest.update(line + hashlib.sha256(content).digest())
            table += line
            file.write(content)
        table_at = file.tell()
        file.write(table)
        file.write(_TAIL.pack(files_at, table_at, digest.hexdigest()[:32].encode(), _MAGIC))
    output.chmod(0o755)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path
