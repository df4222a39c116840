"""Tells when something on the disk changed. Nothing is polled: the kernel says it, through `watchfiles`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from anyio import from_thread
from watchfiles import Change, awatch

from daemun_file.find import WatchPlan

if TYPE_CHECKING:
    from watchfiles.main import AnyEvent

__all__ = ["watch"]

log = logging.getLogger("daemun.file")

_OF_THE_LIBRARY = logging.getLogger("watchfiles.main")
if _OF_THE_LIBRARY.level == logging.NOTSET:
    _OF_THE_LIBRARY.setLevel(logging.WARNING)  # it reports every change of every file as news

_STEP_MS = 50


class _Ears:
    """What `awatch` asks in its worker thread, every step from the moment that it listens, whether it is to
    stop.

    The first question says that from now on no change is missed. Cancellation is answered at the next one,
    where `awatch` alone would sit out its time limit first.
    """

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


async def watch(plan: WatchPlan, changed: Callable[[], None]) -> None:
    """Calls `changed` once it listens, and after each change that concerns `plan`, until cancelled.

    A folder that is gone or may not be read is left out. Returns, with a warning in the log, if the system
    cannot watch.
    """

    def concerns(change: Change, path: str) -> bool:
        return plan.concerns(path)

    try:
        async for _ in awatch(
            *sorted(plan.folders),
            watch_filter=concerns,
            debounce=_STEP_MS,
            step=_STEP_MS,
            stop_event=cast("AnyEvent", _Ears(changed)),
            rust_timeout=0,
            recursive=False,
            ignore_permission_denied=True,
        ):
            changed()
    except (OSError, RuntimeError) as error:
        log.warning("changes of files are not seen without SIGHUP: %s", error)
