"""Settings structs as rows of a table: key, type, default, description, all from the code."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect as types

__all__ = ["Row", "class_docs", "nested", "rows", "table", "undescribed_fields"]


class Row(NamedTuple):
    """One key of a settings struct."""

    key: str
    type: str
    default: str
    words: str


def class_docs(kind: type[Any]) -> dict[str, str]:
    """The docstrings below the fields or members of a class, by name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for statement, after in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
            continue
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            docs[statement.target.id] = " ".join(str(after.value.value).split())
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            docs[statement.targets[0].id] = " ".join(str(after.value.value).split())
    return docs


def rows(kind: type[msgspec.Struct]) -> list[Row]:
    """The keys of a struct. Raises `LookupError` for one that nothing describes."""
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    docs = class_docs(kind)
    found = []
    for field in info.fields:
        words = docs.get(field.name) or _description(field.type)
        if not words:
            raise LookupError(f"{kind.__name__}.{field.name} has neither a docstring nor a description")
        found.append(Row(field.encode_name, _type(field.type), _default(field), words))
    return found


def undescribed_fields(kind: type[msgspec.Struct]) -> list[str]:
    """The fields of a struct, and of those inside it, that nothing describes."""
    found = []
    for one in nested(kind):
        info, docs = types.type_info(one), class_docs(one)
        assert isinstance(info, types.StructType)
        found += [f"{one.__name__}.{f.name}" for f in info.fields if not (docs.get(f.name) or _description(f.type))]
    return found


def table(kind: type[msgspec.Struct]) -> str:
    """The keys of a struct, as a table."""
    lines = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [f"| `{row.key}` | {row.type} | {row.default} | {row.words} |".replace("| |", "||") for row in rows(kind)]
    return "\n".join(lines) + "\n"


def nested(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """`kind`, and the structs inside it."""
    yield kind
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    for field in info.fields:
        for inner in _inside(field.type):
            if isinstance(inner, types.StructType):
                yield from nested(inner.cls)


def _inside(info: types.Type) -> Iterator[types.Type]:
    yield info
    for part in getattr(info, "types", ()):
        yield from _inside(part)
    for name in ("type", "item_type", "value_type"):
        part = getattr(info, name, None)
        if isinstance(part, types.Type):
            yield from _inside(part)


def _description(info: types.Type) -> str:
    for part in _inside(info):
        if isinstance(part, types.Metadata) and part.extra_json_schema:
            return str(part.extra_json_schema.get("description", ""))
    return ""


def _type(info: types.Type) -> str:
    match info:
        case types.Metadata():
            return _type(info.type)
        case types.StrType():
            return "text"
        case types.BoolType():
            return "true, false"
        case types.IntType() | types.FloatType():
            return _bounded("integer" if isinstance(info, types.IntType) else "number", info)
        case types.LiteralType():
            return ", ".join(f"`{value}`" for value in info.values)
        case types.VarTupleType():
            return f"list of {_type(info.item_type)}"
        case types.DictType():
            return "mapping"
        case types.StructType():
            return f"`{info.cls.__name__}`"
        case types.UnionType():
            return " or ".join(_type(part) for part in info.types if not isinstance(part, types.NoneType))
        case types.AnyType():
            return "anything"
    raise TypeError(f"no word for {info!r}")


def _bounded(word: str, info: types.IntType | types.FloatType) -> str:
    bounds = (("> ", info.gt), ("≥ ", info.ge), ("< ", info.lt), ("≤ ", info.le))
    return ", ".join([word, *(f"{sign}{value:g}" for sign, value in bounds if value is not None)])


def _default(field: types.Field) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, msgspec.Struct) or value is None:
        return ""
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return f"`{msgspec.json.encode(value).decode()}`"
