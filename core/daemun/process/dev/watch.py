"""Tells when a file in some folders changed. Nothing is polled: the kernel says it, through `watchfiles`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from anyio import from_thread
from watchfiles import awatch

if TYPE_CHECKING:
    from watchfiles.main import AnyEvent

__all__ = ["watch"]

log = logging.getLogger("daemun.dev")

_OF_THE_LIBRARY = logging.getLogger("watchfiles.main")
_STEP_MS = 50
"""What an editor does within it is one change."""
_MOST_MS = 400


class _Ears:
    """What `awatch` asks in its thread whether it is to stop, from the moment that it listens. The first question says
    that from now on no change is missed; cancellation is answered at the next one."""

    def __init__(self, listening: Callable[[], None]) -> None:
        self._listening: Callable[[], None] | None = listening

    def is_set(self) -> bool:
        if self._listening is not None:
            listening, self._listening = self._listening, None
            from_thread.run_sync(listening)
        from_thread.check_cancelled()
        return False

    def set(self) -> None:
        """Asked for by `awatch` when it was cancelled: its thread is over by then."""


async def watch(folders: Iterable[Path], changed: Callable[[], None]) -> None:
    """Calls `changed` once it listens, and after each change of something right in `folders`, until cancelled.

    Returns, with a warning in the log, if the system cannot watch.
    """
    _OF_THE_LIBRARY.setLevel(logging.WARNING)  # it reports every change of every file as news
    try:
        async for _ in awatch(
            *sorted(folders),
            watch_filter=None,
            debounce=_MOST_MS,
            step=_STEP_MS,
            stop_event=cast("AnyEvent", _Ears(changed)),
            rust_timeout=0,
            recursive=False,
            ignore_permission_denied=True,
        ):
            changed()
    except (OSError, RuntimeError) as error:
        log.warning("changes of code are not seen: %s", error)
