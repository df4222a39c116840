"""The READMEs of the repository: their code blocks, and the parts that are generated from the code.

A block says in its first line, a comment, what it is, `KIND: FILE`; FILE is its name in the folder in which the README's
commands run.

yaml, toml   `settings` (a settings file), `document` (routes for the source `file`), `project` (a pyproject.toml)
python       `plugin` (a plugin module), `script` (a program that must end well)
xml          `wsdl` (what describes a SOAP service), `message` (what a client sends)
console      `$ command` with the expected output; `...` stands for anything
text         nothing is run; with the word `map` in the info string, each line begins with a path that exists
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["KINDS", "READMES", "ROOT", "Block", "blocks", "generated", "replaced"]

ROOT = Path(__file__).resolve().parents[2]

READMES = sorted(
    path
    for pattern in ("README.md", "*/README.md", "*/*/README.md", "core/daemun/*/README.md")
    for path in ROOT.glob(pattern)
    if not path.relative_to(ROOT).parts[0].startswith(".")
)

KINDS = {
    "yaml": ("settings", "document"),
    "toml": ("settings", "document", "project"),
    "python": ("plugin", "script"),
    "xml": ("wsdl", "message"),
}
"""What a block of each language that holds a file may be."""

_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FIRST_LINE = re.compile(r"(?:#|<!--) (\w+): (\S+)(?: -->)?\n")
_GENERATED = re.compile(r"^<!-- generated: (\w+) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block."""

    readme: Path
    line: int
    language: str
    text: str
    kind: str
    """What its first line says that it is; "" if it says nothing."""
    file: str

    @property
    def where(self) -> str:
        """For the names of tests."""
        return f"{self.readme.relative_to(ROOT)}:{self.line}"


def blocks(readme: Path) -> list[Block]:
    """The blocks of a README, in order."""
    text = readme.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        first = _FIRST_LINE.match(match[2])
        kind, file = first.groups() if first else ("", "")
        found.append(Block(readme, text.count("\n", 0, match.start()) + 1, match[1], match[2], kind, file))
    return found


def generated(readme: Path) -> dict[str, str]:
    """The generated parts of a README, by name."""
    return dict(_GENERATED.findall(readme.read_text()))


def replaced(text: str, name: str, part: str) -> str:
    """`text` with another generated part `name`."""
    begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
    before, mark, rest = text.partition(begin)
    return f"{before}{mark}{part}{end}{rest.partition(end)[2]}"
