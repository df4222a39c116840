"""No walk leaves the root, whatever is asked for and whatever changes meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemun import ExchangeError
from daemun_static.beneath import Walk

if TYPE_CHECKING:
    from tests.plugins.static.conftest import Site

PIECES = st.sampled_from(
    [
        *("%2e", "%2E", "%252e", ".", "..", "...", "%u002e", "%c0%ae", "%e0%80%ae", "%ef%bc%8e"),
        *("/", "//", "%2f", "%2F", "%252f", "%c0%af", "\\", "%5c", "%5C", "%u2215"),
        *("%", "%0", "%00", "%zz", "%ff", "%ed%a0%80", "%25", ";", "~", "~root", "::$DATA", "?", "#"),
        *(
            "ok.txt",
            "secret.txt",
            "link-out",
            "linkdir",
            "up",
            "sub",
            "root",
            ".git",
            "config",
            "etc",
            "passwd",
        ),
        *("absolute", "a", "é", "\n", "\t", " "),
    ]
)
TARGETS = st.one_of(
    st.lists(PIECES, max_size=12).map(lambda pieces: ("/" + "".join(pieces)).encode()),
    st.lists(PIECES, max_size=12).map(lambda pieces: "/".join(pieces).encode()),
    st.text(alphabet="%0125abcef./\\;~", max_size=40).map(lambda text: b"/" + text.encode()),
    st.binary(max_size=60),
)
FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"range", b"if-range", b"if-none-match", b"if-match", b"accept", b"accept-encoding"]),
        st.one_of(st.binary(max_size=40), st.sampled_from([b"bytes=0-", b"text/html", b"gzip, br", b"*"])),
    ),
    max_size=4,
).map(tuple)


@pytest.fixture
def crooked(site: Site) -> Site:
    """A site with a link in every direction."""
    site.write("ok.txt")
    site.write("ok.txt.gz")
    site.write("index.html")
    site.write("sub/ok.txt")
    site.write(".git/config", site.secret)
    for name, target in (
        ("link-out", "../secret.txt"),
        ("linkdir", ".."),
        ("sub/up", "../../secret.txt"),
        ("absolute", str(site.outside / "secret.txt")),
        ("root", str(site.root / "../secret.txt")),
        ("a", "sub/../sub/../../root/../secret.txt"),
        ("link-out.gz", "../secret.txt"),
    ):
        (site.root / name).symlink_to(target)
    return site


@pytest.mark.anyio
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(target=TARGETS, fields=FIELDS, fallback=st.sampled_from(["", "index.html"]))
async def test_no_target_gets_bytes_from_outside(
    crooked: Site, target: bytes, fields: tuple[tuple[bytes, bytes], ...], fallback: str
) -> None:
    try:
        answer = await crooked.ask(target, *fields, fallback=fallback)
    except ExchangeError as error:
        pytest.fail(f"nothing is wrong with the gateway: {error}")
    assert crooked.secret not in answer.body
    assert b"root:" not in answer.body
    assert answer.status in {200, 206, 301, 304, 400, 403, 404, 412, 416}


@given(
    names=st.lists(
        st.sampled_from([b"..", b".", b"", b"ok.txt", b"linkdir", b"link-out", b"sub", b"up", b"a", b"root"]),
        max_size=8,
    )
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_walk_stays_below_even_without_the_checks_of_paths(crooked: Site, names: list[bytes]) -> None:
    walk = Walk(os.fsencode(crooked.root), leave=False)
    try:
        if walk.descend(names) is not None:
            descriptor, _ = walk.open()
            with os.fdopen(descriptor, "rb") as file:
                assert file.read() != crooked.secret
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    finally:
        walk.close()


@pytest.mark.anyio
async def test_exchanging_a_file_for_a_link_wins_nothing(site: Site, open_files: Callable[[], int]) -> None:
    site.write("folder/a.txt", b"mine")
    (site.outside / "a.txt").write_bytes(site.secret)
    (site.root / "out").symlink_to("../a.txt")
    (site.root / "out-folder").symlink_to("..")
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            for inside, link in (("folder/a.txt", "out"), ("folder", "out-folder")):
                one, other, spare = site.root / inside, site.root / link, site.root / "spare"
                for source, target in ((one, spare), (other, one), (one, other), (spare, one)):
                    source.rename(target)

    async with site.serve() as handler:
        before = open_files()
        thread = threading.Thread(target=exchange)
        thread.start()
        try:
            answers = [await site.fetch(handler, b"/folder/a.txt") for _ in range(2000)]
        finally:
            stop.set()
            thread.join()
        assert open_files() == before
        assert (await site.fetch(handler, b"/folder/a.txt")).body == b"mine"
    assert {answer.status for answer in answers} <= {200, 403, 404}
    assert {answer.body for answer in answers if answer.status == 200} <= {b"mine"}


@pytest.mark.parametrize("leave", [False, True])
def test_a_walk_gives_back_every_descriptor(crooked: Site, leave: bool, open_files: Callable[[], int]) -> None:
    before = open_files()
    for names in ([b"sub", b"ok.txt"], [b"sub", b"missing"], [b"ok.txt", b"x"], [b"linkdir", b"x"], [b"sub"]):
        walk = Walk(os.fsencode(crooked.root), leave=leave)
        try:
            walk.descend(names)
        except OSError:
            pass
        finally:
            walk.close()
            walk.close()
    assert open_files() == before


def test_a_walk_is_bounded_in_depth(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop/a")
    deep = tmp_path
    for _ in range(8):
        deep = deep / "a"
        deep.mkdir()
    long = "/".join(["a", ".."] * 100)
    (tmp_path / "long").symlink_to(long)
    for names, errors in (([b"loop"], OSError), ([b"a"] * 300, FileNotFoundError)):
        walk = Walk(os.fsencode(tmp_path), leave=False)
        with pytest.raises(errors):
            walk.descend(names)
        walk.close()
    walk = Walk(os.fsencode(tmp_path), leave=False)
    assert walk.descend([b"long"]) is None
    walk.close()


def test_what_is_opened_is_regular(site: Site) -> None:
    site.write("a.txt")
    walk = Walk(os.fsencode(site.root), leave=False)
    try:
        assert walk.descend([b"a.txt"]) is not None
        (site.root / "a.txt").unlink()
        os.mkfifo(site.root / "a.txt")
        with pytest.raises(FileNotFoundError):
            walk.open()
    finally:
        walk.close()
