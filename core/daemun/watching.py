"""Tells when something on the disk changed. Nothing is polled: the kernel says it, through `watchfiles`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from anyio import from_thread

if TYPE_CHECKING:
    from watchfiles import Change
    from watchfiles.main import AnyEvent

__all__ = ["watch_folders"]

_OF_THE_LIBRARY = logging.getLogger("watchfiles.main")
_STEP_MS = 50
"""What happens within it is one change: an editor writes a file in several steps."""
_MOST_MS = 400
"""Changes that never cease are told so often."""


class _Ears:
    """What `awatch` asks in its worker thread, every step from the moment that it listens, whether it is to stop.

    The first question says that from now on no change is missed. Cancellation is answered at the next one, where
    `awatch` alone would sit out its time limit first.
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


async def watch_folders(
    folders: Iterable[str | Path], changed: Callable[[], None], *, concerns: Callable[[str], bool] = lambda path: True
) -> None:
    """Calls `changed` once it listens, and after each change of something right in `folders`, until cancelled.

    `concerns(path)` says of a changed path, as text, whether it matters; it is called in the event loop, and so is
    `changed`. Changes that come close together are one. A folder that is gone or may not be read is left out.
    Raises `OSError` if the system cannot watch.
    """
    from watchfiles import awatch  # for those who watch: a worker, or a gateway without files, has no use for it

    if _OF_THE_LIBRARY.level == logging.NOTSET:
        _OF_THE_LIBRARY.setLevel(logging.WARNING)  # it reports every change of every file as news

    def matters(change: Change, path: str) -> bool:
        return concerns(path)

    try:
        async for _ in awatch(
            *folders,
            watch_filter=matters,
            debounce=_MOST_MS,
            step=_STEP_MS,
            stop_event=cast("AnyEvent", _Ears(changed)),
            rust_timeout=0,
            recursive=False,
            ignore_permission_denied=True,
        ):
            changed()
    except RuntimeError as error:
        raise OSError(str(error)) from error
