"""benchmarks/plan.py: every pair in every position, in both orders."""

from collections import Counter

import pytest

from benchmarks.plan import ARMS, BARE, Arm, Pair, order, pairs


def test_everything_is_measured_against_bare() -> None:
    """Without --against the reference is bare aiohttp, for bare itself too."""
    assert [pair.reference for pair in pairs(list(ARMS), "")] == [BARE] * len(ARMS)


def test_against_pairs_the_gateway_with_itself_at_the_commit() -> None:
    """The same arm on the old code; the peers stay beside bare."""
    found = pairs(["gateway-50", "naive"], "abc123")
    assert found[0].reference == Arm("gateway-50@abc123", "gateway@abc123", 50)
    assert found[1].reference == BARE


def test_an_unknown_arm_is_named() -> None:
    """With what there is instead."""
    with pytest.raises(ValueError, match=r"gatway.*gateway"):
        pairs(["gatway"], "")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_no_place_in_the_round_favours_anybody(count: int) -> None:
    """Over 2n rounds every pair stands once in every position in each of both orders."""
    some = [Pair(Arm(f"a{number}", "s"), BARE) for number in range(count)]
    seen = Counter(
        (position, pair.arm.name, halves[0] == pair.arm) for number in range(2 * count) for position, (pair, halves) in enumerate(order(some, number))
    )
    assert len(seen) == 2 * count * count
    assert set(seen.values()) == {1}


def test_both_halves_are_always_there() -> None:
    """One is the arm, the other its reference."""
    pair = Pair(ARMS["naive"], BARE)
    for number in range(4):
        for found, halves in order([pair], number):
            assert found == pair
            assert sorted(half.name for half in halves) == ["bare", "naive"]
