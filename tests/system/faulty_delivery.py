"""A small gateway in virtual time that delivers as DESIGN 6 and 7 say, with one switch for each way to get that wrong.

Made to examine the checker: with no bug switched on no fault of the world may raise an alarm, and each bug must.  It is a
model of the promises and not of the code: lanes, hedged copies, spool first, replay, adoption, drain; no bytes, no limits.

    receive ─▶ queue ─▶ flight ──ack──▶ kafka            flowing
                 │hedge     │failed, overdue
                 ▼          ▼
               spool ◀── spool first ──▶ replay ──ack──▶ settled

Its workers are started, killed and spoken to by faulty_machine.py.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tests.system.faulty_spool import BATCH_RECORDS, Bug, Source, Spool
from tests.system.virtual import PARTITIONS, Directory, Entry, Site

HEDGE_MS: Final = 25
OVERDUE_MS: Final = 120
TIMEOUT_MS: Final = 300


class Request:
    """One on its way through a worker, until each event has an outcome."""

    def __init__(self, entries: Sequence[Entry], answer: Callable[[int, dict[str, Any]], object], bug: Bug | None) -> None:
        self.entries = entries
        self._outcomes: list[str | None] = [None] * len(entries)
        self._answer = answer
        self._bug = bug
        self.is_answered = False

    def settle(self, index: int, outcome: str) -> None:
        if self.is_answered or self._outcomes[index] is not None:
            return
        self._outcomes[index] = outcome
        if self._bug is Bug.FIRST_SPEAKS_FOR_ALL and outcome in ("kafka", "spool"):
            self._outcomes = [one or outcome for one in self._outcomes]
        if None not in self._outcomes:
            self.is_answered = True
            self._answer(*_receipt(self.entries, [str(one) for one in self._outcomes]))

    def refuse(self, outcome: str) -> None:
        """All of it, at once."""
        self.is_answered = True
        self._answer(503, {"outcome": outcome})


def _receipt(entries: Sequence[Entry], outcomes: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Status and body as core/receipt.py has them."""
    lines = {"refused": ("invalid", "refused-by-kafka"), "unknown": ("retry", "not-durable"), "withdrawn": ("retry", "not-durable")}
    results = [{"index": n, "status": lines[one][0], "code": lines[one][1]} for n, one in enumerate(outcomes) if one in lines]
    retried = [seq for entry, one in zip(entries, outcomes, strict=True) if one in ("unknown", "withdrawn") and (seq := entry.event.seq) is not None]
    through = max((seq for entry in entries if (seq := entry.event.seq) is not None and (not retried or seq < min(retried))), default=None)
    durability = "spool" if "spool" in outcomes else "kafka"
    status = 202 if len(results) < len(outcomes) else 503 if retried else 422
    return status, {"durability": durability, "ack_through": through, "results": results, "outcome": "unknown" if "unknown" in outcomes else "none"}


class Item:
    """One event in a lane."""

    def __init__(self, entry: Entry, request: Request, index: int, accepted_ms: int) -> None:
        self.entry = entry
        self.accepted_ms = accepted_ms
        self.sequence: int | None = None  # of its copy in the spool
        self.has_failed_copy = False  # another one would stand behind what came after it
        self.is_in_spool = False  # answered for from there
        self.is_withdrawn = False
        self._request, self._index = request, index

    def settle(self, outcome: str) -> None:
        self._request.settle(self._index, outcome)

    @property
    def is_answered(self) -> bool:
        return self._request.is_answered


class Flight:
    """The one batch of a lane that is on its way: items, or entries of a spool."""

    def __init__(self, sent_ms: int, items: Sequence[Item] = (), replayed: Sequence[tuple[int, Entry]] = (), source: Source | None = None) -> None:
        self.sent_ms = sent_ms
        self.items = items
        self.replayed = replayed
        self.source = source


class Lane:
    """One partition in one worker."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.queue: list[Item] = []
        self.flight: Flight | None = None
        self.is_spooling = False
        self.closed_until_ms = 0


class Worker:
    """One process, from its start to its end."""

    def __init__(self, site: Site, name: str, bug: Bug | None, has_died: "Callable[[Worker], object]") -> None:
        self._site, self._world, self._bug = site, site.world, bug
        self._has_died = has_died
        self.name = name
        self.is_alive, self.is_draining = True, False
        self._lanes = [Lane(partition) for partition in range(PARTITIONS)]
        self._requests: list[Request] = []
        self._seen: set[tuple[str, int | None]] = set()
        free = [directory for directory in site.directories if directory.owner is None]
        if free and self._world.dice.random() < 0.5:
            directory = free[0]
            self._recover(directory)
        else:
            directory = Directory(None)
            site.directories.append(directory)
        self._spool = Spool(site, directory, bug)
        directory.owner = self._spool
        self._own = Source(directory, is_own=True)
        self._adopted = list[Source]()
        for lane in self._lanes:
            lane.is_spooling = bool(self._own.next(lane.partition))
            self._pump(lane)
        self._world.after(1, 5, self._watch)

    def _recover(self, directory: Directory) -> None:
        directory.recover(frames_too_many=self._bug is Bug.CUT_TOO_FAR, keeps_sequence=self._bug is not Bug.SEQUENCES_REUSED)

    # Requests

    def receive(self, request: Request) -> None:
        dice = self._world.dice
        if self.is_draining:
            request.refuse("none")
            return
        if dice.random() < 0.03:
            request.refuse("none")
            if self._bug is not Bug.REFUSED_AND_STORED:
                return
        if self._bug is Bug.HONEST_UNKNOWN and dice.random() < 0.1:
            request.refuse("unknown")
            return
        self._requests.append(request)
        lane = self._lanes[request.entries[0].partition]
        items = [Item(entry, request, index, self._world.now_ms) for index, entry in enumerate(request.entries)]
        if self._bug is Bug.REPEAT_BY_SEQ:
            items = [item for item in items if not self._is_repeat(item)]
        if lane.is_spooling and self._bug is not Bug.SPOOL_OVERTAKEN:
            self._to_spool(items)
            return
        lane.queue += items
        if self._bug is Bug.ACK_BEFORE_PRODUCE:
            for item in items:
                item.settle("kafka")
        self._pump(lane)

    def _is_repeat(self, item: Item) -> bool:
        event = item.entry.event
        if (event.key, event.seq) in self._seen:
            item.settle("kafka")
            return True
        self._seen.add((event.key, event.seq))
        return False

    # The spool

    def _to_spool(self, items: Sequence[Item], refused_with: str = "withdrawn") -> None:
        """In order; where the spool takes nothing they are told so."""
        for item in items:
            if item.sequence is not None:
                continue  # has its copy already
            if item.has_failed_copy or not self._spool.is_open:
                item.settle("unknown" if item.has_failed_copy else refused_with)
                continue
            item.sequence = self._spool.append(item.entry, self._copied(item))
            if self._bug is Bug.ACK_BEFORE_FSYNC:
                item.settle("spool")

    def _copied(self, item: Item) -> Callable[[bool], object]:
        def done(is_synced: bool) -> None:
            if not is_synced:
                item.sequence, item.has_failed_copy = None, True
                if all(item not in lane.queue and not (lane.flight and item in lane.flight.items) for lane in self._lanes):
                    item.settle("withdrawn" if self._bug is Bug.FAILED_COPY_DENIED else "unknown")
            elif not item.is_answered:
                item.is_in_spool = True
                item.settle("spool")

        return done

    def _turn_to_spool(self, lane: Lane) -> None:
        """From now on the replay is this partition's only sender."""
        flight, lane.flight = lane.flight, None
        on_their_way = list(flight.items) if flight else []
        queue, lane.queue = lane.queue, []
        if self._bug is Bug.RESENT_FROM_MEMORY and on_their_way:
            lane.queue = on_their_way + queue
            lane.closed_until_ms = self._world.now_ms + 20
            self._world.after(20, 20, lambda: self._pump(lane))
            return
        lane.is_spooling = True
        self._to_spool(on_their_way, refused_with="unknown")
        self._to_spool(queue)
        self._world.after(20, 20, lambda: self._pump(lane))

    # Sending

    def _pump(self, lane: Lane) -> None:
        if not self.is_alive or lane.flight or self._world.now_ms < lane.closed_until_ms:
            return
        if lane.is_spooling and not (self._bug is Bug.SPOOL_OVERTAKEN and lane.queue):
            if replayed := self._own.next(lane.partition):
                self._replay(lane, self._own, replayed)
                return
            if self._spool.unsynced(lane.partition):
                self._world.after(2, 2, lambda: self._pump(lane))
                return
            lane.is_spooling = False
        adopted = next(((source, pairs) for source in self._adopted if (pairs := source.next(lane.partition))), None)
        if adopted and (not lane.queue or self._world.dice.random() < 0.5):
            self._replay(lane, *adopted)
        elif lane.queue:
            items, lane.queue = lane.queue[:BATCH_RECORDS], lane.queue[BATCH_RECORDS:]
            self._send(lane, Flight(self._world.now_ms, items=items), [item.entry for item in items], is_replay=False)

    def _replay(self, lane: Lane, source: Source, replayed: list[tuple[int, Entry]]) -> None:
        entries = [entry for _, entry in replayed]
        if self._bug is Bug.REPLAY_ALTERED:
            entries = [entry._replace(value=_without(entry.value, "app_version")) for entry in entries]
        if self._bug is Bug.UNLINKED_EARLY:
            source.settle({sequence for sequence, _ in replayed})
        self._send(lane, Flight(self._world.now_ms, replayed=replayed, source=source), entries, is_replay=self._bug is not Bug.REPLAY_UNMARKED)

    def _send(self, lane: Lane, flight: Flight, entries: Sequence[Entry], *, is_replay: bool) -> None:
        lane.flight = flight
        self._site.kafka.produce(entries, lambda refused: self._done(lane, flight, refused), is_replay=is_replay)

    def _done(self, lane: Lane, flight: Flight, refused: set[str] | None) -> None:
        """What became of a batch; of one that was given up nobody asks any more."""
        if self._bug is Bug.LATE_ACK_OF_ANOTHER and refused is not None and lane.flight:
            flight = lane.flight
        if not self.is_alive or lane.flight is not flight:
            return
        if refused is None:
            self._failed(lane)
            return
        lane.flight = None
        for item in flight.items:
            self._acknowledged(item, is_refused=item.entry.event.event_id in refused)
        if self._bug is Bug.LATE_ACK_CANCELS_ALL and any(item.is_in_spool for item in flight.items):
            self._own.settle({item.sequence for item in lane.queue if item.sequence is not None})
        if flight.source:
            self._reject(entry for _, entry in flight.replayed if entry.event.event_id in refused)
            flight.source.settle({sequence for sequence, _ in flight.replayed})
            self._adopted = [source for source in self._adopted if not source.is_done]
        self._pump(lane)

    def _acknowledged(self, item: Item, *, is_refused: bool) -> None:
        if is_refused and item.is_in_spool:
            self._reject([item.entry])
        item.settle("refused" if is_refused and item.sequence is None else "unknown" if is_refused else "kafka")
        if item.sequence is not None:
            self._own.settle({item.sequence})

    def _reject(self, entries: "Iterator[Entry] | list[Entry]") -> None:
        if self._bug is not Bug.REJECTED_FORGOTTEN:
            self._site.rejected += [entry.found(0, is_replay=True) for entry in entries]

    def _failed(self, lane: Lane) -> None:
        assert lane.flight
        if lane.flight.items:
            self._turn_to_spool(lane)
        else:
            lane.flight = None
            self._world.after(20, 20, lambda: self._pump(lane))

    # What comes round

    def _watch(self) -> None:
        if not self.is_alive:
            return
        now_ms = self._world.now_ms
        for lane in self._lanes:
            if lane.flight and now_ms - lane.flight.sent_ms > OVERDUE_MS:
                self._failed(lane)
            self._hedge(lane)
            self._give_up(lane)
        self._adopt()
        self._world.after(5, 5, self._watch)

    def _hedge(self, lane: Lane) -> None:
        items = [*(lane.flight.items if lane.flight else ()), *lane.queue]
        late = [item for item in items if self._world.now_ms - item.accepted_ms >= HEDGE_MS and not item.has_failed_copy]
        if self._spool.is_open:
            self._to_spool(late)

    def _give_up(self, lane: Lane) -> None:
        def is_over(item: Item) -> bool:
            return self._world.now_ms - item.accepted_ms >= TIMEOUT_MS and not item.is_in_spool

        for item in lane.flight.items if lane.flight else ():
            if is_over(item):
                item.settle("unknown")
        for item in filter(is_over, lane.queue):
            item.settle("withdrawn" if item.sequence is None and not item.has_failed_copy else "unknown")
        if self._bug is not Bug.REFUSED_AND_STORED:
            lane.queue = [item for item in lane.queue if not is_over(item)]

    def _adopt(self) -> None:
        for directory in self._site.directories:
            is_free = directory.owner is None
            if self._bug is Bug.ADOPTION_RACE and directory is not self._spool.directory and self._world.dice.random() < 0.05:
                is_free = True
            if not is_free or self.is_draining:
                continue
            if directory.owner is None:
                self._recover(directory)
                directory.owner = self
            if found := Source(directory, is_own=False):
                self._adopted += [] if found.is_done else [found]
        for lane in self._lanes:
            self._pump(lane)

    # Its end

    def drain(self) -> None:
        """Serve on for a while; then what is not acknowledged goes to the spool."""
        self._world.after(0, 30, self._end_draining)

    def _end_draining(self) -> None:
        if not self.is_alive:
            return
        self.is_draining = True
        for lane in self._lanes:
            if self._bug is Bug.DRAIN_FORGETS:
                for item in lane.queue:
                    item.settle("kafka")
                lane.queue = []
            self._turn_to_spool(lane)
        self._world.after(1, 1, lambda: self._leave(20))

    def _leave(self, tries: int) -> None:
        """When all is synced; a disk that does not answer holds nobody for ever."""
        if self.is_alive and tries and self._spool.unsynced():
            self._world.after(1, 1, lambda: self._leave(tries - 1))
        elif self.is_alive:
            self.die()

    def die(self) -> None:
        """All that was in memory is gone, the kernel lets go of its locks, connections break."""
        self.is_alive = False
        self._has_died(self)
        for directory in self._site.directories:
            if directory.owner in (self, self._spool):
                directory.owner = None


def _without(value: bytes, name: str) -> bytes:
    fields = json.loads(value)
    del fields[name]
    return json.dumps(fields).encode()
