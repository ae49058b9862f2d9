"""What became of each sample → what the phone is told, and what it may forget.

Decided here: the status of a sync's answer, its `results`, and `ack_through`.
Source: DESIGN section 4.  Each sample is one line; a line has a fate once
delivery has spoken.  Only `retry` is not final: a sample that was made durable
or refused for good may be forgotten, one to be sent again may not.
"""

from collections.abc import Collection, Iterator, Sequence
from enum import Enum
from typing import Final, Literal

from msgspec import Struct

from gateway.core.kept import Kept
from gateway.core.payload import Flaw


class Outcome(Enum):
    """What became of one record that was given to delivery."""

    DURABLE = "durable"  # acknowledged by every in-sync copy
    SPOOLED = "spooled"  # on this machine's disk, and delivered from there
    REFUSED = "refused"  # the broker refuses this record for good; nothing of it is kept
    WITHDRAWN = "withdrawn"  # its time was up before it was sent: it is not in Kafka
    UNKNOWN = "unknown"  # its time was up while it was on its way: it may be in Kafka
    LIMITED = "limited"  # its user has no token left for it: never sent
    SHED = "shed"  # it can wait, and more comes than can be taken: never sent


class Settled(Struct, frozen=True):
    """What became of a request's records, and where those that were accepted are kept."""

    outcomes: Sequence[Outcome]
    kept: Kept | None  # the weaker place where there are two; None: nothing was accepted


def withheld(seqs: Sequence[int], backfill: Collection[int], granted: int) -> dict[int, Outcome]:
    """Which of a request's records are not sent now, by position.

    Of those that may be sent the lowest `seq`s pass, so that the phone may forget as much as possible.

    Args:
        seqs: of all records.
        backfill: positions of those that are shed.
        granted: how many of the others may pass.
    """
    out = dict.fromkeys(backfill, Outcome.SHED)
    others = sorted((position for position in range(len(seqs)) if position not in out), key=lambda position: (seqs[position], position))
    return out | dict.fromkeys(others[granted:], Outcome.LIMITED)


class Line(Struct, frozen=True, gc=False):
    """One sample of a request, in the order sent.

    `event` is the position of its record among those delivered, and of the first one's
    for a duplicate; None where there is none because it is invalid (`flaw` says why).
    """

    id: str | None
    seq: int | None
    event: int | None
    flaw: Flaw | None = None
    is_duplicate: bool = False


class Entry(Struct, frozen=True):
    """One line of `results`: a sample that was not plainly accepted."""

    index: int
    id: str | None
    seq: int | None
    status: Literal["invalid", "duplicate", "retry"]
    code: str
    pointer: str
    detail: str | None = None


Durability = Literal["kafka", "spool"]
"""What holds an accepted event: every in-sync copy, or one disk."""


class Receipt(Struct, frozen=True):
    """A sync's answer before it is put into HTTP.

    `outcome` is "unknown" where a sample to be sent again may be in Kafka all the same.
    `durability` is the weaker one of what was accepted.
    """

    status: Literal[202, 422, 503]
    accepted: int
    ack_through: int | None
    results: list[Entry]
    has_retry: bool
    outcome: Literal["none", "unknown"]
    durability: Durability = "kafka"


def receipt(lines: Sequence[Line], outcomes: Sequence[Outcome]) -> Receipt:
    """Fold the fates of all samples into one answer.  `outcomes` is by position of the record."""
    results = list(_entries(lines, outcomes))
    accepted = len(lines) - len(results)
    retried = {entry.index for entry in results if entry.status == "retry"}
    # A duplicate of a durable sample never stands alone: its first one was accepted.
    status: Literal[202, 422, 503] = 202 if accepted else 503 if retried else 422
    outcome: Literal["none", "unknown"] = "unknown" if Outcome.UNKNOWN in outcomes else "none"
    return Receipt(status, accepted, ack_through(lines, retried), results, bool(retried), outcome, durability(outcomes))


def all_durable(seqs: Sequence[int]) -> Receipt:
    """The same where each sample has its own record and each of them is durable.  Args: seqs: of all samples."""
    return Receipt(202, len(seqs), max(seqs), [], False, "none")


def durability(outcomes: Sequence[Outcome]) -> Durability:
    """Of what was accepted among these; the weaker one where there are two."""
    return "spool" if Outcome.SPOOLED in outcomes else "kafka"


def ack_through(lines: Sequence[Line], retried: set[int]) -> int | None:
    """The largest `seq` of this request such that no sample at or below it has to be sent again.

    Samples without a readable `seq` do not count.  None when there is no such `seq`.
    """
    if not retried:
        return max([line.seq for line in lines if line.seq is not None], default=None)
    kept = min((s for i in retried if (s := lines[i].seq) is not None), default=None)
    return max((s for line in lines if (s := line.seq) is not None and (kept is None or s < kept)), default=None)


_POINTER: Final = "/samples/{}"


def _entries(lines: Sequence[Line], outcomes: Sequence[Outcome]) -> Iterator[Entry]:
    for index, line in enumerate(lines):
        pointer = _POINTER.format(index)
        if line.event is None:
            assert line.flaw is not None, line
            yield Entry(index, line.id, line.seq, "invalid", line.flaw.code, line.flaw.pointer, line.flaw.detail)
            continue
        match outcomes[line.event]:
            case Outcome.REFUSED:
                yield Entry(index, line.id, line.seq, "invalid", "refused-by-kafka", pointer)
            case Outcome.WITHDRAWN | Outcome.UNKNOWN:
                yield Entry(index, line.id, line.seq, "retry", "not-durable", pointer)
            case Outcome.LIMITED:
                yield Entry(index, line.id, line.seq, "retry", "rate-limited", pointer)
            case Outcome.SHED:
                yield Entry(index, line.id, line.seq, "retry", "overloaded", pointer)
            case Outcome.DURABLE | Outcome.SPOOLED if line.is_duplicate:
                yield Entry(index, line.id, line.seq, "duplicate", "duplicate", pointer)
            case Outcome.DURABLE | Outcome.SPOOLED:
                pass
