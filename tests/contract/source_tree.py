"""The modules of the four roots, and what each imports when it is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

__all__ = ["REPOSITORY", "ROOTS", "Module", "modules", "packages"]

REPOSITORY = Path(__file__).resolve().parents[2]
ROOTS = ("core", "protocols", "plugins", "contrib")


class Module:
    """One module, read and not imported."""

    def __init__(self, root: str, path: Path) -> None:
        self.root = root
        self.path = path
        parts = path.relative_to(REPOSITORY / root).with_suffix("").parts
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.package = parts[0]
        self.tree = ast.parse(path.read_text())

    def __repr__(self) -> str:
        return self.name

    def imports(self) -> Iterator[tuple[str, str]]:
        """Modules that importing this one imports, each with the name taken from it; "": the module itself."""
        for statement in _at_import(self.tree.body):
            if isinstance(statement, ast.Import):
                yield from ((alias.name, "") for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom):
                assert statement.level == 0, f"{self.name}: a relative import"
                yield from ((statement.module or "", alias.name) for alias in statement.names)

    def every_import(self) -> Iterator[tuple[str, str]]:
        """The same, with those inside of functions and those for type checkers."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((node.module or "", alias.name) for alias in node.names)


def _at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run at import, without those for type checkers."""
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from _at_import(statement.orelse)
            continue
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for field in ("body", "orelse", "finalbody"):
            yield from _at_import(getattr(statement, field, []))
        for handler in getattr(statement, "handlers", []):
            yield from _at_import(handler.body)


def packages() -> list[Path]:
    """The folders of all packages that ship."""
    return sorted(folder.parent for root in ROOTS for folder in (REPOSITORY / root).glob("*/__init__.py"))


def modules() -> list[Module]:
    """Every module that ships."""
    return [Module(package.parent.name, path) for package in packages() for path in sorted(package.rglob("*.py"))]
