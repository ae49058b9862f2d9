"""The course of one run: two workers of faulty_delivery.py, phones that obey, faults from the dice, and the checker's word at the end.

Things break for a while, then all is mended, and every phone and every spool comes to its end.  What the phones hear is
recorded as a real client's is (outbox.py, history.py).
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from loadtests.recording import NO_ANSWER
from tests.system.faulty_delivery import Request, Worker
from tests.system.faulty_spool import Bug
from tests.system.history import Event, History, Send
from tests.system.judgement import Judgement, judge
from tests.system.outbox import Outbox
from tests.system.virtual import PARTITIONS, POISON_STEPS, Entry, Site

PATIENCE_MS: Final = 600
FAULTS_MS: Final = 1_500  # so long things break and new samples come
END_MS: Final = 5_000


class Machine(Site):
    """Two workers, one disk, one Kafka; and all that may happen to them."""

    def __init__(self, seed: int, bug: Bug | None, phones: int = 8) -> None:
        super().__init__(seed)
        self.bug = bug
        self.history = History()
        self.happened: list[str] = []
        self._starts = 0
        self.workers: list[Worker] = []
        for _ in range(2):
            self._start()
        for number in range(phones):
            VirtualPhone(self, f"u{number}", number % PARTITIONS)
        self.world.after(20, 100, self._break_something)

    def run(self) -> Judgement:
        """To the end; then the checker's word."""
        self.world.run(END_MS)
        waiting = [entry.found(sequence, is_replay=True) for directory in self.directories for sequence, entry in directory.waiting()]
        return judge(self.history, [one for log in self.kafka.logs for one in log], waiting, self.rejected)

    def _start(self) -> None:
        self._starts += 1
        self.workers.append(Worker(self, f"w{self._starts}", self.bug, self._has_died))

    def _has_died(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self.world.after(5, 40, self._start)

    def _break_something(self) -> None:
        if self.world.now_ms > FAULTS_MS:
            return
        dice = self.world.dice
        what, act = dice.choice(
            [
                ("kill -9", self._kill),
                ("kill -9", self._kill),
                ("SIGTERM", self._drain),
                ("power cut", self._power_cut),
                ("power cut", self._power_cut),
                ("kafka paused", lambda: self._outage(self.kafka.pause)),
                ("kafka paused", lambda: self._outage(self.kafka.pause)),
                ("kafka killed", lambda: self._outage(self.kafka.kill)),
                ("disk full", lambda: self._disk(full=True)),
                ("fsync fails", lambda: self._disk(failing=True)),
            ]
        )
        self.happened.append(what)
        act()
        self.world.after(20, 150, self._break_something)

    def _kill(self) -> None:
        if self.workers:
            self.world.dice.choice(self.workers).die()

    def _drain(self) -> None:
        if self.workers:
            self.world.dice.choice(self.workers).drain()

    def _power_cut(self) -> None:
        for worker in list(self.workers):
            worker.die()
        for directory in self.directories:
            directory.power_cut(self.world.dice)

    def _outage(self, begin: Callable[[], object]) -> None:
        """A fault seldom comes alone: somebody pulls another plug while it lasts, or as it ends."""
        dice = self.world.dice
        begin()
        ends_ms = dice.randint(40, 300)
        self.world.after(ends_ms, ends_ms, self._mend_kafka)
        if dice.random() < 0.5:
            at_ms = dice.choice([dice.randint(0, ends_ms), ends_ms + dice.randint(2, 20)])
            self.world.after(at_ms, at_ms, dice.choice([self._kill, self._drain, self._power_cut, self._flap]))

    def _flap(self) -> None:
        self.kafka.kill()
        self.world.after(5, 50, self._mend_kafka)

    def _mend_kafka(self) -> None:
        """It goes on where it was, or starts anew with what it had stored."""
        if self.world.dice.random() < 0.3:
            self._flap()
            return
        self.kafka.restart()
        self.kafka.resume()

    def _disk(self, *, full: bool = False, failing: bool = False) -> None:
        self.is_disk_full |= full
        self.is_disk_failing |= failing

        def mend() -> None:
            self.is_disk_full = self.is_disk_failing = False

        self.world.after(20, 150, mend)


class VirtualPhone:
    """One person: a sample now and then, sometimes a correction, and one request at a time."""

    def __init__(self, machine: Machine, user: str, partition: int) -> None:
        self._machine, self._world = machine, machine.world
        self._partition = partition
        self._outbox = Outbox("syncs", user, {"device_id": f"d-{user}", "platform": "android", "app_version": "2.3.1"})
        self._seq = 0
        self._world.after(0, 20, self._go_on)

    def _go_on(self) -> None:
        dice = self._world.dice
        if self._world.now_ms < FAULTS_MS:
            for _ in range(dice.randint(0, 3)):
                self._seq += dice.random() < 0.8  # else a correction
                steps = POISON_STEPS if dice.random() < 0.01 else dice.randint(0, 200_000)
                self._outbox.add({"seq": self._seq, "day": "2026-01-27", "steps": steps, "recorded_at": "2026-01-27T22:10:05+09:00", "source": "watch"})
        if self._outbox:
            self._send()
        elif self._world.now_ms < FAULTS_MS:
            self._world.after(1, 30, self._go_on)

    def _send(self) -> None:
        _, events = self._outbox.request(3)
        send = self._machine.history.send(events)
        over = [False]

        def hear(status: int, body: bytes, request_id: str) -> None:
            if over[0]:
                return
            over[0] = True
            self._machine.history.answer(send, status, body, request_id)
            self._outbox.heard(send)
            self._world.after(1, 30, self._go_on) if status == 202 else self._world.after(10, 60, self._go_on)

        self._world.after(0, 2, lambda: self._arrive(send, events, hear))
        self._world.after(PATIENCE_MS, PATIENCE_MS, lambda: hear(NO_ANSWER, b"", ""))

    def _arrive(self, send: Send, events: Sequence[Event], hear: Callable[[int, bytes, str], object]) -> None:
        """At whichever worker lives; where it dies before it answers the connection breaks."""
        if not self._machine.workers:
            self._world.after(0, 2, lambda: hear(NO_ANSWER, b"", ""))
            return
        worker = self._world.dice.choice(self._machine.workers)
        request_id, received_us = f"{worker.name}-{send.number}", str(self._world.now_ms * 1000 + send.number % 1000)

        def answer(status: int, body: dict[str, Any]) -> None:
            is_heard = worker.is_alive and self._world.dice.random() < 0.99
            self._world.after(0, 2, lambda: hear(status if is_heard else NO_ANSWER, json.dumps(body).encode() * is_heard, request_id if is_heard else ""))

        entries = [Entry(event, json.dumps(event.value).encode(), worker.name, received_us, self._partition) for event in events]
        worker.receive(Request(entries, answer, self._machine.bug))
