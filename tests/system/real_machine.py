"""A course of faulty_machine.py's kind over the gateway's own delivery and spool: Deliverer, Lane, DiskSpool, in virtual time.

Real is what a worker has between a request and Kafka or the disk; the disk is simulated_disk.py's, which forgets what was
not synced, the broker is fakes.py's, the phones obey.  Seeds and no bug: no fault may raise an alarm.  With a bug of
real_bugs.py patched in, the checker must.

    seats         three, each with a directory; who starts takes the first free one of its own and adopts the others' that
                  are left, so that directories change hands all the time
    kill -9       a worker is gone, what it wrote is there, its locks are free
    power cut     all are gone, and what was not synced is whatever simulated_disk.Crash leaves of it
    SIGTERM       flush, stop, close
    disk          for a while every second write or sync fails
    Kafka         paused; killed; breaks before it says that it has stored
"""

import asyncio
import errno
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, TypeVar

import msgspec

from gateway.config import Deliver
from gateway.config import Spool as Settings
from gateway.core.event import Forge, Record
from gateway.core.payload import Sample
from gateway.core.receipt import Line, receipt
from gateway.deliver import Deliverer
from gateway.kafka import Topic
from gateway.spool.disk_spool import DiskSpool
from loadtests.recording import NO_ANSWER
from tests.fakes import FakeBroker, VirtualLoop, new_slot
from tests.records import Stored
from tests.simulated_disk import LOSSES, Crash, SimulatedDisk
from tests.system.history import Found, History, found, waiting
from tests.system.judgement import Judgement, judge
from tests.system.outbox import Outbox
from tests.system.wrapped_disk import WrappedDisk

SEATS: Final = 3
PHONES: Final = 8
PARTITIONS: Final = 2
FAULTS_S: Final = 12.0  # so long things break and new samples come
END_S: Final = 60.0  # and so long all may take to come to its end
POISON_STEPS: Final = 66_666  # Kafka refuses such a record for good
DEVICE: Final = {"device_id": "d", "platform": "android", "app_version": "2.3.1"}
_HOME: Final = Path("/spool")
_SECRET: Final = bytes(32)
_ALL_BYTES: Final = 1 << 30
_TOPICS: Final = (Topic("syncs", PARTITIONS, copies=3, in_sync_min=2, batch_bytes_max=1_000_000), Topic("signups", 1, 3, 2, 1_000_000))
_SPOOL: Final = Settings(bytes_max=1 << 20, signups_reserve_bytes=0, segment_bytes=4_000, rejected_bytes_max=1 << 16)
_DELIVER: Final = Deliver(
    syncs_topic="syncs", signups_topic="signups", linger_ms=2, hedge_ms=50, timeout_ms=1_500, stall_ms=400, connect_timeout_ms=300, batch_bytes_max=1_500
)
T = TypeVar("T")


class LifeDisk(WrappedDisk):
    """The machine's disk as one process has it: its thread takes time, and with the process it and its locks are gone."""

    def __init__(self, machine: "RealMachine") -> None:
        super().__init__(machine.disk)
        self._machine = machine
        self._thread = asyncio.Lock()
        self._locks = dict[Path, Callable[[], None]]()
        self.is_gone = False

    async def run(self, work: Callable[[], T]) -> T:
        async with self._thread:
            await asyncio.sleep(self._machine.dice.uniform(0.0005, 0.01))
            if self.is_gone:
                await asyncio.get_running_loop().create_future()  # never
            return work()

    def lock(self, directory: Path) -> Callable[[], None] | None:
        unlock = super().lock(directory)
        if unlock is None:
            return None
        self._locks[directory] = unlock

        def let_go() -> None:
            del self._locks[directory]
            unlock()

        return let_go

    def end(self) -> None:
        """The process is gone."""
        self.is_gone = True
        for unlock in self._locks.values():
            unlock()
        self._locks.clear()

    def close(self) -> None:
        """The others of the machine go on with its disk."""


class Life:
    """One worker, from its start to its end."""

    def __init__(self, machine: "RealMachine", seat: int, name: str) -> None:
        self._machine = machine
        self.seat, self.name = seat, name
        self.is_alive, self.is_draining = True, False
        self.broker = machine.broker()
        self.disk = LifeDisk(machine)
        directory, *spares = (_HOME / str(seat + SEATS * life) for life in range(4))
        self.spool = DiskSpool(_SPOOL, directory, [_SECRET], machine.clock, self.disk, reserved_for="", spares=spares, random=machine.dice.randbytes)
        self.deliverer = Deliverer(_DELIVER, self.broker, machine.clock, new_slot(), self.spool)
        self._forge = Forge(name)
        self.starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        await self.spool.open()
        self.spool.adopt_all([_HOME / str(number) for number in range(SEATS * 4)])
        known = {topic.name: topic for topic in _TOPICS}
        await self.deliverer.start(is_strict=False, known=known)

    @property
    def serves(self) -> bool:
        return self.is_alive and not self.is_draining and self.starting.done()

    async def answer(self, user: str, samples: list[dict[str, object]], received_us: int) -> tuple[int, bytes]:
        """Of one sync: status and body, as accept.py and reply.py make them."""
        if not self.deliverer.is_open("syncs"):
            return 503, b'{"outcome":"none"}'
        records = self._forge.syncs(user.encode(), tuple(DEVICE.values()), msgspec.convert(samples, list[Sample]), received_us)  # type: ignore[arg-type]
        settled = await self.deliverer.deliver("syncs", records, None)
        lines = [Line(None, int(str(sample["seq"])), number) for number, sample in enumerate(samples)]
        told = receipt(lines, settled.outcomes)
        return told.status, msgspec.json.encode(told)

    @property
    def has_failed(self) -> bool:
        return self.is_alive and bool(self.deliverer.failed() or self.spool.failed())

    async def kill(self) -> None:
        """As SIGKILL: nothing more is done or said."""
        self.is_alive = False
        self.disk.end()
        self.starting.cancel()
        await self._ended()

    async def drain(self) -> None:
        """As SIGTERM."""
        if not self.serves:
            return
        self.is_draining = True
        await self.deliverer.flush(0.1)
        if self.is_alive:
            await self.deliverer.stop()
            self.broker.resume()
            await self.spool.close()
        if self.is_alive:
            self.is_alive = False
            self.disk.end()

    async def _ended(self) -> None:
        await self.deliverer.stop()
        self.broker.resume()  # a contact with the real one ends after a while, the fake's never
        for task in list(self.spool._tasks._running.values()):
            task.cancel()


class RealMachine:
    """Three seats, one disk, one Kafka; and all that may happen to them."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.disk = SimulatedDisk()
        self.history = History()
        self.happened = list[str]()
        self.kept = Counter[str]()  # "durability" of all that was accepted
        self.bugs_heard = 0  # workers that died of an error of their own
        self._crash, self._followed = Crash(), 0
        self._logs: dict[str, list[tuple[int, Stored]]] = {topic.name: [] for topic in _TOPICS}
        self._is_paused = self._is_dead = self._is_disk_failing = False
        self._lives = list[Life]()
        self._starts = 0

    def run(self) -> Judgement:
        """To the end; then the checker's word."""
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, VirtualLoop)
            loop.set_exception_handler(lambda *_: None)  # of killed workers' tasks
            self.clock = loop.clock
            return runner.run(self._run())

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s

    async def _run(self) -> Judgement:
        self._began_s = asyncio.get_running_loop().time()
        seats = [asyncio.create_task(self._keep_seat(seat)) for seat in range(SEATS)]
        phones = [asyncio.create_task(RealPhone(self, f"u{number}").live()) for number in range(PHONES)]
        await self._break_things()
        ended, _ = await asyncio.wait(phones, timeout=END_S)
        for phone in ended:
            phone.result()  # one that fell over is told here
        await self._until_drained()
        for seat in seats:
            seat.cancel()
        for life in self._lives:
            await life.kill()
        kafka = [one for topic in self._logs for one in self._stored(topic)]
        return judge(self.history, kafka, *await self._left())

    async def _until_drained(self) -> None:
        """Until everybody serves and nothing has waited for as long as an adoption may take to be tried again."""
        quiet = 0
        while quiet < 20 and self.now_s < FAULTS_S + 2 * END_S:
            serving = self.serving()
            quiet = quiet + 1 if len(serving) == SEATS and not any(life.spool.waiting() for life in serving) else 0
            await asyncio.sleep(0.1)

    def _stored(self, topic: str) -> list[Found]:
        ends, out = dict[int, int](), []
        for partition, one in self._logs[topic]:
            ends[partition] = ends.get(partition, -1) + 1
            out.append(found(topic, partition, ends[partition], one.key, one.value, one.headers))
        return out

    async def _left(self) -> tuple[list[Found], list[Found]]:
        """(what waits on the disk, what rejected/ has)."""
        self.disk.kill()
        spool, rejected = list[Found](), list[Found]()
        for path in sorted(self.disk.directories):
            if path != _HOME and _HOME in path.parents:
                of = DiskSpool(_SPOOL, path, [_SECRET], self.clock, self.disk, reserved_for="")
                await of.open()
                held = [one for lane in of.waiting() for one in waiting(*lane, await of.read(*lane, _ALL_BYTES))]
                (rejected if path.name == "rejected" else spool).extend(held)
        # Refused for good, and no room apart: it stays where it is, and waits for nobody.
        aside = [one for one in spool if b'"steps":%d' % POISON_STEPS in one.value]
        return [one for one in spool if one not in aside], rejected + aside

    # Workers

    def serving(self) -> list[Life]:
        return [life for life in self._lives if life.serves]

    def broker(self) -> FakeBroker:
        """A worker's way to the one Kafka."""
        broker = FakeBroker(*_TOPICS)
        broker._logs = self._logs
        broker.latency_s = self.dice.choice([0.002, 0.002, 0.06])
        broker.refuse = is_poison
        if self._is_paused:
            broker.pause()
        if self._is_dead:
            broker.kill()
        return broker

    async def _keep_seat(self, seat: int) -> None:
        while True:
            self._starts += 1
            life = Life(self, seat, f"w{self._starts}")
            self._lives.append(life)
            while life.is_alive:
                await asyncio.sleep(0.05)
                if life.has_failed:
                    self.bugs_heard += 1
                    await life.kill()
            self._lives.remove(life)
            await asyncio.sleep(self.dice.uniform(0.0, 0.3))

    # What happens to them

    async def _break_things(self) -> None:
        dice = self.dice
        faults: dict[str, Callable[[], object]] = {
            "kill -9": self._kill_one,
            "SIGTERM": self._drain_one,
            "power cut": self._power_cut,
            "kafka paused": self._pause,
            "kafka killed": self._kill_kafka,
            "kafka forgets to say": self._lose_acks,
            "disk fails": self._fail_disk,
            "mended": self._mend,
        }
        while self.now_s < FAULTS_S:
            await asyncio.sleep(dice.uniform(0.02, 0.5))
            what = dice.choice([*faults, "kafka paused", "kafka killed", "mended", "kill -9"])
            self.happened.append(what)
            faulty = faults[what]()
            if asyncio.iscoroutine(faulty):
                await faulty
        self._mend()

    async def _kill_one(self) -> None:
        if self._lives:
            await self.dice.choice(self._lives).kill()

    def _drain_one(self) -> None:
        if serving := self.serving():
            asyncio.get_running_loop().create_task(self.dice.choice(serving).drain())

    async def _power_cut(self) -> None:
        for life in list(self._lives):
            await life.kill()
        log = self.disk.log
        for op in log[self._followed :]:
            self._crash.follow(op)
        self.disk = self._crash.disk(self.dice.choice(LOSSES), self.dice)
        self._crash, self._followed = Crash.of(self.disk), 0

    def _pause(self) -> None:
        self._is_paused = True
        for life in self._lives:
            life.broker.pause()

    def _kill_kafka(self) -> None:
        self._is_dead = True
        for life in self._lives:
            life.broker.resume()
            life.broker.kill()

    def _lose_acks(self) -> None:
        """Where the spool takes them: else such a batch is sent again from memory, as it was, and consumers drop it by its id."""
        for life in self.serving():
            if not self._is_disk_failing and life.deliverer._is_spool_open("syncs"):
                life.broker.lose_acks = self.dice.randint(1, 3)

    def _fail_disk(self) -> None:
        dice = self.dice
        self._is_disk_failing = True
        for life in self._lives:
            life.broker.lose_acks = 0
        self.disk.faults = lambda kind: errno.EIO if kind in ("append", "sync") and dice.random() < 0.5 else 0

    def _mend(self) -> None:
        self.disk.faults = lambda _: 0
        self._is_disk_failing = False
        self._is_paused = self._is_dead = False
        for life in self._lives:
            life.broker.revive()
            life.broker.resume()


def is_poison(record: Record) -> bool:
    return b'"steps":%d' % POISON_STEPS in record.body


class RealPhone:
    """One person: a sample now and then, sometimes a correction, and one request at a time."""

    def __init__(self, machine: RealMachine, user: str) -> None:
        self._machine = machine
        self._user = user
        self._outbox = Outbox("syncs", user, DEVICE)
        self._seq = 0

    async def live(self) -> None:
        machine, dice = self._machine, self._machine.dice
        while machine.now_s < FAULTS_S or self._outbox:
            if machine.now_s < FAULTS_S:
                self._walk(dice)
            if self._outbox and not await self._send():
                await asyncio.sleep(dice.uniform(0.05, 0.3))
            await asyncio.sleep(dice.uniform(0.005, 0.15))

    def _walk(self, dice: Random) -> None:
        for _ in range(dice.randint(0, 3)):
            self._seq += dice.random() < 0.8  # else a correction
            steps = POISON_STEPS if dice.random() < 0.005 else dice.randint(0, 60_000)
            self._outbox.add({"seq": self._seq or 1, "day": "2026-01-27", "steps": steps, "recorded_at": "2026-01-27T22:10:05+09:00", "source": "watch"})

    async def _send(self) -> bool:
        """Whether it was accepted."""
        machine = self._machine
        body, events = self._outbox.request(3)
        send = machine.history.send(events)
        life = machine.dice.choice(machine.serving() or [None])
        status, said = NO_ANSWER, b""
        if life is not None:
            answering = asyncio.create_task(life.answer(self._user, body["samples"], machine.clock.now_us() + send.number))
            while not answering.done() and life.is_alive:
                await asyncio.wait([answering], timeout=0.01)
            is_heard = answering.done() and life.is_alive and machine.dice.random() < 0.99
            if is_heard:
                status, said = answering.result()
                machine.kept[msgspec.json.decode(said).get("durability", "")] += status == 202
            answering.cancel()
        machine.history.answer(send, status, said, f"{life.name}-{send.number}" if life is not None and status else "")
        self._outbox.heard(send)
        return status == 202
