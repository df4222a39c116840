"""Listening sockets, bound once and held by the supervisor: no worker's end and no reload closes one in use."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from msgspec.structs import replace

from daemun.downstream.inherited import is_inherited
from daemun.downstream.listener import bind, remove_socket_file
from daemun.errors import SettingsError
from daemun.settings import ListenerSettings, Settings

__all__ = ["Sockets"]


class _Held:
    """The sockets of one address: one for all workers, or with `reuse_port` at least one for each."""

    def __init__(self, settings: ListenerSettings) -> None:
        self.settings = settings
        self.sockets = [bind(settings)]
        self.own = settings.reuse_port and self.sockets[0].family != socket.AF_UNIX and not is_inherited(settings.bind)

    def grow(self, settings: ListenerSettings, count: int) -> None:
        """Sockets enough for `count` workers."""
        for sock in self.sockets:
            sock.listen(settings.backlog)
        while self.own and len(self.sockets) < count:
            host, port, *_ = self.sockets[0].getsockname()
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self.sockets.append(bind(replace(settings, bind=where, reuse_port=True)))

    def close(self) -> None:
        """Closes them, and removes the file of a Unix socket."""
        remove_socket_file(self.settings, self.sockets[0])
        for sock in self.sockets:
            sock.close()


class Sockets:
    """The sockets of listeners, by what they are bound to."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def take(self, settings: Settings) -> list[str]:
        """Binds the addresses that are not bound yet, and returns the keys of what is new. Raises `SettingsError`;
        nothing new stays bound then."""
        new: list[str] = []
        try:
            taken: dict[str, str] = {}
            for one in settings.listeners:
                key = _key(one)
                if key in taken:
                    raise SettingsError(f"listener {one.name} cannot bind {one.bind}: listener {taken[key]} does")
                taken[key] = one.name
                if key not in self._held:
                    self._held[key] = _Held(one)
                    new.append(key)
        except BaseException:
            self.drop(new)
            raise
        return new

    def grow(self, settings: Settings, count: int) -> None:
        """Makes sockets enough for `count` workers; soon after, each must have its worker. Raises `SettingsError`."""
        for one in settings.listeners:
            self._held[_key(one)].grow(one, count)

    def of(self, settings: Settings, index: int, count: int) -> list[tuple[str, bool, socket.socket]]:
        """What the worker `index` of `count` accepts on: name of the listener, whether others accept on it too, and
        the socket. Where there were more workers before, some have two sockets: none is without a worker."""
        found = []
        for one in settings.listeners:
            held = self._held[_key(one)]
            if held.own:
                found += [(one.name, False, sock) for sock in held.sockets[index::count]]
            else:
                found.append((one.name, True, held.sockets[0]))
        return found

    def keep_only(self, settings: Settings) -> None:
        """Closes those that `settings` do not name."""
        wanted = {_key(one) for one in settings.listeners}
        self.drop([key for key in self._held if key not in wanted])

    def drop(self, keys: Iterable[str]) -> None:
        """Closes some."""
        for key in keys:
            self._held.pop(key).close()

    def close(self) -> None:
        """Closes all."""
        self.drop(list(self._held))


def _key(settings: ListenerSettings) -> str:
    """Listeners with the same key share their sockets over reloads."""
    return f"{settings.name} {settings.bind}" if settings.bind.endswith(":0") else settings.bind
