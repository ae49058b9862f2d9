"""The lanes of one worker: one for each partition there is, and what can be said of all of them.

Decided here: which lanes there are, for which kinds of records delivery is open, and what the Kafka light shows.  Not
decided here: a lane's own state (core/lane.py), and what is sent when (deliver.py).
"""

from collections.abc import Callable, Mapping
from typing import Final

from gateway import logs
from gateway.board import Slot
from gateway.config import Deliver as Settings
from gateway.core.lane import Lane
from gateway.core.light import INDEX, REASONS
from gateway.kafka import Topic

_GAUGES: Final = ("kafka_light", "kafka_reason", "unacked_age_seconds")


class Lanes:
    """All lanes, by kind of record and in a row."""

    def __init__(self, settings: Settings, slot: Slot, left: Callable[[Lane], int]) -> None:
        """Args: left: how many records of a lane the spool has."""
        self._settings = settings
        self._stall_s = settings.stall_ms / 1000
        self._left = left
        self.names = {"syncs": settings.syncs_topic, "signups": settings.signups_topic}
        self.all: list[Lane] = []
        self.of: dict[str, list[Lane]] = {kind: [] for kind in self.names}
        self.faults: dict[str, str] = {}  # kind → reason code, for topics that cannot promise durability
        self.is_open = dict.fromkeys(self.names, False)
        self._reason = "not-asked"
        self._has_single_copies = False
        self._gauges = {name: slot.gauge(f"sluicegate_{name}") for name in _GAUGES}

    def fit(self, topics: Mapping[str, Topic]) -> None:
        """Lanes for the partitions there are, and what the topics cannot promise."""
        faults = {}
        for kind, name in self.names.items():
            topic = topics.get(name)
            if topic is None:
                faults[kind] = "topic-missing"
                continue
            if not topic.survives_one_disk and not self._settings.allow_single_copy:
                faults[kind] = "single-copy"
            self._fit(self.of[kind], topic)
        if faults != self.faults:
            logs.warning("kafka topics", faults={self.names[kind]: code for kind, code in faults.items()})
        self.faults = faults
        self._has_single_copies = any(not topic.survives_one_disk for topic in topics.values())

    def _fit(self, lanes: list[Lane], topic: Topic) -> None:
        batch_bytes_max = min(self._settings.batch_bytes_max, topic.batch_bytes_max)
        for lane in lanes:
            lane.batch_bytes_max = batch_bytes_max
        # A topic loses partitions only by being made anew.
        for lane in lanes[topic.partitions :]:
            lane.give_up()
            self.all.remove(lane)
        del lanes[topic.partitions :]
        for partition in range(len(lanes), topic.partitions):
            lane = Lane(topic.name, partition, batch_bytes_max)
            if self._left(lane):
                lane.spool_first()
            lanes.append(lane)
            self.all.append(lane)

    def look(self, now_s: float, *, is_connected: bool, spool_takes: Callable[[str], bool]) -> float:
        """See what is open, show the light and its reason; returns the age of the oldest batch in flight, in seconds.

        Args: spool_takes: whether the spool takes records of a topic.
        """
        for kind, lanes in self.of.items():
            takes_more = is_connected and any(lane.takes_more(now_s, self._stall_s) for lane in lanes)
            self.is_open[kind] = kind not in self.faults and bool(lanes) and (takes_more or spool_takes(self.names[kind]))
        oldest_s = max([lane.age_s(now_s) for lane in self.all], default=0.0)
        reason = self._reason_of(oldest_s, is_connected=is_connected)
        if reason != self._reason:
            logs.info("kafka light", reason=reason, colour=REASONS[INDEX[reason]].colour.name.lower())
        self._reason = reason
        self._gauges["unacked_age_seconds"].set(oldest_s)
        self._gauges["kafka_reason"].set(INDEX[reason])
        self._gauges["kafka_light"].set(REASONS[INDEX[reason]].colour)
        return oldest_s

    def _reason_of(self, oldest_s: float, *, is_connected: bool) -> str:
        if not is_connected:
            return "connecting"
        if self.faults:
            return next(iter(self.faults.values()))
        if oldest_s > self._stall_s:
            return "slow"
        if any(lane.failures > 1 for lane in self.all):
            return "partition-failing"
        return "single-copy-allowed" if self._has_single_copies else "ok"
