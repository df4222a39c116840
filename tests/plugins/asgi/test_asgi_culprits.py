"""What an application leaves behind meets no other exchange, and what it leaves out is no end of a response."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from websockets.exceptions import ConnectionClosed

from daemun.testing import CutOff, eventually

from . import culprits
from .applications import gates, seen
from .culprits import left
from .stage import serving
from .test_asgi_websocket import talk

pytestmark = pytest.mark.anyio


def culprit(name: str, kind: str = "asgi", **settings: Any) -> dict[str, Any]:
    """A back end that is one of them."""
    left.clear()
    return {"type": kind, "settings": {"app": f"{culprits.__name__}:{name}", **settings}}


async def test_a_scope_that_a_call_left_open_does_not_hold_the_next_call() -> None:
    async with serving("", backend=culprit("leaving")) as stage:
        assert (await stage.ask("GET /scope HTTP/1.1")).body == b"piece"
        async with stage.wire() as wire:
            await wire.send(stage.head("GET / HTTP/1.1"))
            await eventually(lambda: "begun" in seen)
            left[1].cancel()
            await anyio.wait_all_tasks_blocked()
            gates["go"].set()
            assert (await wire.answer()).body == b"whole"


async def test_clients_that_leave_scopes_open_do_not_end_the_application() -> None:
    async with serving("", backend=culprit("leaving", disconnect_grace_seconds=0)) as stage:
        for number in range(3):
            async with stage.wire() as wire:
                await wire.send(stage.head("GET /gone HTTP/1.1"))
                await wire.until(b"piece")
                await wire.reset()
            await eventually(lambda number=number: seen == ["over"] * (number + 1), "the end of the call")  # type: ignore[misc]
        gates["go"].set()
        assert (await stage.ask()).body == b"whole"


async def test_a_task_that_is_cancelled_after_its_call_takes_no_other_one(anyio_backend_name: str) -> None:
    if anyio_backend_name == "trio":
        pytest.skip("nobody can cancel a task of trio")
    async with serving("", backend=culprit("leaving")) as stage:
        assert (await stage.ask("GET /task HTTP/1.1")).body == b"whole"
        left[0].cancel()
        gates["go"].set()
        assert (await stage.ask()).body == b"whole"
        assert (await stage.ask()).body == b"whole"


async def test_content_without_an_end_is_not_whole_though_trailers_were_announced() -> None:
    async with serving("", backend=culprit("incomplete")) as stage:
        assert (await stage.ask("GET /whole HTTP/1.1")).body == b"content"
        assert (await stage.ask()).status == 500  # none of it was sent yet


async def test_head_may_be_followed_by_trailers(caplog: pytest.LogCaptureFixture) -> None:
    async with serving("trailing") as stage:
        assert (await stage.ask("HEAD / HTTP/1.1")).status == 200
    assert not caplog.records


async def test_what_ends_the_program_at_the_start_refuses_the_route(caplog: pytest.LogCaptureFixture) -> None:
    async with serving("", backend=culprit("leave_early", factory=True)) as stage:
        assert (await stage.ask()).status == 404
    assert "culprits:leave_early raised SystemExit: no database (" in caplog.text


async def test_a_middleware_that_swallows_a_fault_makes_no_whole_of_half_a_response() -> None:
    filters = [{"type": "asgi", "settings": {"middleware": f"{culprits.__name__}:Swallowing"}}]
    async with serving("faulty", filters=filters) as stage, stage.wire() as wire:
        await wire.send(stage.head("GET /after HTTP/1.1"))
        await wire.until(b"begun")
        gates["go"].set()
        with pytest.raises(CutOff):
            await wire.until(b"0\r\n\r\n")


@pytest.mark.parametrize("how", culprits.WORST)
@pytest.mark.parametrize(("kind", "name"), [("asgi", "worst"), ("wsgi", "worst_wsgi")])
async def test_what_is_no_exception_ends_its_call_only(
    kind: str, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving("", backend=culprit(name, kind)) as stage:
        for _ in range(2):
            assert (await stage.ask(f"GET /{how} HTTP/1.1")).status == 500
        assert (await stage.ask()).body == b"fine"
    assert f"culprits:{name} raised " in caplog.text
    assert f"{culprits.WORST[how].__name__}: by itself" in caplog.text
    assert "broke" not in caplog.text


async def test_a_websocket_is_not_ended_for_others_by_it() -> None:
    async with serving("", backend=culprit("worst_socket")) as stage:
        for how in culprits.WORST:
            with pytest.raises(ConnectionClosed) as caught:
                await talk(stage, f"/{how}", lambda client: client.recv(20))
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1011
        assert await talk(stage, "/", lambda client: client.recv(20)) == "fine"


async def test_a_middleware_that_ends_the_program_when_it_is_made_refuses_the_route(
    caplog: pytest.LogCaptureFixture,
) -> None:
    filters = [{"type": "asgi", "settings": {"middleware": f"{culprits.__name__}:Unmade"}}]
    async with serving("hello", filters=filters) as stage:
        assert (await stage.ask()).status == 404
    assert "culprits:Unmade raised KeyboardInterrupt" in caplog.text
