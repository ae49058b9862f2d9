"""What changed."""

import pytest

from gateway.core.pace import Reason
from gateway.ops.events import KEPT, REFUSALS_KEPT, Events, changes
from gateway.ops.readings import Readiness
from tests.ops.test_status import Screening, _waiting
from tests.screens import WELL, room, seating


def test_entries_are_numbered_and_bounded() -> None:
    events = Events()
    for number in range(KEPT + 10):
        events.add(number * 1_000, "worker-started", worker=number)
    assert (events.seq, len(events.last(10**6)), events.last(1)[0]["seq"]) == (KEPT + 10, KEPT, KEPT + 10)
    assert [entry["seq"] for entry in events.after(KEPT + 7)] == [KEPT + 8, KEPT + 9, KEPT + 10]
    assert events.after(KEPT + 10) == events.last(0) == []
    assert [entry["worker"] for entry in events.since((KEPT + 8) * 1_000)] == [KEPT + 8, KEPT + 9]


def test_refusals_push_nobody_else_out() -> None:
    """Whoever reaches the port can have some."""
    events = Events()
    events.add(0, "reloaded")
    for number in range(5_000):
        events.add(number, "act-refused", code="token-invalid")
    for number in range(KEPT - REFUSALS_KEPT - 1):
        events.add(5_000 + number, "worker-started", worker=0)
    kinds = [entry["kind"] for entry in events.last(10**6)]
    assert (len(kinds), kinds[0], kinds.count("act-refused")) == (KEPT, "reloaded", REFUSALS_KEPT)
    for number in range(KEPT):
        events.add(9_000 + number, "worker-started", worker=0)
    assert [entry["kind"] for entry in events.last(10**6)] == ["worker-started"] * KEPT
    for number in range(2 * REFUSALS_KEPT):
        events.add(20_000 + number, "act-refused", code="token-invalid")
    assert [entry["kind"] for entry in events.last(10**6)].count("act-refused") == REFUSALS_KEPT


@pytest.mark.parametrize(("kind", "members"), [("nothing", {}), ("light", {}), ("started", {"worker": 1}), ("worker-ended", {"worker": 1})])
def test_what_is_not_listed_is_a_bug(kind: str, members: dict[str, object]) -> None:
    with pytest.raises((KeyError, AssertionError)):
        Events().add(0, kind, **members)


def test_a_light_that_changes_is_news() -> None:
    seen = Screening()
    before = seen.frame()
    after = seen.frame(probed=WELL._replace(kafka="kafka-away"))
    assert list(changes(before, after)) == [("light", {"dependency": "kafka", "colour": "red", "reason": "kafka-away"})]
    assert list(changes(after, after)) == []
    assert list(changes(after, seen.frame())) == [("light", {"dependency": "kafka", "colour": "green", "reason": "ok"})]


def test_that_all_is_well_at_first_is_none() -> None:
    seen = Screening()
    grey = seen.frame(probed=WELL._replace(redis="not-asked"), readiness=Readiness("starting", [seating()]))
    assert list(changes(None, grey)) == []
    assert ("ready", {}) in list(changes(grey, seen.frame()))


def test_readiness_the_pace_and_the_rooms_state() -> None:
    seen = Screening()
    before = seen.frame(room=room(_waiting(Reason.CLIMBING)))
    after = seen.frame(room=room(_waiting(Reason.PAUSED, is_paused=True)), readiness=Readiness("draining", [seating(0, silent_s=2.0)]))
    told = dict(changes(before, after))
    assert told["draining"] == {}
    assert told["pace"] == {"reason": "paused", "rate_per_s": 10.0}
    assert told["room-state"] == {"state": "paused"}
    assert told["worker-silent"] == {"worker": 0}
    assert [kind for kind, _ in changes(before, seen.frame(room=room(None)))] == ["light"]  # that the store was never asked
