"""Telling plugins what the gateway does."""

from __future__ import annotations

import logging
from typing import Any

import pluggy

__all__ = ["notify"]

log = logging.getLogger("daemun")


def notify(manager: pluggy.PluginManager, hook: str, **arguments: Any) -> None:
    """Calls every implementation of a notice; one that fails is logged, and the others are called all the same."""
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except Exception:
            log.exception("plugin %s failed in %s", implementation.plugin_name, hook)
