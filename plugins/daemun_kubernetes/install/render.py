"""Manifests as YAML: keys in the order in which they were written, so that equal plans give equal bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

__all__ = ["render", "render_all"]


_NUMBER = re.compile(r"[-+]?\.?[0-9][0-9a-fA-FxoO_.:+-]*")
_WORDS = frozenset("yYnN")


class _Dumper(yaml.SafeDumper):
    """No anchors and aliases: whoever reads it need not look up."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    """Quoted also where only other readers than PyYAML would take it for a boolean or a number: `y`, `12e4`."""
    style = "|" if "\n" in text else "'" if _NUMBER.fullmatch(text) or text in _WORDS else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def render(document: Any) -> str:
    """One document."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000)
    return text


def render_all(documents: Iterable[tuple[dict[str, Any], str]]) -> str:
    """A stream for `kubectl apply -f -`: each document below what a person should know of it, which may be nothing."""
    parts = []
    for document, comment in documents:
        lines = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
        parts.append(f"---\n{lines}{render(document)}")
    return "".join(parts)
