"""The world of faulty_delivery.py in virtual time: a clock, Kafka's partitions, disks that lose what was not synced.

Deterministic: one seed, one course of events.  Milliseconds are whole numbers, and nothing waits for them.

    Kafka   paused: nothing arrives and nothing is answered until it is resumed, in the order sent
            down:   all that is on its way fails, what was stored and not yet acknowledged among it
    disk    full:   a frame is not written            failing: a frame is written, its fsync fails, and the kernel
            forgets the pages: they can be read until the power goes, and a second fsync says that all is well
    power   a frame that was not synced is gone, torn, or there, and nothing behind the first that is not there
    kill    takes what the process had in memory; what it wrote stays in the page cache
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final, NamedTuple

from tests.system.history import Event, Found

PARTITIONS: Final = 2
POISON_STEPS: Final = 66_666  # Kafka refuses such a record for good
SEGMENT_RECORDS: Final = 6


class World:
    """A clock that jumps from one event to the next, and the dice."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.now_ms = 0
        self._due: list[tuple[int, int, Callable[[], object]]] = []
        self._number = 0

    def after(self, low_ms: int, high_ms: int, act: Callable[[], object]) -> None:
        """Do it between then and then, both included; what is due at the same time in the order planned."""
        self._number += 1
        heapq.heappush(self._due, (self.now_ms + self.dice.randint(low_ms, high_ms), self._number, act))

    def run(self, until_ms: int) -> None:
        while self._due and self._due[0][0] <= until_ms:
            self.now_ms, _, act = heapq.heappop(self._due)
            act()


class Entry(NamedTuple):
    """One event as a worker received it."""

    event: Event
    value: bytes
    worker: str
    received_us: str
    partition: int

    def found(self, offset: int, *, is_replay: bool) -> Found:
        event = self.event
        return Found(event.topic, self.partition, offset, event.key, self.value, event.event_id, self.worker, self.received_us, is_replay)


Done = Callable[[set[str] | None], object]
"""Takes the event ids that were refused for good; None: the send failed."""


class Kafka:
    """Partitions that keep what arrives, in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.logs: list[list[Found]] = [[] for _ in range(PARTITIONS)]
        self.is_paused = False
        self.is_down = False
        self._life = 0
        self._held: list[Callable[[], object]] = []

    def produce(self, entries: Sequence[Entry], done: Done, *, is_replay: bool) -> None:
        """Send one batch of one partition.  It arrives though its sender dies meanwhile."""
        life = self._life
        self._world.after(1, 4, lambda: self._arrive(entries, done, life, is_replay=is_replay))

    def _arrive(self, entries: Sequence[Entry], done: Done, life: int, *, is_replay: bool) -> None:
        if self.is_down or life != self._life:
            self._world.after(1, 3, lambda: done(None))
        elif self.is_paused:
            self._held.append(lambda: self._arrive(entries, done, life, is_replay=is_replay))
        else:
            refused = {entry.event.event_id for entry in entries if entry.event.value["steps"] == POISON_STEPS}
            for entry in entries:
                if entry.event.event_id not in refused:
                    log = self.logs[entry.partition]
                    log.append(entry.found(len(log), is_replay=is_replay))
            self._world.after(1, 4, lambda: self._acknowledge(refused, done, life))

    def _acknowledge(self, refused: set[str], done: Done, life: int) -> None:
        if self.is_down or life != self._life:
            done(None)
        elif self.is_paused:
            self._held.append(lambda: self._acknowledge(refused, done, life))
        else:
            done(refused)

    def pause(self) -> None:
        self.is_paused = True

    def kill(self) -> None:
        self.is_down = True
        self._life += 1
        self.resume()

    def resume(self) -> None:
        self.is_paused = False
        held, self._held = self._held, []
        for act in held:
            act()

    def restart(self) -> None:
        self.is_down = False


class Frame:
    """What one fsync covers.  dirty ─▶ synced, or unsynced for good; torn is what the power left of one."""

    def __init__(self, entries: list[tuple[int, Entry]]) -> None:
        self.entries = entries
        self.state = "dirty"


class Directory:
    """One worker's spool on disk, and what its owner knows of it."""

    def __init__(self, owner: object) -> None:
        self.owner: object | None = owner  # who holds the lock
        self.segments: list[list[Frame]] = [[]]
        self.settled: set[int] = set()
        self.next_sequence = 0

    def power_cut(self, dice: Random) -> None:
        """Only the end of a segment can be unsynced."""
        for segment in self.segments:
            first = next((n for n, frame in enumerate(segment) if frame.state != "synced"), len(segment))
            there = first
            while there < len(segment) and segment[there].state == "dirty" and dice.random() < 0.5:
                segment[there].state = "synced"
                there += 1
            if there < len(segment) and dice.random() < 0.7:
                segment[there].state = "torn"
                there += 1
            del segment[there:]

    def recover(self, *, frames_too_many: int, keeps_sequence: bool) -> None:
        """Cut torn tails, and begin a new segment.  Args: frames_too_many: that are cut with the torn one."""
        for segment in self.segments:
            torn = next((n for n, frame in enumerate(segment) if frame.state == "torn"), None)
            if torn is not None:
                del segment[max(torn - frames_too_many, 0) :]
            for frame in segment:
                frame.state = "synced"  # what can be read is as good: it is replayed, whoever was told what
        self.settled = set()
        self.next_sequence = max((sequence for sequence, _ in self.entries()), default=self.next_sequence - 1) + 1 if keeps_sequence else 0
        self.segments = [segment for segment in self.segments if segment] + [[]]

    def entries(self, partition: int | None = None) -> Iterator[tuple[int, Entry]]:
        """In order, up to what is not synced yet."""
        for segment in self.segments:
            for frame in segment:
                if frame.state == "dirty":
                    return
                if frame.state == "synced":
                    yield from (pair for pair in frame.entries if partition in (None, pair[1].partition))

    def waiting(self, partition: int | None = None) -> Iterator[tuple[int, Entry]]:
        return (pair for pair in self.entries(partition) if pair[0] not in self.settled)

    def settle(self, sequences: set[int]) -> None:
        """A sealed segment all of which is settled is unlinked."""
        self.settled |= sequences
        *sealed, current = self.segments
        self.segments = [segment for segment in sealed if any(pair[0] not in self.settled for frame in segment for pair in frame.entries)] + [current]


class Site:
    """What a worker finds when it starts."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.kafka = Kafka(self.world)
        self.directories: list[Directory] = []
        self.rejected: list[Found] = []  # a directory, kept for good
        self.is_disk_full = self.is_disk_failing = False
