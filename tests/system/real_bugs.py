"""Bugs patched into the gateway's own delivery and spool, for as long as a run of real_machine.py takes.

Each replaces one method by what somebody might write in haste; the name of the bug says what that does.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from unittest.mock import patch

from gateway.core import event
from gateway.core import lane as lanes
from gateway.core import record as form
from gateway.core.event import Record
from gateway.core.lane import Copy, Delivery, Lane, ranges
from gateway.core.receipt import Outcome
from gateway.deliver import Deliverer
from gateway.spool.commits import Commits
from gateway.spool.disk_spool import DiskSpool
from gateway.spool.segments import Group, Recovered, Segments
from tests.system.judgement import Kind
from tests.system.real_machine import LifeDisk

Seeded = contextlib.AbstractContextManager[Any]


def ack_before_fsync() -> Seeded:
    commit = Segments.commit

    def unsynced(self: Segments, groups: Sequence[Group]) -> Any:
        with patch.object(self._file, "sync", lambda: None):
            return commit(self, groups)

    return patch.object(Segments, "commit", unsynced)


def fsync_retried() -> Seeded:
    commit = Segments.commit

    def stubborn(self: Segments, groups: Sequence[Group]) -> Any:
        assert self._file is not None
        sync = self._file.sync

        def again() -> None:
            for _ in range(20):
                with contextlib.suppress(OSError):
                    sync()
                    return
            sync()

        with patch.object(self._file, "sync", again):
            return commit(self, groups)

    return patch.object(Segments, "commit", stubborn)


def failed_copy_denied() -> Seeded:
    not_copied = Lane.not_copied

    def denied(self: Lane, copy: Copy) -> None:
        for run in copy.runs:
            run.delivery.taken = 0
        not_copied(self, copy)

    return patch.object(Lane, "not_copied", denied)


def unlinked_early() -> Seeded:
    replays = Lane.replays

    def settled_when_sent(self: Lane, entries: Sequence[tuple[int, Record]], left: int, now_s: float) -> list[Record]:
        records = replays(self, entries, left, now_s)
        self.done += ranges([sequence for sequence, _ in self.replay])
        return records

    return patch.object(Lane, "replays", settled_when_sent)


def cut_too_far() -> Seeded:
    recover = form.recover

    def hasty(*arguments: Any) -> Iterator[Any]:
        found = list(recover(*arguments))
        for one, after in itertools.zip_longest(found, found[1:]):
            if not (isinstance(after, form.Gap) and not isinstance(one, form.Gap)):
                yield one

    return patch.object(form, "recover", hasty)


def spool_overtaken() -> Seeded:
    def impatient(self: Lane, left: int) -> bool:
        if self.is_spooling and (not left or self.has_queue) and not self.batch and not self.replay:
            self.is_spooling = self.is_closing = False
        return not self.is_spooling

    return patch.object(Lane, "flows", impatient)


def late_ack_cancels_all() -> Seeded:
    acked = Lane.acked

    def generous(self: Lane, first_offset: int) -> tuple[int, int]:
        for run in self._queue:
            if run.is_on_disk:
                self._need_no_copy(run)
        return acked(self, first_offset)

    return patch.object(Lane, "acked", generous)


def drain_forgets() -> Seeded:
    flush = Deliverer.flush

    async def forgetful(self: Deliverer, share_s: float | None = None) -> None:
        for lane in self._lanes.all:
            for run in lane._queue:
                run.delivery.settle_all(range(run.first, run.stop), Outcome.SPOOLED)
        await flush(self, share_s)

    return patch.object(Deliverer, "flush", forgetful)


def lock_ignored() -> Seeded:
    return patch.object(LifeDisk, "lock", lambda _disk, _directory: lambda: None)


def sequences_reused() -> Seeded:
    recovering = Segments.recovering

    def forgetful(self: Segments, *arguments: Any, **named: Any) -> Iterator[Any]:
        for step in recovering(self, *arguments, **named):
            yield step._replace(next_sequence=max([held.part.end - 1 for held in step.held] + [0])) if isinstance(step, Recovered) else step

    return patch.object(Segments, "recovering", forgetful)


def commit_forgets() -> Seeded:
    numbered = Commits._numbered

    def short(self: Commits, appends: Sequence[Any]) -> list[Group]:
        groups = numbered(self, appends)
        return groups[:-1] if len(groups) > 1 else groups

    return patch.object(Commits, "_numbered", short)


def replay_unmarked() -> Seeded:
    return patch.object(lanes, "replayed", lambda record: record)


def replay_altered() -> Seeded:
    replayed = event.replayed

    def altered(record: Record) -> Record:
        one = replayed(record)
        return Record(one.event_id, one.key, one.body.replace(b'"watch"', b'"phone"'), one.timestamp_ms)

    return patch.object(lanes, "replayed", altered)


def rejected_forgotten() -> Seeded:
    def forgetful(self: DiskSpool, _topic: str, _partition: int, sequence: int, _record: Record) -> None:
        self.settle(range(sequence, sequence + 1))

    return patch.object(DiskSpool, "reject", forgetful)


def first_speaks_for_all() -> Seeded:
    settle_all = Delivery.settle_all

    def hasty(self: Delivery, indexes: range, outcome: Outcome) -> None:
        settle_all(self, range(len(self._outcomes)) if outcome in (Outcome.DURABLE, Outcome.SPOOLED) else indexes, outcome)

    return patch.object(Delivery, "settle_all", hasty)


CAUGHT_AS: Final[Mapping[Callable[[], Seeded], frozenset[Kind]]] = {
    ack_before_fsync: frozenset({Kind.MISSING}),
    fsync_retried: frozenset({Kind.MISSING}),
    failed_copy_denied: frozenset({Kind.REFUSED}),
    unlinked_early: frozenset({Kind.MISSING}),
    cut_too_far: frozenset({Kind.MISSING}),
    spool_overtaken: frozenset({Kind.ORDER}),
    late_ack_cancels_all: frozenset({Kind.MISSING}),
    drain_forgets: frozenset({Kind.MISSING}),
    lock_ignored: frozenset({Kind.MISSING, Kind.ORDER}),
    sequences_reused: frozenset({Kind.MISSING, Kind.ORDER}),
    commit_forgets: frozenset({Kind.MISSING}),
    replay_unmarked: frozenset({Kind.DUPLICATE}),
    replay_altered: frozenset({Kind.CHANGED}),
    rejected_forgotten: frozenset({Kind.MISSING}),
    first_speaks_for_all: frozenset({Kind.MISSING}),
}
"""What each shows itself as."""
