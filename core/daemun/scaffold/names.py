"""What a new project is called, and which names would get in somebody's way."""

from __future__ import annotations

import importlib.util
import re
import sys

from msgspec import Struct

from daemun.errors import PluginError, SettingsError
from daemun.extend.loading import installed
from daemun.extend.registry import Registry
from daemun.scaffold.kinds import PluginKind

__all__ = ["ProjectName", "check_free", "project_name"]

_MAX_LENGTH = 24
"""So that no line of the templates gets longer than their line length."""
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


class ProjectName(Struct, frozen=True):
    """A name in each of its spellings."""

    plugin: str
    """Of the plugin, and of what it brings: `access-control`."""
    module: str
    """Of its package: `daemun_access_control`."""
    camel: str
    """What the names of its classes begin with: `AccessControl`."""
    project: str
    """Of the distribution, and of the folder: `daemun-access-control`."""


def project_name(name: str) -> ProjectName:
    """The spellings of `name`. Raises `SettingsError` that says what would be accepted."""
    accepted = (
        f"(accepted: lower-case letters, digits, - and _ between them, a letter first, up to {_MAX_LENGTH} characters)"
    )
    if not _NAME.fullmatch(name) or len(name) > _MAX_LENGTH:
        hint = f"; did you mean {name.lower()!r}?" if _NAME.fullmatch(name.lower()) and len(name) <= _MAX_LENGTH else ""
        raise SettingsError(f"{name!r} is no name for a plugin{hint} {accepted}")
    words = re.split("[-_]", name)
    if words[0].lower() == "daemun":
        rest = name[len("daemun") + 1 :]
        hint = f"{rest!r}" if rest else "a name of its own"
        raise SettingsError(f"{name!r} begins with `daemun`, which its project has anyway (accepted: {hint})")
    plain = "_".join(words)
    if plain in sys.stdlib_module_names:
        raise SettingsError(f"{name!r} is a module of the standard library (accepted: another name)")
    camel = "".join(word[0].upper() + word[1:] for word in words)
    return ProjectName(name, f"daemun_{plain}", camel, f"daemun-{plain.replace('_', '-')}")


def check_free(name: ProjectName, kind: PluginKind, registry: Registry) -> None:
    """Raises `PluginError` if a plugin, a module or another thing of this kind has the name."""
    point = installed().get(name.plugin)
    if point is not None:
        raise PluginError(f"it is installed, as the module {point.value}: take another name", plugin=name.plugin)
    if importlib.util.find_spec(name.module) is not None:
        raise PluginError(f"there is a module {name.module} already: take another name", plugin=name.plugin)
    owner = getattr(registry, kind.registered).items().get(name.plugin)
    if owner is not None:
        raise PluginError(f"plugin {owner} brings {kind.words} of this name: take another", plugin=name.plugin)
