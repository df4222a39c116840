"""The public names of a package as its source has them: signature, members and words of each, nothing evaluated."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

__all__ = ["Member", "PublicName", "fixtures", "public_names", "undescribed"]

_ENTERED = {"asynccontextmanager": "async with ", "contextmanager": "with "}
_SHOWN_CODE_CHARACTERS = 300
_PACKAGES = ("daemun", "daemun.testing", "daemun.testing.batteries")
_USED_BY_SYNTAX = {
    f"__{name}__" for name in ["getitem", "setitem", "delitem", "contains", "iter", "len", "call", "enter", "aenter"]
}


class Member(NamedTuple):
    """A field, a member of an enum, an attribute, a property or a method."""

    name: str
    code: str
    words: str


class PublicName(NamedTuple):
    """One name that a package lists in `__all__`."""

    name: str
    module: str
    """Where it is defined."""
    code: str
    words: str
    members: tuple[Member, ...]


@cache
def public_names(package: str) -> dict[str, PublicName]:
    """Every public name of `package`, in the order of its `__all__`."""
    names = importlib.import_module(package).__all__
    return {name: _read(name, *_found(package, name)) for name in names}


def fixtures() -> dict[str, PublicName]:
    """The fixtures of our pytest plugin: the name of each with what it gives."""
    found = {}
    for statement in _tree("daemun_pytest").body:
        if isinstance(statement, ast.FunctionDef) and "pytest.fixture" in map(ast.unparse, statement.decorator_list):
            gives = re.sub(r"^Iterator\[(.*)\]$", r"\1", _unparsed(statement.returns)) if statement.returns else "Any"
            words = ast.get_docstring(statement) or ""
            found[statement.name] = PublicName(statement.name, "daemun_pytest", f"{statement.name}: {gives}", words, ())
    return found


def undescribed() -> Iterator[str]:
    """Public names and members that nothing describes, `MODULE.NAME.MEMBER` each. The docstring of its class describes
    a member too, if it names it in backquotes."""
    for names in (*map(public_names, _PACKAGES), fixtures()):
        for one in names.values():
            if not one.words:
                yield f"{one.module}.{one.name}"
            told = one.words + "".join(member.words for member in one.members if member.name == one.name)
            for member in one.members:
                if not member.words and member.name != one.name and f"`{member.name}`" not in told:
                    yield f"{one.module}.{one.name}.{member.name}"


# --- where it stands ---


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def _found(module: str, name: str) -> tuple[str, list[ast.stmt]]:
    """The module that defines `name`, and its statement there with the one that follows."""
    body = _tree(module).body
    for at, statement in enumerate(body):
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if name == (alias.asname or alias.name):
                    return _found(str(statement.module), alias.name)
        elif name in _names(statement):
            return module, body[at : at + 2]
    raise LookupError(f"{module} does not define {name}")


def _names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [statement.name]
    if isinstance(statement, ast.AnnAssign):
        return [_target(statement.target)]
    return [_target(target) for target in statement.targets] if isinstance(statement, ast.Assign) else []


def _target(node: ast.expr) -> str:
    """The name that is assigned to; that of an attribute of `self` too."""
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _words_after(statements: list[ast.stmt]) -> str:
    """The docstring that follows an assignment."""
    after = statements[1] if len(statements) > 1 else None
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
        return inspect.cleandoc(after.value.value)
    return ""


# --- what it says ---


def _read(name: str, module: str, statements: list[ast.stmt]) -> PublicName:
    statement = statements[0]
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return PublicName(name, module, _signature(statement), ast.get_docstring(statement) or "", ())
        case ast.ClassDef():
            bases = ", ".join(map(_unparsed, (*statement.bases, *statement.keywords)))
            head = f"class {statement.name}({bases})" if bases else f"class {statement.name}"
            members = tuple(_inherited(module, statement))
            return PublicName(name, module, head, ast.get_docstring(statement) or "", members)
    code = _assigned(statement)
    if code.endswith(" = …"):
        code = f"{name}: {type(getattr(importlib.import_module(module), name)).__name__}"
    return PublicName(name, module, code, _words_after(statements), ())


def _inherited(module: str, tree: ast.ClassDef) -> Iterator[Member]:
    """The members of a class, and those of ours that it inherits from classes without a public name."""
    own = list(_members(tree))
    yield from own
    kind = getattr(importlib.import_module(module), tree.name)
    seen = {member.name for member in own}
    public = {name for package in _PACKAGES for name in importlib.import_module(package).__all__}
    for base in kind.__mro__[1:]:
        if not base.__module__.startswith("daemun.") or base.__name__ in public:
            continue
        _, (statement, *_) = _found(base.__module__, base.__name__)
        assert isinstance(statement, ast.ClassDef)
        yield from (member for member in _members(statement) if member.name not in {*seen, base.__name__})


def _members(tree: ast.ClassDef) -> Iterator[Member]:
    for at, statement in enumerate(tree.body):
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            for name in _names(statement):
                if not name.startswith("_"):
                    words = _words_after(tree.body[at : at + 2]) or _described(statement)
                    yield Member(name, _assigned(statement), words)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            words = ast.get_docstring(statement) or ""
            if statement.name == "__init__":
                if words or list(_parameters(statement.args)):
                    yield Member(tree.name, _signature(statement, called=tree.name), words)
                yield from _attributes(statement)
            elif not statement.name.startswith("_") or statement.name in _USED_BY_SYNTAX:
                yield Member(statement.name, _signature(statement), words)


def _attributes(init: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Member]:
    """What `__init__` assigns to `self`. The type of an attribute is its own, or that of the parameter of its name."""
    arguments = init.args
    types = {one.arg: one.annotation for one in (*arguments.args, *arguments.kwonlyargs) if one.annotation}
    for at, statement in enumerate(init.body):
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            continue
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else statement.targets
        for target in targets:
            inner = target.elts if isinstance(target, ast.Tuple) else [target]
            for one in inner:
                name = _target(one)
                if not isinstance(one, ast.Attribute) or not name or name.startswith("_"):
                    continue
                annotation = statement.annotation if isinstance(statement, ast.AnnAssign) else None
                if annotation is None and isinstance(statement.value, ast.Name):
                    annotation = types.get(statement.value.id)
                code = f"{name}: {_unparsed(annotation)}" if annotation else name
                if annotation is None and isinstance(statement.value, ast.Constant):
                    code = f"{name}: {type(statement.value.value).__name__}"
                yield Member(name, code, _words_after(init.body[at : at + 2]))


def _signature(function: ast.FunctionDef | ast.AsyncFunctionDef, called: str = "") -> str:
    """A function as a person writes it; `called` for a constructor."""
    marks = {ast.unparse(one).rpartition(".")[2] for one in function.decorator_list}
    returned = function.returns
    gives = _unparsed(returned) if returned else "Any"
    if marks & {"property", "cached_property"}:
        return f"@property {function.name}: {gives}"
    head = f"{called or function.name}({', '.join(_parameters(function.args))})"
    for mark, entered in _ENTERED.items():
        if mark in marks:
            assert isinstance(returned, ast.Subscript)
            yielded = _unparsed(returned.slice.elts[0] if isinstance(returned.slice, ast.Tuple) else returned.slice)
            return f"{entered}{head}" + ("" if yielded == "None" else f" as {yielded}")
    first = "async " if isinstance(function, ast.AsyncFunctionDef) else ""
    first += "".join(f"@{mark} " for mark in ("classmethod", "staticmethod") if mark in marks)
    return first + head + (f" -> {gives}" if returned and not called else "")


def _parameters(arguments: ast.arguments) -> Iterator[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for at, (one, default) in enumerate(zip(positional, defaults, strict=True)):
        if at or one.arg not in ("self", "cls"):
            yield _parameter(one, default)
        if at + 1 == len(arguments.posonlyargs):
            yield "/"
    if arguments.vararg:
        yield "*" + _parameter(arguments.vararg, None)
    elif arguments.kwonlyargs:
        yield "*"
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _parameter(one, default)
    if arguments.kwarg:
        yield "**" + _parameter(arguments.kwarg, None)


def _parameter(one: ast.arg, default: ast.expr | None) -> str:
    text = f"{one.arg}: {_unparsed(one.annotation)}" if one.annotation else one.arg
    if default is None:
        return text
    return f"{text} = {_unparsed(default)}" if one.annotation else f"{text}={_unparsed(default)}"


def _assigned(statement: ast.stmt) -> str:
    """An assignment as it stands; one that is long, or that begins with what is private, up to its type."""
    code = _unparsed(statement)
    if isinstance(statement, ast.AnnAssign) and statement.value and ast.unparse(statement.value).startswith("_"):
        return f"{_unparsed(statement.target)}: {_unparsed(statement.annotation)} = …"
    return code if len(code) <= _SHOWN_CODE_CHARACTERS else f"{code.partition(' = ')[0]} = …"


def _described(statement: ast.Assign | ast.AnnAssign) -> str:
    """The description in `Annotated[…, Meta(description=…)]`."""
    for node in ast.walk(statement):
        if isinstance(node, ast.keyword) and node.arg == "description" and isinstance(node.value, ast.Constant):
            return str(node.value.value)
    return ""


def _unparsed(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if '"' in text else text.replace("'", '"')
