"""Every state a crash can leave of a spool, and what recovery makes of each.

    python -m tests.crash_matrix --workloads 400        a long run; `make crash-matrix`

A random workload runs on a simulated disk: appends to several partitions, settling, segments that fill, restarts,
writes and syncs that fail.  Then every prefix of its operations is a machine that stopped there, in each of LOSSES
and with one bit of a file's tail turned over; and every one of them is recovered.  Of each it has to be true that

    kept        every record whose append had been answered by then and that was not settled is there, with its
                sequence (with a bit turned over: all but those of the one frame it is in)
    invented    nothing else is there but what had been appended, byte for byte
    order       a partition's records are in the order appended, none twice
    idempotent  after another kill or power cut, in the middle of recovery too, the same is found
    fresh       what is appended next gets a sequence that nobody had been told of
"""

import argparse
import asyncio
import errno
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.config import Spool as Settings
from gateway.core import record as form
from gateway.core.event import Record
from gateway.errors import SpoolError
from gateway.spool.disk_spool import DiskSpool
from tests import frames
from tests.fakes import FakeClock, VirtualLoop
from tests.records import made
from tests.simulated_disk import LOSSES, Crash, Loss, SimulatedDisk, flip, prefixes

HOME = Path("/data/spool/0")
SECRET = bytes(range(32))
LANES = (("syncs", 0), ("syncs", 1), ("signups", 0))
SETTINGS = Settings(bytes_max=1 << 20, signups_reserve_bytes=1 << 12, segment_bytes=6_000, rejected_bytes_max=1 << 16)
STEPS = 24
_SIZES = (10, 10, 200, 900, 900, 5_000)


class Told(NamedTuple):
    """Noted in the log when an append was answered."""

    first: int
    names: tuple[str, ...]


class Settled(NamedTuple):
    sequences: range


class Appended(NamedTuple):
    """Noted before anything of it can be on disk."""

    lane: tuple[str, int]
    records: tuple[Record, ...]


Found = dict[tuple[str, int], list[tuple[int, Record]]]


def spool_on(disk: SimulatedDisk, dice: random.Random) -> DiskSpool:
    return DiskSpool(SETTINGS, HOME, [SECRET], FakeClock().clock, disk, reserved_for="signups", random=dice.randbytes)


# The workload


class Workload:
    """A life of a spool, and all that was noted of it."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.disk = SimulatedDisk()
        self._spool = spool_on(self.disk, self._dice)
        self._names = 0
        self._told: list[range] = []
        self._failing = 0

    async def run(self, steps: int) -> SimulatedDisk:
        dice = self._dice
        self.disk.faults = self._fault
        await self._spool.open()
        for _ in range(steps):
            act = dice.random()
            if act < 0.60:
                self._append(dice.randint(1, 4))
            elif act < 0.82 and self._told:
                self._settle()
            elif act < 0.86:
                self._failing = dice.randint(1, 3)
            elif act < 0.92:
                await self._restart(is_clean=dice.random() < 0.5)
            await asyncio.sleep(dice.choice((0, 0, 0, 0.01, 1.5)))
        await asyncio.sleep(3)
        return self.disk

    def _append(self, calls: int) -> None:
        for _ in range(calls):
            lane = self._dice.choice(LANES)
            records = tuple(self._record() for _ in range(self._dice.randint(1, 4)))
            self.disk.note(Appended(lane, records))
            try:
                future = self._spool.append(*lane, records)
            except SpoolError:
                continue
            names = tuple(record.event_id for record in records)
            future.add_done_callback(lambda done, names=names: self._answered(done, names))  # type: ignore[misc]

    def _record(self) -> Record:
        self._names += 1
        value = self._dice.randbytes(self._dice.choice(_SIZES))
        return made(f"e{self._names}", b"u%d" % self._dice.randint(1, 9), value, [("ce_id", b"%d" % self._names)], 1_769_519_405_000 + self._names)

    def _answered(self, done: "asyncio.Future[range]", names: tuple[str, ...]) -> None:
        if not done.cancelled() and not done.exception():
            self._told.append(done.result())
            self.disk.note(Told(done.result().start, names))

    def _settle(self) -> None:
        # Mostly the oldest, so that segments empty.
        at = 0 if self._dice.random() < 0.7 else self._dice.randrange(len(self._told))
        for _ in range(self._dice.randint(1, 9)):
            if at < len(self._told):
                sequences = self._told.pop(at)
                self.disk.note(Settled(sequences))
                self._spool.settle(sequences)

    async def _restart(self, *, is_clean: bool) -> None:
        if is_clean:
            await self._spool.close()
        else:
            await asyncio.sleep(0.1)  # what is done in this thread at once would be cut in the middle by a kill: prefixes are that
            self._spool._tasks.cancel("probe")
            self.disk.kill()
        self._spool = spool_on(self.disk, self._dice)
        await self._spool.open()

    def _fault(self, kind: str) -> int:
        if self._failing and kind in ("append", "sync", "create", "sync_directory", "unlink") and self._dice.random() < 0.3:
            self._failing -= 1
            return self._dice.choice((errno.EIO, errno.ENOSPC))
        return 0


# What is true at a prefix


class Truth:
    """What had been appended, answered and settled when the machine stopped."""

    def __init__(self) -> None:
        self.appended: dict[str, tuple[tuple[str, int], int, Record]] = {}  # by name; its place in the order of its lane
        self.owed: dict[int, str] = {}  # sequence → name
        self.told_max = -1

    def follow(self, note: object) -> None:
        match note:
            case Appended(lane, records):
                for one in records:
                    self.appended[one.event_id] = lane, len(self.appended), one
            case Told(first, names):
                self.owed |= {first + at: name for at, name in enumerate(names)}
                self.told_max = max(self.told_max, first + len(names) - 1)
            case Settled(sequences):
                for sequence in sequences:
                    self.owed.pop(sequence, None)

    def violations(self, found: Found, excused: range | None = None) -> Iterator[str]:
        """Args: excused: sequences of the frame that a bit turned over in."""
        there: dict[int, str] = {}
        for lane, records in found.items():
            order = []
            for sequence, one in records:
                known = self.appended.get(one.event_id)
                if known is None or known[0] != lane or known[2] != one:
                    yield f"invented: {one.event_id} at {lane}"
                    continue
                order.append((sequence, known[1]))
                there[sequence] = one.event_id
            if order != sorted(order) or len({place for _, place in order}) != len(order) or [p for _, p in order] != sorted(p for _, p in order):
                yield f"order of {lane}: {order}"
        for sequence, name in self.owed.items():
            if there.get(sequence) != name and not (excused is not None and sequence in excused):
                yield f"lost: {name} at {sequence}"


async def recovered(disk: SimulatedDisk, dice: random.Random) -> tuple[DiskSpool, Found]:
    disk.kill()
    spool = spool_on(disk, dice)
    await spool.open()
    await spool._idle()
    assert spool.failed() is None
    return spool, {lane: await spool.read(*lane, 1 << 30) for lane in spool.waiting()}


def frame_at(disk: SimulatedDisk, path: Path, at: int) -> range:
    """The sequences of the frame that a byte belongs to; of none where it is in no frame."""
    content = bytes(disk.inodes[disk.directories[path.parent][path.name]])
    segment = form.read_segment(path.name, content[: form.HEADER_BYTES])
    for one in frames.recovered(content, segment) if segment else ():
        if isinstance(one, frames.Found) and one.place <= at < one.place + one.length:
            return range(one.first, one.first + one.records)
    return range(0)


class Outcome(NamedTuple):
    """What recovery made of one state of a disk."""

    found: Found
    next_sequence: int
    excused: range | None
    unlike: tuple[str, ...]  # what a second recovery found otherwise


async def outcome(crash: Crash, loss: Loss, dice: random.Random, known: dict[object, Outcome], *, is_flipped: bool) -> Outcome | None:
    """Recover one state; None where there is no bit to turn over.  Args: known: outcomes of states seen before."""
    disk = crash.disk(loss, dice)
    excused = None
    if is_flipped:
        whole = {inode: bytearray(content) for inode, content in disk.inodes.items()}
        if (flipped := flip(disk, dice)) is None:
            return None
        disk.inodes, damaged = whole, disk.inodes
        excused = frame_at(disk, *flipped)
        disk.inodes = damaged
    state = disk.state()
    if state not in known:
        again = Crash.of(disk)
        spool, found = await recovered(disk, dice)
        # A second crash: a kill behind recovery, or a power cut somewhere in it.
        if dice.random() < 0.5:
            for op in disk.log[: dice.randint(0, len(disk.log))]:
                again.follow(op)
            other, same = await recovered(again.disk(dice.choice(LOSSES), dice), dice)
            how = "a power cut in recovery"
        else:
            other, same = await recovered(disk, dice)
            how = "a kill behind recovery"
        known[state] = Outcome(found, min(spool._books.next, other._books.next), excused, () if same == found else (f"not idempotent after {how}",))
    return known[state]


def violations(made: Outcome, truth: Truth) -> Iterator[str]:
    yield from truth.violations(made.found, made.excused)
    yield from made.unlike
    if made.next_sequence <= truth.told_max:
        yield f"not fresh: {made.next_sequence} after {truth.told_max}"


class Tally:
    """How many states were judged, how many of them had another disk, and what was wrong."""

    def __init__(self) -> None:
        self.states = 0
        self.distinct = 0
        self.violations: list[str] = []


async def run(seed: int, steps: int, tally: Tally) -> None:
    """One workload, every prefix of it, in every way it may have been left."""
    log = (await Workload(seed).run(steps)).log
    dice, truth, at = random.Random(seed), Truth(), 0
    known: dict[object, Outcome] = {}
    for number, crash in prefixes(log):
        while at < number:
            if log[at].kind == "note":
                truth.follow(log[at].data)
            at += 1
        # Where all is synced, all losses are the same.
        losses = LOSSES[:1] if crash.is_all_synced else LOSSES
        for loss, is_flipped in [*((loss, False) for loss in losses), (LOSSES[0], True), (LOSSES[1], True)]:
            if (made := await outcome(crash, loss, dice, known, is_flipped=is_flipped)) is not None:
                tally.states += 1
                tally.violations += [f"seed {seed}, after {number} operations, {loss}, flipped {is_flipped}: {wrong}" for wrong in violations(made, truth)]
    tally.distinct += len(known)


def main() -> int:
    parser = argparse.ArgumentParser(description="Replay every crash of random spool workloads.")
    parser.add_argument("--workloads", type=int, default=300)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--first-seed", type=int, default=1)
    chosen = parser.parse_args()
    tally = Tally()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.workloads):
            runner.run(run(seed, chosen.steps, tally))
            if seed % 10 == 0:
                print(f"{seed}: {tally.states:,} states, {tally.distinct:,} disks, {len(tally.violations)} violations", file=sys.stderr)
    print("\n".join(tally.violations[:50]))
    print(f"{tally.states:,} states, {tally.distinct:,} disks, {len(tally.violations)} violations")
    return 1 if tally.violations else 0


if __name__ == "__main__":
    sys.exit(main())
