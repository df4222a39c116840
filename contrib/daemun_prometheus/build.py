"""Where what the observer needs is imported: not before one is used, and with words if it is not installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemun import Observer, ObserverContext, SettingsError
from daemun_prometheus.settings import PrometheusSettings

__all__ = ["build"]


@asynccontextmanager
async def build(settings: PrometheusSettings, context: ObserverContext) -> AsyncIterator[Observer]:
    """An observer that counts, and answers at `settings.bind` until the context is left.

    Raises `SettingsError`: prometheus-client is not installed, or the address cannot be bound.
    """
    try:
        from daemun_prometheus.service import open_service
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"observer {context.name} needs the module {error.name}, which is not installed"
            " (pip install 'daemun[prometheus]')"
        ) from error
    async with open_service(settings, context) as observer:
        yield observer
