"""An activator that starts local processes when requests wait for one, and stops them when nobody needs them.

settings    what a back end says: command, environment, readiness, times, how many
activator   how many processes there are, and which are in use; `backoff` says when the next may start
instance    one process from start to end; `place` is where it listens, `output` what it prints
readiness   finding out at once that it answers
session     a process with all its descendants: waiting for it, ending it
guard       starting processes so that none outlives the gateway; `guardian` is the program that sees to it
"""

from __future__ import annotations

from daemun import ActivatorType, hookimpl
from daemun_process.activator import ProcessActivator, build_process
from daemun_process.settings import ProcessSettings, Readiness

__all__ = ["ProcessActivator", "ProcessSettings", "Readiness", "build_process", "daemun_activators"]


@hookimpl
def daemun_activators() -> list[ActivatorType]:
    """Registers `process`."""
    return [ActivatorType(name="process", settings=ProcessSettings, build=build_process)]
