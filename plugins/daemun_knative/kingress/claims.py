"""Whose host is whose: of several that want one, the first that was programmed keeps it, and the others wait for it.

A host belongs to one owner whatever the visibility, since inside of the cluster every rule is served. Who owns what
follows from what the API server has, and not from the order in which it was heard: so all replicas agree.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

__all__ = ["Claim", "Claims", "Key"]

Key = tuple[str, str]
"""Namespace and name."""


class Claim(Struct, frozen=True):
    """What one KIngress that can be served wants for itself."""

    key: Key
    hosts: frozenset[str]
    created: str = ""
    """Its `creationTimestamp`, which sorts as it is."""
    programmed: frozenset[str] = frozenset()
    """Those of its hosts that it was served on everywhere."""
    before: frozenset[str] = frozenset()
    """Those on which it may have been: some version was served everywhere, which is not known any more."""


class Claims:
    """The owner of every host: who was programmed on it before who was not, then who was created first."""

    def __init__(self, claims: Iterable[Claim] = ()) -> None:
        self._claims: dict[Key, Claim] = {}
        self._claimants: dict[str, set[Key]] = {}
        self._owners: dict[str, Key] = {}
        for claim in claims:
            self.claim(claim)

    def claim(self, claim: Claim) -> tuple[Key, ...]:
        """Claims these hosts, and no more those that were claimed before and are not among them.

        Returns the others that own a host more than before, or less: they are to be looked at again.
        """
        before = self._claims.get(claim.key)
        if before == claim:
            return ()
        self._claims[claim.key] = claim
        return self._choose(claim.key, claim.hosts.union(before.hosts if before is not None else ()))

    def release(self, key: Key) -> tuple[Key, ...]:
        """Gives up all that `key` claimed; returns the others that own a host more."""
        claim = self._claims.pop(key, None)
        return self._choose(key, claim.hosts) if claim is not None else ()

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

    def _choose(self, key: Key, hosts: Iterable[str]) -> tuple[Key, ...]:
        """Settles anew whose these hosts are, after the claim of `key` changed."""
        claim = self._claims.get(key)
        others: dict[Key, None] = {}
        for host in sorted(hosts):
            claimants = self._claimants.setdefault(host, set())
            (claimants.add if claim is not None and host in claim.hosts else claimants.discard)(key)
            before = self._owners.pop(host, None)
            if not claimants:
                del self._claimants[host]
                continue
            owner = self._owners[host] = min(claimants, key=lambda other: _rank(self._claims[other], host))
            if owner != before:
                others |= dict.fromkeys(other for other in (before, owner) if other not in (None, key))
        return tuple(others)


def _rank(claim: Claim, host: str) -> tuple[bool, bool, str, Key]:
    return host not in claim.programmed, host not in claim.before, claim.created, claim.key
