"""Another registry into use, while the gateway serves: all of it, or nothing.

What the new registry holds other code for is opened anew; what it took over from the one before stays as it is.
Filters, matchers, back ends and all that back ends use change with the routes, which are compiled again; observers and
sources are opened anew; new connections speak the new protocols. Commands, checks and `daemun_started` are for a start.
"""

from __future__ import annotations

from daemun.downstream.negotiate import Spoken
from daemun.extend.registry import Registry
from daemun.process.gateway import Gateway
from daemun.process.parts import check_listeners, check_policies, protocol_settings
from daemun.settings import Settings

__all__ = ["swap"]


async def swap(gateway: Gateway, settings: Settings, registry: Registry) -> None:
    """Returns once new exchanges run on what `registry` holds. Raises `SettingsError` or `PluginError` if it cannot be
    used; everything is as it was then."""
    parts = gateway.parts
    check_listeners(settings, registry)
    check_policies(settings, registry)
    protocols = protocol_settings(settings, registry)
    # Asks plugins, and so it comes before: nothing may fail once something is in use.
    spoken = {one.name: Spoken(one.name, registry.spoken(one.protocols), protocols) for one in settings.listeners}
    async with parts.observing.opening(registry) as use_observers:

        async def before_use() -> None:
            await parts.sources.replace(registry)
            parts.registry, parts.protocols = registry, protocols
            use_observers()
            if parts.services is not None:
                parts.services.use(list(registry.dialects), parts.observers, registry.blame)
            for listener in gateway.listeners:
                listener.speak(spoken[listener.settings.name])

        await parts.table.compile_again(registry, protocols, before_use)
