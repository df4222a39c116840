"""Reads files into objects, one by one: a bad object hurts no other, a bad file none that were read before.

A file whose status did not change is not read, one whose content did not change is not parsed, and an object
that did not change stays the same object, so that nobody downstream sees a change where there is none.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path as FilePath
from typing import Any, Generic, TypeVar

from msgspec import Struct

from daemun import ObjectStatus
from daemun_file.explain import ObjectError, show_path
from daemun_file.find import Found, WatchPlan, find
from daemun_file.parse import Path, TextDocument, UnreadableError, parse

__all__ = ["SETTLED_NS", "Entry", "RawObject", "Reader", "Reading"]

T = TypeVar("T")

SETTLED_NS = 50_000_000
"""A file that was written a shorter time ago may still be written to."""


class RawObject(Struct, frozen=True, eq=False):
    """One object of a document, as it was written."""

    kind: str
    name: str
    path: Path
    """Where it stands in its document."""
    data: Any


class Entry(Struct, Generic[T], frozen=True, eq=False):
    """One object that can be used."""

    kind: str
    name: str
    value: T


class Reading(Struct, Generic[T], frozen=True, eq=False):
    """All files at one moment."""

    entries: tuple[Entry[T], ...]
    refused: tuple[ObjectStatus, ...]
    plan: WatchPlan
    """What to watch for the next one."""


class _Held(Struct, Generic[T], eq=False):
    """The last good version of an object, and the fault of its present one."""

    data: Any
    value: T
    error: str = ""


class _File(Generic[T]):
    """What is known of one file."""

    __slots__ = ("digest", "error", "objects", "refused", "signature")

    def __init__(self) -> None:
        self.signature: tuple[int, ...] | None = None
        self.digest = b""
        self.error = ""
        self.objects: dict[tuple[str, str], _Held[T]] = {}
        self.refused: list[ObjectStatus] = []


class Reader(Generic[T]):
    """Reads what `paths` lead to. `split` finds the objects of a document, `decode` makes one of them.

    `split` yields an `ObjectError` for a part of the document in which objects may be lost: those that were
    read before and are not found then stay in use. `decode` gets the object and its origin for people, and
    raises `ObjectError` with a path inside the object. Both run in a worker thread. Not for two callers at
    once.
    """

    def __init__(
        self,
        paths: Sequence[str],
        base_dir: FilePath,
        *,
        split: Callable[[Any], Iterable[RawObject | ObjectError]],
        decode: Callable[[RawObject, str], T],
        root: str = "$",
        recursive: bool = False,
        max_file_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._paths = paths
        self._base_dir = base_dir
        self._split = split
        self._decode = decode
        self._root = root
        self._recursive = recursive
        self._max_file_bytes = max_file_bytes
        self._files: dict[str, _File[T]] = {}
        self._found: dict[str, tuple[str, ...]] = {}
        self._faulty: set[str] = set()

    def read(self, *, patient: bool = False, distrustful: bool = False) -> Reading[T] | None:
        """Everything as it is now. Blocks on files; never raises for what they hold.

        `patient`: None if a file is just being changed, for the caller to ask again in a moment.
        `distrustful`: opens files even if their status says that nothing changed.
        """
        found, plan = find(self._paths, self._base_dir, recursive=self._recursive)
        if patient and self._is_unsettled(found):
            return None
        refused: list[ObjectStatus] = []
        files: dict[str, _File[T]] = {}
        for item in found:
            for path in self._in_use(item, refused):
                if path not in files:
                    files[path] = self._files.get(path) or _File()
                    self._refresh(path, files[path], distrustful=distrustful)
        self._files = files
        return self._gather(files, refused, plan)

    def _is_unsettled(self, found: list[Found]) -> bool:
        now = time.time_ns()
        for item in found:
            lost = not set(self._found.get(item.path, ())) <= set(item.files)
            if lost and item.path not in self._faulty:
                return True
            for path in item.files:
                try:
                    status = os.stat(path)
                except OSError:
                    if path in self._files and self._files[path].digest:
                        return True
                    continue
                file = self._files.get(path)
                if (file is None or file.signature != _signature(status)) and _is_fresh(status, now):
                    return True
        return False

    def _in_use(self, item: Found, refused: list[ObjectStatus]) -> tuple[str, ...]:
        """The files of one path. While the path itself is at fault, those that it led to before."""
        if not item.error:
            self._found[item.path] = item.files
            self._faulty.discard(item.path)
            return item.files
        self._faulty.add(item.path)
        before = self._found.get(item.path, ())
        words = f"{item.error}; what was read from it before stays in use" if before else item.error
        refused.append(ObjectStatus("file", item.path, item.path, words))
        return before

    def _refresh(self, path: str, file: _File[T], *, distrustful: bool) -> None:
        try:
            content, signature = self._content(path, None if distrustful else file.signature)
        except OSError as error:
            file.signature = None
            file.digest = b""
            file.error = f"cannot be read: {(error.strerror or str(error)).lower()}"
            return
        except UnreadableError as error:
            file.signature = None
            file.digest = b""
            file.error = str(error)
            return
        file.signature = signature
        if content is None:
            return
        digest = blake2b(content).digest()
        if digest == file.digest:
            return
        file.digest = digest
        try:
            documents = parse(content, os.path.splitext(path)[1].lower())
        except UnreadableError as error:
            file.error = str(error)
            return
        file.error = ""
        self._take(path, file, documents)

    def _content(self, path: str, known: tuple[int, ...] | None) -> tuple[bytes | None, tuple[int, ...] | None]:
        """The bytes, None if the file's status is the `known` one; and its status, None if that may lie."""
        if known is not None and _signature(os.stat(path)) == known:
            return None, known
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise UnreadableError("this is no regular file")
            content = stream.read(self._max_file_bytes + 1)
            after = os.fstat(descriptor)
        if len(content) > self._max_file_bytes:
            raise UnreadableError(f"the file is larger than {self._max_file_bytes} bytes")
        trusted = _signature(before) == _signature(after) and not _is_fresh(after, time.time_ns())
        return content, _signature(after) if trusted else None

    def _take(self, path: str, file: _File[T], documents: list[TextDocument]) -> None:
        """Replaces the objects of `file` by those of `documents`, as far as they can be used."""
        before, file.objects, file.refused = file.objects, {}, []
        shown = self._shown(path)
        taken: dict[tuple[str, str], Path] = {}
        incomplete = False
        for document in documents:
            for item in self._split(document.data):
                if isinstance(item, ObjectError):
                    incomplete = True
                    file.refused.append(
                        ObjectStatus("file", shown, shown, self._words(document, item.path, item.message))
                    )
                    continue
                key = item.kind, item.name
                origin = f"{shown}#{item.name}"
                if key in taken:
                    words = f"the name is taken by {show_path(taken[key], self._root)}"
                    words = self._words(document, item.path, words)
                    file.refused.append(ObjectStatus(item.kind, item.name, origin, words))
                    continue
                taken[key] = item.path
                held = before.get(key)
                if held is not None and held.data == item.data:
                    held.error = ""
                    file.objects[key] = held
                    continue
                try:
                    file.objects[key] = _Held(item.data, self._decode(item, origin))
                except ObjectError as error:
                    words = self._words(document, (*item.path, *error.path), error.message)
                    if held is not None:
                        held.error = words
                        file.objects[key] = held
                    else:
                        file.refused.append(ObjectStatus(item.kind, item.name, origin, words))
        if incomplete:
            file.objects |= {key: held for key, held in before.items() if key not in taken}

    def _words(self, document: TextDocument, path: Path, message: str) -> str:
        line = document.line(path)
        place = show_path(path, self._root)
        where = ", ".join(part for part in (f"line {line}" if line else "", place) if part)
        return f"{where}: {message}" if where else message

    def _gather(self, files: dict[str, _File[T]], refused: list[ObjectStatus], plan: WatchPlan) -> Reading[T]:
        entries: dict[tuple[str, str], Entry[T]] = {}
        owners: dict[tuple[str, str], str] = {}
        for path, file in files.items():
            shown = self._shown(path)
            if file.error:
                words = f"{file.error}; what was read from it before stays in use" if file.objects else file.error
                refused.append(ObjectStatus("file", shown, shown, words))
            refused += file.refused
            for key, held in file.objects.items():
                kind, name = key
                origin = f"{shown}#{name}"
                if key in entries:
                    refused.append(ObjectStatus(kind, name, origin, f"the name is taken in {owners[key]}"))
                    continue
                if held.error:
                    refused.append(ObjectStatus(kind, name, origin, f"{held.error}; kept the version from before"))
                entries[key] = Entry(kind, name, held.value)
                owners[key] = shown
        return Reading(tuple(entries.values()), tuple(refused), plan)

    def _shown(self, path: str) -> str:
        relative = os.path.relpath(path, self._base_dir)
        return path if relative.startswith("..") else relative


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_fresh(status: os.stat_result, now: int) -> bool:
    return abs(now - status.st_mtime_ns) < SETTLED_NS
