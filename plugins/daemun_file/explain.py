"""Decoding with words: where a value is wrong, and what would be accepted there."""

from __future__ import annotations

import difflib
import re
import threading
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from daemun_file.parse import Path

__all__ = ["ObjectError", "decode", "show_path", "suggest"]

T = TypeVar("T")

_ONE_AT_A_TIME = threading.Lock()
"""msgspec looks at a type when it first meets it, and crashes if two threads make it do so at once. Sources read in
threads."""


class ObjectError(Exception):
    """One object that cannot be used: the path of the fault within the object, and words for people."""

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(f"{show_path(path)}: {message}")


def show_path(path: Path, root: str = "$") -> str:
    """`$.routes[2].match`; with root "" as in Kubernetes: `spec.containers[0].image`."""
    text = root
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            text += f".{key}" if text else key
        else:
            text += f'["{key}"]'
    return text


def suggest(name: str, accepted: Iterable[str]) -> str:
    """`; did you mean …`, or ""."""
    close = difflib.get_close_matches(name, list(accepted), n=1)
    return f"; did you mean {close[0]!r}" if close else ""


def decode(data: Any, to: type[T]) -> T:
    """`data` as a `to`, strictly. Raises `ObjectError` with the path inside `data`."""
    try:
        with _ONE_AT_A_TIME:
            return msgspec.convert(data, to)
    except msgspec.ValidationError as error:
        raise _explained(str(error), data, to) from None


def _explained(text: str, data: Any, to: Any) -> ObjectError:
    message, _, where = text.partition(" - at `")
    in_key = where.startswith("key in ")
    path, type_at, value = _follow(re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", where), data, to)
    if in_key:
        return ObjectError(path, f"a key here is refused: {_in_words(message)}")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message):
        accepted = _keys(type_at, value)
        hint = suggest(unknown[1], accepted)
        return ObjectError(path, f"unknown key {unknown[1]!r}; accepted: {', '.join(accepted)}{hint}")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", message):
        return ObjectError(path, f"key {missing[1]!r} is missing")
    if message.startswith("Invalid enum value"):
        accepted = [str(item) for item in _literals(type_at)]
        return ObjectError(path, f"{message[19:]} is not known; accepted: {', '.join(accepted)}")
    message = _in_words(message)
    if "a string" in message and isinstance(value, bool | int | float | None):
        message += "; put it in quotes"
    return ObjectError(path, message)


_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "object": "a mapping",
    "array": "a list",
    "datetime": "a date",
    "date": "a date",
    "time": "a time",
}


def _in_words(message: str) -> str:
    def words(match: re.Match[str]) -> str:
        names = match[1].split(" | ")
        return " or ".join(_WORDS.get(name, name) for name in names)

    message = re.sub(r"`([a-z]+(?: \| [a-z]+)*)`", words, message)
    return message[:1].lower() + message[1:]


def _follow(steps: list[tuple[str, str]], data: Any, to: Any) -> tuple[Path, Any, Any]:
    path: Path = ()
    for name, index in steps:
        to = _of(to, data)
        key: str | int
        if name:
            key = name
            child = next((f.type for f in msgspec.structs.fields(to) if f.encode_name == name), Any)
        elif index == "...":
            child = get_args(to)[1]
            key = next((key for key, value in data.items() if not _fits(value, child)), "…")
        else:
            key = int(index)
            arguments = get_args(to)
            child = arguments[0] if arguments else Any
        path = (*path, key)
        data = _item(data, key)
        to = child
    return path, to, data


def _item(data: Any, key: str | int) -> Any:
    try:
        return data[key]
    except (LookupError, TypeError):
        return None


def _fits(value: Any, to: Any) -> bool:
    try:
        msgspec.convert(value, to)
    except msgspec.ValidationError:
        return False
    return True


def _of(to: Any, data: Any) -> Any:
    """The member of a union that `data` was decoded as, without annotations."""
    while get_origin(to) is Annotated:
        to = get_args(to)[0]
    if get_origin(to) in (Union, types.UnionType):
        members = [_of(member, data) for member in get_args(to)]
        if isinstance(data, dict):
            members = [member for member in members if _is_struct(member) or get_origin(member) is dict]
        elif isinstance(data, list):
            members = [member for member in members if get_origin(member) in (tuple, list)]
        return members[0] if members else to
    return to


def _is_struct(to: Any) -> bool:
    return isinstance(to, type) and issubclass(to, Struct)


def _keys(to: Any, data: Any) -> list[str]:
    to = _of(to, data)
    return [field.encode_name for field in msgspec.structs.fields(to)] if _is_struct(to) else []


def _literals(to: Any) -> tuple[Any, ...]:
    if get_origin(to) is Literal:
        return get_args(to)
    return tuple(value for member in get_args(to) for value in _literals(member))
