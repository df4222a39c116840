"""Whose host is whose: of several that want one, the first that was served keeps it, and the others wait for it.

A host belongs to one owner whatever the visibility, since inside of the cluster every rule is served.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

__all__ = ["Claim", "Claims", "Key"]

Key = tuple[str, str]
"""Namespace and name."""


class Claim(Struct, frozen=True):
    """What one KIngress wants for itself."""

    key: Key
    hosts: frozenset[str]
    created: str = ""
    """Its `creationTimestamp`, which sorts as it is."""
    was_ready: bool = False
    """Whether its status says that it is served; of meaning only when claims are settled anew."""


class Claims:
    """The owner of every host, and who waits for it.

    A host that becomes free goes to the one of those that wait that was created first. Nothing here depends on the
    order in which claims were heard of, but for one thing: an owner is not driven out by who comes later.
    """

    def __init__(self, claims: Iterable[Claim] = ()) -> None:
        """`claims` are those of a restart: what was ready goes first, then what was created first."""
        self._claims: dict[Key, Claim] = {}
        self._owners: dict[str, Key] = {}
        self._waiting: dict[str, set[Key]] = {}
        for claim in sorted(claims, key=lambda claim: (not claim.was_ready, *_age(claim))):
            self.claim(claim)

    def claim(self, claim: Claim) -> tuple[Key, ...]:
        """Takes the hosts that are free, waits for the others, and gives up what was claimed before and is not now.

        Returns the others that own a host more than before: they are to be looked at again.
        """
        before = self._claims.get(claim.key)
        self._claims[claim.key] = claim
        for host in sorted(claim.hosts):
            if self._owners.setdefault(host, claim.key) != claim.key:
                self._waiting.setdefault(host, set()).add(claim.key)
        return self._give_up(claim.key, before.hosts - claim.hosts) if before is not None else ()

    def release(self, key: Key) -> tuple[Key, ...]:
        """Gives up all that `key` claimed; returns the others that own a host more."""
        claim = self._claims.pop(key, None)
        return self._give_up(key, claim.hosts) if claim is not None else ()

    def owns(self, key: Key, host: str) -> bool:
        """Whether the host is that one's."""
        return self._owners.get(host) == key

    def owner(self, host: str) -> Key | None:
        """Whose host it is."""
        return self._owners.get(host)

    def conflicts(self, key: Key) -> tuple[tuple[str, Key], ...]:
        """The hosts that `key` waits for, each with its owner, in alphabetical order."""
        claim = self._claims.get(key)
        hosts = sorted(claim.hosts) if claim is not None else ()
        return tuple((host, self._owners[host]) for host in hosts if self._owners[host] != key)

    def _give_up(self, key: Key, hosts: Iterable[str]) -> tuple[Key, ...]:
        heirs: dict[Key, None] = {}
        for host in sorted(hosts):
            waiting = self._waiting.get(host, set())
            if self._owners[host] != key:
                waiting.discard(key)
            elif waiting:
                heir = min((self._claims[other] for other in waiting), key=_age).key
                waiting.discard(heir)
                self._owners[host] = heir
                heirs[heir] = None
            else:
                del self._owners[host]
            if not waiting:
                self._waiting.pop(host, None)
        return tuple(heirs)


def _age(claim: Claim) -> tuple[str, Key]:
    return claim.created, claim.key
