"""What an operator wants otherwise in the settings of a gateway: part of a settings file, and `KEY=VALUE`s over it.

What the other manifests rely on cannot be said: where a listener binds, and what rights and Services are named after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from daemun import SettingsError, load_settings

__all__ = ["check_whole", "overlaid", "read_overlay"]

_NAMED = {"listeners": "name", "sources": "type", "observers": "type"}
"""Lists whose entries have a name, and the key that it stands under."""
_FIXED = {
    "listeners": ("name", "bind"),
    "sources": ("type", "paths", "controller", "service", "external_service", "internal_service", "lease"),
}
"""What the manifests say too."""


def read_overlay(file: Path | None, assignments: Iterable[str]) -> dict[str, Any]:
    """What `--settings` and each `--set` say. Raises `SettingsError`."""
    found: dict[str, Any] = {}
    if file is not None:
        document = _parsed(file.read_text(errors="replace"), str(file))
        if document is not None and not isinstance(document, dict):
            raise SettingsError("holds no settings (accepted: a mapping, as in a settings file)", file=str(file))
        found = {key: _by_name(key, value) for key, value in (document or {}).items()}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        path = key.split(".")
        if not equals or not all(path):
            raise SettingsError(f"--set {assignment}: is no KEY=VALUE (accepted: such as workers=2)")
        value = _parsed(text, f"--set {assignment}")
        inner = _by_name(path[0], value) if len(path) == 1 else value
        for part in reversed(path):
            inner = {part: inner}
        found = _merged(found, inner, take_away=False)
    return found


def overlaid(settings: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with what `overlay` says over it.

    Mappings are merged key by key, and `null` takes a key away. Entries of `listeners`, `sources` and `observers` are
    told by their name or type; sources and observers that were not there are added. Everything else is replaced. Raises
    `SettingsError`.
    """
    plain = {key: value for key, value in overlay.items() if key not in _NAMED}
    merged = _merged(settings, plain)
    for key, by in _NAMED.items():
        entries = {entry[by]: entry for entry in settings[key]}
        wanted = overlay.get(key) or {}
        if not isinstance(wanted, dict):
            raise SettingsError("is no list of settings, nor entries by name", path=f"$.{key}")
        for name, changes in wanted.items():
            _check(key, by, entries, name, changes)
            if changes is None:
                entries.pop(name, None)
            else:
                entries[name] = _merged(entries.get(name, {by: name}), changes)
        merged[key] = list(entries.values())
    return merged


def check_whole(text: str) -> None:
    """Raises `SettingsError` if `text` is no settings file."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "daemun.yaml")
        file.write_text(text)
        try:
            load_settings(file)
        except SettingsError as error:
            raise SettingsError(error.message, path=error.path) from None


def _check(key: str, by: str, entries: Mapping[str, Any], name: str, changes: Any) -> None:
    path = f"$.{key}.{name}"
    if changes is not None and not isinstance(changes, dict):
        raise SettingsError("is no mapping of settings", path=path)
    if key == "listeners" and name not in entries:
        raise SettingsError(f"there is no such listener (accepted: {', '.join(entries)})", path=path)
    if key in _FIXED and name in entries:
        if changes is None:
            raise SettingsError("cannot be taken away, as other manifests need it", path=path)
        for fixed in _FIXED[key]:
            if fixed in changes and changes[fixed] != entries[name].get(fixed):
                raise SettingsError("cannot be set, as other manifests say it too", path=f"{path}.{fixed}")


def _by_name(key: str, value: Any) -> Any:
    """A list of entries with names as a mapping of them."""
    if key not in _NAMED or not isinstance(value, list):
        return value
    by = _NAMED[key]
    if not all(isinstance(entry, dict) and isinstance(entry.get(by), str) for entry in value):
        raise SettingsError(f"each entry needs `{by}`", path=f"$.{key}")
    found = {entry[by]: entry for entry in value}
    if len(found) != len(value):
        raise SettingsError(f"two entries have the same `{by}`", path=f"$.{key}")
    return found


def _merged(below: Mapping[str, Any], above: Mapping[str, Any], *, take_away: bool = True) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        there = merged.get(key)
        if value is None and take_away:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = _merged(there if isinstance(there, Mapping) else {}, value, take_away=take_away)
        else:
            merged[key] = value
    return merged


def _parsed(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"is no YAML: {' '.join(str(error).split())}", file=where) from None
