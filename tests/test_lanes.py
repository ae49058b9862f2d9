"""A lane for each partition there is, and what is said of all of them: rows of (what Kafka told, what follows)."""

from collections.abc import Sequence
from typing import Any, Final

import pytest

from gateway.config import Deliver
from gateway.core.lane import Delivery
from gateway.core.light import REASONS
from gateway.kafka import Topic
from gateway.lanes import Lanes
from tests.fakes import new_slot
from tests.records import made

SYNCS: Final = Topic("syncs.v1", 2, copies=3, in_sync_min=2, batch_bytes_max=1_000_000)
SIGNUPS: Final = Topic("signups.v1", 1, copies=3, in_sync_min=2, batch_bytes_max=1_000_000)


class Desk:
    """Lanes, and what they show."""

    def __init__(self, *topics: Topic, waiting: tuple[str, int] | None = None, **settings: Any) -> None:
        self.slot = new_slot()
        self.lanes = Lanes(Deliver(**settings), self.slot, lambda lane: int((lane.topic, lane.partition) == waiting))
        self.fit(*topics)

    def fit(self, *topics: Topic) -> None:
        self.lanes.fit({topic.name: topic for topic in topics})

    def look(self, now_s: float = 0.0, *, is_connected: bool = True, spooled: Sequence[str] = ()) -> tuple[str, bool, bool]:
        """The light's reason, and for which kinds it is open."""
        self.lanes.look(now_s, is_connected=is_connected, spool_takes=lambda topic: topic in spooled)
        reason = REASONS[int(self.slot.gauge("sluicegate_kafka_reason").value)].code
        return reason, self.lanes.is_open["syncs"], self.lanes.is_open["signups"]


@pytest.mark.parametrize(
    ("topics", "settings", "want"),
    [
        ((SYNCS, SIGNUPS), {}, ("ok", True, True)),
        ((SYNCS,), {}, ("topic-missing", True, False)),
        ((SYNCS, SIGNUPS._replace(copies=1)), {}, ("single-copy", True, False)),
        ((SYNCS, SIGNUPS._replace(copies=1)), {"allow_single_copy": True}, ("single-copy-allowed", True, True)),
    ],
)
def test_what_topics_promise(topics: Sequence[Topic], settings: dict[str, Any], want: tuple[str, bool, bool]) -> None:
    desk = Desk(*topics, **settings)
    assert desk.look() == want
    assert desk.look(is_connected=False) == ("connecting", False, False)
    assert desk.look(is_connected=False, spooled=["syncs.v1", "signups.v1"]) == ("connecting", want[1], want[2]), "a topic's fault is no reason to spool for it"


def test_partitions_come_and_go() -> None:
    desk = Desk(SYNCS, SIGNUPS, waiting=("syncs.v1", 2))
    first, second = desk.lanes.of["syncs"]
    told: list[Sequence[object]] = []
    second.add([made("a")], Delivery(1, 0.0, lambda outcomes, _: told.append(outcomes)))
    desk.fit(SYNCS._replace(partitions=1), SIGNUPS)
    assert (desk.lanes.of["syncs"], second.is_gone, len(told)) == ([first], True, 1)
    assert desk.lanes.all == [first, *desk.lanes.of["signups"]]
    desk.fit(SYNCS._replace(partitions=3, batch_bytes_max=5_000), SIGNUPS)
    assert [(lane.partition, lane.is_spooling, lane.batch_bytes_max) for lane in desk.lanes.of["syncs"]] == [
        (0, False, 5_000),
        (1, False, 5_000),
        (2, True, 5_000),
    ]


def test_the_oldest_batch_in_flight_tells_a_slow_kafka() -> None:
    desk = Desk(SYNCS, SIGNUPS, stall_ms=1_000)
    lane = desk.lanes.of["syncs"][0]
    lane.add([made("a")], Delivery(1, 0.0, lambda *_: None))
    lane.take(0.0)
    assert desk.look(1.0)[0] == "ok"
    assert desk.look(1.5) == ("slow", True, True)
    assert desk.slot.gauge("sluicegate_unacked_age_seconds").value == 1.5
    lane.failed(2.0)
    assert desk.look(2.0)[0] == "ok"
    lane.take(2.0)
    lane.failed(2.0)
    assert desk.look(2.0)[0] == "partition-failing"
