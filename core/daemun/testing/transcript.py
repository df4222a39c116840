r"""What both ends of a wire protocol say, byte for byte, as a text that a person can read.

    > PING a\r\n
    < PONG ...\r\n
    >|
    <|

`> ` is sent by the client and `< ` is what the gateway must say; `>|` and `<|`: it says no more. Bytes stand as in C:
`\r`, `\n`, `\t`, `\0`, `\\`, `\xHH`; the end of a line is none of them. `...` in what the gateway says stands for any
bytes, also none. `>` and `<` alone say nothing. Indentation, empty lines and lines with `#` do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import ndiff
from itertools import groupby
from types import ModuleType
from typing import Any, NamedTuple

from daemun.extend.types import BackendType, NoSettings
from daemun.extend.wire import WireProtocol
from daemun.handler import Handler
from daemun.message import Buffered, Request, Response
from daemun.routing.spec import BackendSpec, Forward, RouteSpec, Split
from daemun.testing.inside import in_memory
from daemun.testing.plugins import built, make_plugin
from daemun.testing.routes import HandSource
from daemun.testing.wire import CutOff, Wire

__all__ = ["Line", "escaped", "read_transcript", "transcript"]

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.|$)", re.DOTALL)
_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
_SPELLED = {ord(character): f"\\{letter}" for letter, character in _ESCAPES.items()}
_ANY = "..."


class Line(NamedTuple):
    """One line of a transcript."""

    number: int
    """From 1."""
    sent: bool
    """The client says it."""
    parts: tuple[bytes, ...]
    """What is said; between two parts there are any bytes."""
    end: bool = False
    """Nothing more is said."""

    def __str__(self) -> str:
        mark = ">" if self.sent else "<"
        return f"{mark}|" if self.end else f"{mark} {_ANY.join(map(escaped, self.parts))}"


async def transcript(
    protocol: WireProtocol,
    text: str,
    handler: Handler | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    plugins: Iterable[ModuleType] = (),
    only: Iterable[str] = (),
) -> None:
    """Plays `text` on one connection to a gateway that speaks `protocol`, with its `settings`.

    Every request goes to `handler`; without one it is answered with 200 and `ok`. `plugins` and the installed ones that
    `only` names may add what the protocol needs beside it, such as a dialect. Raises `AssertionError` that shows where
    the gateway said something else, `ValueError` for a text that is no transcript.
    """
    lines = read_transcript(text)
    backend = BackendType("transcript", NoSettings, built(handler or _answer_ok))
    source = HandSource()
    plugin = make_plugin("transcript", daemun_backends=lambda: [backend], daemun_protocols=lambda: [protocol])
    whole = {
        **source.settings,
        "listeners": [{"name": "transcript", "protocols": [protocol.name]}],
        "protocols": {protocol.name: dict(settings or {})},
    }
    async with in_memory(whole, plugins=[plugin, source.plugin, *plugins], only=only) as gateway:
        await source.publish(
            RouteSpec("all", action=Forward((Split("all"),))), backends=[BackendSpec("all", type="transcript")]
        )
        await _play(lines, await gateway.connect())


async def _answer_ok(request: Request) -> Response:
    return Response(200, (), Buffered(b"ok"))


async def _play(lines: tuple[Line, ...], wire: Wire) -> None:
    loose = False
    for sent, group in groupby(lines, lambda line: line.sent):
        said = tuple(group)
        if sent:
            await _send(said, wire)
        else:
            loose = await _expect(said, wire, loose)
    if wire.received and not loose:
        raise AssertionError(f"after the transcript the gateway said more: {escaped(wire.received)}")


async def _send(said: tuple[Line, ...], wire: Wire) -> None:
    for line in said:
        try:
            if line.end:
                await wire.finish()
            else:
                await wire.send(line.parts[0])
        except CutOff:
            raise AssertionError(f"line {line.number}: the gateway has ended the connection before: {line}") from None


async def _expect(said: tuple[Line, ...], wire: Wire, loose: bool) -> bool:
    """Reads what was said; `loose`: any bytes may come before. Whether any bytes may follow."""
    ends, parts = said[-1].end, [b"", b""] if loose else [b""]
    for line in said:
        if not line.end:
            parts[-1:] = [parts[-1] + line.parts[0], *line.parts[1:]]
    pattern = re.compile(b".*?".join(map(re.escape, parts)), re.DOTALL)
    try:
        while ends or not pattern.match(wire.received):
            if not _may_match(wire.received, parts, ends) or not await wire.more():
                break
    except TimeoutError:
        raise _difference(said, wire, "and then there was silence") from None
    except CutOff:
        raise _difference(said, wire, "and the connection was reset") from None
    found = pattern.fullmatch(wire.received) if ends else pattern.match(wire.received)
    if found is None or (ends and not wire.ended):
        raise _difference(said, wire)
    wire.received = wire.received[found.end() :]
    return len(parts) > 1 and not parts[-1] and not ends


def _may_match(came: bytes, parts: list[bytes], ends: bool) -> bool:
    """Whether what came may become what was expected, as far as that can be told."""
    first, count = parts[0], min(len(came), len(parts[0]))
    return came[:count] == first[:count] and not (ends and len(parts) == 1 and len(came) > len(first))


def _difference(said: tuple[Line, ...], wire: Wire, how: str = "") -> AssertionError:
    expected = [str(line) for line in said]
    received = [f"< {escaped(piece)}" for piece in wire.received.splitlines(keepends=True)]
    received += ["<|"] * (wire.ended and not how)
    where = f"line {said[0].number}" if len(said) == 1 else f"lines {said[0].number} to {said[-1].number}"
    lines = [f"{where}: the gateway said something else (- as written, + as it came)", *_compared(expected, received)]
    return AssertionError("\n".join(lines + [how] * bool(how)))


def _compared(expected: list[str], received: list[str]) -> list[str]:
    """Both as a difference, in which a line with `...` is that which it stands for, if there is one."""
    patterns = [_as_pattern(line) for line in expected]
    known = [
        next((other for other in received if pattern.fullmatch(other)), line) if _ANY in line else line
        for line, pattern in zip(expected, patterns, strict=True)
    ]
    return [line.rstrip("\n") for line in ndiff(known, received) if not line.startswith("? ")]


def _as_pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*?".join(map(re.escape, line.split(_ANY))), re.DOTALL)


def read_transcript(text: str) -> tuple[Line, ...]:
    """The lines of a transcript. Raises `ValueError` that names the line which is none."""
    lines = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip("\r\t ") if raw.lstrip()[:2] in (">|", "<|") else raw.lstrip("\t ").removesuffix("\r")
        if not line.strip() or line.startswith("#"):
            continue
        mark, rest = line[:1], line[1:]
        if mark not in ("<", ">") or not (rest in ("", "|") or rest.startswith(" ")):
            raise ValueError(
                f"line {number} is no line of a transcript: {line!r} (accepted: '> ', '< ', '>|', '<|', '#')"
            )
        if rest == "|":
            lines.append(Line(number, mark == ">", (), end=True))
            continue
        pieces = [rest[1:]] if mark == ">" else rest[1:].split(_ANY)
        lines.append(Line(number, mark == ">", tuple(_unescaped(piece, number) for piece in pieces)))
    ended: set[bool] = set()
    for one in lines:
        if one.sent in ended:
            raise ValueError(f"line {one.number}: nothing more is said on this side, as a line before says")
        if one.end:
            ended.add(one.sent)
    return tuple(lines)


def _unescaped(text: str, number: int) -> bytes:
    def meant(found: re.Match[str]) -> str:
        name = found[1]
        if name in _ESCAPES:
            return _ESCAPES[name]
        if len(name) == 3:
            return chr(int(name[1:], 16))
        accepted = ", ".join(f"\\{letter}" for letter in _ESCAPES)
        raise ValueError(f"line {number}: unknown escape {found[0]!r} (accepted: {accepted}, \\xHH)")

    try:
        return _ESCAPE.sub(meant, text).encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"line {number}: {text!r} has a character that is no byte; write its bytes as \\xHH") from None


def escaped(data: bytes) -> str:
    """`data` as it stands in a transcript."""
    text = "".join(_SPELLED.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}") for byte in data)
    dot = "\\x2e"  # beside a gap it would be a part of it
    return re.sub(r"^\.|\.$", lambda _: dot, text.replace(_ANY, dot * 3))
