"""From paths, folders and patterns to files, and to the folders whose changes can change what is found.

A folder is watched, never a file: a file that is replaced by a rename, or that appears later, is seen by its
name. Every symbolic link on the way is seen too: `routes.yaml -> ..data/routes.yaml` of a Kubernetes
ConfigMap changes when `..data` is swapped.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from daemun_file.parse import SUFFIXES

__all__ = ["MAX_FILES", "Found", "WatchPlan", "find"]

MAX_FILES = 10_000
_MAX_LINKS = 40
_PATTERN = frozenset("*?[")


class WatchPlan:
    """Which names in which folders matter. Equal plans need no new watch."""

    def __init__(self) -> None:
        self.folders: dict[str, tuple[int, int]] = {}
        """Each folder with its device and inode: one that was replaced by another needs a new watch."""
        self._names: dict[str, set[str]] = {}
        self._listed: set[str] = set()
        self._nested: set[str] = set()

    def add_name(self, folder: str, name: str) -> None:
        """One name in `folder` matters."""
        if folder not in self._names:
            self._names[folder] = set()
            self._identify(folder)
        self._names[folder].add(name)

    def add_folder(self, folder: str, *, nested: bool) -> None:
        """Every file in `folder` that may be a document matters; with `nested`, every folder too."""
        self._listed.add(folder)
        if nested:
            self._nested.add(folder)
        self._identify(folder)

    def _identify(self, folder: str) -> None:
        try:
            status = os.stat(folder)
        except OSError:
            return
        self.folders[folder] = status.st_dev, status.st_ino

    def concerns(self, path: str) -> bool:
        """Whether a change of `path` can change what is read."""
        folder, name = os.path.split(path)
        if path in self.folders or name in self._names.get(folder, ()):
            return True
        if folder not in self._listed or name.startswith("."):
            return False
        return folder in self._nested or os.path.splitext(name)[1].lower() in SUFFIXES

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WatchPlan) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Found(Struct, frozen=True):
    """What one of the paths leads to now."""

    path: str
    """As it stands in the settings."""
    files: tuple[str, ...]
    """Absolute, sorted. A file that was named is among them whether or not it exists."""
    error: str = ""


def find(paths: Sequence[str], base_dir: Path, *, recursive: bool) -> tuple[list[Found], WatchPlan]:
    """What `paths` lead to, each relative to `base_dir`, and the plan to watch them."""
    plan = WatchPlan()
    found = []
    for text in paths:
        path = os.path.normpath(os.path.join(base_dir, text))
        if _PATTERN.isdisjoint(text) or os.path.lexists(path):
            found.append(_named(text, path, plan, recursive=recursive))
        else:
            found.append(_matched(text, path, plan, recursive=recursive))
    return found, plan


def _named(text: str, path: str, plan: WatchPlan, *, recursive: bool) -> Found:
    _follow(path, plan)
    if os.path.isdir(path):
        return _bounded(text, _documents_in(path, plan, recursive=recursive))
    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES:
        return Found(text, (path,))
    if os.path.lexists(path):
        return Found(text, (), f"the name does not tell what it is; accepted: {', '.join(SUFFIXES)}, or a folder")
    return Found(text, (), "no such file or folder")


def _matched(text: str, pattern: str, plan: WatchPlan, *, recursive: bool) -> Found:
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if not _PATTERN.isdisjoint(part))
    _follow(str(Path(*parts[:fixed])), plan)
    for depth in range(fixed, len(parts)):
        if parts[depth] == "**":
            for folder in glob.iglob(str(Path(*parts[: depth + 1])), recursive=True):
                if os.path.isdir(folder):
                    plan.add_folder(os.path.normpath(folder), nested=True)
            break
        for folder in glob.iglob(str(Path(*parts[:depth]))):
            if os.path.isdir(folder):
                plan.add_folder(folder, nested=depth + 1 < len(parts))

    def files() -> Iterator[str]:
        for path in sorted(glob.iglob(pattern, recursive=True)):
            if os.path.isdir(path):
                yield from _documents_in(path, plan, recursive=recursive)
            elif os.path.splitext(path)[1].lower() in SUFFIXES:
                _follow_link(path, plan)
                yield path

    return _bounded(text, files())


def _bounded(text: str, files: Iterable[str]) -> Found:
    unique: dict[str, None] = {}
    for file in files:
        unique[file] = None
        if len(unique) > MAX_FILES:
            return Found(text, (), f"leads to more than {MAX_FILES} files")
    return Found(text, tuple(unique))


def _documents_in(folder: str, plan: WatchPlan, *, recursive: bool) -> Iterator[str]:
    """Its documents by name, hidden ones left out, and then those of the folders in it."""
    plan.add_folder(folder, nested=recursive)
    try:
        with os.scandir(folder) as entries:
            visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
    except OSError:
        return
    for entry in visible:
        if os.path.splitext(entry.name)[1].lower() in SUFFIXES and not _is_folder(entry):
            _follow_link(entry.path, plan)
            yield entry.path
    if recursive:
        for entry in visible:
            if entry.is_dir(follow_symlinks=False):
                yield from _documents_in(entry.path, plan, recursive=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _follow_link(path: str, plan: WatchPlan) -> None:
    if os.path.islink(path):
        _follow(path, plan)


def _follow(path: str, plan: WatchPlan) -> None:
    """Adds what decides where `path` leads: each symbolic link on the way and its last name, or the first
    name that is missing, to see it appear."""
    here = os.sep
    ahead = [part for part in reversed(Path(path).parts) if part != os.sep]
    links = 0
    while ahead:
        name = ahead.pop()
        full = os.path.normpath(os.path.join(here, name))
        try:
            mode = os.lstat(full).st_mode
        except OSError:
            plan.add_name(here, name)
            return
        if stat.S_ISLNK(mode):
            plan.add_name(here, name)
            links += 1
            if links > _MAX_LINKS:
                return
            target = os.readlink(full)
            ahead += [part for part in reversed(Path(target).parts) if part != os.sep]
            here = os.sep if os.path.isabs(target) else here
        elif not ahead:
            plan.add_name(os.path.dirname(full), os.path.basename(full))
        elif stat.S_ISDIR(mode):
            here = full
        else:
            plan.add_name(here, name)
            return
