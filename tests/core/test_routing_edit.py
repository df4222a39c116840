"""Fields set, added and removed; hosts, paths and prefixes rewritten."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import (
    Forward,
    HeaderEdit,
    Headers,
    PathKind,
    PathMatch,
    Request,
    Response,
    RouteSpec,
    Split,
)
from daemun.routing.edit import edit_headers, header_editor, rewrite_target, rewriter
from daemun.testing import make_request

NAMES = ["x-a", "x-b", "x-c"]
fields = st.lists(
    st.tuples(st.sampled_from([name.encode() for name in NAMES]), st.sampled_from([b"1", b"2"])), max_size=6
).map(tuple)
names = st.sampled_from([*NAMES, "X-A"])
edits = st.builds(
    HeaderEdit,
    set=st.dictionaries(names, st.sampled_from(["s", ""]), max_size=2),
    add=st.dictionaries(names, st.sampled_from(["t"]), max_size=2),
    remove=st.lists(names, max_size=2).map(tuple),
)


def forwarding(path: str = "/", kind: PathKind = PathKind.SEGMENT_PREFIX, **changes: Any) -> RouteSpec:
    return RouteSpec("r", Forward((Split("b"),)), path=PathMatch(kind, path), **changes)


@given(edits, fields)
def test_removes_then_sets_then_adds(edit: HeaderEdit, headers: Headers) -> None:
    edited = (header_editor(edit) or (lambda same: same))(headers)
    removed = {name.lower().encode() for name in edit.remove}
    put = {name.lower().encode() for name in edit.set}
    kept = [pair for pair in headers if pair[0] not in removed | put]
    assert list(edited[: len(kept)]) == kept
    assert sorted(edited[len(kept) :]) == sorted(
        (name.lower().encode(), value.encode()) for name, value in (*edit.set.items(), *edit.add.items())
    )


def test_an_edit_that_changes_nothing_is_no_layer() -> None:
    assert header_editor(HeaderEdit()) is None
    assert edit_headers(forwarding()) is None
    assert rewriter(forwarding()) is None
    assert rewrite_target(forwarding()) is None


@pytest.mark.parametrize("name", ["", "x y", "x:", "é", "x\n"])
def test_what_is_no_field_name_is_refused(name: str) -> None:
    for edit in (HeaderEdit(set={name: "v"}), HeaderEdit(add={name: "v"}), HeaderEdit(remove=(name,))):
        with pytest.raises(ValueError, match="is no field name"):
            header_editor(edit)


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "connection", "upgrade", "trailer"])
def test_a_field_of_the_connection_cannot_be_edited(name: str) -> None:
    with pytest.raises(ValueError, match="belongs to the connection"):
        header_editor(HeaderEdit(set={name: "v"}))


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "\0", "\x7f", "\x1b"])
def test_a_control_character_in_a_value_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        header_editor(HeaderEdit(add={"x": value}))


def test_a_tab_in_a_value_is_taken() -> None:
    editor = header_editor(HeaderEdit(set={"x": "a\tb"}))
    assert editor is not None
    assert editor(()) == ((b"x", b"a\tb"),)


async def test_requests_are_edited_on_the_way_in_and_responses_on_the_way_out() -> None:
    seen: list[Request] = []

    async def answer(request: Request) -> Response:
        seen.append(request)
        return Response(200, ((b"server", b"up"), (b"x-a", b"1")))

    layer = edit_headers(
        forwarding(
            request_headers=HeaderEdit(set={"X-To": "up"}),
            response_headers=HeaderEdit(remove=("Server",), add={"x-a": "2"}),
        )
    )
    assert layer is not None
    response = await layer(answer)(make_request(headers=((b"x-to", b"client"),)))
    assert seen[0].headers == ((b"x-to", b"up"),)
    assert response.headers == ((b"x-a", b"1"), (b"x-a", b"2"))


@pytest.mark.parametrize(
    ("spec", "target", "rewritten"),
    [
        (forwarding(rewrite_path="/new"), b"/old/a?q=1", b"/new?q=1"),
        (forwarding(rewrite_path="/new"), b"/old", b"/new"),
        (forwarding("/a", rewrite_prefix="/b"), b"/a/c?q", b"/b/c?q"),
        (forwarding("/a", rewrite_prefix="/b"), b"/a", b"/b"),
        (forwarding("/a", rewrite_prefix="/b"), b"/a?q", b"/b?q"),
        (forwarding("/a/", rewrite_prefix="/b/"), b"/a/c", b"/b/c"),
        (forwarding("/a", rewrite_prefix="/"), b"/a/c", b"/c"),
        (forwarding("/a", rewrite_prefix=""), b"/a?q", b"/?q"),
        (forwarding("/", rewrite_prefix="/b"), b"/c", b"/b/c"),
        (forwarding("/", rewrite_prefix="/b"), b"/", b"/b/"),
        (forwarding("/a/", PathKind.RAW_PREFIX, rewrite_prefix="/b"), b"/a/c", b"/b/c"),
        (forwarding("/a", PathKind.EXACT, rewrite_prefix="/b"), b"/a?q", b"/b?q"),
    ],
)
def test_targets_are_rewritten(spec: RouteSpec, target: bytes, rewritten: bytes) -> None:
    rewrite = rewrite_target(spec)
    assert rewrite is not None
    assert rewrite(target) == rewritten


@given(
    st.sampled_from(["/", "/a", "/a/", "/a/b"]),
    st.sampled_from(["", "/", "/x", "/x/"]),
    st.sampled_from(["", "/", "/c", "/c//d"]),
    st.sampled_from(["", "?", "?q=/a"]),
)
def test_a_rewritten_prefix_leaves_a_path_with_its_query(prefix: str, new: str, rest: str, query: str) -> None:
    rewrite = rewrite_target(forwarding(prefix, rewrite_prefix=new))
    assert rewrite is not None
    rewritten = rewrite((prefix.rstrip("/") + (rest or "/") + query).encode()).decode()
    assert rewritten == (new.rstrip("/") + (rest or "/") + query)


async def test_the_host_is_rewritten_in_lower_case() -> None:
    seen: list[Request] = []

    async def answer(request: Request) -> Response:
        seen.append(request)
        return Response(200)

    layer = rewriter(forwarding(rewrite_host="Inner.Test:81", rewrite_path="/p"))
    assert layer is not None
    await layer(answer)(make_request(url="http://a.test/?q"))
    assert (seen[0].authority, seen[0].target) == (b"inner.test:81", b"/p?q")


def test_a_prefix_that_a_regex_matched_cannot_be_replaced() -> None:
    with pytest.raises(ValueError, match="not by regex"):
        rewriter(forwarding("/a.*", PathKind.REGEX, rewrite_prefix="/b"))


@pytest.mark.parametrize(
    "changes",
    [
        {"rewrite_path": "/a b"},
        {"rewrite_path": "/a\r\nx: y"},
        {"rewrite_path": "a"},
        {"rewrite_path": "/a?b"},
        {"rewrite_prefix": "/a\x00"},
        {"rewrite_prefix": "b"},
        {"rewrite_host": "a b"},
        {"rewrite_host": "a\r\nx: y"},
        {"rewrite_host": "a/b"},
    ],
)
def test_a_rewrite_that_would_break_the_request_line_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="accepted: "):
        rewriter(forwarding(**changes))
