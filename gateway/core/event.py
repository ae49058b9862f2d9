"""A valid payload → Kafka records: identity, suspicion of clocks, CloudEvents headers.

Decided here: the event id, the marks, key, value and headers of a record.
Units: `received_us` is wall time in µs since the epoch.

The id is a UUID of version 8 (RFC 9562 section 5.8): BLAKE2b-128 over a JSON
array (no spaces) of the key and a frozen list of fields, personalised by kind
("sync.v1", "signup.v1").  Same content, same id: a repeat is recognised.  Other
content, other id: a correction is never dropped for a repeat.  The lists and
their order are frozen for ever, test vectors pin them; a new field of meaning
means a new `ce_type` and topic.

    sync     [key, device_id, {"seq", "day", "steps", "recorded_at", "source", "id" unless absent}]
    signup   [key, signup_id, revision, name, phone, birth_date, district,
              [device.platform, device.model], [terms, health_data, marketing]]

Headers follow the CloudEvents 1.0 Kafka binding in binary mode; `ce_source` is
one constant per topic, because source + id is what consumers deduplicate by.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core import recordbatch
from gateway.core.payload import Day, DeviceId, Instant, Label, Sample, SampleId, Seq, Signup, Steps
from gateway.core.recordbatch import VARINT, header, sized

DAYS_BACK_MAX: Final = 35
DAYS_AHEAD_MAX: Final = 1
CLOCK_AHEAD_MAX: Final = timedelta(days=1)

SYNC_TYPE: Final = "sluicegate.sync.v1"
SIGNUP_TYPE: Final = "sluicegate.signup.v1"
# `dataschema` wants an absolute URI; the documents of these names are in docs/schemas/.
SCHEMA_NAMESPACE: Final = "urn:sluicegate:schemas:"
SYNC_SCHEMA: Final = SCHEMA_NAMESPACE + "sync-event-v1"
SIGNUP_SCHEMA: Final = SCHEMA_NAMESPACE + "signup-event-v1"

_encode = msgspec.json.Encoder().encode


class SyncEvent(Struct, frozen=True, omit_defaults=True, gc=False):
    """The value of a record in syncs.v1; its key is the user id.

    This is its description: `Forge` writes the same bytes in two parts, `_Phone` and the sample.
    Downstream keeps, per user, day, device_id and source, the largest `recorded_at`.
    """

    device_id: DeviceId
    platform: Label
    app_version: Label
    seq: Seq
    day: Day
    steps: Steps
    recorded_at: Instant
    source: Label
    id: SampleId | None = None


class Record(Struct, frozen=True, gc=False):
    """What Kafka stores for one event: `body` is key, value and headers as core/recordbatch.py draws them.

    `timestamp_ms` is the time received.
    """

    event_id: str
    key: bytes
    body: bytes
    timestamp_ms: int


def bytes_max(records: Sequence[Record]) -> int:
    """No less than what these take in a batch."""
    return sum([len(record.body) for record in records]) + recordbatch.FRAMING_BYTES_MAX * len(records)


def replayed(record: Record) -> Record:
    """The same event, marked as sent from the spool or not for the first time: it may have been stored before."""
    return Record(record.event_id, record.key, recordbatch.with_header(record.body, _REPLAY), record.timestamp_ms)


_REPLAY: Final = header("replay", b"true")
# The count of headers may take a byte more.  What bytes_max allows for offset and time a record alone in its batch
# does not need: one that just fits a batch fits with the mark.
_REPLAY_BYTES_MAX: Final = len(_REPLAY) + 1
assert _REPLAY_BYTES_MAX <= recordbatch.FRAMING_BYTES_MAX - recordbatch.FRAMING_ALONE_BYTES_MAX


def uuid8(digest: bytes) -> str:
    """16 bytes as the text of a UUID of version 8, RFC 4122 variant."""
    h = digest.hex()
    return f"{h[:8]}-{h[8:12]}-8{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:]}"


# The first two bits of the 17th digit are the variant's.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def signup_event_id(key: str, signup: Signup) -> str:
    """The id of one revision of an application."""
    s, device, consents = signup, signup.device, signup.consents
    fields = (
        *(key, s.signup_id, s.revision, s.name, s.phone, s.birth_date, s.district),
        (device.platform, device.model),
        (consents.terms, consents.health_data, consents.marketing),
    )
    return uuid8(blake2b(_encode(fields), digest_size=16, person=b"signup.v1").digest())


def is_day_suspect(day: str, received_us: int) -> bool:
    """A day that no calendar has, or more than 35 days back or one ahead of the day received (UTC).

    It is kept all the same: a phone with a wrong clock must not lose its steps.
    """
    age = days_old(day, received_us)
    return age is None or not -DAYS_AHEAD_MAX <= age <= DAYS_BACK_MAX


def days_old(day: str, received_us: int) -> int | None:
    """How many days before the day received (UTC); None where no calendar has it."""
    try:
        return (datetime.fromtimestamp(received_us // 1_000_000, tz=UTC).date() - date.fromisoformat(day)).days
    except ValueError:
        return None


def clock_suspect_after(received_us: int) -> datetime:
    """What is recorded later than this is marked: a day after it was received.  It must not outrank later truth."""
    return datetime.fromtimestamp(received_us / 1e6, tz=UTC) + CLOCK_AHEAD_MAX


_SYNC_ID: Final = blake2b(digest_size=16, person=b"sync.v1")  # to begin from: a copy costs half


class Forge:
    """Makes the records of one worker: what is the same in many of them is made once."""

    def __init__(self, worker: str) -> None:
        """Args: worker: the name this worker drew at its start."""
        self._sync_headers = _constants("/v1/syncs", SYNC_TYPE, SYNC_SCHEMA, worker)
        self._signup_headers = _constants("/v1/signups", SIGNUP_TYPE, SIGNUP_SCHEMA, worker)
        self._second = _Second(0)

    def syncs(self, user: bytes, device: tuple[str, str, str], samples: Iterable[Sample], received_us: int) -> list[Record]:
        """The records of one request's samples, in order.

        Written as one loop: per event it takes a tenth of a request's time, fifty times.

        Args: user: the key; device: device_id, platform and app_version.
        """
        # The JSON array of the id and the object of the value both begin the same for all samples.
        id_begun = _SYNC_ID.copy()
        id_begun.update(_encode((user.decode(), device[0]))[:-1] + b",")
        body_begun, value_begun = sized(user), _encode(_Phone(*device))[:-1] + b","
        headers_begun = b"%b%016d%b" % (self._sync_headers, received_us, _CE_ID)
        timestamp_ms, begun_bytes = received_us // 1000, len(value_begun) - 1
        second = self._at(received_us)
        suspect_after, is_day_suspect = second.suspect_after, second.is_day_suspect
        records = []
        for sample in samples:
            recorded_at = sample.recorded_at
            content = _encode(sample)
            hashed = id_begun.copy()
            hashed.update(content + b"]")
            event_id = uuid8(hashed.digest())
            count, marks = _SYNC_COUNT, b""
            if is_day_suspect[sample.day] or recorded_at > suspect_after[recorded_at.tzinfo]:
                count, marks = _marked(is_day_suspect[sample.day], recorded_at > clock_suspect_after(received_us))
            time = _encode(recorded_at)[1:-1]
            length = VARINT[begun_bytes + len(content)]
            body = b"".join((body_begun, length, value_begun, content[1:], count, headers_begun, event_id.encode(), _CE_TIME, VARINT[len(time)], time, marks))
            records.append(Record(event_id, user, body, timestamp_ms))
        return records

    def signup(self, signup: Signup, received_us: int, key: str | None = None) -> Record:
        """The record of one application.  Args: key: `room:epoch:place` of its pass; None: `signup:<signup_id>`."""
        text = key or f"signup:{signup.signup_id}"
        key_bytes = text.encode()
        event_id = signup_event_id(text, signup)
        headers = (
            self._signup_headers,
            b"%016d" % received_us,
            header("ce_id", event_id.encode()),
            header("ce_time", datetime.fromtimestamp(received_us / 1e6, tz=UTC).isoformat().encode()),
        )
        body = b"".join((sized(key_bytes), sized(_encode(signup)), VARINT[_CONSTANT_HEADERS + 3], *headers))
        return Record(event_id, key_bytes, body, received_us // 1000)

    def _at(self, received_us: int) -> "_Second":
        if received_us // 1_000_000 != self._second.number:
            self._second = _Second(received_us // 1_000_000)
        return self._second


class _Second:
    """What suspicion of clocks comes to in one second of receiving: computed once for all of its samples."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.suspect_after = _ClockMarks(number * 1_000_000)
        self.is_day_suspect = _DayMarks(number * 1_000_000)


class _DayMarks(dict[str, bool]):
    """is_day_suspect by day: nearly all samples are of a few days."""

    def __init__(self, received_us: int) -> None:
        super().__init__()
        self._received_us = received_us

    def __missing__(self, day: str) -> bool:
        mark = self[day] = is_day_suspect(day, self._received_us)
        return mark


class _ClockMarks(dict[tzinfo | None, datetime]):
    """clock_suspect_after in every zone: comparing times of two zones costs ten times as much."""

    def __init__(self, received_us: int) -> None:
        super().__init__()
        self._utc = clock_suspect_after(received_us)

    def __missing__(self, zone: tzinfo | None) -> datetime:
        instant = self[zone] = self._utc.astimezone(zone)
        return instant


class _Phone(Struct):
    """What a value begins with."""

    device_id: str
    platform: str
    app_version: str


def _constants(source: str, type_: str, schema: str, worker: str) -> bytes:
    """The headers that are the same in every record of a topic, and all of `received_us` but its digits."""
    texts = {
        "ce_specversion": "1.0",
        "ce_source": source,
        "ce_type": type_,
        "ce_dataschema": schema,
        "content-type": "application/json",
        "worker": worker,
    }
    assert len(texts) == _CONSTANT_HEADERS
    return b"".join([header(name, text.encode()) for name, text in texts.items()]) + sized(b"received_us") + VARINT[_MICROSECONDS_DIGITS]


def _marked(is_day_suspect: bool, is_clock_suspect: bool) -> tuple[bytes, bytes]:
    """How many headers an event has with these marks, and the marks."""
    marks = [header(name, b"true") for name, is_set in (("day_suspect", is_day_suspect), ("clock_suspect", is_clock_suspect)) if is_set]
    return VARINT[_CONSTANT_HEADERS + 3 + len(marks)], b"".join(marks)


_CONSTANT_HEADERS: Final = 6
_MICROSECONDS_DIGITS: Final = 16  # until the year 2286; a clock before 2001 gets leading zeros
_SYNC_COUNT: Final = VARINT[_CONSTANT_HEADERS + 3]  # and received_us, ce_id, ce_time
_CE_ID: Final = sized(b"ce_id") + VARINT[36]
_CE_TIME: Final = sized(b"ce_time")
