"""Bytes → events, or a refusal that names the places of what is wrong.

Here core/gunzip, core/payload and core/event are put in a row and their values
become refusals; the rules themselves are there.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from gateway.core.event import Forge, Record
from gateway.core.gunzip import gunzip
from gateway.core.payload import Flaw, Invalid, Malformed, Sample, read_signup, read_sync
from gateway.core.receipt import Line, Outcome, Receipt, all_durable, receipt
from gateway.errors import Refusal
from gateway.identity import Member

_FLAWED: Final = (Malformed, Invalid)  # an isinstance() of `|` costs five times as much


class CheckedSync(Struct, frozen=True):
    """Every sample judged, and one record per distinct valid one."""

    samples: Sequence[Sample | Flaw]
    records: list[Record]
    lines: list[Line] | None  # None where every sample has its own record: nearly always

    @property
    def recorded(self) -> Sequence[Sample]:
        """The sample of each record, in their order; of repeats the first."""
        found: dict[int, Sample] = {}
        for position, sample in enumerate(self.samples):
            if isinstance(sample, Sample):
                event = position if self.lines is None else self.lines[position].event
                assert event is not None, position
                found.setdefault(event, sample)
        return list(found.values())

    def receipt(self, outcomes: Sequence[Outcome]) -> Receipt:
        """What the phone is told.  Args: outcomes: of the records, in their order."""
        if self.lines is not None:
            return receipt(self.lines, outcomes)
        if outcomes.count(Outcome.DURABLE) == len(outcomes):
            return all_durable([sample.seq for sample in self.samples if sample.seq is not None])
        return receipt([Line(sample.id, sample.seq, position) for position, sample in enumerate(self.samples)], outcomes)


class CheckedSignup(NamedTuple):
    """One application and its record."""

    signup_id: str
    record: Record


def unfold(body: bytes, *, is_gzip: bool, bytes_max: int, ratio_max: int) -> bytes:
    """The body as plain JSON.

    Raises:
        Refusal: invalid-gzip, body-too-large, or invalid-json where there is nothing.
    """
    if is_gzip:
        unfolded = gunzip(body, bytes_max, ratio_max)
        if unfolded == "too-large":
            raise Refusal("body-too-large", f"want at most {bytes_max} bytes unfolded, and at most {ratio_max} times the compressed size")
        if unfolded == "not-gzip":
            raise Refusal("invalid-gzip", "want exactly one complete gzip member")
        assert isinstance(unfolded, bytes)
        body = unfolded
    if not body:
        raise Refusal("invalid-json", "the body is empty")
    return body


def check_sync(forge: Forge, member: Member, body: bytes, received_us: int) -> CheckedSync:
    """Judge every sample of a sync.

    Raises:
        Refusal: invalid-json, or invalid where the request as a whole cannot be read.
    """
    sync = read_sync(body)
    if isinstance(sync, _FLAWED):
        raise _refusal(sync)
    records = forge.syncs(member.key, (sync.device_id, sync.platform, sync.app_version), sync.valid, received_us)
    if len(records) == len(sync.samples) and (len(records) == 1 or len({record.event_id for record in records}) == len(records)):
        return CheckedSync(sync.samples, records, None)
    return _with_flaws_or_repeats(sync.samples, records)


def _with_flaws_or_repeats(samples: Sequence[Sample | Flaw], forged: Sequence[Record]) -> CheckedSync:
    """Lines that tell the invalid and the repeated apart; a repeat has no record of its own."""
    lines: list[Line] = []
    positions: dict[str, int] = {}
    records: list[Record] = []
    unread = iter(forged)
    for sample in samples:
        if isinstance(sample, Flaw):
            lines.append(Line(sample.id, sample.seq, None, sample))
            continue
        record = next(unread)
        is_new = record.event_id not in positions
        if is_new:
            positions[record.event_id] = len(records)
            records.append(record)
        lines.append(Line(sample.id, sample.seq, positions[record.event_id], None, not is_new))
    return CheckedSync(samples, records, lines)


def check_signup(forge: Forge, body: bytes, received_us: int, key: str | None = None) -> CheckedSignup:
    """Judge one application.

    Args: key: of its record; None where no room gives one.

    Raises:
        Refusal: invalid-json or invalid.
    """
    signup = read_signup(body)
    if isinstance(signup, _FLAWED):
        raise _refusal(signup)
    return CheckedSignup(str(signup.signup_id), forge.signup(signup, received_us, key))


def _refusal(flaw: Malformed | Invalid) -> Refusal:
    if isinstance(flaw, Malformed):
        return Refusal("invalid-json", flaw.detail)
    errors = [{"pointer": pointer, "detail": detail} for pointer, detail in flaw.errors]
    return Refusal("invalid", f"{len(errors)} field{'s' if len(errors) > 1 else ''} to mend", members={"errors": errors})
