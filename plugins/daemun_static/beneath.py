"""From names to a file below the root, and to nothing else.

A walk opens one folder after the other, each relative to the descriptor of the one before and without
following links (openat with O_NOFOLLOW). A link that is met is read and walked in the same way, so what
counts is where the walk stands and not what a path said a moment ago: renaming things meanwhile cannot lead
it out of the root. It needs no `/proc` and no system call newer than openat. Files are opened by descriptor
too, never blocking, and only if they are regular both before and after.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

__all__ = ["MAX_DEPTH", "MAX_LINKS", "Walk"]

MAX_LINKS = 40
"""Links followed in one walk, as in Linux."""
MAX_DEPTH = 256
"""Folders that one walk holds open."""

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


class Walk:
    """One look-up below the folder `root` (absolute). Starts at the root; close it.

    With `leave`, links are followed wherever they lead. Methods raise `OSError` as the system calls do; a
    link that would leave the root is `PermissionError`, and what is not a regular file in the end is
    `FileNotFoundError`.
    """

    __slots__ = ("_folders", "_leave", "_links", "_nofollow", "_root", "name")

    def __init__(self, root: bytes, *, leave: bool) -> None:
        self._root = root
        self._leave = leave
        self._nofollow = 0 if leave else os.O_NOFOLLOW
        self._links = 0
        self.name = b""
        """Name, in the folder where the walk stands, of the file that `descend` reached."""
        self._folders = [os.open(root, _FOLDER)]

    def close(self) -> None:
        """Gives back the descriptors. Idempotent."""
        while self._folders:
            os.close(self._folders.pop())

    def rewind(self) -> None:
        """Goes back to the root."""
        while len(self._folders) > 1:
            os.close(self._folders.pop())

    def descend(self, names: Sequence[bytes]) -> os.stat_result | None:
        """Goes down from where the walk stands. The facts of the file reached; None: it now stands in a
        folder."""
        pending = list(reversed(names))
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if len(self._folders) == 1:
                    raise _outside()
                os.close(self._folders.pop())
                continue
            if pending:
                try:
                    self._enter(name)
                except NotADirectoryError:
                    if self._leave:
                        raise
                    self._follow(name, pending)
                continue
            facts = os.stat(name, dir_fd=self._folders[-1], follow_symlinks=self._leave)
            if stat.S_ISREG(facts.st_mode):
                self.name = name
                return facts
            if stat.S_ISLNK(facts.st_mode):
                self._follow(name, pending)
            elif stat.S_ISDIR(facts.st_mode):
                self._enter(name)
            else:
                raise FileNotFoundError(errno.ENOENT, "not a regular file")
        return None

    def beside(self, suffix: bytes) -> os.stat_result | None:
        """The facts of the regular file whose name is that of the file reached plus `suffix`; None: there is
        none."""
        try:
            facts = os.stat(self.name + suffix, dir_fd=self._folders[-1], follow_symlinks=self._leave)
        except OSError:
            return None
        return facts if stat.S_ISREG(facts.st_mode) else None

    def open(self, suffix: bytes = b"") -> tuple[int, os.stat_result]:
        """A descriptor of the file reached (or the one beside it), now the caller's, and the facts of what it
        opened."""
        descriptor = os.open(self.name + suffix, _FILE | self._nofollow, dir_fd=self._folders[-1])
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a regular file")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, facts

    def _enter(self, name: bytes) -> None:
        if len(self._folders) >= MAX_DEPTH:
            raise OSError(errno.ELOOP, "too many folders")
        self._folders.append(os.open(name, _FOLDER | self._nofollow, dir_fd=self._folders[-1]))

    def _follow(self, name: bytes, pending: list[bytes]) -> None:
        """Puts the target of the link `name` before what is pending."""
        try:
            target = os.readlink(name, dir_fd=self._folders[-1])
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise NotADirectoryError(errno.ENOTDIR, "neither a folder nor a link") from None
            raise
        self._links += 1
        if self._links > MAX_LINKS:
            raise OSError(errno.ELOOP, "too many links")
        if target.startswith(b"/"):
            target = self._below_root(target)
            self.rewind()
        pending.extend(reversed(target.split(b"/")))

    def _below_root(self, target: bytes) -> bytes:
        for root in (self._root, os.path.realpath(self._root)):
            prefix = root.rstrip(b"/") + b"/"
            if target.startswith(prefix):
                return target[len(prefix) :]
        raise _outside()


def _outside() -> PermissionError:
    return PermissionError(errno.EACCES, "a link leaves the root")
