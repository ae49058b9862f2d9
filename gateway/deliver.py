"""Events → durable, or an honest "unknown" within their deadline.

Decided here: when a batch leaves, when a producer is given up, when a lane turns
to the spool, and what a request is told whose time is up.  Not decided here: the
order of records and what a failure leaves (core/lane.py), which lanes there are and
what the Kafka light shows (lanes.py), what the spool is asked (copies.py), Kafka's
protocol (kafka.py).  Units: the settings' milliseconds become seconds once, in __init__.

One lane per partition, one batch in flight per lane; the next one fills
meanwhile.  Lanes leave together, because one produce request carries the batches
of many partitions, and costs as much as three of them: `linger_ms` after the first
of them had something to send and nothing in flight.  While others are in flight
an idle lane waits for their acknowledgement first: the client has one request at
a time with a broker anyway.  A lane that has a full batch by the time of its
acknowledgement does not wait.  One watcher, every 50 ms, ends the deliveries whose
time is up: all have the same time, so they stand in one queue in order, and no
request needs a timer of its own.

When Kafka fails:

    the producer is past repair, or the oldest batch is older than timeout_ms
      → discard it, put lost batches back in front, connect anew (0.1 … 1 s apart)
    one partition fails
      → it alone is closed for a while and tries again; the others go on
    the batch is refused for its content
      → halve that lane's batches until the culprit stands alone
    no ack for stall_ms, or no producer
      → new requests are refused before their body is read (`is_open`)

With a spool that takes records nobody is refused for any of these.  What is not
acknowledged within hedge_ms is copied to it and answered from there; when the producer
or a partition fails, or half of in_flight_bytes_max is held, the lanes concerned turn to
the spool first, and what it holds is sent at full speed once there is contact.  The same
loop sends a lane's batches from memory and from the spool, so there is never but one
sender.  A start is such a turn: records of an earlier life go before new ones of their lane.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway import logs
from gateway.board import Slot
from gateway.clock import Clock
from gateway.config import Deliver as Settings
from gateway.copies import Copies
from gateway.core.event import Record
from gateway.core.kept import InKafka, InSpool, Kept
from gateway.core.lane import Delivery, Lane
from gateway.core.receipt import Outcome, Settled
from gateway.errors import BatchRefused, BrokerAway, ConfigError, PartitionFailed, SpoolError
from gateway.kafka import Broker, Topic
from gateway.kafka import key_hash as hash_of
from gateway.lanes import Lanes
from gateway.spool.store import Spool
from gateway.spool.strays import moved

_TICK_S: Final = 0.05
_TICKS_A_HEDGE: Final = 5  # how exactly hedge_ms is kept
_SPOOL_SHARE: Final = 0.5  # of in_flight_bytes_max: the bodies of requests need the rest
_FULL_BYTES: Final = 16_384  # a batch is worth its own costs; the number is Kafka's own, batch.size
_ROUND_S: Final = 0.02  # so long an idle lane waits for the acknowledgement of another, which may be stuck
_TOPICS_EVERY_S: Final = 30.0  # how late a changed setting or a new partition is noticed
_LIVED_S: Final = 5.0  # a producer that lived so long was not the fault
_BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0)


class Deliverer:
    """The lanes of one worker and the producer they share."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        clock: Clock,
        slot: Slot,
        spool: Spool | None = None,
        on_topics: Callable[[Mapping[str, Topic]], object] = lambda _: None,
        on_acknowledged: Callable[[Sequence[Record]], object] = lambda _: None,
    ) -> None:
        """Args:
        spool: opened before `start`, and closed after `stop`, by who made it.
        on_topics: told what Kafka says of its topics, when that has changed.
        on_acknowledged: told of records that are durable, before an answer that says so can be written.
        """
        self._settings = settings
        self._broker = broker
        self._monotonic_s = clock.monotonic_s
        self._timeout_s = settings.timeout_ms / 1000
        self._stall_s = settings.stall_ms / 1000
        self._linger_s = settings.linger_ms / 1000
        self._on_acknowledged = on_acknowledged
        self._acknowledged: list[Record] = []
        self._lanes = Lanes(settings, slot, self._left)
        self._tick_s = min(_TICK_S, settings.hedge_ms / 1000 / _TICKS_A_HEDGE) if spool is not None else _TICK_S
        self._spool = spool
        self._copies = Copies(settings, spool, clock, slot, self._lanes.names.values(), self._copied) if spool is not None else None
        if spool is not None:
            spool.on_found = self._found
        self._serving: dict[Lane, asyncio.Task[None]] = {}
        self._departure: asyncio.Handle | None = None
        self._departs_s = 0.0
        self._on_topics = on_topics
        self._topics: Mapping[str, Topic] = {}
        self._waiting: deque[Delivery] = deque()
        self._connected = asyncio.Event()
        self._broken = asyncio.Event()
        self._connected_s = 0.0
        self._watchers: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop
        self._failure: BaseException | None = None
        self._ack_seconds = {kind: slot.histogram("sluicegate_ack_seconds", kind) for kind in self._lanes.names}
        self._events = {kind: slot.counters_by("sluicegate_events_total", kind) for kind in self._lanes.names}
        self._batches = slot.counters_by("sluicegate_kafka_batches_total")
        self._rebuilds = slot.counter("sluicegate_kafka_rebuilds_total")
        # Bytes of records not yet settled, those included whose requests were told `unknown`.
        self.held_bytes = 0

    # What the path asks

    @property
    def has_spool(self) -> bool:
        """Whether a slow Kafka costs nobody an answer."""
        return self._copies is not None

    def is_open(self, kind: str) -> bool:
        """Whether any record of this kind would be sent or spooled if it came now; at most 50 ms old."""
        return self._lanes.is_open[kind]

    def deliver(self, kind: str, records: Sequence[Record], key_hash: int | None) -> "asyncio.Future[Settled]":
        """What became of each record and where it is kept, at the latest `timeout_ms` from now; the future never fails.

        Args:
            kind: "syncs" or "signups".
            records: at least one, all of one key.
            key_hash: the partitioner's hash of that key; None where nobody computed it yet.
        """
        lanes = self._lanes.of[kind]
        if key_hash is None:
            key_hash = hash_of(records[0].key)
        now_s = self._monotonic_s()
        settled: asyncio.Future[Settled] = self._loop.create_future()

        def tell(outcomes: Sequence[Outcome], delivery: Delivery) -> None:
            self._count(kind, outcomes, now_s)
            self._acknowledge(records, outcomes)
            if not settled.done():  # a cancelled request waits no longer
                settled.set_result(Settled(outcomes, self._kept(kind, partition, outcomes, delivery)))

        lane = lanes[key_hash % len(lanes)] if self._lanes.is_open[kind] else None
        if lane is None or not (lane.takes_more(now_s, self._stall_s) or self._is_spool_open(lane.topic)):
            outcomes = [Outcome.WITHDRAWN] * len(records)
            self._count(kind, outcomes, now_s)
            settled.set_result(Settled(outcomes, None))
            return settled
        partition = lane.partition
        delivery = Delivery(len(records), now_s, tell)
        self.held_bytes += lane.add(records, delivery)
        if not delivery.is_settled:
            self._waiting.append(delivery)
            if lane.is_spooling:
                self._copy(lane)
            elif self._departure is None and lane not in self._serving:
                self._plan(_ROUND_S if self._serving else self._linger_s)
        return settled

    def _kept(self, kind: str, partition: int, outcomes: Sequence[Outcome], delivery: Delivery) -> Kept | None:
        if delivery.last_sequence >= 0 and self._copies is not None and Outcome.SPOOLED in outcomes:
            return InSpool(self._copies.spool_id, delivery.last_sequence)
        if delivery.last_offset >= 0 or Outcome.DURABLE in outcomes:
            return InKafka(kind, partition, delivery.first_offset, delivery.last_offset)
        return None

    def _count(self, kind: str, outcomes: Sequence[Outcome], since_s: float) -> None:
        counts = self._events[kind]
        durable = outcomes.count(Outcome.DURABLE)
        if durable:
            counts["durable"].add(durable)
            self._ack_seconds[kind].observe(self._monotonic_s() - since_s)
        if durable < len(outcomes):
            for outcome in set(outcomes) - {Outcome.DURABLE}:
                counts[outcome.value].add(outcomes.count(outcome))

    def _acknowledge(self, records: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
        if outcomes.count(Outcome.DURABLE) < len(outcomes):
            records = [record for record, outcome in zip(records, outcomes, strict=True) if outcome in (Outcome.DURABLE, Outcome.SPOOLED)]
        if records and not self._acknowledged:
            # Before whoever is told wakes up, for the loop calls in order; and once for all that one of its turns tells.
            self._loop.call_soon(self._pass_on)
        self._acknowledged += records

    def _pass_on(self) -> None:
        acknowledged, self._acknowledged = self._acknowledged, []
        self._on_acknowledged(acknowledged)

    # Start and stop

    async def start(self, *, is_strict: bool, known: Mapping[str, Topic] | None = None) -> None:
        """First contact, then serve for ever.

        Kafka away is no error: it is shown red, and contact is made when it comes.

        Args: known: the topics as they were last seen; with Kafka away the spool takes records for their partitions.

        Raises:
            ConfigError: with `is_strict`, Kafka answered and a topic cannot promise what a 202 says.
        """
        self._loop = asyncio.get_running_loop()
        try:
            topics = await self._broker.connect()
        except BrokerAway as exc:
            logs.warning("kafka is away at start", reason=str(exc))
            self._broken.set()
            if self._copies is not None and known:
                self._apply(known)
                for lane in self._lanes.all:
                    self._spool_first(lane)
        else:
            self._made_contact(topics)
            names = [self._lanes.names[kind] for kind, fault in self._lanes.faults.items() if fault == "single-copy"]
            if names and is_strict:
                raise ConfigError(f"{', '.join(names)}: fewer than 3 copies or min.insync.replicas below 2; set deliver.allow_single_copy to accept that")
        self._look()
        self._watchers = [asyncio.create_task(loop()) for loop in (self._keep_connected, self._watch, self._keep_topics)]

    def failed(self) -> BaseException | None:
        """What ended a background task that must not fail; the worker dies of it, loudly."""
        for task in self._watchers:
            if task.done() and not task.cancelled() and (exc := task.exception()):
                return exc
        return self._failure or (self._copies.failure if self._copies is not None else None)

    async def flush(self, share_s: float | None = None) -> None:
        """Return when nothing is on its way; at the latest `timeout_ms` from the last delivery.

        With a spool: when Kafka has what it takes within `share_s` (as long as timeout_ms, unless given),
        and the spool the rest.
        """
        if self._copies is not None:
            until_s = self._monotonic_s() + (self._timeout_s if share_s is None else share_s)
            while any(lane.held_bytes for lane in self._lanes.all) and self._connected.is_set() and self._monotonic_s() < until_s:
                await asyncio.sleep(_TICK_S / 5)
            for lane in self._lanes.all:
                if lane.held_bytes:
                    self._spool_first(lane)
        while self._waiting:
            await asyncio.sleep(_TICK_S / 5)

    async def stop(self) -> None:
        """End all loops and close the producer.  What was not acknowledged has been told so."""
        tasks = {*self._watchers, *self._serving.values()}
        while tasks:
            for task in tasks:
                task.cancel()
            # Asked again and again: who closes the Kafka client just then has his cancellation swallowed by it.
            done, tasks = await asyncio.wait(tasks, timeout=_TICK_S)
            for task in done:
                task.cancelled() or task.exception()  # looked at; `failed` has told it
        self._connected.clear()  # appends may still answer: nothing departs for them
        if self._departure is not None:
            self._departure.cancel()
        await self._broker.close()

    # Sending

    def _plan(self, wait_s: float) -> None:
        """Depart so long from now, unless that is to be sooner anyway."""
        at_s = self._loop.time() + wait_s
        if self._departure is not None:
            if self._departs_s <= at_s:
                return
            self._departure.cancel()
        # The instant is kept here: uvloop's handle of a timer that is due at once knows none.
        self._departs_s = at_s
        self._departure = self._loop.call_later(wait_s, self._depart)

    def _depart(self) -> None:
        """Send what waits in idle lanes, all at once."""
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        if not self._connected.is_set():
            return  # they leave when there is contact again
        for lane in self._lanes.all:
            if lane not in self._serving and (self._has_backlog(lane) if lane.is_spooling else lane.has_queue):
                task = self._loop.create_task(self._serve(lane))
                self._serving[lane] = task
                task.add_done_callback(self._served)

    def _has_backlog(self, lane: Lane) -> bool:
        left = self._left(lane)
        return lane.has_queue if lane.flows(left) else left > 0

    async def _serve(self, lane: Lane) -> None:
        """Send one lane's batches, one at a time, as long as they are full."""
        try:
            while (
                self._connected.is_set() and not lane.is_gone and (batch := await self._backlog(lane) if lane.is_spooling else lane.take(self._monotonic_s()))
            ):
                await self._send(lane, batch)
                self._count_held()
                if (pause_s := lane.closed_until_s - self._monotonic_s()) > 0:
                    await asyncio.sleep(pause_s)
                if lane.held_bytes < min(_FULL_BYTES, lane.batch_bytes_max) and not lane.is_spooling:
                    break
        finally:
            del self._serving[lane]
            if (lane.has_queue and not lane.is_spooling) or self._departure is not None:
                self._plan(self._linger_s)

    async def _backlog(self, lane: Lane) -> list[Record]:
        """The next batch of a lane that spools; when nothing is left, of its memory again."""
        assert self._copies is not None
        if lane.flows(self._left(lane)):
            return lane.take(self._monotonic_s())
        entries = await self._copies.read(lane, len(self._lanes.all)) if self._left(lane) else []
        return lane.replays(entries, self._left(lane), self._monotonic_s()) if entries else []

    def _served(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (exc := task.exception()):
            self._failure = exc

    def _count_held(self) -> None:
        self.held_bytes = sum([lane.held_bytes for lane in self._lanes.all])

    async def _send(self, lane: Lane, records: Sequence[Record]) -> None:
        try:
            first_offset = await self._broker.send(lane.topic, lane.partition, records)
        except BatchRefused as exc:
            self._batches["refused"].add()
            if lane.refused():
                logs.error("kafka refuses a record for good", topic=lane.topic, event_id=records[0].event_id, reason=str(exc))
        except PartitionFailed as exc:
            self._batches["lost"].add()
            lane.failed(self._monotonic_s())
            self._spool_first(lane)
            logs.warning("a kafka partition fails", topic=lane.topic, partition=lane.partition, in_a_row=lane.failures, reason=str(exc))
        except BrokerAway as exc:
            lane.lost()
            self._batches["lost"].add()
            self._rebuild(str(exc))
        else:
            if lane.replay and self._copies is not None:
                self._copies.replayed(len(lane.replay))
            in_time, late = lane.acked(first_offset)
            self._batches["late" if late and not in_time else "acked"].add()
        if self._copies is not None:
            self._copies.hand_over(lane)

    def _rebuild(self, why: str) -> None:
        """Give the producer up.  Sends still waiting raise, their lanes put their batches back."""
        if self._broken.is_set():
            return
        logs.warning("kafka producer is rebuilt", reason=why)
        self._rebuilds.add()
        self._connected.clear()
        self._broken.set()
        for lane in self._lanes.all:
            self._spool_first(lane)
        self._look()
        self._broker.discard()

    # To the spool

    def _is_spool_open(self, topic: str) -> bool:
        return self._copies is not None and self._copies.takes(topic)

    def _left(self, lane: Lane) -> int:
        return 0 if self._copies is None else self._copies.left(lane)

    def _copy(self, lane: Lane) -> None:
        if self._copies is not None:
            self._copies.copy(lane)

    def _spool_first(self, lane: Lane) -> None:
        """Turn a lane to the spool, where there is one that takes its records; else it goes on from memory."""
        if self._is_spool_open(lane.topic):
            lane.spool_first()
            self._copy(lane)

    def _found(self) -> None:
        """The spool has found records of an earlier life only now: they are replayed, and what comes goes behind them."""
        for lane in self._lanes.all:
            if self._left(lane):
                lane.spool_first()
                self._copy(lane)

    def _copied(self, lane: Lane) -> None:
        """An append has ended."""
        self._count_held()
        if lane.is_spooling and lane not in self._serving:
            self._plan(0.0)

    # Loops

    async def _keep_connected(self) -> None:
        short_lives = 0
        while True:
            await self._broken.wait()
            if self._monotonic_s() - self._connected_s > _LIVED_S:
                short_lives = 0
            # A producer that did not live long is not followed by another at once.
            tries = short_lives
            short_lives += 1
            while not self._connected.is_set():
                if tries:
                    await asyncio.sleep(_BACKOFF_S[min(tries, len(_BACKOFF_S)) - 1])
                try:
                    topics = await self._broker.connect()
                except BrokerAway:
                    tries += 1
                else:
                    self._made_contact(topics)
            self._depart()

    async def _watch(self) -> None:
        """End deliveries whose time is up, give up a producer that hangs, show the light."""
        while True:
            await asyncio.sleep(self._tick_s)
            now_s = self._monotonic_s()
            waiting = self._waiting
            while waiting and (waiting[0].is_settled or now_s - waiting[0].accepted_s >= self._timeout_s):
                waiting.popleft().time_is_up()
            for lane in self._lanes.all:
                lane.forget_settled()
            self._count_held()
            if self._copies is not None:
                self._look_after_the_spool(self._copies)
            if self._look() >= self._timeout_s:
                self._rebuild("the oldest batch is overdue")

    def _look_after_the_spool(self, copies: Copies) -> None:
        if self.held_bytes >= self._settings.in_flight_bytes_max * _SPOOL_SHARE:
            for lane in self._lanes.all:
                if lane.held_bytes and not lane.is_spooling:
                    self._spool_first(lane)
        copies.look(self._lanes.all)
        if any(lane.is_spooling and lane not in self._serving for lane in self._lanes.all):
            self._plan(0.0)

    async def _keep_topics(self) -> None:
        """Notice changed settings, new topics and new partitions."""
        while True:
            missing = "topic-missing" in self._lanes.faults.values()
            await asyncio.sleep(1.0 if missing else _TOPICS_EVERY_S)
            if not self._connected.is_set():
                continue
            try:
                self._told(await self._broker.topics())
                await self._move_strays()
            except BrokerAway as exc:
                logs.warning("kafka topics could not be read", reason=str(exc))
            except SpoolError as exc:
                logs.warning("what waits for a partition that is gone cannot be moved", reason=str(exc))

    async def _move_strays(self) -> None:
        if self._spool is not None and await moved(self._spool, {topic.name: topic.partitions for topic in self._topics.values()}):
            self._found()

    # What first contact and every later look tell

    def _made_contact(self, topics: Mapping[str, Topic]) -> None:
        self._broken.clear()
        self._connected.set()
        self._connected_s = self._monotonic_s()
        if self._copies is not None and (strangers := self._copies.strangers()):
            logs.warning("records wait for topics that the settings do not name", topics=", ".join(sorted(strangers)))
        self._told(topics)

    def _told(self, topics: Mapping[str, Topic]) -> None:
        if topics != self._topics:
            self._topics = topics
            self._on_topics(topics)
        self._apply(topics)

    def _apply(self, topics: Mapping[str, Topic]) -> None:
        self._lanes.fit(topics)
        self._look()

    def _look(self) -> float:
        return self._lanes.look(self._monotonic_s(), is_connected=self._connected.is_set(), spool_takes=self._is_spool_open)
