"""Data decoded strictly, with errors that say where and what would be accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import reduce
from operator import getitem
from typing import Any, TypeVar

import msgspec

from daemun.errors import SettingsError

__all__ = ["convert"]

T = TypeVar("T")

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`(?: - at `(?P<path>[^`]*)`)?")
_OTHER = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`(?P<path>[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|(\[[^\]]*\])")


def convert(raw: Any, kind: type[T], *, file: str = "", path: str = "$") -> T:
    """`raw` as a `kind`, strictly. Raises `SettingsError` with the path of the first fault, which starts at `path`."""
    try:
        return msgspec.convert(raw, kind, strict=True)
    except msgspec.ValidationError as error:
        unknown = _UNKNOWN.match(str(error))
        if unknown:
            inner = unknown["path"] or "$"
            accepted = _accepted(kind, inner)
            near = difflib.get_close_matches(unknown["name"], accepted, 1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            words = f"unknown key `{unknown['name']}`{hint} (accepted: {', '.join(accepted)})"
        else:
            other = _OTHER.match(str(error))
            assert other is not None
            inner = other["path"] or "$"
            words = other["what"][:1].lower() + other["what"][1:] + (" as a key" if other["key"] else "")
            if words.startswith("invalid enum value") and (values := _values(_at(kind, inner))):
                words += f" (accepted: {', '.join(values)})"
        raise SettingsError(words, file=file, path=path + _named(raw, kind, inner)[1:], wanted=kind) from error


def _accepted(kind: Any, path: str) -> list[str]:
    """Names of the keys that the struct at `path` inside `kind` takes."""
    found = _struct(_at(kind, path))
    return [item.encode_name for item in found.fields] if found is not None else []


def _at(kind: Any, path: str) -> Any:
    """What msgspec tells of the type at `path` inside `kind`; None if nothing."""
    info: Any = msgspec.inspect.type_info(kind)
    for name, _ in _STEP.findall(path):
        info = _step(info, name)
    return info


def _values(info: Any) -> list[str]:
    """The values that a type lists, as they are written."""
    if isinstance(info, msgspec.inspect.EnumType):
        return [str(member.value) for member in info.cls]
    if isinstance(info, msgspec.inspect.LiteralType):
        return [str(value) for value in info.values]
    if isinstance(info, msgspec.inspect.IntType):
        return ["a number"]
    return [value for option in getattr(info, "types", ()) for value in _values(option)]


def _named(raw: Any, kind: Any, path: str) -> str:
    """`path` with the key in the place of `[...]`, which is all that msgspec tells of the keys of a mapping."""
    while "[...]" in path:
        before, _, after = path.partition("[...]")
        steps = [name or int(index[1:-1]) for name, index in _STEP.findall(before)]
        mapping = reduce(getitem, steps, raw)
        key = next((key for key, value in mapping.items() if not _fits(_with(raw, steps, {key: value}), kind)), None)
        if key is None:
            break
        path = f"{before}.{key}{after}"
    return path


def _with(raw: Any, steps: Sequence[Any], value: Any) -> Any:
    """`raw` with another value at the end of `steps`."""
    if not steps:
        return value
    changed = raw.copy()
    changed[steps[0]] = _with(raw[steps[0]], steps[1:], value)
    return changed


def _fits(raw: Any, kind: Any) -> bool:
    try:
        msgspec.convert(raw, kind, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def _struct(info: Any) -> msgspec.inspect.StructType | None:
    if isinstance(info, msgspec.inspect.StructType):
        return info
    for option in getattr(info, "types", ()):
        if isinstance(option, msgspec.inspect.StructType):
            return option
    return None


def _step(info: Any, name: str) -> Any:
    if name:
        found = _struct(info)
        if found is not None:
            return next((item.type for item in found.fields if item.encode_name == name), None)
        return getattr(info, "value_type", None)
    return getattr(info, "item_type", None) or getattr(info, "value_type", None)
