"""Filling the templates of one kind, and writing the files.

What stands in `templates/common` goes into every project, and what stands in the kind's folder into its own. A file
that both have is the kind's part with the common one behind it. `.txt` is taken off; `package` becomes the plugin's
package, `testing` the folder of tests, and `dot_` a dot. Fields are `@@name`, `@@module`, `@@camel`, `@@project`,
`@@kind`, `@@words` and `@@does`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template

from daemun.errors import SettingsError
from daemun.scaffold.kinds import PluginKind
from daemun.scaffold.names import ProjectName

__all__ = ["project_files", "write_project"]

_SUFFIX = ".txt"


class _Template(Template):
    delimiter = "@@"


def project_files(name: ProjectName, kind: PluginKind) -> dict[PurePosixPath, str]:
    """The text of every file of a project by its path, in the order of paths."""
    fields = {
        "name": name.plugin,
        "module": name.module,
        "camel": name.camel,
        "project": name.project,
        "kind": kind.name,
        "words": kind.words,
        "does": kind.does,
    }
    templates = files("daemun.scaffold") / "templates"
    found: dict[PurePosixPath, str] = {}
    for folder in (kind.name, "common"):
        for template, text in _texts(templates / folder, PurePosixPath()):
            path = _place(template, name)
            found[path] = found.get(path, "") + _Template(text).substitute(fields)
    return dict(sorted(found.items()))


def _texts(folder: Traversable, path: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _texts(entry, path / entry.name)
        elif entry.name.endswith(_SUFFIX):
            yield path / entry.name.removesuffix(_SUFFIX), entry.read_text("utf-8")


def _place(template: PurePosixPath, name: ProjectName) -> PurePosixPath:
    top = {"package": ("src", name.module), "testing": ("tests",)}
    first, *rest = (part.replace("dot_", ".", 1) if part.startswith("dot_") else part for part in template.parts)
    return PurePosixPath(*top.get(first, (first,)), *rest)


def write_project(folder: Path, texts: Mapping[PurePosixPath, str]) -> None:
    """Writes the files. Raises `SettingsError` if `folder` is there and not empty, or cannot be written to."""
    try:
        if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
            words = "there is something already, and nothing is overwritten (accepted: an empty folder, or none)"
            raise SettingsError(words, file=str(folder))
        for path, text in texts.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as out:
                out.write(text)
    except OSError as error:
        raise SettingsError(f"cannot be written: {(error.strerror or str(error)).lower()}", file=str(folder)) from error
