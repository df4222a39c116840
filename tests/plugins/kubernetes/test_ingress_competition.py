"""The oldest has it, whatever the order in which all came and went."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemun_kubernetes.ingress.competition import Competition

Owner = tuple[str, str]

_OWNERS = st.sampled_from([("n", "a"), ("n", "b"), ("m", "c"), ("m", "a")])
_CLAIMS = st.dictionaries(st.sampled_from("xyz"), st.integers(), max_size=3)
_PUTS = st.lists(st.tuples(_OWNERS, st.integers(0, 2), _CLAIMS), max_size=12)


@given(_PUTS)
def test_winners_losers_and_what_was_touched_follow_from_who_claims_what(
    puts: list[tuple[Owner, int, dict[str, int]]],
) -> None:
    competition: Competition[str, int] = Competition()
    model: dict[Owner, tuple[int, dict[str, int]]] = {}
    for owner, age, claims in puts:
        before = winners(model)
        touched = competition.put(owner, (age,), claims)
        model[owner] = (age, claims)
        after = winners(model)
        assert {key: competition.winner(key) for key in "xyz"} == {key: after.get(key) for key in "xyz"}
        assert {key for key in "xyz" if before.get(key) != after.get(key)} <= touched
        assert set(competition.keys()) == set(after)
        for one, (_, claimed) in model.items():
            assert competition.lost(one) == {key: after[key][0] for key in claimed if after[key][0] != one}
            of_n = winners({one: claims for one, claims in model.items() if one[0] == "n"})
            assert {key: competition.winner(key, "n") for key in "xyz"} == {key: of_n.get(key) for key in "xyz"}
            assert competition.lost(one, lambda key: "n") == {
                key: of_n[key][0] if key in of_n else None for key in claimed if of_n.get(key, ((), 0))[0] != one
            }
        assert competition.owners("x") == {one for one, (_, claimed) in model.items() if "x" in claimed}


def winners(model: dict[Owner, tuple[int, dict[str, int]]]) -> dict[str, tuple[Owner, int]]:
    found: dict[str, tuple[Owner, int]] = {}
    for owner, (_, claims) in sorted(model.items(), key=lambda item: (item[1][0], item[0])):
        for key, value in claims.items():
            found.setdefault(key, (owner, value))
    return found
