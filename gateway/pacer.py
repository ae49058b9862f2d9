"""The pace of the waiting room, once a second: what is known → core/pace.py → the store.

    the room's sign ──┐
    Kafka's progress ─┼─▶ Meter, next_pace ─▶ set_pace, where nobody set one since
    the board ────────┤
    operator's acts ──┘   on disk, in the audit, then in the store

Decided here: when each is asked, and in which order.  Not decided here: the rate (core/pace.py), what the
board says (watch.py), what an operator may ask (core/act.py), HTTP (ops/rooms.py).

Every supervisor runs one.  They agree because the store compares and sets: a pace that follows from
an older one is not taken, and the next second begins with the newer.  Time is the store's, as the sign
tells it.  Kafka is asked by a loop of its own: a question that hangs must not delay the cut that
follows from what hangs.

What was in force before the newest act is remembered beside it, on disk too, for who takes that act back.  Of an act
of another machine it is what was known here until then; of one that was already there at the start, nothing is known.

The store is away: said once, tried again each second.  It comes back knowing less: it is raised to
the newest sign that is remembered here.  Acts that it does not know are said again: the larger version wins.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from gateway import config, logs
from gateway.acts import ActsFile, Audit
from gateway.board import Board
from gateway.clock import Clock
from gateway.core import act
from gateway.core.act import Change, Fault, Undo
from gateway.core.pace import SECOND_US, Counts, Meter, Orders, Policy, Reading, Reason, next_pace
from gateway.core.place import people_in_line
from gateway.core.sign import Acts, Sign
from gateway.errors import Behind, BrokerAway, RoomAway
from gateway.lag import Lag, Progress
from gateway.room_store import Notes, RoomStore, Seen
from gateway.watch import Watch

T = TypeVar("T")

PERIOD_S: Final = 1.0
_SOON_S: Final = 0.05  # clocks differ by less; who comes a moment too early comes again after this
_TRIES: Final = 5  # at an act, each beaten by another operator's: nobody is so unlucky
REASON_INDEX: Final = {reason: index for index, reason in enumerate(Reason)}


def is_jump(before: Progress, now: Progress, lag_target: int) -> bool:
    """Whether a group's first commit of a partition passed over more than it can have consumed just now.

    One that starts at the end of a topic full of old records seems to take them all at once, and the door would open
    for a downstream that fast.
    """
    return now.committed > before.committed and now.consumed - before.consumed > lag_target


class Said(NamedTuple):
    """What became of an act."""

    acts: Acts
    is_applied: bool  # in the store; else as soon as it answers
    is_kept: bool  # on disk and in the audit


class State(NamedTuple):
    """What the operator is shown."""

    sign: Sign | None  # the newest; None where the store has never answered
    age_s: float  # of the sign
    acts: Acts
    lag: int | None  # None: unknown just now
    is_away: bool


class _Outage:
    """Says once that something is away, and once that it is back."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.is_on = False

    def began(self, why: Exception) -> None:
        if not self.is_on:
            logs.warning(f"{self._what} is away", reason=str(why))
        self.is_on = True

    def ended(self) -> None:
        if self.is_on:
            logs.info(f"{self._what} is back")
        self.is_on = False


class Pacer:
    """One room's pace, and its operator's ear.

    Args:
        lag: None where no consumer group is named: the rate stays until it is told.
        stall_s, timeout_s: of delivery.
        margin: places that may have been given while the store lost its last seconds.
        remembered: the newest sign that this machine's workers left on disk.
    """

    def __init__(
        self,
        settings: config.Room,
        store: RoomStore,
        lag: Lag | None,
        board: Board,
        directory: Path,
        clock: Clock,
        *,
        stall_s: float,
        timeout_s: float,
        margin: int,
        remembered: Sign | None = None,
    ) -> None:
        self._settings = settings
        self._policy = Policy(lag_target=settings.lag_target)
        self._store = store
        self._lag = lag
        self._clock = clock
        self._margin = margin
        self._watch = Watch(board, stall_s, timeout_s)
        self._meter = Meter(takes_per_s=settings.takes_per_s)
        self._reading: Reading | None = None
        self._progress: Progress | None = None  # the last that the meter saw
        self._fresh: Progress | None = None  # newer than that
        self._remembered = remembered  # what a store that forgot is raised to
        self._seen = Seen(remembered.tail, remembered.head) if remembered else Seen()
        self._sign: Sign | None = None
        self._signed_s = 0.0
        self._file = ActsFile(directory, f"room-{settings.name}-{settings.epoch}")
        self._audit = Audit(directory)
        self._acts, self._before = self._file.load()
        self._has_looked = False  # at the store: from then on nothing was said that is not known here
        self.on_act: Callable[[Acts, str], None] = lambda _acts, _reason: None  # hears each act at once, whether the store does or not
        self.on_sign: Callable[[], None] = lambda: None  # hears that `state` is new
        self._saved_version = self._acts.version
        # One conversation with the store at a time: signs arrive in the order they were made.
        self._turn = asyncio.Lock()
        self._store_outage, self._lag_outage, self._disk_outage = (
            _Outage("the line's store"),
            _Outage("the consumer group's progress"),
            _Outage("the disk of acts"),
        )
        slot = board.supervisor
        self._gauges = {
            name: slot.gauge(f"sluicegate_{name}")
            for name in ("room_rate_per_second", "room_reason", "room_depth", "room_lobby", "room_leaving_per_second", "room_consumer_lag", "room_passes")
        }
        self._gauges["room_consumer_lag"].set(math.nan)
        self._changes = slot.counter("sluicegate_room_pace_changes_total")

    async def run(self) -> None:
        """For ever; the caller makes it a task and cancels it.  What it raises is a bug."""
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._keep_pace())
                if self._lag is not None:
                    loops.create_task(self._follow(self._lag))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None  # its frames are what the log needs

    async def close(self) -> None:
        """Let go of connections, after `run` was cancelled."""
        if self._lag is not None:
            await self._lag.close()
        await self._store.close()

    @property
    def state(self) -> State:
        """As it is known now, without a question."""
        progress = None if self._lag_outage.is_on else self._fresh or self._progress
        age_s = self._clock.monotonic_s() - self._signed_s
        return State(self._sign, age_s, self._acts, progress.lag if progress else None, self._store_outage.is_on)

    # The loops

    async def _keep_pace(self) -> None:
        while True:
            await asyncio.sleep(await self.step())

    async def step(self) -> float:
        """Set the pace of now; returns in how many seconds to come again."""
        async with self._turn:
            sign = await self._unless_away(self._step)
        if sign is None:
            return PERIOD_S
        # Just after a change nothing may change: come when it may, else a told rate would wait for two periods.
        rest_s = self._policy.change_s - (sign.at_us - sign.pace.changed_us) / SECOND_US
        return max(rest_s, _SOON_S) if 0 < rest_s < PERIOD_S else PERIOD_S

    async def _follow(self, lag: Lag) -> None:
        """Ask Kafka once a second."""
        while True:
            try:
                self._fresh = await lag.read()
            except BrokerAway as away:
                self._lag_outage.began(away)
                self._gauges["room_consumer_lag"].set(math.nan)
            else:
                self._lag_outage.ended()
                self._gauges["room_consumer_lag"].set(self._fresh.lag)
            await asyncio.sleep(PERIOD_S)

    # The pace

    async def _step(self) -> Sign:
        """The sign, with the pace that was set.  Raises RoomAway."""
        sign = await self._look()
        if self._acts.version > sign.acts.version:
            # Said while the store was away, or forgotten by it.  Not taken: another supervisor said something newer.
            acts = self._acts
            if await self._ask(lambda: self._store.act(acts)):
                logs.info("the operator's act is in the store", version=acts.version)
            sign = await self._look()
        self._measure(sign)
        acts, settings = self._acts, self._settings
        orders = Orders(settings.floor_per_s, settings.ceiling_per_s, acts.told_per_s, acts.is_paused, acts.is_closed)
        load = self._watch.look(self._clock.monotonic_s())
        pace = next_pace(self._policy, orders, sign.pace, sign.at_us, self._reading, **load._asdict())
        if pace != sign.pace and await self._ask(lambda: self._store.set_pace(pace, sign.pace.changed_us)):
            self._changes.add()
            if pace.reason is not sign.pace.reason:
                logs.info("the door's pace", reason=pace.reason.value, rate_per_s=round(pace.rate_per_s, 3))
            sign = self._took(sign._replace(pace=pace))
        self._show(sign)
        self.on_sign()
        return sign

    def _measure(self, sign: Sign) -> None:
        """Feed the meter, where Kafka said something new; else the reading grows old, which means unknown."""
        before, now = self._progress, self._fresh
        if now is None:
            return
        self._progress, self._fresh = now, None
        if before is not None and is_jump(before, now, self._settings.lag_target):
            known = self._reading
            self._meter = Meter(known.signups_per_pass, known.takes_per_s) if known else Meter(takes_per_s=self._settings.takes_per_s)
        counts = Counts(sign.at_us, now.produced, now.consumed, sign.passes, sign.signups, sign.form_s)
        self._reading = self._meter.saw(counts) or self._reading

    def reload(self, settings: config.Room) -> None:
        """Other bounds, and another target of the lag."""
        self._settings, self._policy = settings, Policy(lag_target=settings.lag_target)

    def _show(self, sign: Sign) -> None:
        self._gauges["room_rate_per_second"].set(sign.pace.rate_per_s)
        self._gauges["room_reason"].set(REASON_INDEX[sign.pace.reason])
        depth = people_in_line(sign)
        self._gauges["room_depth"].set(depth)
        self._gauges["room_lobby"].set(sign.called)
        self._gauges["room_passes"].set(sign.passes)
        self._gauges["room_leaving_per_second"].set(sign.leaving_per_s * depth)

    # The operator

    @property
    def acts(self) -> Acts:
        """The newest known here."""
        return self._acts

    async def say(self, change: Change, who: str) -> Said:
        """Put an act in force: on disk first, so that it outlives the store and this process.

        Args: who: the caller's address, for the audit.
        """
        said = await self._put(change, who)
        assert not isinstance(said, Fault)  # only an undo may come too late
        return said

    async def undo(self, undo: Undo, who: str) -> Said | Fault:
        """Take the newest act back, by an act like any other; or why not."""
        return await self._put(undo, who)

    async def _put(self, asked: Change | Undo, who: str) -> Said | Fault:
        async with self._turn:
            for _ in range(_TRIES):
                # What is not named stays as another machine's operator left it.
                is_there = await self._unless_away(self._look) is not None
                now_us = self._clock.now_us()
                if isinstance(asked, Change):
                    acts = act.acted(self._acts, asked, now_us)
                elif isinstance(undone := act.undone(self._acts, self._before, asked, now_us), Fault):
                    return undone
                else:
                    acts = undone
                is_kept = self._acted(acts, asked, who, now_us)
                sign = await self._unless_away(self._step) if is_there else None
                if sign is None or sign.acts == acts:
                    break
        return Said(acts, sign is not None and sign.acts == acts, is_kept)

    def _acted(self, acts: Acts, asked: Change | Undo, who: str, now_us: int) -> bool:
        """Whether disk and audit have the new acts.  A full disk does not keep an operator from closing the door."""
        before = self._before = self._acts
        self._acts = acts
        self.on_act(acts, asked.reason)
        room, changed = self._settings.name, act.differences(before, acts)
        logs.info("an operator's act", room=room, who=who, changed=changed, reason=asked.reason, version=acts.version)
        at = datetime.fromtimestamp(now_us / SECOND_US, tz=UTC).isoformat(timespec="milliseconds")
        entry = {"time": at, "room": room, "epoch": self._settings.epoch, "who": who, "changed": changed, "reason": asked.reason, "version": acts.version}
        if isinstance(asked, Undo):
            entry["undoes"] = asked.version
        is_saved = self._save()
        try:
            self._audit.append(entry)
        except OSError as exc:
            logs.error("an act is missing in the audit", reason=exc.strerror, version=acts.version)
            return False
        return is_saved

    def _save(self) -> bool:
        """Whether the newest acts are on disk."""
        if self._saved_version == self._acts.version:
            return True
        try:
            self._file.save(self._acts, self._before)
        except OSError as exc:
            self._disk_outage.began(exc)
            return False
        self._disk_outage.ended()
        self._saved_version = self._acts.version
        return True

    # The store

    async def _unless_away(self, call: Callable[[], Awaitable[Sign]]) -> Sign | None:
        """None where the store is away, which is said once."""
        try:
            sign = await call()
        except RoomAway as away:
            self._store_outage.began(away)
            return None
        self._store_outage.ended()
        return sign

    async def _look(self) -> Sign:
        """The newest sign: the tick of a worker that has seen nobody.  Raises RoomAway."""
        sign = self._took(await self._ask(lambda: self._store.tick(Notes(), self._seen)))
        if sign.acts.version > self._acts.version:
            self._before = self._acts if self._has_looked else None
            self._acts = sign.acts
        self._has_looked = True
        self._save()
        return sign

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Once more after raising a store that knows less than was seen: nothing was done the first time."""
        try:
            return await call()
        except Behind:
            sign = self._took(await self._store.recover(self._remembered, self._margin))
            logs.warning("the line's store is raised", tail=sign.tail, head=sign.head)
            return await call()

    def _took(self, sign: Sign) -> Sign:
        self._sign = self._remembered = sign
        self._signed_s = self._clock.monotonic_s()
        self._seen = Seen(max(self._seen.tail, sign.tail), max(self._seen.head, sign.head))
        return sign
