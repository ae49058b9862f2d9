"""The lights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.light import INDEX, REASONS, Colour, worst

# Workers of two releases may share a board's meaning: an index never changes hands.
PINNED = [
    "not-asked",
    "ok",
    "single-copy-allowed",
    "slow",
    "connecting",
    "topic-missing",
    "single-copy",
    "partition-failing",
    "redis-ok",
    "redis-slow",
    "redis-away",
    *("kafka-silent", "kafka-away", "room-ok", "room-away", "no-room", "no-spool"),
    *("workers-ok", "workers-starting", "worker-ended", "worker-silent", "no-worker"),
    *("spool-ok", "spool-used", "spool-aside", "spool-full", "spool-failed", "spool-rejected"),
]


def test_reasons_are_only_ever_appended_to() -> None:
    assert [reason.code for reason in REASONS][: len(PINNED)] == PINNED
    assert {code: REASONS[index].code for code, index in INDEX.items()} == {code: code for code in INDEX}


def test_every_reason_says_something() -> None:
    assert all(reason.says for reason in REASONS)
    assert len({reason.code for reason in REASONS}) == len(REASONS)


@pytest.mark.parametrize(
    ("seen", "shown"),
    [
        ([], "not-asked"),
        (["ok", "ok"], "ok"),
        (["not-asked", "ok"], "ok"),
        (["ok", "slow", "ok"], "slow"),
        (["slow", "connecting"], "connecting"),
        (["topic-missing", "ok"], "topic-missing"),
    ],
)
def test_a_machine_shows_its_worst_worker(seen: list[str], shown: str) -> None:
    assert worst(INDEX[code] for code in seen).code == shown


@given(st.lists(st.integers(0, len(REASONS) - 1), min_size=1))
def test_the_colour_shown_is_the_worst_colour_seen(indexes: list[int]) -> None:
    assert worst(indexes).colour == max(REASONS[i].colour for i in indexes)
    assert worst(indexes) in [REASONS[i] for i in indexes]


def test_red_is_worse_than_amber_is_worse_than_green_is_worse_than_grey() -> None:
    assert Colour.RED > Colour.AMBER > Colour.GREEN > Colour.GREY
