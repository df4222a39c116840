"""Whose host is whose: never two owners, nothing lost, and the same after a restart."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from daemun_knative.kingress.claims import Claim, Claims, Key

A, B, C = ("default", "a"), ("default", "b"), ("default", "c")


def claim(key: Key, *hosts: str, created: str = "", programmed: bool = False) -> Claim:
    return Claim(key, frozenset(hosts), created, frozenset(hosts if programmed else ()))


def test_the_older_one_has_a_host_and_the_other_has_the_rest() -> None:
    claims = Claims()
    assert claims.claim(claim(B, "x", "y")) == ()
    assert claims.claim(claim(A, "x", "z", created="2020")) == ()
    assert (claims.owner("x"), claims.owner("y"), claims.owner("z"), claims.owner("w")) == (B, B, A, None)
    assert (claims.owns(B, "x"), claims.owns(A, "x")) == (True, False)
    assert claims.conflicts(A) == (("x", B),)
    assert claims.conflicts(B) == ()
    assert claims.conflicts(C) == ()


def test_who_was_programmed_keeps_a_host_against_an_older_one() -> None:
    claims = Claims()
    claims.claim(claim(B, "x", created="2"))
    assert claims.claim(claim(A, "x", created="1")) == (B,)
    assert claims.owner("x") == A
    claims.release(A)
    claims.claim(claim(B, "x", created="2", programmed=True))
    assert claims.claim(claim(A, "x", created="1")) == ()
    assert claims.owner("x") == B
    assert claims.claim(claim(B, "x", created="2")) == (A,)


def test_who_was_programmed_on_one_host_has_no_right_to_another() -> None:
    claims = Claims([claim(B, "x", created="2", programmed=True), claim(A, "y", created="1", programmed=True)])
    assert claims.claim(Claim(A, frozenset("xy"), "1", frozenset("y"))) == ()
    assert (claims.owner("x"), claims.owner("y")) == (B, A)
    assert claims.claim(Claim(B, frozenset("x"), "2", frozenset(), frozenset("x"))) == ()
    assert claims.owner("x") == B, "what may have been so counts before age, too"


def test_a_host_that_is_dropped_goes_to_who_waits() -> None:
    claims = Claims()
    for key in (A, B):
        claims.claim(claim(key, "x", "y"))
    assert claims.claim(claim(A, "y")) == (B,)
    assert (claims.owner("x"), claims.owner("y")) == (B, A)
    assert claims.release(A) == (B,)
    assert claims.conflicts(B) == ()
    assert claims.release(B) == ()
    assert claims.owner("y") is None
    assert claims.release(B) == ()


def test_of_those_that_wait_the_oldest_has_it_next() -> None:
    claims = Claims()
    claims.claim(claim(A, "x"))
    claims.claim(claim(B, "x", created="2026-02-01T00:00:00Z"))
    claims.claim(claim(C, "x", created="2026-01-01T00:00:00Z"))
    assert claims.release(A) == (C,)
    assert claims.conflicts(B) == (("x", C),)


def test_who_waits_no_more_is_passed_by() -> None:
    claims = Claims()
    for key in (A, B, C):
        claims.claim(claim(key, "x"))
    assert claims.claim(claim(B, "y")) == ()
    assert claims.release(A) == (C,)


def test_to_claim_again_changes_nothing() -> None:
    claims = Claims()
    for key in (A, B, A, B):
        assert claims.claim(claim(key, "x")) == ()
    assert claims.conflicts(B) == (("x", A),)


@pytest.mark.parametrize("seed", range(6))
def test_a_restart_gives_a_host_to_who_programmed_then_to_the_oldest_then_by_name(seed: int) -> None:
    wanted = [
        claim(C, "x", "y", created="2026-03-01T00:00:00Z", programmed=True),
        claim(B, "x", "y", "z", created="2026-02-01T00:00:00Z"),
        claim(A, "x", "y", "z", created="2026-02-01T00:00:00Z"),
    ]
    random.Random(seed).shuffle(wanted)
    claims = Claims(wanted)
    assert {host: claims.owner(host) for host in "xyz"} == {"x": C, "y": C, "z": A}


keys = st.sampled_from([(namespace, name) for namespace in ("a", "b") for name in ("p", "q", "r")])
hosts = st.frozensets(st.sampled_from("uvwxyz"), max_size=4)


@given(
    st.lists(st.builds(Claim, keys, hosts, st.sampled_from(["1", "2"]), hosts, hosts), unique_by=lambda one: one.key),
    st.randoms(),
)
def test_a_restart_does_not_depend_on_the_order(wanted: list[Claim], chance: random.Random) -> None:
    first = Claims(wanted)
    chance.shuffle(wanted)
    second = Claims(wanted)
    assert [first.owner(host) for host in "uvwxyz"] == [second.owner(host) for host in "uvwxyz"]


class Life(RuleBasedStateMachine):
    """Claims over time, beside a plain record of what everybody wants."""

    spoken = Bundle("spoken")

    def __init__(self) -> None:
        super().__init__()
        self.claims = Claims()
        self.wanted: dict[Key, Claim] = {}

    def check(self, key: Key, before: dict[str, Key | None], told: tuple[Key, ...]) -> None:
        after = self.owners()
        changed = {owner for host in after if after[host] != before[host] for owner in (before[host], after[host])}
        assert set(told) == changed - {None, key}
        assert len(told) == len(set(told))
        for host, owner in after.items():
            those = [one for one in self.wanted.values() if host in one.hosts]
            first = min(
                those,
                key=lambda one: (host not in one.programmed, host not in one.before, one.created, one.key),
                default=None,
            )
            assert owner == (first.key if first is not None else None)

    def owners(self) -> dict[str, Key | None]:
        return {host: self.claims.owner(host) for host in "uvwxyz"}

    @rule(key=keys, hosts=hosts, created=st.sampled_from(["1", "2", "3"]), programmed=hosts, earlier=hosts)
    def claim(
        self, key: Key, hosts: frozenset[str], created: str, programmed: frozenset[str], earlier: frozenset[str]
    ) -> None:
        before = self.owners()
        self.wanted[key] = Claim(key, hosts, created, programmed, earlier)
        self.check(key, before, self.claims.claim(self.wanted[key]))

    @rule(key=keys)
    def release(self, key: Key) -> None:
        before = self.owners()
        self.wanted.pop(key, None)
        self.check(key, before, self.claims.release(key))

    @rule(chance=st.randoms())
    def restart(self, chance: random.Random) -> None:
        """Who had all that it wants was ready, and still has it."""
        before = self.owners()
        ready = [
            replace(one, programmed=frozenset() if self.claims.conflicts(one.key) else one.hosts)
            for one in self.wanted.values()
        ]
        chance.shuffle(ready)
        self.wanted = {one.key: one for one in ready}
        self.claims = Claims(ready)
        served = {host for one in ready if one.programmed for host in one.hosts}
        assert all(self.claims.owner(host) == before[host] for host in served)

    @invariant()
    def every_host_that_is_wanted_has_one_owner_that_wants_it(self) -> None:
        for host, owner in self.owners().items():
            those = {key for key, one in self.wanted.items() if host in one.hosts}
            assert (owner in those) if those else owner is None
            assert {key for key in those if self.claims.owns(key, host)} == ({owner} if those else set())
            assert {key for key in those if (host, owner) in self.claims.conflicts(key)} == those - {owner}


TestLife = Life.TestCase
