"""Transcripts of wire protocols: how they are read, and what they say of a gateway that says something else."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from daemun import Buffered, Exchange, Request, Response, Sniff, WireProtocol
from daemun.testing import transcript, virtual_backends
from daemun.testing.transcript import Line, escaped, read_transcript

pytestmark = pytest.mark.anyio


@pytest.fixture(params=virtual_backends)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class ShoutSettings(Struct, frozen=True):
    """Of the protocol of these tests."""

    end: str = "."


async def _serve(stream: Any, connection: Any, settings: ShoutSettings) -> None:
    """Lines: each is a request, and the answer its content in capitals."""
    received = b""
    line = b""
    while line != b"bye":
        while b"\n" not in received:
            received += await stream.receive()
        line, _, received = received.partition(b"\n")

        async def respond(response: Response) -> None:
            await stream.send((await response.body.read()).upper() + settings.end.encode() + b"\n")

        request = Request(b"GET", b"/" + line, b"a.test", (), Buffered(line), Exchange(connection.peer))
        await connection.run_exchange(request, respond)


async def _connect(*_: Any) -> Any:
    raise AssertionError("nobody is dialled")


SHOUT = WireProtocol("shout", ShoutSettings, (), lambda first: Sniff.YES, _serve, _connect)


async def echo(request: Request) -> Response:
    """Answers with what came."""
    return Response(200, (), Buffered(await request.body.read()))


async def test_what_is_as_written_passes() -> None:
    await transcript(
        SHOUT,
        r"""
        # a line, and two at once
        > he
        > llo\n
        < HELLO.\n
        > a\nb\n
        < A.\nB.\n

        > \x7b\\\t\n
        < {\\\t.\n
        >|
        <|
        """,
        echo,
    )


async def test_anything_may_come_where_it_is_written() -> None:
    await transcript(SHOUT, "> hello world\\n\n< H...O...D.\\n\n> a\\n\n< ...\\n\n> b\\n\n< B...", echo)
    await transcript(SHOUT, "> a\\n\n< ...\n> b\\n\n< B.\\n\n>|\n< ...\n<|", echo)


async def test_settings_are_of_the_protocol_and_without_a_handler_it_is_ok() -> None:
    await transcript(SHOUT, "> x\\n\n< OK!?\\n", settings={"end": "!?"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("> hello\\n\n< HELLO!\\n", ["line 2: the gateway said", r"- < HELLO!\n", r"+ < HELLO.\n"]),
        (
            "> a\\nb\\nc\\n\n< A.\\n\n< X.\\n\n< C.\\n",
            ["lines 2 to 4", r"  < A.\n", r"- < X.\n", r"+ < B.\n"],
        ),
        ("> a\\n\n< A...Z\\n", [r"- < A...Z\n", r"+ < A.\n", "silence"]),
        ("> a\\n\n< A.\\n\n>|\n< more\n<|", ["lines 4 to 5", "- < more", "  <|"]),
        ("> a\\n\n< A.\\n\n<|", ["lines 2 to 3", "- <|", "silence"]),
        ("> a\\nb\\n\n< A.\\n\n>|\n<|", ["line 4", r"+ < B.\n", "- <|"]),
        ("> a\\nbye\\n\n< A.\\n\n< BYE.\\n\n< Z", [r"- < Z", "+ <|"]),
    ],
)
async def test_what_is_not_fails_with_the_difference(text: str, words: list[str]) -> None:
    with pytest.raises(AssertionError) as caught:
        await transcript(SHOUT, text, echo)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("> a\nhello", "line 2 is no line of a transcript: 'hello'"),
        ("<a", "line 1 is no line"),
        ("> a\\q", r"line 1: unknown escape '\\\\q'"),
        ("> a\\", "line 1: unknown escape"),
        ("> \\x4", "line 1: unknown escape"),
        ("> €", "line 1: '€' has a character that is no byte"),
        (">|\n< a\n> b", "line 3: nothing more is said on this side"),
    ],
)
def test_a_text_that_is_no_transcript_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_transcript(text)


def test_an_empty_line_needs_no_blank_at_its_end() -> None:
    assert read_transcript(">\n<\r\n>  \n") == (Line(1, True, (b"",)), Line(2, False, (b"",)), Line(3, True, (b" ",)))


def test_lines_keep_their_number_and_their_ends_of_bytes() -> None:
    text = "\n  # nothing\n  > a  \n\n  < b...c\n  <|\n"
    assert read_transcript(text) == (
        Line(3, True, (b"a  ",)),
        Line(5, False, (b"b", b"c")),
        Line(6, False, (), end=True),
    )


@given(st.binary())
def test_any_bytes_can_be_written_and_read(data: bytes) -> None:
    assert read_transcript(f"> {escaped(data)}") == (Line(1, True, (data,)),)
    assert read_transcript(f"< {escaped(data)}") == (Line(1, False, (data,)),)


@given(st.lists(st.tuples(st.booleans(), st.lists(st.binary(), min_size=1, max_size=3)), max_size=5))
def test_what_was_read_is_written_as_it_was(said: list[tuple[bool, list[bytes]]]) -> None:
    lines = tuple(
        Line(number, sent, tuple(parts[:1] if sent else parts)) for number, (sent, parts) in enumerate(said, 1)
    )
    text = "\n".join(map(str, lines))
    assert read_transcript(text) == lines
    assert read_transcript(textwrap.indent(text, "   ")) == lines


@given(st.text(alphabet=st.sampled_from("<>|. \\xr0a#\n\té")))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        lines = read_transcript(text)
    except ValueError as error:
        assert str(error).startswith("line ")
    else:
        assert all(1 <= line.number <= text.count("\n") + 1 for line in lines)
