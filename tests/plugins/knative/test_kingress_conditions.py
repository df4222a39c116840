"""The status that is written, and when there is nothing to write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_knative.kingress.conditions import (
    TRUE,
    WAITING,
    Verdict,
    conflict,
    is_ready,
    next_status,
    not_possible,
    not_yet,
)
from daemun_knative.kingress.types import Condition, LoadBalancer, LoadBalancerIngress, Status

NOON = datetime(2026, 11, 23, 12, 0, 0, 987654, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)
MISSING = not_yet("SecretMissing", "Secret default/s is not there")
TAKEN = conflict("a.test", "default", "other")
WRONG = not_possible("Invalid", "spec.rules: missing field")


def conditions(status: Status) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def test_what_is_served_is_ready_with_one_address_each() -> None:
    status = next_status(
        Status(), 3, TRUE, TRUE, public="pub.ns.svc.cluster.local", private="priv.ns.svc.cluster.local", now=NOON
    )
    assert msgspec.json.decode(msgspec.json.encode(status)) == {
        "observedGeneration": 3,
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": "2026-11-23T12:00:00Z"}
            for kind in ("LoadBalancerReady", "NetworkConfigured", "Ready")
        ],
        "publicLoadBalancer": {"ingress": [{"domainInternal": "pub.ns.svc.cluster.local"}]},
        "privateLoadBalancer": {"ingress": [{"domainInternal": "priv.ns.svc.cluster.local"}]},
    }
    assert is_ready(status, 3)
    assert not is_ready(status, 4)
    assert not is_ready(Status(), 0)


@pytest.mark.parametrize(
    ("network", "load_balancer", "ready"),
    [
        (TRUE, WAITING, ("Unknown", "Uninitialized")),
        (MISSING, WAITING, ("Unknown", "SecretMissing")),
        (MISSING, TAKEN, ("False", "DomainConflict")),
        (TRUE, TAKEN, ("False", "DomainConflict")),
        (WRONG, WAITING, ("False", "Invalid")),
        (WRONG, TAKEN, ("False", "Invalid")),
        (TRUE, TRUE, ("True", "")),
    ],
)
def test_ready_is_the_sum_with_the_reason_of_what_fails(
    network: Verdict, load_balancer: Verdict, ready: tuple[str, str]
) -> None:
    status = next_status(Status(), 1, network, load_balancer, now=NOON)
    assert conditions(status) == {
        "NetworkConfigured": (network.status, network.reason),
        "LoadBalancerReady": (load_balancer.status, load_balancer.reason),
        "Ready": ready,
    }
    assert is_ready(status, 1) == (ready[0] == "True")


def test_the_words_of_a_conflict_name_host_and_owner() -> None:
    status = next_status(Status(), 1, TRUE, TAKEN, now=NOON)
    assert [condition.message for condition in status.conditions if condition.type == "Ready"] == [
        "host a.test belongs to Ingress default/other, which was served first"
    ]


def test_a_time_changes_only_with_its_condition() -> None:
    first = next_status(Status(), 1, TRUE, WAITING, now=NOON)
    second = next_status(first, 1, TRUE, TRUE, now=LATER)
    assert {condition.type: condition.last_transition_time for condition in second.conditions} == {
        "NetworkConfigured": "2026-11-23T12:00:00Z",
        "LoadBalancerReady": "2026-11-23T12:01:00Z",
        "Ready": "2026-11-23T12:01:00Z",
    }


def test_the_same_said_again_is_nothing_to_write_and_a_new_generation_is() -> None:
    first = next_status(Status(), 1, TRUE, TRUE, public="a", private="b", now=NOON)
    assert next_status(first, 1, TRUE, TRUE, public="a", private="b", now=LATER) == first
    assert next_status(first, 2, TRUE, TRUE, public="a", private="b", now=LATER) == msgspec.structs.replace(
        first, observed_generation=2
    )
    assert next_status(first, 1, TRUE, TRUE, public="c", private="b", now=LATER) != first


def test_addresses_stay_while_a_version_is_not_ready() -> None:
    first = next_status(Status(), 1, TRUE, TRUE, public="a", private="b", now=NOON)
    second = next_status(first, 2, MISSING, WAITING, now=LATER)
    assert second.public_load_balancer == LoadBalancer(ingress=(LoadBalancerIngress(domain_internal="a"),))
    assert second.private_load_balancer == first.private_load_balancer


def test_what_others_wrote_stays() -> None:
    other = Condition(type="Another", status="True", severity="Info", last_transition_time="2020-01-01T00:00:00Z")
    status = next_status(Status(conditions=(other,), annotations={"a": "b"}), 1, TRUE, TRUE, now=NOON)
    assert other in status.conditions
    assert status.annotations == {"a": "b"}


def test_a_time_elsewhere_is_written_in_utc() -> None:
    status = next_status(Status(), 1, TRUE, TRUE, now=NOON.astimezone(timezone(timedelta(hours=9))))
    assert {condition.last_transition_time for condition in status.conditions} == {"2026-11-23T12:00:00Z"}


verdicts = st.sampled_from([TRUE, WAITING, MISSING, TAKEN, WRONG])


@given(st.lists(st.tuples(verdicts, verdicts, st.integers(1, 3)), min_size=1, max_size=6))
def test_whatever_happens_the_list_is_sorted_and_ready_is_true_only_if_both_are(
    steps: list[tuple[Verdict, Verdict, int]],
) -> None:
    status = Status()
    for number, (network, load_balancer, generation) in enumerate(steps):
        before = status
        status = next_status(before, generation, network, load_balancer, now=NOON + timedelta(minutes=number))
        types = [condition.type for condition in status.conditions]
        assert types == sorted(types) == ["LoadBalancerReady", "NetworkConfigured", "Ready"]
        found = conditions(status)
        both = {network.status, load_balancer.status}
        assert found["Ready"][0] == ("False" if "False" in both else "Unknown" if "Unknown" in both else "True")
        was = {condition.type: condition for condition in before.conditions}
        for condition in status.conditions:
            changed = condition.type not in was or was[condition.type] != condition
            assert (condition.last_transition_time == f"2026-11-23T12:{number:02}:00Z") == changed
