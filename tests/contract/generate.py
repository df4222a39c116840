"""What is generated in the READMEs. `python -m tests.contract.generate`, in the root of the checkout, writes it anew."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path

import click
import msgspec

import daemun as facade
from daemun import Reason, hookspecs
from daemun.cli.main import main as daemun
from daemun.extend.loading import GROUP, installed, load_plugins
from daemun.extend.registry import Registry
from daemun.settings import DrainSettings, ForwardedSettings, Settings
from daemun.testing.batteries.collecting import BATTERIES
from daemun.testing.batteries.rules import Check, rule_of
from daemun.upstream.activation import WaitingRoomSettings
from daemun.upstream.backend import EndpointsSettings
from daemun.upstream.balance import HashSettings
from daemun.upstream.health import HealthSettings
from daemun.upstream.health_http import HttpHealthSettings
from daemun_http1 import Http1Settings
from daemun_http2 import Http2Settings

from .documents import READMES, ROOT, generated, replaced
from .fields import class_docs, nested, rows, table
from .reference import contents, helps, names

__all__ = ["PARTS", "hook_signatures", "own_plugins"]


def own_plugins() -> list[str]:
    """Names of the installed plugins that this distribution brings."""
    return sorted(name for name, point in installed().items() if point.dist and point.dist.name == GROUP)


def hook_signatures() -> dict[str, str]:
    """The signature of every hook, by its name, as a plugin author writes it."""
    return {
        name: f"{name}{inspect.signature(hook)}".replace("'", "")
        for name, hook in vars(hookspecs).items()
        if name.startswith("daemun_")
    }


def _lines(head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "||") for cells in lines)


def commands() -> str:
    """Every command with the first sentence of its help."""
    context = click.Context(daemun)
    found = []
    for name in daemun.list_commands(context):
        command = daemun.get_command(context, name)
        assert command is not None
        words = " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split())
        usage = [
            parameter.make_metavar(context) for parameter in command.params if isinstance(parameter, click.Argument)
        ]
        found.append((f"`{' '.join(['daemun', name, *usage])}`", words))
    return _lines(("command", "what it does"), found)


def shipped() -> str:
    """Every plugin of this distribution, its package, and what it brings."""
    registry = Registry(load_plugins(only=own_plugins()))
    found = []
    for name in own_plugins():
        module = installed()[name].value
        (path,) = ROOT.glob(f"*/{module}")
        folder = path.relative_to(ROOT)
        brings = [f"{word} `{thing.name}`" for word, things in registry.brings(name).items() for thing in things]
        found.append((f"`{name}`", f"[`{folder}/`](../{folder}/README.md)", ", ".join(brings)))
    return _lines(("plugin", "where", "brings"), found)


_LIMITS: tuple[tuple[str, type[msgspec.Struct], tuple[str, ...]], ...] = (
    ("listeners[].forwarded.{}", ForwardedSettings, ("trusted_hops",)),
    ("protocols.http1.{}", Http1Settings, ("max_head_bytes", "head_timeout_seconds")),
    ("backends.*.settings.{}", EndpointsSettings, ("response_timeout_seconds",)),
    ("backends.*.settings.waiting_room.{}", WaitingRoomSettings, ("max_requests",)),
    ("drain.{}", DrainSettings, ("grace_seconds",)),
)


def limits() -> str:
    """The limits that an operator must know, with their defaults."""
    found = []
    for where, kind, keys in _LIMITS:
        by_key = {row.key: row for row in rows(kind)}
        found += [(f"`{where.format(key)}`", by_key[key].default, by_key[key].words) for key in keys]
    return _lines(("setting", "default", "meaning"), found)


def modules() -> str:
    """The tree of the core: every module with the first sentence of its docstring."""
    lines = ["```text map"]
    core = ROOT / "core" / "daemun"
    for package in [core, *sorted(path.parent for path in core.glob("*/__init__.py"))]:
        inner = package != core
        files = sorted(path for path in package.glob("*.py") if inner or path.name != "__init__.py")
        for file in files:
            path = file.relative_to(ROOT)
            name = f"{path.parent}/" if file.name == "__init__.py" else str(path)
            lines.append(f"{name:<42} {_sentence(file)}")
    return "\n".join([*lines, "```"]) + "\n"


def _sentence(file: Path) -> str:
    words = " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0].split())
    return words.partition(". ")[0].rstrip(".")


def reasons() -> str:
    """Every reason for which an exchange fails."""
    docs = class_docs(Reason)
    found = [(f"`{reason.value}`", str(reason.status), reason.side.value, docs[reason.name]) for reason in Reason]
    return _lines(("label", "status", "who failed", "meaning"), found)


def hooks() -> str:
    """Every hook: its signature and what it is for."""
    return "\n".join(
        f"#### `{signature}`\n\n{inspect.getdoc(vars(hookspecs)[name])}\n"
        for name, signature in hook_signatures().items()
    )


def _structs(*kinds: type[msgspec.Struct]) -> str:
    found = dict.fromkeys(inner for kind in kinds for inner in nested(kind))
    return "\n".join(f"#### `{kind.__name__}`\n\n{inspect.getdoc(kind)}\n\n{table(kind)}" for kind in found)


def core_settings() -> str:
    """The settings file, and the settings of what the core itself brings."""
    return _structs(Settings, EndpointsSettings, HashSettings, HealthSettings, HttpHealthSettings)


def http2_settings() -> str:
    """The settings of HTTP/2."""
    return table(Http2Settings)


def http1_settings() -> str:
    """The settings of HTTP/1."""
    return table(Http1Settings)


def kinds() -> str:
    """What each registration hook returns, and what the `build` of a type is given and gives."""
    found = []
    for name, signature in hook_signatures().items():
        _, _, returned = signature.partition(" -> Iterable[")
        kind = getattr(facade, returned.rstrip("]"), None)
        if kind is None or name == "daemun_route_filters":
            continue
        tree = ast.parse(inspect.getsource(kind)).body[0]
        assert isinstance(tree, ast.ClassDef)
        fields = {node.target.id: node for node in tree.body if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]
        build = ast.unparse(fields["build"].annotation) if "build" in fields else ""
        required = [field for field, node in fields.items() if node.value is None]
        found.append((f"`{name}`", f"`{kind.__name__}({', '.join(required)})`", f"`{build}`" if build else ""))
    return _lines(("hook", "returns", "`build`"), found)


def rules() -> str:
    """The rules of every battery, each with the kinds that it is for."""
    found: dict[Check, list[str]] = {}
    for word, battery in BATTERIES.items():
        for check in battery.checks:
            found.setdefault(check, []).append(word)
    rows = []
    for check, words in found.items():
        missing = BATTERIES.keys() - words
        kinds = ", ".join(words)
        if not missing:
            kinds = "all"
        elif len(missing) <= 2:
            kinds = f"all but {', '.join(word for word in BATTERIES if word in missing)}"
        rows.append((kinds, f"`{check.__name__}`", rule_of(check)))
    return _lines(("of", "rule", "what it says"), rows)


PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("plugins/README.md", "shipped"): shipped,
    ("README.md", "commands"): commands,
    ("README.md", "limits"): limits,
    ("core/README.md", "modules"): modules,
    ("core/README.md", "hooks"): hooks,
    ("core/README.md", "reasons"): reasons,
    ("core/README.md", "settings"): core_settings,
    ("core/daemun/README.md", "contents"): contents,
    ("core/daemun/README.md", "names"): names,
    ("core/daemun/cli/README.md", "helps"): helps,
    ("plugins/README.md", "kinds"): kinds,
    ("plugins/README.md", "rules"): rules,
    ("protocols/daemun_http1/README.md", "settings"): http1_settings,
    ("protocols/daemun_http2/README.md", "settings"): http2_settings,
}
"""Every generated part, by document and name."""


def write() -> None:
    """Writes every generated part anew."""
    for readme in READMES:
        text = readme.read_text()
        for name in generated(readme):
            text = replaced(text, name, PARTS[str(readme.relative_to(ROOT)), name]())
        readme.write_text(text)


if __name__ == "__main__":
    write()
